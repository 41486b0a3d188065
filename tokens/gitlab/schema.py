"""GitLab's tables as they are in this database: read, not assumed, because GitLab 16.0 to 19.x differ in columns.

The only place that knows which columns exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tokens.database import Connection

TOKENS = "personal_access_tokens"
BACKGROUND_MIGRATIONS = "batched_background_migrations"
SETTINGS = "application_settings"
MIGRATIONS = "schema_migrations"
USERS = "users"
USER_DETAILS = "user_details"
MEMBERS = "members"
NAMESPACES = "namespaces"
PROJECTS = "projects"
ROUTES = "routes"
GRANULAR_SCOPES = "personal_access_token_granular_scopes"
TABLES = (
    TOKENS,
    BACKGROUND_MIGRATIONS,
    SETTINGS,
    MIGRATIONS,
    USERS,
    USER_DETAILS,
    MEMBERS,
    NAMESPACES,
    PROJECTS,
    ROUTES,
    GRANULAR_SCOPES,
)

# A table or a type of somebody else's could run his code: GitLab's tables have one owner, and PostgreSQL's own types.
COLUMNS = """
    SELECT c.relname AS table_name, array_agg(a.attname::text) AS columns
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_namespace n_catalog ON n_catalog.nspname = 'pg_catalog'
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
    LEFT JOIN pg_catalog.pg_class tokens ON tokens.relnamespace = n.oid AND tokens.relname = 'personal_access_tokens'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typnamespace = n_catalog.oid
    WHERE (owner.rolsuper OR c.relowner = tokens.relowner)
      AND n.nspname = 'public' AND c.relname = ANY(%(tables)s)
    GROUP BY c.relname
"""


@dataclass(frozen=True)
class Schema:
    """Which of GitLab's tables and columns exist in one database: the columns' names by table."""

    columns: Mapping[str, frozenset[str]]

    def has(self, table: str, *columns: str) -> bool:
        """Whether this release of GitLab has the table and all of those columns."""
        return table in self.columns and self.columns[table].issuperset(columns)


def read_schema(connection: Connection) -> Schema:
    """Read which of the tables that the tool knows exist here, and their columns."""
    found = connection.rows(COLUMNS, tables=list(TABLES))
    return Schema({row.table_name: frozenset(row.columns) for row in found})

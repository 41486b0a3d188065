"""GitLab's tables as they are in this database: read, not assumed, because GitLab 16.0 to 19.x differ in columns.

The only place that knows which columns exist.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokens.database import Connection
from tokens.errors import Refused

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
LAST_USED_IPS = "personal_access_token_last_used_ips"
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
    LAST_USED_IPS,
)

# A table or a type of somebody else's could run his code: GitLab's tables have one owner, and PostgreSQL's own types.
# Those have an OID below 16384, which no type gets that is made on a running server (access/transam.h).
COLUMNS = """
    SELECT
      c.relname AS table_name,
      quote_ident(pg_get_userbyid(c.relowner)) AS owner,
      quote_ident(pg_get_userbyid(tokens.relowner)) AS heir,
      c.relkind IN ('r', 'p') AND (
        c.relowner = tokens.relowner
        OR (SELECT owner.rolsuper FROM pg_catalog.pg_roles owner WHERE owner.oid = c.relowner)
      ) AS is_gitlabs,
      found.columns,
      found.foreign_columns
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_class tokens
      ON tokens.relnamespace = c.relnamespace AND tokens.relname = 'personal_access_tokens'
    CROSS JOIN LATERAL (
      SELECT
        COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE a.atttypid < 16384), '{}') AS columns,
        COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE a.atttypid >= 16384), '{}') AS foreign_columns
      FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) found
    WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public')
      AND c.relname = ANY(%(tables)s)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


@dataclass(frozen=True)
class Schema:
    """Which of GitLab's tables and columns exist in one database.

    Attributes:
        columns: the columns' names by table.
        strange: why a table or a column that is there cannot be taken for GitLab's, by `table` or `table.column`.
    """

    columns: Mapping[str, frozenset[str]]
    strange: Mapping[str, str] = field(default_factory=dict)

    def has(self, table: str, *columns: str) -> bool:
        """Whether this release of GitLab has the table and all of those columns.

        Raises:
            Refused: there is one of that name, but not GitLab's: it must not count as absent, since guards ask it.
        """
        for name in (table, *(f"{table}.{column}" for column in columns)):
            if name in self.strange:
                raise Refused(self.strange[name])
        return table in self.columns and self.columns[table].issuperset(columns)


def read_schema(connection: Connection, tables: Iterable[str] = TABLES) -> Schema:
    """Read which of these tables exist here, and their columns."""
    columns, strange = dict[str, frozenset[str]](), dict[str, str]()
    for row in connection.rows(COLUMNS, tables=list(tables)):
        if row.is_gitlabs:
            columns[row.table_name] = frozenset(row.columns)
            strange |= {f"{row.table_name}.{name}": _of_a_strange_type(row, name) for name in row.foreign_columns}
        else:
            strange[row.table_name] = _of_a_strange_owner(row)
    return Schema(columns, strange)


def _of_a_strange_owner(row: Any) -> str:
    name = f"public.{row.table_name}"
    return (
        f"{name} belongs to role {row.owner}, or is no table, and {TOKENS} belongs to role {row.heir}: it may run "
        "somebody else's code, and without it guards would be silent; if it is GitLab's, as a superuser run: "
        f"ALTER TABLE {name} OWNER TO {row.heir}; if it is not, drop it."
    )


def _of_a_strange_type(row: Any, column: str) -> str:
    return (
        f"Column {column} of public.{row.table_name} has a type that is not PostgreSQL's own, as GitLab's types are: "
        "it may run somebody else's code; find out who made it."
    )

"""GitLab's tables as they are in this database: read, not assumed, because GitLab 16.0 to 19.x differ in columns.

The only place that knows which columns exist.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP

TOKENS = "personal_access_tokens"
BACKGROUND_MIGRATIONS = "batched_background_migrations"
SETTINGS = "application_settings"
TABLES = (TOKENS, BACKGROUND_MIGRATIONS, SETTINGS)

COLUMN_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "bigint": sa.BigInteger(),
    "boolean": sa.Boolean(),
    "date": sa.Date(),
    "integer": sa.Integer(),
    "timestamp with time zone": TIMESTAMP(timezone=True),
    "timestamp without time zone": TIMESTAMP(),
}

COLUMNS = sa.text("""
    SELECT c.relname AS table_name, a.attname AS name, format_type(a.atttypid, NULL) AS type
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = 'public' AND c.relname = ANY(:tables)
    ORDER BY c.relname, a.attnum
""")


@dataclass(frozen=True)
class Schema:
    """GitLab's tables in one database, by name, as SQLAlchemy tables with the columns that exist there."""

    tables: dict[str, sa.Table]

    @property
    def tokens(self) -> sa.Table:
        """`public.personal_access_tokens`."""
        return self.tables[TOKENS]

    def column(self, table: str, name: str) -> sa.Column[Any] | None:
        """The column, or None where this release of GitLab has no such table or column."""
        return self.tables[table].c.get(name) if table in self.tables else None


def read_schema(connection: sa.Connection) -> Schema:
    """Read which of the tables and columns that the tool knows exist here."""
    metadata = sa.MetaData(schema="public")
    columns: dict[str, list[sa.Column[Any]]] = {}
    for column in connection.execute(COLUMNS, {"tables": list(TABLES)}):
        type_ = COLUMN_TYPES.get(column.type, sa.types.NullType())
        columns.setdefault(column.table_name, []).append(sa.Column(column.name, type_))
    return Schema({name: sa.Table(name, metadata, *members) for name, members in columns.items()})

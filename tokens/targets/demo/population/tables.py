"""The tables of the newest release: inserting, loading without indexes, statistics."""

# ruff: noqa: S608 - nothing that comes from outside gets into these statements

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tokens.targets.demo.progress import Progress, ReportProgress

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tokens.database import Connection

_VACUUMS = 20  # at most, a tenth of a second apart

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relallvisible < c.relpages AS hidden
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind = 'r'
"""


class Tables:
    """The tables that are to be filled."""

    def __init__(self, connection: "sa.Connection") -> None:
        self._connection = connection.execution_options(no_parameters=True)

    def execute(self, statement: str) -> "sa.CursorResult[*tuple[Any, ...]]":
        return self._connection.exec_driver_sql(statement)

    def insert(self, table: str, columns: Mapping[str, str], source: str) -> None:
        """INSERT INTO `table` (…) SELECT … `source`; the sequence goes on after ids, if there are any."""
        names = ", ".join(f'"{name}"' for name in columns)
        values = ",\n       ".join(columns.values())
        self.execute(f"INSERT INTO {table} ({names})\nSELECT {values}\n{source}")
        if "id" in columns:
            self.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")

    @contextmanager
    def without_indexes(self, table: str, report: ReportProgress) -> Iterator[None]:
        """Load first, then build each index and check each foreign key at once instead of row by row."""
        keys = self.execute(f"""
            SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'public.{table}'::regclass AND contype = 'f'
             ORDER BY conname
        """).all()
        indexes = self.execute(f"""
            SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
             WHERE indrelid = 'public.{table}'::regclass
               AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
             ORDER BY indexrelid
        """).all()
        for name, _ in keys:
            self.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for name, _ in indexes:
            self.execute(f"DROP INDEX {name}")
        yield
        for number, (_, definition) in enumerate(indexes):
            report(Progress("Building the indexes", number, len(indexes)))
            self.execute(definition)
        report(Progress("Checking the foreign keys"))
        for name, definition in keys:
            self.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


def vacuum(connection: "Connection") -> None:
    """Collect statistics and mark every page as visible to everybody.

    Pages are not marked while somebody holds a snapshot from before our commit; here that is autovacuum at most, for a
    moment.
    """
    for _ in range(_VACUUMS):
        with connection.transaction():
            names = [table.name for table in connection.rows(TABLES)]
        connection.execute_outside(f"VACUUM (FREEZE, ANALYZE) {', '.join(names)}")
        with connection.transaction():
            if not any(table.hidden for table in connection.rows(TABLES)):
                return
        time.sleep(0.1)

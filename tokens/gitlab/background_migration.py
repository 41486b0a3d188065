"""The clean-up of GitLab 16.0 that gave an expiration date to every token without one."""

from dataclasses import dataclass
from datetime import datetime

from tokens.database import Connection
from tokens.gitlab.schema import BACKGROUND_MIGRATIONS, Schema

# GitLab tells the clean-up by these three names alone; its status changed from 3 to 6 in 17.3.
CLEAN_UP = """
    SELECT {started_at} AS started_at, {finished_at} AS finished_at
    FROM public.batched_background_migrations
    WHERE job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt'
      AND table_name = 'personal_access_tokens'
      AND column_name = 'id'
    ORDER BY id
    LIMIT 1
"""


@dataclass(frozen=True)
class BackgroundMigration:
    """When the clean-up ran, in UTC; None where GitLab did not record it (old releases, or still under way)."""

    started_at: datetime | None
    finished_at: datetime | None


def read_background_migration(connection: Connection, schema: Schema) -> BackgroundMigration | None:
    """The clean-up's times, or None if this instance never queued it."""
    if not schema.has(BACKGROUND_MIGRATIONS):
        return None
    times = {name: _plausible(schema, name) for name in ("started_at", "finished_at")}
    row = connection.row(CLEAN_UP.format(**times))
    return BackgroundMigration(row.started_at, row.finished_at) if row else None


def _plausible(schema: Schema, column: str) -> str:
    """The column's time where Python has it: not infinity, nor a year BC or beyond 9999. No clean-up ran then."""
    if not schema.has(BACKGROUND_MIGRATIONS, column):
        return "CAST(NULL AS timestamptz)"
    return f"CASE WHEN {column} BETWEEN '0002-01-01' AND '9999-01-01' THEN {column} END"

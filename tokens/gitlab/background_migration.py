"""The clean-up of GitLab 16.0 that gave an expiration date to every token without one."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from tokens.gitlab.schema import BACKGROUND_MIGRATIONS, Schema

# GitLab tells the clean-up by these three alone; its status changed from 3 to 6 in 17.3.
KEY = {
    "job_class_name": "CleanupPersonalAccessTokensWithNilExpiresAt",
    "table_name": "personal_access_tokens",
    "column_name": "id",
}


@dataclass(frozen=True)
class BackgroundMigration:
    """When the clean-up ran, in UTC; None where GitLab did not record it (old releases, or still under way)."""

    started_at: datetime | None
    finished_at: datetime | None


def read_background_migration(connection: sa.Connection, schema: Schema) -> BackgroundMigration | None:
    """The clean-up's times, or None if this instance never queued it."""
    table = schema.tables.get(BACKGROUND_MIGRATIONS)
    if table is None:
        return None
    started_at, finished_at = (_plausible(table.c.get(name)) for name in ("started_at", "finished_at"))
    row = connection.execute(
        sa.select(started_at.label("started_at"), finished_at.label("finished_at"))
        .select_from(table)
        .where(*(table.c[name] == value for name, value in KEY.items()))
        .order_by(table.c.id)
        .limit(1)
    ).one_or_none()
    return BackgroundMigration(row.started_at, row.finished_at) if row else None


def _plausible(column: sa.Column[datetime] | None) -> sa.ColumnElement[datetime | None]:
    """The column's time where Python has it: not infinity, nor a year BC or beyond 9999. No clean-up ran then."""
    if column is None:
        return sa.literal(None)
    first, last = (sa.cast(sa.literal(day, sa.Text), column.type) for day in ("0002-01-01", "9999-01-01"))
    return sa.case((column.between(first, last), column))

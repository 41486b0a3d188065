"""How many tokens expire when."""

from dataclasses import dataclass

import sqlalchemy as sa

from tokens import database
from tokens.gitlab import preflight
from tokens.gitlab.background_migration import BackgroundMigration, read_background_migration
from tokens.gitlab.expiration import ExpirationDate

TOP = 10  # dates, as GitLab's task shows


@dataclass(frozen=True)
class DateCount:
    """How many tokens, of every kind and state, carry one expiration date; None is "never expires"."""

    expires_at: ExpirationDate | None
    tokens: int


@dataclass(frozen=True)
class Analysis:
    """The 16.0 clean-up and the commonest expiration dates, most tokens first, later dates first among equals."""

    migration: BackgroundMigration | None
    dates: tuple[DateCount, ...]


def analyze(engine: sa.Engine, top: int | None = TOP) -> Analysis:
    """Count the tokens of each expiration date: revoked, expired and impersonation tokens too, as GitLab's task does.

    Args:
        engine: from `tokens.database.engine`; a standby will do.
        top: how many dates at most; None for all.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(engine) as connection:
        schema = preflight.check(connection, preflight.ANALYZE)
        migration = read_background_migration(connection, schema)
        dates = _count_dates(connection, schema.tokens, top)
    return Analysis(migration, dates)


def _count_dates(connection: sa.Connection, tokens: sa.Table, top: int | None) -> tuple[DateCount, ...]:
    expires_at = tokens.c.expires_at
    rows = connection.execute(
        sa.select(sa.cast(expires_at, sa.Text), sa.func.count())
        .group_by(expires_at)
        .order_by(sa.func.count().desc(), expires_at.desc())
        .limit(top)
    )
    return tuple(DateCount(None if text is None else ExpirationDate.stored(text), count) for text, count in rows)

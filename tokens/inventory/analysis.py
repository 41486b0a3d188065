"""How many tokens expire when."""

from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.background_migration import BackgroundMigration, read_background_migration
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.needs import ANALYZE

TOP = 10  # dates, as GitLab's task shows

COUNT_BY_DATE = """
    SELECT t.expires_at::text AS expires_at, count(*) AS tokens
    FROM public.personal_access_tokens t
    GROUP BY t.expires_at
    ORDER BY count(*) DESC, t.expires_at DESC
    LIMIT CAST(%(top)s AS bigint)
"""


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


def analyze(address: Address, top: int | None = TOP) -> Analysis:
    """Count the tokens of each expiration date: revoked, expired and impersonation tokens too, as GitLab's task does.

    Args:
        address: GitLab's main database; a standby will do.
        top: how many dates at most; None for all.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, ANALYZE)
        migration = read_background_migration(connection, schema)
        dates = tuple(
            DateCount(ExpirationDate.stored_or_none(row.expires_at), row.tokens)
            for row in connection.rows(COUNT_BY_DATE, top=top)
        )
    return Analysis(migration, dates)

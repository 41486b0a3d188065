"""How old a standby's data are: one that applies nothing any more answers as before."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tokens.counts import duration
from tokens.database import Connection

TOLERATED = timedelta(minutes=15)  # GitLab writes all the time

LAST_CHANGE = """
    SELECT
      CAST(extract(epoch FROM r.made_at) AS double precision) AS made_at,
      CAST(extract(epoch FROM clock_timestamp() - r.made_at) AS double precision) AS age
    FROM (SELECT pg_last_xact_replay_timestamp() AS made_at WHERE pg_is_in_recovery()) r
"""


@dataclass(frozen=True)
class Lag:
    """When the last change was made that a standby has, by the primary's clock, and how long ago that is."""

    last_change: datetime
    age: timedelta

    def __str__(self) -> str:
        return (
            f"The last change that this standby has is of {self.last_change:%Y-%m-%d %H:%M:%S} UTC, "
            f"{duration(self.age)} ago: it seems to apply none any more, and later tokens and dates are missing here."
        )


def read_lag(connection: Connection) -> Lag | None:
    """How far the standby of this connection is behind; None for a primary, or within what is TOLERATED."""
    row = connection.row(LAST_CHANGE)
    if row is None or row.made_at is None:  # nothing was applied since it was started
        return None
    age = timedelta(seconds=row.age)
    return Lag(datetime.fromtimestamp(row.made_at, UTC), age) if age > TOLERATED else None

"""The instance's settings that bear on tokens."""

from dataclasses import dataclass

from tokens.database import Connection
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.schema import SETTINGS, Schema

# GitLab's own limit where the instance sets none (400 behind a feature flag since 17.6).
DEFAULT_LIFETIME = 365  # days

TODAY = "SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text)"

# The row with the highest id is the current one.
MAXIMUM_LIFETIME = """
    SELECT max_personal_access_token_lifetime
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1
"""


@dataclass(frozen=True)
class Policy:
    """How long tokens may live on this instance.

    `today` is the server's date in UTC; `maximum_lifetime` is in days, None where the instance sets none.
    """

    today: ExpirationDate
    maximum_lifetime: int | None

    @property
    def lifetime(self) -> int:
        """The lifetime that GitLab gives a token when nobody says otherwise, in days."""
        return DEFAULT_LIFETIME if self.maximum_lifetime is None else self.maximum_lifetime

    def extended(self, expires_at: ExpirationDate) -> ExpirationDate:
        """The date that an extension suggests: a lifetime after the old one, or after today where that is infinite."""
        return (expires_at if expires_at.is_finite else self.today) + self.lifetime

    @property
    def last_date(self) -> ExpirationDate | None:
        """The latest expiration date that the instance allows today; None where it sets no limit."""
        return None if self.maximum_lifetime is None else self.today + self.maximum_lifetime


def read_policy(connection: Connection, schema: Schema) -> Policy:
    """The policy in force now."""
    (today,) = connection.row(TODAY)
    current = None
    if schema.has(SETTINGS, "id", "max_personal_access_token_lifetime"):
        current = connection.row(MAXIMUM_LIFETIME)
    return Policy(ExpirationDate.stored(today), current and current.max_personal_access_token_lifetime)

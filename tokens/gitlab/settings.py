"""The instance's settings that bear on tokens."""

from dataclasses import dataclass

import sqlalchemy as sa

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.schema import SETTINGS, Schema

# GitLab's own limit where the instance sets none (400 behind a feature flag since 17.6).
DEFAULT_LIFETIME = 365  # days


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


def read_policy(connection: sa.Connection, schema: Schema) -> Policy:
    """The policy in force now.

    GitLab: `application_settings.max_personal_access_token_lifetime`; the row with the highest id is the current one.
    """
    today = connection.execute(sa.text("SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text)")).scalar_one()
    column = schema.column(SETTINGS, "max_personal_access_token_lifetime")
    lifetime = None
    if column is not None:
        current = sa.select(column).order_by(column.table.c.id.desc()).limit(1)
        lifetime = connection.execute(current).scalar_one_or_none()
    return Policy(ExpirationDate.stored(today), lifetime)

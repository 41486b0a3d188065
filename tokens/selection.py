"""Which tokens a change is about: pure values that become a SQL condition."""

from dataclasses import dataclass

import sqlalchemy as sa

from tokens.gitlab.expiration import ExpirationDate


@dataclass(frozen=True)
class Selection:
    """The tokens of one date: of any kind, revoked and expired ones too, as GitLab's `edit` takes them."""

    expires_at: ExpirationDate

    def condition(self, tokens: sa.Table) -> sa.ColumnElement[bool]:
        """The condition on `personal_access_tokens` that these tokens fulfil."""
        return tokens.c.expires_at.is_not_distinct_from(date_value(self.expires_at))


def date_value(expires_at: ExpirationDate | None) -> sa.ColumnElement[object]:
    """The date as a SQL value of type `date`; None is NULL, "never expires"."""
    return sa.cast(None if expires_at is None else expires_at.literal, sa.Date)

"""Which tokens a change is about: pure values that become a SQL condition."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokens.gitlab.expiration import ExpirationDate


@dataclass(frozen=True)
class Condition:
    """A condition on `public.personal_access_tokens t`: SQL, and the values of its `%(name)s`."""

    sql: str
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class Selection:
    """The tokens of one date: of any kind, revoked and expired ones too, as GitLab's `edit` takes them."""

    expires_at: ExpirationDate

    def condition(self) -> Condition:
        """The condition that these tokens fulfil."""
        return Condition("t.expires_at = CAST(%(expires_at)s AS date)", {"expires_at": self.expires_at.literal})

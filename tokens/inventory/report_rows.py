"""What the page about an instance's tokens, or a team's, says: numbers, and of each table its first rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.inventory.breakdown import KindBreakdown
from tokens.inventory.forecast import Forecast
from tokens.inventory.policy import Demands
from tokens.usage.reading import Usage

Row = TypeVar("Row")


@dataclass(frozen=True)
class Top(Generic[Row]):
    """The first rows of a table, and how many there are in all."""

    rows: tuple[Row, ...]
    total: int

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


@dataclass(frozen=True)
class Soon:
    """Tokens that stop working within 7, 30 and 90 days (UTC), each counting those before.

    A token ends on its date, or before with the membership of its bot. One whose successor works is not among them. Of
    those within 30 days `used` were used in the last 7; where there are logs, these say that they are used daily.
    Nobody is warned of `unwarned_month` and `unwarned_quarter`, whose owners are active.
    """

    week: int
    month: int
    quarter: int
    used: int
    unwarned_month: int
    unwarned_quarter: int


@dataclass(frozen=True)
class TokenRow:
    """A token in a table; days in ISO 8601 (UTC), None where there is none. `name` and `owner` may be cut.

    `ends_on` is its date, or the day before it on which it goes with the membership of its bot.
    """

    id: int
    expires_at: ExpirationDate | None
    ends_on: ExpirationDate | None
    kind: Kind
    owner: str | None
    name: str
    created_at: str | None
    last_used_at: str | None
    email: str | None


@dataclass(frozen=True)
class OwnerRow:
    """An owner, and what it has to replace: tokens that end within 30 days, and those that ended in the last 30.

    `what` is User, Project or Namespace (a group); `owner` None stands for bots that belong nowhere. Of all these
    tokens `daily` are used daily and `tried` are refused, as far as logs say so.
    """

    what: str | None
    owner: str | None
    email: str | None
    renew: int
    ended: int
    never_used: int
    first: ExpirationDate
    daily: int = 0
    tried: int = 0


@dataclass(frozen=True)
class TriedRow:
    """A token that works no more, and how often GitLab has refused it: since when, and from how many addresses.

    `last_tried_at` is a day in ISO 8601 (UTC), None where the log has no times.
    """

    id: int
    expires_at: ExpirationDate | None
    state: State
    kind: Kind
    owner: str | None
    name: str
    email: str | None
    tries: int
    last_tried_at: str | None
    addresses: int


@dataclass(frozen=True)
class BotRow:
    """A bot without an active token, and the day (UTC) on which GitLab's clean-up takes it."""

    username: str
    owner: str | None
    tokens: int
    day: ExpirationDate


@dataclass(frozen=True)
class OtherRow:
    """A credential that is no token, in a table; `owner` None where the kind has none or it is gone."""

    id: int
    expires_at: ExpirationDate
    kind: OtherKind
    owner: str | None
    name: str | None


@dataclass(frozen=True)
class OtherKinds:
    """What a page says of credentials that are no tokens.

    Attributes:
        named: those of the kinds that were named, without kinds that none is of.
        soonest: the named ones that end within 90 days, the soonest first.
        notes: which of the named ones cannot be seen, and why.
        coming: where none was named, how many of each kind end within 90 days, None for what is not seen at once.
    """

    named: tuple[KindBreakdown, ...]
    soonest: Top[OtherRow]
    notes: tuple[str, ...]
    coming: Mapping[OtherKind, int | None]


@dataclass(frozen=True)
class Report:
    """Everything that the page says. `bots` is None where there is no clean-up; `whole` are all active tokens.

    `whole` is None where the page is about all of them, or is to say nothing of others. `tried` is None without logs,
    and `usage` what these say.
    """

    demands: Demands
    kinds: tuple[KindBreakdown, ...]
    forecast: Forecast
    soon: Soon
    owners: Top[OwnerRow]
    soonest: Top[TokenRow]
    unwarned: Top[TokenRow]
    idle: Top[TokenRow]
    bots: Top[BotRow] | None
    whole: int | None
    others: OtherKinds
    tried: Top[TriedRow] | None = None
    usage: Usage | None = None

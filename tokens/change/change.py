"""What a change does to each token: to its expiration date, or to the token itself. Pure values, also as SQL."""

from dataclasses import dataclass

from tokens.errors import UsageError, shortened
from tokens.gitlab.condition import Condition
from tokens.gitlab.expiration import FIRST, LAST, ExpirationDate
from tokens.gitlab.needs import CHANGE, REVOKE, Needs

MOST_DAYS = 3_660_000  # ten thousand years


@dataclass(frozen=True)
class Move:
    """How many tokens go from one date to another; None is "never expires"."""

    old: ExpirationDate | None
    new: ExpirationDate | None
    tokens: int


@dataclass(frozen=True)
class Change:
    """The new date: `to` a day, `by` a number of days from each token's own, or neither, which removes it.

    `days` spreads the new dates evenly over this number of days: from `to` on those of all tokens, from `by` on
    those of the tokens that had the same one, so that no day gets all of them again. 1 spreads nothing.

    `revokes` ends the tokens instead: they keep their dates.
    """

    to: ExpirationDate | None = None
    by: int | None = None
    days: int = 1
    revokes: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what contradicts itself, and for a date or a number that cannot be."""
        for name, number in (("by", self.by), ("days", self.days)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise UsageError(f"{name} takes a whole number of days, not {shortened(repr(number))}.")
        if self.to is not None and not isinstance(self.to, ExpirationDate):
            raise UsageError(f"to takes an ExpirationDate, not {shortened(repr(self.to))}.")
        if (self.to is not None) + (self.by is not None) + self.revokes > 1:
            raise UsageError("A change takes one of three: a new date, a number of days, or a revocation.")
        if not 1 <= self.days <= MOST_DAYS:
            raise UsageError(f"New dates are spread over 1 day to {MOST_DAYS:,} days, not {self.days}.")
        if self.by is not None and not -MOST_DAYS <= self.by <= MOST_DAYS:
            raise UsageError(f"Dates are moved by {MOST_DAYS:,} days at most, not by {self.by}.")
        if self.last is not None and not self.last.is_storable:
            raise UsageError(f"{self.last} is a date that PostgreSQL cannot hold.")

    @property
    def removes(self) -> bool:
        """Whether tokens will never expire afterwards."""
        return self.to is None and self.by is None and not self.revokes

    @property
    def needs(self) -> Needs:
        """The columns that it reads and writes."""
        return REVOKE if self.revokes else CHANGE

    @property
    def last(self) -> ExpirationDate | None:
        """The latest date that is given, None where each token has its own or none."""
        return None if self.to is None else self.to + (self.days - 1)

    def new_date(self, old: ExpirationDate | None, position: int, total: int) -> ExpirationDate | None:
        """The date for the token at `position` (from 0) of `total` spread together; of none, none by days."""
        if self.revokes:
            return old
        later = position * self.days // total
        if self.by is not None:
            return old and old + (self.by + later)
        return None if self.to is None else self.to + later

    def expression(self) -> Condition:
        """The new date of a token `t` as SQL; of the staggered ones the latest."""
        if self.revokes:
            return Condition("t.expires_at", {})
        if self.by is not None:
            return _later("by", self.by + self.days - 1)
        return Condition("CAST(%(new)s AS date)", {"new": self.last and self.last.literal})

    def earliest(self) -> Condition:
        """The same; of the staggered ones the first."""
        if self.days == 1:
            return self.expression()
        if self.by is not None:
            return _later("first_by", self.by)
        return Condition("CAST(%(first_new)s AS date)", {"first_new": self.to and self.to.literal})


def _later(name: str, days: int) -> Condition:
    """The date of a token `t` this number of days later; it stays where PostgreSQL cannot hold that: no plan has it."""
    first, last = FIRST + max(-days, 0), LAST - max(days, 0)
    bounds = {f"{name}_from": ExpirationDate(first).literal, f"{name}_to": ExpirationDate(last).literal}
    within = f"t.expires_at BETWEEN CAST(%({name}_from)s AS date) AND CAST(%({name}_to)s AS date)"
    later = f"t.expires_at + CASE WHEN {within} THEN CAST(%({name})s AS integer) ELSE 0 END"
    return Condition(f"({later})", {name: days, **bounds})

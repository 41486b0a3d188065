"""The dates that PostgreSQL can hold in `expires_at`: from 4713 BC to `infinity`, where Python's have 0001 to 9999."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Self

from tokens.errors import TokensError

# The Gregorian calendar repeats after this span, weekdays and all, so any year can borrow Python's arithmetic.
CYCLE_YEARS = 400
CYCLE_DAYS = 146_097

# The first and the last day that PostgreSQL's type `date` has, as ordinals: 4714-11-24 BC and 5874897-12-31.
FIRST, LAST = -1_721_425, 2_145_762_068

TYPED = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

STORED = re.compile(r"(\d{4,})-(\d{2})-(\d{2})( BC)?", re.ASCII)


class NotADate(TokensError, ValueError):
    """What a database has for a date is none."""


@dataclass(frozen=True, order=True)
class ExpirationDate:
    """A day in UTC; a token stops working at 00:00 UTC of its expiration date.

    `ordinal` counts days as `datetime.date.toordinal` does (0001-01-01 is 1), below 1 for years BC; it is plus or minus
    infinity for PostgreSQL's `infinity` and `-infinity`.

    >>> str(ExpirationDate.typed("2024-02-29") + 365)
    '2025-02-28'
    >>> str(ExpirationDate.stored("0044-03-15 BC")), str(ExpirationDate.stored("infinity"))
    ('-0043-03-15', 'Infinity')
    """

    ordinal: float

    def __post_init__(self) -> None:
        """Raises ValueError for what is neither a whole number of days nor infinite."""
        if math.isnan(self.ordinal) or (self.is_finite and self.ordinal % 1):
            raise ValueError(f"a day has a whole number, not {self.ordinal}")

    @classmethod
    def of(cls, day: date) -> Self:
        """The date of a calendar's day; of a `datetime` that is aware of its time zone the day in UTC."""
        if isinstance(day, datetime) and day.utcoffset() is not None:
            day = day.astimezone(UTC)
        return cls(day.toordinal())

    @classmethod
    def typed(cls, text: str) -> Self:
        """The date that a person wrote as `YYYY-MM-DD`, spaces around it allowed; ValueError for anything else."""
        if not TYPED.fullmatch(text.strip()):
            raise ValueError(f"{text!r} is not a date in the form YYYY-MM-DD")
        return cls(date.fromisoformat(text.strip()).toordinal())

    @classmethod
    def stored(cls, text: str) -> Self:
        """The date that PostgreSQL wrote as text with DateStyle ISO; NotADate for anything else."""
        if text in ("infinity", "-infinity"):
            return cls(float(text))
        parts = STORED.fullmatch(text)
        if parts is None:
            raise NotADate(f"{text!r} is not a date as PostgreSQL writes it: the column is not of GitLab's type.")
        year, month, day = (int(part) for part in parts.groups()[:3])
        cycles, year = divmod((1 - year if parts[4] else year) - 1, CYCLE_YEARS)
        return cls(date(year + 1, month, day).toordinal() + cycles * CYCLE_DAYS)

    @classmethod
    def stored_or_none(cls, text: str | None) -> Self | None:
        """The same of a column that may be NULL."""
        return None if text is None else cls.stored(text)

    @property
    def is_finite(self) -> bool:
        """False for `infinity` and `-infinity`."""
        return math.isfinite(self.ordinal)

    @property
    def is_storable(self) -> bool:
        """Whether PostgreSQL can hold the date."""
        return not self.is_finite or FIRST <= self.ordinal <= LAST

    @property
    def as_date(self) -> date:
        """The day as Python has it; ValueError or OverflowError where Python does not."""
        return date.fromordinal(int(self.ordinal))

    @property
    def literal(self) -> str:
        """The date as PostgreSQL reads it with any DateStyle."""
        if not self.is_finite:
            return str(self).lower()
        year, month, day = self._parts()
        return f"{year:04}-{month:02}-{day:02}" if year > 0 else f"{1 - year:04}-{month:02}-{day:02} BC"

    def __add__(self, days: int) -> Self:
        """The date `days` days later; infinity stays where it is."""
        return type(self)(self.ordinal + days)

    def __str__(self) -> str:
        """The date as GitLab's task shows it: years BC count 0, -1, … (`-0043` is 44 BC)."""
        if not self.is_finite:
            return "Infinity" if self.ordinal > 0 else "-Infinity"
        year, month, day = self._parts()
        sign = "-" if year < 0 else ""
        return f"{sign}{abs(year):04}-{month:02}-{day:02}"

    def beside(self, today: "ExpirationDate") -> str:
        """The date with its weekday and its distance from `today`, as a person reads it in a sentence.

        >>> today = ExpirationDate.typed("2026-11-27")
        >>> (today + 14).beside(today), (today + -1).beside(today), ExpirationDate.stored("infinity").beside(today)
        ('2026-12-11 (Fri, in 14 days)', '2026-11-26 (Thu, yesterday)', 'Infinity')
        """
        if not (self.is_finite and today.is_finite):
            return str(self)
        return f"{self} ({WEEKDAYS[(int(self.ordinal) - 1) % 7]}, {distance(int(self.ordinal - today.ordinal))})"

    def _parts(self) -> tuple[int, int, int]:
        cycles, days = divmod(int(self.ordinal) - 1, CYCLE_DAYS)
        near = date.fromordinal(days + 1)
        return near.year + cycles * CYCLE_YEARS, near.month, near.day


FURTHEST = ExpirationDate.typed("9999-12-31")
"""What GitLab's own forms and API can show."""


def distance(days: int) -> str:
    """A day by its distance from today.

    >>> distance(0), distance(1), distance(7), distance(-3)
    ('today', 'tomorrow', 'in 7 days', '3 days ago')
    """
    named = {0: "today", 1: "tomorrow", -1: "yesterday"}
    return named.get(days) or (f"in {days:,} days" if days > 0 else f"{-days:,} days ago")


def quoted(day: ExpirationDate | None) -> str:
    """A date, or NULL, as an element in the literal of an array of PostgreSQL's."""
    return f'"{day.literal}"' if day else "NULL"

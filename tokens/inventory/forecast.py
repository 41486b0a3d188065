"""How many tokens expire when, from today on: by day, week or month, and on which days too many of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.settings import read_policy
from tokens.selection import Selection
from tokens.unmatched import check_names

CLIFF = 5  # a day with more than the fifth part of all tokens
FEW = 10  # tokens that are no cliff, however many of them have one day

BY_DATE = """
    SELECT t.expires_at::text AS expires_at, {kind} AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY t.expires_at, 2
"""

IN_WINDOW = """AND t.revoked IS NOT TRUE
      AND t.expires_at BETWEEN CAST(%(first)s AS date) AND CAST(%(last)s AS date)"""

# GitLab deletes the bot with the membership, whatever date its tokens have.
MEMBERSHIPS = """
    SELECT m.expires_at::text AS expires_at, count(*) AS memberships
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id AND u.user_type = 6
    WHERE m.requested_at IS NULL
      AND m.expires_at BETWEEN CAST(%(first)s AS date) AND CAST(%(last)s AS date)
    GROUP BY 1
"""


class Step(StrEnum):
    """How long a bucket is; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Day:
    """What ends on one day: tokens by their kind, and memberships of bots."""

    day: date
    by_kind: Mapping[Kind, int]
    memberships: int = 0

    @property
    def tokens(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True)
class Bucket:
    """What ends from `first` to `last`, both included; `total` counts the tokens of the buckets before, too."""

    first: date
    last: date
    by_kind: Mapping[Kind, int]
    memberships: int
    total: int

    @property
    def tokens(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True)
class Forecast:
    """The days from `first` to `last` on which something ends, in their order."""

    first: date
    last: date
    days: tuple[Day, ...]

    @property
    def tokens(self) -> int:
        return sum(day.tokens for day in self.days)

    @property
    def cliffs(self) -> tuple[Day, ...]:
        """The days that have more than a fifth of all tokens, most tokens first."""
        found = [day for day in self.days if day.tokens > FEW and day.tokens * CLIFF > self.tokens]
        return tuple(sorted(found, key=lambda day: -day.tokens))

    def fullest(self, first: int | None) -> Iterator[Bucket]:
        """The days on which the most tokens expire, most first, the sooner first among equals."""
        total = 0
        for day in sorted((day for day in self.days if day.tokens), key=lambda day: (-day.tokens, day.day))[:first]:
            total += day.tokens
            yield Bucket(day.day, day.day, day.by_kind, day.memberships, total)

    def buckets(self, step: Step) -> Iterator[Bucket]:
        """Every bucket from the first day to the last, empty ones too."""
        days = {day.day: day for day in self.days}
        total = 0
        begins = self.first
        while begins <= self.last:
            ends = min(_end(begins, step), self.last)
            inside = [days[day] for day in _between(begins, ends) if day in days]
            by_kind = _sum(day.by_kind for day in inside)
            total += sum(by_kind.values())
            yield Bucket(begins, ends, by_kind, sum(day.memberships for day in inside), total)
            begins = ends + timedelta(1)


def forecast(address: Address, selection: Selection, days: int) -> Forecast:
    """What ends from tomorrow until `days` days from today (UTC), of the tokens of `selection`; a standby will do.

    The memberships are those of all bots, whatever the selection says.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        today = read_policy(connection, schema).today
        first, last = today + 1, today + days
        condition = selection.condition(schema)
        sql = f"{condition.sql}\n      {IN_WINDOW}"
        bounds = {"first": first.literal, "last": last.literal}
        statement = BY_DATE.format(kind=kind_expression(schema), condition=sql)
        counts: dict[date, Counter[Kind]] = {}
        for row in connection.rows(statement, **condition.parameters, **bounds):
            counts.setdefault(_date(row.expires_at), Counter())[Kind(row.kind)] += row.tokens
        ending = {_date(row.expires_at): row.memberships for row in connection.rows(MEMBERSHIPS, **bounds)}
    found = [Day(day, counts.get(day, {}), ending.get(day, 0)) for day in sorted(counts.keys() | ending.keys())]
    return Forecast(date.fromordinal(int(first.ordinal)), date.fromordinal(int(last.ordinal)), tuple(found))


def _date(stored: str) -> date:
    return date.fromordinal(int(ExpirationDate.stored(stored).ordinal))


def _end(first: date, step: Step) -> date:
    """The last day of the bucket that has `first` in it."""
    if step is Step.DAY:
        return first
    if step is Step.WEEK:
        return first + timedelta(6 - first.weekday())
    return (first.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1)


def _between(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(number)


def _sum(counts: Iterable[Mapping[Kind, int]]) -> Mapping[Kind, int]:
    total: Counter[Kind] = Counter()
    for one in counts:
        total.update(one)
    return {kind: total[kind] for kind in Kind if total[kind]}

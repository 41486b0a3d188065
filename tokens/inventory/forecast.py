"""How many tokens expire when, from today on: by day, week or month, and on which days too many of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.condition import Condition
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.ownership import PLACE, owner_shown
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import read_policy
from tokens.inventory import credentials
from tokens.inventory.ids import notes_on_selection
from tokens.selection import EVERY_STATE, EVERYTHING, DateRange, Selection
from tokens.selection.unmatched import check_names

CLIFF = 5  # a day with more than the fifth part of all tokens
FEW = 10  # tokens that are no cliff, however many of them have one day
MOST_EVENTS = 5000  # what a calendar takes

BY_DATE = """
    SELECT t.expires_at::text AS expires_at, {kind} AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY t.expires_at, 2
"""

# A bot is the business of its project or group, which may have several.
BY_OWNER = """
    SELECT
      t.expires_at::text AS expires_at,
      COALESCE(place.source_type, 'User') AS owner_type,
      COALESCE(place.source_id, t.user_id) AS owner_id,
      {owner} AS owner,
      {kind} AS kind,
      count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {place}
    WHERE {condition}
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3
"""

IN_WINDOW = "AND t.expires_at BETWEEN CAST(%(first)s AS date) AND CAST(%(last)s AS date)"
NOT_REVOKED = "AND t.revoked IS NOT TRUE"

# GitLab deletes the bot with its first membership that ends, whatever date its tokens have: in the next night where
# that date is past. Those that would end later go with the bot.
MEMBERSHIPS = """
    SELECT ended.night::text AS expires_at, count(*) AS memberships
    FROM (
      SELECT
        GREATEST(m.expires_at, CAST(%(first)s AS date)) AS night,
        rank() OVER (PARTITION BY m.user_id ORDER BY GREATEST(m.expires_at, CAST(%(first)s AS date))) AS place
      FROM public.members m
      JOIN public.users u ON u.id = m.user_id AND u.user_type = 6
      WHERE m.requested_at IS NULL
        AND m.expires_at <= CAST(%(last)s AS date)
        {of_these}
    ) ended
    WHERE ended.place = 1
    GROUP BY 1
"""
WITH_TOKENS = """AND EXISTS (
          SELECT
          FROM public.personal_access_tokens t
          WHERE t.user_id = u.id
            AND {condition}
        )"""


class Interval(StrEnum):
    """How long a bucket is; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class OwnerType(StrEnum):
    """What a token belongs to: a person or service account, or the project or group of a bot."""

    USER = "User"
    PROJECT = "Project"
    GROUP = "Namespace"


@dataclass(frozen=True)
class Owner:
    """Whose tokens they are: its name as people know it, None for a bot that has lost its place; its id stays."""

    type: OwnerType
    id: int
    name: str | None


@dataclass(frozen=True)
class Day:
    """What ends on one day: tokens, and credentials that were named, by their kind; and memberships of bots.

    That is of one owner, or of all together (None).
    """

    day: date
    by_kind: Mapping[Kind | OtherKind, int]
    memberships: int = 0
    owner: Owner | None = None

    @property
    def tokens(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True)
class Bucket:
    """What ends from `first` to `last`, both included; `total` counts the tokens of the buckets before, too."""

    first: date
    last: date
    by_kind: Mapping[Kind | OtherKind, int]
    memberships: int
    total: int

    @property
    def tokens(self) -> int:
        return sum(self.by_kind.values())


@dataclass(frozen=True)
class Forecast:
    """The days from `first` to `last` on which something ends, in their order.

    `maximum` is the latest date that the instance allows today, None where it sets no limit. `kinds` are the other
    kinds that were named. `notes` are sentences about those that cannot be seen, and about ids that come to nothing.
    `others` are as in `tokens.inventory.tokens.Listing`, without memberships.
    """

    first: date
    last: date
    days: tuple[Day, ...]
    maximum: date | None = None
    kinds: tuple[OtherKind, ...] = ()
    notes: tuple[str, ...] = ()
    others: Mapping[OtherKind, int | None] = field(default_factory=dict)

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

    def buckets(self, interval: Interval) -> Iterator[Bucket]:
        """Every bucket from the first day to the last, empty ones too."""
        days = {day.day: day for day in self.days}
        total = 0
        begins = self.first
        while begins <= self.last:
            ends = min(_end(begins, interval), self.last)
            inside = [days[day] for day in _between(begins, ends) if day in days]
            by_kind = _sum(day.by_kind for day in inside)
            total += sum(by_kind.values())
            yield Bucket(begins, ends, by_kind, sum(day.memberships for day in inside), total)
            begins = ends + timedelta(1)


def forecast(
    address: Address,
    selection: Selection,
    days: int,
    *,
    ci: Address | None = None,
    counts_others: bool = False,
    revoked: bool = False,
) -> Forecast:
    """What ends from tomorrow until `days` days from today (UTC), of the tokens of `selection`; a standby will do.

    Where other kinds are named it begins today: what ends at a moment may do so later today. Tokens that are revoked
    count with `revoked` alone. The memberships are those of bots that have a token of the selection, or of all bots
    where it names nothing but states. Where the kind `membership` is named they are credentials, and counted as such
    alone.

    `ci` is GitLab's ci database where it has one of its own; with `counts_others` the credentials are counted that are
    no tokens, where none of them is named.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist, or an option that means nothing for a kind.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        return read_forecast(connection, schema, selection, days, ci=ci, counts_others=counts_others, revoked=revoked)


def read_forecast(
    connection: Connection,
    schema: Schema,
    selection: Selection,
    days: int,
    *,
    ci: Address | None = None,
    counts_others: bool = False,
    revoked: bool = False,
    memberships: bool = True,
) -> Forecast:
    """The same over a connection; without `memberships` nothing is said of those."""
    window = _window(connection, schema, selection, days, revoked=revoked)
    statement = BY_DATE.format(kind=kind_expression(schema), condition=window.inside.sql)
    counts: dict[date, Counter[Kind | OtherKind]] = {}
    for row in connection.rows(statement, **window.inside.parameters):
        counts.setdefault(_date(row.expires_at), Counter())[Kind(row.kind)] += row.tokens
    # A token of today is dead already, while what ends at a moment of today may work until then.
    inside = DateRange(window.first + -1, window.last, from_now=True)
    first = inside.first if selection.others else window.first
    with credentials.named(connection, schema, ci, selection) as named:
        dated = named.narrowed(inside)
        for kind, row in dated.each(lambda words: f"{words.day} AS expires_at, count(*) AS number", "GROUP BY 1"):
            counts.setdefault(_date(row.expires_at), Counter())[kind] += row.number
    others: Mapping[OtherKind, int | None] = {}
    if counts_others and not selection.others:
        membership = (OtherKind.MEMBERSHIP,)  # which has rows of its own
        others = credentials.coming(connection, schema, ci, selection, inside, membership)
    ending: Mapping[date, int] = {}
    if memberships and OtherKind.MEMBERSHIP not in selection.others:
        ending = _memberships(connection, schema, selection, window)
    notes = (
        *named.notes,
        *notes_on_selection(connection, schema, selection, nothing=not counts),
    )
    found = [Day(day, counts.get(day, {}), ending.get(day, 0)) for day in sorted(counts.keys() | ending.keys())]
    return Forecast(first.as_date, window.last.as_date, tuple(found), window.maximum, named.kinds, notes, others)


def _memberships(connection: Connection, schema: Schema, selection: Selection, window: "_Window") -> Mapping[date, int]:
    """How many memberships of bots end on which day."""
    bounds = {"first": window.first.literal, "last": window.last.literal}
    if replace(selection, states=EVERY_STATE) == EVERYTHING:
        rows = connection.rows(MEMBERSHIPS.format(of_these=""), **bounds)
    else:
        condition = selection.condition(schema)
        of_these = WITH_TOKENS.format(condition=condition.sql)
        rows = connection.rows(MEMBERSHIPS.format(of_these=of_these), **bounds, **condition.parameters)
    return {_date(row.expires_at): row.memberships for row in rows}


def events(
    address: Address, selection: Selection, days: int, *, ci: Address | None = None, revoked: bool = False
) -> tuple[tuple[Day, ...], tuple[str, ...]]:
    """The same day by day, for a calendar: by owner if the selection names users, groups or projects; and the notes.

    The memberships are only in those of all owners together.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also more than MOST_EVENTS events.
        UsageError: a name in the selection that does not exist, or another kind for owners.
    """
    if not (selection.users or selection.groups or selection.projects):
        every = forecast(address, selection, days, ci=ci, revoked=revoked)
        return every.days, every.notes
    if selection.others:
        raise UsageError("A calendar by owner has access tokens alone: leave the other kinds out.")
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        window = _window(connection, schema, selection, days, revoked=revoked)
        statement = BY_OWNER.format(
            owner=owner_shown(schema),
            kind=kind_expression(schema),
            place=PLACE.strip(),
            condition=window.inside.sql,
        )
        counts: dict[tuple[date, Owner], Counter[Kind | OtherKind]] = {}
        for row in connection.rows(statement, **window.inside.parameters):
            owner = Owner(OwnerType(row.owner_type), row.owner_id, row.owner)
            counts.setdefault((_date(row.expires_at), owner), Counter())[Kind(row.kind)] += row.tokens
        notes = notes_on_selection(connection, schema, selection, nothing=not counts)
    if len(counts) > MOST_EVENTS:
        raise Refused(
            f"{len(counts):,} events are more than a calendar takes ({MOST_EVENTS:,}): choose fewer owners, or leave "
            "--user, --group and --project out for one event a date."
        )
    return tuple(Day(day, by_kind, owner=owner) for (day, owner), by_kind in counts.items()), notes


@dataclass(frozen=True)
class _Window:
    """The first and the last day, the latest date that is allowed, and the condition of the tokens that end in them."""

    first: ExpirationDate
    last: ExpirationDate
    maximum: date | None
    inside: Condition


def _window(connection: Connection, schema: Schema, selection: Selection, days: int, *, revoked: bool) -> _Window:
    policy = read_policy(connection, schema)
    first, last = policy.today + 1, policy.today + days
    condition = selection.condition(schema)
    terms = [condition.sql, IN_WINDOW, *([] if revoked else [NOT_REVOKED])]
    bounds = {"first": first.literal, "last": last.literal}
    inside = Condition("\n      ".join(terms), {**condition.parameters, **bounds})
    latest = policy.last_date
    maximum = None if latest is None or latest.ordinal > date.max.toordinal() else latest.as_date
    return _Window(first, last, maximum, inside)


def _date(stored: str) -> date:
    return ExpirationDate.stored(stored).as_date


def _end(first: date, interval: Interval) -> date:
    """The last day of the bucket that has `first` in it."""
    if interval is Interval.DAY:
        return first
    if interval is Interval.WEEK:
        return first + timedelta(6 - first.weekday())
    return (first.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1)


def _between(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(number)


def _sum(counts: Iterable[Mapping[Kind | OtherKind, int]]) -> Mapping[Kind | OtherKind, int]:
    total: Counter[Kind | OtherKind] = Counter()
    for one in counts:
        total.update(one)
    return {kind: total[kind] for kind in (*Kind, *OtherKind) if total[kind]}

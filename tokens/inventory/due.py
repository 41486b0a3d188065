"""How many tokens will soon stop working: what monitoring asks every few minutes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokens import database
from tokens.address import Address
from tokens.errors import Refused
from tokens.gitlab import preflight
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.settings import read_policy
from tokens.gitlab.succession import read_line
from tokens.inventory import credentials
from tokens.inventory.credentials import Others, Words
from tokens.selection import DateRange, Selection
from tokens.unmatched import check_names

DUE = """
    SELECT
      min(t.expires_at)::text AS first,
      count(*) AS warning,
      count(*) FILTER (WHERE t.expires_at <= {today} + CAST(%(critical)s AS integer)) AS critical
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
      AND {works}
      AND t.expires_at <= {today} + CAST(%(warning)s AS integer)
      {not_renewed}
"""

GAUGES = """
    SELECT
      {kind} AS kind,
      count(*) FILTER (WHERE {works}) AS active,
      count(*) FILTER (WHERE {expired}) AS expired,
      count(*) FILTER (WHERE {revoked}) AS revoked,
      count(*) FILTER (WHERE {ends} AND t.expires_at <= {today} + 7) AS within_7,
      count(*) FILTER (WHERE {ends} AND t.expires_at <= {today} + 30) AS within_30,
      count(*) FILTER (WHERE {ends} AND t.expires_at <= {today} + 60) AS within_60,
      count(*) FILTER (WHERE {ends} AND t.expires_at <= {today} + 90) AS within_90,
      count(*) FILTER (WHERE {works} AND t.expires_at IS NULL) AS undated,
      min(t.expires_at) FILTER (WHERE {ends} AND isfinite(t.expires_at))::text AS next
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY 1
"""


@dataclass(frozen=True)
class Due:
    """How many tokens stop working within `warn` and within `critical` days (UTC); `first` is the soonest date.

    A token whose successor works is not among them. `others` and `named` are as in
    `tokens.inventory.tokens.Listing`.
    """

    warn: int
    critical: int
    warning: int
    urgent: int
    first: ExpirationDate | None
    today: ExpirationDate
    others: Mapping[OtherKind, int | None] = field(default_factory=dict)
    named: frozenset[OtherKind] = frozenset()

    @property
    def days(self) -> int | None:
        """How many days it is to the soonest date."""
        return None if self.first is None else int(self.first.ordinal - self.today.ordinal)


@dataclass(frozen=True)
class KindGauge:
    """The tokens of one kind as numbers that monitoring keeps; `within` has those that expire in so many days.

    Neither `within` nor `next` is about a token whose successor works.
    """

    kind: Kind | OtherKind
    by_state: dict[State, int]
    within: dict[int, int]
    undated: int
    next: ExpirationDate | None


def due(
    address: Address,
    selection: Selection,
    warn: int,
    critical: int,
    *,
    ci: Address | None = None,
    counts_others: bool = False,
) -> Due:
    """What of `selection` stops working within `warn` days, and within `critical` days; a standby will do.

    `ci` is GitLab's ci database where it has one of its own; with `counts_others` the credentials are counted that are
    no tokens, where none of them is named.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where a kind that was named cannot be seen.
        UsageError: a name in the selection that does not exist, or an option that means nothing for a kind.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        today = read_policy(connection, schema).today
        condition = selection.condition(schema)
        line = read_line(connection, schema)
        not_renewed = f"AND NOT {line.has_live}" if line else ""
        statement = DUE.format(condition=condition.sql, works=WORKS, today=TODAY, not_renewed=not_renewed)
        rows = [connection.row(statement, warning=warn, critical=critical, **condition.parameters)]
        window = DateRange(today, today + warn, from_now=True)
        with credentials.named(connection, schema, ci, selection) as named:
            _require_all(named)
            ends = f"CAST({TODAY} + {critical + 1} AS timestamptz)"
            rows += [row for _, row in named.narrowed(window).each(lambda words: _due(words, ends))]
        others: Mapping[OtherKind, int | None] = {}
        if counts_others and not selection.others:
            others = credentials.coming(connection, schema, ci, selection, window)
    dates = [ExpirationDate.stored(row.first) for row in rows if row.first is not None]
    warning, urgent = sum(row.warning for row in rows), sum(row.critical for row in rows)
    return Due(warn, critical, warning, urgent, min(dates, default=None), today, others, selection.others)


def _require_all(named: Others) -> None:
    """Monitoring must not take for well what it cannot see."""
    if named.unseen:
        raise Refused(" ".join(named.notes))


def _due(words: Words, ends: str) -> str:
    return (
        f"CAST(min(CAST({words.moment} AT TIME ZONE 'UTC' AS date)) AS text) AS first, count(*) AS warning, "
        f"count(*) FILTER (WHERE {words.moment} < {ends}) AS critical"
    )


def gauges(address: Address, selection: Selection, *, ci: Address | None = None) -> tuple[KindGauge, ...]:
    """The tokens of `selection` by kind, every kind that can be named, those without tokens too.

    Other kinds are among them where they were named. Raises what `due` raises.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        condition = selection.condition(schema)
        line = read_line(connection, schema)
        statement = GAUGES.format(
            kind=kind_expression(schema),
            works=WORKS,
            ends=f"({WORKS} AND NOT {line.has_live})" if line else WORKS,
            expired=STATE_CONDITIONS[State.EXPIRED],
            revoked=STATE_CONDITIONS[State.REVOKED],
            today=TODAY,
            condition=condition.sql,
        )
        rows = {Kind(row.kind): row for row in connection.rows(statement, **condition.parameters)}
        with credentials.named(connection, schema, ci, selection) as named:
            _require_all(named)
            others = [_gauge(kind, row) for kind, row in named.each(_gauges)]
    kinds = (_gauge(kind, rows.get(kind)) for kind in Kind if kind is not Kind.OTHER or kind in rows)
    return (*kinds, *others)


def _gauges(words: Words) -> str:
    within = {days: f"{words.moment} < CAST({TODAY} + {days + 1} AS timestamptz)" for days in (7, 30, 60, 90)}
    counts = {
        **{state.value: words.is_in(state) for state in State},
        **{f"within_{days}": f"{words.works} AND {ends}" for days, ends in within.items()},
        "undated": f"{words.works} AND {words.moment} IS NULL",
    }
    columns = [f"count(*) FILTER (WHERE {sql}) AS {name}" for name, sql in counts.items()]
    dated = f"{words.works} AND isfinite({words.moment})"
    soonest = f"min(CAST({words.moment} AT TIME ZONE 'UTC' AS date)) FILTER (WHERE {dated})"
    return ",\n      ".join((*columns, f"CAST({soonest} AS text) AS next"))


def _gauge(kind: Kind | OtherKind, row: object) -> KindGauge:
    def of(name: str) -> int:
        return int(getattr(row, name, 0))

    first = getattr(row, "next", None)
    return KindGauge(
        kind,
        {state: of(state.value) for state in State},
        {days: of(f"within_{days}") for days in (7, 30, 60, 90)},
        of("undated"),
        None if first is None else ExpirationDate.stored(first),
    )

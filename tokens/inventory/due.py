"""How many tokens will soon stop working: what monitoring asks every few minutes."""

from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, count_by_kind, kind_expression, once
from tokens.gitlab.needs import LIST
from tokens.gitlab.settings import read_policy
from tokens.gitlab.succession import read_line
from tokens.selection import Selection
from tokens.unmatched import check_names

DUE = """
    SELECT
      min(t.expires_at)::text AS first,
      count(*) AS warning,
      count(*) FILTER (WHERE t.expires_at <= {today} + CAST(%(critical)s AS integer)) AS critical
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
      AND t.revoked IS NOT TRUE
      AND t.expires_at BETWEEN {today} + 1 AND {today} + CAST(%(warning)s AS integer)
      {not_renewed}
"""

# What is asked of each token is asked once, in a sub-select that PostgreSQL leaves as it is because of its OFFSET.
GAUGES = """
    SELECT
      t.kind,
      count(*) FILTER (WHERE t.works) AS active,
      count(*) FILTER (WHERE {expired}) AS expired,
      count(*) FILTER (WHERE {revoked}) AS revoked,
      count(*) FILTER (WHERE t.ends AND t.expires_at <= {today} + 7) AS within_7,
      count(*) FILTER (WHERE t.ends AND t.expires_at <= {today} + 30) AS within_30,
      count(*) FILTER (WHERE t.ends AND t.expires_at <= {today} + 60) AS within_60,
      count(*) FILTER (WHERE t.ends AND t.expires_at <= {today} + 90) AS within_90,
      count(*) FILTER (WHERE t.works AND t.expires_at IS NULL) AS undated,
      min(t.expires_at) FILTER (WHERE t.ends AND isfinite(t.expires_at))::text AS next
    FROM (
      SELECT {kind} AS kind, t.revoked, t.expires_at, {works} AS works, {ends} AS ends
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
      OFFSET 0
    ) t
    GROUP BY t.kind
"""


@dataclass(frozen=True)
class Due:
    """How many tokens stop working within `warn` and within `critical` days (UTC); `first` is the soonest date.

    A token whose successor works is not among them.
    """

    warn: int
    critical: int
    warning: int
    urgent: int
    first: ExpirationDate | None
    today: ExpirationDate

    @property
    def days(self) -> int | None:
        """How many days it is to the soonest date."""
        return None if self.first is None else int(self.first.ordinal - self.today.ordinal)


@dataclass(frozen=True)
class KindGauge:
    """The tokens of one kind as numbers that monitoring keeps; `within` has those that expire in so many days.

    Neither `within` nor `next` is about a token whose successor works.
    """

    kind: Kind
    by_state: dict[State, int]
    within: dict[int, int]
    undated: int
    next: ExpirationDate | None


def due(address: Address, selection: Selection, warn: int, critical: int) -> Due:
    """What of `selection` stops working within `warn` days, and within `critical` days; a standby will do.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        today = read_policy(connection, schema).today
        condition = selection.condition(schema)
        line = read_line(connection, schema)
        not_renewed = f"AND NOT {line.has_live}" if line else ""
        statement = DUE.format(condition=condition.sql, today=TODAY, not_renewed=not_renewed)
        row = connection.row(once(statement), warning=warn, critical=critical, **condition.parameters)
    first = None if row.first is None else ExpirationDate.stored(row.first)
    return Due(warn, critical, row.warning, row.critical, first, today)


def gauges(address: Address, selection: Selection) -> tuple[KindGauge, ...]:
    """The tokens of `selection` by kind, every kind that can be named, those without tokens too.

    Raises what `due` raises.
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
        rows = {Kind(row.kind): row for row in count_by_kind(connection, statement, **condition.parameters)}
    return tuple(_gauge(kind, rows.get(kind)) for kind in Kind if kind is not Kind.OTHER or kind in rows)


def _gauge(kind: Kind, row: object) -> KindGauge:
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

"""How many tokens there are and how they stand, as numbers by kind that monitoring keeps."""

from dataclasses import dataclass
from datetime import datetime

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, count_by_kind, kind_expression, once
from tokens.gitlab.membership import BOT_GOES, BOT_GOES_ON, ENDS_ON, MAY_END
from tokens.gitlab.needs import LIST
from tokens.gitlab.ownership import PLACE, nobody_told
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.rules import without_notice
from tokens.gitlab.settings import beyond_maximum
from tokens.gitlab.succession import read_succession, why_blind
from tokens.inventory import credentials
from tokens.inventory.credential_columns import Words
from tokens.inventory.due import FOR_EVER, DueToken, each_token, expired_in_use, require_all, works_and_ends
from tokens.inventory.ids import notes_on_selection
from tokens.inventory.replay import read_lag
from tokens.selection import Selection
from tokens.selection.unmatched import check_names
from tokens.usage.reading import Usage

MOST_SERIES = 5000  # of single tokens; one series a token is fine for some thousands
UNWARNED_WITHIN = 30  # days
CLIFF_WITHIN = 90  # days

# What is asked of each token is asked once, in a sub-select that PostgreSQL leaves as it is because of its OFFSET.
GAUGES = f"""
    SELECT
      t.kind,
      count(*) FILTER (WHERE t.works) AS active,
      count(*) FILTER (WHERE {{expired}}) AS expired,
      count(*) FILTER (WHERE {{revoked}}) AS revoked,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= {{today}} + 7) AS within_7,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= {{today}} + 30) AS within_30,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= {{today}} + 60) AS within_60,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= {{today}} + 90) AS within_90,
      count(*) FILTER (WHERE t.works AND t.expires_at IS NULL) AS undated,
      count(*) FILTER (WHERE t.beyond) AS beyond,
      min(t.ends_on) FILTER (WHERE t.ends AND isfinite(t.ends_on))::text AS next
    FROM (
      SELECT
        {{kind}} AS kind, t.revoked, t.expires_at, LEAST(t.expires_at, {BOT_GOES_ON}) AS ends_on,
        {{works}} AS works, {{ends}} AS ends, {{beyond}} AS beyond
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {{condition}}
      OFFSET 0
    ) t
    GROUP BY t.kind
"""  # noqa: S608 - constants

# The place of a bot is looked up only for those tokens that end soon.
UNWARNED = f"""
    SELECT {{kind}} AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {BOT_GOES}
    {{place}}
    WHERE {{condition}}
      AND {{ends}}
      AND {MAY_END.format(since="{today} + 1", today="{today}")}
      AND {ENDS_ON} <= {{today}} + CAST(%(going_within)s AS integer)
      AND ({{without_notice}} OR {{nobody_told}})
    GROUP BY 1
"""  # noqa: S608 - constants

FULLEST_DAY = f"""
    SELECT COALESCE(max(day.tokens), 0)::bigint AS fullest, COALESCE(sum(day.tokens), 0)::bigint AS tokens
    FROM (
      SELECT count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      {BOT_GOES}
      WHERE {{condition}}
        AND {{ends}}
        AND {MAY_END.format(since="{today} + 1", today="{today}")}
        AND {ENDS_ON} <= {{today}} + CAST(%(going_within)s AS integer)
      GROUP BY {ENDS_ON}
    ) day
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class KindGauge:
    """The tokens of one kind as numbers that monitoring keeps; `within` has those that end in this number of days.

    A token ends on its date, or before with the membership of its bot.

    `unwarned` end within UNWARNED_WITHIN days, and GitLab tells nobody before. Neither this nor `within` nor `next` is
    about a token whose successor works, or whose owner is not active: that one does not work now. `expired_in_use` is
    as in `Due`; None for other kinds. Those end at any time of the day: they have `next_at`, in seconds since 1970
    (UTC), instead of `next`.
    """

    kind: Kind | OtherKind
    by_state: dict[State, int]
    within: dict[int, int]
    undated: int
    next: ExpirationDate | None
    beyond_maximum: int = 0
    unwarned: int = 0
    expired_in_use: int | None = None
    next_at: float | None = None


@dataclass(frozen=True)
class Gauges:
    """What monitoring keeps: numbers by kind, and of all tokens together.

    `cliff_ratio` is the share of the fullest day among all that expire within CLIFF_WITHIN days. `release` is GitLab's,
    as far as it is known. `last_change` is that of a standby that is behind, None elsewhere.
    """

    kinds: tuple[KindGauge, ...]
    cliff_ratio: float = 0.0
    release: str | None = None
    each: tuple[DueToken, ...] = ()
    notes: tuple[str, ...] = ()
    last_change: datetime | None = None


def gauges(
    address: Address,
    selection: Selection,
    *,
    release: str | None = None,
    ci: Address | None = None,
    most_of_each: int | None = None,
    usage: Usage | None = None,
) -> Gauges:
    """The tokens of `selection` by kind, those kinds without tokens too that it means.

    `release` is GitLab's version where it is known; else the database tells. With `most_of_each` every token comes that
    works and will end, if there are no more than that. Other kinds are among them where they were named. `usage` is
    what logs say.

    Raises what `tokens.inventory.due.due` raises.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        condition = selection.condition(schema)
        parts = {"kind": kind_expression(schema), "today": TODAY, "condition": condition.sql}
        ends = works_and_ends(read_succession(connection, schema))
        statement = GAUGES.format(
            works=WORKS,
            ends=ends,
            expired=STATE_CONDITIONS[State.EXPIRED],
            revoked=STATE_CONDITIONS[State.REVOKED],
            beyond=f"{WORKS} AND {beyond_maximum(schema)}",
            **parts,
        )
        rows = {
            Kind(row.kind): row
            for row in count_by_kind(connection, statement, going_within=FOR_EVER, **condition.parameters)
        }
        estimate = read_release(connection, schema)
        least = least_of(release, estimate)
        statement = UNWARNED.format(
            ends=ends,
            place=PLACE.strip(),
            without_notice=without_notice(schema, least, "going.day"),
            nobody_told=nobody_told(least),
            **parts,
        )
        unwarned = {
            Kind(row.kind): row.tokens
            for row in connection.rows(once(statement), going_within=UNWARNED_WITHIN, **condition.parameters)
        }
        statement = once(FULLEST_DAY.format(ends=ends, **parts))
        day = connection.row(statement, going_within=CLIFF_WITHIN, **condition.parameters)
        each = tuple(each_token(connection, schema, condition, ends, most_of_each))
        in_use = None if usage is None else expired_in_use(connection, schema, condition, usage)
        notes = notes_on_selection(connection, schema, selection, nothing=not rows)
        lag = read_lag(connection)
        notes += tuple(map(str, filter(None, [why_blind(connection, schema), lag])))
        release = release or estimate
        with credentials.named(connection, schema, ci, selection) as named:
            require_all(named)
            others = [_gauge(kind, row) for kind, row in named.each(_gauges)]
    kinds = (
        _gauge(kind, rows.get(kind), unwarned.get(kind, 0), None if in_use is None else in_use.get(kind, 0))
        for kind in Kind
        if selection.kinds is None or kind in selection.kinds
    )
    ratio = day.fullest / day.tokens if day.tokens else 0.0
    return Gauges((*kinds, *others), ratio, release, each, notes, None if lag is None else lag.last_change)


def _gauges(words: Words) -> str:
    counts = {
        **{state.value: words.is_in(state) for state in State},
        **{f"within_{days}": f"{words.works} AND {words.ends_within(days)}" for days in (7, 30, 60, 90)},
        "undated": f"{words.works} AND {words.moment} IS NULL",
    }
    columns = [f"count(*) FILTER (WHERE {sql}) AS {name}" for name, sql in counts.items()]
    dated = f"{words.works} AND isfinite({words.moment})"
    soonest = f"min({words.moment}) FILTER (WHERE {dated})"
    return ",\n      ".join((*columns, f"CAST(extract(epoch FROM {soonest}) AS float8) AS next_at"))


def _gauge(kind: Kind | OtherKind, row: object, unwarned: int = 0, expired_in_use: int | None = None) -> KindGauge:
    def of(name: str) -> int:
        return int(getattr(row, name, 0))

    first = getattr(row, "next", None)
    return KindGauge(
        kind,
        {state: of(state.value) for state in State},
        {days: of(f"within_{days}") for days in (7, 30, 60, 90)},
        of("undated"),
        ExpirationDate.stored_or_none(first),
        of("beyond"),
        unwarned,
        expired_in_use,
        getattr(row, "next_at", None),
    )

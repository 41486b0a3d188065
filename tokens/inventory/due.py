"""How many tokens will soon stop working: what monitoring asks every few minutes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tokens import database
from tokens.address import Address
from tokens.database import Connection, array_literal
from tokens.errors import Refused
from tokens.gitlab import preflight
from tokens.gitlab.condition import Condition
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, Kind, State, kind_expression, once
from tokens.gitlab.membership import BOT_GOES, ENDS_ON, MAY_END
from tokens.gitlab.needs import LIST
from tokens.gitlab.ownership import PLACE, owner_shown
from tokens.gitlab.rules import LET_IN
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import read_policy
from tokens.gitlab.succession import Succession, read_succession, why_blind
from tokens.inventory import credentials
from tokens.inventory.credential_columns import Words
from tokens.inventory.credentials import Others
from tokens.inventory.ids import notes_on_selection
from tokens.inventory.replay import read_lag
from tokens.selection import DateRange, Selection
from tokens.selection.unmatched import check_names
from tokens.usage.reading import Usage

DUE = f"""
    SELECT
      min({ENDS_ON})::text AS first,
      count(*) AS warning,
      count(*) FILTER (WHERE {ENDS_ON} <= {{today}} + CAST(%(critical)s AS integer)) AS critical
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {BOT_GOES}
    WHERE {{condition}}
      AND {LET_IN.format(today="{today}")}
      AND {MAY_END.format(since="{today} + 1", today="{today}")}
      AND {ENDS_ON} <= {{today}} + CAST(%(going_within)s AS integer)
      {{not_renewed}}
"""  # noqa: S608 - constants

# Of few tokens, each of which is found by its id.
EXPIRED_IN_USE = """
    SELECT {kind} AS kind, count(*) AS tokens
    FROM unnest(CAST(%(tried)s AS bigint[])) AS tried (id)
    JOIN public.personal_access_tokens t ON t.id = tried.id
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
      AND {expired}
    GROUP BY 1
"""
AS_EXPIRED = "token_expired"  # GitLab's word for why it has refused a token

EACH = f"""
    SELECT
      t.id,
      {{kind}} AS kind,
      {{owner}} AS owner,
      t.name,
      CAST({ENDS_ON} AS text) AS ends_on,
      t.expires_at::text AS expires_at
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {BOT_GOES}
    {{place}}
    WHERE {{condition}}
      AND {{ends}}
      AND isfinite({ENDS_ON})
      AND {ENDS_ON} <= {{today}} + CAST(%(going_within)s AS integer)
    ORDER BY {ENDS_ON}, t.id
    LIMIT CAST(%(each_most)s AS bigint) + 1
"""  # noqa: S608 - constants
FOR_EVER = 2_145_000_000  # days, nearly to the last date of PostgreSQL


@dataclass(frozen=True)
class DueToken:
    """One token that will stop working; `owner` is None for a bot that has lost its project or group.

    `expires_at` is its date, None where it has none. `ends_on` is the day on which it stops working: that date, or the
    day before it on which its bot goes.
    """

    id: int
    kind: Kind
    owner: str | None
    name: str
    ends_on: ExpirationDate
    expires_at: ExpirationDate | None


@dataclass(frozen=True)
class Due:
    """How many tokens stop working within `warn` and within `critical` days (UTC); `first` is the soonest date.

    A token ends on its date, or before with the membership of its bot. One whose successor works is not among them, nor
    is one whose owner is not active: it does not work now.

    `each` are the tokens themselves, soonest first, where they were asked for. `notes` are sentences about ids that
    come to nothing, and about a standby that is behind. `others` and `named` are as in
    `tokens.inventory.tokens.Listing`. `expired_in_use` tokens have expired, and logs have tries of them; None without
    logs.
    """

    warn: int
    critical: int
    warning: int
    urgent: int
    first: ExpirationDate | None
    today: ExpirationDate
    others: Mapping[OtherKind, int | None] = field(default_factory=dict)
    named: frozenset[OtherKind] = frozenset()
    each: tuple[DueToken, ...] = ()
    notes: tuple[str, ...] = ()
    expired_in_use: int | None = None

    @property
    def days(self) -> int | None:
        """How many days it is to the soonest date."""
        return None if self.first is None else int(self.first.ordinal - self.today.ordinal)


def due(
    address: Address,
    selection: Selection,
    warn: int,
    critical: int,
    *,
    ci: Address | None = None,
    counts_others: bool = False,
    most_of_each: int | None = None,
    usage: Usage | None = None,
) -> Due:
    """What of `selection` stops working within `warn` days, and within `critical` days; a standby will do.

    `ci` is GitLab's ci database where it has one of its own; with `counts_others` the credentials are counted that are
    no tokens, where none of them is named. With `most_of_each` the tokens come, too, if there are no more than that.
    `usage` is what logs say.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also where a kind that was named cannot be seen, and more tokens
            than `most_of_each`.
        UsageError: a name in the selection that does not exist, or an option that means nothing for a kind.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        today = read_policy(connection, schema).today
        condition = selection.condition(schema)
        succession = read_succession(connection, schema)
        not_renewed = f"AND NOT {succession.has_live}" if succession else ""
        statement = once(DUE.format(condition=condition.sql, today=TODAY, not_renewed=not_renewed))
        rows = [connection.row(statement, going_within=warn, critical=critical, **condition.parameters)]
        window = DateRange(today, today + warn, from_now=True)
        with credentials.named(connection, schema, ci, selection) as named:
            require_all(named)
            rows += [row for _, row in named.narrowed(window).each(lambda words: _due(words, critical))]
        others: Mapping[OtherKind, int | None] = {}
        if counts_others and not selection.others:
            others = credentials.coming(connection, schema, ci, selection, window)
        each = tuple(each_token(connection, schema, condition, works_and_ends(succession), most_of_each, warn))
        in_use = None if usage is None else sum(expired_in_use(connection, schema, condition, usage).values())
        nothing = not any(row.warning for row in rows)
        notes = notes_on_selection(connection, schema, selection, nothing=nothing)
        notes += tuple(map(str, filter(None, [why_blind(connection, schema), read_lag(connection)])))
    dates = [ExpirationDate.stored(row.first) for row in rows if row.first is not None]
    warning, urgent = sum(row.warning for row in rows), sum(row.critical for row in rows)
    first = min(dates, default=None)
    return Due(warn, critical, warning, urgent, first, today, others, selection.others, each, notes, in_use)


def require_all(named: Others) -> None:
    """Monitoring must not take for well what it cannot see."""
    if named.unseen:
        raise Refused(" ".join(named.notes))


def _due(words: Words, critical: int) -> str:
    return (
        f"CAST(min(CAST({words.moment} AT TIME ZONE 'UTC' AS date)) AS text) AS first, count(*) AS warning, "
        f"count(*) FILTER (WHERE {words.ends_within(critical)}) AS critical"
    )


def works_and_ends(succession: Succession | None) -> str:
    """SQL: whether a token lets its owner in, and nothing has replaced it that works."""
    let_in = LET_IN.format(today=TODAY)
    return f"({let_in} AND NOT {succession.has_live})" if succession else let_in


def expired_in_use(connection: Connection, schema: Schema, condition: Condition, usage: Usage) -> Mapping[Kind, int]:
    """How many tokens of each kind have expired and are still tried."""
    statement = EXPIRED_IN_USE.format(
        kind=kind_expression(schema), condition=condition.sql, expired=STATE_CONDITIONS[State.EXPIRED]
    )
    tried = array_literal(use.id for use in usage.by_token.values() if AS_EXPIRED in use.reasons)
    rows = connection.rows(once(statement), tried=tried, **condition.parameters)
    return {Kind(row.kind): row.tokens for row in rows}


def each_token(
    connection: Connection, schema: Schema, condition: Condition, ends: str, most: int | None, within: int = FOR_EVER
) -> Iterator[DueToken]:
    """The tokens of which `ends` is true, and within this number of days; none without `most`."""
    if most is None:
        return
    statement = EACH.format(
        kind=kind_expression(schema),
        owner=owner_shown(schema),
        place=PLACE.strip(),
        condition=condition.sql,
        ends=ends,
        today=TODAY,
    )
    found = connection.rows(once(statement), going_within=within, each_most=most, **condition.parameters)
    if len(found) > most:
        raise Refused(
            f"--each would show more than {most:,} tokens, which is too much for monitoring: choose fewer, such as "
            "with --group PATH, or allow more by --at-most NUMBER."
        )
    for row in found:
        expires_at = ExpirationDate.stored_or_none(row.expires_at)
        ends_on = ExpirationDate.stored(row.ends_on)
        yield DueToken(row.id, Kind(row.kind), row.owner, row.name, ends_on, expires_at)

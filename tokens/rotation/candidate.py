"""The tokens that may get a successor, as a person chooses among them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tokens import database
from tokens.address import Address
from tokens.change.change import MOST_DAYS
from tokens.database import Connection
from tokens.errors import UsageError, shortened
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import (
    PROJECT_BOT,
    SERVICE_ACCOUNT,
    STATE_CONDITIONS,
    STATE_EXPRESSION,
    TODAY,
    Kind,
    State,
    kind_expression,
)
from tokens.gitlab.needs import ROTATE
from tokens.gitlab.schema import GRANULAR_SCOPES, TOKENS, Schema, read_schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.succession import read_succession
from tokens.selection import EVERY_KIND, EVERY_STATE, EVERYTHING, Selection, refuse_others, unmatched
from tokens.selection.unmatched import LEFT_OUT_BY, check_names, check_scopes, ids_without_effect

LARGEST_ID = 2**63 - 1
NOBODY = "(nobody)"
FURTHEST_BACK = 2_400_000  # days; PostgreSQL has no date much longer ago

# Infinite dates cannot be subtracted from.
DAYS = f"CASE WHEN isfinite(t.expires_at) THEN t.expires_at - {TODAY} END"
"""How many days a token `t` has until its date, as SQL; NULL where that never comes, or is infinitely long ago."""

# Without the kind, which is asked last: for a bot it takes more than a row.
CANDIDATES = """
    SELECT
      t.id, t.name, {description} AS description, u.username, t.user_id, u.user_type,
      {kind} AS kind,
      {state} AS state,
      t.scopes,
      t.expires_at::text AS expires_at,
      {days} AS days,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      {organization} AS organization_id,
      t.impersonation,
      {granular} AS granular,
      {granular_scopes} AS granular_scopes,
      {sudo} AS sudo,
      COALESCE({made_by}, {unfinished_run}) AS unfinished_run
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    ORDER BY abs({days}) NULLS LAST, t.expires_at NULLS LAST, t.id
"""

NO_NUMBER = "CAST(NULL AS bigint)"

# GitLab 18.4 and later.
NUMBER_OF_SCOPES = """(
        SELECT count(*)
        FROM public.personal_access_token_granular_scopes g
        WHERE g.personal_access_token_id = t.id
      )"""


OWNERS = {Kind.SERVICE_ACCOUNT: SERVICE_ACCOUNT, Kind.PROJECT: PROJECT_BOT, Kind.GROUP: PROJECT_BOT}
"""The kinds whose tokens belong to one kind of user alone: so millions of people's tokens need not be looked at."""


@dataclass(frozen=True)
class Candidate:
    """One token, and whose it is.

    `last_used_at` is ISO 8601 in UTC. `scopes` are for showing: a successor gets what is stored, whatever is read here.
    A `granular` token may do what its granular scopes allow, and `granular_scopes` is how many it has.
    `organization_id` is None where the release has no organizations. `days` are those until it expires, none or fewer
    where it has; None where there is no such number. `named` says that a person has named this very token, and not what
    it has in common with others. `unfinished_run` has made a successor that works, or this token as one, and has not
    come to its end: it has stopped, or is under way.
    """

    id: int
    name: str
    description: str | None
    username: str | None
    user_id: int
    user_type: int | None
    kind: Kind
    state: State
    scopes: tuple[str, ...]
    expires_at: ExpirationDate | None
    last_used_at: str | None
    organization_id: int | None
    impersonation: bool
    granular: bool
    granular_scopes: int
    sudo: bool = False
    days: int | None = None
    named: bool = False
    unfinished_run: int | None = None

    @property
    def account(self) -> str:
        """The owner's username."""
        return self.username or NOBODY


@dataclass(frozen=True)
class Search:
    """What the tokens have in common that may get a successor; one of them fulfils all of it.

    Days are counted from today (UTC). `within` takes those that work and expire within those days; `expired_within`
    those that have expired within the last ones; with both either will do. `token` takes those with this name, or
    the one with this id, which goes before a name of the same digits.
    """

    selection: Selection
    token: str | None = None
    within: int | None = None
    expired_within: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what can be no choice."""
        if not isinstance(self.selection, Selection):
            raise UsageError(f"selection takes a Selection, not {shortened(repr(self.selection))}.")
        if self.token is not None and (not isinstance(self.token, str) or "\0" in self.token):
            raise UsageError(f"token takes a name, or an id as text, not {shortened(repr(self.token))}.")
        for name, days in (("within", self.within), ("expired_within", self.expired_within)):
            if days is not None and (isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_DAYS):
                what = f"a number of days up to {MOST_DAYS:,}"
                raise UsageError(f"{name} takes {what}, not {shortened(repr(days))}.")

    @property
    def names_people(self) -> bool:
        """Whether a kind is named whose tokens are people's: only then they are rotated without another owner."""
        return not {Kind.PERSONAL, Kind.IMPERSONATION}.isdisjoint(self.selection.kinds or ())

    @property
    def id(self) -> int | None:
        """`token` as an id, None where it cannot be one."""
        text = self.token or ""
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
        return int(text) if is_number and int(text) <= LARGEST_ID else None


def why_none(address: Address, search: Search) -> str | None:
    """Why `find` finds nothing, in a sentence; None where nothing but kind, state and days says which tokens."""
    selection = search.selection
    if replace(selection, kinds=EVERY_KIND, states=EVERY_STATE) == EVERYTHING:
        return None
    with database.reading(address) as connection:
        why = unmatched.why_none(connection, read_schema(connection), selection)
    return why or f"{LEFT_OUT_BY} kind, state or days."


def find(address: Address, search: Search) -> tuple[Candidate, ...]:
    """The tokens that are meant, those first whose date is the nearest to today; what never expires comes last.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: there is no such user, group or project, or a kind is no token's.
    """
    selection = search.selection
    refuse_others(sorted(selection.others))
    kinds = EVERY_KIND if selection.kinds is None else selection.kinds
    with database.reading(address) as connection:
        schema = preflight.check(connection, ROTATE)
        check_names(connection, schema, selection)
        scope = selection.scope(schema)
        values: dict[str, object] = {
            **scope.parameters,
            "token": search.token,
            "id": search.id,
            "within": search.within,
            "expired_within": None if search.expired_within is None else min(search.expired_within, FURTHEST_BACK),
        }
        terms = [scope.sql, *_states(selection), *_periods(search)]
        if search.token is not None:
            terms.append("(t.name = CAST(%(token)s AS text) OR t.id = CAST(%(id)s AS bigint))")
        elif kinds <= OWNERS.keys():
            values["owners"] = sorted({OWNERS[kind] for kind in kinds})
            terms.append("u.user_type = ANY(CAST(%(owners)s AS smallint[]))")
        found = tuple(read_candidates(connection, schema, "\n      AND ".join(terms), values))
        if not found:
            check_scopes(connection, selection)
    exact = tuple(one for one in found if one.id == search.id)
    named = search.token is not None or selection.ids is not None
    return tuple(replace(one, named=named) for one in exact or found if one.kind in kinds)


def unknown_ids(address: Address, selection: Selection, found: Sequence[Candidate]) -> tuple[int, ...]:
    """The ids that the selection names and no token has; those of tokens that were found need no look."""
    if selection.ids is None:
        return ()
    with database.reading(address) as connection:
        unknown, _ = ids_without_effect(connection, selection, (one.id for one in found))
    return tuple(unknown)


def newer_columns(schema: Schema) -> dict[str, str]:
    """SQL of what not every release knows of a token `t`."""
    return {
        "organization": "t.organization_id" if schema.has(TOKENS, "organization_id") else NO_NUMBER,
        "granular": "t.granular" if schema.has(TOKENS, "granular") else "false",
        "sudo": "t.sudo" if schema.has(TOKENS, "sudo") else "false",
    }


def _states(selection: Selection) -> Iterator[str]:
    if selection.states != EVERY_STATE:
        states = " OR ".join(STATE_CONDITIONS[state] for state in sorted(selection.states))
        yield f"({states or 'FALSE'})"


def _periods(search: Search) -> Iterator[str]:
    periods = []
    if search.within is not None:
        periods.append(f"(t.expires_at > {TODAY} AND t.expires_at <= {TODAY} + CAST(%(within)s AS integer))")
    if search.expired_within is not None:
        periods.append(f"(t.expires_at <= {TODAY} AND t.expires_at >= {TODAY} - CAST(%(expired_within)s AS integer))")
    if periods:
        yield f"({' OR '.join(periods)})"


def read_candidates(
    connection: Connection, schema: Schema, condition: str, values: Mapping[str, object]
) -> Iterator[Candidate]:
    """The tokens `t` of the owners `u` that fulfil `condition`, the nearest to today first."""
    succession = read_succession(connection, schema)
    statement = CANDIDATES.format(
        description="t.description" if schema.has(TOKENS, "description") else "CAST(NULL AS text)",
        granular_scopes=NUMBER_OF_SCOPES if schema.has(GRANULAR_SCOPES) else "0",
        days=DAYS,
        kind=kind_expression(schema).strip(),
        state=STATE_EXPRESSION.strip(),
        **newer_columns(schema),
        unfinished_run=succession.unfinished_run if succession else NO_NUMBER,
        made_by=succession.made_by if succession else NO_NUMBER,
        condition=condition,
    )
    for row in connection.rows(statement, **values):
        yield replace(
            Candidate(**row._asdict()),
            kind=Kind(row.kind),
            state=State(row.state),
            scopes=scopes_of(row.scopes),
            expires_at=ExpirationDate.stored_or_none(row.expires_at),
        )

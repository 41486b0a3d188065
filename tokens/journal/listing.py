"""Reading the journal for a person: the tokens of a run one by one, and which runs have had one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.change.plan import RunKind
from tokens.database import Connection, array_literal
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_EXPRESSION, State
from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import TOKENS, read_schema
from tokens.journal import names
from tokens.journal.runs import StoredRun

NEEDS = Needs(reads={**names.NEEDS.reads, TOKENS: ("id", "expires_at", "user_id", "name", "revoked")})

TABLES = ("attempts", "chunks", "memberships", "names", "notices", "rotations", "runs")
"""What it takes of the journal to read its runs and their tokens."""

PAGE = 10  # chunks
PAGE_OF_ROTATIONS = 500

TOKENS_OF_RUN = """
    SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new,
      to_char(c.done_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS done_at,
      c.token_ids, c.left_alone, c.locked, kept.accounts, kept.tokens, kept.paths,
      today.accounts AS accounts_now, today.tokens AS tokens_now, today.paths AS paths_now
    FROM (
      SELECT c.*
      FROM token_tasks.chunks c
      WHERE c.run_id = %(run)s AND c.position >= %(start)s{sought}
      ORDER BY c.position
      LIMIT %(page)s
    ) c
    -- A chunk that was cut in two has its names in one row, as before.
    LEFT JOIN LATERAL (
      SELECT
        n.accounts[cut.first : cut.last] AS accounts,
        n.tokens[cut.first : cut.last] AS tokens,
        n.paths[cut.first : cut.last] AS paths
      FROM token_tasks.names n
      CROSS JOIN LATERAL (
        SELECT
          CAST(c.position - n.position AS integer) + 1 AS first,
          CAST(c.position - n.position AS integer) + cardinality(c.token_ids) AS last
      ) cut
      WHERE n.run_id = c.run_id AND n.position <= c.position
      ORDER BY n.position DESC
      LIMIT 1
    ) kept ON true
    CROSS JOIN LATERAL (
      SELECT
        array_agg(u.username ORDER BY one.place) AS accounts,
        array_agg(t.name ORDER BY one.place) AS tokens,
        array_agg({path} ORDER BY one.place) AS paths
      FROM unnest(c.token_ids) WITH ORDINALITY AS one (id, place)
      LEFT JOIN public.personal_access_tokens t ON t.id = one.id
      LEFT JOIN public.users u ON u.id = t.user_id
    ) today
    ORDER BY c.position
"""

# In which chunks the tokens are that somebody looks for, and which rotations are about them.
BY_IDS = "c.token_ids && CAST(%(ids)s AS bigint[])"
OWNED_BY = """EXISTS (
          SELECT FROM unnest(c.token_ids) AS one (id) WHERE one.id = ANY (CAST(%(owned)s AS bigint[]))
        )"""
BY_ACCOUNTS = f"""(
        {OWNED_BY}
        OR EXISTS (
          SELECT
          FROM token_tasks.names n
          WHERE n.run_id = c.run_id
            AND n.position = (
              SELECT max(m.position) FROM token_tasks.names m WHERE m.run_id = c.run_id AND m.position <= c.position
            )
            AND n.accounts && CAST(%(accounts)s AS text[])
        )
      )"""  # noqa: S608 - a constant
ROTATIONS_BY_IDS = """(
        p.token_id = ANY (CAST(%(ids)s AS bigint[]))
        OR p.successor_id = ANY (CAST(%(ids)s AS bigint[]))
        OR p.given_up && CAST(%(ids)s AS bigint[])
      )"""
ROTATIONS_BY_ACCOUNTS = """(
        p.token_id = ANY (CAST(%(owned)s AS bigint[])) OR p.account = ANY (CAST(%(accounts)s AS text[]))
      )"""

# Every chunk of the journal is looked through, at some microseconds each: an index on the ids would cost each run more.
RUNS_BY_IDS = f"""
    SELECT c.run_id AS run FROM token_tasks.chunks c WHERE {BY_IDS}
    UNION
    SELECT p.run_id FROM token_tasks.rotations p WHERE {ROTATIONS_BY_IDS}
"""  # noqa: S608 - a constant

RUNS_BY_ACCOUNTS = f"""
    SELECT c.run_id AS run FROM token_tasks.chunks c WHERE {OWNED_BY}
    UNION
    SELECT n.run_id FROM token_tasks.names n WHERE n.accounts && CAST(%(accounts)s AS text[])
    UNION
    SELECT p.run_id FROM token_tasks.rotations p WHERE {ROTATIONS_BY_ACCOUNTS}
"""  # noqa: S608 - a constant

# What an account is called now, and its tokens.
OWNED = """
    SELECT u.username, array_agg(t.id) FILTER (WHERE t.id IS NOT NULL) AS ids
    FROM public.users u
    LEFT JOIN public.personal_access_tokens t ON t.user_id = u.id
    WHERE lower(u.username) IN (SELECT lower(named.name) FROM unnest(CAST(%(accounts)s AS text[])) AS named (name))
    GROUP BY u.id
"""

# Of an abandoned rotation every successor is given up.
ROTATIONS_OF_RUN = """
    SELECT
      p.token_id, p.account, p.name, p.path, p.delivered_to,
      CASE WHEN p.state <> 'abandoned' THEN p.successor_name END AS successor_name,
      u.username AS account_now, t.name AS name_now, {path} AS path_now,
      p.old_expires_at::text AS old, p.new_expires_at::text AS new, p.grace_until::text AS grace_until,
      p.state AS stage,
      to_char(p.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS reached_at,
      CASE WHEN p.state <> 'abandoned' THEN p.successor_id END AS successor_id,
      CASE
        WHEN p.state = 'abandoned' THEN array_remove(p.given_up || p.successor_id, NULL)
        ELSE p.given_up
      END AS given_up,
      CASE WHEN t.id IS NOT NULL THEN {state} END AS state_now,
      t.expires_at::text AS old_now, new_owner.username AS new_account
    FROM (
      SELECT p.*
      FROM token_tasks.rotations p
      WHERE p.run_id = %(run)s AND p.token_id > %(after)s{sought}
      ORDER BY p.token_id
      LIMIT %(page)s
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.token_id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN public.users new_owner ON new_owner.id = p.new_owner_id
    ORDER BY p.token_id
"""

# Memberships that were moved for a successor are put back when it is given up.
TOUCHED = """
    SELECT
      (
        SELECT COALESCE(sum(cardinality(m.member_ids)), 0)
        FROM token_tasks.memberships m
        WHERE m.run_id = %(run)s
      ) + (
        SELECT COALESCE(sum(cardinality(p.member_ids)), 0)
        FROM token_tasks.rotations p
        WHERE p.run_id = %(run)s AND p.state <> 'abandoned'
      ) AS memberships,
      (
        SELECT COALESCE(sum(cardinality(n.token_ids)), 0)
        FROM token_tasks.notices n
        WHERE n.run_id = %(run)s
      ) AS notices
"""


class TokenResult(StrEnum):
    """What became of one token in a run."""

    CHANGED = "changed"
    LEFT_ALONE = "left alone"
    LOCKED = "locked"
    PENDING = "pending"


@dataclass(frozen=True)
class Names:
    """What a token is called: its account's username, its own name, and the path of a bot's project or group.

    Each is None where it is not known, or where there is none.
    """

    account: str | None = None
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class TokenOutcome:
    """One token of a run, called `then` when that was planned, and `now`; changed at `changed_at`, ISO 8601 in UTC.

    Without names in the journal all of `then` is None; where the token is gone all of `now` is.
    """

    id: int
    then: Names
    now: Names
    old: ExpirationDate | None
    new: ExpirationDate | None
    outcome: TokenResult
    changed_at: str | None


@dataclass(frozen=True)
class RotationOutcome:
    """One token of a run that was to get a successor, and how far it has come.

    The old token was called `then` when that was planned, and `now`; `state_now` and `old_now` are its own as it is
    now, None where it is gone; `old` is the date that it had before. `stage` is one of `tokens.rotation.stage.Stage`,
    reached at `reached_at`, ISO 8601 in UTC: delivered and done mean that somebody has got the successor. It went, or
    was to go, to `delivered_to`. `successor_id` is the token that takes its place, None where there is none; `given_up`
    are those that were made for it and revoked again, in their order. `new_account` is whose the successor is, None
    where the owner stays.
    """

    id: int
    then: Names
    now: Names
    old: ExpirationDate | None
    new: ExpirationDate | None
    grace_until: ExpirationDate | None
    stage: str
    reached_at: str
    successor_id: int | None
    successor_name: str | None
    delivered_to: str | None
    given_up: tuple[int, ...]
    state_now: State | None
    old_now: ExpirationDate | None
    new_account: str | None = None


@dataclass(frozen=True)
class Sought:
    """Which tokens of runs are looked for: with one of `ids`, and of one of `accounts`; None is any.

    `accounts` are usernames that they had, and `owned` the ids of the tokens that those accounts have now.
    """

    ids: frozenset[int] | None = None
    accounts: frozenset[str] | None = None
    owned: frozenset[int] = field(default=frozenset())

    @property
    def parameters(self) -> dict[str, object]:
        """Of the statements that look for them."""
        of_ids: dict[str, object] = {} if self.ids is None else {"ids": array_literal(self.ids)}
        if self.accounts is None:
            return of_ids
        return {**of_ids, "accounts": list(self.accounts), "owned": array_literal(self.owned)}

    def condition(self, by_ids: str, by_accounts: str) -> str:
        """What a WHERE ends with."""
        parts = [*([by_ids] if self.ids is not None else []), *([by_accounts] if self.accounts is not None else [])]
        return "".join(f"\n        AND {part}" for part in parts)

    def has(self, one: TokenOutcome) -> bool:
        """Whether this token is looked for."""
        return (self.ids is None or one.id in self.ids) and self._owns(one.id, one.then)

    def has_rotation(self, one: RotationOutcome) -> bool:
        """The same of a rotation, also by a token that it has made."""
        return (self.ids is None or not self.ids.isdisjoint((one.id, one.successor_id, *one.given_up))) and self._owns(
            one.id, one.then
        )

    def _owns(self, number: int, then: Names) -> bool:
        return self.accounts is None or number in self.owned or then.account in self.accounts


EVERY_TOKEN = Sought()


@dataclass(frozen=True)
class Touched:
    """What a run has changed beside the dates: memberships whose end it moved, and tokens whose notices it re-armed."""

    memberships: int
    notices: int


def read_touched(connection: Connection, run: int) -> Touched:
    """How much a run has changed beside the dates."""
    return Touched(**connection.row(TOUCHED, run=run)._asdict())


def read_owners(connection: Connection, accounts: Sequence[str]) -> tuple[frozenset[str], frozenset[int]]:
    """The usernames that these accounts have or may have had, and the ids of the tokens that they have now."""
    rows = connection.rows(OWNED, accounts=list(accounts))
    owned = frozenset(number for row in rows for number in row.ids or ())
    return frozenset((*accounts, *(row.username for row in rows))), owned


def runs_with(connection: Connection, sought: Sought) -> frozenset[int] | None:
    """The numbers of the runs that such tokens are in; None where all are sought."""
    found: frozenset[int] | None = None
    for wanted, statement in ((sought.ids, RUNS_BY_IDS), (sought.accounts, RUNS_BY_ACCOUNTS)):
        if wanted is not None:
            runs = frozenset(row.run for row in connection.rows(statement, **sought.parameters))
            found = runs if found is None else found & runs
    return found


def read_tokens(
    address: Address, run: StoredRun, sought: Sought = EVERY_TOKEN
) -> Iterator[TokenOutcome] | Iterator[RotationOutcome]:
    """The tokens of a run that are sought, whatever was done to them, any number of them in little memory."""
    if run.kind is RunKind.ROTATE:
        return filter(sought.has_rotation, read_rotations(address, run.id, sought))
    return filter(sought.has, read_outcomes(address, run.id, sought))


def read_outcomes(address: Address, run: int, sought: Sought = EVERY_TOKEN) -> Iterator[TokenOutcome]:
    """The tokens of a run in the plan's order, those of chunks that hold one that is sought, in little memory.

    Every page is read in a transaction of its own, so none is open while one is shown: a person who reads in a
    pager holds back no VACUUM. A chunk that is cut in two in that time comes once.
    """
    start = 0
    while True:
        with database.reading(address) as connection:
            statement = TOKENS_OF_RUN.replace("{path}", names.path(read_schema(connection)))
            statement = statement.replace("{sought}", sought.condition(BY_IDS, BY_ACCOUNTS))
            page = connection.rows(statement, run=run, start=start, page=PAGE, **sought.parameters)
        if not page:
            return
        for chunk in page:
            yield from _outcomes(chunk)
        start = page[-1].position + max(len(page[-1].token_ids), 1)  # somebody may have emptied one


def read_rotations(address: Address, run: int, sought: Sought = EVERY_TOKEN) -> Iterator[RotationOutcome]:
    """The rotations of a run that are sought, by the ids of the old tokens; nothing is open in between, as there."""
    after = 0
    while True:
        with database.reading(address) as connection:
            statement = ROTATIONS_OF_RUN.replace("{path}", names.path(read_schema(connection)))
            statement = statement.replace("{state}", STATE_EXPRESSION.strip())
            statement = statement.replace("{sought}", sought.condition(ROTATIONS_BY_IDS, ROTATIONS_BY_ACCOUNTS))
            page = connection.rows(statement, run=run, after=after, page=PAGE_OF_ROTATIONS, **sought.parameters)
        if not page:
            return
        yield from map(_rotation, page)
        after = page[-1].token_id


def _outcomes(chunk: Any) -> Iterator[TokenOutcome]:
    old, new = ExpirationDate.stored_or_none(chunk.old), ExpirationDate.stored_or_none(chunk.new)
    left_alone, locked = frozenset(chunk.left_alone or ()), frozenset(chunk.locked or ())
    count = len(chunk.token_ids)
    then = _names(count, chunk.accounts, chunk.tokens, chunk.paths)
    now = _names(count, chunk.accounts_now, chunk.tokens_now, chunk.paths_now)
    for number, called, called_now in zip(chunk.token_ids, then, now, strict=True):
        if not chunk.done_at:
            outcome = TokenResult.PENDING
        elif number in left_alone:
            outcome = TokenResult.LEFT_ALONE
        elif number in locked:
            outcome = TokenResult.LOCKED
        else:
            outcome = TokenResult.CHANGED
        at = chunk.done_at if outcome is TokenResult.CHANGED else None
        yield TokenOutcome(number, called, called_now, old, new, outcome, at)


def _names(count: int, *columns: Sequence[str | None] | None) -> list[Names]:
    """What `count` tokens are called, by their accounts, names and paths; nothing is known where there are others."""
    given = [column for column in columns if column is not None and len(column) == count]
    return [Names(*one) for one in zip(*given, strict=True)] if len(given) == len(columns) else [Names()] * count


def _rotation(row: Any) -> RotationOutcome:
    return RotationOutcome(
        id=row.token_id,
        then=Names(row.account, row.name, row.path),
        now=Names(row.account_now, row.name_now, row.path_now),
        old=ExpirationDate.stored_or_none(row.old),
        new=ExpirationDate.stored_or_none(row.new),
        grace_until=ExpirationDate.stored_or_none(row.grace_until),
        stage=row.stage,
        reached_at=row.reached_at,
        successor_id=row.successor_id,
        successor_name=row.successor_name,
        delivered_to=row.delivered_to,
        given_up=tuple(row.given_up),
        state_now=None if row.state_now is None else State(row.state_now),
        old_now=ExpirationDate.stored_or_none(row.old_now),
        new_account=row.new_account,
    )

"""Reading the journal for a person: what a run is called, how it stands, and its tokens one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import RunKind
from tokens.counts import counted
from tokens.database import Connection
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_EXPRESSION, State
from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import TOKENS, USERS
from tokens.journal.record import PATIENCE
from tokens.journal.runs import StoredRun
from tokens.selection import described

NEEDS = Needs(reads={TOKENS: ("id", "expires_at", "user_id", "name", "revoked"), USERS: ("id", "username")})

PAGE = 10  # chunks
PAGE_OF_ROTATIONS = 500
MOST_ACCOUNTS = 3  # that a selection names; each rotation has its own

TOKENS_OF_RUN = """
    SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new, c.done_at IS NOT NULL AS done,
      c.token_ids, c.left_alone, c.locked, today.owners, today.names
    FROM (
      SELECT *
      FROM token_tasks.chunks
      WHERE run_id = %(run)s AND position >= %(start)s
      ORDER BY position
      LIMIT %(page)s
    ) c
    CROSS JOIN LATERAL (
      SELECT
        array_agg(u.username ORDER BY one.place) AS owners,
        array_agg(t.name ORDER BY one.place) AS names
      FROM unnest(c.token_ids) WITH ORDINALITY AS one (id, place)
      LEFT JOIN public.personal_access_tokens t ON t.id = one.id
      LEFT JOIN public.users u ON u.id = t.user_id
    ) today
    ORDER BY c.position
"""

# Of an abandoned rotation every successor is given up.
ROTATIONS_OF_RUN = f"""
    SELECT
      p.token_id, u.username AS account, t.name,
      p.old_expires_at::text AS old, p.new_expires_at::text AS new, p.grace_until::text AS grace_until,
      p.state AS stage,
      to_char(p.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS reached_at,
      CASE WHEN p.state <> 'abandoned' THEN p.successor_id END AS successor_id,
      CASE
        WHEN p.state = 'abandoned' THEN array_remove(p.given_up || p.successor_id, NULL)
        ELSE p.given_up
      END AS given_up,
      CASE WHEN t.id IS NOT NULL THEN {STATE_EXPRESSION.strip()} END AS state_now,
      t.expires_at::text AS old_now, new_owner.username AS new_account
    FROM (
      SELECT *
      FROM token_tasks.rotations
      WHERE run_id = %(run)s AND token_id > %(after)s
      ORDER BY token_id
      LIMIT %(page)s
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.token_id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN public.users new_owner ON new_owner.id = p.new_owner_id
    ORDER BY p.token_id
"""  # noqa: S608 - a constant

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
class TokenOutcome:
    """One token of a run. `owner` and `name` are what they are called now, None where one of them is gone."""

    id: int
    owner: str | None
    name: str | None
    old: ExpirationDate | None
    new: ExpirationDate | None
    outcome: TokenResult


@dataclass(frozen=True)
class RotationOutcome:
    """One token of a run that was to get a successor, and how far it has come.

    `account`, `name`, `state_now` and `old_now` are the old token's as it is now, None where it is gone; `old` is the
    date that it had before. `stage` is one of `tokens.rotation.stage.Stage`, reached at `reached_at`, ISO 8601 in UTC:
    delivered and done mean that somebody has got the successor. `successor_id` is the token that takes its place, None
    where there is none; `given_up` are those that were made for it and revoked again, in their order. `new_account` is
    whose the successor is, None where the owner stays.
    """

    id: int
    account: str | None
    name: str | None
    old: ExpirationDate | None
    new: ExpirationDate | None
    grace_until: ExpirationDate | None
    stage: str
    reached_at: str
    successor_id: int | None
    given_up: tuple[int, ...]
    state_now: State | None
    old_now: ExpirationDate | None
    new_account: str | None = None


@dataclass(frozen=True)
class Touched:
    """What a run has changed beside the dates: memberships whose end it moved, and tokens whose notices it re-armed."""

    memberships: int
    notices: int


def read_touched(connection: Connection, run: int) -> Touched:
    """How much a run has changed beside the dates."""
    return Touched(**connection.row(TOUCHED, run=run)._asdict())


def read_tokens(address: Address, run: StoredRun) -> Iterator[TokenOutcome] | Iterator[RotationOutcome]:
    """The tokens of a run, whatever was done to them, any number of them in little memory."""
    return read_rotations(address, run.id) if run.kind is RunKind.ROTATE else read_outcomes(address, run.id)


def read_outcomes(address: Address, run: int) -> Iterator[TokenOutcome]:
    """The tokens of a run in the plan's order, any number of them in little memory.

    Every page is read in a transaction of its own, so none is open while one is shown: a person who reads in a
    pager holds back no VACUUM. A chunk that is cut in two in that time comes once.
    """
    start = 0
    while True:
        with database.reading(address) as connection:
            page = connection.rows(TOKENS_OF_RUN, run=run, start=start, page=PAGE)
        if not page:
            return
        for chunk in page:
            yield from _outcomes(chunk)
        start = page[-1].position + len(page[-1].token_ids)


def read_rotations(address: Address, run: int) -> Iterator[RotationOutcome]:
    """The rotations of a run by the ids of the old tokens; as with `read_outcomes` nothing is open in between."""
    after = 0
    while True:
        with database.reading(address) as connection:
            page = connection.rows(ROTATIONS_OF_RUN, run=run, after=after, page=PAGE_OF_ROTATIONS)
        if not page:
            return
        yield from map(_rotation, page)
        after = page[-1].token_id


def state_in_words(run: StoredRun) -> str:
    """How a run stands, such as `running, silent for 300 s`."""
    if run.lapsed:
        return "planned (lapsed)"
    if run.silence is not None and run.silence >= PATIENCE:
        return f"running, silent for {run.silence:.0f} s"
    return run.state.value


def kind_in_words(run: StoredRun) -> str:
    """What was asked for, such as `undo of 3`."""
    return f"{run.kind} of {run.undoes}" if run.undoes else run.kind.value


def selection_in_words(run: StoredRun) -> str:
    """Which tokens the run is about, such as `expires 2024-06-15; kind group; state active`."""
    if run.kind is not RunKind.ROTATE:
        return described(run.selection)
    accounts = run.selection.get("user", ())
    more = f" and {counted(len(accounts) - MOST_ACCOUNTS, 'more account')}" if len(accounts) > MOST_ACCOUNTS else ""
    return f"{counted(run.tokens, 'token')} of {', '.join(accounts[:MOST_ACCOUNTS])}{more}"


def change_in_words(kind: RunKind, change: Change) -> str:
    """What becomes of the dates."""
    if kind is RunKind.UNDO:
        return "the revoked tokens back" if change.revokes else "the old dates back"
    if change.revokes:
        return "revoke"
    if kind is RunKind.ROTATE:
        return f"successors until {change.to}" if change.to else "successors"
    if change.removes:
        return "remove the expiration date"
    if change.by is not None and change.days > 1:
        return f"{change.by}..{change.by + change.days - 1} days later than each token's own date, spread evenly"
    if change.by is not None:
        return f"{counted(abs(change.by), 'day')} {'later' if change.by >= 0 else 'earlier'} than each token's own date"
    if change.days > 1:
        return f"to {change.to}..{change.last}, spread evenly over {change.days} days"
    return f"to {change.to}"


def _outcomes(chunk: Any) -> Iterator[TokenOutcome]:
    old, new = _date(chunk.old), _date(chunk.new)
    left_alone, locked = frozenset(chunk.left_alone or ()), frozenset(chunk.locked or ())
    for number, owner, name in zip(chunk.token_ids, chunk.owners, chunk.names, strict=True):
        if not chunk.done:
            outcome = TokenResult.PENDING
        elif number in left_alone:
            outcome = TokenResult.LEFT_ALONE
        elif number in locked:
            outcome = TokenResult.LOCKED
        else:
            outcome = TokenResult.CHANGED
        yield TokenOutcome(number, owner, name, old, new, outcome)


def _rotation(row: Any) -> RotationOutcome:
    return RotationOutcome(
        id=row.token_id,
        account=row.account,
        name=row.name,
        old=_date(row.old),
        new=_date(row.new),
        grace_until=_date(row.grace_until),
        stage=row.stage,
        reached_at=row.reached_at,
        successor_id=row.successor_id,
        given_up=tuple(row.given_up),
        state_now=None if row.state_now is None else State(row.state_now),
        old_now=_date(row.old_now),
        new_account=row.new_account,
    )


def _date(text: str | None) -> ExpirationDate | None:
    return None if text is None else ExpirationDate.stored(text)

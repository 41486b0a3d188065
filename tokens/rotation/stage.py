"""How far a rotation is, in the journal: each stage is reached in the transaction that did what it stands for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from tokens import database
from tokens.call import to_type
from tokens.change.plan import RunKind
from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab.membership import MembershipRule
from tokens.gitlab.schema import read_schema
from tokens.journal import chain, names
from tokens.journal.record import Record
from tokens.journal.storing import store_run
from tokens.origin import Origin
from tokens.rotation.new_owner import NewOwner, of_journal
from tokens.rotation.plan import RotationPlan

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "30s"


class OldTokenGone(Refused):
    """The token that was to be replaced is gone, revoked, or replaced by now: nothing is left to do."""


class PlanOutdated(Refused):
    """The token or the instance is not as it was planned: this run can make no successor, another one may."""


class SuccessorGone(Refused):
    """The successor that was delivered does not work any more, so the old token stays as it is."""


STORE_ROTATION = """
    INSERT INTO token_tasks.rotations (run_id, token_id, old_expires_at, new_expires_at, grace_until, new_owner_id)
    VALUES (
      %(run)s, %(token)s, CAST(%(old)s AS date), CAST(%(new)s AS date), CAST(%(grace)s AS date),
      CAST(%(owner)s AS bigint)
    )
"""

READ = """
    SELECT
      p.state, p.successor_id, p.old_expires_at::text AS old_expires_at, p.new_expires_at::text AS new_expires_at,
      p.grace_until::text AS grace_until, p.new_owner_id, u.username AS new_owner, r.memberships,
      CAST(p.changed_at AT TIME ZONE 'UTC' AS text) AS changed_at
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id
    LEFT JOIN public.users u ON u.id = p.new_owner_id
    WHERE p.run_id = %(run)s AND p.token_id = %(token)s
    FOR UPDATE OF p
"""

STATE = "SELECT p.state FROM token_tasks.rotations p WHERE p.run_id = %(run)s AND p.token_id = %(token)s"

# Never earlier than before, as by a primary whose clock is behind: a successor that seems to have been made after the
# journal knew of it counts as another token.
REACH = """
    UPDATE token_tasks.rotations
    SET state = %(state)s, changed_at = GREATEST(changed_at, now())
    WHERE run_id = %(run)s AND token_id = %(token)s
"""

DELIVER_TO = """
    UPDATE token_tasks.rotations
    SET delivered_to = %(destination)s
    WHERE run_id = %(run)s AND token_id = %(token)s
"""

COUNT = """
    UPDATE token_tasks.runs
    SET changed = changed + %(changed)s, changed_meanwhile = changed_meanwhile + %(changed_meanwhile)s
    WHERE id = %(run)s
"""


class Stage(StrEnum):
    """What has been done of a rotation. Before DELIVERING nobody has the successor, from DELIVERED on somebody does."""

    PLANNED = "planned"
    CREATED = "created"
    VERIFIED = "verified"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    DONE = "done"
    ABANDONED = "abandoned"


# What may come next. Without verification a successor is delivered as it was created.
BEFORE = {
    Stage.CREATED: (Stage.PLANNED, Stage.ABANDONED),
    Stage.VERIFIED: (Stage.CREATED,),
    Stage.DELIVERING: (Stage.CREATED, Stage.VERIFIED),
    Stage.DELIVERED: (Stage.CREATED, Stage.VERIFIED, Stage.DELIVERING),
    Stage.DONE: (Stage.DELIVERED,),
    Stage.ABANDONED: (
        Stage.PLANNED,
        Stage.CREATED,
        Stage.VERIFIED,
        Stage.DELIVERING,
        Stage.DELIVERED,
        Stage.ABANDONED,
    ),
}


@dataclass(frozen=True)
class StoredRotation:
    """One rotation as the journal has it; dates as PostgreSQL's text, and the time (UTC) at which it came so far."""

    state: Stage
    successor_id: int | None
    old_expires_at: str | None
    new_expires_at: str | None
    grace_until: str | None
    new_owner: NewOwner | None
    rule: MembershipRule | None
    changed_at: str


def store(connection: Connection, plan: RotationPlan, origin: Origin, reason: str | None) -> int:
    """Store `plan` in the open transaction; returns the number of its run, for `tokens.journal.attempts.begin`.

    The journal holds ids and dates, never a token and never a digest. The caller has checked that it is trusted.
    """
    rotations = plan.rotations
    owners = sorted({one.candidate.username for one in rotations if one.candidate.username is not None})
    new_owners = {one.new_owner.username for one in rotations if one.new_owner is not None}
    dates = {one.expires_at for one in rotations}
    common = dates.pop() if len(dates) == 1 else None
    schema = read_schema(connection)
    run = store_run(
        connection,
        schema,
        RunKind.ROTATE,
        selection={"user": owners, "ids": len(rotations), **({"new_owner": new_owners.pop()} if new_owners else {})},
        change={"to": common and common.literal, "by": None, "days": 1},
        memberships=plan.rule,
        tokens=len(rotations),
        origin=origin,
        reason=reason,
    )
    for one in rotations:
        connection.execute(
            STORE_ROTATION,
            run=run,
            token=one.candidate.id,
            old=one.candidate.expires_at and one.candidate.expires_at.literal,
            new=one.expires_at and one.expires_at.literal,
            grace=one.grace_until and one.grace_until.literal,
            owner=one.new_owner and one.new_owner.id,
        )
    names.keep_of_rotations(connection, schema, run)
    chain.seal(connection, run)
    return run


def mark(connection: Connection, run: Record, token_id: int, state: Stage, destination: str | None = None) -> None:
    """Write down that the successor of this token is verified, handed over or delivered, in a transaction of its own.

    `destination` is where it goes from now on.

    Raises:
        Refused: the rotation is not as far as that, or further.
        TakenOver: another process goes on with the run; nothing may be done any more.
    """
    if state not in (Stage.VERIFIED, Stage.DELIVERING, Stage.DELIVERED):
        raise ValueError(f"{state} is not marked: it is reached by what it stands for")
    with step(connection, run):
        require(connection, run, token_id, state)
        if destination is not None:
            connection.execute(DELIVER_TO, run=run.run, token=token_id, destination=destination)
        reach(connection, run, token_id, state)


def read(connection: Connection, run: int, token_id: int) -> Stage | None:
    """How far a rotation is; None where the run has none of this token."""
    row = connection.row(STATE, run=run, token=token_id)
    return row and Stage(row.state)


@contextmanager
def step(connection: Connection, run: Record) -> Iterator[None]:
    """One short transaction of a rotation, with a sign of life; TakenOver where another process has the run now."""
    with database.writing(connection, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT):
        run.beat(connection)
        yield


def require(connection: Connection, run: Record, token_id: int, state: Stage) -> StoredRotation:
    """The rotation as it is, held to the end of the transaction; refused where `state` cannot come next."""
    row = connection.row(READ, run=run.run, token=token_id)
    if row is None:
        seen = to_type("to see it", "history", "--run", run.run)
        raise Refused(f"Run {run.run} does not rotate token {token_id}.{seen}")
    here = Stage(row.state)
    if here not in BEFORE[state]:
        raise Refused(f"In run {run.run} token {token_id} is {here}, so it cannot become {state}: nothing was changed.")
    rule = row.memberships and MembershipRule(row.memberships)
    owner = of_journal(row)
    dates = (row.old_expires_at, row.new_expires_at, row.grace_until)
    return StoredRotation(here, row.successor_id, *dates, owner, rule, row.changed_at)


def reach(connection: Connection, run: Record, token_id: int, state: Stage) -> None:
    """Write down the stage at the end of the transaction that did what it stands for."""
    connection.execute(REACH, run=run.run, token=token_id, state=state)
    chain.enter(connection, run.run, rotations=[token_id])


def count(connection: Connection, run: Record, *, changed: int = 0, changed_meanwhile: int = 0) -> None:
    """Count old tokens that this run has retired, and those that somebody else had changed before."""
    connection.execute(COUNT, run=run.run, changed=changed, changed_meanwhile=changed_meanwhile)

"""What is left to do of a run of rotations that was stopped, by a person, a fault or a crash."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.errors import RunComplete, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import TODAY, State, works
from tokens.gitlab.needs import ROTATE
from tokens.journal import installation
from tokens.journal.installation import RunState
from tokens.journal.runs import IS_PLANNED_ONE, PLANNED_AT
from tokens.rotation.candidate import Candidate, read_candidates
from tokens.rotation.new_owner import of_journal
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.stage import Stage

PLANNED = f"SELECT {PLANNED_AT} AS planned_at FROM token_tasks.runs r WHERE r.id = %(run)s"  # noqa: S608 - a constant

RUN = "SELECT r.kind, r.state FROM token_tasks.runs r WHERE r.id = %(run)s"

ROTATED = f"""t.id IN (SELECT p.token_id FROM token_tasks.rotations p WHERE p.run_id = %(planned)s)
      AND t.{IS_PLANNED_ONE}"""  # noqa: S608 - a constant

ROTATIONS = f"""
    SELECT
      p.token_id, p.state,
      CASE WHEN s.id IS NULL OR s.created_at <= p.changed_at AT TIME ZONE 'UTC' THEN p.successor_id END AS successor_id,
      p.new_expires_at::text AS expires_at, p.grace_until::text AS grace_until,
      p.new_owner_id, u.username AS new_owner,
      COALESCE({works("s")}, false) AND s.id IS NOT NULL
        AND s.created_at <= p.changed_at AT TIME ZONE 'UTC' AS live
    FROM token_tasks.rotations p
    LEFT JOIN public.personal_access_tokens s ON s.id = p.successor_id
    LEFT JOIN public.users u ON u.id = p.new_owner_id
    WHERE p.run_id = %(run)s AND p.state <> 'done'
    ORDER BY
      abs(CASE WHEN isfinite(p.old_expires_at) THEN p.old_expires_at - {TODAY} END) NULLS LAST,
      p.old_expires_at NULLS LAST,
      p.token_id
"""  # noqa: S608 - a constant


class Step(StrEnum):
    """What brings a rotation to a good end."""

    CREATE = "create"
    """Create, verify, deliver, finish: there is no successor, or a revoked one."""

    AGAIN = "again"
    """Abandon, then as CREATE: there is a successor whose secret is lost, or one that does not work any more."""

    FINISH = "finish"
    """Finish: the successor is delivered and works."""

    ABANDON = "abandon"
    """Abandon what nobody has got: the old token is gone or revoked, so there is nothing to make a successor of."""


@dataclass(frozen=True)
class Resumption:
    """One rotation that is not done. `rotation` is None where the old token is gone.

    `successor_id` is None, too, where another token has got the successor's id since. `successor_works` is whether it
    is neither revoked nor expired.
    """

    token_id: int
    stage: Stage
    step: Step
    successor_id: int | None
    rotation: Rotation | None
    successor_works: bool = False

    @property
    def makes_token(self) -> bool:
        """Whether it ends with a new token, which has to go somewhere."""
        return self.step in (Step.CREATE, Step.AGAIN)


def planned(plan: RotationPlan) -> tuple[Resumption, ...]:
    """A run that has not begun: everything is left of it."""
    return tuple(Resumption(one.candidate.id, Stage.PLANNED, Step.CREATE, None, one) for one in plan.rotations)


def planned_at(address: Address, run: int) -> str:
    """When a run that is there was planned, as `tokens.journal.runs` has it with PLANNED_AT."""
    with database.reading(address) as connection:
        return str(connection.row(PLANNED, run=run).planned_at)


def resumable(address: Address, run: int) -> tuple[Resumption, ...]:
    """What each rotation of a run still needs, the nearest to today first; those that are done are not among them.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        RunComplete: nothing is left of it.
        UsageError: there is no such run, or it is no rotation.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, ROTATE)
        installation.check(connection)
        stored = connection.row(RUN, run=run)
        if stored is None:
            raise UsageError(f"There is no run {run} in the journal.{to_type('to see the runs', 'history')}")
        if stored.kind != "rotate":
            has_ended = stored.state in (RunState.DONE, RunState.WITHDRAWN)
            on = "" if has_ended else to_type("to continue it", "apply", "--run", run)
            raise UsageError(f"Run {run} is no rotation but {stored.kind}.{on}")
        if stored.state == RunState.DONE:
            raise RunComplete(f"Run {run} is complete: there is nothing to do.")
        candidates = {one.id: one for one in read_candidates(connection, schema, ROTATED, {"planned": run})}
        return tuple(_resumptions(connection.rows(ROTATIONS, run=run), candidates))


def _resumptions(rows: list[Any], candidates: dict[int, Candidate]) -> Iterator[Resumption]:
    for row in rows:
        stage = Stage(row.state)
        candidate = candidates.get(row.token_id)
        if candidate is None:
            # A successor that was delivered is in use, whatever has become of the old token.
            if stage not in (Stage.ABANDONED, Stage.DELIVERED):
                yield Resumption(row.token_id, stage, Step.ABANDON, row.successor_id, None, row.live)
            continue
        rotation = Rotation(
            candidate,
            ExpirationDate.stored_or_none(row.expires_at),
            ExpirationDate.stored_or_none(row.grace_until),
            of_journal(row),
        )
        revoked = candidate.state is State.REVOKED
        step = _step(stage, live=row.live, revoked=revoked)
        yield Resumption(row.token_id, stage, step, row.successor_id, rotation, row.live)


def _step(stage: Stage, *, live: bool, revoked: bool) -> Step:
    match stage:
        case Stage.DELIVERED if live:
            return Step.FINISH
        case _ if revoked:
            return Step.ABANDON
        case Stage.PLANNED | Stage.ABANDONED:
            return Step.CREATE
    return Step.AGAIN

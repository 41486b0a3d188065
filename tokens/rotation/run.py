"""A run of rotations, from its first token to its end in the journal, whatever ends it.

It yields what happens and prints nothing; a new token goes to its delivery and nowhere else.
"""

import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tokens.delivery.destination import Delivery, NewToken
from tokens.delivery.processes import still_running
from tokens.errors import Refused, TokensError
from tokens.journal.ended import SyslogLine
from tokens.journal.installation import RunState
from tokens.rotation.backend import Backend, Begun, heartbeats
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption, Step
from tokens.rotation.rotator import PAUSES, Outcome, Rotator, insist


@dataclass(frozen=True)
class Began:
    """The run is in the journal under this number, and nothing is made yet."""

    run: int


@dataclass(frozen=True)
class Rotated:
    """This is what became of one token."""

    rotation: Resumption
    outcome: Outcome


@dataclass(frozen=True)
class AfterFailed:
    """What was to be done after the rotation of a token has failed, for this reason as the end of a sentence."""

    new: NewToken
    reason: str


@dataclass(frozen=True)
class Ended:
    """The run has ended without a fault, by this signal where somebody has stopped it."""

    stopped_by: signal.Signals | None


Event = Began | Rotated | AfterFailed | Ended


def run(
    backend: Backend,
    remaining: Sequence[Resumption],
    *,
    planned: RotationPlan | None = None,
    resume: int | None = None,
    url: str | None = None,
    delivery: Delivery | None = None,
    received: Callable[[], bool] | None = None,
    after: Callable[[NewToken], str | None] | None = None,
    reason: str | None = None,
    stop_requested: Callable[[], signal.Signals | None] = lambda: None,
    ended: Callable[[SyslogLine | None], None] = lambda _: None,
) -> Generator[Event, None, None]:
    """Rotate what remains of a run, one token after the other.

    A caller that does not take all events closes the iterator: the journal then has the end of the run, too.

    Args:
        backend: GitLab's side.
        remaining: from a survey.
        planned: the plan of a new run; else `resume` is the number of the one that is gone on with.
        resume: see there.
        url: the GitLab that has to accept new tokens, None where none is asked.
        delivery: where new tokens go; not needed where none is made.
        received: asks a person whether a token that was shown is in its place.
        after: called for each token that was rotated, when its event was taken; returns None, or how it failed.
        reason: why, for the journal.
        stop_requested: the signal by which somebody wants to stop. A delivery under way is ended first.
        ended: called with what `tokens.journal.ended` says of the run, whatever has ended it.

    Raises:
        KeyboardInterrupt, EOFError: nobody has asked to stop in another way; what was under way is put in order.
        TokensError: see `tokens.errors`; before Began nothing was changed, from then on what was rotated stays so. It
            may have been the last step of all, that the journal gets the run's end.
    """
    begun = _begin(backend, remaining, planned, resume, reason)
    outcomes: list[Outcome] = []
    backend.stop_requested = lambda: stop_requested() is not None
    rotator = Rotator(
        backend,
        begun.run,
        begun.planned_at,
        url=url,
        delivery=delivery,
        received=received,
        stop_requested=backend.stop_requested,
    )

    def end(error: BaseException | None) -> None:
        why = _why(error, stop_requested())
        complete = len(outcomes) == len(remaining) and all(one.is_settled for one in outcomes)
        ended(backend.end(RunState.DONE if complete else RunState.STOPPED if why else RunState.PARTIAL, why))

    try:
        yield Began(begun.run)
        for one in remaining:
            if stop_requested():
                break
            outcomes.append(rotator.rotate(one))
            yield Rotated(one, outcomes[-1])
            if outcomes[-1].hopeless:
                break
            new = outcomes[-1].new
            if after is not None and outcomes[-1].is_done and new is not None:
                with heartbeats(backend):
                    fault = after(new)
                if fault is not None:
                    yield AfterFailed(new, fault)
    except BaseException as error:
        if not (stop_requested() and isinstance(error, (KeyboardInterrupt, EOFError))):
            # If the database still lets it: the journal is true without it, too.
            with suppress(TokensError):
                end(error)
            raise
    insist(lambda: end(None), PAUSES, stop_requested)
    yield Ended(stop_requested())


def check_deliveries(run: int, planned_at: str | None, remaining: Sequence[Resumption]) -> None:
    """Make sure that no command of a process that was killed goes on delivering what would be revoked now.

    `planned_at` and `remaining` are the survey's.

    Raises:
        Refused: one does, on this machine.
    """
    for one in remaining:
        if one.step is Step.AGAIN and (found := still_running(run, one.token_id, planned_at)):
            ids = list(map(str, found))
            named = f"process {ids[0]}" if len(ids) == 1 else f"processes {', '.join(ids[:-1])} and {ids[-1]}"
            raise Refused(
                f"The command of --deliver for token {one.token_id} is still running, as {named}: wait until it has "
                f"ended, or end it, since what it stores would be revoked now. → to end it: kill -9 {' '.join(ids)}"
            )


def _begin(
    backend: Backend,
    remaining: Sequence[Resumption],
    planned: RotationPlan | None,
    resume: int | None,
    reason: str | None,
) -> Begun:
    """Take the run on, and make sure that what remains of it is what has been shown."""
    if planned is not None:
        return backend.begin(planned, reason)
    if resume is None:
        raise ValueError("a run has a plan, or a number")
    begun = backend.resume(resume)
    if _steps(begun.remaining) != _steps(remaining):
        backend.end(RunState.STOPPED, "somebody else had gone on with it")
        raise Refused(
            f"Somebody has continued run {begun.run} in the meantime: look at what is left of it, and resume."
        )
    return begun


def _why(error: BaseException | None, stopped_by: signal.Signals | None) -> str | None:
    """Why a run ends before its time, None where it does not."""
    if stopped_by:
        return f"stopped by {stopped_by.name}"
    if isinstance(error, (KeyboardInterrupt, EOFError)):
        return f"stopped by {signal.SIGINT.name}"
    if isinstance(error, TokensError):
        return str(error)
    return None if error is None else "an unforeseen fault"


def _steps(remaining: Sequence[Resumption]) -> set[tuple[int, Step, int | None]]:
    """Without their order, which another day may change."""
    return {(one.token_id, one.step, one.successor_id) for one in remaining}

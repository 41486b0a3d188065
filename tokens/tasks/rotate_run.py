"""A run of rotations as it is shown: each token as it comes, and what is said at its end, whatever ends it."""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from tokens.delivery.command import run_command
from tokens.delivery.destination import Delivery, NewToken
from tokens.errors import DoneInPart, Interrupted, Terminated, TokensError
from tokens.rotation.backend import Backend
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.rotator import Outcome
from tokens.rotation.run import AfterFailed, Began, Rotated, run
from tokens.tasks import rotate_screen
from tokens.tasks.report import Report
from tokens.tasks.rotate_options import RotateOptions
from tokens.terminal import console
from tokens.terminal.interruption import StopRequest, Termination, stop_requests


def carry_out(
    backend: Backend,
    left: Sequence[Resumption],
    planned: RotationPlan | None,
    *,
    url: str | None,
    delivery: Delivery | None,
    received: Callable[[], bool] | None,
    options: RotateOptions,
    report: Report,
) -> None:
    """Rotate what is left of a run, a new one where there is a plan, and tell of each token.

    `url` is the GitLab that has to accept tokens. `received` asks a person whether a token that was shown is in its
    place, None where nobody is asked.

    Raises:
        TokensError: see `tokens.errors`; DoneInPart where some tokens are rotated and others are not.
    """
    number: int | None = None
    outcomes: list[Outcome] = []
    faults: list[str] = []
    unwritten: str | None = None
    with stop_requests() as stop:
        events = run(
            backend,
            left,
            planned=planned,
            resume=options.resume,
            url=url,
            delivery=delivery,
            received=received and _noting_a_stop(received, stop),
            after=_after(options.after),
            reason=options.reason,
            stop_requested=lambda: stop.by,
        )
        try:
            with closing(events):
                for event in events:
                    match event:
                        case Began(number):
                            report.add(run=number)
                            report.changed = lambda: (
                                f"{_so_far(outcomes, left)} it is recorded as run {number}."
                                if _done(outcomes)
                                else None
                            )
                        case Rotated(one, outcome):
                            outcomes.append(outcome)
                            unwritten = _tell(one, outcome, delivery, report, alone=len(left) == 1) or unwritten
                        case AfterFailed(new, reason):
                            faults.append(f"The command of --after {reason}, for token {new.old_id} of {new.account}.")
        except KeyboardInterrupt:
            if number is None:
                raise
            stop.by = stop.by or signal.SIGINT
        except TokensError as fault:
            if number is None:
                raise
            raise type(fault)(
                " ".join((str(fault), *faults, _so_far(outcomes, left), _resume(number, left)))
            ) from fault
        finally:
            if number is not None:
                report.add(results=[rotate_screen.outcome_as_dict(one) for one in outcomes])
    assert number is not None  # noqa: S101 - a run that has not begun has raised
    _conclude(number, outcomes, left, stop, faults, unwritten, options, report)


def _noting_a_stop(received: Callable[[], bool], stop: StopRequest) -> Callable[[], bool]:
    """The same question, whose end by a signal or a closed terminal counts as a stop."""

    def ask() -> bool:
        try:
            return received()
        except Termination:
            stop.by = stop.by or signal.SIGTERM
            raise
        except KeyboardInterrupt:
            stop.by = stop.by or signal.SIGINT
            raise
        except EOFError:
            stop.by = stop.by or signal.SIGHUP
            raise

    return ask


def _after(command: str | None) -> Callable[[NewToken], str | None] | None:
    """What runs the command of --after for one token."""
    if command is None:
        return None
    return lambda new: run_command(command, new.variables, errors=sys.stderr)


def _tell(one: Resumption, outcome: Outcome, delivery: Delivery | None, report: Report, *, alone: bool) -> str | None:
    """Say what became of one token; returns why that could not be written, where it could not."""
    place = None
    if delivery is not None and outcome.new is not None and one.makes_token:
        place = delivery.place(outcome.new)
    line = rotate_screen.outcome(outcome, place)
    try:
        if outcome.is_done:
            report.say(line)
        elif not alone:
            console.tell(line)
    except OSError as fault:
        # A full disk under a log must neither stop the run nor hide how it ended.
        return f"The output could not be written whole: {fault.strerror}."
    return None


def _conclude(
    run: int,
    outcomes: Sequence[Outcome],
    left: Sequence[Resumption],
    stop: StopRequest,
    faults: Sequence[str],
    unwritten: str | None,
    options: RotateOptions,
    report: Report,
) -> None:
    done = _done(outcomes)
    if unwritten is not None:
        console.discard(sys.stdout)
        faults = (unwritten, *faults)
        if len(done) == len(left) and stop.by is None:
            raise DoneInPart(f"{' '.join(faults)} {_so_far(outcomes, left)} it is recorded as run {run}.")
    elif done:
        report.say("")
        report.say(rotate_screen.checklist(done, after=options.after is not None and not faults))
        report.say(f"\nRecorded as run {run}.")
    if stop.by is not None:
        if len(done) == len(left):
            message = " ".join(("Stopped; the rotation is complete.", *faults))
        else:
            message = " ".join(("Stopped.", *faults, _so_far(outcomes, left), _resume(run, left)))
        raise Interrupted(message) if stop.by == signal.SIGINT else Terminated(message)
    if len(done) == len(left):
        if faults:
            raise DoneInPart(f"{' '.join(faults)} {_so_far(outcomes, left)} run it by hand.")
        return
    if len(left) == 1:
        (outcome,) = outcomes
        kind = type(outcome.fault) if outcome.fault else TokensError
        again = "" if outcome.settled else f" {_resume(run, left, 'To try again')}"
        raise kind(f"{rotate_screen.outcome(outcome, None)}{again}")
    settled = all(one.is_settled for one in outcomes)
    again = "the others need nothing more." if settled else _resume(run, left)
    raise (DoneInPart if done else TokensError)(" ".join((*faults, _so_far(outcomes, left), again)))


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.is_done]


def _so_far(outcomes: Sequence[Outcome], left: Sequence[object]) -> str:
    return f"{len(_done(outcomes))} of {len(left)} token(s) were rotated and stay so;"


def _resume(run: int, left: Sequence[object], again: str | None = None) -> str:
    again = again or ("to go on with the others" if len(left) > 1 else "to go on")
    return f"{again}: tokens.rotate --resume {run}, with the same --deliver."

"""A run of rotations as it is shown: each token as it comes, and what is said at its end, whatever ends it."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from tokens.call import one_message, to_type
from tokens.change.notes import first_of
from tokens.commands import next_steps, syslog
from tokens.commands.ending import DONE, Ending, so_far, stopped
from tokens.commands.environment import Environment
from tokens.commands.options.rotating import RotateOptions
from tokens.commands.report import Report
from tokens.counts import counted
from tokens.delivery.command import run_command
from tokens.delivery.destination import Delivery, NewToken
from tokens.errors import ExitStatus, TokensError
from tokens.journal.record import TakenOver
from tokens.rotation.backend import Backend
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.rotator import Outcome
from tokens.rotation.run import AfterFailed, Began, Rotated, run
from tokens.rotation.stage import PlanOutdated
from tokens.terminal.interruption import StopRequest, Termination, stop_requests
from tokens.terminal.progress import duration
from tokens.views import rotation as view


def carry_out(
    environment: Environment,
    backend: Backend,
    left: Sequence[Resumption],
    planned: RotationPlan | None,
    *,
    url: str | None,
    delivery: Delivery | None,
    received: Callable[[], bool] | None,
    options: RotateOptions,
    report: Report,
) -> Ending:
    """Rotate what is left of a run, a new one where there is a plan, and tell of each token.

    `url` is the GitLab that has to accept tokens. `received` asks a person whether a token that was shown is in its
    place, None where nobody is asked.

    Raises:
        TokensError: nothing was changed.
    """
    number: int | None = None
    began = time.monotonic()
    outcomes: list[Outcome] = []
    faults: list[str] = []

    def after(new: NewToken) -> str | None:
        return run_command(options.after or "", new.variables, errors=environment.stderr)

    with stop_requests() as stop:
        events = run(
            backend,
            left,
            planned=planned,
            resume=options.resume,
            url=url,
            delivery=delivery,
            received=received and _noting_a_stop(received, stop),
            after=after if options.after is not None else None,
            reason=options.reason,
            stop_requested=lambda: stop.by,
            ended=partial(syslog.write, environment),
        )
        try:
            with closing(events):
                for event in events:
                    match event:
                        case Began(number):
                            report.add(run=number)
                            report.changed = lambda: (
                                f"{_so_far(outcomes, left)} {_recorded(outcomes)} as run {number}."
                                if _done(outcomes)
                                else None
                            )
                        case Rotated(one, outcome):
                            outcomes.append(outcome)
                            _tell(one, outcome, environment, delivery, report, at=(len(outcomes), len(left)))
                        case AfterFailed(new, reason):
                            faults.append(f"The command of --after {reason}, for token {new.old_id} of {new.account}.")
        except KeyboardInterrupt:
            if number is None:
                raise
            stop.by = stop.by or signal.SIGINT
        except TokensError as fault:
            if number is None:
                raise
            message = one_message(str(fault), *faults, _so_far(outcomes, left))
            status = ExitStatus.PARTIAL if _done(outcomes) else fault.status
            on = (
                to_type("to see it", "history", "--run", number)
                if isinstance(fault, TakenOver)
                else _to_go_on(number, left, options)
            )
            return Ending(status, f"{message}{on}", fault)
        finally:
            if number is not None:
                report.add(results=[view.outcome_as_dict(one) for one in outcomes])
    assert number is not None  # noqa: S101 - a run that has not begun has raised
    done = _done(outcomes)
    if done:
        report.say("")
        report.say(view.checklist(done, after=options.after is not None and not faults))
        report.say(f"\n{_took(done, left, began)}\nRecorded as run {number}.")
    return _ending(number, outcomes, left, stop.by, faults, options)


def _took(done: Sequence[Outcome], left: Sequence[object], began: float) -> str:
    return f"Rotated {len(done):,} of {counted(len(left), 'token')} in {duration(time.monotonic() - began)}."


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


def _tell(
    one: Resumption,
    outcome: Outcome,
    environment: Environment,
    delivery: Delivery | None,
    report: Report,
    *,
    at: tuple[int, int],
) -> None:
    """Say what became of one token, which one of how many; one alone that is not rotated the run ends with."""
    place = None
    if delivery is not None and outcome.new is not None and one.makes_token:
        place = delivery.place(outcome.new)
    number, of = at
    line = view.outcome(outcome, place)
    if of > 1:
        line = f"{number:,} of {of:,}: {line}"
    if outcome.is_done:
        report.say(line)
    elif of > 1:
        environment.tell(line)


def _ending(
    run: int,
    outcomes: Sequence[Outcome],
    left: Sequence[Resumption],
    stopped_by: signal.Signals | None,
    faults: Sequence[str],
    options: RotateOptions,
) -> Ending:
    """How a run that no fault has ended has ended; `faults` are what failed after rotations."""
    done = _done(outcomes)
    beside = _beside([one.token_id for one in outcomes if one.is_beside_the_old])
    if stopped_by is not None:
        if len(done) == len(left):
            return stopped(stopped_by, "The rotation is complete.", *faults, *beside)
        # Of several each was told of as it came.
        alone = [view.outcome(one, None) for one in outcomes if len(left) == 1]
        return stopped(stopped_by, *alone, *faults, _so_far(outcomes, left) + _to_go_on(run, left, options))
    if len(done) == len(left):
        if faults:
            return Ending(ExitStatus.PARTIAL, " ".join((*faults, _so_far(outcomes, left), "Run it by hand.", *beside)))
        return Ending(ExitStatus.PARTIAL, " ".join(beside)) if beside else DONE
    if len(left) == 1:
        (outcome,) = outcomes
        status = outcome.fault.status if outcome.fault else ExitStatus.FAILED
        if outcome.changed_something:
            status = ExitStatus.PARTIAL
        again = "" if outcome.settled else _to_resume(run, "to try again", options)
        if isinstance(outcome.fault, PlanOutdated):
            again = to_type("to plan it again", "rotate", "--token", outcome.token_id)
        return Ending(status, f"{view.outcome(outcome, None)}{again}", outcome.fault)
    settled = len(outcomes) == len(left) and all(one.is_settled for one in outcomes)
    again = " The others need nothing more." if settled else _to_go_on(run, left, options)
    if skipped := len(left) - len(outcomes):
        again = f" {counted(skipped, 'token was', 'tokens were')} not tried.{again}"
    status = ExitStatus.PARTIAL if any(one.changed_something for one in outcomes) else ExitStatus.FAILED
    cause = next((one.fault for one in outcomes if one.fault), None)
    return Ending(status, " ".join((*faults, *beside, _so_far(outcomes, left))) + again, cause)


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.is_done]


def _so_far(outcomes: Sequence[Outcome], left: Sequence[object]) -> str:
    return so_far(len(_done(outcomes)), len(left), "rotated")


def _recorded(outcomes: Sequence[Outcome]) -> str:
    return "It is recorded" if len(_done(outcomes)) == 1 else "They are recorded"


def _beside(ids: Sequence[int]) -> list[str]:
    """What is said where somebody else has given old tokens another date in the meantime, if they are any."""
    tokens = counted(len(ids), "old token was", "old tokens were")
    return [f"{tokens} changed by somebody else in the meantime, and left alone: {first_of(ids)}."] if ids else []


def _to_go_on(run: int, left: Sequence[object], options: RotateOptions) -> str:
    return _to_resume(run, "to rotate the others" if len(left) > 1 else "to go on", options)


def _to_resume(run: int, purpose: str, options: RotateOptions) -> str:
    given = {
        "--deliver": True,
        "--after": options.after is not None,
        "--verify": options.url is not None,
        "--no-verify": not options.verifies,
        "--secrets-file": options.secrets_file is not None,
    }
    return next_steps.to_resume(run, purpose, [option for option, is_given in given.items() if is_given])

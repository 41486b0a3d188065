"""A run of rotations as it is shown: each token as it comes, and what is said at its end, whatever ends it."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from tokens.call import one_message, to_type
from tokens.change.notes import first_of
from tokens.commands import next_steps, syslog
from tokens.commands.ending import DONE, Ending, so_far, stopped
from tokens.commands.environment import Environment
from tokens.commands.options.rotating import RotateOptions
from tokens.commands.run_report import RunReport
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

STOPPING = (
    "Stopping after this token. A command of --deliver or --after that still runs is waited for. A second Ctrl-C kills "
    "it."
)


@dataclass
class RotationCourse:
    """How far a run of rotations is: what there is to say of it, whenever it has to be said.

    Attributes:
        left: what is to be rotated.
        options: those of its call.
        run: its number, None until it has begun.
        outcomes: of each token that has had its turn.
        faults: what failed after rotations, in sentences.
    """

    left: Sequence[Resumption]
    options: RotateOptions
    run: int | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def done(self) -> list[Outcome]:
        """Of the tokens that were rotated."""
        return [one for one in self.outcomes if one.is_done]

    @property
    def so_far(self) -> str:
        """How many tokens were rotated, in a sentence."""
        return so_far(len(self.done), len(self.left), "rotated")

    def changed(self) -> str | None:
        """What has been changed, None as long as nothing has."""
        recorded = "It is recorded" if len(self.done) == 1 else "They are recorded"
        return f"{self.so_far} {recorded} as run {self.run}." if self.done else None

    def failed(self, fault: TokensError) -> Ending:
        """How a run ends that this fault has ended."""
        message = one_message(str(fault), *self.faults, self.so_far)
        status = ExitStatus.PARTIAL if self.done else fault.status
        taken_over = isinstance(fault, TakenOver)
        on = to_type("to see it", "history", "--run", self.run) if taken_over else self._to_go_on()
        return Ending(status, f"{message}{on}", fault)

    def ended(self, stopped_by: signal.Signals | None) -> Ending:
        """How a run has ended that no fault has ended."""
        beside = self._beside()
        is_complete = len(self.done) == len(self.left)
        if stopped_by is not None:
            if is_complete:
                return stopped(stopped_by, "The rotation is complete.", *self.faults, *beside)
            # Of several each was told of as it came.
            alone = [view.outcome(one, None) for one in self.outcomes if len(self.left) == 1]
            return stopped(stopped_by, *alone, *self.faults, self.so_far + self._to_go_on())
        if is_complete:
            if self.faults:
                return Ending(ExitStatus.PARTIAL, " ".join((*self.faults, self.so_far, "Run it by hand.", *beside)))
            return Ending(ExitStatus.PARTIAL, " ".join(beside)) if beside else DONE
        if len(self.left) == 1:
            return self._not_rotated(self.outcomes[0])
        return self._in_part()

    def _not_rotated(self, outcome: Outcome) -> Ending:
        """How a run of one token ends that was not rotated."""
        status = outcome.fault.status if outcome.fault else ExitStatus.FAILED
        if outcome.changed_something:
            status = ExitStatus.PARTIAL
        again = "" if outcome.settled else self._to_resume("to try again")
        if isinstance(outcome.fault, PlanOutdated):
            again = to_type("to plan it again", "rotate", "--token", outcome.token_id)
        return Ending(status, f"{view.outcome(outcome, None)}{again}", outcome.fault)

    def _in_part(self) -> Ending:
        """How a run of several ends of which some were not rotated."""
        outcomes = self.outcomes
        settled = len(outcomes) == len(self.left) and all(one.is_settled for one in outcomes)
        again = " The others need nothing more." if settled else self._to_go_on()
        if skipped := len(self.left) - len(outcomes):
            again = f" {counted(skipped, 'token was', 'tokens were')} not tried.{again}"
        status = ExitStatus.PARTIAL if any(one.changed_something for one in outcomes) else ExitStatus.FAILED
        cause = next((one.fault for one in outcomes if one.fault), None)
        return Ending(status, " ".join((*self.faults, *self._beside(), self.so_far)) + again, cause)

    def _beside(self) -> list[str]:
        """What is said where somebody else has given old tokens another date in the meantime, if they are any."""
        ids = [one.token_id for one in self.outcomes if one.is_beside_the_old]
        tokens = counted(len(ids), "old token was", "old tokens were")
        return [f"{tokens} changed by somebody else in the meantime, and left alone: {first_of(ids)}."] if ids else []

    def _to_go_on(self) -> str:
        if len(self.done) == len(self.left):
            return self._to_resume("to write down its end")
        return self._to_resume("to rotate the others" if len(self.left) > 1 else "to go on")

    def _to_resume(self, purpose: str) -> str:
        assert self.run is not None  # noqa: S101 - a run that has not begun has raised
        options = self.options
        given = {
            "--deliver": options.deliver is not None,
            "--after": options.after is not None,
            "--verify": options.url is not None,
            "--no-verify": not options.verifies,
            "--secrets-file": options.secrets_file is not None,
        }
        return next_steps.to_resume(self.run, purpose, [option for option, is_given in given.items() if is_given])


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
    report: RunReport,
) -> Ending:
    """Rotate what is left of a run, a new one where there is a plan, and tell of each token.

    `url` is the GitLab that has to accept tokens. `received` asks a person whether a token that was shown is in its
    place, None where nobody is asked.

    Raises:
        TokensError: nothing was changed.
    """
    began = time.monotonic()
    course = RotationCourse(left, options)
    report.changed = course.changed

    def after(new: NewToken) -> str | None:
        return run_command(options.after or "", new.variables, errors=environment.stderr)

    def explain_the_stop() -> None:
        if options.after is not None or (options.deliver or "").startswith("command:"):
            # The signal may have come in the middle of another line to the same stream.
            with suppress(RuntimeError):
                environment.tell(STOPPING)

    with stop_requests(explain_the_stop) as stop:
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
                            course.run = number
                            report.add(run=number)
                        case Rotated(one, outcome):
                            course.outcomes.append(outcome)
                            _tell(one, outcome, environment, delivery, report, at=(len(course.outcomes), len(left)))
                        case AfterFailed(new, reason):
                            failed = f"The command of --after {reason}, for token {new.old_id} of {new.account}."
                            course.faults.append(failed)
        except KeyboardInterrupt:
            if course.run is None:
                raise
            stop.by = stop.by or signal.SIGINT
        except TokensError as fault:
            if course.run is None:
                raise
            return course.failed(fault)
        finally:
            if course.run is not None:
                report.add(results=[view.outcome_as_dict(one) for one in course.outcomes])
    if done := course.done:
        tokens, took = counted(len(left), "token"), duration(time.monotonic() - began)
        report.say("")
        report.say(view.checklist(done, after=options.after is not None and not course.faults))
        report.say(f"\nRotated {len(done):,} of {tokens} in {took}.\nRecorded as run {course.run}.")
    return course.ended(stop.by)


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
    report: RunReport,
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

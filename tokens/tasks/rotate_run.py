"""A run of rotations from its first token to what is said at its end, whatever ends it."""

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from tokens.delivery.command import run_command
from tokens.delivery.destination import Delivery
from tokens.errors import DoneInPart, Interrupted, Refused, Terminated, TokensError
from tokens.journal.installation import RunState
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption, Step
from tokens.tasks import rotate_screen
from tokens.tasks.report import Report
from tokens.tasks.rotate_bench import Bench, signs_of_life
from tokens.tasks.rotate_options import Wishes
from tokens.tasks.rotate_steps import End, Outcome, Rotator
from tokens.terminal import console
from tokens.terminal.interruption import StopRequest, Termination, stop_requests


class RotationRun:
    """Rotates one token after the other, tells of each, and writes down how the run ended.

    `received` asks a person whether a token that was shown is in its place, None where nobody is asked.
    """

    def __init__(
        self,
        bench: Bench,
        report: Report,
        delivery: Delivery | None,
        received: Callable[[], bool] | None,
        wishes: Wishes,
    ) -> None:
        self._bench = bench
        self._report = report
        self._delivery = delivery
        self._received = received
        self._wishes = wishes
        self._unwritten: str | None = None

    def carry_out(self, left: Sequence[Resumption], planned: RotationPlan | None, url: str | None) -> None:
        """Rotate what is left of a run, a new one where there is a plan; `url` is the GitLab that has to accept tokens.

        Raises:
            TokensError: see `tokens.errors`; DoneInPart where some tokens are rotated and others are not.
        """
        outcomes: list[Outcome] = []
        faults: list[str] = []
        with stop_requests() as stop:
            run = self._begin(left, planned)
            self._report.add(run=run)
            self._report.changed = lambda: (
                f"{_so_far(outcomes, left)} it is recorded as run {run}." if _done(outcomes) else None
            )
            self._bench.hurried = stop.made
            rotator = Rotator(self._bench, run, url, self._delivery, self._received, stop)
            why: str | None = "an unforeseen fault"
            try:
                for one in left:
                    if stop.made():
                        break
                    outcomes.append(rotator.bring_to_its_end(one))
                    self._tell(one, outcomes[-1], alone=len(left) == 1)
                    if outcomes[-1].hopeless:
                        break
                    if fault := self._after(outcomes[-1]):
                        faults.append(fault)
                why = None
            except Termination:
                stop.by = stop.by or signal.SIGTERM
            except KeyboardInterrupt:
                stop.by = stop.by or signal.SIGINT
            except EOFError:
                stop.by = stop.by or signal.SIGHUP
            except TokensError as fault:
                why = str(fault)
                raise type(fault)(
                    " ".join((str(fault), *faults, _so_far(outcomes, left), _resume(run, left)))
                ) from fault
            finally:
                if stop.by:
                    why = f"stopped by {stop.by.name}"
                self._end(outcomes, left, why)
        self._conclude(run, outcomes, left, stop, faults)

    def _begin(self, left: Sequence[Resumption], planned: RotationPlan | None) -> int:
        """Take the run on, and make sure that what is left of it is what has been shown."""
        if planned is not None:
            return self._bench.begin(planned, self._wishes.reason).run
        begun = self._bench.resume(self._wishes.resume or 0)
        if _steps(begun.left) != _steps(left):
            self._bench.end(RunState.STOPPED, "somebody else had gone on with it")
            raise Refused(
                f"Somebody has gone on with run {begun.run} meanwhile: look at what is left of it, and resume."
            )
        return begun.run

    def _tell(self, one: Resumption, outcome: Outcome, *, alone: bool) -> None:
        place = None
        if self._delivery is not None and outcome.new is not None and one.makes_token:
            place = self._delivery.place(outcome.new)
        line = rotate_screen.outcome(outcome, place)
        try:
            if outcome.end is End.DONE:
                self._report.say(line)
            elif not alone:
                console.tell(line)
        except OSError as fault:
            # A full disk under a log must neither stop the run nor hide how it ended.
            self._unwritten = f"The output could not be written whole: {fault.strerror}."

    def _end(self, outcomes: Sequence[Outcome], left: Sequence[Resumption], why: str | None) -> None:
        """Write down how the run ended, if the database still lets it."""
        complete = len(outcomes) == len(left) and all(_is_settled(one) for one in outcomes)
        state = RunState.DONE if complete else RunState.STOPPED if why else RunState.PARTIAL
        self._report.add(results=[rotate_screen.outcome_as_dict(one) for one in outcomes])
        with suppress(TokensError):
            self._bench.end(state, why)

    def _after(self, outcome: Outcome) -> str | None:
        """Run the command of --after for one token that was rotated; what is wrong with it, where something is."""
        if self._wishes.after is None or outcome.end is not End.DONE or outcome.new is None:
            return None
        with signs_of_life(self._bench):
            fault = run_command(self._wishes.after, outcome.new.variables, errors=sys.stderr)
        if fault is None:
            return None
        return f"The command of --after {fault}, for token {outcome.token_id} of {outcome.new.account}."

    def _conclude(
        self,
        run: int,
        outcomes: Sequence[Outcome],
        left: Sequence[Resumption],
        stop: StopRequest,
        faults: Sequence[str],
    ) -> None:
        done = _done(outcomes)
        if self._unwritten is not None:
            console.discard(sys.stdout)
            faults = (self._unwritten, *faults)
            if len(done) == len(left) and stop.by is None:
                raise DoneInPart(f"{' '.join(faults)} {_so_far(outcomes, left)} it is recorded as run {run}.")
        elif done:
            self._report.say("")
            self._report.say(rotate_screen.checklist(done, after=self._wishes.after is not None and not faults))
            self._report.say(f"\nRecorded as run {run}.")
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
        again = "the others need nothing more." if all(map(_is_settled, outcomes)) else _resume(run, left)
        raise (DoneInPart if done else TokensError)(" ".join((*faults, _so_far(outcomes, left), again)))


def _steps(left: Sequence[Resumption]) -> set[tuple[int, Step, int | None]]:
    """Without their order, which another day may change."""
    return {(one.token_id, one.step, one.successor_id) for one in left}


def _is_settled(outcome: Outcome) -> bool:
    """Whether nothing is left to do: the rotation is done, or its old token is gone or revoked."""
    return outcome.end is End.DONE or outcome.settled


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.end is End.DONE]


def _so_far(outcomes: Sequence[Outcome], left: Sequence[object]) -> str:
    return f"{len(_done(outcomes))} of {len(left)} token(s) were rotated and stay so;"


def _resume(run: int, left: Sequence[object], again: str | None = None) -> str:
    again = again or ("to go on with the others" if len(left) > 1 else "to go on")
    return f"{again}: tokens.rotate --resume {run}, with the same --deliver."

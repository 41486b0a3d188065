"""From the options of `rotate` to its end: which tokens, the plan, the questions, the run, and what came of it."""

import ctypes
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import invoke

from tokens import origin
from tokens.delivery.command import check_command, run_command
from tokens.delivery.destination import Delivery
from tokens.delivery.option import parse_delivery
from tokens.delivery.output import OutputDelivery
from tokens.delivery.processes import still_running
from tokens.errors import (
    DoneInPart,
    Interrupted,
    Refused,
    TerminalRequired,
    Terminated,
    TokensError,
    UsageError,
)
from tokens.journal.installation import JournalMissing, JournalOutdated, RunState
from tokens.rotation import resumption
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption, Step
from tokens.targets.here.secrets import read_keys_file
from tokens.tasks import rotate_screen
from tokens.tasks.report import Report
from tokens.tasks.rotate_bench import Bench, BenchHere, Proof, signs_of_life
from tokens.tasks.rotate_choice import Choice
from tokens.tasks.rotate_options import Wishes
from tokens.tasks.rotate_steps import End, Outcome, Rotator, new_token
from tokens.tasks.target_option import locate_site, remote_target
from tokens.terminal import console
from tokens.terminal.interruption import StopRequest, Termination, stop_requests, termination_as_error
from tokens.terminal.prompts import Prompts

NEW_TOKENS = (Step.CREATE, Step.ANEW)
PR_SET_DUMPABLE = 4


class ReportAside(Report):
    """Says everything on standard error, since standard output is the token's alone."""

    def _print(self, text: str) -> None:
        console.tell(text)


class RotateTokens:
    """One call of `rotate`. What is read or asked of this process comes before it may become the GitLab user."""

    def __init__(self, context: invoke.Context, target: str, wishes: Wishes) -> None:
        self._wishes = wishes
        person = console.is_person_there()
        if wishes.asks and not wishes.dry_run and not person:
            raise TerminalRequired(
                "rotate asks before it changes anything and needs a terminal on standard input and output; without one "
                "say --yes, or --dry-run to see the plan."
            )
        if not (person or wishes.selects or wishes.resume):
            raise UsageError("Say which tokens: --service-account USERNAME, --token NAME or ID, or --within 30d.")
        if not wishes.dry_run:
            forbid_core_dumps()
        self._has_journal = False
        self._unwritten: str | None = None
        self._delivery = self._destination()
        self._bench: Bench = self._open_bench(context, target)
        if not wishes.dry_run:
            forbid_core_dumps()  # to become another user has allowed them again
        self._prompts = Prompts(colour=console.has_colour(sys.stdout)) if person else None
        aside = isinstance(self._delivery, OutputDelivery) and not self._delivery.is_terminal and not wishes.dry_run
        self._report = ReportAside(as_json=False) if aside else Report(as_json=wishes.json)

    def run(self) -> None:
        """Plan, show, ask, carry out.

        Raises:
            TokensError: see `tokens.errors`; DoneInPart where some tokens are rotated and others are not.
        """
        wishes = self._wishes
        self._check_journal()
        with self._report.printing():
            planned: RotationPlan | None = None
            notes: tuple[str, ...] = ()
            if wishes.resume is not None:
                left = self._bench.left(wishes.resume)
            else:
                chosen = Choice(self._bench, wishes, self._prompts, self._report).made()
                if not chosen.candidates:
                    self._report.add(plan={"tokens": 0, "rotations": [], "notes": list(chosen.passed_over)})
                    return
                planned = self._bench.plan(
                    chosen.candidates, wishes.expires_in, wishes.grace, allow_personal=wishes.allows_people
                )
                left = resumption.planned(planned)
                notes = (*chosen.passed_over, *planned.notes)
            proof = self._proof(left)
            self._check_destination(left)
            self._show(left, proof, notes)
            if wishes.dry_run:
                return
            self._check_deliveries(left)
            if _makes_tokens(left):
                self._bench.check_keys()
            if left and not self._agreed(left, proof):
                self._report.say("Nothing was changed.")
                return
            self._carry_out(left, proof, planned)

    def _open_bench(self, context: invoke.Context, target: str) -> Bench:
        wishes = self._wishes
        place = remote_target(context, target)
        if place is not None:
            from tokens.tasks.rotate_there import BenchThere

            if wishes.secrets_file is not None:
                raise UsageError("GitLab's secrets are read where it is, and stay there: leave --secrets-file out.")
            return BenchThere(context, place)
        keys = None
        if wishes.secrets_file is not None and not wishes.dry_run:
            keys = read_keys_file(wishes.secrets_file)
        who = origin.here()
        return BenchHere(locate_site(context, target), who, keys=keys)

    def _destination(self) -> Delivery | None:
        wishes = self._wishes
        deliver = wishes.deliver
        if deliver is None and console.is_person_there() and not wishes.json:
            deliver = "stdout"
        if deliver is None:
            return None
        return parse_delivery(deliver, force=wishes.force, output=sys.stdout)

    def _check_destination(self, left: Sequence[Resumption]) -> None:
        if self._wishes.after is not None:
            check_command("--after", self._wishes.after)
        if not _makes_tokens(left):
            return
        if self._delivery is None:
            if self._wishes.dry_run:
                return
            raise UsageError(
                "Say where the new token goes: --deliver file:PATH, --deliver command:COMMAND or --deliver stdout."
            )
        self._delivery.check([new_token(one.rotation) for one in left if one.rotation and one.step in NEW_TOKENS])

    def _check_deliveries(self, left: Sequence[Resumption]) -> None:
        """Make sure that no command of a process that was killed goes on delivering what would be revoked now."""
        run = self._wishes.resume
        if run is None:
            return
        for one in left:
            process = still_running(run, one.token_id) if one.step is Step.ANEW else None
            if process is not None:
                raise Refused(
                    f"The command of --deliver for token {one.token_id} is still running, as process {process}: wait "
                    "until it has ended, or end it, since what it stores would be revoked now."
                )

    def _proof(self, left: Sequence[Resumption]) -> Proof | str:
        """The GitLab that is asked, or why there is none."""
        wishes = self._wishes
        if not wishes.verifies:
            return "--no-verify"
        if wishes.url is not None:
            return Proof(wishes.url)
        if not _makes_tokens(left):
            return "there is no new token"
        try:
            return Proof(self._bench.url())
        except UsageError as fault:
            if not wishes.asks and not wishes.dry_run:
                raise UsageError(f"{fault} To go on without that proof say --no-verify, too.") from None
            return str(fault)

    def _show(self, left: Sequence[Resumption], proof: Proof | str, notes: Sequence[str]) -> None:
        delivery = self._delivery
        places = [
            delivery.place(new_token(one.rotation))
            for one in left
            if one.rotation and delivery and one.step in NEW_TOKENS
        ]
        after = self._wishes.after
        self._report.add(plan=rotate_screen.plan_as_dict(left, proof=proof, places=places, after=after, notes=notes))
        if not left:
            self._report.say(f"Run {self._wishes.resume}: nothing is left to rotate.")
            return
        title = f"Plan to rotate {len(left)} token(s)"
        if self._wishes.resume is not None:
            title = f"Run {self._wishes.resume}: {len(left)} token(s) left to rotate"
        shown = rotate_screen.plan(left, proof=proof, places=places, after=after, notes=notes)
        self._report.say(f"{title}\n\n{shown}")

    def _agreed(self, left: Sequence[Resumption], proof: Proof | str) -> bool:
        if not self._wishes.asks or self._prompts is None:
            return True
        if isinstance(proof, str) and _makes_tokens(left):
            self._report.say(
                "WARNING: Without verification a wrong db_key_base is noticed by nobody: the new token would not work, "
                "and the old one would be revoked."
            )
            if not self._prompts.confirm("Go on without verification?"):
                return False
        return self._prompts.confirm(f"This will rotate {len(left)} token(s). Are you sure?")

    def _check_journal(self) -> None:
        """Make sure that there is a journal before anything else, where nobody can be asked whether to install it."""
        if self._wishes.dry_run or (self._wishes.asks and self._prompts is not None):
            return
        with suppress(JournalOutdated):
            self._bench.check_journal()
            self._has_journal = True

    def _open_journal(self) -> bool:
        """Make sure that there is a journal of our version; False where the person does not want one."""
        if self._has_journal:
            return True
        try:
            self._bench.check_journal()
            return True
        except JournalOutdated as outdated:
            console.tell(f"{outdated} This is done now.")
        except JournalMissing:
            if self._prompts is None or not self._wishes.asks:
                raise
            if not self._prompts.confirm(
                "There is no journal here yet, and without it a stop could leave a token that nobody knows: install it "
                "(schema token_tasks)?",
                default=True,
            ):
                return False
        self._bench.install_journal()
        return True

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

    def _carry_out(self, left: Sequence[Resumption], proof: Proof | str, planned: RotationPlan | None) -> None:
        if not self._open_journal():
            self._report.say("Nothing was changed.")
            return
        outcomes: list[Outcome] = []
        faults: list[str] = []
        with stop_requests() as stop:
            run = self._begin(left, planned)
            self._report.add(run=run)
            self._bench.hurried = stop.made
            rotator = Rotator(
                self._bench,
                run,
                None if isinstance(proof, str) else proof.url,
                self._delivery,
                self._received if self._asks_for_receipt() else None,
                stop,
            )
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

    def _asks_for_receipt(self) -> bool:
        shown = isinstance(self._delivery, OutputDelivery) and self._delivery.is_terminal
        return shown and self._wishes.asks and self._prompts is not None

    def _received(self) -> bool:
        """Whether the person has put the token that is shown into its place."""
        if self._prompts is None:
            return True
        self._prompts.discard_typeahead()
        with termination_as_error():
            return self._prompts.confirm(
                "It is shown this once. Is it where it belongs, so that the old one can go? (No revokes the new one)"
            )

    def _tell(self, one: Resumption, outcome: Outcome, *, alone: bool) -> None:
        place = None
        if self._delivery is not None and outcome.new is not None and one.step in NEW_TOKENS:
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
            fault = run_command(self._wishes.after, outcome.new.variables)
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


def forbid_core_dumps() -> None:
    """No image of this process's memory for anybody: it will hold a token, and the key that it is digested with."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # commands that are started have it, too
    # A crash handler that the kernel pipes into does not ask that limit.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _steps(left: Sequence[Resumption]) -> list[tuple[int, Step, int | None]]:
    return [(one.token_id, one.step, one.successor_id) for one in left]


def _makes_tokens(left: Sequence[Resumption]) -> bool:
    return any(one.step in NEW_TOKENS for one in left)


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

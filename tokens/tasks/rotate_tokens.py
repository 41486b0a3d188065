"""From the options of `rotate` to its end: which tokens, the plan, the questions, the run, and what came of it."""

import ctypes
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import invoke

from tokens import database, origin
from tokens.delivery import Delivery, OutputDelivery, check_command, parse_delivery, run_command
from tokens.errors import (
    DoneInPart,
    Interrupted,
    TerminalRequired,
    Terminated,
    TokensError,
    UsageError,
)
from tokens.gitlab.digest import Keys
from tokens.journal import installation, record
from tokens.journal.installation import JournalMissing, JournalOutdated, RunState
from tokens.journal.record import Record
from tokens.rotation.plan import RotationPlan, plan
from tokens.rotation.resumption import Resumption, Step, resumable
from tokens.rotation.stage import Stage, store
from tokens.targets.here.instance_url import read_instance_url, trusted_certificates
from tokens.targets.here.secrets import read_keys, read_keys_file
from tokens.tasks import recording, rotate_screen
from tokens.tasks.recording import STORE_TIMEOUT
from tokens.tasks.report import Report
from tokens.tasks.rotate_choice import Choice
from tokens.tasks.rotate_options import Wishes
from tokens.tasks.rotate_steps import End, Outcome, Proof, Rotator, new_token
from tokens.tasks.target_option import locate_site
from tokens.terminal import console
from tokens.terminal.interruption import StopRequest, Termination, stop_requests, termination_as_error
from tokens.terminal.prompts import Prompts
from tokens.verification import Instance

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
            _forbid_core_dumps()
        self._delivery = self._destination()
        self._keys = None
        if wishes.secrets_file is not None and not wishes.dry_run:
            self._keys = read_keys_file(wishes.secrets_file)
        self._who = origin.here()
        self._site = locate_site(context, target)
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
            if wishes.resume is not None:
                left, planned = resumable(self._site.address, wishes.resume), None
                notes: tuple[str, ...] = ()
            else:
                chosen = Choice(self._site.address, wishes, self._prompts, self._report).made()
                if not chosen.candidates:
                    return
                planned = plan(
                    self._site.address,
                    chosen.candidates,
                    expires_in=wishes.expires_in,
                    grace=wishes.grace,
                    release=self._site.installation.version if self._site.installation else None,
                    allow_personal=wishes.allows_people,
                )
                left = tuple(
                    Resumption(one.candidate.id, Stage.PLANNED, Step.CREATE, None, one) for one in planned.rotations
                )
                notes = (*chosen.passed_over, *planned.notes)
            proof = self._proof(left)
            self._check_destination(left)
            self._show(left, proof, notes)
            if wishes.dry_run:
                return
            if self._keys is None and _makes_tokens(left):
                self._keys = self._read_keys()
            if not self._agreed(left, proof):
                self._report.say("Nothing was changed.")
                return
            self._carry_out(left, proof, planned)

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

    def _proof(self, left: Sequence[Resumption]) -> Proof | str:
        """The GitLab that is asked, or why there is none."""
        wishes = self._wishes
        if not wishes.verifies:
            return "--no-verify"
        here = self._site.installation
        trusted: tuple[Path, ...] = trusted_certificates(here) if here else ()
        if wishes.url is not None:
            return Proof(wishes.url, trusted)
        if not _makes_tokens(left):
            return "there is no new token"
        try:
            if here is None:
                raise UsageError("A database does not tell GitLab's URL: say it with --verify URL.")
            return Proof(str(Instance.at(read_instance_url(here))), trusted)
        except UsageError as fault:
            if not wishes.asks and not wishes.dry_run:
                raise UsageError(f"{fault} To go on without that proof say --no-verify, too.") from None
            return str(fault)

    def _read_keys(self) -> Keys:
        if self._site.installation is None:
            raise UsageError(
                "A database does not hold GitLab's db_key_base, with which a new token is digested: say --secrets-file "
                "with a copy of its secrets.yml or gitlab-secrets.json."
            )
        return read_keys(self._site.installation)

    def _show(self, left: Sequence[Resumption], proof: Proof | str, notes: Sequence[str]) -> None:
        delivery = self._delivery
        places = [
            delivery.place(new_token(one.rotation))
            for one in left
            if one.rotation and delivery and one.step in NEW_TOKENS
        ]
        after = self._wishes.after
        self._report.add(plan=rotate_screen.plan_as_dict(left, proof=proof, places=places, after=after, notes=notes))
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
        with database.reading(self._site.address) as connection, suppress(JournalOutdated):
            _check(connection)

    def _open_journal(self) -> bool:
        """Make sure that there is a journal of our version; False where the person does not want one."""
        address = self._site.address
        try:
            with database.reading(address) as connection:
                installation.check(connection)
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
        from tokens.journal import setup

        setup.install(address)
        return True

    def _begin(self, planned: RotationPlan | None) -> Record:
        address = self._site.address
        if planned is None:
            begun = recording.resume(address, self._wishes.resume or 0, self._who)
            if not isinstance(begun, Record):
                raise TypeError("a run that is resumed is recorded")
            return begun
        with database.connect(address) as connection:
            record.check_idle(connection)
            with database.writing(connection, **STORE_TIMEOUT):
                number = store(connection, planned, self._who, self._wishes.reason)
                # In the same transaction, so that a run that is refused leaves nothing behind.
                return record.begin(connection, number, self._who)

    def _carry_out(self, left: Sequence[Resumption], proof: Proof | str, planned: RotationPlan | None) -> None:
        if not self._open_journal():
            self._report.say("Nothing was changed.")
            return
        outcomes: list[Outcome] = []
        with stop_requests() as stop:
            run = self._begin(planned)
            self._report.add(run=run.run)
            rotator = Rotator(
                self._site.address,
                run,
                self._keys,
                None if isinstance(proof, str) else proof,
                self._delivery,
                self._received if self._asks_for_receipt() else None,
                stop,
            )
            try:
                for one in left:
                    if stop.made():
                        break
                    outcomes.append(rotator.bring_to_its_end(one))
                    self._tell(one, outcomes[-1], alone=len(left) == 1)
                    if outcomes[-1].hopeless:
                        break
            except Termination:
                stop.by = stop.by or signal.SIGTERM
            except KeyboardInterrupt:
                stop.by = stop.by or signal.SIGINT
            except EOFError:
                stop.by = stop.by or signal.SIGHUP
            except TokensError as fault:
                self._end(run, outcomes, left, str(fault))
                raise type(fault)(f"{fault} {_so_far(outcomes, left)} {_resume(run)}") from fault
            why = f"stopped by {stop.by.name}" if stop.by else None
            self._end(run, outcomes, left, why)
            if stop.by is None:
                self._after(run, outcomes)
        self._conclude(run, outcomes, left, stop)

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
        if outcome.end is End.DONE:
            self._report.say(line)
        elif not alone:
            console.tell(line)

    def _end(self, run: Record, outcomes: Sequence[Outcome], left: Sequence[Resumption], why: str | None) -> None:
        """Write down how the run ended, if the database still lets it."""
        complete = len(outcomes) == len(left) and all(_is_settled(one) for one in outcomes)
        state = RunState.DONE if complete else RunState.STOPPED if why else RunState.PARTIAL
        self._report.add(results=[rotate_screen.outcome_as_dict(one) for one in outcomes])
        with (
            suppress(TokensError),
            database.connect(self._site.address) as connection,
            database.writing(connection, **STORE_TIMEOUT),
        ):
            run.finish(connection, state, why)

    def _after(self, run: Record, outcomes: list[Outcome]) -> None:
        if self._wishes.after is None:
            return
        for one in _done(outcomes):
            if one.new is None:
                continue
            fault = run_command(self._wishes.after, {**one.new.variables, "TOKENS_RUN": str(run.run)})
            if fault:
                raise DoneInPart(
                    f"The command of --after {fault}, for token {one.token_id} of {one.new.account}; "
                    f"{_so_far(outcomes, outcomes)} Run it by hand for those that it has not reached."
                )

    def _conclude(
        self, run: Record, outcomes: Sequence[Outcome], left: Sequence[Resumption], stop: StopRequest
    ) -> None:
        done = _done(outcomes)
        if done:
            self._report.say("")
            self._report.say(rotate_screen.checklist(done, after=self._wishes.after is not None))
            self._report.say(f"\nRecorded as run {run.run}.")
        if stop.by is not None:
            if len(done) == len(left):
                message = f"Stopped; the rotation is complete. {self._left_out()}".rstrip()
            else:
                message = f"Stopped. {_so_far(outcomes, left)} {_resume(run)}"
            raise Interrupted(message) if stop.by == signal.SIGINT else Terminated(message)
        if len(done) == len(left):
            return
        if len(left) == 1:
            (outcome,) = outcomes
            kind = type(outcome.fault) if outcome.fault else TokensError
            raise kind(f"{rotate_screen.outcome(outcome, None)} {_resume(run, 'To try again')}")
        raise (DoneInPart if done else TokensError)(f"{_so_far(outcomes, left)} {_resume(run)}")

    def _left_out(self) -> str:
        return "The command of --after was not run." if self._wishes.after is not None else ""


def _forbid_core_dumps() -> None:
    """No image of this process's memory for anybody: it will hold a token, and the key that it is digested with."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # commands that are started have it, too
    # A crash handler that the kernel pipes into does not ask that limit.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _check(connection: database.Connection) -> None:
    try:
        installation.check(connection)
    except JournalMissing:
        raise JournalMissing(
            "The journal is not installed in this database, and a rotation that nobody records could leave a token "
            "that nobody knows: install it with tokens.journal.install."
        ) from None


def _makes_tokens(left: Sequence[Resumption]) -> bool:
    return any(one.step in NEW_TOKENS for one in left)


def _is_settled(outcome: Outcome) -> bool:
    """Whether nothing is left to do: the rotation is done, or its old token is gone."""
    return outcome.end is End.DONE or outcome.candidate is None


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.end is End.DONE]


def _so_far(outcomes: Sequence[Outcome], left: Sequence[object]) -> str:
    return f"{len(_done(outcomes))} of {len(left)} token(s) were rotated and stay so;"


def _resume(run: Record, again: str = "to go on with the others") -> str:
    return f"{again}: tokens.rotate --resume {run.run}, with the same --deliver."

"""From the options of `rotate` to a run: which tokens, the plan, where they go, and the questions."""

import sys
from collections.abc import Sequence
from contextlib import suppress

import invoke

from tokens import origin
from tokens.delivery.command import check_command
from tokens.delivery.destination import Delivery
from tokens.delivery.option import parse_delivery
from tokens.delivery.output import OutputDelivery
from tokens.delivery.processes import still_running
from tokens.errors import Refused, TerminalRequired, UsageError
from tokens.journal.installation import JournalMissing, JournalOutdated
from tokens.rotation import resumption
from tokens.rotation.plan import RotationPlan
from tokens.rotation.resumption import Resumption, Step
from tokens.secret import forbid_core_dumps
from tokens.targets.here.secrets import read_keys_file
from tokens.tasks import rotate_screen
from tokens.tasks.report import Report
from tokens.tasks.rotate_bench import Bench, BenchHere, Proof
from tokens.tasks.rotate_choice import Choice
from tokens.tasks.rotate_options import Wishes
from tokens.tasks.rotate_run import RotationRun
from tokens.tasks.rotate_steps import new_token
from tokens.tasks.target_option import locate_site, remote_target
from tokens.terminal import console
from tokens.terminal.interruption import termination_as_error
from tokens.terminal.prompts import Prompts


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
            raise UsageError(
                "Say which tokens: --service-account USERNAME, --token NAME or ID, --within 30d, or another option "
                "that selects, such as --group PATH or --ids FILE."
            )
        if not wishes.dry_run:
            forbid_core_dumps()
        self._has_journal = False
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
            deliberate = False
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
                left, deliberate = resumption.planned(planned), chosen.deliberate
                notes = (*chosen.passed_over, *planned.notes)
            proof = self._proof(left)
            self._check_destination(left)
            self._show(left, proof, notes)
            if planned is not None:
                self._check_guards(planned, deliberate=deliberate)
            if wishes.dry_run:
                return
            self._check_deliveries(left)
            if _makes_tokens(left):
                self._bench.check_keys()
            if left and not self._agreed(left, proof):
                self._report.say("Nothing was changed.")
                return
            self._carry_out(left, proof, planned)

    def _check_guards(self, planned: RotationPlan, *, deliberate: bool) -> None:
        """Refuse what a guard forbids; none does where a person means this very token."""
        wishes, tokens = self._wishes, len(planned.rotations)
        if wishes.at_most is not None and tokens > wishes.at_most:
            raise Refused(f"The plan has {tokens} token(s), more than --at-most {wishes.at_most}: nothing was changed.")
        forbidden = [] if deliberate else [word for word in planned.guards if word not in wishes.allow]
        if forbidden:
            raise Refused(
                f"Refused because of {' and '.join(forbidden)} (see the notes above); to do it all the same say "
                f"--allow {','.join(forbidden)}."
            )

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
        return parse_delivery(deliver, force=wishes.force, output=sys.stdout, errors=sys.stderr)

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
        self._delivery.check([new_token(one.rotation) for one in left if one.rotation and one.makes_token])

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
            delivery.place(new_token(one.rotation)) for one in left if one.rotation and delivery and one.makes_token
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

    def _carry_out(self, left: Sequence[Resumption], proof: Proof | str, planned: RotationPlan | None) -> None:
        if not self._open_journal():
            self._report.say("Nothing was changed.")
            return
        url = None if isinstance(proof, str) else proof.url
        received = self._received if self._asks_for_receipt() else None
        run = RotationRun(self._bench, self._report, self._delivery, received, self._wishes)
        run.carry_out(left, planned, url)

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


def _makes_tokens(left: Sequence[Resumption]) -> bool:
    return any(one.makes_token for one in left)

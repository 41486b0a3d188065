"""From the options of `rotate` to a run: which tokens, the plan, where they go, and the questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import invoke

from tokens import origin
from tokens.commands.environment import Environment
from tokens.commands.travel import caller
from tokens.delivery.command import check_command
from tokens.delivery.destination import Delivery
from tokens.delivery.option import parse_delivery
from tokens.delivery.output import OutputDelivery
from tokens.delivery.processes import still_running
from tokens.errors import Refused, TerminalRequired, TokensError, UsageError
from tokens.journal.installation import JournalMissing, JournalOutdated
from tokens.rotation.backend import Backend, Question, Survey
from tokens.rotation.local import LocalBackend
from tokens.rotation.plan import RotationPlan
from tokens.rotation.remote import RemoteBackend
from tokens.rotation.resumption import Resumption, Step
from tokens.rotation.rotator import new_token
from tokens.secret import forbid_core_dumps
from tokens.targets.here.secrets import read_keys_file
from tokens.targets.there.tool import RemoteTool
from tokens.tasks import rotate_screen
from tokens.tasks.report import Report
from tokens.tasks.rotate_choice import choose_tokens
from tokens.tasks.rotate_options import RotateOptions
from tokens.tasks.rotate_run import carry_out
from tokens.tasks.rotate_screen import Proof
from tokens.tasks.target import bundle_folder, client, locator, remote
from tokens.terminal import console
from tokens.terminal.interruption import termination_as_error
from tokens.terminal.printable import printable
from tokens.terminal.prompts import Prompts


class ReportAside(Report):
    """Says everything on standard error, since standard output is the token's alone."""

    def _print(self, text: str) -> None:
        console.tell(text)


@dataclass(frozen=True)
class _Call:
    """One call of `rotate`: what it was asked for, where new tokens go, and to whom it speaks."""

    options: RotateOptions
    delivery: Delivery | None
    prompts: Prompts | None
    report: Report

    @property
    def is_attended(self) -> bool:
        """Whether somebody is there who wants to be asked."""
        return self.options.asks and self.prompts is not None


def rotate_tokens(context: invoke.Context, target: str, options: RotateOptions) -> None:
    """Plan, show, ask, carry out. What is read or asked of this process comes before it may become the GitLab user.

    Raises:
        TokensError: see `tokens.errors`; DoneInPart where some tokens are rotated and others are not.
    """
    environment = Environment.of_process()
    if options.asks and not options.dry_run and not environment.has_person:
        raise TerminalRequired(
            "rotate asks before it changes anything and needs a terminal on standard input and output; without one "
            "say --yes, or --dry-run to see the plan."
        )
    if not (environment.has_person or options.selects or options.resume):
        raise UsageError(
            "Say which tokens: --service-account USERNAME, --token NAME or ID, --within 30d, or another option "
            "that selects, such as --group PATH or --ids FILE."
        )
    if not options.dry_run:
        forbid_core_dumps()
    delivery = _destination(options, environment)
    backend = _open_backend(context, environment, target, options)
    if not options.dry_run:
        forbid_core_dumps()  # to become another user has allowed them again
    aside = isinstance(delivery, OutputDelivery) and not delivery.is_terminal and not options.dry_run
    report = ReportAside(as_json=False) if aside else Report(as_json=options.json)
    _rotate(backend, _Call(options, delivery, environment.prompts() if environment.has_person else None, report))


def _rotate(backend: Backend, call: _Call) -> None:
    options, report = call.options, call.report
    question = Question(
        options.search,
        options.expires_in,
        options.grace,
        selects=options.selects,
        of_all=options.of_all,
        named=options.names,
        allow_personal=options.allows_people,
        resume=options.resume,
        asks_url=options.verifies and options.url is None,
        dry_run=options.dry_run,
        unattended=not options.dry_run and not call.is_attended,
    )
    with report.printing():
        survey = backend.survey(question)
        notes: tuple[str, ...] = ()
        deliberate = False
        if options.resume is None:
            chosen = choose_tokens(survey, options, call.prompts, report)
            if not chosen.candidates:
                report.add(plan={"tokens": 0, "rotations": [], "notes": list(chosen.passed_over)})
                return
            if survey.plan is None:
                survey = backend.survey(replace(question, chosen=chosen.candidates))
            if survey.plan is None:
                raise survey.fault or TokensError("There is no plan for this token.")
            deliberate = chosen.deliberate
            notes = (*chosen.passed_over, *survey.plan.notes)
        left = survey.remaining
        proof = _proof(survey, options)
        _check_destination(call, left)
        _show(call, left, proof, notes)
        if survey.plan is not None:
            _check_guards(survey.plan, options, deliberate=deliberate)
        if options.dry_run:
            return
        _check_deliveries(options, left)
        if survey.keys is not None:
            raise survey.keys
        if left and not (_agreed(call, left, proof) and _open_journal(call, backend, survey)):
            report.say("Nothing was changed.")
            return
        carry_out(
            backend,
            left,
            survey.plan,
            url=proof.url if isinstance(proof, Proof) else None,
            delivery=call.delivery,
            received=_received(call),
            options=options,
            report=report,
        )


def _open_backend(
    context: invoke.Context, environment: Environment, target: str, options: RotateOptions
) -> LocalBackend | RemoteBackend:
    """GitLab's side: in the container that is meant, or right here, as GitLab's user from now on."""
    place = remote(context, target)
    if place is not None:
        if options.secrets_file is not None:
            raise UsageError("GitLab's secrets are read where it is, and stay there: leave --secrets-file out.")
        tool = RemoteTool(
            place,
            client=client(context, place),
            bundles=bundle_folder(context, environment),
            caller=caller(),
            report=environment.steps().show,
        )
        return RemoteBackend(tool, lambda line: environment.tell(printable(line)))
    keys = None
    if options.secrets_file is not None and not options.dry_run:
        keys = read_keys_file(options.secrets_file)
    who = origin.here()
    return LocalBackend(locator(context, environment, target)(), who, keys=keys, announced=environment.announced)


def _destination(options: RotateOptions, environment: Environment) -> Delivery | None:
    deliver = options.deliver
    if deliver is None and environment.has_person and not options.json:
        deliver = "stdout"
    if deliver is None:
        return None
    return parse_delivery(deliver, force=options.force, output=environment.stdout, errors=environment.stderr)


def _check_destination(call: _Call, left: Sequence[Resumption]) -> None:
    if call.options.after is not None:
        check_command("--after", call.options.after)
    if not _makes_tokens(left):
        return
    if call.delivery is None:
        if call.options.dry_run:
            return
        raise UsageError(
            "Say where the new token goes: --deliver file:PATH, --deliver command:COMMAND or --deliver stdout."
        )
    call.delivery.check([new_token(one.rotation) for one in left if one.rotation and one.makes_token])


def _check_guards(planned: RotationPlan, options: RotateOptions, *, deliberate: bool) -> None:
    """Refuse what a guard forbids; none does where a person means this very token."""
    tokens = len(planned.rotations)
    if options.at_most is not None and tokens > options.at_most:
        raise Refused(f"The plan has {tokens} token(s), more than --at-most {options.at_most}: nothing was changed.")
    forbidden = [] if deliberate else [word for word in planned.guards if word not in options.allow]
    if forbidden:
        raise Refused(
            f"Refused because of {' and '.join(forbidden)} (see the notes above); to do it all the same say "
            f"--allow {','.join(forbidden)}."
        )


def _check_deliveries(options: RotateOptions, left: Sequence[Resumption]) -> None:
    """Make sure that no command of a process that was killed goes on delivering what would be revoked now."""
    if options.resume is None:
        return
    for one in left:
        process = still_running(options.resume, one.token_id) if one.step is Step.ANEW else None
        if process is not None:
            raise Refused(
                f"The command of --deliver for token {one.token_id} is still running, as process {process}: wait "
                "until it has ended, or end it, since what it stores would be revoked now."
            )


def _proof(survey: Survey, options: RotateOptions) -> Proof | str:
    """The GitLab that is asked, or why there is none."""
    if not options.verifies:
        return "--no-verify"
    if options.url is not None:
        return Proof(options.url)
    if not _makes_tokens(survey.remaining):
        return "there is no new token"
    fault = survey.url_fault
    if survey.url is not None:
        return Proof(survey.url)
    if not isinstance(fault, UsageError):
        raise fault or TokensError("GitLab's own URL is not known.")
    if not options.asks and not options.dry_run:
        raise UsageError(f"{fault} To go on without that proof say --no-verify, too.") from None
    return str(fault)


def _show(call: _Call, left: Sequence[Resumption], proof: Proof | str, notes: Sequence[str]) -> None:
    options, report, delivery = call.options, call.report, call.delivery
    places = [delivery.place(new_token(one.rotation)) for one in left if one.rotation and delivery and one.makes_token]
    report.add(plan=rotate_screen.plan_as_dict(left, proof=proof, places=places, after=options.after, notes=notes))
    if not left:
        report.say(f"Run {options.resume}: nothing is left to rotate.")
        return
    title = f"Plan to rotate {len(left)} token(s)"
    if options.resume is not None:
        title = f"Run {options.resume}: {len(left)} token(s) left to rotate"
    shown = rotate_screen.plan(left, proof=proof, places=places, after=options.after, notes=notes)
    report.say(f"{title}\n\n{shown}")


def _agreed(call: _Call, left: Sequence[Resumption], proof: Proof | str) -> bool:
    if not call.options.asks or call.prompts is None:
        return True
    if isinstance(proof, str) and _makes_tokens(left):
        call.report.say(
            "WARNING: Without verification a wrong db_key_base is noticed by nobody: the new token would not work, "
            "and the old one would be revoked."
        )
        if not call.prompts.confirm("Go on without verification?"):
            return False
    return call.prompts.confirm(f"This will rotate {len(left)} token(s). Are you sure?")


def _open_journal(call: _Call, backend: Backend, survey: Survey) -> bool:
    """Make sure that there is a journal of our version; False where the person does not want one."""
    match survey.journal:
        case None:
            return True
        case JournalOutdated():
            console.tell(f"{survey.journal} This is done now.")
        case JournalMissing() if call.prompts is not None and call.options.asks:
            if not call.prompts.confirm(
                "There is no journal here yet, and without it a stop could leave a token that nobody knows: install it "
                "(schema token_tasks)?",
                default=True,
            ):
                return False
        case fault:
            raise fault
    backend.install_journal()
    return True


def _received(call: _Call) -> Callable[[], bool] | None:
    """What asks the person whether the token that is shown has been put into its place."""
    shown = isinstance(call.delivery, OutputDelivery) and call.delivery.is_terminal
    prompts = call.prompts
    if not (shown and call.options.asks) or prompts is None:
        return None

    def received() -> bool:
        prompts.discard_typeahead()
        with termination_as_error():
            return prompts.confirm(
                "It is shown this once. Is it where it belongs, so that the old one can go? (No revokes the new one)"
            )

    return received


def _makes_tokens(left: Sequence[Resumption]) -> bool:
    return any(one.makes_token for one in left)

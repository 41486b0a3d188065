"""`rotate`: a new token in place of an old one, in the right order, and the old one revoked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tokens import origin
from tokens.call import one_message, to_type
from tokens.change.notes import refuse_guarded
from tokens.change.plan import RunKind
from tokens.commands.agreement import confirmed
from tokens.commands.carry_out_rotation import carry_out
from tokens.commands.choice import choose_tokens
from tokens.commands.consent import asked, end_dry_run, refuse_more
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.instance import described, unasked
from tokens.commands.logged import read
from tokens.commands.options.rotating import RotateOptions
from tokens.commands.run_report import RunReport
from tokens.commands.travel import tool_at
from tokens.counts import counted
from tokens.delivery.command import check_command, without_values
from tokens.delivery.destination import Delivery
from tokens.delivery.option import parse_delivery
from tokens.delivery.output import OutputDelivery
from tokens.errors import ExitStatus, RunComplete, TokensError, UsageError
from tokens.journal.opening import JournalDeclined, make_ready
from tokens.journal.settings import alone
from tokens.rotation.backend import Backend, Question, Survey
from tokens.rotation.local import LocalBackend
from tokens.rotation.plan import LONG_EXPIRED, RotationPlan
from tokens.rotation.remote import RemoteBackend
from tokens.rotation.resumption import Resumption
from tokens.rotation.rotator import new_token
from tokens.rotation.run import check_deliveries
from tokens.secret import forbid_core_dumps
from tokens.targets.here.secrets import read_keys_file, refuse_keys_file
from tokens.targets.instance import Instance
from tokens.targets.places import Locate
from tokens.targets.there.tool import Way
from tokens.terminal.interruption import termination_as_error
from tokens.terminal.questions import Questions
from tokens.usage.files import Log, opened
from tokens.usage.reading import Usage
from tokens.views import logged
from tokens.views import rotation as view
from tokens.views.rotation import Verification

INSTALL = (
    "There is no journal here yet, and without it a stop could leave a token that nobody knows: install it "
    "(schema token_tasks)?"
)
WITHOUT_VERIFICATION = (
    "WARNING: Without verification a wrong db_key_base is not noticed: the new token would not work, and the old "
    "one would be revoked."
)


@dataclass(frozen=True)
class _Call:
    """One call of `rotate`: what it was asked for, where new tokens go, and to whom it speaks."""

    environment: Environment
    options: RotateOptions
    delivery: Delivery | None
    report: RunReport
    prompts: Questions | None
    """None where nobody is there who could be asked."""
    usage: Usage | None
    """What logs say, where one was named."""

    @property
    def is_attended(self) -> bool:
        """Whether somebody is there who wants to be asked."""
        return self.options.asks and self.prompts is not None


def rotate(
    environment: Environment,
    options: RotateOptions,
    locate: Locate,
    there: Way | None,
    logs: Sequence[Log] | None,
    four_eyes: bool = False,
) -> Ending:
    """Replace tokens by new ones: plan, show, ask, carry out.

    What is read or asked of this process comes before it may become the GitLab user. `there` is None where GitLab is
    what `locate` finds. `four_eyes` is whether the configuration demands two people.

    Raises:
        TokensError: nothing was changed; see `tokens.errors`.
    """
    if not (environment.has_person or options.selects or options.resume):
        raise UsageError(
            "Choose the tokens: --service-account USERNAME, --token NAME or ID, --within 30d, or another option "
            "that selects, such as --group PATH or --ids FILE."
        )
    if four_eyes and not options.dry_run and options.resume is None:
        raise alone(RunKind.ROTATE, by_configuration=True)
    if not options.dry_run:
        forbid_core_dumps()
    delivery = _destination(options, environment)
    backend: Backend
    with opened(logs or ()) as found:  # root opens them before it becomes the GitLab user
        if there:
            backend, instance = _backend_there(environment, options, there), unasked()
        else:
            backend, instance = _backend_here(environment, options, locate, four_eyes=four_eyes)
        usage = read(environment, found)
    if not options.dry_run:
        forbid_core_dumps()  # to become another user has allowed them again
    aside = isinstance(delivery, OutputDelivery) and not delivery.is_terminal and not options.dry_run
    report = RunReport(environment, as_json=options.json, instance=instance, aside=aside)
    prompts = environment.prompts() if environment.has_person and not options.json else None
    call = _Call(environment, options, delivery, report, prompts, usage)
    return report.concluding(lambda: _rotate(backend, call))


def _rotate(backend: Backend, call: _Call) -> Ending:
    options, report = call.options, call.report
    question = Question(
        options.search,
        options.expires_in,
        options.grace,
        selects=options.selects,
        of_all=options.of_all,
        named=options.names,
        allow_personal=options.allows_people,
        new_owner=options.new_owner,
        resume=options.resume,
        asks_url=options.verifies and options.url is None,
        dry_run=options.dry_run,
        unattended=not options.dry_run and not call.is_attended,
    )
    try:
        survey = backend.survey(question)
    except RunComplete as complete:
        report.add(run=options.resume, results=())
        report.say(str(complete))
        return DONE
    notes: tuple[str, ...] = ()
    deliberate, held_up = False, DONE
    if options.resume is None:
        chosen = choose_tokens(survey, options, call.prompts, report)
        if not chosen.candidates:
            report.add(plan=view.empty_plan_as_dict(chosen.passed_over))
            return DONE if options.dry_run else _held_up(survey)
        held_up = _held_up(survey)
        if survey.plan is None:
            survey = backend.survey(replace(question, chosen=chosen.candidates))
        if survey.plan is None:
            raise survey.fault or TokensError("There is no plan for this token.")
        deliberate = chosen.deliberate
        notes = (*_on_use(call, survey), *chosen.passed_over, *survey.plan.notes)
    left = survey.remaining
    proof = _proof(survey, options)
    report.instance = _known(report.instance, survey)
    notes = (*_check_destination(call, left), *notes)
    _show(call, left, proof, notes)
    if survey.plan is not None:
        _check_guards(survey.plan, options, deliberate=deliberate)
    if options.dry_run:
        return end_dry_run(report)
    if options.resume is not None:
        check_deliveries(options.resume, survey.planned_at, left)
    if survey.keys is not None:
        raise survey.keys
    if left and not (_agreed(call, left, proof) and _open_journal(call, backend, survey)):
        report.say("Nothing was changed.")
        return DONE
    ending = carry_out(
        call.environment,
        backend,
        left,
        survey.plan,
        url=proof.url if isinstance(proof, Verification) else None,
        delivery=call.delivery,
        received=_received(call),
        options=options,
        report=report,
    )
    return held_up if ending == DONE else ending


def _held_up(survey: Survey) -> Ending:
    """How to end where tokens were left out that another run holds up: a nightly job must not be green."""
    if not survey.unfinished_runs:
        return DONE
    run, *others = survey.unfinished_runs
    more = f" So do runs {', '.join(map(str, others))}." if others else ""
    return Ending(
        ExitStatus.PARTIAL,
        f"Run {run} holds up tokens that were left out: it has made new ones, and has not come to its end.{more}"
        + to_type("to go on if it has stopped, with its options", "rotate", "--resume", run),
    )


def _on_use(call: _Call, survey: Survey) -> tuple[str, ...]:
    """How the tokens of the plan are used, as far as logs say so; programs get it as numbers, too."""
    if call.usage is None:
        return ()
    ids = [one.token_id for one in survey.remaining]
    use = logged.use_of(call.usage, ids, len(ids))
    call.report.add(use=logged.as_dict(use, call.usage))
    return (logged.sentence(use, call.usage),)


def _known(instance: Instance, survey: Survey) -> Instance:
    """The instance in a container by its own URL, which only the survey knows; `--verify` may be another GitLab's."""
    return instance if instance.place is None else replace(instance, url=survey.url)


def _backend_here(
    environment: Environment, options: RotateOptions, locate: Locate, *, four_eyes: bool
) -> tuple[LocalBackend, Instance]:
    """GitLab's side right here, as GitLab's user from now on, and what it is called."""
    keys = None
    if options.secrets_file is not None and not options.dry_run:
        keys = read_keys_file(options.secrets_file)
    who = origin.here()
    site = locate()
    backend = LocalBackend(site, who, keys=keys, announced=environment.announced, four_eyes=four_eyes)
    return backend, described(site)


def _backend_there(environment: Environment, options: RotateOptions, there: Way) -> RemoteBackend:
    """GitLab's side in a container or pod."""
    refuse_keys_file(options.secrets_file)
    return RemoteBackend(
        tool_at(environment, there),
        # The way there may have lines of its own, such as that the tool is carried.
        announced=lambda step: environment.announced(step, stays=True),
    )


def _destination(options: RotateOptions, environment: Environment) -> Delivery | None:
    deliver = options.deliver
    if deliver is None and environment.has_person and not options.json:
        deliver = "stdout"
    if deliver is None:
        return None
    return parse_delivery(deliver, force=options.force, output=environment.stdout, errors=environment.stderr)


def _check_destination(call: _Call, left: Sequence[Resumption]) -> tuple[str, ...]:
    """Refuse commands and places that cannot work; what a person should know of where the tokens go."""
    if call.options.after is not None:
        check_command("--after", call.options.after)
    if not _makes_tokens(left):
        return ()
    if call.delivery is None:
        if call.options.dry_run:
            return ()
        raise UsageError(
            "Choose where the new token goes: --deliver file:PATH, --deliver command:COMMAND or --deliver stdout."
        )
    tokens = [new_token(one.rotation) for one in left if one.rotation and one.makes_token]
    call.delivery.check(tokens)
    note = call.delivery.note(tokens)
    return () if note is None else (note,)


def _check_guards(planned: RotationPlan, options: RotateOptions, *, deliberate: bool) -> None:
    """Refuse what a guard forbids; that a token is long dead is no guard where a person means this very one."""
    refuse_more(len(planned.rotations), options.at_most)
    refuse_guarded([one for one in planned.guards if not (deliberate and one == LONG_EXPIRED)], options.allow)


def _proof(survey: Survey, options: RotateOptions) -> Verification | str:
    """The GitLab that is asked, or why there is none."""
    if not options.verifies:
        return "--no-verify"
    if not _makes_tokens(survey.remaining):
        return "there is no new token"
    if options.url is not None:
        return Verification(options.url)
    fault = survey.url_fault
    if survey.url is not None:
        return Verification(survey.url)
    if not isinstance(fault, UsageError):
        raise fault or TokensError("GitLab's own URL is not known.")
    if not options.asks and not options.dry_run:
        raise UsageError(one_message(str(fault), "To continue without that proof use --no-verify, too.")) from None
    return str(fault)


def _show(call: _Call, left: Sequence[Resumption], proof: Verification | str, notes: Sequence[str]) -> None:
    options, report, delivery = call.options, call.report, call.delivery
    places = [delivery.place(new_token(one.rotation)) for one in left if one.rotation and delivery and one.makes_token]
    after = None if options.after is None else without_values(options.after)
    report.add(plan=view.plan_as_dict(left, proof=proof, places=places, after=after, notes=notes))
    if not left:
        report.say(f"Run {options.resume}: nothing is left to rotate.")
        return
    title = f"Plan to rotate {counted(len(left), 'token')} on {report.instance}"
    if options.resume is not None:
        title = f"Run {options.resume}: {counted(len(left), 'token')} left to rotate on {report.instance}"
    shown = view.plan(left, proof=proof, places=places, after=after, notes=notes, columns=report.columns)
    report.say(f"{title}\n\n{shown}")


def _agreed(call: _Call, left: Sequence[Resumption], proof: Verification | str) -> bool:
    if not call.options.asks:
        return True
    call.environment.require_answer("rotate", json=call.options.json)
    prompts = call.prompts or call.environment.prompts()
    if isinstance(proof, str) and _makes_tokens(left):
        call.report.say(WITHOUT_VERIFICATION)
        if not confirmed(call.environment, prompts, "Continue without verification?"):
            return False
    return asked(call.environment, prompts, f"rotate {counted(len(left), 'token')}", len(left), call.report.instance)


def _open_journal(call: _Call, backend: Backend, survey: Survey) -> bool:
    """Make sure that there is a journal of our version; False where the person does not want one."""
    if survey.journal is None:
        return True
    ask = partial(call.prompts.confirm, INSTALL, default=True) if call.prompts and call.options.asks else None
    try:
        make_ready(survey.journal, backend.install_journal, ask=ask, tell=call.environment.tell)
    except JournalDeclined:
        return False
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
            return confirmed(
                call.environment,
                prompts,
                "It is shown this once. Is it where it belongs, so that the old one can go? (No revokes the new one)",
            )

    return received


def _makes_tokens(left: Sequence[Resumption]) -> bool:
    return any(one.makes_token for one in left)

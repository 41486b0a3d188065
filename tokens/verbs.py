"""The tasks as plain functions: nothing is printed or asked, and Invoke is not needed.

What can be relied on, from version 1.0 on, is what `tokens.__all__` has: these functions, what they take and return,
and their errors. They have the guards, records and short transactions of the tasks, and ask nobody. They write no line
to syslog, since Invoke's configuration says where that is: a caller who wants one writes what a verb returns.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tokens import database, origin
from tokens.address import Address
from tokens.arguments import (
    address_of,
    check_allow,
    check_callable,
    check_kept,
    check_new,
    check_number,
    check_run,
    check_text,
    check_type,
    refuse,
)
from tokens.call import one_message
from tokens.change.change import MOST_DAYS, Change
from tokens.change.notes import guards
from tokens.change.plan import Options, Plan, RunKind, make_plan
from tokens.commands.options.handling import MOST_JOBS
from tokens.commands.options.values import check_reason
from tokens.delivery.destination import Delivery
from tokens.errors import UsageError
from tokens.gitlab.api import Endpoint
from tokens.inventory.analysis import Analysis
from tokens.inventory.analysis import analyze as analysis_of
from tokens.journal import beginning, setup
from tokens.journal.opening import with_journal
from tokens.journal.record import Record
from tokens.rotation.backend import Question, Survey
from tokens.rotation.candidate import Search, why_none
from tokens.rotation.local import LocalBackend
from tokens.rotation.plan import LIFETIME, Rotation
from tokens.rotation.rotator import Outcome, new_token
from tokens.rotation.run import Began, Rotated, check_deliveries
from tokens.rotation.run import Event as RotationEvent
from tokens.rotation.run import run as run_rotations
from tokens.run import stored_plans
from tokens.run import undo as undoing
from tokens.run.batches import Event, Finished, Recounted, RunFailed
from tokens.run.batches import run as run_batches
from tokens.run.stored_plans import Application
from tokens.run.undo import Undo
from tokens.selection import EVERYTHING, Selection
from tokens.targets.here.secrets import read_keys_file
from tokens.targets.here.site import Site

DAYS = "a number of days from 1 on"
CHANGES = ("extend", "remove", "revoke", "apply")  # what `apply` carries out, by the names of the tasks


@dataclass(frozen=True)
class Result:
    """What became of a plan's tokens, in numbers of tokens, and the run that the journal has it under.

    `recounted` are as the plan wants them, counted at the end; `changed_meanwhile` were changed by then, or gone;
    `locked` were held by another session to the end. `run` is None where nothing was to be done.
    """

    run: int | None
    changed: int = 0
    changed_meanwhile: int = 0
    locked: int = 0
    recounted: int | None = None


@dataclass(frozen=True)
class Rotations:
    """What became of the tokens that a rotation found, in their order, and the run that the journal has it under.

    `left_out` says by the ids of the others why they cannot be rotated. `run` is None where nothing was to be done.
    """

    run: int | None
    outcomes: tuple[Outcome, ...] = ()
    left_out: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedRotations:
    """What a rotation would do to the tokens that it finds, in their order, and what a person should know of it.

    `left_out` says by the ids of the others why they cannot be rotated. `guards` are the words that `allow` must have.
    """

    rotations: tuple[Rotation, ...] = ()
    notes: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    left_out: Mapping[int, str] = field(default_factory=dict)


def analyze(target: str | Address, *, top: int | None = 10) -> Analysis:
    """The `top` commonest expiration dates, None for all, and GitLab's own clean-up of dateless tokens.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if top is not None:
        check_number("top", top, "a number of dates from 1 on, or None for all")
    return analysis_of(address_of(target), top)


def plan(
    target: str | Address, selection: Selection, change: Change | None = None, *, options: Options | None = None
) -> Plan:
    """What a change would do to the selected tokens, with its notes; changes nothing.

    Args:
        target: `postgresql://USER@HOST/DBNAME`, or an Address.
        selection: which tokens.
        change: their new dates; None removes them.
        options: what happens to memberships and notices; by default they are moved and re-armed.

    Raises:
        TokensError: see `tokens.errors`.
    """
    check_type("selection", selection, Selection)
    wanted = Change() if change is None else change
    check_type("change", wanted, Change)
    treated = Options() if options is None else options
    check_type("options", treated, Options)
    kind = RunKind.REMOVE if wanted.removes else RunKind.REVOKE if wanted.revokes else RunKind.EXTEND
    address = address_of(target)
    return _to_keep(address, make_plan(address, kind, selection, wanted, options=treated))


def plan_revocation(target: str | Address, selection: Selection) -> Plan:
    """What it would mean to revoke the selected tokens, with its notes; changes nothing.

    Args:
        target: as for `plan`.
        selection: which tokens; one that chooses nothing is refused.

    Raises:
        TokensError: see `tokens.errors`.
    """
    return plan(target, selection, Change(revokes=True))


def plan_to_apply(target: str | Address, run: int) -> Application:
    """What is left to do of a stored plan, or of a run that was stopped, with its notes; changes nothing.

    Args:
        target: as for `plan`.
        run: its number in the journal.

    Raises:
        Refused: it was withdrawn.
        RunComplete: nothing is left of it.
        UsageError: there is no such run, or it is a rotation.
        TokensError: see `tokens.errors`.
    """
    check_run(run)
    return stored_plans.plan_to_apply(address_of(target), run)


def plan_to_undo(target: str | Address, run: int) -> Undo:
    """What `undo` would put back of a run, with its notes; changes nothing. Arguments as of `plan_to_apply`.

    Raises:
        Refused: it is under way, or cannot be undone.
        UsageError: there is no such run, or it changed nothing.
        TokensError: see `tokens.errors`.
    """
    check_run(run)
    address = address_of(target)
    found = undoing.plan_to_undo(address, run)
    return replace(found, plan=_to_keep(address, found.plan))


def apply(
    target: str | Address,
    plan: Plan | int,
    *,
    reason: str | None = None,
    allow: Collection[str] = (),
    jobs: int = 1,
    on_event: Callable[[Event | Began], None] = lambda _: None,
) -> Result:
    """Carry out a plan, or the run that the journal has under this number.

    Args:
        target: as for `plan`; of the primary.
        plan: from `plan`, or the number of a stored plan or of a run that was stopped.
        reason: why, for the journal.
        allow: the guards that refuse nothing, such as `past`.
        jobs: connections that share the work, 1 to 8.
        on_event: gets what happens, in the caller's thread: first `Began` with the run's number, then `Reread`,
            `Waiting`, `BatchStarting`, `BatchCommitted` and `Recounted`, and last `Finished`. What it raises stops the
            run, and is raised again.

    Raises:
        RunFailed: the database failed in the middle; it has the run's number, and what had been changed stays.
        Refused: a guard forbids it, the plan is of another database or older than a day, another run is under way, or
            two people are needed; nothing was changed.
        JournalMissing: `install_journal` installs it.
        RunComplete: nothing is left of that run.
        UsageError: there is no such run, the plan is one of the journal's, which is named by its number, or `jobs` is
            another number.
        TokensError: see `tokens.errors`.
    """
    address = address_of(target)
    check_number("jobs", jobs, f"a number of connections from 1 to {MOST_JOBS}", MOST_JOBS)
    check_reason(reason)
    check_allow(allow, *CHANGES)
    check_callable("on_event", on_event)
    if isinstance(plan, Plan):
        check_new(plan)
        check_kept(plan, address, allow)
        refuse(guards(plan.notes), allow)
        return _begun(address, plan, reason, allow, jobs, on_event)
    check_run(plan)
    found = stored_plans.plan_to_apply(address, plan)
    refuse(found.guards, allow)
    return _carried_out(address, found.plan, beginning.resume(address, plan, origin.here()), jobs, on_event)


def store(
    target: str | Address, plan: Plan, *, reason: str | None = None, names: bool = True, allow: Collection[str] = ()
) -> int:
    """Store a plan in the journal, for `apply` by a second person within a day; returns the number of its run.

    `names` keeps what its tokens are called now, too. The other arguments are as of `apply`.

    Raises:
        Refused: a guard forbids it, or the plan is of another database, or older than a day.
        JournalMissing: `install_journal` installs it.
        UsageError: the plan has no tokens, or is stored already.
        TokensError: see `tokens.errors`.
    """
    address = address_of(target)
    check_type("plan", plan, Plan)
    check_new(plan)
    if not plan.tokens:
        raise UsageError("The plan has no tokens, so there is nothing to store.")
    check_reason(reason)
    check_allow(allow, *CHANGES)
    check_kept(plan, address, allow)
    refuse(guards(plan.notes), allow)
    with database.connect(address) as connection:
        return with_journal(
            address,
            lambda: beginning.store(connection, plan, origin.here(), reason, with_names=names, allow=allow),
            allow,
        )


def withdraw(target: str | Address, run: int, *, reason: str | None = None) -> None:
    """Withdraw a stored plan that nobody has begun: nobody can apply it from then on.

    Raises:
        Refused: it has been begun.
        UsageError: there is no such run.
        TokensError: see `tokens.errors`.
    """
    check_run(run)
    check_reason(reason)
    beginning.withdraw(address_of(target), run, origin.here(), reason)


def undo(
    target: str | Address,
    run: int,
    *,
    reason: str | None = None,
    allow: Collection[str] = (),
    jobs: int = 1,
    on_event: Callable[[Event | Began], None] = lambda _: None,
) -> Result:
    """Put back what a run has changed, but for what was changed since. Arguments and errors as of `apply`.

    A date in the past is no reason to refuse it. Revoked tokens come back only where `reviving` is allowed.
    """
    address = address_of(target)
    check_number("jobs", jobs, f"a number of connections from 1 to {MOST_JOBS}", MOST_JOBS)
    check_run(run)
    check_reason(reason)
    check_allow(allow, "undo")
    check_callable("on_event", on_event)
    found = undoing.plan_to_undo(address, run)
    refuse(found.guards, allow)
    return _begun(address, found.plan, reason, allow, jobs, on_event)


def plan_rotation(
    target: str | Address,
    tokens: Search,
    *,
    expires_in: int = LIFETIME,
    grace: int | None = None,
    new_owner: str | None = None,
) -> PlannedRotations:
    """What `rotate` would do with the same arguments, with its notes; changes nothing, and needs no journal and no key.

    Args:
        target: as for `plan`; a standby will do.
        tokens: which tokens, as for `rotate`.
        expires_in: as for `rotate`.
        grace: as for `rotate`.
        new_owner: as for `rotate`.

    Raises:
        UsageError: there is no token of the name, id or account that `tokens` has.
        TokensError: see `tokens.errors`.
    """
    check_type("tokens", tokens, Search)
    _check_rotation(expires_in, grace, new_owner)
    backend = LocalBackend(Site(address_of(target)), origin.here())
    survey = _surveyed(backend, target, Question(tokens, expires_in, grace, new_owner=new_owner, dry_run=True))
    if survey.plan is None:
        return PlannedRotations(left_out=survey.obstacles)
    planned = survey.plan
    return PlannedRotations(planned.rotations, planned.notes, planned.guards, survey.obstacles)


def rotate(
    target: str | Address,
    tokens: Search | int,
    delivery: Delivery,
    *,
    secrets_file: Path,
    url: str | None,
    expires_in: int = LIFETIME,
    grace: int | None = None,
    new_owner: str | None = None,
    reason: str | None = None,
    allow: Collection[str] = (),
    on_event: Callable[[RotationEvent], None] = lambda _: None,
) -> Rotations:
    """Give every token that is found a successor, deliver it, and revoke the old one.

    Args:
        target: as for `plan`; of the primary.
        tokens: which tokens, or the number of a run that was stopped, to go on with it. Those of people are rotated
            only where the selection names their kind, `PERSONAL` or `IMPERSONATION`, or with `new_owner`.
        delivery: where new tokens go; nobody else sees one.
        secrets_file: GitLab's secrets.yml or gitlab-secrets.json.
        url: the GitLab that has to accept a new token before the old one goes. None asks none: the old token is revoked
            on the word of the database alone.
        expires_in: days that a new token lives, less where the instance allows no more.
        grace: days that the old one lives on, None to revoke it at once.
        new_owner: the username of a service account: the tokens are people's, and their successors belong to it.
        reason: why, for the journal.
        allow: the guards that refuse nothing, such as `long-expired`.
        on_event: gets what happens: first `Began` with the run's number, then a `Rotated` for each token, and last
            `Ended`. What it got stays so, whatever is raised later.

    Raises:
        Refused: a guard forbids it, or another run is under way; nothing was changed.
        RunComplete: nothing is left of that run.
        UsageError: there is no token of the name, id or account that `tokens` has, or no such run.
        JournalMissing: `install_journal` installs it.
        TokensError: see `tokens.errors`; what was rotated by then stays so.
    """
    check_reason(reason)
    check_allow(allow, "rotate")
    check_callable("on_event", on_event)
    check_type("delivery", delivery, Delivery)
    if url is not None:
        check_type("url", url, str)
        Endpoint.at(url)
    if isinstance(tokens, int):
        check_run(tokens)
    else:
        check_type("tokens", tokens, Search)
    check_type("secrets_file", secrets_file, Path)
    _check_rotation(expires_in, grace, new_owner)
    resume = tokens if isinstance(tokens, int) else None
    search = Search(EVERYTHING) if isinstance(tokens, int) else tokens
    backend = LocalBackend(Site(address_of(target)), origin.here(), keys=read_keys_file(secrets_file))
    question = Question(search, expires_in, grace, new_owner=new_owner, resume=resume, unattended=True)
    survey = _surveyed(backend, target, question)
    if not survey.remaining:
        return Rotations(resume, left_out=survey.obstacles)
    refuse(survey.plan.guards if survey.plan else (), allow)
    delivery.check([new_token(one.rotation) for one in survey.remaining if one.rotation and one.makes_token])
    if resume is not None:
        check_deliveries(resume, survey.planned_at, survey.remaining)
    number = resume
    outcomes: list[Outcome] = []
    for event in run_rotations(
        backend, survey.remaining, planned=survey.plan, resume=resume, url=url, delivery=delivery, reason=reason
    ):
        on_event(event)
        match event:
            case Began(number):
                pass
            case Rotated(_, outcome):
                outcomes.append(outcome)
    return Rotations(number, tuple(outcomes), survey.obstacles)


def install_journal(target: str | Address, *, allow: Collection[str] = ()) -> None:
    """Install the journal in GitLab's main database, or bring an older one up to date.

    Args:
        target: as for `plan`; of the primary.
        allow: the guards that refuse nothing: `publication`, where a publication would carry the journal elsewhere.

    Raises:
        TokensError: see `tokens.errors`; nothing was changed.
    """
    check_allow(allow, "journal.install")
    setup.install(address_of(target), allow)


def _check_rotation(expires_in: int, grace: int | None, new_owner: str | None) -> None:
    if new_owner is not None:
        check_text("new_owner", new_owner)
    check_number("expires_in", expires_in, DAYS, MOST_DAYS)
    if grace is not None:
        check_number("grace", grace, f"{DAYS}, or None", MOST_DAYS)


def _surveyed(backend: LocalBackend, target: str | Address, question: Question) -> Survey:
    search = question.search
    named = search.token is not None or bool(search.selection.users)
    survey = backend.survey(replace(question, named=named, allow_personal=search.names_people))
    if survey.fault is not None:
        raise survey.fault
    if named and not survey.found:
        why = why_none(address_of(target), search)
        raise UsageError(one_message("There is no token of this name, id or account that can be rotated.", why or ""))
    return survey


def _to_keep(address: Address, plan: Plan) -> Plan:
    """The plan for a caller, who may keep it and look at other databases."""
    return replace(plan, database=database.read_identity(address), made_at=datetime.now(UTC))


def _begun(
    address: Address,
    plan: Plan,
    reason: str | None,
    allow: Collection[str],
    jobs: int,
    on_event: Callable[[Event | Began], None],
) -> Result:
    if not plan.tokens:
        return Result(None)
    with database.connect(address) as connection:
        record = with_journal(
            address, lambda: beginning.begin(connection, plan, origin.here(), reason, allow=allow), allow
        )
    return _carried_out(address, plan, record, jobs, on_event)


def _carried_out(
    address: Address, plan: Plan, record: Record, jobs: int, on_event: Callable[[Event | Began], None]
) -> Result:
    recounted: int | None = None
    end = Finished(0)
    try:
        events = run_batches(address, plan, record, jobs=jobs)
        for position, event in enumerate(events):
            try:
                if position == 0:  # not before: what the caller raises must end the run in the journal, too
                    on_event(Began(record.run))
                on_event(event)
            except BaseException as error:
                with suppress(RunFailed):  # what it becomes where it is one of the database's
                    events.throw(error)
                raise
            match event:
                case Recounted(recounted):
                    pass
                case Finished():
                    end = event
    except RunFailed as error:
        raise error.saying(one_message(str(error), f"apply(…, {record.run}) goes on with the run.")) from error
    return Result(record.run, end.changed, end.changed_meanwhile, end.locked, recounted)

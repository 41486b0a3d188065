"""The tasks as plain functions: nothing is printed or asked, and Invoke is not needed.

What can be relied on, from version 1.0 on, are the functions here and the dataclasses that they take and return. All of
them come to the database at an address and see the same guards, records and short transactions as the tasks.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokens import database, origin
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import guards
from tokens.change.plan import Options, Plan, RunKind, make_plan
from tokens.commands.consent import refuse_guarded
from tokens.delivery.destination import Delivery
from tokens.errors import UsageError
from tokens.inventory.analysis import Analysis
from tokens.inventory.analysis import analyze as analysis_of
from tokens.journal import beginning
from tokens.journal.opening import open_journal
from tokens.journal.record import Recorder
from tokens.rotation.backend import Question
from tokens.rotation.candidate import Search
from tokens.rotation.local import LocalBackend
from tokens.rotation.rotator import Outcome
from tokens.rotation.run import Rotated
from tokens.rotation.run import run as run_rotations
from tokens.run.batches import Event, Finished, Recounted
from tokens.run.batches import run as run_batches
from tokens.run.stored_plans import plan_to_apply, plan_to_undo
from tokens.selection import Selection
from tokens.targets.here.secrets import read_keys_file
from tokens.targets.here.site import Site
from tokens.targets.target import DatabaseTarget, parse_target


@dataclass(frozen=True)
class Result:
    """What became of a plan's tokens, in numbers of tokens, and the run that the journal has it under.

    `recounted` have their new date, counted at the end; `changed_meanwhile` had another date by then or were gone;
    `locked` were held by another session to the end. `run` is None where nothing was to be done.
    """

    run: int | None
    changed: int = 0
    changed_meanwhile: int = 0
    locked: int = 0
    recounted: int | None = None


def analyze(target: str | Address, *, top: int | None = 10) -> Analysis:
    """The `top` commonest expiration dates, None for all, and GitLab's own clean-up of dateless tokens.

    Raises:
        TokensError: see `tokens.errors`.
    """
    return analysis_of(_address(target), top)


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
    kind = RunKind.REMOVE if change is None else RunKind.EXTEND
    return make_plan(_address(target), kind, selection, change or Change(), options=options or Options())


def apply(
    target: str | Address,
    plan: Plan | int,
    *,
    reason: str | None = None,
    allow: Collection[str] = (),
    on_event: Callable[[Event], None] = lambda _: None,
) -> Result:
    """Carry out a plan, or the run that the journal has under this number.

    Args:
        target: as for `plan`; of the primary.
        plan: from `plan`, or the number of a stored plan or of a run that was stopped.
        reason: why, for the journal.
        allow: the guards that refuse nothing, such as `past`.
        on_event: gets what happens, from `tokens.run.batches`.

    Raises:
        Refused: a guard forbids it, or another run is under way; nothing was changed.
        JournalMissing: `tokens.journal.setup.install` installs it.
        TokensError: see `tokens.errors`.
    """
    address = _address(target)
    if not isinstance(plan, int):
        _refuse(guards(plan.notes), allow)
        return _begun(address, plan, reason, allow, on_event)
    found = plan_to_apply(address, plan)
    _refuse([*guards(found.plan.notes), *(["old-plan"] if found.stored.lapsed else [])], allow)
    return _carried_out(address, found.plan, beginning.resume(address, plan, origin.here()), on_event)


def undo(
    target: str | Address,
    run: int,
    *,
    reason: str | None = None,
    allow: Collection[str] = (),
    on_event: Callable[[Event], None] = lambda _: None,
) -> Result:
    """Put back what a run has changed, but for what was changed since. Arguments and errors as of `apply`."""
    address = _address(target)
    found = plan_to_undo(address, run)
    _refuse([word for word in guards(found.plan.notes) if word != "past"], allow)
    return _begun(address, found.plan, reason, allow, on_event)


def rotate(
    target: str | Address,
    search: Search,
    delivery: Delivery,
    *,
    secrets_file: Path,
    url: str | None = None,
    expires_in: int = 365,
    grace: int | None = None,
    reason: str | None = None,
    allow: Collection[str] = (),
) -> Sequence[Outcome]:
    """Give every token that is found a successor, deliver it, and revoke the old one; what became of each.

    Args:
        target: as for `plan`; of the primary.
        search: which tokens.
        delivery: where new tokens go; nobody else sees one.
        secrets_file: GitLab's secrets.yml or gitlab-secrets.json.
        url: the GitLab that has to accept a new token before the old one goes, None where none is asked.
        expires_in: days that a new token lives, less where the instance allows no more.
        grace: days that the old one lives on, None to revoke it at once.
        reason: why, for the journal.
        allow: the guards that refuse nothing, such as `long-expired`.

    Raises:
        Refused: a guard forbids it, or another run is under way; nothing was changed.
        JournalMissing: `tokens.journal.setup.install` installs it.
        TokensError: see `tokens.errors`; what was rotated by then stays so.
    """
    backend = LocalBackend(Site(_address(target)), origin.here(), keys=read_keys_file(secrets_file))
    survey = backend.survey(Question(search, expires_in, grace, unattended=True))
    if survey.fault is not None:
        raise survey.fault
    if survey.plan is None:
        return ()
    _refuse(survey.plan.guards, allow)
    events = run_rotations(backend, survey.remaining, planned=survey.plan, url=url, delivery=delivery, reason=reason)
    return [event.outcome for event in events if isinstance(event, Rotated)]


def _address(target: str | Address) -> Address:
    if isinstance(target, Address):
        return target
    found = parse_target(target, {})
    if not isinstance(found, DatabaseTarget):
        raise UsageError("From Python a target is postgresql://USER@HOST:PORT/DBNAME, or an Address.")
    return found.address


def _refuse(words: Sequence[str], allow: Collection[str]) -> None:
    refuse_guarded(words, allow, "leave them out of the selection")


def _begun(
    address: Address, plan: Plan, reason: str | None, allow: Collection[str], on_event: Callable[[Event], None]
) -> Result:
    if not plan.tokens:
        return Result(None)
    with database.connect(address) as connection:
        open_journal(address, connection, allow, ask=None, tell=lambda _: None)
        record = beginning.begin(connection, plan, origin.here(), reason)
    return _carried_out(address, plan, record, on_event)


def _carried_out(address: Address, plan: Plan, recorder: Recorder, on_event: Callable[[Event], None]) -> Result:
    recounted: int | None = None
    end = Finished(0)
    for event in run_batches(address, plan, recorder):
        on_event(event)
        match event:
            case Recounted(recounted):
                pass
            case Finished():
                end = event
    return Result(recorder.run, end.changed, end.changed_meanwhile, end.locked, recounted)

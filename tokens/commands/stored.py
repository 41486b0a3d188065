"""`apply`, `withdraw` and `undo`: what the journal has is carried out, gone on with, withdrawn, or taken back."""

from collections.abc import Iterable, Iterator

from tokens import database, origin
from tokens.call import to_type
from tokens.change.plan import Plan, RunKind
from tokens.commands import recording, syslog
from tokens.commands.agreement import confirmed_by_person
from tokens.commands.carry_out import carry_out
from tokens.commands.consent import agreed, check_guards, end_dry_run, known, propose
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.run_report import RunReport, print_done
from tokens.counts import counted
from tokens.errors import ExitStatus
from tokens.journal import beginning, listing, runs
from tokens.journal.installation import RunState
from tokens.journal.record import Recorder
from tokens.journal.setup import check_usable
from tokens.origin import Origin
from tokens.run.stored_plans import Application, PlanComplete, plan_to_apply
from tokens.run.undo import Undo, plan_to_undo
from tokens.targets.here.site import Site
from tokens.targets.instance import Instance
from tokens.targets.places import Locate
from tokens.views import plan as view
from tokens.views.history import tokens_csv


def apply(environment: Environment, locate: Locate, run: int, handling: Handling) -> Ending:
    """Carry out a stored plan, or go on with a run.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    report = RunReport(environment, as_json=handling.json, instance=site.instance)
    return report.concluding(lambda: _apply(environment, site, run, who, handling, report))


def undo(environment: Environment, locate: Locate, run: int, superseded: bool, handling: Handling) -> Ending:
    """Put back what a run has changed; without `superseded` what a rotation has replaced since is left out.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    report = RunReport(environment, as_json=handling.json, instance=site.instance)
    return report.concluding(lambda: _undo(environment, site, run, superseded, who, handling, report))


def withdraw(environment: Environment, locate: Locate, run: int, reason: str | None, yes: bool) -> Ending:
    """Withdraw a stored plan that nobody has begun, once a person has agreed or with `yes`.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    address = locate().address
    with environment.announced("Reading the journal"), database.reading(address) as connection:
        check_usable(connection)
        stored = runs.read_run(connection, run)
    question = f"Run {run}, {stored.kind} of {counted(stored.tokens, 'token')}, can never be applied then."
    if stored.state is not RunState.PLANNED or yes or confirmed_by_person(environment, "withdraw", question):
        beginning.withdraw(address, run, who, reason)
        syslog.write_run(environment, address, run)
        return print_done(environment, f"Run {run} is withdrawn: nobody can apply it.")
    return DONE


def _apply(
    environment: Environment,
    site: Site,
    run: int,
    who: Origin,
    handling: Handling,
    report: RunReport,
) -> Ending:
    if handling.csv:
        return _print_plan(environment, site, run, report.instance)
    if not handling.dry_run:
        beginning.check_idle_at(site.address)
    try:
        found = _found(environment, site, run)
    except PlanComplete as complete:
        report.add(run=run, state=RunState.DONE.value)
        if handling.dry_run:
            report.add(outcomes=())  # as where tokens are left
        report.say(str(complete))
        return DONE
    stored, plan = found.stored, found.plan
    report.instance = known(report.instance, plan)
    propose(_to_change(found), report, view.title_to_apply(found, report.instance, report.columns))
    if found.undone:
        report.add(undoes=view.run_as_dict(found.undone))
    if found.along:
        report.add(**view.along_as_dict(found.along))
        if lines := view.along_screen(found.along):
            report.say("\n".join(("", *lines)))
    if handling.dry_run:
        _show_tokens(site, found, report)
    if stored.put_back:
        back = f"has put back {stored.put_back:,} of its tokens"
        report.say(f"NOTE: Run {stored.undone_by} {back}, and they stay so: this is about the others.")
    check_guards(found.guards, found.tokens, handling, leave_out="plan it again with --leave-out superseded")
    if handling.dry_run:
        return end_dry_run(report)
    beginning.check_planner(site.address, run, who, four_eyes=handling.four_eyes, allow=found.guards)
    deed = view.deed(plan, found.tokens)
    if not agreed(environment, handling, deed, found.tokens, report.instance):
        report.say("Nothing was changed.")
        return DONE

    def begin() -> Recorder:
        return beginning.resume(site.address, run, who, four_eyes=handling.four_eyes)

    return carry_out(environment, site, plan, begin, handling, report)


def _to_change(found: Application | Undo) -> Plan:
    """The plan without what is left alone, since it was changed since."""
    return found.plan.without(frozenset(found.changed_since)) if found.changed_since else found.plan


def _found(environment: Environment, site: Site, run: int) -> Application:
    with environment.announced("Reading the plan"):
        return plan_to_apply(site.address, run, release=site.release)


def _print_plan(environment: Environment, site: Site, run: int, instance: Instance) -> Ending:
    """Print all tokens that are left of a stored plan, as CSV."""
    listed: Iterable[listing.TokenOutcome] = ()
    try:
        found = _found(environment, site, run)
    except PlanComplete as complete:
        stored = complete.stored
        environment.tell(str(complete))
    else:
        stored, listed, instance = found.stored, _listed(site, found), known(instance, found.plan)
    environment.take_utf8()
    for line in tokens_csv(stored, listed, instance):
        environment.write(f"{line}\n")
    return DONE


def _listed(site: Site, found: Application) -> Iterator[listing.TokenOutcome]:
    """The tokens that are to be changed, as they are in the journal."""
    left = (listing.TokenResult.PENDING, listing.TokenResult.LOCKED)
    since = frozenset(found.changed_since)
    outcomes = listing.read_outcomes(site.address, found.stored.id)
    return (one for one in outcomes if one.outcome in left and one.id not in since)


def _show_tokens(site: Site, found: Application, report: RunReport) -> None:
    run, tokens = found.stored.id, found.tokens
    report.add(run=run, state=found.stored.state.value, outcomes=view.listed_as_dicts(_listed(site, found)))
    every = to_type("to see all", "apply", "--run", run, "--dry-run", "--output", "csv")
    report.say("\n".join(view.listed_screen(_listed(site, found), tokens, every, report.columns)))


def _undo(
    environment: Environment,
    site: Site,
    run: int,
    superseded: bool,
    who: Origin,
    handling: Handling,
    report: RunReport,
) -> Ending:
    if not (handling.dry_run or handling.store):  # the plan of many tokens takes long
        beginning.check_alone(site.address, RunKind.UNDO, four_eyes=handling.four_eyes)
        beginning.check_idle_at(site.address)
    with environment.announced("Making the plan"):
        found = plan_to_undo(site.address, run, superseded=superseded, release=site.release)
    report.instance = known(report.instance, found.plan)
    deed = f"undo run {run}: {view.deed(found.plan, found.tokens)}"
    propose(_to_change(found), report, view.title_to_undo(found, report.instance, report.columns))
    report.add(undoes=view.run_as_dict(found.stored), **view.undo_as_dict(found))
    if lines := view.undo_screen(found):
        report.say("\n".join(("", *lines)))
    if not found.tokens:
        return _nothing_to_undo(found, report)
    check_guards(found.guards, found.tokens, handling)
    if handling.dry_run:
        return end_dry_run(report)
    if handling.store:
        recording.store(environment, site.address, found.plan, found.guards, who, handling, report)
        return DONE
    if not agreed(environment, handling, deed, found.tokens, report.instance):
        report.say("Nothing was changed.")
        return DONE

    def begin() -> Recorder:
        return recording.begin(
            environment,
            site.address,
            found.plan,
            who,
            reason=handling.reason,
            allow=handling.allow,
            prompts=None,
            names=handling.names,
            four_eyes=handling.four_eyes,
        )

    return carry_out(environment, site, found.plan, begin, handling, report)


def _nothing_to_undo(found: Undo, report: RunReport) -> Ending:
    """How to end where all was put back before, or where all that is left has been changed since."""
    run = found.stored.id
    if not found.changed_since:
        why = "No other token is left" if found.left_out else f"Run {run} has been undone"
        report.say(f"{why}: there is nothing to do.")
        return DONE
    still = "is still as run {} left it" if found.plan.change.revokes else "still has the date that run {} gave it"
    return Ending(ExitStatus.PARTIAL, f"No token {still.format(run)}: nothing was changed.")

"""`apply` and `undo`: what the journal has is carried out, gone on with, or taken back."""

from tokens import origin
from tokens.commands import recording
from tokens.commands.carry_out import carry_out
from tokens.commands.consent import agreed, check_guards, end_dry_run, known, propose
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.report import Report
from tokens.errors import ExitStatus
from tokens.journal import beginning
from tokens.journal.installation import RunState
from tokens.journal.record import Recorder
from tokens.journal.runs import PLAN_LIFETIME
from tokens.origin import Origin
from tokens.run.stored_plans import RunComplete, plan_to_apply, plan_to_undo
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.views import plan as view


def apply(environment: Environment, locate: Locate, run: int, handling: Handling) -> Ending:
    """Carry out a stored plan, or go on with a run.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    report = Report(environment, as_json=handling.json, instance=site.instance)
    return report.concluding(lambda: _apply(environment, site, run, who, handling, report))


def undo(environment: Environment, locate: Locate, run: int, superseded: bool, handling: Handling) -> Ending:
    """Put back what a run has changed; without `superseded` what a rotation has replaced since is left out.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    report = Report(environment, as_json=handling.json, instance=site.instance)
    return report.concluding(lambda: _undo(environment, site, run, superseded, who, handling, report))


def _apply(
    environment: Environment,
    site: Site,
    run: int,
    who: Origin,
    handling: Handling,
    report: Report,
) -> Ending:
    try:
        with environment.announced("Reading the plan"):
            found = plan_to_apply(site.address, run, release=site.release)
    except RunComplete as complete:
        report.add(run=run, state=RunState.DONE.value)
        report.say(str(complete))
        return DONE
    stored, plan = found.stored, found.plan
    report.instance = known(report.instance, plan)
    propose(plan, report, view.title_to_apply(found, report.instance, report.columns))
    if stored.lapsed:
        report.say(f"NOTE: The plan is older than {PLAN_LIFETIME} hours, and its tokens have lived on since.")
    check_guards(found.guards, plan.tokens, handling, leave_out="plan it again with --leave-out superseded")
    deed = view.deed(plan, plan.tokens)
    if not agreed(environment, handling, deed, plan.tokens, report.instance):
        report.say("Nothing was changed.")
        return DONE

    def begin() -> Recorder:
        return beginning.resume(site.address, run, who)

    return carry_out(environment, site, plan, begin, handling, report)


def _undo(
    environment: Environment,
    site: Site,
    run: int,
    superseded: bool,
    who: Origin,
    handling: Handling,
    report: Report,
) -> Ending:
    with environment.announced("Making the plan"):
        found = plan_to_undo(site.address, run, superseded=superseded, release=site.release)
    report.instance = known(report.instance, found.plan)
    deed = f"undo run {run}: {view.deed(found.plan, found.tokens)}"
    propose(found.plan, report, view.title_to_undo(found, report.instance, report.columns))
    report.add(**view.undo_as_dict(found))
    if lines := view.undo_screen(found):
        report.say("\n".join(("", *lines)))
    if not found.tokens and not found.changed_since:
        why = "No other token is left" if found.left_out else f"Run {run} has been undone"
        report.say(f"{why}: there is nothing to do.")
        return DONE
    if not found.tokens:
        left = (
            f"is still as run {run} left it"
            if found.plan.change.revokes
            else f"has still the date that run {run} gave it"
        )
        return Ending(ExitStatus.PARTIAL, f"No token {left}: nothing was changed.")
    check_guards(found.guards, found.plan.tokens, handling)
    if handling.dry_run:
        return end_dry_run(report)
    if not agreed(environment, handling, deed, found.tokens, report.instance):
        report.say("Nothing was changed.")
        return DONE

    def begin() -> Recorder:
        return recording.begin(
            environment, site.address, found.plan, who, reason=handling.reason, allow=handling.allow, prompts=None
        )

    return carry_out(environment, site, found.plan, begin, handling, report)

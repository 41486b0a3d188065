"""`apply` and `undo`: what the journal has is carried out, gone on with, or taken back."""

import sys
from typing import TYPE_CHECKING, Any

import invoke

from tokens.tasks.change_options import ALLOWED, LEAVE_OUT_HELP, LISTS, RUNNING_HELP, RUNNING_OPTIONS, allow_help
from tokens.tasks.target_option import TARGET_HELP
from tokens.tasks.task import task
from tokens.terminal.printable import printable
from tokens.terminal.steps import announced

if TYPE_CHECKING:
    from tokens.journal.record import Unrecorded

MOST_IDS = 100  # shown; the run's history lists all of them
RUN_HELP = "The number of the run, as `history` shows it."


@task(
    help={
        "target": TARGET_HELP,
        "run": RUN_HELP,
        **RUNNING_HELP,
        "allow": allow_help(*(word for word in ALLOWED if word != "publication")),
    },
    options=RUNNING_OPTIONS,
    iterable=LISTS,
    travels=True,
)
def apply(context: invoke.Context, target: str = "", run: str | None = None, **options: Any) -> None:
    """Carry out a stored plan, or go on with a run."""
    from tokens import origin
    from tokens.journal.installation import RunState
    from tokens.journal.runs import PLAN_LIFETIME
    from tokens.run.stored_plans import RunComplete, plan_to_apply
    from tokens.tasks import change_options, consent, recording
    from tokens.tasks.carry_out import carry_out
    from tokens.tasks.report import Report
    from tokens.tasks.target_option import locate_site

    number = change_options.run_number(run)
    manner = _manner(context, options)
    consent.require_person_or_yes(manner, "apply")
    who = origin.here()
    site = locate_site(context, target)
    report = Report(as_json=manner.json)
    with report.printing():
        try:
            with announced("Reading the plan", sys.stderr):
                found = plan_to_apply(site.address, number, release=site.release)
        except RunComplete as complete:
            report.add(run=number, state=RunState.DONE.value)
            report.say(str(complete))
            return
        stored, plan = found.stored, found.plan
        rest = "" if plan.tokens == stored.tokens else f" (of {stored.tokens})"
        planner = printable(origin.described(stored.origin))
        planned = f"planned {stored.created_at} by {planner}"
        title = f"Run {number}, to {stored.kind.value} {plan.tokens} token(s){rest}, {planned}"
        consent.propose(plan, report, title)
        if stored.reason:
            report.say(f"Reason: {printable(stored.reason)}")
        if stored.lapsed:
            report.say(f"NOTE: The plan is older than {PLAN_LIFETIME} hours, and its tokens have lived on since.")
        # What a run has begun was allowed then, and only what time changes is asked again.
        begun = stored.state is not RunState.PLANNED
        consent.check_guards(
            plan,
            manner,
            also=("old-plan",) if stored.lapsed else (),
            never=("earlier",) if begun else (),
            leave_out="plan it again with --leave-out superseded",
        )
        if not consent.agreed(manner, f"This will change {plan.tokens} token(s). Are you sure?"):
            report.say("Nothing was changed.")
            return
        carry_out(site, plan, lambda: recording.resume(site.address, number, who), manner, report)


@task(
    help={
        "target": TARGET_HELP,
        "run": RUN_HELP,
        "dry_run": "Show what would be put back, change and store nothing.",
        "reason": "Why, for the journal.",
        **RUNNING_HELP,
        "allow": allow_help("superseded", "doomed", "maintenance"),
        "leave_out": LEAVE_OUT_HELP,
    },
    options={**RUNNING_OPTIONS, "leave_out": None, "dry_run": False, "reason": None},
    iterable=LISTS,
    travels=True,
)
def undo(context: invoke.Context, target: str = "", run: str | None = None, **options: Any) -> None:
    """Put back what a run has changed."""
    from tokens import origin
    from tokens.errors import DoneInPart
    from tokens.run.stored_plans import plan_to_undo
    from tokens.tasks import change_options, consent, recording
    from tokens.tasks.carry_out import carry_out
    from tokens.tasks.report import Report
    from tokens.tasks.target_option import locate_site

    number = change_options.run_number(run)
    superseded = change_options.takes_superseded(options.pop("leave_out"))
    manner = _manner(context, options)
    consent.require_person_or_yes(manner, "undo")
    who = origin.here()
    site = locate_site(context, target)
    report = Report(as_json=manner.json)
    with report.printing():
        with announced("Making the plan", sys.stderr):
            found = plan_to_undo(site.address, number, superseded=superseded, release=site.release)
        consent.propose(found.plan, report, f"Plan to undo run {number} for {found.tokens} token(s)")
        if found.memberships or found.notices:
            report.add(memberships=found.memberships, notices=found.notices)
            report.say(
                f"Along with the dates: {found.memberships} membership(s), and the notices of {found.notices} token(s)."
            )
        if found.needed:
            report.add(memberships_needed=found.needed)
            report.say(
                f"NOTE: {found.needed} membership(s) stay as they are: their bot has other tokens that live longer."
            )
        if found.put_back and (found.tokens or found.changed_since):
            report.add(put_back=found.put_back)
            report.say(
                f"NOTE: {found.put_back} token(s) have their old date already, from an undo that was begun before."
            )
        since = found.changed_since
        if since:
            report.add(changed_since=list(since))
            shown = ", ".join(map(str, since[:MOST_IDS]))
            more = f" and {len(since) - MOST_IDS} more" if len(since) > MOST_IDS else ""
            report.say(
                f"NOTE: {len(since)} token(s) were changed since, or are gone, and are left alone: {shown}{more}"
            )
        if not found.tokens and not since:
            why = "No other token is left" if found.left_out else f"Run {number} has been undone"
            report.say(f"{why}: there is nothing to do.")
            return
        if not found.tokens:
            raise DoneInPart(f"No token has still the date that run {number} gave it: nothing was changed.")
        # The old dates may well be past by now, and a way back depends on no day.
        consent.check_guards(found.plan, manner, never=("past",))
        if manner.dry_run:
            return
        if not consent.agreed(manner, f"This will put back {found.tokens} token(s). Are you sure?"):
            report.say("Nothing was changed.")
            return

        def begun() -> "Unrecorded":
            return recording.begin(
                site.address, found.plan, who, reason=manner.reason, prompts=None, allow=manner.allow
            )

        carry_out(site, found.plan, begun, manner, report)


def _manner(context: invoke.Context, options: dict[str, Any]) -> Any:
    from tokens.tasks import change_options
    from tokens.tasks.target_option import standby_addresses

    standbys = standby_addresses(context, options["standby"])
    return change_options.manner(
        **{name: value for name, value in options.items() if name != "standby"}, standby=standbys
    )

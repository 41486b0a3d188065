"""What `extend` and `remove` have in common: options, plan, question, run."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TextIO

import invoke

from tokens import origin
from tokens.change.change import Change
from tokens.change.plan import RunKind, make_plan
from tokens.errors import UsageError
from tokens.journal.record import Unrecorded
from tokens.tasks import change_options, selection_options
from tokens.tasks.carry_out import carry_out
from tokens.tasks.change_options import CHANGE_OPTIONS
from tokens.tasks.consent import agreed, check_guards, propose, require_person_or_yes
from tokens.tasks.recording import NO_WAY_BACK, begin, begin_unrecorded, check_journal, store
from tokens.tasks.report import Report
from tokens.tasks.selection_options import SELECTION_OPTIONS
from tokens.tasks.target_option import locate_site, standby_addresses
from tokens.terminal import console
from tokens.terminal.prompts import Prompts
from tokens.terminal.steps import announced

NOT_OF_THE_MANNER = ("memberships", "notices", "leave_out", "standby")


def change_tokens(
    context: invoke.Context,
    target: str,
    kind: RunKind,
    change: Change,
    options: Mapping[str, Any],
    stdin: TextIO | None,
) -> None:
    """Change the tokens that `options` select, as far as they say."""
    manner = change_options.manner(
        **{name: options[name] for name in CHANGE_OPTIONS if name not in NOT_OF_THE_MANNER},
        standby=standby_addresses(context, options["standby"]),
    )
    how = change_options.options(options["memberships"], options["notices"])
    require_person_or_yes(manner, kind.value)
    # What is read or asked of this process comes before it may become the GitLab user.
    selection = replace(
        selection_options.selection(**{name: options[name] for name in SELECTION_OPTIONS}, stdin=stdin),
        superseded=change_options.takes_superseded(options["leave_out"]),
    )
    if change.by is not None and None in selection.expires:
        raise UsageError("--by counts from a token's own date, so it cannot go with --expires none; use --to.")
    who = origin.here()
    site = locate_site(context, target)
    check_journal(site.address, manner)
    with announced("Making the plan", sys.stderr):
        plan = make_plan(site.address, kind, selection, change, options=how, release=site.release)
    report = Report(as_json=manner.json)
    with report.printing():
        propose(plan, report, f"Plan to {kind.value} {plan.tokens} token(s)")
        if not plan.tokens:
            report.say("No token is selected: there is nothing to do.")
            return
        check_guards(plan, manner)
        if manner.dry_run:
            return
        if manner.store:
            store(site.address, plan, who, manner, report)
            return
        if not agreed(manner, f"This will change {plan.tokens} token(s). Are you sure?"):
            report.say("Nothing was changed.")
            return
        prompts = Prompts(colour=console.has_colour(sys.stdout)) if manner.asks else None

        def begun() -> Unrecorded:
            if manner.journal:
                return begin(site.address, plan, who, reason=manner.reason, prompts=prompts, allow=manner.allow)
            console.tell(NO_WAY_BACK)
            return begin_unrecorded(site.address)

        carry_out(site, plan, begun, manner, report)

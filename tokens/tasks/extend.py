"""`extend` and `remove`: change the expiration dates of selected tokens, with a plan before and a record after."""

import sys
from typing import Any

import invoke

from tokens.errors import UsageError
from tokens.tasks import change_options, selection_options
from tokens.tasks.change_options import CHANGE_HELP, CHANGE_OPTIONS
from tokens.tasks.selection_options import SELECTION_HELP, SELECTION_OPTIONS
from tokens.tasks.target_option import TARGET_HELP
from tokens.tasks.task import task

HELP = {"target": TARGET_HELP, **SELECTION_HELP, **CHANGE_HELP}
OPTIONS = {**SELECTION_OPTIONS, **CHANGE_OPTIONS}
LISTS = (*selection_options.LISTS, *change_options.LISTS)


@task(
    help={
        "to": "The new expiration date (2027-06-15).",
        "by": "Instead of --to: so many days later than each token's own date (365d).",
        "stagger": "Spread the new dates evenly over so many days from --to on (30d).",
        **HELP,
    },
    options=OPTIONS,
    iterable=LISTS,
    travels=True,
    carries=("ids",),
)
def extend(
    context: invoke.Context,
    target: str = "",
    to: str | None = None,
    by: str | None = None,
    stagger: str | None = None,
    **options: Any,
) -> None:
    """Give selected tokens a later expiration date."""
    from tokens.change.change import Change
    from tokens.change.plan import RunKind
    from tokens.tasks.change_tokens import change_tokens

    if (to is None) == (by is None):
        raise UsageError(
            "Say either --to DATE or --by DAYS: the new date, or how much later than its own each token's."
        )
    if by is not None:
        if stagger is not None:
            raise UsageError("--stagger spreads the dates from --to on, so it cannot go with --by.")
        change = Change(by=change_options.days("by", by))
    else:
        days = 1 if stagger is None else change_options.days("stagger", stagger)
        change = Change(change_options.date("to", to or ""), days=days)
    change_tokens(context, target, RunKind.EXTEND, change, options, sys.stdin)


@task(help=HELP, options=OPTIONS, iterable=LISTS, travels=True, carries=("ids",))
def remove(context: invoke.Context, target: str = "", **options: Any) -> None:
    """Remove the expiration date of selected tokens."""
    from tokens.change.change import Change
    from tokens.change.plan import RunKind
    from tokens.tasks.change_tokens import change_tokens

    change_tokens(context, target, RunKind.REMOVE, Change(), options, sys.stdin)

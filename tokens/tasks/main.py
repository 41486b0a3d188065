"""The tasks that are called by one word."""

from tokens.commands.handling import GUARDS
from tokens.tasks.declaration import task
from tokens.tasks.options import (
    CHECK_FILE,
    CHECK_OUTPUT,
    COUNTED,
    DATES_OUTPUT,
    DRY_RUN,
    EXTENSION,
    FORECAST,
    GRANTS,
    HANGING_ON,
    HISTORY_OUTPUT,
    LIST_OUTPUT,
    LISTED,
    LISTING,
    LOCATED,
    NO_JOURNAL,
    OUTPUT,
    PLANNING,
    REASON,
    REASON_GIVEN,
    ROTATION,
    RUN_SHOWN,
    RUN_TO_CHANGE,
    SELECTION,
    SUPERSEDED,
    THERE,
    THRESHOLDS,
    TOP,
    handling_of,
)

GUARDS_OF_A_CHANGE = [word for word in GUARDS if word != "old-plan"]


@task("analyze:analyze", LOCATED, TOP, DATES_OUTPUT)
def analyze() -> None:
    """Show on which dates the most tokens expire."""


@task("list_tokens:list_tokens", LOCATED, LISTED, LISTING, LIST_OUTPUT, name="list")
def list_tokens() -> None:
    """Show which tokens expire when, and whose they are."""


@task("forecast:forecast", LOCATED, COUNTED, FORECAST, DATES_OUTPUT.saying("text, json or csv. Default: text."))
def forecast() -> None:
    """Show how many tokens expire in the next weeks."""


@task("breakdown:breakdown", LOCATED, COUNTED, OUTPUT)
def breakdown() -> None:
    """Show how many tokens of each kind there are, and the policy."""


@task("check:check", LOCATED, COUNTED, THRESHOLDS, CHECK_OUTPUT, CHECK_FILE)
def check() -> None:
    """Tell monitoring what stops working soon."""


@task("edit:edit", LOCATED, REASON_GIVEN, NO_JOURNAL, without_terminal="extend or remove with --yes")
def edit() -> None:
    """Extend or remove dates in a conversation."""


@task("change:extend", LOCATED, EXTENSION, handling_of("extend", GUARDS_OF_A_CHANGE, *PLANNING), HANGING_ON, SELECTION)
def extend() -> None:
    """Give selected tokens a later expiration date."""


@task("change:remove", LOCATED, handling_of("remove", GUARDS_OF_A_CHANGE, *PLANNING), HANGING_ON, SELECTION)
def remove() -> None:
    """Remove the expiration date of selected tokens."""


@task("stored:apply", LOCATED, RUN_TO_CHANGE, handling_of("apply", [word for word in GUARDS if word != "publication"]))
def apply() -> None:
    """Carry out a stored plan, or go on with a run."""


@task(
    "stored:undo",
    LOCATED,
    RUN_TO_CHANGE,
    SUPERSEDED,
    handling_of(
        "undo",
        ("superseded", "doomed", "maintenance"),
        DRY_RUN.saying("Show what would be put back, change and store nothing."),
        REASON,
    ),
)
def undo() -> None:
    """Put back what a run has changed."""


@task("rotate:rotate", ROTATION, LOCATED, THERE, travels=False)
def rotate() -> None:
    """Replace service accounts' tokens by new ones."""


@task("history:history", LOCATED, RUN_SHOWN, HISTORY_OUTPUT)
def history() -> None:
    """Show the runs, or one of them with its tokens."""


@task("doctor:doctor", LOCATED, OUTPUT, GRANTS)
def doctor() -> None:
    """Check GitLab, its database and our privileges."""

"""The tasks that are called by one word."""

from tokens.tasks.declaration import task
from tokens.tasks.options import DATES_OUTPUT, GRANTS, HISTORY_OUTPUT, LOCATED, OUTPUT, RUN_SHOWN, TOP


@task("analyze:analyze", LOCATED, TOP, DATES_OUTPUT)
def analyze() -> None:
    """Show on which dates the most tokens expire."""


@task("history:history", LOCATED, RUN_SHOWN, HISTORY_OUTPUT)
def history() -> None:
    """Show the runs, or one of them with its tokens."""


@task("doctor:doctor", LOCATED, OUTPUT, GRANTS)
def doctor() -> None:
    """Check GitLab, its database and our privileges."""

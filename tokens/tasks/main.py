"""The tasks that are called by one word."""

from tokens.tasks.declaration import task
from tokens.tasks.options import DATES_OUTPUT, LOCATED, TOP


@task("analyze:analyze", LOCATED, TOP, DATES_OUTPUT)
def analyze() -> None:
    """Show on which dates the most tokens expire."""

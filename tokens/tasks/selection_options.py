"""What `rotate` has in common with the tasks that select tokens, until it is declared as they are."""

from dataclasses import replace
from typing import Any, TextIO

from tokens.commands.environment import Environment
from tokens.tasks.option import SEVERAL
from tokens.tasks.options import KINDS, SELECTING, STATES

__all__ = ["KINDS", "LISTS", "SELECTION_HELP", "SELECTION_OPTIONS", "SEVERAL", "STATES", "selection"]

SELECTION_HELP = {option.name: option.help for option in SELECTING}
SELECTION_OPTIONS = dict.fromkeys(SELECTION_HELP)
LISTS = tuple(option.name for option in SELECTING if option.several)


def selection(*, stdin: TextIO | None, **options: Any) -> Any:
    """As `tokens.commands.selecting.selection`."""
    from tokens.commands import selecting  # the driver comes along, which listing the tasks needs not

    return selecting.selection(replace(Environment.of_process(), stdin=stdin), **options)

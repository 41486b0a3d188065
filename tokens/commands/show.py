"""Printing what a command has found: the only place that chooses between its forms."""

from collections.abc import Callable, Iterable, Mapping

from tokens.commands.environment import Environment
from tokens.commands.faults import told_in_document
from tokens.errors import TokensError
from tokens.gitlab.credentials import OtherKind
from tokens.views import others

Lines = Callable[[], str | Iterable[str]]
"""Makes a form when it is wanted: lines as they come, or one text of them without the last newline."""


def show(environment: Environment, output: str, *, at_once: bool = False, **forms: Lines) -> None:
    """Print one form of what was found, as `--output` names it; the others are not made.

    CSV, calendars and HTML are UTF-8 whatever the locale is. With `at_once` each line is written when it is there, for
    what takes its time.

    Raises:
        TokensError: reading on has failed in the middle; it is noted on it that a part has been printed.
    """
    lines = forms[output]()
    if output in ("csv", "ics", "html"):
        environment.take_utf8()
    printed = False
    try:
        for line in (lines,) if isinstance(lines, str) else lines:
            environment.write(f"{line}\n", at_once=at_once)
            printed = True
    except TokensError as error:
        if printed:
            told_in_document(error)
        raise


def tell_of_others(environment: Environment, output: str, counts: Mapping[OtherKind, int | None]) -> None:
    """Say in one line, to people, how many credentials there are that are no tokens."""
    if output == "text":
        environment.flush()
        for line in others.line(counts):
            environment.tell(line)

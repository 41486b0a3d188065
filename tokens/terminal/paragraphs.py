"""Sentences on a terminal: no word is broken, and what to type next has a line of its own."""

import re
import textwrap
import unicodedata
from enum import Enum

from tokens.call import ARROW


class Emphasis(Enum):
    """The SGR numbers of the four colours that sentences have: fine, to be looked at, in the way, and urgent."""

    OK = "32"
    WARN = "33"
    FAIL = "31"
    URGENT = "1;35"


WORDS = {
    "OK": Emphasis.OK,
    "WARN": Emphasis.WARN,
    "NOTE:": Emphasis.WARN,
    "FAIL": Emphasis.FAIL,
    "Refused": Emphasis.FAIL,
    "WARNING:": Emphasis.URGENT,
}
"""Those at the beginning of a line that are coloured."""
COLOURED = re.compile(rf"^({'|'.join(WORDS)})(?![\w:])", re.MULTILINE)


def coloured(text: str, emphasis: Emphasis) -> str:
    """`text` in the colour of an emphasis, and what follows it in none."""
    return f"\x1b[{emphasis.value}m{text}\x1b[0m"


def painted(text: str) -> str:
    """`text` with those of WORDS that begin a line in their colours."""
    return COLOURED.sub(lambda found: coloured(found[1], WORDS[found[1]]), text)


def laid_out(text: str, columns: int | None, hanging: int = 0) -> str:
    """`text` in lines of at most `columns`; as it is where there is no terminal, which is None.

    Rows of a table stay, and so does a command line, that it can be pasted whole. All but the first line of a paragraph
    begin after `hanging` blanks, or fewer where those leave less than half of the columns.

    >>> print(laid_out("Stopped. 1 of 2 tokens were changed. → to go on: gitlab-tokens apply --run 1", 24))
    Stopped. 1 of 2 tokens
    were changed.
    → to go on: gitlab-tokens apply --run 1
    """
    if columns is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _lines(line, columns, hanging))


def width(text: str) -> int:
    """How many cells of a terminal `text` takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, cells: int) -> str:
    """`text` in at most this number of cells, with a … where something is left out.

    >>> cut("project_79_bot", 8), cut("日本語", 5)
    ('project…', '日本…')
    """
    if width(text) <= cells:
        return text
    kept = ""
    for character in text:
        if width(kept) + _cells(character) >= cells:
            break
        kept += character
    return f"{kept}…"


def _lines(line: str, columns: int, hanging: int) -> list[str]:
    prose, *steps = line.split(ARROW)
    if prose.startswith("|") or width(prose) <= columns:
        lines = [prose]
    else:
        # On a narrow terminal there has to be room for words, too.
        blanks = " " * (hanging if hanging < columns // 2 else columns // 3)
        lines = textwrap.wrap(prose, columns, subsequent_indent=blanks, break_long_words=False, break_on_hyphens=False)
    return [*lines, *(f"{ARROW.lstrip()}{step}" for step in steps)]


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

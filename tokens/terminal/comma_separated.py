"""CSV whose foreign text splits no row, and is obeyed by no terminal and no spreadsheet."""

import csv
import io
import re
from collections.abc import Iterable

from tokens.terminal.printable import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width
INSIDE = re.compile(r""";(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")  # where spreadsheets split at semicolons
OURS = re.compile(r"-?[0-9]+(\.[0-9]+|-[0-9]{2}-[0-9]{2})?|-[Ii]nfinity")


def line(cells: Iterable[object]) -> str:
    """One row without its line's end, None as an empty cell.

    Text has a U+FFFD for what cannot be printed. Where a spreadsheet would take it for a formula there is a `'` before
    it, which spreadsheets do not show, and after a semicolon, at which some split. Numbers and dates are as they are.

    >>> print(line(["=1+1", "-5", "a,b", None, -5]))
    '=1+1,-5,"a,b",,-5
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def _harmless(text: str) -> str:
    # Some spreadsheets strip blanks before they look.
    formula = text.lstrip(" ").startswith(FORMULA) and not OURS.fullmatch(text)
    return ("'" if formula else "") + INSIDE.sub(";'", printable(text))

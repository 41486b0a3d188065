"""CSV whose foreign text splits no row, and is obeyed by no terminal and no spreadsheet."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from tokens.terminal.printable import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width
INSIDE = re.compile(r""";(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")  # where spreadsheets split at semicolons
OURS = re.compile(r"-?[0-9]+(\.[0-9]+|-[0-9]{2}-[0-9]{2})?|-[Ii]nfinity")

# A row of cells that are written as they are, as most of millions of rows are: letters and digits of any script, and
# printable ASCII without what CSV or a spreadsheet would split at; the first character makes no formula.
USUAL_CELL = r"(?:[\w(/][\w !#-+\--:<-~]*)?"
USUAL = re.compile(f"{USUAL_CELL}(?:,{USUAL_CELL})+")

# What may have to be written otherwise than PostgreSQL does: all but printable ASCII, quotes, dates without an end or
# before Christ, and what `line` takes for a formula, by a cell's first character. A number below 0 is none.
PLAIN = bytes(code for code in range(0x20, 0x7F) if chr(code) not in '";') + b"\n"
FIRST = (b" ", b"-", b"=", b"+", b"@")
ODD = (*(b"\n" + one for one in FIRST), *(b"," + one for one in FIRST if one != b"-"), b"infinity", b" BC")
ODD_MINUS = re.compile(rb",-(?!\d+[,\n])")
CELL = re.compile(r"""(?:"((?:[^"]|"")*)"|([^",\n]*))(?:,|\n\Z)""")
AT_ONCE = 1000  # rows


def line(cells: Iterable[object]) -> str:
    """One row without its line's end, None as an empty cell.

    Text has a U+FFFD for what cannot be printed. Where a spreadsheet would take it for a formula there is a `'` before
    it, which spreadsheets do not show, and after a semicolon, at which some split. Numbers and dates are as they are.

    >>> print(line(["=1+1", "-5", "a,b", None, -5]))
    '=1+1,-5,"a,b",,-5
    """
    found = list(cells)
    usual = ",".join(["" if cell is None else str(cell) for cell in found])
    if usual.count(",") == len(found) - 1 and USUAL.fullmatch(usual):
        return usual
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in found])
    return text.getvalue()


def harmless(rows: Iterable[bytes], finished: Callable[[Sequence[str]], Iterable[str]]) -> Iterator[str]:
    """Rows that PostgreSQL has written as CSV, a line's end behind each, as `line` writes them; many in one text.

    `finished` turns the cells of those into what they are meant to be that have anything but ASCII in them; where a
    byte is no UTF-8 it is given as `\\xe9`.
    """
    rows = iter(rows)
    while some := list(itertools.islice(rows, AT_ONCE)):
        together = b"".join(some)
        if _is_plain(together):
            yield together.decode().removesuffix("\n")
            continue
        for row in some:
            if _is_plain(row):
                yield row.decode().removesuffix("\n")
            else:
                yield line(finished(_cells(row.decode(errors="backslashreplace"))))


def _is_plain(rows: bytes) -> bool:
    """Whether these rows stay as PostgreSQL has written them; quick, as most of millions of rows do."""
    if rows.translate(None, PLAIN) or rows.startswith(FIRST) or any(odd in rows for odd in ODD):
        return False
    return b",-" not in rows or ODD_MINUS.search(rows) is None


def _cells(row: str) -> list[str]:
    """The cells of a row; an empty one is NULL or no text."""
    return [found[1].replace('""', '"') if found[1] is not None else found[2] for found in CELL.finditer(row)]


def _harmless(text: str) -> str:
    # Some spreadsheets strip blanks before they look.
    formula = text.lstrip(" ").startswith(FORMULA) and not OURS.fullmatch(text)
    return ("'" if formula else "") + INSIDE.sub(";'", printable(text))

"""Plain-text tables in the manner of GitLab's own tasks."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tokens.terminal.paragraphs import cut, width

WIDTH = 70  # columns that a header's title and its two sides share
GAP = "  "  # between a heading and what stands beside it
LEAST = 8  # columns that text keeps before anything else is cut
WHOLE = re.compile(r"(\d{4}-\d\d-\d\d( \d\d:\d\d)?|\d+|never|\(none\)|)")
"""A date, a number, or what stands in their place: half of one tells nothing."""


def header(title: str) -> str:
    """`title` between two equally long rules."""
    side = "=" * ((WIDTH - len(title)) // 2)
    return f"{side} {title} {side}"


FOOTER = "=" * (WIDTH + 2)


def rows(cells: Iterable[Sequence[object]], widths: Sequence[int]) -> list[str]:
    """One line a row; a cell wider than its column widens the line, nothing is cut."""
    return [
        "| " + " | ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]


def rule(widths: Sequence[int]) -> str:
    """The line between the heading and the rows."""
    return "|-" + "-|-".join("-" * width for width in widths) + "-|"


def table(
    heading: Sequence[str],
    cells: Sequence[Sequence[object]],
    columns: int | None,
    widths: Sequence[int] | None = None,
    spare: Sequence[str] = (),
    whole: Sequence[str] = (),
    least: int = LEAST,
) -> list[str]:
    """A heading, a rule and the rows.

    On a terminal no line is wider than its `columns`: where there is no room, those with a heading in `spare` are
    left out, in that order, then text is cut with a …, to `least`, that below a heading in `whole` not at all. Where
    even that does not help, each row has a line a cell: half of a number tells something else. Numbers are grouped
    and stand on the right. Where there is no terminal nothing is cut, left out or grouped; `widths` are the least ones
    then.

    >>> print(*table(("Kind", "Tokens"), [("service-account", 1565353)], 24), sep="\\n")
    | Kind     |    Tokens |
    |----------|-----------|
    | service… | 1,565,353 |
    >>> print(*table(("Kind", "Tokens"), [("service-account", 1565353)], 18), sep="\\n")
    Kind    service-a…
    Tokens  1,565,353
    """
    if columns is None:
        natural = widths or [max(len(str(cell)) for cell in column) for column in zip(heading, *cells, strict=True)]
        first, *others = rows([heading, *cells], natural)
        return [first, rule(natural), *others]
    every = [_Column(name, column, name in whole, least) for name, *column in zip(heading, *cells, strict=True)]
    found = every
    for name in spare:
        if sum(one.least for one in found) + _drawn(found) > columns:
            found = [one for one in found if one.heading != name]
    fitting = _fitting(found, columns - _drawn(found))
    if fitting is None:
        return list(_one_below_the_other(every, columns))
    lines = [
        "| " + " | ".join(one.padded(text, cells) for one, text, cells in zip(found, row, fitting, strict=True)) + " |"
        for row in zip(*((one.heading, *one.shown) for one in found), strict=True)
    ]
    return [cut(line, columns) for line in (lines[0], rule(fitting), *lines[1:])]


class _Column:
    """One column on a terminal: `shown` are its cells as text, `least` and `most` how wide it may be."""

    def __init__(self, heading: str, cells: Sequence[object], whole: bool, least: int) -> None:
        self.heading = heading
        self.shown = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells]
        self.on_right = bool(cells) and all(isinstance(cell, int) for cell in cells)
        self.most = max(map(width, (heading, *self.shown)))
        whole = whole or self.on_right or (bool(cells) and all(WHOLE.fullmatch(text) for text in self.shown))
        named = min(width(heading), least)
        self.least = max(named, *map(width, self.shown)) if whole else min(self.most, least)

    def padded(self, text: str, cells: int) -> str:
        fitting = cut(text, cells)
        blanks = " " * (cells - width(fitting))
        return f"{blanks}{fitting}" if self.on_right else f"{fitting}{blanks}"


def _drawn(columns: Sequence[_Column]) -> int:
    """The cells that the lines between these columns take."""
    return 3 * len(columns) + 1


def _fitting(columns: Sequence[_Column], cells: int) -> list[int] | None:
    """Widths that need no more than `cells` together, the widest text gives way first; None where there are none."""
    found = [one.most for one in columns]
    while sum(found) > cells:
        shrinkable = [at for at, one in enumerate(found) if one > columns[at].least]
        if not shrinkable:
            return None
        found[max(shrinkable, key=lambda at: found[at])] -= 1
    return found


def _one_below_the_other(columns: Sequence[_Column], cells: int) -> Iterator[str]:
    """Each row with a line for each of its cells that has something, and an empty line between two rows."""
    margin = max(width(one.heading) for one in columns) + len(GAP)
    for number, row in enumerate(zip(*(one.shown for one in columns), strict=True)):
        if number:
            yield ""
        for one, text in zip(columns, row, strict=True):
            if text:
                blanks = " " * (margin - width(one.heading))
                yield f"{one.heading}{blanks}{cut(text, max(cells - margin, LEAST))}"

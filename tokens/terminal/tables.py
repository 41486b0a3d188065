"""Plain-text tables in the manner of GitLab's own tasks."""

from collections.abc import Iterable, Sequence

from tokens.terminal.paragraphs import cut, width

WIDTH = 70  # columns that a header's title and its two sides share
LEAST = 5  # columns that text keeps, however narrow the terminal is


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
    heading: Sequence[str], cells: Sequence[Sequence[object]], columns: int | None, widths: Sequence[int] | None = None
) -> list[str]:
    """A heading, a rule and the rows.

    On a terminal of so many `columns` no line is wider than that: what has no room is cut with a …, and numbers are
    grouped and stand on the right. Where there is none nothing is cut or grouped; `widths` are the least ones then.

    >>> print(*table(("Kind", "Tokens"), [("personal", 1565353)], 21), sep="\\n")
    | Kind  |    Tokens |
    |-------|-----------|
    | pers… | 1,565,353 |
    """
    if columns is None:
        natural = widths or [max(len(str(cell)) for cell in column) for column in zip(heading, *cells, strict=True)]
        first, *others = rows([heading, *cells], natural)
        return [first, rule(natural), *others]
    numeric = [bool(column) and all(isinstance(cell, int) for cell in column) for column in zip(*cells, strict=True)]
    shown = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in cells]
    natural = [max(map(width, column)) for column in zip(heading, *shown, strict=True)]
    fitting = _fitting(natural, numeric or [False] * len(heading), columns - 3 * len(heading) - 1)
    on_right = numeric or [False] * len(heading)
    lines = ["| " + " | ".join(map(_padded, row, fitting, on_right)) + " |" for row in [list(heading), *shown]]
    return [cut(line, columns) for line in (lines[0], rule(fitting), *lines[1:])]


def _fitting(natural: Sequence[int], numeric: Sequence[bool], cells: int) -> list[int]:
    """Widths that need no more than `cells` together: the widest text gives way first, numbers do not."""
    found = list(natural)
    while sum(found) > cells:
        shrinkable = [at for at, one in enumerate(found) if one > LEAST and not numeric[at]]
        if not shrinkable:
            break
        found[max(shrinkable, key=lambda at: found[at])] -= 1
    return found


def _padded(text: str, cells: int, on_right: bool) -> str:
    fitting = cut(text, cells)
    blanks = " " * (cells - width(fitting))
    return f"{blanks}{fitting}" if on_right else f"{fitting}{blanks}"

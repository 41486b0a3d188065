"""Plain-text tables in the manner of GitLab's own tasks."""

import unicodedata
from collections.abc import Iterable, Sequence

WIDTH = 70  # columns that a header's title and its two sides share


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


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character, none for one that joins the last."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def cut(text: str, width: int) -> str:
    """The text, or as much of it as goes into `width` columns with an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, taken = [], 1
    for one in text:
        taken += width_of(one)
        if taken > width:
            break
        kept.append(one)
    return "".join(kept) + "…"

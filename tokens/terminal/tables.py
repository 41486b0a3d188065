"""Plain-text tables in the manner of GitLab's own tasks."""

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

"""How tokens look one by one: a table that fits the terminal, JSON, CSV, or their ids alone."""

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.scope_list import scopes_of
from tokens.inventory.credentials import MISSING
from tokens.inventory.tokens import Listing
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated
from tokens.terminal.paragraphs import Emphasis, coloured, cut
from tokens.terminal.paragraphs import width as width_in_cells
from tokens.terminal.printable import printable
from tokens.views import document, others
from tokens.views.left_out import left_out
from tokens.views.owner import nobody

GAP = "  "
SAMPLE = 1000  # rows that say how wide the columns of a pipe are
NARROWEST = 8  # characters that a column of text keeps
WIDEST = 60  # characters to which a column is filled up where there is no terminal
NUMBERS = frozenset({"id", "in_days", "place_id", "calls_a_day", "refused"})
TEXTS = frozenset(
    {"account", "owner", "name", "description", "email", "created_by", "told", "scopes", "ips", "warned", "flags"}
)
DAYS = frozenset({"last_used_at", "created_at"})
ENDS = frozenset({"expires_at", "membership_ends_at", "clean_up_at"})
URGENT, SOON = 7, 30  # days


def screen(listing: Listing, *, width: int | None, colour: bool = False) -> Iterator[str]:
    """A table with a heading, and below it what is not in it; not wider than `width` columns where there is one.

    Columns of text are cut where they have to be. Where even that does not help, each token has a line a column.
    """
    columns = listing.layout.columns
    rows = _values(listing)
    sample = list(itertools.islice(rows, SAMPLE))
    if not sample:
        yield "Nothing of these kinds is selected." if listing.named else "No token is selected."
        return
    names = [column.name for column in columns]
    cells = [_cells(names, row) for row in sample]
    headings = [column.heading for column in columns]
    widths = [max(map(width_in_cells, column)) for column in zip(headings, *cells, strict=True)]
    if width is not None:
        fitted = _fitted(names, widths, width)
        if fitted is None:
            all_cells = itertools.chain(cells, (_cells(names, row) for row in rows))
            yield from _one_below_the_other(names, headings, all_cells, width, listing.today)
            return
        widths = fitted
    else:
        widths = [min(one, WIDEST) for one in widths]
    cuts = width is not None
    usual = GAP.join(f"{{:{'>' if name in NUMBERS else '<'}{one}}}" for name, one in zip(names, widths, strict=True))
    yield _line(names, widths, headings, cuts)
    for row in itertools.chain(sample, rows):
        shown = _cells(names, row)
        line = usual.format(*shown).rstrip()
        if cuts or not line.isascii():
            line = _line(names, widths, shown, cuts)
        yield _coloured(line, dict(zip(names, row, strict=True)), listing.today) if colour else line


def remark(listing: Listing, selection: Selection) -> Iterator[str]:
    """What is not in the table, and the option that shows it."""
    listing.count()
    if listing.more is None:
        yield "There are more tokens: --first all shows them."
    elif listing.more:
        yield f"{listing.more:,} more: --first all shows them."
    yield from left_out(listing.counts, selection.as_dict())
    yield from others.line(listing.others)


def as_json(listing: Listing, instance: Instance, selection: Selection) -> Iterator[str]:
    """One document in pieces; its `tokens` are a list, a line each, null for what a token does not have."""
    listing.count()
    head = {
        **document.head(instance),
        "selection": selection.as_dict(),
        "notes": list(listing.notes),
        "others": others.as_json(listing.others),
    }
    yield document.begun(head)
    yield from document.listed("tokens", as_ndjson(listing))
    yield "}"


def as_ndjson(listing: Listing) -> Iterator[str]:
    """A document a line, without a head."""
    names = [column.name for column in listing.layout.columns]
    for values in _plain(listing):
        yield json.dumps(dict(zip(names, values, strict=True)))


def as_csv(listing: Listing) -> Iterator[str]:
    """The tokens with a heading; empty is what a token does not have, and a space is between several values."""
    names = [column.name for column in listing.layout.columns]
    yield comma_separated.line(names)
    if listing.csv is not None:
        yield from comma_separated.harmless(listing.csv, lambda cells: _finished(dict(zip(names, cells, strict=True))))
    for values in _plain(listing):
        yield comma_separated.line(" ".join(value) if isinstance(value, list) else value for value in values)


def as_ids(listing: Listing) -> Iterator[str]:
    """The ids alone, a line each, as `--ids -` reads them."""
    return (str(row[0]) for row in listing.rows)


def _plain(listing: Listing) -> Iterator[Sequence[Any]]:
    """The rows as programs get them, with None for what a kind does not have."""
    for values in _values(listing):
        yield [None if value is MISSING else value for value in values] if listing.named else values


def _finished(row: dict[str, str]) -> Iterable[str]:
    """A row of PostgreSQL's CSV as it is shown."""
    if row.get("expires_at"):
        row["expires_at"] = str(ExpirationDate.stored(row["expires_at"]))
    if "scopes" in row:
        row["scopes"] = " ".join(scopes_of(row["scopes"]))
    return row.values()


def _values(listing: Listing) -> Iterator[list[Any]]:
    """The rows as programs get them: the date as everywhere, and of a whole number no fraction."""
    names = [column.name for column in listing.layout.columns]
    day = names.index("expires_at") if "expires_at" in names else None
    number = names.index("calls_a_day") if "calls_a_day" in names else None
    for row in listing.rows:
        values = list(row)
        if day is not None:
            values[day] = _day(values[day])
        if number is not None:
            calls = values[number]
            values[number] = int(calls) if calls is not None and calls == int(calls) else calls
        yield values


@functools.lru_cache(maxsize=10_000)  # millions of tokens have a few hundred dates
def _day(stored: str | None) -> str | None:
    """A date as it is shown; None for "never"."""
    return None if stored is None else str(ExpirationDate.stored(stored))


def _cells(names: Sequence[str], row: Sequence[Any]) -> list[str]:
    """A row as a person reads it."""
    cells = [_cell(name, value) for name, value in zip(names, row, strict=True)]
    if "owner" in names and row[names.index("owner")] is None:
        owner = nobody(row[names.index("kind")]) if "kind" in names else "no owner"
        cells[names.index("owner")] = f"({owner})"
    return cells


def _cell(name: str, value: Any) -> str:
    """A value as a person reads it."""
    if value is MISSING:
        return ""
    if name == "in_days":
        return "" if value is None else f"{value:,}d"
    if name in ("calls_a_day", "refused"):
        return "" if value is None else f"{value:,}"
    if name == "expires_at":
        return "never" if value is None else str(value)
    if name == "last_used_at":
        return "never" if value is None else str(value).partition("T")[0]
    if value is None:
        return ""
    if name in DAYS:
        return str(value).partition("T")[0]
    if name == "warned" and not value:
        return "none"
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    return printable(str(value))


def _fitted(names: Sequence[str], widths: Sequence[int], width: int) -> list[int] | None:
    """The widths, with columns of text made narrower, the widest first, until a line fits; None where none can."""
    fitted = list(widths)
    over = sum(fitted) + len(GAP) * (len(fitted) - 1) - width
    while over > 0:
        widest = max(
            (number for number, name in enumerate(names) if name in TEXTS and fitted[number] > NARROWEST),
            key=lambda number: fitted[number],
            default=None,
        )
        if widest is None:
            return None
        fitted[widest] -= 1
        over -= 1
    return fitted


def _line(names: Sequence[str], widths: Sequence[int], cells: Sequence[str], cuts: bool) -> str:
    """The cells below each other; one that is wider widens its line, unless it is text that is to be cut."""
    padded = []
    for name, width, cell in zip(names, widths, cells, strict=True):
        shown = cut(cell, width) if cuts and name in TEXTS else cell
        blanks = " " * (width - width_in_cells(shown))
        padded.append(blanks + shown if name in NUMBERS else shown + blanks)
    return GAP.join(padded).rstrip()


def _one_below_the_other(
    names: Sequence[str], headings: Sequence[str], rows: Iterable[Sequence[str]], width: int, today: ExpirationDate
) -> Iterator[str]:
    margin = max(map(len, headings)) + len(GAP)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, heading, cell in zip(names, headings, row, strict=True):
            if cell:
                shown = _beside(cell, today) if name in ENDS else cell
                yield heading.ljust(margin) + cut(shown, max(width - margin, NARROWEST))


def _beside(text: str, today: ExpirationDate) -> str:
    """A date with its weekday and distance; what is none that can be typed stays as it is."""
    try:
        return ExpirationDate.typed(text).beside(today)
    except ValueError:
        return text


def _coloured(line: str, row: dict[str, Any], today: ExpirationDate) -> str:
    """Red for what ends within a week, yellow within a month; what has ended already stays as it is."""
    text = row.get("expires_at")
    if text is None:
        return line
    left = _days_left(str(text), today)
    if left is None or not 0 < left <= SOON:
        return line
    return coloured(line, Emphasis.FAIL if left <= URGENT else Emphasis.WARN)


def _days_left(text: str, today: ExpirationDate) -> float | None:
    try:
        return ExpirationDate.typed(text).ordinal - today.ordinal
    except ValueError:
        return None

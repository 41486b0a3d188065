"""What a log says of one token, part by part: for people and for programs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tokens.terminal.printable import printable

if TYPE_CHECKING:
    from tokens.usage.tally import CallCount, TokenUse

PARTS = {"routes": "route", "projects": "project", "addresses": "address", "agents": "agent"}
"""What a log says of a token, and one of each."""

MOST_OF_EACH = 5  # routes, projects, addresses and programs that people read


def parts(use: "TokenUse") -> Iterator[tuple[str, list[str]]]:
    """Of each part what was most, with its number, and how many more there are; printable."""
    for part in PARTS:
        counts: Mapping[str, CallCount] = getattr(use, part)
        shown = [f"{printable(name)} ({sum(count):,})" for name, count in list(counts.items())[:MOST_OF_EACH]]
        if len(counts) > MOST_OF_EACH:
            shown.append(f"{len(counts) - MOST_OF_EACH:,} more")
        if shown:
            yield part, shown


def reasons(use: "TokenUse") -> str:
    """Why it was refused, each with its number, printable; empty where the log does not say it."""
    return ", ".join(f"{printable(reason)} {number:,}" for reason, number in use.reasons.items())


def parts_as_dict(use: "TokenUse") -> dict[str, list[dict[str, Any]]]:
    """All of each part, the most first."""
    return {part: _listed(one, getattr(use, part)) for part, one in PARTS.items()}


def _listed(one: str, counts: "Mapping[str, CallCount]") -> list[dict[str, Any]]:
    return [{one: name, "calls": count.calls, "refused": count.refused} for name, count in counts.items()]

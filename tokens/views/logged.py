"""What logs say of the tokens that something is about to happen to, in a sentence and for programs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokens.counts import counted
from tokens.terminal.printable import printable
from tokens.usage.reading import Usage

UNKNOWN = "It knows nothing of GraphQL and of Git over HTTP."


@dataclass(frozen=True)
class Use:
    """How many of some tokens GitLab lets in at all, daily, and daily for one address each; and refuses.

    `ids` are those of the tokens that are used or refused, the busiest first.
    """

    tokens: int
    used: int
    daily: int
    by_one_address: int
    refused: int
    ids: tuple[int, ...]


def use_of(usage: Usage, ids: Iterable[int], tokens: int) -> Use:
    """What logs say of the tokens with these ids, of which there are `tokens`."""
    days = usage.days
    uses = sorted(usage.of(ids), key=lambda use: (-use.calls - use.refused, use.id))
    daily = [use for use in uses if use.is_daily(days)]
    return Use(
        tokens,
        sum(use.is_used for use in uses),
        len(daily),
        sum(use.is_of_one_address for use in daily),
        sum(use.refused > 0 for use in uses),
        tuple(use.id for use in uses),
    )


def sentence(use: Use, usage: Usage) -> str:
    """How many of the tokens of a plan are used, as a person should know before saying yes.

    A log without a call, such as one that was just rotated, says nothing of them.
    """
    if not (usage.since or use.ids):
        return reach(usage)
    found = _of_one(use) if use.tokens == 1 else _of_several(use, is_long=usage.days > 1)
    return f"{found}. {reach(usage)}"


def _of_one(use: Use) -> str:
    found = "This token is used" if use.used else "This token is not used"
    if use.daily:
        found += " daily"
    if use.by_one_address:
        found += ", by one address"
    return f"{found}, and GitLab refuses it" if use.refused else found


def _of_several(use: Use, *, is_long: bool) -> str:
    """Whether something is done daily a log says that is long enough."""
    number = use.daily or use.used
    found = f"{number:,}" if number else "None"
    found += f" of these {use.tokens:,} tokens {'are' if number > 1 else 'is'} used"
    if use.daily:
        found += " daily"
    elif use.used and is_long:
        found += ", but none daily"
    if use.by_one_address:
        found += ", each" if use.by_one_address == use.daily else f", {use.by_one_address:,} of them"
        found += " by one address"
    return f"{found}, and GitLab refuses {use.refused:,}" if use.refused else found


def reach(usage: Usage) -> str:
    """From when to when logs reach, and what they cannot know."""
    if not usage.since:
        return f"The log has no call with a time. {UNKNOWN}"
    days = counted(usage.days, "day")
    return f"The log reaches from {usage.since[:10]} to {usage.until[:10]} ({days}). {UNKNOWN}"


def as_dict(use: Use, usage: Usage) -> dict[str, Any]:
    """The same for a program; None where the log has no time."""
    return {
        "since": usage.since or None,
        "until": usage.until or None,
        "days": usage.days,
        "tokens": use.tokens,
        "used": use.used,
        "used_daily": use.daily,
        "used_daily_by_one_address": use.by_one_address,
        "refused": use.refused,
    }


def faults(usage: Usage) -> Iterator[str]:
    """What of the logs could not be read, in sentences."""
    if usage.damaged:
        yield f"{counted(usage.damaged, 'line is', 'lines are')} damaged and not counted."
    for name in usage.twice:
        yield f"{printable(name)} begins as another log does, such as a packed copy: what both have was counted once."
    for name in usage.cut:
        yield f"{printable(name)} ends too early, or is damaged inside; what comes before was counted."

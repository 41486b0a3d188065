"""What logs say of the tokens that something is about to happen to, in a sentence and for programs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokens.counts import counted
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
    """How many of the tokens of a plan are used, as a person should know before saying yes."""
    these = f"of these {use.tokens:,} tokens" if use.tokens > 1 else "this token"
    if use.tokens == 1:
        found = (
            "This token is used daily" if use.daily else "This token is used" if use.used else "This token is not used"
        )
        if use.by_one_address:
            found += ", by one address"
    elif use.daily:
        found = f"{use.daily:,} {these} {'is' if use.daily == 1 else 'are'} used daily"
        if use.by_one_address:
            found += f", {use.by_one_address:,} of them by one address"
    elif use.used:
        found = f"{use.used:,} {these} {'is' if use.used == 1 else 'are'} used"
        if usage.days > 1:
            found += ", but none daily"
    else:
        found = f"None {these} is used"
    if use.refused:
        found += ", and GitLab refuses it" if use.tokens == 1 else f", and GitLab refuses {use.refused:,}"
    return f"{found}. {reach(usage)}"


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


def gaps(usage: Usage) -> Iterator[str]:
    """What could not be read, in sentences."""
    if usage.damaged:
        yield f"{counted(usage.damaged, 'line')} of the log could not be read."
    if usage.cut:
        yield f"The log ends in the middle of its compressed data: {', '.join(usage.cut)}."

"""How a forecast looks: bars by kind, JSON and CSV."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from tokens.call import to_type
from tokens.gitlab.kind import Kind
from tokens.inventory.forecast import Bucket, Forecast, Step
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated
from tokens.views import document

LETTERS = {
    Kind.PERSONAL: "p",
    Kind.IMPERSONATION: "i",
    Kind.PROJECT: "j",
    Kind.GROUP: "g",
    Kind.SERVICE_ACCOUNT: "s",
    Kind.OTHER: "o",
}
HEADING = f"{'From':<10}  {'To':<10}  {'Tokens':>9}  {'In all':>9}  {'Memberships':>11}"
STAGGER = 30  # days


def screen(forecast: Forecast, step: Step, width: int, *, whole: bool = True) -> Iterator[str]:
    """A line for each bucket with a bar, what the letters mean, and what to do about days that have too much.

    `whole` is whether all tokens that work were counted, so that a command about a date is about the same ones.
    """
    buckets = list(forecast.buckets(step))
    most = max((bucket.tokens for bucket in buckets), default=0)
    room = max(width - len(HEADING) - 2, 10)
    yield HEADING
    for bucket in buckets:
        yield (
            f"{bucket.first}  {bucket.last}  {bucket.tokens:>9,}  {bucket.total:>9,}  {bucket.memberships:>11,}"
            f"  {_bar(bucket, most, room)}"
        ).rstrip()
    used = [kind for kind in Kind if any(bucket.by_kind.get(kind) for bucket in buckets)]
    if used:
        yield ""
        yield "Bars: " + ", ".join(f"{LETTERS[kind]} {kind}" for kind in used) + "."
    yield from _cliffs(forecast, whole)


def largest(buckets: Iterable[Bucket]) -> Iterator[str]:
    """The fullest days as lines."""
    yield f"{'Day':<16}  {'Tokens':>9}  By kind"
    for day in buckets:
        kinds = ", ".join(f"{day.by_kind[kind]:,} {kind}" for kind in Kind if day.by_kind.get(kind))
        yield f"{day.first:%Y-%m-%d (%a)}  {day.tokens:>9,}  {kinds}"


def as_json(forecast: Forecast, buckets: Iterable[Bucket], instance: Instance, selection: Selection) -> str:
    """The forecast for a program, with these buckets."""
    return document.text(
        instance,
        {
            "selection": selection.as_dict(),
            "notes": list(forecast.notes),
            "tokens": forecast.tokens,
            "buckets": [
                {
                    "from": str(bucket.first),
                    "to": str(bucket.last),
                    "tokens": bucket.tokens,
                    "by_kind": {kind.value: number for kind, number in bucket.by_kind.items()},
                    "memberships": bucket.memberships,
                }
                for bucket in buckets
            ],
            "cliffs": [{"day": str(day.day), "tokens": day.tokens} for day in forecast.cliffs],
        },
    )


def as_csv(buckets: Iterable[Bucket]) -> Iterator[str]:
    """A row for each bucket, a column for each kind that can be named."""
    kinds: Sequence[Kind] = [kind for kind in Kind if kind is not Kind.OTHER]
    yield comma_separated.line(("from", "to", "tokens", *(kind.value for kind in kinds), "memberships"))
    for bucket in buckets:
        counts = [bucket.by_kind.get(kind, 0) for kind in kinds]
        yield comma_separated.line((str(bucket.first), str(bucket.last), bucket.tokens, *counts, bucket.memberships))


def _bar(bucket: Bucket, most: int, room: int) -> str:
    """A letter for each part of the longest bar, by kind; something is never nothing."""
    if not bucket.tokens:
        return ""
    length = max(1, round(bucket.tokens * room / most))
    drawn, reached = "", 0
    for kind in Kind:
        reached += bucket.by_kind.get(kind, 0)
        drawn += LETTERS[kind] * (round(reached * length / bucket.tokens) - len(drawn))
    return drawn


def _cliffs(forecast: Forecast, whole: bool) -> Iterator[str]:
    for day in forecast.cliffs:
        share = day.tokens * 100 // forecast.tokens
        yield ""
        yield f"{day.day:%Y-%m-%d (%a)} has {share} % of all: {day.tokens:,} tokens."
        if whole:
            words = ["--expires", day.day, "--to", _later(day.day), "--stagger", f"{STAGGER}d", "--dry-run"]
            kinds = [kind for kind in Kind if day.by_kind.get(kind) and kind is not Kind.OTHER]
            if Kind.IMPERSONATION in kinds:  # which extend takes by name alone
                words[2:2] = ["--kind", ",".join(kinds)]
            yield to_type("to spread them", "extend", *words).lstrip()


def _later(day: date) -> date:
    """Half a year later, on the same day of the month where there is one."""
    month = day.month + 6
    year, month = day.year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year, month, min(day.day, 28))

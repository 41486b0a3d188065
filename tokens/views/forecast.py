"""How a forecast looks: bars by kind, JSON and CSV."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from tokens.call import to_type
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.inventory.forecast import Bucket, Day, Forecast, Interval
from tokens.selection import EVERY_KIND, Selection
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated
from tokens.terminal.paragraphs import laid_out
from tokens.views import document, others
from tokens.views.times import near, with_weekday

LETTERS = {
    Kind.PERSONAL: "p",
    Kind.IMPERSONATION: "i",
    Kind.PROJECT: "j",
    Kind.GROUP: "g",
    Kind.SERVICE_ACCOUNT: "s",
    Kind.OTHER: "o",
    OtherKind.DEPLOY_TOKEN: "D",
    OtherKind.MEMBERSHIP: "M",
    OtherKind.SSH_KEY: "S",
    OtherKind.DEPLOY_KEY: "K",
    OtherKind.TRIGGER: "T",
    OtherKind.RUNNER: "R",
    OtherKind.SECURE_FILE: "F",
    OtherKind.AGENT: "A",
}
EVERY = (*Kind, *OtherKind)
MEMBERSHIP = "m"
NUMBERS = f"{'Tokens':>9}  {'In all':>9}"
LABEL = 29  # columns, enough for 999 days ahead
STAGGER = 30  # days


def screen(forecast: Forecast, interval: Interval, width: int, selection: Selection) -> Iterator[str]:
    """A line for each bucket with a bar, one more for memberships that end in it, what the letters mean, and cliffs.

    A day that has too much comes with the command that spreads the tokens of `selection` that expire on it.
    """
    buckets = list(forecast.buckets(interval))
    most = max((max(bucket.tokens, bucket.memberships) for bucket in buckets), default=0)
    if interval is Interval.DAY:
        when, days = _days(buckets)
    else:
        when = f"{'From':<16}  {'To':<16}"
        days = [f"{with_weekday(one.first)}  {with_weekday(one.last)}" for one in buckets]
    room = max(width - len(when) - len(NUMBERS) - 4, 10)
    yield f"{when}  {NUMBERS}"
    for label, bucket in zip(days, buckets, strict=True):
        bar = _bar(bucket, most, room)
        yield f"{label}  {bucket.tokens:>9,}  {bucket.total:>9,}  {bar}".rstrip()
        if bucket.memberships:
            bar = MEMBERSHIP * _length(bucket.memberships, most, room)
            yield f"{'memberships of bots':>{len(when)}}  {bucket.memberships:>9,}  {'':>9}  {bar}"
    used = [f"{LETTERS[kind]} {kind}" for kind in EVERY if any(bucket.by_kind.get(kind) for bucket in buckets)]
    if any(bucket.memberships for bucket in buckets):
        used.append(f"{MEMBERSHIP} membership of a bot, which GitLab deletes with it")
    if used:
        yield ""
        yield laid_out(f"Bars: {', '.join(used)}.", width)
    yield from _cliffs(forecast, selection)


def largest(buckets: Iterable[Bucket]) -> Iterator[str]:
    """The fullest days as lines."""
    fullest = list(buckets)
    heading, days = _days(fullest)
    yield f"{heading}  {'Tokens':>9}  By kind"
    for label, day in zip(days, fullest, strict=True):
        kinds = ", ".join(f"{day.by_kind[kind]:,} {kind}" for kind in EVERY if day.by_kind.get(kind))
        yield f"{label}  {day.tokens:>9,}  {kinds}"


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
            "others": others.as_json(forecast.others),
            "cliffs": [{"day": str(day.day), "tokens": day.tokens} for day in forecast.cliffs],
        },
    )


def as_csv(buckets: Iterable[Bucket], named: Sequence[OtherKind] = ()) -> Iterator[str]:
    """A row for each bucket, a column for each kind of token, and for the other kinds that were named."""
    kinds: Sequence[Kind | OtherKind] = [*Kind, *named]
    yield comma_separated.line(("from", "to", "tokens", *(kind.value for kind in kinds), "memberships"))
    for bucket in buckets:
        counts = [bucket.by_kind.get(kind, 0) for kind in kinds]
        yield comma_separated.line((str(bucket.first), str(bucket.last), bucket.tokens, *counts, bucket.memberships))


def _days(buckets: Sequence[Bucket]) -> tuple[str, list[str]]:
    """The heading of the column of days and its lines, all as wide as the widest: a far day has a longer number."""
    labels = [near(ExpirationDate.of(bucket.first)) for bucket in buckets]
    width = max([LABEL, *map(len, labels)])
    return f"{'Day':<{width}}", [f"{label:<{width}}" for label in labels]


def _bar(bucket: Bucket, most: int, room: int) -> str:
    """A letter for each part of the longest bar, by kind; what is left by rounding down goes to the largest rests."""
    if not bucket.tokens:
        return ""
    length = _length(bucket.tokens, most, room)
    shares = {kind: divmod(bucket.by_kind.get(kind, 0) * length, bucket.tokens) for kind in EVERY}
    left = length - sum(letters for letters, _ in shares.values())
    longer = sorted(EVERY, key=lambda kind: -shares[kind][1])[:left]
    return "".join(LETTERS[kind] * (shares[kind][0] + (kind in longer)) for kind in EVERY)


def _length(number: int, most: int, room: int) -> int:
    """How long a bar is of which the longest has `room`; something is never nothing."""
    return max(1, round(number * room / most))


def _cliffs(forecast: Forecast, selection: Selection) -> Iterator[str]:
    for day in forecast.cliffs:
        share = day.tokens * 100 // forecast.tokens
        yield ""
        what = "credentials" if forecast.kinds else "tokens"
        yield f"{near(ExpirationDate.of(day.day))} has {share} % of all: {day.tokens:,} {what}."
        if not any(day.by_kind.get(kind) for kind in Kind):
            continue  # no task changes other kinds
        to = _later(day.day, forecast.maximum)
        if to is None:
            yield "The maximum lifetime allows no later date: rotate them before that day."
        elif (words := _selecting(selection, day)) is not None:
            words = ["--expires", str(day.day), *words, "--to", str(to), "--stagger", f"{STAGGER}d", "--dry-run"]
            yield to_type("to spread them", "extend", *words).lstrip()


def _selecting(selection: Selection, day: Day) -> list[str] | None:
    """The options of `extend` that take the tokens of a day; None where none does: an id may be in no file any more."""
    if selection.ids is not None or State.REVOKED in selection.states:
        return None
    kinds = [kind.value for kind in Kind if day.by_kind.get(kind)]
    # An impersonation token is taken by name alone.
    named = selection.kinds != EVERY_KIND or Kind.IMPERSONATION in day.by_kind
    return [*(["--kind", ",".join(kinds)] if named else []), *criteria(selection)]


def criteria(selection: Selection) -> Iterator[str]:
    """What was named beside kind and state, as it is typed."""
    for name, value in selection.as_dict().items():
        if name in ("expires", "kind", "state"):
            continue
        yield f"--{name.replace('_', '-')}"
        if name == "name":
            yield selection.name or ""  # as_dict shortens it
        elif value is not True:
            yield ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _later(day: date, maximum: date | None) -> date | None:
    """Half a year later, on the same day of the month where there is one; no later than the instance allows the last.

    None where that is no later date.
    """
    month = day.month + 6
    year, month = day.year + (month - 1) // 12, (month - 1) % 12 + 1
    wanted = date(year, month, min(day.day, 28))
    if maximum is not None:
        wanted = min(wanted, maximum - timedelta(STAGGER))
    return wanted if wanted > day else None

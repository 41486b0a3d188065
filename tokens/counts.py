"""Numbers of things as people read them."""

from collections.abc import Sequence
from datetime import timedelta


def counted(number: int, one: str, several: str = "") -> str:
    """A number, grouped, and what it counts; `several` is the plural that is not `one` with an s at its end.

    >>> counted(1, "token"), counted(1565353, "token")
    ('1 token', '1,565,353 tokens')
    >>> counted(1, "bot loses", "bots lose"), counted(2, "bot loses", "bots lose")
    ('1 bot loses', '2 bots lose')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def duration(passed: timedelta) -> str:
    """A time in whole minutes, hours or days, rounded down.

    >>> duration(timedelta(minutes=59)), duration(timedelta(minutes=100)), duration(timedelta(hours=49))
    ('59 minutes', '1 hour', '2 days')
    """
    minutes = int(passed / timedelta(minutes=1))
    if minutes < 60:
        return counted(minutes, "minute")
    return counted(minutes // 60, "hour") if minutes < 48 * 60 else counted(passed.days, "day")


def first_few(words: Sequence[object], most: int, number: int | None = None) -> str:
    """At most `most` of some words, and how many more there are; `number` of them where `words` are not all.

    >>> first_few([3, 4, 5], 2), first_few(["a"], 2), first_few(["a"], 2, 1001)
    ('3, 4 and 1 more', 'a', 'a and 1,000 more')
    """
    shown = words[:most]
    more = (len(words) if number is None else number) - len(shown)
    return f"{', '.join(map(str, shown))}{f' and {more:,} more' if more > 0 else ''}"


def them(number: int) -> str:
    """What stands for things of this number: it, or them."""
    return "it" if number == 1 else "them"

"""Times as people read them, from the journal's ISO 8601 in UTC."""

from datetime import UTC, datetime

from tokens.gitlab.expiration import ExpirationDate

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def to_the_second(moment: str) -> str:
    """Such as `2026-01-02 03:04:05 UTC`."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def when(moment: str, columns: int | None) -> str:
    """The same, on a terminal with its weekday and how far it is from today: `… 03:04:05 UTC (Fri, 2 days ago)`."""
    if columns is None:
        return to_the_second(moment)
    day = datetime.fromisoformat(moment).astimezone(UTC).date()
    passed = distance(day.toordinal() - datetime.now(UTC).date().toordinal())
    return f"{to_the_second(moment)} ({WEEKDAYS[day.weekday()]}, {passed})"


def to_the_minute(moment: str) -> str:
    """Such as `2026-01-02 03:04`, below a heading that says UTC."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M")


def near(day: ExpirationDate | None) -> str:
    """A date with its weekday and how far it is from today (UTC): `2026-12-04 Fri, in 7 days`."""
    if day is None:
        return "(none)"
    if not day.is_finite:
        return str(day)
    weekday = WEEKDAYS[(int(day.ordinal) - 1) % 7]
    return f"{day} {weekday}, {distance(int(day.ordinal) - datetime.now(UTC).date().toordinal())}"


def distance(days: int) -> str:
    """A day from its distance to today.

    >>> distance(0), distance(1), distance(7), distance(-3)
    ('today', 'tomorrow', 'in 7 days', '3 days ago')
    """
    named = {0: "today", 1: "tomorrow", -1: "yesterday"}
    return named.get(days) or (f"in {days:,} days" if days > 0 else f"{-days:,} days ago")

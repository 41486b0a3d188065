"""Times as people read them, from the journal's ISO 8601 in UTC."""

from datetime import UTC, date, datetime

from tokens.gitlab.expiration import WEEKDAYS, ExpirationDate, distance


def to_the_second(moment: str) -> str:
    """Such as `2026-01-02 03:04:05 UTC`; also of a year that no calendar of Python's has."""
    return f"{moment.replace('T', ' ').removesuffix('+00:00')} UTC"


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


def in_brief(moment: str) -> str:
    """The same in fewer columns: `today 03:04`, `Fri 03:04` in the last six days, before that the day alone."""
    at = datetime.fromisoformat(moment).astimezone(UTC)
    passed = (datetime.now(UTC).date() - at.date()).days
    if passed not in range(7):
        return f"{at:%Y-%m-%d}"
    return f"{WEEKDAYS[at.weekday()] if passed else 'today'} {at:%H:%M}"


def plain(day: ExpirationDate | None) -> str:
    """A date alone, such as `2026-12-04`."""
    return "(none)" if day is None else str(day)


def with_weekday(day: date) -> str:
    """Such as `2026-12-04 (Fri)`."""
    return f"{day:%Y-%m-%d (%a)}"


def near(day: ExpirationDate | None) -> str:
    """A date with its weekday and how far it is from today (UTC): `2026-12-04 (Fri, in 7 days)`."""
    return "(none)" if day is None else day.beside(ExpirationDate.of(datetime.now(UTC).date()))

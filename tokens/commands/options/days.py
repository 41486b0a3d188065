"""Days and periods as people type them: 2026-12-04, 2026-12, today, +14d, ..2026-12-11, 30d, 2w, 3m, 1y."""

import calendar
import re
from datetime import UTC, date, datetime, timedelta

from tokens.change.change import MOST_DAYS
from tokens.commands.environment import Environment
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.selection import DateRange
from tokens.spelling import meant

PERIOD = re.compile(r"(\d{1,7})([dwmy]?)", re.ASCII)
MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
LIKE_A_DAY = re.compile(r"\d{4}-\d{2}(-\d{2})?", re.ASCII)
SHIFTED = re.compile(r"(today|tomorrow|)([+-])(\d{1,7}[dwmy])", re.ASCII)
FRIDAY = 4  # of Python's weekdays

EARLIEST, LATEST = ExpirationDate(float("-inf")), ExpirationDate(float("inf"))

WORDS = ("today", "tomorrow", "none")
HOW = "a day (2026-12-04, today, +14d), a month (2026-12), a range of these (2026-12-04..2026-12-11, ..+14d), or none"


def today() -> date:
    """The day in UTC, by this machine's clock; GitLab's tokens die at 00:00 UTC."""
    return datetime.now(UTC).date()


def later(day: date, period: str) -> date:
    """`day` moved by a period such as `30d`, `2w`, `3m`, `1y`, or `-3m`; a month's end stays one where it has to.

    >>> str(later(date(2026, 1, 31), "1m")), str(later(date(2024, 2, 29), "-1y"))
    ('2026-02-28', '2023-02-28')

    Raises:
        ValueError: no period.
        OverflowError: beyond the years 1 to 9999.
    """
    sign = -1 if period.startswith("-") else 1
    found = PERIOD.fullmatch(period.removeprefix("-"))
    if found is None:
        raise ValueError(f"{period!r} is not a period")
    number, unit = sign * int(found[1]), found[2]
    if unit in ("", "d", "w"):
        return day + timedelta(days=number * (7 if unit == "w" else 1))
    years, month = divmod(day.year * 12 + day.month - 1 + number * (12 if unit == "y" else 1), 12)
    if not date.min.year <= years <= date.max.year:
        raise OverflowError(f"the year {years} is out of range")
    return date(years, month + 1, min(day.day, calendar.monthrange(years, month + 1)[1]))


def days_of(option: str, text: str) -> int:
    """How many days from today on a period has, one at least: `30d`, `30`, `2w`, `3m`, `1y`.

    Raises:
        UsageError: no period, or one that ends after the year 9999.
    """
    try:
        number = (later(today(), text.strip()) - today()).days
    except OverflowError:
        number = _plain_days(text) or MOST_DAYS + 1
    except ValueError:
        number = 0
    if number > MOST_DAYS:
        raise UsageError(f'--{option} takes a shorter period: "{text}" ends after the year 9999.')
    if number < 1:
        raise UsageError(f'--{option} takes a period such as 30d, 2w, 3m or 1y, not "{text}".')
    return number


def days_until(option: str, text: str, most: int) -> int:
    """How many days from today on it is until a day, or to the end of a period, from 1 to `most`."""
    days = (day_of(option, text) - today()).days if "-" in text else days_of(option, text)
    if not 1 <= days <= most:
        raise UsageError(f"--{option} takes a period or a day from tomorrow on, at most {most:,} days away.")
    return days


def days_within(period: str) -> DateRange:
    """The dates of tokens that expire from tomorrow until `period` from today; today's are dead already."""
    now = ExpirationDate.of(today())
    return DateRange(now + 1, now + days_of("within", period), from_now=True)


def days_since(period: str) -> DateRange:
    """The dates of tokens that have expired within the last `period`, today included."""
    now = ExpirationDate.of(today())
    return DateRange(now + -days_of("expired-within", period), now)


def ago(period: str) -> date:
    """The day that `--older-than` means, a period before today.

    Raises:
        UsageError: no period, or one that goes back beyond the year 1.
    """
    try:
        return today() - timedelta(days_of("older-than", period))
    except OverflowError:
        raise UsageError(f"--older-than {period} goes back beyond the year 1; give a shorter period.") from None


def range_of(word: str) -> DateRange | None:
    """The days that a word of `--expires` means, None for `none`; an open end is any day on that side.

    Raises:
        UsageError: it is none of HOW, or ends before it begins.
    """
    if word == "none":
        return None
    first, dots, last = word.partition("..")
    try:
        if dots and not first and not last:
            raise ValueError("no end at all")
        begins = _days(first)[0] if first else EARLIEST
        ends = _days(last if dots else first)[1] if last or not dots else LATEST
    except (ValueError, OverflowError):
        _refuse_absent("expires", first, last)
        raise UsageError(f'--expires takes {HOW}, not "{word}"{meant(word, WORDS)}.') from None
    if begins > ends:
        raise UsageError(f"--expires {word} ends before it begins; did you mean {last}..{first}?")
    return DateRange(begins, ends)


def day_of(option: str, text: str, *, past: bool = False) -> date:
    """The one day that a word means; `past` is whether the option is about one that has been.

    Raises:
        UsageError: it is no day.
    """
    try:
        if MONTH.fullmatch(text.strip()):
            raise ValueError("a month has many")
        return _days(text)[0].as_date
    except (ValueError, OverflowError):
        if not MONTH.fullmatch(text.strip()):
            _refuse_absent(option, text)
        example = "2026-06-15, today or today-14d" if past else "2026-12-04, today or +14d"
        raise UsageError(f'--{option} takes a day such as {example}, not "{text}".') from None


def day_before_which(_: Environment, before: str | None, older_than: str | None) -> date:
    """The day (UTC) that `--before` names, or the one that is `--older-than` ago."""
    if bool(before) == bool(older_than):
        raise UsageError("journal.prune takes one of --before DAY and --older-than PERIOD, such as --older-than 90d.")
    return ago(older_than) if older_than else day_of("before", before or "", past=True)


def date_of_demo(_: Environment, expires: str | None) -> date | None:
    """The date that `--expires` wants for most tokens of the demo, None for the default."""
    if not expires:
        return None
    if expires.strip().lower() == "friday":
        return coming_friday(today())
    try:
        day = day_of("expires", expires)
    except UsageError:
        day = today()
    if not today() < day < today() + timedelta(days=365):
        raise UsageError(f'--expires takes friday, or a day within the coming year such as +14d, not "{expires}".')
    return day


def coming_friday(day: date) -> date:
    """The first Friday after a day."""
    return day + timedelta(days=7 - (day.weekday() - FRIDAY) % 7)


def _refuse_absent(option: str, *words: str) -> None:
    """Refuse a day or month that no calendar has, such as 2024-06-31, where nothing else is wrong with the words."""
    wrong = [one for one in map(str.strip, words) if one and not _is_day(one)]
    if wrong and all(map(LIKE_A_DAY.fullmatch, wrong)):
        raise UsageError(f"--{option} takes days of the calendar, and that has no {wrong[0]}.") from None


def _is_day(word: str) -> bool:
    try:
        _days(word)
    except (ValueError, OverflowError):
        return False
    return True


def _days(word: str) -> tuple[ExpirationDate, ExpirationDate]:
    """The first and the last day of a word."""
    word = word.strip()
    if month := MONTH.fullmatch(word):
        first = date(int(month[1]), int(month[2]), 1)
        last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        return ExpirationDate.of(first), ExpirationDate.of(last)
    if word in ("today", "tomorrow"):
        day = ExpirationDate.of(today()) + (word == "tomorrow")
    elif shifted := SHIFTED.fullmatch(word):
        base = today() + timedelta(days=shifted[1] == "tomorrow")
        day = ExpirationDate.of(later(base, shifted[2].replace("+", "") + shifted[3]))
    else:
        day = ExpirationDate.typed(word)
    return day, day


def _plain_days(text: str) -> int:
    """Days where the calendar ends: a period of days or weeks may be longer than it."""
    found = PERIOD.fullmatch(text.strip())
    if found is None or found[2] not in ("", "d", "w"):
        return 0
    return int(found[1]) * (7 if found[2] == "w" else 1)

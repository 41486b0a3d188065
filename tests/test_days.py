"""Days and periods as people type them."""

from datetime import date, timedelta

import pytest

from tokens.commands.environment import Environment
from tokens.commands.options.days import (
    ago,
    day_before_which,
    day_of,
    days_of,
    days_since,
    days_within,
    later,
    range_of,
    today,
)
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.selection import DateRange

TODAY = today()


def day(of: date | str) -> ExpirationDate:
    return ExpirationDate.typed(str(of))


@pytest.mark.parametrize(
    ("period", "from_day", "expected"),
    [
        ("30d", "2026-01-31", "2026-03-02"),
        ("30", "2026-01-31", "2026-03-02"),
        ("2w", "2026-12-25", "2027-01-08"),
        ("1m", "2026-01-31", "2026-02-28"),
        ("1m", "2024-01-31", "2024-02-29"),
        ("13m", "2026-12-31", "2028-01-31"),
        ("1y", "2024-02-29", "2025-02-28"),
        ("-1m", "2026-03-31", "2026-02-28"),
        ("-2y", "2026-03-31", "2024-03-31"),
    ],
)
def test_a_period_moves_a_day_by_the_calendar(period: str, from_day: str, expected: str) -> None:
    assert str(later(date.fromisoformat(from_day), period)) == expected


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        ("2026-12-04", "2026-12-04", "2026-12-04"),
        ("2026-12", "2026-12-01", "2026-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-12..2027-02", "2026-12-01", "2027-02-28"),
        ("2026-12-04 .. 2026-12-11", "2026-12-04", "2026-12-11"),
        ("today", TODAY, TODAY),
        ("tomorrow..+14d", TODAY + timedelta(1), TODAY + timedelta(14)),
        ("today..today+14d", TODAY, TODAY + timedelta(14)),
        ("-2w..today", TODAY - timedelta(14), TODAY),
    ],
)
def test_a_word_means_days(word: str, first: date | str, last: date | str) -> None:
    assert range_of(word) == DateRange(day(first), day(last))


def test_an_open_end_is_any_day_on_that_side() -> None:
    before, after = range_of("..2026-12-11"), range_of("2026-12..")
    assert before is not None
    assert after is not None
    assert (before.first.literal, str(before.last), str(before)) == ("-infinity", "2026-12-11", "..2026-12-11")
    assert (str(after.first), after.last.literal, str(after)) == ("2026-12-01", "infinity", "2026-12-01..")
    assert range_of("none") is None


@pytest.mark.parametrize(
    "word",
    [
        "",
        "..",
        "yesterday",
        "14d",
        "+14",
        "+1h",
        "2026",
        "2026-12-04...2026-12-11",
        "now",
        "+9999999y",
    ],
)
def test_what_is_no_day_is_said_in_one_line(word: str) -> None:
    with pytest.raises(UsageError, match=r"^--expires takes a day \(2026-12-04, today, \+14d\), a month .*, not \""):
        range_of(word)


@pytest.mark.parametrize("word", ["2026-13", "2026-02-30", "2026-02-01..2026-02-30", "..2025-02-29", "0000-01-01"])
def test_a_day_that_no_calendar_has_is_said_to_be_none(word: str) -> None:
    absent = word.rpartition("..")[2]
    with pytest.raises(UsageError, match=f"^--expires takes days of the calendar, and that has no {absent}.$"):
        range_of(word)


@pytest.mark.parametrize("word", ["bogus..2026-02-30", "2026-02-30...2026-03-01", "2026-01-01..2026-02-28..2026-02-30"])
def test_where_more_is_wrong_than_the_calendar_the_forms_are_said(word: str) -> None:
    with pytest.raises(UsageError, match=r"^--expires takes a day \(2026-12-04"):
        range_of(word)


def test_one_day_that_no_calendar_has_is_said_to_be_none_and_a_range_to_be_no_day() -> None:
    with pytest.raises(UsageError, match=r"^--to takes days of the calendar, and that has no 2027-02-29.$"):
        day_of("to", " 2027-02-29")
    for word in ("2027-02-29..2027-03-01", "..2024-13", "2024-13"):
        with pytest.raises(UsageError, match=r"^--to takes a day such as"):
            day_of("to", word)


def test_a_range_that_ends_before_it_begins_is_said_with_what_may_be_meant() -> None:
    with pytest.raises(UsageError, match=r"did you mean 2026-12-04\.\.2026-12-11\?"):
        range_of("2026-12-11..2026-12-04")


def test_within_begins_tomorrow_since_what_has_todays_date_is_dead() -> None:
    assert days_within("2w") == DateRange(day(TODAY + timedelta(1)), day(TODAY + timedelta(14)))
    assert days_since("14d") == DateRange(day(TODAY - timedelta(14)), day(TODAY))


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("30", 30), ("2w", 14), ("3660000d", 3_660_000)])
def test_a_period_has_so_many_days(text: str, days: int) -> None:
    assert days_of("by", text) == days


@pytest.mark.parametrize("text", ["", "0d", "-1d", "30h", "1.5w", "d"])
def test_what_is_no_period_is_said_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--by takes a period such as 30d, 2w, 3m or 1y, not \""):
        days_of("by", text)


@pytest.mark.parametrize("text", ["3660001d", "9999999w", "9999y", "8000y", "99999m"])
def test_a_period_that_is_too_long_says_why(text: str) -> None:
    with pytest.raises(UsageError, match=rf'^--by takes a shorter period: "{text}" ends after the year 9999.$'):
        days_of("by", text)


def test_one_day_is_no_month() -> None:
    assert day_of("to", "2027-06-15") == date(2027, 6, 15)
    assert day_of("to", "+14d") == TODAY + timedelta(14)
    with pytest.raises(UsageError, match="--to takes a day"):
        day_of("to", "2027-06")


@pytest.mark.parametrize(
    ("before", "older_than", "expected"),
    [
        ("2026-02-01", None, date(2026, 2, 1)),
        ("today", None, today()),
        (None, "90d", today() - timedelta(90)),
        (None, "2w", today() - timedelta(14)),
    ],
)
def test_what_is_forgotten_is_named_as_every_day_and_every_period(
    before: str | None, older_than: str | None, expected: date
) -> None:
    assert day_before_which(Environment(None, None, None), before, older_than) == expected


def test_nothing_is_older_than_the_calendar() -> None:
    with pytest.raises(UsageError, match="--older-than 3000y goes back beyond the year 1"):
        ago("3000y")

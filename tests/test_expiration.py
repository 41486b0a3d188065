"""The dates that PostgreSQL can hold."""

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokens import database
from tokens.address import Address
from tokens.gitlab.expiration import ExpirationDate

FIRST_JULIAN_DAY = ExpirationDate.stored("4713-01-01 BC").ordinal
LAST = ExpirationDate.stored("5874897-12-31").ordinal
days = st.integers(int(FIRST_JULIAN_DAY), int(LAST)) | st.sampled_from([float("inf"), float("-inf")])


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("2024-06-15", "2024-06-15"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("12345-01-02", "12345-01-02"),
        ("0001-12-31 BC", "0000-12-31"),
        ("0044-03-15 BC", "-0043-03-15"),
        ("4713-01-01 BC", "-4712-01-01"),
        ("infinity", "Infinity"),
        ("-infinity", "-Infinity"),
    ],
)
def test_is_shown_as_the_original_shows_it_and_goes_back_as_it_came(stored: str, shown: str) -> None:
    assert str(ExpirationDate.stored(stored)) == shown
    assert ExpirationDate.stored(stored).literal == stored


def test_a_point_in_time_is_on_a_day_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert str(ExpirationDate.of(datetime(2026, 12, 5, 0, 30, tzinfo=east))) == "2026-12-04"
    assert str(ExpirationDate.of(datetime(2026, 12, 5, 0, 30))) == "2026-12-05"
    assert str(ExpirationDate.of(date(2026, 12, 5))) == "2026-12-05"


@given(st.dates(), st.integers(-500_000, 500_000))
def test_agrees_with_the_standard_library_where_that_has_dates(start: date, distance: int) -> None:
    here = ExpirationDate.typed(start.isoformat())
    assert str(here) == start.isoformat()
    try:
        there = start + timedelta(distance)
    except OverflowError:
        return
    assert str(here + distance) == there.isoformat()
    assert (here + distance > here) == (there > start)


@given(days)
def test_survives_the_way_to_text_and_back(ordinal: float) -> None:
    there = ExpirationDate(ordinal)
    assert ExpirationDate.stored(there.literal) == there


@settings(max_examples=50)
@given(ordinals=st.lists(days, min_size=200, max_size=200))
def test_postgresql_means_the_same_days(empty_database: Address, ordinals: list[float]) -> None:
    literals = [ExpirationDate(ordinal).literal for ordinal in ordinals]
    statement = """
        SELECT CAST(day AS text), CASE WHEN isfinite(day) THEN day - date '0001-01-01' + 1 END
        FROM unnest(CAST(%(literals)s AS date[])) WITH ORDINALITY AS d (day, position) ORDER BY position
    """
    with database.reading(empty_database) as connection:
        rows = connection.rows(statement, literals=literals)
    assert [ExpirationDate.stored(text).ordinal for text, _ in rows] == ordinals
    assert [number for _, number in rows if number is not None] == [o for o in ordinals if abs(o) != float("inf")]


@pytest.mark.parametrize(
    "text",
    [
        *("June", "25", "Monday", "365 days", "sunshine", "15/06/2025", "20250615", "2025-6-15", "2025-02-30", ""),
        *("infinity", "12345-01-01", "0000-01-01", "-0043-03-15", "2025-06-15T00:00", "२०२५-०६-१५", "2025-06-15 BC"),
        "2025-06-15" * 50,
    ],
)
def test_nothing_but_a_day_as_the_documentation_writes_it_can_be_typed(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|day|month|year"):
        ExpirationDate.typed(text)


def test_spaces_around_a_typed_date_do_not_matter() -> None:
    assert str(ExpirationDate.typed("  2025-06-15 ")) == "2025-06-15"


@pytest.mark.parametrize("ordinal", [float("nan"), 740_000.5])
def test_what_is_no_whole_number_of_days_is_no_date(ordinal: float) -> None:
    with pytest.raises(ValueError, match="a day has a whole number"):
        ExpirationDate(ordinal)

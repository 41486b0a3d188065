"""What is noted about a new expiration date."""

import pytest

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.settings import Policy
from tokens.notes import Concern, notes_on_date

TODAY = "2026-03-01"


def concerns(old: str, new: str, maximum_lifetime: int | None = None) -> set[Concern]:
    policy = Policy(ExpirationDate.typed(TODAY), maximum_lifetime)
    return {note.concern for note in notes_on_date(ExpirationDate.stored(old), ExpirationDate.typed(new), policy)}


@pytest.mark.parametrize(
    ("old", "new", "maximum", "expected"),
    [
        ("2026-04-01", "2027-04-01", None, set()),
        ("2026-04-01", "2026-03-02", None, {Concern.EARLIER}),
        ("2025-04-01", "2026-03-01", None, {Concern.PAST}),
        ("2025-04-01", "2026-03-02", None, set()),
        ("2026-04-01", "2026-04-01", None, {Concern.SAME}),
        ("2017-12-31", "2017-12-31", None, {Concern.PAST, Concern.SAME}),
        ("2026-04-01", "2017-12-31", None, {Concern.PAST, Concern.EARLIER}),
        ("infinity", "2027-01-01", None, {Concern.EARLIER}),
        ("-infinity", "2027-01-01", None, set()),
        ("2026-03-20", "2026-03-31", 30, set()),
        ("2026-03-20", "2026-04-01", 30, {Concern.BEYOND_MAXIMUM}),
        ("2026-04-20", "2026-04-10", 30, {Concern.EARLIER, Concern.BEYOND_MAXIMUM}),
    ],
)
def test_each_concern_is_noted_when_it_applies(old: str, new: str, maximum: int | None, expected: set[Concern]) -> None:
    assert concerns(old, new, maximum) == expected


def test_a_date_that_begins_today_is_past_because_tokens_die_at_its_first_moment() -> None:
    assert Concern.PAST in concerns("2025-01-01", TODAY)


def test_the_suggested_extension_is_a_lifetime_after_the_old_date() -> None:
    policy = Policy(ExpirationDate.typed(TODAY), None)
    assert str(policy.extended(ExpirationDate.typed("2024-02-29"))) == "2025-02-28"
    assert str(policy.extended(ExpirationDate.stored("0044-03-15 BC"))) == "-0042-03-15"
    assert str(policy.extended(ExpirationDate.stored("infinity"))) == "2027-03-01"
    assert str(Policy(policy.today, 30).extended(ExpirationDate.typed("2024-06-15"))) == "2024-07-15"

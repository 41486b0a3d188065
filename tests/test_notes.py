"""What is noted about a change: sentences from facts and dates alone."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tokens.change.change import Move
from tokens.change.facts import Facts
from tokens.change.notes import Concern, Note, guards, notes
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp
from tokens.gitlab.membership import MembershipRule
from tokens.gitlab.settings import Policy

TODAY = ExpirationDate.typed("2026-03-01")
POLICY = Policy(TODAY, None)
TODAYS_CLEAN_UP = CleanUp()
EVERYTHING = Facts(
    reviving=7,
    bots_ending_before=12,
    warned=40,
    warned_owners=31,
    mailed_owners=5,
    doomed_bots=3,
    doomed_anyway_bots=8,
    blocked=4,
    blocked_owners=2,
    migrated=120,
    service_accounts=20,
    superseded=(11, 12, 13, 14, 15, 16),
)


NO_FACTS = Facts()


def move(old: str | None, new: str | None, tokens: int = 1) -> Move:
    before, after = (None if day is None else ExpirationDate.stored(day) for day in (old, new))
    return Move(before, after, tokens)


def noted(
    moves: Sequence[Move],
    facts: Facts = NO_FACTS,
    policy: Policy = POLICY,
    *,
    memberships: MembershipRule | None = MembershipRule.FOREVER,
    notices: bool = True,
    clean_up: CleanUp | None = TODAYS_CLEAN_UP,
    options: bool = True,
) -> tuple[Note, ...]:
    return notes(moves, facts, policy, memberships=memberships, notices=notices, clean_up=clean_up, options=options)


def texts(found: Sequence[Note]) -> list[str]:
    return [note.text for note in found]


def text(concern: Concern, found: Sequence[Note]) -> str:
    (said,) = (note.text for note in found if note.concern is concern)
    return said


LATER = move("2026-04-01", "2027-04-01", 100)
REMOVAL = move("2026-04-01", None, 100)


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
        (None, "2027-01-01", None, {Concern.DATED}),
        (None, "2017-12-31", 30, {Concern.PAST, Concern.DATED}),
        (None, None, None, {Concern.SAME}),
        (None, None, 30, {Concern.SAME, Concern.BEYOND_MAXIMUM}),
        ("2026-04-01", None, None, set()),
        ("2026-04-01", None, 30, {Concern.BEYOND_MAXIMUM}),
        ("2026-04-01", None, 999_999, {Concern.BEYOND_MAXIMUM}),
        ("2026-04-01", "infinity", 999_999, {Concern.BEYOND_MAXIMUM}),
    ],
)
def test_each_concern_about_a_date_is_noted_when_it_applies(
    old: str | None, new: str | None, maximum: int | None, expected: set[Concern]
) -> None:
    found = noted([move(old, new, 9)], policy=Policy(TODAY, maximum))
    assert {note.concern for note in found} == expected
    assert all(note.tokens == 9 for note in found)


def test_a_date_that_begins_today_is_past_because_tokens_die_at_its_first_moment() -> None:
    assert [note.concern for note in noted([move("2025-01-01", str(TODAY))])] == [Concern.PAST]


def test_a_single_move_is_spoken_of_with_its_dates() -> None:
    assert texts(noted([move("2026-02-01", "2025-02-01")])) == [
        "2025-02-01 (Sat, 393 days ago) is not in the future in UTC: these tokens will not work.",
        "2025-02-01 (Sat, 393 days ago) is before 2026-02-01 (Sun, 28 days ago): these tokens will expire earlier than "
        "now.",
    ]
    assert texts(noted([move("2027-02-01", "2027-02-01")], policy=Policy(TODAY, 30))) == [
        "2027-02-01 (Mon, in 337 days) is the date that these tokens have already.",
        "2027-02-01 (Mon, in 337 days) is beyond the instance's maximum lifetime of 30 days, today until 2026-03-31 "
        "(Tue, in 30 days): "
        "GitLab revokes such tokens when that setting is next changed.",
    ]
    assert texts(noted([move(None, "2027-02-01")])) == [
        "These tokens never expire now: on 2027-02-01 (Mon, in 337 days) they will."
    ]
    assert texts(noted([move(None, None)])) == ["These tokens have no expiration date already."]
    assert texts(noted([REMOVAL], policy=Policy(TODAY, 30))) == [
        "To have no expiration date is beyond the instance's maximum lifetime of 30 days, today until 2026-03-31 "
        "(Tue, in 30 days): "
        "GitLab revokes such tokens when that setting is next changed.",
    ]


def test_several_moves_are_spoken_of_with_counts() -> None:
    moves = [
        move("2026-03-10", "2026-02-10", 1),
        move("2026-03-11", "2026-03-11", 20),
        move("2026-03-12", "2026-03-13", 300),
        move(None, "2026-06-01", 4000),
        move("2026-03-14", None, 50000),
        move("2026-03-15", "2026-01-01", 0),
    ]
    assert texts(noted(moves, policy=Policy(TODAY, 30))) == [
        "1 token will not work with a date that is not in the future (today is 2026-03-01 UTC).",
        "20 tokens have their new date already.",
        "1 token will expire earlier than now.",
        "4,000 tokens never expire now, but will with the new date.",
        "54,000 tokens will have a date, or none, beyond the instance's maximum lifetime of 30 days, today until "
        "2026-03-31 (Tue, in 30 days): GitLab revokes such tokens when that setting is next changed.",
    ]
    assert texts(noted([move("2026-03-10", None, 2), move("2026-03-11", None, 3)], policy=Policy(TODAY, 30))) == [
        "5 tokens will have no expiration date, which is beyond the instance's maximum lifetime of 30 days, today "
        "until 2026-03-31 (Tue, in 30 days): GitLab revokes such tokens when that setting is next changed.",
    ]


def test_clean_data_and_no_tokens_need_no_note() -> None:
    assert noted([LATER], Facts()) == ()
    assert noted([LATER]) == ()
    assert noted([REMOVAL], Facts(service_accounts=5)) == ()
    assert noted([], Facts(), Policy(TODAY, 30, maintenance=True)) == ()
    assert noted([move("2026-04-01", "2017-01-01", 0)], Facts()) == ()


def test_every_concern_is_noted_in_the_fixed_order_with_its_count() -> None:
    policy = Policy(TODAY, 10, requires_expiry=True, maintenance=True)
    moves = [
        move("2026-04-01", "2026-02-01", 1),
        move("2026-04-01", "2026-04-01", 2),
        move("2026-04-01", None, 90),
        move(None, "2026-03-05", 4),
    ]
    found = noted(moves, EVERYTHING, policy)
    assert [(note.concern, note.tokens) for note in found] == [
        (Concern.MAINTENANCE, 97),
        (Concern.PAST, 1),
        (Concern.SAME, 2),
        (Concern.EARLIER, 1),
        (Concern.DATED, 4),
        (Concern.BEYOND_MAXIMUM, 92),
        (Concern.SUPERSEDED, 6),
        (Concern.REVIVES, 7),
        (Concern.REQUIRES_EXPIRY, 70),
        (Concern.MEMBERSHIPS, 12),
        (Concern.NOTICES, 40),
        (Concern.DOOMED, 3),
        (Concern.DOOMED_ANYWAY, 8),
        (Concern.BLOCKED, 4),
        (Concern.MIGRATED, 120),
    ]
    # The rest is about revocations, what was named and what may be read.
    others = {Concern.USED, Concern.REVIVING, Concern.USED_LATELY}
    others |= {Concern.LAST_OF_BOT, Concern.NO_SUCCESSOR, Concern.IN_GRACE}
    of_dates = [concern for concern in Concern if concern not in others]
    assert [note.concern for note in found] == of_dates[: len(found)]
    assert guards(found) == ("maintenance", "past", "earlier", "beyond-maximum", "superseded", "doomed")
    assert guards(noted([LATER], replace(EVERYTHING, superseded=(), doomed_bots=0))) == ()


def test_the_facts_are_told_in_sentences_that_name_the_option_that_changes_them() -> None:
    assert texts(noted([LATER], EVERYTHING)) == [
        "6 tokens were replaced by a rotation, and their successors are not revoked: "
        "the old ones would live on beside them (--leave-out superseded leaves them out): "
        "11, 12, 13, 14, 15 and 1 more.",
        "7 tokens have expired and would become valid again (--state active leaves them out).",
        "12 bots have a membership that ends before the new date, and GitLab would delete bot and token at its end: "
        "the end is removed, too (--memberships keep leaves it).",
        "31 owners have been warned about 40 tokens already: the notices are re-armed for the new date "
        "(--notices keep leaves them), and GitLab will mail 5 owners about their tokens within a day.",
        "3 bots lose by this change what keeps them: at 00:00 UTC GitLab deletes them with their tokens, "
        "and no undo brings them back.",
        "8 bots will have no active token: "
        "GitLab's nightly clean-up deletes such bots with their tokens, 30 days after the last one's end.",
        "4 tokens of 2 owners will not work whatever the date, because the owner is blocked, banned or deactivated.",
        "120 tokens probably got this date from GitLab 16.0's migration, not from a person.",
    ]


def test_a_screen_without_options_gets_the_same_sentences_without_them() -> None:
    plain = noted([LATER], EVERYTHING, options=False)
    assert [note.concern for note in plain] == [note.concern for note in noted([LATER], EVERYTHING)]
    assert not any("--" in note.text or "(-" in note.text for note in plain)
    kept = noted([LATER], EVERYTHING, memberships=None, notices=False, options=False)
    assert not any("--" in note.text for note in kept)


@pytest.mark.parametrize(
    ("clean_up", "expected"),
    [
        (CleanUp(takes_undated=True), "keeps them (GitLab 17.7 to 17.9.0 keeps none for a token without a date): at"),
        (CleanUp(takes_undated=True, certain=False), "(GitLab 17.7 to 17.9.0, which this may be, keeps none for"),
        (CleanUp(may_block=True), "(or blocks them, where its feature flag delete_inactive_project_bot_users is off)"),
    ],
)
def test_what_the_clean_up_of_this_release_does_to_bots_is_said(clean_up: CleanUp, expected: str) -> None:
    assert expected in text(Concern.DOOMED, noted([LATER], EVERYTHING, clean_up=clean_up))


@pytest.mark.parametrize(
    ("moves", "rule", "expected"),
    [
        ([LATER], MembershipRule.FOREVER, "ends before the new date, and GitLab would"),
        ([LATER], MembershipRule.FOREVER, "the end is removed, too (--memberships keep leaves it)."),
        ([LATER], MembershipRule.UNTIL_TOKEN, "the end is moved, too (--memberships keep leaves it)."),
        ([LATER], None, "and GitLab will delete bot and token at its end (leave out --memberships keep to move it)."),
        ([REMOVAL], MembershipRule.UNTIL_TOKEN, "the end is removed, too"),
        ([REMOVAL], MembershipRule.FOREVER, "have a membership that ends, and"),
    ],
)
def test_what_becomes_of_memberships_is_said(moves: list[Move], rule: MembershipRule | None, expected: str) -> None:
    assert expected in text(Concern.MEMBERSHIPS, noted(moves, EVERYTHING, memberships=rule))


def test_what_becomes_of_notices_is_said() -> None:
    assert text(Concern.NOTICES, noted([LATER], EVERYTHING, notices=False)) == (
        "31 owners have been warned about 40 tokens already, and GitLab may not warn again before the new date "
        "(leave out --notices keep to re-arm the notices)."
    )
    quiet = Facts(warned=1, warned_owners=1)
    assert text(Concern.NOTICES, noted([LATER], quiet)).endswith("for the new date (--notices keep leaves them).")
    assert "re-armed (--notices" in text(Concern.NOTICES, noted([REMOVAL], quiet))
    assert noted([REMOVAL], quiet, notices=False) == ()


@pytest.mark.parametrize(
    ("people", "service_accounts", "expected"),
    [(False, False, None), (True, False, 80), (False, True, 20), (True, True, 100)],
)
def test_a_required_expiry_counts_for_the_tokens_that_it_is_required_of(
    people: bool, service_accounts: bool, expected: int | None
) -> None:
    policy = Policy(TODAY, None, requires_expiry=people, service_accounts_require_expiry=service_accounts)
    found = noted([REMOVAL], Facts(service_accounts=20), policy)
    assert [note.tokens for note in found] == ([] if expected is None else [expected])
    assert noted([LATER], Facts(service_accounts=20), policy) == ()


def test_the_suggested_extension_is_a_lifetime_after_the_old_date() -> None:
    assert str(POLICY.extended(ExpirationDate.typed("2024-02-29"))) == "2025-02-28"
    assert str(POLICY.extended(ExpirationDate.stored("0044-03-15 BC"))) == "-0042-03-15"
    assert str(POLICY.extended(ExpirationDate.stored("infinity"))) == "2027-03-01"
    assert str(Policy(TODAY, 30).extended(ExpirationDate.typed("2024-06-15"))) == "2024-07-15"

"""The tasks as plain functions: what they return, what they refuse, and that they neither print nor need Invoke."""

import gc
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

import invoke
import pytest
import sqlalchemy as sa

import tokens
from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens, make_user
from tests.testbed.pages import MANUAL
from tests.testbed.runs import everything, execute, query
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.errors import DatabaseError, Refused, UsageError
from tokens.journal.installation import JournalMissing
from tokens.rotation.candidate import Candidate
from tokens.rotation.rotator import End
from tokens.rotation.run import Began, Ended, Rotated
from tokens.run.events import BatchStarting, Event, RunFailed

TODAY = datetime.now(UTC).date()
SOON, LATER = (tokens.ExpirationDate.typed(str(TODAY + timedelta(days))) for days in (5, 200))
SERVICE_ACCOUNTS = tokens.Selection((), kinds=frozenset({tokens.Kind.SERVICE_ACCOUNT}))
KILL = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND pid <> pg_backend_pid()
"""
GONE = tokens.ExpirationDate.typed(str(TODAY - timedelta(3)))


def on(*days: tokens.ExpirationDate) -> tokens.Selection:
    return tokens.Selection(tuple(tokens.DateRange(day, day) for day in days))


@pytest.fixture
def gitlab(alone: Alone) -> Iterator[Address]:
    """Twenty tokens that expire soon, and a journal."""
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            make_tokens(connection, 20, expires_at=str(SOON))
        yield address


def test_a_change_is_planned_carried_out_and_taken_back(gitlab: Address, capfd: pytest.CaptureFixture[str]) -> None:
    before = everything(gitlab)
    (row,) = tokens.analyze(url(gitlab)).dates
    assert (row.expires_at, row.tokens) == (SOON, 20)
    planned = tokens.plan(url(gitlab), on(SOON), tokens.Change(to=LATER))
    assert planned.tokens == 20
    assert everything(gitlab) == before

    events: list[object] = []
    result = tokens.apply(gitlab, planned, reason="no outage", on_event=events.append)
    assert result == tokens.Result(1, changed=20, recounted=20)
    assert [row.expires_at for row in tokens.analyze(gitlab).dates] == [LATER]
    assert events
    assert query(gitlab, "SELECT reason FROM token_tasks.runs")[0].reason == "no outage"

    assert tokens.undo(gitlab, 1) == tokens.Result(2, changed=20, recounted=20)
    assert everything(gitlab) == before
    assert capfd.readouterr() == ("", "")


def test_a_revocation_is_planned_carried_out_and_taken_back_where_that_is_allowed(gitlab: Address) -> None:
    before = everything(gitlab)
    with pytest.raises(UsageError, match="Choose the tokens to revoke"):
        tokens.plan_revocation(gitlab, tokens.Selection(()))
    planned = tokens.plan_revocation(gitlab, tokens.Selection((), never_used=True))
    assert planned == tokens.plan(gitlab, tokens.Selection((), never_used=True), tokens.Change(revokes=True))
    assert tokens.apply(gitlab, planned) == tokens.Result(1, changed=20, recounted=20)
    with pytest.raises(Refused, match="Refused because of reviving"):
        tokens.undo(gitlab, 1)
    assert tokens.undo(gitlab, 1, allow=["reviving"]) == tokens.Result(2, changed=20, recounted=20)
    assert everything(gitlab) == before


def test_without_new_dates_they_are_removed_and_nothing_to_do_is_no_run(gitlab: Address) -> None:
    assert tokens.apply(gitlab, tokens.plan(gitlab, on(LATER))) == tokens.Result(None)
    assert tokens.apply(gitlab, tokens.plan(gitlab, on(SOON))).changed == 20
    assert [row.expires_at for row in tokens.analyze(gitlab).dates] == [None]


def test_what_is_left_of_a_run_and_what_an_undo_puts_back_are_seen_before(gitlab: Address) -> None:
    number = tokens.store(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=GONE)), allow=["past", "earlier"])
    before = everything(gitlab)
    left = tokens.plan_to_apply(gitlab, number)
    assert (left.stored.id, left.plan.tokens, left.guards) == (number, 20, ("past", "earlier"))
    tokens.apply(gitlab, number, allow=left.guards)
    for verb in (tokens.plan_to_apply, tokens.apply):
        with pytest.raises(UsageError, match="complete") as caught:
            verb(gitlab, number)
        assert isinstance(caught.value, tokens.RunComplete)

    after = everything(gitlab)
    back = tokens.plan_to_undo(gitlab, number)
    assert (back.stored.id, back.tokens, back.guards, back.changed_since) == (number, 20, (), ())
    assert everything(gitlab) == after
    tokens.undo(gitlab, number, allow=back.guards)
    assert everything(gitlab) == before


def test_a_plan_of_the_journal_is_carried_out_as_its_run_alone(gitlab: Address) -> None:
    number = tokens.store(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER)))
    kept = tokens.plan_to_apply(gitlab, number).plan
    tokens.withdraw(gitlab, number)
    before = everything(gitlab)
    for call in (tokens.apply, tokens.store):
        with pytest.raises(UsageError, match=r"has this plan as run 1: to carry it out use apply\(…, 1\)"):
            call(gitlab, kept)
    assert everything(gitlab) == before
    assert query(gitlab, "SELECT count(*) FROM token_tasks.runs")[0].count == 1


def test_a_plan_of_another_database_is_refused(gitlab: Address, alone: Alone) -> None:
    with alone.database(journal=True) as other:
        with make_engine(other).begin() as connection:
            make_tokens(connection, 20, expires_at=str(SOON))
        planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER))
        before = everything(other)
        for call in (tokens.apply, tokens.store):
            with pytest.raises(Refused, match="The plan is of another database than gitlab@alone/"):
                call(other, planned)
        assert everything(other) == before
        tokens.apply(gitlab, planned)
        with pytest.raises(Refused, match="is of another database"):
            tokens.store(other, tokens.plan_to_undo(gitlab, 1).plan)
        assert query(other, "SELECT count(*) FROM token_tasks.runs")[0].count == 0


def test_a_plan_that_was_kept_for_more_than_a_day_is_refused_until_it_is_allowed(gitlab: Address) -> None:
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER))
    old = replace(planned, made_at=datetime.now(UTC) - timedelta(hours=24, minutes=1))
    before = everything(gitlab)
    for call in (tokens.apply, tokens.store):
        with pytest.raises(Refused, match=r"older than 24 hours.* use allow=\('old-plan',\)"):
            call(gitlab, old)
    assert everything(gitlab) == before
    assert tokens.apply(gitlab, old, allow=["old-plan"]).changed == planned.tokens > 0


def test_what_a_caller_is_given_has_a_public_name(gitlab: Address) -> None:
    given: list[object] = [*tokens.analyze(gitlab).dates]
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=GONE))
    given += [*planned.notes, planned.notes[0].concern, *planned.moves, *planned.counts, planned.kind]
    number = tokens.store(gitlab, planned, allow=["past", "earlier"])
    stored = tokens.plan_to_apply(gitlab, number).stored
    given += [stored, stored.state]
    tokens.apply(gitlab, number, allow=["past", "earlier"], on_event=given.append)
    public = {getattr(tokens, name) for name in tokens.__all__ if name != "ns"}
    assert {type(one) for one in given} <= public
    assert {tokens.Rotation, tokens.NewOwner, type(tokens.plan_rotation(gitlab, tokens.Search(on(SOON))))} <= public
    assert {*get_args(Event), RunFailed, Rotated, Ended, Candidate, End, DatabaseError} <= public


def test_what_an_undo_would_put_back_can_be_stored_and_carried_out(gitlab: Address) -> None:
    before = everything(gitlab)
    tokens.apply(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER)))
    number = tokens.store(gitlab, tokens.plan_to_undo(gitlab, 1).plan)
    assert tokens.apply(gitlab, number) == tokens.Result(2, changed=20, recounted=20)
    assert everything(gitlab) == before


def test_an_old_plan_says_so_in_its_notes(gitlab: Address) -> None:
    number = tokens.store(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER)))
    with make_engine(gitlab).begin() as connection:
        connection.execute(sa.text("UPDATE token_tasks.runs SET created_at = created_at - interval '25 hours'"))
    found = tokens.plan_to_apply(gitlab, number)
    (note,) = found.plan.notes
    assert (note.concern.guard, note.tokens) == ("old-plan", 20)
    assert note.text == "The plan is older than 24 hours, and its tokens have lived on since."
    with pytest.raises(Refused, match="because of old-plan: the notes of the plan say why"):
        tokens.apply(gitlab, number)
    assert tokens.apply(gitlab, number, allow=found.guards).changed == 20


def test_a_plan_without_tokens_is_not_stored(gitlab: Address) -> None:
    planned = tokens.plan(gitlab, on(LATER), tokens.Change(to=SOON))
    with pytest.raises(UsageError, match="The plan has no tokens, so there is nothing to store"):
        tokens.store(gitlab, planned)
    assert query(gitlab, "SELECT count(*) FROM token_tasks.runs")[0].count == 0


def test_what_allows_nothing_is_no_word_of_allow(gitlab: Address) -> None:
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=GONE))
    wrongs: list[tuple[Any, Any, str]] = [
        (
            partial(tokens.apply, gitlab, planned),
            ["pats"],
            r"allow takes past, .*, not 'pats' \(did you mean \"past\"\?\)",
        ),
        (
            partial(tokens.apply, gitlab, 1),
            "past",
            r"allow takes a collection of words, such as \('past',\), not 'past'",
        ),
        (partial(tokens.store, gitlab, planned), 5, "allow takes a collection of words"),
        (partial(tokens.store, gitlab, planned), [7], "not 7"),
        (partial(tokens.undo, gitlab, 1), ["past"], "allow takes reviving, "),
        (partial(tokens.install_journal, gitlab), ["past"], "allow takes publication, "),
    ]
    for call, wrong, message in wrongs:
        with pytest.raises(UsageError, match=message):
            call(allow=wrong)


def test_a_change_contradicts_itself_nowhere() -> None:
    for wrong in (
        {"to": LATER, "by": 5},
        {"to": LATER, "revokes": True},
        {"by": 5, "revokes": True},
        {"to": LATER, "days": 0},
        {"by": 20, "days": -3},
        {"to": tokens.ExpirationDate(10**12)},
        {"by": 10**10},
    ):
        with pytest.raises(UsageError):
            tokens.Change(**wrong)


@pytest.mark.parametrize(
    ("call", "wrong", "said"),
    [
        (tokens.Change, {"by": 1.5}, "by takes a whole number of days, not 1.5"),
        (tokens.Change, {"by": True}, "by takes a whole number of days, not True"),
        (tokens.Change, {"to": "2027-01-01"}, "to takes an ExpirationDate, not '2027-01-01'"),
        (tokens.Change, {"by": 5, "days": 2.5}, "days takes a whole number of days, not 2.5"),
        (tokens.DateRange, {"first": LATER, "last": SOON}, f"{LATER}..{SOON} ends before it begins"),
        (tokens.Selection, {"expires": (), "kinds": "project"}, "kinds takes several of Kind, not 'project'"),
        (tokens.Selection, {"expires": (), "kinds": tokens.Kind.PROJECT}, "kinds takes several of Kind"),
        (tokens.Selection, {"expires": (), "states": frozenset({"x"})}, "states takes several of State"),
        (tokens.Selection, {"expires": (), "owner_states": ("blocked",)}, "owner_states takes several of OwnerState"),
        (tokens.Selection, {"expires": (), "last_used_before": "soon"}, "last_used_before takes a date, not 'soon'"),
        (tokens.Selection, {"expires": (), "created_after": datetime.now(UTC)}, "created_after takes a date"),
        (tokens.Selection, {"expires": (), "users": ("a\0b",)}, "the character NUL"),
        (tokens.Selection, {"expires": (), "users": "root"}, "users takes several texts, not 'root'"),
        (tokens.Selection, {"expires": (), "kinds": ""}, "kinds takes several of Kind"),
        (tokens.Selection, {"expires": None}, "expires takes several of DateRange or None, not None"),
        (tokens.Selection, {"expires": (), "users": 5}, "users takes several texts, not 5"),
        (tokens.Selection, {"expires": (), "name": 5}, "name takes a text, not 5"),
        (tokens.Selection, {"expires": (), "ids": 5}, "ids takes several whole numbers, not 5"),
        (tokens.Selection, {"expires": (), "ids": "12"}, "ids takes several whole numbers, not '12'"),
        (tokens.Selection, {"expires": (), "ids": (2**63,)}, f"ids takes whole numbers of 64 bits, not {2**63}"),
        (tokens.Selection, {"expires": (), "ids": (1, True)}, "ids takes whole numbers of 64 bits, not True"),
        (tokens.Selection, {"expires": (), "ids": ("1",)}, "ids takes whole numbers of 64 bits, not '1'"),
        (tokens.Search, {"selection": None}, "selection takes a Selection, not None"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "token": 5}, "token takes a name, or an id as text, not 5"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "token": "a\0b"}, "token takes a name, or an id as text"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "within": "30d"}, "within takes a number of days"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "within": True}, "within takes a number of days"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "within": 10**10}, "within takes a number of days up to"),
        (tokens.Search, {"selection": SERVICE_ACCOUNTS, "expired_within": -1}, "expired_within takes a number of days"),
        (tokens.Selection, {"expires": (SOON,)}, "expires takes several of DateRange or None"),
        (tokens.DateRange, {"first": "a", "last": "b"}, "DateRange takes two of ExpirationDate, not 'a'"),
        (tokens.store, {"target": "postgresql://x", "plan": 5}, "plan takes a Plan, not 5"),
        (tokens.analyze, {"target": 5}, "a target is postgresql://"),
        (tokens.plan, {"target": "postgresql://x", "selection": None}, "selection takes a Selection, not None"),
        (
            tokens.plan,
            {"target": "postgresql://x", "selection": on(SOON), "change": {}},
            "change takes a Change, not {}",
        ),
        (
            tokens.plan,
            {"target": "postgresql://x", "selection": on(SOON), "options": "x"},
            "options takes an Options, not 'x'",
        ),
    ],
)
def test_what_can_be_no_choice_and_no_change_is_said_before_anything_is_done(call: Any, wrong: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(**wrong)
    assert said in str(caught.value)


def test_several_kinds_and_states_may_come_in_any_collection(gitlab: Address) -> None:
    kinds: Any = [tokens.Kind.PERSONAL, tokens.Kind.PROJECT]
    states: Any = (tokens.State.ACTIVE,)
    asked = replace(on(SOON), kinds=kinds, states=states)
    assert asked == replace(on(SOON), kinds=frozenset(kinds))
    assert tokens.plan(gitlab, asked, tokens.Change(by=30)).tokens > 0


def test_a_change_without_a_date_is_a_removal(gitlab: Address) -> None:
    assert tokens.plan(gitlab, on(SOON), tokens.Change()).kind == "remove"


@pytest.mark.parametrize("run", [0, True, 2**70, "1"])
def test_the_number_of_a_run_is_one(gitlab: Address, run: Any) -> None:
    for verb in (tokens.apply, tokens.undo, tokens.withdraw, tokens.plan_to_apply, tokens.plan_to_undo):
        with pytest.raises(UsageError, match=r"^A run takes its number in the journal, not "):
            verb(gitlab, run)


@pytest.mark.parametrize("reason", ["a\0b", "x" * 5_000, "glpat-abcdefghij0123456789"])
def test_a_reason_is_what_the_journal_can_keep(gitlab: Address, reason: str) -> None:
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER))
    for call in (partial(tokens.store, gitlab, planned), partial(tokens.apply, gitlab, planned)):
        with pytest.raises(UsageError):
            call(reason=reason)
    assert query(gitlab, "SELECT id FROM token_tasks.runs") == []


def test_a_url_that_is_none_is_refused_before_a_token_is_made(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        make_token(connection, user_id=make_user(connection, user_type=13), expires_at=str(SOON))
    before = everything(gitlab)
    with pytest.raises(UsageError, match="URL of GitLab"):
        tokens.rotate(
            gitlab, tokens.Search(SERVICE_ACCOUNTS, within=30), Vault(), secrets_file=secrets, url="not a url"
        )
    assert everything(gitlab) == before


def test_a_guard_refuses_unless_it_is_allowed(gitlab: Address) -> None:
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=GONE))
    with pytest.raises(Refused, match=r"of past and earlier: the notes .* use allow=\('past', 'earlier'\)$"):
        tokens.apply(gitlab, planned)
    assert query(gitlab, "SELECT count(*) FROM token_tasks.runs")[0].count == 0
    assert tokens.apply(gitlab, planned, allow=("past", "earlier")).changed == 20


def test_without_a_journal_nothing_is_changed(alone: Alone) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            make_token(connection, expires_at=str(SOON))
        before = everything(address)
        planned = tokens.plan(address, on(SOON), tokens.Change(to=LATER))
        with pytest.raises(JournalMissing):
            tokens.apply(address, planned)
        assert everything(address) == before
        tokens.install_journal(url(address))
        assert tokens.apply(address, planned).changed == 1


def test_what_a_run_has_begun_was_allowed_then_but_for_what_time_changes(gitlab: Address) -> None:
    class Stop(Exception):
        pass

    def stop(event: object) -> None:
        raise Stop

    earlier = tokens.ExpirationDate.typed(str(TODAY + timedelta(2)))
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=earlier))
    with pytest.raises(Stop):
        tokens.apply(gitlab, planned, allow=("earlier",), on_event=stop)
    assert tokens.apply(gitlab, 1).changed == 20


class Vault(tokens.Delivery):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def check(self, new: Sequence[tokens.NewToken]) -> None:
        pass

    def deliver(self, token: tokens.Secret, about: tokens.NewToken) -> None:
        self.kept[about.name] = token.reveal()

    def place(self, about: tokens.NewToken) -> str:
        return f"the vault, as {about.name}"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A copy of GitLab's secrets."""
    path = tmp_path / "secrets.yml"
    path.write_text(json.dumps({"production": {"db_key_base": "0badcafe" * 16}}))
    return path


def test_a_token_gets_a_successor_that_is_delivered(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        owner = make_user(connection, username="inventory", user_type=13)
        old = make_token(connection, user_id=owner, name="nightly", expires_at=str(SOON))
    vault = Vault()
    search = tokens.Search(tokens.Selection((), users=("inventory",)), "nightly", None, None)
    events: list[object] = []
    done = tokens.rotate(gitlab, search, vault, secrets_file=secrets, url=None, on_event=events.append)
    (outcome,) = done.outcomes
    assert (done.run, done.left_out, outcome.token_id, outcome.is_done) == (1, {}, old, True)
    assert [type(event) for event in events[:2]] == [Began, Rotated]
    assert vault.kept["nightly"].startswith("glpat-")
    rows = query(gitlab, f"SELECT revoked FROM personal_access_tokens WHERE user_id = {owner} ORDER BY id")
    assert [row.revoked for row in rows] == [True, False]


def test_what_a_rotation_would_do_is_seen_before_and_changes_nothing(
    alone: Alone, secrets: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with alone.database() as gitlab:  # without a journal
        with make_engine(gitlab).begin() as connection:
            owner = make_user(connection, username="inventory", user_type=13)
            old = make_token(connection, user_id=owner, name="nightly", expires_at=str(SOON))
            other = make_user(connection, user_type=13, state="blocked")
            blocked = make_token(connection, user_id=other, expires_at=str(SOON))
        before = everything(gitlab)
        planned = tokens.plan_rotation(gitlab, tokens.Search(SERVICE_ACCOUNTS), expires_in=30, grace=7)
        (rotation,) = planned.rotations
        assert (rotation.candidate.id, rotation.account, list(planned.left_out)) == (old, "inventory", [blocked])
        ends = (TODAY + timedelta(30), TODAY + timedelta(7))
        assert [str(one) for one in (rotation.expires_at, rotation.grace_until)] == [str(day) for day in ends]
        assert everything(gitlab) == before
        assert capfd.readouterr() == ("", "")
        with pytest.raises(JournalMissing):
            tokens.rotate(gitlab, tokens.Search(SERVICE_ACCOUNTS), Vault(), secrets_file=secrets, url=None)
        nothing = tokens.plan_rotation(gitlab, tokens.Search(tokens.Selection((), ids=(blocked,))))
        assert (nothing.rotations, "is blocked" in nothing.left_out[blocked]) == ((), True)


def test_a_rotation_is_planned_with_the_words_that_it_needs(gitlab: Address) -> None:
    with make_engine(gitlab).begin() as connection:
        make_user(connection, username="deploy", user_type=13)
        make_token(connection, user_id=make_user(connection, username="alice"), name="nightly", expires_at=str(SOON))
    alice = tokens.Search(tokens.Selection((), users=("alice",)))
    planned = tokens.plan_rotation(gitlab, alice, new_owner="deploy")
    (rotation,) = planned.rotations
    assert (rotation.account, planned.guards) == ("deploy", ("no-membership",))
    assert planned.notes
    with pytest.raises(UsageError, match="There is no token"):
        tokens.plan_rotation(gitlab, replace(alice, token="nihgtly"))
    run: Any = 7
    with pytest.raises(UsageError, match="tokens takes a Search, not 7"):
        tokens.plan_rotation(gitlab, run)


def test_a_persons_token_is_rotated_where_their_kind_is_named(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        make_token(connection, user_id=make_user(connection, username="alice"), name="nightly", expires_at=str(SOON))
    vault, alice = Vault(), tokens.Selection((), users=("alice",))
    left_out = tokens.rotate(gitlab, tokens.Search(alice), vault, secrets_file=secrets, url=None).left_out
    assert "is a person's" in next(iter(left_out.values()))
    named = tokens.Search(replace(alice, kinds=frozenset({tokens.Kind.PERSONAL})))
    (outcome,) = tokens.rotate(gitlab, named, vault, secrets_file=secrets, url=None).outcomes
    assert outcome.is_done


def test_a_delivery_that_fails_takes_its_token_back_and_the_next_one_has_its_turn(
    gitlab: Address, secrets: Path
) -> None:
    class Full(Vault):
        def deliver(self, token: tokens.Secret, about: tokens.NewToken) -> None:
            if about.name == "first":
                raise tokens.DeliveryFailed("The vault has no room.")
            super().deliver(token, about)

    with make_engine(gitlab).begin() as connection:
        owner = make_user(connection, username="inventory", user_type=13)
        for name, day in (("first", SOON), ("second", LATER)):
            make_token(connection, user_id=owner, name=name, expires_at=str(day))
    search, vault = tokens.Search(SERVICE_ACCOUNTS), Full()
    done = tokens.rotate(gitlab, search, vault, secrets_file=secrets, url=None)
    assert [outcome.is_done for outcome in done.outcomes] == [False, True]
    assert list(vault.kept) == ["second"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secrets_file": "secrets.yml"}, "secrets_file takes a Path"),
        ({"expires_in": True}, "expires_in takes a number of days from 1 on, not True"),
        ({"expires_in": 1.5}, "expires_in takes a number of days"),
        ({"grace": 0}, "grace takes a number of days from 1 on, or None"),
        ({"url": 5}, "url takes a str"),
        ({"delivery": None}, "delivery takes a Delivery, not None"),
        ({"new_owner": 3}, "new_owner takes a text, not 3"),
        ({"new_owner": "a\0b"}, "new_owner takes a text"),
        ({"on_event": None}, "on_event takes a function, not None"),
    ],
)
def test_what_a_rotation_takes_is_looked_at_before_a_token_is_made(
    gitlab: Address, secrets: Path, wrong: dict[str, Any], said: str
) -> None:
    given = {"delivery": Vault(), "secrets_file": secrets, "url": None, **wrong}
    with pytest.raises(UsageError, match=said):
        tokens.rotate(gitlab, tokens.Search(SERVICE_ACCOUNTS), **given)


def test_who_hears_of_events_can_be_called_or_nothing_is_begun(gitlab: Address) -> None:
    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER))
    nobody: Any = None
    for call in (partial(tokens.apply, gitlab, planned), partial(tokens.undo, gitlab, 1)):
        with pytest.raises(UsageError, match="on_event takes a function, not None"):
            call(on_event=nobody)
    assert query(gitlab, "SELECT count(*) FROM token_tasks.runs")[0].count == 0


def test_a_persons_token_goes_to_a_service_account(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        deploy = make_user(connection, username="deploy", user_type=13)
        make_token(connection, user_id=make_user(connection, username="alice"), name="nightly", expires_at=str(SOON))
    search, vault = tokens.Search(tokens.Selection((), users=("alice",))), Vault()
    with pytest.raises(Refused, match="no-membership"):
        tokens.rotate(gitlab, search, vault, secrets_file=secrets, url=None, new_owner="deploy")
    allowed = ("no-membership",)
    done = tokens.rotate(gitlab, search, vault, secrets_file=secrets, url=None, new_owner="deploy", allow=allowed)
    (outcome,) = done.outcomes
    assert outcome.new is not None
    assert outcome.new.account == "deploy"
    assert query(gitlab, f"SELECT name FROM personal_access_tokens WHERE user_id = {deploy}")[0].name == "nightly"


@pytest.mark.parametrize("top", [0, -1, "all", True])
def test_a_number_of_dates_is_one(gitlab: str, top: Any) -> None:
    with pytest.raises(UsageError, match="from 1 on, or None for all"):
        tokens.analyze(gitlab, top=top)


@pytest.mark.parametrize("target", ["docker:gitlab", "omnibus", "demo", "nope"])
def test_a_target_is_an_address(target: str) -> None:
    with pytest.raises(UsageError, match="postgresql://"):
        tokens.analyze(target)


def test_the_verbs_need_no_invoke_and_importing_us_costs_no_driver() -> None:
    program = """
import sys, tokens
assert not {"invoke", "psycopg"} & set(sys.modules)
tokens.analyze, tokens.plan, tokens.apply, tokens.undo, tokens.rotate
sys.exit("invoke" in sys.modules or "prompt_toolkit" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_manuals_example_runs(gitlab: Address, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```python\n(import invoke_gitlab_tokens as tokens\n.*?)```", MANUAL.read_text(), re.DOTALL)
    assert found
    program = re.sub(r'"postgresql://[^"]*"', repr(url(gitlab)), found[1]).replace("2026-12-04", str(SOON))
    exec(compile(program.replace("2027-06-04", str(LATER)), MANUAL.name, "exec"), {})
    assert f"{SOON} 20" in capsys.readouterr().out
    assert query(gitlab, "SELECT count(*) FROM token_tasks.runs")[0].count == 2


@pytest.mark.parametrize(
    "search",
    [
        tokens.Search(SERVICE_ACCOUNTS, token="nihgtly"),
        tokens.Search(tokens.Selection((), kinds=SERVICE_ACCOUNTS.kinds, users=("inventory",))),
    ],
)
def test_a_token_that_is_named_and_not_there_is_an_error(gitlab: Address, secrets: Path, search: tokens.Search) -> None:
    with make_engine(gitlab).begin() as connection:
        make_user(connection, username="inventory", user_type=13)
    with pytest.raises(UsageError, match="There is no token"):
        tokens.rotate(gitlab, search, Vault(), secrets_file=secrets, url=None)


def test_what_cannot_be_rotated_is_left_out_with_its_reason(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        owner = make_user(connection, username="inventory", user_type=13, state="blocked")
        token = make_token(connection, user_id=owner, expires_at=str(SOON))
    done = tokens.rotate(gitlab, tokens.Search(SERVICE_ACCOUNTS), Vault(), secrets_file=secrets, url=None)
    assert (done.run, done.outcomes, list(done.left_out)) == (None, (), [token])
    assert "blocked" in done.left_out[token]


def test_a_rotation_that_was_stopped_goes_on_by_its_number(gitlab: Address, secrets: Path) -> None:
    with make_engine(gitlab).begin() as connection:
        owners = [make_user(connection, user_type=13) for _ in range(2)]
        for owner in owners:
            make_token(connection, user_id=owner, name=f"of {owner}", expires_at=str(SOON))
    vault, seen = Vault(), []

    def stop(event: object) -> None:
        seen.append(event)
        if isinstance(event, Rotated):
            raise KeyboardInterrupt

    search = tokens.Search(SERVICE_ACCOUNTS)
    with pytest.raises(KeyboardInterrupt):
        tokens.rotate(gitlab, search, vault, secrets_file=secrets, url=None, on_event=stop)
    began, rotated = seen
    assert isinstance(began, Began)
    assert isinstance(rotated, Rotated)
    assert len(vault.kept) == 1
    done = tokens.rotate(gitlab, began.run, vault, secrets_file=secrets, url=None)
    assert (done.run, [one.is_done for one in done.outcomes]) == (began.run, [True])
    assert len(vault.kept) == 2
    with pytest.raises(tokens.RunComplete, match="is complete: there is nothing to do"):
        tokens.rotate(gitlab, began.run, vault, secrets_file=secrets, url=None)


def test_what_a_run_raises_comes_out_of_a_pool_of_processes(gitlab: Address) -> None:
    tokens.apply(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER)))
    with pytest.raises(tokens.RunComplete) as complete:
        tokens.apply(gitlab, 1)
    failed = RunFailed(Refused("the server is gone"), 7, reversible=True, run=3)
    for error in (complete.value, failed):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_a_run_that_fails_says_its_number_before_and_after(gitlab: Address) -> None:
    before = everything(gitlab)
    events: list[object] = []

    def kill_the_session(event: object) -> None:
        events.append(event)
        if isinstance(event, BatchStarting):
            query(gitlab, KILL)

    with pytest.raises(RunFailed, match=r"was lost.* apply\(…, 1\) goes on with the run\.$") as fault:
        tokens.apply(gitlab, tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER)), on_event=kill_the_session)
    assert (fault.value.run, fault.value.changed) == (1, 0)
    assert events[0] == Began(1)
    assert everything(gitlab) == before
    assert tokens.apply(gitlab, 1, on_event=events.append) == tokens.Result(1, changed=20, recounted=20)
    assert events.count(Began(1)) == 2


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("first", [Began, BatchStarting])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ZeroDivisionError("why"), "an error ended it (ZeroDivisionError)"),
        (DatabaseError("Another one."), "Another one."),
        (KeyboardInterrupt(), "interrupted in the middle of a transaction"),
    ],
)
def test_what_the_caller_raises_in_the_middle_stops_the_run(
    gitlab: Address, jobs: int, first: type, fault: BaseException, said: str
) -> None:
    def fail(event: object) -> None:
        if isinstance(event, first):
            raise fault

    planned = tokens.plan(gitlab, on(SOON), tokens.Change(to=LATER))
    with pytest.raises(type(fault)) as caught:
        tokens.apply(gitlab, planned, jobs=jobs, on_event=fail)
    assert caught.value is fault
    (attempt,) = query(gitlab, "SELECT state, stopped_because FROM token_tasks.attempts JOIN token_tasks.runs ON true")
    assert attempt == ("stopped", said)
    tokens.apply(gitlab, 1)
    assert [row.expires_at for row in tokens.analyze(gitlab).dates] == [LATER]


def test_a_text_is_no_selection_of_dates() -> None:
    for text in ("", str(SOON)):
        with pytest.raises(UsageError, match="expires takes several of DateRange or None, not"):
            tokens.Selection(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [{"dryrun": True}, {"users": ["nobody"]}])
def test_a_task_that_is_called_with_an_argument_that_it_has_not_changes_nothing(
    gitlab: Address, words: dict[str, object]
) -> None:
    before = everything(gitlab)
    with pytest.raises(TypeError, match=f"extend has no argument {next(iter(words))}"):
        tokens.ns["extend"](invoke.Context(), target=url(gitlab), expires=[str(SOON)], by="5d", yes=True, **words)
    assert everything(gitlab) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"yes": "no"}, "yes takes True or False, not str"),
        ({"yes": 1}, "yes takes True or False, not int"),
        ({"by": 5}, "by takes a text, not int"),
        ({"by": ["5d"]}, "by takes a text, not list"),
        ({"user": [7]}, "user takes a text, not int"),
        ({"user": {"ada": True}}, "user takes a text, not dict"),
    ],
)
def test_a_task_that_is_called_with_a_value_of_another_type_changes_nothing(
    gitlab: Address, words: dict[str, object], said: str
) -> None:
    before = everything(gitlab)
    given = {"expires": [str(SOON)], "by": "5d", "yes": True} | words
    with pytest.raises(TypeError, match=said):
        tokens.ns["extend"](invoke.Context(), target=url(gitlab), **given)
    assert everything(gitlab) == before


def test_one_text_for_what_may_be_several_is_one_of_them(gitlab: Address, capsys: pytest.CaptureFixture[str]) -> None:
    tokens.ns["list"](invoke.Context(), target=url(gitlab), expires=str(SOON), output="ids")
    assert len(capsys.readouterr().out.splitlines()) == 20


def test_a_task_in_a_process_that_lives_on_leaves_its_garbage_to_the_collector(
    gitlab: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    before = gc.get_freeze_count(), gc.get_threshold()
    tokens.ns["analyze"](invoke.Context(), target=url(gitlab))
    assert (gc.get_freeze_count(), gc.get_threshold()) == before
    assert str(SOON) in capsys.readouterr().out


def test_a_host_whose_name_cannot_be_one_is_one_line() -> None:
    for host in ("db..example.com", "a" * 64 + ".example.com"):
        with pytest.raises(tokens.TokensError, match="No host can have the name in postgresql://"):
            tokens.analyze(f"postgresql://gitlab@{host}/gitlabhq_production")


def test_a_role_that_may_not_know_the_database_plans_and_changes(
    gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    execute(superuser(gitlab_database), "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    assert tokens.plan(gitlab_database, on(SOON), tokens.Change(to=LATER)).database is None

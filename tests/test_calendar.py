"""A forecast as a calendar, read back by the library and line by line."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_project, make_token, make_tokens, make_user
from tokens.address import Address
from tokens.inventory import forecast

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
SOON, LATER = TODAY + timedelta(5), TODAY + timedelta(40)
EVIL = 'a;b,c\\d"e\x1b[2J\u202e\nBEGIN:VALARM\r\nX:部署🚀' + "é" * 100

Made = Callable[..., tuple[str, list[Any]]]


@pytest.fixture
def made(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> Made:
    """The calendar as text, and its events as the library reads them."""

    def run(*words: str) -> tuple[str, list[Any]]:
        capsys.readouterr()
        assert typed("forecast", "--target", url(gitlab_database), "--output", "ics", *words) == 0
        text = capsys.readouterr().out
        return text, events_of(text)

    return run


def events_of(text: str) -> list[Any]:
    """The events of a calendar that holds to RFC 5545."""
    assert text.endswith("END:VCALENDAR\r\n")
    for line in text.removesuffix("\r\n").split("\r\n"):
        assert len(line.encode()) <= 75
        assert line.isprintable()
    (calendar,) = Calendar.from_ical(text, multiple=True)
    assert not calendar.errors
    assert not any(event.errors for event in calendar.events)
    return list(calendar.events)


def summaries(events: list[Any]) -> list[tuple[str, str]]:
    return [(str(event.DTSTART), str(event["SUMMARY"])) for event in events]


def calendar_uid(text: str) -> str:
    return str(Calendar.from_ical(text)["UID"])


@pytest.fixture
def tokens(gitlab_database: Address) -> None:
    """Two tokens of a project's bots on one day, others of a person, and a membership that ends."""
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        project = make_project(connection, namespace_id=group, path="web")
        for _ in range(2):
            bot = make_user(connection, user_type=6)
            make_membership(connection, user_id=bot, project_id=project)
            make_token(connection, user_id=bot, expires_at=SOON, name="top-secret")
        lost = make_user(connection, user_type=6)
        make_membership(connection, user_id=lost, group_id=group, expires_at=LATER)
        make_token(connection, user_id=lost, expires_at=LATER)
        make_tokens(connection, 3, user_id=make_user(connection, username="erika"), expires_at=SOON)


@pytest.mark.usefixtures("tokens")
def test_an_instance_has_one_event_a_date_with_what_to_type(made: Made, gitlab_database: Address) -> None:
    text, events = made()
    assert summaries(events) == [
        (str(SOON), "5 tokens expire"),
        (str(LATER), "1 token expires, 1 membership of bots ends"),
    ]
    assert "top-secret" not in text
    first = events[0]
    assert first["DESCRIPTION"].splitlines()[0] == "3 personal tokens"
    assert first["DESCRIPTION"].endswith(f"list --target '{url(gitlab_database)}' --expires {SOON}")
    (alarm,) = first.alarms.times
    assert alarm.trigger == SOON - timedelta(7)
    assert abs(datetime.now(UTC) - first.DTSTAMP) < timedelta(minutes=5)
    assert "DTSTART;VALUE=DATE:" in text


@pytest.mark.usefixtures("tokens")
def test_owners_who_are_named_have_one_event_a_date_each(made: Made) -> None:
    assert summaries(made("--group", "platform", "--user", "erika")[1]) == [
        (str(SOON), "2 tokens of platform/web expire"),
        (str(SOON), "3 tokens of erika expire"),
        (str(LATER), "1 token of platform expires"),
    ]
    event = made("--project", "platform/web")[1][0]
    assert event["DESCRIPTION"].endswith(f"--expires {SOON} --project platform/web")


@pytest.mark.usefixtures("tokens")
def test_an_event_lists_what_it_counts(made: Made) -> None:
    words = "--kind", "personal", "--state", "active,revoked", "--never-used"
    event = made(*words)[1][0]
    assert event["DESCRIPTION"].endswith(f"--expires {SOON} --kind personal --state active,revoked --never-used")
    kinds = made("--kind", "personal,project,membership")[1][0]["DESCRIPTION"]
    assert kinds.endswith(f"--expires {SOON} --kind membership,personal,project")
    of_user = made("--user", "erika", "--name", "*", "--scope", "api")[1]
    assert of_user[0]["DESCRIPTION"].endswith("--user erika --name '*' --scope api")


@pytest.mark.usefixtures("tokens")
def test_an_event_stays_the_same_from_run_to_run(made: Made, gitlab_database: Address) -> None:
    def uids(*words: str) -> list[str]:
        return [str(event.uid) for event in made(*words)[1]]

    by_owner = "--group", "platform", "--user", "erika"
    before, of_all = uids(*by_owner), uids()
    assert calendar_uid(made()[0]) == calendar_uid(made()[0]) != calendar_uid(made(*by_owner)[0])
    assert len({*before, *of_all}) == 5
    with make_engine(gitlab_database).begin() as connection:
        connection.exec_driver_sql("UPDATE users SET username = 'erika2' WHERE username = 'erika'")
        connection.exec_driver_sql("UPDATE personal_access_tokens SET name = 'another'")
    assert uids() == of_all
    assert uids("--group", "platform", "--user", "erika2") == before


def test_names_do_harm_to_no_calendar(made: Made, gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        below = make_group(connection, parent_id=make_group(connection, path="top"), path=EVIL)
        bot = make_user(connection, user_type=6)
        make_membership(connection, user_id=bot, group_id=below)
        make_token(connection, user_id=bot, expires_at=SOON)
    _, (event,) = made("--group", "top")
    assert event["SUMMARY"].startswith('1 token of top/a;b,c\\d"e\N{REPLACEMENT CHARACTER}[2J')
    assert event["SUMMARY"].endswith("é expires")
    assert len(list(event.walk("VALARM"))) == 1


def test_nothing_is_a_calendar_without_events(made: Made) -> None:
    assert made()[1] == []


def test_more_events_than_a_calendar_takes_are_refused(
    gitlab_database: Address, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast, "MOST_EVENTS", 1)
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection, username="erika")
        for day in (SOON, LATER):
            make_token(connection, user_id=person, expires_at=day)
    words = ["forecast", "--target", url(gitlab_database), "--output", "ics"]
    assert typed(*words, "--user", "erika") == 3
    assert capsys.readouterr().err.startswith("2 events are more than a calendar takes (1): choose fewer owners")
    assert typed(*words) == 0


def test_only_a_calendar_is_worth_its_library() -> None:
    """It takes a tenth of a second to import."""
    probe = "import sys, tokens.commands.forecast as _; print([name for name in sys.modules if name == 'icalendar'])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

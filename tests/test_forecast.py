"""How many tokens expire when, how they stand, and what monitoring is told."""

import csv
import io
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_token,
    make_tokens,
    make_user,
)
from tests.testbed.instance import Instance
from tokens.address import Address
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.kind import Kind, State
from tokens.inventory.breakdown import breakdown
from tokens.inventory.diagnosis import Verdict, diagnose
from tokens.inventory.due import due
from tokens.inventory.forecast import Day, Forecast, Interval, forecast
from tokens.inventory.gauges import gauges
from tokens.inventory.policy import facts
from tokens.inventory.report import report
from tokens.selection import EVERYTHING, Selection
from tokens.views import forecast as view

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
MONDAY = date(2026, 11, 30)
WORKING = replace(EVERYTHING, states=frozenset({State.ACTIVE}))


def after(days: int) -> date:
    return TODAY + timedelta(days)


def in_days(days: int) -> str:
    return f"{after(days):%Y-%m-%d (%a}, in {days} days)"


@pytest.fixture
def said(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The exit status of a task, and what it prints on its two streams."""

    def run(task: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = typed(task, "--target", url(gitlab_database), *words)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def tokens(gitlab_database: Address) -> None:
    """Tokens of all kinds around today: three of people in three days, one of a group's bot in twenty."""
    with make_engine(gitlab_database).begin() as connection:
        bot = make_user(connection, user_type=6)
        make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=after(10))
        person, retired = make_user(connection), make_user(connection, state="blocked")
        make_tokens(connection, 3, user_id=person, expires_at=after(3), scopes="---\n- api\n- sudo\n")
        make_token(connection, user_id=bot, expires_at=after(20), last_used_at="now", scopes="--- []\n")
        make_token(connection, user_id=make_user(connection, user_type=13), expires_at=after(200))
        make_token(connection, user_id=retired, impersonation=True, scopes="---\n- read_user\n")
        make_token(connection, user_id=person, expires_at=TODAY)
        make_token(connection, user_id=person, expires_at=after(3), revoked=True)
        make_token(connection, user_id=person, expires_at="infinity")


@pytest.mark.usefixtures("tokens")
def test_a_forecast_counts_what_works_and_ends(gitlab_database: Address) -> None:
    found = forecast(gitlab_database, EVERYTHING, 90)
    assert found.days == (
        Day(after(3), {Kind.PERSONAL: 3}),
        Day(after(10), {}, 1),
        Day(after(20), {Kind.GROUP: 1}),
    )
    assert (found.first, found.last, found.tokens) == (after(1), after(90), 4)
    buckets = list(found.buckets(Interval.WEEK))
    assert sum(bucket.tokens for bucket in buckets) == buckets[-1].total == 4
    assert all(bucket.last.weekday() == 6 for bucket in buckets[:-1])
    assert forecast(gitlab_database, Selection((), kinds=frozenset({Kind.GROUP})), 90).tokens == 1


def test_buckets_meet_and_end_with_their_week_or_month() -> None:
    found = Forecast(MONDAY + timedelta(2), date(2027, 2, 3), (Day(date(2027, 1, 31), {Kind.PROJECT: 2}),))
    weeks = list(found.buckets(Interval.WEEK))
    assert [(bucket.first, bucket.last) for bucket in weeks[:2]] == [
        (date(2026, 12, 2), date(2026, 12, 6)),
        (date(2026, 12, 7), date(2026, 12, 13)),
    ]
    months = list(found.buckets(Interval.MONTH))
    assert [(bucket.first, bucket.last, bucket.tokens) for bucket in months] == [
        (date(2026, 12, 2), date(2026, 12, 31), 0),
        (date(2027, 1, 1), date(2027, 1, 31), 2),
        (date(2027, 2, 1), date(2027, 2, 3), 0),
    ]
    assert len(list(found.buckets(Interval.DAY))) == 64


def test_a_day_with_more_than_a_fifth_says_how_to_spread_it() -> None:
    days = tuple(Day(MONDAY + timedelta(number), {Kind.PERSONAL: number * 4}) for number in range(1, 6))
    found = Forecast(MONDAY, MONDAY + timedelta(6), days)
    assert [day.tokens for day in found.cliffs] == [20, 16]
    lines = list(view.screen(found, Interval.DAY, 80, WORKING))
    assert max(len(line) for line in lines if not line.startswith("→")) <= 80
    spread = "gitlab-tokens extend --expires 2026-12-04 --to 2027-06-04 --stagger 30d --dry-run"
    assert lines[-1] == f"→ to spread them: {spread}"
    assert lines[-2].startswith("2026-12-04 (Fri, ")
    assert [line.split()[-1] for line in view.largest(found.fullest(1))] == ["kind", "personal"]


@pytest.mark.parametrize("days", [1_234, -100, -1_234])
def test_a_day_far_from_today_keeps_its_columns(days: int) -> None:
    far = Day(after(days), {Kind.PERSONAL: 20})
    found = Forecast(far.day, far.day, (far,))
    for heading, line in (list(view.screen(found, Interval.DAY, 80, WORKING))[:2], view.largest(found.fullest(1))):
        assert line.index(" 20 ") + len(" 20") == heading.index("Tokens") + len("Tokens")
    assert len(next(line for line in view.screen(found, Interval.DAY, 80, WORKING) if line.endswith("pp"))) == 80


def test_what_was_chosen_is_in_the_command_that_spreads_it() -> None:
    cliff = Day(MONDAY, {Kind.GROUP: 20, Kind.IMPERSONATION: 10})

    def command(selection: Selection, maximum: date | None = None) -> str:
        found = Forecast(MONDAY, MONDAY, (cliff,), maximum)
        return list(view.screen(found, Interval.DAY, 80, selection))[-1].partition("extend ")[2]

    end = "--to 2027-05-28 --stagger 30d --dry-run"
    assert command(WORKING) == f"--expires 2026-11-30 --kind impersonation,group {end}"
    named = replace(
        WORKING, kinds=frozenset({Kind.GROUP}), groups=("a", "b c"), name="x*", never_used=True, created_after=MONDAY
    )
    words = "--kind impersonation,group --group 'a,b c' --name 'x*' --created-after 2026-11-30 --never-used"
    assert command(named) == f"--expires 2026-11-30 {words} {end}"
    assert command(replace(WORKING, ids=(1,))) == command(replace(WORKING, states=frozenset(State))) == ""
    near = command(WORKING, maximum=MONDAY + timedelta(60))
    assert near.endswith("--to 2026-12-30 --stagger 30d --dry-run"), "the last of them is not beyond the maximum"
    (last,) = list(view.screen(Forecast(MONDAY, MONDAY, (cliff,), MONDAY + timedelta(20)), Interval.DAY, 80, WORKING))[
        -1:
    ]
    assert last == "The maximum lifetime allows no later date: rotate them before that day."


def test_the_command_that_spreads_a_day_can_be_typed(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=300)
        person = make_user(connection, username="erika")
        make_tokens(connection, 20, user_id=person, expires_at=after(30), scopes="---\n- api\n")
        make_tokens(connection, 20, user_id=person, impersonation=True, expires_at=after(30))
    *_, line = said("forecast", "--user", "erika")[1].splitlines()
    words = shlex.split(line.partition("gitlab-tokens ")[2])
    assert typed(*words) == 0
    status, printed, _ = said(words[0], *words[3:])
    assert (status, "extend the expiration date of 40 tokens" in printed) == (0, True)


def test_no_task_spreads_what_is_no_access_token() -> None:
    keys = Day(MONDAY, {OtherKind.SSH_KEY: 20})
    found = Forecast(MONDAY, MONDAY, (keys,), kinds=(OtherKind.SSH_KEY,))
    lines = list(view.screen(found, Interval.DAY, 80, WORKING))
    assert lines[-1].endswith(" has 100 % of all: 20 credentials.")


def test_a_bar_has_the_letter_of_what_is_most_of_it() -> None:
    many = Day(MONDAY, {Kind.PERSONAL: 10_000})
    few = Day(MONDAY + timedelta(1), {Kind.PERSONAL: 11, Kind.IMPERSONATION: 1, Kind.PROJECT: 2, Kind.GROUP: 4})
    lines = list(view.screen(Forecast(MONDAY, few.day, (many, few)), Interval.DAY, 80, WORKING))
    assert [set(line.split()[-1]) for line in lines[1:3]] == [{"p"}, {"p"}]


@pytest.mark.usefixtures("tokens")
def test_memberships_are_those_of_the_bots_whose_tokens_are_chosen(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        other = make_user(connection, user_type=6)
        place = make_project(connection, namespace_id=make_group(connection, path="platform"), path="web")
        make_membership(connection, user_id=other, project_id=place, expires_at=after(12))
        make_token(connection, user_id=other, expires_at=after(60))
        without = make_user(connection, user_type=6)
        make_membership(connection, user_id=without, group_id=make_group(connection), expires_at=after(13))

    def days(selection: Selection) -> list[int]:
        found = forecast(gitlab_database, selection, 90)
        return [(day.day - TODAY).days for day in found.days if day.memberships]

    assert days(EVERYTHING) == days(WORKING) == [10, 12, 13]
    assert days(replace(WORKING, groups=("platform",))) == [12]
    assert days(replace(WORKING, kinds=frozenset({Kind.GROUP}))) == [10]
    assert days(replace(WORKING, kinds=frozenset({Kind.PERSONAL}))) == []
    assert days(replace(WORKING, kinds=frozenset(), others=frozenset({OtherKind.MEMBERSHIP}))) == []


def test_a_membership_whose_end_is_past_goes_in_the_next_night(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        bot = make_user(connection, user_type=6)
        make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=after(-17))
        make_token(connection, user_id=bot, expires_at=after(300))
    found = forecast(gitlab_database, EVERYTHING, 7)
    assert [(day.day, day.memberships) for day in found.days] == [(after(1), 1)]
    assert said("check", "--warn", "7d")[0] == 5


def test_memberships_that_go_with_their_bot_before_they_end_do_not_end(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        bot = make_user(connection, user_type=6)
        for days in (5, 15):
            make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=after(days))
        make_token(connection, user_id=bot)
    for selection in (EVERYTHING, replace(EVERYTHING, kinds=frozenset({Kind.GROUP}))):
        found = forecast(gitlab_database, selection, 30)
        assert [(day.day, day.memberships) for day in found.days] == [(after(5), 1)]


@pytest.mark.usefixtures("tokens")
def test_memberships_have_a_row_of_their_own(said: Callable[..., tuple[int, str, str]]) -> None:
    lines = said("forecast", "--by", "day", "--until", "10d")[1].splitlines()
    assert lines[-3].split() == ["memberships", "of", "bots", "1", "m" * 16]
    assert lines[-1] == "Bars: p personal, m membership of a bot, which GitLab deletes with it."


def test_the_commonest_dates_to_come_are_those_of_gitlabs_script(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    """dates_when_most_of_tokens_expire.rb: every token with a date to come, revoked or not, the ten fullest dates."""
    with make_engine(gitlab_database).begin() as connection:
        make_every_kind(connection)
        person = make_user(connection)
        for days in range(15):
            make_tokens(connection, days + 1, user_id=person, expires_at=after(days), revoked=days % 2 == 0)
        make_token(connection, user_id=person, expires_at=after(-1))
        statement = """
            SELECT expires_at::text || ',' || count(*)
            FROM personal_access_tokens
            WHERE expires_at > (now() AT TIME ZONE 'UTC')::date
            GROUP BY expires_at
            ORDER BY count(*) DESC, expires_at
            LIMIT 10
        """
        expected = list(connection.exec_driver_sql(statement).scalars())
    words = ("forecast", "--sort", "tokens", "--first", "10", "--output", "csv")
    rows = csv.DictReader(io.StringIO(said(*words, "--state", "active,revoked")[1]))
    assert [f"{row['from']},{row['tokens']}" for row in rows] == expected
    (fullest,) = csv.DictReader(io.StringIO(said(*words[:4], "1", *words[5:])[1]))
    assert (fullest["from"], fullest["tokens"]) == (str(after(13)), "14"), "without --state those that work"


@pytest.mark.usefixtures("tokens")
def test_programs_get_the_forecast_in_both_forms(said: Callable[..., tuple[int, str, str]]) -> None:
    document = json.loads(said("forecast", "--by", "day", "--until", "30d", "--output", "json")[1])
    assert document["schema"] == 1
    assert [one for one in document["buckets"] if one["tokens"]] == [
        {"from": str(after(3)), "to": str(after(3)), "tokens": 3, "by_kind": {"personal": 3}, "memberships": 0},
        {"from": str(after(20)), "to": str(after(20)), "tokens": 1, "by_kind": {"group": 1}, "memberships": 0},
    ]
    rows = list(csv.DictReader(io.StringIO(said("forecast", "--by", "day", "--until", "30d", "--output", "csv")[1])))
    assert len(rows) == 30
    assert rows[2]["personal"] == "3"
    assert rows[9]["memberships"] == "1"
    _, line = said("forecast", "--sort", "tokens", "--first", "1")[1].splitlines()
    assert line == f"{in_days(3):<29}          3  3 personal"
    fullest = said("forecast", "--sort", "tokens", "--first", "1", "--output", "csv")[1].splitlines()[1:]
    assert fullest == [f"{after(3)},{after(3)},3,3,0,0,0,0,0,0"]


@pytest.mark.usefixtures("tokens")
def test_a_breakdown_has_every_kind_and_how_it_stands(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=90)
    found = breakdown(gitlab_database, EVERYTHING)
    kinds = {one.kind: one for one in found.kinds}
    assert set(kinds) == {Kind.PERSONAL, Kind.IMPERSONATION, Kind.GROUP, Kind.SERVICE_ACCOUNT}
    personal = kinds[Kind.PERSONAL]
    assert (personal.tokens, personal.active, personal.expired, personal.revoked) == (6, 4, 1, 1)
    assert (personal.week, personal.month, personal.quarter, personal.undated) == (3, 3, 3, 0)
    assert (personal.api, personal.sudo, personal.admin_mode, personal.never_used) == (4, 3, 0, 4)
    assert (kinds[Kind.IMPERSONATION].owner_inactive, kinds[Kind.IMPERSONATION].undated) == (1, 1)
    group = kinds[Kind.GROUP]
    assert (group.month, group.week, group.never_used, group.api) == (1, 0, 0, 1), "no scopes are api"
    assert found.demands.policy.maximum_lifetime == 90


@pytest.mark.usefixtures("tokens")
def test_a_breakdown_counts_the_same_where_a_database_takes_backslashes_in_strings_for_escapes(
    gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    expected = breakdown(gitlab_database, EVERYTHING).kinds
    with make_engine(superuser(gitlab_database)).begin() as connection:
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET standard_conforming_strings = off"))
    assert breakdown(gitlab_database, EVERYTHING).kinds == expected


@pytest.mark.usefixtures("tokens")
def test_a_breakdown_is_a_fact_a_line(said: Callable[..., tuple[int, str, str]]) -> None:
    lines = said("breakdown")[1].splitlines()
    assert "personal          3  have the scope sudo" in lines
    assert "maximum           none is set; GitLab gives new tokens 365 days at most" in lines
    assert not any("  0  " in line for line in lines)
    document = json.loads(said("breakdown", "--output", "json")[1])
    assert (document["schema"], document["policy"]["inactive_days"]) == (1, 30)


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("words", [("breakdown",), ("check", "--each")])
def test_on_a_narrow_terminal_lines_end_between_words(instance: Instance, words: Sequence[str], columns: int) -> None:
    name = "nightly build → to go on: gitlab-tokens demo.remove"
    with make_engine(instance.address).begin() as connection:
        make_token(connection, user_id=make_user(connection), expires_at=after(3), name=name)
    expected = " ".join(instance.run(*words).stdout.split())
    with instance.terminal(*words, size=(200, columns)) as program:
        program.wait()
        assert " ".join(" ".join(program.lines).split()).startswith(expected)
        assert not any(line.startswith("→") for line in program.lines)


def policy_of(address: Address, release: str | None = None) -> dict[str, str]:
    return {fact.subject: fact.text for fact in facts(breakdown(address, EVERYTHING, release=release).demands)}


def test_the_policy_is_told_in_words_a_fact_a_line(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection)
    free = policy_of(gitlab_database)
    assert free == {
        "new tokens": "must have a date",
        "service accounts": "their new tokens must have a date, too",
        "maximum": "none is set; GitLab gives new tokens 365 days at most",
        "access tokens": "enabled",
        "legacy tokens": "they can be made beside fine-grained ones",
        "runners": "can register by registration tokens, which GitLab will remove",
        "inactive bots": "at 00:00 UTC, 30 days after their last token's end, GitLab deletes them with their tokens",
        "maintenance mode": "off",
    }
    rule = {"enforce_granular_tokens": True, "granular_tokens_enforced_after": str(after(20))}
    with make_engine(gitlab_database).begin() as connection:
        make_settings(
            connection,
            require_personal_access_token_expiry=False,
            service_access_tokens_expiration_enforced=False,
            max_personal_access_token_lifetime=90,
            disable_personal_access_tokens=True,
            personal_access_token_settings=json.dumps(rule),
            allow_runner_registration_token=False,
            resource_access_tokens_settings=json.dumps({"inactive_resource_access_tokens_delete_after_days": 7}),
            maintenance_mode=True,
        )
        person = make_user(connection)
        make_tokens(connection, 2, user_id=person)
        make_token(connection, user_id=person, expires_at=after(91))
        make_token(connection, user_id=person, expires_at=after(90))
        make_token(connection, user_id=make_user(connection, user_type=13))
    strict = policy_of(gitlab_database)
    revokes = "GitLab revokes them three hours after that setting is next changed"
    assert strict == {
        "new tokens": "may have no date",
        "service accounts": "their new tokens may have no date",
        "maximum": f"90 days, today until {in_days(90)}",
        "beyond it": f"3 personal, 1 service-account; {revokes} → to see them: gitlab-tokens list --beyond-maximum",
        "access tokens": "disabled: none of any kind authenticates",
        "legacy tokens": f"from {in_days(20)} only fine-grained tokens can be made; older ones go on working",
        "runners": "register by authentication tokens alone",
        "inactive bots": "at 00:00 UTC, 7 days after their last token's end, GitLab deletes them with their tokens",
        "maintenance mode": strict["maintenance mode"],
    }
    assert strict["maintenance mode"].startswith("on: GitLab takes no changes from people")
    told = {one.subject: (one.verdict, one.text) for one in diagnose(gitlab_database)}
    assert {subject: told[subject][1] for subject in strict} == strict, "doctor has the same lines"
    warned = {subject for subject in strict if told[subject][0] is Verdict.WARN}
    assert warned == {"beyond it", "access tokens", "maintenance mode"}


@pytest.mark.each_release
def test_a_setting_that_a_release_does_not_have_is_no_line(
    gitlab_database_at: Callable[[str], Address], revision: str
) -> None:
    found = policy_of(gitlab_database_at(revision))
    release = tuple(map(int, revision.split(".")))
    assert ("new tokens" in found) == (release >= (17, 2))
    assert ("service accounts" in found) == (release >= (16, 6))
    assert ("legacy tokens" in found) == (release >= (19, 2))
    assert {"maximum", "access tokens", "runners", "inactive bots", "maintenance mode"} <= found.keys()


@pytest.mark.usefixtures("tokens")
def test_a_check_is_one_line_and_a_status(said: Callable[..., tuple[int, str, str]]) -> None:
    soon = f"4 tokens stop working within 30 days, 3 of them within 7, the first on {in_days(3)}"
    assert said("check") == (5, f"TOKENS CRITICAL - {soon}\n", "")
    assert said("check", "--kind", "group")[:2] == (
        5,
        f"TOKENS WARNING - 1 token stops working within 30 days, the first on {in_days(10)}\n",
    )
    assert said("check", "--warn", "2d")[:2] == said("check", "--warn", "2d", "--critical", "2d")[:2]
    assert said("check", "--warn", "2d", "--critical", "1d")[:2] == (
        0,
        "TOKENS OK - no token stops working within 2 days\n",
    )
    status, printed, _ = said("check", "--output", "json")
    assert status == 5
    document = json.loads(printed)
    assert (document["state"], document["expiring"], document["urgent"]) == ("critical", 4, 3)
    assert document["first"] == str(after(3))


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize("words", [["check"], ["check", "--output", "prometheus"], ["forecast"], ["breakdown"]])
def test_what_was_mistyped_does_not_count_as_none_for_ever_without_a_word(
    said: Callable[..., tuple[int, str, str]], words: list[str]
) -> None:
    status, printed, complaint = said(*words, "--scope", "aip")
    assert (status, printed) == (2, "")
    assert complaint.startswith('No token has the scope "aip", and GitLab has none of that name; did you mean api?')
    status, _, complaint = said(*words, "--name", "nihgtly*")
    assert status == 0
    assert complaint == 'NOTE: No token fulfils this, with any other options: name "nihgtly*".\n'
    assert said(*words, "--scope", "sudo", "--kind", "project")[::2] == (0, "")


def test_a_gitlab_without_tokens_is_no_fault_of_the_options(said: Callable[..., tuple[int, str, str]]) -> None:
    assert said("list")[2].startswith("NOTE: There is no token at all.\n")
    for task in ("check", "forecast", "breakdown"):
        assert said(task)[::2] == (0, "")


@pytest.mark.usefixtures("tokens")
def test_nagios_gets_its_own_contract(said: Callable[..., tuple[int, str, str]]) -> None:
    assert said("check", "--output", "nagios") == (
        2,
        f"TOKENS CRITICAL - 4 tokens stop working within 30 days, 3 of them within 7, the first on {in_days(3)}"
        " | expiring=4;0 urgent=3;;0 first_days=3;31:;8:\n",
        "",
    )
    once = f"TOKENS CRITICAL - 3 tokens stop working within 7 days, the first on {in_days(3)}"
    assert said("check", "--warn", "7d") == (5, f"{once}\n", "")
    assert said("check", "--output", "nagios", "--kind", "group")[0] == 1
    assert said("check", "--output", "nagios", "--kind", "project")[0] == 0
    wrong = (["--kind", "bot"], ["--user", "nobody"], ["--warn", "1d", "--critical", "7d"], ["--file", "x"])
    for words in (*wrong, ["--nope"], ["--user"], ["--each", "5"]):
        status, printed, complaint = said("check", "--output", "nagios", *words)
        assert (status, complaint) == (3, "")
        assert printed.startswith("TOKENS UNKNOWN - ")
        assert printed.count("\n") == 1


def test_a_token_that_goes_with_its_bot_before_its_date_is_an_alarm(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        bots = [make_user(connection, user_type=6) for _ in range(3)]
        ends = {bots[0]: (after(10), after(90)), bots[1]: (after(-3), None), bots[2]: (after(60), after(80))}
        made = {}
        for bot, (membership, token) in ends.items():
            make_membership(connection, user_id=bot, group_id=group, expires_at=membership)
            made[bot] = make_token(connection, user_id=bot, expires_at=token)
        make_token(connection, user_id=bots[0], expires_at=after(5))
        make_token(connection, user_id=bots[0], expires_at=after(-5))
        make_token(connection, user_id=bots[0], expires_at=after(90), revoked=True)
    found = due(gitlab_database, WORKING, 30, 7, most_of_each=10)
    assert (found.warning, found.urgent, found.days) == (3, 2, 1)
    assert [(one.id, int(one.ends_on.ordinal) - TODAY.toordinal()) for one in found.each] == [
        (made[bots[1]], 1),
        (made[bots[2]] + 1, 5),
        (made[bots[0]], 10),
    ]
    numbers = gauges(gitlab_database, WORKING, most_of_each=10)
    (groups,) = [one for one in numbers.kinds if one.kind is Kind.GROUP]
    assert groups.within == {7: 2, 30: 3, 60: 4, 90: 4}
    assert (str(groups.next), groups.unwarned, groups.undated) == (str(after(1)), 3, 1)
    assert numbers.cliff_ratio == 0.25
    assert [int(one.ends_on.ordinal) - TODAY.toordinal() for one in numbers.each] == [1, 5, 10, 60]
    status, printed, _ = said("check", "--group", "platform", "--critical", "3d")
    summary = "TOKENS CRITICAL - 3 tokens stop working within 30 days, 1 of them within 3, the first on tomorrow"
    assert (status, printed[: len(summary)].split(" on ")[0]) == (5, summary.split(" on ")[0])


@pytest.mark.parametrize("state", ["blocked", "banned", "deactivated", "ldap_blocked"])
def test_a_token_whose_owner_is_not_active_is_no_alarm(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]], state: str
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, user_id=make_user(connection, state=state), expires_at=after(3))
        make_token(connection, user_id=make_user(connection), expires_at=after(60))
    found = due(gitlab_database, EVERYTHING, 30, 7, most_of_each=10)
    assert (found.warning, found.urgent, found.first, found.each) == (0, 0, None, ())
    (personal,) = [one for one in gauges(gitlab_database, EVERYTHING).kinds if one.kind is Kind.PERSONAL]
    assert (personal.within, str(personal.next)) == ({7: 0, 30: 0, 60: 1, 90: 1}, str(after(60)))
    assert personal.by_state[State.ACTIVE] == 2  # as GitLab counts them
    assert said("check")[0] == 0
    assert said("simulate", "--nights", "30d", "--output", "json")[1].count('"difference"') == 0


def test_a_token_whose_successor_works_is_no_alarm(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection)
        renewed, dead = (make_token(connection, user_id=person, expires_at=after(3)) for _ in range(2))
        make_token(connection, user_id=person, expires_at=after(300), previous_personal_access_token_id=renewed)
        make_token(
            connection, user_id=person, expires_at=after(300), previous_personal_access_token_id=dead, revoked=True
        )
    found = due(gitlab_database, EVERYTHING, 30, 7)
    assert (found.warning, found.urgent, found.days) == (1, 1, 3)
    (personal,) = [one for one in gauges(gitlab_database, EVERYTHING).kinds if one.kind is Kind.PERSONAL]
    assert (personal.within[7], personal.by_state[State.ACTIVE]) == (1, 3)


@pytest.mark.usefixtures("tokens")
def test_prometheus_gets_points_in_time_and_few_series(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, printed, _ = said("check", "--output", "prometheus")
    assert status == 0
    assert printed.endswith("\n")
    samples = samples_of(printed)
    assert samples["gitlab_tokens", "personal", "expired"] == 1
    assert samples["gitlab_tokens", "impersonation", "active"] == 1
    assert samples["gitlab_tokens_expiring", "personal", "7d"] == 3
    midnight = datetime.combine(after(3), datetime.min.time(), UTC).timestamp()
    assert samples["gitlab_tokens_next_expiration_timestamp_seconds", "personal"] == midnight
    assert ("gitlab_tokens_next_expiration_timestamp_seconds", "project") not in samples
    written = tmp_path / "tokens.prom"
    assert said("check", "--output", "prometheus", "--file", str(written)) == (0, "", "")
    assert samples_of(written.read_text()).keys() == samples.keys()
    assert written.read_text().splitlines()[-1].startswith("gitlab_tokens_last_success_timestamp_seconds ")
    assert written.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [written]
    before = written.read_text()
    assert said("check", "--output", "prometheus", "--file", str(written), "--user", "nobody")[0] == 2
    assert written.read_text() == before
    nowhere = tmp_path / "no" / "x.prom"
    assert said("check", "--output", "prometheus", "--file", str(nowhere)) == (
        1,
        "",
        f'--file "{nowhere}" cannot be written: there is no folder {tmp_path}/no.\n',
    )
    assert said("check", "--output", "prometheus", "--file", str(tmp_path)) == (
        1,
        "",
        f'--file "{tmp_path}" is a folder: name a file in it, such as {tmp_path}/gitlab_tokens.prom.\n',
    )
    link = tmp_path / "link"
    link.symlink_to(written)
    for special in (link, Path("/dev/null")):
        status, _, complaint = said("check", "--output", "prometheus", "--file", str(special))
        assert (status, complaint) == (
            1,
            f'--file "{special}" is no plain file, and nothing else is replaced; leave it out.\n',
        )
    assert (written.read_text(), link.is_symlink(), Path("/dev/null").is_char_device()) == (before, True, True)


def samples_of(text: str) -> dict[tuple[str, ...], float]:
    """What Prometheus reads, by name and the labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_every_kind(connection: sa.Connection) -> None:
    """One token of each kind that expires soon, and one of a bot of GitLab's own."""
    group, project = make_group(connection), make_project(connection)
    bots = [make_user(connection, user_type=6) for _ in range(2)]
    make_membership(connection, user_id=bots[0], group_id=group)
    make_membership(connection, user_id=bots[1], project_id=project)
    for owner in (
        *bots,
        make_user(connection),
        make_user(connection, user_type=13),
        make_user(connection, user_type=1),
    ):
        make_token(connection, user_id=owner, expires_at=after(3))
    make_token(connection, user_id=make_user(connection), impersonation=True, expires_at=after(3))


def test_monitoring_counts_what_check_counts_also_of_gitlabs_own_bots(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_every_kind(connection)
    samples = samples_of(said("check", "--output", "prometheus")[1])
    within = sum(value for name, value in samples.items() if name[0] == "gitlab_tokens_expiring" and "30d" in name)
    assert within == json.loads(said("check", "--output", "json")[1])["expiring"] == 6
    assert samples["gitlab_tokens_expiring", "other", "30d"] == 1
    assert json.loads(said("list", "--kind", "other", "--output", "json")[1])["tokens"][0]["kind"] == "other"
    rows = csv.DictReader(io.StringIO(said("forecast", "--by", "day", "--output", "csv")[1]))
    assert sum(int(row["other"]) for row in rows) == 1


def test_prometheus_gets_no_numbers_of_kinds_that_were_not_asked_for(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_every_kind(connection)
    for kinds in ("project", "project,ssh-key", "ssh-key"):
        samples = samples_of(said("check", "--kind", kinds, "--output", "prometheus")[1])
        assert {name[1] for name in samples if name[0] == "gitlab_tokens"} == set(kinds.split(","))


def test_prometheus_gets_seventy_series_at_most(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=2)
        make_every_kind(connection)
    samples = samples_of(said("check", "--output", "prometheus")[1])
    assert len(samples) == 70
    assert {name for name, *_ in samples} == {
        "gitlab_tokens",
        "gitlab_tokens_beyond_maximum",
        "gitlab_tokens_cliff_ratio",
        "gitlab_tokens_expiring",
        "gitlab_tokens_info",
        "gitlab_tokens_last_success_timestamp_seconds",
        "gitlab_tokens_next_expiration_timestamp_seconds",
        "gitlab_tokens_scrape_duration_seconds",
        "gitlab_tokens_unwarned_expiring",
        "gitlab_tokens_without_expiration",
    }
    assert {kind: samples["gitlab_tokens_beyond_maximum", kind] for kind in ("personal", "group")} == {
        "personal": 1,
        "group": 1,
    }


def test_prometheus_is_told_whom_nobody_warns_and_which_share_the_fullest_day_has(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_every_kind(connection)
        make_token(connection, user_id=make_user(connection, user_type=13), expires_at=after(31))
        blocked = make_user(connection, state="blocked")
        make_token(connection, user_id=blocked, expires_at=after(4))
        make_token(connection, user_id=make_user(connection), expires_at=after(120))
    samples = samples_of(said("check", "--output", "prometheus")[1])
    unwarned = {kind: samples["gitlab_tokens_unwarned_expiring", kind.value] for kind in Kind}
    assert unwarned == {
        Kind.PERSONAL: 0,
        Kind.IMPERSONATION: 1,
        Kind.PROJECT: 1,
        Kind.GROUP: 1,
        Kind.SERVICE_ACCOUNT: 1,
        Kind.OTHER: 1,
    }
    assert samples["gitlab_tokens_cliff_ratio",] == pytest.approx(6 / 7)
    listed = json.loads(said("list", "--within", "30d", "--columns", "kind,flags", "--output", "json")[1])["tokens"]
    flagged = [
        token["kind"]
        for token in listed
        if {"nobody-warned", "owner-inactive"} & {*token["flags"]} == {"nobody-warned"}
    ]
    assert sorted(flagged) == sorted(kind for kind, number in unwarned.items() if number)


def unwarned_of(address: Address, said: Callable[..., tuple[int, str, str]]) -> set[str]:
    """The names of the tokens that nobody is warned of, in which `list`, `report`, `check` and `simulate` agree."""
    listed = json.loads(said("list", "--columns", "name,flags", "--output", "json")[1])["tokens"]
    flagged = {token["name"] for token in listed if "nobody-warned" in token["flags"]}
    assert {row.name for row in report(address, EVERYTHING).unwarned.rows} == flagged
    assert sum(kind.unwarned for kind in gauges(address, WORKING).kinds) == len(flagged)
    simulated = json.loads(said("simulate", "--nights", "85d", "--output", "json", "--first", "all")[1])["tokens"]
    assert not {token["name"] for token in simulated if any(at != "expired" for at in notices_of(token))} & flagged
    return flagged


def notices_of(token: dict[str, Any]) -> list[str]:
    return [notice["notice"] for notice in token["notices"]]


def test_a_token_that_goes_with_its_bot_before_its_own_mail_is_one_that_nobody_is_warned_of(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        make_membership(connection, user_id=make_user(connection), group_id=group, access_level=50)
        bot, stays = (make_user(connection, user_type=6) for _ in range(2))
        make_membership(connection, user_id=bot, group_id=group, expires_at=after(10))
        make_membership(connection, user_id=stays, group_id=group)
        for name, days in {"undated": None, "far": 300, "mail on that day": 70, "mail before": 69, "soon": 20}.items():
            make_token(connection, user_id=bot, name=name, expires_at=None if days is None else after(days))
        make_token(connection, user_id=stays, name="stays, undated")
        make_token(connection, user_id=stays, name="stays", expires_at=after(20))
    assert unwarned_of(gitlab_database, said) == {"undated", "far", "mail on that day"}


def test_a_mail_that_comes_an_hour_after_the_end_warns_nobody(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        for days in (1, 2):
            make_token(connection, user_id=owner, name=f"in {days}", expires_at=after(days))
    listed = json.loads(said("list", "--columns", "name,flags", "--output", "json")[1])["tokens"]
    assert [token["name"] for token in listed if "nobody-warned" in token["flags"]] == ["in 1"]
    assert sum(kind.unwarned for kind in gauges(gitlab_database, WORKING).kinds) == 1


def test_a_notice_of_an_earlier_date_warns_nobody(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    delivered, seven, thirty = (
        "expire_notification_delivered",
        "seven_days_notification_sent_at",
        "thirty_days_notification_sent_at",
    )
    stale: dict[str, tuple[int, dict[str, Any]]] = {
        "of last year": (20, {delivered: True, seven: f"{after(-352)} 01:00+00"}),
        "of two days before these": (5, {delivered: True, seven: f"{after(-3)} 23:59:59+00"}),
        "of the backfill": (20, {delivered: True, seven: f"{after(13)} 00:00+00"}),
        "without its time, before the seven days": (20, {delivered: True}),
    }
    in_time: dict[str, tuple[int, dict[str, Any]]] = {
        "of the first day": (5, {delivered: True, seven: f"{after(-2)} 00:00+00"}),
        "without its time, within seven days": (5, {delivered: True}),
        "another comes": (20, {thirty: f"{after(-100)} 01:00+00"}),
        "thirty days before": (6, {delivered: True, seven: "2020-01-01", thirty: f"{after(-20)} 01:00+00"}),
        "none yet": (20, {}),
    }
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        for name, (days, sent) in (stale | in_time).items():
            make_token(connection, user_id=owner, name=name, expires_at=after(days), **sent)
    assert unwarned_of(gitlab_database, said) == {*stale}


def test_each_token_is_a_line_or_a_series_up_to_a_limit(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]]
) -> None:
    evil = 'a|b\n\x1b[2J"\\' + "x" * 300
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection, username="erika")
        first = make_token(connection, user_id=person, expires_at=after(3), name=evil)
        make_token(connection, user_id=person, expires_at=after(100))
        make_token(connection, user_id=person)
    status, printed, _ = said("check", "--each")
    summary, line = printed.splitlines()
    assert (status, summary.startswith("TOKENS CRITICAL - 1 token stops")) == (5, True)
    assert line.startswith(f'{in_days(3)}: personal token {first} of erika, "a|b\ufffd\ufffd[2J')
    assert said("check", "--each", "--output", "nagios")[1].count("|") == 1
    assert [one["name"] for one in json.loads(said("check", "--each", "--output", "json")[1])["tokens"]] == [evil]
    assert "tokens" not in json.loads(said("check", "--output", "json")[1])
    series = list(series_of(said("check", "--each", "--output", "prometheus")[1]))
    assert [labels[:3] for labels in series] == [
        (str(first), "personal", "erika"),
        (str(first + 1), "personal", "erika"),
    ]
    assert all(len(labels[3]) <= 200 and labels[3].isprintable() for labels in series)
    assert said("check", "--each", "--at-most", "2", "--output", "prometheus")[0] == 0
    assert said("check", "--each", "--at-most", "1")[0] == 5, "a line is for what is due"
    status, printed, complaint = said("check", "--each", "--at-most", "1", "--output", "prometheus")
    assert (status, printed) == (3, "")
    assert complaint.startswith("--each would show more than 1 tokens, which is too much for monitoring: choose fewer")


def test_the_farthest_date_has_a_series(gitlab_database: Address, said: Callable[..., tuple[int, str, str]]) -> None:
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection, username="erika")
        for day in ("15000-01-01", "5874800-12-31", "infinity"):
            make_token(connection, user_id=person, expires_at=day, name=day)
    series = series_of(said("check", "--each", "--output", "prometheus")[1])
    assert [name for *_, name in series] == ["15000-01-01", "5874800-12-31"]


def series_of(text: str) -> Iterator[tuple[str, ...]]:
    """The labels of each series of a single token."""
    for family in text_string_to_metric_families(text):
        if family.name == "gitlab_token_expiration_timestamp_seconds":
            for sample in family.samples:
                yield tuple(sample.labels[name] for name in ("id", "kind", "owner", "name"))


def test_a_check_names_ids_that_come_to_nothing(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        made = make_token(connection, user_id=make_user(connection), expires_at=after(3))
        other = make_token(connection, impersonation=True, expires_at=after(3))
    named = tmp_path / "ids"
    named.write_text(f"{made} {other} 999999")
    words = ("--ids", str(named), "--kind", "personal")
    left_out = f"1 of 3 ids is of a token that the other options leave out: {other}."
    notes = ["1 of 3 ids is no token's: 999999.", left_out]
    told = "".join(f"NOTE: {note}\n" for note in notes)
    for output in ("text", "prometheus"):
        assert said("check", *words, "--output", output)[2] == told
    status, printed, complaint = said("check", *words, "--output", "nagios")
    assert (status, printed.partition("\n")[2], complaint) == (2, told, "")
    assert json.loads(said("check", *words, "--output", "json")[1])["notes"] == notes
    assert said("forecast", *words)[2] == told
    assert json.loads(said("forecast", *words, "--output", "json")[1])["notes"] == notes
    assert said("forecast", *words, "--output", "ics")[2] == told
    assert said("breakdown", *words)[2] == told


@pytest.mark.each_release
def test_every_release_can_be_counted(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        make_token(connection, expires_at=after(3))
    assert forecast(address, EVERYTHING, 30).tokens == 1
    assert due(address, EVERYTHING, 30, 7).urgent == 1
    assert [one.active for one in breakdown(address, EVERYTHING).kinds] == [1]
    found = gauges(address, EVERYTHING, most_of_each=1)
    assert sum(one.by_state[State.ACTIVE] for one in found.kinds) == 1
    assert len(found.each) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["forecast", "--until", "2020-01-01"], "--until takes a period or a day from tomorrow on"),
        (["forecast", "--until", "soon"], "--until takes a period such as 30d, 2w, 3m or 1y"),
        (["forecast", "--by", "year"], '--by takes day, week or month, not "year".'),
        (["forecast", "--first", "3"], "--first is about the fullest days: use --sort tokens with it."),
        (
            ["forecast", "--by", "month", "--sort", "tokens"],
            "--sort tokens shows the fullest days: leave --by month out.",
        ),
        (
            ["check", "--warn", "1d", "--critical", "7d"],
            "--critical 7d is longer than --warn 1d: a warning comes first.",
        ),
        (["check", "--state", "expired"], 'check has no option "--state"'),
        (["forecast", "--output", "ics", "--sort", "tokens"], "--sort tokens is about lines, and a calendar has its"),
        (["forecast", "--state", "expired"], "A token that has expired has no date to come: use list --state expired"),
        (["forecast", "--within", "30d"], 'forecast has no option "--within"'),
        (["check", "--at-most", "5"], "--at-most is about the tokens of --each: use both."),
        (["check", "--each", "--at-most", "0"], '--at-most takes a number of tokens, not "0".'),
        (["check", "--file", "x"], "--file is where --output prometheus is written: use both."),
    ],
)
def test_what_cannot_be_counted_is_one_line(
    said: Callable[..., tuple[int, str, str]], words: list[str], message: str
) -> None:
    status, printed, complaint = said(*words)
    assert (status, printed) == (2, "")
    assert complaint.startswith(message)
    assert complaint.count("\n") == 1

"""How many tokens expire when, how they stand, and what monitoring is told."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.factories import make_group, make_membership, make_settings, make_token, make_tokens, make_user
from tokens.address import Address
from tokens.engine import make_engine
from tokens.gitlab.kind import Kind, State
from tokens.inventory.breakdown import breakdown
from tokens.inventory.due import due, gauges
from tokens.inventory.forecast import Day, Forecast, Step, forecast
from tokens.selection import EVERYTHING, Selection
from tokens.views import forecast as view

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
MONDAY = date(2026, 11, 30)


def after(days: int) -> date:
    return TODAY + timedelta(days)


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
    buckets = list(found.buckets(Step.WEEK))
    assert sum(bucket.tokens for bucket in buckets) == buckets[-1].total == 4
    assert all(bucket.last.weekday() == 6 for bucket in buckets[:-1])
    assert forecast(gitlab_database, Selection((), kinds=frozenset({Kind.GROUP})), 90).tokens == 1


def test_buckets_meet_and_end_with_their_week_or_month() -> None:
    found = Forecast(MONDAY + timedelta(2), date(2027, 2, 3), (Day(date(2027, 1, 31), {Kind.PROJECT: 2}),))
    weeks = list(found.buckets(Step.WEEK))
    assert [(bucket.first, bucket.last) for bucket in weeks[:2]] == [
        (date(2026, 12, 2), date(2026, 12, 6)),
        (date(2026, 12, 7), date(2026, 12, 13)),
    ]
    months = list(found.buckets(Step.MONTH))
    assert [(bucket.first, bucket.last, bucket.tokens) for bucket in months] == [
        (date(2026, 12, 2), date(2026, 12, 31), 0),
        (date(2027, 1, 1), date(2027, 1, 31), 2),
        (date(2027, 2, 1), date(2027, 2, 3), 0),
    ]
    assert len(list(found.buckets(Step.DAY))) == 64


def test_a_day_with_more_than_a_fifth_says_how_to_spread_it() -> None:
    days = tuple(Day(MONDAY + timedelta(number), {Kind.PERSONAL: number * 4}) for number in range(1, 6))
    found = Forecast(MONDAY, MONDAY + timedelta(6), days)
    assert [day.tokens for day in found.cliffs] == [20, 16]
    lines = list(view.screen(found, Step.DAY, 80))
    assert max(len(line) for line in lines if not line.startswith("→")) <= 80
    spread = "gitlab-tokens extend --expires 2026-12-04 --to 2027-06-04 --stagger 30d --dry-run"
    assert lines[-1] == f"→ to spread them: {spread}"
    assert [line.split()[-1] for line in view.largest(found.fullest(1))] == ["kind", "personal"]


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
    assert said("forecast", "--sort", "tokens", "--first", "1")[1].count("\n") == 2
    fullest = said("forecast", "--sort", "tokens", "--first", "1", "--output", "csv")[1].splitlines()[1:]
    assert fullest == [f"{after(3)},{after(3)},3,3,0,0,0,0,0"]


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
    assert found.policy.maximum_lifetime == 90


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
    assert "personal         3  have the scope sudo" in lines
    assert "maximum          no maximum lifetime is set" in lines
    assert not any("  0  " in line for line in lines)
    document = json.loads(said("breakdown", "--output", "json")[1])
    assert (document["schema"], document["policy"]["inactive_days"]) == (1, 30)


@pytest.mark.usefixtures("tokens")
def test_a_check_is_one_line_and_a_status(said: Callable[..., tuple[int, str, str]]) -> None:
    soon = f"4 tokens stop working within 30 days, 3 of them within 7, the first on {after(3)}"
    assert said("check") == (5, f"TOKENS CRITICAL - {soon}\n", "")
    assert said("check", "--kind", "group")[:2] == (
        5,
        f"TOKENS WARNING - 1 tokens stop working within 30 days, the first on {after(20)}\n",
    )
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
    assert complaint == 'NOTE: No token fulfils this, whatever the other options say: name "nihgtly*".\n'
    assert said(*words, "--scope", "sudo", "--kind", "project")[::2] == (0, "")


def test_a_gitlab_without_tokens_is_no_fault_of_the_options(said: Callable[..., tuple[int, str, str]]) -> None:
    assert said("list")[2].startswith("NOTE: There is no token at all.\n")
    for task in ("check", "forecast", "breakdown"):
        assert said(task)[::2] == (0, "")


@pytest.mark.usefixtures("tokens")
def test_nagios_gets_its_own_contract(said: Callable[..., tuple[int, str, str]]) -> None:
    assert said("check", "--output", "nagios") == (
        2,
        f"TOKENS CRITICAL - 4 tokens stop working within 30 days, 3 of them within 7, the first on {after(3)}"
        " | expiring=4;0 urgent=3;;0 first_days=3;30;7\n",
        "",
    )
    assert said("check", "--output", "nagios", "--kind", "group")[0] == 1
    assert said("check", "--output", "nagios", "--kind", "project")[0] == 0
    for words in (["--kind", "bot"], ["--user", "nobody"], ["--warn", "1d"], ["--file", "x"]):
        status, printed, complaint = said("check", "--output", "nagios", *words)
        assert (status, complaint) == (3, "")
        assert printed.startswith("TOKENS UNKNOWN - ")
        assert printed.count("\n") == 1


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
    (personal,) = [one for one in gauges(gitlab_database, EVERYTHING) if one.kind is Kind.PERSONAL]
    assert (personal.within[7], personal.by_state[State.ACTIVE]) == (1, 3)


@pytest.mark.usefixtures("tokens")
def test_prometheus_gets_points_in_time_and_few_series(
    gitlab_database: Address, said: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, printed, _ = said("check", "--output", "prometheus")
    assert status == 0
    assert printed.endswith("\n")
    samples: dict[tuple[str, ...], float] = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(printed)
        for sample in family.samples
    }
    assert len(samples) <= 60
    assert samples["gitlab_tokens", "personal", "expired"] == 1
    assert samples["gitlab_tokens", "impersonation", "active"] == 1
    assert samples["gitlab_tokens_expiring", "personal", "7d"] == 3
    midnight = datetime.combine(after(3), datetime.min.time(), UTC).timestamp()
    assert samples["gitlab_tokens_next_expiration_timestamp_seconds", "personal"] == midnight
    assert ("gitlab_tokens_next_expiration_timestamp_seconds", "project") not in samples
    written = tmp_path / "tokens.prom"
    assert said("check", "--output", "prometheus", "--file", str(written)) == (0, "", "")
    assert written.read_text().splitlines()[:-1] == printed.splitlines()[:-1]
    assert written.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [written]
    before = written.read_text()
    assert said("check", "--output", "prometheus", "--file", str(written), "--user", "nobody")[0] == 2
    assert written.read_text() == before
    assert said("check", "--output", "prometheus", "--file", str(tmp_path / "no" / "x.prom"))[0] == 1
    link = tmp_path / "link"
    link.symlink_to(written)
    for special in (link, tmp_path, Path("/dev/null")):
        status, _, complaint = said("check", "--output", "prometheus", "--file", str(special))
        assert (status, complaint) == (
            1,
            f'--file "{special}" is no plain file, and nothing else is replaced; leave it out.\n',
        )
    assert (written.read_text(), link.is_symlink(), Path("/dev/null").is_char_device()) == (before, True, True)


@pytest.mark.each_release
def test_every_release_can_be_counted(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        make_token(connection, expires_at=after(3))
    assert forecast(address, EVERYTHING, 30).tokens == 1
    assert due(address, EVERYTHING, 30, 7).urgent == 1
    assert [one.active for one in breakdown(address, EVERYTHING).kinds] == [1]
    assert sum(one.by_state["active"] for one in as_dicts(address)) == 1


def as_dicts(address: Address) -> list[Any]:
    return list(gauges(address, EVERYTHING))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["forecast", "--until", "2020-01-01"], "--until takes a period or a day from tomorrow on"),
        (["forecast", "--until", "soon"], "--until takes a period such as 30d, 2w, 3m or 1y"),
        (["forecast", "--by", "year"], '--by takes day, week or month, not "year".'),
        (["forecast", "--first", "3"], "--first is about the fullest days: use --sort tokens with it."),
        (["check", "--warn", "1d"], "--critical 7d is longer than --warn 1d: a warning comes first."),
        (["check", "--state", "expired"], 'check has no option "--state"'),
        (["forecast", "--within", "30d"], 'forecast has no option "--within"'),
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

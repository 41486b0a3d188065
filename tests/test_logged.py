"""With a log the other tasks say how tokens are used: columns of a list, an alarm, a page, and a note in each plan."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.testbed import logs
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_token, make_tokens, make_user
from tests.testbed.instance import LATER, SOON, TODAY, Instance
from tests.testbed.logs import Reason, Use
from tests.testbed.program import CHECKOUT
from tokens.usage.reading import Usage
from tokens.views import logged as view
from tokens.views.logged import Use as Sum

GONE = TODAY - timedelta(3)
DAYS = [TODAY - timedelta(days) for days in range(6, -1, -1)]


@dataclass(frozen=True)
class Logged:
    """An instance with tokens, and its log of the last seven days."""

    instance: Instance
    log: Path
    daily: int
    busy: int
    weekly: int
    dead: int
    revoked: int


@pytest.fixture
def logged(instance: Instance, tmp_path: Path) -> Logged:
    """Beside the tokens of `instance` one used daily by one address, one by two, one weekly, two dead ones tried."""
    with make_engine(instance.address).begin() as connection:
        robot = make_user(connection, username="robot", user_type=13)
        daily, busy, weekly = make_tokens(connection, 3, user_id=robot, expires_at=SOON)
        group = make_group(connection, path="platform")
        bot = make_user(connection, user_type=6)
        make_membership(connection, user_id=bot, group_id=group)
        dead = make_token(connection, user_id=bot, expires_at=GONE, name="deploy")
        revoked = make_token(connection, user_id=robot, expires_at=LATER, revoked=True, name="old")
    uses = [
        Use(daily, 24),
        Use(busy, 100),
        Use(busy, 20, address="2001:db8::17"),
        Use(weekly, 7, days=[DAYS[0]]),
        Use(dead, 30, refused=Reason.EXPIRED, every=3),
        Use(revoked, 2, refused=Reason.REVOKED),
        Use(revoked, 1, refused=Reason.REVOKED, address="2001:db8::17"),
        Use(10**9, 5),  # another GitLab's
    ]
    log = logs.gzipped(tmp_path / "api_json.log.1.gz", logs.written(uses, DAYS).lines)
    return Logged(instance, log, daily, busy, weekly, dead, revoked)


def table(printed: str) -> dict[int, list[str]]:
    """The rows of a list by the id that each begins with."""
    return {int(line.split()[0]): line.split() for line in printed.splitlines()[1:]}


def test_a_list_has_calls_a_day_and_refused_tries(logged: Logged) -> None:
    done = logged.instance.run("list", "--log", logged.log, "--kind", "service-account", "--state", "active,revoked")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split()[-3:] == ["Used", "Calls/day", "Refused"]
    assert {id_: row[-2:] for id_, row in table(done.stdout).items()} == {
        logged.daily: ["24", "0"],
        logged.busy: ["120", "0"],
        logged.weekly: ["1", "0"],
        logged.revoked: ["0", "21"],
    }
    assert f"The log reaches from {DAYS[0]} to {DAYS[-1]} (7 days)." in done.stderr


def test_a_narrow_terminal_has_a_line_a_token_with_them_too(logged: Logged) -> None:
    words = ("list", "--log", logged.log, "--kind", "service-account")
    with logged.instance.terminal(*words, size=(24, 80)) as program:
        assert program.wait() == 0
        heading = next(line for line in program.text.splitlines() if line.startswith("Id"))
    assert heading.split() == ["Id", "Expires", "In", "Kind", "Owner", "Name", "Calls/day", "Refused"]


def test_programs_get_them_as_numbers_and_a_flag(logged: Logged) -> None:
    words = ("--log", logged.log, "--state", "expired,revoked", "--columns", "id,calls,refused,flags")
    document = logged.instance.json("list", *words, "--sort=-refused")
    assert document["tokens"] == [
        {"id": logged.dead, "calls_a_day": 0, "refused": 210, "flags": ["clean-up", "failed-tries"]},
        {"id": logged.revoked, "calls_a_day": 0, "refused": 21, "flags": ["failed-tries"]},
    ]
    printed = logged.instance.run("list", *words, "--output", "csv").stdout
    assert printed.splitlines() == [
        "id,calls_a_day,refused,flags",
        f"{logged.dead},0,210,clean-up failed-tries",
        f"{logged.revoked},0,21,failed-tries",
    ]


def test_the_busiest_comes_first_where_that_is_wanted(logged: Logged) -> None:
    words = ("list", "--log", logged.log, "--sort=-calls", "--first", "3", "--output", "ids")
    assert logged.instance.done(*words).split() == [str(logged.busy), str(logged.daily), str(logged.weekly)]
    mixed = logged.instance.json("list", "--log", logged.log, "--sort=-calls", "--kind", "service-account,ssh-key")
    assert [one["id"] for one in mixed["tokens"]] == [logged.busy, logged.daily, logged.weekly]


def test_without_a_log_nobody_knows_how_often(logged: Logged) -> None:
    assert logged.instance.refusal("list", "--columns", "id,calls", status=2) == (
        "calls_a_day comes from a log: use --log FILE with it."
    )
    assert "calls_a_day" not in logged.instance.json("list", "--first", "1")["tokens"][0]
    assert 'no file "/nowhere"' in logged.instance.refusal("list", "--log", "/nowhere", status=2)


def test_an_expired_token_that_is_tried_is_an_alarm(logged: Logged) -> None:
    words = ("check", "--warn", "5d")
    assert logged.instance.run(*words).returncode == 0
    done = logged.instance.run(*words, "--log", logged.log)
    assert done.returncode == 5
    assert done.stdout == ("TOKENS CRITICAL - no token stops working within 5 days; 1 expired token is still tried\n")
    done = logged.instance.run(*words, "--log", logged.log, "--output", "nagios")
    assert done.returncode == 2
    assert done.stdout.strip().endswith("| expiring=0;0 urgent=0;;0 expired_in_use=1;;0")
    with logged.log.open("ab") as log:
        log.write(b"no gzip")
    done = logged.instance.run(*words, "--log", logged.log, "--output", "nagios")
    [note] = done.stdout.splitlines()[1:]
    assert note == f"NOTE: {logged.log} ends too early, or is damaged inside; what comes before was counted."
    document = json.loads(logged.instance.run(*words, "--log", logged.log, "--output", "json").stdout)
    assert (document["state"], document["expired_in_use"]) == ("critical", 1)
    assert logged.instance.run(*words, "--log", logged.log, "--kind", "personal").returncode == 0


def test_prometheus_gets_it_by_kind(logged: Logged) -> None:
    def numbers(*words: object) -> dict[str, float]:
        printed = logged.instance.run("check", "--output", "prometheus", *words).stdout
        return {
            sample.labels["kind"]: sample.value
            for family in text_string_to_metric_families(printed)
            for sample in family.samples
            if sample.name == "gitlab_tokens_expired_in_use"
        }

    kinds = dict.fromkeys(("personal", "impersonation", "project", "service-account", "other"), 0.0)
    assert numbers("--log", logged.log) == {**kinds, "group": 1.0}
    assert numbers() == {}


def test_a_check_fails_for_a_log_that_nobody_writes_any_more(logged: Logged, tmp_path: Path) -> None:
    old = logs.plain(tmp_path / "old.log", logs.written([Use(logged.daily, 1)], [TODAY - timedelta(3)]).lines)
    for output, status in (("text", 1), ("nagios", 3), ("prometheus", 1)):
        done = logged.instance.run("check", "--log", old, "--max-age", "1d", "--output", output)
        assert done.returncode == status
        assert f"The log's last call was at {TODAY - timedelta(3)}T" in done.stdout + done.stderr
    assert logged.instance.run("check", "--log", old, "--max-age", "2w").returncode == 5
    (empty := tmp_path / "empty.log").touch()
    done = logged.instance.run("check", "--log", empty, "--max-age", "1d")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The log has no call yet, as one that was just rotated, so its age is not known: ")
    assert logged.instance.run("check", "--log", f"{empty},{old}", "--max-age", "1w").returncode == 5
    alone = logged.instance.run("check", "--max-age", "1d")
    assert (alone.returncode, alone.stderr) == (2, "--max-age is about a log: use --log FILE with it.\n")
    wrong = logged.instance.run("check", "--log", old, "--max-age", "soon")
    assert (wrong.returncode, wrong.stderr) == (2, '--max-age takes a period such as 6h, 1d or 2w, not "soon".\n')


def test_the_services_command_has_the_number_that_a_log_adds(logged: Logged, tmp_path: Path) -> None:
    service = (CHECKOUT / "deploy/monitoring/gitlab-tokens-check.service").read_text()
    command = service.partition("ExecStart=")[2].partition("\nNice")[0].replace("\\\n", " ")
    now = datetime.now(UTC)
    log = logs.plain(tmp_path / "api_json.log", [logs.line(logs.call("19.2", now, Use(logged.daily, 1)))])
    file = tmp_path / "gitlab_tokens.prom"
    words = command.replace("/var/log/gitlab/gitlab-rails/api_json.log", str(log))
    words = words.replace("/var/lib/gitlab-tokens/gitlab_tokens.prom", str(file))
    logged.instance.done(*words.split()[1:])
    assert "gitlab_tokens_expired_in_use" in file.read_text()


def test_a_page_says_what_is_used_daily_and_what_is_dead_but_tried(logged: Logged, tmp_path: Path) -> None:
    page = tmp_path / "tokens.html"
    logged.instance.done("report", "--log", logged.log, "--file", page)
    text = " ".join(re.sub(r"<[^>]*>", " ", page.read_text()).split())
    assert "63 tokens stop working in the next 30 days. 2 of them are used daily" in text
    assert "2 dead tokens are still tried, as far as the log says so." in text
    assert f"210 {DAYS[-1]} 1 platform deploy group expired {GONE}" in text
    assert f"21 {DAYS[-1]} 2 robot old service-account revoked {LATER}" in text
    assert "Used daily Still tried" in text
    assert re.search(r"robot account 3 0 3 2 0", text)
    assert re.search(r"platform group 0 1 1 0 1", text)
    logged.instance.done("report", "--file", page)
    assert "used daily" not in page.read_text()
    assert 'id="tried"' not in page.read_text()


PLANS: dict[str, Callable[[], list[Any]]] = {
    "extend": lambda: ["extend", "--expires", SOON, "--to", LATER],
    "remove": lambda: ["remove", "--expires", SOON],
    "rotate": lambda: ["rotate", "--within", "60d", "--no-verify"],
}

SENTENCE = {
    "extend": "2 of these 63 tokens are used daily, 1 of them by one address.",
    "remove": "2 of these 63 tokens are used daily, 1 of them by one address.",
    "rotate": "2 of these 3 tokens are used daily, 1 of them by one address.",
}


def test_a_sentence_for_each_case() -> None:
    long, short = usage_of(DAYS), usage_of(DAYS[-1:])

    def said(usage: Usage, tokens: int, used: int, daily: int, by_one_address: int, refused: int) -> str:
        use = Sum(tokens, used, daily, by_one_address, refused, ())
        sentence, _, reach = view.sentence(use, usage).partition(". ")
        assert reach.startswith("The log reaches from")
        return sentence

    assert said(long, 1874, 50, 37, 12, 0) == "37 of these 1,874 tokens are used daily, 12 of them by one address"
    assert said(long, 4, 2, 2, 2, 1) == "2 of these 4 tokens are used daily, each by one address, and GitLab refuses 1"
    assert said(long, 4, 1, 0, 0, 0) == "1 of these 4 tokens is used, but none daily"
    assert said(short, 4, 2, 0, 0, 0) == "2 of these 4 tokens are used"
    assert said(long, 4, 0, 0, 0, 4) == "None of these 4 tokens is used, and GitLab refuses 4"
    assert said(long, 1, 1, 1, 1, 0) == "This token is used daily, by one address"
    assert said(long, 1, 0, 0, 0, 1) == "This token is not used, and GitLab refuses it"
    assert view.reach(Usage()).startswith("The log has no call with a time.")
    assert view.sentence(Sum(4, 0, 0, 0, 0, ()), Usage()) == view.reach(Usage())


def usage_of(days: list[date]) -> Usage:
    return Usage(since=f"{days[0]}T00:00:00.000Z", until=f"{days[-1]}T23:59:59.000Z")


@pytest.mark.parametrize("task", PLANS)
def test_a_plan_says_how_its_tokens_are_used(logged: Logged, task: str) -> None:
    words = [*PLANS[task](), "--log", logged.log, "--dry-run"]
    shown = logged.instance.run(*words)
    assert shown.returncode == 0, shown
    assert f"NOTE: {SENTENCE[task]} The log reaches from {DAYS[0]} to {DAYS[-1]} (7 days)." in shown.stdout
    document = json.loads(logged.instance.run(*words, "--output", "json").stdout)
    assert document["plan"]["notes"][0]["text"].startswith(SENTENCE[task])
    use = {name: value for name, value in document["use"].items() if isinstance(value, int)}
    tokens = 3 if task == "rotate" else 63
    assert use == {
        "days": 7,
        "tokens": tokens,
        "used": 3,
        "used_daily": 2,
        "used_daily_by_one_address": 1,
        "refused": 0,
    }


def test_a_question_comes_after_the_sentence(logged: Logged) -> None:
    with logged.instance.terminal(*PLANS["extend"](), "--log", logged.log) as program:
        program.wait_for("Extend the expiration date of 63 tokens on")
        assert "2 of these 63 tokens are used daily, 1 of them by one address." in " ".join(program.text.split())
        program.send("n\r")
        assert program.wait() == 0

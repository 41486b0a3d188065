"""A page to look at and to hand over: what it says, whom it names, and that a browser shows it well."""

import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from tests.testbed import browser as browsers
from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_deploy_token,
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_ssh_key,
    make_token,
    make_tokens,
    make_user,
)
from tests.testbed.logs import Reason, Use, plain, written
from tokens.address import Address
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind
from tokens.inventory.diagnosis import least_privileges
from tokens.inventory.forecast import Forecast
from tokens.inventory.report import ROWS, report
from tokens.inventory.report_rows import Soon
from tokens.selection import EVERYTHING, Selection
from tokens.views.page import calendar

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
EVIL = (
    "<script>alert(1)</script><img src=http://192.0.2.1/a onerror=alert(2)>",
    "' onmouseover='alert(3)\" style=\"position:fixed",
    "</style></script></title><h1>{{ 7 * 7 }}{% raw %}&lt;b&gt;",
    "\x1b]0;title\x07\x1b[2J\r\n\t\x9b31m",
    "\u202egnp.exe \u200f\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627 部署🚀👩‍💻",
    "x" * 10_240,
    "日" * 3_000,
    "=cmd|' /C calc'!A0",
)

Show = Callable[..., str]


def after(days: int) -> str:
    return str(TODAY + timedelta(days))


def day(days: int) -> ExpirationDate:
    return ExpirationDate.stored(after(days))


@pytest.fixture
def page(gitlab_database: Address, tmp_path: Path) -> Show:
    """The page that `report` writes."""

    def make(*words: str) -> str:
        path = tmp_path / "tokens.html"
        assert typed("report", "--target", url(gitlab_database), "--file", str(path), *words) == 0
        return path.read_text(encoding="utf-8")

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if reason := browsers.missing():
        pytest.skip(reason)
    with browsers.browser() as started:
        yield started


def text_of(page: str) -> str:
    """The words of a page in one line, as they are read."""
    words: list[str] = []
    hidden: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag in ("style", "script", "title"):
                hidden.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if hidden and hidden[-1] == tag:
                hidden.pop()

        def handle_data(self, data: str) -> None:
            if not hidden:
                words.append(data)

    Reader().feed(page)
    return " ".join(" ".join(words).split())


def bot_of(connection: sa.Connection, **membership: int) -> int:
    bot = make_user(connection, user_type=6)
    make_membership(connection, user_id=bot, **membership)
    return bot


@pytest.fixture
def tokens(gitlab_database: Address) -> None:
    """Of a person three tokens that end in three days, of a team's project one in twenty, and what is left over."""
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=365, require_personal_access_token_expiry=True)
        erika = make_user(connection, username="erika", email="erika@example.com")
        group = make_group(connection, path="platform")
        looked_after = make_project(connection, namespace_id=group, path="web")
        make_membership(connection, user_id=erika, project_id=looked_after, access_level=40)
        alone = make_project(connection, namespace_id=group, path="alone")
        make_tokens(connection, 3, user_id=erika, expires_at=after(3), name="of erika@example.com", last_used_at="now")
        make_token(connection, user_id=bot_of(connection, project_id=looked_after), expires_at=after(20), name="told")
        make_token(connection, user_id=bot_of(connection, project_id=alone), expires_at=after(80), name="untold")
        gone = bot_of(connection, group_id=group)
        make_token(connection, user_id=gone, expires_at=after(-10), name="dead")
        make_token(connection, id=900, user_id=erika, name="idle", created_at="2020-01-01")
        make_token(connection, user_id=erika, expires_at=after(40), revoked=True)


def test_a_user_that_is_not_there_is_no_bot_without_membership(gitlab_database: Address, page: Show) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, user_id=make_user(connection, username=None), expires_at=after(5))
    text = page()
    assert text.count("no such user") == 3, "a bar, its row, and the row of the token"
    assert "no membership" not in text


@pytest.mark.usefixtures("tokens")
def test_a_report_has_what_ends_whose_it_is_and_of_what_nobody_is_warned(gitlab_database: Address) -> None:
    found = report(gitlab_database, EVERYTHING)
    assert found.soon == Soon(week=3, month=4, quarter=5, used=3, unwarned_month=0, unwarned_quarter=1)
    assert [(row.owner, row.renew, row.ended, row.first) for row in found.owners.rows] == [
        ("erika", 3, 0, day(3)),
        ("platform", 0, 1, day(-10)),
        ("platform/web", 1, 0, day(20)),
    ]
    assert [row.name for row in found.soonest.rows][3:] == ["told", "untold"]
    assert [(row.name, row.kind) for row in found.unwarned.rows] == [("untold", Kind.PROJECT)]
    assert [(row.id, row.created_at) for row in found.idle.rows] == [(900, "2020-01-01")]
    assert found.bots is not None
    assert [(row.owner, row.tokens, row.day) for row in found.bots.rows] == [("platform", 1, day(21))]
    assert found.whole is None
    assert found.forecast.tokens == 5


@pytest.mark.usefixtures("tokens")
def test_the_page_begins_with_the_sentence_that_matters(page: Show) -> None:
    made = page()
    said = text_of(made)
    assert said.startswith("Access tokens of "), said
    assert "4 tokens stop working in the next 30 days. 3 of them were used in the last week." in said
    assert "365 days, today until" in said
    headings = re.findall(r"<h2 id=\"(\w+)\"", made)
    assert headings == ["policy", "calendar", "next", "kinds", "owners", "unwarned", "idle", "bots", "others"]
    assert re.search(r"Read at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", said)
    assert "Selection kind any; state active, expired" in said
    assert "ending 5 of 5; owners 3 of 3" in said
    assert made.count('<svg viewBox="0 0 124 106" role="img"') == 12


def test_a_token_that_goes_with_its_bot_is_among_what_stops_working(gitlab_database: Address, page: Show) -> None:
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        for number, (membership, token) in enumerate(((5, 200), (-1, None), (80, 20), (80, 85), (100, 200))):
            bot = make_user(connection, user_type=6)
            make_membership(connection, user_id=bot, group_id=group, expires_at=after(membership))
            ends = None if token is None else after(token)
            make_token(connection, user_id=bot, expires_at=ends, name=f"number {number}", last_used_at="now")
    found = report(gitlab_database, EVERYTHING)
    assert found.soon == Soon(week=2, month=3, quarter=4, used=3, unwarned_month=3, unwarned_quarter=4)
    shown = [(row.name, row.ends_on, row.expires_at) for row in found.soonest.rows]
    assert shown == [
        ("number 1", day(1), None),
        ("number 0", day(5), day(200)),
        ("number 2", day(20), day(20)),
        ("number 3", day(80), day(85)),
    ]
    assert [row.name for row in found.unwarned.rows] == [row.name for row in found.soonest.rows]
    assert [(row.owner, row.renew, row.first) for row in found.owners.rows] == [("platform", 3, day(1))]
    said = text_of(page())
    assert "3 tokens stop working in the next 30 days. 3 of them were used in the last week" in said
    assert said.count("with its bot's membership") == 6  # in two tables


def test_a_bot_without_a_membership_belongs_where_gitlab_remembers_and_to_nobody_else(
    gitlab_database: Address,
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        alpha, beta = make_group(connection, path="alpha"), make_group(connection, path="beta")
        member = make_user(connection, user_type=6)
        make_membership(connection, user_id=member, group_id=beta)
        lost = [make_user(connection, user_type=6, bot_namespace_id=group) for group in (alpha, beta, beta)]
        for bot in (member, *lost, make_user(connection, user_type=6), make_user(connection, user_type=6)):
            make_token(connection, user_id=bot, expires_at=after(9))
    found = report(gitlab_database, EVERYTHING).owners
    rows = {row.owner: (row.what, row.renew) for row in found.rows}
    assert rows == {"alpha": (None, 1), "beta": ("Namespace", 3), None: (None, 2)}
    assert (len(found.rows), found.total) == (3, 3)


def test_a_blocked_owners_tokens_do_not_stop_working_and_nobody_has_to_be_warned(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for state in ("active", "blocked", "deactivated"):
            account = make_user(connection, user_type=13, state=state)
            make_token(connection, user_id=account, expires_at=after(9), name=state)
    found = report(gitlab_database, EVERYTHING)
    assert (found.soon.month, found.soon.unwarned_month, found.soon.unwarned_quarter) == (1, 1, 1)
    assert [row.name for row in found.unwarned.rows] == ["active"]
    assert [row.name for row in found.soonest.rows] == ["active"]
    assert sum(row.renew for row in found.owners.rows) == 1


@pytest.mark.usefixtures("tokens")
def test_no_address_is_in_it_unasked(page: Show) -> None:
    assert "@" not in page().replace("@media", "").replace("@page", "")
    assert "erika@example.com" in page("--with-emails")


def test_no_part_of_an_address_is_in_it_where_a_name_is_cut(gitlab_database: Address, page: Show) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for length in range(75, 100):
            name = f"{'x' * length} alice.smith@example.com"
            make_token(connection, user_id=make_user(connection), name=name, expires_at=after(3))
    assert "alice" not in page()
    assert "alice.smith@exam" in page("--with-emails")


@pytest.mark.usefixtures("tokens")
def test_a_teams_page_says_nothing_of_the_others(
    gitlab_database: Address, page: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    made = text_of(page("--only", "--group", "platform"))
    assert made.startswith("Access tokens of platform 1 token stops working")
    assert "erika" not in made
    assert "whole instance" not in made
    assert "of 6 in the whole instance" in text_of(page("--group", "platform"))
    assert report(gitlab_database, Selection((), groups=("platform",)), only=True).whole is None
    assert typed("report", "--target", url(gitlab_database), "--only") == 2
    assert "use --group with it" in capsys.readouterr().err


def test_other_credentials_have_a_table_where_they_are_named_and_else_one_line(
    gitlab_database: Address, page: Show
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        erika = make_user(connection, username="erika")
        project = make_project(connection, namespace_id=make_group(connection, path="platform"), path="web")
        make_token(connection, user_id=erika, expires_at=after(2))
        make_deploy_token(connection, project_id=project, name="pull images", expires_at=f"{after(3)} 12:00+00")
        make_deploy_token(connection, project_id=project, name="for ever")
        make_ssh_key(connection, user_id=erika, title="tonight", expires_at=f"{after(0)} 23:59:59.9+00")
        make_ssh_key(connection, user_id=erika, title="at home", expires_at=f"{after(80)} 12:00+00")
    plain = text_of(page())
    assert "Within 90 days end, too: 1 deploy-token, 2 ssh-keys." in plain
    assert "pull images" not in plain
    both = text_of(page("--kind", "personal,deploy-token,ssh-key"))
    assert "1 token stops working in the next 30 days." in both
    assert "2 other credentials end in the next 30 days." in both
    assert "4 credentials expire from today" in both
    of_others = both.partition("Other credentials Kind")[2]
    assert "deploy-token 2 1 1 1 1" in of_others
    assert of_others.index("tonight") < of_others.index("pull images")
    rows = (f"{day(3).beside(day(0))} platform/web pull images", f"{day(80).beside(day(0))} erika at home")
    assert [row in of_others for row in rows] == [True, True]
    assert "for ever" not in of_others
    alone = text_of(page("--kind", "deploy-token"))
    assert "1 credential ends in the next 30 days." in alone
    for of_tokens in ("No token", "There are no tokens", "Nobody has anything to do", "never used", "Bots that"):
        assert of_tokens not in alone.partition("Other credentials Kind")[0]


@pytest.fixture
def many(gitlab_database: Address) -> None:
    """More accounts and tokens than a table has rows, all with long names."""
    with make_engine(gitlab_database).begin() as connection:
        for number in range(ROWS + 1):
            account = make_user(connection, username=f"account{number}", user_type=13)
            make_tokens(connection, 2, user_id=account, expires_at=after(5), name="日" * 3_000)
        make_tokens(connection, 250, user_id=account, name="日" * 3_000)


@pytest.mark.usefixtures("many")
def test_each_table_ends_after_a_hundred_rows_and_counts_the_rest(page: Show) -> None:
    made = page()
    assert "102 more tokens are not in this table." in text_of(made)
    assert "1 more owners are not in this table." in text_of(made)
    assert "150 more tokens are not in this table." in text_of(made)
    assert len(made.encode()) < 2_000_000


def test_only_the_owner_may_read_the_file_and_a_failure_leaves_the_older_one(
    gitlab_database: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.html"
    words = ("report", "--target", url(gitlab_database), "--file")
    assert typed(*words, str(path)) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert typed(*words, str(path), "--group", "nowhere") == 2
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    capsys.readouterr()
    for impossible in (tmp_path / "missing" / "tokens.html", tmp_path):
        assert typed(*words, str(impossible)) == 1
        said = capsys.readouterr().err
        assert str(impossible) in said
        assert said.count("\n") == 1


def test_a_role_with_the_grants_of_list_can_make_it(
    gitlab_database: Address, superuser: Callable[..., Address]
) -> None:
    with make_engine(superuser(gitlab_database)).begin() as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS report_reader"))
        connection.execute(sa.text("CREATE ROLE report_reader LOGIN"))
        for grant in least_privileges(gitlab_database, "report_reader")["list"]:
            connection.execute(sa.text(grant))
    try:
        reader = Address(make_conninfo(gitlab_database.conninfo, user="report_reader"), gitlab_database.shown)
        assert report(reader, EVERYTHING, emails=True).soon.quarter == 0
    finally:
        with make_engine(superuser(gitlab_database)).begin() as connection:
            connection.execute(sa.text("DROP OWNED BY report_reader"))
            connection.execute(sa.text("DROP ROLE report_reader"))


def test_a_calendar_has_each_day_once_in_its_week() -> None:
    first = TODAY.replace(year=2026, month=11, day=29)
    months = list(calendar(Forecast(first, first + timedelta(336), ())))
    assert [month.name for month in months][::11] == ["Nov 2026", "Oct 2027"]
    assert sum(len(month.cells) for month in months) == 337
    assert [(cell.day, cell.column, cell.row) for cell in months[0].cells] == [(29, 6, 4), (30, 0, 5)]
    assert months[0].words == "Nov 2026: no token expires"


def test_a_forecast_is_a_page_too(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 11, user_id=make_user(connection), expires_at=after(3))
    assert typed("forecast", "--target", url(gitlab_database), "--output", "html") == 0
    made = capsys.readouterr().out
    assert made.startswith("<!DOCTYPE html>")
    assert f"11 tokens expire from {after(1)} to {after(90)}." in text_of(made)
    assert f"{after(3)} has 100 % of them: 11 tokens." in text_of(made)


@pytest.fixture
def evil_page(gitlab_database: Address, page: Show, tmp_path: Path) -> Path:
    """A page that is full of what people may call their tokens and groups."""
    dead = []
    with make_engine(gitlab_database).begin() as connection:
        for number, name in enumerate(EVIL):
            group = make_group(connection, path=f"evil{number}", name=name[:200])
            owner = make_user(connection, username=name[:200], user_type=13)
            make_token(connection, user_id=owner, name=name, expires_at=after(number + 1))
            make_token(connection, user_id=owner, name=name)
            make_ssh_key(connection, user_id=owner, title=name[:200].replace("\0", ""), expires_at=after(9))
            bot = bot_of(connection, group_id=group)
            dead.append(make_token(connection, user_id=bot, name=name, expires_at=after(-3)))
    uses = [Use(token, 1 + token, refused=Reason.EXPIRED) for token in dead]
    log = plain(tmp_path / "api_json.log", written(uses, [TODAY]).lines)
    page("--log", str(log), "--kind", "personal,project,group,service-account,ssh-key")
    return tmp_path / "tokens.html"


def test_a_browser_shows_it_to_everybody_whatever_tokens_are_called(browser: "Browser", evil_page: Path) -> None:
    for width, scheme in ((390, "light"), (1440, "dark")):  # contrast is the same at any width
        with browsers.opened(browser, evil_page, width=width, color_scheme=scheme) as seen:
            assert seen.violations() == []
            assert not seen.overflows()
            assert (seen.requests, seen.complaints) == ([], [])
            assert seen.page.locator("h1").count() == 1
            assert seen.page.locator("section:has(#tried) tbody tr").count() == len(EVIL)
            assert seen.page.locator("main img, main [style], main [onmouseover]").count() == 0


@pytest.mark.usefixtures("many")
def test_a_telephone_shows_full_tables_too(browser: "Browser", page: Show, tmp_path: Path) -> None:
    page()
    with browsers.opened(browser, tmp_path / "tokens.html", width=390) as seen:
        assert not seen.overflows()
        assert (seen.requests, seen.complaints) == ([], [])
        assert seen.page.locator("section:has(#next) tbody tr").count() == ROWS
        assert seen.page.get_by_text("102 more tokens are not in this table.").first.is_visible()


def test_a_browser_shows_a_forecast_to_everybody(
    browser: "Browser", gitlab_database: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        for days in range(1, 85, 3):
            make_tokens(connection, 50, user_id=owner, expires_at=after(days))
    words = ("forecast", "--target", url(gitlab_database), "--until", "90d", "--output", "html")
    for more in (["--by", "day"], ["--sort", "tokens"]):
        assert typed(*words, *more) == 0
        path = tmp_path / f"{more[1]}.html"
        path.write_text(capsys.readouterr().out, encoding="utf-8")
        for width, scheme in ((390, "dark"), (1440, "light")):
            with browsers.opened(browser, path, width=width, color_scheme=scheme) as seen:
                assert seen.violations() == []
                assert not seen.overflows()
                assert (seen.requests, seen.complaints) == ([], [])
                assert seen.page.locator("h1").inner_text().startswith("1,400 tokens expire")


def test_it_is_sorted_by_keyboard_and_read_without_a_script(browser: "Browser", evil_page: Path) -> None:
    with browsers.opened(browser, evil_page) as seen:
        head = seen.page.get_by_role("region", name="Tokens that stop working next").get_by_role("button", name="Ends")
        first = seen.page.locator("section:has(#next) tbody tr").first
        head.focus()
        for shown, order in ((after(1), "ascending"), (after(len(EVIL)), "descending")):
            seen.page.keyboard.press("Enter")
            assert first.inner_text().startswith(shown)
            assert seen.page.locator(f"th[aria-sort={order}]").count() == 1
    with browsers.opened(browser, evil_page, java_script_enabled=False) as seen:
        assert "8 tokens stop working" in seen.page.locator("h1").inner_text()
        assert seen.page.locator("button").count() == 0
        assert seen.page.locator("section:has(#next) tbody tr").count() == len(EVIL)
    with browsers.opened(browser, evil_page) as seen:
        seen.page.emulate_media(media="print")
        assert seen.page.pdf().startswith(b"%PDF")
        assert not seen.page.locator("nav").is_visible()

"""Which tokens expire when, whose they are and what is the matter with them, in every form."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_migration_row,
    make_project,
    make_settings,
    make_token,
    make_tokens,
    make_user,
)
from tokens.address import Address
from tokens.errors import ExitStatus, Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind
from tokens.inventory.breakdown import breakdown
from tokens.inventory.diagnosis import least_privileges
from tokens.inventory.due import due
from tokens.inventory.forecast import events, forecast
from tokens.inventory.gauges import gauges
from tokens.inventory.token_columns import BY_NAME, COLUMNS, FLAG_NAMES, UNSORTABLE
from tokens.inventory.tokens import Layout, Listing, listed
from tokens.selection import EVERY_STATE, EVERYTHING, Selection
from tokens.terminal import comma_separated
from tokens.terminal.paragraphs import width as width_of
from tokens.views import tokens as view
from tokens.views.owner import nobody
from tokens.views.tokens import SAMPLE

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
SOON, LATER, GONE = TODAY + timedelta(5), TODAY + timedelta(40), TODAY - timedelta(5)
EVIL = '=cmd|"a",<script>\n\x1b]0;title\x07 \u202egnp.exe 部署🚀'

List = Callable[..., str]


@pytest.fixture
def show(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> List:
    """What `list` prints on standard output, or on both streams where it does not end with 0."""

    def run(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert typed("list", "--target", url(gitlab_database), *words) == status
        printed = capsys.readouterr()
        return printed.out + (printed.err if status else "")

    return run


@pytest.fixture
def ids(show: List) -> Callable[..., list[int]]:
    """The ids that `list` finds."""
    return lambda *words: [int(line) for line in show("--output", "ids", *words).splitlines()]


def make_bot(connection: sa.Connection, **membership: Any) -> int:
    bot = make_user(connection, user_type=6)
    make_membership(connection, user_id=bot, **membership)
    return bot


def test_the_soonest_comes_first_with_whose_it_is(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        project = make_project(connection, namespace_id=group, path="web")
        erika = make_user(connection, username="erika")
        used = f"{GONE} 12:00+00"
        make_token(connection, id=7, user_id=erika, name="cron")
        bots = [make_bot(connection, project_id=project), make_bot(connection, group_id=group)]
        make_token(connection, id=80, user_id=bots[0], expires_at=LATER, name="renovate")
        make_token(connection, id=900, user_id=bots[1], expires_at=SOON, name="backup", last_used_at=used)
        make_token(connection, user_id=erika, expires_at=GONE, name="old")
    assert show().splitlines() == [
        " Id  Expires      In  Kind      Owner         Name      Used",
        f"900  {SOON}   5d  group     platform      backup    {GONE}",
        f" 80  {LATER}  40d  project   platform/web  renovate  never",
        "  7  never            personal  erika         cron      never",
    ]


def test_every_row_fits_the_terminal_and_the_rest_is_counted(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        make_tokens(connection, 60, user_id=owner, expires_at=SOON, name="a name of many words " * 10)
        make_tokens(connection, 1, user_id=owner, expires_at=SOON, name="部署🚀" * 30)
    with listed(gitlab_database, EVERYTHING, Layout(default_columns(), first=50), counted=True) as found:
        lines = list(view.screen(found, width=80))
        assert list(view.remark(found, EVERYTHING)) == ["11 more: --first all shows them."]
    assert len(lines) == 51
    assert max(map(width_of, lines)) == 80
    assert all(line.count("…") == 1 for line in lines[1:])
    with listed(gitlab_database, EVERYTHING, Layout(COLUMNS[:19])) as found:
        below = list(view.screen(found, width=80))
    assert max(map(width_of, below)) <= 80
    assert below[1] == f"Expires      {SOON:%Y-%m-%d (%a}, in 5 days)"
    assert len(show().splitlines()) == 62, "nothing is cut in a pipe"
    assert show("--first", "3").splitlines()[1:] == show().splitlines()[1:4]


def test_nothing_is_cut_in_a_pipe_however_late_it_comes(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        make_tokens(connection, SAMPLE, user_id=owner, expires_at=SOON, name="short")
        make_token(connection, id=2_000_000_000, user_id=owner, expires_at=LATER, name="x" * 200)
    lines = show().splitlines()
    assert lines[-1].startswith("2000000000  ")
    assert "x" * 200 in lines[-1]
    with listed(gitlab_database, EVERYTHING, Layout(default_columns())) as found:
        *_, last = view.screen(found, width=80)
    assert last.startswith("2000000000  ")


def test_an_owner_that_is_not_there_was_a_user_or_is_a_bots_place(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        nameless = make_user(connection, username=None)
        bot = make_user(connection, username="project_7_bot_ab", user_type=6)
        make_token(connection, id=1, user_id=nameless, expires_at=SOON)
        make_token(connection, id=2, user_id=nameless, expires_at=SOON, impersonation=True)
        make_token(connection, id=3, user_id=bot, expires_at=SOON)
    rows = [" ".join(line.split()) for line in show("--columns", "id,kind,owner").splitlines()[1:]]
    assert rows == ["1 personal (no such user)", "2 impersonation (no such user)", "3 project (no membership)"]
    assert {line.split("  ")[-1] for line in show("--columns", "id,owner").splitlines()[1:]} == {"(no owner)"}
    assert show("--columns", "owner", "--output", "csv").split("\n")[1:] == ["", "", "", ""]
    assert nobody(Kind.OTHER) == "no such user", "whose row is gone"


def test_how_far_away_a_date_is_needs_no_column_of_the_date(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection)
        for number, day in enumerate((SOON, None, "infinity", GONE), 1):
            make_token(connection, id=number, user_id=owner, expires_at=day and str(day))
    words = ("--columns", "id,in", "--sort", "in", "--state", "active,expired")
    assert [line.split() for line in show(*words).splitlines()[1:]] == [["4", "-5d"], ["1", "5d"], ["3"], ["2"]]
    assert show(*words, "--output", "csv").splitlines()[1:] == ["4,-5", "1,5", "3,", "2,"]


def test_programs_get_the_same_tokens_in_every_form(
    gitlab_database: Address, show: List, ids: Callable[..., list[int]], tmp_path: Path
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        made = list(make_tokens(connection, 3, expires_at=SOON))
    document = json.loads(show("--output", "json"))
    assert list(document) == ["schema", "instance", "made_at", "selection", "notes", "others", "tokens"]
    assert document["schema"] == 1
    lines = [json.loads(line) for line in show("--output", "ndjson").splitlines()]
    assert lines == document["tokens"]
    assert [token["id"] for token in lines] == made == ids()
    assert {token["expires_at"] for token in lines} == {str(SOON)}
    assert {token["in_days"] for token in lines} == {5}
    assert lines[0]["scopes"] == ["api"]
    rows = list(csv.DictReader(io.StringIO(show("--output", "csv"))))
    assert [int(row["id"]) for row in rows] == made
    assert list(rows[0]) == list(lines[0])
    chosen = tmp_path / "ids"
    chosen.write_text(show("--output", "ids"))
    assert ids("--ids", str(chosen)) == made


def test_nothing_is_an_empty_list_and_says_why(
    gitlab_database: Address, show: List, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=GONE)
    document = json.loads(show("--output", "json", "--within", "30d"))
    assert document["tokens"] == []
    assert document["notes"] == [f"No token fulfils this, with any other options: {within_30_days()}."]
    assert show("--output", "csv").splitlines() == [",".join(name for name in csv_names())]
    assert (show("--output", "ids"), show("--output", "ndjson")) == ("", "")
    assert show() == "No token is selected.\n"
    assert typed("list", "--target", url(gitlab_database)) == 0
    assert "left out by their kind or state" in capsys.readouterr().err


def test_without_a_maximum_lifetime_nothing_is_beyond_it_and_that_is_the_reason(
    gitlab_database: Address, show: List
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=SOON)
    why = "This instance sets no maximum lifetime, so no date is beyond it: leave --beyond-maximum out."
    assert json.loads(show("--output", "json", "--beyond-maximum"))["notes"] == [why]
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=365)
    (why,) = json.loads(show("--output", "json", "--beyond-maximum"))["notes"]
    assert why == "No token fulfils this, with any other options: beyond maximum."


def within_30_days() -> str:
    return f"expires {TODAY + timedelta(1)}..{TODAY + timedelta(30)}"


def csv_names() -> list[str]:
    return [one.name for one in COLUMNS if one.cheap or one in default_columns()]


def default_columns() -> tuple[Any, ...]:
    return tuple(one for one in COLUMNS if one.shown.value == "always")


def test_names_do_harm_to_no_terminal_no_table_and_no_spreadsheet(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection, username="mallory\x1b[2J", name="M")
        make_token(connection, user_id=owner, expires_at=SOON, name=EVIL, description=EVIL)
    for words in ([], ["--wide"]):
        printed = show(*words)
        assert printed.count("\n") == 2
        assert "\x1b" not in printed
        assert "\u202e" not in printed
    assert json.loads(show("--output", "json", "--wide"))["tokens"][0]["name"] == EVIL
    [row] = csv.DictReader(io.StringIO(show("--output", "csv", "--wide")))
    assert row["name"].startswith("'=cmd")
    assert "\x1b" not in "".join(row.values())


def test_owners_and_use_choose_tokens(gitlab_database: Address, ids: Callable[..., list[int]]) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=30)
        owners = {
            state: make_user(connection, state=state)
            for state in ("active", "blocked", "ldap_blocked", "blocked_pending_approval", "banned", "deactivated")
        }
        made = {state: make_token(connection, user_id=owner, expires_at=SOON) for state, owner in owners.items()}
        used = make_token(connection, user_id=owners["active"], expires_at=SOON, last_used_at="2024-01-01")
        beyond = make_token(connection, user_id=owners["active"], expires_at=LATER, last_used_at="2024-01-01")
        endless = make_token(connection, user_id=owners["active"], last_used_at="2024-01-01")
        lost = make_token(connection, user_id=make_user(connection, user_type=6), expires_at=SOON)
        found = make_token(connection, user_id=make_bot(connection, group_id=make_group(connection)), expires_at=SOON)
    blocked = [made[state] for state in ("blocked", "ldap_blocked", "blocked_pending_approval")]
    assert ids("--owner-state", "blocked") == blocked
    assert ids("--owner-state", "banned,deactivated") == [made["banned"], made["deactivated"]]
    assert ids("--never-used", "--owner-state", "active") == [made["active"], lost, found]
    assert ids("--beyond-maximum") == [beyond, endless]
    assert ids("--no-membership") == [lost]
    assert used in ids("--within", "1w")
    assert ids("--within", "6w", "--beyond-maximum") == [beyond]
    assert ids("--expires", "none") == [endless]
    assert ids("--sort=-id", "--first", "2") == [found, lost]


def test_of_several_memberships_the_first_that_ends_takes_the_bot(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection)
        group = make_group(connection)
        works, dead = (make_bot(connection, group_id=group) for _ in range(2))
        for bot in (works, dead):
            make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=SOON)
            make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=LATER)
        make_token(connection, user_id=works, expires_at=LATER)
        make_token(connection, user_id=dead, expires_at=TODAY)
    words = ("--state", "active,expired", "--columns", "membership_ends_at,clean_up_at,flags", "--output", "json")
    found = sorted(json.loads(show(*words))["tokens"], key=lambda one: one["clean_up_at"] or "")
    assert found == [
        {"membership_ends_at": str(SOON), "clean_up_at": None, "flags": ["membership-ends-first", "nobody-warned"]},
        {"membership_ends_at": str(SOON), "clean_up_at": str(SOON), "flags": ["clean-up"]},
    ]


@pytest.mark.parametrize("of", ["project", "group"])
def test_of_several_places_a_bot_belongs_to_the_one_with_the_least_id(
    gitlab_database: Address, show: List, of: str
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        platform = make_group(connection, path="platform")
        first = make_project(connection, namespace_id=platform, path="first")
        second = make_project(connection, namespace_id=platform, path="second")
        other = make_group(connection, path="other")
        bot = make_bot(connection, group_id=other)
        if of == "project":
            make_membership(connection, user_id=bot, project_id=second)
            make_membership(connection, user_id=bot, project_id=first)
        make_membership(connection, user_id=bot, group_id=platform)
        make_token(connection, user_id=bot, expires_at=SOON)
    (token,) = json.loads(show("--columns", "kind,owner,place_id", "--output", "json"))["tokens"]
    path, place = {"project": ("platform/first", first), "group": ("platform", platform)}[of]
    assert token == {"kind": of, "owner": path, "place_id": place}


def test_a_token_says_what_is_the_matter_with_it(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=30)
        began = TODAY + timedelta(9 - 365)
        make_migration_row(connection, started_at=f"{began} 10:00+00", finished_at=f"{began} 11:00+00")
        group = make_group(connection)
        looked_after = make_group(connection)
        boss = make_user(connection, username="boss")
        make_membership(connection, user_id=boss, group_id=looked_after, access_level=50)
        make_membership(connection, user_id=make_user(connection), group_id=looked_after, access_level=40)
        person = make_user(connection)
        first = make_bot(connection, group_id=looked_after, expires_at=SOON)
        made = {
            "fine": make_token(connection, user_id=person, expires_at=SOON),
            "warned": make_token(
                connection, user_id=person, expires_at=SOON, seven_days_notification_sent_at=SOON - timedelta(7)
            ),
            "beyond-maximum": make_token(connection, user_id=person, expires_at=LATER),
            "nobody-warned": make_token(connection, user_id=make_bot(connection, group_id=group), expires_at=SOON),
            "service": make_token(connection, user_id=make_user(connection, user_type=13), expires_at=SOON),
            "owner-inactive": make_token(connection, user_id=make_user(connection, state="banned"), expires_at=SOON),
            "membership-ends-first": make_token(connection, user_id=first, expires_at=SOON + timedelta(1)),
            "clean-up": make_token(connection, user_id=make_bot(connection, group_id=group), expires_at=GONE),
            "in-its-grace": make_token(connection, user_id=person, expires_at=SOON),
            "migration-date": make_token(
                connection, user_id=person, expires_at=TODAY + timedelta(9), created_at="2020-01-01"
            ),
            "successor-works": make_token(connection, user_id=person, expires_at=SOON, revoked=True),
        }
        for old in ("in-its-grace", "successor-works"):
            make_token(connection, user_id=person, expires_at=SOON, previous_personal_access_token_id=made[old])
    columns = "id,flags,clean_up_at,membership_ends_at,told"
    words = ["--state", "active,expired,revoked", "--columns", columns]
    found = {one["id"]: one for one in json.loads(show("--output", "json", *words))["tokens"]}
    flags = {name: found[id_]["flags"] for name, id_ in made.items()}
    assert flags == {
        "fine": [],
        "service": ["nobody-warned"],
        **{name: [name] for name in flags if name in FLAG_NAMES},
    }
    assert {name for one in flags.values() for name in one} == set(FLAG_NAMES) - {"legacy", "failed-tries"}
    assert found[made["clean-up"]]["clean_up_at"] == str(GONE + timedelta(31))
    assert found[made["membership-ends-first"]]["membership_ends_at"] == str(SOON)
    assert found[made["membership-ends-first"]]["told"] == ["boss"]


def test_a_legacy_token_is_marked_where_its_owner_may_make_no_other(gitlab_database: Address, show: List) -> None:
    def legacy(after: date) -> list[int]:
        rule = {"enforce_granular_tokens": True, "granular_tokens_enforced_after": str(after)}
        with make_engine(gitlab_database).begin() as connection:
            make_settings(connection, personal_access_token_settings=json.dumps(rule))
        tokens = json.loads(show("--columns", "id,flags", "--output", "json"))["tokens"]
        return [token["id"] for token in tokens if "legacy" in token["flags"]]

    with make_engine(gitlab_database).begin() as connection:
        person, account = make_user(connection), make_user(connection, user_type=13)
        old = make_token(connection, user_id=person)
        make_token(connection, user_id=person, granular=True)
        make_token(connection, user_id=person, revoked=True)
        of_account = make_token(connection, user_id=account)
        foreign_key = "ALTER TABLE personal_access_tokens DROP CONSTRAINT fk_personal_access_tokens_user_id"
        connection.exec_driver_sql(foreign_key)
        make_token(connection, user_id=555)  # nobody's
        # GitLab gives a person's impersonation token no successor either.
        impersonation = make_token(connection, user_id=person, impersonation=True)
    assert legacy(TODAY + timedelta(1)) == []
    assert legacy(TODAY) == [old, of_account, impersonation]
    # Since then it is people's tokens alone.
    with make_engine(gitlab_database).begin() as connection:
        connection.exec_driver_sql("INSERT INTO schema_migrations (version) VALUES ('20261201000000')")
    assert legacy(TODAY) == [old, impersonation]


@pytest.mark.parametrize(
    ("release", "of_project", "of_group"),
    [
        ("16.3.9-ee", [], []),
        ("16.4.0", ["maintainer"], ["owner"]),
        ("17.1.8", ["maintainer"], ["owner"]),
        ("17.2.0", ["maintainer", "owner"], ["owner"]),
        (None, ["maintainer", "owner"], ["owner"]),
    ],
)
def test_whom_gitlab_mails_about_a_bot_differs_by_release(
    gitlab_database: Address, release: str | None, of_project: list[str], of_group: list[str]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        people = {name: make_user(connection, username=name) for name in ("maintainer", "owner")}
        project, owned, group = make_project(connection), make_project(connection), make_group(connection)
        for place in ({"project_id": project}, {"group_id": group}):
            make_membership(connection, user_id=people["maintainer"], access_level=40, **place)
            make_membership(connection, user_id=people["owner"], access_level=50, **place)
        make_membership(connection, user_id=people["owner"], access_level=50, project_id=owned)
        for place in ({"project_id": project}, {"project_id": owned}, {"group_id": group}):
            make_token(connection, user_id=make_bot(connection, **place), expires_at=SOON)
    layout = Layout((BY_NAME["told"], BY_NAME["flags"]))
    with listed(gitlab_database, EVERYTHING, layout, release=release) as listing:
        told, flags = zip(*listing.rows, strict=True)
    of_owned = [one for one in of_project if one == "owner"]
    assert [list(one) for one in told] == [of_project, of_owned, of_group]
    assert ["nobody-warned" in one for one in flags] == [not one for one in (of_project, of_owned, of_group)]


def test_a_person_without_a_username_is_told_by_id(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection)
        boss = make_user(connection, username=None)
        make_membership(connection, user_id=boss, group_id=group, access_level=50)
        make_token(connection, user_id=make_bot(connection, group_id=group))
    words = ("--columns", "id,told", "--first", "1", "--output")
    assert json.loads(show(*words, "json"))["tokens"][0]["told"] == [f"user {boss}"]
    assert show(*words, "csv").splitlines()[1].endswith(f",user {boss}")


def test_a_token_says_which_notices_were_sent_and_when(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection)
        make_token(connection, user_id=person)
        make_token(
            connection,
            user_id=person,
            sixty_days_notification_sent_at="2026-01-01 23:30-01",
            thirty_days_notification_sent_at="2026-01-31",
            expire_notification_delivered=True,
            after_expiry_notification_delivered=True,
        )
        make_token(
            connection, user_id=person, seven_days_notification_sent_at="2026-02-20", expire_notification_delivered=True
        )
    words = ["--sort", "id", "--columns", "warned"]
    sent = [["60d 2026-01-02", "30d 2026-01-31", "7d", "expired"], ["7d 2026-02-20"]]
    assert [token["warned"] for token in json.loads(show(*words, "--output", "json"))["tokens"]] == [[], *sent]
    assert show(*words).splitlines()[1:] == ["none", *(", ".join(one) for one in sent)]


def test_impersonation_tokens_are_listed_and_what_is_left_out_is_said_in_a_pipe_too(
    gitlab_database: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        person = make_user(connection)
        made = [make_token(connection, user_id=person, impersonation=one, expires_at=SOON) for one in (False, True)]
        make_token(connection, user_id=person, expires_at=GONE)

    def said(*words: str) -> tuple[list[str], str]:
        assert typed("list", "--target", url(gitlab_database), *words) == 0
        printed = capsys.readouterr()
        return printed.out.splitlines(), printed.err

    assert said("--output", "ids") == ([str(one) for one in made], ""), "programs are told nothing"
    rows, told = said()
    assert (len(rows), told) == (3, "Left out: 1 expired personal (--state active,expired takes them in).\n")
    rows, told = said("--kind", "impersonation")
    assert (len(rows), told) == (
        2,
        "Left out: 1 active personal, 1 expired personal "
        "(--kind personal,impersonation and --state active,expired take them in).\n",
    )


def test_odd_dates_are_shown_as_everywhere(gitlab_database: Address, show: List) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for day in ("infinity", "0044-03-15 BC", "-infinity", "20000-01-01"):
            make_token(connection, expires_at=day)
    found = json.loads(show("--state", "active,expired", "--output", "json"))["tokens"]
    assert [one["expires_at"] for one in found] == ["-Infinity", "-0043-03-15", "20000-01-01", "Infinity"]
    assert [one["in_days"] is None for one in found] == [True, False, False, True]
    assert len(show("--state", "active,expired").splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--columns", "id,nmae"], '--columns has no column "nmae" (did you mean "name"?); there are id, '),
        (["--sort", "flags"], "--sort cannot sort by flags, of which a token has several."),
        (["--first", "0"], '--first takes a number of tokens, or all, not "0".'),
        (["--wide", "--columns", "id"], "--wide and --columns both choose columns: use one of them."),
        (
            ["--within", "1w", "--expires", "none"],
            "--expires and --within both choose dates: use one of them.",
        ),
        (["--output", "ids", "--columns", "name"], "--output ids has no columns: leave --columns out."),
        (["--output", "ids", "--wide"], "--output ids has no columns: leave --wide out."),
        (["--user", "nobody"], 'This GitLab has no user "nobody"'),
        (["--scope", "aip"], "did you mean api?"),
        (["--output", "yaml"], '--output takes text, json, ndjson, csv or ids, not "yaml".'),
    ],
)
def test_what_cannot_be_shown_is_one_line(show: List, words: list[str], message: str) -> None:
    printed = show(*words, status=2)
    assert message in printed
    assert printed.count("\n") == 1


def test_a_fault_is_one_line_of_json_among_lines(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("list", "--target", url(gitlab_database), "--output", "ndjson", "--user", "nobody")
    assert typed(*words) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (printed.out.count("\n"), document["schema"], document["status"]) == (1, 1, 2)
    assert document["error"] == printed.err.rstrip("\n")


def test_ids_of_no_token_and_left_out_are_named(
    gitlab_database: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        works, dead = (make_token(connection, expires_at=day) for day in (SOON, GONE))
    named = tmp_path / "ids"
    named.write_text(f"{works} {dead} 999999")
    assert typed("list", "--target", url(gitlab_database), "--ids", str(named)) == 0
    assert capsys.readouterr().err == (
        "NOTE: 1 of 3 ids is no token's: 999999.\n"
        f"NOTE: 1 of 3 ids is of a token that the other options leave out: {dead}.\n"
        "Left out: 1 expired personal (--state active,expired takes them in).\n"
    )


@pytest.mark.each_release
def test_every_column_can_be_shown_and_sorted_by_on_every_release(
    gitlab_database_at: Callable[[str], Address], revision: str
) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        bot = make_bot(connection, group_id=make_group(connection))
        made = {make_token(connection, user_id=owner, expires_at=SOON) for owner in (bot, make_user(connection))}
    for column in COLUMNS:
        sort = column.name if column.name not in UNSORTABLE else "id"
        for first in (None, 5):
            with listed(address, EVERYTHING, Layout(COLUMNS, sort, first=first)) as found:
                assert {row[0] for row in found.rows} == made


READING = ("list", "check", "forecast", "breakdown")


@pytest.fixture
def reader(gitlab_database: Address, superuser: Callable[[Address], Address]) -> Iterator[Address]:
    """A role with the printed grants for reading tokens, and nothing else."""
    administrator = make_engine(superuser(gitlab_database))
    with administrator.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE list_reader LOGIN")
        for grant in least_privileges(gitlab_database, "list_reader")["list"]:
            connection.exec_driver_sql(grant)
    yield Address(make_conninfo(gitlab_database.conninfo, user="list_reader"), "reader")
    with administrator.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY list_reader; DROP ROLE list_reader")


def test_a_role_with_the_printed_grants_and_nothing_else_can_list_and_count(
    gitlab_database: Address, reader: Address
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        made = make_token(connection, expires_at=SOON)
    with listed(reader, EVERYTHING, Layout(COLUMNS)) as found:
        assert [row[0] for row in found.rows] == [made]
    assert [kind.active for kind in breakdown(reader, EVERYTHING).kinds] == [1]
    assert forecast(reader, EVERYTHING, 30).tokens == len(events(reader, EVERYTHING, 30)[0]) == 1
    assert due(reader, EVERYTHING, 30, 7, most_of_each=1).each == gauges(reader, EVERYTHING, most_of_each=1).each
    for task in READING:
        assert typed(task, "--target", url(reader)) in (ExitStatus.DONE, ExitStatus.DUE)


def test_a_role_without_the_grants_is_refused_with_them(
    gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    nobody = Address(make_conninfo(gitlab_database.conninfo, user="list_nobody"), "nobody")
    administrator = make_engine(superuser(gitlab_database))
    with administrator.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE list_nobody LOGIN")
    try:
        with pytest.raises(Refused, match="GRANT"), listed(nobody, EVERYTHING, Layout(COLUMNS)):
            pass
    finally:
        with administrator.begin() as connection:
            connection.exec_driver_sql("DROP ROLE list_nobody")


@pytest.mark.parametrize("task", READING)
def test_rows_that_may_be_hidden_from_a_role_are_said_where_they_are_read(
    gitlab_database: Address,
    superuser: Callable[[Address], Address],
    reader: Address,
    capsys: pytest.CaptureFixture[str],
    task: str,
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=SOON)
    administrator = make_engine(superuser(gitlab_database))
    for hidden in (False, True):
        with administrator.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE users {'ENABLE' if hidden else 'DISABLE'} ROW LEVEL SECURITY")
        capsys.readouterr()
        typed(task, "--target", url(reader))
        assert ("NOTE: Row-level security may hide rows of users" in capsys.readouterr().err) is hidden


def test_what_ends_soon_is_coloured_where_colours_are_wanted() -> None:
    today = ExpirationDate.typed("2026-11-28")
    columns = tuple(BY_NAME[name] for name in ("id", "expires_at"))
    rows = [(1, "2026-12-01"), (2, "2026-12-20"), (3, "2027-12-20"), (4, "2026-11-01"), (5, None), (6, "infinity")]
    found = Listing(Layout(columns), today, iter(rows))
    red, yellow, *others = list(view.screen(found, width=80, colour=True))[1:]
    assert red.startswith("\x1b[31m")
    assert yellow.startswith("\x1b[33m")
    assert not any("\x1b" in line for line in others)


def test_in_a_pipe_the_columns_of_any_script_stand_below_each_other() -> None:
    columns = tuple(map(BY_NAME.__getitem__, ("id", "owner", "name", "kind")))
    rows = [(7, "ann", "deploy", "personal"), (10, "日本", "é", "personal"), (9, None, "a\u0301", "project")]
    found = Listing(Layout(columns), ExpirationDate.typed("2026-11-28"), iter(rows))
    assert list(view.screen(found, width=None)) == [
        "Id  Owner            Name    Kind",
        " 7  ann              deploy  personal",
        "10  日本             é       personal",
        " 9  (no membership)  a\u0301       project",
    ]


def test_postgresql_writes_the_same_csv_as_we_do(gitlab_database: Address) -> None:
    """Most rows are passed on as PostgreSQL writes them; none of them may be one that has to be written otherwise."""
    names = [
        "plain", "a-b", "-5", "-5x", " =1", "=1", "+1", "@x", "a,b", 'a"b', "a;=b", "a\nb", "\r", "\t-1", "ünïcode", "",
        " ", " - 5", "-", "infinity", "44 BC", "2024-01-01", "-infinity", "x\x1b[2J", "\uff1d1", "a, =b", ",-1", "'=1",
    ]  # fmt: skip
    scopes = [
        "---\n- api\n", "---\n- read_api\n- api\n", "--- []\n", "", "---\n- :api\n- 'sudo'\n", "--- api\n",
        "---\n- a b\n",
        '---\n- "=x"\n', "[]", "[api]", "{}", "api", "- api", "--- [api, sudo]", "---\n- api\n-   sudo\n",
    ]  # fmt: skip
    with make_engine(gitlab_database).begin() as connection:
        for number, name in enumerate(names):
            for day in (SOON, GONE, None):
                owner = make_user(connection, username=name)
                stored = scopes[number % len(scopes)]
                make_token(connection, user_id=owner, name=name, description=name, expires_at=day, scopes=stored)
        for odd in ("infinity", "0044-03-15 BC", "-infinity", "20000-01-01"):
            make_token(connection, expires_at=odd, user_id=make_bot(connection, group_id=make_group(connection)))
    every = Selection((), states=EVERY_STATE)
    narrow = (("in_days", "name", "expires_at"), ("id", "scopes"))
    for columns in (COLUMNS, *(tuple(BY_NAME[name] for name in some) for some in narrow)):
        with listed(gitlab_database, every, Layout(columns), as_csv=True) as found:
            assert found.csv is not None
            written = "\n".join(view.as_csv(found))
        with listed(gitlab_database, every, Layout(columns, first=1000)) as found:
            assert written == "\n".join(view.as_csv(found))


def test_ordinary_rows_are_passed_on_untouched(gitlab_database: Address) -> None:
    """Millions of them take ten times as long otherwise."""
    with make_engine(gitlab_database).begin() as connection:
        used = "2026-11-01 10:00:00"
        make_token(connection, user_id=make_user(connection), expires_at=SOON, last_used_at=used, name="a+b = c@d")
    with listed(gitlab_database, EVERYTHING, Layout(COLUMNS), as_csv=True) as found:
        assert found.csv is not None
        [row] = comma_separated.harmless(found.csv, lambda cells: pytest.fail(", ".join(cells)))
    assert "2026-11-01T10:00:00+00:00" in row
    assert "a+b = c@d" in row


def test_who_stops_reading_csv_does_not_wait_for_the_rest(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 20_000, user_id=make_user(connection), expires_at=SOON)
    with listed(gitlab_database, EVERYTHING, Layout(COLUMNS), as_csv=True) as found:
        assert found.csv is not None
        assert next(found.csv).startswith(b"1,")
    with pytest.raises(KeyError), listed(gitlab_database, EVERYTHING, Layout(COLUMNS), as_csv=True) as found:
        raise KeyError

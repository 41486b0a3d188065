"""What else of GitLab's expires: every kind in every task that only reads, against a plain reading of the same rows."""

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    SECRET,
    make_agent_token,
    make_deploy_key,
    make_deploy_token,
    make_group,
    make_membership,
    make_project,
    make_runner,
    make_secure_file,
    make_ssh_key,
    make_token,
    make_trigger,
    make_user,
)
from tests.testbed.servers import is_newest
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import RunKind, make_plan
from tokens.errors import Refused, UsageError
from tokens.gitlab.credentials import CREDENTIALS, OTHERS, OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.inventory.breakdown import breakdown
from tokens.inventory.credentials import MISSING
from tokens.inventory.diagnosis import diagnose, least_privileges
from tokens.inventory.due import due
from tokens.inventory.forecast import forecast
from tokens.inventory.gauges import gauges
from tokens.inventory.token_columns import BY_NAME, COLUMNS, OF_LOGS
from tokens.inventory.tokens import Layout, listed
from tokens.rotation.candidate import Search, find
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection

NOW = datetime.now(UTC)
TODAY = NOW.date()
EVIL = '=cmd|"a",<script>\n\x1b]0;title\x07 \u202egnp.exe 部署🚀'
OTHER = tuple(kind.value for kind in OtherKind)
WITHOUT_LAST_USE = {OtherKind.DEPLOY_TOKEN, OtherKind.MEMBERSHIP, OtherKind.TRIGGER, OtherKind.SECURE_FILE}

on_the_newest = pytest.mark.newest_server
"""For what is the same on every server, since the statements are tried on all of them."""


def after(days: int) -> datetime:
    """The first moment of a day from today (UTC)."""
    return datetime.combine(TODAY + timedelta(days), datetime.min.time(), UTC)


# The same, read in Python


@dataclass(frozen=True)
class Made:
    """A credential as it was made."""

    kind: OtherKind
    id: int
    name: str | None
    ends: datetime | None
    revoked: bool
    used: datetime | None
    created: datetime
    owner: str | None
    account: str | None
    places: frozenset[str]

    @property
    def state(self) -> State:
        if self.revoked:
            return State.REVOKED
        return State.EXPIRED if self.ends is not None and self.ends <= NOW else State.ACTIVE

    @property
    def day(self) -> date | None:
        return None if self.ends is None else self.ends.astimezone(UTC).date()


@dataclass
class World:
    """Two groups, a project in each, people and a bot, and what belongs to them."""

    connection: sa.Connection
    random: random.Random

    def __post_init__(self) -> None:
        self.groups = {path: make_group(self.connection, path=path) for path in ("ops", "web")}
        sub = make_group(self.connection, path="sub", parent_id=self.groups["ops"])
        self.groups["ops/sub"] = sub
        self.projects = {
            f"{path}/code": make_project(self.connection, namespace_id=self.groups[path], path="code")
            for path in ("ops/sub", "web")
        }
        self.people = {name: make_user(self.connection, username=name) for name in ("erika", "max")}

    def make(self, kind: OtherKind, name: str | None, ends: datetime | None, used: datetime | None) -> Made:
        created = NOW - timedelta(self.random.randrange(900))
        stamps: dict[str, Any] = {"created_at": created}
        revoked = self.random.random() < 0.2 and kind in (OtherKind.DEPLOY_TOKEN, OtherKind.AGENT)
        project = self.random.choice(sorted(self.projects))
        group = self.random.choice(sorted(self.groups))
        person = self.random.choice(sorted(self.people))
        owner: str | None = project
        account, places = None, frozenset({project})
        match kind:
            case OtherKind.DEPLOY_TOKEN:
                dated: dict[str, Any] = {} if ends is None else {"expires_at": ends}
                place: dict[str, Any] = {"project_id": self.projects[project]}
                if self.random.random() < 0.5:
                    place, owner, places = {"group_id": self.groups[group]}, group, frozenset({group})
                made = make_deploy_token(self.connection, name=name or "", revoked=revoked, **place, **dated, **stamps)
                name, used = name or "", None
            case OtherKind.MEMBERSHIP:
                username = f"bot{self.random.randrange(10**9)}"
                bot = make_user(self.connection, user_type=6, username=username)
                ends = None if ends is None else ends.replace(hour=0, minute=0, second=0, microsecond=0)
                made = make_membership(
                    self.connection,
                    user_id=bot,
                    project_id=self.projects[project],
                    expires_at=None if ends is None else ends.date(),
                    **stamps,
                )
                name = account = username
                used = None
            case OtherKind.SSH_KEY:
                made = make_ssh_key(
                    self.connection,
                    user_id=self.people[person],
                    title=name,
                    expires_at=ends,
                    last_used_at=used,
                    **stamps,
                )
                owner = account = person
                places = frozenset()
            case OtherKind.DEPLOY_KEY:
                many = sorted(self.projects) if self.random.random() < 0.3 else [project]
                ids = [self.projects[one] for one in many]
                made = make_deploy_key(self.connection, *ids, title=name, expires_at=ends, last_used_at=used, **stamps)
                places = frozenset(many)
                owner = f"{many[0]} and 1 more" if len(many) > 1 else project
            case OtherKind.TRIGGER:
                made = make_trigger(
                    self.connection,
                    project_id=self.projects[project],
                    owner_id=self.people[person],
                    description=name,
                    expires_at=ends,
                    **stamps,
                )
                account, used = person, None
            case OtherKind.RUNNER:
                where = self.random.choice(["instance", "group", "project"])
                runner = {"description": name, "token_expires_at": ends, "contacted_at": used, **stamps}
                if where == "instance":
                    made = make_runner(self.connection, **runner)
                    owner, places = name, frozenset()
                elif where == "group":
                    made = make_runner(self.connection, group_id=self.groups[group], **runner)
                    owner, places = group, frozenset({group})
                else:
                    made = make_runner(self.connection, self.projects[project], **runner)
                name = name or None
            case OtherKind.SECURE_FILE:
                name = name or "cert"
                made = make_secure_file(
                    self.connection, project_id=self.projects[project], name=name, expires_at=ends, **stamps
                )
                used = None
            case OtherKind.AGENT:
                made = make_agent_token(
                    self.connection,
                    project_id=self.projects[project],
                    name=name or "",
                    last_used_at=used,
                    status=int(revoked),
                    **stamps,
                )
                name, ends = name or "", None
        return Made(kind, made, name, ends, revoked, used, created, owner or None, account, places)


def selects(made: Made, selection: Selection) -> bool:
    """Whether a selection means it."""
    if made.kind not in selection.others or made.state not in selection.states:
        return False
    if selection.name is not None and (made.name is None or not made.name.startswith(selection.name[:-1])):
        return False
    if selection.users and made.account not in selection.users and not selection.groups:
        return False
    if selection.groups:
        inside = any(
            place == group or place.startswith(f"{group}/") for place in made.places for group in selection.groups
        )
        if not inside and made.account not in selection.users:
            return False
    if selection.created_before is not None and made.created.date() >= selection.created_before:
        return False
    if selection.never_used and made.used is not None:
        return False
    return not selection.expires or any(falls_in(made, days) for days in selection.expires)


def falls_in(made: Made, days: DateRange | None) -> bool:
    if days is None or made.day is None:
        return days is None and made.day is None
    return days.first.ordinal <= made.day.toordinal() <= days.last.ordinal


names = st.sampled_from(["ci", "ci-2", "deploy", "", EVIL, "é部署", "x" * 200])
moments = st.one_of(
    st.none(),
    st.integers(-50, 120).map(after),
    # Nothing ends in the hour that a run of all tests may take.
    st.integers(-5000, 9000).map(lambda minutes: NOW + timedelta(minutes=minutes + (60 if minutes > 0 else 0))),
)
specimens = st.lists(st.tuples(st.sampled_from(list(OtherKind)), names, moments, moments), max_size=25)


def span(first: int, last: int) -> DateRange:
    today = ExpirationDate(TODAY.toordinal())
    return DateRange(today + min(first, last), today + max(first, last))


selections = st.builds(
    Selection,
    expires=st.one_of(
        st.just(()),
        st.just((None,)),
        st.builds(span, st.integers(-40, 100), st.integers(-40, 100)).map(lambda r: (r, None)),
    ),
    kinds=st.just(frozenset()),
    states=st.sampled_from([frozenset({State.ACTIVE}), EVERY_STATE, frozenset({State.EXPIRED, State.REVOKED})]),
    name=st.sampled_from([None, "ci*", "d*"]),
    created_before=st.sampled_from([None, TODAY - timedelta(300)]),
    others=st.frozensets(st.sampled_from(list(OtherKind)), min_size=1),
)


@contextmanager
def rolled_back(address: Address) -> Iterator[sa.Connection]:
    """Rows that others see until the block ends, and that are gone then."""
    engine = make_engine(address)
    tables = ", ".join(dict.fromkeys([*OTHERS.reads, "personal_access_tokens", "projects", "namespaces", "routes"]))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {tables} CASCADE"))


def found(address: Address, selection: Selection, *names: str, **layout: Any) -> list[Any]:
    columns = tuple(BY_NAME[name] for name in names)
    with listed(address, selection, Layout(columns, **layout)) as listing:
        return [tuple(row) for row in listing.rows]


@pytest.mark.slow
def test_every_task_says_what_a_plain_reading_of_the_rows_says(gitlab_database: Address) -> None:
    @settings(max_examples=20 if is_newest(gitlab_database) else 6)
    @given(specimens, selections, st.randoms(use_true_random=False))
    def agree(rows: list[Any], selection: Selection, source: random.Random) -> None:
        check_every_task(gitlab_database, rows, selection, source)

    agree()


def check_every_task(gitlab_database: Address, rows: list[Any], selection: Selection, source: random.Random) -> None:
    with rolled_back(gitlab_database) as connection:
        world = World(connection, source)
        made = [world.make(*row) for row in rows]
        connection.commit()
        expected = [one for one in made if selects(one, selection)]
        shown = found(
            gitlab_database, selection, "kind", "id", "expires_at", "owner", "account", "name", "state", "in_days"
        )
        assert sorted(shown, key=str) == sorted(
            (
                (
                    one.kind.value,
                    one.id,
                    None if one.day is None else str(one.day),
                    MISSING if one.owner is None else one.owner,
                    MISSING if one.account is None else one.account,
                    one.name,
                    one.state.value,
                    None if one.day is None else (one.day - TODAY).days,
                )
                for one in expected
            ),
            key=str,
        )
        days = [row[2] for row in shown]
        assert days == sorted(days, key=lambda day: (day is None, day or "")), "the soonest first, never last"
        backwards = found(gitlab_database, selection, "expires_at", descending=True, sort="expires_at")
        dated = [day for (day,) in backwards if day is not None]
        assert dated == sorted(dated, reverse=True)
        assert len(found(gitlab_database, selection, "id", first=3)) == min(3, len(expected))
        counted = replace(selection, expires=(), states=EVERY_STATE)
        check_counts(gitlab_database, counted, [one for one in made if selects(one, counted)])


def check_counts(address: Address, selection: Selection, made: list[Made]) -> None:
    works = [one for one in made if one.state is State.ACTIVE]
    coming = Counter(one.day for one in works if one.day is not None and (one.day - TODAY).days <= 30)
    assert {day.day: day.tokens for day in forecast(address, selection, 30).days if day.tokens} == coming
    soon = [one.day for one in works if one.day is not None and (one.day - TODAY).days <= 30]
    urgent = [day for day in soon if (day - TODAY).days <= 7]
    told = due(address, selection, 30, 7)
    assert (told.warning, told.urgent) == (len(soon), len(urgent))
    assert (None if told.first is None else str(told.first)) == (str(min(soon)) if soon else None)
    by_kind = Counter(one.kind for one in made)
    kinds = {one.kind: one for one in breakdown(address, selection).kinds}
    assert {kind: one.tokens for kind, one in kinds.items()} == by_kind
    for kind, one in kinds.items():
        own = [other for other in made if other.kind is kind]
        assert (one.active, one.expired, one.revoked) == tuple(
            sum(other.state is state for other in own) for state in (State.ACTIVE, State.EXPIRED, State.REVOKED)
        )
        never = sum(other.state is State.ACTIVE and other.used is None for other in own)
        assert one.never_used == (None if kind in WITHOUT_LAST_USE else never)
    for gauge in gauges(address, selection).kinds:
        if gauge.kind in selection.others:
            assert sum(gauge.by_state.values()) == by_kind[OtherKind(gauge.kind)]
            assert gauge.undated == sum(one.kind is gauge.kind and one.ends is None for one in works)
            ends = [one.ends for one in works if one.kind is gauge.kind and one.ends is not None]
            assert gauge.next_at == min((moment.timestamp() for moment in ends), default=None)


@pytest.fixture
def world(gitlab_database: Address) -> Iterator[World]:
    with make_engine(gitlab_database).begin() as connection:
        yield World(connection, random.Random(1))


@pytest.fixture
def show(gitlab_database: Address, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints on standard output, or on both streams where it does not end with 0 or with `status`."""

    def run(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert typed(*words, "--target", url(gitlab_database)) == status
        printed = capsys.readouterr()
        return printed.out + (printed.err if status else "")

    return run


def fill(address: Address, name: str = "one") -> dict[OtherKind, int]:
    """One of each kind that works, of which all that can ends in five days."""
    with make_engine(address).begin() as connection:
        world = World(connection, random.Random(7))
        made: dict[OtherKind, int] = {}
        while len(made) < len(OtherKind):
            for kind in OtherKind:
                one = world.make(kind, name, after(5), None)
                if one.revoked:
                    connection.execute(sa.text(f"DELETE FROM {TABLES[kind]} WHERE id = {one.id}"))
                else:
                    made.setdefault(kind, one.id)
                    if made[kind] != one.id:
                        connection.execute(sa.text(f"DELETE FROM {TABLES[kind]} WHERE id = {one.id}"))
    return made


TABLES: Mapping[OtherKind, str] = {credential.kind: credential.table for credential in CREDENTIALS}


@pytest.mark.each_release
def test_every_release_shows_every_kind(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    dated = revision not in ("16.0", "16.3", "16.6", "17.2", "17.4", "17.6", "17.7", "17.8")
    if dated:
        made = fill(address)
    else:
        with make_engine(address).begin() as connection:
            project = make_project(connection)
            person = make_user(connection)
            made = {
                OtherKind.DEPLOY_TOKEN: make_deploy_token(connection, project_id=project, expires_at=after(5)),
                OtherKind.TRIGGER: make_trigger(connection, project_id=project, owner_id=person),
                OtherKind.RUNNER: make_runner(connection, project, token_expires_at=after(5)),
            }
    everything = Selection((), kinds=frozenset(), others=frozenset(OtherKind))
    names = [column.name for column in COLUMNS]
    with listed(address, everything, Layout(COLUMNS)) as listing:
        rows = [dict(zip(names, row, strict=True)) for row in listing.rows]
        assert listing.notes == (() if dated else ("trigger: GitLab before 17.9 gives them no date.",))
    assert {row["kind"]: row["id"] for row in rows} == {kind.value: number for kind, number in made.items()}
    never = {"agent"} if dated else {"trigger"}
    assert {row["kind"] for row in rows if row["expires_at"] is None} == never
    assert all(isinstance(row["owner"], str) for row in rows)
    assert due(address, everything, 30, 7).urgent == len(made) - 1


@on_the_newest
def test_never_of_deploy_tokens_is_the_year_3000(world: World, gitlab_database: Address) -> None:
    make_deploy_token(world.connection, group_id=world.groups["ops"], name="forever")
    make_deploy_token(world.connection, group_id=world.groups["ops"], name="long", expires_at="2999-12-31 23:59+00")
    world.connection.commit()
    kinds = Selection((), kinds=frozenset(), others=frozenset({OtherKind.DEPLOY_TOKEN}))
    assert found(gitlab_database, kinds, "name", "expires_at") == [("long", "2999-12-31"), ("forever", None)]
    assert found(gitlab_database, replace(kinds, expires=(None,)), "name") == [("forever",)]


@on_the_newest
def test_a_membership_may_end_when_no_moment_is_any_more(
    gitlab_database: Address, world: World, show: Callable[..., str]
) -> None:
    project = make_project(world.connection)
    for name, end in (("far", "5874897-12-31"), ("never", "infinity"), ("long-ago", "4714-11-24 BC")):
        bot = make_user(world.connection, username=name, user_type=6)
        make_membership(world.connection, user_id=bot, project_id=project, expires_at=end)
    world.connection.commit()
    kinds = Selection((), kinds=frozenset(), others=frozenset({OtherKind.MEMBERSHIP}), states=EVERY_STATE)
    ends = dict(found(gitlab_database, kinds, "name", "expires_at"))
    assert {name: ends[name] for name in ("far", "never", "long-ago")} == {
        "far": "infinity",
        "never": "infinity",
        "long-ago": "4714-11-24 BC",
    }
    show("report")


@on_the_newest
def test_what_ends_later_today_is_within_a_period_and_alarms(
    gitlab_database: Address, world: World, show: Callable[..., str]
) -> None:
    now = datetime.now(UTC)
    tonight, gone = now + timedelta(minutes=5), now - timedelta(minutes=2)
    make_ssh_key(world.connection, user_id=world.people["erika"], title="tonight", expires_at=tonight)
    make_ssh_key(world.connection, user_id=world.people["erika"], title="gone", expires_at=gone)
    world.connection.commit()
    rows = list(csv.DictReader(io.StringIO(show("list", "--kind", "ssh-key", "--within", "1d", "--output", "csv"))))
    assert [row["name"] for row in rows] == ["tonight"]
    assert "1 credential stops working within 1 day" in show(
        "check", "--kind", "ssh-key", "--warn", "1d", "--critical", "1d", status=5
    )
    keys = Selection((), kinds=frozenset(), others=frozenset({OtherKind.SSH_KEY}))
    assert due(gitlab_database, keys, 30, 7).days in (0, 1)
    # In a forecast and its calendar, too.
    day = tonight.date()
    assert {one.day: one.tokens for one in forecast(gitlab_database, keys, 30).days}[day] == 1
    assert forecast(gitlab_database, keys, 30).first == TODAY
    assert f"DTSTART;VALUE=DATE:{day:%Y%m%d}" in show("forecast", "--kind", "ssh-key", "--output", "ics")
    # A token of today is dead, so of tokens alone it begins tomorrow.
    assert forecast(gitlab_database, Selection(()), 30).first == TODAY + timedelta(1)


@on_the_newest
def test_tokens_and_others_come_in_one_order(gitlab_database: Address, world: World, show: Callable[..., str]) -> None:
    for number, days in enumerate((3, 9, 1)):
        make_token(
            world.connection, user_id=world.people["max"], name=f"token {number}", expires_at=TODAY + timedelta(days)
        )
    make_deploy_token(world.connection, project_id=world.projects["web/code"], name="deploy", expires_at=after(2))
    make_runner(world.connection, description="runner", token_expires_at=after(4) + timedelta(hours=5))
    world.connection.commit()
    words = (
        "list",
        "--kind",
        "personal,deploy-token,runner",
        "--columns",
        "name,in_days,owner,expires_at",
        "--output",
        "csv",
    )
    assert [line.rpartition(",")[0] for line in show(*words).splitlines()[1:]] == [
        "token 2,1,max",
        "deploy,2,web/code",
        "token 0,3,max",
        "runner,4,runner",
        "token 1,9,max",
    ]
    assert [line.partition(",")[0] for line in show(*words, "--sort=-name").splitlines()[1:]] == [
        "token 2",
        "token 1",
        "token 0",
        "runner",
        "deploy",
    ]
    assert show(*words, "--first", "2").count("\n") == 3
    both = show("forecast", "--kind", "personal,deploy-token,runner", "--by", "day", "--until", "9d", "--output", "csv")
    assert sum(int(row["deploy-token"]) + int(row["runner"]) for row in csv.DictReader(io.StringIO(both))) == 2


@on_the_newest
def test_what_a_kind_does_not_have_is_empty(gitlab_database: Address, show: Callable[..., str]) -> None:
    fill(gitlab_database)
    every = ("--kind", ",".join(OTHER), "--columns", ",".join(name for name in BY_NAME if name not in OF_LOGS))
    rows = json.loads(show("list", *every, "--output", "json"))["tokens"]
    assert len(rows) == len(OTHER)
    for row in rows:
        assert row["membership_ends_at"] is row["clean_up_at"] is None
        assert row["flags"] == row["ips"] == row["told"] == []
        assert row["last_used_at"] is None
    for row in csv.DictReader(io.StringIO(show("list", *every, "--output", "csv"))):
        assert row["flags"] == row["last_used_at"] == ""
    lines = show("list", "--kind", "deploy-token,ssh-key").splitlines()[1:]
    assert [line.endswith("never") for line in lines] == [False, True], (
        "an SSH key was never used, of the other nothing is known"
    )
    assert not any(line.rstrip().endswith("(no membership)") for line in lines)


@on_the_newest
def test_an_owner_without_a_username_is_empty(gitlab_database: Address, show: Callable[..., str]) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_ssh_key(connection, user_id=make_user(connection, username=None))
    (key,) = json.loads(show("list", "--kind", "ssh-key", "--columns", "owner,account", "--output", "json"))["tokens"]
    assert key == {"owner": None, "account": None}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize(
    "words",
    [
        ["extend", "--within", "30d", "--to", "2030-01-01", "--dry-run"],
        ["remove", "--within", "30d", "--dry-run"],
        ["rotate", "--within", "30d", "--dry-run"],
    ],
)
@on_the_newest
def test_no_task_that_writes_takes_them(words: list[str], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(*words, "--kind", f"project,{kind}", "--target", "postgresql://nobody@127.0.0.1:1/x") == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"--kind {kind} is for list, forecast, breakdown, check and report alone: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--kind", "deploy-tokn"], '(did you mean "deploy-token"?)'),
        (["list", "--kind", "deploy-token", "--ids", "/dev/null"], "--ids found no token ids"),
        (["list", "--kind", "ssh-key", "--scope", "api"], "--scope says nothing about --kind ssh-key"),
        (["list", "--kind", "trigger", "--never-used"], "--never-used says nothing about --kind trigger"),
        (["list", "--kind", "ssh-key", "--group", "ops"], "--group says nothing about --kind ssh-key"),
        (["check", "--kind", "deploy-token", "--user", "erika"], "--user says nothing about --kind deploy-token"),
        (["list", "--kind", "runner", "--beyond-maximum"], "--beyond-maximum says nothing about --kind runner"),
        (["list", "--kind", "runner", "--sort", "owner"], "--sort owner is for access tokens alone, not for runner"),
        (["list", "--kind", "runner", "--output", "ids"], "--output ids gives ids of access tokens"),
        (["list", "--kind", "runner", "--group", "opps"], 'no group "opps" (did you mean "ops"?)'),
    ],
)
@on_the_newest
def test_an_option_that_means_nothing_for_a_kind_is_refused(
    world: World, show: Callable[..., str], words: list[str], message: str
) -> None:
    world.connection.commit()
    said = show(*words, status=2)
    assert message in said
    assert said.count("\n") == 1


@on_the_newest
def test_owners_can_be_named_as_for_tokens(world: World, gitlab_database: Address) -> None:
    connection, projects = world.connection, world.projects
    make_deploy_token(connection, group_id=world.groups["ops"], name="of ops")
    make_deploy_key(connection, projects["web/code"], projects["ops/sub/code"], title="of both")
    make_runner(connection, group_id=world.groups["web"], description="of web")
    make_trigger(connection, project_id=projects["web/code"], owner_id=world.people["max"], description="of max")
    connection.commit()
    kinds = frozenset({OtherKind.DEPLOY_TOKEN, OtherKind.DEPLOY_KEY, OtherKind.RUNNER, OtherKind.TRIGGER})
    every = Selection((), kinds=frozenset(), others=kinds)

    def named(**owners: Any) -> set[str]:
        return {name for (name,) in found(gitlab_database, replace(every, **owners), "name")}

    assert named(groups=("OPS",)) == {"of ops", "of both"}
    assert named(groups=("web",)) == {"of both", "of web", "of max"}
    assert named(projects=("ops/sub/code",)) == {"of both"}
    assert named(groups=("ops",), users=("Max",)) == {"of ops", "of both", "of max"}


@on_the_newest
def test_without_a_kind_one_line_says_how_many_others_expire(
    gitlab_database: Address,
    show: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(gitlab_database)
    expected = {kind: 1 for kind in OTHER if kind != "agent"}
    assert json.loads(show("list", "--within", "30d", "--output", "json"))["others"] == expected
    assert json.loads(show("list", "--within", "3d", "--output", "json"))["others"] == dict.fromkeys(expected, 0)
    assert set(json.loads(show("list", "--user", "erika", "--output", "json"))["others"]) == {
        "membership",
        "ssh-key",
        "trigger",
    }
    del expected["membership"]
    assert json.loads(show("forecast", "--output", "json"))["others"] == expected, "memberships have a column"
    assert json.loads(show("check", "--output", "json"))["others"] == {**expected, "membership": 1}
    assert json.loads(show("list", "--kind", "agent", "--output", "json"))["others"] == {}
    monkeypatch.setattr("tokens.terminal.console.is_terminal", lambda stream: True)
    for words in (["list", "--within", "30d"], ["forecast"], ["check"]):
        assert typed(*words, "--target", url(gitlab_database)) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert said.count("Others expire, too: 1 deploy-token,") == 1
        assert "1 secure-file (--kind deploy-token," in said


@on_the_newest
def test_nothing_shows_a_secret_and_no_name_breaks_a_form(gitlab_database: Address, show: Callable[..., str]) -> None:
    fill(gitlab_database, EVIL)
    every = ("--kind", ",".join(OTHER), "--columns", ",".join(name for name in BY_NAME if name not in OF_LOGS))
    for form in ("text", "json", "ndjson", "csv"):
        printed = show("list", *every, "--output", form)
        assert SECRET not in printed
        assert "\x1b" not in printed
        assert "\u202e" not in printed
    assert len(list(csv.reader(io.StringIO(show("list", *every, "--output", "csv"))))) == len(OTHER) + 1
    assert show("list", "--kind", ",".join(OTHER)).count("\n") == len(OTHER) + 1
    columns = {column for names in OTHERS.reads.values() for column in names}
    assert not [column for column in columns if "token_enc" in column or column in ("token", "key", "key_data", "file")]
    printed = show("check", "--kind", ",".join(OTHER), "--output", "prometheus")
    assert 'gitlab_tokens{kind="secure-file",state="active"} 1.0' in printed
    assert "secure-file" not in show("check", "--output", "prometheus")


@pytest.fixture
def auditor(gitlab_database: Address, superuser: Callable[[Address], Address]) -> Iterator[Callable[..., Address]]:
    """A role with the printed grants of some parts and nothing else."""
    role = "auditor_of_others"
    engine = make_engine(superuser(gitlab_database))

    def execute(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def granted(*parts: str) -> Address:
        execute(f"DROP OWNED BY {role}")
        statements = least_privileges(gitlab_database, role)
        execute(*(statement for part in parts for statement in statements[part]))
        return Address(make_conninfo(gitlab_database.conninfo, user=role), "a role of its own")

    execute(f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    yield granted
    execute(f"DROP OWNED BY {role}")


@on_the_newest
def test_the_printed_grants_are_enough_and_without_them_all_else_works(
    gitlab_database: Address, auditor: Callable[..., Address]
) -> None:
    fill(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=TODAY + timedelta(5))
    every = Selection((), kinds=EVERY_KIND, others=frozenset(OtherKind))
    without_mail = tuple(column for column in COLUMNS if column.name != "email")
    address = auditor("list", "others")
    with listed(address, every, Layout(without_mail)) as listing:
        assert len(list(listing.rows)) == len(OTHER) + 1
        assert listing.notes == ()
    assert due(address, every, 30, 7).warning == len(OTHER)
    assert forecast(address, every, 30).tokens == len(OTHER)
    assert len(breakdown(address, every).kinds) == len(OTHER) + 1
    address = auditor("list")
    with listed(address, every, Layout(without_mail)) as listing:
        assert len(list(listing.rows)) == 1
        (note,) = listing.notes
    assert note.startswith(f"Not read: {', '.join(OTHER)}. ")
    assert "doctor --grants auditor_of_others" in note
    alone = replace(every, kinds=frozenset())
    with pytest.raises(Refused, match="lacks privileges"), listed(address, alone, Layout(without_mail)):
        pass
    with pytest.raises(Refused, match="Not read: deploy-token"):
        due(address, every, 30, 7)
    with listed(address, Selection((), kinds=EVERY_KIND), Layout(COLUMNS[:3]), counts_others=True) as listing:
        assert len(list(listing.rows)) == 1
        listing.count()
        assert set(listing.others.values()) == {None}
    told = {one.subject: one for one in diagnose(address)}
    assert told["privileges for list"].text == "sufficient"
    assert "deploy_tokens" in told["privileges for others"].text


IN_CI = [credential.kind for credential in CREDENTIALS if credential.in_ci]


@on_the_newest
def test_a_ci_database_of_its_own_is_read_and_owners_come_from_main(
    gitlab_database: Address, gitlab_database_at: Callable[[str], Address]
) -> None:
    ci = gitlab_database_at("19.2")
    with make_engine(gitlab_database).begin() as connection:
        group = make_group(connection, path="platform")
        project = make_project(connection, id=4711, namespace_id=group, path="web")
        person = make_user(connection, id=815, username="erika")
        make_token(connection, user_id=person, expires_at=TODAY + timedelta(3), name="token")
        for table in ("ci_triggers", "ci_runners", "ci_secure_files"):
            lock(connection, table)
    with make_engine(ci).begin() as connection:
        made = {"project_id": project}
        make_trigger(connection, owner_id=person, description="trigger", expires_at=after(2), **made)
        make_runner(connection, project, description="runner", token_expires_at=after(4))
        make_secure_file(connection, name="cert", expires_at=after(6), **made)
        make_deploy_token(connection, name="left behind", expires_at=after(1), **made)
    kinds = frozenset({*IN_CI, OtherKind.DEPLOY_TOKEN})
    every = Selection((), kinds=EVERY_KIND, others=kinds)
    columns = tuple(BY_NAME[name] for name in ("name", "owner", "account"))
    with listed(gitlab_database, every, Layout(columns), ci=ci) as listing:
        assert [tuple(row) for row in listing.rows] == [
            ("trigger", "platform/web", "erika"),
            ("token", "erika", "erika"),
            ("runner", "platform/web", MISSING),
            ("cert", "platform/web", MISSING),
        ]
        assert listing.notes == ()
    of_a_group = replace(every, kinds=frozenset(), others=frozenset(IN_CI), groups=("platform",))
    with listed(gitlab_database, of_a_group, Layout(columns), ci=ci) as listing:
        assert len(list(listing.rows)) == 3
    assert due(gitlab_database, of_a_group, 30, 5, ci=ci).urgent == 2
    assert forecast(gitlab_database, of_a_group, 30, ci=ci).tokens == 3
    assert {one.kind for one in breakdown(gitlab_database, of_a_group, ci=ci).kinds} == set(IN_CI)
    with listed(
        gitlab_database, replace(every, others=frozenset()), Layout(columns), ci=ci, counts_others=True
    ) as listing:
        listing.count()
        assert {kind: listing.others[kind] for kind in IN_CI} == dict.fromkeys(IN_CI, 1)
    grants = least_privileges(gitlab_database, "auditor", ci=ci)["others, in the ci database"]
    assert any("ON public.ci_runners TO auditor" in statement for statement in grants)
    assert not any("deploy_tokens" in statement for statement in grants)
    assert {one.subject: one.verdict.value for one in diagnose(gitlab_database, ci=ci)}["ci database"] == "ok"
    # Where only the address of main is known, what is kept elsewhere cannot be seen.
    with listed(gitlab_database, every, Layout(columns)) as listing:
        assert [row[0] for row in listing.rows] == ["token"]
        (note,) = listing.notes
        assert note.startswith("Not read: trigger, runner, secure-file. GitLab keeps that in a ci database of its own")
    nowhere = Address("host=127.0.0.1 port=1 user=x dbname=x", "x@127.0.0.1:1/x")
    with listed(gitlab_database, every, Layout(columns), ci=nowhere) as listing:
        assert len(list(listing.rows)) == 1
        assert "Cannot connect to x@127.0.0.1:1/x" in listing.notes[0]


def lock(connection: sa.Connection, table: str) -> None:
    """Lock a table as GitLab locks one that it keeps in another database."""
    connection.exec_driver_sql(
        "CREATE OR REPLACE FUNCTION lock_writes() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'locked'; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER gitlab_schema_write_trigger_for_{table}"
        f" BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION lock_writes()"
    )


@on_the_newest
def test_tables_that_are_not_there_or_not_gitlabs_are_said_in_a_line(
    gitlab_database: Address, auditor: Callable[..., Address]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=TODAY + timedelta(5))
        connection.exec_driver_sql("DROP TABLE deploy_tokens, ci_secure_files")
        connection.exec_driver_sql("DROP TABLE ci_triggers; CREATE VIEW ci_triggers AS SELECT 1 AS id")
        connection.exec_driver_sql(
            "ALTER TABLE keys ENABLE ROW LEVEL SECURITY; ALTER TABLE keys FORCE ROW LEVEL SECURITY"
        )
    every = Selection((), kinds=EVERY_KIND, others=frozenset(OtherKind))
    with listed(auditor("list", "others"), every, Layout(COLUMNS[:2])) as listing:
        assert len(list(listing.rows)) == 1
        notes = " ".join(listing.notes)
    assert "deploy-token. No table deploy_tokens is here." in notes
    assert "secure-file. GitLab keeps that in a ci database" in notes
    assert "Not read: trigger. public.ci_triggers belongs to role" in notes
    assert "Not read: ssh-key, deploy-key. Row-level security may hide rows of keys" in notes


@on_the_newest
def test_a_plan_is_never_about_them(gitlab_database: Address) -> None:
    named = Selection((), kinds=frozenset(), others=frozenset({OtherKind.AGENT}))
    assert named.as_dict()["kind"] == ["agent"]
    with pytest.raises(UsageError, match="--kind agent is for list"):
        make_plan(gitlab_database, RunKind.REMOVE, named, Change())
    with pytest.raises(UsageError, match="--kind agent is for list"):
        find(gitlab_database, Search(named))

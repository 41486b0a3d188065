"""What GitLab's nightly work will do, predicted at once, beside its own statements, run night by night."""

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.testbed import logs
from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_token,
    make_user,
)
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.errors import UsageError
from tokens.gitlab.rules import ENDS, Effect
from tokens.inventory.scenario import Scenario
from tokens.inventory.simulation import Difference, Simulation, simulated
from tokens.selection import EVERYTHING
from tokens.views import simulation as view

pytestmark = pytest.mark.newest_server

TODAY = datetime.now(UTC).date()
NIGHTS = 45
BOT, SERVICE_ACCOUNT, HUMAN = 6, 13, 0

# What the workers of GitLab do in the night that begins :night, in SQL of its own.
CLEAN_UP_TO_17_9_0 = """
    SELECT u.id FROM users u
    WHERE u.user_type = 6 AND NOT EXISTS (
      SELECT 1 FROM personal_access_tokens p
      WHERE p.user_id = u.id AND NOT (p.expires_at < :cut_off OR (p.revoked = TRUE AND p.updated_at < :cut_off)))
"""
CLEAN_UP_SINCE_17_9_1 = """
    SELECT u.id FROM users u
    WHERE u.user_type = 6 AND NOT EXISTS (
      SELECT 1 FROM personal_access_tokens p
      WHERE p.user_id = u.id AND (
        ((p.revoked = FALSE OR p.revoked IS NULL) AND (p.expires_at IS NULL OR p.expires_at > :night))
        OR (p.expires_at <= :night AND p.expires_at >= :cut_off)
        OR (p.revoked = TRUE AND p.updated_at >= :cut_off)))
"""
EXPIRED_MEMBERS = "SELECT id, user_id FROM members WHERE requested_at IS NULL AND expires_at <= :night"
WORKING = """
    SELECT p.id FROM personal_access_tokens p JOIN users u ON u.id = p.user_id
    WHERE (p.revoked = FALSE OR p.revoked IS NULL) AND (p.expires_at IS NULL OR p.expires_at > :night)
      AND u.state = 'active'
"""
WARN_BEFORE_17_4 = """
    UPDATE personal_access_tokens p SET expire_notification_delivered = TRUE
    WHERE revoked = FALSE AND impersonation = FALSE AND expire_notification_delivered = FALSE
      AND expires_at BETWEEN :night AND CAST(:night AS date) + 7 AND {owner}
    RETURNING id
"""
WARN = """
    UPDATE personal_access_tokens p SET {name}_days_notification_sent_at = now() {delivered}
    WHERE revoked = FALSE AND impersonation = FALSE AND expire_notification_delivered = FALSE
      AND {name}_days_notification_sent_at IS NULL
      AND expires_at BETWEEN CAST(:night AS date) + {least} AND CAST(:night AS date) + {most} AND {owner}
    RETURNING id
"""
TELL_EXPIRED = """
    UPDATE personal_access_tokens p SET after_expiry_notification_delivered = TRUE
    WHERE revoked = FALSE AND impersonation = FALSE AND after_expiry_notification_delivered = FALSE
      AND expires_at = :night AND {person}
    RETURNING id
"""
PERSON = """EXISTS (
      SELECT 1 FROM users u
      WHERE u.id = p.user_id AND (u.user_type = 0 OR u.user_type IS NULL) AND u.state = 'active')"""
OWNER = f"""({PERSON} OR EXISTS (
      SELECT 1 FROM users u JOIN members m ON m.user_id = u.id AND m.requested_at IS NULL
      WHERE u.id = p.user_id AND u.user_type = 6))"""

# The worker notes a notice of a bot's token also where nobody looks after its project or group, and mails nobody.
SOMEBODY_MAILED = """
    SELECT p.id
    FROM personal_access_tokens p
    LEFT JOIN users u ON u.id = p.user_id
    WHERE u.user_type IS DISTINCT FROM 6 OR {mails_about_bots} AND EXISTS (
      SELECT 1
      FROM members o
      JOIN users person ON person.id = o.user_id AND person.state = 'active'
        AND (person.user_type = 0 OR person.user_type IS NULL)
      WHERE o.requested_at IS NULL
        AND (o.access_level = 50 OR (o.access_level = 40 AND o.source_type = 'Project'))
        AND (o.source_type, o.source_id) = (
        SELECT m.source_type, m.source_id FROM members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
        ORDER BY CASE m.source_type WHEN 'Project' THEN 0 ELSE 1 END, m.source_id LIMIT 1
      )
    )
"""


@dataclass(frozen=True)
class Release:
    """A release as the migrations have it, its exact version, and what its workers are."""

    revision: str
    version: str
    clean_up: str | None
    warns_early: bool
    mails_about_bots: bool = True


RELEASES = (
    Release("16.0", "16.0.3-ee", None, False, mails_about_bots=False),
    Release("17.2", "17.2.1", None, False),
    Release("17.8", "17.8.5-ee", CLEAN_UP_TO_17_9_0, True),
    Release("17.10", "17.11.2-ee", CLEAN_UP_SINCE_17_9_1, True),
    Release("18.9", "18.9.0", CLEAN_UP_SINCE_17_9_1, True),
    Release("19.2", "19.2.1-ee", CLEAN_UP_SINCE_17_9_1, True),
)
HAS_SETTINGS = ("18.9", "19.2")


@dataclass
class Happened:
    """What came of the nights: the day and manner of each token's end, of its row's, and of the first lost membership.

    `notices` are (token, night, notice).
    """

    died: dict[int, tuple[date, Effect]] = field(default_factory=dict)
    gone: dict[int, date] = field(default_factory=dict)
    lost: dict[int, date] = field(default_factory=dict)
    notices: set[tuple[int, date, str]] = field(default_factory=set)
    memberships: dict[date, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


class Nights:
    """GitLab's nightly work, carried out in a transaction that is rolled back in the end."""

    def __init__(self, connection: sa.Connection, release: Release, days: int | None) -> None:
        self.connection, self.release, self.days = connection, release, days
        self.happened = Happened()
        self.working = self.works(TODAY)

    def ids(self, statement: str, **values: Any) -> set[int]:
        return set(self.connection.execute(sa.text(statement), values).scalars())

    def works(self, night: date) -> set[int]:
        return self.ids(WORKING, night=night)

    def die(self, night: date, effect: Effect, now: set[int]) -> None:
        for token in self.working - now:
            self.happened.died.setdefault(token, (night, effect))
        self.working &= now

    def delete_bots(self, bots: set[int], night: date) -> None:
        if not bots:
            return
        values = {"bots": list(bots)}
        for token in self.ids("SELECT id FROM personal_access_tokens WHERE user_id = ANY(:bots)", **values):
            self.happened.gone[token] = night
        for table, column in (("personal_access_tokens", "user_id"), ("members", "user_id"), ("users", "id")):
            self.connection.execute(sa.text(f"DELETE FROM {table} WHERE {column} = ANY(:bots)"), values)
        self.die(night, Effect.DELETED, self.working & self.ids("SELECT id FROM personal_access_tokens"))

    def lose(self, users: set[int], night: date) -> None:
        tokens = self.ids("SELECT id FROM personal_access_tokens WHERE user_id = ANY(:users)", users=list(users))
        for token in tokens & self.working:
            self.happened.lost.setdefault(token, night)

    def pass_by(self) -> Happened:
        for number in range(1, NIGHTS + 1):
            night = TODAY + timedelta(number)
            self.die(night, Effect.EXPIRES, self.works(night))
            if self.release.clean_up and self.days is not None:
                cut_off = night - timedelta(self.days)
                self.delete_bots(self.ids(self.release.clean_up, night=night, cut_off=cut_off), night)
            self.end_memberships(night)
            self.warn(night)
        return self.happened

    def end_memberships(self, night: date) -> None:
        rows = self.connection.execute(sa.text(EXPIRED_MEMBERS), {"night": night}).all()
        if not rows:
            return
        bots = self.ids("SELECT id FROM users WHERE user_type = 6")
        self.connection.execute(sa.text("DELETE FROM members WHERE id = ANY(:ids)"), {"ids": [row.id for row in rows]})
        for row in rows:
            self.happened.memberships[night][row.user_id not in bots] += 1
        self.lose({row.user_id for row in rows} - bots, night)
        self.delete_bots({row.user_id for row in rows} & bots, night)

    def warn(self, night: date) -> None:
        if not self.release.warns_early:
            self.note(WARN_BEFORE_17_4.format(owner=OWNER), night, "7d")
        else:
            for name, least, most, delivered in (
                ("seven", 0, 7, ", expire_notification_delivered = TRUE"),
                ("thirty", 8, 30, ""),
                ("sixty", 31, 60, ""),
            ):
                statement = WARN.format(name=name, least=least, most=most, delivered=delivered, owner=OWNER)
                self.note(statement, night, f"{most}d")
        self.note(TELL_EXPIRED.format(person=PERSON), night, "expired")

    def note(self, statement: str, night: date, name: str) -> None:
        noted = self.ids(statement, night=night)
        if noted:
            mailed = self.ids(SOMEBODY_MAILED.format(mails_about_bots=self.release.mails_about_bots))
            self.happened.notices |= {(token, night, name) for token in noted & mailed}


@contextmanager
def rolled_back(address: Address) -> Iterator[sa.Connection]:
    with make_engine(address).connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        driver.prepare_threshold = 0  # every night has the same statements
        transaction = connection.begin()
        try:
            yield connection
        finally:
            transaction.rollback()


def decide(nights: Nights, scenario: Scenario) -> None:
    """What an administrator decides today, and what GitLab does within hours."""
    connection = nights.connection
    if scenario.disable:
        nights.die(TODAY, Effect.STOPS, set())
    for name in scenario.block_users:
        values = {"name": name}
        connection.execute(sa.text("UPDATE users SET state = 'blocked' WHERE username = :name"), values)
        of_user = "SELECT p.id FROM personal_access_tokens p JOIN users u ON u.id = p.user_id WHERE u.username = :name"
        nights.die(TODAY, Effect.STOPS, nights.working - nights.ids(of_user, **values))
    if scenario.remove_member:
        removed = """
            DELETE FROM members m USING users u, routes r
            WHERE u.id = m.user_id AND u.username = :name AND r.source_type = m.source_type
              AND r.source_id = m.source_id AND m.requested_at IS NULL
              AND (r.path = :path OR r.path LIKE :path || '/%')
            RETURNING u.id
        """
        path = scenario.project or scenario.group
        nights.lose(nights.ids(removed, name=scenario.remove_member, path=path), TODAY)
    if scenario.max_lifetime:
        limit = TODAY + timedelta(scenario.max_lifetime)
        for beyond in ("expires_at IS NULL", "expires_at > :limit"):
            statement = f"UPDATE personal_access_tokens SET revoked = TRUE WHERE revoked = FALSE AND {beyond}"
            connection.execute(sa.text(statement), {"limit": limit})
        nights.die(TODAY, Effect.REVOKED, nights.works(TODAY))


def passed(address: Address, release: Release, scenario: Scenario) -> Happened:
    days: int | None = 30
    if scenario.clean_up_days or scenario.keeps_bots:
        days = None if scenario.keeps_bots else scenario.clean_up_days
    with rolled_back(address) as connection:
        nights = Nights(connection, release, days)
        decide(nights, scenario)
        return nights.pass_by()


def populate(address: Address, seed: int, *, null_types: bool, early: bool) -> None:
    """People, bots and service accounts around every cut-off that there is, with what GitLab may have left behind."""
    dice = random.Random(seed)
    days = (
        -400,
        -46,
        -38,
        -37,
        -31,
        -30,
        -29,
        -8,
        -7,
        -1,
        0,
        1,
        2,
        7,
        8,
        9,
        29,
        30,
        31,
        32,
        44,
        45,
        46,
        75,
        89,
        90,
        91,
    )
    dates: list[Any] = [None, None, *(TODAY + timedelta(number) for number in days)]
    odd = [*dates, "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"]
    ends: list[Any] = [
        None,
        None,
        None,
        *(TODAY + timedelta(number) for number in (-3, 0, 1, 5, 30, 45, 46)),
        "infinity",
    ]
    with make_engine(address).begin() as connection:
        make_settings(connection)
        top = make_group(connection, path="platform")
        places = [{"group_id": top}, {"group_id": make_group(connection, path="tools", parent_id=top)}]
        places.append({"project_id": make_project(connection, path="deploy", namespace_id=top)})
        places.append({"project_id": make_project(connection)})
        unattended = [{"group_id": make_group(connection)}, {"project_id": make_project(connection)}]
        for number in range(90):
            kinds = [BOT, BOT, BOT, HUMAN, HUMAN, SERVICE_ACCOUNT, None if null_types else HUMAN]
            state = dice.choice(["active", "active", "active", "blocked", "deactivated"])
            owner = make_user(
                connection,
                username=f"user-{number}",
                user_type=HUMAN if number < 3 else dice.choice(kinds),
                state="active" if number < 3 else state,
            )
            if number == 2:
                make_membership(connection, user_id=owner, project_id=places[2]["project_id"])
            for _ in range(dice.choice([0, 1, 1, 2])):
                asked: dict[str, Any] = {"requested_at": "2026-01-01"} if dice.random() < 0.15 else {}
                if number != 2:
                    place = dice.choice([*places, *unattended])
                    level = 30 if place in unattended else dice.choice([30, 40, 50])
                    make_membership(
                        connection, user_id=owner, expires_at=dice.choice(ends), access_level=level, **place, **asked
                    )
            for _ in range(dice.choice([0, 1, 1, 2, 2, 3, 4])):
                sent: dict[str, Any] = dice.choice([{}, {}, {"expire_notification_delivered": True}])
                if early:
                    sent |= dice.choice(
                        [{}, {"sixty_days_notification_sent_at": "now"}, {"seven_days_notification_sent_at": "now"}]
                    )
                make_token(
                    connection,
                    user_id=owner,
                    expires_at=dice.choice(odd if number % 10 == 0 else dates),
                    revoked=dice.choice([False, False, False, None, True]),
                    impersonation=dice.random() < 0.1,
                    after_expiry_notification_delivered=dice.random() < 0.2,
                    updated_at=datetime(TODAY.year, TODAY.month, TODAY.day)
                    - timedelta(dice.choice([0, 1, 6, 7, 8, 28, 29, 30, 31, 200]), hours=dice.choice([0, -5])),
                    **sent,
                )


def scenarios(release: Release) -> Iterator[Scenario]:
    yield Scenario(NIGHTS)
    yield Scenario(NIGHTS, max_lifetime=30)
    yield Scenario(NIGHTS, max_lifetime=90)
    yield Scenario(NIGHTS, block_users=("user-0", "user-1"))
    yield Scenario(NIGHTS, remove_member="user-2", project="platform/deploy")
    yield Scenario(NIGHTS, remove_member="user-2", group="platform", block_users=("user-0",))
    if release.revision in HAS_SETTINGS:
        yield Scenario(NIGHTS, clean_up_days=7)
        yield Scenario(NIGHTS, clean_up_days=1, max_lifetime=31)
        yield Scenario(NIGHTS, clean_up_days=200)
        yield Scenario(NIGHTS, keeps_bots=True)
        yield Scenario(NIGHTS, disable=True)
        yield Scenario(NIGHTS, disable=True, clean_up_days=7, block_users=("user-1",))


def check(found: Simulation, with_it: Happened, without: Happened) -> None:
    """Compare a prediction with what came of the nights."""
    events = list(found.tokens(None))
    real = [one for one in events if one.difference is not Difference.SPARED]
    died = {one.id: (one.night, one.rule.effect) for one in real if one.worked and one.rule.effect in ENDS}
    assert died == with_it.died
    gone = {one.id: one.night for one in real if one.rule.effect is Effect.DELETED}
    assert gone == with_it.gone
    lost = {one.id: one.night for one in real if one.rule.effect is Effect.LOSES_ACCESS}
    assert lost == {
        token: night for token, night in with_it.lost.items() if night < with_it.died.get(token, (date.max,))[0]
    }
    assert {
        one.id for one in real if one.difference is Difference.CHANGE and one.worked and one.rule.effect in ENDS
    } == {token for token, (night, _) in with_it.died.items() if night < without.died.get(token, (date.max,))[0]}
    spared = [one for one in events if one.difference is Difference.SPARED]
    assert {one.id: one.night for one in spared if one.worked and one.rule.effect in ENDS} == {
        token: night for token, (night, _) in without.died.items() if night < with_it.died.get(token, (date.max,))[0]
    }
    told = {(one.id, night, name) for one in real for night, name in one.notices}
    assert told == {one for one in with_it.notices if one[0] in {event.id for event in real}}
    per_night: dict[tuple[date, str], int] = defaultdict(int)
    for _, night, name in with_it.notices:
        per_night[night, name] += 1
    assert {(one.night, one.rule.name): one.tokens for one in found.notices} == per_night
    assert {one.night: [one.of_bots, one.of_others] for one in found.memberships} == with_it.memberships
    assert sum(one.dies for one in found.owners(None)) == found.dies() == len(died)


@pytest.mark.parametrize(
    ("release", "seed"),
    [
        pytest.param(
            release,
            seed,
            marks=pytest.mark.slow if (release, seed) != (RELEASES[-1], 1) else (),
            id=f"{release.version}-{seed}",
        )
        for release in RELEASES
        for seed in range(1, 6 if release is RELEASES[-1] else 3)
    ],
)
def test_what_is_predicted_is_what_gitlabs_own_statements_do(
    gitlab_database_at: Callable[[str], Address], release: Release, seed: int
) -> None:
    address = gitlab_database_at(release.revision)
    populate(address, seed, null_types=release.revision == "16.0", early=release.warns_early)
    without = passed(address, release, Scenario(NIGHTS))
    assert min(len(without.died), len(without.gone) or 99, len(without.notices)) > 10
    for scenario in scenarios(release):
        with_it = passed(address, release, scenario)
        with simulated(address, EVERYTHING, scenario, release=release.version) as found:
            check(found, with_it, without)


@dataclass(frozen=True)
class Said:
    """What a call of `simulate` says."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Simulate = Callable[..., Said]


@pytest.fixture
def simulate(alone: Alone, capsys: pytest.CaptureFixture[str]) -> Iterator[Simulate]:
    """`simulate` on a GitLab with a person who has three tokens, one of them dead, and a project's bot with two."""
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            jo = make_user(connection, username="jo")
            group = make_group(connection, path="platform")
            project = make_project(connection, path="deploy", namespace_id=group)
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, project_id=project, expires_at=TODAY + timedelta(20))
            make_membership(connection, user_id=jo, project_id=project, access_level=40)
            make_token(connection, user_id=jo, name="laptop", expires_at=TODAY + timedelta(3))
            make_token(connection, user_id=jo, name="ci")
            make_token(connection, user_id=jo, name="old", expires_at=TODAY - timedelta(3))
            make_token(connection, user_id=bot, name="deploy", expires_at=TODAY + timedelta(50))
            make_token(connection, user_id=bot, name="gone", revoked=True)

        def run(*words: str) -> Said:
            capsys.readouterr()
            return Said(typed("simulate", "--target", url(address), *words), *capsys.readouterr())

        yield run


def test_a_sentence_says_first_how_many_tokens_stop_working_and_when(simulate: Simulate) -> None:
    said = simulate()
    assert (said.status, said.err) == (0, "")
    last = TODAY + timedelta(60)
    assert said.lines[0] == f"2 tokens stop working in the next 60 nights (until {last})."
    assert said.lines[1] == f"The first stops on {TODAY + timedelta(3):%Y-%m-%d (%a, in 3 days)}."
    assert said.lines[2] == "GitLab deletes 1 dead token with its bots, too."
    assert [line.split(" | ")[2].strip() for line in said.lines[7:10]] == [
        "expires",
        "membership-ends",
        "membership-ends",
    ]
    assert "| platform/deploy | 1            | 2            |" in said.out


def test_it_says_what_dies_because_of_a_decision_and_what_dies_anyway(simulate: Simulate) -> None:
    said = simulate("--max-lifetime", "30d")
    assert said.lines[0] == (
        f"If today the maximum lifetime is set to 30 days: 3 tokens stop working in the next 60 nights (until "
        f"{TODAY + timedelta(60)}), 2 because of it, 1 anyway."
    )
    assert "NOTE: GitLab revokes tokens beyond the maximum three hours after it is set" in said.err
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(simulate("--max-lifetime", "30d", "-o", "csv").out))}
    assert [rows[name]["difference"] for name in ("laptop", "ci", "deploy")] == ["anyway", "change", "change"]
    assert (rows["ci"]["effect"], rows["ci"]["night"]) == ("revoked", str(TODAY))


def test_a_maximum_that_is_the_old_one_revokes_nothing(alone: Alone) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            make_settings(connection, max_personal_access_token_lifetime=90)
            make_token(connection)
        with simulated(address, EVERYTHING, Scenario(60, max_lifetime=90)) as found:
            assert (found.dies(), found.counts) == (0, ())
            assert found.notes[0] == (
                "The maximum lifetime is 90 days already: GitLab revokes what is beyond it only when it changes."
            )
        with simulated(address, EVERYTHING, Scenario(60, max_lifetime=91)) as found:
            assert found.dies(Difference.CHANGE) == 1


def test_where_access_tokens_are_disabled_a_note_says_that_none_works(alone: Alone) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            make_settings(connection, disable_personal_access_tokens=True)
            make_token(connection, expires_at=TODAY + timedelta(3))
        with simulated(address, EVERYTHING, Scenario(60)) as found:
            assert found.dies() == 1
            assert found.notes[0].startswith("Access tokens are disabled, so none works now.")


def test_a_bot_is_removed_from_nowhere(alone: Alone) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            bot = make_user(connection, username="project_1_bot", user_type=BOT)
            make_membership(connection, user_id=bot, group_id=make_group(connection, path="platform"))
        scenario = Scenario(60, remove_member="project_1_bot", group="platform")
        with (
            pytest.raises(UsageError, match="project_1_bot is a bot of a project or group, and GitLab removes no bot"),
            simulated(address, EVERYTHING, scenario),
        ):
            pass


def test_a_new_maximum_revokes_tokens_of_inactive_owners_which_are_dead_already(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            make_settings(connection)
            for name, state in (("jo", "blocked"), ("mo", "active")):
                user = make_user(connection, username=name, state=state)
                make_token(connection, user_id=user, name=name, expires_at=TODAY + timedelta(300))
        scenario = Scenario(60, max_lifetime=30, granular_after=TODAY)
        with simulated(address, EVERYTHING, scenario) as found:
            events = {one.name: (one.night, one.rule.effect, one.difference, one.worked) for one in found.tokens(None)}
            assert events == {
                name: (TODAY, Effect.REVOKED, Difference.CHANGE, worked)
                for name, worked in (("mo", True), ("jo", False))
            }
            assert found.dies() == 1
            assert "1 of these tokens is not fine-grained, and no other like it" in " ".join(found.notes)
            assert [numbers["revoked"] for numbers in view.by_night(found).values()] == [1]
            assert "revoked (dead)" in "\n".join(view.screen(found, "token", None, None))
        assert typed("simulate", "--target", url(address), "--max-lifetime", "30d", "-o", "ics") == 0
        assert capsys.readouterr().out.count("BEGIN:VEVENT") == 1


def test_mail_and_whom_it_goes_to_are_foreseen(simulate: Simulate) -> None:
    rows = json.loads(simulate("-o", "json").out)["tokens"]
    found = {row["name"]: ([one["notice"] for one in row["notices"]], row["told"]) for row in rows}
    assert found == {"laptop": (["7d", "expired"], ["jo"]), "deploy": (["60d"], ["jo"]), "gone": ([], [])}
    blocked = json.loads(simulate("--block-user", "jo", "-o", "json").out)["tokens"]
    assert [(row["name"], row["told"]) for row in blocked if row["kind"] == "project"] == [("deploy", []), ("gone", [])]


def test_no_mail_goes_to_somebody_whose_membership_has_ended_by_then(alone: Alone) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            project, bot, jo = make_project(connection), make_user(connection, user_type=BOT), make_user(connection)
            make_membership(connection, user_id=bot, project_id=project)
            make_membership(connection, user_id=jo, project_id=project, expires_at=TODAY + timedelta(20))
            make_membership(connection, user_id=jo, project_id=project, expires_at="4714-11-24 BC")
            for days in (26, 27):  # seven days before is the night before that end, or that very night
                make_token(connection, user_id=bot, name=str(days), expires_at=TODAY + timedelta(days))
        with simulated(address, EVERYTHING, Scenario(60), release="19.2.1") as found:
            told = {one.name: [name for _, name in one.notices] for one in found.tokens(None)}
            assert told == {"26": ["30d", "7d"], "27": ["30d"]}
            assert sum(one.tokens for one in found.notices) == 3
        with make_engine(address).begin() as connection:
            connection.execute(sa.text("DELETE FROM members WHERE expires_at > '2000-01-01'"))
        with simulated(address, EVERYTHING, Scenario(60), release="19.2.1") as found:
            assert found.notices == ()


def test_whom_mail_goes_to_may_have_no_username(alone: Alone, capsys: pytest.CaptureFixture[str]) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            person = make_user(connection, username=None)
            make_token(connection, user_id=person, expires_at=TODAY + timedelta(20))
        assert typed("simulate", "--target", url(address), "-o", "csv") == 0
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
        assert row["told"] == f"user {person}"


def test_an_owner_without_a_name_is_a_user_or_a_bot_without_a_membership(
    alone: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            person = make_user(connection, username=None)
            bot = make_user(connection, username="bot", user_type=BOT)
            for owner, days in ((person, 20), (bot, 30)):
                make_token(connection, user_id=owner, expires_at=TODAY + timedelta(days))
        assert typed("simulate", "--target", url(address), "--by", "owner") == 0
        owners = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| (")]
        assert owners == ["(no such user)", "(no membership)"]


def test_who_is_blocked_or_removed_takes_tokens_along(simulate: Simulate) -> None:
    said = simulate("--block-user", "jo", "--by", "owner")
    assert "jo is blocked: 3 tokens stop working" in said.out
    removed = simulate("--remove-member", "jo", "--group", "platform", "-o", "csv")
    rows = [row for row in csv.DictReader(io.StringIO(removed.out)) if row["effect"] == "loses-access"]
    assert {(row["name"], row["night"], row["difference"]) for row in rows} == {
        ("laptop", str(TODAY), "change"),
        ("ci", str(TODAY), "change"),
    }


def test_nights_and_a_calendar_count_what_stops(simulate: Simulate) -> None:
    nights = list(csv.DictReader(io.StringIO(simulate("--by", "night", "-o", "csv").out)))
    ended = {row["night"]: (row["expires"], row["deleted"], row["dead_rows_deleted"]) for row in nights}
    assert ended[str(TODAY + timedelta(3))] == ("1", "0", "0")
    assert ended[str(TODAY + timedelta(20))] == ("0", "1", "1")
    assert "Stop working" in simulate("--by", "night").out
    for by in ("token", "owner", "night"):
        assert len(simulate("--by", by, "-o", "csv", "--first", "1").lines) == 2
        assert "first all shows them" in simulate("--by", by, "--first", "1").out
    calendar = simulate("-o", "ics").out
    assert calendar.count("SUMMARY:1 token stops working") == 2
    assert "SUMMARY:1 token of platform/deploy stops working" in simulate("--group", "platform", "-o", "ics").out


def test_a_decision_may_keep_bots_and_leave_people_without_successors(simulate: Simulate) -> None:
    said = simulate("--clean-up-days", "never", "--nights", "1y")
    assert "inactive bots are never deleted" in said.out
    notes = json.loads(simulate("--granular-after", "today", "-o", "json").out)["notes"]
    assert (
        notes[1] == "2 of these tokens are not fine-grained, and no other like them can be made when they stop working."
    )


def test_with_a_log_the_tokens_that_are_used_come_first(simulate: Simulate, tmp_path: Path) -> None:
    # The token with id 4 is the bot's.
    uses = [replace(one, token=4) for one in logs.population([4])[:1]]
    log = logs.plain(tmp_path / "api_json.log", logs.written(uses, [TODAY]).lines)
    found = json.loads(simulate("--log", str(log), "-o", "json").out)
    assert found["in_use"]["used"] == 1
    assert (found["tokens"][0]["id"], found["tokens"][0]["calls_a_day"] > 0) == (4, True)
    with log.open("ab") as half:
        half.write(b'{"time":"2026-06-15T10:00:00.000Z","token_type":"PersonalAccessToken","token_id":4,"st')
    said = simulate("--log", str(log))
    assert "Of these, 0 are used daily and 1 at all, by a log of 1 day" in said.out
    assert "1 line is damaged and not counted." in said.err


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["--require-expiry", "--no-require-expiry"], "--require-expiry and --no-require-expiry are opposites"),
        (["--disable", "--max-lifetime", "90d"], "--disable stops every token at once, so --max-lifetime"),
        (["--remove-member", "jo"], "--remove-member needs the one place"),
        (["--remove-member", "jo", "--project", "a/b,c/d"], "--remove-member needs the one place"),
        (["--remove-member", "jo", "--project", "nobody/here"], 'This GitLab has no project "nobody/here"'),
        (["--block-user", "joe"], 'This GitLab has no user "joe"'),
        (["--max-lifetime", "500d"], "--max-lifetime takes 400 days at most"),
        (["--clean-up-days", "soon"], '--clean-up-days takes a number of days such as 7, or never, not "soon"'),
        (["--nights", "20y"], "--nights takes a period or a day from tomorrow on, at most 3,660 days away"),
        (["--kind", "runner"], "--kind runner is for"),
        (["--first", "none"], "--first takes a number of lines, or all"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(simulate: Simulate, words: list[str], because: str) -> None:
    said = simulate(*words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(because)
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("scenario", "since"),
    [
        (Scenario(5, requires_expiry=False), "17.2"),
        (Scenario(5, clean_up_days=7), "18.3"),
        (Scenario(5, granular_after=TODAY), "18.11"),
    ],
)
def test_a_setting_that_the_release_does_not_have_is_refused(
    gitlab_database_at: Callable[[str], Address], scenario: Scenario, since: str
) -> None:
    with (
        pytest.raises(UsageError, match=f"GitLab {since} and later"),
        simulated(gitlab_database_at("16.0"), EVERYTHING, scenario),
    ):
        pass


def test_where_the_release_is_not_known_the_worse_clean_up_counts(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("17.8")
    with make_engine(address).begin() as connection:
        make_settings(connection)
        make_token(connection, user_id=make_user(connection, user_type=BOT))
    with simulated(address, EVERYTHING, Scenario(5)) as found:
        assert (found.dies(), "of the clean-ups that it may have the worst counts" in found.notes[0]) == (1, True)
    with simulated(address, EVERYTHING, Scenario(5), release="17.11.2") as found:
        assert found.dies() == 0


@pytest.mark.parametrize("by", ["night", "owner"])
def test_on_a_narrow_terminal_a_column_of_numbers_has_its_whole_heading_or_is_left_out(alone: Alone, by: str) -> None:
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            project = make_project(connection)
            for days in (2, 9, 40):
                bot = make_user(connection, user_type=BOT)
                make_membership(connection, user_id=bot, project_id=project, expires_at=TODAY + timedelta(days))
                make_token(connection, user_id=bot, expires_at=TODAY + timedelta(days + 5))
                make_token(connection, user_id=bot, expires_at=TODAY - timedelta(days))
            jo = make_user(connection, username="jo")
            make_membership(connection, user_id=jo, project_id=project, access_level=40)
            make_membership(connection, user_id=jo, group_id=make_group(connection), expires_at=TODAY + timedelta(2))
            make_token(connection, user_id=jo, expires_at=TODAY + timedelta(30))
            make_membership(connection, user_id=make_user(connection), project_id=project, access_level=40)
        with simulated(address, EVERYTHING, Scenario(60, block_users=("jo",)), release="19.2.1") as found:
            for columns in (80, 100, 140):
                table = [line for line in view.screen(found, by, None, columns) if line.startswith("|")]
                heading = next(line for line in table if line.startswith(("| Night", "| Owner")))
                assert "…" not in heading
                assert max(map(len, table)) <= columns
                assert ("Notices" in heading) == (by == "night" and columns > 80)

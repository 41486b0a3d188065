"""What GitLab's nightly work will do, predicted at once, beside its own statements, run night by night."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.factories import (
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_token,
    make_user,
)
from tokens.address import Address
from tokens.engine import make_engine
from tokens.gitlab.rules import ENDS, Effect
from tokens.inventory.scenario import Scenario
from tokens.inventory.simulation import Difference, Simulation, simulated
from tokens.selection import EVERYTHING

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


@dataclass(frozen=True)
class Release:
    """A release as the migrations have it, its exact version, and what its workers are."""

    revision: str
    version: str
    clean_up: str | None
    warns_early: bool


RELEASES = (
    Release("16.0", "16.0.3-ee", None, False),
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
        self.happened.notices |= {(token, night, name) for token in self.ids(statement, night=night)}


@contextmanager
def rolled_back(address: Address) -> Iterator[sa.Connection]:
    with make_engine(address).connect() as connection:
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
                    make_membership(
                        connection, user_id=owner, expires_at=dice.choice(ends), **dice.choice(places), **asked
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


@pytest.mark.parametrize("release", RELEASES, ids=lambda one: one.version)
@pytest.mark.parametrize("seed", [1, *(pytest.param(more, marks=pytest.mark.slow) for more in range(2, 6))])
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

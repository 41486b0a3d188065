"""What the data says about the tokens of a change, and the settings that judge it."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

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
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.facts import Facts, read_facts
from tokens.gitlab import notices
from tokens.gitlab.background_migration import BackgroundMigration
from tokens.gitlab.condition import Condition
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp
from tokens.gitlab.membership import MembershipRule, rule_of
from tokens.gitlab.schema import TOKENS, Schema, read_schema
from tokens.gitlab.settings import Policy, read_policy

TODAY = datetime.now(UTC).date()
MIGRATION = BackgroundMigration(datetime(2023, 6, 15, 23, 30, tzinfo=UTC), datetime(2023, 6, 16, 1, 0, tzinfo=UTC))
CHOSEN = Condition("t.name = %(chosen)s AND u.id > 0", {"chosen": "chosen"})

INACTIVE_DAYS = "inactive_resource_access_tokens_delete_after_days"

HUMAN, BOT, SERVICE_ACCOUNT = 0, 6, 13


def day(days: int) -> date:
    """So many days after today in UTC."""
    return TODAY + timedelta(days)


def moment(days: int) -> datetime:
    return datetime(TODAY.year, TODAY.month, TODAY.day) + timedelta(days)


def to(days: int) -> Change:
    return Change(to=ExpirationDate(day(days).toordinal()))


def facts(
    address: Address, change: Change, migration: BackgroundMigration | None = None, **settings: Any
) -> dict[str, int]:
    """The facts about the chosen tokens that are not 0."""
    with database.reading(address) as connection:
        schema = read_schema(connection)
        policy = replace(read_policy(connection, schema), **settings)
        found = asdict(read_facts(connection, schema, CHOSEN, change, policy, migration, CleanUp()))
    assert found.pop("superseded") == ()
    assert all(isinstance(count, int) for count in found.values())
    return {name: count for name, count in found.items() if count}


class World:
    """A database that remembers what its tokens should be counted as."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.project, self.group = make_project(connection), make_group(connection)
        make_membership(connection, user_id=make_user(connection), project_id=self.project, access_level=40)
        self.expected: Counter[str] = Counter()

    def token(self, owner: int | None = None, *, expires: Any, **columns: Any) -> None:
        expires_at = day(expires) if isinstance(expires, int) else expires
        columns.setdefault("name", "chosen")
        make_token(self.connection, user_id=owner, expires_at=expires_at, **columns)

    def bot(self, *ends: int | str | None, **columns: Any) -> int:
        """A bot with a membership for each of `ends`: days from today, a date's text or None for no end."""
        user = make_user(self.connection, user_type=BOT)
        for number, end in enumerate(ends):
            expires_at = day(end) if isinstance(end, int) else end
            place = {"project_id": self.project} if number == 0 else {"group_id": self.group}
            make_membership(self.connection, user_id=user, expires_at=expires_at, **place, **columns)
        return user

    def expect(self, **counts: int) -> None:
        self.expected.update(counts)


def test_everything_that_matters_is_counted_once(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        world = World(connection)
        _people(world)
        _memberships(world)
        _clean_up(world)
        expected = world.expected
    assert facts(gitlab_database, to(40), MIGRATION) == expected

    kept = expected - Counter(doomed_anyway_bots=expected["doomed_anyway_bots"])
    assert facts(gitlab_database, to(40), MIGRATION, inactive_days=None) == kept
    assert facts(gitlab_database, to(40), MIGRATION, inactive_days=999_999) == {**kept, "doomed_anyway_bots": 2}
    assert facts(gitlab_database, to(60), MIGRATION)["mailed_owners"] == 2
    assert "mailed_owners" not in facts(gitlab_database, to(61), MIGRATION)

    without_end = facts(gitlab_database, Change(), MIGRATION)
    assert without_end["bots_ending_before"] == expected["bots_ending_before"] + 2
    assert without_end["reviving"] == expected["reviving"]
    assert "mailed_owners" not in without_end

    by_days = facts(gitlab_database, Change(by=20), MIGRATION)
    assert by_days["reviving"] == 2, "those that expired less than 20 days ago"
    assert by_days["bots_ending_before"] == 3
    spread = facts(gitlab_database, Change(by=10, days=11), MIGRATION)
    of_the_latest = ("reviving", "bots_ending_before")
    assert [spread[what] for what in of_the_latest] == [by_days[what] for what in of_the_latest]

    to_the_past = facts(gitlab_database, to(0), MIGRATION)
    assert "reviving" not in to_the_past
    assert to_the_past["doomed_anyway_bots"] == 13, "all bots that have no active token then"
    assert to_the_past["warned"] == expected["warned"]


def _people(world: World) -> None:
    person = make_user(world.connection)
    world.token(person, expires=3, expire_notification_delivered=True)
    world.token(person, expires=5, sixty_days_notification_sent_at=moment(0))
    world.token(person, expires=9, name="another", thirty_days_notification_sent_at=moment(0))
    world.expect(warned=2, warned_owners=1, mailed_owners=1)

    world.token(expires=-10)
    world.expect(reviving=1)
    world.token(expires=0)
    world.expect(reviving=1)
    world.token(expires=-100, revoked=None, after_expiry_notification_delivered=True)
    world.expect(reviving=1, warned=1, warned_owners=1)
    world.token(expires=-10, revoked=True, seven_days_notification_sent_at=moment(-17))
    world.expect(warned=1, warned_owners=1)
    world.token(expires=5, impersonation=True, seven_days_notification_sent_at=moment(0))
    world.expect(warned=1, warned_owners=1)
    world.token(expires=None)
    world.token(expires="infinity")
    world.token(expires="-infinity")
    world.expect(reviving=1)

    blocked = make_user(world.connection, state="blocked")
    world.token(blocked, expires=5, expire_notification_delivered=True)
    world.token(blocked, expires=None)
    world.token(make_user(world.connection, state="deactivated"), expires=5)
    world.expect(warned=1, warned_owners=1, blocked=3, blocked_owners=2)

    account = make_user(world.connection, user_type=SERVICE_ACCOUNT)
    world.token(account, expires=5)
    world.token(account, expires=6, expire_notification_delivered=True)
    world.expect(service_accounts=2, warned=1, warned_owners=1)

    before, after = "2023-06-16 00:59:59", "2023-06-16 01:00:01"
    for expires, created_at in (
        ("2024-06-14", before),
        ("2024-06-15", before),
        ("2024-06-14", after),
        ("2024-06-13", before),
        ("2024-06-16", before),
    ):
        world.token(expires=expires, created_at=created_at, revoked=True)
    world.expect(migrated=2)

    make_tokens(world.connection, 3, expires_at=day(-10), name="another", expire_notification_delivered=True)


def _memberships(world: World) -> None:
    """With a date 40 days ahead."""
    bot = world.bot(10)
    world.token(bot, expires=5, expire_notification_delivered=True)
    world.token(bot, expires=6)
    world.token(bot, expires=7, name="another")
    world.expect(bots_ending_before=1, warned=1, warned_owners=1, mailed_owners=1)
    world.token(world.bot(None, 10), expires=5)
    world.expect(bots_ending_before=1)
    world.token(world.bot("-infinity"), expires=5)
    world.expect(bots_ending_before=1)

    for end in (None, 40, 50, "infinity"):
        world.token(world.bot(end), expires=5)
    world.token(world.bot(10, requested_at=moment(-1)), expires=5)
    make_membership(world.connection, user_id=(person := make_user(world.connection)), group_id=world.group)
    make_membership(world.connection, user_id=person, project_id=world.project, expires_at=day(10))
    world.token(person, expires=5)

    world.token(world.bot(), expires=5, expire_notification_delivered=True)
    world.expect(warned=1, warned_owners=1)


def _clean_up(world: World) -> None:
    """With a clean-up after 30 days."""
    world.token(world.bot(None), expires=-31)
    world.expect(reviving=1)
    world.token(world.bot(None), expires=-30)
    world.expect(reviving=1)

    world.token(world.bot(None), expires=5, revoked=True, updated_at=moment(-1))
    world.expect(doomed_anyway_bots=1)
    world.token(world.bot(None), expires=None, revoked=True, updated_at=moment(-300))
    world.expect(doomed_anyway_bots=1)
    bot = world.bot(None)
    world.token(bot, expires=5, revoked=True, updated_at=moment(-300))
    world.token(bot, expires=9, name="another")

    bot = world.bot(None)
    world.token(bot, expires=-31)
    world.token(bot, expires=5, name="another", revoked=True, updated_at=moment(-1))
    world.expect(reviving=1)
    world.token(make_user(world.connection), expires=-400)
    world.expect(reviving=1)


def test_a_migration_whose_end_is_not_known_accounts_for_two_dates(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        world = World(connection)
        for expires in ("2024-06-13", "2024-06-14", "2024-06-15", "2024-06-16"):
            world.token(expires=expires, created_at="2023-06-16 23:59:59")
            world.token(expires=expires, created_at="2023-06-17 00:00:00")
    started, finished = MIGRATION.started_at, MIGRATION.finished_at
    assert facts(gitlab_database, to(1), BackgroundMigration(started, None))["migrated"] == 2
    assert (
        facts(gitlab_database, to(1), BackgroundMigration(started, datetime(2023, 6, 18, tzinfo=UTC)))["migrated"] == 6
    )
    assert "migrated" not in facts(gitlab_database, to(1), BackgroundMigration(None, finished))
    for nothing in (None, BackgroundMigration(None, None), BackgroundMigration(datetime(9999, 1, 1, tzinfo=UTC), None)):
        assert "migrated" not in facts(gitlab_database, to(1), nothing)


@pytest.mark.parametrize("release", [None, (16, 3), (16, 4), (17, 2)])
def test_a_bot_counts_as_mailed_if_gitlab_mails_somebody_about_it(
    gitlab_database: Address, release: tuple[int, int] | None
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for role, place in itertools.product((30, 40, 50), ("project_id", "group_id")):
            where = {place: make_project(connection) if place == "project_id" else make_group(connection)}
            make_membership(connection, user_id=make_user(connection), access_level=role, **where)
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, **where)
            make_token(connection, user_id=bot, name="chosen", expires_at=day(1), expire_notification_delivered=True)
    with database.reading(gitlab_database) as connection:
        schema = read_schema(connection)
        policy = read_policy(connection, schema)
        found = read_facts(connection, schema, CHOSEN, to(7), policy, None, CleanUp(), release)
    # Of a group the Owner; of a project the Maintainer, and later the Owner, too.
    assert found.mailed_owners == {None: 3, (16, 3): 0, (16, 4): 2, (17, 2): 3}[release]


def test_no_tokens_are_no_facts(gitlab_database: Address) -> None:
    assert facts(gitlab_database, to(40), MIGRATION) == {}
    assert not any(asdict(Facts()).values())


@pytest.mark.each_release
def test_every_release_has_its_facts_and_settings(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        world = World(connection)
        world.token(expires=-3, after_expiry_notification_delivered=True)
        world.token(world.bot(1), expires=1, expire_notification_delivered=True)
        world.token(world.bot(None), expires=-40)
    with database.reading(address) as reading:
        schema = read_schema(reading)
        policy = read_policy(reading, schema)
    expected = {
        "reviving": 2,
        "bots_ending_before": 1,
        "warned": 2,
        "warned_owners": 2,
        "mailed_owners": 2,
    }
    assert facts(address, to(7)) == expected
    cleans_up = schema.has(TOKENS, "description")
    has_early_notices = schema.has(TOKENS, "sixty_days_notification_sent_at")
    assert facts(address, to(8)).get("mailed_owners", 0) == (2 if has_early_notices else 0)
    assert len(notices.columns(schema)) == (5 if has_early_notices else 2)
    assert policy.inactive_days == (30 if cleans_up else None)
    assert not policy.maintenance
    assert str(policy.today) == str(TODAY)


def test_the_settings_in_force_are_those_of_the_newest_row(gitlab_database: Address) -> None:
    stored = {
        "{}": 30,
        "[]": 30,
        f'{{"{INACTIVE_DAYS}": 45}}': 45,
        f'{{"{INACTIVE_DAYS}": "7"}}': 7,
        f'{{"{INACTIVE_DAYS}": null}}': None,
        f'{{"{INACTIVE_DAYS}": ""}}': None,
        f'{{"other": 1, "{INACTIVE_DAYS}": 1000000000000}}': None,
    }
    for text, days in stored.items():
        with make_engine(gitlab_database).begin() as connection:
            make_settings(connection, max_personal_access_token_lifetime=10, maintenance_mode=False)
            make_settings(
                connection,
                max_personal_access_token_lifetime=90,
                require_personal_access_token_expiry=False,
                service_access_tokens_expiration_enforced=True,
                maintenance_mode=True,
                resource_access_tokens_settings=text,
            )
        with database.reading(gitlab_database) as reading:
            policy = read_policy(reading, read_schema(reading))
        assert policy == Policy(policy.today, 90, False, True, True, days), text


def test_without_any_settings_nothing_is_required(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        connection.execute(sa.text("DELETE FROM application_settings"))
    with database.reading(gitlab_database) as reading:
        schema = read_schema(reading)
        bare = Schema({TOKENS: schema.columns[TOKENS]})
        policies = [read_policy(reading, schema), read_policy(reading, bare)]
    assert policies == [Policy(policies[0].today, None)] * 2


@pytest.mark.parametrize(
    ("release", "rule"),
    [
        ("17.11.1-ee", MembershipRule.FOREVER),
        ("17.9", MembershipRule.FOREVER),
        ("18.4", MembershipRule.FOREVER),
        ("19.2.1", MembershipRule.FOREVER),
        ("100.0.0-pre", MembershipRule.FOREVER),
        ("17.8.7-ee", MembershipRule.UNTIL_TOKEN),
        ("16.11.0\n", MembershipRule.UNTIL_TOKEN),
        ("v16.0", MembershipRule.UNTIL_TOKEN),
        (None, MembershipRule.FOREVER),
        ("master", MembershipRule.FOREVER),
        ("", MembershipRule.FOREVER),
    ],
)
def test_memberships_are_left_as_the_release_itself_would_leave_them(release: str | None, rule: MembershipRule) -> None:
    assert rule_of(release) is rule

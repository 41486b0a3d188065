"""The `gitlab` branch: GitLab's tables, release by release, up and down, empty and with rows in them."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_agent_token,
    make_deploy_key,
    make_deploy_token,
    make_group,
    make_membership,
    make_migration_row,
    make_project,
    make_runner,
    make_secure_file,
    make_ssh_key,
    make_token,
    make_trigger,
    make_user,
)
from tokens.address import Address
from tokens.errors import DatabaseError, Refused, UsageError
from tokens.upgrade import Branch, revisions, upgrade

RELEASES = (
    *("16.0", "16.3", "16.6"),
    *("17.2", "17.4", "17.6", "17.7", "17.8", "17.9", "17.10"),
    *("18.1", "18.3", "18.4", "18.9"),
    *("19.2",),
)

COLUMNS_IN_16_0 = {
    "id",
    "user_id",
    "name",
    "revoked",
    "expires_at",
    "created_at",
    "updated_at",
    "scopes",
    "impersonation",
    "token_digest",
    "expire_notification_delivered",
    "last_used_at",
    "after_expiry_notification_delivered",
}
COLUMNS_ADDED = {
    "16.3": {"previous_personal_access_token_id"},
    "17.4": {
        "organization_id",
        "seven_days_notification_sent_at",
        "thirty_days_notification_sent_at",
        "sixty_days_notification_sent_at",
    },
    "17.7": {"description"},
    "17.8": {"advanced_scopes"},
    "18.3": {"group_id", "user_type"},
    "18.4": {"granular"},
    "19.2": {"sudo"},
}
COLUMNS_DROPPED = {"17.9": {"advanced_scopes"}}

NEWEST_COLUMNS = [
    ("id", "bigint", "NOT NULL", "nextval('personal_access_tokens_id_seq'::regclass)"),
    ("user_id", "bigint", "NOT NULL", None),
    ("name", "character varying", "NOT NULL", None),
    ("revoked", "boolean", "NULL", "false"),
    ("expires_at", "date", "NULL", None),
    ("created_at", "timestamp without time zone", "NOT NULL", None),
    ("updated_at", "timestamp without time zone", "NOT NULL", None),
    ("scopes", "character varying", "NOT NULL", "'--- []\n'::character varying"),
    ("impersonation", "boolean", "NOT NULL", "false"),
    ("token_digest", "character varying", "NULL", None),
    ("expire_notification_delivered", "boolean", "NOT NULL", "false"),
    ("last_used_at", "timestamp with time zone", "NULL", None),
    ("after_expiry_notification_delivered", "boolean", "NOT NULL", "false"),
    ("previous_personal_access_token_id", "bigint", "NULL", None),
    ("organization_id", "bigint", "NOT NULL", None),
    ("seven_days_notification_sent_at", "timestamp with time zone", "NULL", None),
    ("thirty_days_notification_sent_at", "timestamp with time zone", "NULL", None),
    ("sixty_days_notification_sent_at", "timestamp with time zone", "NULL", None),
    ("description", "text", "NULL", None),
    ("group_id", "bigint", "NULL", None),
    ("user_type", "smallint", "NULL", None),
    ("granular", "boolean", "NOT NULL", "false"),
    ("sudo", "boolean", "NOT NULL", "false"),
]

NOT_NOTIFIED = "(expires_at, id) WHERE ((impersonation = false) AND (revoked = false) AND ({} IS NULL))"
NEWEST_INDEXES = {
    "personal_access_tokens_pkey": "UNIQUE (id)",
    "index_personal_access_tokens_on_token_digest": "UNIQUE (token_digest)",
    "index_pat_on_user_id_and_expires_at": "(user_id, expires_at)",
    "index_pats_on_expiring_at_seven_days_notification_sent_at": NOT_NOTIFIED.format("seven_days_notification_sent_at"),
    "index_pats_on_expiring_at_thirty_days_notification_sent_at": NOT_NOTIFIED.format(
        "thirty_days_notification_sent_at"
    ),
    "index_pats_on_expiring_at_sixty_days_notification_sent_at": NOT_NOTIFIED.format("sixty_days_notification_sent_at"),
    "index_pats_on_group_id_and_user_type_and_created_at_and_id": (
        "(group_id, user_type, created_at, id) WHERE (impersonation = false)"
    ),
    "index_pats_on_group_id_and_user_type_and_expires_at_and_id": (
        "(group_id, user_type, expires_at, id) WHERE (impersonation = false)"
    ),
    "index_pats_on_group_id_and_user_type_and_last_used_at_and_id": (
        "(group_id, user_type, last_used_at, id) WHERE (impersonation = false)"
    ),
    "index_personal_access_tokens_on_group_id": "(group_id)",
    "index_personal_access_tokens_on_id_and_created_at": "(id, created_at)",
    "index_personal_access_tokens_on_organization_id": "(organization_id)",
    "index_personal_access_tokens_on_user_id_and_id": "(user_id, id)",
    "idx_personal_access_tokens_on_previous_personal_access_token_id": "(previous_personal_access_token_id)",
}

NEWEST_FOREIGN_KEYS = {
    ("personal_access_tokens", "user_id", "users", "CASCADE", "fk_personal_access_tokens_user_id"),
    ("personal_access_tokens", "organization_id", "organizations", "CASCADE", "fk_da676c7ca5"),
    ("personal_access_tokens", "group_id", "namespaces", "SET NULL", "fk_7cea2c7262"),
    (
        "personal_access_tokens",
        "previous_personal_access_token_id",
        "personal_access_tokens",
        "SET NULL",
        "fk_c951fbf57e",
    ),
    (
        "personal_access_token_granular_scopes",
        "personal_access_token_id",
        "personal_access_tokens",
        "CASCADE",
        "fk_2a2bab7170",
    ),
    (
        "personal_access_token_granular_scopes",
        "granular_scope_id",
        "granular_scopes",
        "CASCADE",
        "fk_rails_1b90422c3e",
    ),
    ("granular_scopes", "namespace_id", "namespaces", "CASCADE", "fk_73a513f489"),
    ("granular_scopes", "organization_id", "organizations", "CASCADE", "fk_rails_1f506e10eb"),
    ("project_access_tokens", "personal_access_token_id", "personal_access_tokens", "CASCADE", "fk_5f7e8450e1"),
    ("project_access_tokens", "project_id", "projects", "CASCADE", "fk_b27801bfbf"),
    ("routes", "namespace_id", "namespaces", "CASCADE", "fk_679ff8213d"),
    ("members", "member_namespace_id", "namespaces", "CASCADE", "fk_2f85abf8f1"),
    ("user_details", "user_id", "users", "CASCADE", "fk_rails_12e0b3043d"),
    ("user_details", "bot_namespace_id", "namespaces", "SET NULL", "fk_27ac767d6a"),
    ("users", "organization_id", "organizations", "NO ACTION", "fk_d7b9ff90af"),
    ("namespaces", "organization_id", "organizations", "CASCADE", "fk_34fceca87c"),
    ("namespaces", "parent_id", "namespaces", "RESTRICT", "fk_7f813d8c90"),
    ("projects", "namespace_id", "namespaces", "RESTRICT", "fk_projects_namespace_id"),
    ("projects", "project_namespace_id", "namespaces", "CASCADE", "fk_6ca23af0a3"),
    ("projects", "organization_id", "organizations", "CASCADE", "fk_9aee26923d"),
}
FOREIGN_KEYS_WITHOUT_A_KNOWN_NAME = {
    ("personal_access_token_last_used_ips", "personal_access_token_id", "personal_access_tokens", "CASCADE"),
    ("personal_access_token_last_used_ips", "organization_id", "organizations", "CASCADE"),
    ("personal_access_token_granular_scopes", "organization_id", "organizations", "CASCADE"),
}

SETTINGS_ADDED = {
    "16.0": {
        "allow_runner_registration_token",
        "disable_personal_access_tokens",
        "maintenance_mode",
        "maintenance_mode_message",
        "max_personal_access_token_lifetime",
        "personal_access_token_prefix",
    },
    "16.6": {"service_access_tokens_expiration_enforced"},
    "17.2": {"require_personal_access_token_expiry"},
    "17.10": {"token_prefixes"},
    "18.3": {"resource_access_tokens_settings"},
    "19.2": {"personal_access_token_settings"},
}

TABLES_IN_16_0 = {
    "application_settings",
    "batched_background_migrations",
    "ci_runner_namespaces",
    "ci_runner_projects",
    "ci_runners",
    "ci_secure_files",
    "ci_triggers",
    "cluster_agent_tokens",
    "cluster_agents",
    "deploy_keys_projects",
    "deploy_tokens",
    "group_deploy_tokens",
    "keys",
    "members",
    "namespaces",
    "personal_access_tokens",
    "project_access_tokens",
    "project_deploy_tokens",
    "projects",
    "routes",
    "schema_migrations",
    "user_details",
    "users",
}
TABLES_ADDED = {
    "17.4": {"organizations"},
    "17.8": {"personal_access_token_last_used_ips"},
    "17.10": {"group_type_ci_runners", "instance_type_ci_runners", "project_type_ci_runners"},
    "18.4": {"granular_scopes", "personal_access_token_granular_scopes"},
}

# From the day after the release before until the release's own day.
DEVELOPED = {
    "16.0": (date(2023, 4, 23), date(2023, 5, 22)),
    "16.3": (date(2023, 7, 23), date(2023, 8, 22)),
    "16.6": (date(2023, 10, 23), date(2023, 11, 16)),
    "17.2": (date(2024, 6, 21), date(2024, 7, 18)),
    "17.4": (date(2024, 8, 16), date(2024, 9, 19)),
    "17.6": (date(2024, 10, 18), date(2024, 11, 21)),
    "17.7": (date(2024, 11, 22), date(2024, 12, 19)),
    "17.8": (date(2024, 12, 20), date(2025, 1, 16)),
    "17.9": (date(2025, 1, 17), date(2025, 2, 20)),
    "17.10": (date(2025, 2, 21), date(2025, 3, 20)),
    "18.1": (date(2025, 5, 16), date(2025, 6, 19)),
    "18.3": (date(2025, 7, 18), date(2025, 8, 21)),
    "18.4": (date(2025, 8, 22), date(2025, 9, 18)),
    "18.9": (date(2026, 1, 16), date(2026, 2, 19)),
    "19.2": (date(2026, 6, 19), date(2026, 7, 16)),
}


def current(address: Address) -> str:
    """The release at which the database stands."""
    with connected(address) as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM gitlab_shape.alembic_version")).scalar_one())


def test_there_is_a_revision_for_every_release_that_changed_the_tables() -> None:
    assert revisions(Branch.GITLAB) == RELEASES


def test_one_long_upgrade_ends_where_the_single_steps_end(empty_database: Address) -> None:
    for release in RELEASES:
        upgrade(empty_database, Branch.GITLAB, release)
    stepped = catalogue(empty_database)
    with connected(empty_database) as connection:
        connection.execute(sa.text("DROP SCHEMA gitlab_shape, public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    upgrade(empty_database, Branch.GITLAB)
    assert catalogue(empty_database) == stepped


@pytest.mark.newest_server
def test_the_database_says_where_it_stands(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "17.8")
    assert current(empty_database) == "17.8"
    upgrade(empty_database, Branch.GITLAB)
    assert current(empty_database) == "19.2"


@pytest.mark.newest_server
def test_upgrading_again_or_to_an_older_release_changes_nothing(gitlab_database: Address) -> None:
    before = catalogue(gitlab_database)
    upgrade(gitlab_database, Branch.GITLAB)
    upgrade(gitlab_database, Branch.GITLAB, "17.4")
    assert catalogue(gitlab_database) == before
    assert current(gitlab_database) == "19.2"


@pytest.mark.newest_server
def test_an_upgrade_says_nothing(empty_database: Address, capfd: pytest.CaptureFixture[str]) -> None:
    upgrade(empty_database, Branch.GITLAB)
    assert capfd.readouterr() == ("", "")


@pytest.mark.newest_server
def test_a_real_gitlab_database_is_left_alone(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB)
    with connected(empty_database) as connection:
        connection.execute(sa.text("DROP SCHEMA gitlab_shape CASCADE"))
    before = catalogue(empty_database)
    with pytest.raises(DatabaseError, match="already exists"):
        upgrade(empty_database, Branch.GITLAB)
    assert catalogue(empty_database) == before


def test_two_upgrades_at_the_same_time_both_end_well(empty_database: Address) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: upgrade(empty_database, Branch.GITLAB), range(2)))
    assert current(empty_database) == "19.2"


@pytest.mark.newest_server
def test_an_upgrade_that_fails_on_its_way_leaves_everything_as_it_was(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "17.2")
    with connected(empty_database) as connection:
        connection.execute(sa.text("CREATE TABLE public.granular_scopes ()"))
    before = catalogue(empty_database)
    with pytest.raises(DatabaseError, match="granular_scopes"):
        upgrade(empty_database, Branch.GITLAB)
    assert catalogue(empty_database) == before
    assert current(empty_database) == "17.2"


@pytest.mark.newest_server
def test_a_release_without_a_revision_is_refused_even_if_a_name_begins_like_it(empty_database: Address) -> None:
    with pytest.raises(UsageError, match=r"no revision 17\.1 of gitlab to go to; there are 16\.0, .*, 19\.2, head"):
        upgrade(empty_database, Branch.GITLAB, "17.1")
    assert tables(empty_database, "gitlab_shape") == set()


@pytest.mark.newest_server
def test_a_database_from_a_newer_version_of_ours_is_refused(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        connection.execute(sa.text("UPDATE gitlab_shape.alembic_version SET version_num = '99.9'"))
    with pytest.raises(Refused, match=r"at revision 99\.9 of gitlab, which this version does not know"):
        upgrade(gitlab_database, Branch.GITLAB, "head")


def test_nothing_of_ours_is_in_public(empty_database: Address) -> None:
    expected: set[str] = set()
    for release in RELEASES:
        upgrade(empty_database, Branch.GITLAB, release)
        expected |= TABLES_IN_16_0 if release == "16.0" else TABLES_ADDED.get(release, set())
        assert tables(empty_database, "public") == expected, release
    assert tables(empty_database, "gitlab_shape") == {"alembic_version"}


def test_names_without_a_schema_go_to_public_even_if_the_role_has_a_schema_of_its_name(empty_database: Address) -> None:
    with connected(empty_database) as connection:
        connection.execute(sa.text("CREATE SCHEMA gitlab"))
    upgrade(empty_database, Branch.GITLAB)
    assert tables(empty_database, "gitlab") == set()


@pytest.mark.newest_server
def test_tokens_have_exactly_the_columns_of_their_release(empty_database: Address) -> None:
    expected = set(COLUMNS_IN_16_0)
    for release in RELEASES:
        upgrade(empty_database, Branch.GITLAB, release)
        expected |= COLUMNS_ADDED.get(release, set())
        expected -= COLUMNS_DROPPED.get(release, set())
        assert columns(empty_database, "personal_access_tokens") == expected, release


def test_columns_of_the_newest_tokens_have_gitlabs_types_and_defaults(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        found = connection.execute(sa.text(COLUMNS), {"table": "personal_access_tokens"})
        assert [tuple(row) for row in found] == NEWEST_COLUMNS


@pytest.mark.newest_server
def test_ids_are_integer_in_old_releases_and_bigint_from_17_4(empty_database: Address) -> None:
    for release, expected in (("17.2", "integer"), ("17.4", "bigint")):
        upgrade(empty_database, Branch.GITLAB, release)
        with connected(empty_database) as connection:
            for table in ("personal_access_tokens", "users", "members", "namespaces", "projects"):
                types = {row[0]: row[1] for row in connection.execute(sa.text(COLUMNS), {"table": table})}
                assert types["id"] == expected, (release, table)
                assert sequence_type(connection, table) == expected, (release, table)


def test_the_newest_tokens_have_exactly_gitlabs_indexes(gitlab_database: Address) -> None:
    assert indexes(gitlab_database, "personal_access_tokens") == NEWEST_INDEXES


@pytest.mark.newest_server
@pytest.mark.parametrize(
    ("before", "after", "gone", "came"),
    [
        ("17.10", "18.1", {"index_expired_and_not_notified_personal_access_tokens"}, set()),
        (
            "18.3",
            "18.4",
            {"index_personal_access_tokens_on_user_id"},
            {"index_personal_access_tokens_on_user_id_and_id"},
        ),
    ],
)
def test_indexes_on_tokens_change_with_the_release(
    empty_database: Address, before: str, after: str, gone: set[str], came: set[str]
) -> None:
    upgrade(empty_database, Branch.GITLAB, before)
    old = indexes(empty_database, "personal_access_tokens").keys()
    upgrade(empty_database, Branch.GITLAB, after)
    new = indexes(empty_database, "personal_access_tokens").keys()
    assert (old - new, new - old) == (gone, came)


@pytest.mark.newest_server
def test_only_the_description_of_a_token_is_checked(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        checks = connection.execute(
            sa.text("""
                SELECT conname, pg_get_constraintdef(oid)
                FROM   pg_constraint
                WHERE  conrelid = 'public.personal_access_tokens'::regclass AND contype = 'c'
            """)
        )
        assert [tuple(row) for row in checks] == [("check_6d2ddc9355", "CHECK ((char_length(description) <= 255))")]


def test_foreign_keys_and_what_they_do_on_delete_are_gitlabs(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        found = {tuple(row) for row in connection.execute(sa.text(FOREIGN_KEYS))}
    assert found >= NEWEST_FOREIGN_KEYS
    assert {key[:-1] for key in found - NEWEST_FOREIGN_KEYS} == FOREIGN_KEYS_WITHOUT_A_KNOWN_NAME


@pytest.mark.newest_server
def test_settings_come_with_their_release_and_have_one_row_of_defaults(empty_database: Address) -> None:
    expected = {"id", "created_at", "updated_at"}
    for release in RELEASES:
        upgrade(empty_database, Branch.GITLAB, release)
        expected |= SETTINGS_ADDED.get(release, set())
        assert columns(empty_database, "application_settings") == expected, release
    with connected(empty_database) as connection:
        (row,) = connection.execute(sa.text("SELECT * FROM public.application_settings")).mappings().all()
    assert row["personal_access_token_prefix"] == "glpat-"
    assert row["max_personal_access_token_lifetime"] is None
    assert row["require_personal_access_token_expiry"] is True
    assert row["service_access_tokens_expiration_enforced"] is True
    assert row["disable_personal_access_tokens"] is False
    assert row["allow_runner_registration_token"] is True
    assert row["maintenance_mode"] is False


@pytest.mark.newest_server
def test_the_newest_version_in_schema_migrations_falls_into_the_development_of_its_release(
    empty_database: Address,
) -> None:
    assert tuple(DEVELOPED) == RELEASES
    for release, (begun, released) in DEVELOPED.items():
        upgrade(empty_database, Branch.GITLAB, release)
        with connected(empty_database) as connection:
            version = connection.execute(sa.text("SELECT max(version) FROM public.schema_migrations")).scalar_one()
        assert len(version) == 14
        assert begun <= date.fromisoformat(version[:8]) < released, release


@pytest.mark.newest_server
def test_a_token_from_16_0_survives_to_the_newest_release(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "16.0")
    with connected(empty_database) as connection:
        token = make_token(
            connection,
            expires_at=date(2024, 6, 15),
            name="deploy",
            last_used_at="2023-05-02 03:04:05+00",
            expire_notification_delivered=True,
        )
        make_token(connection, expires_at="infinity", revoked=None)
    before = rows(empty_database, "personal_access_tokens")
    for release in RELEASES:
        upgrade(empty_database, Branch.GITLAB, release)
        for old, new in zip(before, rows(empty_database, "personal_access_tokens"), strict=True):
            kept = {name: old[name] for name in old if name in new}
            assert {name: new[name] for name in kept} == kept, release
    assert token in {row["id"] for row in before}


def test_a_database_full_of_rows_goes_all_the_way_up(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "16.0")
    with connected(empty_database) as connection:
        group = make_group(connection)
        project = make_project(connection, namespace_id=make_group(connection, parent_id=group))
        for place in ({"project_id": project}, {"group_id": group}):
            bot = make_user(connection, user_type=6, provisioned_by_group_id=group)
            make_membership(connection, user_id=bot, expires_at=date(2024, 6, 15), **place)
            make_token(connection, user_id=bot, expires_at=date(2024, 6, 15))
        make_migration_row(connection, status=3)
        make_deploy_token(connection, project_id=project)
        make_deploy_token(connection, group_id=group)
        make_ssh_key(connection, user_id=bot)
        make_deploy_key(connection, project)
        make_trigger(connection, project_id=project, owner_id=bot)
        make_runner(connection, project)
        make_runner(connection, group_id=group, contacted_at="2024-06-15 12:00")
        make_secure_file(connection, project_id=project)
        make_agent_token(connection, project_id=project)
    before = {table: rows(empty_database, table) for table in TABLES_IN_16_0}
    assert {table for table in before if not before[table]} == {"project_access_tokens"}
    upgrade(empty_database, Branch.GITLAB)
    for table, old in ((table, old) for table, old in before.items() if old):
        new = rows(empty_database, table)
        key = "id" if "id" in old[0] else "user_id" if "user_id" in old[0] else "version"
        assert {row[key] for row in new} >= {row[key] for row in old}, table
        assert len(new) == len(old) or table == "schema_migrations"


@pytest.mark.newest_server
def test_17_4_puts_every_row_into_the_default_organization(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "17.2")
    with connected(empty_database) as connection:
        make_token(connection)
        make_project(connection)
    upgrade(empty_database, Branch.GITLAB)
    assert [row["id"] for row in rows(empty_database, "organizations")] == [1]
    for table in ("personal_access_tokens", "projects", "namespaces", "users"):
        assert {row["organization_id"] for row in rows(empty_database, table)} == {1}, table


@pytest.mark.newest_server
def test_the_next_organization_after_the_default_one_gets_a_high_id(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        statement = sa.text("""
            INSERT INTO public.organizations (path, created_at, updated_at) VALUES ('second', now(), now()) RETURNING id
        """)
        assert connection.execute(statement).scalar_one() == 1000


@pytest.mark.newest_server
@pytest.mark.parametrize(("release", "default"), [("17.4", "1"), ("17.8", "1"), ("17.9", None), ("19.2", None)])
def test_from_17_9_on_there_is_no_default_organization_for_a_new_token(
    empty_database: Address, release: str, default: str | None
) -> None:
    upgrade(empty_database, Branch.GITLAB, release)
    with connected(empty_database) as connection:
        found = connection.execute(sa.text(COLUMNS), {"table": "personal_access_tokens"})
        assert {row[0]: row[3] for row in found}["organization_id"] == default


@pytest.mark.newest_server
def test_17_4_turns_the_old_flag_into_a_notice_seven_days_before_the_expiration(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "17.2")
    with connected(empty_database) as connection:
        told = make_token(connection, expires_at=date(2024, 6, 15), expire_notification_delivered=True)
        untold = make_token(connection, expires_at=date(2024, 6, 15))
        endless = make_token(connection, expires_at="infinity", expire_notification_delivered=True)
    upgrade(empty_database, Branch.GITLAB, "17.4")
    sent = {row["id"]: row["seven_days_notification_sent_at"] for row in rows(empty_database, "personal_access_tokens")}
    assert sent == {told: "2024-06-08T00:00:00+00:00", untold: None, endless: "infinity"}


@pytest.mark.newest_server
def test_the_finished_clean_up_of_16_0_is_finalized_from_17_4(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "17.2")
    with connected(empty_database) as connection:
        make_migration_row(connection, status=3)
        make_migration_row(connection, status=3, job_class_name="SomethingElse")
        make_migration_row(connection, status=4, table_name="elsewhere")
    upgrade(empty_database, Branch.GITLAB, "17.4")
    assert sorted(row["status"] for row in rows(empty_database, "batched_background_migrations")) == [3, 4, 6]


@pytest.mark.newest_server
@pytest.mark.parametrize("cleaned_up", [True, False])
def test_17_2_demands_expiration_dates_only_where_the_clean_up_of_16_0_was_queued(
    empty_database: Address, cleaned_up: bool
) -> None:
    upgrade(empty_database, Branch.GITLAB, "16.6")
    with connected(empty_database) as connection:
        make_user(connection)
        if cleaned_up:
            make_migration_row(connection)
    upgrade(empty_database, Branch.GITLAB, "17.2")
    (settings,) = rows(empty_database, "application_settings")
    assert settings["require_personal_access_token_expiry"] is cleaned_up


@pytest.mark.newest_server
def test_16_6_makes_people_without_a_user_type_human(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "16.0")
    with connected(empty_database) as connection:
        make_user(connection, user_type=None)
        make_user(connection, user_type=6)
    upgrade(empty_database, Branch.GITLAB, "16.6")
    assert sorted(row["user_type"] for row in rows(empty_database, "users")) == [0, 6]
    with connected(empty_database) as connection, pytest.raises(sa.exc.IntegrityError, match="check_0dd5948e38"):
        make_user(connection, user_type=None)


@pytest.mark.newest_server
def test_17_2_gives_routes_and_memberships_their_namespace(empty_database: Address) -> None:
    upgrade(empty_database, Branch.GITLAB, "16.0")
    with connected(empty_database) as connection:
        project = make_project(connection)
        user = make_user(connection)
        make_membership(connection, user_id=user, project_id=project)
        dangling = make_membership(connection, user_id=user, project_id=project, source_id=4711)
    filled = {table: rows(empty_database, table) for table in ("routes", "members")}
    with connected(empty_database) as connection:
        connection.execute(sa.text("UPDATE public.routes SET namespace_id = NULL"))
        connection.execute(sa.text("UPDATE public.members SET member_namespace_id = NULL"))
    upgrade(empty_database, Branch.GITLAB, "17.2")
    assert [row["namespace_id"] for row in rows(empty_database, "routes")] == [
        row["namespace_id"] for row in filled["routes"]
    ]
    assert [row["member_namespace_id"] for row in rows(empty_database, "members")] == [
        None if row["id"] == dangling else row["member_namespace_id"] for row in filled["members"]
    ]


def test_deleting_a_user_deletes_the_tokens_and_frees_their_successors(gitlab_database: Address) -> None:
    with connected(gitlab_database) as connection:
        owner = make_user(connection)
        predecessor = make_token(connection, user_id=owner)
        successor = make_token(connection, previous_personal_access_token_id=predecessor)
        connection.execute(sa.text("DELETE FROM public.users WHERE id = :id"), {"id": owner})
    (left,) = rows(gitlab_database, "personal_access_tokens")
    assert (left["id"], left["previous_personal_access_token_id"]) == (successor, None)


@pytest.mark.newest_server
def test_a_granular_scope_goes_with_the_last_token_that_has_it_and_a_projects_namespace_with_the_project(
    gitlab_database: Address,
) -> None:
    with connected(gitlab_database) as connection:
        tokens = [make_token(connection) for _ in range(2)]
        connection.execute(
            sa.text("""
                WITH scope AS (
                  INSERT INTO granular_scopes (organization_id, created_at, updated_at) VALUES (1, now(), now())
                  RETURNING id
                )
                INSERT INTO personal_access_token_granular_scopes
                  (organization_id, personal_access_token_id, granular_scope_id)
                SELECT 1, unnest(CAST(:tokens AS bigint[])), id FROM scope
            """),
            {"tokens": tokens},
        )
        project = make_project(connection)
    for token, left in zip(tokens, (1, 0), strict=True):
        with connected(gitlab_database) as connection:
            connection.execute(sa.text("DELETE FROM public.personal_access_tokens WHERE id = :id"), {"id": token})
        assert len(rows(gitlab_database, "granular_scopes")) == left
    with connected(gitlab_database) as connection:
        connection.execute(sa.text("DELETE FROM public.projects WHERE id = :id"), {"id": project})
    assert {row["type"] for row in rows(gitlab_database, "namespaces")} == {"Group"}


def test_a_wheel_finds_the_migrations_inside_the_package_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site packages: 100%" / "tokens"
    shutil.copytree(Path(__file__).parent.parent / "migrations", package / "migrations")
    monkeypatch.setattr("tokens.upgrade.__file__", str(package / "upgrade" / "__init__.py"))
    assert revisions(Branch.GITLAB) == RELEASES


COLUMNS = """
    SELECT   attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
             pg_get_expr(adbin, adrelid)
    FROM     pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
    WHERE    attrelid = to_regclass('public.' || :table) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

FOREIGN_KEYS = """
    SELECT conrelid::regclass::text, attname, confrelid::regclass::text,
           CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'r' THEN 'RESTRICT'
                            WHEN 'a' THEN 'NO ACTION' END,
           conname
    FROM   pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
    WHERE  contype = 'f'
"""

CATALOGUE = """
    SELECT   'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull::text,
             row_number() OVER (PARTITION BY attrelid ORDER BY attnum)::text, pg_get_expr(adbin, adrelid)
    FROM     pg_attribute
             JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r' AND relnamespace = 'public'::regnamespace
             LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
    WHERE    attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT   'index', indrelid::regclass::text, indexrelid::regclass::text, indisvalid::text, NULL, NULL,
             pg_get_indexdef(indexrelid)
    FROM     pg_index JOIN pg_class ON pg_class.oid = indexrelid AND relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT   'constraint', conrelid::regclass::text, conname, convalidated::text, contype::text, NULL,
             pg_get_constraintdef(oid)
    FROM     pg_constraint
    WHERE    connamespace = 'public'::regnamespace
    UNION ALL
    SELECT   'sequence', sequencename, data_type::text, start_value::text, max_value::text, NULL, NULL
    FROM     pg_sequences
    WHERE    schemaname = 'public'
    UNION ALL
    SELECT   'trigger', tgrelid::regclass::text, tgname, NULL, NULL, NULL, pg_get_triggerdef(oid)
    FROM     pg_trigger
    WHERE    NOT tgisinternal
    UNION ALL
    SELECT   'function', proname, NULL, NULL, NULL, NULL, prosrc
    FROM     pg_proc
    WHERE    pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT   'schema', nspname, NULL, NULL, NULL, NULL, NULL
    FROM     pg_namespace
    ORDER BY 1, 2, 3
"""


@contextmanager
def connected(address: Address) -> Iterator[sa.Connection]:
    with make_engine(address).begin() as connection:
        yield connection


def catalogue(address: Address) -> list[tuple[str | None, ...]]:
    """All that PostgreSQL knows about the tables in `public`, and which schemas there are."""
    with connected(address) as connection:
        return [tuple(row) for row in connection.execute(sa.text(CATALOGUE))]


def tables(address: Address, schema: str) -> set[str]:
    with connected(address) as connection:
        return set(sa.inspect(connection).get_table_names(schema=schema))


def columns(address: Address, table: str) -> set[str]:
    with connected(address) as connection:
        return {row[0] for row in connection.execute(sa.text(COLUMNS), {"table": table})}


def sequence_type(connection: sa.Connection, table: str) -> str:
    statement = sa.text("SELECT data_type::text FROM pg_sequences WHERE sequencename = :name")
    return str(connection.execute(statement, {"name": f"{table}_id_seq"}).scalar_one())


def indexes(address: Address, table: str) -> dict[str, str]:
    """What each index of the table covers, as PostgreSQL writes it: `UNIQUE (a, b) WHERE …`."""
    statement = sa.text("""
        SELECT relname, CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END
                        || split_part(pg_get_indexdef(indexrelid), ' USING btree ', 2)
        FROM   pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE  indrelid = to_regclass('public.' || :table)
    """)
    with connected(address) as connection:
        return {row[0]: row[1] for row in connection.execute(statement, {"table": table})}


def rows(address: Address, table: str) -> list[dict[str, Any]]:
    """The table's rows as JSON values, because psycopg cannot load every date; ordered by id."""
    statement = sa.text(f"SELECT to_jsonb(r) FROM public.{table} AS r")
    with connected(address) as connection:
        connection.execute(sa.text("SET LOCAL TimeZone = 'UTC'"))
        return sorted((row[0] for row in connection.execute(statement)), key=lambda row: int(row.get("id", 0)))

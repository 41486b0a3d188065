"""The demo: the documentation's table, a population that one can believe in, and a server that is safe to kill."""

import base64
import os
import re
import signal
import subprocess
import sys
import textwrap
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.testbed.folders import public_folder
from tokens.address import Address
from tokens.commands.options.days import coming_friday
from tokens.errors import ExitStatus, Refused, ServerError, UsageError
from tokens.gitlab.credentials import OtherKind
from tokens.inventory.breakdown import breakdown
from tokens.journal.installation import REVISION
from tokens.selection import EVERY_STATE, Selection
from tokens.targets import demo
from tokens.targets.demo import DemoState, population
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import packaged_binaries
from tokens.targets.demo.progress import Progress
from tokens.upgrade import Branch, revisions

pytestmark = pytest.mark.xdist_group("demo")  # most only read the one that is filled first

SMALL = 40
FRIDAY = coming_friday(datetime.now(UTC).date())

ASTRAY_IN_TIME = """
    SELECT count(*) FROM personal_access_tokens
     WHERE created_at > now() AT TIME ZONE 'UTC'
        OR updated_at > now() AT TIME ZONE 'UTC'
        OR updated_at < created_at
        OR last_used_at > now()
        OR last_used_at < created_at AT TIME ZONE 'UTC'
        OR last_used_at > expires_at::timestamp AT TIME ZONE 'UTC'
        OR expires_at <= created_at::date
        OR sixty_days_notification_sent_at > now()
        OR thirty_days_notification_sent_at > now()
        OR seven_days_notification_sent_at > now()
"""


def rows(address: Address, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(address.conninfo) as connection:
        return connection.execute(statement.encode()).fetchall()


def value(address: Address, statement: str) -> Any:
    return rows(address, statement)[0][0]


def silent(_: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A demo of the default size, for tests that only read it."""
    with public_folder() as folder:
        demo.open(folder / "demo")
        yield folder / "demo"
        demo.remove(folder / "demo")


@pytest.fixture(scope="module")
def filled(home: Path) -> Address:
    address = demo.address_if_ready(home)
    assert address is not None
    return address


@pytest.fixture
def own(folder: Path) -> Iterator[Path]:
    """The folder of a demo that a test may start, kill and reset."""
    yield folder / "demo"
    demo.remove(folder / "demo")


# What it shows


def test_the_table_of_the_documentation_comes_out(filled: Address) -> None:
    top = rows(
        filled,
        """
        SELECT expires_at, count(*) FROM personal_access_tokens
         GROUP BY expires_at ORDER BY count(*) DESC, expires_at DESC LIMIT 10
        """,
    )
    assert [(str(day), count) for day, count in top] == [
        ("2024-06-15", 15653),
        ("2017-12-31", 2508),
        ("2018-01-01", 1008),
        ("2016-12-31", 833),
        ("2017-08-31", 705),
        ("2017-06-30", 596),
        ("2018-12-31", 548),
        ("2017-05-31", 523),
        ("2017-09-30", 520),
        ("2017-07-31", 494),
    ]


def test_the_clean_up_of_16_0_is_reported_as_finished(filled: Address) -> None:
    found = rows(
        filled,
        """
        SELECT status, started_at AT TIME ZONE 'UTC', finished_at AT TIME ZONE 'UTC'
          FROM batched_background_migrations
         WHERE job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt'
           AND table_name = 'personal_access_tokens' AND column_name = 'id'
        """,
    )
    assert found == [(6, datetime(2023, 6, 15, 10, 20, 35), datetime(2023, 6, 15, 10, 23, 1))]


def test_the_owner_connects_and_is_no_superuser(filled: Address) -> None:
    assert rows(
        filled, "SELECT current_user, usesuper, current_database() FROM pg_user WHERE usename = current_user"
    ) == [("gitlab", False, "gitlabhq_production")]


def test_the_service_account_of_the_readme_has_one_token_which_expired_days_ago(filled: Address) -> None:
    found = rows(
        filled,
        """
        SELECT name, scopes, expires_at, revoked FROM personal_access_tokens
         WHERE user_id = (SELECT id FROM users WHERE username = 'inventory' AND user_type = 13)
        """,
    )
    days_ago = datetime.now(UTC).date() - timedelta(days=3)
    assert found in (
        [("GitLab Security Service - Architecture - Inventory", "---\n- api\n", day, False)]
        for day in (days_ago, days_ago - timedelta(days=1))
    )


def test_the_journal_is_installed_and_empty(filled: Address) -> None:
    assert rows(filled, "SELECT version_num FROM token_tasks.alembic_version") == [(REVISION,)]
    assert value(filled, "SELECT count(*) FROM token_tasks.runs") == 0


# Who is behind it


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("people", "users.user_type = 0 AND NOT impersonation"),
        ("impersonation", "users.user_type = 0 AND impersonation"),
        ("bots of projects", "users.username ~ '^project_[0-9]+_bot' AND users.user_type = 6"),
        ("bots of groups", "users.username ~ '^group_[0-9]+_bot' AND users.user_type = 6"),
        ("service accounts", "users.user_type = 13"),
        ("blocked people", "users.state = 'blocked'"),
        ("deactivated people", "users.state = 'deactivated'"),
        ("never expiring", "expires_at IS NULL"),
        ("revoked", "revoked"),
        ("neither revoked nor not", "revoked IS NULL"),
        ("never used", "last_used_at IS NULL"),
        ("used", "last_used_at IS NOT NULL"),
        ("described", "description <> ''"),
        ("granular", "granular"),
        ("rotated", "previous_personal_access_token_id IS NOT NULL"),
        ("with a name in another script", "personal_access_tokens.name ~ '[^ -~]'"),
        ("with symbols as scopes", "scopes LIKE '%- :api%'"),
        ("with quoted scopes", """scopes LIKE '%- "api"%' OR scopes LIKE '%- ''read_user''%'"""),
        ("without scopes", "scopes LIKE '--- []%'"),
        ("notified of the expiry in 7 days", "seven_days_notification_sent_at IS NOT NULL"),
        ("notified of the expiry in 30 days", "thirty_days_notification_sent_at IS NOT NULL"),
        ("notified of the expiry in 60 days", "sixty_days_notification_sent_at IS NOT NULL"),
        ("told of the expiry", "expire_notification_delivered"),
        ("told after the expiry", "after_expiry_notification_delivered"),
    ],
)
def test_there_are_tokens_of_every_kind(filled: Address, kind: str, condition: str) -> None:
    found = value(
        filled,
        f"SELECT count(*) FROM personal_access_tokens JOIN users ON users.id = user_id WHERE {condition}",
    )
    assert found >= 5, kind


def test_there_are_a_few_of_each_kind_that_is_no_token(filled: Address) -> None:
    every = Selection((), kinds=frozenset(), states=EVERY_STATE, others=frozenset(OtherKind))
    found = {one.kind: one for one in breakdown(filled, every).kinds}
    assert set(found) == set(OtherKind)
    few = [one for kind, one in found.items() if kind is not OtherKind.MEMBERSHIP]
    assert all(3 <= one.tokens <= 20 for one in few)
    assert all(one.month for one in few if one.kind is not OtherKind.AGENT)


def test_never_expiring_tokens_are_some_hundreds(filled: Address) -> None:
    assert value(filled, "SELECT count(*) FROM personal_access_tokens WHERE expires_at IS NULL") == 387


def test_on_each_of_the_coming_60_days_some_but_few_tokens_expire(filled: Address) -> None:
    filled_on = datetime.now(UTC).date()
    found = dict(
        rows(
            filled,
            f"""
            SELECT expires_at, count(*) FROM personal_access_tokens
             WHERE expires_at BETWEEN date '{filled_on}' + 1 AND date '{filled_on}' + 59 GROUP BY expires_at
            """,
        )
    )
    assert len(found) == 59
    assert max(found.values()) < 15


def test_nothing_was_made_used_or_changed_in_the_future_or_used_after_its_end(filled: Address) -> None:
    assert value(filled, ASTRAY_IN_TIME) == 0


def test_bots_know_their_project_or_group_by_membership_namespace_and_username(filled: Address) -> None:
    disagreeing = """
        SELECT count(*)
          FROM users
          JOIN members ON members.user_id = users.id
          JOIN user_details ON user_details.user_id = users.id
          LEFT JOIN projects ON members.source_type = 'Project' AND projects.id = members.source_id
         WHERE user_type = 6
           AND (user_details.bot_namespace_id <> member_namespace_id
                OR member_namespace_id <> COALESCE(projects.project_namespace_id, members.source_id)
                OR split_part(username, '_', 2)::bigint <> members.source_id
                OR split_part(username, '_', 1) <> CASE source_type WHEN 'Project' THEN 'project' ELSE 'group' END)
    """
    assert value(filled, disagreeing) == 0
    assert value(filled, "SELECT count(*) FROM users JOIN members ON user_id = users.id WHERE user_type = 6") > 100


def test_some_bots_have_lost_their_membership_and_some_of_those_their_namespace_too(filled: Address) -> None:
    found = rows(
        filled,
        """
        SELECT bot_namespace_id IS NULL, count(*) FROM users JOIN user_details ON user_id = users.id
         WHERE user_type = 6 AND NOT EXISTS (SELECT FROM members WHERE members.user_id = users.id) GROUP BY 1 ORDER BY 1
        """,
    )
    assert [known for known, _ in found] == [False, True]


def test_memberships_of_old_bots_end_with_their_token(filled: Address) -> None:
    equal, ending, endless = rows(
        filled,
        """
        SELECT count(*) FILTER (WHERE EXISTS (
                   SELECT FROM personal_access_tokens AS tokens
                    WHERE tokens.user_id = members.user_id AND tokens.expires_at = members.expires_at)),
               count(members.expires_at),
               count(*) FILTER (WHERE members.expires_at IS NULL)
          FROM members JOIN users ON users.id = members.user_id
         WHERE users.user_type = 6
        """,
    )[0]
    assert equal == ending > 20
    assert endless > ending


def test_service_accounts_belong_to_the_instance_to_groups_or_to_projects(filled: Address) -> None:
    found = rows(
        filled,
        """
        SELECT DISTINCT provisioned_by_group_id IS NOT NULL, provisioned_by_project_id IS NOT NULL
          FROM users JOIN user_details ON user_id = users.id
         WHERE user_type = 13 ORDER BY 1, 2
        """,
    )
    assert found == [(False, False), (False, True), (True, False)]


def test_groups_have_subgroups_and_every_namespace_and_project_has_its_route(filled: Address) -> None:
    assert value(filled, "SELECT max(cardinality(traversal_ids)) FROM namespaces WHERE type = 'Group'") == 3
    astray = """
        SELECT count(*) FROM namespaces LEFT JOIN routes ON routes.namespace_id = namespaces.id
         WHERE routes.id IS NULL
            OR cardinality(string_to_array(routes.path, '/')) <> cardinality(traversal_ids)
            OR traversal_ids[cardinality(traversal_ids)] <> namespaces.id
            OR parent_id <> traversal_ids[cardinality(traversal_ids) - 1]
    """
    assert value(filled, astray) == 0
    without = (
        "SELECT count(*) FROM projects WHERE id NOT IN (SELECT source_id FROM routes WHERE source_type = 'Project')"
    )
    assert value(filled, without) == 0


def test_a_rotated_token_follows_a_revoked_one_of_the_same_owner(filled: Address) -> None:
    chains = """
        SELECT count(*), count(*) FILTER (WHERE before.revoked AND before.user_id = after.user_id
                                            AND before.updated_at = after.created_at AND before.name = after.name)
          FROM personal_access_tokens AS after
          JOIN personal_access_tokens AS before ON before.id = after.previous_personal_access_token_id
    """
    rotated, proper = rows(filled, chains)[0]
    assert rotated == proper > 100


def test_digests_are_unique_and_look_like_gitlabs(filled: Address) -> None:
    digests = [row[0] for row in rows(filled, "SELECT token_digest FROM personal_access_tokens")]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 44 and len(base64.b64decode(digest, validate=True)) == 32 for digest in digests)


def test_tokens_remember_up_to_five_addresses_of_their_last_uses(filled: Address) -> None:
    counts = rows(
        filled,
        """
        SELECT DISTINCT count(*) FROM personal_access_token_last_used_ips
         GROUP BY personal_access_token_id ORDER BY count(*)
        """,
    )
    assert counts == [(1,), (2,), (3,), (4,), (5,)]


def test_granular_tokens_have_scopes_of_which_one_is_shared(filled: Address) -> None:
    uses = rows(
        filled,
        """
        SELECT granular_scope_id, count(*) FROM personal_access_token_granular_scopes
          JOIN personal_access_tokens AS tokens ON tokens.id = personal_access_token_id AND tokens.granular
          JOIN granular_scopes ON granular_scopes.id = granular_scope_id
         GROUP BY granular_scope_id ORDER BY count(*) DESC, granular_scope_id
        """,
    )
    assert uses[0][1] > 1
    assert uses[1][1] == 1


def test_new_rows_get_ids_beyond_the_filled_ones(filled: Address) -> None:
    with psycopg.connect(filled.conninfo) as connection:
        connection.execute("INSERT INTO users (organization_id) VALUES (1)")
        connection.execute("""
            INSERT INTO personal_access_tokens (user_id, name, created_at, updated_at, organization_id)
            VALUES (1, 'new', now(), now(), 1)
        """)
        connection.rollback()


@pytest.mark.slow
def test_indexes_and_foreign_keys_are_all_back_and_statistics_are_there(
    filled: Address, folder: Path, request: pytest.FixtureRequest
) -> None:
    shape = """
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL
        SELECT conrelid::regclass || conname || pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
        ORDER BY 1
    """
    server = Server(folder / "pg", settings={"fsync": "off"})
    server.start()
    request.addfinalizer(server.remove)
    from tokens.upgrade import upgrade

    upgrade(server.address("postgres"), Branch.GITLAB)
    assert rows(filled, shape) == rows(server.address("postgres"), shape)
    assert value(
        filled,
        "SELECT relallvisible = relpages AND reltuples > 0 FROM pg_class WHERE relname = 'personal_access_tokens'",
    )


@pytest.mark.newest_server
@pytest.mark.slow
def test_two_fills_make_the_same_rows(empty_or_filled: Callable[[], Address]) -> None:
    fingerprint = """
        SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id))
          FROM (SELECT id, user_id, name, scopes, expires_at, created_at, revoked, last_used_at, token_digest
                  FROM personal_access_tokens) AS t
    """
    assert rows(empty_or_filled(), fingerprint) == rows(empty_or_filled(), fingerprint)


@pytest.fixture
def empty_or_filled(gitlab_database_at: Callable[[str], Address]) -> Callable[[], Address]:
    def make() -> Address:
        address = gitlab_database_at("head")
        population.fill(address, SMALL, silent, demo.EXPIRES_AT)
        return address

    return make


@pytest.mark.slow
def test_most_tokens_may_expire_on_a_day_to_come_and_are_in_use_till_then(own: Path) -> None:
    address = demo.open(own, tokens=SMALL, expires_at=FRIDAY)
    assert demo.status(own).expires_at == FRIDAY
    of_friday = f"expires_at = date '{FRIDAY}'"
    counted = f"""
        SELECT count(*), max(last_used_at)::date, count(*) FILTER (WHERE expire_notification_delivered) > 0,
               count(*) FILTER (WHERE after_expiry_notification_delivered)
          FROM personal_access_tokens WHERE {of_friday}
    """
    count, used, warned, warned_after = rows(address, counted)[0]
    assert (count, warned, warned_after) == (SMALL, True, 0)
    assert used > FRIDAY - timedelta(days=700)
    assert value(address, ASTRAY_IN_TIME) == 0
    (started,) = rows(address, "SELECT started_at AT TIME ZONE 'UTC' FROM batched_background_migrations")
    last_of_month = monthrange(FRIDAY.year - 1, FRIDAY.month)[1]
    assert started == (datetime(FRIDAY.year - 1, FRIDAY.month, min(FRIDAY.day, last_of_month), 10, 20, 35),)


@pytest.mark.newest_server
def test_a_database_with_users_is_not_filled(gitlab_database: Address) -> None:
    with psycopg.connect(gitlab_database.conninfo) as connection:
        connection.execute("INSERT INTO users (username, organization_id) VALUES ('somebody', 1)")
    with pytest.raises(Refused, match="has users already"):
        population.fill(gitlab_database, SMALL, silent, demo.EXPIRES_AT)
    assert value(gitlab_database, "SELECT count(*) FROM users") == 1


# How it is started, stopped and reset


@pytest.mark.slow
def test_progress_is_told_and_a_second_open_attaches_in_silence(own: Path) -> None:
    told: list[Progress] = []
    address = demo.open(own, told.append, tokens=SMALL)
    texts = [progress.text for progress in told]
    assert texts[:2] == ["Installing PostgreSQL 18", "Creating the tables of GitLab 19.2"]
    assert any(re.fullmatch(r"Adding [\d,]+ tokens", text) for text in texts)
    assert all(progress.total is None or 0 <= (progress.done or 0) <= progress.total for progress in told)
    told.clear()
    assert demo.open(own, told.append, tokens=99) == address
    assert told == []
    assert demo.address_if_ready(own) == address


@pytest.mark.slow
def test_the_status_says_what_there_is(own: Path) -> None:
    assert demo.status(own) == demo.DemoStatus(own, DemoState.ABSENT, demo.status(own).address)
    assert not own.exists()
    demo.open(own, tokens=SMALL)
    status = demo.status(own)
    assert (status.state, status.tokens, status.release) == (DemoState.READY, SMALL, revisions(Branch.GITLAB)[-1])
    assert status.filled_on is not None
    assert date.today() - status.filled_on <= timedelta(days=1)
    assert (status.server_version or "").startswith("18.")
    assert (status.size or 0) > 1_000_000
    assert demo.stop(own)
    assert demo.status(own).state is DemoState.STOPPED
    assert not demo.stop(own)
    assert demo.address_if_ready(own) is None


@pytest.mark.slow
def test_a_stopped_demo_is_started_again_as_it_was(own: Path) -> None:
    address = demo.open(own, tokens=SMALL)
    with psycopg.connect(address.conninfo) as connection:
        connection.execute("UPDATE users SET name = 'changed' WHERE id = 1")
    demo.stop(own)
    told: list[Progress] = []
    assert demo.open(own, told.append) == address
    assert [progress.text for progress in told] == ["Starting PostgreSQL"]
    assert value(address, "SELECT name FROM users WHERE id = 1") == "changed"


@pytest.mark.slow
def test_reset_makes_it_anew_in_another_size_even_while_it_is_used(own: Path) -> None:
    address = demo.open(own, tokens=SMALL)
    with psycopg.connect(address.conninfo) as connection:
        connection.execute("SELECT 1")
        assert demo.reset(own, tokens=7) == address
        connection.close()
    assert demo.status(own).tokens == 7
    assert value(address, "SELECT count(*) FROM personal_access_tokens WHERE expires_at = '2024-06-15'") == 7


@pytest.mark.slow
def test_reset_makes_the_demo_that_was_there_if_nothing_else_is_said(own: Path) -> None:
    day = date(2027, 6, 15)
    demo.open(own, tokens=9, expires_at=day)
    demo.stop(own)
    demo.reset(own)
    assert (demo.status(own).tokens, demo.status(own).expires_at) == (9, day)
    demo.reset(own, tokens=7)
    assert (demo.status(own).tokens, demo.status(own).expires_at) == (7, day)


@pytest.mark.slow
def test_reset_replaces_a_damaged_server(own: Path) -> None:
    demo.open(own, tokens=SMALL)
    demo.stop(own)
    (own / "data" / "global" / "pg_control").unlink()
    with pytest.raises(ServerError, match=r"^[^\n]+$"):
        demo.open(own)
    assert value(demo.reset(own, tokens=SMALL), "SELECT 1") == 1


@pytest.mark.parametrize("action", [demo.stop, demo.remove, demo.reset])
@pytest.mark.parametrize("other", [{}, {"lock": "of another program"}])
def test_a_folder_with_a_server_of_somebody_else_is_refused_and_left_as_it_is(
    folder: Path, action: Callable[[Path], object], other: dict[str, str]
) -> None:
    (folder / "data").mkdir()
    files = {"data/PG_VERSION": "18", "postgresql.conf": "fsync = on", **other}
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(
        ServerError, match=r"^The folder [^\n]* holds something else; nothing in it was stopped"
    ) as refused:
        action(folder)
    assert refused.value.status == ExitStatus.REFUSED
    assert {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()} == files


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["Creating the tables", "Adding people", "Building the indexes", "Collecting"])
def test_a_fill_killed_in_the_middle_starts_over_and_leaves_nothing(own: Path, moment: str) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from tokens.targets import demo
        def report(progress):
            print(progress.text, flush=True)
            if progress.text.startswith({moment!r}):
                sys.stdin.read()
        demo.open(Path(sys.argv[1]), report, tokens={SMALL})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(own)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as filler:
        assert filler.stdout is not None
        for line in filler.stdout:
            if line.startswith(moment):
                break
        assert demo.address_if_ready(own) is None
        assert demo.status(own).state is DemoState.EMPTY
        os.kill(filler.pid, signal.SIGKILL)
    assert demo.address_if_ready(own) is None
    address = demo.open(own, tokens=SMALL)
    assert value(address, "SELECT count(*) FROM personal_access_tokens WHERE expires_at = '2024-06-15'") == SMALL
    assert rows(address, "SELECT datname FROM pg_database WHERE datname LIKE 'gitlab%'") == [("gitlabhq_production",)]


@pytest.mark.slow
def test_a_fill_that_is_interrupted_gives_its_room_back(own: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.text == "Building the indexes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.open(own, interrupt, tokens=SMALL)
    assert demo.address_if_ready(own) is None
    left = Server(own).address("postgres")
    assert rows(left, "SELECT datname FROM pg_database WHERE datname LIKE 'gitlab%'") == []


@pytest.mark.slow
def test_of_two_openers_at_once_one_fills_and_the_other_waits(own: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from tokens.targets import demo
        told = []
        demo.open(Path(sys.argv[1]), told.append, tokens={SMALL})
        print(any(progress.text.startswith("Adding people") for progress in told))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(own)]
    openers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(opener.communicate(timeout=120)[0] for opener in openers) == ["False\n", "False\n", "True\n"]


def test_attaching_imports_nothing_but_the_driver_that_its_caller_needs(home: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from tokens.targets import demo
        assert demo.address_if_ready(Path(sys.argv[1]))
        print(*{"alembic", "psutil", "tokens.targets.demo.population", "tokens.upgrade"} & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(home)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_negative_number_of_tokens_is_refused(own: Path) -> None:
    with pytest.raises(UsageError, match="-1 tokens"):
        demo.open(own, tokens=-1)
    assert not own.exists()


def test_the_default_place_is_a_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert demo.place() == Path("/var/lib/gitlab-tokens/demo")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert demo.place() == Path("/home/ada/.local/state/gitlab-tokens/demo")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert demo.place() == Path("/srv/state/gitlab-tokens/demo")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert demo.place() == Path("/home/ada/.local/state/gitlab-tokens/demo")


def test_the_data_of_another_postgresql_is_said_in_one_line(own: Path) -> None:
    other = Server(own, binaries=packaged_binaries(16), settings={"fsync": "off"})
    other.start()
    other.stop()
    with pytest.raises(ServerError, match=r"^[^\n]*made by PostgreSQL 16[^\n]*$"):
        demo.open(own)

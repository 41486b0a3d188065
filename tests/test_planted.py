"""Nobody's code runs with our privileges: whatever somebody has planted in schema `public`, no statement finds it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.addresses import url
from tests.commands import typed
from tests.factories import make_group, make_membership, make_migration_row, make_settings, make_token, make_user
from tests.planted import log_size, plant, unprotected
from tests.replication import Pair, Replicated
from tests.terminal.screen import Program
from tests.test_edit import INV
from tokens.address import Address
from tokens.engine import make_engine
from tokens.errors import ExitStatus

SOON = datetime.now(UTC).date() + timedelta(20)
NEXT_YEAR = datetime.now(UTC).date() + timedelta(300)
HOSTILE = "public, pg_catalog"

Superuser = Callable[[Address], Address]


def fill(address: Address) -> None:
    with make_engine(address).begin() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog")
        make_migration_row(connection)
        make_settings(connection)
        group = make_group(connection, path="fleet")
        owner = make_user(connection, username="inventory", user_type=13, provisioned_by_group_id=group)
        make_token(
            connection, user_id=owner, name="nightly", expires_at=SOON, seven_days_notification_sent_at="2024-06-08"
        )
        bot = make_user(connection, username="group_1_bot", user_type=6, bot_namespace_id=group)
        make_membership(connection, user_id=bot, group_id=group, expires_at=SOON)
        for number in range(3):
            make_token(connection, user_id=bot, name=f"deploy {number}", expires_at=SOON)
        make_token(connection, expires_at="2024-06-15")


def rotation(folder: Path, token: str = "nightly", deliver: str = "") -> tuple[str, ...]:
    secrets = folder / "secrets.yml"
    secrets.write_text(json.dumps({"production": {"db_key_base": "0badcafe" * 16}}))
    options = ("--no-verify", "--secrets-file", str(secrets), "--deliver", deliver or f"file:{folder}/{token}")
    return ("rotate", "--token", token, *options, "--yes")


def tasks(target: str, standby: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Every task that asks a database, in an order in which each finds something to do."""
    selected = ("--group", "fleet", "--user", "inventory", "--name", "*", "--scope", "api", "--state", "active,expired")
    rotate = rotation(folder)
    yield ("analyze",)
    yield ("analyze", "--output", "json")
    yield ("doctor",)
    yield ("doctor", "--grants", "night shift")
    yield ("journal.install",)
    yield ("journal.status",)
    yield ("extend", "--expires", str(SOON), *selected, "--by", "7d", "--dry-run")
    yield ("extend", "--expires", str(SOON), "--to", str(NEXT_YEAR), "--yes", "--standby", standby)
    yield ("undo", "--run", "1", "--yes")
    yield ("extend", "--expires", "2024-06-15", "--state", "expired", "--to", str(NEXT_YEAR), "--plan")
    yield ("apply", "--run", "3", "--yes")
    yield ("remove", "--expires", str(SOON), "--kind", "group", "--yes")
    yield ("remove", "--expires", str(SOON), "--kind", "service-account", "--no-journal", "--dry-run")
    yield ("history",)
    yield ("history", "--run", "1")
    yield (*rotate[:-1], "--dry-run")
    yield rotate
    yield ("history", "--run", "5", "--output", "json")
    yield ("journal.prune", "--before", str(NEXT_YEAR), "--yes")
    yield ("journal.uninstall", "--yes")


def edit(target: Address) -> None:
    """Remove a date in the conversation, with a journal that is installed on the way."""
    with Program([INV, "tokens.edit", "--target", url(target)], size=(50, 80)) as program:
        program.wait_for("3. Quit")
        program.press("2", "enter", "enter")
        program.wait_for("Are you sure?")
        program.press("yes", "enter")
        program.wait_for("install it")
        program.press("y", "enter")
        program.wait_for("Updated")
        program.wait_for("3. Quit")
        program.press("3", "enter")
        assert program.wait() == 0


@pytest.fixture
def pair(replicated: Replicated) -> Iterator[Pair]:
    with replicated.database() as both:
        fill(both.primary)
        yield both


def set_up(superuser: Address, path: str | None) -> None:
    """Let whoever comes to this database from now on have this search_path, and every statement logged."""
    with psycopg.connect(superuser.conninfo) as connection:
        database = sql.Identifier(connection.info.dbname)
        settings = {"log_statement": "'all'", **({} if path is None else {"search_path": path})}
        for name, value in settings.items():
            words = [sql.SQL(name), sql.SQL(value)]
            connection.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, *words))
            for role in ("gitlab", "postgres"):
                statement = sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")
                connection.execute(statement.format(sql.Identifier(role), database, *words))


@pytest.mark.parametrize("path", [None, HOSTILE])
@pytest.mark.parametrize("role", ["gitlab", "postgres"])
def test_no_task_runs_what_somebody_has_planted_in_schema_public(
    replicated: Replicated, pair: Pair, superuser: Superuser, role: str, path: str | None, tmp_path: Path
) -> None:
    logs = [server.folder / "server.log" for server in (replicated.primary, replicated.standby)]
    trap = plant(superuser(pair.primary), logs[0])
    set_up(superuser(pair.primary), path)
    replicated.catch_up()
    starts = [log_size(log) for log in logs]
    target, standby = pair.primary, pair.standby
    if role == "postgres":
        target, standby = superuser(target), superuser(standby)
    ran: dict[str, Counter[tuple[str, str]]] = {}
    ended: dict[str, int] = {}
    for words in tasks(url(target), url(standby), tmp_path):
        task = " ".join(words)
        ended[task] = typed(words[0], "--target", url(target), *words[1:])
        ran[task] = trap.sprung()
    edit(target)
    ran["edit"] = trap.sprung()
    assert {task: planted for task, planted in ran.items() if planted} == {}
    assert {task: status for task, status in ended.items() if status} == {}
    for log, start in zip(logs, starts, strict=True):
        assert log_size(log) > start
        assert unprotected(log, start) == []


def test_what_is_planted_runs_where_a_session_has_public_in_its_path(
    replicated: Replicated, pair: Pair, superuser: Superuser
) -> None:
    """Else the test above would prove nothing."""
    log = replicated.primary.folder / "server.log"
    trap = plant(superuser(pair.primary), log)
    set_up(superuser(pair.primary), HOSTILE)
    start = log_size(log)
    for statement, planted in (
        ("SELECT quote_ident(current_user)", "quote_ident(name)"),
        ("SELECT lower(username) FROM users LIMIT 1", "lower(character varying)"),
        ("SELECT count(*) FROM users", "count(*)"),
        ("SELECT now()", "now()"),
        ("SELECT id FROM users WHERE username ~ 'a' LIMIT 1", "character varying ~ character varying"),
        ("SELECT set_config('a.b', 'c', true)", "set_config(text, text, boolean)"),
        ("SELECT CAST('a' AS text)", "a type"),
        ("SELECT id FROM personal_access_tokens WHERE id = ANY(CAST('{1}' AS bigint[]))", "bigint = bigint"),
        ("SELECT unnest(CAST('{1}' AS bigint[]))", "unnest(bigint[])"),
    ):
        with psycopg.connect(pair.primary.conninfo) as connection:
            connection.execute(statement.encode())
        assert (planted, "gitlab") in trap.sprung(), statement
        assert statement in unprotected(log, start)


# As an administrator may write them: they find their tables by the search_path of whoever changes a row.
TRIGGER = """
    CREATE TABLE public.looked_at (id bigint);
    CREATE FUNCTION public.look_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM FROM personal_access_tokens;
      INSERT INTO looked_at VALUES (CASE TG_LEVEL WHEN 'ROW' THEN NEW.id END);
      RETURN NEW;
    END $$;
"""
HANGING = """
    CREATE TRIGGER look_at BEFORE INSERT OR UPDATE ON public.{table} FOR EACH ROW EXECUTE FUNCTION public.look_at();
    CREATE TRIGGER look_at_first BEFORE INSERT OR UPDATE ON public.{table} EXECUTE FUNCTION public.look_at();
    CREATE TRIGGER look_at_all AFTER INSERT OR UPDATE ON public.{table} EXECUTE FUNCTION public.look_at();
    CREATE CONSTRAINT TRIGGER look_at_end AFTER INSERT OR UPDATE ON public.{table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.look_at();
"""


def hang_triggers(address: Address) -> None:
    with psycopg.connect(address.conninfo) as connection:
        connection.execute(TRIGGER)
        for table in ("personal_access_tokens", "members", "personal_access_token_granular_scopes"):
            connection.execute(HANGING.format(table=table).encode())


def looked_at(address: Address) -> int:
    with psycopg.connect(address.conninfo) as connection:
        row = connection.execute("SELECT pg_catalog.count(*) FROM public.looked_at").fetchone()
    assert row is not None
    return int(row[0])


def changes(folder: Path) -> Iterator[tuple[str, ...]]:
    """Every statement that changes rows of GitLab's, in an order in which each finds something to do."""
    bots = ("extend", "--kind", "group,service-account", "--expires")
    keep = ("--memberships", "keep", "--notices", "keep")
    later = str(NEXT_YEAR)
    yield ("extend", "--expires", "2024-06-15", "--state", "expired", "--to", later, "--yes")
    # With notices and memberships; and what puts them back.
    yield (*bots, str(SOON), "--by", "200d", "--yes")
    yield ("undo", "--run", "2", "--yes")
    yield (*bots, str(SOON), "--to", later, "--stagger", "3", *keep, "--no-journal", "--yes")
    # The end of a membership is moved, and put back where a token cannot be delivered.
    yield (*rotation(folder, "deploy 2", deliver="command:false"), "--kind", "group")
    yield (*rotation(folder, "deploy 1"), "--kind", "group", "--grace", "2d")
    yield rotation(folder, "nightly")
    yield ("remove", "--kind", "group", "--expires", later, "--no-journal", "--yes")


@pytest.mark.parametrize("path", [None, HOSTILE])
def test_triggers_that_look_into_schema_public_work_for_the_owner_and_no_statement_looks_there_with_them(
    pair: Pair, superuser: Superuser, replicated: Replicated, path: str | None, tmp_path: Path
) -> None:
    target = url(pair.primary)
    hang_triggers(pair.primary)
    trap = plant(superuser(pair.primary), replicated.primary.folder / "server.log")
    set_up(superuser(pair.primary), path)
    assert typed("journal.install", "--target", target) == 0
    ran: dict[str, Counter[tuple[str, str]]] = {}
    idle: list[str] = []
    ended: dict[str, int] = {}
    for words in changes(tmp_path):
        before = looked_at(pair.primary)
        task = " ".join(words)
        ended[task] = typed(words[0], "--target", target, *words[1:])
        ran[task] = trap.sprung()
        if looked_at(pair.primary) == before:
            idle.append(task)
    assert {task: planted for task, planted in ran.items() if planted} == {}
    assert [status for status in ended.values() if status] == [ExitStatus.FAILED], ended
    assert idle == []


def test_what_others_have_locked_is_passed_over_with_such_triggers_too(
    pair: Pair, superuser: Superuser, replicated: Replicated
) -> None:
    target = url(pair.primary)
    hang_triggers(pair.primary)
    trap = plant(superuser(pair.primary), replicated.primary.folder / "server.log")
    assert typed("journal.install", "--target", target) == 0
    with psycopg.connect(pair.primary.conninfo) as other:
        other.execute("SELECT FROM public.personal_access_tokens WHERE name = 'deploy 0' FOR UPDATE")
        trap.sprung()
        words = ("extend", "--expires", str(SOON), "--kind", "group", "--to", str(NEXT_YEAR), "--no-journal", "--yes")
        assert typed(words[0], "--target", target, *words[1:]) == ExitStatus.PARTIAL
    assert trap.sprung() == Counter()
    with psycopg.connect(pair.primary.conninfo) as connection:
        statement = "SELECT count(*) FROM public.personal_access_tokens WHERE expires_at = %s"
        assert connection.execute(statement, [NEXT_YEAR]).fetchone() == (2,)


def test_as_a_superuser_such_a_trigger_changes_nothing_and_says_to_run_as_the_owner(
    pair: Pair, superuser: Superuser, replicated: Replicated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hang_triggers(pair.primary)
    target = superuser(pair.primary)
    assert typed("journal.install", "--target", url(target)) == 0
    trap = plant(target, replicated.primary.folder / "server.log")
    for words in (("extend", "--expires", str(SOON), "--to", str(NEXT_YEAR), "--yes"), rotation(tmp_path)):
        capsys.readouterr()
        assert typed(words[0], "--target", url(target), *words[1:]) != 0
        assert "run this as that role (gitlab in most installations)" in capsys.readouterr().err
    assert trap.sprung() == Counter()
    assert looked_at(pair.primary) == 0
    with psycopg.connect(pair.primary.conninfo) as connection:
        statement = "SELECT count(*) FROM public.personal_access_tokens WHERE expires_at = %s"
        assert connection.execute(statement, [SOON]).fetchone() == (4,)

"""Nobody's code runs with our privileges: whatever somebody has planted in schema `public`, no statement finds it."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.marks import slow_ones
from tests.testbed.planted import NEXT_YEAR, PLANTER, SOON, Trap, fill, log_size, plant, rotation, unprotected
from tests.testbed.program import INV
from tests.testbed.replication import Pair, Replicated
from tests.testbed.screen import Program
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.database import connect
from tokens.errors import ExitStatus
from tokens.gitlab.triggers import change, change_returning
from tokens.upgrade import Branch, upgrade

HOSTILE = "public, pg_catalog"

Superuser = Callable[[Address], Address]


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
    yield ("evidence", "--since", "2020-01-01")
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


@pytest.mark.parametrize("path", [*slow_ones(None), HOSTILE])
@pytest.mark.parametrize("role", ["gitlab", *slow_ones("postgres")])
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


@pytest.mark.parametrize("path", [*slow_ones(None), HOSTILE])
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


@pytest.mark.slow
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


def test_on_each_server_the_path_is_open_before_the_first_trigger_and_closed_after_the_last(
    gitlab_database: Address,
) -> None:
    fill(gitlab_database)
    hang_triggers(gitlab_database)
    update = "UPDATE public.members SET expires_at = expires_at"
    path = "SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('x.seen') AS seen"
    with connect(gitlab_database) as connection, connection.transaction(**{"x.seen": "nothing"}):
        assert change(connection, f"{update} WHERE false\n") == 0
        assert change(connection, f"{update}\n") == 1
        seen = "seen AS MATERIALIZED (SELECT pg_catalog.set_config('x.seen', 'all', true) AS seen)"
        (member,) = change_returning(connection, f"{update} FROM seen WHERE seen.seen = 'all' RETURNING id", seen)
        assert member > 0
        assert tuple(connection.row(path)) == ("pg_catalog, pg_temp", "all")
    # For each statement once, before and after; for each row, before and at the end.
    assert looked_at(gitlab_database) == 3 * 2 + 2 * 2


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
        said = 'function public.look_at() of role "gitlab", which would run as "postgres": log in as gitlab, the tables'
        assert said in capsys.readouterr().err
    assert trap.sprung() == Counter()
    assert looked_at(pair.primary) == 0
    with psycopg.connect(pair.primary.conninfo) as connection:
        statement = "SELECT count(*) FROM public.personal_access_tokens WHERE expires_at = %s"
        assert connection.execute(statement, [SOON]).fetchone() == (4,)


# A type of the planter's own, which turns into a number by his code as soon as it is compared with one.
OWN_TYPE = """
    CREATE TYPE public.number AS (text text);
    CREATE FUNCTION public.counted(public.number) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: a cast as %', current_user; RETURN CAST(($1).text AS bigint); END $$;
    CREATE CAST (public.number AS bigint) WITH FUNCTION public.counted(public.number) AS IMPLICIT;
"""
SCOPES_OF_HIS = """
    CREATE TABLE public.personal_access_token_granular_scopes (
      id bigint, organization_id bigint, personal_access_token_id {type}, granular_scope_id bigint
    );
    CREATE FUNCTION public.rise() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: a trigger as %', current_user; RETURN NEW; END $$;
    CREATE TRIGGER rise BEFORE INSERT ON public.personal_access_token_granular_scopes
    FOR EACH ROW EXECUTE FUNCTION public.rise();
    INSERT INTO public.personal_access_token_granular_scopes SELECT 1, 1, CAST(ROW('1') AS public.number){cast}, 1;
    GRANT ALL ON public.personal_access_token_granular_scopes TO PUBLIC;
"""
ROTATIONS_OF_HIS = """
    CREATE SCHEMA token_tasks;
    CREATE TABLE token_tasks.rotations (token_id public.number, successor_id bigint, run_id bigint);
    INSERT INTO token_tasks.rotations SELECT CAST(ROW('1') AS public.number), 2, 1;
    GRANT USAGE ON SCHEMA token_tasks TO PUBLIC;
    GRANT ALL ON token_tasks.rotations TO PUBLIC;
"""


@pytest.fixture
def earlier(alone: Alone, superuser: Superuser) -> Iterator[Callable[[str, str], tuple[Address, Trap]]]:
    """A database of an earlier release with what the planter has made there: few rows, so that no trap fills a disk."""
    with alone.database() as address:

        def make(revision: str, planted: str) -> tuple[Address, Trap]:
            with psycopg.connect(address.conninfo) as connection:
                connection.execute("DROP SCHEMA public, gitlab_shape CASCADE")
                connection.execute("CREATE SCHEMA public")
            upgrade(address, Branch.GITLAB, revision)
            fill(address)
            trap = plant(superuser(address), alone.server.folder / "server.log")
            with psycopg.connect(superuser(address).conninfo) as connection:
                connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {PLANTER}".encode())
                connection.execute(f"SET ROLE {PLANTER}".encode())
                connection.execute((OWN_TYPE + planted).encode())
            trap.sprung()
            return address, trap

        yield make


def dry_runs(folder: Path) -> Iterator[tuple[str, ...]]:
    kinds = ("--kind", "group,service-account")
    yield ("analyze",)
    yield ("doctor",)
    yield ("extend", "--expires", str(SOON), *kinds, "--to", str(NEXT_YEAR), "--dry-run")
    yield ("remove", "--expires", str(SOON), *kinds, "--dry-run")
    yield ("revoke", "--expires", str(SOON), *kinds, "--dry-run")
    yield (*rotation(folder)[:-1], "--dry-run")
    yield ("rotate", "--within", "30d", *kinds, "--no-verify", "--deliver", f"file:{folder}/{{token_id}}", "--dry-run")


@pytest.mark.parametrize(
    ("revision", "planted"),
    [("17.8", SCOPES_OF_HIS.format(type="public.number", cast="")), ("16.0", ROTATIONS_OF_HIS)],
    ids=["of a later release", "of the journal"],
)
def test_a_table_with_the_name_of_one_that_is_not_there_runs_no_code_of_whoever_has_made_it(
    earlier: Callable[[str, str], tuple[Address, Trap]],
    superuser: Superuser,
    revision: str,
    planted: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, trap = earlier(revision, planted)
    for target in (address, superuser(address)):
        for words in dry_runs(tmp_path):
            capsys.readouterr()
            typed(words[0], "--target", url(target), *words[1:])
            assert trap.sprung() == Counter(), words
            said = capsys.readouterr()
            if words[0] == "rotate" and revision == "17.8":
                assert f"public.personal_access_token_granular_scopes belongs to role {PLANTER}" in said.err, words
            elif words[0] in ("extend", "remove", "revoke", "rotate"):
                assert said.out.startswith("Plan to "), words


def test_the_trigger_of_such_a_table_fires_at_no_rotation(
    earlier: Callable[[str, str], tuple[Address, Trap]], superuser: Superuser, tmp_path: Path
) -> None:
    address, trap = earlier("17.8", SCOPES_OF_HIS.format(type="bigint", cast="::bigint"))
    assert typed("journal.install", "--target", url(address)) == 0
    for target, words in (
        (address, rotation(tmp_path)),
        (superuser(address), (*rotation(tmp_path, "deploy 0"), "--kind", "group")),
    ):
        assert typed(words[0], "--target", url(target), *words[1:]) == ExitStatus.REFUSED
        assert trap.sprung() == Counter()

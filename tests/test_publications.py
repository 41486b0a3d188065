"""The journal beside logical replication: a subscriber that is in sync stays so, whatever is done to the journal."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from tests.testbed import logical
from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_token, make_tokens, make_user
from tests.testbed.folders import public_folder
from tests.testbed.instance import LATER, SOON
from tests.testbed.journal import SOMEBODY, make_old_run, make_plan
from tests.testbed.logical import Logical, Replica, execute, value
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.servers import GITLAB
from tokens import database
from tokens.address import Address
from tokens.errors import ExitStatus, Refused
from tokens.inventory.diagnosis import Finding, Verdict, diagnose
from tokens.journal import beginning, contents, publications, setup
from tokens.journal.installation import REVISION, JournalOutdated
from tokens.targets.demo.programs import packaged_binaries
from tokens.upgrade import Branch, upgrade

DATES = "SELECT string_agg(CAST(expires_at AS text), ' ' ORDER BY id) FROM public.personal_access_tokens"
RUNS = "SELECT string_agg(id || ' ' || state, ', ' ORDER BY id) FROM token_tasks.runs"
SHAPE = """
    SELECT string_agg(line, E'\\n' ORDER BY line)
    FROM (
      SELECT c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
        || ' ' || CAST(a.attidentity AS text) AS line
      FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relnamespace = CAST('token_tasks' AS regnamespace) AND c.relkind = 'r'
      UNION ALL
      SELECT pg_get_indexdef(i.indexrelid)
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = CAST('token_tasks' AS regnamespace)
      UNION ALL
      SELECT CAST(conrelid AS regclass) || ' ' || conname || ' ' || pg_get_constraintdef(oid)
      FROM pg_constraint
      WHERE connamespace = CAST('token_tasks' AS regnamespace)
    ) lines
"""


@pytest.fixture(scope="module")
def logical_servers() -> Iterator[Logical]:
    with public_folder() as folder, logical.logical_replication(folder) as both:
        yield both


def as_gitlab(address: Address) -> Address:
    return replace(address, conninfo=make_conninfo(address.conninfo, user=GITLAB))


def journal_finding(address: Address) -> Finding:
    return next(one for one in diagnose(address) if one.subject == "journal")


def in_sync(replica: Replica) -> bool:
    """Whether what GitLab writes now comes to the subscriber."""
    with make_engine(replica.publisher).begin() as connection:
        make_token(connection, expires_at="2031-01-01")
    replica.catch_up()
    return bool(replica.errors() == 0 and value(replica.subscriber, DATES) == value(replica.publisher, DATES))


def psql(address: Address, script: str) -> None:
    program = str(packaged_binaries(18) / "psql")
    words = [program, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", address.conninfo]
    subprocess.run(words, input=script, text=True, check=True)


def run_task(address: Address, *words: str, status: int = 0) -> str:
    done = call_here(GITLAB_TOKENS, *words, "--target", url(address))
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


@pytest.mark.slow
def test_a_subscriber_in_sync_goes_on_getting_gitlabs_rows_from_installation_to_uninstallation(
    logical_servers: Logical,
) -> None:
    with logical_servers.database() as both:
        publisher, subscriber = as_gitlab(both.publisher), as_gitlab(both.subscriber)
        with make_engine(publisher).begin() as connection:
            bot = make_user(connection, user_type=6)
            make_membership(
                connection, user_id=bot, project_id=make_project(connection), expires_at=SOON + timedelta(1)
            )
            make_token(connection, user_id=bot, expires_at=SOON, seven_days_notification_sent_at="2024-06-10")
            make_tokens(connection, 2, expires_at=SOON)
        assert in_sync(both)

        # Refused, with a cure that can be typed.
        finding = journal_finding(publisher)
        assert finding.verdict is Verdict.WARN
        assert "publication everything will carry the journal's tables" in finding.text
        refusal = run_task(publisher, "journal.install", status=ExitStatus.REFUSED)
        assert refusal.startswith("Refused because of publication: publication everything ")
        assert refusal.count("\n") == 1
        assert "gitlab-tokens journal.install " in refusal
        assert value(publisher, "SELECT to_regnamespace('token_tasks')") is None

        psql(subscriber, run_task(publisher, "journal.install", "--sql"))
        run_task(publisher, "journal.install", "--allow", "publication")
        assert value(subscriber, SHAPE) == value(publisher, SHAPE)
        assert in_sync(both)
        both.refresh()
        finding = journal_finding(publisher)
        assert finding.verdict is Verdict.OK
        assert "carried by publication everything" in finding.text

        # Changed, taken back, pruned, uninstalled.
        run_task(publisher, "extend", "--expires", str(SOON), "--to", str(LATER), "--yes")
        assert value(publisher, "SELECT count(*) FROM token_tasks.notices") == 1
        assert value(publisher, "SELECT count(*) FROM token_tasks.memberships") == 1
        run_task(publisher, "undo", "--run", "1", "--yes")
        assert in_sync(both)
        assert value(subscriber, RUNS) == value(publisher, RUNS) == "1 done, 2 done"
        for table in ("notices", "memberships", "chunks", "attempts", "alembic_version"):
            rows = f"SELECT string_agg(CAST(t AS text), E'\\n' ORDER BY CAST(t AS text)) FROM token_tasks.{table} t"
            assert value(subscriber, rows) == value(publisher, rows)
        run_task(publisher, "journal.prune", "--before", "9999-01-01", "--yes")
        assert in_sync(both)
        assert value(subscriber, "SELECT count(*) FROM token_tasks.notices") == 0
        run_task(publisher, "extend", "--expires", str(SOON), "--to", str(LATER), "--yes")
        run_task(publisher, "journal.uninstall", "--yes")
        assert in_sync(both)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--yes", "--plan"])
def test_a_journal_of_an_older_revision_is_migrated_on_both_sides(logical_servers: Logical, way: str) -> None:
    with logical_servers.database() as both:
        publisher, subscriber = as_gitlab(both.publisher), as_gitlab(both.subscriber)
        for address in (subscriber, publisher):
            upgrade(address, Branch.JOURNAL, "2")
        execute(subscriber, "DELETE FROM token_tasks.alembic_version")
        both.refresh()
        run = make_old_run(publisher, make_plan([1, 2]))
        for table, column in (("notices", "token_ids"), ("memberships", "member_ids, old_expires_at")):
            values = "'{1}'" if table == "notices" else "'{1}', '{2024-06-15}'"
            for _ in range(2):
                execute(
                    publisher,
                    f"INSERT INTO token_tasks.{table} (run_id, position, {column}) VALUES ({run}, 0, {values})",
                )
        assert in_sync(both)
        with make_engine(publisher).begin() as connection:
            make_tokens(connection, 2, expires_at=SOON)

        words = ("extend", "--expires", str(SOON), "--to", str(LATER), way)
        assert "publication everything" in run_task(publisher, *words, status=ExitStatus.REFUSED)
        assert contents.status(publisher).revision == "2"
        # Who migrates nothing is told of the revision alone.
        with pytest.raises(JournalOutdated, match=r"The journal is of revision 2.*migrate it"):
            beginning.withdraw(publisher, run, SOMEBODY, None)
        with pytest.raises(JournalOutdated, match=r"The journal is of revision 2.*migrate it"):
            beginning.resume(publisher, run, SOMEBODY)
        finding = journal_finding(publisher)
        assert finding.verdict is Verdict.WARN
        assert "publication everything will carry" in finding.text
        psql(subscriber, run_task(publisher, "journal.install", "--sql"))
        run_task(publisher, *words, "--allow", "publication")
        assert contents.status(publisher).revision == REVISION
        if way == "--plan":
            run_task(publisher, "apply", "--run", str(run + 1), "--yes")
        assert value(subscriber, SHAPE) == value(publisher, SHAPE)
        assert in_sync(both)
        assert contents.prune(publisher, date(9999, 1, 1)) == 2
        assert in_sync(both)
        assert value(subscriber, "SELECT count(*) FROM token_tasks.memberships") == 0
        # On its way down the migration deletes rotations, and what hangs on them.
        execute(
            publisher,
            "INSERT INTO token_tasks.runs (kind, state, selection, change, notices, planned_by, tool_version, tokens) "
            "VALUES ('rotate', 'done', '{}', '{}', false, '{}', '1', 1)",
        )
        setup.uninstall(publisher)
        assert in_sync(both)


@pytest.mark.parametrize(
    ("publication", "carries"),
    [
        ("FOR ALL TABLES", True),
        ("FOR TABLES IN SCHEMA token_tasks", True),
        ("FOR TABLE token_tasks.runs", True),
        ("FOR TABLES IN SCHEMA public", False),
        ("FOR TABLE public.personal_access_tokens", False),
        ("", False),
    ],
)
def test_it_is_known_which_publications_carry_the_journal(
    gitlab_database: Address, superuser: Callable[[Address], Address], publication: str, carries: bool
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "2")
    with make_engine(superuser(gitlab_database)).begin() as connection:
        if (connection.dialect.server_version_info or ()) < (15,) and "SCHEMA" in publication:
            pytest.skip("PostgreSQL 15 brought publications of schemas")
        connection.execute(sa.text(f"CREATE PUBLICATION part {publication}"))
    with database.reading(gitlab_database) as connection:
        assert publications.carriers(connection) == (("part",) if carries else ())
    if carries:
        with pytest.raises(Refused, match="publication part will carry"):
            setup.install(gitlab_database)
    assert setup.install(gitlab_database, ["publication"]).revision == REVISION

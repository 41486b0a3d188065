"""The journal as an administrator keeps it: installed, looked at, pruned, backed up, uninstalled."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.exc import IntegrityError

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens
from tests.testbed.journal import NEW, SOMEBODY, execute, make_old_run, make_plan, make_run, values
from tests.testbed.marks import slow_ones
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.replication import Replicated
from tests.testbed.rotation import begun, plan_of, reached, service_account
from tests.testbed.runs import writing
from tests.testbed.screen import Program
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import Concern
from tokens.change.plan import RunKind
from tokens.change.plan import make_plan as plan_change
from tokens.errors import DatabaseError, ExitStatus, Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal import beginning, contents, installation, proof, setup
from tokens.journal.contents import Contents
from tokens.journal.installation import REVISION, UNKNOWN, JournalMissing, JournalOutdated, RunState
from tokens.journal.listing import read_outcomes
from tokens.journal.runs import list_runs
from tokens.journal.setup import Installed
from tokens.journal.trust import TABLES, JournalUntrusted
from tokens.rotation.stage import Stage
from tokens.selection import Selection
from tokens.upgrade import Branch, downgrade, revisions, upgrade
from tokens.views.journal import screen

Superuser = Callable[[Address], Address]


# What gitlab-backup shows but does not count when it restores.
NO_ERRORS = re.compile(r"WARNING:|does not exist$|must be owner of")


def as_role(address: Address, role: str) -> Address:
    return Address(make_conninfo(address.conninfo, user=role), address.shown)


def run_numbers(address: Address) -> list[int]:
    with database.reading(address) as connection:
        return sorted(run.id for run in list_runs(connection))


def list_of_runs(address: Address) -> object:
    with database.reading(address) as connection:
        setup.check_usable(connection)
        return list_runs(connection)


def held_by(address: Address) -> Contents:
    found = contents.status(address).contents
    assert found is not None
    return found


@pytest.fixture
def keeper(gitlab_database: Address, superuser: Superuser) -> Iterator[Address]:
    """A role that owns nothing, with a name that needs quotes."""
    role = '"Night Keeper"'
    execute(
        superuser(gitlab_database),
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    yield as_role(gitlab_database, "Night Keeper")
    execute(superuser(gitlab_database), f"REVOKE gitlab FROM {role}")


@pytest.fixture
def binaries(request: pytest.FixtureRequest, server: object) -> Path:
    """The folder of the programs of the server in use: a dump is made by its own pg_dump."""
    folder = request.node.callspec.params["server"]
    assert isinstance(folder, Path)
    return folder


# Installed and uninstalled


def test_the_journal_comes_and_goes_any_number_of_times_and_leaves_public_alone(gitlab_database: Address) -> None:
    relations = "SELECT relname FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace) ORDER BY relname"
    schemas = "SELECT nspname FROM pg_namespace ORDER BY nspname"
    before = values(gitlab_database, relations), values(gitlab_database, schemas)
    assert contents.status(gitlab_database) == contents.JournalStatus(None, REVISION, None)
    assert setup.uninstall(gitlab_database) is None
    for _ in range(2):
        assert setup.install(gitlab_database) == Installed(None, REVISION)
        assert str(setup.install(gitlab_database)) == f"The journal was installed already, revision {REVISION}."
        assert values(gitlab_database, relations) == before[0]
        make_run(gitlab_database, make_plan([1, 2]))
        assert setup.uninstall(gitlab_database) == 1
        assert setup.uninstall(gitlab_database) is None
        assert (values(gitlab_database, relations), values(gitlab_database, schemas)) == before
    with pytest.raises(JournalMissing, match="not installed"):
        contents.prune(gitlab_database, date(2030, 1, 1))


def test_a_run_whose_chunks_somebody_has_emptied_has_an_end(gitlab_database: Address) -> None:
    setup.install(gitlab_database)
    make_run(gitlab_database, make_plan([1, 2]))
    execute(gitlab_database, "UPDATE token_tasks.chunks SET token_ids = '{}'")
    assert list(read_outcomes(gitlab_database, 1)) == []


def test_who_may_only_read_an_older_journal_is_told_who_has_to_migrate_it(
    keeper: Address, gitlab_database: Address
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    execute(
        gitlab_database,
        'GRANT USAGE ON SCHEMA token_tasks TO "Night Keeper"',
        'GRANT SELECT ON ALL TABLES IN SCHEMA token_tasks TO "Night Keeper"',
    )
    for reader, cure in ((keeper, " Role gitlab has to migrate it by journal.install."), (gitlab_database, " → ")):
        with database.reading(reader) as connection, pytest.raises(JournalOutdated) as caught:
            installation.check(connection, reading=True)
        assert str(caught.value).startswith(f"The journal is of revision 3, this version needs {REVISION}.{cure}")
    seen = screen(contents.status(keeper))
    assert seen.endswith(f"needs {REVISION}: role gitlab has to migrate it by journal.install")


def test_a_role_without_the_privilege_is_told_the_statement_that_gives_it(
    keeper: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    name = conninfo_to_dict(keeper.conninfo)["dbname"]

    def refusal(task: Callable[[Address], object], address: Address, statements: str) -> None:
        with pytest.raises(Refused) as caught:
            task(address)
        assert str(caught.value).endswith(statements)
        assert "\n" not in str(caught.value)

    def prune(address: Address) -> int:
        return contents.prune(address, date(2030, 1, 1))

    for statement in ("SELECT", f'GRANT CREATE ON DATABASE {name} TO "Night Keeper"'):
        execute(gitlab_database, statement)
        refusal(
            setup.install,
            keeper,
            "which owns GitLab's tables, since it might run somebody else's code: install it as gitlab.",
        )
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} OWNER TO postgres")
    refusal(setup.install, gitlab_database, f"run: GRANT CREATE ON DATABASE {name} TO gitlab;")
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} OWNER TO gitlab")

    execute(gitlab_database, "CREATE SCHEMA token_tasks")
    enter = 'GRANT USAGE, CREATE ON SCHEMA token_tasks TO "Night Keeper";'
    refusal(setup.install, keeper, f"as gitlab run: {enter}")
    execute(gitlab_database, "DROP SCHEMA token_tasks")
    assert setup.install(gitlab_database).before is None

    use = (
        'GRANT USAGE ON SCHEMA token_tasks TO "Night Keeper"; '
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_tasks TO "Night Keeper";'
    )
    for task in (setup.install, prune):
        refusal(task, keeper, f"as gitlab run: {use}")
    look = use.replace("SELECT, INSERT, UPDATE, DELETE", "SELECT")
    refusal(contents.status, keeper, f"may not read it; as gitlab run: {look}")
    execute(gitlab_database, *use.rstrip(";").split(";"))
    assert setup.install(keeper).before == REVISION
    make_run(keeper, make_plan([1]), with_names=False)
    columns = "id, expires_at, revoked, previous_personal_access_token_id"
    read = f'GRANT SELECT ({columns}) ON public.personal_access_tokens TO "Night Keeper";'
    refusal(prune, keeper, read)
    execute(gitlab_database, read)
    assert prune(keeper) == 1

    own = 'GRANT gitlab TO "Night Keeper";'
    refusal(setup.uninstall, keeper, f"log in as gitlab, or as a superuser run: {own}")
    execute(superuser(gitlab_database), own)
    assert setup.uninstall(keeper) == 0


def test_a_schema_that_the_owner_has_prepared_is_taken(keeper: Address, gitlab_database: Address) -> None:
    name = conninfo_to_dict(keeper.conninfo)["dbname"]
    execute(
        gitlab_database,
        "CREATE SCHEMA token_tasks",
        'GRANT USAGE, CREATE ON SCHEMA token_tasks TO "Night Keeper"',
        f'GRANT CREATE ON DATABASE {name} TO "Night Keeper"',
    )
    assert setup.install(keeper).before is None
    make_run(keeper, make_plan([1]), with_names=False)
    assert run_numbers(keeper) == [1]


def test_a_journal_of_another_revision_is_refused_or_to_be_migrated(installed: Address) -> None:
    day = date(2030, 1, 1)
    execute(installed, "UPDATE token_tasks.alembic_version SET version_num = '99'")
    for task in (setup.install, setup.uninstall, lambda address: contents.prune(address, day)):
        with pytest.raises(Refused, match="revision 99, which this version of the tool does not know"):
            task(installed)
    assert contents.status(installed) == contents.JournalStatus("99", REVISION, None)
    execute(installed, "UPDATE token_tasks.alembic_version SET version_num = '0'")
    with pytest.raises(JournalOutdated, match=r"→ to migrate it: gitlab-tokens journal\.install$"):
        contents.prune(installed, day)


def test_a_newer_journal_is_named_as_one_whatever_tables_it_has(installed: Address) -> None:
    execute(
        installed,
        "CREATE TABLE token_tasks.approvals (id bigint PRIMARY KEY, run_id bigint REFERENCES token_tasks.runs)",
    )
    with pytest.raises(JournalUntrusted, match="foreign key approvals_run_id_fkey"):
        contents.status(installed)
    execute(installed, "UPDATE token_tasks.alembic_version SET version_num = '99'")
    for task in (setup.install, setup.uninstall, contents.status, list_of_runs):
        with pytest.raises(Refused, match=r"revision 99, which .* knows \d+\): use the version that made it\.$"):
            task(installed)


def test_tables_of_another_revision_than_they_say_are_refused_with_a_way_out(installed: Address) -> None:
    execute(installed, "UPDATE token_tasks.alembic_version SET version_num = '3'")
    with pytest.raises(Refused, match=r"says revision 3, and its tables are of another one, .* DROP SCHEMA token_task"):
        setup.install(installed)
    with pytest.raises(Refused, match=r"says revision 3, .* DROP SCHEMA token_task"):
        setup.uninstall(installed)
    execute(installed, "DROP SCHEMA token_tasks CASCADE")
    assert setup.install(installed).before is None


@pytest.mark.newest_server
@pytest.mark.parametrize("table", sorted({*TABLES} - {"alembic_version"}))
def test_a_journal_that_has_lost_a_table_says_which_and_what_to_do(installed: Address, table: str) -> None:
    make_run(installed, make_plan([1]))
    execute(installed, f"DROP TABLE token_tasks.{table} CASCADE")

    def prune(address: Address) -> int:
        return contents.prune(address, date(2030, 1, 1))

    for task in (contents.status, setup.install, setup.uninstall, prune, list_of_runs):
        with pytest.raises(Refused) as refused:
            task(installed)
        assert str(refused.value) == (
            f"The journal has lost token_tasks.{table}: restore the schema token_tasks from a backup, or forget all "
            "that it held: DROP SCHEMA token_tasks CASCADE; → to install it after that: gitlab-tokens journal.install"
        )
    execute(installed, "DROP SCHEMA token_tasks CASCADE")
    assert setup.install(installed).before is None


@pytest.mark.newest_server
def test_what_needs_no_lost_table_goes_on(installed: Address) -> None:
    words = (GITLAB_TOKENS, "history", "--target", url(installed), "--run", "1")
    make_run(installed, make_plan([1]))
    shown = call_here(*words)
    execute(installed, "DROP TABLE token_tasks.entries, token_tasks.revocations")
    assert call_here(*words).stdout == shown.stdout
    execute(installed, "DROP TABLE token_tasks.names, token_tasks.runs CASCADE")
    done = call_here(*words)
    assert done.returncode == ExitStatus.REFUSED
    assert done.stderr.startswith("The journal has lost token_tasks.names and token_tasks.runs: ")
    assert beginning.begin_unrecorded(installed, RunKind.EXTEND).run is None


def test_a_superusers_journal_becomes_ours_by_the_cure_and_we_no_superusers(
    installed: Address, superuser: Superuser
) -> None:
    execute(
        superuser(installed),
        "ALTER SCHEMA token_tasks OWNER TO CURRENT_USER",
        "ALTER TABLE token_tasks.runs OWNER TO CURRENT_USER",
        "GRANT USAGE ON SCHEMA token_tasks TO gitlab",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_tasks TO gitlab",
    )
    with pytest.raises(Refused) as refused:
        setup.uninstall(installed)
    _, _, cure = str(refused.value).partition("or as a superuser run: ")
    assert cure == "ALTER SCHEMA token_tasks OWNER TO gitlab; ALTER TABLE token_tasks.runs OWNER TO gitlab;"
    execute(superuser(installed), *cure.rstrip(";").split("; "))
    assert setup.uninstall(installed) == 0


def test_after_a_switch_over_the_sequences_are_put_right_by_the_cure(installed: Address) -> None:
    make_run(installed, make_plan([1]))
    assert str(setup.install(installed)) == f"The journal was installed already, revision {REVISION}."
    execute(installed, "ALTER TABLE token_tasks.runs ALTER COLUMN id RESTART")
    with pytest.raises(DatabaseError, match=r"its sequences are behind .* gitlab-tokens journal\.install$"):
        make_run(installed, make_plan([1]))
    execute(installed, "ALTER TABLE token_tasks.runs ALTER COLUMN id RESTART")
    assert str(setup.install(installed)).endswith("Its sequences were behind its rows, and are not any more.")
    assert make_run(installed, make_plan([1])) == 2
    assert not setup.install(installed).caught_up


def test_who_may_not_read_the_journal_makes_no_change_without_it(keeper: Address, gitlab_database: Address) -> None:
    assert beginning.begin_unrecorded(keeper, RunKind.EXTEND).run is None
    setup.install(gitlab_database)
    with pytest.raises(Refused, match=r'may not read it; as gitlab run: GRANT USAGE ON SCHEMA .* TO "Night Keeper";'):
        beginning.begin_unrecorded(keeper, RunKind.EXTEND)
    execute(
        gitlab_database,
        'GRANT USAGE ON SCHEMA token_tasks TO "Night Keeper"',
        'GRANT SELECT ON ALL TABLES IN SCHEMA token_tasks TO "Night Keeper"',
    )
    assert beginning.begin_unrecorded(keeper, RunKind.EXTEND).run is None


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE token_tasks.alembic_version SET version_num = '99'", "revision 99, which this version"),
        ("DELETE FROM token_tasks.alembic_version", "does not say its revision"),
        ("DROP TABLE token_tasks.settings", "has lost token_tasks.settings"),
        ("CREATE RULE r AS ON INSERT TO token_tasks.runs DO ALSO NOTHING", "rule r belongs to token_tasks.runs"),
    ],
)
def test_where_nobody_knows_what_a_journal_demands_no_change_is_made_without_it(
    installed: Address, statement: str, said: str
) -> None:
    execute(installed, statement)
    with pytest.raises(Refused, match=said):
        beginning.begin_unrecorded(installed, RunKind.EXTEND)


def test_an_older_journal_demands_nothing(gitlab_database: Address) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, revision="3")
    assert beginning.begin_unrecorded(gitlab_database, RunKind.EXTEND).run is None


def test_an_older_journal_is_migrated_with_all_that_it_remembers_and_back(gitlab_database: Address) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "1")
    first = make_old_run(gitlab_database, make_plan([1, 2], [3]), reason="why")
    added = "{withdrawn_by,withdrawn_at,withdrawn_because,policy,recounted,entries,chain}"
    remembered = (
        # But for the columns that it did not have.
        f"SELECT CAST(to_jsonb(r) - '{added}'::text[] AS text) FROM token_tasks.runs r",
        "SELECT CAST(a AS text) FROM token_tasks.attempts a",
        "SELECT CAST(c AS text) FROM token_tasks.chunks c ORDER BY position",
    )
    before = [values(gitlab_database, statement) for statement in remembered]
    rotate = (
        "INSERT INTO token_tasks.runs (kind, state, selection, change, notices, planned_by, tool_version, tokens) "
        "VALUES ('rotate', 'planned', '{}', '{}', false, '{}', '1', 1)"
    )
    with pytest.raises(IntegrityError, match="runs_kind_check"):
        execute(gitlab_database, rotate)
    assert contents.status(gitlab_database) == contents.JournalStatus("1", REVISION, None)
    with pytest.raises(JournalOutdated, match=f"of revision 1, this version needs {REVISION}"):
        contents.prune(gitlab_database, date(2030, 1, 1))

    assert str(setup.install(gitlab_database)) == f"The journal is migrated from revision 1 to {REVISION}."
    assert [values(gitlab_database, statement) for statement in remembered] == before
    assert make_run(gitlab_database, make_plan([4])) > first
    assert setup.install(gitlab_database) == Installed(REVISION, REVISION)
    execute(
        gitlab_database,
        rotate,
        "INSERT INTO token_tasks.rotations (run_id, token_id, state) "
        "SELECT max(id), 5, 'created' FROM token_tasks.runs",
    )
    assert values(gitlab_database, "SELECT given_up FROM token_tasks.rotations") == [[]]
    assert contents.prune(gitlab_database, date(9999, 1, 1)) == 2
    execute(gitlab_database, "UPDATE token_tasks.rotations SET state = 'abandoned'")
    assert contents.prune(gitlab_database, date(9999, 1, 1)) == 1
    assert values(gitlab_database, "SELECT token_id FROM token_tasks.rotations") == []

    execute(gitlab_database, rotate)
    kept = make_run(gitlab_database, make_plan([6]))
    downgrade(gitlab_database, Branch.JOURNAL, "1")
    assert values(gitlab_database, "SELECT id FROM token_tasks.runs") == [kept]
    assert setup.install(gitlab_database) == Installed("1", REVISION)


@pytest.mark.first_elsewhere("loss", "revision")
@pytest.mark.parametrize("revision", revisions(Branch.JOURNAL))
@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM token_tasks.alembic_version",
        *slow_ones("INSERT INTO token_tasks.alembic_version VALUES ('0')", "DROP TABLE token_tasks.alembic_version"),
    ],
)
def test_a_journal_that_does_not_say_its_revision_is_told_by_its_tables(
    gitlab_database: Address, revision: str, loss: str
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, revision)
    run = make_run(gitlab_database, make_plan([1, 2])) if revision == REVISION else None
    execute(gitlab_database, loss)
    day = date(2020, 1, 1)
    if "DROP" not in loss:
        with pytest.raises(
            JournalOutdated,
            match=r"does not say its revision .* write it down: gitlab-tokens journal.install",
        ):
            contents.prune(gitlab_database, day)
        shown = screen(contents.status(gitlab_database))
        assert shown.endswith("its revision → to read it from the tables: gitlab-tokens journal.install")
    assert setup.install(gitlab_database) == Installed(UNKNOWN, REVISION)
    assert values(gitlab_database, "SELECT version_num FROM token_tasks.alembic_version") == [REVISION]
    assert run_numbers(gitlab_database) == ([run] if run else [])
    assert setup.install(gitlab_database).before == REVISION
    assert setup.uninstall(gitlab_database) is not None


def test_tables_that_are_of_no_revision_are_refused_with_a_way_out(installed: Address) -> None:
    execute(installed, "DELETE FROM token_tasks.alembic_version", "DROP TABLE token_tasks.rotations")
    with pytest.raises(Refused, match=r"its tables are those of none: restore .* DROP SCHEMA token_tasks CASCADE;"):
        setup.install(installed)
    execute(installed, "DROP SCHEMA token_tasks CASCADE")
    assert setup.install(installed).before is None


def test_nobody_installs_a_journal_that_the_owner_of_the_tables_would_not_use(
    gitlab_database: Address, superuser: Superuser
) -> None:
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(
        superuser(gitlab_database),
        "DO $$ BEGIN CREATE ROLE installer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT CREATE ON DATABASE {name} TO installer",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO installer",
    )
    installer = Address(make_conninfo(gitlab_database.conninfo, user="installer"), "as installer")
    with pytest.raises(Refused, match=r'^A journal of role "installer" could not be used by role gitlab, which owns'):
        setup.install(installer)
    assert setup.install(gitlab_database).before is None


def test_only_gitlabs_main_database_gets_a_journal_and_only_where_it_takes_changes(
    empty_database: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    with pytest.raises(Refused, match="has no GitLab table"):
        setup.install(empty_database)
    setup.install(gitlab_database)
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(gitlab_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for task in (setup.install, setup.uninstall, lambda address: contents.prune(address, date(2030, 1, 1))):
        with pytest.raises(Refused, match=r"_read_only is on; .* run SET .* = off; ALTER DATABASE \w+ RESET"):
            task(gitlab_database)
    assert contents.status(gitlab_database).revision == REVISION


def test_a_standby_shows_the_journal_and_takes_none(replicated: Replicated) -> None:
    with replicated.database() as pair:
        setup.install(pair.primary)
        make_run(pair.primary, make_plan([1]))
        replicated.catch_up()
        assert contents.status(pair.standby) == contents.status(pair.primary)
        for task in (setup.install, setup.uninstall):
            with pytest.raises(Refused, match="standby"):
                task(pair.standby)


# Looked at and pruned


def test_the_status_counts_runs_and_bytes(installed: Address) -> None:
    nothing = held_by(installed)
    assert (nothing.oldest, nothing.newest, nothing.bytes_a_token) == (None, None, None)
    ids = range(1, 20_001)
    plan = make_plan(*(ids[start : start + 2_000] for start in range(0, len(ids), 2_000)))
    make_run(installed, plan, created_at="2026-01-02 03:04:05+02")
    make_run(installed, make_plan([1]), RunState.PLANNED, created_at="2026-02-03 00:00:00+00")
    found = held_by(installed)
    assert found.runs == {"planned": 1, "running": 0, "stopped": 0, "partial": 0, "done": 1, "withdrawn": 0}
    assert (found.oldest, found.newest) == ("2026-01-02T01:04:05+00:00", "2026-02-03T00:00:00+00:00")
    assert found.tokens == 20_001
    assert found.bytes_a_token is not None
    assert 1 < found.bytes_a_token < 20
    assert found.size > found.chunks_size + found.memberships_size + found.notices_size


def test_pruning_forgets_what_was_planned_before_a_day_in_utc_but_nothing_under_way(installed: Address) -> None:
    states = (RunState.DONE, RunState.PARTIAL, RunState.PLANNED, RunState.STOPPED)
    old = [make_run(installed, make_plan([1]), state, created_at="2026-02-28 23:59:59+00") for state in states]
    new = make_run(installed, make_plan([1], undoes=old[0]), created_at="2026-03-01 02:00:00+02")
    running = make_run(installed, make_plan([1]), RunState.RUNNING, created_at="2026-01-01 00:00+00")
    assert contents.prune(installed, date(2026, 2, 28)) == 0
    assert contents.count_prunable(installed, date(2026, 3, 1)) == len(old)
    assert contents.prune(installed, date(2026, 3, 1), SOMEBODY) == len(old)
    assert contents.prune(installed, date(2026, 3, 1)) == 0
    who = (
        "SELECT concat_ws(' ', name, value ->> 'before', value ->> 'runs', set_by ->> 'user') FROM token_tasks.settings"
    )
    assert values(installed, who) == [f"pruned 2026-03-01 {len(old)} {SOMEBODY.user}"]
    assert run_numbers(installed) == [new, running]
    for table, of in (("chunks", [new, running]), ("entries", [0, new, running])):
        assert values(installed, f"SELECT DISTINCT run_id FROM token_tasks.{table} ORDER BY 1") == of
    with database.reading(installed) as connection:
        assert proof.check(connection).faults == ()
    with pytest.raises(Refused, match=rf"Run {running} \(extend\) is under way .* by ada \(sudo, as root\) on db1"):
        setup.uninstall(installed)
    execute(installed, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'")
    assert setup.uninstall(installed) == 2


@pytest.mark.newest_server
@pytest.mark.parametrize("stage", [Stage.CREATED, Stage.VERIFIED])
def test_a_new_token_that_nobody_may_have_is_not_forgotten(installed: Address, stage: Stage) -> None:
    planned = plan_of(installed, service_account(installed))
    record = begun(installed, planned)
    made = reached(installed, record, planned.rotations[0], stage)
    with writing(installed) as connection:
        record.finish(connection, RunState.STOPPED)
    said = rf"Run 1 has made token {made.id}, which works and may not be delivered: .* rotate --resume 1$"
    with pytest.raises(Refused, match=said):
        setup.uninstall(installed)
    execute(installed, f"UPDATE personal_access_tokens SET revoked = true WHERE id = {made.id}")
    assert setup.uninstall(installed) == 1


def test_pruning_keeps_what_tells_that_a_token_which_is_not_revoked_was_replaced(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("16.0")
    upgrade(address, Branch.JOURNAL)
    today = datetime.now(UTC).date()

    def token(days: int | None, *, revoked: bool | None = False) -> int:
        expires_at = None if days is None else today + timedelta(days)
        with make_engine(address).begin() as connection:
            return make_token(connection, expires_at=expires_at, revoked=revoked)

    def rotated(old: int, successor: int, state: str = "done") -> int:
        run = make_run(address, replace(make_plan([old]), kind=RunKind.ROTATE), created_at="2026-01-01 00:00+00")
        execute(
            address,
            "INSERT INTO token_tasks.rotations (run_id, token_id, successor_id, state) "
            f"VALUES ({run}, {old}, {successor}, '{state}')",
        )
        return run

    first, second, third = token(7, revoked=None), token(7, revoked=True), token(300)
    in_grace = [rotated(first, second), rotated(second, third), rotated(token(None), token(300))]
    expired = rotated(token(0), token(300))
    rotated(token(7, revoked=True), token(300))
    rotated(token(7), token(300, revoked=True), "abandoned")
    assert contents.count_prunable(address, date(2026, 2, 1)) == 2
    assert contents.prune(address, date(2026, 2, 1)) == 2
    assert run_numbers(address) == [*in_grace, expired]
    day = ExpirationDate((today + timedelta(7)).toordinal())
    plan = plan_change(address, RunKind.EXTEND, Selection.every(day), Change(to=NEW))
    assert [note.ids for note in plan.notes if note.concern is Concern.SUPERSEDED] == [(first,)]

    execute(address, f"UPDATE public.personal_access_tokens SET revoked = true WHERE id = {first}")
    assert contents.prune(address, date(2026, 2, 1)) == 2


# From the command line


@pytest.mark.parametrize(
    "words", [(), ("--before", "soon"), ("--older-than", "soon"), ("--before", "2026-01-01", "--older-than", "3d")]
)
def test_pruning_takes_one_day_and_says_what_a_day_looks_like(words: Sequence[str]) -> None:
    done = call_here(GITLAB_TOKENS, "journal.prune", "--target", "postgresql:///nowhere", "--yes", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (ExitStatus.USAGE, "", 1)


@pytest.mark.newest_server
@pytest.mark.parametrize("words", [("uninstall",), ("prune", "--older-than", "90d")])
def test_what_forgets_runs_wants_a_terminal_or_a_yes(installed: Address, words: Sequence[str]) -> None:
    run = make_run(installed, make_plan([1]), created_at="2026-01-01 00:00+00")
    done = call_here(GITLAB_TOKENS, f"journal.{words[0]}", *words[1:], "--target", url(installed))
    assert done.returncode == ExitStatus.USAGE
    assert "without one use --yes" in done.stderr
    assert run_numbers(installed) == [run]


@pytest.mark.newest_server
def test_the_tasks_say_what_they_did_and_ask_before_they_forget(gitlab_database: Address) -> None:
    def journal(task: str, *words: str) -> str:
        done = call_here(GITLAB_TOKENS, f"journal.{task}", "--target", url(gitlab_database), *words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def on_a_terminal(*words: str) -> Program:
        return Program([GITLAB_TOKENS, *words, "--target", url(gitlab_database)], size=(12, 200))

    assert screen(contents.status(gitlab_database)).startswith(
        "Journal     not installed → to install it: gitlab-tokens journal.install"
    )
    assert journal("install") == f"The journal is installed, revision {REVISION}.\n"
    make_run(gitlab_database, make_plan([1, 2]), created_at="2026-01-01 10:00+00")
    make_run(gitlab_database, make_plan([3]), created_at="2026-05-05 10:00+00")
    shown = screen(contents.status(gitlab_database))
    assert "Runs        2: 2 done\nOldest      2026-01-01 10:00:00 UTC\nNewest      2026-05-05 10:00:00 UTC" in shown
    assert json.loads(journal("status", "--output", "json"))["runs"]["done"] == 2

    with on_a_terminal("journal.prune", "--before", "2026-02-01") as program:
        program.wait_for("WARNING: 1 run from before 2026-02-01 will be forgotten")
        program.press("enter")
        assert program.wait() == 0
        assert "Aborting!" in program.text
    assert run_numbers(gitlab_database) == [1, 2]
    assert journal("prune", "--before", "2026-02-01", "--yes") == "1 run is forgotten, all from before 2026-02-01.\n"

    with on_a_terminal("journal.uninstall") as program:
        program.wait_for("WARNING: 1 run will be forgotten, and cannot be undone then.")
        program.press("y", "enter")
        assert program.wait() == 0
        assert "The journal is uninstalled, and 1 run is forgotten." in program.text
    assert contents.status(gitlab_database).revision is None


# Backed up


def backup(binaries: Path, address: Address, *options: str) -> bytes:
    """What gitlab-backup writes; with its setting `pg_schema` only the schemas that it names."""
    words = [str(binaries / "pg_dump"), "--clean", "--if-exists", *options, "--dbname", address.conninfo]
    return subprocess.run(words, capture_output=True, check=True).stdout


def restore(binaries: Path, address: Address, dump: bytes) -> list[str]:
    """As gitlab-backup restores: the tables of `public` go, then psql runs on through errors, which are returned."""
    tables = values(address, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    execute(address, *(f'DROP TABLE IF EXISTS public."{table}" CASCADE' for table in tables))
    done = subprocess.run(
        [binaries / "psql", "--no-psqlrc", "--quiet", address.conninfo], input=dump, capture_output=True, check=True
    )
    lines = done.stderr.decode().splitlines()
    return [line for line in lines if "ERROR:" in line and not NO_ERRORS.search(line)]


@pytest.mark.slow
def test_a_backup_of_the_whole_database_brings_the_journal_back_and_one_of_public_leaves_it_alone(
    binaries: Path, installed: Address, empty_database: Address, gitlab_database_at: Callable[[str], Address]
) -> None:
    dates = "SELECT CAST(expires_at AS text) FROM public.personal_access_tokens ORDER BY id"
    with make_engine(installed).begin() as connection:
        ids = make_tokens(connection, 3, expires_at="2024-06-15")
    first = make_run(installed, make_plan(ids), reason="first")
    whole, public = backup(binaries, installed), backup(binaries, installed, "--schema=public")
    before = held_by(installed)

    def change() -> int:
        execute(installed, "UPDATE public.personal_access_tokens SET expires_at = '2030-06-15'")
        return make_run(installed, make_plan(ids))

    # Elsewhere
    assert restore(binaries, empty_database, whole) == []
    assert held_by(empty_database).runs == before.runs
    assert setup.install(empty_database).before == REVISION
    assert make_run(empty_database, make_plan(ids)) == first + 1
    another = gitlab_database_at("head")
    assert restore(binaries, another, public) == []
    assert values(another, dates) == ["2024-06-15"] * 3
    assert setup.install(another).before is None

    # Over the database itself
    assert change() == first + 1
    assert restore(binaries, installed, whole) == []
    assert (run_numbers(installed), values(installed, dates)) == ([first], ["2024-06-15"] * 3)
    assert held_by(installed).newest == before.newest
    assert change() == first + 1
    assert restore(binaries, installed, public) == []
    assert (run_numbers(installed), values(installed, dates)) == ([first, first + 1], ["2024-06-15"] * 3)
    assert setup.uninstall(installed) == 2
    assert restore(binaries, installed, whole) == []
    assert run_numbers(installed) == [first]


def test_a_backup_from_before_the_journal_leaves_it_as_it_is(binaries: Path, gitlab_database: Address) -> None:
    dump = backup(binaries, gitlab_database)
    setup.install(gitlab_database)
    run = make_run(gitlab_database, make_plan([1]))
    assert restore(binaries, gitlab_database, dump) == []
    assert run_numbers(gitlab_database) == [run]

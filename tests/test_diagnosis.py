"""What the doctor finds in a database, and the least privileges that he prescribes."""

import json
import shlex
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_settings, make_token, make_tokens, make_user
from tests.testbed.program import INV
from tests.testbed.runs import begin_run, undo
from tokens import verbs
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import Concern
from tokens.change.plan import RunKind, make_plan
from tokens.errors import Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.release import release_of
from tokens.inventory.analysis import analyze
from tokens.inventory.diagnosis import Verdict, diagnose, least_privileges
from tokens.journal import setup
from tokens.journal.installation import REVISION, JournalMissing
from tokens.journal.record import Recorder
from tokens.rotation.candidate import Search, find
from tokens.rotation.plan import plan as plan_rotation
from tokens.run.batches import Finished, run
from tokens.run.stored_plans import plan_to_apply
from tokens.selection import DateRange, Selection
from tokens.upgrade import Branch, upgrade

Superuser = Callable[[Address], Address]
OLD, NEW = ExpirationDate.typed("2024-06-15"), ExpirationDate.typed("2030-06-15")
WHENEVER = DateRange(ExpirationDate.typed("2029-01-01"), ExpirationDate.typed("2030-12-31"))


def findings(address: Address) -> dict[str, tuple[Verdict, str]]:
    return {one.subject: (one.verdict, one.text) for one in diagnose(address)}


def changed(address: Address) -> int:
    """How many tokens go from OLD to NEW."""
    plan = make_plan(address, RunKind.EDIT, Selection.every(OLD), Change(NEW))
    *_, end = run(address, plan, Recorder())
    assert isinstance(end, Finished)
    return end.changed


def execute(address: Address, *statements: str) -> None:
    with make_engine(address).begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.fixture
def nobody(gitlab_database: Address, superuser: Superuser) -> Address:
    """A role that may do nothing, with a name that needs quotes."""
    role = '"Night Shift"'
    execute(
        superuser(gitlab_database),
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"REVOKE ALL ON DATABASE {conninfo_to_dict(gitlab_database.conninfo)['dbname']} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    )
    return Address(make_conninfo(gitlab_database.conninfo, user="Night Shift"), "there")


def test_a_healthy_database_is_ok_in_every_line(gitlab_database: Address) -> None:
    found = findings(gitlab_database)
    assert {verdict for verdict, _ in found.values()} == {Verdict.OK}
    assert found["route"][1] == "direct"
    assert found["server"][1] == "primary"
    assert "about release 19.2" in found["schema"][1]
    assert "statement_timeout 0ms" in found["timeouts"][1]


def test_maintenance_mode_is_a_warning(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_settings(connection)
        connection.execute(sa.text("UPDATE application_settings SET maintenance_mode = true"))
    assert findings(gitlab_database)["maintenance mode"][0] is Verdict.WARN


def test_a_read_only_database_is_a_warning(gitlab_database: Address, superuser: Superuser) -> None:
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert findings(gitlab_database)["server"][0] is Verdict.WARN


def test_a_database_that_shortens_numbers_does_not_put_the_clock_wrong(
    gitlab_database: Address, superuser: Superuser
) -> None:
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} SET extra_float_digits = -8")
    assert findings(gitlab_database)["clock"][0] is Verdict.OK


def test_a_pooler_is_recognized_and_does_for_every_task(pooled: Address, gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at="2024-06-15")
    found = findings(pooled)
    assert "through a pooler" in found["route"][1]
    assert {verdict for verdict, _ in found.values()} == {Verdict.OK}
    assert changed(pooled) == 3
    assert str(analyze(pooled).dates[0].expires_at) == "2030-06-15"


def test_a_database_that_is_not_gitlabs_fails(empty_database: Address) -> None:
    assert findings(empty_database)["schema"][0] is Verdict.FAIL


def test_a_server_that_does_not_answer_is_the_only_finding() -> None:
    found = findings(Address("postgresql://u:s3cr3t@127.0.0.1:1/x", "there"))
    assert list(found) == ["connection"]
    assert found["connection"][0] is Verdict.FAIL
    assert "s3cr3t" not in found["connection"][1]


def test_the_prescribed_grants_are_enough_for_their_task_and_no_more(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at="2024-06-15")
    prescribed = least_privileges(gitlab_database, "Night Shift")
    assert findings(nobody)["connection"][0] is Verdict.FAIL

    execute(superuser(gitlab_database), *prescribed["analyze"])
    assert analyze(nobody).dates[0].tokens == 3
    found = findings(nobody)
    assert found["privileges for analyze"][0] is Verdict.OK
    verdict, text = found["privileges for changes"]
    assert verdict is Verdict.WARN
    assert 'GRANT UPDATE (expires_at) ON public.members TO "Night Shift"' in text

    execute(superuser(gitlab_database), *prescribed["changes"])
    assert changed(nobody) == 3
    with pytest.raises(Exception, match="permission denied"):
        execute(nobody, "SELECT token_digest FROM personal_access_tokens")


def test_who_may_read_the_history_may_do_that_and_nothing_else(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at="2024-06-15")
    plan = make_plan(gitlab_database, RunKind.EDIT, Selection.every(OLD), Change(NEW))
    *_, end = run(gitlab_database, plan, begin_run(gitlab_database, plan))
    assert isinstance(end, Finished)

    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["history"])
    target = ("--target", url(gitlab_database).replace("gitlab@", "Night%20Shift@"))
    shown = call_here(INV, "tokens.history", *target, "--run", "1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.count("changed") >= 3
    for words in (["--token", "1"], ["--user", "nobody"], ["--tokens", "--output", "csv"], ["--since", "2024-01-01"]):
        assert call_here(INV, "tokens.history", *target, *words).returncode == 0
    assert call_here(INV, "tokens.journal.four-eyes", *target).stdout.startswith("Four eyes   off")
    listed = call_here(INV, "tokens.history", *target, "--output", "csv")
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 2)

    found = findings(nobody)
    assert found["privileges for history"][0] is Verdict.OK
    assert found["privileges for changes"][0] is Verdict.WARN
    assert found["privileges for analyze"][0] is Verdict.WARN
    assert found["journal"] == (Verdict.OK, f"installed, revision {REVISION}, which this role only reads")
    for statement in (
        "SELECT token_digest FROM personal_access_tokens",
        "SELECT scopes FROM personal_access_tokens",
        "SELECT email FROM users",
        "SELECT access_level FROM members",
        "UPDATE personal_access_tokens SET expires_at = NULL",
        "DELETE FROM token_tasks.runs",
        "UPDATE token_tasks.runs SET reason = NULL",
        "INSERT INTO token_tasks.chunks DEFAULT VALUES",
        "CREATE TABLE token_tasks.mine ()",
    ):
        with pytest.raises(Exception, match="permission denied"):
            execute(nobody, statement)
    for task in (
        ["tokens.undo", "--run", "1", "--yes"],
        ["tokens.journal.prune", "--before", "2100-01-01", "--yes"],
        ["tokens.journal.four-eyes", "--on"],
        ["tokens.withdraw", "--run", "1", "--yes"],
    ):
        assert call_here(INV, *task, *target).returncode == 3


def test_who_may_revoke_may_do_that_and_take_it_back_and_change_no_date(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at="2099-06-15")
    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["revoke"])
    plan = make_plan(nobody, RunKind.REVOKE, Selection((), never_used=True), Change(revokes=True))
    *_, end = run(nobody, plan, begin_run(nobody, plan))
    assert end == Finished(changed=3)
    assert undo(nobody, 1) == Finished(changed=3)
    found = findings(nobody)
    assert found["privileges for revoke"][0] is Verdict.OK
    assert found["privileges for changes"][0] is Verdict.WARN
    for statement in (
        "UPDATE personal_access_tokens SET expires_at = NULL",
        "UPDATE members SET expires_at = NULL",
        "SELECT token_digest FROM personal_access_tokens",
    ):
        with pytest.raises(Exception, match="permission denied"):
            execute(nobody, statement)


HIDING = ("users", "members", "user_details", "namespaces", "routes", "projects", "application_settings")


@pytest.mark.slow
def test_rows_that_may_be_hidden_from_a_role_are_said_by_doctor_and_plan(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    """A plan with the least privileges counts no membership that a policy hides, and says that it may be so."""
    upgrade(gitlab_database, Branch.JOURNAL)
    with make_engine(gitlab_database).begin() as connection:
        bot = make_user(connection, user_type=6)
        make_token(connection, user_id=bot, expires_at="2030-01-01")
        make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at="2030-01-01")
    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["changes"])

    def concerns() -> list[Concern]:
        plan = make_plan(nobody, RunKind.EXTEND, Selection((None, WHENEVER)), Change(NEW))
        return [note.concern for note in plan.notes if note.concern in (Concern.MEMBERSHIPS, Concern.HIDDEN_ROWS)]

    assert findings(nobody)["row-level security"][0] is Verdict.OK
    assert concerns() == [Concern.MEMBERSHIPS]
    for table in HIDING:
        execute(superuser(gitlab_database), f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        verdict, text = findings(nobody)["row-level security"]
        assert verdict is Verdict.WARN
        assert f'may hide rows of {table} from role "Night Shift"' in text
        assert concerns()[-1] is Concern.HIDDEN_ROWS
        # The owner sees everything.
        assert findings(gitlab_database)["row-level security"][0] is Verdict.OK
        execute(superuser(gitlab_database), f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    execute(superuser(gitlab_database), "ALTER TABLE members ENABLE ROW LEVEL SECURITY")
    assert concerns() == [Concern.HIDDEN_ROWS]
    plan = make_plan(nobody, RunKind.EXTEND, Selection((WHENEVER,)), Change(NEW))
    run_number = begin_run(nobody, plan).run
    assert Concern.HIDDEN_ROWS in [note.concern for note in plan_to_apply(nobody, run_number).plan.notes]


def test_scopes_of_fine_grained_tokens_that_may_be_hidden_are_said_and_not_lost_in_a_rotation(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL)
    with make_engine(gitlab_database).begin() as connection:
        owner = make_user(connection, user_type=13)
        granular, plain = (
            make_token(connection, user_id=owner, expires_at="2030-01-01", granular=one) for one in (True, False)
        )
    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["rotate"])
    execute(superuser(gitlab_database), "ALTER TABLE personal_access_token_granular_scopes ENABLE ROW LEVEL SECURITY")
    verdict, text = findings(nobody)["row-level security"]
    assert verdict is Verdict.WARN
    assert text.endswith("Rotations of fine-grained tokens are refused.")
    found = {one.id: one for one in find(nobody, Search(Selection(())))}

    def planned(address: Address, token: int) -> tuple[str, ...]:
        chosen = [found[token]]
        return plan_rotation(address, chosen, expires_in=30, grace=None, release=None, allow_personal=False).notes

    assert text in planned(nobody, plain)
    with pytest.raises(Refused, match="so the successor of a fine-grained token would lack scopes"):
        planned(nobody, granular)
    assert text not in planned(gitlab_database, granular)


def test_a_journal_that_this_role_cannot_install_is_a_warning(
    gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    assert findings(gitlab_database)["journal"][0] is Verdict.OK
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} OWNER TO postgres")
    verdict, text = findings(gitlab_database)["journal"]
    assert verdict is Verdict.WARN
    assert text.endswith(f"GRANT CREATE ON DATABASE {name} TO gitlab;")


@pytest.mark.newest_server
def test_who_may_install_no_journal_is_told_who_may_and_granted_nothing_for_it(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    """CREATE on the database would be of no use: the owner of GitLab's tables trusts no journal of somebody else."""
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at=str(OLD))
    for task in ("changes", "revoke", "rotate"):
        *statements, comment = least_privileges(gitlab_database, "Night Shift")[task]
        assert not [one for one in statements if "CREATE" in one]
        assert comment == (
            "-- There is no journal yet, and a change needs one. Role gitlab has to install it; then ask for these "
            "grants again → to install it: gitlab-tokens journal.install"
        )
        assert least_privileges(gitlab_database, "no such role")[task][-1] == comment
        assert "CREATE ON DATABASE" in least_privileges(gitlab_database, "gitlab")[task][-1]
    printed = call_here(INV, "tokens.doctor", "--target", url(gitlab_database), "--grants", "Night Shift").stdout
    assert next(line for line in printed.splitlines() if "no journal yet" in line).endswith(
        f"inv tokens.journal.install --target {shlex.quote(url(gitlab_database))}"
    )

    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["changes"])
    verdict, text = findings(nobody)["journal"]
    assert (verdict, text.rpartition(": ")[2]) == (Verdict.WARN, "install it as gitlab.")
    plan = make_plan(nobody, RunKind.EXTEND, Selection.every(OLD), Change(NEW))
    for call in (verbs.apply, verbs.store):
        with pytest.raises(JournalMissing, match=r"→ to install it, as role gitlab: gitlab-tokens journal\.install"):
            call(nobody, plan)
    setup.install(gitlab_database)
    execute(superuser(gitlab_database), *least_privileges(gitlab_database, "Night Shift")["changes"])
    assert verbs.apply(nobody, plan).changed == 3


@pytest.mark.newest_server
def test_a_role_that_may_not_read_the_release_learns_all_the_rest(
    gitlab_database: Address, superuser: Superuser, nobody: Address
) -> None:
    prescribed = least_privileges(gitlab_database, "Night Shift")["analyze"]
    execute(superuser(gitlab_database), *prescribed, 'GRANT SELECT ON public.application_settings TO "Night Shift"')
    found = findings(nobody)
    assert found["connection"][0] is Verdict.OK
    assert found["schema"][1].endswith("about release unknown")
    assert found.keys() >= {"inactive bots", "timeouts", "clock"}


@pytest.mark.each_release
def test_the_release_of_a_bare_database_is_told(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    assert f"about release {revision}" in findings(gitlab_database_at(revision))["schema"][1]


@pytest.mark.parametrize(
    ("migration", "release"),
    [("20230501000000", "16.0"), ("20230516000000", "16.1"), ("20240620101010", "17.2"), ("20221201000000", None)],
)
def test_a_migration_belongs_to_the_release_that_followed_it(migration: str, release: str | None) -> None:
    assert release_of(migration) == release


def test_the_doctor_leaves_with_0_or_1(gitlab_database: Address, empty_database: Address) -> None:
    well = call_here(INV, "tokens.doctor", "--target", url(gitlab_database))
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("OK ") for line in well.stdout.splitlines())
    ill = call_here(INV, "tokens.doctor", "--target", url(empty_database), "--output", "json")
    assert ill.returncode == 1
    assert [one["subject"] for one in json.loads(ill.stdout)["findings"] if one["verdict"] == "fail"] == ["schema"]


def test_the_doctor_prints_grants_as_sql(gitlab_database: Address) -> None:
    done = call_here(INV, "tokens.doctor", "--target", url(gitlab_database), "--grants", "night shift")
    analyze, changes = done.stdout.split("-- history")[0], done.stdout.split("-- changes")[1]
    assert 'GRANT SELECT (expires_at) ON public.personal_access_tokens TO "night shift";' in analyze
    assert "UPDATE" not in analyze
    assert 'GRANT UPDATE (expires_at) ON public.members TO "night shift";' in changes

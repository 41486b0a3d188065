"""What the doctor finds in a database, and the least privileges that he prescribes."""

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.addresses import url
from tests.factories import make_settings, make_tokens
from tests.test_program import INV, call
from tokens.address import Address
from tokens.analysis import analyze
from tokens.change import Change
from tokens.diagnosis import Verdict, diagnose, least_privileges
from tokens.engine import make_engine
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.release import release_of
from tokens.journal.record import Unrecorded
from tokens.plan import RunKind, make_plan
from tokens.run import Finished, run
from tokens.selection import Selection
from tokens.upgrade import Branch, revisions

Superuser = Callable[[Address], Address]
OLD, NEW = ExpirationDate.typed("2024-06-15"), ExpirationDate.typed("2030-06-15")


def findings(address: Address) -> dict[str, tuple[Verdict, str]]:
    return {one.subject: (one.verdict, one.text) for one in diagnose(address)}


def changed(address: Address) -> int:
    """How many tokens go from OLD to NEW."""
    plan = make_plan(address, RunKind.EDIT, Selection.every(OLD), Change(NEW))
    *_, end = run(address, plan, Unrecorded())
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


@pytest.mark.parametrize("revision", revisions(Branch.GITLAB))
def test_the_release_of_a_bare_database_is_told(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    assert f"about release {revision}" in findings(gitlab_database_at(revision))["schema"][1]


@pytest.mark.parametrize(
    ("migration", "release"),
    [("20230501000000", "16.0"), ("20230516000000", "16.1"), ("20240620101010", "17.2"), ("20221201000000", None)],
)
def test_a_migration_belongs_to_the_release_that_followed_it(migration: str, release: str | None) -> None:
    assert release_of(migration) == release


def test_the_doctor_leaves_with_0_or_1(gitlab_database: Address, empty_database: Address) -> None:
    well = call(INV, "tokens.doctor", "--target", url(gitlab_database))
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("OK ") for line in well.stdout.splitlines())
    ill = call(INV, "tokens.doctor", "--target", url(empty_database), "--output", "json")
    assert ill.returncode == 1
    assert [one["subject"] for one in json.loads(ill.stdout) if one["verdict"] == "fail"] == ["schema"]


def test_the_doctor_prints_grants_as_sql(gitlab_database: Address) -> None:
    done = call(INV, "tokens.doctor", "--target", url(gitlab_database), "--grants", "night shift")
    analyze, changes = done.stdout.split("-- changes")
    assert 'GRANT SELECT (expires_at) ON public.personal_access_tokens TO "night shift";' in analyze
    assert "UPDATE" not in analyze
    assert 'GRANT UPDATE (expires_at) ON public.members TO "night shift";' in changes

"""What is refused before anything is done, and in which words."""

from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.engine import make_engine
from tokens import database
from tokens.address import Address
from tokens.database import driver
from tokens.database.libpq import parameters_of
from tokens.errors import DatabaseError, ExitStatus, LockTimeout, Refused, TokensError, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.needs import ANALYZE, CHANGE, ROTATE, Needs, Privilege
from tokens.gitlab.schema import read_schema
from tokens.inventory.diagnosis import diagnose
from tokens.inventory.due import due
from tokens.selection import EVERYTHING

Superuser = Callable[[Address], Address]


def check(address: Address, needs: Needs = CHANGE) -> None:
    with database.reading(address) as connection:
        preflight.check(connection, needs)


def refusal(address: Address, needs: Needs = CHANGE) -> str:
    with pytest.raises(Refused) as caught:
        check(address, needs)
    assert "\n" not in str(caught.value)
    assert caught.value.status == ExitStatus.REFUSED
    return str(caught.value)


def execute(address: Address, *statements: str) -> None:
    with make_engine(address).begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def type_in(address: Address, line: str) -> None:
    """Carry out each statement of a line by itself, in one session, as psql does."""
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        for statement in line.split("; "):
            connection.execute(statement.encode())


def as_role(address: Address, role: str) -> Address:
    return Address(make_conninfo(address.conninfo, user=role), address.shown)


@pytest.fixture
def auditor(gitlab_database: Address, superuser: Superuser) -> Address:
    """The database as a role sees it that may only connect."""
    execute(
        superuser(gitlab_database),
        'DO $$ BEGIN CREATE ROLE "Auditor" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$',
        'GRANT USAGE ON SCHEMA public TO "Auditor"',
    )
    return as_role(gitlab_database, "Auditor")


def test_gitlabs_main_database_passes(gitlab_database: Address) -> None:
    check(gitlab_database)


def test_a_database_without_gitlabs_table_is_refused(empty_database: Address) -> None:
    assert "has no GitLab table public.personal_access_tokens" in refusal(empty_database, ANALYZE)


@pytest.mark.newest_server
@pytest.mark.parametrize("column", ["id", "expires_at"])
def test_a_column_that_is_missing_is_named_and_the_database_is_the_right_one(
    gitlab_database: Address, superuser: Superuser, column: str
) -> None:
    execute(superuser(gitlab_database), f"ALTER TABLE personal_access_tokens DROP COLUMN {column} CASCADE")
    said = refusal(gitlab_database, ANALYZE)
    assert f"lacks personal_access_tokens.{column}, which every GitLab from 16.0 to 19.x has" in said
    assert "gitlabhq_production" not in said


def test_a_table_of_that_name_in_another_schema_does_not_pass(empty_database: Address) -> None:
    execute(empty_database, "CREATE SCHEMA x", "CREATE TABLE x.personal_access_tokens (id bigint, expires_at date)")
    assert "has no GitLab table" in refusal(empty_database)


@pytest.mark.parametrize(
    ("type_", "is_postgresqls"),
    [
        ("text[]", True),
        ("information_schema.yes_or_no", True),
        ("public.of_somebody", False),
        ("public.of_somebody[]", False),
        ("public.colours[]", False),
        ("public.users", False),
        ("pg_catalog.of_somebody", False),
    ],
)
def test_only_a_column_of_postgresqls_own_types_is_gitlabs(
    gitlab_database: Address, superuser: Superuser, type_: str, is_postgresqls: bool
) -> None:
    execute(
        superuser(gitlab_database),
        "CREATE DOMAIN public.of_somebody AS text",
        "CREATE TYPE public.colours AS ENUM ('red')",
        "SET LOCAL allow_system_table_mods = on",
        "CREATE DOMAIN pg_catalog.of_somebody AS text",
        f"ALTER TABLE public.routes ADD COLUMN odd {type_}",
    )
    with database.reading(gitlab_database) as connection:
        schema = read_schema(connection)
    assert schema.has("routes", "path")
    if is_postgresqls:
        assert schema.has("routes", "odd")
        return
    with pytest.raises(Refused, match=r"^Column odd of public.routes has a type that is not PostgreSQL's own"):
        schema.has("routes", "odd")


@pytest.mark.parametrize(
    "made", ["VIEW public.odd AS SELECT", "VIEW public.odd AS SELECT 1 AS one", "TABLE public.odd ()"]
)
def test_what_somebody_else_has_made_is_not_taken_for_absent_even_without_a_column(
    gitlab_database: Address, superuser: Superuser, auditor: Address, made: str
) -> None:
    execute(superuser(gitlab_database), f"CREATE {made}", f'ALTER {made.split()[0]} public.odd OWNER TO "Auditor"')
    with database.reading(gitlab_database) as connection, pytest.raises(Refused, match='belongs to role "Auditor"'):
        read_schema(connection, ["personal_access_tokens", "odd"]).has("odd")


@pytest.mark.parametrize("needs", [ANALYZE, CHANGE])
def test_a_write_locked_table_is_refused_since_its_rows_are_stale(gitlab_database: Address, needs: Needs) -> None:
    execute(
        gitlab_database,
        """CREATE FUNCTION gitlab_schema_prevent_write() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'write protected' USING ERRCODE = 'modifying_sql_data_not_permitted'; END $$""",
        """CREATE TRIGGER gitlab_schema_write_trigger_for_personal_access_tokens
           BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON personal_access_tokens
           FOR EACH STATEMENT EXECUTE FUNCTION gitlab_schema_prevent_write()""",
    )
    assert "write-locked" in refusal(gitlab_database, needs)


def test_a_read_only_database_is_refused_for_edit_and_fine_for_analyze(
    gitlab_database: Address, superuser: Superuser
) -> None:
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(superuser(gitlab_database), f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "takes no changes" in refusal(gitlab_database)
    check(gitlab_database, ANALYZE)
    _, _, cure = refusal(gitlab_database).partition("if nobody means that, run ")
    assert (
        cure == f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only;"
    )
    type_in(superuser(gitlab_database), cure)
    check(gitlab_database, CHANGE)


def test_a_role_that_is_set_to_read_only_is_told_what_takes_it_off(
    gitlab_database: Address, superuser: Superuser
) -> None:
    role = conninfo_to_dict(gitlab_database.conninfo)["user"]
    execute(superuser(gitlab_database), f"ALTER ROLE {role} SET default_transaction_read_only = on")
    try:
        said = refusal(gitlab_database)
        findings = {one.subject: one for one in diagnose(gitlab_database)}
        type_in(gitlab_database, said.partition("if nobody means that, run ")[2])
        check(gitlab_database, CHANGE)
    finally:
        execute(superuser(gitlab_database), f"ALTER ROLE {role} RESET default_transaction_read_only")
    typed = f"SET default_transaction_read_only = off; ALTER ROLE {role} RESET default_transaction_read_only;"
    cure = f"if nobody means that, run {typed}"
    assert said.endswith(f'takes no changes from role "{role}": default_transaction_read_only is on; {cure}')
    assert cure in findings["server"].text


def test_whoever_reads_waits_for_no_lock_without_end(gitlab_database: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(driver.SETTINGS, "lock_timeout", "50ms")
    with make_engine(gitlab_database).begin() as other:
        other.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(LockTimeout, match=r"Another session of .* holds a lock"):
            due(gitlab_database, EVERYTHING, 30, 7)


def test_a_server_that_vanishes_is_noticed_in_minutes_unless_the_address_says_else(gitlab_database: Address) -> None:
    assert parameters_of(gitlab_database)["tcp_user_timeout"] == 120_000
    own = Address(make_conninfo(gitlab_database.conninfo, keepalives_idle=7), "own")
    assert parameters_of(own)["keepalives_idle"] == "7"


def test_a_missing_privilege_names_the_grant_that_helps(gitlab_database: Address, auditor: Address) -> None:
    message = refusal(auditor, ANALYZE)
    assert 'GRANT SELECT (expires_at) ON public.personal_access_tokens TO "Auditor"' in message
    grants = message.split("run: ")[1].split("; ")
    execute(gitlab_database, *(grant.rstrip(";") for grant in grants))
    check(auditor, ANALYZE)

    message = refusal(auditor, CHANGE)
    assert "GRANT UPDATE (expires_at, expire_notification_delivered" in message
    assert 'GRANT UPDATE (expires_at) ON public.members TO "Auditor"' in message
    execute(gitlab_database, *(grant.rstrip(";") for grant in message.split("run: ")[1].split("; ")))
    check(auditor, CHANGE)


def test_a_schema_that_may_not_be_used_is_a_missing_privilege(
    gitlab_database: Address, auditor: Address, superuser: Superuser
) -> None:
    execute(superuser(gitlab_database), 'REVOKE USAGE ON SCHEMA public FROM PUBLIC, "Auditor"')
    assert "lacks a privilege" in refusal(auditor, ANALYZE)


@pytest.mark.parametrize(
    ("conninfo", "status", "said"),
    [
        ("postgresql://gitlab:s3cr3t@127.0.0.1:1/x", ExitStatus.FAILED, "Connection refused"),
        ("postgresql://gitlab@/x?host=/nowhere", ExitStatus.FAILED, "Cannot connect"),
        ("postgresql://gitlab:s3cr3t@[bad/x", ExitStatus.USAGE, "not an address that PostgreSQL understands"),
        ("postgresql://h/x?nonsense=1", ExitStatus.USAGE, "not an address that PostgreSQL understands"),
        ("postgresql://h/x?options=-cwork_mem%3D1", ExitStatus.USAGE, "PgBouncer"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line_without_secrets(
    conninfo: str, status: ExitStatus, said: str
) -> None:
    with pytest.raises(TokensError) as caught:
        check(Address(conninfo, "there"))
    assert said in str(caught.value)
    assert caught.value.status == status
    assert "\n" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_an_unknown_database_is_named(gitlab_database: Address) -> None:
    with pytest.raises(DatabaseError, match='database "nowhere" does not exist'):
        check(Address(make_conninfo(gitlab_database.conninfo, dbname="nowhere"), "there"))


def test_row_level_security_is_refused_since_it_hides_tokens(gitlab_database: Address) -> None:
    execute(
        gitlab_database,
        "ALTER TABLE personal_access_tokens ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE personal_access_tokens FORCE ROW LEVEL SECURITY",
    )
    said = refusal(gitlab_database, ANALYZE)
    assert said.startswith('Row-level security hides rows of personal_access_tokens from role "gitlab" in database ')
    execute(gitlab_database, said.partition("; run: ")[2])
    check(gitlab_database, ANALYZE)


@pytest.mark.newest_server
def test_row_level_security_that_is_forced_upon_the_owner_is_taken_off_by_what_is_said(
    gitlab_database: Address, superuser: Superuser, auditor: Address
) -> None:
    tables = ("personal_access_token_granular_scopes", "users")
    for table in tables:
        execute(gitlab_database, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        execute(gitlab_database, f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    with database.reading(gitlab_database) as connection:
        said = preflight.hidden_rows(connection, ROTATE)
        assert said is not None
        with pytest.raises(Refused, match=r"lack scopes; run: ALTER TABLE public\.\w+ NO FORCE ROW LEVEL SECURITY;$"):
            preflight.check_granular_scopes(connection)
    *_, cure = said.partition("Rotations of fine-grained tokens are refused. This role owns them: run: ")
    with database.reading(auditor) as connection:
        assert "; use the tables' owner" in (preflight.hidden_rows(connection, ROTATE) or "")
    execute(superuser(gitlab_database), 'ALTER TABLE users OWNER TO "Auditor"')
    with database.reading(gitlab_database) as connection:
        assert "; use the tables' owner" in (preflight.hidden_rows(connection, ROTATE) or "")
    execute(superuser(gitlab_database), "ALTER TABLE users OWNER TO gitlab")
    execute(gitlab_database, cure)
    with database.reading(gitlab_database) as connection:
        assert preflight.hidden_rows(connection, ROTATE) is None


def test_pgoptions_does_not_reach_the_server(gitlab_database: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    check(gitlab_database)


def test_a_bad_address_is_wrong_use() -> None:
    with pytest.raises(UsageError):
        check(Address("postgresql://h/x?nonsense=1", "there"))


@pytest.mark.parametrize("other", ["TABLE {} (last_value bigint)", "VIEW {} AS SELECT 1 AS last_value"])
def test_what_is_no_sequence_under_a_sequences_name_is_no_error(gitlab_database: Address, other: str) -> None:
    name = "public.personal_access_tokens_id_seq"
    execute(gitlab_database, f"ALTER SEQUENCE {name} RENAME TO kept", f"CREATE {other.format(name)}")
    with database.reading(gitlab_database) as connection:
        assert preflight.missing_privileges(connection, ROTATE) == []


def test_a_privilege_on_each_column_is_as_good_as_one_on_the_whole_table(
    gitlab_database: Address, superuser: Superuser
) -> None:
    def missing() -> list[Privilege]:
        with database.reading(gitlab_database) as connection:
            return preflight.missing_privileges(connection, CHANGE)

    table = "personal_access_tokens"
    execute(superuser(gitlab_database), f"REVOKE UPDATE ON public.{table} FROM gitlab")
    assert {(one.privilege, one.table) for one in missing()} == {("UPDATE", table)}
    columns = ", ".join(one.column for one in missing())
    execute(superuser(gitlab_database), f"GRANT UPDATE ({columns}) ON public.{table} TO gitlab")
    assert missing() == []

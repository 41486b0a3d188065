"""Whose journal it is: one that somebody else has a hand in is not used, and one of ours is shown to nobody else."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.addresses import url
from tests.testbed.commands import call_here, typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens
from tests.testbed.journal import SOMEBODY, make_plan, make_run, values
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.runs import install
from tokens import database
from tokens.address import Address
from tokens.errors import ExitStatus, Refused
from tokens.gitlab.schema import GRANULAR_SCOPES, TOKENS, read_schema
from tokens.inventory.diagnosis import Verdict, diagnose
from tokens.journal import beginning, contents, setup, storing, trust
from tokens.journal.installation import REVISION
from tokens.journal.trust import JournalUntrusted
from tokens.upgrade import Branch, upgrade

Superuser = Callable[[Address], Address]

SPY = "CREATE FUNCTION {schema}.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
# What belongs to a journal of ours, and what the refusal names.
HOOKS = {
    "a trigger": (
        [SPY, "CREATE TRIGGER spy BEFORE INSERT ON token_tasks.runs FOR EACH ROW EXECUTE FUNCTION {schema}.spy()"],
        "trigger spy belongs to token_tasks.runs",
    ),
    "a disabled trigger": (
        [
            SPY,
            "CREATE TRIGGER spy BEFORE INSERT ON token_tasks.chunks FOR EACH ROW EXECUTE FUNCTION {schema}.spy()",
            "ALTER TABLE token_tasks.chunks DISABLE TRIGGER spy",
        ],
        "trigger spy belongs to token_tasks.chunks",
    ),
    "a trigger with a function of PostgreSQL's own": (
        [
            "CREATE TRIGGER spy BEFORE UPDATE ON token_tasks.runs FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ],
        "trigger spy belongs to token_tasks.runs",
    ),
    "a trigger that is a constraint": (
        [
            SPY,
            "CREATE CONSTRAINT TRIGGER spy AFTER INSERT ON token_tasks.runs DEFERRABLE FOR EACH ROW"
            " EXECUTE FUNCTION {schema}.spy()",
        ],
        "trigger spy belongs to token_tasks.runs",
    ),
    "a rule": (
        ["CREATE RULE spy AS ON INSERT TO token_tasks.attempts DO ALSO SELECT 1"],
        "rule spy belongs to token_tasks.attempts",
    ),
    "a policy": (
        ["CREATE POLICY spy ON token_tasks.runs USING (true)"],
        "policy spy belongs to token_tasks.runs",
    ),
    "statistics": (
        ["CREATE STATISTICS {schema}.spy ON kind, state FROM token_tasks.runs"],
        "statistics spy belong to token_tasks.runs",
    ),
    "row-level security": (
        ["ALTER TABLE token_tasks.runs ENABLE ROW LEVEL SECURITY"],
        "token_tasks.runs has row-level security",
    ),
    "a child": (
        ["CREATE TABLE {schema}.more () INHERITS (token_tasks.runs)"],
        "more inherits from token_tasks.runs",
    ),
    "a foreign key from elsewhere": (
        ["CREATE TABLE {schema}.more (run bigint CONSTRAINT spy REFERENCES token_tasks.runs)"],
        "foreign key spy ties ",
    ),
    "a default": (
        [
            "CREATE FUNCTION {schema}.why() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'",
            "ALTER TABLE token_tasks.runs ALTER reason SET DEFAULT {schema}.why()",
        ],
        "default value for column reason of table token_tasks.runs uses function ",
    ),
    "a check": (
        [
            "CREATE FUNCTION {schema}.fine(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "ALTER TABLE token_tasks.runs ADD CONSTRAINT spy CHECK ({schema}.fine(tokens))",
        ],
        "constraint spy on table token_tasks.runs uses function ",
    ),
    "a child that is one of ours": (
        ["DROP TABLE token_tasks.settings", "CREATE TABLE token_tasks.settings () INHERITS (token_tasks.runs)"],
        "token_tasks.settings inherits from token_tasks.runs",
    ),
    "a column of a table's own type": (
        ["ALTER TABLE token_tasks.settings ADD spy token_tasks.runs"],
        "column spy of table token_tasks.settings uses type token_tasks.runs",
    ),
    "a check of a table's own type": (
        ["ALTER TABLE token_tasks.settings ADD CONSTRAINT spy CHECK ((NULL::token_tasks.runs) IS NULL)"],
        "constraint spy on table token_tasks.settings uses type token_tasks.runs",
    ),
    "a check with a function of PostgreSQL's own, that runs any SQL": (
        [
            "ALTER TABLE token_tasks.settings ADD CONSTRAINT spy"
            " CHECK (ts_rewrite('a', 'SELECT ''a''::tsquery, ''b''::tsquery') IS NOT NULL)"
        ],
        "constraint spy on table token_tasks.settings calls a function that no journal needs",
    ),
    "a default with one": (
        ["ALTER TABLE token_tasks.runs ALTER reason SET DEFAULT set_config('search_path', '{schema}', false)"],
        "default value for column reason of table token_tasks.runs calls a function that no journal needs",
    ),
    "an index with one": (
        ["CREATE INDEX spy ON token_tasks.runs (md5(reason))"],
        "index token_tasks.spy calls a function that no journal needs",
    ),
    "an index": (
        [
            "CREATE FUNCTION {schema}.same(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
            "CREATE INDEX spy ON token_tasks.runs ({schema}.same(tokens))",
        ],
        "index token_tasks.spy uses function ",
    ),
    "a domain": (
        [
            "CREATE DOMAIN {schema}.state AS text CHECK (VALUE <> 'x')",
            "ALTER TABLE token_tasks.runs ALTER reason TYPE {schema}.state",
        ],
        "column reason of table token_tasks.runs uses type ",
    ),
    "a view instead": (
        ["DROP TABLE token_tasks.notices", "CREATE VIEW token_tasks.notices AS SELECT 1 AS run_id"],
        "token_tasks.notices is not an ordinary table",
    ),
    "the privilege to hang triggers on it": (
        ["GRANT TRIGGER ON token_tasks.runs TO PUBLIC"],
        "role PUBLIC may put triggers on token_tasks.runs",
    ),
}


def execute(address: Address, *statements: str) -> None:
    with make_engine(address).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def finding(address: Address) -> tuple[Verdict, str]:
    return next((one.verdict, one.text) for one in diagnose(address) if one.subject == "journal")


def refused(address: Address) -> str:
    with database.reading(address) as connection, pytest.raises(JournalUntrusted) as caught:
        trust.check(connection)
    return str(caught.value)


@pytest.fixture
def installed(gitlab_database: Address) -> Address:
    setup.install(gitlab_database)
    return gitlab_database


@pytest.fixture
def mallory(gitlab_database: Address, superuser: Superuser) -> Address:
    """A role with a schema of its own and the right to make others."""
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    execute(
        superuser(gitlab_database),
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT CREATE ON DATABASE {name} TO mallory",
    )
    return Address(make_conninfo(gitlab_database.conninfo, user="mallory"), gitlab_database.shown)


def plant(mallory: Address) -> None:
    """A journal that looks like ours, which lets everybody in, and whose trigger writes down as whom it runs."""
    upgrade(mallory, Branch.JOURNAL)
    execute(
        mallory,
        "CREATE TABLE token_tasks.caught (role text)",
        "CREATE FUNCTION token_tasks.spy() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO token_tasks.caught VALUES (current_user); RETURN NEW; END $$",
        "CREATE TRIGGER spy BEFORE INSERT ON token_tasks.runs FOR EACH ROW EXECUTE FUNCTION token_tasks.spy()",
        "GRANT ALL ON SCHEMA token_tasks TO PUBLIC",
        "GRANT ALL ON ALL TABLES IN SCHEMA token_tasks TO PUBLIC",
    )


TASKS: tuple[tuple[str, ...], ...] = (
    ("history",),
    ("evidence",),
    ("journal.status",),
    ("journal.install",),
    ("journal.uninstall", "--yes"),
    ("journal.prune", "--before", "2030-01-01", "--yes"),
    ("extend", "--expires", "2024-06-15", "--to", "2030-06-15", "--yes"),
    ("extend", "--expires", "2024-06-15", "--to", "2030-06-15", "--plan"),
    ("apply", "--run", "1", "--yes"),
    ("undo", "--run", "1", "--yes"),
)


def test_a_journal_that_somebody_else_has_made_is_used_by_no_task(
    mallory: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 1, expires_at="2024-06-15")
    plant(mallory)
    for address in (gitlab_database, superuser(gitlab_database)):
        for words in TASKS if address is gitlab_database else TASKS[:1]:
            done = call_here(GITLAB_TOKENS, *words, "--target", url(address))
            assert (done.returncode, done.stdout) == (ExitStatus.REFUSED, ""), words
            assert done.stderr.startswith("The journal is not used: schema token_tasks belongs to role mallory, ")
            assert done.stderr.count("\n") == 1
        verdict, text = finding(address)
        assert verdict is Verdict.FAIL
        assert "belongs to role mallory" in text
    assert values(mallory, "SELECT role FROM token_tasks.caught") == []
    # Without a record the change does not depend on it.
    words = ("extend", "--expires", "2024-06-15", "--to", "2030-06-15", "--yes", "--no-journal")
    assert call_here(GITLAB_TOKENS, *words, "--target", url(gitlab_database)).returncode == 0


def test_nothing_is_begun_nor_stored_in_a_journal_that_somebody_else_has_made(
    mallory: Address, gitlab_database: Address
) -> None:
    plant(mallory)
    plan = make_plan([1])
    with database.connect(gitlab_database) as connection:
        for begin in (
            lambda: beginning.store(connection, plan, SOMEBODY, None),
            lambda: beginning.begin(connection, plan, SOMEBODY, None),
            lambda: beginning.resume(gitlab_database, 1, SOMEBODY),
            lambda: beginning.withdraw(gitlab_database, 1, SOMEBODY, None),
        ):
            with pytest.raises(JournalUntrusted, match="schema token_tasks belongs to role mallory"):
                begin()
    assert values(mallory, "SELECT role FROM token_tasks.caught") == []


def test_the_cure_that_a_refusal_names_ends_it(
    mallory: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    plant(mallory)
    seen = []
    while finding(gitlab_database)[0] is Verdict.FAIL:
        refusal = refused(gitlab_database)
        cure = refusal.split("run: ")[1].split(" If you do not")[0]
        execute(superuser(gitlab_database), *filter(None, cure.split(";")))
        seen.append(cure.split(" ")[1])
        assert len(seen) < 9
    assert seen == ["SCHEMA", "ROUTINE", "TRIGGER", "TRIGGER"]
    make_run(gitlab_database, make_plan([1]))
    assert values(gitlab_database, "SELECT role FROM token_tasks.caught") == []


@pytest.mark.parametrize(
    "statement", ["CREATE SCHEMA token_tasks", "CREATE SCHEMA token_tasks; GRANT ALL ON SCHEMA token_tasks TO PUBLIC"]
)
def test_a_schema_that_somebody_else_has_prepared_gets_no_journal(
    mallory: Address, gitlab_database: Address, superuser: Superuser, statement: str
) -> None:
    execute(mallory, statement)
    for address in (gitlab_database, superuser(gitlab_database)):
        with pytest.raises(JournalUntrusted, match="schema token_tasks belongs to role mallory"):
            setup.install(address)
    assert values(
        gitlab_database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'token_tasks'::regnamespace"
    ) == [0]


class Undone(Exception):
    """Ends a transaction whose changes must not stay."""


@contextmanager
def undone(address: Address) -> Iterator[database.Connection]:
    with suppress(Undone), database.connect(address) as connection, connection.transaction():
        yield connection
        raise Undone


@pytest.mark.parametrize("schema", ["public", "token_tasks"])
def test_what_hangs_on_a_journal_of_ours_is_found(installed: Address, schema: str) -> None:
    for hook, (statements, named) in HOOKS.items():
        with undone(installed) as connection:
            trust.check(connection)
            for statement in statements:
                connection.execute(statement.format(schema=schema))
            with pytest.raises(JournalUntrusted) as caught:
                trust.check(connection)
            said = str(caught.value)
            assert named in said, hook
            assert "\n" not in said
            connection.execute(said.rpartition("then as the owner run: ")[2])
            trust.check(connection)


def test_the_cure_of_a_default_leaves_a_journal_that_can_be_written(installed: Address) -> None:
    with undone(installed) as connection:
        for column, value in (("created_at", "clock_timestamp()"), ("changed", "hashint4(1)"), ("reason", "md5('x')")):
            connection.execute(f"ALTER TABLE token_tasks.runs ALTER {column} SET DEFAULT {value}")
        for _ in range(3):
            with pytest.raises(JournalUntrusted) as caught:
                trust.check(connection)
            connection.execute(str(caught.value).rpartition("then as the owner run: ")[2].partition(";")[0])
        trust.check(connection)
        storing.store(connection, make_plan([1]), SOMEBODY, None)


def test_mostly_the_first_look_is_enough(everything: Address, mallory: Address) -> None:
    with database.reading(everything) as connection:
        assert trust.is_closed(connection)
    for statement in (
        "GRANT USAGE ON SCHEMA token_tasks TO mallory",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_tasks TO mallory",
    ):
        execute(everything, statement)
    with database.reading(everything) as connection:
        assert trust.is_closed(connection)


def test_what_hangs_on_nothing_of_the_journals_needs_a_second_look(
    mallory: Address, installed: Address, superuser: Superuser
) -> None:
    """The first one takes for granted what it finds alone."""
    for statements in (
        ["CREATE TABLE token_tasks.more (id bigint)", "ALTER TABLE token_tasks.more OWNER TO mallory"],
        ["CREATE TYPE token_tasks.more AS ENUM ('a')", "ALTER TYPE token_tasks.more OWNER TO mallory"],
        ["CREATE TYPE token_tasks.more AS (a int)", "ALTER TYPE token_tasks.more OWNER TO mallory"],
        ["CREATE SEQUENCE token_tasks.more", "ALTER SEQUENCE token_tasks.more OWNER TO mallory"],
        ["CREATE FUNCTION token_tasks.more() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
        ["CREATE VIEW token_tasks.more AS SELECT 1 AS one"],
        ["DROP TABLE token_tasks.settings", "CREATE SEQUENCE token_tasks.settings"],
    ):
        with undone(superuser(installed)) as connection:
            for statement in (*statements, "SET LOCAL ROLE gitlab"):
                connection.execute(statement)
            assert not trust.is_closed(connection), statements


@pytest.mark.parametrize(
    ("prepare", "trusted"),
    [
        ([], False),
        # Up to PostgreSQL 14 any role may grant itself to another, and later one that may make roles.
        (["GRANT mallory TO gitlab"], False),
        (["GRANT gitlab TO mallory"], True),
        (["ALTER ROLE mallory SUPERUSER"], True),
    ],
)
def test_an_owner_is_trusted_who_can_do_already_what_we_can_do(
    mallory: Address, installed: Address, superuser: Superuser, prepare: Sequence[str], trusted: bool
) -> None:
    for part in ("SCHEMA token_tasks", "TABLE token_tasks.runs", "TABLE token_tasks.alembic_version"):
        with undone(superuser(installed)) as connection:
            for statement in (*prepare, f"ALTER {part} OWNER TO mallory", "SET LOCAL ROLE gitlab"):
                connection.execute(statement)
            assert trust.is_trusted(connection) is trusted


def test_the_journals_owner_may_be_the_owner_of_gitlabs_tokens_for_everybody(
    mallory: Address, installed: Address, superuser: Superuser
) -> None:
    execute(installed, "GRANT USAGE ON SCHEMA token_tasks TO mallory", "GRANT SELECT ON token_tasks.runs TO mallory")
    for address in (mallory, superuser(installed)):
        with database.reading(address) as connection:
            assert trust.is_trusted(connection)


# Shown to nobody else

ACCESS = """
    SELECT DISTINCT COALESCE(CAST(r.rolname AS text), 'PUBLIC') || ' ' || acl.privilege_type || ' ' || o.name AS line
    FROM (
      SELECT CAST(nspname AS text) AS name, nspowner AS owner, nspacl AS acl
      FROM pg_namespace
      WHERE nspname = 'token_tasks'
      UNION ALL
      SELECT CAST(relname AS text), relowner, relacl FROM pg_class WHERE relnamespace = 'token_tasks'::regnamespace
    ) o
    CROSS JOIN LATERAL aclexplode(o.acl) acl
    LEFT JOIN pg_roles r ON r.oid = acl.grantee
    WHERE acl.grantee <> o.owner
    ORDER BY line
"""


@contextmanager
def default_privileges(address: Address) -> Iterator[None]:
    execute(
        address,
        "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mallory WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO mallory",
    )
    yield


def test_what_default_privileges_grant_is_revoked_by_the_installation(
    mallory: Address, gitlab_database: Address
) -> None:
    with default_privileges(gitlab_database):
        setup.install(gitlab_database)
        assert values(gitlab_database, ACCESS) == []
        make_run(gitlab_database, make_plan([1]))
    assert call_here(GITLAB_TOKENS, "history", "--target", url(mallory)).returncode == ExitStatus.REFUSED


def test_a_migration_takes_what_default_privileges_gave_and_leaves_what_was_granted_on_purpose(
    mallory: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    with default_privileges(gitlab_database):
        upgrade(gitlab_database, Branch.JOURNAL, "2")
    execute(
        superuser(gitlab_database),
        "DO $$ BEGIN CREATE ROLE auditor; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT USAGE ON SCHEMA token_tasks TO auditor",
        "GRANT SELECT ON token_tasks.runs TO auditor",
    )
    execute(superuser(gitlab_database), "REVOKE TRIGGER ON ALL TABLES IN SCHEMA token_tasks FROM mallory")
    assert setup.install(gitlab_database).before == "2"
    assert values(gitlab_database, ACCESS) == ["auditor SELECT runs", "auditor USAGE token_tasks"]
    assert contents.status(gitlab_database).revision == REVISION
    assert contents.prune(gitlab_database, date(2030, 1, 1)) == 0


def test_a_table_of_somebody_elses_in_public_is_none_of_gitlabs(
    mallory: Address, gitlab_database: Address, superuser: Superuser
) -> None:
    execute(
        superuser(gitlab_database),
        f"DROP TABLE public.{GRANULAR_SCOPES} CASCADE",
        "GRANT CREATE, USAGE ON SCHEMA public TO mallory",
    )
    execute(
        mallory,
        f"CREATE TABLE public.{GRANULAR_SCOPES} (id bigint)",
        f"GRANT ALL ON public.{GRANULAR_SCOPES} TO PUBLIC",
    )
    for address in (gitlab_database, superuser(gitlab_database)):
        with database.reading(address) as connection:
            schema = read_schema(connection)
        assert schema.has(TOKENS)
        assert GRANULAR_SCOPES not in schema.columns
        with pytest.raises(Refused, match=f"{GRANULAR_SCOPES} belongs to role mallory, or is no table"):
            schema.has(GRANULAR_SCOPES)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("application_settings", ("remove", "--expires", "2099-12-31", "--yes")),
        ("members", ("extend", "--expires", "2099-12-31", "--by", "7d", "--yes")),
        (GRANULAR_SCOPES, ("rotate", "--token", "1", "--kind", "personal", "--dry-run", "--no-verify")),
    ],
)
def test_a_table_of_gitlabs_with_another_owner_is_refused_by_name_and_not_taken_for_absent(
    gitlab_database: Address,
    superuser: Superuser,
    mallory: Address,
    capsys: pytest.CaptureFixture[str],
    table: str,
    words: tuple[str, ...],
) -> None:
    install(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at="2099-12-31")
    execute(
        superuser(gitlab_database),
        f"ALTER TABLE {table} OWNER TO mallory",
        f"GRANT ALL ON {table} TO gitlab",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO gitlab",
    )
    assert typed(words[0], "--target", url(gitlab_database), *words[1:]) == ExitStatus.REFUSED
    cure = f"ALTER TABLE public.{table} OWNER TO gitlab;"
    assert cure in capsys.readouterr().err
    assert typed("doctor", "--target", url(gitlab_database)) == ExitStatus.FAILED
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL"))
    assert cure in line
    execute(superuser(gitlab_database), cure)
    assert typed(words[0], "--target", url(gitlab_database), *words[1:]) == ExitStatus.DONE

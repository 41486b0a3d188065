"""Code of others on GitLab's tables: what would run as the role that reads or writes is refused before it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token
from tests.testbed.journal import execute
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.errors import ExitStatus, Refused
from tokens.gitlab import preflight
from tokens.gitlab.needs import CHANGE, ROTATE
from tokens.gitlab.schema import TABLES
from tokens.inventory.diagnosis import Verdict, diagnose

Superuser = Callable[[Address], Address]

SOON = datetime.now(UTC).date() + timedelta(7)

ROLE = "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"

# What runs is seen, since it fails.
RISE = """
    CREATE FUNCTION public.rise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $a$planted$a$; END';
    CREATE FUNCTION public.rise(bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION $a$planted$a$; END';
    ALTER FUNCTION public.rise() OWNER TO mallory;
    ALTER FUNCTION public.rise(bigint) OWNER TO mallory;
"""

# A database of his that looks like GitLab's.
ALL_HIS = """
    DO $$
    DECLARE one regclass;
    BEGIN
      FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO mallory', one);
        EXECUTE format('GRANT ALL ON TABLE %s TO gitlab', one);
      END LOOP;
    END $$;
"""

TRIGGER = """
    CREATE TRIGGER rise BEFORE UPDATE ON public.personal_access_tokens FOR EACH ROW EXECUTE FUNCTION public.rise();
"""


# Few tasks read them.
OPTIONAL_TABLES = ("personal_access_token_granular_scopes", "batched_background_migrations")


def policy(table: str) -> str:
    return (
        f"CREATE POLICY rise ON public.{table} USING (public.rise(1)); ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
    )


@pytest.mark.parametrize("table", ["schema_migrations", "application_settings", "members", "personal_access_tokens"])
def test_in_a_database_that_somebody_has_made_look_like_gitlabs_no_code_of_his_runs(
    alone: Alone, superuser: Superuser, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    with alone.database() as address:
        name = conninfo_to_dict(address.conninfo)["dbname"]
        with make_engine(address).begin() as connection:
            make_token(connection, expires_at=SOON)
        execute(superuser(address), ROLE, f"ALTER DATABASE {name} OWNER TO postgres", RISE, ALL_HIS)
        execute(superuser(address), policy(table), TRIGGER)
        change = ("extend", "--expires", str(SOON), "--by", "9d", "--yes", "--no-journal")
        for target, words, status in (
            (address, ("doctor",), ExitStatus.FAILED),
            (address, change, ExitStatus.REFUSED),
            (superuser(address), change, ExitStatus.REFUSED),
        ):
            capsys.readouterr()
            assert typed(words[0], "--target", url(target), *words[1:]) == status
            said = "".join(capsys.readouterr())
            assert "planted" not in said
            assert 'of role "mallory", which would run as' in said or "Row-level security hides rows" in said
        # A superuser may look, since row-level security is not for one, and is told that changes are refused.
        capsys.readouterr()
        assert typed("doctor", "--target", url(superuser(address))) == ExitStatus.DONE
        said = "".join(capsys.readouterr())
        assert "planted" not in said
        assert 'trigger on public.personal_access_tokens uses function public.rise() of role "mallory"' in said


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE INDEX rise ON public.users (id) WHERE public.rise(id)",
        "CREATE STATISTICS public.rise ON (public.rise(1) AND id > 0), state FROM public.users",
        "ALTER TABLE public.users ADD CHECK (public.rise(id)) NOT VALID",
        "CREATE RULE rise AS ON UPDATE TO public.members WHERE public.rise(old.id) DO ALSO NOTHING",
        "ALTER TABLE public.members ALTER COLUMN notification_level SET DEFAULT public.rise(1)::integer",
        "CREATE DOMAIN public.odd AS bigint CHECK (public.rise(VALUE));"
        "ALTER TABLE public.members ALTER COLUMN notification_level TYPE public.odd",
        "CREATE DOMAIN public.odd AS bigint; CREATE DOMAIN public.odder AS public.odd;"
        "ALTER TABLE public.members ALTER COLUMN notification_level TYPE public.odder;"
        "ALTER DOMAIN public.odd OWNER TO mallory",
        "CREATE DOMAIN public.odd AS bigint CHECK (public.rise(VALUE)); CREATE DOMAIN public.odder AS public.odd;"
        "ALTER TABLE public.members ALTER COLUMN notification_level TYPE public.odder",
        "CREATE DOMAIN public.odd AS bigint CHECK (public.rise(VALUE));"
        "ALTER TABLE public.members ADD COLUMN more public.odd[]",
        "CREATE DOMAIN public.odd AS bigint CHECK (public.rise(VALUE));"
        "ALTER TABLE public.personal_access_tokens ADD CHECK (CAST(id AS public.odd) > 0) NOT VALID",
        "CREATE DOMAIN public.odd AS bigint CHECK (public.rise(VALUE));"
        "CREATE INDEX odd ON public.users (id) WHERE CAST(id AS public.odd) > 0",
    ],
)
def test_code_of_a_third_role_on_gitlabs_own_tables_is_refused_however_it_hangs_there(
    alone: Alone, superuser: Superuser, planted: str
) -> None:
    with alone.database() as address:
        execute(superuser(address), ROLE, RISE, planted)
        for login in (address, superuser(address)):
            with database.reading(login) as connection, pytest.raises(Refused, match='of role "mallory"'):
                preflight.check(connection, CHANGE)


READING = (
    ("analyze",),
    ("list", "--wide"),
    ("check", "--each"),
    ("check", "--output", "prometheus"),
    ("breakdown",),
    ("simulate", "--by", "owner"),
    ("forecast",),
    ("forecast", "--output", "ics"),
    ("report", "--file", "{folder}/page.html"),
    ("doctor",),
    ("history",),
    ("history", "--tokens"),
    ("extend", "--within", "9d", "--by", "9d", "--dry-run"),
    ("rotate", "--within", "9d", "--kind", "personal", "--dry-run", "--no-verify"),
)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_view_under_a_name_of_gitlabs_runs_at_no_reading_whoever_looks(
    alone: Alone, superuser: Superuser, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str
) -> None:
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            make_token(connection, expires_at=SOON)
        execute(superuser(address), ROLE, RISE)
        execute(
            address,
            f"ALTER TABLE public.{table} RENAME TO of_gitlab",
            f"CREATE VIEW public.{table} AS SELECT * FROM public.of_gitlab WHERE public.rise(1)",
        )
        refused = 0
        for login in (address, superuser(address)):
            for words in READING:
                capsys.readouterr()
                status = typed(*(word.format(folder=tmp_path) for word in words), "--target", url(login))
                said = "".join(capsys.readouterr())
                assert "planted" not in said, words
                assert status in (ExitStatus.DONE, ExitStatus.DUE, ExitStatus.REFUSED, ExitStatus.FAILED), words
                if status == ExitStatus.REFUSED:
                    refused += 1
                    assert f"public.{table} belongs to role " in said or "has no GitLab table" in said, words
        assert refused > (0 if table in OPTIONAL_TABLES else len(READING))


INDEX = "CREATE INDEX rise ON public.users (id) WHERE public.rise(id)"


@pytest.mark.parametrize(
    ("planted", "owner"),
    [
        ((RISE, "DROP FUNCTION public.rise()", INDEX, "ALTER FUNCTION public.rise OWNER TO pg_monitor"), "pg_monitor"),
        (
            (
                "CREATE DOMAIN public.odd AS bigint",
                "ALTER DOMAIN public.odd OWNER TO mallory",
                "ALTER TABLE public.users ADD CHECK (CAST(id AS public.odd) > 0) NOT VALID",
            ),
            "mallory",
        ),
        (
            (
                "CREATE DOMAIN public.odd AS integer",
                "ALTER DOMAIN public.odd OWNER TO mallory",
                "ALTER TABLE public.members ALTER COLUMN notification_level TYPE public.odd",
            ),
            "mallory",
        ),
        (
            (
                "CREATE VIEW public.seen AS SELECT 1 AS id",
                "ALTER VIEW public.seen OWNER TO mallory",
                "CREATE RULE rise AS ON UPDATE TO public.members WHERE EXISTS (TABLE public.seen) DO ALSO NOTHING",
            ),
            "mallory",
        ),
    ],
    ids=["function", "type", "type of a column", "view"],
)
def test_what_hangs_there_may_be_all_that_another_role_owns(
    alone: Alone, superuser: Superuser, planted: tuple[str, ...], owner: str
) -> None:
    with alone.database() as address:
        execute(superuser(address), ROLE, *planted)
        with database.reading(address) as connection, pytest.raises(Refused, match=f'of role "{owner}"'):
            preflight.check(connection, CHANGE)


def test_a_superuser_who_has_taken_the_owners_role_trusts_superusers_alone(alone: Alone, superuser: Superuser) -> None:
    with alone.database() as address:
        execute(superuser(address), ROLE, RISE, INDEX, "ALTER FUNCTION public.rise(bigint) OWNER TO gitlab")
        execute(superuser(address), "DROP FUNCTION public.rise()")
        with database.reading(address) as connection:
            preflight.check(connection, CHANGE)
        with database.reading(superuser(address)) as connection:
            connection.execute("SET LOCAL ROLE gitlab")
            with pytest.raises(Refused, match=r'of role "gitlab".*and not as a superuser'):
                preflight.check(connection, CHANGE)


HANDED = "ALTER TABLE public.users ADD CHECK (query_to_xml('SELECT 1', true, true, '') IS NOT NULL) NOT VALID"


@pytest.mark.parametrize(
    ("planted", "used"),
    [
        (HANDED, 'check on public.users of role "gitlab" uses function query_to_xml'),
        (
            "ALTER TABLE public.members ADD CHECK (table_to_xml('users', true, true, '') IS NOT NULL) NOT VALID",
            'check on public.members of role "gitlab" uses function table_to_xml',
        ),
        (
            "ALTER TABLE public.users ADD CHECK (pg_input_is_valid(name, 'public.odd')) NOT VALID",
            'check on public.users of role "gitlab" uses function pg_input_is_valid',
        ),
        (
            "ALTER TABLE public.users ADD CHECK (domain_in(CAST(name AS cstring), 16390, -1) IS NOT NULL) NOT VALID",
            'check on public.users of role "gitlab" uses function domain_in',
        ),
        (
            "ALTER TABLE public.members ALTER COLUMN notification_level SET DEFAULT lo_creat(1)::integer",
            'default on public.members of role "gitlab" uses function lo_creat',
        ),
        (
            "CREATE DOMAIN public.odd AS bigint CHECK (lo_unlink(1) > VALUE);"
            "ALTER DOMAIN public.odd OWNER TO postgres;"
            "ALTER TABLE public.members ALTER COLUMN notification_level TYPE public.odd",
            'check on public.members of role "gitlab" uses function lo_unlink',
        ),
        (
            "CREATE RULE rise AS ON UPDATE TO public.members DO ALSO SELECT set_config('role', 'none', false)",
            'rule on public.members of role "gitlab" uses function set_config',
        ),
        (
            "CREATE FUNCTION public.still() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER rise BEFORE UPDATE ON public.members FOR EACH ROW WHEN (pg_sleep(0) IS NULL)"
            "EXECUTE FUNCTION public.still()",
            'trigger on public.members of role "gitlab" uses function pg_sleep',
        ),
        (
            "CREATE OPERATOR public.%%% (FUNCTION = pg_catalog.lo_unlink, RIGHTARG = oid);"
            "ALTER OPERATOR public.%%% (NONE, oid) OWNER TO gitlab;"
            "ALTER TABLE public.users ADD CHECK ((OPERATOR(public.%%%) CAST(id AS oid)) > 0) NOT VALID",
            'check on public.users of role "gitlab" uses function lo_unlink',
        ),
        (  # as crosstab() of tablefunc, which the database's owner may install and a superuser owns
            "CREATE FUNCTION public.crossed(text) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT true';"
            "ALTER TABLE public.users ADD CHECK (public.crossed(name)) NOT VALID",
            'check on public.users of role "gitlab" uses function public.crossed',
        ),
    ],
    ids=["query", "table", "type", "input", "default", "domain", "rule", "trigger", "operator", "extension"],
)
def test_as_a_superuser_the_owner_can_hand_nothing_to_postgresqls_own_functions(
    alone: Alone, superuser: Superuser, planted: str, used: str
) -> None:
    with alone.database() as address:
        execute(superuser(address), planted)
        with database.reading(address) as connection:
            preflight.check(connection, CHANGE)
        with database.reading(superuser(address)) as connection, pytest.raises(Refused) as refused:
            preflight.check(connection, CHANGE)
        assert used in str(refused.value)
        assert str(refused.value).endswith("log in as gitlab, the tables' owner, and not as a superuser.")


def test_as_a_superuser_what_postgresqls_own_functions_give_a_column_is_no_code_of_the_owners(
    alone: Alone, superuser: Superuser
) -> None:
    given = """
        ALTER TABLE public.members
          ADD COLUMN one uuid DEFAULT gen_random_uuid(), ADD COLUMN two timestamptz DEFAULT clock_timestamp(),
          ADD COLUMN three double precision DEFAULT random(), ADD COLUMN four date DEFAULT CURRENT_DATE,
          ADD CHECK (char_length(type) <= 255 AND num_nonnulls(two) = 1 AND now() > created_at) NOT VALID
    """
    with alone.database() as address:
        execute(superuser(address), given)
        with database.reading(superuser(address)) as connection:
            preflight.check(connection, ROTATE)


@pytest.mark.each_release
def test_gitlabs_own_tables_are_no_cause_for_alarm(
    gitlab_database_at: Callable[[str], Address], superuser: Superuser, revision: str
) -> None:
    owned = gitlab_database_at(revision)
    name = conninfo_to_dict(owned.conninfo)["dbname"]
    execute(superuser(owned), f'ALTER DATABASE "{name}" OWNER TO postgres')
    for address in (owned, superuser(owned)):
        with database.reading(address) as connection:
            preflight.check_code(connection, ROTATE)
        assert [one.text for one in diagnose(address) if one.verdict is Verdict.FAIL] == []

"""The environment of GitLab's own processes: what a config_command and libpq find in it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.replication import Replicated
from tokens.address import Address
from tokens.database import connect
from tokens.errors import Refused, TokensError, UsageError
from tokens.targets.here.installation import Installation, Method
from tokens.targets.here.site import Site, open_site

Make = Callable[..., Installation]

# Prints its own environment and folder in the place of a password.
TELL = """\
#!{python} -I
import json, os
told = json.dumps({{"variables": dict(os.environ), "folder": os.getcwd()}})
print("main:", json.dumps({{"password": told}}))
"""


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Lays out an installation: its kind, its database.yml below `main:`, and the files of its environment."""

    def lay_out(
        kind: Method = Method.OMNIBUS, command: str = "", main: str = "{host: h}", **variables: bytes
    ) -> Installation:
        rails = tmp_path / "rails"
        (rails / "config").mkdir(parents=True)
        program = tmp_path / "command"
        program.write_text(command.format(python=sys.executable))
        program.chmod(0o755)
        first = f"  config_command: {program} --main\n" if command else ""
        (rails / "config/database.yml").write_text(f"production:\n{first}  main: {main}\n")
        folder = tmp_path / "env"
        folder.mkdir()
        for name, content in variables.items():
            (folder / name).write_bytes(content)
        # Root would have to become GitLab's user: here the test's own account is that user.
        return Installation(kind, rails, None, folder if kind in (Method.OMNIBUS, Method.DOCKER) else None)

    return lay_out


def parameters(site: Site) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(site.address.conninfo).items()}


def test_a_config_command_has_the_applications_variables_and_folder(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the administrator's")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    installation = make(
        command=TELL,
        VAULT_ADDR=b"https://vault.example.com  \t\nignored\n",
        PGSSLROOTCERT=b"/etc/ssl/db.pem",
        LEADING=b"  kept",
        NUL=b"a\0b",
        EMPTY=b"\n",
        TZ=b"",
    )
    told = json.loads(parameters(open_site(installation))["password"])
    assert told["folder"] == str(installation.rails)
    variables = told["variables"]
    assert variables["VAULT_ADDR"] == "https://vault.example.com"
    assert variables["PGSSLROOTCERT"] == "/etc/ssl/db.pem"
    assert (variables["LEADING"], variables["NUL"], variables["EMPTY"]) == ("  kept", "a\nb", "")
    assert variables["PWD"] == str(installation.rails)
    assert variables["PATH"] == os.environ["PATH"]
    assert "AWS_SECRET_ACCESS_KEY" not in variables
    assert "TZ" not in variables  # an empty file unsets it


def test_a_pods_own_environment_is_the_applications(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example.com")
    told = json.loads(parameters(open_site(make(Method.TOOLBOX, TELL)))["password"])
    assert told["variables"]["VAULT_ADDR"] == "https://vault.example.com"


def test_a_source_install_gives_its_command_what_its_account_has(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "the administrator's")
    told = json.loads(parameters(open_site(make(Method.SOURCE, TELL)))["password"])
    assert set(told["variables"]) <= {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "PWD", "TZ", "USER"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Method.OMNIBUS, "it ran as GitLab runs it, in the same folder with the same variables"),
        (Method.SOURCE, "its service may have variables that are not known here"),
    ],
)
def test_a_command_that_fails_is_told_with_what_is_known_of_its_environment(
    make: Make, kind: Method, said: str
) -> None:
    with pytest.raises(TokensError, match=rf"failed with exit status 5; .*{said}") as failure:
        open_site(make(kind, "#!/bin/sh\necho s3cr3t; exit 5\n"))
    assert "s3cr3t" not in str(failure.value)


def test_what_a_command_writes_to_standard_error_is_read_too_as_gitlab_does(make: Make) -> None:
    site = open_site(make(command="#!/bin/sh\necho '  password: a' >&2\necho main:\n"))
    assert parameters(site)["password"] == "a"


def test_libpqs_variables_count_where_they_are_the_applications(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    installation = make(
        PGSSLROOTCERT=b"/etc/ssl/db.pem\n",
        PGHOST=b"elsewhere",
        PGDATABASE=b"d",
        PGUSER=b"u",
        PGCLIENTENCODING=b"LATIN1",
    )
    site = open_site(installation)
    assert parameters(site) == {"host": "h", "sslrootcert": "/etc/ssl/db.pem", "dbname": "d", "user": "u"}
    assert site.address.shown == "u@h/d"


def test_a_url_in_the_environment_is_the_first_line_of_its_file(make: Make) -> None:
    site = open_site(make(MAIN_DATABASE_URL=b"postgresql://u@Db.Example.COM/d?sslrootcert=%2Fa.pem \nnext\n"))
    assert site.address.shown == "u@Db.Example.COM/d"
    assert parameters(site)["sslrootcert"] == "/a.pem"


def test_the_ci_database_is_reached_as_the_application_reaches_it(make: Make) -> None:
    ci = "{host: h, database: main_db, username: u}\n  ci: {host: h, database: ci_db, username: u}"
    assert (site := open_site(make(main=ci))).ci is not None
    assert (site.address.shown, site.ci.shown) == ("u@h/main_db", "u@h/ci_db")


def test_what_libpq_takes_for_a_database_without_a_name_is_the_roles_own(make: Make) -> None:
    assert open_site(make(main="{host: h, username: u}")).address.shown == "u@h/u"


def test_a_service_says_what_the_file_does_not(make: Make) -> None:
    site = open_site(make(main="{service: main, port: 5433}"))
    assert parameters(site) == {"service": "main", "port": "5433"}
    assert site.address.shown == "@:5433 of service main/"


def test_a_service_that_gitlab_looks_up_elsewhere_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="a service of libpq that PGSERVICEFILE"):
        open_site(make(main="{service: main}", PGSERVICEFILE=b"/etc/services.conf"))


def test_a_service_is_not_overruled_by_a_shells_variables(
    empty_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = conninfo_to_dict(empty_database.conninfo)
    lines = [f"{name}={value}" for name, value in given.items()]
    (tmp_path / ".pg_service.conf").write_text("\n".join(["[main]", *lines, ""]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGHOST", "/nowhere")
    with connect(Address("service=main", "main", complete=True)) as connection, connection.transaction():
        assert connection.row("SELECT pg_catalog.current_database() AS name").name == given["dbname"]


def test_options_of_gitlabs_own_reach_the_server_as_they_do_for_gitlab(empty_database: Address) -> None:
    given = f"{empty_database.conninfo} options='-c geqo_effort=7'"
    with connect(Address(given, "main", complete=True)) as connection, connection.transaction():
        assert connection.row("SELECT pg_catalog.current_setting('geqo_effort') AS value").value == "7"


def test_a_variable_that_may_not_be_read_is_a_refusal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = make(MAIN_DATABASE_URL=b"postgresql://u@db/d")

    def closed(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(Refused, match="MAIN_DATABASE_URL, a variable of GitLab's, cannot be read"):
        open_site(installation)


def test_of_several_hosts_the_one_that_takes_changes_is_taken(make: Make, replicated: Replicated) -> None:
    with replicated.database() as pair:
        standby, primary = (conninfo_to_dict(address.conninfo) for address in (pair.standby, pair.primary))
        main = {
            "host": f"{standby['host']},{primary['host']}",
            "port": f"{standby.get('port', 5432)},{primary.get('port', 5432)}",
            "database": primary["dbname"],
            "username": primary["user"],
            "target_session_attrs": "read-write",
        }
        site = open_site(make(main=json.dumps(main)))
        with connect(site.address) as connection, connection.transaction():
            assert not connection.row("SELECT pg_catalog.pg_is_in_recovery() AS standby").standby

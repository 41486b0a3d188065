"""GitLab's database.yml in all the shapes that installations give it."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tokens.errors import UsageError
from tokens.targets.here.database_yml import DatabaseSettings, read_settings
from tokens.targets.here.installation import Installation, Method
from tokens.targets.here.site import open_site

OMNIBUS = """\
# This file is managed by gitlab-ctl.
production:
  main:
    adapter: postgresql
    encoding: unicode
    collation:
    database: "gitlabhq_production"
    username: "gitlab"
    password:
    host: "/var/opt/gitlab/postgresql"
    port: 5432
    socket:
    sslmode:
    sslcompression: 0
    sslrootcert:
    load_balancing: {"hosts":["10.0.0.1"]}
    prepared_statements: false
    statement_limit: 1000
    connect_timeout:
    keepalives:
    application_name:
    variables:
      statement_timeout:
  ci:
    adapter: postgresql
    database: "gitlabhq_production_ci"
    username: "gitlab_ci"
    host: "ci.example.com"
    port: 5433
    database_tasks: false
"""

HELM = """\
production:
  main:
    adapter: postgresql
    database: gitlabhq_production
    username: gitlab
    password: "s3'cr\\\\et"
    host: gitlab-postgresql.gitlab.svc
    port: 5432
    connect_timeout:
    keepalives: 1
    keepalives_idle: 30
    sslmode: verify-ca
    sslrootcert: '/etc/gitlab/postgres/ssl/server-ca.pem'
    sslcert: '/etc/gitlab/postgres/ssl/client-certificate.pem'
    sslkey: '/etc/gitlab/postgres/ssl/client-key.pem'
  geo:
    database: gitlabhq_geo_production
datamodel: x
development:
  main: {database: wrong}
"""

SOURCE = """\
production: &production
  main:
    adapter: postgresql
    encoding: unicode
    database: gitlabhq_production
  ci:
    adapter: postgresql
    database: gitlabhq_production
    database_tasks: false
test: &test
  main: {<<: *production, database: gitlabhq_test}
"""


def nothing(command: str) -> str:
    raise AssertionError(f"{command} was run")


def read(text: str, url: str | None = None) -> dict[str, str]:
    return dict(read_settings(text, nothing, url).parameters)


def test_the_linux_packages_file_leads_to_the_main_database_on_its_socket() -> None:
    assert read(OMNIBUS) == {
        "dbname": "gitlabhq_production",
        "user": "gitlab",
        "host": "/var/opt/gitlab/postgresql",
        "port": "5432",
        "sslcompression": "0",
    }


def test_the_charts_file_brings_the_password_and_the_certificates_along() -> None:
    settings = read_settings(HELM, nothing)
    assert settings.geo_secondary
    assert settings.parameters["password"] == "s3'cr\\et"
    assert settings.parameters["sslmode"] == "verify-ca"
    assert settings.parameters["sslrootcert"] == "/etc/gitlab/postgres/ssl/server-ca.pem"
    assert settings.parameters["sslcert"].endswith("client-certificate.pem")
    assert settings.parameters["keepalives_idle"] == "30"
    assert "connect_timeout" not in settings.parameters
    assert "s3" not in repr(settings)


def test_a_source_installs_file_may_name_nothing_but_the_database() -> None:
    assert read(SOURCE) == {"dbname": "gitlabhq_production"}


def test_the_old_flat_form_is_the_main_database() -> None:
    assert read("production:\n  adapter: postgresql\n  database: x\n  username: u\n") == {"dbname": "x", "user": "u"}


def test_what_a_config_command_prints_is_laid_over_the_file() -> None:
    asked = []

    def run(command: str) -> str:
        asked.append(command)
        return "main: {password: s3cr3t}\nci: {password: other}\n"

    text = OMNIBUS.replace("  main:", '  config_command: "/opt/bin/password --now"\n  main:', 1)
    assert read_settings(text, run).parameters["password"] == "s3cr3t"
    assert asked == ["/opt/bin/password --now"]


def test_a_url_goes_before_the_files_values() -> None:
    found = read(OMNIBUS, "postgresql://git%40lab:p%2Fw@db.example.com:6432/other?sslmode=require&pool=5")
    assert found == {
        "dbname": "other",
        "user": "git@lab",
        "password": "p/w",
        "host": "db.example.com",
        "port": "6432",
        "sslmode": "require",
        "sslcompression": "0",
    }
    elsewhere = read(
        OMNIBUS, "postgresql://Db.Example.COM/other?host=%2Frun%2Fpg&sslrootcert=%2Fetc%2Fssl%2Fa.pem&user=u+x"
    )
    assert (elsewhere["host"], elsewhere["sslrootcert"], elsewhere["user"]) == ("/run/pg", "/etc/ssl/a.pem", "gitlab")
    assert read(OMNIBUS, "postgresql://Db.Example.COM/x")["host"] == "Db.Example.COM"
    assert read(OMNIBUS, "postgresql://[2001:db8::1]/x")["host"] == "2001:db8::1"
    assert read(OMNIBUS, "postgresql:///other")["host"] == "/var/opt/gitlab/postgresql"
    assert read("production: {main: {host: a, url: 'postgresql://b/c'}}")["host"] == "b"


@pytest.mark.parametrize(("value", "password"), [("12345", "12345"), ("true", "true"), ('"01"', "01"), ("'#x'", "#x")])
def test_a_password_that_yaml_takes_for_something_else_is_what_rails_makes_of_it(value: str, password: str) -> None:
    assert read(f"production: {{main: {{database: x, password: {value}}}}}")["password"] == password


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("production:\n  main:\n    password: <%= ENV['S3CR3T'] %>\n", "ERB"),
        ("production:\n  main:\n    password: 's3cr3t\n", "not YAML that can be read (line"),
        ("production:\n  main: {password: s3cr3t}}\n", "not YAML that can be read (line 2)"),
        ("password: !ruby/object:S3cr3t {}\n", "not YAML that can be read"),
        ("- s3cr3t\n", "not a YAML map"),
        ("", "not a YAML map"),
        ("development: {main: {password: s3cr3t}}\n", "has no production:, but development"),
        ("production:\n  ci: {database: x}\n  geo: {database: y}\n", "has no main: below production:, but ci, geo"),
        ("production: s3cr3t\n", "has no production:"),
        ("production: {main: {password: 2024-01-05 10:00:00}}\n", "has a time without quotes"),
        ("shared: {main: {password: s3cr3t}}\nproduction: {main: {}}\n", "has shared:"),
        ("production:\n  main: {password: s3cr3t}\n  :main: {password: s3cr3t}\n", "has a name twice"),
        ("production: {config_command: [s3cr3t], main: {}}\n", "config_command that is no text"),
        ("production: {main: {password: [s3cr3t]}}\n", "a list or a map where a single value belongs"),
        ("production: {main: {url: ''}}\n", "is not of the form"),
        ("\ufeffproduction: {main: {}}\n", "byte order mark"),
        ("[" * 5000 + "s3cr3t", "not YAML that can be read"),
        ('production: {main: {password: "s3cr3t\\0"}}\n', "NUL character"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_quotes_nothing(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(text)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value).lower()


DEFAULTS = "defaults: &defaults {port: 5611, host: a}\nnew: &new {port: 5612}\n"


@pytest.mark.parametrize(
    ("main", "parameters"),
    [
        # A merge counts where it stands, and the first map of a list goes before the others.
        ("{port: 5613, <<: *defaults}", {"port": "5611", "host": "a"}),
        ("{<<: *defaults, port: 5613}", {"port": "5613", "host": "a"}),
        ("{<<: [*new, *defaults]}", {"port": "5612", "host": "a"}),
        ("{<<: *new, <<: *defaults}", {"port": "5611", "host": "a"}),
        ("{port: 1, port: 2}", {"port": "2"}),
        # Plain scalars as Psych takes them.
        ("{password: =}", {"password": "="}),
        ("\n    password: 12,345", {"password": "12345"}),
        ("{password: 1:30}", {"password": "5400"}),
        ("{password: 0123}", {"password": "83"}),
        ("{password: 08}", {"password": "08"}),
        ("{password: 1e5}", {"password": "1e5"}),
        ("{password: 1.50}", {"password": "1.5"}),
        ("{password: 2024-1-5}", {"password": "2024-01-05"}),
        ("\n    password: :abc", {"password": "abc"}),
        ("{password: Yes}", {"password": "true"}),
        ("{password: !binary czNjcjN0}", {"password": "s3cr3t"}),
        ("\n    :host: b\n    host: a", {"host": "a"}),
        # Tabs where libyaml takes them.
        ("\n    host: a\t# note\n    port:\t5611", {"host": "a", "port": "5611"}),
    ],
)
def test_a_file_says_what_rubys_parser_makes_of_it(main: str, parameters: dict[str, str]) -> None:
    assert read(f"{DEFAULTS}production:\n  main: {main}\n") == parameters


def test_an_anchor_may_be_given_again_and_a_second_document_is_not_looked_at() -> None:
    text = (
        "test: &main {host: a}\nproduction:\n  main: &main {host: b}\n  ci: *main\n---\nproduction: {main: {host: c}}\n"
    )
    assert read(text) == {"host": "b"}
    assert read("production: {main: {host: a}}\n---\n") == {"host": "a"}


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("main: &a {host: b}\nci: *a\n", "has an alias"),
        ("main:\n  host: :b\n", "has a symbol"),
        ("main: {host: 2024-01-05}\n", "has a date"),
        ('{"main": {"password": "\\ud800"}}', "not YAML that can be read (line 1)"),
        ("", "is not a YAML map"),
    ],
)
def test_what_gitlab_does_not_take_from_a_config_command_is_refused(printed: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"^What config_command in ") as refusal:
        read_settings("production: {config_command: x, main: {}}", lambda _: printed)
    assert said in str(refusal.value)


def test_json_with_tabs_is_what_a_config_command_may_print() -> None:
    printed = '{\n\t"main": {\n\t\t"password": "a\\/b",\n\t\t"on": 1\n\t}\n}\n'
    text = "production: {config_command: x, main: {host: h}}"
    assert dict(read_settings(text, lambda _: printed).parameters) == {"host": "h", "password": "a/b"}
    assert dict(read_settings("production: {config_command: ' ', main: {host: h}}", nothing).parameters) == {
        "host": "h"
    }


def test_what_rails_hands_to_libpq_is_handed_to_it_and_nothing_else() -> None:
    text = """\
        production:
          main:
            adapter: postgresql
            host: "a,b"
            hostaddr: 10.0.0.1,10.0.0.2
            port: "5432,5433"
            user: overruled
            username: gitlab
            dbname: gitlabhq
            target_session_attrs: read-write
            keepalives_idle: 30
            sslcert: c.pem
            sslca: ignored.pem
            options: -c geqo=off
            service: gitlab
            connect_timeout: 3
            encoding: unicode
            client_encoding: SQL_ASCII
            application_name: puma
            replication: database
            schema_search_path: public
            prepared_statements: false
            variables: {statement_timeout: 1}
            load_balancing: {hosts: [a]}
    """
    settings = read_settings(text, nothing)
    assert settings.parameters == {
        "host": "a,b",
        "hostaddr": "10.0.0.1,10.0.0.2",
        "port": "5432,5433",
        "user": "gitlab",
        "dbname": "gitlabhq",
        "target_session_attrs": "read-write",
        "keepalives_idle": "30",
        "sslcert": "c.pem",
        "options": "-c geqo=off",
        "service": "gitlab",
        "connect_timeout": "3",
    }
    (standby,) = settings.standbys
    assert standby["host"] == "a"
    assert "hostaddr" not in standby
    assert "target_session_attrs" not in standby


def test_a_url_in_the_file_goes_before_the_environments_as_rails_has_it() -> None:
    text = "production: {main: {host: a, url: 'postgresql://b/c'}}"
    assert read(text, "postgresql://elsewhere/x") == {"host": "b", "dbname": "c"}
    assert read("production: {main: {host: a, url: }}", "postgresql://b") == {"host": "b"}


def test_erb_does_not_matter_where_a_url_says_it_all() -> None:
    text = "production:\n  main:\n    password: <%= ENV['S3CR3T'] %>\n"
    assert read(text, "postgresql://gitlab@db/x") == {"dbname": "x", "user": "gitlab", "host": "db"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@[x/y",
        "u:s3cr3t@x/y",
        "postgresql://u:12/s3cr3t@x/y",
        "mysql://u:s3cr3t@x/y",
        "postgresql:u:s3cr3t@x",
        "postgresql://u:s3cr3t%zz@x/y",
        "postgresql://u:s3cr3t%ff@x/y",
        "postgresql://u:s3 cr3t@x/y",
        "postgresql://u:s3cr3t@x_y/z",
        "postgresql://u:s3cr3t@x/y?&a=b",
        "postgresql://u:s3cr3t@x/y?adapter=mysql2",
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(OMNIBUS, url)
    assert "s3" not in str(refusal.value)
    assert "is not of the form" in str(refusal.value)


def test_the_hosts_that_load_is_balanced_to_are_mains_but_for_the_host() -> None:
    settings = read_settings(OMNIBUS, nothing)
    assert settings.standbys == ({**settings.parameters, "host": "10.0.0.1"},)
    assert not settings.discovers
    text = """\
        production:
          main:
            host: db1
            port: 5433
            password: s3cr3t
            sslmode: verify-full
            load_balancing:
              hosts: [db2, db1, 10.0.0.3, db2, "", ~, {}]
              discover: {nameserver: localhost, record: secondary.postgresql.service.consul}
    """
    settings = read_settings(text, nothing)
    assert [standby["host"] for standby in settings.standbys] == ["db2", "10.0.0.3"]
    assert {(standby["port"], standby["password"], standby["sslmode"]) for standby in settings.standbys} == {
        ("5433", "s3cr3t", "verify-full")
    }
    assert settings.discovers
    elsewhere = read_settings(text, nothing, "postgresql://other@db9/x")
    assert [(standby["user"], standby["host"]) for standby in elsewhere.standbys] == [
        ("other", "db2"),
        ("other", "db1"),
        ("other", "10.0.0.3"),
    ]


@pytest.mark.parametrize(
    "balancing",
    [
        "",
        "{}",
        "[]",
        "yes",
        "{hosts: }",
        "{hosts: []}",
        "{hosts: db2}",
        "{hosts: {a: b}}",
        "{discover: {nameserver: a}}",
    ],
)
def test_without_hosts_there_are_no_standbys(balancing: str) -> None:
    settings = read_settings(f"production: {{main: {{host: db1, load_balancing: {balancing} }}}}", nothing)
    assert (settings.standbys, settings.discovers) == ((), False)


def test_a_site_knows_its_standbys_by_complete_addresses(tmp_path: Path) -> None:
    file = tmp_path / "config/database.yml"
    file.parent.mkdir()
    file.write_text(
        "production: {main: {host: db1, port: 5433, database: d, username: u, password: s3cr3t, "
        "load_balancing: {hosts: [db2], discover: {record: r}}}}"
    )
    site = open_site(Installation(Method.SOURCE, tmp_path, user=None))
    (standby,) = site.standbys
    assert (standby.shown, standby.complete, site.address.shown) == ("u@db2:5433/d", True, "u@db1:5433/d")
    assert conninfo_to_dict(standby.conninfo) == {**conninfo_to_dict(site.address.conninfo), "host": "db2"}
    assert "s3cr3t" not in repr(site)
    assert site.discovers_standbys


def test_settings_are_compared_by_what_they_say() -> None:
    assert read_settings(SOURCE, nothing) == DatabaseSettings({"dbname": "gitlabhq_production"})


CI = "production:\n  main: {database: d, username: u, host: h}\n  ci: "


@pytest.mark.parametrize(
    ("ci", "url", "expected"),
    [
        ("{database: d, username: u, host: h, database_tasks: false}", None, None),
        ("{database: d, username: u, host: h, pool: 5}", None, None),
        ("{database: d_ci, username: u, host: h}", None, {"dbname": "d_ci", "user": "u", "host": "h"}),
        ("{database: d, username: u, host: other}", None, {"dbname": "d", "user": "u", "host": "other"}),
        (
            "{database: d, username: u, host: h}",
            "postgresql://w@far/d_ci",
            {"dbname": "d_ci", "user": "w", "host": "far"},
        ),
        ('{database: "a\\0b"}', None, None),
    ],
)
def test_ci_is_a_database_of_its_own_where_it_is_another_one(
    ci: str, url: str | None, expected: dict[str, str] | None
) -> None:
    found = read_settings(f"{CI}{ci}\n", str, ci_url=url).ci
    assert (None if found is None else dict(found)) == expected


def test_without_an_entry_ci_is_in_main() -> None:
    assert read_settings("production: {database: d}\n", str, ci_url="postgresql://x/y").ci is None
    erb = read_settings("<%= 1 %>", str, "postgresql://u@h/d", "postgresql://u@h/ci")
    assert erb.ci is not None
    assert erb.ci["dbname"] == "ci"

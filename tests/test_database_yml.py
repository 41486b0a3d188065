"""GitLab's database.yml in all the shapes that installations give it."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tokens.errors import UsageError
from tokens.targets.here.database_yml import DatabaseSettings, read_settings
from tokens.targets.here.installation import Installation, Kind
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
    }
    assert read(OMNIBUS, "postgresql:///other?host=a%2Fb")["host"] == "a%2Fb"  # Rails decodes no settings
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
        ("production: {main: {password: 2024-13-45}}\n", "not YAML that can be read"),
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


def test_erb_does_not_matter_where_a_url_says_it_all() -> None:
    text = "production:\n  main:\n    password: <%= ENV['S3CR3T'] %>\n"
    assert read(text, "postgresql://gitlab@db/x") == {"dbname": "x", "user": "gitlab", "host": "db"}


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cr3t@[x/y", "u:s3cr3t@x/y", "postgresql://u:12/s3cr3t@x/y", "mysql://u:s3cr3t@x/y"]
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(OMNIBUS, url)
    assert "s3cr3t" not in str(refusal.value)


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
    site = open_site(Installation(Kind.SOURCE, tmp_path, user=None))
    (standby,) = site.standbys
    assert (standby.shown, standby.complete, site.address.shown) == ("u@db2:5433/d", True, "u@db1:5433/d")
    assert conninfo_to_dict(standby.conninfo) == {**conninfo_to_dict(site.address.conninfo), "host": "db2"}
    assert "s3cr3t" not in repr(site)
    assert site.discovers_standbys


def test_settings_are_compared_by_what_they_say() -> None:
    assert read_settings(SOURCE, nothing) == DatabaseSettings({"dbname": "gitlabhq_production"})

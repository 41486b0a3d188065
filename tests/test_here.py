"""GitLab installed right here: real accounts, real peer authentication, real file modes.

Each kind is laid out below a folder, and INVOKE_TOKENS_ROOT says where that is. The program is the bundle, because it
has to go on as the GitLab user, who may not be able to read the Python that runs these tests.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.testbed import logs
from tests.testbed.accounts import (
    DATABASE,
    EXTERNAL,
    PASSWORD,
    PeerServer,
    distribution,
    omnibus,
    run_as,
    source,
    toolbox,
)
from tokens.address import Address
from tokens.call import Call as TypedCall
from tokens.call import under_way
from tokens.targets.demo.programs import Account
from tokens.targets.here.advice import advice
from tokens.targets.here.installation import Installation, Method
from tokens.terminal.console import PATIENCE_VARIABLE

Call = Callable[..., subprocess.CompletedProcess[str]]
Done = subprocess.CompletedProcess[str]

DATES = "| 2024-06-15      | 3     |\n| (none)          | 2     |\n| 2024-12-31      | 1     |\n"
NOBODY = Account("nobody", 65534, 65534)


@pytest.fixture
def tmp_path(folder: Path) -> Path:
    """Where GitLab is laid out: pytest's own folders are closed to its accounts whenever another run starts."""
    return folder


@pytest.fixture
def as_root(gitlab_tokens: str, tmp_path: Path) -> Call:
    """The program as root, in an environment that would lead it astray if libpq's variables counted."""

    def call(*words: str, cwd: Path | None = None, **variables: str) -> Done:
        env = {
            "INVOKE_TOKENS_ROOT": str(tmp_path),
            "PATH": os.defpath,
            "HOME": "/root",
            PATIENCE_VARIABLE: os.environ[PATIENCE_VARIABLE],
            "PGHOST": "/nowhere",
            "PGUSER": "x",
        }
        return subprocess.run(
            [gitlab_tokens, *words],
            env=env | variables,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.fixture
def as_account(gitlab_tokens: str, tmp_path: Path) -> Call:
    def call(account: Account, *words: str) -> Done:
        return run_as(account, gitlab_tokens, *words, env={"INVOKE_TOKENS_ROOT": str(tmp_path)})

    return call


def lay_out_omnibus(root: Path, git: Account, peer: PeerServer) -> Path:
    return omnibus(root, git, host=str(peer.folder), port=peer.port)


def one_line(done: Done) -> str:
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_root_goes_on_as_the_gitlab_user_whom_peer_authentication_knows(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    done = as_root("analyze")
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout
    assert as_root("analyze", "--target", "omnibus").stdout == done.stdout


def test_the_gitlab_user_needs_no_change(as_account: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    done = as_account(git, "analyze")
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout


def test_anybody_else_is_told_who_may(as_account: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    done = as_account(NOBODY, "analyze")
    assert done.returncode == 3
    assert f"Run this as root (sudo) or as the GitLab user {git.name}" in one_line(done)


def test_a_source_install_may_name_neither_host_nor_user(
    as_root: Call, as_account: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    database_yml = source(tmp_path, git, host=str(peer.folder), port=peer.port)
    # The role of the account's own name is let in by pg_ident, but the server has none.
    done = as_root("analyze")
    assert done.returncode == 1
    assert f'role "{git.name}" does not exist' in one_line(done)

    database_yml.write_text(database_yml.read_text().replace("encoding: unicode", "username: gitlab"))
    for found in (
        as_root("analyze"),
        as_account(git, "analyze"),
        as_root("analyze", "--target", f"source:{database_yml.parents[1]}"),
    ):
        assert (found.returncode, found.stderr) == (0, "")
        assert DATES in found.stdout
    done = as_account(NOBODY, "analyze")
    assert done.returncode == 3
    assert git.name in one_line(done)


@pytest.mark.parametrize("settings", ["etc/default/gitlab", "etc/gitlab/gitlab-debian.conf", None])
def test_a_distributions_files_may_be_roots(
    as_root: Call, as_account: Call, tmp_path: Path, git: Account, peer: PeerServer, settings: str | None
) -> None:
    distribution(tmp_path, git, host=str(peer.folder), port=peer.port, settings=settings)
    for done in (as_root("analyze"), as_account(git, "analyze"), as_root("analyze", "--target", "source")):
        assert (done.returncode, done.stderr) == (0, "")
        assert DATES in done.stdout
    assert f", as account {git.name}" in as_root("doctor").stdout
    refused = as_account(NOBODY, "analyze")
    assert refused.returncode == 3
    assert f"Run this as root (sudo) or as the GitLab user {git.name}" in one_line(refused)


@pytest.mark.parametrize("word", ["gitlab-aws-ami", "", None])
def test_a_package_that_somebody_else_made_is_entered_like_any_other(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer, word: str | None
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    installation_type = tmp_path / "opt/gitlab/embedded/service/gitlab-rails/INSTALLATION_TYPE"
    installation_type.unlink() if word is None else installation_type.write_text(word)
    done = as_root("analyze")
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout


def test_a_password_is_never_shown_and_one_that_is_wrong_is_explained(
    as_root: Call, tmp_path: Path, git: Account
) -> None:
    omnibus(tmp_path, git, host="127.0.0.1", port=1, password="s3'cr\\3t")
    done = as_root("analyze")
    assert done.returncode == 1
    assert f"gitlab@127.0.0.1:1/{DATABASE}" in one_line(done)
    assert "s3" not in done.stderr
    shown = as_root("doctor")
    assert shown.returncode == 1
    assert "s3" not in shown.stdout + shown.stderr


def test_an_account_that_the_server_does_not_expect_is_told(as_root: Call, tmp_path: Path, peer: PeerServer) -> None:
    source(tmp_path, NOBODY, host=str(peer.folder), port=peer.port, username="gitlab")
    said = one_line(as_root("analyze"))
    assert "Peer authentication failed" in said
    assert 'this runs as account nobody, and database role "gitlab" expects another one' in said


def test_a_pods_password_may_be_older_than_its_secret(as_root: Call, tmp_path: Path, peer: PeerServer) -> None:
    toolbox(tmp_path, host=str(peer.folder), port=peer.port, username=EXTERNAL, password=PASSWORD)
    done = as_root("analyze")
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout
    toolbox(tmp_path, host=str(peer.folder), port=peer.port, username=EXTERNAL, password="of yesterday")
    said = one_line(as_root("analyze"))
    assert "kubectl rollout restart deployment/RELEASE-toolbox" in said
    assert "yesterday" not in said


def test_tls_files_that_cannot_be_used_are_named(as_root: Call, tmp_path: Path, peer: PeerServer) -> None:
    missing = tmp_path / "server-ca.pem"
    toolbox(tmp_path, host="127.0.0.1", port=1, username="gitlab", sslmode="verify-ca", sslrootcert=str(missing))
    assert "Connection refused" in one_line(as_root("analyze"))
    toolbox(
        tmp_path, host=str(peer.folder), port=peer.port, username="gitlab", sslmode="nonsense", sslrootcert=str(missing)
    )
    said = one_line(as_root("analyze"))
    assert "sslmode takes disable, allow, prefer, require, verify-ca or verify-full" in said
    assert "nonsense" not in said
    parameters = {"sslmode": "verify-ca", "sslrootcert": str(missing)}
    there = Installation(Method.TOOLBOX, tmp_path, "git")
    assert advice(there, parameters, None).tls == f"database.yml says sslmode verify-ca, sslrootcert {missing}"


def test_a_missing_socket_says_what_to_look_at(as_root: Call, tmp_path: Path, git: Account) -> None:
    omnibus(tmp_path, git, host=str(tmp_path))
    assert "sudo gitlab-ctl status postgresql" in one_line(as_root("analyze"))


def test_a_dead_poolers_port_says_where_the_primary_is(as_root: Call, tmp_path: Path, git: Account) -> None:
    omnibus(tmp_path, git, host="127.0.0.1", port=6432)
    assert "gitlab-ctl patroni members" in one_line(as_root("analyze"))


@pytest.mark.parametrize(
    ("kind", "port", "place", "said"),
    [
        (Method.OMNIBUS, "5432", None, "PostgreSQL should run on this machine: sudo gitlab-ctl status postgresql;"),
        (Method.OMNIBUS, "6432", None, "PgBouncer should run on this machine: sudo gitlab-ctl status pgbouncer;"),
        (Method.SOURCE, "6432", None, "PgBouncer should run on this machine: systemctl status pgbouncer;"),
        (Method.DOCKER, "5432", None, "PostgreSQL should run in the container: gitlab-ctl status postgresql;"),
        (Method.DOCKER, "6432", "docker:", "PgBouncer should run in the container: gitlab-ctl status pgbouncer;"),
        (Method.DOCKER, "5432", "production", "PostgreSQL should run in the container: gitlab-ctl status postgresql;"),
        (
            Method.DOCKER,
            "6432",
            "docker:git.lab",
            "PgBouncer should run in the container: docker exec git.lab gitlab-ctl status pgbouncer;",
        ),
    ],
)
def test_what_to_look_at_can_be_typed_where_it_is_read(kind: Method, port: str, place: str | None, said: str) -> None:
    with under_way(TypedCall(place=place)):
        found = advice(Installation(kind, Path("/"), "git"), {"host": "/run", "port": port}, None)
        of_a_name = advice(Installation(kind, Path("/"), "git"), {"host": "db", "port": "6432"}, None)
    assert f"if {said}" in found.unreachable
    begin = said.partition(": ")[2].partition(" status")[0]
    assert kind is Method.SOURCE or f"with {begin} patroni members" in of_a_name.unreachable


def test_a_node_without_rails_is_told(as_root: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    lay_out_omnibus(tmp_path, git, peer).unlink()
    assert "does not run GitLab Rails" in one_line(as_root("analyze"))


def test_a_user_whom_the_machine_does_not_know_is_told(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    (tmp_path / "opt/gitlab/etc/gitlab-rails-rc").write_text("gitlab_user='gltest-gone'\n")
    assert "account gltest-gone does not exist" in one_line(as_root("analyze"))


def test_a_program_that_the_gitlab_user_cannot_read_is_refused_before_anything(
    gitlab_tokens: str, as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    folder = Path(gitlab_tokens).parent
    folder.chmod(0o700)
    try:
        done = as_root("analyze")
    finally:
        folder.chmod(0o755)
    assert done.returncode == 3
    assert f"who cannot read {folder}" in one_line(done)


def test_a_config_command_runs_as_the_gitlab_user(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    database_yml = omnibus(tmp_path, git, host="/nowhere")
    command = tmp_path / "settings"
    command.write_text(
        f"#!/bin/sh\ntest $(id -un) = {git.name} || exit 7\necho 'main: {{host: {peer.folder}, port: {peer.port}}}'\n"
    )
    command.chmod(0o755)
    text = database_yml.read_text()
    database_yml.write_text(text.replace("production:\n", f"production:\n  config_command: {command} --main\n"))
    assert DATES in as_root("analyze").stdout
    command.write_text("#!/bin/sh\necho s3cr3t; exit 5\n")
    done = as_root("analyze")
    assert done.returncode == 1
    assert f"({command} --main) failed with exit status 5" in one_line(done)
    assert "s3cr3t" not in done.stderr


SPY = """\
#!/bin/sh
# What is to be seen of root's secrets: in this program's own environment, and by looking into its parent.
{{ env; tr '\\0' '\\n' < /proc/$PPID/environ; }} > {seen} 2>&1
echo 'main: {{host: {host}, port: {port}}}'
"""


def test_what_roots_environment_holds_reaches_nobody_who_is_the_gitlab_user(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    database_yml = omnibus(tmp_path, git, host="/nowhere")
    seen = tmp_path / "seen"
    seen.touch()
    os.chown(seen, git.uid, git.gid)
    command = tmp_path / "settings"
    command.write_text(SPY.format(seen=seen, host=peer.folder, port=peer.port))
    command.chmod(0o755)
    text = database_yml.read_text()
    database_yml.write_text(text.replace("production:\n", f"production:\n  config_command: {command}\n"))
    secrets = {"AWS_SECRET_ACCESS_KEY": "s3cr3t", "VAULT_TOKEN": "s3cr3t", "PGPASSWORD": "s3cr3t"}
    done = as_root("analyze", LC_MESSAGES="C", TZ="Asia/Tokyo", PATH="/root/bin:/usr/bin:/bin", **secrets)
    assert DATES in done.stdout
    shown = seen.read_text()
    assert "s3cr3t" not in shown
    assert "/environ: Permission denied" in shown
    variables = dict(line.partition("=")[::2] for line in shown.splitlines() if "=" in line)
    assert {name: variables[name] for name in ("USER", "LOGNAME", "HOME", "LC_MESSAGES", "TZ")} == {
        "USER": git.name,
        "LOGNAME": git.name,
        "HOME": "/var/opt/gitlab",  # as the package's own environment says
        "LC_MESSAGES": "C",
        "TZ": "Asia/Tokyo",
    }
    assert "root" not in variables["PATH"]


def test_gitlabs_own_environment_is_that_of_its_config_command(
    gitlab_tokens: str, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    database_yml = omnibus(tmp_path, git, host="/nowhere")
    command = tmp_path / "settings"
    command.write_text(f'#!/bin/sh\necho "main: {{host: $WHERE, port: {peer.port}}}"\n')
    command.chmod(0o755)
    text = database_yml.read_text()
    database_yml.write_text(text.replace("production:\n", f"production:\n  config_command: {command}\n"))
    variable = tmp_path / "opt/gitlab/etc/gitlab-rails/env/WHERE"
    variable.parent.mkdir(parents=True, exist_ok=True)
    variable.write_text(str(peer.folder))
    env = {"INVOKE_TOKENS_ROOT": str(tmp_path), "WHERE": "/elsewhere"}
    assert DATES in run_as(git, gitlab_tokens, "analyze", env=env).stdout


@pytest.mark.parametrize("owner", ["root", "somebody else"])
def test_root_takes_no_other_root_from_a_configuration_that_was_named(
    gitlab_tokens: str, tmp_path: Path, git: Account, peer: PeerServer, owner: str
) -> None:
    database_yml = lay_out_omnibus(tmp_path, git, peer)
    ran = tmp_path / "ran"
    text = database_yml.read_text()
    database_yml.write_text(text.replace("production:\n", f"production:\n  config_command: /usr/bin/touch {ran}\n"))
    file = tmp_path / "mine.yaml"
    file.write_text(f"tokens:\n  root: {tmp_path}\n")
    if owner != "root":
        os.chown(file, git.uid, git.gid)
    for words, env in ((("-f", str(file)), {}), ((), {"INVOKE_RUNTIME_CONFIG": str(file)})):
        done = subprocess.run(
            [gitlab_tokens, *words, "analyze"],
            env={"PATH": os.defpath, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3
        assert f"tokens.root in {file} does not count for root" in one_line(done)
    assert not ran.exists()
    # Whoever is no root harms nobody but himself.
    done = run_as(git, gitlab_tokens, "-f", str(file), "analyze")
    assert "does not count" not in done.stderr


def test_nothing_is_quoted_of_a_list_that_root_reads(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    shadow = tmp_path / "shadow"
    shadow.write_text("1\nroot:$y$j9T$s3cr3t:19000:0:\n")
    shadow.chmod(0o600)
    done = as_root("extend", "--expires", "none", "--to", "2030-01-01", "--yes", "--ids", str(shadow))
    assert done.returncode == 2
    assert one_line(done) == f'--ids takes ids of tokens, but line 2 of "{shadow}" has something else.\n'
    (tmp_path / "shadow.yaml").write_text("a: s3cr3t: b\n")
    done = as_root("-f", str(tmp_path / "shadow.yaml"), "analyze")
    assert done.returncode == 2
    assert "is not YAML in line 1" in one_line(done)
    assert "s3cr3t" not in done.stderr


def test_the_tasks_that_follow_in_one_call_are_said_to_run_as_the_gitlab_user(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    done = as_root("analyze", "doctor")
    assert done.returncode == 0
    assert done.stderr == f"NOTE: This process is {git.name} from now on, for the tasks that follow, too: doctor.\n"
    assert as_root("analyze").stderr == ""
    # What cannot be any more is told as such.
    source(tmp_path, NOBODY, host=str(peer.folder), port=peer.port, username="gitlab")
    done = as_root("analyze", "analyze", "--target", "source")
    assert done.returncode == 3
    assert f"An earlier task of this call has become {git.name} for good, and cannot become nobody" in done.stderr


def test_the_packages_own_variables_count_and_database_url_does_not(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    omnibus(tmp_path, git, host="/nowhere")
    variable = tmp_path / "opt/gitlab/etc/gitlab-rails/env/MAIN_DATABASE_URL"
    variable.write_text(f"postgresql://gitlab@localhost/{DATABASE}?host={peer.folder}\n")
    done = as_root("analyze", DATABASE_URL="postgresql://nobody@/nowhere")
    assert DATES in done.stdout
    assert "DATABASE_URL is ignored" in one_line_of_notes(done)


def one_line_of_notes(done: Done) -> str:
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_home_that_is_somebody_elses_does_no_harm(
    gitlab_tokens: str, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    env = {"INVOKE_TOKENS_ROOT": str(tmp_path), "HOME": "/root"}
    done = run_as(git, gitlab_tokens, "analyze", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout


def test_root_is_never_taken_for_the_gitlab_user(as_root: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    (tmp_path / "opt/gitlab/etc/gitlab-rails-rc").write_text("gitlab_user='root'\n")
    done = as_root("analyze")
    assert done.returncode == 3
    assert "GitLab never runs as root" in one_line(done)


def test_a_file_in_roots_name_does_not_keep_root(as_root: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    database_yml = source(tmp_path, git, host=str(peer.folder), port=peer.port, username="gitlab")
    os.chown(database_yml, 0, git.gid)
    assert DATES in as_root("analyze").stdout


def test_a_closed_folder_is_one_line(as_account: Call, tmp_path: Path, git: Account) -> None:
    source(tmp_path, git)
    (tmp_path / "home/git").chmod(0o700)
    done = as_account(NOBODY, "analyze")
    assert done.returncode == 2
    assert "may not be read by this user: run this as root" in one_line(done)


def test_a_value_that_postgresql_cannot_take_is_a_finding(as_root: Call, tmp_path: Path) -> None:
    toolbox(tmp_path, host="/nowhere", username="gitlab", password="s3cr\0t")
    done = as_root("doctor", "--output", "json")
    assert (done.returncode, done.stderr) == (1, "")
    assert "NUL character" in done.stdout
    assert "s3cr" not in done.stdout


def test_erb_is_refused_with_a_word(as_root: Call, tmp_path: Path, git: Account) -> None:
    database_yml = source(tmp_path, git)
    database_yml.write_text("production:\n  main:\n    password: <%= File.read('s3cr3t') %>\n")
    done = as_root("analyze")
    assert done.returncode == 2
    assert "ERB" in one_line(done)
    assert "s3cr3t" not in done.stderr


def test_the_doctor_shows_what_was_found(as_root: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    done = as_root("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[0].startswith("OK   installation            Linux package, GitLab 19.2.1-ee in ")
    assert shown[0].endswith(f", as account {git.name}")
    assert f"gitlab@{peer.folder}:{peer.port}/{DATABASE} as role gitlab, PostgreSQL 18" in done.stdout
    assert "statement_timeout 60000ms" in done.stdout
    assert all(line.startswith("OK ") for line in shown)


@pytest.mark.newest_server
def test_a_pooler_in_front_is_noticed_and_no_hindrance(as_root: Call, tmp_path: Path, pooled: Address) -> None:
    parameters = conninfo_to_dict(pooled.conninfo)
    toolbox(
        tmp_path,
        host=str(parameters["host"]),
        port=str(parameters["port"]),
        database=str(parameters["dbname"]),
        username=str(parameters["user"]),
    )
    done = as_root("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "OK   route                   through a pooler" in done.stdout
    assert as_root("analyze").returncode == 0


def test_the_log_of_the_gitlab_right_here_is_read_with_its_rotated_files(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    folder = tmp_path / "opt/gitlab/embedded/service/gitlab-rails/log"
    folder.mkdir()
    logs.logrotate(folder, logs.written([logs.Use(1, 20)], [date(2026, 2, 16), date(2026, 2, 17)]))
    done = as_root("used", "--output", "csv")
    assert (done.returncode, done.stderr) == (0, "NOTE: 1 line is damaged and not counted.\n")
    assert done.stdout.splitlines()[1].startswith("1,")
    assert ",40,20.0," in done.stdout
    mine = tmp_path / "mine.log"
    logs.plain(mine, logs.written([logs.Use(2, 5)], [date(2026, 2, 16)]).lines).chmod(0o600)
    assert ",5,5.0," in as_root("used", "--log", str(mine), "--output", "csv").stdout


def test_a_path_that_root_types_counts_from_roots_folder(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    (folder := tmp_path / "of git").mkdir()
    os.chown(folder, git.uid, git.gid)
    logs.plain(tmp_path / "mine.log", logs.written([logs.Use(2, 5)], [date(2026, 2, 16)]).lines)
    for words, file in (
        (("report", "--file", "page.html"), "page.html"),
        (("check", "--output", "prometheus", "--file", "./numbers.prom"), "numbers.prom"),
        (("used", "--log", "../mine.log", "--state-file", "state.json"), "state.json"),
    ):
        done = as_root(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert (folder / file).stat().st_uid == git.uid


def test_a_folder_that_is_closed_to_the_gitlab_user_is_said_to_be_so(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    lay_out_omnibus(tmp_path, git, peer)
    (folder := tmp_path / "of root").mkdir(0o700)
    for words in (
        ("report", "--file", "out"),
        ("evidence", "--file", "out"),
        ("check", "--output", "prometheus", "--file", "out"),
    ):
        done = as_root(*words, cwd=folder)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            f'--file "out" cannot be written: Permission denied. Begun as root, this runs as {git.name}, whom '
            f"PostgreSQL knows: name a file in a folder where {git.name} may write → to make one: sudo install -d -o "
            f"{git.name} /var/lib/gitlab-tokens"
        )
    assert list(folder.iterdir()) == []


def test_a_key_that_only_root_may_read_is_refused_before_the_journal_is_read(
    as_root: Call, tmp_path: Path, git: Account, peer: PeerServer
) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    lay_out_omnibus(tmp_path, git, peer)
    key, folder = tmp_path / "key", tmp_path / "of git"
    folder.mkdir()
    os.chown(folder, git.uid, git.gid)
    key.write_text("of root")
    key.chmod(0o600)
    done = as_root("evidence", "--file", "out", "--sign-key", str(key), cwd=folder)
    assert (done.returncode, list(folder.iterdir())) == (3, [])
    assert one_line(done) == (
        f"--sign-key {key} may not be read by {git.name}, as whom this runs although root began it: leave --sign-key "
        f"out → to sign the file then: sudo ssh-keygen -Y sign -n gitlab-tokens-evidence -f {key} out\n"
    )


def test_a_geo_secondary_is_a_warning(as_root: Call, tmp_path: Path, git: Account, peer: PeerServer) -> None:
    database_yml = lay_out_omnibus(tmp_path, git, peer)
    database_yml.write_text(database_yml.read_text() + "  geo:\n    database: gitlabhq_geo_production\n")
    assert "WARN Geo" in as_root("doctor").stdout

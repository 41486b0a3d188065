"""The testbed is what it claims to be: a Docker engine, GitLab-shaped containers, peer authentication, PgBouncer."""

import logging
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.testbed import accounts
from tests.testbed import pgbouncer as pooler
from tests.testbed.accounts import EXTERNAL, PASSWORD, PeerServer, omnibus, run_as, source, system_account
from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.docker import engine as engines
from tests.testbed.docker import image as images
from tests.testbed.docker.engine import Engine, EngineError
from tests.testbed.docker.image import (
    Container,
    build_other,
    closed_container,
    other_container,
    stopped_container,
)
from tests.testbed.folders import public_folder, remove_leftovers
from tests.testbed.pgbouncer import pgbouncer
from tests.testbed.program import INV, call
from tokens.address import Address
from tokens.database.driver import login
from tokens.inventory.analysis import analyze
from tokens.targets.demo.programs import Account

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent
GITLAB_TOKENS = str(Path(sys.executable).parent / "gitlab-tokens")
SOURCE_LABEL = "org.opencontainers.image.source=https://gitlab.com/gitlab-org/omnibus-gitlab"


# Docker


def test_a_programs_exit_status_comes_out_of_a_container(gitlab_container: Container) -> None:
    for status in (0, 3, 130):
        assert gitlab_container.exec("sh", "-c", f"exit {status}").returncode == status


def test_the_container_has_gitlabs_database_for_git_and_for_nobody_else(gitlab_container: Container) -> None:
    statement = "SELECT expires_at, count(*) FROM public.personal_access_tokens GROUP BY 1 ORDER BY 1"
    assert gitlab_container.rows(statement) == ["2024-06-15|3", "2024-12-31|1", "|2"]
    words = ("psql", "-h", images.SOCKETS, "-U", "gitlab", "-d", "gitlabhq_production", "-c", "SELECT 1")
    refused = gitlab_container.exec(*words)
    assert refused.returncode == 2
    assert 'Peer authentication failed for user "gitlab"' in refused.stderr


def test_the_superuser_inside_is_gitlab_psql(gitlab_container: Container) -> None:
    words = ("psql", "-h", images.SOCKETS, "-d", "gitlabhq_production", "-Atc", "SHOW is_superuser")
    assert gitlab_container.exec(*words, user="gitlab-psql").stdout == "on\n"


def test_root_becomes_git_with_runits_chpst(gitlab_container: Container) -> None:
    chpst = "/opt/gitlab/embedded/bin/chpst"
    if gitlab_container.exec("test", "-x", chpst).returncode != 0:
        pytest.skip("there is no chpst here (from Debian's runit)")
    words = (chpst, "-e", "/opt/gitlab/etc/gitlab-rails/env", "-u", "git:git")
    assert gitlab_container.exec(*words, "sh", "-c", "id -un; echo $HOME").stdout == "git\n/var/opt/gitlab\n"


def test_the_container_says_what_it_is(docker_engine: Engine, gitlab_container: Container) -> None:
    rails = "/opt/gitlab/embedded/service/gitlab-rails"
    assert gitlab_container.exec("cat", f"{rails}/INSTALLATION_TYPE", f"{rails}/VERSION").stdout == (
        "gitlab-docker\n19.2.1-ee\n"
    )
    read = ("cat", f"{rails}/config/database.yml")
    assert gitlab_container.exec(*read, user="nobody").returncode == 1
    assert yaml.safe_load(gitlab_container.exec(*read, user="git").stdout)["production"]["main"]["username"] == "gitlab"
    with other_container(docker_engine, "other"):
        listed = docker_engine.docker("ps", "--filter", f"label={SOURCE_LABEL}", "--format", "{{.Names}}")
    assert "gitlab" in listed.stdout.split()
    assert "other" not in listed.stdout.split()


def test_another_container_has_no_gitlab(docker_engine: Engine) -> None:
    with other_container(docker_engine, "other") as other:
        assert other.exec("test", "-e", "/opt/gitlab").returncode == 1


def test_a_closed_container_is_written_in_gitlabs_folders_only(docker_engine: Engine) -> None:
    with closed_container(docker_engine, "closed") as closed:
        assert closed.rows("SELECT count(*) FROM public.personal_access_tokens") == ["6"]
        assert "Read-only file system" in closed.exec("touch", "/new").stderr
        assert closed.exec("sh", "-c", "cp /bin/true /tmp && /tmp/true").returncode == 126
        assert closed.exec("sh", "-c", "cp /bin/true /var/opt/gitlab && /var/opt/gitlab/true").returncode == 0


def test_a_stopped_container_takes_no_commands(docker_engine: Engine) -> None:
    with stopped_container(docker_engine, "stopped") as stopped:
        done = stopped.exec("true")
        assert done.returncode == 1
        assert "is not running" in done.stderr
        listed = docker_engine.docker("ps", "--all", "--filter", "name=stopped", "--format", "{{.Status}}")
        assert listed.stdout.startswith("Exited (0)")


def test_a_container_is_gone_after_a_failed_test(docker_engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), other_container(docker_engine, "other"):
        print(1 / 0)
    assert docker_engine.docker("ps", "--all", "--filter", "name=other", "--quiet").stdout == ""


def test_a_command_that_fails_in_the_engine_is_an_error(docker_engine: Engine) -> None:
    with pytest.raises(EngineError, match="No such container"):
        docker_engine.docker("start", "nothing-of-this-name")


@pytest.mark.docker
def test_an_engine_leaves_nothing_behind_not_even_with_a_container_running() -> None:
    if reason := engines.missing() or images.missing():
        pytest.skip(reason)
    with Engine() as engine:
        folder = engine.socket.parent
        build_other(engine)
        engine.docker("run", "--detach", *images.RUN, images.OTHER_IMAGE)
        assert processes_about(folder)
    assert traces(folder) == []


ABANDON = """
import os, signal
from tests.testbed.docker.engine import Engine
from tests.testbed.docker.image import OTHER_IMAGE, RUN, build_other
with Engine() as engine:
    build_other(engine)
    engine.docker("run", "--detach", *RUN, OTHER_IMAGE)
    print(engine.socket.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.docker
def test_what_a_killed_run_leaves_behind_the_next_engine_removes() -> None:
    if reason := engines.missing() or images.missing():
        pytest.skip(reason)
    done = subprocess.run([sys.executable, "-c", ABANDON], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.exists()
    with Engine():
        assert traces(folder) == []


def traces(folder: Path) -> list[str]:
    """What is left of an engine: processes, mounts, control groups, its folder."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if folder.name in line]
    groups = [group for group, _, _ in os.walk("/sys/fs/cgroup") if folder.name in group]
    return processes_about(folder) + mounts + groups + ([str(folder)] if folder.exists() else [])


def processes_about(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if folder.name in words:
            found.append(words)
    return found


# Accounts and peer authentication


def ask(account: Account, server: PeerServer, role: str) -> subprocess.CompletedProcess[str]:
    words = ("-h", str(server.folder), "-p", str(server.port), "-U", role, "-d", accounts.DATABASE)
    return run_as(account, "psql", "-X", *words, "-Atc", "SELECT current_user")


def test_peer_authentication_lets_git_in_as_gitlab(git: Account, peer: PeerServer) -> None:
    done = ask(git, peer, "gitlab")
    assert (done.stdout, done.returncode) == ("gitlab\n", 0)
    assert f'role "{git.name}" does not exist' in ask(git, peer, git.name).stderr


def test_peer_authentication_refuses_root_and_everybody_else_as_gitlab(peer: PeerServer) -> None:
    for account in (Account("root", 0, 0), Account("nobody", 65534, 65534)):
        assert 'Peer authentication failed for user "gitlab"' in ask(account, peer, "gitlab").stderr
    with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
        login(peer.address())


def test_root_fills_the_tables_as_the_superuser(peer: PeerServer) -> None:
    assert [count.tokens for count in analyze(peer.address("postgres")).dates] == [3, 2, 1]


def test_a_role_with_a_password_is_let_in_with_it_only(peer: PeerServer) -> None:
    assert len(analyze(peer.address(EXTERNAL, PASSWORD)).dates) == 3
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        login(peer.address(EXTERNAL, "another"))


def test_an_account_is_removed_when_nobody_needs_it_any_more(git: Account) -> None:
    with system_account() as again:
        assert again == git
    assert known(git.name)
    with system_account("gltest-short") as short:
        assert run_as(short, "id", "-un").stdout == "gltest-short\n"
    assert not known("gltest-short")


def test_no_account_is_touched_that_is_not_the_tests(git: Account) -> None:
    with pytest.raises(ValueError, match="real account"), system_account("git"):
        pass


def known(name: str) -> bool:
    return run_as(Account("root", 0, 0), "getent", "passwd", name).returncode == 0


def test_a_linux_package_shows_its_database_yml_to_root_and_git_only(git: Account, folder: Path) -> None:
    file = omnibus(folder, git, host="/run/somewhere", password='with "quotes"')
    link = folder / "opt/gitlab/embedded/service/gitlab-rails/config/database.yml"
    assert link.resolve() == file.resolve()
    assert modes(file) == (0o640, 0, git.gid)
    assert modes(file.parent) == (0o700, git.uid, 0)
    main = yaml.safe_load(run_as(git, "cat", str(link)).stdout)["production"]["main"]
    assert (main["host"], main["port"], main["password"]) == ("/run/somewhere", 5432, 'with "quotes"')
    refused = run_as(Account("nobody", 65534, 65534), "cat", str(link))
    assert "Permission denied" in refused.stderr
    script = f". {folder}/opt/gitlab/etc/gitlab-rails-rc; echo $gitlab_user"
    assert run_as(Account("nobody", 65534, 65534), "sh", "-c", script).stdout == f"{git.name}\n"


def test_an_installation_from_source_belongs_to_git_and_names_no_host(git: Account, folder: Path) -> None:
    file = source(folder, git)
    assert modes(file) == (0o640, git.uid, git.gid)
    main = yaml.safe_load(run_as(git, "cat", str(file)).stdout)["production"]["main"]
    assert main == {"adapter": "postgresql", "encoding": "unicode", "database": "gitlabhq_production"}
    assert "Permission denied" in run_as(Account("nobody", 65534, 65534), "cat", str(file)).stderr


def modes(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


# PgBouncer


@pytest.mark.newest_server
def test_a_pooler_is_in_between(pooled: Address, gitlab_database: Address) -> None:
    for address, direct in ((gitlab_database, True), (pooled, False)):
        with login(address) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            assert (row[0] == connection.info.backend_pid) is direct


@pytest.mark.newest_server
def test_the_pooler_takes_no_options_at_login(pooled: Address) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(pooled.conninfo, options="-c statement_timeout=0")


@pytest.mark.newest_server
def test_a_session_setting_leaks_to_the_next_client_and_a_local_one_does_not(pooled: Address) -> None:
    with login(pooled, autocommit=True) as one, login(pooled, autocommit=True) as other:
        with one.transaction():
            one.execute("SET LOCAL statement_timeout = '7s'")
        assert setting(other) == "0"
        one.execute("SET statement_timeout = '7s'")
        assert setting(other) == "7s"


@pytest.mark.newest_server
def test_analyze_leaves_nothing_in_a_session_that_it_shares(pooled: Address) -> None:
    with login(pooled, autocommit=True) as other:
        before = settings(other)
        analyze(pooled)
        assert settings(other) == before


@pytest.mark.newest_server
def test_analyze_is_the_same_through_the_pooler(pooled: Address, gitlab_database: Address) -> None:
    shown = [
        subprocess.run(
            [GITLAB_TOKENS, "analyze", "--target", url(address)], capture_output=True, text=True, check=False
        )
        for address in (gitlab_database, pooled)
    ]
    assert [done.returncode for done in shown] == [0, 0]
    assert shown[0].stdout == shown[1].stdout
    assert re.search("Expiration Dates", shown[0].stdout)


@pytest.mark.newest_server
def test_a_pooler_leaves_nothing_behind(gitlab_database: Address) -> None:
    if reason := pooler.missing():
        pytest.skip(reason)
    with pgbouncer(gitlab_database) as through:
        folder = Path(str(psycopg.conninfo.conninfo_to_dict(through.conninfo)["host"]))
        assert folder.is_relative_to(tempfile.gettempdir())
        assert processes_about(folder)
    assert not folder.exists()
    assert processes_about(folder) == []


def setting(connection: psycopg.Connection) -> str:
    row = connection.execute("SHOW statement_timeout").fetchone()
    assert row is not None
    return str(row[0])


def settings(connection: psycopg.Connection) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = connection.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall()
    return shown


# Folders and commands


LEFT_BEHIND = """
import os, signal
from tests.testbed.folders import public_folder
from tokens.targets.demo.embedded import Server
with public_folder() as folder:
    server = Server(folder / "pg", settings={"fsync": "off"})
    server.start()
    print(folder, (server.folder / "data/postmaster.pid").read_text().split()[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_runs_servers_end_and_their_memory_is_free_again_when_the_next_run_begins() -> None:
    done = call(sys.executable, "-c", LEFT_BEHIND)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder, server = done.stdout.split()
    assert Path(folder).exists()
    assert Path("/proc", server, "cwd").exists()
    with public_folder() as in_use:
        remove_leftovers()
        assert in_use.exists()
    assert not Path(folder).exists()
    assert not Path("/proc", server, "cwd").exists()


def test_a_command_in_this_process_answers_as_one_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("tokens: {taget: x}\n")
    variables = {"HOME": str(tmp_path), "INVOKE_TOKENS_TARGET": "postgresql://u@127.0.0.1:1/x"}
    before = state_of_this_process()
    for _ in range(2):
        for words in (
            (GITLAB_TOKENS, "--help", "extend"),
            (GITLAB_TOKENS, "--version"),
            (GITLAB_TOKENS, "analyze", "--output", "json"),
            (GITLAB_TOKENS, "--debug", "analyze", "--top", "0"),
            (GITLAB_TOKENS, "nonsense"),
            (INV, "--list"),
            (INV, "tokens.analyze"),
            (INV, "tokens.analyze", "--nonsense"),
        ):
            here, own = (run(*words, env=variables, cwd=CHECKOUT) for run in (call_here, call))
            assert here.returncode == own.returncode, words
            if "--debug" not in words:  # its log names objects by where they lie
                # Each has its own moment in which it was made.
                out = [re.sub(r'"made_at": "[^"]*"', '"made_at": ""', one.stdout) for one in (here, own)]
                assert (out[0], here.stderr) == (out[1], own.stderr)
            assert [line for line in own.stderr.splitlines() if "Traceback" in line] == [
                line for line in here.stderr.splitlines() if "Traceback" in line
            ]
            assert state_of_this_process() == before


def state_of_this_process() -> object:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    streams = [(os.fstat(number).st_dev, os.fstat(number).st_ino) for number in range(3)]
    log = logging.getLogger()
    return (
        dict(os.environ),
        os.getcwd(),
        list(sys.path),
        sys.modules.get("tasks"),
        (sys.stdin, sys.stdout, sys.stderr),
        streams,
        handlers,
        (log.level, list(log.handlers)),
        len(os.listdir("/proc/self/fd")),
    )

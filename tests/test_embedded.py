"""The embedded server: what it promises to whoever starts it, kills it or gives it a bad place."""

import contextlib
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import psycopg
import pytest

import tokens
from tests.testbed.folders import CLOSED_CHECKOUT
from tests.testbed.servers import prepare
from tokens.errors import ServerError
from tokens.targets.demo import programs
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import packaged_binaries

SETTINGS = {"fsync": "off"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs under another account only for root")


@pytest.fixture
def own(folder: Path) -> Iterator[Server]:
    """A server of the test's own that does not exist yet."""
    server = Server(folder / "pg", settings=SETTINGS)
    yield server
    server.remove()


@pytest.fixture
def made(own: Server) -> Server:
    """The same with its data folder, for tests that are not about how it is made."""
    return prepare(own)


def query(server: Server, statement: str) -> str:
    with psycopg.connect(server.address("postgres").conninfo) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return str(row[0])


def postmaster(server: Server) -> int:
    return int((server.folder / "data" / "postmaster.pid").read_text().split("\n")[0])


def in_another_process(
    program: str, folder: Path, *, interpreter: str = sys.executable, **options: object
) -> "subprocess.Popen[str]":
    source = f"""
        import sys
        from pathlib import Path
        from tokens.targets.demo.embedded import Server
        server = Server(Path(sys.argv[1]), settings={SETTINGS!r})
    """
    code = textwrap.dedent(source) + textwrap.dedent(program)
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [interpreter, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, **options
    )


def copy_of_the_programs(place: Path) -> Path:
    """The folder of programs in a copy of what is installed, as readable as `place`."""
    installed = packaged_binaries(18).parent
    package = installed.parent
    unneeded = shutil.ignore_patterns("*.a", "include", "pg_*dump*", "psql")
    shutil.copytree(installed, place / package.name / installed.name, ignore=unneeded, symlinks=True)
    shutil.copytree(package.parent / f"{package.name}.libs", place / f"{package.name}.libs", symlinks=True)
    return place / package.name / installed.name / "bin"


def as_an_ordinary_user(program: str, folder: Path) -> "subprocess.Popen[str]":
    """in_another_process, for the account `daemon`, with an interpreter that it may run."""
    account = pwd.getpwnam("daemon")
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    places = [Path(tokens.__file__).parent.parent, packaged_binaries().parent.parent.parent]
    identity["env"] = {"PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}
    for interpreter in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            probe = [interpreter, "-c", "import tokens.targets.demo.programs as e; e.packaged_binaries()"]
            if subprocess.run(probe, capture_output=True, cwd="/", **identity).returncode == 0:  # type: ignore[call-overload]
                return in_another_process(program, folder, interpreter=interpreter, cwd="/", **identity)
    pytest.skip(CLOSED_CHECKOUT)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_server_is_created_started_stopped_and_started_again_with_its_data(own: Server) -> None:
    assert not own.exists
    assert not own.running()
    assert own.start()
    assert own.exists
    with psycopg.connect(own.address("postgres").conninfo) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'kept'::text AS word")
    assert own.stop()
    assert not own.running()
    assert not own.stop()
    assert own.start()
    assert query(own, "SELECT word FROM kept") == "kept"


def test_a_second_start_attaches_to_the_running_server(made: Server) -> None:
    made.start()
    process = postmaster(made)
    assert not Server(made.folder).start()
    assert postmaster(made) == process


def test_it_is_utf8_with_the_c_locale_and_utc_and_listens_on_no_port(own: Server) -> None:
    own.start()
    assert query(own, "SHOW server_encoding") == "UTF8"
    assert query(own, "SELECT datcollate FROM pg_database WHERE datname = 'postgres'") == "C"
    assert query(own, "SHOW TimeZone") == "UTC"
    assert query(own, "SHOW listen_addresses") == ""
    assert (own.folder / "socket").stat().st_mode & 0o777 == 0o700


def test_it_runs_the_release_and_the_settings_that_were_asked_for(folder: Path) -> None:
    server = Server(folder / "pg", binaries=packaged_binaries(16), settings={"fsync": "off", "work_mem": "17MB"})
    try:
        server.start()
        assert query(server, "SHOW server_version").startswith("16.")
        assert query(server, "SHOW work_mem") == "17MB"
    finally:
        server.remove()


def test_a_login_is_answered_only_for_a_database_and_a_role_that_exist(made: Server) -> None:
    assert not made.answers()
    made.start()
    assert made.answers()
    assert not made.answers("gitlabhq_production")
    assert not made.answers("postgres", "nobody_by_that_name")


def test_a_folder_with_blanks_and_quotes_works(folder: Path) -> None:
    installed = copy_of_the_programs(folder / "programs")  # so that every account can read them
    server = Server(folder / "a 'quoted' \"$HOME\" `folder`", binaries=installed, settings=SETTINGS)
    try:
        server.start()
        assert query(server, "SELECT 1") == "1"
        assert server.stop()
    finally:
        server.remove()


def test_programs_whose_path_a_shell_would_misread_are_one_line(folder: Path) -> None:
    installed = copy_of_the_programs(folder / "$HOME")
    with pytest.raises(ServerError, match=r"^The path of PostgreSQL's programs, [^\n]*\$HOME[^\n]* \(\$\)[^\n]*$"):
        Server(folder / "pg", binaries=installed).start()


@as_root
def test_programs_are_not_copied_to_a_path_that_a_shell_would_misread(folder: Path) -> None:
    (folder / "private").mkdir(mode=0o700)
    installed = copy_of_the_programs(folder / "private" / "programs")
    server = Server(folder / "`folder`", binaries=installed)
    with pytest.raises(ServerError, match=r"^[^\n]*`folder`/binaries/[^\n]* a shell reads as its own \(`\)[^\n]*$"):
        server.start()
    assert [path.name for path in server.folder.iterdir()] == ["lock"]


def test_removing_a_server_leaves_nothing(own: Server) -> None:
    own.start()
    own.remove()
    assert not own.folder.exists()
    own.remove()


def test_removing_a_server_leaves_other_files_in_its_folder(own: Server) -> None:
    own.start()
    (own.folder / "note").write_text("mine")
    own.remove()
    assert [path.name for path in own.folder.iterdir()] == ["note"]
    (own.folder / "note").unlink()


def test_a_server_killed_with_all_its_connections_open_starts_again(made: Server) -> None:
    made.start()
    with psycopg.connect(made.address("postgres").conninfo) as connection:
        connection.execute("SELECT 1")
        os.kill(postmaster(made), signal.SIGKILL)
        assert made.start()
        connection.close()
    assert query(made, "SELECT 1") == "1"


def test_a_start_waits_for_a_server_that_is_on_its_way_out(made: Server) -> None:
    made.start()
    with psycopg.connect(made.address("postgres").conninfo) as connection, ThreadPoolExecutor(1) as pool:
        os.kill(postmaster(made), signal.SIGTERM)  # which lets open connections end
        assert eventually(lambda: not made.answers())
        start = pool.submit(made.start)
        with pytest.raises(FutureTimeout):
            start.result(timeout=0.2)
        connection.close()
        assert start.result()
    assert query(made, "SELECT 1") == "1"


def test_a_process_id_that_now_belongs_to_somebody_else_does_not_stop_a_start(made: Server) -> None:
    made.start()
    left_behind = (made.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[1]
    made.stop()
    (made.folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{left_behind}")
    assert not made.stop()
    assert made.start()


@pytest.mark.slow
def test_a_start_that_was_killed_during_initdb_is_made_again(own: Server) -> None:
    with in_another_process("server.start()", own.folder, start_new_session=True) as starter:
        assert eventually(lambda: any(own.folder.glob("data.new.*/base")))
        starter.kill()
    assert own.start()
    assert query(own, "SELECT 1") == "1"


@pytest.mark.slow
def test_of_many_starters_at_once_one_starts_and_all_can_connect(own: Server) -> None:
    program = "print(server.start(), server.answers())"
    starters = [in_another_process(program, own.folder) for _ in range(5)]
    said = sorted(starter.communicate(timeout=60)[0].strip() for starter in starters)
    assert said == ["False True"] * 4 + ["True True"]


def test_the_server_keeps_no_pipe_of_its_starter_open(own: Server) -> None:
    starter = in_another_process("print(server.start())", own.folder, stderr=subprocess.STDOUT)
    # Ends only when every process that holds the pipe has closed it.
    assert starter.communicate(timeout=60)[0] == "True\n"
    assert own.answers()


def test_ctrl_c_in_the_terminal_of_the_starter_does_not_reach_the_server(made: Server) -> None:
    program = "server.start(); print('up', flush=True); sys.stdin.read()"
    starter = in_another_process(program, made.folder, stdin=subprocess.PIPE, process_group=0)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    assert os.getsid(postmaster(made)) != os.getsid(starter.pid)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.communicate()
    assert made.answers()


def test_asking_whether_it_runs_imports_no_driver(made: Server) -> None:
    made.start()
    program = "assert server.running(); print(*{'psycopg', 'sqlalchemy', 'psutil', 'alembic'} & set(sys.modules))"
    assert in_another_process(program, made.folder).communicate(timeout=60)[0].strip() == ""


def test_variables_of_the_caller_mislead_nobody(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "PGDATA": "/nowhere",
        "PGPORT": "1",
        "PGOPTIONS": "-c nonsense=1",
        "LC_ALL": "xx_YY",
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "nosuch",
        "PGSSLMODE": "bogus",
        "PGREQUIREPEER": "nobody-else",
        "PGCLIENTENCODING": "bogus",
        "PGTARGETSESSIONATTRS": "standby",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert own.start()
    assert own.answers()
    assert {name: os.environ[name] for name in variables} == variables
    assert own.stop()


def test_a_missing_package_is_one_line_that_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"^[^\n]*pip install 'invoke-gitlab-tokens\[demo\]'[^\n]*$"):
        Server(folder / "pg").start()


def test_a_release_that_the_package_does_not_have_is_refused() -> None:
    with pytest.raises(ServerError, match=r"no release 9"):
        packaged_binaries(9)


def test_a_folder_without_programs_is_refused(folder: Path) -> None:
    (folder / "bin").mkdir()
    with pytest.raises(ServerError, match=r"^There is no initdb in .*/bin"):
        Server(folder / "pg", binaries=folder / "bin").start()


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path) -> None:
    (folder / "letter").write_text("dear")
    with pytest.raises(ServerError, match="holds something else"):
        Server(folder).start()
    assert [path.name for path in folder.iterdir()] == ["letter"]


def test_a_folder_that_another_opener_locks_at_this_moment_is_its_own(folder: Path) -> None:
    def lock_and_remove() -> None:
        for _ in range(3000):
            (folder / "lock").touch()
            (folder / "lock").unlink()

    server = Server(folder)
    with ThreadPoolExecutor() as pool:
        other = pool.submit(lock_and_remove)
        while not other.done():
            server.check_own()
        other.result()


def test_a_path_too_long_for_a_socket_is_said_in_one_line(folder: Path) -> None:
    server = Server(folder / ("long" * 30))
    with pytest.raises(ServerError, match=r"^[^\n]*too long a path for a Unix socket[^\n]*$"):
        server.start()
    assert not server.running()
    assert not server.folder.exists()


def test_a_comma_in_the_path_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(ServerError, match=r"^[^\n]*comma[^\n]*$"):
        Server(folder / "one,two").start()


def test_what_the_server_does_not_like_is_quoted_from_its_log(folder: Path) -> None:
    server = Server(folder / "pg", settings={"fsync": "off", "shared_buffers": "plenty"})
    with pytest.raises(ServerError, match=r"^[^\n]*does not start: [^\n]*shared_buffers[^\n]*$"):
        server.start()
    server.remove()


def test_data_of_another_release_is_refused(own: Server) -> None:
    own.start()
    own.stop()
    with pytest.raises(ServerError, match=r"made by PostgreSQL 18, the programs are 16"):
        Server(own.folder, binaries=packaged_binaries(16)).start()


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing_half_made(own: Server) -> None:
    program = """
        import resource
        from tokens.errors import ServerError
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            server.start()
        except ServerError as error:
            print(error)
    """
    said = in_another_process(program, own.folder).communicate(timeout=60)[0]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert said.startswith(f"The server in {own.folder} cannot be created: ")
    assert said.count("\n") == 1
    assert not own.exists
    assert own.start()


@pytest.mark.slow
@as_root
def test_a_disk_that_takes_no_copy_of_the_programs_is_one_line_and_keeps_none(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    program = f"""
        import resource
        from tokens.errors import ServerError
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            Server(server.folder, binaries=Path({str(copy_of_the_programs(private))!r})).start()
        except ServerError as error:
            print(error)
    """
    said = in_another_process(program, folder / "pg").communicate(timeout=60)[0]
    assert said.startswith(f"The server in {folder / 'pg'} cannot be created: File too large: ")
    assert said.count("\n") == 1
    assert [path.name for path in (folder / "pg").iterdir()] == ["lock"]


@as_root
def test_under_root_the_server_runs_as_an_unprivileged_account_that_owns_its_data(own: Server) -> None:
    own.start()
    account = pwd.getpwnam(programs.ACCOUNT)
    assert os.stat(f"/proc/{postmaster(own)}").st_uid == account.pw_uid
    assert (own.folder / "data").stat().st_uid == account.pw_uid
    assert (own.folder / "data").stat().st_mode & 0o777 == 0o700
    assert own.folder.stat().st_uid == 0
    assert own.folder.stat().st_mode & 0o777 == 0o711


@as_root
def test_under_root_with_a_strict_umask_new_parents_can_be_entered(folder: Path) -> None:
    server = Server(folder / "state" / "demo", settings=SETTINGS)
    before = os.umask(0o077)
    try:
        assert server.start()
    finally:
        os.umask(before)
        server.remove()


@pytest.mark.slow
@as_root
def test_programs_that_the_account_cannot_read_are_copied_once(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    installed = copy_of_the_programs(private)
    server = Server(folder / "pg", binaries=installed, settings=SETTINGS)
    try:
        assert server.start()
        copy = server.folder / "binaries" / installed.relative_to(private) / "postgres"
        assert os.path.samefile(os.readlink(f"/proc/{postmaster(server)}/exe"), copy)
        made = copy.stat()
        assert server.stop()
        assert server.start()
        assert copy.stat().st_ino == made.st_ino
        assert private.stat().st_mode & 0o777 == 0o700
    finally:
        server.remove()
    assert not server.folder.exists()


@as_root
def test_a_folder_below_one_that_the_account_cannot_enter_is_refused_and_nothing_is_opened(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ServerError, match=rf"^[^\n]*cannot enter {private};[^\n]*$"):
        Server(private / "below" / "pg").start()
    assert private.stat().st_mode & 0o777 == 0o700


@as_root
def test_without_an_unprivileged_account_root_is_told_to_start_it_as_somebody_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "ACCOUNT", "no_such_account")
    with pytest.raises(ServerError, match=r"no account no_such_account"):
        Server(folder / "pg").start()


@as_root
def test_an_ordinary_user_starts_a_server_under_the_own_name_and_root_may_attach(folder: Path) -> None:
    account = pwd.getpwnam("daemon")
    home = folder / "home"
    home.mkdir(mode=0o755)
    os.chown(home, account.pw_uid, account.pw_gid)
    server = Server(home / "pg")
    starter = as_an_ordinary_user("print(server.start(), server.answers())", server.folder)
    try:
        assert starter.communicate(timeout=60)[0] == "True True\n"
        assert os.stat(f"/proc/{postmaster(server)}").st_uid == account.pw_uid
        assert server.folder.stat().st_mode & 0o777 == 0o700
        assert not server.start()
    finally:
        as_an_ordinary_user("server.remove()", server.folder).communicate(timeout=60)
    assert not server.folder.exists()


@as_root
def test_a_server_of_another_account_is_one_line(made: Server) -> None:
    made.start()
    program = """
        from tokens.errors import ServerError
        try:
            server.start()
        except ServerError as error:
            print(error)
    """
    said = as_an_ordinary_user(program, made.folder)
    assert said.communicate(timeout=60)[0] == f"The server in {made.folder} belongs to another account.\n"

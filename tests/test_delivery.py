"""A new token is handed over: what each destination gets, what it refuses beforehand, and that nothing else sees it."""

import io
import os
import re
import secrets
import select
import signal
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

import pytest

from tests.testbed.program import CHECKOUT
from tests.testbed.screen import Program
from tokens.delivery import command as commands
from tokens.delivery import output, processes
from tokens.delivery.descriptor import unread
from tokens.delivery.destination import DeliveryFailed, NewToken, path_part
from tokens.delivery.option import parse_delivery
from tokens.delivery.processes import still_running
from tokens.errors import Refused, TokensError, UsageError
from tokens.secret import Secret

PLAIN = "glpat-s3cr3t_s3cr3t-s3cr3t"
TOKEN = Secret(PLAIN)
NEW = NewToken("inventory", "Architecture - Inventory", 7, ("api", "read_user"), 8, "2027-11-22", 5)
OTHER = replace(NEW, account="scanner", old_id=9, id=None)

HAND_OVER = f"""
import sys
from tokens.delivery.destination import DeliveryFailed, NewToken
from tokens.delivery.option import parse_delivery
from tokens.secret import Secret
about = NewToken("inventory", "Inven\\x1b[2Jtory", 7, ("api",), 8, None)
delivery = parse_delivery("stdout", force=False, output=sys.stdout, errors=sys.stderr)
delivery.check([about])
try:
    delivery.deliver(Secret("{PLAIN}"), about)
except DeliveryFailed as error:
    sys.exit(f"failed: {{error}}")
"""

# What `rotate` does with a delivery command; its own command line does not hold the token in one piece.
ROTATE = """
import sys, threading
from pathlib import Path
from tokens.delivery.command import run_command
from tokens.delivery.destination import NewToken
from tokens.secret import Secret
from tokens.terminal.interruption import stop_requests
about = NewToken("inventory", "Inventory", 7, ("api",), 8, None, int(sys.argv[3]))
def tell():
    while not stop.made():
        threading.Event().wait(0.01)
    Path(sys.argv[2], "noted").open("w").write("noted")
with stop_requests() as stop:
    threading.Thread(target=tell, daemon=True).start()
    try:
        token = Secret("_s3cr3t-".join(["glpat-s3cr3t", "s3cr3t"]))
        fault = run_command(sys.argv[1], about.variables, token, errors=sys.stderr)
    except KeyboardInterrupt:
        fault = "killed"
Path(sys.argv[2], "end").write_text(f"{fault}, {stop.by and stop.by.name}")
"""
DEADLINE = 60.0  # seconds; a busy machine is no fault


def run_command(command: str, variables: Mapping[str, str], token: Secret | None = None) -> str | None:
    return commands.run_command(command, variables, token, errors=sys.stderr)


def deliver(destination: str, *, force: bool = False, token: Secret = TOKEN, about: NewToken = NEW) -> None:
    delivery = parse_delivery(destination, force=force, output=None, errors=sys.stderr)
    delivery.check([about])
    delivery.deliver(token, about)


def refusal(kind: type[TokensError], action: Callable[[], object]) -> str:
    """The message, once it is sure that it is one line and that not even a traceback with variables has the token."""
    with pytest.raises(kind) as refused:
        action()
    shown, error = "", refused.value
    seen: BaseException | None = error
    while seen is not None:
        shown += "".join(traceback.TracebackException.from_exception(seen, capture_locals=True).format())
        seen = seen.__context__
    message = str(error)
    assert "\n" not in message
    assert PLAIN not in shown.replace(f"PLAIN = {PLAIN!r}", "")
    return message


class Scene:
    """A delivery command whose processes a test can wait for, hold up, and see the end of.

    `command` stores the token as `token`, but half way, when it has it as `part`, a process two levels below the shell
    waits for `go`. Whatever it starts holds the pipe `life` open. `run` is a number that no other test has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = secrets.randbelow(2**31)
        self.about = replace(NEW, run=self.run)
        for name in ("life", "opened", "never", "noted"):
            os.mkfifo(folder / name)
        self._life = os.open(folder / "life", os.O_RDONLY | os.O_NONBLOCK)
        self._noted = os.open(folder / "noted", os.O_RDONLY | os.O_NONBLOCK)
        self._opened = os.open(folder / "opened", os.O_RDWR)
        self._never = os.open(folder / "never", os.O_RDWR)  # with its end ends whatever a test that fails has left
        (folder / "store").write_text("cat > part; echo here >&9; read go < opened; mv part token; :")
        self.command = f"cd {folder}; exec 9> life; sh -c 'sh store; :'; echo done >&9"

    def close(self) -> None:
        for descriptor in (self._life, self._noted, self._opened, self._never):
            os.close(descriptor)

    def start(self, command: str | None = None) -> "subprocess.Popen[bytes]":
        """`rotate` with the command, a process group of its own."""
        return subprocess.Popen(self.words(command), start_new_session=True, stdin=subprocess.DEVNULL)

    def words(self, command: str | None = None) -> list[str]:
        return [sys.executable, "-c", ROTATE, command or self.command, str(self.folder), str(self.run)]

    def wait_for(self, *lines: str) -> None:
        """Until the command's processes have said these lines, in any order; none for the end of all of them."""
        said = ""
        while sorted(said.split()) != sorted(lines) or not lines:
            assert select.select([self._life], [], [], DEADLINE)[0], f"{said!r} instead of {lines}"
            read = os.read(self._life, 100).decode()
            if not read:
                assert not lines, f"{said!r} instead of {lines}"
                return
            said += read

    def wait_until_noted(self) -> None:
        """Until `rotate` has noted a first signal."""
        assert select.select([self._noted], [], [], DEADLINE)[0]

    def go(self) -> None:
        """Let the command go on."""
        os.write(self._opened, b"go\n")

    def found(self) -> int | None:
        """The first of the processes that the command is told by."""
        return next(iter(still_running(self.run, 7)), None)

    @property
    def end(self) -> str:
        """How the command failed, and which signal was noted, as `rotate` has seen it."""
        return (self.folder / "end").read_text()

    @property
    def stored(self) -> dict[str, str]:
        """The files that hold something else than the scene's own."""
        own = ("store", "end", "life", "opened", "never", "noted")
        return {path.name: path.read_text() for path in self.folder.iterdir() if path.name not in own}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_file_holds_exactly_the_token_for_its_owner_alone_and_leaves_nothing_beside_it(
    tmp_path: Path, mask: int
) -> None:
    with umask(mask):
        deliver(f"file:{tmp_path}/token")
    assert (tmp_path / "token").read_bytes() == PLAIN.encode()
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["token"]


def test_what_is_there_is_replaced_with_force_alone_and_never_through_a_link(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "token", tmp_path / "elsewhere"
    path.write_text("old")
    path.chmod(0o644)
    assert "use --force" in refusal(Refused, lambda: deliver(f"file:{path}"))
    assert path.read_text() == "old"
    deliver(f"file:{path}", force=True)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (PLAIN, 0o600)
    elsewhere.write_text("mine")
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "folder", "pipe"):
        for force in (False, True):
            assert "is no file" in refusal(Refused, partial(deliver, f"file:{tmp_path}/{name}", force=force))
    assert elsewhere.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "elsewhere", "folder", "link", "pipe", "token"]


def test_a_file_that_comes_to_be_after_the_check_is_not_overwritten(tmp_path: Path) -> None:
    delivery = parse_delivery(f"file:{tmp_path}/token", force=False, output=None, errors=sys.stderr)
    delivery.check([NEW])
    assert os.listdir(tmp_path) == []
    (tmp_path / "token").write_text("faster")
    assert "not overwritten" in refusal(DeliveryFailed, lambda: delivery.deliver(TOKEN, NEW))
    assert (tmp_path / "token").read_text() == "faster"
    assert os.listdir(tmp_path) == ["token"]


def test_a_file_system_without_hard_links_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    delivery = parse_delivery(f"file:{tmp_path}/token", force=False, output=None, errors=sys.stderr)
    delivery.deliver(TOKEN, NEW)
    assert (tmp_path / "token").read_text() == PLAIN
    refusal(DeliveryFailed, lambda: delivery.deliver(TOKEN, NEW))
    assert os.listdir(tmp_path) == ["token"]


def test_a_folder_that_takes_no_file_is_refused_before_a_token_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "No such file or directory" in refusal(Refused, lambda: deliver(f"file:{tmp_path}/gone/token"))
    assert "cannot be looked at" in refusal(Refused, lambda: deliver(f"file:{tmp_path}/file/token"))
    assert "No file can be made in /proc" in refusal(Refused, lambda: deliver("file:/proc/token"))


def test_a_full_disk_fails_the_delivery_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    assert "No space left" in refusal(DeliveryFailed, lambda: deliver(f"file:{tmp_path}/token"))
    assert os.listdir(tmp_path) == []


def test_several_tokens_have_files_of_their_own_or_are_refused(tmp_path: Path) -> None:
    def check(pattern: str, *tokens: NewToken) -> None:
        parse_delivery(f"file:{tmp_path}/{pattern}", force=False, output=None, errors=sys.stderr).check(tokens)

    check("{account}", NEW, OTHER)
    check("{account}-{token_id}", NEW, replace(NEW, old_id=8), OTHER)
    assert "Tokens 7 and 9 would both go" in refusal(UsageError, lambda: check("token", NEW, OTHER))
    assert "both go" in refusal(UsageError, lambda: check("{account}", NEW, replace(NEW, old_id=8)))
    assert "not {user}" in refusal(UsageError, lambda: check("{user}", NEW))
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "inventory").mkdir()
    (tmp_path / "scanner").symlink_to("inventory")
    assert "both go" in refusal(UsageError, lambda: check("{account}/token", NEW, OTHER))
    for account in ("../../etc/cron.d/x", "..", "", "\x1b[31mred", "a\nb"):
        odd = partial(check, "{account}", replace(NEW, account=account))
        assert "cannot be part of a path" in refusal(Refused, odd)
    deliver(f"file:{tmp_path}/{{account}}/{{token_id}}")
    assert (tmp_path / "inventory" / "7").read_text() == PLAIN


def test_a_command_gets_the_token_on_its_standard_input_and_the_facts_in_its_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deliver(f"command:cat > {tmp_path}/token; env | grep ^TOKENS_ | sort; cat /proc/$$/cmdline | tr '\\0' ' '")
    assert (tmp_path / "token").read_bytes() == PLAIN.encode()
    shown = capfd.readouterr()
    assert shown.out == ""
    facts = shown.err.splitlines()[:9]
    assert re.fullmatch("TOKENS_DELIVERY=[0-9a-f]{32}", facts.pop(1))
    assert facts == [
        "TOKENS_ACCOUNT=inventory",
        "TOKENS_EXPIRES_AT=2027-11-22",
        "TOKENS_ID=8",
        "TOKENS_NAME=Architecture - Inventory",
        "TOKENS_NAME_SAFE=Architecture%20-%20Inventory",
        "TOKENS_OLD_ID=7",
        "TOKENS_RUN=5",
        "TOKENS_SCOPES=api read_user",
    ]
    assert PLAIN not in shown.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat > /dev/null; exit 3", "failed with exit status 3"),
        ("cat > /dev/null; kill -KILL $$", "was ended by SIGKILL"),
        ("true", "without having read the token"),
        ("head -c 5 > /dev/null", "without having read the token"),
    ],
)
def test_a_command_that_fails_or_does_not_take_the_token_has_not_delivered_it(command: str, said: str) -> None:
    assert said in refusal(DeliveryFailed, lambda: deliver(f"command:{command}"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "--deliver takes"),
        ("  ", "--deliver takes"),
        ("no-such-program put x", 'begins with "no-such-program"'),
        ("A=1 B='2 3' no-such-program", 'begins with "no-such-program"'),
        ("/no/such/program", 'begins with "/no/such/program"'),
        ("cat 'x", "cannot read"),
        ("( cat", "cannot read"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_a_token_is_made(command: str, said: str) -> None:
    assert said in refusal(UsageError, lambda: deliver(f"command:{command}"))


@pytest.mark.parametrize(
    "command", ["cat >/dev/null", "A=1 cat >/dev/null", "if cat; then :; fi 2>&1", "(cat)", "$NO_WORD cat", "'cat' -u"]
)
def test_a_command_may_be_whatever_the_shell_understands(command: str) -> None:
    deliver(f"command:{command}")


def test_ctrl_c_does_not_reach_a_command_and_a_second_one_kills_it() -> None:
    assert run_command("kill -INT $$; cat > /dev/null", {}, TOKEN) is None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            run_command("exec sleep 60", {}, TOKEN)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_lets_a_command_end_what_it_does(
    scene: Scene, number: signal.Signals
) -> None:
    with scene.start() as process:
        scene.wait_for("here")
        os.killpg(process.pid, number)
        scene.wait_until_noted()
        os.killpg(process.pid, signal.SIGTERM)
        assert process.poll() is None
        scene.go()
    scene.wait_for("done")
    scene.wait_for()
    assert scene.stored == {"token": PLAIN}
    assert scene.end == f"None, {number.name}"


def test_a_terminal_that_is_closed_lets_a_command_end_what_it_does(scene: Scene) -> None:
    with Program(scene.words()) as program:
        scene.wait_for("here")
        program.hang_up()
        scene.wait_until_noted()
        scene.go()
        assert program.wait() == 0
    scene.wait_for("done")
    assert scene.stored == {"token": PLAIN}
    assert scene.end == "None, SIGHUP"


def test_a_second_ctrl_c_kills_everything_that_a_command_has_started(scene: Scene) -> None:
    forever = "echo here >&9; read go < never; mv part token"
    command = (
        f"cd {scene.folder}; exec 9> life; cat > part; (setsid sh -c '{forever}' &); env -i sh -c '{forever}' & "
        f"(setsid env -i sh -c '{forever}' & sh -c '{forever}'); :"
    )
    with Program(scene.words(command)) as program:
        scene.wait_for(*["here"] * 4)
        program.press("ctrl-c")
        scene.wait_until_noted()
        assert scene.found()
        program.press("ctrl-c")
        assert program.wait() == 0
    scene.wait_for()
    assert scene.found() is None
    assert scene.stored == {"part": PLAIN}
    assert scene.end == "killed, SIGINT"


def test_a_command_may_ask_on_the_terminal(scene: Scene) -> None:
    command = f"cd {scene.folder}; printf 'Password: ' > /dev/tty; read word < /dev/tty; echo $word > word; cat > token"
    with Program(scene.words(command)) as program:
        program.wait_for("Password:")
        program.press("sesame", "enter")
        assert program.wait() == 0
    assert scene.stored == {"token": PLAIN, "word": "sesame\n"}


def test_a_command_may_take_a_signal_back() -> None:
    taken_back = "trap - TERM; cat > /dev/null; sh -c 'kill -TERM $$'; test $? = 143"
    assert run_command(taken_back, {}, TOKEN) is None
    assert run_command("trap 'exit 4' TERM; cat > /dev/null; kill -TERM $$", {}, TOKEN) == "failed with exit status 4"


def test_a_command_that_outlives_its_rotate_is_found_until_it_ends(scene: Scene) -> None:
    assert scene.found() is None
    with scene.start() as process:
        scene.wait_for("here")
        process.kill()
    found = scene.found()
    assert found is not None
    for name in ("cmdline", "environ"):
        assert PLAIN.encode() not in Path(f"/proc/{found}/{name}").read_bytes()
    for run, old_id in ((scene.run, 8), (scene.run, 77), (scene.run + 1, 7), (scene.run * 10, 7), (7, scene.run)):
        assert still_running(run, old_id) == ()
    os.kill(found, signal.SIGSTOP)
    assert scene.found() == found
    os.kill(found, signal.SIGCONT)
    assert scene.stored == {"part": PLAIN}
    scene.go()
    scene.wait_for("done")
    scene.wait_for()
    assert scene.found() is None
    assert scene.stored == {"token": PLAIN}


@pytest.mark.parametrize("command", ["env -i sh store", "exec sh store", "(exec 3<&0; setsid sh store <&3 & wait)"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_no_way_to_run_a_program_hides_a_delivery(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, command: str, shell: str
) -> None:
    monkeypatch.setattr(commands, "SHELL", shell)
    found: list[int | None] = []

    def look() -> None:
        scene.wait_for("here")
        found.append(scene.found())
        scene.go()

    thread = threading.Thread(target=look)
    thread.start()
    fault = run_command(f"cd {scene.folder}; exec 9> life; {command}", scene.about.variables, TOKEN)
    thread.join()
    scene.wait_for()
    assert fault is None
    assert None not in found
    assert scene.found() is None
    assert scene.stored == {"token": PLAIN}


def test_no_other_process_is_taken_for_a_delivery(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # A command of --after has the same facts, whether or not rotate was begun by a delivery.
    monkeypatch.setenv("TOKENS_DELIVERY", "of another one")
    found: list[int | None] = []

    def look() -> None:
        scene.wait_for("here")
        found.append(scene.found())
        scene.go()

    thread = threading.Thread(target=look)
    thread.start()
    assert run_command(scene.command, scene.about.variables) is None
    thread.join()
    assert found == [None]

    marked = {**os.environ, **scene.about.variables}
    with subprocess.Popen(["/bin/true"], env=marked) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert scene.found() is None

    itself = f"from tokens.delivery.processes import still_running; print(still_running({scene.run}, 7))"
    done = subprocess.run([sys.executable, "-c", itself], env=marked, capture_output=True, text=True, check=True)
    assert done.stdout == "()\n"


def test_without_a_list_of_processes_none_is_found_and_the_shell_is_killed_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROCESSES", scene.folder / "none")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # Earlier, nothing but the list would know of the shell: the command interrupts only who waits for it already.
    os.mkfifo(scene.folder / "waits")
    wait = subprocess.Popen.wait

    def tell(shell: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        (scene.folder / "waits").write_text("go\n")
        return wait(shell, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", tell)
    before = signal.signal(signal.SIGUSR1, interrupt)
    command = f"read go < {scene.folder}/waits; kill -USR1 $PPID; read go < {scene.folder}/never"
    try:
        with pytest.raises(KeyboardInterrupt):
            run_command(command, scene.about.variables, TOKEN)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert scene.found() is None


def test_what_a_command_leaves_behind_when_its_shell_is_killed_stores_nothing(scene: Scene) -> None:
    os.mkfifo(scene.folder / "ready")
    left = "cat > part; echo > ready; read go < opened; mv part token"
    command = (
        f"cd {scene.folder}; exec 3<&0 9> life; sh -c '{left}' <&3 & read go < {scene.folder}/ready; kill -KILL $$"
    )
    assert run_command(command, scene.about.variables, TOKEN) == "was ended by SIGKILL"
    scene.wait_for()
    (scene.folder / "ready").unlink()
    assert scene.stored == {"part": PLAIN}


def test_a_token_that_a_command_has_not_taken_by_its_end_is_there_for_nobody(scene: Scene) -> None:
    left = "read go < opened; cat > token"
    command = f"cd {scene.folder}; exec 3<&0 9> life; sh -c '{left}' <&3 & exit 3"
    assert run_command(command, scene.about.variables, TOKEN) == "failed with exit status 3"
    scene.go()
    scene.wait_for()
    assert scene.stored == {"token": ""}


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ('cat >/dev/null; test "$0,$#,$*" = "$SHELL_USED,0,"', None),
        ("cat >/dev/null # the rest is a remark", None),
        ("{ cat; cat <<X; } >/dev/null\n$(exit 9)'\nX", None),
        ("cat >/dev/null; awk 'BEGIN { print $1; exit 6 }'", 6),
        ("cat >/dev/null; trap 'exit 8' EXIT", 8),
        ("cat >/dev/null; set -e; false; true", 1),
        ("cat >/dev/null; false", 1),
        ("cat >/dev/null; kill -KILL $$", None),
    ],
)
def test_a_command_means_to_the_shell_what_it_means_with_c(
    monkeypatch: pytest.MonkeyPatch, shell: str, command: str, status: int | None
) -> None:
    monkeypatch.setattr(commands, "SHELL", shell)
    fault = run_command(command, {"SHELL_USED": shell}, TOKEN)
    plain = subprocess.run(
        [shell, "-c", command], env={**os.environ, "SHELL_USED": shell}, input=PLAIN.encode(), check=False
    )
    assert status in (None, plain.returncode)
    said = {0: None, -9: "was ended by SIGKILL"}.get(plain.returncode, f"failed with exit status {plain.returncode}")
    assert fault == said


def test_names_of_any_language_reach_a_command_whatever_the_locale(capfd: pytest.CaptureFixture[str]) -> None:
    about = replace(NEW, name="Инвентарь 🔑 \n$(id)")
    deliver('command:cat > /dev/null; printf %s "$TOKENS_NAME"', about=about)
    assert capfd.readouterr().err == about.name


def test_a_name_that_the_locale_has_no_bytes_for_is_refused_in_a_line(tmp_path: Path) -> None:
    program = "from tokens.delivery.option import parse_delivery; from tests.test_delivery import NEW; import sys; " + (
        "from dataclasses import replace; from tokens.errors import Refused\n"
        f"delivery = parse_delivery('file:{tmp_path}/{{account}}', force=False, output=sys.stdout, errors=sys.stderr)\n"
        "try: delivery.check([replace(NEW, account='loc-\\xe9')])\n"
        "except Refused as error: print(ascii(str(error)))\n"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert "cannot be a file's name in this locale: use {token_id} in --deliver" in done.stdout


HOSTILE = (
    *("..", ".", "", "../../../etc/cron.d/x", "/etc/passwd", "a/b", "a%2Fb", "a\nb", "a\r\nb", "-rf", "--help", ".git"),
    *("%", "%.7", "%2E.", "~root", "$(id)", "`id`", "a b", "a\tb", "*", "\x1b[2J", "Übung", "u\u0308bung", "\u202e"),
    *("x" * 255, "x" * 256, "/" * 100, "ü" * 300),
)


def test_a_name_is_one_safe_part_of_a_path_and_no_two_names_are_the_same_one(tmp_path: Path) -> None:
    parts = {name: path_part(name, number) for number, name in enumerate(HOSTILE)}
    assert len(set(parts.values())) == len(HOSTILE)
    for name, part in parts.items():
        assert re.fullmatch(r"[A-Za-z0-9_~%][A-Za-z0-9_.~%-]{0,254}", part), name
        assert "%." in part or unquote(part) == name
        # As a shell has it, even without quotes.
        deliver(f"command:cd {tmp_path}; cat > $TOKENS_NAME_SAFE", about=replace(NEW, name=name, old_id=len(name)))
    assert len(list(tmp_path.iterdir())) == len(HOSTILE)
    assert {path.read_text() for path in tmp_path.iterdir()} == {PLAIN}
    assert path_part("x" * 300, 7) != path_part("x" * 300, 8)


def test_tokens_that_a_command_cannot_tell_from_each_other_are_refused() -> None:
    same, other = replace(NEW, old_id=9), replace(NEW, old_id=9, name="Other")
    elsewhere = replace(NEW, old_id=9, account="scanner")
    for command, tokens, said in (
        ('"$TOKENS_ACCOUNT"', (NEW, other), "2 tokens of inventory would go to one place"),
        ('"$TOKENS_ACCOUNT/$TOKENS_NAME"', (NEW, other), None),
        ('"$TOKENS_ACCOUNT/$TOKENS_NAME_SAFE"', (NEW, other), None),
        ('"$TOKENS_ACCOUNT/$TOKENS_NAME_SAFE"', (NEW, same), 'of the name "Architecture - Inventory" of inventory'),
        ('"$TOKENS_NAME"', (NEW, elsewhere), 'of the name "Architecture - Inventory" would go to one place'),
        ('"$TOKENS_NAME.$TOKENS_OLD_ID"', (NEW, same), None),
        ("", (NEW, same), None),
    ):
        delivery = parse_delivery(f"command:cat {command}", force=False, output=None, errors=sys.stderr)
        if said is None:
            delivery.check(tokens)
        else:
            assert said in refusal(UsageError, partial(delivery.check, tokens))


@pytest.mark.parametrize(
    "command",
    [
        "cat > /x/out",
        "umask 077; cat >| /x/out 2> /dev/null && chmod 640 /x/out",
        "A=1 /usr/bin/tee /x/out > /dev/null",
        "cat > /x/out-$TOKENS_RUN",
        "cat > /x/out-${TOKENS_EXPIRES_AT}",
        "glab variable update INVENTORY_TOKEN --repo security/inventory --masked",
        "vault kv put secret/x token=-",
    ],
)
def test_several_tokens_never_go_to_one_place_that_is_visible(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_shell", lambda *words: 0)  # not every program is here
    delivery = parse_delivery(f"command:{command}", force=False, output=None, errors=sys.stderr)
    delivery.check([NEW])
    assert delivery.note([NEW]) is None
    assert "2 tokens would go to one place" in refusal(UsageError, partial(delivery.check, (NEW, OTHER)))


@pytest.mark.parametrize(
    "command",
    [
        "/usr/local/bin/deliver",
        "cat",
        "cat > /dev/null",
        "cat > /run/token && /usr/local/bin/deliver /run/token",
        "cat > /x/$(uuidgen)",
        'cat > "$FOLDER/out"',
        "cat >> /x/all",
        "tee -a /x/all",
        "sudo tee /x/out",
        "sh -c 'cat > /x/out'",
    ],
)
def test_where_a_command_may_tell_several_tokens_apart_by_itself_that_is_noted(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_shell", lambda *words: 0)
    delivery = parse_delivery(f"command:{command}", force=False, output=None, errors=sys.stderr)
    delivery.check([NEW, OTHER])
    assert delivery.note([NEW]) is None
    assert "2 tokens go to one command that names neither" in (delivery.note([NEW, OTHER]) or "")


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("cat>/dev/null", "cat"),
        ("VAULT_TOKEN=secret /usr/bin/vault kv put x token=-", "vault"),
        ("A=1 B='2 3' ./tool x=y", "tool"),
        ("cat|tee /x", "cat"),
        ('"$TOOL" put', ""),
        ("VAULT_TOKEN=secret", ""),
    ],
)
def test_the_journal_has_the_name_of_a_commands_program_alone(command: str, program: str) -> None:
    delivery = parse_delivery(f"command:{command}", force=False, output=None, errors=sys.stderr)
    assert delivery.destination(NEW) == f"command {program}".strip()


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("VAULT_TOKEN=secret vault kv put x token=-", "VAULT_TOKEN=… vault kv put x token=-"),
        ('A=\'a b\' B="c \\" d"e C=\\ f tool x=y', "A=… B=… C=… tool x=…"),
        ("A=$(cat /x) B=`cat /y` C= D=e tool", "A=… B=… C= D=… tool"),
        ("cd /x && A=secret tool; export B=secret; (C=secret tool)", "cd /x && A=… tool; export B=…; (C=… tool)"),
        ("env -i tool | env -i A=secret tool > x=y", "env -i tool | env -i A=… tool > x=…"),
        ("if true; then A=secret tool; fi", "if true; then A=… tool; fi"),
        ("env -u B A=${C:-two words} tool", "env -u B A=… tool"),
        ("sh -c 'A=secret tool'", "sh -c 'A=… tool'"),
        ("A=$B tool --c=d e=/x", "A=$B tool --c=d e=…"),
        ('vault kv put "secret/$TOKENS_ACCOUNT" token=-', 'vault kv put "secret/$TOKENS_ACCOUNT" token=-'),
    ],
)
def test_a_plan_shows_no_value_that_a_command_assigns(command: str, shown: str) -> None:
    delivery = parse_delivery(f"command:{command}", force=False, output=None, errors=sys.stderr)
    assert delivery.place(NEW) == f"command {shown}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat > /x/out-{account}", 'fills in no {account}: write "$TOKENS_ACCOUNT" instead'),
        ("vault kv put secret/{token_id} token=-", 'fills in no {token_id}: write "$TOKENS_OLD_ID" instead'),
        ("cat > /x/{TOKENS_ID}", 'fills in no {TOKENS_ID}: write "$TOKENS_ID" instead'),
        ("cat > ${TOKENS_ACCOUNT} {other} ${account}", None),
    ],
)
def test_a_placeholder_for_files_is_refused_in_a_command(command: str, said: str | None) -> None:
    def parse() -> object:
        return parse_delivery(f"command:{command}", force=False, output=None, errors=sys.stderr)

    if said is None:
        parse()
    else:
        assert said in refusal(UsageError, parse)


def test_standard_output_gets_the_token_alone_where_it_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HAND_OVER], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{PLAIN}\n", "", 0)


def test_a_terminal_shows_whose_token_it_is() -> None:
    with Program([sys.executable, "-c", HAND_OVER]) as program:
        assert program.wait() == 0
        assert program.lines == ["", 'The new token of inventory, "Inven�[2Jtory", id 8:', "", PLAIN]


def test_a_standard_output_that_takes_nothing_fails_the_delivery_and_nothing_is_said_again() -> None:
    for redirection, said in (("> /dev/full", "No space left"), ("| true", "Broken pipe")):
        shell = f'{{ "$0" -c "$1"; }} {redirection}' if "|" not in redirection else ""
        if not shell:
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run(
                [sys.executable, "-c", HAND_OVER], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
            )
            os.close(writing)
        else:
            done = subprocess.run(
                ["/bin/sh", "-c", shell, sys.executable, HAND_OVER], capture_output=True, text=True, check=False
            )
        assert done.returncode == 1
        assert said in done.stderr
        assert PLAIN not in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("taken", [0, 5, len(PLAIN)])
def test_a_pipe_whose_reader_is_gone_before_it_has_taken_the_token_fails_the_delivery(taken: int) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", HAND_OVER], stdout=writing, stderr=subprocess.PIPE, text=True) as left:
        os.close(writing)
        assert select.select([reading], [], [], DEADLINE)[0]
        assert os.read(reading, taken) == PLAIN[:taken].encode()
        os.close(reading)
        _, said = left.communicate()
    assert left.returncode == 1
    assert said == (
        "failed: Nobody has taken the token from the pipe that standard output is: the program that reads it is gone.\n"
    )


def test_a_pipe_whose_reader_comes_late_has_the_token_delivered() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", HAND_OVER], stdout=writing, stderr=subprocess.PIPE) as left:
        assert select.select([reading], [], [], DEADLINE)[0]
        assert left.poll() is None
        assert os.read(reading, 100) == f"{PLAIN}\n".encode()
        os.close(reading)
        os.close(writing)
        assert left.communicate()[1] == b""
    assert left.returncode == 0


def test_a_pipe_that_nobody_reads_from_in_time_fails_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE", 0.1)
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w") as stream:
        delivery = parse_delivery("stdout", force=False, output=stream, errors=sys.stderr)
        assert "has not done so within 0.1 seconds" in refusal(DeliveryFailed, lambda: delivery.deliver(TOKEN, NEW))
        assert unread(reading) == unread(writing) == len(PLAIN) + 1


def test_standard_output_is_for_one_token_unless_a_person_reads_it() -> None:
    def check(output: TextIO | None, *tokens: NewToken) -> None:
        parse_delivery("stdout", force=False, output=output, errors=sys.stderr).check(tokens)

    check(io.StringIO(), NEW)
    assert "2 are to be rotated" in refusal(UsageError, lambda: check(io.StringIO(), NEW, OTHER))
    assert "is closed" in refusal(UsageError, lambda: check(None, NEW))


@pytest.mark.parametrize(
    "text", ["", "file", "file:", "stdout:x", "vault", "command", "/etc/token", "command:x\0y", "file:a\0b", "file:x/"]
)
def test_anything_else_is_no_destination(text: str) -> None:
    assert "--deliver" in refusal(UsageError, lambda: parse_delivery(text, force=False, output=None, errors=sys.stderr))


def test_a_path_counts_from_where_the_program_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    here = parse_delivery("file:token", force=False, output=None, errors=sys.stderr)
    home = parse_delivery("file:~/token", force=False, output=None, errors=sys.stderr)
    monkeypatch.chdir("/")
    monkeypatch.delenv("HOME")
    for delivery, path in ((here, tmp_path / "token"), (home, tmp_path / "home" / "token")):
        assert delivery.place(NEW) == f"file {path}"
        delivery.deliver(TOKEN, NEW)
        assert path.read_text() == PLAIN


def test_a_command_runs_in_the_folder_of_the_call_unless_that_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deliver").write_text(f"#!/bin/sh\ncat > /dev/null; pwd > {out}\n")
    (tmp_path / "deliver").chmod(0o755)
    deliver("command:./deliver")
    assert out.read_text() == f"{tmp_path}\n"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may enter every folder
    assert run_command(f"cat > /dev/null; pwd > {out}", {}, TOKEN) is None
    assert out.read_text() == "/\n"


def test_no_process_list_shows_the_token_while_a_command_has_it(tmp_path: Path) -> None:
    token = "glpat-that_no_other_test_has"  # a script of another test may have PLAIN among its words
    os.mkfifo(tmp_path / "go")
    shown: list[str] = []

    def look() -> None:
        with open(tmp_path / "go", "w"):
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        shown.append((folder / name).read_bytes().decode(errors="replace"))
                    except OSError:
                        continue

    thread = threading.Thread(target=look)
    thread.start()
    deliver(f"command:cat {tmp_path}/go - > {tmp_path}/token", token=Secret(token))
    thread.join()
    assert (tmp_path / "token").read_text() == token
    assert any(f"cat {tmp_path}/go" in text for text in shown)
    assert not any(token in text for text in shown)

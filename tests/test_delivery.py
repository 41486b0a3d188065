"""A new token is handed over: what each destination gets, what it refuses beforehand, and that nothing else sees it."""

import io
import os
import signal
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from tests.terminal.screen import Program
from tokens.delivery import DeliveryFailed, NewToken, parse_delivery, run_command
from tokens.errors import Refused, TokensError, UsageError
from tokens.secret import Secret

PLAIN = "glpat-s3cr3t_s3cr3t-s3cr3t"
TOKEN = Secret(PLAIN)
NEW = NewToken("inventory", "Architecture - Inventory", 7, ("api", "read_user"), 8, "2027-11-22")
OTHER = replace(NEW, account="scanner", old_id=9, id=None)

HAND_OVER = f"""
import sys
from tokens.delivery import DeliveryFailed, NewToken, parse_delivery
from tokens.secret import Secret
about = NewToken("inventory", "Inven\\x1b[2Jtory", 7, ("api",), 8, None)
delivery = parse_delivery("stdout", force=False, output=sys.stdout)
delivery.check([about])
try:
    delivery.deliver(Secret("{PLAIN}"), about)
except DeliveryFailed as error:
    sys.exit(f"failed: {{error}}")
"""


def deliver(destination: str, *, force: bool = False, token: Secret = TOKEN, about: NewToken = NEW) -> None:
    delivery = parse_delivery(destination, force=force, output=None)
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
    assert "say --force" in refusal(Refused, lambda: deliver(f"file:{path}"))
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
    delivery = parse_delivery(f"file:{tmp_path}/token", force=False, output=None)
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
    delivery = parse_delivery(f"file:{tmp_path}/token", force=False, output=None)
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
        parse_delivery(f"file:{tmp_path}/{pattern}", force=False, output=None).check(tokens)

    check("{account}", NEW, OTHER)
    check("{account}-{token_id}", NEW, replace(NEW, old_id=8), OTHER)
    assert "Tokens 7 and 9 would both go" in refusal(UsageError, lambda: check("token", NEW, OTHER))
    assert "both go" in refusal(UsageError, lambda: check("{account}", NEW, replace(NEW, old_id=8)))
    assert "not {user}" in refusal(UsageError, lambda: check("{user}", NEW))
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "inventory").mkdir()
    (tmp_path / "scanner").symlink_to("inventory")
    assert "both go" in refusal(UsageError, lambda: check("{account}/token", NEW, OTHER))
    for account in ("../../etc/cron.d/x", "..", ""):
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
    assert shown.err.splitlines()[:6] == [
        "TOKENS_ACCOUNT=inventory",
        "TOKENS_EXPIRES_AT=2027-11-22",
        "TOKENS_ID=8",
        "TOKENS_NAME=Architecture - Inventory",
        "TOKENS_OLD_ID=7",
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


def test_names_of_any_language_reach_a_command_whatever_the_locale(capfd: pytest.CaptureFixture[str]) -> None:
    about = replace(NEW, name="Инвентарь 🔑 \n$(id)")
    deliver('command:cat > /dev/null; printf %s "$TOKENS_NAME"', about=about)
    assert capfd.readouterr().err == about.name


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


def test_standard_output_is_for_one_token_unless_a_person_reads_it() -> None:
    def check(output: TextIO | None, *tokens: NewToken) -> None:
        parse_delivery("stdout", force=False, output=output).check(tokens)

    check(io.StringIO(), NEW)
    assert "2 are to be rotated" in refusal(UsageError, lambda: check(io.StringIO(), NEW, OTHER))
    assert "is closed" in refusal(UsageError, lambda: check(None, NEW))


@pytest.mark.parametrize(
    "text", ["", "file", "file:", "stdout:x", "vault", "command", "/etc/token", "command:x\0y", "file:a\0b", "file:x/"]
)
def test_anything_else_is_no_destination(text: str) -> None:
    assert "--deliver" in refusal(UsageError, lambda: parse_delivery(text, force=False, output=None))


def test_a_path_counts_from_where_the_program_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    here = parse_delivery("file:token", force=False, output=None)
    home = parse_delivery("file:~/token", force=False, output=None)
    monkeypatch.chdir("/")
    monkeypatch.delenv("HOME")
    for delivery, path in ((here, tmp_path / "token"), (home, tmp_path / "home" / "token")):
        assert delivery.place(NEW) == f"file {path}"
        delivery.deliver(TOKEN, NEW)
        assert path.read_text() == PLAIN


def test_no_process_list_shows_the_token_while_a_command_has_it(tmp_path: Path) -> None:
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
    deliver(f"command:cat {tmp_path}/go - > {tmp_path}/token")
    thread.join()
    assert (tmp_path / "token").read_text() == PLAIN
    assert any("trap '' INT; cat" in text for text in shown)
    assert not any(PLAIN in text for text in shown)

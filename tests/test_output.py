"""What becomes of output that cannot be written, or not in this locale, or that a spreadsheet would obey."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_tokens, make_user
from tests.testbed.instance import EXTEND, LATER, SOON, Instance, one_line
from tests.testbed.marks import slow_ones
from tests.testbed.processes import ended, wait_until
from tests.testbed.program import GITLAB_TOKENS, INV
from tests.testbed.screen import Program
from tokens.commands import carry_out
from tokens.program import main
from tokens.terminal import comma_separated
from tokens.terminal.console import PATIENCE_VARIABLE

FULL = "The output could not be written: No space left on device."
STAYS = "60 of 60 tokens were changed and stay so. It is recorded as run 1."


def full(instance: Instance, *words: object) -> str:
    """The one line of a run whose output goes to a full disk, after a change."""
    with open("/dev/full", "w") as disk:
        done = subprocess.run(
            instance.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=disk,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4, done
    return one_line(subprocess.CompletedProcess(GITLAB_TOKENS, 4, "", done.stderr))


@pytest.mark.slow
def test_a_full_disk_after_the_change_hides_neither_the_change_nor_the_way_back(instance: Instance) -> None:
    done = "60 of 60 tokens were changed and stay so. It is recorded as run"
    assert full(instance, *EXTEND, "--yes", "--output", "json") == f"{FULL} {done} 1. {instance.way_back(1)}"
    assert instance.counts() == {str(LATER): 60}
    assert full(instance, "undo", "--run", 1, "--yes", "--output", "json") == f"{FULL} {done} 2."
    stored = full(instance, "remove", "--expires", SOON, "--plan", "--output", "json")
    assert stored.startswith(f"{FULL} Stored as run 3; nothing was changed.")
    assert (
        full(instance, "apply", "--run", 3, "--yes", "--output", "json") == f"{FULL} {done} 3. {instance.way_back(3)}"
    )
    assert instance.counts() == {None: 60}
    for turned in ("on", "off"):
        assert full(instance, "journal.four-eyes", f"--{turned}") == f"{FULL} Four eyes are {turned}."
    assert full(instance, "journal.prune", "--before", "2100-01-01", "--yes").startswith(FULL)
    assert full(instance, "journal.uninstall", "--yes").startswith(f"{FULL} The journal is uninstalled")
    assert full(instance, "journal.install") == f"{FULL} The journal is installed, revision {revision(instance)}."


def revision(instance: Instance) -> str:
    return str(instance.json("journal.status")["revision"])


def test_a_full_disk_before_the_change_prevents_it(instance: Instance) -> None:
    for words in (("--yes",), ("--dry-run", "--output", "json")):
        with open("/dev/full", "w") as disk:
            done = subprocess.run(
                instance.command(*EXTEND, *words),
                stdin=subprocess.DEVNULL,
                stdout=disk,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert (done.returncode, done.stderr) == (1, b"The output cannot be written: No space left on device.\n")
    assert instance.counts() == {str(SOON): 60}


def test_a_refusal_stays_one_where_its_document_cannot_be_written(instance: Instance) -> None:
    command = instance.command("extend", "--expires", SOON, "--to", "2001-01-01", "--yes", "--output", "json")
    with open("/dev/full", "w") as disk:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=disk, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert one_line(subprocess.CompletedProcess(command, 3, "", done.stderr)).startswith("Refused because of past")


def test_a_reader_that_goes_after_the_plan_is_told_of_on_standard_error(instance: Instance) -> None:
    script = 'set -o pipefail; "$@" | head -1'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *instance.command(*EXTEND, "--yes")], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 4)  # all may have been written before the reader went
    assert instance.counts() == {str(LATER): 60}
    if done.returncode:
        assert one_line(done).endswith(f"{STAYS} {instance.way_back(1)}")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_closed_standard_output_prevents_a_change_as_a_full_disk_does(instance: Instance, form: str) -> None:
    script = '"$@" >&-'
    command = ["bash", "-c", script, "bash", *instance.command(*EXTEND, "--yes", "--output", form)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Standard output is closed: nothing was done.\n")
    assert instance.counts() == {str(SOON): 60}


def test_edit_says_on_standard_error_what_a_closed_terminal_does_not_take(instance: Instance, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", f'exec "$@" 2>{log}', "sh", *instance.command("edit")]
    with Program(command) as program:
        program.wait_for("What do you want to do?")
        program.press("enter")
        program.wait_for("Select an expiration date")
        program.press("enter")
        program.wait_for("new expiration date")
        program.press("enter")
        program.wait_for("Are you sure?")
        program.press("y", "enter")
        program.wait_for("Updated 60 tokens!")
        program.wait_for("What do you want to do?")
        program.hang_up()
        assert program.wait() == 143
    assert log.read_text().splitlines()[0] == f"Recorded as run 1. {instance.way_back(1)}"


@pytest.fixture(scope="session")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a locale that is not UTF-8."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/en_US").exists():
        pytest.skip("no localedef, or no locales to make one of")
    folder = tmp_path_factory.mktemp("locales")
    made = folder / "en_US.ISO-8859-1"
    subprocess.run(["localedef", "-f", "ISO-8859-1", "-i", "en_US", str(made)], check=False, capture_output=True)
    assert made.is_dir()
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


@pytest.mark.slow  # thirty processes, since a locale counts when Python starts
def test_a_locale_that_is_not_utf_8_ends_nothing(instance: Instance, latin: dict[str, str]) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 1, expires_at=SOON, user_id=make_user(connection, username="łukasz"), name="Größe ✓")
    instance.done(*EXTEND, "--yes", "--reason", "žluťoučký")
    target = url(instance.address)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for env, name in (
        (latin, "Gr\\xf6\\xdfe \\u2713"),
        (ascii_only, "Gr\\xf6\\xdfe \\u2713"),
        ({"PYTHONIOENCODING": "ascii:strict"}, "Gr\\xf6\\xdfe \\u2713"),
    ):
        for command, words in ((INV, ["tokens.history"]), (GITLAB_TOKENS, ["history"])):
            shown = environment_call(command, *words, "--target", target, "--run", "1", env=env)
            assert shown.returncode == 0, shown
            assert b"\\u0142ukasz" in shown.stdout
            wanted = name.encode() if env is not latin else "Größe \\u2713".encode("latin-1")
            assert wanted in shown.stdout
            assert environment_call(command, "--help", words[0].replace("history", "extend"), env=env).returncode == 0
        exported = environment_call(
            GITLAB_TOKENS, "history", "--target", target, "--run", "1", "--output", "csv", env=env
        )
        assert "łukasz,Größe ✓," in exported.stdout.decode()
        listed = environment_call(
            GITLAB_TOKENS, "history", "--target", target, "--run", "1", "--output", "json", env=env
        )
        assert json.loads(listed.stdout)["outcomes"][-1]["name"] == "Größe ✓"


def test_who_imports_the_tasks_keeps_their_own_streams_as_they_are() -> None:
    program = "import sys, tokens; tokens.ns; print(sys.stdout.errors)"
    env = {"PYTHONIOENCODING": "ascii:strict"}
    assert environment_call(sys.executable, "-c", program, env=env).stdout == b"strict\n"
    for command, task in ((INV, "tokens.undo"), (GITLAB_TOKENS, "undo")):
        shown = environment_call(command, "--help", task, env=env)
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert b"postgresql://\\u2026" in shown.stdout


def environment_call(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("INVOKE_", "PYTHON", "LC_"))
    }
    return subprocess.run(words, env=environment | env, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_a_status_does_not_depend_on_what_standard_error_takes() -> None:
    for words in (["analyze", "--top", "many"], ["analyze", "--output", "json", "--top", "many"], ["nonsense"]):
        with open("/dev/full", "wb") as full:
            assert subprocess.run([GITLAB_TOKENS, *words], stdout=full, stderr=full, check=False).returncode == 2
        reader, writer = os.pipe()
        os.close(reader)
        assert subprocess.run([GITLAB_TOKENS, *words], stdout=writer, stderr=writer, check=False).returncode == 2
        os.close(writer)


@pytest.mark.parametrize("form", ["text", "prometheus"])
def test_a_check_that_takes_long_says_so_on_a_terminal_alone(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    command = instance.command("check", "--warn", "1d", "--output", form)
    with psycopg.connect(instance.address.conninfo) as lock:
        lock.execute("LOCK TABLE public.personal_access_tokens")
        with Program(command, env={PATIENCE_VARIABLE: "0"}) as program:
            program.wait_for("Counting the tokens...")
    with psycopg.connect(instance.address.conninfo) as lock:
        lock.execute("LOCK TABLE public.personal_access_tokens")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.personal_access_tokens'::regclass"
        wait_until(lambda: lock.execute(waiting).rowcount > 0)
    assert process.communicate()[1] == ""
    assert process.returncode == 0


@pytest.mark.parametrize(("form", "status"), [("text", 5), ("json", 5), ("nagios", 2)])
def test_a_check_whose_reader_is_gone_ends_with_what_it_has_found(instance: Instance, form: str, status: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = ("check", "--warn", "9000d", "--critical", "9000d", "--output", form)
    done = subprocess.run(instance.command(*words), stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, "NOTE" in done.stderr or not done.stderr) == (status, True)


def test_what_a_spreadsheet_would_obey_is_defused_and_the_rest_is_as_it_was() -> None:
    for text, cell in (
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1+1", "'-1+1"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'  =1+1"),
        ("\t=1+1", "'\ufffd=1+1"),
        ("\r=1+1", "'\ufffd=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("a;=1+1", "a;'=1+1"),
        ('a; "@SUM(A1)', "a;' \"@SUM(A1)"),
        ("a;b-1", "a;b-1"),
        ("a\rb\nc", "a\ufffdb\ufffdc"),
        ("\x1b[2J\u202egnp", "\ufffd[2J\ufffdgnp"),
        ("nul\0", "nul\ufffd"),
        ("-5", "-5"),
        ("-0.5", "-0.5"),
        ("-0043-03-15", "-0043-03-15"),
        ("-Infinity", "-Infinity"),
        ("2024-06-15", "2024-06-15"),
        ('token, "quoted"', 'token, "quoted"'),
        ("", ""),
    ):
        assert next(csv.reader([comma_separated.line([text, "end"])])) == [cell, "end"]
    assert comma_separated.line([-5, None, True, 2.5]) == "-5,,True,2.5"


@given(st.lists(st.text(), min_size=2, max_size=5))
def test_no_text_makes_more_cells_or_rows_than_it_is(texts: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(comma_separated.line(texts), newline="")))
    assert len(rows) == 1
    assert len(rows[0]) == len(texts)
    assert all(cell.isprintable() for cell in rows[0])
    assert not any(cell.lstrip(" ").startswith(("=", "+", "@", "\t", "\r")) for cell in rows[0])


@given(st.lists(st.text() | st.text("aé日_/(=+-@,;'\" \t\n\uff1d1"), min_size=2, max_size=5))
def test_a_cell_is_written_the_same_whatever_is_beside_it(texts: list[str]) -> None:
    quoted = 'a "quoted" cell'
    alone = comma_separated.line([quoted])
    assert comma_separated.line([*texts, quoted]) == f"{comma_separated.line(texts)},{alone}"


def test_a_bug_after_the_change_is_shown_and_the_change_is_told(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(carry_out, "_conclude", fail)
    monkeypatch.setattr("sys.argv", instance.command(*EXTEND, "--yes"))
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 4
    assert "ZeroDivisionError" in said
    assert said.splitlines()[-1] == (f"This program has failed (ZeroDivisionError). {STAYS} {instance.way_back(1)}")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (EOFError, 143)])
def test_whoever_interrupts_after_the_change_is_told_of_it(
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[BaseException],
    status: int,
) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(carry_out, "_conclude", stop)
    monkeypatch.setattr("sys.argv", instance.command(*EXTEND, "--yes", "--output", "json"))
    with pytest.raises(SystemExit) as left:
        main()
    streams = capsys.readouterr()
    assert left.value.code == status
    document = json.loads(streams.out)
    assert (document["status"], f"{document['error']}\n") == (status, streams.err)
    assert document["error"].endswith(f"{STAYS} {instance.way_back(1)}")


@pytest.mark.parametrize(
    ("words", "locked", "said"),
    [
        (("doctor",), "public.application_settings", "Looking at the database..."),
        (("history",), "token_tasks.runs", "Reading the journal..."),
        *slow_ones(
            (("history", "--run", 1), "public.users", "Reading the tokens..."),
            (("journal.status",), "token_tasks.runs", "Reading the journal..."),
            (("journal.prune", "--before", "2000-01-01", "--yes"), "token_tasks.runs", "Reading the journal..."),
            (("journal.uninstall", "--yes"), "token_tasks.runs", "Reading the journal..."),
        ),
    ],
)
def test_a_task_that_waits_for_a_lock_says_what_it_is_at(
    instance: Instance, words: Sequence[object], locked: str, said: str
) -> None:
    instance.done(*EXTEND, "--plan")
    with psycopg.connect(instance.address.conninfo) as lock:
        lock.execute(f"LOCK TABLE {locked}".encode())
        process = subprocess.Popen(
            instance.command(*words),
            env={**os.environ, PATIENCE_VARIABLE: "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        waiting = next(line for line in process.stderr if line == f"{said}\n")
    assert waiting
    assert ended(process)[0] == 0

"""A signal while the program is still being imported, in real processes."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.testbed.program import CHECKOUT

MAIN = ("-c", "from tokens.start import main; main()", "analyze", "--target", "postgresql://u@127.0.0.1:1/x")
INV = ("-c", "from invoke.main import program; program.run()", "tokens.analyze", "--target", "demoo")


def signalled_after(module: str, command: Sequence[str], number: signal.Signals) -> tuple[int, list[str]]:
    """The exit status and the lines of a process that gets a signal when it has imported `module`."""
    python = [sys.executable, "-X", "importtime", *command]
    reading, writing = os.pipe()
    # A page: so the process cannot be far ahead of what has been read.
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with (
        subprocess.Popen(python, stderr=writing, stdout=subprocess.DEVNULL, cwd=CHECKOUT) as child,
        os.fdopen(reading, "rb", buffering=0) as said,
    ):
        os.close(writing)
        while line := said.readline():
            if line.decode().rpartition("|")[2].strip() == module:
                break
        else:
            raise AssertionError(f"{module} is not imported")
        child.send_signal(number)
        rest = said.readall().decode().splitlines()
    return child.returncode, [line for line in rest if not line.startswith("import time:")]


@pytest.mark.parametrize(
    "module",
    [
        *("tokens.start", "invoke.exceptions", "invoke", "tokens.errors", "tokens.cli.declaration"),
        *("tokens.tasks.look", "tokens.namespace", "tokens.program", "tokens.database", "psycopg.errors"),
    ],
)
def test_ctrl_c_at_any_moment_of_the_import_is_one_line(module: str) -> None:
    assert signalled_after(module, MAIN, signal.SIGINT) == (130, ["Interrupted."])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_program_while_it_is_imported_is_one_line(number: signal.Signals) -> None:
    assert signalled_after("invoke.config", MAIN, number) == (143, [f"Terminated by {number.name}."])


@pytest.mark.parametrize("module", ["tokens.errors", "tokens.cli.target"])
def test_ctrl_c_while_inv_imports_the_collection_is_one_line(module: str) -> None:
    assert signalled_after(module, INV, signal.SIGINT) == (130, ["Interrupted."])


def test_what_the_caller_ignores_stays_ignored() -> None:
    program = "import signal; from tokens import start; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    command = ["bash", "-c", "trap '' INT; exec \"$@\"", "bash", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=dict(os.environ))
    assert done.stdout == "True\n"


@pytest.mark.parametrize("entry", ["main", "inv"])
def test_a_program_of_which_a_part_is_missing_is_one_line(entry: str) -> None:
    script = f"import sys; sys.modules['tokens.rotation'] = None; from tokens.start import {entry}; {entry}()"
    command = [sys.executable, "-c", script, "--version"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (126, "", 1)
    assert "The program is damaged (" in done.stderr
    assert "tokens.rotation" in done.stderr

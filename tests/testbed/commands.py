"""Commands that are typed into this very process: as quick as a function, and all that they print can be captured."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import invoke
import pytest

from tests.testbed.program import CHECKOUT, GITLAB_TOKENS, INV
from tokens.gitlab import api
from tokens.namespace import ns
from tokens.program import DataConfig, TokensProgram, main
from tokens.rotation import rotator
from tokens.run import worker

AT_START = ("PYTHON", "LC_", "LANG", "TZ", "INVOKE_DEBUG")
"""How variables begin that a process heeds when it starts, or never."""

STREAMS = ("stdin", "stdout", "stderr")


def typed(*words: str) -> int:
    """Run `gitlab-tokens` with these words; its exit status."""
    program = TokensProgram(name="gitlab-tokens", version="0", namespace=ns, config_class=DataConfig)
    try:
        program.run(["gitlab-tokens", *words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def call_here(
    *words: str, cwd: Path = CHECKOUT, env: dict[str, str] | None = None, stdin: str = "", merged: bool = False
) -> subprocess.CompletedProcess[str]:
    """What `call` returns for one of our two programs, without the third of a second that a process takes to start.

    For what people type and read. A process of its own is for what depends on one: a signal, a closed stream, a
    terminal, an account, a variable of AT_START.

    Args:
        merged: let standard error go where standard output goes, as `2>&1` does.
    """
    program = {GITLAB_TOKENS: main, INV: _inv}[words[0]]
    assert not [name for name in env or {} if name.startswith(AT_START)], "this needs a process of its own: call"
    with pytest.MonkeyPatch.context() as patch, _environment(env or {}), _streams(stdin, merged) as (out, err):
        patch.setattr("sys.argv", list(words))
        patch.chdir(cwd)
        patch.setattr(os, "initgroups", _for_good)
        for room, name in ((worker, "PAUSES"), (rotator, "PAUSES"), (rotator, "FAILOVER_PAUSES")):
            patch.setattr(room, name, [pause / 10 for pause in getattr(room, name)])  # as often, but not as long
        patch.setattr(api, "FIRST_PAUSE", api.FIRST_PAUSE / 10)
        for name in ns.task_names:
            patch.setattr(ns[name], "help", dict(ns[name].help))  # of which Invoke takes away what it has shown
        with _log():
            status = _ended(program)
        return subprocess.CompletedProcess(list(words), status, _text(out), "" if merged else _text(err))


def _inv() -> None:
    """As the script does it, with the tasks.py of the current folder or above."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", list(sys.path))
        try:
            invoke.Program(name="Invoke", version="0", binary="inv[oke]", binary_names=["invoke", "inv"]).run()
        finally:
            sys.modules.pop("tasks", None)


def _ended(program: Callable[[], None]) -> int:
    status: int | str | None = None
    try:
        program()
    except SystemExit as end:
        status = end.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
    assert not isinstance(status, str)
    return status or 0


def _for_good(*_: object) -> None:
    raise AssertionError("Root would become another account, for good: this needs a process of its own.")


@contextmanager
def _log() -> Iterator[None]:
    """Invoke's `--debug` adds its log where there is none yet; pytest has one."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)


@contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("INVOKE_")]:
        del os.environ[name]
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _streams(stdin: str, merged: bool) -> Iterator[tuple[IO[str], IO[str]]]:
    """Let the three descriptors be files, which a program that is started from here has, too; the last two of them."""
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in STREAMS]
        if merged:
            files[2] = files[1]
        files[0].write(stdin)
        files[0].seek(0)
        sys.stdout.flush()
        sys.stderr.flush()
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for number, (name, file) in enumerate(zip(STREAMS, files, strict=True)):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
            errors = "backslashreplace" if name == "stderr" else "strict"
            stream = open(number, "w" if number else "r", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            stack.callback(_close, stream)
            patch.setattr(sys, name, stream)
        yield files[1], files[2]


def _close(stream: IO[str]) -> None:
    with suppress(OSError):
        stream.close()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()

"""What Invoke was called with: the words before a task's name, and the tasks that it runs after it."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import invoke


def program(context: invoke.Context, task: str) -> str:
    """What begins a command line that calls `task`, by its full name, up to that name, as it was called now."""
    return f"{_program()}{_configuration_file(context)}{_prefix(task)}"


def _program() -> str:
    """This program and a blank, as a shell finds it: by its name where that leads to it, else by its path."""
    path = sys.argv[0]
    name = os.path.basename(path)
    if name not in ("gitlab-tokens", "inv", "invoke"):
        return "gitlab-tokens "
    found = shutil.which(name)
    return f"{name if found and os.path.realpath(found) == os.path.realpath(path) else shlex.quote(path)} "


def _configuration_file(context: invoke.Context) -> str:
    """Invoke's own option and a blank where it was typed: a name of a target may be of that file."""
    path = getattr(context.config, "_runtime_path", None)
    if not path or os.environ.get("INVOKE_RUNTIME_CONFIG") == path:
        return ""
    return f"-f {shlex.quote(str(path))} "


def _prefix(task: str) -> str:
    """What stands before a task's name where it is called, such as `tokens.`: empty in our own program."""
    called_as, _ = _calls()
    return called_as.removesuffix(task) if called_as.endswith(f".{task}") else ""


def is_invoke_running() -> bool:
    """Whether a program of Invoke's is on the stack: any other that imports us has streams of its own."""
    return _frame_of(invoke.Program.run) is not None


def later_tasks() -> list[str]:
    """The names of the tasks that Invoke will run in this process after the present one."""
    _, later = _calls()
    return later


def _calls() -> tuple[str, list[str]]:
    """What the present task was called by, and the tasks that Invoke will run after it.

    Invoke tells nobody: they stand in a variable of its executor, which is above us on the stack. Where that is not as
    we know it, none are found.
    """
    frame = _frame_of(invoke.Executor.execute)
    calls = frame.f_locals.get("calls", []) if frame else []
    present = frame.f_locals.get("call") if frame else None
    position = next((number for number, call in enumerate(calls) if call is present), len(calls))
    present_name, *later = [str(call.called_as or call.task.name) for call in calls[position:]] or [""]
    return present_name, later


def _frame_of(function: Callable[..., Any]) -> FrameType | None:
    """The call of this function that is above us on the stack; None where there is none."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame

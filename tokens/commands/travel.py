"""A task that runs where GitLab is, as if it had been called there: in a container or a pod."""

import getpass
import io
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from tokens.commands.ending import Ending
from tokens.commands.environment import Environment
from tokens.commands.faults import told_in_document
from tokens.commands.options.logs import logs_named
from tokens.commands.whole_file import METRICS_FILE, replace
from tokens.errors import ExitStatus, UsageError
from tokens.targets.there import bundle, remote
from tokens.targets.there.tool import RemoteTool, Way
from tokens.terminal import console
from tokens.terminal.printable import printable
from tokens.usage.condensed import condensed

CHANGING_TOKENS = ("edit", "extend", "remove", "revoke", "undo", "apply", "withdraw")  # or a stored plan
CHANGING_THE_JOURNAL = ("journal.install", "journal.uninstall", "journal.prune", "journal.four-eyes")


def travel(
    environment: Environment,
    way: Way,
    name: str,
    options: Mapping[str, Any],
    *,
    files: Sequence[str],
    logs: Sequence[str],
    into: Path | None,
    debug: bool,
    four_eyes: bool = False,
) -> Ending:
    """Run the task `name` where `way` leads, on these very streams; it says everything itself.

    Args:
        environment: the streams.
        way: into a container or pod.
        name: such as `analyze` or `journal.install`.
        options: those that differ from their defaults, by parameter.
        files: those of them that name a file right here; its content goes along.
        logs: those of them that name logs right here; what they come to goes along.
        into: a file right here that takes its output if it ends well; None for standard output.
        debug: whether the task there shows its log, too.
        four_eyes: whether the configuration here demands that nobody carries out a plan of their own.

    Raises:
        UsageError: a file cannot be read.
        TokensError: `into` cannot be written.
        SessionLost, ClientError: see `tokens.targets.there.remote`.
    """
    carried = {option: read_here(environment, option, options[option]) for option in files if option in options}
    for option in logs:
        if option in options:
            with environment.announced("Reading the log"):
                carried[option] = condensed(logs_named(environment, options[option]) or ())
    words = ["--debug"] if debug else []
    words.append(name)
    for option, value in options.items():
        if option not in carried:
            words += _words(option.replace("_", "-"), value)
    command = remote.RemoteCommand(
        tuple(words),
        caller=caller(),
        terminal=environment.has_person and into is None,
        files={option.replace("_", "-"): content for option, content in carried.items()},
        typed={option.replace("_", "-"): options[option] for option in files if option in options},
        four_eyes=four_eyes,
        changes=changes(name, options),
        shown_by=_shown_by(name, options),
    )
    steps = environment.steps()
    place = way.find(steps.show)
    environment.flush()
    kept = io.BytesIO()
    with console.restored() if command.terminal else nullcontext():
        try:
            output: BinaryIO | None = kept
            if into is None:
                output = None if environment.stdout is None else environment.stdout.buffer
            found = bundle.available(way.bundles)
            status = remote.run(place, command, found, lambda: way.pack(steps.show), steps.show, output)
        except remote.SessionLost as error:
            told_in_document(error)  # what has come of it by then
            raise
    if into is not None and status == ExitStatus.DONE:
        replace(into, kept.getvalue(), example=METRICS_FILE)
    return Ending(status)


def tool_at(environment: Environment, way: Way) -> RemoteTool:
    """The tool where `way` leads, to be asked out of sight; what it says to people is said to them here."""
    return RemoteTool(
        way,
        caller=caller(),
        report=environment.steps().show,
        tell=lambda line: environment.tell(printable(line)),
    )


def read_here(environment: Environment, option: str, source: str) -> bytes:
    """The content of a file of this machine, or of standard input for `-`, that a task elsewhere is to read.

    Raises:
        UsageError: it cannot be read, or standard input is a terminal; `option` is the parameter that named it.
    """
    said = f"--{option.replace('_', '-')} {source}"
    if source == "-":
        if environment.stdin is None or console.is_terminal(environment.stdin):
            raise UsageError(f"{said} reads standard input, which is a terminal: pipe the list in, or name a file.")
        return environment.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{said} cannot be read: {error.strerror}.") from None


def caller() -> str:
    """Who asks, as far as this machine knows: user@host, printable.

    Letters of any language stay: the same account in there must not count as another person.
    """
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"#{os.getuid()}"
    known = f"{user}@{socket.gethostname()}".encode(errors="replace").decode()  # as `tokens.origin` keeps it
    return "".join(c for c in known if c.isprintable())


def changes(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a task with these options may change something where it runs."""
    if name == "journal.four-eyes":
        return bool(options.get("on") or options.get("off"))
    return name in (*CHANGING_TOKENS, *CHANGING_THE_JOURNAL) and not (options.get("dry_run") or options.get("sql"))


def _shown_by(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What shows how far a task has come if nobody has heard its end."""
    if name in CHANGING_THE_JOURNAL:
        return ("journal.status",)
    if not changes(name, options) or options.get("no_journal"):
        return ("analyze",)
    begun = name in ("apply", "withdraw") and options.get("run")
    return ("history", "--run", str(begun)) if begun else ("history",)


def _words(flag: str, value: Any) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}={one}" for one in (value if isinstance(value, list | tuple) else (value,))]

"""The option `--target`: what it says about itself, and the database, container or pod that it leads to."""

import contextlib
import getpass
import logging
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import invoke

from tokens.address import Address
from tokens.errors import UsageError
from tokens.targets.target import (
    DatabaseTarget,
    DemoTarget,
    DockerTarget,
    HereTarget,
    KubernetesTarget,
    OmnibusTarget,
    RemoteTarget,
    SourceTarget,
    Target,
    parse_target,
)
from tokens.tasks.configuration import read_configuration, refuse_others
from tokens.tasks.report import told_in_document
from tokens.terminal import console
from tokens.terminal.steps import Steps

if TYPE_CHECKING:
    from tokens.targets.demo.progress import Report
    from tokens.targets.here.site import Site
    from tokens.targets.there.bundle import Bundle
    from tokens.targets.there.client import Place

VARIABLE = "INVOKE_TOKENS_TARGET"
TARGET_HELP = (
    "Where GitLab is: omnibus, source[:DIR], docker:CONTAINER, kubernetes:NAMESPACE[/RELEASE][@CONTEXT], "
    "postgresql://USER@HOST:PORT/DBNAME, demo, or a name from tokens.targets in Invoke's configuration. Default: "
    "INVOKE_TOKENS_TARGET, then tokens.target in the configuration, then the GitLab installed right here."
)


def locate(context: invoke.Context, target: str) -> Address:
    """The database that the option, the environment or the configuration names, started first if it is the demo's."""
    return locate_site(context, target).address


def locate_site(context: invoke.Context, target: str) -> "Site":
    """The same with what is known of the installation around it; for one right here, as its user from now on."""
    from tokens.targets import demo
    from tokens.targets.here import identity, installation
    from tokens.targets.here.site import Site, open_site

    identity.leave_a_closed_home()
    refuse_others(context, "root")
    root = read_configuration(context).root
    match _parse(context, target):
        case DatabaseTarget(address):
            return Site(address)
        case DemoTarget():
            return Site(demo.open(demo_directory(context), report_to(sys.stderr)))
        case OmnibusTarget():
            found = installation.omnibus(root)
        case SourceTarget(directory):
            found = installation.source(directory and _absolute(directory), root)
        case HereTarget():
            found = installation.detect(root)
        case DockerTarget() | KubernetesTarget():
            raise UsageError("This task has to be run where GitLab is, not from outside.")
    before = identity.account_name()
    site = open_site(found)
    notes = list(site.notes)
    if site.account != before and (later := later_tasks()):
        notes.append(f"This process is {site.account} from now on, for the tasks that follow, too: {', '.join(later)}.")
    for note in notes:
        print(f"NOTE: {note}", file=sys.stderr)
    return site


def remote_target(context: invoke.Context, target: str) -> RemoteTarget | None:
    """The container or pod that a task has to go into; None where it runs right here."""
    found = _parse(context, target)
    return found if isinstance(found, DockerTarget | KubernetesTarget) else None


def run_there(
    context: invoke.Context,
    target: RemoteTarget,
    name: str,
    options: Mapping[str, object],
    files: Mapping[str, bytes] | None = None,
) -> int:
    """Run the task where `target` is, on this very terminal, and return its exit status.

    Args:
        context: Invoke's, for the configuration.
        target: a container or pod.
        name: the task's, such as `analyze` or `journal.install`.
        options: those that differ from their defaults, by parameter; `--target` does not go along.
        files: the content of those options that name files right here, by parameter.
    """
    from tokens.targets.there import remote

    words = [name]
    for option, value in options.items():
        flag = _flag(option)
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            words.extend(f"--{flag}={one}" for one in value)
        else:
            words.append(f"--{flag}={value}")
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        words.insert(0, "--debug")
    command = remote.RemoteCommand(
        tuple(words),
        caller=_caller(),
        terminal=console.is_terminal(sys.stdin) and console.is_terminal(sys.stdout),
        files={_flag(option): content for option, content in (files or {}).items()},
    )
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    guide = Guide(context)
    place = guide.find(target)
    with console.restored() if command.terminal else contextlib.nullcontext():
        try:
            output = None if sys.stdout is None else sys.stdout.buffer
            return remote.run(place, command, *guide.luggage, output)
        except remote.SessionLost as error:
            told_in_document(error)  # what has come of it by then
            raise


class Guide:
    """The way into containers and pods, with the tool that is carried there if need be."""

    def __init__(self, context: invoke.Context) -> None:
        self._context = context
        self._directory = bundle_directory(context)
        self._steps = Steps(sys.stderr)

    def find(self, target: RemoteTarget) -> "Place":
        """The running container or pod that is meant."""
        from tokens.targets.there import remote

        return remote.find_place(target, self._steps.show, client(self._context, target))

    @property
    def luggage(self) -> "tuple[Bundle | None, Callable[[], Bundle], Callable[[str], None]]":
        """The tool's bundle if there is one, what makes it, and who is told of what takes time."""
        from tokens.targets.there import bundle

        def build() -> bundle.Bundle:
            self._steps.show("Packing the tool to carry it there")
            return bundle.build(self._directory)

        return bundle.available(self._directory), build, self._steps.show


def client(context: invoke.Context, target: RemoteTarget) -> tuple[str, ...]:
    """The words of the program that goes into containers or pods, as the configuration names it.

    Raises:
        UsageError: they cannot be told apart.
        Refused: this is root, and others may write the file that names it.
    """
    name = "docker" if isinstance(target, DockerTarget) else "kubectl"
    refuse_others(context, name)
    configuration = read_configuration(context)
    said = configuration.docker if name == "docker" else configuration.kubectl
    try:
        words = shlex.split(said)
    except ValueError as error:
        raise UsageError(f'tokens.{name} is a program with its first words, not "{said}": {error}.') from None
    return tuple(words) or (name,)


def later_tasks() -> list[str]:
    """The names of the tasks that Invoke will run in this process after the present one.

    Invoke tells nobody: they stand in a variable of its executor, which is above us on the stack. Where that is not as
    we know it, none are found.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not invoke.Executor.execute.__code__:
        frame = frame.f_back
    calls = frame.f_locals.get("calls", []) if frame else []
    present = frame.f_locals.get("call") if frame else None
    position = next((number for number, call in enumerate(calls) if call is present), len(calls))
    return [str(call.called_as or call.task.name) for call in calls[position + 1 :]]


def standby_addresses(context: invoke.Context, words: Sequence[str] | None) -> tuple[Address, ...] | None:
    """The standbys that an option names, each a database or a configured name for one; None where it names none.

    Raises:
        UsageError: one that is no postgresql://… address.
    """
    addresses = []
    for word in words or ():
        found = _parse(context, word)
        if not isinstance(found, DatabaseTarget):
            raise UsageError(
                "--standby takes postgresql://… or a configured name for one, and was given another target."
            )
        addresses.append(found.address)
    return tuple(addresses) or None


def holds_password(text: str) -> bool:
    """Whether a target, as it was typed, is an address with a password in it."""
    try:
        found = parse_target(text, {})
    except UsageError:
        return False
    return isinstance(found, DatabaseTarget) and found.has_password


def _flag(parameter: str) -> str:
    return parameter.replace("_", "-")


def read_here(option: str, source: str) -> bytes:
    """The content of a file of this machine, or of standard input for `-`, that a task elsewhere is to read.

    Raises:
        UsageError: it cannot be read, or standard input is a terminal; `option` is the parameter that named it.
    """
    said = f"--{_flag(option)} {source}"
    if source == "-":
        if sys.stdin is None or console.is_terminal(sys.stdin):
            raise UsageError(f"{said} reads standard input, which is a terminal: pipe the list in, or name a file.")
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{said} cannot be read: {error.strerror}.") from None


def bundle_directory(context: invoke.Context, directory: str = "") -> Path | None:
    """The folder that the option or the configuration gives bundles, None for the usual one."""
    if not directory:
        refuse_others(context, "bundle")
    named = directory or read_configuration(context).bundle_directory
    return _absolute(Path(named)) if named else None


def _parse(context: invoke.Context, target: str) -> Target:
    configuration = read_configuration(context)
    text = target or configuration.target
    if not text.strip() and VARIABLE in os.environ:
        # An unset variable in a script must not mean the GitLab right here.
        raise UsageError(f"{VARIABLE} is set, but to nothing: give it a target, or unset it for the GitLab right here.")
    return parse_target(text, configuration.targets)


def _caller() -> str:
    """Who asks, as far as this machine knows: user@host, in characters that any log can hold."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = f"#{os.getuid()}"
    return "".join(c for c in f"{user}@{socket.gethostname()}" if c.isascii() and c.isprintable())


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"{path} names nobody's home.") from None


def report_to(stream: TextIO | None) -> "Report":
    """Show on `stream` what the demo is doing, while somebody waits for it."""
    steps = Steps(stream)
    return lambda progress: steps.show(progress.text, progress.done, progress.total)


def demo_directory(context: invoke.Context) -> Path | None:
    """The folder that the configuration gives the demo, None for the usual one."""
    directory = read_configuration(context).demo_directory
    try:
        return Path(directory).expanduser() if directory else None
    except RuntimeError:
        raise UsageError(f"tokens.demo.directory names nobody's home: {directory}.") from None

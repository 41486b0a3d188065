"""The option `--target`: what it says about itself, and the database, container or pod that it leads to."""

import contextlib
import getpass
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import invoke

from tokens.address import Address
from tokens.errors import UsageError
from tokens.targets import demo
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
from tokens.terminal import console
from tokens.terminal.steps import Steps

if TYPE_CHECKING:
    from tokens.targets.here.site import Site
    from tokens.targets.there.bundle import Bundle
    from tokens.targets.there.client import Answer, Place

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
    from tokens.targets.here import installation
    from tokens.targets.here.site import Site, open_site

    root = Path(str(context.config.tokens.root))
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
    site = open_site(found)
    for note in site.notes:
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
    errand = remote.Errand(
        tuple(words),
        caller=_caller(),
        terminal=console.is_terminal(sys.stdin) and console.is_terminal(sys.stdout),
        files={_flag(option): content for option, content in (files or {}).items()},
    )
    guide = Guide(context)
    place = guide.find(target)
    with console.restored() if errand.terminal else contextlib.nullcontext():
        return remote.run(place, errand, *guide.luggage)


class Guide:
    """The way into containers and pods, with the tool that is carried there if need be."""

    def __init__(self, context: invoke.Context) -> None:
        self._directory = bundle_directory(context)
        self._steps = Steps(sys.stderr)

    def find(self, target: RemoteTarget) -> "Place":
        """The running container or pod that is meant."""
        from tokens.targets.there import remote

        return remote.find_place(target, self._steps.show)

    def consult(self, place: "Place", words: Sequence[str], feed: bytes, patience: float) -> "Answer":
        """Run the tool there out of sight, with `feed` on its standard input; what it said within so many seconds."""
        from tokens.targets.there import remote

        errand = remote.Errand(tuple(words), caller=_caller(), terminal=False)
        return remote.consult(place, errand, feed, patience, *self.luggage)

    @property
    def luggage(self) -> "tuple[Bundle | None, Callable[[], Bundle], Callable[[str], None]]":
        """The tool's bundle if there is one, what makes it, and who is told of what takes time."""
        from tokens.targets.there import bundle

        def build() -> bundle.Bundle:
            self._steps.show("Packing the tool to carry it there")
            return bundle.build(self._directory)

        return bundle.available(self._directory), build, self._steps.show


def standby_addresses(context: invoke.Context, words: Sequence[str] | None) -> tuple[Address, ...] | None:
    """The standbys that an option names, each a database or a configured name for one; None where it names none.

    Raises:
        UsageError: one that is no postgresql://… address.
    """
    addresses = []
    for word in words or ():
        found = _parse(context, word) if word else None
        if not isinstance(found, DatabaseTarget):
            raise UsageError(f'--standby takes postgresql://… or a configured name for one, not "{word}".')
        addresses.append(found.address)
    return tuple(addresses) or None


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
    named = directory or context.config.tokens.bundle.directory
    return _absolute(Path(str(named))) if named else None


def _parse(context: invoke.Context, target: str) -> Target:
    tokens = context.config.tokens
    return parse_target(target or str(tokens.target or ""), tokens.targets or {})


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


def report_to(stream: TextIO | None) -> demo.Report:
    """Show on `stream` what the demo is doing, while somebody waits for it."""
    steps = Steps(stream)
    return lambda progress: steps.show(progress.text, progress.done, progress.total)


def demo_directory(context: invoke.Context) -> Path | None:
    """The folder that the configuration gives the demo, None for the usual one."""
    directory = context.config.tokens.demo.directory
    try:
        return Path(str(directory)).expanduser() if directory else None
    except RuntimeError:
        raise UsageError(f"tokens.demo.directory names nobody's home: {directory}.") from None

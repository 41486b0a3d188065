"""Go into a container or pod and run there, as if one had logged in: the tool carries itself along.

One exec where the tool is there already; else an upload and a second one. The last leg is a process on our very
terminal. No database library is needed on this side.
"""

import contextlib
import hashlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from tokens.call import ARROW, current, to_type
from tokens.call import VARIABLE as CALL_VARIABLE
from tokens.errors import ExitStatus, TokensError
from tokens.secret import Secret
from tokens.targets.here.installation import NoInstallation
from tokens.targets.target import DockerTarget, RemoteTarget
from tokens.targets.there.bundle import Bundle
from tokens.targets.there.client import UPLOAD_PATIENCE, ClientError, Place, Printed, SecretAnswer, ask, ask_secretly
from tokens.targets.there.docker import DOCKER, find_container
from tokens.targets.there.kubernetes import KUBECTL, find_pod
from tokens.targets.there.scripts import (
    CARRY,
    CLEAN,
    ENDED,
    ENTER,
    FILE_FOLDERS,
    FOLDERS,
    INSTALLED,
    START,
    STOP,
    UPLOAD,
    EndProof,
    ScriptStatus,
)
from tokens.targets.there.session import Relay, attend
from tokens.version import __version__

CALLER_VARIABLE = "GITLAB_TOKENS_CALLER"
FOUR_EYES_VARIABLE = "INVOKE_TOKENS_FOUR_EYES"
PATIENCE_VARIABLE = "GITLAB_TOKENS_PATIENCE"
PATIENCE_TO_STOP = 10  # seconds
NO_BUNDLE = "0" * 64
NOT_STARTED = (126, 127)
NOT_BEGUN = (1, *NOT_STARTED)  # statuses of clients that had nothing started there
NO_SHELL = re.compile(r"\b(sh|env)\b.*(not found|no such file|permission denied)", re.IGNORECASE)
STOPPED = re.compile(r"container \S+ is not running|no such container", re.IGNORECASE)  # so nothing runs there
NOTEWORTHY = {"starting": "still starting", "unhealthy": "not healthy"}

ReportStep = Callable[[str], None]


class SessionLost(TokensError):
    """The connection ended before the process there did, or nobody knows how that ended."""


class ChangeLost(SessionLost):
    """The same of a task that changes something: perhaps nothing was done, perhaps a part, perhaps all."""

    status = ExitStatus.PARTIAL


@dataclass(frozen=True)
class RemoteCommand:
    """What is to be run there: the words after `gitlab-tokens`, who asks, and whether it has our terminal.

    `caller` is a claim for the record that changes keep, such as `alice@laptop`. `files` are brought there for the run:
    the content of each by the option, without its dashes, that names it there; `typed` is what it was given here.
    `four_eyes` is what the configuration here demands of changes there. `changes` is whether it may have changed
    something before its end; `shown_by` is the task, with its options, that shows what came of it.
    """

    words: tuple[str, ...]
    caller: str
    terminal: bool
    files: Mapping[str, bytes] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)
    four_eyes: bool = False
    changes: bool = False
    shown_by: tuple[object, ...] = ("analyze",)

    @property
    def may_have_changed(self) -> bool:
        """Whether something may have been changed: `changes`, or not `analyze` shows what came of it."""
        return self.changes or self.shown_by != ("analyze",)

    def lost(self, message: str) -> SessionLost:
        """The fault that nobody knows how this ended, with what to type to see it."""
        kind = ChangeLost if self.changes else SessionLost
        task, *words = map(str, self.shown_by)
        return kind(f"{message}{to_type('to see the state', task, *words)}")


def find_place(target: RemoteTarget, report: ReportStep, client: tuple[str, ...] = ()) -> Place:
    """The running container or pod that a target means.

    Args:
        target: a container or pod.
        report: gets a line on what is noteworthy.
        client: the words of the program that goes there; docker or kubectl where there are none.
    """
    if isinstance(target, DockerTarget):
        container = find_container(target, client or DOCKER)
        if container.health in NOTEWORTHY:
            logs = " ".join([*container.program, "logs", "-f", container.name])
            report(f"GitLab in {container.shown} is {NOTEWORTHY[container.health]} ({logs})")
        return container
    return find_pod(target, client or KUBECTL)


def run(
    place: Place,
    command: RemoteCommand,
    found: Bundle | None,
    build: Callable[[], Bundle],
    report: ReportStep,
    output: BinaryIO | None,
) -> int:
    """Run the tool there and return its exit status, carrying it there first if need be.

    Args:
        place: from `find_place`.
        command: what to run.
        found: the bundle of this very version, if there is one.
        build: makes it if there is none and it is wanted.
        report: gets a line on what takes time.
        output: standard output, in which nothing is buffered; None where the caller has closed it.

    Raises:
        SessionLost: the session was cut; what had been committed stays.
        ClientError: the place cannot be entered, or has no room for the tool.
    """
    status = _leg(place, command, found, output)
    if status in (ScriptStatus.MISSING, ScriptStatus.BROKEN):
        bundle = _carried(place, found, build, report)
        status = _leg(place, command, bundle, output)
    _check_began(place, status)
    return status


def consult(
    place: Place,
    command: RemoteCommand,
    feed: bytes | Secret,
    patience: float,
    found: Bundle | None,
    build: Callable[[], Bundle],
    report: ReportStep,
) -> SecretAnswer:
    """Run the tool there out of sight, with `feed` on its standard input; what it said, whole, and its exit status.

    It has `patience` seconds, to carry it there apart. No signal of the terminal's reaches it. Raises as `run` does.
    """
    answer = _consultation(place, command, feed, patience, found)
    if answer.status in (ScriptStatus.MISSING, ScriptStatus.BROKEN):
        bundle = _carried(place, found, build, report)
        answer = _consultation(place, command, feed, patience, bundle)
    _check_began(place, answer.status)
    return answer


def clean(place: Place) -> list[str]:
    """Remove what was carried there; returns the folders that are gone."""
    answer = ask(place.command(CLEAN, []))
    if answer.status != 0:
        raise _cannot_enter(place, answer)
    return answer.out.split()


def _carried(place: Place, found: Bundle | None, build: Callable[[], Bundle], report: ReportStep) -> Bundle:
    bundle = found or build()
    report(f"Uploading the tool to {place.shown} ({bundle.path.stat().st_size / 2**20:.0f} MiB)")
    _upload(place, bundle)
    return bundle


def _check_began(place: Place, status: int) -> None:
    match status:
        case ScriptStatus.NO_GITLAB:
            raise NoInstallation(
                f"There is no GitLab in {place.shown}; --target has to name the place where GitLab Rails runs."
            )
        case ScriptStatus.MISSING | ScriptStatus.BROKEN:
            raise ClientError(
                f"The tool cannot be started in {place.shown}: remove it, and try again."
                + to_type("to remove what was carried there", "bundle.clean")
            )
        case ScriptStatus.INSTALLED_BROKEN:
            raise ClientError(
                f"The tool that is installed in {place.shown} cannot be started: install it again (see deploy/), or "
                f"remove it.{removal(place)}"
            )


def removal(place: Place) -> str:
    """The end of a message: what to type to remove the tool that is installed there."""
    return f"{ARROW}to remove what is installed there: {place.line('rm', '-r', INSTALLED)}"


def _consultation(
    place: Place, command: RemoteCommand, feed: bytes | Secret, patience: float, bundle: Bundle | None
) -> SecretAnswer:
    """One run there whose output is kept; that it is whole is proven by the mark at its end."""
    run, files = os.urandom(16).hex(), os.urandom(16).hex()
    tool = [bundle.sha256 if bundle else NO_BUNDLE, __version__]
    line = place.command(
        START,
        [*tool, run, EndProof.MARK, files, *command.words],
        environment=_environment(place, command),
        stdin=True,
    )
    answer = ask_secretly(line, patience=patience, feed=feed)
    status = _mark(answer.out, run)
    if status is None:
        raise _unproven(place, command, answer.status, heard=bool(answer.out.reveal()))
    return SecretAnswer(status, answer.err, Secret(answer.out.reveal()[: -len(f"{run} 000")]))


def _mark(out: Secret, run: str) -> int | None:
    """The exit status in the mark at the end; None where there is no mark. No variable holds the text."""
    if not out.reveal()[:-3].endswith(f"{run} ") or not (out.reveal()[-3:].isascii() and out.reveal()[-3:].isdigit()):
        return None
    return int(out.reveal()[-3:])


def _leg(place: Place, command: RemoteCommand, bundle: Bundle | None, output: BinaryIO | None) -> int:
    """One run there on this process's own streams."""
    run = os.urandom(16).hex()
    proof = EndProof.RECORD if command.terminal else EndProof.MARK
    tool = [bundle.sha256 if bundle else NO_BUNDLE, __version__]
    files = os.urandom(16).hex()
    words = list(command.words)
    for option, content in command.files.items():
        carried = _carry(place, [*tool, files, option], content)
        if isinstance(carried, ScriptStatus):
            return carried
        words.append(f"--{option}={carried}")
    environment = _environment(place, command)
    line = place.command(START, [*tool, run, proof, files, *words], environment=environment, terminal=command.terminal)

    def stop(number: signal.Signals) -> None:
        with contextlib.suppress(ClientError):
            ask(place.command(STOP, [run, number.name.removeprefix("SIG")]), patience=PATIENCE_TO_STOP)

    if proof is EndProof.RECORD:
        status = attend(line, stop)
        return _recorded(place, command, run, status)
    relay = Relay(run, output)
    status = attend(line, stop, relay)
    marked = relay.finish()
    if marked is None:
        raise _unproven(place, command, status, heard=relay.heard)
    return marked


def _carry(place: Place, about: Sequence[str], content: bytes) -> str | ScriptStatus:
    """Bring a file there for one run, which removes it; where it lies then, or why there is no run to begin."""
    checksum = hashlib.sha256(content).hexdigest()
    answer = ask(place.command(CARRY, [*about, checksum], stdin=True), patience=UPLOAD_PATIENCE, feed=content)
    match answer.status:
        case 0 if path := answer.out.strip():
            return path
        case ScriptStatus.MISSING | ScriptStatus.NO_GITLAB:
            return ScriptStatus(answer.status)
        case 0 | ScriptStatus.DAMAGED:
            raise ClientError(f"The list did not arrive whole in {place.shown}: the connection was cut; try again.")
        case ScriptStatus.NO_FOLDER | ScriptStatus.NO_ROOM:
            raise ClientError(
                f"There is no room for a list of {len(content):,} bytes in {place.shown} ({FILE_FOLDERS}): mount a "
                "writable volume at one of them."
            )
    raise _cannot_enter(place, answer)


def _environment(place: Place, command: RemoteCommand) -> dict[str, str]:
    call = replace(current(), files=command.typed)
    environment = {CALLER_VARIABLE: f"{command.caller}{place.via}", CALL_VARIABLE: call.as_text()}
    if command.terminal:
        environment["TERM"] = os.environ.get("TERM") or "xterm"
    if os.environ.get("NO_COLOR"):
        environment["NO_COLOR"] = "1"
    if command.four_eyes:
        environment[FOUR_EYES_VARIABLE] = "true"
    if patience := os.environ.get(PATIENCE_VARIABLE):
        environment[PATIENCE_VARIABLE] = patience
    return environment


def _unproven(place: Place, command: RemoteCommand, status: int, *, heard: bool) -> TokensError:
    """Why the output, of which something or nothing was heard, is not complete."""
    # A client that could not begin has said so; so does a short exec, and in words that can be told apart.
    answer = ask(place.command(ENTER, []))
    if answer.status == 0:
        return _cut(place, command, f"before all of the output had come; its client left with status {status}")
    # Docker says why nothing was started on standard output.
    if status in NOT_STARTED:
        return _cannot_enter(place, answer)
    begun = status not in NOT_BEGUN or heard
    return (None if begun else _no_entry(place, answer)) or _cut(place, command, _reason(answer))


def _recorded(place: Place, command: RemoteCommand, run: str, status: int) -> int:
    """The exit status that the process there wrote down; the client's own proves nothing."""
    answer = ask(place.command(ENDED, [run]))
    if answer.status == 0 and answer.out.strip().isdigit():
        return int(answer.out)
    if answer.status == 0:
        raise _cut(place, command, "it has not ended there yet")
    if answer.status == ScriptStatus.NO_RECORD:
        if status == 0:
            raise command.lost(
                f"Nothing is known of how this ended in {place.shown}: no folder could be written to ({FILE_FOLDERS})."
            )
        raise _cut(place, command, "it may not have begun")
    if status in NOT_STARTED:
        raise _cannot_enter(place, answer)
    # What had begun did have a shell, whatever is said of a container that dies.
    fault = _no_entry(place, answer) if status in NOT_BEGUN else None
    if fault is None:
        raise _cut(place, command, _reason(answer))
    raise command.lost(f"{fault} If something ran there until now, what it committed stays.")


def _upload(place: Place, bundle: Bundle) -> None:
    words = [bundle.sha256, bundle.architecture]
    answer = ask(place.command(UPLOAD, words, stdin=True), patience=UPLOAD_PATIENCE, feed=bundle.path)
    match answer.status:
        case 0 if bundle.sha256 in answer.out:
            return
        case 0 | ScriptStatus.DAMAGED:
            raise ClientError(f"The tool did not arrive whole in {place.shown}: the connection was cut; try again.")
        case ScriptStatus.OTHER_MACHINE:
            raise ClientError(
                f"The machine of {place.shown} is {answer.out.strip()}, this bundle is for {bundle.architecture}: run "
                "bundle.build on a machine of that kind and install it there (see deploy/)."
            )
        case ScriptStatus.NO_FOLDER:
            raise ClientError(
                f"In {place.shown} no folder may hold programs ({FOLDERS}): mount a writable volume without noexec at "
                "one of them, remove a foreign gitlab-tokens-… in it, or install the tool there (see deploy/)."
            )
        case ScriptStatus.NO_ROOM:
            raise ClientError(f"The tool could not be unpacked in {place.shown}: {answer.reason}.")
    raise _cannot_enter(place, answer)


def _cut(place: Place, command: RemoteCommand, why: str) -> SessionLost:
    left = [
        *(["what had been committed stays"] if command.may_have_changed else []),
        *([] if STOPPED.search(why) else ["a process may still be running there"]),
    ]
    return command.lost(f"The connection to {place.shown} was lost ({why}){'; ' if left else ''}{', and '.join(left)}.")


def _cannot_enter(place: Place, answer: Printed) -> ClientError:
    return _no_entry(place, answer) or ClientError(f"Cannot run anything in {place.shown}: {_reason(answer)}.")


def _no_entry(place: Place, answer: Printed) -> ClientError | None:
    """Why nobody gets in, where that would be so at any time; a container that dies is none of it."""
    if "forbidden" in answer.err.lower():
        return ClientError(f"Kubernetes does not let you run commands in {place.shown}: it needs create on pods/exec.")
    if NO_SHELL.search(_reason(answer)):
        return ClientError(
            f"Nothing can be run in {place.shown}: it has no sh to run the tool with, so it is not GitLab's official "
            "image."
        )
    return None


def _reason(answer: Printed) -> str:
    """What the client says of itself; where nothing was started, Docker says so on standard output."""
    return replace(answer, err=answer.err or answer.out).reason if answer.status in NOT_STARTED else answer.reason

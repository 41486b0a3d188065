"""The programs through which another machine is reached, docker and kubectl: asked, fed and listened to."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokens.errors import TokensError
from tokens.secret import Secret

PATIENCE = 60  # seconds for an answer
UPLOAD_PATIENCE = 600  # seconds for a bundle or a file to arrive
OTHERS = {"docker": "podman", "kubectl": "oc, or k3s kubectl"}
"""Programs that may be there in the place of the two, with the same words."""

# kubectl adds advice to this line where a plugin for its login is missing, many lines of it.
UNREACHABLE = "Unable to connect to the server: "
# kubectl adds this line to what the command there has said about itself.
ENDED = "command terminated with exit code "
QUESTION = re.compile(r"(\.| -) [^.?]*\?$")  # "Is the docker daemon running?", in the place of a cure


class ClientError(TokensError):
    """docker or kubectl is missing, cannot reach its server, or may not do what was asked."""


class NoAnswer(ClientError):
    """It took too long, and what was asked for may be done all the same."""


@dataclass(frozen=True)
class _Ended:
    """How a command ended, and what it said about itself."""

    status: int
    err: str

    @property
    def reason(self) -> str:
        """The line that matters of what it said about itself: the last as a rule; without a question at its end."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        mattering = [line for line in lines if line.startswith(UNREACHABLE)]
        lines = mattering or [line for line in lines if not line.startswith(ENDED)] or lines
        return QUESTION.sub("", lines[-1]).rstrip(".?") if lines else f"exit status {self.status}"


@dataclass(frozen=True)
class Printed(_Ended):
    """The same, and what it printed."""

    out: str


@dataclass(frozen=True)
class SecretAnswer(_Ended):
    """The same, and what it printed, which may hold a token."""

    out: Secret


class Place(Protocol):
    """A container that commands can be run in.

    `shown` is what messages call it, `via` what the record of a change adds to its caller.
    """

    @property
    def shown(self) -> str: ...

    @property
    def via(self) -> str: ...

    def command(
        self,
        script: str,
        words: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        terminal: bool = False,
        stdin: bool = False,
    ) -> list[str]:
        """The command line that runs `script` by `sh` there, with `words` as its arguments."""
        ...

    def line(self, *words: str) -> str:
        """What to type to run a program there."""
        ...


def ask(command: Sequence[str], *, patience: float = PATIENCE, feed: Path | bytes | None = None) -> Printed:
    """Run a command to its end, out of sight, with `feed`, or the content of the file that it names, as its input.

    Raises:
        ClientError: the program is not installed, or does not answer within `patience` seconds.
    """
    program = command[0]
    path = find_program(program)
    try:
        with ExitStack() as stack:
            source: dict[str, Any] = {"input": feed}
            if not isinstance(feed, bytes):
                source = {"stdin": stack.enter_context(open(feed or "/dev/null", "rb"))}
            done = subprocess.run(
                [path, *command[1:]],
                **source,
                capture_output=True,
                timeout=patience,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _no_answer(program, patience) from None
    return Printed(done.returncode, done.stderr.decode(errors="replace"), done.stdout.decode(errors="replace"))


def ask_secretly(command: Sequence[str], *, patience: float, feed: bytes | Secret) -> SecretAnswer:
    """The same of a command whose input or output may hold a token: no frame and no exception of it ever does.

    Ctrl-C is kept from it, so it cannot ask for anything on the terminal.

    Raises:
        ClientError: as `ask`.
    """
    path = find_program(command[0])
    try:
        return _secret_answer([path, *command[1:]], feed, patience)
    except subprocess.TimeoutExpired:
        pass  # it has what was printed so far
    except BaseException as error:
        # Ctrl-C: the frames below hold what was printed in their variables, and a traceback may show those.
        raise error.with_traceback(None)  # noqa: B904 - the very same
    raise _no_answer(command[0], patience)


def _secret_answer(command: Sequence[str], feed: bytes | Secret, patience: float) -> SecretAnswer:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, process_group=0) as process:
        try:
            whole = feed.reveal().encode() if isinstance(feed, Secret) else feed
            return _secret(process, *process.communicate(whole, patience))
        finally:
            process.kill()
            process.wait()  # else Ctrl-C would leave it to nobody


def _secret(process: "subprocess.Popen[bytes]", out: bytes, err: bytes) -> SecretAnswer:
    return SecretAnswer(process.returncode, err.decode(errors="replace"), Secret(out.decode(errors="replace")))


def _no_answer(program: str, patience: float) -> NoAnswer:
    return NoAnswer(f"{program} gave no answer within {patience:.0f} seconds.")


def find_program(name: str) -> str:
    """The path of a client; ClientError where there is none."""
    path = shutil.which(name)
    if path is None:
        cure = f" (tokens.{name} in the configuration names another: {OTHERS[name]})" if name in OTHERS else ""
        raise ClientError(f"{name} is not installed on this machine, or not on the PATH{cure}.")
    return path

"""Handing a new token over: into a file, to a command, or on standard output.

What can be wrong with a destination is found out before a token is made, as far as that can be.
"""

import errno
import fcntl
import os
import re
import secrets
import shlex
import signal
import stat
import struct
import subprocess
import sys
import termios
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tokens.errors import Refused, TokensError, UsageError
from tokens.secret import Secret

FORMS = "file:PATH, command:COMMAND or stdout"
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
SHELL = "/bin/sh"
PUNCTUATION = "();<>|&"
MODE = 0o600

# What a file system answers that has no hard links.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# What a pipe or a terminal answers when it is to be written through to a disk.
NO_DISK = (errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.EBADF)


class DeliveryFailed(TokensError):
    """The token did not arrive, or nobody can tell whether it did; the message never holds it."""


@dataclass(frozen=True)
class NewToken:
    """What is known of one token that is handed over, the token itself apart.

    `old_id` is the token that it replaces; `id` and `expires_at` (YYYY-MM-DD, None for never) are its own, once it is
    made.
    """

    account: str
    name: str
    old_id: int
    scopes: tuple[str, ...]
    id: int | None = None
    expires_at: str | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The same for a command's environment; what is not known or never is empty, scopes have blanks between."""
        return {
            "TOKENS_ACCOUNT": self.account,
            "TOKENS_NAME": self.name,
            "TOKENS_OLD_ID": str(self.old_id),
            "TOKENS_ID": "" if self.id is None else str(self.id),
            "TOKENS_EXPIRES_AT": self.expires_at or "",
            "TOKENS_SCOPES": " ".join(self.scopes),
        }


class Delivery(ABC):
    """Where new tokens go."""

    @abstractmethod
    def check(self, tokens: Sequence[NewToken]) -> None:
        """Find out whether these tokens could be handed over, without anything being left behind.

        Raises:
            UsageError, Refused: they could not.
        """

    @abstractmethod
    def deliver(self, token: Secret, about: NewToken) -> None:
        """Hand the token over.

        Raises:
            DeliveryFailed: it is not there, or cannot be relied upon to be.
        """

    @abstractmethod
    def place(self, about: NewToken) -> str:
        """Where this one goes, for people."""


def parse_delivery(text: str, *, force: bool, output: TextIO | None) -> Delivery:
    """The destination that `--deliver` names. To be called before the process may become another user.

    Args:
        text: the option's value.
        force: whether a file that is there may be replaced.
        output: standard output, None where the caller has closed it.

    Raises:
        UsageError: it is none of the forms, or incomplete.
    """
    word, colon, rest = text.partition(":")
    match word:
        case "file" if rest:
            return FileDelivery(_absolute(rest), force=force)
        case "command" if rest.strip() and "\0" not in rest:
            return CommandDelivery(rest)
        case "stdout" if not colon:
            return OutputDelivery(output)
    raise UsageError(f'--deliver takes {FORMS}, not "{text}".')


def run_command(command: str, variables: Mapping[str, str], token: Secret | None = None) -> str | None:
    """Run a command by /bin/sh; what it prints goes to standard error. None, or how it failed as the end of a sentence.

    It has the variables in its environment, and on standard input exactly the token, without a line's end. One that
    ends well without having read the token has failed. Ctrl-C does not reach it, as it should end what it does; a
    second one, which raises KeyboardInterrupt here, kills it.
    """
    # The end that the command reads from stays open here, too: it tells afterwards whether the token was taken.
    reading, writing = os.pipe()
    try:
        if token is not None:
            _write(writing, token)
        os.close(writing)
        writing = -1
        shown = _error_stream()
        try:
            child = subprocess.Popen(  # noqa: S603 - it is the administrator's own
                [SHELL, "-c", f"trap '' INT; {command}"],
                stdin=reading,
                stdout=shown,
                stderr=shown,
                env=_environment(variables),
            )
        except (OSError, ValueError) as error:
            return f"cannot be started ({getattr(error, 'strerror', None) or 'its words cannot be passed on'})"
        try:
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        if status > 0:
            return f"failed with exit status {status}"
        return "ended without having read the token, which is on its standard input" if _unread(reading) else None
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


class FileDelivery(Delivery):
    """A file of its own for each token, which holds exactly the token, without a line's end, for its owner alone.

    `{account}` and `{token_id}` in the path are the account's username and the id of the token that is replaced.
    """

    def __init__(self, pattern: str, *, force: bool) -> None:
        for name in PLACEHOLDER.findall(pattern):
            if name not in ("account", "token_id"):
                raise UsageError(f"--deliver file: knows {{account}} and {{token_id}} in a path, not {{{name}}}.")
        self._pattern = pattern
        self._force = force

    def check(self, tokens: Sequence[NewToken]) -> None:
        taken: dict[str, NewToken] = {}
        for one in tokens:
            path = self._path(one)
            self._check_place(path)
            real = os.path.join(os.path.realpath(path.parent), path.name)
            other = taken.setdefault(real, one)
            if other is not one:
                raise UsageError(
                    f"Tokens {other.old_id} and {one.old_id} would both go to {path}: put {{account}} or {{token_id}} "
                    "into the path of --deliver."
                )

    def deliver(self, token: Secret, about: NewToken) -> None:
        path = self._path(about)
        try:
            self._write(path, token)
        except FileExistsError:
            raise DeliveryFailed(f"{path} has come to be meanwhile, and is not overwritten without --force.") from None
        except OSError as error:
            raise DeliveryFailed(f"{path} cannot be written: {error.strerror}.") from None

    def place(self, about: NewToken) -> str:
        return f"file {self._path(about)}"

    def _path(self, about: NewToken) -> Path:
        if "{account}" in self._pattern and (about.account in ("", ".", "..") or "/" in about.account):
            raise Refused(f'The account "{about.account}" cannot be part of a path: use {{token_id}} in --deliver.')
        words = {"account": about.account, "token_id": str(about.old_id)}
        return Path(PLACEHOLDER.sub(lambda found: words[found[1]], self._pattern))

    def _check_place(self, path: Path) -> None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Refused(f"{path} cannot be looked at: {error.strerror}; choose another path.") from None
        else:
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} is there and is no file: choose another path.")
            if not self._force:
                raise Refused(
                    f"{path} is there, and is not overwritten: choose another path, or say --force (a run that was "
                    "stopped may have left it)."
                )
        try:
            os.close(self._open(trial := self._beside(path)))
            trial.unlink()
        except OSError as error:
            raise Refused(
                f"No file can be made in {path.parent}: {error.strerror}; it has to be there, and open to the account "
                "that this runs as, which is GitLab's where root begins."
            ) from None

    def _write(self, path: Path, token: Secret) -> None:
        beside = self._beside(path)
        descriptor = self._open(beside)
        try:
            try:
                os.fchmod(descriptor, MODE)  # whatever the umask left of it
                _write(descriptor, token)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._publish(beside, path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
        # The token is in its place by now, so a folder that may not be read, a drop box for one, is no failure.
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                _to_disk(folder)
            finally:
                os.close(folder)

    def _publish(self, beside: Path, path: Path) -> None:
        """Give the file its name, all of it at once; a rename alone would overwrite what has come to be meanwhile."""
        if not self._force:
            try:
                os.link(beside, path, follow_symlinks=False)
                return
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
            os.close(self._open(path))
        os.replace(beside, path)

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.parent / f".gitlab-tokens-{secrets.token_hex(8)}"


class CommandDelivery(Delivery):
    """A command that takes the token from its standard input, such as `vault kv put secret/x token=-`."""

    def __init__(self, command: str) -> None:
        self._command = command

    def check(self, tokens: Sequence[NewToken]) -> None:  # noqa: ARG002 - it is the same for all of them
        check_command("--deliver command:", self._command)

    def deliver(self, token: Secret, about: NewToken) -> None:
        fault = run_command(self._command, about.variables, token)
        if fault:
            raise DeliveryFailed(f"The command of --deliver {fault}.")

    def place(self, about: NewToken) -> str:  # noqa: ARG002
        return f"command {self._command}"


class OutputDelivery(Delivery):
    """Standard output: a terminal shows which token it is; anything else gets the token and a line's end."""

    def __init__(self, output: TextIO | None) -> None:
        self._output = output

    @property
    def is_terminal(self) -> bool:
        """Whether somebody reads it there and then."""
        return self._output is not None and self._output.isatty()

    def check(self, tokens: Sequence[NewToken]) -> None:
        if self._output is None:
            raise UsageError("--deliver stdout cannot go with a standard output that is closed.")
        if len(tokens) > 1 and not self.is_terminal:
            raise UsageError(
                f"--deliver stdout gives one token where there is no terminal, and {len(tokens)} are to be rotated: "
                "nobody could tell which is whose. Say --token, or deliver them with file: or command:."
            )

    def deliver(self, token: Secret, about: NewToken) -> None:
        if self._output is None:
            raise DeliveryFailed("Standard output is closed.")
        try:
            self._output.flush()
            # Not by way of the stream: what it cannot write it keeps, and tries again at the very end.
            descriptor = self._output.fileno()
            if self.is_terminal:
                os.write(descriptor, f"\nThe new token of {_shown(about)}:\n\n".encode())
            _write(descriptor, token, b"\n\n" if self.is_terminal else b"\n")
            _to_disk(descriptor)
        except OSError as error:
            raise DeliveryFailed(f"Standard output does not take the token: {error.strerror}.") from None

    def place(self, about: NewToken) -> str:  # noqa: ARG002
        return "this terminal, once" if self.is_terminal else "standard output"


def check_command(option: str, command: str) -> None:
    """Find out whether the shell understands a command, and whether the program that it begins with is there.

    Raises:
        UsageError: `option` cannot be carried out.
    """
    try:
        if _shell("-n", "-c", command) != 0:
            raise UsageError(f"{option} has a command that {SHELL} cannot read; look at its quotes and brackets.")
        word = _first_word(command)
        if word and _shell("-c", 'command -v "$1"', "sh", word) != 0:
            raise UsageError(
                f'{option} begins with "{word}", which is not on the PATH of the account that this runs as.'
            )
    except OSError as error:
        raise UsageError(f"{option} needs {SHELL}, which cannot be run: {error.strerror}.") from None


def _shell(*words: str) -> int:
    return subprocess.run(  # noqa: S603
        [SHELL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode


def _first_word(command: str) -> str | None:
    """The program's name, None where only the shell itself could tell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=PUNCTUATION)
    lexer.whitespace_split = True
    try:
        words = [word for word in lexer if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", word)]
    except ValueError:
        return None
    plain = bool(words) and re.fullmatch(r"[\w./+-][\w./+ -]*", words[0])
    return words[0] if plain else None


def _absolute(path: str) -> str:
    """The same place whatever folder and account the process goes on in."""
    if "\0" in path or path.endswith("/"):
        raise UsageError("--deliver file: takes the path of a file.")
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise UsageError(f"--deliver file:{path} names nobody's home.") from None


def _environment(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    # As bytes, since the locale's encoding may not have what GitLab's names are made of.
    return {**os.environb, **{name.encode(): value.encode() for name, value in variables.items()}}


def _error_stream() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, ValueError, OSError):  # the caller has closed it, or it is none of the system's
        return subprocess.DEVNULL


def _write(descriptor: int, token: Secret, end: bytes = b"") -> None:
    """Write the token in one piece; no variable holds it, since a traceback may show those."""
    if os.write(descriptor, token.reveal().encode() + end) < len(token.reveal().encode() + end):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_DISK:
            raise


def _unread(descriptor: int) -> bool:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * struct.calcsize("i"))
    return bool(struct.unpack("i", answer)[0])


def _shown(about: NewToken) -> str:
    text = f'{about.account}, "{about.name}", id {about.id}'
    return "".join(character if character.isprintable() else "\ufffd" for character in text)

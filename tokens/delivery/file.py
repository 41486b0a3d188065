"""A file as the destination of a new token."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tokens.delivery.descriptor import to_disk, write
from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
from tokens.errors import Refused, UsageError, shortened
from tokens.secret import Secret

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
MODE = 0o600

# What a file system answers that has no hard links.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class FileDelivery(Delivery):
    """A file of its own for each token, which holds exactly the token, without a line's end, for its owner alone.

    `{account}` and `{token_id}` in the path are the account's username and the id of the token that is replaced. The
    path counts from the folder that the process is in when this is made.
    """

    def __init__(self, pattern: str, *, force: bool) -> None:
        for name in PLACEHOLDER.findall(pattern):
            if name not in ("account", "token_id"):
                raise UsageError(f"--deliver file: knows {{account}} and {{token_id}} in a path, not {{{name}}}.")
        self._pattern = _absolute(pattern)
        self._force = force

    def check(self, tokens: Sequence[NewToken]) -> None:
        taken: dict[str, NewToken] = {}
        for one in tokens:
            path = self._path(one)
            self._check_place(path)
            real = os.path.join(os.path.realpath(path.parent), path.name)
            other = taken.setdefault(real, one)
            if other is not one:
                parts = "{token_id}" if "{account}" in str(self._pattern) else "{account} or {token_id}"
                raise UsageError(
                    f"Tokens {other.old_id} and {one.old_id} would both go to {path}: put {parts} into the path of "
                    "--deliver."
                )

    def deliver(self, token: Secret, about: NewToken) -> None:
        path = self._path(about)
        try:
            self._write(path, token)
        except FileExistsError:
            raise DeliveryFailed(
                f"{path} was made by somebody else in the meantime, and is not overwritten without --force."
            ) from None
        except OSError as error:
            raise DeliveryFailed(f"{path} cannot be written: {error.strerror}.") from None

    def place(self, about: NewToken) -> str:
        return f"file {self._path(about)}"

    def _path(self, about: NewToken) -> Path:
        if "{account}" in self._pattern and not _names_a_file(about.account):
            account = shortened(repr(about.account))
            raise Refused(f"The account {account} cannot be part of a path: use {{token_id}} in --deliver.")
        words = {"account": about.account, "token_id": str(about.old_id)}
        path = PLACEHOLDER.sub(lambda found: words[found[1]], self._pattern)
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise Refused(
                f"{path} cannot be a file's name in this locale: use {{token_id}} in --deliver, or LC_ALL=C.UTF-8."
            ) from None
        return Path(path)

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
                    f"{path} is there, and is not overwritten: choose another path, or use --force (a run that was "
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
                write(descriptor, token)
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
                to_disk(folder)
            finally:
                os.close(folder)

    def _publish(self, beside: Path, path: Path) -> None:
        """Give the file its name, all of it at once; a rename alone would overwrite what somebody has made since."""
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


def _names_a_file(account: str) -> bool:
    return account not in ("", ".", "..") and "/" not in account and account.isprintable()


def _absolute(path: str) -> str:
    """The same place whatever folder and account the process goes on in."""
    if "\0" in path or path.endswith("/"):
        raise UsageError("--deliver file: takes the path of a file.")
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise UsageError(f"--deliver file:{path} is in the home folder of an account that is not here.") from None

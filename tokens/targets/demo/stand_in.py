"""Starting and ending the stand-in for GitLab's API, and knowing whether it runs. What it is says `api`.

A file in the demo's folder holds its process group and its port. The process keeps that file locked: while it is locked
it runs, whatever has become of the process that started it, and what the file says is only believed then.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tokens.errors import ServerError
from tokens.targets.demo.secrets import NAME as SECRETS

NAME = "api"
MODULE = "tokens.targets.demo.api"
PATIENCE = 30.0  # seconds for it to start or to end
POLL = 0.02  # seconds
ABSENT = (0, 0)


def url_if_running(folder: Path) -> str | None:
    """Where the stand-in of the demo in `folder` listens; None where it does not run."""
    with _opened(folder) as descriptor:
        if descriptor is None or not _is_locked(descriptor):
            return None
        _, port = _read(descriptor)
        return _url(port) if port else None


def start(folder: Path) -> str:
    """Start the stand-in of the demo in `folder`, whose server runs, unless it does; its URL.

    Of two callers at once one starts it, the other waits for that. It outlives both.

    Raises:
        ServerError: it does not start.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with _opened(folder, create=True) as descriptor:
            if descriptor is None:
                break
            if _locked(descriptor):
                return _url(_started(folder, descriptor))
            if _is_locked(descriptor) and (port := _read(descriptor)[1]):
                return _url(port)
        time.sleep(POLL)
    raise ServerError(f"The stand-in for GitLab's API in {folder} does not answer; stop the demo, and start it again.")


def stop(folder: Path) -> None:
    """End the stand-in of the demo in `folder`, if it runs.

    Raises:
        ServerError: it does not end.
    """
    with _opened(folder) as descriptor:
        deadline = time.monotonic() + PATIENCE
        while descriptor is not None and _is_locked(descriptor):
            group, _ = _read(descriptor)
            if time.monotonic() > deadline:
                raise ServerError(f"The stand-in for GitLab's API in {folder} does not end; end process {group}.")
            with contextlib.suppress(ProcessLookupError):
                if group:
                    os.killpg(group, signal.SIGKILL)  # it has nothing to put in order
            time.sleep(POLL)


def remove(folder: Path) -> None:
    """End it, and delete its files and the demo's secrets."""
    stop(folder)
    for path in (folder / NAME, folder / SECRETS, *folder.glob(f"{SECRETS}.*")):
        path.unlink(missing_ok=True)


def _started(folder: Path, descriptor: int) -> int:
    """The port on which it listens from now on; it has inherited the lock on `descriptor`."""
    _, port = _read(descriptor)
    os.ftruncate(descriptor, 0)
    # Of the caller's variables only what this Python needs: it runs as another account and lives for long.
    variables = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))), "LC_ALL": "C.UTF-8"}
    if "LD_LIBRARY_PATH" in os.environ:
        variables["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", MODULE, str(folder), str(descriptor), str(port)],
            cwd="/",
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=(descriptor,),
            start_new_session=True,  # so that Ctrl-C in the caller's terminal does not reach it
            umask=0o077,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"The stand-in for GitLab's API in {folder} does not start: {error}.") from error
    _, port = _read(descriptor)
    if done.returncode != 0 or not port:
        why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ServerError(f"The stand-in for GitLab's API in {folder} does not start: {why}")
    return port


@contextlib.contextmanager
def _opened(folder: Path, *, create: bool = False) -> Iterator[int | None]:
    """The file, None where it is not there."""
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        descriptor = os.open(folder / NAME, flags, 0o600)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise ServerError(f"{folder / NAME} cannot be opened: {error.strerror}.") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock the file, for this process and those that inherit it; whether nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(descriptor: int) -> bool:
    """Whether the file is locked by a stand-in, or by who starts one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _read(descriptor: int) -> tuple[int, int]:
    """The process group and the port that the file holds, zeros where it holds none."""
    match os.pread(descriptor, 100, 0).split():
        case [group, port] if group.isdigit() and port.isdigit():
            return int(group), int(port)
    return ABSENT


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"

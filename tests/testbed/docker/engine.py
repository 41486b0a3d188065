"""A Docker engine of our own: real containers, without touching the machine's engine, network or mounts.

It lives in a process and a mount namespace of its own. Whatever ends it, a failed test or a killed test run, the kernel
then ends every process in it and forgets every mount. Only empty control groups and a folder can be left behind, and
the next engine removes those.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.testbed.folders import left_behind, temporary

_PREFIX = "tokens-engine-"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_PROGRAMS = ("dockerd", "containerd", "runc", "unshare", "setpriv")
_START_TIMEOUT = 60  # seconds
_END_TIMEOUT = 10  # seconds


class EngineError(Exception):
    """The engine does not start, or a command that a test relies on failed in it."""


def missing() -> str | None:
    """Why no engine can run here, as the reason to skip; None if one can."""
    if os.geteuid() != 0:
        return "a Docker engine of our own needs root"
    if shutil.which("docker") is None:
        return "there is no docker client here"
    if absent := [program for program in _PROGRAMS if shutil.which(program) is None]:
        return f"a Docker engine of our own needs {', '.join(absent)} (Debian: docker.io, util-linux)"
    if not _control_groups_mounted():
        return "a Docker engine needs control groups below /sys/fs/cgroup"
    return None


class Engine:
    """A Docker engine that runs from `with` to the end of the block; its containers and images end with it.

    Containers have no network at all. The engine also ends with the thread that started it: start it from the main one.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def __enter__(self) -> Self:
        _remove_leftovers()
        # Its name is also containerd's namespace, which takes no underscore at the end as tempfile's names have.
        folder = temporary() / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        self._folder = folder
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def socket(self) -> Path:
        """What the engine listens on."""
        return self._folder / "docker.sock"

    def environment(self) -> dict[str, str]:
        """The variables that lead a docker client to this engine."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def docker(
        self, *words: str, check: bool = True, stdin: IO[bytes] | int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker client against this engine; unless `check` is false, a failure is an EngineError."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        done = subprocess.run(
            ["docker", *words],
            env=inherited | self.environment(),
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise EngineError(f"docker {' '.join(words)} ends with {done.returncode}: {done.stderr or done.stdout}")
        return done

    def stop(self) -> None:
        """End the engine and everything in it at once, as a power cut would, and delete what it kept."""
        if self._process is not None:
            # Its first process is the one that the namespace lives by: with it the kernel ends all others, and the
            # process that we started ends when they are gone.
            for process in _children(self._process.pid) or [self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._folder != Path():
            _remove(self._folder)
            self._folder = Path()

    def _start(self) -> None:
        log = self._folder / "engine.log"
        words = ["setpriv", "--pdeathsig", "KILL"]
        words += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words += ["dockerd", "--host", f"unix://{self.socket}"]
        words += ["--data-root", str(self._folder / "data"), "--exec-root", str(self._folder / "exec")]
        words += ["--pidfile", str(self._folder / "dockerd.pid"), "--config-file", str(self._configuration())]
        # The machine's network stays as it is.
        words += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        # Where the machine runs a containerd, dockerd takes that one: keep apart from the machine's containers.
        words += ["--containerd-namespace", self._folder.name]
        words += ["--containerd-plugins-namespace", f"{self._folder.name}-plugins"]
        words += ["--cgroup-parent", self._folder.name, "--exec-opt", "native.cgroupdriver=cgroupfs"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not _answers(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def _configuration(self) -> Path:
        """An empty configuration, so that /etc/docker/daemon.json does not count."""
        path = self._folder / "daemon.json"
        path.write_text("{}")
        return path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _control_groups_mounted() -> bool:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(line.split()[2] in ("cgroup", "cgroup2") for line in mounts)


def _remove_leftovers() -> None:
    """Delete what engines left behind whose test run was killed."""
    for folder in left_behind(_PREFIX):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            _remove(folder, ignore_errors=True)  # somebody else may be removing it, too


def _remove(folder: Path, *, ignore_errors: bool = False) -> None:
    # A killed run's processes end in their own time, and until then their control groups cannot be removed.
    deadline = time.monotonic() + _END_TIMEOUT
    while groups := _control_groups(folder.name):
        for group in groups:
            with contextlib.suppress(OSError):
                os.rmdir(group)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def _control_groups(name: str) -> list[str]:
    """The engine's control groups, the innermost first; removing one needs the ones in it gone."""
    return [group for group, _, _ in os.walk(_CONTROL_GROUPS, topdown=False) if name in Path(group).parts]

"""A Kubernetes cluster for a test with a real kubectl: pods whose processes are processes of this machine."""

import functools
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.testbed.kubernetes.facts import Exec, Pod

__all__ = ["Client", "Cluster", "Exec", "Pod", "clients", "extreme_clients"]

CHECKOUT = Path(__file__).parents[3]
NAMED_AFTER_VERSION = re.compile(r"kubectl\.(1\.\d+)")
WEBSOCKETS = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS"


class Client(NamedTuple):
    """A kubectl: its version such as "1.33", its program, and what its environment needs."""

    version: str
    path: Path
    env: dict[str, str]

    @property
    def transport(self) -> str:
        """What it executes over, as in `Exec.transport`."""
        minor = int(self.version.split(".")[1])
        wanted = self.env.get(WEBSOCKETS, str(minor >= 30).lower())
        return "websocket" if minor >= 29 and wanted == "true" else "spdy"

    def __str__(self) -> str:
        return f"kubectl-{self.version}-{self.transport}"


@functools.cache
def clients() -> tuple[Client, ...]:
    """The kubectl programs at hand, the oldest first, each with every transport that it has.

    They are the one on PATH, or those that lie beside it if it is a dispatcher that starts kubectl.1.27 and its like,
    and the programs that the environment's KUBECTL_PROGRAMS names, separated by colons.
    """
    programs = [Path(path) for path in os.environ.get("KUBECTL_PROGRAMS", "").split(":") if path]
    if found := shutil.which("kubectl"):
        beside = [path for path in Path(found).resolve().parent.iterdir() if NAMED_AFTER_VERSION.fullmatch(path.name)]
        programs += beside or [Path(found)]
    versions = {_version(program): program for program in reversed(programs)}
    made = []
    for version, program in sorted(versions.items(), key=lambda item: int(item[0].split(".")[1])):
        made.append(Client(version, program, {}))
        if version == "1.29":
            made.append(Client(version, program, {WEBSOCKETS: "true"}))
    if made and made[-1].transport == "websocket" and not made[-1].env:
        made.append(Client(made[-1].version, made[-1].path, {WEBSOCKETS: "false"}))
    return tuple(made)


def extreme_clients() -> list[Client]:
    """The oldest and the newest client of each transport: what lies between has never behaved otherwise."""
    alike = [[client for client in clients() if client.transport == transport] for transport in ("spdy", "websocket")]
    return [client for client in clients() if any(client in group[:1] + group[-1:] for group in alike)]


def plain_clients() -> list[Client]:
    """The oldest and the newest client, each with its own transport: for what is not about streams and their ends."""
    plain = [client for client in extreme_clients() if not client.env]
    return [*plain[:1], *plain[1:][-1:]]


def _version(program: Path) -> str:
    if named := NAMED_AFTER_VERSION.fullmatch(program.name):
        return named[1]
    shown = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, check=True).stdout
    found = re.match(r"v(\d+\.\d+)", json.loads(shown)["clientVersion"]["gitVersion"])
    assert found, shown
    return found[1]


class Cluster:
    """A cluster while the context lasts, with an API server on 127.0.0.1 and the namespaces `default` and `gitlab`.

    `version` is what the server says of itself. At the end every process that was executed is killed, with all that it
    has started.
    """

    def __init__(self, version: str = "1.33", context: str = "test") -> None:
        self._version = version
        self._context = context
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokens-kubernetes-")))
            _make_certificate(self._folder)
            token = secrets.token_hex()
            (self._folder / "token").write_text(token)
            self._server = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.testbed.kubernetes", self._folder, self._version],
                    cwd=CHECKOUT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C at the tests is not for it: it ends with its input
                    text=True,
                )
            )
            self.address = f"https://127.0.0.1:{self._answer()}"
            self.kubeconfig = self._folder / "kubeconfig"
            self.kubeconfig.write_text(json.dumps(self._configuration(token)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        assert self._server.returncode == 0, "the stand-in for the API server failed; its standard error says how"

    def environment(self, client: Client | None = None) -> dict[str, str]:
        """KUBECONFIG and a private HOME; for a client also a PATH on which it is `kubectl`, and what it needs."""
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        environment = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}
        if not client:
            return environment
        programs = self._folder / str(client)
        if not programs.exists():
            programs.mkdir()
            (programs / "kubectl").symlink_to(client.path.resolve())
        return environment | {"PATH": f"{programs}:{os.environ['PATH']}", **client.env}

    def add(self, pod: Pod) -> None:
        """Add a pod, and its namespace; one of the same name is replaced."""
        self._order("add", asdict(pod))

    def remove(self, name: str, namespace: str = "gitlab") -> None:
        """Remove a pod; what was executed in it runs on."""
        self._order("remove", name, namespace)

    def forbid(self, verb: str, resource: str) -> None:
        """Refuse something from now on: ("list", "pods"), ("get", "pods"), ("create", "pods/exec").

        ("get", "pods/exec") refuses WebSockets alone: kubectl then turns to SPDY.
        """
        self._order("forbid", verb, resource)

    def allow(self, verb: str, resource: str) -> None:
        """Take `forbid` back."""
        self._order("allow", verb, resource)

    def cut_next(self, after_bytes: int | None, stream: str = "out") -> None:
        """Drop the connection of the next exec with so many bytes of "out" or "err", or with None once one has started.

        The process lives on; without a terminal it reads the end of its input.
        """
        self._order("cut_next", after_bytes, stream)

    def cut_next_upload(self, after_bytes: int) -> None:
        """Drop the connection of the next exec of whose input so many bytes reach the process."""
        self._order("cut_next", after_bytes, "in")

    @property
    def execs(self) -> list[Exec]:
        """What was executed so far."""
        return [Exec(**executed | {"command": tuple(executed["command"])}) for executed in self._order("execs")]

    def _order(self, name: str, *arguments: Any) -> Any:
        assert self._server.stdin
        self._server.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._server.stdout
        line = self._server.stdout.readline()
        assert line, "the stand-in for the API server has ended; its standard error says why"
        return json.loads(line)

    def _configuration(self, token: str) -> dict[str, Any]:
        certificate = str(self._folder / "cert.pem")
        return {
            "kind": "Config",
            "apiVersion": "v1",
            "current-context": self._context,
            "clusters": [{"name": "test", "cluster": {"server": self.address, "certificate-authority": certificate}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": self._context, "context": {"cluster": "test", "user": "test"}}],
        }


def _make_certificate(folder: Path) -> None:
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)

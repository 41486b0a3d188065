"""What the cluster consists of: pods, permissions, cuts to come, and what was executed."""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Pod:
    """A pod; commands executed in it are processes of this machine.

    `wrap` is put before every command, so that it runs elsewhere: ("chroot", …), ("docker", "exec", …).
    `env` is added to a PATH, and to TERM=xterm where a terminal was asked for; a command has no other environment.
    """

    name: str
    namespace: str = "gitlab"
    labels: dict[str, str] = field(default_factory=lambda: {"app": "toolbox", "release": "gitlab"})
    containers: tuple[str, ...] = ("toolbox",)
    phase: str = "Running"
    ready: bool = True
    terminating: bool = False
    created: str = "2026-01-01T00:00:00Z"
    wrap: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exec:
    """A command that was executed: `transport` is "websocket" or "spdy".

    `pid` is None if it could not be started, `status` while it runs; a signal N that ended it counts as 128 + N.
    """

    pod: str
    namespace: str
    container: str
    command: tuple[str, ...]
    tty: bool
    stdin: bool
    transport: str
    pid: int | None = None
    status: int | None = None


@dataclass(frozen=True)
class Cut:
    """When a connection is to be dropped: after so many bytes of a stream ("in", "out", "err"), or at once (None)."""

    after_bytes: int | None
    stream: str


@dataclass
class Facts:
    """The cluster at this moment; the methods are what a test may tell it."""

    version: str
    token: str
    pods: dict[tuple[str, str], Pod] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=lambda: {"default", "gitlab"})
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    cut: Cut | None = None
    execs: list[Exec] = field(default_factory=list)

    def add(self, pod: Pod) -> None:
        self.pods[pod.namespace, pod.name] = pod
        self.namespaces.add(pod.namespace)

    def remove(self, name: str, namespace: str) -> None:
        del self.pods[namespace, name]

    def forbid(self, verb: str, resource: str) -> None:
        self.forbidden.add((verb, resource))

    def allow(self, verb: str, resource: str) -> None:
        self.forbidden.discard((verb, resource))

    def cut_next(self, cut: Cut) -> None:
        self.cut = cut

    def was_cut(self) -> None:
        """The cut has been made; the next exec has none."""
        self.cut = None

    def record(self, executed: Exec) -> int:
        """Keep an exec; its number, for `update`."""
        self.execs.append(executed)
        return len(self.execs) - 1

    def update(self, number: int, **changes: Any) -> None:
        self.execs[number] = replace(self.execs[number], **changes)

    def select(self, namespace: str | None, labels: str, fields: str) -> list[Pod]:
        """The pods that both selectors fit, by name; ValueError for a selector that is not understood."""
        chosen = [pod for key, pod in sorted(self.pods.items()) if namespace in (None, key[0])]
        return [pod for pod in chosen if _fits(labels, pod.labels) and _fits(fields, _fields(pod), known_only=True)]


def _fields(pod: Pod) -> dict[str, str]:
    return {"metadata.name": pod.name, "metadata.namespace": pod.namespace, "status.phase": pod.phase}


def _fits(selector: str, values: dict[str, str], *, known_only: bool = False) -> bool:
    """Whether all of a selector's terms hold: KEY, !KEY, KEY=VALUE, KEY==VALUE, KEY!=VALUE."""
    return all(_holds(term.strip(), values, known_only) for term in selector.split(",") if term.strip())


def _holds(term: str, values: dict[str, str], known_only: bool) -> bool:
    key, operator, value = term.partition("!=" if "!=" in term else "=")
    key, value = key.strip(), value.removeprefix("=").strip()
    if " " in key or (known_only and (key not in values or not operator)):
        raise ValueError(f'unable to parse requirement: "{term}"')
    if not operator:
        return key[1:] not in values if key.startswith("!") else key in values
    return (values.get(key) == value) is (operator == "=")

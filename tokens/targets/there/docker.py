"""A container of a Docker engine: found, and how commands get into it."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokens.errors import UsageError
from tokens.spelling import meant
from tokens.targets.here.installation import OMNIBUS_RAILS
from tokens.targets.target import DockerTarget
from tokens.targets.there.client import ClientError, Printed, ask

DOCKER = ("docker",)
# GitLab's image has the label since about 17.6; before, only its name tells. An image that others have made may have
# neither, and is told by the file of GitLab's that it holds.
LABEL = "org.opencontainers.image.source=https://gitlab.com/gitlab-org/omnibus-gitlab"
IMAGES = ("gitlab/gitlab-ee", "gitlab/gitlab-ce")
PROOF = f"/{OMNIBUS_RAILS}/VERSION"
# By default Ctrl-P would be held back, waiting for Ctrl-Q.
DETACH_KEYS = "ctrl-@,ctrl-_"


@dataclass(frozen=True)
class Container:
    """A running container."""

    name: str
    health: str = ""
    program: tuple[str, ...] = DOCKER

    via = ""

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"container {self.name}"

    def command(
        self,
        script: str,
        words: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        terminal: bool = False,
        stdin: bool = False,
    ) -> list[str]:
        """`docker exec`, as whom the image says."""
        options = [word for name, value in (environment or {}).items() for word in ("-e", f"{name}={value}")]
        if terminal:
            options += ["-it", "--detach-keys", DETACH_KEYS]
        elif stdin:
            options += ["-i"]
        return [*self.program, "exec", *options, self.name, "sh", "-c", script, "gitlab-tokens", *words]

    def line(self, *words: str) -> str:
        """`docker exec`, to be typed."""
        return shlex.join([*self.program, "exec", self.name, *words])


def find_container(target: DockerTarget, program: tuple[str, ...] = DOCKER) -> Container:
    """The container that is meant, running.

    Args:
        target: what was said.
        program: the words of Docker's client, or of one that takes the same words, such as podman.

    Raises:
        UsageError: there is none, or several.
        ClientError: Docker cannot be asked.
    """

    def client(*words: str) -> Printed:
        return ask([*program, *words])

    name = target.container or _only_gitlab(client)
    answer = client("inspect", "--type", "container", "--format", "{{json .State}}", name)
    if answer.status != 0:
        if "no such container" not in answer.err.lower():
            raise _unreachable(answer)
        running = [candidate.split("\t")[0] for candidate in _running(client)]
        shown = ", ".join(running) or "none"
        raise UsageError(f"There is no container {name}{meant(name, running)}; running here: {shown}.")
    status, health = _state(answer.out)
    if status != "running":
        command = " ".join([*program, "unpause" if status == "paused" else "start", name])
        logs = " ".join([*program, "logs", name])
        raise ClientError(f"Container {name} is {status}, not running: {command}, or {logs}.")
    return Container(name, health, program)


def _state(text: str) -> tuple[str, str]:
    """A container's status and health, which podman before 4 calls Healthcheck; each empty where nothing is said."""
    try:
        state = json.loads(text)
        health = state.get("Health") or state.get("Healthcheck") or {}
        return str(state.get("Status") or ""), str(health.get("Status") or "")
    except (ValueError, AttributeError):
        raise ClientError("What Docker says of the container's state cannot be read.") from None


def _only_gitlab(client: Callable[..., Printed]) -> str:
    running = [row.partition("\t") for row in _running(client)]
    labelled = [row.partition("\t")[0] for row in _running(client, "--filter", f"label={LABEL}")]
    names = [name for name, _, image in running if name in labelled or any(known in image for known in IMAGES)]
    if not names:
        names = [name for name, _, _ in running if client("cp", f"{name}:{PROOF}", "-").status == 0]
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(f"Several containers run GitLab: {', '.join(names)}; choose one with --target docker:NAME.")
    shown = ", ".join(name for name, _, _ in running) or "none"
    raise UsageError(f"No container runs GitLab; running here: {shown}. Choose one with --target docker:NAME.")


def _running(client: Callable[..., Printed], *options: str) -> list[str]:
    """Name and image of each running container, with a tab between."""
    answer = client("ps", *options, "--format", "{{.Names}}\t{{.Image}}")
    if answer.status != 0:
        raise _unreachable(answer)
    return answer.out.splitlines()


def _unreachable(answer: Printed) -> ClientError:
    return ClientError(f"Cannot talk to Docker: {answer.reason}; start it, use sudo, or join the docker group.")

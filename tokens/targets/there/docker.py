"""A container of a Docker engine: found, and how commands get into it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokens.errors import UsageError
from tokens.targets.target import DockerTarget
from tokens.targets.there.client import Answer, ClientError, ask

# GitLab's image has the label since about 17.6; before, only its name tells.
LABEL = "org.opencontainers.image.source=https://gitlab.com/gitlab-org/omnibus-gitlab"
IMAGES = ("gitlab/gitlab-ee", "gitlab/gitlab-ce")
# By default Ctrl-P would be held back, waiting for Ctrl-Q.
DETACH_KEYS = "ctrl-@,ctrl-_"
STATE = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"


@dataclass(frozen=True)
class Container:
    """A running container."""

    name: str
    health: str = ""

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
        return ["docker", "exec", *options, self.name, "sh", "-c", script, "gitlab-tokens", *words]


def find_container(target: DockerTarget) -> Container:
    """The container that is meant, running.

    Raises:
        UsageError: there is none, or several.
        ClientError: Docker cannot be asked.
    """
    name = target.container or _only_gitlab()
    answer = ask(["docker", "inspect", "--type", "container", "--format", STATE, name])
    if answer.status != 0:
        if "no such container" not in answer.err.lower():
            raise _unreachable(answer)
        running = ", ".join(candidate.split("\t")[0] for candidate in _running()) or "none"
        raise UsageError(f"There is no container {name}; running here: {running}.")
    state, _, health = answer.out.strip().partition(" ")
    if state != "running":
        cure = "unpause" if state == "paused" else "start"
        raise ClientError(f"Container {name} is {state}, not running: docker {cure} {name}, or docker logs {name}.")
    return Container(name, health)


def _only_gitlab() -> str:
    candidates = _running("--filter", f"label={LABEL}")
    if not candidates:
        candidates = [row for row in _running() if any(image in row.partition("\t")[2] for image in IMAGES)]
    names = [row.partition("\t")[0] for row in candidates]
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(f"Several containers run GitLab: {', '.join(names)}; say which with --target docker:NAME.")
    running = ", ".join(row.partition("\t")[0] for row in _running()) or "none"
    raise UsageError(f"No container runs GitLab's image; running here: {running}. Say which with --target docker:NAME.")


def _running(*options: str) -> list[str]:
    """Name and image of each running container, with a tab between."""
    answer = ask(["docker", "ps", *options, "--format", "{{.Names}}\t{{.Image}}"])
    if answer.status != 0:
        raise _unreachable(answer)
    return answer.out.splitlines()


def _unreachable(answer: Answer) -> ClientError:
    return ClientError(f"Cannot talk to Docker: {answer.reason}; start it, use sudo, or join the docker group.")

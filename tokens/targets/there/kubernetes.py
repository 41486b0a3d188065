"""The toolbox pod of GitLab's Helm chart: found, and how commands get into it."""

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokens.call import ARROW
from tokens.errors import UsageError
from tokens.origin import CONTEXT
from tokens.targets.target import KubernetesTarget
from tokens.targets.there.client import ClientError, Printed, ask

CONTAINER = "toolbox"  # always said: a chart may put other containers before it
REQUEST_TIMEOUT = "20s"
KUBECTL = ("kubectl",)


@dataclass(frozen=True)
class ToolboxPod:
    """A ready toolbox pod."""

    name: str
    namespace: str
    context: str | None
    via: str = ""
    program: tuple[str, ...] = KUBECTL

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"pod {self.namespace}/{self.name}"

    def command(
        self,
        script: str,
        words: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        terminal: bool = False,
        stdin: bool = False,
    ) -> list[str]:
        """`kubectl exec` into the pod's toolbox container; it takes no variables, `env` does."""
        options = ["-it"] if terminal else ["-i"] if stdin else []
        variables = ["env", *(f"{name}={value}" for name, value in environment.items())] if environment else []
        shell = [*variables, "sh", "-c", script, "gitlab-tokens", *words]
        return self._exec(*options, self.name, "-c", CONTAINER, "--", *shell)

    def line(self, *words: str) -> str:
        """`kubectl exec`, to be typed."""
        return shlex.join(self._exec(self.name, "-c", CONTAINER, "--", *words))

    def _exec(self, *words: str) -> list[str]:
        return [*kubectl(self.program, self.context), "-n", self.namespace, "exec", *words]


def kubectl(program: Sequence[str], context: str | None) -> list[str]:
    """kubectl, in the context that was said."""
    return [*program, *(["--context", context] if context else [])]


def find_pod(target: KubernetesTarget, program: tuple[str, ...] = KUBECTL) -> ToolboxPod:
    """The newest ready toolbox pod of the namespace and release.

    Args:
        target: what was said.
        program: the words of kubectl, or of a client that takes the same words, such as oc or k3s kubectl.

    Raises:
        UsageError: there is none, or several releases have one.
        ClientError: the cluster cannot be asked.
    """
    namespace = target.namespace
    command = [*kubectl(program, target.context), f"--request-timeout={REQUEST_TIMEOUT}", "-n", namespace]
    answer = ask([*command, "get", "pods", "-l", "app=toolbox", "-o", "json"])
    if answer.status != 0:
        raise _refused(answer, namespace)
    try:
        pods = json.loads(answer.out)["items"]
    except (ValueError, KeyError, TypeError):
        raise ClientError(f"kubectl's list of pods in namespace {namespace} cannot be read.") from None
    name = choose_pod(pods, target, lambda: _context(target, program), program)
    return ToolboxPod(name, namespace, target.context, f"{CONTEXT}{_context(target, program)})", program)


def choose_pod(
    pods: Iterable[dict[str, Any]],
    target: KubernetesTarget,
    context: Callable[[], str],
    program: Sequence[str] = KUBECTL,
) -> str:
    """The name of the pod to go into, out of a Kubernetes list of pods with GitLab's label.

    Raises:
        UsageError: none is ready, or several releases have one.
    """
    pods = [pod for pod in pods if target.release in (None, _release(pod))]
    lasting = [pod for pod in pods if not _is_job(pod)]
    ready = sorted(filter(_is_ready, lasting), key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
    releases = sorted({_release(pod) for pod in ready})
    if len(releases) > 1:
        raise UsageError(
            f"Several releases in namespace {target.namespace} have a toolbox pod: {', '.join(releases)}; "
            f"choose one with --target kubernetes:{target.namespace}/RELEASE."
        )
    if ready:
        return str(ready[-1]["metadata"]["name"])
    of_release = f" of release {target.release}" if target.release else ""
    where = f"No toolbox pod{of_release} is ready in namespace {target.namespace} (context {context()})"
    if lasting:
        states = ", ".join(f"{pod['metadata']['name']} is {_state(pod)}" for pod in lasting)
        describe = ["-n", target.namespace, "describe", "pod", lasting[-1]["metadata"]["name"]]
        raise UsageError(
            f"{where}: {states}.{ARROW}to see why: {shlex.join([*kubectl(program, target.context), *describe])}"
        )
    if pods:
        raise UsageError(f"{where}, only pods of jobs such as backups; set gitlab.toolbox.enabled and replicas.")
    raise UsageError(
        f"{where}: is it the right namespace and context, is gitlab.toolbox.enabled set and has it replicas?"
    )


def _release(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("release", ""))


def _is_job(pod: dict[str, Any]) -> bool:
    """Whether a job made it: backup pods carry the toolbox's labels."""
    metadata = pod["metadata"]
    labels = metadata.get("labels", {})
    owners = metadata.get("ownerReferences") or ()
    return (
        "job-name" in labels
        or "batch.kubernetes.io/job-name" in labels
        or any(owner.get("kind") == "Job" for owner in owners)
    )


def _is_ready(pod: dict[str, Any]) -> bool:
    status = pod.get("status", {})
    return (
        status.get("phase") == "Running"
        and not pod["metadata"].get("deletionTimestamp")
        and any(one.get("name") == CONTAINER and one.get("ready") for one in status.get("containerStatuses") or ())
    )


def _state(pod: dict[str, Any]) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "being removed"
    phase = str(pod.get("status", {}).get("phase", "unknown"))
    return "not ready" if phase == "Running" else phase.lower()


def _context(target: KubernetesTarget, program: Sequence[str]) -> str:
    if target.context:
        return target.context
    answer = ask([*kubectl(program, None), "config", "current-context"])
    return answer.out.strip() if answer.status == 0 else "unknown"


def _refused(answer: Printed, namespace: str) -> ClientError:
    if "forbidden" in answer.err.lower():
        return ClientError(
            f"Kubernetes does not let you list pods in namespace {namespace}: it needs get and list on pods, and "
            "create on pods/exec."
        )
    return ClientError(f"kubectl cannot list the pods in namespace {namespace}: {answer.reason}.")

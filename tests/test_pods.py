"""Which pod a Kubernetes target means, out of what the cluster lists."""

from typing import Any

import pytest

from tokens.errors import UsageError
from tokens.targets.target import KubernetesTarget
from tokens.targets.there.kubernetes import ToolboxPod, choose_pod

ANY = KubernetesTarget("gitlab")


def pod(
    name: str, *, release: str = "prod", container: str = "toolbox", ready: bool = True, **more: Any
) -> dict[str, Any]:
    metadata = {
        "name": name,
        "labels": {"app": "toolbox", "release": release},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    labels = more.pop("labels", {})
    phase = more.pop("phase", "Running")
    return {
        "metadata": metadata | more | {"labels": metadata["labels"] | labels},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "other", "ready": True}, {"name": container, "ready": ready}],
        },
    }


def choose(*pods: dict[str, Any], target: KubernetesTarget = ANY) -> str:
    return choose_pod(pods, target, lambda: "test")


def refusal(*pods: dict[str, Any], target: KubernetesTarget = ANY) -> str:
    with pytest.raises(UsageError) as refused:
        choose(*pods, target=target)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_newest_ready_pod_is_chosen() -> None:
    newest = pod("c", creationTimestamp="2026-03-01T00:00:00Z", ready=False)
    newer = pod("b", creationTimestamp="2026-02-01T00:00:00Z")
    assert choose(pod("a"), newest, newer) == "b"


@pytest.mark.parametrize(
    "not_meant",
    [
        pod("x", labels={"job-name": "backup"}),
        pod("x", labels={"batch.kubernetes.io/job-name": "backup"}),
        pod("x", ownerReferences=[{"kind": "Job"}]),
        pod("x", container="toolbox-backup"),
        pod("x", deletionTimestamp="2026-01-02T00:00:00Z"),
        pod("x", phase="Succeeded"),
        pod("x", phase="Pending"),
        pod("x", ready=False),
    ],
)
def test_jobs_and_pods_that_are_not_ready_are_not_meant(not_meant: dict[str, Any]) -> None:
    not_meant["metadata"]["creationTimestamp"] = "2026-09-01T00:00:00Z"
    assert choose(not_meant, pod("toolbox")) == "toolbox"
    assert "context test" in refusal(not_meant)


def test_several_releases_ask_for_one() -> None:
    pods = pod("a", release="prod"), pod("b", release="staging")
    assert "prod, staging; choose one with --target kubernetes:gitlab/RELEASE" in refusal(*pods)
    assert choose(*pods, target=KubernetesTarget("gitlab", "staging")) == "b"
    assert "of release other" in refusal(*pods, target=KubernetesTarget("gitlab", "other"))


def test_the_refusal_says_what_there_is_instead() -> None:
    assert "is gitlab.toolbox.enabled set" in refusal()
    assert "only pods of jobs" in refusal(pod("x", labels={"job-name": "backup"}))
    assert "x is pending. → to see why: kubectl -n gitlab describe pod x" in refusal(pod("x", phase="Pending"))
    elsewhere = KubernetesTarget("gitlab", context="prod eu")
    assert refusal(pod("x", ready=False), target=elsewhere).endswith(
        "x is not ready. → to see why: kubectl --context 'prod eu' -n gitlab describe pod x"
    )
    assert "x is being removed" in refusal(pod("x", deletionTimestamp="2026-01-02T00:00:00Z"))


def test_what_is_to_be_typed_names_the_context_if_one_was_named() -> None:
    here = ToolboxPod("toolbox-1", "gitlab", None, program=("k3s", "kubectl"))
    assert here.line("rm", "a b") == "k3s kubectl -n gitlab exec toolbox-1 -c toolbox -- rm 'a b'"
    there = ToolboxPod("toolbox-1", "gitlab", "arn:aws/x")
    assert there.line("true") == "kubectl --context arn:aws/x -n gitlab exec toolbox-1 -c toolbox -- true"

"""The stand-in for a Kubernetes cluster, seen by every real kubectl at hand."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.testbed.kubernetes.cluster import Client, Cluster, Exec, Pod, extreme_clients, plain_clients
from tests.testbed.screen import Program

SHOW_SIZES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
while True:
    print("%d by %d" % tuple(os.get_terminal_size(0)), flush=True)
    signal.sigwait([signal.SIGWINCH])
"""

Kubectl = Callable[..., "subprocess.CompletedProcess[bytes]"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kubernetes,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]


NO_CLIENT = pytest.param(None, marks=pytest.mark.skip(reason="kubectl is not installed"), id="no kubectl")
PLAIN = [pytest.param(client, id=str(client)) for client in plain_clients()] or [NO_CLIENT]
OLDEST_AND_NEWEST = pytest.mark.parametrize("client", PLAIN, indirect=True)


@pytest.fixture(params=[pytest.param(client, id=str(client)) for client in extreme_clients()] or [NO_CLIENT])
def client(request: pytest.FixtureRequest) -> Client:
    assert isinstance(request.param, Client)
    return request.param


@pytest.fixture
def cluster(client: Client) -> Iterator[Cluster]:
    with Cluster(version=client.version) as started:
        started.add(Pod("toolbox-1"))
        yield started


@pytest.fixture
def kubectl(cluster: Cluster, client: Client) -> Kubectl:
    def run(*arguments: str, content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        command = ["kubectl", "--namespace=gitlab", *arguments]
        return subprocess.run(command, env=cluster.environment(client), input=content, capture_output=True, timeout=60)

    return run


@pytest.fixture
def execute(kubectl: Kubectl) -> Kubectl:
    """Execute a shell command in the pod."""
    return lambda script, *options, **more: kubectl("exec", *options, "toolbox-1", "--", "sh", "-c", script, **more)


def in_terminal(cluster: Cluster, client: Client, *command: str, size: tuple[int, int] = (24, 80)) -> Program:
    argv = ["kubectl", "--namespace=gitlab", "exec", "-it", "toolbox-1", "--", *command]
    return Program(argv, env=cluster.environment(client), size=size)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline


def test_the_exit_status_comes_through(execute: Kubectl, cluster: Cluster) -> None:
    for status in (0, 3, 130):
        assert execute(f"exit {status}").returncode == status
    assert [executed.status for executed in cluster.execs] == [0, 3, 130]


def test_what_was_executed_is_known(execute: Kubectl, cluster: Cluster, client: Client) -> None:
    execute("exit 3", "--container=toolbox")
    (executed,) = cluster.execs
    assert executed.pid
    command = ("sh", "-c", "exit 3")
    assert executed == Exec(
        "toolbox-1", "gitlab", "toolbox", command, False, False, client.transport, executed.pid, status=3
    )


def test_a_signal_that_ends_the_process_counts_as_128_and_its_number(execute: Kubectl) -> None:
    assert execute("kill -KILL $$").returncode == 137


def test_without_a_terminal_output_and_errors_come_apart(execute: Kubectl) -> None:
    done = execute("echo out; echo wrong >&2")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"wrong\n", 0)


def test_a_large_upload_and_a_large_download_arrive_whole(execute: Kubectl) -> None:
    content = random.Random(1).randbytes(10_000_000)
    assert execute("sha256sum", "-i", content=content).stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
    assert execute("cat", "-i", content=content).stdout == content


def test_without_the_option_i_there_is_nothing_to_read(execute: Kubectl) -> None:
    assert execute("cat; echo end", content=b"unseen").stdout == b"end\n"


def test_a_command_that_does_not_read_its_input_succeeds(execute: Kubectl) -> None:
    assert execute("echo done", "-i", content=bytes(1_000_000)).returncode == 0


def test_a_terminal_has_the_size_of_the_client_and_follows_it(cluster: Cluster, client: Client) -> None:
    with in_terminal(cluster, client, sys.executable, "-c", SHOW_SIZES, size=(31, 101)) as program:
        program.wait_for("101 by 31")
        program.resize(42, 123)
        program.wait_for("123 by 42")


def test_keys_and_the_exit_status_go_through_a_terminal(cluster: Cluster, client: Client) -> None:
    with in_terminal(cluster, client, "sh", "-c", "tty; echo $TERM; read line; echo got $line; exit 3") as program:
        program.wait_for("xterm")
        assert "/dev/pts/" in program.text
        program.send("something\r")
        program.wait_for("got something")
        assert program.wait() == 3
    assert cluster.execs[-1].tty


def test_ctrl_c_in_a_terminal_reaches_the_process(cluster: Cluster, client: Client) -> None:
    with in_terminal(cluster, client, "sh", "-c", "echo ready; exec cat") as program:
        program.wait_for("ready")
        program.press("ctrl-c")
        assert program.wait() == 130
    assert cluster.execs[-1].status == 130


def test_a_closed_terminal_leaves_the_process_running(cluster: Cluster, client: Client) -> None:
    with in_terminal(cluster, client, "sh", "-c", "echo ready; exec cat") as program:
        program.wait_for("ready")
    (executed,) = cluster.execs
    assert executed.pid
    os.kill(executed.pid, 0)
    assert executed.status is None


@OLDEST_AND_NEWEST
def test_pods_are_listed_by_selectors(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.add(Pod("backup-1", labels={"app": "toolbox", "release": "gitlab", "job-name": "backup"}))
    cluster.add(Pod("other-1", labels={"app": "toolbox", "release": "other"}))
    cluster.add(Pod("waiting-1", phase="Pending"))
    cluster.add(Pod("elsewhere-1", namespace="elsewhere"))

    def names(*options: str) -> list[str]:
        done = kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().split()

    running = "--field-selector=status.phase=Running"
    assert names() == ["backup-1", "other-1", "toolbox-1", "waiting-1"]
    assert names("-l", "app=toolbox,!job-name", running) == ["other-1", "toolbox-1"]
    assert names("-l", "app=toolbox,!job-name,release=gitlab", running) == ["toolbox-1"]
    assert names("-l", "release!=gitlab") == ["other-1"]
    assert names("-l", "app=nothing") == []
    cluster.remove("toolbox-1")
    assert "toolbox-1" not in names()


@OLDEST_AND_NEWEST
def test_a_pod_shows_what_makes_it_fit_to_use(kubectl: Kubectl, cluster: Cluster) -> None:
    def shown(pod: Pod, path: str) -> str:
        cluster.add(pod)
        return kubectl("get", "pod", "toolbox-1", "-o", "jsonpath={" + path + "}").stdout.decode()

    pod = Pod("toolbox-1", containers=("sidecar", "toolbox"))
    ready = ".status.containerStatuses[?(@.name=='toolbox')].ready"
    assert shown(pod, ready) == "true"
    assert shown(replace(pod, ready=False), ready) == "false"
    assert shown(replace(pod, phase="Succeeded"), ready) == "false"
    assert shown(pod, ".metadata.deletionTimestamp") == ""
    assert shown(replace(pod, terminating=True), ".metadata.deletionTimestamp") == pod.created
    assert shown(pod, ".spec.containers[*].name") == "sidecar toolbox"


@OLDEST_AND_NEWEST
def test_what_is_missing_is_said_as_kubernetes_says_it(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.add(Pod("waiting-1", phase="Pending"))
    assert b'Error from server (NotFound): pods "no" not found' in kubectl("exec", "no", "--", "true").stderr
    assert b"container no is not valid for pod" in kubectl("exec", "toolbox-1", "-c", "no", "--", "true").stderr
    assert b'container not found ("toolbox")' in kubectl("exec", "waiting-1", "--", "true").stderr
    assert b'namespaces "no" not found' in kubectl("get", "namespace", "no").stderr
    assert kubectl("get", "namespace", "gitlab").returncode == 0
    missing = kubectl("exec", "toolbox-1", "--", "no-such-program")
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert b"no-such-program" in missing.stderr


@OLDEST_AND_NEWEST
def test_what_is_forbidden_is_refused(kubectl: Kubectl, execute: Kubectl, cluster: Cluster) -> None:
    may_execute = ("auth", "can-i", "create", "pods", "--subresource=exec")
    assert kubectl(*may_execute).stdout == b"yes\n"
    cluster.forbid("list", "pods")
    cluster.forbid("create", "pods/exec")
    listed, executed = kubectl("get", "pods"), execute("true")
    assert (listed.returncode, executed.returncode) == (1, 1)
    assert b'pods is forbidden: User "test" cannot list resource "pods"' in listed.stderr
    assert b'cannot create resource "pods/exec" in API group "" in the namespace "gitlab"' in executed.stderr
    assert kubectl(*may_execute).stdout.startswith(b"no")
    cluster.allow("create", "pods/exec")
    assert execute("true").returncode == 0


def test_a_refused_websocket_becomes_spdy(execute: Kubectl, cluster: Cluster) -> None:
    cluster.forbid("get", "pods/exec")
    assert execute("exit 3").returncode == 3
    assert cluster.execs[-1].transport == "spdy"


@pytest.mark.parametrize("after_bytes", [5, 300_000])
def test_a_connection_cut_in_the_middle_is_an_error_over_websocket_and_silence_over_spdy(
    execute: Kubectl, cluster: Cluster, client: Client, after_bytes: int, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go-on")
    cluster.cut_next(after_bytes)
    done = execute(f"head -c 1000000 /dev/zero; read line < {tmp_path}/go-on; exit 7")
    assert done.stdout == bytes(after_bytes)
    if client.transport == "websocket":
        assert done.returncode == 1
        assert done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, b"")
    assert cluster.execs[-1].status is None
    (tmp_path / "go-on").write_text("\n")
    until(lambda: cluster.execs[-1].status == 7)
    assert execute("true").returncode == 0


def test_a_connection_can_be_cut_once_the_process_has_started(
    execute: Kubectl, cluster: Cluster, client: Client, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go-on")
    cluster.cut_next(None)
    done = execute(f"read line < {tmp_path}/go-on; echo unseen")
    assert (done.returncode, done.stdout) == (int(client.transport == "websocket"), b"")
    assert cluster.execs[-1].status is None
    (tmp_path / "go-on").write_text("\n")
    until(lambda: cluster.execs[-1].status == 0)


def test_an_upload_can_be_cut(execute: Kubectl, cluster: Cluster, client: Client, tmp_path: Path) -> None:
    cluster.cut_next_upload(1_000_000)
    done = execute(f"cat > {tmp_path}/file", "-i", content=bytes(2_000_000))
    assert done.returncode == int(client.transport == "websocket")
    until(lambda: cluster.execs[-1].status == 0)
    assert (tmp_path / "file").stat().st_size == 1_000_000


@OLDEST_AND_NEWEST
def test_commands_run_wrapped_in_the_environment_of_the_pod_alone(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.add(Pod("wrapped-1", wrap=("env", "WRAPPED=yes"), env={"GITLAB": "here"}))
    shown = kubectl("exec", "wrapped-1", "--", "env").stdout.decode().splitlines()
    assert [line for line in shown if not line.startswith("PATH=")] == ["GITLAB=here", "WRAPPED=yes"]


def test_nothing_that_was_executed_outlives_the_cluster(execute: Kubectl, cluster: Cluster) -> None:
    cluster.cut_next(after_bytes=40)
    shown = execute("setsid -f sh -c 'printf %20s $$; exec sleep 600'; sleep 600 & printf %20s $!; wait").stdout.split()
    assert len(shown) == 2
    for pid in shown:
        os.kill(int(pid), 0)
    cluster.__exit__()
    for pid in shown:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)

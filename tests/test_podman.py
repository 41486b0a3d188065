"""Into a container by a client that is not called docker: a real podman, and one that answers as podman 3 did."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.testbed.docker.engine import Engine
from tests.testbed.docker.image import GITLAB_IMAGE, RUN
from tests.testbed.folders import public_folder
from tests.testbed.processes import process_list, wait_until
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.screen import Program
from tokens.errors import TokensError, UsageError
from tokens.targets.target import DockerTarget
from tokens.targets.there.docker import Container, find_container

pytestmark = pytest.mark.slow

DATES = "| 2024-06-15      | 3     |\n| (none)          | 2     |\n| 2024-12-31      | 1     |\n"

# Not podman 3, but the podman that is here with its two differences: a state's Healthcheck, which was no Health yet.
PODMAN_3 = """\
#!/bin/sh
case " $* " in
  *.State.Health*)
    echo "Error: error printing inspect output: template: inspect:1:28: executing \\"inspect\\" at <.State.Health>:" \\
      "can't evaluate field Health in type *define.InspectContainerState" >&2
    exit 125
    ;;
  *" inspect "*)
    said=$({podman} "$@") || exit
    echo "$said" | sed 's/"Health":/"Healthcheck":/'
    ;;
  *) exec {podman} "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def podman(docker_engine: Engine) -> Iterator[str]:
    """The words of a podman with storage of its own, in which a container shaped like GitLab's runs: `podgitlab`."""
    if not shutil.which("podman"):
        pytest.skip("there is no podman here (Debian: podman)")
    with public_folder() as folder:
        words = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        words += ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        archive = folder / "image.tar"
        docker_engine.docker("save", "--output", str(archive), GITLAB_IMAGE)
        subprocess.run([*words, "load", "--input", archive], capture_output=True, check=True)
        # Its own limits may be higher than those of whoever runs the tests.
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
        try:
            command = [*words, "run", "--detach", "--name=podgitlab", *limits, *RUN, GITLAB_IMAGE]
            subprocess.run(command, capture_output=True, check=True)
            yield shlex.join(words)
        finally:
            subprocess.run([*words, "rm", "--force", "--time=0", "podgitlab"], capture_output=True, check=False)
            # Its monitor may still write down how the container has ended.
            wait_until(lambda: f"{folder}/root" not in process_list())


@pytest.fixture(params=["podman", "podman 3"])
def client(request: pytest.FixtureRequest, podman: str, tmp_path: Path) -> str:
    if request.param == "podman":
        return podman
    stand_in = tmp_path / "podman-3"
    stand_in.write_text(PODMAN_3.format(podman=podman))
    stand_in.chmod(0o755)
    return str(stand_in)


@pytest.fixture
def outside(client: str, bundles: Path) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INVOKE_", "DOCKER_"))}
    return inherited | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundles), "INVOKE_TOKENS_DOCKER": client}


def test_a_podman_is_entered_like_a_docker(outside: Mapping[str, str]) -> None:
    for target in ("docker:podgitlab", "docker:"):
        command = [GITLAB_TOKENS, "analyze", "--target", target]
        done = subprocess.run(command, env=outside, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert DATES in done.stdout
    with Program([GITLAB_TOKENS, "edit", "--target", "docker:podgitlab"], env=outside) as program:
        program.wait_for("3. Quit")
        program.press("3", "enter")
        assert program.wait() == 0


def test_what_podman_does_not_find_is_told(client: str) -> None:
    with pytest.raises(UsageError, match="There is no container nowhere; running here: podgitlab"):
        find_container(DockerTarget("nowhere"), tuple(shlex.split(client)))


@pytest.mark.parametrize(
    ("state", "health"),
    [
        ({}, ""),
        ({"Health": None}, ""),
        ({"Health": {"Status": "starting"}}, "starting"),
        ({"Healthcheck": {"Status": "unhealthy", "Log": None}}, "unhealthy"),
        ({"Health": {"Status": "", "Log": None}}, ""),
    ],
)
def test_the_health_is_what_any_of_them_says(tmp_path: Path, state: dict[str, object], health: str) -> None:
    program = tmp_path / "client"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'Status': 'running', **state})}'\n")
    program.chmod(0o755)
    assert find_container(DockerTarget("one"), (str(program),)) == Container("one", health, (str(program),))


def test_a_state_that_cannot_be_read_and_one_that_does_not_run_are_told(tmp_path: Path) -> None:
    program = tmp_path / "client"
    for said, expected in (
        ("no JSON", "What Docker says of the container's state cannot be read"),
        ("[]", "What Docker says of the container's state cannot be read"),
        ('{"Status": "exited"}', f"Container one is exited, not running: {program} start one, or {program} logs one"),
        ('{"Status": "paused"}', f"{program} unpause one"),
    ):
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
        with pytest.raises(TokensError) as raised:
            find_container(DockerTarget("one"), (str(program),))
        assert expected in str(raised.value)


def test_a_client_that_is_not_here_is_told_with_what_to_set(tmp_path: Path) -> None:
    for target, expected in (
        ("docker:one", "docker is not installed on this machine, or not on the PATH (tokens.docker"),
        ("kubernetes:gitlab", "kubectl is not installed on this machine, or not on the PATH (tokens.kubectl"),
    ):
        command = [GITLAB_TOKENS, "analyze", "--target", target]
        done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert expected in done.stderr
    env = {"PATH": os.defpath, "INVOKE_TOKENS_DOCKER": "podman 'x"}
    done = subprocess.run(
        [GITLAB_TOKENS, "analyze", "--target", "docker:one"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tokens.docker is a program with its first words" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another account need root")
@pytest.mark.parametrize("key", ["docker", "kubectl", "bundle"])
def test_root_takes_no_program_from_a_file_that_others_may_write(tmp_path: Path, key: str) -> None:
    ran = tmp_path / "ran"
    value = f"{{directory: {tmp_path}}}" if key == "bundle" else f"touch {ran}"
    file = tmp_path / "mine.yaml"
    file.write_text(f"tokens:\n  {key}: {value}\n")
    target = "kubernetes:gitlab" if key == "kubectl" else "docker:one"
    command = [GITLAB_TOKENS, "-f", str(file), "analyze", "--target", target]

    def said() -> str:
        return subprocess.run(command, env={"PATH": "/bin"}, capture_output=True, text=True, check=False).stderr

    for owner, mode in ((65534, 0o644), (0, 0o666), (0, 0o664)):
        os.chown(file, owner, 0)
        file.chmod(mode)
        assert f"tokens.{key} in {file} does not count for root" in said()
    assert not ran.exists()
    file.chmod(0o644)
    assert "does not count" not in said()

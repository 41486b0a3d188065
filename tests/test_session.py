"""What a client writes on our streams: at once, without the mark that proves its end; and what it says of itself."""

import io
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.processes import Gate
from tokens.targets.there.client import Printed
from tokens.targets.there.session import Relay

RUN = "0123456789abcdef" * 2
MARK = f"{RUN} 003".encode()


def passed_on(pieces: list[bytes]) -> tuple[bytes, int | None]:
    """What comes of output that is read in these pieces, and the exit status in its mark."""
    output = io.BytesIO()
    relay = Relay(RUN, output)
    for piece in pieces:
        reading, writing = os.pipe()
        os.write(writing, piece)
        os.close(writing)
        with open(reading, "rb") as source:
            relay.pump(source)
    status = relay.finish()
    return output.getvalue(), status


@pytest.mark.parametrize("output", [b"", b"a line\n", b"0", RUN.encode(), MARK, MARK[:-1] + MARK, b"0" * 100])
@pytest.mark.parametrize("cut", range(0, 2 * len(MARK), 5))
def test_all_but_the_mark_is_passed_on_wherever_it_is_cut(output: bytes, cut: int) -> None:
    whole = output + MARK
    assert passed_on([whole[:cut], whole[cut:]]) == (output, 3)
    assert passed_on([bytes([byte]) for byte in whole]) == (output, 3)
    assert passed_on([whole[:cut], whole[cut:], b"."]) == (whole + b".", None)


def test_a_line_is_passed_on_before_the_client_goes_on(tmp_path: Path) -> None:
    """Else a line of standard error would come into the middle of it where both go to one place."""
    gate = Gate(tmp_path)
    script = f"printf 'a line of output\\n'; {gate}; echo an error >&2; printf '{MARK.decode()}'"
    program = f"""
import sys
from tokens.targets.there.session import Relay, attend
relay = Relay({RUN!r}, sys.stdout.buffer)
attend(["sh", "-c", {script!r}], print, relay)
sys.exit(relay.finish())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        gate.wait()
        came, _, _ = select.select([process.stdout], [], [], 30)
        gate.open()
        assert came
        assert process.communicate(timeout=60)[0] == b"a line of output\nan error\n"
    assert process.returncode == 3


PLUGIN = """\
E1130 23:20:14.742259   20792 memcache.go:265] "Unhandled Error" err=<
\tcouldn't get current server API group list: getting credentials: exec: executable gke-nosuch not found
\t
\tIt looks like you are trying to use a client-go credential plugin that is not installed.
 >
Unable to connect to the server: getting credentials: exec: executable gke-nosuch not found

It looks like you are trying to use a client-go credential plugin that is not installed.

To learn more about this feature, consult the documentation available at:
      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins

Install gke-gcloud-auth-plugin
"""
LOGIN = """\
An error occurred (ExpiredToken): token expired
E1130 23:20:14.917709   20829 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list"
error: You must be logged in to the server (Unauthorized)
"""
SSH = """\
error during connect: Get "http://x/containers/json": command [ssh x docker system dial-stdio] has exited: stderr=@@@@
Host key verification failed.

"""
PODMAN = """\
Cannot connect to Podman. Please verify your connection to the Linux system using `podman system connection list`
Error: unable to connect to Podman socket: dial unix /nosuch: connect: no such file or directory
"""


@pytest.mark.parametrize(
    ("err", "reason"),
    [
        (PLUGIN, "Unable to connect to the server: getting credentials: exec: executable gke-nosuch not found"),
        (LOGIN, "error: You must be logged in to the server (Unauthorized)"),
        (
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n",
            "The connection to the server 127.0.0.1:1 was refused",
        ),
        ('error: context "nosuch" does not exist\n', 'error: context "nosuch" does not exist'),
        ("tar: No space left on device\ncommand terminated with exit code 95\n", "tar: No space left on device"),
        ("command terminated with exit code 95\n", "command terminated with exit code 95"),
        (
            "Cannot connect to the Docker daemon at unix:///nosuch.sock. Is the docker daemon running?\n",
            "Cannot connect to the Docker daemon at unix:///nosuch.sock",
        ),
        ("Error response from daemon: No such container: x\n", "Error response from daemon: No such container: x"),
        (SSH, "Host key verification failed"),
        (PODMAN, "Error: unable to connect to Podman socket: dial unix /nosuch: connect: no such file or directory"),
        ("", "exit status 1"),
    ],
)
def test_of_what_docker_and_kubectl_say_the_line_that_matters_is_told(err: str, reason: str) -> None:
    """As Docker 28, Podman 4 and kubectl 1.33 say it."""
    assert Printed(1, err, "").reason == reason

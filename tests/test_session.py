"""What a client writes on our streams: at once, and without the mark that proves its end."""

import io
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.processes import Gate
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

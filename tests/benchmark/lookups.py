"""Look tokens up by their digests, one at a time, as GitLab does for each request with a token.

As a program of its own it is all the clients together: each logs in once and asks at a fixed pace, whatever the
answers take. An answer's time counts from the moment at which the question was due, so a client that was held up
counts what waited behind.
"""

import random
import statistics
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.benchmark.copies import digest
from tokens.address import Address
from tokens.database.driver import login

CLIENTS = 8
PACE = 50  # look-ups a second and client

LOOK_UP = "SELECT * FROM public.personal_access_tokens WHERE token_digest = %s LIMIT 1"


class Measured:
    """The answers' times, once the clients have stopped."""

    def __init__(self) -> None:
        self._due: Sequence[float] = ()
        self._seconds: Sequence[float] = ()

    def between(self, start: float, stop: float) -> list[float]:
        """Seconds that the answers took to what was due from `start` to `stop`, two readings of the monotonic clock."""
        return [taken for due, taken in zip(self._due, self._seconds, strict=True) if start <= due < stop]

    def take(self, data: bytes) -> None:
        """Keep what the clients have measured."""
        found = array("d", data)
        self._due, self._seconds = found[::2], found[1::2]


@contextmanager
def looking_up(address: Address, tokens: int) -> Iterator[Measured]:
    """Let the clients ask for the time of the block, in a process of their own."""
    with asking("tests.benchmark.lookups", address, tokens) as measured:
        yield measured


@contextmanager
def asking(module: str, address: Address, *words: object) -> Iterator[Measured]:
    """Let the clients of one module work for the time of the block, in a process of their own."""
    command = [sys.executable, "-m", module, address.conninfo, *map(str, words)]
    found = Measured()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"asking\n"
            yield found
        except BaseException:
            process.kill()
            raise
        data, _ = process.communicate()  # the end of its input is its sign to stop
        if process.returncode != 0:
            raise RuntimeError(f"The clients of {module} ended with status {process.returncode}.")
        found.take(data)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many in a hundred do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """Ask at the address in the first word, which has as many tokens as the second says, until the input ends."""
    address, tokens = Address(sys.argv[1], "the copy", complete=True), int(sys.argv[2])
    stop = threading.Event()
    logged_in = threading.Barrier(CLIENTS + 1, timeout=60)

    def ask(number: int) -> "array[float]":
        chosen = random.Random(number)
        measured: array[float] = array("d")
        with login(address, autocommit=True) as connection:
            connection.execute(LOOK_UP, (digest(1),))
            logged_in.wait()
            due = time.monotonic() + number / CLIENTS / PACE
            while not stop.is_set():
                wanted = digest(chosen.randint(1, tokens))
                time.sleep(max(0.0, due - time.monotonic()))
                found = connection.execute(LOOK_UP, (wanted,)).rowcount
                measured.extend((due, time.monotonic() - due))
                assert found == 1
                due += 1 / PACE
        return measured

    with ThreadPoolExecutor(CLIENTS) as clients:
        results = [clients.submit(ask, number) for number in range(CLIENTS)]
        logged_in.wait()
        print("asking", flush=True)
        sys.stdin.read()
        stop.set()
    for result in results:
        sys.stdout.buffer.write(result.result().tobytes())


if __name__ == "__main__":
    main()

"""Note the last use of tokens that are being changed, one at a time, as GitLab does for a request with a token.

As a program of its own it is all the clients together. Each one chooses a token just ahead of what the run has
committed, so that most of them meet the transaction under way; beside an UPDATE in psql, which commits nothing before
its end, any of the selected tokens. An UPDATE's time counts from the moment at which it was sent: what it waited for
the row, and its own commit.
"""

import random
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.benchmark.copies import OLD
from tests.benchmark.lookups import Measured, asking
from tokens.address import Address
from tokens.database.driver import login

CLIENTS = 4
PACE = 25  # UPDATEs a second and client, where none has to wait
AHEAD = 2_000  # tokens

SELECTED = f"SELECT id FROM public.personal_access_tokens WHERE expires_at = '{OLD}' ORDER BY id"
COMMITTED = "SELECT max(changed) FROM token_tasks.runs WHERE state = 'running'"
USE = "UPDATE public.personal_access_tokens SET last_used_at = clock_timestamp() WHERE id = %s"


@contextmanager
def using(address: Address) -> Iterator[Measured]:
    """Let the clients use tokens for the time of the block, in a process of their own."""
    with asking("tests.benchmark.uses", address) as measured:
        yield measured


def main() -> None:
    """Use tokens at the address in the first word until the input ends."""
    address = Address(sys.argv[1], "the copy", complete=True)
    with login(address, autocommit=True) as connection:
        selected = array("q", [row[0] for row in connection.execute(SELECTED)])
    stop = threading.Event()
    logged_in = threading.Barrier(CLIENTS + 1, timeout=60)

    def use(number: int) -> "array[float]":
        chosen = random.Random(number)
        measured: array[float] = array("d")
        with login(address, autocommit=True) as connection:
            connection.execute(COMMITTED)
            logged_in.wait()
            while not stop.is_set():
                time.sleep(1 / PACE)
                row = connection.execute(COMMITTED).fetchone()
                committed = row[0] if row else None
                first, last = (0, len(selected)) if committed is None else (committed, committed + AHEAD)
                token = selected[chosen.randrange(min(first, len(selected) - 1), min(last, len(selected)))]
                sent = time.monotonic()
                assert connection.execute(USE, (token,)).rowcount == 1
                measured.extend((sent, time.monotonic() - sent))
        return measured

    with ThreadPoolExecutor(CLIENTS) as clients:
        results = [clients.submit(use, number) for number in range(CLIENTS)]
        logged_in.wait()
        print("asking", flush=True)
        sys.stdin.read()
        stop.set()
    for result in results:
        sys.stdout.buffer.write(result.result().tobytes())


if __name__ == "__main__":
    main()

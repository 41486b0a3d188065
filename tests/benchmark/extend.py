"""`extend` without a journal against the same UPDATE in psql, and the memory that it takes.

As a program of its own it extends the tokens of one copy: a process's peak is that of all its life.
"""

import json
import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass

import sqlalchemy as sa

from tests.benchmark import steps
from tests.benchmark.copies import OLD, UPDATE, Copies
from tests.benchmark.figures import judge, say, seconds
from tests.testbed.engine import make_engine
from tokens.address import Address

RUNS = 3

FEW = f"UPDATE public.personal_access_tokens SET expires_at = NULL WHERE expires_at = '{OLD}' AND id % 100 > 0"


@dataclass(frozen=True)
class Extension:
    """Seconds of all and of the recount in it, and of the longest transaction; tokens changed; the peak in bytes."""

    whole: float
    recount: float
    longest: float
    changed: int
    peak: int


def measure_extend(copies: Copies, tokens: int) -> None:
    ours, psql = [], []
    for _ in range(RUNS):
        with copies.copy() as address:
            psql.append(copies.psql(address, UPDATE))
        with copies.copy() as address:
            ours.append(extend_apart(address))
    selected = ours[0].changed
    whole = [found.whole for found in ours]
    recount = statistics.median(found.recount for found in ours)
    say("extend: tokens", f"{selected:,} of {tokens:,}")
    say("extend: psql", seconds(psql), "one UPDATE")
    say("extend: ours", seconds(whole), f"plan, run, recount ({recount:.1f} s), preflight included")
    judge("extend: ratio", statistics.median(whole) / statistics.median(psql), 1.15, remark="of the medians")
    say("extend: longest transaction", f"{max(found.longest for found in ours):.2f} s", "aim: less than 0.1 s")
    with copies.copy() as address:
        with make_engine(address).begin() as connection:
            connection.execute(sa.text(FEW))
        few = extend_apart(address)
    peak = statistics.median(found.peak for found in ours)
    say(
        "memory: peak",
        f"{peak / 2**20:.1f} MiB",
        f"{few.peak / 2**20:.1f} MiB for {few.changed:,} tokens",
    )
    judge(
        "memory: bytes a token",
        (peak - few.peak) / (selected - few.changed),
        8,
        places=1,
        remark="over that constant",
    )


def extend_apart(address: Address, jobs: int = 1) -> Extension:
    """Extend in a process of its own, by so many workers."""
    command = [sys.executable, "-m", "tests.benchmark.extend", address.conninfo, str(jobs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Extension(**json.loads(done.stdout))


def main() -> None:
    """Extend the tokens at the address in the first word, by as many workers as the second says; prints an `Extension`.

    As JSON.
    """
    found = steps.extend(Address(sys.argv[1], "the copy", complete=True), recorded=False, jobs=int(sys.argv[2]))
    print(
        json.dumps(
            {
                "whole": found.whole,
                "recount": found.recount,
                "longest": found.longest,
                "changed": found.changed,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()

"""How long GitLab waits for a token that is being changed: its UPDATE of `last_used_at` beside ours, and beside psql's.

What short transactions cost is measured against the same run with transactions of half a second, and with nobody
beside it: whoever has not to wait does more, and takes more of the machine.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

from tests.benchmark import steps
from tests.benchmark.copies import UPDATE, Copies
from tests.benchmark.figures import judge, say, seconds
from tests.benchmark.lookups import looking_up, percentile
from tests.benchmark.uses import AHEAD, CLIENTS, PACE, using
from tokens.run import batches as run

RUNS = 2
RUNS_ALONE = 7
LONG = 0.5  # seconds


@dataclass(frozen=True)
class Round:
    """Seconds that the change took, and its longest transaction, and the UPDATEs and look-ups beside it."""

    taken: float
    longest: float
    uses: Sequence[float]
    lookups: Sequence[float]


def measure_waits(copies: Copies, tokens: int) -> None:
    beside = f"beside {CLIENTS} connections, each with {PACE} UPDATEs of last_used_at a second"
    say("waits: tokens", f"{tokens:,}", f"{beside}, within {AHEAD:,} tokens of the last commit; and beside look-ups")
    psql = [update(copies, tokens)]
    long, ours = [], []
    for _ in range(RUNS):
        with patch.object(run, "TARGET", LONG):
            long.append(change(copies, tokens))
        ours.append(change(copies, tokens))
    say_waits("one UPDATE in psql", psql)
    say_waits("transactions of half a second", long)
    say_waits("ours", ours)
    uses = [taken for one in ours for taken in one.uses]
    judge("waits: p99", percentile(uses, 99) * 1000, 100, unit=" ms", places=1)
    judge("waits: longest", max(uses) * 1000, 250, unit=" ms", places=1)
    alone: dict[float, list[float]] = {LONG: [], run.TARGET: []}
    for number in range(RUNS_ALONE):
        for target in sorted(alone, reverse=number % 2 == 0):
            with copies.copy() as address, patch.object(run, "TARGET", target):
                done = steps.extend(address, recorded=True)
            alone[target].append(done.store + done.run)
    slow, fast = alone.values()
    say("waits: half a second, alone", seconds(slow))
    say("waits: ours, alone", seconds(fast))
    ratio = statistics.median(fast) / statistics.median(slow)
    remark = f"store and run, medians; of the fastest {min(fast) / min(slow):.3f}"
    judge("waits: ours / half a second, alone", ratio, 1.03, places=3, remark=remark)


def update(copies: Copies, tokens: int) -> Round:
    """The UPDATE in psql."""
    with copies.copy() as address, looking_up(address, tokens) as lookups, using(address) as uses:
        taken = copies.psql(address, UPDATE)
        ended = time.monotonic()
    began = ended - taken
    return Round(taken, taken, uses.between(began, ended), lookups.between(began, ended))


def change(copies: Copies, tokens: int) -> Round:
    """The same by us, with a journal."""
    with copies.copy() as address, looking_up(address, tokens) as lookups, using(address) as uses:
        done = steps.extend(address, recorded=True)
        ended = time.monotonic()
    began, ended = ended - done.run - done.recount, ended - done.recount
    return Round(done.store + done.run, done.longest, uses.between(began, ended), lookups.between(began, ended))


def say_waits(what: str, rounds: Sequence[Round]) -> None:
    """Print what the rounds took, and the waits in all of them."""
    longest = max(one.longest for one in rounds)
    taken = seconds([one.taken for one in rounds])
    say(f"waits: {what}", taken, f"longest transaction {longest:.2f} s")
    for name, values in (
        ("UPDATEs", [taken for one in rounds for taken in one.uses]),
        ("look-ups", [taken for one in rounds for taken in one.lookups]),
    ):
        low, middle, high = (percentile(values, percent) * 1000 for percent in (50, 90, 99))
        figure = f"p50 {low:.1f}, p90 {middle:.1f}, p99 {high:.1f}, max {max(values) * 1000:.0f} ms"
        say(f"waits: {name} beside it", figure, f"{len(values):,} of them")

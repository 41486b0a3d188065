"""How long GitLab waits for a token that is being changed: its UPDATE of `last_used_at` beside ours, and beside psql's.

What short transactions cost is measured against the same run with transactions of half a second, and with nobody
beside it: GitLab does more while it does not wait, and takes more of the machine. The cost has two parts. The disk's is
one wait for each COMMIT, which is final before the next transaction begins: behind PgBouncer a crash between two
transactions is not noticed, and a COMMIT that had not reached the disk would be lost without a word. Ours is the rest.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import psycopg

from tests.benchmark import steps
from tests.benchmark.copies import UPDATE, Copies
from tests.benchmark.figures import judge, say, seconds
from tests.benchmark.lookups import looking_up, percentile
from tests.benchmark.uses import AHEAD, CLIENTS, PACE, using
from tokens.change.chunks import Chunk
from tokens.database import Connection
from tokens.journal.record import ChunkOutcome
from tokens.run import worker as run
from tokens.run.update import Update

RUNS = 2
PAIRS = 7
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
    long, short = [], []
    for _ in range(RUNS):
        with patch.object(run, "TARGET", LONG):
            long.append(change(copies, tokens))
        short.append(change(copies, tokens))
    say_waits("one UPDATE in psql", psql)
    say_waits("transactions of half a second", long)
    say_waits("ours", short)
    uses = [taken for one in short for taken in one.uses]
    judge("waits: p99", percentile(uses, 99) * 1000, 100, unit=" ms", places=1)
    judge("waits: longest", max(uses) * 1000, 250, unit=" ms", places=1)
    slow: list[Alone] = []
    fast: list[Alone] = []
    for number in range(PAIRS):
        pair = [(LONG, slow), (run.TARGET, fast)]
        for target, taken in pair if number % 2 else reversed(pair):
            with patch.object(run, "TARGET", target):
                taken.append(alone(copies))
    say("waits: half a second, alone", seconds([one.whole for one in slow]))
    say("waits: ours, alone", seconds([one.whole for one in fast]))
    usual = statistics.median(one.whole for one in slow)
    # A machine is never so still that two runs of ten seconds differ by less than three in a hundred. What is sure is
    # what short transactions add: all but the UPDATEs themselves, of which there is the same work.
    disk = statistics.median(one.commits for one in fast) - statistics.median(one.commits for one in slow)
    ours = statistics.median(one.rest for one in fast) - statistics.median(one.rest for one in slow)
    pairs = statistics.median(one.whole / other.whole for one, other in zip(fast, slow, strict=True))
    commit = statistics.median(taken for one in fast for taken in one.committing)
    say("waits: cost of short transactions", f"{(disk + ours) / usual:.1%}", f"of all, median of the pairs {pairs:.3f}")
    say("waits: the disk's part of it", f"{disk / usual:.1%}", f"{commit * 1000:.1f} ms a COMMIT")
    judge("waits: ours / half a second, alone", 1 + ours / usual, 1.03, places=3, remark="without UPDATEs and COMMITs")


@dataclass(frozen=True)
class Alone:
    """Seconds that a change took with nobody beside it, and those of them that its UPDATEs and its COMMITs took."""

    whole: float
    updates: float
    committing: Sequence[float]

    @property
    def commits(self) -> float:
        """Seconds that all COMMITs took."""
        return sum(self.committing)

    @property
    def rest(self) -> float:
        """Seconds for everything else: BEGIN, the journal, our own work between two statements."""
        return self.whole - self.updates - self.commits


def alone(copies: Copies) -> Alone:
    """A change with nobody beside it."""
    updates: list[float] = []
    commits: list[float] = []
    of_all, execute = Update.of_all, psycopg.Connection.execute

    def update_timed(self: Update, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        with adding(updates):
            return of_all(self, connection, batch)

    def execute_timed(self: psycopg.Connection[Any], statement: Any, *about: Any) -> psycopg.Cursor[Any]:
        with adding(commits) if statement == "COMMIT" else nullcontext():
            return execute(self, statement, *about)

    with (
        copies.copy() as address,
        patch.object(Update, "of_all", update_timed),
        patch.object(psycopg.Connection, "execute", execute_timed),
    ):
        done = steps.extend(address, recorded=True)
    return Alone(done.store + done.run, sum(updates), commits)


@contextmanager
def adding(taken: list[float]) -> Iterator[None]:
    """Add the seconds that the block takes."""
    started = time.perf_counter()
    try:
        yield
    finally:
        taken.append(time.perf_counter() - started)


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

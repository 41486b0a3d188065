"""A change with its journal by one worker and by two, from the plan to the recount, against one UPDATE in psql.

The plan is measured against one SELECT of its ids in psql, and look-ups beside two workers against those beside one
UPDATE and beside two at once.
"""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.benchmark import steps
from tests.benchmark.copies import OLD, SELECTED, UPDATE, Copies
from tests.benchmark.extend import FEW, Extension, extend_apart
from tests.benchmark.figures import judge, say, seconds
from tests.benchmark.journal import described
from tests.benchmark.lookups import looking_up, percentile
from tests.benchmark.steps import Steps
from tokens.address import Address
from tokens.database.driver import login

ROUNDS = 3
SELECT = f"""
    SELECT id
    FROM personal_access_tokens
    WHERE expires_at = '{OLD}' AND NOT impersonation AND revoked IS NOT TRUE
"""


def measure_jobs(copies: Copies, tokens: int) -> None:
    say("jobs: tokens", f"{SELECTED}% of {tokens:,}", f"{ROUNDS} rounds, one after the other on equal copies")
    updates: list[float] = []
    selects: list[float] = []
    found: dict[int, list[Steps]] = {1: [], 2: []}
    for number in range(1, ROUNDS + 1):
        started = time.monotonic()
        with copies.copy() as address:
            selects += [copies.psql(address, SELECT) for _ in range(3)]
            updates.append(copies.psql(address, UPDATE))
        for jobs, done in found.items() if number % 2 else reversed(found.items()):
            with copies.copy() as address:
                done.append(steps.extend(address, recorded=True, jobs=jobs))
        figure = f"{updates[-1]:.1f} s, {found[1][-1].whole:.1f} s, {found[2][-1].whole:.1f} s"
        took = f"{time.monotonic() - started:.0f} s with the copies"
        say(f"jobs: round {number} of {ROUNDS}", figure, f"one UPDATE in psql, one worker, two; {took}")
    psql = statistics.median(updates)
    for jobs, at_most in ((1, 1.05), (2, 0.7)):
        whole = statistics.median(one.whole for one in found[jobs])
        say(f"jobs: {jobs}", f"{whole:.1f} s", f"median of {ROUNDS}: {described(found[jobs])}")
        judge(f"jobs: {jobs} / UPDATE", whole / psql, at_most, remark="from the plan to the recount")
        judge(f"jobs: {jobs}, longest transaction", max(one.longest for one in found[jobs]), 0.6, unit=" s")
    plan = statistics.median(one.plan for done in found.values() for one in done)
    select = statistics.median(selects)
    say("jobs: SELECT of the ids", seconds(selects), "one in psql")
    judge("jobs: plan / SELECT", plan / select, 2, remark=f"plan {plan:.2f} s")
    measure_memory(copies)
    measure_lookups(copies, tokens)


def measure_memory(copies: Copies) -> None:
    """What each token takes in a process with two workers."""
    with copies.copy() as address:
        many = extend_apart(address, jobs=2)
    with copies.copy() as address:
        with login(address, autocommit=True) as driver:
            driver.execute(FEW.encode())
        few: Extension = extend_apart(address, jobs=2)
    figure = f"{many.peak / 2**20:.1f} MiB"
    say("jobs: memory", figure, f"{few.peak / 2**20:.1f} MiB for {few.changed:,} tokens")
    judge("jobs: bytes a token", (many.peak - few.peak) / (many.changed - few.changed), 8, places=1)


def measure_lookups(copies: Copies, tokens: int) -> None:
    """How long others wait for an answer beside two workers, beside the UPDATE, and beside two UPDATEs at once."""
    one = _p99_beside_psql(copies, tokens, [UPDATE])
    half = tokens // 2
    two = _p99_beside_psql(copies, tokens, [f"{UPDATE} AND id <= {half}", f"{UPDATE} AND id > {half}"])
    with copies.copy() as address, looking_up(address, tokens) as lookups:
        began, done = _extended(address)
    ours = _p99("two workers", lookups.between(began, began + done.run))
    judge("jobs: look-ups' p99, two / UPDATE", ours / one, 2)
    judge("jobs: look-ups' p99, two / two UPDATEs", ours / two, 2)


def _p99_beside_psql(copies: Copies, tokens: int, updates: Sequence[str]) -> float:
    """The look-ups' p99 beside these UPDATEs at once, each in a psql of its own."""
    with (
        copies.copy() as address,
        looking_up(address, tokens) as lookups,
        ThreadPoolExecutor(len(updates)) as pool,
    ):
        taken = max(pool.map(lambda update: copies.psql(address, update), updates))
        ended = time.monotonic()
    what = "UPDATE" if len(updates) == 1 else f"{len(updates)} UPDATEs"
    return _p99(what, lookups.between(ended - taken, ended))


def _extended(address: Address) -> tuple[float, Steps]:
    """A change by two workers, and when it began."""
    done = steps.extend(address, recorded=True, jobs=2)
    return time.monotonic() - done.recount - done.run, done


def _p99(what: str, asked: Sequence[float]) -> float:
    high = percentile(asked, 99)
    say(f"jobs: look-ups beside {what}", f"p99 {high * 1000:.1f} ms", f"{len(asked):,} look-ups")
    return high

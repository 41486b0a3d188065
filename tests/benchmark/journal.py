"""A change with its journal, and its undo, against the same UPDATE in psql, while others look tokens up."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.benchmark import steps
from tests.benchmark.copies import SELECTED, UPDATE, Copies
from tests.benchmark.figures import judge, say
from tests.benchmark.lookups import CLIENTS, PACE, looking_up, percentile
from tests.benchmark.steps import Steps
from tokens import database
from tokens.address import Address
from tokens.journal import chain

RUNS = 3
ALONE = 5.0  # seconds of look-ups with nothing beside them

SIZES = """
    SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'token_tasks' AND c.relkind = 'r'
"""


# The chunks that each transaction of a run has marked.
RESULTS = """
    SELECT string_to_array(found.line[1], ',') AS positions
    FROM token_tasks.entries e
    CROSS JOIN LATERAL regexp_matches(e.written, '(?:^|\\n)results ([0-9,]+) ', 'g') AS found (line)
    WHERE e.run_id = %(run)s
    ORDER BY e.number
"""


class Undone(Exception):
    pass


@dataclass(frozen=True)
class Updated:
    """psql's seconds, bytes of write-ahead log, and the seconds that look-ups took alone and beside the UPDATE."""

    seconds: float
    logged: int
    alone: Sequence[float]
    beside: Sequence[float]


@dataclass(frozen=True)
class Changed:
    """Our steps, bytes of write-ahead log and of the journal's tables, and the seconds of look-ups beside the run.

    `chain` is the seconds that the entries of the run's chain take once more, by themselves, without round trips: a run
    makes none for them.
    """

    steps: Steps
    logged: int
    sizes: Mapping[str, int]
    beside: Sequence[float]
    chain: float


def measure_journal(copies: Copies, tokens: int) -> None:
    pace = f"beside {CLIENTS} connections, {PACE} look-ups a second each, on both sides"
    say("journal: tokens", f"{SELECTED}% of {tokens:,}", pace)
    updates, changes, undos = [], [], []
    for number in range(1, RUNS + 1):
        started = time.monotonic()
        with copies.copy() as address:
            updates.append(update(copies, address, tokens))
        with copies.copy() as address:
            changes.append(change(copies, address, tokens))
            if number == RUNS:
                undos.append(undo(copies, address, tokens, changes[-1].steps.number))
        figure = f"{updates[-1].seconds:.1f} s, {changes[-1].steps.whole:.1f} s"
        took = f"{time.monotonic() - started:.0f} s with the copies{' and the undo' if undos else ''}"
        say(f"journal: round {number} of {RUNS}", figure, f"one UPDATE in psql, ours; {took}")
    say_times(updates, changes, undos)
    say_lookups(updates, changes)
    say_bytes(updates, changes)


def update(copies: Copies, address: Address, tokens: int) -> Updated:
    """The UPDATE in psql."""
    with looking_up(address, tokens) as lookups:
        time.sleep(ALONE)
        before, started = copies.log_position(), time.monotonic()
        taken = copies.psql(address, UPDATE)
        ended, after = time.monotonic(), copies.log_position()
    return Updated(
        taken, after - before, lookups.between(started - ALONE, started), lookups.between(ended - taken, ended)
    )


def change(copies: Copies, address: Address, tokens: int) -> Changed:
    """The same by us."""
    with looking_up(address, tokens) as lookups:
        time.sleep(ALONE)
        before = copies.log_position()
        done = steps.extend(address, recorded=True)
        ended, after = time.monotonic(), copies.log_position()
        with database.reading(address) as connection:
            sizes = {row.name: row.bytes for row in connection.rows(SIZES)}
        chained = chain_again(address, done.number)
    beside = lookups.between(ended - done.whole + done.plan, ended - done.recount)
    return Changed(done, after - before, sizes, beside, chained)


def chain_again(address: Address, number: int | None) -> float:
    """The seconds of entering a run again with all of its transactions, each of which had an entry; it is undone."""
    assert number is not None
    with database.connect(address) as connection, suppress(Undone), connection.transaction():
        entries = connection.rows(RESULTS, run=number)
        connection.execute("DELETE FROM token_tasks.entries WHERE run_id = %(run)s", run=number)
        started = time.monotonic()
        chain.seal(connection, number)
        for entry in entries:
            chain.enter(connection, number, results=entry.positions)
        ended = time.monotonic()
        for _ in entries:
            connection.row("SELECT 1")
        taken = ended - started - (time.monotonic() - ended)
        raise Undone
    return taken


def undo(copies: Copies, address: Address, tokens: int, number: int | None) -> Steps:
    """The way back, which finds what the change has left in the table."""
    assert number is not None
    copies.write_out()
    with looking_up(address, tokens):
        return steps.undo(address, number)


def say_times(updates: Sequence[Updated], changes: Sequence[Changed], undos: Sequence[Steps]) -> None:
    psql = statistics.median(one.seconds for one in updates)
    say("journal: psql", f"{psql:.1f} s", f"median of {len(updates)}")
    run = say_steps("ours", [one.steps for one in changes], psql)
    judge("journal: run / UPDATE", run / psql, 1.2, remark="store and run")
    chained = statistics.median(one.chain for one in changes)
    judge("journal: its chain / run", chained / run, 0.02, places=3, remark=f"{chained:.2f} s, taken by itself")
    say_steps("undo", undos, psql)


def say_steps(what: str, found: Sequence[Steps], psql: float) -> float:
    """Print what the steps took and their ratio to psql's seconds; returns the seconds of storing and running."""
    whole = statistics.median(one.whole for one in found)
    rounds = f"median of {len(found)}" if len(found) > 1 else "once"
    say(f"journal: {what}", f"{whole:.1f} s", f"{rounds}: {described(found)}")
    say(f"journal: {what} / UPDATE", f"{whole / psql:.2f}", "from the plan to the recount")
    say(f"journal: {what}, longest transaction", f"{max(one.longest for one in found):.2f} s", "aim: less than 0.1 s")
    return statistics.median(one.store + one.run for one in found)


def described(found: Sequence[Steps]) -> str:
    """The steps' medians."""
    parts: dict[str, Callable[[Steps], float]] = {
        "plan": lambda one: one.plan,
        "store": lambda one: one.store,
        "run": lambda one: one.run,
        "recount": lambda one: one.recount,
    }
    return ", ".join(f"{name} {statistics.median(map(part, found)):.2f}" for name, part in parts.items()) + " s"


def say_lookups(updates: Sequence[Updated], changes: Sequence[Changed]) -> None:
    alone = [one.alone for one in updates]
    say_latencies("look-ups alone", alone)
    psql = say_latencies("look-ups beside UPDATE", [one.beside for one in updates])
    ours = say_latencies("look-ups beside run", [one.beside for one in changes])
    judge("journal: look-ups' p99, run / UPDATE", ours / psql, 2, remark="each timed from when it was due")


def say_latencies(what: str, rounds: Sequence[Sequence[float]]) -> float:
    """Print p50 and p99, the medians of the rounds, and p99 of each; returns p99 in seconds."""
    middle = statistics.median(percentile(one, 50) for one in rounds)
    high = statistics.median(percentile(one, 99) for one in rounds)
    each = ", ".join(f"{percentile(one, 99) * 1000:.1f}" for one in rounds)
    asked = sum(map(len, rounds))
    figure = f"p50 {middle * 1000:.2f} ms, p99 {high * 1000:.2f} ms"
    say(f"journal: {what}", figure, f"{asked:,} look-ups; p99 of the rounds {each} ms")
    return high


def say_bytes(updates: Sequence[Updated], changes: Sequence[Changed]) -> None:
    changed, sizes = changes[0].steps.changed, changes[0].sizes
    apart = f"chunks; beside them memberships {sizes['memberships']:,}, notices {sizes['notices']:,} bytes in all"
    judge("journal: bytes a token", sizes["chunks"] / changed, 20, places=1, remark=apart)
    judge("journal: bytes a token of the chain", sizes["entries"] / changed, 1, places=2)
    judge("journal: bytes of names a token", sizes["names"] / changed, 30, places=1, remark="--no-names keeps none")
    psql = statistics.median(one.logged for one in updates)
    ours = statistics.median(one.logged for one in changes)
    figure = f"psql {psql / changed:,.0f}, ours {ours / changed:,.0f}"
    say("journal: WAL bytes a token", figure, f"ratio {ours / psql:.2f}")

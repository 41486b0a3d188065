"""A change of every token on one date, from the plan to the recount, each step timed as the tasks take them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.benchmark.copies import NEW, OLD
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import Plan, RunKind, make_plan
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.beginning import begin
from tokens.journal.record import Recorder
from tokens.origin import here
from tokens.run.batches import BatchCommitted, Finished, Recounted, run
from tokens.run.undo import plan_to_undo
from tokens.run.worker import Worker
from tokens.selection import DateRange, Selection


@dataclass(frozen=True)
class Steps:
    """Seconds that each step took, and the longest transaction of the run; tokens changed; the journal's number."""

    plan: float
    store: float
    run: float
    recount: float
    longest: float
    changed: int
    number: int | None

    @property
    def whole(self) -> float:
        """Seconds from the plan to the recount."""
        return self.plan + self.store + self.run + self.recount


def extend(address: Address, *, recorded: bool, jobs: int = 1) -> Steps:
    """Give every token on OLD the date NEW, with a journal or without, by so many workers."""
    old = ExpirationDate.typed(OLD)
    started = time.perf_counter()
    plan = make_plan(address, RunKind.EXTEND, Selection((DateRange(old, old),)), Change(to=ExpirationDate.typed(NEW)))
    return _carry_out(address, plan, time.perf_counter() - started, recorded=recorded, jobs=jobs)


def undo(address: Address, number: int) -> Steps:
    """Put the old dates of a run back, with a journal."""
    started = time.perf_counter()
    plan = plan_to_undo(address, number).plan
    return _carry_out(address, plan, time.perf_counter() - started, recorded=True)


def _carry_out(address: Address, plan: Plan, planned: float, *, recorded: bool, jobs: int = 1) -> Steps:
    started = time.perf_counter()
    recorder = _begun(address, plan) if recorded else Recorder()
    stored = changed = time.perf_counter()
    recount = 0.0
    with _transactions() as transactions:
        for event in run(address, plan, recorder, jobs=jobs):
            match event:
                case BatchCommitted():
                    changed = time.perf_counter()
                case Recounted(tokens):
                    recount = time.perf_counter() - changed
                    assert tokens == plan.tokens
                case Finished():
                    assert event.changed == plan.tokens
    ended = time.perf_counter()
    longest = max(transactions, default=0.0)
    return Steps(planned, stored - started, ended - stored - recount, recount, longest, plan.tokens, recorder.run)


@contextmanager
def _transactions() -> Iterator[list[float]]:
    """The seconds of every transaction that changes tokens, as they end, whichever worker it is."""
    taken: list[float] = []
    transaction = Worker._transaction

    @contextmanager
    def timed(self: Worker, *about: Any, **more: Any) -> Iterator[Callable[[], None]]:
        started = time.perf_counter()
        with transaction(self, *about, **more) as turn:
            yield turn
        taken.append(time.perf_counter() - started)

    with patch.object(Worker, "_transaction", timed):
        yield taken


def _begun(address: Address, plan: Plan) -> Recorder:
    with database.connect(address) as connection:
        return begin(connection, plan, here(), None)

"""Carry a plan out: short transactions, by one worker or by several that share the plan.

A run never changes a token that no longer has the date that the plan saw, never waits long for a row that somebody else
has locked, and stops between two transactions when asked to. It yields what happens and prints nothing.

One worker works in the caller's thread, and no further than its events are read. Of several each has a thread and a
connection; they write into one run of the journal and end together. The tokens that somebody else has locked are left
to the first of them.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from queue import SimpleQueue
from typing import TypeVar

from tokens import database
from tokens.address import Address
from tokens.change.chunks import Chunk
from tokens.change.notes import first_of
from tokens.change.plan import Plan
from tokens.counts import counted, them
from tokens.database import Connection
from tokens.errors import DatabaseError, LockTimeout, Refused, TokensError
from tokens.gitlab import preflight
from tokens.gitlab.schema import TOKENS
from tokens.gitlab.triggers import read_triggers_before
from tokens.journal.installation import RunState
from tokens.journal.record import Recorder
from tokens.run.events import (
    BatchCommitted,
    BatchStarting,
    Event,
    Finished,
    Recounted,
    Reread,
    RunFailed,
    Waiting,
)
from tokens.run.revoke import Revocation
from tokens.run.update import Update
from tokens.run.worker import Share, Worker, writing

__all__ = [
    "BatchCommitted",
    "BatchStarting",
    "Event",
    "Finished",
    "Recounted",
    "Reread",
    "RunFailed",
    "Waiting",
    "run",
]

GRACE = 2.0  # seconds that a worker has to end by itself, and again once its statement is cancelled

Step = TypeVar("Step")


def run(
    address: Address,
    plan: Plan,
    recorder: Recorder,
    *,
    jobs: int = 1,
    reason_to_wait: Callable[[Connection], str | None] = lambda _: None,
    stop_requested: Callable[[], bool] = lambda: False,
    pause: Callable[[float], object] | None = None,
) -> Generator[Event]:
    """Carry `plan` out, yielding events; the last one is `Finished`.

    Args:
        address: of the primary.
        plan: from `make_plan`, or what the journal has of one.
        recorder: where it is written down, in the very transactions that change tokens.
        jobs: connections that share the work; they wait for each other's COMMIT, so more than a few gain nothing.
        reason_to_wait: asked between transactions, every half second, by one worker at a time; while it gives a reason
            no worker begins another transaction.
        stop_requested: asked between two transactions, and before a locked table is tried again; by any thread.
        pause: waits this number of seconds; by any thread.

    Raises:
        RunFailed: what had been committed stays.
        Refused: the database takes no changes, and nothing was changed.
        TakenOver: another process goes on with this run.
    """
    share: Share | None = None
    workers: list[Worker] = []
    try:
        with ExitStack() as stack:
            # All of them first: where the server has no room for one, nothing is changed.
            connection, *others = [stack.enter_context(database.connect(address)) for _ in range(jobs)]
            with writing(connection):
                schema = preflight.check(connection, plan.change.needs)
                rest, before = recorder.rest(connection, plan), recorder.dealt_with(connection)
            update = Revocation(rest, recorder) if plan.change.revokes else Update(rest, recorder, schema)
            share = Share(rest, recorder, update, reason_to_wait, stop_requested, pause)
            workers = [Worker(one, share) for one in (connection, *others)]
            if rest.tokens != plan.tokens:
                yield Reread(rest.tokens)
            with closing(_together(share, workers, Worker.first_pass)) as events:
                yield from _growing(events)
            yield from workers[0].last_tries()
            end = share.finished
            if _ending(end, stopped=stop_requested())[0] is not RunState.STOPPED:
                try:
                    tokens = yield from _recount(share, workers, rest.chunks)
                    tokens_before = yield from _recount(share, workers, before)
                except LockTimeout:
                    if not stop_requested():
                        raise
                else:
                    recorder.recounted = tokens + tokens_before
                    yield Recounted(tokens, tokens_before, sum(len(chunk.ids) for chunk in before))
            if (prevented := share.prevented) and not stop_requested():
                with writing(connection):
                    triggers = read_triggers_before(connection)
                raise DatabaseError(_prevented(prevented, triggers))
            recounted = recorder.recounted is not None
            yield from workers[0].finish(*_ending(end, stopped=stop_requested(), recounted=recounted))
    except BaseException as error:
        _write_down(address, recorder, error)
        changed = share.changed if share else 0
        reversible = any(worker.in_doubt for worker in workers) or recorder.has_changed(changed)
        if isinstance(error, DatabaseError) or (isinstance(error, Refused) and (changed or reversible)):
            raise RunFailed(error, changed, reversible=reversible, run=recorder.run) from error
        raise
    yield end


def _recount(share: Share, workers: Sequence[Worker], chunks: Iterable[Chunk]) -> Generator[Waiting, None, int]:
    """How many tokens of these chunks are as the plan wants them."""
    share.begin_again(chunks)
    recounted = 0
    with closing(_together(share, workers, Worker.recount)) as counts:
        for count in counts:
            if isinstance(count, Waiting):
                yield count
            else:
                recounted += count
    return recounted


def _together(share: Share, workers: Sequence[Worker], work: Callable[[Worker], Iterator[Step]]) -> Generator[Step]:
    """What the work of all workers yields, as it comes; the first error of any, once all of them have ended."""
    if len(workers) == 1:
        yield from work(workers[0])
        return
    steps: SimpleQueue[Step | None] = SimpleQueue()
    errors: list[BaseException] = []

    def carry_on(worker: Worker) -> None:
        try:
            for step in work(worker):
                steps.put(step)
        except BaseException as error:
            errors.append(error)
            share.ended.set()
        finally:
            steps.put(None)

    # Were a server to give no answer any more, the process must be able to end.
    threads = [threading.Thread(target=carry_on, args=[worker], daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        at_work = len(threads)
        while at_work:
            step = steps.get()
            if step is None:
                at_work -= 1
            else:
                yield step
    except BaseException:
        # A second Ctrl-C, or a caller that reads no further: nobody waits for the end of a long statement.
        share.ended.set()
        _end(workers, threads)
        raise
    if errors:
        raise errors[0]


def _end(workers: Sequence[Worker], threads: Sequence[threading.Thread]) -> None:
    """Wait for the end of all threads; after some seconds their statements are cancelled."""
    _join(threads)
    for worker, thread in zip(workers, threads, strict=True):
        if thread.is_alive():
            threading.Thread(target=worker.cancel, daemon=True).start()  # a server that is frozen takes its time
    _join(threads)


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + GRACE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _growing(events: Iterator[Event]) -> Iterator[Event]:
    """The events without those that come too late: another worker's have counted more by then."""
    most = -1
    for event in events:
        if isinstance(event, BatchCommitted):
            if event.dealt_with < most:
                continue
            most = event.dealt_with
        yield event


def _prevented(ids: Collection[int], triggers: Sequence[str]) -> str:
    """Why tokens stay as they are that no session holds."""
    those = them(len(ids))
    cause = f"trigger {', '.join(triggers)}" if triggers else "a trigger or a rule"
    return (
        f"{counted(len(ids), 'token stays as it was', 'tokens stay as they were')}, though no other session holds "
        f"{those}: {first_of(sorted(ids))}. Something in the database keeps {those} from being changed, such as "
        f"{cause} on public.{TOKENS}."
    )


def _ending(end: Finished, *, stopped: bool, recounted: bool = True) -> tuple[RunState, str | None]:
    """The state in which a run ends, and why it is not complete; `recounted` is whether all was counted again."""
    if end.untouched or (stopped and (end.locked or not recounted)):
        return RunState.STOPPED, "asked to stop"
    if end.locked:
        return RunState.PARTIAL, f"{counted(end.locked, 'token was', 'tokens were')} locked to the end"
    return RunState.DONE, None


def _write_down(address: Address, recorder: Recorder, error: BaseException) -> None:
    """Write down why the run stopped, if anybody is there to write it to; the journal is true without it, too."""
    if recorder.run is None:
        return
    why = "interrupted in the middle of a transaction"
    if isinstance(error, Exception):
        why = str(error) if isinstance(error, TokensError) else f"an error ended it ({type(error).__name__})"
    with contextlib.suppress(TokensError), database.connect(address) as connection, writing(connection):
        recorder.finish(connection, RunState.STOPPED, why)

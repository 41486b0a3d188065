"""One worker of a run: short transactions, each sized by how long its one before took.

A client whose token is being changed waits for the transaction's end, since GitLab writes `last_used_at` into its
row. So a transaction is as short as it can be without losing much to its fixed cost: round trips, journal, disk. Each
COMMIT is on the disk before the worker's next transaction begins: behind PgBouncer a crash between two of them goes
unnoticed.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from tokens import database
from tokens.change.chunks import CHUNK, Chunk, TokenIds
from tokens.change.plan import Plan
from tokens.database import Connection
from tokens.errors import ConnectionLost, LockTimeout, StatementTimeout
from tokens.journal.installation import RunState
from tokens.journal.record import HEARTBEAT, ChunkOutcome, Recorder
from tokens.run.chunks import Prevented
from tokens.run.events import BatchCommitted, BatchStarting, Event, Finished, Waiting
from tokens.run.revoke import Revocation
from tokens.run.update import NotAll, Update

FEWEST = 50  # tokens that a transaction has, unless even they took too long for a statement
MOST = 20_000
RECOUNTED = 50_000  # tokens in one statement; it holds no rows
TARGET = 0.09  # seconds that a transaction's tokens should take; promised is less than a tenth
LONGEST = 0.25  # a chunk that would take longer is cut in two first
GROWTH = 2.0  # a transaction has at most this many times the tokens of the one before

LOCK_TIMEOUT = "250ms"
ROW_TIMEOUT = "50ms"  # the same where rows are held already, for which others wait along
STATEMENT_TIMEOUT = "30s"  # so that a dead client leaves no long-running statement behind
PAUSES = (0.5, 1.0, *[2.0] * 30)  # seconds before each further try at a table that is locked, give or take a half
TRIES = 3  # of these are for tokens that others have locked
TABLE_LOCKED = "another session has locked a table"
WAIT = 0.5  # seconds between two questions whether there is a reason to wait

Result = TypeVar("Result")


def next_size(tokens: int, seconds: float) -> int:
    """How many tokens the next transaction should have, after one whose `tokens` took `seconds`."""
    wanted = tokens * min(GROWTH, TARGET / max(seconds, 0.001))
    return max(FEWEST, min(MOST, int(wanted)))


class Share:
    """What the workers of one run share: the chunks that none of them has taken, and what became of the others.

    Attributes:
        plan, recorder, update, reason_to_wait, pause: of the run; any worker may use them.
        changed: tokens that are changed, and committed.
        ended: set once a worker has failed, or nobody listens any more; the others end at their transaction's end.
        asked: when there was last no reason to wait.
        beaten: when there was last a sign of life.
        asking: held by the worker that asks whether there is a reason to wait; the others wait for the answer.
        journal: held by a worker from its first mark in the journal to the end of that COMMIT. The database would let
            the others wait, too, but as for somebody else's lock, after which they would do their work again.
    """

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder,
        update: Update | Revocation,
        reason_to_wait: Callable[[Connection], str | None],
        stop_requested: Callable[[], bool],
        pause: Callable[[float], object] | None,
    ) -> None:
        self.plan = plan
        self.recorder = recorder
        self.update = update
        self.reason_to_wait = reason_to_wait
        self.changed = 0
        self.ended = threading.Event()
        self.pause = pause or self.ended.wait
        self.asked = -WAIT
        self.beaten = time.monotonic()
        self.asking = threading.Lock()
        self.journal = threading.Lock()
        self._stop_requested = stop_requested
        self._waiting = deque(plan.chunks)
        self._locked: list[Chunk] = []
        self._met = 0
        self._counting = threading.Lock()

    @property
    def is_ending(self) -> bool:
        """Whether no further transaction shall begin."""
        return self.ended.is_set() or self._stop_requested()

    @property
    def has_locked(self) -> bool:
        """Whether others have locked some of the tokens that had their turn."""
        return bool(self._locked)

    @property
    def prevented(self) -> set[int]:
        """The ids of those among them that no session has locked: something else keeps them from being changed."""
        return {id_ for chunk in self._locked for id_ in chunk.ids if id_ in self.update.prevented}

    @property
    def finished(self) -> Finished:
        """What has become of the tokens by now."""
        with self._counting:
            locked = sum(len(chunk.ids) for chunk in self._locked)
            return Finished(self.changed, self._met - self.changed - locked, locked, self.plan.tokens - self._met)

    @property
    def has_chunks(self) -> bool:
        """Whether chunks are left that no worker has taken."""
        return bool(self._waiting)

    def take(self, size: int) -> list[Chunk]:
        """The first chunks with about this number of tokens together; at least one where there is any."""
        with self._counting:
            batch = _batch(self._waiting, size)
            for _ in batch:
                self._waiting.popleft()
            return batch

    def give_back(self, chunks: Sequence[Chunk]) -> None:
        """Let chunks be the next ones again."""
        with self._counting:
            self._waiting.extendleft(reversed(chunks))

    def take_again(self) -> None:
        """Let the tokens that others have locked be what is left to take."""
        with self._counting:
            locked, self._locked = self._locked, []
            self._waiting.extend(locked)
            self._met -= sum(len(chunk.ids) for chunk in locked)

    def put_aside(self) -> None:
        """Count what nobody has taken again as locked still."""
        with self._counting:
            self._locked.extend(self._waiting)
            self._met += sum(len(chunk.ids) for chunk in self._waiting)
            self._waiting.clear()

    def begin_again(self, chunks: Iterable[Chunk]) -> None:
        """Let these chunks be there to take, now for the recount."""
        with self._counting:
            self._waiting = deque(chunks)

    def count(self, outcomes: Sequence[ChunkOutcome]) -> None:
        """Count what has become of these chunks, for good, in a transaction that is committed."""
        with self._counting:
            for outcome in outcomes:
                chunk = outcome.chunk
                self._met += len(chunk.ids)
                self.changed += outcome.changed
                if outcome.locked:
                    self._locked.append(replace(chunk, ids=TokenIds(outcome.locked), again=True))

    def committed(self) -> BatchCommitted:
        """How many tokens are dealt with by now."""
        with self._counting:
            return BatchCommitted(self._met - sum(len(chunk.ids) for chunk in self._locked))


class Worker:
    """One connection that changes what it takes from a share, with batches of a size of its own.

    `in_doubt` says that a commit may have been made, whose answer never came.
    """

    def __init__(self, connection: Connection, share: Share) -> None:
        self.connection = connection
        self.in_doubt = False
        self._share = share
        self._size = CHUNK
        self._taken = 0.0  # seconds that the tokens of the last transaction took

    def cancel(self) -> None:
        """Cancel the statement that it waits for, from another thread."""
        self.connection.cancel()

    def first_pass(self) -> Iterator[Event]:
        """Chunks of the plan in its order until none is left, what others have locked put aside."""
        share = self._share
        while share.has_chunks:
            yield from self._wait()
            if share.is_ending or not (batch := share.take(self._size)):
                return
            # What hangs on tokens has a cost of its own in each chunk, which more chunks would have more often.
            if share.update.is_plain and len(batch[0].ids) * TARGET > self._size * LONGEST:
                share.give_back([*self._split(batch[0]), *batch[1:]])
                continue
            tokens = sum(len(chunk.ids) for chunk in batch)
            yield BatchStarting(min(chunk.ids.first for chunk in batch), max(chunk.ids.last for chunk in batch))
            try:
                outcomes = yield from self._change(batch)
            except StatementTimeout:
                self._size = max(1, tokens // 8)
                share.give_back(self._split(batch[0]) if len(batch) == 1 and not share.ended.is_set() else batch)
                self._show_life()
                continue
            self._size = next_size(tokens, self._taken)
            share.count(outcomes)
            yield share.committed()

    def last_tries(self) -> Iterator[Event]:
        """The tokens that were put aside, a few times."""
        share = self._share
        for seconds in PAUSES[:TRIES]:
            if not share.has_locked or share.is_ending:
                return
            self._pause(seconds)
            share.take_again()
            try:
                yield from self._try_again()
            finally:
                share.put_aside()
            yield share.committed()

    def recount(self) -> Iterator[int | Waiting]:
        """How many of the plan's tokens are now as the plan wants them, batch by batch until none is left."""

        def counted() -> int:
            with writing(self.connection):
                return self._share.update.recount(self.connection, batch)

        while not self._share.ended.is_set() and (batch := self._share.take(RECOUNTED)):
            yield (yield from self._insisting(counted))

    def finish(self, state: RunState, why: str | None) -> Iterator[Event]:
        """Write down how the run has ended."""

        def written() -> None:
            with writing(self.connection):
                self._share.recorder.finish(self.connection, state, why)

        yield from self._insisting(written)

    def _try_again(self) -> Iterator[Event]:
        share = self._share
        while share.has_chunks:
            yield from self._wait()
            if share.is_ending or not (batch := share.take(1)):
                return
            try:
                outcomes = yield from self._change_unlocked(batch)
            except StatementTimeout:
                share.give_back(self._split(batch[0]))
            else:
                share.count(outcomes)

    def _wait(self) -> Iterator[Event]:
        """Until there is no reason to wait any more, with signs of life; one worker asks for all."""
        share = self._share
        if time.monotonic() - share.asked < WAIT:
            return
        with share.asking:
            if time.monotonic() - share.asked < WAIT:
                return
            while (reason := share.reason_to_wait(self.connection)) and not share.is_ending:
                yield Waiting(reason)
                share.pause(WAIT)
                self._show_life()
            share.asked = time.monotonic()

    def _show_life(self) -> None:
        """A sign of life where the last one, which each transaction gives, is some seconds ago.

        Where somebody has locked the journal, the next one will do.
        """
        if time.monotonic() - self._share.beaten > HEARTBEAT:
            with suppress(LockTimeout), self._transaction() as turn:
                turn()
                self._share.recorder.beat(self.connection)

    def _split(self, chunk: Chunk) -> list[Chunk]:
        if len(chunk.ids) == 1:
            raise StatementTimeout(f"Token {chunk.ids.first} alone takes longer than {STATEMENT_TIMEOUT} to change.")
        lower, upper = chunk.halves()
        with self._transaction() as turn:
            turn()
            self._share.recorder.split(self.connection, chunk, lower, upper)
        return [lower, upper]

    def _change(self, batch: Sequence[Chunk]) -> Generator[Waiting, None, Sequence[ChunkOutcome]]:
        """Change the tokens of `batch` in one transaction: all at once if nothing is in the way."""
        share = self._share
        if not share.update.is_plain:
            return (yield from self._change_unlocked(batch))
        try:
            with self._transaction(lock_timeout=ROW_TIMEOUT) as turn:
                outcomes = share.update.of_all(self.connection, batch)
                turn()
                share.recorder.mark(self.connection, outcomes)
        except (LockTimeout, NotAll):
            return (yield from self._change_unlocked(batch))
        return outcomes

    def _change_unlocked(self, batch: Sequence[Chunk]) -> Generator[Waiting, None, Sequence[ChunkOutcome]]:
        """The same, passing over the rows that others hold; only a lock on a whole table can make this fail.

        Tokens that something else keeps from being changed are left from then on, as if somebody held them.
        """
        share = self._share

        def changed() -> Sequence[ChunkOutcome]:
            with self._transaction() as turn:
                outcomes = share.update.of_unlocked(self.connection, batch)
                turn()
                share.recorder.mark(self.connection, outcomes)
            return outcomes

        try:
            return (yield from self._insisting(changed))
        except Prevented as prevented:
            share.update.prevented.update(prevented.ids)
            return (yield from self._change_unlocked(batch))
        except LockTimeout:
            if not share.is_ending:
                raise
            return [ChunkOutcome(chunk, 0, (), list(chunk.ids)) for chunk in batch]

    def _insisting(self, transaction: Callable[[], Result]) -> Generator[Waiting, None, Result]:
        """What `transaction` returns, tried again for about a minute while another session has locked a table.

        Raises LockTimeout where that session has it still, or no further transaction shall begin.
        """
        for seconds in PAUSES:
            self._show_life()
            try:
                return transaction()
            except LockTimeout:
                if self._share.is_ending:
                    raise
            yield Waiting(TABLE_LOCKED)
            self._pause(seconds)
        self._show_life()
        return transaction()

    @contextmanager
    def _transaction(self, lock_timeout: str = LOCK_TIMEOUT) -> Iterator[Callable[[], None]]:
        """One transaction that gives a sign of life, and of which `_taken` is what its tokens took.

        Gives what waits for its turn to write into the journal, which lasts until it is committed.

        The time that it takes to open one goes off, for that is what its round trips cost: on a long way to the server
        fewer tokens would not make it shorter. Nor would they make the commit shorter, or those of other workers.
        """
        waited = 0.0

        def turn() -> None:
            nonlocal waited
            asked = time.monotonic()
            until_committed.enter_context(self._share.journal)
            waited = time.monotonic() - asked

        committing = False
        started = time.monotonic()
        try:
            with ExitStack() as until_committed, writing(self.connection, lock_timeout):
                opened = time.monotonic()
                yield turn
                worked = time.monotonic()
                committing = True
        except ConnectionLost:
            self.in_doubt = committing
            raise
        self._share.beaten = time.monotonic()
        self._taken = (worked - opened) - (opened - started) - waited

    def _pause(self, seconds: float) -> None:
        # Jitter, so that two runs do not meet at the same row again and again; no secret depends on it.
        self._share.pause(seconds * random.uniform(0.5, 1.5))  # noqa: S311


def _batch(chunks: Iterable[Chunk], size: int) -> list[Chunk]:
    """The first chunks with about this number of tokens together; at least one."""
    batch: list[Chunk] = []
    tokens = 0
    for chunk in chunks:
        if batch and tokens + len(chunk.ids) / 2 > size:
            break
        batch.append(chunk)
        tokens += len(chunk.ids)
    return batch


def writing(connection: Connection, lock_timeout: str = LOCK_TIMEOUT) -> AbstractContextManager[None]:
    """One transaction of a run."""
    return database.writing(connection, lock_timeout=lock_timeout, statement_timeout=STATEMENT_TIMEOUT)

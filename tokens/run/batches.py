"""Carry a plan out: short transactions, each sized by how long the one before it took.

A run never changes a token that no longer has the date that the plan saw, never waits long for a row that somebody else
has locked, and stops between two transactions when asked to. It yields what happens and prints nothing.

A client whose token is being changed waits for the transaction's end, since GitLab writes `last_used_at` into its
row. So a transaction is as short as it can be without losing much to its fixed cost: round trips, journal, disk. Each
COMMIT is on the disk before the next transaction begins: behind PgBouncer a crash between two of them goes unnoticed.
"""

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from tokens import database
from tokens.address import Address
from tokens.change.plan import CHUNK, Chunk, Plan, TokenIds
from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import ConnectionLost, DatabaseError, LockTimeout, StatementTimeout, TokensError
from tokens.gitlab import preflight
from tokens.journal.installation import RunState
from tokens.journal.record import HEARTBEAT, ChunkOutcome, Recorder
from tokens.run.revocation import Revocation
from tokens.run.update import NotAll, Update

FEWEST = 50  # tokens that a transaction has, unless even they took too long for a statement
MOST = 20_000
RECOUNTED = 50_000  # tokens in one statement; it holds no rows
TARGET = 0.08  # seconds that a transaction's tokens should take
LONGEST = 0.25  # a chunk that would take longer is cut in two first
GROWTH = 2.0  # a transaction has at most this many times the tokens of the one before

LOCK_TIMEOUT = "250ms"
ROW_TIMEOUT = "50ms"  # the same where rows are held already, for which others wait along
STATEMENT_TIMEOUT = "30s"  # so that a dead client leaves no long-running statement behind
PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try at what others have locked, give or take a half
WAIT = 0.5  # seconds between two questions whether there is a reason to wait


@dataclass(frozen=True)
class Reread:
    """How many tokens are left of the plan: another process has gone on with the run since the caller read it."""

    tokens: int


@dataclass(frozen=True)
class BatchStarting:
    """About to change these tokens: smallest and largest id."""

    first_id: int
    last_id: int


@dataclass(frozen=True)
class BatchCommitted:
    """How many of the plan's tokens are dealt with by now: changed, or found changed by somebody else."""

    dealt_with: int


@dataclass(frozen=True)
class Waiting:
    """Nothing is changed for the moment, for this reason."""

    reason: str


@dataclass(frozen=True)
class Recounted:
    """How many of the plan's tokens are in the table as it wants them, counted after the last transaction."""

    tokens: int


@dataclass(frozen=True)
class Finished:
    """What became of the plan's tokens.

    `changed_meanwhile` were left alone because they were no longer as the plan has them (or were gone); `locked`
    because another session held them to the end; `untouched` because the run was asked to stop.
    """

    changed: int
    changed_meanwhile: int = 0
    locked: int = 0
    untouched: int = 0


Event = Reread | BatchStarting | BatchCommitted | Waiting | Recounted | Finished


class RunFailed(DatabaseError):
    """The database failed in the middle of a run; `changed` tokens had been committed before.

    `reversible` is whether there may be anything to undo: a commit whose answer was lost may have been made.
    """

    def __init__(self, reason: DatabaseError, changed: int, *, reversible: bool) -> None:
        super().__init__(str(reason))
        self.changed = changed
        self.reversible = reversible


def run(
    address: Address,
    plan: Plan,
    recorder: Recorder,
    *,
    reason_to_wait: Callable[[Connection], str | None] = lambda _: None,
    stop_requested: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Carry `plan` out, yielding events; the last one is `Finished`.

    Args:
        address: of the primary.
        plan: from `make_plan`, or what the journal has of one.
        recorder: where it is written down, in the very transactions that change tokens.
        reason_to_wait: asked between transactions, every half second; while it gives a reason nothing is changed.
        stop_requested: asked between two transactions, and before a locked table is tried again.
        pause: waits this number of seconds.

    Raises:
        RunFailed: what had been committed stays.
        Refused: the database takes no changes.
        TakenOver: another process goes on with this run.
    """
    progress: _Run | None = None
    try:
        with database.connect(address) as connection:
            with _writing(connection):
                schema = preflight.check(connection, plan.change.needs)
                rest = recorder.rest(connection, plan)
            update = Revocation(rest, recorder) if plan.change.revokes else Update(rest, recorder, schema)
            progress = _Run(rest, recorder, update, reason_to_wait, stop_requested, pause)
            if rest.tokens != plan.tokens:
                yield Reread(rest.tokens)
            yield from progress.first_pass(connection)
            yield from progress.last_tries(connection)
            if not stop_requested():
                recorder.recounted = progress.recount(connection)
                yield Recounted(recorder.recounted)
            end = progress.finished()
            with _writing(connection):
                recorder.finish(connection, *_ending(end, stopped=stop_requested()))
    except BaseException as error:
        _write_down(address, recorder, error)
        if isinstance(error, DatabaseError):
            changed = progress.changed if progress else 0
            in_doubt = progress is not None and progress.committing and isinstance(error, ConnectionLost)
            raise RunFailed(error, changed, reversible=in_doubt or recorder.has_changed(changed)) from error
        raise
    yield end


def next_size(tokens: int, seconds: float) -> int:
    """How many tokens the next transaction should have, after one whose `tokens` took `seconds`."""
    wanted = tokens * min(GROWTH, TARGET / max(seconds, 0.001))
    return max(FEWEST, min(MOST, int(wanted)))


def _ending(end: Finished, *, stopped: bool) -> tuple[RunState, str | None]:
    if end.untouched or (stopped and end.locked):
        return RunState.STOPPED, "asked to stop"
    if end.locked:
        return RunState.PARTIAL, f"{counted(end.locked, 'token was', 'tokens were')} locked to the end"
    return RunState.DONE, None


def _write_down(address: Address, recorder: Recorder, error: BaseException) -> None:
    """Write down why the run stopped, if anybody is there to write it to; the journal is true without it, too."""
    if recorder.run is None:
        return
    why = str(error) if isinstance(error, TokensError) else "interrupted in the middle of a transaction"
    with contextlib.suppress(TokensError), database.connect(address) as connection, _writing(connection):
        recorder.finish(connection, RunState.STOPPED, why)


@dataclass
class _Run:
    plan: Plan
    recorder: Recorder
    update: Update | Revocation
    reason_to_wait: Callable[[Connection], str | None]
    stop_requested: Callable[[], bool]
    pause: Callable[[float], None]
    met: int = 0
    changed: int = 0
    locked: list[Chunk] = field(default_factory=list)
    taken: float = 0.0  # seconds that the tokens of the last transaction took
    asked: float = -WAIT  # when there was last no reason to wait
    committing: bool = False  # a commit is under way, or its answer never came
    beaten: float = field(default_factory=time.monotonic)  # the last sign of life

    def first_pass(self, connection: Connection) -> Iterator[Event]:
        """Every chunk of the plan in its order, what others have locked put aside."""
        waiting = deque(self.plan.chunks)
        size = CHUNK
        while waiting:
            yield from self._wait(connection)
            if self.stop_requested():
                return
            # What hangs on tokens has a cost of its own in each chunk, which more chunks would have more often.
            if self.update.is_plain and len(waiting[0].ids) * TARGET > size * LONGEST:
                waiting.extendleft(reversed(self._split(connection, waiting.popleft())))
                continue
            batch = _batch(waiting, size)
            tokens = sum(len(chunk.ids) for chunk in batch)
            yield BatchStarting(min(chunk.ids.first for chunk in batch), max(chunk.ids.last for chunk in batch))
            try:
                outcomes = self._change(connection, batch)
            except StatementTimeout:
                size = max(1, tokens // 8)
                if len(batch) == 1:
                    waiting.extendleft(reversed(self._split(connection, waiting.popleft())))
                self._show_life(connection)
                continue
            for _ in batch:
                waiting.popleft()
            size = next_size(tokens, self.taken)
            self._count(outcomes)
            yield self._committed()

    def last_tries(self, connection: Connection) -> Iterator[Event]:
        """The tokens that were put aside, a few times."""
        for seconds in PAUSES:
            if not self.locked or self.stop_requested():
                return
            self._pause(seconds)
            waiting, self.locked = deque(self.locked), []
            while waiting:
                yield from self._wait(connection)
                if self.stop_requested():
                    self.locked.extend(waiting)
                    return
                chunk = waiting.popleft()
                try:
                    outcomes = self._change_unlocked(connection, [chunk])
                except StatementTimeout:
                    waiting.extendleft(reversed(self._split(connection, chunk)))
                    continue
                self.met -= len(chunk.ids)
                self._count(outcomes)
            yield self._committed()

    def recount(self, connection: Connection) -> int:
        """How many of the plan's tokens are now as the plan wants them."""
        tokens = 0
        left = deque(self.plan.chunks)
        while left:
            batch = _batch(left, RECOUNTED)
            for _ in batch:
                left.popleft()
            with _writing(connection):
                tokens += self.update.recount(connection, batch)
            self._show_life(connection)
        return tokens

    def finished(self) -> Finished:
        locked = sum(len(chunk.ids) for chunk in self.locked)
        return Finished(self.changed, self.met - self.changed - locked, locked, self.plan.tokens - self.met)

    def _committed(self) -> BatchCommitted:
        return BatchCommitted(self.met - sum(len(chunk.ids) for chunk in self.locked))

    def _count(self, outcomes: Sequence[ChunkOutcome]) -> None:
        for outcome in outcomes:
            chunk = outcome.chunk
            self.met += len(chunk.ids)
            self.changed += outcome.changed
            if outcome.locked:
                self.locked.append(replace(chunk, ids=TokenIds(outcome.locked), again=True))

    def _wait(self, connection: Connection) -> Iterator[Event]:
        """Until there is no reason to wait any more, with signs of life."""
        if time.monotonic() - self.asked < WAIT:
            return
        while (reason := self.reason_to_wait(connection)) and not self.stop_requested():
            yield Waiting(reason)
            self.pause(WAIT)
            self._show_life(connection)
        self.asked = time.monotonic()

    def _show_life(self, connection: Connection) -> None:
        """A sign of life where the last one, which each transaction gives, is some seconds ago."""
        if time.monotonic() - self.beaten > HEARTBEAT:
            with self._transaction(connection):
                self.recorder.beat(connection)

    def _split(self, connection: Connection, chunk: Chunk) -> list[Chunk]:
        if len(chunk.ids) == 1:
            raise StatementTimeout(f"Token {chunk.ids.first} alone takes longer than {STATEMENT_TIMEOUT} to change.")
        lower, upper = chunk.halves()
        with self._transaction(connection):
            self.recorder.split(connection, chunk, lower, upper)
        return [lower, upper]

    def _change(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """Change the tokens of `batch` in one transaction: all at once if nothing is in the way."""
        if not self.update.is_plain:
            return self._change_unlocked(connection, batch)
        try:
            with self._transaction(connection, lock_timeout=ROW_TIMEOUT):
                outcomes = self.update.of_all(connection, batch)
                self.recorder.mark(connection, outcomes)
        except (LockTimeout, NotAll):
            return self._change_unlocked(connection, batch)
        return outcomes

    def _change_unlocked(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """The same, passing over the rows that others hold; only a lock on a whole table can make this fail."""
        for seconds in (*PAUSES, None):
            self._show_life(connection)
            try:
                with self._transaction(connection):
                    outcomes = self.update.of_unlocked(connection, batch)
                    self.recorder.mark(connection, outcomes)
            except LockTimeout:
                if self.stop_requested():
                    return [ChunkOutcome(chunk, 0, (), list(chunk.ids)) for chunk in batch]
                if seconds is None:
                    raise
                self._pause(seconds)
            else:
                return outcomes
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _transaction(self, connection: Connection, lock_timeout: str = LOCK_TIMEOUT) -> Iterator[None]:
        """One transaction that gives a sign of life, and of which `taken` is what its tokens took.

        The time that it takes to open one goes off, for that is what its round trips cost: on a long way to the server
        fewer tokens would not make it shorter. Nor would they make the commit shorter.
        """
        started = time.monotonic()
        with _writing(connection, lock_timeout):
            opened = time.monotonic()
            self.committing = False
            yield
            worked = time.monotonic()
            self.committing = True
        self.committing = False
        self.beaten = time.monotonic()
        self.taken = (worked - opened) - (opened - started)

    def _pause(self, seconds: float) -> None:
        # Jitter, so that two runs do not meet at the same row again and again; no secret depends on it.
        self.pause(seconds * random.uniform(0.5, 1.5))  # noqa: S311


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


def _writing(connection: Connection, lock_timeout: str = LOCK_TIMEOUT) -> AbstractContextManager[None]:
    return database.writing(connection, lock_timeout=lock_timeout, statement_timeout=STATEMENT_TIMEOUT)

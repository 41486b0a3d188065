"""Carry a plan out: short transactions, each sized by how long the one before it took.

A run never changes a token that no longer has the date that the plan saw, never waits long for a row that somebody else
has locked, and stops between two transactions when asked to. It yields what happens and prints nothing.
"""

import random
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.errors import DatabaseError, LockTimeout, StatementTimeout
from tokens.gitlab import preflight
from tokens.plan import Plan

FIRST_BATCH = 1_000  # tokens
LARGEST_BATCH = 50_000  # tokens
TARGET = 0.5  # seconds that a transaction should take
GROWTH = 2.0  # a batch has at most this many times the tokens of the one before

LOCK_TIMEOUT = "250ms"
STATEMENT_TIMEOUT = "30s"  # so that a dead client leaves no long-running statement behind
PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try at what others have locked, give or take a half

# Every row is checked again for the date that the plan saw: whatever changed since then is somebody else's decision.
UPDATE = """
    UPDATE public.personal_access_tokens
    SET expires_at = CAST(%(new)s AS date)
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(old)s AS date)
"""

UPDATE_UNLOCKED = """
    WITH unlocked AS MATERIALIZED (
      SELECT id
      FROM public.personal_access_tokens
      WHERE id = ANY(CAST(%(ids)s AS bigint[]))
        AND expires_at IS NOT DISTINCT FROM CAST(%(old)s AS date)
      ORDER BY id
      FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.personal_access_tokens t
    SET expires_at = CAST(%(new)s AS date)
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id
"""

STILL_OLD = """
    SELECT id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(old)s AS date)
    ORDER BY id
"""


@dataclass(frozen=True)
class BatchStarting:
    """About to change these tokens: smallest and largest id."""

    first_id: int
    last_id: int


@dataclass(frozen=True)
class BatchCommitted:
    """So many of the plan's tokens are dealt with by now: changed, or found changed by somebody else."""

    dealt_with: int


@dataclass(frozen=True)
class Finished:
    """What became of the plan's tokens.

    `changed_meanwhile` were left alone because their date was no longer the plan's (or they were gone); `locked`
    because another session held them to the end; `untouched` because the run was asked to stop.
    """

    changed: int
    changed_meanwhile: int = 0
    locked: int = 0
    untouched: int = 0


Event = BatchStarting | BatchCommitted | Finished


class RunFailed(DatabaseError):
    """The database failed in the middle of a run; `changed` tokens had been committed before."""

    def __init__(self, reason: DatabaseError, changed: int) -> None:
        super().__init__(str(reason))
        self.changed = changed


def run(
    address: Address,
    plan: Plan,
    *,
    stop_requested: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Carry `plan` out, yielding events; the last one is `Finished`.

    Args:
        address: of the primary.
        plan: from `make_plan`.
        stop_requested: asked between two transactions, and before a locked table is tried again.
        pause: waits so many seconds before locked rows are tried again.

    Raises:
        RunFailed: what had been committed stays.
        Refused: the database takes no changes.
    """
    progress = _Run(plan, stop_requested, pause)
    try:
        with database.connect(address) as connection:
            with connection.transaction():
                preflight.check(connection, preflight.EDIT)
            yield from progress.first_pass(connection)
            yield from progress.last_tries(connection)
    except DatabaseError as error:
        raise RunFailed(error, progress.changed) from error
    yield progress.finished()


def next_batch(tokens: int, seconds: float) -> int:
    """How many tokens the next transaction should take, after one with `tokens` took `seconds`."""
    wanted = tokens * min(GROWTH, TARGET / max(seconds, 0.001))
    return max(1, min(LARGEST_BATCH, int(wanted)))


@dataclass
class _Run:
    plan: Plan
    stop_requested: Callable[[], bool]
    pause: Callable[[float], None]
    met: int = 0
    changed: int = 0
    locked: "array[int]" = field(default_factory=lambda: array("q"))

    def first_pass(self, connection: Connection) -> Iterator[Event]:
        """Every token of the plan in order of ids, those that others have locked put aside."""
        size = FIRST_BATCH
        while self.met < len(self.plan.tokens) and not self.stop_requested():
            ids = self.plan.tokens.between(self.met, self.met + size)
            yield BatchStarting(ids[0], ids[-1])
            started = time.monotonic()
            try:
                self._change(connection, ids)
            except StatementTimeout:
                if len(ids) == 1:
                    raise
                size = max(1, len(ids) // 8)
                continue
            self.met += len(ids)
            size = next_batch(len(ids), time.monotonic() - started)
            yield self._committed()

    def last_tries(self, connection: Connection) -> Iterator[Event]:
        """The tokens that were put aside, a few times."""
        for seconds in PAUSES:
            if not self.locked or self.stop_requested():
                return
            self._pause(seconds)
            waiting, self.locked = self.locked, array("q")
            for start in range(0, len(waiting), FIRST_BATCH):
                if self.stop_requested():
                    self.locked.extend(waiting[start:])
                    return
                self._change_unlocked(connection, waiting[start : start + FIRST_BATCH])
            yield self._committed()

    def finished(self) -> Finished:
        untouched = len(self.plan.tokens) - self.met
        changed_meanwhile = self.met - self.changed - len(self.locked)
        return Finished(self.changed, changed_meanwhile, len(self.locked), untouched)

    def _committed(self) -> BatchCommitted:
        return BatchCommitted(self.met - len(self.locked))

    def _change(self, connection: Connection, ids: Sequence[int]) -> None:
        try:
            with _writing(connection):
                changed = connection.execute(UPDATE, **self._parameters(ids))
        except LockTimeout:
            self._change_unlocked(connection, ids)
        else:
            self.changed += changed

    def _change_unlocked(self, connection: Connection, ids: Sequence[int]) -> None:
        """Change `ids`, passing over the rows that others hold; only a lock on the whole table can make this fail."""
        parameters = self._parameters(ids)
        for seconds in (*PAUSES, None):
            try:
                with _writing(connection):
                    changed = {row.id for row in connection.rows(UPDATE_UNLOCKED, **parameters)}
                    still_old = [row.id for row in connection.rows(STILL_OLD, **parameters)]
            except LockTimeout:
                if self.stop_requested():
                    self.locked.extend(ids)
                    return
                if seconds is None:
                    raise
                self._pause(seconds)
            else:
                self.changed += len(changed)
                self.locked.extend(id_ for id_ in still_old if id_ not in changed)
                return

    def _pause(self, seconds: float) -> None:
        # Jitter, so that two runs do not meet at the same row again and again; no secret depends on it.
        self.pause(seconds * random.uniform(0.5, 1.5))  # noqa: S311

    def _parameters(self, ids: Sequence[int]) -> dict[str, str | None]:
        return {
            # An array literal, because the driver's own conversion of a list costs ten times as much.
            "ids": "{" + ",".join(map(str, ids)) + "}",
            "old": self.plan.selection.expires_at.literal,
            "new": None if self.plan.expires_at is None else self.plan.expires_at.literal,
        }


def _writing(connection: Connection) -> AbstractContextManager[None]:
    return database.writing(connection, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT)

"""Writing what a run does: it marks the chunks of its plan in the transactions that change tokens.

Its process holds the number of an attempt and repeats it in each transaction: an attempt that has been taken over can
commit nothing any more, however late it wakes up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from tokens.change.chunks import Chunk
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection, array_literal
from tokens.errors import TokensError
from tokens.journal import chain
from tokens.journal.installation import RunState
from tokens.journal.runs import read_dealt_with, read_plan, read_run

PLAIN = (RunKind.EDIT, RunKind.EXTEND, RunKind.REMOVE)  # without memberships and notices their chunks are all there is

HEARTBEAT = 5.0  # seconds between two signs of life of a run that waits

STORE_CHUNK = """
    INSERT INTO token_tasks.chunks (run_id, position, old_expires_at, new_expires_at, token_ids)
    VALUES (
      %(run)s, %(position)s, CAST(%(old)s AS date), CAST(%(new)s AS date), CAST(%(ids)s AS bigint[])
    )
"""

ADVANCE = """
    UPDATE token_tasks.runs
    SET heartbeat_at = clock_timestamp()
    WHERE id = %(run)s AND attempt = %(attempt)s AND state = 'running'
"""

# What a whole chunk's row has, for all chunks in one line.
WHOLE = f"""SELECT 0 AS place, CAST(0 AS bigint) AS key, concat(
          'results ', array_to_string(CAST(%(positions)s AS bigint[]), ','), ' ',
          {chain.RESULTS.hash(done_at="now() AT TIME ZONE 'UTC'", left_alone="NULL", locked="NULL")}
        ) AS line
        WHERE cardinality(CAST(%(positions)s AS bigint[])) > 0"""

PARTLY = chain.lines_of("results", "r.position = ANY (CAST(%(partly)s AS bigint[]))")

# What hangs on the tokens of chunks was written just before.
BESIDE = tuple(
    chain.lines_of(part, "r.position = ANY (CAST(%(positions)s AS bigint[]) || CAST(%(partly)s AS bigint[]))")
    for part in ("notices", "memberships", "revocations")
)

MARK = """marked AS (
      UPDATE token_tasks.chunks c
      SET done_at = now()
      FROM entered
      WHERE c.run_id = entered.id AND c.position = ANY (CAST(%(positions)s AS bigint[]))
    )"""


def _marking(*lines: str) -> str:
    """In one round trip, as others wait for the transaction's end."""
    return chain.entering(
        lines,
        {
            "heartbeat_at": "clock_timestamp()",
            "changed": "r.changed + %(changed)s",
            "changed_meanwhile": "r.changed_meanwhile + %(changed_meanwhile)s",
        },
        condition=" AND r.attempt = %(attempt)s AND r.state = 'running'",
        also=[MARK],
    )


ADVANCE_AND_MARK = _marking(WHOLE)

ADVANCE_AND_MARK_ALL = _marking(WHOLE, PARTLY, *BESIDE)

MARK_PARTLY = """
    UPDATE token_tasks.chunks
    SET
      done_at = now(),
      left_alone = NULLIF(COALESCE(left_alone, '{}') || CAST(%(left_alone)s AS bigint[]), '{}'),
      locked = NULLIF(
        ARRAY(SELECT id FROM unnest(locked) AS id WHERE id <> ALL (CAST(%(tried)s AS bigint[])))
          || CAST(%(locked)s AS bigint[]),
        '{}'
      )
    WHERE run_id = %(run)s AND position = %(position)s
"""

SHORTEN = """
    UPDATE token_tasks.chunks
    SET token_ids = CAST(%(ids)s AS bigint[])
    WHERE run_id = %(run)s AND position = %(position)s
"""

# With the other tokens of the bots that did not need the memberships to last: an undo finds out whether they do since.
STORE_MEMBERSHIPS = """
    INSERT INTO token_tasks.memberships
      (run_id, position, member_ids, old_expires_at, new_expires_at, other_token_ids, other_expires_at)
    SELECT
      CAST(%(run)s AS bigint), CAST(%(position)s AS bigint),
      CAST(%(members)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date),
      COALESCE(array_agg(t.id ORDER BY t.id), '{}'), COALESCE(array_agg(t.expires_at ORDER BY t.id), '{}')
    FROM (
      SELECT m.user_id, max(kept.old_expires_at) AS old_expires_at
      FROM unnest(CAST(%(members)s AS bigint[]), CAST(%(old)s AS date[])) AS kept (id, old_expires_at)
      JOIN public.members m ON m.id = kept.id
      GROUP BY m.user_id
    ) bots
    JOIN public.personal_access_tokens t
      ON t.user_id = bots.user_id
      AND t.revoked IS NOT TRUE
      AND t.expires_at <= bots.old_expires_at
    WHERE t.id NOT IN (SELECT unnest(CAST(%(ids)s AS bigint[])))
"""

FINISH = """
    UPDATE token_tasks.runs r
    SET
      state = %(state)s,
      finished_at = CASE WHEN %(state)s IN ('done', 'partial') THEN now() END,
      recounted = %(recounted)s,
      locked = (SELECT COALESCE(sum(cardinality(c.locked)), 0) FROM token_tasks.chunks c WHERE c.run_id = r.id)
    WHERE r.id = %(run)s AND r.attempt = %(attempt)s AND r.state = 'running'
"""

END_ATTEMPT = """
    UPDATE token_tasks.attempts
    SET ended_at = now(), stopped_because = %(why)s
    WHERE run_id = %(run)s AND number = %(attempt)s AND ended_at IS NULL
"""


class TakenOver(TokensError):
    """Another process goes on with this run; nothing more may be changed by this one."""

    @classmethod
    def of(cls, run: int) -> Self:
        """The fault of the process that has lost `run`."""
        return cls(f"Another process has taken over run {run}, and goes on with it; this one has ended.")


@dataclass(frozen=True)
class ChunkOutcome:
    """What became of one chunk's tokens: how many changed, and the ids of the others."""

    chunk: Chunk
    changed: int
    left_alone: Sequence[int] = ()
    locked: Sequence[int] = ()

    @property
    def is_whole(self) -> bool:
        """Whether this is all that there is to say about a chunk of the journal: every token of it changed."""
        return self.changed == len(self.chunk.ids) and not self.chunk.again


class Recorder:
    """Writes down what a run does. This one writes nothing: without a journal there is no record and no way back."""

    run: int | None = None
    attempt = 1
    recounted: int | None = None
    """How many tokens of the whole run had their new date in the end, once that is known."""
    changed_before = 0
    """How many tokens attempts before this one have changed."""
    four_eyes = False
    """Whether it took two people to begin the run."""

    def has_changed(self, tokens: int) -> bool:
        """Whether the run has changed any token, if this attempt has changed that number."""
        return tokens > 0 or self.changed_before > 0

    def mark(self, connection: Connection, outcomes: Sequence[ChunkOutcome]) -> None:
        """Write down what has just been done to these chunks, in the transaction that did it."""

    def keep_memberships(
        self, connection: Connection, chunk: Chunk, members: Sequence[int], old: Sequence[str], new: str | None
    ) -> None:
        """Write down memberships that are moved to `new`, with their old ends."""

    def rest(self, connection: Connection, plan: Plan) -> Plan:  # noqa: ARG002 - a record asks it
        """What is left to do of `plan`, which may have been read before another process ceased to go on with it."""
        return plan

    def dealt_with(self, connection: Connection) -> Sequence[Chunk]:  # noqa: ARG002 - a record asks it
        """The tokens that attempts before this one have dealt with; to be asked with `rest`."""
        return ()

    def split(self, connection: Connection, whole: Chunk, lower: Chunk, upper: Chunk) -> None:
        """Write down that a chunk is two from now on."""

    def beat(self, connection: Connection) -> None:
        """Give a sign of life."""

    def finish(self, connection: Connection, state: RunState, why: str | None = None) -> None:
        """Write down how the run ended."""


class Record(Recorder):
    """Writes into the journal, for one attempt to carry out one run; `attempt` counts them from 1.

    `planned_at` is the run's PLANNED_AT for the process that has begun it, None where it is gone on with.

    Every method works in the transaction that the caller has opened. Raises TakenOver where another process has taken
    the run over: the transaction must not be committed.
    """

    run: int

    def __init__(
        self,
        run: int,
        attempt: int,
        planned_at: str | None = None,
        *,
        changed_before: int = 0,
        four_eyes: bool = False,
    ) -> None:
        self.run = run
        self.attempt = attempt
        self.planned_at = planned_at
        self.changed_before = changed_before
        self.four_eyes = four_eyes
        self._plain = False

    def rest(self, connection: Connection, plan: Plan) -> Plan:
        self._plain = plan.kind in PLAIN and plan.memberships is None and not plan.notices
        # The first attempt finds the plan as it was stored.
        if self.attempt == 1:
            return plan
        left = read_plan(connection, read_run(connection, self.run))
        return replace(left, memberships=plan.memberships, notices=plan.notices)

    def dealt_with(self, connection: Connection) -> Sequence[Chunk]:
        return () if self.attempt == 1 else read_dealt_with(connection, self.run)

    def mark(self, connection: Connection, outcomes: Sequence[ChunkOutcome]) -> None:
        partly = [outcome for outcome in outcomes if not outcome.is_whole]
        for outcome in partly:
            connection.execute(
                MARK_PARTLY,
                run=self.run,
                position=outcome.chunk.position,
                left_alone=array_literal(outcome.left_alone),
                locked=array_literal(outcome.locked),
                tried=array_literal(outcome.chunk.ids) if outcome.chunk.again else "{}",
            )
        parameters = {
            "run": self.run,
            "attempt": self.attempt,
            "changed": sum(outcome.changed for outcome in outcomes),
            "changed_meanwhile": sum(len(outcome.left_alone) for outcome in outcomes),
            "positions": array_literal(outcome.chunk.position for outcome in outcomes if outcome.is_whole),
        }
        if self._plain and not partly:
            marked = connection.execute(ADVANCE_AND_MARK, **parameters)
        else:
            positions = array_literal(outcome.chunk.position for outcome in partly)
            marked = connection.execute(ADVANCE_AND_MARK_ALL, partly=positions, **parameters)
        if not marked:
            raise TakenOver.of(self.run)

    def keep_memberships(
        self, connection: Connection, chunk: Chunk, members: Sequence[int], old: Sequence[str], new: str | None
    ) -> None:
        connection.execute(
            STORE_MEMBERSHIPS,
            run=self.run,
            position=chunk.position,
            members=array_literal(members),
            old=array_literal(f'"{day}"' for day in old),
            new=new,
            ids=array_literal(chunk.ids),
        )

    def split(self, connection: Connection, whole: Chunk, lower: Chunk, upper: Chunk) -> None:
        # Of a chunk that has had its turn the journal goes on to hold all tokens, and which of them are locked.
        if not whole.again:
            connection.execute(SHORTEN, run=self.run, position=whole.position, ids=array_literal(lower.ids))
            connection.execute(STORE_CHUNK, run=self.run, **_chunk(upper))
        self.beat(connection)
        if not whole.again:
            chain.enter(connection, self.run, chunks=[lower.position, upper.position])

    def beat(self, connection: Connection) -> None:
        if not connection.execute(ADVANCE, run=self.run, attempt=self.attempt):
            raise TakenOver.of(self.run)

    def finish(self, connection: Connection, state: RunState, why: str | None = None) -> None:
        if connection.execute(FINISH, run=self.run, attempt=self.attempt, state=state, recounted=self.recounted):
            connection.execute(END_ATTEMPT, run=self.run, attempt=self.attempt, why=why)
            chain.enter(connection, self.run, ends=[self.attempt])
            chain.close(connection, self.run)


def _chunk(chunk: Chunk) -> dict[str, object]:
    return {
        "position": chunk.position,
        "old": chunk.old and chunk.old.literal,
        "new": chunk.new and chunk.new.literal,
        "ids": array_literal(chunk.ids),
    }

"""What a transaction of a run does to tokens that it revokes, or brings back; and what became of those since.

Every statement works in the transaction that the caller has opened.
"""

from collections.abc import Sequence

from tokens.change.chunks import Chunk, positions_of, values_of, without
from tokens.change.plan import Plan
from tokens.change.revocation import NOW
from tokens.database import Connection, array_literal
from tokens.gitlab.triggers import change_returning
from tokens.journal.record import ChunkOutcome, Recorder
from tokens.journal.runs import AS_REVOKED
from tokens.run.chunks import CHUNKS, IS_OURS, ids_held, outcome_of, planned_ones

# GitLab's own revocation writes these two columns. Whatever else is so since the plan is somebody else's decision.
NOT_REVOKED = f"""
      FROM {CHUNKS}
      WHERE t.revoked IS NOT TRUE
        AND t.expires_at IS NOT DISTINCT FROM chunk.old{{planned}}"""

# First of all: else PostgreSQL may take an array apart again for each token.
UNDONE = """undone AS MATERIALIZED (
      SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at
      FROM (
        SELECT DISTINCT (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = %(undoes)s AND c.position <= mine.position
        ) AS position
        FROM unnest(CAST(%(positions)s AS bigint[])) AS mine (position)
      ) chunk
      JOIN token_tasks.revocations n ON n.run_id = %(undoes)s AND n.position = chunk.position
      CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
    )"""

REVOKED_BY_RUN = f"""
      FROM undone n
      JOIN public.personal_access_tokens t ON t.id = n.id
      WHERE n.id IN (SELECT unnest(CAST(%(ids)s AS bigint[])))
        AND {AS_REVOKED}"""

UNLOCKED = """unlocked AS MATERIALIZED (
      SELECT t.id, {columns}{found}
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    )"""

KEPT = f""", kept AS (
      INSERT INTO token_tasks.revocations (run_id, position, token_ids, revoked, updated_at, revoked_at)
      SELECT
        CAST(%(run)s AS bigint), t.position, array_agg(t.id ORDER BY t.id), array_agg(t.revoked ORDER BY t.id),
        array_agg(t.updated_at ORDER BY t.id), {NOW}
      FROM unlocked t
      GROUP BY t.position
    )"""  # noqa: S608 - a constant

REVOKE = f"""
    UPDATE public.personal_access_tokens t
    SET revoked = true, updated_at = {NOW}
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id
"""  # noqa: S608 - a constant

BRING_BACK = """
    UPDATE public.personal_access_tokens t
    SET revoked = unlocked.revoked, updated_at = unlocked.updated_at
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id
"""

RECOUNT = """
    SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND revoked IS {state}{planned}
"""


class Revocation:
    """The revocation of a plan's tokens, chunk by chunk, or its undo; what they were before goes into `recorder`.

    `prevented` is as of `Update`.
    """

    is_plain = False
    """One statement passes over what others hold, so there is no quicker one to try first."""

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder
        self._planned, self._planned_in = planned_ones(plan)
        self.prevented = set[int]()

    def of_all(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """The same as `of_unlocked`."""
        return self.of_unlocked(connection, batch)

    def of_unlocked(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """Revoke what can be revoked of these chunks, or bring it back, passing over what others have locked.

        Raises:
            Prevented: something else keeps some from being changed.
        """
        parameters = self._about(without(batch, self.prevented))
        if self._plan.is_undo:
            unlocked = UNLOCKED.format(columns="n.revoked, n.updated_at", found=REVOKED_BY_RUN)
            found = change_returning(connection, BRING_BACK, f"{UNDONE},\n    {unlocked}", **parameters)
        else:
            not_revoked = NOT_REVOKED.format(planned=self._planned)
            unlocked = UNLOCKED.format(columns="chunk.position, t.revoked, t.updated_at", found=not_revoked)
            run = {} if self._recorder.run is None else {"run": self._recorder.run}
            found = change_returning(connection, REVOKE, unlocked + (KEPT if run else ""), **run, **parameters)
        changed = set(found)
        if len(changed) == sum(len(chunk.ids) for chunk in batch):
            return [ChunkOutcome(chunk, len(chunk.ids)) for chunk in batch]
        undone = f"    WITH {UNDONE}\n    SELECT t.id, {IS_OURS}{REVOKED_BY_RUN}"
        still = f"    SELECT t.id, {IS_OURS}{NOT_REVOKED.format(planned=self._planned)}"
        left = connection.rows(undone if self._plan.is_undo else still, **self._about(batch))
        locked = ids_held(left, changed)
        return [outcome_of(chunk, changed, locked) for chunk in batch]

    def recount(self, connection: Connection, chunks: Sequence[Chunk]) -> int:
        """How many of the tokens of these chunks are revoked now, or are not any more."""
        ids = array_literal(id_ for chunk in chunks for id_ in chunk.ids)
        statement = RECOUNT.format(state="NOT TRUE" if self._plan.is_undo else "TRUE", planned=self._planned)
        return int(connection.row(statement, ids=ids, **self._planned_in).tokens)

    def _about(self, batch: Sequence[Chunk]) -> dict[str, object]:
        if not self._plan.is_undo:
            return {**values_of(batch), **self._planned_in}
        ids = array_literal(id_ for chunk in batch for id_ in chunk.ids)
        return {"ids": ids, "positions": positions_of(batch), "undoes": self._plan.undoes}

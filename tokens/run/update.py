"""What a transaction of a run does to tokens, and to the notices about them; memberships.py has what else follows.

Every statement works in the transaction that the caller has opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tokens.change.chunks import Chunk, TokenIds, positions_of, values_of, without
from tokens.change.plan import Plan
from tokens.database import Connection, array_literal
from tokens.gitlab import notices
from tokens.gitlab.expiration import ExpirationDate, quoted
from tokens.gitlab.schema import Schema
from tokens.gitlab.triggers import change, change_returning
from tokens.journal.record import ChunkOutcome, Recorder
from tokens.run.chunks import CHUNKS, IS_OURS, ids_held, outcome_of, planned_ones
from tokens.run.memberships import Memberships

# Every row is checked again for the date that the plan saw: whatever changed since then is somebody else's decision.
UPDATE = """
    UPDATE public.personal_access_tokens
    SET expires_at = CAST(%(new)s AS date)
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(old)s AS date){planned}
"""

# The same for tokens that have not all the same dates.
UPDATE_EACH = """
    UPDATE public.personal_access_tokens t
    SET expires_at = wanted.new
    FROM unnest(
      CAST(%(ids)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date[])
    ) AS wanted (id, old, new)
    WHERE t.id = wanted.id
      AND t.expires_at IS NOT DISTINCT FROM wanted.old{planned}
"""

# One statement for all chunks of a transaction: a staggered change may have a chunk for each token.
UNLOCKED = f"""unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, chunk.new{{notices}}
      FROM {CHUNKS}
      WHERE t.expires_at IS NOT DISTINCT FROM chunk.old{{planned}}
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    ){{kept}}"""  # noqa: S608 - a constant

UPDATE_UNLOCKED = """
    UPDATE public.personal_access_tokens t
    SET expires_at = unlocked.new{rearmed}
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id
"""

KEPT_NOTICES = """, kept AS (
      INSERT INTO token_tasks.notices (run_id, position, token_ids, {columns})
      SELECT CAST(%(run)s AS bigint), t.position, array_agg(t.id ORDER BY t.id), {arrays}
      FROM unlocked t
      WHERE {any_set}
      GROUP BY t.position
    )"""

STILL_OLD = f"""
    SELECT t.id, {IS_OURS}
    FROM {CHUNKS}
    WHERE t.expires_at IS NOT DISTINCT FROM chunk.old{{planned}}
"""  # noqa: S608 - a constant

RESTORE_NOTICES = """
    UPDATE public.personal_access_tokens t
    SET {restored}
    FROM token_tasks.notices n
    CROSS JOIN LATERAL unnest(n.token_ids, {arrays}) AS kept (id, {columns})
    WHERE n.run_id = %(undoes)s
      AND n.position IN (
        SELECT (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = %(undoes)s AND c.position <= mine.position
        )
        FROM unnest(CAST(%(positions)s AS bigint[])) AS mine (position)
      )
      AND t.id = kept.id
      AND t.id = ANY(CAST(%(changed)s AS bigint[]))
      AND NOT ({any_set})
"""

RECOUNT = """
    SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(new)s AS date){planned}
"""

RECOUNT_EACH = """
    SELECT count(*) AS tokens
    FROM unnest(CAST(%(ids)s AS bigint[]), CAST(%(new)s AS date[])) AS wanted (id, new)
    JOIN public.personal_access_tokens t ON t.id = wanted.id
    WHERE t.expires_at IS NOT DISTINCT FROM wanted.new{planned}
"""


class NotAll(Exception):
    """Not every token of a batch has its old date, so the transaction must be given up."""


class Update:
    """The change of one plan, chunk by chunk; what it touches beside the dates goes into `recorder`.

    `prevented` has the ids of tokens that were `Prevented` from being changed: they are not tried again.
    """

    def __init__(self, plan: Plan, recorder: Recorder, schema: Schema) -> None:
        self._plan = plan
        self._recorder = recorder
        self._schema = schema
        self._memberships = Memberships(plan, recorder)
        self._planned, self._planned_in = planned_ones(plan)
        self.prevented = set[int]()

    @property
    def is_plain(self) -> bool:
        """Whether nothing but dates is changed."""
        return self._plan.memberships is None and not self._plan.notices

    def of_all(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """Change every token of a plain plan's chunks, in one statement.

        Raises:
            NotAll: some had another date.
            LockTimeout: another session holds one.
        """
        ids = [id_ for chunk in batch for id_ in chunk.ids]
        (old, new), *others = {(chunk.old, chunk.new) for chunk in batch}
        about: dict[str, object] = {"ids": array_literal(ids), **self._planned_in}
        if others:
            olds = _dates((chunk.old, len(chunk.ids)) for chunk in batch)
            news = _dates((chunk.new, len(chunk.ids)) for chunk in batch)
            updated = change(connection, UPDATE_EACH.format(planned=self._planned), old=olds, new=news, **about)
        else:
            about |= {"old": old and old.literal, "new": new and new.literal}
            updated = change(connection, UPDATE.format(planned=self._planned), **about)
        if updated != len(ids):
            raise NotAll
        return [ChunkOutcome(chunk, len(chunk.ids)) for chunk in batch]

    def of_unlocked(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """Change what can be changed of these chunks, and what belongs to it, passing over what others have locked.

        Raises:
            Prevented: something else keeps some from being changed.
        """
        tried = without(batch, self.prevented)
        moving = self._memberships.having(connection, tried)
        changed = self._change(connection, [chunk for chunk in tried if chunk.position not in moving])
        for chunk in tried:
            if chunk.position in moving:
                changed |= self._change_with_memberships(connection, chunk)
        if len(changed) == sum(len(chunk.ids) for chunk in batch):
            return [ChunkOutcome(chunk, len(chunk.ids)) for chunk in batch]
        statement = STILL_OLD.format(planned=self._planned)
        still_old = ids_held(connection.rows(statement, **values_of(batch), **self._planned_in), changed)
        return [outcome_of(chunk, changed, still_old) for chunk in batch]

    def _change(self, connection: Connection, chunks: Sequence[Chunk]) -> set[int]:
        """Change those tokens of the chunks that nobody holds, and put their notices right; the ids."""
        if not chunks:
            return set()
        unlocked, statement, more = self._update()
        changed = change_returning(connection, statement, unlocked, **values_of(chunks), **more, **self._planned_in)
        if self._plan.is_undo and self._plan.notices:
            self._restore_notices(connection, chunks, changed)
        return set(changed)

    def _change_with_memberships(self, connection: Connection, chunk: Chunk) -> set[int]:
        """The same of one chunk, with the memberships of its bots; tokens whose bot's somebody holds are left."""
        held, busy = self._memberships.lock(connection, chunk)
        free = [id_ for id_ in chunk.ids if id_ not in busy]
        changed = self._change(connection, [replace(chunk, ids=TokenIds(free))]) if free else set()
        self._memberships.follow(connection, chunk, held, changed)
        return changed

    def _update(self) -> tuple[str, str, dict[str, object]]:
        """What changes the tokens that nobody holds, and re-arms their notices if the plan says so."""
        if not self._plan.notices or self._plan.is_undo:
            unlocked = UNLOCKED.format(notices="", kept="", planned=self._planned)
            return unlocked, UPDATE_UNLOCKED.format(rearmed=""), {}
        columns = notices.columns(self._schema)
        rearmed = "".join(f", {column} = {_rearmed(column)}" for column in columns)
        kept = ""
        parameters: dict[str, object] = {}
        if self._recorder.run is not None:
            arrays = ", ".join(f"array_agg(t.{column} ORDER BY t.id)" for column in columns)
            kept = KEPT_NOTICES.format(columns=", ".join(columns), arrays=arrays, any_set=notices.any_set(self._schema))
            parameters = {"run": self._recorder.run}
        set_now = "".join(f", t.{column}" for column in columns)
        unlocked = UNLOCKED.format(notices=set_now, kept=kept, planned=self._planned)
        return unlocked, UPDATE_UNLOCKED.format(rearmed=rearmed), parameters

    def _restore_notices(self, connection: Connection, chunks: Sequence[Chunk], changed: Iterable[int]) -> None:
        """Put back the notices of these tokens that the undone run has re-armed."""
        columns = notices.columns(self._schema)
        statement = RESTORE_NOTICES.format(
            restored=", ".join(f"{column} = kept.{column}" for column in columns),
            arrays=", ".join(f"n.{column}" for column in columns),
            columns=", ".join(columns),
            any_set=notices.any_set(self._schema),
        )
        about = {"undoes": self._plan.undoes, "positions": positions_of(chunks), "changed": array_literal(changed)}
        change(connection, statement, **about)

    def recount(self, connection: Connection, chunks: Sequence[Chunk]) -> int:
        """How many of the tokens of these chunks have their new date now."""
        ids = array_literal(id_ for chunk in chunks for id_ in chunk.ids)
        about: dict[str, object] = {"ids": ids, **self._planned_in}
        new, *others = {chunk.new for chunk in chunks}
        if others:
            news = _dates((chunk.new, len(chunk.ids)) for chunk in chunks)
            return int(connection.row(RECOUNT_EACH.format(planned=self._planned), new=news, **about).tokens)
        date = new and new.literal
        return int(connection.row(RECOUNT.format(planned=self._planned), new=date, **about).tokens)


def _rearmed(column: str) -> str:
    return "false" if column in notices.FLAGS else "NULL"


def _dates(found: Iterable[tuple[ExpirationDate | None, int]]) -> str:
    """An array of dates, each of them for a number of tokens."""
    return array_literal(text for day, tokens in found for text in [quoted(day)] * tokens)

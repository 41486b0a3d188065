"""What a transaction of a run does to tokens, and to the notices and memberships that belong to them.

Every statement works in the transaction that the caller has opened.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from tokens.change.plan import Chunk, Plan, TokenIds
from tokens.database import Connection, array_literal
from tokens.gitlab import notices
from tokens.gitlab.expiration import ExpirationDate, quoted
from tokens.gitlab.membership import MembershipRule, ends_before
from tokens.gitlab.schema import Schema
from tokens.gitlab.triggers import change, change_returning
from tokens.journal.record import ChunkOutcome, Recorder
from tokens.run.undo import OUTLIVES_SINCE

# Every row is checked again for the date that the plan saw: whatever changed since then is somebody else's decision.
UPDATE = """
    UPDATE public.personal_access_tokens
    SET expires_at = CAST(%(new)s AS date)
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(old)s AS date)
"""

# The same for tokens that have not all the same dates.
UPDATE_EACH = """
    UPDATE public.personal_access_tokens t
    SET expires_at = wanted.new
    FROM unnest(
      CAST(%(ids)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date[])
    ) AS wanted (id, old, new)
    WHERE t.id = wanted.id
      AND t.expires_at IS NOT DISTINCT FROM wanted.old
"""

# A row a chunk: its position, its dates and its ids, which are an array as text.
CHUNKS = """unnest(
        CAST(%(positions)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date[]), CAST(%(ids)s AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id"""

# One statement for all chunks of a transaction: a staggered change may have a chunk for each token.
UNLOCKED = f"""unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, chunk.new{{notices}}
      FROM {CHUNKS}
      WHERE t.expires_at IS NOT DISTINCT FROM chunk.old
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
    SELECT t.id
    FROM {CHUNKS}
    WHERE t.expires_at IS NOT DISTINCT FROM chunk.old
"""  # noqa: S608 - a constant

# A revoked token is no reason to keep its bot.
MEMBERSHIPS = f"""
    SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    WHERE EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
        AND t.revoked IS NOT TRUE
        AND {ends_before("CAST(%(new)s AS date)")}
    )
    ORDER BY m.id
"""  # noqa: S608 - a constant

WITH_MEMBERSHIPS = f"""
    SELECT DISTINCT chunk.position
    FROM {CHUNKS}
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.revoked IS NOT TRUE
      AND {ends_before("chunk.new")}
"""  # noqa: S608 - a constant

# What an undo puts back.
WITH_MOVED_MEMBERSHIPS = """
    SELECT mine.position
    FROM unnest(CAST(%(positions)s AS bigint[])) AS mine (position)
    WHERE EXISTS (
      SELECT
      FROM token_tasks.memberships n
      WHERE n.run_id = %(undoes)s
        AND n.position = (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = %(undoes)s AND c.position <= mine.position
        )
    )
"""

# Also those that another chunk has moved again: another that puts it back at this moment has to see this chunk's tokens
# as they are.
MOVED_MEMBERSHIPS = """
    SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids) AS kept (id)
    JOIN public.members m ON m.id = kept.id
    WHERE n.run_id = %(undoes)s
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = %(undoes)s AND c.position <= %(position)s
      )
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      )
    ORDER BY m.id
"""

UNLOCKED_MEMBERSHIPS = "    FOR NO KEY UPDATE OF m SKIP LOCKED"

TOKENS_OF = """
    SELECT id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[])) AND user_id = ANY(CAST(%(users)s AS bigint[]))
    ORDER BY id
"""

OWNERS = """
    SELECT DISTINCT user_id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[])) AND revoked IS NOT TRUE
"""

MOVE_MEMBERSHIPS = """
    UPDATE public.members
    SET expires_at = CAST(%(end)s AS date)
    WHERE id = ANY(CAST(%(members)s AS bigint[]))
"""

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

# A membership that several chunks have moved goes back over the ends that they gave it, in whatever order they are
# undone: from the end that this chunk gave it to the one before, and on from there past chunks whose tokens of that
# bot are undone already.
RESTORE_MEMBERSHIPS = """
    UPDATE public.members m
    SET expires_at = back.ends_at
    FROM (
      WITH RECURSIVE steps (id, user_id, ends_at) AS (
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM token_tasks.memberships n
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
        WHERE n.run_id = %(undoes)s
          AND n.position = (
            SELECT max(c.position)
            FROM token_tasks.chunks c
            WHERE c.run_id = %(undoes)s AND c.position <= %(position)s
          )
          AND m.user_id IN (
            SELECT t.user_id
            FROM public.personal_access_tokens t
            WHERE t.id = ANY(CAST(%(changed)s AS bigint[]))
          )
          AND {not_needed}
        UNION ALL
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM steps m
        JOIN token_tasks.memberships n ON n.run_id = %(undoes)s AND n.new_expires_at = m.ends_at
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        WHERE kept.id = m.id
          AND NOT EXISTS (
            SELECT
            FROM token_tasks.chunks undone
            JOIN token_tasks.chunks c
              ON c.run_id = %(run)s
              AND c.position >= undone.position
              AND c.position < undone.position + cardinality(undone.token_ids)
              AND c.new_expires_at IS DISTINCT FROM c.old_expires_at
            CROSS JOIN LATERAL unnest(c.token_ids) AS waiting (id)
            JOIN public.personal_access_tokens t
              ON t.id = waiting.id
              AND t.user_id = m.user_id
              AND t.revoked IS NOT TRUE
              AND t.expires_at IS NOT DISTINCT FROM c.old_expires_at
            WHERE undone.run_id = %(undoes)s AND undone.position = n.position
          )
          AND {not_needed}
      )
      SELECT id, min(ends_at) AS ends_at
      FROM steps
      GROUP BY id
    ) back
    WHERE m.id = back.id
"""

# At its end GitLab would delete the other tokens that have come to need it since.
NOT_NEEDED = """NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens other
            WHERE other.user_id = m.user_id
              AND other.id <> ALL (CAST(%(changed)s AS bigint[]))
              AND {outlives_since}
          )"""

RECOUNT = """
    SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST(%(new)s AS date)
"""


RECOUNT_EACH = """
    SELECT count(*) AS tokens
    FROM unnest(CAST(%(ids)s AS bigint[]), CAST(%(new)s AS date[])) AS wanted (id, new)
    JOIN public.personal_access_tokens t ON t.id = wanted.id
    WHERE t.expires_at IS NOT DISTINCT FROM wanted.new
"""


class NotAll(Exception):
    """Not every token of a batch has its old date, so the transaction must be given up."""


class Update:
    """The change of one plan, chunk by chunk; what it touches beside the dates goes into `recorder`."""

    def __init__(self, plan: Plan, recorder: Recorder, schema: Schema) -> None:
        self._plan = plan
        self._recorder = recorder
        self._schema = schema

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
        if others:
            olds = _dates((chunk.old, len(chunk.ids)) for chunk in batch)
            news = _dates((chunk.new, len(chunk.ids)) for chunk in batch)
            updated = change(connection, UPDATE_EACH, ids=array_literal(ids), old=olds, new=news)
        else:
            parameters = {"old": old and old.literal, "new": new and new.literal}
            updated = change(connection, UPDATE, ids=array_literal(ids), **parameters)
        if updated != len(ids):
            raise NotAll
        return [ChunkOutcome(chunk, len(chunk.ids)) for chunk in batch]

    def of_unlocked(self, connection: Connection, batch: Sequence[Chunk]) -> Sequence[ChunkOutcome]:
        """Change what can be changed of these chunks, and what belongs to it, passing over what others have locked."""
        moving = self._with_memberships(connection, batch)
        changed = self._change(connection, [chunk for chunk in batch if chunk.position not in moving])
        for chunk in batch:
            if chunk.position in moving:
                changed |= self._change_with_memberships(connection, chunk)
        if len(changed) == sum(len(chunk.ids) for chunk in batch):
            return [ChunkOutcome(chunk, len(chunk.ids)) for chunk in batch]
        still_old = {row.id for row in connection.rows(STILL_OLD, **values_of(batch))}
        return [outcome_of(chunk, changed, still_old) for chunk in batch]

    def _change(self, connection: Connection, chunks: Sequence[Chunk]) -> set[int]:
        """Change those tokens of the chunks that nobody holds, and put their notices right; the ids."""
        if not chunks:
            return set()
        unlocked, statement, more = self._update()
        changed = change_returning(connection, statement, unlocked, **values_of(chunks), **more)
        if self._plan.is_undo and self._plan.notices:
            self._restore_notices(connection, chunks, changed)
        return set(changed)

    def _change_with_memberships(self, connection: Connection, chunk: Chunk) -> set[int]:
        """The same of one chunk, with the memberships of its bots; tokens whose bot's somebody holds are left."""
        memberships, busy = self._lock_memberships(connection, chunk)
        free = [id_ for id_ in chunk.ids if id_ not in busy]
        changed = self._change(connection, [replace(chunk, ids=TokenIds(free))]) if free else set()
        if self._plan.is_undo:
            self._restore_memberships(connection, chunk, changed)
        elif memberships:
            self._move_memberships(connection, chunk, memberships, changed)
        return changed

    def _update(self) -> tuple[str, str, dict[str, object]]:
        """What changes the tokens that nobody holds, and re-arms their notices if the plan says so."""
        if not self._plan.notices or self._plan.is_undo:
            return UNLOCKED.format(notices="", kept=""), UPDATE_UNLOCKED.format(rearmed=""), {}
        columns = notices.columns(self._schema)
        rearmed = "".join(f", {column} = {_rearmed(column)}" for column in columns)
        kept = ""
        parameters: dict[str, object] = {}
        if self._recorder.run is not None:
            arrays = ", ".join(f"array_agg(t.{column} ORDER BY t.id)" for column in columns)
            kept = KEPT_NOTICES.format(columns=", ".join(columns), arrays=arrays, any_set=notices.any_set(self._schema))
            parameters = {"run": self._recorder.run}
        unlocked = UNLOCKED.format(notices="".join(f", t.{column}" for column in columns), kept=kept)
        return unlocked, UPDATE_UNLOCKED.format(rearmed=rearmed), parameters

    def _with_memberships(self, connection: Connection, batch: Sequence[Chunk]) -> set[int]:
        """The positions of the chunks that have memberships to be moved or put back."""
        if not self._plan.memberships:
            return set()
        if self._plan.is_undo:
            about: dict[str, object] = {"undoes": self._plan.undoes, "positions": positions_of(batch)}
            return {row.position for row in connection.rows(WITH_MOVED_MEMBERSHIPS, **about)}
        return {row.position for row in connection.rows(WITH_MEMBERSHIPS, **values_of(batch))}

    def _lock_memberships(self, connection: Connection, chunk: Chunk) -> tuple[list["_Membership"], set[int]]:
        """The memberships to be moved, locked, and the tokens whose owner has one that somebody else holds."""
        about: dict[str, object] = {"ids": array_literal(chunk.ids)}
        if not self._plan.is_undo:
            statement = MEMBERSHIPS
            about["new"] = chunk.new and chunk.new.literal
        else:
            statement = MOVED_MEMBERSHIPS
            about |= {"undoes": self._plan.undoes, "position": chunk.position}
        unlocked = connection.rows(statement + UNLOCKED_MEMBERSHIPS, **about)
        held = [_Membership(row.id, row.user_id, row.expires_at) for row in unlocked]
        wanted = connection.rows(statement, **about)
        if len(wanted) == len(held):
            return held, set()
        ids = {one.id for one in held}
        users = {row.user_id for row in wanted if row.id not in ids}
        busy = {row.id for row in connection.rows(TOKENS_OF, ids=array_literal(chunk.ids), users=array_literal(users))}
        return [one for one in held if one.user_id not in users], busy

    def _move_memberships(
        self, connection: Connection, chunk: Chunk, memberships: Sequence["_Membership"], changed: Iterable[int]
    ) -> None:
        owners = {row.user_id for row in connection.rows(OWNERS, ids=array_literal(changed))}
        moved = [one for one in memberships if one.user_id in owners]
        if not moved:
            return
        end = None
        if chunk.new is not None and self._plan.memberships is MembershipRule.UNTIL_TOKEN:
            end = chunk.new.literal
        members = [one.id for one in moved]
        change(connection, MOVE_MEMBERSHIPS, members=array_literal(members), end=end)
        self._recorder.keep_memberships(connection, chunk, members, [one.expires_at for one in moved], end)

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

    def _restore_memberships(self, connection: Connection, chunk: Chunk, changed: Iterable[int]) -> None:
        """Put back the memberships that the undone run has moved along with these tokens."""
        not_needed = NOT_NEEDED.format(outlives_since=OUTLIVES_SINCE.format(run="%(undoes)s"))
        statement = RESTORE_MEMBERSHIPS.format(not_needed=not_needed)
        about = {"undoes": self._plan.undoes, "run": self._recorder.run, "position": chunk.position}
        change(connection, statement, **about, changed=array_literal(changed))

    def recount(self, connection: Connection, chunks: Sequence[Chunk]) -> int:
        """How many of the tokens of these chunks have their new date now."""
        ids = array_literal(id_ for chunk in chunks for id_ in chunk.ids)
        new, *others = {chunk.new for chunk in chunks}
        if others:
            news = _dates((chunk.new, len(chunk.ids)) for chunk in chunks)
            return int(connection.row(RECOUNT_EACH, ids=ids, new=news).tokens)
        return int(connection.row(RECOUNT, ids=ids, new=new and new.literal).tokens)


@dataclass(frozen=True)
class _Membership:
    id: int
    user_id: int
    expires_at: str


def values_of(chunks: Sequence[Chunk]) -> dict[str, object]:
    """The parameters of CHUNKS."""
    return {
        "positions": positions_of(chunks),
        "old": array_literal(quoted(chunk.old) for chunk in chunks),
        "new": array_literal(quoted(chunk.new) for chunk in chunks),
        "ids": array_literal(f'"{array_literal(chunk.ids)}"' for chunk in chunks),
    }


def positions_of(chunks: Sequence[Chunk]) -> str:
    return array_literal(chunk.position for chunk in chunks)


def outcome_of(chunk: Chunk, changed: Set[int], still_old: Set[int]) -> ChunkOutcome:
    """What became of a chunk, by the tokens of its transaction that were changed, and those with their old date."""
    others = [id_ for id_ in chunk.ids if id_ not in changed]
    left_alone = [id_ for id_ in others if id_ not in still_old]
    return ChunkOutcome(chunk, len(chunk.ids) - len(others), left_alone, [id_ for id_ in others if id_ in still_old])


def _rearmed(column: str) -> str:
    return "false" if column in notices.FLAGS else "NULL"


def _dates(found: Iterable[tuple[ExpirationDate | None, int]]) -> str:
    """An array of dates, each of them for a number of tokens."""
    return array_literal(text for day, tokens in found for text in [quoted(day)] * tokens)

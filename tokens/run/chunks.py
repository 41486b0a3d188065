"""Chunks of a plan in SQL, and what became of one."""

from collections.abc import Iterable, Sequence, Set
from typing import Any

from tokens.change.chunks import Chunk
from tokens.change.plan import Plan
from tokens.journal.record import ChunkOutcome
from tokens.journal.runs import IS_PLANNED_ONE

# A row a chunk: its position, its dates and its ids, which are an array as text.
CHUNKS = """unnest(
        CAST(%(positions)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date[]), CAST(%(ids)s AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id"""

# Whether this very transaction holds the token `t`: then no other session keeps it from being changed.
IS_OURS = "t.xmax = CAST(pg_current_xact_id() AS xid) AS is_ours"


class Prevented(Exception):
    """Tokens that no other session holds stayed as they were, so the transaction must be given up; `ids` are theirs."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(ids)
        self.ids = ids


def planned_ones(plan: Plan) -> tuple[str, dict[str, object]]:
    """IS_PLANNED_ONE as one more condition on the tokens of a plan; nothing where they were chosen just now."""
    run = plan.planned_in
    return ("", {}) if run is None else (f"\n      AND {IS_PLANNED_ONE}", {"planned": run})


def ids_held(rows: Iterable[Any], changed: Set[int]) -> set[int]:
    """The ids of `rows`, which have IS_OURS, that others hold: those of tokens as they were that are not `changed`.

    Raises:
        Prevented: this transaction holds some of them, and could not change them.
    """
    left = [row for row in rows if row.id not in changed]
    if prevented := [row.id for row in left if row.is_ours]:
        raise Prevented(prevented)
    return {row.id for row in left}


def outcome_of(chunk: Chunk, changed: Set[int], still_old: Set[int]) -> ChunkOutcome:
    """What became of a chunk, by the tokens of its transaction that were changed, and those with their old date."""
    others = [id_ for id_ in chunk.ids if id_ not in changed]
    left_alone = [id_ for id_ in others if id_ not in still_old]
    return ChunkOutcome(chunk, len(chunk.ids) - len(others), left_alone, [id_ for id_ in others if id_ in still_old])

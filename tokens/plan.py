"""What a change will do, frozen before anybody is asked: the exact tokens, the old and the new date, and the notes."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from tokens import database
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.settings import Policy, read_policy
from tokens.notes import Note, notes_on_date
from tokens.selection import Selection

CHUNK = 5_000  # tokens


@dataclass(frozen=True)
class Plan:
    """One change, ready to run.

    `expires_at` is the new date, None to remove it; `tokens` are exactly those that had the selection's date when the
    plan was made.
    """

    selection: Selection
    expires_at: ExpirationDate | None
    tokens: "TokenIds"
    notes: tuple[Note, ...]


class TokenIds:
    """Token ids in ascending order, in little memory: about 4 bytes an id (8 where ids lie 2³² apart)."""

    def __init__(self, chunks: Iterable[Sequence[int]] = ()) -> None:
        """Takes sorted chunks in order, every one but the last with `CHUNK` ids."""
        self._chunks = [(ids[0], _distances(ids)) for ids in chunks]

    def __len__(self) -> int:
        if not self._chunks:
            return 0
        return CHUNK * (len(self._chunks) - 1) + len(self._chunks[-1][1])

    def between(self, start: int, stop: int) -> list[int]:
        """The ids from position `start` up to but not including `stop`."""
        ids: list[int] = []
        while start < min(stop, len(self)):
            first, distances = self._chunks[start // CHUNK]
            within = start % CHUNK
            taken = distances[within : within + stop - start]
            ids.extend(first + distance for distance in taken)
            start += len(taken)
        return ids


def read_current_policy(engine: sa.Engine) -> Policy:
    """The instance's policy on lifetimes as it is now, and the server's date."""
    with database.reading(engine) as connection:
        return read_policy(connection, preflight.check(connection, preflight.EDIT))


def make_plan(engine: sa.Engine, selection: Selection, expires_at: ExpirationDate | None) -> Plan:
    """Find the tokens of `selection` and what is to be noted about giving them `expires_at`. Changes nothing.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(engine) as connection:
        schema = preflight.check(connection, preflight.EDIT)
        tokens = TokenIds(_read_chunks(connection, schema.tokens, selection))
        policy = read_policy(connection, schema)
    notes = () if expires_at is None else notes_on_date(selection.expires_at, expires_at, policy)
    return Plan(selection, expires_at, tokens, notes)


def _read_chunks(connection: sa.Connection, tokens: sa.Table, selection: Selection) -> Iterable[Sequence[int]]:
    """The ids of the selection in arrays: a tenth of the rows' cost, and never more than one array in memory."""
    position = sa.func.row_number(type_=sa.BigInteger).over(order_by=tokens.c.id)
    numbered = (
        sa.select(tokens.c.id, ((position - 1) // CHUNK).label("chunk"))
        .where(selection.condition(tokens))
        .subquery("numbered")
    )
    chunks = (
        sa.select(sa.func.array_agg(aggregate_order_by(numbered.c.id, numbered.c.id)))
        .group_by(numbered.c.chunk)
        .order_by(numbered.c.chunk)
    )
    # The cursor is read to its end, so the planner should not favour a quick first row.
    database.set_locally(connection, cursor_tuple_fraction="1")
    return connection.execute(chunks, execution_options={"yield_per": 1}).scalars()


def _distances(ids: Sequence[int]) -> "array[int]":
    first = ids[0]
    return array("I" if ids[-1] - first < 2**32 else "Q", [id_ - first for id_ in ids])

"""What a change will do, frozen before anybody is asked: the exact tokens, the old and the new date, and the notes."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.settings import Policy, read_policy
from tokens.notes import Note, notes_on_date
from tokens.selection import Selection

CHUNK = 5_000  # tokens

CHUNKS = """
    SELECT array_agg(id ORDER BY id) AS ids
    FROM (
      SELECT t.id, (row_number() OVER (ORDER BY t.id) - 1) / {chunk} AS chunk
      FROM public.personal_access_tokens t
      WHERE {condition}
    ) numbered
    GROUP BY chunk
    ORDER BY chunk
"""


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


def read_current_policy(address: Address) -> Policy:
    """The instance's policy on lifetimes as it is now, and the server's date."""
    with database.reading(address) as connection:
        return read_policy(connection, preflight.check(connection, preflight.EDIT))


def make_plan(address: Address, selection: Selection, expires_at: ExpirationDate | None) -> Plan:
    """Find the tokens of `selection` and what is to be noted about giving them `expires_at`. Changes nothing.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, preflight.EDIT)
        tokens = TokenIds(_read_chunks(connection, selection))
        policy = read_policy(connection, schema)
    notes = () if expires_at is None else notes_on_date(selection.expires_at, expires_at, policy)
    return Plan(selection, expires_at, tokens, notes)


def _read_chunks(connection: database.Connection, selection: Selection) -> Iterable[Sequence[int]]:
    """The ids of the selection in arrays: a tenth of the rows' cost, and never more than one array in memory."""
    condition = selection.condition()
    # The cursor is read to its end, so the planner should not favour a quick first row.
    connection.set_locally(cursor_tuple_fraction="1")
    statement = CHUNKS.format(chunk=CHUNK, condition=condition.sql)
    return (row.ids for row in connection.stream(statement, **condition.parameters))


def _distances(ids: Sequence[int]) -> "array[int]":
    first = ids[0]
    return array("I" if ids[-1] - first < 2**32 else "Q", [id_ - first for id_ in ids])

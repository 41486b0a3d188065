"""The exact tokens of a change in little memory, by the dates that they have and get."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tokens.change.change import Move
from tokens.database import array_literal
from tokens.gitlab.expiration import ExpirationDate, quoted

CHUNK = 500  # tokens, few enough for a short transaction on a slow server


class TokenIds:
    """Some token ids in ascending order, in little memory: 2 to 4 bytes an id (8 where ids lie 2³² apart)."""

    __slots__ = ("_base", "_distances")

    def __init__(self, ids: Sequence[int]) -> None:
        """Takes at least one id, sorted."""
        self._base = ids[0]
        self._distances = array("I" if ids[-1] - ids[0] < 2**32 else "Q", [id_ - ids[0] for id_ in ids])

    @classmethod
    def around(cls, base: int, distances: "array[int]") -> "TokenIds":
        """The ids that lie this far from `base`, below or above: at least one, sorted."""
        made = cls.__new__(cls)
        made._base, made._distances = base, distances
        return made

    def __len__(self) -> int:
        return len(self._distances)

    def __iter__(self) -> Iterator[int]:
        return (self._base + distance for distance in self._distances)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenIds) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash((self.first, len(self)))

    @property
    def first(self) -> int:
        """The smallest id."""
        return self._base + self._distances[0]

    @property
    def last(self) -> int:
        """The largest id."""
        return self._base + self._distances[-1]

    def between(self, start: int, stop: int) -> list[int]:
        """The ids from index `start` up to but not including `stop`."""
        return [self._base + distance for distance in self._distances[start:stop]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens with the same old and the same new date; None is "never expires".

    `position` is the first one's in the plan. `again` says that these are the locked ones of a chunk that has had its
    turn: the journal has them under that chunk's position.
    """

    position: int
    old: ExpirationDate | None
    new: ExpirationDate | None
    ids: TokenIds
    again: bool = False

    def halves(self) -> tuple["Chunk", "Chunk"]:
        """The same tokens in two chunks; there must be two at least."""
        middle = len(self.ids) // 2
        lower, upper = self.ids.between(0, middle), self.ids.between(middle, len(self.ids))
        return (
            replace(self, ids=TokenIds(lower)),
            replace(self, position=self.position + (0 if self.again else middle), ids=TokenIds(upper)),
        )


def values_of(chunks: Sequence[Chunk]) -> dict[str, object]:
    """Chunks as parameters of a statement, each an array: `positions`, `old`, `new`, and `ids`, arrays as text."""
    return {
        "positions": positions_of(chunks),
        "old": array_literal(quoted(chunk.old) for chunk in chunks),
        "new": array_literal(quoted(chunk.new) for chunk in chunks),
        "ids": array_literal(f'"{array_literal(chunk.ids)}"' for chunk in chunks),
    }


def positions_of(chunks: Sequence[Chunk]) -> str:
    """Their positions in the plan, as an array."""
    return array_literal(chunk.position for chunk in chunks)


def without(chunks: Iterable[Chunk], ids: Collection[int]) -> list[Chunk]:
    """The chunks but for the tokens with these ids."""
    if not ids:
        return list(chunks)
    kept = ((chunk, [one for one in chunk.ids if one not in ids]) for chunk in chunks)
    return [replace(chunk, ids=TokenIds(left)) for chunk, left in kept if left]


def moves_of(chunks: Iterable[Chunk]) -> tuple[Move, ...]:
    """How many tokens of `chunks` go from which date to which, in their order."""
    counted: Counter[tuple[ExpirationDate | None, ExpirationDate | None]] = Counter()
    for chunk in chunks:
        counted[chunk.old, chunk.new] += len(chunk.ids)
    return tuple(Move(old, new, tokens) for (old, new), tokens in counted.items())

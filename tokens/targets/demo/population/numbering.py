"""What follows from a running number, called n in all the SQL: identifiers, and the choice among a few values.

Identifiers are handed out in blocks, so that a row's relatives can be computed instead of looked up:

    users        people, project bots (bot b: project b), group bots (bot b: group b), service accounts
    namespaces   the people's own, groups (a quarter top-level, half below them, a quarter below those), the projects'
"""

from collections.abc import Sequence
from dataclasses import dataclass

UP_TO_FIVE_YEARS = "interval '1 second' * (n * 104729 % 171000000)"  # up to 1979 days


@dataclass(frozen=True)
class Block:
    """`count` identifiers from `first` on."""

    first: int
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def numbers(self) -> str:
        """A row for each n from 1 to `count`."""
        return f"generate_series(1, {self.count}::bigint) AS n"

    def nth(self, n: str = "n") -> str:
        """The identifier of number `n`, which counts from 1."""
        return f"({n} + {self.first - 1})"

    def choose(self, n: str) -> str:
        """One of the identifiers, for any `n` from 0 on."""
        return f"({self.first} + ({n}) % {self.count})"

    def next(self, count: int) -> "Block":
        return Block(self.last + 1, count)


class Identifiers:
    """As many of everything as stand behind `tokens` tokens on the documented date."""

    def __init__(self, tokens: int) -> None:
        self.people = Block(1, 300 + tokens // 160)
        self.projects = Block(1, self.people.count // 2)
        self.groups = self.people.next(4 * (6 + self.people.count // 100))
        self.project_namespaces = self.groups.next(self.projects.count)
        self.project_bots = self.people.next(self.projects.count * 2 // 3)
        self.group_bots = self.project_bots.next(self.groups.count // 2)
        self.service_accounts = self.group_bots.next(24 + tokens // 20_000)
        self.other_service_accounts = Block(self.service_accounts.first + 1, self.service_accounts.count - 1)


def one_of(values: Sequence[str], n: str) -> str:
    """One of the texts, for any `n` from 0 on."""
    return f"(ARRAY[{', '.join(map(literal, values))}])[1 + ({n}) % {len(values)}]"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

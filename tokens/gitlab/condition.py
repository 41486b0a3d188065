"""A condition on tokens as SQL, and the values in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tokens.database import array_literal


@dataclass(frozen=True)
class Condition:
    """A condition on `public.personal_access_tokens t LEFT JOIN public.users u ON u.id = t.user_id`.

    SQL that goes beside AND as it is, and the values of its `%(name)s`.
    """

    sql: str
    parameters: Mapping[str, object]

    def without(self, ids: Sequence[int]) -> "Condition":
        """The same but for the tokens with these ids."""
        if not ids:
            return self
        left_out = "t.id NOT IN (SELECT unnest(CAST(%(left_out)s AS bigint[])))"
        literal = array_literal(ids)
        return Condition(f"{self.sql}\n  AND {left_out}", {**self.parameters, "left_out": literal})


@dataclass
class Terms:
    """Conditions that hold together, and the values in them."""

    sql: list[str] = field(default_factory=list)
    parameters: dict[str, object] = field(default_factory=dict)

    def add(self, term: str) -> None:
        self.sql.append(term)

    def add_any(self, terms: Sequence[str]) -> None:
        """One of these at least; none of them holds where there are none."""
        if len(terms) == 1:
            self.add(terms[0])
        else:
            self.add(f"({' OR '.join(terms)})" if terms else "FALSE")

    def value(self, name: str, value: object, type_: str) -> str:
        """A value in a condition; its name cannot be one that a change or a run uses."""
        self.parameters[f"selected_{name}"] = value
        return f"CAST(%(selected_{name})s AS {type_})"

    def all(self) -> Condition:
        return Condition("\n  AND ".join(self.sql) or "TRUE", self.parameters)


def pattern(name: str) -> str:
    """A name in which `*` is any text and `?` a character, as a pattern of LIKE.

    >>> print(pattern("ci_*?"))
    ci\\_%_
    """
    return re.sub(r"[*?%_\\]", lambda found: {"*": "%", "?": "_"}.get(found[0], f"\\{found[0]}"), name)

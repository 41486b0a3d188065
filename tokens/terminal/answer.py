"""A line being typed, as pure state: a key in, a new state out. Nothing is read or written here."""

from dataclasses import dataclass, replace
from typing import Self

from tokens.terminal.printable import printable

MAX_LENGTH = 256  # characters; far beyond any answer, so that a stray paste stays small


@dataclass(frozen=True)
class TypedLine:
    """What has been typed, before and after the cursor."""

    before: str = ""
    after: str = ""

    @property
    def text(self) -> str:
        """The whole line."""
        return self.before + self.after

    def insert(self, text: str) -> Self:
        """Insert text at the cursor; what does not fit into MAX_LENGTH is dropped."""
        return self._with(self.before + printable(text)[: MAX_LENGTH - len(self.text)], self.after)

    def paste(self, text: str) -> Self:
        """Insert the first line of a pasted text, without the blanks around it. A paste never ends the line."""
        lines = text.strip().splitlines()
        return self.insert(lines[0].strip()) if lines else self

    def left(self) -> Self:
        return self._with(self.before[:-1], self.before[-1:] + self.after)

    def right(self) -> Self:
        return self._with(self.before + self.after[:1], self.after[1:])

    def home(self) -> Self:
        return self._with("", self.text)

    def end(self) -> Self:
        return self._with(self.text, "")

    def backspace(self) -> Self:
        return self._with(self.before[:-1], self.after)

    def delete(self) -> Self:
        return self._with(self.before, self.after[1:])

    def _with(self, before: str, after: str) -> Self:
        return replace(self, before=before, after=after)

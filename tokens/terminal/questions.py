"""What can be asked of the person at a terminal. The answers come from `tokens.terminal.prompts`, or from a test.

Apart from that because its library takes a tenth of a second to load, which only a question is worth.
"""

from collections.abc import Sequence
from typing import Protocol


class Questions(Protocol):
    """Questions to a person. Each raises KeyboardInterrupt on Ctrl-C, and EOFError when the terminal is gone."""

    def menu(self, question: str, choices: Sequence[str]) -> int:
        """The index, from 0, of one of a few choices with numbers in front."""

    def select(self, question: str, choices: Sequence[str]) -> int:
        """The index, from 0, of one of any number of choices, shown a few at a time."""

    def line(self, question: str, default: str) -> str | None:
        """What was typed, or `default` for an empty or blank line, or None for Ctrl-D on an empty line."""

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Whether the answer is yes. Enter means `default`, Ctrl-D no; what is neither yes nor no is asked again."""

    def discard_typeahead(self) -> None:
        """Forget every key typed so far."""

"""What a task has to say: for people as it comes, for programs as one document."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokens.terminal import console


class Report:
    """What a task has to say on standard output: text as it comes, or one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._document: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._json:
            self._print(text)

    def add(self, **facts: Any) -> None:
        """Something for programs."""
        self._document |= facts

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Print the document at the end, also when a guard or a fault ends the task."""
        try:
            yield
        finally:
            if self._json and self._document:
                self._print(json.dumps(self._document, indent=2))

    def _print(self, text: str) -> None:
        """A reader that leaves early must neither hold a change up nor hide how it ended."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            console.discard(sys.stdout)

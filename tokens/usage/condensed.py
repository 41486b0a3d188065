"""What logs come to, in little: for a task that runs where the logs are not, and that reads it as a log.

Calls that differ in nothing but their time are one line, and so is each refused one's time and address. The last line
says how far the logs reach.
"""

import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

from tokens.usage.files import Log
from tokens.usage.reading import ALIKE, END, TRY, read_into, summed_up
from tokens.usage.tally import Tallies


def condensed(logs: Sequence[Log]) -> bytes:
    """The calls in these logs, compressed.

    Raises:
        TokensError: a log cannot be opened or decompressed.
    """
    kept = io.BytesIO()
    with gzip.GzipFile(fileobj=kept, mode="wb", compresslevel=1, mtime=0) as into:
        writer = _Writer(into)
        found = read_into(writer, logs)
        usage = summed_up(writer, found)
        writer.write(END, [usage.since, usage.until, usage.lines, usage.damaged, usage.cut, usage.twice])
    return kept.getvalue()


class _Writer(Tallies):
    """Writes what others count."""

    def __init__(self, into: gzip.GzipFile) -> None:
        super().__init__()
        self._into = into

    def write(self, begin: bytes, values: Sequence[Any]) -> None:
        self._into.write(begin + json.dumps(values).encode() + b"}\n")

    def watch(self, time: str, address: str) -> None:
        self.write(TRY, [time, address])

    def sort_in(self) -> None:
        for (_, alike), numbers in self.alike.items():
            self.write(ALIKE, [*numbers, *alike])
        self.alike.clear()

"""A scan by a process of its own, as the account that has called: this one may become GitLab's user in the meantime.

The two speak in lines of JSON over pipes. A token that was found is a Secret again as soon as its line has been parsed.
"""

import json
import os
import select
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from tokens.counts import counted
from tokens.errors import TokensError
from tokens.inventory.scan import Occurrence, Scan
from tokens.rotation import wire


@dataclass
class Scanning:
    """A scan of one folder that waits for what it is to look for. It ends with this process at the latest."""

    folder: str
    process: int
    questions: IO[str]
    answers: IO[str]
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def started(cls, folder: str) -> "Scanning":
        """The process, begun now."""
        question, answer = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which a task has none so far
            process = os.fork()
        if process == 0:
            status = 1
            try:
                os.close(question[1])
                os.close(answer[0])
                _scan(folder, os.fdopen(question[0]), os.fdopen(answer[1], "w"))
                status = 0
            finally:
                os._exit(status)  # whatever it was: the parent says what there is to say
        os.close(question[0])
        os.close(answer[1])
        return cls(folder, process, os.fdopen(question[1], "w"), os.fdopen(answer[0]))

    def occurrences(self, prefixes: Sequence[str]) -> Iterator[Occurrence]:
        """What is found, as it is found; `notes` are set at the end: what was not looked at, in sentences.

        Raises:
            TokensError: the scan did not come to its end.
        """
        self.questions.write(f"{json.dumps(list(prefixes))}\n")
        self.questions.flush()
        while (found := _read(self.answers)) and "path" in found:
            yield Occurrence(found["path"], found["line"], tuple(found["texts"]), found["sure"])
        if not found:
            raise TokensError(f"The scan of {self.folder} has ended before its time; what was found so far is shown.")
        self.notes = tuple(_notes(found))

    def close(self) -> None:
        """End it, wherever it is. It looks whether the pipe is open, since a signal of ours may not reach root's."""
        for pipe in (self.questions, self.answers):
            with suppress(OSError):
                pipe.close()
        with suppress(ChildProcessError):
            os.waitpid(self.process, 0)


def _scan(folder: str, questions: IO[str], answers: IO[str]) -> None:
    line = questions.readline()
    if not line:
        return  # nobody wants to know
    scan = Scan(folder, json.loads(line), is_wanted=lambda: not select.select([questions], [], [], 0)[0])
    for one in scan.occurrences():
        _write(answers, {"path": one.path, "line": one.line, "texts": wire.encode(one.texts), "sure": one.sure})
    _write(
        answers,
        {
            "unread": scan.unread,
            "more_unread": scan.more_unread,
            "damaged": scan.damaged,
            "more_damaged": scan.more_damaged,
        },
    )
    answers.flush()


def _write(stream: IO[str], document: dict[str, Any]) -> None:
    stream.write(f"{json.dumps(document)}\n")


def _read(stream: IO[str]) -> dict[str, Any]:
    """The next document, empty at the end."""
    try:
        found: dict[str, Any] = wire.read(stream.readline() or "{}")
    except ValueError:  # a line that was cut
        return {}
    return found


def _notes(end: dict[str, Any]) -> Iterator[str]:
    if unread := end["unread"]:
        shown = "; ".join(f"{path} ({why})" for path, why in unread.items())
        more = f"; and {end['more_unread']:,} more" if end["more_unread"] else ""
        yield f"Not read: {shown}{more}."
    if damaged := end["damaged"]:
        more = f", and {end['more_damaged']:,} more" if end["more_damaged"] else ""
        yield (
            f"{counted(len(damaged) + end['more_damaged'], 'text looks', 'texts look')} like a token, but the checksum "
            f"does not belong to it, so that GitLab would not take it: {', '.join(damaged)}{more}."
        )

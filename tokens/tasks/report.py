"""What a task has to say: for people as it comes, for programs as one document; and how it says what went wrong."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tokens.errors import DoneInPart, ExitStatus, Interrupted, Terminated, TokensError
from tokens.terminal import console
from tokens.terminal.interruption import Termination

IN_DOCUMENT = "tokens: told in the document"  # noted on an exception that a JSON document has told of

Ending = TokensError | KeyboardInterrupt | EOFError


@dataclass(frozen=True)
class Fault:
    """What ends a task: its line, its exit status, and whether a JSON document has told of it already."""

    message: str
    status: ExitStatus
    in_document: bool


def fault_of(error: Ending) -> Fault:
    """How a foreseeable fault ends a task."""
    told = IN_DOCUMENT in getattr(error, "__notes__", ())
    match error:
        case TokensError():
            return Fault(str(error), error.status, told)
        case Termination():
            return Fault(str(error), ExitStatus.TERMINATED, told)
        case KeyboardInterrupt():
            return Fault("Interrupted.", ExitStatus.INTERRUPTED, told)
    return Fault("The terminal is gone.", ExitStatus.TERMINATED, told)


def fault_as_dict(fault: Fault) -> dict[str, Any]:
    """A fault for a program: its line and the exit status."""
    return {"error": fault.message, "status": int(fault.status)}


def print_fault(fault: Fault) -> None:
    """Print the document of a task that has found nothing but a fault, if anybody takes it."""
    try:
        print(json.dumps(fault_as_dict(fault), indent=2), flush=True)
    except OSError:
        console.discard(sys.stdout)


def told_in_document(error: BaseException) -> None:
    """Note that there is a document already, whole or in part: no other one may follow."""
    error.add_note(IN_DOCUMENT)


def print_done(text: str) -> None:
    """Print what a change has come to; where that cannot be written, end in that line on standard error.

    Raises:
        DoneInPart: it could not be written.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        console.discard(sys.stdout)
        raise DoneInPart(f"{_unwritten(error)} {text}") from error


class Report:
    """What a task has to say on standard output: text as it comes, or one JSON document at the end.

    `changed` tells, from the first commit on, what has been changed and how to go on; None as long as nothing has.
    Whatever fails from then on, `printing` ends in that line.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._document: dict[str, Any] = {}
        self._fault: OSError | None = None
        self.changed: Callable[[], str | None] = lambda: None

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._json:
            self._print(text)

    def add(self, **facts: Any) -> None:
        """Something for programs."""
        self._document |= facts

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Print the document at the end, also when a guard or a fault ends the task.

        Raises:
            DoneInPart: something failed that says itself nothing of what had been changed by then.
        """
        try:
            yield
        except (TokensError, KeyboardInterrupt, EOFError) as error:
            ended = self._with_change(error)
            self._tell(ended)
            if ended is error:
                raise
            raise ended from error
        except Exception as error:
            if (changed := self.changed()) is None:
                raise
            if not isinstance(error, OSError) or console.output_fault(error, sys.stdout) is None:
                traceback.print_exc()
            unforeseen = DoneInPart(f"{_unwritten(error)} {changed}")
            self._tell(unforeseen)
            raise unforeseen from error
        self._print_document()
        if self._fault is not None and (changed := self.changed()) is not None:
            raise DoneInPart(f"{_unwritten(self._fault)} {changed}")

    def _with_change(self, error: Ending) -> Ending:
        """The fault itself where it says what was changed, or nothing was; else one that does."""
        changed = self.changed()
        if changed is None:
            return error
        if not isinstance(error, TokensError):
            kind = Terminated if isinstance(error, Termination | EOFError) else Interrupted
            return kind(f"{fault_of(error).message} {changed}")
        if self._fault is None:
            return error
        # What was to be said on standard output has to be said here.
        error.args = (f"{error} {_unwritten(self._fault)} {changed}",)
        return error

    def _tell(self, error: Ending) -> None:
        """Print the document with a fault in it."""
        if not self._json:
            return
        self.add(**fault_as_dict(fault_of(error)))
        with suppress(OSError):
            self._print_document()
        told_in_document(error)

    def _print_document(self) -> None:
        if self._json and self._document:
            self._print(json.dumps(self._document, indent=2))

    def _print(self, text: str) -> None:
        """A reader that leaves early must neither hold a change up nor hide how it ended; no more must a full disk."""
        try:
            print(text, flush=True)
        except OSError as error:
            if self.changed() is None and not isinstance(error, BrokenPipeError):
                raise
            self._fault = self._fault or error
            console.discard(sys.stdout)


def _unwritten(error: Exception) -> str:
    if isinstance(error, BrokenPipeError):
        return "The output has lost its reader."
    if isinstance(error, OSError):
        return f"The output could not be written: {error.strerror}."
    return f"This program has failed ({type(error).__name__})."

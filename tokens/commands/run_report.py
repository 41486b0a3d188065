"""What a command has to say: for people as it comes, for programs as one document at its end."""

import errno
import os
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

from tokens.call import one_message
from tokens.commands.ending import Ending
from tokens.commands.environment import Environment
from tokens.commands.faults import ended_by
from tokens.errors import ExitStatus, TokensError
from tokens.targets.instance import Instance
from tokens.terminal import console
from tokens.views import document


class RunReport:
    """What a command has to say on standard output: text as it comes, or one JSON document at the end.

    `changed` tells, from the first commit on, what has been changed and how to go on; None as long as nothing has.
    Whatever fails from then on, `concluding` ends in that line. With `aside` everything is said on standard error,
    since standard output is somebody else's alone. `instance` is what the work is done to.
    """

    def __init__(self, environment: Environment, *, as_json: bool, instance: Instance, aside: bool = False) -> None:
        self.instance = instance
        self._environment = environment
        self._aside = aside
        self._json = as_json
        self._document: dict[str, Any] = {}
        self._fault: OSError | None = None
        self.changed: Callable[[], str | None] = lambda: None

    @property
    def columns(self) -> int | None:
        """How many columns there are for people; None where there is no terminal."""
        return console.columns(self._environment.stderr if self._aside else self._environment.stdout)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._json:
            self._print(text, for_people=True)

    def add(self, **facts: Any) -> None:
        """Something for programs."""
        self._document |= facts

    def concluding(self, work: Callable[[], Ending]) -> Ending:
        """Do the work, and print the document at its end, also when a guard or a fault ends it.

        The Ending is the work's own, or that of the fault; where the fault says itself nothing of what had been changed
        by then, or the output could not be written, it does now.
        """
        try:
            ending = work()
        except (TokensError, KeyboardInterrupt, EOFError) as error:
            ending = ended_by(error)
            if not isinstance(error, TokensError) and (changed := self.changed()) is not None:
                ending = replace(ending, message=f"{ending.message} {changed}")
        except Exception as error:
            if (changed := self.changed()) is None:
                raise
            if not isinstance(error, OSError) or console.output_fault(error, self._environment.stdout) is None:
                traceback.print_exc(file=self._environment.stderr)
            ending = Ending(ExitStatus.PARTIAL, f"{_unwritten(error)} {changed}", error)
        return self._printed(ending)

    def _printed(self, ending: Ending) -> Ending:
        """Print the document; what was to be said on standard output and could not be is said at the end."""
        if ending.message:
            self.add(error=ending.message, status=int(ending.status))
        with suppress(OSError) if ending.message else nullcontext():
            if self._json and self._document:
                self._print(document.text(self.instance, self._document))
        changed = self.changed()
        if self._fault is None or changed is None or changed in ending.message:
            return ending
        lost = f"{_unwritten(self._fault)} {changed}"
        if ending.status == ExitStatus.DONE:
            return Ending(ExitStatus.PARTIAL, lost)
        return replace(ending, message=one_message(ending.message, lost))

    def _print(self, text: str, *, for_people: bool = False) -> None:
        """A reader that leaves early must neither hold a change up nor hide how it ended; no more must a full disk."""
        if self._aside:
            self._environment.tell(text)
            return
        if self._environment.stdout is None:  # the caller has closed it
            self._fault = self._fault or OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            (self._environment.print_prose if for_people else self._environment.print)(text)
        except OSError as error:
            if self.changed() is None and not isinstance(error, BrokenPipeError):
                raise
            self._fault = self._fault or error
            console.discard(self._environment.stdout)


def print_done(environment: Environment, text: str, in_short: str | None = None) -> Ending:
    """Print what a change has come to; where that cannot be written, end in that on standard error, or in short."""
    try:
        environment.print(text)
    except OSError as error:
        console.discard(environment.stdout)
        return Ending(ExitStatus.PARTIAL, f"{_unwritten(error)} {in_short or text}", error)
    return Ending()


def _unwritten(error: Exception) -> str:
    if isinstance(error, BrokenPipeError):
        return "The output has lost its reader."
    if isinstance(error, OSError):
        return f"The output could not be written: {error.strerror}."
    return f"This program has failed ({type(error).__name__})."

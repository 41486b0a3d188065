"""What a command speaks through: the process's streams, or those that a test hands in."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tokens.errors import TerminalRequired, TokensError
from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out, painted
from tokens.terminal.progress import ProgressBar
from tokens.terminal.questions import Questions
from tokens.terminal.silence import muted_keyboard
from tokens.terminal.steps import Steps, announced


@dataclass(frozen=True)
class Syslog:
    """The socket that gets a line for each run: the usual one, of which nothing is missed, or one that is `named`."""

    path: Path = Path("/dev/log")
    named: bool = False


def for_people(text: str, stream: TextIO | None, hanging: int = 0) -> str:
    """`text` as it is written to `stream`: on a terminal in its lines and colours, elsewhere as it is."""
    found = laid_out(text, console.columns(stream), hanging)
    return painted(found) if console.has_colour(stream) else found


@dataclass(frozen=True)
class Environment:
    """Three streams, each None where the caller has closed it, and whether a person is at the other end.

    `syslog` is what gets a line for each run, None for none, and `syslog_names` whether with names of tokens.
    """

    stdin: TextIO | None
    stdout: TextIO | None
    stderr: TextIO | None
    syslog: Syslog | None = None
    syslog_names: bool = False

    @classmethod
    def of_process(cls) -> "Environment":
        """The one of this very process."""
        return cls(sys.stdin, sys.stdout, sys.stderr)

    @property
    def has_person(self) -> bool:
        """Whether somebody can be asked: standard input and output are a terminal."""
        return console.is_terminal(self.stdin) and console.is_terminal(self.stdout)

    def require_output(self) -> None:
        """Refuse to begin where nobody could see what comes of it.

        Raises:
            TokensError: standard output is closed.
        """
        if self.stdout is None:
            raise TokensError("Standard output is closed: nothing was done.")

    def require_person(self, task: str, instead: str) -> None:
        """Refuse to ask questions of a pipe, before anything else is done.

        Raises:
            TerminalRequired: standard input or output is no terminal; `instead` says what needs none.
        """
        if not self.has_person:
            raise TerminalRequired(
                f"{task} asks questions and needs a terminal on standard input and output; "
                f"without one use {instead} (docker exec and kubectl exec give one with -it)."
            )

    def require_answer(self, task: str, *, json: bool = False) -> None:
        """Refuse to ask a pipe, or in a document: the last thing before the question, after every other fault.

        Raises:
            TerminalRequired: standard input or output is no terminal, or `json` is to be all that is printed.
        """
        if json:
            raise TerminalRequired("--output json asks no question: use --yes with it. Nothing was changed.")
        if not self.has_person:
            raise TerminalRequired(
                f"{task} asks before it changes anything and needs a terminal on standard input and output; without "
                "one use --yes. Nothing was changed."
            )

    def prompts(self) -> Questions:
        """Questions to the person at the terminal."""
        from tokens.terminal.prompts import Prompts  # takes a tenth of a second, which only a question is worth

        return Prompts(colour=console.has_colour(self.stdout))

    def print_prose(self, text: str) -> None:
        """Print sentences on standard output, in lines that break no word on a terminal."""
        self.print(for_people(text, self.stdout))

    def print(self, text: str, end: str = "\n") -> None:
        """Print on standard output at once; an OSError where it takes no more."""
        self.write(f"{text}{end}", at_once=True)

    def write(self, text: str, *, at_once: bool = False) -> None:
        """Write to standard output, a part of much that follows; an OSError where it takes no more."""
        if self.stdout is not None:
            self.stdout.write(text)
            if at_once:
                self.stdout.flush()

    def take_utf8(self) -> None:
        """Let standard output be UTF-8 whatever the locale is, for what a program reads."""
        console.write_utf8(self.stdout)

    def tell(self, text: str, end: str = "\n") -> None:
        """Say something on standard error, if anybody listens; it must not end what is under way."""
        if self.stderr is None:
            return
        try:
            self.stderr.write(f"{for_people(text, self.stderr)}{end}")
            self.stderr.flush()
        except OSError:
            console.discard(self.stderr)

    def note(self, sentences: Iterable[str]) -> None:
        """Say on standard error what a person should know, too."""
        for sentence in sentences:
            self.tell(f"NOTE: {sentence}")

    def say(self, text: str) -> None:
        """Say something that must not be lost: on standard output, or on standard error where that takes no more."""
        try:
            self.print_prose(text)
        except OSError:
            console.discard(self.stdout)
            self.tell(text)

    def announced(self, step: str, *, stays: bool = False) -> AbstractContextManager[None]:
        """Name on standard error what takes longer than a second; a terminal forgets it, unless it `stays`."""
        return announced(step, self.stderr, stays=stays)

    def steps(self) -> Steps:
        """Lines on standard error for the steps of a piece of work that somebody waits for."""
        return Steps(self.stderr)

    def progress(self, total: int, unit: str) -> ProgressBar:
        """A bar on standard error; `unit` is a plural noun."""
        return ProgressBar(self.stderr, total, unit)

    def muted_keyboard(self) -> AbstractContextManager[None]:
        """Keep keys from showing up on the screen during this, if somebody is there to press them."""
        return muted_keyboard(self.stdin) if self.has_person else nullcontext()

    def flush(self) -> None:
        """Write out what is still buffered; an OSError where standard output takes no more."""
        if self.stdout is not None:
            self.stdout.flush()

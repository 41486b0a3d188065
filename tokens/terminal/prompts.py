"""Questions on a terminal in TTY::Prompt's manner: a numbered menu, a paged list, a line with a default, a yes/no.

prompt_toolkit gives the keys (raw mode, key names, bracketed paste, type-ahead) and the screen's commands. Its
Application is left out on purpose: it loses an exception that a signal handler raises while a key is handled, erases
earlier output when a terminal re-wraps its lines, and takes an escape sequence that it does not know for typed text.
"""

import os
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prompt_toolkit.input import Input
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output

from tokens.terminal.answer import TypedLine
from tokens.terminal.choices import PAGE_SIZE, Choices
from tokens.terminal.keyboard import Keyboard
from tokens.terminal.printable import printable
from tokens.terminal.screen import Colour, Fragment, Line, Screen, View, plain


class Prompts:
    """The `Questions` of `tokens.terminal.questions`, on a terminal.

    Every question takes lines of its own, starting with the one that the cursor is on; what was printed above stays.
    Keys typed before a question shows answer it, unless `discard_typeahead` is called in between. Every question raises
    KeyboardInterrupt on Ctrl-C and EOFError when the terminal is gone; these and any exception that a signal handler
    raises leave the terminal as it was, with the cursor at the start of a fresh line.

    `keyboard` and `screen` default to the process's stdin and stdout, which must be terminals. Without `colour` nothing
    but cursor movements is sent.
    """

    def __init__(self, keyboard: Input | None = None, screen: Output | None = None, colour: bool = True) -> None:
        self._keyboard = Keyboard(keyboard or Vt100Input(sys.stdin))
        self._screen = Screen(screen or Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM")), colour)

    def menu(self, question: str, choices: Sequence[str]) -> int:
        """The index, from 0, of one of a few choices with numbers in front."""
        return self._choose(Choices.numbered_menu(printable(question), [printable(choice) for choice in choices]))

    def select(self, question: str, choices: Sequence[str], page_size: int = PAGE_SIZE) -> int:
        """The index, from 0, of one of any number of choices, shown `page_size` at a time."""
        return self._choose(
            Choices.paged_list(printable(question), [printable(choice) for choice in choices], page_size)
        )

    def line(self, question: str, default: str) -> str | None:
        """What was typed, or `default` for an empty or blank line, or None for Ctrl-D on an empty line.

        Of a pasted text the first line is taken; it has to be sent off with Enter like a typed one.
        """
        asked = [plain(printable(question) + " ")]
        shown = [*asked, Fragment(f"({printable(default)})", Colour.GREY), plain(" ")] if default else asked
        with self._asking():
            typed = self._edit(shown, cancel=lambda answer: not answer.text)
            if typed is None:
                self._screen.finish(asked)
                return None
            given = typed if typed.strip() else default
            self._screen.finish([*asked, Fragment(printable(given), Colour.GREEN)])
            return given

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Whether the answer is yes. Enter means `default`, Ctrl-D no; what is neither yes nor no is asked again.

        ` (y/N) ` is added to the question, ` (Y/n) ` where yes is the default.
        """
        asked = [plain(printable(question) + " ")]
        shown = [*asked, Fragment("(Y/n)" if default else "(y/N)", Colour.GREY), plain(" ")]
        error: list[Line] = []
        with self._asking():
            while True:
                typed = self._edit(shown, error, cancel=lambda _: True)
                blank = typed is not None and not typed.strip()
                agreed = default if blank else typed is not None and typed.lower() in {"y", "yes"}
                if agreed or typed is None or blank or typed.lower() in {"n", "no"}:
                    break
                error = [[Fragment(">>", Colour.RED), plain(" Invalid input.")]]
            # As the original shows a default that was taken: with a capital.
            said = ("Yes" if blank else "yes") if agreed else "No"
            self._screen.finish([*asked, Fragment(said, Colour.GREEN)])
            return agreed

    def discard_typeahead(self) -> None:
        """Forget every key typed so far."""
        self._keyboard.discard()

    def _choose(self, choices: Choices) -> int:
        with self._asking(cursor=False):
            self._screen.draw(_list_view(choices))
            while True:
                key = self._keyboard.next(self._screen.follow_resize)
                if key.key in _SELECT:
                    self._screen.finish([plain(choices.question + " "), Fragment(choices.choice, Colour.GREEN)])
                    return choices.active
                before, choices = choices, _moved(choices, key)
                if choices != before:
                    self._screen.draw(_list_view(choices))

    def _edit(self, question: Line, below: Sequence[Line] = (), *, cancel: Callable[[TypedLine], bool]) -> str | None:
        """A line of text, or None for Ctrl-D where `cancel` allows it."""
        answer = TypedLine()
        self._screen.draw(_line_view(question, answer, below))
        while True:
            key = self._keyboard.next(self._screen.follow_resize)
            if key.key in _SUBMIT:
                return answer.text
            if key.key == Keys.ControlD and cancel(answer):
                return None
            before, answer = answer, _edited(answer, key)
            if answer != before:
                self._screen.draw(_line_view(question, answer, below))

    @contextmanager
    def _asking(self, cursor: bool = True) -> Iterator[None]:
        try:
            with self._keyboard.raw():
                try:
                    self._screen.begin(cursor)
                    yield
                except BaseException:
                    self._screen.abandon()
                    raise
                finally:
                    self._screen.end()
        except (OSError, termios.error) as error:
            raise EOFError("the terminal is gone") from error


def _list_view(choices: Choices) -> View:
    question = plain(choices.question + " ")
    rows = choices.rows
    return View(
        lines=[
            [question, Fragment(choices.hint, Colour.GREY)],
            *([Fragment(row.text, Colour.GREEN if row.active else None)] for row in rows),
        ],
        stays=[question],
        needed=1 + [row.active for row in rows].index(True),
    )


def _line_view(question: Line, answer: TypedLine, below: Sequence[Line]) -> View:
    line = [*question, plain(answer.text)]
    return View(lines=[line, *below], stays=line, cursor=[*question, plain(answer.before)])


_SUBMIT = {Keys.ControlM, Keys.ControlJ}
_SELECT = {*_SUBMIT, " "}

_MOVES: dict[str, Callable[[Choices], Choices]] = {
    Keys.Up: Choices.up,
    Keys.Down: Choices.down,
    Keys.ControlI: Choices.down,
    Keys.Left: Choices.page_up,
    Keys.PageUp: Choices.page_up,
    Keys.Right: Choices.page_down,
    Keys.PageDown: Choices.page_down,
}

_EDITS: dict[str, Callable[[TypedLine], TypedLine]] = {
    Keys.Left: TypedLine.left,
    Keys.Right: TypedLine.right,
    Keys.Home: TypedLine.home,
    Keys.End: TypedLine.end,
    Keys.ControlH: TypedLine.backspace,
    Keys.Delete: TypedLine.delete,
}


def _moved(choices: Choices, key: KeyPress) -> Choices:
    if key.key in _MOVES:
        return _MOVES[key.key](choices)
    if len(key.key) == 1 and key.key in "123456789":
        return choices.number(int(key.key))
    return choices.ignored()


def _edited(answer: TypedLine, key: KeyPress) -> TypedLine:
    if key.key in _EDITS:
        return _EDITS[key.key](answer)
    if key.key == Keys.BracketedPaste:
        return answer.paste(key.data)
    return answer.insert(key.key) if len(key.key) == 1 else answer

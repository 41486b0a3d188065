"""The prompts in a pseudo-terminal, as a person sees them."""

import io
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pyte
import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from tests.testbed.menus import RECORDINGS, names
from tests.testbed.program import ASK
from tests.testbed.screen import Program
from tokens.terminal.prompts import Prompts

MENU = ["menu", "What do you want to do?", ["Extend expiration date", "Remove expiration date", "Quit"]]
LIST = ["select", "Q", names(11)]
LINE = ["line", "What would you like the new expiration date to be?", "2025-06-15"]
LINE_ASKED = "What would you like the new expiration date to be? "
CONFIRM = ["confirm", "Are you sure?"]


def ask(*questions: list[Any], size: tuple[int, int] = (24, 80), colour: bool = True) -> Program:
    argv = [ASK, json.dumps(questions)]
    return Program(argv if colour else [*argv, "--no-colour"], size=size)


class Asker:
    """One program that is asked for question after question, where a program for each would take long."""

    def __init__(self, folder: Path) -> None:
        self.pipe = folder / "questions"
        os.mkfifo(self.pipe)
        self.program = Program([ASK, str(self.pipe)])
        self.questions = self.pipe.open("w", encoding="utf-8")
        self.asked = 0

    def __call__(self, question: list[Any]) -> Program:
        self.asked += 1
        self._send(["clear"], ["print", f"ready {self.asked}"])
        self.program.wait_for_screen(f"ready {self.asked}")
        self.program.raw = b""
        self._send(["clear"], question)
        return self.program

    def _send(self, *questions: list[Any]) -> None:
        self.questions.writelines(json.dumps(question) + "\n" for question in questions)
        self.questions.flush()

    def close(self) -> None:
        self.program.__exit__()
        with suppress(BrokenPipeError):
            self.questions.close()


@pytest.fixture(scope="module")
def askers() -> Iterator[list[Asker]]:
    """At most one; a test that fails in the middle of a question takes it away."""
    running: list[Asker] = []
    yield running
    for asker in running:
        asker.close()


@pytest.fixture
def show(askers: list[Asker], tmp_path: Path) -> Iterator[Asker]:
    asker = askers.pop() if askers else Asker(tmp_path)
    try:
        yield asker
        asker(["print", "done"]).wait_for("done")
    except AssertionError:
        asker.close()
        raise
    askers.append(asker)


class TestLists:
    @pytest.mark.parametrize(
        ("recordings", "size"),
        [(RECORDINGS, (24, 80)), (RECORDINGS[::7], (10, 40)), (RECORDINGS[::7], (40, 120))],
        ids=["80x24", "40x10", "120x40"],
    )
    def test_the_screen_after_every_key_is_the_original_s(
        self, recordings: list[dict[str, Any]], size: tuple[int, int]
    ) -> None:
        questions: list[list[Any]] = []
        for recording in recordings:
            kind = "menu" if recording["numbered"] else "select"
            questions += [[kind, "Q", names(recording["n"])], ["read"], ["clear"]]
        with ask(*questions, size=size) as program:
            for recording in recordings:
                *frames, echo = [wrapped(frame, size[1]) for frame in recording["frames"]]
                program.wait_for_screen(frames[0])
                for key, frame in zip(recording["keys"], frames[1:], strict=True):
                    program.press(key)
                    program.wait_for_screen(frame)
                program.press("enter")
                program.wait_for_screen(f"{echo.rstrip()}\n= {recording['result']}")
                program.press("lf")
            assert program.wait() == 0

    def test_the_menu_looks_like_the_original_s(self, show: Asker) -> None:
        program = show(MENU)
        program.wait_for_screen(
            "What do you want to do? (Press ↑/↓ arrow or 1-3 number to move and Enter to sele\n"
            "ct)\n"
            "‣ 1. Extend expiration date\n"
            "  2. Remove expiration date\n"
            "  3. Quit"
        )
        assert program.cursor_hidden
        assert program.colour_at(2, 0) == program.colour_at(2, 5) == "green"
        assert program.colour_at(3, 5) == program.colour_at(0, 0) == "default"
        assert "\x1b[90m(Press ↑".encode() in program.raw
        assert "\x1b[32m‣ 1. Extend expiration date\x1b[0m".encode() in program.raw
        program.press("2", "enter")
        program.wait_for_screen("What do you want to do? Remove expiration date\n= 1")
        assert b"What do you want to do? \x1b[32mRemove expiration date\x1b[0m\r" in program.raw
        assert not program.cursor_hidden

    @pytest.mark.parametrize(
        "key",
        [
            *("j", "k", "q", "a", "0", "4", "9", "-", "ü", "🙂", "ctrl-n", "ctrl-p", "ctrl-d", "ctrl-z", "backspace"),
            *("home", "end", "esc", "f1", "f5", "f12", "delete", "left", "right", "pgup", "pgdn", "\x1b[Z", "\x00"),
        ],
    )
    def test_keys_of_no_use_take_the_hint_away_and_do_nothing_else(self, show: Asker, key: str) -> None:
        program = show(MENU)
        program.wait_for("Quit")
        program.press(key)
        program.wait_for(lambda: "Press" not in program.text)
        assert program.lines[:2] == ["What do you want to do?", "‣ 1. Extend expiration date"]
        program.press("enter")
        program.wait_for("= 0")

    @pytest.mark.parametrize(
        "sequence",
        [
            "\x1b[25~",
            "\x1b[999~",
            "\x1b[13;5u",
            "\x1b[32;3u",
            "\x1b[50;5u",
            "\x1b[27;5;13~",
            "\x1b[27;5;9~",
            "\x1b[27;2;32~",
            "\x1b[1;3B",
            "\x1b[1;5B",
            "\x1b[<0;2;3M",
            "\x1b[M !!",
            "\x1b[2;3R",
            "\x1b[I",
            "\x1b[O",
            "\x1b[?62;2c",
            "\x1b[?2 q",
            "\x1bO2",
            "\x1b]11;rgb:2222/2222/2222\x07",
            "\x1b]11;rgb:2222/2222/2222\x1b\\",
            "\x1bP1$r2 q\x1b\\",
            "\x1b[200~2\r3\n \x1b[201~",
        ],
    )
    def test_sequences_of_no_use_neither_move_nor_select(self, show: Asker, sequence: str) -> None:
        program = show(MENU)
        program.wait_for("Quit")
        program.send(sequence)
        program.press("down", "enter")
        program.wait_for("= ")
        assert program.lines[-1] == "= 1"

    @pytest.mark.parametrize("key", ["enter", "lf", "space"])
    def test_enter_line_feed_and_space_select(self, show: Asker, key: str) -> None:
        program = show(LIST)
        program.wait_for("Press")
        program.press("down", key)
        program.wait_for_screen("Q 2024-01-02\n= 1")

    @pytest.mark.parametrize("key", ["esc", "\x1b\x1b"])
    def test_escape_does_not_spoil_the_key_after_it(self, show: Asker, key: str) -> None:
        program = show(LIST)
        program.wait_for("Press")
        program.press(key)
        program.wait_for(lambda: "Press" not in program.text)
        program.press("down")
        program.wait_for("‣ 2024-01-02")
        program.press(key, "enter")
        program.wait_for("= 1")

    def test_a_lone_escape_and_a_bracket_typed_later_are_no_sequence(self, show: Asker) -> None:
        program = show(MENU)
        program.wait_for("Quit")
        program.press("esc")
        with pytest.raises(AssertionError):
            program.wait_for("nothing happens", timeout=1.5)
        program.press("[", "2")
        program.wait_for("‣ 2. Remove")
        program.press("enter")
        program.wait_for("= 1")

    def test_a_sequence_that_arrives_in_pieces_is_one_key(self, show: Asker) -> None:
        program = show(LIST)
        program.wait_for("Press")
        program.press("esc")
        program.wait_for(lambda: "Press" not in program.text)
        program.press("[")
        program.press("B")
        program.wait_for("‣ 2024-01-02")
        program.press("enter")
        program.wait_for("= 1")

    @pytest.mark.parametrize("key", ["down-application", "down", "tab"])
    def test_arrows_in_application_mode_are_arrows(self, show: Asker, key: str) -> None:
        program = show(LIST)
        program.wait_for("Press")
        program.press(key)
        program.wait_for("‣ 2024-01-02")
        program.press("enter")
        program.wait_for("= 1")

    def test_escape_sequences_in_choices_are_shown_not_obeyed(self) -> None:
        evil = "a\x1b[2Jb\r\nc\x9b31m\u202ed"
        with ask(["select", evil, [evil, "x"]], ["line", "Q", evil]) as program:
            program.wait_for("‣ a�[2Jb��c�31m�d")
            assert program.lines[0].startswith("a�[2Jb��c�31m�d (Press")
            program.press("enter", "enter")
            program.wait_for("Q a�[2Jb��c�31m�d")
            assert b"\x1b[2J" not in program.raw
            assert "\x9b".encode() not in program.raw

    def test_wide_characters_wrap_where_the_terminal_wraps(self) -> None:
        with ask(["select", "Q", ["日本語" * 5, "x"]], size=(24, 20)) as program:
            program.wait_for("x")
            program.press("j")
            program.wait_for_screen("Q\n‣ 日本語日本語日本語\n日本語日本語\n  x")
            program.press("down", "enter")
            program.wait_for_screen("Q x\n= 1")

    def test_without_colour_there_is_none(self) -> None:
        with ask(MENU, LINE, CONFIRM, colour=False) as program:
            program.wait_for("Quit")
            program.press("down", "enter")
            program.wait_for("(2025-06-15)")
            program.press("enter")
            program.wait_for("(y/N)")
            program.press("x", "enter")
            program.wait_for(">> Invalid input.")
            program.press("enter")
            assert program.wait() == 0
            assert b"m" not in {part[-1:] for part in escape_sequences(program.raw)}

    def test_nothing_is_asked_of_the_terminal(self) -> None:
        with ask(MENU, LIST, LINE, CONFIRM) as program:
            for question in ("Quit", "2024-01-06", "(2025-06-15)", "(y/N)"):
                program.wait_for(question)
                program.press("enter")
            assert program.wait() == 0
            assert escape_sequences(program.raw) <= {
                *(b"\x1b[?2004h", b"\x1b[?2004l", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?12l"),
                *(b"\x1b[4A", b"\x1b[6A", b"\x1b[J", b"\x1b[20C", b"\x1b[64C", b"\x1b[0m", b"\x1b[32m", b"\x1b[90m"),
            }


class TestSmallTerminals:
    def test_the_active_choice_is_in_sight_on_a_terminal_of_five_rows(self) -> None:
        with ask(["print", "before"], LIST, size=(5, 20)) as program:
            program.wait_for("‣ 2024-01-01")
            for key, days in (("down", range(2, 11)), ("up", range(9, 0, -1))):
                for day in days:
                    program.press(key)
                    program.wait_for(f"‣ 2024-01-{day:02}")
            program.press("enter")
            program.wait_for("Q 2024-01-01\n= 0")

    def test_a_question_at_the_bottom_scrolls_what_is_above(self) -> None:
        with ask(*([["print", f"line {number}"] for number in range(30)]), LIST, size=(10, 40)) as program:
            program.wait_for("2024-01-06")
            assert program.lines[1:3] == ["line 29", "Q (Press ↑/↓/←/→ arrow to move and Enter"]
            program.press("pgdn")
            program.wait_for_screen(
                "line 28\nline 29\nQ\n‣ 2024-01-07\n  2024-01-08\n  2024-01-09\n  2024-01-10\n  --> Abort"
            )
            program.press("enter")
            program.wait_for_screen("line 28\nline 29\nQ 2024-01-07\n= 6")

    @pytest.mark.parametrize("size", [(10, 40), (24, 40), (10, 80), (6, 80), (40, 120), (24, 30)])
    def test_a_resize_leaves_earlier_output_alone(self, size: tuple[int, int]) -> None:
        with ask(["print", "first"], ["print", "second"], MENU, ["print", "after"]) as program:
            program.wait_for("Quit")
            program.resize(*size)
            program.wait_for(lambda: wrapped(MENU_SHOWN, size[1]) in program.text)
            if size[0] > 8:
                assert program.text == "first\nsecond\n" + wrapped(MENU_SHOWN, size[1])
            program.press("3", "enter")
            program.wait_for("What do you want to do? Quit\n= 2\nafter")
            assert program.text.count("What do") == 1
            assert program.wait() == 0

    def test_a_line_survives_a_resize(self) -> None:
        with ask(["print", "first"], LINE) as program:
            program.wait_for("(2025-06-15)")
            program.press("2026-01-01")
            program.wait_for("2026-01-01")
            program.resize(24, 40)
            shown = wrapped(LINE_ASKED + "(2025-06-15) 2026-01-01", 40)
            program.wait_for(lambda: shown in program.text)
            assert program.lines[0] == "first"
            program.press("enter")
            program.wait_for("= '2026-01-01'")

    def test_a_long_line_wraps_and_can_be_edited(self) -> None:
        with ask(["line", "Q", "d"], size=(10, 20)) as program:
            program.wait_for("Q (d)")
            program.press("a" * 14)
            program.wait_for_screen("Q (d) " + "a" * 14)
            assert program.cursor == (1, 0)
            program.press("b" * 5, "home", "X")
            program.wait_for_screen("Q (d) X" + "a" * 13 + "\nabbbbb")
            assert program.cursor == (0, 7)
            program.press("end", "backspace", "enter")
            program.wait_for_screen("Q X" + "a" * 14 + "bbb\nb\n= 'X" + "a" * 14 + "bb\nbb'")


class TestLine:
    @pytest.mark.parametrize(
        ("keys", "result"),
        [
            ([], "2025-06-15"),
            (["   "], "2025-06-15"),
            (["2026-01-01"], "2026-01-01"),
            ([" 2026-01-01 "], " 2026-01-01 "),
            (["2026-01-02", "left", "backspace", "3"], "2026-01-32"),
            (["26-", "home", "right", "0", "end", "1"], "206-1"),
            (["12", "left", "left", "left", "x", "right", "right", "right", "y"], "x12y"),
            (["123", "home", "delete", "delete", "delete", "delete"], "2025-06-15"),
            (["123", "ctrl-h", "backspace"], "1"),
            (["12", "esc", "f1", "f5", "f12", "ctrl-z", "ctrl-n", "ctrl-p", "up", "down", "tab", "pgup", "3"], "123"),
            (["12", "pgdn", "ctrl-d", "\x00", "ctrl-d", "3"], "123"),
            (["1", "\x1b[25~", "\x1b[99;5u", "\x1b[1;5D", "\x1b[3;5~", "2"], "12"),
            (["1", "\x1b[I", "\x1b[5;6R", "\x1b[<0;1;1M", "\x1b[27;5;13~", "2"], "12"),
            (["1", "\x1b[200~2025-06-16\n\x1b[201~", "2"], "12025-06-162"),
            (["\x1b[200~\r\n  2025-06-16 \r\nrm\x1b[201~"], "2025-06-16"),
            (["\x1b[200~ \n\x1b[201~"], "2025-06-15"),
            (["ü🙂"], "ü🙂"),
            (["a\u202eb"], "a�b"),
        ],
    )
    def test_a_line_is_typed_and_edited(self, show: Asker, keys: list[str], result: str) -> None:
        program = show(LINE)
        program.wait_for_screen(LINE_ASKED + "(2025-06-15)")
        assert program.cursor == (0, 64)
        program.press(*keys, "enter")
        program.wait_for("\n= ")
        program.wait_for_screen(f"{LINE_ASKED}{result}\n= {result!r}")

    def test_the_default_is_shown_while_typing_and_gives_way_to_the_answer(self, show: Asker) -> None:
        program = show(LINE)
        program.wait_for("(2025-06-15)")
        program.press("2026")
        program.wait_for_screen(LINE_ASKED + "(2025-06-15) 2026")
        program.press("enter")
        program.wait_for_screen(LINE_ASKED + "2026\n= '2026'")
        assert b"\x1b[90m(2025-06-15)\x1b[0m 2026" in program.raw
        assert b"\x1b[32m2026\x1b[0m\r" in program.raw

    @pytest.mark.parametrize("key", ["enter", "lf"])
    def test_enter_and_line_feed_send_the_line(self, show: Asker, key: str) -> None:
        program = show(LINE)
        program.wait_for("(2025-06-15)")
        program.press("1", key)
        program.wait_for("= '1'")

    def test_ctrl_d_cancels_an_empty_line(self) -> None:
        with ask(LINE, ["print", "after"]) as program:
            program.wait_for("(2025-06-15)")
            program.press("1", "ctrl-d", "backspace", "ctrl-d")
            program.wait_for_screen(LINE_ASKED.rstrip() + "\n= None\nafter")

    def test_a_huge_paste_does_no_harm(self, show: Asker) -> None:
        program = show(LINE)
        program.wait_for("(2025-06-15)")
        program.send("\x1b[200~" + "1" * 200_000 + "\x1b[201~")
        program.press("enter")
        program.wait_for("= '" + "1" * 10)
        assert program.text.count("1") >= 512

    def test_huge_typing_does_no_harm(self, show: Asker) -> None:
        program = show(LINE)
        program.wait_for("(2025-06-15)")
        program.send("1" * 100_000)
        program.press("enter")
        program.wait_for("= '" + "1" * 10)

    def test_a_paste_that_never_ends_does_not_lock_the_keyboard(self) -> None:
        with ask(LINE) as program:
            program.wait_for("(2025-06-15)")
            program.send("\x1b[200~123")
            with pytest.raises(AssertionError):
                program.wait_for("123", timeout=1.5)
            program.press("ctrl-c")
            program.wait_for("! KeyboardInterrupt")

    def test_there_is_no_history(self) -> None:
        with ask(LINE, LINE) as program:
            program.wait_for("(2025-06-15)")
            program.press("1999", "enter")
            program.wait_for("= '1999'")
            program.press("up", "enter")
            program.wait_for("= '2025-06-15'")


class TestConfirm:
    @pytest.mark.parametrize(
        ("typed", "result"),
        [
            *(("y", True), ("Y", True), ("yes", True), ("YES", True), ("yEs", True)),
            *(("n", False), ("N", False), ("no", False), ("NO", False), ("", False), ("  ", False)),
        ],
    )
    def test_yes_and_no_in_any_case(self, show: Asker, typed: str, result: bool) -> None:
        program = show(CONFIRM)
        program.wait_for_screen("Are you sure? (y/N)")
        assert program.cursor == (0, 20)
        program.press(typed, "enter")
        program.wait_for_screen(f"Are you sure? {'yes' if result else 'No'}\n= {result}")
        assert f"\x1b[32m{'yes' if result else 'No'}\x1b[0m\r".encode() in program.raw

    @pytest.mark.parametrize("typed", ["ye", " y", "y ", "1", "true", "yy", "nope", " n", "д"])
    def test_anything_else_is_asked_again(self, show: Asker, typed: str) -> None:
        program = show(CONFIRM)
        program.wait_for("(y/N)")
        for _ in range(2):
            program.press(typed)
            program.wait_for(f"(y/N) {typed}".rstrip())
            program.press("enter")
            program.wait_for_screen("Are you sure? (y/N)\n>> Invalid input.")
            assert program.cursor == (0, 20)
            assert program.colour_at(1, 0) == "red"
            assert program.colour_at(1, 3) == "default"
        program.press("y")
        program.wait_for_screen("Are you sure? (y/N) y\n>> Invalid input.")
        program.press("enter")
        program.wait_for_screen("Are you sure? yes\n= True")

    @pytest.mark.parametrize("typed", ["", "y", "yes", "x"])
    def test_ctrl_d_is_no(self, show: Asker, typed: str) -> None:
        program = show(CONFIRM)
        program.wait_for("(y/N)")
        program.press(typed, "ctrl-d")
        program.wait_for_screen("Are you sure? No\n= False")

    @pytest.mark.parametrize(
        ("typed", "said", "result"),
        [
            *(("\r", "Yes", True), ("  \r", "Yes", True), ("y\r", "yes", True), ("YES\r", "yes", True)),
            *(("n\r", "No", False), ("No\r", "No", False), ("\x04", "No", False), ("y\x04", "No", False)),
            ("nope\r\r", "Yes", True),
        ],
    )
    def test_where_yes_is_the_default_enter_means_it_and_ctrl_d_does_not(
        self, typed: str, said: str, result: bool
    ) -> None:
        terminal = io.StringIO()
        with create_pipe_input() as keyboard:
            keyboard.send_text(typed)
            prompts = Prompts(keyboard, Vt100_Output(terminal, lambda: Size(24, 80)))
            assert prompts.confirm("Install it?", default=True) is result
        screen = pyte.Screen(80, 24)
        pyte.Stream(screen).feed(terminal.getvalue())
        assert "(Y/n)" in terminal.getvalue()
        assert [line.rstrip() for line in screen.display if line.strip()] == [f"Install it? {said}"]

    def test_the_error_line_at_the_bottom_of_the_screen_scrolls(self) -> None:
        with ask(*([["print", f"line {number}"] for number in range(9)]), CONFIRM, size=(10, 40)) as program:
            program.wait_for("(y/N)")
            program.press("x", "enter")
            program.wait_for(">> Invalid input.")
            assert program.lines[-3:] == ["line 8", "Are you sure? (y/N)", ">> Invalid input."]
            program.press("enter")
            program.wait_for("line 8\nAre you sure? No\n= False")


class TestEndings:
    SHOWN = pytest.mark.parametrize(
        ("question", "shown", "left"),
        [
            (MENU, "Quit", "What do you want to do?"),
            (LIST, "2024-01-06", "Q"),
            (LINE, "(2025-06-15)", LINE_ASKED + "(2025-06-15)"),
            (CONFIRM, "(y/N)", "Are you sure? (y/N)"),
        ],
        ids=["menu", "select", "line", "confirm"],
    )

    @SHOWN
    def test_ctrl_c_leaves_the_terminal_in_order(self, question: list[Any], shown: str, left: str) -> None:
        with ask(["print", "before"], question) as program:
            program.wait_for(shown)
            program.press("ctrl-c")
            program.wait_for_screen(f"before\n{left}\n! KeyboardInterrupt")
            assert not program.cursor_hidden
            assert program.wait() == 3
            assert program.raw.rindex(b"\x1b[?25h") > program.raw.rindex(b"\x1b[J")
            assert program.raw.count(b"\x1b[?2004h") == program.raw.count(b"\x1b[?2004l")

    @SHOWN
    @pytest.mark.parametrize(
        ("number", "raised"), [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt")]
    )
    def test_a_signal_leaves_the_terminal_in_order(
        self, question: list[Any], shown: str, left: str, number: signal.Signals, raised: str
    ) -> None:
        with ask(question) as program:
            program.wait_for(shown)
            program.signal(number)
            program.wait_for_screen(f"{left}\n! {raised}")
            assert not program.cursor_hidden
            assert program.wait() == 3

    @SHOWN
    def test_the_terminal_echoes_and_edits_again_afterwards(self, question: list[Any], shown: str, left: str) -> None:
        with ask(question, ["read"], ["print", "after"]) as program:
            program.wait_for(shown)
            program.press("enter")
            program.wait_for("= ")
            program.press("hello", "enter")
            program.wait_for("hello\nafter")

    @SHOWN
    def test_a_closed_terminal_ends_the_program(self, question: list[Any], shown: str, left: str) -> None:
        with ask(question) as program:
            program.wait_for(shown)
            program.hang_up()
            assert program.wait() in {1, 3, 120}


class TestInTheProcess:
    """With an input and an output of our own."""

    class Terminated(Exception):
        pass

    class DisturbedScreen(Vt100_Output):
        """Gets a signal in the middle of every drawing."""

        def erase_down(self) -> None:
            super().erase_down()
            signal.raise_signal(signal.SIGTERM)  # this very thread: a worker of the tests has another one

    @pytest.fixture(autouse=True)
    def _terminate(self) -> Iterator[None]:
        def terminate(number: int, frame: FrameType | None) -> None:
            raise self.Terminated

        before = signal.signal(signal.SIGTERM, terminate)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_a_signal_in_the_middle_of_a_drawing_waits_for_its_end(self) -> None:
        terminal = io.StringIO("before\r\n")
        terminal.read()
        with create_pipe_input() as keyboard, pytest.raises(self.Terminated):
            Prompts(keyboard, self.DisturbedScreen(terminal, lambda: Size(24, 80))).menu("Q", ["one", "two"])
        screen = pyte.Screen(80, 24)
        pyte.Stream(screen).feed(terminal.getvalue())
        assert [line.rstrip() for line in screen.display if line.strip()] == ["before", "Q"]
        assert not screen.cursor.hidden

    def test_the_end_of_the_input_is_an_error(self) -> None:
        with create_pipe_input() as keyboard:
            keyboard.send_text("ab")
            keyboard.close()
            with pytest.raises(EOFError):
                Prompts(keyboard, Vt100_Output(io.StringIO(), lambda: Size(24, 80))).line("Q", "default")

    def test_another_object_on_the_same_input_takes_the_keys_that_are_left(self) -> None:
        with create_pipe_input() as keyboard:
            keyboard.send_text("1\r2\r3\r")
            screen = Vt100_Output(io.StringIO(), lambda: Size(24, 80))
            assert [Prompts(keyboard, screen).line("Q", "") for _ in range(3)] == ["1", "2", "3"]

    def test_discarding_works_on_a_pipe_too(self) -> None:
        with create_pipe_input() as keyboard:
            prompts = Prompts(keyboard, Vt100_Output(io.StringIO(), lambda: Size(24, 80)))
            keyboard.send_text("1\r2\r")
            assert prompts.line("Q", "") == "1"
            keyboard.send_text("3\r")
            prompts.discard_typeahead()
            keyboard.send_text("4\r")
            assert prompts.line("Q", "") == "4"


class TestTypeAhead:
    def test_keys_typed_before_the_question_answer_it(self) -> None:
        with ask(["read"], LIST, LINE, CONFIRM, MENU) as program:
            program.press("lf", "down", "right", "enter", "2026-01-01", "enter", "yes", "enter", "3", "enter")
            program.wait_for("= 7")
            program.wait_for("= '2026-01-01'")
            program.wait_for("= True")
            program.wait_for("= 2")
            assert program.wait() == 0

    def test_keys_read_in_one_go_answer_the_next_questions(self) -> None:
        with ask(LIST, LINE, CONFIRM, MENU) as program:
            program.wait_for("2024-01-06")
            program.press("down", "enter", "2026-01-01", "enter", "x", "enter", "y", "enter", "3", "enter")
            program.wait_for("= 1")
            program.wait_for("= '2026-01-01'")
            program.wait_for("= True")
            program.wait_for("= 2")
            assert program.wait() == 0

    def test_discarded_keys_do_not_answer(self) -> None:
        with ask(CONFIRM, ["discard_typeahead"], CONFIRM) as program:
            program.wait_for("(y/N)")
            program.press("n", "enter", "y", "enter")
            program.wait_for("= None\nAre you sure? (y/N)")
            program.press("enter")
            program.wait_for("= None\nAre you sure? No\n= False")

    def test_keys_in_the_terminal_s_queue_are_discarded_too(self) -> None:
        with ask(["read"], ["discard_typeahead"], MENU) as program:
            program.press("lf", "3", "enter", "3", "3")
            program.wait_for("‣ 1. Extend")
            program.press("enter")
            program.wait_for("= 0")


MENU_SHOWN = (
    "What do you want to do? (Press ↑/↓ arrow or 1-3 number to move and Enter to select)\n"
    "‣ 1. Extend expiration date\n  2. Remove expiration date\n  3. Quit"
)


def wrapped(text: str, columns: int) -> str:
    """The text as a terminal of that width shows it."""
    rows = []
    for line in text.split("\n"):
        rows += [line[start : start + columns].rstrip() for start in range(0, len(line), columns)] or [""]
    return "\n".join(rows)


def escape_sequences(raw: bytes) -> set[bytes]:
    return set(re.findall(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[^\[]", raw))

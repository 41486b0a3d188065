"""The line being typed, without a terminal."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tokens.terminal.answer import MAX_LENGTH, TypedLine
from tokens.terminal.printable import printable

KEYS: list[Callable[[TypedLine], TypedLine]] = [
    *(TypedLine.left, TypedLine.right, TypedLine.home, TypedLine.end, TypedLine.backspace, TypedLine.delete),
    lambda answer: answer.insert("ab"),
    lambda answer: answer.paste(" c\n d"),
]


def test_a_paste_is_its_first_line_without_blanks() -> None:
    assert TypedLine("a", "b").paste("\r\n 2025-06-15\t\r\nsecond") == TypedLine("a2025-06-15", "b")
    assert TypedLine("a", "b").paste(" \n\t") == TypedLine("a", "b")


def test_control_characters_are_shown_for_what_they_are() -> None:
    assert TypedLine().insert("a\x1b[2Jb\x00\x9b\ud800").text == "a�[2Jb���"


def test_text_beyond_the_limit_is_dropped() -> None:
    full = TypedLine("x" * (MAX_LENGTH - 1), "y")
    assert full.insert("z") == full
    assert TypedLine("x").paste("z" * 100_000).text == "x" + "z" * (MAX_LENGTH - 1)


@given(st.lists(st.sampled_from(KEYS), max_size=300))
def test_moving_changes_no_text_and_editing_only_at_the_cursor(keys: list[Callable[[TypedLine], TypedLine]]) -> None:
    answer = TypedLine()
    for key in keys:
        before, answer = answer, key(answer)
        assert len(answer.text) <= MAX_LENGTH
        if key in KEYS[:4]:
            assert answer.text == before.text
        if key is TypedLine.delete:
            assert answer.before == before.before
        if key is TypedLine.backspace:
            assert answer.after == before.after


@given(st.text(max_size=40))
def test_printable_text_keeps_its_length_and_its_printable_characters(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(new in (old, "\ufffd") for old, new in zip(text, shown, strict=True))

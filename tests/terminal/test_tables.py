"""Tables and sentences that fit their terminal, and what of them is coloured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.screen import Program
from tokens.terminal import tables
from tokens.terminal.paragraphs import cut, laid_out, painted, width

HEADING = ("Run", "Kind", "State", "Planned (UTC)", "Change", "Tokens", "By", "Reason")
ROW = ("12", "extend", "stopped, undone by 13", "2026-01-02 03:04", "to 2030-06-15", 1_565_353, "日本 on db1", "x" * 90)


@given(st.integers(60, 300), st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N")), max_size=60)))
def test_no_line_of_a_table_is_wider_than_the_terminal(columns: int, names: list[str]) -> None:
    found = tables.table(HEADING, [ROW, *((*ROW[:6], name, name) for name in names)], columns)
    assert all(width(line) <= columns for line in found)
    is_table = len({width(line) for line in found}) == 1
    assert is_table or (columns < 100 and found[0] == "Run            12")


def test_where_numbers_would_be_cut_each_row_has_a_line_a_cell() -> None:
    assert tables.table(HEADING, [ROW, ("13", "undo", "done", "2026-01-03 03:04", "", 7, "", "")], 40) == [
        "Run            12",
        "Kind           extend",
        "State          stopped, undone by 13",
        "Planned (UTC)  2026-01-02 03:04",
        "Change         to 2030-06-15",
        "Tokens         1,565,353",
        "By             日本 on db1",
        f"Reason         {'x' * 24}…",
        "",
        "Run            13",
        "Kind           undo",
        "State          done",
        "Planned (UTC)  2026-01-03 03:04",
        "Tokens         7",
    ]


def test_at_80_columns_spare_columns_go_text_is_cut_and_numbers_and_dates_stay_whole() -> None:
    heading, _, row = tables.table(HEADING, [ROW], 80, spare=("Reason", "By"))
    assert "| 2026-01-02 03:04 |" in row
    assert "| 1,565,353 |" in row
    assert ("Reason" in heading, "By" in heading) == (False, True)
    assert "…" in row
    assert "|    Tokens |" in heading


def test_in_a_pipe_nothing_is_cut_and_no_digits_are_grouped() -> None:
    assert tables.table(("Kind", "Tokens"), [("personal", 1_565_353)], None, (17, 8)) == [
        "| Kind              | Tokens   |",
        "|-------------------|----------|",
        "| personal          | 1565353  |",
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=30)))
def test_sentences_break_no_word(words: list[str]) -> None:
    text = "NOTE: " + " ".join(words)
    assert laid_out(text, None) == text
    assert laid_out(text, 40).split() == text.split()


def test_a_hanging_line_has_room_for_words_on_a_narrow_terminal() -> None:
    fact = f"{'personal':<17}  4,030  expire within 7 days"
    assert laid_out(fact, 60, hanging=26) == fact
    assert laid_out(fact, 40, hanging=26) == f"{'personal':<17}  4,030  expire within\n{13 * ' '}7 days"


def test_what_to_type_next_has_a_line_of_its_own_and_is_never_broken() -> None:
    command = "gitlab-tokens undo --target kubernetes:gitlab/gitlab@production --run 12"
    assert laid_out(f"Recorded as run 12. → to take it back: {command}", 40) == (
        f"Recorded as run 12.\n→ to take it back: {command}"
    )


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("OK   journal", 32),
        ("WARN journal", 33),
        ("NOTE: 3 tokens", 33),
        ("FAIL schema", 31),
        ("Refused because of past", 31),
        ("WARNING: gone", "1;35"),
    ],
)
def test_how_it_stands_has_a_colour(text: str, colour: object) -> None:
    assert painted(f"first\n{text}").startswith(f"first\n\x1b[{colour}m{text.split()[0]}\x1b[0m ")


def test_other_words_have_none() -> None:
    for text in ("a NOTE: inside", "OKAY", "| OK |", "WARNINGS: many"):
        assert painted(text) == text


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"TERM": "dumb", "FORCE_COLOR": "1"}, True)],
)
def test_a_person_decides_about_colours(variables: dict[str, str], coloured: bool) -> None:
    words = ["doctor", "--target", "postgresql://gitlab@127.0.0.1:1/nowhere"]
    with Program([GITLAB_TOKENS, *words], env=variables) as program:
        assert program.wait() == 1
        assert (b"\x1b[31mFAIL\x1b[0m" in program.raw) == coloured
        assert all(len(line) <= 80 for line in program.lines)


def test_wide_characters_count_twice_and_combining_ones_not_at_all() -> None:
    assert (width("日本"), width("e\u0301"), cut("日本語", 4)) == (4, 1, "日…")

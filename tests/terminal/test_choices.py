"""The lists without a terminal."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.menus import RECORDINGS, names
from tokens.terminal.choices import Choices

KEYS: dict[str, Callable[[Choices], Choices]] = {
    "up": Choices.up,
    "down": Choices.down,
    "tab": Choices.down,
    "left": Choices.page_up,
    "pgup": Choices.page_up,
    "right": Choices.page_down,
    "pgdn": Choices.page_down,
    "other": Choices.ignored,
}


def make_list(count: int, *keys: str, page_size: int = 6) -> Choices:
    return press(Choices.paged_list("Q", names(count), page_size), *keys)


def press(choices: Choices, *keys: str) -> Choices:
    for key in keys:
        choices = choices.number(int(key)) if key.isdigit() else KEYS[key](choices)
    return choices


def text(choices: Choices) -> str:
    return "\n".join([f"{choices.question} {choices.hint}", *(row.text for row in choices.rows)])


def shown(choices: Choices) -> str:
    """First and last choice shown and the active one, counted from 1, as in `7-11@8`."""
    return f"{choices.window.start + 1}-{choices.window.stop}@{choices.active + 1}"


@pytest.mark.parametrize("recording", RECORDINGS, ids=range(len(RECORDINGS)))
def test_a_list_shows_what_the_original_shows(recording: dict[str, Any]) -> None:
    make = Choices.numbered_menu if recording["numbered"] else Choices.paged_list
    choices = make("Q", names(recording["n"]))
    frames = [text(choices)]
    for key in recording["keys"]:
        choices = press(choices, key)
        frames.append(text(choices))
    frames.append(f"Q {choices.choice}")
    assert frames == [frame.rstrip("\n") for frame in recording["frames"]]
    assert choices.active == recording["result"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "1-6@1"),
        ("up", "1-6@1"),
        ("down down down down", "1-6@5"),
        ("down down down down down", "2-7@6"),
        ("down down down down down down down down down", "6-11@10"),
        ("right", "7-11@7"),
        ("right right", "7-11@7"),
        ("right down", "7-11@8"),
        ("down down right up up", "6-11@7"),
        ("down down down down down right", "7-11@11"),
        ("down down down down down right down", "6-11@11"),
        ("right down left", "1-6@2"),
    ],
)
def test_up_and_down_slide_and_left_and_right_show_pages(keys: str, expected: str) -> None:
    assert shown(make_list(11, *keys.split())) == expected


def test_the_marker_stays_in_sight_above_the_second_page() -> None:
    assert shown(make_list(11, "right", "up")) == "6-11@6"


def test_a_slide_starts_from_where_the_window_slid_last() -> None:
    assert shown(make_list(8, "right", "down", "right", "up")) == "6-8@7"
    assert shown(make_list(8, "down", "down", "down", "right", "up")) == "7-8@7"


def test_up_and_down_do_not_go_round() -> None:
    assert make_list(3, "up").active == 0
    assert make_list(3, "down", "down", "down", "down").active == 2


@pytest.mark.parametrize(("key", "active"), [("1", 0), ("2", 1), ("3", 2), ("0", 0), ("4", 0), ("9", 0)])
def test_digits_move_in_a_menu_only(key: str, active: int) -> None:
    assert press(Choices.numbered_menu("Q", names(3)), key).active == active
    assert make_list(3, key).active == 0


@pytest.mark.parametrize(
    ("choices", "hint"),
    [
        (make_list(6), "(Press ↑/↓ arrow to move and Enter to select)"),
        (make_list(7), "(Press ↑/↓/←/→ arrow to move and Enter to select)"),
        (Choices.numbered_menu("Q", names(3)), "(Press ↑/↓ arrow or 1-3 number to move and Enter to select)"),
        (Choices.numbered_menu("Q", names(12)), "(Press ↑/↓/←/→ arrow or 1-9 number to move and Enter to select)"),
    ],
)
def test_the_hint_names_the_keys_that_move(choices: Choices, hint: str) -> None:
    assert choices.hint == hint


def test_a_list_without_choices_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one choice"):
        Choices.paged_list("Q", [])
    with pytest.raises(ValueError, match="one row"):
        Choices.paged_list("Q", ["a"], page_size=0)


keys = st.lists(st.sampled_from([*KEYS, "0", "1", "5", "9"]), max_size=60)
lists = st.builds(
    lambda count, size, numbered: Choices("Q", tuple(names(count)), numbered, size),
    st.integers(1, 40),
    st.integers(1, 9),
    st.booleans(),
)


@given(lists, keys)
def test_the_active_choice_is_always_in_sight(choices: Choices, pressed: list[str]) -> None:
    for key in pressed:
        choices = press(choices, key)
        assert 0 <= choices.active < len(choices.names)
        assert choices.active in choices.window
        assert [row.active for row in choices.rows].count(True) == 1
        assert choices.rows[choices.active - choices.window.start].text.startswith("‣ ")
        assert 1 <= len(choices.window) <= choices.page_size
        assert choices.window.start >= 0
        assert choices.window.stop <= len(choices.names)


@given(lists, keys.filter(bool))
def test_every_key_takes_the_hint_away(choices: Choices, pressed: list[str]) -> None:
    assert choices.hint
    assert not press(choices, *pressed).hint


@given(lists, keys)
def test_keys_of_no_use_change_nothing_but_the_hint(choices: Choices, pressed: list[str]) -> None:
    before = press(choices, "other", *pressed)
    assert press(before, "other") == before


@given(st.integers(1, 40), keys)
def test_going_up_reaches_the_first_choice_and_going_down_the_last(count: int, pressed: list[str]) -> None:
    choices = make_list(count, *pressed)
    assert shown(press(choices, *["up"] * count)) == f"1-{min(count, 6)}@1"
    assert shown(press(choices, *["down"] * count)) == f"{max(count - 5, 1)}-{count}@{count}"

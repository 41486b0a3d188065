"""A list of choices as pure state: a key in, a new state out, and the lines to show. Nothing is read or written here.

The list behaves like the one of GitLab's own task. Up and Down move a sliding window, Left and Right show aligned
pages, and the two share one marker:

- A page starts at a multiple of the page size; the last one may be short.
- The sliding window goes on from the page shown last. It moves when the marker reaches its last row going down or its
  first row going up, measured from where the marker was when the window slid last, and by as many rows as the
  marker is away from there. On the first and on the last choice it holds the first and the last full page.
- Whatever the above comes to, the active choice is inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

MARKER = "‣"
PAGE_SIZE = 6


@dataclass(frozen=True)
class ShownChoice:
    """One line of the list as it is shown, marker and number included."""

    text: str
    active: bool


@dataclass(frozen=True)
class Choices:
    """A question with its choices and the one that the marker is on. Indexes count from 0.

    Every method that stands for a key returns the state after it and takes the hint away. Raises ValueError for a list
    without choices or an empty page.
    """

    question: str
    names: tuple[str, ...]
    numbered: bool = False
    page_size: int = PAGE_SIZE
    active: int = 0
    hint_shown: bool = True
    by_page: bool = False
    slid_to: int = 0
    """First row of the sliding window."""
    slid_at: int = 0
    """The active choice when the window slid, or could have slid, last."""

    def __post_init__(self) -> None:
        if not self.names or self.page_size < 1:
            raise ValueError("a list needs at least one choice and one row")

    @classmethod
    def numbered_menu(cls, question: str, names: Sequence[str]) -> Self:
        """A menu whose choices carry numbers and follow the digit keys."""
        return cls(question, tuple(names), numbered=True)

    @classmethod
    def paged_list(cls, question: str, names: Sequence[str], page_size: int = PAGE_SIZE) -> Self:
        """A list without numbers, `page_size` rows at a time."""
        return cls(question, tuple(names), page_size=page_size)

    def up(self) -> Self:
        """One choice up; the first one stays."""
        return self._slide(max(self.active - 1, 0))

    def down(self) -> Self:
        """One choice down; the last one stays."""
        return self._slide(min(self.active + 1, len(self.names) - 1))

    def page_up(self) -> Self:
        """A page back on the same row; on the first page the marker stays."""
        target = self.active - self.page_size
        return self._page(target if target >= 0 else self.active)

    def page_down(self) -> Self:
        """A page on, on the same row, or the last choice where the last page is too short for that.

        On the last page the marker stays, except on a full page's last row.
        """
        target = self.active + self.page_size
        if target < len(self.names):
            return self._page(target)
        row = (self.active + 1) % self.page_size
        rows_on_last_page = len(self.names) % self.page_size
        if row == 0 or 0 < rows_on_last_page < row:
            return self._page(len(self.names) - 1)
        return self._page(self.active)

    def number(self, number: int) -> Self:
        """To the choice with this number, counted from 1, in a numbered menu; anything else does nothing."""
        if not self.numbered or not 1 <= number <= len(self.names):
            return self.ignored()
        return self._page(number - 1) if self.by_page else self._slide(number - 1)

    def ignored(self) -> Self:
        """Any other key."""
        return replace(self, hint_shown=False)

    @property
    def choice(self) -> str:
        """The name of the active choice."""
        return self.names[self.active]

    @property
    def hint(self) -> str:
        """How to move and select, or an empty string after the first key."""
        if not self.hint_shown:
            return ""
        arrows = "↑/↓/←/→" if len(self.names) > self.page_size else "↑/↓"
        numbers = f" or 1-{min(len(self.names), 9)} number" if self.numbered else ""
        return f"(Press {arrows} arrow{numbers} to move and Enter to select)"

    @property
    def window(self) -> range:
        """The indexes of the choices shown; the active one is always among them."""
        first = self._page_start if self.by_page else self.slid_to
        return range(first, min(first + self.page_size, len(self.names)))

    @property
    def rows(self) -> tuple[ShownChoice, ...]:
        """The lines below the question."""
        return tuple(
            ShownChoice(f"{MARKER if index == self.active else ' '} {self._label(index)}", index == self.active)
            for index in self.window
        )

    def _label(self, index: int) -> str:
        return f"{index + 1}. {self.names[index]}" if self.numbered else self.names[index]

    @property
    def _page_start(self) -> int:
        return self.active - self.active % self.page_size

    def _page(self, active: int) -> Self:
        return replace(self, active=active, hint_shown=False, by_page=True)

    def _slide(self, active: int) -> Self:
        full = max(len(self.names) - self.page_size, 0)
        first = self.window.start
        step = active - self.slid_at
        if active == 0:
            first = 0
        elif active == len(self.names) - 1:
            first = full
        elif step > 0 and active >= first + self.page_size - 1:
            first = min(first + step, full)
        elif step < 0 and active <= first:
            first = max(first + step, 0)
        # The original loses the marker here, for example one row above the second page.
        first = min(max(first, active - self.page_size + 1), active)
        return replace(self, active=active, hint_shown=False, by_page=False, slid_to=first, slid_at=active)

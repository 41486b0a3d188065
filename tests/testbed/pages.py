"""The pages that people read: their sentences, and the screens that they show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

README = CHECKOUT / "README.md"
MANUAL = CHECKOUT / "deploy/manual.md"

PAGES = sorted(
    [
        README,
        CHECKOUT / "tokens/README.md",
        CHECKOUT / "tests/README.md",
        *(CHECKOUT / "deploy").rglob("*.md"),
        *(CHECKOUT / ".gitlab").glob("*.md"),
    ]
)

ITEM = re.compile(r"\s*([-*]|\d+\.|\[ \])\s+")


def sentences(page: Path) -> list[str]:
    """What its paragraphs and lists say; what is set as code counts as one word."""
    return [sentence for text in _paragraphs(page) for sentence in _split(text)]


def cells(page: Path) -> list[str]:
    """The sentences in its tables."""
    rows = (line for line in _without_blocks(page) if line.startswith("|") and not line.startswith("|--"))
    return [sentence for row in rows for cell in row.strip("|").split(" | ") for sentence in _split(_plain(cell))]


def _without_blocks(page: Path) -> list[str]:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S).splitlines()


def _paragraphs(page: Path) -> Iterator[str]:
    paragraph = ""
    for line in [*_without_blocks(page), ""]:
        begins = ITEM.match(line)
        if not line or line.startswith(("#", "|")) or begins:
            if paragraph:
                yield _plain(paragraph)
            paragraph = ""
        if line and not line.startswith(("#", "|")):
            paragraph += f" {line[begins.end() :] if begins else line}"


def _plain(text: str) -> str:
    text = re.sub(r"`[^`]+`", "code", text)
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("**", "")


def _split(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"(?<=[.?!])\)?\s+", text.strip()) if sentence]


@dataclass(frozen=True)
class Screen:
    """A command as a page shows it, and what it shows below."""

    command: str
    shown: str

    def matches(self, found: str) -> bool:
        """Whether it is what a command has printed.

        `…` stands for the rest of a line, alone for any lines, and at the end for all that follows.
        """
        pattern = ""
        for line in self.shown.splitlines():
            if line == "…":
                pattern += r"(?:.*\n)*?"
            else:
                pattern += re.escape(line.removesuffix("…")) + (r".*\n" if line.endswith("…") else r"\n")
        return re.fullmatch(pattern + (r"(?:.*\n)*" if self.shown.endswith("…\n") else ""), found) is not None


def screens(page: Path) -> list[Screen]:
    """All of a page's, in their order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            while command.endswith("\\"):
                line, _, shown = shown.partition("\n")
                command = command[:-1] + line.lstrip()
            found.append(Screen(command, shown))
    return found


def screen(page: Path, begins: str) -> Screen:
    """The one whose command begins so."""
    (found,) = (one for one in screens(page) if one.command.startswith(begins))
    return found

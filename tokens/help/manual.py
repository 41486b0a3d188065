"""The man page, deploy/man/gitlab-tokens.1, from what help says: `python -m tokens.help.manual` writes it again."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokens.cli.configuration import KEYS
from tokens.cli.declaration import Task, groups_in, tasks_in
from tokens.cli.option import Option
from tokens.help import reference
from tokens.help.catalogue import Catalogue, summary
from tokens.help.page import ABOUT, COMPLETION, EXAMPLES, SWITCHED_ON, blocks_of, options_by_group
from tokens.namespace import ns
from tokens.version import __version__

PLACE = Path(__file__).parents[2] / "deploy/man/gitlab-tokens.1"
PROGRAM = "gitlab-tokens"
DATE = "2026-11-28"
"""The day on which what it says was last gone through: at each release."""
WIDTH = 76  # characters of a line in the file

DESCRIPTION = """
It works straight on the PostgreSQL of a GitLab, where GitLab runs: on a Linux-package host, in the Docker container, in
the toolbox pod of the Helm chart, beside a self-compiled GitLab. From a workstation, --target docker:CONTAINER or
kubernetes:NAMESPACE goes there by itself.

A change shows its plan first, then it asks. The journal in GitLab's own database remembers every change, so that it can
be taken back by undo.

After history, undo, apply and withdraw, a number alone means --run.
"""
OUTPUT = """
Data is on standard output; questions, progress and faults are on standard error. JSON is one document in ASCII. CSV is
UTF-8 in every locale, and safe to open in a spreadsheet. The same thing has the same name in every document:
"""


def manual() -> str:
    """The man page, in the macros of man(7)."""
    catalogue = Catalogue(PROGRAM, tasks_in(ns), groups_in(ns))
    lines = [
        '.\\" Made by python -m tokens.help.manual from the help of each task: change it there.',
        f'.TH GITLAB-TOKENS 1 {DATE} "{PROGRAM} {__version__}" "User Commands"',
        *_section("NAME", f"{PROGRAM} \\- administer the access tokens of a self-managed GitLab"),
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        ".I TASK",
        ".RI [ OPTIONS ]",
        ".SH DESCRIPTION",
        _text(ABOUT),
        ".PP",
        *_paragraphs(DESCRIPTION),
        ".SH TASKS",
    ]
    said: dict[Option, str] = {}
    for _, tasks in catalogue.families():
        for name, task in tasks.items():
            lines += _task(name, task, said)
    lines += [".SH EXIT STATUS", *_terms({str(int(status)): text for status, text in reference.EXIT_STATUSES.items()})]
    lines += [".SH ENVIRONMENT", *_terms(reference.VARIABLES)]
    lines += [
        ".SH CONFIGURATION",
        _text("Keys under tokens: in Invoke's configuration, in YAML or JSON. An unknown key is noted."),
        *_terms({f"tokens.{key.name}": key.help for key in KEYS}),
    ]
    lines += [".SH FILES", *_terms(reference.FILES)]
    lines += [".SH OUTPUT", *_paragraphs(OUTPUT), *_terms(reference.WORDS_OF_JSON)]
    lines += [".SH COMPLETION", *_paragraphs(COMPLETION), *_terms(SWITCHED_ON)]
    lines += [
        ".SH EXAMPLES",
        "Three to begin with; each task has its own above.",
        *_code([f"{PROGRAM} {example}" for example in EXAMPLES]),
    ]
    lines += [
        ".SH SEE ALSO",
        ".BR inv (1),",
        ".BR psql (1)",
        ".PP",
        _text("https://docs.gitlab.com/administration/raketasks/tokens/"),
    ]
    return "\n".join(lines) + "\n"


def _task(name: str, task: Task, said: dict[Option, str]) -> Iterator[str]:
    """A task's manual and options; of those that another task has had in the same words, the names. `said` knows."""
    yield f".SS {name}"
    for number, block in enumerate(blocks_of(task)):
        if block.startswith(" "):
            yield from _code(block.removeprefix("    ").replace("\n    ", "\n").splitlines())
        else:
            if number:
                yield ".PP"
            yield _text(summary(task) if not number else " ".join(block.split()))
    again: dict[str, list[str]] = {}
    for group, options in options_by_group(task):
        fresh = [option for option in options if option not in said]
        for option in options:
            if option in said:
                again.setdefault(said[option], []).append(option.typed)
        if fresh:
            yield ".PP"
            yield f"{group.value}:"
            yield from _terms({_typed(option): option.help for option in fresh})
            said |= dict.fromkeys(fresh, name)
    for other, names in again.items():
        yield ".PP"
        yield _text(f"As for {other}: {', '.join(names)}.")


def _typed(option: Option) -> str:
    return f"-{option.short}, {option.typed}" if option.short else option.typed


def _section(heading: str, text: str) -> list[str]:
    return [f".SH {heading}", text]


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _terms(rows: Mapping[str, str]) -> Iterator[str]:
    for term, text in rows.items():
        yield ".TP"
        yield f".B {_line(term)}"
        yield _text(text)


def _code(lines: list[str]) -> list[str]:
    return [".PP", ".nf", ".RS 4", *map(_line, lines), ".RE", ".fi"]


def _text(text: str) -> str:
    """Text to be filled: each sentence on a line of its own, or on several."""
    sentences = re.split(r"(?<=[.:?]) (?=[A-Z-])", text)
    return "\n".join(
        _line(line)
        for sentence in sentences
        for line in textwrap.wrap(sentence, WIDTH, break_on_hyphens=False, break_long_words=False)
    )


def _line(text: str) -> str:
    """As roff reads it: a hyphen is a minus sign that can be pasted, and no line begins as a request."""
    escaped = text.replace("…", "...").replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped)


if __name__ == "__main__":
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(manual(), encoding="ascii")

"""What Tab offers in bash, zsh and fish: tasks, options and values, the same in each.

The scripts beside this module ask `gitlab-tokens --complete -- PROGRAM WORD...`, the last word being the one that is
typed, which may be empty. Each line of the answer is a whole word in its place. The exit status is 0, or 1 where a file
is meant, which the shell knows better.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tokens.cli.option import Option
from tokens.help.catalogue import Catalogue
from tokens.help.words import is_about_a_run, option_of, position

SHELLS = ("bash", "zsh", "fish")
BEFORE_A_TASK = ("--debug", "--help", "--list", "--version")
PAGES = ("options", "completion")

LookUp = Callable[[str, Sequence[str], str], Iterable[str]]
"""The values that only this machine or a database knows: of what, for the words so far, and the beginning of each."""


class FileWanted(Exception):
    """A file is to be named, or a folder."""


def script(shell: str) -> str:
    """What a shell has to read for it, once in each session."""
    return (Path(__file__).parent / f"completion.{shell}").read_text(encoding="utf-8")


def candidates(catalogue: Catalogue, words: Sequence[str], look_up: LookUp) -> list[str]:
    """What may stand in the place of the last word.

    Raises:
        FileWanted: the shell may offer files.
    """
    *before, current = words
    task, waiting = position(before, catalogue.tasks)
    offered = _offered(catalogue, before, task, waiting, current, look_up)
    return list(dict.fromkeys(one for one in offered if one.startswith(current)))


def _offered(
    catalogue: Catalogue, before: Sequence[str], task: str, waiting: Option | None, current: str, look_up: LookUp
) -> Iterator[str]:
    if waiting is not None:
        yield from _values(waiting, current, before, look_up)
    elif not task:
        names = [*catalogue.tasks, *catalogue.groups]
        helps = before[-1:] == ["help"]
        yield from BEFORE_A_TASK if current.startswith("-") else [*names, *(PAGES if helps else ("help", "version"))]
    elif current.startswith("--") and "=" in current:
        option = option_of(catalogue.tasks[task].options, current)
        flag, _, value = current.partition("=")
        if option is not None and option.takes_value:
            yield from (f"{flag}={one}" for one in _values(option, value, before, look_up))
    else:
        options = catalogue.tasks[task].options
        given = {option.name for word in before if (option := option_of(options, word))}
        if not current.startswith("-") and is_about_a_run(task) and "run" not in given:
            yield from look_up("runs", before, current)
        yield from (option.flag for option in options if option.several or option.name not in given)
        yield "--help"


def _values(option: Option, current: str, before: Sequence[str], look_up: LookUp) -> Iterator[str]:
    """The values of an option; of a list those after the last comma that are not there yet."""
    needs = option.needs
    if needs.lookup == "files":
        raise FileWanted
    listed, comma, begun = current.rpartition(",") if option.several else ("", "", current)
    known = look_up(needs.lookup, before, begun) if needs.lookup else needs.choices
    yield from (f"{listed}{comma}{one}" for one in known if one not in listed.split(","))

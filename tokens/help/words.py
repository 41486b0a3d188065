"""What `gitlab-tokens` understands beside Invoke's command line: words of its own, put into Invoke's.

The tasks have no positional arguments, since Invoke would take a following `--dry` for one and run the task. A number
after a task that is about a run becomes `--run NUMBER` here, before Invoke sees it.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from tokens.cli.declaration import Task
from tokens.cli.option import Option


def with_numbers_as_runs(words: Sequence[str], tasks: Mapping[str, Task]) -> Iterator[str]:
    """The words after the program's, with `--run` before a number that follows a task which is about a run."""
    for number, word in enumerate(words):
        if word.isascii() and word.isdigit():
            task, waiting = position(words[:number], tasks)
            if waiting is None and is_about_a_run(task):
                yield "--run"
        yield word


def position(words: Sequence[str], tasks: Mapping[str, Task]) -> tuple[str, Option | None]:
    """Where the next word stands: the task that it follows, empty for none, and the option that waits for a value."""
    task, waiting = "", None
    for word in words:
        if waiting is not None:
            waiting = None
        elif word in tasks:
            task = word
        elif task and word.startswith("-"):
            found = option_of(tasks[task].options, word)
            if found is not None and found.takes_value and word in (found.flag, f"-{found.short}"):
                waiting = found
    return task, waiting


def is_about_a_run(task: str) -> bool:
    """Whether a number after this task is the number of a run."""
    return task.removeprefix("tokens.") in ("history", "undo", "apply", "withdraw")


def option_of(options: Sequence[Option], word: str) -> Option | None:
    """The option that a word is, with its value or without."""
    typed = word.partition("=")[0]
    for option in options:
        if typed == option.flag or (option.short and re.match(f"-{option.short}", word)):
            return option
    return None


def in_invokes_words(words: Sequence[str], tasks: Mapping[str, Task], groups: Collection[str]) -> list[str]:
    """The words after the program's as Invoke takes them, where they are some of ours."""
    match list(words):
        case ["--debug" | "-d" as debug, *others] if others:
            return [debug, *in_invokes_words(others, tasks, groups)]
        case [] | ["help"]:
            return ["--help"]
        case ["version" | "-v"]:
            return ["--version"]
        case ["help", *names]:
            return ["--help", ".".join(names)]
        case [name, "help"] if name in tasks:
            return ["--help", name]
        case [group] | [group, "help" | "-h" | "--help"] if group in groups:
            return ["--help", group]
    return list(with_numbers_as_runs(words, tasks))

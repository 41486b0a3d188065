"""The pages of help: of the program, of a group of tasks, and of one task, as plain text for a terminal."""

import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from tokens.cli.declaration import Task
from tokens.cli.option import Group, Option
from tokens.help.catalogue import Catalogue, summary

WIDEST = 80  # columns: longer lines are hard to read
INDENT = 2
OPTIONS = 28  # columns before what an option says about itself

EXAMPLES = (
    "analyze --target demo",
    "extend --expires 2026-12-04 --by 90d --dry-run",
    "undo 12",
)
COMPLETION = """
Tab completes tasks, options and values: kinds, states, targets, forms of output, words of guards. Runs, users, groups
and projects come from the database, if it can be reached without a container. One line switches it on:
"""
SWITCHED_ON = {
    "bash, in ~/.bashrc": 'eval "$(gitlab-tokens --print-completion-script bash)"',
    "zsh, in ~/.zshrc after compinit": 'eval "$(gitlab-tokens --print-completion-script zsh)"',
    "fish, in ~/.config/fish/config.fish": "gitlab-tokens --print-completion-script fish | source",
}
"""Where completion is switched on, and by which line."""
ABOUT = "Access tokens of a self-managed GitLab: when they expire, and how to change that."


def front_page(catalogue: Catalogue, columns: int) -> str:
    """What the program is for, its tasks in families, and where to read on."""
    program, prefix = catalogue.program, _prefix(catalogue)
    parts = [_filled(ABOUT, columns), f"Usage: {program} TASK [OPTIONS]"]
    for family, tasks in catalogue.families():
        if tasks:
            parts.append(f"{family.value}:\n{_listed(tasks, columns, _widest(catalogue.tasks))}")
    parts.append("Examples:\n" + "\n".join(f"  {program} {prefix}{example}" for example in EXAMPLES))
    parts.append(
        _filled("--target (-t) says where GitLab is. By default it is the one that is installed right here.", columns)
    )
    further = {
        f"{program} help TASK": "a task, with all its options",
        f"{program} help options": "the program's own options, such as --debug",
        f"{program} help completion": "completion for bash, zsh and fish",
    }
    parts.append("More:\n" + _columns(further, columns, max(map(len, further)) + INDENT))
    return "\n\n".join(parts)


def group_page(catalogue: Catalogue, group: str, columns: int) -> str:
    """The tasks of a group."""
    tasks = catalogue.of_group(group)
    more = f"More: {catalogue.program} help {next(iter(tasks))}"
    return "\n\n".join(
        [_filled(catalogue.groups[group], columns), _listed(tasks, columns, _widest(tasks)), more],
    )


def task_page(catalogue: Catalogue, name: str, columns: int) -> str:
    """A task's manual, whole, and its options under their headings."""
    task = catalogue.tasks[name]
    parts = [f"Usage: {catalogue.program} {name} [OPTIONS]", *manual_of(task, columns)]
    for group, options in options_by_group(task):
        parts.append(f"{group.value}:\n{_options(options, columns)}")
    return "\n\n".join(parts)


def completion_page(columns: int) -> str:
    """How completion is switched on."""
    parts = [_filled(COMPLETION, columns)]
    parts += [f"{place}:\n\n    {line}" for place, line in SWITCHED_ON.items()]
    return "\n\n".join(parts)


def core_page(program: str, options: Mapping[str, str], columns: int) -> str:
    """The options of Invoke's own, which come before a task."""
    before = f"Options of {program} itself, which is made with Invoke. They come before the task."
    return f"{_filled(before, columns)}\n\n{_columns(options, columns, OPTIONS + 4)}"


def options_by_group(task: Task) -> Iterator[tuple[Group, Sequence[Option]]]:
    """A task's options under their headings; one without any has none."""
    for group in Group:
        if options := [option for option in task.options if option.group is group]:
            yield group, options


def blocks_of(task: Task) -> list[str]:
    """A task's manual in paragraphs; one that is indented is to be shown as it is."""
    return [block for block in inspect.cleandoc(task.__doc__ or "").split("\n\n") if block.strip()]


def manual_of(task: Task, columns: int) -> Iterator[str]:
    """A task's manual in paragraphs for a terminal."""
    for block in blocks_of(task):
        yield block if block.startswith(" ") else _filled(block, columns)


def _options(options: Sequence[Option], columns: int) -> str:
    shown = {f"{f'-{option.short},' if option.short else '   '} {option.typed}": option.help for option in options}
    return _columns(shown, columns, OPTIONS)


def _listed(tasks: Mapping[str, Task], columns: int, width: int) -> str:
    return _columns({name: summary(task) for name, task in tasks.items()}, columns, width)


def _columns(rows: Mapping[str, str], columns: int, width: int) -> str:
    """Two columns; what is wider than the first one has a line of its own."""
    lines = []
    for name, text in rows.items():
        beside = len(name) + INDENT <= width
        start = f"{' ' * INDENT}{name:<{width}}" if beside else " " * (INDENT + width)
        if not beside:
            lines.append(f"{' ' * INDENT}{name}")
        lines.append(
            textwrap.fill(
                text,
                max(min(columns, WIDEST), INDENT + width + 20),
                initial_indent=start,
                subsequent_indent=" " * (INDENT + width),
                break_on_hyphens=False,
                break_long_words=False,
            )
        )
    return "\n".join(lines)


def _widest(tasks: Mapping[str, Task]) -> int:
    return max(map(len, tasks)) + INDENT


def _filled(text: str, columns: int) -> str:
    return textwrap.fill(
        " ".join(text.split()), max(min(columns, WIDEST), 20), break_on_hyphens=False, break_long_words=False
    )


def _prefix(catalogue: Catalogue) -> str:
    return "" if "analyze" in catalogue.tasks else "tokens."

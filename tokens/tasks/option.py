"""An option of the command line: what it is called, what it says about itself, and who reads it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

SEVERAL = "Several: separated by commas, or the option again."


@dataclass(frozen=True)
class Option:
    """One option, as Invoke takes it: a flag where the default is False, else text.

    Attributes:
        name: its parameter, with underscores; on the command line with dashes.
        help: a sentence or two.
        default: what counts where it is not given; None for nothing.
        several: it may be given again and again; its value is a list.
        forms: the words that it takes, where they are few.
        only_here: it means something of this machine, so a task that runs elsewhere refuses it.
        is_file: it names a file right here, or `-`; a task that runs elsewhere finds it there under another name.
    """

    name: str
    help: str
    default: str | bool | None = None
    several: bool = False
    forms: tuple[str, ...] = ()
    is_file: bool = False
    only_here: bool = False

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--{self.name.replace('_', '-')}"

    def saying(self, text: str) -> "Option":
        """The same with another help."""
        return replace(self, help=text)


@dataclass(frozen=True)
class Argument:
    """What a command is given under `name`, and the options that it is made of.

    `made_by` gets the options' values by their names. It is a function of the commands' room as `module:name`, imported
    when the task is called, since the database's driver comes along; or one of this room, which gets Invoke's context
    and the Environment before them.
    """

    name: str
    made_by: str | Callable[..., Any]
    options: tuple[Option, ...] = ()


def options_of(arguments: tuple[Option | Argument, ...]) -> list[Option]:
    """All options, in their order."""
    return [option for one in arguments for option in (one.options if isinstance(one, Argument) else (one,))]

"""An option of the command line: what it is called, what it says about itself, and who reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

SEVERAL = "Several: separated by commas, or the option again."


class Group(Enum):
    """Under which heading help shows an option, in this order."""

    TOKENS = "Which tokens"
    CHANGE = "What happens"
    CARE = "How carefully"
    PLACE = "Where"


@dataclass(frozen=True)
class Value:
    """What has to follow an option.

    Attributes:
        name: as help shows it, in capitals.
        words: for a sentence, with its article: "--to needs a day".
        example: one that could be typed.
        choices: all that there are, where they are few.
        lookup: what completion looks up instead: `files`, `targets`, `runs`, `users`, `service accounts`, `groups`,
            `projects`, `columns`, `sortable columns` or `scopes`.
    """

    name: str
    words: str
    example: str
    choices: tuple[str, ...] = ()
    lookup: str = ""

    def such_as(self, example: str) -> "Value":
        """The same with another example."""
        return replace(self, example=example)


ANYTHING = Value("TEXT", "a value", "some text")


@dataclass(frozen=True)
class Option:
    """One option, as Invoke takes it: a flag where the default is False, else text.

    Attributes:
        name: its parameter, with underscores; on the command line with dashes.
        text: a sentence or two; `help` adds the default, that several may be given, and an example.
        default: what counts where it is not given; None for nothing.
        several: it may be given again and again; its value is a list.
        forms: the words that it takes, where they are few.
        only_here: it means something of this machine, so a task that runs elsewhere refuses it.
        is_file: it names a file right here, or `-`; a task that runs elsewhere finds it there under another name.
        is_log: it names logs right here; a task that runs elsewhere gets what they come to.
        takes_form: the form of --output that is written into the file right here that it names, wherever the task runs.
        configured: where it is not given, the key of its name below `tokens` in the configuration counts.
        repeated: where a run stops, the command to go on with it has this option again.
        value: what has to follow it, where `forms` do not say so; of no use for a flag.
        group: where help shows it.
        short: a letter that is short for it, the same in every task.
    """

    name: str
    text: str
    default: str | bool | None = None
    several: bool = False
    forms: tuple[str, ...] = ()
    is_file: bool = False
    is_log: bool = False
    only_here: bool = False
    takes_form: str = ""
    configured: bool = False
    repeated: bool = False
    value: Value = ANYTHING
    group: Group = Group.CHANGE
    short: str = ""

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def takes_value(self) -> bool:
        """Whether a value has to follow it."""
        return not isinstance(self.default, bool)

    @property
    def typed(self) -> str:
        """As help shows it, with its value."""
        return f"{self.flag}={self.needs.name}" if self.takes_value else self.flag

    @property
    def needs(self) -> Value:
        """What has to follow it."""
        if not self.forms:
            return self.value
        name = "WORD" if self.value is ANYTHING else self.value.name
        return Value(name, listed(self.forms), self.forms[-1], self.forms)

    @property
    def help(self) -> str:
        """Its text, and behind it what that does not say: its default, that several may be given, and an example."""
        text, example = self.text, self.needs.example
        if isinstance(self.default, str) and "Default:" not in text:
            text = f"{text} Default: {self.default}."
        if self.several and "Several:" not in text and "several times" not in text:
            text = f"{text} {SEVERAL}"
        return f"{text} Example: {example}." if self.takes_value and example not in text else text

    def saying(self, text: str, **others: Any) -> "Option":
        """The same with another text, and with whatever else differs."""
        return replace(self, text=text, **others)

    def read_by(self, reader: str | Callable[..., Any], name: str = "") -> "Argument":
        """What `reader` makes of it alone, for a command that takes that as `name`, else under the option's own."""
        return Argument(name or self.name, reader, (self,))


# An option under another heading than "What happens".
which = partial(Option, group=Group.TOKENS)
care = partial(Option, group=Group.CARE)
where = partial(Option, group=Group.PLACE)


@dataclass(frozen=True)
class Argument:
    """What a command is given under `name`, and the options that it is made of.

    `made_by` gets the options' values by their names. It is a function as `module:name` below `tokens.commands`,
    imported when the task is called, since the database's driver comes along; or one of this room, which gets the
    TargetOption in place of `--target`, and the Environment, before them.
    """

    name: str
    made_by: str | Callable[..., Any]
    options: tuple[Option, ...] = ()


def argument(name: str, made_by: str | Callable[..., Any], *options: Option) -> Argument:
    """What a command is given under `name`: see Argument."""
    return Argument(name, made_by, options)


def listed(words: Sequence[str]) -> str:
    """The words as a sentence has them: `text, json or csv`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def options_of(arguments: tuple[Option | Argument, ...]) -> list[Option]:
    """All options, in their order."""
    return [option for one in arguments for option in (one.options if isinstance(one, Argument) else (one,))]

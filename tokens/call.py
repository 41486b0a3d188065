"""How this program was called, and so what to type next: the only place that makes such a command line."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from typing import Self

VARIABLE = "GITLAB_TOKENS_CALL"
"""Where a call that goes on in a container or pod finds how it began."""

ARROW = " → "
"""Stands before what to type next. Nothing but another arrow follows that."""


@dataclass(frozen=True)
class Call:
    """One call of this program.

    Attributes:
        program: what stands before a task's name, such as `gitlab-tokens ` or `inv tokens.`.
        target: what `--target` was given; None where it was not, and where it is not to be repeated.
        withheld: whether it was given and is not to be repeated, since it may hold a password.
        place: the same, wherever it comes from: the option, the environment or the configuration.
        files: what options such as `ids` were given, where that is read right here and its content goes along.
        repeated: options as they were typed, with their values, that a command which goes on with a run repeats.
        unrepeated: those among them, such as `--standby`, whose value is not to be repeated, since it holds a password.
    """

    program: str = "gitlab-tokens "
    target: str | None = None
    withheld: bool = False
    place: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()
    unrepeated: tuple[str, ...] = ()

    def line(self, task: str, *words: object) -> str:
        """A command line of this program that can be pasted into a shell.

        >>> Call("inv tokens.", "prod").line("undo", "--run", 12)
        'inv tokens.undo --target prod --run 12'
        """
        target = [] if self.target is None else ["--target", self.target]
        return self.program + shlex.join([task, *target, *map(str, words)])

    def as_text(self) -> str:
        """The call as VARIABLE has it."""
        return json.dumps(asdict(self))

    @classmethod
    def of_environment(cls) -> Self | None:
        """The call that goes on here; None where this one begins here."""
        try:
            found = cls(**json.loads(os.environ[VARIABLE]))
        except (KeyError, ValueError, TypeError):
            return None
        texts = [one for one in (found.target, found.place) if one is not None]
        for several in (found.repeated, found.unrepeated):
            if not isinstance(several, list | tuple):
                return None
            texts += several
        if not isinstance(found.files, dict):
            return None
        fits = all(isinstance(one, str) for one in (found.program, *texts, *found.files.values()))
        return replace(found, repeated=tuple(found.repeated), unrepeated=tuple(found.unrepeated)) if fits else None


_UNKNOWN = Call()
_call = ContextVar("call", default=_UNKNOWN)


def current() -> Call:
    """The call that is under way."""
    return _call.get()


@contextmanager
def under_way(call: Call) -> Iterator[None]:
    """Make command lines as of this call."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


def to_type(purpose: str, task: str, *words: object) -> str:
    """The end of a message: what for, and the command line for it.

    >>> to_type("to take it back", "undo", "--run", 12)
    ' → to take it back: gitlab-tokens undo --run 12'
    """
    call = current()
    joined = " and" if ", with the same " in purpose else ", with"
    target = f"{joined} the --target of before" if call.withheld else ""
    return f"{ARROW}{purpose}{target}: {call.line(task, *words)}"


def one_message(*parts: str) -> str:
    """One message of several: the sentences of all of them, and behind those what to type.

    >>> one_message("It failed. → to see it: gitlab-tokens history", "Nothing was changed.")
    'It failed. Nothing was changed. → to see it: gitlab-tokens history'
    """
    split = [part.split(ARROW) for part in parts]
    steps = dict.fromkeys(step for _, *steps in split for step in steps)
    return " ".join(said for said, *_ in split if said) + "".join(f"{ARROW}{step}" for step in steps)

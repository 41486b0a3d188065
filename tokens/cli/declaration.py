"""What makes an Invoke task of a command: its options are declared here, and every task keeps the same manners."""

import atexit
import difflib
import functools
import gc
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from itertools import dropwhile
from pathlib import Path
from typing import Any

import invoke

from tokens.call import Call, under_way
from tokens.cli import target
from tokens.cli.configuration import unknown_keys
from tokens.cli.leaving import faults_as_exits, leave
from tokens.cli.option import Argument, Option, listed, options_of
from tokens.commands.ending import Ending
from tokens.commands.environment import Environment
from tokens.errors import ExitStatus, UsageError, may_be_token
from tokens.terminal import console
from tokens.terminal.interruption import interruptible, termination_as_error

Body = Callable[..., None]


class Family(Enum):
    """Under which heading the list of tasks shows one, in this order."""

    LOOK = "Look"
    CHANGE = "Change"
    ROTATE = "Rotate"
    RECORD = "Record"
    SET_UP = "Set up"
    DEMO = "Demo"


class Task(invoke.Task[Body]):
    """A task of ours: it knows its options, and its family.

    Its lists want a value each time that they are given: `--user --yes` must not mean everybody.
    """

    options: Sequence[Option] = ()
    family = Family.LOOK
    reads_secret = False

    def get_arguments(self, *args: Any, **options: Any) -> list[invoke.Argument]:
        if self.reads_secret:
            self._refuse_as_argument()
        arguments: list[invoke.Argument] = super().get_arguments(*args, **options)
        short = {option.name: option.short for option in self.options if option.short}
        for argument in arguments:
            if argument.kind is list:
                argument.raw_value = None  # by which the parser knows that a value has to come
            if argument.name in short:
                argument.names = (*argument.names, short[argument.name])
        return arguments

    def _refuse_as_argument(self) -> None:
        """Refuse a secret among the words of the command line, before Invoke's parser repeats it."""
        words = list(dropwhile(lambda word: word.rpartition(".")[2] != self.name, sys.argv[1:]))
        if any(map(may_be_token, words[1:])):
            raise invoke.Exit(no_argument(f"{os.path.basename(sys.argv[0])} {words[0]}"), code=ExitStatus.USAGE)


def no_argument(typed: str) -> str:
    """What to say of a token that was given as an argument; `typed` is the task as it was called."""
    return (
        "A token is never an argument, which everybody on this machine could read (ps): "
        f"{typed} alone asks for it, and a pipe may bring it."
    )


@dataclass(frozen=True)
class Declared:
    """A task as it is declared; see `task`."""

    name: str
    command: str
    arguments: tuple[Option | Argument, ...]
    travels: bool
    without_terminal: str | None

    @property
    def options(self) -> tuple[Option, ...]:
        """Its options, each once."""
        return tuple({option.name: option for option in options_of(self.arguments)}.values())


def task(
    command: str,
    *arguments: Option | Argument,
    name: str | None = None,
    travels: bool = True,
    without_terminal: str | None = None,
    family: Family = Family.LOOK,
    reads_secret: bool = False,
) -> Callable[[Callable[[], None]], Task]:
    """Make an Invoke task of a command; the decorated function gives its name and its manual.

    Args:
        command: a function as `module:name` below `tokens.commands`, imported when the task is called. It gets the
            Environment and every argument under its name, and returns an Ending, or None for one without a word.
        arguments: its options, and what is made of several of them.
        name: the task's full name below `tokens`, such as `journal.install`; default: the function's.
        travels: where `--target` is a container or pod, run the task there instead of here.
        without_terminal: what to use where there is no terminal, for a task that does nothing but ask.
        family: where the list of tasks shows it.
        reads_secret: it reads a secret from standard input, which is refused as an argument without being repeated.

    No positional arguments (Invoke would take a following `--dry` for one and run the task), no short options but those
    that an option has in every task (Invoke's own move when an option is added), every foreseeable fault as one line on
    standard error with its exit status.
    """

    def decorate(manual: Callable[[], None]) -> Task:
        declared = Declared(name or manual.__name__, command, arguments, travels, without_terminal)
        options = declared.options

        @functools.wraps(manual)
        def called(context: invoke.Context, **given: Any) -> None:
            # Invoke gives what was declared; a task of somebody's own may have a word wrong, and would change too much.
            known = {option.name: option for option in options}
            if unknown := given.keys() - known.keys():
                raise TypeError(f"{declared.name} has no argument {', '.join(sorted(unknown))}")
            _run(declared, context, {name: _as_declared(known[name], value) for name, value in given.items()})

        called.__signature__ = _signature(options)  # type: ignore[attr-defined]
        result: Task = invoke.task(
            klass=Task,
            name=declared.name.rpartition(".")[2],
            help={option.name: option.help for option in options},
            iterable=[option.name for option in options if option.several],
            positional=[],
            auto_shortflags=False,
        )(called)
        result.options = options
        result.reads_secret = reads_secret
        result.family = family
        return result

    return decorate


def _run(declared: Declared, context: invoke.Context, given: Mapping[str, Any]) -> None:
    """One call of a task, with what it was given; all that goes wrong ends it by Invoke's Exit."""
    console.write_anything()
    environment = Environment.of_process()
    values = {option.name: _value(option, given.get(option.name)) for option in declared.options}
    option = target.TargetOption(context, values.get("target"))
    with (
        _sparing_the_collector(),
        under_way(_call(declared, option, given)),
        interruptible(),
        faults_as_exits(environment, values.get("output")),
        termination_as_error(),
    ):
        environment.require_output()
        _refuse_empty(given)
        _note_mistakes(option, environment, values)
        values |= _configured(declared, option, values)
        if "target" in values:
            log, names = option.configuration.syslog, option.configuration.syslog_names
            environment = replace(environment, syslog=log, syslog_names=names)
        if context.config.run.dry:
            _take_for_dry_run(declared.name, values)
        ending = _carried_out(declared, option, environment, values)
        environment.flush()
        if ending is not None and ending.status != ExitStatus.DONE:
            leave(environment, ending)


def _call(declared: Declared, option: target.TargetOption, given: Mapping[str, Any]) -> Call:
    """The call that is under way, or the one outside that has come here, with what going on with its run repeats."""
    began = Call.of_environment()
    if began is not None:
        return began
    call = option.call(declared.name)
    for one in declared.options:
        values = given.get(one.name) if one.several else [given.get(one.name)]
        typed = [value for value in values or () if value is not None] if one.repeated else []
        if any(map(target.holds_password, typed)):
            call = replace(call, unrepeated=(*call.unrepeated, one.flag))
        else:
            call = replace(call, repeated=(*call.repeated, *(word for value in typed for word in (one.flag, value))))
    return call


def _carried_out(
    declared: Declared, option: target.TargetOption, environment: Environment, values: Mapping[str, Any]
) -> Ending | None:
    """What the command comes to: right here, or where the target is."""
    _check_forms(declared.options, values)
    into = _file_to_write(declared.options, values)
    is_there = declared.travels and "target" in values and option.remote is not None
    if declared.without_terminal:
        environment.require_person(declared.name, declared.without_terminal)
    if is_there:
        _refuse_what_is_only_here(declared.options, values)
        return _carried_out_there(declared, option, environment, values, into)
    made = {one.name: _made(option, environment, one, values) for one in declared.arguments}
    ending: Ending | None = _found(declared.command)(environment, **made)
    return ending


def _carried_out_there(
    declared: Declared,
    option: target.TargetOption,
    environment: Environment,
    values: Mapping[str, Any],
    into: Path | None,
) -> Ending:
    """The same task, run where the target is, on these very streams; it says everything itself."""
    ending: Ending = _found("travel:travel")(
        environment,
        target.there(option, environment),
        declared.name,
        {one.name: values[one.name] for one in declared.options if _is_given(one, values) and not one.takes_form},
        files=[one.name for one in declared.options if one.is_file],
        logs=[one.name for one in declared.options if one.is_log],
        into=into,
        debug=logging.getLogger().isEnabledFor(logging.DEBUG),
        four_eyes=option.configuration.four_eyes,
    )
    return ending


def group(name: str, manual: str, *tasks: Task) -> invoke.Collection:
    """The tasks that are called by two words, by the first of them."""
    made = invoke.Collection(name, *tasks)
    made.__doc__ = manual
    return made


def tasks_in(namespace: invoke.Collection) -> dict[str, Task]:
    """Every task by its full name."""
    return {name: namespace[name] for name in namespace.task_names}


def groups_in(namespace: invoke.Collection) -> dict[str, str]:
    """The groups of tasks, such as `journal`, and what there is to say of each."""
    names = dict.fromkeys(name.rpartition(".")[0] for name in namespace.task_names if "." in name)
    return {name: namespace.subcollection_from_path(name).__doc__ or "" for name in names}


def _signature(options: Sequence[Option]) -> inspect.Signature:
    """The parameters as Invoke reads them. Text has the default None, so that one given empty is not taken for none."""
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for option in options:
        default = option.default if isinstance(option.default, bool) else None
        parameters.append(inspect.Parameter(option.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default))
    return inspect.Signature(parameters)


def _as_declared(option: Option, given: Any) -> Any:
    """What was given for an option, where it is of its type: "no" would count as yes. One text is a list of it.

    Raises:
        TypeError: it is of another type.
    """
    if given is None:
        return None
    if not option.takes_value:
        if not isinstance(given, bool):
            raise TypeError(f"{option.name} takes True or False, not {type(given).__name__}")
        return given
    values = list(given) if option.several and isinstance(given, list | tuple) else [given]
    for one in values:
        if not isinstance(one, str):
            raise TypeError(f"{option.name} takes a text, not {type(one).__name__}")
    return values if option.several else given


def _value(option: Option, given: Any) -> Any:
    return option.default if given is None else given


def _configured(declared: Declared, option: target.TargetOption, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options that were not given, and that the configuration may say."""
    names = [one.name for one in declared.options if one.configured and values[one.name] is None]
    return {name: getattr(option.configuration, name) or None for name in names}


def _is_given(option: Option, values: Mapping[str, Any]) -> bool:
    """Whether it differs from its default, which the task there has too."""
    return option.name != "target" and values[option.name] not in (option.default, [])


def _made(
    option: target.TargetOption, environment: Environment, one: Option | Argument, values: Mapping[str, Any]
) -> Any:
    """What a command is given for an option, or for several together."""
    if isinstance(one, Option):
        return values[one.name]
    own = {each.name: values[each.name] for each in one.options if each.name != "target"}
    if isinstance(one.made_by, str):
        return _found(one.made_by)(environment, **own)
    return one.made_by(option, environment, **own)


def _found(path: str) -> Callable[..., Any]:
    """The function that `module:name` names. Imported when it is called: to list the tasks needs no database."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"tokens.commands.{module}"), name)
    return found


@contextmanager
def _sparing_the_collector() -> Iterator[None]:
    """Spare the garbage collector the thousands of objects that libraries make once and keep: a quarter of the time.

    It looks at them again and again while they are imported, and several times more when the process ends: then they
    are frozen, and not before, as a process may live on for long and make garbage.
    """
    atexit.unregister(gc.freeze)  # of an earlier task
    atexit.register(gc.freeze)
    before = gc.get_threshold()
    gc.set_threshold(50_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _refuse_empty(given: Mapping[str, Any]) -> None:
    """An option that was given nothing is an unset variable in a script: it must not count as left out."""
    for name, value in given.items():
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, str) and not one.strip():
                raise UsageError(f"--{name.replace('_', '-')} was given nothing; give a value or leave it out.")


def _note_mistakes(option: target.TargetOption, environment: Environment, values: Mapping[str, Any]) -> None:
    """Say what is no fault and yet not as it was meant: keys that nobody reads, a password that all can read."""
    for sentence in unknown_keys(option.context):
        environment.tell(f"NOTE: {sentence}")
    shown = {"target": option.shows_password, "standby": any(map(target.holds_password, values.get("standby") or ()))}
    for name in (name for name, is_shown in shown.items() if is_shown):
        environment.tell(
            f"NOTE: The address of --{name} holds a password, which everybody on this machine can read (ps): keep "
            "it in ~/.pgpass or PGPASSWORD."
        )


def _check_forms(options: Sequence[Option], values: Mapping[str, Any]) -> None:
    for option in options:
        if option.forms and values[option.name] not in (option.default, *option.forms):
            given = str(values[option.name])
            meant = difflib.get_close_matches(given.lower(), option.forms, n=1)
            hint = f'; did you mean "{meant[0]}"?' if meant else "."
            raise UsageError(f'{option.flag} takes {listed(option.forms)}, not "{given}"{hint}')


def _file_to_write(options: Sequence[Option], values: Mapping[str, Any]) -> Path | None:
    """The file right here that takes the output, None for standard output."""
    for option in options:
        if option.takes_form and _is_given(option, values):
            if values["output"] != option.takes_form:
                raise UsageError(f"{option.flag} is where --output {option.takes_form} is written: use both.")
            return Path(values[option.name])
    return None


def _refuse_what_is_only_here(options: Sequence[Option], values: Mapping[str, Any]) -> None:
    for option in options:
        if option.only_here and _is_given(option, values):
            raise UsageError(
                f"{option.flag} is about this machine, and the target is elsewhere: leave it out, take standard output."
            )


def _take_for_dry_run(name: str, values: dict[str, Any]) -> None:
    """Invoke's own `--dry` runs a task's body all the same: it must never change anything by surprise."""
    if "dry_run" not in values:
        raise UsageError(f"{name} has no dry run; leave --dry (and INVOKE_RUN_DRY) out.")
    values["dry_run"] = True

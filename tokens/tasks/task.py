"""What every task of ours has in common: how its options are declared, how it fails and how it is ended."""

import functools
import gc
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import invoke

from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.targets.target import RemoteTarget
from tokens.tasks.configuration import unknown_keys
from tokens.tasks.report import fault_of, print_fault
from tokens.tasks.target_option import holds_password, read_here, remote_target, run_there
from tokens.terminal import console
from tokens.terminal.interruption import interruptible, termination_as_error
from tokens.terminal.printable import printable

Body = Callable[..., None]


def task(
    help: Mapping[str, str],  # noqa: A002 - as Invoke calls it
    *,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    iterable: Sequence[str] = (),
    travels: bool = False,
    carries: Sequence[str] = (),
    without_terminal: str | None = None,
) -> Callable[[Body], invoke.Task[Body]]:
    """Make a function an Invoke task that keeps the house's manners.

    Args:
        help: a sentence for each option.
        options: more parameters, by name with their defaults, which the function takes as `**options`: those that it
            has in common with other tasks.
        name: the task's full name below `tokens`, such as `journal.install`; default: the function's.
        iterable: the parameters that are lists, whose options may be given several times; their default is None.
        travels: where `--target` is a container or pod, run the task there instead of here.
        carries: the parameters that name a file right here, or `-`; a task that travels finds it there under a name of
            its own.
        without_terminal: what to use where there is no terminal, for a task that asks questions.

    No positional arguments (Invoke would take a following `--dry` for one and run the task), no short options (they
    move when an option is added), every foreseeable fault as one line on standard error with its exit status.
    """

    def decorate(body: Body) -> invoke.Task[Body]:
        full_name = name or body.__name__
        signature = _signature(body, options or {})

        @functools.wraps(body)
        def wrapped(context: invoke.Context, **given: Any) -> None:
            console.write_anything()
            options = _complete(signature, given)
            as_json = options.get("output") == "json"
            with _sparing_the_collector(), interruptible(), _faults_as_exits(as_json), termination_as_error():
                _refuse_empty(given)
                _note_mistakes(context, given)
                if context.config.run.dry:
                    _take_for_dry_run(full_name, signature, options)
                if without_terminal:
                    console.require_terminal(full_name, without_terminal)
                destination = remote_target(context, options["target"]) if travels else None
                if destination is None:
                    body(context, **options)
                else:
                    _travel(context, destination, full_name, _given(signature, options), carries)
                if sys.stdout is not None:
                    sys.stdout.flush()

        wrapped.__signature__ = _without_empty_defaults(signature)  # type: ignore[attr-defined]
        result: invoke.Task[Body] = invoke.task(
            klass=_Task,
            name=full_name.rpartition(".")[2],
            help=dict(help),
            iterable=list(iterable),
            positional=[],
            auto_shortflags=False,
        )(wrapped)
        return result

    return decorate


class _Task(invoke.Task[Body]):
    """A task whose lists want a value each time that they are given: `--user --yes` must not mean everybody."""

    def get_arguments(self, *args: Any, **options: Any) -> list[invoke.Argument]:
        arguments: list[invoke.Argument] = super().get_arguments(*args, **options)
        for argument in arguments:
            if argument.kind is list:
                argument.raw_value = None  # by which the parser knows that a value has to come
        return arguments


@contextmanager
def _sparing_the_collector() -> Iterator[None]:
    """Spare the garbage collector the thousands of objects that libraries make once and keep: a quarter of the time.

    It looks at them again and again while they are imported, and several times more when the process ends.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.freeze()


def _signature(body: Body, options: Mapping[str, Any]) -> inspect.Signature:
    """The function's own parameters and those that it takes as `**options`."""
    own = inspect.signature(body)
    parameters = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in options.items()]
    return own.replace(parameters=[*parameters, *more])


def _without_empty_defaults(signature: inspect.Signature) -> inspect.Signature:
    """The same for Invoke with None for an empty default, so that an option given empty is not taken for none."""
    return signature.replace(
        parameters=[one.replace(default=None) if one.default == "" else one for one in signature.parameters.values()]
    )


def _complete(signature: inspect.Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, and for the rest the defaults."""
    defaults = {name: one.default for name, one in signature.parameters.items() if one.default is not one.empty}
    return {**defaults, **{name: defaults.get(name) if value is None else value for name, value in given.items()}}


def _refuse_empty(given: Mapping[str, Any]) -> None:
    """An option that was given nothing is an unset variable in a script: it must not count as left out."""
    for name, value in given.items():
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, str) and not one.strip():
                raise UsageError(f"--{name.replace('_', '-')} was given nothing; give a value or leave it out.")


def _note_mistakes(context: invoke.Context, given: Mapping[str, Any]) -> None:
    """Say what is no fault and yet not as it was meant: keys that nobody reads, a password that all can read."""
    for sentence in unknown_keys(context):
        console.tell(f"NOTE: {sentence}")
    for name in ("target", "standby"):
        value = given.get(name)
        if any(map(holds_password, value if isinstance(value, list) else (value or "",))):
            console.tell(
                f"NOTE: The address of --{name} holds a password, which everybody on this machine can read (ps): keep "
                "it in ~/.pgpass or PGPASSWORD."
            )


def _given(signature: inspect.Signature, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from their defaults, which the task there has too."""
    defaults = signature.parameters
    return {name: value for name, value in options.items() if value not in (defaults[name].default, [])}


def _travel(
    context: invoke.Context, target: RemoteTarget, name: str, given: Mapping[str, Any], carries: Sequence[str]
) -> None:
    """Run the task where GitLab is; its exit status is ours, and it has said everything itself."""
    files = {option: read_here(option, given[option]) for option in carries if option in given}
    words = {option: value for option, value in given.items() if option != "target" and option not in files}
    status = run_there(context, target, name, words, files)
    if status != ExitStatus.DONE:
        raise invoke.Exit(code=status)


def _take_for_dry_run(name: str, signature: inspect.Signature, options: dict[str, Any]) -> None:
    """Invoke's own `--dry` runs a task's body all the same: it must never change anything by surprise."""
    if "dry_run" not in signature.parameters:
        raise UsageError(f"{name} has no dry run; leave --dry (and INVOKE_RUN_DRY) out.")
    options["dry_run"] = True


@contextmanager
def _faults_as_exits(as_json: bool) -> Iterator[None]:
    try:
        yield
    except (TokensError, KeyboardInterrupt, EOFError) as error:
        fault = fault_of(error)
        if as_json and not fault.in_document:
            print_fault(fault)
        _leave(fault.message, fault.status)
    except OSError as error:
        if console.is_gone(sys.stdout):
            _leave("The terminal is gone.", ExitStatus.TERMINATED)
        message = console.output_fault(error, sys.stdout)
        if message is None:
            raise
        _leave(message, ExitStatus.FAILED if message else ExitStatus.DONE)


def _leave(message: str, status: ExitStatus) -> NoReturn:
    if logging.getLogger().isEnabledFor(logging.DEBUG):  # Invoke's --debug
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if console.is_gone(stream):
            console.discard(stream)
    # What a server calls its databases and roles must not reach the terminal as it is.
    raise invoke.Exit(printable(message), code=int(status))

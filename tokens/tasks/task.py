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
from tokens.tasks.target_option import read_here, remote_target, run_there
from tokens.terminal import console
from tokens.terminal.interruption import Termination, termination_as_error
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
        def wrapped(context: invoke.Context, **options: Any) -> None:
            with _sparing_the_collector(), _faults_as_exits(), termination_as_error():
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

        wrapped.__signature__ = signature  # type: ignore[attr-defined]
        result: invoke.Task[Body] = invoke.task(
            name=full_name.rpartition(".")[2],
            help=dict(help),
            iterable=list(iterable),
            positional=[],
            auto_shortflags=False,
        )(wrapped)
        return result

    return decorate


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
def _faults_as_exits() -> Iterator[None]:
    try:
        yield
    except TokensError as error:
        _leave(str(error), error.status)
    except Termination as error:
        _leave(str(error), ExitStatus.TERMINATED)
    except KeyboardInterrupt:
        _leave("Interrupted.", ExitStatus.INTERRUPTED)
    except EOFError:
        _leave("The terminal is gone.", ExitStatus.TERMINATED)
    except OSError as error:
        if console.is_gone(sys.stdout):
            _leave("The terminal is gone.", ExitStatus.TERMINATED)
        fault = console.output_fault(error)
        if fault is None:
            raise
        _leave(fault, ExitStatus.FAILED if fault else ExitStatus.DONE)


def _leave(message: str, status: ExitStatus) -> NoReturn:
    if logging.getLogger().isEnabledFor(logging.DEBUG):  # Invoke's --debug
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if console.is_gone(stream):
            console.discard(stream)
    # What a server calls its databases and roles must not reach the terminal as it is.
    raise invoke.Exit(printable(message), code=int(status))

"""What every task of ours has in common: how its options are declared, how it fails and how it is ended."""

import functools
import gc
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import invoke

from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.targets.target import RemoteTarget
from tokens.tasks.target_option import remote_target, run_there
from tokens.terminal import console
from tokens.terminal.interruption import Termination, termination_as_error
from tokens.terminal.printable import printable

Body = Callable[..., None]


def task(
    help: Mapping[str, str],  # noqa: A002 - as Invoke calls it
    *,
    travels: bool = False,
    without_terminal: str | None = None,
) -> Callable[[Body], invoke.Task[Body]]:
    """Make a function an Invoke task that keeps the house's manners.

    Args:
        help: a sentence for each option.
        travels: where `--target` is a container or pod, run the task there instead of here.
        without_terminal: what to use where there is no terminal, for a task that asks questions.

    No positional arguments (Invoke would take a following `--dry` for one and run the task), no short options (they
    move when an option is added), every foreseeable fault as one line on standard error with its exit status.
    """

    def decorate(body: Body) -> invoke.Task[Body]:
        @functools.wraps(body)
        def wrapped(context: invoke.Context, **options: Any) -> None:
            with _sparing_the_collector(), _faults_as_exits(), termination_as_error():
                if context.config.run.dry:
                    _take_for_dry_run(body, options)
                if without_terminal:
                    console.require_terminal(body.__name__, without_terminal)
                destination = remote_target(context, options["target"]) if travels else None
                if destination is None:
                    body(context, **options)
                else:
                    _travel(context, destination, body, options)
                if sys.stdout is not None:
                    sys.stdout.flush()

        result: invoke.Task[Body] = invoke.task(help=dict(help), positional=[], auto_shortflags=False)(wrapped)
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


def _travel(context: invoke.Context, target: RemoteTarget, body: Body, options: dict[str, Any]) -> None:
    """Run the task where GitLab is; its exit status is ours, and it has said everything itself."""
    defaults = inspect.signature(body).parameters
    given = {name: value for name, value in options.items() if name != "target" and value != defaults[name].default}
    status = run_there(context, target, body.__name__, given)
    if status != ExitStatus.DONE:
        raise invoke.Exit(code=status)


def _take_for_dry_run(body: Body, options: dict[str, Any]) -> None:
    """Invoke's own `--dry` runs a task's body all the same: it must never change anything by surprise."""
    if "dry_run" not in inspect.signature(body).parameters:
        raise UsageError(f"{body.__name__} has no dry run; leave --dry (and INVOKE_RUN_DRY) out.")
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

"""How a task ends: a fault is one line on standard error with its exit status, by Invoke's Exit."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import invoke

from tokens.commands.ending import Ending
from tokens.commands.environment import Environment, for_people
from tokens.commands.faults import ended_by, for_nagios, print_document
from tokens.errors import ExitStatus, TokensError
from tokens.terminal import console
from tokens.terminal.printable import printable

DOCUMENTS = ("json", "ndjson")
"""The values of `--output` for which a fault is a document, too."""


@contextmanager
def faults_as_exits(environment: Environment, output: str | None) -> Iterator[None]:
    """Leave at a fault, in the form of `output`: by one line, as a document, or as a plugin."""
    try:
        yield
    except (TokensError, KeyboardInterrupt, EOFError) as error:
        ending = ended_by(error)
        if output in DOCUMENTS and not ending.in_document:
            print_document(environment, ending, one_line=output == "ndjson")
        if output == "nagios" and isinstance(error, TokensError):
            ending = for_nagios(environment, ending)
        leave(environment, ending)
    except invoke.Exit:
        raise
    except Exception as error:
        _leave_after(environment, error, output)


def _leave_after(environment: Environment, error: Exception, output: str | None) -> None:
    """Leave after an output that is not taken. Any other error is a bug, which only a plugin has to have words for."""
    if isinstance(error, OSError):
        if console.is_gone(environment.stdout):
            leave(environment, Ending(ExitStatus.TERMINATED, "The terminal is gone.", error))
        message = console.output_fault(error, environment.stdout)
        if message is not None:
            ending = Ending(ExitStatus.FAILED if message else ExitStatus.DONE, message, error)
            leave(environment, for_nagios(environment, ending) if output == "nagios" else ending)
    if output != "nagios":
        raise error
    traceback.print_exception(error, file=environment.stderr)
    leave(environment, for_nagios(environment, Ending(message=f"{type(error).__name__}: {error}")))


def leave(environment: Environment, ending: Ending) -> NoReturn:
    """Leave by Invoke with the message and the status of an ending."""
    if ending.cause is not None and logging.getLogger().isEnabledFor(logging.DEBUG):  # Invoke's --debug
        traceback.print_exception(ending.cause, file=environment.stderr)
    for stream in (environment.stdout, environment.stderr):
        if console.is_gone(stream):
            console.discard(stream)
    # What a server calls its databases and roles must not reach the terminal as it is.
    message = for_people(printable(ending.message), environment.stderr)
    raise invoke.Exit(message or None, code=int(ending.status))

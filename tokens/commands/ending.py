"""How a command has ended."""

import signal
from dataclasses import dataclass

from tokens.call import one_message
from tokens.counts import counted
from tokens.errors import ExitStatus


@dataclass(frozen=True)
class Ending:
    """The exit status of a command that has said everything itself, but for `message`.

    Attributes:
        status: one of ExitStatus, or what a process elsewhere has ended with.
        message: one line for standard error: why the status is not DONE, and what to type next.
        cause: the exception behind it, which Invoke's --debug shows.
        in_document: whether it is in a JSON document already, whole or in part, so that no other one may follow.

    A fault that a command does not wait for is an exception of `tokens.errors` with the same two things in it:
    `tokens.commands.faults` makes an Ending of it.
    """

    status: int = ExitStatus.DONE
    message: str = ""
    cause: BaseException | None = None
    in_document: bool = True


DONE = Ending()


def stopped(by: signal.Signals | None, *sentences: str) -> Ending:
    """A command was asked to stop, by this signal or a closed terminal; the sentences say what stays as it is."""
    status = ExitStatus.TERMINATED if by in (signal.SIGTERM, signal.SIGHUP) else ExitStatus.INTERRUPTED
    return Ending(status, one_message("Stopped.", *sentences))


def so_far(done: int, of: int, deed: str) -> str:
    """What stays when something ends a command halfway; `deed` is `changed` or `rotated`."""
    if not done:
        return f"The token was not {deed}." if of == 1 else f"None of {of:,} tokens was {deed}."
    return f"{done:,} of {counted(of, 'token')} {f'was {deed} and stays' if done == 1 else f'were {deed} and stay'} so."

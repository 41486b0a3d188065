"""Standard output as the destination of a new token."""

import os
import select
import stat
import time
from collections.abc import Sequence
from typing import TextIO

from tokens.delivery.descriptor import to_disk, unread, write
from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
from tokens.errors import UsageError
from tokens.secret import Secret

PATIENCE = 30.0  # seconds that a pipe's reader may take to begin: ssh, for one, may ask for a password before it reads
POLL = 0.02  # seconds


class OutputDelivery(Delivery):
    """Standard output: a terminal shows which token it is; anything else gets the token and a line's end.

    What is written to a pipe is delivered when its reader has taken it: with its last reader a pipe forgets the rest.
    """

    def __init__(self, output: TextIO | None) -> None:
        self._output = output

    @property
    def is_terminal(self) -> bool:
        """Whether somebody reads it there and then."""
        return self._output is not None and self._output.isatty()

    def check(self, tokens: Sequence[NewToken]) -> None:
        if self._output is None:
            raise UsageError("--deliver stdout cannot go with a standard output that is closed.")
        if len(tokens) > 1 and not self.is_terminal:
            raise UsageError(
                f"--deliver stdout gives one token where there is no terminal, and {len(tokens)} are to be rotated: "
                "nobody could tell which is whose. Use --token, or deliver them with file: or command:."
            )

    def deliver(self, token: Secret, about: NewToken) -> None:
        if self._output is None:
            raise DeliveryFailed("Standard output is closed.")
        try:
            self._output.flush()
            # Not by way of the stream: what it cannot write it keeps, and tries again at the very end.
            descriptor = self._output.fileno()
            if self.is_terminal:
                os.write(descriptor, f"\nThe new token of {_shown(about)}:\n\n".encode())
            write(descriptor, token, b"\n\n" if self.is_terminal else b"\n")
            to_disk(descriptor)
            why_not = _why_not_taken(descriptor) if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None
        except OSError as error:
            raise DeliveryFailed(f"Standard output does not take the token: {error.strerror}.") from None
        if why_not is not None:
            raise DeliveryFailed(f"Nobody has taken the token from the pipe that standard output is: {why_not}.")

    def place(self, about: NewToken) -> str:  # noqa: ARG002
        return "this terminal, once" if self.is_terminal else "standard output"


def _why_not_taken(pipe: int) -> str | None:
    """None once the reader of a pipe has taken all that is in it; else why that will not come to be."""
    events = select.poll()
    events.register(pipe, 0)  # the only event that is told without being asked for: the last reader is gone
    deadline = time.monotonic() + PATIENCE
    while unread(pipe):
        if events.poll(POLL * 1000):
            return "the program that reads it is gone" if unread(pipe) else None
        if time.monotonic() > deadline:
            return f"the program that reads it has not done so within {PATIENCE:g} seconds"
    return None


def _shown(about: NewToken) -> str:
    text = f'{about.account}, "{about.name}", id {about.id}'
    return "".join(character if character.isprintable() else "\ufffd" for character in text)

"""Where the console scripts begin: a signal while the program is still being imported ends it in one line.

To import this is enough for that. What is imported before the handlers are in place is little, and guarded, too; what
Python does before it comes here is its own.
"""

import os

try:
    import signal
    from types import FrameType, ModuleType
    from typing import NoReturn
except KeyboardInterrupt:
    os.write(2, b"Interrupted.\n")
    os._exit(130)


NOT_STARTED = 126
"""The exit status of a program of which a part is missing, as a shell has it for one that it cannot start."""


def main() -> None:
    """Run the console script."""
    _program().main()


def inv() -> None:
    """Run as the `inv` of a bundle."""
    _program().inv()


def _program() -> ModuleType:
    try:
        from tokens import program
    except ModuleNotFoundError as error:
        os.write(2, f"The program is damaged ({error}): install it again.\n".encode())
        raise SystemExit(NOT_STARTED) from None
    return program


def end_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Nothing has begun yet that would have to be put in order, and an import would swallow or show an exception."""
    said, status = {
        signal.SIGINT: ("Interrupted.", 130),
        signal.SIGTERM: ("Terminated by SIGTERM.", 143),
        signal.SIGHUP: ("Terminated by SIGHUP.", 143),
    }[signal.Signals(number)]
    try:
        os.write(2, f"{said}\n".encode())
    finally:
        os._exit(status)


for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is not signal.SIG_IGN:  # what the caller had ignored stays ignored: nohup means it
        signal.signal(_number, end_at_once)

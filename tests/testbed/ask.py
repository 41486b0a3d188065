"""Asks the questions given as JSON and says after each what came back. For the tests of the prompts.

ask.py '[["select", "Which?", ["one", "two"]], ["discard_typeahead"], ["print", "text"], ["clear"]]' [--no-colour]
"""

import json
import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from tokens.terminal.prompts import Prompts


class Terminated(Exception):
    """As the program does it: a signal becomes an exception."""


def questions(source: str) -> Iterable[list[Any]]:
    if source.startswith("["):
        yield from json.loads(source)
    else:
        with open(source, encoding="utf-8") as pipe:
            yield from map(json.loads, iter(pipe.readline, ""))


def main() -> None:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    prompts = Prompts(colour="--no-colour" not in sys.argv)
    for name, *arguments in questions(sys.argv[1]):
        if name == "print":
            print(*arguments)
        elif name == "read":
            sys.stdin.readline()
        elif name == "clear":
            print("\x1b[2J\x1b[H", end="", flush=True)
        else:
            result = getattr(prompts, name)(*arguments)
            print(f"= {result!r}", flush=True)


try:
    main()
except (KeyboardInterrupt, EOFError, Terminated) as error:
    print(f"! {type(error).__name__}", flush=True)
    sys.exit(3)

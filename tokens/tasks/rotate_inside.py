"""`rotate-inside`: the bench beside this GitLab, at work for a `rotate` outside of the container."""

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import invoke

from tokens.errors import TokensError, UsageError
from tokens.tasks.target_option import TARGET_HELP
from tokens.tasks.task import task
from tokens.terminal import console

if TYPE_CHECKING:
    from tokens.tasks.rotate_bench import BenchHere


@task(help={"target": TARGET_HELP}, name="rotate-inside")
def rotate_inside(context: invoke.Context, target: str = "") -> None:
    """Do a step for a rotate outside; not for people."""
    if sys.stdin is None or console.is_terminal(sys.stdin) or console.is_terminal(sys.stdout):
        raise UsageError("rotate-inside is what rotate runs in a container: say rotate with --target docker:CONTAINER.")
    try:
        answer = {"result": _answer(context, target, sys.stdin.read())}
    except TokensError as fault:
        answer = {"fault": {"kind": type(fault).__name__, "message": str(fault)}}
    print(json.dumps(answer))


def _answer(context: invoke.Context, target: str, text: str) -> Any:
    from typing import get_type_hints

    from tokens.rotation import wire
    from tokens.tasks.rotate_bench import Bench

    try:
        request = wire.read(text)
        name = str(request["step"])
        if name.startswith("_") or not callable(method := getattr(Bench, name, None)):
            raise ValueError(f"no step {name}")
        kinds = {name: kind for name, kind in get_type_hints(method).items() if name != "return"}
        arguments = wire.decode_all(kinds, request["arguments"])
        run, caller = wire.decode(tuple[int, ...] | None, request["run"]), str(request["caller"])
        if run is not None and len(run) != 2:
            raise ValueError("a run has a number and an attempt")
    except (ValueError, KeyError, TypeError) as fault:
        raise UsageError(f"The request of rotate cannot be understood ({fault}): are both of one version?") from None
    return wire.encode(getattr(_bench(context, target, run, caller), name)(**arguments))


def _bench(context: invoke.Context, target: str, run: tuple[int, ...] | None, caller: str) -> "BenchHere":
    from tokens import origin
    from tokens.journal.record import Record
    from tokens.secret import forbid_core_dumps
    from tokens.tasks.rotate_bench import BenchHere
    from tokens.tasks.target_option import locate_site

    forbid_core_dumps()
    # The run is the caller's, and goes on when this process has ended: only its silence tells that it is dead.
    who = replace(origin.here(), process=f"outside {caller}")
    site = locate_site(context, target)
    forbid_core_dumps()  # to become another user has allowed them again
    return BenchHere(site, who, record=Record(*run) if run else None, silent=True)

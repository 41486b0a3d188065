"""The other side of a rotation in a container: one request on the pipe, one step of a LocalBackend, one answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_type_hints

from tokens import origin
from tokens.errors import TokensError, UsageError
from tokens.journal.record import Record
from tokens.rotation import wire
from tokens.rotation.backend import Backend
from tokens.rotation.local import LocalBackend
from tokens.secret import forbid_core_dumps
from tokens.targets.here.site import Site


def answer(text: str, open_site: Callable[[], Site]) -> str:
    """What the request in `text` is answered: the result of the step that it asks for, or the fault that it has met.

    `open_site` finds the GitLab right here and becomes its user; it is called when the request is understood.
    """
    try:
        found = {"result": _result(text, open_site)}
    except TokensError as fault:
        found = {"fault": wire.encode(fault)}
    return json.dumps({"version": wire.VERSION, **found})


def _result(text: str, open_site: Callable[[], Site]) -> Any:
    try:
        request = wire.read(text)
        version = str(request["version"])
        if version != wire.VERSION:
            raise wire.OtherVersion(
                f"The tool that asks is of version {version}, and the one that it found here of {wire.VERSION}."
            )
        name = str(request["step"])
        if name.startswith("_") or not callable(method := getattr(Backend, name, None)):
            raise ValueError(f"no step {name}")
        kinds = {name: kind for name, kind in get_type_hints(method).items() if name != "return"}
        arguments = wire.decode_all(kinds, request["arguments"])
        run, caller = wire.decode(tuple[int, ...] | None, request["run"]), str(request["caller"])
        if run is not None and len(run) != 2:
            raise ValueError("a run has a number and an attempt")
    except (ValueError, KeyError, TypeError) as fault:
        raise UsageError(f"The request of rotate cannot be understood ({fault}): are both of one version?") from None
    return wire.encode(getattr(_backend(open_site, run, caller), name)(**arguments))


def _backend(open_site: Callable[[], Site], run: tuple[int, ...] | None, caller: str) -> LocalBackend:
    forbid_core_dumps()
    # The run is the caller's, and goes on when this process has ended: only its silence tells that it is dead.
    who = replace(origin.here(), process=f"{origin.OUTSIDE}{caller}")
    site = open_site()
    forbid_core_dumps()  # to become another user has allowed them again
    return LocalBackend(site, who, record=Record(run[0], run[1]) if run else None)

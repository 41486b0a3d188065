"""What to type next: what a message about a run ends with. Each begins with a full stop or a blank of its own."""

from collections.abc import Sequence

from tokens.call import current, to_type
from tokens.change.plan import RunKind
from tokens.journal.record import Recorder

AGAIN = "give the same command again"


def to_go_on(recorder: Recorder, kind: RunKind, *, reversible: bool = True, unrecorded: str = AGAIN) -> str:
    """How a run that is not complete is gone on with, or taken back.

    `unrecorded` says what to do where nothing is recorded; `reversible` is whether there may be anything to take back.
    """
    run = recorder.run
    if run is None:
        return f" To go on, {unrecorded}."
    call = current()
    on = to_type(_with_same("to go on", call.unrepeated), "apply", "--run", run, *call.repeated)
    return f"{on}{to_take_back(recorder, kind, reversible=reversible)}"


def recorded(recorder: Recorder, kind: RunKind) -> str:
    """Where a run that is complete is recorded, and how it is taken back."""
    if recorder.run is None:
        return " There is no record of it."
    return f" It is recorded as run {recorder.run}.{to_take_back(recorder, kind)}"


def to_take_back(recorder: Recorder, kind: RunKind, *, reversible: bool = True) -> str:
    """How a run is taken back; empty where it cannot be: unrecorded, an undo, or one that has changed nothing."""
    if recorder.run is None or not reversible:
        return ""
    return kind.to_take_back(recorder.run, four_eyes=recorder.four_eyes)


def to_resume(run: int, purpose: str, options: Sequence[str]) -> str:
    """How a run of rotations is gone on with; `purpose` says what for, `options` which have to be given as before."""
    return to_type(_with_same(purpose, options), "rotate", "--resume", run)


def _with_same(purpose: str, options: Sequence[str]) -> str:
    """What a command is for, and which options have to be given to it as before."""
    if not options:
        return purpose
    *others, last = options
    return f"{purpose}, with the same {', '.join(others)} and {last}" if others else f"{purpose}, with the same {last}"

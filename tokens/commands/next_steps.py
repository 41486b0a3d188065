"""What to type next: the clauses with which a message about a run ends."""

from tokens.change.plan import RunKind


def to_go_on(
    run: int | None, kind: RunKind, *, reversible: bool = True, unrecorded: str = "give the same command again"
) -> str:
    """How a run that is not complete is gone on with, or taken back.

    `run` is None where nothing is recorded, and `unrecorded` says what to do then; `reversible` is whether there may be
    anything to take back.
    """
    if run is None:
        return f"to go on, {unrecorded}."
    return f"to go on: tokens.apply --run {run}{to_take_back(run, kind, reversible=reversible, mark=', ')}."


def recorded(run: int | None, kind: RunKind) -> str:
    """Where a run that is complete is recorded, and how it is taken back."""
    if run is None:
        return "there is no record of it."
    return f"it is recorded as run {run}{to_take_back(run, kind, mark=', ')}."


def to_take_back(run: int, kind: RunKind, *, reversible: bool = True, mark: str = "; ") -> str:
    """How a run is taken back, after `mark`; empty where it cannot be: an undo, or one that has changed nothing."""
    return f"{mark}to take it back: tokens.undo --run {run}" if reversible and kind is not RunKind.UNDO else ""


def to_resume(run: int, again: str) -> str:
    """How a run of rotations is gone on with; `again` says what for."""
    return f"{again}: tokens.rotate --resume {run}, with the same --deliver."

"""What to type next: the clauses with which a message about a run ends."""

from tokens.change.plan import RunKind


def to_go_on(run: int | None, kind: RunKind) -> str:
    """How a run that is not complete is gone on with, or taken back; `run` is None where nothing is recorded."""
    if run is None:
        return "to go on, give the same command again."
    if kind is RunKind.UNDO:
        return f"to go on: tokens.apply --run {run}."
    return f"to go on: tokens.apply --run {run}, to take it back: tokens.undo --run {run}."


def recorded(run: int | None, kind: RunKind) -> str:
    """Where a run that is complete is recorded, and how it is taken back."""
    if run is None:
        return "there is no record of it."
    undo = "" if kind is RunKind.UNDO else f", to take it back: tokens.undo --run {run}"
    return f"it is recorded as run {run}{undo}."

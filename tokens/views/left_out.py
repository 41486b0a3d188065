"""What a selection leaves out by its kinds and states, and the options that would take it in."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokens.change.kinds import KindCount
from tokens.gitlab.kind import Kind, State

UNNAMED = "impersonation"
"""The kind that a change leaves out where no kind is named."""


def left_out(counts: Iterable[KindCount], selection: Mapping[str, Any], *, revokes: bool = False) -> Iterator[str]:
    """One line, or none; `selection` is what was named, as `Selection.as_dict` says it.

    `revokes` is whether the rest is to be revoked: then no option takes in what is revoked already.
    """
    revoked = State.REVOKED if revokes else None
    every = [one for one in counts if one.tokens and one.state is not revoked]
    rest = [one for one in every if not one.selected]
    if not rest:
        return
    kinds = selection.get("kind") or [kind.value for kind in Kind if kind != UNNAMED]
    states = selection.get("state", [])
    of_kind = [kind.value for kind in Kind if any(one.kind is kind for one in every if one.selected or one in rest)]
    in_state = [state.value for state in State if state.value in states or any(one.state is state for one in rest)]
    options = [
        *([f"--kind {','.join(of_kind)}"] if any(one.kind.value not in kinds for one in rest) else []),
        *([f"--state {','.join(in_state)}"] if any(one.state.value not in states for one in rest) else []),
    ]
    listed = ", ".join(f"{one.tokens:,} {one.state} {one.kind}" for one in rest)
    yield f"Left out: {listed} ({' and '.join(options)} {'take' if len(options) > 1 else 'takes'} them in)."

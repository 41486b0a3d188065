"""A plan as text and as JSON."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tokens.terminal import tables
from tokens.terminal.printable import printable

if TYPE_CHECKING:
    from tokens.change.plan import Plan
    from tokens.gitlab.expiration import ExpirationDate

MOST_MOVES = 20  # lines; --output json has all of them
MOST_IDS = 1_000  # of a note, in JSON
KINDS = (17, 8)  # columns
MOVES = (15, 15, 8)


def screen(plan: "Plan") -> str:
    """What a person reads before saying yes."""
    return "\n".join([*_kinds(plan), *_moves(plan), *(f"NOTE: {printable(note.text)}" for note in plan.notes)])


def as_dict(plan: "Plan") -> dict[str, Any]:
    """The plan for a program: dates as text, null for "never expires"."""
    return {
        "kind": plan.kind.value,
        "selection": dict(plan.selection),
        "tokens": plan.tokens,
        "kinds": [
            {"kind": one.kind.value, "state": one.state.value, "tokens": one.tokens, "selected": one.selected}
            for one in plan.counts
        ],
        "moves": [
            {"from": move.old and str(move.old), "to": move.new and str(move.new), "tokens": move.tokens}
            for move in plan.moves
        ],
        "notes": [
            {
                "concern": note.concern.value,
                "count": note.tokens,
                "text": note.text,
                "guard": note.concern.guard,
                **({"ids": note.ids[:MOST_IDS]} if note.ids else {}),
            }
            for note in plan.notes
        ],
        "memberships": plan.memberships and plan.memberships.value,
        "notices": plan.notices,
    }


def _kinds(plan: "Plan") -> Iterator[str]:
    if not plan.counts:
        return
    selected: dict[str, int] = {}
    left_out: dict[str, int] = {}
    for one in plan.counts:
        if one.selected:
            selected[one.kind.value] = selected.get(one.kind.value, 0) + one.tokens
        else:
            reason = f"{one.state.value} {one.kind.value}"
            left_out[reason] = left_out.get(reason, 0) + one.tokens
    if selected:
        yield from tables.rows([("Kind", "Tokens")], KINDS)
        yield tables.rule(KINDS)
        yield from tables.rows(selected.items(), KINDS)
        yield ""
    if left_out:
        counted = ", ".join(f"{tokens} {reason}" for reason, tokens in left_out.items())
        yield f"Left out: {counted} (--kind and --state take them in)."
        yield ""


def _moves(plan: "Plan") -> Iterator[str]:
    moves = plan.moves
    if not moves:
        return
    yield from tables.rows([("From", "To", "Tokens")], MOVES)
    yield tables.rule(MOVES)
    shown = [(_date(move.old), _date(move.new), move.tokens) for move in moves[:MOST_MOVES]]
    yield from tables.rows(shown, MOVES)
    if len(moves) > MOST_MOVES:
        rest = moves[MOST_MOVES:]
        yield f"... and {sum(move.tokens for move in rest)} token(s) in {len(rest)} more lines"
    yield ""


def _date(date: "ExpirationDate | None") -> str:
    return "(none)" if date is None else str(date)

"""How a plan looks, as text and as JSON; also one that the journal gives."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from tokens.change.change import Move
from tokens.change.plan import Plan
from tokens.counts import counted, first_few
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.listing import TokenOutcome
from tokens.journal.runs import StoredRun
from tokens.origin import described
from tokens.run.stored_plans import Application
from tokens.run.undo import Along, Undo
from tokens.targets.instance import Instance
from tokens.terminal import tables
from tokens.terminal.printable import printable
from tokens.views.history_columns import CHANGES
from tokens.views.left_out import left_out
from tokens.views.run_in_words import selection_in_words
from tokens.views.times import near, plain, when

MOST_MOVES = 20  # lines; --output json has all of them
MOST_DATES = 5  # lines, where dates stay as they are
MOST_IDS = 1_000  # of a note, in JSON
MOST_IDS_SHOWN = 100  # of what an undo leaves alone; the run's history lists all of them
MOST_LISTED = 20  # tokens of a stored plan
KINDS = (17, 8)  # columns
MOVES = (15, 15, 8)
DATES = (15, 8)


def deed(plan: Plan, tokens: int) -> str:
    """What the plan does to `tokens`, such as `remove the expiration date of 7 tokens`."""
    if plan.change.revokes:
        return (
            f"bring back {counted(tokens, 'revoked token')}" if plan.is_undo else f"revoke {counted(tokens, 'token')}"
        )
    verb = "put back" if plan.is_undo else "remove" if plan.change.removes else "extend"
    return f"{verb} the expiration date of {counted(tokens, 'token')}"


def screen(plan: Plan, columns: int | None = None) -> str:
    """What a person reads before saying yes; `columns` are the terminal's, None where there is none."""
    noted = (f"NOTE: {printable(note.text)}" for note in plan.notes)
    return "\n".join([*_kinds(plan, columns), *_moves(plan, columns), *noted])


def as_dict(plan: Plan) -> dict[str, Any]:
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
            {
                "old_expires_at": move.old and str(move.old),
                "new_expires_at": move.new and str(move.new),
                "tokens": move.tokens,
            }
            for move in plan.moves
        ],
        "notes": [
            {
                "concern": note.concern.value,
                "tokens": note.tokens,
                "text": note.text,
                "guard": note.concern.guard,
                **({"ids": note.ids[:MOST_IDS]} if note.ids else {}),
            }
            for note in plan.notes
        ],
        "memberships": plan.memberships and plan.memberships.value,
        "notices": plan.notices,
    }


def title_to_apply(found: Application, instance: Instance, columns: int | None) -> str:
    """What a stored plan, or a run that has stopped, is about."""
    stored, tokens = found.stored, found.tokens
    rest = "" if tokens == stored.tokens else f" (of {stored.tokens:,})"
    title = f"Run {stored.id}, to {deed(found.plan, tokens)}{rest} on {instance}\nPlanned {_origin(stored, columns)}"
    return f"{title}\n{_undone(found.undone, columns) if found.undone else _selected(stored)}"


def title_to_undo(found: Undo, instance: Instance, columns: int | None) -> str:
    """Which run an undo takes back: whose it is, when it was planned, and why."""
    stored = found.stored
    title = f"Plan to undo run {stored.id}: {deed(found.plan, found.tokens)} on {instance}"
    return f"{title}\n{_undone(stored, columns)}"


def run_as_dict(stored: StoredRun) -> dict[str, Any]:
    """Whose run it is, when it was planned, and why, for a program."""
    return {
        "run": stored.id,
        "kind": stored.kind.value,
        "planned_at": stored.created_at,
        "planned_by": dict(stored.origin),
        "reason": stored.reason,
    }


def listed_screen(listed: Iterable[TokenOutcome], tokens: int, every: str, columns: int | None) -> Iterator[str]:
    """The first tokens of a plan, and `every`: what to type for all of them."""
    shown = [[str(cell) for cell in CHANGES.cells(one)[:-1]] for one in islice(listed, MOST_LISTED)]
    yield ""
    yield from tables.table(CHANGES.heading[:-1], shown, columns)
    if tokens > len(shown):
        yield f"... and {tokens - len(shown):,} more{every}"


def listed_as_dicts(listed: Iterable[TokenOutcome]) -> list[dict[str, Any]]:
    """The first MOST_IDS tokens of a plan for a program."""
    return [dict(zip(CHANGES.fields, CHANGES.values(one), strict=True)) for one in islice(listed, MOST_IDS)]


def _undone(stored: StoredRun, columns: int | None) -> str:
    return f"Run {stored.id}, {stored.kind}, was planned {_origin(stored, columns)}"


def _selected(stored: StoredRun) -> str:
    return f"Selected: {printable(selection_in_words(stored))}"


def _origin(stored: StoredRun, columns: int | None) -> str:
    reason = f"\nReason: {printable(stored.reason)}" if stored.reason else ""
    return f"{when(stored.created_at, columns)} by {printable(described(stored.origin))}{reason}"


def along_screen(found: Undo | Along) -> list[str]:
    """What an undo does beside putting dates back, a line each."""
    lines = []
    if found.memberships or found.notices:
        lines.append(
            f"Along with the dates: {counted(found.memberships, 'membership')}, and the notices of "
            f"{counted(found.notices, 'token')}."
        )
    if found.needed:
        lines.append(
            f"NOTE: {counted(found.needed, 'membership stays', 'memberships stay')} unchanged: the bot has "
            "tokens that live longer."
        )
    return lines


def undo_screen(found: Undo) -> list[str]:
    """The same, and what it leaves alone."""
    lines = along_screen(found)
    if found.put_back and (found.tokens or found.changed_since):
        if found.plan.change.revokes:
            already = f"{counted(found.put_back, 'token is', 'tokens are')} as before that run already"
        else:
            already = f"{counted(found.put_back, 'token has its', 'tokens have their')} old date already"
        lines.append(f"NOTE: {already}, from an undo that was begun before.")
    since = found.changed_since
    if since:
        were = counted(len(since), "token was changed since, or is", "tokens were changed since, or are")
        lines.append(f"NOTE: {were} gone, and left alone: {first_few(since, MOST_IDS_SHOWN)}")
    return lines


def along_as_dict(found: Undo | Along) -> dict[str, Any]:
    """What an undo does beside putting dates back, for a program; what there is none of is left out."""
    along = {"memberships": found.memberships, "notices": found.notices}
    needed = {"memberships_needed": found.needed} if found.needed else {}
    return {**(along if any(along.values()) else {}), **needed}


def undo_as_dict(found: Undo) -> dict[str, Any]:
    """The same, and what it leaves alone."""
    rest = {
        "put_back": found.put_back if found.tokens or found.changed_since else 0,
        "changed_since": list(found.changed_since),
    }
    return {**along_as_dict(found), **{name: value for name, value in rest.items() if value}}


def _kinds(plan: Plan, columns: int | None) -> Iterator[str]:
    if not plan.counts:
        return
    selected: dict[str, int] = {}
    for one in plan.counts:
        if one.selected:
            selected[one.kind.value] = selected.get(one.kind.value, 0) + one.tokens
    if selected:
        yield from tables.table(("Kind", "Tokens"), list(selected.items()), columns, KINDS)
        yield ""
    for line in left_out(plan.counts, plan.selection, revokes=plan.change.revokes):
        yield line
        yield ""


def _moves(plan: Plan, columns: int | None) -> Iterator[str]:
    moves = plan.moves
    if not moves:
        return
    said = plain if columns is None else near
    if plan.change.revokes:
        yield from _dates(moves, said, columns)
        return
    shown = [(said(move.old), said(move.new), move.tokens) for move in moves[:MOST_MOVES]]
    yield from tables.table(("From", "To", "Tokens"), shown, columns, MOVES)
    if len(moves) > MOST_MOVES:
        rest = moves[MOST_MOVES:]
        yield f"... and {counted(sum(move.tokens for move in rest), 'token')} in {len(rest):,} more lines"
    yield ""


def _dates(moves: Sequence[Move], said: Callable[[ExpirationDate | None], str], columns: int | None) -> Iterator[str]:
    """The dates of tokens that keep them: those with the most tokens."""
    listed = sorted(moves, key=lambda move: -move.tokens)
    shown = [(said(move.old), move.tokens) for move in listed[:MOST_DATES]]
    yield from tables.table(("Expires", "Tokens"), shown, columns, DATES)
    if rest := listed[MOST_DATES:]:
        yield f"... and {counted(sum(move.tokens for move in rest), 'token')} on {counted(len(rest), 'more date')}"
    yield ""

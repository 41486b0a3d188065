"""How `history` shows one token of a run: of a date that was changed, or of a rotation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from tokens.change.plan import RunKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.journal.listing import Names, RotationOutcome, TokenOutcome, TokenResult
from tokens.journal.runs import StoredRun
from tokens.terminal.printable import printable
from tokens.views.times import plain, to_the_minute


@dataclass(frozen=True)
class Columns:
    """What is shown of each token: `values` under `fields` for programs, `cells` below `heading` for a person.

    `name` is what a run's tokens are called in its JSON. A cell wider than its column of `widths` widens its line.
    """

    name: str
    fields: tuple[str, ...]
    values: Callable[[Any], Sequence[object]]
    heading: tuple[str, ...]
    widths: tuple[int, ...]
    cells: Callable[[Any], Sequence[object]]
    spare: tuple[str, ...] = ()
    """What is left out first on a narrow terminal."""


def columns_of(run: StoredRun) -> Columns:
    """How the tokens of a run are shown."""
    if run.change.revokes:
        return RETURNS if run.kind is RunKind.UNDO else ENDS
    return ROTATIONS if run.kind is RunKind.ROTATE else CHANGES


def outcome_in_words(run: StoredRun, one: TokenOutcome) -> str:
    """What became of a token: a word that says what was done where that is no new date."""
    return _outcome(done_in_words(run), one)


def done_in_words(run: StoredRun) -> str:
    """What a run does with a token: changed, revoked, or back."""
    if not run.change.revokes:
        return TokenResult.CHANGED
    return BACK if run.kind is RunKind.UNDO else REVOKED


def _outcome(done: str, one: TokenOutcome) -> str:
    return done if one.outcome is TokenResult.CHANGED else one.outcome


def _change_values(one: TokenOutcome) -> Sequence[object]:
    return (one.id, *_names(one), _text(one.old), _text(one.new), one.outcome, one.changed_at)


def _change_cells(one: TokenOutcome) -> Sequence[object]:
    return (one.id, *called(one), plain(one.old), plain(one.new), one.outcome)


def _end_cells(done: str, one: TokenOutcome) -> Sequence[object]:
    return (one.id, *called(one), plain(one.old), _outcome(done, one))


def _rotation_values(one: RotationOutcome) -> Sequence[object]:
    return (
        one.id,
        *_names(one),
        _text(one.old),
        one.stage,
        one.reached_at,
        one.successor_id,
        one.successor_name,
        one.delivered_to,
        _text(one.new),
        one.state_now,
        _text(one.old_now),
        _text(one.grace_until),
        one.given_up,
        one.new_account,
    )


def _rotation_cells(one: RotationOutcome) -> Sequence[object]:
    return (
        one.id,
        *called(one),
        plain(one.old),
        one.stage,
        to_the_minute(one.reached_at),
        _successor(one),
        plain(one.new),
        _standing(one),
        plain(one.grace_until),
        printable(one.delivered_to or ""),
        " ".join(map(str, one.given_up)),
    )


def _successor(one: RotationOutcome) -> str:
    """The token that takes the old one's place, with its owner where that is another one."""
    owner = f" of {printable(one.new_account)}" if one.new_account else ""
    return f"{'' if one.successor_id is None else one.successor_id}{owner}".strip()


def called(one: TokenOutcome | RotationOutcome) -> tuple[str, str]:
    """Whose a token is and its name: as it was then, and as it is now where that is another one, or none."""
    then, now = one.then, one.now
    if then == Names():
        return _owner(now), printable(now.name or "")
    if now.name is None:
        return _owner(then), f"{printable(then.name or '')} (gone)".lstrip()
    return _both(_owner(then), _owner(now)), _both(printable(then.name or ""), printable(now.name))


def _both(then: str, now: str) -> str:
    return then if then == now else f"{then} (now: {now})"


def _owner(names: Names) -> str:
    """As `list` has it: of a bot its project or group."""
    return printable(names.path or names.account or "")


def _names(one: TokenOutcome | RotationOutcome) -> Sequence[str | None]:
    then, now = one.then, one.now
    return (then.account, then.name, then.path, now.account, now.name, now.path)


def _standing(one: RotationOutcome) -> str:
    """Whether the old token works now."""
    if one.state_now is None:
        return "gone"
    if one.state_now is not State.ACTIVE:
        return one.state_now.value
    return "never expires" if one.old_now is None else f"until {one.old_now}"


@lru_cache(maxsize=10_000)  # millions of tokens have a few hundred dates
def _text(date: ExpirationDate | None) -> str | None:
    return None if date is None else str(date)


NAMES = ("account", "name", "path", "account_now", "name_now", "path_now")

CHANGES = Columns(
    name="outcomes",
    fields=("id", *NAMES, "old_expires_at", "new_expires_at", "outcome", "changed_at"),
    values=_change_values,
    heading=("ID", "Owner", "Name", "Old date", "New date", "Outcome"),
    widths=(10, 20, 30, 10, 10, 10),
    cells=_change_cells,
)

REVOKED, BACK = "revoked", "back"

# A revocation leaves the dates alone.
ENDS = replace(
    CHANGES,
    heading=("ID", "Owner", "Name", "Expires", "Outcome"),
    widths=(10, 20, 30, 10, 10),
    cells=partial(_end_cells, REVOKED),
)

RETURNS = replace(ENDS, cells=partial(_end_cells, BACK))

ROTATIONS = Columns(
    name="rotations",
    fields=(
        "id",
        *NAMES,
        "old_expires_at",
        "stage",
        "reached_at",
        "successor_id",
        "successor_name",
        "delivered_to",
        "new_expires_at",
        "old_state_now",
        "old_expires_at_now",
        "grace_until",
        "given_up",
        "new_account",
    ),
    values=_rotation_values,
    heading=(
        "ID",
        "Account",
        "Name",
        "Old date",
        "Stage",
        "Reached (UTC)",
        "Successor",
        "New date",
        "Old one now",
        "Grace until",
        "Delivered to",
        "Given up",
    ),
    widths=(10, 20, 30, 10, 9, 16, 10, 10, 16, 11, 20, 8),
    cells=_rotation_cells,
    spare=("Given up", "Delivered to", "Reached (UTC)", "Grace until", "Old one now"),
)

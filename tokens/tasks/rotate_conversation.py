"""The questions of `rotate` on a terminal: which account, and which of its tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokens.rotation.candidate import Candidate
    from tokens.terminal.prompts import Prompts

ABORT = "--> Abort"


def choose(prompts: "Prompts", candidates: Sequence["Candidate"]) -> "Candidate | None":
    """One of the tokens, the nearest to today first; None to abort. Where there is one account it is not asked for."""
    accounts: dict[str, list[Candidate]] = {}
    for one in candidates:
        accounts.setdefault(one.account, []).append(one)
    names = list(accounts)
    if len(names) > 1:
        chosen = prompts.select("Select an account", [*(_account(name, accounts[name]) for name in names), ABORT])
        if chosen == len(names):
            return None
        names = [names[chosen]]
    tokens = accounts[names[0]]
    chosen = prompts.select(f"Select a token of {names[0]}", [*map(described, tokens), ABORT])
    return tokens[chosen] if chosen < len(tokens) else None


def why(candidate: "Candidate") -> str:
    """Why a token is among those that may be rotated: somebody has named it, or its date is near."""
    return "named" if candidate.named else nearness(candidate)


def nearness(candidate: "Candidate") -> str:
    """How near its date is, such as `expires in 6 days` or `expired 3 days ago`."""
    from tokens.gitlab.kind import State

    days = candidate.days
    if days is None:
        return "expired" if candidate.state is State.EXPIRED else "never expires"
    if days == 0:
        return "expired today"
    number = f"{abs(days)} day{'' if abs(days) == 1 else 's'}"
    return f"expires in {number}" if days > 0 else f"expired {number} ago"


def described(candidate: "Candidate") -> str:
    """One token in one line: name, id, scopes, how near its date is, last use."""
    return (
        f"{candidate.name} (id {candidate.id}, {' '.join(candidate.scopes)}, {_expiry(candidate)}, {_use(candidate)})"
    )


def _account(name: str, tokens: Sequence["Candidate"]) -> str:
    more = f" and {len(tokens) - 1} more" if len(tokens) > 1 else ""
    return f"{name} ({tokens[0].name}, {_expiry(tokens[0])}{more})"


def _expiry(candidate: "Candidate") -> str:
    near = nearness(candidate)
    return near if candidate.days is None else f"{near}, on {candidate.expires_at}"


def _use(candidate: "Candidate") -> str:
    return f"last used {candidate.last_used_at[:10]}" if candidate.last_used_at else "never used"

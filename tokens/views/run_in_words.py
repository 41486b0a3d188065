"""A run in words: how it stands, what was asked for, of which tokens, and what becomes of them."""

from datetime import timedelta

from tokens.call import to_type
from tokens.change.change import Change
from tokens.change.plan import RunKind
from tokens.counts import counted, duration
from tokens.journal.attempts import PATIENCE
from tokens.journal.runs import StoredRun
from tokens.selection import described

IN_SECONDS = 600  # a silence below that
MOST_ACCOUNTS = 3  # that a selection names; each rotation has its own


def state_in_words(run: StoredRun) -> str:
    """How a run stands, such as `running, silent for 3 hours`."""
    if run.lapsed:
        return "planned (lapsed)"
    if run.silence is not None and run.silence >= PATIENCE:
        passed = duration(timedelta(seconds=run.silence))
        return f"running, silent for {f'{run.silence:.0f} s' if run.silence < IN_SECONDS else passed}"
    return run.state.value


def how_to_continue(run: StoredRun) -> str:
    """What to type for a run that gives no sign of life, after a blank; empty for any other."""
    if run.silence is None or run.silence < PATIENCE:
        return ""
    if run.kind is RunKind.ROTATE:
        return to_type("to continue it, with the same --deliver", "rotate", "--resume", run.id)
    return to_type("to continue it", "apply", "--run", run.id)


def kind_in_words(run: StoredRun) -> str:
    """What was asked for, such as `undo of 3`."""
    return f"{run.kind} of {run.undoes}" if run.undoes else run.kind.value


def selection_in_words(run: StoredRun) -> str:
    """Which tokens the run is about, such as `expires 2024-06-15; kind group; state active`."""
    if run.kind is not RunKind.ROTATE:
        return described(run.selection)
    accounts = run.selection.get("user", ())
    more = f" and {counted(len(accounts) - MOST_ACCOUNTS, 'more account')}" if len(accounts) > MOST_ACCOUNTS else ""
    to = f", to {run.selection['new_owner']}" if "new_owner" in run.selection else ""
    return f"{counted(run.tokens, 'token')} of {', '.join(accounts[:MOST_ACCOUNTS])}{more}{to}"


def change_in_words(kind: RunKind, change: Change) -> str:
    """What becomes of the dates."""
    if kind is RunKind.UNDO:
        return "the revoked tokens back" if change.revokes else "the old dates back"
    if change.revokes:
        return "revoke"
    if kind is RunKind.ROTATE:
        return f"successors until {change.to}" if change.to else "successors"
    if change.removes:
        return "remove the expiration date"
    if change.by is not None and change.days > 1:
        return f"{change.by}..{change.by + change.days - 1} days later than each token's own date, spread evenly"
    if change.by is not None:
        return f"{counted(abs(change.by), 'day')} {'later' if change.by >= 0 else 'earlier'} than each token's own date"
    if change.days > 1:
        return f"to {change.to}..{change.last}, spread evenly over {change.days} days"
    return f"to {change.to}"

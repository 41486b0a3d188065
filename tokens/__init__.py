"""Token administration for self-managed GitLab: `ns` for Invoke, and its verbs as plain functions for Python."""

from tokens.version import __version__

TYPE_CHECKING = False  # as type checkers know it, without the import of typing: a signal may come meanwhile
if TYPE_CHECKING:
    from tokens.address import Address
    from tokens.change.change import Change
    from tokens.gitlab.expiration import ExpirationDate
    from tokens.namespace import ns
    from tokens.selection import DateRange, Selection
    from tokens.verbs import Result, analyze, apply, plan, rotate, undo

__all__ = [
    "Address",
    "Change",
    "DateRange",
    "ExpirationDate",
    "Result",
    "Selection",
    "__version__",
    "analyze",
    "apply",
    "ns",
    "plan",
    "rotate",
    "undo",
]

HOMES = {
    "ns": "tokens.namespace",
    "Address": "tokens.address",
    "Change": "tokens.change.change",
    "ExpirationDate": "tokens.gitlab.expiration",
    **dict.fromkeys(("DateRange", "Selection"), "tokens.selection"),
    **dict.fromkeys(("Result", "analyze", "apply", "plan", "rotate", "undo"), "tokens.verbs"),
}


def __getattr__(name: str) -> object:
    """Each only when asked for: the verbs need no Invoke, and to list the tasks needs no database."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import importlib

        return getattr(importlib.import_module(HOMES[name]), name)
    except KeyboardInterrupt:
        # Invoke would show where the import was.
        import os

        os.write(2, b"Interrupted.\n")
        raise SystemExit(130) from None

"""Token administration for self-managed GitLab: `ns` for Invoke, and its verbs as plain functions for Python."""

from tokens.version import __version__

TYPE_CHECKING = False  # as type checkers know it, without the import of typing: a signal may come meanwhile
if TYPE_CHECKING:
    from tokens.address import Address
    from tokens.change.change import Change
    from tokens.change.plan import Options, Plan
    from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
    from tokens.errors import Refused, RunComplete, TokensError, UsageError
    from tokens.gitlab.expiration import ExpirationDate
    from tokens.gitlab.kind import Kind, OwnerState, State
    from tokens.inventory.analysis import Analysis
    from tokens.journal.installation import JournalMissing
    from tokens.namespace import ns
    from tokens.rotation.candidate import Search
    from tokens.rotation.rotator import Outcome
    from tokens.run.stored_plans import Application
    from tokens.run.undo import Undo
    from tokens.secret import Secret
    from tokens.selection import DateRange, Selection
    from tokens.verbs import (
        Result,
        Rotations,
        analyze,
        apply,
        install_journal,
        plan,
        plan_revocation,
        plan_to_apply,
        plan_to_undo,
        rotate,
        store,
        undo,
        withdraw,
    )

__all__ = [
    "Address",
    "Analysis",
    "Application",
    "Change",
    "DateRange",
    "Delivery",
    "DeliveryFailed",
    "ExpirationDate",
    "JournalMissing",
    "Kind",
    "NewToken",
    "Options",
    "Outcome",
    "OwnerState",
    "Plan",
    "Refused",
    "Result",
    "Rotations",
    "RunComplete",
    "Search",
    "Secret",
    "Selection",
    "State",
    "TokensError",
    "Undo",
    "UsageError",
    "__version__",
    "analyze",
    "apply",
    "install_journal",
    "ns",
    "plan",
    "plan_revocation",
    "plan_to_apply",
    "plan_to_undo",
    "rotate",
    "store",
    "undo",
    "withdraw",
]

HOMES = {
    "ns": "tokens.namespace",
    "Address": "tokens.address",
    "Analysis": "tokens.inventory.analysis",
    "Application": "tokens.run.stored_plans",
    "Change": "tokens.change.change",
    "ExpirationDate": "tokens.gitlab.expiration",
    "JournalMissing": "tokens.journal.installation",
    "Outcome": "tokens.rotation.rotator",
    "Search": "tokens.rotation.candidate",
    "Secret": "tokens.secret",
    "Undo": "tokens.run.undo",
    **dict.fromkeys(("Options", "Plan"), "tokens.change.plan"),
    **dict.fromkeys(("Delivery", "DeliveryFailed", "NewToken"), "tokens.delivery.destination"),
    **dict.fromkeys(("Refused", "RunComplete", "TokensError", "UsageError"), "tokens.errors"),
    **dict.fromkeys(("Kind", "OwnerState", "State"), "tokens.gitlab.kind"),
    **dict.fromkeys(("DateRange", "Selection"), "tokens.selection"),
    **dict.fromkeys(
        (
            "Result",
            "Rotations",
            "analyze",
            "apply",
            "install_journal",
            "plan",
            "plan_revocation",
            "plan_to_apply",
            "plan_to_undo",
            "rotate",
            "store",
            "undo",
            "withdraw",
        ),
        "tokens.verbs",
    ),
}


def __getattr__(name: str) -> object:
    """Each only when asked for: the verbs need no Invoke, and to list the tasks needs no database."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import importlib

        return getattr(importlib.import_module(HOMES[name]), name)
    except KeyboardInterrupt:
        if name != "ns":
            raise
        # Invoke would show where the import was.
        import os

        os.write(2, b"Interrupted.\n")
        raise SystemExit(130) from None


def __dir__() -> list[str]:
    return __all__

"""Token administration for self-managed GitLab: `ns` for Invoke, and its verbs as plain functions for Python."""

from tokens.version import __version__

TYPE_CHECKING = False  # as type checkers know it, without the import of typing: a signal may come meanwhile
if TYPE_CHECKING:
    from tokens.address import Address
    from tokens.change.change import Change, Move
    from tokens.change.kinds import KindCount
    from tokens.change.notes import Concern, Note
    from tokens.change.plan import Options, Plan, RunKind
    from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
    from tokens.errors import DatabaseError, Refused, RunComplete, TokensError, UsageError
    from tokens.gitlab.expiration import ExpirationDate
    from tokens.gitlab.kind import Kind, OwnerState, State
    from tokens.inventory.analysis import Analysis, DateCount
    from tokens.journal.installation import JournalMissing, RunState
    from tokens.journal.runs import StoredRun
    from tokens.namespace import ns
    from tokens.rotation.candidate import Candidate, Search
    from tokens.rotation.new_owner import NewOwner
    from tokens.rotation.plan import Rotation
    from tokens.rotation.rotator import End, Outcome
    from tokens.rotation.run import Began, Ended, Rotated
    from tokens.run.events import BatchCommitted, BatchStarting, Finished, Recounted, Reread, RunFailed, Waiting
    from tokens.run.stored_plans import Application
    from tokens.run.undo import Undo
    from tokens.secret import Secret
    from tokens.selection import DateRange, Selection
    from tokens.verbs import (
        PlannedRotations,
        Result,
        Rotations,
        analyze,
        apply,
        install_journal,
        plan,
        plan_revocation,
        plan_rotation,
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
    "BatchCommitted",
    "BatchStarting",
    "Began",
    "Candidate",
    "Change",
    "Concern",
    "DatabaseError",
    "DateCount",
    "DateRange",
    "Delivery",
    "DeliveryFailed",
    "End",
    "Ended",
    "ExpirationDate",
    "Finished",
    "JournalMissing",
    "Kind",
    "KindCount",
    "Move",
    "NewOwner",
    "NewToken",
    "Note",
    "Options",
    "Outcome",
    "OwnerState",
    "Plan",
    "PlannedRotations",
    "Recounted",
    "Refused",
    "Reread",
    "Result",
    "Rotated",
    "Rotation",
    "Rotations",
    "RunComplete",
    "RunFailed",
    "RunKind",
    "RunState",
    "Search",
    "Secret",
    "Selection",
    "State",
    "StoredRun",
    "TokensError",
    "Undo",
    "UsageError",
    "Waiting",
    "__version__",
    "analyze",
    "apply",
    "install_journal",
    "ns",
    "plan",
    "plan_revocation",
    "plan_rotation",
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
    "Application": "tokens.run.stored_plans",
    "ExpirationDate": "tokens.gitlab.expiration",
    "KindCount": "tokens.change.kinds",
    "NewOwner": "tokens.rotation.new_owner",
    "Rotation": "tokens.rotation.plan",
    "Secret": "tokens.secret",
    "StoredRun": "tokens.journal.runs",
    "Undo": "tokens.run.undo",
    **dict.fromkeys(("Change", "Move"), "tokens.change.change"),
    **dict.fromkeys(("Concern", "Note"), "tokens.change.notes"),
    **dict.fromkeys(("Options", "Plan", "RunKind"), "tokens.change.plan"),
    **dict.fromkeys(("Delivery", "DeliveryFailed", "NewToken"), "tokens.delivery.destination"),
    **dict.fromkeys(("DatabaseError", "Refused", "RunComplete", "TokensError", "UsageError"), "tokens.errors"),
    **dict.fromkeys(("Kind", "OwnerState", "State"), "tokens.gitlab.kind"),
    **dict.fromkeys(("Analysis", "DateCount"), "tokens.inventory.analysis"),
    **dict.fromkeys(("JournalMissing", "RunState"), "tokens.journal.installation"),
    **dict.fromkeys(("Candidate", "Search"), "tokens.rotation.candidate"),
    **dict.fromkeys(("End", "Outcome"), "tokens.rotation.rotator"),
    **dict.fromkeys(("Began", "Ended", "Rotated"), "tokens.rotation.run"),
    **dict.fromkeys(
        ("BatchCommitted", "BatchStarting", "Finished", "Recounted", "Reread", "RunFailed", "Waiting"),
        "tokens.run.events",
    ),
    **dict.fromkeys(("DateRange", "Selection"), "tokens.selection"),
    **dict.fromkeys(
        (
            "PlannedRotations",
            "Result",
            "Rotations",
            "analyze",
            "apply",
            "install_journal",
            "plan",
            "plan_revocation",
            "plan_rotation",
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


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

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

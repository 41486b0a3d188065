"""Beginning a change: its plan is stored and taken on in one transaction, or what was stored before is taken on."""

from collections.abc import Callable

from tokens import database
from tokens.address import Address
from tokens.change.plan import Plan
from tokens.database import Connection
from tokens.errors import LockTimeout, Refused
from tokens.journal import installation, record
from tokens.journal.opening import TIMEOUTS
from tokens.journal.record import Record, Recorder
from tokens.origin import Origin


def store(connection: Connection, plan: Plan, origin: Origin, reason: str | None) -> int:
    """Keep a plan in a journal that is ready, for `resume`; returns the number of its run.

    Raises:
        DatabaseError, JournalUntrusted: see `tokens.errors` and `tokens.journal.trust`.
    """
    with database.writing(connection, **TIMEOUTS):
        return record.store(connection, plan, origin, reason)


def begin(connection: Connection, plan: Plan, origin: Origin, reason: str | None) -> Record:
    """Store a plan in a journal that is ready, and begin it. Raises what `begin_stored` raises."""
    return begin_stored(connection, origin, lambda: record.store(connection, plan, origin, reason))


def begin_stored(connection: Connection, origin: Origin, store: Callable[[], int]) -> Record:
    """Begin the run that `store` puts into a journal that is ready, and whose number it returns.

    Raises:
        DatabaseError, JournalUntrusted: see `tokens.errors` and `tokens.journal.trust`.
        Refused: another run is under way; nothing was stored.
    """
    with database.writing(connection, **TIMEOUTS):
        record.check_idle(connection)
        number = store()
        # In the same transaction, so that a run that is refused leaves nothing behind.
        return record.begin(connection, number, origin)


def begin_unrecorded(address: Address) -> Recorder:
    """Begin a change that is not recorded.

    Raises:
        DatabaseError: see `tokens.errors`.
        Refused: a run that is recorded is under way.
    """
    with database.reading(address) as connection:
        if installation.is_readable(connection):
            record.check_idle(connection)
    return Recorder()


def resume(address: Address, run: int, origin: Origin) -> Record:
    """Begin a run that the journal has.

    Raises:
        DatabaseError, JournalUntrusted: see `tokens.errors` and `tokens.journal.trust`.
        Refused: another run is under way, or somebody is just beginning this one.
        UsageError: it is complete.
    """
    try:
        with database.connect(address) as connection, database.writing(connection, **TIMEOUTS):
            return record.begin(connection, run, origin)
    except LockTimeout:
        raise Refused(
            f"Another session holds run {run} in the journal, so somebody may be carrying it out: try again later."
        ) from None

"""The journal as the tasks that change tokens meet it: made sure of, or done without, and a run begun in it."""

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from tokens import database
from tokens.address import Address
from tokens.change.plan import Plan
from tokens.database import Connection
from tokens.errors import LockTimeout, Refused
from tokens.journal import installation, publications, record
from tokens.journal.installation import JournalMissing, JournalOutdated
from tokens.journal.record import Unrecorded
from tokens.journal.runs import PLAN_LIFETIME
from tokens.origin import Origin
from tokens.tasks.change_options import Manner
from tokens.tasks.report import Report
from tokens.terminal import console
from tokens.terminal.steps import announced

if TYPE_CHECKING:
    from tokens.terminal.prompts import Prompts

NO_WAY_BACK = "Without the journal there is no list of what was changed, no undo and no way to go on after a stop."
STORE_TIMEOUT = {"lock_timeout": "10s", "statement_timeout": "30s"}


def check_journal(address: Address, manner: Manner) -> None:
    """Make sure, before a plan is made, that there is a journal where nobody can be asked whether to install it."""
    if manner.dry_run or not manner.journal or (manner.asks and not manner.store):
        return
    with database.reading(address) as connection:
        try:
            installation.check(connection)
        except JournalOutdated:
            publications.check(connection, manner.allow)  # it will be migrated


def store(address: Address, plan: Plan, origin: Origin, manner: Manner, report: Report) -> None:
    """Keep the plan in the journal, for a second person."""
    with database.connect(address) as connection:
        _open_journal(address, connection, None, manner.allow)
        with announced("Storing the plan", sys.stderr), database.writing(connection, **STORE_TIMEOUT):
            number = record.store(connection, plan, origin, manner.reason)
    stored = (
        f"Stored as run {number}; nothing was changed. It lapses after {PLAN_LIFETIME} hours. To carry it out: "
        f"tokens.apply --run {number}"
    )
    report.changed = lambda: stored
    report.add(run=number, state="planned")
    report.say(stored)


def begin(
    address: Address,
    plan: Plan,
    origin: Origin,
    *,
    reason: str | None,
    prompts: "Prompts | None",
    allow: Collection[str] = (),
) -> Unrecorded:
    """Store a plan that has just been agreed to and begin it.

    `prompts` ask whether to install the journal where there is none; without them its absence is an error.

    Raises:
        JournalMissing, Refused: nothing was changed; another run may be under way.
    """
    with database.connect(address) as connection:
        if not _open_journal(address, connection, prompts, allow):
            return Unrecorded()
        with announced("Storing the plan", sys.stderr), database.writing(connection, **STORE_TIMEOUT):
            record.check_idle(connection)
            number = record.store(connection, plan, origin, reason)
            # In the same transaction, so that a run that is refused leaves nothing behind.
            return record.begin(connection, number, origin)


def begin_unrecorded(address: Address) -> Unrecorded:
    """Begin a change that is not recorded; refused while one that is recorded is under way."""
    with database.reading(address) as connection:
        if installation.is_readable(connection):
            record.check_idle(connection)
    return Unrecorded()


def resume(address: Address, number: int, origin: Origin) -> Unrecorded:
    """Begin a run that the journal has."""
    with database.connect(address) as connection:
        return _begin(connection, number, origin)


def _open_journal(address: Address, connection: Connection, prompts: "Prompts | None", allow: Collection[str]) -> bool:
    """Make sure that there is a journal of our version; False where the person goes without."""
    try:
        with database.writing(connection, **STORE_TIMEOUT):
            installation.check(connection)
    except JournalOutdated as outdated:
        from tokens.journal import setup

        with database.writing(connection, **STORE_TIMEOUT):
            publications.check(connection, allow)
        console.tell(f"{outdated} This is done now.")
        setup.install(address, allow)
    except JournalMissing:
        if prompts is None:
            raise
        if not prompts.confirm(
            "There is no journal here yet: install it (schema token_tasks), so that this can be undone?", default=True
        ):
            print(NO_WAY_BACK)
            return False
        from tokens.journal import setup

        setup.install(address, allow)
    return True


def _begin(connection: Connection, number: int, origin: Origin) -> Unrecorded:
    try:
        with database.writing(connection, **STORE_TIMEOUT):
            return record.begin(connection, number, origin)
    except LockTimeout:
        raise Refused(
            f"Another session holds run {number} in the journal, so somebody may be carrying it out: try again later."
        ) from None

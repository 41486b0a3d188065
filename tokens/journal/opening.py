"""The journal, made ready for a change: checked, migrated where it is older, installed where somebody wants it."""

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.journal import installation, publications, setup
from tokens.journal.installation import JournalMissing, JournalOutdated

TIMEOUTS = {"lock_timeout": "10s", "statement_timeout": "30s"}
"""Of a transaction that writes nothing but the journal."""


def check(connection: Connection, allow: Collection[str] = ()) -> None:
    """Make sure, in the open transaction, that the journal can be written to; `allow` has words of guards.

    Raises:
        JournalMissing: it is not installed.
        JournalOutdated: it has to be migrated first, and may be.
        JournalUntrusted, Refused: see `tokens.journal.installation`; also one that a publication would replicate.
    """
    try:
        installation.check(connection)
    except JournalOutdated:
        publications.check(connection, allow)
        raise


def check_beforehand(address: Address, allow: Collection[str] = ()) -> None:
    """Make sure that a journal is there or can be migrated, where nobody can be asked later whether to install it.

    Raises:
        JournalMissing, JournalUntrusted, Refused: see `check`.
    """
    with database.reading(address) as connection, suppress(JournalOutdated):
        check(connection, allow)


def open_journal(
    address: Address,
    connection: Connection,
    allow: Collection[str] = (),
    *,
    ask: Callable[[], bool] | None,
    tell: Callable[[str], None],
) -> bool:
    """Make sure that there is a journal of our version; False where somebody was asked and goes without.

    Raises:
        JournalMissing, JournalUntrusted, Refused: see `check`; see also `tokens.journal.setup.install`.
    """

    def check_here() -> None:
        with database.writing(connection, **TIMEOUTS):
            check(connection, allow)

    return make_ready(check_here, partial(setup.install, address, allow), ask=ask, tell=tell)


def make_ready(
    check: Callable[[], None],
    install: Callable[[], object],
    *,
    ask: Callable[[], bool] | None,
    tell: Callable[[str], None],
) -> bool:
    """The same wherever the journal is.

    Args:
        check: raises JournalMissing or JournalOutdated.
        install: installs or migrates it.
        ask: asks whether to install one where there is none; None where nobody can be asked, so that it is an error.
        tell: called with a line that an older one is migrated.
    """
    try:
        check()
    except JournalOutdated as outdated:
        tell(f"{outdated} This is done now.")
    except JournalMissing:
        if ask is None:
            raise
        if not ask():
            return False
    else:
        return True
    install()
    return True

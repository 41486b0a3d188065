"""The journal, made ready for a change: checked, migrated where it is older, installed where somebody wants it."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from tokens.address import Address
from tokens.call import ARROW
from tokens.database import Connection
from tokens.errors import Refused, TokensError
from tokens.journal import installation, publications, setup
from tokens.journal.installation import JournalMissing, JournalOutdated

Done = TypeVar("Done")

TIMEOUTS = {"lock_timeout": "10s", "statement_timeout": "30s"}
"""Of a transaction that writes nothing but the journal."""


class JournalDeclined(Refused):
    """There is no journal, and a person was asked and does not want one."""


def check(connection: Connection, allow: Collection[str] = (), *, optional: bool = True) -> None:
    """Make sure, in the open transaction, that the journal can be written to; `allow` has words of guards.

    `optional` is whether the change can do without one, so that the message says how.

    Raises:
        JournalMissing: it is not installed.
        JournalOutdated: it has to be migrated first, and may be.
        JournalUntrusted, Refused: see `tokens.journal.installation`; also one that a publication would replicate.
    """
    try:
        installation.check(connection)
    except JournalMissing:
        without = "; with --no-journal there is no record and no way back" if optional else ""
        how = setup.how_to_install(connection)
        raise JournalMissing(f"The journal is not installed in this database{without}.{how}") from None
    except JournalOutdated:
        publications.check(connection, allow)
        raise


def with_journal(
    address: Address,
    work: Callable[[], Done],
    allow: Collection[str] = (),
    *,
    ask: Callable[[], bool] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Done:
    """What `work` returns, which begins with `check`.

    Where `work` finds no journal or an older one, that is installed or migrated, and `work` is called again. `ask` and
    `tell` are as of `make_ready`.

    Raises:
        JournalDeclined: a person was asked, and goes without.
        JournalMissing, JournalUntrusted, Refused: see `check`; see also `tokens.journal.setup.install`.
    """
    try:
        return work()
    except (JournalMissing, JournalOutdated) as fault:
        make_ready(fault, partial(setup.install, address, allow), ask=ask, tell=tell)
    return work()


def make_ready(
    fault: TokensError,
    install: Callable[[], object],
    *,
    ask: Callable[[], bool] | None,
    tell: Callable[[str], object],
) -> None:
    """Cure what is wrong with a journal, wherever it is, or raise it.

    Args:
        fault: what `check` has raised.
        install: installs or migrates it.
        ask: asks whether to install one where there is none; None without a person to ask, so that it is an error.
        tell: called with a line that an older one is migrated.

    Raises:
        JournalDeclined: `ask` says no.
    """
    if isinstance(fault, JournalOutdated):
        tell(f"{str(fault).partition(ARROW)[0]} It is migrated now.")
    elif not isinstance(fault, JournalMissing) or ask is None:
        raise fault
    elif not ask():
        raise JournalDeclined(str(fault))
    install()

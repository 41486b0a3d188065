"""The journal, made ready for a change: checked, migrated where it is older, installed where somebody wants it."""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar, overload

from tokens.address import Address
from tokens.database import Connection
from tokens.journal import installation, publications, setup
from tokens.journal.installation import JournalMissing, JournalOutdated

Done = TypeVar("Done")

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


@overload
def with_journal(
    address: Address, work: Callable[[], Done], allow: Collection[str], *, ask: None, tell: Callable[[str], None]
) -> Done: ...
@overload
def with_journal(
    address: Address,
    work: Callable[[], Done],
    allow: Collection[str],
    *,
    ask: Callable[[], bool] | None,
    tell: Callable[[str], None],
) -> Done | None: ...
def with_journal(
    address: Address,
    work: Callable[[], Done],
    allow: Collection[str],
    *,
    ask: Callable[[], bool] | None,
    tell: Callable[[str], None],
) -> Done | None:
    """What `work` returns, which begins with `check`; None where somebody was asked for a journal and goes without.

    Where `work` finds no journal or an older one, that is installed or migrated, and `work` is called again.

    Raises:
        JournalMissing, JournalUntrusted, Refused: see `check`; see also `tokens.journal.setup.install`.
    """
    done: list[Done] = []
    if not make_ready(lambda: done.append(work()), partial(setup.install, address, allow), ask=ask, tell=tell):
        return None
    return done[0] if done else work()


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

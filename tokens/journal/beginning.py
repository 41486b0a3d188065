"""Beginning a change: its plan is stored and taken on in one transaction, or what was stored before is taken on."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from tokens import database
from tokens.address import Address
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection
from tokens.errors import LockTimeout, Refused
from tokens.journal import attempts, installation, opening, settings, storing
from tokens.journal.installation import JournalOutdated
from tokens.journal.opening import TIMEOUTS
from tokens.journal.record import Record, Recorder
from tokens.origin import Origin


def check_beforehand(
    address: Address,
    kind: RunKind,
    *,
    recorded: bool,
    alone: bool,
    four_eyes: bool = False,
    allow: Collection[str] = (),
) -> None:
    """Refuse, before anything is planned, what would be refused when the change of this kind begins.

    `recorded` is whether a journal has to be there, or one that can be migrated, since no question will be asked;
    `alone` whether one person plans and carries out. The other arguments are as of `begin`.

    Raises:
        DatabaseError, JournalMissing, JournalUntrusted, Refused: see `begin`.
        FourEyes: with what to do instead.
    """
    if not recorded:
        if alone:
            check_alone(address, kind, four_eyes=four_eyes)
            check_idle_at(address)
        return
    with database.reading(address) as connection:
        readable = True
        try:
            opening.check(connection, allow, optional=alone)
        except JournalOutdated:
            readable = False
        if alone and four_eyes:
            raise settings.alone(kind, by_configuration=True)
        if alone and readable:
            settings.check_alone(connection, kind)
            attempts.check_idle(connection)


def store(
    connection: Connection,
    plan: Plan,
    origin: Origin,
    reason: str | None,
    *,
    with_names: bool = True,
    allow: Collection[str] = (),
) -> int:
    """Keep a plan in the journal, for `resume`; returns the number of its run.

    `with_names` keeps what its tokens are called, too; `allow` has words of guards.

    Raises:
        DatabaseError, JournalMissing, JournalOutdated, JournalUntrusted: see `tokens.errors` and `opening.check`.
    """
    with _writing(connection, allow, optional=False):
        return storing.store(connection, plan.as_asked(), origin, reason, with_names=with_names)


def begin(
    connection: Connection,
    plan: Plan,
    origin: Origin,
    reason: str | None,
    *,
    with_names: bool = True,
    four_eyes: bool = False,
    allow: Collection[str] = (),
) -> Record:
    """Store a plan in the journal, and begin it. Raises what `begin_stored` raises."""
    return begin_stored(
        connection,
        plan.kind,
        origin,
        lambda: storing.store(connection, plan, origin, reason, with_names=with_names),
        four_eyes=four_eyes,
        allow=allow,
    )


def begin_stored(
    connection: Connection,
    kind: RunKind,
    origin: Origin,
    store: Callable[[], int],
    *,
    four_eyes: bool,
    allow: Collection[str] | None = None,
) -> Record:
    """Begin the run of this kind that `store` puts into the journal, and whose number it returns.

    `four_eyes` is whether the configuration demands two people; the journal may, too. `allow` has words of guards
    where the caller migrates an older journal, and then begins again.

    Raises:
        DatabaseError, JournalMissing, JournalOutdated, JournalUntrusted: see `tokens.errors` and `opening.check`.
        FourEyes: two people are needed; nothing was stored.
        Refused: another run is under way; nothing was stored.
    """
    with _writing(connection, allow):
        settings.check_alone(connection, kind, four_eyes=four_eyes)
        attempts.check_idle(connection)
        number = store()
        # In the same transaction, so that a run that is refused leaves nothing behind.
        return attempts.begin(connection, number, origin, four_eyes=four_eyes)


def begin_unrecorded(address: Address, kind: RunKind, *, four_eyes: bool = False) -> Recorder:
    """Begin a change of this kind that is not recorded.

    Raises:
        DatabaseError: see `tokens.errors`.
        FourEyes: two people are needed.
        Refused: a run that is recorded is under way.
    """
    check_alone(address, kind, four_eyes=four_eyes)
    check_idle_at(address)
    return Recorder()


def check_alone(address: Address, kind: RunKind, *, four_eyes: bool = False) -> None:
    """Refuse what one person plans and carries out, where that takes two, before anybody is asked.

    Raises:
        DatabaseError: see `tokens.errors`.
        FourEyes: with what to do instead.
        JournalOutdated, JournalUntrusted, Refused: there is a journal that cannot be read, and it may demand two.
    """
    if four_eyes:
        raise settings.alone(kind, by_configuration=True)
    with database.reading(address) as connection:
        if installation.has_settings(connection):
            settings.check_alone(connection, kind)


def takes_two(address: Address, *, four_eyes: bool = False) -> bool:
    """Whether who has planned a run may not carry it out, by the journal or by the configuration's `four_eyes`."""
    if four_eyes:
        return True
    with database.reading(address) as connection:
        return settings.demands_four_eyes(connection)


def check_idle_at(address: Address) -> None:
    """Refuse while a run is under way that shows signs of life, as far as this role may read that."""
    with database.reading(address) as connection:
        if installation.is_readable(connection):
            attempts.check_idle(connection)


def check_planner(
    address: Address, run: int, origin: Origin, *, four_eyes: bool = False, allow: Sequence[str] = ()
) -> None:
    """Refuse a run that its planner wants to carry out, where that takes two, before anybody is asked.

    `allow` are the words of guards that the other person has to give.

    Raises:
        DatabaseError: see `tokens.errors`.
        FourEyes: somebody else has to.
    """
    with database.reading(address) as connection:
        settings.check_planner(connection, run, origin, four_eyes=four_eyes, allow=allow)


def withdraw(address: Address, run: int, origin: Origin, reason: str | None) -> None:
    """Withdraw a plan that nobody has begun.

    Raises:
        DatabaseError, JournalMissing, JournalOutdated, JournalUntrusted: see `tokens.errors` and
            `tokens.journal.installation`.
        Refused: it has been begun, or somebody is just beginning it.
        UsageError: there is no such run.
    """
    with _held(run), database.connect(address) as connection, _writing(connection):
        storing.withdraw(connection, run, origin, reason)


def resume(address: Address, run: int, origin: Origin, *, four_eyes: bool = False) -> Record:
    """Begin a run that the journal has; `four_eyes` as of `begin_stored`.

    Raises:
        DatabaseError, JournalMissing, JournalOutdated, JournalUntrusted: see `tokens.errors` and
            `tokens.journal.installation`.
        FourEyes: who planned it may not carry it out.
        Refused: another run is under way, somebody is just beginning this one, or it was withdrawn.
        RunComplete: nothing is left of it.
    """
    with _held(run), database.connect(address) as connection, _writing(connection):
        return attempts.begin(connection, run, origin, four_eyes=four_eyes)


@contextmanager
def _writing(connection: Connection, allow: Collection[str] | None = None, *, optional: bool = True) -> Iterator[None]:
    """A transaction that writes into the journal, checked to be ready: what writes in it need not ask again.

    `allow` has words of guards where the caller migrates an older journal; `optional` is as of `opening.check`.
    """
    with database.writing(connection, **TIMEOUTS):
        if allow is None:
            installation.check(connection)
        else:
            opening.check(connection, allow, optional=optional)
        yield


@contextmanager
def _held(run: int) -> Iterator[None]:
    """Say what it means where another session holds the row of a run."""
    try:
        yield
    except LockTimeout:
        raise Refused(
            f"Another session holds run {run} in the journal, so somebody may be carrying it out: try again later."
        ) from None

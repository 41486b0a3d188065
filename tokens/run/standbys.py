"""How far standbys are behind the primary, so that a run can wait for them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tokens.address import Address
from tokens.database import Connection, connect
from tokens.errors import Refused, TokensError

CONNECT_TIMEOUT = 3  # seconds
STATEMENT_TIMEOUT = "3s"
ANSWER_TIMEOUT = 4.0  # seconds for all of a question; the server's own time-out goes first where it works
_REMEMBERED = 1000  # positions of the primary

PRIMARY = """
    SELECT
      CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bigint) AS position,
      CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now
"""

STANDBY = """
    SELECT
      pg_is_in_recovery() AS standby,
      CAST(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') AS bigint) AS position,
      CAST(extract(epoch FROM pg_last_xact_replay_timestamp()) AS double precision) AS replayed
"""

# A physical copy has all of these from its primary. The identifier alone tells clusters apart, but may be kept from us.
READABLE = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS system_identifier"
SYSTEM_IDENTIFIER = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
DATABASE = """
    SELECT
      pg_is_in_recovery() AS standby,
      CAST(d.datname AS text) AS name,
      CAST(d.oid AS bigint) AS number
    FROM pg_catalog.pg_database d
    WHERE d.datname = current_database()
"""


@dataclass(frozen=True)
class Lag:
    """A standby that a run should wait for.

    `seconds` is how old the state is that it shows, None where that is not known; `reason` is a clause that says so.
    """

    seconds: float | None
    reason: str


class Position(NamedTuple):
    """Where the primary's log ended, in bytes, and when that was, in seconds by the primary's clock."""

    position: int
    now: float


class Standbys:
    """Standbys of one primary, asked through connections that are kept; see `watch`."""

    def __init__(self, standbys: Sequence["_Standby"], max_lag: float, notes: Sequence[str] = ()) -> None:
        self.notes = tuple(notes)
        """What a person should know about standbys that are not watched, a sentence each."""
        self._standbys = tuple(standbys)
        self._max_lag = max_lag
        self._history = History()

    @property
    def names(self) -> tuple[str, ...]:
        """What messages call the standbys that are watched."""
        return tuple(standby.name for standby in self._standbys)

    def lag(self, primary: Connection) -> Lag | None:
        """The standby that is the furthest behind of those more than `max_lag` seconds behind; None if none is.

        One that cannot be asked counts as the furthest. Takes some seconds where one gives no answer, so call it while
        no transaction is open. Raises what the primary's connection raises, never anything of a standby's.
        """
        if not self._standbys:
            return None
        with primary.transaction():
            now = Position(*primary.row(PRIMARY))
        self._history.add(now)
        behind = []
        for standby in self._standbys:
            lag = standby.lag(now, self._history)
            if lag.seconds is None:
                return lag
            if lag.seconds > self._max_lag:
                behind.append(lag)
        return max(behind, key=lambda lag: lag.seconds or 0.0, default=None)


@contextmanager
def watch(
    primary: Connection, addresses: Sequence[Address], *, max_lag: float, named: bool = True
) -> Iterator[Standbys]:
    """Watch these standbys of `primary` until the block ends.

    Args:
        primary: what the standbys must be copies of.
        addresses: the standbys.
        max_lag: seconds that a standby may be behind.
        named: a person has named them, so each must be one. Those that GitLab's configuration lists are left out where
            they cannot be used: silently where one is no standby (GitLab may list the primary, too), else with a note.

    Raises:
        Refused: one that was named is no standby, or one of another server.
        DatabaseError: one that was named cannot be reached.
    """
    notes: list[str] = []
    found: list[_Standby] = []
    with ExitStack() as stack:
        ours: _Identity | None = None
        if addresses:
            with primary.transaction():
                ours = _Identity.of(primary)
        for address in addresses:
            standby = _Standby(address)
            stack.callback(standby.close)
            try:
                theirs = standby.identity()
            except TokensError as error:
                if named:
                    raise
                notes.append(f"The run will not wait for a standby that database.yml lists. {error}")
                continue
            fault = theirs.fault(ours) if ours else None
            if fault is None:
                found.append(standby)
            elif named:
                raise Refused(f"{address.shown} {fault}; leave it out, or name a standby of this database.")
            elif theirs.standby:
                notes.append(f"The run will not wait for {address.shown}, which database.yml lists: it {fault}.")
        yield Standbys(found, max_lag, notes)


@contextmanager
def reasons_to_wait(
    address: Address, standbys: Sequence[Address], *, max_lag: float, named: bool, note: Callable[[str], None]
) -> Iterator[Callable[[Connection], str | None]]:
    """What tells a run on `address` why to wait for one of these standbys, None while there is no reason.

    `max_lag` and `named` are as for `watch`; `note` gets a line on standbys that cannot be used.

    Raises:
        DatabaseError, Refused: see `watch`.
    """
    if not standbys:
        yield lambda _: None
        return
    with ExitStack() as stack:
        with connect(address) as primary:
            watched = stack.enter_context(watch(primary, standbys, max_lag=max_lag, named=named))
        for text in watched.notes:
            note(text)

        def reason_to_wait(connection: Connection) -> str | None:
            lag = watched.lag(connection)
            return lag.reason if lag else None

        yield reason_to_wait


@dataclass
class History:
    """Where the primary was when, which tells how old at most the state is that a standby shows.

    The time of the last transaction that a standby has applied is not enough: after an idle hour it is an hour old,
    however little the standby is behind.
    """

    _seen: list[Position] = field(default_factory=list)

    def add(self, seen: Position) -> None:
        """Note a position of the primary; later ones must not be before it."""
        if self._seen and self._seen[-1].position == seen.position:
            self._seen.pop()
        self._seen.append(seen)
        del self._seen[:-_REMEMBERED]

    def age(self, position: int) -> float | None:
        """How many seconds ago the primary was last seen at or before `position`; None if it never was."""
        times = [seen.now for seen in self._seen if seen.position <= position]
        return self._seen[-1].now - times[-1] if times else None


@dataclass(frozen=True)
class _Identity:
    """Which database of which server it is, as far as this role may know."""

    standby: bool
    name: str
    number: int
    system: int | None

    @classmethod
    def of(cls, connection: Connection) -> "_Identity":
        database = connection.row(DATABASE)
        readable = connection.row(READABLE).system_identifier
        system = connection.row(SYSTEM_IDENTIFIER).system_identifier if readable else None
        return cls(database.standby, database.name, database.number, system)

    def fault(self, primary: "_Identity") -> str | None:
        """Why it is no standby of `primary`, as the rest of a sentence about it; None if it is one."""
        if not self.standby:
            return "is no standby but takes changes itself"
        if None not in (self.system, primary.system) and self.system != primary.system:
            return "is a standby of another server"
        if (self.name, self.number) != (primary.name, primary.number):
            return f'leads to database "{self.name}", which is not the one to be changed'
        return None


class _Standby:
    """One standby: a connection that is made when it is needed, and made again after it was lost."""

    def __init__(self, address: Address) -> None:
        self.name = address.shown
        self._address = _impatient(address)
        self._stack = ExitStack()
        self._connection: Connection | None = None

    def identity(self) -> _Identity:
        """Which database it leads to, asked again; raises what the connection raises."""
        connection = self._connected()
        with _short(connection):
            return _Identity.of(connection)

    def lag(self, now: Position, history: History) -> Lag:
        """How far it is behind `now`, the newest position in `history`."""
        try:
            state = self._state()
        except TokensError as error:
            return Lag(None, str(error).rstrip("."))
        if not state.standby:
            return Lag(None, f"{self.name} is no standby any more")
        if state.position is None:
            return Lag(None, f"{self.name} has applied nothing yet")
        if state.position >= now.position:
            return Lag(0.0, f"{self.name} is up to date")
        ages = [history.age(state.position), None if state.replayed is None else now.now - state.replayed]
        known = [max(age, 0.0) for age in ages if age is not None]
        if not known:
            return Lag(None, f"{self.name} has applied no transaction yet")
        seconds = min(known)
        return Lag(seconds, f"{self.name} is {seconds:,.0f} s behind")

    def close(self) -> None:
        """Log out."""
        self._connection = None
        # What a broken connection has to say at its end is nothing new.
        with contextlib.suppress(TokensError):
            self._stack.close()

    def _state(self) -> "_State":
        if self._connection is not None:
            # It may have been closed between two questions, by a pooler for one, while the standby is well.
            with contextlib.suppress(TokensError):
                return self._ask(self._connection)
            self.close()
        try:
            return self._ask(self._connected())
        except BaseException:
            self.close()
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(connect(self._address, read_only=True))
        return self._connection

    def _ask(self, connection: Connection) -> "_State":
        with _short(connection):
            return _State(*connection.row(STANDBY))


class _State(NamedTuple):
    standby: bool
    position: int | None  # bytes of the log that are applied
    replayed: float | None  # when the last transaction that is applied was committed, by the primary's clock


@contextmanager
def _short(connection: Connection) -> Iterator[None]:
    """A transaction that does not take long, whatever hands the connection on, and were the server frozen."""
    with connection.answering_within(ANSWER_TIMEOUT), connection.transaction(statement_timeout=STATEMENT_TIMEOUT):
        yield


def _impatient(address: Address) -> Address:
    """The same place with little patience for one that does not answer: of two equal parameters the last one counts."""
    patience = {"connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": CONNECT_TIMEOUT * 1000}
    words = [f"{name}={value}" for name, value in patience.items()]
    if address.conninfo.startswith(("postgresql://", "postgres://")):
        url = address.conninfo.rstrip("?&")
        return replace(address, conninfo=f"{url}{'&' if '?' in url else '?'}{'&'.join(words)}")
    return replace(address, conninfo=" ".join((address.conninfo, *words)))

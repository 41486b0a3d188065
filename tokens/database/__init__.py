"""Manners: how every room talks to PostgreSQL. Beside this one `tokens.upgrade` alone knows the driver.

Nothing here outlives a transaction on the server: PgBouncer in transaction mode hands one session to many clients, so
settings are `SET LOCAL`, statements are not prepared and no connection is kept between two pieces of work.

Every transaction begins with the same settings, and there is no statement outside one: who may create things in
GitLab's database could have his code run with our privileges otherwise.
"""

import logging
import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row, tuple_row

from tokens.address import Address
from tokens.database.driver import login, rows_of, send_begin, set_configs
from tokens.database.failures import (
    CURES,
    STOOD_STILL,
    TIMEOUT_SETTINGS,
    ask_for_cures,
    how_to_reset,
    identifier,
    one_line,
    translated,
)
from tokens.errors import ConnectionLost, DatabaseError, Refused, TokensError

CANCELLING = 3.0  # seconds
# Workers would share a hash of that size, for which a container with Docker's 64 MB of shared memory has no room. What
# they hand over costs less than to have one process read a table of millions alone, which PostgreSQL does not expect.
GROUPING = {"enable_sort": "off", "jit": "off", "enable_parallel_hash": "off", "parallel_tuple_cost": "0"}
GROUPS = 64 * 1024  # kilobytes, for one statement of one session at a time
ROOM = """
    SELECT
      GREATEST(CAST(memory.setting AS bigint), %(least)s) AS room,
      LEAST(CAST(workers.setting AS integer), CAST(%(most)s AS integer)) AS workers
    FROM pg_catalog.pg_settings memory
    JOIN pg_catalog.pg_settings workers ON workers.name = 'max_parallel_workers_per_gather'
    WHERE memory.name = 'work_mem'
"""

# The same on a primary and its standbys, and another one where a dump was restored.
IDENTITY = """
    SELECT concat(c.system_identifier, '/', d.oid) AS identity
    FROM pg_catalog.pg_control_system() c
    JOIN pg_catalog.pg_database d ON d.datname = current_database()
"""

# PostgreSQL carries these out in no transaction. Nothing in them is looked up in a schema.
OUTSIDE_TRANSACTIONS = ("CREATE DATABASE ", "DROP DATABASE ", "VACUUM ")

# The driver would tell the terminal that a transaction which the server has ended could not be rolled back.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Connection:
    """One login. Every statement is text with `%(name)s` for a value; whatever fails comes out as `tokens.errors`."""

    def __init__(self, driver: psycopg.Connection[Any], address: Address, *, read_only: bool = False) -> None:
        self._driver = driver
        self._address = address
        self._role = driver.info.user
        self._ended_by: str | None = None
        self._given_up = False
        self._streams = 0
        driver.add_notice_handler(self._notice)
        # Whoever reads sees one state of the tables in all statements; whoever writes wants the newest, whatever the
        # role's default is.
        self._level: LiteralString = "REPEATABLE READ READ ONLY" if read_only else "READ COMMITTED"

    @property
    def server_version(self) -> int:
        """The server's version as PostgreSQL counts it: 170004 for 17.4."""
        return self._driver.info.server_version

    @property
    def backend_pid(self) -> int:
        """The server process that the login was given; behind a pooler another one may do the work."""
        return self._driver.info.backend_pid

    def rows(self, statement: str, **parameters: object) -> list[Any]:
        """What `statement` returns, as named tuples."""
        with self._translating():
            return rows_of(self._send(statement, parameters))

    def row(self, statement: str, **parameters: object) -> Any:
        """The first row that `statement` returns, None if there is none."""
        with self._translating():
            return next(iter(rows_of(self._send(statement, parameters))), None)

    def execute(self, statement: str, **parameters: object) -> int:
        """Carry `statement` out and tell how many rows it touched."""
        with self._translating():
            return self._send(statement, parameters).rowcount

    def stream(self, statement: str, at_once: int = 1, /, **parameters: object) -> Iterator[Any]:
        """What `statement` returns, row by row, never more than `at_once` in memory."""
        self._require_transaction()
        self._streams += 1  # several may be open at once
        with self._translating(), self._driver.cursor(name=f"stream_{self._streams}") as cursor:
            cursor.itersize = at_once
            cursor.execute(statement, parameters or None)
            yield from cursor

    def stream_csv(self, statement: str, **parameters: object) -> Generator[bytes]:
        """What `statement` returns, each row as PostgreSQL writes it in CSV; it works on while its rows are read.

        Nothing else can be asked before the last row, or before it is closed.
        """
        self._require_transaction()
        # On this way alone the driver puts values into the text itself.
        copied = f"COPY ({statement}) TO STDOUT (FORMAT csv)"
        with self._translating(), self._driver.cursor().copy(copied.encode(), parameters or None) as rows:
            yield from map(bytes, rows)

    def cancel(self) -> None:
        """Cancel the statement that another thread waits for, if there is one; that has its error then."""
        with suppress(psycopg.Error):
            self._driver.cancel_safe(timeout=CANCELLING)

    def execute_outside(self, statement: str) -> None:
        """Carry out one of OUTSIDE_TRANSACTIONS."""
        if not statement.startswith(OUTSIDE_TRANSACTIONS):
            raise ValueError(f"this has to be in a transaction: {statement}")
        with self._translating():
            self._driver.execute(statement)

    def set_locally(self, **settings: str) -> None:
        """`SET LOCAL` for each setting, in one round trip."""
        self._require_transaction()
        with self._translating():
            # Each column has the same name, which the rows of this connection cannot have.
            self._driver.cursor(row_factory=tuple_row).execute(set_configs(settings))

    @contextmanager
    def grouping(self, workers: int | None = None) -> Iterator[None]:
        """Let the statements of the block group many rows without sorting them, with room for the groups in memory.

        PostgreSQL cannot know how few owners, dates or kinds many tokens have, and plans for far more groups. At most
        `workers` processes read for the one that groups, and never more than the role's or the server's settings allow.
        """
        found = self.row(ROOM, least=GROUPS, most=workers)
        settings = {"work_mem": f"{found.room}kB", "max_parallel_workers_per_gather": str(found.workers)}
        with self.transaction(**GROUPING, **settings):
            yield

    def _settings(self, names: Iterable[str]) -> dict[str, str]:
        """What these settings are now."""
        listed = list(names)
        calls = sql.SQL(", ").join(sql.SQL("pg_catalog.current_setting({})").format(sql.Literal(one)) for one in listed)
        row = self._driver.cursor(row_factory=tuple_row).execute(sql.SQL("SELECT {}").format(calls)).fetchone()
        return dict(zip(listed, row or (), strict=True))

    @contextmanager
    def transaction(self, **settings: str) -> Iterator[None]:
        """BEGIN with SETTINGS and `settings`; COMMIT at the end, ROLLBACK after any exception.

        In an open transaction it is a savepoint, and the settings hold in the block alone: PostgreSQL by itself would
        keep them to the end of the transaction.
        """
        with self._translating():
            if self._driver.info.transaction_status == TransactionStatus.INTRANS:
                with self._driver.transaction():
                    before = self._settings(settings) if settings else {}
                    if settings:
                        self.set_locally(**settings)
                    yield
                    if before:
                        self.set_locally(**before)
                return
            try:
                begin(self._driver, self._address, self._level, settings)
            except psycopg.OperationalError as error:
                if error.sqlstate is not None or self._ended_by is not None:
                    raise
                raise self._lost_before_asking(error) from error
            try:
                yield
            except BaseException:
                # A server that is gone, or has ended the transaction itself, can be told nothing.
                with suppress(psycopg.Error):
                    self._driver.execute("ROLLBACK")
                raise
            self._driver.execute("COMMIT")

    def _send(self, statement: str, parameters: Mapping[str, object]) -> psycopg.Cursor[Any]:
        self._require_transaction()
        return self._driver.execute(statement, parameters or None)

    def _require_transaction(self) -> None:
        if self._driver.info.transaction_status == TransactionStatus.IDLE:
            raise RuntimeError("a statement outside a transaction would find what others have planted in public")

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Cut the connection where the block takes longer, and raise ConnectionLost.

        No setting of the server or of TCP does that: a server that is frozen keeps no time, and its kernel answers.
        """
        cut = threading.Event()

        def end() -> None:
            cut.set()
            self._given_up = True
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._driver.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except TokensError as error:
            if not cut.is_set():
                raise
            raise ConnectionLost(f"{self._address.shown} gives no answer within {seconds:g} seconds.") from error
        finally:
            timer.cancel()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise translated(error, self._address, role=self._role, ended_by=self._ended_by) from error

    def _lost_before_asking(self, error: psycopg.Error) -> ConnectionLost:
        """A server that ends a session that waits may be gone before its words have been read."""
        names = sorted(set(TIMEOUT_SETTINGS.values()))
        found = None if self._given_up else ask_for_cures(self._address, names)
        cures = " ".join(found or (f"ALTER ROLE {identifier(self._role)} RESET {name};" for name in names))
        return ConnectionLost(
            f"The connection to {self._address.shown} was lost before anything was asked: {one_line(error)}; if that "
            f"happens again, the role may have a short timeout, so run {cures}"
        )

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        # What a server says at the end of a session that waits comes as a notice, and then the line is dead.
        if notice.sqlstate in (STOOD_STILL, *TIMEOUT_SETTINGS):
            self._ended_by = notice.sqlstate


@contextmanager
def connect(address: Address, *, read_only: bool = False) -> Iterator[Connection]:
    """Log in, and out at the end of the block. Nothing can be asked but in a `transaction()`."""
    try:
        driver = login(address, autocommit=True, row_factory=namedtuple_row)
    except psycopg.Error as error:
        raise translated(error, address, connected=False) from error
    except UnicodeError as error:  # before it is looked up
        raise DatabaseError(f"No host can have the name in {address.shown}.") from error
    connection = Connection(driver, address, read_only=read_only)
    try:
        yield connection
    finally:
        driver.close()
        # Each would keep the other in memory until Python looks for such pairs.
        driver.remove_notice_handler(connection._notice)


@contextmanager
def reading(address: Address) -> Iterator[Connection]:
    """One short read-only transaction without a statement timeout, as GitLab's own task counts."""
    with connect(address, read_only=True) as connection, connection.transaction():
        yield connection


def read_identity(address: Address) -> str | None:
    """Which database this is, wherever its server is now; None for a role that may not know it."""
    try:
        with reading(address) as connection:
            return str(connection.row(IDENTITY).identity)
    except Refused:
        return None


@contextmanager
def writing(connection: Connection, *, lock_timeout: str, statement_timeout: str) -> Iterator[None]:
    """One transaction that changes rows: committed at the end, rolled back by any exception.

    The server ends it should this process freeze in the middle, since it holds rows that GitLab wants.
    """
    with connection.transaction(lock_timeout=lock_timeout, statement_timeout=statement_timeout):
        yield


def begin(
    driver: psycopg.Connection[Any], address: Address, level: LiteralString, settings: Mapping[str, str] | None = None
) -> None:
    """Begin a transaction with SETTINGS and `settings`, in one message: no timeout of the role's comes in between.

    `level` is its isolation level, as SQL. Raises the driver's errors, but for a statement timeout of the role's.
    """
    try:
        send_begin(driver, level, settings or {})
    except psycopg.errors.QueryCanceled as error:
        reason = translated(error, address)
        cure = how_to_reset("statement_timeout", driver.info.user, address)
        raise DatabaseError(f"{str(reason).rstrip('.')}, before anything was asked; {cure}.") from error


def array_literal(values: Iterable[object]) -> str:
    """An array as PostgreSQL reads it; the driver's own conversion of a list costs ten times as much."""
    return "{" + ",".join(map(str, values)) + "}"


def cures(connection: Connection, names: Sequence[str]) -> list[str]:
    """The statement that takes each of these settings off, or gives the role another where the server itself has it."""
    return [row.cure for row in connection.rows(CURES, names=list(names))]

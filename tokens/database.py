"""Manners: how every room talks to PostgreSQL. Beside it libpq and engine alone know the driver.

Nothing here outlives a transaction on the server: PgBouncer in transaction mode hands one session to many clients, so
settings are `SET LOCAL`, statements are not prepared and no connection is kept between two pieces of work.

Every transaction begins with the same settings, and there is no statement outside one: who may create things in
GitLab's database could have his code run with our privileges otherwise.
"""

import logging
import os
import re
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader, Transformer
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row, tuple_row

from tokens.address import Address, Advice
from tokens.errors import (
    ConnectionLost,
    DatabaseError,
    LockTimeout,
    ReadOnly,
    Refused,
    StatementTimeout,
    TokensError,
    UsageError,
)
from tokens.libpq import parameters_of, show_openssl_the_systems_certificates

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
TRANSACTION_TIMEOUT_SINCE = 170000  # server_version_num of the first PostgreSQL that has the setting

# What every transaction begins with, whatever the role's or the database's own settings are. Names without a schema are
# PostgreSQL's own: were `public` in the path, at whatever place, a function or an operator there that fits better would
# be taken before its own. Dates come as ISO text and times in UTC; a backslash in a literal is a backslash, and a point
# in time comes with all its digits.
SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",  # should this process freeze in the middle
}

OF_NAMES = ("42P01", "42883", "42704", "3F000")  # no such table, function, type, schema

# The timeouts that end a session, by what the server calls their end.
TIMEOUTS = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}

# What a server answers to a login begins with a severity in its own language; what libpq itself says does not.
ANSWER = re.compile(r"failed: \S+:  (.*)", re.DOTALL)
ANSWERED = "the server runs, and that is why it lets nobody in"

# libpq repeats a value that it does not take, and of a mistyped address that may be a password.
UNTAKEN = re.compile(
    r"""invalid\ "?(\w+)"?\ (?:value|method):
    | invalid\ integer\ value\ .*\ for\ connection\ option\ "(\w+)"
    | bad\ value\ for\ (\w+):
    | (require_auth)\ method\ "
    | could\ not\ parse\ (network\ address)\ "
    | definition\ of\ (service)\ " """,
    re.VERBOSE | re.DOTALL,
)
TAKEN = {
    "sslmode": "disable, allow, prefer, require, verify-ca or verify-full",
    "sslcertmode": "disable, allow or require",
    "sslnegotiation": "postgres or direct",
    "channel_binding": "disable, prefer or require",
    "gssencmode": "disable, prefer or require",
    "target_session_attrs": "any, read-write, read-only, primary, standby or prefer-standby",
    "load_balance_hosts": "disable or random",
    "require_auth": "password, md5, gss, sspi, scram-sha-256 or none, several between commas",
    "ssl_min_protocol_version": "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3",
    "ssl_max_protocol_version": "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3",
    "min_protocol_version": "3.0, 3.2 or latest",
    "max_protocol_version": "3.0, 3.2 or latest",
    "hostaddr": "an IP address",
    "service": "the name of a service in pg_service.conf",
}
"""What libpq's parameters take that take no whole number."""

# PostgreSQL carries these out in no transaction. Nothing in them is looked up in a schema.
OUTSIDE_TRANSACTIONS = ("CREATE DATABASE ", "DROP DATABASE ", "VACUUM ")

# What takes each of these settings off: of all that may have one, what is most special counts. Where it is in the
# server's own configuration, a role may have another.
CURES = """
    SELECT DISTINCT ON (asked.name)
      asked.name,
      'ALTER ' || CASE
        WHEN s.setrole IS NULL THEN 'ROLE ' || me.role || ' SET ' || asked.name || ' = 0;'
        WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ROLE ALL RESET ' || asked.name || ';'
        WHEN s.setrole = 0 THEN 'DATABASE ' || me.database || ' RESET ' || asked.name || ';'
        WHEN s.setdatabase = 0 THEN 'ROLE ' || me.role || ' RESET ' || asked.name || ';'
        ELSE 'ROLE ' || me.role || ' IN DATABASE ' || me.database || ' RESET ' || asked.name || ';'
      END AS cure,
      s.setrole IS NOT NULL AS is_set
    FROM unnest(CAST(%(names)s AS text[])) asked(name)
    CROSS JOIN (
      SELECT
        quote_ident(CAST(session_user AS text)) AS role,
        quote_ident(CAST(current_database() AS text)) AS database
    ) me
    LEFT JOIN pg_catalog.pg_db_role_setting s
      ON s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
      AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      AND EXISTS (SELECT FROM unnest(s.setconfig) one(setting) WHERE split_part(one.setting, '=', 1) = asked.name)
    ORDER BY asked.name, s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
"""
TRIES = 3  # of asking a server that ends sessions soon

DIGEST = re.compile(r"[A-Za-z0-9+/]{43}=")  # what GitLab keeps of a token: a SHA-256 as Base64


UNKNOWN_ENCODING = "SQL_ASCII"
"""PostgreSQL's name for "whatever somebody has stored"."""
TEXTS = ("text", "varchar", "bpchar", "name")

# The driver would tell the terminal that a transaction which the server has ended could not be rolled back.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class Text(Loader):
    r"""Text as it is stored, with `\xe9` for a byte that is not UTF-8: a name must be shown, whatever is in it."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "backslashreplace")


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
            return _rows(self._send(statement, parameters))

    def row(self, statement: str, **parameters: object) -> Any:
        """The first row that `statement` returns, None if there is none."""
        with self._translating():
            return next(iter(_rows(self._send(statement, parameters))), None)

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
        names = sorted(set(TIMEOUTS.values()))
        found = None if self._given_up else _ask_for_cures(self._address, names)
        cures = " ".join(found or (f"ALTER ROLE {_quoted(self._role)} RESET {name};" for name in names))
        return ConnectionLost(
            f"The connection to {self._address.shown} was lost before anything was asked: {_one_line(error)}; if that "
            f"happens again, the role may have a short timeout, so run {cures}"
        )

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        # What a server says at the end of a session that waits comes as a notice, and then the line is dead.
        if notice.sqlstate in TIMEOUTS:
            self._ended_by = notice.sqlstate


@contextmanager
def connect(address: Address, *, read_only: bool = False) -> Iterator[Connection]:
    """Log in, and out at the end of the block. Nothing can be asked but in a `transaction()`."""
    try:
        driver = login(address, autocommit=True, row_factory=namedtuple_row)
    except psycopg.Error as error:
        raise translated(error, address, connected=False) from error
    try:
        yield Connection(driver, address, read_only=read_only)
    finally:
        driver.close()


@contextmanager
def reading(address: Address) -> Iterator[Connection]:
    """One short read-only transaction without a statement timeout, as GitLab's own task counts."""
    with connect(address, read_only=True) as connection, connection.transaction():
        yield connection


@contextmanager
def writing(connection: Connection, *, lock_timeout: str, statement_timeout: str) -> Iterator[None]:
    """One transaction that changes rows: committed at the end, rolled back by any exception.

    The server ends it should this process freeze in the middle, since it holds rows that GitLab wants.
    """
    with connection.transaction(lock_timeout=lock_timeout, statement_timeout=statement_timeout):
        yield


def accepts(address: Address) -> bool:
    """Whether somebody can log in at `address` right now."""
    try:
        login(address).close()
    except psycopg.OperationalError:
        return False
    return True


def login(address: Address, **options: Any) -> psycopg.Connection[Any]:
    """The driver's own connection to `address`, with our manners and the driver's errors.

    Raises UsageError for an address that PostgreSQL does not understand.
    """
    show_openssl_the_systems_certificates()
    parameters = {**parameters_of(address), "prepare_threshold": None, **options}
    driver: psycopg.Connection[Any] = psycopg.connect(**parameters)
    if driver.info.parameter_status("server_encoding") == UNKNOWN_ENCODING:
        # The server converts nothing there, and refuses to send what is not UTF-8 to somebody who has asked for it.
        driver.close()
        parameters["client_encoding"] = UNKNOWN_ENCODING
        driver = psycopg.connect(**parameters)
        _read_leniently(driver)
    return driver


def _rows(cursor: psycopg.Cursor[Any]) -> list[Any]:
    try:
        return cursor.fetchall()
    except UnicodeDecodeError:
        # Damaged, or from a time when the server did not look. Not at once: it takes twice the time.
        _read_leniently(cursor)
        reader = Transformer(cursor)
        reader.set_pgresult(cursor.pgresult)
        return reader.load_rows(0, cursor.rowcount, namedtuple_row(cursor))


def _read_leniently(context: AdaptContext) -> None:
    for kind in TEXTS:
        context.adapters.register_loader(kind, Text)


def begin(
    driver: psycopg.Connection[Any], address: Address, level: LiteralString, settings: Mapping[str, str] | None = None
) -> None:
    """Begin a transaction with SETTINGS and `settings`, in one message: no timeout of the role's comes in between.

    `level` is its isolation level, as SQL. Raises the driver's errors, but for a statement timeout of the role's.
    """
    try:
        _begin(driver, level, settings or {})
    except psycopg.errors.QueryCanceled as error:
        reason = translated(error, address)
        cure = _reset("statement_timeout", driver.info.user, address)
        raise DatabaseError(f"{str(reason).rstrip('.')}, before anything was asked; {cure}.") from error


def _begin(driver: psycopg.Connection[Any], level: LiteralString, settings: Mapping[str, str]) -> None:
    everything = {**SETTINGS, **settings}
    if driver.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
        everything["transaction_timeout"] = "0"
    driver.execute(sql.SQL("BEGIN ISOLATION LEVEL {}; {}").format(sql.SQL(level), set_configs(everything)))


def array_literal(values: Iterable[object]) -> str:
    """An array as PostgreSQL reads it; the driver's own conversion of a list costs ten times as much."""
    return "{" + ",".join(map(str, values)) + "}"


def set_configs(settings: Mapping[str, str]) -> sql.Composed:
    """The statement that sets these to the end of the transaction; it needs no search_path to be what it is."""
    calls = (
        sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    )
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls))


def translated(
    error: psycopg.Error,
    address: Address,
    *,
    connected: bool = True,
    role: str = "ROLE",
    ended_by: str | None = None,
) -> TokensError:
    """What the driver reports as one of `tokens.errors`, in one line without a password.

    The driver's own error keeps that line alone, for tracebacks: DETAIL and CONTEXT quote rows, and so a live digest.
    """
    reason = _one_line(error)
    error.args = (reason,)
    if not connected and (untaken := UNTAKEN.search(reason)):
        found = next(filter(None, untaken.groups())).replace("network address", "hostaddr")
        error.args = (f"a value of {found} is not taken",)
        return UsageError(
            f"{address.shown} is not an address that PostgreSQL understands: {found} takes "
            f"{TAKEN.get(found, 'a whole number')}, and has another value there, which is not repeated here."
        )
    if not connected:
        return DatabaseError(f"Cannot connect to {address.shown}: {reason}; {_cure(error, reason, address.advice)}.")
    match error:
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            return LockTimeout(f"Another session of {address.shown} holds a lock: {reason}.")
        case psycopg.errors.QueryCanceled():
            return StatementTimeout(f"{address.shown} cancelled a statement: {reason}.")
        case psycopg.errors.ReadOnlySqlTransaction():
            return ReadOnly(
                f"{address.shown} takes no changes now (a standby, or a failover): run this on the primary."
            )
        case psycopg.Error() if error.sqlstate in OF_NAMES and error.diag.context:
            # Statements of ours name everything and have no context: a function of somebody else's does not.
            return Refused(
                f"A trigger in {address.shown} names something without its schema ({reason}), and only for the owner of"
                " GitLab's tables may it look into schema public: run this as that role (gitlab in most installations)."
            )
        case psycopg.errors.UntranslatableCharacter() | psycopg.errors.CharacterNotInRepertoire():
            return _untranslatable(reason, address)
        case psycopg.errors.InvalidRegularExpression():
            return UsageError(f"What a name shall be like is too much for PostgreSQL ({reason}): use a shorter --name.")
        case psycopg.errors.ModifyingSqlDataNotPermitted():
            return Refused(f"{address.shown} does not hold GitLab's tokens: {reason}.")
        case psycopg.errors.InsufficientPrivilege():
            return Refused(f"{address.shown} does not allow this: {reason}; ask its administrator for the privilege.")
        case psycopg.Error() if (ended := error.sqlstate or ended_by) in TIMEOUTS:
            cure = _reset(TIMEOUTS[str(ended)], role, address)
            return ConnectionLost(f"The connection to {address.shown} was lost: {reason}; {cure}.")
        case psycopg.OperationalError() if (error.sqlstate or "08").startswith(("08", "57P")):
            return ConnectionLost(f"The connection to {address.shown} was lost: {reason}.")
    return DatabaseError(f"{address.shown} reports an error: {reason}.")


def _untranslatable(reason: str, address: Address) -> TokensError:
    """What is wrong with a character that the server cannot turn from one encoding into another: whose it is."""
    encodings = re.findall(r'"([A-Z][A-Z0-9_]*)"', reason)  # that of the character, and the one that lacks it
    if encodings[:1] == ["UTF8"] and len(encodings) > 1:
        return UsageError(
            f"An option has a character that {address.shown} cannot hold, since its encoding is {encodings[1]} and not "
            f"UTF8 ({reason}): write that option without it."
        )
    kept = f", whose encoding is {encodings[0]}," if encodings else ""
    return DatabaseError(
        f"{address.shown}{kept} holds a text that is nothing in UTF-8 ({reason}): whatever shows names of tokens or "
        "users fails because of it. Find it with psql and SET client_encoding = SQL_ASCII, and change it in GitLab."
    )


def cures(connection: Connection, names: Sequence[str]) -> list[str]:
    """The statement that takes each of these settings off, or gives the role another where the server itself has it."""
    return [row.cure for row in connection.rows(CURES, names=list(names))]


def _reset(setting: str, role: str, address: Address) -> str:
    """What to do about a timeout that ended our work before ours was set, or between two pieces."""
    found = _ask_for_cures(address, [setting])
    if found:
        return f"{setting} is too short: run {found[0]} then try again"
    return (
        f"{setting} is too short: run ALTER ROLE {_quoted(role)} RESET {setting}; (ALTER ROLE … IN DATABASE … or ALTER "
        "DATABASE … if that has it)"
    )


def _ask_for_cures(address: Address, names: Sequence[str]) -> list[str]:
    """`cures` by a login of its own, of the settings that somebody has set where there are any; none if it fails.

    The login switches them off, which a pooler does not take; then the same timeouts may end it.
    """
    off = " ".join(f"-c {name}=0" for name in names)
    for options in ({"options": off}, *([{}] * TRIES)):
        try:
            with closing(login(address, autocommit=True, row_factory=namedtuple_row, **options)) as driver:
                _begin(driver, "REPEATABLE READ READ ONLY", {})
                rows = _rows(driver.execute(CURES, {"names": list(names)}))
            return [row.cure for row in rows if row.is_set] or [row.cure for row in rows]
        except psycopg.errors.ConnectionTimeout:
            break  # somebody waits
        except psycopg.Error:
            continue
    return []


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _cure(error: psycopg.Error, reason: str, advice: Advice) -> str:
    """What to do about a login that failed. There are no codes: libpq speaks English, and a server any language."""
    answer = ANSWER.search(reason)
    if "Peer authentication" in reason or "Ident authentication" in reason:
        return advice.peer
    if "password" in reason:
        return advice.password
    if any(word in reason for word in ("SSL", "certificate", "sslmode", "sslrootcert", "private key")):
        return advice.tls
    if answer is None:
        return advice.unreachable
    login = error.pgconn
    if login is None or "pg_hba.conf" in reason:
        return ANSWERED
    names_role, names_database = (_names(answer[1], name.decode()) for name in (login.user, login.db))
    if names_database and login.user != login.db:
        return "check the database's name and that the role may connect to it"
    if names_role and login.used_password:
        return advice.password
    # Only on a socket does a server ask the kernel who is calling.
    if names_role and login.host.startswith(b"/"):
        return advice.peer
    return ANSWERED


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _one_line(error: psycopg.Error) -> str:
    """The server's own sentence, or the driver's without libpq's advice on its second line.

    Without a digest: a trigger's text may hold one, and what is said here goes to screens, logs and the journal.
    """
    if error.diag.message_primary:
        line = " ".join(error.diag.message_primary.split()).rstrip(".")
    else:
        lines = (line.strip().rstrip(".") for line in str(error).splitlines())
        line = " ".join(line for line in lines if line and not line.endswith("?"))
    return DIGEST.sub("[digest]", line)

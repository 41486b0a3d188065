"""Engine and manners: how every room talks to PostgreSQL. The only file that knows the driver.

Nothing here outlives a transaction on the server: PgBouncer in transaction mode hands one session to many clients, so
settings are `SET LOCAL`, statements are not prepared and no connection is kept between two pieces of work.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.pool import NullPool

from tokens.address import Address
from tokens.errors import (
    ConnectionLost,
    DatabaseError,
    LockTimeout,
    Refused,
    StatementTimeout,
    UsageError,
)

APPLICATION_NAME = "gitlab-tokens"
CONNECT_TIMEOUT = 10  # seconds
TRANSACTION_TIMEOUT_SINCE = 170000  # server_version_num of the first PostgreSQL that has the setting


def engine(address: Address) -> sa.Engine:
    """An engine for `address` that opens a connection for each piece of work and closes it afterwards.

    Whatever the driver raises through it comes out as one of `tokens.errors`, in one line.
    """
    parameters = _parameters(address)

    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error):
            return  # Ctrl-C, or a fault of ours
        raise _translated(error, address, connected=context.connection is not None) from error

    result = sa.create_engine(
        "postgresql+psycopg://",
        creator=partial(_connect, address, parameters),
        poolclass=NullPool,
        use_native_hstore=False,  # it would cost a query for each connection
    )
    sa.event.listen(result, "handle_error", translate)
    return result


def accepts(address: Address) -> bool:
    """Whether somebody can log in at `address` right now."""
    try:
        _connect(address, _parameters(address)).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One short read-only transaction without a statement timeout, as GitLab's own task counts.

    Dates come as ISO text and times in UTC, whatever the role's or the database's defaults are.
    """
    with engine.connect().execution_options(postgresql_readonly=True) as connection, connection.begin():
        settings = {"TimeZone": "UTC", "DateStyle": "ISO, YMD", "statement_timeout": "0"}
        if server_version(connection) >= TRANSACTION_TIMEOUT_SINCE:
            settings["transaction_timeout"] = "0"
        set_locally(connection, **settings)
        yield connection


@contextmanager
def writing(connection: sa.Connection, *, lock_timeout: str, statement_timeout: str) -> Iterator[None]:
    """One transaction that changes rows: committed at the end, rolled back by any exception."""
    with connection.begin():
        set_locally(connection, lock_timeout=lock_timeout, statement_timeout=statement_timeout)
        yield


def set_locally(connection: sa.Connection, **settings: str) -> None:
    """`SET LOCAL` for each setting, in one round trip."""
    calls = [sa.func.set_config(name, value, sa.true()) for name, value in settings.items()]
    connection.execute(sa.select(*calls))


def server_version(connection: sa.Connection) -> int:
    """The server's version as PostgreSQL counts it: 170004 for 17.4."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return driver.info.server_version


def _connect(address: Address, parameters: dict[str, Any]) -> psycopg.Connection[Any]:
    with _without_variables(complete=address.complete):
        return psycopg.connect(**parameters, prepare_threshold=None)


@contextmanager
def _without_variables(*, complete: bool) -> Iterator[None]:
    """Hide libpq's variables: all of them from a complete address, else those that would lead an address astray.

    PGOPTIONS would become a start-up parameter, which PgBouncer refuses; PGHOSTADDR goes before any host.
    """
    hidden = {
        name: value
        for name, value in os.environ.items()
        if name in ("PGOPTIONS", "PGHOSTADDR") or (complete and name.startswith("PG"))
    }
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _parameters(address: Address) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(address.conninfo)
    except psycopg.ProgrammingError as error:
        # libpq quotes the whole address, password included.
        reason = _one_line(error).replace(address.conninfo, address.shown)
        raise UsageError(f"{address.shown} is not an address that PostgreSQL understands: {reason}.") from error
    if "options" in parameters:
        raise UsageError(
            "The parameter `options` cannot be used in a target, since PgBouncer refuses it; leave it out."
        )
    return {"connect_timeout": CONNECT_TIMEOUT, "application_name": APPLICATION_NAME, **parameters}


def _translated(error: psycopg.Error, address: Address, *, connected: bool) -> Exception:
    reason = _one_line(error)
    if not connected:
        return DatabaseError(
            f"Cannot connect to {address.shown}: {reason}. "
            "Check the target and that the server runs; a password is taken from PGPASSWORD or ~/.pgpass."
        )
    match error:
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            return LockTimeout(f"Another session of {address.shown} holds a lock: {reason}.")
        case psycopg.errors.QueryCanceled():
            return StatementTimeout(f"{address.shown} cancelled a statement: {reason}.")
        case psycopg.errors.ReadOnlySqlTransaction():
            return Refused(f"{address.shown} takes no changes now (a standby, or a failover): run this on the primary.")
        case psycopg.errors.ModifyingSqlDataNotPermitted():
            return Refused(f"{address.shown} does not hold GitLab's tokens: {reason}.")
        case psycopg.errors.InsufficientPrivilege():
            return Refused(f"{address.shown} does not allow this: {reason}; ask its administrator for the privilege.")
        case psycopg.OperationalError() if (error.sqlstate or "08").startswith(("08", "57P")):
            return ConnectionLost(f"The connection to {address.shown} was lost: {reason}.")
    return DatabaseError(f"{address.shown} reports an error: {reason}.")


def _one_line(error: psycopg.Error) -> str:
    """The server's own sentence, or the driver's without libpq's advice on its second line."""
    if error.diag.message_primary:
        return " ".join(error.diag.message_primary.split()).rstrip(".")
    lines = (line.strip().rstrip(".") for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.endswith("?"))

"""The database as SQLAlchemy sees it, for Alembic's migrations and the demo's population. The tasks do without it.

SQLAlchemy takes a quarter of a second to import: nothing that runs at start-up may import this module.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.pool import NullPool

from tokens.address import Address
from tokens.database import Connection, begin
from tokens.driver import login, set_configs
from tokens.failures import translated


@contextmanager
def transaction(address: Address) -> Iterator[sa.Connection]:
    """One transaction in the database at `address`: committed at the end, rolled back by any exception.

    It begins with `tokens.driver.SETTINGS`, and so does what SQLAlchemy itself asks at its first login.
    """

    def protect(driver: psycopg.Connection[Any]) -> None:
        try:
            begin(driver, address, "READ COMMITTED")
        except psycopg.Error as error:
            raise translated(error, address, role=driver.info.user) from error

    def log_in() -> psycopg.Connection[Any]:
        driver = login(address, autocommit=True)
        try:
            protect(driver)
        except BaseException:
            driver.close()
            raise
        return driver

    def protect_again(connection: sa.Connection) -> None:
        # What SQLAlchemy asked at its login is rolled back.
        driver: Any = connection.connection.driver_connection
        protect(driver)

    engine = _engine(address, log_in)
    sa.event.listen(engine, "begin", protect_again)
    with engine.begin() as connection:
        yield connection


@lru_cache(8)  # what it learns at its first login, and the statements that it has compiled
def make_engine(address: Address) -> sa.Engine:
    """An engine for `address` that opens a connection for each piece of work and closes it afterwards.

    Whatever the driver raises through it comes out as one of `tokens.errors`, in one line. It sets nothing: names
    without a schema are whatever the role's own search_path makes of them. That is for a database of one's own alone.
    """
    return _engine(address, partial(login, address))


def set_locally(connection: sa.Connection, **settings: str) -> None:
    """`SET LOCAL` for each setting, in one round trip."""
    connection.exec_driver_sql(set_configs(settings).as_string())


def _engine(address: Address, creator: Callable[[], psycopg.Connection[Any]]) -> sa.Engine:
    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error):
            return  # Ctrl-C, or a fault of ours
        raise translated(error, address, connected=context.connection is not None) from error

    result = sa.create_engine(
        "postgresql+psycopg://",
        creator=creator,
        poolclass=NullPool,
        use_native_hstore=False,  # it would cost a query for each connection
    )
    sa.event.listen(result, "handle_error", translate)
    return result


@contextmanager
def plainly(connection: sa.Connection, address: Address) -> Iterator[Connection]:
    """The same login in the same transaction, as every other room knows it."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - the engine's own
    before, driver.row_factory = driver.row_factory, namedtuple_row
    try:
        yield Connection(driver, address)
    finally:
        driver.row_factory = before

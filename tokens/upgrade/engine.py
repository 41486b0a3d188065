"""The database as SQLAlchemy sees it, for Alembic's migrations and the demo's population. The tasks do without it.

SQLAlchemy takes a quarter of a second to import: nothing that runs at start-up may import this module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.pool import NullPool

from tokens.address import Address
from tokens.database import Connection, begin
from tokens.database.driver import login, set_configs
from tokens.database.failures import translated


@contextmanager
def transaction(address: Address) -> Iterator[sa.Connection]:
    """One transaction in the database at `address`: committed at the end, rolled back by any exception.

    Whatever the driver raises comes out as one of `tokens.errors`, in one line. It begins with
    `tokens.database.driver.SETTINGS`, and so does what SQLAlchemy itself asks at its first login.
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

    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error):
            return  # Ctrl-C, or a fault of ours
        raise translated(error, address, connected=context.connection is not None) from error

    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=log_in,
        poolclass=NullPool,
        use_native_hstore=False,  # it would cost a query for each connection
    )
    sa.event.listen(engine, "handle_error", translate)
    sa.event.listen(engine, "begin", protect_again)
    with engine.begin() as connection:
        yield connection


def set_locally(connection: sa.Connection, **settings: str) -> None:
    """`SET LOCAL` for each setting, in one round trip."""
    connection.exec_driver_sql(set_configs(settings).as_string())


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

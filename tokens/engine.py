"""The database as SQLAlchemy sees it, for Alembic's migrations and the demo's population. The tasks do without it.

SQLAlchemy takes a quarter of a second to import: nothing that runs at start-up may import this module.
"""

from functools import partial

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.pool import NullPool

from tokens.address import Address
from tokens.database import login, translated


def make_engine(address: Address) -> sa.Engine:
    """An engine for `address` that opens a connection for each piece of work and closes it afterwards.

    Whatever the driver raises through it comes out as one of `tokens.errors`, in one line.
    """

    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error):
            return  # Ctrl-C, or a fault of ours
        raise translated(error, address, connected=context.connection is not None) from error

    result = sa.create_engine(
        "postgresql+psycopg://",
        creator=partial(login, address),
        poolclass=NullPool,
        use_native_hstore=False,  # it would cost a query for each connection
    )
    sa.event.listen(result, "handle_error", translate)
    return result


def set_locally(connection: sa.Connection, **settings: str) -> None:
    """`SET LOCAL` for each setting, in one round trip."""
    calls = [sa.func.set_config(name, value, sa.true()) for name, value in settings.items()]
    connection.execute(sa.select(*calls))

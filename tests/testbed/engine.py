"""A test's own statements about a database, by SQLAlchemy, whose errors come out as they are."""

from functools import lru_cache, partial

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tokens.address import Address
from tokens.database.driver import login


@lru_cache(8)  # what it learns at its first login, and the statements that it has compiled
def make_engine(address: Address) -> sa.Engine:
    """An engine for `address` that opens a connection for each piece of work and closes it afterwards.

    Names without a schema are whatever the role's own search_path makes of them.
    """
    creator = partial(login, address)
    return sa.create_engine("postgresql+psycopg://", creator=creator, poolclass=NullPool, use_native_hstore=False)

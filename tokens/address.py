"""Where a PostgreSQL database is. A leaf without a driver, so that choosing a target costs no database library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """One database as libpq would be told about it.

    `conninfo` is a libpq connection string, either form (`host=… dbname=…` or `postgresql://…`); it may hold a password
    and is never shown. `shown` is what messages call the place. `complete` says that none of libpq's variables (PGHOST,
    PGSERVICE, …) may add to it: an administrator's shell must not redirect us.
    """

    conninfo: str
    shown: str
    complete: bool = False

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

"""A real publisher and a real subscriber, PostgreSQL 18, each with GitLab's tables in a database that is replicated."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.testbed.servers import GITLAB, prepare
from tokens.address import Address
from tokens.targets.demo.embedded import Server
from tokens.upgrade import Branch, upgrade

PUBLICATION = "everything"
SUBSCRIPTION = "copy"
TEMPLATE = "template_gitlab"

_SETTINGS = {
    "wal_level": "logical",
    "wal_retrieve_retry_interval": "100ms",  # between two tries of a subscriber that has met an error
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}
_PATIENCE = 60  # seconds until a subscriber must have caught up


@dataclass(frozen=True)
class Replica:
    """One database on both servers: what is committed in `publisher` comes to `subscriber`."""

    publisher: Address
    subscriber: Address

    def catch_up(self) -> None:
        """Come back when the subscriber has applied all that was committed before; TimeoutError where it does not."""
        written = value(self.publisher, "SELECT pg_current_wal_insert_lsn()::text")
        statement = "SELECT confirmed_flush_lsn >= %(lsn)s::pg_lsn FROM pg_replication_slots WHERE slot_name = %(slot)s"
        deadline = time.monotonic() + _PATIENCE
        while not value(self.publisher, statement, lsn=written, slot=self._slot):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The subscriber does not catch up within {_PATIENCE} seconds")
            time.sleep(0.005)

    def errors(self) -> int:
        """How often the subscriber could not apply what came."""
        statement = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %(name)s"
        return int(value(self.subscriber, statement, name=self._slot))

    def refresh(self) -> None:
        """Let the subscriber have the tables that it did not know, with their rows."""
        execute(self.subscriber, f"ALTER SUBSCRIPTION {self._slot} REFRESH PUBLICATION")
        deadline = time.monotonic() + _PATIENCE
        while value(self.subscriber, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The tables are not copied within {_PATIENCE} seconds")
            time.sleep(0.005)

    @property
    def _slot(self) -> str:
        return f"{SUBSCRIPTION}_{value(self.publisher, 'SELECT current_database()')}"


@dataclass
class Logical:
    """Both servers, running."""

    publisher: Server
    subscriber: Server
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def database(self, publication: str = "FOR ALL TABLES") -> Iterator[Replica]:
        """A fresh database with GitLab's tables on both servers, in sync; both are reached as superuser."""
        name = f"gitlabhq_{next(self._numbers)}"
        slot = f"{SUBSCRIPTION}_{name}"
        both = Replica(self.publisher.address(name), self.subscriber.address(name))
        for server in (self.publisher, self.subscriber):
            execute(server.address("postgres"), f"CREATE DATABASE {name} OWNER {GITLAB} TEMPLATE {TEMPLATE}")
        execute(both.publisher, f"CREATE PUBLICATION {PUBLICATION} {publication}")
        source = sql.Literal(both.publisher.conninfo).as_string()
        execute(
            both.subscriber,
            f"CREATE SUBSCRIPTION {slot} CONNECTION {source} PUBLICATION {PUBLICATION} WITH (copy_data = false)",
        )
        try:
            both.catch_up()
            yield both
        finally:
            execute(both.subscriber, f"DROP SUBSCRIPTION {slot}")
            for server in (self.publisher, self.subscriber):
                execute(server.address("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def logical_replication(folder: Path) -> Iterator[Logical]:
    """Both servers below `folder`, which PostgreSQL's account must be able to enter; they are gone after the block."""
    publisher, subscriber = (Server(folder / name, settings=_SETTINGS) for name in ("publisher", "subscriber"))
    try:
        for server in (publisher, subscriber):
            prepare(server).start()
            execute(
                server.address("postgres"),
                f"CREATE ROLE {GITLAB} LOGIN",
                f"CREATE DATABASE {TEMPLATE} OWNER {GITLAB}",
            )
            upgrade(server.address(TEMPLATE, GITLAB), Branch.GITLAB)
        yield Logical(publisher, subscriber)
    finally:
        for server in (subscriber, publisher):
            server.remove()


def value(address: Address, statement: str, **parameters: object) -> Any:
    """The first value of what `statement` returns."""
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        row = connection.execute(statement, parameters or None).fetchone()
    return row and row[0]


def execute(address: Address, *statements: str) -> None:
    """Carry out each statement by itself, as psql does."""
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)

"""Servers with a data folder that `initdb` made once a run, and databases on them that are copied from templates."""

import itertools
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.testbed.shared import once
from tokens.address import Address
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import NEWEST, packaged_binaries
from tokens.upgrade import Branch, upgrade

GITLAB = "gitlab"
"""The role that owns GitLab's databases and that its programs connect as; not a superuser."""

_SETTINGS = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}

_administrators: dict[Path, psycopg.Connection[Any]] = {}


def is_newest(address: Address) -> bool:
    """Whether this is the newest of the servers: what is tried many times there is tried a few times on the others."""
    with psycopg.connect(address.conninfo) as connection:
        return connection.info.server_version // 10_000 == NEWEST


def prepare(server: Server, binaries: Path | None = None) -> Server:
    """Lay a fresh data folder into a server that does not exist yet; `binaries` will start it.

    All that are made so have the same system identifier.
    """
    used = binaries or packaged_binaries()

    def initialise(folder: Path) -> None:
        first = Server(folder / "pg", binaries=used, settings={"fsync": "off"})
        first.start()
        first.stop()

    # A short name: a Unix socket lies below it.
    made = once(f"initdb-{zlib.crc32(bytes(used)):08x}", initialise) / "pg" / "data"
    server.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (server.folder / "lock").touch()
    subprocess.run(["cp", "-a", made, server.folder / "data"], check=True)
    return server


def administrator(server: Server) -> psycopg.Connection[Any]:
    """The superuser's session on `server`, kept for all that is made there: a fresh one for each takes longer."""
    kept = _administrators.get(server.folder)
    if kept is not None:
        try:
            kept.execute("SELECT")
        except psycopg.OperationalError:
            kept.close()  # the server was restarted since, or a test was stopped in the middle
        else:
            return kept
    made = psycopg.connect(server.address("postgres").conninfo, autocommit=True)
    _administrators[server.folder] = made
    return made


def create_role(server: Server) -> None:
    """Make the role GITLAB."""
    administrator(server).execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(GITLAB)))


def create_database(server: Server, name: str, template: str = "template1") -> None:
    """Make a database of GITLAB's that has what the template has."""
    connection = administrator(server)
    names = map(sql.Identifier, (name, GITLAB, template))
    statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*names)
    if connection.info.server_version >= 150000:  # there another way is usual, several times as slow with fsync off
        statement += sql.SQL(" STRATEGY file_copy")
    connection.execute(statement)


def drop_database(server: Server, name: str) -> None:
    """Delete a database if there is one, whoever is in it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    administrator(server).execute(statement.format(sql.Identifier(name)))


def remove(server: Server) -> None:
    """Stop a server and delete all that it has."""
    if kept := _administrators.pop(server.folder, None):
        kept.close()
    server.remove()


@dataclass
class Databases:
    """Fresh databases on a server that runs, with GitLab's tables of the newest release: copies of a template."""

    server: Server
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _templates: dict[bool, str] = field(default_factory=dict)

    @contextmanager
    def fresh(self, *, journal: bool) -> Iterator[str]:
        """The name of a database for the time of the block, with an empty journal if it is wanted."""
        name = f"gitlabhq_{next(self._numbers)}"
        create_database(self.server, name, self._template(journal=journal))
        try:
            yield name
        finally:
            drop_database(self.server, name)

    def _template(self, *, journal: bool) -> str:
        if journal not in self._templates:
            name = "template_journal" if journal else "template_gitlab"
            create_database(self.server, name, self._template(journal=False) if journal else "template1")
            upgrade(self.server.address(name, GITLAB), Branch.JOURNAL if journal else Branch.GITLAB)
            self._templates[journal] = name
        return self._templates[journal]


@dataclass
class Alone:
    """A server of PostgreSQL 18 that no standby follows."""

    server: Server
    _databases: Databases

    @contextmanager
    def database(self, *, journal: bool = False) -> Iterator[Address]:
        """A fresh database with GitLab's tables, and an empty journal if it is wanted, reached as GITLAB."""
        with self._databases.fresh(journal=journal) as name:
            yield self.server.address(name, GITLAB, shown=f"gitlab@alone/{name}")


@contextmanager
def running_alone(folder: Path) -> Iterator[Alone]:
    """Such a server below `folder`, which PostgreSQL's account must be able to enter; it is gone after the block."""
    server = prepare(Server(folder / "alone", settings=_SETTINGS))
    try:
        server.start()
        create_role(server)
        yield Alone(server, Databases(server))
    finally:
        remove(server)

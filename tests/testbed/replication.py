"""A real primary, a real standby that streams from it and a server without one, with databases made on demand.

All are of PostgreSQL 18. What needs no standby is on the third: a standby does all of its primary's work again.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tokens.address import Address
from tokens.database import accepts
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import Programs, packaged_binaries, unprivileged_account
from tokens.upgrade import Branch, upgrade

GITLAB = "gitlab"
"""The role that owns the databases and that they are reached as; not a superuser."""

_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "4",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}
_ALONE = {
    **_SETTINGS,
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "synchronous_commit": "off",
}
_PATIENCE = 60  # seconds until a standby must have caught up


@dataclass(frozen=True)
class Pair:
    """One database on the primary and on the standby, reached as the role `gitlab`."""

    primary: Address
    standby: Address


@dataclass
class Replicated:
    """A primary and its streaming standby, and a server that has none; all of them run."""

    primary: Server
    standby: Server
    alone: Server
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _templates: dict[tuple[Path, bool], str] = field(default_factory=dict)

    @contextmanager
    def database(self, *, journal: bool = False) -> Iterator[Pair]:
        """A fresh database with GitLab's tables of the newest release, and an empty journal if it is wanted.

        It is on the standby, too, once the block begins.
        """
        with self._database(self.primary, journal=journal) as name:
            self.catch_up()
            try:
                yield self.pair(name)
            finally:
                self.resume_replay()

    @contextmanager
    def database_alone(self, *, journal: bool = False) -> Iterator[Address]:
        """The same on the server that has no standby."""
        with self._database(self.alone, journal=journal) as name:
            yield self.alone.address(name, GITLAB, shown=f"gitlab@alone/{name}")

    def pair(self, database: str) -> Pair:
        """A database's two addresses, whether or not it exists."""
        shown = f"gitlab@{{}}/{database}".format
        return Pair(
            self.primary.address(database, GITLAB, shown=shown("primary")),
            self.standby.address(database, GITLAB, shown=shown("standby")),
        )

    @contextmanager
    def replay_paused(self) -> Iterator[None]:
        """Let the standby receive what the primary writes, but apply none of it until the block ends."""
        self.pause_replay()
        try:
            yield
        finally:
            self.resume_replay()

    def pause_replay(self) -> None:
        """Stop applying, and come back when nothing is applied any more."""
        _execute(self.standby, sql.SQL("SELECT pg_wal_replay_pause()"))
        _wait_until(lambda: _value(self.standby, "SELECT pg_get_wal_replay_pause_state()") == "paused", "pauses")

    def resume_replay(self) -> None:
        """Apply again; nothing is done where that is so."""
        _execute(self.standby, sql.SQL("SELECT pg_wal_replay_resume()"))

    def catch_up(self) -> None:
        """Come back when the standby has applied all that the primary had written at the call."""
        written = _value(self.primary, "SELECT pg_current_wal_flush_lsn()::text")
        caught_up = "SELECT pg_last_wal_replay_lsn() >= %(lsn)s::pg_lsn"
        with psycopg.connect(self.standby.address("postgres").conninfo, autocommit=True) as connection:
            _wait_until(lambda: connection.execute(caught_up, {"lsn": written}).fetchone() == (True,), "catches up")

    @contextmanager
    def _database(self, server: Server, *, journal: bool) -> Iterator[str]:
        name = f"gitlabhq_{next(self._numbers)}"
        _create(server, name, self._with_tables(server, journal=journal))
        try:
            yield name
        finally:
            _execute(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _with_tables(self, server: Server, *, journal: bool) -> str:
        key = (server.folder, journal)
        if key not in self._templates:
            name = "template_journal" if journal else "template_gitlab"
            _create(server, name, self._with_tables(server, journal=False) if journal else "template1")
            upgrade(server.address(name, GITLAB), Branch.JOURNAL if journal else Branch.GITLAB)
            self._templates[key] = name
        return self._templates[key]


@contextmanager
def replication(folder: Path) -> Iterator[Replicated]:
    """The servers below `folder`, which PostgreSQL's account must be able to enter; they are gone after the block."""
    primary = Server(folder / "primary", settings=_SETTINGS)
    standby = Server(folder / "standby", settings=_SETTINGS)
    alone = Server(folder / "alone", settings=_ALONE)
    try:
        for server in (primary, alone):
            server.start()  # by an initdb of its own: a server is known by the number that it gives it
            _execute(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(GITLAB)))
        _copy(primary, standby)
        standby.start()
        yield Replicated(primary, standby, alone)
    finally:
        for server in (standby, primary, alone):
            server.remove()


def restart(server: Server) -> None:
    """Start a server that was stopped, and come back when it lets people in."""
    server.start()
    _wait_until(lambda: accepts(server.address("postgres")), "starts")


def _copy(primary: Server, standby: Server) -> None:
    """What `pg_basebackup` makes of the primary: a data folder that streams from it when it is started."""
    standby.folder.mkdir(mode=0o755)
    (standby.folder / "lock").touch()
    programs = Programs(standby.folder, packaged_binaries(), unprivileged_account())
    data = standby.folder / "data"
    data.mkdir(mode=0o700)
    programs.own(data)
    source = ["--host", str(primary.folder / "socket"), "--username", "postgres"]
    options = ["--pgdata", data.name, "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]
    done = programs.run("pg_basebackup", *source, *options)
    if done.returncode != 0:
        raise RuntimeError(f"pg_basebackup ends with {done.returncode}: {done.stderr}")


def _create(server: Server, name: str, template: str) -> None:
    # Half the work of the other strategy, without fsync.
    statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy")
    _execute(server, statement.format(*map(sql.Identifier, (name, GITLAB, template))))


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"No server {what} within {_PATIENCE} seconds")
        time.sleep(0.005)


def _value(server: Server, statement: str, **parameters: object) -> Any:
    with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
        row = connection.execute(statement, parameters or None).fetchone()
    return row and row[0]


def _execute(server: Server, statement: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(server.address("postgres").conninfo, autocommit=True) as connection:
        connection.execute(statement)

"""A real primary and a real standby that streams from it, of PostgreSQL 18, with databases made on demand.

What needs no standby is on `tests.testbed.servers.Alone`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import servers
from tests.testbed.servers import GITLAB, Databases, administrator, create_role
from tokens.address import Address
from tokens.database.driver import accepts
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import Programs, packaged_binaries, unprivileged_account

_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "4",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}
_PATIENCE = 60  # seconds until a standby must have caught up


@dataclass(frozen=True)
class Pair:
    """One database on the primary and on the standby, reached as the role `gitlab`."""

    primary: Address
    standby: Address


@dataclass
class Replicated:
    """A primary and its streaming standby; both run."""

    primary: Server
    standby: Server
    _databases: Databases

    @contextmanager
    def database(self, *, journal: bool = False) -> Iterator[Pair]:
        """A fresh database with GitLab's tables of the newest release, and an empty journal if it is wanted.

        It is on the standby, too, once the block begins.
        """
        with self._databases.fresh(journal=journal) as name:
            self.catch_up()
            try:
                yield self.pair(name)
            finally:
                self.resume_replay()

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
        administrator(self.standby).execute("SELECT pg_wal_replay_pause()")
        _wait_until(lambda: _value(self.standby, "SELECT pg_get_wal_replay_pause_state()") == "paused", "pauses")

    def resume_replay(self) -> None:
        """Apply again; nothing is done where that is so."""
        administrator(self.standby).execute("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Come back when the standby has applied all that the primary had written at the call."""
        written = _value(self.primary, "SELECT pg_current_wal_flush_lsn()::text")
        caught_up = "SELECT pg_last_wal_replay_lsn() >= %(lsn)s::pg_lsn"
        connection = administrator(self.standby)
        _wait_until(lambda: connection.execute(caught_up, {"lsn": written}).fetchone() == (True,), "catches up")


@contextmanager
def replication(folder: Path) -> Iterator[Replicated]:
    """The servers below `folder`, which PostgreSQL's account must be able to enter; they are gone after the block."""
    primary = Server(folder / "primary", settings=_SETTINGS)
    standby = Server(folder / "standby", settings=_SETTINGS)
    try:
        primary.start()  # by an initdb of its own: a server is known by the number that it gives it
        create_role(primary)
        _copy(primary, standby)
        standby.start()
        yield Replicated(primary, standby, Databases(primary))
    finally:
        for server in (standby, primary):
            servers.remove(server)


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


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"No server {what} within {_PATIENCE} seconds")
        time.sleep(0.005)


def _value(server: Server, statement: str) -> Any:
    row = administrator(server).execute(statement).fetchone()
    return row and row[0]

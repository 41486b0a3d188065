"""The demo: a throw-away PostgreSQL with a GitLab-shaped database that shows the tables of GitLab's documentation.

Its database has its final name only when it is complete: who can log in to it has a finished demo, and a fill that
was killed leaves nothing but a database of another name, which the next one drops.

Beside the server's files its folder has secrets.yml, the demo's own db_key_base, and `api`, which the stand-in for
GitLab's API keeps locked as long as it runs.

Attaching to a running demo is what every command pays for: it is one login, and imports no Alembic.
"""

import contextlib
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from tokens.address import Address
from tokens.errors import ServerError, TokensError, UsageError
from tokens.targets.demo import stand_in
from tokens.targets.demo.embedded import SUPERUSER, Server
from tokens.targets.demo.programs import NEWEST, packaged_binaries
from tokens.targets.demo.progress import Progress, ReportProgress

if TYPE_CHECKING:
    from tokens.database import Connection

DATABASE = "gitlabhq_production"
OWNER = "gitlab"
"""GitLab's own names. As in a real instance the owner, as which everything connects, is no superuser."""

TOKENS = 15_653
"""Tokens that expire on one date by default: a hundredth of those in GitLab's documentation."""

EXPIRES_AT = date(2024, 6, 15)
"""The documented date: what GitLab 16.0 gave to tokens without an expiration date on the documentation's instance."""

SHOWN = "the demo"

_UNFINISHED = f"{DATABASE}_unfinished"
_BUILDING = 467_416  # the advisory lock of whoever fills; any number would do
_SETTINGS = {
    # Thrown away and made again in seconds: nothing here is worth waiting for a disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Without replicas a table that is emptied and loaded in one transaction is not logged.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
}


class DemoState(Enum):
    """How far the demo is, with the words to show for it."""

    ABSENT = "not installed"
    STOPPED = "stopped"
    EMPTY = "running, not filled"
    READY = "running"


@dataclass(frozen=True)
class DemoStatus:
    """What there is of a demo. What is only known of a ready one is None otherwise."""

    folder: Path
    state: DemoState
    address: Address
    tokens: int | None = None
    """Tokens that expired on one date when it was filled."""
    expires_at: date | None = None
    """That date."""
    filled_on: date | None = None
    """The day (UTC) around which the tokens of the coming weeks were placed."""
    release: str | None = None
    """GitLab's, whose tables it has."""
    server_version: str | None = None
    size: int | None = None
    """Bytes on disk."""
    api: str | None = None
    """The URL of the stand-in for GitLab's API, where that runs."""


def place() -> Path:
    """The folder of the demo where the caller names none."""
    if os.geteuid() == 0:
        return Path("/var/lib/gitlab-tokens/demo")
    state = os.environ.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored, says the XDG specification.
    return (Path(state) if state.startswith("/") else _home() / ".local" / "state") / "gitlab-tokens" / "demo"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("There is no home directory for the demo here; set INVOKE_TOKENS_DEMO_DIRECTORY.") from None


def address_if_ready(directory: Path | None = None) -> Address | None:
    """Where the demo is if it runs and is filled; costs one login, a few milliseconds."""
    server = _server(directory)
    return _address(server) if server.answers(DATABASE, OWNER) else None


def open(  # noqa: A001 - demo.open() is what it does
    directory: Path | None = None,
    report: ReportProgress | None = None,
    *,
    tokens: int = TOKENS,
    expires_at: date = EXPIRES_AT,
) -> Address:
    """The demo, ready for use: what is missing is installed, started and filled, with `tokens` on that date.

    A demo that is there already keeps its number of tokens and their date. Two callers at once: one fills, the other
    waits for it.
    """
    _check(tokens)
    if address := address_if_ready(directory):
        return address
    server = _server(directory)
    _start(server, report)
    return _ensure_filled(server, tokens, expires_at, report)


def reset(
    directory: Path | None = None,
    report: ReportProgress | None = None,
    *,
    tokens: int | None = None,
    expires_at: date | None = None,
) -> Address:
    """A fresh demo in place of the present one, which stays in use until the new one is complete.

    Where nothing else is said, it has as many tokens as the present one, on the same date.
    """
    if tokens is not None:
        _check(tokens)
    server = _server(directory)
    _stop_api(server)
    try:
        _start(server, report)
    except ServerError:
        # Damaged, or of another PostgreSQL: whoever resets wants none of it. If the place is at fault, it fails again.
        server.remove()
        _start(server, report)
    present = None
    with contextlib.suppress(TokensError, ValueError):  # it may be damaged in any way
        present = status(directory)
    if tokens is None:
        tokens = TOKENS if present is None or present.tokens is None else present.tokens
    if expires_at is None:
        expires_at = (present and present.expires_at) or EXPIRES_AT
    return _ensure_filled(server, tokens, expires_at, report, anew=True)


def start_api(directory: Path | None = None) -> str:
    """Start the stand-in for GitLab's API beside the demo, which is ready, unless it runs; its URL.

    A task that asks for data alone need not wait for it: that is why `open` does not start it.
    """
    return stand_in.start(_server(directory).folder)


def stop(directory: Path | None = None) -> bool:
    """Stop the demo's server and its stand-in for GitLab's API, keeping the data; whether the server was running."""
    server = _server(directory)
    _stop_api(server)
    return server.stop()


def remove(directory: Path | None = None) -> int:
    """Stop the demo and delete everything that it has on disk, and its folder with it; returns how many bytes.

    What somebody else has put into the folder stays, and the folder then, too.

    Raises:
        ForeignFolder: the folder is none of the demo's; nothing is deleted.
    """
    server = _server(directory)
    if server.folder.exists():
        server.check_own()
        stand_in.remove(server.folder)
    return server.remove()


def _stop_api(server: Server) -> None:
    if server.exists:
        server.check_own()
        stand_in.stop(server.folder)


def check_own(directory: Path | None = None) -> None:
    """Refuse a folder that is none of the demo's, by ForeignFolder."""
    _server(directory).check_own()


def status(directory: Path | None = None) -> DemoStatus:
    """What there is of the demo. Changes and starts nothing."""
    server = _server(directory)
    state = _state(server)
    api = None if state is DemoState.ABSENT else stand_in.url_if_running(server.folder)
    known = DemoStatus(server.folder, state, _address(server), api=api)
    return _described(known) if state is DemoState.READY else known


def _server(directory: Path | None) -> Server:
    return Server(directory or place(), settings=_SETTINGS)


def _address(server: Server) -> Address:
    return server.address(DATABASE, OWNER, shown=SHOWN)


def _check(tokens: int) -> None:
    if tokens < 0:
        raise UsageError(f"The demo cannot have {tokens} tokens; give 0 or more.")


def _state(server: Server) -> DemoState:
    if not server.exists:
        return DemoState.ABSENT
    if not server.running():
        return DemoState.STOPPED
    return DemoState.READY if server.answers(DATABASE, OWNER) else DemoState.EMPTY


def _described(status: DemoStatus) -> DemoStatus:
    from tokens.database import connect

    statement = """
        SELECT shobj_description(oid, 'pg_database'), pg_database_size(oid), current_setting('server_version')
          FROM pg_database
         WHERE datname = current_database()
    """
    with connect(status.address) as connection, connection.transaction():
        comment, size, version = connection.row(statement)
    filled = json.loads(comment or "{}")
    return replace(
        status,
        tokens=filled.get("tokens"),
        expires_at=date.fromisoformat(filled["expires_at"]) if "expires_at" in filled else EXPIRES_AT,
        filled_on=date.fromisoformat(filled["filled_on"]) if "filled_on" in filled else None,
        release=filled.get("release"),
        server_version=version.split()[0],
        size=size,
    )


def _start(server: Server, report: ReportProgress | None) -> None:
    if server.answers():
        return
    packaged_binaries()  # before anything is said of what it does
    _tell(report, "Starting PostgreSQL" if server.exists else f"Installing PostgreSQL {NEWEST}")
    server.start()


def _tell(report: ReportProgress | None, text: str) -> None:
    if report is not None:
        report(Progress(text))


def _silent(_: Progress) -> None:
    """For callers who want no progress."""


def _ensure_filled(
    server: Server, tokens: int, expires_at: date, report: ReportProgress | None, *, anew: bool = False
) -> Address:
    """Build the database under another name and give it its own when it is complete.

    The lock goes with the connection that holds it, so a filler that was killed blocks nobody; it is the session's, as
    a database is made in no transaction.
    """
    from tokens.database import connect

    maintenance = server.address("postgres", SUPERUSER, shown=SHOWN)
    with connect(maintenance) as connection:
        with connection.transaction():
            (locked,) = connection.row(f"SELECT pg_try_advisory_lock({_BUILDING})")
        if not locked:
            _tell(report, "Waiting for another process that fills the demo")
            with connection.transaction(lock_timeout="0"):  # as long as that takes
                connection.execute(f"SELECT pg_advisory_lock({_BUILDING})")
        if anew or not server.answers(DATABASE, OWNER):
            try:
                _fill(connection, server, tokens, expires_at, report)
            except BaseException:
                # After a full disk or Ctrl-C the room is wanted back; a server that is gone cannot be asked for it, and
                # the connection that was interrupted can be asked nothing.
                with contextlib.suppress(TokensError), connect(maintenance) as another:
                    another.execute_outside(f"DROP DATABASE IF EXISTS {_UNFINISHED} WITH (FORCE)")
                raise
    return _address(server)


def _fill(
    connection: "Connection", server: Server, tokens: int, expires_at: date, report: ReportProgress | None
) -> None:
    # Not at the top: attaching to a running demo needs neither, and Alembic is slow to import.
    from tokens.targets.demo import population
    from tokens.upgrade import Branch, revisions, upgrade

    release = revisions(Branch.GITLAB)[-1]
    _tell(report, f"Creating the tables of GitLab {release}")
    unfinished = server.address(_UNFINISHED, OWNER, shown=SHOWN)
    with connection.transaction():
        if OWNER not in [row.rolname for row in connection.rows("SELECT rolname FROM pg_roles")]:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN")
    connection.execute_outside(f"DROP DATABASE IF EXISTS {_UNFINISHED} WITH (FORCE)")
    connection.execute_outside(f"CREATE DATABASE {_UNFINISHED} OWNER {OWNER}")
    upgrade(unfinished, Branch.GITLAB)
    population.fill(unfinished, tokens, report or _silent, expires_at)
    upgrade(unfinished, Branch.JOURNAL)
    filled = {
        "tokens": tokens,
        "expires_at": expires_at.isoformat(),
        "filled_on": datetime.now(UTC).date().isoformat(),
        "release": release,
    }
    with connection.transaction():
        connection.execute(f"COMMENT ON DATABASE {_UNFINISHED} IS '{json.dumps(filled)}'")
    connection.execute_outside(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    with connection.transaction():
        connection.execute(f"ALTER DATABASE {_UNFINISHED} RENAME TO {DATABASE}")

"""The journal's own tables: whether they are there, in which version, and how many bytes they have."""

from enum import StrEnum

from tokens.database import Connection
from tokens.errors import Refused

REVISION = "1"
"""What this version of the tool reads and writes: the newest revision of the branch `journal`."""

# From the catalogue, because to_regclass fails for a role that may not look into the schema.
INSTALLED = """
    SELECT EXISTS (
      SELECT
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'token_tasks' AND c.relname = 'alembic_version'
    ) AS installed
"""

VERSION = "SELECT version_num FROM token_tasks.alembic_version"


class RunState(StrEnum):
    """How far a run is: a plan that waits, one under way, one that was stopped, done but for locked tokens, or done."""

    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    PARTIAL = "partial"
    DONE = "done"


class JournalMissing(Refused):
    """There is no journal to write to or to read from."""


class JournalOutdated(Refused):
    """The journal was made by an older version of the tool, and can be migrated."""


def is_installed(connection: Connection) -> bool:
    """Whether there is a journal, of whatever version."""
    return bool(connection.row(INSTALLED).installed)


def read_revision(connection: Connection) -> str | None:
    """The journal's revision, None where it is not installed."""
    if not is_installed(connection):
        return None
    row = connection.row(VERSION)
    return None if row is None else str(row.version_num)


def check(connection: Connection) -> None:
    """Make sure that the journal can be written to and read.

    Raises:
        JournalMissing: it is not installed.
        JournalOutdated: it has to be migrated first.
        Refused: a newer version of the tool has made it.
    """
    revision = read_revision(connection)
    if revision is None:
        raise JournalMissing(
            "The journal is not installed in this database: install it with tokens.journal.install, or say "
            "--no-journal to go without a record and without a way back."
        )
    if revision == REVISION:
        return
    if revision.isdigit() and int(revision) < int(REVISION):
        raise JournalOutdated(
            f"The journal is of revision {revision}, this version needs {REVISION}: migrate it with "
            "tokens.journal.install."
        )
    raise Refused(
        f"The journal is of revision {revision}, which this version of the tool does not know (it knows {REVISION}): "
        "use the version that made it."
    )

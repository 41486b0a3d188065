"""The journal's own tables: whether they are there, in which version, and whether they may be used."""

from enum import StrEnum

from tokens.call import to_type
from tokens.database import Connection
from tokens.errors import Refused
from tokens.journal import trust

REVISION = "3"
"""What this version of the tool reads and writes: the newest revision of the branch `journal`."""

UNKNOWN = "unknown"
"""Stands for the revision of a journal that does not say it: its version table has not exactly one row."""

# From the catalogue, since even looking a name up fails for a role that may not look into the schema.
STANDING = """
    SELECT
      COALESCE(bool_or(c.relname = 'alembic_version'), false) AS installed,
      COALESCE(bool_and(
        has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      ), false) AS readable,
      COALESCE(bool_and(
        has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
        AND has_table_privilege(c.oid, 'DELETE')
      ), false) AS writable,
      quote_ident(current_user) AS grantee
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
    WHERE n.nspname = 'token_tasks'
"""

VERSION = """
    SELECT CASE WHEN count(*) = 1 THEN min(version_num) END AS version_num
    FROM token_tasks.alembic_version
"""


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
    """The journal was made by an older version of the tool, or does not say by which; it can be migrated."""


def is_installed(connection: Connection) -> bool:
    """Whether there is a journal, of whatever version."""
    return bool(connection.row(STANDING).installed)


def is_readable(connection: Connection) -> bool:
    """Whether there is a journal that this role may read, and that nobody else has a hand in."""
    standing = connection.row(STANDING)
    return bool(standing.installed and standing.readable) and trust.is_trusted(connection)


def read_revision(connection: Connection) -> str | None:
    """The journal's revision, None where it is not installed, UNKNOWN where it does not say it.

    Raises:
        JournalUntrusted: see `tokens.journal.trust`.
    """
    trust.check(connection)
    return _read_revision(connection) if is_installed(connection) else None


def check(connection: Connection, *, reading: bool = False) -> None:
    """Make sure that the journal can be written to and read, or read alone.

    Raises:
        JournalMissing: it is not installed.
        JournalOutdated: it has to be migrated first.
        JournalUntrusted: see `tokens.journal.trust`.
        Refused: a newer version of the tool has made it, or a missing privilege with the GRANT that would help.
    """
    trust.check(connection)
    standing = connection.row(STANDING)
    if not standing.installed:
        raise JournalMissing(
            "The journal is not installed in this database, so there is nothing to read."
            if reading
            else "The journal is not installed in this database; with --no-journal there is no record and no way back."
            + to_type("to install it", "journal.install")
        )
    if not (standing.readable if reading else standing.writable):
        privileges = "SELECT" if reading else "SELECT, INSERT, UPDATE, DELETE"
        raise Refused(
            f"Role {standing.grantee} lacks a privilege on the journal; as its owner run: "
            f"GRANT USAGE ON SCHEMA token_tasks TO {standing.grantee}; "
            f"GRANT {privileges} ON ALL TABLES IN SCHEMA token_tasks TO {standing.grantee};"
        )
    revision = _read_revision(connection)
    if revision == REVISION:
        return
    if revision == UNKNOWN:
        raise JournalOutdated(
            "The journal does not say its revision (token_tasks.alembic_version has not exactly one row)."
            + to_type("to read it from the tables and write it down", "journal.install")
        )
    if revision.isdigit() and int(revision) < int(REVISION):
        raise JournalOutdated(
            f"The journal is of revision {revision}, this version needs {REVISION}."
            + to_type("to migrate it", "journal.install")
        )
    raise Refused(
        f"The journal is of revision {revision}, which this version of the tool does not know (it knows {REVISION}): "
        "use the version that made it."
    )


def _read_revision(connection: Connection) -> str:
    return connection.row(VERSION).version_num or UNKNOWN

"""The journal's own tables: whether they are there, in which version, and whether they may be used."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tokens.call import to_type
from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab.succession import look_at_journal
from tokens.journal import trust
from tokens.journal.trust import TABLES, JournalUntrusted

REVISION = "4"
"""What this version of the tool reads and writes: the newest revision of the branch `journal`."""

UNKNOWN = "unknown"
"""Stands for the revision of a journal that does not say it: its version table has not exactly one row."""

# From the catalog alone: PostgreSQL refuses even to look up the name of a table in a schema that is closed to the role.
STANDING = """
    SELECT
      quote_ident(current_database()) AS database,
      quote_ident(current_user) AS grantee,
      has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
      n.oid IS NOT NULL AS has_schema,
      quote_ident(pg_get_userbyid(n.nspowner)) AS owner,
      pg_has_role(n.nspowner, 'USAGE') AS owns_schema,
      has_schema_privilege(n.oid, 'USAGE') AS may_enter,
      has_schema_privilege(n.oid, 'CREATE') AS may_create_tables,
      COALESCE(tables.names, '{}') AS tables,
      COALESCE(tables.installed, false) AS installed,
      COALESCE(tables.owned, true) AS owns_tables,
      COALESCE(tables.readable, true) AS may_read,
      COALESCE(tables.writable, true) AS may_write
    FROM (VALUES ('token_tasks')) AS wanted (name)
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name
    LEFT JOIN LATERAL (
      SELECT
        array_agg(CAST(c.relname AS text)) AS names,
        bool_or(c.relname = 'alembic_version') AS installed,
        bool_and(pg_has_role(c.relowner, 'USAGE')) AS owned,
        bool_and(has_table_privilege(c.oid, 'SELECT')) AS readable,
        bool_and(
          has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
          AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        ) AS writable
      FROM pg_catalog.pg_class c
      WHERE c.relnamespace = n.oid AND c.relkind = 'r'
    ) tables ON true
"""

VERSION = """
    SELECT CASE WHEN count(*) = 1 THEN min(version_num) END AS version_num
    FROM token_tasks.alembic_version
"""


class RunState(StrEnum):
    """How far a run is: a plan that waits, one under way, one that was stopped, done but for locked tokens, or done.

    A plan that nobody has begun may be withdrawn instead.
    """

    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    PARTIAL = "partial"
    DONE = "done"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class SchemaStanding:
    """What is there of the journal's schema, and what the role that is logged in may do about it.

    `database`, `grantee` (that role) and `owner` are quoted for a statement. Of a schema that is not there some
    are None; without tables the role may do everything with them.
    """

    database: str
    grantee: str
    may_create_schemas: bool
    has_schema: bool
    owner: str | None
    owns_schema: bool | None
    may_enter: bool | None
    may_create_tables: bool | None
    tables: Sequence[str]
    installed: bool
    owns_tables: bool
    may_read: bool
    may_write: bool


class JournalMissing(Refused):
    """There is no journal to write to or to read from."""


class JournalOutdated(Refused):
    """The journal was made by an older version of the tool, or does not say by which; it can be migrated."""


def read_standing(connection: Connection) -> SchemaStanding:
    """What this role may do about the journal, from the catalogue alone."""
    return SchemaStanding(**connection.row(STANDING)._asdict())


def is_readable(connection: Connection) -> bool:
    """Whether there is a journal in which this role may read what is under way, and that nobody else has a hand in."""
    standing = read_standing(connection)
    readable = standing.installed and standing.may_enter and standing.may_read
    return bool(readable) and {"attempts", "runs"} <= {*standing.tables} and trust.is_trusted(connection)


def read_revision(connection: Connection) -> str | None:
    """The journal's revision, None where it is not installed, UNKNOWN where it does not say it.

    Raises:
        JournalUntrusted: see `tokens.journal.trust`.
        Refused: a missing privilege with the GRANT that would help.
    """
    check_trust(connection)
    standing = read_standing(connection)
    if not standing.installed:
        return None
    _check_privileges(standing, reading=True)
    return _read_revision(connection)


def check(connection: Connection, *, reading: bool = False, tables: Collection[str] = TABLES) -> None:
    """Make sure that the journal can be written to and read, or read alone; `tables` are those that are needed.

    Raises:
        JournalMissing: it is not installed.
        JournalOutdated: it has to be migrated first.
        JournalUntrusted: see `tokens.journal.trust`.
        Refused: a newer version of the tool has made it, somebody has dropped a table of it, or a missing privilege
            with the GRANT that would help.
    """
    check_trust(connection)
    standing = read_standing(connection)
    if not standing.installed:
        raise JournalMissing(
            "The journal is not installed in this database, so there is nothing to read."
            if reading
            else "The journal is not installed in this database." + to_type("to install it", "journal.install")
        )
    _check_privileges(standing, reading=reading)
    revision = _read_revision(connection)
    if revision == REVISION:
        check_tables(standing, tables)
        return
    if revision == UNKNOWN:
        raise JournalOutdated(
            "The journal does not say its revision (token_tasks.alembic_version has not exactly one row)."
            + to_type("to read it from the tables and write it down", "journal.install")
        )
    if revision.isdigit() and int(revision) < int(REVISION):
        by_owner = f" Role {standing.owner} has to migrate it by journal.install."
        raise JournalOutdated(
            f"The journal is of revision {revision}, this version needs {REVISION}."
            + (by_owner if reading and not standing.owns_tables else to_type("to migrate it", "journal.install"))
        )
    raise _of_another_version(revision)


def check_tables(standing: SchemaStanding, tables: Collection[str] = TABLES) -> None:
    """Refuse a journal of this version's revision that lacks one of these tables."""
    if missing := sorted({*tables}.difference(standing.tables)):
        raise beyond_repair(f"has lost {' and '.join(f'token_tasks.{name}' for name in missing)}")


def beyond_repair(what: str) -> Refused:
    """What is said of a journal that is damaged so, such as `has lost token_tasks.names`."""
    return Refused(
        f"The journal {what}: restore the schema token_tasks from a backup, or forget all that it held: DROP SCHEMA "
        "token_tasks CASCADE;" + to_type("to install it after that", "journal.install")
    )


def check_trust(connection: Connection) -> None:
    """Raise what `tokens.journal.trust` raises, but for a journal that a newer version has made, with its own tables.

    Raises:
        JournalUntrusted: see there.
        Refused: a newer version of the tool has made it.
    """
    try:
        trust.check(connection)
    except JournalUntrusted:
        versions = look_at_journal(connection, "alembic_version")
        if versions is not None and versions.is_trusted and versions.is_readable:
            revision = _read_revision(connection)
            if revision.isdigit() and int(revision) > int(REVISION):
                raise _of_another_version(revision) from None
        raise


def has_settings(connection: Connection) -> bool:
    """Whether there is a journal that may demand something of who changes tokens, as it can from revision 4 on.

    One that somebody else has planted demands nothing.

    Raises:
        JournalOutdated, JournalUntrusted, Refused: there is one, and what it demands cannot be known.
    """
    try:
        check(connection, reading=True, tables=("settings",))
    except JournalMissing:
        return False
    except JournalUntrusted as fault:
        if fault.planted:
            return False
        raise
    except JournalOutdated:
        if _read_revision(connection) == UNKNOWN:
            raise
        return False
    return True


def _of_another_version(revision: str) -> Refused:
    return Refused(
        f"The journal is of revision {revision}, which this version of the tool does not know (it knows {REVISION}): "
        "use the version that made it."
    )


def _check_privileges(standing: SchemaStanding, *, reading: bool) -> None:
    """Refuse a role that may not do so with a journal that is there."""
    if standing.may_enter and (standing.may_read if reading else standing.may_write):
        return
    lacks, privileges = ("read it", "SELECT") if reading else ("write to it", "SELECT, INSERT, UPDATE, DELETE")
    raise Refused(
        f"The journal belongs to role {standing.owner}, and role {standing.grantee} may not {lacks}; as "
        f"{standing.owner} run: GRANT USAGE ON SCHEMA token_tasks TO {standing.grantee}; "
        f"GRANT {privileges} ON ALL TABLES IN SCHEMA token_tasks TO {standing.grantee};"
    )


def _read_revision(connection: Connection) -> str:
    return connection.row(VERSION).version_num or UNKNOWN

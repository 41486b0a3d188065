"""The publications of logical replication that carry the journal's tables, or would carry them once they are there."""

from collections.abc import Collection

from tokens.call import to_type
from tokens.database import Connection
from tokens.errors import Refused

GUARD = "publication"
"""The word with which `--allow` lets the journal be installed or migrated all the same."""

CARRIERS = """
    SELECT quote_ident(p.pubname) AS name
    FROM pg_catalog.pg_publication p
    WHERE p.puballtables
      OR EXISTS (
        SELECT
        FROM pg_catalog.pg_publication_rel r
        JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE r.prpubid = p.oid AND n.nspname = 'token_tasks'
      ){or_schema}
    ORDER BY p.pubname
"""

OR_SCHEMA = """
      OR EXISTS (
        SELECT
        FROM pg_catalog.pg_publication_namespace s
        JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
        WHERE s.pnpubid = p.oid AND n.nspname = 'token_tasks'
      )"""
OF_SCHEMAS_SINCE = 150000  # server_version_num of the first PostgreSQL with FOR TABLES IN SCHEMA


def carriers(connection: Connection) -> tuple[str, ...]:
    """The publications, as SQL identifiers."""
    or_schema = OR_SCHEMA if connection.server_version >= OF_SCHEMAS_SINCE else ""
    return tuple(row.name for row in connection.rows(CARRIERS.format(or_schema=or_schema)))


def check(connection: Connection, allow: Collection[str]) -> None:
    """Refuse to make tables that a subscriber may not have, unless `allow` has GUARD.

    Raises:
        Refused: with what to run on the subscriber first.
    """
    found = carriers(connection)
    if found and GUARD not in allow:
        raise Refused(f"Refused because of {GUARD}: {said(found)}")


def said(found: Collection[str]) -> str:
    """What publications mean for a journal that is to be installed or migrated, and what to do first."""
    return (
        f"publication {', '.join(found)} will carry the journal's tables, and replication stops at a subscriber that "
        "does not have them."
        + to_type("to print what makes them, for each subscriber", "journal.install", "--sql")
        + to_type("to install it then", "journal.install", "--allow", GUARD)
    )

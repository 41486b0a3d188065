"""Brings a database to a revision of one of our branches, up or down, without an alembic.ini.

Imports Alembic: nothing that runs at start-up may import this module.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tokens.address import Address
from tokens.database import Connection
from tokens.database.driver import SETTINGS, set_configs
from tokens.errors import Refused, UsageError
from tokens.upgrade.engine import plainly, set_locally, transaction

HEAD = "head"
BASE = "base"

LOCK_TIMEOUT = "10s"

_VERSION_TABLE = "alembic_version"

# As Alembic makes it.
VERSION_TABLE = """CREATE TABLE {schema}.alembic_version (
    version_num character varying(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);"""


class Branch(Enum):
    """A line of revisions: its folder under `migrations/`, its version table's schema, and a search_path.

    The journal's name every schema and need none. GitLab's tables are made in a database of our own that nobody else
    has entered yet.
    """

    GITLAB = ("gitlab", "gitlab_shape", "public, pg_temp")
    JOURNAL = ("journal", "token_tasks", None)

    def __init__(self, folder: str, version_schema: str, search_path: str | None) -> None:
        self.folder = folder
        self.version_schema = version_schema
        self.search_path = search_path


def upgrade(
    address: Address,
    branch: Branch,
    revision: str = HEAD,
    *,
    before: Callable[[Connection], str | None] = lambda _: None,
    after: Callable[[Connection], None] = lambda _: None,
) -> None:
    """Bring the database up to `revision`; one that is there or further stays as it is.

    One transaction: after a crash everything is as before. A second upgrade at the same time waits for the first.
    `before` and `after` work in it, too. What `before` returns is the revision that the tables are of, where it is not
    the one that the version table says.
    Raises UsageError for a revision that does not exist, Refused where a newer version of ours has been.
    """
    _require(revision, (*revisions(branch), HEAD), branch)
    with _migrating(address, branch, before) as connection:
        command.upgrade(_config(branch, connection), revision)
        with plainly(connection, address) as plain:
            after(plain)


def downgrade(address: Address, branch: Branch, revision: str) -> None:
    """Take the database back to `revision`, in one transaction; `base` leaves nothing of the branch.

    The journal's alone: a GitLab-shaped database is thrown away instead.

    Raises UsageError for a revision that does not exist, Refused where the database never came as far as that.
    """
    order = (BASE, *revisions(branch))
    _require(revision, order, branch)
    with _migrating(address, branch) as connection:
        here = _current(connection, branch) or BASE
        if order.index(here) < order.index(revision):
            raise Refused(f"{address.shown} stands at revision {here} of {branch.folder}: {revision} is not below it.")
        command.downgrade(_config(branch, connection), revision)
        if revision == BASE:
            connection.execute(sa.text(f"DROP TABLE {branch.version_schema}.{_VERSION_TABLE}"))
            connection.execute(sa.text(f"DROP SCHEMA {branch.version_schema}"))


def revisions(branch: Branch) -> tuple[str, ...]:
    """The branch's revisions, oldest first."""
    newest_first = ScriptDirectory.from_config(_config(branch)).walk_revisions()
    return tuple(script.revision for script in newest_first)[::-1]


def statements(branch: Branch, since: str | None = None) -> str:
    """What `upgrade` would make of an empty database, or of one at revision `since`, as SQL for psql.

    The version table stays empty: the caller gets the rows from elsewhere.
    """
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer, **_options(branch)}
    )
    order = revisions(branch)
    newer = order[order.index(since) + 1 :] if since else order
    scripts = ScriptDirectory.from_config(_config(branch))
    with Operations.context(context):
        context.impl.static_output("BEGIN;")
        context.impl.static_output(f"{set_configs({'search_path': SETTINGS['search_path']}).as_string()};")
        if since is None:
            context.impl.static_output(f"CREATE SCHEMA {branch.version_schema};")
            context.impl.static_output(VERSION_TABLE.format(schema=branch.version_schema))
        for revision in newer:
            scripts.get_revision(revision).module.upgrade()
        context.impl.static_output("COMMIT;")
    return buffer.getvalue()


def _require(revision: str, known: tuple[str, ...], branch: Branch) -> None:
    # Alembic would take "17.1" for the beginning of "17.10".
    if revision not in known:
        raise UsageError(f"There is no revision {revision} of {branch.folder} to go to; there are {', '.join(known)}.")


@contextmanager
def _migrating(
    address: Address, branch: Branch, before: Callable[[Connection], str | None] = lambda _: None
) -> Iterator[sa.Connection]:
    with transaction(address) as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": branch.version_schema})
        # Tables of the journal may be large, and somebody may be reading them.
        set_locally(connection, lock_timeout=LOCK_TIMEOUT)
        with plainly(connection, address) as plain:
            found = before(plain)
        if found is not None:
            command.stamp(_config(branch, connection), found, purge=True)
        here = _current(connection, branch)
        if here not in (None, *revisions(branch)):
            raise Refused(
                f"{address.shown} stands at revision {here} of {branch.folder}, which this version does not know; "
                "use the version that brought it there."
            )
        # IF NOT EXISTS would ask for the privilege to create one all the same.
        if not sa.inspect(connection).has_schema(branch.version_schema):
            connection.execute(sa.text(f"CREATE SCHEMA {branch.version_schema}"))
        if branch.search_path is not None:
            set_locally(connection, search_path=branch.search_path)
        yield connection


def _current(connection: sa.Connection, branch: Branch) -> str | None:
    return MigrationContext.configure(connection, opts=_options(branch)).get_current_revision()


def _config(branch: Branch, connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration; what is in its attributes `migrations/env.py` hands to the context."""
    folder = str(_migrations()).replace("%", "%%")
    config = Config(attributes={"connection": connection, **_options(branch)})
    config.set_main_option("script_location", folder)
    config.set_main_option("version_locations", f"{folder}/{branch.folder}")
    # Folders may have spaces and colons in their names.
    config.set_main_option("path_separator", "newline")
    return config


def _options(branch: Branch) -> dict[str, str]:
    return {"version_table": _VERSION_TABLE, "version_table_schema": branch.version_schema}


def _migrations() -> Path:
    """A wheel carries the migrations inside the package; in a checkout they lie beside it."""
    package = Path(__file__).parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"

"""What must hold before a task starts: GitLab's main database, one that takes changes if need be, and the privileges.

Each refusal is one line that says what was found, what it means and what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tokens.database import Connection, cures
from tokens.errors import Refused
from tokens.gitlab import others_code
from tokens.gitlab.needs import OPTIONAL, Needs, Privilege
from tokens.gitlab.schema import (
    GRANULAR_SCOPES,
    TOKENS,
    Schema,
    read_schema,
)

# GitLab puts this trigger on tables in databases where they do not belong (a decomposed instance's ci database).
WRITE_LOCK_TRIGGER = f"gitlab_schema_write_trigger_for_{TOKENS}"

STATE = """
    SELECT
      current_database() AS database,
      current_user AS role,
      quote_ident(current_user) AS grantee,
      pg_is_in_recovery() AS standby,
      current_setting('default_transaction_read_only')::boolean AS read_only,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = tokens.oid AND t.tgname = %(trigger)s AND t.tgenabled <> 'D'
      ) AS write_locked,
      COALESCE(row_security_active(tokens.oid), false) AS rows_hidden,
      EXISTS (
        SELECT FROM pg_catalog.pg_class c WHERE c.oid = tokens.oid AND pg_has_role(c.relowner, 'USAGE')
      ) AS owns_tokens
    FROM (
      SELECT (
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.relname = %(table)s AND c.relnamespace = CAST(to_regnamespace('public') AS oid)
      ) AS oid
    ) tokens
"""

AS_OWNER = "use the tables' owner (gitlab in most installations)."

HIDDEN = """
    SELECT c.relname AS name, current_user AS role, pg_has_role(c.relowner, 'USAGE') AS is_ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = ANY(CAST(%(tables)s AS text[])) AND row_security_active(c.oid)
    ORDER BY c.relname
"""

# Whether the role has them on whole tables, as their owner has. For each column it is asked only where it has not.
ON_WHOLE_TABLES = """
    SELECT
      COALESCE(has_schema_privilege(CAST(to_regnamespace('public') AS oid), 'USAGE'), false)
      AND NOT EXISTS (
        SELECT
        FROM unnest(CAST(%(privileges)s AS text[]), CAST(%(tables)s AS text[])) AS w (privilege, table_name)
        JOIN pg_catalog.pg_class c
          ON c.relname = w.table_name AND c.relnamespace = CAST(to_regnamespace('public') AS oid)
        WHERE NOT CASE
          WHEN c.relkind = 'S' AND w.privilege = 'USAGE' THEN has_sequence_privilege(c.oid, w.privilege)
          WHEN c.relkind <> 'S' AND w.privilege <> 'USAGE' THEN has_table_privilege(c.oid, w.privilege)
          ELSE true
        END
      ) AS held
"""

# Those that the role lacks; with `also_held` those that it has, too.
PRIVILEGES = """
    SELECT w.privilege, w.table_name, w.column_name
    FROM unnest(
      CAST(%(privileges)s AS text[]), CAST(%(tables)s AS text[]), CAST(%(columns)s AS text[])
    ) WITH ORDINALITY AS w (privilege, table_name, column_name, position)
    JOIN pg_catalog.pg_namespace n ON n.nspname = 'public'
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.column_name AND NOT a.attisdropped
    WHERE (c.relkind = 'S' OR a.attnum IS NOT NULL)
      AND (
        CAST(%(also_held)s AS boolean)
        OR NOT has_schema_privilege(n.oid, 'USAGE')
        OR CASE c.relkind
          WHEN 'S' THEN NOT has_sequence_privilege(c.oid, w.privilege)
          ELSE NOT has_column_privilege(c.oid, a.attnum, w.privilege)
        END
      )
    ORDER BY w.position
"""


@dataclass(frozen=True)
class ServerState:
    """What the server says of the database and the role that is logged in."""

    database: str
    role: str
    grantee: str
    standby: bool
    read_only: bool
    write_locked: bool
    rows_hidden: bool
    owns_tokens: bool


def check(connection: Connection, needs: Needs) -> Schema:
    """The schema of GitLab's main database, once it is sure that a task with `needs` can work in it.

    Raises:
        Refused: another database, one that takes no changes although the task writes, or a missing privilege.
    """
    state = read_state(connection)
    schema = read_schema(connection)
    check_tables(state, schema)
    check_names(schema, needs)
    check_code(connection, needs)
    if needs.writes:
        check_writable(connection, state)
    check_columns(state, schema, needs)
    check_privileges(connection, needs, state)
    return schema


def read_state(connection: Connection) -> ServerState:
    """Ask the server for what the checks go by."""
    return ServerState(**connection.row(STATE, table=TOKENS, trigger=WRITE_LOCK_TRIGGER)._asdict())


def check_tables(state: ServerState, schema: Schema) -> None:
    """Refuse a database that does not hold GitLab's tokens, or that hides some of them."""
    if schema.has(TOKENS):
        _refuse_lacking(state, [f"{TOKENS}.{one}" for one in ("id", "expires_at") if not schema.has(TOKENS, one)])
    else:
        raise Refused(
            f'Database "{state.database}" has no GitLab table public.{TOKENS}, so it is not GitLab\'s main database; '
            "check the database's name (gitlabhq_production in most installations)."
        )
    if state.write_locked:
        raise Refused(
            f'GitLab has write-locked {TOKENS} in database "{state.database}", so its tokens are kept in another one '
            "(this may be the ci database); use the one under `main:` in database.yml."
        )
    if state.rows_hidden:
        raise Refused(
            f'Row-level security hides rows of {TOKENS} from role "{state.role}" in database "{state.database}"; '
            f"{_shown_again([TOKENS]) if state.owns_tokens else AS_OWNER}"
        )


def check_names(schema: Schema, needs: Needs) -> None:
    """Refuse what stands under a name of GitLab's and is not GitLab's, such as a view: to read it may run its code."""
    asked = {one.table for one in needs.privileges} | {f"{one.table}.{one.column}" for one in needs.privileges}
    for name, why in schema.strange.items():
        if name in asked:
            raise Refused(why)


def check_code(connection: Connection, needs: Needs, *, reading: bool = False) -> None:
    """Refuse tables on which somebody else's code would run as this role; with `reading` what is written as if not."""
    others_code.check(connection, reads=list(needs.reads), writes=[] if reading else [*needs.writes, *needs.inserts])


def hidden_rows(connection: Connection, needs: Needs) -> str | None:
    """What to say where row-level security may hide rows of the other tables that a task reads; None where none does.

    Which rows a policy hides cannot be seen from here: it may be none.
    """
    found = connection.rows(HIDDEN, tables=[table for table in needs.reads if table != TOKENS])
    if not found:
        return None
    tables = [row.name for row in found]
    lost = " Rotations of fine-grained tokens are refused." if GRANULAR_SCOPES in tables else ""
    text = (
        f'Row-level security may hide rows of {", ".join(tables)} from role "{found[0].role}", so kinds, owners, '
        "memberships and settings may be read wrong, notes may be missing, and memberships stay as they are"
    )
    # Who owns only some of them cannot have the rows of the others shown: the owner of all can.
    if all(row.is_ours for row in found):
        return f"{text}.{lost} This role owns them: {_shown_again(tables)}"
    return f"{text}; {AS_OWNER}{lost}"


def check_granular_scopes(connection: Connection) -> None:
    """Refuse to copy what row-level security may hide: a successor would get fewer scopes than its old token."""
    found = connection.row(HIDDEN, tables=[GRANULAR_SCOPES])
    if found is not None:
        raise Refused(
            f'Row-level security may hide rows of {found.name} from role "{found.role}", so the successor of a '
            f"fine-grained token would lack scopes; {_shown_again([found.name]) if found.is_ours else AS_OWNER}"
        )


def _shown_again(tables: Iterable[str]) -> str:
    """What lets the owner of these tables see all of their rows: row-level security is forced upon it."""
    return f"run: {' '.join(f'ALTER TABLE public.{table} NO FORCE ROW LEVEL SECURITY;' for table in tables)}"


def check_writable(connection: Connection, state: ServerState) -> None:
    """Refuse a database that takes no changes."""
    if state.standby:
        raise Refused(
            f'Database "{state.database}" is a standby (a replica or a Geo secondary) and takes no changes; '
            "run this on the primary."
        )
    if state.read_only:
        raise Refused(f'Database "{state.database}" takes no changes from role "{state.role}": {read_only(connection)}')


def read_only(connection: Connection) -> str:
    """Why a primary takes no changes from the role that is logged in, and what to run against it, which ends in `;`."""
    (cure,) = cures(connection, ["default_transaction_read_only"])
    cure = f"SET default_transaction_read_only = off; {cure}"  # it holds for the session that is to take it off, too
    return f"default_transaction_read_only is on; if nobody means that, run {cure}"


def check_columns(state: ServerState, schema: Schema, needs: Needs) -> None:
    """Refuse tables without a column that every release which this version of the tool knows has."""
    missing = (
        f"{one.table}.{one.column}"
        for one in needs.privileges
        if one.column and one.column not in OPTIONAL.get(one.table, ()) and not schema.has(one.table, one.column)
    )
    _refuse_lacking(state, missing)


def _refuse_lacking(state: ServerState, columns: Iterable[str]) -> None:
    """Refuse a database that lacks these columns, each named with its table, if there are any."""
    missing = ", ".join(dict.fromkeys(columns))
    if missing:
        raise Refused(
            f'Database "{state.database}" lacks {missing}, which every GitLab from 16.0 to 19.x has: it is '
            "an older one, or a newer one than this version of the tool knows; use the version that is made for it."
        )


def check_privileges(connection: Connection, needs: Needs, state: ServerState) -> None:
    """Refuse a role that may not do what a task needs, with the GRANT that would help."""
    missing = missing_privileges(connection, needs)
    if not missing:
        return
    statements = "; ".join(grants(missing, state.grantee))
    raise Refused(
        f'Role "{state.role}" lacks a privilege in database "{state.database}"; '
        f"as the tables' owner (gitlab in most installations) run: {statements};"
    )


def missing_privileges(connection: Connection, needs: Needs) -> list[Privilege]:
    """What the role that is logged in would have to be granted for a task with `needs`."""
    privileges, tables = zip(*dict.fromkeys((one.privilege, one.table) for one in needs.privileges), strict=True)
    if connection.row(ON_WHOLE_TABLES, privileges=list(privileges), tables=list(tables)).held:
        return []
    return _privileges(connection, needs, also_held=False)


def existing_privileges(connection: Connection, needs: Needs) -> list[Privilege]:
    """What a task with `needs` takes here: on columns and sequences that exist, whether or not the role has it."""
    return _privileges(connection, needs, also_held=True)


def grants(privileges: Iterable[Privilege], grantee: str) -> list[str]:
    """The GRANT statements, without semicolons, that give `grantee`, an SQL identifier, these privileges."""
    by_table: dict[tuple[str, str], list[str]] = {}
    for privilege in privileges:
        by_table.setdefault((privilege.privilege, privilege.table), []).append(privilege.column)
    return [
        f"GRANT {privilege} ({', '.join(columns)}) ON public.{table} TO {grantee}"
        if any(columns)
        else f"GRANT {privilege} ON SEQUENCE public.{table} TO {grantee}"
        for (privilege, table), columns in by_table.items()
    ]


def _privileges(connection: Connection, needs: Needs, *, also_held: bool) -> list[Privilege]:
    privileges, tables, columns = zip(*needs.privileges, strict=True)
    return [
        Privilege(*row)
        for row in connection.rows(
            PRIVILEGES, privileges=list(privileges), tables=list(tables), columns=list(columns), also_held=also_held
        )
    ]

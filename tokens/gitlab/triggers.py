"""Triggers on GitLab's tables, which run with the privileges and the search_path of the role that changes a row.

GitLab's own, 16.0 to 19.x, fire on no statement of ours: the one on a table that is written here fires on DELETE. But
they name tables without a schema, as those of a later release or of an administrator may do. They find them as long as
`public` is in the path; and with them whatever somebody else has planted there.

So the path is opened for the triggers alone, by the very statement that fires them. PostgreSQL looks up each name of a
statement when it analyses it, keeps what it has found, and only then carries the statement out; which is when the path
is opened, too late for any name of ours. It is opened before any trigger, even one that fires once before the first
row: a CASE works out its condition before its result, and nobody but that result reads the changed rows. Deferred
triggers are fired right after, by a command that has no names, and then the path is closed.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from tokens.database import Connection
from tokens.database.driver import SETTINGS
from tokens.gitlab.schema import MEMBERS, TOKENS

WRITTEN = (TOKENS, MEMBERS, "personal_access_token_granular_scopes")

# For the owner alone, who runs the same triggers with `public` in the path whenever GitLab changes a row.
NEED_PUBLIC = """
    SELECT EXISTS (
      SELECT
      FROM pg_catalog.pg_trigger t
      JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
      WHERE n.nspname = 'public'
        AND c.relname = ANY(%(tables)s)
        AND t.tgenabled <> 'D'
        AND (t.tgtype & 4 <> 0 OR t.tgtype & 16 <> 0) -- INSERT, UPDATE: nothing is deleted here
        AND NOT t.tgisinternal
        AND l.lanname NOT IN ('internal', 'c')
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS of (setting) WHERE starts_with(of.setting, 'search_path='))
        AND owner.rolname = current_user
        AND NOT owner.rolsuper
    ) AS found
"""

# What may keep a row as it is: it is asked for each row before that is changed. GitLab has none.
BEFORE_UPDATE = """
    SELECT quote_ident(t.tgname) AS name
    FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = (
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.relname = %(table)s AND c.relnamespace = CAST(to_regnamespace('public') AS oid)
      )
      AND t.tgenabled <> 'D'
      AND t.tgtype & 1 <> 0 -- for each row
      AND t.tgtype & 2 <> 0 -- BEFORE
      AND t.tgtype & 16 <> 0 -- UPDATE
    ORDER BY t.tgname
"""

WITH_PUBLIC = "pg_catalog, public, pg_temp"

OPENED = f"""
    WITH {{tables}}changed AS (
{{statement}}
    )
    SELECT CASE
      WHEN pg_catalog.set_config('search_path', '{WITH_PUBLIC}', true) IS NOT NULL
      THEN {{result}}
    END AS result
"""

CLOSED = f"""
    SET CONSTRAINTS ALL IMMEDIATE; -- else some triggers would fire at the end, without it
    SELECT pg_catalog.set_config('search_path', '{SETTINGS["search_path"]}', true)
"""

_known: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()


def change(connection: Connection, statement: str, **parameters: object) -> int:
    """Change rows of GitLab's in an open transaction, with an UPDATE or INSERT that returns nothing; how many.

    Triggers find GitLab's tables without a schema where the role owns them and is no superuser; for any other role they
    run with pg_catalog alone in the path. One that needs more fails, and `tokens.database.failures` says what to do.
    """
    if not _need_public(connection):
        return connection.execute(statement, **parameters)
    counted = "(SELECT pg_catalog.count(*) FROM changed)"
    return int(_opened(connection, "", f"{statement}    RETURNING 1", counted, parameters))


def change_returning(connection: Connection, statement: str, tables: str = "", **parameters: object) -> list[int]:
    """The same with a statement that returns the `id` of each row; `tables` is its WITH, without that word."""
    if not _need_public(connection):
        rows = connection.rows(f"    WITH {tables}{statement}" if tables else statement, **parameters)
        return [row.id for row in rows]
    listed = "ARRAY(SELECT changed.id FROM changed)"
    return list(_opened(connection, tables and f"{tables},\n    ", statement, listed, parameters))


def read_triggers_before(connection: Connection) -> list[str]:
    """The triggers that are asked before a token is changed, by their names as SQL has them."""
    return [row.name for row in connection.rows(BEFORE_UPDATE, table=TOKENS)]


def _need_public(connection: Connection) -> bool:
    if connection not in _known:
        _known[connection] = connection.row(NEED_PUBLIC, tables=list(WRITTEN)).found
    return _known[connection]


def _opened(connection: Connection, tables: str, statement: str, result: str, parameters: Mapping[str, object]) -> Any:
    opened = OPENED.format(tables=tables, statement=statement, result=result)
    changed = connection.row(opened, **parameters).result
    connection.execute(CLOSED)
    return changed

"""Triggers on GitLab's tables, which run with the privileges and the search_path of whoever changes a row.

GitLab's own, 16.0 to 19.x, fire on no statement of ours: the one on a table that is written here fires on DELETE. But
they name tables without a schema, as those of a later release or of an administrator may do. They find them as long as
`public` is in the path; and with them whatever somebody else has planted there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from tokens.database import SETTINGS, Connection
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

WITH_PUBLIC = "pg_catalog, public, pg_temp"

_known: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()


@contextmanager
def firing(connection: Connection) -> Iterator[None]:
    """A block in an open transaction whose statements change rows of GitLab's.

    Triggers find GitLab's tables without a schema where the role owns them and is no superuser; for any other role they
    run with pg_catalog alone in the path. One that needs more fails, and `tokens.database` says what to do.
    """
    if connection not in _known:
        _known[connection] = connection.row(NEED_PUBLIC, tables=list(WRITTEN)).found
    if not _known[connection]:
        yield
        return
    connection.set_locally(search_path=WITH_PUBLIC)
    yield
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else some would run at the end, without it
    connection.set_locally(search_path=SETTINGS["search_path"])

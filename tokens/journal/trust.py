"""Whether the schema `token_tasks` may be used: its owners, and what belongs to it, would act with our privileges.

The catalogue is asked at the beginning of every piece of work. Between that and the work itself only those can change
the answer who are trusted anyway. A first look finds whether anything is there that must be judged at all; mostly
nothing is, and it takes a third of the time.
"""

from typing import Any

from tokens.database import Connection
from tokens.errors import Refused

TABLES = (
    "alembic_version",
    "attempts",
    "chunks",
    "entries",
    "memberships",
    "names",
    "notices",
    "revocations",
    "rotations",
    "runs",
    "settings",
)

# What our own defaults and checks call: now(), and what makes a bigint of an integer (pg_proc.dat). Of PostgreSQL's own
# functions there are some that run any SQL that they are given, and no record is kept of who calls one.
CALLS_MORE = ":funcid (?!(481|1299) )"

# True where the schema is closed: what is in it, what depends on that, and so on, depends on nothing else; all of it is
# of kinds that bring no code, and its tables are ours alone. PostgreSQL keeps no record of what depends on its own
# functions and types. In doubt it is false, and FOREIGN judges. OFFSET 0 has each part looked up by index, since
# pg_depend may be large.
CLOSED = """
    WITH RECURSIVE parts AS (
      SELECT CAST(CAST('pg_catalog.pg_namespace' AS regclass) AS oid) AS class, n.oid
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
      UNION
      SELECT d.classid, d.objid
      FROM parts p
      CROSS JOIN LATERAL (
        SELECT d.classid, d.objid
        FROM pg_catalog.pg_depend d
        WHERE d.refclassid = p.class AND d.refobjid = p.oid
        OFFSET 0
      ) d
    )
    SELECT
      NOT EXISTS (
        SELECT
        FROM parts p
        CROSS JOIN LATERAL (
          SELECT d.classid, d.refclassid, d.refobjid, d.deptype
          FROM pg_catalog.pg_depend d
          WHERE d.classid = p.class AND d.objid = p.oid
          OFFSET 0
        ) d
        WHERE (d.refclassid, d.refobjid) NOT IN (SELECT o.class, o.oid FROM parts o)
          OR CASE
            -- A table's own type, and its array.
            WHEN d.classid = CAST('pg_catalog.pg_type' AS regclass) THEN
              d.refclassid = CAST('pg_catalog.pg_namespace' AS regclass)
            -- No column and no expression of such a type.
            WHEN d.classid IN (
              CAST('pg_catalog.pg_class' AS regclass), CAST('pg_catalog.pg_attrdef' AS regclass),
              CAST('pg_catalog.pg_constraint' AS regclass)
            ) THEN d.refclassid = CAST('pg_catalog.pg_type' AS regclass)
            -- The server's own, of a foreign key.
            WHEN d.classid = CAST('pg_catalog.pg_trigger' AS regclass) THEN
              d.deptype <> 'i' OR d.refclassid <> CAST('pg_catalog.pg_constraint' AS regclass)
            ELSE true
          END
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_class c
        WHERE c.oid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_class' AS regclass))
          AND (
            c.relkind NOT IN ('r', 'i', 'S', 't')
            OR (c.relkind = 'r') <> (c.relname = ANY (CAST(%(tables)s AS name[])))
            OR c.relrowsecurity
            OR c.relhassubclass
            OR NOT pg_has_role(c.relowner, CAST(quote_ident(current_user) AS regrole), 'MEMBER')
            OR EXISTS (
              SELECT FROM aclexplode(c.relacl) acl WHERE acl.privilege_type = 'TRIGGER' AND acl.grantee <> c.relowner
            )
          )
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_attrdef f
        WHERE f.oid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_attrdef' AS regclass))
          AND CAST(f.adbin AS text) ~ %(calls_more)s
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_constraint k
        WHERE k.oid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_constraint' AS regclass))
          AND CAST(k.conbin AS text) ~ %(calls_more)s
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_index i
        WHERE i.indexrelid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_class' AS regclass))
          AND concat(i.indexprs, i.indpred) ~ %(calls_more)s
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_namespace n
        WHERE n.nspname = 'token_tasks'
          AND NOT pg_has_role(n.nspowner, CAST(quote_ident(current_user) AS regrole), 'MEMBER')
      ) AS closed
"""

# A role is trusted that can do already what we can do: this one, the owner of GitLab's tokens, members of these two,
# and superusers. Not a role of which this one is a member: up to PostgreSQL 14 any role may grant itself to another.
# What a default, a check, an index or a column's type uses is in pg_depend, unless it is PostgreSQL's own: for that see
# CALLS_MORE.
FOREIGN = """
    WITH space AS MATERIALIZED (
      SELECT n.oid, n.nspowner
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
    ),
    relations AS MATERIALIZED (
      SELECT c.oid, c.relkind, c.relowner, c.relacl, c.relrowsecurity, 'token_tasks.' || quote_ident(c.relname) AS name
      FROM pg_catalog.pg_class c
      WHERE c.relname = ANY (CAST(%(tables)s AS name[])) AND c.relnamespace = (SELECT oid FROM space)
    ),
    -- An index, a table's own sequence and type, and an array have the owner of what they belong to.
    objects AS MATERIALIZED (
      SELECT
        c.relowner AS owner,
        'token_tasks.' || quote_ident(c.relname) AS name,
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END AS kind
      FROM pg_catalog.pg_class c
      WHERE c.relnamespace = (SELECT oid FROM space)
        AND c.relkind NOT IN ('i', 'I')
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_depend d
          WHERE c.relkind = 'S'
            AND d.classid = CAST('pg_catalog.pg_class' AS regclass) AND d.objid = c.oid AND d.deptype IN ('a', 'i')
        )
      UNION ALL
      SELECT p.proowner, CAST(CAST(p.oid AS regprocedure) AS text), 'ROUTINE'
      FROM pg_catalog.pg_proc p
      WHERE p.pronamespace = (SELECT oid FROM space)
      UNION ALL
      SELECT t.typowner, 'token_tasks.' || quote_ident(t.typname), 'TYPE'
      FROM pg_catalog.pg_type t
      WHERE t.typnamespace = (SELECT oid FROM space) AND t.typtype <> 'c' AND t.typcategory <> 'A'
    ),
    tokens AS MATERIALIZED (
      SELECT owned.relowner AS owner, quote_ident(pg_get_userbyid(owned.relowner)) AS heir
      FROM (VALUES ('personal_access_tokens')) AS wanted (name)
      LEFT JOIN pg_catalog.pg_class owned
        ON owned.relname = wanted.name
        AND owned.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public')
    ),
    roles AS MATERIALIZED (
      SELECT
        r.oid,
        quote_ident(r.rolname) AS name,
        pg_has_role(r.oid, me.oid, 'MEMBER') OR COALESCE(pg_has_role(r.oid, tokens.owner, 'MEMBER'), false) AS trusted
      FROM pg_catalog.pg_roles r
      JOIN pg_catalog.pg_roles me ON me.rolname = current_user
      CROSS JOIN tokens
      WHERE r.oid IN (
        SELECT nspowner FROM space
        UNION SELECT owner FROM objects
        UNION SELECT acl.grantee FROM relations CROSS JOIN LATERAL aclexplode(relacl) acl
      )
    ),
    parts AS MATERIALIZED (
      SELECT
        CAST('pg_catalog.pg_class' AS regclass) AS class,
        r.oid,
        '' AS expressions,
        'DROP SCHEMA token_tasks CASCADE;' AS cure
      FROM relations r
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_class' AS regclass),
        i.indexrelid,
        concat(i.indexprs, i.indpred),
        'DROP INDEX ' || CAST(CAST(i.indexrelid AS regclass) AS text) || ';'
      FROM relations r
      JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_attrdef' AS regclass),
        d.oid,
        CAST(d.adbin AS text),
        'ALTER TABLE ' || r.name || ' ALTER COLUMN ' || quote_ident(a.attname) || CASE
          -- As migrations/journal has them. No column that may be NULL has one there.
          WHEN NOT a.attnotnull THEN ' DROP DEFAULT;'
          WHEN a.atttypid = CAST('timestamptz' AS regtype) THEN ' SET DEFAULT now();'
          WHEN a.atttypid IN (CAST('bigint' AS regtype), CAST('integer' AS regtype)) THEN ' SET DEFAULT 0;'
          WHEN a.atttypid IN (CAST('bigint[]' AS regtype), CAST('date[]' AS regtype)) THEN ' SET DEFAULT ''{}'';'
          WHEN a.attname = 'state' THEN ' SET DEFAULT ''planned'';'
          ELSE ' DROP DEFAULT;'
        END
      FROM relations r
      JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.oid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_constraint' AS regclass),
        c.oid,
        CAST(c.conbin AS text),
        'ALTER TABLE ' || r.name || ' DROP CONSTRAINT ' || quote_ident(c.conname) || ';'
      FROM relations r
      JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
    ),
    found AS (
      SELECT
        1 AS place,
        'schema token_tasks belongs to role ' || roles.name AS what,
        'ALTER SCHEMA token_tasks OWNER TO ' || tokens.heir || ';' AS cure
      FROM space
      CROSS JOIN tokens
      JOIN roles ON roles.oid = space.nspowner AND NOT roles.trusted
      UNION ALL
      SELECT
        2,
        o.name || ' belongs to role ' || roles.name,
        'ALTER ' || o.kind || ' ' || o.name || ' OWNER TO ' || tokens.heir || ';'
      FROM objects o
      CROSS JOIN tokens
      JOIN roles ON roles.oid = o.owner AND NOT roles.trusted
      UNION ALL
      SELECT 3, r.name || ' is not an ordinary table', 'DROP SCHEMA token_tasks CASCADE;'
      FROM relations r
      WHERE r.relkind <> 'r'
      UNION ALL
      SELECT
        4,
        'trigger ' || quote_ident(t.tgname) || ' belongs to ' || r.name,
        'DROP TRIGGER ' || quote_ident(t.tgname) || ' ON ' || r.name || ';'
      FROM relations r
      JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
      UNION ALL
      SELECT
        5,
        'rule ' || quote_ident(w.rulename) || ' belongs to ' || r.name,
        'DROP RULE ' || quote_ident(w.rulename) || ' ON ' || r.name || ';'
      FROM relations r
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
      WHERE r.relkind = 'r'
      UNION ALL
      SELECT
        6,
        'policy ' || quote_ident(p.polname) || ' belongs to ' || r.name,
        'DROP POLICY ' || quote_ident(p.polname) || ' ON ' || r.name || ';'
      FROM relations r
      JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
      UNION ALL
      SELECT
        6,
        r.name || ' has row-level security',
        'ALTER TABLE ' || r.name || ' DISABLE ROW LEVEL SECURITY;'
      FROM relations r
      WHERE r.relrowsecurity
      UNION ALL
      -- PostgreSQL plans with what they are about, expressions included.
      SELECT
        6,
        'statistics ' || quote_ident(e.stxname) || ' belong to ' || r.name,
        'DROP STATISTICS ' || quote_ident(n.nspname) || '.' || quote_ident(e.stxname) || ';'
      FROM relations r
      JOIN pg_catalog.pg_statistic_ext e ON e.stxrelid = r.oid
      JOIN pg_catalog.pg_namespace n ON n.oid = e.stxnamespace
      UNION ALL
      SELECT
        7,
        CAST(CAST(i.inhrelid AS regclass) AS text) || ' inherits from ' || CAST(CAST(i.inhparent AS regclass) AS text),
        'ALTER TABLE ' || CAST(CAST(i.inhrelid AS regclass) AS text) || ' NO INHERIT '
          || CAST(CAST(i.inhparent AS regclass) AS text) || ';'
      FROM pg_catalog.pg_inherits i
      JOIN relations r ON r.oid IN (i.inhparent, i.inhrelid)
      UNION ALL
      -- Both tables of a foreign key have triggers of the server's own, which name the other one.
      SELECT
        8,
        'foreign key ' || quote_ident(k.conname) || ' ties ' || CAST(CAST(k.conrelid AS regclass) AS text) || ' to '
          || CAST(CAST(k.confrelid AS regclass) AS text),
        'ALTER TABLE ' || CAST(CAST(k.conrelid AS regclass) AS text) || ' DROP CONSTRAINT ' || quote_ident(k.conname)
          || ';'
      FROM relations r
      JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND t.tgisinternal
      JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
      WHERE t.tgconstrrelid <> 0 AND NOT EXISTS (SELECT FROM relations other WHERE other.oid = t.tgconstrrelid)
      UNION ALL
      SELECT
        9,
        pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses '
          || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid),
        parts.cure
      FROM parts
      JOIN pg_catalog.pg_depend d ON d.classid = parts.class AND d.objid = parts.oid
      WHERE d.refclassid IN (
        CAST('pg_catalog.pg_proc' AS regclass), CAST('pg_catalog.pg_operator' AS regclass),
        CAST('pg_catalog.pg_opclass' AS regclass), CAST('pg_catalog.pg_type' AS regclass)
      )
      UNION ALL
      SELECT 10, pg_describe_object(parts.class, parts.oid, 0) || ' calls a function that no journal needs', parts.cure
      FROM parts
      WHERE parts.expressions ~ %(calls_more)s
      UNION ALL
      SELECT
        11,
        'role ' || COALESCE(roles.name, 'PUBLIC') || ' may put triggers on ' || r.name,
        'REVOKE TRIGGER ON ' || r.name || ' FROM ' || COALESCE(roles.name, 'PUBLIC') || ';'
      FROM relations r
      CROSS JOIN LATERAL aclexplode(r.relacl) acl
      LEFT JOIN roles ON roles.oid = acl.grantee
      WHERE acl.privilege_type = 'TRIGGER' AND NOT COALESCE(roles.trusted, false)
    )
    SELECT
      min(what) AS what,
      count(DISTINCT what) - 1 AS more,
      string_agg(DISTINCT cure, ' ' ORDER BY cure) AS cure,
      place <= 2 AS owned
    FROM found
    GROUP BY place
    ORDER BY place
    LIMIT 1
"""


class JournalUntrusted(Refused):
    """Somebody else owns the journal or a part of it, or something belongs to it that would run as this role.

    `planted` is whether it has another owner: then it may be no journal of ours at all.
    """

    def __init__(self, message: str, *, planted: bool = False) -> None:
        super().__init__(message)
        self.planted = planted


def check(connection: Connection) -> None:
    """Make sure that nobody but this role, the owner of GitLab's tokens and superusers has a hand in the journal.

    Without a journal there is nothing to find.

    Raises:
        JournalUntrusted: with what was found, and the statements that would end it.
    """
    found = _found(connection)
    if found is None:
        return
    more = f" (and {found.more} more like that)" if found.more else ""
    cure = (
        f"if you know who made it and what is in it, as a superuser run: {found.cure} If you do not, run: DROP SCHEMA "
        "token_tasks CASCADE;"
        if found.owned
        else f"find out who did that, then as the owner run: {found.cure}"
    )
    raise JournalUntrusted(
        f"The journal is not used: {found.what}{more}, so somebody else's code could run as this role; {cure}",
        planted=found.owned,
    )


def is_trusted(connection: Connection) -> bool:
    """Whether `check` would find nothing."""
    return _found(connection) is None


def _found(connection: Connection) -> Any:
    """What is not ours, the worst of it; None where nothing is."""
    if is_closed(connection):
        return None
    return connection.row(FOREIGN, tables=list(TABLES), calls_more=CALLS_MORE)


def is_closed(connection: Connection) -> bool:
    """Whether a first look finds nothing to be judged."""
    return bool(connection.row(CLOSED, tables=list(TABLES), calls_more=CALLS_MORE).closed)

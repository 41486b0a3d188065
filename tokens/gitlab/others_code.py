"""Code on GitLab's tables that would run with this role's privileges, and is neither its own nor a superuser's.

PostgreSQL runs policies, triggers, rules, checks, defaults and what indexes and statistics are about as the role that
reads or writes a row. GitLab has none with functions of its own where we read, and no trigger of GitLab's fires when we
write (16.0 to 19.5). So what is found is an administrator's, or of somebody who made a database look like GitLab's. The
tables' owner is trusted if the database is his, too. As a superuser only superusers are: then even functions of
PostgreSQL's own are code of the tables' owner where they write, or run what he hands them.

Not followed are operator classes, which only a superuser makes, so neither are exclusion constraints; nor the parts of
composite types and ranges, since no column with one is written here.
"""

from tokens.database import Connection
from tokens.errors import Refused

# Filters on names of functions of superusers. A volatile one may change something; of these GIVING only give a default
# its value. HANDED read a table, or take a value for a type, by a name in a text. What takes a `cstring` takes a type
# by its number. An extension's may do the same, also where it says to be stable. Indexes and statistics have none.
GIVING = "'^(nextval|random|clock_timestamp|timeofday|gen_random_uuid|uuidv[47]|uuid_generate_v[0-9a-z]+)$'"
HANDED = "'(^|_)to_xml|^pg_input_'"

FOUND = f"""
    WITH RECURSIVE me AS MATERIALIZED (
      -- Who has logged in may be a superuser still, after a SET ROLE: code can take it back.
      SELECT r.oid, r.rolsuper OR s.rolsuper AS rolsuper
      FROM pg_catalog.pg_roles r
      JOIN pg_catalog.pg_roles s ON s.rolname = session_user
      WHERE r.rolname = current_user
    ),
    tokens AS MATERIALIZED (
      SELECT c.relowner AS owner, c.relowner = d.datdba AS has_database, quote_ident(r.rolname) AS heir
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
      JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
      JOIN pg_catalog.pg_database d ON d.datname = current_database()
      WHERE c.relname = 'personal_access_tokens'
    ),
    relations AS MATERIALIZED (
      SELECT
        c.oid, c.relowner AS owner, 'public.' || quote_ident(c.relname) AS name, row_security_active(c.oid) AS hides,
        c.relname = ANY(CAST(%(written)s AS text[])) AS is_written
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
      JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
      JOIN tokens ON owner.rolsuper OR owner.oid = tokens.owner -- others' are not taken for GitLab's
      WHERE c.relname = ANY(CAST(%(tables)s AS text[])) AND c.relkind IN ('r', 'p')
    ),
    direct AS MATERIALIZED (
      SELECT CAST('pg_catalog.pg_policy' AS regclass) AS class, p.oid, r.oid AS on_table, r.name, 'policy' AS kind
      FROM relations r
      JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
      WHERE r.hides
      UNION ALL
      SELECT CAST('pg_catalog.pg_class' AS regclass), i.indexrelid, r.oid, r.name, 'index'
      FROM relations r
      JOIN pg_catalog.pg_index i ON i.indrelid = r.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
      UNION ALL
      SELECT CAST('pg_catalog.pg_statistic_ext' AS regclass), e.oid, r.oid, r.name, 'statistics'
      FROM relations r
      JOIN pg_catalog.pg_statistic_ext e ON e.stxrelid = r.oid
      UNION ALL
      SELECT CAST('pg_catalog.pg_constraint' AS regclass), k.oid, r.oid, r.name, 'check'
      FROM relations r
      JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'c'
      UNION ALL
      SELECT CAST('pg_catalog.pg_attrdef' AS regclass), f.oid, r.oid, r.name, 'default'
      FROM relations r
      JOIN pg_catalog.pg_attrdef f ON f.adrelid = r.oid
      WHERE r.is_written
      UNION ALL
      SELECT CAST('pg_catalog.pg_trigger' AS regclass), t.oid, r.oid, r.name, 'trigger'
      FROM relations r
      JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid
      WHERE r.is_written
        AND NOT t.tgisinternal
        AND t.tgenabled <> 'D'
        AND (t.tgtype & 4 <> 0 OR t.tgtype & 16 <> 0) -- INSERT, UPDATE: nothing is deleted here
      UNION ALL
      SELECT CAST('pg_catalog.pg_rewrite' AS regclass), w.oid, r.oid, r.name, 'rule'
      FROM relations r
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
      WHERE r.is_written
    ),
    -- The types of columns and those that expressions name; what a domain is made of, and the elements of an array.
    types AS (
      (
        SELECT a.atttypid AS oid, r.oid AS on_table, r.name
        FROM relations r
        JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE r.is_written
        UNION
        SELECT d.refobjid, direct.on_table, direct.name
        FROM direct
        JOIN pg_catalog.pg_depend d ON d.classid = direct.class AND d.objid = direct.oid
        WHERE d.refclassid = CAST('pg_catalog.pg_type' AS regclass)
      )
      UNION
      SELECT made_of.oid, types.on_table, types.name
      FROM types
      JOIN pg_catalog.pg_type t ON t.oid = types.oid
      CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS made_of (oid)
      WHERE made_of.oid <> 0
    ),
    parts AS MATERIALIZED (
      SELECT * FROM direct
      UNION ALL
      SELECT CAST('pg_catalog.pg_constraint' AS regclass), k.oid, types.on_table, types.name, 'check'
      FROM types
      JOIN pg_catalog.pg_constraint k ON k.contypid = types.oid
      UNION ALL
      SELECT CAST('pg_catalog.pg_type' AS regclass), types.oid, types.on_table, types.name, 'column'
      FROM types
      UNION ALL
      SELECT CAST('pg_catalog.pg_class' AS regclass), r.oid, r.oid, r.name, 'column'
      FROM relations r
      WHERE r.is_written
    ),
    uses AS (
      SELECT
        parts.kind, parts.name, COALESCE(p.proowner, behind.proowner, t.typowner, v.relowner) AS owner,
        pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) AS used, true AS is_own
      FROM parts
      JOIN pg_catalog.pg_depend d ON d.classid = parts.class AND d.objid = parts.oid
      LEFT JOIN pg_catalog.pg_proc p
        ON d.refclassid = CAST('pg_catalog.pg_proc' AS regclass) AND p.oid = d.refobjid
      LEFT JOIN pg_catalog.pg_operator o
        ON d.refclassid = CAST('pg_catalog.pg_operator' AS regclass) AND o.oid = d.refobjid
      LEFT JOIN pg_catalog.pg_proc behind ON behind.oid = o.oprcode
      LEFT JOIN pg_catalog.pg_type t
        ON d.refclassid = CAST('pg_catalog.pg_type' AS regclass) AND t.oid = d.refobjid
      -- Another table, or a view, may hide code of its own.
      LEFT JOIN pg_catalog.pg_class v
        ON d.refclassid = CAST('pg_catalog.pg_class' AS regclass) AND v.oid = d.refobjid
        AND v.oid <> parts.on_table AND parts.kind IN ('policy', 'rule')
      UNION ALL
      -- Of PostgreSQL's own functions pg_depend knows nothing: they stand in the expressions alone, also those that are
      -- behind an operator of the owner's.
      SELECT parts.kind, parts.name, r.owner, 'function ' || CAST(p.oid AS regprocedure), false
      FROM parts
      JOIN relations r ON r.oid = parts.on_table
      LEFT JOIN pg_catalog.pg_policy y ON parts.kind = 'policy' AND y.oid = parts.oid
      LEFT JOIN pg_catalog.pg_constraint k ON parts.kind = 'check' AND k.oid = parts.oid
      LEFT JOIN pg_catalog.pg_attrdef f ON parts.kind = 'default' AND f.oid = parts.oid
      LEFT JOIN pg_catalog.pg_trigger t ON parts.kind = 'trigger' AND t.oid = parts.oid
      LEFT JOIN pg_catalog.pg_rewrite w ON parts.kind = 'rule' AND w.oid = parts.oid
      CROSS JOIN LATERAL regexp_matches(
        concat(y.polqual, y.polwithcheck, k.conbin, f.adbin, t.tgqual, w.ev_qual, w.ev_action),
        ':(?:func|opfunc|aggfn|winfn)o?id ([0-9]+)', 'g'
      ) AS called (ids)
      JOIN pg_catalog.pg_proc p ON p.oid = CAST(called.ids[1] AS oid)
      WHERE (p.provolatile = 'v' AND p.proname !~ {GIVING})
        OR (p.provolatile = 's' AND p.oid >= 16384)
        OR p.proname ~ {HANDED}
        OR CAST('cstring' AS regtype) = ANY (p.proargtypes)
    )
    SELECT
      uses.kind, uses.name, uses.used, uses.is_own, owner.rolname AS owner, me.rolsuper AS as_superuser, tokens.heir,
      current_user AS role
    FROM uses
    JOIN pg_catalog.pg_roles owner ON owner.oid = uses.owner
    CROSS JOIN me
    CROSS JOIN tokens
    WHERE NOT owner.rolsuper
      AND (me.rolsuper OR owner.oid <> me.oid)
      AND (me.rolsuper OR owner.oid <> tokens.owner OR NOT tokens.has_database)
    ORDER BY uses.kind, uses.name, uses.used
    LIMIT 1
"""  # noqa: S608 - constants

# Whether a role that is neither this one nor a superuser owns a function, a type or a relation here. Only then FOUND is
# asked: planning it takes most of its time, and for the tables' owner that is rare. Not by pg_shdepend, which leaves
# out what belongs to PostgreSQL's own roles, as pg_monitor: their members may give them functions.
OTHERS = """
    SELECT
      EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proowner <> ALL (trusted.roles))
        OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typowner <> ALL (trusted.roles))
        OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relowner <> ALL (trusted.roles)) AS own_something
    FROM (
      SELECT ARRAY(
        SELECT r.oid
        FROM pg_catalog.pg_roles r
        WHERE r.rolsuper OR r.rolname = current_user AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_roles s WHERE s.rolname = session_user AND s.rolsuper
        )
      ) AS roles
    ) trusted
"""


def check(connection: Connection, *, reads: list[str], writes: list[str]) -> None:
    """Refuse to read or write tables of these names where that would run somebody else's code as this role.

    Only the catalogue is read.
    """
    if not connection.row(OTHERS).own_something:
        return
    found = connection.row(FOUND, tables=[*reads, *writes], written=writes)
    if found is None:
        return
    cure = (
        f"log in as {found.heir}, the tables' owner, and not as a superuser"
        if found.as_superuser
        else "check that this is GitLab's database; if it is, use the tables' owner, or find out who did that"
    )
    used = f'uses {found.used} of role "{found.owner}"'
    if not found.is_own:
        used = f'of role "{found.owner}" uses {found.used}'
    raise Refused(f'A {found.kind} on {found.name} {used}, which would run as "{found.role}": {cure}.')

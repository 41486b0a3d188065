BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true);

WITH space AS MATERIALIZED (
      SELECT n.oid, n.nspowner
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
    ),
    relations AS MATERIALIZED (
      SELECT c.oid, c.relkind, c.relowner, c.relacl, c.relrowsecurity, 'token_tasks.' || quote_ident(c.relname) AS name
      FROM pg_catalog.pg_class c
      WHERE c.relname = ANY (CAST($1 AS name[])) AND c.relnamespace = (SELECT oid FROM space)
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
      SELECT CAST('pg_catalog.pg_class' AS regclass) AS class, r.oid, 'DROP SCHEMA token_tasks CASCADE;' AS cure
      FROM relations r
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_class' AS regclass),
        i.indexrelid,
        'DROP INDEX ' || CAST(CAST(i.indexrelid AS regclass) AS text) || ';'
      FROM relations r
      JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_attrdef' AS regclass),
        d.oid,
        'ALTER TABLE ' || r.name || ' ALTER COLUMN ' || quote_ident(a.attname) || ' DROP DEFAULT;'
      FROM relations r
      JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.oid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
      UNION ALL
      SELECT
        CAST('pg_catalog.pg_constraint' AS regclass),
        c.oid,
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
        'trigger ' || quote_ident(t.tgname) || ' hangs on ' || r.name,
        'DROP TRIGGER ' || quote_ident(t.tgname) || ' ON ' || r.name || ';'
      FROM relations r
      JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
      UNION ALL
      SELECT
        5,
        'rule ' || quote_ident(w.rulename) || ' hangs on ' || r.name,
        'DROP RULE ' || quote_ident(w.rulename) || ' ON ' || r.name || ';'
      FROM relations r
      JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
      WHERE r.relkind = 'r'
      UNION ALL
      SELECT
        6,
        'policy ' || quote_ident(p.polname) || ' hangs on ' || r.name,
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
      SELECT
        10,
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
    LIMIT 1;

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
    WHERE n.nspname = 'token_tasks';

SELECT CASE WHEN count(*) = 1 THEN min(version_num) END AS version_num
    FROM token_tasks.alembic_version;

SELECT
      r.id, r.kind, r.state, r.selection, r.change, r.memberships, r.notices, r.reason, r.planned_by, r.tool_version,
      r.undoes, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.attempt,
      to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      to_char(r.heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS heartbeat_at,
      to_char(r.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS finished_at,
      extract(epoch FROM now() - r.created_at)::float8 AS age,
      CASE WHEN r.state = 'running' THEN extract(epoch FROM now() - r.heartbeat_at)::float8 END AS silence,
      (SELECT max(u.id) FROM token_tasks.runs u WHERE u.undoes = r.id AND u.changed > 0) AS undone_by
    FROM token_tasks.runs r
    WHERE CAST($1 AS bigint) IS NULL OR r.id = $1
    ORDER BY r.id DESC;

COMMIT;

SELECT
      current_database() AS database,
      current_user AS role,
      quote_ident(current_user) AS grantee,
      pg_is_in_recovery() AS standby,
      current_setting('default_transaction_read_only')::boolean AS read_only,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relname = $1 AND t.tgname = $2 AND t.tgenabled <> 'D'
      ) AS write_locked,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relname = $1 AND row_security_active(c.oid)
      ) AS rows_hidden;

SELECT
      c.relname AS table_name,
      quote_ident(owner.rolname) AS owner,
      quote_ident(heir.rolname) AS heir,
      c.relkind IN ('r', 'p') AND (owner.rolsuper OR c.relowner = tokens.relowner) AS is_gitlabs,
      COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE t.typnamespace = catalog.oid), '{}') AS columns,
      COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE t.typnamespace <> catalog.oid), '{}') AS foreign_columns
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_namespace catalog ON catalog.nspname = 'pg_catalog'
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
    LEFT JOIN pg_catalog.pg_class tokens ON tokens.relnamespace = n.oid AND tokens.relname = 'personal_access_tokens'
    LEFT JOIN pg_catalog.pg_roles heir ON heir.oid = tokens.relowner
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = 'public' AND c.relname = ANY($1)
    GROUP BY c.relname, c.relkind, c.relowner, tokens.relowner, owner.rolname, owner.rolsuper, heir.rolname;

SELECT w.privilege, w.table_name, w.column_name
    FROM unnest(
      CAST($1 AS text[]), CAST($2 AS text[]), CAST($3 AS text[])
    ) WITH ORDINALITY AS w (privilege, table_name, column_name, position)
    JOIN pg_catalog.pg_namespace n ON n.nspname = 'public'
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.column_name AND NOT a.attisdropped
    WHERE (c.relkind = 'S' OR a.attnum IS NOT NULL)
      AND (
        CAST($4 AS boolean)
        OR NOT has_schema_privilege(n.oid, 'USAGE')
        OR CASE c.relkind
          WHEN 'S' THEN NOT has_sequence_privilege(c.oid, w.privilege)
          ELSE NOT has_column_privilege(c.oid, a.attnum, w.privilege)
        END
      )
    ORDER BY w.position;

SELECT
      a.number, a.carried_out_by, a.process, a.tool_version, a.stopped_because,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS started_at,
      to_char(a.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS ended_at
    FROM token_tasks.attempts a
    WHERE a.run_id = $1
    ORDER BY a.number;

SELECT
      (
        SELECT COALESCE(sum(cardinality(m.member_ids)), 0)
        FROM token_tasks.memberships m
        WHERE m.run_id = $1
      ) + (
        SELECT COALESCE(sum(cardinality(p.member_ids)), 0)
        FROM token_tasks.rotations p
        WHERE p.run_id = $1 AND p.state <> 'abandoned'
      ) AS memberships,
      (
        SELECT COALESCE(sum(cardinality(n.token_ids)), 0)
        FROM token_tasks.notices n
        WHERE n.run_id = $1
      ) AS notices;

SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new, c.done_at IS NOT NULL AS done,
      c.token_ids, c.left_alone, c.locked, today.owners, today.names
    FROM (
      SELECT *
      FROM token_tasks.chunks
      WHERE run_id = $1 AND position >= $2
      ORDER BY position
      LIMIT $3
    ) c
    CROSS JOIN LATERAL (
      SELECT
        array_agg(u.username ORDER BY one.place) AS owners,
        array_agg(t.name ORDER BY one.place) AS names
      FROM unnest(c.token_ids) WITH ORDINALITY AS one (id, place)
      LEFT JOIN public.personal_access_tokens t ON t.id = one.id
      LEFT JOIN public.users u ON u.id = t.user_id
    ) today
    ORDER BY c.position;

SELECT
      p.token_id, u.username AS account, t.name,
      p.old_expires_at::text AS old, p.new_expires_at::text AS new, p.grace_until::text AS grace_until,
      p.state AS stage,
      to_char(p.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS reached_at,
      CASE WHEN p.state <> 'abandoned' THEN p.successor_id END AS successor_id,
      CASE
        WHEN p.state = 'abandoned' THEN array_remove(p.given_up || p.successor_id, NULL)
        ELSE p.given_up
      END AS given_up,
      CASE WHEN t.id IS NOT NULL THEN CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END END AS state_now,
      t.expires_at::text AS old_now
    FROM (
      SELECT *
      FROM token_tasks.rotations
      WHERE run_id = $1 AND token_id > $2
      ORDER BY token_id
      LIMIT $3
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.token_id
    LEFT JOIN public.users u ON u.id = t.user_id
    ORDER BY p.token_id;

BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true);

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

SELECT EXISTS (
      SELECT
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'rotations'
      WHERE n.nspname = 'token_tasks'
        AND c.relkind = 'r' AND NOT c.relrowsecurity AND NOT c.relhassubclass
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_attribute a
          JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          JOIN pg_catalog.pg_namespace of_type ON of_type.oid = t.typnamespace
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND of_type.nspname <> 'pg_catalog'
        )
        AND EXISTS (
          SELECT
          FROM pg_catalog.pg_roles owner
          JOIN pg_catalog.pg_class tokens ON tokens.relname = 'personal_access_tokens'
          JOIN pg_catalog.pg_namespace s ON s.oid = tokens.relnamespace AND s.nspname = 'public'
          WHERE owner.oid = c.relowner
            AND (owner.rolsuper OR owner.rolname = current_user OR owner.oid = tokens.relowner)
        )
        AND has_schema_privilege(n.oid, 'USAGE')
        AND has_table_privilege(c.oid, 'SELECT')
    ) AS knows;

SELECT
      t.id, t.name, CAST(NULL AS text) AS description, u.username, t.user_id, u.user_type,
      CASE
      WHEN t.impersonation THEN 'impersonation'
      WHEN u.id IS NULL THEN 'other'
      WHEN COALESCE(u.user_type, 0) = 0 THEN 'personal'
      WHEN u.user_type = 13 THEN 'service-account'
      WHEN u.user_type <> 6 THEN 'other'
      WHEN EXISTS (
        SELECT
        FROM public.members m
        WHERE m.user_id = u.id AND m.source_type = 'Project' AND m.requested_at IS NULL
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.members m
        WHERE m.user_id = u.id AND m.source_type = 'Namespace' AND m.requested_at IS NULL
      ) THEN 'group'
      
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      t.scopes,
      t.expires_at::text AS expires_at,
      CASE WHEN isfinite(t.expires_at) THEN t.expires_at - CAST(now() AT TIME ZONE 'UTC' AS date) END AS days,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS organization_id,
      t.impersonation,
      false AS granular,
      0 AS granular_scopes,
      false AS sudo,
      (
        WITH RECURSIVE line AS (
          SELECT s.id, s.revoked, s.expires_at
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens s ON s.id = p.successor_id
          WHERE p.token_id = t.id
          UNION
          SELECT s.id, s.revoked, s.expires_at
          FROM line CROSS JOIN token_tasks.rotations p
          JOIN public.personal_access_tokens s ON s.id = p.successor_id
          WHERE p.token_id = line.id
        )

        SELECT max(line.id)
        FROM line
        WHERE line.revoked IS NOT TRUE
          AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
      ) AS live_successor
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE TRUE
      AND (t.name = CAST($1 AS text) OR t.id = CAST($2 AS bigint))
    ORDER BY abs(CASE WHEN isfinite(t.expires_at) THEN t.expires_at - CAST(now() AT TIME ZONE 'UTC' AS date) END) NULLS LAST, t.expires_at NULLS LAST, t.id;

COMMIT;

SELECT
      COALESCE(disable_personal_access_tokens, false) AS disabled
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

SELECT
      t.id, COALESCE(t.revoked, false) AS revoked, t.user_id, t.impersonation, false AS granular,
      false AS sudo, COALESCE(u.admin, false) AS admin,
      u.username, COALESCE(u.user_type, 0) AS user_type, u.state, u.id IS NOT NULL AS owned,
      (
        WITH RECURSIVE line AS (
          SELECT s.id, s.revoked, s.expires_at
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens s ON s.id = p.successor_id
          WHERE p.token_id = t.id
          UNION
          SELECT s.id, s.revoked, s.expires_at
          FROM line CROSS JOIN token_tasks.rotations p
          JOIN public.personal_access_tokens s ON s.id = p.successor_id
          WHERE p.token_id = line.id
        )

        SELECT max(line.id)
        FROM line
        WHERE line.revoked IS NOT TRUE
          AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
      ) AS live_successor
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id = ANY(CAST($1 AS bigint[]));

SELECT
      a.attname AS name,
      quote_ident(a.attname) AS identifier,
      COALESCE(pg_get_expr(d.adbin, d.adrelid), 'NULL') AS default_value
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relname = $1
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0
      AND NOT a.attisdropped
      AND a.attidentity = ''
      AND a.attgenerated = ''
      AND a.attname <> ALL (CAST($2 AS text[]))
    ORDER BY a.attnum;

SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text);

SELECT
      max_personal_access_token_lifetime AS max_personal_access_token_lifetime,
      maintenance_mode AS maintenance_mode
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

SELECT count(DISTINCT m.id) AS members
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.id = ANY(CAST($1 AS bigint[]))
      AND u.user_type = 13
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(CAST($2 AS date), CAST('infinity' AS date));

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

BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('lock_timeout', '10s', true), pg_catalog.set_config('transaction_timeout', '0', true);

SELECT
      r.id, r.kind, a.process, a.carried_out_by,
      extract(epoch FROM clock_timestamp() - r.heartbeat_at)::float8 AS silence,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS since
    FROM token_tasks.runs r
    JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.state = 'running'
    ORDER BY r.id;

INSERT INTO token_tasks.runs
      (kind, state, selection, change, memberships, notices, reason, planned_by, tool_version, undoes, tokens)
    VALUES (
      $1, 'planned', CAST($2 AS jsonb), CAST($3 AS jsonb), $4, $5,
      $6, CAST($7 AS jsonb), $8, CAST($9 AS bigint), $10
    )
    RETURNING id;

INSERT INTO token_tasks.rotations (run_id, token_id, old_expires_at, new_expires_at, grace_until)
    VALUES ($1, $2, CAST($3 AS date), CAST($4 AS date), CAST($5 AS date));

SELECT pg_advisory_xact_lock(hashtext('token_tasks.runs'));

UPDATE token_tasks.runs
    SET state = 'running', attempt = attempt + 1, heartbeat_at = clock_timestamp(), finished_at = NULL
    WHERE id = $1 AND state <> 'done'
    RETURNING attempt;

INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version)
    VALUES ($1, $2, CAST($3 AS jsonb), $4, $5);

BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('transaction_timeout', '0', true);

UPDATE token_tasks.runs
    SET
      heartbeat_at = clock_timestamp(),
      changed = changed + $1,
      changed_meanwhile = changed_meanwhile + $2
    WHERE id = $3 AND attempt = $4 AND state = 'running';

SELECT
      p.state, p.successor_id, p.old_expires_at::text AS old_expires_at, p.new_expires_at::text AS new_expires_at,
      p.grace_until::text AS grace_until, r.memberships
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id
    WHERE p.run_id = $1 AND p.token_id = $2
    FOR UPDATE OF p;

SELECT t.user_id, 0 AS organization_id
    FROM public.personal_access_tokens t
    WHERE t.id = $1
    FOR UPDATE;

SELECT
      COALESCE(personal_access_token_prefix, '') AS prefix
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

SELECT EXISTS (
      SELECT
      FROM pg_catalog.pg_trigger t
      JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
      WHERE n.nspname = 'public'
        AND c.relname = ANY($1)
        AND t.tgenabled <> 'D'
        AND (t.tgtype & 4 <> 0 OR t.tgtype & 16 <> 0) -- INSERT, UPDATE: nothing is deleted here
        AND NOT t.tgisinternal
        AND l.lanname NOT IN ('internal', 'c')
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS of (setting) WHERE starts_with(of.setting, 'search_path='))
        AND owner.rolname = current_user
        AND NOT owner.rolsuper
    ) AS found;

INSERT INTO public.personal_access_tokens
      (user_id, name, scopes, impersonation, expires_at, token_digest, created_at, updated_at)
    SELECT
      t.user_id, t.name, t.scopes, t.impersonation, CAST($1 AS date), CAST($2 AS text), now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE t.id = $3
    ON CONFLICT DO NOTHING
    RETURNING id;

UPDATE token_tasks.rotations
    SET
      member_ids = CAST($1 AS bigint[]),
      old_member_expires_at = CAST($2 AS date[])
    WHERE run_id = $3 AND token_id = $4;

UPDATE token_tasks.rotations
    SET
      given_up = array_remove(given_up || successor_id, NULL),
      successor_id = $1
    WHERE run_id = $2 AND token_id = $3;

UPDATE token_tasks.rotations
    SET state = $1, changed_at = now()
    WHERE run_id = $2 AND token_id = $3;

SELECT
      t.id,
      t.revoked IS TRUE AS revoked,
      t.expires_at::text AS expires_at,
      t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) AS live
    FROM public.personal_access_tokens t
    WHERE t.id IN ($1, CAST($2 AS bigint))
    ORDER BY t.id
    FOR UPDATE;

UPDATE public.personal_access_tokens
    SET revoked = true, updated_at = now() AT TIME ZONE 'UTC'
    WHERE id = $1 AND revoked IS NOT TRUE;

UPDATE token_tasks.runs
    SET changed = changed + $1, changed_meanwhile = changed_meanwhile + $2
    WHERE id = $3;

UPDATE token_tasks.runs r
    SET
      state = $1,
      finished_at = CASE WHEN $1 IN ('done', 'partial') THEN now() END,
      locked = (SELECT COALESCE(sum(cardinality(c.locked)), 0) FROM token_tasks.chunks c WHERE c.run_id = r.id)
    WHERE r.id = $2 AND r.attempt = $3 AND r.state = 'running';

UPDATE token_tasks.attempts
    SET ended_at = now(), stopped_because = $1
    WHERE run_id = $2 AND number = $3 AND ended_at IS NULL;

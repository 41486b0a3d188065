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

SELECT FROM token_tasks.runs WHERE id = $1 AND kind = 'rotate';

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

DECLARE "stream" CURSOR FOR 
    WITH put_back AS MATERIALIZED (
      SELECT DISTINCT p.id
      FROM (
        SELECT
          c.new_expires_at,
          unnest(c.token_ids) AS id,
          COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}') AS others
        FROM token_tasks.runs u
        JOIN token_tasks.chunks c ON c.run_id = u.id AND c.done_at IS NOT NULL
        WHERE u.undoes = $1
      ) p
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.expires_at IS NOT DISTINCT FROM p.new_expires_at
      WHERE p.id <> ALL (p.others)
    )
    SELECT
      c.position, c.new_expires_at::text AS old, c.old_expires_at::text AS new,
      CASE
        WHEN c.left_alone IS NULL AND c.locked IS NULL AND NOT EXISTS (SELECT FROM put_back) THEN c.token_ids
        ELSE ARRAY(
          SELECT id FROM unnest(c.token_ids) AS id
          WHERE id <> ALL (COALESCE(c.left_alone, '{}')) AND id <> ALL (COALESCE(c.locked, '{}'))
            AND id NOT IN (SELECT b.id FROM put_back b)
          ORDER BY id
        )
      END AS ids,
      false AS again
    FROM token_tasks.chunks c
    WHERE c.run_id = $1 AND c.done_at IS NOT NULL
    ORDER BY c.position DESC;

FETCH FORWARD 1 FROM "stream";

CLOSE "stream";

WITH put_back AS MATERIALIZED (
      SELECT DISTINCT p.id
      FROM (
        SELECT
          c.new_expires_at,
          unnest(c.token_ids) AS id,
          COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}') AS others
        FROM token_tasks.runs u
        JOIN token_tasks.chunks c ON c.run_id = u.id AND c.done_at IS NOT NULL
        WHERE u.undoes = $1
      ) p
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.expires_at IS NOT DISTINCT FROM p.new_expires_at
      WHERE p.id <> ALL (p.others)
    )
    SELECT count(*) AS tokens FROM put_back;

DECLARE "stream" CURSOR FOR 
    WITH put_back AS MATERIALIZED (
      SELECT DISTINCT p.id
      FROM (
        SELECT
          c.new_expires_at,
          unnest(c.token_ids) AS id,
          COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}') AS others
        FROM token_tasks.runs u
        JOIN token_tasks.chunks c ON c.run_id = u.id AND c.done_at IS NOT NULL
        WHERE u.undoes = $1
      ) p
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.expires_at IS NOT DISTINCT FROM p.new_expires_at
      WHERE p.id <> ALL (p.others)
    )
    SELECT p.id
    FROM (
      SELECT
        c.new_expires_at,
        unnest(c.token_ids) AS id,
        COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}') AS others
      FROM token_tasks.chunks c
      WHERE c.run_id = $1 AND c.done_at IS NOT NULL
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.id
    WHERE (t.id IS NULL OR t.expires_at IS DISTINCT FROM p.new_expires_at)
      AND p.id <> ALL (p.others)
      AND p.id NOT IN (SELECT b.id FROM put_back b)
    ORDER BY p.id;

SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text);

SELECT
      max_personal_access_token_lifetime AS max_personal_access_token_lifetime,
      require_personal_access_token_expiry AS require_personal_access_token_expiry,
      service_access_tokens_expiration_enforced AS service_access_tokens_expiration_enforced,
      maintenance_mode AS maintenance_mode,
      CAST(
        resource_access_tokens_settings -> 'inactive_resource_access_tokens_delete_after_days' AS text
      ) AS resource_access_tokens_settings
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

SELECT max(version) AS version
    FROM public.schema_migrations
    WHERE version ~ '^20[0-9]{12}$';

WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      JOIN (
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = $1
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
        AND (t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > CAST($2 AS date))
        AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT s.id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.revoked, s.expires_at
          FROM line JOIN public.personal_access_tokens s
          ON s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

WITH changed AS MATERIALIZED (
      SELECT t.id, t.user_id, changed.position
      FROM public.personal_access_tokens t
      JOIN (
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = $1
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
    )
    SELECT
      count(DISTINCT m.id) FILTER (WHERE NOT stays.needed) AS memberships,
      count(DISTINCT m.id) FILTER (WHERE stays.needed) AS needed,
      (
        SELECT count(DISTINCT t.id)
        FROM token_tasks.notices n
        CROSS JOIN LATERAL unnest(n.token_ids) AS kept (id)
        JOIN changed ON changed.id = kept.id AND changed.position = n.position
        JOIN public.personal_access_tokens t ON t.id = kept.id AND NOT (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)
        WHERE n.run_id = $1
      ) AS notices
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
    JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
    CROSS JOIN LATERAL (
      SELECT EXISTS (
        SELECT
        FROM public.personal_access_tokens other
        WHERE other.user_id = m.user_id
          AND (
      other.revoked IS NOT TRUE
      AND COALESCE(other.expires_at, 'infinity') > kept.old_expires_at
      AND (
        other.created_at > (SELECT r.created_at AT TIME ZONE 'UTC' FROM token_tasks.runs r WHERE r.id = $1)
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          JOIN token_tasks.runs r ON r.id = c.run_id AND r.kind <> 'undo'
          WHERE c.run_id > $1
            AND c.done_at IS NOT NULL
            AND c.new_expires_at IS NOT DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          WHERE c.run_id = $1
            AND c.old_expires_at IS DISTINCT FROM other.expires_at
            AND c.new_expires_at IS DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR (
          EXISTS (
            SELECT
            FROM unnest(n.other_token_ids, n.other_expires_at) AS earlier (id, expires_at)
            WHERE earlier.id = other.id AND earlier.expires_at <= kept.old_expires_at
          )
          AND NOT EXISTS (
            SELECT FROM token_tasks.chunks c WHERE c.run_id = $1 AND other.id = ANY (c.token_ids)
          )
        )
      )
    )
      ) AS needed
    ) stays
    WHERE n.run_id = $1
      AND EXISTS (SELECT FROM changed WHERE changed.user_id = m.user_id AND changed.position = n.position);

WITH owners AS (
      SELECT
        t.user_id,
        u.user_type,
        count(*) FILTER (WHERE u.user_type = 6 AND ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE u.user_type = 6 AND ((t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR changed.old_expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE u.user_type = 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active,
        count(*) FILTER (WHERE u.user_type = 6 AND (t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS will_be_active
      FROM public.personal_access_tokens t
      JOIN (
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = $3
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
      LEFT JOIN public.users u ON u.id = t.user_id
      GROUP BY t.user_id, u.user_type
    )
    SELECT count(*) FILTER (WHERE (bot.holding > 0 AND bot.holding - o.holding + o.will_hold = 0)) AS doomed_bots
    FROM owners o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id
    ) bot ON o.user_type = 6;

SELECT c.relname AS name, current_user AS role
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = ANY(CAST($1 AS text[])) AND row_security_active(c.oid)
    ORDER BY c.relname;

COMMIT;

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

INSERT INTO token_tasks.chunks (run_id, position, old_expires_at, new_expires_at, token_ids)
    SELECT CAST($1 AS bigint), c.position, c.old, c.new, CAST(c.ids AS bigint[])
    FROM unnest(
      CAST($2 AS bigint[]), CAST($3 AS date[]), CAST($4 AS date[]), CAST($5 AS text[])
    ) AS c (position, old, new, ids);

SELECT pg_advisory_xact_lock(hashtext('token_tasks.runs'));

UPDATE token_tasks.runs
    SET state = 'running', attempt = attempt + 1, heartbeat_at = clock_timestamp(), finished_at = NULL
    WHERE id = $1 AND state <> 'done'
    RETURNING attempt;

INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version)
    VALUES ($1, $2, CAST($3 AS jsonb), $4, $5);

BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('lock_timeout', '250ms', true), pg_catalog.set_config('transaction_timeout', '0', true);

SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids) AS kept (id)
    JOIN public.members m ON m.id = kept.id
    WHERE n.run_id = $1
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = $1 AND c.position <= $2
      )
      AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST($3 AS bigint[]))
      )
    ORDER BY m.id
    FOR NO KEY UPDATE OF m SKIP LOCKED;

SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids) AS kept (id)
    JOIN public.members m ON m.id = kept.id
    WHERE n.run_id = $1
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = $1 AND c.position <= $2
      )
      AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST($3 AS bigint[]))
      )
    ORDER BY m.id;

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

WITH unlocked AS MATERIALIZED (
      SELECT id
      FROM public.personal_access_tokens
      WHERE id = ANY(CAST($1 AS bigint[]))
        AND expires_at IS NOT DISTINCT FROM CAST($2 AS date)
      ORDER BY id
      FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE public.personal_access_tokens t
    SET expires_at = CAST($3 AS date)
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

UPDATE public.personal_access_tokens t
    SET expire_notification_delivered = kept.expire_notification_delivered, after_expiry_notification_delivered = kept.after_expiry_notification_delivered, seven_days_notification_sent_at = kept.seven_days_notification_sent_at, thirty_days_notification_sent_at = kept.thirty_days_notification_sent_at, sixty_days_notification_sent_at = kept.sixty_days_notification_sent_at
    FROM token_tasks.notices n
    CROSS JOIN LATERAL unnest(n.token_ids, n.expire_notification_delivered, n.after_expiry_notification_delivered, n.seven_days_notification_sent_at, n.thirty_days_notification_sent_at, n.sixty_days_notification_sent_at) AS kept (id, expire_notification_delivered, after_expiry_notification_delivered, seven_days_notification_sent_at, thirty_days_notification_sent_at, sixty_days_notification_sent_at)
    WHERE n.run_id = $1
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = $1 AND c.position <= $2
      )
      AND t.id = kept.id
      AND t.id = ANY(CAST($3 AS bigint[]))
      AND NOT ((t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL));

UPDATE public.members m
    SET expires_at = kept.old_expires_at
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
    WHERE n.run_id = $1
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = $1 AND c.position <= $2
      )
      AND m.id = kept.id
      AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST($3 AS bigint[]))
      )
      -- At its end GitLab would delete the other tokens that have come to need it since.
      AND NOT EXISTS (
        SELECT
        FROM public.personal_access_tokens other
        WHERE other.user_id = m.user_id
          AND other.id <> ALL (CAST($3 AS bigint[]))
          AND (
      other.revoked IS NOT TRUE
      AND COALESCE(other.expires_at, 'infinity') > kept.old_expires_at
      AND (
        other.created_at > (SELECT r.created_at AT TIME ZONE 'UTC' FROM token_tasks.runs r WHERE r.id = $1)
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          JOIN token_tasks.runs r ON r.id = c.run_id AND r.kind <> 'undo'
          WHERE c.run_id > $1
            AND c.done_at IS NOT NULL
            AND c.new_expires_at IS NOT DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          WHERE c.run_id = $1
            AND c.old_expires_at IS DISTINCT FROM other.expires_at
            AND c.new_expires_at IS DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR (
          EXISTS (
            SELECT
            FROM unnest(n.other_token_ids, n.other_expires_at) AS earlier (id, expires_at)
            WHERE earlier.id = other.id AND earlier.expires_at <= kept.old_expires_at
          )
          AND NOT EXISTS (
            SELECT FROM token_tasks.chunks c WHERE c.run_id = $1 AND other.id = ANY (c.token_ids)
          )
        )
      )
    )
      );

WITH advanced AS (
    UPDATE token_tasks.runs
    SET
      heartbeat_at = clock_timestamp(),
      changed = changed + $1,
      changed_meanwhile = changed_meanwhile + $2
    WHERE id = $3 AND attempt = $4 AND state = 'running'
      RETURNING id
    )
    UPDATE token_tasks.chunks c
    SET done_at = now()
    FROM advanced
    WHERE c.run_id = advanced.id AND c.position = ANY(CAST($5 AS bigint[]));

SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST($2 AS date);

UPDATE token_tasks.runs r
    SET
      state = $1,
      finished_at = CASE WHEN $1 IN ('done', 'partial') THEN now() END,
      locked = (SELECT COALESCE(sum(cardinality(c.locked)), 0) FROM token_tasks.chunks c WHERE c.run_id = r.id)
    WHERE r.id = $2 AND r.attempt = $3 AND r.state = 'running';

UPDATE token_tasks.attempts
    SET ended_at = now(), stopped_because = $1
    WHERE run_id = $2 AND number = $3 AND ended_at IS NULL;

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
      quote_ident(current_database()) AS database,
      has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
      n.oid IS NOT NULL AS has_schema,
      quote_ident(pg_get_userbyid(n.nspowner)) AS owner,
      pg_has_role(n.nspowner, 'USAGE') AS owns_schema,
      has_schema_privilege(n.oid, 'USAGE') AS may_enter,
      has_schema_privilege(n.oid, 'CREATE') AS may_create_tables,
      COALESCE(tables.installed, false) AS installed,
      COALESCE(tables.owned, true) AS owns_tables,
      COALESCE(tables.writable, true) AS may_write
    FROM (VALUES ('token_tasks')) AS wanted (name)
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name
    LEFT JOIN LATERAL (
      SELECT
        bool_or(c.relname = 'alembic_version') AS installed,
        bool_and(pg_has_role(c.relowner, 'USAGE')) AS owned,
        bool_and(
          has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
          AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        ) AS writable
      FROM pg_catalog.pg_class c
      WHERE c.relnamespace = n.oid AND c.relkind = 'r'
    ) tables ON true;

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

SELECT count(*) AS runs 
    FROM token_tasks.runs r
    WHERE r.state <> 'running'
      -- A successor that was made, but not delivered, is to be revoked by whoever resumes the run.
      AND NOT EXISTS (
        SELECT FROM token_tasks.rotations p
        WHERE p.run_id = r.id AND p.state NOT IN ('planned', 'done', 'abandoned')
      )
      -- While a token works that was replaced, it is to be known that it was, and by what.
      AND r.id NOT IN (
        WITH RECURSIVE replaced AS (
          SELECT p.run_id, p.successor_id
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens t ON t.id = p.token_id AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
          WHERE p.state NOT IN ('planned', 'abandoned')
          UNION
          SELECT p.run_id, p.successor_id
          FROM replaced
          JOIN token_tasks.rotations p ON p.token_id = replaced.successor_id AND p.state NOT IN ('planned', 'abandoned')
        )
        SELECT run_id FROM replaced
      )
      -- An undo that is not complete needs what it undoes.
      AND NOT EXISTS (SELECT FROM token_tasks.runs u WHERE u.undoes = r.id AND u.state <> 'done')
      AND r.created_at < CAST($1 AS timestamp) AT TIME ZONE 'UTC';

COMMIT;

BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '10min', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('transaction_timeout', '0', true);

DELETE 
    FROM token_tasks.runs r
    WHERE r.state <> 'running'
      -- A successor that was made, but not delivered, is to be revoked by whoever resumes the run.
      AND NOT EXISTS (
        SELECT FROM token_tasks.rotations p
        WHERE p.run_id = r.id AND p.state NOT IN ('planned', 'done', 'abandoned')
      )
      -- While a token works that was replaced, it is to be known that it was, and by what.
      AND r.id NOT IN (
        WITH RECURSIVE replaced AS (
          SELECT p.run_id, p.successor_id
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens t ON t.id = p.token_id AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
          WHERE p.state NOT IN ('planned', 'abandoned')
          UNION
          SELECT p.run_id, p.successor_id
          FROM replaced
          JOIN token_tasks.rotations p ON p.token_id = replaced.successor_id AND p.state NOT IN ('planned', 'abandoned')
        )
        SELECT run_id FROM replaced
      )
      -- An undo that is not complete needs what it undoes.
      AND NOT EXISTS (SELECT FROM token_tasks.runs u WHERE u.undoes = r.id AND u.state <> 'done')
      AND r.created_at < CAST($1 AS timestamp) AT TIME ZONE 'UTC';

-- analyze, doctor, extend, journal.install, journal.status, list, forecast, breakdown, used, check, report, simulate, undo, apply, remove, whose, history, rotate, revoke, journal.prune, journal.uninstall
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('lock_timeout', '30s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- analyze, doctor, journal.install, journal.status, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune, journal.uninstall
SELECT
      current_database() AS database,
      current_user AS role,
      quote_ident(current_user) AS grantee,
      pg_is_in_recovery() AS standby,
      current_setting('default_transaction_read_only')::boolean AS read_only,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = tokens.oid AND t.tgname = $1 AND t.tgenabled <> 'D'
      ) AS write_locked,
      COALESCE(row_security_active(tokens.oid), false) AS rows_hidden,
      EXISTS (
        SELECT FROM pg_catalog.pg_class c WHERE c.oid = tokens.oid AND pg_has_role(c.relowner, 'USAGE')
      ) AS owns_tokens
    FROM (
      SELECT (
        SELECT c.oid
        FROM pg_catalog.pg_class c
        WHERE c.relname = $2 AND c.relnamespace = CAST(to_regnamespace('public') AS oid)
      ) AS oid
    ) tokens;

-- analyze, doctor, journal.install, journal.status, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune
SELECT
      c.relname AS table_name,
      quote_ident(pg_get_userbyid(c.relowner)) AS owner,
      quote_ident(pg_get_userbyid(tokens.relowner)) AS heir,
      c.relkind IN ('r', 'p') AND (
        c.relowner = tokens.relowner
        OR (SELECT owner.rolsuper FROM pg_catalog.pg_roles owner WHERE owner.oid = c.relowner)
      ) AS is_gitlabs,
      found.columns,
      found.foreign_columns
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_class tokens
      ON tokens.relnamespace = c.relnamespace AND tokens.relname = 'personal_access_tokens'
    CROSS JOIN LATERAL (
      SELECT
        COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE a.atttypid < 16384), '{}') AS columns,
        COALESCE(array_agg(CAST(a.attname AS text)) FILTER (WHERE a.atttypid >= 16384), '{}') AS foreign_columns
      FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) found
    WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public')
      AND c.relname = ANY($1)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f');

-- analyze, doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune
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
    ) trusted;

-- analyze, doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune
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
        c.relname = ANY(CAST($1 AS text[])) AS is_written
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
      JOIN pg_catalog.pg_roles owner ON owner.oid = c.relowner
      JOIN tokens ON owner.rolsuper OR owner.oid = tokens.owner -- others' are not taken for GitLab's
      WHERE c.relname = ANY(CAST($2 AS text[])) AND c.relkind IN ('r', 'p')
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
      WHERE (p.provolatile = 'v' AND p.proname !~ '^(nextval|random|clock_timestamp|timeofday|gen_random_uuid|uuidv[47]|uuid_generate_v[0-9a-z]+)$')
        OR (p.provolatile = 's' AND p.oid >= 16384)
        OR p.proname ~ '(^|_)to_xml|^pg_input_'
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
    LIMIT 1;

-- analyze, doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune
SELECT
      COALESCE(has_schema_privilege(CAST(to_regnamespace('public') AS oid), 'USAGE'), false)
      AND NOT EXISTS (
        SELECT
        FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) AS w (privilege, table_name)
        JOIN pg_catalog.pg_class c
          ON c.relname = w.table_name AND c.relnamespace = CAST(to_regnamespace('public') AS oid)
        WHERE NOT CASE
          WHEN c.relkind = 'S' AND w.privilege = 'USAGE' THEN has_sequence_privilege(c.oid, w.privilege)
          WHEN c.relkind <> 'S' AND w.privilege <> 'USAGE' THEN has_table_privilege(c.oid, w.privilege)
          ELSE true
        END
      ) AS held;

-- analyze, list, extend, apply, remove, whose, revoke
SELECT CASE WHEN started_at BETWEEN '0002-01-01' AND '9999-01-01' THEN started_at END AS started_at, CASE WHEN finished_at BETWEEN '0002-01-01' AND '9999-01-01' THEN finished_at END AS finished_at
    FROM public.batched_background_migrations
    WHERE job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt'
      AND table_name = 'personal_access_tokens'
      AND column_name = 'id'
    ORDER BY id
    LIMIT 1;

-- analyze
SELECT t.expires_at::text AS expires_at, count(*) AS tokens
    FROM public.personal_access_tokens t
    GROUP BY t.expires_at
    ORDER BY count(*) DESC, t.expires_at DESC
    LIMIT CAST($1 AS bigint);

-- analyze, doctor, journal.install, journal.status, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke, journal.prune, journal.uninstall
COMMIT;

-- analyze, doctor, list, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, history, rotate, revoke
SELECT max(version) AS version
    FROM public.schema_migrations
    WHERE version ~ '^20[0-9]{12}$';

-- doctor
SELECT
      current_setting('server_version') AS version,
      pg_backend_pid() AS backend,
      extract(epoch FROM clock_timestamp())::float8 AS clock,
      (
        -- What this transaction has set for itself does not count.
        SELECT string_agg(name || ' ' || reset_val || unit, ', ' ORDER BY name)
        FROM pg_catalog.pg_settings
        WHERE name IN (
          'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout',
          'idle_session_timeout'
        )
      ) AS timeouts,
      ARRAY(
        -- In milliseconds. They may end a session before ours are set, or between two transactions.
        SELECT name
        FROM pg_catalog.pg_settings
        WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')
          AND CAST(reset_val AS bigint) BETWEEN 1 AND 999
        ORDER BY name
      ) AS short;

-- doctor, check
SELECT
      CAST(extract(epoch FROM r.made_at) AS double precision) AS made_at,
      CAST(extract(epoch FROM clock_timestamp() - r.made_at) AS double precision) AS age
    FROM (SELECT pg_last_xact_replay_timestamp() AS made_at WHERE pg_is_in_recovery()) r;

-- doctor, list, used, check, report, extend, undo, apply, remove, whose, rotate, revoke
SELECT
      c.relkind = 'r' AND NOT c.relrowsecurity AND NOT c.relhassubclass
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
        )
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_index i
          WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        )
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid)
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_constraint k
          JOIN pg_catalog.pg_depend d
            ON d.classid = CAST('pg_catalog.pg_constraint' AS regclass) AND d.objid = k.oid
            AND d.refclassid <> CAST('pg_catalog.pg_class' AS regclass)
          WHERE k.conrelid = c.oid AND k.contype = 'c'
        )
        AND EXISTS (
          SELECT
          FROM pg_catalog.pg_roles owner
          JOIN pg_catalog.pg_class tokens ON tokens.relname = 'personal_access_tokens'
          JOIN pg_catalog.pg_namespace s ON s.oid = tokens.relnamespace AND s.nspname = 'public'
          WHERE owner.oid = c.relowner
            AND (owner.rolsuper OR owner.rolname = current_user OR owner.oid = tokens.relowner)
        ) AS is_trusted,
      has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS is_readable,
      quote_ident(current_user) AS role
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $1
    WHERE n.nspname = 'token_tasks';

-- doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, rotate, revoke
SELECT c.relname AS name, current_user AS role, pg_has_role(c.relowner, 'USAGE') AS is_ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relname = ANY(CAST($1 AS text[])) AND row_security_active(c.oid)
    ORDER BY c.relname;

-- doctor, journal.install
SELECT quote_ident(p.pubname) AS name
    FROM pg_catalog.pg_publication p
    WHERE p.puballtables
      OR EXISTS (
        SELECT
        FROM pg_catalog.pg_publication_rel r
        JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE r.prpubid = p.oid AND n.nspname = 'token_tasks'
      )
      OR EXISTS (
        SELECT
        FROM pg_catalog.pg_publication_namespace s
        JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
        WHERE s.pnpubid = p.oid AND n.nspname = 'token_tasks'
      )
    ORDER BY p.pubname;

-- doctor, list, breakdown, check, report, extend, undo, apply, remove, rotate, revoke
SAVEPOINT "_pg3_1";

-- doctor, extend, journal.install, journal.status, undo, apply, remove, history, rotate, revoke, journal.prune, journal.uninstall
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
            OR (c.relkind = 'r') <> (c.relname = ANY (CAST($1 AS name[])))
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
          AND CAST(f.adbin AS text) ~ $2
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_constraint k
        WHERE k.oid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_constraint' AS regclass))
          AND CAST(k.conbin AS text) ~ $2
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_index i
        WHERE i.indexrelid IN (SELECT p.oid FROM parts p WHERE p.class = CAST('pg_catalog.pg_class' AS regclass))
          AND concat(i.indexprs, i.indpred) ~ $2
      )
      AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_namespace n
        WHERE n.nspname = 'token_tasks'
          AND NOT pg_has_role(n.nspowner, CAST(quote_ident(current_user) AS regrole), 'MEMBER')
      ) AS closed;

-- doctor, extend, journal.install, journal.status, undo, apply, remove, history, rotate, revoke, journal.prune, journal.uninstall
SELECT
      quote_ident(current_database()) AS database,
      quote_ident(current_user) AS grantee,
      has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
      n.oid IS NOT NULL AS has_schema,
      quote_ident(pg_get_userbyid(n.nspowner)) AS owner,
      pg_has_role(n.nspowner, 'USAGE') AS owns_schema,
      has_schema_privilege(n.oid, 'USAGE') AS may_enter,
      has_schema_privilege(n.oid, 'CREATE') AS may_create_tables,
      COALESCE(tables.names, '{}') AS tables,
      COALESCE(tables.installed, false) AS installed,
      COALESCE(tables.owned, true) AS owns_tables,
      COALESCE(tables.readable, true) AS may_read,
      COALESCE(tables.writable, true) AS may_write
    FROM (VALUES ('token_tasks')) AS wanted (name)
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name
    LEFT JOIN LATERAL (
      SELECT
        array_agg(CAST(c.relname AS text)) AS names,
        bool_or(c.relname = 'alembic_version') AS installed,
        bool_and(pg_has_role(c.relowner, 'USAGE')) AS owned,
        bool_and(has_table_privilege(c.oid, 'SELECT')) AS readable,
        bool_and(
          has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
          AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        ) AS writable
      FROM pg_catalog.pg_class c
      WHERE c.relnamespace = n.oid AND c.relkind = 'r'
    ) tables ON true;

-- doctor
ROLLBACK TO "_pg3_1";

-- doctor, list, breakdown, check, report, extend, undo, apply, remove, rotate, revoke
RELEASE "_pg3_1";

-- doctor, extend, journal.install
SELECT
      quote_ident(pg_get_userbyid(c.relowner)) AS owner,
      COALESCE(pg_has_role(r.oid, c.relowner, 'MEMBER'), false) AS is_ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = COALESCE(CAST($1 AS name), current_user)
    WHERE n.nspname = 'public' AND c.relname = 'personal_access_tokens';

-- doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, rotate, revoke
SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text);

-- doctor, list, forecast, breakdown, used, check, report, simulate, extend, undo, apply, remove, whose, rotate, revoke
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

-- doctor, list, breakdown, report, simulate, whose, rotate
SELECT
      COALESCE(disable_personal_access_tokens, false) AS disabled,
      CASE
        WHEN (personal_access_token_settings ->> 'enforce_granular_tokens')::boolean
        THEN COALESCE((personal_access_token_settings ->> 'granular_tokens_enforced_after')::date, CAST(now() AT TIME ZONE 'UTC' AS date))::text
      END AS granular_after,
      CAST(now() AT TIME ZONE 'UTC' AS date)::text AS today
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

-- doctor, breakdown, report
SELECT
      allow_runner_registration_token AS allowed
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

-- doctor
SELECT DISTINCT ON (asked.name)
      asked.name,
      'ALTER ' || CASE
        WHEN s.setrole IS NULL THEN 'ROLE ' || me.role || ' SET ' || asked.name || ' = 0;'
        WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ROLE ALL RESET ' || asked.name || ';'
        WHEN s.setrole = 0 THEN 'DATABASE ' || me.database || ' RESET ' || asked.name || ';'
        WHEN s.setdatabase = 0 THEN 'ROLE ' || me.role || ' RESET ' || asked.name || ';'
        ELSE 'ROLE ' || me.role || ' IN DATABASE ' || me.database || ' RESET ' || asked.name || ';'
      END AS cure,
      s.setrole IS NOT NULL AS is_set
    FROM unnest(CAST($1 AS text[])) asked(name)
    CROSS JOIN (
      SELECT
        quote_ident(CAST(session_user AS text)) AS role,
        quote_ident(CAST(current_database() AS text)) AS database
    ) me
    LEFT JOIN pg_catalog.pg_db_role_setting s
      ON s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
      AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      AND EXISTS (SELECT FROM unnest(s.setconfig) one(setting) WHERE split_part(one.setting, '=', 1) = asked.name)
    ORDER BY asked.name, s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC;

-- doctor
SELECT quote_ident($1) AS quoted;

-- doctor
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

-- extend, journal.install, apply, journal.uninstall
ROLLBACK;

-- journal.install
SELECT
      COALESCE(array_agg(CAST(c.relname AS text)) FILTER (WHERE c.relname <> 'alembic_version'), '{}') AS tables,
      COALESCE(bool_or(c.relname = 'alembic_version'), false) AS versioned,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_class t
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = 'id' AND NOT a.attisdropped
        WHERE t.relnamespace = n.oid AND t.relname = 'notices'
      ) AS keyed
    FROM pg_catalog.pg_namespace n
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
    WHERE n.nspname = 'token_tasks'
    GROUP BY n.oid;

-- journal.install, journal.uninstall
BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('lock_timeout', '30s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- journal.install, journal.uninstall
select pg_catalog.version();

-- journal.install, journal.uninstall
select current_schema();

-- journal.install, journal.uninstall
show transaction isolation level;

-- journal.install, journal.uninstall
show standard_conforming_strings;

-- journal.install, journal.uninstall
SELECT pg_advisory_xact_lock(hashtext($1));

-- journal.install, journal.uninstall
SELECT pg_catalog.set_config('lock_timeout', '10s', true);

-- journal.install, journal.uninstall
SELECT pg_catalog.pg_class.relname 
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace 
WHERE pg_catalog.pg_class.relname IN ($1::VARCHAR) AND pg_catalog.pg_class.relkind = ANY (ARRAY[$2::VARCHAR, $3::VARCHAR, $4::VARCHAR, $5::VARCHAR, $6::VARCHAR]) AND pg_catalog.pg_namespace.nspname = $7::VARCHAR;

-- journal.install, journal.uninstall
SELECT pg_catalog.pg_namespace.nspname 
FROM pg_catalog.pg_namespace 
WHERE pg_catalog.pg_namespace.nspname = $1::VARCHAR;

-- journal.install
CREATE SCHEMA token_tasks;

-- journal.install
CREATE TABLE token_tasks.alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- journal.install
CREATE TABLE token_tasks.runs (
            id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind              text        NOT NULL CHECK (kind IN ('edit', 'extend', 'remove', 'undo')),
            state             text        NOT NULL
                CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done')),
            selection         jsonb       NOT NULL,
            change            jsonb       NOT NULL,
            memberships       text        CHECK (memberships IN ('forever', 'until-token')),
            notices           boolean     NOT NULL,
            reason            text,
            planned_by        jsonb       NOT NULL,
            tool_version      text        NOT NULL,
            undoes            bigint      REFERENCES token_tasks.runs ON DELETE SET NULL,
            tokens            bigint      NOT NULL,
            changed           bigint      NOT NULL DEFAULT 0,
            changed_meanwhile bigint      NOT NULL DEFAULT 0,
            locked            bigint      NOT NULL DEFAULT 0,
            attempt           integer     NOT NULL DEFAULT 0,
            created_at        timestamptz NOT NULL DEFAULT now(),
            heartbeat_at      timestamptz,
            finished_at       timestamptz
        ) WITH (fillfactor = 50);

        COMMENT ON TABLE token_tasks.runs IS 'One change of access tokens each: planned, carried out, undone';
        COMMENT ON COLUMN token_tasks.runs.memberships
            IS 'How memberships of bots that end too early are moved; NULL: not at all';
        COMMENT ON COLUMN token_tasks.runs.notices IS 'Whether expiry notices that were sent are re-armed';
        COMMENT ON COLUMN token_tasks.runs.attempt
            IS 'The number of the attempt that may write; an older one has been taken over';

        CREATE TABLE token_tasks.attempts (
            run_id          bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            number          integer     NOT NULL,
            carried_out_by  jsonb       NOT NULL,
            process         text        NOT NULL,
            tool_version    text        NOT NULL,
            started_at      timestamptz NOT NULL DEFAULT now(),
            ended_at        timestamptz,
            stopped_because text,
            PRIMARY KEY (run_id, number)
        );

        COMMENT ON TABLE token_tasks.attempts IS 'Who carried a run out, or a part of it, when, and why they stopped';

        CREATE TABLE token_tasks.chunks (
            run_id         bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position       bigint      NOT NULL,
            old_expires_at date,
            new_expires_at date,
            token_ids      bigint[]    NOT NULL,
            done_at        timestamptz,
            left_alone     bigint[],
            locked         bigint[],
            PRIMARY KEY (run_id, position)
        );

        COMMENT ON TABLE token_tasks.chunks
            IS 'The exact tokens of a run, some thousands a row, with one old and one new date';
        COMMENT ON COLUMN token_tasks.chunks.position IS 'Of the first of these tokens in the plan';
        COMMENT ON COLUMN token_tasks.chunks.done_at IS 'When they were changed; NULL: not yet';
        COMMENT ON COLUMN token_tasks.chunks.left_alone
            IS 'Those that somebody else had changed or deleted since the plan';
        COMMENT ON COLUMN token_tasks.chunks.locked IS 'Those that somebody else held to the end';

        CREATE TABLE token_tasks.notices (
            run_id                              bigint        NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position                            bigint        NOT NULL,
            token_ids                           bigint[]      NOT NULL,
            expire_notification_delivered       boolean[],
            after_expiry_notification_delivered boolean[],
            seven_days_notification_sent_at     timestamptz[],
            thirty_days_notification_sent_at    timestamptz[],
            sixty_days_notification_sent_at     timestamptz[]
        );

        CREATE INDEX index_notices_on_run_id_and_position ON token_tasks.notices (run_id, position);
        COMMENT ON TABLE token_tasks.notices IS 'What the notices of re-armed tokens were before, chunk by chunk';

        CREATE TABLE token_tasks.memberships (
            run_id         bigint   NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position       bigint   NOT NULL,
            member_ids     bigint[] NOT NULL,
            old_expires_at date[]   NOT NULL,
            new_expires_at date
        );

        CREATE INDEX index_memberships_on_run_id_and_position ON token_tasks.memberships (run_id, position);
        COMMENT ON TABLE token_tasks.memberships
            IS 'What the ends of moved memberships of bots were before, chunk by chunk';;

-- journal.install
INSERT INTO token_tasks.alembic_version (version_num) VALUES ('1') RETURNING token_tasks.alembic_version.version_num;

-- journal.install
ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo', 'rotate'));

        CREATE TABLE token_tasks.rotations (
            run_id                bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            token_id              bigint      NOT NULL,
            successor_id          bigint,
            given_up              bigint[]    NOT NULL DEFAULT '{}',
            state                 text        NOT NULL DEFAULT 'planned'
                CHECK (
                    state IN ('planned', 'created', 'verified', 'delivering', 'delivered', 'done', 'abandoned')
                ),
            old_expires_at        date,
            new_expires_at        date,
            grace_until           date,
            member_ids            bigint[]    NOT NULL DEFAULT '{}',
            old_member_expires_at date[]      NOT NULL DEFAULT '{}',
            changed_at            timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (run_id, token_id)
        );

        COMMENT ON TABLE token_tasks.rotations
            IS 'The tokens of a run that get a successor each, and how far each of them is';
        COMMENT ON COLUMN token_tasks.rotations.successor_id
            IS 'The latest that was made; where abandoned, it is revoked';
        COMMENT ON COLUMN token_tasks.rotations.given_up
            IS 'The successors that were made before that one, all of them revoked';
        COMMENT ON COLUMN token_tasks.rotations.new_expires_at IS 'Of the successor; NULL: never';
        COMMENT ON COLUMN token_tasks.rotations.grace_until
            IS 'When the old token ends at the latest; NULL: it is revoked at once';
        COMMENT ON COLUMN token_tasks.rotations.member_ids IS 'The memberships of the bot that were moved';
        COMMENT ON COLUMN token_tasks.rotations.old_member_expires_at IS 'When those ended before, one by one';
        COMMENT ON COLUMN token_tasks.rotations.changed_at IS 'When the state was reached';;

-- journal.install
UPDATE token_tasks.alembic_version SET version_num='2' WHERE token_tasks.alembic_version.version_num = '1';

-- journal.install
ALTER TABLE token_tasks.notices
            ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
            ADD PRIMARY KEY (run_id, position, id),
            REPLICA IDENTITY DEFAULT;

        DROP INDEX token_tasks.index_notices_on_run_id_and_position;

        ALTER TABLE token_tasks.memberships
            ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
            ADD COLUMN other_token_ids bigint[],
            ADD COLUMN other_expires_at date[],
            ADD PRIMARY KEY (run_id, position, id),
            REPLICA IDENTITY DEFAULT;

        DROP INDEX token_tasks.index_memberships_on_run_id_and_position;

        COMMENT ON COLUMN token_tasks.memberships.other_token_ids IS
            'Other tokens of the bots that were to expire by the last of these ends; NULL: moved before revision 3';
        COMMENT ON COLUMN token_tasks.memberships.other_expires_at IS
            'When those were to expire, one by one';;

-- journal.install
UPDATE token_tasks.alembic_version SET version_num='3' WHERE token_tasks.alembic_version.version_num = '2';

-- journal.install
ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'revoke', 'undo', 'rotate')),
            DROP CONSTRAINT runs_state_check,
            ADD CONSTRAINT runs_state_check
                CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done', 'withdrawn')),
            ADD COLUMN withdrawn_by jsonb,
            ADD COLUMN policy jsonb,
            ADD COLUMN recounted bigint,
            ADD COLUMN withdrawn_at timestamptz,
            ADD COLUMN withdrawn_because text,
            ADD COLUMN entries integer NOT NULL DEFAULT 0,
            ADD COLUMN chain bytea;

        COMMENT ON COLUMN token_tasks.runs.withdrawn_by IS 'Who withdrew the plan; NULL: nobody';
        COMMENT ON COLUMN token_tasks.runs.policy
            IS 'What the instance demanded of tokens when the run was planned; NULL: before revision 4';
        COMMENT ON COLUMN token_tasks.runs.recounted
            IS 'How many tokens had their new date at the end of attempts that came to it; NULL: not counted';
        COMMENT ON COLUMN token_tasks.runs.entries IS 'The number of its last entry';
        COMMENT ON COLUMN token_tasks.runs.chain
            IS 'The SHA-256 of its last entry; NULL: written before revision 4, nothing proves it';

        ALTER TABLE token_tasks.rotations ADD COLUMN new_owner_id bigint;

        COMMENT ON COLUMN token_tasks.rotations.new_owner_id
            IS 'The account that the new token belongs to; NULL: the owner stays';

        CREATE TABLE token_tasks.revocations (
            run_id     bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position   bigint      NOT NULL,
            id         bigint      GENERATED ALWAYS AS IDENTITY,
            token_ids  bigint[]    NOT NULL,
            revoked    boolean[]   NOT NULL,
            updated_at timestamp[] NOT NULL,
            revoked_at timestamp   NOT NULL,
            PRIMARY KEY (run_id, position, id)
        );

        COMMENT ON TABLE token_tasks.revocations IS 'What revoked tokens were before, chunk by chunk';
        COMMENT ON COLUMN token_tasks.revocations.revoked IS 'False or NULL, one by one: GitLab has both';
        COMMENT ON COLUMN token_tasks.revocations.updated_at IS 'When they were last updated before, UTC, one by one';
        COMMENT ON COLUMN token_tasks.revocations.revoked_at
            IS 'The updated_at that the run gave them, UTC: who has another one was touched since';

        CREATE TABLE token_tasks.names (
            run_id   bigint NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position bigint NOT NULL,
            accounts text[] NOT NULL,
            tokens   text[] NOT NULL,
            paths    text[] NOT NULL,
            PRIMARY KEY (run_id, position)
        );

        COMMENT ON TABLE token_tasks.names IS 'What the tokens of a run were called when it was planned, one by one';
        COMMENT ON COLUMN token_tasks.names.position IS 'Of the first of these tokens in the plan';
        COMMENT ON COLUMN token_tasks.names.accounts IS 'The usernames of their owners';
        COMMENT ON COLUMN token_tasks.names.paths IS 'The full paths of the projects or groups of bots; NULL: none';

        ALTER TABLE token_tasks.rotations
            ADD COLUMN account text,
            ADD COLUMN name text,
            ADD COLUMN path text,
            ADD COLUMN successor_name text,
            ADD COLUMN delivered_to text;

        COMMENT ON COLUMN token_tasks.rotations.name
            IS 'What the old token was called when this was planned; NULL: planned before revision 4';
        COMMENT ON COLUMN token_tasks.rotations.path IS 'The full path of the project or group of a bot; NULL: none';
        COMMENT ON COLUMN token_tasks.rotations.delivered_to
            IS 'Where the successor went, of a command its program alone; NULL: nowhere yet';

        CREATE TABLE token_tasks.settings (
            id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name    text        NOT NULL,
            value   jsonb       NOT NULL,
            set_by  jsonb       NOT NULL,
            set_at  timestamptz NOT NULL DEFAULT now(),
            because text
        );

        COMMENT ON TABLE token_tasks.settings
            IS 'What holds for everybody who writes into this journal: the last row of a name counts';

        CREATE TABLE token_tasks.entries (
            run_id     bigint      NOT NULL,
            number     integer     NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(),
            written    text        NOT NULL,
            chain      bytea       NOT NULL,
            PRIMARY KEY (run_id, number)
        );

        COMMENT ON TABLE token_tasks.entries IS 'Each transaction that wrote rows of a run: which, and their SHA-256';
        COMMENT ON COLUMN token_tasks.entries.run_id IS '0: the journal itself, its settings and which runs it has';
        COMMENT ON COLUMN token_tasks.entries.written IS 'A line for each row: its part of the journal, key, SHA-256';
        COMMENT ON COLUMN token_tasks.entries.chain IS 'SHA-256 over the chain of the entry before and this one';;

-- journal.install
UPDATE token_tasks.alembic_version SET version_num='4' WHERE token_tasks.alembic_version.version_num = '3';

-- journal.install
SELECT DISTINCT
      'REVOKE ' || acl.privilege_type || ' ON ' || o.kind || ' ' || o.name || ' FROM '
        || COALESCE(quote_ident(r.rolname), 'PUBLIC') || ' CASCADE' AS statement
    FROM (
      SELECT 'SCHEMA' AS kind, 'n' AS class, 'token_tasks' AS name, n.oid AS space, n.nspowner AS owner, n.nspacl AS acl
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
      UNION ALL
      SELECT
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, CASE c.relkind WHEN 'S' THEN 'S' ELSE 'r' END,
        'token_tasks.' || quote_ident(c.relname), n.oid, c.relowner, c.relacl
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'token_tasks'
      WHERE c.relkind IN ('r', 'S')
    ) o
    CROSS JOIN LATERAL aclexplode(o.acl) acl
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = acl.grantee
    WHERE acl.grantee <> o.owner
      AND r.rolname IS DISTINCT FROM current_user
      AND pg_has_role(o.owner, 'USAGE')
      AND (
        CAST($1 AS boolean)
        OR acl.grantee = 0
        OR EXISTS (
          SELECT
          FROM pg_catalog.pg_default_acl d
          CROSS JOIN LATERAL aclexplode(d.defaclacl) given
          WHERE d.defaclrole = o.owner
            AND d.defaclobjtype = CAST(o.class AS "char")
            AND d.defaclnamespace IN (0, o.space)
            AND given.grantee = acl.grantee
            AND given.privilege_type = acl.privilege_type
        )
      )
    ORDER BY statement;

-- journal.install, extend, undo, apply, remove, rotate, revoke, journal.prune
SELECT pg_advisory_xact_lock(hashtext('token_tasks.runs'));

-- journal.install, extend, undo, remove, rotate, revoke, journal.prune
INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, sha256(COALESCE(before.chain, '') || convert_to(concat(
          0, ' ', this.number, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          this.written
        ), 'UTF8'))
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        SELECT 0 AS place, 0 AS key, concat('before ', COALESCE(max(r.id), 0) + 1, ' -') AS line
        FROM token_tasks.runs r
        WHERE r.chain IS NULL
        HAVING NOT EXISTS (SELECT FROM token_tasks.entries e WHERE e.run_id = 0)
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines;

-- journal.install, extend, undo, remove, rotate, revoke
INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, sha256(COALESCE(before.chain, '') || convert_to(concat(
          0, ' ', this.number, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          this.written
        ), 'UTF8'))
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        SELECT 0 AS place, r.id AS key, concat('run ', r.id, ' ', encode(r.chain, 'hex'), ' ', r.state) AS line
        FROM token_tasks.runs r
        LEFT JOIN (
          SELECT DISTINCT one.line
          FROM token_tasks.entries e
          CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) AS one (line)
          WHERE e.run_id = 0
        ) known ON known.line = concat('run ', r.id, ' ', encode(r.chain, 'hex'), ' ', r.state)
        WHERE r.chain IS NOT NULL AND (r.id = $1 OR known.line IS NULL)
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines;

-- journal.status, extend, undo, apply, remove, history, rotate, revoke, journal.prune, journal.uninstall
SELECT CASE WHEN count(*) = 1 THEN min(version_num) END AS version_num
    FROM token_tasks.alembic_version;

-- journal.status
SELECT r.state, count(*) AS runs, sum(r.tokens)::bigint AS tokens
    FROM token_tasks.runs r
    GROUP BY r.state;

-- journal.status
SELECT c.relname AS table_name, pg_total_relation_size(c.oid) AS bytes
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'token_tasks' AND c.relkind = 'r';

-- journal.status
SELECT
      to_char(min(r.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS oldest,
      to_char(max(r.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS newest
    FROM token_tasks.runs r;

-- journal.status
SELECT
      (SELECT count(*) FROM token_tasks.entries) AS entries,
      (
        SELECT encode(e.chain, 'hex')
        FROM token_tasks.entries e
        WHERE e.run_id = 0
        ORDER BY e.number DESC
        LIMIT 1
      ) AS head,
      (SELECT count(*) FROM token_tasks.runs r WHERE r.chain IS NOT NULL) AS runs,
      (SELECT count(*) FROM token_tasks.runs r WHERE r.chain IS NULL) AS uncovered;

-- journal.status
DECLARE "stream_1" CURSOR FOR 
    SELECT
      r.id AS run, r.entries, encode(r.chain, 'hex') AS chain, r.state, r.attempt, r.changed,
      convert_to(CAST(jsonb_build_object(
          'kind', r.kind, 'selection', r.selection, 'change', r.change,
          'memberships', r.memberships, 'notices', r.notices, 'reason', r.reason,
          'planned_by', r.planned_by, 'tool_version', r.tool_version, 'undoes', r.undoes,
          'tokens', r.tokens, 'policy', r.policy, 'created_at', r.created_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END) AS content
    FROM token_tasks.runs r
    ORDER BY r.id;

-- journal.status
FETCH FORWARD 1000 FROM "stream_1";

-- journal.status, list, used, simulate, undo, apply
CLOSE "stream_1";

-- journal.status
DECLARE "stream_2" CURSOR FOR 
    SELECT
      e.run_id AS run, e.number, e.written, encode(e.chain, 'hex') AS chain,
      to_char(e.written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS written_at
    FROM token_tasks.entries e
    ORDER BY e.run_id <> 0, e.run_id, e.number;

-- journal.status
FETCH FORWARD 1000 FROM "stream_2";

-- journal.status, simulate, undo, list
CLOSE "stream_2";

-- journal.status
DECLARE "stream_3" CURSOR FOR 
    WITH lines AS (
      SELECT e.run_id, e.number, one.place, string_to_array(one.line, ' ') AS words
      FROM token_tasks.entries e
      CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) WITH ORDINALITY AS one (line, place)
    ),
    latest AS (
      SELECT DISTINCT ON (l.run_id, l.words[1], one.key) l.run_id, l.words[1] AS part, one.key, l.words[3] AS hash
      FROM lines l
      CROSS JOIN LATERAL unnest(string_to_array(l.words[2], ',')) AS one (key)
      ORDER BY l.run_id, l.words[1], one.key, l.number DESC, l.place DESC
    ),
    rows AS (
      SELECT
        r.id AS run_id, 'runs' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'kind', r.kind, 'selection', r.selection, 'change', r.change,
          'memberships', r.memberships, 'notices', r.notices, 'reason', r.reason,
          'planned_by', r.planned_by, 'tool_version', r.tool_version, 'undoes', r.undoes,
          'tokens', r.tokens, 'policy', r.policy, 'created_at', r.created_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.runs r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.id AS run_id, 'state' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.runs r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'attempts' AS part, CAST(r.number AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'carried_out_by', r.carried_out_by, 'process', r.process, 'tool_version', r.tool_version,
          'started_at', r.started_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.attempts r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'ends' AS part, CAST(r.number AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'stopped_because', r.stopped_because, 'ended_at', r.ended_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        num_nonnulls(r.stopped_because, r.ended_at) = 0 AS blank
      FROM token_tasks.attempts r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'chunks' AS part, CAST(r.position AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'old_expires_at', r.old_expires_at, 'new_expires_at', r.new_expires_at, 'token_ids', CAST(r.token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.chunks r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'results' AS part, CAST(r.position AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'done_at', r.done_at AT TIME ZONE 'UTC', 'left_alone', CAST(r.left_alone AS text), 'locked', CAST(r.locked AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        num_nonnulls(r.done_at, r.left_alone, r.locked) = 0 AS blank
      FROM token_tasks.chunks r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'notices' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'token_ids', CAST(r.token_ids AS text), 'expire_notification_delivered', r.expire_notification_delivered,
          'after_expiry_notification_delivered', r.after_expiry_notification_delivered, 'seven_days_notification_sent_at', CASE WHEN r.seven_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.seven_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END, 'thirty_days_notification_sent_at', CASE WHEN r.thirty_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.thirty_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END,
          'sixty_days_notification_sent_at', CASE WHEN r.sixty_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.sixty_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.notices r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'memberships' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'old_expires_at', r.old_expires_at, 'new_expires_at', r.new_expires_at,
          'other_expires_at', r.other_expires_at, 'member_ids', CAST(r.member_ids AS text), 'other_token_ids', CAST(r.other_token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.memberships r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'revocations' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'revoked', r.revoked, 'updated_at', r.updated_at,
          'revoked_at', r.revoked_at, 'token_ids', CAST(r.token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.revocations r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'names' AS part, CAST(r.position AS text) AS key, encode(sha256(CAST(replace(CAST(jsonb_build_object(
          'accounts', CAST(r.accounts AS text), 'tokens', CAST(r.tokens AS text), 'paths', CAST(r.paths AS text)
        ) AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.names r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        r.run_id AS run_id, 'rotations' AS part, CAST(r.token_id AS text) AS key, encode(sha256(CAST(replace(CAST(jsonb_build_object(
          'successor_id', r.successor_id, 'state', r.state, 'old_expires_at', r.old_expires_at,
          'new_expires_at', r.new_expires_at, 'grace_until', r.grace_until, 'old_member_expires_at', r.old_member_expires_at,
          'new_owner_id', r.new_owner_id, 'account', r.account, 'name', r.name,
          'path', r.path, 'successor_name', r.successor_name, 'delivered_to', r.delivered_to,
          'changed_at', r.changed_at AT TIME ZONE 'UTC', 'given_up', CAST(r.given_up AS text), 'member_ids', CAST(r.member_ids AS text)
        ) AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.rotations r
      WHERE EXISTS (SELECT FROM token_tasks.runs c WHERE c.id = r.run_id AND c.chain IS NOT NULL)
        UNION ALL
        SELECT
        0 AS run_id, 'settings' AS part, CAST(r.id AS text) AS key, encode(sha256(convert_to(CAST(jsonb_build_object(
          'name', r.name, 'value', r.value, 'set_by', r.set_by,
          'because', r.because, 'set_at', r.set_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex') AS hash,
        false AS blank
      FROM token_tasks.settings r
      WHERE true
    ),
    compared AS (
      SELECT
        COALESCE(n.run_id, l.run_id) AS run_id,
        n.key IS NOT NULL AS there,
        CASE
          WHEN l.key IS NULL AND n.blank THEN NULL
          WHEN n.key IS NULL AND l.hash = '-' THEN NULL
          WHEN n.hash = l.hash THEN NULL
          ELSE ARRAY[
            COALESCE(n.part, l.part),
            lpad(COALESCE(n.key, l.key), 20),
            CASE WHEN n.key IS NULL THEN 'is missing' WHEN l.key IS NULL THEN 'was added' ELSE 'was changed' END
          ]
        END AS fault
      FROM rows n
      FULL JOIN (SELECT * FROM latest WHERE run_id <> 0 OR part <> 'run') l
        ON l.run_id = n.run_id AND l.part = n.part AND l.key = n.key
    )
    SELECT
      c.run_id, count(*) FILTER (WHERE c.there) AS rows, count(c.fault) AS faults, min(c.fault) AS first
    FROM compared c
    GROUP BY c.run_id;

-- journal.status
FETCH FORWARD 1000 FROM "stream_3";

-- journal.status, list
CLOSE "stream_3";

-- list, used, check, report, extend, undo, apply, remove, whose, rotate, revoke
SELECT
      EXISTS (
            SELECT r.token_id FROM token_tasks.rotations r WHERE r.successor_id IS NOT NULL AND EXISTS (
              SELECT
              FROM public.personal_access_tokens g
              WHERE g.id = r.successor_id AND g.previous_personal_access_token_id IS DISTINCT FROM r.token_id
            )
      ) AS more,
      EXISTS (
            SELECT
            FROM token_tasks.rotations r
            WHERE r.state IN ('created', 'verified', 'delivering', 'delivered')
      ) AS unfinished;

-- list
DECLARE "stream_1" CURSOR FOR 
    SELECT
      t.id AS id,
      t.expires_at::text AS expires_at,
      CASE WHEN isfinite(t.expires_at) THEN t.expires_at - (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) END AS in_days,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name AS name,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      t.scopes AS scopes,
      to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      ARRAY(
        SELECT host(used.ip_address)
        FROM public.personal_access_token_last_used_ips used
        WHERE used.personal_access_token_id = t.id AND used.ip_address IS NOT NULL
        ORDER BY used.id
      ) AS ips,
      CAST(CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END AS text) AS membership_ends_at,
      clean_up.day::text AS clean_up_at,
      array_remove(ARRAY[
        CASE WHEN t.sixty_days_notification_sent_at IS NOT NULL THEN '60d ' || to_char(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.thirty_days_notification_sent_at IS NOT NULL THEN '30d ' || to_char(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.seven_days_notification_sent_at IS NOT NULL THEN '7d ' || to_char(t.seven_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL THEN '7d' END,
        CASE WHEN t.after_expiry_notification_delivered THEN 'expired' END
      ]::text[], NULL) AS warned,
      array_remove(ARRAY[
        CASE WHEN t.revoked IS NOT TRUE AND EXISTS (SELECT FROM public.members m WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(t.expires_at, CAST('infinity' AS date))
    )) THEN 'membership-ends-first' END,
        CASE WHEN clean_up.day IS NOT NULL THEN 'clean-up' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) + (
    SELECT s.max_personal_access_token_lifetime
    FROM public.application_settings s
    ORDER BY s.id DESC
    LIMIT 1
  ) THEN 'beyond-maximum' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'in-its-grace' END,
        CASE WHEN NOT (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'successor-works' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND u.state IS NOT DISTINCT FROM 'active' AND isfinite(LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)) AND (NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END) THEN 'nobody-warned' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL) THEN 'warned' END,
        CASE WHEN false THEN 'legacy' END,
        CASE WHEN t.revoked IS NOT TRUE AND (
          t.expires_at BETWEEN CAST($1 AS date) AND CAST($2 AS date)
          AND t.created_at < CAST($3 AS timestamptz) AT TIME ZONE 'UTC'
        ) THEN 'migration-date' END,
        CASE WHEN u.state IS DISTINCT FROM 'active' THEN 'owner-inactive' END,
        CASE WHEN false THEN 'failed-tries' END
      ], NULL) AS flags,
      t.description AS description
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true

    LEFT JOIN LATERAL (
      SELECT LEAST(COALESCE(
        (
          SELECT upper(held.days)
          FROM unnest(
            datemultirange(daterange(NULL, GREATEST(max(CASE
            WHEN other.revoked IS NOT TRUE THEN LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            WHEN (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($4 AS integer) + 1) OR other.expires_at IS NULL THEN LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            ELSE GREATEST(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1))
          END + CAST($4 AS integer)), CAST(now() AT TIME ZONE 'UTC' AS date)), '[]'))
            + COALESCE(
              range_agg(daterange(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($4 AS integer), '[]')) FILTER (WHERE (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($4 AS integer) + 1)),
              datemultirange()
            )
          ) AS held (days)
          WHERE held.days @> CAST(now() AT TIME ZONE 'UTC' AS date) + 1
        ),
        CAST(now() AT TIME ZONE 'UTC' AS date) + 1
      ), GREATEST(COALESCE((
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = min(other.user_id) AND m.requested_at IS NULL
      ), CAST('infinity' AS date)), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)) AS day
      FROM public.personal_access_tokens other
      WHERE u.user_type = 6 AND other.user_id = t.user_id
      HAVING NOT bool_or(COALESCE((other.revoked IS NOT TRUE AND COALESCE(other.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date)), false))
    ) clean_up ON true
    WHERE t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
    ORDER BY t.expires_at ASC NULLS LAST, t.id;

-- list, used, simulate
FETCH FORWARD 2000 FROM "stream_1";

-- list, report
SELECT pg_catalog.current_setting('statement_timeout');

-- list, report
SELECT pg_catalog.set_config('statement_timeout', '<rest>ms', true);

-- list, breakdown, check, report, extend, apply, remove, revoke
SELECT
      GREATEST(CAST(memory.setting AS bigint), $1) AS room,
      LEAST(CAST(workers.setting AS integer), CAST($2 AS integer)) AS workers
    FROM pg_catalog.pg_settings memory
    JOIN pg_catalog.pg_settings workers ON workers.name = 'max_parallel_workers_per_gather'
    WHERE memory.name = 'work_mem';

-- list
SAVEPOINT "_pg3_2";

-- list, breakdown, check, report, extend, apply, remove, revoke
SELECT pg_catalog.current_setting('enable_sort'), pg_catalog.current_setting('jit'), pg_catalog.current_setting('enable_parallel_hash'), pg_catalog.current_setting('parallel_tuple_cost'), pg_catalog.current_setting('work_mem'), pg_catalog.current_setting('max_parallel_workers_per_gather');

-- list, extend, apply, remove, revoke
SELECT pg_catalog.set_config('enable_sort', 'off', true), pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('enable_parallel_hash', 'off', true), pg_catalog.set_config('parallel_tuple_cost', '0', true), pg_catalog.set_config('work_mem', '65536kB', true), pg_catalog.set_config('max_parallel_workers_per_gather', '1', true);

-- list
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )

    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state;

-- list, breakdown, check, report, extend, apply, remove, revoke
SELECT pg_catalog.set_config('enable_sort', 'on', true), pg_catalog.set_config('jit', 'on', true), pg_catalog.set_config('enable_parallel_hash', 'on', true), pg_catalog.set_config('parallel_tuple_cost', '0.1', true), pg_catalog.set_config('work_mem', '4MB', true), pg_catalog.set_config('max_parallel_workers_per_gather', '2', true);

-- list
RELEASE "_pg3_2";

-- list, report
SELECT pg_catalog.set_config('statement_timeout', '0', true);

-- list
WITH chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
      WHERE t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
      ORDER BY CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END ASC NULLS LAST, t.id
      LIMIT CAST($1 AS bigint)
    )
    SELECT
      t.id AS id,
      ARRAY(SELECT COALESCE(CAST(person.username AS text), 'user ' || person.id)
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active'
        ORDER BY person.username) AS told,
      (SELECT c.username FROM public.users c WHERE c.id = u.created_by_id) AS created_by
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END ASC NULLS LAST, t.id;

-- list
SELECT count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date));

-- list, extend
SELECT named.path AS name
    FROM unnest(CAST($1 AS text[])) AS named (path)
    WHERE NOT EXISTS (
      SELECT
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace' AND lower(r.path) = lower(named.path)
    )
    ORDER BY named.path;

-- list, extend
SELECT named.path AS name
    FROM unnest(CAST($1 AS text[])) AS named (path)
    WHERE NOT EXISTS (
      SELECT
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project' AND lower(r.path) = lower(named.path)
    )
    ORDER BY named.path;

-- list
COPY (
    SELECT
      t.id AS id,
      t.expires_at::text AS expires_at,
      CASE WHEN isfinite(t.expires_at) THEN t.expires_at - (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) END AS in_days,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      u.username AS account,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name AS name,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      CASE
      WHEN t.scopes LIKE E'---\n- %' AND t.scopes !~ '[^a-z_\n -]|  '
      THEN replace(rtrim(substr(t.scopes, 7), E'\n'), E'\n- ', ' ')
      ELSE t.scopes || E'\n'
    END AS scopes,
      to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      u.state AS owner_state
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE t.user_id IN (
    (
    WITH named_groups AS MATERIALIZED (
      SELECT n.id, n.traversal_ids
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST('{fleet}' AS text[])) AS named (path))
    ),
    chosen_groups AS MATERIALIZED (
      SELECT id
      FROM named_groups
      UNION
      SELECT below.id
      FROM named_groups g
      JOIN public.namespaces below
        ON below.traversal_ids @> g.traversal_ids AND g.id = ANY (below.traversal_ids) AND below.type = 'Group'
    ),
    chosen_projects AS MATERIALIZED (
      SELECT p.id, p.project_namespace_id
      FROM public.projects p
      WHERE p.namespace_id IN (SELECT id FROM chosen_groups)
      UNION
      SELECT p.id, p.project_namespace_id
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST('{}' AS text[])) AS named (path))
    ),
    bots_without_membership AS MATERIALIZED (
      SELECT bot.id, bot.username, d.bot_namespace_id AS namespace_id
      FROM public.users bot
      LEFT JOIN public.user_details d ON d.user_id = bot.id
      WHERE bot.user_type = 6
        AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = bot.id AND m.requested_at IS NULL)
    )
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Project'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_projects)
    UNION ALL
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Namespace'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IN (SELECT project_namespace_id FROM chosen_projects UNION ALL SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^project_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_projects)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^group_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_group_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_project_id IN (SELECT id FROM chosen_projects))
  )
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
    ORDER BY t.expires_at ASC NULLS LAST, t.id
) TO STDOUT (FORMAT csv);

-- forecast
SELECT t.expires_at::text AS expires_at, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
      AND t.expires_at BETWEEN CAST($1 AS date) AND CAST($2 AS date)
      AND t.revoked IS NOT TRUE
    GROUP BY t.expires_at, 2;

-- forecast
SELECT ended.night::text AS expires_at, count(*) AS memberships
    FROM (
      SELECT
        GREATEST(m.expires_at, CAST($1 AS date)) AS night,
        rank() OVER (PARTITION BY m.user_id ORDER BY GREATEST(m.expires_at, CAST($1 AS date))) AS place
      FROM public.members m
      JOIN public.users u ON u.id = m.user_id AND u.user_type = 6
      WHERE m.requested_at IS NULL
        AND m.expires_at <= CAST($2 AS date)
        
    ) ended
    WHERE ended.place = 1
    GROUP BY 1;

-- breakdown, check, report
SELECT pg_catalog.set_config('enable_sort', 'off', true), pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('enable_parallel_hash', 'off', true), pg_catalog.set_config('parallel_tuple_cost', '0', true), pg_catalog.set_config('work_mem', '65536kB', true), pg_catalog.set_config('max_parallel_workers_per_gather', '2', true);

-- breakdown
SELECT
      t.kind,
      sum(t.tokens)::bigint AS tokens,
      sum(t.active)::bigint AS active,
      sum(t.week)::bigint AS week,
      sum(t.month)::bigint AS month,
      sum(t.quarter)::bigint AS quarter,
      sum(t.undated)::bigint AS undated,
      sum(t.never_used)::bigint AS never_used,
      sum(t.unused)::bigint AS unused,
      sum(t.expired)::bigint AS expired,
      sum(t.revoked)::bigint AS revoked,
      sum(t.owner_inactive)::bigint AS owner_inactive,
      sum(t.fine_grained)::bigint AS fine_grained,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(api|"api"|''api'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(api|"api"|''api'')[ \t]*[],]' OR t.scopes ~ '^\s*(---)?\s*(\[\s*\])?\s*$')), 0)::bigint AS api,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(sudo|"sudo"|''sudo'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(sudo|"sudo"|''sudo'')[ \t]*[],]')), 0)::bigint AS sudo,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(admin_mode|"admin_mode"|''admin_mode'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(admin_mode|"admin_mode"|''admin_mode'')[ \t]*[],]')), 0)::bigint AS admin_mode
    FROM (
      SELECT
        t.kind,
        t.scopes,
        count(*) AS tokens,
        count(*) FILTER (WHERE t.works) AS active,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 7) AS week,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 30) AS month,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 90) AS quarter,
        count(*) FILTER (WHERE t.works AND t.expires_at IS NULL) AS undated,
        count(*) FILTER (WHERE t.works AND t.last_used_at IS NULL) AS never_used,
        count(*) FILTER (WHERE t.works AND COALESCE(t.last_used_at, t.created_at AT TIME ZONE 'UTC') < now() - interval '365 days') AS unused,
        count(*) FILTER (WHERE t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))) AS expired,
        count(*) FILTER (WHERE t.revoked IS TRUE) AS revoked,
        count(*) FILTER (WHERE t.works AND t.state IS DISTINCT FROM 'active') AS owner_inactive,
        count(*) FILTER (WHERE t.works AND t.granular) AS fine_grained
      FROM (
        SELECT 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))) AS works, u.state, t.scopes, t.revoked, t.expires_at, t.last_used_at, t.created_at, t.granular
        FROM public.personal_access_tokens t
        LEFT JOIN public.users u ON u.id = t.user_id
        WHERE TRUE
        OFFSET 0
      ) t
      GROUP BY t.kind, t.scopes
    ) t
    GROUP BY t.kind;

-- used
SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.name LIKE CAST($1 AS text)
 LIMIT 100001;

-- used
SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id IN (SELECT unnest(CAST($1 AS bigint[])))
  AND t.name LIKE CAST($2 AS text);

-- used
DECLARE "stream_1" CURSOR FOR 
    SELECT
      t.id AS id,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      u.username AS account,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name AS name,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      t.expires_at::text AS expires_at
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE t.id IN (SELECT unnest(CAST($1 AS bigint[])))
  AND t.name LIKE CAST($2 AS text)
    ORDER BY t.id ASC NULLS LAST, t.id;

-- used
SELECT t.id, found.id AS successor
    FROM public.personal_access_tokens t
    CROSS JOIN LATERAL (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

      SELECT line.id
      FROM line
      ORDER BY (line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))) DESC, line.id DESC
      LIMIT 1
    ) found
    WHERE t.id = ANY($1) AND (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ));

-- used
SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE TRUE
 LIMIT 100001;

-- used
SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id IN (SELECT unnest(CAST($1 AS bigint[])));

-- used
SELECT t.id
    FROM public.personal_access_tokens t
    WHERE t.id = ANY(CAST($1 AS bigint[]));

-- used
DECLARE "stream_1" CURSOR FOR 
    SELECT
      t.id AS id,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      u.username AS account,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name AS name,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      t.expires_at::text AS expires_at
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE t.id IN (SELECT unnest(CAST($1 AS bigint[])))
    ORDER BY t.id ASC NULLS LAST, t.id;

-- check
SELECT
      min(LEAST(t.expires_at, going.day))::text AS first,
      count(*) AS warning,
      count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)) AS critical
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($2 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    WHERE TRUE
      AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND u.state IS NOT DISTINCT FROM 'active')
      AND (
        t.expires_at BETWEEN (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1 AND (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($2 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($2 AS integer)
        ))
      )
      AND LEAST(t.expires_at, going.day) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($2 AS integer)
      AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      );

-- check
SELECT
      t.id,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name,
      CAST(LEAST(t.expires_at, going.day) AS text) AS ends_on,
      t.expires_at::text AS expires_at
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE TRUE
      AND ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND u.state IS NOT DISTINCT FROM 'active') AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ))
      AND isfinite(LEAST(t.expires_at, going.day))
      AND LEAST(t.expires_at, going.day) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
    ORDER BY LEAST(t.expires_at, going.day), t.id
    LIMIT CAST($2 AS bigint) + 1;

-- check
SELECT
      t.kind,
      count(*) FILTER (WHERE t.works) AS active,
      count(*) FILTER (WHERE t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))) AS expired,
      count(*) FILTER (WHERE t.revoked IS TRUE) AS revoked,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 7) AS within_7,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 30) AS within_30,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 60) AS within_60,
      count(*) FILTER (WHERE t.ends AND t.ends_on <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 90) AS within_90,
      count(*) FILTER (WHERE t.works AND t.expires_at IS NULL) AS undated,
      count(*) FILTER (WHERE t.beyond) AS beyond,
      min(t.ends_on) FILTER (WHERE t.ends AND isfinite(t.ends_on))::text AS next
    FROM (
      SELECT
        
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, t.revoked, t.expires_at, LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END) AS ends_on,
        (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))) AS works, ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND u.state IS NOT DISTINCT FROM 'active') AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )) AS ends, (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))) AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + (
    SELECT s.max_personal_access_token_lifetime
    FROM public.application_settings s
    ORDER BY s.id DESC
    LIMIT 1
  ) AS beyond
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
      OFFSET 0
    ) t
    GROUP BY t.kind;

-- check
SELECT 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE TRUE
      AND ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND u.state IS NOT DISTINCT FROM 'active') AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ))
      AND (
        t.expires_at BETWEEN (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1 AND (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        ))
      )
      AND LEAST(t.expires_at, going.day) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
      AND (NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 31 AND true
          THEN GREATEST(t.expires_at - 60, (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 8 AND true
          THEN GREATEST(t.expires_at - 30, (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 0 AND true
          THEN GREATEST(t.expires_at - 7, (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 7), false
      ) OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END)
    GROUP BY 1;

-- check
SELECT COALESCE(max(day.tokens), 0)::bigint AS fullest, COALESCE(sum(day.tokens), 0)::bigint AS tokens
    FROM (
      SELECT count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE TRUE
        AND ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) AND u.state IS NOT DISTINCT FROM 'active') AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ))
        AND (
        t.expires_at BETWEEN (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 1 AND (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
        ))
      )
        AND LEAST(t.expires_at, going.day) <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + CAST($1 AS integer)
      GROUP BY LEAST(t.expires_at, going.day)
    ) day;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked,
        NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) AS unannounced,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7) AS week,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30) AS month,
        count(*) AS quarter,
        count(*) FILTER (
          WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30 AND t.last_used_at >= now() - interval '7 days'
        ) AS used
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90 AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )
      GROUP BY t.user_id, t.impersonation, t.revoked, unannounced
    ),
    unwarned AS MATERIALIZED (
      SELECT t.user_id, t.impersonation, t.revoked IS NULL AS unknown, t.unannounced, t.month, t.quarter
      FROM accounts t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
      WHERE t.unannounced OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END
    )
    SELECT
      CAST(COALESCE(sum(week), 0) AS bigint) AS week,
      CAST(COALESCE(sum(month), 0) AS bigint) AS month,
      CAST(COALESCE(sum(quarter), 0) AS bigint) AS quarter,
      CAST(COALESCE(sum(used), 0) AS bigint) AS used,
      CAST((SELECT COALESCE(sum(month), 0) FROM unwarned) AS bigint) AS unwarned_month,
      CAST((SELECT COALESCE(sum(quarter), 0) FROM unwarned) AS bigint) AS unwarned_quarter
    FROM accounts;

-- report
SELECT
      t.kind,
      sum(t.tokens)::bigint AS tokens,
      sum(t.active)::bigint AS active,
      sum(t.week)::bigint AS week,
      sum(t.month)::bigint AS month,
      sum(t.quarter)::bigint AS quarter,
      sum(t.undated)::bigint AS undated,
      sum(t.never_used)::bigint AS never_used,
      sum(t.unused)::bigint AS unused,
      sum(t.expired)::bigint AS expired,
      sum(t.revoked)::bigint AS revoked,
      sum(t.owner_inactive)::bigint AS owner_inactive,
      sum(t.fine_grained)::bigint AS fine_grained,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(api|"api"|''api'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(api|"api"|''api'')[ \t]*[],]' OR t.scopes ~ '^\s*(---)?\s*(\[\s*\])?\s*$')), 0)::bigint AS api,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(sudo|"sudo"|''sudo'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(sudo|"sudo"|''sudo'')[ \t]*[],]')), 0)::bigint AS sudo,
      COALESCE(sum(t.active) FILTER (WHERE (t.scopes ~ '(?n)^[ \t]*-[ \t]+:?(admin_mode|"admin_mode"|''admin_mode'')[ \t\r]*$|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?(admin_mode|"admin_mode"|''admin_mode'')[ \t]*[],]')), 0)::bigint AS admin_mode
    FROM (
      SELECT
        t.kind,
        t.scopes,
        count(*) AS tokens,
        count(*) FILTER (WHERE t.works) AS active,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 7) AS week,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 30) AS month,
        count(*) FILTER (WHERE t.works AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) + 90) AS quarter,
        count(*) FILTER (WHERE t.works AND t.expires_at IS NULL) AS undated,
        count(*) FILTER (WHERE t.works AND t.last_used_at IS NULL) AS never_used,
        count(*) FILTER (WHERE t.works AND COALESCE(t.last_used_at, t.created_at AT TIME ZONE 'UTC') < now() - interval '365 days') AS unused,
        count(*) FILTER (WHERE t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))) AS expired,
        count(*) FILTER (WHERE t.revoked IS TRUE) AS revoked,
        count(*) FILTER (WHERE t.works AND t.state IS DISTINCT FROM 'active') AS owner_inactive,
        count(*) FILTER (WHERE t.works AND t.granular) AS fine_grained
      FROM (
        SELECT 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))) AS works, u.state, t.scopes, t.revoked, t.expires_at, t.last_used_at, t.created_at, t.granular
        FROM public.personal_access_tokens t
        LEFT JOIN public.users u ON u.id = t.user_id
        WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))) OR t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
        OFFSET 0
      ) t
      GROUP BY t.kind, t.scopes
    ) t
    GROUP BY t.kind;

-- report
SELECT t.expires_at::text AS expires_at, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
      AND t.expires_at BETWEEN CAST($1 AS date) AND CAST($2 AS date)
      AND t.revoked IS NOT TRUE
    GROUP BY t.expires_at, 2;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) > CAST(now() AT TIME ZONE 'UTC' AS date)) AS renew,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date)) AS ended,
        count(*) FILTER (WHERE t.last_used_at IS NULL) AS never_used,
        min(LEAST(t.expires_at, going.day)) AS first
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND t.revoked IS NOT TRUE
        AND u.state IS NOT DISTINCT FROM 'active'
        AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) - 30 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        ))
      )
        AND LEAST(t.expires_at, going.day) BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) - 30 AND CAST(now() AT TIME ZONE 'UTC' AS date) + 30
        AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )
      GROUP BY t.user_id
    ),
    whose AS (
      SELECT
        accounts.*,
        COALESCE(u.user_type = 6, false) AS of_bot,
        place.source_type,
        CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
        CAST(NULL AS text) AS email
      FROM accounts
      LEFT JOIN public.users u ON u.id = accounts.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ),
    -- A bot that has lost its membership belongs to the project or group that GitLab remembers, as the others there do.
    owners AS (
      SELECT
        CASE WHEN of_bot THEN min(source_type) ELSE 'User' END AS owner_type,
        owner,
        min(email) AS email,
        CAST(sum(renew) AS bigint) AS renew,
        CAST(sum(ended) AS bigint) AS ended,
        CAST(sum(never_used) AS bigint) AS never_used,
        min(first)::text AS first,
        count(*) OVER () AS found
      FROM whose
      GROUP BY of_bot, CASE WHEN NOT of_bot THEN user_id END, owner
    )
    SELECT owner_type, left(owner, 300) AS owner, email, renew, ended, never_used, first, found
    FROM owners
    ORDER BY renew + ended DESC, first, owner
    LIMIT 100;

-- report
WITH chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90 AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )
      ORDER BY LEAST(t.expires_at, going.day), t.id
      LIMIT 100
    )
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      CAST(LEAST(t.expires_at, going.day) AS text) AS ends_on,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner,
      left(t.name, 300) AS name,
      to_char(t.created_at, 'YYYY-MM-DD') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last_used_at,
      CAST(NULL AS text) AS email
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY LEAST(t.expires_at, going.day), t.id;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked,
        NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) AS unannounced,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7) AS week,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30) AS month,
        count(*) AS quarter,
        count(*) FILTER (
          WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30 AND t.last_used_at >= now() - interval '7 days'
        ) AS used
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90
      GROUP BY t.user_id, t.impersonation, t.revoked, unannounced
    ),
    unwarned AS MATERIALIZED (
      SELECT t.user_id, t.impersonation, t.revoked IS NULL AS unknown, t.unannounced, t.month, t.quarter
      FROM accounts t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
      WHERE t.unannounced OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END
    ), chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90 AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) AND (t.user_id, t.impersonation, t.revoked IS NULL, NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      )) IN (
          SELECT user_id, impersonation, unknown, unannounced FROM unwarned
        )
      ORDER BY LEAST(t.expires_at, going.day), t.id
      LIMIT 100
    )
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      CAST(LEAST(t.expires_at, going.day) AS text) AS ends_on,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner,
      left(t.name, 300) AS name,
      to_char(t.created_at, 'YYYY-MM-DD') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last_used_at,
      CAST(NULL AS text) AS email
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY LEAST(t.expires_at, going.day), t.id;

-- report
WITH chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND t.expires_at IS NULL AND t.last_used_at IS NULL
      ORDER BY t.created_at, t.id
      LIMIT 100
    )
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      CAST(LEAST(t.expires_at, going.day) AS text) AS ends_on,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner,
      left(t.name, 300) AS name,
      to_char(t.created_at, 'YYYY-MM-DD') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last_used_at,
      CAST(NULL AS text) AS email
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($1 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY t.created_at, t.id;

-- report
SELECT count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
      AND (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND t.expires_at IS NULL AND t.last_used_at IS NULL;

-- report
WITH accounts AS MATERIALIZED (
      SELECT DISTINCT t.user_id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
        AND u.user_type = 6
    ),
    doomed AS MATERIALIZED (
      SELECT
        other.user_id,
        count(*) AS tokens,
        LEAST(COALESCE(
        (
          SELECT upper(held.days)
          FROM unnest(
            datemultirange(daterange(NULL, GREATEST(max(CASE
            WHEN other.revoked IS NOT TRUE THEN LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            WHEN (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($1 AS integer) + 1) OR other.expires_at IS NULL THEN LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            ELSE GREATEST(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1))
          END + CAST($1 AS integer)), CAST(now() AT TIME ZONE 'UTC' AS date)), '[]'))
            + COALESCE(
              range_agg(daterange(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($1 AS integer), '[]')) FILTER (WHERE (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($1 AS integer) + 1)),
              datemultirange()
            )
          ) AS held (days)
          WHERE held.days @> CAST(now() AT TIME ZONE 'UTC' AS date) + 1
        ),
        CAST(now() AT TIME ZONE 'UTC' AS date) + 1
      ), GREATEST(COALESCE((
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = min(other.user_id) AND m.requested_at IS NULL
      ), CAST('infinity' AS date)), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)) AS day
      FROM public.personal_access_tokens other
      JOIN accounts ON accounts.user_id = other.user_id
      GROUP BY other.user_id
      HAVING NOT bool_or(COALESCE((other.revoked IS NOT TRUE AND COALESCE(other.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date)), false))
    ),
    shown AS MATERIALIZED (
      SELECT *, count(*) OVER () AS found
      FROM doomed
      ORDER BY day, user_id
      LIMIT 100
    )
    SELECT u.username, left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner, shown.tokens, shown.day::text AS day, shown.found
    FROM shown
    JOIN public.users u ON u.id = shown.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY shown.day, shown.user_id;

-- report, list
SELECT
      c.relname AS name,
      c.reltuples AS rows,
      row_security_active(c.oid) AS hides,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger g
        WHERE g.tgrelid = c.oid AND g.tgname = 'gitlab_schema_write_trigger_for_' || c.relname AND g.tgenabled <> 'D'
      ) AS elsewhere
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    WHERE c.relname = ANY(CAST($1 AS text[]));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.deploy_tokens t
    CROSS JOIN LATERAL (
      SELECT
        CAST(CASE WHEN t.expires_at < CAST('<time>+00' AS timestamptz) THEN t.expires_at END AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(COALESCE(t.project_id, (SELECT min(l.project_id) FROM public.project_deploy_tokens l WHERE l.deploy_token_id = t.id)) AS bigint)], NULL) AS projects,
        array_remove(ARRAY[CAST(COALESCE(t.group_id, (SELECT min(l.group_id) FROM public.group_deploy_tokens l WHERE l.deploy_token_id = t.id)) AS bigint)], NULL) AS groups
    ) own
    WHERE (t.revoked IS TRUE) IS NOT TRUE AND (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.members t
    CROSS JOIN LATERAL (
      SELECT
        CAST(CASE
          WHEN t.expires_at < CAST('200000-01-01' AS date) THEN t.expires_at
          WHEN t.expires_at IS NOT NULL THEN CAST('infinity' AS date)
        END AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(CASE WHEN t.source_type = 'Project' THEN t.source_id END AS bigint)], NULL) AS projects,
        array_remove(ARRAY[CAST(CASE WHEN t.source_type = 'Namespace' THEN t.source_id END AS bigint)], NULL) AS groups
    ) own
    WHERE t.requested_at IS NULL
      AND EXISTS (SELECT FROM public.users l WHERE l.id = t.user_id AND l.user_type = 6)
      AND (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.keys t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(t.last_used_at AS timestamptz) AS used_at,
        CAST('{}' AS bigint[]) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE t.type IS DISTINCT FROM 'DeployKey'
      AND (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.keys t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(t.last_used_at AS timestamptz) AS used_at,
        CAST(ARRAY(SELECT l.project_id FROM public.deploy_keys_projects l WHERE l.deploy_key_id = t.id ORDER BY l.id) AS bigint[]) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE t.type = 'DeployKey'
      AND (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.ci_triggers t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(t.project_id AS bigint)], NULL) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.ci_runners t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.token_expires_at AS timestamptz) AS ends_at,
        CAST(t.contacted_at AS timestamptz) AS used_at,
        CAST(ARRAY(SELECT l.project_id FROM public.ci_runner_projects l WHERE l.runner_id = t.id ORDER BY l.id) AS bigint[]) AS projects,
        CAST(ARRAY(SELECT l.namespace_id FROM public.ci_runner_namespaces l WHERE l.runner_id = t.id ORDER BY l.id) AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- report
SELECT
      count(own.ends_at) AS number
    FROM public.ci_secure_files t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(t.project_id AS bigint)], NULL) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
      AND (own.ends_at IS NOT NULL AND own.ends_at >= CAST($1 AS timestamptz) AND own.ends_at < CAST($2 AS timestamptz));

-- simulate
SELECT
      CAST(COALESCE(array_agg(bot.user_id), '{}') AS text) AS bots,
      CAST(COALESCE(array_agg(bot.night), '{}') AS text) AS nights
    FROM (SELECT span.user_id, COALESCE(min(span.before) FILTER (WHERE span.since > span.before + 1), max(span.until)) + 1 AS night
      FROM (
        SELECT
          one.user_id,
          one.since,
          one.until,
          max(one.until) OVER (
            PARTITION BY one.user_id ORDER BY one.since ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
          ) AS before
        FROM (
          SELECT
            u.id AS user_id,
            CAST('-infinity' AS date) AS since,
            GREATEST(max(CASE
            WHEN t.revoked IS NOT TRUE THEN LEAST(t.expires_at, CAST($1 AS date) + 1)
            WHEN (t.revoked IS TRUE AND t.expires_at > LEAST(CAST(t.updated_at AS date), CAST($1 AS date) + 1) + CAST($2 AS integer) + 1) OR t.expires_at IS NULL THEN LEAST(CAST(t.updated_at AS date), CAST($1 AS date) + 1)
            ELSE GREATEST(LEAST(t.expires_at, CAST($1 AS date) + 1), LEAST(CAST(t.updated_at AS date), CAST($1 AS date) + 1))
          END + CAST($2 AS integer)) FILTER (WHERE t.id IS NOT NULL), CAST($3 AS date)) AS until
          FROM public.users u
          LEFT JOIN public.personal_access_tokens t ON t.user_id = u.id
          WHERE u.user_type = 6
          GROUP BY u.id
          UNION ALL
          SELECT DISTINCT t.user_id, t.expires_at, LEAST(t.expires_at, CAST($1 AS date) + 1) + CAST($2 AS integer)
          FROM public.personal_access_tokens t
          JOIN public.users u ON u.id = t.user_id AND u.user_type = 6
          WHERE (t.revoked IS TRUE AND t.expires_at > LEAST(CAST(t.updated_at AS date), CAST($1 AS date) + 1) + CAST($2 AS integer) + 1) AND t.expires_at <= CAST($1 AS date) AND LEAST(t.expires_at, CAST($1 AS date) + 1) + CAST($2 AS integer) > CAST($3 AS date)
        ) one
      ) span
      GROUP BY span.user_id
      HAVING COALESCE(min(span.before) FILTER (WHERE span.since > span.before + 1), max(span.until)) < CAST($1 AS date)) bot;

-- simulate
SELECT
      CAST(COALESCE(array_agg(bot.user_id), '{}') AS text) AS bots,
      CAST(COALESCE(array_agg(bot.night), '{}') AS text) AS nights
    FROM (SELECT span.user_id, COALESCE(min(span.before) FILTER (WHERE span.since > span.before + 1), max(span.until)) + 1 AS night
      FROM (
        SELECT
          one.user_id,
          one.since,
          one.until,
          max(one.until) OVER (
            PARTITION BY one.user_id ORDER BY one.since ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
          ) AS before
        FROM (
          SELECT
            u.id AS user_id,
            CAST('-infinity' AS date) AS since,
            GREATEST(max(CASE
            WHEN (t.revoked OR (t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($1 AS date) + CAST($2 AS integer)))) IS NOT TRUE THEN LEAST(t.expires_at, CAST($3 AS date) + 1)
            WHEN ((t.revoked OR (t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($1 AS date) + CAST($2 AS integer)))) IS TRUE AND t.expires_at > LEAST(CAST(t.updated_at AS date), CAST($3 AS date) + 1) + CAST($4 AS integer) + 1) OR t.expires_at IS NULL THEN LEAST(CAST(t.updated_at AS date), CAST($3 AS date) + 1)
            ELSE GREATEST(LEAST(t.expires_at, CAST($3 AS date) + 1), LEAST(CAST(t.updated_at AS date), CAST($3 AS date) + 1))
          END + CAST($4 AS integer)) FILTER (WHERE t.id IS NOT NULL), CAST($1 AS date)) AS until
          FROM public.users u
          LEFT JOIN public.personal_access_tokens t ON t.user_id = u.id
          WHERE u.user_type = 6
          GROUP BY u.id
          UNION ALL
          SELECT DISTINCT t.user_id, t.expires_at, LEAST(t.expires_at, CAST($3 AS date) + 1) + CAST($4 AS integer)
          FROM public.personal_access_tokens t
          JOIN public.users u ON u.id = t.user_id AND u.user_type = 6
          WHERE ((t.revoked OR (t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($1 AS date) + CAST($2 AS integer)))) IS TRUE AND t.expires_at > LEAST(CAST(t.updated_at AS date), CAST($3 AS date) + 1) + CAST($4 AS integer) + 1) AND t.expires_at <= CAST($3 AS date) AND LEAST(t.expires_at, CAST($3 AS date) + 1) + CAST($4 AS integer) > CAST($1 AS date)
        ) one
      ) span
      GROUP BY span.user_id
      HAVING COALESCE(min(span.before) FILTER (WHERE span.since > span.before + 1), max(span.until)) < CAST($3 AS date)) bot;

-- simulate
WITH
    cleaned_plain AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_plain AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    cleaned_changed AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($5 AS bigint[]), CAST($6 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_changed AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    moments AS (
      SELECT
        t.id,
        t.user_id,
        (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') AS works,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_plain,
        LEAST(CASE
        WHEN cleaned_plain.night <= CAST($4 AS date) THEN (GREATEST(cleaned_plain.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_plain,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_plain,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_changed,
        LEAST(CASE
        WHEN cleaned_changed.night <= CAST($4 AS date) THEN (GREATEST(cleaned_changed.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_changed,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_changed
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN cleaned_plain ON cleaned_plain.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_plain ON ended_plain.user_id = t.user_id
      LEFT JOIN cleaned_changed ON cleaned_changed.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_changed ON ended_changed.user_id = t.user_id
      WHERE TRUE
      OFFSET 0
    ),
    lives AS MATERIALIZED (
      SELECT *
      FROM (
        SELECT
          moments.*,
          LEAST(moments.ends_plain, CASE WHEN moments.works THEN moments.goes_plain END) AS dies_plain,
          LEAST(moments.ends_changed, CASE WHEN moments.works THEN moments.goes_changed END) AS dies_changed
        FROM moments
        OFFSET 0
      ) life
      WHERE COALESCE(dies_plain, goes_plain, loses_plain, dies_changed, goes_changed, loses_changed) IS NOT NULL
    ),
    events AS (
      SELECT
        id,
        user_id,
        works AS worked,
        dies_changed AS at,
        CASE WHEN dies_plain / 32 <= dies_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE dies_changed IS NOT NULL 
      UNION ALL
      SELECT id, user_id, works, dies_plain, 'spared'
      FROM lives
      WHERE dies_plain / 32 < COALESCE(dies_changed / 32, dies_plain + 1) 
      UNION ALL
      SELECT
        id,
        user_id,
        false AS worked,
        goes_changed AS at,
        CASE WHEN goes_plain / 32 <= goes_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE goes_changed IS NOT NULL AND goes_changed IS DISTINCT FROM dies_changed
      UNION ALL
      SELECT id, user_id, false, goes_plain, 'spared'
      FROM lives
      WHERE goes_plain / 32 < COALESCE(goes_changed / 32, goes_plain + 1) AND goes_plain IS DISTINCT FROM dies_plain
      UNION ALL
      SELECT
        id,
        user_id,
        true AS worked,
        loses_changed AS at,
        CASE WHEN loses_plain / 32 <= loses_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE loses_changed IS NOT NULL AND loses_changed < COALESCE(dies_changed, loses_changed + 1)
      UNION ALL
      SELECT id, user_id, true, loses_plain, 'spared'
      FROM lives
      WHERE loses_plain / 32 < COALESCE(loses_changed / 32, loses_plain + 1) AND loses_plain < COALESCE(dies_plain, loses_plain + 1)
    )
    SELECT
      at / 32 AS night,
      mod(at, 32) AS rule,
      difference,
      worked,
      count(*) AS tokens
    FROM events
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4;

-- simulate
SELECT count(*) AS bots
    FROM public.users u
    WHERE u.user_type = 6
      AND NOT EXISTS (SELECT FROM public.personal_access_tokens t WHERE t.user_id = u.id);

-- simulate
WITH
    cleaned_plain AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_plain AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    cleaned_changed AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($5 AS bigint[]), CAST($6 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_changed AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    attended AS MATERIALIZED (
      SELECT u.id AS user_id, people.until
      FROM public.users u
      CROSS JOIN LATERAL (
        SELECT m.source_type, m.source_id
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL AND NOT false
        ORDER BY m.source_type = 'Project' DESC, m.source_id
        LIMIT 1
      ) place
      CROSS JOIN LATERAL (
        SELECT max(COALESCE(looking_after.expires_at, CAST('infinity' AS date))) AS until
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active'
        AND person.id NOT IN (-1)
        AND NOT false
      ) people
      WHERE u.user_type = 6 AND people.until > CAST($3 AS date)
    ),
    moments AS (
      SELECT
        t.id,
        t.user_id,
        (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') AS works,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_plain,
        LEAST(CASE
        WHEN cleaned_plain.night <= CAST($4 AS date) THEN (GREATEST(cleaned_plain.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_plain,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_plain,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_changed,
        LEAST(CASE
        WHEN cleaned_changed.night <= CAST($4 AS date) THEN (GREATEST(cleaned_changed.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_changed,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_changed,
        CAST(ARRAY[CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 31 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 60, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 31 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 60, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 8
      END, CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 8 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 30, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 8 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 30, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 9
      END, CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 0 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 7, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 0 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 7, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 10
      END, CASE
        WHEN CASE
          WHEN t.after_expiry_notification_delivered IS NOT TRUE AND COALESCE(u.user_type, 0) = 0 AND t.expires_at > CAST($3 AS date) AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN t.expires_at
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN t.after_expiry_notification_delivered IS NOT TRUE AND COALESCE(u.user_type, 0) = 0 AND t.expires_at > CAST($3 AS date) AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN t.expires_at
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 11
      END] AS integer[]) AS notices
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN cleaned_plain ON cleaned_plain.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_plain ON ended_plain.user_id = t.user_id
      LEFT JOIN cleaned_changed ON cleaned_changed.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_changed ON ended_changed.user_id = t.user_id
      LEFT JOIN attended ON attended.user_id = t.user_id
      WHERE TRUE
      OFFSET 0
    )
    SELECT
      notice.at / 32 AS night,
      mod(notice.at, 32) AS rule,
      count(*) AS tokens
    FROM moments
    CROSS JOIN LATERAL unnest(moments.notices) AS notice (at)
    WHERE notice.at / 32 < COALESCE(moments.goes_changed / 32, notice.at)
    GROUP BY 1, 2
    ORDER BY 1, 2;

-- simulate
WITH
    cleaned_plain AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_plain AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    cleaned_changed AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($5 AS bigint[]), CAST($6 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_changed AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    moments AS (
      SELECT
        t.id,
        t.user_id,
        (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') AS works,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_plain,
        LEAST(CASE
        WHEN cleaned_plain.night <= CAST($4 AS date) THEN (GREATEST(cleaned_plain.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_plain,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_plain,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_changed,
        LEAST(CASE
        WHEN cleaned_changed.night <= CAST($4 AS date) THEN (GREATEST(cleaned_changed.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_changed,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_changed
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN cleaned_plain ON cleaned_plain.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_plain ON ended_plain.user_id = t.user_id
      LEFT JOIN cleaned_changed ON cleaned_changed.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_changed ON ended_changed.user_id = t.user_id
      WHERE TRUE
      OFFSET 0
    )
    SELECT
      GREATEST(m.expires_at, CAST($3 AS date) + 1) - CAST($3 AS date) AS night,
      count(*) FILTER (WHERE u.user_type = 6) AS of_bots,
      count(*) FILTER (WHERE u.user_type IS DISTINCT FROM 6) AS of_others
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    LEFT JOIN cleaned_changed cleaned ON cleaned.user_id = u.id
    LEFT JOIN ended_changed ended ON ended.user_id = u.id
    WHERE m.requested_at IS NULL
      AND m.expires_at <= CAST($4 AS date)
      AND NOT false
      AND (
        u.user_type IS DISTINCT FROM 6
        OR (
          GREATEST(m.expires_at, CAST($3 AS date) + 1) = ended.night
          AND ended.night < COALESCE(cleaned.night, CAST('infinity' AS date))
        )
      )
      
    GROUP BY 1;

-- simulate
DECLARE "stream_1" CURSOR FOR WITH
    cleaned_plain AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_plain AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    cleaned_changed AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($5 AS bigint[]), CAST($6 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_changed AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    moments AS (
      SELECT
        t.id,
        t.user_id,
        (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') AS works,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_plain,
        LEAST(CASE
        WHEN cleaned_plain.night <= CAST($4 AS date) THEN (GREATEST(cleaned_plain.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_plain,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_plain,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_changed,
        LEAST(CASE
        WHEN cleaned_changed.night <= CAST($4 AS date) THEN (GREATEST(cleaned_changed.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_changed,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_changed
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN cleaned_plain ON cleaned_plain.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_plain ON ended_plain.user_id = t.user_id
      LEFT JOIN cleaned_changed ON cleaned_changed.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_changed ON ended_changed.user_id = t.user_id
      WHERE TRUE
      OFFSET 0
    ),
    lives AS MATERIALIZED (
      SELECT *
      FROM (
        SELECT
          moments.*,
          LEAST(moments.ends_plain, CASE WHEN moments.works THEN moments.goes_plain END) AS dies_plain,
          LEAST(moments.ends_changed, CASE WHEN moments.works THEN moments.goes_changed END) AS dies_changed
        FROM moments
        OFFSET 0
      ) life
      WHERE COALESCE(dies_plain, goes_plain, loses_plain, dies_changed, goes_changed, loses_changed) IS NOT NULL
    ),
    events AS (
      SELECT
        id,
        user_id,
        works AS worked,
        dies_changed AS at,
        CASE WHEN dies_plain / 32 <= dies_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE dies_changed IS NOT NULL 
      UNION ALL
      SELECT id, user_id, works, dies_plain, 'spared'
      FROM lives
      WHERE dies_plain / 32 < COALESCE(dies_changed / 32, dies_plain + 1) 
      UNION ALL
      SELECT
        id,
        user_id,
        false AS worked,
        goes_changed AS at,
        CASE WHEN goes_plain / 32 <= goes_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE goes_changed IS NOT NULL AND goes_changed IS DISTINCT FROM dies_changed
      UNION ALL
      SELECT id, user_id, false, goes_plain, 'spared'
      FROM lives
      WHERE goes_plain / 32 < COALESCE(goes_changed / 32, goes_plain + 1) AND goes_plain IS DISTINCT FROM dies_plain
      UNION ALL
      SELECT
        id,
        user_id,
        true AS worked,
        loses_changed AS at,
        CASE WHEN loses_plain / 32 <= loses_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE loses_changed IS NOT NULL AND loses_changed < COALESCE(dies_changed, loses_changed + 1)
      UNION ALL
      SELECT id, user_id, true, loses_plain, 'spared'
      FROM lives
      WHERE loses_plain / 32 < COALESCE(loses_changed / 32, loses_plain + 1) AND loses_plain < COALESCE(dies_plain, loses_plain + 1)
    )
    , accounts AS MATERIALIZED (
      SELECT
        user_id,
        CAST(NULL AS integer) AS night,
        count(*) FILTER (WHERE worked AND mod(at, 32) IN (0, 1, 3, 4, 5, 6) AND difference = 'anyway') AS anyway,
        count(*) FILTER (WHERE worked AND mod(at, 32) IN (0, 1, 3, 4, 5, 6) AND difference = 'change') AS change,
        count(*) FILTER (WHERE worked AND mod(at, 32) IN (0, 1, 3, 4, 5, 6) AND difference = 'spared') AS spared,
        count(*) FILTER (WHERE mod(at, 32) IN (5, 6) AND difference <> 'spared') AS deleted,
        min(at / 32) AS first
      FROM events
      GROUP BY 1, 2
    )
    SELECT
      accounts.night,
      COALESCE(place.source_type, 'User') AS owner_type,
      COALESCE(place.source_id, accounts.user_id) AS owner_id,
      min(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END) AS owner,
      bool_or(u.user_type IS NOT DISTINCT FROM 6) AS of_bot,
      CAST(sum(anyway) AS bigint) AS anyway,
      CAST(sum(change) AS bigint) AS change,
      CAST(sum(spared) AS bigint) AS spared,
      CAST(sum(deleted) AS bigint) AS deleted,
      min(first) AS first
    FROM accounts
    LEFT JOIN public.users u ON u.id = accounts.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    GROUP BY 1, 2, 3
    ORDER BY sum(anyway) + sum(change) DESC, min(first), 2, 3
    LIMIT CAST($8 AS bigint);

-- simulate
DECLARE "stream_2" CURSOR FOR WITH
    cleaned_plain AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_plain AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    cleaned_changed AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST($5 AS bigint[]), CAST($6 AS date[])
      ) AS bot (user_id, night)
    ),
    ended_changed AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), CAST($3 AS date) + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= CAST($4 AS date) AND NOT false
      GROUP BY m.user_id
    ),
    attended AS MATERIALIZED (
      SELECT u.id AS user_id, people.until
      FROM public.users u
      CROSS JOIN LATERAL (
        SELECT m.source_type, m.source_id
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL AND NOT false
        ORDER BY m.source_type = 'Project' DESC, m.source_id
        LIMIT 1
      ) place
      CROSS JOIN LATERAL (
        SELECT max(COALESCE(looking_after.expires_at, CAST('infinity' AS date))) AS until
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active'
        AND person.id NOT IN (-1)
        AND NOT false
      ) people
      WHERE u.user_type = 6 AND people.until > CAST($3 AS date)
    ),
    moments AS (
      SELECT
        t.id,
        t.user_id,
        (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') AS works,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND false AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_plain,
        LEAST(CASE
        WHEN cleaned_plain.night <= CAST($4 AS date) THEN (GREATEST(cleaned_plain.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_plain,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_plain.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_plain,
        LEAST(CASE
        WHEN CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN false AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 0
      END, CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 1
      END, CASE
        WHEN CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.revoked IS FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer)) AND u.id IS NOT NULL THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 3
      END, CASE
        WHEN CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN t.expires_at END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 4
      END) AS ends_changed,
        LEAST(CASE
        WHEN cleaned_changed.night <= CAST($4 AS date) THEN (GREATEST(cleaned_changed.night, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 5
      END, CASE
        WHEN CASE WHEN u.user_type = 6 THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type = 6 THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 6
      END) AS goes_changed,
        LEAST(CASE
        WHEN CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN t.user_id IN (NULL) AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN CAST($3 AS date) END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 2
      END, CASE
        WHEN CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END <= CAST($4 AS date) THEN (GREATEST(CASE WHEN u.user_type IS DISTINCT FROM 6 AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($3 AS date) AND u.state IS NOT DISTINCT FROM 'active') THEN ended_changed.night END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 7
      END) AS loses_changed,
        CAST(ARRAY[CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 31 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 60, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 31 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 60, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 8
      END, CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 8 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 30, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 8 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 30, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 9
      END, CASE
        WHEN CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 0 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 7, CAST($3 AS date) + 1)
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST($3 AS date) + 0 AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN GREATEST(t.expires_at - 7, CAST($3 AS date) + 1)
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 10
      END, CASE
        WHEN CASE
          WHEN t.after_expiry_notification_delivered IS NOT TRUE AND COALESCE(u.user_type, 0) = 0 AND t.expires_at > CAST($3 AS date) AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN t.expires_at
        END <= LEAST(CAST($4 AS date), attended.until - 1) THEN (GREATEST(CASE
          WHEN t.after_expiry_notification_delivered IS NOT TRUE AND COALESCE(u.user_type, 0) = 0 AND t.expires_at > CAST($3 AS date) AND (
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT (t.expires_at IS NULL OR t.expires_at > CAST($3 AS date) + CAST($7 AS integer))
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )
          THEN t.expires_at
        END, CAST($3 AS date)) - CAST($3 AS date)) * 32 + 11
      END] AS integer[]) AS notices
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN cleaned_plain ON cleaned_plain.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_plain ON ended_plain.user_id = t.user_id
      LEFT JOIN cleaned_changed ON cleaned_changed.user_id = t.user_id AND u.user_type = 6
      LEFT JOIN ended_changed ON ended_changed.user_id = t.user_id
      LEFT JOIN attended ON attended.user_id = t.user_id
      WHERE TRUE
      OFFSET 0
    ),
    lives AS MATERIALIZED (
      SELECT *
      FROM (
        SELECT
          moments.*,
          LEAST(moments.ends_plain, CASE WHEN moments.works THEN moments.goes_plain END) AS dies_plain,
          LEAST(moments.ends_changed, CASE WHEN moments.works THEN moments.goes_changed END) AS dies_changed
        FROM moments
        OFFSET 0
      ) life
      WHERE COALESCE(dies_plain, goes_plain, loses_plain, dies_changed, goes_changed, loses_changed) IS NOT NULL
    ),
    events AS (
      SELECT
        id,
        user_id,
        works AS worked,
        dies_changed AS at,
        CASE WHEN dies_plain / 32 <= dies_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE dies_changed IS NOT NULL 
      UNION ALL
      SELECT id, user_id, works, dies_plain, 'spared'
      FROM lives
      WHERE dies_plain / 32 < COALESCE(dies_changed / 32, dies_plain + 1) 
      UNION ALL
      SELECT
        id,
        user_id,
        false AS worked,
        goes_changed AS at,
        CASE WHEN goes_plain / 32 <= goes_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE goes_changed IS NOT NULL AND goes_changed IS DISTINCT FROM dies_changed
      UNION ALL
      SELECT id, user_id, false, goes_plain, 'spared'
      FROM lives
      WHERE goes_plain / 32 < COALESCE(goes_changed / 32, goes_plain + 1) AND goes_plain IS DISTINCT FROM dies_plain
      UNION ALL
      SELECT
        id,
        user_id,
        true AS worked,
        loses_changed AS at,
        CASE WHEN loses_plain / 32 <= loses_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE loses_changed IS NOT NULL AND loses_changed < COALESCE(dies_changed, loses_changed + 1)
      UNION ALL
      SELECT id, user_id, true, loses_plain, 'spared'
      FROM lives
      WHERE loses_plain / 32 < COALESCE(loses_changed / 32, loses_plain + 1) AND loses_plain < COALESCE(dies_plain, loses_plain + 1)
    ),
    used AS MATERIALIZED (
      SELECT use.id, use.calls_a_day, use.daily
      FROM unnest(
        CAST($8 AS bigint[]),
        CAST($9 AS float8[]),
        CAST($10 AS boolean[])
      ) AS use (id, calls_a_day, daily)
    )
    , shown AS MATERIALIZED (
      SELECT events.*, used.calls_a_day
      FROM events
      LEFT JOIN used ON used.id = events.id
      ORDER BY worked DESC, used.calls_a_day DESC NULLS LAST, at, id, difference
      LIMIT CAST($11 AS bigint)
    )
    SELECT
      shown.at / 32 AS night,
      mod(shown.at, 32) AS rule,
      shown.difference,
      shown.worked,
      shown.calls_a_day,
      t.id,
      t.expires_at::text AS expires_at,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      u.username AS account,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      t.name,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      u.state AS owner_state,
      ARRAY(
        SELECT notice.at
        FROM unnest(lives.notices) AS notice (at)
        WHERE notice.at / 32 < COALESCE(lives.goes_changed / 32, notice.at)
      ) AS notices,
      CASE
        WHEN t.impersonation OR t.revoked IS DISTINCT FROM false THEN CAST('{}' AS text[])
        WHEN u.user_type = 6 THEN ARRAY(
          SELECT COALESCE(CAST(person.username AS text), 'user ' || person.id)
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active'
        AND person.id NOT IN (-1)
        AND NOT false
          ORDER BY person.username
        )
        WHEN COALESCE(u.user_type, 0) = 0 AND u.state = 'active' AND u.id NOT IN (-1)
        THEN ARRAY[COALESCE(CAST(u.username AS text), 'user ' || u.id)]
        ELSE CAST('{}' AS text[])
      END AS told
    FROM shown
    JOIN lives ON lives.id = shown.id
    JOIN public.personal_access_tokens t ON t.id = shown.id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY shown.worked DESC, shown.calls_a_day DESC NULLS LAST, shown.at, shown.id, shown.difference;

-- simulate, list
FETCH FORWARD 2000 FROM "stream_2";

-- list
DECLARE "stream_1" CURSOR FOR 
    SELECT
      t.id AS id,
      COALESCE(logged.calls, 0) AS calls_a_day,
      COALESCE(logged.refused, 0) AS refused,
      array_remove(ARRAY[
        CASE WHEN t.revoked IS NOT TRUE AND EXISTS (SELECT FROM public.members m WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(t.expires_at, CAST('infinity' AS date))
    )) THEN 'membership-ends-first' END,
        CASE WHEN clean_up.day IS NOT NULL THEN 'clean-up' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) + (
    SELECT s.max_personal_access_token_lifetime
    FROM public.application_settings s
    ORDER BY s.id DESC
    LIMIT 1
  ) THEN 'beyond-maximum' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'in-its-grace' END,
        CASE WHEN NOT (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'successor-works' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND u.state IS NOT DISTINCT FROM 'active' AND isfinite(LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)) AND (NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END) THEN 'nobody-warned' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL) THEN 'warned' END,
        CASE WHEN false THEN 'legacy' END,
        CASE WHEN t.revoked IS NOT TRUE AND (
          t.expires_at BETWEEN CAST($1 AS date) AND CAST($2 AS date)
          AND t.created_at < CAST($3 AS timestamptz) AT TIME ZONE 'UTC'
        ) THEN 'migration-date' END,
        CASE WHEN u.state IS DISTINCT FROM 'active' THEN 'owner-inactive' END,
        CASE WHEN COALESCE(logged.refused > 0, false) THEN 'failed-tries' END
      ], NULL) AS flags
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true

    LEFT JOIN unnest(
      CAST($4 AS bigint[]),
      CAST($5 AS float8[]),
      CAST($6 AS bigint[]),
      CAST($7 AS boolean[])
    ) AS logged (id, calls, refused, daily) ON logged.id = t.id

    LEFT JOIN LATERAL (
      SELECT LEAST(COALESCE(
        (
          SELECT upper(held.days)
          FROM unnest(
            datemultirange(daterange(NULL, GREATEST(max(CASE
            WHEN other.revoked IS NOT TRUE THEN LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            WHEN (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($8 AS integer) + 1) OR other.expires_at IS NULL THEN LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            ELSE GREATEST(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1))
          END + CAST($8 AS integer)), CAST(now() AT TIME ZONE 'UTC' AS date)), '[]'))
            + COALESCE(
              range_agg(daterange(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($8 AS integer), '[]')) FILTER (WHERE (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($8 AS integer) + 1)),
              datemultirange()
            )
          ) AS held (days)
          WHERE held.days @> CAST(now() AT TIME ZONE 'UTC' AS date) + 1
        ),
        CAST(now() AT TIME ZONE 'UTC' AS date) + 1
      ), GREATEST(COALESCE((
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = min(other.user_id) AND m.requested_at IS NULL
      ), CAST('infinity' AS date)), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)) AS day
      FROM public.personal_access_tokens other
      WHERE u.user_type = 6 AND other.user_id = t.user_id
      HAVING NOT bool_or(COALESCE((other.revoked IS NOT TRUE AND COALESCE(other.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date)), false))
    ) clean_up ON true
    WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
    ORDER BY t.expires_at ASC NULLS LAST, t.id;

-- check
SELECT 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, count(*) AS tokens
    FROM unnest(CAST($1 AS bigint[])) AS tried (id)
    JOIN public.personal_access_tokens t ON t.id = tried.id
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE TRUE
      AND t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))
    GROUP BY 1;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked,
        NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) AS unannounced,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7) AS week,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30) AS month,
        count(*) AS quarter,
        count(*) FILTER (
          WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30 AND COALESCE(logged.daily, false)
        ) AS used
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN unnest(
        CAST($1 AS bigint[]),
        CAST($2 AS float8[]),
        CAST($3 AS bigint[]),
        CAST($4 AS boolean[])
      ) AS logged (id, calls, refused, daily) ON logged.id = t.id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90 AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )
      GROUP BY t.user_id, t.impersonation, t.revoked, unannounced
    ),
    unwarned AS MATERIALIZED (
      SELECT t.user_id, t.impersonation, t.revoked IS NULL AS unknown, t.unannounced, t.month, t.quarter
      FROM accounts t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
      WHERE t.unannounced OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END
    )
    SELECT
      CAST(COALESCE(sum(week), 0) AS bigint) AS week,
      CAST(COALESCE(sum(month), 0) AS bigint) AS month,
      CAST(COALESCE(sum(quarter), 0) AS bigint) AS quarter,
      CAST(COALESCE(sum(used), 0) AS bigint) AS used,
      CAST((SELECT COALESCE(sum(month), 0) FROM unwarned) AS bigint) AS unwarned_month,
      CAST((SELECT COALESCE(sum(quarter), 0) FROM unwarned) AS bigint) AS unwarned_quarter
    FROM accounts;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) > CAST(now() AT TIME ZONE 'UTC' AS date)) AS renew,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date)) AS ended,
        count(*) FILTER (WHERE t.last_used_at IS NULL) AS never_used,
        min(LEAST(t.expires_at, going.day)) AS first,
        count(*) FILTER (WHERE COALESCE(logged.daily, false)) AS daily,
        count(*) FILTER (WHERE COALESCE(logged.refused > 0, false)) AS tried
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN unnest(
        CAST($1 AS bigint[]),
        CAST($2 AS float8[]),
        CAST($3 AS bigint[]),
        CAST($4 AS boolean[])
      ) AS logged (id, calls, refused, daily) ON logged.id = t.id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND t.revoked IS NOT TRUE
        AND u.state IS NOT DISTINCT FROM 'active'
        AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) - 30 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        ))
      )
        AND LEAST(t.expires_at, going.day) BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) - 30 AND CAST(now() AT TIME ZONE 'UTC' AS date) + 30
        AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      )
      GROUP BY t.user_id
    ),
    whose AS (
      SELECT
        accounts.*,
        COALESCE(u.user_type = 6, false) AS of_bot,
        place.source_type,
        CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
        CAST(NULL AS text) AS email
      FROM accounts
      LEFT JOIN public.users u ON u.id = accounts.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ),
    -- A bot that has lost its membership belongs to the project or group that GitLab remembers, as the others there do.
    owners AS (
      SELECT
        CASE WHEN of_bot THEN min(source_type) ELSE 'User' END AS owner_type,
        owner,
        min(email) AS email,
        CAST(sum(renew) AS bigint) AS renew,
        CAST(sum(ended) AS bigint) AS ended,
        CAST(sum(never_used) AS bigint) AS never_used,
        min(first)::text AS first,
        CAST(sum(daily) AS bigint) AS daily,
        CAST(sum(tried) AS bigint) AS tried,
        count(*) OVER () AS found
      FROM whose
      GROUP BY of_bot, CASE WHEN NOT of_bot THEN user_id END, owner
    )
    SELECT owner_type, left(owner, 300) AS owner, email, renew, ended, never_used, first, daily, tried, found
    FROM owners
    ORDER BY renew + ended DESC, first, owner
    LIMIT 100;

-- report
WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked,
        NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) AS unannounced,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7) AS week,
        count(*) FILTER (WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30) AS month,
        count(*) AS quarter,
        count(*) FILTER (
          WHERE LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 30 AND COALESCE(logged.daily, false)
        ) AS used
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN unnest(
        CAST($1 AS bigint[]),
        CAST($2 AS float8[]),
        CAST($3 AS bigint[]),
        CAST($4 AS boolean[])
      ) AS logged (id, calls, refused, daily) ON logged.id = t.id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90
      GROUP BY t.user_id, t.impersonation, t.revoked, unannounced
    ),
    unwarned AS MATERIALIZED (
      SELECT t.user_id, t.impersonation, t.revoked IS NULL AS unknown, t.unannounced, t.month, t.quarter
      FROM accounts t
      LEFT JOIN public.users u ON u.id = t.user_id
      LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
      WHERE t.unannounced OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END
    ), chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
      WHERE (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) AND u.state IS NOT DISTINCT FROM 'active') AND (
        t.expires_at BETWEEN CAST(now() AT TIME ZONE 'UTC' AS date) + 1 AND CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        ))
      ) AND LEAST(t.expires_at, going.day) <= CAST(now() AT TIME ZONE 'UTC' AS date) + 90 AND NOT (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) AND (t.user_id, t.impersonation, t.revoked IS NULL, NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, going.day)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      )) IN (
          SELECT user_id, impersonation, unknown, unannounced FROM unwarned
        )
      ORDER BY LEAST(t.expires_at, going.day), t.id
      LIMIT 100
    )
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      CAST(LEAST(t.expires_at, going.day) AS text) AS ends_on,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner,
      left(t.name, 300) AS name,
      to_char(t.created_at, 'YYYY-MM-DD') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last_used_at,
      CAST(NULL AS text) AS email
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    CROSS JOIN LATERAL (SELECT CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + CAST($5 AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END AS day OFFSET 0) going
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    ORDER BY LEAST(t.expires_at, going.day), t.id;

-- report
SELECT
      t.id,
      t.expires_at::text AS expires_at,
      
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END
 AS state,
      
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind,
      left(CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END, 300) AS owner,
      left(t.name, 300) AS name,
      CAST(NULL AS text) AS email,
      count(*) OVER () AS found
    FROM public.personal_access_tokens t
    JOIN unnest(
      CAST($1 AS bigint[]), CAST($2 AS bigint[])
    ) AS tried (id, times) ON tried.id = t.id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true
    WHERE TRUE
      AND NOT (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)))
    ORDER BY tried.times DESC, t.id
    LIMIT 100;

-- extend
COPY (
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.expires_at = CAST('<day  +20>' AS date)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
    GROUP BY t.expires_at, t.id >> 16
) TO STDOUT (FORMAT csv);

-- extend
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        CASE WHEN CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END IS NOT NULL AND NOT (t.revoked IS TRUE) AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date) THEN count(*) ELSE 0 END AS reviving,
        CASE WHEN NOT (t.revoked IS TRUE) THEN COALESCE(CAST($1 AS date), CAST('infinity' AS date)) END AS last_day,
        count(*) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS warned,
        bool_or((
          t.revoked = false
          AND NOT t.impersonation
          AND CAST($1 AS date) BETWEEN CAST($2 AS date) AND CAST($3 AS date)
        )) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS due,
        count(*) FILTER (WHERE (
          t.expires_at BETWEEN CAST($4 AS date) AND CAST($5 AS date)
          AND t.created_at < CAST($6 AS timestamptz) AT TIME ZONE 'UTC'
        )) AS migrated,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR CAST($1 AS date) BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($8 AS date)
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE (k.kind, k.state) IN (('personal', 'active'), ('project', 'active'), ('group', 'active'), ('service-account', 'active'), ('other', 'active'))
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE (
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(o.last_day, CAST('infinity' AS date))
    )
        )
      )) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND (
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY m.source_type = 'Project' DESC, m.source_id
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
          )
        END
      )) AS mailed_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (
          NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- extend
WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($1 AS date)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > CAST($3 AS date))
        AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- extend
COPY (
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.expires_at = CAST('<day  +20>' AS date)
  AND t.user_id IN (
    (
    WITH named_groups AS MATERIALIZED (
      SELECT n.id, n.traversal_ids
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST('{fleet}' AS text[])) AS named (path))
    ),
    chosen_groups AS MATERIALIZED (
      SELECT id
      FROM named_groups
      UNION
      SELECT below.id
      FROM named_groups g
      JOIN public.namespaces below
        ON below.traversal_ids @> g.traversal_ids AND g.id = ANY (below.traversal_ids) AND below.type = 'Group'
    ),
    chosen_projects AS MATERIALIZED (
      SELECT p.id, p.project_namespace_id
      FROM public.projects p
      WHERE p.namespace_id IN (SELECT id FROM chosen_groups)
      UNION
      SELECT p.id, p.project_namespace_id
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST('{}' AS text[])) AS named (path))
    ),
    bots_without_membership AS MATERIALIZED (
      SELECT bot.id, bot.username, d.bot_namespace_id AS namespace_id
      FROM public.users bot
      LEFT JOIN public.user_details d ON d.user_id = bot.id
      WHERE bot.user_type = 6
        AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = bot.id AND m.requested_at IS NULL)
    )
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Project'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_projects)
    UNION ALL
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Namespace'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IN (SELECT project_namespace_id FROM chosen_projects UNION ALL SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^project_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_projects)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^group_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_group_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_project_id IN (SELECT id FROM chosen_projects))
  )
  AND t.name LIKE CAST('%' AS text)
  AND (t.scopes ~ CAST( E'(?n)^[ \\t]*-[ \\t]+:?(api|"api"|''api'')[ \\t\\r]*$|^(---)?[ \\t]*\\[([^]]*,)?[ \\t]*:?(api|"api"|''api'')[ \\t]*[],]' AS text) OR t.scopes ~ CAST( E'^\\s*(---)?\\s*(\\[\\s*\\])?\\s*$' AS text))
  AND NOT t.impersonation
  AND (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))) OR t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
    GROUP BY t.expires_at, t.id >> 16
) TO STDOUT (FORMAT csv);

-- extend
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        count(*) FILTER (WHERE t.expires_at <= CAST($1 AS date) AND (t.revoked IS NOT TRUE AND COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END), CAST('infinity' AS date)) > CAST($1 AS date))) AS reviving,
        max(COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END), CAST('infinity' AS date))) FILTER (WHERE t.revoked IS NOT TRUE) AS last_day,
        count(*) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS warned,
        bool_or((
          t.revoked = false
          AND NOT t.impersonation
          AND (t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END) BETWEEN CAST($1 AS date) AND CAST($5 AS date)
        )) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS due,
        count(*) FILTER (WHERE (
          t.expires_at BETWEEN CAST($6 AS date) AND CAST($7 AS date)
          AND t.created_at < CAST($8 AS timestamptz) AT TIME ZONE 'UTC'
        )) AS migrated,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($9 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($9 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END), CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR (t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END) BETWEEN ((CAST($1 AS date) + 1) - CAST($9 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($9 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date) THEN CAST($4 AS integer) ELSE 0 END), CAST('infinity' AS date)) > CAST($1 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($10 AS date)
  AND t.user_id IN (
    (
    WITH named_groups AS MATERIALIZED (
      SELECT n.id, n.traversal_ids
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST($11 AS text[])) AS named (path))
    ),
    chosen_groups AS MATERIALIZED (
      SELECT id
      FROM named_groups
      UNION
      SELECT below.id
      FROM named_groups g
      JOIN public.namespaces below
        ON below.traversal_ids @> g.traversal_ids AND g.id = ANY (below.traversal_ids) AND below.type = 'Group'
    ),
    chosen_projects AS MATERIALIZED (
      SELECT p.id, p.project_namespace_id
      FROM public.projects p
      WHERE p.namespace_id IN (SELECT id FROM chosen_groups)
      UNION
      SELECT p.id, p.project_namespace_id
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST($12 AS text[])) AS named (path))
    ),
    bots_without_membership AS MATERIALIZED (
      SELECT bot.id, bot.username, d.bot_namespace_id AS namespace_id
      FROM public.users bot
      LEFT JOIN public.user_details d ON d.user_id = bot.id
      WHERE bot.user_type = 6
        AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = bot.id AND m.requested_at IS NULL)
    )
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Project'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_projects)
    UNION ALL
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Namespace'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IN (SELECT project_namespace_id FROM chosen_projects UNION ALL SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^project_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_projects)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^group_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_group_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_project_id IN (SELECT id FROM chosen_projects))
  )
  AND t.name LIKE CAST($13 AS text)
  AND (t.scopes ~ CAST($14 AS text) OR t.scopes ~ CAST($15 AS text))
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE (k.kind, k.state) IN (('personal', 'active'), ('personal', 'expired'), ('project', 'active'), ('project', 'expired'), ('group', 'active'), ('group', 'expired'), ('service-account', 'active'), ('service-account', 'expired'), ('other', 'active'), ('other', 'expired'))
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE (
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(o.last_day, CAST('infinity' AS date))
    )
        )
      )) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND (
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY m.source_type = 'Project' DESC, m.source_id
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
          )
        END
      )) AS mailed_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (
          NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($9 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($9 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- extend
WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($1 AS date)
  AND t.user_id IN (
    (
    WITH named_groups AS MATERIALIZED (
      SELECT n.id, n.traversal_ids
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST($2 AS text[])) AS named (path))
    ),
    chosen_groups AS MATERIALIZED (
      SELECT id
      FROM named_groups
      UNION
      SELECT below.id
      FROM named_groups g
      JOIN public.namespaces below
        ON below.traversal_ids @> g.traversal_ids AND g.id = ANY (below.traversal_ids) AND below.type = 'Group'
    ),
    chosen_projects AS MATERIALIZED (
      SELECT p.id, p.project_namespace_id
      FROM public.projects p
      WHERE p.namespace_id IN (SELECT id FROM chosen_groups)
      UNION
      SELECT p.id, p.project_namespace_id
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest(CAST($3 AS text[])) AS named (path))
    ),
    bots_without_membership AS MATERIALIZED (
      SELECT bot.id, bot.username, d.bot_namespace_id AS namespace_id
      FROM public.users bot
      LEFT JOIN public.user_details d ON d.user_id = bot.id
      WHERE bot.user_type = 6
        AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = bot.id AND m.requested_at IS NULL)
    )
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Project'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_projects)
    UNION ALL
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Namespace'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IN (SELECT project_namespace_id FROM chosen_projects UNION ALL SELECT id FROM chosen_groups)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^project_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_projects)
    UNION ALL
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^group_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_group_id IN (SELECT id FROM chosen_groups)
    UNION ALL
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.provisioned_by_project_id IN (SELECT id FROM chosen_projects))
  )
  AND t.name LIKE CAST($4 AS text)
  AND (t.scopes ~ CAST($5 AS text) OR t.scopes ~ CAST($6 AS text))
  AND NOT t.impersonation
  AND (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) OR t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($7 AS date) AND CAST($8 AS date) THEN CAST($9 AS integer) ELSE 0 END), CAST('infinity' AS date)) > CAST($10 AS date))
        AND COALESCE((t.expires_at + CASE WHEN t.expires_at BETWEEN CAST($7 AS date) AND CAST($8 AS date) THEN CAST($9 AS integer) ELSE 0 END), CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- extend, undo, apply, remove, rotate, revoke
SELECT
      s.value, s.set_by, s.because,
      to_char(s.set_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS set_at
    FROM token_tasks.settings s
    WHERE s.name = $1
    ORDER BY s.id DESC;

-- extend, undo, apply, remove, rotate, revoke, journal.uninstall
SELECT
      r.id, r.kind, a.process, a.carried_out_by,
      extract(epoch FROM clock_timestamp() - r.heartbeat_at)::float8 AS silence,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS since
    FROM token_tasks.runs r
    JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.state = 'running'
    ORDER BY r.id;

-- extend, undo, apply, remove, rotate, revoke
BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('lock_timeout', '10s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- extend, undo, remove, rotate, revoke
INSERT INTO token_tasks.runs
      (kind, state, selection, change, memberships, notices, reason, planned_by, tool_version, undoes, tokens, policy)
    VALUES (
      $1, 'planned', CAST($2 AS jsonb), CAST($3 AS jsonb), $4, $5,
      $6, CAST($7 AS jsonb), $8, CAST($9 AS bigint), $10,
      CAST($11 AS jsonb)
    )
    RETURNING id;

-- extend, undo, remove, revoke
INSERT INTO token_tasks.chunks (run_id, position, old_expires_at, new_expires_at, token_ids)
    SELECT CAST($1 AS bigint), c.position, c.old, c.new, CAST(c.ids AS bigint[])
    FROM unnest(
      CAST($2 AS bigint[]), CAST($3 AS date[]), CAST($4 AS date[]), CAST($5 AS text[])
    ) AS c (position, old, new, ids);

-- extend, undo, remove, revoke
WITH planned AS MATERIALIZED (
      SELECT c.position, t.id, t.user_id, t.name
      FROM token_tasks.chunks c
      JOIN public.personal_access_tokens t ON t.id = ANY (c.token_ids)
      WHERE c.run_id = $1 AND c.position BETWEEN $2 AND $3
    ),
    owners AS MATERIALIZED (
      SELECT u.id, u.username, CASE WHEN u.user_type = 6 THEN COALESCE(
        (
          SELECT r.path
          FROM public.members m
          LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
          WHERE m.user_id = u.id AND m.requested_at IS NULL
          ORDER BY m.source_type = 'Project' DESC, m.source_id
          LIMIT 1
        ),
        (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )
      ) END AS path
      FROM public.users u
      WHERE u.id = ANY (ARRAY(SELECT DISTINCT user_id FROM planned))
    )
    INSERT INTO token_tasks.names (run_id, position, accounts, tokens, paths)
    SELECT c.run_id, c.position, found.accounts, found.tokens, found.paths
    FROM (
      SELECT
        p.position,
        array_agg(CAST(p.id AS bigint) ORDER BY p.id) AS ids,
        array_agg(o.username ORDER BY p.id) AS accounts,
        array_agg(p.name ORDER BY p.id) AS tokens,
        array_agg(o.path ORDER BY p.id) AS paths
      FROM planned p
      LEFT JOIN owners o ON o.id = p.user_id
      GROUP BY p.position
    ) found
    JOIN token_tasks.chunks c ON c.run_id = $1 AND c.position = found.position AND c.token_ids = found.ids;

-- extend, undo, remove, rotate, revoke
UPDATE token_tasks.runs
    SET chain = '', entries = 0
    WHERE id = $1;

-- extend, undo, remove, rotate, revoke
SELECT r.id AS key
    FROM token_tasks.runs r
    WHERE r.id = $1 AND r.id > $2
    ORDER BY r.id
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 0 AS place, r.id AS key, concat('runs ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'kind', r.kind, 'selection', r.selection, 'change', r.change,
          'memberships', r.memberships, 'notices', r.notices, 'reason', r.reason,
          'planned_by', r.planned_by, 'tool_version', r.tool_version, 'undoes', r.undoes,
          'tokens', r.tokens, 'policy', r.policy, 'created_at', r.created_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.runs r
        WHERE r.id = $1 AND r.id = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, undo, remove, rotate, revoke
SELECT r.number AS key
    FROM token_tasks.attempts r
    WHERE r.run_id = $1 AND r.number > $2
    ORDER BY r.number
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.number AS key
    FROM token_tasks.attempts r
    WHERE r.run_id = $1 AND r.number > $2 AND NOT num_nonnulls(r.stopped_because, r.ended_at) = 0
    ORDER BY r.number
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.position AS key
    FROM token_tasks.chunks r
    WHERE r.run_id = $1 AND r.position > $2
    ORDER BY r.position
    LIMIT $3;

-- extend, undo, remove, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 4 AS place, r.position AS key, concat('chunks ', r.position, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'old_expires_at', r.old_expires_at, 'new_expires_at', r.new_expires_at, 'token_ids', CAST(r.token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.chunks r
        WHERE r.run_id = $1 AND r.position = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, undo, remove, rotate, revoke
SELECT r.position AS key
    FROM token_tasks.chunks r
    WHERE r.run_id = $1 AND r.position > $2 AND NOT num_nonnulls(r.done_at, r.left_alone, r.locked) = 0
    ORDER BY r.position
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.id AS key
    FROM token_tasks.notices r
    WHERE r.run_id = $1 AND r.id > $2
    ORDER BY r.id
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.id AS key
    FROM token_tasks.memberships r
    WHERE r.run_id = $1 AND r.id > $2
    ORDER BY r.id
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.id AS key
    FROM token_tasks.revocations r
    WHERE r.run_id = $1 AND r.id > $2
    ORDER BY r.id
    LIMIT $3;

-- extend, undo, remove, rotate, revoke
SELECT r.position AS key
    FROM token_tasks.names r
    WHERE r.run_id = $1 AND r.position > $2
    ORDER BY r.position
    LIMIT $3;

-- extend, undo, remove, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 9 AS place, r.position AS key, concat('names ', r.position, ' ',
          encode(sha256(CAST(replace(CAST(jsonb_build_object(
          'accounts', CAST(r.accounts AS text), 'tokens', CAST(r.tokens AS text), 'paths', CAST(r.paths AS text)
        ) AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 'hex')
        ) AS line
        FROM token_tasks.names r
        WHERE r.run_id = $1 AND r.position = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, undo, remove, rotate, revoke
SELECT r.token_id AS key
    FROM token_tasks.rotations r
    WHERE r.run_id = $1 AND r.token_id > $2
    ORDER BY r.token_id
    LIMIT $3;

-- extend, undo, apply, remove, rotate, revoke
SELECT FROM token_tasks.runs WHERE id = $1 AND state <> 'done' AND chain IS NULL;

-- extend, undo, apply, remove, rotate, revoke
UPDATE token_tasks.runs r
    SET state = 'running', attempt = attempt + 1, heartbeat_at = clock_timestamp(), finished_at = NULL
    WHERE id = $1 AND state NOT IN ('done', 'withdrawn')
    RETURNING attempt, r.changed, to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS planned_at;

-- extend, undo, apply, remove, rotate, revoke
INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version)
    VALUES ($1, $2, CAST($3 AS jsonb), $4, $5);

-- extend, undo, apply, remove, rotate, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 2 AS place, r.number AS key, concat('attempts ', r.number, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'carried_out_by', r.carried_out_by, 'process', r.process, 'tool_version', r.tool_version,
          'started_at', r.started_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.attempts r
        WHERE r.run_id = $1 AND r.number = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, undo, apply, remove, revoke
BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('lock_timeout', '<rest>ms', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- extend, remove
SELECT DISTINCT chunk.position
    FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[]), CAST($3 AS date[]), CAST($4 AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.revoked IS NOT TRUE
      AND (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(chunk.new, CAST('infinity' AS date))
    );

-- extend, remove
SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    WHERE EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      WHERE t.id = ANY(CAST($1 AS bigint[]))
        AND t.revoked IS NOT TRUE
        AND (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(CAST($2 AS date), CAST('infinity' AS date))
    )
    )
    ORDER BY m.id
    FOR NO KEY UPDATE OF m SKIP LOCKED;

-- extend, remove
SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    WHERE EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      WHERE t.id = ANY(CAST($1 AS bigint[]))
        AND t.revoked IS NOT TRUE
        AND (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(CAST($2 AS date), CAST('infinity' AS date))
    )
    )
    ORDER BY m.id;

-- extend, undo, apply, remove, rotate, revoke
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

-- extend
WITH unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, chunk.new, t.expire_notification_delivered, t.after_expiry_notification_delivered, t.seven_days_notification_sent_at, t.thirty_days_notification_sent_at, t.sixty_days_notification_sent_at
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[]), CAST($3 AS date[]), CAST($4 AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id
      WHERE t.expires_at IS NOT DISTINCT FROM chunk.old
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    ), kept AS (
      INSERT INTO token_tasks.notices (run_id, position, token_ids, expire_notification_delivered, after_expiry_notification_delivered, seven_days_notification_sent_at, thirty_days_notification_sent_at, sixty_days_notification_sent_at)
      SELECT CAST($5 AS bigint), t.position, array_agg(t.id ORDER BY t.id), array_agg(t.expire_notification_delivered ORDER BY t.id), array_agg(t.after_expiry_notification_delivered ORDER BY t.id), array_agg(t.seven_days_notification_sent_at ORDER BY t.id), array_agg(t.thirty_days_notification_sent_at ORDER BY t.id), array_agg(t.sixty_days_notification_sent_at ORDER BY t.id)
      FROM unlocked t
      WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)
      GROUP BY t.position
    )
    UPDATE public.personal_access_tokens t
    SET expires_at = unlocked.new, expire_notification_delivered = false, after_expiry_notification_delivered = false, seven_days_notification_sent_at = NULL, thirty_days_notification_sent_at = NULL, sixty_days_notification_sent_at = NULL
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

-- extend, remove
SELECT DISTINCT user_id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[])) AND revoked IS NOT TRUE;

-- extend, remove
UPDATE public.members
    SET expires_at = CAST($1 AS date)
    WHERE id = ANY(CAST($2 AS bigint[]));

-- extend, remove
INSERT INTO token_tasks.memberships
      (run_id, position, member_ids, old_expires_at, new_expires_at, other_token_ids, other_expires_at)
    SELECT
      CAST($1 AS bigint), CAST($2 AS bigint),
      CAST($3 AS bigint[]), CAST($4 AS date[]), CAST($5 AS date),
      COALESCE(array_agg(t.id ORDER BY t.id), '{}'), COALESCE(array_agg(t.expires_at ORDER BY t.id), '{}')
    FROM (
      SELECT m.user_id, max(kept.old_expires_at) AS old_expires_at
      FROM unnest(CAST($3 AS bigint[]), CAST($4 AS date[])) AS kept (id, old_expires_at)
      JOIN public.members m ON m.id = kept.id
      GROUP BY m.user_id
    ) bots
    JOIN public.personal_access_tokens t
      ON t.user_id = bots.user_id
      AND t.revoked IS NOT TRUE
      AND t.expires_at <= bots.old_expires_at
    WHERE t.id NOT IN (SELECT unnest(CAST($6 AS bigint[])));

-- extend, undo, remove, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 0 AS place, CAST(0 AS bigint) AS key, concat(
          'results ', array_to_string(CAST($1 AS bigint[]), ','), ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'done_at', now() AT TIME ZONE 'UTC', 'left_alone', NULL, 'locked', NULL
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        WHERE cardinality(CAST($1 AS bigint[])) > 0
        UNION ALL
        SELECT 5 AS place, r.position AS key, concat('results ', r.position, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'done_at', r.done_at AT TIME ZONE 'UTC', 'left_alone', CAST(r.left_alone AS text), 'locked', CAST(r.locked AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.chunks r
        WHERE r.run_id = $2 AND r.position = ANY (CAST($3 AS bigint[]))
        UNION ALL
        SELECT 6 AS place, r.id AS key, concat('notices ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'token_ids', CAST(r.token_ids AS text), 'expire_notification_delivered', r.expire_notification_delivered,
          'after_expiry_notification_delivered', r.after_expiry_notification_delivered, 'seven_days_notification_sent_at', CASE WHEN r.seven_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.seven_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END, 'thirty_days_notification_sent_at', CASE WHEN r.thirty_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.thirty_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END,
          'sixty_days_notification_sent_at', CASE WHEN r.sixty_days_notification_sent_at IS NOT NULL THEN ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.sixty_days_notification_sent_at) WITH ORDINALITY AS one (at, place) ORDER BY place) END
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.notices r
        WHERE r.run_id = $2 AND r.position = ANY (CAST($1 AS bigint[]) || CAST($3 AS bigint[]))
        UNION ALL
        SELECT 7 AS place, r.id AS key, concat('memberships ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'old_expires_at', r.old_expires_at, 'new_expires_at', r.new_expires_at,
          'other_expires_at', r.other_expires_at, 'member_ids', CAST(r.member_ids AS text), 'other_token_ids', CAST(r.other_token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.memberships r
        WHERE r.run_id = $2 AND r.position = ANY (CAST($1 AS bigint[]) || CAST($3 AS bigint[]))
        UNION ALL
        SELECT 8 AS place, r.id AS key, concat('revocations ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'position', r.position, 'revoked', r.revoked, 'updated_at', r.updated_at,
          'revoked_at', r.revoked_at, 'token_ids', CAST(r.token_ids AS text)
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.revocations r
        WHERE r.run_id = $2 AND r.position = ANY (CAST($1 AS bigint[]) || CAST($3 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET heartbeat_at = clock_timestamp(),
        changed = r.changed + $4,
        changed_meanwhile = r.changed_meanwhile + $5,
        entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed + $4, 'changed_meanwhile', r.changed_meanwhile + $5,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $2 AND r.chain IS NOT NULL AND r.attempt = $6 AND r.state = 'running'
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    ),
    marked AS (
      UPDATE token_tasks.chunks c
      SET done_at = now()
      FROM entered
      WHERE c.run_id = entered.id AND c.position = ANY (CAST($1 AS bigint[]))
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, remove
SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST($2 AS date);

-- extend, undo, apply, remove, rotate, revoke
UPDATE token_tasks.runs r
    SET
      state = $1,
      finished_at = CASE WHEN $1 IN ('done', 'partial') THEN now() END,
      recounted = $2,
      locked = (SELECT COALESCE(sum(cardinality(c.locked)), 0) FROM token_tasks.chunks c WHERE c.run_id = r.id)
    WHERE r.id = $3 AND r.attempt = $4 AND r.state = 'running';

-- extend, undo, apply, remove, rotate, revoke
UPDATE token_tasks.attempts
    SET ended_at = now(), stopped_because = $1
    WHERE run_id = $2 AND number = $3 AND ended_at IS NULL;

-- extend, undo, apply, remove, rotate, revoke
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 3 AS place, r.number AS key, concat('ends ', r.number, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'stopped_because', r.stopped_because, 'ended_at', r.ended_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.attempts r
        WHERE r.run_id = $1 AND r.number = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- extend, undo, apply, remove, rotate, revoke
SELECT pg_try_advisory_xact_lock(hashtext('token_tasks.runs')) AS held;

-- extend, undo, apply, remove, rotate, revoke
INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, sha256(COALESCE(before.chain, '') || convert_to(concat(
          0, ' ', this.number, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          this.written
        ), 'UTF8'))
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        SELECT 0 AS place, r.id AS key, concat('run ', r.id, ' ', encode(r.chain, 'hex'), ' ', r.state) AS line
        FROM token_tasks.runs r
        WHERE r.chain IS NOT NULL AND r.id = $1
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines;

-- undo, apply
SELECT FROM token_tasks.runs WHERE id = $1 AND kind = 'rotate';

-- undo, extend, apply, history
SELECT
      r.id, r.kind, r.state, r.selection, r.change, r.memberships, r.notices, r.reason, r.planned_by, r.tool_version,
      r.withdrawn_by, r.withdrawn_because, r.undoes, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.attempt,
      to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      to_char(r.heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS heartbeat_at,
      to_char(r.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS finished_at,
      to_char(r.withdrawn_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS withdrawn_at,
      ARRAY(
        SELECT a.carried_out_by FROM token_tasks.attempts a WHERE a.run_id = r.id ORDER BY a.number
      ) AS carried_out_by,
      (
        SELECT to_char(min(a.started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')
        FROM token_tasks.attempts a
        WHERE a.run_id = r.id
      ) AS begun_at,
      EXISTS (SELECT FROM token_tasks.names n WHERE n.run_id = r.id)
        OR EXISTS (SELECT FROM token_tasks.rotations p WHERE p.run_id = r.id AND p.name IS NOT NULL) AS has_names,
      extract(epoch FROM now() - r.created_at)::float8 AS age,
      CASE WHEN r.state = 'running' THEN extract(epoch FROM now() - r.heartbeat_at)::float8 END AS silence,
      (SELECT max(u.id) FROM token_tasks.runs u WHERE u.undoes = r.id AND u.changed > 0) AS undone_by,
      (
        SELECT
          CASE
            WHEN count(*) < 2 THEN COALESCE(sum(u.changed), 0)::bigint
            -- One token may have been put back more than once.
            ELSE (
              SELECT count(DISTINCT one.id)
              FROM token_tasks.runs v
              JOIN token_tasks.chunks c ON c.run_id = v.id AND c.done_at IS NOT NULL
              CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
              WHERE v.undoes = r.id AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
            )
          END
        FROM token_tasks.runs u
        WHERE u.undoes = r.id AND u.changed > 0
      ) AS put_back
    FROM token_tasks.runs r
    WHERE CAST($1 AS bigint) IS NULL OR r.id = $1
    ORDER BY r.id DESC;

-- undo
SELECT
      EXISTS (SELECT FROM token_tasks.memberships m WHERE m.run_id = $1) AS memberships,
      EXISTS (SELECT FROM token_tasks.notices n WHERE n.run_id = $1) AS notices;

-- undo
DECLARE "stream_1" CURSOR FOR 
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

-- undo, apply
FETCH FORWARD 1 FROM "stream_1";

-- undo
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

-- undo
DECLARE "stream_2" CURSOR FOR 
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
    WHERE (t.id IS NULL OR t.expires_at IS DISTINCT FROM p.new_expires_at OR NOT created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $2
      ))
      AND p.id <> ALL (p.others)
      AND p.id NOT IN (SELECT b.id FROM put_back b)
    ORDER BY p.id;

-- undo
FETCH FORWARD 1 FROM "stream_2";

-- undo
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
        AND t.created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $2
      )
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
        AND (t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > CAST($3 AS date))
        AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- undo
WITH changed AS MATERIALIZED (
      SELECT t.id, t.user_id, changed.position, changed.old_expires_at
      FROM public.personal_access_tokens t
      JOIN (
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = $1
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
        AND t.created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $2
      )
    ),
    moved AS MATERIALIZED (
      SELECT m.id, m.user_id, n.position, kept.old_expires_at
      FROM token_tasks.memberships n
      CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
      JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
      WHERE n.run_id = $1
        AND EXISTS (SELECT FROM changed WHERE changed.user_id = m.user_id AND changed.position = n.position)
    ),
    outliving AS MATERIALIZED (
      SELECT
        moved.id AS member_id, moved.position, moved.old_expires_at, other.id, other.expires_at, other.created_at,
        COALESCE(CASE WHEN back.id IS NULL THEN other.expires_at ELSE back.old_expires_at END, 'infinity') AS ends_at
      FROM moved
      JOIN public.personal_access_tokens other ON other.user_id = moved.user_id
      LEFT JOIN changed back ON back.id = other.id
      WHERE other.revoked IS NOT TRUE AND COALESCE(other.expires_at, 'infinity') > moved.old_expires_at
    ),
    recorded AS MATERIALIZED (
      SELECT
        one.id,
        bool_or(c.run_id = $1) AS by_run,
        bool_or(
          c.run_id = $1
          AND c.old_expires_at IS DISTINCT FROM one.expires_at
          AND c.new_expires_at IS DISTINCT FROM one.expires_at
        ) AS changed_since,
        bool_or(
          c.run_id > $1
          AND r.kind NOT IN ('undo', 'revoke')
          AND c.done_at IS NOT NULL
          AND c.new_expires_at IS NOT DISTINCT FROM one.expires_at
        ) AS by_later_run
      FROM (
        SELECT c.run_id, c.old_expires_at, c.new_expires_at, c.done_at, unnest(c.token_ids) AS id
        FROM token_tasks.chunks c
        WHERE c.run_id >= $1
        OFFSET 0
      ) c
      JOIN token_tasks.runs r ON r.id = c.run_id
      JOIN (SELECT DISTINCT id, expires_at FROM outliving) one ON one.id = c.id
      GROUP BY one.id
    ),
    needed AS MATERIALIZED (
      SELECT DISTINCT one.member_id AS id
      FROM outliving one
      LEFT JOIN recorded ON recorded.id = one.id
      LEFT JOIN (
        SELECT n.position, unnest(n.other_token_ids) AS id, unnest(n.other_expires_at) AS expires_at
        FROM token_tasks.memberships n
        WHERE n.run_id = $1
        OFFSET 0
      ) earlier ON earlier.position = one.position AND earlier.id = one.id
      CROSS JOIN (SELECT created_at AT TIME ZONE 'UTC' AS planned FROM token_tasks.runs WHERE id = $1) run
      WHERE one.created_at > run.planned
        OR recorded.by_later_run
        OR recorded.changed_since
        OR (one.old_expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) AND one.old_expires_at > CAST(run.planned AS date) AND one.ends_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        OR (earlier.expires_at <= one.old_expires_at AND recorded.by_run IS NOT TRUE)
    )
    SELECT
      (SELECT count(DISTINCT id) FROM moved WHERE id NOT IN (SELECT id FROM needed)) AS memberships,
      (SELECT count(*) FROM needed) AS needed,
      (
        SELECT count(DISTINCT t.id)
        FROM (
          SELECT unnest(n.token_ids) AS id, n.position
          FROM token_tasks.notices n
          WHERE n.run_id = $1
          OFFSET 0
        ) kept
        JOIN changed ON changed.id = kept.id AND changed.position = kept.position
        JOIN public.personal_access_tokens t ON t.id = kept.id AND NOT (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)
      ) AS notices;

-- undo
WITH owners AS (
      SELECT
        t.user_id,
        u.user_type,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR changed.old_expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(changed.old_expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS will_be_active
      FROM public.personal_access_tokens t
      JOIN (
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = $3
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
        AND t.created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $4
      )
      LEFT JOIN public.users u ON u.id = t.user_id
      GROUP BY t.user_id, u.user_type
    )
    SELECT count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots
    FROM owners o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- undo
SELECT mine.position
    FROM unnest(CAST($1 AS bigint[])) AS mine (position)
    WHERE EXISTS (
      SELECT
      FROM token_tasks.memberships n
      WHERE n.run_id = $2
        AND n.position = (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = $2 AND c.position <= mine.position
        )
    );

-- undo
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
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST($3 AS bigint[]))
      )
    ORDER BY m.id
    FOR NO KEY UPDATE OF m SKIP LOCKED;

-- undo
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
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST($3 AS bigint[]))
      )
    ORDER BY m.id;

-- undo
WITH unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, chunk.new
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[]), CAST($3 AS date[]), CAST($4 AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id
      WHERE t.expires_at IS NOT DISTINCT FROM chunk.old
      AND created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $5
      )
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE public.personal_access_tokens t
    SET expires_at = unlocked.new
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

-- undo
UPDATE public.personal_access_tokens t
    SET expire_notification_delivered = kept.expire_notification_delivered, after_expiry_notification_delivered = kept.after_expiry_notification_delivered, seven_days_notification_sent_at = kept.seven_days_notification_sent_at, thirty_days_notification_sent_at = kept.thirty_days_notification_sent_at, sixty_days_notification_sent_at = kept.sixty_days_notification_sent_at
    FROM token_tasks.notices n
    CROSS JOIN LATERAL unnest(n.token_ids, n.expire_notification_delivered, n.after_expiry_notification_delivered, n.seven_days_notification_sent_at, n.thirty_days_notification_sent_at, n.sixty_days_notification_sent_at) AS kept (id, expire_notification_delivered, after_expiry_notification_delivered, seven_days_notification_sent_at, thirty_days_notification_sent_at, sixty_days_notification_sent_at)
    WHERE n.run_id = $1
      AND n.position IN (
        SELECT (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = $1 AND c.position <= mine.position
        )
        FROM unnest(CAST($2 AS bigint[])) AS mine (position)
      )
      AND t.id = kept.id
      AND t.id = ANY(CAST($3 AS bigint[]))
      AND NOT ((t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL));

-- undo
UPDATE public.members m
    SET expires_at = back.ends_at
    FROM (
      WITH RECURSIVE steps (id, user_id, ends_at) AS (
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM token_tasks.memberships n
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
        WHERE n.run_id = $1
          AND n.position = (
            SELECT max(c.position)
            FROM token_tasks.chunks c
            WHERE c.run_id = $1 AND c.position <= $2
          )
          AND m.user_id IN (
            SELECT t.user_id
            FROM public.personal_access_tokens t
            WHERE t.id = ANY(CAST($3 AS bigint[]))
          )
          AND NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens other
            WHERE other.user_id = m.user_id
              AND (
                (other.id <> ALL (CAST($3 AS bigint[])) AND (
      other.revoked IS NOT TRUE
      AND COALESCE(other.expires_at, 'infinity') > kept.old_expires_at
      AND (
        other.created_at > (SELECT r.created_at AT TIME ZONE 'UTC' FROM token_tasks.runs r WHERE r.id = $1)
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          JOIN token_tasks.runs r ON r.id = c.run_id AND r.kind NOT IN ('undo', 'revoke')
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
    ))
                OR (kept.old_expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) AND kept.old_expires_at > (SELECT CAST(r.created_at AT TIME ZONE 'UTC' AS date) FROM token_tasks.runs r WHERE r.id = $1) AND other.revoked IS NOT TRUE AND (other.expires_at IS NULL OR other.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)))
              )
          )
        UNION ALL
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM steps m
        JOIN token_tasks.memberships n ON n.run_id = $1 AND n.new_expires_at = m.ends_at
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        WHERE kept.id = m.id
          AND NOT EXISTS (
            SELECT
            FROM token_tasks.chunks undone
            JOIN token_tasks.chunks c
              ON c.run_id = $4
              AND c.position >= undone.position
              AND c.position < undone.position + cardinality(undone.token_ids)
              AND c.new_expires_at IS DISTINCT FROM c.old_expires_at
            CROSS JOIN LATERAL unnest(c.token_ids) AS waiting (id)
            JOIN public.personal_access_tokens t
              ON t.id = waiting.id
              AND t.user_id = m.user_id
              AND t.revoked IS NOT TRUE
              AND t.expires_at IS NOT DISTINCT FROM c.old_expires_at
            WHERE undone.run_id = $1 AND undone.position = n.position
          )
          AND NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens other
            WHERE other.user_id = m.user_id
              AND (
                (other.id <> ALL (CAST($3 AS bigint[])) AND (
      other.revoked IS NOT TRUE
      AND COALESCE(other.expires_at, 'infinity') > kept.old_expires_at
      AND (
        other.created_at > (SELECT r.created_at AT TIME ZONE 'UTC' FROM token_tasks.runs r WHERE r.id = $1)
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          JOIN token_tasks.runs r ON r.id = c.run_id AND r.kind NOT IN ('undo', 'revoke')
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
    ))
                OR (kept.old_expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) AND kept.old_expires_at > (SELECT CAST(r.created_at AT TIME ZONE 'UTC' AS date) FROM token_tasks.runs r WHERE r.id = $1) AND other.revoked IS NOT TRUE AND (other.expires_at IS NULL OR other.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)))
              )
          )
      )
      SELECT id, min(ends_at) AS ends_at
      FROM steps
      GROUP BY id
    ) back
    WHERE m.id = back.id;

-- undo, apply
SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST($2 AS date)
      AND created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $3
      );

-- extend
COPY (
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.expires_at = CAST('2024-06-15' AS date)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date))
    GROUP BY t.expires_at, t.id >> 16
) TO STDOUT (FORMAT csv);

-- extend
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        CASE WHEN CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END IS NOT NULL AND NOT (t.revoked IS TRUE) AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date) THEN count(*) ELSE 0 END AS reviving,
        CASE WHEN NOT (t.revoked IS TRUE) THEN COALESCE(CAST($1 AS date), CAST('infinity' AS date)) END AS last_day,
        count(*) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS warned,
        bool_or((
          t.revoked = false
          AND NOT t.impersonation
          AND CAST($1 AS date) BETWEEN CAST($2 AS date) AND CAST($3 AS date)
        )) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS due,
        count(*) FILTER (WHERE (
          t.expires_at BETWEEN CAST($4 AS date) AND CAST($5 AS date)
          AND t.created_at < CAST($6 AS timestamptz) AT TIME ZONE 'UTC'
        )) AS migrated,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR CAST($1 AS date) BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($8 AS date)
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE (k.kind, k.state) IN (('personal', 'expired'), ('project', 'expired'), ('group', 'expired'), ('service-account', 'expired'), ('other', 'expired'))
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE (
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(o.last_day, CAST('infinity' AS date))
    )
        )
      )) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND (
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY m.source_type = 'Project' DESC, m.source_id
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
          )
        END
      )) AS mailed_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (
          NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- extend
WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($1 AS date)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date)
        AND (t.revoked IS NOT TRUE AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > CAST($3 AS date))
        AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- apply
DECLARE "stream_1" CURSOR FOR 
    SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new,
      CASE WHEN c.done_at IS NULL THEN c.token_ids ELSE c.locked END AS ids,
      c.done_at IS NOT NULL AS again
    FROM token_tasks.chunks c
    WHERE c.run_id = $1 AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ORDER BY CASE WHEN CAST($2 AS boolean) THEN -c.position ELSE c.position END;

-- apply
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        CASE WHEN CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END IS NOT NULL AND NOT (t.revoked IS TRUE) AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date) THEN count(*) ELSE 0 END AS reviving,
        CASE WHEN NOT (t.revoked IS TRUE) THEN COALESCE(CAST($1 AS date), CAST('infinity' AS date)) END AS last_day,
        count(*) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS warned,
        bool_or((
          t.revoked = false
          AND NOT t.impersonation
          AND CAST($1 AS date) BETWEEN CAST($2 AS date) AND CAST($3 AS date)
        )) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS due,
        count(*) FILTER (WHERE (
          t.expires_at BETWEEN CAST($4 AS date) AND CAST($5 AS date)
          AND t.created_at < CAST($6 AS timestamptz) AT TIME ZONE 'UTC'
        )) AS migrated,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR CAST($1 AS date) BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.id IN (
      SELECT unnest(c.token_ids)
      FROM token_tasks.chunks c
      WHERE c.run_id = $8 AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ) AND t.created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $8
      )
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE true
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE (
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(o.last_day, CAST('infinity' AS date))
    )
        )
      )) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND (
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY m.source_type = 'Project' DESC, m.source_id
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
          )
        END
      )) AS mailed_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (
          NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- apply
WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.id IN (
      SELECT unnest(c.token_ids)
      FROM token_tasks.chunks c
      WHERE c.run_id = $1 AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ) AND t.created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $1
      )
        AND (t.revoked IS NOT TRUE AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > CAST($3 AS date))
        AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- apply
SELECT p.id
    FROM (
      SELECT c.old_expires_at, unnest(CASE WHEN c.done_at IS NULL THEN c.token_ids ELSE c.locked END) AS id
      FROM token_tasks.chunks c
      WHERE c.run_id = $1 AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.id
    WHERE (
      t.id IS NULL OR t.expires_at IS DISTINCT FROM p.old_expires_at OR (CAST($2 AS boolean) AND t.revoked)
      OR NOT created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $3
      )
    )
    ORDER BY p.id;

-- apply
UPDATE public.personal_access_tokens
    SET expires_at = CAST($1 AS date)
    WHERE id = ANY(CAST($2 AS bigint[]))
      AND expires_at IS NOT DISTINCT FROM CAST($3 AS date)
      AND created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $4
      );

-- apply
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 0 AS place, CAST(0 AS bigint) AS key, concat(
          'results ', array_to_string(CAST($1 AS bigint[]), ','), ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'done_at', now() AT TIME ZONE 'UTC', 'left_alone', NULL, 'locked', NULL
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        WHERE cardinality(CAST($1 AS bigint[])) > 0
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET heartbeat_at = clock_timestamp(),
        changed = r.changed + $2,
        changed_meanwhile = r.changed_meanwhile + $3,
        entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed + $2, 'changed_meanwhile', r.changed_meanwhile + $3,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $4 AND r.chain IS NOT NULL AND r.attempt = $5 AND r.state = 'running'
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    ),
    marked AS (
      UPDATE token_tasks.chunks c
      SET done_at = now()
      FROM entered
      WHERE c.run_id = entered.id AND c.position = ANY (CAST($1 AS bigint[]))
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- remove
COPY (
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.expires_at = CAST('<day  +20>' AS date)
  AND CASE
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END IN ('group')
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
    GROUP BY t.expires_at, t.id >> 16
) TO STDOUT (FORMAT csv);

-- remove
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        CASE WHEN CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END IS NOT NULL AND NOT (t.revoked IS TRUE) AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date) THEN count(*) ELSE 0 END AS reviving,
        CASE WHEN NOT (t.revoked IS TRUE) THEN COALESCE(CAST($1 AS date), CAST('infinity' AS date)) END AS last_day,
        count(*) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS warned,
        bool_or((
          t.revoked = false
          AND NOT t.impersonation
          AND CAST($1 AS date) BETWEEN CAST($2 AS date) AND CAST($3 AS date)
        )) FILTER (WHERE (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL)) AS due,
        count(*) FILTER (WHERE (
          t.expires_at BETWEEN CAST($4 AS date) AND CAST($5 AS date)
          AND t.created_at < CAST($6 AS timestamptz) AT TIME ZONE 'UTC'
        )) AS migrated,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR CAST($1 AS date) BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(CAST($1 AS date), CAST('infinity' AS date)) > CAST($2 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($8 AS date)
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE (k.kind, k.state) IN (('group', 'active'))
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE (
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(o.last_day, CAST('infinity' AS date))
    )
        )
      )) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND (
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY m.source_type = 'Project' DESC, m.source_id
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
          )
        END
      )) AS mailed_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (
          NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($2 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($2 AS date) + 1) - CAST($7 AS integer)) AND (CAST($2 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($2 AS date) + 1) - CAST($7 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($2 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- remove
WITH replaced AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.expires_at = CAST($1 AS date)
  AND CASE
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END IN ('group')
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        AND (t.revoked IS NOT TRUE AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > CAST($3 AS date))
        AND COALESCE(CAST($2 AS date), CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT t.id
    FROM replaced t
    WHERE EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      )
    ORDER BY t.id;

-- remove
WITH unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, chunk.new
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[]), CAST($3 AS date[]), CAST($4 AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id
      WHERE t.expires_at IS NOT DISTINCT FROM chunk.old
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE public.personal_access_tokens t
    SET expires_at = unlocked.new
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

-- list
DECLARE "stream_1" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('deploy-token' AS text) AS kind,
      CAST(t.name AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS user_id,
      CAST(t.creator_id AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.deploy_tokens t
    CROSS JOIN LATERAL (
      SELECT
        CAST(CASE WHEN t.expires_at < CAST('<time>+00' AS timestamptz) THEN t.expires_at END AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(COALESCE(t.project_id, (SELECT min(l.project_id) FROM public.project_deploy_tokens l WHERE l.deploy_token_id = t.id)) AS bigint)], NULL) AS projects,
        array_remove(ARRAY[CAST(COALESCE(t.group_id, (SELECT min(l.group_id) FROM public.group_deploy_tokens l WHERE l.deploy_token_id = t.id)) AS bigint)], NULL) AS groups
    ) own
    WHERE (t.revoked IS TRUE) IS NOT TRUE AND (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
DECLARE "stream_2" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('membership' AS text) AS kind,
      CAST((SELECT l.username FROM public.users l WHERE l.id = t.user_id) AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(t.user_id AS bigint) AS user_id,
      CAST(t.created_by_id AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.members t
    CROSS JOIN LATERAL (
      SELECT
        CAST(CASE
          WHEN t.expires_at < CAST('200000-01-01' AS date) THEN t.expires_at
          WHEN t.expires_at IS NOT NULL THEN CAST('infinity' AS date)
        END AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(CASE WHEN t.source_type = 'Project' THEN t.source_id END AS bigint)], NULL) AS projects,
        array_remove(ARRAY[CAST(CASE WHEN t.source_type = 'Namespace' THEN t.source_id END AS bigint)], NULL) AS groups
    ) own
    WHERE t.requested_at IS NULL
      AND EXISTS (SELECT FROM public.users l WHERE l.id = t.user_id AND l.user_type = 6)
      AND (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
SELECT u.id, u.username, u.state
    FROM public.users u
    WHERE u.id = ANY(CAST($1 AS bigint[]));

-- list
SELECT r.source_type, r.source_id, r.path
    FROM public.routes r
    WHERE (r.source_type = 'Project' AND r.source_id = ANY(CAST($1 AS bigint[])))
      OR (r.source_type = 'Namespace' AND r.source_id = ANY(CAST($2 AS bigint[])));

-- list
DECLARE "stream_3" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('ssh-key' AS text) AS kind,
      CAST(t.title AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(t.user_id AS bigint) AS user_id,
      CAST(NULL AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.keys t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(t.last_used_at AS timestamptz) AS used_at,
        CAST('{}' AS bigint[]) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE t.type IS DISTINCT FROM 'DeployKey'
      AND (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_3";

-- list
DECLARE "stream_4" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('deploy-key' AS text) AS kind,
      CAST(t.title AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS user_id,
      CAST(t.user_id AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.keys t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(t.last_used_at AS timestamptz) AS used_at,
        CAST(ARRAY(SELECT l.project_id FROM public.deploy_keys_projects l WHERE l.deploy_key_id = t.id ORDER BY l.id) AS bigint[]) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE t.type = 'DeployKey'
      AND (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_4";

-- list
CLOSE "stream_4";

-- list
DECLARE "stream_5" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('trigger' AS text) AS kind,
      CAST(t.description AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(t.owner_id AS bigint) AS user_id,
      CAST(NULL AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.ci_triggers t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(t.project_id AS bigint)], NULL) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_5";

-- list
CLOSE "stream_5";

-- list
DECLARE "stream_6" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('runner' AS text) AS kind,
      CAST(COALESCE(NULLIF(t.description, ''), t.name) AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS user_id,
      CAST(t.creator_id AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(t.description AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.ci_runners t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.token_expires_at AS timestamptz) AS ends_at,
        CAST(t.contacted_at AS timestamptz) AS used_at,
        CAST(ARRAY(SELECT l.project_id FROM public.ci_runner_projects l WHERE l.runner_id = t.id ORDER BY l.id) AS bigint[]) AS projects,
        CAST(ARRAY(SELECT l.namespace_id FROM public.ci_runner_namespaces l WHERE l.runner_id = t.id ORDER BY l.id) AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_6";

-- list
CLOSE "stream_6";

-- list
DECLARE "stream_7" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('secure-file' AS text) AS kind,
      CAST(t.name AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS user_id,
      CAST(NULL AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.ci_secure_files t
    CROSS JOIN LATERAL (
      SELECT
        CAST(t.expires_at AS timestamptz) AS ends_at,
        CAST(NULL AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST(t.project_id AS bigint)], NULL) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_7";

-- list
CLOSE "stream_7";

-- list
DECLARE "stream_8" CURSOR FOR 
    SELECT
      t.id AS id,
      CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text) AS expires_at,
      CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - CAST(now() AT TIME ZONE 'UTC' AS date) END AS in_days,
      CAST('agent' AS text) AS kind,
      CAST(t.name AS text) AS name,
      to_char(own.used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      CAST(NULL AS bigint) AS user_id,
      CAST(t.created_by_user_id AS bigint) AS creator_id,
      own.projects[1] AS project_id,
      own.groups[1] AS group_id,
      cardinality(own.projects) + cardinality(own.groups) AS places,
      CAST(NULL AS text) AS without_place,
      CAST(extract(epoch FROM own.ends_at) AS float8) AS sort_key
    FROM public.cluster_agent_tokens t
    CROSS JOIN LATERAL (
      SELECT
        CAST(NULL AS timestamptz) AS ends_at,
        CAST(t.last_used_at AS timestamptz) AS used_at,
        array_remove(ARRAY[CAST((SELECT l.project_id FROM public.cluster_agents l WHERE l.id = t.agent_id) AS bigint)], NULL) AS projects,
        CAST('{}' AS bigint[]) AS groups
    ) own
    WHERE (t.status = 1) IS NOT TRUE AND (own.ends_at IS NULL OR own.ends_at > now())
    ORDER BY sort_key ASC NULLS LAST, t.id;

-- list
FETCH FORWARD 2000 FROM "stream_8";

-- list
CLOSE "stream_8";

-- whose, rotate
SELECT
      COALESCE(personal_access_token_prefix, '') AS prefix,
      token_prefixes ->> 'instance_token_prefix' AS instance_prefix
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1;

-- whose
SELECT
      array_position(CAST($1 AS text[]), CAST(t.token_digest AS text)) - 1 AS place,
      t.id AS id,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END AS kind,
      u.username AS account,
      CASE WHEN u.user_type = 6 THEN COALESCE(place.path, (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )) ELSE u.username END AS owner,
      place.source_id AS place_id,
      t.name AS name,
      CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) THEN 'expired'
      ELSE 'active'
    END AS state,
      t.scopes AS scopes,
      t.expires_at::text AS expires_at,
      CASE WHEN isfinite(t.expires_at) THEN t.expires_at - (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) END AS in_days,
      to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      ARRAY(
        SELECT host(used.ip_address)
        FROM public.personal_access_token_last_used_ips used
        WHERE used.personal_access_token_id = t.id AND used.ip_address IS NOT NULL
        ORDER BY used.id
      ) AS ips,
      CAST(CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END AS text) AS membership_ends_at,
      clean_up.day::text AS clean_up_at,
      array_remove(ARRAY[
        CASE WHEN t.sixty_days_notification_sent_at IS NOT NULL THEN '60d ' || to_char(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.thirty_days_notification_sent_at IS NOT NULL THEN '30d ' || to_char(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.seven_days_notification_sent_at IS NOT NULL THEN '7d ' || to_char(t.seven_days_notification_sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        CASE WHEN t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL THEN '7d' END,
        CASE WHEN t.after_expiry_notification_delivered THEN 'expired' END
      ]::text[], NULL) AS warned,
      array_remove(ARRAY[
        CASE WHEN t.revoked IS NOT TRUE AND EXISTS (SELECT FROM public.members m WHERE (
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(t.expires_at, CAST('infinity' AS date))
    )) THEN 'membership-ends-first' END,
        CASE WHEN clean_up.day IS NOT NULL THEN 'clean-up' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date) + (
    SELECT s.max_personal_access_token_lifetime
    FROM public.application_settings s
    ORDER BY s.id DESC
    LIMIT 1
  ) THEN 'beyond-maximum' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'in-its-grace' END,
        CASE WHEN NOT (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (
        (EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        ))
        AND EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

          SELECT
          FROM line
          WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
        )
      ) THEN 'successor-works' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND u.state IS NOT DISTINCT FROM 'active' AND isfinite(LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)) AND (NOT COALESCE(
        LEAST(CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.sixty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 31 AND true
          THEN GREATEST(t.expires_at - 60, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.thirty_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 8 AND true
          THEN GREATEST(t.expires_at - 30, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END, CASE
          WHEN (t.expire_notification_delivered IS NOT TRUE AND t.seven_days_notification_sent_at IS NULL) AND t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date) + 0 AND true
          THEN GREATEST(t.expires_at - 7, CAST(now() AT TIME ZONE 'UTC' AS date) + 1)
        END) < LEAST(t.expires_at, CASE WHEN u.user_type = 6 THEN (
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL
      ) END)
        OR (CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.seven_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 7)
        OR (CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.thirty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 30)
        OR (CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) <= CAST(now() AT TIME ZONE 'UTC' AS date) AND t.expires_at <= CAST(t.sixty_days_notification_sent_at AT TIME ZONE 'UTC' AS date) + 60)
        OR (t.expire_notification_delivered AND t.seven_days_notification_sent_at IS NULL AND t.expires_at <= CAST(now() AT TIME ZONE 'UTC' AS date) + 7), false
      ) OR CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND looking_after.access_level >= CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active')
        ELSE true
      END) THEN 'nobody-warned' END,
        CASE WHEN (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))) AND (t.expire_notification_delivered IS TRUE OR t.after_expiry_notification_delivered IS TRUE OR t.seven_days_notification_sent_at IS NOT NULL OR t.thirty_days_notification_sent_at IS NOT NULL OR t.sixty_days_notification_sent_at IS NOT NULL) THEN 'warned' END,
        CASE WHEN false THEN 'legacy' END,
        CASE WHEN t.revoked IS NOT TRUE AND (
          t.expires_at BETWEEN CAST($2 AS date) AND CAST($3 AS date)
          AND t.created_at < CAST($4 AS timestamptz) AT TIME ZONE 'UTC'
        ) THEN 'migration-date' END,
        CASE WHEN u.state IS DISTINCT FROM 'active' THEN 'owner-inactive' END,
        CASE WHEN false THEN 'failed-tries' END
      ], NULL) AS flags,
      t.description AS description,
      u.state AS owner_state,
      ARRAY(
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT line.id
        FROM line
        ORDER BY line.id
      ) AS replaced_by
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY m.source_type = 'Project' DESC, m.source_id
      LIMIT 1
    ) place ON true

    LEFT JOIN LATERAL (
      SELECT LEAST(COALESCE(
        (
          SELECT upper(held.days)
          FROM unnest(
            datemultirange(daterange(NULL, GREATEST(max(CASE
            WHEN other.revoked IS NOT TRUE THEN LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            WHEN (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($5 AS integer) + 1) OR other.expires_at IS NULL THEN LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1)
            ELSE GREATEST(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1))
          END + CAST($5 AS integer)), CAST(now() AT TIME ZONE 'UTC' AS date)), '[]'))
            + COALESCE(
              range_agg(daterange(LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1), LEAST(other.expires_at, (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($5 AS integer), '[]')) FILTER (WHERE (other.revoked IS TRUE AND other.expires_at > LEAST(CAST(other.updated_at AS date), (CAST(now() AT TIME ZONE 'UTC' AS date) + 36600) + 1) + CAST($5 AS integer) + 1)),
              datemultirange()
            )
          ) AS held (days)
          WHERE held.days @> CAST(now() AT TIME ZONE 'UTC' AS date) + 1
        ),
        CAST(now() AT TIME ZONE 'UTC' AS date) + 1
      ), GREATEST(COALESCE((
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = min(other.user_id) AND m.requested_at IS NULL
      ), CAST('infinity' AS date)), CAST(now() AT TIME ZONE 'UTC' AS date) + 1)) AS day
      FROM public.personal_access_tokens other
      WHERE u.user_type = 6 AND other.user_id = t.user_id
      HAVING NOT bool_or(COALESCE((other.revoked IS NOT TRUE AND COALESCE(other.expires_at, CAST('infinity' AS date)) > CAST(now() AT TIME ZONE 'UTC' AS date)), false))
    ) clean_up ON true
    WHERE t.token_digest = ANY(CAST($1 AS text[]));

-- history
SELECT
      a.number, a.carried_out_by, a.process, a.tool_version, a.stopped_because,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS started_at,
      to_char(a.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS ended_at
    FROM token_tasks.attempts a
    WHERE a.run_id = $1
    ORDER BY a.number;

-- history
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

-- history
SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new,
      to_char(c.done_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS done_at,
      c.token_ids, c.left_alone, c.locked, kept.accounts, kept.tokens, kept.paths,
      today.accounts AS accounts_now, today.tokens AS tokens_now, today.paths AS paths_now
    FROM (
      SELECT c.*
      FROM token_tasks.chunks c
      WHERE c.run_id = $1 AND c.position >= $2
      ORDER BY c.position
      LIMIT $3
    ) c
    -- A chunk that was cut in two has its names in one row, as before.
    LEFT JOIN LATERAL (
      SELECT
        n.accounts[cut.first : cut.last] AS accounts,
        n.tokens[cut.first : cut.last] AS tokens,
        n.paths[cut.first : cut.last] AS paths
      FROM token_tasks.names n
      CROSS JOIN LATERAL (
        SELECT
          CAST(c.position - n.position AS integer) + 1 AS first,
          CAST(c.position - n.position AS integer) + cardinality(c.token_ids) AS last
      ) cut
      WHERE n.run_id = c.run_id AND n.position <= c.position
      ORDER BY n.position DESC
      LIMIT 1
    ) kept ON true
    CROSS JOIN LATERAL (
      SELECT
        array_agg(u.username ORDER BY one.place) AS accounts,
        array_agg(t.name ORDER BY one.place) AS tokens,
        array_agg(CASE WHEN u.user_type = 6 THEN COALESCE(
        (
          SELECT r.path
          FROM public.members m
          LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
          WHERE m.user_id = u.id AND m.requested_at IS NULL
          ORDER BY m.source_type = 'Project' DESC, m.source_id
          LIMIT 1
        ),
        (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )
      ) END ORDER BY one.place) AS paths
      FROM unnest(c.token_ids) WITH ORDINALITY AS one (id, place)
      LEFT JOIN public.personal_access_tokens t ON t.id = one.id
      LEFT JOIN public.users u ON u.id = t.user_id
    ) today
    ORDER BY c.position;

-- rotate
SELECT
      t.id, t.name, t.description AS description, u.username, t.user_id, u.user_type,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
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
      t.organization_id AS organization_id,
      t.impersonation,
      t.granular AS granular,
      (
        SELECT count(*)
        FROM public.personal_access_token_granular_scopes g
        WHERE g.personal_access_token_id = t.id
      ) AS granular_scopes,
      t.sudo AS sudo,
      COALESCE(CAST(NULL AS bigint), CAST(NULL AS bigint)) AS unfinished_run
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE TRUE
      AND (t.name = CAST($1 AS text) OR t.id = CAST($2 AS bigint))
    ORDER BY abs(CASE WHEN isfinite(t.expires_at) THEN t.expires_at - CAST(now() AT TIME ZONE 'UTC' AS date) END) NULLS LAST, t.expires_at NULLS LAST, t.id;

-- rotate
SELECT
      t.id, t.name, COALESCE(t.revoked, false) AS revoked, t.user_id, t.impersonation, t.granular AS granular,
      t.sudo AS sudo, t.scopes, t.organization_id AS organization_id, COALESCE(u.admin, false) AS admin,
      u.username, COALESCE(u.user_type, 0) AS user_type, u.state, u.id IS NOT NULL AS owned,
      (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT max(line.id)
        FROM line
        WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
      ) AS live_successor, (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT max(line.id)
        FROM line
        WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) AND (line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))) IS NOT TRUE
      ) AS idle_successor,
      CAST(NULL AS bigint) AS unfinished_run, CAST(NULL AS bigint) AS made_by
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id = ANY(CAST($1 AS bigint[]));

-- rotate
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

-- rotate
SELECT count(DISTINCT m.id) AS members
    FROM public.users u
    JOIN public.members m ON m.user_id = u.id
    WHERE u.id = ANY(CAST($1 AS bigint[]))
      AND u.user_type = 13
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE(CAST($2 AS date), CAST('infinity' AS date));

-- rotate
INSERT INTO token_tasks.rotations (run_id, token_id, old_expires_at, new_expires_at, grace_until, new_owner_id)
    VALUES (
      $1, $2, CAST($3 AS date), CAST($4 AS date), CAST($5 AS date),
      CAST($6 AS bigint)
    );

-- rotate
UPDATE token_tasks.rotations p
    SET account = u.username, name = t.name, path = CASE WHEN u.user_type = 6 THEN COALESCE(
        (
          SELECT r.path
          FROM public.members m
          LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
          WHERE m.user_id = u.id AND m.requested_at IS NULL
          ORDER BY m.source_type = 'Project' DESC, m.source_id
          LIMIT 1
        ),
        (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )
      ) END
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE p.run_id = $1 AND t.id = p.token_id;

-- rotate
WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        SELECT 10 AS place, r.token_id AS key, concat('rotations ', r.token_id, ' ',
          encode(sha256(CAST(replace(CAST(jsonb_build_object(
          'successor_id', r.successor_id, 'state', r.state, 'old_expires_at', r.old_expires_at,
          'new_expires_at', r.new_expires_at, 'grace_until', r.grace_until, 'old_member_expires_at', r.old_member_expires_at,
          'new_owner_id', r.new_owner_id, 'account', r.account, 'name', r.name,
          'path', r.path, 'successor_name', r.successor_name, 'delivered_to', r.delivered_to,
          'changed_at', r.changed_at AT TIME ZONE 'UTC', 'given_up', CAST(r.given_up AS text), 'member_ids', CAST(r.member_ids AS text)
        ) AS text), chr(92), repeat(chr(92), 2)) AS bytea)), 'hex')
        ) AS line
        FROM token_tasks.rotations r
        WHERE r.run_id = $1 AND r.token_id = ANY (CAST($2 AS bigint[]))
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET entries = r.entries + 1,
        chain = sha256(r.chain || convert_to(concat(
          r.id, ' ', r.entries + 1, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          'state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines
        ), 'UTF8'))
      FROM found
      WHERE r.id = $1 AND r.chain IS NOT NULL
      RETURNING r.id, r.entries, concat('state ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'state', r.state, 'changed', r.changed, 'changed_meanwhile', r.changed_meanwhile,
          'locked', r.locked, 'attempt', r.attempt, 'recounted', r.recounted,
          'withdrawn_by', r.withdrawn_by, 'withdrawn_because', r.withdrawn_because, 'finished_at', r.finished_at AT TIME ZONE 'UTC',
          'withdrawn_at', r.withdrawn_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex'), found.lines) AS written, r.chain
    )
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered;

-- rotate
BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '30s', true), pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- rotate
UPDATE token_tasks.runs
    SET heartbeat_at = clock_timestamp()
    WHERE id = $1 AND attempt = $2 AND state = 'running';

-- rotate
SELECT
      p.state, p.successor_id, p.old_expires_at::text AS old_expires_at, p.new_expires_at::text AS new_expires_at,
      p.grace_until::text AS grace_until, p.new_owner_id, u.username AS new_owner, r.memberships,
      CAST(p.changed_at AT TIME ZONE 'UTC' AS text) AS changed_at
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id
    LEFT JOIN public.users u ON u.id = p.new_owner_id
    WHERE p.run_id = $1 AND p.token_id = $2
    FOR UPDATE OF p;

-- rotate
SELECT t.user_id, t.organization_id AS organization_id
    FROM public.personal_access_tokens t
    WHERE t.id = $1
    FOR UPDATE;

-- rotate
INSERT INTO public.personal_access_tokens
      (user_id, name, description, scopes, impersonation, organization_id, group_id, granular, sudo, user_type, expires_at, token_digest, previous_personal_access_token_id, created_at, updated_at)
    SELECT
      u.id, t.name, t.description, t.scopes, t.impersonation, t.organization_id, CASE
        WHEN COALESCE(u.user_type, 0) = 6 THEN (
        SELECT top.id
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id) AND top.type = 'Group'
        WHERE d.user_id = u.id
      )
        WHEN COALESCE(u.user_type, 0) = 13 THEN (
        SELECT top.id
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.provisioned_by_group_id
        JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id) AND top.type = 'Group'
        WHERE d.user_id = u.id
      )
        WHEN COALESCE(u.user_type, 0) = 0 THEN (
        SELECT n.id
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.enterprise_group_id
        WHERE d.user_id = u.id
      )
        END, t.granular, t.sudo, u.user_type, CAST($1 AS date), CAST($2 AS text), CASE WHEN u.id = t.user_id THEN t.id END, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = COALESCE(CAST($3 AS bigint), t.user_id)
    WHERE t.id = $4
    ON CONFLICT DO NOTHING
    RETURNING id;

-- rotate
INSERT INTO public.personal_access_token_granular_scopes
      (organization_id, personal_access_token_id, granular_scope_id)
    SELECT g.organization_id, $1, g.granular_scope_id
    FROM public.personal_access_token_granular_scopes g
    WHERE g.personal_access_token_id = $2
    ORDER BY g.id;

-- rotate
UPDATE token_tasks.rotations
    SET
      member_ids = CAST($1 AS bigint[]),
      old_member_expires_at = CAST($2 AS date[])
    WHERE run_id = $3 AND token_id = $4;

-- rotate
UPDATE token_tasks.rotations
    SET
      given_up = array_remove(given_up || successor_id, NULL),
      successor_id = $1,
      successor_name = (SELECT t.name FROM public.personal_access_tokens t WHERE t.id = $1)
    WHERE run_id = $2 AND token_id = $3;

-- rotate
UPDATE token_tasks.rotations
    SET state = $1, changed_at = GREATEST(changed_at, now())
    WHERE run_id = $2 AND token_id = $3;

-- rotate
UPDATE token_tasks.rotations
    SET delivered_to = $1
    WHERE run_id = $2 AND token_id = $3;

-- rotate
SELECT
      t.id,
      t.revoked IS TRUE AS revoked,
      t.expires_at::text AS expires_at,
      t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)) AS live,
      t.created_at <= CAST($1 AS timestamp) AS noted,
      u.state AS owner_state
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id IN ($2, CAST($3 AS bigint))
    ORDER BY t.id
    FOR UPDATE OF t;

-- rotate
UPDATE public.personal_access_tokens
    SET revoked = true, updated_at = now() AT TIME ZONE 'UTC'
    WHERE id = $1 AND revoked IS NOT TRUE;

-- rotate
UPDATE token_tasks.runs
    SET changed = changed + $1, changed_meanwhile = changed_meanwhile + $2
    WHERE id = $3;

-- rotate
SELECT
      r.id, r.kind, r.undoes, r.state, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.planned_by,
      r.withdrawn_by, a.carried_out_by, encode(r.chain, 'hex') AS chain
    FROM token_tasks.runs r
    LEFT JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.id = $1 AND r.state <> 'running';

-- rotate
WITH named AS (
      (
        SELECT n.position, n.accounts, n.tokens
        FROM token_tasks.names n
        WHERE n.run_id = $1
        ORDER BY n.position
        LIMIT $2
      )
      UNION ALL
      SELECT p.token_id, ARRAY[p.account], ARRAY[p.name]
      FROM token_tasks.rotations p
      WHERE p.run_id = $1
    )
    SELECT one.account, one.token
    FROM named n
    CROSS JOIN LATERAL unnest(n.accounts, n.tokens) WITH ORDINALITY AS one (account, token, place)
    WHERE one.token IS NOT NULL
    ORDER BY n.position, one.place
    LIMIT $2;

-- history
SELECT
      p.token_id, p.account, p.name, p.path, p.delivered_to,
      CASE WHEN p.state <> 'abandoned' THEN p.successor_name END AS successor_name,
      u.username AS account_now, t.name AS name_now, CASE WHEN u.user_type = 6 THEN COALESCE(
        (
          SELECT r.path
          FROM public.members m
          LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
          WHERE m.user_id = u.id AND m.requested_at IS NULL
          ORDER BY m.source_type = 'Project' DESC, m.source_id
          LIMIT 1
        ),
        (
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )
      ) END AS path_now,
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
      t.expires_at::text AS old_now, new_owner.username AS new_account
    FROM (
      SELECT p.*
      FROM token_tasks.rotations p
      WHERE p.run_id = $1 AND p.token_id > $2
      ORDER BY p.token_id
      LIMIT $3
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.token_id
    LEFT JOIN public.users u ON u.id = t.user_id
    LEFT JOIN public.users new_owner ON new_owner.id = p.new_owner_id
    ORDER BY p.token_id;

-- revoke
COPY (
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.name LIKE CAST('%' AS text)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))
    GROUP BY t.expires_at, t.id >> 16
) TO STDOUT (FORMAT csv);

-- revoke
WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        CASE WHEN t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN CAST('-infinity' AS date) END AS expires_at,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)))) AND t.last_used_at >= now() - interval '24 hours')) AS used,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((true IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (true AND CAST(now() AT TIME ZONE 'UTC' AS timestamp) >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active,
        count(*) FILTER (WHERE (true IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS will_be_active,
        count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.name LIKE CAST($3 AS text)
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, 
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
 AS kind, 
    CASE
      WHEN t.revoked IS TRUE THEN 'revoked'
      WHEN t.revoked IS NOT TRUE AND t.expires_at <= (SELECT CAST(now() AT TIME ZONE 'UTC' AS date)) THEN 'expired'
      ELSE 'active'
    END
 AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.used) AS used,
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
      FROM kinds k
      WHERE (k.kind, k.state) IN (('personal', 'active'), ('project', 'active'), ('group', 'active'), ('service-account', 'active'), ('other', 'active'))
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.used), 0)::bigint AS used,
      count(*) FILTER (WHERE o.used > 0) AS used_owners,
      count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots,
      count(*) FILTER (WHERE (NOT (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding) AND o.active > 0 AND bot.active = o.active)) AS last_of_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE o.state <> 'active'), 0)::bigint AS blocked,
      count(*) FILTER (WHERE o.state <> 'active') AS blocked_owners,
      (
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM (
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
) c
      ) AS counts
    FROM chosen o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- revoke
WITH replaced AS MATERIALIZED (
      SELECT t.id, t.user_id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE t.name LIKE CAST($1 AS text)
  AND NOT t.impersonation
  AND t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        AND t.revoked IS NOT TRUE
        AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT
      t.id,
      EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      ) AS stands,
      EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
      ) AS works
    FROM replaced t
    ORDER BY t.id;

-- revoke
WITH unlocked AS MATERIALIZED (
      SELECT t.id, chunk.position, t.revoked, t.updated_at
      FROM unnest(
        CAST($1 AS bigint[]), CAST($2 AS date[]), CAST($3 AS date[]), CAST($4 AS text[])
      ) AS chunk (position, old, new, ids)
      CROSS JOIN LATERAL unnest(CAST(chunk.ids AS bigint[])) AS wanted (id)
      JOIN public.personal_access_tokens t ON t.id = wanted.id
      WHERE t.revoked IS NOT TRUE
        AND t.expires_at IS NOT DISTINCT FROM chunk.old
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    ), kept AS (
      INSERT INTO token_tasks.revocations (run_id, position, token_ids, revoked, updated_at, revoked_at)
      SELECT
        CAST($5 AS bigint), t.position, array_agg(t.id ORDER BY t.id), array_agg(t.revoked ORDER BY t.id),
        array_agg(t.updated_at ORDER BY t.id), CAST(now() AT TIME ZONE 'UTC' AS timestamp)
      FROM unlocked t
      GROUP BY t.position
    )
    UPDATE public.personal_access_tokens t
    SET revoked = true, updated_at = CAST(now() AT TIME ZONE 'UTC' AS timestamp)
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

-- revoke
SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[]))
      AND revoked IS TRUE;

-- undo
DECLARE "stream_1" CURSOR FOR 
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
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.revoked IS NOT TRUE
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

-- undo
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
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.revoked IS NOT TRUE
      WHERE p.id <> ALL (p.others)
    )
    SELECT count(*) AS tokens FROM put_back;

-- undo
DECLARE "stream_2" CURSOR FOR 
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
      JOIN public.personal_access_tokens t ON t.id = p.id AND t.revoked IS NOT TRUE
      WHERE p.id <> ALL (p.others)
    )
    SELECT kept.id
    FROM token_tasks.revocations n
    CROSS JOIN LATERAL unnest(n.token_ids) AS kept (id)
    LEFT JOIN public.personal_access_tokens t ON t.id = kept.id
    WHERE n.run_id = $1
      AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at) IS NOT TRUE
      AND kept.id NOT IN (SELECT b.id FROM put_back b)
    ORDER BY kept.id;

-- undo
WITH replaced AS MATERIALIZED (
      SELECT t.id, t.user_id
      FROM public.personal_access_tokens t
      JOIN (
        SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at, c.old_expires_at
        FROM token_tasks.revocations n
        JOIN token_tasks.chunks c ON c.run_id = n.run_id AND c.position = n.position
        CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
        WHERE n.run_id = $1
        OFFSET 0 -- each array is taken apart once
      ) n ON n.id = t.id AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at)
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE TRUE
        AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
        AND EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )
    )
    SELECT
      t.id,
      EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE
      ) AS stands,
      EXISTS (
        WITH RECURSIVE line AS (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = line.id AND s.previous_personal_access_token_id IS NOT NULL
          ) s
        )

        SELECT
        FROM line
        WHERE line.revoked IS NOT TRUE AND (line.expires_at IS NULL OR line.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))
      ) AS works
    FROM replaced t
    ORDER BY t.id;

-- undo
SELECT t.id
    FROM public.personal_access_tokens t
      JOIN (
        SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at, c.old_expires_at
        FROM token_tasks.revocations n
        JOIN token_tasks.chunks c ON c.run_id = n.run_id AND c.position = n.position
        CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
        WHERE n.run_id = $1
        OFFSET 0 -- each array is taken apart once
      ) n ON n.id = t.id AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at)
    JOIN public.users u ON u.id = t.user_id AND u.state = 'active'
    WHERE t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)
    ORDER BY t.id;

-- undo
WITH owners AS (
      SELECT
        t.user_id,
        u.user_type,
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE ((n.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (n.revoked AND n.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS will_hold,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active,
        count(*) FILTER (WHERE (n.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS will_be_active
      FROM public.personal_access_tokens t
      JOIN (
        SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at, c.old_expires_at
        FROM token_tasks.revocations n
        JOIN token_tasks.chunks c ON c.run_id = n.run_id AND c.position = n.position
        CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
        WHERE n.run_id = $3
        OFFSET 0 -- each array is taken apart once
      ) n ON n.id = t.id AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at)
      LEFT JOIN public.users u ON u.id = t.user_id
      GROUP BY t.user_id, u.user_type
    )
    SELECT count(*) FILTER (WHERE (o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)) AS doomed_bots
    FROM owners o
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE ((t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > (CAST($1 AS date) + 1)) OR t.expires_at BETWEEN ((CAST($1 AS date) + 1) - CAST($2 AS integer)) AND (CAST($1 AS date) + 1) OR (t.revoked AND t.updated_at >= ((CAST($1 AS date) + 1) - CAST($2 AS integer))))) AS holding,
        count(*) FILTER (WHERE (t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > CAST($1 AS date))) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6;

-- undo
SELECT count(*) AS tokens FROM public.personal_access_tokens t
      JOIN (
        SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at, c.old_expires_at
        FROM token_tasks.revocations n
        JOIN token_tasks.chunks c ON c.run_id = n.run_id AND c.position = n.position
        CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
        WHERE n.run_id = $1
        OFFSET 0 -- each array is taken apart once
      ) n ON n.id = t.id AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at) WHERE t.expires_at IS DISTINCT FROM n.old_expires_at;

-- undo
WITH undone AS MATERIALIZED (
      SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at
      FROM (
        SELECT DISTINCT (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = $1 AND c.position <= mine.position
        ) AS position
        FROM unnest(CAST($2 AS bigint[])) AS mine (position)
      ) chunk
      JOIN token_tasks.revocations n ON n.run_id = $1 AND n.position = chunk.position
      CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
    ),
    unlocked AS MATERIALIZED (
      SELECT t.id, n.revoked, n.updated_at
      FROM undone n
      JOIN public.personal_access_tokens t ON t.id = n.id
      WHERE n.id IN (SELECT unnest(CAST($3 AS bigint[])))
        AND (t.revoked IS TRUE AND t.updated_at = n.revoked_at)
      ORDER BY t.id
      FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE public.personal_access_tokens t
    SET revoked = unlocked.revoked, updated_at = unlocked.updated_at
    FROM unlocked
    WHERE t.id = unlocked.id
    RETURNING t.id;

-- undo
SELECT count(*) AS tokens
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST($1 AS bigint[]))
      AND revoked IS NOT TRUE
      AND created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = $2
      );

-- rotate
SELECT named.name, count(owner.id) AS found
    FROM unnest(CAST($1 AS text[])) AS named (name)
    LEFT JOIN public.users owner ON lower(owner.username) = lower(named.name)
    GROUP BY named.name
    HAVING count(owner.id) <> 1
    ORDER BY named.name;

-- rotate
SELECT
      t.id, t.name, t.description AS description, u.username, t.user_id, u.user_type,
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
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
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
      t.organization_id AS organization_id,
      t.impersonation,
      t.granular AS granular,
      (
        SELECT count(*)
        FROM public.personal_access_token_granular_scopes g
        WHERE g.personal_access_token_id = t.id
      ) AS granular_scopes,
      t.sudo AS sudo,
      COALESCE(CAST(NULL AS bigint), CAST(NULL AS bigint)) AS unfinished_run
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.user_id IN (
    SELECT owner.id
    FROM public.users owner
    WHERE lower(owner.username) IN (SELECT lower(name) FROM unnest(CAST($1 AS text[])) AS named (name))
  )
      AND (t.revoked IS NOT TRUE AND (t.expires_at IS NULL OR t.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date)))
    ORDER BY abs(CASE WHEN isfinite(t.expires_at) THEN t.expires_at - CAST(now() AT TIME ZONE 'UTC' AS date) END) NULLS LAST, t.expires_at NULLS LAST, t.id;

-- rotate
SELECT
      u.id, u.username, COALESCE(u.user_type, 0) AS user_type, u.state, COALESCE(u.admin, false) AS admin,
      u.organization_id AS organization_id,
      (
        SELECT r.path
        FROM public.routes r
        WHERE r.source_type = 'Project' AND r.source_id = d.provisioned_by_project_id
      ) AS by_project,
      made_by.path AS by_group,
      (SELECT r.path FROM public.routes r WHERE r.source_type = 'Namespace' AND r.source_id = top.id) AS top_group
    FROM public.users u
    LEFT JOIN public.user_details d ON d.user_id = u.id
    LEFT JOIN public.namespaces n ON n.id = d.provisioned_by_group_id
    LEFT JOIN public.routes made_by ON made_by.source_type = 'Namespace' AND made_by.source_id = n.id
    LEFT JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id)
    WHERE lower(u.username) = lower(CAST($1 AS text))
    ORDER BY u.id;

-- rotate
SELECT EXISTS (
      SELECT
      FROM public.members m
      WHERE m.user_id = $1 AND m.requested_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
    ) AS found;

-- rotate
SELECT
      r.path, max(m.access_level) AS access_level, string_agg(DISTINCT person.username, ', ') AS people,
      count(*) OVER () AS places
    FROM public.members m
    JOIN public.users person ON person.id = m.user_id
    JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
    LEFT JOIN public.projects p ON m.source_type = 'Project' AND p.id = m.source_id
    LEFT JOIN public.namespaces n ON n.id = COALESCE(p.namespace_id, m.source_id)
    WHERE m.user_id = ANY(CAST($1 AS bigint[]))
      AND m.requested_at IS NULL
      AND (m.expires_at IS NULL OR m.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
      AND NOT EXISTS (
        SELECT
        FROM public.members own
        WHERE own.user_id = $2
          AND own.requested_at IS NULL
          AND (own.expires_at IS NULL OR own.expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
          AND own.access_level >= m.access_level
          AND (
            own.source_type = m.source_type AND own.source_id = m.source_id
            OR own.source_type = 'Namespace' AND (own.source_id = n.id OR own.source_id = ANY (n.traversal_ids))
          )
      )
    GROUP BY r.path
    ORDER BY r.path
    LIMIT 8;

-- rotate
SELECT
      u.id, u.username, COALESCE(u.user_type, 0) AS user_type, u.state, COALESCE(u.admin, false) AS admin,
      u.organization_id AS organization_id,
      (
        SELECT r.path
        FROM public.routes r
        WHERE r.source_type = 'Project' AND r.source_id = d.provisioned_by_project_id
      ) AS by_project,
      made_by.path AS by_group,
      (SELECT r.path FROM public.routes r WHERE r.source_type = 'Namespace' AND r.source_id = top.id) AS top_group
    FROM public.users u
    LEFT JOIN public.user_details d ON d.user_id = u.id
    LEFT JOIN public.namespaces n ON n.id = d.provisioned_by_group_id
    LEFT JOIN public.routes made_by ON made_by.source_type = 'Namespace' AND made_by.source_id = n.id
    LEFT JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id)
    WHERE u.id = $1
    ORDER BY u.id;

-- journal.prune
SELECT count(*) AS runs 
    FROM token_tasks.runs r
    WHERE r.state <> 'running'
      -- A successor that was made, but not delivered, is to be revoked when the run is resumed.
      AND NOT EXISTS (
        SELECT FROM token_tasks.rotations p
        WHERE p.run_id = r.id AND p.state NOT IN ('planned', 'done', 'abandoned')
      )
      -- While a token is not revoked that was replaced, it works or can be made to work again: it is to be known that
      -- it was replaced, and by what.
      AND r.id NOT IN (
        WITH RECURSIVE replaced AS (
          SELECT p.run_id, p.token_id, p.successor_id
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens t ON t.id = p.token_id AND t.revoked IS NOT TRUE
          WHERE p.state NOT IN ('planned', 'abandoned')
          UNION
          SELECT p.run_id, p.token_id, p.successor_id
          FROM replaced
          JOIN token_tasks.rotations p ON p.token_id = replaced.successor_id AND p.state NOT IN ('planned', 'abandoned')
        )
        SELECT p.run_id FROM replaced p
        WHERE NOT EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.id = p.successor_id AND s.previous_personal_access_token_id = p.token_id
        )
      )
      -- An undo that may go on needs what it undoes.
      AND NOT EXISTS (SELECT FROM token_tasks.runs u WHERE u.undoes = r.id AND u.state NOT IN ('done', 'withdrawn'))
      AND r.created_at < CAST($1 AS timestamp) AT TIME ZONE 'UTC';

-- journal.prune
BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('array_nulls', 'on', true), pg_catalog.set_config('statement_timeout', '10min', true), pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true), pg_catalog.set_config('synchronous_commit', pg_catalog.replace(pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true);

-- journal.prune
SELECT r.id, r.chain 
    FROM token_tasks.runs r
    WHERE r.state <> 'running'
      -- A successor that was made, but not delivered, is to be revoked when the run is resumed.
      AND NOT EXISTS (
        SELECT FROM token_tasks.rotations p
        WHERE p.run_id = r.id AND p.state NOT IN ('planned', 'done', 'abandoned')
      )
      -- While a token is not revoked that was replaced, it works or can be made to work again: it is to be known that
      -- it was replaced, and by what.
      AND r.id NOT IN (
        WITH RECURSIVE replaced AS (
          SELECT p.run_id, p.token_id, p.successor_id
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens t ON t.id = p.token_id AND t.revoked IS NOT TRUE
          WHERE p.state NOT IN ('planned', 'abandoned')
          UNION
          SELECT p.run_id, p.token_id, p.successor_id
          FROM replaced
          JOIN token_tasks.rotations p ON p.token_id = replaced.successor_id AND p.state NOT IN ('planned', 'abandoned')
        )
        SELECT p.run_id FROM replaced p
        WHERE NOT EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.id = p.successor_id AND s.previous_personal_access_token_id = p.token_id
        )
      )
      -- An undo that may go on needs what it undoes.
      AND NOT EXISTS (SELECT FROM token_tasks.runs u WHERE u.undoes = r.id AND u.state NOT IN ('done', 'withdrawn'))
      AND r.created_at < CAST($1 AS timestamp) AT TIME ZONE 'UTC'

    FOR UPDATE OF r;

-- journal.prune
SELECT r.id
    FROM token_tasks.runs r
    WHERE r.undoes = ANY (CAST($1 AS bigint[])) AND r.id <> ALL (CAST($1 AS bigint[]))
    ORDER BY r.id;

-- journal.prune
WITH gone AS (DELETE FROM token_tasks.entries WHERE run_id = ANY (CAST($1 AS bigint[])))
    DELETE FROM token_tasks.runs WHERE id = ANY (CAST($1 AS bigint[]));

-- journal.prune
INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, sha256(COALESCE(before.chain, '') || convert_to(concat(
          0, ' ', this.number, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          this.written
        ), 'UTF8'))
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        SELECT line.place, one.run AS key, concat('run ', one.run, ' ', line.chain) AS line
        FROM unnest(CAST($1 AS bigint[]), CAST($2 AS text[])) AS one (run, chain)
        CROSS JOIN LATERAL (VALUES (0, one.chain), (1, '-')) AS line (place, chain)
        WHERE line.chain IS NOT NULL
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines;

-- journal.prune
INSERT INTO token_tasks.settings (name, value, set_by, because)
    VALUES ($1, CAST($2 AS jsonb), CAST($3 AS jsonb), $4)
    RETURNING id;

-- journal.prune
INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, sha256(COALESCE(before.chain, '') || convert_to(concat(
          0, ' ', this.number, ' ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
          this.written
        ), 'UTF8'))
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        SELECT 11 AS place, r.id AS key, concat('settings ', r.id, ' ',
          encode(sha256(convert_to(CAST(jsonb_build_object(
          'name', r.name, 'value', r.value, 'set_by', r.set_by,
          'because', r.because, 'set_at', r.set_at AT TIME ZONE 'UTC'
        ) AS text), CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)), 'hex')
        ) AS line
        FROM token_tasks.settings r
        WHERE r.id = ANY (CAST($1 AS bigint[]))
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines;

-- journal.uninstall
SELECT
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id AND r.state <> 'done'
    WHERE p.state IN ('created', 'verified', 'delivering');

-- journal.uninstall
SELECT count(*) AS runs FROM token_tasks.runs;

-- journal.uninstall
SELECT token_tasks.alembic_version.version_num 
FROM token_tasks.alembic_version;

-- journal.uninstall
DROP TABLE
            token_tasks.entries, token_tasks.settings, token_tasks.names, token_tasks.revocations;
        DELETE FROM token_tasks.runs WHERE kind = 'revoke' OR state = 'withdrawn';

        ALTER TABLE token_tasks.rotations DROP COLUMN new_owner_id;
        ALTER TABLE token_tasks.rotations
            DROP COLUMN delivered_to,
            DROP COLUMN successor_name,
            DROP COLUMN path,
            DROP COLUMN name,
            DROP COLUMN account;

        ALTER TABLE token_tasks.runs
            DROP COLUMN chain,
            DROP COLUMN entries,
            DROP COLUMN recounted,
            DROP COLUMN policy,
            DROP COLUMN withdrawn_because,
            DROP COLUMN withdrawn_at,
            DROP COLUMN withdrawn_by,
            DROP CONSTRAINT runs_state_check,
            ADD CONSTRAINT runs_state_check CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done')),
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo', 'rotate'));;

-- journal.uninstall
UPDATE token_tasks.alembic_version SET version_num='3' WHERE token_tasks.alembic_version.version_num = '4';

-- journal.uninstall
ALTER TABLE token_tasks.notices
            DROP CONSTRAINT notices_pkey,
            DROP COLUMN id,
            REPLICA IDENTITY FULL;

        CREATE INDEX index_notices_on_run_id_and_position ON token_tasks.notices (run_id, position);

        ALTER TABLE token_tasks.memberships
            DROP CONSTRAINT memberships_pkey,
            DROP COLUMN id,
            DROP COLUMN other_token_ids,
            DROP COLUMN other_expires_at,
            REPLICA IDENTITY FULL;

        CREATE INDEX index_memberships_on_run_id_and_position ON token_tasks.memberships (run_id, position);;

-- journal.uninstall
UPDATE token_tasks.alembic_version SET version_num='2' WHERE token_tasks.alembic_version.version_num = '3';

-- journal.uninstall
DROP TABLE token_tasks.rotations;
        DELETE FROM token_tasks.runs WHERE kind = 'rotate';

        ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo'));;

-- journal.uninstall
UPDATE token_tasks.alembic_version SET version_num='1' WHERE token_tasks.alembic_version.version_num = '2';

-- journal.uninstall
DROP TABLE
            token_tasks.memberships, token_tasks.notices, token_tasks.chunks, token_tasks.attempts, token_tasks.runs;

-- journal.uninstall
DELETE FROM token_tasks.alembic_version WHERE token_tasks.alembic_version.version_num = '1';

-- journal.uninstall
DROP TABLE token_tasks.alembic_version;

-- journal.uninstall
DROP SCHEMA token_tasks;

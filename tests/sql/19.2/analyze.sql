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

SELECT CASE WHEN started_at BETWEEN '0002-01-01' AND '9999-01-01' THEN started_at END AS started_at, CASE WHEN finished_at BETWEEN '0002-01-01' AND '9999-01-01' THEN finished_at END AS finished_at
    FROM public.batched_background_migrations
    WHERE job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt'
      AND table_name = 'personal_access_tokens'
      AND column_name = 'id'
    ORDER BY id
    LIMIT 1;

SELECT t.expires_at::text AS expires_at, count(*) AS tokens
    FROM public.personal_access_tokens t
    GROUP BY t.expires_at
    ORDER BY count(*) DESC, t.expires_at DESC
    LIMIT CAST($1 AS bigint);

COMMIT;

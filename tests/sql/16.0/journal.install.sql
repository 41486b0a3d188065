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

COMMIT;

BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('idle_in_transaction_session_timeout', '60s', true), pg_catalog.set_config('transaction_timeout', '0', true);

select pg_catalog.version();

select current_schema();

show transaction isolation level;

show standard_conforming_strings;

ROLLBACK;

SELECT pg_advisory_xact_lock(hashtext($1));

SELECT pg_catalog.set_config('lock_timeout', '10s', true);

SELECT pg_catalog.pg_class.relname 
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace 
WHERE pg_catalog.pg_class.relname IN ($1::VARCHAR) AND pg_catalog.pg_class.relkind = ANY (ARRAY[$2::VARCHAR, $3::VARCHAR, $4::VARCHAR, $5::VARCHAR, $6::VARCHAR]) AND pg_catalog.pg_namespace.nspname = $7::VARCHAR;

SELECT pg_catalog.pg_namespace.nspname 
FROM pg_catalog.pg_namespace 
WHERE pg_catalog.pg_namespace.nspname = $1::VARCHAR;

CREATE SCHEMA token_tasks;

CREATE TABLE token_tasks.alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

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

INSERT INTO token_tasks.alembic_version (version_num) VALUES ('1') RETURNING token_tasks.alembic_version.version_num;

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

UPDATE token_tasks.alembic_version SET version_num='2' WHERE token_tasks.alembic_version.version_num = '1';

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

UPDATE token_tasks.alembic_version SET version_num='3' WHERE token_tasks.alembic_version.version_num = '2';

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

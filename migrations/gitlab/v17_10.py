"""GitLab 17.10: instances can put a prefix of their own before every token; runners lie in a part for each type."""

from alembic import op

revision = "17.10"
down_revision = "17.9"


def upgrade() -> None:
    # That the setting instance_token_prefix lives in this column is not verified.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250301000000');

        ALTER TABLE application_settings
            ADD COLUMN token_prefixes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(token_prefixes) = 'object');
        """
    )
    # GitLab keeps the old table for some releases as ci_runners_archived.
    op.execute(
        """
        ALTER TABLE ci_runners RENAME TO ci_runners_archived;
        ALTER INDEX ci_runners_pkey RENAME TO ci_runners_archived_pkey;
        DROP INDEX index_ci_runners_on_token_expires_at_and_id_desc;
        ALTER SEQUENCE ci_runners_id_seq OWNED BY NONE;

        CREATE TABLE ci_runners (
            id               bigint       NOT NULL DEFAULT nextval('ci_runners_id_seq'),
            creator_id       bigint,
            sharding_key_id  bigint,
            created_at       timestamptz,
            updated_at       timestamptz,
            contacted_at     timestamptz,
            token_expires_at timestamptz,
            access_level     integer      NOT NULL DEFAULT 0,
            runner_type      smallint     NOT NULL,
            active           boolean      NOT NULL DEFAULT true,
            run_untagged     boolean      NOT NULL DEFAULT true,
            locked           boolean      NOT NULL DEFAULT false,
            name             text         CHECK (char_length(name) <= 256),
            token_encrypted  text         CHECK (char_length(token_encrypted) <= 512),
            token            text         CHECK (char_length(token) <= 128),
            description      text         CHECK (char_length(description) <= 1024),
            PRIMARY KEY (id, runner_type)
        ) PARTITION BY LIST (runner_type);

        CREATE TABLE instance_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (1);
        CREATE TABLE group_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (2);
        CREATE TABLE project_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (3);
        CREATE INDEX index_ci_runners_on_token_expires_at_and_id_desc ON ci_runners (token_expires_at, id DESC);

        INSERT INTO ci_runners (
            id, creator_id, created_at, updated_at, contacted_at, token_expires_at, access_level, runner_type, active,
            run_untagged, locked, name, token_encrypted, token, description
        )
        SELECT
            id, creator_id, created_at AT TIME ZONE 'UTC', updated_at AT TIME ZONE 'UTC',
            contacted_at AT TIME ZONE 'UTC', token_expires_at, access_level, runner_type, active, run_untagged, locked,
            name, token_encrypted, token, description
        FROM ci_runners_archived;

        DROP TABLE ci_runners_archived;
        ALTER SEQUENCE ci_runners_id_seq OWNED BY ci_runners.id;
        """
    )

"""GitLab 18.4: tokens can have fine-grained scopes."""

from alembic import op

revision = "18.4"
down_revision = "18.3"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250901000000');

        ALTER TABLE personal_access_tokens ADD COLUMN granular boolean NOT NULL DEFAULT false;

        CREATE INDEX index_personal_access_tokens_on_user_id_and_id ON personal_access_tokens (user_id, id);
        DROP INDEX index_personal_access_tokens_on_user_id;
        """
    )
    # The names of the indexes, the foreign key of personal_access_token_granular_scopes.organization_id and the
    # release of granular_scopes.access are not known.
    op.execute(
        """
        CREATE TABLE granular_scopes (
            id              bigserial    PRIMARY KEY,
            organization_id bigint       NOT NULL,
            namespace_id    bigint,
            created_at      timestamptz  NOT NULL,
            updated_at      timestamptz  NOT NULL,
            permissions     jsonb        NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(permissions) = 'array'),
            access          smallint     NOT NULL DEFAULT 0,
            CONSTRAINT fk_rails_1f506e10eb FOREIGN KEY (organization_id) REFERENCES organizations ON DELETE CASCADE,
            CONSTRAINT fk_73a513f489 FOREIGN KEY (namespace_id) REFERENCES namespaces ON DELETE CASCADE
        );
        CREATE INDEX idx_granular_scopes_on_organization_id ON granular_scopes (organization_id);
        CREATE INDEX idx_granular_scopes_on_namespace_id ON granular_scopes (namespace_id);

        CREATE TABLE personal_access_token_granular_scopes (
            id                       bigserial  PRIMARY KEY,
            organization_id          bigint     NOT NULL REFERENCES organizations ON DELETE CASCADE,
            personal_access_token_id bigint     NOT NULL,
            granular_scope_id        bigint     NOT NULL,
            CONSTRAINT fk_2a2bab7170
                FOREIGN KEY (personal_access_token_id) REFERENCES personal_access_tokens ON DELETE CASCADE,
            CONSTRAINT fk_rails_1b90422c3e
                FOREIGN KEY (granular_scope_id) REFERENCES granular_scopes ON DELETE CASCADE
        );
        CREATE INDEX idx_pat_granular_scopes_on_organization_id
            ON personal_access_token_granular_scopes (organization_id);
        CREATE INDEX idx_pat_granular_scopes_on_pat_id
            ON personal_access_token_granular_scopes (personal_access_token_id);
        CREATE INDEX idx_pat_granular_scopes_on_granular_scope_id
            ON personal_access_token_granular_scopes (granular_scope_id);
        """
    )

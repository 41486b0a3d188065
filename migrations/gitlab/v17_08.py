"""GitLab 17.8: the addresses from which a token was last used are kept."""

from alembic import op

revision = "17.8"
down_revision = "17.7"


def upgrade() -> None:
    # The name of the index on the token, and the foreign key of organization_id, are not known.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250101000000');

        CREATE TABLE personal_access_token_last_used_ips (
            id                       bigserial    PRIMARY KEY,
            personal_access_token_id bigint       NOT NULL REFERENCES personal_access_tokens ON DELETE CASCADE,
            organization_id          bigint       NOT NULL REFERENCES organizations ON DELETE CASCADE,
            created_at               timestamptz  NOT NULL,
            updated_at               timestamptz  NOT NULL,
            ip_address               inet
        );
        CREATE INDEX idx_pat_last_used_ips_on_pat_id
            ON personal_access_token_last_used_ips (personal_access_token_id);
        CREATE INDEX index_personal_access_token_last_used_ips_on_organization_id
            ON personal_access_token_last_used_ips (organization_id);
        """
    )
    # The releases of these two are not known; advanced_scopes was there before 17.9 dropped it.
    op.execute(
        """
        ALTER TABLE personal_access_tokens
            ADD COLUMN advanced_scopes text CHECK (char_length(advanced_scopes) <= 4096);

        ALTER TABLE users ADD COLUMN composite_identity_enforced boolean NOT NULL DEFAULT false;
        """
    )

"""GitLab 16.6: instances can demand an expiration date for the tokens of service accounts."""

from alembic import op

revision = "16.6"
down_revision = "16.3"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20231101000000');

        ALTER TABLE application_settings
            ADD COLUMN service_access_tokens_expiration_enforced boolean NOT NULL DEFAULT true;
        """
    )
    # Known to have come after 16.0; the releases are not known. Until then finished migrations have no finished_at.
    op.execute(
        """
        ALTER TABLE batched_background_migrations
            ADD COLUMN finished_at timestamptz,
            ADD COLUMN queued_migration_version text CHECK (char_length(queued_migration_version) <= 14);

        UPDATE users SET user_type = 0 WHERE user_type IS NULL;
        ALTER TABLE users ADD CONSTRAINT check_0dd5948e38 CHECK (user_type IS NOT NULL);

        ALTER TABLE members ADD COLUMN expiry_notified_at timestamptz;
        CREATE INDEX index_members_on_expiring_at_access_level_id
            ON members (expires_at, access_level, id) WHERE requested_at IS NULL AND expiry_notified_at IS NULL;
        """
    )

"""GitLab 17.9: tokens lose their short-lived advanced scopes."""

from alembic import op

revision = "17.9"
down_revision = "17.8"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250201000000');

        ALTER TABLE personal_access_tokens DROP COLUMN advanced_scopes;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE personal_access_tokens
            ADD COLUMN advanced_scopes text CHECK (char_length(advanced_scopes) <= 4096);

        DELETE FROM schema_migrations WHERE version = '20250201000000';
        """
    )

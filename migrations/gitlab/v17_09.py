"""GitLab 17.9: tokens lose their advanced scopes and must say their organization; trigger tokens can expire."""

from alembic import op

revision = "17.9"
down_revision = "17.8"


def upgrade() -> None:
    # The default may have gone with 17.10; to have none from 17.9 on is the stricter of the two.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250201000000');

        ALTER TABLE personal_access_tokens
            DROP COLUMN advanced_scopes,
            ALTER COLUMN organization_id DROP DEFAULT;

        ALTER TABLE ci_triggers ADD COLUMN expires_at timestamptz;
        """
    )

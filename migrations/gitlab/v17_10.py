"""GitLab 17.10: instances can put a prefix of their own before every kind of token."""

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

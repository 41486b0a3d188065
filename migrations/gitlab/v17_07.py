"""GitLab 17.7: a token has a description."""

from alembic import op

revision = "17.7"
down_revision = "17.6"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20241201000000');

        ALTER TABLE personal_access_tokens
            ADD COLUMN description text,
            ADD CONSTRAINT check_6d2ddc9355 CHECK (char_length(description) <= 255);
        """
    )

"""GitLab 16.3: a token remembers which one it has replaced by a rotation."""

from alembic import op

revision = "16.3"
down_revision = "16.0"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20230801000000');

        ALTER TABLE personal_access_tokens
            ADD COLUMN previous_personal_access_token_id bigint,
            ADD CONSTRAINT fk_c951fbf57e
                FOREIGN KEY (previous_personal_access_token_id) REFERENCES personal_access_tokens ON DELETE SET NULL;
        CREATE INDEX idx_personal_access_tokens_on_previous_personal_access_token_id
            ON personal_access_tokens (previous_personal_access_token_id);
        """
    )

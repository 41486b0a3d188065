"""GitLab 18.3: a token carries its top-level group and a copy of its owner's type; old tokens keep NULL in both."""

from alembic import op

revision = "18.3"
down_revision = "18.1"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250801000000');

        ALTER TABLE personal_access_tokens
            ADD COLUMN group_id bigint,
            ADD COLUMN user_type smallint,
            ADD CONSTRAINT fk_7cea2c7262 FOREIGN KEY (group_id) REFERENCES namespaces ON DELETE SET NULL;
        CREATE INDEX index_personal_access_tokens_on_group_id ON personal_access_tokens (group_id);

        ALTER TABLE application_settings ADD COLUMN resource_access_tokens_settings jsonb NOT NULL DEFAULT '{}';

        ALTER TABLE ci_triggers ADD COLUMN token_encrypted text CHECK (char_length(token_encrypted) <= 255);
        """
    )
    # The release of these indexes is not known.
    for column in ("created_at", "expires_at", "last_used_at"):
        op.execute(
            f"""
            CREATE INDEX index_pats_on_group_id_and_user_type_and_{column}_and_id
                ON personal_access_tokens (group_id, user_type, {column}, id)
                WHERE impersonation = false
            """
        )

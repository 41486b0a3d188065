"""GitLab 17.6: a project or group bot says which namespace it was made for."""

from alembic import op

revision = "17.6"
down_revision = "17.4"


def upgrade() -> None:
    # The release of request_accepted_at is not known.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20241101000000');

        ALTER TABLE user_details
            ADD COLUMN bot_namespace_id bigint,
            ADD CONSTRAINT fk_27ac767d6a FOREIGN KEY (bot_namespace_id) REFERENCES namespaces ON DELETE SET NULL;
        CREATE INDEX index_user_details_on_bot_namespace_id ON user_details (bot_namespace_id);

        ALTER TABLE members ADD COLUMN request_accepted_at timestamptz;
        """
    )

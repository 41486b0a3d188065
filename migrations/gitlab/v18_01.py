"""GitLab 18.1: the index for expiry notices by the old flag goes."""

from alembic import op

revision = "18.1"
down_revision = "17.10"


def upgrade() -> None:
    # The release in which users came to belong to an organization is not known.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20250601000000');

        DROP INDEX index_expired_and_not_notified_personal_access_tokens;

        ALTER TABLE users
            ADD COLUMN organization_id bigint NOT NULL DEFAULT 1,
            ADD CONSTRAINT fk_d7b9ff90af FOREIGN KEY (organization_id) REFERENCES organizations;
        CREATE INDEX index_users_on_organization_id ON users (organization_id);
        """
    )

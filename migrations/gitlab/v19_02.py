"""GitLab 19.2: an administrator's token can be one for sudo."""

from alembic import op

revision = "19.2"
down_revision = "18.9"

# GitLab drops the default from organization_id; in which release is not known here, but it is gone in the newest.
ORGANIZED = ("namespaces", "projects", "users")


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20260701000000');

        ALTER TABLE personal_access_tokens ADD COLUMN sudo boolean NOT NULL DEFAULT false;
        """
    )
    for table in ORGANIZED:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN organization_id DROP DEFAULT")
    # Known from the newest schema only. GitLab fills uuid with a function of its own that makes version 7.
    op.execute(
        """
        ALTER TABLE application_settings
            ADD COLUMN personal_access_token_settings jsonb NOT NULL DEFAULT '{}'
                CHECK (jsonb_typeof(personal_access_token_settings) = 'object');

        ALTER TABLE deploy_tokens
            ADD COLUMN read_virtual_registry boolean NOT NULL DEFAULT false,
            ADD COLUMN write_virtual_registry boolean NOT NULL DEFAULT false;

        ALTER TABLE organizations
            ADD COLUMN state smallint NOT NULL DEFAULT 0,
            ADD COLUMN uuid uuid NOT NULL DEFAULT gen_random_uuid();
        CREATE INDEX index_organizations_on_state ON organizations (state);
        CREATE UNIQUE INDEX index_organizations_on_uuid ON organizations (uuid);
        """
    )

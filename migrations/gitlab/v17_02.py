"""GitLab 17.2: instances can do without the expiration date of new tokens."""

from alembic import op

revision = "17.2"
down_revision = "16.6"


def upgrade() -> None:
    # An instance where the 16.0 clean-up never ran keeps tokens without an expiration date. A database without users
    # stands for a new installation: that loads the schema, changes no data, and so has the default.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20240701000000');

        ALTER TABLE application_settings
            ADD COLUMN require_personal_access_token_expiry boolean NOT NULL DEFAULT true;

        UPDATE application_settings
        SET    require_personal_access_token_expiry = false
        WHERE  EXISTS (SELECT FROM users)
        AND    NOT EXISTS (
                   SELECT
                   FROM   batched_background_migrations
                   WHERE  job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt'
                   AND    table_name = 'personal_access_tokens'
                   AND    column_name = 'id'
               );
        """
    )
    # The release of both checks is not known. NOT VALID: a row whose source is gone has no namespace to be given.
    op.execute(
        """
        UPDATE routes SET namespace_id = namespaces.id
        FROM   namespaces
        WHERE  routes.namespace_id IS NULL AND source_type = 'Namespace' AND source_id = namespaces.id;

        UPDATE routes SET namespace_id = projects.project_namespace_id
        FROM   projects
        WHERE  routes.namespace_id IS NULL AND source_type = 'Project' AND source_id = projects.id;

        ALTER TABLE routes ADD CONSTRAINT check_af84c6c93f CHECK (namespace_id IS NOT NULL) NOT VALID;

        UPDATE members SET member_namespace_id = namespaces.id
        FROM   namespaces
        WHERE  member_namespace_id IS NULL AND source_type = 'Namespace' AND source_id = namespaces.id;

        UPDATE members SET member_namespace_id = projects.project_namespace_id
        FROM   projects
        WHERE  member_namespace_id IS NULL AND source_type = 'Project' AND source_id = projects.id;

        ALTER TABLE members ADD CONSTRAINT check_508774aac0 CHECK (member_namespace_id IS NOT NULL) NOT VALID;
        """
    )

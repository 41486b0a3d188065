"""GitLab 18.9: projects can provision service accounts."""

from alembic import op

revision = "18.9"
down_revision = "18.4"


def upgrade() -> None:
    # The releases of namespaces.state and of the cursors are not known.
    op.execute(
        """
        INSERT INTO schema_migrations VALUES ('20260201000000');

        ALTER TABLE user_details
            ADD COLUMN provisioned_by_project_id bigint,
            ADD CONSTRAINT check_user_details_provisioned_by_mutually_exclusive
                CHECK (num_nonnulls(provisioned_by_group_id, provisioned_by_project_id) <= 1);
        CREATE INDEX index_user_details_on_provisioned_by_project_id ON user_details (provisioned_by_project_id);

        ALTER TABLE namespaces
            ADD COLUMN state smallint DEFAULT 0,
            ADD CONSTRAINT check_9d490f2140 CHECK (state IS NOT NULL);

        ALTER TABLE batched_background_migrations
            ADD COLUMN min_cursor jsonb,
            ADD COLUMN max_cursor jsonb;
        """
    )
    # GitLab 18.5 and 18.8 already.
    op.execute(
        """
        CREATE INDEX index_ci_triggers_on_expires_at ON ci_triggers (expires_at);
        ALTER TABLE ci_triggers DROP COLUMN token;
        """
    )
    # GitLab 18.8 already: a granular scope goes with the last token that has it.
    op.execute(
        """
        CREATE FUNCTION delete_orphaned_granular_scopes() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM granular_scopes g
            WHERE  g.id = OLD.granular_scope_id
            AND    NOT EXISTS (
                       SELECT FROM personal_access_token_granular_scopes p WHERE p.granular_scope_id = g.id
                   );
            RETURN OLD;
        END
        $$;

        CREATE TRIGGER trigger_delete_orphaned_granular_scopes
            AFTER DELETE ON personal_access_token_granular_scopes FOR EACH ROW
            EXECUTE FUNCTION delete_orphaned_granular_scopes();
        """
    )

"""GitLab 17.4: every token belongs to an organization and remembers each of its three expiry notices."""

from alembic import op

revision = "17.4"
down_revision = "17.2"

# Ids that were integer and are bigint now. GitLab took several releases for it and which is not known; all come here.
WIDENED = {
    "application_settings": ("id",),
    "ci_runner_namespaces": ("id", "runner_id", "namespace_id"),
    "ci_runner_projects": ("id", "runner_id", "project_id"),
    "ci_runners": ("id",),
    "ci_triggers": ("id", "project_id", "owner_id"),
    "deploy_keys_projects": ("id", "deploy_key_id", "project_id"),
    "deploy_tokens": ("id",),
    "keys": ("id", "user_id"),
    "members": ("id", "source_id", "user_id", "created_by_id"),
    "namespaces": ("id", "owner_id", "parent_id"),
    "personal_access_tokens": ("id", "user_id"),
    "project_deploy_tokens": ("id", "project_id", "deploy_token_id"),
    "projects": ("id", "creator_id", "namespace_id", "marked_for_deletion_by_user_id"),
    "routes": ("id", "source_id"),
    "users": ("id", "created_by_id", "managing_group_id", "accepted_term_id"),
}


def upgrade() -> None:
    op.execute("INSERT INTO schema_migrations VALUES ('20240901000000')")
    _give_ids_the_type("bigint")
    _organizations()
    _notices()
    # GitLab 17.3 already: a deploy token itself says whose it is; old ones by and by.
    op.execute(
        """
        ALTER TABLE deploy_tokens
            ADD COLUMN project_id bigint,
            ADD COLUMN group_id bigint;
        CREATE INDEX index_deploy_tokens_on_project_id ON deploy_tokens (project_id);
        CREATE INDEX index_deploy_tokens_on_group_id ON deploy_tokens (group_id);
        """
    )
    # GitLab 17.3 already: the clean-up of 16.0 goes from finished to finalized.
    op.execute(
        """
        UPDATE batched_background_migrations SET status = 6
        WHERE  job_class_name = 'CleanupPersonalAccessTokensWithNilExpiresAt' AND status = 3
        """
    )


def _organizations() -> None:
    # GitLab has organizations, and the columns of namespaces and projects, from somewhat earlier releases.
    op.execute(
        """
        CREATE TABLE organizations (
            id               bigserial    PRIMARY KEY,
            created_at       timestamptz  NOT NULL,
            updated_at       timestamptz  NOT NULL,
            name             text         NOT NULL DEFAULT '' CHECK (char_length(name) <= 255),
            path             text         NOT NULL CHECK (char_length(path) <= 255),
            visibility_level smallint     NOT NULL DEFAULT 0
        );
        ALTER SEQUENCE organizations_id_seq START WITH 1000 RESTART;
        CREATE UNIQUE INDEX unique_organizations_on_path_case_insensitive ON organizations (lower(path));

        INSERT INTO organizations (id, created_at, updated_at, name, path)
        VALUES (1, now(), now(), 'Default', 'default');

        ALTER TABLE namespaces
            ADD COLUMN organization_id bigint DEFAULT 1,
            ADD CONSTRAINT check_2eae3bdf93 CHECK (organization_id IS NOT NULL),
            ADD CONSTRAINT fk_34fceca87c FOREIGN KEY (organization_id) REFERENCES organizations ON DELETE CASCADE;
        CREATE INDEX index_namespaces_on_organization_id ON namespaces (organization_id);

        ALTER TABLE projects
            ADD COLUMN organization_id bigint DEFAULT 1,
            ADD CONSTRAINT check_1a6f946a8a CHECK (organization_id IS NOT NULL),
            ADD CONSTRAINT fk_9aee26923d FOREIGN KEY (organization_id) REFERENCES organizations ON DELETE CASCADE;
        CREATE INDEX index_projects_on_organization_id_and_id ON projects (organization_id, id);

        ALTER TABLE personal_access_tokens
            ADD COLUMN organization_id bigint NOT NULL DEFAULT 1,
            ADD CONSTRAINT fk_da676c7ca5 FOREIGN KEY (organization_id) REFERENCES organizations ON DELETE CASCADE;
        CREATE INDEX index_personal_access_tokens_on_organization_id ON personal_access_tokens (organization_id);
        """
    )


def _notices() -> None:
    # The flag so far meant the notice of seven days.
    op.execute(
        """
        ALTER TABLE personal_access_tokens
            ADD COLUMN seven_days_notification_sent_at timestamptz,
            ADD COLUMN thirty_days_notification_sent_at timestamptz,
            ADD COLUMN sixty_days_notification_sent_at timestamptz;

        UPDATE personal_access_tokens
        SET    seven_days_notification_sent_at = (expires_at - 7)::timestamp AT TIME ZONE 'UTC'
        WHERE  expire_notification_delivered;
        """
    )
    for days in ("seven", "thirty", "sixty"):
        op.execute(
            f"""
            CREATE INDEX index_pats_on_expiring_at_{days}_days_notification_sent_at
                ON personal_access_tokens (expires_at, id)
                WHERE impersonation = false AND revoked = false AND {days}_days_notification_sent_at IS NULL
            """
        )


def _give_ids_the_type(name: str) -> None:
    for table, columns in WIDENED.items():
        changes = ", ".join(f"ALTER COLUMN {column} TYPE {name}" for column in columns)
        op.execute(f"ALTER TABLE {table} {changes}")
        op.execute(f"ALTER SEQUENCE {table}_{columns[0]}_seq AS {name}")
    op.execute(
        f"""
        ALTER TABLE namespaces
            ALTER COLUMN traversal_ids DROP DEFAULT,
            ALTER COLUMN traversal_ids TYPE {name}[],
            ALTER COLUMN traversal_ids SET DEFAULT '{{}}'
        """
    )

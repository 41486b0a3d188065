"""GitLab 16.0: tokens have an expiration date.

The shape holds the tables around access tokens and of what else expires, and leaves out the rest of GitLab. Every
revision also leaves out trigram indexes (they need an extension), triggers that write to tables of that rest, and
foreign keys that are not known to exist. So memberships, routes and creators may point at rows that are gone, as they
may in GitLab's database.

Where the release of a change is not known, the revision says so beside the change.

`schema_migrations` gets a version for each revision: the first of the release's month, midnight. That falls into the
month in which GitLab developed the release, but it is representative: none of them is a migration of GitLab's own.
"""

from alembic import op

revision = "16.0"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE schema_migrations (
            version     varchar      NOT NULL PRIMARY KEY,
            finished_at timestamptz  DEFAULT now()
        );

        INSERT INTO schema_migrations VALUES ('20230501000000');
        """
    )
    _application_settings()
    _users()
    _namespaces()
    _projects()
    _routes()
    _members()
    _user_details()
    _personal_access_tokens()
    _batched_background_migrations()
    _deploy_tokens()
    _keys()
    _ci()
    _cluster_agents()


def _application_settings() -> None:
    # GitLab inserts a row when it starts for the first time.
    op.execute(
        """
        CREATE TABLE application_settings (
            id                                 serial   PRIMARY KEY,
            created_at                         timestamp,
            updated_at                         timestamp,
            personal_access_token_prefix       text     DEFAULT 'glpat-'
                CHECK (char_length(personal_access_token_prefix) <= 20),
            max_personal_access_token_lifetime integer,
            disable_personal_access_tokens     boolean  NOT NULL DEFAULT false,
            allow_runner_registration_token    boolean  NOT NULL DEFAULT true,
            maintenance_mode                   boolean  NOT NULL DEFAULT false,
            maintenance_mode_message           text
                CHECK (char_length(maintenance_mode_message) <= 255)
        );

        INSERT INTO application_settings (created_at, updated_at)
        VALUES (now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC');
        """
    )


def _users() -> None:
    # Human beings whose user_type is NULL: the check that forbids it comes in 16.6.
    op.execute(
        """
        CREATE TABLE users (
            id                    serial    PRIMARY KEY,
            username              varchar,
            name                  varchar,
            email                 varchar   NOT NULL DEFAULT '',
            state                 varchar,
            user_type             smallint  DEFAULT 0,
            admin                 boolean   NOT NULL DEFAULT false,
            created_at            timestamp,
            updated_at            timestamp,
            created_by_id         integer,
            managing_group_id     integer,
            external              boolean   DEFAULT false,
            auditor               boolean   NOT NULL DEFAULT false,
            password_expires_at   timestamp,
            locked_at             timestamp,
            confirmed_at          timestamp,
            unconfirmed_email     varchar,
            accepted_term_id      integer,
            last_activity_on      date,
            otp_secret_expires_at timestamptz
        );

        CREATE UNIQUE INDEX index_users_on_email ON users (email);
        CREATE INDEX index_users_on_username ON users (username);
        CREATE INDEX index_on_users_lower_username ON users (lower(username));
        CREATE INDEX index_on_users_lower_email ON users (lower(email));
        CREATE INDEX index_on_users_name_lower ON users (lower(name));
        CREATE INDEX index_users_on_state_and_user_type ON users (state, user_type);
        CREATE INDEX index_users_on_user_type_and_id ON users (user_type, id);
        CREATE INDEX index_users_on_admin ON users (admin);
        CREATE INDEX index_users_on_created_at ON users (created_at);
        CREATE INDEX index_users_on_updated_at ON users (updated_at);
        CREATE INDEX index_users_on_managing_group_id ON users (managing_group_id);
        """
    )


def _namespaces() -> None:
    # The names of the indexes on namespaces and projects are not in our facts: they follow GitLab's habit.
    op.execute(
        """
        CREATE TABLE namespaces (
            id                                 serial     PRIMARY KEY,
            name                               varchar    NOT NULL,
            path                               varchar    NOT NULL,
            owner_id                           integer,
            created_at                         timestamp,
            updated_at                         timestamp,
            type                               varchar    NOT NULL DEFAULT 'User',
            parent_id                          integer,
            traversal_ids                      integer[]  NOT NULL DEFAULT '{}',
            visibility_level                   integer    NOT NULL DEFAULT 20,
            max_personal_access_token_lifetime integer
        );

        ALTER TABLE namespaces ADD CONSTRAINT fk_7f813d8c90
            FOREIGN KEY (parent_id) REFERENCES namespaces ON DELETE RESTRICT NOT VALID;

        CREATE UNIQUE INDEX index_namespaces_on_parent_id_and_id ON namespaces (parent_id, id);
        CREATE UNIQUE INDEX index_namespaces_name_parent_id_type ON namespaces (name, parent_id, type);
        CREATE INDEX index_namespaces_on_path ON namespaces (path);
        CREATE INDEX index_on_namespaces_lower_path ON namespaces (lower(path));
        CREATE INDEX index_on_namespaces_lower_name ON namespaces (lower(name));
        CREATE INDEX index_namespaces_on_owner_id ON namespaces (owner_id);
        CREATE INDEX index_namespaces_on_type_and_id ON namespaces (type, id);
        CREATE INDEX index_namespaces_on_traversal_ids ON namespaces USING gin (traversal_ids);
        CREATE INDEX index_btree_namespaces_traversal_ids ON namespaces (traversal_ids) WHERE type = 'Group';
        """
    )


def _projects() -> None:
    op.execute(
        """
        CREATE TABLE projects (
            id                             serial    PRIMARY KEY,
            name                           varchar,
            path                           varchar,
            created_at                     timestamp,
            updated_at                     timestamp,
            creator_id                     integer,
            namespace_id                   integer   NOT NULL,
            visibility_level               integer   NOT NULL DEFAULT 0,
            archived                       boolean   NOT NULL DEFAULT false,
            pending_delete                 boolean   DEFAULT false,
            hidden                         boolean   NOT NULL DEFAULT false,
            marked_for_deletion_at         date,
            marked_for_deletion_by_user_id integer,
            project_namespace_id           bigint,
            CONSTRAINT fk_projects_namespace_id FOREIGN KEY (namespace_id) REFERENCES namespaces ON DELETE RESTRICT,
            CONSTRAINT fk_6ca23af0a3 FOREIGN KEY (project_namespace_id) REFERENCES namespaces ON DELETE CASCADE,
            CONSTRAINT check_fa75869cb1 CHECK (project_namespace_id IS NOT NULL)
        );

        CREATE UNIQUE INDEX index_projects_on_project_namespace_id ON projects (project_namespace_id);
        CREATE INDEX index_projects_on_namespace_id_and_id ON projects (namespace_id, id);
        CREATE INDEX index_projects_on_creator_id_and_id ON projects (creator_id, id);
        CREATE INDEX index_projects_on_pending_delete ON projects (pending_delete);

        CREATE FUNCTION delete_associated_project_namespace() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM namespaces n WHERE n.id = OLD.project_namespace_id AND n.type = 'Project';
            RETURN NULL;
        END
        $$;

        CREATE TRIGGER trigger_delete_project_namespace_on_project_delete
            AFTER DELETE ON projects FOR EACH ROW WHEN (OLD.project_namespace_id IS NOT NULL)
            EXECUTE FUNCTION delete_associated_project_namespace();
        """
    )


def _routes() -> None:
    # A namespace_id of NULL: the check that forbids it comes in 17.2.
    op.execute(
        """
        CREATE TABLE routes (
            id           serial    PRIMARY KEY,
            source_id    integer   NOT NULL,
            source_type  varchar   NOT NULL,
            path         varchar   NOT NULL,
            created_at   timestamp,
            updated_at   timestamp,
            name         varchar,
            namespace_id bigint,
            CONSTRAINT fk_679ff8213d FOREIGN KEY (namespace_id) REFERENCES namespaces ON DELETE CASCADE
        );

        CREATE UNIQUE INDEX index_routes_on_path ON routes (path);
        CREATE UNIQUE INDEX index_routes_on_source_type_and_source_id ON routes (source_type, source_id);
        CREATE UNIQUE INDEX index_routes_on_namespace_id ON routes (namespace_id);
        CREATE INDEX index_on_routes_lower_path ON routes (lower(path));
        CREATE INDEX index_routes_on_path_text_pattern_ops ON routes (path varchar_pattern_ops);
        CREATE INDEX index_routes_on_id_for_top_level_paths ON routes (id) WHERE strpos(path, '/') = 0;
        """
    )


def _members() -> None:
    # member_role_id has no foreign key here because the shape has no member_roles.
    op.execute(
        """
        CREATE TABLE members (
            id                   serial    PRIMARY KEY,
            access_level         integer   NOT NULL,
            source_id            integer   NOT NULL,
            source_type          varchar   NOT NULL,
            user_id              integer,
            notification_level   integer   NOT NULL,
            type                 varchar,
            created_at           timestamp,
            updated_at           timestamp,
            created_by_id        integer,
            invite_email         varchar,
            invite_token         varchar,
            invite_accepted_at   timestamp,
            requested_at         timestamp,
            expires_at           date,
            ldap                 boolean   NOT NULL DEFAULT false,
            override             boolean   NOT NULL DEFAULT false,
            state                smallint  DEFAULT 0,
            invite_email_success boolean   NOT NULL DEFAULT true,
            member_namespace_id  bigint,
            member_role_id       bigint,
            CONSTRAINT fk_2f85abf8f1 FOREIGN KEY (member_namespace_id) REFERENCES namespaces ON DELETE CASCADE
        );

        CREATE UNIQUE INDEX index_members_on_invite_token ON members (invite_token);
        CREATE INDEX index_members_on_user_id_and_access_level_requested_at_is_null
            ON members (user_id, access_level) WHERE requested_at IS NULL;
        CREATE INDEX index_members_on_user_id_created_at
            ON members (user_id, created_at) WHERE ldap AND type = 'GroupMember' AND source_type = 'Namespace';
        CREATE INDEX index_members_on_expires_at ON members (expires_at);
        CREATE INDEX index_members_on_source_and_type_and_access_level
            ON members (source_id, source_type, type, access_level);
        CREATE INDEX index_members_on_source_and_type_and_id
            ON members (source_id, source_type, type, id) WHERE invite_token IS NULL;
        CREATE INDEX index_members_on_source_state_type_access_level_and_user_id
            ON members (source_id, source_type, state, type, access_level, user_id)
            WHERE requested_at IS NULL AND invite_token IS NULL;
        CREATE INDEX index_members_on_source_access_level_user_id_member_role_null
            ON members (source_id, source_type, access_level, user_id) WHERE member_role_id IS NULL;
        CREATE INDEX index_members_on_member_namespace_id_compound
            ON members (member_namespace_id, type, requested_at, id);
        CREATE INDEX index_non_requested_project_members_on_source_id_and_type
            ON members (source_id, source_type) WHERE requested_at IS NULL AND type = 'ProjectMember';
        CREATE INDEX index_members_on_access_level ON members (access_level);
        CREATE INDEX index_members_on_invite_email ON members (invite_email);
        CREATE INDEX index_members_on_lower_invite_email_with_token
            ON members (lower(invite_email)) WHERE invite_token IS NOT NULL;
        CREATE INDEX index_members_on_member_role_id ON members (member_role_id);
        CREATE INDEX index_members_on_requested_at ON members (requested_at);
        """
    )


def _user_details() -> None:
    op.execute(
        """
        CREATE TABLE user_details (
            user_id                        bigserial    PRIMARY KEY,
            provisioned_by_group_id        bigint,
            enterprise_group_id            bigint,
            enterprise_group_associated_at timestamptz,
            CONSTRAINT fk_rails_12e0b3043d FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
        );

        CREATE UNIQUE INDEX index_user_details_on_user_id ON user_details (user_id);
        CREATE INDEX index_user_details_on_enterprise_group_id_and_user_id
            ON user_details (enterprise_group_id, user_id);
        """
    )


def _personal_access_tokens() -> None:
    # That id and user_id are integer is not certain, nor is it known which of the indexes are older than 16.0.
    # The key of project_access_tokens is not known; its two columns are.
    op.execute(
        r"""
        CREATE TABLE personal_access_tokens (
            id                                  serial       PRIMARY KEY,
            user_id                             integer      NOT NULL,
            name                                varchar      NOT NULL,
            revoked                             boolean      DEFAULT false,
            expires_at                          date,
            created_at                          timestamp    NOT NULL,
            updated_at                          timestamp    NOT NULL,
            scopes                              varchar      NOT NULL DEFAULT E'--- []\n',
            impersonation                       boolean      NOT NULL DEFAULT false,
            token_digest                        varchar,
            expire_notification_delivered       boolean      NOT NULL DEFAULT false,
            last_used_at                        timestamptz,
            after_expiry_notification_delivered boolean      NOT NULL DEFAULT false,
            CONSTRAINT fk_personal_access_tokens_user_id FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
        );

        CREATE UNIQUE INDEX index_personal_access_tokens_on_token_digest ON personal_access_tokens (token_digest);
        CREATE INDEX index_pat_on_user_id_and_expires_at ON personal_access_tokens (user_id, expires_at);
        CREATE INDEX index_personal_access_tokens_on_user_id ON personal_access_tokens (user_id);
        CREATE INDEX index_personal_access_tokens_on_id_and_created_at ON personal_access_tokens (id, created_at);
        CREATE INDEX index_expired_and_not_notified_personal_access_tokens
            ON personal_access_tokens (id, expires_at)
            WHERE impersonation = false AND revoked = false AND expire_notification_delivered = false;

        CREATE TABLE project_access_tokens (
            personal_access_token_id bigint  NOT NULL,
            project_id               bigint  NOT NULL,
            PRIMARY KEY (personal_access_token_id, project_id),
            CONSTRAINT fk_5f7e8450e1
                FOREIGN KEY (personal_access_token_id) REFERENCES personal_access_tokens ON DELETE CASCADE,
            CONSTRAINT fk_b27801bfbf FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE
        );

        CREATE INDEX index_project_access_tokens_on_project_id ON project_access_tokens (project_id);
        """
    )


def _batched_background_migrations() -> None:
    # Without the row of the 16.0 clean-up: whether it is there is a property of the instance, not of the release.
    # The name of the unique index is not known.
    op.execute(
        """
        CREATE TABLE batched_background_migrations (
            id                bigserial    PRIMARY KEY,
            created_at        timestamptz  NOT NULL,
            updated_at        timestamptz  NOT NULL,
            min_value         bigint       NOT NULL DEFAULT 1,
            max_value         bigint       NOT NULL,
            batch_size        integer      NOT NULL,
            sub_batch_size    integer      NOT NULL,
            "interval"        smallint     NOT NULL,
            status            smallint     NOT NULL DEFAULT 0,
            job_class_name    text         NOT NULL,
            batch_class_name  text         NOT NULL DEFAULT 'PrimaryKeyBatchingStrategy',
            table_name        text         NOT NULL,
            column_name       text         NOT NULL,
            job_arguments     jsonb        NOT NULL DEFAULT '[]',
            total_tuple_count bigint,
            pause_ms          integer      NOT NULL DEFAULT 100,
            max_batch_size    integer,
            started_at        timestamptz,
            on_hold_until     timestamptz,
            gitlab_schema     text         NOT NULL
        );

        CREATE UNIQUE INDEX index_batched_migrations_on_gl_schema_and_unique_configuration
            ON batched_background_migrations (gitlab_schema, job_class_name, table_name, column_name, job_arguments);
        """
    )


def _deploy_tokens() -> None:
    # Whose one is say two tables of links; none of the foreign keys to projects and namespaces is in our facts.
    op.execute(
        """
        CREATE TABLE deploy_tokens (
            id                     serial       PRIMARY KEY,
            revoked                boolean      DEFAULT false,
            read_repository        boolean      NOT NULL DEFAULT false,
            read_registry          boolean      NOT NULL DEFAULT false,
            expires_at             timestamptz  NOT NULL,
            created_at             timestamptz  NOT NULL,
            name                   varchar      NOT NULL,
            username               varchar,
            token_encrypted        varchar(255),
            deploy_token_type      smallint     NOT NULL DEFAULT 2,
            write_registry         boolean      NOT NULL DEFAULT false,
            read_package_registry  boolean      NOT NULL DEFAULT false,
            write_package_registry boolean      NOT NULL DEFAULT false,
            creator_id             bigint
        );

        CREATE TABLE project_deploy_tokens (
            id              serial       PRIMARY KEY,
            project_id      integer      NOT NULL,
            deploy_token_id integer      NOT NULL,
            created_at      timestamptz  NOT NULL DEFAULT now()
        );
        CREATE UNIQUE INDEX index_project_deploy_tokens_on_project_id_and_deploy_token_id
            ON project_deploy_tokens (project_id, deploy_token_id);
        CREATE INDEX index_project_deploy_tokens_on_deploy_token_id ON project_deploy_tokens (deploy_token_id);

        CREATE TABLE group_deploy_tokens (
            id              bigserial    PRIMARY KEY,
            created_at      timestamptz  NOT NULL DEFAULT now(),
            updated_at      timestamptz  NOT NULL DEFAULT now(),
            group_id        bigint       NOT NULL,
            deploy_token_id bigint       NOT NULL
        );
        CREATE UNIQUE INDEX index_group_deploy_tokens_on_group_and_deploy_token_ids
            ON group_deploy_tokens (group_id, deploy_token_id);
        CREATE INDEX index_group_deploy_tokens_on_deploy_token_id ON group_deploy_tokens (deploy_token_id);
        """
    )


def _keys() -> None:
    # People's SSH keys and deploy keys, told apart by their type.
    op.execute(
        """
        CREATE TABLE keys (
            id                                      serial       PRIMARY KEY,
            user_id                                 integer,
            created_at                              timestamp,
            updated_at                              timestamp,
            key                                     text,
            title                                   varchar,
            type                                    varchar,
            fingerprint                             varchar,
            public                                  boolean      NOT NULL DEFAULT false,
            last_used_at                            timestamp,
            fingerprint_sha256                      bytea,
            expires_at                              timestamptz,
            expiry_notification_delivered_at        timestamptz,
            before_expiry_notification_delivered_at timestamptz,
            usage_type                              smallint     NOT NULL DEFAULT 0
        );
        CREATE INDEX index_keys_on_expires_at_and_id
            ON keys (date(timezone('UTC', expires_at)), id) WHERE expiry_notification_delivered_at IS NULL;
        CREATE UNIQUE INDEX index_keys_on_fingerprint_sha256_unique ON keys (fingerprint_sha256);
        CREATE INDEX index_keys_on_last_used_at ON keys (last_used_at DESC NULLS LAST);
        CREATE INDEX index_keys_on_user_id ON keys (user_id);

        CREATE TABLE deploy_keys_projects (
            id            serial     PRIMARY KEY,
            deploy_key_id integer    NOT NULL,
            project_id    integer    NOT NULL,
            created_at    timestamp,
            updated_at    timestamp,
            can_push      boolean    NOT NULL DEFAULT false
        );
        CREATE INDEX index_deploy_keys_projects_on_deploy_key_id ON deploy_keys_projects (deploy_key_id);
        CREATE INDEX index_deploy_keys_projects_on_project_id ON deploy_keys_projects (project_id);
        """
    )


def _ci() -> None:
    # An instance may have these in a database of their own. Which of the columns of runners are older is not known.
    op.execute(
        """
        CREATE TABLE ci_triggers (
            id          serial     PRIMARY KEY,
            token       varchar,
            created_at  timestamp,
            updated_at  timestamp,
            project_id  integer,
            owner_id    integer    NOT NULL,
            description varchar
        );
        CREATE INDEX index_ci_triggers_on_owner_id ON ci_triggers (owner_id);
        CREATE INDEX index_ci_triggers_on_project_id ON ci_triggers (project_id);

        CREATE TABLE ci_runners (
            id               serial       PRIMARY KEY,
            token            varchar,
            created_at       timestamp,
            updated_at       timestamp,
            description      varchar,
            contacted_at     timestamp,
            active           boolean      NOT NULL DEFAULT true,
            name             varchar,
            run_untagged     boolean      NOT NULL DEFAULT true,
            locked           boolean      NOT NULL DEFAULT false,
            access_level     integer      NOT NULL DEFAULT 0,
            runner_type      smallint     NOT NULL,
            token_encrypted  varchar,
            token_expires_at timestamptz,
            creator_id       bigint
        );
        CREATE INDEX index_ci_runners_on_token_expires_at_and_id_desc ON ci_runners (token_expires_at, id DESC);

        CREATE TABLE ci_runner_projects (
            id         serial     PRIMARY KEY,
            runner_id  integer    NOT NULL,
            created_at timestamp,
            updated_at timestamp,
            project_id integer
        );
        CREATE INDEX index_ci_runner_projects_on_project_id ON ci_runner_projects (project_id);
        CREATE UNIQUE INDEX index_unique_ci_runner_projects_on_runner_id_and_project_id
            ON ci_runner_projects (runner_id, project_id);

        CREATE TABLE ci_runner_namespaces (
            id           serial   PRIMARY KEY,
            runner_id    integer,
            namespace_id integer
        );
        CREATE INDEX index_ci_runner_namespaces_on_namespace_id ON ci_runner_namespaces (namespace_id);
        CREATE UNIQUE INDEX index_ci_runner_namespaces_on_runner_id_and_namespace_id
            ON ci_runner_namespaces (runner_id, namespace_id);

        CREATE TABLE ci_secure_files (
            id         bigserial    PRIMARY KEY,
            project_id bigint       NOT NULL,
            created_at timestamptz  NOT NULL,
            updated_at timestamptz  NOT NULL,
            file_store smallint     NOT NULL DEFAULT 1,
            name       text         NOT NULL CHECK (char_length(name) <= 255),
            file       text         NOT NULL CHECK (char_length(file) <= 255),
            checksum   bytea        NOT NULL,
            key_data   text         CHECK (char_length(key_data) <= 128),
            metadata   jsonb,
            expires_at timestamptz
        );
        CREATE INDEX index_ci_secure_files_on_project_id ON ci_secure_files (project_id);
        """
    )


def _cluster_agents() -> None:
    op.execute(
        """
        CREATE TABLE cluster_agents (
            id                 bigserial    PRIMARY KEY,
            created_at         timestamptz  NOT NULL,
            updated_at         timestamptz  NOT NULL,
            project_id         bigint       NOT NULL,
            name               text         NOT NULL CHECK (char_length(name) <= 255),
            created_by_user_id bigint
        );
        CREATE UNIQUE INDEX index_cluster_agents_on_project_id_and_name ON cluster_agents (project_id, name);

        CREATE TABLE cluster_agent_tokens (
            id                 bigserial    PRIMARY KEY,
            created_at         timestamptz  NOT NULL,
            updated_at         timestamptz  NOT NULL,
            agent_id           bigint       NOT NULL,
            token_encrypted    text         NOT NULL CHECK (char_length(token_encrypted) <= 255),
            created_by_user_id bigint,
            description        text         CHECK (char_length(description) <= 1024),
            name               text         CHECK (char_length(name) <= 255),
            last_used_at       timestamptz,
            status             smallint     NOT NULL DEFAULT 0
        );
        CREATE INDEX index_cluster_agent_tokens_on_agent_id_status_last_used_at
            ON cluster_agent_tokens (agent_id, status, last_used_at DESC NULLS LAST);
        """
    )

"""The journal's first shape: runs, the attempts to carry them out, and the chunks of tokens that they change.

Every name has its schema, since the search_path leads to pg_catalog alone. Nothing refers to GitLab's tables by foreign
key: the record outlives the tokens, and GitLab may drop or restore its tables as it likes. No secret and no digest is
kept.
"""

from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE token_tasks.runs (
            id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind              text        NOT NULL CHECK (kind IN ('edit', 'extend', 'remove', 'undo')),
            state             text        NOT NULL
                CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done')),
            selection         jsonb       NOT NULL,
            change            jsonb       NOT NULL,
            memberships       text        CHECK (memberships IN ('forever', 'until-token')),
            notices           boolean     NOT NULL,
            reason            text,
            planned_by        jsonb       NOT NULL,
            tool_version      text        NOT NULL,
            undoes            bigint      REFERENCES token_tasks.runs ON DELETE SET NULL,
            tokens            bigint      NOT NULL,
            changed           bigint      NOT NULL DEFAULT 0,
            changed_meanwhile bigint      NOT NULL DEFAULT 0,
            locked            bigint      NOT NULL DEFAULT 0,
            attempt           integer     NOT NULL DEFAULT 0,
            created_at        timestamptz NOT NULL DEFAULT now(),
            heartbeat_at      timestamptz,
            finished_at       timestamptz
        ) WITH (fillfactor = 50);

        COMMENT ON TABLE token_tasks.runs IS 'One change of access tokens each: planned, carried out, undone';
        COMMENT ON COLUMN token_tasks.runs.memberships
            IS 'How memberships of bots that end too early are moved; NULL: not at all';
        COMMENT ON COLUMN token_tasks.runs.notices IS 'Whether expiry notices that were sent are re-armed';
        COMMENT ON COLUMN token_tasks.runs.attempt
            IS 'The number of the attempt that may write; an older one has been taken over';

        CREATE TABLE token_tasks.attempts (
            run_id          bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            number          integer     NOT NULL,
            carried_out_by  jsonb       NOT NULL,
            process         text        NOT NULL,
            tool_version    text        NOT NULL,
            started_at      timestamptz NOT NULL DEFAULT now(),
            ended_at        timestamptz,
            stopped_because text,
            PRIMARY KEY (run_id, number)
        );

        COMMENT ON TABLE token_tasks.attempts IS 'Who carried a run out, or a part of it, when, and why they stopped';

        CREATE TABLE token_tasks.chunks (
            run_id         bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position       bigint      NOT NULL,
            old_expires_at date,
            new_expires_at date,
            token_ids      bigint[]    NOT NULL,
            done_at        timestamptz,
            left_alone     bigint[],
            locked         bigint[],
            PRIMARY KEY (run_id, position)
        );

        COMMENT ON TABLE token_tasks.chunks
            IS 'The exact tokens of a run, some thousands a row, with one old and one new date';
        COMMENT ON COLUMN token_tasks.chunks.position IS 'Of the first of these tokens in the plan';
        COMMENT ON COLUMN token_tasks.chunks.done_at IS 'When they were changed; NULL: not yet';
        COMMENT ON COLUMN token_tasks.chunks.left_alone
            IS 'Those that somebody else had changed or deleted since the plan';
        COMMENT ON COLUMN token_tasks.chunks.locked IS 'Those that somebody else held to the end';

        CREATE TABLE token_tasks.notices (
            run_id                              bigint        NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position                            bigint        NOT NULL,
            token_ids                           bigint[]      NOT NULL,
            expire_notification_delivered       boolean[],
            after_expiry_notification_delivered boolean[],
            seven_days_notification_sent_at     timestamptz[],
            thirty_days_notification_sent_at    timestamptz[],
            sixty_days_notification_sent_at     timestamptz[]
        );

        CREATE INDEX index_notices_on_run_id_and_position ON token_tasks.notices (run_id, position);
        COMMENT ON TABLE token_tasks.notices IS 'What the notices of re-armed tokens were before, chunk by chunk';

        CREATE TABLE token_tasks.memberships (
            run_id         bigint   NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position       bigint   NOT NULL,
            member_ids     bigint[] NOT NULL,
            old_expires_at date[]   NOT NULL,
            new_expires_at date
        );

        CREATE INDEX index_memberships_on_run_id_and_position ON token_tasks.memberships (run_id, position);
        COMMENT ON TABLE token_tasks.memberships
            IS 'What the ends of moved memberships of bots were before, chunk by chunk';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE
            token_tasks.memberships, token_tasks.notices, token_tasks.chunks, token_tasks.attempts, token_tasks.runs
        """
    )

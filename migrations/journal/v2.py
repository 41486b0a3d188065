"""Rotations in the journal: a run may give tokens successors, and each rotation is remembered step by step.

No secret and no digest is kept: a successor that nobody was given can only be revoked.
"""

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo', 'rotate'));

        CREATE TABLE token_tasks.rotations (
            run_id                bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            token_id              bigint      NOT NULL,
            successor_id          bigint,
            given_up              bigint[]    NOT NULL DEFAULT '{}',
            state                 text        NOT NULL DEFAULT 'planned'
                CHECK (
                    state IN ('planned', 'created', 'verified', 'delivering', 'delivered', 'done', 'abandoned')
                ),
            old_expires_at        date,
            new_expires_at        date,
            grace_until           date,
            member_ids            bigint[]    NOT NULL DEFAULT '{}',
            old_member_expires_at date[]      NOT NULL DEFAULT '{}',
            changed_at            timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (run_id, token_id)
        );

        COMMENT ON TABLE token_tasks.rotations
            IS 'The tokens of a run that get a successor each, and how far each of them is';
        COMMENT ON COLUMN token_tasks.rotations.successor_id
            IS 'The latest that was made; where abandoned, it is revoked';
        COMMENT ON COLUMN token_tasks.rotations.given_up
            IS 'The successors that were made before that one, all of them revoked';
        COMMENT ON COLUMN token_tasks.rotations.new_expires_at IS 'Of the successor; NULL: never';
        COMMENT ON COLUMN token_tasks.rotations.grace_until
            IS 'When the old token ends at the latest; NULL: it is revoked at once';
        COMMENT ON COLUMN token_tasks.rotations.member_ids IS 'The memberships of the bot that were moved';
        COMMENT ON COLUMN token_tasks.rotations.old_member_expires_at IS 'When those ended before, one by one';
        COMMENT ON COLUMN token_tasks.rotations.changed_at IS 'When the state was reached';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE token_tasks.rotations;
        DELETE FROM token_tasks.runs WHERE kind = 'rotate';

        ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo'));
        """
    )

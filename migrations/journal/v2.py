"""Rotations in the journal: a run may give tokens successors, and each rotation is remembered step by step.

No secret and no digest is kept: a successor that nobody was given can only be revoked.
"""

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo', 'rotate'));

        CREATE TABLE rotations (
            run_id                bigint      NOT NULL REFERENCES runs ON DELETE CASCADE,
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

        COMMENT ON TABLE rotations IS 'The tokens of a run that get a successor each, and how far each of them is';
        COMMENT ON COLUMN rotations.successor_id IS 'The latest that was made; where abandoned, it is revoked';
        COMMENT ON COLUMN rotations.given_up IS 'The successors that were made before that one, all of them revoked';
        COMMENT ON COLUMN rotations.new_expires_at IS 'Of the successor; NULL: never';
        COMMENT ON COLUMN rotations.grace_until IS 'When the old token ends at the latest; NULL: it is revoked at once';
        COMMENT ON COLUMN rotations.member_ids IS 'The memberships of the bot that were moved';
        COMMENT ON COLUMN rotations.old_member_expires_at IS 'When those ended before, one by one';
        COMMENT ON COLUMN rotations.changed_at IS 'When the state was reached';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE rotations;
        DELETE FROM runs WHERE kind = 'rotate';

        ALTER TABLE runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo'));
        """
    )

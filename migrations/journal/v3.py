"""A key for every table, and what else kept a bot alive when its membership was moved.

Without a key a table that is replicated logically takes no UPDATE and no DELETE. Only tables of the journal are locked
while they are written anew; a run that an older version has under way goes on to write to them afterwards.
"""

from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE token_tasks.notices
            ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
            ADD PRIMARY KEY (run_id, position, id),
            REPLICA IDENTITY DEFAULT;

        DROP INDEX token_tasks.index_notices_on_run_id_and_position;

        ALTER TABLE token_tasks.memberships
            ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
            ADD COLUMN other_token_ids bigint[],
            ADD COLUMN other_expires_at date[],
            ADD PRIMARY KEY (run_id, position, id),
            REPLICA IDENTITY DEFAULT;

        DROP INDEX token_tasks.index_memberships_on_run_id_and_position;

        COMMENT ON COLUMN token_tasks.memberships.other_token_ids IS
            'Other tokens of the bots that were to expire by the last of these ends; NULL: moved before revision 3';
        COMMENT ON COLUMN token_tasks.memberships.other_expires_at IS
            'When those were to expire, one by one';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE token_tasks.notices
            DROP CONSTRAINT notices_pkey,
            DROP COLUMN id,
            REPLICA IDENTITY FULL;

        CREATE INDEX index_notices_on_run_id_and_position ON token_tasks.notices (run_id, position);

        ALTER TABLE token_tasks.memberships
            DROP CONSTRAINT memberships_pkey,
            DROP COLUMN id,
            DROP COLUMN other_token_ids,
            DROP COLUMN other_expires_at,
            REPLICA IDENTITY FULL;

        CREATE INDEX index_memberships_on_run_id_and_position ON token_tasks.memberships (run_id, position);
        """
    )

"""Revocations, the names of the time, plans that are withdrawn, what the journal demands, and a chain over its rows.

A run that an older version has under way goes on to write afterwards: what it writes has no names and is not chained.
"""

from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE token_tasks.runs
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'revoke', 'undo', 'rotate')),
            DROP CONSTRAINT runs_state_check,
            ADD CONSTRAINT runs_state_check
                CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done', 'withdrawn')),
            ADD COLUMN withdrawn_by jsonb,
            ADD COLUMN policy jsonb,
            ADD COLUMN recounted bigint,
            ADD COLUMN withdrawn_at timestamptz,
            ADD COLUMN withdrawn_because text,
            ADD COLUMN entries integer NOT NULL DEFAULT 0,
            ADD COLUMN chain bytea;

        COMMENT ON COLUMN token_tasks.runs.withdrawn_by IS 'Who withdrew the plan; NULL: nobody';
        COMMENT ON COLUMN token_tasks.runs.policy
            IS 'What the instance demanded of tokens when the run was planned; NULL: before revision 4';
        COMMENT ON COLUMN token_tasks.runs.recounted
            IS 'How many tokens had their new date at the end of attempts that came to it; NULL: not counted';
        COMMENT ON COLUMN token_tasks.runs.entries IS 'The number of its last entry';
        COMMENT ON COLUMN token_tasks.runs.chain
            IS 'The SHA-256 of its last entry; NULL: written before revision 4, nothing proves it';

        ALTER TABLE token_tasks.rotations ADD COLUMN new_owner_id bigint;

        COMMENT ON COLUMN token_tasks.rotations.new_owner_id
            IS 'The account that the new token belongs to; NULL: the owner stays';

        CREATE TABLE token_tasks.revocations (
            run_id     bigint      NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position   bigint      NOT NULL,
            id         bigint      GENERATED ALWAYS AS IDENTITY,
            token_ids  bigint[]    NOT NULL,
            revoked    boolean[]   NOT NULL,
            updated_at timestamp[] NOT NULL,
            revoked_at timestamp   NOT NULL,
            PRIMARY KEY (run_id, position, id)
        );

        COMMENT ON TABLE token_tasks.revocations IS 'What revoked tokens were before, chunk by chunk';
        COMMENT ON COLUMN token_tasks.revocations.revoked IS 'False or NULL, one by one: GitLab has both';
        COMMENT ON COLUMN token_tasks.revocations.updated_at IS 'When they were last updated before, UTC, one by one';
        COMMENT ON COLUMN token_tasks.revocations.revoked_at
            IS 'The updated_at that the run gave them, UTC: who has another one was touched since';

        CREATE TABLE token_tasks.names (
            run_id   bigint NOT NULL REFERENCES token_tasks.runs ON DELETE CASCADE,
            position bigint NOT NULL,
            accounts text[] NOT NULL,
            tokens   text[] NOT NULL,
            paths    text[] NOT NULL,
            PRIMARY KEY (run_id, position)
        );

        COMMENT ON TABLE token_tasks.names IS 'What the tokens of a run were called when it was planned, one by one';
        COMMENT ON COLUMN token_tasks.names.position IS 'Of the first of these tokens in the plan';
        COMMENT ON COLUMN token_tasks.names.accounts IS 'The usernames of their owners';
        COMMENT ON COLUMN token_tasks.names.paths IS 'The full paths of the projects or groups of bots; NULL: none';

        ALTER TABLE token_tasks.rotations
            ADD COLUMN account text,
            ADD COLUMN name text,
            ADD COLUMN path text,
            ADD COLUMN successor_name text,
            ADD COLUMN delivered_to text;

        COMMENT ON COLUMN token_tasks.rotations.name
            IS 'What the old token was called when this was planned; NULL: planned before revision 4';
        COMMENT ON COLUMN token_tasks.rotations.path IS 'The full path of the project or group of a bot; NULL: none';
        COMMENT ON COLUMN token_tasks.rotations.delivered_to
            IS 'Where the successor went, of a command its program alone; NULL: nowhere yet';

        CREATE TABLE token_tasks.settings (
            id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name    text        NOT NULL,
            value   jsonb       NOT NULL,
            set_by  jsonb       NOT NULL,
            set_at  timestamptz NOT NULL DEFAULT now(),
            because text
        );

        COMMENT ON TABLE token_tasks.settings
            IS 'What holds for everybody who writes into this journal: the last row of a name counts';

        CREATE TABLE token_tasks.entries (
            run_id     bigint      NOT NULL,
            number     integer     NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(),
            written    text        NOT NULL,
            chain      bytea       NOT NULL,
            PRIMARY KEY (run_id, number)
        );

        COMMENT ON TABLE token_tasks.entries IS 'Each transaction that wrote rows of a run: which, and their SHA-256';
        COMMENT ON COLUMN token_tasks.entries.run_id IS '0: the journal itself, its settings and which runs it has';
        COMMENT ON COLUMN token_tasks.entries.written IS 'A line for each row: its part of the journal, key, SHA-256';
        COMMENT ON COLUMN token_tasks.entries.chain IS 'SHA-256 over the chain of the entry before and this one';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE
            token_tasks.entries, token_tasks.settings, token_tasks.names, token_tasks.revocations;
        DELETE FROM token_tasks.runs WHERE kind = 'revoke' OR state = 'withdrawn';

        ALTER TABLE token_tasks.rotations DROP COLUMN new_owner_id;
        ALTER TABLE token_tasks.rotations
            DROP COLUMN delivered_to,
            DROP COLUMN successor_name,
            DROP COLUMN path,
            DROP COLUMN name,
            DROP COLUMN account;

        ALTER TABLE token_tasks.runs
            DROP COLUMN chain,
            DROP COLUMN entries,
            DROP COLUMN recounted,
            DROP COLUMN policy,
            DROP COLUMN withdrawn_because,
            DROP COLUMN withdrawn_at,
            DROP COLUMN withdrawn_by,
            DROP CONSTRAINT runs_state_check,
            ADD CONSTRAINT runs_state_check CHECK (state IN ('planned', 'running', 'stopped', 'partial', 'done')),
            DROP CONSTRAINT runs_kind_check,
            ADD CONSTRAINT runs_kind_check CHECK (kind IN ('edit', 'extend', 'remove', 'undo', 'rotate'));
        """
    )

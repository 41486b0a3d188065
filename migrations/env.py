"""What Alembic runs for every branch, on the connection and in the transaction that `tokens.upgrade` hands in."""

from alembic import context

context.configure(**context.config.attributes)
context.run_migrations()

"""Runs in the journal that are at a given point, written without changing a token."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import Chunk, Plan, RunKind, TokenIds
from tokens.database import Connection
from tokens.engine import make_engine
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal import setup
from tokens.journal.installation import RunState
from tokens.journal.record import ChunkOutcome, begin, store
from tokens.origin import Origin
from tokens.selection import Selection

OLD, NEW = ExpirationDate.typed("2024-06-15"), ExpirationDate.typed("2030-06-15")

SOMEBODY = Origin("root", "ada", "db1", None, None, "elsewhere 1 1")


@contextmanager
def writing(address: Address) -> Iterator[Connection]:
    with (
        database.connect(address) as connection,
        database.writing(connection, lock_timeout="5s", statement_timeout="30s"),
    ):
        yield connection


def execute(address: Address, *statements: str) -> None:
    with make_engine(address).begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def values(address: Address, statement: str) -> list[Any]:
    with make_engine(address).connect() as connection:
        return list(connection.execute(sa.text(statement)).scalars())


def make_plan(*chunks: Sequence[int], undoes: int | None = None) -> Plan:
    """A plan that moves these tokens from OLD to NEW, or back if it undoes a run."""
    old, new = (OLD, NEW) if undoes is None else (NEW, OLD)
    made = []
    position = 0
    for ids in chunks:
        made.append(Chunk(position, old, new, TokenIds(ids)))
        position += len(ids)
    kind = RunKind.EXTEND if undoes is None else RunKind.UNDO
    return Plan(kind, Selection.every(OLD).as_dict(), Change(to=NEW), tuple(made), undoes=undoes)


def make_run(
    address: Address,
    plan: Plan,
    state: RunState = RunState.DONE,
    *,
    created_at: str = "now",
    reason: str | None = None,
    with_names: bool = True,
) -> int:
    """A run in the journal, as it would be after `state` was reached; the tokens themselves are left as they are."""
    with writing(address) as connection:
        run = store(connection, plan, SOMEBODY, reason, with_names=with_names)
        if state is not RunState.PLANNED:
            record = begin(connection, run, SOMEBODY)
            if state is not RunState.RUNNING:
                record.mark(connection, [ChunkOutcome(chunk, len(chunk.ids)) for chunk in plan.chunks])
                record.finish(connection, state)
        connection.execute(
            "UPDATE token_tasks.runs SET created_at = CAST(%(at)s AS timestamptz) WHERE id = %(run)s",
            at=created_at,
            run=run,
        )
    return run


def make_old_run(address: Address, *ids: int) -> int:
    """A complete run of these tokens, as the first revision of the journal had it."""
    execute(
        address,
        """
        INSERT INTO token_tasks.runs
          (kind, state, selection, change, notices, reason, planned_by, tool_version, tokens, changed, attempt)
        VALUES (
          'extend', 'done', '{"expires": ["2024-06-15"]}', '{"to": "2030-06-15", "by": null, "days": 1}', false, 'why',
          '{"user": "ada", "host": "db1"}', '0.1.0', cardinality(CAST('{%s}' AS bigint[])),
          cardinality(CAST('{%s}' AS bigint[])), 1
        )
        """.replace("%s", ",".join(map(str, ids))),
        """
        INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version, ended_at)
        SELECT max(id), 1, '{"user": "ada", "host": "db1"}', '', '0.1.0', now() FROM token_tasks.runs
        """,
        """
        INSERT INTO token_tasks.chunks (run_id, position, old_expires_at, new_expires_at, token_ids, done_at)
        SELECT max(id), 0, '2024-06-15', '2030-06-15', '{%s}', now() FROM token_tasks.runs
        """.replace("%s", ",".join(map(str, ids))),
    )
    (run,) = values(address, "SELECT max(id) FROM token_tasks.runs")
    return int(run)


@pytest.fixture
def installed(gitlab_database: Address) -> Address:
    """GitLab's tables of the newest release and a journal, both empty."""
    setup.install(gitlab_database)
    return gitlab_database

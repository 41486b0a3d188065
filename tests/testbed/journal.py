"""Runs in the journal that are at a given point, written without changing a token."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import Chunk, TokenIds
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection, array_literal
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal import chain, proof, settings
from tokens.journal.attempts import begin
from tokens.journal.installation import REVISION, RunState, read_revision
from tokens.journal.record import ChunkOutcome
from tokens.journal.storing import store
from tokens.origin import Origin
from tokens.selection import Selection

WITH_JOURNAL = "head, with a journal"
"""What `gitlab_database_at` takes for the newest release with a journal, both empty."""

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
    created_at: str | None = None,
    reason: str | None = None,
    with_names: bool = True,
) -> int:
    """A run in the journal, as it would be after `state` was reached; the tokens themselves are left as they are."""
    with writing(address) as connection:
        if created_at is not None:
            connection.execute(f"ALTER TABLE token_tasks.runs ALTER created_at SET DEFAULT '{created_at}'")
        run = store(connection, plan, SOMEBODY, reason, with_names=with_names)
        if created_at is not None:
            connection.execute("ALTER TABLE token_tasks.runs ALTER created_at SET DEFAULT now()")
        if state is not RunState.PLANNED:
            record = begin(connection, run, SOMEBODY)
            if state is not RunState.RUNNING:
                record.mark(connection, [ChunkOutcome(chunk, len(chunk.ids)) for chunk in plan.chunks])
                record.finish(connection, state)
    return run


OLD_RUN = """
    INSERT INTO token_tasks.runs
      (kind, state, selection, change, notices, reason, planned_by, tool_version, undoes, tokens, changed, attempt,
       heartbeat_at, finished_at)
    VALUES (
      %(kind)s, %(state)s, CAST(%(selection)s AS jsonb), '{"to": "2030-06-15", "by": null, "days": 1}', false,
      %(reason)s, CAST(%(origin)s AS jsonb), '0.1.0', %(undoes)s, %(tokens)s, %(changed)s, %(attempt)s,
      CASE WHEN %(attempt)s = 1 THEN now() END, CASE WHEN %(done)s THEN now() END
    )
    RETURNING id
"""


def make_old_run(
    address: Address, plan: Plan, state: RunState = RunState.DONE, *, reason: str | None = None, process: str = "x 1 1"
) -> int:
    """The same as revisions 1 to 3 of the journal have it, which knew no chain; a run under way is `process`'s."""
    begun = state is not RunState.PLANNED
    done = state in (RunState.DONE, RunState.PARTIAL)
    with writing(address) as connection:
        run = connection.row(
            OLD_RUN,
            kind=plan.kind,
            state=state,
            selection=json.dumps(plan.selection),
            reason=reason,
            origin=json.dumps(SOMEBODY.as_dict()),
            undoes=plan.undoes,
            tokens=plan.tokens,
            changed=plan.tokens if done else 0,
            attempt=int(begun),
            done=done,
        ).id
        for chunk in plan.chunks:
            connection.execute(
                "INSERT INTO token_tasks.chunks VALUES (%(run)s, %(position)s, CAST(%(old)s AS date), "
                "CAST(%(new)s AS date), CAST(%(ids)s AS bigint[]), CASE WHEN %(done)s THEN now() END)",
                run=run,
                position=chunk.position,
                old=chunk.old and chunk.old.literal,
                new=chunk.new and chunk.new.literal,
                ids=array_literal(chunk.ids),
                done=done,
            )
        if begun:
            connection.execute(
                "INSERT INTO token_tasks.attempts VALUES (%(run)s, 1, CAST(%(origin)s AS jsonb), %(process)s, '0.1.0', "
                "now(), CASE WHEN %(ended)s THEN now() END)",
                run=run,
                origin=json.dumps(SOMEBODY.as_dict()),
                process=process,
                ended=state is not RunState.RUNNING,
            )
    return int(run)


TAMPERING = re.compile(r"\s*(INSERT|UPDATE|DELETE|DROP|ALTER).* token_tasks\b(?!.* heartbeat_at )", re.DOTALL)


def assert_that_the_chain_holds(address: Address, executed: Sequence[str] = ()) -> None:
    """Nothing writes into the journal without an entry, but for what a test itself has `executed`."""
    if any(TAMPERING.match(statement) for statement in executed):
        return
    with database.reading(address) as connection:
        if read_revision(connection) == REVISION:
            assert proof.check(connection).faults == ()


@pytest.fixture
def installed(gitlab_database_at: Callable[[str], Address]) -> Address:
    """GitLab's tables of the newest release and a journal, both empty."""
    return gitlab_database_at(WITH_JOURNAL)


@pytest.fixture
def everything(installed: Address) -> Address:
    """A journal with rows in each of its tables, of several runs."""
    make_run(installed, make_plan([1, 2], [3]), reason="why")
    with writing(installed) as connection:
        plan = make_plan([4, 5, 6], [7])
        run = store(connection, plan, SOMEBODY, "for the second time", with_names=False)
        record = begin(connection, run, SOMEBODY)
        first, second = plan.chunks
        connection.execute(
            """
            INSERT INTO token_tasks.notices
              (run_id, position, token_ids, expire_notification_delivered, seven_days_notification_sent_at)
            VALUES (%(run)s, 0, '{4,5}', '{t,NULL}', '{2026-01-02 03:04:05.6+00,NULL}')
            """,
            run=run,
        )
        record.keep_memberships(connection, first, [1, 2], ["2026-01-01", "2026-01-02"], None)
        connection.execute(
            "INSERT INTO token_tasks.revocations (run_id, position, token_ids, revoked, updated_at, revoked_at) "
            "VALUES (%(run)s, 0, '{4}', '{f}', '{2026-01-02 03:04:05.6}', '2026-01-03')",
            run=run,
        )
        record.mark(connection, [ChunkOutcome(first, 1, [5], [6]), ChunkOutcome(second, 1)])
        connection.execute(
            "INSERT INTO token_tasks.names (run_id, position, accounts, tokens, paths) "
            "VALUES (%(run)s, 0, '{ada}', '{deploy key}', '{group/größe}')",
            run=run,
        )
        connection.execute(
            "INSERT INTO token_tasks.rotations (run_id, token_id, member_ids, old_member_expires_at, given_up) "
            "VALUES (%(run)s, 9, '{1}', '{2026-01-01}', '{8}')",
            run=run,
        )
        chain.enter(connection, run, names=[0], rotations=[9])
        record.finish(connection, RunState.PARTIAL, "locked")
        settings.set_four_eyes(connection, on=True, origin=SOMEBODY, because="two people")
    make_run(installed, make_plan([1]), RunState.PLANNED)
    assert_that_the_chain_holds(installed)
    return installed

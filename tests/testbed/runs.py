"""Plans and runs carried out in this process, as the journal records them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tokens import database, origin
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import Plan, RunKind, make_plan
from tokens.database import Connection
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.attempts import begin
from tokens.journal.record import Record
from tokens.journal.storing import store
from tokens.origin import Origin
from tokens.run.batches import Finished, run
from tokens.run.stored_plans import plan_to_apply
from tokens.run.undo import plan_to_undo
from tokens.selection import Selection
from tokens.upgrade import Branch, upgrade

OLD = ExpirationDate.typed("2024-06-15")

NEW = ExpirationDate.typed("2030-06-15")

EVERYTHING = """
    SELECT
      (SELECT md5(string_agg(CAST(t AS text), E'\\n' ORDER BY t.id)) FROM public.personal_access_tokens t) AS tokens,
      (SELECT md5(string_agg(CAST(m AS text), E'\\n' ORDER BY m.id)) FROM public.members m) AS members
"""


def install(address: Address) -> None:
    upgrade(address, Branch.JOURNAL)


def everything(address: Address) -> tuple[str, str]:
    """Checksums over all columns of all tokens and of all memberships."""
    with make_engine(address).connect() as connection:
        found = connection.execute(sa.text(EVERYTHING)).one()
        return found.tokens, found.members


@contextmanager
def writing(address: Address) -> Iterator[Connection]:
    with (
        database.connect(address) as connection,
        database.writing(connection, lock_timeout="5s", statement_timeout="30s"),
    ):
        yield connection


def begin_run(address: Address, plan: Plan, who: Origin | None = None) -> Record:
    """Store a plan and begin it."""
    who = who or origin.here()
    with writing(address) as connection:
        number = store(connection, plan, who, None)
    return resume(address, number, who)


def resume(address: Address, number: int, who: Origin | None = None) -> Record:
    with writing(address) as connection:
        return begin(connection, number, who or origin.here())


def apply(address: Address, number: int, jobs: int = 1) -> Finished:
    """Go on with a run, to its end."""
    plan = plan_to_apply(address, number).plan
    *_, end = run(address, plan, resume(address, number), jobs=jobs, pause=lambda seconds: None)
    assert isinstance(end, Finished)
    return end


def undo(address: Address, number: int, jobs: int = 1) -> Finished:
    """Put back what a run has changed, as the next run."""
    plan = plan_to_undo(address, number).plan
    *_, end = run(address, plan, begin_run(address, plan), jobs=jobs, pause=lambda seconds: None)
    assert isinstance(end, Finished)
    return end


def query(address: Address, statement: str, **parameters: object) -> list[Any]:
    with make_engine(address).connect() as connection:
        return list(connection.execute(sa.text(statement), parameters))


def execute(address: Address, statement: str, **parameters: object) -> None:
    with make_engine(address).begin() as connection:
        connection.execute(sa.text(statement), parameters)


def plan_of(address: Address) -> Plan:
    return make_plan(address, RunKind.EXTEND, Selection.every(OLD), Change(NEW))


def set_back(address: Address, seconds: int) -> None:
    """Let the last sign of life of every run be older."""
    execute(
        address,
        "UPDATE token_tasks.runs SET heartbeat_at = clock_timestamp() - make_interval(secs => :seconds)",
        seconds=seconds,
    )


def dates(address: Address) -> dict[str, int]:
    found = query(address, "SELECT CAST(expires_at AS text) AS day, count(*) FROM personal_access_tokens GROUP BY 1")
    return {row[0]: row[1] for row in found}

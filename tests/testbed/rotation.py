"""Tokens of every kind of account, and what a rotation has made of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_token, make_user
from tests.testbed.runs import resume, writing
from tokens import database, origin
from tokens.address import Address
from tokens.gitlab.digest import Keys
from tokens.gitlab.kind import Kind
from tokens.gitlab.schema import read_schema
from tokens.journal.installation import RunState
from tokens.journal.record import Record
from tokens.rotation.candidate import Candidate, Search, find
from tokens.rotation.obstacles import Standing, read_standings
from tokens.rotation.plan import Rotation, RotationPlan, plan
from tokens.rotation.stage import Stage, mark, store
from tokens.rotation.successor import Successor, create
from tokens.selection import EVERY_STATE, Selection

PROJECT_BOT, SERVICE_ACCOUNT = 6, 13

EVERY_KIND = frozenset(Kind) - {Kind.OTHER}

KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])

TODAY = datetime.now(UTC).date()

GONE, SOON, LATER = TODAY - timedelta(days=30), TODAY + timedelta(days=5), TODAY + timedelta(days=100)

IN_A_YEAR = TODAY + timedelta(days=365)


@contextmanager
def rows(address: Address) -> Iterator[sa.Connection]:
    with make_engine(address).begin() as connection:
        yield connection


def service_account(address: Address, expires_at: date | None = SOON, **columns: Any) -> int:
    """The token of a service account of its own."""
    with rows(address) as connection:
        user = make_user(connection, user_type=SERVICE_ACCOUNT)
        return make_token(connection, user_id=user, expires_at=expires_at, **columns)


def project_bot(address: Address, ends_at: date | str | None, tokens: int = 1) -> tuple[list[int], int]:
    """The tokens of a project's bot, and its membership, which ends on that day."""
    with rows(address) as connection:
        bot = make_user(connection, user_type=PROJECT_BOT)
        project = make_project(connection)
        member = make_membership(connection, user_id=bot, project_id=project, expires_at=ends_at)
        return [make_token(connection, user_id=bot, expires_at=SOON) for _ in range(tokens)], member


def named(address: Address, *tokens: int) -> list[Candidate]:
    every = Selection((), kinds=EVERY_KIND, states=EVERY_STATE)
    return [one for token in tokens for one in find(address, Search(every, token=str(token)))]


def standing(address: Address, token: int) -> Standing:
    with database.reading(address) as connection:
        return read_standings(connection, read_schema(connection), [token])[token]


def plan_of(address: Address, *tokens: int, **options: Any) -> RotationPlan:
    asked = {"expires_in": 365, "grace": None, "release": None, "allow_personal": False} | options
    return plan(address, named(address, *tokens), **asked)


def begun(address: Address, planned: RotationPlan) -> Record:
    with writing(address) as connection:
        number = store(connection, planned, origin.here(), "because")
    return resume(address, number)


def ended(address: Address, record: Record) -> None:
    with writing(address) as connection:
        record.finish(connection, RunState.DONE)


def reached(address: Address, record: Record, rotation: Rotation, stage: Stage) -> Successor:
    """A successor that was made and has come as far as `stage`."""
    with database.connect(address) as connection:
        successor = create(connection, rotation, KEYS, run=record)
        for state in (Stage.VERIFIED, Stage.DELIVERED):
            if stage in (state, Stage.DELIVERED):
                mark(connection, record, rotation.candidate.id, state)
    return successor


TOKEN = re.compile(r"glpat-[A-Za-z0-9_-]{27,}\.01\.[0-9a-z]{9}")
"""A token in clear of the newest release."""

TABLES = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'token_tasks')
"""

CONTENT = "SELECT string_agg(CAST(r AS text), ' ') FROM {} r"

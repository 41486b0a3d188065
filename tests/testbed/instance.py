"""A GitLab database and the program against it, for the tasks that change dates."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_tokens,
    make_user,
)
from tests.testbed.journal import assert_that_the_chain_holds
from tests.testbed.program import AS_TYPED, GITLAB_TOKENS
from tests.testbed.screen import Program
from tests.testbed.servers import Alone
from tokens.address import Address

TODAY = datetime.now(UTC).date()

SOON = TODAY + timedelta(30)

LATER = SOON + timedelta(365)

RELEASE = "GitLab 19.2"
"""As the newest revision's migrations tell it."""

NOWHERE = Address("postgresql://gitlab@127.0.0.1:1/nowhere", "nowhere")

ROWS = "SELECT md5(string_agg(CAST(to_jsonb(r) AS text), ',' ORDER BY id)) FROM public.{} r"


@dataclass(frozen=True)
class Instance:
    """A GitLab database, and the program to be run against it."""

    address: Address
    executed: list[str] = field(default_factory=list, compare=False)

    def run(
        self, *words: object, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `gitlab-tokens` with the target in its environment, without a terminal and a process of its own."""
        return call_here(GITLAB_TOKENS, *map(str, words), stdin=stdin or "", env={**self.variables, **(env or {})})

    def done(self, *words: object, **options: Any) -> str:
        """What a run prints that ends well and complains about nothing."""
        done = self.run(*words, **options)
        assert (done.returncode, complaints(done)) == (0, [])
        return done.stdout

    def refusal(self, *words: object, status: int = 3, **options: Any) -> str:
        """The one line of a run that changes nothing and ends with `status`."""
        before = self.checksum()
        done = self.run(*words, **options)
        assert done.returncode == status, done
        assert self.checksum() == before
        return one_line(done)

    def json(self, *words: object, status: int = 0) -> Any:
        """The document that a run with `--output json` prints, and nothing else."""
        done = self.run(*words, "--output", "json")
        assert done.returncode == status, done
        assert ("to do it all the same use" in done.stderr or "to go on: " in done.stderr) == bool(status)
        return json.loads(done.stdout)

    def facts(self, *words: object, status: int = 0) -> Any:
        """The same without the head that every document has."""
        document = self.json(*words, status=status)
        head = {name: document.pop(name) for name in ("schema", "instance", "made_at")}
        assert (head["schema"], head["instance"]["name"]) == (1, self.named.removesuffix(f" ({RELEASE})"))
        return document

    def terminal(self, *words: object, size: tuple[int, int] = (50, 160)) -> Program:
        """The same with a terminal."""
        return Program([GITLAB_TOKENS, *map(str, words)], env=self.variables, size=size)

    @property
    def variables(self) -> dict[str, str]:
        """What says where the database is, and makes what to type next short."""
        path = f"{Path(GITLAB_TOKENS).parent}{os.pathsep}{os.environ['PATH']}"
        return {"INVOKE_TOKENS_TARGET": url(self.address), "PATH": path}

    @property
    def named(self) -> str:
        """What a question calls the instance."""
        parts = conninfo_to_dict(self.address.conninfo)
        return f"database {parts['dbname']} on {parts['host']}:{parts['port']} ({RELEASE})"

    def command(self, *words: object) -> list[str]:
        """What to type."""
        return [GITLAB_TOKENS, *map(str, words), "--target", url(self.address)]

    def way_back(self, run: int) -> str:
        """What a message about a run ends with, where `command` was typed."""
        return f"→ to take it back: {AS_TYPED} undo --target {shlex.quote(url(self.address))} --run {run}"

    def execute(self, *statements: str, **parameters: object) -> None:
        """Do something in the database."""
        with make_engine(self.address).begin() as connection:
            for statement in statements:
                self.executed.append(statement)
                connection.execute(sa.text(statement), parameters)

    def value(self, statement: str, **parameters: object) -> Any:
        """What the database answers."""
        with make_engine(self.address).connect() as connection:
            return connection.execute(sa.text(statement), parameters).scalar_one()

    def dates(self) -> dict[int, str | None]:
        """Every token's date."""
        statement = sa.text("SELECT id, CAST(expires_at AS text) FROM public.personal_access_tokens")
        with make_engine(self.address).connect() as connection:
            return {row[0]: row[1] for row in connection.execute(statement)}

    def counts(self) -> dict[str | None, int]:
        """How many tokens have each date."""
        dates = list(self.dates().values())
        return {day: dates.count(day) for day in dates}

    def checksum(self) -> tuple[str, str]:
        """Over all columns of all tokens and all memberships."""
        return self.value(ROWS.format("personal_access_tokens")), self.value(ROWS.format("members"))


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error, without those that say how far a run is, which a busy machine lets show up."""
    return [line for line in done.stderr.splitlines() if not re.search(r"\d of [\d,]+ tokens \(\d+ %\)|\.\.\.$", line)]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only complaint."""
    (line,) = complaints(done)
    assert line.isprintable()
    return line


def planned(document: Any) -> list[tuple[str | None, str | None, int]]:
    """The moves of a plan in JSON."""
    moves = document["plan"]["moves"]
    return [(move["old_expires_at"], move["new_expires_at"], move["tokens"]) for move in moves]


MALLORY = "mal\x1b[2Jlory"

EXTEND = ("extend", "--expires", SOON, "--to", LATER)


@pytest.fixture
def instance(alone: Alone) -> Iterator[Instance]:
    """On the newest server alone, with a journal: 60 tokens soon, 20 of them of a user with a name that is none."""
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            make_tokens(connection, 40, expires_at=SOON)
            mallory = make_user(connection, username=MALLORY)
            make_tokens(connection, 20, expires_at=SOON, user_id=mallory, name="\x1b[31m\u202ename")
        instance = Instance(address)
        yield instance
        assert_that_the_chain_holds(address, instance.executed)

"""What only reads, against psql: `list`, `forecast`, `breakdown` and `check`, and the memory that a long list takes."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlencode

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.benchmark.copies import Copies
from tests.benchmark.figures import judge, say, seconds, timed
from tests.testbed.engine import make_engine
from tests.testbed.screen import Program
from tokens import database
from tokens.address import Address
from tokens.gitlab.expiration import ExpirationDate
from tokens.inventory.breakdown import breakdown
from tokens.inventory.due import due
from tokens.inventory.forecast import forecast
from tokens.inventory.token_columns import COLUMNS, Shown
from tokens.inventory.tokens import Layout, listed
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection

PROGRAM = str(Path(sys.executable).parent / "gitlab-tokens")
RUNS = 5
LISTED = 1_512_500  # tokens at most, all of whole days
SCREEN = 50  # tokens that a terminal gets
COUNTED = Selection((), kinds=EVERY_KIND, states=EVERY_STATE)
"""What `forecast`, `breakdown` and `check` count where no option says otherwise."""

COMING = """
    SELECT max(of_a_day.expires_at)
    FROM (
      SELECT expires_at, sum(count(*)) OVER (ORDER BY expires_at) AS tokens
      FROM public.personal_access_tokens
      WHERE expires_at > current_date
      GROUP BY expires_at
    ) of_a_day
    WHERE of_a_day.tokens <= %s
"""

# Every tenth user becomes the bot of a project or a group of its own, every fiftieth a service account. A fifth of the
# bots' memberships end within two months.
PEOPLE = (
    """
    INSERT INTO public.namespaces (id, name, path, type, traversal_ids, organization_id, created_at, updated_at)
    SELECT 1000000 + n, 'Group ' || n, 'group' || n, 'Group', ARRAY[1000000 + n], 1, '2025-01-01', '2025-01-01'
    FROM generate_series(1, 3000) n
    """,
    """
    INSERT INTO public.namespaces
      (id, name, path, type, parent_id, traversal_ids, organization_id, created_at, updated_at)
    SELECT
      2000000 + n, 'Project ' || n, 'project' || n, 'Project', 1000001 + n % 3000,
      ARRAY[1000001 + n % 3000, 2000000 + n], 1, '2025-01-01', '2025-01-01'
    FROM generate_series(1, 7000) n
    """,
    """
    INSERT INTO public.projects
      (id, name, path, namespace_id, project_namespace_id, organization_id, created_at, updated_at)
    SELECT n, 'Project ' || n, 'project' || n, 1000001 + n % 3000, 2000000 + n, 1, '2025-01-01', '2025-01-01'
    FROM generate_series(1, 7000) n
    """,
    """
    INSERT INTO public.routes (source_id, source_type, path, name, namespace_id, created_at, updated_at)
    SELECT id, 'Namespace', path, name, id, created_at, updated_at
    FROM public.namespaces
    WHERE type = 'Group'
    UNION ALL
    SELECT p.id, 'Project', g.path || '/' || p.path, p.name, p.project_namespace_id, p.created_at, p.updated_at
    FROM public.projects p
    JOIN public.namespaces g ON g.id = p.namespace_id
    """,
    """
    INSERT INTO public.members
      (user_id, access_level, source_id, source_type, type, notification_level, member_namespace_id, created_at,
       updated_at, expires_at)
    SELECT
      n * 10, 40,
      CASE WHEN n <= 7000 THEN n ELSE 1000000 + n - 7000 END,
      CASE WHEN n <= 7000 THEN 'Project' ELSE 'Namespace' END,
      CASE WHEN n <= 7000 THEN 'ProjectMember' ELSE 'GroupMember' END,
      3,
      CASE WHEN n <= 7000 THEN 2000000 + n ELSE 1000000 + n - 7000 END,
      '2025-01-01', '2025-01-01',
      CASE WHEN n % 5 = 0 THEN current_date + CAST(1 + n % 60 AS integer) END
    FROM generate_series(1, 10000) n
    """,
    "UPDATE public.users SET user_type = CASE WHEN id % 10 = 0 THEN 6 ELSE 13 END WHERE id % 10 = 0 OR id % 50 = 1",
)


def people(address: Address) -> None:
    """Give the tokens of a filled table to people, bots and service accounts."""
    with make_engine(address).begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no foreign keys to check
        for statement in PEOPLE:
            connection.execute(sa.text(statement))
    with make_engine(address).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))


def measure_reading(copies: Copies) -> None:
    """Every figure beside the statements that are sent, in psql on the same server."""
    address = copies.template_address
    people(address)
    measure_counting(copies, address)
    measure_screen(address)
    measure_csv(copies, address)


def measure_counting(copies: Copies, address: Address) -> None:
    """`forecast`, `breakdown` and `check`, connection and preflight included, as `analyze` is measured."""
    tasks: dict[str, Callable[[], object]] = {
        "forecast": lambda: forecast(address, COUNTED, 90),
        "breakdown": lambda: breakdown(address, COUNTED),
        "check": lambda: due(address, COUNTED, 30, 7),
    }
    for name, work in tasks.items():
        with sent(address) as statements:
            work()
        longest = max(statements, key=lambda one: one.seconds).text
        ours, psql = [], []
        for _ in range(RUNS):
            psql.append(copies.psql(address, longest))
            ours.append(timed(work))
        say(f"{name}: psql", seconds(psql), "its longest statement")
        say(f"{name}: ours", seconds(ours))
        if name == "check":
            judge("check: ours", statistics.median(ours), 0.5, unit=" s")
        else:
            ratios = [one / other for one, other in zip(ours, psql, strict=True)]
            judge(f"{name}: ratio", statistics.median(ratios), 1.1, remark="median of the pairs")


def measure_screen(address: Address) -> None:
    """The first screen of `list`, until its last row is there, beside a program that only says its version."""
    start, screen = [], []
    for _ in range(RUNS):
        start.append(until(["--version"], address, lambda program: "gitlab-tokens" in program.text))
        screen.append(until(["list"], address, lambda program: program.raw.count(b"\n") > SCREEN))
    say("list: start-up", seconds(start), "gitlab-tokens --version on a terminal")
    say("list: first screen", seconds(screen), f"{SCREEN} tokens")
    judge("list: more than start-up", statistics.median(screen) - statistics.median(start), 0.5, unit=" s")


def until(words: Sequence[str], address: Address, shown: Callable[[Program], bool]) -> float:
    """Seconds until a program of its own shows something on its terminal."""
    argv = [sys.executable, PROGRAM, *words]  # a process that begins with nothing imported
    with Program(argv, env={"INVOKE_TOKENS_TARGET": target(address)}, size=(100, 120)) as program:
        started = time.perf_counter()
        program.wait_for(lambda: shown(program), timeout=60)
        taken = time.perf_counter() - started
        program.wait(timeout=60)
    return taken


def measure_csv(copies: Copies, address: Address) -> None:
    """`list --output csv` beside psql, which copies the plain columns of the same tokens in the same order."""
    with psycopg.connect(address.conninfo) as connection:
        row = connection.execute(COMING, (LISTED,)).fetchone()
    tomorrow = datetime.now(UTC).date() + timedelta(1)
    last = row[0] if row and row[0] else tomorrow
    words = ["list", "--expires", f"{tomorrow}..{last}", "--output", "csv"]
    query = asked(address, DateRange(ExpirationDate.typed(str(tomorrow)), ExpirationDate.typed(str(last))))
    ours, psql, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokens.csv"
        for _ in range(RUNS):
            psql.append(copies.copied(address, query, file))
            one = written(words, address, file)
            ours.append(one.seconds)
            peaks.append(one.peak)
        with file.open("rb") as written_file:
            rows = sum(1 for _ in written_file) - 1
    say("list: tokens as CSV", f"{rows:,}")
    say("list: psql", seconds(psql), r"\copy")
    say("list: ours", seconds(ours), "start-up included")
    ratios = [one / other for one, other in zip(ours, psql, strict=True)]
    judge("list: ratio", statistics.median(ratios), 1.5, remark="median of the pairs")
    judge("list: memory", max(peaks) / 2**20, 100, unit=" MiB", places=1, remark="the peak of its process")


def asked(address: Address, days: DateRange) -> str:
    """What `list` asks for the columns of its CSV where it writes that itself."""
    statements: list[str] = []

    def noted(_: database.Connection, statement: str, *__: int, **parameters: object) -> Iterator[object]:
        with psycopg.connect(address.conninfo) as other:
            statements.append(psycopg.ClientCursor(other).mogrify(statement, parameters))
        return iter(())

    columns = tuple(one for one in COLUMNS if one.shown is Shown.ALWAYS or one.cheap)
    with patch.object(database.Connection, "stream", noted), listed(address, Selection((days,)), Layout(columns)):
        return statements[0]


@dataclass(frozen=True)
class Written:
    """What a process of its own took: seconds, and bytes at its peak."""

    seconds: float
    peak: int


def written(words: Sequence[str], address: Address, file: Path) -> Written:
    """Run the program with its output in a file."""
    started = time.perf_counter()
    with file.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, *words],
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "INVOKE_TOKENS_TARGET": target(address)},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Written(time.perf_counter() - started, used.ru_maxrss * 1024)


def target(address: Address) -> str:
    """The address as a person would type it."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(address.conninfo))}"


@dataclass(frozen=True)
class Sent:
    """A statement with its values in it, and how many seconds it took."""

    text: str
    seconds: float


@contextmanager
def sent(address: Address) -> Iterator[list[Sent]]:
    """The statements that are sent in the block."""
    statements: list[Sent] = []
    send = database.Connection._send

    def noted(self: database.Connection, statement: str, parameters: dict[str, object]) -> object:
        started = time.perf_counter()
        result = send(self, statement, parameters)
        with psycopg.connect(address.conninfo) as other:
            text = psycopg.ClientCursor(other).mogrify(statement, parameters or None)
        statements.append(Sent(text, time.perf_counter() - started))
        return result

    with patch.object(database.Connection, "_send", noted):
        yield statements

"""Measure the program, against psql where it can: `python -m tests.benchmark`, all of it or some of its parts.

Machines differ and are noisy, so what counts are the ratios: every pair of figures is taken in the same run, on the
same server, on equal copies of one table with GitLab's indexes. Prints a line a figure; nothing here passes or fails.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.docker import engine, image
from tests.docker.engine import Engine
from tokens.address import Address
from tokens.analysis import analyze
from tokens.engine import make_engine
from tokens.gitlab.expiration import ExpirationDate
from tokens.plan import make_plan
from tokens.run import BatchCommitted, BatchStarting, run
from tokens.selection import Selection
from tokens.targets import demo as demos
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import packaged_binaries
from tokens.targets.there import bundle as bundles
from tokens.targets.there.bundle import Bundle
from tokens.upgrade import Branch, upgrade

PARTS = ["start", "bundle", "docker", "analyze", "extend"]
LIBRARIES = "import invoke, psycopg"
RUNS = 3
START_RUNS = 15
OLD, NEW = "2027-03-15", "2028-03-15"
SELECTED = 14  # tokens in a hundred that carry OLD: 700,000 of five million

# A server that waits for its disk as a real one does, with room for five million tokens.
SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "1GB", "autovacuum": "off"}

COUNT = (
    "SELECT expires_at, count(*) FROM public.personal_access_tokens "
    "GROUP BY expires_at ORDER BY count(*) DESC, expires_at DESC LIMIT 10"
)
UPDATE = f"UPDATE public.personal_access_tokens SET expires_at = '{NEW}' WHERE expires_at = '{OLD}'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.benchmark")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--tokens", type=int, default=5_000_000, help="rows in the table (default: 5,000,000)")
    parser.add_argument("--postgresql", type=int, choices=[16, 18], default=18)
    parser.add_argument("--child", metavar="CONNINFO", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(extend(Address(arguments.child, "the copy"))))
        return
    parts = arguments.parts or PARTS
    if "start" in parts:
        measure_start()
    if "bundle" in parts or "docker" in parts:
        with built_bundle() as (bundle, program):
            if "bundle" in parts:
                measure_bundle(bundle, program)
            if "docker" in parts:
                measure_docker(bundle)
    if {"analyze", "extend"} & set(parts):
        with table(arguments.tokens, arguments.postgresql) as copies:
            if "analyze" in parts:
                measure_analyze(copies)
            if "extend" in parts:
                measure_extend(copies, arguments.tokens)


def measure_start() -> None:
    """The whole process of `inv tokens.analyze` on a demo that runs, beside a Python that does nothing."""
    binaries = Path(sys.executable).parent
    inv = [str(binaries / "inv"), "tokens.analyze", "--target", "demo"]
    script = [str(binaries / "gitlab-tokens"), "analyze", "--target", "demo"]
    subprocess.run(inv, check=True, capture_output=True)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "the libraries' imports alone": [sys.executable, "-c", LIBRARIES],
        "inv tokens.analyze": inv,
        "gitlab-tokens analyze": script,
    }
    measure_commands("start", commands)
    say("start: goal for analyze", "0.45 s")


@contextmanager
def built_bundle() -> Iterator[tuple[Bundle, Path]]:
    """A bundle, and its program unpacked where every account may run it."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-"))
    folder.chmod(0o755)
    try:
        seconds = timed(lambda: bundles.build(folder))
        bundle = bundles.available(folder)
        assert bundle is not None
        say("bundle: build", f"{seconds:.1f} s")
        with tarfile.open(bundle.path) as tar:
            say("bundle: unpack", f"{timed(lambda: tar.extractall(folder / 'there', filter='tar')):.1f} s")
        yield bundle, folder / "there/gitlab-tokens"
    finally:
        shutil.rmtree(folder)


def measure_bundle(bundle: Bundle, program: Path) -> None:
    """The bundle's size, and its start from a warm and from a cold page cache, beside the installed program's."""
    files = [path for path in program.parent.rglob("*") if path.is_file()]
    say("bundle: packed", f"{bundle.path.stat().st_size / 2**20:.1f} MiB")
    say("bundle: unpacked", f"{sum(path.stat().st_size for path in files) / 2**20:.1f} MiB", f"{len(files):,} files")
    installed = str(Path(sys.executable).parent / "gitlab-tokens")
    words = ["analyze", "--target", "demo"]
    subprocess.run([installed, *words], check=True, capture_output=True)
    demo = demos.status().address.conninfo
    words = ["analyze", "--target", f"postgresql:///?{urlencode(conninfo_to_dict(demo))}"]
    measure_commands(
        "bundle",
        {
            "gitlab-tokens --version": [str(program), "--version"],
            "gitlab-tokens analyze": [str(program), *words],
            "the installed program's analyze": [installed, *words],
        },
    )
    cold = []
    for _ in range(5):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cold.append(timed(partial(subprocess.run, [str(program), *words], check=True, capture_output=True)))
    say("bundle: gitlab-tokens analyze, cold", f"{statistics.median(cold):.3f} s", "of 5 runs, its files evicted")


def measure_docker(bundle: Bundle) -> None:
    """`--target docker:` beside the same inside the container, once the bundle is there."""
    if reason := engine.missing() or image.missing():
        say("docker", "not measured", reason)
        return
    with Engine() as docker:
        image.build(docker)
        with image.container(docker, "gitlab") as container:
            variables = docker.environment() | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundle.path.parent)}
            os.environ.update(variables)
            outside = [str(Path(sys.executable).parent / "gitlab-tokens"), "analyze", "--target", "docker:gitlab"]
            first = timed(partial(subprocess.run, outside, check=True, capture_output=True))
            say("docker: first call", f"{first:.1f} s", "the bundle is carried there")
            folder = container.exec("sh", "-c", "echo /var/lib/gitlab-tokens-0/*").stdout.strip()
            inside = ["docker", "exec", "gitlab", f"{folder}/gitlab-tokens", "analyze"]
            medians = measure_commands("docker", {"docker exec … analyze": inside, "--target docker:gitlab": outside})
            difference = medians["--target docker:gitlab"] - medians["docker exec … analyze"]
            say("docker: from outside costs", f"{difference:.3f} s", "goal: at most 0.3 s")


def measure_commands(part: str, commands: dict[str, list[str]]) -> dict[str, float]:
    """The median of several runs of each command, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(START_RUNS):
        for name, command in commands.items():
            seconds[name].append(timed(partial(subprocess.run, command, check=True, capture_output=True)))
    for name, values in seconds.items():
        say(
            f"{part}: {name}",
            f"{statistics.median(values):.3f} s",
            f"median of {START_RUNS} runs, fastest {min(values):.3f} s",
        )
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_analyze(copies: "Copies") -> None:
    address = copies.template_address
    analyze(address)
    ours, psql = [], []
    for _ in range(2 * RUNS + 1):
        psql.append(copies.psql(address, COUNT))
        ours.append(timed(lambda: analyze(address)))
    say("analyze: psql", f"{statistics.median(psql):.2f} s")
    say("analyze: ours", f"{statistics.median(ours):.2f} s", "connection and preflight included")
    say("analyze: ratio", f"{statistics.median(ours) / statistics.median(psql):.2f}", "goal: at most 1.1")


def measure_extend(copies: "Copies", tokens: int) -> None:
    ours, psql, longest, peaks = [], [], [], []
    for _ in range(RUNS):
        with copies.copy() as address:
            psql.append(copies.psql(address, UPDATE))
        with copies.copy() as address:
            found = child(address)
            ours.append(found["plan"] + found["run"])
            longest.append(found["longest"])
            peaks.append(found["peak"])
    selected = int(found["changed"])
    say("extend: tokens", f"{selected:,} of {tokens:,}")
    say("extend: psql", " ".join(f"{value:.1f}" for value in psql) + " s", "one UPDATE")
    say("extend: ours", " ".join(f"{value:.1f}" for value in ours) + " s", "plan and run, preflight included")
    say(
        "extend: ratio",
        f"{statistics.median(ours) / statistics.median(psql):.2f}",
        "of the medians; goal: at most 1.15",
    )
    say("extend: longest transaction", f"{max(longest):.2f} s", "goal: about 1 s")
    with copies.copy() as address:
        with make_engine(address).begin() as connection:
            connection.execute(
                sa.text(
                    f"UPDATE personal_access_tokens SET expires_at = NULL WHERE expires_at = '{OLD}' AND id % 100 > 0"
                )
            )
        few = child(address)
    bytes_a_token = (statistics.median(peaks) - few["peak"]) / (selected - few["changed"])
    say(
        "memory: peak",
        f"{statistics.median(peaks) / 2**20:.1f} MiB",
        f"{few['peak'] / 2**20:.1f} MiB for {int(few['changed']):,} tokens",
    )
    say("memory: bytes a token", f"{bytes_a_token:.1f}", "over that constant; goal: at most 8")


def extend(address: Address) -> dict[str, float]:
    """Plan and run in this process; seconds, tokens, bytes."""
    started = time.perf_counter()
    plan = make_plan(address, Selection(ExpirationDate.typed(OLD)), ExpirationDate.typed(NEW))
    planned = time.perf_counter()
    longest, begun, changed = 0.0, planned, 0
    for event in run(address, plan):
        match event:
            case BatchStarting():
                begun = time.perf_counter()
            case BatchCommitted(changed):
                longest = max(longest, time.perf_counter() - begun)
    return {
        "plan": planned - started,
        "run": time.perf_counter() - planned,
        "longest": longest,
        "changed": changed,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def child(address: Address) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmark", "--child", address.conninfo]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Copies:
    """Equal copies of one filled database, made and dropped one at a time."""

    def __init__(self, server: Server, binaries: Path) -> None:
        self._server = server
        self._psql = binaries / "psql"
        self.template_address = server.address("template")

    @contextmanager
    def copy(self) -> Iterator[Address]:
        self._administer("CREATE DATABASE copy TEMPLATE template STRATEGY file_copy")
        try:
            address = self._server.address("copy")
            # Both sides start with what the copy left in the caches, written out.
            self.psql(address, "SELECT count(*) FROM personal_access_tokens")
            self._administer("CHECKPOINT")
            yield address
        finally:
            self._administer("DROP DATABASE copy WITH (FORCE)")

    def psql(self, address: Address, statement: str) -> float:
        """Seconds that psql measures for the statement itself."""
        command = [str(self._psql), "-X", "-q", "-c", r"\timing on", "-c", statement, address.conninfo]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.rsplit("Time: ", 1)[1].split(" ms")[0]) / 1000

    def _administer(self, statement: str) -> None:
        engine = make_engine(self._server.address("postgres")).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(statement))


@contextmanager
def table(tokens: int, major: int) -> Iterator[Copies]:
    folder = Path(tempfile.mkdtemp(prefix="tokens-benchmark-"))
    folder.chmod(0o755)
    binaries = packaged_binaries(major)
    server = Server(folder / "postgresql", binaries=binaries, settings=SETTINGS)
    server.start()
    try:
        copies = Copies(server, binaries)
        copies._administer("CREATE DATABASE template")
        upgrade(copies.template_address, Branch.GITLAB)
        seconds = timed(lambda: fill(copies.template_address, tokens))
        say("table", f"{tokens:,} tokens, PostgreSQL {major}", f"filled in {seconds:.0f} s")
        yield copies
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def fill(address: Address, tokens: int) -> None:
    """Tokens of 100,000 people, `SELECTED` in a hundred on OLD, the rest over 400 dates; indexes made at the end."""
    with make_engine(address).begin() as connection:
        indexes = connection.execute(
            sa.text("""
                SELECT indexname, indexdef FROM pg_indexes
                WHERE schemaname = 'public' AND tablename = 'personal_access_tokens' AND indexname NOT LIKE '%_pkey'
            """)
        ).all()
        for index in indexes:
            connection.execute(sa.text(f"DROP INDEX public.{index.indexname}"))
        connection.execute(
            sa.text("""
                INSERT INTO users (id, username, name, email, state, organization_id, user_type)
                SELECT n, 'user' || n, 'User ' || n, 'user' || n || '@example.com', 'active', 1, 0
                FROM generate_series(1, 100000) n
            """)
        )
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            sa.text("""
                INSERT INTO personal_access_tokens
                  (user_id, name, expires_at, created_at, updated_at, scopes, token_digest, organization_id, user_type)
                SELECT
                  1 + n % 100000, 'token ' || n,
                  CASE
                    WHEN n * 7919 % 100 < :selected THEN CAST(:old AS date)
                    ELSE date '2026-01-01' + CAST(n % 400 AS integer)
                  END,
                  '2025-01-01', '2025-01-01', E'---\n- api\n',
                  encode(sha256(CAST(CAST(n AS text) AS bytea)), 'base64'), 1, 0
                FROM generate_series(CAST(1 AS bigint), :tokens) n
            """),
            {"selected": SELECTED, "old": OLD, "tokens": tokens},
        )
        for index in indexes:
            connection.execute(sa.text(index.indexdef))
    with make_engine(address).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def say(what: str, figure: str, remark: str = "") -> None:
    print(f"{what:36} {figure:>32}  {remark}".rstrip(), flush=True)


if __name__ == "__main__":
    main()

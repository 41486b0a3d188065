"""One table of tokens on a server of its own, and equal copies of it to measure on."""

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tests.benchmark.figures import say, timed
from tests.testbed.engine import make_engine
from tokens import database
from tokens.address import Address
from tokens.database.driver import login
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.programs import packaged_binaries
from tokens.upgrade import Branch, upgrade

# Far enough ahead for these tokens to be active.
OLD, NEW = "2035-03-15", "2036-03-15"
SELECTED = 15  # tokens in a hundred that carry OLD: 1,500,000 of ten million

UPDATE = f"UPDATE public.personal_access_tokens SET expires_at = '{NEW}' WHERE expires_at = '{OLD}'"

# A server that waits for its disk as a real one does, with room for ten million tokens.
SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "1GB", "autovacuum": "off"}

# Until the table is filled it waits for nothing; what is left in the tables is the same.
FILLING = {**SETTINGS, "fsync": "off", "wal_level": "minimal", "max_wal_senders": "0", "synchronous_commit": "off"}

INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = 'personal_access_tokens' AND indexname NOT LIKE '%_pkey'
"""

# Truncated and filled in one transaction: at wal_level `minimal` that leaves the log out.
TRUNCATE = "TRUNCATE public.personal_access_tokens CASCADE"

USERS = """
    INSERT INTO public.users (id, username, name, email, state, organization_id, user_type)
    SELECT n, 'user' || n, 'User ' || n, 'user' || n || '@example.com', 'active', 1, 0
    FROM generate_series(1, 100000) n
"""

TOKENS = """
    INSERT INTO public.personal_access_tokens
      (user_id, name, expires_at, created_at, updated_at, scopes, token_digest, organization_id, user_type)
    SELECT
      1 + n % 100000, 'token ' || n,
      CASE
        WHEN n * 7919 % 100 < :selected THEN CAST(:old AS date)
        ELSE current_date - 100 + CAST(n % 400 AS integer)
      END,
      '2025-01-01', '2025-01-01', E'---\n- api\n',
      encode(sha256(CAST(CAST(n AS text) AS bytea)), 'base64'), 1, 0
    FROM generate_series(CAST(1 AS bigint), :tokens) n
"""


class Copies:
    """Equal copies of one filled database, made and dropped one at a time."""

    def __init__(self, server: Server, binaries: Path) -> None:
        self._server = server
        self._psql = binaries / "psql"
        self.template_address = server.address("template")

    @contextmanager
    def copy(self) -> Iterator[Address]:
        """A copy for the time of the block."""
        self._administer("CREATE DATABASE copy TEMPLATE template STRATEGY file_copy")
        try:
            address = self._server.address("copy")
            # Both sides start with what the copy left in the caches, written out.
            self.psql(address, "SELECT count(*) FROM personal_access_tokens")
            self.write_out()
            yield address
        finally:
            self._administer("DROP DATABASE copy WITH (FORCE)")

    def psql(self, address: Address, statement: str) -> float:
        """Seconds that psql measures for the statement itself."""
        command = [str(self._psql), "-X", "-q", "-c", r"\timing on", "-c", statement, address.conninfo]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.rsplit("Time: ", 1)[1].split(" ms")[0]) / 1000

    def copied(self, address: Address, query: str, file: Path) -> float:
        """Seconds that psql takes as a whole to copy what a query finds into a file, as CSV."""
        copy = f"\\copy ({' '.join(query.split())}) TO '{file}' (FORMAT csv)"
        command = [str(self._psql), "-X", "-q", "-c", copy, address.conninfo]
        return timed(lambda: subprocess.run(command, check=True, capture_output=True))

    def write_out(self) -> None:
        """Have the server write what has changed to its files."""
        self._administer("CHECKPOINT")

    def log_position(self) -> int:
        """How many bytes the server has put into its write-ahead log so far."""
        with database.reading(self._server.address("postgres")) as connection:
            row = connection.row("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS bytes")
        return int(row.bytes)

    def _administer(self, statement: str) -> None:
        with login(self._server.address("postgres"), autocommit=True) as driver:
            driver.execute(statement.encode())


@contextmanager
def table(tokens: int, major: int) -> Iterator[Copies]:
    """Fill a table with so many tokens on a new server of PostgreSQL `major`, which ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tokens-benchmark-"))
    folder.chmod(0o755)
    binaries = packaged_binaries(major)
    server = Server(folder / "postgresql", binaries=binaries, settings=FILLING)
    try:
        server.start()
        copies = Copies(server, binaries)
        copies._administer("CREATE DATABASE template")
        upgrade(copies.template_address, Branch.GITLAB)
        upgrade(copies.template_address, Branch.JOURNAL)
        seconds = timed(lambda: fill(copies.template_address, tokens))
        server.stop()
        os.sync()
        server = Server(folder / "postgresql", binaries=binaries, settings=SETTINGS)
        server.start()
        say("table", f"{tokens:,} tokens, PostgreSQL {major}", f"filled in {seconds:.0f} s")
        yield Copies(server, binaries)
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def fill(address: Address, tokens: int) -> None:
    """Tokens of 100,000 people, `SELECTED` in a hundred on OLD, the rest over 400 dates, 100 of which are past."""
    with make_engine(address).begin() as connection:
        indexes = connection.execute(sa.text(INDEXES)).all()
        for index in indexes:
            connection.execute(sa.text(f"DROP INDEX public.{index.indexname}"))
        connection.execute(sa.text(USERS))
        connection.execute(sa.text(TRUNCATE))
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no foreign keys to check
        connection.execute(sa.text(TOKENS), {"selected": SELECTED, "old": OLD, "tokens": tokens})
        for index in indexes:
            connection.execute(sa.text(index.indexdef))
    with make_engine(address).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM (ANALYZE)"))


def digest(number: int) -> str:
    """The `token_digest` of the token that was filled in as the `number`th, from 1."""
    return base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()

"""What `whose` takes beyond the start of the program, and how fast it looks into files."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmark.copies import Copies
from tests.benchmark.figures import judge, say, seconds, timed
from tests.testbed.addresses import url
from tokens.address import Address
from tokens.database.driver import login
from tokens.gitlab.digest import Keys
from tokens.inventory.scan import Scan
from tokens.secret import Secret

PROGRAM = str(Path(sys.executable).parent / "gitlab-tokens")
RUNS = 9
KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])
TOKEN = "glpat-s3cr3tOLD_of-A-bot_1"
SCANNED = 256  # MiB
LINE = b"2026-06-15T10:20:35Z INFO GET /api/v4/projects/12/repository/files 200 aGVsbG8gd29ybGQ= 0a1b2c3d4e5f\n"


def measure_whose(copies: Copies, tokens: int) -> None:
    """One token by its digest, whole processes; then files of text, beside what `cat` takes."""
    with tempfile.TemporaryDirectory() as name, copies.copy() as address:
        folder = Path(name)
        _put(address, tokens)
        secrets = folder / "secrets.yml"
        secrets.write_text(json.dumps({"production": {"db_key_base": [key.reveal() for key in KEYS.values]}}))
        words = ["whose", "--target", url(address), "--secrets-file", str(secrets)]
        start, whole = [], []
        for _ in range(RUNS):
            start.append(timed(lambda: _run("--version")))
            whole.append(timed(lambda: _run(*words)))
        say("whose: start-up", seconds(start), "gitlab-tokens --version")
        say("whose: one token", seconds(whole), f"of {tokens:,}, two keys")
        judge("whose: more than start-up", statistics.median(whole) - statistics.median(start), 0.3, unit=" s")
        file = folder / "log"
        with file.open("wb") as written:
            for _ in range(SCANNED):
                written.write(LINE * (2**20 // len(LINE)))
            written.write(TOKEN.encode())
        read = timed(lambda: subprocess.run(["cat", file], stdout=subprocess.DEVNULL, check=True))
        scan = timed(lambda: _scan(file))
        say("whose: --scan", f"{os.path.getsize(file) / 2**20 / scan:.0f} MiB/s", f"cat {SCANNED / read:,.0f} MiB/s")


def _put(address: Address, tokens: int) -> None:
    """Give the token to one in the middle, by the key that is not the current one."""
    with login(address, autocommit=True) as connection:
        statement = "UPDATE public.personal_access_tokens SET token_digest = %s WHERE id = %s"
        assert connection.execute(statement, (KEYS.digests(Secret(TOKEN))[1], tokens // 2)).rowcount == 1


def _run(*words: str) -> None:
    subprocess.run([PROGRAM, *words], input=TOKEN.encode(), check=True, capture_output=True)


def _scan(file: Path) -> None:
    assert [one.sure for one in Scan(str(file), ["glpat-"]).occurrences()][-1]

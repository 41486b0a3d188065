"""Reading GitLab's API log, against zcat: a log of a busy day, plain and compressed, and the memory that it takes."""

import gzip
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.benchmark.figures import judge, say, seconds, timed
from tests.testbed.logs import Reason, Use, call, line, others, without

RUNS = 5
LINES = 360_000
TOKENS = 2_000
WITH_TOKEN = 0.6
REFUSED = 0.1  # of those
BEGIN = datetime(2026, 2, 16, tzinfo=UTC)
ROUTES = tuple(f"/api/:version/projects/:id/{name}" for name in ("pipelines", "jobs", "repository/tree", "members"))

READ = """
import sys
from tokens.usage.files import logs
from tokens.usage.reading import read_usage
only = {int(word) for word in sys.argv[2:]} or None
usage = read_usage(logs(sys.argv[1:2], None), only=only)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def measure_used() -> None:
    """Plain and gzip, each beside `zcat | wc -l` in the same run; every figure is of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "api_json.log")
        size = write_log(plain)
        packed = plain.with_suffix(".log.gz")
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as into:
            shutil.copyfileobj(source, into, 2**20)
        say("used: the log", f"{LINES:,} lines", f"{size / 1e6:,.0f} MB, {packed.stat().st_size / 1e6:,.0f} MB as gzip")
        zcat, of_plain, of_gzip, of_zstd = [], [], [], []
        squeezed = _zstd(plain)
        for _ in range(RUNS):
            zcat.append(
                timed(
                    lambda: subprocess.run(
                        f"zcat {packed} | wc -l", shell=True, check=True, text=True, capture_output=True
                    )
                )
            )
            of_plain.append(timed(lambda: _read(plain)))
            of_gzip.append(timed(lambda: _read(packed)))
            if squeezed:
                of_zstd.append(timed(lambda: _read(squeezed)))
        say("used: zcat | wc -l", seconds(zcat))
        for name, found in (("plain", of_plain), ("gzip", of_gzip), ("zstd", of_zstd)):
            if found:
                say(f"used: {name}", seconds(found))
                ratios = [ours / theirs for ours, theirs in zip(found, zcat, strict=True)]
                judge(f"used: {name}, ratio to zcat", statistics.median(ratios), 2, remark="median of the pairs")
        little = plain.with_suffix(".little")
        little.write_bytes(b"")
        start = _read(little)
        for name, path in (("plain", plain), ("gzip", packed)):
            of_one = _read(path, "1")
            judge(f"used: memory, {name}", (of_one - start) / 2**20, 100, unit=" MiB", places=1, remark="over start-up")


def write_log(path: Path) -> int:
    """A day on which 2,000 tokens are used, each from its own address by few routes; its size in bytes."""
    random.seed(14)
    forms = list(_forms())
    with path.open("wb") as log:
        for number in range(LINES):
            at = BEGIN + timedelta(seconds=number * 86_400 / LINES)
            begin = at.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            # What never comes twice, or hardly, as long as GitLab's: gzip has to work for it.
            own = b'","correlation_id":"%026X","duration_s":0.%05d,"db_duration_s":0.%05d,"cpu_s":0.%06d,"mem_bytes":%d'
            numbers = (random.getrandbits(104), *(random.randrange(10**5) for _ in range(4)))
            log.write(b'{"time":"' + begin + own % numbers + random.choice(forms))
    return path.stat().st_size


def _forms() -> Iterator[bytes]:
    """What stands behind the time, as often as it comes."""
    own = ("time", "correlation_id", "duration_s", "db_duration_s", "cpu_s", "mem_bytes")
    for token in range(1, TOKENS + 1):
        use = Use(token, address=f"10.{token % 8}.{token // 256}.{token % 256}", user=f"project_{token}_bot")
        for number in range(10):
            route = ROUTES[(token + number) % len(ROUTES)]
            one = replace(use, route=route, path=route.replace(":version", "v4").replace(":id", str(token)))
            if number >= 10 * WITH_TOKEN:
                fields = others("19.2", BEGIN, token)[0]
            elif token % 10 == 0:
                fields = call("19.2", BEGIN, replace(one, refused=Reason.EXPIRED))
            else:
                fields = call("19.2", BEGIN, one)
            yield b"," + line(without(fields, *own))[1:]


def _zstd(plain: Path) -> Path | None:
    if shutil.which("zstd") is None:
        return None
    subprocess.run(["zstd", "-q", plain], check=True)
    return Path(f"{plain}.zst")


def _read(path: Path, *only: str) -> int:
    """The peak of a process that reads it, in bytes."""
    done = subprocess.run([sys.executable, "-c", READ, path, *only], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024

"""`simulate`: what a decision would end, over all tokens, beside a count of the same rows by psql."""

import statistics
import tempfile
from pathlib import Path

from tests.benchmark.copies import Copies
from tests.benchmark.figures import judge, say, seconds
from tests.benchmark.reading import people, written

RUNS = 3
RATIO = 120  # sixty nights are foreseen, each with what it would be without the decision
COUNT = """
    SELECT u.user_type, t.expires_at, count(*)
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    GROUP BY 1, 2
"""
DECISIONS = {
    "nothing": (),
    "--max-lifetime 90d": ("--max-lifetime", "90d"),
    "--disable": ("--disable",),
    "--block-user": ("--block-user", "user7"),
    "--by owner": ("--by", "owner"),
}


def measure_simulate(copies: Copies) -> None:
    """Each decision as a whole process with its first screen, and all of its events as CSV."""
    address = copies.template_address
    people(address)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "out"
        for name, words in DECISIONS.items():
            ours, psql = [], []
            for _ in range(RUNS):
                psql.append(copies.psql(address, COUNT))
                ours.append(written(["simulate", *words], address, file).seconds)
            say(f"simulate: {name}, psql", seconds(psql), "counts tokens by date and kind of owner")
            say(f"simulate: {name}, ours", seconds(ours), "start-up included")
            ratios = [one / other for one, other in zip(ours, psql, strict=True)]
            judge(f"simulate: {name}, ratio", statistics.median(ratios), RATIO, remark="median of the pairs")
        every = written(["simulate", "--disable", "--first", "all", "--output", "csv"], address, file)
        say("simulate: --disable as CSV", f"{every.seconds:.1f} s", f"{file.stat().st_size / 2**20:,.0f} MiB")
        judge("simulate: memory", every.peak / 2**20, 100, unit=" MiB", places=1, remark="the peak of its process")

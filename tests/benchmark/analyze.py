"""`analyze` against the statement that it carries out, in psql."""

import statistics

from tests.benchmark.copies import Copies
from tests.benchmark.figures import judge, say, timed
from tokens.inventory.analysis import analyze

RUNS = 7

COUNT = (
    "SELECT expires_at, count(*) FROM public.personal_access_tokens "
    "GROUP BY expires_at ORDER BY count(*) DESC, expires_at DESC LIMIT 10"
)


def measure_analyze(copies: Copies) -> None:
    address = copies.template_address
    analyze(address)
    ours, psql = [], []
    for _ in range(RUNS):
        psql.append(copies.psql(address, COUNT))
        ours.append(timed(lambda: analyze(address)))
    say("analyze: psql", f"{statistics.median(psql):.2f} s")
    say("analyze: ours", f"{statistics.median(ours):.2f} s", "connection and preflight included")
    judge("analyze: ratio", statistics.median(ours) / statistics.median(psql), 1.1)

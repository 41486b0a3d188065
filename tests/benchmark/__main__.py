"""Measure the program, against psql where it can: `python -m tests.benchmark`, all of it or some of its parts.

Machines differ and are noisy, so what counts are the ratios: every pair of figures is taken in the same run, on the
same server, on equal copies of one table with GitLab's indexes. Prints a line a figure and ends with status 1 if one
misses its goal; the goals are for the default numbers of tokens on a machine that does nothing else.
"""

import argparse
import sys

from tests.benchmark import figures
from tests.benchmark.analyze import measure_analyze
from tests.benchmark.copies import table
from tests.benchmark.extend import measure_extend
from tests.benchmark.jobs import measure_jobs
from tests.benchmark.journal import measure_journal
from tests.benchmark.programs import built_bundle, measure_bundle, measure_docker, measure_start
from tests.benchmark.reading import measure_reading
from tests.benchmark.simulate import measure_simulate
from tests.benchmark.used import measure_used
from tests.benchmark.waits import measure_waits
from tests.benchmark.whose import measure_whose

PARTS = [
    *("start", "bundle", "docker", "analyze", "extend", "reading", "whose", "used", "simulate"),
    *("jobs", "journal", "waits"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.benchmark")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument(
        "--tokens",
        type=int,
        help="rows in the table (default: 5,000,000, for journal 10,000,000, for simulate and waits 1,000,000)",
    )
    parser.add_argument("--postgresql", type=int, choices=[16, 18], default=18)
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if "start" in parts:
        measure_start()
    if "bundle" in parts or "docker" in parts:
        with built_bundle() as (bundle, program):
            if "bundle" in parts:
                measure_bundle(bundle, program)
            if "docker" in parts:
                measure_docker(bundle)
    if {"analyze", "extend", "reading", "whose"} & set(parts):
        tokens = arguments.tokens or 5_000_000
        with table(tokens, arguments.postgresql) as copies:
            if "analyze" in parts:
                measure_analyze(copies)
            if "extend" in parts:
                measure_extend(copies, tokens)
            if "whose" in parts:
                measure_whose(copies, tokens)
            if "reading" in parts:
                measure_reading(copies)  # last, since it makes bots of people
    if "jobs" in parts:
        tokens = arguments.tokens or 5_000_000
        with table(tokens, arguments.postgresql) as copies:
            measure_jobs(copies, tokens)
    if "used" in parts:
        measure_used()
    if "simulate" in parts:
        with table(arguments.tokens or 1_000_000, arguments.postgresql) as copies:
            measure_simulate(copies)
    if "journal" in parts:
        tokens = arguments.tokens or 10_000_000
        with table(tokens, arguments.postgresql) as copies:
            measure_journal(copies, tokens)
    if "waits" in parts:
        tokens = arguments.tokens or 1_000_000
        with table(tokens, arguments.postgresql) as copies:
            measure_waits(copies, tokens)
    if figures.missed():
        sys.exit(f"Goals were missed: {', '.join(figures.missed())}.")


if __name__ == "__main__":
    main()

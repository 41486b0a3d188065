"""Whether the journal's rows are those that were written: each against its latest entry, and each entry by its chain.

PostgreSQL compares the rows, in one snapshot and with its own memory. The entries are read here, a run at a time, by
the functions of the program that an auditor gets: so the two agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from tokens.counts import counted
from tokens.database import Connection
from tokens.journal.chain import JOURNAL, PARTS, UNION, Part
from tokens.journal.check_evidence import AT_REST, Journal, check_run

AT_ONCE = 1000  # rows

COUNTS = """
    SELECT
      (SELECT count(*) FROM token_tasks.entries) AS entries,
      (
        SELECT encode(e.chain, 'hex')
        FROM token_tasks.entries e
        WHERE e.run_id = 0
        ORDER BY e.number DESC
        LIMIT 1
      ) AS head,
      (SELECT count(*) FROM token_tasks.runs r WHERE r.chain IS NOT NULL) AS runs,
      (SELECT count(*) FROM token_tasks.runs r WHERE r.chain IS NULL) AS uncovered
"""

ENTRIES = """
    SELECT
      e.run_id AS run, e.number, e.written, encode(e.chain, 'hex') AS chain,
      to_char(e.written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS written_at
    FROM token_tasks.entries e
    ORDER BY e.run_id <> 0, e.run_id, e.number
"""

RUNS = f"""
    SELECT
      r.id AS run, r.entries, encode(r.chain, 'hex') AS chain, r.state, r.attempt, r.changed,
      {PARTS["runs"].content()} AS content
    FROM token_tasks.runs r
    ORDER BY r.id
"""  # noqa: S608 - a constant

LATEST = """lines AS (
      SELECT e.run_id, e.number, one.place, string_to_array(one.line, ' ') AS words
      FROM token_tasks.entries e
      CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) WITH ORDINALITY AS one (line, place)
    ),
    latest AS (
      SELECT DISTINCT ON (l.run_id, l.words[1], one.key) l.run_id, l.words[1] AS part, one.key, l.words[3] AS hash
      FROM lines l
      CROSS JOIN LATERAL unnest(string_to_array(l.words[2], ',')) AS one (key)
      ORDER BY l.run_id, l.words[1], one.key, l.number DESC, l.place DESC
    )"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a run, as the end of a sentence about it; of run 0, which is no run, with the journal."""

    run: int
    what: str

    def __str__(self) -> str:
        return f"{f'Run {self.run}' if self.run else 'The journal'}: {self.what}"


@dataclass(frozen=True)
class Checked:
    """What was checked, and what was found wrong, of each run the first.

    `rows` counts what is hashed: a row that is written in two steps counts twice. `uncovered` are the runs that were
    stored before revision 4: nothing proves what the journal says of them. `head` is the last entry of the journal's
    own chain in hexadecimal digits: kept elsewhere, it shows later that nothing up to then was written again, but for
    the runs that are `not_entered` in it yet as they are now.
    """

    runs: int
    entries: int
    rows: int
    uncovered: int
    head: str | None
    not_entered: tuple[int, ...]
    faults: tuple[Fault, ...]


def check(connection: Connection) -> Checked:
    """Check everything, in the open transaction, which sees one state of the tables."""
    counts = connection.row(COUNTS)
    runs = {row.run: row for row in connection.stream(RUNS, AT_ONCE)}
    faults: dict[int, Fault] = {}
    not_entered = []
    journal = Journal([])
    checked = set[int]()
    for run, of_run in groupby(connection.stream(ENTRIES, AT_ONCE), key=attrgetter("run")):
        entries = [row._asdict() for row in of_run]
        if run == JOURNAL:
            journal = Journal(entries)
            for about, what in journal.faults:
                faults.setdefault(about, Fault(about, what))
            continue
        checked.add(run)
        for what in _faults_of_run(run, runs.get(run), entries, journal):
            faults.setdefault(run, Fault(run, what))
        if run in runs and runs[run].state in AT_REST and not journal.known.get(run, {}).get(entries[-1]["chain"]):
            not_entered.append(run)
    for run in (runs.keys() | (journal.known.keys() - journal.gone)) - checked:
        for what in _faults_of_run(run, runs.get(run), [], journal):
            faults.setdefault(run, Fault(run, what))
    rows = 0
    for row in connection.stream(ROWS, AT_ONCE):
        rows += row.rows
        if row.faults:
            faults.setdefault(row.run_id, _fault(row))
    return Checked(
        counts.runs,
        counts.entries,
        rows,
        counts.uncovered,
        counts.head,
        tuple(sorted(set(not_entered) - faults.keys())),  # what was tampered with is never entered
        tuple(faults[run] for run in sorted(faults)),
    )


def _faults_of_run(run: int, row: Any, entries: Sequence[Mapping[str, Any]], journal: Journal) -> Iterator[str]:
    """What is wrong with the entries of a run, or of one that is not there, `row` being None."""
    if row is None:
        yield "it is missing"
        return
    if row.chain is None and not entries and run not in journal.known:
        if journal.first and not 0 < run < journal.first:
            yield "it has no entries, though it is not from before revision 4"
        return
    last = entries[-1] if entries else {"number": 0, "chain": ""}
    faults, _ = check_run(run, entries, journal, row.content.decode("utf-8", "surrogateescape"), row._asdict())
    yield from faults
    if (row.entries, row.chain) != (last["number"], last["chain"]):
        yield "its last entry is not the one that it had"


def _fault(row: Any) -> Fault:
    part, key, what = row.first
    more = row.faults - 1
    others = f", and {counted(more, 'more row')} of it {'is' if more == 1 else 'are'} not as written" if more else ""
    table = PARTS[part].table if part in PARTS else part
    return Fault(row.run_id, f"row {key.strip()} of token_tasks.{table} {what}{others}")


def _rows(name: str, part: Part) -> str:
    covered = "true" if part.table == "settings" else "EXISTS (SELECT FROM token_tasks.runs c WHERE {} AND {})"
    covered = covered.format(f"c.id = {part.run}", "c.chain IS NOT NULL")
    return f"""SELECT
        {part.run} AS run_id, '{name}' AS part, CAST(r.{part.key} AS text) AS key, {part.hash()} AS hash,
        {part.blank} AS blank
      FROM token_tasks.{part.table} r
      WHERE {covered}"""  # noqa: S608 - constants


# What is NULL altogether may have no entry, unless it had one before.
ROWS = f"""
    WITH {LATEST},
    rows AS (
      {UNION.join(_rows(name, part) for name, part in PARTS.items())}
    ),
    compared AS (
      SELECT
        COALESCE(n.run_id, l.run_id) AS run_id,
        n.key IS NOT NULL AS there,
        CASE
          WHEN l.key IS NULL AND n.blank THEN NULL
          WHEN n.key IS NULL AND l.hash = '-' THEN NULL
          WHEN n.hash = l.hash THEN NULL
          ELSE ARRAY[
            COALESCE(n.part, l.part),
            lpad(COALESCE(n.key, l.key), 20),
            CASE WHEN n.key IS NULL THEN 'is missing' WHEN l.key IS NULL THEN 'was added' ELSE 'was changed' END
          ]
        END AS fault
      FROM rows n
      FULL JOIN (SELECT * FROM latest WHERE run_id <> {JOURNAL} OR part <> 'run') l
        ON l.run_id = n.run_id AND l.part = n.part AND l.key = n.key
    )
    SELECT
      c.run_id, count(*) FILTER (WHERE c.there) AS rows, count(c.fault) AS faults, min(c.fault) AS first
    FROM compared c
    GROUP BY c.run_id
"""  # noqa: S608 - a constant

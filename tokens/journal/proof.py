"""Whether the journal's rows are those that were written: each against its latest entry, and each entry by its chain.

PostgreSQL does it, in one snapshot and with its own memory, so that the size of a journal does not matter here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokens.counts import counted
from tokens.database import Connection
from tokens.journal.chain import AT_REST, CHAIN, FINAL, JOURNAL, ONCE, PARTS, UNION, Part
from tokens.journal.installation import RunState

AT = """to_char(e.written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

PROVEN = CHAIN.format(
    before="COALESCE(lag(e.chain) OVER w, '')", run="e.run_id", number="e.number", at=AT, written="e.written"
)


def listed(words: Iterable[str]) -> str:
    """Words as SQL, for IN."""
    return ", ".join(f"'{word}'" for word in words)


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

ENTRIES = f"""
    SELECT found.run_id, min(found.place) AS number
    FROM (
      SELECT e.run_id, e.number, row_number() OVER w AS place, e.chain = {PROVEN} AS proven
      FROM token_tasks.entries e
      WINDOW w AS (PARTITION BY e.run_id ORDER BY e.number)
    ) found
    WHERE NOT found.proven OR found.number <> found.place
    GROUP BY found.run_id
    ORDER BY found.run_id
"""  # noqa: S608 - a constant

# A run's own row has its last entry; one from before revision 4 has none, and what is no run has none either.
HEADS = f"""
    SELECT COALESCE(r.id, last.run_id) AS run_id, r.id IS NULL AS missing
    FROM token_tasks.runs r
    FULL JOIN (
      SELECT DISTINCT ON (e.run_id) e.run_id, e.number, e.chain
      FROM token_tasks.entries e
      WHERE e.run_id <> {JOURNAL}
      ORDER BY e.run_id, e.number DESC
    ) last ON last.run_id = r.id
    WHERE r.id IS NULL OR (r.entries, r.chain) IS DISTINCT FROM (COALESCE(last.number, 0), last.chain)
    ORDER BY 1
"""  # noqa: S608 - a constant

# Runs from before revision 4 have the numbers from 1 up to the one that the journal's first entry names.
UNCHAINED = r"""
    SELECT r.id AS run_id
    FROM token_tasks.runs r
    JOIN token_tasks.entries e ON e.run_id = 0 AND e.number = 1
    WHERE r.chain IS NULL AND (r.id < 1 OR r.id >= CAST(substring(e.written FROM '^before (\d+) -$') AS bigint))
    ORDER BY r.id
"""

LINES = """lines AS (
      SELECT e.run_id, e.number, e.chain, one.place, string_to_array(one.line, ' ') AS words
      FROM token_tasks.entries e
      CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) WITH ORDINALITY AS one (line, place)
    )"""

LATEST = f"""{LINES},
    latest AS (
      SELECT DISTINCT ON (l.run_id, l.words[1], one.key) l.run_id, l.words[1] AS part, one.key, l.words[3] AS hash
      FROM lines l
      CROSS JOIN LATERAL unnest(string_to_array(l.words[2], ',')) AS one (key)
      ORDER BY l.run_id, l.words[1], one.key, l.number DESC, l.place DESC
    )"""  # noqa: S608 - constants

# What the journal's own chain knows of the runs: each that has one is in it, with a chain that it had.
RUNS = f"""
    WITH {LATEST}
    SELECT
      COALESCE(r.id, CASE WHEN l.key ~ '^[0-9]{{1,18}}$' THEN CAST(l.key AS bigint) END) AS run_id,
      r.id IS NULL AS missing
    FROM (SELECT * FROM latest WHERE run_id = {JOURNAL} AND part = 'run') l
    FULL JOIN (SELECT id FROM token_tasks.runs WHERE chain IS NOT NULL) r ON CAST(r.id AS text) = l.key
    WHERE CASE
      WHEN r.id IS NULL THEN l.hash IS DISTINCT FROM '-'
      ELSE NOT EXISTS (SELECT FROM token_tasks.entries e WHERE e.run_id = r.id AND encode(e.chain, 'hex') = l.hash)
    END
    ORDER BY run_id
"""  # noqa: S608 - a constant


# An undo of a run that was forgotten says no more which run that was.
WRITTEN_TWICE = f"""
    WITH {LINES},
    written AS (
      SELECT
        l.run_id, l.words[1] AS part, l.words[2] AS key,
        (array_agg(l.words[3] ORDER BY l.number, l.place))[1] AS first
      FROM lines l
      WHERE l.words[1] IN ({listed(ONCE)}) AND l.words[3] <> '-'
      GROUP BY l.run_id, l.words[1], l.words[2]
      HAVING count(DISTINCT l.words[3]) > 1
    )
    SELECT w.run_id, w.part, w.key
    FROM written w
    WHERE NOT EXISTS (
      SELECT
      FROM token_tasks.runs r
      JOIN lines gone ON gone.run_id = {JOURNAL} AND gone.words[1] = 'run' AND gone.words[3] = '-'
      WHERE w.part = 'runs'
        AND CAST(r.id AS text) = w.key
        AND r.undoes IS NULL
        AND w.first = {PARTS["runs"].hash(undoes="CAST(gone.words[2] AS bigint)")}
    )
    ORDER BY w.run_id
"""  # noqa: S608 - constants

# A run at rest is withdrawn at most, and forgets what it undid. One window over all entries, for a join of them with
# themselves would take hours for a long journal.
WRITTEN_AT_REST = f"""
    WITH {LINES},
    known AS (
      SELECT DISTINCT l.words[2] AS run, l.words[3] AS chain, l.words[4] AS state
      FROM lines l
      WHERE l.run_id = {JOURNAL} AND l.words[1] = 'run' AND l.words[4] IN ({listed(AT_REST)})
    ),
    entered AS (
      SELECT
        l.run_id, l.number, encode(l.chain, 'hex') AS chain,
        max(l.words[3]) FILTER (WHERE l.words[1] = 'state') AS state,
        bool_or(l.words[1] = 'attempts') AS begins,
        bool_or(l.words[1] NOT IN ('state', 'runs')) AS writes
      FROM lines l
      WHERE l.run_id <> {JOURNAL}
      GROUP BY l.run_id, l.number, l.chain
    ),
    placed AS (
      SELECT
        e.run_id, e.number, e.writes, e.state IS DISTINCT FROM lag(e.state) OVER w AS other_state,
        max(e.number) FILTER (WHERE k.state IS NOT NULL) OVER before AS rest,
        max(e.number) FILTER (WHERE k.state = '{RunState.PLANNED}') OVER before AS planned,
        min(e.number) FILTER (WHERE k.state IN ({listed(FINAL)})) OVER before AS final,
        max(e.number) FILTER (WHERE e.begins) OVER w AS begun
      FROM entered e
      LEFT JOIN known k ON k.run = CAST(e.run_id AS text) AND k.chain = e.chain
      WINDOW
        w AS (PARTITION BY e.run_id ORDER BY e.number),
        before AS (PARTITION BY e.run_id ORDER BY e.number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    )
    SELECT p.run_id, min(p.number) AS number
    FROM placed p
    WHERE CASE
      WHEN p.final IS NOT NULL THEN p.writes OR p.other_state
      WHEN p.rest >= COALESCE(p.begun, 0) THEN p.writes OR (p.other_state AND p.rest IS DISTINCT FROM p.planned)
    END
    GROUP BY p.run_id
    ORDER BY p.run_id
"""  # noqa: S608 - constants


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
    own chain in hexadecimal digits: kept elsewhere, it shows later that nothing up to then was written again.
    """

    runs: int
    entries: int
    rows: int
    uncovered: int
    head: str | None
    faults: tuple[Fault, ...]


def check(connection: Connection) -> Checked:
    """Check everything, in the open transaction, which sees one state of the tables."""
    counts = connection.row(COUNTS)
    faults: dict[int, Fault] = {}
    for fault in _faults_of_entries(connection):
        faults.setdefault(fault.run, fault)
    rows = 0
    for row in connection.stream(ROWS, 1000):
        rows += row.rows
        if row.faults:
            faults.setdefault(row.run_id, _fault(row))
    return Checked(
        counts.runs, counts.entries, rows, counts.uncovered, counts.head, tuple(faults[run] for run in sorted(faults))
    )


def _faults_of_entries(connection: Connection) -> Iterator[Fault]:
    for row in connection.rows(ENTRIES):
        yield Fault(row.run_id, f"entry {row.number} was changed, or is missing")
    for row in connection.rows(HEADS):
        what = "it is missing" if row.missing else "its last entry is not the one that it had"
        yield Fault(row.run_id, what)
    for row in connection.rows(UNCHAINED):
        yield Fault(row.run_id, "it has no entries, though it is not from before revision 4")
    for row in connection.rows(RUNS):
        what = "it is missing" if row.missing else "the journal does not know that it was stored, or with other entries"
        yield Fault(row.run_id or JOURNAL, what)
    for row in connection.rows(WRITTEN_TWICE):
        table = PARTS[row.part].table
        yield Fault(row.run_id, f"row {row.key} of token_tasks.{table} was written again, and is written once")
    for row in connection.rows(WRITTEN_AT_REST):
        yield Fault(row.run_id, f"entry {row.number} was added, though nobody was carrying it out")


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
      FULL JOIN (SELECT * FROM latest WHERE part <> 'run') l
        ON l.run_id = n.run_id AND l.part = n.part AND l.key = n.key
    )
    SELECT
      c.run_id, count(*) FILTER (WHERE c.there) AS rows, count(c.fault) AS faults, min(c.fault) AS first
    FROM compared c
    GROUP BY c.run_id
"""  # noqa: S608 - a constant

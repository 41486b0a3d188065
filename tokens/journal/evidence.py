"""The journal as evidence: runs with who planned them and who carried them out, and what proves each of their rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tokens.database import Connection
from tokens.journal.chain import JOURNAL, PARTS, UNION, Part

AT_ONCE = 100  # rows

# What was written since: a run that was planned before may have been carried out since.
RUNS = """
    SELECT r.id
    FROM token_tasks.runs r
    WHERE CAST(%(since)s AS timestamp) IS NULL
      OR r.created_at >= CAST(%(since)s AS timestamp) AT TIME ZONE 'UTC'
      OR EXISTS (
        SELECT
        FROM token_tasks.attempts a
        WHERE a.run_id = r.id
          AND COALESCE(a.ended_at, now()) >= CAST(%(since)s AS timestamp) AT TIME ZONE 'UTC'
      )
      OR EXISTS (
        SELECT
        FROM token_tasks.entries e
        WHERE e.run_id = r.id
          AND e.number = r.entries
          AND e.written_at >= CAST(%(since)s AS timestamp) AT TIME ZONE 'UTC'
      )
      -- The journal's own chain names it since then, so that who checks the file expects it.
      OR CAST(r.id AS text) IN (
        SELECT split_part(one.line, ' ', 2)
        FROM token_tasks.entries e
        CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) AS one (line)
        WHERE e.run_id = 0
          AND e.written_at >= CAST(%(since)s AS timestamp) AT TIME ZONE 'UTC'
          AND starts_with(one.line, 'run ')
      )
    ORDER BY r.id
"""

RUN = """
    SELECT
      r.id AS run, r.kind, r.state, r.selection, r.change, r.memberships, r.notices, r.reason, r.undoes, r.policy,
      r.planned_by, r.withdrawn_by, r.withdrawn_because, r.tool_version,
      r.tokens, r.changed, r.changed_meanwhile, r.locked, r.recounted,
      to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS planned_at,
      to_char(r.withdrawn_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS withdrawn_at,
      to_char(r.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS finished_at,
      (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
          'attempt', a.number, 'by', a.carried_out_by, 'process', a.process, 'tool_version', a.tool_version,
          'started_at', to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
          'ended_at', to_char(a.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
          'stopped_because', a.stopped_because
        ) ORDER BY a.number), '[]')
        FROM token_tasks.attempts a
        WHERE a.run_id = r.id
      ) AS carried_out_by,
      (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
          'old_expires_at', m.old_expires_at, 'new_expires_at', m.new_expires_at, 'tokens', m.tokens,
          'changed', m.done - m.left_alone - m.locked, 'left_alone', m.left_alone, 'locked', m.locked
        ) ORDER BY m.old_expires_at, m.new_expires_at), '[]')
        FROM (
          SELECT
            c.old_expires_at, c.new_expires_at, sum(cardinality(c.token_ids)) AS tokens,
            COALESCE(sum(cardinality(c.token_ids)) FILTER (WHERE c.done_at IS NOT NULL), 0) AS done,
            COALESCE(sum(cardinality(c.left_alone)), 0) AS left_alone,
            COALESCE(sum(cardinality(c.locked)), 0) AS locked
          FROM token_tasks.chunks c
          WHERE c.run_id = r.id
          GROUP BY c.old_expires_at, c.new_expires_at
        ) m
      ) AS moves,
      r.entries, encode(r.chain, 'hex') AS chain
    FROM token_tasks.runs r
    WHERE r.id = %(run)s
"""

ENTRIES = """
    SELECT
      e.number, to_char(e.written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS written_at, e.written,
      encode(e.chain, 'hex') AS chain
    FROM token_tasks.entries e
    WHERE e.run_id = %(run)s
    ORDER BY e.number
"""


@dataclass(frozen=True)
class RunFacts:
    """A run as a person reads it: who planned it and who carried it out, when and why, and tokens by their dates.

    The fields of `facts` are those of RUN, times in ISO 8601 (UTC); `chain` is None where nothing proves the run.
    """

    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """An entry of a run's chain, or of the journal's own, run 0; see `tokens.journal.chain`."""

    run: int
    number: int
    written_at: str
    written: str
    chain: str


@dataclass(frozen=True)
class Row:
    """A row, or the part of it that is written together, in the very text whose SHA-256 its entry has."""

    run: int
    part: str
    key: str
    content: str


def read(connection: Connection, since: date | None) -> Iterator[RunFacts | Entry | Row]:
    """The runs of which something was written since 00:00 UTC of a day, in little memory; first the journal's chain."""
    yield from _proof(connection, JOURNAL)
    for run in connection.rows(RUNS, since=since and str(since)):
        yield RunFacts(connection.row(RUN, run=run.id)._asdict())
        yield from _proof(connection, run.id)


def _proof(connection: Connection, run: int) -> Iterator[Entry | Row]:
    for row in connection.stream(ENTRIES, AT_ONCE, run=run):
        yield Entry(run, row.number, row.written_at, row.written, row.chain)
    statement, parameters = (ROWS_OF_JOURNAL, {}) if run == JOURNAL else (ROWS, {"run": run})
    for row in connection.stream(statement, AT_ONCE, **parameters):
        yield Row(run, row.part, row.key, row.content.decode("utf-8", "surrogateescape"))


def _rows(name: str, part: Part) -> str:
    return f"""SELECT {list(PARTS).index(name)} AS place, r.{part.key} AS number, '{name}' AS part,
        CAST(r.{part.key} AS text) AS key, {part.content()} AS content
      FROM token_tasks.{part.table} r
      WHERE {part.of_run(f"NOT {part.blank}")}"""  # noqa: S608 - constants


OF_JOURNAL = "settings"

ROWS = f"""
    SELECT part, key, content
    FROM (
      {UNION.join(_rows(name, part) for name, part in PARTS.items() if name != OF_JOURNAL)}
    ) found
    ORDER BY place, number
"""  # noqa: S608 - a constant

ROWS_OF_JOURNAL = f"""
    SELECT part, key, content
    FROM (
      {_rows(OF_JOURNAL, PARTS[OF_JOURNAL])}
    ) found
    ORDER BY number
"""  # noqa: S608 - a constant

"""Taking a run on: one attempt of one process at a time, and only one run under way.

A run whose process is dead, or has given no sign of life for PATIENCE, can be taken on by another one.
"""

import json
from typing import Any

from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import Refused, RunComplete
from tokens.journal import chain, damage, settings
from tokens.journal.damage import origin_of
from tokens.journal.record import END_ATTEMPT, Record, TakenOver
from tokens.journal.runs import PLANNED_AT, read_run
from tokens.origin import Origin, described, is_dead, machine_outside
from tokens.version import __version__

PATIENCE = 60  # seconds without a sign of life after which a run elsewhere counts as dead

UNDER_WAY = """
    SELECT
      r.id, r.kind, a.process, a.carried_out_by,
      extract(epoch FROM clock_timestamp() - r.heartbeat_at)::float8 AS silence,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') AS since
    FROM token_tasks.runs r
    JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.state = 'running'
    ORDER BY r.id
"""

# An older version has stored it.
UNSEALED = "SELECT FROM token_tasks.runs WHERE id = %(run)s AND state <> 'done' AND chain IS NULL"

BEGIN = f"""
    UPDATE token_tasks.runs r
    SET state = 'running', attempt = attempt + 1, heartbeat_at = clock_timestamp(), finished_at = NULL
    WHERE id = %(run)s AND state NOT IN ('done', 'withdrawn')
    RETURNING attempt, r.changed, {PLANNED_AT} AS planned_at
"""  # noqa: S608 - a constant

BEGIN_ATTEMPT = """
    INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version)
    VALUES (%(run)s, %(attempt)s, CAST(%(origin)s AS jsonb), %(process)s, %(version)s)
"""

RENEW = """
    UPDATE token_tasks.runs r
    SET attempt = %(wanted)s, heartbeat_at = clock_timestamp()
    FROM token_tasks.attempts a
    WHERE r.id = %(run)s
      AND r.state = 'running'
      AND r.attempt < %(wanted)s
      AND a.run_id = r.id
      AND a.number = r.attempt
      AND a.process = %(process)s
    RETURNING a.number AS before
"""

LOSE = """
    UPDATE token_tasks.runs
    SET state = 'stopped', recounted = NULL
    WHERE id = %(run)s AND attempt = %(attempt)s AND state = 'running'
"""


# It ended with its last sign of life, as far as anybody knows.
LOSE_ATTEMPT = """
    UPDATE token_tasks.attempts a
    SET ended_at = r.heartbeat_at, stopped_because = %(why)s
    FROM token_tasks.runs r
    WHERE a.run_id = %(run)s AND a.number = %(attempt)s AND a.ended_at IS NULL AND r.id = a.run_id
"""


def check_idle(connection: Connection) -> None:
    """Refuse while a run is under way that shows signs of life."""
    for other in connection.rows(UNDER_WAY):
        if other.silence < PATIENCE and not is_dead(other.process):
            with damage.reading(f"Run {other.id}"):
                origin = origin_of(other.carried_out_by)
                by, machine = described(origin), machine_outside(origin, other.process)
            where = "there" if machine is None else f"on {machine}"
            raise Refused(
                f"Run {other.id} ({other.kind}) is under way since {other.since}, by {by}"
                f": wait until it has ended, or stop it {where}. Should it be dead, it counts as such {PATIENCE} "
                f"seconds after its last sign of life, {counted(round(other.silence), 'second')} ago."
            )


def begin(connection: Connection, run: int, origin: Origin, *, four_eyes: bool = False) -> Record:
    """Take `run` on, in the open transaction: it may be a stored plan, a stopped run, or one whose process is dead.

    `four_eyes` demands that somebody else has planned it, as the journal may, too. The caller has checked that the
    journal is trusted.

    Raises:
        FourEyes: see `tokens.journal.settings`.
        Refused: another run is under way, or this one was withdrawn.
        RunComplete: nothing is left of this one.
    """
    connection.execute(chain.SERIALIZE)
    four_eyes = settings.check_planner(connection, run, origin, four_eyes=four_eyes)
    check_idle(connection)
    for other in connection.rows(UNDER_WAY):
        _lose(connection, other)
    if connection.row(UNSEALED, run=run) is not None:
        chain.seal(connection, run)
    row = connection.row(BEGIN, run=run)
    if row is None:
        stored = read_run(connection, run)
        if stored.withdrawal is not None:
            raise Refused(f"Run {run} {stored.withdrawal}: nothing was changed.")
        raise RunComplete(f"Run {run} is complete: nothing is left of it to apply.")
    _begin_attempt(connection, run, row.attempt, origin)
    chain.enter(connection, run, attempts=[row.attempt])
    return Record(run, row.attempt, row.planned_at, changed_before=row.changed, four_eyes=four_eyes)


def renew(connection: Connection, run: int, wanted: int, origin: Origin) -> Record:
    """Go on with a run of one's own as the attempt `wanted`, in the open transaction.

    For a caller that has lost touch with its process, so that this can commit nothing any more; each try wants
    a higher number, so that one that comes late does nothing. That the run is its own, `origin.process` tells.

    Raises TakenOver where another has taken it over.
    """
    row = connection.row(RENEW, run=run, wanted=wanted, process=origin.process)
    if row is None:
        raise TakenOver.of(run)
    connection.execute(END_ATTEMPT, run=run, attempt=row.before, why="the connection was lost")
    _begin_attempt(connection, run, wanted, origin)
    chain.enter(connection, run, attempts=[wanted], ends=[row.before])
    return Record(run, wanted)


def _begin_attempt(connection: Connection, run: int, attempt: int, origin: Origin) -> None:
    connection.execute(
        BEGIN_ATTEMPT,
        run=run,
        attempt=attempt,
        origin=json.dumps(origin.as_dict()),
        process=origin.process,
        version=__version__,
    )


def _lose(connection: Connection, other: Any) -> None:
    """Write down that a run's process is dead."""
    attempt = connection.row("SELECT attempt FROM token_tasks.runs WHERE id = %(run)s", run=other.id).attempt
    connection.execute(LOSE, run=other.id, attempt=attempt)
    why = "the process is dead" if is_dead(other.process) else f"no sign of life for {other.silence:.0f} seconds"
    connection.execute(LOSE_ATTEMPT, run=other.id, attempt=attempt, why=why)
    chain.enter(connection, other.id, ends=[attempt])
    chain.close(connection, other.id)

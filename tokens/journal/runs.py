"""Reading the journal: runs, what is left to do of their plans, and what an undo would put back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokens.call import to_type
from tokens.change.change import Change
from tokens.change.chunks import Chunk, TokenIds
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.membership import MembershipRule
from tokens.journal import damage
from tokens.journal.damage import mapping_of, moment_of, origin_of
from tokens.journal.installation import RunState
from tokens.origin import described
from tokens.selection import described as selection_in_words

PLAN_LIFETIME = 24  # hours

# Exact: with the number of the run `r` it tells it from any run of another GitLab.
PLANNED_AT = """to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""

RUNS = """
    SELECT
      r.id, r.kind, r.state, r.selection, r.change, r.memberships, r.notices, r.reason, r.planned_by, r.tool_version,
      r.withdrawn_by, r.withdrawn_because, r.undoes, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.attempt,
      to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS created_at,
      to_char(r.heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS heartbeat_at,
      to_char(r.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS finished_at,
      to_char(r.withdrawn_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS withdrawn_at,
      ARRAY(
        SELECT a.carried_out_by FROM token_tasks.attempts a WHERE a.run_id = r.id ORDER BY a.number
      ) AS carried_out_by,
      (
        SELECT to_char(min(a.started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"')
        FROM token_tasks.attempts a
        WHERE a.run_id = r.id
      ) AS begun_at,
      EXISTS (SELECT FROM token_tasks.names n WHERE n.run_id = r.id)
        OR EXISTS (SELECT FROM token_tasks.rotations p WHERE p.run_id = r.id AND p.name IS NOT NULL) AS has_names,
      extract(epoch FROM now() - r.created_at)::float8 AS age,
      CASE WHEN r.state = 'running' THEN extract(epoch FROM now() - r.heartbeat_at)::float8 END AS silence,
      (SELECT max(u.id) FROM token_tasks.runs u WHERE u.undoes = r.id AND u.changed > 0) AS undone_by,
      (
        SELECT
          CASE
            WHEN count(*) < 2 THEN COALESCE(sum(u.changed), 0)::bigint
            -- One token may have been put back more than once.
            ELSE (
              SELECT count(DISTINCT one.id)
              FROM token_tasks.runs v
              JOIN token_tasks.chunks c ON c.run_id = v.id AND c.done_at IS NOT NULL
              CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
              WHERE v.undoes = r.id AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))
            )
          END
        FROM token_tasks.runs u
        WHERE u.undoes = r.id AND u.changed > 0
      ) AS put_back
    FROM token_tasks.runs r
    WHERE CAST(%(run)s AS bigint) IS NULL OR r.id = %(run)s
    ORDER BY r.id DESC
"""

ATTEMPTS = """
    SELECT
      a.number, a.carried_out_by, a.process, a.tool_version, a.stopped_because,
      to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS started_at,
      to_char(a.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS ended_at
    FROM token_tasks.attempts a
    WHERE a.run_id = %(run)s
    ORDER BY a.number
"""

# What has not had its turn, and what was locked when it had.
PENDING = """
    SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new,
      CASE WHEN c.done_at IS NULL THEN c.token_ids ELSE c.locked END AS ids,
      c.done_at IS NOT NULL AS again
    FROM token_tasks.chunks c
    WHERE c.run_id = %(run)s AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ORDER BY CASE WHEN CAST(%(backwards)s AS boolean) THEN -c.position ELSE c.position END
"""

# What has had its turn, but for what was locked when it had.
DEALT_WITH = """
    SELECT
      c.position, c.old_expires_at::text AS old, c.new_expires_at::text AS new,
      CASE
        WHEN c.locked IS NULL THEN c.token_ids
        ELSE ARRAY(SELECT id FROM unnest(c.token_ids) AS id WHERE id <> ALL (c.locked))
      END AS ids,
      false AS again
    FROM token_tasks.chunks c
    WHERE c.run_id = %(run)s AND c.done_at IS NOT NULL
    ORDER BY c.position
"""

OVERLAPS = """
    SELECT theirs.run_id AS run, count(*) AS tokens
    FROM (
      SELECT c.run_id, unnest(c.token_ids) AS id
      FROM token_tasks.chunks c
      WHERE c.run_id = ANY (CAST(%(waiting)s AS bigint[]))
    ) theirs
    JOIN (SELECT unnest(c.token_ids) AS id FROM token_tasks.chunks c WHERE c.run_id = %(run)s) ours USING (id)
    GROUP BY theirs.run_id
    ORDER BY theirs.run_id
"""

# A token that was made after its run was planned is another one that has got its id, as after a restore of GitLab's
# tables. The clock of the machine that made it may be ahead of the database's.
IS_PLANNED_ONE = """created_at <= (
        SELECT r.created_at AT TIME ZONE 'UTC' + interval '5 minutes' FROM token_tasks.runs r WHERE r.id = %(planned)s
      )"""
"""Whether a token is the one that the run `planned` has chosen, as SQL."""

AS_REVOKED = "(t.revoked IS TRUE AND t.updated_at = n.revoked_at)"
"""Whether nobody has touched a token `t` since a run revoked it, by the row `n` of `token_tasks.revocations`."""

# The tokens of a run that are again as they were before, from an undo of it that was not the last word.
PUT_BACK = """
    WITH put_back AS MATERIALIZED (
      SELECT DISTINCT p.id
      FROM (
        SELECT
          c.new_expires_at,
          unnest(c.token_ids) AS id,
          COALESCE(c.left_alone, '{{}}') || COALESCE(c.locked, '{{}}') AS others
        FROM token_tasks.runs u
        JOIN token_tasks.chunks c ON c.run_id = u.id AND c.done_at IS NOT NULL
        WHERE u.undoes = %(run)s
      ) p
      JOIN public.personal_access_tokens t ON t.id = p.id AND {again}
      WHERE p.id <> ALL (p.others)
    )"""

DATE_AGAIN = "t.expires_at IS NOT DISTINCT FROM p.new_expires_at"
WORKS_AGAIN = "t.revoked IS NOT TRUE"

# What a run has changed, last first, so that a membership that was moved twice comes back to its first end.
CHANGED = """
    SELECT
      c.position, c.new_expires_at::text AS old, c.old_expires_at::text AS new,
      CASE
        WHEN c.left_alone IS NULL AND c.locked IS NULL AND NOT EXISTS (SELECT FROM put_back) THEN c.token_ids
        ELSE ARRAY(
          SELECT id FROM unnest(c.token_ids) AS id
          WHERE id <> ALL (COALESCE(c.left_alone, '{}')) AND id <> ALL (COALESCE(c.locked, '{}'))
            AND id NOT IN (SELECT b.id FROM put_back b)
          ORDER BY id
        )
      END AS ids,
      false AS again
    FROM token_tasks.chunks c
    WHERE c.run_id = %(run)s AND c.done_at IS NOT NULL
    ORDER BY c.position DESC
"""

# What a run has changed beside dates.
TOUCHED = """
    SELECT
      EXISTS (SELECT FROM token_tasks.memberships m WHERE m.run_id = %(run)s) AS memberships,
      EXISTS (SELECT FROM token_tasks.notices n WHERE n.run_id = %(run)s) AS notices
"""


@dataclass(frozen=True)
class Attempt:
    """Who carried a run out, or part of it, and why they stopped. Times are ISO 8601 in UTC."""

    number: int
    origin: Mapping[str, str]
    process: str
    tool_version: str
    started_at: str
    ended_at: str | None
    stopped_because: str | None


@dataclass(frozen=True)
class StoredRun:
    """One run as the journal has it, without its tokens. Times are ISO 8601 in UTC.

    `age` and `silence` are in seconds: since it was planned, and since the last sign of life of one that is under way.

    `undone_by` is the latest run that has put back some of its tokens' old dates, and `put_back` how many tokens all
    such runs have put back. `carried_out_by` is who made its attempts, one by one, and `begun_at` when the first began.
    `has_names` says whether the journal knows what its tokens were called when it was planned.
    """

    id: int
    kind: RunKind
    state: RunState
    selection: Mapping[str, Any]
    change: Change
    memberships: MembershipRule | None
    notices: bool
    reason: str | None
    origin: Mapping[str, str]
    tool_version: str
    undoes: int | None
    undone_by: int | None
    put_back: int
    tokens: int
    changed: int
    changed_meanwhile: int
    locked: int
    attempt: int
    created_at: str
    heartbeat_at: str | None
    finished_at: str | None
    age: float
    silence: float | None
    carried_out_by: tuple[Mapping[str, str], ...]
    begun_at: str | None
    has_names: bool
    withdrawn_by: Mapping[str, str] | None
    withdrawn_at: str | None
    withdrawn_because: str | None

    @property
    def withdrawal(self) -> str | None:
        """Who withdrew it, when and why, such as `was withdrawn 2026-01-02 03:04 UTC by ada on db1 ("OPS-7")`."""
        if self.withdrawn_by is None or self.withdrawn_at is None:
            return None
        why = f' ("{self.withdrawn_because}")' if self.withdrawn_because else ""
        when = self.withdrawn_at.replace("T", " ")[:16]
        return f"was withdrawn {when} UTC by {described(self.withdrawn_by)}{why}"

    @property
    def is_undone_in_part(self) -> bool:
        """Whether some of its tokens have their old dates back, and others do not."""
        return self.undone_by is not None and self.put_back < self.changed

    @property
    def lapsed(self) -> bool:
        """Whether it is a plan that waited too long to be trusted: its tokens have lived on since."""
        return self.state is RunState.PLANNED and self.age > PLAN_LIFETIME * 3600


def list_runs(connection: Connection) -> tuple[StoredRun, ...]:
    """Every run, the latest first."""
    return tuple(_stored(row) for row in connection.rows(RUNS, run=None))


def read_overlaps(connection: Connection, run: int) -> dict[int, int]:
    """The plans that nobody has begun yet and that have tokens of this one, too: how many, by their runs."""
    waiting = [
        one.id for one in list_runs(connection) if one.state is RunState.PLANNED and not one.lapsed and one.id != run
    ]
    if not waiting:
        return {}
    return {row.run: row.tokens for row in connection.rows(OVERLAPS, run=run, waiting=waiting)}


def read_run(connection: Connection, run: int) -> StoredRun:
    """One run; UsageError where there is none of that number."""
    row = connection.row(RUNS, run=run)
    if row is None:
        raise UsageError(f"There is no run {run} in the journal.{to_type('to see the runs', 'history')}")
    return _stored(row)


def read_attempts(connection: Connection, run: int) -> tuple[Attempt, ...]:
    """The attempts to carry `run` out, in their order."""
    with damage.reading(f"Run {run}"):
        return tuple(
            Attempt(
                row.number,
                origin_of(row.carried_out_by),
                row.process,
                row.tool_version,
                moment_of(row.started_at),
                row.ended_at and moment_of(row.ended_at),
                row.stopped_because,
            )
            for row in connection.rows(ATTEMPTS, run=run)
        )


def read_plan(connection: Connection, stored: StoredRun) -> Plan:
    """What is still to be done of a run: all of a stored plan, the rest of a stopped run."""
    backwards = stored.kind is RunKind.UNDO
    return Plan(
        stored.kind,
        stored.selection,
        stored.change,
        _chunks(stored.id, connection.stream(PENDING, run=stored.id, backwards=backwards)),
        memberships=stored.memberships,
        notices=stored.notices,
        undoes=stored.undoes,
        stored=stored.id,
    )


def read_dealt_with(connection: Connection, run: int) -> tuple[Chunk, ...]:
    """Those tokens of a run that have had their turn: changed, or left alone."""
    return _chunks(run, connection.stream(DEALT_WITH, run=run))


def read_reverse(connection: Connection, stored: StoredRun) -> Plan:
    """The plan that puts back what a run has changed: old and new dates the other way round, last chunk first.

    Without the tokens that an earlier undo of the run has put back already.
    """
    touched = connection.row(TOUCHED, run=stored.id)
    return Plan(
        RunKind.UNDO,
        stored.selection,
        stored.change,
        _chunks(stored.id, connection.stream(with_put_back(stored.change, CHANGED), run=stored.id)),
        memberships=stored.memberships if touched.memberships else None,
        notices=touched.notices,
        undoes=stored.id,
    )


def with_put_back(change: Change, statement: str) -> str:
    """A statement that asks `put_back` which tokens of the run `run`, a run of this change, are as they were before."""
    return PUT_BACK.format(again=WORKS_AGAIN if change.revokes else DATE_AGAIN) + statement


def _stored(row: Any) -> StoredRun:
    with damage.reading(f"Run {row.id}"):
        change = row.change
        selection_in_words(mapping_of(row.selection))  # a view has to be able to say it
        return StoredRun(
            id=row.id,
            kind=RunKind(row.kind),
            state=RunState(row.state),
            selection=mapping_of(row.selection),
            change=Change(
                change["to"] and ExpirationDate.stored(change["to"]),
                change["by"],
                change["days"],
                change.get("revokes", False),
            ),
            memberships=row.memberships and MembershipRule(row.memberships),
            notices=row.notices,
            reason=row.reason,
            origin=origin_of(row.planned_by),
            tool_version=row.tool_version,
            undoes=row.undoes,
            undone_by=row.undone_by,
            put_back=row.put_back,
            tokens=row.tokens,
            changed=row.changed,
            changed_meanwhile=row.changed_meanwhile,
            locked=row.locked,
            attempt=row.attempt,
            created_at=moment_of(row.created_at),
            heartbeat_at=row.heartbeat_at and moment_of(row.heartbeat_at),
            finished_at=row.finished_at and moment_of(row.finished_at),
            age=row.age,
            silence=row.silence,
            carried_out_by=tuple(map(origin_of, row.carried_out_by)),
            begun_at=row.begun_at and moment_of(row.begun_at),
            has_names=row.has_names,
            withdrawn_by=row.withdrawn_by and origin_of(row.withdrawn_by),
            withdrawn_at=row.withdrawn_at and moment_of(row.withdrawn_at),
            withdrawn_because=row.withdrawn_because,
        )


def _chunks(run: int, rows: Iterator[Any]) -> tuple[Chunk, ...]:
    with damage.reading(f"Run {run}"):
        return tuple(
            Chunk(
                row.position,
                ExpirationDate.stored_or_none(row.old),
                ExpirationDate.stored_or_none(row.new),
                TokenIds(sorted(row.ids)),
                row.again,
            )
            for row in rows
            if row.ids
        )

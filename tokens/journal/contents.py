"""What the journal holds, and what of it is old enough to be forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tokens import database, origin
from tokens.address import Address
from tokens.database import Connection, array_literal
from tokens.gitlab import preflight
from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import TOKENS, Schema, read_schema
from tokens.gitlab.succession import PREDECESSOR
from tokens.journal import chain, proof, settings
from tokens.journal.installation import REVISION, RunState, check_tables, read_revision, read_standing
from tokens.journal.proof import Checked
from tokens.journal.setup import LOCK_TIMEOUT, STATEMENT_TIMEOUT, check_usable
from tokens.origin import Origin

STATES = """
    SELECT r.state, count(*) AS runs, sum(r.tokens)::bigint AS tokens
    FROM token_tasks.runs r
    GROUP BY r.state
"""


TIMES = """
    SELECT
      to_char(min(r.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS oldest,
      to_char(max(r.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS newest
    FROM token_tasks.runs r
"""


SIZES = """
    SELECT c.relname AS table_name, pg_total_relation_size(c.oid) AS bytes
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'token_tasks' AND c.relkind = 'r'
"""


OLD_RUNS = """
    FROM token_tasks.runs r
    WHERE r.state <> 'running'
      -- A successor that was made, but not delivered, is to be revoked when the run is resumed.
      AND NOT EXISTS (
        SELECT FROM token_tasks.rotations p
        WHERE p.run_id = r.id AND p.state NOT IN ('planned', 'done', 'abandoned')
      )
      -- While a token is not revoked that was replaced, it works or can be made to work again: it is to be known that
      -- it was replaced, and by what.
      AND r.id NOT IN (
        WITH RECURSIVE replaced AS (
          SELECT p.run_id, p.token_id, p.successor_id
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens t ON t.id = p.token_id AND t.revoked IS NOT TRUE
          WHERE p.state NOT IN ('planned', 'abandoned')
          UNION
          SELECT p.run_id, p.token_id, p.successor_id
          FROM replaced
          JOIN token_tasks.rotations p ON p.token_id = replaced.successor_id AND p.state NOT IN ('planned', 'abandoned')
        )
        SELECT p.run_id FROM replaced p{unless_known}
      )
      -- An undo that may go on needs what it undoes.
      AND NOT EXISTS (SELECT FROM token_tasks.runs u WHERE u.undoes = r.id AND u.state NOT IN ('done', 'withdrawn'))
      AND r.created_at < CAST(%(before)s AS timestamp) AT TIME ZONE 'UTC'
"""

# GitLab 16.3 and later remember it themselves.
UNLESS_KNOWN = """
        WHERE NOT EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.id = p.successor_id AND s.previous_personal_access_token_id = p.token_id
        )"""


# What is left of the runs that undo them says no more what they undo.
UNDOS = """
    SELECT r.id
    FROM token_tasks.runs r
    WHERE r.undoes = ANY (CAST(%(runs)s AS bigint[])) AND r.id <> ALL (CAST(%(runs)s AS bigint[]))
    ORDER BY r.id
"""

DELETE = """
    WITH gone AS (DELETE FROM token_tasks.entries WHERE run_id = ANY (CAST(%(runs)s AS bigint[])))
    DELETE FROM token_tasks.runs WHERE id = ANY (CAST(%(runs)s AS bigint[]))
"""

PRUNING = Needs(reads={TOKENS: ("id", "expires_at", "revoked", PREDECESSOR)})


@dataclass(frozen=True)
class Contents:
    """What the journal holds.

    `runs` counts them by state, `tokens` those of all plans together. `oldest` and `newest` are when the first and the
    last run was planned, ISO 8601 in UTC, None where there is none. Sizes are in bytes on disk, indexes included:
    `chunks_size` is what ids and dates take, `names_size` what names take.
    """

    runs: Mapping[RunState, int]
    tokens: int
    oldest: str | None
    newest: str | None
    size: int
    chunks_size: int
    names_size: int
    notices_size: int
    memberships_size: int

    @property
    def bytes_a_token(self) -> float | None:
        """What a token's id and dates take; more after pruning, until the freed room is used again."""
        return self.chunks_size / self.tokens if self.tokens else None


@dataclass(frozen=True)
class JournalStatus:
    """Which revision the journal has, None where it is not installed, and which one this version of the tool needs.

    `contents`, and `chain` with what came of checking its rows, are None unless the two are the same. `owner` is the
    role that has to migrate it, None where it is the one that is logged in.
    """

    revision: str | None
    needed: str
    contents: Contents | None
    chain: Checked | None = None
    owner: str | None = None


def status(address: Address) -> JournalStatus:
    """What there is of the journal, with its chain checked. Works on a standby, too.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(address) as connection:
        preflight.check_tables(preflight.read_state(connection), read_schema(connection))
        revision = read_revision(connection)
        standing = read_standing(connection)
        if revision != REVISION:
            return JournalStatus(revision, REVISION, None, owner=None if standing.owns_tables else standing.owner)
        check_tables(standing)
        return JournalStatus(revision, REVISION, _read_contents(connection), proof.check(connection))


def count_prunable(address: Address, before: date) -> int:
    """How many runs `prune` would forget. Raises what `prune` raises."""
    with database.reading(address) as connection:
        check_usable(connection)
        schema = preflight.check(connection, PRUNING)
        return int(connection.row(f"SELECT count(*) AS runs {_old_runs(schema)}", before=str(before)).runs)


def prune(address: Address, before: date, who: Origin | None = None) -> int:
    """Forget the runs that were planned before 00:00 UTC of a day; how many there were.

    Kept is what is under way, and a rotation of GitLab 16.0 to 16.2 whose old token is not revoked, expired or not:
    GitLab does not know that it was replaced. Of 16.3 and later it does, so nothing has to be kept.

    That they are forgotten is entered in the journal's chain, with their last chains. So is who did it, who is this
    process unless it is said.

    The room that they took is used again after the server's next autovacuum.

    Raises:
        DatabaseError: see `tokens.errors`.
        Refused: there is no journal that can be written to.
    """
    with (
        database.connect(address) as connection,
        database.writing(connection, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT),
    ):
        check_usable(connection)
        schema = preflight.check(connection, PRUNING)
        old = connection.rows(f"SELECT r.id, r.chain {_old_runs(schema)}\n    FOR UPDATE OF r", before=str(before))
        ids = array_literal(run.id for run in old)
        undos = [run.id for run in connection.rows(UNDOS, runs=ids)]
        connection.execute(DELETE, runs=ids)
        for undo in undos:
            chain.enter(connection, undo, runs=[undo])
        chain.forget(connection, {run.id: run.chain for run in old})
        if undos:
            chain.catch_up(connection)
        if old:
            settings.note_pruning(connection, before=before, runs=len(old), origin=who or origin.here())
        return len(old)


def _old_runs(schema: Schema) -> str:
    return OLD_RUNS.replace("{unless_known}", UNLESS_KNOWN if schema.has(TOKENS, PREDECESSOR) else "")


def _read_contents(connection: Connection) -> Contents:
    states = {row.state: row for row in connection.rows(STATES)}
    sizes = {row.table_name: row.bytes for row in connection.rows(SIZES)}
    times = connection.row(TIMES)
    return Contents(
        runs={state: states[state].runs if state in states else 0 for state in RunState},
        tokens=sum(row.tokens for row in states.values()),
        oldest=times.oldest,
        newest=times.newest,
        size=sum(sizes.values()),
        chunks_size=sizes["chunks"],
        names_size=sizes["names"],
        notices_size=sizes["notices"],
        memberships_size=sizes["memberships"],
    )

"""What an undo of a run would put back, and what a person should know of that."""

from dataclasses import dataclass, replace

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.change.bots import read_doomed
from tokens.change.facts import read_superseded
from tokens.change.notes import Note, doomed, guards, left_out_superseded, maintenance, past, superseded_note
from tokens.change.plan import Plan, RunKind, read_gaps
from tokens.change.revocation import notes_on_returns, read_returns
from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab import notices as notices_sent
from tokens.gitlab import preflight
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, clean_up
from tokens.gitlab.kind import TODAY
from tokens.gitlab.needs import CHANGE, Needs
from tokens.gitlab.release import read_release
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.journal.installation import RunState
from tokens.journal.runs import AS_REVOKED, IS_PLANNED_ONE, StoredRun, read_reverse, read_run, with_put_back
from tokens.journal.setup import check_usable

READING = Needs(reads=CHANGE.reads)
"""What it takes to read a run; what it writes is known after that."""

# In what a run has changed, the tokens that no longer have the date that it gave them, whatever an undo of it has done.
CHANGED_SINCE = f"""
    SELECT p.id
    FROM (
      SELECT
        c.new_expires_at,
        unnest(c.token_ids) AS id,
        COALESCE(c.left_alone, '{{}}') || COALESCE(c.locked, '{{}}') AS others
      FROM token_tasks.chunks c
      WHERE c.run_id = %(run)s AND c.done_at IS NOT NULL
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.id
    WHERE (t.id IS NULL OR t.expires_at IS DISTINCT FROM p.new_expires_at OR NOT {IS_PLANNED_ONE})
      AND p.id <> ALL (p.others)
      AND p.id NOT IN (SELECT b.id FROM put_back b)
    ORDER BY p.id
"""  # noqa: S608 - a constant

# In what a run has revoked, the tokens that are not as it left them. Their dates may be others by now.
TOUCHED_SINCE = f"""
    SELECT kept.id
    FROM token_tasks.revocations n
    CROSS JOIN LATERAL unnest(n.token_ids) AS kept (id)
    LEFT JOIN public.personal_access_tokens t ON t.id = kept.id
    WHERE n.run_id = %(run)s
      AND {AS_REVOKED} IS NOT TRUE
      AND kept.id NOT IN (SELECT b.id FROM put_back b)
    ORDER BY kept.id
"""  # noqa: S608 - a constant

COUNT_PUT_BACK = """
    SELECT count(*) AS tokens FROM put_back
"""

# Of a rotation there is more to know than dates.
ROTATION = "SELECT FROM token_tasks.runs WHERE id = %(run)s AND kind = 'rotate'"

# The tokens of a run that are as it left them.
AS_CHANGED = f"""public.personal_access_tokens t
      JOIN ({{changed}}
      ) changed ON changed.id = t.id AND changed.new_expires_at IS NOT DISTINCT FROM t.expires_at
        AND t.{IS_PLANNED_ONE}"""

# Those that an undo changes, each with the date that it had.
CHANGED_TOKENS = AS_CHANGED.format(
    changed="""
        SELECT c.position, one.id, c.old_expires_at, c.new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = %(undone_run)s
          AND c.done_at IS NOT NULL
          AND one.id <> ALL (COALESCE(c.left_alone, '{}') || COALESCE(c.locked, '{}'))"""
)

# The same for a stored undo, by its own chunks, whose dates are the other way round. The server cannot know how many
# tokens are in arrays, so two such lists must not meet in a join: it may go through one of them for each of the other.
STORED_CHANGED_TOKENS = AS_CHANGED.format(
    changed="""
        SELECT c.position, one.id, c.new_expires_at AS old_expires_at, c.old_expires_at AS new_expires_at
        FROM token_tasks.chunks c
        CROSS JOIN LATERAL unnest(c.token_ids) AS one (id)
        WHERE c.run_id = %(stored_run)s AND c.done_at IS NULL"""
)

OLD_DATE = Condition("changed.old_expires_at", {})
"""The date that each gets back."""

# The tokens that an undo brings back, each with what it was before.
AS_REVOKED_BEFORE = f"""public.personal_access_tokens t
      JOIN (
        SELECT kept.id, kept.revoked, kept.updated_at, n.revoked_at, c.old_expires_at
        FROM token_tasks.revocations n
        JOIN token_tasks.chunks c ON c.run_id = n.run_id AND c.position = n.position{{planned}}
        CROSS JOIN LATERAL unnest(n.token_ids, n.revoked, n.updated_at) AS kept (id, revoked, updated_at)
        WHERE n.run_id = %(undone_run)s{{of_planned}}
        OFFSET 0 -- each array is taken apart once
      ) n ON n.id = t.id AND {AS_REVOKED}"""  # noqa: S608 - a constant

REVOKED_TOKENS = AS_REVOKED_BEFORE.format(planned="", of_planned="")

# Of those the ones that a stored undo is about: its chunks are where the run's are.
STORED_REVOKED_TOKENS = AS_REVOKED_BEFORE.format(
    planned="""
        JOIN (
          SELECT u.position, u.token_ids || '{}' AS token_ids
          FROM token_tasks.chunks u
          WHERE u.run_id = %(stored_run)s AND u.done_at IS NULL
          OFFSET 0 -- each array is unpacked once
        ) planned ON planned.position = n.position""",
    of_planned=" AND kept.id = ANY (planned.token_ids)",
)

# Those of them that it will leave alone, since they are not as the run left them.
NOT_AS_REVOKED = f"""
    SELECT unnest(c.token_ids) AS id
    FROM token_tasks.chunks c
    WHERE c.run_id = %(stored_run)s AND c.done_at IS NULL
    EXCEPT
    SELECT t.id
    FROM {STORED_REVOKED_TOKENS}
    ORDER BY id
"""  # noqa: S608 - a constant

# What an undo puts back along with them: memberships that still end as the run made them, some of which stay, as they
# are needed by now for any of its tokens, and notices of tokens about which GitLab has not warned since. The rule for
# what is needed is `tokens.run.memberships.OUTLIVES_SINCE`. That looks through all chunks for one token; here each
# array is taken apart once for all tokens.
PUT_BACK_ALONG = """
    WITH changed AS MATERIALIZED (
      SELECT t.id, t.user_id, changed.position, changed.old_expires_at
      FROM {changed}
    ),
    moved AS MATERIALIZED (
      SELECT m.id, m.user_id, n.position, kept.old_expires_at
      FROM token_tasks.memberships n
      CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
      JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
      WHERE n.run_id = %(undone_run)s
        AND EXISTS (SELECT FROM changed WHERE changed.user_id = m.user_id AND changed.position = n.position)
    ),
    outliving AS MATERIALIZED (
      SELECT
        moved.id AS member_id, moved.position, moved.old_expires_at, other.id, other.expires_at, other.created_at,
        COALESCE(CASE WHEN back.id IS NULL THEN other.expires_at ELSE back.old_expires_at END, 'infinity') AS ends_at
      FROM moved
      JOIN public.personal_access_tokens other ON other.user_id = moved.user_id
      LEFT JOIN changed back ON back.id = other.id
      WHERE other.revoked IS NOT TRUE AND COALESCE(other.expires_at, 'infinity') > moved.old_expires_at
    ),
    recorded AS MATERIALIZED (
      SELECT
        one.id,
        bool_or(c.run_id = %(undone_run)s) AS by_run,
        bool_or(
          c.run_id = %(undone_run)s
          AND c.old_expires_at IS DISTINCT FROM one.expires_at
          AND c.new_expires_at IS DISTINCT FROM one.expires_at
        ) AS changed_since,
        bool_or(
          c.run_id > %(undone_run)s
          AND r.kind NOT IN ('undo', 'revoke')
          AND c.done_at IS NOT NULL
          AND c.new_expires_at IS NOT DISTINCT FROM one.expires_at
        ) AS by_later_run
      FROM (
        SELECT c.run_id, c.old_expires_at, c.new_expires_at, c.done_at, unnest(c.token_ids) AS id
        FROM token_tasks.chunks c
        WHERE c.run_id >= %(undone_run)s
        OFFSET 0
      ) c
      JOIN token_tasks.runs r ON r.id = c.run_id
      JOIN (SELECT DISTINCT id, expires_at FROM outliving) one ON one.id = c.id
      GROUP BY one.id
    ),
    needed AS MATERIALIZED (
      SELECT DISTINCT one.member_id AS id
      FROM outliving one
      LEFT JOIN recorded ON recorded.id = one.id
      LEFT JOIN (
        SELECT n.position, unnest(n.other_token_ids) AS id, unnest(n.other_expires_at) AS expires_at
        FROM token_tasks.memberships n
        WHERE n.run_id = %(undone_run)s
        OFFSET 0
      ) earlier ON earlier.position = one.position AND earlier.id = one.id
      CROSS JOIN (SELECT created_at AT TIME ZONE 'UTC' AS planned FROM token_tasks.runs WHERE id = %(undone_run)s) run
      WHERE one.created_at > run.planned
        OR recorded.by_later_run
        OR recorded.changed_since
        OR (one.old_expires_at <= {today} AND one.old_expires_at > CAST(run.planned AS date) AND one.ends_at > {today})
        OR (earlier.expires_at <= one.old_expires_at AND recorded.by_run IS NOT TRUE)
    )
    SELECT
      (SELECT count(DISTINCT id) FROM moved WHERE id NOT IN (SELECT id FROM needed)) AS memberships,
      (SELECT count(*) FROM needed) AS needed,
      (
        SELECT count(DISTINCT t.id)
        FROM (
          SELECT unnest(n.token_ids) AS id, n.position
          FROM token_tasks.notices n
          WHERE n.run_id = %(undone_run)s
          OFFSET 0
        ) kept
        JOIN changed ON changed.id = kept.id AND changed.position = kept.position
        JOIN public.personal_access_tokens t ON t.id = kept.id AND NOT {any_set}
      ) AS notices
"""


@dataclass(frozen=True)
class Along:
    """How many memberships and tokens' notices an undo puts back along with its tokens.

    `needed` memberships stay as they are, because their bot has got tokens that live longer.
    """

    memberships: int
    notices: int
    needed: int


@dataclass(frozen=True)
class Undo:
    """What `undo` is about: the run, the plan that puts its old dates back, and the tokens that it will leave alone.

    `changed_since` are the ids of those that no longer have the date that the run gave them, in ascending order;
    `put_back` of the others have their old date already, from an undo that was begun before, and are not in the plan.
    `memberships` and `notices` are how many it puts back along with its tokens; `needed` memberships stay as they are,
    because their bot has got tokens that live longer. `left_out` are those that a rotation has replaced, where
    they are not to live longer again.
    """

    stored: StoredRun
    plan: Plan
    changed_since: tuple[int, ...]
    memberships: int
    notices: int
    needed: int
    put_back: int = 0
    left_out: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens get their old date back."""
        return self.plan.tokens - len(self.changed_since)

    @property
    def guards(self) -> tuple[str, ...]:
        """The words that `--allow` must have."""
        return guards_of_undo(self.plan)


def guards_of_undo(plan: Plan) -> tuple[str, ...]:
    """The words that `--allow` must have. Old dates may well be past by now, and a way back depends on no day."""
    return tuple(word for word in guards(plan.notes) if word != "past")


def plan_to_undo(address: Address, run: int, *, superseded: bool = True, release: str | None = None) -> Undo:
    """What it takes to put back the old dates of a run, and of the notices and memberships that it touched.

    Without `superseded` it leaves out what a rotation has replaced and would live longer again. `release` is GitLab's
    version where it is known.

    Raises:
        DatabaseError, Refused: see `tokens.errors`; also a run that rotated tokens.
        UsageError: there is no such run, it has changed nothing, or is an undo itself.
    """
    with database.reading(address) as connection:
        preflight.check(connection, READING)
        check_usable(connection)
        if is_rotation(connection, run):
            raise Refused(
                f"Run {run} is a rotation, and an undo would revive revoked secrets while their successors are in use:"
                " rotate the successors, or create tokens in GitLab."
            )
        stored = read_run(connection, run)
        schema = preflight.check(connection, stored.change.needs)
        if stored.kind is RunKind.UNDO:
            again = (
                "revoke its tokens again, use revoke"
                if stored.change.revokes
                else "have its dates again, use extend or remove"
            )
            raise UsageError(f"Run {run} is itself an undo, of run {stored.undoes}: to {again}.")
        plan = read_reverse(connection, stored)
        put_back = connection.row(with_put_back(stored.change, COUNT_PUT_BACK), run=run).tokens
        if not plan.tokens and not put_back:
            withdraw = to_type("to withdraw it", "withdraw", "--run", run) if stored.state is RunState.PLANNED else ""
            raise UsageError(
                f"Run {run} has changed nothing (it is {stored.state}), so there is nothing to undo.{withdraw}"
            )
        policy = read_policy(connection, schema)
        estimate = read_release(connection, schema)
        bots = clean_up(release, estimate)
        undo_of = _undo_of_revocation if stored.change.revokes else _undo_of_dates
        undo = undo_of(connection, schema, stored, plan, policy, bots, superseded=superseded)
        known = (*undo.plan.notes, *read_gaps(connection, schema))
    return replace(undo, plan=replace(undo.plan, notes=known, release=release or estimate), put_back=put_back)


def read_changed_since(address: Address, run: int) -> tuple[int, ...]:
    """The ids of the tokens that a run has changed and that are not as it left them, in ascending order."""
    with database.reading(address) as connection:
        return _changed_since(connection, read_run(connection, run))


def not_as_revoked(connection: Connection, stored: StoredRun) -> tuple[int, ...]:
    """The ids of the tokens that a stored undo of a revocation will leave alone, in ascending order."""
    return tuple(row.id for row in connection.rows(NOT_AS_REVOKED, stored_run=stored.id, undone_run=stored.undoes))


def known_of_stored_undo(
    connection: Connection, schema: Schema, stored: StoredRun, plan: Plan, policy: Policy, bots: CleanUp | None
) -> tuple[tuple[Note, ...], Along | None]:
    """Today's notes on a stored undo, and what it puts back along with dates, for the person who applies it.

    What it has begun was known then, but for what an upgrade of GitLab changes.
    """
    along = None
    always = maintenance(plan.moves, policy)
    values: dict[str, object] = {"undone_run": stored.undoes, "stored_run": stored.id, "planned": stored.undoes}
    begun = stored.state is not RunState.PLANNED
    found: tuple[Note, ...] = (always,)
    if not stored.change.revokes:
        changed = Condition(STORED_CHANGED_TOKENS, values)
        lost = doomed(read_doomed(connection, changed, OLD_DATE, policy, bots), bots)
        found = (always, lost)
        if not begun:
            replaced = _superseded(connection, schema, changed, policy)
            found = (always, past(plan.moves, policy), superseded_note(replaced), lost)
            along = _along(connection, schema, changed)
    elif not begun:
        tokens = Condition(STORED_REVOKED_TOKENS, values)
        number = connection.row(f"SELECT count(*) AS tokens FROM {tokens.sql}", **values).tokens  # noqa: S608 - ours
        found = notes_on_returns(
            plan.moves, number, read_returns(connection, schema, tokens, policy, bots), policy, bots
        )
    return tuple(note for note in found if note.tokens), along


def _undo_of_dates(
    connection: Connection,
    schema: Schema,
    stored: StoredRun,
    plan: Plan,
    policy: Policy,
    bots: CleanUp | None,
    *,
    superseded: bool,
) -> Undo:
    """What it takes to put back the dates that a run has changed, but for the notes on what cannot be known."""
    since = _changed_since(connection, stored)
    changed = Condition(CHANGED_TOKENS, {"undone_run": stored.id, "planned": stored.id})
    replaced = _superseded(connection, schema, changed, policy)
    if not superseded:
        plan = plan.without(frozenset(replaced))
        changed = changed.without(replaced)
    along = _along(connection, schema, changed)
    found = (
        maintenance(plan.moves, policy),
        past(plan.moves, policy),
        superseded_note(replaced) if superseded else left_out_superseded(replaced),
        doomed(read_doomed(connection, changed, OLD_DATE, policy, bots), bots),
    )
    return Undo(
        stored,
        replace(plan, notes=tuple(note for note in found if note.tokens)),
        since,
        along.memberships,
        along.notices,
        along.needed,
        left_out=0 if superseded else len(replaced),
    )


def _along(connection: Connection, schema: Schema, changed: Condition) -> Along:
    statement = PUT_BACK_ALONG.format(changed=changed.sql, today=TODAY, any_set=notices_sent.any_set(schema))
    return Along(**connection.row(statement, **changed.parameters)._asdict())


def _changed_since(connection: Connection, stored: StoredRun) -> tuple[int, ...]:
    statement, about = CHANGED_SINCE, {"run": stored.id, "planned": stored.id}
    if stored.change.revokes:
        statement, about = TOUCHED_SINCE, {"run": stored.id}
    return tuple(row.id for row in connection.stream(with_put_back(stored.change, statement), **about))


def _superseded(connection: Connection, schema: Schema, changed: Condition, policy: Policy) -> tuple[int, ...]:
    """Of the tokens that an undo changes, SQL for FROM, those that a rotation has replaced and would live longer."""
    return read_superseded(connection, schema, Condition("TRUE", changed.parameters), OLD_DATE, policy, changed.sql)


def _undo_of_revocation(
    connection: Connection,
    schema: Schema,
    stored: StoredRun,
    plan: Plan,
    policy: Policy,
    bots: CleanUp | None,
    *,
    superseded: bool,
) -> Undo:
    """What it takes to bring back what a run has revoked, but for the notes on what cannot be known."""
    tokens = Condition(REVOKED_TOKENS, {"undone_run": stored.id})
    since = _changed_since(connection, stored)
    found = read_returns(connection, schema, tokens, policy, bots)
    left_out = () if superseded else found.superseded
    if left_out:
        plan = plan.without(frozenset(left_out))
        found = read_returns(connection, schema, tokens.without(left_out), policy, bots)
    noted = notes_on_returns(plan.moves, plan.tokens - len(since), found, policy, bots)
    more = [left_out_superseded(left_out)] if left_out else []
    return Undo(stored, replace(plan, notes=(*noted, *more)), since, 0, 0, 0, left_out=len(left_out))


def is_rotation(connection: Connection, run: int) -> bool:
    return connection.row(ROTATION, run=run) is not None

"""What is left to apply of a run that the journal has: all of a stored plan, the rest of one that has stopped."""

from dataclasses import dataclass, replace
from typing import Self

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.change.bots import read_doomed
from tokens.change.facts import Facts, read_facts, read_superseded
from tokens.change.notes import Note, changed_since, guards, notes, old_plan
from tokens.change.plan import Plan, RunKind, read_gaps
from tokens.change.revocation import Ends, notes_on_ends, read_ends
from tokens.database import Connection
from tokens.errors import Refused, RunComplete, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.background_migration import read_background_migration
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, clean_up
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.journal.installation import RunState
from tokens.journal.runs import IS_PLANNED_ONE, PLAN_LIFETIME, StoredRun, read_plan, read_run
from tokens.journal.setup import check_usable
from tokens.run.undo import READING, Along, guards_of_undo, is_rotation, known_of_stored_undo, not_as_revoked

STORED_TOKENS = f"""t.id IN (
      SELECT unnest(c.token_ids)
      FROM token_tasks.chunks c
      WHERE c.run_id = %(planned)s AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ) AND t.{IS_PLANNED_ONE}"""  # noqa: S608 - a constant

LEFT_TOKENS = f"""public.personal_access_tokens t
      JOIN (
        SELECT t.id
        FROM public.personal_access_tokens t
        WHERE {STORED_TOKENS}
      ) pending ON pending.id = t.id"""  # noqa: S608 - a constant

# What is left of the run, but somebody else has changed it.
CHANGED_SINCE = f"""
    SELECT p.id
    FROM (
      SELECT c.old_expires_at, unnest(CASE WHEN c.done_at IS NULL THEN c.token_ids ELSE c.locked END) AS id
      FROM token_tasks.chunks c
      WHERE c.run_id = %(run)s AND (c.done_at IS NULL OR c.locked IS NOT NULL)
    ) p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.id
    WHERE (
      t.id IS NULL OR t.expires_at IS DISTINCT FROM p.old_expires_at OR (CAST(%(revokes)s AS boolean) AND t.revoked)
      OR NOT {IS_PLANNED_ONE}
    )
    ORDER BY p.id
"""  # noqa: S608 - a constant


class PlanComplete(RunComplete):
    """Nothing is left to apply of the run `stored`."""

    def __init__(self, stored: StoredRun) -> None:
        super().__init__(f"Run {stored.id} is complete: there is nothing to do.")
        self.stored = stored

    def __reduce__(self) -> tuple[type[Self], tuple[StoredRun]]:
        return type(self), (self.stored,)


@dataclass(frozen=True)
class Application:
    """What `apply` is about: the run, and the plan of what is left of it; `undone` is the run that it undoes.

    `changed_since` are the ids of the tokens that an undo will leave alone, because they are not as the undone run left
    them, in ascending order, as of `Undo`. Another plan counts them, and has a note on them.
    `along` is what an undo of dates that nobody has begun puts back along with them.
    """

    stored: StoredRun
    plan: Plan
    undone: StoredRun | None = None
    changed_since: tuple[int, ...] = ()
    along: Along | None = None

    @property
    def tokens(self) -> int:
        """How many tokens it is about."""
        return self.plan.tokens - len(self.changed_since)

    @property
    def guards(self) -> tuple[str, ...]:
        """The words that `--allow` must have. What a run has begun was allowed then, but for what time changes."""
        if self.plan.is_undo:
            return guards_of_undo(self.plan)
        begun = self.stored.state is not RunState.PLANNED
        return tuple(word for word in guards(self.plan.notes) if not (begun and word == "earlier"))


def plan_to_apply(address: Address, run: int, *, release: str | None = None) -> Application:
    """What is left to do of a stored plan or of a run that has stopped; with the notes on a plan that nobody has begun.

    `release` is GitLab's version where it is known.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        PlanComplete: nothing is left of it.
        UsageError: there is no such run, or it is a rotation.
    """
    with database.reading(address) as connection:
        preflight.check(connection, READING)
        check_usable(connection)
        if is_rotation(connection, run):
            if (stored := read_run(connection, run)).state is RunState.DONE:
                raise PlanComplete(stored)
            how = to_type("to continue it, with the same --deliver", "rotate", "--resume", run)
            raise UsageError(f"Run {run} is a rotation.{how}")
        stored = read_run(connection, run)
        if stored.withdrawal is not None:
            raise Refused(f"Run {run} {stored.withdrawal}: there is nothing to apply.")
        schema = preflight.check(connection, stored.change.needs)
        if stored.state is RunState.DONE:
            raise PlanComplete(stored)
        if stored.kind is RunKind.UNDO and stored.undoes is None:
            raise Refused(f"Run {run} undoes a run that the journal has forgotten, so it cannot go on.")
        undone = None if stored.undoes is None else read_run(connection, stored.undoes)
        plan = read_plan(connection, stored)
        policy = read_policy(connection, schema)
        estimate = read_release(connection, schema)
        bots = clean_up(release, estimate)
        along = None
        if stored.kind is RunKind.UNDO:
            found, along = known_of_stored_undo(connection, schema, stored, plan, policy, bots)
        elif stored.kind is RunKind.REVOKE:
            found = _notes_on_revocation(connection, schema, stored, plan, policy, bots)
        else:
            least = least_of(release, estimate)
            plan, found = _with_notes_on_dates(connection, schema, stored, plan, policy, bots, least)
        since = _changed_since(connection, stored)
        changed = [changed_since(since)] if since else []
        lapsed = [old_plan(plan.tokens, PLAN_LIFETIME)] if stored.lapsed else []
        known = (*found, *changed, *lapsed, *read_gaps(connection, schema))
    plan = replace(plan, notes=known, release=release or estimate)
    return Application(stored, plan, undone, since if undone else (), along)


def _changed_since(connection: Connection, stored: StoredRun) -> tuple[int, ...]:
    """The tokens that are left of a run, and that it will leave alone."""
    if stored.kind is RunKind.UNDO and stored.change.revokes:
        return not_as_revoked(connection, stored)
    about = {"run": stored.id, "planned": stored.undoes or stored.id, "revokes": stored.change.revokes}
    return tuple(row.id for row in connection.rows(CHANGED_SINCE, **about))


def _with_notes_on_dates(
    connection: Connection,
    schema: Schema,
    stored: StoredRun,
    plan: Plan,
    policy: Policy,
    bots: CleanUp | None,
    release: tuple[int, int] | None,
) -> tuple[Plan, tuple[Note, ...]]:
    """What is left of a run that changes dates, as there is need today, and the notes on it."""
    condition = Condition(STORED_TOKENS, {"planned": stored.id})
    begun = stored.state is not RunState.PLANNED
    if begun and plan.memberships is None and not plan.notices:
        new = stored.change.expression()
        superseded = read_superseded(connection, schema, condition, new, policy)
        lost = read_doomed(connection, Condition(LEFT_TOKENS, condition.parameters), new, policy, bots)
        facts = Facts(superseded=superseded, doomed_bots=lost)
    else:
        migration = read_background_migration(connection, schema)
        facts = read_facts(connection, schema, condition, stored.change, policy, migration, bots, release)
    found = notes(
        plan.moves,
        # GitLab may have been upgraded since to a release that deletes such bots.
        Facts(superseded=facts.superseded, doomed_bots=facts.doomed_bots) if begun else facts,
        policy,
        memberships=plan.memberships,
        notices=plan.notices,
        clean_up=bots,
        options=False,
    )
    return plan.as_needed(facts), found


def _notes_on_revocation(
    connection: Connection, schema: Schema, stored: StoredRun, plan: Plan, policy: Policy, bots: CleanUp | None
) -> tuple[Note, ...]:
    """The notes on what is left of a run that revokes. What it has begun was known then."""
    if stored.state is not RunState.PLANNED:
        return notes_on_ends(plan.moves, Ends(), policy, bots)
    condition = Condition(STORED_TOKENS, {"planned": stored.id})
    return notes_on_ends(plan.moves, read_ends(connection, schema, condition, policy, bots), policy, bots)

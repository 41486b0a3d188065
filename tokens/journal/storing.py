"""Storing a plan in the journal, for this process or for somebody else, and withdrawing one that nobody has begun."""

import json
from collections.abc import Mapping

from tokens.call import to_type
from tokens.change.chunks import values_of
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab.membership import MembershipRule
from tokens.gitlab.schema import Schema, read_schema
from tokens.gitlab.settings import read_policy
from tokens.journal import chain, names
from tokens.journal.installation import RunState
from tokens.journal.runs import read_run
from tokens.journal.settings import demands_four_eyes
from tokens.origin import Origin
from tokens.version import __version__

STORE_RUN = """
    INSERT INTO token_tasks.runs
      (kind, state, selection, change, memberships, notices, reason, planned_by, tool_version, undoes, tokens, policy)
    VALUES (
      %(kind)s, 'planned', CAST(%(selection)s AS jsonb), CAST(%(change)s AS jsonb), %(memberships)s, %(notices)s,
      %(reason)s, CAST(%(planned_by)s AS jsonb), %(version)s, CAST(%(undoes)s AS bigint), %(tokens)s,
      CAST(%(policy)s AS jsonb)
    )
    RETURNING id
"""

STORED = 100  # chunks in one statement

STORE_CHUNKS = """
    INSERT INTO token_tasks.chunks (run_id, position, old_expires_at, new_expires_at, token_ids)
    SELECT CAST(%(run)s AS bigint), c.position, c.old, c.new, CAST(c.ids AS bigint[])
    FROM unnest(
      CAST(%(positions)s AS bigint[]), CAST(%(old)s AS date[]), CAST(%(new)s AS date[]), CAST(%(ids)s AS text[])
    ) AS c (position, old, new, ids)
"""

WITHDRAW = """
    UPDATE token_tasks.runs
    SET
      state = 'withdrawn',
      withdrawn_by = CAST(%(origin)s AS jsonb),
      withdrawn_at = now(),
      withdrawn_because = %(reason)s
    WHERE id = %(run)s AND state = 'planned'
"""


def store(connection: Connection, plan: Plan, origin: Origin, reason: str | None, *, with_names: bool = True) -> int:
    """Store `plan` in the open transaction, as a rule with what its tokens are called; returns the number of its run.

    The caller has checked that the journal is trusted.
    """
    schema = read_schema(connection)
    run = store_run(
        connection,
        schema,
        plan.kind,
        selection=plan.selection,
        change={
            "to": plan.change.to and plan.change.to.literal,
            "by": plan.change.by,
            "days": plan.change.days,
            "revokes": plan.change.revokes,
        },
        memberships=plan.memberships,
        notices=plan.notices,
        undoes=plan.undoes,
        tokens=plan.tokens,
        origin=origin,
        reason=reason,
    )
    for start in range(0, len(plan.chunks), STORED):
        stored = plan.chunks[start : start + STORED]
        connection.execute(STORE_CHUNKS, run=run, **values_of(stored))
        if with_names:
            places = [chunk.position for chunk in stored]
            names.keep(connection, schema, run, min(places), max(places), len(places))
    chain.seal(connection, run)
    return run


def store_run(
    connection: Connection,
    schema: Schema,
    kind: RunKind,
    *,
    selection: Mapping[str, object],
    change: Mapping[str, object],
    memberships: MembershipRule | None,
    tokens: int,
    origin: Origin,
    reason: str | None,
    notices: bool = False,
    undoes: int | None = None,
) -> int:
    """Store a run without its tokens, in the open transaction; returns its number.

    The caller has checked that the journal is trusted, and puts the run under `chain.seal` once its tokens are stored.
    """
    row = connection.row(
        STORE_RUN,
        kind=kind,
        selection=json.dumps(selection),
        change=json.dumps(change),
        memberships=memberships and memberships.value,
        notices=notices,
        reason=reason,
        planned_by=json.dumps(origin.as_dict()),
        version=__version__,
        undoes=undoes,
        tokens=tokens,
        policy=_policy(connection, schema),
    )
    return int(row.id)


def withdraw(connection: Connection, run: int, origin: Origin, reason: str | None) -> None:
    """Withdraw a plan that nobody has begun, in the open transaction: nobody can carry it out from then on.

    The caller has checked that the journal is trusted.

    Raises:
        Refused: it has been begun.
        UsageError: there is no such run.
    """
    if not connection.execute(WITHDRAW, run=run, origin=json.dumps(origin.as_dict()), reason=reason):
        stored = read_run(connection, run)
        if stored.state is RunState.WITHDRAWN:
            raise Refused(f"Run {run} was withdrawn before.{to_type('to see it', 'history', '--run', run)}")
        is_undone = stored.undone_by is not None and not stored.is_undone_in_part
        reversible = stored.changed and not is_undone and stored.state is not RunState.RUNNING
        raise Refused(
            f"Run {run} is {stored.state}, and only a plan that nobody has begun can be withdrawn: nothing was changed."
            + (stored.kind.to_take_back(run, four_eyes=demands_four_eyes(connection)) if reversible else "")
        )
    chain.enter(connection, run)
    chain.close(connection, run)


def _policy(connection: Connection, schema: Schema) -> str | None:
    """What the instance demands now; None for a role that may not know it, for no run fails by that."""
    try:
        with connection.transaction():
            return json.dumps(read_policy(connection, schema).as_dict())
    except Refused:
        return None

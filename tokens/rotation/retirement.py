"""The end of a rotation: the old token goes because its successor is in place, or the successor because it is not."""

from enum import StrEnum
from typing import Any

from tokens.database import Connection
from tokens.gitlab.kind import works
from tokens.gitlab.schema import read_schema
from tokens.gitlab.succession import LINE_WORKS, read_succession
from tokens.gitlab.triggers import change
from tokens.journal.record import Record
from tokens.rotation import memberships
from tokens.rotation.new_owner import ACTIVE
from tokens.rotation.plan import Rotation
from tokens.rotation.stage import Stage, StoredRotation, SuccessorGone, count, reach, require, step

# In the order of ids, so that two transactions never wait for each other.
LOCK = f"""
    SELECT
      t.id,
      t.revoked IS TRUE AS revoked,
      t.expires_at::text AS expires_at,
      {works("t")} AS live,
      t.created_at <= CAST(%(noted)s AS timestamp) AS noted,
      u.state AS owner_state
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE t.id IN (%(token)s, CAST(%(successor)s AS bigint))
    ORDER BY t.id
    FOR UPDATE OF t
"""  # noqa: S608 - a constant

# GitLab takes updated_at for the time of the revocation.
REVOKE = """
    UPDATE public.personal_access_tokens
    SET revoked = true, updated_at = now() AT TIME ZONE 'UTC'
    WHERE id = %(token)s AND revoked IS NOT TRUE
"""

# One that was made after the journal knew of it is another token that has got its id, as after a restore.
REVOKE_SUCCESSOR = f"{REVOKE.rstrip()} AND created_at <= CAST(%(noted)s AS timestamp)\n"

FORGET = """
    UPDATE token_tasks.rotations r
    SET successor_id = NULL
    WHERE r.run_id = %(run)s AND r.token_id = %(token)s
      AND EXISTS (
        SELECT
        FROM public.personal_access_tokens s
        WHERE s.id = r.successor_id AND s.created_at > CAST(%(noted)s AS timestamp)
      )
"""

# GitLab's own rotation knows nothing of a successor that was made by us.
OTHER_SUCCESSOR = """
    SELECT {has_other} AS found
    FROM public.personal_access_tokens t
    WHERE t.id = %(token)s
"""

OTHER_LIVE = f"line.id <> %(successor)s AND {LINE_WORKS}"

SHORTEN = """
    UPDATE public.personal_access_tokens
    SET expires_at = LEAST(expires_at, CAST(%(until)s AS date))
    WHERE id = %(token)s
"""


CAME_TO = """
    SELECT
      t.id, t.revoked IS TRUE AS revoked, p.successor_id,
      p.grace_until IS NOT NULL
        AND t.expires_at IS NOT DISTINCT FROM LEAST(p.old_expires_at, p.grace_until) AS in_grace
    FROM token_tasks.rotations p
    LEFT JOIN public.personal_access_tokens t ON t.id = p.token_id
    WHERE p.run_id = %(run)s AND p.token_id = %(token)s AND p.state = 'done'
"""


class Retirement(StrEnum):
    """What became of the old token."""

    REVOKED = "revoked"
    """By this, or by somebody else before."""

    GRACE = "grace"
    """It ends on the day of the grace, or on its own if that is earlier."""

    REPLACED = "replaced"
    """Somebody else has rotated it since, and that successor works, too."""

    LEFT_ALONE = "left alone"
    """Somebody has given it another date since the plan: its fate is theirs."""

    GONE = "gone"
    """Somebody has deleted it."""


def finish(connection: Connection, run: Record, rotation: Rotation) -> Retirement:
    """Retire the old token whose successor is delivered, in one transaction with its record.

    Raises:
        Refused: the successor is not delivered; the old token stays as it is.
        SuccessorGone: it does not work any more, or its new owner does not.
        TakenOver: another process goes on with the run.
    """
    token_id = rotation.candidate.id
    with step(connection, run):
        entry = require(connection, run, token_id, Stage.DONE)
        about = {"token": token_id, "successor": entry.successor_id, "noted": entry.changed_at}
        found = {row.id: row for row in connection.rows(LOCK, **about)}
        successor = found.get(entry.successor_id)
        is_there = successor is not None and successor.noted
        if successor is None or not (is_there and successor.live):
            why = "was revoked or has expired" if is_there else "is gone"
            raise SuccessorGone(
                f"The successor {entry.successor_id} of token {token_id} {why}, so the old token "
                f"is left as it is: make another one with --resume {run.run}."
            )
        if entry.new_owner is not None and successor.owner_state != ACTIVE:
            raise SuccessorGone(
                f"The successor {entry.successor_id} of token {token_id} does not work, because its owner "
                f"{entry.new_owner.username} is {successor.owner_state or 'without a state'}, so the old token is left "
                "as it is: activate that account first."
            )
        old = found.get(token_id)
        retirement = _retire(connection, old, entry)
        by_us = retirement in (Retirement.REVOKED, Retirement.GRACE) and not (old and old.revoked)
        count(connection, run, changed=int(by_us), changed_meanwhile=int(not by_us))
        reach(connection, run, token_id, Stage.DONE)
    return retirement


def read(connection: Connection, run: int, token_id: int) -> Retirement | None:
    """What a rotation has come to, by the old token as it is now; None where it is not done."""
    row = connection.row(CAME_TO, run=run, token=token_id)
    if row is None:
        return None
    if row.id is None:
        return Retirement.GONE
    if row.revoked:
        return _revoked(connection, token_id, row.successor_id)
    return Retirement.GRACE if row.in_grace else Retirement.LEFT_ALONE


def abandon(connection: Connection, run: Record, token_id: int) -> None:
    """Revoke the successor of this token and put the memberships of its bot back; the old token is left as it is.

    It is one transaction with its record. To abandon twice does no harm.

    Raises:
        Refused: the rotation is done, and the old token retired.
        TakenOver: another process goes on with the run.
    """
    with step(connection, run):
        entry = require(connection, run, token_id, Stage.ABANDONED)
        if entry.state is not Stage.ABANDONED and entry.successor_id is not None:
            change(connection, REVOKE_SUCCESSOR, token=entry.successor_id, noted=entry.changed_at)
            memberships.put_back(connection, run, token_id)
            connection.execute(FORGET, run=run.run, token=token_id, noted=entry.changed_at)
        reach(connection, run, token_id, Stage.ABANDONED)


def _retire(connection: Connection, old: Any, entry: StoredRotation) -> Retirement:
    if old is None:
        return Retirement.GONE
    if old.revoked:
        return _revoked(connection, old.id, entry.successor_id)
    if old.expires_at != entry.old_expires_at:
        return Retirement.LEFT_ALONE
    if entry.grace_until is None:
        change(connection, REVOKE, token=old.id)
        return Retirement.REVOKED
    change(connection, SHORTEN, token=old.id, until=entry.grace_until)
    return Retirement.GRACE


def _revoked(connection: Connection, token_id: int, successor_id: int | None) -> Retirement:
    """Which it is of an old token that is revoked: it may have another successor, which works."""
    succession = read_succession(connection, read_schema(connection))
    if succession is None:
        return Retirement.REVOKED
    statement = OTHER_SUCCESSOR.format(has_other=succession.exists(OTHER_LIVE))
    has_other = connection.row(statement, token=token_id, successor=successor_id).found
    return Retirement.REPLACED if has_other else Retirement.REVOKED

"""The memberships of a bot whose token is rotated: moved as GitLab's own rotation leaves them, and put back.

GitLab deletes a bot whose membership ends, whatever dates its tokens have. GitLab before 17.9 writes the new date even
over a later one or none; here a membership that outlasts the new token stays, for the bot may have other tokens.
"""

from tokens.database import Connection, array_literal
from tokens.gitlab.membership import MOVE_MEMBERSHIPS, MembershipRule, ends_before
from tokens.gitlab.triggers import change
from tokens.journal.record import Record
from tokens.rotation.stage import StoredRotation

ENDING_BEFORE = f"""
    SELECT m.id, m.expires_at::text AS expires_at
    FROM public.members m
    WHERE EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      JOIN public.users u ON u.id = t.user_id
      WHERE t.id = %(token)s AND {ends_before("CAST(%(end)s AS date)")}
    )
    ORDER BY m.id
    FOR NO KEY UPDATE OF m
"""  # noqa: S608 - a constant

KEEP = """
    UPDATE token_tasks.rotations
    SET
      member_ids = CAST(%(members)s AS bigint[]),
      old_member_expires_at = CAST(%(old)s AS date[])
    WHERE run_id = %(run)s AND token_id = %(token)s
"""

# Not while another successor of the same bot, made by any run, would outlive the membership then.
RESTORE = """
    UPDATE public.members m
    SET expires_at = kept.old_expires_at
    FROM token_tasks.rotations p
    CROSS JOIN LATERAL unnest(p.member_ids, p.old_member_expires_at) AS kept (id, old_expires_at)
    WHERE p.run_id = %(run)s
      AND p.token_id = %(token)s
      AND m.id = kept.id
      AND m.expires_at IS NOT DISTINCT FROM CAST(%(end)s AS date)
      AND NOT EXISTS (
        SELECT
        FROM token_tasks.rotations other
        JOIN public.personal_access_tokens s
          ON s.id = other.successor_id AND s.created_at <= other.changed_at AT TIME ZONE 'UTC'
        WHERE s.user_id = m.user_id
          AND s.revoked IS NOT TRUE
          AND s.id IS DISTINCT FROM p.successor_id
          AND COALESCE(s.expires_at, CAST('infinity' AS date)) > kept.old_expires_at
      )
"""


def move(connection: Connection, run: Record, token_id: int, entry: StoredRotation) -> None:
    """Move those that would end before the successor, and write down their old ends in the rotation."""
    members: list[int] = []
    old: list[str] = []
    if entry.rule is not None:
        found = connection.rows(ENDING_BEFORE, token=token_id, end=_end(entry))
        members, old = [row.id for row in found], [row.expires_at for row in found]
    if members:
        change(connection, MOVE_MEMBERSHIPS, members=array_literal(members), end=_end(entry))
    ends = array_literal(f'"{day}"' for day in old)
    connection.execute(KEEP, run=run.run, token=token_id, members=array_literal(members), old=ends)


def put_back(connection: Connection, run: Record, token_id: int, entry: StoredRotation) -> None:
    """Give them their old ends again, where nobody has moved them since and no other successor needs them."""
    change(connection, RESTORE, run=run.run, token=token_id, end=_end(entry))


def _end(entry: StoredRotation) -> str | None:
    return entry.new_expires_at if entry.rule is MembershipRule.UNTIL_TOKEN else None

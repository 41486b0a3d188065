"""The memberships of a bot whose token is rotated: moved as GitLab's own rotation leaves them, and put back.

GitLab deletes a bot whose membership ends, whatever dates its tokens have. GitLab before 17.9 writes the new date even
over a later one or none; here a membership that outlasts the new token stays, for the bot may have other tokens.
"""

from tokens.database import Connection, array_literal
from tokens.gitlab.kind import TODAY
from tokens.gitlab.membership import MOVE_MEMBERSHIPS, MembershipRule, ends_before
from tokens.gitlab.triggers import change
from tokens.journal.record import Record
from tokens.journal.runs import IS_PLANNED_ONE
from tokens.rotation.stage import StoredRotation

MOST_MOVES = 50  # of one bot's memberships, by rotations that are abandoned together

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

# Those of this rotation, and those of others that were abandoned while its successor kept their memberships from being
# put back; of several the one that has moved a membership last. Not while another token of the bot would outlive the
# membership then, no matter who has made or extended it. The old token itself may have done so before, but not over an
# end that has come since: GitLab would delete the bot the very next night. After a restore of GitLab's tables somebody
# else's membership may have got the id.
RESTORE = f"""
    UPDATE public.members m
    SET expires_at = back.ends_at
    FROM (
      SELECT DISTINCT ON (m.id) m.id, m.expires_at AS moved_to, kept.old_expires_at AS ends_at
      FROM token_tasks.rotations ours
      LEFT JOIN public.personal_access_tokens made
        ON made.id = ours.successor_id AND made.created_at <= ours.changed_at AT TIME ZONE 'UTC'
      LEFT JOIN public.personal_access_tokens replaced
        ON replaced.id = ours.token_id AND replaced.{IS_PLANNED_ONE}
      JOIN token_tasks.rotations p
        ON (p.run_id, p.token_id) = (ours.run_id, ours.token_id)
        OR (p.state = 'abandoned' AND p.changed_at AT TIME ZONE 'UTC' >= made.created_at)
      JOIN token_tasks.runs r ON r.id = p.run_id
      CROSS JOIN LATERAL unnest(p.member_ids, p.old_member_expires_at) AS kept (id, old_expires_at)
      JOIN public.members m ON m.id = kept.id
      WHERE ours.run_id = %(planned)s
        AND ours.token_id = %(token)s
        AND m.user_id = COALESCE(made.user_id, replaced.user_id)
        AND m.expires_at IS NOT DISTINCT FROM CASE r.memberships WHEN 'until-token' THEN p.new_expires_at END
        AND NOT EXISTS (
          SELECT
          FROM public.personal_access_tokens t
          WHERE t.user_id = m.user_id
            AND t.revoked IS NOT TRUE
            AND t.id IS DISTINCT FROM made.id
            AND COALESCE(t.expires_at, CAST('infinity' AS date)) > kept.old_expires_at
            AND NOT (
              t.id = p.token_id AND t.expires_at IS NOT DISTINCT FROM p.old_expires_at
              AND NOT (
                kept.old_expires_at <= {TODAY} AND kept.old_expires_at > CAST(r.created_at AT TIME ZONE 'UTC' AS date)
              )
            )
        )
      ORDER BY m.id, p.successor_id DESC
    ) back
    WHERE m.id = back.id AND m.expires_at IS NOT DISTINCT FROM back.moved_to
"""  # noqa: S608 - a constant


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


def put_back(connection: Connection, run: Record, token_id: int) -> None:
    """Give them their old ends again, where nobody has moved them since and no other token needs them."""
    # Once for each rotation that has moved them, the last one first; a trigger of somebody else's may undo each time.
    for _ in range(MOST_MOVES):
        if not change(connection, RESTORE, planned=run.run, token=token_id):
            return


def _end(entry: StoredRotation) -> str | None:
    return entry.new_expires_at if entry.rule is MembershipRule.UNTIL_TOKEN else None

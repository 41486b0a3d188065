"""What a transaction of a run does to the memberships of bots: it moves them along with tokens, or puts them back.

Every statement works in the transaction that the caller has opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokens.change.chunks import Chunk, positions_of, values_of
from tokens.change.plan import Plan
from tokens.database import Connection, array_literal
from tokens.gitlab.kind import TODAY, works
from tokens.gitlab.membership import MOVE_MEMBERSHIPS, MembershipRule, ends_before
from tokens.gitlab.triggers import change
from tokens.journal.record import Recorder
from tokens.run.chunks import CHUNKS

# A revoked token is no reason to keep its bot.
MEMBERSHIPS = f"""
    SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    WHERE EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
        AND t.revoked IS NOT TRUE
        AND {ends_before("CAST(%(new)s AS date)")}
    )
    ORDER BY m.id
"""  # noqa: S608 - a constant

WITH_MEMBERSHIPS = f"""
    SELECT DISTINCT chunk.position
    FROM {CHUNKS}
    JOIN public.users u ON u.id = t.user_id
    JOIN public.members m ON m.user_id = u.id
    WHERE t.revoked IS NOT TRUE
      AND {ends_before("chunk.new")}
"""  # noqa: S608 - a constant

# What an undo puts back.
WITH_MOVED_MEMBERSHIPS = """
    SELECT mine.position
    FROM unnest(CAST(%(positions)s AS bigint[])) AS mine (position)
    WHERE EXISTS (
      SELECT
      FROM token_tasks.memberships n
      WHERE n.run_id = %(undoes)s
        AND n.position = (
          SELECT max(c.position)
          FROM token_tasks.chunks c
          WHERE c.run_id = %(undoes)s AND c.position <= mine.position
        )
    )
"""

# Also those that another chunk has moved again: another that puts it back at this moment has to see this chunk's tokens
# as they are.
MOVED_MEMBERSHIPS = """
    SELECT m.id, m.user_id, m.expires_at::text AS expires_at
    FROM token_tasks.memberships n
    CROSS JOIN LATERAL unnest(n.member_ids) AS kept (id)
    JOIN public.members m ON m.id = kept.id
    WHERE n.run_id = %(undoes)s
      AND n.position = (
        SELECT max(c.position)
        FROM token_tasks.chunks c
        WHERE c.run_id = %(undoes)s AND c.position <= %(position)s
      )
      AND m.user_id IN (
        SELECT t.user_id
        FROM public.personal_access_tokens t
        WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      )
    ORDER BY m.id
"""

UNLOCKED_MEMBERSHIPS = "    FOR NO KEY UPDATE OF m SKIP LOCKED"

TOKENS_OF = """
    SELECT id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[])) AND user_id = ANY(CAST(%(users)s AS bigint[]))
    ORDER BY id
"""

OWNERS = """
    SELECT DISTINCT user_id
    FROM public.personal_access_tokens
    WHERE id = ANY(CAST(%(ids)s AS bigint[])) AND revoked IS NOT TRUE
"""

# A membership that several chunks have moved goes back over the ends that they gave it, in whatever order they are
# undone: from the end that this chunk gave it to the one before, and on from there past chunks whose tokens of that
# bot are undone already.
RESTORE_MEMBERSHIPS = """
    UPDATE public.members m
    SET expires_at = back.ends_at
    FROM (
      WITH RECURSIVE steps (id, user_id, ends_at) AS (
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM token_tasks.memberships n
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        JOIN public.members m ON m.id = kept.id AND m.expires_at IS NOT DISTINCT FROM n.new_expires_at
        WHERE n.run_id = %(undoes)s
          AND n.position = (
            SELECT max(c.position)
            FROM token_tasks.chunks c
            WHERE c.run_id = %(undoes)s AND c.position <= %(position)s
          )
          AND m.user_id IN (
            SELECT t.user_id
            FROM public.personal_access_tokens t
            WHERE t.id = ANY(CAST(%(changed)s AS bigint[]))
          )
          AND {not_needed}
        UNION ALL
        SELECT m.id, m.user_id, kept.old_expires_at
        FROM steps m
        JOIN token_tasks.memberships n ON n.run_id = %(undoes)s AND n.new_expires_at = m.ends_at
        CROSS JOIN LATERAL unnest(n.member_ids, n.old_expires_at) AS kept (id, old_expires_at)
        WHERE kept.id = m.id
          AND NOT EXISTS (
            SELECT
            FROM token_tasks.chunks undone
            JOIN token_tasks.chunks c
              ON c.run_id = %(run)s
              AND c.position >= undone.position
              AND c.position < undone.position + cardinality(undone.token_ids)
              AND c.new_expires_at IS DISTINCT FROM c.old_expires_at
            CROSS JOIN LATERAL unnest(c.token_ids) AS waiting (id)
            JOIN public.personal_access_tokens t
              ON t.id = waiting.id
              AND t.user_id = m.user_id
              AND t.revoked IS NOT TRUE
              AND t.expires_at IS NOT DISTINCT FROM c.old_expires_at
            WHERE undone.run_id = %(undoes)s AND undone.position = n.position
          )
          AND {not_needed}
      )
      SELECT id, min(ends_at) AS ends_at
      FROM steps
      GROUP BY id
    ) back
    WHERE m.id = back.id
"""

# A token `other` that lives longer than the old end `kept` of a membership in `n`, by something that happened since the
# undone run: it was made since, a later run that stands gave it its date, the run had changed it and then somebody
# else, or it was to expire by that end when the membership was moved. What was so before the run is no reason to leave
# anything as the run made it.
OUTLIVES_SINCE = """(
      other.revoked IS NOT TRUE
      AND COALESCE(other.expires_at, 'infinity') > kept.old_expires_at
      AND (
        other.created_at > (SELECT r.created_at AT TIME ZONE 'UTC' FROM token_tasks.runs r WHERE r.id = {run})
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          JOIN token_tasks.runs r ON r.id = c.run_id AND r.kind NOT IN ('undo', 'revoke')
          WHERE c.run_id > {run}
            AND c.done_at IS NOT NULL
            AND c.new_expires_at IS NOT DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR EXISTS (
          SELECT
          FROM token_tasks.chunks c
          WHERE c.run_id = {run}
            AND c.old_expires_at IS DISTINCT FROM other.expires_at
            AND c.new_expires_at IS DISTINCT FROM other.expires_at
            AND other.id = ANY (c.token_ids)
        )
        OR (
          EXISTS (
            SELECT
            FROM unnest(n.other_token_ids, n.other_expires_at) AS earlier (id, expires_at)
            WHERE earlier.id = other.id AND earlier.expires_at <= kept.old_expires_at
          )
          AND NOT EXISTS (
            SELECT FROM token_tasks.chunks c WHERE c.run_id = {run} AND other.id = ANY (c.token_ids)
          )
        )
      )
    )"""

PLANNED_ON = "(SELECT CAST(r.created_at AT TIME ZONE 'UTC' AS date) FROM token_tasks.runs r WHERE r.id = %(undoes)s)"

# GitLab deletes the bot at that end, with other tokens that have come to need the membership since. If the end itself
# has come since the run, GitLab would do so the very next night.
NOT_NEEDED = """NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens other
            WHERE other.user_id = m.user_id
              AND (
                (other.id <> ALL (CAST(%(changed)s AS bigint[])) AND {outlives_since})
                OR (kept.old_expires_at <= {today} AND kept.old_expires_at > {planned} AND {works})
              )
          )"""


@dataclass(frozen=True)
class Membership:
    """One that will follow its tokens; `expires_at` as PostgreSQL writes a date."""

    id: int
    user_id: int
    expires_at: str


class Memberships:
    """The memberships that one plan is about; where they ended goes into `recorder`."""

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder

    def having(self, connection: Connection, batch: Sequence[Chunk]) -> set[int]:
        """The positions of the chunks that have memberships to be moved or put back."""
        if not self._plan.memberships:
            return set()
        if self._plan.is_undo:
            about: dict[str, object] = {"undoes": self._plan.undoes, "positions": positions_of(batch)}
            return {row.position for row in connection.rows(WITH_MOVED_MEMBERSHIPS, **about)}
        return {row.position for row in connection.rows(WITH_MEMBERSHIPS, **values_of(batch))}

    def lock(self, connection: Connection, chunk: Chunk) -> tuple[list[Membership], set[int]]:
        """The memberships to be moved, locked, and the tokens whose owner has one that somebody else holds."""
        about: dict[str, object] = {"ids": array_literal(chunk.ids)}
        if not self._plan.is_undo:
            statement = MEMBERSHIPS
            about["new"] = chunk.new and chunk.new.literal
        else:
            statement = MOVED_MEMBERSHIPS
            about |= {"undoes": self._plan.undoes, "position": chunk.position}
        unlocked = connection.rows(statement + UNLOCKED_MEMBERSHIPS, **about)
        held = [Membership(row.id, row.user_id, row.expires_at) for row in unlocked]
        wanted = connection.rows(statement, **about)
        if len(wanted) == len(held):
            return held, set()
        ids = {one.id for one in held}
        users = {row.user_id for row in wanted if row.id not in ids}
        busy = {row.id for row in connection.rows(TOKENS_OF, ids=array_literal(chunk.ids), users=array_literal(users))}
        return [one for one in held if one.user_id not in users], busy

    def follow(self, connection: Connection, chunk: Chunk, held: Sequence[Membership], changed: Iterable[int]) -> None:
        """Move what is locked along with these tokens, or put back what the undone run has moved along with them."""
        if self._plan.is_undo:
            self._restore(connection, chunk, changed)
        elif held:
            self._move(connection, chunk, held, changed)

    def _move(self, connection: Connection, chunk: Chunk, held: Sequence[Membership], changed: Iterable[int]) -> None:
        owners = {row.user_id for row in connection.rows(OWNERS, ids=array_literal(changed))}
        moved = [one for one in held if one.user_id in owners]
        if not moved:
            return
        end = None
        if chunk.new is not None and self._plan.memberships is MembershipRule.UNTIL_TOKEN:
            end = chunk.new.literal
        members = [one.id for one in moved]
        change(connection, MOVE_MEMBERSHIPS, members=array_literal(members), end=end)
        self._recorder.keep_memberships(connection, chunk, members, [one.expires_at for one in moved], end)

    def _restore(self, connection: Connection, chunk: Chunk, changed: Iterable[int]) -> None:
        outlives_since = OUTLIVES_SINCE.format(run="%(undoes)s")
        not_needed = NOT_NEEDED.format(
            outlives_since=outlives_since, today=TODAY, planned=PLANNED_ON, works=works("other")
        )
        statement = RESTORE_MEMBERSHIPS.format(not_needed=not_needed)
        about = {"undoes": self._plan.undoes, "run": self._recorder.run, "position": chunk.position}
        change(connection, statement, **about, changed=array_literal(changed))

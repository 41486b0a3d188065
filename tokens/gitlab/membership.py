"""The memberships of project and group bots, whose end GitLab takes for the end of the bot.

Every night GitLab deletes the memberships whose date has come, and with the membership of a bot the bot and its tokens,
whatever date the tokens have.
"""

from enum import Enum

from tokens.gitlab.release import numbers_of

FOREVER_SINCE = (17, 9)


class MembershipRule(Enum):
    """How GitLab's own rotation leaves the membership of a bot."""

    FOREVER = "forever"
    """Without an end (GitLab 17.9 and later)."""

    UNTIL_TOKEN = "until-token"  # noqa: S105 - no secret
    """Until the token's new date (GitLab before 17.9); without an end where the token never expires."""


def rule_of(release: str | None) -> MembershipRule:
    """The rule of a release such as `17.11.1-ee` or `18.4`.

    Where the release is not known, memberships lose their end: no release deletes a bot for that, whereas a date that
    GitLab 17.9 and later would never have set is one at which the bot is deleted.
    """
    numbers = numbers_of(release)
    if numbers is None or numbers[:2] >= FOREVER_SINCE:
        return MembershipRule.FOREVER
    return MembershipRule.UNTIL_TOKEN


def ends_before(new: str) -> str:
    """SQL over a member `m`, a token `t` and its owner `u`: whether `m` makes GitLab delete the token before `new`.

    `new` is the SQL of the token's new date, NULL for "never expires". An end of `infinity` never comes.
    """
    return f"""(
      u.user_type = 6
      AND m.user_id = t.user_id
      AND m.requested_at IS NULL
      AND m.expires_at < COALESCE({new}, CAST('infinity' AS date))
    )"""


MOVE_MEMBERSHIPS = """
    UPDATE public.members
    SET expires_at = CAST(%(end)s AS date)
    WHERE id = ANY(CAST(%(members)s AS bigint[]))
"""

FIRST_END = """(
        SELECT min(m.expires_at)
        FROM public.members m
        WHERE m.user_id = {bot} AND m.requested_at IS NULL
      )"""
"""SQL: when the first membership of a bot, whose id is SQL, ends: GitLab deletes the bot then. NULL for never."""

MAY_END = """(
        t.expires_at BETWEEN {since} AND {today} + CAST(%(going_within)s AS integer)
        OR t.user_id = ANY (ARRAY(
          SELECT m.user_id
          FROM public.members m
          JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
          WHERE m.requested_at IS NULL AND m.expires_at <= {today} + CAST(%(going_within)s AS integer)
        ))
      )"""
"""SQL: whether a token `t` may end from the day `since` on and within `going_within` days, with its bot or before.

For this there are indexes. Without the first day all that has ever expired would be read.
"""

# Looked up for each token of a bot: in a join PostgreSQL would compare every token with every bot.
BOT_GOES_ON = """CASE WHEN u.user_type = 6 THEN (
        SELECT GREATEST(min(m.expires_at), {today} + 1)
        FROM public.members m
        WHERE m.user_id = t.user_id
          AND m.requested_at IS NULL
          AND m.expires_at <= {today} + CAST(%(going_within)s AS integer)
        HAVING min(m.expires_at) IS NOT NULL
      ) END"""
"""SQL: the day on which the bot `u` of a token `t` goes with a membership, if within `going_within` days; else NULL."""

BOT_GOES = f"CROSS JOIN LATERAL (SELECT {BOT_GOES_ON} AS day OFFSET 0) going"
"""The same beside the token, once for all that ask for it."""

ENDS_ON = "LEAST(t.expires_at, going.day)"
"""SQL beside that: the day on which a token that works ends, on its date or before with the membership of its bot."""

"""GitLab's nightly clean-up of project and group bots whose tokens have all become inactive, release by release.

Every night at 00:00 UTC the worker `ResourceAccessTokens::InactiveTokensDeletionCronWorker` takes each bot without a
token that holds it: it deletes the bot, and the bot's tokens with it. A token holds its bot while it is active, and for
a number of days after its date, or after it was revoked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tokens.counts import them
from tokens.gitlab.kind import TODAY
from tokens.gitlab.membership import FIRST_END
from tokens.gitlab.release import NEWEST_PATCH, Version, span_of

LONGEST = 36_600  # days; a date beyond them counts as one of then, so that no sum leaves the calendar
UNKNOWN = ((0, 0, 0.0), (10**6, 0, NEWEST_PATCH))


@dataclass(frozen=True)
class CleanUp:
    """What the clean-up of a release does beyond what all of them do.

    `takes_undated`: a token without an expiration date holds no bot, even one that works. `may_block`: where the
    feature flag `delete_inactive_project_bot_users` is off, it blocks bots instead of deleting them, and unblocking
    helps. `by_flag`: it comes only where the feature flag `enable_inactive_tokens_deletion_cron_worker` is on.
    `certain` is false where it is not known which of several releases this is: then it is the worst of theirs.
    """

    takes_undated: bool = False
    may_block: bool = False
    by_flag: bool = False
    certain: bool = True


# Each counts from its version on. The fault is one of three-valued logic: NOT (NULL < cut-off) is no yes
# (gitlab-org/gitlab#521001). It was mended in 17.10 and taken back to 17.9 (gitlab-org/gitlab!182666); as a rule GitLab
# takes a correction back to its newest release alone, so 17.7 and 17.8 count as faulty to their last patch.
BY_VERSION: tuple[tuple[Version, CleanUp | None], ...] = (
    ((0, 0, 0), None),
    ((17, 7, 0), CleanUp(takes_undated=True, may_block=True, by_flag=True)),
    ((17, 8, 0), CleanUp(takes_undated=True, may_block=True)),
    ((17, 9, 1), CleanUp(may_block=True)),
    ((18, 2, 0), CleanUp()),
)
ENABLING_FLAG = "enable_inactive_tokens_deletion_cron_worker"
BLOCKING_FLAG = "delete_inactive_project_bot_users"

FAULTY = "GitLab 17.7 to 17.9.0"
"""The releases with `takes_undated`, in words."""


def clean_up(exact: str | None, estimate: str | None) -> CleanUp | None:
    """The clean-up of a release, None for one that has none.

    `exact` is GitLab's version such as `17.8.1-ee`, where it is known. Else `estimate`, such as `17.8`, counts with its
    neighbours, as it may be one release off, and without it every release does: of all these the worst.
    """
    first, last = span_of(exact, estimate) or UNKNOWN
    possible = list(_between(first, last))
    known = [one for one in possible if one is not None]
    if not known:
        return None
    return CleanUp(
        takes_undated=any(one.takes_undated for one in known),
        may_block=all(one.may_block for one in known),
        by_flag=all(one.by_flag for one in known),
        certain=len(possible) == 1,
    )


def what_it_does(clean_up: CleanUp, bots: int = 2) -> str:
    """What becomes of the bots that it takes, of this number, as a clause."""
    does = f"GitLab deletes {them(bots)} with {'its' if bots == 1 else 'their'} tokens"
    if clean_up.may_block:
        does += f" (or blocks {them(bots)}, where its feature flag {BLOCKING_FLAG} is off)"
    return does


def is_active(clean_up: CleanUp, expires_at: str, revoked: str, day: str) -> str:
    """SQL: whether a token of this date counts as active on `day`, all of them SQL."""
    if clean_up.takes_undated:
        # Where `revoked` is NULL the worker asks for the time of a revocation, too.
        return f"({revoked} IS FALSE AND {expires_at} > {day})"
    return f"({revoked} IS NOT TRUE AND COALESCE({expires_at}, CAST('infinity' AS date)) > {day})"


def clean_up_day(clean_up: CleanUp) -> str:
    """SQL, for a bot's tokens `other` together: the day on which GitLab deletes the bot, if none of them is active.

    That is the first night after today on which none of them `holds` it, where the clean-up comes after
    `%(inactive_days)s`, or before that the one on which a membership of the bot ends. It needs PostgreSQL 14, as GitLab
    does where it has a clean-up.
    """
    ends = FIRST_END.format(bot="min(other.user_id)")
    night = f"GREATEST(COALESCE({ends}, CAST('infinity' AS date)), {TODAY} + 1)"
    return f"LEAST({_free_night(clean_up)}, {night})"


def _free_night(clean_up: CleanUp) -> str:
    number = "CAST(%(inactive_days)s AS integer)"
    held = _Held(clean_up, "other", "other.revoked", number, TODAY, f"({TODAY} + {LONGEST})")
    return f"""COALESCE(
        (
          SELECT upper(held.days)
          FROM unnest(
            datemultirange(daterange(NULL, GREATEST(max({held.until}), {TODAY}), '[]'))
            + COALESCE(
              range_agg(daterange({held.date}, {held.date} + {number}, '[]')) FILTER (WHERE {held.again}),
              datemultirange()
            )
          ) AS held (days)
          WHERE held.days @> {TODAY} + 1
        ),
        {TODAY} + 1
      )"""  # noqa: S608 - every part is ours


def holds(clean_up: CleanUp, expires_at: str, revoked: str, updated_at: str, day: str, days: str) -> str:
    """SQL: whether a token keeps its bot from the clean-up of `day` where it comes after `days` days, all of them SQL.

    `revoked` and `updated_at` are columns; GitLab takes the second for the time of the revocation. True, or else false
    or NULL.
    """
    cut_off = f"({day} - {days})"
    if clean_up.takes_undated:
        # As the worker asks it, so that NULL has the same effect.
        return f"(NOT ({expires_at} < {cut_off} OR ({revoked} AND {updated_at} < {cut_off})))"
    return (
        f"({is_active(clean_up, expires_at, revoked, day)} OR {expires_at} BETWEEN {cut_off} AND {day}"
        f" OR ({revoked} AND {updated_at} >= {cut_off}))"
    )


def first_free_night(clean_up: CleanUp, revoked: str, days: str, today: str, last: str) -> str:
    """The statement for the bots that the clean-up takes from the night after `today` until `last`: `user_id`, `night`.

    All arguments but the first are SQL. `revoked` is about a token `t` and may differ from its column, as after a
    revocation that leaves `updated_at` alone. The night is the first on which no token `holds` its bot; one without
    tokens goes at once. Dates beyond `last` are taken as the day after it, so that no sum leaves the calendar.
    """
    held = _Held(clean_up, "t", revoked, days, today, last)
    date, until, again = held.date, held.until, held.again
    held_until = "COALESCE(min(span.before) FILTER (WHERE span.since > span.before + 1), max(span.until))"
    return f"""
      SELECT span.user_id, {held_until} + 1 AS night
      FROM (
        SELECT
          one.user_id,
          one.since,
          one.until,
          max(one.until) OVER (
            PARTITION BY one.user_id ORDER BY one.since ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
          ) AS before
        FROM (
          SELECT
            u.id AS user_id,
            CAST('-infinity' AS date) AS since,
            GREATEST(max({until}) FILTER (WHERE t.id IS NOT NULL), {today}) AS until
          FROM public.users u
          LEFT JOIN public.personal_access_tokens t ON t.user_id = u.id
          WHERE u.user_type = 6
          GROUP BY u.id
          UNION ALL
          SELECT DISTINCT t.user_id, t.expires_at, {date} + {days}
          FROM public.personal_access_tokens t
          JOIN public.users u ON u.id = t.user_id AND u.user_type = 6
          WHERE {again} AND t.expires_at <= {last} AND {date} + {days} > {today}
        ) one
      ) span
      GROUP BY span.user_id
      HAVING {held_until} < {last}
    """  # noqa: S608 - every part is ours


@dataclass(frozen=True)
class _Held:
    """For how long a token holds its bot, as SQL over `token`; the other parts are as in `first_free_night`."""

    clean_up: CleanUp
    token: str
    revoked: str
    days: str
    today: str
    last: str

    @property
    def date(self) -> str:
        """Its date."""
        return f"LEAST({self.token}.expires_at, {self.last} + 1)"

    @property
    def touched(self) -> str:
        """When it was revoked, if it was."""
        return f"LEAST(CAST({self.token}.updated_at AS date), {self.last} + 1)"

    @property
    def again(self) -> str:
        """Whether it holds its bot a second time, around its date, as one does that was revoked long before."""
        if self.clean_up.takes_undated:
            return "false"
        return f"({self.revoked} IS TRUE AND {self.token}.expires_at > {self.touched} + {self.days} + 1)"

    @property
    def until(self) -> str:
        """Until when it holds its bot the first time."""
        if self.clean_up.takes_undated:
            return f"""CASE
            WHEN {self.token}.expires_at IS NULL THEN {self.today} - {self.days}
            WHEN {self.revoked} IS FALSE THEN {self.date}
            ELSE LEAST({self.date}, {self.touched})
          END + {self.days}"""
        return f"""CASE
            WHEN {self.revoked} IS NOT TRUE THEN {self.date}
            WHEN {self.again} OR {self.token}.expires_at IS NULL THEN {self.touched}
            ELSE GREATEST({self.date}, {self.touched})
          END + {self.days}"""


def _between(first: Version, last: Version) -> Iterator[CleanUp | None]:
    """The rules of all versions from `first` to `last`."""
    ends = [since for since, _ in BY_VERSION[1:]]
    for (since, rule), until in zip(BY_VERSION, [*ends, None], strict=True):
        if since <= last and (until is None or until > first):
            yield rule

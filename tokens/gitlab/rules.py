"""What ends a token: GitLab's own nightly work, and an administrator's decisions, in one table of rules.

Each rule is SQL for the first day (UTC) on which it applies to a token `t` of an owner `u`, NULL for never. What it
asks about is in `Subject`. A rule is about one token, and none of them knows of the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokens.gitlab.kind import TODAY
from tokens.gitlab.notices import DAYS_AHEAD, FLAGS, TIMES
from tokens.gitlab.schema import TOKENS, Schema


class Effect(StrEnum):
    """What a rule does to a token."""

    STOPS = "stops"
    """It does not authenticate any more, and would again if the decision were taken back."""

    REVOKED = "revoked"
    EXPIRES = "expires"
    DELETED = "deleted"
    """GitLab deletes the token with its bot: nothing brings it back."""

    LOSES_ACCESS = "loses-access"
    """It works on, but a project or group is out of its reach."""

    NOTICE = "notice"
    """GitLab sends mail about it."""


@dataclass(frozen=True)
class Rule:
    """A rule of GitLab's, with where it stands.

    Attributes:
        name: for people and programs.
        effect: what it does to a token.
        at: when on its day, in UTC.
        means: as the end of a sentence: why the token ends.
        source: where GitLab has it.
        first: SQL for the first day on which it applies, from `today` on.
        since: the first release that has it; None for all from 16.0 on.
    """

    name: str
    effect: Effect
    at: str
    means: str
    source: str
    first: str
    since: tuple[int, int] | None = None


OWNER_ACTIVE = "u.state IS NOT DISTINCT FROM 'active'"
LET_IN = f"(t.revoked IS NOT TRUE AND COALESCE(t.expires_at, CAST('infinity' AS date)) > {{today}} AND {OWNER_ACTIVE})"
"""Whether a token lets its owner in on `today`, who must not be blocked, banned or deactivated."""

# In the order of a day: of two rules on one night the first one counts.
RULES = (
    Rule(
        "disabled",
        Effect.STOPS,
        "at once",
        "access tokens are disabled",
        "application setting disable_personal_access_tokens",
        f"CASE WHEN {{disabled}} AND {LET_IN} THEN {{today}} END",
    ),
    Rule(
        "owner-blocked",
        Effect.STOPS,
        "at once",
        "the owner is blocked",
        "app/policies/global_policy.rb: only an active user may access_api and access_git",
        f"CASE WHEN t.user_id IN ({{blocked}}) AND {LET_IN} THEN {{today}} END",
    ),
    Rule(
        "member-removed",
        Effect.LOSES_ACCESS,
        "at once",
        "the owner is a member no more",
        "app/services/members/destroy_service.rb",
        f"CASE WHEN t.user_id IN ({{removed}}) AND {LET_IN} THEN {{today}} END",
    ),
    Rule(
        "beyond-maximum",
        Effect.REVOKED,
        "three hours later",
        "the date is beyond the new maximum lifetime",
        "ee/app/services/personal_access_tokens/revoke_invalid_tokens.rb (GitLab Ultimate): revoked alone",
        "CASE WHEN t.revoked IS FALSE AND {beyond} AND u.id IS NOT NULL THEN {today} END",
    ),
    Rule(
        "expires",
        Effect.EXPIRES,
        "00:00",
        "the date has come",
        "app/models/concerns/expirable.rb: expires_at <= now",
        f"CASE WHEN {LET_IN} THEN t.expires_at END",
    ),
    Rule(
        "clean-up",
        Effect.DELETED,
        "00:00",
        "GitLab deletes bots without an active token",
        "app/workers/resource_access_tokens/inactive_tokens_deletion_cron_worker.rb",
        "{cleaned_up_on}",
        since=(17, 7),
    ),
    Rule(
        "membership-ends",
        Effect.DELETED,
        "00:10",
        "GitLab deletes a bot with its membership",
        "app/workers/remove_expired_members_worker.rb",
        "CASE WHEN u.user_type = 6 THEN {membership_ends_on} END",
    ),
    Rule(
        "access-ends",
        Effect.LOSES_ACCESS,
        "00:10",
        "a membership of the owner ends",
        "app/workers/remove_expired_members_worker.rb",
        f"CASE WHEN u.user_type IS DISTINCT FROM 6 AND {LET_IN} THEN {{membership_ends_on}} END",
    ),
    # Each notice goes out once, on the first night of its days; what was sent as 7d holds back all others.
    *(
        Rule(
            f"{days}d",
            Effect.NOTICE,
            "01:00",
            f"mail {days} days before",
            "app/workers/personal_access_tokens/expiring_worker.rb",
            f"""CASE
          WHEN {{unsent_{days}}} AND t.expires_at > {{today}} + {least} AND {{mailed}}
          THEN GREATEST(t.expires_at - {days}, {{today}} + 1)
        END""",
            since=since,
        )
        for days, least, since in ((60, 31, (17, 7)), (30, 8, (17, 7)), (7, 0, None))
    ),
    Rule(
        "expired",
        Effect.NOTICE,
        "02:00",
        "mail that it has expired",
        "app/workers/personal_access_tokens/expired_notification_worker.rb: of people alone, only on this very day",
        """CASE
          WHEN {unsent_expired} AND COALESCE(u.user_type, 0) = 0 AND t.expires_at > {today} AND {mailed}
          THEN t.expires_at
        END""",
    ),
)
BY_NUMBER: Mapping[int, Rule] = dict(enumerate(RULES))
ENDS = (Effect.STOPS, Effect.REVOKED, Effect.EXPIRES, Effect.DELETED)
"""After these a token does not work."""


@dataclass(frozen=True)
class Subject:
    """What the rules are asked about, each SQL.

    Attributes:
        today: the day (UTC) of the decision, on which nothing of GitLab's nightly work is left to be done.
        disabled: whether access tokens are disabled on it.
        blocked: the ids of the users who are blocked on it, between commas or a sub-select.
        removed: the ids of those who lose a membership on it.
        beyond: whether a token is beyond a maximum lifetime that is set on it.
        mailed: whether GitLab sends mail about a token that expires.
        cleaned_up_on: the night on which the clean-up takes the token's bot.
        membership_ends_on: the night on which a membership of the owner ends.
    """

    today: str
    cleaned_up_on: str
    membership_ends_on: str
    disabled: str = "false"
    blocked: str = "NULL"
    removed: str = "NULL"
    beyond: str = "false"
    mailed: str = "false"


def in_force(release: tuple[int, int] | None) -> Iterator[tuple[int, Rule]]:
    """The rules by their numbers, without the notices that this release does not send, or an unknown one may not.

    What else differs by release is in `Subject`: it has no night of a clean-up where there is none.
    """
    for number, rule in BY_NUMBER.items():
        sent = rule.since is None or (release is not None and rule.since <= release)
        if sent or rule.effect is not Effect.NOTICE:
            yield number, rule


def first_day(rule: Rule, subject: Subject, schema: Schema) -> str:
    """SQL: the first day on which the rule applies to a token, NULL for never."""
    unsent = {f"unsent_{days}": _unsent(schema, column) for column, days in DAYS_AHEAD.items()}
    expired = f"t.{FLAGS[1]} IS NOT TRUE" if schema.has(TOKENS, FLAGS[1]) else "true"
    return rule.first.format(unsent_expired=expired, **unsent, **vars(subject))


def without_notice(schema: Schema, release: tuple[int, int] | None, bot_goes_on: str) -> str:
    """SQL: whether no notice of the date that a token has now was sent, nor is one before its bot goes; never NULL.

    A notice older than the days before that date was about an earlier one, and one that lies ahead is none: GitLab 17.4
    noted seven days before the date for all it had ever warned of. `release` is the least that it can be, `bot_goes_on`
    a day as SQL, NULL for never. Whether anybody gets the mail is asked in `tokens.gitlab.ownership`.
    """
    subject = Subject(today=TODAY, cleaned_up_on="NULL", membership_ends_on="NULL", mailed="true")
    coming = [
        first_day(rule, subject, schema)
        for _, rule in in_force(release)
        if rule.effect is Effect.NOTICE and rule.name != "expired"
    ]
    # It ends at 00:00 UTC, and the mail of that day comes later.
    warned = [f"LEAST({', '.join(coming)}) < LEAST(t.expires_at, {bot_goes_on})"]
    for column, days in DAYS_AHEAD.items():
        if schema.has(TOKENS, column):
            sent = f"CAST(t.{column} AT TIME ZONE 'UTC' AS date)"
            warned.append(f"({sent} <= {TODAY} AND t.expires_at <= {sent} + {days})")
    if schema.has(TOKENS, FLAGS[0]):  # of these nobody knows when: not before the days of the date began
        unnoted = f"t.{TIMES[0]} IS NULL AND " if schema.has(TOKENS, TIMES[0]) else ""
        warned.append(f"(t.{FLAGS[0]} AND {unnoted}t.expires_at <= {TODAY} + {DAYS_AHEAD[TIMES[0]]})")
    alternatives = "\n        OR ".join(warned)
    return f"NOT COALESCE(\n        {alternatives}, false\n      )"


def _unsent(schema: Schema, column: str) -> str:
    conditions = [f"t.{FLAGS[0]} IS NOT TRUE"] if schema.has(TOKENS, FLAGS[0]) else []
    conditions += [f"t.{column} IS NULL"] if schema.has(TOKENS, column) else []
    return f"({' AND '.join(conditions) or 'true'})"

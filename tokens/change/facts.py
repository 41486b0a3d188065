"""What the data says about the tokens of a change: counted in one statement, judged by nobody here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tokens.change.bots import bots_and_clean_up
from tokens.change.change import Change
from tokens.change.kinds import COUNTS_IN_A_ROW, PAST, KindCount, Rows, by_kind, counts_of, read_row, selected
from tokens.database import Connection
from tokens.gitlab import notices
from tokens.gitlab.background_migration import BackgroundMigration
from tokens.gitlab.condition import Condition
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp
from tokens.gitlab.kind import TODAY
from tokens.gitlab.membership import ends_before
from tokens.gitlab.ownership import FIRST_PLACE, told
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import DEFAULT_LIFETIME, Policy
from tokens.gitlab.succession import read_succession
from tokens.selection import Selection

# Counted by owner first, so that all about a bot is looked up once, and no owner is counted twice.
FACTS = """, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.reviving) AS reviving,
        max(k.last_day) AS last_day,
        sum(k.warned) AS warned,
        COALESCE(bool_or(k.due), false) AS due,
        sum(k.migrated) AS migrated,
        {sums_of_bots}
      FROM kinds k
      WHERE {chosen}
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE {ending_before}) AS bots_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND ({notified})) AS mailed_owners,
      count(*) FILTER (WHERE {doomed}) AS doomed_bots,
      count(*) FILTER (WHERE {doomed_anyway}) AS doomed_anyway_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE {blocked}), 0)::bigint AS blocked,
      count(*) FILTER (WHERE {blocked}) AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts,
      {counts}
    FROM chosen o
    {bots}
"""

# What is counted of each group of tokens for that.
OF_GROUPS = (
    "count(*) FILTER (WHERE {warned}) AS warned",
    "bool_or({due}) FILTER (WHERE {warned}) AS due",
    "count(*) FILTER (WHERE {migrated}) AS migrated",
    "{of_bots}",
)
OF_OWN_DATES = (
    "count(*) FILTER (WHERE t.expires_at <= CAST(%(facts_today)s AS date) AND {works}) AS reviving",
    "max(COALESCE({new}, CAST('infinity' AS date))) FILTER (WHERE t.revoked IS NOT TRUE) AS last_day",
)
# The same where all tokens get one date: a group has in common whether its tokens are past, and whether revoked.
OF_ONE_DATE = (
    "CASE WHEN {past} IS NOT NULL AND NOT (t.revoked IS TRUE) AND {lasts} THEN count(*) ELSE 0 END AS reviving",
    "CASE WHEN NOT (t.revoked IS TRUE) THEN COALESCE({new}, CAST('infinity' AS date)) END AS last_day",
)

# Before the latest of its tokens' new dates.
ENDING_BEFORE = """(
        o.last_day IS NOT NULL
        AND EXISTS (
          SELECT
          FROM public.members m
          CROSS JOIN (SELECT o.user_id) t
          CROSS JOIN (SELECT o.user_type) u
          WHERE {ends_before}
        )
      )"""

# With its new date the token works.
LASTS = "COALESCE({new}, CAST('infinity' AS date)) > CAST(%(facts_today)s AS date)"
WILL_WORK = f"(t.revoked IS NOT TRUE AND {LASTS})"

# GitLab leaves tokens whose `revoked` is NULL out of its notices.
DUE = """(
          t.revoked = false
          AND NOT t.impersonation
          AND {new} BETWEEN CAST(%(facts_today)s AS date) AND CAST(%(facts_first_warning)s AS date)
        )"""

# GitLab warns people who can log in; about a bot it warns those who look after its project or group.
NOTIFIED = f"""
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT
            FROM (
              SELECT m.source_type, m.source_id
              FROM public.members m
              WHERE m.user_id = o.user_id AND m.requested_at IS NULL
              ORDER BY {FIRST_PLACE}
              LIMIT 1
            ) place
            WHERE EXISTS (SELECT{{told}})
          )
        END
      """  # noqa: S608 - a constant

# A deleted owner has no state.
BLOCKED = "o.state <> 'active'"

# The migration gave each token the 365th day from then on.
MIGRATED = """(
          t.expires_at BETWEEN CAST(%(facts_migrated_first)s AS date) AND CAST(%(facts_migrated_last)s AS date)
          AND t.created_at < CAST(%(facts_migrated_before)s AS timestamptz) AT TIME ZONE 'UTC'
        )"""

CHOSEN = "public.personal_access_tokens t"

# What a rotation has replaced works on, or again, and longer than before. First those with any successor: few.
SUPERSEDED = """
    WITH replaced AS MATERIALIZED (
{replaced}
    )
    SELECT t.id
    FROM replaced t
    WHERE {stands}
    ORDER BY t.id
"""

REPLACED = """
      SELECT t.id
      FROM {tokens}
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
        AND {works}
        AND COALESCE({new}, CAST('infinity' AS date)) > COALESCE(t.expires_at, CAST('infinity' AS date))
        AND {direct}
"""


@dataclass(frozen=True)
class Facts:
    """How many of the selected tokens, or of their bots or owners, are such that a person should know before."""

    reviving: int = 0
    """Tokens that have expired, are not revoked and would work again."""

    bots_ending_before: int = 0
    """Bots with a membership that ends before the new date of one of their tokens that is not revoked."""

    warned: int = 0
    """Tokens about which GitLab has sent at least one notice."""

    warned_owners: int = 0
    """Their owners."""

    mailed_owners: int = 0
    """Owners (people, and bots that somebody looks after) about whose re-armed tokens GitLab mails within a day."""

    doomed_bots: int = 0
    """Bots that the next clean-up of inactive bots takes because of the change, and would not take without it."""

    doomed_anyway_bots: int = 0
    """Bots that a clean-up takes although nothing holds them less than now: the next one, or one some days later."""

    blocked: int = 0
    """Tokens whose owner is not active; GitLab refuses them whatever their date."""

    blocked_owners: int = 0
    """Their owners."""

    migrated: int = 0
    """Tokens that probably got their date from the 16.0 migration."""

    service_accounts: int = 0
    """Tokens of service accounts."""

    superseded: tuple[int, ...] = ()
    """The ids of `read_superseded`."""


def read_facts(
    connection: Connection,
    schema: Schema,
    condition: Condition,
    change: Change,
    policy: Policy,
    migration: BackgroundMigration | None,
    clean_up: CleanUp | None,
    release: tuple[int, int] | None = None,
) -> Facts:
    """Count the facts about the tokens of `condition` and what `change` would make of them.

    Reads each of those tokens once and looks bots up by index; of a staggered change the latest date counts, or the
    first where that is worse. `clean_up` is the release's own, and `release` the least that it can be.
    """
    facts, _ = _read(connection, schema, condition, "true", change, policy, migration, clean_up, release)
    return replace(facts, superseded=read_superseded(connection, schema, condition, change.expression(), policy))


def read_facts_and_counts(
    connection: Connection,
    schema: Schema,
    selection: Selection,
    left_out: Sequence[int],
    change: Change,
    policy: Policy,
    migration: BackgroundMigration | None,
    clean_up: CleanUp | None,
    release: tuple[int, int] | None = None,
) -> tuple[Facts, tuple[KindCount, ...]]:
    """The same about the tokens of a selection, and by kind and state all that fulfil its other options.

    Without the tokens of the ids `left_out`. Reads each token once for both.
    """
    scope, condition = (one.without(left_out) for one in (selection.scope(schema), selection.condition(schema)))
    facts, counts = _read(connection, schema, scope, selected(selection), change, policy, migration, clean_up, release)
    superseded = read_superseded(connection, schema, condition, change.expression(), policy)
    return replace(facts, superseded=superseded), tuple(counts_of(counts, selection))


def _read(
    connection: Connection,
    schema: Schema,
    scope: Condition,
    chosen: str,
    change: Change,
    policy: Policy,
    migration: BackgroundMigration | None,
    clean_up: CleanUp | None,
    release: tuple[int, int] | None,
) -> tuple[Facts, Rows]:
    """The facts about those tokens of `scope` whose kind and state are `chosen`, and the counts of all of them."""
    new = change.expression()
    migrated = dated_by(migration)
    warned = notices.any_set(schema)
    bots = bots_and_clean_up(clean_up, policy, change.earliest())
    parts = {
        "works": WILL_WORK.format(new=new.sql),
        "lasts": LASTS.format(new=new.sql),
        "past": PAST.format(today=TODAY),
        "new": new.sql,
        "warned": warned,
        "due": DUE.format(new=new.sql),
        "migrated": migrated.sql,
        **bots.sql,
    }
    groups = [one.format(**parts) for one in (*(OF_ONE_DATE if change.by is None else OF_OWN_DATES), *OF_GROUPS)]
    statement = by_kind(schema, scope, groups) + FACTS.format(
        chosen=chosen,
        counts=COUNTS_IN_A_ROW,
        ending_before=ENDING_BEFORE.format(ends_before=ends_before("o.last_day")),
        notified=NOTIFIED.format(told=told(release)),
        blocked=BLOCKED,
        **bots.sql,
    )
    parameters = {
        "facts_today": policy.today.literal,
        "facts_first_warning": (policy.today + notices.first_warning(schema)).literal,
        **new.parameters,
        **scope.parameters,
        **migrated.parameters,
        **bots.parameters,
    }
    row, counts = read_row(connection, statement, parameters)
    return Facts(**row), counts


def read_superseded(
    connection: Connection, schema: Schema, condition: Condition, new: Condition, policy: Policy, tokens: str = CHOSEN
) -> tuple[int, ...]:
    """The ids of those that would work longer than now, though a rotation has replaced them.

    Their successor, or what came of that, is not revoked. Looks at the tokens `t` of `condition` in `tokens`, SQL for
    FROM, each of which gets the date `new`. None where nobody knows of rotations.
    """
    succession = read_succession(connection, schema)
    if succession is None:
        return ()
    works = WILL_WORK.format(new=new.sql)
    replaced = (
        REPLACED.format(tokens=tokens, condition=condition.sql, works=works, new=new.sql, direct=direct).strip("\n")
        for direct in succession.direct
    )
    statement = SUPERSEDED.format(
        replaced="\n      UNION\n".join(replaced), stands=succession.exists("line.revoked IS NOT TRUE")
    )
    parameters = {"facts_today": policy.today.literal, **new.parameters, **condition.parameters}
    return tuple(row.id for row in connection.rows(statement, **parameters))


def dated_by(migration: BackgroundMigration | None) -> Condition:
    """Whether a token `t` probably got its date from the migration; of none where that is unknown.

    Where GitLab has not recorded an end, the migration is taken to have ended a day after it started, at midnight UTC.
    """
    if migration is None or (started := migration.started_at or migration.finished_at) is None:
        return Condition("false", {})
    first = _day(started)
    last, before = first + 1, f"{(first + 2).literal} 00:00+00"
    if migration.finished_at is not None:
        last, before = _day(migration.finished_at), migration.finished_at.isoformat()
    parameters = {
        "facts_migrated_first": (first + DEFAULT_LIFETIME).literal,
        "facts_migrated_last": (last + DEFAULT_LIFETIME).literal,
        "facts_migrated_before": before,
    }
    return Condition(MIGRATED, parameters)


def _day(time: datetime) -> ExpirationDate:
    return ExpirationDate(time.astimezone(UTC).toordinal())

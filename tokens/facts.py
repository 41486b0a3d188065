"""What the data says about the tokens of a change: counted in one statement, judged by nobody here."""

from dataclasses import dataclass
from datetime import UTC, datetime

from tokens.change import Change
from tokens.database import Connection
from tokens.gitlab import notices
from tokens.gitlab.background_migration import BackgroundMigration
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.membership import ends_before
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import DEFAULT_LIFETIME, Policy
from tokens.selection import Condition

# Counted by owner first, so that everything about a bot is looked up once a bot and nobody is counted twice.
FACTS = """
    WITH owners AS (
      SELECT
        t.user_id,
        u.user_type,
        u.state,
        count(*) AS tokens,
        count(*) FILTER (WHERE t.expires_at <= CAST(%(facts_today)s AS date) AND {works}) AS reviving,
        count(*) FILTER (
          WHERE t.revoked IS NOT TRUE AND EXISTS (SELECT FROM public.members m WHERE {ends_before})
        ) AS ending_before,
        count(*) FILTER (WHERE {warned}) AS warned,
        COALESCE(bool_or({warned} AND {due}), false) AS due,
        count(*) FILTER (WHERE {migrated}) AS migrated,
        bool_or({works}) AS works
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
      GROUP BY t.user_id, u.user_type, u.state
    )
    SELECT
      COALESCE(sum(o.reviving), 0)::bigint AS reviving,
      count(*) FILTER (WHERE o.ending_before > 0) AS bots_ending_before,
      COALESCE(sum(o.ending_before), 0)::bigint AS tokens_ending_before,
      COALESCE(sum(o.warned), 0)::bigint AS warned,
      count(*) FILTER (WHERE o.warned > 0) AS warned_owners,
      count(*) FILTER (WHERE o.due AND ({notified})) AS mailed_owners,
      count(*) FILTER (WHERE o.user_type = 6 AND ({doomed})) AS doomed_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE {blocked}), 0)::bigint AS blocked,
      count(*) FILTER (WHERE {blocked}) AS blocked_owners,
      COALESCE(sum(o.migrated), 0)::bigint AS migrated,
      COALESCE(sum(o.tokens) FILTER (WHERE o.user_type = 13), 0)::bigint AS service_accounts
    FROM owners o
"""

# With its new date the token works.
WORKS = "(t.revoked IS NOT TRUE AND COALESCE({new}, CAST('infinity' AS date)) > CAST(%(facts_today)s AS date))"

# GitLab leaves tokens whose `revoked` is NULL out of its notices.
DUE = """(
          t.revoked = false
          AND NOT t.impersonation
          AND {new} BETWEEN CAST(%(facts_today)s AS date) AND CAST(%(facts_first_warning)s AS date)
        )"""

# GitLab warns people who can log in; about a bot it warns those who look after its project or group.
NOTIFIED = """
        CASE
          WHEN COALESCE(o.user_type, 0) = 0 THEN o.state = 'active'
          WHEN o.user_type = 6 THEN EXISTS (
            SELECT FROM public.members m WHERE m.user_id = o.user_id AND m.requested_at IS NULL
          )
        END
      """

# A deleted owner has no state.
BLOCKED = "o.state <> 'active'"

# The migration gave each token the 365th day from then on.
MIGRATED = """(
          t.expires_at BETWEEN CAST(%(facts_migrated_first)s AS date) AND CAST(%(facts_migrated_last)s AS date)
          AND t.created_at < CAST(%(facts_migrated_before)s AS timestamptz) AT TIME ZONE 'UTC'
        )"""

# GitLab keeps a bot for a token that neither expired nor was revoked before the cut-off; `updated_at` tells when it was
# revoked. Past the cut-off a new date comes too late; up to it, only an active token helps.
DOOMED = """
        CASE
          WHEN o.works THEN NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens a
            WHERE a.user_id = o.user_id
              AND (a.expires_at < CAST(%(facts_cut_off)s AS date)) IS NOT TRUE
              AND (a.revoked AND a.updated_at < CAST(%(facts_cut_off)s AS date)) IS NOT TRUE
          )
          ELSE NOT EXISTS (
            SELECT
            FROM public.personal_access_tokens a
            WHERE a.user_id = o.user_id
              AND a.revoked IS NOT TRUE
              AND (a.expires_at <= CAST(%(facts_today)s AS date)) IS NOT TRUE
          )
        END
      """


@dataclass(frozen=True)
class Facts:
    """How many of the selected tokens, or of their bots or owners, are such that a person should know before."""

    reviving: int = 0
    """Tokens that have expired, are not revoked and would work again."""

    bots_ending_before: int = 0
    """Bots with a membership that ends before the new date of one of their tokens that is not revoked."""

    tokens_ending_before: int = 0
    """The tokens of which that is true."""

    warned: int = 0
    """Tokens about which GitLab has sent at least one notice."""

    warned_owners: int = 0
    """Their owners."""

    mailed_owners: int = 0
    """Owners (people, and bots with a membership) about whose re-armed tokens GitLab sends mail within a day."""

    doomed_bots: int = 0
    """Bots that the clean-up of inactive tokens may take before the new date counts, or in spite of it."""

    blocked: int = 0
    """Tokens whose owner is not active; GitLab refuses them whatever their date."""

    blocked_owners: int = 0
    """Their owners."""

    migrated: int = 0
    """Tokens that probably got their date from the 16.0 migration."""

    service_accounts: int = 0
    """Tokens of service accounts."""


def read_facts(
    connection: Connection,
    schema: Schema,
    condition: Condition,
    change: Change,
    policy: Policy,
    migration: BackgroundMigration | None,
) -> Facts:
    """Count the facts about the tokens of `condition` and what `change` would make of them.

    Reads each of those tokens once and looks bots up by index; of a staggered change the latest date counts.
    """
    new = change.expression()
    migrated = _migrated(migration)
    cut_off = _cut_off(policy)
    warned = notices.any_set(schema)
    statement = FACTS.format(
        works=WORKS.format(new=new.sql),
        ends_before=ends_before(new.sql),
        warned=warned,
        due=DUE.format(new=new.sql),
        migrated=MIGRATED if migrated else "false",
        condition=condition.sql,
        notified=NOTIFIED,
        doomed=DOOMED if cut_off else "false",
        blocked=BLOCKED,
    )
    row = connection.row(
        statement,
        facts_today=policy.today.literal,
        facts_first_warning=(policy.today + notices.first_warning(schema)).literal,
        **migrated,
        **({"facts_cut_off": cut_off.literal} if cut_off else {}),
        **new.parameters,
        **condition.parameters,
    )
    return Facts(**row._asdict())


def _migrated(migration: BackgroundMigration | None) -> dict[str, str]:
    """The dates that the migration gave, and when it had seen every token, as parameters; none where that is unknown.

    Where GitLab has not recorded an end, the migration is taken to have ended a day after it started, at midnight UTC.
    """
    if migration is None or (started := migration.started_at or migration.finished_at) is None:
        return {}
    first = _day(started)
    last, before = first + 1, f"{(first + 2).literal} 00:00+00"
    if migration.finished_at is not None:
        last, before = _day(migration.finished_at), migration.finished_at.isoformat()
    return {
        "facts_migrated_first": (first + DEFAULT_LIFETIME).literal,
        "facts_migrated_last": (last + DEFAULT_LIFETIME).literal,
        "facts_migrated_before": before,
    }


def _day(time: datetime) -> ExpirationDate:
    return ExpirationDate(time.astimezone(UTC).toordinal())


def _cut_off(policy: Policy) -> ExpirationDate | None:
    """The date before which a bot's last token became inactive if the clean-up takes it; None where there is none."""
    if policy.inactive_days is None:
        return None
    cut_off = policy.today + -policy.inactive_days
    return cut_off if cut_off.is_storable else None

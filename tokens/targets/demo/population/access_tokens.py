"""The tokens and what belongs to them: their last uses, granular scopes and GitLab's clean-up."""

# ruff: noqa: S608 - nothing that comes from outside gets into these statements

from datetime import date

from tokens.targets.demo.population.numbering import UP_TO_FIVE_YEARS, Identifiers, literal, one_of
from tokens.targets.demo.population.owners import TOKEN_NAMES
from tokens.targets.demo.population.tables import Tables
from tokens.targets.demo.progress import Progress, ReportProgress

DOCUMENTED = {
    "2017-12-31": 2508,
    "2018-01-01": 1008,
    "2016-12-31": 833,
    "2017-08-31": 705,
    "2017-06-30": 596,
    "2018-12-31": 548,
    "2017-05-31": 523,
    "2017-09-30": 520,
    "2017-07-31": 494,
}
"""The documentation's other dates and their numbers of tokens; no date beyond these has as many as the last."""

NEVER_EXPIRING = 387

SERVICE_TOKEN = "GitLab Security Service - Architecture - Inventory"  # noqa: S105 - a token's name
"""The one token of the first service account, expired three days ago, of which examples can speak."""

_CHUNK = 200_000  # tokens in one INSERT, for the progress
_GRANULAR = 12
_CHAINS = 60
_LINKS = 3  # tokens in a rotation chain

# fmt: off
_DESCRIPTIONS = (
    "Used by the nightly pipeline", "Ask the platform team before revoking", "Owner: ops@example.com",
    "Läuft auf dem Build-Server, nicht löschen", "x" * 255,
)
_SCOPES = (
    "---\n- api\n", "---\n- read_api\n", "---\n- read_repository\n- write_repository\n", "---\n- api\n- read_user\n",
    "---\n- :api\n", "---\n- read_registry\n- write_registry\n", "---\n- 'read_user'\n", '---\n- "api"\n',
    "---\n- :read_user\n- :read_api\n", "---\n- api\n- sudo\n- admin_mode\n", "--- []\n",
)
# fmt: on
_API, _GRANULAR_ONLY = _SCOPES[0], "---\n- granular\n"
_OWNER = """
    CASE WHEN n % 100 < 78 THEN 'person'
         WHEN n % 100 < 82 THEN 'impersonated'
         WHEN n % 100 < 90 THEN 'project bot'
         WHEN n % 100 < 95 THEN 'group bot'
         ELSE 'service account' END"""
# Numbers without gaps for the tokens of such an owner, so that each of them has its turn.
_PROJECT_BOT = "n / 100 * 8 + n % 100 - 82"
_GROUP_BOT = "n / 100 * 5 + n % 100 - 90"
_SERVICE_ACCOUNT = "n / 100 * 5 + n % 100 - 95"


def add_clean_up(tables: Tables, expires_at: date) -> None:
    """The background migration of GitLab 16.0, as the documentation's example has it: a year before this day."""
    day = f"date '{expires_at}' - interval '1 year'"
    columns = {
        "job_class_name": "'CleanupPersonalAccessTokensWithNilExpiresAt'",
        "table_name": "'personal_access_tokens'",
        "column_name": "'id'",
        "job_arguments": "'[]'",
        "min_value": "1",
        "max_value": "2000000",
        "batch_size": "50000",
        "sub_batch_size": "100",
        "interval": "120",
        "status": "6",
        "gitlab_schema": "'gitlab_main'",
        "created_at": f"{day} + interval '10:20:00'",
        "updated_at": f"{day} + interval '10:23:01'",
        "started_at": f"{day} + interval '10:20:35'",
        "finished_at": f"{day} + interval '10:23:01'",
    }
    tables.insert("batched_background_migrations", columns, "")


def add_tokens(tables: Tables, ids: Identifiers, tokens: int, expires_at: date, report: ReportProgress) -> None:
    """Add `tokens` that expire on this day, and all others; what else refers to tokens has to come later."""
    report(Progress("Choosing dates"))
    old = _plan_old_tokens(tables, tokens, expires_at)
    total = old + _plan_recent_tokens(tables, old, expires_at)
    # Emptied in the same transaction, so that what is loaded need not be logged where wal_level is minimal.
    tables.execute("TRUNCATE personal_access_tokens CASCADE")
    with tables.without_indexes("personal_access_tokens", report):
        for done in range(0, old, _CHUNK):
            report(Progress(f"Adding {total:,} tokens", done, total))
            _add_old_tokens(tables, ids, expires_at, f"id BETWEEN {done + 1} AND {done + _CHUNK}")
        report(Progress(f"Adding {total:,} tokens", old, total))
        _add_recent_tokens(tables, ids)
    # The memberships look for tokens by their owner.
    tables.execute("ANALYZE personal_access_tokens")


def _plan_old_tokens(tables: Tables, tokens: int, expires_at: date) -> int:
    """The tokens that do not depend on today: how many on which date, numbered by their creation. Returns how many."""
    documented = ", ".join(f"(date '{day}', {count})" for day, count in {str(expires_at): tokens, **DOCUMENTED}.items())
    return tables.execute(f"""
        CREATE TEMPORARY TABLE old_tokens ON COMMIT DROP AS
        WITH documented (expires_at, tokens) AS (VALUES {documented}),
        others (expires_at, tokens) AS (
            SELECT (date '2016-01-31' + make_interval(months => n))::date, 5 + n * n * 17 % 120
              FROM generate_series(0, 95) AS n
            UNION ALL
            SELECT date '2019-01-02' + n * 3, 1 + n % 3 FROM generate_series(0, 400) AS n
        ),
        days AS (
            SELECT * FROM documented
            UNION ALL SELECT * FROM others WHERE expires_at NOT IN (SELECT expires_at FROM documented)
            UNION ALL VALUES (date '2099-12-31', 12), (NULL, {NEVER_EXPIRING})
        ),
        numbered AS (
            SELECT expires_at, row_number() OVER (ORDER BY expires_at) AS n FROM days, generate_series(1, tokens)
        ),
        dated AS (
            SELECT expires_at, n,
                   CASE WHEN expires_at IS NULL
                        THEN timestamp '2023-07-03 08:00' + interval '1 second' * (n * 104729 % 40000000)
                        WHEN expires_at = '{expires_at}' OR expires_at > '2030-01-01'
                        THEN timestamp '2018-01-02 07:00' + {UP_TO_FIVE_YEARS}
                        ELSE expires_at - interval '1 second' * (1728000 + n * 104729 % 29000000)
                   END AS created_at
              FROM numbered
        )
        SELECT row_number() OVER (ORDER BY created_at, n) AS id, n, expires_at, created_at, {_OWNER} AS owner
          FROM dated
    """).rowcount


def _plan_recent_tokens(tables: Tables, old: int, expires_at: date) -> int:
    """The tokens around today, numbered after the `old` ones. Returns how many.

    `days` is how long they have to live, `age` how many days ago they were made.
    """
    documented = ", ".join(f"'{day}'" for day in (expires_at, *DOCUMENTED))
    return tables.execute(f"""
        CREATE TEMPORARY TABLE recent_tokens ON COMMIT DROP AS
        WITH single AS (
            SELECT 'coming' AS kind, days FROM generate_series(1, 60) AS days, generate_series(1, 1 + days * 7 % 4)
            UNION ALL
            SELECT 'expired', days FROM generate_series(-45, 0) AS days, generate_series(1, 1 + abs(days) % 2)
            UNION ALL
            SELECT 'later', days FROM generate_series(61, 364, 3) AS days
            UNION ALL
            SELECT 'granular', 10 + 7 * number FROM generate_series(1, {_GRANULAR}) AS number
            UNION ALL
            SELECT 'service', -3
        ),
        numbered AS (
            SELECT kind, days, row_number() OVER (ORDER BY kind, days) AS n FROM single
        ),
        planned AS (
            SELECT kind, days, n, 1 AS link,
                   CASE WHEN days > 0 THEN 1 + n * 37 % (365 - days) ELSE 1 - days + n * 37 % 365 END AS age,
                   kind IN ('coming', 'expired') AND n % 9 = 0 AS revoked
              FROM numbered
            UNION ALL
            SELECT 'chain',
                   CASE link WHEN {_LINKS} THEN 1 + chain % 60 ELSE 20 + (chain + link) % 40 END,
                   chain * 37 + 10000,
                   link,
                   7 * (1 + {_LINKS} - link) + chain % 5,
                   link < {_LINKS}
              FROM generate_series(1, {_CHAINS}) AS chain, generate_series(1, {_LINKS}) AS link
        ),
        dated AS (
            SELECT *,
                   current_date + days::integer AS expires_at,
                   current_date - age::integer + time '06:30' + interval '1 second' * (n * 13 % 30000) AS created_at,
                   CASE kind WHEN 'service' THEN 'service account'
                             WHEN 'granular' THEN 'person'
                             ELSE {_OWNER} END AS owner
              FROM planned
        )
        SELECT {old} + row_number() OVER (ORDER BY kind, n, link) AS id, *
          FROM dated
         WHERE expires_at NOT IN ({documented})
    """).rowcount


def _add_old_tokens(tables: Tables, ids: Identifiers, expires_at: date, condition: str) -> None:
    in_use = f"LEAST(date '{expires_at}', current_date) - interval '1 day'"
    used_until = f"LEAST(expires_at, GREATEST({in_use}, created_at + interval '100 days'))"
    notified = "n % 13 <> 0 AND n % 3 = 0 AND expires_at - 7 < current_date"
    notified_after = f"{notified} AND n % 2 = 0 AND expires_at <= current_date"
    columns = {
        **_token_columns(ids),
        "revoked": "CASE WHEN n % 997 <> 0 THEN n % 13 = 0 END",
        "updated_at": "CASE WHEN n % 13 = 0 THEN created_at + interval '20 days' ELSE created_at END",
        "last_used_at": f"CASE WHEN n % 6 <> 0 THEN {_last_use(used_until)} END",
        "expire_notification_delivered": f"COALESCE({notified}, false)",
        "after_expiry_notification_delivered": f"COALESCE({notified_after}, false)",
        "seven_days_notification_sent_at": f"CASE WHEN {notified} THEN {_night('expires_at - 7')} END",
    }
    tables.insert("personal_access_tokens", columns, f"FROM old_tokens WHERE {condition} ORDER BY id")


def _add_recent_tokens(tables: Tables, ids: Identifiers) -> None:
    common = _token_columns(ids)
    notified = "NOT revoked AND owner NOT IN ('impersonated', 'service account') AND n % 4 <> 0"
    columns = {
        **common,
        "user_id": f"CASE kind WHEN 'service' THEN {ids.service_accounts.first} ELSE {common['user_id']} END",
        "name": f"CASE kind WHEN 'service' THEN '{SERVICE_TOKEN}' ELSE {common['name']} END",
        "scopes": f"""
            CASE kind WHEN 'service' THEN {literal(_API)}
                      WHEN 'granular' THEN {literal(_GRANULAR_ONLY)}
                      ELSE {common["scopes"]} END""",
        "token_digest": "encode(sha256(convert_to('recent token ' || id, 'UTF8')), 'base64')",
        "revoked": "revoked",
        "updated_at": "CASE WHEN revoked THEN LEAST(created_at + interval '7 days', current_date) ELSE created_at END",
        "last_used_at": f"""
            CASE WHEN kind = 'service' THEN expires_at - interval '90 minutes'
                 WHEN n % 6 <> 0 THEN {_last_use("LEAST(expires_at, current_date)")} END""",
        "previous_personal_access_token_id": "CASE WHEN kind = 'chain' AND link > 1 THEN id - 1 END",
        "description": f"CASE WHEN n % 3 = 1 THEN {one_of(_DESCRIPTIONS, 'n / 3')} END",
        "granular": "kind = 'granular'",
        "user_type": """
            CASE owner WHEN 'project bot' THEN 6 WHEN 'group bot' THEN 6 WHEN 'service account' THEN 13 ELSE 0 END""",
        "group_id": _root_group(ids),
        "expire_notification_delivered": f"{notified} AND days <= 7",
        "after_expiry_notification_delivered": f"{notified} AND days <= 0",
        **{
            f"{word}_days_notification_sent_at": f"""
                CASE WHEN {notified} AND days <= {days} AND created_at < expires_at - {days}
                     THEN {_night(f"expires_at - {days}")} END"""
            for word, days in (("seven", 7), ("thirty", 30), ("sixty", 60))
        },
    }
    tables.insert("personal_access_tokens", columns, "FROM recent_tokens ORDER BY recent_tokens.id")


def _token_columns(ids: Identifiers) -> dict[str, str]:
    """The columns of a token that follow from its number, the same for old and recent ones."""
    return {
        "id": "id",
        "user_id": f"""
            CASE owner WHEN 'project bot' THEN {ids.project_bots.choose(_PROJECT_BOT)}
                       WHEN 'group bot' THEN {ids.group_bots.choose(_GROUP_BOT)}
                       WHEN 'service account' THEN {ids.other_service_accounts.choose(_SERVICE_ACCOUNT)}
                       ELSE {ids.people.choose("n * 7919")} END""",
        "name": f"{one_of(TOKEN_NAMES, 'n')} || CASE WHEN n % 4 = 0 THEN '' ELSE ' ' || n END",
        "expires_at": "expires_at",
        "created_at": "created_at",
        "scopes": one_of(_SCOPES, "n * 3 / 2"),
        "impersonation": "owner = 'impersonated'",
        "token_digest": "encode(sha256(convert_to('token ' || id, 'UTF8')), 'base64')",
        "organization_id": "1",
    }


def _last_use(until: str) -> str:
    return f"created_at + (n * 48271 % 9973) / 9973.0 * ({until} - created_at)"


def _night(day: str) -> str:
    """When GitLab mailed on that day: at one in the morning, unless the demo is filled before that."""
    return f"LEAST({day} + interval '1 hour', now())"


def _root_group(ids: Identifiers) -> str:
    """GitLab 18.3: a bot's token knows the top-level group that it counts for."""
    return f"""(
        SELECT root.id
          FROM namespaces JOIN namespaces AS root ON root.id = namespaces.traversal_ids[1]
         WHERE root.type = 'Group'
           AND namespaces.id = CASE owner
               WHEN 'project bot' THEN {ids.project_namespaces.first} + ({_PROJECT_BOT}) % {ids.project_bots.count}
               WHEN 'group bot' THEN {ids.groups.first} + ({_GROUP_BOT}) % {ids.group_bots.count} END)"""


def add_last_used_ips(tables: Tables) -> None:
    """Since GitLab 17.8 the last five addresses: of all recent tokens and of a few old ones."""
    ranges = ("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8::")
    columns = {
        "personal_access_token_id": "tokens.id",
        "organization_id": "1",
        "created_at": "last_used_at",
        "updated_at": "last_used_at",
        "ip_address": f"({one_of(ranges, 'tokens.id + number')} || 1 + tokens.id * 7 % 50 * 5 + number)::inet",
    }
    source = """
        FROM personal_access_tokens AS tokens, generate_series(0, tokens.id % 5) AS number
        WHERE last_used_at IS NOT NULL AND (tokens.id % 500 = 0 OR tokens.id IN (SELECT id FROM recent_tokens))
        ORDER BY tokens.id, number"""
    tables.insert("personal_access_token_last_used_ips", columns, source)


def add_granular_scopes(tables: Tables, ids: Identifiers) -> None:
    """Since GitLab 18.4: each granular token has a scope of its own, and all of them share one."""
    scopes = {
        "id": "n",
        "organization_id": "1",
        "namespace_id": f"CASE WHEN n > 1 THEN {ids.groups.first} + n END",
        "permissions": """CASE n WHEN 1 THEN '["read_user"]' ELSE '["read_job", "read_pipeline"]' END::jsonb""",
        "access": "CASE n WHEN 1 THEN 2 ELSE 1 END",
        "created_at": "now()",
        "updated_at": "now()",
    }
    tables.insert("granular_scopes", scopes, f"FROM generate_series(1, {1 + _GRANULAR}) AS n")
    uses = {"organization_id": "1", "personal_access_token_id": "id", "granular_scope_id": "scope"}
    source = """
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM recent_tokens WHERE kind = 'granular') AS granular,
             LATERAL (VALUES (1), (1 + n)) AS scopes (scope)
        ORDER BY id, scope"""
    tables.insert("personal_access_token_granular_scopes", uses, source)

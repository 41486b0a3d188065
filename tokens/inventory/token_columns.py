"""What is known of a token, as SQL: of a token `t`, its owner `u`, and a bot's `place` and `clean_up`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tokens.change.facts import dated_by
from tokens.database import Connection
from tokens.gitlab import notices
from tokens.gitlab.background_migration import read_background_migration
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, clean_up_day, is_active
from tokens.gitlab.kind import STATE_EXPRESSION, TODAY, WORKS, kind_expression
from tokens.gitlab.membership import FIRST_END, ends_before
from tokens.gitlab.ownership import PLACE, nobody_told, owner_shown, told, username_shown
from tokens.gitlab.rules import OWNER_ACTIVE, without_notice
from tokens.gitlab.schema import LAST_USED_IPS, TOKENS, Schema
from tokens.gitlab.settings import beyond_maximum, is_refused_another, read_rules
from tokens.gitlab.succession import read_succession
from tokens.inventory.logged import CALLS_A_DAY, IS_TRIED, LOGGED, REFUSED

ADDRESSES = """ARRAY(
        SELECT host(used.ip_address)
        FROM public.personal_access_token_last_used_ips used
        WHERE used.personal_access_token_id = t.id AND used.ip_address IS NOT NULL
        ORDER BY used.id
      )"""


MEMBERSHIP_ENDS = f"CASE WHEN u.user_type = 6 THEN {FIRST_END.format(bot='u.id')} END"

CLEAN_UP = """
    LEFT JOIN LATERAL (
      SELECT {day} AS day
      FROM public.personal_access_tokens other
      WHERE u.user_type = 6 AND other.user_id = t.user_id
      HAVING NOT bool_or(COALESCE({is_active}, false))
    ) clean_up ON true
"""

FLAG_NAMES = (
    "membership-ends-first",
    "clean-up",
    "beyond-maximum",
    "in-its-grace",
    "successor-works",
    "nobody-warned",
    "warned",
    "legacy",
    "migration-date",
    "owner-inactive",
    "failed-tries",
)


class Shown(Enum):
    """Where a column is shown by default: always, where a log is read, with `--wide`, or nowhere."""

    ALWAYS = "always"
    LOGGED = "logged"
    WIDE = "wide"
    BY_NAME = "by name"


@dataclass(frozen=True)
class Column:
    """What is shown of each token under one name.

    Attributes:
        name: in JSON and CSV, and for `--columns` and `--sort`.
        heading: in the table.
        shown: where it is by default.
        cheap: whether JSON and CSV have it without being asked for more, since it is a column of the tokens' table.
    """

    name: str
    heading: str
    shown: Shown = Shown.WIDE
    cheap: bool = False


COLUMNS = (
    Column("id", "Id", Shown.ALWAYS),
    Column("expires_at", "Expires", Shown.ALWAYS),
    Column("in_days", "In", Shown.ALWAYS),
    Column("kind", "Kind", Shown.ALWAYS),
    Column("account", "Account", Shown.BY_NAME, cheap=True),
    Column("owner", "Owner", Shown.ALWAYS),
    Column("name", "Name", Shown.ALWAYS),
    Column("last_used_at", "Used", Shown.ALWAYS),
    Column("calls_a_day", "Calls/day", Shown.LOGGED),
    Column("refused", "Refused", Shown.LOGGED),
    Column("state", "State", cheap=True),
    Column("scopes", "Scopes", cheap=True),
    Column("created_at", "Created", cheap=True),
    Column("ips", "IPs"),
    Column("membership_ends_at", "Membership"),
    Column("clean_up_at", "Clean-up"),
    Column("warned", "Warned"),
    Column("flags", "Flags"),
    Column("description", "Description"),
    Column("owner_state", "Owner state", Shown.BY_NAME, cheap=True),
    Column("email", "E-mail", Shown.BY_NAME),
    Column("place_id", "Project or group", Shown.BY_NAME),
    Column("created_by", "Created by", Shown.BY_NAME),
    Column("told", "Told", Shown.BY_NAME),
)
BY_NAME = {column.name: column for column in COLUMNS}

# Rails' usual list is turned into text here; of any other the text as it is stored, with a line's end: the view reads
# what is in quotes in PostgreSQL's CSV.
USUAL_SCOPES = r"""
    CASE
      WHEN t.scopes LIKE E'---\n- %%' AND t.scopes !~ '[^a-z_\n -]|  '
      THEN replace(rtrim(substr(t.scopes, 7), E'\n'), E'\n- ', ' ')
      ELSE t.scopes || E'\n'
    END
"""

# Those of them that need more privileges than the others.
OF_PEOPLE = frozenset({"email", "created_by", "told"})
DATES = frozenset({"expires_at", "in_days", "membership_ends_at", "clean_up_at"})
TIMES = frozenset({"last_used_at", "created_at"})
NO_FLAGS = Condition("CAST('{}' AS text[])", {})
OF_LOGS = frozenset(column.name for column in COLUMNS if column.shown is Shown.LOGGED)
UNSORTABLE = frozenset({"scopes", "ips", "warned", "flags", "told"})


def in_csv(name: str, sql: str) -> str:
    """SQL: a column, whose SQL is this one, as text; of scopes the usual lists alone, the rest is left to the view."""
    if name == "scopes":
        return USUAL_SCOPES
    return f"NULLIF(array_to_string({sql}, ' '), '')" if name in UNSORTABLE else sql


@dataclass(frozen=True)
class Expression:
    """A column as SQL, and what it is sorted by."""

    sql: str
    sort: str


def _cleaned(rule: CleanUp | None) -> str:
    return "clean_up.day" if rule else "CAST(NULL AS date)"


def expressions(
    schema: Schema, flags: str, rule: CleanUp | None, release: tuple[int, int] | None, *, has_log: bool = False
) -> Mapping[str, Expression]:
    """The columns by name; `release` is the least that GitLab's can be."""
    calls, refused = (CALLS_A_DAY, REFUSED) if has_log else ("CAST(NULL AS float8)", "CAST(NULL AS bigint)")
    cleaned = _cleaned(rule)
    owner = owner_shown(schema)
    kind = kind_expression(schema)
    description = "t.description" if schema.has(TOKENS, "description") else "CAST(NULL AS text)"
    found = {
        "id": ("t.id", "t.id"),
        "expires_at": ("t.expires_at::text", "t.expires_at"),
        # The day is asked for once, which for each row would take longer than to read the row.
        "in_days": (f"CASE WHEN isfinite(t.expires_at) THEN t.expires_at - (SELECT {TODAY}) END", "t.expires_at"),
        "kind": (kind, kind),
        "account": ("u.username", "u.username"),
        "owner": (owner, owner),
        "name": ("t.name", "t.name"),
        "last_used_at": (moment("t.last_used_at AT TIME ZONE 'UTC'"), "t.last_used_at"),
        "calls_a_day": (calls, calls),
        "refused": (refused, refused),
        "state": (STATE_EXPRESSION, STATE_EXPRESSION),
        "scopes": ("t.scopes", ""),
        "created_at": (moment("t.created_at"), "t.created_at"),
        "ips": (ADDRESSES if schema.has(LAST_USED_IPS) else "CAST('{}' AS text[])", ""),
        "membership_ends_at": (f"CAST({MEMBERSHIP_ENDS} AS text)", MEMBERSHIP_ENDS),
        "clean_up_at": (f"{cleaned}::text", cleaned),
        "warned": (notices.sent(schema), ""),
        "flags": (flags, ""),
        "description": (description, description),
        "owner_state": ("u.state", "u.state"),
        "email": ("u.email", "u.email"),
        "place_id": ("place.source_id", "place.source_id"),
        "created_by": ("(SELECT c.username FROM public.users c WHERE c.id = u.created_by_id)", "u.created_by_id"),
        "told": (f"ARRAY(SELECT {username_shown('person')}{told(release)}\n        ORDER BY person.username)", ""),
    }
    return {name: Expression(sql, sort) for name, (sql, sort) in found.items()}


def flags(
    connection: Connection,
    schema: Schema,
    rule: CleanUp | None,
    release: tuple[int, int] | None,
    *,
    has_log: bool = False,
) -> Condition:
    """An array of the flags that a token has, in the order of FLAG_NAMES; `release` is as for `expressions`."""
    granular_only = schema.has(TOKENS, "granular") and read_rules(connection, schema).granular_only
    migrated = dated_by(read_background_migration(connection, schema))
    succession = read_succession(connection, schema)
    replaced = succession.has_live if succession else "false"
    ends_first = f"EXISTS (SELECT FROM public.members m WHERE {ends_before('t.expires_at')})"
    unannounced = without_notice(schema, release, MEMBERSHIP_ENDS)
    stops = f"isfinite(LEAST(t.expires_at, {MEMBERSHIP_ENDS}))"
    conditions = {
        "membership-ends-first": f"t.revoked IS NOT TRUE AND {ends_first}",
        "clean-up": f"{_cleaned(rule)} IS NOT NULL",
        "beyond-maximum": f"{WORKS} AND {beyond_maximum(schema)}",
        "in-its-grace": f"{WORKS} AND {replaced}",
        "successor-works": f"NOT {WORKS} AND {replaced}",
        "nobody-warned": f"{WORKS} AND {OWNER_ACTIVE} AND {stops} AND ({unannounced} OR {nobody_told(release)})",
        "warned": f"{WORKS} AND {notices.any_set(schema)}",
        "legacy": f"{WORKS} AND {is_refused_another(release)}" if granular_only else "false",
        "migration-date": f"t.revoked IS NOT TRUE AND {migrated.sql}",
        "owner-inactive": "u.state IS DISTINCT FROM 'active'",
        "failed-tries": IS_TRIED if has_log else "false",
    }
    cases = ",\n        ".join(f"CASE WHEN {conditions[name]} THEN '{name}' END" for name in FLAG_NAMES)
    return Condition(f"array_remove(ARRAY[\n        {cases}\n      ], NULL)", migrated.parameters)


def moment(utc: str) -> str:
    """SQL: a time without a time zone, which is UTC, in ISO 8601 to the second, as the journal gives its own."""
    return f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS"+00:00"\')'


def joins(sql: str, rule: CleanUp | None) -> str:
    """What a part of a statement asks beside tokens and their owners; `rule` is the clean-up's, if there is one."""
    found = [PLACE] if "place." in sql else []
    if "logged." in sql:
        found.append(LOGGED)
    if rule is not None and "clean_up." in sql:
        active = is_active(rule, "other.expires_at", "other.revoked", TODAY)
        found.append(CLEAN_UP.format(day=clean_up_day(rule), is_active=active))
    return "".join(found).strip()


def comparable(name: str, sort: str) -> str:
    """What a column is sorted by, as a number or as text in an order that no locale changes."""
    if name in ("id", "place_id"):
        return f"CAST({sort} AS bigint)"
    if name in OF_LOGS:
        return f"CAST({sort} AS float8)"
    if name in DATES:  # a time cannot be as far away as a date
        sort = f"LEAST({sort}, CAST('200000-01-01' AS date))"
    if name in DATES | TIMES:
        return f"CAST(extract(epoch FROM CAST({sort} AS timestamptz)) AS float8)"
    return f'CAST(({sort}) AS text) COLLATE "C"'

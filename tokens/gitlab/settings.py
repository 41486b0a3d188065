"""The instance's settings that bear on tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokens.database import Connection
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import TODAY
from tokens.gitlab.schema import SETTINGS, TOKENS, Schema

# GitLab's own limit where the instance sets none (400 behind a feature flag since 17.6).
DEFAULT_LIFETIME = 365  # days

MAXIMUM = "max_personal_access_token_lifetime"

READ_TODAY = "SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text)"

# GitLab's own number of days where the instance sets none; there was no clean-up of inactive tokens before 17.7.
DEFAULT_INACTIVE_DAYS = 30

# The columns that a release may have, and how they are read. JSON stays text: NULL, where GitLab has stored nothing,
# differs from 'null', which is an administrator's "never".
COLUMNS = {
    MAXIMUM: MAXIMUM,
    "require_personal_access_token_expiry": "require_personal_access_token_expiry",
    "service_access_tokens_expiration_enforced": "service_access_tokens_expiration_enforced",
    "maintenance_mode": "maintenance_mode",
    "resource_access_tokens_settings": """CAST(
        resource_access_tokens_settings -> 'inactive_resource_access_tokens_delete_after_days' AS text
      )""",
}

# The row with the highest id is the current one.
CURRENT = """
    SELECT
      {columns}
    FROM public.application_settings
    ORDER BY id DESC
    LIMIT 1
"""

# Of several rows of settings GitLab uses the newest. Where it sets no maximum, no date is beyond it.
BEYOND_MAXIMUM = f"""COALESCE(t.expires_at, CAST('infinity' AS date)) > {TODAY} + (
    SELECT s.max_personal_access_token_lifetime
    FROM public.application_settings s
    ORDER BY s.id DESC
    LIMIT 1
  )"""  # noqa: S608 - a constant

# GitLab 18.11 and later; behind the feature flags granular_personal_access_tokens and
# granular_personal_access_tokens_enforcement, which are on since 19.2 and are not asked for. A top-level group has the
# same setting, which GitLab.com alone obeys: there, such tokens no longer reach the group's projects.
GRANULAR_AFTER = f"""CASE
        WHEN (personal_access_token_settings ->> 'enforce_granular_tokens')::boolean
        THEN COALESCE((personal_access_token_settings ->> 'granular_tokens_enforced_after')::date, {TODAY})::text
      END"""

DAYS = re.compile(r'"?(\d{1,6})"?', re.ASCII)


@dataclass(frozen=True)
class Policy:
    """How long tokens may live on this instance, and what else of its settings bears on them.

    `today` is the server's date in UTC; `maximum_lifetime` is in days, None where the instance sets none.
    `requires_expiry` and `service_accounts_require_expiry` are about new tokens: those of people and bots, and those of
    service accounts. `maintenance` is GitLab's maintenance mode. A bot without an active token for `inactive_days` days
    is deleted with its tokens; None where it is not.
    """

    today: ExpirationDate
    maximum_lifetime: int | None
    requires_expiry: bool = False
    service_accounts_require_expiry: bool = False
    maintenance: bool = False
    inactive_days: int | None = DEFAULT_INACTIVE_DAYS

    def as_dict(self) -> dict[str, object]:
        """As the journal keeps it."""
        return {
            "maximum_lifetime": self.maximum_lifetime,
            "requires_expiry": self.requires_expiry,
            "service_accounts_require_expiry": self.service_accounts_require_expiry,
            "maintenance": self.maintenance,
            "inactive_days": self.inactive_days,
        }

    @property
    def lifetime(self) -> int:
        """The lifetime that GitLab gives a token when nobody says otherwise, in days."""
        return DEFAULT_LIFETIME if self.maximum_lifetime is None else self.maximum_lifetime

    def extended(self, expires_at: ExpirationDate) -> ExpirationDate:
        """The date that an extension suggests: a lifetime after the old one, or after today where that is infinite."""
        return (expires_at if expires_at.is_finite else self.today) + self.lifetime

    @property
    def last_date(self) -> ExpirationDate | None:
        """The latest expiration date that the instance allows today; None where it sets no limit."""
        return None if self.maximum_lifetime is None else self.today + self.maximum_lifetime


def read_current(connection: Connection, columns: Sequence[str]) -> dict[str, Any]:
    """The settings in force, by the names of these columns, which are SQL; empty where GitLab has stored none."""
    row = connection.row(CURRENT.format(columns=",\n      ".join(columns))) if columns else None
    return {} if row is None else row._asdict()


def beyond_maximum(schema: Schema) -> str:
    """SQL: whether the date of a token `t`, or its lack of one, is beyond the maximum lifetime of today."""
    return BEYOND_MAXIMUM if schema.has(SETTINGS, "id", MAXIMUM) else "FALSE"


def read_policy(connection: Connection, schema: Schema) -> Policy:
    """The policy in force now; what a release has no setting for is as if it were off."""
    (today,) = connection.row(READ_TODAY)
    columns = [f"{sql} AS {name}" for name, sql in COLUMNS.items() if schema.has(SETTINGS, "id", name)]
    values = read_current(connection, columns)
    return Policy(
        ExpirationDate.stored(today),
        values.get(MAXIMUM),
        requires_expiry=bool(values.get("require_personal_access_token_expiry")),
        service_accounts_require_expiry=bool(values.get("service_access_tokens_expiration_enforced")),
        maintenance=bool(values.get("maintenance_mode")),
        inactive_days=_inactive_days(schema, values.get("resource_access_tokens_settings")),
    )


@dataclass(frozen=True)
class Rules:
    """Which tokens the instance's settings let nobody use, or nobody make.

    `disabled` is whether no access token of any kind authenticates. From the day of `granular_after` on GitLab makes
    and rotates fine-grained tokens alone, while older ones go on working; None where it makes others, too.
    `granular_only` is whether that day has come.
    """

    disabled: bool = False
    granular_after: ExpirationDate | None = None
    granular_only: bool = False


def is_refused_another(release: tuple[int, int] | None) -> str:
    """SQL: whether it takes a fine-grained token to replace a token `t` of `u` once those alone are made.

    Since GitLab 19.5 that is so of people, before it of bots and service accounts, too (gitlab-org/gitlab!257280; its
    release is known by its date alone). `release` is the least that it can be, None where nothing is known of it.
    """
    of_persons = " AND COALESCE(u.user_type, 0) = 0" if release is not None and release >= (19, 5) else ""
    return f"NOT t.granular AND u.id IS NOT NULL{of_persons}"


def read_rules(connection: Connection, schema: Schema) -> Rules:
    """The rules in force now; those that a release does not have are off."""
    columns = []
    if schema.has(SETTINGS, "id", "disable_personal_access_tokens"):
        columns.append("COALESCE(disable_personal_access_tokens, false) AS disabled")
    if schema.has(SETTINGS, "id", "personal_access_token_settings"):
        columns += [f"{GRANULAR_AFTER} AS granular_after", f"{TODAY}::text AS today"]
    values = read_current(connection, columns)
    if values.get("granular_after") is None:
        return Rules(bool(values.get("disabled")))
    after = ExpirationDate.stored(values["granular_after"])
    return Rules(bool(values.get("disabled")), after, after <= ExpirationDate.stored(values["today"]))


def takes_registration_tokens(connection: Connection, schema: Schema) -> bool | None:
    """Whether the instance lets runners register by registration tokens, the old way; None where it has no setting."""
    if not schema.has(SETTINGS, "id", "allow_runner_registration_token"):
        return None
    current = read_current(connection, ["allow_runner_registration_token AS allowed"])
    return bool(current["allowed"]) if current else None


def _inactive_days(schema: Schema, stored: str | None) -> int | None:
    """After how many days the clean-up comes, from the setting's JSON; None for never."""
    if not schema.has(TOKENS, "description"):  # as old as the clean-up: GitLab 17.7
        return None
    if stored is None:
        return DEFAULT_INACTIVE_DAYS
    days = DAYS.fullmatch(stored)
    return int(days[1]) if days else None

"""What kind a token is of, and what state it is in: GitLab keeps all of them in one table.

Everything here speaks of `public.personal_access_tokens t LEFT JOIN public.users u ON u.id = t.user_id`.
"""

from enum import StrEnum
from typing import Any

from tokens.database import Connection
from tokens.gitlab.schema import USER_DETAILS, Schema

TODAY = "CAST(now() AT TIME ZONE 'UTC' AS date)"
"""The server's date in UTC, as SQL."""


class Kind(StrEnum):
    """Who a token is made for. OTHER are GitLab's own bots, and tokens without an owner."""

    PERSONAL = "personal"
    IMPERSONATION = "impersonation"
    PROJECT = "project"
    GROUP = "group"
    SERVICE_ACCOUNT = "service-account"
    OTHER = "other"


class State(StrEnum):
    """Whether a token works. One that is revoked and expired counts as revoked."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class OwnerState(StrEnum):
    """The state of a token's owner; only an active one's tokens work."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    BANNED = "banned"
    DEACTIVATED = "deactivated"


# Each is one value of `users.state`, but people call three of them blocked.
STORED_STATES = {state: (state.value,) for state in OwnerState} | {
    OwnerState.BLOCKED: ("blocked", "ldap_blocked", "blocked_pending_approval")
}


def works(token: str) -> str:
    """SQL: whether the token with this alias works today, as terms with AND."""
    return f"{token}.revoked IS NOT TRUE AND ({token}.expires_at IS NULL OR {token}.expires_at > {TODAY})"


# GitLab takes NULL for "not revoked", and a token is dead from the first moment of its date.
STATE_CONDITIONS = {
    State.REVOKED: "t.revoked IS TRUE",
    State.EXPIRED: f"t.revoked IS NOT TRUE AND t.expires_at <= {TODAY}",
    State.ACTIVE: works("t"),
}

WORKS = f"({STATE_CONDITIONS[State.ACTIVE]})"
"""Whether a token `t` works today, as SQL."""

HUMAN, PROJECT_BOT, SERVICE_ACCOUNT = 0, 6, 13  # users.user_type; NULL is human, before GitLab 16.6

STATE_EXPRESSION = f"""
    CASE
      WHEN {STATE_CONDITIONS[State.REVOKED]} THEN 'revoked'
      WHEN {STATE_CONDITIONS[State.EXPIRED]} THEN 'expired'
      ELSE 'active'
    END
"""
"""The state of a token `t` as SQL."""

# The sub-selects run for bots alone, and each finds its rows by an index on the bot's id.
KIND_EXPRESSION = """
    CASE
      WHEN t.impersonation THEN 'impersonation'
      WHEN u.id IS NULL THEN 'other'
      WHEN COALESCE(u.user_type, 0) = 0 THEN 'personal'
      WHEN u.user_type = 13 THEN 'service-account'
      WHEN u.user_type <> 6 THEN 'other'
      WHEN EXISTS (
        SELECT
        FROM public.members m
        WHERE m.user_id = u.id AND m.source_type = 'Project' AND m.requested_at IS NULL
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.members m
        WHERE m.user_id = u.id AND m.source_type = 'Namespace' AND m.requested_at IS NULL
      ) THEN 'group'
      {by_namespace}
      WHEN u.username ~ '^project_[0-9]+_bot' THEN 'project'
      WHEN u.username ~ '^group_[0-9]+_bot' THEN 'group'
      ELSE 'other'
    END
"""

BY_NAMESPACE = """
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Project'
      ) THEN 'project'
      WHEN EXISTS (
        SELECT
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.bot_namespace_id
        WHERE d.user_id = u.id AND n.type = 'Group'
      ) THEN 'group'
"""


def kind_expression(schema: Schema) -> str:
    """The kind of a token `t` of the owner `u` as SQL.

    GitLab gives its bots (`users.user_type` 6) to projects and groups alike: a membership tells which, as GitLab itself
    looks first for a project and then for a group; without one the namespace that GitLab 17.6 and later remembers, and
    last the name. The token's own copy of `user_type` is not asked: older rows lack it.
    """
    by_namespace = BY_NAMESPACE.strip() if schema.has(USER_DETAILS, "bot_namespace_id") else ""
    return KIND_EXPRESSION.format(by_namespace=by_namespace)


def count_by_kind(connection: Connection, statement: str, **parameters: object) -> list[Any]:
    """The rows of a statement that counts tokens by kind, and reads every one of them for that."""
    with connection.grouping():
        return connection.rows(once(statement), **parameters)


def once(statement: str) -> str:
    """`statement` with TODAY worked out once and not for each row, which takes longer than to read the row.

    The day is nothing that PostgreSQL plans with then: it expects few rows between two of them.
    """
    return statement.replace(TODAY, f"(SELECT {TODAY})")

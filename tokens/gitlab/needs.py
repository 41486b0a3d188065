"""The columns of GitLab's tables that each kind of task reads and writes, and those that a release may lack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tokens.gitlab.notices import FLAGS, TIMES
from tokens.gitlab.schema import (
    BACKGROUND_MIGRATIONS,
    GRANULAR_SCOPES,
    LAST_USED_IPS,
    MEMBERS,
    MIGRATIONS,
    NAMESPACES,
    PROJECTS,
    ROUTES,
    SETTINGS,
    TOKENS,
    USER_DETAILS,
    USERS,
)

# What a statement leaves out where it is absent: not every release from 16.0 on has it, or GitLab is about to drop it.
OPTIONAL = {
    BACKGROUND_MIGRATIONS: ("id", "job_class_name", "table_name", "column_name", "started_at", "finished_at"),
    GRANULAR_SCOPES: ("id", "organization_id", "personal_access_token_id", "granular_scope_id"),
    LAST_USED_IPS: ("id", "personal_access_token_id", "ip_address"),
    MIGRATIONS: ("version",),
    SETTINGS: (
        "id",
        "allow_runner_registration_token",
        "disable_personal_access_tokens",
        "maintenance_mode",
        "max_personal_access_token_lifetime",
        "personal_access_token_prefix",
        "personal_access_token_settings",
        "require_personal_access_token_expiry",
        "resource_access_tokens_settings",
        "service_access_tokens_expiration_enforced",
        "token_prefixes",
    ),
    TOKENS: (
        *FLAGS,
        *TIMES,
        "description",
        "granular",
        "group_id",
        "organization_id",
        "previous_personal_access_token_id",
        "sudo",
        "user_type",
    ),
    USER_DETAILS: ("bot_namespace_id", "enterprise_group_id", "provisioned_by_project_id"),
    USERS: ("organization_id",),
}


class Privilege(NamedTuple):
    """What PostgreSQL may grant on one column, or on the sequence `table`, which has no column."""

    privilege: str
    table: str
    column: str


@dataclass(frozen=True)
class Needs:
    """The columns that a task reads and writes, by table; those that a release of GitLab lacks do not count.

    `inserts` are the columns that it fills in new rows, whose ids come from the table's sequence.
    """

    reads: Mapping[str, tuple[str, ...]]
    writes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inserts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def privileges(self) -> list[Privilege]:
        """The same, column by column."""
        by_privilege = {"SELECT": self.reads, "UPDATE": self.writes, "INSERT": self.inserts}
        on_columns = [
            Privilege(privilege, table, column)
            for privilege, tables in by_privilege.items()
            for table, columns in tables.items()
            for column in columns
        ]
        return on_columns + [Privilege("USAGE", f"{table}_id_seq", "") for table in self.inserts]


ANALYZE = Needs(
    reads={
        TOKENS: ("expires_at",),
        BACKGROUND_MIGRATIONS: ("id", "job_class_name", "table_name", "column_name", "started_at", "finished_at"),
    }
)
CHANGE = Needs(
    reads={
        **ANALYZE.reads,
        TOKENS: (
            "id",
            "user_id",
            "name",
            "revoked",
            "expires_at",
            "created_at",
            "updated_at",
            "scopes",
            "impersonation",
            "last_used_at",
            "previous_personal_access_token_id",
            *FLAGS,
            *TIMES,
        ),
        SETTINGS: (
            "id",
            "max_personal_access_token_lifetime",
            "require_personal_access_token_expiry",
            "service_access_tokens_expiration_enforced",
            "resource_access_tokens_settings",
            "maintenance_mode",
        ),
        MIGRATIONS: ("version",),
        USERS: ("id", "username", "user_type", "state"),
        USER_DETAILS: ("user_id", "bot_namespace_id", "provisioned_by_group_id", "provisioned_by_project_id"),
        MEMBERS: ("id", "user_id", "type", "source_type", "source_id", "requested_at", "expires_at", "access_level"),
        NAMESPACES: ("id", "type", "traversal_ids"),
        PROJECTS: ("id", "namespace_id", "project_namespace_id"),
        ROUTES: ("path", "source_type", "source_id", "namespace_id"),
    },
    writes={TOKENS: ("expires_at", *FLAGS, *TIMES), MEMBERS: ("expires_at",)},
)

# Of a token that is revoked, GitLab takes `updated_at` for the time of that.
REVOKE = Needs(reads=CHANGE.reads, writes={TOKENS: ("revoked", "updated_at")})

# What is shown of tokens and of those who look after them.
LIST = Needs(
    reads={
        **CHANGE.reads,
        TOKENS: (*CHANGE.reads[TOKENS], "description", "granular"),
        SETTINGS: (
            *CHANGE.reads[SETTINGS],
            "allow_runner_registration_token",
            "disable_personal_access_tokens",
            "personal_access_token_settings",
        ),
        LAST_USED_IPS: ("id", "personal_access_token_id", "ip_address"),
    }
)
# The columns about people are for those who may read their addresses.
LIST_ACCOUNTS = Needs(reads={**LIST.reads, USERS: (*LIST.reads[USERS], "email", "created_by_id")})

# A digest is compared with that of a token that somebody has, and never read.
WHOSE = Needs(
    reads={
        **LIST.reads,
        TOKENS: (*LIST.reads[TOKENS], "token_digest"),
        SETTINGS: (*LIST.reads[SETTINGS], "personal_access_token_prefix", "token_prefixes"),
    }
)

# Digests are written and never read.
ROTATE = Needs(
    reads={
        **CHANGE.reads,
        TOKENS: (
            *CHANGE.reads[TOKENS],
            "description",
            "organization_id",
            "group_id",
            "granular",
            "sudo",
        ),
        SETTINGS: (
            *CHANGE.reads[SETTINGS],
            "disable_personal_access_tokens",
            "personal_access_token_prefix",
            "personal_access_token_settings",
            "token_prefixes",
        ),
        USERS: (*CHANGE.reads[USERS], "admin", "organization_id"),
        USER_DETAILS: (*CHANGE.reads[USER_DETAILS], "enterprise_group_id"),
        GRANULAR_SCOPES: ("id", "organization_id", "personal_access_token_id", "granular_scope_id"),
    },
    writes={TOKENS: ("revoked", "updated_at", "expires_at"), MEMBERS: ("expires_at",)},
    inserts={
        TOKENS: (
            "user_id",
            "name",
            "description",
            "scopes",
            "impersonation",
            "organization_id",
            "group_id",
            "granular",
            "sudo",
            "user_type",
            "expires_at",
            "token_digest",
            "previous_personal_access_token_id",
            "created_at",
            "updated_at",
        ),
        GRANULAR_SCOPES: ("organization_id", "personal_access_token_id", "granular_scope_id"),
    },
)

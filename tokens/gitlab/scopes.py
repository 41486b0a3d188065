"""The scopes of tokens: those that tokens have here, and the words that GitLab has had for them."""

import string

from tokens.database import Connection

# Up to GitLab 19.5. Nothing is refused for not being among them: the next release may have another one.
KNOWN = frozenset(
    {
        "admin_mode",
        "ai_features",
        "ai_workflows",
        "api",
        "create_runner",
        "granular",
        "k8s_proxy",
        "manage_runner",
        "mcp",
        "read_api",
        "read_observability",
        "read_registry",
        "read_repository",
        "read_service_ping",
        "read_user",
        "read_virtual_registry",
        "self_rotate",
        "sudo",
        "write_observability",
        "write_registry",
        "write_repository",
        "write_virtual_registry",
    }
)

OF_ADMINISTRATORS = frozenset({"admin_mode", "read_service_ping", "sudo"})
"""Those that GitLab gives to tokens of administrators alone (ADMIN_SCOPES of its `Gitlab::Auth`)."""

DEFAULT = "api"
"""What GitLab takes an empty list for."""

# A list as Rails writes it as YAML, an item a line: `- api`, `- :api`, `- "api"`; or in one line: `[api, sudo]`. GitLab
# takes an empty one for `api`.
SCOPE_ITEM = (
    r"""(?n)^[ \t]*-[ \t]+:?({scope}|"{scope}"|'{scope}')[ \t\r]*$"""
    r"""|^(---)?[ \t]*\[([^]]*,)?[ \t]*:?({scope}|"{scope}"|'{scope}')[ \t]*[],]"""
)
EMPTY_SCOPES = r"^\s*(---)?\s*(\[\s*\])?\s*$"

# Millions of tokens have a few hundred lists of scopes, so the lists are taken apart and not the tokens' own.
USED = r"""
    SELECT DISTINCT item[1] AS scope
    FROM (SELECT DISTINCT t.scopes FROM public.personal_access_tokens t) lists
    CROSS JOIN LATERAL regexp_matches(lists.scopes, '(?n)^[ \t]*-[ \t]+:?["'']?([^"''\s]+)["'']?[ \t\r]*$', 'g') AS item
"""


def used_scopes(connection: Connection) -> frozenset[str]:
    """Every scope that some token has; reads the scopes of every token."""
    return frozenset(row.scope for row in connection.rows(USED))


def has_scope(scope: str) -> str:
    """SQL: whether a token `t` has this scope, one of GitLab's own words; an empty list counts as `api`."""
    item = scope_item(scope).replace("'", "''")
    empty = f" OR t.scopes ~ '{EMPTY_SCOPES}'" if scope == DEFAULT else ""
    return f"(t.scopes ~ '{item}'{empty})"


def scope_item(scope: str) -> str:
    """A regular expression of PostgreSQL that finds a scope, any text, among the `scopes` of a token."""
    special = string.punctuation.replace("_", "")
    escaped = "".join(f"\\{character}" if character in special else character for character in scope)
    return SCOPE_ITEM.format(scope=escaped)

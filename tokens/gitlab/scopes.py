"""The scopes of tokens: those that tokens have here, and the words that GitLab has had for them."""

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

# Millions of tokens have a few hundred lists of scopes, so the lists are taken apart and not the tokens' own.
USED = r"""
    SELECT DISTINCT item[1] AS scope
    FROM (SELECT DISTINCT t.scopes FROM public.personal_access_tokens t) lists
    CROSS JOIN LATERAL regexp_matches(lists.scopes, '(?n)^[ \t]*-[ \t]+:?["'']?([^"''\s]+)["'']?[ \t\r]*$', 'g') AS item
"""


def used_scopes(connection: Connection) -> frozenset[str]:
    """Every scope that some token has; reads the scopes of every token."""
    return frozenset(row.scope for row in connection.rows(USED))

"""Whose a token is, and whom GitLab mails about it: SQL over a token `t`, its owner `u`, and a bot's place.

GitLab gives a project or group access token to a bot of its own, which is a member of that project or group. People and
service accounts own their tokens themselves.
"""

from tokens.gitlab.schema import USER_DETAILS, Schema

# Most bots have one membership. Of several GitLab takes the project with the least id, else such a group
# (resource_bot_resource: projects.first || groups.first).
FIRST_PLACE = "m.source_type = 'Project' DESC, m.source_id"
"""SQL for ORDER BY: which of a bot's memberships `m` comes first."""

PLACE = f"""
    LEFT JOIN LATERAL (
      SELECT m.source_type, m.source_id, r.path
      FROM public.members m
      LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
      WHERE u.user_type = 6 AND m.user_id = u.id AND m.requested_at IS NULL
      ORDER BY {FIRST_PLACE}
      LIMIT 1
    ) place ON true
"""  # noqa: S608 - a constant

# What GitLab 17.6 and later remembers of a bot that has lost its membership.
REMEMBERED = """(
      SELECT r.path
      FROM public.user_details d
      JOIN public.routes r ON r.namespace_id = d.bot_namespace_id
      WHERE d.user_id = u.id
    )"""

# Since 17.7 GitLab mails those who inherit the role, too, where it is set so
# (namespace_settings.resource_access_token_notify_inherited), which is not looked at.
TOLD = """
      FROM public.members looking_after
      JOIN public.users person ON person.id = looking_after.user_id
      WHERE looking_after.source_type = place.source_type
        AND looking_after.source_id = place.source_id
        AND looking_after.requested_at IS NULL
        AND {role}
        AND COALESCE(person.user_type, 0) = 0
        AND person.state = 'active'
"""

ROLE = "looking_after.access_level {compared} CASE place.source_type WHEN 'Project' THEN 40 ELSE 50 END"
BOTS_SINCE = (16, 4)
OWNERS_OF_PROJECTS_SINCE = (17, 2)

# GitLab mails nobody about impersonation tokens and service accounts either, nor where `revoked` is NULL.
NOBODY_TOLD = """
      CASE
        WHEN t.impersonation OR t.revoked IS NULL THEN true
        WHEN COALESCE(u.user_type, 0) = 0 THEN u.state IS DISTINCT FROM 'active'
        WHEN u.user_type = 6 THEN NOT EXISTS (SELECT{told})
        ELSE true
      END
"""


def told(release: tuple[int, int] | None) -> str:
    """SQL, FROM and WHERE: each `person` whom GitLab mails about a bot that has a `place`.

    Those are the Maintainers and Owners of a project itself, and of a group the Owners. Before GitLab 17.2 it left out
    the Owners of projects, and before 16.4 it mailed nobody. `release` is the least that it can be; where nothing is
    known of it, the newest rule counts.
    """
    if release is not None and release < BOTS_SINCE:
        role = "false"
    else:
        role = ROLE.format(compared="=" if release is not None and release < OWNERS_OF_PROJECTS_SINCE else ">=")
    return TOLD.format(role=role).rstrip()


def nobody_told(release: tuple[int, int] | None) -> str:
    """SQL: whether GitLab mails nobody about a token `t` of `u`, who has a `place`; `release` as for `told`."""
    return NOBODY_TOLD.format(told=told(release)).strip()


def username_shown(user: str) -> str:
    """SQL: what the user with this alias is called where a name must be, since GitLab lets a username be NULL."""
    return f"COALESCE(CAST({user}.username AS text), 'user ' || {user}.id)"


def owner_shown(schema: Schema) -> str:
    """SQL: a bot's project or group by its full path, anybody else's username; NULL for a bot that has no place."""
    remembered = f", {REMEMBERED}" if schema.has(USER_DETAILS, "bot_namespace_id") else ""
    return f"CASE WHEN u.user_type = 6 THEN COALESCE(place.path{remembered}) ELSE u.username END"

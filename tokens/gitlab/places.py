"""Whose tokens belong to the users, groups and projects that somebody names."""

from collections.abc import Sequence

from tokens.gitlab.condition import Condition, Terms
from tokens.gitlab.schema import USER_DETAILS, Schema

NAMED_USERS = """
    SELECT owner.id
    FROM public.users owner
    WHERE lower(owner.username) IN (SELECT lower(name) FROM unnest({users}) AS named (name))
"""

# What lies below a group has all of the group's traversal_ids: @> finds it by an index. The ids in them are not of the
# same integer type as an id in every release, which ANY does not mind; it keeps out what @> finds for empty ones.
NAMED_PLACES = """
    WITH named_groups AS MATERIALIZED (
      SELECT n.id, n.traversal_ids
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest({groups}) AS named (path))
    ),
    chosen_groups AS MATERIALIZED (
      SELECT id
      FROM named_groups
      UNION
      SELECT below.id
      FROM named_groups g
      JOIN public.namespaces below
        ON below.traversal_ids @> g.traversal_ids AND g.id = ANY (below.traversal_ids) AND below.type = 'Group'
    ),
    chosen_projects AS MATERIALIZED (
      SELECT p.id, p.project_namespace_id
      FROM public.projects p
      WHERE p.namespace_id IN (SELECT id FROM chosen_groups)
      UNION
      SELECT p.id, p.project_namespace_id
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project'
        AND lower(r.path) IN (SELECT lower(path) FROM unnest({projects}) AS named (path))
    ),
    bots_without_membership AS MATERIALIZED (
      SELECT bot.id, bot.username, {bot_namespace_id} AS namespace_id
      FROM public.users bot
      LEFT JOIN public.user_details d ON d.user_id = bot.id
      WHERE bot.user_type = 6
        AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = bot.id AND m.requested_at IS NULL)
    )
"""

OWNERS_IN_PLACES = (
    """
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Project'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_projects)
    """,
    """
    SELECT m.user_id
    FROM public.members m
    JOIN public.users bot ON bot.id = m.user_id AND bot.user_type = 6
    WHERE m.source_type = 'Namespace'
      AND m.requested_at IS NULL
      AND m.source_id IN (SELECT id FROM chosen_groups)
    """,
    """
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IN (SELECT project_namespace_id FROM chosen_projects UNION ALL SELECT id FROM chosen_groups)
    """,
    # An id in a name may have more digits than an id can have, so they are compared as text.
    """
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^project_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_projects)
    """,
    """
    SELECT id
    FROM bots_without_membership
    WHERE namespace_id IS NULL
      AND substring(username FROM '^group_([0-9]+)_bot') IN (SELECT CAST(id AS text) FROM chosen_groups)
    """,
)

CHOSEN_PLACES = """
    SELECT 'Namespace' AS source_type, id
    FROM chosen_groups
    UNION ALL
    SELECT 'Project', id
    FROM chosen_projects
"""

PROVISIONED = """
    SELECT d.user_id
    FROM public.user_details d
    JOIN public.users account ON account.id = d.user_id AND account.user_type = 13
    WHERE d.{column} IN (SELECT id FROM {places})
"""
PROVISIONED_BY = {"provisioned_by_group_id": "chosen_groups", "provisioned_by_project_id": "chosen_projects"}


def owners(
    schema: Schema, terms: Terms, *, users: Sequence[str], groups: Sequence[str], projects: Sequence[str]
) -> str:
    """A sub-select of user ids, which runs once and not for each token; something must be named."""
    selects = []
    if users:
        selects.append(NAMED_USERS.format(users=terms.value("users", list(users), "text[]")))
    if groups or projects:
        found = list(OWNERS_IN_PLACES)
        for column, provisioning in PROVISIONED_BY.items():
            if schema.has(USER_DETAILS, column):
                found.append(PROVISIONED.format(column=column, places=provisioning))
        selects.append(f"({_named(schema, terms, groups, projects).rstrip()}\n    {_union(found)})")
    return _union(selects)


def chosen(schema: Schema, groups: Sequence[str], projects: Sequence[str]) -> Condition:
    """The statement for the groups and projects that are named, and all below them: `source_type` and `id`."""
    terms = Terms()
    return Condition(f"{_named(schema, terms, groups, projects).rstrip()}{CHOSEN_PLACES}", terms.parameters)


def _named(schema: Schema, terms: Terms, groups: Sequence[str], projects: Sequence[str]) -> str:
    knows_namespace = schema.has(USER_DETAILS, "bot_namespace_id")
    return NAMED_PLACES.format(
        groups=terms.value("groups", list(groups), "text[]"),
        projects=terms.value("projects", list(projects), "text[]"),
        bot_namespace_id="d.bot_namespace_id" if knows_namespace else "CAST(NULL AS bigint)",
    )


def _union(selects: Sequence[str]) -> str:
    return "\n    UNION ALL\n    ".join(select.strip() for select in selects)

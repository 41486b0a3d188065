"""People's tokens in a service account's hands: what a person should know before that, and the guards against it."""

from collections.abc import Iterator, Sequence

from tokens.counts import counted, first_few
from tokens.database import Connection
from tokens.gitlab.kind import TODAY
from tokens.rotation.new_owner import ACTIVE, OwnerAccount
from tokens.rotation.obstacles import Standing

ADMINISTRATOR = "administrator"
"""The guard of an administrator's account in place of a person who is none: the new token may do more than the old."""

NO_MEMBERSHIP = "no-membership"
"""The guard of an account that is a member of nothing: what works with the old tokens would stop at once."""

MOST_NAMED = 8  # lines of a terminal: the projects and groups where an account is no member
ROLES = {
    5: "Minimal Access",
    10: "Guest",
    15: "Planner",
    20: "Reporter",
    30: "Developer",
    40: "Maintainer",
    50: "Owner",
}

# A membership in a group counts for what is below it. That a group is invited somewhere is not looked at.
WHERE_NO_MEMBER = f"""
    SELECT
      r.path, max(m.access_level) AS access_level, string_agg(DISTINCT person.username, ', ') AS people,
      count(*) OVER () AS places
    FROM public.members m
    JOIN public.users person ON person.id = m.user_id
    JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
    LEFT JOIN public.projects p ON m.source_type = 'Project' AND p.id = m.source_id
    LEFT JOIN public.namespaces n ON n.id = COALESCE(p.namespace_id, m.source_id)
    WHERE m.user_id = ANY(CAST(%(people)s AS bigint[]))
      AND m.requested_at IS NULL
      AND (m.expires_at IS NULL OR m.expires_at > {TODAY})
      AND NOT EXISTS (
        SELECT
        FROM public.members own
        WHERE own.user_id = %(account)s
          AND own.requested_at IS NULL
          AND (own.expires_at IS NULL OR own.expires_at > {TODAY})
          AND own.access_level >= m.access_level
          AND (
            own.source_type = m.source_type AND own.source_id = m.source_id
            OR own.source_type = 'Namespace' AND (own.source_id = n.id OR own.source_id = ANY (n.traversal_ids))
          )
      )
    GROUP BY r.path
    ORDER BY r.path
    LIMIT {MOST_NAMED}
"""  # noqa: S608 - a constant

IS_MEMBER = f"""
    SELECT EXISTS (
      SELECT
      FROM public.members m
      WHERE m.user_id = %(account)s AND m.requested_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > {TODAY})
    ) AS found
"""  # noqa: S608 - a constant


def notes(
    connection: Connection, account: OwnerAccount, standings: Sequence[Standing], *, grace: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a person should know before these tokens' successors become the account's, and the guards against it."""
    people = {one.user_id: one for one in standings}
    found = [*_on_roles(account, list(people.values())), *_on_people(list(people.values()), grace=grace)]
    guards = [ADMINISTRATOR] if account.admin and not all(one.admin for one in people.values()) else []
    if not account.admin:
        is_member = connection.row(IS_MEMBER, account=account.id).found
        if not is_member:
            found.append(
                f"{account.username} is a member of no project and no group, so a new token reaches what is public "
                f"alone: what works with the old one stops {'when the grace ends' if grace else 'at once'}."
            )
            guards += [] if grace else [NO_MEMBERSHIP]
        found += _on_memberships(connection, account, list(people))
    found.append(
        "GitLab gets no record of what replaces what, since a person who has an old token could make it revoke the new "
        "one. The journal has that record."
    )
    return tuple(found), tuple(guards)


def _on_roles(account: OwnerAccount, people: Sequence[Standing]) -> Iterator[str]:
    admins = [str(one.username) for one in people if one.admin]
    others = [str(one.username) for one in people if not one.admin]
    if admins and not account.admin:
        are = "is an administrator" if len(admins) == 1 else "are administrators"
        yield f"{_named(admins)} {are}, and {account.username} is not: what takes one fails with the new tokens."
    if others and account.admin:
        yield (
            f"{account.username} is an administrator, and {_named(others)} {_are(others)} not: a new token may do more "
            "than the old one."
        )


def _on_people(people: Sequence[Standing], *, grace: bool) -> Iterator[str]:
    blocked = [str(one.username) for one in people if one.state != ACTIVE]
    working = [str(one.username) for one in people if one.state == ACTIVE]
    if blocked:
        yield (
            f"{_named(blocked)} {_are(blocked)} not active, so nothing works with the old tokens now. With the "
            "new ones it does again."
        )
    if working and grace:
        yield f"Until the grace ends {_named(working)} can use the old tokens, too."


def _on_memberships(connection: Connection, account: OwnerAccount, people: Sequence[int]) -> Iterator[str]:
    found = connection.rows(WHERE_NO_MEMBER, people=list(people), account=account.id)
    name = account.username
    yield (
        f"The new tokens reach what {name} is a member of, and no membership is added. Where the old ones work is not "
        "known here: used --log shows some of it."
    )
    if not found:
        return
    places = found[0].places
    listed = [f"{row.path} ({row.people}: {ROLES.get(row.access_level, row.access_level)})" for row in found]
    yield (
        f"{name} is no member, or has a lower role, in {counted(places, 'project or group', 'projects and groups')}: "
        f"{first_few(listed, len(listed), places)}."
    )
    made_by = account.by_project or account.top_group
    outside = made_by and [row.path for row in found if not f"{row.path}/".startswith(f"{made_by}/")]
    if outside:
        yield (
            f"{name} was made by {account.by_project or account.by_group}, and GitLab may not let it become a member "
            f"elsewhere, as in {outside[0]}: a service account of the instance can be one anywhere."
        )


def _named(names: Sequence[str]) -> str:
    return first_few(sorted(names), MOST_NAMED)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"

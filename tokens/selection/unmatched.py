"""What a selection names that is not there, and why it selects nothing."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tokens.database import Connection, array_literal
from tokens.errors import UsageError
from tokens.gitlab.schema import (
    MEMBERS,
    NAMESPACES,
    PROJECTS,
    ROUTES,
    USER_DETAILS,
    USERS,
    Schema,
    read_schema,
)
from tokens.gitlab.scopes import KNOWN, used_scopes
from tokens.gitlab.settings import read_policy
from tokens.selection import EVERYTHING, Selection, described
from tokens.spelling import meant

USERS_NAMED = """
    SELECT named.name, count(owner.id) AS found
    FROM unnest(CAST(%(names)s AS text[])) AS named (name)
    LEFT JOIN public.users owner ON lower(owner.username) = lower(named.name)
    GROUP BY named.name
    HAVING count(owner.id) <> 1
    ORDER BY named.name
"""

GROUPS_MISSING = """
    SELECT named.path AS name
    FROM unnest(CAST(%(names)s AS text[])) AS named (path)
    WHERE NOT EXISTS (
      SELECT
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace' AND lower(r.path) = lower(named.path)
    )
    ORDER BY named.path
"""

EXISTING_IDS = """
    SELECT t.id
    FROM public.personal_access_tokens t
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
"""

IS_FULFILLED = """
    SELECT EXISTS (
      SELECT
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
    ) AS found
"""

PROJECTS_MISSING = """
    SELECT named.path AS name
    FROM unnest(CAST(%(names)s AS text[])) AS named (path)
    WHERE NOT EXISTS (
      SELECT
      FROM public.routes r
      JOIN public.projects p ON p.id = r.source_id
      WHERE r.source_type = 'Project' AND lower(r.path) = lower(named.path)
    )
    ORDER BY named.path
"""

LEFT_OUT_BY = "All tokens that fulfil the other options are left out by their"

# Names about as long as the one that was typed, with the same beginning or end; the nearest of them is chosen here.
NAMES_LIKE = """
    SELECT named.name
    FROM ({names}) named
    WHERE abs(length(named.name) - length(%(name)s)) <= 2
      AND (
        lower(left(named.name, 2)) = lower(left(%(name)s, 2))
        OR lower(right(named.name, 2)) = lower(right(%(name)s, 2))
      )
    ORDER BY named.name
    LIMIT 10000
"""

# A path that is typed by its last words, or not to its end, means one that has them.
PATHS_WITH = """
    SELECT named.name
    FROM ({names}) named
    WHERE right(lower(named.name), length(%(name)s) + 1) = '/' || lower(%(name)s)
      OR starts_with(lower(named.name), lower(%(name)s))
    ORDER BY starts_with(lower(named.name), lower(%(name)s)), length(named.name), named.name
    LIMIT 10
"""

USERNAMES = "SELECT u.username AS name FROM public.users u"
GROUP_PATHS = """
      SELECT r.path AS name
      FROM public.routes r
      JOIN public.namespaces n ON n.id = r.source_id AND n.type = 'Group'
      WHERE r.source_type = 'Namespace'
    """
PROJECT_PATHS = "SELECT r.path AS name FROM public.routes r WHERE r.source_type = 'Project'"

# Bots of projects and groups have usernames that nobody types.
NAMES_BEGINNING = """
    SELECT named.name
    FROM ({names}) named
    WHERE starts_with(named.name, %(begun)s)
    ORDER BY named.name
    LIMIT 100
"""
NAMES = {
    "users": f"{USERNAMES} WHERE u.user_type IS DISTINCT FROM 6",
    "service accounts": f"{USERNAMES} WHERE u.user_type = 13",
    "groups": GROUP_PATHS,
    "projects": PROJECT_PATHS,
}

# One after the other, those first that are looked up quickly; an owner or a place is enough.
SINGLE_CRITERIA = (
    ("ids",),
    ("users", "groups", "projects"),
    ("owner_states",),
    ("no_membership",),
    ("beyond_maximum",),
    ("never_used",),
    ("expires",),
    ("created_before",),
    ("created_after",),
    ("last_used_before",),
    ("last_used_after",),
    ("scopes",),
    ("name",),
)


def names_beginning(connection: Connection, what: str, begun: str) -> list[str]:
    """The first hundred names of these `users`, `service accounts`, `groups` or `projects` that begin so, in order.

    Raises:
        Refused: a table is somebody else's.
    """
    schema = read_schema(connection)
    if not all(schema.has(table) for table in (USERS, NAMESPACES, PROJECTS, ROUTES)):
        return []
    return [row.name for row in connection.rows(NAMES_BEGINNING.format(names=NAMES[what]), begun=begun)]


def near_service_account(connection: Connection, typed: str) -> str:
    """The service account that may be meant by a name that none has, as the end of a message; empty where none is."""
    return _near(connection, NAMES["service accounts"], typed)


def check_names(connection: Connection, schema: Schema, selection: Selection) -> None:
    """Refuse a selection by the name of a user, group or project that is not there.

    Raises:
        UsageError: names them, and usernames that more than one user has.
    """
    faults = []
    if selection.users:
        for row in connection.rows(USERS_NAMED, names=_distinct(selection.users)):
            faults.append(f"{row.found} users" if row.found else "no user")
            faults[-1] += f' "{row.name}"{"" if row.found else _near(connection, USERNAMES, row.name)}'
    if selection.groups or selection.projects:
        if not all(schema.has(table) for table in (ROUTES, NAMESPACES, PROJECTS, MEMBERS, USER_DETAILS)):
            raise UsageError(
                "This database lacks GitLab's tables of groups and projects; leave --group and --project out."
            )
        for row in connection.rows(GROUPS_MISSING, names=_distinct(selection.groups)):
            faults.append(f'no group "{row.name}"{_near(connection, GROUP_PATHS, row.name)}')
        for row in connection.rows(PROJECTS_MISSING, names=_distinct(selection.projects)):
            faults.append(f'no project "{row.name}"{_near(connection, PROJECT_PATHS, row.name)}')
    if faults:
        raise UsageError(
            f"This GitLab has {', '.join(faults)}; give usernames, and full paths such as group/subgroup/project."
        )


def _near(connection: Connection, names: str, typed: str) -> str:
    """What may be meant by a name that is not among `names`, a statement."""
    if names in (GROUP_PATHS, PROJECT_PATHS):
        for row in connection.rows(PATHS_WITH.format(names=names), name=typed):
            if row.name.isprintable():
                return f' (did you mean "{row.name}"?)'
    found = [row.name for row in connection.rows(NAMES_LIKE.format(names=names), name=typed)]
    return meant(typed, filter(str.isprintable, found))


def check_scopes(connection: Connection, selection: Selection) -> None:
    """Refuse a selection by a scope that no token has and that GitLab has never had; for one that selects nothing.

    Raises:
        UsageError: names it and what may be meant.
    """
    if not selection.scopes:
        return
    used = used_scopes(connection)
    for scope in selection.scopes:
        if scope not in used | KNOWN:
            near = difflib.get_close_matches(scope.lower(), sorted(used | KNOWN), n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"those in use are {', '.join(sorted(used))}."
            raise UsageError(f'No token has the scope "{scope}", and GitLab has none of that name; {hint}')


def ids_without_effect(
    connection: Connection, selection: Selection, chosen: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Of the ids that a selection names but that are not `chosen`: those that no token has, and the other ones."""
    if selection.ids is None:
        return [], []
    rest = sorted(set(selection.ids).difference(chosen))
    if not rest:
        return [], []
    existing = {row.id for row in connection.rows(EXISTING_IDS, ids=array_literal(rest))}
    return [one for one in rest if one not in existing], [one for one in rest if one in existing]


def why_nothing(connection: Connection, schema: Schema, selection: Selection, *, left_out: bool) -> str:
    """Why a selection selects nothing, in a sentence.

    `left_out` is whether there are tokens that fulfil it, kind and state apart. Raises what `check_scopes` raises.
    """
    check_scopes(connection, selection)
    if left_out:
        return f"{LEFT_OUT_BY} kind or state."
    return _first_unfulfilled(connection, schema, selection)


def why_none(connection: Connection, schema: Schema, selection: Selection) -> str | None:
    """The same; None where a token fulfils it, kind and state apart, or where nothing else is named."""
    condition = selection.scope(schema)
    if condition == EVERYTHING.scope(schema):
        return None
    if connection.row(IS_FULFILLED.format(condition=condition.sql), **condition.parameters).found:
        return None
    return why_nothing(connection, schema, selection, left_out=False)


def _first_unfulfilled(connection: Connection, schema: Schema, selection: Selection) -> str:
    """The first criterion that no token fulfils, kind and state apart, in a sentence."""
    if selection.beyond_maximum and read_policy(connection, schema).maximum_lifetime is None:
        return "This instance sets no maximum lifetime, so no date is beyond it: leave --beyond-maximum out."
    for names in SINGLE_CRITERIA:
        alone = replace(EVERYTHING, **{name: getattr(selection, name) for name in names})
        if alone == EVERYTHING:
            continue
        condition = alone.condition(schema)
        if not connection.row(IS_FULFILLED.format(condition=condition.sql), **condition.parameters).found:
            return f"No token fulfils this, with any other options: {_without_kind_and_state(alone)}."
    if selection.scope(schema) == EVERYTHING.scope(schema):
        return "There is no token at all."
    return f"There are tokens for each of these, but none fulfils all of them: {_without_kind_and_state(selection)}."


def _without_kind_and_state(selection: Selection) -> str:
    return described({name: value for name, value in selection.as_dict().items() if name not in ("kind", "state")})


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))

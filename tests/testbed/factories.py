"""Rows of a GitLab database for tests: say what matters, the rest is filled in.

Every factory works on every release's tables: it looks up which columns exist, and a default for a column that the
release does not have is left away. A column that the test itself names must exist. All of them return ids.
"""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

ORGANIZATION = 1
CLEANUP = "CleanupPersonalAccessTokensWithNilExpiresAt"
"""GitLab 16.0: the background migration that gave every token without an expiration date one."""

SECRET = "s3cr3t-that-nothing-shows"
"""What stands in every column of a secret, but for access tokens'."""

_CREATED_AT = "2023-01-10 08:30:00"
_ACCESS_LEVEL = 40  # maintainer
_numbers = itertools.count(1)


def make_organization(connection: sa.Connection, **columns: Any) -> int | None:
    """GitLab's default organization, where the release has organizations."""
    if not _columns(connection, "organizations"):
        return None
    number = columns.setdefault("id", ORGANIZATION)
    found = connection.execute(sa.text("SELECT id FROM public.organizations WHERE id = :id"), {"id": number}).scalar()
    if found is not None:
        return int(found)
    defaults = {
        "name": "Default",
        "path": "default" if number == ORGANIZATION else f"organization-{number}",
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    return _insert(connection, "organizations", defaults, columns)


def make_user(connection: sa.Connection, **columns: Any) -> int:
    """A person, or what `user_type` says (6 bot of a project or group, 13 service account)."""
    number = next(_numbers)
    details = {
        name: columns.pop(name)
        for name in ("bot_namespace_id", "provisioned_by_group_id", "provisioned_by_project_id")
        if name in columns
    }
    username = columns.get("username", f"user{number}")
    defaults = {
        "username": username,
        "name": f"User {number}",
        "email": f"user{number}@example.com",
        "state": "active",
        "user_type": 0,
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
        "organization_id": make_organization(connection),
    }
    user = _insert(connection, "users", defaults, columns)
    if details:
        make_user_details(connection, user_id=user, **details)
    return user


def make_user_details(connection: sa.Connection, **columns: Any) -> int:
    return _insert(connection, "user_details", {}, columns, returning="user_id")


def make_group(connection: sa.Connection, **columns: Any) -> int:
    """A group with its route; `parent_id` makes it a subgroup."""
    number = next(_numbers)
    path = str(columns.get("path", f"group{number}"))
    parent_id = columns.get("parent_id")
    defaults = {
        "name": columns.get("name", f"Group {number}"),
        "path": path,
        "type": "Group",
        "organization_id": make_organization(connection),
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    group = _insert(connection, "namespaces", defaults, columns)
    _complete_namespace(connection, group, parent_id)
    _make_route(connection, "Namespace", group, group, parent_id, path, str(defaults["name"]))
    return group


def make_project(connection: sa.Connection, **columns: Any) -> int:
    """A project with its project namespace and its route, in `namespace_id` or a group of its own."""
    number = next(_numbers)
    group = columns.pop("namespace_id", None) or make_group(connection)
    path = str(columns.get("path", f"project{number}"))
    name = str(columns.get("name", f"Project {number}"))
    organization = make_organization(connection)
    stamps = {"created_at": _CREATED_AT, "updated_at": _CREATED_AT, "organization_id": organization}
    namespace = columns.pop("project_namespace_id", None)
    if namespace is None:
        own = {"name": name, "path": path, "type": "Project", "parent_id": group, **stamps}
        namespace = _insert(connection, "namespaces", own, {})
        _complete_namespace(connection, namespace, group)
    defaults = {"name": name, "path": path, "namespace_id": group, "project_namespace_id": namespace, **stamps}
    project = _insert(connection, "projects", defaults, columns)
    _make_route(connection, "Project", project, namespace, group, path, name)
    return project


def make_membership(
    connection: sa.Connection,
    *,
    user_id: int,
    project_id: int | None = None,
    group_id: int | None = None,
    **columns: Any,
) -> int:
    """A membership in one project or one group; `expires_at` is a date, without it the membership stays."""
    if (project_id is None) == (group_id is None):
        raise ValueError("a membership is in one project or in one group")
    namespace = group_id
    if project_id is not None and "project_namespace_id" in _columns(connection, "projects"):
        statement = sa.text("SELECT project_namespace_id FROM public.projects WHERE id = :id")
        namespace = connection.execute(statement, {"id": project_id}).scalar()
    defaults = {
        "user_id": user_id,
        "access_level": _ACCESS_LEVEL,
        "source_id": group_id if project_id is None else project_id,
        "source_type": "Namespace" if project_id is None else "Project",
        "type": "GroupMember" if project_id is None else "ProjectMember",
        "notification_level": 3,
        "member_namespace_id": namespace,
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    return _insert(connection, "members", defaults, columns)


def make_token(
    connection: sa.Connection, *, expires_at: date | str | None = None, user_id: int | None = None, **columns: Any
) -> int:
    """A token of `user_id`, or of a person of its own, that never expires unless `expires_at` says when."""
    return make_tokens(connection, 1, expires_at=expires_at, user_id=user_id, **columns)[0]


def make_tokens(
    connection: sa.Connection,
    count: int,
    *,
    expires_at: date | str | None = None,
    user_id: int | None = None,
    **columns: Any,
) -> Sequence[int]:
    """`count` tokens that differ in name and digest only, in one statement; their ids in ascending order."""
    number = next(_numbers)
    defaults = {
        "user_id": make_user(connection) if user_id is None else user_id,
        "expires_at": expires_at,
        "scopes": "---\n- api\n",
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
        "organization_id": make_organization(connection),
    }
    existing = _columns(connection, "personal_access_tokens")
    values = {**{name: value for name, value in defaults.items() if name in existing}, **columns}
    generated = {
        # Random would do as well, but equal runs make equal databases.
        "token_digest": "encode(sha256(convert_to(:batch || ':' || number, 'UTF8')), 'base64')",
        "name": "'token ' || :batch || CASE WHEN number > 1 THEN '.' || number ELSE '' END",
    }
    made = {name: expression for name, expression in generated.items() if name not in values}
    targets = [*values, *made]
    expressions = [f"CAST(:v_{name} AS {existing[name]})" for name in values if name in existing] + list(made.values())
    _refuse_unknown("personal_access_tokens", values, existing)
    statement = f"""
        INSERT INTO public.personal_access_tokens ({", ".join(targets)})
        SELECT {", ".join(expressions)}
          FROM generate_series(1, :count) AS number
         ORDER BY number
        RETURNING id
    """
    parameters = {f"v_{name}": value for name, value in values.items()}
    rows = connection.execute(sa.text(statement), {**parameters, "batch": str(number), "count": count})
    return sorted(int(row[0]) for row in rows)


def make_deploy_token(
    connection: sa.Connection, *, project_id: int | None = None, group_id: int | None = None, **columns: Any
) -> int:
    """A deploy token of a project or a group, linked as the release does it; without `expires_at` it never expires."""
    defaults = {
        "name": f"deploy token {next(_numbers)}",
        "expires_at": "3000-01-01 00:00+00",
        "token_encrypted": SECRET,
        "created_at": _CREATED_AT,
        "project_id": project_id,
        "group_id": group_id,
    }
    token = _insert(connection, "deploy_tokens", defaults, columns)
    if "project_id" not in _columns(connection, "deploy_tokens"):
        table, place = ("project", project_id) if group_id is None else ("group", group_id)
        link = {f"{table}_id": place, "deploy_token_id": token}
        _insert(connection, f"{table}_deploy_tokens", link, {})
    return token


def make_ssh_key(connection: sa.Connection, *, user_id: int, **columns: Any) -> int:
    """An SSH key of a person."""
    number = next(_numbers)
    defaults = {"title": f"key {number}", "key": SECRET, "created_at": _CREATED_AT, "updated_at": _CREATED_AT}
    return _insert(connection, "keys", {**defaults, "user_id": user_id}, columns)


def make_deploy_key(connection: sa.Connection, *projects: int, **columns: Any) -> int:
    """A deploy key of these projects; `user_id` is who made it."""
    number = next(_numbers)
    defaults = {"title": f"deploy key {number}", "key": SECRET, "created_at": _CREATED_AT, "updated_at": _CREATED_AT}
    key = _insert(connection, "keys", {**defaults, "type": "DeployKey"}, columns)
    for project in projects:
        _insert(connection, "deploy_keys_projects", {"deploy_key_id": key, "project_id": project}, {})
    return key


def make_trigger(connection: sa.Connection, *, project_id: int, owner_id: int, **columns: Any) -> int:
    """A pipeline trigger token of a project, which acts as its owner."""
    defaults = {
        "project_id": project_id,
        "owner_id": owner_id,
        "token": f"{SECRET}{next(_numbers)}",
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    return _insert(connection, "ci_triggers", defaults, columns)


def make_runner(connection: sa.Connection, *projects: int, group_id: int | None = None, **columns: Any) -> int:
    """A runner of these projects, of a group, or of the whole instance."""
    kind = 3 if projects else 1 if group_id is None else 2
    place = projects[0] if projects else group_id
    defaults = {
        "runner_type": kind,
        "sharding_key_id": place,
        "token_encrypted": SECRET,
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    runner = _insert(connection, "ci_runners", defaults, columns)
    for project in projects:
        _insert(connection, "ci_runner_projects", {"runner_id": runner, "project_id": project}, {})
    if group_id is not None:
        _insert(connection, "ci_runner_namespaces", {"runner_id": runner, "namespace_id": group_id}, {})
    return runner


def make_secure_file(connection: sa.Connection, *, project_id: int, **columns: Any) -> int:
    """A certificate or another file that CI of a project keeps."""
    defaults = {
        "project_id": project_id,
        "name": f"file {next(_numbers)}",
        "file": "file",
        "checksum": "\\x00",
        "key_data": SECRET,
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    return _insert(connection, "ci_secure_files", defaults, columns)


def make_agent_token(connection: sa.Connection, *, project_id: int, **columns: Any) -> int:
    """A token of a cluster agent of its own; `status` 1 is revoked."""
    number = next(_numbers)
    stamps = {"created_at": _CREATED_AT, "updated_at": _CREATED_AT}
    agent = _insert(connection, "cluster_agents", {**stamps, "project_id": project_id, "name": f"agent {number}"}, {})
    defaults = {**stamps, "agent_id": agent, "name": f"agent token {number}", "token_encrypted": SECRET}
    return _insert(connection, "cluster_agent_tokens", defaults, columns)


def make_settings(connection: sa.Connection, **columns: Any) -> int:
    """A row of application_settings; the newest one is GitLab's current one."""
    return _insert(connection, "application_settings", {"created_at": _CREATED_AT, "updated_at": _CREATED_AT}, columns)


def make_migration_row(connection: sa.Connection, **columns: Any) -> int:
    """The row of GitLab 16.0's clean-up, finalized, as `gitlab:tokens:analyze` reports it."""
    defaults = {
        "job_class_name": CLEANUP,
        "table_name": "personal_access_tokens",
        "column_name": "id",
        "job_arguments": "[]",
        "min_value": 1,
        "max_value": 1000,
        "batch_size": 50_000,
        "sub_batch_size": 100,
        "interval": 120,
        "status": 6,
        "gitlab_schema": "gitlab_main",
        "started_at": "2023-06-15 10:20:35+00",
        "finished_at": "2023-06-15 10:23:01+00",
        "created_at": "2023-06-15 10:20:00+00",
        "updated_at": "2023-06-15 10:23:01+00",
        "total_tuple_count": 1000,
    }
    return _insert(connection, "batched_background_migrations", defaults, columns)


def make_updates_slow(connection: sa.Connection, *, seconds: float) -> None:
    """Let every changed token take its time, so that a statement's time grows with its rows, whatever the machine."""
    connection.execute(
        sa.text(f"""
            CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$
        """)
    )
    connection.execute(
        sa.text("""
            CREATE TRIGGER dawdle BEFORE UPDATE ON public.personal_access_tokens
            FOR EACH ROW EXECUTE FUNCTION dawdle()
        """)
    )


def _insert(
    connection: sa.Connection,
    table: str,
    defaults: Mapping[str, Any],
    columns: Mapping[str, Any],
    *,
    returning: str = "id",
) -> int:
    existing = _columns(connection, table)
    values = {**{name: value for name, value in defaults.items() if name in existing}, **columns}
    _refuse_unknown(table, values, existing)
    if not values:
        statement = f"INSERT INTO public.{table} DEFAULT VALUES RETURNING {returning}"
    else:
        names = ", ".join(f'"{name}"' for name in values)
        expressions = ", ".join(f"CAST(:v_{name} AS {existing[name]})" for name in values)
        statement = f"INSERT INTO public.{table} ({names}) VALUES ({expressions}) RETURNING {returning}"
    parameters = {f"v_{name}": value for name, value in values.items()}
    return int(connection.execute(sa.text(statement), parameters).scalar_one())


def _refuse_unknown(table: str, values: Mapping[str, Any], existing: Mapping[str, str]) -> None:
    if unknown := values.keys() - existing.keys():
        raise KeyError(f"{table} has no {', '.join(sorted(unknown))} in this release")


def _columns(connection: sa.Connection, table: str) -> dict[str, str]:
    """The table's columns and their types, empty where the release has no such table; remembered per connection."""
    known: dict[str, dict[str, str]] = connection.info.setdefault("columns of tables", {})
    if table not in known:
        statement = sa.text("""
            SELECT attname, format_type(atttypid, atttypmod)
              FROM pg_attribute
             WHERE attrelid = to_regclass('public.' || :table) AND attnum > 0 AND NOT attisdropped
        """)
        known[table] = {row[0]: row[1] for row in connection.execute(statement, {"table": table})}
    return known[table]


def _complete_namespace(connection: sa.Connection, namespace: int, parent_id: int | None) -> None:
    if "traversal_ids" not in _columns(connection, "namespaces"):
        return
    statement = sa.text("""
        UPDATE public.namespaces
           SET traversal_ids = COALESCE(
                 (SELECT traversal_ids FROM public.namespaces WHERE id = :parent), '{}') || CAST(:id AS bigint)
         WHERE id = :id AND traversal_ids = '{}'
    """)
    connection.execute(statement, {"id": namespace, "parent": parent_id})


def _make_route(
    connection: sa.Connection, kind: str, source: int, namespace: int, parent_id: int | None, path: str, name: str
) -> None:
    statement = sa.text("SELECT path, name FROM public.routes WHERE source_type = 'Namespace' AND source_id = :id")
    parent = connection.execute(statement, {"id": parent_id}).one_or_none()
    values = {
        "source_id": source,
        "source_type": kind,
        "path": path if parent is None else f"{parent[0]}/{path}",
        "name": name if parent is None else f"{parent[1]} / {name}",
        "namespace_id": namespace,
        "created_at": _CREATED_AT,
        "updated_at": _CREATED_AT,
    }
    _insert(connection, "routes", values, {})

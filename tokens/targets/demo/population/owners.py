"""Whose the tokens are: people, bots and service accounts, and the groups and projects to which they belong."""

# ruff: noqa: S608 - nothing that comes from outside gets into these statements

from tokens.targets.demo.population.numbering import UP_TO_FIVE_YEARS, Identifiers, one_of
from tokens.targets.demo.population.tables import Tables

SERVICE_ACCOUNT = "inventory"
"""The first service account, of which examples can speak."""

# fmt: off
_FIRST = (
    "Ada", "Björn", "Chiara", "Dmitri", "Élodie", "Fatima", "Göran", "Hanna", "İpek", "João", "Karin", "Łukasz", "Mei",
    "Noah", "Olena", "Priya", "Quentin", "Rosa", "Sven", "Tomáš", "Ulrike", "Víctor", "Wei", "Zoë",
)
_LAST = (
    "Almeida", "Bauer", "Çelik", "Dubois", "Eriksson", "Fischer", "García", "Hansen", "Ivanova", "Jansen", "Kowalski",
    "Lindqvist", "Müller", "Nováková", "O'Brien", "Petrov", "Rossi", "Schmidt", "王", "Öztürk",
)
_AREAS = ("platform", "payments", "search", "mobile", "data", "security", "web", "tools", "research", "support")
_WORKS = ("api", "gateway", "frontend", "worker", "charts", "docs", "ansible", "terraform", "sdk", "importer")
TOKEN_NAMES = (
    "ci", "deploy", "Renovate", "terraform state", "laptop", "backup job", "registry mirror", "Grafana", "jenkins",
    "k8s pull", "VS Code", "release bot", "Überwachung", "Sauvegarde été", "部署", "🚀 deploy", "migration 2019",
    "glab", "read only", 'sync "prod"',
)
"""A bot has the name of its token."""
# fmt: on
_STATE = """
    CASE WHEN n % 211 = 0 THEN 'banned'
         WHEN n % 101 = 0 THEN 'ldap_blocked'
         WHEN n % 23 = 0 THEN 'blocked'
         WHEN n % 19 = 0 THEN 'deactivated'
         ELSE 'active' END"""
# Which service accounts belong to a group or a project, and to which one.
_OF_A_GROUP, _GROUP = "n % 3 = 0", "n * 7"
_OF_A_PROJECT, _PROJECT = "n % 6 = 2", "n * 11"


def add_users(tables: Tables, ids: Identifiers) -> None:
    common = {**_made_after("2015-03-01 09:00"), "state": "'active'"}
    common["confirmed_at"] = common["created_at"]
    people = {
        **common,
        "id": "n",
        "username": "CASE n WHEN 1 THEN 'root' ELSE 'user' || n END",
        "name": f"""
            CASE n WHEN 1 THEN 'Administrator'
                   ELSE {one_of(_FIRST, "n * 7")} || ' ' || {one_of(_LAST, "n * 11 / 3")} END""",
        "email": "CASE n WHEN 1 THEN 'admin' ELSE 'user' || n END || '@example.com'",
        "state": _STATE,
        "admin": "n = 1 OR n % 97 = 0",
        "user_type": "0",
        "last_activity_on": "date '2024-06-01' - (n * 13 % 700)::integer",
    }
    tables.insert("users", people, f"FROM {ids.people.numbers}")
    for kind, bots, sources in (("project", ids.project_bots, ids.projects), ("group", ids.group_bots, ids.groups)):
        # Before GitLab 16 a bot was called after a counter, since then after random characters.
        suffix = f"CASE n % 5 WHEN 0 THEN '' ELSE '_' || md5('{kind} bot ' || n) END"
        username = f"'{kind}_' || {sources.nth()} || '_bot' || {suffix}"
        columns = {
            **common,
            "id": bots.nth(),
            "username": username,
            "name": one_of(TOKEN_NAMES, "n"),
            "email": f"{username} || '@noreply.gitlab.example.com'",
            "user_type": "6",
        }
        tables.insert("users", columns, f"FROM {bots.numbers}")
    accounts = {
        **common,
        "id": ids.service_accounts.nth(),
        "username": f"""
            CASE n WHEN 1 THEN '{SERVICE_ACCOUNT}'
                   ELSE 'service_account_'
                        || CASE WHEN {_OF_A_GROUP} THEN 'group_' || {ids.groups.choose(_GROUP)} || '_'
                                WHEN {_OF_A_PROJECT} THEN 'project_' || {ids.projects.choose(_PROJECT)} || '_'
                                ELSE '' END
                        || md5('service ' || n) END""",
        "name": f"CASE n WHEN 1 THEN 'Inventory' ELSE 'Service account ' || {one_of(_WORKS, 'n')} || ' ' || n END",
        "email": "'service_account_' || md5('service ' || n) || '@noreply.gitlab.example.com'",
        "user_type": "13",
    }
    tables.insert("users", accounts, f"FROM {ids.service_accounts.numbers}")


def add_namespaces(tables: Tables, ids: Identifiers) -> None:
    """The people's own, the groups' and the projects', all with their routes; and the projects themselves."""
    own = {
        "id": "id",
        "name": "name",
        "path": "username",
        "type": "'User'",
        "owner_id": "id",
        "organization_id": "1",
        "traversal_ids": "ARRAY[id]",
        "created_at": "created_at",
        "updated_at": "updated_at",
    }
    tables.insert("namespaces", own, f"FROM users WHERE id <= {ids.people.last} ORDER BY id")
    _add_groups(tables, ids)
    _add_projects(tables, ids)
    routes = {
        "source_id": f"CASE type WHEN 'Project' THEN id - {ids.project_namespaces.first - 1} ELSE id END",
        "source_type": "CASE type WHEN 'Project' THEN 'Project' ELSE 'Namespace' END",
        "namespace_id": "id",
        "path": "route.path",
        "name": "route.name",
        "created_at": "created_at",
        "updated_at": "updated_at",
    }
    source = """
        FROM namespaces,
             LATERAL (
                 SELECT string_agg(above.path, '/' ORDER BY level) AS path,
                        string_agg(above.name, ' / ' ORDER BY level) AS name
                   FROM unnest(traversal_ids) WITH ORDINALITY AS traversal (above_id, level)
                   JOIN namespaces AS above ON above.id = above_id
             ) AS route
        ORDER BY namespaces.id"""
    tables.insert("routes", routes, source)


def _add_groups(tables: Tables, ids: Identifiers) -> None:
    top = ids.groups.count // 4
    word = one_of(_AREAS, "n")
    columns = {
        **_made_after("2015-03-01 10:00"),
        "id": ids.groups.nth(),
        "name": f"CASE WHEN n % 9 = 4 THEN 'Équipe ' ELSE '' END || initcap({word}) || ' ' || n",
        "path": f"{word} || '-' || n",
        "type": "'Group'",
        "parent_id": "parent.id",
        "traversal_ids": f"parent.traversal_ids::bigint[] || {ids.groups.nth()}",
    }
    for first, last, parent in (
        (1, top, "NULL"),
        (top + 1, 3 * top, f"1 + n % {top}"),
        (3 * top + 1, 4 * top, f"{top} + 1 + n % {2 * top}"),
    ):
        source = f"""
            FROM generate_series({first}, {last}::bigint) AS n
            LEFT JOIN namespaces AS parent ON parent.id = {ids.groups.nth(parent)}
            ORDER BY n"""
        tables.insert("namespaces", columns, source)


def _add_projects(tables: Tables, ids: Identifiers) -> None:
    """Every eighth project is a person's own."""
    word = f"{one_of(_AREAS, 'n / 3')} || '-' || {one_of(_WORKS, 'n')} || '-' || n"
    common = {**_made_after("2016-05-02 11:00"), "path": word, "name": f"initcap({word})"}
    namespaces = {
        **common,
        "id": ids.project_namespaces.nth(),
        "type": "'Project'",
        "parent_id": "parent.id",
        "traversal_ids": f"parent.traversal_ids::bigint[] || {ids.project_namespaces.nth()}",
    }
    projects = {
        **common,
        "id": "n",
        "namespace_id": "parent.id",
        "project_namespace_id": ids.project_namespaces.nth(),
        "creator_id": ids.people.choose("n * 17"),
        "archived": "n % 31 = 0",
        "pending_delete": "CASE WHEN n % 67 = 0 THEN NULL ELSE false END",
    }
    source = f"""
        FROM {ids.projects.numbers}
        JOIN namespaces AS parent
          ON parent.id = CASE WHEN n % 8 = 5 THEN {ids.people.choose("n * 17")} ELSE {ids.groups.choose("n * 5")} END
        ORDER BY n"""
    tables.insert("namespaces", namespaces, source)
    tables.insert("projects", projects, source)


def add_user_details(tables: Tables, ids: Identifiers) -> None:
    """Bots know their namespace since GitLab 17.6; some of those whose membership is gone do not."""
    for bots, namespaces in ((ids.project_bots, ids.project_namespaces), (ids.group_bots, ids.groups)):
        columns = {
            "user_id": bots.nth(),
            "bot_namespace_id": f"CASE WHEN n % 22 <> 11 THEN {namespaces.nth()} END",
        }
        tables.insert("user_details", columns, f"FROM {bots.numbers}")
    accounts = {
        "user_id": ids.service_accounts.nth(),
        "provisioned_by_group_id": f"CASE WHEN {_OF_A_GROUP} THEN {ids.groups.choose(_GROUP)} END",
        "provisioned_by_project_id": f"CASE WHEN {_OF_A_PROJECT} THEN {ids.projects.choose(_PROJECT)} END",
    }
    tables.insert("user_details", accounts, f"FROM {ids.service_accounts.numbers}")
    tables.insert("user_details", {"user_id": "n"}, f"FROM {ids.people.numbers} WHERE n % 10 <> 0")


def add_members(tables: Tables, ids: Identifiers) -> None:
    """People in groups, bots where they belong; every eleventh bot has lost its membership.

    Before GitLab 17.9 a bot's membership ended on the day of its newest token: every third one is that old. So the
    tokens have to be there.
    """
    common = {
        "user_id": "users.id",
        "notification_level": "3",
        "created_at": "users.created_at",
        "updated_at": "users.updated_at",
    }
    group = ids.groups.choose("users.id * 13")
    people = {
        **common,
        "access_level": "(ARRAY[10, 20, 30, 30, 40, 50])[1 + users.id % 6]",
        "source_id": group,
        "source_type": "'Namespace'",
        "type": "'GroupMember'",
        "member_namespace_id": group,
        "expires_at": "CASE WHEN users.id % 40 = 0 THEN date '2024-12-31' END",
    }
    tables.insert("members", people, f"FROM users WHERE id BETWEEN 2 AND {ids.people.last} ORDER BY id")
    for kind, source_type, bots, sources, namespaces in (
        ("ProjectMember", "Project", ids.project_bots, ids.projects, ids.project_namespaces),
        ("GroupMember", "Namespace", ids.group_bots, ids.groups, ids.groups),
    ):
        columns = {
            **common,
            "access_level": "(ARRAY[20, 30, 40, 40, 50])[1 + n % 5]",
            "source_id": sources.nth(),
            "source_type": f"'{source_type}'",
            "type": f"'{kind}'",
            "member_namespace_id": namespaces.nth(),
            "expires_at": "newest.expires_at",
        }
        source = f"""
            FROM {bots.numbers}
            JOIN users ON users.id = {bots.nth()}
            LEFT JOIN LATERAL (
                SELECT expires_at FROM personal_access_tokens
                 WHERE n % 3 = 0 AND user_id = users.id AND revoked IS NOT TRUE
                 ORDER BY created_at DESC LIMIT 1
            ) AS newest ON true
            WHERE n % 11 <> 0
            ORDER BY n"""
        tables.insert("members", columns, source)


def _made_after(moment: str) -> dict[str, str]:
    born = f"timestamp '{moment}' + {UP_TO_FIVE_YEARS}"
    return {"created_at": born, "updated_at": born, "organization_id": "1"}

"""A few of each kind of credential that is no access token, placed around the day of the fill."""

from tokens.targets.demo.population.numbering import Identifiers, literal, one_of
from tokens.targets.demo.population.tables import Tables

_MADE = "now() - n * interval '40 days'"
_NO_SECRET = literal("no secret: this is the demo")


def add_all(tables: Tables, ids: Identifiers) -> None:
    """Some that have ended, some that end in the coming weeks, some that never do; none has a secret."""
    project, group, person = ids.projects.choose("n * 19"), ids.groups.choose("n * 7"), ids.people.choose("n * 13")
    made = {"created_at": _MADE, "updated_at": _MADE}
    deploy_tokens = {
        "name": one_of(("registry pull", "k8s pull", "package mirror", "GitOps"), "n"),
        "username": "'gitlab+deploy-token-' || n",
        "token_encrypted": _NO_SECRET,
        "created_at": _MADE,
        "expires_at": f"COALESCE({_ends(5)}, timestamptz '3000-01-01 00:00+00')",
        "revoked": "n % 7 = 6",
        "read_repository": "n % 2 = 0",
        "read_registry": "true",
        "write_registry": "n % 4 = 0",
        "project_id": f"CASE WHEN n % 3 > 0 THEN {project} END",
        "group_id": f"CASE WHEN n % 3 = 0 THEN {group} END",
        "creator_id": person,
    }
    tables.insert("deploy_tokens", deploy_tokens, _numbers(12))
    keys = {
        "title": one_of(("laptop", "work station", "build server", "jump host"), "n"),
        "key": _NO_SECRET,
        "type": "CASE WHEN n > 16 THEN 'DeployKey' END",
        "user_id": person,
        "expires_at": _ends(9, "1 + (n - 1) % 16"),
        "last_used_at": "CASE WHEN n % 4 > 0 THEN now() - n * interval '1 day' END",
        **made,
    }
    tables.insert("keys", keys, _numbers(24))
    links = {"deploy_key_id": "keys.id", "project_id": ids.projects.choose("keys.id * 19")}
    tables.insert("deploy_keys_projects", links, "FROM keys WHERE type = 'DeployKey' ORDER BY id")
    triggers = {
        "project_id": project,
        "owner_id": person,
        "description": one_of(("nightly", "release", "docs"), "n"),
        "expires_at": _ends(14),
        **made,
    }
    tables.insert("ci_triggers", triggers, _numbers(8))
    runners = {
        "runner_type": "1 + n % 3",
        "description": one_of(("shared runner", "group runner", "build runner"), "n") + " || ' ' || n",
        "token_encrypted": _NO_SECRET,
        "token_expires_at": _ends(3),
        "contacted_at": "now() - n * interval '3 hours'",
        **made,
    }
    tables.insert("ci_runners", runners, _numbers(9))
    for kind, table, column, place in (
        (3, "projects", "project_id", ids.projects),
        (2, "namespaces", "namespace_id", ids.groups),
    ):
        links = {"runner_id": "id", column: place.choose("id * 11")}
        tables.insert(f"ci_runner_{table}", links, f"FROM ci_runners WHERE runner_type = {kind} ORDER BY id")
    files = {
        "project_id": project,
        "name": one_of(("distribution.p12", "app.mobileprovision", "upload.jks"), "n"),
        "file": "'file'",
        "checksum": r"'\x00'",
        "expires_at": _ends(21),
        **made,
    }
    tables.insert("ci_secure_files", files, _numbers(6))
    agents = {"project_id": project, "name": "'cluster-' || n", **made}
    tables.insert("cluster_agents", agents, _numbers(5))
    agent_tokens = {
        "agent_id": "cluster_agents.id",
        "name": "'agent of ' || cluster_agents.name",
        "token_encrypted": _NO_SECRET,
        "last_used_at": "CASE WHEN cluster_agents.id % 2 = 0 THEN now() - cluster_agents.id * interval '90 days' END",
        "created_at": "cluster_agents.created_at",
        "updated_at": "cluster_agents.updated_at",
    }
    tables.insert("cluster_agent_tokens", agent_tokens, "FROM cluster_agents ORDER BY id")


def _numbers(last: int) -> str:
    return f"FROM generate_series(1, {last}::bigint) AS n ORDER BY n"


def _ends(step: int, number: str = "n") -> str:
    """Every fourth never ends, the first has ended, and the others end some days after each other."""
    return f"CASE WHEN n % 4 > 0 THEN date_trunc('day', now()) + ({number} - 2) * interval '{step} days' END"

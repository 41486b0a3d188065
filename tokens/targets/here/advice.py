"""What an administrator can do when GitLab's own database settings lead nowhere, by how GitLab was installed."""

from collections.abc import Mapping

from tokens.address import Advice
from tokens.call import current
from tokens.targets.here.installation import Installation, Method

POOLER_PORT = "6432"  # PgBouncer's, in the Linux package and by its own default


def advice(installation: Installation, parameters: Mapping[str, str], account: str | None) -> Advice:
    """The advice for a login with libpq's `parameters` by `account` that failed."""
    role = parameters.get("user")
    files = ", ".join(
        f"{name} {parameters[name]}" for name in ("sslrootcert", "sslcert", "sslkey") if name in parameters
    )
    return Advice(
        unreachable=_unreachable(installation.method, parameters),
        peer=f'this runs as account {account}, and database role "{role}" expects another one '
        "(git in most installations; pg_ident.conf says which)",
        password=_password(installation.method, parameters),
        tls=f"database.yml says sslmode {parameters.get('sslmode', 'prefer')}" + (f", {files}" if files else ""),
    )


def _unreachable(method: Method, parameters: Mapping[str, str]) -> str:
    host = parameters.get("hostaddr") or parameters.get("host", "/")
    if method is Method.TOOLBOX:
        return "if the name does not resolve or nobody answers, look at global.psql.host and at network policies"
    pooled = parameters.get("port") == POOLER_PORT
    if host.startswith("/"):
        server, service = ("PgBouncer", "pgbouncer") if pooled else ("PostgreSQL", "postgresql")
        machine = "in the container" if method is Method.DOCKER else "on this machine"
        command = (
            f"systemctl status {service}" if method is Method.SOURCE else f"{_gitlab_ctl(method)} status {service}"
        )
        return f"if {server} should run {machine}: {command}; if not, run this on an application node"
    if pooled:
        return (
            f"that is PgBouncer's port; look for the primary with {_gitlab_ctl(method)} patroni members or "
            f"{_gitlab_ctl(method)} get-postgresql-primary"
        )
    return "check the host and port that GitLab's configuration gives for its database"


def _gitlab_ctl(method: Method) -> str:
    """What begins such a command line; outside where a container was entered from there."""
    if method is not Method.DOCKER:
        return "sudo gitlab-ctl"
    word, _, container = (current().place or "").partition(":")
    return f"docker exec {container} gitlab-ctl" if word == "docker" and container else "gitlab-ctl"


def _password(method: Method, parameters: Mapping[str, str]) -> str:
    if "password" not in parameters:
        return "the server wants a password, and database.yml has none"
    if method is Method.TOOLBOX:
        return (
            "the Secret may have changed after the pod started: "
            "kubectl rollout restart deployment/RELEASE-toolbox renews it"
        )
    return "the password in database.yml is not the role's any more; GitLab itself uses the same"

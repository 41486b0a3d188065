"""Where the GitLab right here writes its API log."""

import shlex
from pathlib import Path

from tokens.call import current, to_type
from tokens.errors import UsageError
from tokens.targets.here.installation import Installation, Method

API_LOG = "log/api_json.log"
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NoLog(UsageError):
    """There is no API log here that could be read."""


def api_log(installation: Installation | None) -> Path:
    """The file that GitLab appends to; beside it lie those that it was rotated into.

    The Linux package makes `log` in the application's folder a link to wherever gitlab.rb puts its logs
    (`gitlab_rails['log_directory']`, by default /var/log/gitlab/gitlab-rails).

    Raises:
        NoLog: there is none: the database alone has none, nor has a toolbox pod; or this user may not look at it.
    """
    if installation is None:
        raise NoLog(f"A database has no log of calls; use --log.{to_type('for example', 'used', '--log', 'FILE')}")
    if installation.method is Method.TOOLBOX:
        raise NoLog(_in_a_pod())
    path = installation.rails / API_LOG
    try:
        path.stat()
    except PermissionError:
        raise NoLog(f"{path} may not be read by this user: run this as root (sudo), or use --log.") from None
    except OSError:
        raise NoLog(
            f"{path} is not there: GitLab writes it where its web server runs; use --log with a copy from that node."
        ) from None
    return path


def _in_a_pod() -> str:
    """What to type on the machine that has kubectl: the pods that answer calls write their log to standard output."""
    place = current().place or ""
    said, _, context = place.removeprefix("kubernetes:").partition("@")
    namespace, _, release = said.partition("/") if place.startswith("kubernetes:") else ("", "", "")
    namespace = _own_namespace() or namespace or "NAMESPACE"
    selector = "app=webservice" + (f",release={release}" if release else "")
    words = [
        "kubectl",
        "logs",
        "--namespace",
        namespace,
        "--selector",
        selector,
        "--container",
        "webservice",
        "--tail=-1",
    ]
    words += ["--context", context] if context and place.startswith("kubernetes:") else []
    target = place or f"kubernetes:{namespace}"
    return (
        "A toolbox pod has no API log: the webservice pods write it to their standard output. "
        f"→ {shlex.join(words)} | {current().program}{shlex.join(['used', '--target', target, '--log', '-'])}"
    )


def _own_namespace() -> str:
    """This pod's, as Kubernetes tells it; empty where it does not."""
    try:
        return NAMESPACE.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""

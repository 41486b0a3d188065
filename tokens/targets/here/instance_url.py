"""Where the GitLab installed right here answers: its own URL, and the certificates that it trusts beside the system's.

GitLab (config/settings.rb): protocol, host, port and relative_url_root of `production: gitlab:` in gitlab.yml make the
URL; a port is said where it is not the protocol's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokens.errors import UsageError
from tokens.targets.here.installation import OMNIBUS_RAILS, Installation, Method
from tokens.targets.here.ruby_yaml import Unreadable, read_yaml

GITLAB_YML = "config/gitlab.yml"
ENVIRONMENT = "production"
PACKAGE_CERTIFICATES = "opt/gitlab/embedded/ssl/certs/cacert.pem"
OWN_CERTIFICATES = "etc/gitlab/trusted-certs"
SUFFIXES = (".crt", ".pem")
HOST = re.compile(r"[^\s/?#@\[\]]+")
ROOT = re.compile(r"/[^\s?#]+")
STANDARD_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class UnusableFile:
    """What is wrong with a file, as the end of a sentence about it."""

    reason: str


class UnknownUrl(UsageError):
    """The instance's URL is not in its configuration."""


def read_instance_url(installation: Installation) -> str:
    """The URL of the instance, such as `https://gitlab.example.com`.

    Raises:
        UnknownUrl: gitlab.yml is missing, closed to this user, or not what GitLab could read without Ruby.
    """
    path = installation.rails / GITLAB_YML
    settings = production(path)
    found = settings if isinstance(settings, UnusableFile) else _url(by_text(settings.get("gitlab")))
    if isinstance(found, UnusableFile):
        raise UnknownUrl(f"The instance's own URL is not known, because {path} {found.reason}: use --verify URL.")
    return found


def trusted_certificates(installation: Installation) -> tuple[Path, ...]:
    """The files with certificates that the Linux package's GitLab trusts; those of a pod are the system's own.

    GitLab: cacert.pem comes with the package, an administrator puts others into /etc/gitlab/trusted-certs.
    """
    if installation.method not in (Method.OMNIBUS, Method.DOCKER):
        return ()
    root = installation.rails.parents[len(Path(OMNIBUS_RAILS).parts) - 1]
    folder = root / OWN_CERTIFICATES
    try:
        own = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except FileNotFoundError:
        own = []
    except OSError:
        own = [folder]  # whoever trusts nobody then says that it could not be read
    return tuple(path for path in (root / PACKAGE_CERTIFICATES, *own) if not _is_absent(path))


def _is_absent(path: Path) -> bool:
    """Whether it is known that there is no such file; one that may not be looked at may be there."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def production(path: Path) -> Mapping[str, Any] | UnusableFile:
    """`production:` of gitlab.yml.

    It raises nothing: a traceback may show variables, and the file may hold passwords.
    """
    try:
        text = path.read_bytes().decode()
    except PermissionError:
        return UnusableFile("may not be read by this user")
    except FileNotFoundError:
        return UnusableFile("is not there")
    except (OSError, UnicodeDecodeError):
        return UnusableFile("cannot be read")
    if "<%" in text:
        return UnusableFile("contains ERB, which only Rails can evaluate")
    try:
        content = by_text(read_yaml(text))
    except Unreadable as error:
        return UnusableFile(str(error))
    return by_text(content.get(ENVIRONMENT))


def by_text(value: object) -> dict[str, Any]:
    """A map by the text of its keys, as GitLab takes it; empty where it is none."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _url(gitlab: Mapping[str, Any]) -> str | UnusableFile:
    """GitLab: https is off and the port is the protocol's own where nothing else is said.

    To Ruby all but `false` and nothing at all is true, also an empty text and 0.
    """
    if not gitlab:
        return UnusableFile("has no production: gitlab:")
    protocol = "http" if gitlab.get("https") in (None, False) else "https"
    host = gitlab.get("host")
    if not isinstance(host, str) or not HOST.fullmatch(host):
        return UnusableFile("names no host below production: gitlab:")
    root = str(gitlab.get("relative_url_root") or "").rstrip("/")
    if root and not ROOT.fullmatch(root):
        return UnusableFile("has a relative_url_root that is no path")
    try:
        port = int(gitlab.get("port") or STANDARD_PORTS[protocol])
    except (TypeError, ValueError):
        return UnusableFile("has a port that is no number")
    name = f"[{host}]" if ":" in host else host
    return f"{protocol}://{name}{'' if port == STANDARD_PORTS[protocol] else f':{port}'}{root}"

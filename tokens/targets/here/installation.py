"""The GitLab installed right here: which kind it is, where its parts lie and as whom it runs."""

import pwd
import re
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tokens.errors import UsageError

ROOT = Path("/")
OMNIBUS_RAILS = "opt/gitlab/embedded/service/gitlab-rails"
OMNIBUS_RC = "opt/gitlab/etc/gitlab-rails-rc"
OMNIBUS_ENVIRONMENT = "opt/gitlab/etc/gitlab-rails/env"
TOOLBOX_RAILS = "srv/gitlab"
SOURCE_RAILS = "home/git/gitlab"
SOURCE_DEFAULTS = "etc/default/gitlab"


class Kind(Enum):
    """How GitLab was installed, in the words of GitLab's documentation."""

    OMNIBUS = "Linux package"
    DOCKER = "Docker image"
    TOOLBOX = "Helm chart (toolbox pod)"
    SOURCE = "self-compiled"


# What GitLab's own file INSTALLATION_TYPE says.
OMNIBUS_TYPES = {"omnibus-gitlab": Kind.OMNIBUS, "gitlab-docker": Kind.DOCKER}
TOOLBOX_TYPE = "gitlab-cloud-native-image"


class NoInstallation(UsageError):
    """There is no GitLab here, or none that is ready."""


@dataclass(frozen=True)
class Installation:
    """One installation.

    `rails` is the application's folder; `user` the account that GitLab runs as, None where it is whoever runs us (a
    pod); `environment` the folder with one file a variable that the Linux package sets for the application.
    """

    kind: Kind
    rails: Path
    user: str | None
    environment: Path | None = None

    @property
    def database_yml(self) -> Path:
        """Where the application looks for its databases; a symlink in the Linux package."""
        return self.rails / "config/database.yml"

    @property
    def version(self) -> str | None:
        """GitLab's version as its file VERSION says, such as `18.4.1-ee`; None where that cannot be read."""
        return _read(self.rails / "VERSION")


def detect(root: Path = ROOT) -> Installation:
    """The installation below `root`, told by GitLab's INSTALLATION_TYPE and a second proof.

    Raises:
        NoInstallation: there is none, or one that is not configured yet.
    """
    if _read(root / TOOLBOX_RAILS / "INSTALLATION_TYPE") == TOOLBOX_TYPE:
        return _toolbox(root)
    if _read(root / OMNIBUS_RAILS / "INSTALLATION_TYPE") in OMNIBUS_TYPES:
        return omnibus(root)
    rails = _source_rails(root)
    if _may_be_there(rails):
        return source(rails)
    raise NoInstallation(
        "No GitLab was found on this machine (no Linux package, container, toolbox pod or source install); run this "
        "where GitLab Rails runs, or say --target (docker:CONTAINER, kubernetes:NAMESPACE, demo, …)."
    )


def omnibus(root: Path = ROOT) -> Installation:
    """The Linux package, also as it is in the Docker image."""
    rails = root / OMNIBUS_RAILS
    kind = OMNIBUS_TYPES.get(_read(rails / "INSTALLATION_TYPE") or "")
    if kind is None:
        raise NoInstallation(
            f"GitLab's Linux package is not installed here: {rails}/INSTALLATION_TYPE does not say so."
        )
    settings = _read(root / OMNIBUS_RC)
    if settings is None:
        cure = "wait until GitLab has started" if kind is Kind.DOCKER else "run sudo gitlab-ctl reconfigure"
        raise NoInstallation(f"GitLab is installed but not configured, {root / OMNIBUS_RC} is missing: {cure}.")
    user = re.search(r"""^\s*(?:export\s+)?gitlab_user=["']?([^"'\s]+)""", settings, re.MULTILINE)
    return Installation(kind, rails, user[1] if user else "git", root / OMNIBUS_ENVIRONMENT)


def source(directory: Path | None = None, root: Path = ROOT) -> Installation:
    """A self-compiled GitLab: in `directory`, else where /etc/default/gitlab says, else in /home/git/gitlab."""
    rails = directory or _source_rails(root)
    try:
        # Not a file that somebody has put into root's name: GitLab's folder tells as well.
        owner = (rails / "config/database.yml").stat().st_uid or rails.stat().st_uid
        (rails / "config/application.rb").stat()
    except PermissionError:
        raise NoInstallation(
            f"{rails} may not be read by this user: run this as root (sudo) or as its owner."
        ) from None
    except OSError:
        raise NoInstallation(
            f"There is no GitLab in {rails}: config/database.yml and config/application.rb would prove it."
        ) from None
    return Installation(Kind.SOURCE, rails, _name(owner))


def _toolbox(root: Path) -> Installation:
    installation = Installation(Kind.TOOLBOX, root / TOOLBOX_RAILS, None)
    if not _may_be_there(installation.database_yml):
        raise NoInstallation(
            f"This pod is GitLab's, but has no {installation.database_yml}: run this in the toolbox pod."
        )
    return installation


def _source_rails(root: Path) -> Path:
    """Where the settings of the start script that GitLab's guide installs put the application, if they say so."""
    found = re.search(r"^\s*app_root=(.+)$", _read(root / SOURCE_DEFAULTS) or "", re.MULTILINE)
    try:
        words = shlex.split(found[1], comments=True) if found else []
    except ValueError:
        words = []
    if not words or "$" in words[0]:
        return root / SOURCE_RAILS
    return root / words[0].lstrip("/")


def _may_be_there(path: Path) -> bool:
    """Whether `path` is there, or behind a door that is closed to this user."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"

"""The GitLab installed right here: how it was installed, where its parts lie and as whom it runs."""

import grp
import os
import pwd
import re
import shlex
import stat
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from tokens.errors import Refused, UsageError

ROOT = Path("/")
OMNIBUS_RAILS = "opt/gitlab/embedded/service/gitlab-rails"
OMNIBUS_RC = "opt/gitlab/etc/gitlab-rails-rc"
OMNIBUS_ENVIRONMENT = "opt/gitlab/etc/gitlab-rails/env"
IMAGE_RELEASE = "RELEASE"  # what the Docker image has beside the package that it holds
TOOLBOX_RAILS = "srv/gitlab"
SOURCE_RAILS = "home/git/gitlab"
SOURCE_DEFAULTS = "etc/default/gitlab"
DISTRIBUTION_RAILS = ("usr/share/gitlab", "usr/share/webapps/gitlab")
"""Where the packages of distributions put the application: Debian's, Arch Linux's."""
DEBIAN_DEFAULTS = "etc/gitlab/gitlab-debian.conf"

PROOFS = ("INSTALLATION_TYPE", "VERSION", "config/application.rb")
"""Files of which the application's folder has at least one; of no other program's folder one is expected."""


class Method(Enum):
    """How GitLab was installed, in the words of GitLab's documentation."""

    OMNIBUS = "Linux package"
    DOCKER = "Docker image"
    TOOLBOX = "Helm chart (toolbox pod)"
    SOURCE = "self-compiled"


# What the file INSTALLATION_TYPE says. Images made by others have words of their own in it (gitlab-aws-ami), or have no
# such file: a known word decides between two methods, an unknown one against none.
DOCKER_TYPE = "gitlab-docker"
OMNIBUS_TYPE = "omnibus-gitlab"
SOURCE_TYPE = "source"


class NoInstallation(UsageError):
    """There is no GitLab here, or none that is ready."""


@dataclass(frozen=True)
class Installation:
    """One installation.

    `rails` is the application's folder; `user` the account that GitLab runs as, None where it is our own (a
    pod); `environment` the folder with one file a variable that the Linux package sets for the application.
    """

    method: Method
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
    """The installation below `root`, recognized by where the application lies and by a second proof.

    Raises:
        NoInstallation: there is none, or one that is not configured yet.
        Refused: this is root, and others may write what says as whom GitLab runs.
    """
    package, pod = root / OMNIBUS_RAILS, root / TOOLBOX_RAILS
    if _is_rails(package) and _may_be_there(root / OMNIBUS_RC):
        return omnibus(root)
    rails = _source_rails(root)
    is_pod = _is_rails(pod) and rails != pod and _read(pod / "INSTALLATION_TYPE") != SOURCE_TYPE
    if is_pod and _may_be_there(pod / "config/database.yml"):
        return _toolbox(root)
    if _may_be_there(rails):
        return source(rails, root)
    if _is_rails(package):
        return omnibus(root)
    if is_pod:
        return _toolbox(root)
    if _is_rails(pod):
        return source(pod, root)
    raise NoInstallation(
        "No GitLab was found on this machine (no Linux package, container, toolbox pod or source install). Run this "
        "where GitLab Rails runs, or use --target, such as --target docker:gitlab."
    )


def omnibus(root: Path = ROOT) -> Installation:
    """The Linux package, also as it is in the Docker image."""
    rails = root / OMNIBUS_RAILS
    if not _is_rails(rails):
        raise NoInstallation(f"GitLab's Linux package is not installed here: nothing of GitLab is in {rails}.")
    word = _read(rails / "INSTALLATION_TYPE")
    in_image = word == DOCKER_TYPE or (word != OMNIBUS_TYPE and (root / IMAGE_RELEASE).is_file())
    method = Method.DOCKER if in_image else Method.OMNIBUS
    settings = _settings(root / OMNIBUS_RC)
    if settings is None:
        cure = "wait until GitLab has started" if method is Method.DOCKER else "run sudo gitlab-ctl reconfigure"
        raise NoInstallation(f"GitLab is installed but not configured, {root / OMNIBUS_RC} is missing: {cure}.")
    return Installation(method, rails, _said(settings, "gitlab_user") or "git", root / OMNIBUS_ENVIRONMENT)


def source(directory: Path | None = None, root: Path = ROOT) -> Installation:
    """A GitLab from source, or from a distribution's package: in `directory`, else where it is said to lie, or usual.

    It runs as the owner of its files. Where those are root's, as distributions have them, it runs as whom the settings
    of its start script name, else as the account of the group that database.yml is for.

    Raises:
        NoInstallation: it is not there, or may not be looked at.
        Refused: this is root, and others may write what says as whom GitLab runs.
    """
    rails = directory or _source_rails(root)
    try:
        found = (rails / "config/database.yml").stat()
        owner = found.st_uid or rails.stat().st_uid
        (rails / "config/application.rb").stat()
    except PermissionError:
        raise NoInstallation(
            f"{rails} may not be read by this user: run this as root (sudo) or as its owner."
        ) from None
    except OSError:
        raise NoInstallation(
            f"There is no GitLab in {rails}: config/database.yml and config/application.rb would prove it."
        ) from None
    # Not a file that somebody has put into root's name: GitLab's folder tells as well.
    named = None if owner else _named_user(root) or _user_of_group(found.st_gid)
    user = named or _name(owner)
    _check_safe(rails / "config/database.yml", found, user)
    return Installation(Method.SOURCE, rails, user)


def _check_safe(database_yml: Path, found: os.stat_result, user: str) -> None:
    """Let root become `user` only by a file that nobody else may write: it may name a program to run as that user."""
    try:
        own_groups = (0, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return  # refused later, since there is no such account
    open_to_others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid not in own_groups)
    if os.geteuid() == 0 and open_to_others:
        raise Refused(
            f"Others than GitLab's account {user} may write {database_yml}, so root does not trust it: "
            f"sudo chmod g-w,o-w {shlex.quote(str(database_yml))}"
        )


def _toolbox(root: Path) -> Installation:
    """A pod has one account, our own; where root has come in, it is the one that owns the files."""
    installation = Installation(Method.TOOLBOX, root / TOOLBOX_RAILS, None)
    if not _may_be_there(installation.database_yml):
        raise NoInstallation(
            f"This pod is GitLab's, but has no {installation.database_yml}: run this in the toolbox pod."
        )
    if os.geteuid() == 0:
        owner = installation.database_yml.stat().st_uid
        if owner and not _name(owner).startswith("#"):
            return replace(installation, user=_name(owner))
    return installation


def _source_rails(root: Path) -> Path:
    """Where the settings of the start script that GitLab's guide installs put the application, else a usual place."""
    said = _said(_settings(root / SOURCE_DEFAULTS) or "", "app_root")
    if said:
        return root / said.lstrip("/")
    packaged = (root / place for place in DISTRIBUTION_RAILS if _is_rails(root / place))
    usual = root / SOURCE_RAILS
    return usual if _may_be_there(usual) else next(packaged, usual)


def _named_user(root: Path) -> str | None:
    """GitLab's account as the settings of the start script name it, or those of Debian's package."""
    return _said(_settings(root / SOURCE_DEFAULTS) or "", "app_user") or _said(
        _settings(root / DEBIAN_DEFAULTS) or "", "gitlab_user"
    )


def _user_of_group(gid: int) -> str | None:
    """The account whose own group this is; None for root's group, and where that is nobody or several."""
    accounts = [one.pw_name for one in pwd.getpwall() if one.pw_gid == gid and gid != 0]
    if len(accounts) == 1:
        return accounts[0]
    try:
        name = grp.getgrgid(gid).gr_name
    except KeyError:
        return None
    return name if name in accounts else None


def _settings(path: Path) -> str | None:
    """The text of a file with a shell's settings, None where it cannot be read.

    Raises Refused where this is root and others may write it: it says as whom GitLab's programs run.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if os.geteuid() == 0 and (found.st_uid != 0 or found.st_mode & (stat.S_IWOTH | stat.S_IWGRP)):
        raise Refused(
            f"Others than root may write {path}, so root does not trust it: "
            f"sudo chown root {shlex.quote(str(path))}; sudo chmod g-w,o-w {shlex.quote(str(path))}"
        )
    return _read(path)


def _said(settings: str, name: str) -> str | None:
    """The value that a shell's settings give a name, where no shell is needed to tell it."""
    found = re.search(rf"^\s*(?:export\s+)?{name}=(.+)$", settings, re.MULTILINE)
    try:
        words = shlex.split(found[1], comments=True) if found else []
    except ValueError:
        return None
    return words[0] if words and words[0] and "$" not in words[0] else None


def _is_rails(folder: Path) -> bool:
    """Whether the application's code is in a folder; not where that cannot be looked at."""
    return any((folder / name).exists() for name in PROOFS)


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

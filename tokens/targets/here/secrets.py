"""GitLab's db_key_base, read where GitLab itself reads it: what the digests of its tokens are salted with.

GitLab (config/initializers/01_secret_token.rb) takes it from config/secrets.yml, `production` laid over `shared`. The
Linux package renders that file from gitlab.rb and /etc/gitlab/gitlab-secrets.json, the chart mounts it into the pod.

What a file holds stays in a Secret or in functions that raise nothing, so that neither a message nor a traceback with
its frames' variables can show it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokens.errors import Refused, UsageError
from tokens.gitlab.digest import Keys
from tokens.secret import Secret
from tokens.targets.here import identity
from tokens.targets.here.installation import OMNIBUS_RAILS, Installation, Method
from tokens.targets.here.ruby_yaml import Unreadable, read_yaml

SECRETS_YML = "config/secrets.yml"
PACKAGE_SECRETS = "etc/gitlab/gitlab-secrets.json"
KEY = "db_key_base"
ENVIRONMENTS = ("shared", "production")  # what comes later counts
SECTIONS = ("gitlab_ci", "gitlab_rails")  # likewise; GitLab 7 and older kept the key in the first


@dataclass(frozen=True)
class _Unread:
    """Why a file was not read, as a clause; `closed` says that another user may."""

    reason: str
    closed: bool = False


def read_keys(installation: Installation) -> Keys:
    """The keys of the GitLab installed right here.

    The Linux package's gitlab-secrets.json is looked at only where its secrets.yml cannot be read: a key in gitlab.rb
    goes before that one.

    Raises:
        Refused: this user may not read them.
        UsageError: they are not there, or cannot be read as GitLab reads them.
    """
    unread = {}
    for path in _places(installation):
        text = _read(path)
        if isinstance(text, Secret):
            return _keys(path, text)
        unread[path] = text
    reasons = " and ".join(one.reason for one in unread.values())
    closed = [path for path, one in unread.items() if one.closed]
    if closed:
        raise Refused(
            f"GitLab's {KEY} cannot be read: {reasons}; run this as root with --secrets-file {closed[0]}, which is "
            "read before root becomes GitLab's user, or with a copy that this user may read."
        )
    raise UsageError(
        f"GitLab's {KEY} cannot be read: {reasons}; run this on an application node, or use --secrets-file."
    )


def read_keys_file(path: Path) -> Keys:
    """The keys in a copy of secrets.yml or of the Linux package's gitlab-secrets.json.

    Raises:
        Refused: this user may not read it.
        UsageError: it is not there, is neither of the two, or has no key.
    """
    text = _read(path)
    if isinstance(text, Secret):
        return _keys(path, text)
    fault = Refused if text.closed else UsageError
    raise fault(f"The file of --secrets-file cannot be read: {text.reason}.")


def refuse_keys_file(path: Path | None) -> None:
    """Refuse a copy of the secrets for a GitLab in a container or pod. Raises UsageError."""
    if path is not None:
        raise UsageError("GitLab's secrets are read where it is, and stay there: leave --secrets-file out.")


def _places(installation: Installation) -> tuple[Path, ...]:
    rendered = installation.rails / SECRETS_YML
    if installation.method not in (Method.OMNIBUS, Method.DOCKER):
        return (rendered,)
    root = installation.rails.parents[len(Path(OMNIBUS_RAILS).parts) - 1]
    return rendered, root / PACKAGE_SECRETS


def _read(path: Path) -> Secret | _Unread:
    try:
        return Secret(path.read_bytes().decode())
    except PermissionError:
        account = identity.account_name() or "this user"
        return _Unread(f"{path} may not be read by {account}", closed=True)
    except FileNotFoundError:
        return _Unread(f"{path} is not there")
    except OSError as error:
        return _Unread(f"{path} gives an error ({error.strerror})")
    except UnicodeDecodeError:
        return _Unread(f"{path} is not text")


def _keys(path: Path, text: Secret) -> Keys:
    keys = _found(text)
    if isinstance(keys, Keys):
        return keys
    raise UsageError(f"{path} {keys}")


def _found(text: Secret) -> Keys | str:
    """The keys, or what is wrong with the file as the end of a sentence about it."""
    content = _content(text)
    if isinstance(content, str):
        return content
    names = SECTIONS if any(name in content for name in SECTIONS) else ENVIRONMENTS
    sections = [section for name in names if isinstance(section := content.get(name), Mapping)]
    # A key of a section counts if it is there, and in a secrets.yml also if it is empty.
    values = [value for section in sections for key, value in section.items() if str(key) == KEY]
    if names is SECTIONS:
        values = [value for value in values if value]
    if not values or not values[-1]:
        return f"has no {KEY} (production: in a secrets.yml, gitlab_rails in a gitlab-secrets.json)."
    try:
        return Keys.of(values[-1])
    except UsageError as error:
        return f"cannot be used: {error}"


def _content(text: Secret) -> Mapping[Any, Any] | str:
    """The file as who uses it reads it: the package its JSON, GitLab all else as YAML, which JSON may be, too."""
    package, fault = _json(text) if text.reveal().lstrip().startswith("{") else (None, None)
    if isinstance(package, Mapping) and any(name in package for name in SECTIONS):
        return package
    if "<%" in text.reveal():
        return (
            "contains ERB, which only Rails can evaluate; use --secrets-file with a copy that has the value of "
            f"{KEY} in its place."
        )
    try:
        content = read_yaml(text.reveal())
    except Unreadable as error:
        return fault or f"{error}."
    return content if isinstance(content, Mapping) else "is not a YAML map."


def _json(text: Secret) -> tuple[Any, str | None]:
    """What the text is as JSON, or what is wrong with it. The parser's own message quotes the line with the key."""
    try:
        return json.loads(text.reveal()), None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        return None, f"is not JSON that can be read{f' (line {line})' if line else ''}."

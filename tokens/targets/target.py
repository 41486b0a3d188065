"""A target says where GitLab is. Here its words are read; nothing is looked up and nothing connected."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokens.address import Address
from tokens.errors import UsageError

WORDS = ("demo", "omnibus", "source", "docker", "kubernetes")  # not to be had as names in the configuration
FORMS = (
    "omnibus, source[:DIR], docker:CONTAINER, kubernetes:NAMESPACE[/RELEASE][@CONTEXT], "
    "postgresql://USER@HOST:PORT/DBNAME, demo, or a name from tokens.targets in Invoke's configuration"
)


@dataclass(frozen=True)
class HereTarget:
    """The GitLab installed right here, whatever its kind."""


@dataclass(frozen=True)
class OmnibusTarget:
    """The Linux package installed right here, or the Docker image that we run in."""


@dataclass(frozen=True)
class SourceTarget:
    """A self-compiled GitLab right here; None where it usually lies."""

    directory: Path | None


@dataclass(frozen=True)
class DockerTarget:
    """A container of a Docker engine, by name or id; None for the only one that runs GitLab."""

    container: str | None


@dataclass(frozen=True)
class KubernetesTarget:
    """The toolbox pod in a namespace; release and kubectl context where they are said."""

    namespace: str
    release: str | None = None
    context: str | None = None


@dataclass(frozen=True)
class DatabaseTarget:
    """A PostgreSQL database, said outright."""

    address: Address


@dataclass(frozen=True)
class DemoTarget:
    """The embedded, throw-away GitLab database."""


LocalTarget = HereTarget | OmnibusTarget | SourceTarget
RemoteTarget = DockerTarget | KubernetesTarget
Target = LocalTarget | RemoteTarget | DatabaseTarget | DemoTarget


def parse_target(text: str, names: Mapping[str, object]) -> Target:
    """Read a target as it was given on the command line, in the environment or in the configuration.

    Args:
        text: the target; empty for the GitLab installed right here.
        names: the entries under `tokens.targets`: each a target in words, not another name.

    Raises:
        UsageError: an unknown target, or a configuration that cannot be used.
    """
    _check_names(names)
    if not text:
        return HereTarget()
    return _parse_words(str(names.get(text, text)), names)


def _parse_words(text: str, names: Iterable[str]) -> Target:
    word, colon, rest = text.partition(":")
    match word:
        case "demo" if not colon:
            return DemoTarget()
        case "omnibus" if not colon:
            return OmnibusTarget()
        case "source" if rest or not colon:
            return SourceTarget(Path(rest) if rest else None)
        case "docker" if colon:
            return _docker(rest)
        case "kubernetes" if colon:
            return _kubernetes(rest)
        case "postgresql" | "postgres" if rest.startswith("//"):
            return _database(text)
        case _ if word in WORDS:
            raise UsageError(f'Target "{text}" is not complete; use {FORMS}.')
    close = difflib.get_close_matches(text, {*names, *WORDS} - {text}, n=1)
    hint = f' (did you mean "{close[0]}"?)' if close else ""
    raise UsageError(f'No target is called "{_without_secrets(text)}"{hint}; use {FORMS}.')


def _database(text: str) -> DatabaseTarget:
    if text.partition("?")[0].count("@") > 1:
        raise UsageError("A user or password with @ in it is written with %40 in a target's address.")
    return DatabaseTarget(Address(text, _without_secrets(text)))


def _docker(container: str) -> DockerTarget:
    if container and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", container):
        raise UsageError(f'"{container}" cannot be the name of a container; use docker:CONTAINER.')
    return DockerTarget(container or None)


def _kubernetes(text: str) -> KubernetesTarget:
    # Contexts may hold any character, such as arn:aws:eks:…/name.
    place, at, context = text.partition("@")
    namespace, slash, release = place.partition("/")
    if (at and not context) or (slash and not release) or not all(map(_is_label, filter(None, (namespace, release)))):
        namespace = ""
    if not namespace or context.startswith("-"):
        raise UsageError(f'Target "kubernetes:{text}" is not of the form kubernetes:NAMESPACE[/RELEASE][@CONTEXT].')
    return KubernetesTarget(namespace, release or None, context or None)


def _is_label(text: str) -> bool:
    """Whether Kubernetes takes it as the name of a namespace or release."""
    return re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", text) is not None


def _check_names(names: Mapping[str, object]) -> None:
    for name, value in names.items():
        if name in WORDS or ":" in name:
            raise UsageError(f'tokens.targets: "{name}" has a meaning of its own as a target; choose another name.')
        if not isinstance(value, str):
            raise UsageError(f"tokens.targets.{name} must be a target in plain words, such as postgresql://….")


def _without_secrets(url: str) -> str:
    """The address as it may be shown: user, host, port and database, but no password and no parameters.

    Rather too little than a piece of a password that somebody forgot to encode.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    userinfo, at, place = rest.rpartition("@")
    return f"{scheme}://{re.split('[:/?#]', userinfo)[0]}{at}{place.partition('?')[0]}"

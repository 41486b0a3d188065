"""A target says where GitLab is. Here its words are read; nothing is looked up and nothing connected.

What is not understood may hold a password, whatever it looks like: it is never repeated, but for a plain word.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tokens.address import Address, shown_place
from tokens.errors import UsageError
from tokens.spelling import meant

FORM = {
    "demo": "demo",
    "omnibus": "omnibus",
    "source": "source[:DIR]",
    "docker": "docker:CONTAINER",
    "kubernetes": "kubernetes:NAMESPACE[/RELEASE][@CONTEXT]",
}
WORDS = tuple(FORM)  # not to be had as names in the configuration
FORMS = (
    f"{', '.join([*list(FORM.values())[1:], 'postgresql://USER@HOST:PORT/DBNAME', FORM['demo']])}, or a name from "
    "tokens.targets in Invoke's configuration"
)
ALMOST_DOCKER = re.compile(r"(?i:docker|podman):([a-zA-Z0-9][a-zA-Z0-9_.-]{0,59})")
ALMOST_KUBERNETES = re.compile(r"(?i:k8s|kube|kubernetes):([a-z0-9./@-]{1,60})")

ADDRESS = "postgresql://USER@HOST:PORT/DBNAME, with the password in ~/.pgpass or PGPASSWORD"
ESCAPES = "in a user or password write %40 for @, %3A for :, %2F for /, %3F for ?, %25 for % and %20 for a blank"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,60}")
HOST = re.compile(r"(\[[0-9A-Za-z:.%]+\]|(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)(:[0-9]{1,5})?")
VARIABLES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE"}
"""What libpq takes where an address does not say where a database is."""
IP = re.compile(r"[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*")
WITH_AT = ("user", "password", "sslpassword", "requirepeer")  # parameters of an address that may hold an @


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
    """A PostgreSQL database, said outright; `has_password` tells whether its address holds one."""

    address: Address
    has_password: bool = False


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
            return _source(rest)
        case "docker" if colon:
            return _docker(rest)
        case "kubernetes" if colon:
            return _kubernetes(rest)
        case "postgresql" | "postgres" if rest.startswith("//"):
            return _database(text)
        case _ if word in WORDS:
            raise UsageError(f'A target that begins with "{word}" is written {FORM[word]}.')
    if found := ALMOST_DOCKER.fullmatch(text):
        podman = " (tokens.docker names podman)" if word.lower() == "podman" else ""
        raise UsageError(f'No target is called "{text}"; did you mean "docker:{found[1]}"{podman}?')
    if found := ALMOST_KUBERNETES.fullmatch(text):
        raise UsageError(f'No target is called "{text}"; did you mean "kubernetes:{found[1]}"?')
    if not PLAIN.fullmatch(text):
        raise UsageError(
            f"The target is none that is known; it is not repeated, since it may hold a password. Use {FORMS}."
        )
    hint = meant(text, sorted(name for name in {*names, *WORDS} if PLAIN.fullmatch(name)))
    raise UsageError(f'No target is called "{text}"{hint}; use {FORMS}.')


def _source(directory: str) -> SourceTarget:
    if re.search("[@=]|://", directory) or re.match("[^/~.]*:", directory):
        raise UsageError("What follows source: cannot be the folder of a GitLab; use source:DIR.")
    return SourceTarget(Path(directory) if directory else None)


def _database(text: str) -> DatabaseTarget:
    scheme, _, rest = text.partition("://")
    # As libpq finds its parts: a user and password end at the first @, unless a / comes before it.
    userinfo, place = found.groups() if (found := re.fullmatch(r"(?s)([^@/]*)@(.*)", rest)) else (None, rest)
    place, _, query = place.partition("?")
    fault = _malformed(rest, place, query)
    if fault is not None:
        raise UsageError(
            f"The target's address {fault}; {ESCAPES}. It is not repeated, since it may hold a password. Use {ADDRESS}."
        )
    user = "" if userinfo is None else f"{userinfo.partition(':')[0]}@"
    password = bool(userinfo and ":" in userinfo) or re.search(r"(^|&)(ssl)?password=", query) is not None
    return DatabaseTarget(Address(text, f"{scheme}://{user}{_place(place, query)}"), password)


def _place(place: str, query: str) -> str:
    """Server and database for people, also where parameters or libpq's variables say them.

    No user is taken from `query`: after a password in it that has a & of its own it may be the rest of that.
    """
    hosts, _, name = place.partition("/")
    host = HOST.fullmatch(hosts)
    if host is None:  # several
        return place
    written = {"host": host[1], "port": (host[2] or "")[1:], "dbname": name}
    written |= dict(parameter.split("=", 1) for parameter in query.split("&") if query)
    found = {key: _decoded(value) for key, value in written.items()}
    if not (found.pop("service", "") or os.environ.get("PGSERVICE")):  # which goes before the other variables
        for key, variable in VARIABLES.items():
            found[key] = found.get(key) or os.environ.get(variable, "")
    if not IP.fullmatch(found.get("hostaddr", "")):
        found.pop("hostaddr", None)  # which libpq refuses, and which may be a password
    return shown_place(found)


def _decoded(text: str) -> str:
    """What escapes in an address stand for, where that can be printed."""
    decoded = unquote(text)
    return decoded if decoded.isprintable() else text


def _malformed(rest: str, place: str, query: str) -> str | None:
    """What is wrong with an address after its scheme, None where libpq understands every part of it as we do."""
    hosts, _, name = place.partition("/")
    if not rest.isprintable() or " " in rest:
        return "has a blank or a character in it that cannot be printed"
    if re.search("%(?![0-9A-Fa-f]{2})|%00", rest):
        return "has a % that begins no escape"
    if "@" in hosts or "@" in name:
        return "has an @ or a / too many"
    for host in hosts.split(","):
        found = HOST.fullmatch(host)
        if not found or int((found[2] or ":1")[1:]) not in range(1, 65_536):
            return "has a host or a port that cannot be one"
    for parameter in query.split("&") if query else ():
        key, equals, value = parameter.partition("=")
        if not equals or not re.fullmatch("[a-z_]+", key):
            return "has a ? that no parameters follow"
        if ("@" in value and key not in WITH_AT) or (key == "port" and not re.fullmatch("[0-9,]*", value)):
            return "has a parameter that cannot have its value"
    return None


def _docker(container: str) -> DockerTarget:
    if container and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", container):
        raise UsageError("What follows docker: cannot be the name of a container; use docker:CONTAINER.")
    return DockerTarget(container or None)


def _kubernetes(text: str) -> KubernetesTarget:
    # Contexts may hold any character, such as arn:aws:eks:…/name.
    place, at, context = text.partition("@")
    namespace, slash, release = place.partition("/")
    if (at and not context) or (slash and not release) or not all(map(_is_label, filter(None, (namespace, release)))):
        namespace = ""
    if not namespace or context.startswith("-") or re.search("://|password", context):
        raise UsageError("The target is not of the form kubernetes:NAMESPACE[/RELEASE][@CONTEXT].")
    return KubernetesTarget(namespace, release or None, context or None)


def _is_label(text: str) -> bool:
    """Whether Kubernetes takes it as the name of a namespace or release."""
    return re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", text) is not None


def _check_names(names: Mapping[str, object]) -> None:
    for name, value in names.items():
        shown = f"tokens.targets.{name}" if PLAIN.fullmatch(str(name)) else "A name under tokens.targets"
        if name in WORDS or re.search("[:@=]", str(name)):
            raise UsageError(f"{shown} has a meaning of its own as a target; choose another name.")
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{shown} must be a target in plain words, such as postgresql://….")


def absolute_path(path: Path) -> Path:
    """A path with a home folder's name in its place, from the root on.

    Raises:
        UsageError: it is in the home folder of an account that is not here.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"{path} is in the home folder of an account that is not here.") from None

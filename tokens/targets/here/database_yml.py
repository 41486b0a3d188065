"""GitLab's database.yml: how the application reaches its main database.

GitLab: only `production` counts, and in it only `main`; the older form without names is `main` itself. What
`config_command` prints is laid over it, and a URL (the key `url`, MAIN_DATABASE_URL in the application's environment)
goes before both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tokens.errors import UsageError

ENVIRONMENT = "production"
MAIN = "main"
SCHEMES = ("postgresql", "postgres")
GEO = "geo"  # the tracking database, which only a Geo secondary has

# database.yml's words and libpq's for the same thing; what is not here is Rails' own business.
PARAMETERS = {
    "host": "host",
    "port": "port",
    "database": "dbname",
    "username": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslca": "sslrootcert",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslcrl": "sslcrl",
    "connect_timeout": "connect_timeout",
    "keepalives": "keepalives",
    "keepalives_idle": "keepalives_idle",
    "keepalives_interval": "keepalives_interval",
    "keepalives_count": "keepalives_count",
    "tcp_user_timeout": "tcp_user_timeout",
}


@dataclass(frozen=True)
class DatabaseSettings:
    """What database.yml says: libpq's parameters of the main database, and what is around it.

    `standbys` are the parameters of the servers that GitLab reads from beside it (load_balancing: hosts), the primary
    among them at times; `discovers` says that GitLab finds such servers by DNS.
    """

    parameters: Mapping[str, str]
    geo_secondary: bool = False
    standbys: tuple[Mapping[str, str], ...] = ()
    discovers: bool = False

    def __repr__(self) -> str:
        return "DatabaseSettings(…)"  # there may be a password among them


def read_settings(text: str, run: Callable[[str], str], url: str | None = None) -> DatabaseSettings:
    """What GitLab makes of its database.yml.

    Args:
        text: the file's content.
        run: runs a `config_command` and returns what it printed.
        url: the application's MAIN_DATABASE_URL, if it has one.

    Raises:
        UsageError: it cannot be read as GitLab reads it; the message never quotes it.
    """
    if "<%" in text:
        if url:
            return DatabaseSettings(_parameters({}, url))
        raise UsageError(
            "database.yml contains ERB, which only Rails can evaluate; set MAIN_DATABASE_URL to postgresql://…, or say "
            "--target postgresql://…."
        )
    production = _production(_mapping(text, "database.yml"))
    command = production.pop("config_command", None)
    if command:
        production = _merged(production, _mapping(run(str(command)), "the output of config_command in database.yml"))
    databases = production if all(isinstance(value, Mapping) for value in production.values()) else {MAIN: production}
    if MAIN not in databases:
        found = ", ".join(map(str, databases)) or "nothing"
        raise UsageError(f"database.yml has no {MAIN}: below {ENVIRONMENT}:, but {found}.")
    main = databases[MAIN]
    parameters = _parameters(main, url)
    balancing = main.get("load_balancing")
    balancing = balancing if isinstance(balancing, Mapping) else {}
    return DatabaseSettings(
        parameters, GEO in databases, _standbys(parameters, balancing.get("hosts")), _discovers(balancing)
    )


def _standbys(main: Mapping[str, str], hosts: object) -> tuple[Mapping[str, str], ...]:
    """GitLab: a host that it balances load to has all else from main, the port and the password included."""
    if not isinstance(hosts, list):
        return ()
    # A host once each; main's own is the primary, or what leads to it.
    names = dict.fromkeys(_text(host) for host in hosts if isinstance(host, str | int) and host)
    return tuple({**main, "host": name} for name in names if name != main.get("host"))


def _discovers(balancing: Mapping[str, Any]) -> bool:
    """GitLab: service discovery is on where it knows which record to ask for."""
    discover = balancing.get("discover")
    return isinstance(discover, Mapping) and bool(discover.get("record"))


def _parameters(main: Mapping[str, Any], url: str | None) -> dict[str, str]:
    settings = dict(main)
    for address in (settings.pop("url", None), url):
        if address:
            settings |= _url(str(address))
    return {
        parameter: _text(settings[word])
        for word, parameter in PARAMETERS.items()
        if settings.get(word) not in (None, "")
    }


def _text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\0" in text:
        raise UsageError("database.yml has a NUL character in a value, which PostgreSQL cannot take.")
    return text


def _url(text: str) -> dict[str, object]:
    """A URL as Rails takes it apart: its query holds settings, too, and those are not decoded."""
    try:
        url = urlsplit(text)
        if url.scheme not in SCHEMES or "@" in url.path:
            raise ValueError(url.scheme)
        parts: dict[str, object] = {
            "host": unquote(url.hostname or ""),
            "port": url.port or "",
            "database": unquote(url.path.removeprefix("/")),
            "username": unquote(url.username or ""),
            "password": unquote(url.password or ""),
        }
    except ValueError:
        raise UsageError(
            "The database's URL (MAIN_DATABASE_URL, or url: in database.yml) is not of the form "
            "postgresql://USER:PASSWORD@HOST:PORT/DBNAME, with %40 for an @ in a password and the like."
        ) from None
    queries = (pair.partition("=") for pair in url.query.split("&") if pair)
    return {name: value for name, value in parts.items() if value} | {name: value for name, _, value in queries}


def _production(environments: Mapping[str, Any]) -> dict[str, Any]:
    production = environments.get(ENVIRONMENT)
    if not isinstance(production, Mapping):
        found = ", ".join(map(str, environments)) or "nothing"
        raise UsageError(f"database.yml has no {ENVIRONMENT}:, but {found}.")
    return dict(production)


def _mapping(text: str, what: str) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        # The parser's own message quotes the line, which may hold the password.
        raise UsageError(f"{what} is not YAML that can be read{where}.") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{what} is not a YAML map.")
    return content


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, map by map, as Rails merges."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged

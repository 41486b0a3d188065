"""GitLab's database.yml: how the application reaches its main database, and that of CI where it has one.

GitLab: only `production` counts, and in it `main`, and `ci` where what belongs to CI has a database of its own; the
older form without names is `main` itself. What `config_command` prints is laid over it. A URL goes before both: the key
`url`, else MAIN_DATABASE_URL (CI_DATABASE_URL) in the application's environment. All that libpq has a parameter for is
handed to it (Rails: PG::Connection.conndefaults); the rest is Rails' own business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokens.database.libpq import libpq_parameters
from tokens.errors import UsageError
from tokens.targets.here.database_url import read_url
from tokens.targets.here.ruby_yaml import Unreadable, read_yaml, ruby_text

ENVIRONMENT = "production"
MAIN = "main"
CI = "ci"
SHARED = "shared"
GEO = "geo"  # the tracking database, which only a Geo secondary has

WORDS = {"username": "user", "database": "dbname"}  # Rails' and libpq's for the same thing
OURS = {"application_name", "fallback_application_name", "client_encoding", "replication"}  # ours to say
ONE_SERVER = {"hostaddr", "target_session_attrs", "load_balance_hosts"}  # which of several servers it shall be


@dataclass(frozen=True)
class DatabaseSettings:
    """What database.yml says: libpq's parameters of the main database, and what is around it.

    `standbys` are the parameters of the servers that GitLab reads from beside it (load_balancing: hosts), the primary
    among them at times; `discovers` says that GitLab finds such servers by DNS. `ci` are the parameters of the ci
    database, None where that is the main one.
    """

    parameters: Mapping[str, str]
    geo_secondary: bool = False
    standbys: tuple[Mapping[str, str], ...] = ()
    discovers: bool = False
    ci: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return "DatabaseSettings(…)"  # there may be a password among them


def read_settings(
    text: str, run: Callable[[str], str], url: str | None = None, ci_url: str | None = None
) -> DatabaseSettings:
    """What GitLab makes of its database.yml.

    Args:
        text: the file's content.
        run: runs a `config_command` and returns what it printed.
        url: the application's MAIN_DATABASE_URL, if it has one.
        ci_url: its CI_DATABASE_URL.

    Raises:
        UsageError: it cannot be read as GitLab reads it; the message never quotes it.
    """
    if "<%" in text:
        if url:
            return DatabaseSettings(_parameters({}, url), ci=_parameters({}, ci_url) if ci_url else None)
        raise UsageError(
            "database.yml contains ERB, which only Rails can evaluate; set MAIN_DATABASE_URL to postgresql://…, or use "
            "--target postgresql://…."
        )
    environments = _mapping(text, "database.yml")
    if environments.get(SHARED) not in (None, False, {}):
        raise UsageError(
            f"database.yml has {SHARED}:, which GitLab's releases read differently; move its content to {ENVIRONMENT}:."
        )
    production = _production(environments)
    command = production.pop("config_command", None)
    if command is not None and not isinstance(command, str):
        raise UsageError("database.yml has a config_command that is no text.")
    if command and command.strip():
        printed = _mapping(
            run(command), "What config_command in database.yml writes, to standard error too,", plain=True
        )
        production = _merged(production, _with_text_keys(printed))
    production = _distinct(production)
    databases = production if all(isinstance(value, Mapping) for value in production.values()) else {MAIN: production}
    if MAIN not in databases:
        found = ", ".join(map(str, databases)) or "nothing"
        raise UsageError(f"database.yml has no {MAIN}: below {ENVIRONMENT}:, but {found}.")
    main = _named(databases[MAIN])
    parameters = _parameters(main, url)
    balancing = _named(main.get("load_balancing"))
    return DatabaseSettings(
        parameters,
        GEO in databases,
        _standbys(parameters, balancing.get("hosts")),
        _discovers(balancing),
        _ci(parameters, databases, ci_url),
    )


def _ci(main: Mapping[str, str], databases: Mapping[str, Any], url: str | None) -> Mapping[str, str] | None:
    """The ci database's parameters, where it is another one than main: GitLab may name one database twice."""
    if CI not in databases:
        return None
    try:
        found = _parameters(_named(databases[CI]), url)
    except UsageError:  # most tasks work in main alone
        return None
    return None if found == main else found


def _standbys(main: Mapping[str, str], hosts: object) -> tuple[Mapping[str, str], ...]:
    """GitLab: a host that it balances load to has all else from main, the port and the password included."""
    if not isinstance(hosts, list):
        return ()
    # A host once each; main's own is the primary, or what leads to it.
    names = dict.fromkeys(_text(host) for host in hosts if isinstance(host, str | int) and host)
    like = {name: value for name, value in main.items() if name not in ONE_SERVER}
    return tuple({**like, "host": name} for name in names if name != main.get("host"))


def _discovers(balancing: Mapping[str, Any]) -> bool:
    """GitLab: service discovery is on where it knows which record to ask for."""
    return bool(_named(balancing.get("discover")).get("record"))


def _parameters(main: Mapping[str, Any], url: str | None) -> dict[str, str]:
    """What Rails hands to libpq. An empty value is none to libpq."""
    settings = dict(main)
    own = settings.pop("url", None)
    address = url if own in (None, False) else _text(own)
    if address is not None:
        settings |= read_url(address)
    for word, parameter in WORDS.items():
        if settings.get(word) not in (None, False):
            settings[parameter] = settings.pop(word)
    taken = libpq_parameters() - OURS
    parameters = {name: _text(value) for name, value in settings.items() if name in taken}
    return {name: text for name, text in parameters.items() if text}


def _text(value: object) -> str:
    try:
        text = ruby_text(value)
    except Unreadable as error:
        raise UsageError(f"database.yml {error}.") from None
    if "\0" in text:
        raise UsageError("database.yml has a NUL character in a value, which PostgreSQL cannot take.")
    return text


def _production(environments: Mapping[Any, Any]) -> dict[Any, Any]:
    production = _distinct(environments).get(ENVIRONMENT)
    if not isinstance(production, Mapping):
        found = ", ".join(map(str, environments)) or "nothing"
        raise UsageError(f"database.yml has no {ENVIRONMENT}:, but {found}.")
    return dict(production)


def _mapping(text: str, what: str, *, plain: bool = False) -> Mapping[Any, Any]:
    try:
        content = read_yaml(text, plain=plain)
    except Unreadable as error:
        raise UsageError(f"{what} {error}.") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{what} is not a YAML map.")
    return content


def _named(value: object) -> dict[str, Any]:
    """A map by the text of its keys, for Rails takes `:host` and `host` for one; empty where it is none."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _distinct(value: Mapping[Any, Any]) -> dict[str, Any]:
    named = _named(value)
    if len(named) < len(value):
        raise UsageError("database.yml has a name twice, as a text and as something else, such as a symbol.")
    return named


def _with_text_keys(value: Any) -> Any:
    """All keys as text, in whatever depth."""
    match value:
        case dict():
            return {str(key): _with_text_keys(inner) for key, inner in value.items()}
        case list():
            return [_with_text_keys(item) for item in value]
    return value


def _merged(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    """`above` laid over `below`, map by map, as Rails merges."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged

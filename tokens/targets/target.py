"""A target says where GitLab is. Here its words are read; nothing is looked up and nothing connected."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tokens.address import Address
from tokens.errors import UsageError

DATABASE_SCHEMES = ("postgresql", "postgres")
WORDS = ("demo", "omnibus", "source", "docker", "kubernetes")  # not to be had as names in the configuration
FORMS = "demo, postgresql://USER@HOST:PORT/DBNAME or a name from tokens.targets in Invoke's configuration"


@dataclass(frozen=True)
class DatabaseTarget:
    """A PostgreSQL database, said outright."""

    address: Address


@dataclass(frozen=True)
class DemoTarget:
    """The embedded, throw-away GitLab database."""


Target = DatabaseTarget | DemoTarget


def parse_target(text: str, names: Mapping[str, object]) -> Target:
    """Read a target as it was given on the command line, in the environment or in the configuration.

    Args:
        text: the target; empty if none was given.
        names: the entries under `tokens.targets`: each a target in words, not another name.

    Raises:
        UsageError: no target, an unknown one, or a configuration that cannot be used.
    """
    _check_names(names)
    if not text:
        raise UsageError(f"No target was given; say --target (or INVOKE_TOKENS_TARGET): {FORMS}.")
    return _parse_words(str(names.get(text, text)), names)


def _parse_words(text: str, names: Iterable[str]) -> Target:
    word, _, rest = text.partition(":")
    if text == "demo":
        return DemoTarget()
    if word in DATABASE_SCHEMES and rest.startswith("//"):
        if rest.partition("?")[0].count("@") > 1:
            raise UsageError("A user or password with @ in it is written with %40 in a target's address.")
        return DatabaseTarget(Address(text, _without_secrets(text)))
    if word in WORDS:
        raise UsageError(f'Target "{word}" is not supported by this version; use {FORMS}.')
    close = difflib.get_close_matches(text, {*names, "demo"} - {text}, n=1)
    hint = f' (did you mean "{close[0]}"?)' if close else ""
    raise UsageError(f'No target is called "{_without_secrets(text)}"{hint}; use {FORMS}.')


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

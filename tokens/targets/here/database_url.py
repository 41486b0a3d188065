"""A database's URL, as Rails takes it apart (ActiveRecord's ConnectionUrlResolver, with URI::RFC2396_Parser)."""

import re
from urllib.parse import unquote

from tokens.errors import UsageError

SCHEMES = ("postgresql", "postgres")
ADAPTER = "postgresql"

# RFC 2396, which knows no `_` in a host's name.
_PERCENT = "%[0-9A-Fa-f]{2}"
_UNRESERVED = r"-_.!~*'()A-Za-z0-9"
_HEX4 = "[0-9A-Fa-f]{1,4}"
_IPV6_END = rf"(?:{_HEX4}:)*(?:{_HEX4}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}})"
_IPV6 = rf"(?:(?:{_HEX4}:)*{_HEX4})?::(?:{_IPV6_END})?|{_IPV6_END}"
_QUERY = rf"(?:[{_UNRESERVED};/?:@&=+$,\[\]]|{_PERCENT})*"
URL = re.compile(
    rf"""
    \s* (?P<scheme> [A-Za-z][-+.A-Za-z0-9]* ) :
    (?: // (?:
          (?: (?P<userinfo> (?: [{_UNRESERVED};:&=+$,] | {_PERCENT} )* ) @ )?
          (?P<host> (?: [A-Za-z0-9.-] | {_PERCENT} )+ | \[ (?: {_IPV6} ) \] )
          (?: : (?P<port> [0-9]* ) )?
        )?
      | (?!//) (?=/) )
    (?P<path> / (?: [{_UNRESERVED}:@&=+$,;/] | {_PERCENT} )* )?
    (?: \? (?P<query> {_QUERY} ) )?
    (?: \# {_QUERY} )? \s*
    """,
    re.VERBOSE | re.ASCII,
)


def read_url(text: str) -> dict[str, str]:
    """The settings in a URL by Rails' names: all is decoded, and what its query says goes before the rest.

    Raises:
        UsageError: it is none of PostgreSQL's; the message never quotes it.
    """
    try:
        return {name: unquote(value, errors="strict") for name, value in _parts(text).items() if value}
    except ValueError:
        raise UsageError(
            "The database's URL (MAIN_DATABASE_URL, or url: in database.yml) is not of the form "
            "postgresql://USER:PASSWORD@HOST:PORT/DBNAME, with %40 for an @ in a password and the like."
        ) from None


def _parts(text: str) -> dict[str, str | None]:
    found = URL.fullmatch(text)
    # Rails would take an @ that was not written as %40 for a part of the database's name.
    if found is None or found["scheme"].lower() not in SCHEMES or "@" in (found["path"] or ""):
        raise ValueError
    if not found["host"] and not found["path"]:
        raise ValueError
    pairs = (found["query"] or "").rstrip("&").split("&")
    if "" in pairs and pairs != [""]:
        raise ValueError
    query = {name: value for name, _, value in (pair.partition("=") for pair in pairs if pair)}
    if query.pop("adapter", None) not in (None, "", ADAPTER):
        raise ValueError
    user, _, password = (found["userinfo"] or "").partition(":")
    return {
        "host": (found["host"] or "").removeprefix("[").removesuffix("]"),
        "port": (found["port"] or "").lstrip("0") or (found["port"] and "0"),
        "database": (found["path"] or "").removeprefix("/"),
        "username": user,
        "password": password,
        **query,
    }

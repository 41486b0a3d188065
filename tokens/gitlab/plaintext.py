"""A token in clear, as GitLab makes it: its prefix, and the two forms of what follows."""

import base64
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tokens.database import Connection
from tokens.gitlab.schema import SETTINGS, TOKENS, Schema
from tokens.gitlab.settings import read_current
from tokens.secret import Secret

Random = Callable[[int], bytes]
"""Gives this number of random bytes."""

DEFAULT_PREFIX = "glpat-"

# What GitLab 17.10 first had as the instance's prefix where nobody had chosen one, and still takes for "none".
LEFTOVER_INSTANCE_PREFIX = "gl"

LEGACY_BYTES = 15  # 20 characters of Base64

# Devise, of whose "friendly tokens" GitLab's are: letters and digits that look alike give way to others.
LOOKALIKES = str.maketrans("lIO0", "sxyz")

RANDOM_BYTES = 16
PAYLOAD_LIMIT = 159  # characters
LENGTH_DIGITS, CHECKSUM_DIGITS = 2, 7
VERSION = "01"

BASE36 = string.digits + string.ascii_lowercase

# GitLab's one-letter names of what a token may be routed by, in the order in which they are written.
FIELDS = {
    "c": "cell_id",
    "g": "group_id",
    "o": "organization_id",
    "p": "project_id",
    "t": "runner_type",
    "u": "user_id",
}


class Form(StrEnum):
    """How a token is written behind its prefix; GitLab accepts both for ever."""

    LEGACY = "legacy"
    ROUTABLE = "routable"


@dataclass(frozen=True)
class Payload:
    """What a routable token tells in clear: ids of GitLab's, none of them below 0.

    A personal access token has its organization and its user, and the cell where the instance is one of several; group,
    project and runner type are for other tokens of GitLab's.
    """

    organization_id: int
    user_id: int | None = None
    cell_id: int | None = None
    group_id: int | None = None
    project_id: int | None = None
    runner_type: int | None = None

    @property
    def text(self) -> str:
        """The payload as it is encoded: `o:1` and so on, a line each, numbers in base 36."""
        numbers = {key: getattr(self, name) for key, name in FIELDS.items()}
        return "\n".join(f"{key}:{base36(number)}" for key, number in numbers.items() if number is not None)


def form_for(schema: Schema) -> Form:
    """The form in which this release of GitLab makes its tokens: the routable one from 18.3 on.

    The column is as old as the form; the release itself can only be estimated from a bare database.
    """
    return Form.ROUTABLE if schema.has(TOKENS, "group_id") else Form.LEGACY


def new_token(form: Form, prefix: str, payload: Payload, *, random: Random = secrets.token_bytes) -> Secret:
    """A token that nobody has yet; `payload` is left out where the form has none."""
    if form is Form.LEGACY:
        return legacy_token(prefix, random=random)
    return routable_token(prefix, payload, random=random)


def legacy_token(prefix: str, *, random: Random = secrets.token_bytes) -> Secret:
    """A token of the older form: the prefix and 20 URL-safe characters, none of them `l`, `I`, `O` or `0`."""
    return Secret(prefix + _base64(random(LEGACY_BYTES)).translate(LOOKALIKES))


def routable_token(prefix: str, payload: Payload, *, random: Random = secrets.token_bytes) -> Secret:
    """A token of the routable form, version 01; ValueError for a payload of more than 159 characters."""
    text = payload.text.encode()
    if len(text) > PAYLOAD_LIMIT:
        raise ValueError(f"a payload of {len(text)} characters, where GitLab allows {PAYLOAD_LIMIT}")
    return _with_checksum(_body(prefix, _base64(random(RANDOM_BYTES) + text + bytes([len(text)]))))


def read_prefix(connection: Connection, schema: Schema) -> str:
    """What this instance's tokens begin with: `glpat-` where nothing is set, "" where an administrator chose that.

    GitLab 18.4 and later: an instance's own prefix goes before the standard one (`acme-glpat-`), and the prefix that is
    set for personal access tokens is then ignored. From 17.10 on the setting was there, but for other kinds of token.
    It is behind a feature flag that is not asked for here: GitLab finds a token with any prefix.
    """
    columns = []
    if schema.has(SETTINGS, "personal_access_token_prefix"):
        columns.append("COALESCE(personal_access_token_prefix, '') AS prefix")
    if schema.has(TOKENS, "granular") and schema.has(SETTINGS, "token_prefixes"):
        columns.append("token_prefixes ->> 'instance_token_prefix' AS instance_prefix")
    values = read_current(connection, columns)
    instance = (values.get("instance_prefix") or "").strip()
    if instance and instance != LEFTOVER_INSTANCE_PREFIX:
        return f"{instance}-{DEFAULT_PREFIX}"
    prefix: str = values.get("prefix", DEFAULT_PREFIX)
    return prefix


def checksum_holds(token: Secret) -> bool:
    """Whether the last characters of a routable token are the checksum of what is before them."""
    return _checksum(token.reveal()[:-CHECKSUM_DIGITS]) == token.reveal()[-CHECKSUM_DIGITS:]


def base36(number: int, width: int = 1) -> str:
    """A number from 0 on in base 36, lower case, filled up with zeros to `width`.

    >>> base36(1007), base36(44, 7)
    ('rz', '0000018')
    """
    if number < 0:
        raise ValueError(f"{number} is below 0")
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = BASE36[digit] + digits
    return digits.rjust(max(width, 1), "0")


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _body(prefix: str, encoded: str) -> str:
    return f"{prefix}{encoded}.{VERSION}.{base36(len(encoded), LENGTH_DIGITS)}"


def _checksum(body: str) -> str:
    return base36(zlib.crc32(body.encode(errors="surrogatepass")), CHECKSUM_DIGITS)


def _with_checksum(body: str) -> Secret:
    return Secret(body + _checksum(body))

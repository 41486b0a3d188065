"""How a routable token is read, which the program itself never does: the other half, which proves how it is made."""

import base64
import binascii
import re
import zlib

from tokens.gitlab.plaintext import CHECKSUM_DIGITS, FIELDS, LENGTH_DIGITS, RANDOM_BYTES, VERSION, Payload, base36

ROUTABLE = re.compile(
    rf"""
      (?P<body>
        .*? (?P<encoded> [A-Za-z0-9_-]+ )
        \. {VERSION}
        \. (?P<length> [0-9a-z]{{{LENGTH_DIGITS}}} )
      )
      (?P<checksum> [0-9a-z]{{{CHECKSUM_DIGITS}}} )
    """,
    re.ASCII | re.VERBOSE,
)
PAIR = re.compile(r"([cgoptu]):([0-9a-z]+)", re.ASCII)


def decode(text: str) -> Payload | None:
    """What a routable token tells; None for any other text, and where the checksum is not that of the token."""
    parts = ROUTABLE.fullmatch(text)
    if (
        parts is None
        or not text.isascii()
        or parts["checksum"] != base36(zlib.crc32(parts["body"].encode()), CHECKSUM_DIGITS)
    ):
        return None
    length = int(parts["length"], 36)
    if not 0 < length <= len(parts["encoded"]):
        return None
    return _payload(parts["encoded"][-length:])


def _payload(encoded: str) -> Payload | None:
    try:
        content = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except binascii.Error:
        return None
    payload = content[RANDOM_BYTES:-1]
    if not payload or content[-1] != len(payload):
        return None
    pairs = [PAIR.fullmatch(line) for line in payload.decode("latin-1").split("\n")]
    numbers = {FIELDS[pair[1]]: int(pair[2], 36) for pair in pairs if pair}
    if len(numbers) < len(pairs) or "organization_id" not in numbers:
        return None
    return Payload(**numbers)

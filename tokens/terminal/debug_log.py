"""What Invoke writes into its own log under `--debug`, without addresses, passwords and tokens."""

import logging
import os
import re
import sys
from collections.abc import Iterator

from tokens.errors import may_be_token

HIDDEN = "…"
HARMLESS = re.compile(r"[\w.,/+-]*|gitlab:tokens(:[\w.-]+)*|(docker|kubernetes|source)(:[\w.,/+-]*)+")
QUOTED = re.compile(r"""(?<!\w)(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL)
BARE = re.compile(r"\S+")
PASSWORD = re.compile(rf"""(?<=password['"]: )(?:{QUOTED.pattern}|[^\s,}}\]]+)""", re.DOTALL | re.IGNORECASE)


def hide_addresses() -> None:
    """Let Invoke's log show no text that may be an address with a password, however badly it is written."""
    logger = logging.getLogger("invoke")
    if not any(isinstance(one, _Discreet) for one in logger.filters):
        logger.addFilter(_Discreet())


def without_addresses(text: str) -> str:
    """`text` with an ellipsis for a password's value, and what is more than a word or a path, or like an address."""
    return BARE.sub(_without_address, QUOTED.sub(_discreetly, PASSWORD.sub(repr(HIDDEN), text)))


class _Discreet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for word in _typed():
            text = text.replace(word, HIDDEN).replace(repr(word)[1:-1], HIDDEN)
        record.msg, record.args = without_addresses(text), ()
        return True


def _typed() -> Iterator[str]:
    """What was typed or set that is no plain word: however Invoke quotes or splits it, it is not shown."""
    for word in (*sys.argv[1:], *(value for name, value in os.environ.items() if name.startswith("INVOKE_TOKENS_"))):
        option, _, value = word.partition("=")
        if not re.fullmatch(r"--?[\w-]+", option):
            yield from (part for part in (word, value) if part and not _is_harmless(word))
        elif not _is_harmless(value):
            yield from (word, value)


def _without_address(found: re.Match[str]) -> str:
    return HIDDEN if "://" in found[0] or "@" in found[0] else found[0]


def _discreetly(found: re.Match[str]) -> str:
    inside = found[1] if found[1] is not None else found[2]
    return found[0] if _is_harmless(inside) else f"{found[0][0]}{HIDDEN}{found[0][0]}"


def _is_harmless(word: str) -> bool:
    return HARMLESS.fullmatch(word) is not None and not may_be_token(word)

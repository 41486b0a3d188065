"""What can go wrong and the exit status that each kind of failure has.

A leaf: every room may import it. A message is one line that says what happened, what it means here and what to do.
"""

import re
from enum import IntEnum
from typing import Self

LONGEST_VALUE = 200  # characters of what a message quotes
LONGEST_MESSAGE = 3000  # characters; a GRANT for each table is the longest that we write


class ExitStatus(IntEnum):
    """How a process ends; the only place where these numbers are written."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    PARTIAL = 4
    DUE = 5
    INTERRUPTED = 130
    TERMINATED = 143


class TokensError(Exception):
    """A foreseeable fault: shown as its one line, without a traceback, and shortened where a value in it is long."""

    status = ExitStatus.FAILED

    def __str__(self) -> str:
        return shortened(super().__str__())

    def saying(self, message: str, status: ExitStatus | None = None) -> Self:
        """The same fault, of the same kind, with this message instead; `status` is another one, if given."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.args = (message,)
        if status is not None:
            other.status = status
        return other


# In an address up to the last @, whatever is in between; and as a parameter.
PASSWORD = re.compile(r"""(://[^\s/@:"]*:)[^\s"]*(?=@)|(?<=password=)('[^']*'|[^\s"]+)""")


# A token of GitLab's by its prefix, whatever follows: somebody has typed it where it does not belong.
TOKEN = re.compile(r"(gl(?:pat|dt|rtr?|ptt|ft|imt|agent|cbt|oas|soat|ffct|wt)-|GR1348941)[\w-]{8}[\w.-]*")
WITHOUT_PREFIX = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9_-])[A-Za-z0-9_-]{20,64}")


def may_be_token(word: str) -> bool:
    """Whether a word of a command line may be a token, also one without a prefix."""
    return TOKEN.search(word) is not None or WITHOUT_PREFIX.fullmatch(word) is not None


def without_tokens(text: str) -> str:
    """`text` without what looks like a token in it, such as a file's name."""
    return TOKEN.sub(r"\1…", text)


def shortened(message: str) -> str:
    """`message` without passwords of addresses and tokens, and without the middle of long values in quotation marks.

    >>> shortened('There is no "' + "x" * 70_000 + '" here.')[:20]
    'There is no "xxxxxxx'
    >>> len(shortened('There is no "' + "x" * 70_000 + '" here.'))
    235
    """
    message = without_tokens(PASSWORD.sub(r"\1…", message))
    if len(message) <= LONGEST_VALUE:
        return message
    message = re.sub(r'"[^"]*"', lambda found: _without_middle(found[0], LONGEST_VALUE), message)
    return _without_middle(message, LONGEST_MESSAGE)


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest + 50:
        return text
    half = longest // 2
    return f"{text[:half]}… ({len(text) - 2 * half:,} more) …{text[-half:]}"


class DatabaseError(TokensError):
    """The database cannot be reached, refuses the login, or failed in the middle of a statement."""


class ConnectionLost(DatabaseError):
    """The server went away in the middle of a piece of work; its open transaction is rolled back by the server."""


class LockTimeout(DatabaseError):
    """Another session holds a row that a statement wanted, or the two waited for each other."""


class StatementTimeout(DatabaseError):
    """The server cancelled a statement that took too long, or that somebody cancelled."""


class ServerError(TokensError):
    """The embedded PostgreSQL cannot be installed, started or stopped."""


class UsageError(TokensError):
    """The command line or the configuration asks for something that does not exist or cannot be read."""

    status = ExitStatus.USAGE


class RunComplete(UsageError):
    """Nothing is left of a run that was to be continued: who wanted just that need do nothing."""


class TerminalRequired(UsageError):
    """A task that asks questions was started without a terminal."""


class Refused(TokensError):
    """A guard said no: a wrong database, a standby, a missing privilege. Nothing was changed."""

    status = ExitStatus.REFUSED


class ReadOnly(Refused):
    """The server takes no changes: a standby, or a primary in the middle of a failover, which passes."""

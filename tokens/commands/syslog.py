"""A line in syslog for each run that has ended, and for what is done to the journal itself.

Where there is no syslog in its usual place, nothing is missed.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tokens import database
from tokens.address import Address
from tokens.commands.environment import Environment
from tokens.errors import TokensError
from tokens.journal import ended
from tokens.journal.ended import SyslogLine

AUTHPRIV, NOTICE = 10, 5  # as sudo writes
PATIENCE = 1.0  # seconds for a syslog that does not read


def write_run(environment: Environment, address: Address, run: int | None) -> None:
    """Write the line about a run of the journal, None for one that is not recorded."""
    if run is None or environment.syslog is None:
        return
    with (
        _faults_noted(environment),
        suppress(TokensError),
        _connected(environment.syslog.path) as log,
        database.reading(address) as connection,
    ):
        _send(log, ended.line(connection, run), environment)


def write(environment: Environment, line: SyslogLine | None) -> None:
    """Write such a line, which is known already; None for none."""
    if environment.syslog is not None:
        with _faults_noted(environment), _connected(environment.syslog.path) as log:
            _send(log, line, environment)


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.settimeout(PATIENCE)
        log.connect(str(path))
        yield log


@contextmanager
def _faults_noted(environment: Environment) -> Iterator[None]:
    """Say that a socket which somebody has named takes no line, and nothing of the usual one."""
    try:
        yield
    except OSError as error:
        if environment.syslog is not None and environment.syslog.named:
            why = error.strerror or "it reads nothing"
            environment.tell(f"NOTE: {environment.syslog.path} (tokens.syslog) has no line about this: {why}.")


def _send(log: socket.socket, line: SyslogLine | None, environment: Environment) -> None:
    if line is not None:
        text = line.with_names if environment.syslog_names else line.text
        log.send(f"<{AUTHPRIV * 8 + NOTICE}>gitlab-tokens[{os.getpid()}]: {text}".encode("ascii", "backslashreplace"))

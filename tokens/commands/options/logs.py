"""Which logs of GitLab's are read."""

from collections.abc import Sequence

from tokens.commands.environment import Environment
from tokens.commands.options.values import words
from tokens.errors import UsageError
from tokens.terminal import console
from tokens.usage.files import Log, logs


def logs_named(environment: Environment, log: Sequence[str] | None) -> tuple[Log, ...] | None:
    """The logs that `--log` names, oldest first; None where it is not given.

    Raises:
        UsageError: no such file, or a terminal where a log should come from.
    """
    if not log:
        return None
    named, stdin = words(log), environment.stdin
    if "-" in named and console.is_terminal(stdin):
        raise UsageError("--log - reads standard input, which is a terminal here; give a file or a pipe.")
    return logs(named, None if stdin is None or stdin.closed else stdin.buffer)

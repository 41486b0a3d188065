"""Values of options for completion: those that this machine, a database or a room knows that help does not load."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

import invoke

from tokens.cli.configuration import read_configuration
from tokens.cli.target import TargetOption, local_address
from tokens.commands.environment import Environment
from tokens.errors import TokensError

MOST_RUNS = 100
PLAIN = re.compile(r"[\w./-]+")  # as GitLab allows them; nothing else may reach a shell
LONGEST = "2s"  # that the server works for a key; completion itself ends soon after


def look_up(context: invoke.Context, what: str, words: Sequence[str], begun: str) -> Iterable[str]:
    """What can be typed: `targets`, or of the target among the words so far the newest `runs`, and names as `begun`.

    None, and not a word, where that fails, or would take a container or a start of the demo.
    """
    with suppress(TokensError, OSError):
        if what == "targets":
            from tokens.targets.known import names

            return list(names(read_configuration(context).targets))
        if what in ("columns", "sortable columns"):
            return _columns(begun if what == "sortable columns" else None)
        if what == "scopes":
            from tokens.gitlab.scopes import KNOWN

            return sorted(KNOWN)
        if what == "runs":
            return _runs(context, _target(words))
        return _names(context, _target(words), what, begun)
    return ()


def _columns(sorted_as: str | None) -> list[str]:
    """The columns of a list; with what is typed so far those that it can be sorted by, after a minus with that."""
    # All that is known of tokens, for this alone.
    from tokens.inventory.token_columns import BY_NAME, UNSORTABLE

    if sorted_as is None:
        return list(BY_NAME)
    minus = "-" if sorted_as.startswith("-") else ""
    return [f"{minus}{name}" for name in BY_NAME if name not in UNSORTABLE]


def _target(words: Sequence[str]) -> str | None:
    """The target among the words so far, None for the default."""
    for word, following in reversed(list(zip(words, [*words[1:], ""], strict=True))):
        if word in ("--target", "-t"):
            return following
        if word.startswith("--target="):
            return word.partition("=")[2]
    return None


def _runs(context: invoke.Context, target: str | None) -> list[str]:
    # The database's driver, for this alone.
    from tokens import database
    from tokens.journal import installation, runs

    address = local_address(TargetOption(context, target), Environment(None, None, None))
    if address is None:
        return []
    with database.reading(address) as connection:
        installation.check(connection, reading=True)
        return [str(run.id) for run in runs.list_runs(connection)][:MOST_RUNS]


def _names(context: invoke.Context, target: str | None, what: str, begun: str) -> list[str]:
    # The database's driver, for this alone.
    from tokens import database
    from tokens.selection.unmatched import names_beginning

    address = local_address(TargetOption(context, target), Environment(None, None, None))
    if address is None:
        return []
    with database.connect(address, read_only=True) as connection, connection.transaction(statement_timeout=LONGEST):
        return [name for name in names_beginning(connection, what, begun) if PLAIN.fullmatch(name)]

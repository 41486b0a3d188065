"""`--log` of tasks that are not about logs: what those say is read once, before the database is asked."""

from collections.abc import Sequence

from tokens.commands.environment import Environment
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.usage.files import Log, opened
from tokens.usage.reading import Usage, read_usage
from tokens.views.logged import faults


def located(environment: Environment, locate: Locate, logs: Sequence[Log] | None) -> tuple[Site, Usage | None]:
    """The GitLab that is meant, and what the logs say; None where there are none.

    Root opens them before it becomes the GitLab user.

    Raises:
        TokensError: see `tokens.errors`.
    """
    with opened(logs or ()) as found:
        site = locate()
        return site, read(environment, found)


def read(environment: Environment, logs: Sequence[Log]) -> Usage | None:
    """What the logs say, after a note on what of them could not be read; None where there are none.

    Raises:
        TokensError: one cannot be read.
    """
    if not logs:
        return None
    with environment.announced("Reading the log"):
        usage = read_usage(logs)
    environment.note(faults(usage))
    return usage

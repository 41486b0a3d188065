"""`check`: one line and an exit status for monitoring, before tokens stop working."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tokens.commands.days import days_of
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.show import show
from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.inventory.due import due, gauges
from tokens.selection import Selection
from tokens.targets.places import Locate
from tokens.views import due as view


@dataclass(frozen=True)
class Thresholds:
    """Within how many days from today (UTC) tokens that stop working are a warning, and within how many urgent."""

    warn: int
    critical: int


def thresholds(_: Environment, warn: str, critical: str) -> Thresholds:
    """What these options mean.

    Raises:
        UsageError: what cannot be read, or a warning that comes later than what is urgent.
    """
    found = Thresholds(days_of("warn", warn), days_of("critical", critical))
    if found.critical > found.warn:
        raise UsageError(f"--critical {critical} is longer than --warn {warn}: a warning comes first.")
    return found


def check(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    thresholds: Thresholds,
    output: str,
    file: str | None,
) -> Ending:
    """Tell monitoring what of `selection` stops working soon.

    Ends with DUE if something does; for Nagios with its own statuses; for Prometheus with DONE.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if file is not None and output != "prometheus":
        raise UsageError("--file is where --output prometheus is written: use both.")
    site = locate()
    if output == "prometheus":
        from tokens.views.metrics import metrics  # its library loads a web server

        text = metrics(gauges(site.address, selection))
        if file is None:
            environment.write(text)
        else:
            replace(Path(file), text)
        return DONE
    found = due(site.address, selection, thresholds.warn, thresholds.critical)
    show(
        environment,
        output,
        text=lambda: view.line(found),
        json=lambda: view.as_json(found, site.instance),
        others={"nagios": lambda: view.nagios(found)},
    )
    if output == "nagios":
        return Ending(view.severity(found))
    return Ending(ExitStatus.DUE) if found.warning else DONE


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Put `text` in the place of a file at once, as UTF-8, so that no reader gets half of it.

    Raises:
        TokensError: it cannot be written, or is a device, a folder or a link; an older one stays as it is.
    """
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise TokensError(f'--file "{path}" is no plain file, and nothing else is replaced; leave it out.')
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
        ) as new:
            try:
                new.write(text)
                new.flush()
                os.fsync(new.fileno())
                os.fchmod(new.fileno(), mode)
                os.replace(new.name, path)
            except BaseException:
                os.unlink(new.name)
                raise
    except OSError as error:
        raise TokensError(f'--file "{path}" cannot be written: {error.strerror}.') from error

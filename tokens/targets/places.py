"""From a target that lies right here, or is a database, to the site that a command works on."""

from collections.abc import Callable
from pathlib import Path

from tokens.errors import UsageError
from tokens.targets import demo
from tokens.targets.demo.progress import ReportProgress
from tokens.targets.here import identity, installation
from tokens.targets.here.site import Site, open_site
from tokens.targets.target import (
    DatabaseTarget,
    DemoTarget,
    HereTarget,
    OmnibusTarget,
    SourceTarget,
    Target,
    absolute_path,
)

Locate = Callable[[], Site]
"""Finds the site and becomes its user: called once, when all that the caller alone may read is read."""


def open_place(target: Target, *, root: Path, demo_directory: Path | None, report: ReportProgress) -> Site:
    """The database that `target` means, with what is known of the installation around it.

    The demo is started first. For an installation right here this process becomes its user, from now on.

    Args:
        target: no container and no pod.
        root: where the machine's files are looked for.
        demo_directory: the demo's folder, None for the usual one.
        report: gets a line on what takes time.

    Raises:
        NoInstallation, Refused, UsageError: see `tokens.targets.here.site`.
    """
    identity.leave_a_closed_home()
    match target:
        case DatabaseTarget(address):
            return Site(address)
        case DemoTarget():
            return Site(demo.open(demo_directory, report), demo=demo_directory or demo.place())
        case OmnibusTarget():
            return open_site(installation.omnibus(root))
        case SourceTarget(directory):
            return open_site(installation.source(directory and absolute_path(directory), root))
        case HereTarget():
            return open_site(installation.detect(root))
    raise UsageError("This task has to be run where GitLab is, not from outside.")

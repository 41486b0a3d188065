"""`bundle.*`: the program with its own Python in one file, to be carried to where there is none."""

from pathlib import Path

from tokens.commands.environment import Environment
from tokens.targets.target import RemoteTarget
from tokens.targets.there import bundle, remote


def build(environment: Environment, folder: Path | None) -> None:
    """Build the bundle in `folder`, None for the usual one."""
    built = bundle.build(folder)
    environment.print(
        f"Bundle  {built.path}\nSize    {built.path.stat().st_size / 2**20:.1f} MiB\nSHA-256 {built.sha256}"
    )


def clean(environment: Environment, place: tuple[RemoteTarget, tuple[str, ...]] | Path | None) -> None:
    """Remove what was carried to a container or pod, or built in a folder right here, None for the usual one.

    A container or pod comes with the words of the program that goes into it.
    """
    if isinstance(place, tuple):
        target, client = place
        container = remote.find_place(target, environment.steps().show, client)
        gone = remote.clean(container)
        where = f"in {container.shown}"
    else:
        gone = [str(path) for path in bundle.remove(place)]
        where = "here"
    for path in gone:
        environment.print(f"Removed {path} {where}.")
    if not gone:
        environment.print(f"There was nothing of ours {where}.")

"""`bundle.*`: the program with its own Python in one file, to be carried to where there is none."""

import shutil
from pathlib import Path

from tokens.commands.environment import Environment
from tokens.errors import TokensError, UsageError
from tokens.targets.target import RemoteTarget
from tokens.targets.there import bundle, remote


def build(environment: Environment, folder: Path | None) -> None:
    """Build the bundle in `folder`, None for the usual one."""
    built = bundle.build(folder)
    environment.print(
        f"Bundle  {built.path}\nSize    {built.path.stat().st_size / 2**20:.1f} MiB\nSHA-256 {built.sha256}"
    )


def deploy(environment: Environment, directory: str) -> None:
    """Write the folder `deploy` into that directory: pages, the installation's script, images, charts' values.

    Raises UsageError where another `deploy` is there already, TokensError where it cannot be written.
    """
    folder, ours = Path(directory).absolute() / "deploy", bundle.beside("deploy")
    done = f"Written to {folder}"
    try:
        if folder.is_dir() and _files(folder) == _files(ours):
            done = f"{folder} is there already, as this version has it"
        elif folder.exists() or folder.is_symlink():
            raise UsageError(
                f"{folder} is there already with other files, and nothing in it is overwritten: move it away, or name "
                "another --directory."
            )
        else:
            shutil.copytree(ours, folder)
    except OSError as error:
        raise TokensError(f"{folder} cannot be written: {error.strerror or error}.") from error
    environment.print(f"{done}; begin with {folder / 'README.md'}.")


def _files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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

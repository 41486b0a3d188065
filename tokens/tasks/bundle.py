"""`bundle.*`: the program with its own Python in one file, to be carried to where there is none."""

import sys

import invoke

from tokens.errors import UsageError
from tokens.targets.there import bundle
from tokens.tasks.target_option import TARGET_HELP, bundle_directory, client, remote_target
from tokens.tasks.task import task
from tokens.terminal.steps import Steps

DIRECTORY_HELP = (
    "Folder for the bundle. Default: INVOKE_TOKENS_BUNDLE_DIRECTORY, then tokens.bundle.directory in the "
    "configuration, then invoke-gitlab-tokens in the user's cache."
)


@task(help={"directory": DIRECTORY_HELP})
def build(context: invoke.Context, directory: str = "") -> None:
    """Build the program with its Python into one file."""
    built = bundle.build(bundle_directory(context, directory))
    print(f"Bundle  {built.path}")
    print(f"Size    {built.path.stat().st_size / 2**20:.1f} MiB")
    print(f"SHA-256 {built.sha256}")


@task(help={"target": TARGET_HELP, "directory": DIRECTORY_HELP})
def clean(context: invoke.Context, target: str = "", directory: str = "") -> None:
    """Remove what was carried or built."""
    destination = remote_target(context, target)
    if target and (destination is None or directory):
        raise UsageError("bundle.clean takes a container or pod as target, or else the folder of bundles here.")
    if destination is None:
        gone = [str(path) for path in bundle.remove(bundle_directory(context, directory))]
        where = "here"
    else:
        from tokens.targets.there import remote

        place = remote.find_place(destination, Steps(sys.stderr).show, client(context, destination))
        gone = remote.clean(place)
        where = f"in {place.shown}"
    for path in gone:
        print(f"Removed {path} {where}.")
    if not gone:
        print(f"There was nothing of ours {where}.")

"""The tasks that are called by two words: `journal.*`, `demo.*` and `bundle.*`."""

import invoke

from tokens.tasks.declaration import Task, task
from tokens.tasks.options import (
    ALLOW_PUBLICATION,
    BUNDLE_FOLDER,
    BUNDLE_PLACE,
    DATE_OF_DEMO,
    DEMO_FOLDER,
    LOCATED,
    OUTPUT,
    PRUNED_DAY,
    SQL,
    TOKENS_OF_DEMO,
    YES,
)


def _group(name: str, manual: str, *tasks: Task) -> invoke.Collection:
    group = invoke.Collection(name, *tasks)
    group.__doc__ = manual
    return group


@task("journal:install", LOCATED, ALLOW_PUBLICATION, SQL, name="journal.install")
def install() -> None:
    """Install the journal, or migrate it."""


@task("journal:uninstall", LOCATED, YES, name="journal.uninstall")
def uninstall() -> None:
    """Remove the journal and all that it remembers."""


@task("journal:status", LOCATED, OUTPUT, name="journal.status")
def journal_status() -> None:
    """Show whether the journal is there, and its size."""


@task("journal:prune", LOCATED, PRUNED_DAY, YES, name="journal.prune")
def prune() -> None:
    """Forget runs of long ago; none that is under way."""


@task("demo:start", DEMO_FOLDER, TOKENS_OF_DEMO, DATE_OF_DEMO, name="demo.start")
def start() -> None:
    """Start the demo, filling it the first time."""


@task("demo:stop", DEMO_FOLDER, name="demo.stop")
def stop() -> None:
    """Stop the demo's database; what is in it stays."""


@task("demo:reset", DEMO_FOLDER, TOKENS_OF_DEMO, DATE_OF_DEMO, name="demo.reset")
def reset() -> None:
    """Fill the demo anew, forgetting every change."""


@task("demo:remove", DEMO_FOLDER, YES, name="demo.remove")
def remove() -> None:
    """Stop the demo and remove it with its folder."""


@task("demo:status", DEMO_FOLDER, name="demo.status")
def demo_status() -> None:
    """Show whether the demo runs and what is in it."""


@task("bundle:build", BUNDLE_FOLDER, name="bundle.build")
def build() -> None:
    """Build the program with its Python into one file."""


@task("bundle:clean", BUNDLE_PLACE, name="bundle.clean", travels=False)
def clean() -> None:
    """Remove what was carried or built."""


journal = _group(
    "journal",
    "`journal.*`: the record of what was changed, in GitLab's own database.",
    *(install, uninstall, journal_status, prune),
)
demo = _group(
    "demo",
    "`demo.*`: the embedded, throw-away GitLab database.",
    *(start, stop, reset, remove, demo_status),
)
bundle = _group(
    "bundle",
    "`bundle.*`: the program with its own Python in one file, to be carried to where there is none.",
    *(build, clean),
)

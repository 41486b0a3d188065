"""The tasks that are called by two words: `journal.*`, `demo.*` and `bundle.*`."""

import invoke

from tokens.tasks.declaration import Task, task
from tokens.tasks.options.keeping import (
    ALLOW_PUBLICATION,
    BUNDLE_FOLDER,
    BUNDLE_PLACE,
    DATE_OF_DEMO,
    DEMO_FOLDER,
    DEPLOY_DIRECTORY,
    FOUR_EYES_SET,
    PRUNED_DAY,
    SQL,
    TOKENS_OF_DEMO,
)
from tokens.tasks.options.shared import FOUR_EYES, LOCATED, OUTPUT, REASON_GIVEN, YES


def _group(name: str, manual: str, *tasks: Task) -> invoke.Collection:
    group = invoke.Collection(name, *tasks)
    group.__doc__ = manual
    return group


@task("journal:install", LOCATED, ALLOW_PUBLICATION, SQL, name="journal.install")
def install() -> None:
    """Install the journal, or migrate it.

    The journal is the schema token_tasks in GitLab's own database. A change and
    its record are committed together. On a terminal the first change asks whether
    to install it. That takes the privilege CREATE on the database, which GitLab's
    own role has.

    Where a publication would carry its tables to subscribers, run the statements
    of --sql on each of them first, then install with --allow publication.

    Examples:

        gitlab-tokens journal.install
        gitlab-tokens journal.install --sql
    """


@task("journal:uninstall", LOCATED, YES, name="journal.uninstall")
def uninstall() -> None:
    """Remove the journal and all that it remembers.

    Afterwards no run can be undone, and none can be gone on with. Four eyes are
    off then, and what proves the runs is gone: write evidence before.

    Example:

        gitlab-tokens journal.uninstall --yes
    """


@task("journal:status", LOCATED, OUTPUT, name="journal.status")
def journal_status() -> None:
    """Show the journal's size and whether it is intact.

    Each transaction of a run enters the SHA-256 of the rows that it writes, in a
    chain. The chain is checked here: a row that something else has changed,
    removed or added is named, and the exit status is 1. Runs from before revision
    4 of the journal are not in it.

    Who may write everything in the database can write a chain of their own. Then only
    what is kept elsewhere shows it: the last entry that this prints, a line in
    syslog, or a file of evidence.

    Example:

        gitlab-tokens journal.status --output json
    """


@task("journal:four_eyes", LOCATED, FOUR_EYES_SET, REASON_GIVEN, OUTPUT, FOUR_EYES, name="journal.four-eyes")
def four_eyes() -> None:
    """Let nobody apply a plan of their own.

    With --on the journal demands two people: who plans a change may not carry it
    out. It holds for every caller, on every host. extend, remove, revoke and undo
    are refused then without --plan, and apply is refused to the person who
    planned. edit and rotate are refused, since their plans cannot be stored. A
    rotation that was begun before is continued by another person. --off ends
    that. Both stay on record with who and when, and without an option it shows
    them.

    tokens.four_eyes: true in the configuration demands the same of its callers
    alone, and cannot turn it off.

    A person is who was there before sudo, or before a container was entered, else
    the account. Nothing proves that: who sets SUDO_USER claims to be somebody
    else, and who has the database's password needs no task. It helps where people
    have accounts of their own and sudo. Two people who log in as root are one.

    Examples:

        gitlab-tokens journal.four-eyes
        gitlab-tokens journal.four-eyes --on --reason "audit of 2026"
    """


@task("journal:prune", LOCATED, PRUNED_DAY, YES, name="journal.prune")
def prune() -> None:
    """Forget runs of long ago; none that is under way.

    A run that is forgotten can no longer be undone. GitLab 16.0 to 16.2 does not
    know what a rotation has replaced, so there a rotation is kept until its old
    token is revoked. Who forgot how many runs, and when, stays in the journal. It
    takes one of --before and --older-than.

    Examples:

        gitlab-tokens journal.prune --older-than 90d
        gitlab-tokens journal.prune --before 2026-01-01 --yes
    """


@task("demo:start", DEMO_FOLDER, TOKENS_OF_DEMO, DATE_OF_DEMO, name="demo.start")
def start() -> None:
    """Start the demo, filling it the first time.

    The demo is a throw-away PostgreSQL with a GitLab-shaped database. Every task
    starts it by itself with --target demo. It takes some seconds the first time.

    Examples:

        gitlab-tokens demo.start
        gitlab-tokens demo.start --tokens 1565353
        gitlab-tokens demo.start --expires friday
    """


@task("demo:stop", DEMO_FOLDER, name="demo.stop")
def stop() -> None:
    """Stop the demo's database; what is in it stays.

    Example:

        gitlab-tokens demo.stop
    """


@task("demo:reset", DEMO_FOLDER, TOKENS_OF_DEMO, DATE_OF_DEMO, name="demo.reset")
def reset() -> None:
    """Fill the demo again, forgetting every change.

    Example:

        gitlab-tokens demo.reset --tokens 1565353
    """


@task("demo:remove", DEMO_FOLDER, YES, name="demo.remove")
def remove() -> None:
    """Stop the demo and remove it with its folder.

    What somebody else has put into the folder stays, and the folder then, too.

    Example:

        gitlab-tokens demo.remove --yes
    """


@task("demo:status", DEMO_FOLDER, name="demo.status")
def demo_status() -> None:
    """Show whether the demo runs and what is in it.

    Example:

        gitlab-tokens demo.status
    """


@task("bundle:build", BUNDLE_FOLDER, name="bundle.build")
def build() -> None:
    """Build the program with its Python into one file.

    The bundle brings its own Python and C library. So it runs on any Linux of the
    same architecture, without Python and without a home, from a read-only folder.
    Tasks with --target docker:... or kubernetes:... build it and carry it along
    by themselves.

    Example:

        gitlab-tokens bundle.build --directory ~/bundles
    """


@task("bundle:clean", BUNDLE_PLACE, name="bundle.clean", travels=False)
def clean() -> None:
    """Remove what was carried or built.

    With --target it removes what was carried into a container or pod, without it
    the bundles that were built here.

    Examples:

        gitlab-tokens bundle.clean
        gitlab-tokens bundle.clean --target docker:gitlab
    """


@task("bundle:deploy", DEPLOY_DIRECTORY, name="bundle.deploy")
def deploy() -> None:
    """Write out deploy/: what to install where, and how.

    The package carries the folder along. Another folder deploy that is there
    already is not overwritten.

    Examples:

        gitlab-tokens bundle.deploy
        gitlab-tokens bundle.deploy --directory ~/bundles
    """


journal = _group(
    "journal",
    "`journal.*`: the record of what was changed, in GitLab's own database.",
    *(install, uninstall, journal_status, four_eyes, prune),
)
demo = _group(
    "demo",
    "`demo.*`: the embedded, throw-away GitLab database.",
    *(start, stop, reset, remove, demo_status),
)
bundle = _group(
    "bundle",
    "`bundle.*`: the program with its own Python in one file, to be carried to where there is none.",
    *(build, clean, deploy),
)

"""The tasks of the demo, `demo.*`, with their options."""

from functools import partial

from tokens.cli import declaration, target, values
from tokens.cli.declaration import Family, group
from tokens.cli.option import Option, Value, argument
from tokens.tasks.options import YES

task = partial(declaration.task, family=Family.DEMO)

DEMO_FOLDER = argument("folder", target.demo_directory)
TOKENS_OF_DEMO = Option(
    "tokens",
    "How many tokens expire on one date. Default: 15653; as documented by GitLab: 1565353. demo.reset keeps it.",
    value=values.NUMBER.such_as("1565353"),
).read_by("options.values:tokens_of_demo")

DATE_OF_DEMO = Option(
    "expires",
    "The date on which they expire: friday (the coming one) or a day within the coming year (2027-06-15, "
    "+14d). Default: 2024-06-15, as documented by GitLab. demo.reset keeps it.",
    value=Value("DAY", "a day, or friday", "friday"),
).read_by("options.days:date_of_demo", "expires_at")


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

    It has as many tokens as before on the same date, where nothing else is said.

    Examples:

        gitlab-tokens demo.reset
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


demo = group(
    "demo",
    "`demo.*`: the embedded, throw-away GitLab database.",
    *(start, stop, reset, remove, demo_status),
)

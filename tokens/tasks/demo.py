"""`demo.*`: the embedded, throw-away GitLab database."""

import sys

import invoke

from tokens.errors import UsageError
from tokens.targets import demo
from tokens.tasks.numbers import whole_number
from tokens.tasks.target_option import demo_directory, report_to
from tokens.tasks.task import task

MOST_TOKENS = 20_000_000
TOKENS_HELP = (
    f"How many tokens expire on 2024-06-15. Default: {demo.TOKENS}; as documented by GitLab: {demo.FULL_SIZE}."
)


@task(help={"tokens": TOKENS_HELP})
def start(context: invoke.Context, tokens: str = "") -> None:
    """Start the demo, filling it the first time."""
    directory = demo_directory(context)
    wanted = _number(tokens)
    demo.open(directory, report_to(sys.stderr), tokens=demo.TOKENS if wanted is None else wanted)
    if wanted not in (None, demo.status(directory).tokens):
        raise UsageError(
            f"The demo is there already, with another number of tokens; for a new one: demo.reset --tokens {wanted}."
        )
    _print_status(demo.status(directory))


@task(help={})
def stop(context: invoke.Context) -> None:
    """Stop the demo's database; what is in it stays."""
    stopped = demo.stop(demo_directory(context))
    print("The demo is stopped." if stopped else "The demo was not running.")


@task(help={"tokens": TOKENS_HELP})
def reset(context: invoke.Context, tokens: str = "") -> None:
    """Fill the demo anew, forgetting every change."""
    directory = demo_directory(context)
    wanted = _number(tokens)
    demo.reset(directory, report_to(sys.stderr), tokens=demo.TOKENS if wanted is None else wanted)
    _print_status(demo.status(directory))


@task(help={})
def status(context: invoke.Context) -> None:
    """Show whether the demo runs and what is in it."""
    _print_status(demo.status(demo_directory(context)))


def _number(tokens: str) -> int | None:
    if not tokens:
        return None
    number = whole_number(tokens, 0, MOST_TOKENS)
    if number is None:
        raise UsageError(f'--tokens takes a number up to {MOST_TOKENS}, not "{tokens}".')
    return number


def _print_status(status: demo.Status) -> None:
    rows = {
        "Demo": status.state.value,
        "Folder": status.folder,
        "GitLab": status.release,
        "PostgreSQL": status.server_version,
        "Tokens": status.tokens and f"{status.tokens} that expire on 2024-06-15, and others around {status.filled_on}",
        "Size": status.size and f"{status.size // 10**6} MB",
        "Connect": f'psql "{status.address.conninfo}"' if status.state is demo.State.READY else None,
    }
    for name, value in rows.items():
        if value is not None:
            print(f"{name:<12}{value}")

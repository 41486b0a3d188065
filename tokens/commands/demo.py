"""`demo.*`: the embedded, throw-away GitLab database."""

from pathlib import Path

from tokens.commands.environment import Environment
from tokens.errors import UsageError
from tokens.targets import demo
from tokens.views import demo as view


def start(environment: Environment, folder: Path | None, tokens: int | None) -> None:
    """Start the demo, filling it the first time with so many `tokens` on the documented date, None for the default."""
    demo.open(folder, _report(environment), tokens=demo.TOKENS if tokens is None else tokens)
    if tokens not in (None, demo.status(folder).tokens):
        raise UsageError(
            f"The demo is there already, with another number of tokens; for a new one: demo.reset --tokens {tokens}."
        )
    status(environment, folder)


def stop(environment: Environment, folder: Path | None) -> None:
    """Stop the demo's database; what is in it stays."""
    environment.print("The demo is stopped." if demo.stop(folder) else "The demo was not running.")


def reset(environment: Environment, folder: Path | None, tokens: int | None) -> None:
    """Fill the demo anew, forgetting every change."""
    demo.reset(folder, _report(environment), tokens=demo.TOKENS if tokens is None else tokens)
    status(environment, folder)


def status(environment: Environment, folder: Path | None) -> None:
    """Show whether the demo runs and what is in it."""
    environment.print(view.screen(demo.status(folder)))


def _report(environment: Environment) -> demo.Report:
    steps = environment.steps()
    return lambda progress: steps.show(progress.text, progress.done, progress.total)

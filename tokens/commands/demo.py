"""`demo.*`: the embedded, throw-away GitLab database."""

from datetime import date
from pathlib import Path

from tokens.call import to_type
from tokens.commands.agreement import confirmed_by_person
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.run_report import print_done
from tokens.errors import UsageError
from tokens.targets import demo
from tokens.targets.demo.progress import ReportProgress
from tokens.views import demo as view


def start(environment: Environment, folder: Path | None, tokens: int | None, expires_at: date | None) -> None:
    """Start the demo, filling it the first time with `tokens` tokens on one date, None for the documented ones."""
    wanted_tokens = demo.TOKENS if tokens is None else tokens
    demo.open(folder, _report(environment), tokens=wanted_tokens, expires_at=expires_at or demo.EXPIRES_AT)
    found = demo.status(folder)
    if tokens not in (None, found.tokens) or expires_at not in (None, found.expires_at):
        wanted = [] if tokens is None else ["--tokens", tokens]
        wanted += [] if expires_at is None else ["--expires", expires_at]
        raise UsageError(
            f"The demo is there already, with {found.tokens:,} tokens that expire on {found.expires_at}."
            + to_type("to make a new one", "demo.reset", *wanted)
        )
    _show_with_api(environment, folder)


def stop(environment: Environment, folder: Path | None) -> None:
    """Stop the demo's database; what is in it stays."""
    environment.print("The demo is stopped." if demo.stop(folder) else "The demo was not running.")


def reset(environment: Environment, folder: Path | None, tokens: int | None, expires_at: date | None) -> None:
    """Fill the demo again, forgetting every change, with as many tokens and the date of before if nothing is said."""
    demo.reset(folder, _report(environment), tokens=tokens, expires_at=expires_at)
    _show_with_api(environment, folder)


def remove(environment: Environment, folder: Path | None, yes: bool) -> Ending:
    """Stop the demo and remove all that it has on disk, once a person has agreed or with `yes`."""
    path = demo.status(folder).folder
    if not path.exists():
        environment.print(f"There is no demo in {path}.")
        return DONE
    demo.check_own(folder)
    if not (
        yes
        or confirmed_by_person(
            environment, "demo.remove", f"The demo in {path} will be deleted, and with it every change made in it."
        )
    ):
        return DONE
    freed = f"{demo.remove(folder) // 10**6} MB"
    if path.exists():
        return print_done(environment, f"The demo is removed, {freed}. {path} stays, since it holds something else.")
    return print_done(environment, f"The demo is removed with its folder {path}, {freed}.")


def status(environment: Environment, folder: Path | None) -> None:
    """Show whether the demo runs and what is in it."""
    environment.print(view.screen(demo.status(folder)))


def _show_with_api(environment: Environment, folder: Path | None) -> None:
    demo.start_api(folder)
    status(environment, folder)


def _report(environment: Environment) -> ReportProgress:
    steps = environment.steps()
    return lambda progress: steps.show(progress.text, progress.done, progress.total)

"""`journal.*`: the record of what was changed, in GitLab's own database."""

from datetime import date

from tokens import database, origin
from tokens.commands import syslog
from tokens.commands.agreement import confirmed_by_person
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.handling import allowed
from tokens.commands.run_report import print_done
from tokens.commands.show import show
from tokens.counts import counted
from tokens.errors import ExitStatus, UsageError
from tokens.journal import contents, ended, installation, settings, setup
from tokens.journal.opening import TIMEOUTS
from tokens.targets.places import Locate
from tokens.views import journal as view


def install(environment: Environment, locate: Locate, allow: str | None, sql: bool) -> Ending:
    """Install or migrate the journal; with `sql` print the statements that make its tables instead.

    `allow` is the words of the guards that may be passed, separated by commas.
    """
    words = allowed("journal.install", [allow] if allow else None)
    address = locate().address
    if sql:
        environment.print(setup.statements(address), end="")
        return DONE
    installed = setup.install(address, words)
    if installed.before != installed.revision:
        return print_done(environment, str(installed))
    environment.print(str(installed))
    return DONE


def uninstall(environment: Environment, locate: Locate, yes: bool) -> Ending:
    """Remove the journal and all that it remembers, once a person has agreed or with `yes`."""
    who = origin.here()  # asked before this process may become the GitLab user
    address = locate().address
    with environment.announced("Reading the journal"):
        runs = setup.runs_to_forget(address)
    if runs is None:
        environment.print("The journal is not installed.")
    elif yes or confirmed_by_person(
        environment, "journal.uninstall", f"{counted(runs, 'run')} will be forgotten, and cannot be undone then."
    ):
        forgotten = setup.uninstall(address) or 0
        syslog.write(environment, ended.of_journal("uninstalled", who, runs=forgotten))
        return print_done(
            environment, f"The journal is uninstalled, and {counted(forgotten, 'run is', 'runs are')} forgotten."
        )
    return DONE


def status(environment: Environment, locate: Locate, output: str) -> Ending:
    """Show whether the journal is there, its size, and whether its rows are as they were written.

    Ends with REFUSED where it is of another revision, since nothing is checked then.
    """
    site = locate()
    with environment.announced("Reading the journal"):
        found = contents.status(site.address)
    show(environment, output, text=lambda: view.screen(found), json=lambda: view.as_json(found, described(site)))
    if found.chain is None:
        return DONE if found.revision is None else Ending(ExitStatus.REFUSED, view.UNCHECKED)
    if not found.chain.faults:
        return DONE
    return Ending(ExitStatus.FAILED, view.broken(found.chain))


def turned(_: Environment, on: bool, off: bool) -> bool | None:
    """Whether four eyes are turned on or off; None to show whether they are.

    Raises:
        UsageError: both.
    """
    if on and off:
        raise UsageError("--on and --off contradict each other: use one of them.")
    return on if on or off else None


def four_eyes(
    environment: Environment, locate: Locate, on: bool | None, reason: str | None, output: str, four_eyes: bool
) -> Ending:
    """Turn four eyes on or off for everybody who uses the journal, or show whether they are, and who has turned them.

    `four_eyes` is whether the configuration demands them here.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if on is None and reason is not None:
        raise UsageError("--reason says why four eyes are turned on or off: use --on or --off with it.")
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    with database.connect(site.address) as connection:
        if on is not None:
            with database.writing(connection, **TIMEOUTS):
                installation.check(connection)
                if turned := on != settings.demands_four_eyes(connection):
                    settings.set_four_eyes(connection, on=on, origin=who, because=reason)
            if turned:
                syslog.write(environment, ended.of_journal("four-eyes", who, state=_state(on)))
    with database.reading(site.address) as connection:
        installation.check(connection, reading=True)
        found = settings.read_four_eyes(connection)
    if output == "json":
        shown = view.four_eyes_as_json(found, described(site))
    else:
        shown = "\n".join(view.four_eyes_screen(found, by_configuration=four_eyes))
    if on is None:
        environment.print(shown)
        return DONE
    return print_done(environment, shown, f"Four eyes are {_state(on)}.")


def prune(environment: Environment, locate: Locate, day: date, yes: bool) -> Ending:
    """Forget the runs that were planned before 00:00 UTC of `day`, once a person has agreed or with `yes`."""
    who = origin.here()  # asked before this process may become the GitLab user
    address = locate().address
    with environment.announced("Reading the journal"):
        runs = contents.count_prunable(address, day)
    if not runs:
        environment.print(f"The journal has no run from before {day} to forget.")
    elif yes or confirmed_by_person(
        environment,
        "journal.prune",
        f"{counted(runs, 'run')} from before {day} will be forgotten, and cannot be undone then.",
    ):
        forgotten = contents.prune(address, day, who)
        syslog.write(environment, ended.of_journal("pruned", who, before=day, runs=forgotten))
        return print_done(environment, f"{counted(forgotten, 'run is', 'runs are')} forgotten, all from before {day}.")
    return DONE


def _state(on: bool) -> str:
    return "on" if on else "off"

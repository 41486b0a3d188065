"""`simulate`: what GitLab's nightly work will do to tokens, and what a decision would change about that."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.logged import read
from tokens.commands.options.days import day_of, days_of, days_until
from tokens.commands.options.logs import logs_named
from tokens.commands.options.selecting import to_count
from tokens.commands.options.values import FIRST, free_text, number_or_all, words
from tokens.commands.show import show
from tokens.errors import UsageError
from tokens.inventory.scenario import Scenario
from tokens.inventory.simulation import simulated
from tokens.selection import Selection, refuse_others
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.usage.files import Log
from tokens.usage.reading import Usage
from tokens.views import simulation as view

LONGEST = 3_660  # nights
LONGEST_LIFETIME = 400  # days; GitLab takes 365, and 400 behind a feature flag


@dataclass(frozen=True)
class Asked:
    """Which tokens, what is decided, and how much is shown; `logs` say what is used.

    `first` is how many lines people see, and `rows` how many a table for a program has; None for all.
    """

    selection: Selection
    scenario: Scenario
    by: str
    first: int | None
    rows: int | None
    logs: tuple[Log, ...] | None = None


def asked(
    environment: Environment,
    *,
    nights: str,
    max_lifetime: str | None,
    require_expiry: bool,
    no_require_expiry: bool,
    clean_up_days: str | None,
    disable: bool,
    granular_after: str | None,
    block_user: Sequence[str] | None,
    remove_member: str | None,
    log: Sequence[str] | None,
    by: str,
    first: str | None,
    group: Sequence[str] | None,
    project: Sequence[str] | None,
    **selecting: Any,
) -> Asked:
    """What these options mean. With `--remove-member` the place is where it is removed from, and chooses no tokens.

    Raises:
        UsageError: what cannot be read, or does not go together, in one line.
    """
    if require_expiry and no_require_expiry:
        raise UsageError("--require-expiry and --no-require-expiry are opposites: use one of them.")
    if disable and (max_lifetime or granular_after):
        other = "--max-lifetime" if max_lifetime else "--granular-after"
        raise UsageError(f"--disable stops every token at once, so {other} would change nothing: use one of them.")
    places = {"group": list(group or ()), "project": list(project or ())}
    if remove_member is not None and len(words([*places["group"], *places["project"]])) != 1:
        raise UsageError("--remove-member needs the one place that it is about: use --project PATH or --group PATH.")
    selection = to_count(environment, **places, **selecting)
    refuse_others(kind.value for kind in selection.others)
    users = to_count(environment, user=block_user).users if block_user else ()
    member = None if remove_member is None else _member(environment, remove_member)
    scenario = Scenario(
        days_until("nights", nights, LONGEST),
        max_lifetime=None if max_lifetime is None else _lifetime(max_lifetime),
        requires_expiry=True if require_expiry else False if no_require_expiry else None,
        clean_up_days=_days(clean_up_days) if clean_up_days not in (None, "never") else None,
        keeps_bots=clean_up_days == "never",
        disable=disable,
        granular_after=None if granular_after is None else day_of("granular-after", granular_after),
        block_users=users,
    )
    if member is not None:
        scenario = replace(
            scenario,
            remove_member=member,
            project=next(iter(selection.projects), None),
            group=next(iter(selection.groups), None),
        )
        selection = replace(selection, projects=(), groups=())
    number = number_or_all("first", first, "lines")
    return Asked(selection, scenario, by, FIRST if first is None else number, number, logs_named(environment, log))


def simulate(environment: Environment, locate: Locate, asked: Asked, output: str) -> None:
    """Show what happens to the tokens of the selection in the next nights.

    Raises:
        TokensError: see `tokens.errors`.
    """
    # Read before this process may become the GitLab user, and leave the caller's folder.
    usage = None if asked.logs is None else read(environment, asked.logs) or Usage()
    site = locate()
    instance = described(site) if output == "json" else site.instance  # before the transaction begins
    with ExitStack() as stack:
        with environment.announced("Going through the nights"):
            opened = simulated(site.address, asked.selection, asked.scenario, release=site.release, usage=usage)
            found = stack.enter_context(opened)
        environment.note(found.notes)

        def ics() -> Any:
            from tokens.views import calendar  # its library takes a tenth of a second

            return calendar.endings(found, site.instance, asked.selection, datetime.now(UTC))

        show(
            environment,
            output,
            text=lambda: view.screen(found, asked.by, asked.first, console.columns(environment.stdout)),
            json=lambda: view.as_json(found, instance, asked.selection),
            csv=lambda: view.as_csv(found, asked.by, asked.rows),
            ics=ics,
        )


def _member(environment: Environment, name: str) -> str:
    users = to_count(environment, user=[free_text("remove-member", name)]).users
    if len(users) > 1:
        raise UsageError("--remove-member takes one username.")
    return users[0]


def _lifetime(text: str) -> int:
    days = days_of("max-lifetime", text)
    if days > LONGEST_LIFETIME:
        raise UsageError(f"--max-lifetime takes {LONGEST_LIFETIME} days at most, as GitLab does.")
    return days


def _days(text: str | None) -> int:
    try:
        return days_of("clean-up-days", text or "")
    except UsageError:
        raise UsageError(f'--clean-up-days takes a number of days such as 7, or never, not "{text}".') from None

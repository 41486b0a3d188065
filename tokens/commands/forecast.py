"""`forecast`: how many tokens expire in the next days, weeks or months."""

import functools
from dataclasses import dataclass
from datetime import UTC, datetime

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.days import days_until
from tokens.commands.options.values import whole_number
from tokens.commands.show import show, tell_of_others
from tokens.errors import UsageError
from tokens.gitlab.kind import State
from tokens.inventory.forecast import Interval, events
from tokens.inventory.forecast import forecast as forecast_of
from tokens.selection import Selection
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.views import forecast as view

LONGEST = 36_600  # days
WIDTH = 100  # columns where there is no terminal


@dataclass(frozen=True)
class Window:
    """How far to look, in days from today (UTC), and in what steps.

    `largest` is whether only the fullest days are shown, the `first` of them.
    """

    days: int
    interval: Interval
    largest: bool
    first: int | None


def window(_: Environment, by: str | None, until: str, sort: str, first: str | None) -> Window:
    """What these options mean.

    Raises:
        UsageError: what cannot be read, in one line.
    """
    number = None if first is None else whole_number(first, 1, LONGEST)
    if first is not None and number is None:
        raise UsageError(f'--first takes a number of days, not "{first}".')
    if first is not None and sort != "tokens":
        raise UsageError("--first is about the fullest days: use --sort tokens with it.")
    if sort == "tokens" and by not in (None, Interval.DAY):
        raise UsageError(f"--sort tokens shows the fullest days: leave --by {by} out.")
    days = days_until("until", until, LONGEST)
    return Window(days, Interval.DAY if sort == "tokens" else Interval(by or Interval.WEEK), sort == "tokens", number)


def forecast(environment: Environment, locate: Locate, selection: Selection, window: Window, output: str) -> None:
    """Show how many tokens of `selection` expire when, from tomorrow on.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if output == "ics" and window.largest:
        raise UsageError("--sort tokens is about lines, and a calendar has its days in their order: leave it out.")
    revoked = State.REVOKED in selection.states
    site = locate()
    if output == "ics":
        from tokens.views import calendar  # its library takes a tenth of a second

        with environment.announced("Counting the tokens"):
            ending, notes = events(site.address, selection, window.days, ci=site.ci, revoked=revoked)
        environment.note(notes)
        lines = functools.partial(calendar.lines, ending, site.instance, selection, datetime.now(UTC))
        show(environment, output, ics=lines)
        return
    on_terminal = console.is_terminal(environment.stdout)
    counts_others = output == "json" or (output == "text" and on_terminal)
    with environment.announced("Counting the tokens"):
        found = forecast_of(
            site.address, selection, window.days, ci=site.ci, counts_others=counts_others, revoked=revoked
        )
    environment.note(found.notes)
    width = console.columns(environment.stdout) or WIDTH
    buckets = list(found.fullest(window.first) if window.largest else found.buckets(window.interval))

    def page() -> str:
        from tokens.views.page import forecast_page  # its library takes a while to load

        return forecast_page(found, buckets, described(site), selection, largest=window.largest)

    show(
        environment,
        output,
        text=lambda: view.largest(buckets) if window.largest else view.screen(found, window.interval, width, selection),
        json=lambda: view.as_json(found, buckets, described(site), selection),
        csv=lambda: view.as_csv(buckets, found.kinds),
        html=page,
    )
    tell_of_others(environment, output, found.others)

"""`forecast`: how many tokens expire in the next days, weeks or months."""

import shutil
from dataclasses import dataclass

from tokens.commands.days import day_of, days_of, today
from tokens.commands.environment import Environment
from tokens.commands.reading import whole_number
from tokens.commands.show import show
from tokens.errors import UsageError
from tokens.inventory.forecast import Step
from tokens.inventory.forecast import forecast as forecast_of
from tokens.selection import EVERYTHING, Selection
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
    step: Step
    largest: bool
    first: int | None


def window(_: Environment, by: str, until: str, sort: str, first: str | None) -> Window:
    """What these options mean.

    Raises:
        UsageError: what cannot be read, in one line.
    """
    number = None if first is None else whole_number(first, 1, LONGEST)
    if first is not None and number is None:
        raise UsageError(f'--first takes a number of days, not "{first}".')
    if first is not None and sort != "tokens":
        raise UsageError("--first is about the fullest days: use --sort tokens with it.")
    days = (day_of("until", until) - today()).days if "-" in until else days_of("until", until)
    if not 1 <= days <= LONGEST:
        raise UsageError(f"--until takes a period or a day from tomorrow on, at most {LONGEST:,} days away.")
    return Window(days, Step.DAY if sort == "tokens" else Step(by), sort == "tokens", number)


def forecast(environment: Environment, locate: Locate, selection: Selection, window: Window, output: str) -> None:
    """Show how many tokens of `selection` expire when, from tomorrow on.

    Raises:
        TokensError: see `tokens.errors`.
    """
    site = locate()
    with environment.announced("Counting the tokens"):
        found = forecast_of(site.address, selection, window.days)
    width = shutil.get_terminal_size().columns if console.is_terminal(environment.stdout) else WIDTH
    buckets = list(found.fullest(window.first) if window.largest else found.buckets(window.step))
    whole = selection == EVERYTHING

    def page() -> str:
        from tokens.views.page import forecast_page  # its library takes a while to load

        return forecast_page(found, buckets, site.instance, selection, largest=window.largest)

    show(
        environment,
        output,
        text=lambda: view.largest(buckets) if window.largest else view.screen(found, window.step, width, whole=whole),
        json=lambda: view.as_json(found, buckets, site.instance, selection),
        csv=lambda: view.as_csv(buckets),
        others={"html": page},
    )

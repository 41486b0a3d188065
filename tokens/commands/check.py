"""`check`: one line and an exit status for monitoring, before tokens stop working."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.logged import located
from tokens.commands.options.days import days_of
from tokens.commands.options.values import MOST_TOKENS, whole_number
from tokens.commands.show import show, tell_of_others
from tokens.commands.whole_file import replace
from tokens.errors import ExitStatus, UsageError
from tokens.inventory.due import MOST_SERIES, due, gauges
from tokens.selection import Selection
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.usage.files import Log
from tokens.views import due as view

CRITICAL = 7  # days, unless something else is said


@dataclass(frozen=True)
class Thresholds:
    """Within how many days from today (UTC) tokens that stop working are a warning, and within how many urgent."""

    warn: int
    critical: int


def thresholds(_: Environment, warn: str, critical: str | None) -> Thresholds:
    """What these options mean. Where nothing else is said, what is a warning for fewer days is urgent from the first.

    Raises:
        UsageError: what cannot be read, or a warning that comes later than what is urgent.
    """
    days = days_of("warn", warn)
    if critical is None:
        return Thresholds(days, min(days, CRITICAL))
    found = Thresholds(days, days_of("critical", critical))
    if found.critical > found.warn:
        raise UsageError(f"--critical {critical} is longer than --warn {warn}: a warning comes first.")
    return found


def most_of_each(_: Environment, each: bool, at_most: str | None) -> int | None:
    """How many tokens may be shown one by one, None where they are only counted.

    Raises:
        UsageError: no number, or one without `--each`.
    """
    if at_most is not None and not each:
        raise UsageError("--at-most is about the tokens of --each: use both.")
    most = MOST_SERIES if at_most is None else whole_number(at_most, 1, MOST_TOKENS)
    if most is None:
        raise UsageError(f'--at-most takes a number of tokens, not "{at_most}".')
    return most if each else None


def check(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    thresholds: Thresholds,
    most_of_each: int | None,
    logs: Sequence[Log] | None,
    output: str,
    file: str | None,
) -> Ending:
    """Tell monitoring what of `selection` stops working soon, and what has done so and is still tried.

    Ends with DUE if something does; for Nagios with its own statuses; for Prometheus with DONE.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if most_of_each is not None and selection.others:
        raise UsageError("--each names access tokens alone: leave the other kinds out, or use list.")
    site, usage = located(environment, locate, logs)
    if output == "prometheus":
        from tokens.views.metrics import metrics  # its library loads a web server

        began = time.monotonic()
        numbers = gauges(
            site.address, selection, release=site.release, ci=site.ci, most_of_each=most_of_each, usage=usage
        )
        text = metrics(numbers, time.monotonic() - began)
        environment.note(numbers.notes)
        if file is None:
            environment.write(text)
        else:
            replace(Path(file), text.encode())
        return DONE
    counts_others = output == "json" or (output == "text" and console.is_terminal(environment.stdout))
    found = due(
        site.address,
        selection,
        thresholds.warn,
        thresholds.critical,
        ci=site.ci,
        counts_others=counts_others,
        most_of_each=most_of_each,
        usage=usage,
    )
    environment.note(found.notes)
    show(
        environment,
        output,
        text=lambda: view.lines(found),
        json=lambda: view.as_json(found, described(site), each=most_of_each is not None),
        others={"nagios": lambda: view.nagios(found)},
    )
    tell_of_others(environment, output, found.others)
    if output == "nagios":
        return Ending(view.severity(found))
    return DONE if view.severity(found) is view.Severity.OK else Ending(ExitStatus.DUE)

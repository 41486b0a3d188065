"""`check`: one line and an exit status for monitoring, before tokens stop working."""

import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tokens.call import ARROW
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.logged import located
from tokens.commands.options.days import days_of
from tokens.commands.options.values import number_at_most
from tokens.commands.show import show, tell_of_others
from tokens.commands.whole_file import METRICS_FILE, replace
from tokens.counts import duration
from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.inventory.due import due
from tokens.inventory.gauges import MOST_SERIES, gauges
from tokens.selection import Selection
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out
from tokens.usage.files import Log
from tokens.usage.reading import Usage
from tokens.views import due as view
from tokens.views.logged import faults

CRITICAL = 7  # days, unless something else is said
PERIOD = re.compile(r"(\d{1,4})([hdw])", re.ASCII)
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


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
    most = number_at_most(at_most, least=1) or MOST_SERIES
    return most if each else None


def max_age(_: Environment, max_age: str | None) -> timedelta | None:
    """How old the last call of a log may be; None for any age.

    Raises:
        UsageError: no period of hours, days or weeks.
    """
    if max_age is None:
        return None
    found = PERIOD.fullmatch(max_age.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f'--max-age takes a period such as 6h, 1d or 2w, not "{max_age}".')
    return int(found[1]) * UNITS[found[2]]


def check(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    thresholds: Thresholds,
    most_of_each: int | None,
    logs: Sequence[Log] | None,
    max_age: timedelta | None,
    output: str,
    file: str | None,
) -> Ending:
    """Tell monitoring what of `selection` stops working soon, and what has done so and is still tried.

    Ends with DUE if something does; for Nagios with its own statuses; for Prometheus with DONE. A log whose last call
    is older than `max_age` says nothing of what is tried now, which is a fault.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if most_of_each is not None and selection.others:
        raise UsageError("--each names access tokens alone: leave the other kinds out, or use list.")
    if max_age is not None and not logs:
        raise UsageError("--max-age is about a log: use --log FILE with it.")
    site, usage = located(environment, locate, logs)
    if max_age is not None and usage is not None:
        _refuse_old(usage, max_age)
    if output == "prometheus":
        _write_metrics(environment, site, selection, most_of_each, usage, file)
        return DONE
    columns = console.columns(environment.stdout)
    counts_others = output == "json" or (output == "text" and console.is_terminal(environment.stdout))
    with _announced(environment):
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
    if output != "nagios":  # which reads standard output alone
        environment.note(found.notes)
    try:
        show(
            environment,
            output,
            text=lambda: (_laid_out(line, columns) for line in view.lines(found)),
            json=lambda: view.as_json(found, described(site), each=most_of_each is not None),
            nagios=lambda: view.nagios(found, faults(usage) if usage else ()),
        )
        environment.flush()
    except BrokenPipeError:  # the reader is gone, but not who waits for the status
        console.discard(environment.stdout)
    tell_of_others(environment, output, found.others)
    if output == "nagios":
        return Ending(view.severity(found))
    return DONE if view.severity(found) is view.Severity.OK else Ending(ExitStatus.DUE)


def _write_metrics(
    environment: Environment,
    site: Site,
    selection: Selection,
    most_of_each: int | None,
    usage: Usage | None,
    file: str | None,
) -> None:
    """Write the numbers that Prometheus keeps, to a file if one is named."""
    from tokens.views.metrics import metrics  # its library loads a web server

    began = time.monotonic()
    with _announced(environment):
        numbers = gauges(
            site.address, selection, release=site.release, ci=site.ci, most_of_each=most_of_each, usage=usage
        )
    text = metrics(numbers, time.monotonic() - began)
    environment.note(numbers.notes)
    if file is None:
        environment.write(text)
    else:
        replace(Path(file), text.encode(), example=METRICS_FILE)


def _laid_out(line: str, columns: int | None) -> str:
    """A line on a terminal of `columns`, None for none; a token's name with an arrow is no hint what to type."""
    return line if columns is None else laid_out(line.replace(ARROW, f"\N{NO-BREAK SPACE}{ARROW.lstrip()}"), columns, 2)


def _announced(environment: Environment) -> AbstractContextManager[None]:
    """Name what takes long to a person alone: a timer may mail whatever comes on standard error."""
    return environment.announced("Counting the tokens") if console.is_terminal(environment.stderr) else nullcontext()


def _refuse_old(usage: Usage, max_age: timedelta) -> None:
    """Fail for a log that nobody may be writing any more: that it has no tries would mean nothing."""
    hint = "GitLab may write another file, or none; with rotated files give all of them, such as 'api_json.log*'."
    if not usage.until:
        raise TokensError(f"The log has no call yet, as one that was just rotated, so its age is not known: {hint}")
    age = datetime.now(UTC) - datetime.fromisoformat(usage.until[:19]).replace(tzinfo=UTC)
    if age > max_age:
        raise TokensError(f"The log's last call was at {usage.until[:16]} UTC, {duration(age)} ago: {hint}")

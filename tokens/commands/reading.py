"""What options mean: their text read, or refused in one line."""

import re
from datetime import UTC, date, datetime, timedelta

from tokens.commands.environment import Environment
from tokens.errors import UsageError

MOST_DATES = 1_000_000
MOST_TOKENS_OF_DEMO = 20_000_000
LARGEST_RUN = 2**63 - 1
DAYS = re.compile(r"(\d{1,5})d", re.ASCII)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def number_of_dates(_: Environment, top: str) -> int | None:
    """How many dates `--top` means, None for all."""
    if top == "all":
        return None
    number = whole_number(top, 1, MOST_DATES)
    if number is None:
        raise UsageError(f'--top takes a number of dates from 1 to {MOST_DATES}, or all, not "{top}".')
    return number


def number_of_run(_: Environment, run: str | None) -> int | None:
    """The run that `--run` names, None for none."""
    number = whole_number(run, 1, LARGEST_RUN) if run else None
    if run and number is None:
        raise UsageError(f'--run takes the number of a run, not "{run}".')
    return number


def day_before_which(_: Environment, before: str | None, older_than: str | None) -> date:
    """The day (UTC) that `--before` names, or `--older-than` as days before today."""
    if bool(before) == bool(older_than):
        raise UsageError("journal.prune takes one of --before DATE and --older-than DAYS, such as --older-than 90d.")
    if older_than:
        days = DAYS.fullmatch(older_than.strip())
        if days is None:
            raise UsageError(f'--older-than takes a number of days such as 90d, not "{older_than}".')
        return datetime.now(UTC).date() - timedelta(days=int(days[1]))
    text = (before or "").strip()
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f'--before takes a date in the form YYYY-MM-DD, not "{before}".')


def tokens_of_demo(_: Environment, tokens: str | None) -> int | None:
    """How many tokens `--tokens` wants in the demo, None for the default."""
    number = whole_number(tokens, 0, MOST_TOKENS_OF_DEMO) if tokens else None
    if tokens and number is None:
        raise UsageError(f'--tokens takes a number up to {MOST_TOKENS_OF_DEMO}, not "{tokens}".')
    return number


def whole_number(text: str, least: int, most: int) -> int | None:
    """The number that `text` is, None if it is none or not between `least` and `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if least <= number <= most else None

"""What options mean: their text read, or refused in one line."""

from tokens.commands.environment import Environment
from tokens.errors import UsageError

MOST_DATES = 1_000_000


def number_of_dates(_: Environment, top: str) -> int | None:
    """How many dates `--top` means, None for all."""
    if top == "all":
        return None
    number = whole_number(top, 1, MOST_DATES)
    if number is None:
        raise UsageError(f'--top takes a number of dates from 1 to {MOST_DATES}, or all, not "{top}".')
    return number


def whole_number(text: str, least: int, most: int) -> int | None:
    """The number that `text` is, None if it is none or not between `least` and `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if least <= number <= most else None

"""What options mean: their text read, or refused in one line."""

from collections.abc import Iterable

from tokens.call import to_type
from tokens.commands.environment import Environment
from tokens.errors import TOKEN, UsageError, shortened

FIRST = 50  # rows that people are shown, unless they say how many
MOST_ROWS = 2**31 - 1
MOST_DATES = 1_000_000
MOST_TOKENS_OF_DEMO = 20_000_000
MOST_TOKENS = 2**63 - 1
LARGEST_RUN = 2**63 - 1
LONGEST_TEXT = 1000  # characters; no name or path of GitLab's has more than 255


def number_of_dates(_: Environment, top: str) -> int | None:
    """How many dates `--top` means, None for all."""
    return number_or_all("top", top, f"dates from 1 to {MOST_DATES}", MOST_DATES)


def number_or_all(option: str, text: str | None, what: str, most: int = MOST_ROWS) -> int | None:
    """The number of `what` that is given, None for all and where nothing is given."""
    if text in (None, "all"):
        return None
    number = whole_number(text or "", 1, most)
    if number is None:
        raise UsageError(f'--{option} takes a number of {what}, or all, not "{text}".')
    return number


def number_of_run(_: Environment, run: str | None) -> int | None:
    """The run that `--run` names, None for none."""
    number = whole_number(run, 1, LARGEST_RUN) if run else None
    if run and number is None:
        raise UsageError(f'--run takes the number of a run, not "{run}".')
    return number


def tokens_of_demo(_: Environment, tokens: str | None) -> int | None:
    """How many tokens `--tokens` wants in the demo, None for the default."""
    number = whole_number(tokens, 0, MOST_TOKENS_OF_DEMO) if tokens else None
    if tokens and number is None:
        raise UsageError(f'--tokens takes a number up to {MOST_TOKENS_OF_DEMO}, not "{tokens}".')
    return number


def words(values: Iterable[str] | None) -> list[str]:
    """Every word of an option that takes several: between commas, or of the option again."""
    return [word.strip() for value in values or () for word in value.split(",")]


def whole_number(text: str, least: int, most: int) -> int | None:
    """The number that `text` is, None if it is none or not between `least` and `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if least <= number <= most else None


def run_to_change(_: Environment, run: str | None) -> int:
    """The number of the run that `--run` has to name."""
    number = None if run is None else whole_number(run, 1, LARGEST_RUN)
    if number is None:
        given = "nothing" if run is None else f'"{run}"'
        seen = to_type("to see the runs", "history")
        raise UsageError(f"--run takes the number of a run, but was given {given}.{seen}")
    return number


def reason(_: Environment, reason: str | None) -> str | None:
    """Why a change is made; see `check_reason`."""
    return check_reason(reason)


def check_reason(reason: str | None) -> str | None:
    """Why a change is made, as the database can keep it.

    Raises:
        UsageError: a token is in it, which the journal would show to all who read it.
    """
    if not reason:
        return None
    if not isinstance(reason, str):
        raise UsageError(f"A reason is text, not {shortened(repr(reason))}.")
    if TOKEN.search(reason):
        raise UsageError("--reason has a token in it, which the journal would keep and history show: leave it out.")
    return free_text("reason", reason)


def number_at_most(text: str | None, least: int = 0) -> int | None:
    """How many tokens `--at-most` allows, `least` or more; None where nothing is given."""
    most = None if text is None else whole_number(text, least, MOST_TOKENS)
    if text is not None and most is None:
        raise UsageError(f'--at-most takes a number of tokens, not "{text}".')
    return most


def free_text(option: str, text: str) -> str:
    """`text`, which the database has to understand: a command line may hold what is not UTF-8, or a whole file.

    Raises:
        UsageError: it is longer than LONGEST_TEXT, or no text in UTF-8.
    """
    # Python keeps bytes of a command line that are no UTF-8 as half characters.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"--{option} takes text in UTF-8, as GitLab keeps it; check the terminal's encoding.")
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"--{option} takes {LONGEST_TEXT:,} characters at most, but was given {len(text):,}.")
    return text

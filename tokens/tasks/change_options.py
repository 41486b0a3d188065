"""The options that all tasks have which change tokens: what is asked, allowed, recorded and waited for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokens.address import Address
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.tasks.free_text import free_text
from tokens.tasks.numbers import whole_number
from tokens.tasks.output_option import require_output

if TYPE_CHECKING:
    from tokens.change.plan import Options

ALLOWED = ("past", "earlier", "beyond-maximum", "superseded", "doomed", "maintenance", "old-plan", "publication")
LEFT_OUT = "superseded"
OUTPUTS = ("text", "json")
MOST_TOKENS = 2**63 - 1
MOST_DAYS = 3_660_000  # ten thousand years
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def allow_help(*words: str) -> str:
    """What `--allow` says about itself where these are the guards."""
    return f"Go on in spite of a guard: {', '.join(words)}. Several: separated by commas, or the option again."


RUNNING_HELP = {
    "yes": "Do not ask; needed where there is no terminal. Skips no guard.",
    "at_most": "Refuse to change more tokens than this number.",
    "standby": "Wait for this standby when it is behind: postgresql://… or a name from tokens.targets. May be given "
    "several times. Default: those that database.yml lists for load balancing.",
    "max_lag": "How far behind a standby may be, in seconds (10s) or minutes (1m). Default: 10s.",
    "output": "text or json. Default: text.",
}
LEAVE_OUT_HELP = f"Leave out what a guard is about: {LEFT_OUT} (tokens that a rotation has replaced)."
CHANGE_HELP = {
    **RUNNING_HELP,
    "allow": allow_help(*(word for word in ALLOWED if word != "old-plan")),
    "leave_out": LEAVE_OUT_HELP,
    "dry_run": "Show the plan, change and store nothing.",
    "plan": "Store the plan in the journal, for `apply` by a second person within a day.",
    "memberships": "move: memberships of bots that end before the new date are moved as GitLab's own rotation does; "
    "keep: they stay, and GitLab deletes the bots. Default: move.",
    "notices": "rearm: owners who were warned already will be warned again; keep: what GitLab remembers stays. "
    "Default: rearm.",
    "reason": "Why, for the journal.",
    "no_journal": "Keep no record; there will be no way back and no way to go on after a stop.",
}

RUNNING_OPTIONS = {
    "yes": False,
    "allow": None,
    "at_most": None,
    "standby": None,
    "max_lag": "10s",
    "output": "text",
}
CHANGE_OPTIONS = {
    **RUNNING_OPTIONS,
    "leave_out": None,
    "dry_run": False,
    "plan": False,
    "memberships": "move",
    "notices": "rearm",
    "reason": None,
    "no_journal": False,
}
LISTS = ("allow", "standby")


@dataclass(frozen=True)
class Manner:
    """How a change is to be carried out.

    `asks` says whether a person may be asked; `standbys` are None where the configuration's count; `max_lag` is in
    seconds.
    """

    asks: bool
    dry_run: bool
    store: bool
    allow: frozenset[str]
    at_most: int | None
    reason: str | None
    journal: bool
    json: bool
    standbys: tuple[Address, ...] | None
    max_lag: float


def manner(
    *,
    yes: bool,
    allow: Sequence[str],
    at_most: str | None,
    standby: tuple[Address, ...] | None,
    max_lag: str,
    output: str,
    dry_run: bool = False,
    plan: bool = False,
    reason: str | None = None,
    no_journal: bool = False,
) -> Manner:
    """The manner that these options make.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    require_output(output, OUTPUTS)
    if dry_run and plan:
        raise UsageError("--dry-run stores nothing and --plan stores the plan: choose one.")
    if plan and no_journal:
        raise UsageError("--plan keeps the plan in the journal, so --no-journal cannot go with it.")
    if output == "json" and not (yes or dry_run or plan):
        raise UsageError("--output json asks nothing: say --yes, --dry-run or --plan with it.")
    words = [word.strip() for value in allow for word in value.split(",")]
    for word in words:
        if word not in ALLOWED:
            raise UsageError(f'--allow takes {", ".join(ALLOWED)}, not "{word}".')
    most = at_most_given(at_most)
    return Manner(
        asks=not yes,
        dry_run=dry_run,
        store=plan,
        allow=frozenset(words),
        at_most=most,
        reason=reason_given(reason),
        journal=not no_journal,
        json=output == "json",
        standbys=standby,
        max_lag=_seconds(max_lag),
    )


def at_most_given(text: str | None) -> int | None:
    """How many tokens may be changed at most, None for any number."""
    most = None if text is None else whole_number(text, 0, MOST_TOKENS)
    if text is not None and most is None:
        raise UsageError(f'--at-most takes a number of tokens, not "{text}".')
    return most


def options(memberships: str, notices: str) -> "Options":
    """How what hangs on the tokens is treated."""
    from tokens.change.plan import Options

    for name, value, words in (("memberships", memberships, ("move", "keep")), ("notices", notices, ("rearm", "keep"))):
        if value not in words:
            raise UsageError(f'--{name} takes {" or ".join(words)}, not "{value}".')
    return Options(memberships=memberships == "move", notices=notices == "rearm")


def takes_superseded(leave_out: str | None) -> bool:
    """Whether what a rotation has replaced is taken, too."""
    if leave_out not in (None, LEFT_OUT):
        raise UsageError(f'--leave-out takes {LEFT_OUT}, not "{leave_out}".')
    return leave_out is None


def date(option: str, text: str) -> ExpirationDate:
    """The date that an option was given."""
    try:
        return ExpirationDate.typed(text)
    except ValueError:
        raise UsageError(f'--{option} takes a day such as 2027-06-15, not "{text}".') from None


def days(option: str, text: str) -> int:
    """The number of days that an option was given, one at least: `365d` or `365`."""
    number = whole_number(text.removesuffix("d"), 1, MOST_DAYS)
    if number is None:
        raise UsageError(f'--{option} takes a number of days such as 365d, not "{text}".')
    return number


def reason_given(text: str | None) -> str | None:
    """Why a change is made, as the database can keep it."""
    return free_text("reason", text) if text else None


def run_number(text: str | None) -> int:
    """The number of a run that `--run` was given."""
    number = None if text is None else whole_number(text, 1, MOST_TOKENS)
    if number is None:
        given = "nothing" if text is None else f'"{text}"'
        raise UsageError(f"--run takes the number of a run, as tokens.history shows it, but was given {given}.")
    return number


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text, re.ASCII)
    if found is None:
        raise UsageError(f'--max-lag takes seconds or minutes such as 10s or 1m, not "{text}".')
    return float(found[1]) * SECONDS[found[2]]

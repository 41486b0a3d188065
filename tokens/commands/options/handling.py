"""How a change is handled: what is asked, allowed, recorded and waited for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokens.address import Address
from tokens.commands.environment import Environment
from tokens.commands.options import values
from tokens.errors import UsageError
from tokens.spelling import meant

GUARDS = {
    "extend": ("past", "earlier", "beyond-maximum", "superseded", "doomed", "maintenance", "publication"),
    "remove": ("beyond-maximum", "superseded", "doomed", "maintenance", "publication"),
    "revoke": ("doomed", "maintenance", "publication"),
    "apply": ("past", "earlier", "beyond-maximum", "reviving", "superseded", "doomed", "maintenance", "old-plan"),
    "undo": ("reviving", "superseded", "doomed", "maintenance"),
    "rotate": ("long-expired", "administrator", "no-membership"),
    "journal.install": ("publication",),
}
"""What can refuse each task, and what its `--allow` takes."""

MOST_JOBS = 8  # connections of one run; they wait for each other's COMMIT, so more of them gain nothing
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Handling:
    """How a change is handled.

    Attributes:
        task: the name of what is called, for messages.
        asks: whether a person is asked before anything is changed.
        dry_run: the plan is shown, and nothing is changed or stored.
        store: the plan is kept in the journal for somebody else, and nothing is changed.
        allow: words of the task's GUARDS that refuse nothing.
        at_most: how many tokens may be changed, None for any number.
        reason: why, for the journal.
        journal: whether it is recorded.
        names: whether the record has what the tokens are called.
        json: whether what is said is one document for a program.
        csv: whether the tokens of a stored plan are printed, and nothing else.
        four_eyes: whether the configuration demands that nobody carries out a plan of their own.
        standbys: those that are waited for, None for those of the configuration.
        max_lag: seconds that a standby may be behind.
        jobs: connections that share the work, at most MOST_JOBS.
    """

    task: str
    asks: bool
    dry_run: bool
    store: bool
    allow: frozenset[str]
    at_most: int | None
    reason: str | None
    journal: bool
    names: bool
    json: bool
    csv: bool
    four_eyes: bool
    standbys: tuple[Address, ...] | None
    max_lag: float
    jobs: int


def handling(
    environment: Environment,
    *,
    task: str,
    yes: bool,
    allow: Sequence[str] | None,
    at_most: str | None,
    standbys: tuple[Address, ...] | None,
    max_lag: str,
    jobs: str | None,
    output: str,
    dry_run: bool = False,
    plan: bool = False,
    reason: str | None = None,
    no_journal: bool = False,
    no_names: bool = False,
    four_eyes: bool = False,
) -> Handling:
    """How `task` handles the change, as these options say.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    if dry_run and plan:
        raise UsageError("--dry-run stores nothing and --plan stores the plan: choose one.")
    if plan and no_journal:
        raise UsageError("--plan keeps the plan in the journal, so --no-journal cannot go with it.")
    if output == "csv" and not dry_run:
        raise UsageError("--output csv lists the tokens of a plan: it goes with --dry-run alone.")
    return Handling(
        task=task,
        asks=not yes,
        dry_run=dry_run,
        store=plan,
        allow=allowed(task, allow),
        at_most=values.number_at_most(at_most),
        reason=values.reason(environment, reason),
        journal=not no_journal,
        names=not no_names,
        json=output == "json",
        csv=output == "csv",
        four_eyes=four_eyes,
        standbys=standbys,
        max_lag=_seconds(max_lag),
        jobs=_jobs(jobs),
    )


def allowed(task: str, allow: Iterable[str] | None) -> frozenset[str]:
    """The words of `--allow`, several of them between commas; UsageError for one that is no guard of the task."""
    words, known = values.words(allow), GUARDS[task]
    for word in words:
        if word not in known:
            raise UsageError(f'--allow takes {", ".join(known)}, not "{word}"{meant(word, known)}.')
    return frozenset(words)


def _jobs(text: str | None) -> int:
    number = 1 if text is None else values.whole_number(text, 1, MOST_JOBS)
    if number is None:
        raise UsageError(
            f"--jobs, or tokens.jobs in the configuration, takes a number of connections from 1 to {MOST_JOBS}, "
            f'not "{text}".'
        )
    return number


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text, re.ASCII)
    if found is None:
        raise UsageError(f'--max-lag takes seconds, minutes or hours such as 10s, 1m or 1h, not "{text}".')
    return float(found[1]) * SECONDS[found[2]]

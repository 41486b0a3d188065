"""The options of tasks that change tokens, each described once: what happens, and how carefully."""

from collections.abc import Sequence
from typing import Any

from tokens.commands.environment import Environment
from tokens.commands.options.handling import GUARDS, MOST_JOBS, Handling, handling
from tokens.tasks import target
from tokens.tasks.option import Argument, Option, Value, argument, care
from tokens.tasks.options import values
from tokens.tasks.options.shared import OUTPUT, YES

STANDBY = care(
    "standby",
    "Wait for this standby when it is behind: postgresql://… or a name from tokens.targets. May be given several "
    "times. Default: those that database.yml lists for load balancing.",
    several=True,
    repeated=True,
    value=Value("STANDBY", "the address of a standby", "postgresql://gitlab@db2/gitlabhq_production", lookup="targets"),
)

DRY_RUN = care("dry_run", "Show the plan, change and store nothing.", False, short="n")
AT_MOST = care("at_most", "Refuse to change more tokens than this number.", value=values.NUMBER)

CARRYING_OUT = (
    STANDBY,
    YES.saying("Do not ask; needed where there is no terminal. Skips no guard."),
    AT_MOST,
    care(
        "max_lag",
        "How far behind a standby may be, in seconds (10s), minutes (1m) or hours (1h).",
        "10s",
        repeated=True,
        value=Value("TIME", "a time", "10s"),
    ),
    care(
        "jobs",
        f"How many connections share the work, 1 to {MOST_JOBS}: two need about two thirds of the time. Default: "
        "tokens.jobs in the configuration, then 1.",
        configured=True,
        repeated=True,
        value=Value("NUMBER", "a number", "2", tuple(str(number) for number in range(1, MOST_JOBS + 1))),
    ),
)

PLAN = care("plan", "Store the plan in the journal, for `apply` by a second person within a day.", False)

NO_NAMES = care(
    "no_names", "Keep no names in the journal, ids and dates alone. Names take about 25 bytes a token.", False
)


def handling_of(task: str, *more: Option, output: Option = OUTPUT) -> Argument:
    """How carefully `task` changes tokens: the options of all such tasks, and more."""
    guards = f"Continue in spite of a guard: {', '.join(GUARDS[task])}."
    allow = care("allow", guards, several=True, value=values.guard_of(task))

    def made(
        option: target.TargetOption, environment: Environment, standby: Sequence[str] | None, **own: Any
    ) -> Handling:
        standbys, four_eyes = target.standbys(option, standby), option.configuration.four_eyes
        return handling(environment, task=task, standbys=standbys, four_eyes=four_eyes, **own)

    return argument("handling", made, *CARRYING_OUT, output, allow, *more)

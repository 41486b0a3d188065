"""The options of tasks that change tokens, each described once: what happens, and how carefully."""

from collections.abc import Sequence
from typing import Any

from tokens.commands.environment import Environment
from tokens.commands.options.handling import GUARDS, MOST_JOBS, Handling, handling
from tokens.tasks import target
from tokens.tasks.option import Argument, Option, Value, care, which
from tokens.tasks.options.selecting import IN_STATE, OF_KIND, selecting
from tokens.tasks.options.shared import (
    ACCOUNT,
    DAY,
    DAYS,
    KINDS_TO_ROTATE,
    NUMBER,
    NUMBER_OF_RUN,
    OUTPUT,
    PERIOD,
    REASON,
    RUN,
    SECRETS_FILE,
    STATES,
    YES,
    guard_of,
    output,
)

RUN_TO_CHANGE = RUN.read_by("options.values:run_to_change")

NO_JOURNAL = care("no_journal", "Keep no record: the change cannot be undone, nor continued after a stop.", False)

STANDBY = care(
    "standby",
    "Wait for this standby when it is behind: postgresql://… or a name from tokens.targets. May be given several "
    "times. Default: those that database.yml lists for load balancing.",
    several=True,
    value=Value("STANDBY", "the address of a standby", "postgresql://gitlab@db2/gitlabhq_production", lookup="targets"),
)

DRY_RUN = care("dry_run", "Show the plan, change and store nothing.", False, short="n")
AT_MOST = care("at_most", "Refuse to change more tokens than this number.", value=NUMBER)

CARRYING_OUT = (
    STANDBY,
    YES.saying("Do not ask; needed where there is no terminal. Skips no guard."),
    AT_MOST,
    care(
        "max_lag",
        "How far behind a standby may be, in seconds (10s), minutes (1m) or hours (1h).",
        "10s",
        value=Value("TIME", "a time", "10s"),
    ),
    care(
        "jobs",
        f"How many connections share the work, 1 to {MOST_JOBS}: two need about two thirds of the time. Default: "
        "tokens.jobs in the configuration, then 1.",
        configured=True,
        value=Value("NUMBER", "a number", "2", tuple(str(number) for number in range(1, MOST_JOBS + 1))),
    ),
)

PLAN = care("plan", "Store the plan in the journal, for `apply` by a second person within a day.", False)

NO_NAMES = care(
    "no_names", "Keep no names in the journal, ids and dates alone. Names take about 25 bytes a token.", False
)

PLANNING = (DRY_RUN, PLAN, REASON, NO_JOURNAL, NO_NAMES)

PLAN_OUTPUT = output("text", "json", "csv").saying("text, json, or with --dry-run csv (all tokens of the plan).")


def handling_of(task: str, *more: Option, output: Option = OUTPUT) -> Argument:
    """How carefully `task` changes tokens: the options of all such tasks, and more."""
    guards = f"Continue in spite of a guard: {', '.join(GUARDS[task])}."
    allow = care("allow", guards, several=True, value=guard_of(task))

    def made(
        option: target.TargetOption, environment: Environment, standby: Sequence[str] | None, **own: Any
    ) -> Handling:
        standbys, four_eyes = target.standbys(option, standby), option.configuration.four_eyes
        return handling(environment, task=task, standbys=standbys, four_eyes=four_eyes, **own)

    return Argument("handling", made, (*CARRYING_OUT, output, allow, *more))


HANGING_ON = Argument(
    "options",
    "change:treatment",
    (
        Option(
            "memberships",
            "move: memberships of bots that end before the new date are moved as GitLab's own rotation does; keep: "
            "they stay, and GitLab deletes the bots.",
            "move",
            forms=("move", "keep"),
        ),
        Option(
            "notices",
            "rearm: owners who were warned already will be warned again; keep: what GitLab remembers stays.",
            "rearm",
            forms=("rearm", "keep"),
        ),
    ),
)
"""What happens to what belongs to the tokens."""

EXTENSION = Argument(
    "change",
    "change:extension",
    (
        Option("to", "The new expiration date (2027-06-15, or +90d from today).", value=DAY),
        Option(
            "by", "Instead of --to: each token's own date plus this period (365d, 12w).", value=PERIOD.such_as("365d")
        ),
        Option("stagger", "Spread the new dates evenly over this period, from --to or --by on (30d).", value=PERIOD),
    ),
)

KIND_TO_ROTATE = OF_KIND.saying(
    f"Of this kind: {KINDS_TO_ROTATE}. Default: service-account, with --new-owner personal."
)
STATE_TO_ROTATE = IN_STATE.saying(
    f"Only in this state: {STATES}. Default: active; with --expired-within expired; with --service-account or --token "
    "whatever can be rotated."
)

ROTATION = Argument(
    "options",
    "options.rotating:rotate_options",
    (
        which("service_account", "Only tokens of the account with this username.", value=ACCOUNT),
        which(
            "token", "Only the token with this name or id.", value=Value("TOKEN", "the name or id of a token", "4711")
        ),
        which("within", "All tokens that work and expire within a period from today, such as 30d.", value=PERIOD),
        which(
            "expired_within",
            "All tokens that have expired within the last period, such as 14d.",
            value=PERIOD.such_as("14d"),
        ),
        *selecting(KIND_TO_ROTATE, STATE_TO_ROTATE),
        care(
            "allow",
            "Continue in spite of a guard: long-expired (tokens that expired more than 30 days ago); administrator "
            "(the new owner is one, the old one is not); no-membership (the new owner is a member of nothing).",
            several=True,
            value=guard_of("rotate"),
        ),
        AT_MOST.saying("Refuse to rotate more tokens than this number."),
        Option(
            "expires_in",
            "How long the new token lives, in days. Default: 365d, or the instance's maximum if that is less.",
            value=DAYS,
        ),
        Option(
            "grace",
            "Let the old token live on for this number of days (7d) at most, instead of revoking it at once.",
            value=DAYS.such_as("7d"),
        ),
        Option(
            "new_owner",
            "Give the new tokens of people to the service account with this username: for an employee who leaves.",
            value=Value("USERNAME", "a username", "deploy", lookup="service accounts"),
        ),
        care(
            "verify",
            "The URL of GitLab that has to accept the new token. Default: the one in the configuration of the GitLab "
            "installed right here.",
            value=Value("URL", "the URL of a GitLab", "https://gitlab.example.com"),
        ),
        care("no_verify", "Do not ask GitLab whether it accepts the new token.", False),
        Option(
            "deliver",
            "Where the new token goes: file:PATH ({account} and {token_id} are filled in), command:COMMAND (token on "
            "its standard input, facts in TOKENS_ACCOUNT and the like, for a path TOKENS_NAME_SAFE) or stdout. Default "
            "on a terminal: stdout.",
            value=Value("WHERE", "a place for the new token", "file:/run/{account}", ("file:", "command:", "stdout")),
        ),
        Option("force", "Replace the file of --deliver, if it is there.", False),
        Option(
            "after",
            "A command for each token that was rotated, at the very end, with the same facts, without the token.",
            value=Value("COMMAND", "a command", "'glab ci run --branch main'"),
        ),
        SECRETS_FILE,
        DRY_RUN.saying("Show the plan, make and change nothing. Needs no secrets."),
        YES.saying("Do not ask; needed where there is no terminal."),
        REASON,
        which("resume", "Bring the run with this number to its end.", value=NUMBER_OF_RUN),
        OUTPUT.saying("text or json; neither ever holds a token."),
    ),
)

"""The options that several tasks have, each described once: where GitLab is, which tokens, and how carefully."""

from collections.abc import Sequence
from typing import Any

from tokens.cli import target, values
from tokens.cli.option import Argument, Option, Value, argument, care, listed, where, which
from tokens.cli.values import KINDS, OTHER_KINDS, OWNER_STATES, STATES
from tokens.commands.environment import Environment
from tokens.commands.options.handling import GUARDS, MOST_JOBS, Handling, handling


def output(*forms: str, **about: str) -> Option:
    """`--output` with these forms, the first of which is the default, and what there is to say about some of them."""
    said = listed([f"{form} ({about[form]})" if form in about else form for form in forms])
    return Option("output", f"{said}.", forms[0], forms=forms, value=values.FORM, short="o")


OUTPUT = output("text", "json")

TARGET = where(
    "target",
    "Where GitLab is: omnibus, source[:DIR], docker:CONTAINER, kubernetes:NAMESPACE[/RELEASE][@CONTEXT], "
    "postgresql://USER@HOST:PORT/DBNAME, demo, or a name from tokens.targets in Invoke's configuration. Default: "
    "INVOKE_TOKENS_TARGET, then tokens.target in the configuration, then the GitLab installed right here.",
    value=values.WHERE,
    short="t",
)

LOCATED = TARGET.read_by(target.locator, "locate")
THERE = TARGET.read_by(target.there, "there")

SECRETS_FILE = where(
    "secrets_file",
    "A copy of GitLab's secrets.yml or gitlab-secrets.json. Default: that of the GitLab right here.",
    value=values.FILE.such_as("/root/gitlab-secrets.json"),
)

LOG = where(
    "log",
    "GitLab's api_json.log: a file, a pattern such as 'api_json.log*', or - for standard input; plain, gzip or zstd. "
    "Rotated files are read in their order.",
    several=True,
    is_log=True,
    value=values.FILE.such_as("'/var/log/gitlab/gitlab-rails/api_json.log*'"),
)

FORCE = Option("force", "Replace the file, if it is there.", False)
RUN = which("run", "The number of the run, as `history` shows it.", value=values.NUMBER_OF_RUN)
REASON = care("reason", "Why, for the journal.", value=values.REASONS)
REASON_GIVEN = REASON.read_by("options.values:reason")
YES = care("yes", "Do not ask. Needed where there is no terminal.", False, short="y")
LOGS = LOG.read_by("options.logs:logs_named", "logs")
"""Logs from which a task says how its tokens are used."""
FOUR_EYES = argument("four_eyes", target.four_eyes)

OF_KIND = which(
    "kind", f"Only of this kind: {KINDS}. Default: every kind but impersonation.", several=True, value=values.KIND
)
IN_STATE = which("state", f"Only in this state: {STATES}. Default: active.", several=True, value=values.STATE)

SELECTING = (
    which(
        "expires",
        "Those that expire on a day (2026-12-04, today, +14d), in a month (2026-12), between two of these "
        "(2026-12-04..2026-12-11, ..+14d), or never (none).",
        several=True,
        value=values.WHICH,
    ),
    OF_KIND,
    IN_STATE,
    which("user", "Only of the user with this username, or URL.", several=True, value=values.USERNAME),
    which(
        "group",
        "Only of bots and service accounts of the group with this full path, or URL, and of what lies below it.",
        several=True,
        value=values.GROUP_PATH,
    ),
    which(
        "project",
        "Only of bots and service accounts of the project with this full path, or URL.",
        several=True,
        value=values.PROJECT_PATH,
    ),
    which("name", "Only with a name like this, case counts: * is any text, ? a character.", value=values.GLOB),
    which(
        "scope",
        "Only with this scope, such as api. Of several a token must have all.",
        several=True,
        value=values.SCOPE,
    ),
    which("last_used_before", "Only last used before this day (2024-06-15, UTC), or never.", value=values.PAST_DAY),
    which("last_used_after", "Only last used on this day (2024-06-15, UTC) or later.", value=values.PAST_DAY),
    which("created_before", "Only created before this day (2024-06-15, UTC).", value=values.PAST_DAY),
    which("created_after", "Only created on this day (2024-06-15, UTC) or later.", value=values.PAST_DAY),
    which("owner_state", f"Only of owners in this state: {OWNER_STATES}.", several=True, value=values.OWNER_STATE),
    which("never_used", "Only those that GitLab has never seen used.", False),
    which(
        "beyond_maximum", "Only those that live longer than the instance's maximum lifetime, or have no date.", False
    ),
    which("no_membership", "Only those of project and group bots without any membership, which reach nothing.", False),
    which(
        "ids",
        "Only with an id in this file (- is standard input), separated by spaces, commas or lines; # starts a comment.",
        is_file=True,
        value=values.FILE,
    ),
)

LEAVE_OUT = which(
    "leave_out",
    "Leave out tokens that a guard is about: superseded (a rotation has replaced them).",
    forms=("superseded",),
)


WITHIN = which(
    "within",
    "Those that work and expire within a period from today (30d, 2w, 3m, 1y), instead of --expires.",
    value=values.PERIOD,
)

EXPIRED_WITHIN = which(
    "expired_within",
    "Those that have expired within the last period, such as 14d, instead of --expires. --state is expired then.",
    value=values.PERIOD.such_as("14d"),
)

PERIODS = (WITHIN, EXPIRED_WITHIN)

EVERY_KIND = OF_KIND.saying(f"Only of this kind: {KINDS}. Default: every kind of token.")
EVERY_KIND_AND_OTHERS = OF_KIND.saying(
    f"Only of this kind: {KINDS}; or one that is no access token: {OTHER_KINDS}. Default: every kind of token.",
    value=values.KIND_SHOWN,
)
EVERY_STATE = IN_STATE.saying(f"Only in this state: {STATES}. Default: every state.")


def selecting(*instead: Option, without: Sequence[str] = ()) -> tuple[Option, ...]:
    """The options that say which tokens, `instead` in the place of those of its names, and none of `without`."""
    other = {option.name: option for option in instead}
    return tuple(other.get(option.name, option) for option in SELECTING if option.name not in without)


def selection(reader: str, *options: Option) -> Argument:
    """The selection that a reader makes of these options."""
    return argument("selection", f"options.selecting:{reader}", *options)


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

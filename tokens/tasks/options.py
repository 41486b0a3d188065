"""Every option that a task has, described once, and what they make together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tokens.commands.environment import Environment
from tokens.commands.options.handling import GUARDS, MOST_JOBS, Handling, handling
from tokens.tasks import target
from tokens.tasks.option import SEVERAL, Argument, Group, Option, Value

KINDS = "personal, impersonation, project, group, service-account"
OTHER_KINDS = "deploy-token, membership, ssh-key, deploy-key, trigger, runner, secure-file, agent"
STATES = "active, expired, revoked"
OWNER_STATES = "active, blocked, banned, deactivated"

# What follows an option, each said once.
DAY = Value("DAY", "a day", "2027-06-15")
PAST_DAY = Value("DAY", "a day", "2024-06-15")
NUMBER = Value("NUMBER", "a number", "1000")
NUMBER_OF_RUN = Value("RUN", "the number of a run", "12", lookup="runs")
WHERE = Value("TARGET", "a target", "docker:gitlab", lookup="targets")
PERIOD = Value("PERIOD", "a period", "30d")
WHICH = Value("WHICH", "a day, or some days,", "2026-12-04")
KIND = Value("KIND", "a kind of token", "project,group", tuple(KINDS.split(", ")))
KIND_SHOWN = Value("KIND", "a kind", "project,deploy-token", (*KIND.choices, *OTHER_KINDS.split(", ")))
OWNER_STATE = Value("STATE", "a state of an owner", "blocked,banned", tuple(OWNER_STATES.split(", ")))
STATE = Value("STATE", "a state", "active,expired", tuple(STATES.split(", ")))
STATE_TO_REVOKE = Value("STATE", "a state", "expired", ("active", "expired"))
USERNAME = Value("USERNAME", "a username", "inventory", lookup="users")
ACCOUNT = Value("USERNAME", "a username", "inventory", lookup="service accounts")
GROUP_PATH = Value("PATH", "the full path of a group", "platform/tools", lookup="groups")
PROJECT_PATH = Value("PATH", "the full path of a project", "platform/tools/deploy", lookup="projects")
GLOB = Value("GLOB", "a name, or a pattern for names", "'deploy-*'")
SCOPE = Value("SCOPE", "a scope", "api")
FILE = Value("FILE", "a file", "ids.txt", lookup="files")
FOLDER = Value("FOLDER", "a folder", "~/bundles", lookup="files")
FORM = Value("FORM", "a form", "json")
REASONS = Value("TEXT", "a text", '"OPS-1: Friday"')

TARGET = Option(
    "target",
    "Where GitLab is: omnibus, source[:DIR], docker:CONTAINER, kubernetes:NAMESPACE[/RELEASE][@CONTEXT], "
    "postgresql://USER@HOST:PORT/DBNAME, demo, or a name from tokens.targets in Invoke's configuration. Default: "
    "INVOKE_TOKENS_TARGET, then tokens.target in the configuration, then the GitLab installed right here.",
    value=WHERE,
    group=Group.PLACE,
    short="t",
)
LOCATED = Argument("locate", target.locator, (TARGET,))
TARGETS_CONFIGURED = Argument("configured", target.configured)
THERE = Argument("there", target.there, (TARGET,))

SECRETS_FILE = Option(
    "secrets_file",
    "A copy of GitLab's secrets.yml or gitlab-secrets.json. Default: that of the GitLab right here.",
    value=Value("FILE", "a file", "/root/gitlab-secrets.json", lookup="files"),
    group=Group.PLACE,
)
LOG = Option(
    "log",
    "GitLab's api_json.log: a file, a pattern such as 'api_json.log*', or - for standard input; plain, gzip or zstd. "
    f"Rotated files are read in their order. {SEVERAL}",
    several=True,
    is_log=True,
    value=Value("FILE", "a file", "'/var/log/gitlab/gitlab-rails/api_json.log*'", lookup="files"),
    group=Group.PLACE,
)
WHOSE = Argument(
    "wanted",
    "tokens.commands.whose:wanted",
    (
        Option(
            "scan",
            "Instead of reading standard input, look for tokens in the files of this folder, or in this file.",
            value=Value("FOLDER", "a folder or a file", "/srv/scripts", lookup="files"),
            group=Group.TOKENS,
        ),
        LOG.saying(
            "Show what each token did, too, by GitLab's api_json.log: a file, or a pattern such as 'api_json.log*'; "
            f"plain, gzip or zstd. {SEVERAL}"
        ),
        SECRETS_FILE,
    ),
)

RUN = Option("run", "The number of the run, as `history` shows it.", value=NUMBER_OF_RUN, group=Group.TOKENS)
RUN_TO_CHANGE = Argument("run", "tokens.commands.options.values:run_to_change", (RUN,))
REASON = Option("reason", "Why, for the journal.", value=REASONS, group=Group.CARE)
FOUR_EYES = Argument("four_eyes", target.four_eyes)
FOUR_EYES_SET = Argument(
    "on",
    "tokens.commands.journal:turned",
    (
        Option("on", "From now on nobody may apply a plan of their own.", False),
        Option("off", "One person may plan and apply again. Who turned it off stays on record.", False),
    ),
)
REASON_GIVEN = Argument("reason", "tokens.commands.options.values:reason", (REASON,))
YES = Option("yes", "Do not ask. Needed where there is no terminal.", False, group=Group.CARE, short="y")
NO_JOURNAL = Option(
    "no_journal",
    "Keep no record: the change cannot be undone, nor continued after a stop.",
    False,
    group=Group.CARE,
)
OUTPUT = Option("output", "text or json. Default: text.", "text", forms=("text", "json"), value=FORM, short="o")

TOP = Argument(
    "most",
    "tokens.commands.options.values:number_of_dates",
    (
        Option(
            "top",
            "How many expiration dates to show, the commonest first: a number, or all. Default: 10.",
            "10",
            value=Value("NUMBER", "a number, or all", "3"),
        ),
    ),
)
DATES_OUTPUT = Option(
    "output",
    "text (as gitlab:tokens:analyze prints it), json or csv. Default: text.",
    "text",
    forms=("text", "json", "csv"),
    value=FORM,
    short="o",
)

RUNS_SHOWN = Argument(
    "wanted",
    "tokens.commands.history:wanted",
    (
        RUN.saying("Show this run and its tokens: a number. Default: one line for each run."),
        Option("tokens", "Each token of these runs, too.", False, group=Group.TOKENS),
        Option(
            "token",
            f"Only what was done to the token with this id; also one that a rotation made. {SEVERAL}",
            several=True,
            value=Value("ID", "the id of a token", "4711"),
            group=Group.TOKENS,
        ),
        Option(
            "user",
            f"Only what was done to tokens of the account that has, or had then, this username. {SEVERAL}",
            several=True,
            value=USERNAME,
            group=Group.TOKENS,
        ),
        Option(
            "since",
            "Only runs that were planned or carried out on this day (2024-06-15, UTC) or later.",
            value=PAST_DAY,
            group=Group.TOKENS,
        ),
        replace(REASON, text="Only runs with this text in their reason; case does not count.", group=Group.TOKENS),
    ),
)
WHOSE_OUTPUT = Option(
    "output",
    "text (a line a token), json or csv; none of them ever holds a token. Default: text.",
    "text",
    forms=("text", "json", "csv"),
    value=FORM,
    short="o",
)
HISTORY_OUTPUT = Option(
    "output",
    "text, json or csv (with --run or --tokens a line a token). Default: text.",
    "text",
    forms=("text", "json", "csv"),
    value=FORM,
    short="o",
)

GRANTS = Option(
    "grants",
    "Instead, print the least privileges for this role as SQL: analyze, list, others (kinds that are no access "
    "tokens), history, changes, revoke, rotate.",
    value=Value("ROLE", "the name of a role", "auditor"),
)

ALLOW_PUBLICATION = Option(
    "allow",
    "publication: go on although logical replication will carry the journal's tables.",
    value=Value("WORD", "the word of a guard", "publication", ("publication",)),
    group=Group.CARE,
)
SQL = Option(
    "sql",
    "Instead, print the statements that make its tables, to be run first on each subscriber of a publication that will "
    "carry them. Nothing is changed.",
    False,
)
EVIDENCE = Argument(
    "wanted",
    "tokens.commands.evidence:wanted",
    (
        Option(
            "since",
            "Only runs of which something was written on this day (2024-06-15, UTC) or later. Default: all.",
            value=PAST_DAY,
        ),
        Option(
            "file",
            "The file to write, in place of an older one, with FILE.check.py beside it. Default: standard output.",
            only_here=True,
            value=Value("FILE", "a file", "evidence.ndjson", lookup="files"),
        ),
        Option(
            "sign_key",
            "Sign the file with this key of ssh, into FILE.sig.",
            only_here=True,
            value=Value("FILE", "a file", "~/.ssh/id_ed25519", lookup="files"),
        ),
    ),
)
PRUNED_DAY = Argument(
    "day",
    "tokens.commands.options.days:day_before_which",
    (
        Option(
            "before",
            "Forget the runs that were planned before this day, 00:00 UTC.",
            value=PAST_DAY,
        ),
        Option(
            "older_than",
            "The same as a period before today, such as 90d or 1y.",
            value=Value("PERIOD", "a period", "90d"),
        ),
    ),
)

DEMO_FOLDER = Argument("folder", target.demo_directory)
TOKENS_OF_DEMO = Argument(
    "tokens",
    "tokens.commands.options.values:tokens_of_demo",
    (
        Option(
            "tokens",
            "How many tokens expire on one date. Default: 15653; as documented by GitLab: 1565353.",
            value=Value("NUMBER", "a number", "1565353"),
        ),
    ),
)
DATE_OF_DEMO = Argument(
    "expires_at",
    "tokens.commands.options.days:date_of_demo",
    (
        Option(
            "expires",
            "The date on which they expire: friday (the coming one) or a day within the coming year (2027-06-15, "
            "+14d). Default: 2024-06-15, as documented by GitLab.",
            value=Value("DAY", "a day, or friday", "friday"),
        ),
    ),
)

DIRECTORY = Option(
    "directory",
    "Folder for the bundle. Default: INVOKE_TOKENS_BUNDLE_DIRECTORY, then tokens.bundle.directory in the "
    "configuration, then invoke-gitlab-tokens in the user's cache.",
    value=FOLDER,
    group=Group.PLACE,
)
DEPLOY_DIRECTORY = Option(
    "directory",
    "Where to make the folder deploy. Default: the current folder.",
    ".",
    value=FOLDER,
    group=Group.PLACE,
)
BUNDLE_FOLDER = Argument("folder", target.bundle_folder, (DIRECTORY,))
BUNDLE_PLACE = Argument("place", target.bundle_place, (TARGET, DIRECTORY))

SELECTING = (
    Option(
        "expires",
        "Those that expire on a day (2026-12-04, today, +14d), in a month (2026-12), between two of these "
        f"(2026-12-04..2026-12-11, ..+14d), or never (none). {SEVERAL}",
        several=True,
        value=WHICH,
        group=Group.TOKENS,
    ),
    Option(
        "kind",
        f"Only of this kind: {KINDS}. Default: every kind but impersonation. {SEVERAL}",
        several=True,
        value=KIND,
        group=Group.TOKENS,
    ),
    Option(
        "state",
        f"Only in this state: {STATES}. Default: active. {SEVERAL}",
        several=True,
        value=STATE,
        group=Group.TOKENS,
    ),
    Option(
        "user",
        f"Only of the user with this username, or URL. {SEVERAL}",
        several=True,
        value=USERNAME,
        group=Group.TOKENS,
    ),
    Option(
        "group",
        "Only of bots and service accounts of the group with this full path, or URL, and of what lies below it. "
        + SEVERAL,
        several=True,
        value=GROUP_PATH,
        group=Group.TOKENS,
    ),
    Option(
        "project",
        f"Only of bots and service accounts of the project with this full path, or URL. {SEVERAL}",
        several=True,
        value=PROJECT_PATH,
        group=Group.TOKENS,
    ),
    Option(
        "name",
        "Only with a name like this, case counts: * is any text, ? a character.",
        value=GLOB,
        group=Group.TOKENS,
    ),
    Option(
        "scope",
        f"Only with this scope, such as api. Of several a token must have all. {SEVERAL}",
        several=True,
        value=SCOPE,
        group=Group.TOKENS,
    ),
    Option(
        "last_used_before",
        "Only last used before this day (2024-06-15, UTC), or never.",
        value=PAST_DAY,
        group=Group.TOKENS,
    ),
    Option(
        "last_used_after",
        "Only last used on this day (2024-06-15, UTC) or later.",
        value=PAST_DAY,
        group=Group.TOKENS,
    ),
    Option("created_before", "Only created before this day (2024-06-15, UTC).", value=PAST_DAY, group=Group.TOKENS),
    Option(
        "created_after",
        "Only created on this day (2024-06-15, UTC) or later.",
        value=PAST_DAY,
        group=Group.TOKENS,
    ),
    Option(
        "owner_state",
        f"Only of owners in this state: {OWNER_STATES}. {SEVERAL}",
        several=True,
        value=OWNER_STATE,
        group=Group.TOKENS,
    ),
    Option("never_used", "Only those that GitLab has never seen used.", False, group=Group.TOKENS),
    Option(
        "beyond_maximum",
        "Only those that live longer than the instance's maximum lifetime, or have no date.",
        False,
        group=Group.TOKENS,
    ),
    Option(
        "no_membership",
        "Only those of project and group bots without any membership, which reach nothing.",
        False,
        group=Group.TOKENS,
    ),
    Option(
        "ids",
        "Only with an id in this file (- is standard input), separated by spaces, commas or lines; # starts a comment.",
        is_file=True,
        value=FILE,
        group=Group.TOKENS,
    ),
)
KINDS_SHOWN = (
    f"Only of this kind: {KINDS}; or one that is no access token: {OTHER_KINDS}. Default: {{default}}. {SEVERAL}"
)
EVERY_TOKEN = f"Only of this kind: {KINDS}. Default: every kind of token. {SEVERAL}"
LEAVE_OUT = Option(
    "leave_out",
    "Leave out tokens that a guard is about: superseded (a rotation has replaced them).",
    forms=("superseded",),
    group=Group.TOKENS,
)
SUPERSEDED = Argument("superseded", "tokens.commands.options.selecting:takes_superseded", (LEAVE_OUT,))
WITHIN = Option(
    "within",
    "Those that work and expire within a period from today (30d, 2w, 3m, 1y), instead of --expires.",
    value=PERIOD,
    group=Group.TOKENS,
)
EXPIRED_WITHIN = Option(
    "expired_within",
    "Those that have expired within the last period, such as 14d, instead of --expires. --state is expired then.",
    value=Value("PERIOD", "a period", "14d"),
    group=Group.TOKENS,
)
PERIODS = (WITHIN, EXPIRED_WITHIN)
SELECTION = Argument("selection", "tokens.commands.options.selecting:selection", (*SELECTING, *PERIODS, LEAVE_OUT))
"""Which tokens are to be changed."""

TO_REVOKE = Argument(
    "selection",
    "tokens.commands.options.selecting:to_revoke",
    (
        *(
            replace(
                option.saying(f"Only in this state: active, expired. Default: active. {SEVERAL}"), value=STATE_TO_REVOKE
            )
            if option.name == "state"
            else option
            for option in SELECTING
        ),
        *PERIODS,
    ),
)
"""Which tokens are to be revoked."""


def _of_every_kind(option: Option) -> Option:
    """The same where every kind of token counts unless kinds are named, and more kinds can be named."""
    if option.name != "kind":
        return option
    return replace(option.saying(KINDS_SHOWN.format(default="every kind of token")), value=KIND_SHOWN)


def _of_every(option: Option) -> Option:
    """The same where every state counts, too."""
    every = f"Only in this state: {STATES}. Default: every state. {SEVERAL}"
    return option.saying(every) if option.name == "state" else _of_every_kind(option)


LISTED = Argument("selection", "tokens.commands.options.selecting:to_read", (*map(_of_every_kind, SELECTING), *PERIODS))
"""Which tokens are to be shown: without an option about the date those of any date."""


LISTED = Argument("selection", "tokens.commands.options.selecting:to_read", (*map(_of_every_kind, SELECTING), *PERIODS))
"""Which tokens are to be shown: without an option about the date those of any date."""

COUNTED = Argument("selection", "tokens.commands.options.selecting:to_count", (*map(_of_every, SELECTING), *PERIODS))
"""Which tokens are counted: without an option about kind or state all of them."""

COMING = Argument(
    "selection",
    "tokens.commands.options.selecting:to_count",
    tuple(_of_every(option) for option in SELECTING if option.name not in ("expires", "state")),
)
"""Which tokens are counted by a task that has a window of its own, of those that work."""

FORESEEN = Argument(
    "selection",
    "tokens.commands.options.selecting:to_foresee",
    tuple(_of_every_kind(option) for option in SELECTING if option.name != "expires"),
)
"""The same, and revoked ones on request."""

REPORTED = Argument(
    "selection",
    "tokens.commands.options.selecting:to_report",
    (
        *(
            option.saying(f"Only in this state: {STATES}. Default: active and expired. {SEVERAL}")
            if option.name == "state"
            else _of_every(option)
            for option in SELECTING
        ),
        *PERIODS,
    ),
)
"""Which tokens a page is about."""

LISTING = Argument(
    "layout",
    "tokens.commands.list_tokens:layout",
    (
        Option(
            "wide",
            "More columns: state, scopes, created, ips, membership_ends_at, clean_up_at, warned, flags, description.",
            False,
        ),
        Option(
            "columns",
            f"These columns in this order, in every output. {SEVERAL}",
            several=True,
            value=Value("COLUMN", "a column", "id,name,email"),
        ),
        Option(
            "sort",
            "By this column; with a minus (--sort=-used) downwards. Default: expires, soonest first.",
            value=Value("COLUMN", "a column", "owner"),
        ),
        Option(
            "first",
            "This number of tokens, or all. Default: 50 on a terminal, else all.",
            value=Value("NUMBER", "a number, or all", "100"),
        ),
    ),
)
LIST_OUTPUT = Option(
    "output",
    "text, json, ndjson (a document a line), csv or ids (one a line, for --ids -). Default: text.",
    "text",
    forms=("text", "json", "ndjson", "csv", "ids"),
    value=FORM,
    short="o",
)
FORECAST = Argument(
    "window",
    "tokens.commands.forecast:window",
    (
        Option("by", "day, week or month. Default: week.", "week", forms=("day", "week", "month")),
        Option(
            "until",
            "How far to look: a period (90d, 6m) or a day. Default: 90d.",
            "90d",
            value=Value("PERIOD", "a period or a day", "6m"),
        ),
        Option(
            "sort", "date, or tokens: the days with the most tokens. Default: date.", "date", forms=("date", "tokens")
        ),
        Option(
            "first",
            "With --sort tokens, this number of days. Default: all.",
            value=Value("NUMBER", "a number of days", "10"),
        ),
    ),
)
FORECAST_OUTPUT = Option(
    "output",
    "text, json, csv, ics (a calendar) or html (a page for a browser). Default: text.",
    "text",
    forms=("text", "json", "csv", "ics", "html"),
    value=FORM,
    short="o",
)
USED_TOKENS = Argument(
    "selection",
    "tokens.commands.options.selecting:to_count",
    (
        *(
            option.saying(f"Only of this kind: {KINDS}. Default: every kind of token. {SEVERAL}")
            if option.name == "kind"
            else _of_every(option)
            for option in SELECTING
        ),
        *PERIODS,
    ),
)
"""The same where no other kinds can be named."""

USED = Argument(
    "wanted",
    "tokens.commands.used:wanted",
    (
        LOG.saying(f"{LOG.text} Default: the log of the GitLab right here, with its rotated files."),
        Option("since", "Leave out calls before this day (2024-06-15, UTC).", value=PAST_DAY),
        Option(
            "state_file",
            "Read on from where the last run with this file ended, and write down where this one ends. For a timer.",
            only_here=True,
            value=Value("FILE", "a file", "/var/lib/gitlab-tokens/used.json", lookup="files"),
        ),
        Option(
            "by",
            "A row for each token, address, route or day. Default: token.",
            "token",
            forms=("token", "address", "route", "day"),
        ),
        Option("top_refused", "Only dead tokens that are still being tried, most often first.", False),
        Option(
            "first",
            "This number of rows, or all. Default: 50 on a terminal, else all.",
            value=Value("NUMBER", "a number, or all", "100"),
        ),
    ),
)
USED_OUTPUT = Option(
    "output",
    "text, json, ndjson (a document a line) or csv. Default: text.",
    "text",
    forms=("text", "json", "ndjson", "csv"),
    value=FORM,
    short="o",
)
THRESHOLDS = Argument(
    "thresholds",
    "tokens.commands.check:thresholds",
    (
        Option("warn", "Tokens that stop working within this period are a warning. Default: 30d.", "30d", value=PERIOD),
        Option(
            "critical",
            "Those within this one are critical. Default: 7d, or as --warn if that is shorter.",
            value=Value("PERIOD", "a period", "7d"),
        ),
    ),
)
LOGS = Argument("logs", "tokens.commands.options.logs:logs_named", (LOG,))
"""Logs from which a task says how its tokens are used."""

MAX_AGE = Argument(
    "max_age",
    "tokens.commands.check:max_age",
    (
        Option(
            "max_age",
            "Fail if the last call in the log of --log is older than this period, such as 6h or 1d.",
            value=Value("PERIOD", "a period", "1d"),
            group=Group.CARE,
        ),
    ),
)
EACH = Argument(
    "most_of_each",
    "tokens.commands.check:most_of_each",
    (
        Option("each", "A line, or a series, for each token, too.", False),
        Option(
            "at_most",
            "Refuse --each for more tokens than this number. Default: 5000.",
            value=Value("NUMBER", "a number", "20000"),
            group=Group.CARE,
        ),
    ),
)
CHECK_OUTPUT = Option(
    "output",
    "text, json, nagios (a plugin's line and exit statuses, 0 to 3), or prometheus (its text format). Default: text.",
    "text",
    forms=("text", "json", "nagios", "prometheus"),
    value=FORM,
    short="o",
)
CHECK_FILE = Option(
    "file",
    "With --output prometheus: the file right here to replace, for node_exporter. A failure leaves it as it was.",
    takes_form="prometheus",
    value=Value("FILE", "a file", "/var/lib/gitlab-tokens/gitlab_tokens.prom", lookup="files"),
)
PAGE = Argument(
    "contents",
    "tokens.commands.page:contents",
    (
        Option("with_emails", "Show the owners' e-mail addresses, too.", False),
        Option("only", "With --group: the page of that team, which says nothing of the rest of the instance.", False),
    ),
)
PAGE_FILE = Option(
    "file",
    "The file to write, in place of an older one. A failure leaves that as it was. Default: standard output.",
    only_here=True,
    value=Value("FILE", "a file", "tokens.html", lookup="files"),
)

SIMULATED = Argument(
    "asked",
    "tokens.commands.simulate:asked",
    (
        Option(
            "nights",
            "How far to look: a period (60d, 3m) or a day. Default: 60d.",
            "60d",
            value=Value("PERIOD", "a period or a day", "3m"),
        ),
        Option(
            "max_lifetime",
            "If the instance's maximum lifetime were set to this period, 400 days at most.",
            value=Value("PERIOD", "a period", "90d"),
        ),
        Option("require_expiry", "If new tokens had to have a date.", False),
        Option("no_require_expiry", "If new tokens needed no date.", False),
        Option(
            "clean_up_days",
            "If GitLab deleted inactive bots after this number of days, or never.",
            value=Value("DAYS", "a number of days, or never", "7"),
        ),
        Option("disable", "If access tokens were disabled.", False),
        Option(
            "granular_after",
            "If people could make fine-grained tokens alone from this day on.",
            value=DAY,
        ),
        Option(
            "block_user",
            f"If the user with this username, or URL, were blocked. {SEVERAL}",
            several=True,
            value=USERNAME,
        ),
        Option(
            "remove_member",
            "If the user with this username were removed from the place that --project or --group names then.",
            value=USERNAME,
        ),
        LOG.saying(f"{LOG.text} The tokens that are used most come first then."),
        Option(
            "by",
            "token, owner or night: what the lines of text and CSV are about. Default: token.",
            "token",
            forms=("token", "owner", "night"),
        ),
        Option(
            "first",
            "This number of lines, or all. Default: 50 for people, else all.",
            value=Value("NUMBER", "a number, or all", "100"),
        ),
        *(
            replace(_of_every(option), value=option.value) if option.name != "kind" else option.saying(EVERY_TOKEN)
            for option in SELECTING
        ),
        *PERIODS,
    ),
)
SIMULATION_OUTPUT = Option(
    "output",
    "text, json (all nights, owners and tokens), csv or ics (a calendar). Default: text.",
    "text",
    forms=("text", "json", "csv", "ics"),
    value=FORM,
    short="o",
)

STANDBY = Option(
    "standby",
    "Wait for this standby when it is behind: postgresql://… or a name from tokens.targets. May be given several "
    "times. Default: those that database.yml lists for load balancing.",
    several=True,
    value=Value("STANDBY", "the address of a standby", "postgresql://gitlab@db2/gitlabhq_production", lookup="targets"),
    group=Group.CARE,
)
DRY_RUN = Option("dry_run", "Show the plan, change and store nothing.", False, group=Group.CARE, short="n")
AT_MOST = Option("at_most", "Refuse to change more tokens than this number.", value=NUMBER, group=Group.CARE)
CARRYING_OUT = (
    STANDBY,
    YES.saying("Do not ask; needed where there is no terminal. Skips no guard."),
    AT_MOST,
    Option(
        "max_lag",
        "How far behind a standby may be, in seconds (10s) or minutes (1m). Default: 10s.",
        "10s",
        value=Value("TIME", "a time", "10s"),
        group=Group.CARE,
    ),
    Option(
        "jobs",
        f"How many connections share the work, 1 to {MOST_JOBS}: two need about two thirds of the time. Default: "
        "tokens.jobs in the configuration, then 1.",
        configured=True,
        value=Value("NUMBER", "a number", "2", tuple(str(number) for number in range(1, MOST_JOBS + 1))),
        group=Group.CARE,
    ),
)
PLAN = Option(
    "plan",
    "Store the plan in the journal, for `apply` by a second person within a day.",
    False,
    group=Group.CARE,
)
NO_NAMES = Option(
    "no_names",
    "Keep no names in the journal, ids and dates alone. Names take about 25 bytes a token.",
    False,
    group=Group.CARE,
)
PLANNING = (DRY_RUN, PLAN, REASON, NO_JOURNAL, NO_NAMES)
PLAN_OUTPUT = Option(
    "output",
    "text, json, or with --dry-run csv (all tokens of the plan). Default: text.",
    "text",
    forms=("text", "json", "csv"),
    value=FORM,
    short="o",
)


def handling_of(task: str, *more: Option, output: Option = OUTPUT) -> Argument:
    """How carefully `task` changes tokens: the options of all such tasks, and more."""
    guards = GUARDS[task]
    allow = Option(
        "allow",
        f"Continue in spite of a guard: {', '.join(guards)}. {SEVERAL}",
        several=True,
        value=Value("WORD", "the word of a guard", guards[0], tuple(guards)),
        group=Group.CARE,
    )

    def made(
        option: target.TargetOption, environment: Environment, standby: Sequence[str] | None, **own: Any
    ) -> Handling:
        standbys, four_eyes = target.standbys(option, standby), option.configuration.four_eyes
        return handling(environment, task=task, standbys=standbys, four_eyes=four_eyes, **own)

    return Argument("handling", made, (*CARRYING_OUT, output, allow, *more))


HANGING_ON = Argument(
    "options",
    "tokens.commands.change:treatment",
    (
        Option(
            "memberships",
            "move: memberships of bots that end before the new date are moved as GitLab's own rotation does; keep: "
            "they stay, and GitLab deletes the bots. Default: move.",
            "move",
            forms=("move", "keep"),
        ),
        Option(
            "notices",
            "rearm: owners who were warned already will be warned again; keep: what GitLab remembers stays. "
            "Default: rearm.",
            "rearm",
            forms=("rearm", "keep"),
        ),
    ),
)
"""What happens to what belongs to the tokens."""

EXTENSION = Argument(
    "change",
    "tokens.commands.change:extension",
    (
        Option("to", "The new expiration date (2027-06-15, or +90d from today).", value=DAY),
        Option(
            "by",
            "Instead of --to: each token's own date plus this period (365d, 12w).",
            value=Value("PERIOD", "a period", "365d"),
        ),
        Option("stagger", "Spread the new dates evenly over this period, from --to or --by on (30d).", value=PERIOD),
    ),
)

SAID_OF_ROTATION = {
    "kind": f"Of this kind: {KINDS}. Default: service-account, with --new-owner personal. {SEVERAL}",
    "state": f"Only in this state: {STATES}. Default: active; with --expired-within expired; with --service-account or "
    f"--token whatever can be rotated. {SEVERAL}",
}
ROTATION = Argument(
    "options",
    "tokens.commands.options.rotating:rotate_options",
    (
        Option("service_account", "Only tokens of the account with this username.", value=ACCOUNT, group=Group.TOKENS),
        Option(
            "token",
            "Only the token with this name or id.",
            value=Value("TOKEN", "the name or id of a token", "4711"),
            group=Group.TOKENS,
        ),
        Option(
            "within",
            "All tokens that work and expire within a period from today, such as 30d.",
            value=PERIOD,
            group=Group.TOKENS,
        ),
        Option(
            "expired_within",
            "All tokens that have expired within the last period, such as 14d.",
            value=Value("PERIOD", "a period", "14d"),
            group=Group.TOKENS,
        ),
        *(option.saying(SAID_OF_ROTATION.get(option.name, option.help)) for option in SELECTING),
        Option(
            "allow",
            "Continue in spite of a guard: long-expired (tokens that expired more than 30 days ago); administrator "
            "(the new owner is one, the old one is not); no-membership (the new owner is a member of nothing). "
            f"{SEVERAL}",
            several=True,
            value=Value("WORD", "the word of a guard", "long-expired", GUARDS["rotate"]),
            group=Group.CARE,
        ),
        AT_MOST.saying("Refuse to rotate more tokens than this number."),
        Option(
            "expires_in",
            "How long the new token lives, in days. Default: 365d, or the instance's maximum if that is less.",
            value=Value("DAYS", "a number of days", "365d"),
        ),
        Option(
            "grace",
            "Let the old token live on for this number of days (7d) at most, instead of revoking it at once.",
            value=Value("DAYS", "a number of days", "7d"),
        ),
        Option(
            "new_owner",
            "Give the new tokens of people to the service account with this username: for an employee who leaves.",
            value=Value("USERNAME", "a username", "deploy", lookup="service accounts"),
        ),
        Option(
            "verify",
            "The URL of GitLab that has to accept the new token. Default: the one in the configuration of the GitLab "
            "installed right here.",
            value=Value("URL", "the URL of a GitLab", "https://gitlab.example.com"),
            group=Group.CARE,
        ),
        Option("no_verify", "Do not ask GitLab whether it accepts the new token.", False, group=Group.CARE),
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
        Option("resume", "Bring the run with this number to its end.", value=NUMBER_OF_RUN, group=Group.TOKENS),
        OUTPUT.saying("text or json; neither ever holds a token. Default: text."),
    ),
)

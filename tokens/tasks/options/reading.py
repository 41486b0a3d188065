"""The options of tasks that only read, each described once."""

from tokens.tasks.option import SEVERAL, Argument, Option, Value, care, which
from tokens.tasks.options.selecting import EVERY_KIND, EVERY_STATE, PERIODS, selecting
from tokens.tasks.options.shared import (
    DAY,
    FILE,
    LOG,
    NUMBER,
    NUMBER_OR_ALL,
    PAST_DAY,
    PERIOD,
    PERIOD_OR_DAY,
    SECRETS_FILE,
    USERNAME,
    output,
)

WHOSE = Argument(
    "wanted",
    "whose:wanted",
    (
        which(
            "scan",
            "Instead of reading standard input, look for tokens in the files of this folder, or in this file.",
            value=Value("FOLDER", "a folder or a file", "/srv/scripts", lookup="files"),
        ),
        LOG.saying(
            "Show what each token did, too, by GitLab's api_json.log: a file, or a pattern such as 'api_json.log*'; "
            "plain, gzip or zstd."
        ),
        SECRETS_FILE,
    ),
)

TOP = Option(
    "top",
    "How many expiration dates to show, the commonest first: a number, or all.",
    "10",
    value=NUMBER_OR_ALL.such_as("3"),
).read_by("options.values:number_of_dates", "most")

DATES_OUTPUT = output("text", "json", "csv", text="as gitlab:tokens:analyze prints it")

WHOSE_OUTPUT = output("text", "json", "csv").saying(
    "text (a line a token), json or csv; none of them ever holds a token."
)

GRANTS = Option(
    "grants",
    "Instead, print the least privileges for this role as SQL: analyze, list, others (kinds that are no access "
    "tokens), whose, history, changes, revoke, rotate.",
    value=Value("ROLE", "the name of a role", "auditor"),
)

LISTING = Argument(
    "layout",
    "list_tokens:layout",
    (
        Option(
            "wide",
            "More columns: state, scopes, created, ips, membership_ends_at, clean_up_at, warned, flags, description.",
            False,
        ),
        Option(
            "columns",
            "These columns in this order, in every output.",
            several=True,
            value=Value("COLUMN", "a column", "id,name,email", lookup="columns"),
        ),
        Option(
            "sort",
            "By this column; with a minus (--sort=-used) downwards. Default: expires, soonest first.",
            value=Value("COLUMN", "a column", "owner", lookup="sortable columns"),
        ),
        Option("first", "This number of tokens, or all. Default: 50 on a terminal, else all.", value=NUMBER_OR_ALL),
    ),
)

LIST_OUTPUT = output("text", "json", "ndjson", "csv", "ids", ndjson="a document a line", ids="one a line, for --ids -")

FORECAST = Argument(
    "window",
    "forecast:window",
    (
        Option("by", "day, week or month. Default: week.", forms=("day", "week", "month")),
        Option("until", "How far to look: a period (90d, 6m) or a day.", "90d", value=PERIOD_OR_DAY),
        Option("sort", "date, or tokens: the days with the most tokens.", "date", forms=("date", "tokens")),
        Option(
            "first",
            "With --sort tokens, this number of days. Default: all.",
            value=Value("NUMBER", "a number of days", "10"),
        ),
    ),
)

FORECAST_OUTPUT = output("text", "json", "csv", "ics", "html", ics="a calendar", html="a page for a browser")

USED = Argument(
    "wanted",
    "used:wanted",
    (
        LOG.saying(f"{LOG.text} {SEVERAL} Default: the log of the GitLab right here, with its rotated files."),
        Option("since", "Leave out calls before this day (2024-06-15, UTC).", value=PAST_DAY),
        Option(
            "state_file",
            "Read on from where the last run with this file ended, and write down where this one ends. For a timer.",
            only_here=True,
            value=FILE.such_as("/var/lib/gitlab-tokens/used.json"),
        ),
        Option(
            "by", "A row for each token, address, route or day.", "token", forms=("token", "address", "route", "day")
        ),
        Option("top_refused", "Only dead tokens that are still being tried, most often first.", False),
        Option("first", "This number of rows, or all. Default: 50 on a terminal, else all.", value=NUMBER_OR_ALL),
    ),
)

USED_OUTPUT = output("text", "json", "ndjson", "csv", ndjson="a document a line")

THRESHOLDS = Argument(
    "thresholds",
    "check:thresholds",
    (
        Option("warn", "Tokens that stop working within this period are a warning.", "30d", value=PERIOD),
        Option(
            "critical",
            "Those within this one are critical. Default: 7d, or as --warn if that is shorter.",
            value=PERIOD.such_as("7d"),
        ),
    ),
)

MAX_AGE = care(
    "max_age",
    "Fail if the last call in the log of --log is older than this period, such as 6h or 1d.",
    value=PERIOD.such_as("1d"),
).read_by("check:max_age")

EACH = Argument(
    "most_of_each",
    "check:most_of_each",
    (
        Option("each", "A line, or a series, for each token, too.", False),
        care(
            "at_most", "Refuse --each for more tokens than this number. Default: 5000.", value=NUMBER.such_as("20000")
        ),
    ),
)

CHECK_OUTPUT = output("text", "json", "nagios", "prometheus").saying(
    "text, json, nagios (a plugin's line and exit statuses, 0 to 3), or prometheus (its text format)."
)

CHECK_FILE = Option(
    "file",
    "With --output prometheus: the file right here to replace, for node_exporter. A failure leaves it as it was.",
    takes_form="prometheus",
    value=FILE.such_as("/var/lib/gitlab-tokens/gitlab_tokens.prom"),
)

PAGE = Argument(
    "contents",
    "report:contents",
    (
        Option("with_emails", "Show the owners' e-mail addresses, too.", False),
        Option("only", "With --group: the page of that team, which says nothing of the rest of the instance.", False),
    ),
)

PAGE_FILE = Option(
    "file",
    "The file to write, in place of an older one. A failure leaves that as it was. Default: standard output.",
    only_here=True,
    value=FILE.such_as("tokens.html"),
)

SIMULATED = Argument(
    "asked",
    "simulate:asked",
    (
        Option("nights", "How far to look: a period (60d, 3m) or a day.", "60d", value=PERIOD_OR_DAY.such_as("3m")),
        Option(
            "max_lifetime",
            "If the instance's maximum lifetime were set to this period, 400 days at most.",
            value=PERIOD.such_as("90d"),
        ),
        Option("require_expiry", "If new tokens had to have a date.", False),
        Option("no_require_expiry", "If new tokens needed no date.", False),
        Option(
            "clean_up_days",
            "If GitLab deleted inactive bots after this number of days, or never.",
            value=Value("DAYS", "a number of days, or never", "7"),
        ),
        Option("disable", "If access tokens were disabled.", False),
        Option("granular_after", "If people could make fine-grained tokens alone from this day on.", value=DAY),
        Option("block_user", "If the user with this username, or URL, were blocked.", several=True, value=USERNAME),
        Option(
            "remove_member",
            "If the user with this username were removed from the place that --project or --group names then.",
            value=USERNAME,
        ),
        LOG.saying(f"{LOG.text} {SEVERAL} The tokens that are used most come first then."),
        Option(
            "by",
            "token, owner or night: what the lines of text and CSV are about.",
            "token",
            forms=("token", "owner", "night"),
        ),
        Option("first", "This number of lines, or all. Default: 50 for people, else all.", value=NUMBER_OR_ALL),
        *selecting(EVERY_KIND, EVERY_STATE),
        *PERIODS,
    ),
)

SIMULATION_OUTPUT = output("text", "json", "csv", "ics", json="all nights, owners and tokens", ics="a calendar")

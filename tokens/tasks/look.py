"""The tasks that only look, with their options."""

from functools import partial

from tokens.cli import declaration, values
from tokens.cli.declaration import Family
from tokens.cli.option import SEVERAL, Option, Value, argument, care, which
from tokens.cli.values import STATES
from tokens.tasks.options import (
    EVERY_KIND,
    EVERY_KIND_AND_OTHERS,
    EVERY_STATE,
    IN_STATE,
    LOCATED,
    LOG,
    LOGS,
    OUTPUT,
    PERIODS,
    SECRETS_FILE,
    THERE,
    output,
    selecting,
    selection,
)

task = partial(declaration.task, family=Family.LOOK)

TOP = Option(
    "top",
    "How many expiration dates to show, the commonest first: a number, or all.",
    "10",
    value=values.NUMBER_OR_ALL.such_as("3"),
).read_by("options.values:number_of_dates", "most")

DATES_OUTPUT = output("text", "json", "csv", text="as gitlab:tokens:analyze prints it")


@task("analyze:analyze", LOCATED, TOP, DATES_OUTPUT)
def analyze() -> None:
    """Show on which dates the most tokens expire.

    It prints what gitlab-rake gitlab:tokens:analyze prints: when the clean-up of
    GitLab 16.0 ran, which gave a date to every token without one, and the ten
    dates on which the most tokens expire. Every token counts, as in the original:
    revoked, expired and impersonation tokens too. It reads in one read-only
    transaction, also on a standby.

    Examples:

        gitlab-tokens analyze
        gitlab-tokens analyze --target demo --top all
        gitlab-tokens analyze --output csv
    """


LISTED = selection("to_read", *selecting(EVERY_KIND_AND_OTHERS), *PERIODS)
"""Which tokens are to be shown: without an option about the date those of any date."""

LISTING = argument(
    "layout",
    "list_tokens:layout",
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
    Option("first", "This number of tokens, or all. Default: 50 on a terminal, else all.", value=values.NUMBER_OR_ALL),
)

LIST_OUTPUT = output("text", "json", "ndjson", "csv", "ids", ndjson="a document a line", ids="one a line, for --ids -")


@task("list_tokens:list_tokens", LOCATED, LISTED, LISTING, LOGS, LIST_OUTPUT, name="list")
def list_tokens() -> None:
    """Show which tokens expire when, and whose they are.

    The options choose tokens as those of extend do, and none of them has to be
    given: without them it shows every token that works, soonest first. Tasks that
    only read take every kind, so that nothing is overlooked. extend, remove and
    revoke take impersonation tokens only where --kind names them. On a terminal it
    shows the first 50; --first all shows the rest. The columns fit the terminal,
    and a pipe gets all of every name.

    The owner is a person's or service account's username. For a bot it is the
    full path of its project or group. --wide adds columns, among them what is
    the matter with a token:

        membership-ends-first  the bot's membership ends before the token
        clean-up               GitLab deletes the bot on the day of clean_up_at
        beyond-maximum         the date is beyond the maximum lifetime
        in-its-grace           a successor works, and this token still does
        successor-works        this token is dead, and a successor works
        nobody-warned          its owner is active, and GitLab sends no mail before
                               it stops working
        warned                 GitLab has sent a mail already (see the column)
        legacy                 not fine-grained, and its owner may make no other
        migration-date         its date is probably from GitLab 16.0's migration
        owner-inactive         the owner is blocked, banned or deactivated
        failed-tries           GitLab has refused it, as far as --log says so

    With --log there are two more columns: calls_a_day, and refused (how many
    tries GitLab has refused). --sort=-calls shows the busiest first. More columns
    come by name alone: email, place_id, created_by, told (who gets GitLab's mail
    about a bot), owner_state and account. About a bot GitLab mails the direct
    Maintainers and Owners of its project, or the direct Owners of its group. A
    setting lets GitLab mail inherited members, too. It is not looked at.

    --output ids feeds --ids - of another task. It reads in one read-only
    transaction, also on a standby.

    More than access tokens expires, and --kind shows that by name:

        deploy-token  of projects and groups
        membership    of bots; GitLab deletes a bot with its membership
        ssh-key       of people
        deploy-key    of projects
        trigger       pipeline trigger tokens; with dates from GitLab 17.9 on
        runner        authentication tokens of runners
        secure-file   certificates that CI of a project keeps
        agent         tokens of cluster agents, which have no date

    What such a kind does not have stays empty. A date is the UTC day of its last
    moment. No task changes these kinds. GitLab may keep triggers, runners and
    secure files in a ci database of its own, which its database.yml names. Where
    no kind is named, one line says how many of them expire, too.

    Examples:

        gitlab-tokens list --within 14d
        gitlab-tokens list --kind project,group --expires 2026-12 --wide
        gitlab-tokens list --kind deploy-token,ssh-key --within 60d
        gitlab-tokens list --never-used --sort created --output csv
        gitlab-tokens list --log api_json.log --within 30d --sort=-calls
    """


FORESEEN = selection("to_foresee", *selecting(EVERY_KIND_AND_OTHERS, without=("expires",)))
"""The same, and revoked ones on request."""

FORECAST = argument(
    "window",
    "forecast:window",
    Option("by", "day, week or month. Default: week.", forms=("day", "week", "month")),
    Option("until", "How far to look: a period (90d, 6m) or a day.", "90d", value=values.PERIOD_OR_DAY),
    Option("sort", "date, or tokens: the days with the most tokens.", "date", forms=("date", "tokens")),
    Option(
        "first",
        "With --sort tokens, this number of days. Default: all.",
        value=Value("NUMBER", "a number of days", "10"),
    ),
)

FORECAST_OUTPUT = output("text", "json", "csv", "ics", "html", ics="a calendar", html="a page for a browser")


@task("forecast:forecast", LOCATED, FORESEEN, FORECAST, FORECAST_OUTPUT)
def forecast() -> None:
    """Show how many tokens expire in the next weeks.

    A line for each day, week or month from tomorrow on, with a bar in which each
    kind has a letter. A week begins on Monday. The memberships of bots have a
    row of their own, since GitLab deletes a bot with its membership. A day that
    has more than a fifth of all tokens comes with the command that spreads them.
    Tokens of every kind count unless kinds are named, and kinds that are no
    access tokens (see list) where they are named. Those end at a time of day, so
    with them it begins today. --state active,revoked --sort tokens counts what
    GitLab's script of the commonest dates counts.

    --output ics is a calendar with a reminder seven days before. It has one event
    a date; with --user, --group or --project one a date and owner. No event names
    a token. Its events keep their identity, so a calendar may read it again.
    --output html makes a page for a browser.

    Examples:

        gitlab-tokens forecast
        gitlab-tokens forecast --kind runner,secure-file --by day
        gitlab-tokens forecast --by month --until 1y --kind project,group
        gitlab-tokens forecast --sort tokens --first 10
        gitlab-tokens forecast --group platform --until 1y --output ics
    """


COUNTED = selection("to_count", *selecting(EVERY_KIND_AND_OTHERS, EVERY_STATE), *PERIODS)
"""Which tokens are counted: without an option about kind or state all of them."""


@task("breakdown:breakdown", LOCATED, COUNTED, OUTPUT)
def breakdown() -> None:
    """Show how many tokens there are of each kind.

    A fact a line, so that grep finds it: active tokens, those that expire within
    7, 30 and 90 days or never, those that were never used or not for a year,
    those with the scopes api, sudo and admin_mode, and dead ones. The last lines
    are the instance's policy in words. --kind takes the other kinds of list, too.

    Examples:

        gitlab-tokens breakdown
        gitlab-tokens breakdown --group platform --output json
    """


WORKING_OR_EXPIRED = IN_STATE.saying(f"Only in this state: {STATES}. Default: active and expired.")
REPORTED = selection("to_report", *selecting(EVERY_KIND_AND_OTHERS, WORKING_OR_EXPIRED), *PERIODS)
"""Which tokens a page is about."""

PAGE = argument(
    "contents",
    "report:contents",
    Option("with_emails", "Show the owners' e-mail addresses, too.", False),
    Option("only", "With --group: the page of that team, which says nothing of the rest of the instance.", False),
)

PAGE_FILE = Option(
    "file",
    "The file to write, in place of an older one. A failure leaves that as it was. Default: standard output.",
    only_here=True,
    value=values.FILE.such_as("tokens.html"),
)


@task("report:report", LOCATED, REPORTED, PAGE, LOGS, PAGE_FILE)
def report() -> None:
    """Make a page to look at and to hand over.

    One file of HTML that asks nothing of a network and is readable without
    scripts: what ends soon, the instance's policy, a calendar of twelve months,
    the kinds, the owners with most to do, what nobody is warned of, what never
    expires and was never used, and the bots that GitLab will delete. Each table
    has at most a hundred rows and the number of the rest, so the page stays
    below 2 MB. With --log it says what is used daily, and which dead tokens are
    still tried.

    Active and expired tokens of every kind count unless kinds or states are
    named. Other credentials that are named, such as --kind personal,ssh-key,
    have a table of their own. There is no e-mail address in it without
    --with-emails: addresses in names are left out, too. With --only --group it is
    the page of one team. The file is for its owner alone to read. Where the
    target is a container or pod, let standard output go to a file instead. It takes what list reads of the
    database, in one read-only transaction, also on a standby.

    Examples:

        gitlab-tokens report --file tokens.html
        gitlab-tokens report --only --group platform --file platform.html
        gitlab-tokens report --kind service-account --with-emails --file page.html
    """


USED_TOKENS = selection("to_count", *selecting(EVERY_KIND, EVERY_STATE), *PERIODS)
"""The same where no other kinds can be named."""

USED = argument(
    "wanted",
    "used:wanted",
    LOG.saying(f"{LOG.text} {SEVERAL} Default: the log of the GitLab right here, with its rotated files."),
    Option("since", "Leave out calls before this day (2024-06-15, UTC).", value=values.PAST_DAY),
    Option(
        "state_file",
        "Read on from where the last run with this file ended, and write down where this one ends. For a timer.",
        only_here=True,
        value=values.FILE.such_as("/var/lib/gitlab-tokens/used.json"),
    ),
    Option("by", "A row for each token, address, route or day.", "token", forms=("token", "address", "route", "day")),
    Option("top_refused", "Only dead tokens that are still being tried, most often first.", False),
    Option("first", "This number of rows, or all. Default: 50 on a terminal, else all.", value=values.NUMBER_OR_ALL),
)

USED_OUTPUT = output("text", "json", "ndjson", "csv", ndjson="a document a line")


@task("used:used", LOCATED, USED_TOKENS, USED, USED_OUTPUT)
def used() -> None:
    """Show what uses tokens, by GitLab's API log.

    Before a change: does anybody use these tokens, and what? After a leak: what
    did this one do? GitLab writes the token of each call into api_json.log, and
    from 17.2 on that of each refused one. Tokens of every kind and state count
    unless they are named. Without --log the log of the GitLab right here is
    read, with its rotated files, also in a container. The webservice pods of a
    Helm chart write it to standard output: pipe that in with --log -. Other
    lines between do no harm.

    Each token has its calls, those a day, the refused ones and from where they
    came. Of up to three tokens, and in JSON of each, it shows routes, projects,
    addresses, programs, and why it was refused: expired, revoked, or the scopes
    that were missing. An address that is refused too often is named with the
    limit of GitLab's settings: throttle_unauthenticated_api of the instance, and
    rack_attack: git_basic_auth of gitlab.yml, which bans it. Of each token the
    first 1,000 addresses are counted apart, and as many routes; the calls of
    others are counted together, and a note says so.

    --top-refused shows dead tokens that somebody still tries, with their owner,
    their date and what replaced them. The log has the REST API alone. Of a token
    that is used for GraphQL, or for Git over HTTP, it says nothing.

    Lines that are damaged are counted and left out. With --state-file each run
    reads on where the last one ended, also where files were rotated since.

    Examples:

        gitlab-tokens used --user erika
        gitlab-tokens used --log '/srv/logs/api_json.log*' --by address
        gitlab-tokens used --top-refused --since 2024-06-15
        gitlab-tokens used --group platform --output json
    """


COMING = selection("to_count", *selecting(EVERY_KIND_AND_OTHERS, without=("expires", "state")))
"""Which tokens are counted by a task that has a window of its own, of those that work."""

THRESHOLDS = argument(
    "thresholds",
    "check:thresholds",
    Option("warn", "Tokens that stop working within this period are a warning.", "30d", value=values.PERIOD),
    Option(
        "critical",
        "Those within this one are critical. Default: 7d, or as --warn if that is shorter.",
        value=values.PERIOD.such_as("7d"),
    ),
)

MAX_AGE = care(
    "max_age",
    "Fail if the last call in the log of --log is older than this period, such as 6h or 1d.",
    value=values.PERIOD.such_as("1d"),
).read_by("check:max_age")

EACH = argument(
    "most_of_each",
    "check:most_of_each",
    Option("each", "A line, or a series, for each token, too.", False),
    care(
        "at_most",
        "Refuse --each for more tokens than this number. Default: 5000.",
        value=values.NUMBER.such_as("20000"),
    ),
)

CHECK_OUTPUT = output("text", "json", "nagios", "prometheus").saying(
    "text, json, nagios (a plugin's line and exit statuses, 0 to 3), or prometheus (its text format)."
)

CHECK_FILE = Option(
    "file",
    "With --output prometheus: the file right here to replace, for node_exporter. A failure leaves it as it was.",
    takes_form="prometheus",
    value=values.FILE.such_as("/var/lib/gitlab-tokens/gitlab_tokens.prom"),
)


@task("check:check", LOCATED, COMING, THRESHOLDS, EACH, LOGS, MAX_AGE, CHECK_OUTPUT, CHECK_FILE)
def check() -> None:
    """Tell monitoring what stops working soon.

    One line, and exit status 0, or 5 if a token stops working within --warn: on
    its date, or before with the membership of its bot, with which GitLab deletes
    it. A token whose successor works is no alarm, nor is one whose owner is
    blocked, banned or deactivated: it does not work now. With --output nagios it
    is a plugin: exit statuses 0, 1, 2, and 3 for whatever goes wrong. With
    --output prometheus it prints numbers for a textfile collector, and --file
    replaces a file at once. Alert rules and a timer are in deploy/monitoring.
    Kinds that are no access tokens (see list) count where they are named. With
    --log an expired token that is still tried is critical; with --max-age, too,
    the check fails if the log is older, since nobody may be writing it.

    --each adds a line or a series for each token; for Prometheus that is every
    token that will stop working, whatever --warn is. More than 5000 are refused: monitoring
    is not made for more. --at-most allows them.

    Examples:

        gitlab-tokens check --warn 14d --critical 3d
        gitlab-tokens check --output nagios --kind project,group
        gitlab-tokens check --each --group platform
        gitlab-tokens check --log api_json.log --max-age 1d
        gitlab-tokens check --output prometheus --file /tmp/gitlab_tokens.prom
    """


WHOSE = argument(
    "wanted",
    "whose:wanted",
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
)

WHOSE_OUTPUT = output("text", "json", "csv").saying(
    "text (a line a token), json or csv; none of them ever holds a token."
)


@task("whose:whose", WHOSE, LOCATED, THERE, WHOSE_OUTPUT, travels=False, reads_secret=True)
def whose() -> None:
    r"""Say whose a token is, by its text.

    A token comes on standard input; of several each has a line (whose <
    leaked.txt). At a terminal it asks for one, and does not show it. A token is
    never an argument, which everybody on the machine could read. Each gets one
    line: id, kind, owner, project or group, scopes, state, dates, last use with
    its addresses, and what has replaced it. The token itself is in no output,
    message or log.

    GitLab keeps a digest of access tokens, so any of them is found, live or dead.
    It keeps deploy tokens and those of runners, agents and triggers (from 18.3
    on) encrypted, and these are found likewise. Of every other kind it says what
    it is by its prefix, and that it cannot be looked up.

    --scan FOLDER finds tokens in files by their prefixes, also the instance's own
    ones, and shows file and line. A wrong checksum means that it is none. What
    has no prefix, as before GitLab 14.5, counts if this GitLab knows it. Links
    are not followed. What is compressed, as in a .git folder, is not looked into.

    --log adds what each access token did: calls, routes, projects, addresses,
    programs, and why it was refused (see used).

    The instance's db_key_base makes the digests, and is read from GitLab's own
    secrets, or from --secrets-file. With --target docker:... or kubernetes:... it
    stays inside. Files are read out here, and the tokens go in over a pipe.

    Examples:

        gitlab-tokens whose
        gitlab-tokens whose --target docker:gitlab
        gitlab-tokens whose --log '/var/log/gitlab/gitlab-rails/api_json.log*'
        gitlab-tokens whose --scan /srv/scripts --output csv
        gitlab-tokens whose --target postgresql://gitlab@db/gitlabhq_production \
          --secrets-file /root/gitlab-secrets.json
    """


SIMULATED = argument(
    "asked",
    "simulate:asked",
    Option("nights", "How far to look: a period (60d, 3m) or a day.", "60d", value=values.PERIOD_OR_DAY.such_as("3m")),
    Option(
        "max_lifetime",
        "If the instance's maximum lifetime were set to this period, 400 days at most.",
        value=values.PERIOD.such_as("90d"),
    ),
    Option("require_expiry", "If new tokens had to have a date.", False),
    Option("no_require_expiry", "If new tokens needed no date.", False),
    Option(
        "clean_up_days",
        "If GitLab deleted inactive bots after this number of days, or never.",
        value=Value("DAYS", "a number of days, or never", "7"),
    ),
    Option("disable", "If access tokens were disabled.", False),
    Option("granular_after", "If only fine-grained tokens could be made from this day on.", value=values.DAY),
    Option("block_user", "If the user with this username, or URL, were blocked.", several=True, value=values.USERNAME),
    Option(
        "remove_member",
        "If the user with this username were removed from the place that --project or --group names then.",
        value=values.USERNAME,
    ),
    LOG.saying(f"{LOG.text} {SEVERAL} The tokens that are used most come first then."),
    Option(
        "by",
        "token, owner or night: what the lines of text and CSV are about.",
        "token",
        forms=("token", "owner", "night"),
    ),
    Option("first", "This number of lines, or all. Default: 50 for people, else all.", value=values.NUMBER_OR_ALL),
    *selecting(EVERY_KIND, EVERY_STATE),
    *PERIODS,
)

SIMULATION_OUTPUT = output("text", "json", "csv", "ics", json="all nights, owners and tokens", ics="a calendar")


@task("simulate:simulate", LOCATED, SIMULATED, SIMULATION_OUTPUT)
def simulate() -> None:
    """Show what would die, and when.

    It goes through GitLab's own nightly work for the next nights: tokens expire,
    memberships end, bots without an active token are deleted with their tokens,
    and mail goes out. Without a decision it shows what happens as things are.
    With one or several it shows what happens if they are made today, and says of
    each token whether it ends because of that (change), with or without it
    (anyway), or later or not at all (spared). Nothing is changed.

        --max-lifetime   GitLab revokes what is beyond it, after three hours
        --clean-up-days  bots go sooner or later
        --disable        no access token works
        --block-user     no token of that user works
        --remove-member  the user's tokens lose a project or group; what is
                         below it, too
        --require-expiry, --no-require-expiry, --granular-after
                         concern new tokens; old ones work on

    An effect is stops, revoked, expires, deleted or loses-access; "dead" is said
    of tokens that do not work by then. The columns notices and told (JSON, CSV)
    say when GitLab sends mail about a token, and to whom. Tokens of every kind
    and state count unless they are named. With --remove-member the place chooses
    no tokens.

    Where GitLab's exact release is not known, the worst of the possible rules
    counts, and a line says so. A night is the one that begins its day in UTC. It
    reads in one read-only transaction, also on a standby. Its rules, with their
    sources, are in tokens/gitlab/rules.py.

    Three things are not looked at. GitLab deletes bots along with a project or
    group that waits for its deletion. It may deactivate dormant users. It keeps
    the last Owner of a group as a member, whatever the membership's date.

    Examples:

        gitlab-tokens simulate
        gitlab-tokens simulate --max-lifetime 90d
        gitlab-tokens simulate --clean-up-days 7 --nights 30d --by night
        gitlab-tokens simulate --block-user jo --output csv
        gitlab-tokens simulate --remove-member jo --project platform/deploy
    """

"""The options about the record, the demo and the bundle, each described once."""

from tokens.tasks import target
from tokens.tasks.option import Argument, Group, Option, Value, care, where, which
from tokens.tasks.options.shared import (
    FILE,
    FOLDER,
    NUMBER,
    PAST_DAY,
    PERIOD,
    REASON,
    RUN,
    TARGET,
    USERNAME,
    guard_of,
    output,
)

FOUR_EYES_SET = Argument(
    "on",
    "journal:turned",
    (
        Option("on", "From now on nobody may apply a plan of their own.", False),
        Option("off", "One person may plan and apply again. Who turned it off stays on record.", False),
    ),
)

RUNS_SHOWN = Argument(
    "wanted",
    "history:wanted",
    (
        RUN.saying("Show this run and its tokens: a number. Default: one line for each run."),
        which("tokens", "Each token of these runs, too.", False),
        which(
            "token",
            "Only what was done to the token with this id; also one that a rotation made.",
            several=True,
            value=Value("ID", "the id of a token", "4711"),
        ),
        which(
            "user",
            "Only what was done to tokens of the account that has, or had then, this username.",
            several=True,
            value=USERNAME,
        ),
        which(
            "since",
            "Only runs that were planned or carried out on this day (2024-06-15, UTC) or later.",
            value=PAST_DAY,
        ),
        REASON.saying("Only runs with this text in their reason; case does not count.", group=Group.TOKENS),
    ),
)

HISTORY_OUTPUT = output("text", "json", "csv", csv="with --run or --tokens a line a token")

ALLOW_PUBLICATION = care(
    "allow",
    "publication: go on although logical replication will carry the journal's tables.",
    value=guard_of("journal.install"),
)

SQL = Option(
    "sql",
    "Instead, print the statements that make its tables, to be run first on each subscriber of a publication that will "
    "carry them. Nothing is changed.",
    False,
)

EVIDENCE = Argument(
    "wanted",
    "evidence:wanted",
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
            value=FILE.such_as("evidence.ndjson"),
        ),
        Option(
            "sign_key",
            "Sign the file with this key of ssh, into FILE.sig.",
            only_here=True,
            value=FILE.such_as("~/.ssh/id_ed25519"),
        ),
    ),
)

PRUNED_DAY = Argument(
    "day",
    "options.days:day_before_which",
    (
        Option("before", "Forget the runs that were planned before this day, 00:00 UTC.", value=PAST_DAY),
        Option("older_than", "The same as a period before today, such as 90d or 1y.", value=PERIOD.such_as("90d")),
    ),
)

DEMO_FOLDER = Argument("folder", target.demo_directory)

TOKENS_OF_DEMO = Option(
    "tokens",
    "How many tokens expire on one date. Default: 15653; as documented by GitLab: 1565353.",
    value=NUMBER.such_as("1565353"),
).read_by("options.values:tokens_of_demo")

DATE_OF_DEMO = Option(
    "expires",
    "The date on which they expire: friday (the coming one) or a day within the coming year (2027-06-15, "
    "+14d). Default: 2024-06-15, as documented by GitLab.",
    value=Value("DAY", "a day, or friday", "friday"),
).read_by("options.days:date_of_demo", "expires_at")

DIRECTORY = where(
    "directory",
    "Folder for the bundle. Default: INVOKE_TOKENS_BUNDLE_DIRECTORY, then tokens.bundle.directory in the "
    "configuration, then invoke-gitlab-tokens in the user's cache.",
    value=FOLDER,
)

DEPLOY_DIRECTORY = where(
    "directory", "Where to make the folder deploy. Default: the current folder.", ".", value=FOLDER
)

BUNDLE_FOLDER = DIRECTORY.read_by(target.bundle_folder, "folder")
BUNDLE_PLACE = Argument("place", target.bundle_place, (TARGET, DIRECTORY))

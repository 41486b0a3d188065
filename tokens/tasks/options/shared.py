"""What options of many tasks have in common: values, targets, output, each described once."""

from tokens.commands.options.handling import GUARDS
from tokens.tasks import target
from tokens.tasks.option import Argument, Option, Value, care, listed, where, which

KINDS_TO_ROTATE = "personal, impersonation, project, group, service-account"
KINDS = f"{KINDS_TO_ROTATE}, other"
OTHER_KINDS = "deploy-token, membership, ssh-key, deploy-key, trigger, runner, secure-file, agent"
STATES = "active, expired, revoked"
OWNER_STATES = "active, blocked, banned, deactivated"

# What follows an option, each said once.
DAY = Value("DAY", "a day", "2027-06-15")
PAST_DAY = Value("DAY", "a day", "2024-06-15")
NUMBER = Value("NUMBER", "a number", "1000")
NUMBER_OR_ALL = Value("NUMBER", "a number, or all", "100")
NUMBER_OF_RUN = Value("RUN", "the number of a run", "12", lookup="runs")
WHERE = Value("TARGET", "a target", "docker:gitlab", lookup="targets")
PERIOD = Value("PERIOD", "a period", "30d")
PERIOD_OR_DAY = Value("PERIOD", "a period or a day", "6m")
DAYS = Value("DAYS", "a number of days", "365d")
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
SCOPE = Value("SCOPE", "a scope", "api", lookup="scopes")
FILE = Value("FILE", "a file", "ids.txt", lookup="files")
FOLDER = Value("FOLDER", "a folder", "~/bundles", lookup="files")
FORM = Value("FORM", "a form", "json")
REASONS = Value("TEXT", "a text", '"OPS-1: Friday"')


def guard_of(task: str) -> Value:
    """What --allow of this task takes."""
    return Value("WORD", "the word of a guard", GUARDS[task][0], GUARDS[task])


def output(*forms: str, **about: str) -> Option:
    """`--output` with these forms, the first of which is the default, and what there is to say about some of them."""
    said = listed([f"{form} ({about[form]})" if form in about else form for form in forms])
    return Option("output", f"{said}.", forms[0], forms=forms, value=FORM, short="o")


OUTPUT = output("text", "json")

TARGET = where(
    "target",
    "Where GitLab is: omnibus, source[:DIR], docker:CONTAINER, kubernetes:NAMESPACE[/RELEASE][@CONTEXT], "
    "postgresql://USER@HOST:PORT/DBNAME, demo, or a name from tokens.targets in Invoke's configuration. Default: "
    "INVOKE_TOKENS_TARGET, then tokens.target in the configuration, then the GitLab installed right here.",
    value=WHERE,
    short="t",
)

LOCATED = TARGET.read_by(target.locator, "locate")
TARGETS_CONFIGURED = Argument("configured", target.configured)
THERE = TARGET.read_by(target.there, "there")

SECRETS_FILE = where(
    "secrets_file",
    "A copy of GitLab's secrets.yml or gitlab-secrets.json. Default: that of the GitLab right here.",
    value=FILE.such_as("/root/gitlab-secrets.json"),
)

LOG = where(
    "log",
    "GitLab's api_json.log: a file, a pattern such as 'api_json.log*', or - for standard input; plain, gzip or zstd. "
    "Rotated files are read in their order.",
    several=True,
    is_log=True,
    value=FILE.such_as("'/var/log/gitlab/gitlab-rails/api_json.log*'"),
)

RUN = which("run", "The number of the run, as `history` shows it.", value=NUMBER_OF_RUN)
REASON = care("reason", "Why, for the journal.", value=REASONS)
REASON_GIVEN = REASON.read_by("options.values:reason")
YES = care("yes", "Do not ask. Needed where there is no terminal.", False, short="y")
LOGS = LOG.read_by("options.logs:logs_named", "logs")
"""Logs from which a task says how its tokens are used."""
FOUR_EYES = Argument("four_eyes", target.four_eyes)

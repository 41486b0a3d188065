"""What has to follow options, and the words that some of them take, each said once."""

from tokens.cli.option import Value
from tokens.commands.options.handling import GUARDS

KINDS_TO_ROTATE = "personal, impersonation, project, group, service-account"
KINDS = f"{KINDS_TO_ROTATE}, other"
OTHER_KINDS = "deploy-token, membership, ssh-key, deploy-key, trigger, runner, secure-file, agent"
STATES = "active, expired, revoked"
OWNER_STATES = "active, blocked, banned, deactivated"

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

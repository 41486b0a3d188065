"""What options of many tasks have in common: values, targets, output, each described once."""

from tokens.tasks import target
from tokens.tasks.option import Option, argument, care, listed, where, which
from tokens.tasks.options import values


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

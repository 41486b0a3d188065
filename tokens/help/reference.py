"""What holds for every task and stands in the man page: statuses, variables, keys, files, the words of JSON."""

from tokens.change.plan import RunKind
from tokens.cli.configuration import KEYS
from tokens.cli.option import listed
from tokens.cli.values import KIND, OTHER_KINDS, STATE
from tokens.errors import ExitStatus
from tokens.journal.installation import RunState

EXIT_STATUSES = {
    ExitStatus.DONE: "Done, also where nothing matched or nothing was left to do.",
    ExitStatus.FAILED: "Failed: database, network, or a bug.",
    ExitStatus.USAGE: "Wrong use: a bad date, a bad option, no terminal. What Invoke cannot parse ends inv with 1.",
    ExitStatus.REFUSED: "Refused by a guard, or for a missing privilege. The message names what would allow it.",
    ExitStatus.PARTIAL: "Done in part: others had changed or held some tokens, or the connection was lost during a "
    "change, so that nobody knows. The message says how to go on.",
    ExitStatus.DUE: "check: a token stops working within --warn days.",
    ExitStatus.INTERRUPTED: "Stopped by Ctrl-C. What was committed stays, and the message says how to go on.",
    ExitStatus.TERMINATED: "The same by SIGTERM, or because the terminal is gone.",
}

VARIABLES = {
    **{key.variable: f"The same as tokens.{key.name} in the configuration, before it." for key in KEYS if key.variable},
    "GITLAB_TOKENS_PATIENCE": "Seconds before work that takes its time shows up on standard error. Default: 1.",
    "NO_COLOR": "No colours, whatever it is set to.",
    "PGPASSWORD, PGPASSFILE, PGSERVICE": "As in libpq, for --target postgresql://... only.",
    "TOKENS_ACCOUNT, TOKENS_NAME, TOKENS_NAME_SAFE, TOKENS_OLD_ID, TOKENS_ID, TOKENS_EXPIRES_AT, TOKENS_SCOPES, "
    "TOKENS_RUN": "Set for the commands of rotate: see there.",
}

FILES = {
    "/etc/invoke.yaml, ~/.invoke.yaml": "Invoke's configuration. Also as .yml and .json, and with -f FILE.",
    "~/.pgpass": "Passwords for --target postgresql://...: the mode has to be 0600.",
    "/var/lib/gitlab-tokens/demo, ~/.local/state/gitlab-tokens/demo": "The demo, root's and everybody else's.",
    "~/.cache/invoke-gitlab-tokens": "Bundles.",
}

WORDS_OF_JSON = {
    "schema": "The form of the document: a field that is there stays, and means the same, as long as this does.",
    "id": "The id of a token in GitLab.",
    "account": "The username of a token's owner.",
    "expires_at": "A token's expiration date, YYYY-MM-DD; it works until 00:00 UTC of that day. null is never.",
    "others": "How many credentials of the other kinds expire, by kind; null where that takes long, or cannot be read.",
    "old_expires_at, new_expires_at": "The date before a change, and after it.",
    "last_used_at": "When the token was last used, in ISO 8601 (UTC); null where that is not known.",
    "kind": f"Of a token: {listed(KIND.choices)}. Of what is no access token: {OTHER_KINDS}. "
    f"Of a run: {listed(tuple(RunKind))}.",
    "state": f"Of a token: {listed(STATE.choices)}. Of a run: {listed(tuple(RunState))}.",
    "run": "The number of a run in the journal.",
    "plan": "What is to be done: tokens is how many, moves from which dates to which, notes what a person should know.",
    "changed, changed_meanwhile, locked, untouched": "Numbers of tokens: changed; left alone because somebody else had "
    "changed them; left alone because another session held them; not reached before a stop.",
    "recounted": "Tokens that have their new date, counted again at the end; null where nobody has counted, as of a "
    "run that was stopped. In evidence it is all of the run's, else those that this attempt had to change.",
    "lapsed": "Whether a stored plan is too old to be applied as it is.",
    "silent_for": "Seconds since a run has given a sign of life.",
    "error, status": "What the command ended with, where that is no success: its line and its exit status.",
}

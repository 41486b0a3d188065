"""The task that replaces tokens by new ones, with its options."""

from tokens.cli import values
from tokens.cli.declaration import Family, task
from tokens.cli.option import Option, Value, argument, care, which
from tokens.cli.values import KINDS_TO_ROTATE, STATES
from tokens.tasks.options import (
    AT_MOST,
    DRY_RUN,
    FORCE,
    FOUR_EYES,
    IN_STATE,
    LOCATED,
    LOGS,
    OF_KIND,
    OUTPUT,
    REASON,
    SECRETS_FILE,
    THERE,
    YES,
    selecting,
)

KIND_TO_ROTATE = OF_KIND.saying(
    f"Of this kind: {KINDS_TO_ROTATE}. Default: service-account, with --new-owner personal."
)

STATE_TO_ROTATE = IN_STATE.saying(
    f"Only in this state: {STATES}. Default: active; with --expired-within expired; with --service-account or --token "
    "whatever can be rotated."
)

ROTATION = argument(
    "options",
    "options.rotating:rotate_options",
    which("service_account", "Only tokens of the account with this username.", value=values.ACCOUNT),
    which("token", "Only the token with this name or id.", value=Value("TOKEN", "the name or id of a token", "4711")),
    which("within", "All tokens that work and expire within a period from today, such as 30d.", value=values.PERIOD),
    which(
        "expired_within",
        "All tokens that have expired within the last period, such as 14d.",
        value=values.PERIOD.such_as("14d"),
    ),
    *selecting(KIND_TO_ROTATE, STATE_TO_ROTATE),
    care(
        "allow",
        "Continue in spite of a guard: long-expired (tokens that expired more than 30 days ago); administrator "
        "(the new owner is one, the old one is not); no-membership (the new owner is a member of nothing).",
        several=True,
        value=values.guard_of("rotate"),
    ),
    AT_MOST.saying("Refuse to rotate more tokens than this number."),
    Option(
        "expires_in",
        "How long the new token lives, in days. Default: 365d, or the instance's maximum if that is less.",
        value=values.DAYS,
    ),
    Option(
        "grace",
        "Let the old token live on for this number of days (7d) at most, instead of revoking it at once.",
        value=values.DAYS.such_as("7d"),
    ),
    Option(
        "new_owner",
        "Give the new tokens of people to the service account with this username: for an employee who leaves.",
        value=values.ACCOUNT.such_as("deploy"),
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
    FORCE.saying("Replace the file of --deliver, if it is there."),
    Option(
        "after",
        "A command for each token that was rotated, at the very end, with the same facts, without the token.",
        value=Value("COMMAND", "a command", "'glab ci run --branch main'"),
    ),
    SECRETS_FILE,
    DRY_RUN.saying("Show the plan, make and change nothing. Needs no secrets."),
    YES.saying("Do not ask; needed where there is no terminal."),
    REASON,
    which("resume", "Bring the run with this number to its end.", value=values.NUMBER_OF_RUN),
    OUTPUT.saying("text or json; neither ever holds a token."),
)


@task("rotate:rotate", ROTATION, LOCATED, THERE, LOGS, FOUR_EYES, travels=False, family=Family.ROTATE)
def rotate() -> None:
    r"""Replace service accounts' tokens by new ones.

    The new token has the name, description, scopes and flags of the old one. One
    token follows the other, each in this order: create, verify, deliver, revoke.

        create    a new token in GitLab's database
        verify    GitLab itself is asked with it (--verify, --no-verify)
        deliver   it goes where --deliver says; nobody else sees it
        revoke    the old token is revoked, or lives on for --grace

    A token that GitLab does not accept, or that cannot be delivered, is revoked
    again, and the old one stays. The exit status is 4 then, or 1 where no token
    was delivered. It is 4, too, where another run holds tokens up.

    On a terminal, rotate alone lists the accounts whose tokens expire within 30
    days or have expired in the last 30: choose one, then its token. Elsewhere the
    options say which. --within 30d is for all that work today and expire by then.
    What expired more than 30 days ago gets no successor without
    --allow long-expired.

    With --new-owner the new tokens belong to a service account: people leave, and
    what their tokens do goes on. Scopes and names stay. No membership is added:
    the plan lists where that account is no member, or has a lower role. Only
    people's own tokens can go to it. A fine-grained one cannot, nor one with a
    scope of administrators if the account is none.

    --deliver takes one of these:

        file:PATH         a new file of mode 0600 with exactly the token;
                          {account} and {token_id} (the old one's) are filled in
        command:COMMAND   run by /bin/sh with exactly the token on its standard
                          input; what it prints comes on standard error
        stdout            a terminal shows the token once and asks whether it is
                          in its place; a pipe gets one token only

    Commands have TOKENS_ACCOUNT, TOKENS_NAME, TOKENS_NAME_SAFE, TOKENS_OLD_ID,
    TOKENS_ID, TOKENS_EXPIRES_AT, TOKENS_SCOPES and TOKENS_RUN in their
    environment. A token's name is any text. TOKENS_NAME_SAFE is the same name
    made safe for a path, and different for each name. Put timeout -s KILL 60
    before a command that may hang.

    The token is in this process's memory and in what it is delivered to, nowhere
    else: not in an argument, a log, a traceback or the journal. db_key_base is
    read from GitLab's own secrets, as the GitLab user. Commands run as that user,
    too. With --target docker:... or kubernetes:... the secrets stay inside, and
    the token is delivered out here.

    Ctrl-C lets a delivery that has begun end; a second one kills its command.
    After a stop, or a crash, --resume N continues run N. Give --deliver, --after,
    --verify and --secrets-file again as before, with --force if the stop has left
    the file of --deliver. In a systemd unit use KillMode=mixed.

    A new token that a run has made and not delivered is no successor for any task:
    check still warns of the old one.

    Where four eyes are on (see journal.four-eyes), it is refused.

    Examples:

        gitlab-tokens rotate --service-account inventory --dry-run
        gitlab-tokens rotate --token 4711 --deliver 'file:/run/{account}'
        gitlab-tokens rotate --user alice --new-owner deploy \
          --deliver 'file:/run/{token_id}'
        gitlab-tokens rotate --within 30d --yes --deliver \
          'command:vault kv put "secret/gitlab/$TOKENS_ACCOUNT" token=-'
    """

"""The tasks about what was planned and done, with their options: runs, evidence, and `journal.*`."""

from functools import partial

from tokens.cli import declaration, values
from tokens.cli.declaration import Family, group
from tokens.cli.option import Group, Option, Value, argument, care, which
from tokens.tasks.options import (
    DRY_RUN,
    FORCE,
    FOUR_EYES,
    LEAVE_OUT,
    LOCATED,
    NO_NAMES,
    OUTPUT,
    PLAN,
    REASON,
    REASON_GIVEN,
    RUN,
    YES,
    handling_of,
    output,
)

task = partial(declaration.task, family=Family.RECORD)

RUN_TO_CHANGE = RUN.read_by("options.values:run_to_change")
PLAN_OUTPUT = output("text", "json", "csv").saying("text, json, or with --dry-run csv (all tokens of the plan).")


@task(
    "stored:apply",
    LOCATED,
    RUN_TO_CHANGE,
    handling_of("apply", DRY_RUN.saying("Show the plan with its tokens, begin nothing."), output=PLAN_OUTPUT),
)
def apply() -> None:
    """Carry out a stored plan, or go on with a run.

    A plan comes from extend, remove, revoke or undo with --plan. A run is gone on
    with when it was stopped, or when its process died. The tokens are those of
    the plan. One whose date somebody has changed since then is left alone and
    reported; a revocation leaves alone one that is revoked already. The guards
    are asked again, as in extend; of a run that has begun only those that come
    with time, such as past. One more guard is old-plan: the stored plan is older
    than a day. Of a complete run there is nothing to do, and the exit status is 0.
    A plan that was withdrawn is refused.

    --dry-run shows the plan and some of its tokens, and begins nothing.
    With --output csv it lists all of them, with the names of the day of the plan
    and those of today. Where four eyes are on (see journal.four-eyes), the person
    who planned a run is refused.

    Examples:

        gitlab-tokens apply --run 12
        gitlab-tokens apply 12 --yes
        gitlab-tokens apply 12 --dry-run --output csv
    """


@task("stored:withdraw", LOCATED, RUN_TO_CHANGE, REASON_GIVEN, YES)
def withdraw() -> None:
    """Withdraw a stored plan that nobody has begun.

    Nobody can apply it afterwards. history shows who withdrew it, when and why.
    A run that somebody has begun cannot be withdrawn: undo takes it back.

    Examples:

        gitlab-tokens withdraw --run 12
        gitlab-tokens withdraw 12 --reason "wrong group" --yes
    """


SUPERSEDED = LEAVE_OUT.read_by("options.selecting:takes_superseded", "superseded")


@task(
    "stored:undo",
    LOCATED,
    RUN_TO_CHANGE,
    SUPERSEDED,
    handling_of(
        "undo",
        DRY_RUN.saying("Show what would be put back, change and store nothing."),
        PLAN,
        REASON,
        NO_NAMES,
    ),
)
def undo() -> None:
    """Put back what a run has changed.

    Every token gets its old date back, with its memberships and notices, where
    the new one still stands. A token that was changed since is left alone and
    listed. The undo is a run of its own, with a plan and a question first.
    --plan stores that plan for a second person, as in extend.

    Of a revocation it brings back the tokens that nobody has un-revoked or revoked
    again since. They work again for everybody who has them, so that takes --allow
    reviving; the plan says which of them would work, and how many have another
    date by now, which they keep.

    The guards reviving, superseded, doomed and maintenance refuse it with exit
    status 3. A rotation cannot be undone: its old tokens have successors.

    Examples:

        gitlab-tokens undo --run 12 --dry-run
        gitlab-tokens undo 12 --reason "wrong group"
    """


RUNS_SHOWN = argument(
    "wanted",
    "history:wanted",
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
        "Only what was done to tokens of the account that has, or had then, this username, or URL.",
        several=True,
        value=values.USERNAME,
    ),
    which(
        "since",
        "Only runs that were planned or carried out on this day (2024-06-15, UTC) or later.",
        value=values.PAST_DAY,
    ),
    REASON.saying("Only runs with this text in their reason; case does not count.", group=Group.TOKENS),
)

HISTORY_OUTPUT = output("text", "json", "csv", csv="with --run or --tokens a line a token")


@task("history:history", LOCATED, RUNS_SHOWN, HISTORY_OUTPUT)
def history() -> None:
    """Show the runs, or one of them with its tokens.

    Without --run it has one line for each run: when, by whom, why, how many
    tokens, and whether it is complete. With --run it lists the tokens of that run
    with their old and new dates. Of a rotation it shows the stage of each token,
    whether the old one still works, the token that replaces it, and where that
    went. Of a command of --deliver only its program is kept.

    --token, --user and --tokens show tokens of all runs, a line for each token and
    run, the latest first. --since and --reason choose runs, and --run names one.

    Accounts, names, projects and groups are those of the day of the plan. Today's
    stand behind them where they differ (now: NAME), also where a token is gone.
    CSV and JSON have both: account, name and path of then, and account_now,
    name_now and path_now. The names of then are empty where the journal has none:
    before its revision 4, and with --no-names.

    Examples:

        gitlab-tokens history
        gitlab-tokens history 12
        gitlab-tokens history --token 4711
        gitlab-tokens history --user inventory --since 2026-01-01
        gitlab-tokens history --tokens --output csv
    """


EVIDENCE = argument(
    "wanted",
    "evidence:wanted",
    Option(
        "since",
        "Only runs of which something was written on this day (2024-06-15, UTC) or later. Default: all.",
        value=values.PAST_DAY,
    ),
    Option(
        "file",
        "The file to write, with the programs that check it. Default: standard output.",
        only_here=True,
        value=values.FILE.such_as("evidence.ndjson"),
    ),
    FORCE.saying("Replace the file of --file, if it is there, and its signature."),
    Option(
        "sign_key",
        "Sign the file with this key of ssh, into FILE.sig.",
        only_here=True,
        value=values.FILE.such_as("~/.ssh/id_ed25519"),
    ),
)


@task("evidence:evidence", LOCATED, EVIDENCE)
def evidence() -> None:
    r"""Write the record for an auditor, with its proof.

    A line of JSON for each run: who planned it, who carried it out, when and why,
    what the instance demanded of tokens then, how many tokens had which date
    before and after, and how many of them had it in the end: null where nobody
    has counted. Below it are its rows, and the entries of the chain that proves
    them. There is no token, digest or e-mail address in it, unless a name or a
    reason has one.

    Two programs lie beside the file and check it without this tool. Read them
    before you run them. FILE.chain.py has seventy lines of Python: they name each
    row that was changed, removed or added, but do not look at the line of a run.
    FILE.check.py has three hundred: they compare that line with the rows, and name
    what somebody who may write runs has entered later, as if it had been so.
    --sign-key signs the file with ssh-keygen. Who has the public key checks it
    with ssh-keygen -Y verify -n gitlab-tokens-evidence.

    Who may write everything in the database can write rows and their chain
    again. That shows only in comparison with what is kept elsewhere: an earlier
    file, a line in syslog, the last entry that journal.status printed. So let somebody
    else keep them. A file that is there is not replaced without --force, nor one
    of which only FILE.sig or a program is left. Runs from before revision 4 of
    the journal have no entries.

    It reads the schema token_tasks alone, also on a standby. What a role needs for
    that is under history in doctor --grants. The file is for its owner alone to
    read. Where the target is a container or pod, let standard output go to a file
    instead.

    Examples:

        gitlab-tokens evidence --file "evidence-$(date +%F-%H%M%S).ndjson"
        gitlab-tokens evidence --since 2026-01-01 --sign-key ~/.ssh/id_ed25519 \
          --file "evidence-$(date +%F-%H%M%S).ndjson"
    """


ALLOW_PUBLICATION = care(
    "allow",
    "publication: go on although logical replication will carry the journal's tables.",
    value=values.guard_of("journal.install"),
)

SQL = Option(
    "sql",
    "Instead, print the statements that make its tables, to be run first on each subscriber of a publication that will "
    "carry them. Nothing is changed.",
    False,
)


@task("journal:install", LOCATED, ALLOW_PUBLICATION, SQL, name="journal.install")
def install() -> None:
    """Install the journal, or migrate it.

    The journal is the schema token_tasks in GitLab's own database. A change and
    its record are committed together. On a terminal the first change asks whether
    to install it. That takes the privilege CREATE on the database, which GitLab's
    own role has.

    Where a publication would carry its tables to subscribers, run the statements
    of --sql on each of them first, then install with --allow publication.

    Examples:

        gitlab-tokens journal.install
        gitlab-tokens journal.install --sql
    """


@task("journal:uninstall", LOCATED, YES, name="journal.uninstall")
def uninstall() -> None:
    """Remove the journal and all that it remembers.

    Afterwards no run can be undone, and none can be gone on with. Four eyes are
    off then, and what proves the runs is gone: write evidence before. It is
    refused while a token works that a rotation has made and may not have
    delivered.

    Example:

        gitlab-tokens journal.uninstall --yes
    """


@task("journal:status", LOCATED, OUTPUT, name="journal.status")
def journal_status() -> None:
    """Show the journal's size and whether it is intact.

    Each transaction of a run enters the SHA-256 of the rows that it writes, in a
    chain. The chain is checked here: a row that something else has changed,
    removed or added is named, and the exit status is 1. A journal of another
    revision cannot be checked: the exit status is 3. Runs from before revision 4
    of the journal are not in it.

    Who may write everything in the database can write a chain of their own. Then only
    what is kept elsewhere shows it: the last entry that this prints, a line in
    syslog, or a file of evidence.

    Example:

        gitlab-tokens journal.status --output json
    """


FOUR_EYES_SET = argument(
    "on",
    "journal:turned",
    Option("on", "From now on nobody may apply a plan of their own.", False),
    Option("off", "One person may plan and apply again. Who turned it off stays on record.", False),
)


@task("journal:four_eyes", LOCATED, FOUR_EYES_SET, REASON_GIVEN, OUTPUT, FOUR_EYES, name="journal.four-eyes")
def four_eyes() -> None:
    """Let nobody apply a plan of their own.

    With --on the journal demands two people: who plans a change may not carry it
    out. It holds for every caller, on every host. extend, remove, revoke and undo
    are refused then without --plan, and apply is refused to the person who
    planned. edit and rotate are refused, since their plans cannot be stored. A
    rotation that was begun before is continued by another person. --off ends
    that. Both stay on record with who and when, and without an option it shows
    them.

    tokens.four_eyes: true in the configuration demands the same of its callers
    alone, and cannot turn it off.

    A person is who was there before sudo, or before a container was entered, else
    the account. Nothing proves that: who sets SUDO_USER claims to be somebody
    else, and who has the database's password needs no task. It helps where people
    have accounts of their own and sudo. Two people who log in as root are one.

    Examples:

        gitlab-tokens journal.four-eyes
        gitlab-tokens journal.four-eyes --on --reason "audit of 2026"
    """


PRUNED_DAY = argument(
    "day",
    "options.days:day_before_which",
    Option("before", "Forget the runs that were planned before this day, 00:00 UTC.", value=values.PAST_DAY),
    Option("older_than", "The same as a period before today, such as 90d or 1y.", value=values.PERIOD.such_as("90d")),
)


@task("journal:prune", LOCATED, PRUNED_DAY, YES, name="journal.prune")
def prune() -> None:
    """Forget runs of long ago; none that is under way.

    A run that is forgotten can no longer be undone. GitLab 16.0 to 16.2 does not
    know what a rotation has replaced, so there a rotation is kept until its old
    token is revoked. Who forgot how many runs, and when, stays in the journal. It
    takes one of --before and --older-than.

    Examples:

        gitlab-tokens journal.prune --older-than 90d
        gitlab-tokens journal.prune --before 2026-01-01 --yes
    """


journal = group(
    "journal",
    "`journal.*`: the record of what was changed, in GitLab's own database.",
    *(install, uninstall, journal_status, four_eyes, prune),
)

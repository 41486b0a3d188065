"""The tasks that change or revoke tokens, with their options."""

from functools import partial

from tokens.cli import declaration, values
from tokens.cli.declaration import Family
from tokens.cli.option import Option, argument, care
from tokens.tasks.options import (
    DRY_RUN,
    FOUR_EYES,
    IN_STATE,
    LEAVE_OUT,
    LOCATED,
    LOGS,
    NO_NAMES,
    PERIODS,
    PLAN,
    REASON,
    REASON_GIVEN,
    SELECTING,
    handling_of,
    selecting,
    selection,
)

task = partial(declaration.task, family=Family.CHANGE)

NO_JOURNAL = care("no_journal", "Keep no record: the change cannot be undone, nor continued after a stop.", False)


@task("edit:edit", LOCATED, REASON_GIVEN, NO_JOURNAL, FOUR_EYES, without_terminal="extend or remove with --yes")
def edit() -> None:
    """Extend or remove dates in a conversation.

    It asks what gitlab-rake gitlab:tokens:edit asks: one of the dates on which
    the most tokens expire, and whether to extend or remove it. It needs a
    terminal. A date is YYYY-MM-DD and nothing else.

    NOTE lines before a question say what a person should know, such as a date in
    the past or one beyond the instance's maximum lifetime. Exactly the tokens
    that the question counted are changed. Each transaction takes about a
    tenth of a second. Rows that another session holds are tried again, then left
    alone and reported; the exit status is 4 then.

    Ctrl-C stops after the transaction under way. What was changed stays, and the
    last line says how to go on. The journal records every change.
    Where four eyes are on (see journal.four-eyes), edit is refused.

    Examples:

        gitlab-tokens edit
        gitlab-tokens edit --target docker:gitlab --reason "OPS-1: Friday"
    """


SELECTION = selection("selection", *SELECTING, *PERIODS, LEAVE_OUT)
"""Which tokens are to be changed."""

PLANNING = (DRY_RUN, PLAN, REASON, NO_JOURNAL, NO_NAMES)
HANGING_ON = argument(
    "options",
    "change:treatment",
    Option(
        "memberships",
        "move: memberships of bots that end before the new date are moved as GitLab's own rotation does; keep: "
        "they stay, and GitLab deletes the bots.",
        "move",
        forms=("move", "keep"),
    ),
    Option(
        "notices",
        "rearm: owners who were warned already will be warned again; keep: what GitLab remembers stays.",
        "rearm",
        forms=("rearm", "keep"),
    ),
)
"""What happens to what belongs to the tokens."""

EXTENSION = argument(
    "change",
    "change:extension",
    Option("to", "The new expiration date (2027-06-15, or +90d from today).", value=values.DAY),
    Option(
        "by",
        "Instead of --to: each token's own date plus this period (365d, 12w).",
        value=values.PERIOD.such_as("365d"),
    ),
    Option("stagger", "Spread the new dates evenly over this period, from --to or --by on (30d).", value=values.PERIOD),
)


@task("change:extend", LOCATED, EXTENSION, handling_of("extend", *PLANNING), HANGING_ON, LOGS, SELECTION)
def extend() -> None:
    """Give selected tokens a later expiration date.

    The options say which tokens; a token must fulfil all of them. The plan is
    shown before anything is asked: how many tokens of which kind, from which date
    to which, what is left out, and what a person should know, with --log also how
    many of them are used daily. --dry-run ends there. --plan stores the plan for
    a second person, who has a day to apply it. --yes skips the question, and is
    needed where there is no terminal.

    A guard refuses a plan with exit status 3, and --allow WORD lets it through:

        past             a new date is not in the future
        earlier          tokens would expire earlier than now
        beyond-maximum   the new date is beyond the instance's maximum lifetime;
                         GitLab revokes such tokens when that setting changes
        superseded       a rotation has replaced tokens, and they would live on
                         (--leave-out superseded goes without them)
        doomed           GitLab's nightly clean-up would delete bots because of
                         this change, and no undo brings them back
        maintenance      GitLab is in maintenance mode
        publication      a publication would replicate the journal's new tables to
                         subscribers that do not have them

    A standby and a write-locked table are always refused. --yes skips no guard.
    Nothing of a token changes but its date. Memberships of bots that end too
    early are moved, as GitLab's own rotation does. Owners who were warned
    already will be warned again.

    The change runs in transactions of about a tenth of a second. Rows that
    another session holds are tried again at the end, then reported, with exit
    status 4. Ctrl-C stops at the end of a transaction; apply --run N continues.

    Examples:

        gitlab-tokens extend --expires 2026-12-04 --by 90d --dry-run
        gitlab-tokens extend --expires 2026-12-04 --kind group --to 2027-06-15
        gitlab-tokens extend --expires 2026-12-04 --ids ids.txt --by 90d --yes
    """


@task("change:remove", LOCATED, handling_of("remove", *PLANNING), HANGING_ON, LOGS, SELECTION)
def remove() -> None:
    """Remove the expiration date of selected tokens.

    Afterwards these tokens never expire. Options, plan, question, guards and exit
    statuses are those of extend: see gitlab-tokens help extend.

    To have no date is beyond every maximum lifetime. Where the instance has one,
    that takes --allow beyond-maximum. GitLab 17.7 to 17.9.0 takes a bot for
    inactive when its tokens have no date, and deletes it. There the guard doomed
    refuses the plan. It refuses it too where the exact release is not known
    (--target postgresql://...).

    Examples:

        gitlab-tokens remove --expires 2026-12-04 --group platform/tools --dry-run
        gitlab-tokens remove --expires 2026-12-04 --reason "OPS-1: Friday"
    """


NOT_REVOKED = IN_STATE.saying("Only in this state: active, expired. Default: active.", value=values.STATE_TO_REVOKE)
TO_REVOKE = selection("to_revoke", *selecting(NOT_REVOKED), *PERIODS)
"""Which tokens are to be revoked."""


@task("change:revoke", LOCATED, handling_of("revoke", *PLANNING), LOGS, TO_REVOKE)
def revoke() -> None:
    """Revoke selected tokens.

    The options say which tokens; a token must fulfil all of them, and at least one
    option has to be given. No date has to be named. A revoked token stops working
    at once. It keeps its date, and GitLab shows it as revoked. The database gets
    what GitLab's own revocation writes: revoked and updated_at. GitLab sends no
    mail about it and writes no audit event.

    Plan, question, --dry-run, --plan, transactions and exit statuses are those of
    extend: see gitlab-tokens help extend. The plan says which tokens were used
    within the last 24 hours, which bots lose their last active token, and on which
    day GitLab's clean-up deletes them then. Of tokens that a rotation has replaced
    it says whether a successor works. With --log it also says how many tokens are
    used daily. The guards are doomed, maintenance and publication.

    undo --run N --allow reviving brings back those that nobody has un-revoked or
    revoked again since. A token that came to the wrong hands must stay revoked.

    Examples:

        gitlab-tokens revoke --never-used --created-before 2025-01-01 --dry-run
        gitlab-tokens revoke --owner-state blocked,banned --reason "OPS-1: leavers"
        gitlab-tokens revoke --ids leaked.txt --yes
        gitlab-tokens revoke --beyond-maximum --kind personal --plan
    """

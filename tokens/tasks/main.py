"""The tasks that are called by one word."""

from tokens.tasks.declaration import Family, task
from tokens.tasks.options.changing import (
    DRY_RUN,
    EXTENSION,
    HANGING_ON,
    NO_JOURNAL,
    NO_NAMES,
    PLAN,
    PLAN_OUTPUT,
    PLANNING,
    ROTATION,
    RUN_TO_CHANGE,
    handling_of,
)
from tokens.tasks.options.keeping import EVIDENCE, HISTORY_OUTPUT, RUNS_SHOWN
from tokens.tasks.options.reading import (
    CHECK_FILE,
    CHECK_OUTPUT,
    DATES_OUTPUT,
    EACH,
    FORECAST,
    FORECAST_OUTPUT,
    GRANTS,
    LIST_OUTPUT,
    LISTING,
    MAX_AGE,
    PAGE,
    PAGE_FILE,
    SIMULATED,
    SIMULATION_OUTPUT,
    THRESHOLDS,
    TOP,
    USED,
    USED_OUTPUT,
    WHOSE,
    WHOSE_OUTPUT,
)
from tokens.tasks.options.selecting import (
    COMING,
    COUNTED,
    FORESEEN,
    LISTED,
    REPORTED,
    SELECTION,
    SUPERSEDED,
    TO_REVOKE,
    USED_TOKENS,
)
from tokens.tasks.options.shared import (
    FOUR_EYES,
    LOCATED,
    LOGS,
    OUTPUT,
    REASON,
    REASON_GIVEN,
    TARGETS_CONFIGURED,
    THERE,
    YES,
)


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
        nobody-warned          GitLab sends no mail before it expires
        warned                 GitLab has sent a mail already (see the column)
        legacy                 not fine-grained, and its owner may make no other
        migration-date         its date is probably from GitLab 16.0's migration
        owner-inactive         the owner is blocked, banned or deactivated
        failed-tries           GitLab has refused it, as far as --log says so

    With --log there are two more columns: calls_a_day, and refused (how many
    tries GitLab has refused). --sort=-calls shows the busiest first. More columns
    come by name alone: email, place_id, created_by, told (who gets GitLab's mail
    about a bot), owner_state and account. --output ids feeds --ids - of another
    task. It reads in one read-only transaction, also on a standby.

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
    rack_attack: git_basic_auth of gitlab.yml, which bans it.

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


@task("check:check", LOCATED, COMING, THRESHOLDS, EACH, LOGS, MAX_AGE, CHECK_OUTPUT, CHECK_FILE)
def check() -> None:
    """Tell monitoring what stops working soon.

    One line, and exit status 0, or 5 if a token stops working within --warn: on
    its date, or before with the membership of its bot, with which GitLab deletes
    it. A token whose successor works is no alarm. With --output nagios it is a plugin:
    exit statuses 0, 1, 2, and 3 for whatever goes wrong. With --output
    prometheus it prints numbers for a textfile collector, and --file replaces a
    file at once. Alert rules and a timer are in deploy/monitoring. Kinds that are
    no access tokens (see list) count where they are named. With --log an expired
    token that is still tried is critical; with --max-age, too, the check fails
    if the log is older, since nobody may be writing it.

    --each adds a line or a series for each token; for Prometheus that is every
    token with a date, whatever --warn is. More than 5000 are refused: monitoring
    is not made for more. --at-most allows them.

    Examples:

        gitlab-tokens check --warn 14d --critical 3d
        gitlab-tokens check --output nagios --kind project,group
        gitlab-tokens check --each --group platform
        gitlab-tokens check --log api_json.log --max-age 1d
        gitlab-tokens check --output prometheus --file /tmp/gitlab_tokens.prom
    """


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

    Examples:

        gitlab-tokens simulate
        gitlab-tokens simulate --max-lifetime 90d
        gitlab-tokens simulate --clean-up-days 7 --nights 30d --by night
        gitlab-tokens simulate --block-user jo --output csv
        gitlab-tokens simulate --remove-member jo --project platform/deploy
    """


@task(
    "edit:edit",
    LOCATED,
    REASON_GIVEN,
    NO_JOURNAL,
    FOUR_EYES,
    without_terminal="extend or remove with --yes",
    family=Family.CHANGE,
)
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


@task(
    "change:extend",
    LOCATED,
    EXTENSION,
    handling_of("extend", *PLANNING),
    HANGING_ON,
    LOGS,
    SELECTION,
    family=Family.CHANGE,
)
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


@task(
    "change:remove",
    LOCATED,
    handling_of("remove", *PLANNING),
    HANGING_ON,
    LOGS,
    SELECTION,
    family=Family.CHANGE,
)
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


@task("change:revoke", LOCATED, handling_of("revoke", *PLANNING), LOGS, TO_REVOKE, family=Family.CHANGE)
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

    undo --run N --allow reviving brings back those that nobody has touched since.
    A token that came to the wrong hands must stay revoked.

    Examples:

        gitlab-tokens revoke --never-used --created-before 2025-01-01 --dry-run
        gitlab-tokens revoke --owner-state blocked,banned --reason "OPS-1: leavers"
        gitlab-tokens revoke --ids leaked.txt --yes
        gitlab-tokens revoke --beyond-maximum --kind personal --plan
    """


@task(
    "stored:apply",
    LOCATED,
    RUN_TO_CHANGE,
    handling_of("apply", DRY_RUN.saying("Show the plan with its tokens, begin nothing."), output=PLAN_OUTPUT),
    family=Family.RECORD,
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


@task("stored:withdraw", LOCATED, RUN_TO_CHANGE, REASON_GIVEN, YES, family=Family.RECORD)
def withdraw() -> None:
    """Withdraw a stored plan that nobody has begun.

    Nobody can apply it afterwards. history shows who withdrew it, when and why.
    A run that somebody has begun cannot be withdrawn: undo takes it back.

    Examples:

        gitlab-tokens withdraw --run 12
        gitlab-tokens withdraw 12 --reason "wrong group" --yes
    """


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
    family=Family.RECORD,
)
def undo() -> None:
    """Put back what a run has changed.

    Every token gets its old date back, with its memberships and notices, where
    the new one still stands. A token that was changed since is left alone and
    listed. The undo is a run of its own, with a plan and a question first.
    --plan stores that plan for a second person, as in extend.

    Of a revocation it brings back the tokens that nobody has touched since. They
    work again for everybody who has them, so that takes --allow reviving; the plan
    says which of them would work.

    The guards reviving, superseded, doomed and maintenance refuse it with exit
    status 3. A rotation cannot be undone: its old tokens have successors.

    Examples:

        gitlab-tokens undo --run 12 --dry-run
        gitlab-tokens undo 12 --reason "wrong group"
    """


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
    made safe for a path, and different for each name.

    The token is in this process's memory and in what it is delivered to, nowhere
    else: not in an argument, a log, a traceback or the journal. db_key_base is
    read from GitLab's own secrets, as the GitLab user. Commands run as that user,
    too. With --target docker:... or kubernetes:... the secrets stay inside, and
    the token is delivered out here.

    Ctrl-C lets a delivery that has begun end. After a stop, or a crash, --resume
    N continues run N. Give --deliver, --after, --verify and --secrets-file again as
    before. In a systemd unit use KillMode=mixed.

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


@task("history:history", LOCATED, RUNS_SHOWN, HISTORY_OUTPUT, family=Family.RECORD)
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


@task("evidence:evidence", LOCATED, EVIDENCE, family=Family.RECORD)
def evidence() -> None:
    """Write the record for an auditor, with its proof.

    A line of JSON for each run: who planned it, who carried it out, when and why,
    what the instance demanded of tokens then, how many tokens had which date
    before and after, and how many of them had it in the end. Below it are its
    rows, and the entries of the chain that proves them. There is no token, digest
    or e-mail address in it, unless a name or a reason has one.

    FILE.check.py is some sixty lines of Python. They check the file without this
    tool, and name what was changed, removed or added. Read them before you run
    them.
    --sign-key signs the file with ssh-keygen. Who has the public key checks it
    with ssh-keygen -Y verify -n gitlab-tokens-evidence.

    Who may write everything in the database can write rows and their chain
    again. That shows only in comparison with what is kept elsewhere: an earlier
    file, a line in syslog, the last entry that journal.status printed. So let somebody
    else keep them. Runs from before revision 4 of the journal have no entries.

    It reads the schema token_tasks alone, also on a standby. What a role needs for
    that is under history in doctor --grants. The file is for its owner alone to
    read. Where the target is a container or pod, let standard output go to a file
    instead.

    Examples:

        gitlab-tokens evidence --since 2026-01-01 --file evidence.ndjson
        gitlab-tokens evidence --file evidence.ndjson --sign-key ~/.ssh/id_ed25519
    """


@task("doctor:doctor", LOCATED, OUTPUT, GRANTS, family=Family.SET_UP)
def doctor() -> None:
    """Check GitLab, its database and our privileges.

    Each line is OK, WARN or FAIL, with what to do about it. One FAIL makes the
    exit status 1. Among them are the lines of breakdown about what the instance
    demands of tokens. Nothing is changed.

    --grants ROLE prints SQL instead: the least privileges that this role needs,
    for analyze, for list, for kinds that are no access tokens, for history, for
    changes, for revoke and for rotate. The owner of GitLab's tables runs it.

    Examples:

        gitlab-tokens doctor --target docker:gitlab
        gitlab-tokens doctor --grants auditor
    """


@task("targets:targets", TARGETS_CONFIGURED, OUTPUT, family=Family.SET_UP)
def targets() -> None:
    """List the targets that there are, and the default.

    It lists the names under tokens.targets in Invoke's configuration, the
    GitLab that is installed right here, and the demo. A * marks the default,
    which counts without --target. The last line says what makes it the
    default. No password is shown, and nothing is connected to.

    Examples:

        gitlab-tokens targets
        gitlab-tokens targets --output json
    """

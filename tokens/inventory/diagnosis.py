"""Whether the tasks can work in a database, line by line: what was looked at, what was found, and the cure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from tokens import database
from tokens.address import Address
from tokens.call import ARROW, to_type
from tokens.database import Connection
from tokens.errors import Refused, TokensError
from tokens.gitlab import preflight
from tokens.gitlab.credentials import OTHERS, OTHERS_IN_CI, SEALED, SEALED_IN_CI
from tokens.gitlab.needs import ANALYZE, CHANGE, LIST_ACCOUNTS, REVOKE, ROTATE, WHOSE, Needs
from tokens.gitlab.preflight import ServerState
from tokens.gitlab.release import read_release
from tokens.gitlab.schema import TOKENS, Schema, read_schema
from tokens.gitlab.succession import why_blind, why_unknown
from tokens.inventory import policy
from tokens.inventory.replay import read_lag
from tokens.journal import installation, listing, publications, setup
from tokens.journal.installation import JournalMissing, JournalOutdated
from tokens.journal.trust import JournalUntrusted

CLOCK_TOLERANCE = 60  # seconds

# What the tasks need that read GitLab's data or the journal, those that change dates, the one
# that ends tokens, and the one that makes them.
# `others` is what those that read can be asked for beside tokens; for these `whose` takes it, too.
TASKS = {
    "analyze": ANALYZE,
    "list": LIST_ACCOUNTS,
    "others": OTHERS,
    "whose": Needs(reads={**WHOSE.reads, **SEALED.reads}),
    "history": listing.NEEDS,
    "changes": CHANGE,
    "revoke": REVOKE,
    "rotate": ROTATE,
}

SESSION = """
    SELECT
      current_setting('server_version') AS version,
      pg_backend_pid() AS backend,
      extract(epoch FROM clock_timestamp())::float8 AS clock,
      (
        -- What this transaction has set for itself does not count.
        SELECT string_agg(name || ' ' || reset_val || unit, ', ' ORDER BY name)
        FROM pg_catalog.pg_settings
        WHERE name IN (
          'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout',
          'idle_session_timeout'
        )
      ) AS timeouts,
      ARRAY(
        -- In milliseconds. They may end a session before ours are set, or between two transactions.
        SELECT name
        FROM pg_catalog.pg_settings
        WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')
          AND CAST(reset_val AS bigint) BETWEEN 1 AND 999
        ORDER BY name
      ) AS short
"""

# What the journal takes where it is installed, to be read and to be written, and what it takes to install it.
JOURNAL_ENTRY_GRANT = "GRANT USAGE ON SCHEMA token_tasks TO {grantee}"
JOURNAL_READING_GRANTS = (JOURNAL_ENTRY_GRANT, "GRANT SELECT ON ALL TABLES IN SCHEMA token_tasks TO {grantee}")
JOURNAL_GRANTS = (
    JOURNAL_ENTRY_GRANT,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_tasks TO {grantee}",
)
ROTATION_READING_GRANTS = (JOURNAL_ENTRY_GRANT, "GRANT SELECT ON token_tasks.rotations TO {grantee}")
JOURNAL_INSTALLATION_GRANT = "GRANT CREATE ON DATABASE {database} TO {grantee}"
# Who may not install it has no use for that. What is granted on its tables is known once they are there.
JOURNAL_OF_OWNER = (
    "-- There is no journal yet, and a change needs one. Role {owner} has to install it; then ask for these grants "
    "again{how}"
)

IDENTIFIER = "SELECT quote_ident(%(name)s) AS quoted"


class Verdict(StrEnum):
    """How it stands: fine, fine with a reservation, or in the way of every task."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: what was looked at, and what was found with the cure where one is needed."""

    subject: str
    verdict: Verdict
    text: str


def diagnose(address: Address, *, release: str | None = None, ci: Address | None = None) -> Iterator[Finding]:
    """Look at everything that decides whether the tasks can work in the database at `address`; nothing is changed.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells. `ci` is GitLab's ci
    database where it has one of its own. Whatever is wrong becomes a finding, the last one if the rest cannot be looked
    at.
    """
    try:
        with database.reading(address) as connection:
            yield from _findings(connection, address, release)
    except TokensError as error:
        yield Finding("connection", Verdict.FAIL, str(error))
    if ci is not None:
        yield _ci(ci)


def _ci(address: Address) -> Finding:
    """Triggers, runners and secure files are looked for there alone, so nothing else is wrong without it."""
    subject = "ci database"
    try:
        with database.reading(address) as connection:
            preflight.check_privileges(connection, OTHERS_IN_CI, preflight.read_state(connection))
    except TokensError as error:
        return Finding(subject, Verdict.WARN, str(error))
    return Finding(subject, Verdict.OK, address.shown)


def least_privileges(address: Address, role: str, *, ci: Address | None = None) -> dict[str, list[str]]:
    """The statements that let `role` do what a task needs and nothing else, by task; columns that exist here only.

    Those for a task `in the ci database` are for that one, where `ci` is its address. One that begins with `--` is a
    comment, about what no GRANT gives.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    with database.reading(address) as connection:
        state = preflight.read_state(connection)
        preflight.check_tables(state, read_schema(connection))
        grantee = connection.row(IDENTIFIER, name=role).quoted
        name = connection.row(IDENTIFIER, name=state.database).quoted
        standing = installation.read_standing(connection)
        installer = setup.read_installer(connection, standing, role)
        how = to_type("to install it", "journal.install")
        privileges = {task: preflight.existing_privileges(connection, needs) for task, needs in TASKS.items()}
    found = {
        task: [
            *_entry(name, grantee),
            *preflight.grants(privileges[task], grantee),
            *(
                grant.format(grantee=grantee, database=name, owner=installer, how=how)
                for grant in _journal_grants(task, installed=standing.installed, installer=installer)
            ),
        ]
        for task in TASKS
    }
    if ci is not None:
        with database.reading(ci) as connection:
            name = connection.row(IDENTIFIER, name=preflight.read_state(connection).database).quoted
            in_ci = {"others": OTHERS_IN_CI, "whose": SEALED_IN_CI}
            needed = {task: preflight.existing_privileges(connection, needs) for task, needs in in_ci.items()}
        for task, privileges_there in needed.items():
            grants = preflight.grants(privileges_there, grantee)
            found[f"{task}, in the ci database"] = [*_entry(name, grantee), *grants]
    return found


def _entry(name: str, grantee: str) -> list[str]:
    """What a role needs to come to the tables of a database at all."""
    return [f"GRANT CONNECT ON DATABASE {name} TO {grantee}", f"GRANT USAGE ON SCHEMA public TO {grantee}"]


def _journal_grants(task: str, *, installed: bool, installer: str | None) -> Sequence[str]:
    """What a task needs of the journal; `installer` is who has to install it where the role may not."""
    if TASKS[task].writes:
        if installed:
            return JOURNAL_GRANTS
        return (JOURNAL_INSTALLATION_GRANT,) if installer is None else (JOURNAL_OF_OWNER,)
    if not installed:
        return ()
    return JOURNAL_READING_GRANTS if task == "history" else ROTATION_READING_GRANTS if task == "list" else ()


def _strange(schema: Schema) -> Iterator[Finding]:
    """What is there under a name of GitLab's and is not GitLab's, if any task asks for it."""
    asked = [one for needs in TASKS.values() for one in needs.privileges]
    names = {one.table for one in asked} | {f"{one.table}.{one.column}" for one in asked}
    yield from (Finding("tables", Verdict.FAIL, why) for name, why in schema.strange.items() if name in names)


def _findings(connection: Connection, address: Address, release: str | None) -> Iterator[Finding]:
    session = connection.row(SESSION)
    clock = session.clock - datetime.now(UTC).timestamp()
    state = preflight.read_state(connection)
    schema = read_schema(connection)
    yield Finding("connection", Verdict.OK, f"{address.shown} as role {state.role}, PostgreSQL {session.version}")
    yield from _strange(schema)
    schema = replace(schema, strange={})  # that is said, and the rest is looked at all the same
    yield _route(connection, session.backend)
    yield _role(connection, state)
    if lag := read_lag(connection):
        yield Finding("standby", Verdict.WARN, str(lag))
    try:
        preflight.check_code(connection, ROTATE, reading=True)
    except Refused as refusal:
        yield Finding("tables", Verdict.FAIL, str(refusal))
        return  # before a row is read
    if state.rows_hidden:
        yield _schema(state, schema, None)
        return
    estimate = read_release(connection, schema)
    yield _schema(state, schema, estimate)
    yield from _privileges(connection, state, schema)
    yield from _record_of_rotations(connection, schema)
    yield _hidden_rows(connection)
    yield _journal(connection)
    yield from _policy(connection, schema, release)
    yield _timeouts(session.timeouts, database.cures(connection, session.short))
    yield _clock(clock)


def _route(connection: Connection, backend: int) -> Finding:
    if connection.backend_pid == backend:
        return Finding("route", Verdict.OK, "direct")
    return Finding("route", Verdict.OK, "through a pooler such as PgBouncer, which the tasks are made for")


def _role(connection: Connection, state: ServerState) -> Finding:
    if state.standby:
        return Finding(
            "server", Verdict.WARN, "a standby: every task that only reads works, for changes go to the primary"
        )
    if state.read_only:
        return Finding("server", Verdict.WARN, f"no changes from this role: {preflight.read_only(connection)}")
    return Finding("server", Verdict.OK, "primary")


def _schema(state: ServerState, schema: Schema, release: str | None) -> Finding:
    try:
        preflight.check_tables(state, schema)
    except Refused as refusal:
        return Finding("schema", Verdict.FAIL, str(refusal))
    return Finding("schema", Verdict.OK, f"GitLab's main database, about release {release or 'unknown'}")


def _privileges(connection: Connection, state: ServerState, schema: Schema) -> Iterable[Finding]:
    """A role that does one task alone is a good idea, so what else it may not do is worth a warning at most."""
    refusals = {task: _refusal(connection, state, schema, needs) for task, needs in TASKS.items()}
    useless = all(refusals.values())
    for task, refusal in refusals.items():
        if refusal is None:
            yield Finding(f"privileges for {task}", Verdict.OK, "sufficient")
        else:
            verdict = Verdict.FAIL if useless and task == "analyze" else Verdict.WARN
            yield Finding(f"privileges for {task}", verdict, refusal)


def _refusal(connection: Connection, state: ServerState, schema: Schema, needs: Needs) -> str | None:
    """Why this role cannot do a task with `needs`."""
    try:
        if needs.writes:
            preflight.check_columns(state, schema, needs)
            preflight.check_code(connection, needs)
        preflight.check_privileges(connection, needs, state)
    except Refused as refusal:
        return str(refusal)
    return None


def _record_of_rotations(connection: Connection, schema: Schema) -> Iterable[Finding]:
    subject = "record of rotations"
    if schema.has(TOKENS) and not schema.has(TOKENS, "previous_personal_access_token_id"):
        text = (
            "this release does not record which token replaced which (16.3 and later do): rotate works, but only the "
            "journal knows what it has replaced, and what GitLab's own rotations have replaced is not known"
        )
        yield Finding(subject, Verdict.WARN, why_unknown(connection, schema) or text)
    elif schema.has(TOKENS) and (why := why_blind(connection, schema)):
        yield Finding(subject, Verdict.WARN, why)


def _hidden_rows(connection: Connection) -> Finding:
    subject = "row-level security"
    text = preflight.hidden_rows(connection, ROTATE)
    return (
        Finding(subject, Verdict.WARN, text) if text else Finding(subject, Verdict.OK, "hides nothing from this role")
    )


def _journal(connection: Connection, *, reading: bool = False) -> Finding:
    """Whether the journal can be used; for `reading` alone where the role can change no token."""
    subject = "journal"
    carriers = publications.carriers(connection)
    carried = publications.said(carriers) if carriers else ""
    try:
        with connection.transaction():  # a savepoint, since a role may not look into the schema
            installation.check(connection, reading=reading)
    except JournalUntrusted as untrusted:
        return Finding(subject, Verdict.FAIL, str(untrusted))
    except JournalMissing:
        text = "not installed yet, the first change asks"
        try:
            setup.check_installable(connection)
        except Refused as refusal:
            return Finding(subject, Verdict.WARN, f"not installed yet, and every change needs it: {refusal}")
        if carriers:
            return Finding(subject, Verdict.WARN, f"{text}; {carried}")
        return Finding(subject, Verdict.OK, f"{text}{to_type('to install it now', 'journal.install')}")
    except JournalOutdated as outdated:
        why = str(outdated)
        return Finding(subject, Verdict.WARN, f"{why.partition(ARROW)[0]} {carried}" if carriers else why)
    except Refused as refusal:
        changes = any(not preflight.missing_privileges(connection, needs) for needs in TASKS.values() if needs.writes)
        if not (reading or changes):
            return _journal(connection, reading=True)
        return Finding(subject, Verdict.WARN, str(refusal))
    only = ", which this role only reads" if reading else ""
    subscribers = (
        f", carried by publication {', '.join(carriers)}: each subscriber needs its tables, too"
        + to_type("to print them", "journal.install", "--sql")
        if carriers
        else ""
    )
    return Finding(subject, Verdict.OK, f"installed, revision {installation.REVISION}{only}{subscribers}")


def _policy(connection: Connection, schema: Schema, release: str | None) -> Iterable[Finding]:
    """What the instance demands of tokens, in the lines of `breakdown`."""
    if preflight.missing_privileges(connection, policy.NEEDS):
        yield Finding("policy", Verdict.OK, "unknown to this role, which may not read GitLab's settings")
        return
    for fact in policy.facts(policy.read_demands(connection, schema, release)):
        yield Finding(fact.subject, Verdict.WARN if fact.warns else Verdict.OK, fact.text)


def _timeouts(shown: str, cures: list[str]) -> Finding:
    subject = "timeouts"
    if not cures:
        return Finding(subject, Verdict.OK, f"{shown}; each transaction of ours sets its own")
    return Finding(subject, Verdict.WARN, f"{shown}: too short for some of the work; run: {' '.join(cures)}")


def _clock(difference: float) -> Finding:
    if abs(difference) <= CLOCK_TOLERANCE:
        return Finding("clock", Verdict.OK, f"within {CLOCK_TOLERANCE} seconds of the server's")
    later = "behind" if difference > 0 else "ahead of"
    return Finding(
        "clock",
        Verdict.WARN,
        f"this machine is {abs(difference):.0f} seconds {later} the server, whose UTC date decides when a token dies",
    )

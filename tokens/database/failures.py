"""What the driver's errors mean, each as one of `tokens.errors` in one line, and what to type against it.

No line has a password, or the digest of a token.
"""

import re
from collections.abc import Sequence
from contextlib import closing

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from tokens.address import Address, Advice
from tokens.call import to_type
from tokens.database.driver import login, rows_of, send_begin
from tokens.errors import (
    ConnectionLost,
    DatabaseError,
    LockTimeout,
    ReadOnly,
    Refused,
    StatementTimeout,
    TokensError,
    UsageError,
)

OF_NAMES = ("42P01", "42883", "42704", "3F000")  # no such table, function, type, schema

# idle_in_transaction_session_timeout, which is our own in every transaction (`driver.SETTINGS`).
STOOD_STILL = "25P03"

# The other timeouts that end a session, by what the server calls their end.
TIMEOUT_SETTINGS = {
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}

# What a server answers to a login begins with a severity in its own language; what libpq itself says does not.
ANSWER = re.compile(r"failed: \S+:  (.*)", re.DOTALL)
ANSWERED = "the server runs, and that is why it lets nobody in"
FULL = re.compile("too many (connections|clients)|remaining connection slots")
LET_MORE_IN = (
    "wait until others have ended, or let more in (CONNECTION LIMIT of the role or of the database, or max_connections)"
)
# In another language a server that has no room for a role names it as one that rejects its login does.
UNLESS_FULL = ", unless the server says that the role has no connection left (its CONNECTION LIMIT)"

# libpq repeats a value that it does not take, and of a mistyped address that may be a password.
UNTAKEN = re.compile(
    r"""invalid\ "?(\w+)"?\ (?:value|method):
    | invalid\ integer\ value\ .*\ for\ connection\ option\ "(\w+)"
    | bad\ value\ for\ (\w+):
    | (require_auth)\ method\ "
    | could\ not\ parse\ (network\ address)\ "
    | definition\ of\ (service)\ " """,
    re.VERBOSE | re.DOTALL,
)
TAKEN = {
    "sslmode": "disable, allow, prefer, require, verify-ca or verify-full",
    "sslcertmode": "disable, allow or require",
    "sslnegotiation": "postgres or direct",
    "channel_binding": "disable, prefer or require",
    "gssencmode": "disable, prefer or require",
    "target_session_attrs": "any, read-write, read-only, primary, standby or prefer-standby",
    "load_balance_hosts": "disable or random",
    "require_auth": "password, md5, gss, sspi, scram-sha-256 or none, several between commas",
    "ssl_min_protocol_version": "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3",
    "ssl_max_protocol_version": "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3",
    "min_protocol_version": "3.0, 3.2 or latest",
    "max_protocol_version": "3.0, 3.2 or latest",
    "hostaddr": "an IP address",
    "service": "the name of a service in pg_service.conf",
}
"""What libpq's parameters take that take no whole number."""

# What takes each of these settings off: of all that may have one, what is most special counts. Where it is in the
# server's own configuration, a role may have another.
CURES = """
    SELECT DISTINCT ON (asked.name)
      asked.name,
      'ALTER ' || CASE
        WHEN s.setrole IS NULL THEN 'ROLE ' || me.role || ' SET ' || asked.name || ' = 0;'
        WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ROLE ALL RESET ' || asked.name || ';'
        WHEN s.setrole = 0 THEN 'DATABASE ' || me.database || ' RESET ' || asked.name || ';'
        WHEN s.setdatabase = 0 THEN 'ROLE ' || me.role || ' RESET ' || asked.name || ';'
        ELSE 'ROLE ' || me.role || ' IN DATABASE ' || me.database || ' RESET ' || asked.name || ';'
      END AS cure,
      s.setrole IS NOT NULL AS is_set
    FROM unnest(CAST(%(names)s AS text[])) asked(name)
    CROSS JOIN (
      SELECT
        quote_ident(CAST(session_user AS text)) AS role,
        quote_ident(CAST(current_database() AS text)) AS database
    ) me
    LEFT JOIN pg_catalog.pg_db_role_setting s
      ON s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
      AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
      AND EXISTS (SELECT FROM unnest(s.setconfig) one(setting) WHERE split_part(one.setting, '=', 1) = asked.name)
    ORDER BY asked.name, s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
"""
TRIES = 3  # of asking a server that ends sessions soon

DRIVERS_OWN = re.compile(r"^(connection is bad|consuming input failed): ")  # before what libpq says

DIGEST = re.compile(r"[A-Za-z0-9+/]{43}=")  # what GitLab keeps of a token: a SHA-256 as Base64


def translated(
    error: psycopg.Error,
    address: Address,
    *,
    connected: bool = True,
    role: str = "ROLE",
    ended_by: str | None = None,
) -> TokensError:
    """What the driver reports as one of `tokens.errors`, in one line without a password.

    The driver's own error keeps that line alone, for tracebacks: DETAIL and CONTEXT quote rows, and so a live digest.
    """
    reason = one_line(error)
    error.args = (reason,)
    if not connected:
        return _of_login(error, reason, address)
    match error:
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            return LockTimeout(f"Another session of {address.shown} holds a lock for too long, so try later: {reason}.")
        case psycopg.errors.QueryCanceled():
            return StatementTimeout(f"{address.shown} cancelled a statement: {reason}.")
        case psycopg.errors.ReadOnlySqlTransaction():
            return ReadOnly(
                f"{address.shown} takes no changes now: run this on the primary, if this is a standby or a failover "
                "is under way; else see default_transaction_read_only."
            )
        case psycopg.Error() if error.sqlstate in OF_NAMES and error.diag.context:
            # Statements of ours name everything and have no context: a function of somebody else's does not.
            return Refused(
                f"A trigger in {address.shown} names something without its schema ({reason}), and only for the owner of"
                " GitLab's tables may it look into schema public: run this as that role (gitlab in most installations)."
            )
        case psycopg.errors.UntranslatableCharacter() | psycopg.errors.CharacterNotInRepertoire():
            return _untranslatable(reason, address)
        case psycopg.errors.InvalidRegularExpression():
            return UsageError(f"What a name shall be like is too much for PostgreSQL ({reason}): use a shorter --name.")
        case psycopg.errors.UniqueViolation() if error.diag.schema_name == "token_tasks":
            return DatabaseError(
                f"The journal in {address.shown} has a row of this number already ({reason}): its sequences are behind "
                "its rows, as after a switch-over to a replica that had the rows alone."
                + to_type("to let them catch up, as the journal's owner", "journal.install")
            )
        case psycopg.errors.ModifyingSqlDataNotPermitted():
            return Refused(f"{address.shown} does not hold GitLab's tokens: {reason}.")
        case psycopg.errors.InsufficientPrivilege():
            return Refused(f"{address.shown} does not allow this: {reason}; ask its administrator for the privilege.")
        case psycopg.Error() if (error.sqlstate or ended_by) == STOOD_STILL:
            return ConnectionLost(
                f"The connection to {address.shown} was lost: {reason}: this process stood still in the middle of a "
                "transaction, as one that was suspended, and nothing of that transaction was done."
            )
        case psycopg.Error() if (ended := error.sqlstate or ended_by) in TIMEOUT_SETTINGS:
            cure = how_to_reset(TIMEOUT_SETTINGS[str(ended)], role, address)
            return ConnectionLost(f"The connection to {address.shown} was lost: {reason}; {cure}.")
        case psycopg.OperationalError() if (error.sqlstate or "08").startswith(("08", "57P")):
            return ConnectionLost(f"The connection to {address.shown} was lost: {reason}.")
    return DatabaseError(f"{address.shown} reports an error: {reason}.")


def _of_login(error: psycopg.Error, reason: str, address: Address) -> TokensError:
    """Why there is no connection; a value that libpq does not take is not in the driver's error any more."""
    if untaken := UNTAKEN.search(reason):
        found = next(filter(None, untaken.groups())).replace("network address", "hostaddr")
        error.args = (f"a value of {found} is not taken",)
        return UsageError(
            f"{address.shown} is not an address that PostgreSQL understands: {found} takes "
            f"{TAKEN.get(found, 'a whole number')}, and has another value there, which is not repeated here."
        )
    return DatabaseError(f"Cannot connect to {address.shown}: {reason}; {_cure(error, reason, address.advice)}.")


def _untranslatable(reason: str, address: Address) -> TokensError:
    """What is wrong with a character that the server cannot turn from one encoding into another: whose it is."""
    encodings = re.findall(r'"([A-Z][A-Z0-9_]*)"', reason)  # that of the character, and the one that lacks it
    if encodings[:1] == ["UTF8"] and len(encodings) > 1:
        return UsageError(
            f"An option has a character that {address.shown} cannot hold, since its encoding is {encodings[1]} and not "
            f"UTF8 ({reason}): write that option without it."
        )
    kept = f", whose encoding is {encodings[0]}," if encodings else ""
    return DatabaseError(
        f"{address.shown}{kept} holds a text that is nothing in UTF-8 ({reason}): whatever shows names of tokens or "
        "users fails because of it. Find it with psql and SET client_encoding = SQL_ASCII, and change it in GitLab."
    )


def how_to_reset(setting: str, role: str, address: Address) -> str:
    """What to do about a timeout that ended our work before ours was set, or between two pieces."""
    found = ask_for_cures(address, [setting])
    if found:
        return f"{setting} is too short: run {found[0]} then try again"
    return (
        f"{setting} is too short: run ALTER ROLE {identifier(role)} RESET {setting}; (ALTER ROLE … IN DATABASE … or "
        "ALTER DATABASE … if that has it)"
    )


def ask_for_cures(address: Address, names: Sequence[str]) -> list[str]:
    """What CURES finds by a login of its own, of the settings that somebody has set where there are any.

    None if it fails.
    The login switches them off, which a pooler does not take; then the same timeouts may end it.
    """
    off = " ".join(f"-c {name}=0" for name in names)
    for options in ({"options": off}, *([{}] * TRIES)):
        try:
            with closing(login(address, autocommit=True, row_factory=namedtuple_row, **options)) as driver:
                send_begin(driver, "REPEATABLE READ READ ONLY", {})
                rows = rows_of(driver.execute(CURES, {"names": list(names)}))
            return [row.cure for row in rows if row.is_set] or [row.cure for row in rows]
        except psycopg.errors.ConnectionTimeout:
            break  # somebody waits
        except psycopg.Error:
            continue
    return []


def identifier(name: str) -> str:
    """A name with the quotation marks that it needs in SQL."""
    return sql.Identifier(name).as_string()


def _cure(error: psycopg.Error, reason: str, advice: Advice) -> str:
    """What to do about a login that failed. There are no codes: libpq speaks English, and a server any language."""
    answer = ANSWER.search(reason)
    if answer is not None and FULL.match(answer[1].removeprefix("sorry, ")):
        return LET_MORE_IN
    if "Peer authentication" in reason or "Ident authentication" in reason:
        return advice.peer
    if "password" in reason:
        return advice.password
    if any(word in reason for word in ("SSL", "certificate", "sslmode", "sslrootcert", "private key")):
        return advice.tls
    if answer is None:
        return advice.unreachable
    login = error.pgconn
    if login is None or "pg_hba.conf" in reason:
        return ANSWERED
    names_role, names_database = (_names(answer[1], name.decode()) for name in (login.user, login.db))
    if names_database and login.user != login.db:
        return "check the database's name, that it takes more connections, and that the role may connect to it"
    if names_role and login.used_password:
        return advice.password + UNLESS_FULL
    # Only on a socket does a server ask the kernel who is calling.
    if names_role and login.host.startswith(b"/"):
        return advice.peer + UNLESS_FULL
    return ANSWERED


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def one_line(error: psycopg.Error) -> str:
    """The server's own sentence, or the driver's without libpq's advice on its second line.

    Without a digest: a trigger's text may hold one, and what is said here goes to screens, logs and the journal.
    """
    if error.diag.message_primary:
        line = " ".join(error.diag.message_primary.split()).rstrip(".")
    else:
        line = DRIVERS_OWN.sub("", " ".join(_said(str(error))))
    return DIGEST.sub("[digest]", line)


def _said(text: str) -> Sequence[str]:
    """The lines of libpq, each once: with sslmode=prefer it asks twice, and says twice what it was answered.

    A tab begins its advice.
    """
    said: list[str] = []
    for line in (line.strip().rstrip(".") for line in text.splitlines() if not line.startswith("\t")):
        if line and not any(line in before for before in said):
            said.append(line)
    return said

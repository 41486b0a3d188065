"""The driver itself, with our manners: how it logs in, begins a transaction, and reads text.

What fails comes out as the driver's own error, but for an address that libpq does not understand.
`tokens.database.failures` says what such an error means.
"""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader, Transformer
from psycopg.rows import namedtuple_row

from tokens.address import Address
from tokens.database.libpq import parameters_of, show_openssl_the_systems_certificates

TRANSACTION_TIMEOUT_SINCE = 170000  # server_version_num of the first PostgreSQL that has the setting

# What every transaction begins with, whatever the role's or the database's own settings are. Names without a schema are
# PostgreSQL's own: were `public` in the path, at whatever place, a function or an operator there that fits better would
# be taken before its own. Dates come as ISO text and times in UTC; a backslash in a literal is a backslash, and a point
# in time comes with all its digits; NULL in the text of an array is NULL.
SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "statement_timeout": "0",
    "lock_timeout": "30s",  # so that nobody waits without end for a table that somebody else has locked
    "idle_in_transaction_session_timeout": "60s",  # should this process freeze in the middle
}

# With `off` a server that dies right after a commit forgets it: a new token would be in its place, and unknown to
# GitLab. Whatever else the setting says, such as to wait for standbys, stays.
DURABLE = sql.SQL(
    "pg_catalog.set_config('synchronous_commit', pg_catalog.replace("
    "pg_catalog.current_setting('synchronous_commit'), 'off', 'local'), true)"
)

UNKNOWN_ENCODING = "SQL_ASCII"
"""PostgreSQL's name for "whatever somebody has stored"."""
TEXTS = ("text", "varchar", "bpchar", "name")


class Text(Loader):
    r"""Text as it is stored, with `\xe9` for a byte that is not UTF-8: a name must be shown, whatever is in it."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "backslashreplace")


def accepts(address: Address) -> bool:
    """Whether somebody can log in at `address` right now."""
    try:
        login(address).close()
    except psycopg.OperationalError:
        return False
    return True


def login(address: Address, **options: Any) -> psycopg.Connection[Any]:
    """The driver's own connection to `address`, with our manners and the driver's errors.

    Raises UsageError for an address that PostgreSQL does not understand.
    """
    parameters = {**parameters_of(address), "prepare_threshold": None, **options}
    show_openssl_the_systems_certificates(parameters)
    driver: psycopg.Connection[Any] = psycopg.connect(**parameters)
    if driver.info.parameter_status("server_encoding") == UNKNOWN_ENCODING:
        # The server converts nothing there, and refuses to send what is not UTF-8 to somebody who has asked for it.
        driver.close()
        parameters["client_encoding"] = UNKNOWN_ENCODING
        driver = psycopg.connect(**parameters)
        _read_leniently(driver)
    return driver


def rows_of(cursor: psycopg.Cursor[Any]) -> list[Any]:
    """All rows that a statement has returned; a text that is not UTF-8 as `Text` has it."""
    try:
        return cursor.fetchall()
    except UnicodeDecodeError:
        # Damaged, or from a time when the server did not look. Not at once: it takes twice the time.
        _read_leniently(cursor)
        reader = Transformer(cursor)
        reader.set_pgresult(cursor.pgresult)
        return reader.load_rows(0, cursor.rowcount, namedtuple_row(cursor))


def _read_leniently(context: AdaptContext) -> None:
    for kind in TEXTS:
        context.adapters.register_loader(kind, Text)


def send_begin(driver: psycopg.Connection[Any], level: LiteralString, settings: Mapping[str, str]) -> None:
    """Begin a transaction of this isolation level, as SQL, with SETTINGS, `settings` and DURABLE, in one message."""
    everything = {**SETTINGS, **settings}
    if driver.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
        everything["transaction_timeout"] = "0"
    begun = sql.SQL("BEGIN ISOLATION LEVEL {}; {}, {}")
    driver.execute(begun.format(sql.SQL(level), set_configs(everything), DURABLE))


def set_configs(settings: Mapping[str, str]) -> sql.Composed:
    """The statement that sets these to the end of the transaction; it needs no search_path to be what it is."""
    calls = (
        sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    )
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls))

"""What whoever may create things in schema `public` can plant there to run with the privileges of others.

Overloads that PostgreSQL prefers to its own because they fit better, and doubles of its own that come first where a
role or a database has `public` before `pg_catalog` in its search_path. Each does its duty, and leaves a line in the
server's log: also where the transaction is read-only, and whatever becomes of it.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_migration_row,
    make_settings,
    make_token,
    make_user,
)
from tokens.address import Address

PLANTER = "mallory"
"""A role that may log in, and create in schema public, as any role may up to PostgreSQL 14."""

# Every function that our SQL calls, and what the libraries on top call by themselves.
FUNCTIONS = (
    *("array_agg", "array_remove", "bool_and", "bool_or", "cardinality", "clock_timestamp", "count"),
    *("current_database", "current_schema", "current_schemas", "current_setting", "has_column_privilege"),
    *("has_database_privilege", "has_function_privilege", "has_schema_privilege", "has_sequence_privilege"),
    *("has_table_privilege", "hashtext", "lower", "max", "min", "now", "pg_advisory_xact_lock", "pg_backend_pid"),
    *("pg_current_wal_lsn", "pg_get_expr", "pg_get_userbyid", "pg_has_role", "pg_is_in_recovery"),
    *("pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp", "pg_table_is_visible", "pg_total_relation_size"),
    *("pg_wal_lsn_diff", "quote_ident", "row_security_active", "set_config", "string_agg", "substring", "sum"),
    *("to_char", "unnest", "version"),
)
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "~", "||", "->", "->>", "@>", "+", "-", "/")

# Those of the report, and more of the kind: none of PostgreSQL's own has just these parameters.
BETTER = {
    "quote_ident": ["name"],
    "lower": ["character varying"],
    "hashtext": ["character varying"],
    "set_config": ["character varying, character varying, boolean"],
    "current_setting": ["character varying"],
    "unnest": ["bigint[]", "text[]", "date[]"],
    "cardinality": ["bigint[]"],
    "array_remove": ["bigint[], bigint"],
}
BETTER_OPERATORS = (
    *(("=", left, right) for left in ("character varying", "name") for right in ("character varying", "text", "name")),
    *((name, "bigint", "bigint") for name in ("=", "<>", "<", "<=", ">", ">=")),
    ("~", "character varying", "text"),
    ("~", "character varying", "character varying"),
    ("<>", "character varying", "character varying"),
    ("||", "bigint[]", "bigint[]"),
    ("||", "bigint[]", "bigint"),
    ("||", "character varying", "character varying"),
    ("@>", "bigint[]", "bigint[]"),
    ("@>", "integer[]", "integer[]"),
)
TYPES = ("text", "date", "timestamptz", "jsonb", "oid", "float8", "regclass")

# With no pseudo-type but arrays of anything, which a function in PL/pgSQL may take.
DOUBLES = """
    SELECT
      p.proname, p.prokind, p.proretset,
      pg_get_function_identity_arguments(p.oid) AS arguments,
      format_type(p.prorettype, NULL) AS result,
      p.pronargs
    FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace
      AND p.proname = ANY(%(names)s)
      AND p.prokind = 'f'
      AND NOT EXISTS (
        SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) AS one (type)
        JOIN pg_type t ON t.oid = one.type
        WHERE t.typtype = 'p' AND t.typname NOT LIKE 'any%%' OR t.typname = 'any'
      )
"""
DOUBLE_OPERATORS = """
    SELECT o.oprname, format_type(o.oprleft, NULL) AS l, format_type(o.oprright, NULL) AS r,
      format_type(o.oprresult, NULL) AS result
    FROM pg_operator o
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace
      AND o.oprname = ANY(%(names)s)
      AND o.oprkind = 'b'
      AND format_type(o.oprleft, NULL) = ANY(%(types)s)
      AND format_type(o.oprright, NULL) = ANY(%(types)s)
"""
COMPARED = [
    *("smallint", "integer", "bigint", "text", "name", "boolean", "date", "timestamp without time zone", '"char"'),
    *("timestamp with time zone", "oid", "double precision", "jsonb", "anyarray", "anycompatiblearray", "pg_lsn"),
    *("interval", "anycompatible", "numeric"),
]

AGGREGATES = """
    CREATE FUNCTION public.planted_count(bigint) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: count(*) as %', current_user; RETURN $1 + 1; END $$;
    CREATE AGGREGATE public.count(*) (SFUNC = public.planted_count, STYPE = bigint, INITCOND = 0);
    CREATE FUNCTION public.planted_append(bigint[], bigint) RETURNS bigint[]
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: array_agg(bigint) as %', current_user; RETURN $1 || $2; END $$;
    CREATE AGGREGATE public.array_agg(bigint) (SFUNC = public.planted_append, STYPE = bigint[], INITCOND = '{}');
    CREATE FUNCTION public.planted_max(varchar, varchar) RETURNS varchar
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: max(varchar) as %', current_user; RETURN greatest($1, $2); END $$;
    CREATE AGGREGATE public.max(varchar) (SFUNC = public.planted_max, STYPE = varchar);
    CREATE FUNCTION public.planted_and(boolean, boolean) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: bool_and(boolean) as %', current_user; RETURN $1 AND $2; END $$;
    CREATE AGGREGATE public.bool_and(boolean) (SFUNC = public.planted_and, STYPE = boolean, INITCOND = true);
    CREATE FUNCTION public.planted_check(pg_catalog.text) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN RAISE LOG 'planted: a type as %', current_user; RETURN true; END $$;
"""

LINE = re.compile(r"LOG: +planted: (.*) as (\S+)$", re.MULTILINE)


STATEMENT = re.compile(r"\[(\d+)\] LOG: +(?:statement|execute [^:]+): (.*(?:\n\t.*)*)$", re.MULTILINE)
PROTECTION = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)"
OUTSIDE = ("CREATE DATABASE", "DROP DATABASE", "VACUUM")


@dataclass
class Trap:
    """What was planted in one database, and what has run of it since the last look."""

    log: Path
    _seen: int = field(default=0)

    def sprung(self) -> Counter[tuple[str, str]]:
        """What ran since the last look, as whom, and how often."""
        with self.log.open("rb") as file:
            file.seek(self._seen)
            new = file.read()
        self._seen += len(new)
        return Counter((found[1], found[2]) for found in LINE.finditer(new.decode(errors="replace")))


def log_size(log: Path) -> int:
    """Where the server's log ends now, in bytes."""
    return log.stat().st_size


def unprotected(log: Path, start: int) -> list[str]:
    """The statements since `start`, of sessions that log them, that were sent before their transaction's protection."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    faults, protected = [], dict[str, bool]()
    for process, statement in STATEMENT.findall(text):
        if PROTECTION in statement.partition(";")[2] or (process in protected and statement.startswith(PROTECTION)):
            protected[process] = True
        elif statement == "BEGIN":
            protected[process] = False
        elif statement in ("COMMIT", "ROLLBACK"):
            protected.pop(process, None)
        elif not protected.get(process) and not statement.startswith(OUTSIDE):
            faults.append(statement)
    return faults


def plant(superuser: Address, log: Path) -> Trap:
    """Plant everything in the database as PLANTER; `log` is where its server writes."""
    with psycopg.connect(superuser.conninfo) as connection:
        exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [PLANTER]).fetchone()
        if exists is None:
            connection.execute(f"CREATE ROLE {PLANTER} LOGIN")
        connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
        connection.execute(f"SET ROLE {PLANTER}")
        functions = connection.execute(DOUBLES, {"names": list(FUNCTIONS)}).fetchall()
        operators = connection.execute(DOUBLE_OPERATORS, {"names": list(OPERATORS), "types": COMPARED}).fetchall()
        results = {(name, arguments): (result, is_set) for name, _, is_set, arguments, result, _ in functions}
        for name, signatures in BETTER.items():
            for signature in signatures:
                results.setdefault((name, signature), _better(name, signature))
        for (name, arguments), (result, is_set) in results.items():
            connection.execute(_function(name, arguments, result, is_set=is_set))
        planted = {(name, left, right): result for name, left, right, result in operators}
        for name, left, right in BETTER_OPERATORS:
            planted.setdefault((name, left, right), "boolean" if name != "||" else _joined(left))
        for number, ((name, left, right), result) in enumerate(planted.items()):
            connection.execute(_operator(number, name, left, right, result))
        connection.execute(AGGREGATES)
        for name in TYPES:
            connection.execute(
                f"CREATE DOMAIN public.{name} AS pg_catalog.{name}"
                " CHECK (public.planted_check(CAST(VALUE AS pg_catalog.text)))"
            )
    trap = Trap(log)
    trap.sprung()
    return trap


def _better(name: str, signature: str) -> tuple[str, bool]:
    if name == "unnest":
        return signature.removesuffix("[]"), True
    return {"cardinality": "integer", "hashtext": "integer", "array_remove": "bigint[]"}.get(name, "text"), False


def _joined(left: str) -> str:
    return left if left.endswith("[]") else "text"


def _function(name: str, arguments: str, result: str, *, is_set: bool) -> sql.SQL:
    types = _types(arguments)
    call = f"pg_catalog.{name}({', '.join(f'${n}' for n in range(1, len(types) + 1))})"
    returned = f"RETURN QUERY SELECT {call}" if is_set else f"RETURN {call}"
    shown = f"{name}({', '.join(types)})"
    return sql.SQL(
        f"CREATE FUNCTION public.{name}({', '.join(types)}) RETURNS {'SETOF ' if is_set else ''}{result}\n"
        f"LANGUAGE plpgsql SET search_path = pg_catalog AS $$\n"
        f"BEGIN RAISE LOG 'planted: {shown} as %', current_user; {returned}; END $$"
    )


def _types(arguments: str) -> list[str]:
    """The types of parameters that may have names."""
    words = [one.strip() for one in arguments.split(",") if one.strip()]
    return [
        re.sub(r"^(VARIADIC )?(name|value|privilege|missing_ok|is_local|setting_name|new_value) (?=\w)", "", one)
        for one in words
    ]


def _operator(number: int, name: str, left: str, right: str, result: str) -> sql.SQL:
    # As text where PostgreSQL has none of the same types.
    own = {"character varying": "text"}
    called = (
        f"CAST($1 AS {own.get(left, left)}) OPERATOR(pg_catalog.{name}) CAST($2 AS {own.get(right, right)})"
        if "any" not in left + right
        else f"$1 OPERATOR(pg_catalog.{name}) $2"
    )
    return sql.SQL(
        f"CREATE FUNCTION public.planted_{number}({left}, {right}) RETURNS {result}\n"
        f"LANGUAGE plpgsql SET search_path = pg_catalog AS $$\n"
        f"BEGIN RAISE LOG 'planted: {left} {name} {right} as %', current_user; RETURN {called}; END $$;\n"
        f"CREATE OPERATOR public.{name} (FUNCTION = public.planted_{number}, LEFTARG = {left}, RIGHTARG = {right})"
    )


SOON = datetime.now(UTC).date() + timedelta(20)

NEXT_YEAR = datetime.now(UTC).date() + timedelta(300)


def fill(address: Address) -> None:
    with make_engine(address).begin() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog")
        make_migration_row(connection)
        make_settings(connection)
        group = make_group(connection, path="fleet")
        owner = make_user(connection, username="inventory", user_type=13, provisioned_by_group_id=group)
        make_token(connection, user_id=owner, name="nightly", expires_at=SOON, expire_notification_delivered=True)
        bot = make_user(connection, username="group_1_bot", user_type=6)
        make_membership(connection, user_id=bot, group_id=group, expires_at=SOON)
        for number in range(3):
            make_token(connection, user_id=bot, name=f"deploy {number}", expires_at=SOON)
        make_token(connection, expires_at="2024-06-15")


def rotation(folder: Path, token: str = "nightly", deliver: str = "") -> tuple[str, ...]:
    secrets = folder / "secrets.yml"
    secrets.write_text(json.dumps({"production": {"db_key_base": "0badcafe" * 16}}))
    options = ("--no-verify", "--secrets-file", str(secrets), "--deliver", deliver or f"file:{folder}/{token}")
    return ("rotate", "--token", token, *options, "--yes")

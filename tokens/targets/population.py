"""Fills a GitLab-shaped database with the tokens of the GitLab documentation and people, bots and projects behind them.

Set-based SQL, every value computed from a running number: two fills make the same rows. Only the tokens around today
(expired lately, expiring in the coming year, rotated) are placed relative to the day of the fill. Works on every
release's tables: a column that is not there is left away.

Identifiers are handed out in blocks, so that a row's relatives can be computed instead of looked up:

    users        people, project bots (bot b: project b), group bots (bot b: group b), service accounts
    namespaces   the people's own, groups (a quarter top-level, half below them, a quarter below those), the projects'
"""

# ruff: noqa: S608 - nothing that comes from outside gets into these statements

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokens.address import Address
from tokens.errors import Refused

if TYPE_CHECKING:
    import sqlalchemy as sa

DOCUMENTED_DATE = "2024-06-15"
"""What GitLab 16.0 gave to all tokens without an expiration date on the instance of the documentation."""

DOCUMENTED = {
    "2017-12-31": 2508,
    "2018-01-01": 1008,
    "2016-12-31": 833,
    "2017-08-31": 705,
    "2017-06-30": 596,
    "2018-12-31": 548,
    "2017-05-31": 523,
    "2017-09-30": 520,
    "2017-07-31": 494,
}
"""The documentation's other dates and their numbers of tokens; no date beyond these has as many as the last."""

NEVER_EXPIRING = 387

SERVICE_ACCOUNT = "inventory"
SERVICE_TOKEN = "GitLab Security Service - Architecture - Inventory"  # noqa: S105 - a token's name
"""An account and a token of it, expired three days ago, that examples can speak of."""

_CHUNK = 200_000  # tokens in one INSERT, for the progress
_VACUUMS = 20
_GRANULAR = 12
_CHAINS = 60
_LINKS = 3  # tokens in a rotation chain

# fmt: off
_FIRST = (
    "Ada", "Björn", "Chiara", "Dmitri", "Élodie", "Fatima", "Göran", "Hanna", "İpek", "João", "Karin", "Łukasz", "Mei",
    "Noah", "Olena", "Priya", "Quentin", "Rosa", "Sven", "Tomáš", "Ulrike", "Víctor", "Wei", "Zoë",
)
_LAST = (
    "Almeida", "Bauer", "Çelik", "Dubois", "Eriksson", "Fischer", "García", "Hansen", "Ivanova", "Jansen", "Kowalski",
    "Lindqvist", "Müller", "Nováková", "O'Brien", "Petrov", "Rossi", "Schmidt", "王", "Öztürk",
)
_AREAS = ("platform", "payments", "search", "mobile", "data", "security", "web", "tools", "research", "support")
_WORKS = ("api", "gateway", "frontend", "worker", "charts", "docs", "ansible", "terraform", "sdk", "importer")
_TOKEN_NAMES = (
    "ci", "deploy", "Renovate", "terraform state", "laptop", "backup job", "registry mirror", "Grafana", "jenkins",
    "k8s pull", "VS Code", "release bot", "Überwachung", "Sauvegarde été", "部署", "🚀 deploy", "migration 2019",
    "glab", "read only", 'sync "prod"',
)
_DESCRIPTIONS = (
    "Used by the nightly pipeline", "Ask the platform team before revoking", "Owner: ops@example.com",
    "Läuft auf dem Build-Server, nicht löschen", "x" * 255,
)
_SCOPES = (
    "---\n- api\n", "---\n- read_api\n", "---\n- read_repository\n- write_repository\n", "---\n- api\n- read_user\n",
    "---\n- :api\n", "---\n- read_registry\n- write_registry\n", "---\n- 'read_user'\n", '---\n- "api"\n',
    "---\n- :read_user\n- :read_api\n", "---\n- api\n- sudo\n- admin_mode\n", "--- []\n",
)
# fmt: on
_API, _GRANULAR_ONLY = _SCOPES[0], "---\n- granular\n"
_STATE = """
    CASE WHEN n % 211 = 0 THEN 'banned'
         WHEN n % 101 = 0 THEN 'ldap_blocked'
         WHEN n % 23 = 0 THEN 'blocked'
         WHEN n % 19 = 0 THEN 'deactivated'
         ELSE 'active' END"""

_TODAY = "(now() AT TIME ZONE 'UTC')::date"
_UP_TO_FIVE_YEARS = "interval '1 second' * (n * 104729 % 171000000)"  # up to 1979 days


@dataclass(frozen=True)
class Progress:
    """What is being done, and how far it is where that can be counted."""

    text: str
    done: int | None = None
    total: int | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class _Size:
    """How many of everything stand behind `tokens` tokens on the documented date."""

    tokens: int

    @property
    def people(self) -> int:
        return 300 + self.tokens // 160

    @property
    def top_groups(self) -> int:
        return 6 + self.people // 100

    @property
    def groups(self) -> int:
        return 4 * self.top_groups

    @property
    def projects(self) -> int:
        return self.people // 2

    @property
    def project_bots(self) -> int:
        return self.projects * 2 // 3

    @property
    def group_bots(self) -> int:
        return self.groups // 2

    @property
    def service_accounts(self) -> int:
        return 24 + self.tokens // 20_000

    @property
    def first_project_bot(self) -> int:
        return self.people + 1

    @property
    def first_group_bot(self) -> int:
        return self.first_project_bot + self.project_bots

    @property
    def first_service_account(self) -> int:
        return self.first_group_bot + self.group_bots

    @property
    def first_group(self) -> int:
        return self.people + 1

    @property
    def first_project_namespace(self) -> int:
        return self.first_group + self.groups


def fill(address: Address, tokens: int, report: Report) -> None:
    """Fill the empty GitLab-shaped database, with `tokens` tokens that expire on the documented date.

    One transaction, then VACUUM and ANALYZE, so that the first question is answered as fast as the second. Refused when
    the database has users already.
    """
    # Not at the top: the first line of progress need not wait for SQLAlchemy.
    from tokens.database import engine

    database = engine(address)
    size = _Size(tokens)
    with database.begin() as connection:
        connection.exec_driver_sql("SET LOCAL search_path = public")
        connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
        connection.exec_driver_sql("SET LOCAL work_mem = '256MB'")
        connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '512MB'")
        _fill(_Shape(connection), size, report)
    report(Progress("Collecting statistics"))
    with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        _vacuum(connection)


def _vacuum(connection: "sa.Connection") -> None:
    """Collect statistics and mark every page as visible to everybody.

    Pages are not marked while somebody holds a snapshot from before our commit; here that is autovacuum at most, for a
    moment.
    """
    tables = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars().all()
    for _ in range(_VACUUMS):
        connection.exec_driver_sql(f"VACUUM (FREEZE, ANALYZE) {', '.join(tables)}")
        hidden = connection.exec_driver_sql("""
            SELECT EXISTS (SELECT FROM pg_class
                            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relallvisible < relpages)
        """)
        if not hidden.scalar_one():
            return
        time.sleep(0.1)


class _Shape:
    """The release's tables: inserts into the columns that exist."""

    def __init__(self, connection: "sa.Connection") -> None:
        self._connection = connection.execution_options(no_parameters=True)
        self._columns: dict[str, set[str]] = {}
        statement = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        for table, column in self.execute(statement):
            self._columns.setdefault(table, set()).add(column)

    def execute(self, statement: str) -> "sa.CursorResult[*tuple[Any, ...]]":
        return self._connection.exec_driver_sql(statement)

    def has(self, table: str, column: str | None = None) -> bool:
        return table in self._columns and (column is None or column in self._columns[table])

    def insert(self, table: str, columns: Mapping[str, str], source: str) -> None:
        """INSERT INTO `table` (…) SELECT … `source`, without the columns that this release does not have."""
        present = {name: value for name, value in columns.items() if self.has(table, name)}
        names = ", ".join(f'"{name}"' for name in present)
        values = ",\n       ".join(present.values())
        self.execute(f"INSERT INTO {table} ({names})\nSELECT {values}\n{source}")

    @contextmanager
    def without_indexes(self, table: str, report: Report) -> Iterator[None]:
        """Load first, then build each index and check each foreign key at once instead of row by row."""
        keys = self.execute(f"""
            SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'public.{table}'::regclass AND contype = 'f'
             ORDER BY conname
        """).all()
        indexes = self.execute(f"""
            SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
             WHERE indrelid = 'public.{table}'::regclass
               AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
             ORDER BY indexrelid
        """).all()
        for name, _ in keys:
            self.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for name, _ in indexes:
            self.execute(f"DROP INDEX {name}")
        yield
        for number, (_, definition) in enumerate(indexes):
            report(Progress("Building the indexes", number, len(indexes)))
            self.execute(definition)
        report(Progress("Checking the foreign keys"))
        for name, definition in keys:
            self.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


def _fill(shape: _Shape, size: _Size, report: Report) -> None:
    if shape.execute("SELECT EXISTS (SELECT FROM users)").scalar_one():
        raise Refused("The database to be filled has users already; nothing was changed.")
    report(Progress("Adding people, groups and projects"))
    _add_clean_up(shape)
    _add_users(shape, size)
    _add_groups(shape, size)
    _add_projects(shape, size)
    _add_user_details(shape, size)
    shape.execute("ANALYZE users, namespaces, projects")
    _add_tokens(shape, size, report)
    report(Progress("Adding memberships and last uses"))
    shape.execute("ANALYZE personal_access_tokens, recent_tokens")
    _add_members(shape, size)
    _add_last_used_ips(shape)
    _add_granular_scopes(shape, size)
    for table in ("users", "namespaces", "projects", "routes", "members", "personal_access_tokens"):
        shape.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")


def _add_clean_up(shape: _Shape) -> None:
    """The background migration of GitLab 16.0 that the documentation's example reports on."""
    columns = {
        "job_class_name": "'CleanupPersonalAccessTokensWithNilExpiresAt'",
        "table_name": "'personal_access_tokens'",
        "column_name": "'id'",
        "job_arguments": "'[]'",
        "min_value": "1",
        "max_value": "2000000",
        "batch_size": "50000",
        "sub_batch_size": "100",
        "interval": "120",
        "status": "6",
        "gitlab_schema": "'gitlab_main'",
        "created_at": "'2023-06-15 10:20:00+00'",
        "updated_at": "'2023-06-15 10:23:01+00'",
        "started_at": "'2023-06-15 10:20:35+00'",
        "finished_at": "'2023-06-15 10:23:01+00'",
    }
    shape.insert("batched_background_migrations", columns, "")


def _add_users(shape: _Shape, size: _Size) -> None:
    born = f"timestamp '2015-03-01 09:00' + {_UP_TO_FIVE_YEARS}"
    common = {"created_at": born, "updated_at": born, "organization_id": "1", "state": "'active'"}
    given, family = _one_of(_FIRST, "n * 7"), _one_of(_LAST, "n * 11 / 3")
    people = {
        **common,
        "id": "n",
        "username": "CASE n WHEN 1 THEN 'root' ELSE 'user' || n END",
        "name": f"CASE n WHEN 1 THEN 'Administrator' ELSE {given} || ' ' || {family} END",
        "email": "CASE n WHEN 1 THEN 'admin' ELSE 'user' || n END || '@example.com'",
        "state": f"CASE n WHEN 1 THEN 'active' ELSE {_STATE} END",
        "admin": "n = 1 OR n % 97 = 0",
        "user_type": "0",
        "confirmed_at": born,
        "last_activity_on": "date '2024-06-01' - (n * 13 % 700)::integer",
    }
    shape.insert("users", people, f"FROM generate_series(1, {size.people}::bigint) AS n")
    for kind, first, count in (
        ("project", size.first_project_bot, size.project_bots),
        ("group", size.first_group_bot, size.group_bots),
    ):
        source = "n" if kind == "project" else f"(n + {size.first_group - 1})"
        # Before GitLab 16 a bot was called after a counter, since then after random characters.
        username = (
            f"'{kind}_' || {source} || '_bot' || CASE n % 5 WHEN 0 THEN '' ELSE '_' || md5('{kind} bot ' || n) END"
        )
        bots = {
            **common,
            "id": f"n + {first - 1}",
            "username": username,
            "name": _one_of(_TOKEN_NAMES, "n"),
            "email": f"{username} || '@noreply.gitlab.example.com'",
            "user_type": "6",
            "confirmed_at": born,
        }
        shape.insert("users", bots, f"FROM generate_series(1, {count}::bigint) AS n")
    accounts = {
        **common,
        "id": f"n + {size.first_service_account - 1}",
        "username": f"""
            CASE WHEN n = 1 THEN '{SERVICE_ACCOUNT}'
                 WHEN {_of_a_group("n")} THEN 'service_account_group_' || {_group_of("n", size)} || '_'
                 WHEN {_of_a_project("n")} THEN 'service_account_project_' || {_project_of("n", size)} || '_'
                 ELSE 'service_account_' END || CASE n WHEN 1 THEN '' ELSE md5('service ' || n) END""",
        "name": f"CASE n WHEN 1 THEN 'Inventory' ELSE 'Service account ' || {_one_of(_WORKS, 'n')} || ' ' || n END",
        "email": "'service_account_' || md5('service ' || n) || '@noreply.gitlab.example.com'",
        "user_type": "13",
        "confirmed_at": born,
    }
    shape.insert("users", accounts, f"FROM generate_series(1, {size.service_accounts}::bigint) AS n")


def _add_groups(shape: _Shape, size: _Size) -> None:
    born = f"timestamp '2015-03-01 10:00' + {_UP_TO_FIVE_YEARS}"
    stamps = {"created_at": born, "updated_at": born}
    shape.insert(
        "namespaces",
        {
            "id": "id",
            "name": "name",
            "path": "username",
            "type": "'User'",
            "owner_id": "id",
            "organization_id": "1",
            "traversal_ids": "ARRAY[id]",
            "created_at": "created_at",
            "updated_at": "updated_at",
        },
        f"FROM users WHERE id <= {size.people} ORDER BY id",
    )
    routes = {
        "source_id": "namespaces.id",
        "source_type": "'Namespace'",
        "namespace_id": "namespaces.id",
        "path": "namespaces.path",
        "name": "namespaces.name",
        "created_at": "namespaces.created_at",
        "updated_at": "namespaces.updated_at",
    }
    shape.insert("routes", routes, "FROM namespaces ORDER BY id")
    top = size.top_groups
    levels = (
        (1, top, "NULL"),
        (top + 1, 3 * top, f"1 + n % {top}"),
        (3 * top + 1, 4 * top, f"{top} + 1 + n % {2 * top}"),
    )
    for first, last, parent in levels:
        word = _one_of(_AREAS, "n")
        columns = {
            "id": f"n + {size.first_group - 1}",
            "name": f"CASE WHEN n % 9 = 4 THEN 'Équipe ' ELSE '' END || initcap({word}) || ' ' || n",
            "path": f"{word} || '-' || n",
            "type": "'Group'",
            "parent_id": "parent.id",
            "organization_id": "1",
            "traversal_ids": f"COALESCE(parent.traversal_ids, '{{}}')::bigint[] || n + {size.first_group - 1}",
            **stamps,
        }
        source = f"""
            FROM generate_series({first}, {last}::bigint) AS n
            LEFT JOIN namespaces AS parent ON parent.id = ({parent}) + {size.first_group - 1}
            ORDER BY n"""
        shape.insert("namespaces", columns, source.replace("(NULL)", "NULL::bigint"))
        below = f"""
            FROM namespaces
            LEFT JOIN routes AS above ON above.source_type = 'Namespace' AND above.source_id = namespaces.parent_id
            WHERE namespaces.id BETWEEN {first + size.first_group - 1} AND {last + size.first_group - 1}
            ORDER BY namespaces.id"""
        shape.insert("routes", {**routes, **_below("namespaces")}, below)


def _add_projects(shape: _Shape, size: _Size) -> None:
    # Every eighth project is a person's own.
    parent = f"CASE WHEN n % 8 = 5 THEN 1 + n * 17 % {size.people} ELSE {size.first_group} + n * 5 % {size.groups} END"
    born = f"timestamp '2016-05-02 11:00' + {_UP_TO_FIVE_YEARS}"
    word = f"{_one_of(_AREAS, 'n / 3')} || '-' || {_one_of(_WORKS, 'n')} || '-' || n"
    common = {"created_at": born, "updated_at": born, "organization_id": "1", "path": word}
    source = f"""
        FROM generate_series(1, {size.projects}::bigint) AS n
        JOIN namespaces AS parent ON parent.id = {parent}
        ORDER BY n"""
    namespaces = {
        **common,
        "id": f"n + {size.first_project_namespace - 1}",
        "name": f"initcap({word})",
        "type": "'Project'",
        "parent_id": "parent.id",
        "traversal_ids": f"parent.traversal_ids::bigint[] || n + {size.first_project_namespace - 1}",
    }
    projects = {
        **common,
        "id": "n",
        "name": f"initcap({word})",
        "namespace_id": "parent.id",
        "project_namespace_id": f"n + {size.first_project_namespace - 1}",
        "creator_id": f"1 + n * 17 % {size.people}",
        "archived": "n % 31 = 0",
        "pending_delete": "CASE WHEN n % 67 = 0 THEN NULL ELSE false END",
    }
    shape.insert("namespaces", namespaces, source)
    shape.insert("projects", projects, source)
    routes = {
        "source_id": "projects.id",
        "source_type": "'Project'",
        "namespace_id": "projects.project_namespace_id",
        **_below("projects"),
        "created_at": "projects.created_at",
        "updated_at": "projects.updated_at",
    }
    shape.insert(
        "routes",
        routes,
        """
        FROM projects
        JOIN routes AS above ON above.source_type = 'Namespace' AND above.source_id = projects.namespace_id
        ORDER BY projects.id""",
    )


def _add_user_details(shape: _Shape, size: _Size) -> None:
    """Bots know their namespace since GitLab 17.6; some of those whose membership is gone do not."""
    user = f"CASE WHEN n <= {size.project_bots} THEN n ELSE n - {size.project_bots} END"
    bots = {
        "user_id": f"n + {size.first_project_bot - 1}",
        "bot_namespace_id": f"""
            CASE WHEN {user} % 22 = 11 THEN NULL
                 WHEN n <= {size.project_bots} THEN n + {size.first_project_namespace - 1}
                 ELSE n - {size.project_bots} + {size.first_group - 1} END""",
    }
    shape.insert("user_details", bots, f"FROM generate_series(1, {size.project_bots + size.group_bots}::bigint) AS n")
    accounts = {
        "user_id": f"n + {size.first_service_account - 1}",
        "provisioned_by_group_id": f"CASE WHEN {_of_a_group('n')} THEN {_group_of('n', size)} END",
        "provisioned_by_project_id": f"CASE WHEN {_of_a_project('n')} THEN {_project_of('n', size)} END",
    }
    shape.insert("user_details", accounts, f"FROM generate_series(1, {size.service_accounts}::bigint) AS n")
    people = {"user_id": "n"}
    shape.insert("user_details", people, f"FROM generate_series(1, {size.people}::bigint) AS n WHERE n % 10 <> 0")


def _add_tokens(shape: _Shape, size: _Size, report: Report) -> None:
    report(Progress("Choosing dates"))
    _plan_old_tokens(shape, size)
    total = int(shape.execute("SELECT count(*) FROM old_tokens").scalar_one())
    _plan_recent_tokens(shape, total)
    recent = int(shape.execute("SELECT count(*) FROM recent_tokens").scalar_one())
    # Emptied in the same transaction, so that what is loaded need not be logged where wal_level is minimal.
    shape.execute("TRUNCATE personal_access_tokens CASCADE")
    with shape.without_indexes("personal_access_tokens", report):
        for first in range(1, total + 1, _CHUNK):
            report(Progress(f"Adding {total + recent:,} tokens", first - 1, total + recent))
            _add_old_tokens(shape, size, first, first + _CHUNK)
        report(Progress(f"Adding {total + recent:,} tokens", total, total + recent))
        _add_recent_tokens(shape, size)


def _plan_old_tokens(shape: _Shape, size: _Size) -> None:
    """The tokens that do not depend on today: how many on which date, numbered by their creation."""
    documented = ", ".join(f"(date '{day}', {count})" for day, count in _documented(size.tokens).items())
    shape.execute(f"""
        CREATE TEMPORARY TABLE old_tokens ON COMMIT DROP AS
        WITH documented (expires_at, tokens) AS (VALUES {documented}),
        month_ends AS (
            SELECT (date '2016-01-01' + make_interval(months => n + 1) - interval '1 day')::date AS expires_at,
                   5 + n * n * 17 % 120 AS tokens
              FROM generate_series(0, 95) AS n
        ),
        other_days AS (
            SELECT date '2019-01-02' + n * 3 AS expires_at, 1 + n % 3 AS tokens FROM generate_series(0, 400) AS n
        ),
        days AS (
            SELECT * FROM documented
            UNION ALL SELECT * FROM month_ends WHERE expires_at NOT IN (SELECT expires_at FROM documented)
            UNION ALL SELECT * FROM other_days WHERE expires_at NOT IN (SELECT expires_at FROM documented)
            UNION ALL VALUES (date '2099-12-31', 12), (NULL, {NEVER_EXPIRING})
        ),
        numbered AS (
            SELECT expires_at, row_number() OVER (ORDER BY expires_at) AS n FROM days, generate_series(1, tokens)
        ),
        dated AS (
            SELECT expires_at, n,
                   CASE WHEN expires_at IS NULL
                        THEN timestamp '2023-07-03 08:00' + interval '1 second' * (n * 104729 % 40000000)
                        WHEN expires_at = '{DOCUMENTED_DATE}' OR expires_at > '2030-01-01'
                        THEN timestamp '2018-01-02 07:00' + {_UP_TO_FIVE_YEARS}
                        ELSE expires_at - interval '1 second' * (1728000 + n * 104729 % 29000000)
                   END AS created_at
              FROM numbered
        )
        SELECT row_number() OVER (ORDER BY created_at, n) AS id, n, expires_at, created_at
          FROM dated
    """)
    shape.execute("ANALYZE old_tokens")


def _documented(tokens: int) -> dict[str, int]:
    return {DOCUMENTED_DATE: tokens, **DOCUMENTED}


def _add_old_tokens(shape: _Shape, size: _Size, first: int, beyond: int) -> None:
    used = (
        "LEAST(expires_at::timestamp, GREATEST(timestamp '2024-06-14', created_at + interval '100 days')) - created_at"
    )
    revoked = "n % 13 = 0"
    notified = f"NOT {revoked} AND n % 3 = 0 AND expires_at < '2030-01-01'"
    columns = {
        **_token_columns(size, "n"),
        "revoked": f"CASE WHEN n % 997 = 0 THEN NULL ELSE {revoked} END",
        "updated_at": f"CASE WHEN {revoked} THEN created_at + interval '20 days' ELSE created_at END",
        "last_used_at": f"CASE WHEN n % 6 <> 0 THEN created_at + (n * 48271 % 9973) / 9973.0 * ({used}) END",
        "expire_notification_delivered": f"COALESCE({notified}, false)",
        "after_expiry_notification_delivered": f"COALESCE({notified} AND n % 2 = 0, false)",
        "seven_days_notification_sent_at": f"CASE WHEN {notified} THEN expires_at - 7 + interval '1 hour' END",
    }
    source = f"FROM old_tokens WHERE id >= {first} AND id < {beyond} ORDER BY id"
    shape.insert("personal_access_tokens", columns, source)


def _plan_recent_tokens(shape: _Shape, total: int) -> None:
    """The tokens around today. `days` is how long they have to live, `age` how many days ago they were made."""
    shape.execute(f"""
        CREATE TEMPORARY TABLE recent_tokens ON COMMIT DROP AS
        WITH single AS (
            SELECT 'coming' AS kind, days FROM generate_series(1, 60) AS days, generate_series(1, 1 + days * 7 % 4)
            UNION ALL
            SELECT 'expired', days FROM generate_series(-45, 0) AS days, generate_series(1, 1 + abs(days) % 2)
            UNION ALL
            SELECT 'later', days FROM generate_series(61, 364, 3) AS days
            UNION ALL
            SELECT 'granular', 10 + 7 * number FROM generate_series(1, {_GRANULAR}) AS number
            UNION ALL
            SELECT 'service', -3
        ),
        numbered AS (
            SELECT kind, days, row_number() OVER (ORDER BY kind, days) AS n FROM single
        ),
        planned AS (
            SELECT kind, days, n, 1 AS link,
                   CASE WHEN days > 0 THEN 1 + n * 37 % (365 - days) ELSE 1 - days + n * 37 % 365 END AS age
              FROM numbered
            UNION ALL
            SELECT 'chain',
                   CASE link WHEN {_LINKS} THEN 1 + chain % 60 ELSE 20 + (chain + link) % 40 END,
                   chain * 37 + 10000,
                   link,
                   7 * (1 + {_LINKS} - link) + chain % 5
              FROM generate_series(1, {_CHAINS}) AS chain, generate_series(1, {_LINKS}) AS link
        ),
        dated AS (
            SELECT *,
                   {_TODAY} + days::integer AS expires_at,
                   {_TODAY} - age::integer + time '06:30' + interval '1 second' * (n * 13 % 30000) AS created_at
              FROM planned
        )
        SELECT {total} + row_number() OVER (ORDER BY kind, n, link) AS id, *
          FROM dated
         WHERE expires_at NOT IN ({", ".join(f"'{day}'" for day in _documented(0))})
    """)


def _add_recent_tokens(shape: _Shape, size: _Size) -> None:
    successor = "kind = 'chain' AND link > 1"
    revoked = f"(kind = 'chain' AND link < {_LINKS} OR kind IN ('coming', 'expired') AND n % 9 = 0)"
    of_interest = f"NOT {revoked} AND {_kind_of('n')} NOT IN ('impersonation', 'service account') AND kind <> 'service'"
    common = _token_columns(size, "n")
    columns = {
        **common,
        "user_id": f"""
            CASE kind WHEN 'service' THEN {size.first_service_account}
                      WHEN 'granular' THEN 1 + n * 7919 % {size.people}
                      ELSE {common["user_id"]} END""",
        "impersonation": f"kind NOT IN ('service', 'granular') AND {common['impersonation']}",
        "name": f"CASE kind WHEN 'service' THEN '{SERVICE_TOKEN}' ELSE {common['name']} END",
        "scopes": f"""
            CASE kind WHEN 'service' THEN {_literal(_API)}
                      WHEN 'granular' THEN {_literal(_GRANULAR_ONLY)}
                      ELSE {common["scopes"]} END""",
        "token_digest": "encode(sha256(convert_to('recent token ' || id, 'UTF8')), 'base64')",
        "revoked": revoked,
        "updated_at": f"""
            CASE WHEN {revoked}
                 THEN LEAST(created_at + interval '7 days', {_TODAY}::timestamp)
                 ELSE created_at END""",
        "last_used_at": f"""
            CASE WHEN n % 6 <> 0 OR kind = 'service'
                 THEN created_at + (n * 48271 % 9973) / 9973.0
                      * (LEAST(expires_at, {_TODAY})::timestamp - created_at) END""",
        "previous_personal_access_token_id": f"CASE WHEN {successor} THEN id - 1 END",
        "description": f"CASE WHEN n % 3 = 1 THEN {_one_of(_DESCRIPTIONS, 'n / 3')} END",
        "granular": "kind = 'granular'",
        "user_type": f"""
            CASE WHEN kind = 'service' THEN 13
                 WHEN kind = 'granular' THEN 0
                 ELSE CASE {_kind_of("n")} WHEN 'project bot' THEN 6 WHEN 'group bot' THEN 6
                                           WHEN 'service account' THEN 13 ELSE 0 END END""",
        "group_id": f"CASE WHEN kind NOT IN ('service', 'granular') THEN {_root_group(size)} END",
        "expire_notification_delivered": f"{of_interest} AND days <= 7 AND n % 4 <> 0",
        "after_expiry_notification_delivered": f"{of_interest} AND days <= 0 AND n % 4 <> 0",
        **{
            f"{word}_days_notification_sent_at": f"""
                CASE WHEN {of_interest} AND n % 4 <> 0 AND days <= {days} AND created_at < expires_at - {days}
                     THEN expires_at - {days} + interval '1 hour' END"""
            for word, days in (("seven", 7), ("thirty", 30), ("sixty", 60))
        },
    }
    shape.insert("personal_access_tokens", columns, "FROM recent_tokens ORDER BY id")


def _root_group(size: _Size) -> str:
    """GitLab 18.3: a bot's token knows the top-level group that it counts for."""
    return f"""
        CASE {_kind_of("n")}
        WHEN 'project bot' THEN (
            SELECT root.id
              FROM namespaces JOIN namespaces AS root ON root.id = namespaces.traversal_ids[1]
             WHERE root.type = 'Group'
               AND namespaces.id = {size.first_project_namespace} + {_bot_number("n", 82, 8, size.project_bots)})
        WHEN 'group bot' THEN (
            SELECT traversal_ids[1]
              FROM namespaces
             WHERE namespaces.id = {size.first_group} + {_bot_number("n", 90, 5, size.group_bots)}) END"""


def _token_columns(size: _Size, n: str) -> dict[str, str]:
    """The columns of a token that follow from its number, the same for old and recent ones."""
    return {
        "id": "id",
        "user_id": f"""
            CASE {_kind_of(n)}
                 WHEN 'project bot' THEN {size.first_project_bot} + {_bot_number(n, 82, 8, size.project_bots)}
                 WHEN 'group bot' THEN {size.first_group_bot} + {_bot_number(n, 90, 5, size.group_bots)}
                 WHEN 'service account'
                 THEN {size.first_service_account} + {_bot_number(n, 95, 5, size.service_accounts)}
                 ELSE 1 + {n} * 7919 % {size.people} END""",
        "name": f"{_one_of(_TOKEN_NAMES, n)} || CASE WHEN {n} % 4 = 0 THEN '' ELSE ' ' || {n} END",
        "expires_at": "expires_at",
        "created_at": "created_at",
        "scopes": _one_of(_SCOPES, f"{n} * 3 / 2"),
        "impersonation": f"{_kind_of(n)} = 'impersonation'",
        "token_digest": "encode(sha256(convert_to('token ' || id, 'UTF8')), 'base64')",
        "organization_id": "1",
    }


def _kind_of(n: str) -> str:
    return (
        f"CASE WHEN {n} % 100 < 78 THEN 'personal' WHEN {n} % 100 < 82 THEN 'impersonation' "
        f"WHEN {n} % 100 < 90 THEN 'project bot' WHEN {n} % 100 < 95 THEN 'group bot' ELSE 'service account' END"
    )


def _bot_number(n: str, first: int, share: int, count: int) -> str:
    """Which bot, from 0 on, has the token: all of them in turn."""
    return f"(({n} / 100 * {share} + {n} % 100 - {first}) % {count})"


def _add_members(shape: _Shape, size: _Size) -> None:
    """People in groups, bots where they belong; every eleventh bot has lost its membership.

    Before GitLab 17.9 a bot's membership ended on the day of its token: every third one is that old.
    """
    common = {"notification_level": "3", "created_at": "users.created_at", "updated_at": "users.updated_at"}
    people = {
        **common,
        "user_id": "users.id",
        "access_level": "(ARRAY[10, 20, 30, 30, 40, 50])[1 + users.id % 6]",
        "source_id": f"{size.first_group} + users.id * 13 % {size.groups}",
        "source_type": "'Namespace'",
        "type": "'GroupMember'",
        "member_namespace_id": f"{size.first_group} + users.id * 13 % {size.groups}",
        "expires_at": "CASE WHEN users.id % 40 = 0 THEN date '2024-12-31' END",
    }
    shape.insert("members", people, f"FROM users WHERE id BETWEEN 2 AND {size.people} ORDER BY id")
    for kind, source_type, first, count, source_id, namespace in (
        ("ProjectMember", "Project", size.first_project_bot, size.project_bots, "n", size.first_project_namespace),
        (
            "GroupMember",
            "Namespace",
            size.first_group_bot,
            size.group_bots,
            f"n + {size.first_group - 1}",
            size.first_group,
        ),
    ):
        bots = {
            **common,
            "user_id": "users.id",
            "access_level": "(ARRAY[20, 30, 40, 40, 50])[1 + n % 5]",
            "source_id": source_id,
            "source_type": f"'{source_type}'",
            "type": f"'{kind}'",
            "member_namespace_id": f"n + {namespace - 1}",
            "expires_at": "newest.expires_at",
        }
        source = f"""
            FROM generate_series(1, {count}::bigint) AS n
            JOIN users ON users.id = n + {first - 1}
            LEFT JOIN LATERAL (
                SELECT expires_at FROM personal_access_tokens
                 WHERE n % 3 = 0 AND user_id = users.id AND revoked IS NOT TRUE
                 ORDER BY created_at DESC LIMIT 1
            ) AS newest ON true
            WHERE n % 11 <> 0
            ORDER BY n"""
        shape.insert("members", bots, source)


def _add_last_used_ips(shape: _Shape) -> None:
    """Since GitLab 17.8 the last five addresses: of all recent tokens and of a few old ones."""
    if not shape.has("personal_access_token_last_used_ips"):
        return
    ranges = ("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8::")
    columns = {
        "personal_access_token_id": "tokens.id",
        "organization_id": "1",
        "created_at": "last_used_at",
        "updated_at": "last_used_at",
        "ip_address": f"({_one_of(ranges, '(tokens.id + number)')} || 1 + tokens.id * 7 % 50 * 5 + number)::inet",
    }
    source = """
        FROM personal_access_tokens AS tokens, generate_series(0, tokens.id % 5) AS number
        WHERE last_used_at IS NOT NULL AND (tokens.id % 500 = 0 OR tokens.id IN (SELECT id FROM recent_tokens))
        ORDER BY tokens.id, number"""
    shape.insert("personal_access_token_last_used_ips", columns, source)


def _add_granular_scopes(shape: _Shape, size: _Size) -> None:
    """Since GitLab 18.4: each granular token has a scope of its own, and all of them share one."""
    if not shape.has("granular_scopes"):
        return
    scopes = {
        "id": "n",
        "organization_id": "1",
        "namespace_id": f"CASE n WHEN 1 THEN NULL ELSE {size.first_group} + n END",
        "permissions": """CASE n WHEN 1 THEN '["read_user"]' ELSE '["read_job", "read_pipeline"]' END::jsonb""",
        "access": "CASE n WHEN 1 THEN 2 ELSE 1 END",
        "created_at": "now()",
        "updated_at": "now()",
    }
    shape.insert("granular_scopes", scopes, f"FROM generate_series(1, {1 + _GRANULAR}) AS n")
    uses = {"organization_id": "1", "personal_access_token_id": "id", "granular_scope_id": "scope"}
    source = """
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM recent_tokens WHERE kind = 'granular') AS granular,
             LATERAL (VALUES (1), (1 + n)) AS scopes (scope)
        ORDER BY id, scope"""
    shape.insert("personal_access_token_granular_scopes", uses, source)
    shape.execute("SELECT setval(pg_get_serial_sequence('granular_scopes', 'id'), max(id)) FROM granular_scopes")


def _below(table: str) -> dict[str, str]:
    """A route's path and name, below those of the parent's route."""
    return {
        "path": f"COALESCE(above.path || '/', '') || {table}.path",
        "name": f"COALESCE(above.name || ' / ', '') || {table}.name",
    }


def _of_a_group(n: str) -> str:
    return f"{n} % 3 = 0"


def _of_a_project(n: str) -> str:
    return f"{n} % 6 = 2"


def _group_of(n: str, size: _Size) -> str:
    return f"({size.first_group} + {n} * 7 % {size.groups})"


def _project_of(n: str, size: _Size) -> str:
    return f"(1 + {n} * 11 % {size.projects})"


def _one_of(values: Sequence[str], n: str) -> str:
    return f"(ARRAY[{', '.join(map(_literal, values))}])[1 + {n} % {len(values)}]"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Which tokens there are, one by one, with what a person asks about each: when, whose, how used, what is the matter."""

import heapq
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from tokens import database
from tokens.address import Address
from tokens.change.facts import dated_by
from tokens.change.plan import KindCount, read_counts, read_release
from tokens.database import Connection
from tokens.errors import StatementTimeout, UsageError
from tokens.gitlab import notices, preflight
from tokens.gitlab.background_migration import read_background_migration
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import clean_up, is_active
from tokens.gitlab.kind import STATE_EXPRESSION, TODAY, WORKS, State, kind_expression, once
from tokens.gitlab.membership import ends_before
from tokens.gitlab.needs import LIST, LIST_ACCOUNTS
from tokens.gitlab.ownership import NOBODY_TOLD, PLACE, TOLD, owner_shown
from tokens.gitlab.schema import LAST_USED_IPS, SETTINGS, TOKENS, Schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.settings import Policy, read_policy, read_rules
from tokens.gitlab.succession import read_line
from tokens.inventory import credentials
from tokens.inventory.credentials import LOOKED_UP, Others
from tokens.inventory.ids import notes_on_ids
from tokens.selection import BEYOND_MAXIMUM, Condition, Selection
from tokens.unmatched import check_names, check_scopes, why_nothing

AT_ONCE = 2000  # rows in one round trip
PATIENCE = "300ms"  # for a count that was not asked for
SOON = 7  # days in which the first tokens of a long list are looked for

Answer = TypeVar("Answer")

# The tokens that are shown are found first, so that nothing is looked up about those that are not.
LISTED = """
    WITH chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      {sorted_by}
      WHERE {condition}
      ORDER BY {order}
      LIMIT CAST(%(listed_first)s AS bigint)
    )
    SELECT
      {columns}
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    {joins}
    ORDER BY {order}
"""

EVERY = """
    SELECT
      {columns}
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {joins}
    WHERE {condition}
    ORDER BY {order}
"""

COUNT = """
    SELECT count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
"""

ADDRESSES = """ARRAY(
        SELECT host(used.ip_address)
        FROM public.personal_access_token_last_used_ips used
        WHERE used.personal_access_token_id = t.id AND used.ip_address IS NOT NULL
        ORDER BY used.id
      )"""

# The clean-up comes some days after the last of a bot's tokens has ended, at the next midnight at the earliest.
CLEAN_UP = """
    LEFT JOIN LATERAL (
      SELECT GREATEST(
        max(
          CASE
            WHEN other.revoked THEN CAST(other.updated_at AS date)
            WHEN isfinite(other.expires_at) THEN other.expires_at
          END
        ) + CAST(%(listed_inactive_days)s AS integer) + 1,
        {today} + 1
      ) AS day
      FROM public.personal_access_tokens other
      WHERE u.user_type = 6 AND other.user_id = t.user_id
      HAVING NOT bool_or(COALESCE({is_active}, false))
    ) clean_up ON true
"""

FLAG_NAMES = (
    "membership-ends-first",
    "clean-up",
    "beyond-maximum",
    "in-its-grace",
    "successor-works",
    "nobody-warned",
    "warned",
    "legacy",
    "migration-date",
    "owner-inactive",
)


class Shown(Enum):
    """Where a column is shown by default: always, with `--wide`, or nowhere."""

    ALWAYS = "always"
    WIDE = "wide"
    BY_NAME = "by name"


@dataclass(frozen=True)
class Column:
    """What is shown of each token under one name.

    Attributes:
        name: in JSON and CSV, and for `--columns` and `--sort`.
        heading: in the table.
        shown: where it is by default.
        cheap: whether JSON and CSV have it without being asked for more, since it is a column of the tokens' table.
    """

    name: str
    heading: str
    shown: Shown = Shown.WIDE
    cheap: bool = False


COLUMNS = (
    Column("id", "Id", Shown.ALWAYS),
    Column("expires_at", "Expires", Shown.ALWAYS),
    Column("in_days", "In", Shown.ALWAYS),
    Column("kind", "Kind", Shown.ALWAYS),
    Column("account", "Account", Shown.BY_NAME, cheap=True),
    Column("owner", "Owner", Shown.ALWAYS),
    Column("name", "Name", Shown.ALWAYS),
    Column("last_used_at", "Used", Shown.ALWAYS),
    Column("state", "State", cheap=True),
    Column("scopes", "Scopes", cheap=True),
    Column("created_at", "Created", cheap=True),
    Column("ips", "IPs"),
    Column("membership_ends_at", "Membership"),
    Column("clean_up_at", "Clean-up"),
    Column("warned", "Warned"),
    Column("flags", "Flags"),
    Column("description", "Description"),
    Column("owner_state", "Owner state", Shown.BY_NAME, cheap=True),
    Column("email", "E-mail", Shown.BY_NAME),
    Column("place_id", "Project or group", Shown.BY_NAME),
    Column("created_by", "Created by", Shown.BY_NAME),
    Column("told", "Told", Shown.BY_NAME),
)
BY_NAME = {column.name: column for column in COLUMNS}

# Rails' usual list is turned into text here; of any other the text as it is stored.
USUAL_SCOPES = r"""
    CASE
      WHEN t.scopes LIKE E'---\n- %%' AND t.scopes !~ '[^a-z_\n -]'
      THEN replace(rtrim(substr(t.scopes, 7), E'\n'), E'\n- ', ' ')
      ELSE t.scopes
    END
"""

# Those of them that need more privileges than the others.
OF_PEOPLE = frozenset({"email", "created_by", "told"})
DATES = frozenset({"expires_at", "membership_ends_at", "clean_up_at"})
TIMES = frozenset({"last_used_at", "created_at"})
NO_FLAGS = Condition("CAST('{}' AS text[])", {})
UNSORTABLE = frozenset({"scopes", "ips", "warned", "flags", "told"})


@dataclass(frozen=True)
class Layout:
    """Which columns, in which order of tokens, and how many tokens at most (None for all)."""

    columns: tuple[Column, ...]
    sort: str = "expires_at"
    descending: bool = False
    first: int | None = None


@dataclass
class Listing:
    """The tokens that were found, to be read once and while the listing is open.

    Attributes:
        rows: the values of `layout.columns` for each token: text, numbers, lists, None; times in ISO 8601 (UTC).
        today: the server's day in UTC.
        more: how many tokens there are beyond `layout.first`; None where it takes long to count them.
        csv: all rows as PostgreSQL writes them in CSV, where they were asked for like that and there is no `first`; a
            date as it is stored, of lists other than Rails' usual ones of scopes the text.
        notes: what was named and comes to nothing, in sentences.
        count: sets `more`, `counts` and `others`, which takes its time: the tokens can be shown before.
        counts: by kind and state the tokens that fulfil the other options; empty where that would take long.
        others: how many credentials of each kind that was not named have a date and fulfil the options, None where that
            cannot be seen at once; empty where they were not counted.
        named: the other kinds that were named.
    """

    layout: Layout
    today: ExpirationDate
    rows: Iterator[Sequence[Any]] = field(default_factory=lambda: iter(()))
    csv: Iterator[bytes] | None = None
    more: int | None = 0
    notes: tuple[str, ...] = ()
    count: Callable[[], None] = lambda: None
    counts: tuple[KindCount, ...] = ()
    others: Mapping[OtherKind, int | None] = field(default_factory=dict)
    named: frozenset[OtherKind] = frozenset()


@contextmanager
def listed(
    address: Address,
    selection: Selection,
    layout: Layout,
    *,
    release: str | None = None,
    counted: bool = False,
    ci: Address | None = None,
    counts_others: bool = False,
    as_csv: bool = False,
) -> Iterator[Listing]:
    """The tokens of `selection`, in one snapshot that is open as long as the block; a standby will do.

    Credentials of other kinds come between them. Those of a ci database are seen in a snapshot of its own.

    Args:
        address: GitLab's main database.
        selection: which tokens.
        layout: what of them, and how many.
        release: GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.
        counted: whether to count what is left out, too, if that is quick.
        ci: GitLab's ci database, where it has one of its own.
        counts_others: whether to count the credentials that are no tokens, where none of them is named.
        as_csv: whether rows are wanted as CSV.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist, or an option that means nothing for a kind.
    """
    if selection.others and layout.sort in LOOKED_UP:
        kinds = ", ".join(sorted(selection.others))
        raise UsageError(f"--sort {layout.sort} is for access tokens alone, not for {kinds}; sort by expires or name.")
    with ExitStack() as stack:
        connection = stack.enter_context(database.reading(address))
        names = {column.name for column in layout.columns} | {layout.sort}
        schema = preflight.check(connection, LIST_ACCOUNTS if names & OF_PEOPLE else LIST)
        check_names(connection, schema, selection)
        policy = read_policy(connection, schema)
        listing = Listing(layout, policy.today, named=selection.others)
        condition = selection.condition(schema)
        listing.notes = notes_on_ids(connection, schema, selection)
        hidden = preflight.hidden_rows(connection, LIST)
        others = stack.enter_context(credentials.named(connection, schema, ci, selection))
        listing.notes = (*others.notes, *listing.notes)
        written: Generator[bytes] | None = None
        asked = (connection, schema, layout, condition, policy, release)
        if as_csv and layout.first is None and not selection.others:
            statement, parameters = _statement(*asked, as_csv=True)
            written = connection.stream_csv(statement, **parameters)
            found: list[Any] = list(itertools.islice(written, 1))
            listing.csv = itertools.chain(found, written)
        else:
            statement, parameters = _statement(*asked, keyed=bool(selection.others))
            rows = _rows(connection, statement, parameters, layout)
            if selection.others:
                rows = _merged(rows if selection.kinds else iter(()), others, layout)
            elif soonest := _soonest(connection, statement, condition, parameters, selection, layout):
                rows = iter(soonest)
            found = list(itertools.islice(rows, 1 if layout.first is None else layout.first + 1))
            listing.rows = itertools.chain(found, rows) if layout.first is None else iter(found[: layout.first])
        if not found and not selection.others:
            listing.notes += (_why_nothing(connection, schema, selection),)
        if hidden:
            listing.notes += (hidden,)

        def count() -> None:
            if layout.first is not None and len(found) > layout.first:
                listing.more = _count_beyond(connection, condition, layout.first, others)
            if counted and not selection.others:
                counts = _quickly(connection, lambda: tuple(read_counts(connection, schema, selection, ())))
                listing.counts = counts or ()
            if counts_others and not selection.others:
                listing.others = credentials.coming(connection, schema, ci, selection)

        listing.count = count
        try:
            yield listing
        finally:
            if written is not None:
                written.close()  # nothing else can be asked before


def _statement(
    connection: Connection,
    schema: Schema,
    layout: Layout,
    condition: Condition,
    policy: Policy,
    release: str | None,
    *,
    keyed: bool = False,
    as_csv: bool = False,
) -> tuple[str, dict[str, object]]:
    """What is asked for the tokens; with `keyed` its last column is what they are sorted by, to be compared here."""
    rule = clean_up(release, read_release(connection, schema)) if policy.inactive_days is not None else None
    flags = _flags(connection, schema, has_clean_up=rule is not None) if _has(layout, "flags") else NO_FLAGS
    expressions = _expressions(schema, flags.sql, has_clean_up=rule is not None)
    columns = {one.name: expressions[one.name].sql for one in layout.columns if one.name != "in_days"}
    selected = ",\n      ".join(f"{sql.strip()} AS {name}" for name, sql in columns.items())
    by = "expires_at" if layout.sort == "in_days" else layout.sort
    sort = expressions[by].sort.strip()
    if keyed:
        sort = _comparable(by, sort)
        selected += f",\n      {sort} AS sort_key"
    order = f"{sort} {'DESC' if layout.descending else 'ASC'} NULLS LAST, t.id"
    parameters: dict[str, object] = {**condition.parameters, **flags.parameters}
    if as_csv:
        columns = {one.name: _in_csv(one.name, columns.get(one.name, "")) for one in layout.columns}
        selected = ",\n      ".join(f"{sql.strip()} AS {name}" for name, sql in columns.items())
        if "in_days" in columns:
            parameters["listed_today"] = policy.today.literal
    if rule is not None and "clean_up." in selected + order:
        parameters["listed_inactive_days"] = policy.inactive_days

    def joins(of: str) -> str:
        """What a part of the statement asks beside tokens and their owners."""
        found = [PLACE] if "place." in of else []
        if rule is not None and "clean_up." in of:
            active = is_active(rule, "other.expires_at", "other.revoked", TODAY)
            found.append(CLEAN_UP.format(today=TODAY, is_active=active))
        return "".join(found).strip()

    if layout.first is None:
        statement = EVERY.format(columns=selected, joins=joins(selected + order), condition=condition.sql, order=order)
        return statement, parameters
    parameters["listed_first"] = layout.first + 1
    statement = LISTED.format(
        columns=selected,
        condition=condition.sql,
        order=order,
        sorted_by=joins(order),
        joins=joins(selected + order),
    )
    return statement, parameters


def _in_csv(name: str, sql: str) -> str:
    """SQL: the text of a column whose SQL is this one; for a column that is left to the view, SQL of its own."""
    if name == "in_days":
        return "CASE WHEN isfinite(t.expires_at) THEN t.expires_at - CAST(%(listed_today)s AS date) END"
    if name == "scopes":
        return USUAL_SCOPES
    return f"array_to_string({sql}, ' ')" if name in UNSORTABLE else sql


def _soonest(
    connection: Connection,
    statement: str,
    condition: Condition,
    parameters: Mapping[str, object],
    selection: Selection,
    layout: Layout,
) -> list[Sequence[Any]]:
    """The first tokens, where those that expire soon are enough; else none.

    An index of GitLab's has the date behind the owner, so a few days are found without all tokens being read.
    """
    by_date = layout.sort in ("expires_at", "in_days") and not layout.descending
    if not by_date or layout.first is None or selection.expires or selection.states != {State.ACTIVE}:
        return []
    near = f"{condition.sql}\n  AND t.expires_at BETWEEN {TODAY} + 1 AND {TODAY} + {SOON}"
    rows = _rows(connection, once(statement.replace(condition.sql, near)), parameters, layout)
    found = list(itertools.islice(rows, layout.first + 1))
    return found if len(found) > layout.first else []


@dataclass(frozen=True)
class _Expression:
    """A column as SQL, and what it is sorted by."""

    sql: str
    sort: str


def _has(layout: Layout, name: str) -> bool:
    return any(column.name == name for column in layout.columns)


def _cleaned(*, has_clean_up: bool) -> str:
    return "clean_up.day" if has_clean_up else "CAST(NULL AS date)"


def _expressions(schema: Schema, flags: str, *, has_clean_up: bool) -> Mapping[str, _Expression]:
    cleaned = _cleaned(has_clean_up=has_clean_up)
    owner = owner_shown(schema)
    kind = kind_expression(schema)
    description = "t.description" if schema.has(TOKENS, "description") else "CAST(NULL AS text)"
    found = {
        "id": ("t.id", "t.id"),
        "expires_at": ("t.expires_at::text", "t.expires_at"),
        "kind": (kind, kind),
        "account": ("u.username", "u.username"),
        "owner": (owner, owner),
        "name": ("t.name", "t.name"),
        "last_used_at": (_moment("t.last_used_at AT TIME ZONE 'UTC'"), "t.last_used_at"),
        "state": (STATE_EXPRESSION, STATE_EXPRESSION),
        "scopes": ("t.scopes", ""),
        "created_at": (_moment("t.created_at"), "t.created_at"),
        "ips": (ADDRESSES if schema.has(LAST_USED_IPS) else "CAST('{}' AS text[])", ""),
        "membership_ends_at": ("place.ends_at::text", "place.ends_at"),
        "clean_up_at": (f"{cleaned}::text", cleaned),
        "warned": (notices.sent(schema), ""),
        "flags": (flags, ""),
        "description": (description, description),
        "owner_state": ("u.state", "u.state"),
        "email": ("u.email", "u.email"),
        "place_id": ("place.source_id", "place.source_id"),
        "created_by": ("(SELECT c.username FROM public.users c WHERE c.id = u.created_by_id)", "u.created_by_id"),
        "told": (f"ARRAY(SELECT person.username{TOLD.rstrip()}\n        ORDER BY person.username)", ""),
    }
    return {name: _Expression(sql, sort) for name, (sql, sort) in found.items()}


def _flags(connection: Connection, schema: Schema, *, has_clean_up: bool) -> Condition:
    """An array of the flags that a token has, in the order of FLAG_NAMES."""
    # GitLab lets people replace a legacy token by a fine-grained one alone.
    granular_only = schema.has(TOKENS, "granular") and read_rules(connection, schema).granular_only
    migrated = dated_by(read_background_migration(connection, schema))
    line = read_line(connection, schema)
    replaced = line.has_live if line else "false"
    maximum = schema.has(SETTINGS, "id", "max_personal_access_token_lifetime")
    ends_first = f"EXISTS (SELECT FROM public.members m WHERE {ends_before('t.expires_at')})"
    conditions = {
        "membership-ends-first": f"t.revoked IS NOT TRUE AND {ends_first}",
        "clean-up": f"{_cleaned(has_clean_up=has_clean_up)} IS NOT NULL",
        "beyond-maximum": f"{WORKS} AND {BEYOND_MAXIMUM}" if maximum else "false",
        "in-its-grace": f"{WORKS} AND {replaced}",
        "successor-works": f"NOT {WORKS} AND {replaced}",
        "nobody-warned": f"{WORKS} AND t.expires_at IS NOT NULL AND {NOBODY_TOLD.strip()}",
        "warned": f"{WORKS} AND {notices.any_set(schema)}",
        "legacy": f"{WORKS} AND NOT t.granular AND COALESCE(u.user_type, 0) = 0" if granular_only else "false",
        "migration-date": f"t.revoked IS NOT TRUE AND {migrated.sql}",
        "owner-inactive": "u.state IS DISTINCT FROM 'active'",
    }
    cases = ",\n        ".join(f"CASE WHEN {conditions[name]} THEN '{name}' END" for name in FLAG_NAMES)
    return Condition(f"array_remove(ARRAY[\n        {cases}\n      ], NULL)", migrated.parameters)


def _moment(utc: str) -> str:
    """SQL: a time without a time zone, which is UTC, in ISO 8601 to the second."""
    return f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS"Z"\')'


def _comparable(name: str, sort: str) -> str:
    """What a column is sorted by, as a number or as text in an order that no locale changes."""
    if name in ("id", "place_id"):
        return f"CAST({sort} AS bigint)"
    if name in DATES:  # a time cannot be as far away as a date
        sort = f"LEAST({sort}, CAST('200000-01-01' AS date))"
    if name in DATES | TIMES:
        return f"CAST(extract(epoch FROM CAST({sort} AS timestamptz)) AS float8)"
    return f'CAST(({sort}) AS text) COLLATE "C"'


def _merged(tokens: Iterator[Sequence[Any]], others: Others, layout: Layout) -> Iterator[Sequence[Any]]:
    """Tokens and other credentials, each in order already, as one."""
    names = [column.name for column in layout.columns]
    by = "expires_at" if layout.sort == "in_days" else layout.sort
    first = None if layout.first is None else layout.first + 1
    own = [name for name in names if name != "in_days"]
    at = {name: own.index(name) for name in own}
    streams = [
        *others.streams(own, by, layout.descending, first),
        ((row[-1], row[:-1]) for row in tokens),
    ]

    def place(keyed: tuple[Any, Sequence[Any]]) -> tuple[bool, Any]:
        key, _ = keyed
        return ((key is None) != layout.descending, 0 if key is None else key)

    for _, row in heapq.merge(*streams, key=place, reverse=layout.descending):
        yield row if len(row) == len(names) else [row[at[name]] if name in at else None for name in names]


def _rows(
    connection: Connection, statement: str, parameters: Mapping[str, object], layout: Layout
) -> Iterator[Sequence[Any]]:
    """The values of the layout's columns; how many days it is to the date is left to the view."""
    names = [column.name for column in layout.columns]
    asked = [name for name in names if name != "in_days"]
    at = {name: asked.index(name) for name in asked}
    scopes = at.get("scopes")
    # PostgreSQL lets one process alone work for a cursor.
    is_short = layout.first is not None and layout.first < AT_ONCE
    asked_for = (
        connection.rows(statement, **parameters) if is_short else connection.stream(statement, AT_ONCE, **parameters)
    )
    for row in asked_for:
        if scopes is not None:
            row = (*row[:scopes], list(scopes_of(row[scopes])), *row[scopes + 1 :])
        if len(row) > len(asked):  # what it is sorted by comes last
            yield [*(row[at[name]] if name in at else None for name in names), row[-1]]
        else:
            yield row if len(asked) == len(names) else [row[at[name]] if name in at else None for name in names]


def _why_nothing(connection: Connection, schema: Schema, selection: Selection) -> str:
    check_scopes(connection, selection)
    if any(one.tokens for one in read_counts(connection, schema, selection, ())):
        return "All tokens that fulfil the other options are left out by their kind or state."
    return why_nothing(connection, schema, selection)


def _count_beyond(connection: Connection, condition: Condition, first: int, others: Others) -> int | None:
    """How many tokens there are beyond the first ones, None where it takes long to count them."""
    statement = COUNT.format(condition=condition.sql)
    found = _quickly(connection, lambda: int(connection.row(statement, **condition.parameters).tokens))
    return None if found is None else found + others.count() - first


def _quickly(connection: Connection, ask: Callable[[], Answer]) -> Answer | None:
    """What `ask` finds, None where that takes long."""
    try:
        with connection.transaction(statement_timeout=PATIENCE):
            return ask()
    except StatementTimeout:
        return None

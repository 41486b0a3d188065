"""Which tokens there are, one by one, in the columns and the order that somebody wants, and how many more."""

import heapq
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tokens import database
from tokens.address import Address
from tokens.change.kinds import KindCount, read_counts
from tokens.database import Connection
from tokens.errors import StatementTimeout, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.condition import Condition
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import clean_up
from tokens.gitlab.kind import TODAY, State, once
from tokens.gitlab.needs import LIST, LIST_ACCOUNTS
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.schema import Schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.settings import Policy, read_policy
from tokens.inventory import credentials, logged
from tokens.inventory import token_columns as columns
from tokens.inventory.credential_columns import LOOKED_UP
from tokens.inventory.credentials import Others
from tokens.inventory.ids import notes_on_ids
from tokens.inventory.token_columns import Column
from tokens.selection import Selection
from tokens.selection.unmatched import check_names, why_nothing
from tokens.usage.reading import Usage

AT_ONCE = 2000  # rows in one round trip
PATIENCE = "300ms"  # for a count that was not asked for
CONDITION = "{condition}"
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
    usage: Usage | None = None,
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
        usage: what logs say, for the columns of token_columns.OF_LOGS; else these are None.

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
        schema = preflight.check(connection, LIST_ACCOUNTS if names & columns.OF_PEOPLE else LIST)
        check_names(connection, schema, selection)
        policy = read_policy(connection, schema)
        listing = Listing(layout, policy.today, named=selection.others)
        condition = selection.condition(schema)
        listing.notes = notes_on_ids(connection, schema, selection)
        hidden = preflight.hidden_rows(connection, LIST)
        others = stack.enter_context(credentials.named(connection, schema, ci, selection))
        listing.notes = (*others.notes, *listing.notes)
        written: Generator[bytes] | None = None
        asked = (connection, schema, layout, condition, policy, release, usage)
        if as_csv and layout.first is None and not selection.others:
            statement, parameters = _statement(*asked, as_csv=True)
            written = connection.stream_csv(statement.replace(CONDITION, condition.sql), **parameters)
            found: list[Any] = list(itertools.islice(written, 1))
            listing.csv = itertools.chain(found, written)
        else:
            statement, parameters = _statement(*asked, keyed=bool(selection.others))
            rows = _rows(connection, statement.replace(CONDITION, condition.sql), parameters, layout)
            if selection.others:
                rows = _merged(rows if selection.kinds else iter(()), others, layout)
            elif soonest := _soonest(connection, statement, condition, parameters, selection, layout):
                rows = iter(soonest)
            found = list(itertools.islice(rows, 1 if layout.first is None else layout.first + 1))
            listing.rows = itertools.chain(found, rows) if layout.first is None else iter(found[: layout.first])
        if not found and not selection.others:
            left_out = any(one.tokens for one in read_counts(connection, schema, selection))
            listing.notes += (why_nothing(connection, schema, selection, left_out=left_out),)
        if hidden:
            listing.notes += (hidden,)

        def count() -> None:
            if layout.first is not None and len(found) > layout.first:
                listing.more = _count_beyond(connection, condition, layout.first, others)
            if counted and not selection.others:
                counts = _quickly(connection, lambda: read_counts(connection, schema, selection))
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
    usage: Usage | None,
    *,
    keyed: bool = False,
    as_csv: bool = False,
) -> tuple[str, dict[str, object]]:
    """What is asked for the tokens, with CONDITION where their condition belongs; and the values in it.

    With `keyed` its last column is what they are sorted by, to be compared here.
    """
    estimate = read_release(connection, schema)
    least = least_of(release, estimate)
    rule = clean_up(release, estimate) if policy.inactive_days is not None else None
    names = [column.name for column in layout.columns]
    flags = columns.NO_FLAGS
    if "flags" in names:
        flags = columns.flags(connection, schema, rule, least, has_log=usage is not None)
    known = columns.expressions(schema, flags.sql, rule, least, has_log=usage is not None)
    selected = {name: columns.in_csv(name, known[name].sql) if as_csv else known[name].sql for name in names}
    sort = known[layout.sort].sort.strip()
    if keyed:
        sort = columns.comparable(layout.sort, sort)
        selected["sort_key"] = sort
    listed = ",\n      ".join(f"{sql.strip()} AS {name}" for name, sql in selected.items())
    order = f"{sort} {'DESC' if layout.descending else 'ASC'} NULLS LAST, t.id"
    parameters: dict[str, object] = {**condition.parameters, **flags.parameters}
    if rule is not None and "clean_up." in listed + order:
        parameters["inactive_days"] = policy.inactive_days
    if usage is not None and "logged." in listed + order:
        parameters.update(logged.parameters(usage))
    every = {"columns": listed, "joins": columns.joins(listed + order, rule), "condition": CONDITION, "order": order}
    if layout.first is None:
        return EVERY.format(**every), parameters
    parameters["listed_first"] = layout.first + 1
    return LISTED.format(**every, sorted_by=columns.joins(order, rule)), parameters


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
    rows = _rows(connection, once(statement.replace(CONDITION, near)), parameters, layout)
    found = list(itertools.islice(rows, layout.first + 1))
    return found if len(found) > layout.first else []


def _merged(tokens: Iterator[Sequence[Any]], others: Others, layout: Layout) -> Iterator[Sequence[Any]]:
    """Tokens and other credentials, each in order already, as one."""
    names = [column.name for column in layout.columns]
    first = None if layout.first is None else layout.first + 1
    streams = [
        *others.streams(names, layout.sort, layout.descending, first),
        ((row[-1], row[:-1]) for row in tokens),
    ]

    def place(keyed: tuple[Any, Sequence[Any]]) -> tuple[bool, Any]:
        key, _ = keyed
        return ((key is None) != layout.descending, 0 if key is None else key)

    return (row for _, row in heapq.merge(*streams, key=place, reverse=layout.descending))


def _rows(
    connection: Connection, statement: str, parameters: Mapping[str, object], layout: Layout
) -> Iterator[Sequence[Any]]:
    """The values of the layout's columns, and behind them what else the statement asks for."""
    names = [column.name for column in layout.columns]
    scopes = names.index("scopes") if "scopes" in names else None
    # PostgreSQL lets one process alone work for a cursor.
    is_short = layout.first is not None and layout.first < AT_ONCE
    asked_for = (
        connection.rows(statement, **parameters) if is_short else connection.stream(statement, AT_ONCE, **parameters)
    )
    for row in asked_for:
        yield row if scopes is None else (*row[:scopes], list(scopes_of(row[scopes])), *row[scopes + 1 :])


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

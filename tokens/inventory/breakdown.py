"""How many tokens of each kind there are and how they stand, and the instance's policy about them."""

from dataclasses import dataclass, fields
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, count_by_kind, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.schema import TOKENS, Schema
from tokens.gitlab.scopes import has_scope
from tokens.inventory import credentials
from tokens.inventory.credential_columns import Words
from tokens.inventory.credentials import Others
from tokens.inventory.ids import notes_on_selection
from tokens.inventory.policy import Demands, read_demands
from tokens.selection import Selection
from tokens.selection.unmatched import check_names

HURTFUL = ("api", "sudo", "admin_mode")
"""Scopes that let a token change everything its owner may change, or more."""

UNUSED_FOR = 365  # days after which a token that was not used in them counts as unused

LONG_AGO = f"now() - interval '{UNUSED_FOR} days'"

# What is asked of each token is asked once, in a sub-select that PostgreSQL leaves as it is because of its OFFSET. What
# is asked of scopes is asked once for each of the few lists of them.
BREAKDOWN = """
    SELECT
      t.kind,
      {sums}
    FROM (
      SELECT
        t.kind,
        t.scopes,
        count(*) AS tokens,
        {counts}
      FROM (
        SELECT {kind} AS kind, {works} AS works, u.state, {columns}
        FROM public.personal_access_tokens t
        LEFT JOIN public.users u ON u.id = t.user_id
        WHERE {condition}
        OFFSET 0
      ) t
      GROUP BY t.kind, t.scopes
    ) t
    GROUP BY t.kind
"""

COUNTED = ("scopes", "revoked", "expires_at", "last_used_at", "created_at", "granular")
"""Columns of a token that it is counted by, where the release has them."""


@dataclass(frozen=True)
class KindBreakdown:
    """The tokens of one kind; all but `expired` and `revoked` count active ones alone.

    `week`, `month` and `quarter` expire within 7, 30 and 90 days, each counting those before. `unused` were not used
    for a year, or never since they were made longer ago than that. `legacy` are not fine-grained. None is what a kind
    that is no token's does not have.
    """

    kind: Kind | OtherKind
    tokens: int
    active: int
    week: int
    month: int
    quarter: int
    undated: int
    never_used: int | None
    unused: int | None
    expired: int
    revoked: int
    owner_inactive: int | None
    api: int | None
    sudo: int | None
    admin_mode: int | None
    fine_grained: int | None


@dataclass(frozen=True)
class Breakdown:
    """What there is by kind, in the order of Kind, without kinds that no token has; what is demanded; and notes.

    Behind them come other kinds that were named; `notes` are about ids, and say which of these kinds cannot be seen.
    """

    kinds: tuple[KindBreakdown, ...]
    demands: Demands
    notes: tuple[str, ...] = ()


def breakdown(
    address: Address, selection: Selection, *, release: str | None = None, ci: Address | None = None
) -> Breakdown:
    """Count the tokens of `selection` by kind, in one statement; a standby will do.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells. `ci` is GitLab's
    ci database, where it has one of its own.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist, or an option that means nothing for a kind.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        found = read_kinds(connection, schema, selection)
        demands = read_demands(connection, schema, release)
        notes = notes_on_selection(connection, schema, selection, nothing=not found)
        with credentials.named(connection, schema, ci, selection) as named:
            others = read_other_kinds(named)
    return Breakdown((*found, *others), demands, (*notes, *named.notes))


def read_kinds(connection: Connection, schema: Schema, selection: Selection) -> tuple[KindBreakdown, ...]:
    """The tokens of `selection` by kind, in the order of Kind, without kinds that no token has."""
    condition = selection.condition(schema)
    counts = _counts(schema)
    sums = {name: f"sum(t.{name})" for name in ("tokens", *counts)}
    sums |= {scope: f"COALESCE(sum(t.active) FILTER (WHERE {has_scope(scope)}), 0)" for scope in HURTFUL}
    statement = BREAKDOWN.format(
        kind=kind_expression(schema),
        works=WORKS,
        columns=", ".join(f"t.{name}" for name in COUNTED if schema.has(TOKENS, name)),
        condition=condition.sql,
        counts=",\n        ".join(f"count(*) FILTER (WHERE {sql}) AS {name}" for name, sql in counts.items()),
        sums=",\n      ".join(f"{sql}::bigint AS {name}" for name, sql in sums.items()),
    )
    rows = {Kind(row.kind): row for row in count_by_kind(connection, statement, **condition.parameters)}
    found = (rows[kind] for kind in Kind if kind in rows)
    return tuple(KindBreakdown(**{**row._asdict(), "kind": Kind(row.kind)}) for row in found)


def read_other_kinds(named: Others) -> tuple[KindBreakdown, ...]:
    """The credentials that were named beside tokens by kind, without kinds that none is of."""
    found = named.each(_counts_of_others)
    return tuple(_of_another_kind(kind, row) for kind, row in found if row.tokens)


def _of_another_kind(kind: OtherKind, row: Any) -> KindBreakdown:
    counts: dict[str, Any] = {one.name: getattr(row, one.name, None) for one in fields(KindBreakdown)}
    return KindBreakdown(**{**counts, "kind": kind})


def _counts_of_others(words: Words) -> str:
    counts = {
        "active": words.works,
        "week": f"{words.works} AND {words.ends_within(7)}",
        "month": f"{words.works} AND {words.ends_within(30)}",
        "quarter": f"{words.works} AND {words.ends_within(90)}",
        "undated": f"{words.works} AND {words.moment} IS NULL",
        "expired": words.is_in(State.EXPIRED),
        "revoked": words.is_in(State.REVOKED),
    }
    if words.credential.last_used:
        counts |= {
            "never_used": f"{words.works} AND {words.last_used} IS NULL",
            "unused": f"{words.works} AND COALESCE({words.last_used}, CAST(t.created_at AS timestamptz)) < {LONG_AGO}",
        }
    columns = (f"count(*) FILTER (WHERE {sql}) AS {name}" for name, sql in counts.items())
    return ",\n      ".join(("count(*) AS tokens", *columns))


def _counts(schema: Schema) -> dict[str, str]:
    within = f"t.works AND t.expires_at <= {TODAY} +"
    return {
        "active": "t.works",
        "week": f"{within} 7",
        "month": f"{within} 30",
        "quarter": f"{within} 90",
        "undated": "t.works AND t.expires_at IS NULL",
        "never_used": "t.works AND t.last_used_at IS NULL",
        "unused": f"t.works AND COALESCE(t.last_used_at, t.created_at AT TIME ZONE 'UTC') < {LONG_AGO}",
        "expired": STATE_CONDITIONS[State.EXPIRED],
        "revoked": STATE_CONDITIONS[State.REVOKED],
        "owner_inactive": "t.works AND t.state IS DISTINCT FROM 'active'",
        "fine_grained": "t.works AND t.granular" if schema.has(TOKENS, "granular") else "false",
    }

"""How many tokens of each kind there are and how they stand, and the instance's policy about them."""

from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.schema import TOKENS, Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.selection import Selection, has_scope
from tokens.unmatched import check_names

HURTFUL = ("api", "sudo", "admin_mode")
"""Scopes that let a token change everything its owner may change, or more."""

UNUSED_FOR = 365  # days after which a token that was not used in them counts as unused

BREAKDOWN = """
    SELECT
      {kind} AS kind,
      count(*) AS tokens,
      {counts}
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY 1
"""


@dataclass(frozen=True)
class KindBreakdown:
    """The tokens of one kind; all but `expired` and `revoked` count active ones alone.

    `week`, `month` and `quarter` expire within 7, 30 and 90 days, each counting those before. `unused` were not used
    for a year, or never since they were made longer ago than that. `legacy` are not fine-grained.
    """

    kind: Kind
    tokens: int
    active: int
    week: int
    month: int
    quarter: int
    undated: int
    never_used: int
    unused: int
    expired: int
    revoked: int
    owner_inactive: int
    api: int
    sudo: int
    admin_mode: int
    fine_grained: int


@dataclass(frozen=True)
class Breakdown:
    """What there is by kind, in the order of Kind, without kinds that no token has; and the policy in force."""

    kinds: tuple[KindBreakdown, ...]
    policy: Policy


def breakdown(address: Address, selection: Selection) -> Breakdown:
    """Count the tokens of `selection` by kind, in one statement; a standby will do.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        return Breakdown(read_kinds(connection, schema, selection), read_policy(connection, schema))


def read_kinds(connection: Connection, schema: Schema, selection: Selection) -> tuple[KindBreakdown, ...]:
    """The tokens of `selection` by kind, in the order of Kind, without kinds that no token has."""
    condition = selection.condition(schema)
    counts = ",\n      ".join(f"count(*) FILTER (WHERE {sql}) AS {name}" for name, sql in _counts(schema).items())
    statement = BREAKDOWN.format(kind=kind_expression(schema), counts=counts, condition=condition.sql)
    rows = {Kind(row.kind): row for row in connection.rows(statement, **condition.parameters)}
    found = (rows[kind] for kind in Kind if kind in rows)
    return tuple(KindBreakdown(**{**row._asdict(), "kind": Kind(row.kind)}) for row in found)


def _counts(schema: Schema) -> dict[str, str]:
    within = f"{WORKS} AND t.expires_at <= {TODAY} +"
    long_ago = f"now() - interval '{UNUSED_FOR} days'"
    return {
        "active": WORKS,
        "week": f"{within} 7",
        "month": f"{within} 30",
        "quarter": f"{within} 90",
        "undated": f"{WORKS} AND t.expires_at IS NULL",
        "never_used": f"{WORKS} AND t.last_used_at IS NULL",
        "unused": f"{WORKS} AND COALESCE(t.last_used_at, t.created_at AT TIME ZONE 'UTC') < {long_ago}",
        "expired": STATE_CONDITIONS[State.EXPIRED],
        "revoked": STATE_CONDITIONS[State.REVOKED],
        "owner_inactive": f"{WORKS} AND u.state IS DISTINCT FROM 'active'",
        **{name: f"{WORKS} AND {has_scope(name)}" for name in HURTFUL},
        "fine_grained": f"{WORKS} AND t.granular" if schema.has(TOKENS, "granular") else "false",
    }

"""How many tokens of each kind there are and how they stand, and the instance's policy about them."""

from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.kind import STATE_CONDITIONS, TODAY, WORKS, Kind, State, count_by_kind, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.schema import TOKENS, Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.selection import Selection, has_scope
from tokens.unmatched import check_names

HURTFUL = ("api", "sudo", "admin_mode")
"""Scopes that let a token change everything its owner may change, or more."""

UNUSED_FOR = 365  # days after which a token that was not used in them counts as unused

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
        policy = read_policy(connection, schema)
    found = (rows[kind] for kind in Kind if kind in rows)
    return Breakdown(tuple(KindBreakdown(**{**row._asdict(), "kind": Kind(row.kind)}) for row in found), policy)


def _counts(schema: Schema) -> dict[str, str]:
    within = f"t.works AND t.expires_at <= {TODAY} +"
    long_ago = f"now() - interval '{UNUSED_FOR} days'"
    return {
        "active": "t.works",
        "week": f"{within} 7",
        "month": f"{within} 30",
        "quarter": f"{within} 90",
        "undated": "t.works AND t.expires_at IS NULL",
        "never_used": "t.works AND t.last_used_at IS NULL",
        "unused": f"t.works AND COALESCE(t.last_used_at, t.created_at AT TIME ZONE 'UTC') < {long_ago}",
        "expired": STATE_CONDITIONS[State.EXPIRED],
        "revoked": STATE_CONDITIONS[State.REVOKED],
        "owner_inactive": "t.works AND t.state IS DISTINCT FROM 'active'",
        "fine_grained": "t.works AND t.granular" if schema.has(TOKENS, "granular") else "false",
    }

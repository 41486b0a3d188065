"""How many tokens of which kind and state fit what was named, and which of them are taken.

What else is to be known of the same tokens is counted in the same reading of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokens.database import Connection
from tokens.gitlab.condition import Condition
from tokens.gitlab.kind import STATE_EXPRESSION, TODAY, Kind, State, kind_expression, once
from tokens.gitlab.schema import Schema
from tokens.selection import Selection

WORKERS = 1  # one process groups, which takes longer than to read: one more is enough to read for it

# By owner, so that a kind is looked up once for all tokens of one. Of the date the kind and state need only whether it
# is past. Where the condition is not about owners, PostgreSQL joins them to the groups alone.
PAST = "CASE WHEN t.expires_at <= {today} THEN CAST('-infinity' AS date) END"
KINDS = """
    WITH grouped AS (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked IS TRUE AS revoked,
        {past} AS expires_at,
        {more}count(*) AS tokens
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
      GROUP BY 1, 2, 3, 4
    ), kinds AS MATERIALIZED (
      SELECT t.*, u.user_type, u.state AS owner_state, {kind} AS kind, {state} AS state
      FROM grouped t
      LEFT JOIN public.users u ON u.id = t.user_id
    )
"""

COUNTS = """
    SELECT kind, state, sum(tokens)::bigint AS tokens
    FROM kinds
    GROUP BY kind, state
"""

# The same beside what else is read of the kinds.
COUNTS_IN_A_ROW = f"""(
        SELECT jsonb_agg(jsonb_build_array(c.kind, c.state, c.tokens))
        FROM ({COUNTS}) c
      ) AS counts"""  # noqa: S608 - a constant


Rows = Sequence[Sequence[Any]]
"""Each a kind, a state and how many tokens are of both."""


@dataclass(frozen=True)
class KindCount:
    """How many tokens of one kind and state fit what was named; `selected` says whether the change takes them."""

    kind: Kind
    state: State
    tokens: int
    selected: bool


def by_kind(schema: Schema, condition: Condition, more: Sequence[str] = ()) -> str:
    """The beginning of a statement, which gives `kinds`: the tokens of `condition` by owner, kind and state.

    `more` is what else is counted of the tokens `t` of each group. It is not about their owners `u`: a token would have
    to be joined to its owner for that.
    """
    statement = KINDS.format(
        more="".join(f"{one.strip()},\n        " for one in more),
        past=PAST.format(today=TODAY),
        condition=condition.sql,
        kind=kind_expression(schema),
        state=STATE_EXPRESSION,
    )
    return once(statement)


def selected(selection: Selection) -> str:
    """Which of the `kinds` are meant, as SQL."""
    pairs = [f"('{kind}', '{state}')" for kind in Kind for state in State if selection.selects(kind, state)]
    return f"(k.kind, k.state) IN ({', '.join(pairs)})" if pairs else "false"


def read_counts(connection: Connection, schema: Schema, selection: Selection) -> tuple[KindCount, ...]:
    """By kind and state the tokens that fulfil the other options."""
    scope = selection.scope(schema)
    with connection.grouping(WORKERS):
        rows = connection.rows(by_kind(schema, scope) + COUNTS, **scope.parameters)
    return tuple(counts_of(rows, selection))


def read_row(connection: Connection, statement: str, parameters: Mapping[str, object]) -> tuple[dict[str, Any], Rows]:
    """What a statement that begins with `by_kind` and has COUNTS_IN_A_ROW counts, by name; and these counts."""
    with connection.grouping(WORKERS):
        row = connection.row(statement, **parameters)._asdict()
    counts = row.pop("counts") or ()
    return row, counts


def counts_of(rows: Rows, selection: Selection) -> Iterator[KindCount]:
    """What was counted, in the order of kinds and states by name."""
    for kind, state, tokens in sorted((Kind(kind), State(state), int(tokens)) for kind, state, tokens in rows):
        yield KindCount(kind, state, tokens, selection.selects(kind, state))

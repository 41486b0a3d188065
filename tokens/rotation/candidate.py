"""The tokens that may get a successor, as a person chooses among them."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import (
    PROJECT_BOT,
    SERVICE_ACCOUNT,
    STATE_CONDITIONS,
    STATE_EXPRESSION,
    TODAY,
    Kind,
    State,
    kind_expression,
)
from tokens.gitlab.schema import TOKENS, Schema
from tokens.selection import DEFAULT_SCOPE, Selection, check_names

LARGEST_ID = 2**63 - 1

# Without the kind, which is asked last: for a bot it takes more than a row.
CANDIDATES = """
    SELECT
      t.id, t.name, {description} AS description, u.username, t.user_id, u.user_type,
      {kind} AS kind,
      {state} AS state,
      t.scopes,
      t.expires_at::text AS expires_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      {organization} AS organization_id,
      t.impersonation,
      {granular} AS granular,
      {granular_scopes} AS granular_scopes,
      {live_successor} AS live_successor
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    ORDER BY t.expires_at NULLS LAST, t.id
"""

# GitLab's own rotation leaves one as well. A successor that has a successor itself goes, and the line with it goes on.
LINE = """
        WITH RECURSIVE line AS (
          SELECT s.id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id
          UNION
          SELECT s.id, s.revoked, s.expires_at
          FROM line
          JOIN public.personal_access_tokens s ON s.previous_personal_access_token_id = line.id
        )
"""
"""All that came of the token `t` by rotations, one of another."""

LIVE_SUCCESSOR = f"""({LINE}
        SELECT max(line.id)
        FROM line
        WHERE line.revoked IS NOT TRUE
          AND (line.expires_at IS NULL OR line.expires_at > {TODAY})
      )"""  # noqa: S608 - a constant

# GitLab 18.4 and later.
GRANULAR_SCOPES = """(
        SELECT count(*)
        FROM public.personal_access_token_granular_scopes g
        WHERE g.personal_access_token_id = t.id
      )"""


OWNERS = {Kind.SERVICE_ACCOUNT: SERVICE_ACCOUNT, Kind.PROJECT: PROJECT_BOT, Kind.GROUP: PROJECT_BOT}
"""The kinds whose tokens belong to one kind of user alone: so millions of people's tokens need not be looked at."""


@dataclass(frozen=True)
class Candidate:
    """One token, and whose it is.

    `last_used_at` is ISO 8601 in UTC. `live_successor` is the one that works of the tokens that came of this one.
    `scopes` are for showing: a successor gets what is stored, whatever is read here. A `granular` token may do what its
    granular scopes allow, and `granular_scopes` is how many it has. `organization_id` is None where the release has no
    organizations.
    """

    id: int
    name: str
    description: str | None
    username: str | None
    user_id: int
    user_type: int | None
    kind: Kind
    state: State
    scopes: tuple[str, ...]
    expires_at: ExpirationDate | None
    last_used_at: str | None
    organization_id: int | None
    impersonation: bool
    granular: bool
    granular_scopes: int
    live_successor: int | None


def find(
    address: Address,
    *,
    kinds: frozenset[Kind],
    within: int | None = None,
    username: str | None = None,
    token: str | None = None,
) -> tuple[Candidate, ...]:
    """The tokens of these kinds, the soonest to expire first.

    `within` leaves those that are expired or will be in so many days; `username` those of one user, whose case does
    not matter; `token` those with this name, or the one with this id, which goes before a name of the same digits. A
    revoked token is found by `token` alone.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: there is no such user.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, preflight.ROTATE)
        if username is not None:
            check_names(connection, schema, Selection((), users=(username,)))
        terms = ["TRUE"]
        values: dict[str, object] = {"username": username, "token": token, "within": within}
        if token is None:
            terms.append(f"NOT ({STATE_CONDITIONS[State.REVOKED]})")
            if kinds <= OWNERS.keys():
                values["owners"] = sorted({OWNERS[kind] for kind in kinds})
                terms.append("u.user_type = ANY(CAST(%(owners)s AS smallint[]))")
        else:
            values["id"] = int(token) if _is_id(token) else None
            terms.append("(t.name = CAST(%(token)s AS text) OR t.id = CAST(%(id)s AS bigint))")
        if within is not None:
            terms.append(f"t.expires_at <= {TODAY} + CAST(%(within)s AS integer)")
        if username is not None:
            terms.append("lower(u.username) = lower(CAST(%(username)s AS text))")
        found = tuple(read_candidates(connection, schema, "\n      AND ".join(terms), values))
    exact = tuple(one for one in found if one.id == values.get("id"))
    return tuple(one for one in exact or found if one.kind in kinds)


def read_candidates(
    connection: Connection, schema: Schema, condition: str, values: Mapping[str, object]
) -> Iterator[Candidate]:
    """The tokens `t` of the owners `u` that fulfil `condition`, the soonest to expire first."""
    statement = CANDIDATES.format(
        description="t.description" if schema.has(TOKENS, "description") else "CAST(NULL AS text)",
        organization="t.organization_id" if schema.has(TOKENS, "organization_id") else "CAST(NULL AS bigint)",
        granular="t.granular" if schema.has(TOKENS, "granular") else "false",
        granular_scopes=GRANULAR_SCOPES if schema.has(TOKENS, "granular") else "0",
        kind=kind_expression(schema).strip(),
        state=STATE_EXPRESSION.strip(),
        live_successor=LIVE_SUCCESSOR,
        condition=condition,
    )
    for row in connection.rows(statement, **values):
        yield Candidate(
            id=row.id,
            name=row.name,
            description=row.description,
            username=row.username,
            user_id=row.user_id,
            user_type=row.user_type,
            kind=Kind(row.kind),
            state=State(row.state),
            scopes=scopes_of(row.scopes),
            expires_at=None if row.expires_at is None else ExpirationDate.stored(row.expires_at),
            last_used_at=row.last_used_at,
            organization_id=row.organization_id,
            impersonation=row.impersonation,
            granular=row.granular,
            granular_scopes=row.granular_scopes,
            live_successor=row.live_successor,
        )


@functools.cache
def scopes_of(stored: str) -> tuple[str, ...]:
    r"""The scopes that Rails has stored as YAML, symbols or texts; what is no list of texts comes back as it is.

    GitLab takes an empty list for `api`.

    >>> scopes_of("---\n- :api\n- 'read_user'\n"), scopes_of("--- []\n")
    (('api', 'read_user'), ('api',))
    """
    try:
        # The base loader makes texts of everything, tags of Ruby's included: it can neither fail on one nor run it.
        listed = yaml.load(stored, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError:
        listed = stored
    if not listed:
        return (DEFAULT_SCOPE,)
    if not isinstance(listed, list) or not all(isinstance(scope, str) for scope in listed):
        return (" ".join(stored.split()),)
    return tuple(scope.removeprefix(":") for scope in listed)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= LARGEST_ID

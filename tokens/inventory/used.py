"""Which tokens a log of their use is read for, and what the database knows of those that are in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tokens import database
from tokens.address import Address
from tokens.gitlab import preflight
from tokens.gitlab.needs import LIST
from tokens.gitlab.rate_limits import RateLimit, read_throttle
from tokens.gitlab.succession import LINE_WORKS, read_succession
from tokens.inventory.ids import CHOSEN, notes_on_ids
from tokens.inventory.token_columns import BY_NAME
from tokens.inventory.tokens import COUNT, Layout, listed
from tokens.selection import Selection, refuse_others
from tokens.selection.unmatched import check_names

MOST_KNOWN = 100_000  # tokens whose ids are kept while the log is read; of more all calls are counted first
SHOWN = ("id", "kind", "account", "owner", "name", "state", "expires_at")

# What a rotation has made of a token: whatever works, else the last.
SUCCESSORS = f"""
    SELECT t.id, found.id AS successor
    FROM public.personal_access_tokens t
    CROSS JOIN LATERAL ({{whole}}
      SELECT line.id
      FROM line
      ORDER BY ({LINE_WORKS}) DESC, line.id DESC
      LIMIT 1
    ) found
    WHERE t.id = ANY(%(ids)s) AND ({{direct}})
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class SelectedTokens:
    """The tokens that a selection means.

    Attributes:
        tokens: how many.
        ids: theirs; None where there are too many to keep.
        throttle: the instance's limit on refused calls; None where it cannot be seen.
        notes: what was named and comes to nothing, in sentences.
    """

    tokens: int
    ids: frozenset[int] | None
    throttle: RateLimit | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownToken:
    """What the database says of one; `replaced_by` is the token that came of it by rotations, None where none did."""

    id: int
    kind: str
    account: str | None
    owner: str | None
    name: str
    state: str
    expires_at: str | None
    replaced_by: int | None = None


def chosen(address: Address, selection: Selection) -> SelectedTokens:
    """The tokens of `selection`, in one snapshot; a standby will do.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist, or a kind that is no access token.
    """
    refuse_others(selection.others)
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        condition = selection.condition(schema)
        statement = f"{CHOSEN.format(condition=condition.sql)} LIMIT {MOST_KNOWN + 1}"
        ids = frozenset(row.id for row in connection.rows(statement, **condition.parameters))
        number = len(ids)
        if number > MOST_KNOWN:
            number = connection.row(COUNT.format(condition=condition.sql), **condition.parameters).tokens
        return SelectedTokens(
            number,
            ids if number <= MOST_KNOWN else None,
            read_throttle(connection, schema),
            notes_on_ids(connection, schema, selection),
        )


def known(address: Address, selection: Selection, ids: Iterable[int]) -> Mapping[int, KnownToken]:
    """Those of these tokens that are in `selection`, and what the database says of them.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    wanted = set(ids) if selection.ids is None else set(ids) & set(selection.ids)
    if not wanted:
        return {}
    narrowed = replace(selection, ids=tuple(sorted(wanted)))
    with listed(address, narrowed, Layout(tuple(BY_NAME[name] for name in SHOWN), sort="id")) as listing:
        found = {row[0]: KnownToken(*row) for row in listing.rows}
    for token_id, successor in _successors(address, found).items():
        found[token_id] = replace(found[token_id], replaced_by=successor)
    return found


def _successors(address: Address, ids: Iterable[int]) -> Mapping[int, int]:
    with database.reading(address) as connection:
        succession = read_succession(connection, preflight.check(connection, LIST))
        if succession is None:
            return {}
        statement = SUCCESSORS.format(whole=succession.whole, direct=" OR ".join(succession.direct))
        return {row.id: row.successor for row in connection.rows(statement, ids=list(ids))}

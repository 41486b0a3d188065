"""Whose tokens are these: what GitLab knows of a token whose text somebody has.

The text stays here. What goes to the database is what GitLab keeps instead: a digest, or the token encrypted.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.credentials import BY_KIND, OtherKind
from tokens.gitlab.digest import Keys
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp, clean_up
from tokens.gitlab.needs import WHOSE, Needs
from tokens.gitlab.plaintext import read_prefix
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.schema import Schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.sealed import sealed
from tokens.gitlab.settings import read_policy
from tokens.gitlab.succession import read_succession
from tokens.gitlab.token_text import LONGEST, TextKind, is_damaged, kind_of, user_of_feed
from tokens.inventory import credentials
from tokens.inventory import token_columns as columns
from tokens.inventory.credentials import MISSING, Others
from tokens.secret import Secret
from tokens.selection import EVERY_KIND, EVERY_STATE, Selection

COLUMNS = (
    "id",
    "kind",
    "account",
    "owner",
    "place_id",
    "name",
    "state",
    "scopes",
    "expires_at",
    "in_days",
    "created_at",
    "last_used_at",
    "ips",
    "membership_ends_at",
    "clean_up_at",
    "warned",
    "flags",
    "description",
    "owner_state",
)
"""Those of `list`, by which a token is described; `replaced_by` comes behind them."""

GUESS = "?"
"""How a line begins by which a scan sends what may be any text into a container; no token has it in it."""

SEALED_KINDS = tuple(kind for kind in OtherKind if BY_KIND[kind].sealed)

# By GitLab's unique index on the digest; which of the digests it is says the place.
LOOK_UP = """
    SELECT
      array_position(CAST(%(digests)s AS text[]), CAST(t.token_digest AS text)) - 1 AS place,
      {columns}
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    {joins}
    WHERE t.token_digest = ANY(CAST(%(digests)s AS text[]))
"""

REPLACED_BY = """ARRAY({whole}
        SELECT line.id
        FROM line
        ORDER BY line.id
      )"""


@dataclass(frozen=True)
class Answer:
    """What is known of one text.

    Attributes:
        looks_like: the name of the kind that its prefix tells (see `gitlab.token_text`); None for none.
        facts: the columns of COLUMNS, and `replaced_by`; None where GitLab does not know it.
        why: why it is not known, as a sentence's end; empty where it is.
    """

    looks_like: str | None
    facts: Mapping[str, Any] | None = None
    why: str = ""


@dataclass(frozen=True)
class Identified:
    """What is known of several texts, in their order.

    Attributes:
        answers: one for each text.
        notes: what could not be looked at, in sentences.
        prefixes: what this instance's access tokens begin with.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    prefixes: tuple[str, ...]


@dataclass
class _Search:
    """The texts, and what was found by their numbers: a text may be there twice."""

    keys: Keys
    texts: Sequence[Secret]
    found: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def take(self, wanted: Mapping[str, Sequence[int]], rows: Iterator[tuple[int, Mapping[str, Any]]]) -> None:
        """Keep the rows; each says which value of `wanted` it was found by, and that the texts whose value that is."""
        values = list(wanted)
        for place, row in rows:
            for number in wanted[values[place]]:
                self.found.setdefault(number, row)


def whose(
    address: Address,
    keys: Keys,
    texts: Sequence[Secret],
    *,
    guesses: Collection[int] = (),
    release: str | None = None,
    ci: Address | None = None,
) -> Identified:
    """What GitLab knows of the tokens with these texts, in one snapshot; a standby will do.

    Args:
        address: GitLab's main database.
        keys: the instance's, under each of which it looks for a token.
        texts: the tokens, some thousands at most.
        guesses: the places of those that may be any text: they are looked for among access tokens alone, which costs
            next to nothing.
        release: GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.
        ci: GitLab's ci database, where it has one of its own.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
    """
    search = _Search(keys, texts)
    with database.reading(address) as connection:
        schema = preflight.check(connection, WHOSE)
        prefix = read_prefix(connection, schema)
        policy = read_policy(connection, schema)
        notes = [preflight.hidden_rows(connection, WHOSE)]
        estimate = read_release(connection, schema)
        rule = clean_up(release, estimate) if policy.inactive_days is not None else None
        kinds = [kind_of(text, (prefix,)) for text in texts]
        usual = [number for number, text in enumerate(texts) if 0 < len(text.reveal()) <= LONGEST]
        digests: dict[str, list[int]] = {}
        for number in usual:
            for digest in keys.digests(texts[number]):
                digests.setdefault(digest, []).append(number)
        if digests:
            least = least_of(release, estimate)
            search.take(digests, _access_tokens(connection, schema, list(digests), rule, policy.inactive_days, least))
        likely = [number for number in usual if number not in guesses]
        notes += _look_for_others(connection, schema, ci, search, kinds, likely)
    answers = (
        Answer(
            kind.name if kind else None,
            search.found.get(number),
            "" if number in search.found else _why_not(texts[number], kind),
        )
        for number, kind in enumerate(kinds)
    )
    return Identified(tuple(answers), tuple(filter(None, notes)), tuple(filter(None, [prefix])))


def _access_tokens(
    connection: Connection,
    schema: Schema,
    digests: list[str],
    rule: CleanUp | None,
    inactive_days: int | None,
    release: tuple[int, int] | None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    flags = columns.flags(connection, schema, rule, release)
    known = columns.expressions(schema, flags.sql, rule, release)
    succession = read_succession(connection, schema)
    replaced_by = REPLACED_BY.format(whole=succession.whole) if succession else "CAST('{}' AS bigint[])"
    shown = {**{name: known[name].sql for name in COLUMNS}, "replaced_by": replaced_by}
    listed = ",\n      ".join(f"{sql.strip()} AS {name}" for name, sql in shown.items())
    statement = LOOK_UP.format(columns=listed, joins=columns.joins(listed, rule))
    parameters = {**flags.parameters, "digests": digests}
    if "clean_up." in statement:
        parameters["inactive_days"] = inactive_days
    for row in connection.rows(statement, **parameters):
        facts = row._asdict()
        place = facts.pop("place")
        facts["scopes"] = list(scopes_of(facts["scopes"]))
        if facts["expires_at"] is not None:
            facts["expires_at"] = str(ExpirationDate.stored(facts["expires_at"]))
        yield place, facts


def _look_for_others(
    connection: Connection,
    schema: Schema,
    ci: Address | None,
    search: _Search,
    kinds: Sequence[TextKind | None],
    likely: Sequence[int],
) -> list[str | None]:
    """Look for what GitLab encrypts: a text with the prefix of such a kind, and one with none, which may be older."""
    wanted: dict[OtherKind, dict[str, list[int]]] = {}
    for number in likely:
        kind = kinds[number]
        if number in search.found or (kind is not None and kind.other is None):
            continue
        for text in sealed(search.texts[number], search.keys):
            for other in SEALED_KINDS if kind is None else (kind.other,):
                if other is not None:
                    wanted.setdefault(other, {}).setdefault(text, []).append(number)
    if not wanted:
        return []
    selection = Selection((), kinds=EVERY_KIND, states=EVERY_STATE, others=frozenset(wanted))
    with credentials.named(connection, schema, ci, selection) as others:
        _leave_out_closed(others)
        for other in others.sources:
            search.take(wanted[other], _described(others, other, list(wanted[other])))
        # Where no kind is named by a prefix, what cannot be read is no news.
        named = {kind.other for kind in kinds if kind is not None}
        others.unseen = {other: why for other, why in others.unseen.items() if other in named}
        return list(others.notes)


def _leave_out_closed(others: Others) -> None:
    """Leave out the kinds whose encrypted token this role may not compare."""
    for kind, source in list(others.sources.items()):
        needs = Needs(reads={BY_KIND[kind].table: (BY_KIND[kind].sealed,)})
        if preflight.missing_privileges(source.connection, needs):
            role = preflight.read_state(source.connection).role
            grants = to_type("to print what it takes", "doctor", "--grants", role)
            others.unseen[kind] = f'Role "{role}" lacks privileges.{grants}'
            del others.sources[kind]


def _described(others: Others, kind: OtherKind, texts: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for place, values in others.with_token(kind, COLUMNS, texts):
        facts = dict(zip(COLUMNS, (None if value is MISSING else value for value in values), strict=True))
        yield place, {**facts, "replaced_by": []}


def _why_not(text: Secret, kind: TextKind | None) -> str:
    if len(text.reveal()) > LONGEST:
        return "it is longer than any token of GitLab's"
    if is_damaged(text):
        return "its checksum does not belong to it: a character is wrong, or one is missing"
    if kind is None:
        return "this GitLab has no token like that"
    if kind.why:
        user = user_of_feed(text)
        return f"{kind.why}; it names the user with id {user}" if user is not None else kind.why
    return f"it has the form of {kind.shown}, and this GitLab has none like that: of another one, or deleted"

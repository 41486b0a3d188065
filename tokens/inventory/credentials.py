"""Credentials that are no access tokens: which there are and how many end when, from one database or from two.

What GitLab keeps of CI is in a database of its own on some instances. Only the main database knows whose something is,
so that is looked up there, some rows at once.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.database import Connection, array_literal
from tokens.errors import Refused, StatementTimeout, TokensError, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.condition import pattern
from tokens.gitlab.credentials import BY_KIND, OTHERS, Credential, OtherKind
from tokens.gitlab.kind import State
from tokens.gitlab.places import NAMED_USERS
from tokens.gitlab.schema import Schema, read_schema
from tokens.inventory.credential_columns import LOOKED_UP, OF_A_PERSON, Words
from tokens.selection import DateRange, Selection

AT_ONCE = 2000  # rows in one round trip
WHILE_MAIN_IS_READ = "1h"  # for which the ci database may not be asked anything
PATIENCE = 0.3  # seconds for all numbers that were not asked for

# GitLab locks the tables that it keeps in another database against being written.
KEPT = """
    SELECT
      c.relname AS name,
      c.reltuples AS rows,
      row_security_active(c.oid) AS hides,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger g
        WHERE g.tgrelid = c.oid AND g.tgname = 'gitlab_schema_write_trigger_for_' || c.relname AND g.tgenabled <> 'D'
      ) AS elsewhere
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    WHERE c.relname = ANY(CAST(%(tables)s AS text[]))
"""

PEOPLE = """
    SELECT u.id, u.username, u.state{email}
    FROM public.users u
    WHERE u.id = ANY(CAST(%(ids)s AS bigint[]))
"""

PATHS = """
    SELECT r.source_type, r.source_id, r.path
    FROM public.routes r
    WHERE (r.source_type = 'Project' AND r.source_id = ANY(CAST(%(projects)s AS bigint[])))
      OR (r.source_type = 'Namespace' AND r.source_id = ANY(CAST(%(groups)s AS bigint[])))
"""

ELSEWHERE = (
    "GitLab keeps that in a ci database of its own, which is found where its database.yml is: run this there, or with "
    "--target docker:… or kubernetes:…"
)


class Missing:
    """The value of a column that a kind does not have: nothing in every output."""


MISSING = Missing()


@dataclass(frozen=True)
class Source:
    """Where a kind's rows are: a database, what its tables have, and about how many rows these are."""

    connection: Connection
    schema: Schema
    rows: Mapping[str, float]


@dataclass
class Others:
    """The credentials that a selection means beside tokens, as long as its block is open.

    `unseen` says of each kind that cannot be read why not.
    """

    main: Connection
    schema: Schema
    selection: Selection
    kinds: tuple[OtherKind, ...]
    sources: dict[OtherKind, Source] = field(default_factory=dict)
    unseen: dict[OtherKind, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be seen, in one sentence for each reason."""
        by_reason: dict[str, list[str]] = {}
        for kind, reason in self.unseen.items():
            by_reason.setdefault(reason, []).append(kind.value)
        undated = [
            f"{kind}: GitLab before {BY_KIND[kind].dated_since} gives them no date."
            for kind, source in self.sources.items()
            if BY_KIND[kind].dated_since and not BY_KIND[kind].known(source.schema, BY_KIND[kind].expires)
        ]
        return (*(f"Not read: {', '.join(kinds)}. {reason}" for reason, kinds in by_reason.items()), *undated)

    def narrowed(self, days: DateRange) -> "Others":
        """Those of them that work and end in these days."""
        return replace(self, selection=_narrowed(self.selection, days))

    def each(self, asked: Callable[[Words], str], rest: str = "") -> Iterator[tuple[OtherKind, Any]]:
        """What `asked` wants to know of the kinds, row by row: SQL of a SELECT's list, and what follows its WHERE."""
        for kind, source in self.sources.items():
            words = Words(BY_KIND[kind], source.schema)
            sql, parameters = self._condition(words)
            statement = words.statement(asked(words), sql, rest)
            yield from ((kind, row) for row in source.connection.rows(statement, **parameters))

    def count(self) -> int:
        """How many there are."""
        return sum(int(row.number) for _, row in self.each(lambda _: "count(*) AS number"))

    def streams(
        self, names: Sequence[str], sort: str, descending: bool, first: int | None
    ) -> list[Iterator[tuple[Any, list[Any]]]]:
        """The rows of each kind in the order of `sort`, with what it is by, none of more than `first`."""
        return [self._stream(kind, names, sort, descending, first) for kind in self.sources]

    def with_token(
        self, kind: OtherKind, names: Sequence[str], sealed: Sequence[str]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Those of a kind whose token GitLab has encrypted as one of these: which of them it is, and its row."""
        source = self.sources[kind]
        column = f"t.{BY_KIND[kind].sealed}"
        if not source.schema.has(BY_KIND[kind].table, BY_KIND[kind].sealed):
            return
        sql, parameters = self._condition(Words(BY_KIND[kind], source.schema))
        yield from self._found(
            kind,
            names,
            f"array_position(CAST(%(sealed)s AS text[]), CAST({column} AS text)) - 1",
            f"{sql}\n      AND {column} = ANY(CAST(%(sealed)s AS text[]))",
            "ORDER BY t.id",
            {**parameters, "sealed": list(sealed)},
        )

    def _stream(
        self, kind: OtherKind, names: Sequence[str], sort: str, descending: bool, first: int | None
    ) -> Iterator[tuple[Any, list[Any]]]:
        words = Words(BY_KIND[kind], self.sources[kind].schema)
        sql, parameters = self._condition(words)
        rest = f"ORDER BY sort_key {'DESC' if descending else 'ASC'} NULLS LAST, t.id"
        if first is not None:
            rest += "\n    LIMIT CAST(%(others_first)s AS bigint)"
            parameters = {**parameters, "others_first": first}
        return self._found(kind, names, words.sorted_by(sort), sql, rest, parameters)

    def _found(
        self,
        kind: OtherKind,
        names: Sequence[str],
        key: str,
        condition: str,
        rest: str,
        parameters: Mapping[str, object],
    ) -> Iterator[tuple[Any, list[Any]]]:
        """The rows of a kind that fulfil a condition, each behind the key that is asked for."""
        source = self.sources[kind]
        words = Words(BY_KIND[kind], source.schema)
        own = [name for name in names if name not in LOOKED_UP]
        columns = [
            *(f"{words.shown(name)} AS {name}" for name in own),
            f"{words.user} AS user_id",
            f"{words.creator} AS creator_id",
            "own.projects[1] AS project_id",
            "own.groups[1] AS group_id",
            "cardinality(own.projects) + cardinality(own.groups) AS places",
            f"{words.without_place} AS without_place",
            f"{key} AS sort_key",
        ]
        statement = words.statement(",\n      ".join(columns), condition, rest)
        looked_up = [(place, name) for place, name in enumerate(names) if name in LOOKED_UP]
        unknown = own.index("last_used_at") if "last_used_at" in own and not BY_KIND[kind].last_used else None
        rows = source.connection.stream(statement, AT_ONCE, **parameters)
        while page := list(itertools.islice(rows, AT_ONCE)):
            owners = self._owners(page, names)
            for row in page:
                values = list(row[: len(own)])
                if unknown is not None:
                    values[unknown] = MISSING
                for place, name in looked_up:
                    values.insert(place, owners.value(BY_KIND[kind], row, name))
                yield row.sort_key, values

    def _owners(self, page: Sequence[Any], names: Sequence[str]) -> "Owners":
        """Whose the rows of a page are, from the main database."""
        if not LOOKED_UP.intersection(names):
            return Owners({}, {})
        ids = {row.user_id for row in page} | {row.creator_id for row in page if "created_by" in names}
        people = PEOPLE.format(email=", u.email" if "email" in names else "")
        projects = {row.project_id for row in page} - {None}
        groups = {row.group_id for row in page} - {None}
        found = self.main.rows(people, ids=array_literal(ids - {None})) if ids - {None} else []
        places = {"projects": array_literal(projects), "groups": array_literal(groups)}
        routes = self.main.rows(PATHS, **places) if projects | groups else []
        return Owners(
            {row.id: row for row in found}, {(row.source_type == "Project", row.source_id): row.path for row in routes}
        )

    def _condition(self, words: Words) -> tuple[str, dict[str, object]]:
        selection, credential = self.selection, words.credential
        terms = list(credential.known(words.schema, credential.only))
        values: dict[str, object] = {}
        if len(selection.states) < len(State):
            terms.append(_any(words.is_in(state) for state in State if state in selection.states))
        if selection.expires:
            terms.append(_any(_ends_in(words, days, number, values) for number, days in enumerate(selection.expires)))
        if selection.name is not None:
            terms.append(f"{words.text['name']} LIKE CAST(%(name)s AS text)")
            values["name"] = pattern(selection.name)
        if selection.never_used:
            terms.append(f"{words.last_used} IS NULL")
        for option, column, is_before in (
            ("last_used_before", words.last_used, True),
            ("last_used_after", words.last_used, False),
            ("created_before", "CAST(t.created_at AS timestamptz)", True),
            ("created_after", "CAST(t.created_at AS timestamptz)", False),
        ):
            day = getattr(selection, option)
            if day is not None:
                values[option] = f"{day} 00:00+00"
                term = f"{column} {'<' if is_before else '>='} CAST(%({option})s AS timestamptz)"
                terms.append(f"({column} IS NULL OR {term})" if option == "last_used_before" else term)
        terms.extend(self._owner_terms(words, values))
        return "\n      AND ".join(terms) or "true", values

    def _owner_terms(self, words: Words, values: dict[str, object]) -> Iterator[str]:
        selection, credential = self.selection, words.credential
        has_places = selection.groups or selection.projects
        if not (selection.users or has_places):
            return
        values |= {name: array_literal(ids) for name, ids in self._named.items()}
        terms = []
        if selection.users and credential.user:
            terms.append(f"{words.user} = ANY(CAST(%(users)s AS bigint[]))")
        if has_places and credential.projects:
            terms.append("own.projects && CAST(%(projects)s AS bigint[])")
        if has_places and credential.groups:
            terms.append("own.groups && CAST(%(groups)s AS bigint[])")
        yield _any(terms)

    @cached_property
    def _named(self) -> dict[str, set[int]]:
        """The ids of the users, groups and projects that the selection names."""
        users = NAMED_USERS.format(users="CAST(%(users)s AS text[])")
        named = self.selection.places(self.schema)
        has_places = self.selection.groups or self.selection.projects
        places = self.main.rows(named.sql, **named.parameters) if has_places else []
        return {
            "users": {row.id for row in self.main.rows(users, users=list(self.selection.users))},
            "groups": {row.id for row in places if row.source_type == "Namespace"},
            "projects": {row.id for row in places if row.source_type == "Project"},
        }


@dataclass(frozen=True)
class Owners:
    """Whose some rows are: users by their ids, and paths by whether they are a project's and by its id."""

    people: Mapping[int, Any]
    paths: Mapping[tuple[bool, int], str]

    def value(self, credential: Credential, row: Any, name: str) -> Any:
        """What a row has in this of the columns that are looked up."""
        if name == "owner":
            return self._owner(credential, row) or MISSING
        person = self.people.get(row.creator_id if name == "created_by" else row.user_id)
        return MISSING if person is None else getattr(person, OF_A_PERSON[name])

    def _owner(self, credential: Credential, row: Any) -> str | None:
        """The username, or the full path of the project or group; of several the oldest one's."""
        if credential.user and not (credential.projects or credential.groups):
            person = self.people.get(row.user_id)
            return None if person is None else person.username
        path = self.paths.get((True, row.project_id)) or self.paths.get((False, row.group_id))
        if path is None:
            return None if row.without_place is None else str(row.without_place)
        return f"{path} and {row.places - 1} more" if row.places > 1 else path


@contextmanager
def named(connection: Connection, schema: Schema, ci: Address | None, selection: Selection) -> Iterator[Others]:
    """The credentials of the selection's other kinds, beside the tokens that `connection` reads.

    Args:
        connection: GitLab's main database, in the transaction of the tokens.
        schema: its tables.
        ci: GitLab's ci database, where it has one of its own.
        selection: which of them.

    Raises:
        UsageError: an option that means nothing for one of the kinds.
        Refused: none of them can be read.
    """
    kinds = tuple(kind for kind in OtherKind if kind in selection.others)
    for kind in kinds:
        option = without_meaning(selection, BY_KIND[kind])
        if option:
            raise UsageError(f"--{option} says nothing about --kind {kind}: leave one of them out.")
    with _opened(connection, schema, ci, selection, kinds) as found:
        if kinds and not found.sources and not selection.kinds:
            raise Refused(" ".join(found.notes))
        yield found


def coming(
    connection: Connection,
    schema: Schema,
    ci: Address | None,
    selection: Selection,
    days: DateRange | None = None,
    leave_out: Iterable[OtherKind] = (),
) -> dict[OtherKind, int | None]:
    """How many credentials of each other kind have a date and fulfil the selection, None for what is not seen at once.

    A kind for which an option means nothing is left out. With `days` those count that work and end in these.
    """
    kinds = tuple(
        kind
        for kind, credential in BY_KIND.items()
        if kind not in leave_out and credential.expires and without_meaning(selection, credential) is None
    )
    wanted = selection if days is None else _narrowed(selection, days)
    counts: dict[OtherKind, int | None] = dict.fromkeys(kinds)
    with _opened(connection, schema, ci, wanted, kinds) as found:
        end = time.monotonic() + PATIENCE
        for kind in sorted(found.sources, key=lambda kind: found.sources[kind].rows[BY_KIND[kind].table]):
            source = found.sources[kind]
            one = Others(connection, schema, wanted, (kind,), {kind: source})
            left = max(int((end - time.monotonic()) * 1000), 1)
            try:
                with source.connection.transaction(statement_timeout=f"{left}ms"):
                    for _, row in one.each(lambda words: f"count({words.moment}) AS number"):
                        counts[kind] = int(row.number)
            except StatementTimeout:
                continue
    return counts


def without_meaning(selection: Selection, credential: Credential) -> str | None:
    """The first option of the selection that means nothing for a kind."""
    places = selection.groups or selection.projects
    meant = (selection.users and credential.user) or (places and (credential.projects or credential.groups))
    owner = "user" if selection.users else "group" if selection.groups else "project"
    found = {
        "ids": selection.ids is not None,
        "scope": selection.scopes,
        "owner-state": selection.owner_states,
        "beyond-maximum": selection.beyond_maximum,
        "no-membership": selection.no_membership,
        "never-used": selection.never_used and not credential.last_used,
        "last-used-before": selection.last_used_before and not credential.last_used,
        "last-used-after": selection.last_used_after and not credential.last_used,
        owner: (selection.users or places) and not meant,
    }
    return next((option for option, given in found.items() if given), None)


@contextmanager
def _opened(
    connection: Connection, schema: Schema, ci: Address | None, selection: Selection, kinds: Sequence[OtherKind]
) -> Iterator[Others]:
    found = Others(connection, schema, selection, tuple(kinds))
    in_ci = [kind for kind in kinds if BY_KIND[kind].in_ci] if ci is not None else []
    with ExitStack() as stack:
        _look_at(found, connection, [kind for kind in kinds if kind not in in_ci], is_main=True)
        if ci is not None and in_ci:
            try:
                other = stack.enter_context(database.reading(ci))
                other.set_locally(idle_in_transaction_session_timeout=WHILE_MAIN_IS_READ)
                _look_at(found, other, in_ci, is_main=False)
            except TokensError as error:
                found.unseen |= dict.fromkeys(in_ci, str(error))
        found.sources = {kind: found.sources[kind] for kind in kinds if kind in found.sources}
        yield found


def _look_at(found: Others, connection: Connection, kinds: Sequence[OtherKind], *, is_main: bool) -> None:
    """Find out which of the kinds can be read here, and why others cannot."""
    if not kinds:
        return
    try:
        preflight.check_code(connection, OTHERS)
    except Refused as refusal:
        found.unseen |= dict.fromkeys(kinds, str(refusal))
        return
    tables = list(OTHERS.reads)
    schema = read_schema(connection, tables)
    kept = {row.name: row for row in connection.rows(KEPT, tables=tables)}
    lacking = {one.table for one in preflight.missing_privileges(connection, OTHERS)}
    role = preflight.read_state(connection).role
    source = Source(connection, schema, {name: row.rows for name, row in kept.items()})
    for kind in kinds:
        credential = BY_KIND[kind]
        asked = credential.needs.reads
        strange = [why for name, why in schema.strange.items() if name.partition(".")[0] in asked]
        hidden = [table for table in asked if table in kept and kept[table].hides]
        if strange:
            found.unseen[kind] = strange[0]
        elif credential.table not in schema.columns or kept[credential.table].elsewhere:
            found.unseen[kind] = ELSEWHERE if credential.in_ci and is_main else f"No table {credential.table} is here."
        elif lacking.intersection(asked):
            grants = to_type("to print what it takes", "doctor", "--grants", role)
            found.unseen[kind] = f'Role "{role}" lacks privileges.{grants}'
        elif hidden:
            found.unseen[kind] = f'Row-level security may hide rows of {", ".join(hidden)} from role "{role}".'
        else:
            found.sources[kind] = source


def _narrowed(selection: Selection, days: DateRange) -> Selection:
    return replace(selection, expires=(days,), states=frozenset({State.ACTIVE}))


def _ends_in(words: Words, days: DateRange | None, number: int, values: dict[str, object]) -> str:
    """Whether it ends on one of these days in UTC; None is never."""
    if days is None:
        return f"{words.moment} IS NULL"
    terms = [f"{words.moment} IS NOT NULL"]
    if days.from_now:
        terms.append(f"{words.moment} > now()")
    elif days.first.is_finite:
        values[f"first_{number}"] = f"{days.first.literal} 00:00+00"
        terms.append(f"{words.moment} >= CAST(%(first_{number})s AS timestamptz)")
    if days.last.is_finite:
        values[f"after_{number}"] = f"{(days.last + 1).literal} 00:00+00"
        terms.append(f"{words.moment} < CAST(%(after_{number})s AS timestamptz)")
    return f"({' AND '.join(terms)})"


def _any(terms: Iterable[str]) -> str:
    found = list(terms)
    return f"({' OR '.join(found)})" if len(found) > 1 else "".join(found) or "false"

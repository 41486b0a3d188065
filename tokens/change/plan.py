"""What a change will do, frozen before anybody is asked: the exact tokens, their old and new dates, and the notes."""

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain
from operator import itemgetter
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.change.change import Change, Move
from tokens.change.chunks import CHUNK, Chunk, TokenIds, moves_of, without
from tokens.change.facts import Facts, read_facts_and_counts, read_superseded
from tokens.change.kinds import WORKERS, KindCount
from tokens.change.notes import Concern, Note, left_out_superseded, notes, notes_on_ids
from tokens.change.revocation import notes_on_ends, read_ends_and_counts
from tokens.errors import UsageError
from tokens.gitlab import preflight
from tokens.gitlab.background_migration import read_background_migration
from tokens.gitlab.condition import Condition
from tokens.gitlab.expiration import FURTHEST, ExpirationDate
from tokens.gitlab.inactive_bots import clean_up
from tokens.gitlab.kind import State, once
from tokens.gitlab.membership import MembershipRule, rule_of
from tokens.gitlab.needs import CHANGE
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.gitlab.succession import why_unknown
from tokens.selection import Selection, refuse_everything, refuse_others
from tokens.selection.unmatched import check_names, ids_without_effect, why_nothing

# By date, and by ids that differ in their last 16 bits alone: of each two bytes, how far it lies from their middle.
# They are sorted here, which is quicker than there.
IDS = """
    SELECT
      CAST(t.expires_at AS text) AS expires_at,
      t.id >> 16 AS block,
      encode(string_agg(int2send(CAST((t.id & 65535) - 32768 AS smallint)), ''), 'hex') AS distances
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY t.expires_at, t.id >> 16
"""


class RunKind(StrEnum):
    """The task that a change was asked of."""

    EDIT = "edit"
    EXTEND = "extend"
    REMOVE = "remove"
    REVOKE = "revoke"
    UNDO = "undo"
    ROTATE = "rotate"

    def to_take_back(self, run: int, *, four_eyes: bool = False) -> str:
        """The end of a message: what to type to take such a run back; empty where `undo` refuses it.

        `four_eyes` is whether one person may only plan that.
        """
        if self in (RunKind.UNDO, RunKind.ROTATE):
            return ""
        plan = ("--plan",) if four_eyes else ()
        if self is RunKind.REVOKE:
            return to_type("to revive these tokens", "undo", "--run", run, "--allow", "reviving", *plan)
        return to_type("to take it back", "undo", "--run", run, *plan)


@dataclass(frozen=True)
class Options:
    """How a change treats what belongs to the tokens: whether memberships are moved, and notices re-armed."""

    memberships: bool = True
    notices: bool = True


@dataclass(frozen=True)
class Treatment:
    """What a run does to what belongs to its tokens: the rule to move memberships, and whether notices are re-armed."""

    memberships: MembershipRule | None = None
    notices: bool = False


@dataclass(frozen=True)
class Plan:
    """One change, ready to run.

    `chunks` hold exactly the tokens that the selection found when the plan was made, in the order in which they are
    changed. `memberships` and `notices` are how the run treats what belongs to them, None and False where there is
    nothing to do today, and `asked` what was asked for, where that may be more. `undoes` is the run whose old values
    are put back, and `stored` the run that the journal has it under where it was read from there. `release` is GitLab's
    version, or what the database tells of it. Where a caller from Python may keep the plan, `database` is the one of
    which it is, as `read_identity` has it, and `made_at` when it was made.
    """

    kind: RunKind
    selection: Mapping[str, Any]
    change: Change
    chunks: tuple[Chunk, ...]
    counts: tuple[KindCount, ...] = ()
    notes: tuple[Note, ...] = ()
    memberships: MembershipRule | None = None
    notices: bool = False
    asked: Treatment | None = None
    undoes: int | None = None
    stored: int | None = None
    release: str | None = None
    database: str | None = None
    made_at: datetime | None = field(default=None, compare=False)

    @property
    def planned_in(self) -> int | None:
        """The run in which its tokens were chosen; None where that is just now."""
        return self.undoes or self.stored

    @property
    def is_undo(self) -> bool:
        """Whether it puts back what another run has changed."""
        return self.kind is RunKind.UNDO

    @property
    def tokens(self) -> int:
        """How many tokens the plan changes."""
        return sum(len(chunk.ids) for chunk in self.chunks)

    @property
    def moves(self) -> tuple[Move, ...]:
        """How many tokens go from which date to which, in the plan's order."""
        return moves_of(self.chunks)

    def as_needed(self, facts: Facts) -> "Plan":
        """The same, without what there is nothing to do for: it makes a run slower."""
        return replace(
            self,
            memberships=self.memberships if facts.bots_ending_before else None,
            notices=self.notices and facts.warned > 0,
            asked=Treatment(self.memberships, self.notices),
        )

    def as_asked(self) -> "Plan":
        """The same for another day: more memberships may end too early by then, and more notices have been sent."""
        if self.asked is None:
            return self
        return replace(self, memberships=self.asked.memberships, notices=self.asked.notices)

    def without(self, ids: Collection[int]) -> "Plan":
        """The same but for the tokens with these ids."""
        return replace(self, chunks=tuple(without(self.chunks, ids)))


def read_current_policy(address: Address) -> Policy:
    """The instance's policy on lifetimes as it is now, and the server's date."""
    with database.reading(address) as connection:
        return read_policy(connection, preflight.check(connection, CHANGE))


def make_plan(
    address: Address,
    kind: RunKind,
    selection: Selection,
    change: Change,
    *,
    options: Options = Options(),
    release: str | None = None,
) -> Plan:
    """Find the tokens of `selection` and what is to be noted about `change`. Changes nothing.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist, a kind that is no token's, or a new date that
            PostgreSQL cannot hold, or that lies after the year 9999.
    """
    refuse_others(sorted(selection.others))
    if change.revokes:
        refuse_everything(selection)
    with database.reading(address) as connection:
        schema = preflight.check(connection, change.needs)
        check_names(connection, schema, selection)
        policy = read_policy(connection, schema)
        condition = selection.condition(schema)
        left_out: tuple[int, ...] = ()
        if not selection.superseded:
            left_out = read_superseded(connection, schema, condition, change.expression(), policy)
            condition = condition.without(left_out)
        chunks = tuple(_chunks(list(_read_ids(connection, condition)), change))
        estimate = read_release(connection, schema)
        treatment = Treatment()
        if not change.revokes:
            rule = rule_of(release or estimate) if options.memberships else None
            treatment = Treatment(rule, options.notices)
        bots = clean_up(release, estimate)
        migration = read_background_migration(connection, schema)
        facts = Facts()
        if change.revokes:
            ends, counts = read_ends_and_counts(connection, schema, selection, policy, bots)
            found = notes_on_ends(moves_of(chunks), ends, policy, bots)
        else:
            facts, counts = read_facts_and_counts(
                connection, schema, selection, left_out, change, policy, migration, bots, least_of(release, estimate)
            )
            found = notes(
                moves_of(chunks),
                facts,
                policy,
                memberships=treatment.memberships,
                notices=treatment.notices,
                clean_up=bots,
                options=kind is not RunKind.EDIT,
                asked=kind is RunKind.EDIT,
            )
        more: list[Note] = []
        if kind is RunKind.EDIT:
            counts = ()
        else:
            more += _notes_on_selection(connection, schema, selection, chunks, counts, left_out, revokes=change.revokes)
        more += read_gaps(connection, schema)
    return Plan(
        kind,
        # Who reads it later does not know which kinds are meant where none is named.
        {**selection.as_dict(), "kind": selection.kinds_meant},
        change,
        chunks,
        # No option takes in what is revoked already.
        tuple(one for one in counts if not (change.revokes and one.state is State.REVOKED)),
        (*found, *more),
        treatment.memberships,
        treatment.notices,
        release=release or estimate,
    ).as_needed(facts)


def read_gaps(connection: database.Connection, schema: Schema) -> list[Note]:
    """The notes on what cannot be known as this role: rows that may be hidden, and rotations."""
    texts = {
        Concern.HIDDEN_ROWS: preflight.hidden_rows(connection, CHANGE),
        Concern.UNKNOWN_SUPERSEDED: why_unknown(connection, schema),
    }
    return [Note(concern, text, 0) for concern, text in texts.items() if text]


def _notes_on_selection(
    connection: database.Connection,
    schema: Schema,
    selection: Selection,
    chunks: Sequence[Chunk],
    counts: Sequence[KindCount],
    superseded: Sequence[int],
    *,
    revokes: bool,
) -> Iterator[Note]:
    """What was named and comes to nothing, and the tokens left out that are `superseded`."""
    chosen = (one for chunk in chunks for one in chunk.ids)
    unknown, left_out = ids_without_effect(connection, selection, chain(chosen, superseded))
    yield from notes_on_ids(len(selection.ids or ()), unknown, left_out, revokes=revokes)
    if superseded:
        yield left_out_superseded(superseded)
    if chunks or superseded:
        return
    text = why_nothing(connection, schema, selection, left_out=any(one.tokens for one in counts))
    yield Note(Concern.NOTHING_SELECTED, text, 0)


def _read_ids(
    connection: database.Connection, condition: Condition
) -> Iterator[tuple[ExpirationDate | None, TokenIds]]:
    """The ids of the selection, CHUNK of one old date at a time, in ascending order; those without a date come last."""
    found: defaultdict[bytes, list[tuple[int, array[int]]]] = defaultdict(list)
    with connection.grouping(WORKERS):
        # As COPY writes them, one date and block at a time in memory.
        for row in connection.stream_csv(once(IDS.format(condition=condition.sql)), **condition.parameters):
            day, block, distances = row.split(b",", 2)
            middle = (int(block) << 16) + 32768
            found[day].append((middle, _sorted(bytes.fromhex(distances.decode()))))
    days = {day: ExpirationDate.stored(day.decode()) for day in found if day}
    for day in (*sorted(days, key=days.__getitem__), b""):
        for ids in _cut(sorted(found.pop(day, ()), key=itemgetter(0), reverse=True)):
            yield days.get(day), ids


def _sorted(numbers: bytes) -> "array[int]":
    """Signed numbers of two bytes each, as a server sends them."""
    read = array("h", numbers)
    if sys.byteorder == "little":
        read.byteswap()
    return array("h", sorted(read))


def _cut(blocks: list[tuple[int, "array[int]"]]) -> Iterator[TokenIds]:
    """The ids of these blocks, the last of them first, CHUNK at a time; `blocks` is emptied, to spare memory."""
    rest: list[int] = []  # what is left of the blocks before, too few for a chunk
    while blocks:
        middle, distances = blocks.pop()
        start = 0
        if rest:
            start = min(CHUNK - len(rest), len(distances))
            rest += [middle + distance for distance in distances[:start]]
            if len(rest) == CHUNK:
                yield TokenIds(rest)
                rest = []
        whole = len(distances) - (len(distances) - start) % CHUNK
        for position in range(start, whole, CHUNK):
            yield TokenIds.around(middle, distances[position : position + CHUNK])
        rest += [middle + distance for distance in distances[whole:]]
    if rest:
        yield TokenIds(rest)


def _chunks(found: Sequence[tuple[ExpirationDate | None, TokenIds]], change: Change) -> Iterator[Chunk]:
    """The arrays as chunks with their new dates, cut where a staggered date changes."""
    if change.by is not None and any(old is None for old, _ in found):
        raise UsageError("Some of these tokens never expire, so they have no date to count days from; give a new date.")
    spread = Counter[ExpirationDate | None]()  # how many tokens are spread together
    for old, ids in found:
        spread[_together(change, old)] += len(ids)
    counts_days = change.by is not None or change.days > 1  # else a person has typed the new date
    placed = Counter[ExpirationDate | None]()  # and how many of those have their chunk
    position = 0
    for old, ids in found:
        total, before = spread[_together(change, old)], placed[_together(change, old)]
        start = 0
        while start < len(ids):
            new = change.new_date(old, before + start, total)
            if new is not None and not new.is_storable:
                raise UsageError(f"{old} + {change.by} days is a date that PostgreSQL cannot hold; choose fewer days.")
            if counts_days and new is not None and new.is_finite and new > FURTHEST:
                raise UsageError(
                    f"The new date of some of these tokens is {new}, after the year 9999: choose fewer days."
                )
            stop = min(len(ids), _end(change, before + start, total) - before)
            part = ids if (start, stop) == (0, len(ids)) else TokenIds(ids.between(start, stop))
            yield Chunk(position + start, old, new, part)
            start = stop
        position += len(ids)
        placed[_together(change, old)] += len(ids)


def _together(change: Change, old: ExpirationDate | None) -> ExpirationDate | None:
    """What tokens have in common whose new dates are spread together: their own date, or nothing."""
    return None if change.by is None else old


def _end(change: Change, position: int, total: int) -> int:
    """The first position after `position` that gets another day."""
    day = position * change.days // total
    return -(-(day + 1) * total // change.days)

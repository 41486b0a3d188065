"""What the data says about tokens that are to be revoked, or brought back, and what a person should know of that.

A revocation ends tokens and leaves their dates alone, so nothing here is about dates, notices or memberships.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokens.change.bots import bots_and_clean_up, read_doomed
from tokens.change.change import Change, Move
from tokens.change.facts import BLOCKED, CHOSEN
from tokens.change.kinds import COUNTS_IN_A_ROW, KindCount, Rows, by_kind, counts_of, read_row, selected
from tokens.change.notes import Concern, Note, doomed, first_of, maintenance, superseded_note
from tokens.counts import counted, them
from tokens.database import Connection
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, what_it_does
from tokens.gitlab.kind import TODAY, WORKS
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy
from tokens.gitlab.succession import LINE_WORKS, read_succession
from tokens.selection import Selection

MOST_IDS = 1_000  # of the tokens that were used: what JSON has of a note

NOW = "CAST(now() AT TIME ZONE 'UTC' AS timestamp)"
"""What GitLab writes into `updated_at` with a revocation, as SQL."""

# Releases before 16.1 write down a use once a day, later ones every ten minutes.
USED_LATELY = f"({WORKS} AND t.last_used_at >= now() - interval '24 hours')"

FACTS = """, chosen AS (
      SELECT
        k.user_id,
        k.user_type,
        k.owner_state AS state,
        sum(k.tokens) AS tokens,
        sum(k.used) AS used,
        {sums_of_bots}
      FROM kinds k
      WHERE {chosen}
      GROUP BY k.user_id, k.user_type, k.owner_state
    )
    SELECT
      COALESCE(sum(o.used), 0)::bigint AS used,
      count(*) FILTER (WHERE o.used > 0) AS used_owners,
      count(*) FILTER (WHERE {doomed}) AS doomed_bots,
      count(*) FILTER (WHERE {last}) AS last_of_bots,
      COALESCE(sum(o.tokens) FILTER (WHERE {blocked}), 0)::bigint AS blocked,
      count(*) FILTER (WHERE {blocked}) AS blocked_owners,
      {counts}
    FROM chosen o
    {bots}
"""

# None of its tokens is active afterwards, and one of those chosen is.
LAST = "(NOT {doomed} AND o.active > 0 AND bot.active = o.active)"

USED_LAST = """
    SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
      AND {used}
    ORDER BY t.last_used_at DESC, t.id
    LIMIT {most}
"""

# First those with any successor: few.
REPLACED = """
    WITH replaced AS MATERIALIZED (
{replaced}
    )
    SELECT
      t.id,
      {stands} AS stands,
      {works} AS works
    FROM replaced t
    ORDER BY t.id
"""

WITH_SUCCESSOR = """
      SELECT t.id, t.user_id
      FROM {tokens}
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
        AND (t.expires_at IS NULL OR t.expires_at > {today})
        AND {direct}
"""

# GitLab lets nobody in but active owners.
WORKING_AGAIN = f"""
    SELECT t.id
    FROM {{tokens}}
    JOIN public.users u ON u.id = t.user_id AND u.state = 'active'
    WHERE t.expires_at IS NULL OR t.expires_at > {TODAY}
    ORDER BY t.id
"""  # noqa: S608 - a constant


REDATED = """
    SELECT count(*) AS tokens FROM {tokens} WHERE t.expires_at IS DISTINCT FROM n.old_expires_at
"""


@dataclass(frozen=True)
class Ends:
    """How many of the tokens that are to be revoked, or of their bots or owners, are such that a person should know.

    `used` were used within the last 24 hours; `used_ids` are theirs, the last one first, a thousand at most.
    `doomed_bots` are taken by the next clean-up of inactive bots because of it, `last_of_bots` by a later one: they
    lose their last token that is active. `blocked` have an owner who is not active. `in_grace` and `no_successor` are
    the ids of those that a rotation has replaced: what came of that works, or does not.
    """

    used: int = 0
    used_owners: int = 0
    doomed_bots: int = 0
    last_of_bots: int = 0
    blocked: int = 0
    blocked_owners: int = 0
    used_ids: tuple[int, ...] = ()
    in_grace: tuple[int, ...] = ()
    no_successor: tuple[int, ...] = ()


@dataclass(frozen=True)
class Returns:
    """The same of tokens that are to be brought back.

    `working` are the ids of those that would work again; `superseded` of those among these that a rotation has
    replaced, whose successor is not revoked. `doomed_bots` lose what holds them: that a token was revoked lately.
    `redated` tokens have another date than when they were revoked, and keep it.
    """

    working: tuple[int, ...]
    superseded: tuple[int, ...]
    doomed_bots: int
    redated: int


def read_ends(
    connection: Connection, schema: Schema, condition: Condition, policy: Policy, clean_up: CleanUp | None
) -> Ends:
    """Count the facts about the tokens of `condition` that are to be revoked. `clean_up` is the release's own."""
    return _read(connection, schema, condition, condition, "true", policy, clean_up)[0]


def read_ends_and_counts(
    connection: Connection, schema: Schema, selection: Selection, policy: Policy, clean_up: CleanUp | None
) -> tuple[Ends, tuple[KindCount, ...]]:
    """The same about the tokens of a selection, and by kind and state all that fulfil its other options."""
    scope, condition = selection.scope(schema), selection.condition(schema)
    ends, counts = _read(connection, schema, scope, condition, selected(selection), policy, clean_up)
    return ends, tuple(counts_of(counts, selection))


def _read(
    connection: Connection,
    schema: Schema,
    scope: Condition,
    condition: Condition,
    chosen: str,
    policy: Policy,
    clean_up: CleanUp | None,
) -> tuple[Ends, Rows]:
    """The facts about the tokens of `condition`, those of `scope` that are `chosen`, and the counts of all."""
    bots = bots_and_clean_up(clean_up, policy, Change(revokes=True).expression(), revoked="true", updated_at=NOW)
    last = LAST.format(doomed=bots.sql["doomed"]) if bots.parameters else "false"
    groups = [f"count(*) FILTER (WHERE {USED_LATELY}) AS used", bots.sql["of_bots"]]
    statement = by_kind(schema, scope, groups) + FACTS.format(
        chosen=chosen, counts=COUNTS_IN_A_ROW, last=last, blocked=BLOCKED, **bots.sql
    )
    parameters = {"facts_today": policy.today.literal, **bots.parameters, **scope.parameters}
    row, counts = read_row(connection, statement, parameters)
    used = USED_LAST.format(condition=condition.sql, used=USED_LATELY, most=MOST_IDS)
    standing = Condition(f"{condition.sql}\n        AND t.revoked IS NOT TRUE", condition.parameters)
    successors = _replaced(connection, schema, standing, CHOSEN)
    ends = Ends(
        **row,
        used_ids=tuple(one.id for one in connection.rows(used, **condition.parameters)) if row["used"] else (),
        in_grace=tuple(one.id for one in successors if one.works),
        no_successor=tuple(one.id for one in successors if not one.works),
    )
    return ends, counts


def read_returns(
    connection: Connection, schema: Schema, tokens: Condition, policy: Policy, clean_up: CleanUp | None
) -> Returns:
    """Count the facts about the tokens `t` of `tokens`, SQL for FROM.

    Each has beside it, as `n`, the values of `revoked` and `updated_at` that it gets back, and its date of then.
    """
    working = WORKING_AGAIN.format(tokens=tokens.sql)
    replaced = _replaced(connection, schema, Condition("TRUE", tokens.parameters), tokens.sql)
    date = Change(revokes=True).expression()
    return Returns(
        tuple(row.id for row in connection.rows(working, **tokens.parameters)),
        tuple(one.id for one in replaced if one.stands),
        read_doomed(connection, tokens, date, policy, clean_up, revoked="n.revoked", updated_at="n.updated_at"),
        connection.row(REDATED.format(tokens=tokens.sql), **tokens.parameters).tokens,
    )


def notes_on_ends(moves: Sequence[Move], ends: Ends, policy: Policy, clean_up: CleanUp | None) -> tuple[Note, ...]:
    """The notes on a revocation."""
    found = [
        maintenance(moves, policy),
        _used_lately(ends),
        doomed(ends.doomed_bots, clean_up),
        _last_of_bots(ends, policy, clean_up),
        _no_successor(ends.no_successor),
        _in_grace(ends.in_grace),
        _blocked(ends),
    ]
    return tuple(note for note in found if note.tokens)


def notes_on_returns(
    moves: Sequence[Move], tokens: int, found: Returns, policy: Policy, clean_up: CleanUp | None
) -> tuple[Note, ...]:
    """The notes on bringing back this number of revoked tokens, of those of `moves`: none is brought back by habit."""
    notes = [
        maintenance(moves, policy),
        _reviving(tokens, found.working, found.redated),
        superseded_note(found.superseded),
        doomed(found.doomed_bots, clean_up),
    ]
    return tuple(note for note in notes if note.tokens)


def _replaced(connection: Connection, schema: Schema, condition: Condition, tokens: str) -> list[Any]:
    """Those of the tokens, expired ones apart, that have a successor; none where nobody knows of rotations."""
    succession = read_succession(connection, schema)
    if succession is None:
        return []
    replaced = (
        WITH_SUCCESSOR.format(tokens=tokens, condition=condition.sql, today=TODAY, direct=direct).strip("\n")
        for direct in succession.direct
    )
    statement = REPLACED.format(
        replaced="\n      UNION\n".join(replaced),
        stands=succession.exists("line.revoked IS NOT TRUE"),
        works=succession.exists(LINE_WORKS),
    )
    return connection.rows(statement, **condition.parameters)


def _reviving(tokens: int, working: Sequence[int], redated: int) -> Note:
    these, them = ("this token", "it") if tokens == 1 else (f"these {tokens:,} tokens", "them")
    if not working:
        again = "None would work today: all have expired, or their owner is not active."
    elif len(working) == tokens:
        again = f"{'It' if tokens == 1 else 'All'} would work again: {first_of(working)}."
    else:
        again = f"{len(working):,} of them would work again: {first_of(working)}."
    if redated:
        has = "It has" if tokens == 1 else f"{redated:,} of them {'has' if redated == 1 else 'have'}"
        again += f" {has} another date than at the revocation."
    text = f"An undo revives {these}, also for somebody who should not have {them}. {again}"
    return Note(Concern.REVIVING, text, tokens, tuple(working))


def _used_lately(ends: Ends) -> Note:
    were = counted(ends.used, "token was", "tokens were")
    text = (
        f"{were} used within the last 24 hours, of {counted(ends.used_owners, 'owner')}: what uses them stops at "
        f"once: {first_of(ends.used_ids, ends.used)}."
    )
    return Note(Concern.USED_LATELY, text, ends.used, ends.used_ids)


def _last_of_bots(ends: Ends, policy: Policy, clean_up: CleanUp | None) -> Note:
    if clean_up is None or policy.inactive_days is None:
        return Note(Concern.LAST_OF_BOT, "", 0)
    first = (policy.today + (policy.inactive_days + 1)).beside(policy.today)
    text = (
        f"{counted(ends.last_of_bots, 'bot loses its', 'bots lose their')} last active token: on {first} at the "
        f"earliest {what_it_does(clean_up, ends.last_of_bots)}, and no undo brings {them(ends.last_of_bots)} back then."
    )
    return Note(Concern.LAST_OF_BOT, text, ends.last_of_bots)


def _no_successor(ids: Sequence[int]) -> Note:
    was = counted(len(ids), "token was", "tokens were")
    text = f"{was} replaced by a rotation, but no successor works: {first_of(ids)}."
    return Note(Concern.NO_SUCCESSOR, text, len(ids), tuple(ids))


def _in_grace(ids: Sequence[int]) -> Note:
    are = counted(len(ids), "token is in its grace", "tokens are in their grace")
    text = (
        f"{are}: a rotation has replaced {'it' if len(ids) == 1 else 'them'}, and the successor works: {first_of(ids)}."
    )
    return Note(Concern.IN_GRACE, text, len(ids), tuple(ids))


def _blocked(ends: Ends) -> Note:
    do = counted(ends.blocked, "token of", "tokens of")
    text = (
        f"{do} {counted(ends.blocked_owners, 'owner')} cannot be used now, because the owner is blocked, banned or "
        "deactivated; a revocation also holds when the owner is active again."
    )
    return Note(Concern.BLOCKED, text, ends.blocked)

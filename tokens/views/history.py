"""How the journal's runs look: all of them in a line each, or one with its tokens; a screen, JSON and CSV."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tokens.call import to_type
from tokens.change.change import Change
from tokens.change.plan import RunKind
from tokens.counts import counted
from tokens.journal.listing import RotationOutcome, TokenOutcome, Touched
from tokens.journal.runs import Attempt, StoredRun
from tokens.origin import described
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated, tables
from tokens.terminal.paragraphs import laid_out
from tokens.terminal.printable import printable
from tokens.views import document
from tokens.views.history_columns import (
    CHANGES,
    ROTATIONS,
    Columns,
    called,
    columns_of,
    done_in_words,
    outcome_in_words,
)
from tokens.views.run_in_words import (
    change_in_words,
    how_to_continue,
    kind_in_words,
    selection_in_words,
    state_in_words,
)
from tokens.views.times import in_brief, near, plain, to_the_minute, to_the_second, when

MOST_SHOWN = 50  # lines on a terminal

RUNS_HEADING = ("Run", "Kind", "State", "Planned (UTC)", "Change", "Tokens", "Changed", "By", "Reason")
WHEN = "When (UTC)"  # on a terminal, as people say it
RUNS_SPARE = ("Reason", "By", "Changed")  # on a narrow terminal; the run itself has them
RUNS_WHOLE = ("Kind", "State", WHEN)
LEAST = len("to 2027-06-15…")  # of what the terminal has no room for

RUN_FIELDS = (
    "run",
    "kind",
    "state",
    "planned_at",
    "planned_by",
    "selection",
    "change",
    "tokens",
    "changed",
    "changed_meanwhile",
    "locked",
    "undoes",
    "undone_by",
    "put_back",
    "reason",
    "begun_at",
    "carried_out_by",
    "finished_at",
    "withdrawn_by",
    "withdrawn_at",
    "withdrawn_because",
    "instance",
)

# Of the run, before what is known of each token: a line says all of it, wherever it goes.
EXPORTED_OF_RUN = (
    "instance",
    "run",
    "kind",
    "state",
    "planned_at",
    "planned_by",
    "begun_at",
    "carried_out_by",
    "finished_at",
    "reason",
    "undoes",
)

TOKENS_HEADING = (
    *("Run", "Kind", "Planned (UTC)", "By", "ID", "Owner", "Name", "Old date", "New date", "Outcome", "Reason"),
)
TOKENS_WIDTHS = (5, 10, 16, 20, 10, 20, 30, 10, 10, 10, 20)
TOKENS_SPARE = ("Reason", "By", "Kind", "Old date")

JournaledOutcome = TokenOutcome | RotationOutcome
"""What the journal has of one token of a run of either kind."""


def runs_screen(runs: Sequence[StoredRun], columns: int | None = None, *, some: bool = False) -> Iterator[str]:
    """A line for each run, below a heading; on a terminal for the latest MOST_SHOWN. `some`: others were not wanted."""
    if not runs:
        yield "The journal has no such run." if some else "The journal has no runs."
        return
    silent = (f"Run {run.id} may be dead: no sign of life.{how}" for run in runs if (how := how_to_continue(run)))
    if columns is None:
        yield from tables.table(RUNS_HEADING, [_run_row(run, to_the_minute) for run in runs], None)
        yield from silent
        return
    shown = runs[:MOST_SHOWN]
    heading = [WHEN if name.startswith("Planned") else name for name in RUNS_HEADING]
    rows = [_run_row(run, in_brief) for run in shown]
    yield from tables.table(heading, rows, columns, spare=RUNS_SPARE, whole=RUNS_WHOLE, least=LEAST)
    if len(shown) < len(runs):
        yield f"... and {len(runs) - len(shown):,} more{to_type('to see all', 'history', '--output', 'csv')}"
    yield from silent


def runs_json(runs: Sequence[StoredRun], instance: Instance) -> str:
    """The runs for a program: times in ISO 8601 (UTC), null for what a run does not have."""
    return document.text(instance, {"runs": [_facts(run) for run in runs]})


def runs_csv(runs: Sequence[StoredRun], instance: Instance) -> Iterator[str]:
    """The runs with a heading; times in ISO 8601 (UTC)."""
    yield comma_separated.line(RUN_FIELDS)
    for run in runs:
        known = _in_words(run, instance)
        yield comma_separated.line([known[field] for field in RUN_FIELDS])


def _in_words(run: StoredRun, instance: Instance) -> dict[str, Any]:
    """What is known of a run, as text for one cell each."""
    return {
        **_facts(run),
        "instance": instance.name,
        "state": state_in_words(run),
        "planned_by": described(run.origin),
        "carried_out_by": "; ".join(dict.fromkeys(map(described, run.carried_out_by))),
        "withdrawn_by": described(run.withdrawn_by) if run.withdrawn_by else None,
        "selection": selection_in_words(run),
        "change": change_in_words(run.kind, run.change),
    }


def run_screen(
    run: StoredRun,
    attempts: Sequence[Attempt],
    touched: Touched,
    listed: Iterable[JournaledOutcome],
    columns: int | None = None,
    *,
    which: Sequence[object] = (),
) -> Iterator[str]:
    """What is known of one run, and a table of its tokens, drawn as they come.

    On a terminal it has MOST_SHOWN of them; `which` are the words that choose tokens, where not all are listed.
    """
    told = columns_of(run)
    for name, value in _run_facts(run, attempts, touched, columns):
        yield laid_out(f"{name:<12}{printable(value)}", columns, hanging=12)
    yield ""
    if columns is None:
        yield from tables.rows([told.heading], told.widths)
        yield tables.rule(told.widths)
        for one in listed:
            yield from tables.rows([told.cells(one)], told.widths)
        return
    rest = iter(listed)
    shown = [[str(cell) for cell in told.cells(one)] for one in itertools.islice(rest, MOST_SHOWN)]
    yield from tables.table(told.heading, shown, columns, spare=told.spare)
    if left := sum(1 for _ in rest) if which else run.tokens - len(shown):
        every = to_type("to see all", "history", "--run", run.id, *which, "--output", "csv")
        yield f"... and {left:,} more{every}"


def run_json(
    run: StoredRun,
    attempts: Sequence[Attempt],
    touched: Touched,
    listed: Iterable[JournaledOutcome],
    instance: Instance,
) -> Iterator[str]:
    """One run as one document, in pieces: its tokens are the list `outcomes`, a line each, null for "never expires".

    Of a run of rotations the list is `rotations`; there null is also "revoked at once" and "there is none".
    """
    facts = {
        **document.head(instance),
        **_facts(run),
        "attempts": [
            {
                "number": attempt.number,
                "by": attempt.origin,
                "started_at": attempt.started_at,
                "ended_at": attempt.ended_at,
                "stopped_because": attempt.stopped_because,
                "tool_version": attempt.tool_version,
            }
            for attempt in attempts
        ],
        "memberships_moved": None if run.kind is RunKind.UNDO else touched.memberships,
        "notices_rearmed": None if run.kind is RunKind.UNDO else touched.notices,
    }
    yield from _with_tokens(facts, columns_of(run), listed)


def _with_tokens(facts: dict[str, Any], columns: Columns, listed: Iterable[JournaledOutcome]) -> Iterator[str]:
    """An object of these facts and the tokens, as they come."""
    rows = (dict(zip(columns.fields, columns.values(one), strict=True)) for one in listed)
    yield document.begun(facts)
    yield from document.listed(columns.name, map(json.dumps, rows))
    yield "}"


def tokens_csv(run: StoredRun, listed: Iterable[JournaledOutcome], instance: Instance) -> Iterator[str]:
    """The tokens of a run with a heading; empty is what is null in JSON, and a space is between several ids."""
    return _exported(columns_of(run).fields, [(run, listed)], instance)


def all_tokens_csv(runs: Iterable[tuple[StoredRun, Iterable[JournaledOutcome]]], instance: Instance) -> Iterator[str]:
    """The tokens of runs of every kind with one heading; empty is also what a kind does not have."""
    return _exported(tuple(dict.fromkeys((*CHANGES.fields, *ROTATIONS.fields))), runs, instance)


def _exported(
    fields: Sequence[str], runs: Iterable[tuple[StoredRun, Iterable[JournaledOutcome]]], instance: Instance
) -> Iterator[str]:
    yield comma_separated.line((*EXPORTED_OF_RUN, *fields))
    for run, listed in runs:
        columns = columns_of(run)
        in_words = _in_words(run, instance)
        of_run = comma_separated.line(in_words[field] for field in EXPORTED_OF_RUN)
        for one in listed:
            values = dict(zip(columns.fields, map(_cell, columns.values(one)), strict=True))
            yield f"{of_run},{comma_separated.line(map(values.get, fields))}"


def _cell(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def all_tokens_json(runs: Iterable[tuple[StoredRun, Iterable[JournaledOutcome]]], instance: Instance) -> Iterator[str]:
    """The runs as one document, in pieces, each with its tokens as of `run_json`."""
    yield document.begun(document.head(instance))
    yield from document.listed("runs", (_with_tokens(_facts(run), columns_of(run), listed) for run, listed in runs))
    yield "}"


def all_tokens_screen(
    runs: Iterable[tuple[StoredRun, Iterable[JournaledOutcome]]],
    columns: int | None,
    *,
    which: Sequence[object] = (),
    users: Sequence[str] = (),
) -> Iterator[str]:
    """A line for each token and run; on a terminal MOST_SHOWN of them. `which` are the words that choose them.

    `users` are the usernames among these.
    """
    rows = (_token_row(run, one) for run, listed in runs for one in listed)
    first = list(itertools.islice(rows, MOST_SHOWN))
    if not first:
        of_users = f" of {printable(' or '.join(users))}: is the username right?" if users else "."
        yield f"The journal has no such token{of_users}"
        return
    if columns is None:
        yield from tables.rows([TOKENS_HEADING], TOKENS_WIDTHS)
        yield tables.rule(TOKENS_WIDTHS)
        for row in itertools.chain(first, rows):
            yield from tables.rows([row], TOKENS_WIDTHS)
        return
    yield from tables.table(TOKENS_HEADING, first, columns, spare=TOKENS_SPARE)
    if next(rows, None):
        yield f"... and more{to_type('to see all', 'history', *which, '--output', 'csv')}"


def _token_row(run: StoredRun, one: JournaledOutcome) -> tuple[str, ...]:
    owner, name = called(one)
    if isinstance(one, RotationOutcome):
        outcome = one.stage if one.successor_id is None else f"{one.stage}, now {one.successor_id}"
    else:
        outcome = outcome_in_words(run, one)
    return (
        str(run.id),
        kind_in_words(run),
        to_the_minute(run.created_at),
        printable(described(run.origin)),
        str(one.id),
        owner,
        name,
        plain(one.old),
        plain(one.new),
        outcome,
        printable(run.reason or ""),
    )


def _run_row(run: StoredRun, time: Callable[[str], str]) -> tuple[object, ...]:
    state = state_in_words(run)
    return (
        str(run.id),
        kind_in_words(run),
        f"{state}, undone {_in_part(run)}by {run.undone_by}" if run.undone_by else state,
        time(run.created_at),
        change_in_words(run.kind, run.change),
        run.tokens,
        run.changed,
        printable(described(dict(run.origin))),
        printable(run.reason or ""),
    )


def _in_part(run: StoredRun) -> str:
    return "in part " if run.is_undone_in_part else ""


def _run_facts(
    run: StoredRun, attempts: Sequence[Attempt], touched: Touched, columns: int | None
) -> Iterator[tuple[str, str]]:
    yield "Run", str(run.id)
    yield "Kind", run.kind
    yield "State", f"{state_in_words(run)}{how_to_continue(run)}"
    if run.undoes:
        yield "Undoes", f"run {run.undoes}"
    if run.undone_by:
        left = f", in part: {run.put_back:,} of {counted(run.changed, 'token')}" if run.is_undone_in_part else ""
        yield "Undone by", f"run {run.undone_by}{left}"
    yield "Selection", selection_in_words(run)
    yield "Change", _change(run, columns)
    yield "Planned", f"{when(run.created_at, columns)}, by {described(dict(run.origin))}"
    if run.reason:
        yield "Reason", run.reason
    if run.withdrawn_by and run.withdrawn_at:
        why = f": {run.withdrawn_because}" if run.withdrawn_because else ""
        yield "Withdrawn", f"{when(run.withdrawn_at, columns)}, by {described(run.withdrawn_by)}{why}"
    for attempt in attempts:
        yield f"Attempt {attempt.number}", _attempt(attempt, columns)
    yield "Tokens", _counts(run)
    if not run.has_names:
        yield "Names", "those of today: the journal has none of this run"
    if run.change.revokes or run.kind is RunKind.UNDO:
        return  # the one touches nothing else, and of the other the journal does not have what it puts back
    yield "Memberships", f"{touched.memberships:,} moved"
    if run.kind is not RunKind.ROTATE:
        yield "Notices", f"those of {counted(touched.notices, 'token')} re-armed"


def _change(run: StoredRun, columns: int | None) -> str:
    """What becomes of the dates; on a terminal a single one with its weekday, and how far it is from today."""
    said, day = change_in_words(run.kind, run.change), run.change.to
    if columns is None or day is None or not said.endswith(str(day)):
        return said
    return f"{said.removesuffix(str(day))}{near(day)}"


def _attempt(attempt: Attempt, columns: int | None) -> str:
    end = f"to {to_the_second(attempt.ended_at)}" if attempt.ended_at else "without an end so far"
    why = f"; stopped because: {attempt.stopped_because}" if attempt.stopped_because else ""
    return f"{when(attempt.started_at, columns)} {end}, by {described(dict(attempt.origin))}{why}"


def _counts(run: StoredRun) -> str:
    if run.kind is RunKind.ROTATE:
        return _rotation_counts(run)
    pending = run.tokens - run.changed - run.changed_meanwhile - run.locked
    others = {"left alone": run.changed_meanwhile, "locked": run.locked, "pending": pending}
    parts = [f"{run.changed:,} {done_in_words(run)}", *(f"{count:,} {name}" for name, count in others.items() if count)]
    return f"{run.tokens:,}: {', '.join(parts)}"


def _rotation_counts(run: StoredRun) -> str:
    rotated = run.changed + run.changed_meanwhile
    parts = [f"{rotated:,} rotated"]
    if run.changed_meanwhile:
        parts.append(f"the old token of {run.changed_meanwhile:,} retired or changed by somebody else")
    if run.tokens > rotated:
        parts.append(f"{run.tokens - rotated:,} not rotated")
    return f"{run.tokens:,}: {', '.join(parts)}"


def _facts(run: StoredRun) -> dict[str, Any]:
    change = Change() if run.kind is RunKind.UNDO else run.change  # the journal has that of the undone run
    return {
        "run": run.id,
        "kind": run.kind,
        "state": run.state,
        "lapsed": run.lapsed,
        "silent_for": None if run.silence is None else round(run.silence),
        "selection": run.selection,
        "change": {
            "to": change.to and str(change.to),
            "by": change.by,
            "days": change.days,
        },
        "memberships": run.memberships and run.memberships.value,
        "notices": run.notices,
        "reason": run.reason,
        "planned_at": run.created_at,
        "planned_by": run.origin,
        "begun_at": run.begun_at,
        "carried_out_by": list(run.carried_out_by),
        "withdrawn_by": run.withdrawn_by,
        "withdrawn_at": run.withdrawn_at,
        "withdrawn_because": run.withdrawn_because,
        "names_kept": run.has_names,
        "finished_at": run.finished_at,
        "tool_version": run.tool_version,
        "undoes": run.undoes,
        "undone_by": run.undone_by,
        "put_back": run.put_back,
        "tokens": run.tokens,
        "changed": run.changed,
        "changed_meanwhile": run.changed_meanwhile,
        "locked": run.locked,
    }

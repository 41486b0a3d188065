"""How the journal's runs look: all of them in a line each, or one with its tokens; a screen, JSON and CSV."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tokens.call import to_type
from tokens.change.plan import RunKind
from tokens.counts import counted
from tokens.journal.listing import (
    RotationOutcome,
    TokenOutcome,
    Touched,
    change_in_words,
    kind_in_words,
    selection_in_words,
    state_in_words,
)
from tokens.journal.runs import Attempt, StoredRun
from tokens.origin import described
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated, tables
from tokens.terminal.paragraphs import laid_out
from tokens.terminal.printable import printable
from tokens.views import document
from tokens.views.history_columns import Columns, columns_of
from tokens.views.times import in_brief, near, to_the_minute, to_the_second, when

MOST_SHOWN = 50  # lines on a terminal

RUNS_HEADING = ("Run", "Kind", "State", "Planned (UTC)", "Change", "Tokens", "Changed", "By", "Reason")
WHEN = "When (UTC)"  # on a terminal, as people say it
RUNS_SPARE = ("Changed", "Reason", "By")  # on a narrow terminal; the run itself has them
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
)


def runs_screen(runs: Sequence[StoredRun], columns: int | None = None) -> Iterator[str]:
    """A line for each run, below a heading; on a terminal for the latest MOST_SHOWN."""
    if not runs:
        yield "The journal has no runs."
        return
    if columns is None:
        yield from tables.table(RUNS_HEADING, [_run_row(run, to_the_minute) for run in runs], None)
        return
    shown = runs[:MOST_SHOWN]
    heading = [WHEN if name.startswith("Planned") else name for name in RUNS_HEADING]
    rows = [_run_row(run, in_brief) for run in shown]
    yield from tables.table(heading, rows, columns, spare=RUNS_SPARE, whole=RUNS_WHOLE, least=LEAST)
    if len(shown) < len(runs):
        yield f"... and {len(runs) - len(shown):,} more{to_type('to see all', 'history', '--output', 'csv')}"


def runs_json(runs: Sequence[StoredRun], instance: Instance) -> str:
    """The runs for a program: times in ISO 8601 (UTC), null for what a run does not have."""
    return document.text(instance, {"runs": [_facts(run) for run in runs]})


def runs_csv(runs: Sequence[StoredRun]) -> Iterator[str]:
    """The runs with a heading; times in ISO 8601 (UTC)."""
    yield comma_separated.line(RUN_FIELDS)
    for run in runs:
        known = {
            **_facts(run),
            "state": state_in_words(run),
            "planned_by": described(dict(run.origin)),
            "selection": selection_in_words(run),
            "change": change_in_words(run.kind, run.change),
        }
        yield comma_separated.line([known[field] for field in RUN_FIELDS])


def run_screen(
    run: StoredRun,
    attempts: Sequence[Attempt],
    touched: Touched,
    listed: Iterable[TokenOutcome | RotationOutcome],
    columns: int | None = None,
) -> Iterator[str]:
    """What is known of one run, and a table of its tokens, drawn as they come.

    On a terminal it has MOST_SHOWN of them.
    """
    told = columns_of(run.kind)
    for name, value in _run_facts(run, attempts, touched, columns):
        yield laid_out(f"{name:<12}{printable(value)}", columns, hanging=12)
    yield ""
    if columns is None:
        yield from tables.rows([told.heading], told.widths)
        yield tables.rule(told.widths)
        for one in listed:
            yield from tables.rows([told.cells(one)], told.widths)
        return
    shown = [[str(cell) for cell in told.cells(one)] for one in itertools.islice(listed, MOST_SHOWN)]
    yield from tables.table(told.heading, shown, columns, spare=told.spare)
    if run.tokens > len(shown):
        every = to_type("to see all", "history", "--run", run.id, "--output", "csv")
        yield f"... and {run.tokens - len(shown):,} more{every}"


def run_json(
    run: StoredRun,
    attempts: Sequence[Attempt],
    touched: Touched,
    listed: Iterable[TokenOutcome | RotationOutcome],
    instance: Instance,
) -> Iterator[str]:
    """One run as one document, in pieces: its tokens are the list `outcomes`, a line each, null for "never expires".

    Of a run of rotations the list is `rotations`; there null is also "revoked at once" and "there is none".
    """
    columns = columns_of(run.kind)
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
        "memberships_moved": touched.memberships,
        "notices_rearmed": touched.notices,
    }
    # All but the line with the closing brace.
    yield json.dumps(facts, indent=2).removesuffix("\n}") + ","
    yield f'  "{columns.name}": ['
    before = None
    for one in listed:
        if before is not None:
            yield f"{before},"
        before = "    " + json.dumps(dict(zip(columns.fields, columns.values(one), strict=True)))
    if before is not None:
        yield before
    yield "  ]"
    yield "}"


def tokens_csv(columns: Columns, listed: Iterable[TokenOutcome | RotationOutcome]) -> Iterator[str]:
    """The tokens of a run with a heading; empty is what is null in JSON, and a space is between several ids."""
    yield comma_separated.line(columns.fields)
    for one in listed:
        values = columns.values(one)
        yield comma_separated.line(" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values)


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
    yield "State", state_in_words(run)
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
    for attempt in attempts:
        yield f"Attempt {attempt.number}", _attempt(attempt, columns)
    yield "Tokens", _counts(run)
    if run.change.revokes:
        return  # which touches nothing else
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
    parts = [f"{run.changed:,} changed", *(f"{count:,} {name}" for name, count in others.items() if count)]
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
    return {
        "run": run.id,
        "kind": run.kind,
        "state": run.state,
        "lapsed": run.lapsed,
        "silent_for": None if run.silence is None else round(run.silence),
        "selection": run.selection,
        "change": {
            "to": run.change.to and str(run.change.to),
            "by": run.change.by,
            "days": run.change.days,
        },
        "memberships": run.memberships and run.memberships.value,
        "notices": run.notices,
        "reason": run.reason,
        "planned_at": run.created_at,
        "planned_by": run.origin,
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

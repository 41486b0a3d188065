"""`history`: what was changed, by whom and why, run by run or token by token."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import invoke

from tokens.errors import TokensError, UsageError
from tokens.tasks.history_forms import Form, form_of
from tokens.tasks.numbers import whole_number
from tokens.tasks.output_option import require_output
from tokens.tasks.report import told_in_document
from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task
from tokens.terminal import comma_separated, console, tables
from tokens.terminal.printable import printable
from tokens.terminal.steps import announced

if TYPE_CHECKING:
    from tokens.journal.listing import RotationOutcome, TokenOutcome, Touched
    from tokens.journal.runs import Attempt, StoredRun

OUTPUTS = ("text", "json", "csv")
LARGEST = 2**63 - 1

RUNS_HEADING = ("Run", "Kind", "State", "Planned (UTC)", "Change", "Tokens", "Changed", "By", "Reason")

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
    "reason",
)


@task(
    help={
        "target": TARGET_HELP,
        "run": "Show this run and its tokens: a number. Default: one line for each run.",
        "output": "text, json or csv (with --run its tokens only). Default: text.",
    },
    travels=True,
)
def history(context: invoke.Context, target: str = "", run: str = "", output: str = "text") -> None:
    """Show the runs, or one of them with its tokens."""
    require_output(output, OUTPUTS)
    number = whole_number(run, 1, LARGEST) if run else None
    if run and number is None:
        raise UsageError(f'--run takes the number of a run, not "{run}".')
    from tokens import database
    from tokens.gitlab import preflight
    from tokens.journal import installation, listing, runs

    address = locate(context, target)
    if number is None:
        with announced("Reading the journal", sys.stderr), database.reading(address) as connection:
            installation.check(connection, reading=True)
            found = runs.list_runs(connection)
        lines = {"text": runs_screen, "json": runs_json, "csv": runs_csv}[output](found)
    else:
        with announced("Reading the journal", sys.stderr), database.reading(address) as connection:
            installation.check(connection, reading=True)
            preflight.check(connection, listing.NEEDS)
            one = runs.read_run(connection, number)
            attempts = runs.read_attempts(connection, number)
            touched = listing.read_touched(connection, number)
        listed = listing.read_tokens(address, one)
        if output == "csv":
            lines = tokens_csv(form_of(one.kind), listed)
        else:
            lines = (run_json if output == "json" else run_screen)(one, attempts, touched, listed)
    if output == "csv":
        console.write_utf8()
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n")
    except TokensError as error:
        told_in_document(error)  # a part of it
        raise


def runs_screen(runs: Sequence["StoredRun"]) -> Iterator[str]:
    """A line for each run, below a heading."""
    if not runs:
        yield "The journal has no runs."
        return
    rows = [RUNS_HEADING, *(_run_row(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    heading, *lines = tables.rows(rows, widths)
    yield from (heading, tables.rule(widths), *lines)


def runs_json(runs: Sequence["StoredRun"]) -> Iterator[str]:
    """The runs for a program: times in ISO 8601 (UTC), null for what a run does not have."""
    yield json.dumps([_facts(run) for run in runs], indent=2)


def runs_csv(runs: Sequence["StoredRun"]) -> Iterator[str]:
    """The runs with a heading; times in ISO 8601 (UTC)."""
    from tokens.journal.listing import change_in_words, selection_in_words, state_in_words
    from tokens.origin import described

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
    run: "StoredRun",
    attempts: Sequence["Attempt"],
    touched: "Touched",
    listed: Iterable["TokenOutcome | RotationOutcome"],
) -> Iterator[str]:
    """What is known of one run, and a table of its tokens, drawn as they come."""
    form = form_of(run.kind)
    for name, value in _run_facts(run, attempts, touched):
        yield f"{name:<12}{printable(value)}"
    yield ""
    yield from tables.rows([form.heading], form.widths)
    yield tables.rule(form.widths)
    for one in listed:
        yield from tables.rows([form.cells(one)], form.widths)


def run_json(
    run: "StoredRun",
    attempts: Sequence["Attempt"],
    touched: "Touched",
    listed: Iterable["TokenOutcome | RotationOutcome"],
) -> Iterator[str]:
    """One run as one document, in pieces: its tokens are the list `outcomes`, a line each, null for "never expires".

    Of a run of rotations the list is `rotations`; there null is also "revoked at once" and "there is none".
    """
    form = form_of(run.kind)
    facts = {
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
    yield f'  "{form.name}": ['
    before = None
    for one in listed:
        if before is not None:
            yield f"{before},"
        before = "    " + json.dumps(dict(zip(form.fields, form.values(one), strict=True)))
    if before is not None:
        yield before
    yield "  ]"
    yield "}"


def tokens_csv(form: Form, listed: Iterable["TokenOutcome | RotationOutcome"]) -> Iterator[str]:
    """The tokens of a run with a heading; empty is what is null in JSON, and a space is between several ids."""
    yield comma_separated.line(form.fields)
    for one in listed:
        values = form.values(one)
        yield comma_separated.line(" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values)


def _run_row(run: "StoredRun") -> tuple[str, ...]:
    from tokens.journal.listing import change_in_words, kind_in_words, state_in_words
    from tokens.origin import described

    state = state_in_words(run)
    return (
        str(run.id),
        kind_in_words(run),
        f"{state}, undone by {run.undone_by}" if run.undone_by else state,
        datetime.fromisoformat(run.created_at).strftime("%Y-%m-%d %H:%M"),
        change_in_words(run.kind, run.change),
        str(run.tokens),
        str(run.changed),
        printable(described(dict(run.origin))),
        printable(run.reason or ""),
    )


def _run_facts(run: "StoredRun", attempts: Sequence["Attempt"], touched: "Touched") -> Iterator[tuple[str, str]]:
    from tokens.change.plan import RunKind
    from tokens.journal.listing import change_in_words, selection_in_words, state_in_words
    from tokens.origin import described

    yield "Run", str(run.id)
    yield "Kind", run.kind
    yield "State", state_in_words(run)
    if run.undoes:
        yield "Undoes", f"run {run.undoes}"
    if run.undone_by:
        yield "Undone by", f"run {run.undone_by}"
    yield "Selection", selection_in_words(run)
    yield "Change", change_in_words(run.kind, run.change)
    yield "Planned", f"{_time(run.created_at)}, by {described(dict(run.origin))}"
    if run.reason:
        yield "Reason", run.reason
    for attempt in attempts:
        yield f"Attempt {attempt.number}", _attempt(attempt)
    yield "Tokens", _counts(run)
    yield "Memberships", f"{touched.memberships} moved"
    if run.kind is not RunKind.ROTATE:
        yield "Notices", f"those of {touched.notices} token(s) re-armed"


def _attempt(attempt: "Attempt") -> str:
    from tokens.origin import described

    end = f"to {_time(attempt.ended_at)}" if attempt.ended_at else "without an end so far"
    why = f"; stopped because: {attempt.stopped_because}" if attempt.stopped_because else ""
    return f"{_time(attempt.started_at)} {end}, by {described(dict(attempt.origin))}{why}"


def _counts(run: "StoredRun") -> str:
    from tokens.change.plan import RunKind

    if run.kind is RunKind.ROTATE:
        return _rotation_counts(run)
    pending = run.tokens - run.changed - run.changed_meanwhile - run.locked
    others = {"left alone": run.changed_meanwhile, "locked": run.locked, "pending": pending}
    parts = [f"{run.changed} changed", *(f"{count} {name}" for name, count in others.items() if count)]
    return f"{run.tokens}: {', '.join(parts)}"


def _rotation_counts(run: "StoredRun") -> str:
    rotated = run.changed + run.changed_meanwhile
    parts = [f"{rotated} rotated"]
    if run.changed_meanwhile:
        parts.append(f"the old token of {run.changed_meanwhile} retired or changed by somebody else")
    if run.tokens > rotated:
        parts.append(f"{run.tokens - rotated} not rotated")
    return f"{run.tokens}: {', '.join(parts)}"


def _facts(run: "StoredRun") -> dict[str, Any]:
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
        "tokens": run.tokens,
        "changed": run.changed,
        "changed_meanwhile": run.changed_meanwhile,
        "locked": run.locked,
    }


def _time(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")

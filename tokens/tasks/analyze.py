"""`analyze`: when the instance's tokens expire."""

import json
from datetime import datetime
from typing import TYPE_CHECKING

import invoke

from tokens.errors import UsageError
from tokens.tasks.numbers import whole_number
from tokens.tasks.output_option import require_output
from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task
from tokens.terminal import comma_separated, tables
from tokens.terminal.steps import announced

if TYPE_CHECKING:
    from tokens.inventory.analysis import Analysis

MIGRATION_TITLE = "Personal/Project/Group Access Token Expiration Migration"
DATES_TITLE = "Personal/Project/Group Access Token Expiration Dates"
MOST_DATES = 1_000_000
WIDTHS = (15, 5)  # columns of the table of dates
OUTPUTS = ("text", "json", "csv")


@task(
    help={
        "target": TARGET_HELP,
        "top": "How many expiration dates to show, the commonest first: a number, or all. Default: 10.",
        "output": "text (as gitlab:tokens:analyze prints it), json or csv. Default: text.",
    },
    travels=True,
)
def analyze(context: invoke.Context, target: str = "", top: str = "10", output: str = "text") -> None:
    """Show on which dates the most tokens expire."""
    from tokens.inventory import analysis

    require_output(output, OUTPUTS)
    dates = _number_of_dates(top)
    address = locate(context, target)
    with announced("Counting the tokens"):
        found = analysis.analyze(address, dates)
    match output:
        case "json":
            print(as_json(found))
        case "csv":
            print(as_csv(found), end="")
        case _:
            print(screen(found, dates))


def screen(analysis: "Analysis", top: int | None = 10) -> str:
    """The analysis as `gitlab:tokens:analyze` prints it, without the last newline; `top` only names the table."""
    if analysis.migration is None:
        times = ["Status: Not run"]
    else:
        times = [
            f"Started at: {_time(analysis.migration.started_at)}",
            f"Finished  : {_time(analysis.migration.finished_at)}",
        ]
    dates = [("(none)" if row.expires_at is None else row.expires_at, row.tokens) for row in analysis.dates]
    return "\n".join(
        [
            tables.header(MIGRATION_TITLE),
            *times,
            tables.header(f"{'All' if top is None else f'Top {top}'} {DATES_TITLE}"),
            *tables.rows([("Expiration Date", "Count")], WIDTHS),
            tables.rule(WIDTHS),
            *tables.rows(dates, WIDTHS),
            tables.FOOTER,
        ]
    )


def as_json(analysis: "Analysis") -> str:
    """The analysis for a program: times in ISO 8601, dates as the screen shows them, null for "never expires"."""
    migration = analysis.migration
    return json.dumps(
        {
            "migration": migration
            and {
                "started_at": migration.started_at and migration.started_at.isoformat(),
                "finished_at": migration.finished_at and migration.finished_at.isoformat(),
            },
            "dates": [
                {"expires_at": None if row.expires_at is None else str(row.expires_at), "tokens": row.tokens}
                for row in analysis.dates
            ],
        },
        indent=2,
    )


def as_csv(analysis: "Analysis") -> str:
    """The dates and their counts with a heading; an empty date is "never expires"."""
    rows = [("expires_at", "tokens"), *((row.expires_at, row.tokens) for row in analysis.dates)]
    return "".join(f"{comma_separated.line(row)}\n" for row in rows)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S +0000")


def _number_of_dates(top: str) -> int | None:
    if top == "all":
        return None
    number = whole_number(top, 1, MOST_DATES)
    if number is None:
        raise UsageError(f'--top takes a number of dates from 1 to {MOST_DATES}, or all, not "{top}".')
    return number

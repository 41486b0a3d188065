"""How the analysis looks: the screen of `gitlab:tokens:analyze`, JSON and CSV."""

from collections.abc import Iterator
from datetime import datetime

from tokens.inventory.analysis import Analysis
from tokens.targets.instance import Instance
from tokens.terminal import comma_separated, tables
from tokens.views import document

MIGRATION_TITLE = "Personal/Project/Group Access Token Expiration Migration"
DATES_TITLE = "Personal/Project/Group Access Token Expiration Dates"
WIDTHS = (15, 5)  # columns of the table of dates


def screen(analysis: Analysis, top: int | None = 10) -> str:
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


def as_json(analysis: Analysis, instance: Instance) -> str:
    """The analysis for a program: times in ISO 8601, dates as the screen shows them, null for "never expires"."""
    migration = analysis.migration
    return document.text(
        instance,
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
    )


def as_csv(analysis: Analysis) -> Iterator[str]:
    """The dates and their counts with a heading; an empty date is "never expires"."""
    yield comma_separated.line(("expires_at", "tokens"))
    for row in analysis.dates:
        yield comma_separated.line((row.expires_at, row.tokens))


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S +0000")

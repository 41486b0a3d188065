"""`list`: which tokens expire when, whose they are, and what is the matter with them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.logged import located
from tokens.commands.options.values import FIRST, number_or_all, words
from tokens.commands.show import show
from tokens.counts import them
from tokens.errors import UsageError
from tokens.inventory.token_columns import BY_NAME, COLUMNS, OF_LOGS, UNSORTABLE, Column, Shown
from tokens.inventory.tokens import Layout, listed
from tokens.selection import Selection
from tokens.spelling import meant
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.usage.files import Log
from tokens.views import tokens as view
from tokens.views.logged import reach

ROOM = 100  # columns of a terminal that a log's columns and the time of the last use need
SHORT = {
    "expires": "expires_at",
    "in": "in_days",
    "used": "last_used_at",
    "created": "created_at",
    "calls": "calls_a_day",
}


@dataclass(frozen=True)
class Wanted:
    """What `--wide`, `--columns`, `--sort` and `--first` say; `first` None is whatever suits the output."""

    wide: bool
    columns: tuple[Column, ...]
    sort: str
    descending: bool
    first: int | None
    all: bool


def layout(_: Environment, wide: bool, columns: Sequence[str] | None, sort: str | None, first: str | None) -> Wanted:
    """What these options mean.

    Raises:
        UsageError: what cannot be read, in one line.
    """
    named = words(columns)
    if wide and named:
        raise UsageError("--wide and --columns both choose columns: use one of them.")
    by = sort or "expires_at"
    column = _column("sort", by.removeprefix("-"))
    if column.name in UNSORTABLE:
        raise UsageError(f"--sort cannot sort by {column.name}, of which a token has several.")
    number = number_or_all("first", first, "tokens")
    return Wanted(
        wide,
        tuple(dict.fromkeys(_column("columns", name) for name in named)),
        column.name,
        by.startswith("-"),
        number,
        first == "all",
    )


def list_tokens(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    layout: Wanted,
    logs: Sequence[Log] | None,
    output: str,
) -> None:
    """Show the tokens of `selection`, soonest first, as a table, for a program, or for `--ids -`.

    Raises:
        TokensError: see `tokens.errors`.
    """
    _check(selection, layout, output, has_logs=bool(logs))
    site, usage = located(environment, locate, logs)
    on_terminal = output == "text" and console.is_terminal(environment.stdout)
    first = layout.first
    if first is None and on_terminal and not layout.all:
        first = FIRST
    width = console.columns(environment.stdout) if on_terminal else None
    wanted = Layout(_columns(layout, output, width, has_log=usage is not None), layout.sort, layout.descending, first)
    instance = described(site) if output == "json" else site.instance  # before the tokens' own transaction begins
    with ExitStack() as stack:
        with environment.announced("Reading the tokens"):
            found = stack.enter_context(
                listed(
                    site.address,
                    selection,
                    wanted,
                    release=site.release,
                    counted=output == "text",
                    ci=site.ci,
                    counts_others=on_terminal or output == "json",
                    as_csv=output == "csv",
                    usage=usage,
                )
            )
        environment.note(found.notes)
        show(
            environment,
            output,
            text=lambda: view.screen(
                found,
                width=width,
                colour=on_terminal and console.has_colour(environment.stdout),
            ),
            json=lambda: view.as_json(found, instance, selection),
            csv=lambda: view.as_csv(found),
            ndjson=lambda: view.as_ndjson(found),
            ids=lambda: view.as_ids(found),
        )
        if output == "text":
            environment.flush()
            for line in view.remark(found, selection):
                environment.tell(line)
            if usage is not None:
                environment.tell(reach(usage))


def _check(selection: Selection, layout: Wanted, output: str, *, has_logs: bool) -> None:
    """Refuse what does not go together."""
    if selection.others and output == "ids":
        raise UsageError(
            "--output ids gives ids of access tokens, for --ids of another task; leave the other kinds out."
        )
    if output == "ids" and (layout.wide or layout.columns):
        raise UsageError(f"--output ids has no columns: leave {'--wide' if layout.wide else '--columns'} out.")
    of_logs = sorted(OF_LOGS & {layout.sort, *(column.name for column in layout.columns)})
    if of_logs and not has_logs:
        come = "comes" if len(of_logs) == 1 else "come"
        raise UsageError(f"{', '.join(of_logs)} {come} from a log: use --log FILE with {them(len(of_logs))}.")


def _columns(wanted: Wanted, output: str, width: int | None, *, has_log: bool) -> tuple[Column, ...]:
    if output == "ids":
        return (BY_NAME["id"],)
    if wanted.columns:
        return wanted.columns
    shown = {Shown.ALWAYS, *([Shown.WIDE] if wanted.wide else []), *([Shown.LOGGED] if has_log else [])}
    for_programs = output != "text"
    found = tuple(column for column in COLUMNS if column.shown in shown or (for_programs and column.cheap))
    if has_log and not wanted.wide and width is not None and width < ROOM:
        return tuple(column for column in found if column.name != "last_used_at")  # the log knows better
    return found


def _column(option: str, name: str) -> Column:
    column = SHORT.get(name.lower(), name.lower().replace("-", "_"))
    if column not in BY_NAME:
        raise UsageError(f'--{option} has no column "{name}"{meant(column, BY_NAME)}; there are {", ".join(BY_NAME)}.')
    return BY_NAME[column]

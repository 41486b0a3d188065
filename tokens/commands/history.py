"""`history`: what was changed, by whom and why, run by run or token by token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain, islice

from tokens import database
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.options.days import day_of
from tokens.commands.options.selecting import name_or_path
from tokens.commands.options.values import LARGEST_RUN, free_text, number_of_run, whole_number, words
from tokens.commands.show import show
from tokens.database import Connection
from tokens.errors import UsageError
from tokens.gitlab import preflight
from tokens.journal import installation, listing, runs
from tokens.journal.listing import Sought
from tokens.journal.runs import StoredRun
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out
from tokens.views import history as view


@dataclass(frozen=True)
class Wanted:
    """Which runs are shown, and which of their tokens.

    `run` is the number of one, None for all. `tokens` lists each token, too. `ids` and `users` are those of which alone
    something is shown, empty for all. `since` is a day in UTC, `reason` a part of a run's reason.
    """

    run: int | None = None
    tokens: bool = False
    ids: frozenset[int] = frozenset()
    users: tuple[str, ...] = ()
    since: date | None = None
    reason: str | None = None

    @property
    def lists_tokens(self) -> bool:
        """Whether tokens are shown, and not only runs."""
        return self.tokens or bool(self.ids or self.users)

    @property
    def words(self) -> tuple[object, ...]:
        """What is typed for its tokens."""
        ids = (word for number in sorted(self.ids) for word in ("--token", number))
        users = (word for name in self.users for word in ("--user", name))
        return (*ids, *users)

    def has(self, run: StoredRun) -> bool:
        """Whether this run is shown, by what is known of it alone."""
        last = max(filter(None, (run.created_at, run.begun_at, run.heartbeat_at, run.finished_at, run.withdrawn_at)))
        why = f"{run.reason or ''}\n{run.withdrawn_because or ''}".casefold()
        return (self.since is None or last >= str(self.since)) and (self.reason or "").casefold() in why


def wanted(
    environment: Environment,
    run: str | None,
    tokens: bool,
    token: Sequence[str] | None,
    user: Sequence[str] | None,
    since: str | None,
    reason: str | None,
) -> Wanted:
    """What these options want to see.

    Raises:
        UsageError: what cannot be read.
    """
    if run and (since or reason):
        raise UsageError("--run names one run already: leave --since and --reason out.")
    ids = {word: whole_number(word, 1, LARGEST_RUN) for word in words(token)}
    for word, number in ids.items():
        if number is None:
            raise UsageError(f'--token takes the id of a token, not "{word}".')
    return Wanted(
        number_of_run(environment, run),
        tokens,
        frozenset(number for number in ids.values() if number is not None),
        tuple(name_or_path("user", name).removeprefix("@") for name in words(user)),
        None if since is None else day_of("since", since, past=True),
        None if reason is None else free_text("reason", reason),
    )


def history(environment: Environment, locate: Locate, wanted: Wanted, output: str) -> None:
    """Show the runs, or one with its tokens, or the tokens of several."""
    site = locate()
    if wanted.run is not None:
        _show_run(environment, site, wanted.run, wanted, output)
    elif wanted.lists_tokens:
        _show_tokens(environment, site, wanted, output)
    else:
        _show_runs(environment, site, wanted, output)


def _show_runs(environment: Environment, site: Site, wanted: Wanted, output: str) -> None:
    columns = console.columns(environment.stdout)
    with environment.announced("Reading the journal"), database.reading(site.address) as connection:
        installation.check(connection, reading=True, tables=listing.TABLES)
        found = tuple(filter(wanted.has, runs.list_runs(connection)))
    show(
        environment,
        output,
        text=lambda: (laid_out(line, columns) for line in view.runs_screen(found, columns, some=wanted != Wanted())),
        json=lambda: view.runs_json(found, described(site)),
        csv=lambda: view.runs_csv(found, described(site)),
    )


def _show_run(environment: Environment, site: Site, run: int, wanted: Wanted, output: str) -> None:
    columns = console.columns(environment.stdout)
    with environment.announced("Reading the journal"), database.reading(site.address) as connection:
        installation.check(connection, reading=True, tables=listing.TABLES)
        preflight.check(connection, listing.NEEDS)
        one = runs.read_run(connection, run)
        attempts = runs.read_attempts(connection, run)
        touched = listing.read_touched(connection, run)
        sought = _sought(connection, wanted)
    with environment.announced("Reading the tokens"):
        listed = _begun(listing.read_tokens(site.address, one, sought))
    text = partial(view.run_screen, one, attempts, touched, listed, columns, which=wanted.words)
    show(
        environment,
        output,
        text=lambda: (laid_out(line, columns) for line in text()),
        json=lambda: view.run_json(one, attempts, touched, listed, described(site)),
        csv=lambda: view.tokens_csv(one, listed, described(site)),
    )


def _show_tokens(environment: Environment, site: Site, wanted: Wanted, output: str) -> None:
    columns = console.columns(environment.stdout)
    with environment.announced("Reading the journal"), database.reading(site.address) as connection:
        installation.check(connection, reading=True, tables=listing.TABLES)
        preflight.check(connection, listing.NEEDS)
        sought = _sought(connection, wanted)
        among = listing.runs_with(connection, sought)
        found = [run for run in runs.list_runs(connection) if wanted.has(run) and (among is None or run.id in among)]
    listed = ((run, listing.read_tokens(site.address, run, sought)) for run in found)
    text = partial(view.all_tokens_screen, listed, columns, which=wanted.words or ("--tokens",), users=wanted.users)
    show(
        environment,
        output,
        text=lambda: (laid_out(line, columns) for line in text()),
        json=lambda: view.all_tokens_json(listed, described(site)),
        csv=lambda: view.all_tokens_csv(listed, described(site)),
    )


def _sought(connection: Connection, wanted: Wanted) -> Sought:
    accounts, owned = listing.read_owners(connection, wanted.users) if wanted.users else (None, frozenset[int]())
    return Sought(wanted.ids or None, accounts, owned)


def _begun(found: Iterator[view.JournaledOutcome]) -> Iterator[view.JournaledOutcome]:
    """The same, once the first is there."""
    return chain(list(islice(found, 1)), found)

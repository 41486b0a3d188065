"""`history`: what was changed, by whom and why, run by run or token by token."""

from collections.abc import Iterator
from itertools import chain, islice

from tokens import database
from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.show import show
from tokens.gitlab import preflight
from tokens.journal import installation, listing, runs
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out
from tokens.views import history as view
from tokens.views.history_columns import columns_of

Outcome = listing.TokenOutcome | listing.RotationOutcome


def history(environment: Environment, locate: Locate, run: int | None, output: str) -> None:
    """Show the runs, or the one of this number with its tokens."""
    site = locate()
    address = site.address
    columns = console.columns(environment.stdout)
    if run is None:
        with environment.announced("Reading the journal"), database.reading(address) as connection:
            installation.check(connection, reading=True)
            found = runs.list_runs(connection)
        show(
            environment,
            output,
            text=lambda: (laid_out(line, columns) for line in view.runs_screen(found, columns)),
            json=lambda: view.runs_json(found, described(site)),
            csv=lambda: view.runs_csv(found),
        )
        return
    with environment.announced("Reading the journal"), database.reading(address) as connection:
        installation.check(connection, reading=True)
        preflight.check(connection, listing.NEEDS)
        one = runs.read_run(connection, run)
        attempts = runs.read_attempts(connection, run)
        touched = listing.read_touched(connection, run)
    with environment.announced("Reading the tokens"):
        listed = _begun(listing.read_tokens(address, one))
    show(
        environment,
        output,
        text=lambda: (laid_out(line, columns) for line in view.run_screen(one, attempts, touched, listed, columns)),
        json=lambda: view.run_json(one, attempts, touched, listed, described(site)),
        csv=lambda: view.tokens_csv(columns_of(one.kind), listed),
    )


def _begun(found: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same, once the first is there."""
    return chain(list(islice(found, 1)), found)

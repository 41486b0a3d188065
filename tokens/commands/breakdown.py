"""`breakdown`: how many tokens of each kind there are, how they stand, and what the instance demands."""

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.show import show
from tokens.inventory.breakdown import breakdown as breakdown_of
from tokens.selection import Selection
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.views import breakdown as view


def breakdown(environment: Environment, locate: Locate, selection: Selection, output: str) -> None:
    """Show what there is of `selection`, a fact a line.

    Raises:
        TokensError: see `tokens.errors`.
    """
    site = locate()
    with environment.announced("Counting the tokens"):
        found = breakdown_of(site.address, selection, release=site.release, ci=site.ci)
    environment.note(found.notes)
    show(
        environment,
        output,
        text=lambda: view.screen(found, console.columns(environment.stdout)),
        json=lambda: view.as_json(found, described(site), selection),
    )

"""`analyze`: when the instance's tokens expire."""

from tokens.commands.environment import Environment
from tokens.commands.instance import described
from tokens.commands.show import show
from tokens.inventory.analysis import analyze as analysis_of
from tokens.targets.places import Locate
from tokens.views import analysis as view


def analyze(environment: Environment, locate: Locate, most: int | None, output: str) -> None:
    """Show on which dates the most tokens expire: the `most` commonest ones, None for all."""
    site = locate()
    with environment.announced("Counting the tokens"):
        found = analysis_of(site.address, most)
    show(
        environment,
        output,
        text=lambda: view.screen(found, most),
        json=lambda: view.as_json(found, described(site)),
        csv=lambda: view.as_csv(found),
    )

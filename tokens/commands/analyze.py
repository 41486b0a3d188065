"""`analyze`: when the instance's tokens expire."""

from tokens.commands.environment import Environment
from tokens.inventory.analysis import analyze as analysis_of
from tokens.targets.places import Locate
from tokens.views import analysis as view


def analyze(environment: Environment, locate: Locate, most: int | None, output: str) -> None:
    """Show on which dates the most tokens expire: the `most` commonest ones, None for all."""
    address = locate().address
    with environment.announced("Counting the tokens"):
        found = analysis_of(address, most)
    match output:
        case "json":
            environment.print(view.as_json(found))
        case "csv":
            environment.print(view.as_csv(found), end="")
        case _:
            environment.print(view.screen(found, most))

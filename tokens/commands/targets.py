"""`targets`: what can be typed after `--target`."""

from tokens.commands.environment import Environment
from tokens.commands.show import show
from tokens.targets.known import Configured, known
from tokens.views import targets as view


def targets(environment: Environment, configured: Configured, output: str) -> None:
    """List the configured targets and what lies right here, and say which one is the default and why."""
    found = known(configured)
    show(environment, output, text=lambda: view.screen(found), json=lambda: view.as_json(found))

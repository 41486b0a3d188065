"""Asking before something is deleted for good."""

from tokens.commands.environment import Environment


def agreed(environment: Environment, warning: str) -> bool:
    """Whether the person at the terminal wants it in spite of the warning; where not, that is said."""
    yes = environment.prompts().confirm(f"WARNING: {warning} Are you sure?")
    if not yes:
        environment.print("Aborting!")
    return yes

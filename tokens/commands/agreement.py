"""Asking before something is deleted for good."""

from tokens.commands.environment import Environment


def agreed(environment: Environment, task: str, warning: str) -> bool:
    """Whether the person at the terminal wants `task` in spite of the warning; where not, that is said.

    Raises:
        TerminalRequired: there is no terminal.
    """
    environment.require_answer(task)
    yes = environment.prompts().confirm(f"WARNING: {warning} Are you sure?")
    if not yes:
        environment.print("Aborting!")
    return yes

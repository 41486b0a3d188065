"""Yes or no: whether a person agrees, and to what is deleted for good."""

from tokens.commands.environment import Environment
from tokens.terminal import console
from tokens.terminal.paragraphs import laid_out
from tokens.terminal.printable import printable
from tokens.terminal.questions import Questions

GLUE = "\N{NO-BREAK SPACE}"


def confirmed_by_person(environment: Environment, task: str, warning: str) -> bool:
    """Whether the person at the terminal wants `task` in spite of the warning; where not, that is said.

    Raises:
        TerminalRequired: there is no terminal.
    """
    environment.require_answer(task)
    yes = confirmed(environment, environment.prompts(), f"WARNING: {warning} Are you sure?")
    if not yes:
        environment.print("Aborting!")
    return yes


def confirmed(environment: Environment, prompts: Questions, question: str) -> bool:
    """Whether the answer is yes. Only the last line of a long question is asked: a terminal would break its words."""
    *lines, last = laid_out(f"{printable(question)}{GLUE}(y/N)", console.columns(environment.stdout)).split("\n")
    for line in lines:
        environment.print(line)
    return prompts.confirm(last.partition(GLUE)[0])

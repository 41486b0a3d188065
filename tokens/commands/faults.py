"""How a foreseeable fault ends a command: the only place that gives exceptions their exit statuses."""

from tokens.call import current
from tokens.commands.ending import Ending
from tokens.commands.environment import Environment
from tokens.errors import ExitStatus, TokensError
from tokens.targets.instance import Instance
from tokens.terminal import console
from tokens.terminal.interruption import Termination
from tokens.terminal.printable import printable
from tokens.views import document

UNKNOWN_TO_NAGIOS = 3
IN_DOCUMENT = "tokens: told in the document"  # noted on an exception that a JSON document has told of


def ended_by(error: TokensError | KeyboardInterrupt | EOFError) -> Ending:
    """How an exception ends a command: its line, and its exit status."""
    told = IN_DOCUMENT in getattr(error, "__notes__", ())
    match error:
        case TokensError():
            return Ending(error.status, str(error), error, told)
        case Termination():
            return Ending(ExitStatus.TERMINATED, str(error), error, told)
        case KeyboardInterrupt():
            return Ending(ExitStatus.INTERRUPTED, "Interrupted.", error, told)
    return Ending(ExitStatus.TERMINATED, "The terminal is gone.", error, told)


def print_document(environment: Environment, ending: Ending, *, one_line: bool = False) -> None:
    """Print the document of a command that has found nothing but a fault, if anybody takes it."""
    try:
        facts = {"error": ending.message, "status": int(ending.status)}
        environment.print(document.text(Instance(target=current().place), facts, one_line=one_line))
    except OSError:
        console.discard(environment.stdout)


def for_nagios(environment: Environment, ending: Ending) -> Ending:
    """Say on standard output that nothing is known, and end as a plugin of Nagios does then."""
    try:
        environment.print(f"TOKENS UNKNOWN - {printable(ending.message)}")
    except OSError:
        console.discard(environment.stdout)
    return Ending(UNKNOWN_TO_NAGIOS, "", ending.cause)


def told_in_document(error: BaseException) -> None:
    """Note that there is a document already, whole or in part: no other one may follow."""
    error.add_note(IN_DOCUMENT)

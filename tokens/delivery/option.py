"""What `--deliver` names."""

from typing import TextIO

from tokens.delivery.command import CommandDelivery
from tokens.delivery.destination import Delivery
from tokens.delivery.file import FileDelivery
from tokens.delivery.output import OutputDelivery
from tokens.errors import UsageError
from tokens.spelling import meant

FORMS = "file:PATH, command:COMMAND or stdout"


def parse_delivery(text: str, *, force: bool, output: TextIO | None, errors: TextIO | None) -> Delivery:
    """The destination that `--deliver` names. To be called before the process may become another user.

    Args:
        text: the option's value.
        force: whether a file that is there may be replaced.
        output: standard output, None where the caller has closed it.
        errors: standard error, the same way: a command prints there.

    Raises:
        UsageError: it is none of the forms, or incomplete.
    """
    word, colon, rest = text.partition(":")
    match word:
        case "file" if rest:
            return FileDelivery(rest, force=force)
        case "command" if rest.strip() and "\0" not in rest:
            return CommandDelivery(rest, errors)
        case "stdout" if not colon:
            return OutputDelivery(output)
    raise UsageError(f'--deliver takes {FORMS}, not "{text}"{_meant(text)}.')


def _meant(text: str) -> str:
    word, colon, rest = text.partition(":")
    if not colon and "/" in text:
        return f' (did you mean "file:{text}"?)'
    near = meant(word, ("file", "command") if colon else ("stdout",))
    return near.replace('"?)', f':{rest}"?)') if colon else near

"""How a check looks: one line for people and for Nagios, and JSON."""

from collections.abc import Iterable, Iterator
from enum import IntEnum

from tokens.counts import counted
from tokens.inventory.due import Due, DueToken
from tokens.targets.instance import Instance
from tokens.terminal.paragraphs import cut
from tokens.terminal.printable import printable
from tokens.views import document, others
from tokens.views.owner import nobody
from tokens.views.times import near

LONGEST = 100  # columns of a name or path


class Severity(IntEnum):
    """How bad it is, with the number that a Nagios plugin ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def severity(due: Due) -> Severity:
    """How bad it is. A token that is tried although it has expired is urgent: something is broken already."""
    if due.urgent or due.expired_in_use:
        return Severity.CRITICAL
    return Severity.WARNING if due.warning else Severity.OK


def lines(due: Due) -> Iterator[str]:
    """How many tokens stop working, within how many days, and when the first one does; then each that was asked for."""
    yield _line(due)
    yield from map(_of_token, due.each)


def nagios(due: Due, of_logs: Iterable[str]) -> Iterator[str]:
    """The same with performance data, which a bar begins: so there is none in a name.

    Notes are lines behind it, those `of_logs` too.
    """
    # `8:` is an alarm below 8.
    first = "" if due.days is None else f" first_days={due.days};{due.warn + 1}:;{due.critical + 1}:"
    in_use = "" if due.expired_in_use is None else f" expired_in_use={due.expired_in_use};;0"
    yield f"{_line(due)} | expiring={due.warning};0 urgent={due.urgent};;0{first}{in_use}"
    more = (*(f"NOTE: {printable(note)}" for note in (*due.notes, *of_logs)), *map(_of_token, due.each))
    yield from (line.replace("|", "/") for line in more)


def as_json(due: Due, instance: Instance, *, each: bool) -> str:
    """The same for a program; with `each` the tokens are in it."""
    return document.text(
        instance,
        {
            "state": severity(due).name.lower(),
            "warn_days": due.warn,
            "critical_days": due.critical,
            "expiring": due.warning,
            "urgent": due.urgent,
            "first": None if due.first is None else str(due.first),
            **({} if due.expired_in_use is None else {"expired_in_use": due.expired_in_use}),
            "notes": list(due.notes),
            "others": others.as_json(due.others),
            **({"tokens": [_as_dict(token) for token in due.each]} if each else {}),
        },
    )


def _line(due: Due) -> str:
    tried = ""
    if due.expired_in_use is not None:
        number = due.expired_in_use
        expired = counted(number, "expired token is", "expired tokens are") if number else "no expired token is"
        tried = f"; {expired} still tried"
    return f"TOKENS {severity(due).name} - {_sentence(due)}{tried}"


def _of_token(token: DueToken) -> str:
    owner = f"({nobody(token.kind)})" if token.owner is None else printable(token.owner)
    name = cut(printable(token.name), LONGEST)
    earlier = "" if token.ends_on == token.expires_at else " goes with its bot's membership"
    return f'{near(token.ends_on)}: {token.kind} token {token.id} of {cut(owner, LONGEST)}, "{name}"{earlier}'


def _as_dict(token: DueToken) -> dict[str, object]:
    return {
        "id": token.id,
        "expires_at": None if token.expires_at is None else str(token.expires_at),
        "ends_on": str(token.ends_on),
        "kind": token.kind.value,
        "owner": token.owner,
        "name": token.name,
    }


def _sentence(due: Due) -> str:
    if not due.warning or due.first is None:
        return f"{'nothing' if due.named else 'no token'} stops working within {counted(due.warn, 'day')}"
    urgent = f", {due.urgent:,} of them within {due.critical}" if due.urgent and due.critical < due.warn else ""
    what = counted(due.warning, "credential" if due.named else "token")
    stop = "stops" if due.warning == 1 else "stop"
    return f"{what} {stop} working within {counted(due.warn, 'day')}{urgent}, the first on {near(due.first)}"

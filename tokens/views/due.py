"""How a check looks: one line for people and for Nagios, and JSON."""

from enum import IntEnum

from tokens.inventory.due import Due
from tokens.targets.instance import Instance
from tokens.views import document, others


class Severity(IntEnum):
    """How bad it is, with the number that a Nagios plugin ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def severity(due: Due) -> Severity:
    """How bad it is."""
    if due.urgent:
        return Severity.CRITICAL
    return Severity.WARNING if due.warning else Severity.OK


def line(due: Due) -> str:
    """One line: how many tokens stop working, within how many days, and when the first one does."""
    return f"TOKENS {severity(due).name} - {_sentence(due)}"


def nagios(due: Due) -> str:
    """The same with performance data."""
    first = "" if due.days is None else f" first_days={due.days};{due.warn};{due.critical}"
    return f"{line(due)} | expiring={due.warning};0 urgent={due.urgent};;0{first}"


def as_json(due: Due, instance: Instance) -> str:
    """The same for a program."""
    return document.text(
        instance,
        {
            "state": severity(due).name.lower(),
            "warn_days": due.warn,
            "critical_days": due.critical,
            "expiring": due.warning,
            "urgent": due.urgent,
            "first": None if due.first is None else str(due.first),
            "others": others.as_json(due.others),
        },
    )


def _sentence(due: Due) -> str:
    if not due.warning or due.first is None:
        return f"{'nothing' if due.named else 'no token'} stops working within {due.warn} days"
    urgent = f", {due.urgent:,} of them within {due.critical}" if due.urgent else ""
    what = "credentials" if due.named else "tokens"
    return f"{due.warning:,} {what} stop working within {due.warn} days{urgent}, the first on {due.first}"

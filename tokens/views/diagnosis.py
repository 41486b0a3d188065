"""How the diagnosis looks, and the privileges that it says a role needs: lines, JSON and SQL."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tokens.inventory.diagnosis import Finding
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.views import document

HANGING = 29
"""Columns before a finding's text."""


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """A line for each finding."""
    for one in findings:
        yield f"{one.verdict.upper():<5}{one.subject:<24}{printable(one.text)}"


def as_json(findings: Iterable[Finding], instance: Instance) -> str:
    """The findings for a program."""
    rows = [{"subject": one.subject, "verdict": one.verdict, "text": one.text} for one in findings]
    return document.text(instance, {"findings": rows})


def grants_as_sql(statements: Mapping[str, Sequence[str]]) -> str:
    """The statements for psql, by task; what several tasks need comes several times, which does no harm."""
    parts = ["-- To be run by the tables' owner, once the role is there (CREATE ROLE … LOGIN)."]
    for name, needed in statements.items():
        shown = (printable(one) if one.startswith("--") else f"{one};" for one in needed)
        parts += ["", f"-- {name}", *shown]
    return "\n".join(parts)


def grants_as_json(statements: Mapping[str, Sequence[str]], instance: Instance) -> str:
    """The same for a program."""
    return document.text(instance, {"grants": statements})

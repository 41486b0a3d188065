"""How many credentials there are that are no access tokens, beside what a task shows of tokens: a line, or a field."""

from collections.abc import Iterator, Mapping

from tokens.counts import counted
from tokens.gitlab.credentials import OtherKind


def line(counts: Mapping[OtherKind, int | None]) -> Iterator[str]:
    """One line with the option that shows them, where there are some or some were not counted."""
    ending = {kind: number for kind, number in counts.items() if number}
    uncounted = [kind for kind, number in counts.items() if number is None]
    parts = []
    if ending:
        said = ", ".join(counted(number, kind.value) for kind, number in ending.items())
        parts.append(f"Others expire, too: {said} (--kind {','.join(ending)} shows them).")
    if uncounted:
        parts.append(f"Not counted: {', '.join(uncounted)} (--kind {uncounted[0]} shows them, or says why not).")
    if parts:
        yield " ".join(parts)


def as_json(counts: Mapping[OtherKind, int | None]) -> dict[str, int | None]:
    """The numbers by kind, null for what is not seen at once; empty where they were not counted."""
    return {kind.value: number for kind, number in counts.items()}

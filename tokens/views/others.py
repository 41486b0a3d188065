"""How many credentials there are that are no access tokens, beside what a task shows of tokens: a line, or a field."""

from collections.abc import Iterator, Mapping

from tokens.gitlab.credentials import OtherKind


def line(counts: Mapping[OtherKind, int | None]) -> Iterator[str]:
    """One line with the option that shows them, where there are some or some cannot be seen."""
    ending = {kind: number for kind, number in counts.items() if number}
    unseen = [kind for kind, number in counts.items() if number is None]
    parts = []
    if ending:
        said = ", ".join(f"{number:,} {kind}" for kind, number in ending.items())
        parts.append(f"Others expire, too: {said} (--kind {','.join(ending)} shows them).")
    if unseen:
        parts.append(f"Not read: {', '.join(unseen)} (--kind {unseen[0]} says why).")
    if parts:
        yield " ".join(parts)


def as_json(counts: Mapping[OtherKind, int | None]) -> dict[str, int | None]:
    """The numbers by kind, null for what cannot be seen; empty where they were not counted."""
    return {kind.value: number for kind, number in counts.items()}

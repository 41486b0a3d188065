"""A row of the journal that this program never writes: something else has changed it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from tokens.call import to_type
from tokens.errors import Refused, UsageError


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say of `what` that it is damaged where the block cannot make sense of its row.

    Raises:
        Refused: with what to type to see what was changed.
    """
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, UsageError, ValueError) as error:
        raise Refused(
            f"{what} is damaged in the journal: something else has changed it, and it cannot be read."
            + to_type("to see what was changed", "journal.status")
        ) from error


def origin_of(stored: object) -> Mapping[str, str]:
    """An origin as `tokens.origin.Origin.as_dict` gives it. Raises TypeError for anything else."""
    if not isinstance(stored, dict) or not all(isinstance(text, str) for text in stored.values()):
        raise TypeError(f"this is no origin: {stored!r}")
    return stored


def moment_of(stored: object) -> str:
    """A point in time, ISO 8601 in UTC, of the years 1 to 9999. Raises TypeError or ValueError for anything else."""
    if not isinstance(stored, str):
        raise TypeError(f"this is no point in time: {stored!r}")
    datetime.fromisoformat(stored)
    return stored


def mapping_of(stored: object) -> Mapping[str, object]:
    """An object of JSON. Raises TypeError for anything else."""
    if not isinstance(stored, dict):
        raise TypeError(f"this is no object of JSON: {stored!r}")
    return stored

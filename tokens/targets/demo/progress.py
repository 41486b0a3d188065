"""What a fill tells its caller while it works."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What is being done, and how far it is where that can be counted."""

    text: str
    done: int | None = None
    total: int | None = None


ReportProgress = Callable[[Progress], None]

"""What happens in a run: its events, and how it fails."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from tokens.errors import DatabaseError, TokensError


@dataclass(frozen=True)
class Reread:
    """How many tokens are left of the plan: another process has gone on with the run since the caller read it."""

    tokens: int


@dataclass(frozen=True)
class BatchStarting:
    """About to change these tokens: smallest and largest id."""

    first_id: int
    last_id: int


@dataclass(frozen=True)
class BatchCommitted:
    """How many of the plan's tokens are dealt with by now: changed, or found changed by somebody else."""

    dealt_with: int


@dataclass(frozen=True)
class Waiting:
    """Nothing is changed for the moment, for this reason."""

    reason: str


@dataclass(frozen=True)
class Recounted:
    """How many tokens are in the table as the plan wants them, counted after the last transaction.

    `tokens` of those that were left to this attempt, and `tokens_before` of the `of_before` that the attempts before
    it had dealt with.
    """

    tokens: int
    tokens_before: int = 0
    of_before: int = 0


@dataclass(frozen=True)
class Finished:
    """What became of the plan's tokens.

    `changed_meanwhile` were left alone because they were no longer as the plan has them (or were gone); `locked`
    because another session held them to the end; `untouched` because the run was asked to stop.
    """

    changed: int
    changed_meanwhile: int = 0
    locked: int = 0
    untouched: int = 0


Event = Reread | BatchStarting | BatchCommitted | Waiting | Recounted | Finished


class RunFailed(DatabaseError):
    """The database failed in the middle of a run, or allowed no more of it; `changed` tokens had been committed before.

    `reversible` is whether there may be anything to undo: a commit whose answer was lost may have been made. `run` is
    its number in the journal, None where it has none.
    """

    def __init__(self, reason: TokensError, changed: int, *, reversible: bool, run: int | None = None) -> None:
        super().__init__(str(reason))
        self.changed = changed
        self.reversible = reversible
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), reversible=self.reversible, run=self.run), (TokensError(str(self)), self.changed)

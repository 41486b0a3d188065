"""How far a run is, for all who carry one out: what has been done so far, and how it ends where something ends it."""

import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from tokens.address import Address
from tokens.call import one_message
from tokens.change.notes import first_of
from tokens.change.plan import Plan
from tokens.commands import next_steps
from tokens.commands.ending import Ending, so_far, stopped
from tokens.commands.environment import Environment
from tokens.counts import counted, them
from tokens.errors import ExitStatus, TokensError
from tokens.journal.record import Recorder
from tokens.run.batches import BatchCommitted, Event, Finished, Recounted, Reread, RunFailed, Waiting
from tokens.run.undo import read_changed_since
from tokens.terminal.progress import ProgressBar


@dataclass
class Course:
    """How far a run is: what there is to say of it, whenever it has to be said.

    Attributes:
        plan: its plan.
        recorder: where it is written down.
        unrecorded: what to type next where that is nowhere.
        tokens: those of the plan, or what is left of it where another process has gone on with the run.
        dealt_with: how many of them have had their turn.
        recounted: how many have their new date, counted at the end, also of those that attempts before have dealt with.
        end: what became of them, None until then.
    """

    plan: Plan
    recorder: Recorder
    unrecorded: str = next_steps.AGAIN
    tokens: int = field(init=False)
    dealt_with: int = 0
    recounted: Recounted | None = None
    end: Finished | None = None

    def __post_init__(self) -> None:
        self.tokens = self.plan.tokens

    def follow(
        self, events: Iterable[Event], environment: Environment, progress: ProgressBar, tell: Callable[[Event], None]
    ) -> None:
        """Show how far it is until its last event; `tell` says what else there is to say of one."""
        with ExitStack() as recounting:
            for event in events:
                recounting.close()
                match event:
                    case Reread(tokens):
                        self.tokens = tokens
                        progress.expect(tokens)
                    case BatchCommitted(dealt_with):
                        self.dealt_with = dealt_with
                        progress.update(dealt_with)
                        if dealt_with == self.tokens:
                            progress.erase()
                            recounting.enter_context(environment.announced("Counting the tokens again"))
                    case Waiting(reason):
                        progress.waiting(reason)
                    case Recounted():
                        self.recounted = event
                    case Finished():
                        progress.erase()
                        self.end = event
                tell(event)

    def so_far(self, changed: int, *, reversible: bool = True) -> str:
        """What stays, and what to type next; `reversible` is whether there may be anything to take back."""
        return f"{so_far(changed, self.tokens, 'changed')}{self.to_go_on(reversible=reversible)}"

    def to_go_on(self, *, reversible: bool = True) -> str:
        """What to type next."""
        return next_steps.to_go_on(self.recorder, self.plan.kind, reversible=reversible, unrecorded=self.unrecorded)

    def lost(self, address: Address) -> str:
        """Which tokens did not stay as they were changed, as a clause; empty where all did, or nobody has counted."""
        changed = 0 if self.end is None else self.end.changed
        if self.recounted is None or self.recounted.tokens >= changed:
            return ""
        ids: list[int] = []
        if self.recorder.run is not None:
            with suppress(TokensError):  # the number alone is worth more than a fault at the very end
                since = frozenset(read_changed_since(address, self.recorder.run))
                ids = [one for chunk in self.plan.chunks for one in chunk.ids if one in since]
        number = changed - self.recounted.tokens
        kept = f"keep {'its' if number == 1 else 'their'} {'old' if self.plan.is_undo else 'new'} date"
        if self.plan.change.revokes or self.plan.change.removes:
            kept = "stay so"
        lost = f"{counted(number, 'token')} did not {kept}, so something else changes {them(number)}"
        return f"{lost}: {first_of(ids)}" if ids else lost

    def interrupted(self) -> Ending:
        """Ctrl-C has ended it in the middle."""
        tokens = counted(self.tokens, "token")
        return Ending(
            ExitStatus.INTERRUPTED,
            f"Stopped in the middle of a transaction, after {self.dealt_with:,} of {tokens}.{self.to_go_on()}",
        )

    def failed(self, error: RunFailed) -> Ending:
        """The database failed, or allowed no further change."""
        so_far = self.so_far(error.changed, reversible=error.reversible)
        status = ExitStatus.PARTIAL if error.changed or error.reversible else ExitStatus.FAILED
        return Ending(status, one_message(str(error), so_far), error)

    def stopped(self, end: Finished, by: signal.Signals | None) -> Ending:
        """It was asked to stop, and did between two transactions."""
        return stopped(by, self.so_far(end.changed, reversible=self.recorder.has_changed(end.changed)))

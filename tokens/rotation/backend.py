"""What a rotation asks of GitLab's side, which is right here (`local`) or in a container (`remote`).

Key and database stay on that side; a new token leaves it once, to be delivered by the side that asked for it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from tokens.errors import TokensError
from tokens.journal.ended import SyslogLine
from tokens.journal.installation import RunState
from tokens.rotation.candidate import Candidate, Search
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import Stage
from tokens.secret import Secret

POLL = 0.1  # seconds between two looks whether somebody wants to stop


@dataclass(frozen=True)
class Question:
    """What is asked before a person is: which tokens, and how they are to be rotated.

    `expires_in` and `grace` are days. `selects` says that the options say which tokens; else those near their date are
    looked for, and all of the kind where there are none. `of_all` takes all that are found, and not one of them;
    `named` says that it is by their name, id or account. `chosen` are tokens that were found before: none is looked for
    then. `new_owner` is the username of the service account that people's new tokens belong to; None keeps the owners.
    `resume` is the number of a run, about which alone it is then. `asks_url` wants GitLab's own URL. A `dry_run` makes
    nothing, so neither keys nor journal are looked at; where it is `unattended` there has to be a journal.
    """

    search: Search
    expires_in: int
    grace: int | None = None
    selects: bool = True
    of_all: bool = True
    named: bool = False
    allow_personal: bool = False
    new_owner: str | None = None
    chosen: tuple[Candidate, ...] = ()
    resume: int | None = None
    asks_url: bool = False
    dry_run: bool = False
    unattended: bool = False


@dataclass(frozen=True)
class Survey:
    """What there is to rotate, and what stands in the way.

    `found` are the tokens that are meant, the nearest to today first; `widened` says that none was near, so that these
    are all of the kind. Where there are none `others` are those of other kinds with that name or account, else, of a
    token that is named, those of other states; `why` is the reason. `unknown_ids` are those of the selection that no
    token has. `obstacles` say by the ids of those found why they cannot be rotated; of one that is meant alone its plan
    says so.

    `plan` is for the tokens that the question alone decides on, None where a person has to choose or none is left;
    `fault` is why there are no plan or obstacles. `remaining` is the plan rotation by rotation, or what is left of
    the run that is resumed; `planned_at` is when that one was planned.

    `url` is that of this GitLab where it was asked for. The other faults say what it lacks: `journal` (to be installed,
    or migrated), `url_fault` and `keys`, with which new tokens are digested.
    """

    found: tuple[Candidate, ...] = ()
    widened: bool = False
    others: tuple[Candidate, ...] = ()
    why: str | None = None
    unknown_ids: tuple[int, ...] = ()
    obstacles: dict[int, str] = field(default_factory=dict)
    plan: RotationPlan | None = None
    fault: TokensError | None = None
    remaining: tuple[Resumption, ...] = ()
    planned_at: str | None = None
    url: str | None = None
    journal: TokensError | None = None
    url_fault: TokensError | None = None
    keys: TokensError | None = None

    @property
    def unfinished_runs(self) -> tuple[int, ...]:
        """The runs that keep tokens from being rotated, each with successors of theirs that work."""
        held_up = (one.unfinished_run for one in self.found if one.id in self.obstacles)
        return tuple(sorted({run for run in held_up if run is not None}))

    @property
    def free(self) -> tuple[Candidate, ...]:
        """Those that can be rotated, as far as obstacles were looked for."""
        return tuple(one for one in self.found if one.id not in self.obstacles)


@dataclass(frozen=True)
class Begun:
    """A run that is carried out now: its number, that of the attempt, what remains of it, and when it was planned.

    `take_over` does not say the last two again.
    """

    run: int
    attempt: int
    remaining: tuple[Resumption, ...] = ()
    planned_at: str | None = None


@dataclass(frozen=True)
class Made:
    """A successor that is there now. `token` is None where GitLab did not confirm it, with the `objection`.

    `of_token` says that the objection is about this token alone.
    """

    id: int
    token: Secret | None
    objection: str | None = None
    of_token: bool = False


@dataclass(frozen=True)
class Retired:
    """The journal knows that a successor is delivered; the old token is retired, or not, for this `fault`."""

    retirement: Retirement | None
    fault: TokensError | None = None


class Backend(Protocol):
    """GitLab's side of a rotation. Everything raises the faults of `tokens.errors`.

    What has an effect may be asked for again if the answer was lost: it does no harm, and says the same.

    `interval` is how many seconds lie between two heartbeats; `stop_requested` says that somebody wants to stop.
    """

    interval: float
    stop_requested: Callable[[], bool]

    def survey(self, question: Question) -> Survey:
        """Find out all that has to be known before a person is asked. Changes nothing.

        Raises:
            UsageError: there is no such user, group, project or run.
            JournalMissing, JournalOutdated: see Question; a run that is resumed is in one.
        """
        ...

    def install_journal(self) -> None:
        """Install the journal, or migrate it."""
        ...

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        """Store the plan and take it on; refused while another run is under way."""
        ...

    def resume(self, run: int) -> Begun:
        """Take on a run that was stopped."""
        ...

    def make(self, rotation: Rotation, url: str | None) -> Made:
        """Create a successor and let the GitLab at `url` confirm it; None goes without.

        One that is not confirmed is there, and has to be abandoned. Refused or LockTimeout: nothing was made. This
        alone cannot be asked for again: where the answer was lost so is the token.
        """
        ...

    def mark(self, token_id: int, reached: Stage, destination: str | None = None) -> None:
        """Write down that the successor of this token is handed over from now on, and where it goes."""
        ...

    def finish(self, rotation: Rotation, delivered: bool) -> Retired:
        """Write down that the successor is delivered, unless it says so already, and retire the old token.

        These are two transactions, the first one first. What is wrong with the first is raised.
        """
        ...

    def abandon(self, token_id: int) -> None:
        """As `tokens.rotation.retirement.abandon`."""
        ...

    def beat(self) -> None:
        """Give a sign of life; TakenOver where another process goes on with the run."""
        ...

    def take_over(self, attempt: int) -> Begun:
        """Go on with the run as this attempt: a process that was lost touch with can commit nothing any more."""
        ...

    def end(self, state: RunState, why: str | None) -> SyslogLine | None:
        """Write down how the run ended; the line of `tokens.journal.ended` about that."""
        ...


def wait(seconds: float, stop_requested: Callable[[], object]) -> None:
    """Wait so long, or until somebody wants to stop."""
    deadline = time.monotonic() + seconds
    while not stop_requested() and (rest := deadline - time.monotonic()) > 0:
        time.sleep(min(rest, POLL))


@contextmanager
def heartbeats(backend: Backend) -> Iterator[None]:
    """Let the journal know that the run lives, however long GitLab, a command or a person takes."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(backend.interval):
            # Whatever is wrong, the next step will meet it, too.
            with suppress(TokensError):
                backend.beat()

    thread = threading.Thread(target=beat, name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

"""Where tokens are rotated: beside GitLab's database and its secrets.

A bench is right here, or in a container with a process of ours at it (`tokens.tasks.rotate_there`). The key and the
database stay at the bench; a new token leaves it once, to be delivered by whoever asked for it.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tokens import database
from tokens.errors import DatabaseError, ReadOnly, TokensError, UsageError
from tokens.gitlab.digest import Keys
from tokens.journal import installation, record, setup
from tokens.journal.installation import JournalMissing, RunState
from tokens.journal.record import HEARTBEAT, Record
from tokens.origin import Origin
from tokens.rotation import candidate, plan, resumption, retirement, stage, successor
from tokens.rotation.candidate import Candidate, Search
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import Stage
from tokens.rotation.successor import Successor
from tokens.secret import Secret
from tokens.targets.here.instance_url import read_instance_url, trusted_certificates
from tokens.targets.here.secrets import read_keys
from tokens.targets.here.site import Site
from tokens.tasks import recording
from tokens.tasks.recording import STORE_TIMEOUT
from tokens.terminal.steps import announced
from tokens.verification import Instance, VerificationFailed, agrees, verify

POLL = 0.1  # seconds

# What may take long before anything is shown.
FINDING = "Looking for the tokens"
CHECKING = "Looking at the tokens"
PLANNING = "Making the plan"


@dataclass(frozen=True)
class Proof:
    """The GitLab that has to accept a new token."""

    url: str


@dataclass(frozen=True)
class Begun:
    """A run that this process carries out now: its number, that of the attempt, and what is left of it."""

    run: int
    attempt: int
    left: tuple[Resumption, ...]


@dataclass(frozen=True)
class Made:
    """A successor that is there now. `token` is None where GitLab did not confirm it, with the `objection`.

    `of_token` says that the objection is about this token alone.
    """

    id: int
    token: Secret | None
    objection: str | None = None
    of_token: bool = False


class Bench(Protocol):
    """What a rotation asks of GitLab's side. Everything raises the faults of `tokens.errors`.

    `heartbeat` is how many seconds lie between two signs of life; `hurried` says that somebody wants to stop.
    """

    heartbeat: float
    hurried: Callable[[], bool]

    def find(self, search: Search) -> tuple[Candidate, ...]:
        """As `tokens.rotation.candidate.find`."""
        ...

    def obstacles(self, candidates: tuple[Candidate, ...], allow_personal: bool) -> dict[int, str]:
        """As `tokens.rotation.plan.obstacles`."""
        ...

    def plan(
        self,
        candidates: tuple[Candidate, ...],
        expires_in: int,
        grace: int | None,
        allow_personal: bool,
    ) -> RotationPlan:
        """As `tokens.rotation.plan.plan`."""
        ...

    def left(self, run: int) -> tuple[Resumption, ...]:
        """What a run that was stopped still needs, as `tokens.rotation.resumption.resumable`."""
        ...

    def url(self) -> str:
        """The URL of this GitLab, by which it can be asked about a token; UsageError where it is not known."""
        ...

    def check_keys(self) -> None:
        """Make sure that tokens can be digested here."""
        ...

    def check_journal(self) -> None:
        """Make sure that the journal is there: JournalMissing, or JournalOutdated where it has to be migrated first."""
        ...

    def install_journal(self) -> None:
        """Install it, or migrate it."""
        ...

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        """Store the plan and take it on; refused while another run is under way."""
        ...

    def resume(self, run: int) -> Begun:
        """Take on a run that was stopped."""
        ...

    def make(self, rotation: Rotation, url: str | None) -> Made:
        """Create a successor and let the GitLab at `url` confirm it; None goes without.

        One that is not confirmed is there, and has to be abandoned. Refused or LockTimeout: nothing was made.
        """
        ...

    def mark(self, token_id: int, reached: Stage) -> None:
        """Write down that the successor of this token is handed over from now on, or where it belongs."""
        ...

    def finish(self, rotation: Rotation) -> Retirement:
        """As `tokens.rotation.retirement.finish`."""
        ...

    def abandon(self, token_id: int) -> None:
        """As `tokens.rotation.retirement.abandon`."""
        ...

    def stage(self, token_id: int) -> Stage | None:
        """How far the rotation of this token is."""
        ...

    def beat(self) -> None:
        """Give a sign of life; TakenOver where another process goes on with the run."""
        ...

    def renew(self, wanted: int) -> Begun:
        """Go on with the run as attempt `wanted`: a process that was lost touch with can commit nothing any more."""
        ...

    def end(self, state: RunState, why: str | None) -> None:
        """Write down how the run ended."""
        ...


class BenchHere:
    """The bench in this process; `record` is the run that it has taken on, if it has.

    A `silent` one names nothing that takes long, since nobody would read it in time.
    """

    def __init__(
        self,
        site: Site,
        who: Origin,
        *,
        keys: Keys | None = None,
        record: Record | None = None,
        silent: bool = False,
    ) -> None:
        self._silent = silent
        self._site = site
        self._address = site.address
        self._who = who
        self._keys = keys
        self._record = record
        self.heartbeat = HEARTBEAT
        self.hurried: Callable[[], bool] = lambda: False

    def _announcing(self, step: str) -> AbstractContextManager[None]:
        return nullcontext() if self._silent else announced(step, sys.stderr)

    def find(self, search: Search) -> tuple[Candidate, ...]:
        with self._announcing(FINDING):
            return candidate.find(self._address, search)

    def obstacles(self, candidates: tuple[Candidate, ...], allow_personal: bool) -> dict[int, str]:
        with self._announcing(CHECKING):
            return plan.obstacles(self._address, candidates, allow_personal=allow_personal)

    def plan(
        self,
        candidates: tuple[Candidate, ...],
        expires_in: int,
        grace: int | None,
        allow_personal: bool,
    ) -> RotationPlan:
        with self._announcing(PLANNING):
            return plan.plan(
                self._address,
                candidates,
                expires_in=expires_in,
                grace=grace,
                release=self._site.installation.version if self._site.installation else None,
                allow_personal=allow_personal,
            )

    def left(self, run: int) -> tuple[Resumption, ...]:
        self.check_journal()
        return resumption.resumable(self._address, run)

    def url(self) -> str:
        if self._site.installation is None:
            raise UsageError("A database does not tell GitLab's URL: say it with --verify URL.")
        return str(Instance.at(read_instance_url(self._site.installation)))

    def check_keys(self) -> None:
        if self._keys is not None:
            return
        if self._site.installation is None:
            raise UsageError(
                "A database does not hold GitLab's db_key_base, with which a new token is digested: say --secrets-file "
                "with a copy of its secrets.yml or gitlab-secrets.json."
            )
        self._keys = read_keys(self._site.installation)

    def check_journal(self) -> None:
        with database.reading(self._address) as connection:
            try:
                installation.check(connection)
            except JournalMissing:
                raise JournalMissing(
                    "The journal is not installed in this database, and a rotation that nobody records could leave a "
                    "token that nobody knows: install it with tokens.journal.install."
                ) from None

    def install_journal(self) -> None:
        setup.install(self._address)

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        with database.connect(self._address) as connection, database.writing(connection, **STORE_TIMEOUT):
            record.check_idle(connection)
            number = stage.store(connection, planned, self._who, reason)
            # In the same transaction, so that a run that is refused leaves nothing behind.
            self._record = record.begin(connection, number, self._who)
        return Begun(number, self._record.attempt, resumption.planned(planned))

    def resume(self, run: int) -> Begun:
        begun = recording.resume(self._address, run, self._who)
        if not isinstance(begun, Record):
            raise TypeError("a run that is resumed is recorded")
        self._record = begun
        # Only now: before it was taken on, somebody else may have gone on with it.
        return Begun(run, begun.attempt, self.left(run))

    def make(self, rotation: Rotation, url: str | None) -> Made:
        self.check_keys()
        if self._keys is None:
            raise TypeError("keys that were checked are there")
        with database.connect(self._address) as connection:
            made = successor.create(connection, rotation, self._keys, run=self._run)
        if url is None:
            return Made(made.id, made.token)
        try:
            with signs_of_life(self):
                self._verify(made, url)
            with database.connect(self._address) as connection:
                stage.mark(connection, self._run, rotation.candidate.id, Stage.VERIFIED)
        except VerificationFailed as fault:
            return Made(made.id, None, str(fault), fault.of_token)
        except (DatabaseError, ReadOnly) as fault:
            return Made(made.id, None, str(fault))
        return Made(made.id, made.token)

    def mark(self, token_id: int, reached: Stage) -> None:
        with database.connect(self._address) as connection:
            stage.mark(connection, self._run, token_id, reached)

    def finish(self, rotation: Rotation) -> Retirement:
        with database.connect(self._address) as connection:
            return retirement.finish(connection, self._run, rotation)

    def abandon(self, token_id: int) -> None:
        with database.connect(self._address) as connection:
            retirement.abandon(connection, self._run, token_id)

    def stage(self, token_id: int) -> Stage | None:
        with database.reading(self._address) as connection:
            return stage.read(connection, self._run.run, token_id)

    def beat(self) -> None:
        with (
            database.connect(self._address) as connection,
            database.writing(connection, **STORE_TIMEOUT),
        ):
            self._run.beat(connection)

    def renew(self, wanted: int) -> Begun:
        with database.connect(self._address) as connection, database.writing(connection, **STORE_TIMEOUT):
            self._record = record.renew(connection, self._run.run, wanted, self._who)
        return Begun(self._record.run, self._record.attempt, ())

    def end(self, state: RunState, why: str | None) -> None:
        with (
            database.connect(self._address) as connection,
            database.writing(connection, **STORE_TIMEOUT),
        ):
            self._run.finish(connection, state, why)

    @property
    def _run(self) -> Record:
        if self._record is None:
            raise TypeError("a run is begun before its tokens are made")
        return self._record

    def _verify(self, made: Successor, url: str) -> None:
        here = self._site.installation
        trusted: Sequence[Path] = trusted_certificates(here) if here else ()
        found = verify(url, made.token, trusted=trusted, pause=self._pause)
        day = None if made.expires_at is None else str(made.expires_at)
        if not agrees(found, made.id, day):
            raise VerificationFailed(
                f"{url} takes the new token for one with id {found.id} that expires on {found.expires_at or 'no day'}, "
                f"and here it has id {made.id} and expires on {day or 'no day'}: it works on another database than "
                "this one."
            )

    def _pause(self, seconds: float) -> None:
        """Wait, but not for GitLab's replicas once somebody wants to stop."""
        deadline = time.monotonic() + seconds
        while not self.hurried() and (rest := deadline - time.monotonic()) > 0:
            time.sleep(min(rest, POLL))


@contextmanager
def signs_of_life(bench: Bench) -> Iterator[None]:
    """Let the journal know that the run lives, however long GitLab, a command or a person takes."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(bench.heartbeat):
            # Whatever is wrong, the next step will meet it, too.
            with suppress(TokensError):
                bench.beat()

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

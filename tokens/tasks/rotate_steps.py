"""A rotation carried out: create, verify, deliver, revoke, one token after the other.

Whatever ends it between two steps, the journal knows the last one: an undelivered successor is revoked here if that is
still possible, else by whoever resumes the run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from tokens import database
from tokens.address import Address
from tokens.database import Connection
from tokens.delivery import Delivery, DeliveryFailed, NewToken
from tokens.errors import DatabaseError, LockTimeout, Refused, TokensError
from tokens.gitlab.digest import Keys
from tokens.gitlab.kind import State
from tokens.journal.record import HEARTBEAT, Record
from tokens.rotation import retirement, stage, successor
from tokens.rotation.candidate import Candidate
from tokens.rotation.plan import Rotation
from tokens.rotation.resumption import Resumption, Step, resumable
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import Stage
from tokens.rotation.successor import Successor
from tokens.tasks.recording import STORE_TIMEOUT
from tokens.tasks.rotate_conversation import account_of
from tokens.terminal.interruption import StopRequest
from tokens.verification import VerificationFailed, agrees, verify

PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before a step that the database did not take is tried again
POLL = 0.1  # seconds

Result = TypeVar("Result")


@dataclass(frozen=True)
class Proof:
    """The GitLab that has to accept a new token, and the files with certificates that it may be believed by."""

    url: str
    trusted: tuple[Path, ...] = ()


class End(StrEnum):
    """What became of one token."""

    DONE = "done"
    ABANDONED = "abandoned"
    """The successor was made and revoked again; the old one is as it was."""
    UNTOUCHED = "untouched"
    """Nothing was made."""
    UNFINISHED = "unfinished"
    """The successor is delivered, but the old one was not retired."""


@dataclass(frozen=True)
class Outcome:
    """What became of one token, and why where it is not done.

    `new` is its successor, if one was made. `hopeless` says that the others would fare no better.
    """

    candidate: Candidate | None
    token_id: int
    end: End
    new: NewToken | None = None
    retirement: Retirement | None = None
    fault: TokensError | None = None
    hopeless: bool = False


class Rotator:
    """Rotates the tokens of one run. `received` asks a person whether a token that was shown is in its place."""

    def __init__(
        self,
        address: Address,
        run: Record,
        keys: Keys | None,
        proof: Proof | None,
        delivery: Delivery | None,
        received: Callable[[], bool] | None,
        stop: StopRequest,
    ) -> None:
        self._address = address
        self._run = run
        self._keys = keys
        self._proof = proof
        self._delivery = delivery
        self._received = received
        self._stop = stop

    def bring_to_its_end(self, left: Resumption) -> Outcome:
        """Do what one rotation still needs.

        Raises:
            KeyboardInterrupt, EOFError: an undelivered successor has been revoked again, if the database let it.
            DatabaseError: the database is gone; the journal knows how far it came.
            TakenOver: another process goes on with the run.
        """
        rotation = left.rotation
        if rotation is None:
            self._insist(left.token_id, Stage.ABANDONED, self._abandoning(left.token_id))
            gone = Refused(f"Token {left.token_id} is gone.")
            return Outcome(None, left.token_id, End.ABANDONED, fault=gone)
        if left.step is Step.FINISH:
            new = new_token(rotation, left.successor_id)
            return self._finish(rotation, new)
        if left.step is Step.ANEW:
            if rotation.candidate.state is State.REVOKED:
                # The successor may be in use after all, and nothing else of the account's may work.
                return Outcome(
                    rotation.candidate,
                    left.token_id,
                    End.UNTOUCHED,
                    fault=Refused(
                        f"Token {left.token_id} was revoked meanwhile, and its successor {left.successor_id} stays as "
                        "it is: revoke it in GitLab if nobody has got it."
                    ),
                )
            self._insist(left.token_id, Stage.ABANDONED, self._abandoning(left.token_id))
        return self.rotate(rotation)

    def rotate(self, rotation: Rotation) -> Outcome:
        """Create, verify, deliver, revoke. Raises as `bring_to_its_end` does."""
        candidate = rotation.candidate
        if self._keys is None or self._delivery is None:
            raise ValueError("a token is made with a key, and goes somewhere")
        new = new_token(rotation)
        try:
            with database.connect(self._address) as connection:
                made = successor.create(connection, rotation, self._keys, run=self._run)
            new = new_token(rotation, made.id)
            with self._signs_of_life():
                self._verify(made, new)
                if self._stop.made():
                    raise KeyboardInterrupt
                self._deliver(self._delivery, made, new)
        except (Refused, LockTimeout) as fault:
            if new.id is None:
                return Outcome(candidate, candidate.id, End.UNTOUCHED, fault=fault)
            self._give_up(candidate.id)
            raise
        except (VerificationFailed, DeliveryFailed) as fault:
            self._insist(candidate.id, Stage.ABANDONED, self._abandoning(candidate.id))
            hopeless = isinstance(fault, VerificationFailed)
            return Outcome(candidate, candidate.id, End.ABANDONED, new, fault=fault, hopeless=hopeless)
        except BaseException:
            # A stop, a closed terminal, a bug, a commit whose answer was lost.
            self._give_up(candidate.id)
            raise
        self._insist(candidate.id, Stage.DELIVERED, self._marking(candidate.id, Stage.DELIVERED))
        return self._finish(rotation, new)

    def _verify(self, made: Successor, new: NewToken) -> None:
        if self._proof is None:
            return
        found = verify(self._proof.url, made.token, trusted=self._proof.trusted, pause=self._pause)
        if not agrees(found, made.id, new.expires_at):
            raise VerificationFailed(
                f"{self._proof.url} takes the new token for one with id {found.id} that expires on "
                f"{found.expires_at or 'no day'}, and here it has id {made.id} and expires on "
                f"{new.expires_at or 'no day'}: it works on another database than this one."
            )
        self._insist(new.old_id, Stage.VERIFIED, self._marking(new.old_id, Stage.VERIFIED))

    def _deliver(self, delivery: Delivery, made: Successor, new: NewToken) -> None:
        delivery.deliver(made.token, new)
        if self._received is not None and not self._received():
            raise DeliveryFailed("The new token was shown, but nobody has taken it.")

    def _finish(self, rotation: Rotation, new: NewToken) -> Outcome:
        candidate = rotation.candidate
        try:
            retired = self._insist(
                candidate.id, Stage.DONE, lambda connection: retirement.finish(connection, self._run, rotation)
            )
        except Refused as fault:
            return Outcome(candidate, candidate.id, End.UNFINISHED, new, fault=fault)
        return Outcome(candidate, candidate.id, End.DONE, new, retired)

    def _give_up(self, token_id: int) -> None:
        """Revoke the successor, if there is one and the database lets it; else whoever resumes the run does."""
        with suppress(TokensError):
            self._insist(token_id, Stage.ABANDONED, self._abandoning(token_id))

    def _abandoning(self, token_id: int) -> Callable[[Connection], None]:
        return lambda connection: retirement.abandon(connection, self._run, token_id)

    def _marking(self, token_id: int, reached: Stage) -> Callable[[Connection], None]:
        return lambda connection: stage.mark(connection, self._run, token_id, reached)

    def _insist(self, token_id: int, reached: Stage, act: Callable[[Connection], Result]) -> Result | None:
        """Take a step, several times where the database does not answer: what is out in the world should be on record.

        None where the step had been committed by an attempt whose answer was lost.
        """
        tried = False
        for pause in (*PAUSES, None):
            try:
                with database.connect(self._address) as connection:
                    return act(connection)
            except DatabaseError:
                if pause is None:
                    raise
            except Refused:
                if tried and self._stage(token_id) is reached:
                    return None
                raise
            tried = True
            time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    def _stage(self, token_id: int) -> Stage:
        left = {one.token_id: one.stage for one in resumable(self._address, self._run.run)}
        return left.get(token_id, Stage.DONE)

    def _pause(self, seconds: float) -> None:
        """Wait, but not for GitLab's replicas once somebody wants to stop."""
        deadline = time.monotonic() + seconds
        while not self._stop.made() and (rest := deadline - time.monotonic()) > 0:
            time.sleep(min(rest, POLL))

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        """Let the journal know that the run lives, however long a command or a person takes."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT):
                # Whatever is wrong, the next step will meet it, too.
                with (
                    suppress(TokensError),
                    database.connect(self._address) as connection,
                    database.writing(connection, **STORE_TIMEOUT),
                ):
                    self._run.beat(connection)

        thread = threading.Thread(target=beat, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def new_token(rotation: Rotation, successor_id: int | None = None) -> NewToken:
    """What is known of a successor, also before it is made."""
    candidate, day = rotation.candidate, rotation.expires_at
    return NewToken(
        account_of(candidate),
        candidate.name,
        candidate.id,
        candidate.scopes,
        successor_id,
        None if day is None else str(day),
    )

"""A rotation carried out: create, verify, deliver, revoke, one token after the other.

Whatever ends it between two steps, the journal knows the last one: an undelivered successor is revoked here if that is
still possible, else by the run's continuation.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tokens.call import one_message
from tokens.delivery.destination import Delivery, DeliveryFailed, NewToken
from tokens.errors import DatabaseError, ExitStatus, LockTimeout, ReadOnly, Refused, TokensError
from tokens.gitlab.api import VerificationFailed
from tokens.journal.record import TakenOver
from tokens.rotation.backend import Backend, Retired, heartbeats, wait
from tokens.rotation.candidate import Candidate
from tokens.rotation.plan import Rotation
from tokens.rotation.resumption import Resumption, Step
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import OldTokenGone, Stage, SuccessorGone
from tokens.secret import Secret

PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before a step that the database did not take is tried again
FAILOVER_PAUSES = (
    *PAUSES,
    8.0,
    16.0,
)  # the same once a token is delivered: another primary comes within that, as a rule


Result = TypeVar("Result")
Fault = TypeVar("Fault", bound=TokensError)


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

    `new` is its successor, if one was made. `hopeless` says that the others would fare no better, `settled` that there
    is nothing left to do, whatever it came to.
    """

    candidate: Candidate | None
    token_id: int
    end: End
    new: NewToken | None = None
    retirement: Retirement | None = None
    fault: TokensError | None = None
    hopeless: bool = False
    settled: bool = False

    @property
    def is_done(self) -> bool:
        """Whether the new token is in the place of the old one."""
        return self.end is End.DONE

    @property
    def is_beside_the_old(self) -> bool:
        """Whether the old token lives on beside the new one, because somebody else has given it another date."""
        return self.is_done and self.retirement is Retirement.LEFT_ALONE

    @property
    def changed_something(self) -> bool:
        """Whether a new token is out in the world, whatever has become of the old one."""
        return self.is_done or (self.end is End.UNFINISHED and not self.settled)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: the rotation is done, or its old token is gone or revoked."""
        return self.is_done or self.settled


class Rotator:
    """Rotates the tokens of the run that `backend` has taken on.

    Args:
        backend: GitLab's side.
        run: the number of the run.
        planned_at: when it was planned.
        url: the GitLab that has to accept a new token, None where none is asked.
        delivery: where new tokens go; not needed where none is made.
        received: asks a person whether a token that was shown is in its place, None where nobody is asked.
        stop_requested: whether somebody wants to stop.
    """

    def __init__(
        self,
        backend: Backend,
        run: int,
        planned_at: str | None,
        *,
        url: str | None,
        delivery: Delivery | None,
        received: Callable[[], bool] | None,
        stop_requested: Callable[[], object],
    ) -> None:
        self._backend = backend
        self._number = run
        self._planned_at = planned_at
        self._url = url
        self._delivery = delivery
        self._received = received
        self._stop_requested = stop_requested

    def rotate(self, one: Resumption) -> Outcome:
        """Do what one rotation still needs.

        Raises:
            KeyboardInterrupt, EOFError: an undelivered successor has been revoked again, if the database let it.
            DatabaseError: the database is gone; the journal knows how far it came.
            TakenOver: another process goes on with the run.
        """
        rotation = one.rotation
        if rotation is None or one.step is Step.ABANDON:
            return self._settle(one)
        if one.step is Step.FINISH:
            return self._finish(rotation, self._new(rotation, one.successor_id))
        if one.step is Step.AGAIN:
            self._abandon(one.token_id)
        return self._replace(rotation)

    def _settle(self, one: Resumption) -> Outcome:
        """End a rotation whose old token is gone or revoked: there is nothing to make a successor of."""
        candidate = one.rotation.candidate if one.rotation else None
        gone = f"Token {one.token_id} {'is revoked' if candidate else 'is gone, or is another one'}"
        if one.stage in (Stage.DELIVERING, Stage.DELIVERED):
            # It may be in use, and nothing else of the account's may work.
            successor = "so is its successor"
            if one.successor_works:
                successor = f"its successor {one.successor_id} stays as it is: revoke it in GitLab if nobody has got it"
            elif one.successor_id:
                successor = f"its successor {one.successor_id} does not work any more"
            fault = Refused(f"{gone}, and {successor}.")
            return Outcome(candidate, one.token_id, End.UNFINISHED, fault=fault, settled=True)
        if one.stage in (Stage.CREATED, Stage.VERIFIED):
            self._abandon(one.token_id)
            fault = Refused(f"{gone}; its successor {one.successor_id}, which nobody has got, is revoked, too.")
        else:
            fault = Refused(f"{gone}; no successor was made.")
        return Outcome(candidate, one.token_id, End.UNFINISHED, fault=fault, settled=True)

    def _replace(self, rotation: Rotation) -> Outcome:
        """Create, verify, deliver, revoke."""
        candidate = rotation.candidate
        if self._delivery is None:
            raise ValueError("a token that is made goes somewhere")
        try:
            made = self._backend.make(rotation, self._url)
        except (Refused, LockTimeout) as fault:
            settled = isinstance(fault, OldTokenGone)
            return Outcome(candidate, candidate.id, End.UNTOUCHED, fault=fault, settled=settled)
        except BaseException:
            # A stop, a bug, a commit whose answer was lost.
            self._give_up(candidate.id)
            raise
        new = self._new(rotation, made.id)
        try:
            if made.token is None:
                raise VerificationFailed(made.objection or "", of_token=made.of_token)
            if self._stop_requested():
                raise KeyboardInterrupt
            destination = self._delivery.destination(new)
            # From here on somebody may have it, unless another process has gone on with the run.
            insist(lambda: self._backend.mark(candidate.id, Stage.DELIVERING, destination), PAUSES)
            with heartbeats(self._backend):
                self._deliver(self._delivery, made.token, new)
        except (VerificationFailed, DeliveryFailed) as fault:
            self._abandon(candidate.id)
            hopeless = isinstance(fault, VerificationFailed) and not fault.of_token
            return Outcome(candidate, candidate.id, End.ABANDONED, new, fault=fault, hopeless=hopeless)
        except BaseException:
            # A stop, a closed terminal, a bug.
            self._give_up(candidate.id)
            raise
        try:
            finished = insist(lambda: self._backend.finish(rotation, delivered=False), FAILOVER_PAUSES)
        except TakenOver as fault:
            raise _also(
                fault,
                f"The new token {new.id} of {new.account} was delivered, but was revoked by the person who did so: "
                "look at what is in its place now.",
                ExitStatus.PARTIAL,
            ) from fault
        except TokensError as fault:
            raise _also(
                fault,
                f"The new token {new.id} of {new.account} is delivered and works, but that could not be "
                "written down, so the run's continuation makes another one and revokes this one.",
                ExitStatus.PARTIAL,
            ) from fault
        return self._finish(rotation, new, finished)

    def _deliver(self, delivery: Delivery, token: Secret, new: NewToken) -> None:
        delivery.deliver(token, new)
        if self._received is not None and not self._received():
            raise DeliveryFailed("The new token was shown, but nobody has taken it.")

    def _finish(self, rotation: Rotation, new: NewToken, tried: Retired | None = None) -> Outcome:
        """Retire the old token of a successor that is delivered; `tried` is what a first attempt has come to."""
        candidate = rotation.candidate

        def retire() -> Retirement:
            nonlocal tried
            attempt, tried = tried or self._backend.finish(rotation, delivered=True), None
            if attempt.retirement is None:
                raise attempt.fault or TokensError("The old token was not retired.")
            return attempt.retirement

        try:
            retired = insist(retire, FAILOVER_PAUSES, self._stop_requested)
        except ReadOnly as fault:
            raise _also(fault, _unfinished(new), ExitStatus.PARTIAL) from fault
        except SuccessorGone as fault:
            return Outcome(candidate, candidate.id, End.UNFINISHED, new, fault=fault)
        except (Refused, LockTimeout) as fault:
            return Outcome(candidate, candidate.id, End.UNFINISHED, new, fault=_also(fault, _unfinished(new)))
        except DatabaseError as fault:
            raise _also(fault, _unfinished(new), ExitStatus.PARTIAL) from fault
        return Outcome(candidate, candidate.id, End.DONE, new, retired)

    def _abandon(self, token_id: int) -> None:
        insist(lambda: self._backend.abandon(token_id), PAUSES)

    def _give_up(self, token_id: int) -> None:
        """Revoke the successor, if there is one and the database lets it; else the run's continuation does."""
        with suppress(TokensError):
            self._abandon(token_id)

    def _new(self, rotation: Rotation, successor_id: int | None) -> NewToken:
        return new_token(rotation, successor_id, self._number, self._planned_at)


def insist(
    act: Callable[[], Result], pauses: tuple[float, ...], stop_requested: Callable[[], object] = lambda: None
) -> Result:
    """Take a step, several times where the database does not answer: what is out in the world should be on record.

    Once somebody wants to stop there is one more try at most.
    """
    for pause in pauses:
        try:
            return act()
        except (DatabaseError, ReadOnly):
            if stop_requested():
                raise
            wait(pause, stop_requested)
    return act()


def new_token(
    rotation: Rotation, successor_id: int | None = None, run: int | None = None, planned_at: str | None = None
) -> NewToken:
    """What is known of a successor, also before it is made, or before there is a run."""
    candidate, day = rotation.candidate, rotation.expires_at
    return NewToken(
        rotation.account,
        candidate.name,
        candidate.id,
        candidate.scopes,
        successor_id,
        None if day is None else str(day),
        run,
        planned_at,
    )


def _also(fault: Fault, more: str, status: ExitStatus | None = None) -> Fault:
    """The same fault with another sentence."""
    return fault.saying(one_message(str(fault), more), status)


def _unfinished(new: NewToken) -> str:
    return f"The new token {new.id} of {new.account} is delivered and works; the old one is not retired yet."

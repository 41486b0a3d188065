"""What every destination of a new token can do, and what is known of the token that goes there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokens.errors import TokensError
from tokens.secret import Secret


class DeliveryFailed(TokensError):
    """The token did not arrive, or nobody can tell whether it did; the message never holds it."""


@dataclass(frozen=True)
class NewToken:
    """What is known of one token that is handed over, the token itself apart.

    `old_id` is the token that it replaces; `id` and `expires_at` (YYYY-MM-DD, None for never) are its own, once it is
    made. `run` is the number that the journal has for the run that makes it, once there is one.
    """

    account: str
    name: str
    old_id: int
    scopes: tuple[str, ...]
    id: int | None = None
    expires_at: str | None = None
    run: int | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The same for a command's environment; what is not known or never is empty, scopes have blanks between."""
        return {
            "TOKENS_ACCOUNT": self.account,
            "TOKENS_NAME": self.name,
            "TOKENS_OLD_ID": str(self.old_id),
            "TOKENS_ID": "" if self.id is None else str(self.id),
            "TOKENS_EXPIRES_AT": self.expires_at or "",
            "TOKENS_SCOPES": " ".join(self.scopes),
            "TOKENS_RUN": "" if self.run is None else str(self.run),
        }


class Delivery(ABC):
    """Where new tokens go."""

    @abstractmethod
    def check(self, tokens: Sequence[NewToken]) -> None:
        """Find out whether these tokens could be handed over, without anything being left behind.

        Raises:
            UsageError, Refused: they could not.
        """

    @abstractmethod
    def deliver(self, token: Secret, about: NewToken) -> None:
        """Hand the token over.

        Raises:
            DeliveryFailed: it is not there, or cannot be relied upon to be.
        """

    @abstractmethod
    def place(self, about: NewToken) -> str:
        """Where this one goes, for people."""

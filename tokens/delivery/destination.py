"""What every destination of a new token can do, and what is known of the token that goes there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokens.errors import TokensError, without_tokens
from tokens.secret import Secret

SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
LONGEST_PART = 255  # bytes that a file system takes in one part of a path, as a rule
LONGEST_RECORDED = 1000  # characters of a place


class DeliveryFailed(TokensError):
    """The token did not arrive, or nobody can tell whether it did; the message never holds it."""


@dataclass(frozen=True)
class NewToken:
    """What is known of one token that is handed over, the token itself apart.

    `old_id` is the token that it replaces; `id` and `expires_at` (YYYY-MM-DD, None for never) are its own, once it is
    made. `run` is the number that the journal has for the run that makes it, once there is one. `planned_at` is when
    that was planned, exactly: journals of two GitLabs have the same numbers.
    """

    account: str
    name: str
    old_id: int
    scopes: tuple[str, ...]
    id: int | None = None
    expires_at: str | None = None
    run: int | None = None
    planned_at: str | None = None

    @property
    def variables(self) -> Mapping[str, str]:
        """The same for a command's environment; what is not known or never is empty, scopes have blanks between.

        A name may be anything, and is there once more in a form that is safe as one part of a path.
        """
        return {
            "TOKENS_ACCOUNT": self.account,
            "TOKENS_NAME": self.name,
            "TOKENS_NAME_SAFE": path_part(self.name, self.old_id),
            "TOKENS_OLD_ID": str(self.old_id),
            "TOKENS_ID": "" if self.id is None else str(self.id),
            "TOKENS_EXPIRES_AT": self.expires_at or "",
            "TOKENS_SCOPES": " ".join(self.scopes),
            "TOKENS_RUN": "" if self.run is None else str(self.run),
        }


def path_part(name: str, old_id: int) -> str:
    """`name` as one part of a path, percent-encoded: two names never become the same.

    A token's name is any text that somebody has chosen: slashes, `..`, line ends. The encoding can be taken back,
    unless the name is empty or too long for a part of a path: then the id of its token stands for what is missing.

    >>> path_part("ci/prod", 7), path_part("..", 7), path_part("Inventory", 7), path_part("", 7)
    ('ci%2Fprod', '%2E.', 'Inventory', '%.7')
    """
    encoded = "".join(chr(byte) if byte in SAFE else f"%{byte:02X}" for byte in name.encode(errors="surrogateescape"))
    if encoded[:1] in (".", "-"):  # a folder, a hidden file, an option
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if 0 < len(encoded) <= LONGEST_PART:
        return encoded
    end = f"%.{old_id}"  # what no encoded name has
    return f"{encoded[: LONGEST_PART - len(end)]}{end}"


class Delivery(ABC):
    """Where new tokens go."""

    @abstractmethod
    def check(self, tokens: Sequence[NewToken]) -> None:
        """Find out whether these tokens could be handed over, without anything being left behind.

        Raises:
            UsageError, Refused: they could not.
        """

    def note(self, tokens: Sequence[NewToken]) -> str | None:  # noqa: ARG002
        """What a person should know before these tokens are handed over; None as a rule."""
        return None

    @abstractmethod
    def deliver(self, token: Secret, about: NewToken) -> None:
        """Hand the token over.

        Raises:
            DeliveryFailed: it is not there, or cannot be relied upon to be.
        """

    @abstractmethod
    def place(self, about: NewToken) -> str:
        """Where this one goes, for people."""

    def destination(self, about: NewToken) -> str:
        """Where this one goes, for the journal, which keeps no secret: as `place`, in what any database can hold."""
        return without_tokens(self.place(about)).encode("ascii", "backslashreplace").decode()[:LONGEST_RECORDED]

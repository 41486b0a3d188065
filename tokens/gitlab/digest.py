"""What GitLab stores of a token instead of the token: a digest, salted with the instance's `db_key_base`."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Self, TypeGuard

from tokens.errors import UsageError
from tokens.secret import Secret

# GitLab's attr_encrypted_db_key_base_truncated: characters, not bytes; its own keys are hexadecimal, where both agree.
SALT_LENGTH = 32


def digest(token: Secret, key: Secret) -> str:
    """What GitLab keeps in `token_digest` of `token` (prefix and all) under one `db_key_base`: 44 characters.

    GitLab: Base64 of SHA-256 over the token and, right behind it, the key's first 32 characters.
    """
    return base64.b64encode(hashlib.sha256(_salted(token, key)).digest()).decode()


@dataclass(frozen=True)
class Keys:
    """The values of `db_key_base` of one instance in GitLab's order: the last one is current.

    GitLab 19.5 and later may have several: new digests are made with the current one, and a token is looked for under
    each of them. Before, there is one.
    """

    values: tuple[Secret, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("an instance has a key")

    @classmethod
    def of(cls, value: object) -> Self:
        """The keys from what YAML or JSON gave for `db_key_base`: a string, or a list of strings.

        Raises:
            UsageError: it is nothing of the kind, is empty, or holds ERB. The message shows nothing of it.
        """
        given = value if isinstance(value, list) else [value]
        keys = tuple(Secret(text) for text in given if _is_key(text))
        usable, erb = bool(keys) and len(keys) == len(given), any("<%" in key.reveal() for key in keys)
        del value, given  # the traceback of what follows may show local variables
        if not usable:
            raise UsageError(
                "db_key_base is neither a text nor a list of texts, or is empty, so that no token can be made; look at "
                "it in GitLab's secrets, where it stands in quotes."
            )
        if erb:
            raise UsageError(
                "db_key_base contains ERB, which only Rails can evaluate; give a secrets file with the value itself."
            )
        return cls(keys)

    @property
    def current(self) -> Secret:
        """The key that GitLab makes new digests with."""
        return self.values[-1]

    def digest_with_current(self, token: Secret) -> str:
        """The digest to store for a new token."""
        return digest(token, self.current)

    def digests(self, token: Secret) -> tuple[str, ...]:
        """Every digest under which GitLab would find `token`, the current key's first, none twice."""
        return tuple(dict.fromkeys(digest(token, key) for key in reversed(self.values)))


def _salted(token: Secret, key: Secret) -> bytes:
    # An error of the codec would carry the whole text: half a surrogate pair passes, and matches no token.
    return (token.reveal() + key.reveal()[:SALT_LENGTH]).encode(errors="surrogatepass")


def _is_key(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())

"""A text that nothing shows by accident: a token in clear, a key of an instance; nor an image of the memory it is in.

A leaf: every room may import it.
"""

import ctypes
import hmac
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, Self, final

SHOWN = "Secret(…)"
PR_SET_DUMPABLE = 4


@final
class Secret:
    """Holds a text and gives it out by `reveal()` alone.

    repr, str, format and a traceback with local variables show `Secret(…)`; json and pickle refuse it with a TypeError,
    and a copy is the object itself. Two are equal where their texts are, compared in a time that tells their lengths at
    most. It is no guard against code that wants the text, and Python cannot wipe the memory that it was in.
    """

    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            del text  # what was passed by mistake is as secret
            raise TypeError("a Secret holds a str")
        # Whatever walks over an object's attributes finds a function, which shows nothing of the text.
        self._reveal = lambda: text

    def reveal(self) -> str:
        """The text itself. Not to be kept in a variable: a traceback may show those."""
        return self._reveal()

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, specification: str) -> str:
        return format(SHOWN, specification)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self), _encoded(other))

    def __hash__(self) -> int:
        return hash(Secret)  # the same for all: a hash of the text would let a guess be tested

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # dataclasses.asdict and replace copy what they find

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not written down: it cannot be pickled")


def forbid_core_dumps() -> None:
    """Let nobody have an image of this process's memory. Becoming another user takes half of that back."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # commands that are started have it, too
    # A crash handler that the kernel pipes into does not ask that limit.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _encoded(secret: Secret) -> bytes:
    # An error of the codec would carry the whole text: half a surrogate pair passes too.
    return secret.reveal().encode(errors="surrogatepass")

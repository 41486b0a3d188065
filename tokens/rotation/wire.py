"""Values of a rotation as JSON, for a backend in another process: by the types that a function declares.

What is decoded has the declared type or is refused: it comes from another machine. A Secret is one as soon as its text
has been parsed, and what fails on the way leaves no frame behind that holds the text.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import date
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from tokens.errors import TokensError
from tokens.gitlab.expiration import ExpirationDate
from tokens.secret import Secret
from tokens.version import __version__

PROTOCOL = 12
"""Goes up with every change of what a Backend is asked, or of a value in it."""

VERSION = f"{__version__}/{PROTOCOL}"
"""What both sides have to be of, in every request and answer."""

SECRET = "$secret"  # noqa: S105 - no field of a dataclass is called so


class OtherVersion(TokensError):
    """The two sides are of different versions of the tool, and one does not guess what the other means."""


def encode(value: object) -> Any:
    """What `json.dumps` takes. A Secret is revealed: this is how it is handed over."""
    match value:
        case Enum():
            return value.value
        case ExpirationDate():
            return value.literal
        case date():
            return value.isoformat()
        case Secret():
            return {SECRET: value.reveal()}
        case TokensError():
            kinds = [kind.__name__ for kind in type(value).__mro__ if issubclass(kind, TokensError)]
            return {"kinds": kinds, "message": str(value)}
        case tuple() | list():
            return [encode(one) for one in value]
        case frozenset():
            return sorted(encode(one) for one in value)
        case dict():
            return {str(name): encode(one) for name, one in value.items()}
        case None | bool() | int() | float() | str():
            return value
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} does not travel")


def decode(kind: Any, document: Any) -> Any:
    """The value of type `kind` that was encoded as `document`; ValueError where it is none."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        if document is None and NoneType in arguments:
            return None
        (kind,) = (one for one in arguments if one is not NoneType)
        return decode(kind, document)
    match get_origin(kind):
        case origin if origin is tuple:
            return tuple(decode(arguments[0], one) for one in _a(list, document))
        case origin if origin is frozenset:
            return frozenset(decode(arguments[0], one) for one in _a(list, document))
        case origin if origin is dict:
            return {arguments[0](name): decode(arguments[1], one) for name, one in _a(dict, document).items()}
    if kind in (bool, int, str, Secret):
        return _a(kind, document)
    if kind is NoneType:
        return _a(NoneType, document)
    if kind is ExpirationDate:
        return ExpirationDate.stored(_a(str, document))
    if kind is date:
        return date.fromisoformat(_a(str, document))
    if issubclass(kind, Enum):
        return kind(document)
    if issubclass(kind, TokensError):
        return _fault(**decode_all({"kinds": tuple[str, ...], "message": str}, _a(dict, document)))
    fields = decode_all(get_type_hints(kind), _a(dict, document))
    if missing := {field.name for field in dataclasses.fields(kind)} - fields.keys():
        raise ValueError(f"missing: {', '.join(sorted(missing))}")
    return kind(**fields)


def decode_all(kinds: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Each value of `document` as the type that `kinds` has for its name; ValueError where a name is none of them."""
    if unknown := document.keys() - kinds.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    return {name: decode(kinds[name], one) for name, one in document.items()}


def read(text: str | Secret) -> Any:
    """The document in `text`, with a Secret wherever one was encoded.

    Raises:
        ValueError: it is no document; the text is neither quoted nor to be found in the exception.
    """
    try:
        return json.loads(text.reveal() if isinstance(text, Secret) else text, object_hook=_hidden)
    except (ValueError, RecursionError):
        pass
    except BaseException as error:
        # Ctrl-C: the frames below hold the text in their variables.
        raise error.with_traceback(None)  # noqa: B904 - the very same
    # Out here, since an exception would have the parser's with the text as its context.
    raise ValueError("not JSON") from None


def _hidden(document: dict[str, Any]) -> Any:
    if document.keys() == {SECRET} and isinstance(document[SECRET], str):
        return Secret(document[SECRET])
    return document


def _fault(kinds: tuple[str, ...] = (), message: str = "") -> TokensError:
    """The fault that was met on the other side, as the nearest class that is known here."""
    known = {kind.__name__: kind for kind in _subclasses(TokensError)}
    kind = next((known[name] for name in kinds if name in known), TokensError)
    return kind(message)


def _subclasses(kind: type[TokensError]) -> list[type[TokensError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _subclasses(child))]


def _a(kind: type, document: Any) -> Any:
    if type(document) is not kind:
        raise ValueError(f"a {kind.__name__} was expected, not a {type(document).__name__}")
    return document

"""YAML as GitLab's Ruby reads it (Psych), value for value; what cannot be read so is refused.

Psych takes the events of libyaml, and so do we: PyYAML's own scanner treats tabs and other things differently. What
the events mean is Psych's: a merge key counts where it stands, an anchor may be given again, a plain scalar is a
number, a symbol or a date by rules of its own. Psych 4.0 to 5.4 agree on all that is read here.

Sources: lib/psych/scalar_scanner.rb and lib/psych/visitors/to_ruby.rb in ruby/psych.
"""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML built where libyaml was not
    CParser = None  # type: ignore[assignment, misc]

CORE = "tag:yaml.org,2002:"
RUBY_TAG = "!ruby/"
MERGE = "<<"
WHEEL = "pip install --force-reinstall --only-binary pyyaml pyyaml"
BYTE_ORDER_MARK = "\ufeff"

# What Psych makes no list or map of, or what it makes one of in its own way.
CLASSES_OF_LISTS = re.compile(r"!seq:.|!omap$|tag:yaml\.org,2002:omap$")
CLASSES_OF_MAPS = re.compile(r"!(?:map:.|(?:str|set|omap)(?:$|:))|tag:yaml\.org,2002:(?:str|set|omap)$")

WORD = re.compile(r"[^0-9.:-]?[A-Za-z_\s!@#$%^&*(){}<>|/\\~;=]", re.ASCII)
NEITHER_WORD = re.compile(r"^[^ytonf~]", re.IGNORECASE | re.MULTILINE)
TRUE = {"yes", "true", "on"}
FALSE = {"no", "false", "off"}
TIME = re.compile(
    r"-?[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|\s+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:\s*(?:Z|[-+][0-9]{1,2}:?(?:[0-9]{2})?))?",
    re.ASCII,
)
DATE = re.compile(r"([0-9]{4})-(1[012]|0[0-9]|[0-9])-([12][0-9]|3[01]|0[0-9]|[0-9])")
FIRST_YEAR = 1583  # before it the day of a date depends on the release of Psych
QUOTED_SYMBOL = re.compile(r""":(["'])(.*)\1""")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}")
SEXAGESIMAL_FLOAT = re.compile(SEXAGESIMAL.pattern + r"\.[0-9_]*")
FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][-+][0-9]+)?")
INTEGERS = {
    2: re.compile(r"([-+]?)0b([01_,]+)"),
    8: re.compile(r"([-+]?)0([0-7_,]+)"),
    10: re.compile(r"([-+]?)(0|[1-9](?:[0-9]|,[0-9]|_[0-9])*)"),
    16: re.compile(r"([-+]?)0x([0-9a-fA-F_,]+)"),
}
NUMBER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?")
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Unreadable(ValueError):
    """The text cannot be read as Ruby reads it: the end of a sentence about it, which quotes nothing."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(f"{reason} (line {line})" if line else reason)


@dataclass(frozen=True)
class Symbol:
    """Ruby's `:name`, which is not the text `name`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class OtherKey:
    """A map's key that is neither text nor symbol. To Python 1, 1.0 and true are one key, to Ruby they are three."""

    type: type
    text: str

    def __str__(self) -> str:
        return self.text


def read_yaml(text: str, *, plain: bool = False) -> Any:
    """What Ruby makes of the first document in `text`; None where there is none.

    Texts, numbers, booleans and None are Python's, as are dates; a symbol is a `Symbol`. Maps keep Ruby's order.

    Args:
        text: the file's content.
        plain: read it by YAML.safe_load, which takes neither aliases nor symbols nor dates, instead of
            YAML.unsafe_load.

    Raises:
        Unreadable: it is no YAML, or has what only Ruby can read.
    """
    if CParser is None:
        raise Unreadable(f"cannot be read as Ruby reads it, because this PyYAML has no libyaml: {WHEEL}")
    if text.startswith(BYTE_ORDER_MARK):
        raise Unreadable("begins with a byte order mark, which GitLab's releases read differently: save it without one")
    try:
        return _Reader(text, plain=plain).document()
    except Unreadable:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        # The parser's own message quotes the line, where a password may be.
        raise Unreadable("is not YAML that can be read", mark.line + 1 if mark else None) from None


def ruby_text(value: object) -> str:
    """The text that Ruby's `to_s` makes of a single value.

    Raises:
        Unreadable: it is a list or a map.
    """
    match value:
        case str() | Symbol() | OtherKey():
            return str(value)
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return _float_text(value)
        case datetime.date():
            return value.isoformat()
    raise Unreadable("has a list or a map where a single value belongs")


class _Reader:
    def __init__(self, text: str, *, plain: bool) -> None:
        self._parser = CParser(text)
        self._plain = plain
        self._anchors: dict[str, Any] = {}
        self._unfinished: list[object] = []

    def document(self) -> Any:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        content = self._node(self._next())
        self._next()  # the document's end: what comes after it Psych does not look at
        return content

    def _next(self) -> Any:
        return self._parser.get_event()

    def _node(self, event: Any) -> Any:
        line = event.start_mark.line + 1
        match event:
            case yaml.AliasEvent():
                return self._alias(event.anchor, line)
            case yaml.ScalarEvent():
                value = self._scalar(event, line)
                self._register(event, value)
                return value
            case yaml.SequenceStartEvent():
                _check_tag(event.tag, CLASSES_OF_LISTS, line)
                return self._collection(event, [], self._items)
        _check_tag(event.tag, CLASSES_OF_MAPS, line)
        return self._collection(event, {}, self._pairs)

    def _collection(self, event: Any, collection: Any, fill: Callable[[Any], None]) -> Any:
        # Before what is in it: an anchor of the same name inside goes before this one.
        self._register(event, collection)
        self._unfinished.append(collection)
        fill(collection)
        self._unfinished.pop()
        return collection

    def _items(self, items: list[Any]) -> None:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event))

    def _pairs(self, pairs: dict[Any, Any]) -> None:
        while not isinstance(key_event := self._next(), yaml.MappingEndEvent):
            key = _key(self._node(key_event), key_event.start_mark.line + 1)
            value_event = self._next()
            value = self._node(value_event)
            merged = None
            if key == MERGE and getattr(key_event, "tag", None) != CORE + "str":
                merged = _merged(value_event, value)
            # A merge is carried out where it stands: it goes before the keys above it, and those below before it.
            pairs.update({key: value} if merged is None else merged)

    def _register(self, event: Any, value: object) -> None:
        if event.anchor:
            self._anchors[event.anchor] = value

    def _alias(self, anchor: str | None, line: int) -> Any:
        if self._plain:
            raise Unreadable("has an alias, which GitLab does not take there", line)
        if anchor is None or anchor not in self._anchors:
            raise Unreadable("has an alias without an anchor above it", line)
        value = self._anchors[anchor]
        if any(value is unfinished for unfinished in self._unfinished):
            raise Unreadable("has an alias inside of what it stands for", line)
        return value

    def _scalar(self, event: Any, line: int) -> Any:
        tag, text, (_, quoted) = event.tag, event.value, event.implicit
        if quoted or tag in (CORE + "str", "!str", "!str:", RUBY_TAG + "string", RUBY_TAG + "string:"):
            return text
        if tag in (CORE + "binary", "!binary"):
            return _from_base64(text, line)
        if tag and re.match(r"!ruby/sym(?:bol)?(?::|$)", tag):
            return self._symbol(text, line)
        if tag and (tag.startswith((RUBY_TAG, "!str:"))):
            raise Unreadable("is not YAML that can be read without Ruby", line)
        value = self._plain_scalar(text, line)
        if tag in (CORE + "float", "!float"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unreadable("has a float that is none", line)
            return float(value)
        return value

    def _symbol(self, name: str, line: int) -> Symbol:
        if self._plain:
            raise Unreadable("has a symbol, which GitLab does not take there", line)
        return Symbol(name)

    def _plain_scalar(self, text: str, line: int) -> Any:
        """What Psych's scanner makes of a text that stands there without quotes."""
        if not text:
            return None
        if "\n" in text or WORD.match(text):
            return _word(text)
        if TIME.fullmatch(text):
            raise Unreadable("has a time without quotes, which Ruby reads by its time zone: put it in quotes", line)
        if date := DATE.fullmatch(text):
            return self._date(text, *map(int, date.groups()), line=line)
        if re.fullmatch(r"\+?\.inf", text, re.IGNORECASE):
            return float("inf")
        if re.fullmatch(r"-\.inf", text, re.IGNORECASE):
            return float("-inf")
        if re.fullmatch(r"\.nan", text, re.IGNORECASE):
            return float("nan")
        if text.startswith(":") and len(text) > 1:
            name = found[2] if (found := QUOTED_SYMBOL.match(text)) else text[1:]
            return self._symbol(name.removeprefix(":") if found else name, line)
        return _number(text, line)

    def _date(self, text: str, year: int, month: int, day: int, *, line: int) -> datetime.date | str:
        if self._plain or year < FIRST_YEAR:
            raise Unreadable("has a date without quotes, which GitLab does not take: put it in quotes", line)
        try:
            return datetime.date(year, month, day)
        except ValueError:
            return text


def _check_tag(tag: str | None, classes: re.Pattern[str], line: int) -> None:
    if tag and (tag.startswith(RUBY_TAG) or classes.match(tag)):
        raise Unreadable("is not YAML that can be read without Ruby", line)


def _key(value: Any, line: int) -> Any:
    if isinstance(value, str | Symbol):
        return value
    if isinstance(value, list | dict):
        raise Unreadable("has a list or a map for a key", line)
    return OtherKey(type(value), ruby_text(value))


def _merged(event: Any, value: Any) -> dict[Any, Any] | None:
    """What `<<: value` brings in; None where Ruby takes `<<` for a key like others."""
    if isinstance(event, yaml.ScalarEvent):
        return None
    maps = list(reversed(value)) if isinstance(event, yaml.SequenceStartEvent) else [value]
    if not all(isinstance(one, dict) for one in maps):
        return None
    merged: dict[Any, Any] = {}
    for one in maps:  # the first map of a list goes before the others
        merged.update(one)
    return merged


def _word(text: str) -> str | bool | None:
    if len(text) > 5 or NEITHER_WORD.search(text):  # no word of these is longer
        return text
    lines = {line.casefold() for line in text.split("\n")}
    if text == "~" or "null" in lines:
        return None
    if lines & TRUE:
        return True
    return False if lines & FALSE else text


def _number(text: str, line: int) -> int | float | str:
    if SEXAGESIMAL.fullmatch(text):
        return sum(int(_leading_number(part)) * weight for part, weight in _sixties(text))
    if SEXAGESIMAL_FLOAT.fullmatch(text):
        total = 0.0
        for part, weight in _sixties(text):
            total += float(_leading_number(part)) * weight
        return total
    if FLOAT.fullmatch(text):
        if text.lstrip("+-") == ".":
            return text
        try:
            return float(re.sub(r"[,_]|\.(?=[Ee]|$)", "", text))
        except ValueError:
            raise Unreadable("has a number that Ruby cannot read either", line) from None
    for base, integer in INTEGERS.items():
        if found := integer.fullmatch(text):
            digits = re.sub("[,_]", "", found[2])
            if not digits:
                raise Unreadable("has a number without digits, which Ruby's releases read differently", line)
            return int(found[1] + digits, base)
    return text


def _sixties(text: str) -> list[tuple[str, int]]:
    """Each part of a number with colons, and what it counts for: the first always 3,600, as Psych has it."""
    return list(zip(text.split(":"), (3600, 60, 1), strict=False))


def _leading_number(text: str) -> str:
    """As far as Ruby's `to_i` and `to_f` read: a second `_` in a row ends it."""
    found = NUMBER.match(text)
    return found[0].replace("_", "") if found else "0"


def _float_text(value: float) -> str:
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[text]
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text


def _from_base64(text: str, line: int) -> str:
    """Ruby's `unpack("m")`: what is no digit is left out, and `=` ends it after at least two digits of four."""
    group: list[int] = []
    content = bytearray()
    for character in text:
        if character == "=" and len(group) >= 2:
            break
        if (digit := BASE64.find(character)) >= 0:
            group.append(digit)
        if len(group) == 4:
            content += _bytes_of(group)
            group = []
    content += _bytes_of(group)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Unreadable("has bytes that are not text", line) from None


def _bytes_of(digits: list[int]) -> bytes:
    """The whole bytes in up to four digits of six bits."""
    bits = "".join(f"{digit:06b}" for digit in digits)
    return bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits) - 7, 8))

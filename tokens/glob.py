"""Globs as regular expressions of PostgreSQL."""

import string

ANY_TEXT = ".*"


def as_regular_expression(glob: str) -> str:
    """The regular expression of PostgreSQL that the same whole texts match as `fnmatch.fnmatchcase` lets `glob` match.

    >>> print(as_regular_expression("ci-*[!0-9]"))
    ^ci\\-.*[^0-9]$
    """
    parts: list[str] = []
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            if parts[-1:] != [ANY_TEXT]:  # many in a row would keep PostgreSQL busy for minutes
                parts.append(ANY_TEXT)
        elif character == "?":
            parts.append(".")
        elif character == "[" and (end := _end_of_set(glob, position)):
            parts.append(_set(glob[position:end]))
            position = end + 1
        else:
            parts.append(escaped(character))
    return f"^{''.join(parts)}$"


def _end_of_set(glob: str, start: int) -> int | None:
    """Where the set that was opened before `start` is closed: not by a bracket that is the first in it."""
    first = start + glob.startswith("!", start)
    end = glob.find("]", first + 1)
    return None if end < 0 else end


def _set(members: str) -> str:
    negated = members.startswith("!")
    members = members[negated:]
    parts = []
    while members:
        if members[1:2] == "-" and len(members) > 2:
            first, last, members = members[0], members[2], members[3:]
            if first <= last:
                parts.append(f"{escaped(first)}-{escaped(last)}")
        else:
            parts.append(escaped(members[0]))
            members = members[1:]
    if not parts:
        # Ranges that end before they begin hold nothing: no character follows the end.
        return "." if negated else "$."
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def escaped(text: str) -> str:
    """Text that means itself in a regular expression of PostgreSQL, also within brackets."""
    return "".join(f"\\{character}" if character in string.punctuation else character for character in text)

"""What may have been meant by a word that is none of those that are known."""

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a message about `word`: the one that is near to it; empty where none is.

    >>> meant("servce-account", ["personal", "service-account"])
    ' (did you mean "service-account"?)'
    >>> meant("robot", ["personal", "service-account"])
    ''
    """
    lower = {one.lower(): one for one in known if one != word}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f' (did you mean "{lower[close[0]]}"?)' if close else ""

"""Foreign text made harmless for a terminal."""

REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    """`text` with a U+FFFD for every character that a terminal would obey or hide instead of showing it.

    That is control characters (line ends and tabs too), invisible format characters such as bidirectional overrides,
    lone surrogates, and characters that Unicode does not know.

    >>> printable("mallory\\x1b[2J")
    'mallory�[2J'
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else REPLACEMENT for character in text)

"""Numbers of things as people read them."""


def counted(number: int, one: str, several: str = "") -> str:
    """A number, grouped, and what it counts; `several` is the plural that is not `one` with an s at its end.

    >>> counted(1, "token"), counted(1565353, "token")
    ('1 token', '1,565,353 tokens')
    >>> counted(1, "bot loses", "bots lose"), counted(2, "bot loses", "bots lose")
    ('1 bot loses', '2 bots lose')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def them(number: int) -> str:
    """What stands for things of this number: it, or them."""
    return "it" if number == 1 else "them"

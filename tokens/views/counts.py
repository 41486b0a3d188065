"""Numbers of things as people read them."""


def counted(number: int, noun: str) -> str:
    """A number, grouped, and its noun.

    >>> counted(1, "token"), counted(1565353, "token")
    ('1 token', '1,565,353 tokens')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

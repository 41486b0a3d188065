"""Options that are numbers: Invoke would take their type from a default and answer a bad one with a traceback."""


def whole_number(text: str, least: int, most: int) -> int | None:
    """The number that `text` is, None if it is none or not between `least` and `most`."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if least <= number <= most else None

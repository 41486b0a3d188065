"""The value of an option that may be any text."""

from tokens.errors import UsageError

LONGEST = 1000  # characters; no name or path of GitLab's has more than 255


def free_text(option: str, text: str) -> str:
    """`text`, which the database has to understand: a command line may hold what is not UTF-8, or a whole file.

    Raises:
        UsageError: it is longer than LONGEST, or no text in UTF-8.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"--{option} takes text in UTF-8, as GitLab keeps it; check the terminal's encoding.")
    if len(text) > LONGEST:
        raise UsageError(f"--{option} takes {LONGEST:,} characters at most, but was given {len(text):,}.")
    return text

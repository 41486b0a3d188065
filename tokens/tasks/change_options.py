"""What `rotate` has in common with the tasks that change dates, until it is declared as they are."""

from tokens.commands.reading import MOST_TOKENS, days, free_text
from tokens.commands.reading import number_at_most as at_most_given

__all__ = ["MOST_TOKENS", "at_most_given", "days", "reason_given"]


def reason_given(text: str | None) -> str | None:
    """Why a change is made, as the database can keep it."""
    return free_text("reason", text) if text else None

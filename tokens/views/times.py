"""Times as people read them, from the journal's ISO 8601 in UTC."""

from datetime import datetime


def to_the_second(moment: str) -> str:
    """Such as `2026-01-02 03:04:05 UTC`."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def to_the_minute(moment: str) -> str:
    """Such as `2026-01-02 03:04`, below a heading that says UTC."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M")

"""What GitLab remembers, token by token, of the notices that it has sent about its expiration date.

A column that is set keeps GitLab from sending that notice again, and nothing in GitLab resets it, so a token that gets
a new date needs its notices re-armed.
"""

from tokens.gitlab.schema import TOKENS, Schema

# Re-armed by false. The first one also holds back every notice that the columns of times stand for.
FLAGS = ("expire_notification_delivered", "after_expiry_notification_delivered")

# Re-armed by NULL; since GitLab 17.4.
TIMES = ("seven_days_notification_sent_at", "thirty_days_notification_sent_at", "sixty_days_notification_sent_at")

# GitLab warns from so many days before the expiration date on, where it has the column.
DAYS_AHEAD = dict(zip(TIMES, (7, 30, 60), strict=True))


def columns(schema: Schema) -> tuple[str, ...]:
    """The columns that this release has, of the five."""
    return tuple(name for name in (*FLAGS, *TIMES) if schema.has(TOKENS, name))


def any_set(schema: Schema) -> str:
    """SQL over a token `t`: true where GitLab has sent at least one notice, else false, never NULL."""
    tests = [f"t.{name} IS {'TRUE' if name in FLAGS else 'NOT NULL'}" for name in columns(schema)]
    return f"({' OR '.join(tests)})" if tests else "false"


def sent(schema: Schema) -> str:
    """SQL over a token `t`: the notices that GitLab has sent, the first one first, such as `{60d 2026-10-01,7d}`.

    Each has its day (UTC) where GitLab has noted it; `expired` is the mail about a token that has expired.
    """
    notices = [
        f"CASE WHEN t.{name} IS NOT NULL THEN '{days}d ' || to_char(t.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD') END"
        for name, days in sorted(DAYS_AHEAD.items(), key=lambda one: -one[1])
        if schema.has(TOKENS, name)
    ]
    delivered, expired = FLAGS
    if schema.has(TOKENS, delivered):
        unnoted = f" AND t.{TIMES[0]} IS NULL" if schema.has(TOKENS, TIMES[0]) else ""
        notices.append(f"CASE WHEN t.{delivered}{unnoted} THEN '{DAYS_AHEAD[TIMES[0]]}d' END")
    if schema.has(TOKENS, expired):
        notices.append(f"CASE WHEN t.{expired} THEN 'expired' END")
    listed = ",\n        ".join(notices)
    return f"array_remove(ARRAY[\n        {listed}\n      ]::text[], NULL)" if notices else "CAST('{}' AS text[])"


def first_warning(schema: Schema) -> int:
    """How many days before the expiration date GitLab sends its first notice."""
    return max((days for name, days in DAYS_AHEAD.items() if schema.has(TOKENS, name)), default=7)

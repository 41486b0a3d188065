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


def first_warning(schema: Schema) -> int:
    """How many days before the expiration date GitLab sends its first notice."""
    return max((days for name, days in DAYS_AHEAD.items() if schema.has(TOKENS, name)), default=7)

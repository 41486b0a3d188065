"""What logs say of tokens, as SQL beside them: some thousands of rows that are sent with the statement."""

from collections.abc import Mapping

from tokens.database import array_literal
from tokens.usage.reading import Usage

LOGGED = """
    LEFT JOIN unnest(
      CAST(%(logged_ids)s AS bigint[]),
      CAST(%(logged_calls)s AS float8[]),
      CAST(%(logged_refused)s AS bigint[]),
      CAST(%(logged_daily)s AS boolean[])
    ) AS logged (id, calls, refused, daily) ON logged.id = t.id
"""
"""SQL: of a token `t` how many calls a day, how many refused tries, and whether it is used daily; NULL for a token of
which the logs say nothing."""

CALLS_A_DAY = "COALESCE(logged.calls, 0)"
REFUSED = "COALESCE(logged.refused, 0)"
IS_TRIED = "COALESCE(logged.refused > 0, false)"
IS_USED_DAILY = "COALESCE(logged.daily, false)"


def parameters(usage: Usage) -> Mapping[str, object]:
    """The values in LOGGED."""
    uses = tuple(usage.by_token.values())
    days = usage.days
    return {
        "logged_ids": array_literal(use.id for use in uses),
        "logged_calls": array_literal(round(use.calls_a_day(days), 2) for use in uses),
        "logged_refused": array_literal(use.refused for use in uses),
        "logged_daily": array_literal(use.is_daily(days) for use in uses),
    }

"""What becomes of the bots of changed tokens at GitLab's clean-up of inactive bots, as parts of a statement."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokens.database import Connection
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, holds, is_active
from tokens.gitlab.settings import Policy

# Of the chosen tokens of each owner, for bots: how many hold it at the next clean-up as they are and with their new
# dates, and how many are active and will be.
OF_BOTS = """
        count(*) FILTER (WHERE {holds}) AS holding,
        count(*) FILTER (WHERE {will_hold}) AS will_hold,
        count(*) FILTER (WHERE {is_active}) AS active,
        count(*) FILTER (WHERE {will_be_active}) AS will_be_active
"""

# Those of all groups of a bot.
SUMS_OF_BOTS = """
        sum(k.holding) AS holding,
        sum(k.will_hold) AS will_hold,
        sum(k.active) AS active,
        sum(k.will_be_active) AS will_be_active
"""

# The same of all tokens of a bot as they are. They matter only to a bot whose chosen tokens alone do not save it.
BOTS = """
    LEFT JOIN LATERAL (
      SELECT
        count(*) FILTER (WHERE {holds}) AS holding,
        count(*) FILTER (WHERE {is_active}) AS active
      FROM public.personal_access_tokens t
      WHERE t.user_id = o.user_id AND o.user_type = 6 AND (o.will_hold = 0 OR o.will_be_active = 0)
    ) bot ON o.user_type = 6
"""

# Held as things are, and no more with the new dates.
DOOMED = "(o.will_hold = 0 AND bot.holding > 0 AND bot.holding = o.holding)"

# Nothing holds it then, or no token of it is active, so that nothing will hold it some days later.
DOOMED_ANYWAY = f"""(
          NOT {DOOMED}
          AND (
            (o.will_hold = 0 AND bot.holding = o.holding)
            OR (o.will_be_active = 0 AND bot.active = o.active)
          )
        )"""

# Only how many are lost, which has no way back, for tokens and dates from elsewhere.
DOOMED_BOTS = """
    WITH owners AS (
      SELECT
        t.user_id,
        u.user_type,
        {of_bots}
      FROM {source}
      LEFT JOIN public.users u ON u.id = t.user_id
      GROUP BY t.user_id, u.user_type
    )
    SELECT count(*) FILTER (WHERE {doomed}) AS doomed_bots
    FROM owners o
    {bots}
"""


@dataclass(frozen=True)
class BotsInSQL:
    """The parts of a statement that are about bots and their clean-up, and the values in them."""

    sql: Mapping[str, str]
    parameters: Mapping[str, object]


def bots_and_clean_up(
    clean_up: CleanUp | None,
    policy: Policy,
    new: Condition,
    *,
    revoked: str = "t.revoked",
    updated_at: str = "t.updated_at",
) -> BotsInSQL:
    """What becomes of the bots of tokens `t` that get the date `new`, and such a `revoked` and `updated_at`, as SQL."""
    if clean_up is None or policy.inactive_days is None:
        none = {"of_bots": "0 AS holding", "sums_of_bots": "0 AS holding"}
        return BotsInSQL({**none, "bots": "", "doomed": "false", "doomed_anyway": "false"}, {})
    today = "CAST(%(facts_today)s AS date)"
    next_day = f"({today} + 1)"
    days = "CAST(%(facts_inactive_days)s AS integer)"
    holding = {
        "holds": holds(clean_up, "t.expires_at", "t.revoked", "t.updated_at", next_day, days),
        "is_active": is_active(clean_up, "t.expires_at", "t.revoked", today),
    }
    of_bots = OF_BOTS.format(
        **holding,
        will_hold=holds(clean_up, new.sql, revoked, updated_at, next_day, days),
        will_be_active=is_active(clean_up, new.sql, revoked, today),
    )
    return BotsInSQL(
        {
            "of_bots": of_bots.strip(),
            "sums_of_bots": SUMS_OF_BOTS.strip(),
            "bots": BOTS.format(**holding).strip(),
            "doomed": DOOMED,
            "doomed_anyway": DOOMED_ANYWAY,
        },
        {"facts_inactive_days": policy.inactive_days, **new.parameters},
    )


def read_doomed(
    connection: Connection,
    tokens: Condition,
    new: Condition,
    policy: Policy,
    clean_up: CleanUp | None,
    *,
    revoked: str = "t.revoked",
    updated_at: str = "t.updated_at",
) -> int:
    """How many bots the next clean-up takes because each token `t` of `tokens`, SQL for FROM, gets the date `new`.

    `revoked` and `updated_at` are the SQL of what these columns will have.
    """
    bots = bots_and_clean_up(clean_up, policy, new, revoked=revoked, updated_at=updated_at)
    statement = DOOMED_BOTS.format(source=tokens.sql, **bots.sql)
    row = connection.row(statement, facts_today=policy.today.literal, **bots.parameters, **tokens.parameters)
    return int(row.doomed_bots)

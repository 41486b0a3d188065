"""The statements about GitLab's nightly work: what happens to each token when, in one or two worlds, as SQL.

The rules are those of `tokens.gitlab.rules`. Each is asked for the first day on which it applies, so that one statement
finds the end of every token at once, in both worlds: `plain`, as things are, and `changed`. Nothing is asked here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tokens.database import array_literal
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp, first_free_night
from tokens.gitlab.kind import STATE_EXPRESSION, kind_expression
from tokens.gitlab.ownership import FIRST_PLACE, PLACE, owner_shown, told, username_shown
from tokens.gitlab.rules import BY_NUMBER, ENDS, LET_IN, Effect, Subject, first_day, in_force
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy, is_refused_another
from tokens.inventory.scenario import SIMULATED_TODAY, Resolved
from tokens.selection import EVERYTHING, Selection
from tokens.usage.reading import Usage

RULES_A_DAY = 32

LAST = "CAST(%(simulated_last)s AS date)"
DAYS = "CAST(%(simulated_days)s AS integer)"

# A day and the number of the rule on it are one number, of which the least is the soonest and of these the first rule.
AT = """CASE
        WHEN {first} <= {last} THEN (GREATEST({first}, {today}) - {today}) * 32 + {number}
      END"""

# GitLab deletes a bot with its first membership that ends.
ENDED = """
    ended_{world} AS MATERIALIZED (
      SELECT m.user_id, GREATEST(min(m.expires_at), {today} + 1) AS night
      FROM public.members m
      WHERE m.requested_at IS NULL AND m.user_id IS NOT NULL AND m.expires_at <= {last} AND NOT {is_removed}
      GROUP BY m.user_id
    )"""

# To find the bots reads all their tokens, so it is done once; there are far fewer bots than tokens.
FREE = """
    SELECT
      CAST(COALESCE(array_agg(bot.user_id), '{{}}') AS text) AS bots,
      CAST(COALESCE(array_agg(bot.night), '{{}}') AS text) AS nights
    FROM ({free}) bot
"""

CLEANED = """
    cleaned_{world} AS MATERIALIZED (
      SELECT bot.user_id, bot.night
      FROM unnest(
        CAST(%(simulated_bots_{world})s AS bigint[]), CAST(%(simulated_nights_{world})s AS date[])
      ) AS bot (user_id, night)
    )"""

# Each column is worked out once a token: OFFSET keeps PostgreSQL from putting it wherever its name is.
MOMENTS = """
    moments AS (
      SELECT
        t.id,
        t.user_id,
        {works} AS works,
        {columns}
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      {joins}
      WHERE {condition}
      OFFSET 0
    )"""

# The bots about whose tokens anybody is mailed, found once: there are far fewer of them than tokens; and the night in
# which the last of these people's memberships ends.
ATTENDED = f"""
    attended AS MATERIALIZED (
      SELECT u.id AS user_id, people.until
      FROM public.users u
      CROSS JOIN LATERAL (
        SELECT m.source_type, m.source_id
        FROM public.members m
        WHERE m.user_id = u.id AND m.requested_at IS NULL AND NOT {{is_removed}}
        ORDER BY {FIRST_PLACE}
        LIMIT 1
      ) place
      CROSS JOIN LATERAL (
        SELECT max(COALESCE(looking_after.expires_at, CAST('infinity' AS date))) AS until{{told}}
      ) people
      WHERE u.user_type = 6 AND people.until > {{today}}
    )"""  # noqa: S608 - a constant

MAILED = """(
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT {beyond}
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'{but_blocked}
              WHEN u.user_type = 6 THEN attended.until IS NOT NULL
              ELSE false
            END
          )"""

# A token that works ends once. Whether it works or not, GitLab may revoke it, and delete it later on. Most tokens do
# neither.
LIVES = """
    lives AS MATERIALIZED (
      SELECT *
      FROM (
        SELECT
          moments.*,
          LEAST(moments.ends_plain, CASE WHEN moments.works THEN moments.goes_plain END) AS dies_plain,
          LEAST(moments.ends_changed, CASE WHEN moments.works THEN moments.goes_changed END) AS dies_changed
        FROM moments
        OFFSET 0
      ) life
      WHERE COALESCE(dies_plain, goes_plain, loses_plain, dies_changed, goes_changed, loses_changed) IS NOT NULL
    )"""

# What happens to a token, as it does with the decision, and in which nights it would without.
EVENTS = """
    events AS (
      {parts}
    )"""
HAPPENS = """SELECT
        id,
        user_id,
        {worked} AS worked,
        {name}_changed AS at,
        CASE WHEN {name}_plain / 32 <= {name}_changed / 32 THEN 'anyway' ELSE 'change' END AS difference
      FROM lives
      WHERE {name}_changed IS NOT NULL {counts_changed}"""
SPARED = """SELECT id, user_id, {worked}, {name}_plain, 'spared'
      FROM lives
      WHERE {name}_plain / 32 < COALESCE({name}_changed / 32, {name}_plain + 1) {counts_plain}"""

# Who has gone with its bot has not died before; who has died can lose no access.
SORTS = (
    ("dies", "works", ""),
    ("goes", "false", "AND goes_{world} IS DISTINCT FROM dies_{world}"),
    ("loses", "true", "AND loses_{world} < COALESCE(dies_{world}, loses_{world} + 1)"),
)

COUNTS = """
    SELECT
      at / 32 AS night,
      mod(at, 32) AS rule,
      difference,
      worked,
      count(*) AS tokens
    FROM events
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
"""

# Those that a log names.
USED = """
    used AS MATERIALIZED (
      SELECT use.id, use.calls_a_day, use.daily
      FROM unnest(
        CAST(%(simulated_used)s AS bigint[]),
        CAST(%(simulated_calls)s AS float8[]),
        CAST(%(simulated_daily)s AS boolean[])
      ) AS use (id, calls_a_day, daily)
    )"""

DIE_IN_USE = """
    SELECT count(*) AS used, count(*) FILTER (WHERE used.daily) AS daily
    FROM events
    JOIN used ON used.id = events.id
    WHERE events.worked AND events.difference <> 'spared' AND mod(events.at, 32) IN ({ends})
"""

# The tokens that are shown are found first, so that nothing is looked up about those that are not.
ROWS = """
    , shown AS MATERIALIZED (
      SELECT events.*, used.calls_a_day
      FROM events
      LEFT JOIN used ON used.id = events.id
      ORDER BY worked DESC, used.calls_a_day DESC NULLS LAST, at, id, difference
      LIMIT CAST(%(simulated_first)s AS bigint)
    )
    SELECT
      shown.at / 32 AS night,
      mod(shown.at, 32) AS rule,
      shown.difference,
      shown.worked,
      shown.calls_a_day,
      t.id,
      t.expires_at::text AS expires_at,
      {kind} AS kind,
      u.username AS account,
      {owner} AS owner,
      t.name,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS last_used_at,
      {state} AS state,
      u.state AS owner_state,
      ARRAY(
        SELECT notice.at
        FROM unnest(lives.notices) AS notice (at)
        WHERE notice.at / 32 < COALESCE(lives.goes_changed / 32, notice.at)
      ) AS notices,
      {told} AS told
    FROM shown
    JOIN lives ON lives.id = shown.id
    JOIN public.personal_access_tokens t ON t.id = shown.id
    LEFT JOIN public.users u ON u.id = t.user_id
    {place}
    ORDER BY shown.worked DESC, shown.calls_a_day DESC NULLS LAST, shown.at, shown.id, shown.difference
"""

# By account first: of a million tokens far fewer accounts are left to be looked up.
BY_OWNER = """
    , accounts AS MATERIALIZED (
      SELECT
        user_id,
        {night} AS night,
        count(*) FILTER (WHERE {dies} AND difference = 'anyway') AS anyway,
        count(*) FILTER (WHERE {dies} AND difference = 'change') AS change,
        count(*) FILTER (WHERE {dies} AND difference = 'spared') AS spared,
        count(*) FILTER (WHERE mod(at, 32) IN ({deletions}) AND difference <> 'spared') AS deleted,
        min(at / 32) AS first
      FROM events
      GROUP BY 1, 2
    )
    SELECT
      accounts.night,
      COALESCE(place.source_type, 'User') AS owner_type,
      COALESCE(place.source_id, accounts.user_id) AS owner_id,
      min({owner}) AS owner,
      bool_or(u.user_type IS NOT DISTINCT FROM 6) AS of_bot,
      CAST(sum(anyway) AS bigint) AS anyway,
      CAST(sum(change) AS bigint) AS change,
      CAST(sum(spared) AS bigint) AS spared,
      CAST(sum(deleted) AS bigint) AS deleted,
      min(first) AS first
    FROM accounts
    LEFT JOIN public.users u ON u.id = accounts.user_id
    {place}
    GROUP BY 1, 2, 3
    ORDER BY {order}
    LIMIT CAST(%(simulated_first)s AS bigint)
"""

# A notice goes out in the night before which GitLab has not deleted the token.
NOTICES = """
    SELECT
      notice.at / 32 AS night,
      mod(notice.at, 32) AS rule,
      count(*) AS tokens
    FROM moments
    CROSS JOIN LATERAL unnest(moments.notices) AS notice (at)
    WHERE notice.at / 32 < COALESCE(moments.goes_changed / 32, notice.at)
    GROUP BY 1, 2
    ORDER BY 1, 2
"""

# One that goes with its bot before its own end does not end.
MEMBERSHIPS = """
    SELECT
      GREATEST(m.expires_at, {today} + 1) - {today} AS night,
      count(*) FILTER (WHERE u.user_type = 6) AS of_bots,
      count(*) FILTER (WHERE u.user_type IS DISTINCT FROM 6) AS of_others
    FROM public.members m
    JOIN public.users u ON u.id = m.user_id
    LEFT JOIN cleaned_changed cleaned ON cleaned.user_id = u.id
    LEFT JOIN ended_changed ended ON ended.user_id = u.id
    WHERE m.requested_at IS NULL
      AND m.expires_at <= {last}
      AND NOT {is_removed}
      AND (
        u.user_type IS DISTINCT FROM 6
        OR (
          GREATEST(m.expires_at, {today} + 1) = ended.night
          AND ended.night < COALESCE(cleaned.night, CAST('infinity' AS date))
        )
      )
      {of_these}
    GROUP BY 1
"""

# A token that is not fine-grained, and ends when nobody can make another like it. GitLab refuses to rotate an
# impersonation token then, too, but an administrator can create another.
IRREPLACEABLE = """
    SELECT count(*) AS tokens
    FROM lives
    JOIN public.personal_access_tokens t ON t.id = lives.id
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE lives.works
      AND lives.dies_changed / 32 >= CAST(%(simulated_granular_after)s AS date) - {today}
      AND {is_refused_another}
      AND NOT t.impersonation
"""

WITHOUT_TOKENS = """
    SELECT count(*) AS bots
    FROM public.users u
    WHERE u.user_type = 6
      AND NOT EXISTS (SELECT FROM public.personal_access_tokens t WHERE t.user_id = u.id)
"""

# Whom GitLab mails about a token of a bot or a person; it mails nobody about others.
TOLD_OF = """
      CASE
        WHEN t.impersonation OR t.revoked IS DISTINCT FROM false THEN CAST('{{}}' AS text[])
        WHEN u.user_type = 6 THEN ARRAY(
          SELECT {person}{told}
          ORDER BY person.username
        )
        WHEN COALESCE(u.user_type, 0) = 0 AND u.state = 'active' AND u.id NOT IN ({blocked})
        THEN ARRAY[{owner}]
        ELSE CAST('{{}}' AS text[])
      END
"""


@dataclass(frozen=True)
class Nights:
    """The statements about one selection and one decision, on one schema.

    `release` is the least that it can be, major and minor number; `bots` are those that the clean-up takes and their
    nights, by world, as literals of arrays, once `taken` has been asked. `usage` is what logs say.
    """

    schema: Schema
    selection: Selection
    resolved: Resolved
    policy: Policy
    clean_up: CleanUp | None
    release: tuple[int, int] | None
    bots: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    @property
    def worlds(self) -> tuple[str, ...]:
        """Without a decision the two worlds are one."""
        return ("plain", "changed") if self.resolved.scenario.is_change else ("changed",)

    def days(self, world: str) -> int | None:
        """After how many days the clean-up comes, None for never."""
        scenario = self.resolved.scenario
        if self.clean_up is None or (world == "changed" and scenario.keeps_bots):
            return None
        decided = scenario.clean_up_days if world == "changed" else None
        return self.policy.inactive_days if decided is None else decided

    def taken(self, world: str) -> tuple[str, Mapping[str, object]] | None:
        """The bots that the clean-up takes, and their nights: statement and parameters; None where it takes none."""
        days = self.days(world)
        if self.clean_up is None or days is None:
            return None
        beyond = self.resolved.beyond_sql if world == "changed" else "false"
        revoked = "t.revoked" if beyond == "false" else f"(t.revoked OR (t.revoked IS FALSE AND {beyond}))"
        statement = FREE.format(free=first_free_night(self.clean_up, revoked, DAYS, SIMULATED_TODAY, LAST).strip())
        return statement, {**self.values(statement), "simulated_days": days}

    def counts(self) -> str:
        """By night, rule, difference and whether they work until then, how many tokens."""
        return self._with_events() + COUNTS

    def in_use(self) -> str:
        """Of the tokens that stop working, how many a log names."""
        return self._with_events(USED) + DIE_IN_USE.format(ends=self._ends)

    def tokens(self) -> str:
        """A row an event of a token, with what is known of it."""
        told = TOLD_OF.format(
            told=self._told, blocked=self._blocked, person=username_shown("person"), owner=username_shown("u")
        )
        return self._with_events(USED, notices=True) + ROWS.format(
            kind=kind_expression(self.schema),
            owner=owner_shown(self.schema),
            told=told.strip(),
            place=PLACE.strip(),
            state=STATE_EXPRESSION.strip(),
        )

    def owners(self, *, by_night: bool) -> str:
        """A row an owner, or an owner and night."""
        deletions = [str(number) for number, rule in BY_NUMBER.items() if rule.effect is Effect.DELETED]
        return self._with_events() + BY_OWNER.format(
            night=f"at / {RULES_A_DAY}" if by_night else "CAST(NULL AS integer)",
            dies=f"worked AND mod(at, {RULES_A_DAY}) IN ({self._ends})",
            deletions=", ".join(deletions),
            owner=owner_shown(self.schema),
            place=PLACE.strip(),
            order="1, 2, 3" if by_night else "sum(anyway) + sum(change) DESC, min(first), 2, 3",
        )

    def notices(self) -> str:
        """By night and notice, about how many tokens GitLab sends mail."""
        return self._with(notices=True) + NOTICES

    def memberships(self) -> str:
        """By night, how many memberships end."""
        return self._with() + MEMBERSHIPS.format(
            is_removed=self.resolved.is_removed("m.id"),
            today=SIMULATED_TODAY,
            last=LAST,
            of_these="" if self.selection == EVERYTHING else "AND u.id IN (SELECT user_id FROM moments)",
        )

    def irreplaceable(self) -> str:
        """How many tokens end when no other like them can be made."""
        refused = is_refused_another(self.release)
        return self._with(LIVES) + IRREPLACEABLE.format(today=SIMULATED_TODAY, is_refused_another=refused)

    def values(self, statement: str, first: int | None = None) -> Mapping[str, object]:
        """The parameters that a statement asks for; `first` is how many rows it returns, None for all."""
        return {name: value for name, value in self._parameters(first).items() if f"%({name})s" in statement}

    @property
    def _blocked(self) -> str:
        return self.resolved.blocked_sql if self.resolved.blocked else "-1"

    @property
    def _told(self) -> str:
        """The people whom GitLab mails about a bot with a `place`, as things are with the decision."""
        return f"""{told(self.release)}
        AND person.id NOT IN ({self._blocked})
        AND NOT {self.resolved.is_removed("looking_after.id")}"""

    @property
    def _condition(self) -> Condition:
        return self.selection.condition(self.schema)

    def _parameters(self, first: int | None = None) -> dict[str, object]:
        found: dict[str, object] = {
            **self._condition.parameters,
            **self.resolved.parameters,
            "simulated_today": self.policy.today.literal,
            "simulated_last": (self.policy.today + self.resolved.scenario.nights).literal,
            "simulated_first": first,
        }
        used, days = [use for use in self.usage.by_token.values() if use.is_used], self.usage.days
        found["simulated_used"] = array_literal(use.id for use in used)
        found["simulated_calls"] = array_literal(use.calls_a_day(days) for use in used)
        found["simulated_daily"] = array_literal(use.is_daily(days) for use in used)
        for world, (bots, nights) in self.bots.items():
            found |= {f"simulated_bots_{world}": bots, f"simulated_nights_{world}": nights}
        return found

    def _with(self, *parts: str, notices: bool = False) -> str:
        """The beginning of every statement: what happens to each token of the selection."""
        ctes = [*(cte for world in self.worlds for cte in (CLEANED.format(world=world), self._ended(world)))]
        if notices:
            ctes.append(
                ATTENDED.format(is_removed=self.resolved.is_removed("m.id"), told=self._told, today=SIMULATED_TODAY)
            )
        return "WITH" + ",".join([*ctes, self._moments(notices=notices), *parts])

    def _with_events(self, *more: str, notices: bool = False) -> str:
        return self._with(LIVES, self._events(), *more, notices=notices)

    @property
    def _ends(self) -> str:
        """The numbers of the rules after which a token does not work."""
        return ", ".join(str(number) for number, rule in BY_NUMBER.items() if rule.effect in ENDS)

    def _ended(self, world: str) -> str:
        is_removed = self.resolved.is_removed("m.id") if world == "changed" else "false"
        return ENDED.format(world=world, is_removed=is_removed, today=SIMULATED_TODAY, last=LAST)

    def _events(self) -> str:
        parts = []
        for name, worked, counts in SORTS:
            counted = {f"counts_{world}": counts.format(world=world) for world in ("plain", "changed")}
            parts += [one.format(name=name, worked=worked, **counted) for one in (HAPPENS, SPARED)[: len(self.worlds)]]
        return EVENTS.format(parts="\n      UNION ALL\n      ".join(parts))

    def _moments(self, *, notices: bool) -> str:
        columns = []
        for world in ("plain", "changed"):
            asked = world if world in self.worlds else "changed"
            columns += [
                f"{self._soonest(asked, effects)} AS {name}_{world}"
                for name, effects in (
                    ("ends", (Effect.STOPS, Effect.REVOKED, Effect.EXPIRES)),
                    ("goes", (Effect.DELETED,)),
                    ("loses", (Effect.LOSES_ACCESS,)),
                )
            ]
        if notices:
            sent = ", ".join(self._at("changed", (Effect.NOTICE,), last=f"LEAST({LAST}, attended.until - 1)"))
            columns.append(f"CAST(ARRAY[{sent}] AS integer[]) AS notices")
        joins = [
            f"LEFT JOIN {name}_{world} ON {name}_{world}.user_id = t.user_id{of_bots}"
            for world in self.worlds
            for name, of_bots in (("cleaned", " AND u.user_type = 6"), ("ended", ""))
        ]
        if notices:
            joins.append("LEFT JOIN attended ON attended.user_id = t.user_id")
        return MOMENTS.format(
            works=LET_IN.format(today=SIMULATED_TODAY),
            columns=",\n        ".join(columns),
            joins="\n      ".join(joins),
            condition=self._condition.sql,
        )

    def _soonest(self, world: str, effects: Sequence[Effect]) -> str:
        found = self._at(world, effects)
        return f"LEAST({', '.join(found)})" if found else "CAST(NULL AS integer)"

    def _at(self, world: str, effects: Sequence[Effect], last: str = LAST) -> list[str]:
        """When each of the rules with these effects applies, until `last`."""
        subject = self._subject(world)
        return [
            AT.format(first=first_day(rule, subject, self.schema), number=number, today=SIMULATED_TODAY, last=last)
            for number, rule in in_force(self.release)
            if rule.effect in effects
        ]

    def _subject(self, world: str) -> Subject:
        around = {
            "today": SIMULATED_TODAY,
            "cleaned_up_on": f"cleaned_{world}.night",
            "membership_ends_on": f"ended_{world}.night",
        }
        if world == "plain":
            return Subject(**around)
        decided = self.resolved
        beyond = decided.beyond_sql
        blocked = "" if not decided.blocked else f" AND u.id NOT IN ({decided.blocked_sql})"
        return Subject(
            **around,
            disabled=str(decided.scenario.disable).lower(),
            blocked=decided.blocked_sql,
            removed=decided.removed_sql,
            beyond=beyond,
            mailed=MAILED.format(beyond=beyond, but_blocked=blocked),
        )

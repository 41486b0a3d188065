"""What GitLab's nightly work will do to tokens, night by night, as things are and with an administrator's decision.

The rules are those of `tokens.gitlab.rules`. Each is asked for the first day on which it applies, so that one statement
finds the end of every token at once, in both worlds: `plain`, as things are, and `changed`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum

from tokens import database
from tokens.address import Address
from tokens.change.plan import read_release
from tokens.counts import counted
from tokens.database import Connection, array_literal
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import FAULTY, CleanUp, clean_up, first_free_night
from tokens.gitlab.kind import STATE_EXPRESSION, Kind, kind_expression
from tokens.gitlab.needs import LIST
from tokens.gitlab.ownership import PLACE, TOLD, owner_shown
from tokens.gitlab.rules import BY_NUMBER, ENDS, WORKS, Effect, Rule, Terms, first_day, in_force
from tokens.gitlab.schema import Schema
from tokens.gitlab.settings import Policy, read_policy
from tokens.inventory.forecast import Owner, OwnerType
from tokens.inventory.ids import notes_on_ids
from tokens.inventory.scenario import Resolved, Scenario, day_of, resolve
from tokens.selection import EVERYTHING, Condition, Selection
from tokens.unmatched import check_names, gaps

AT_ONCE = 2000  # rows in one round trip
RELEASE_PARTS = 2
LAST_MINOR = 11  # of a major release

TODAY = "CAST(%(simulated_today)s AS date)"
LAST = "CAST(%(simulated_last)s AS date)"
DAYS = "CAST(%(simulated_days)s AS integer)"

RULES_A_DAY = 32

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

MAILED = """(
            t.revoked IS FALSE
            AND NOT t.impersonation
            AND NOT {beyond}
            AND CASE
              WHEN COALESCE(u.user_type, 0) = 0 THEN u.state = 'active'{but_blocked}
              WHEN u.user_type = 6 THEN EXISTS (
                SELECT
                FROM public.members m
                WHERE m.user_id = u.id AND m.requested_at IS NULL AND NOT {is_removed}
              )
              ELSE false
            END
          )"""

# A token that works ends once; whether it works or not, GitLab may delete it later on. Most tokens do neither.
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
    ("dies", "true", ""),
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
    {cleaned}
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

# A token of a person that is not fine-grained, and ends when nobody can make another like it.
IRREPLACEABLE = """
    SELECT count(*) AS tokens
    FROM lives
    JOIN public.personal_access_tokens t ON t.id = lives.id
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE lives.dies_changed / 32 >= CAST(%(simulated_granular_after)s AS date) - {today}
      AND NOT t.granular
      AND NOT t.impersonation
      AND COALESCE(u.user_type, 0) = 0
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
          SELECT CAST(person.username AS text){told}
        AND person.id NOT IN ({blocked})
        AND NOT {is_removed}
          ORDER BY person.username
        )
        WHEN COALESCE(u.user_type, 0) = 0 AND u.state = 'active' AND u.id NOT IN ({blocked})
        THEN ARRAY[CAST(u.username AS text)]
        ELSE CAST('{{}}' AS text[])
      END
"""


@dataclass(frozen=True)
class Uses:
    """What a log knows: calls a day of each token that GitLab let in, which of them are used daily.

    It begins at `since` (ISO 8601, UTC) and has this number of days.
    """

    calls_a_day: Mapping[int, float] = field(default_factory=dict)
    daily: frozenset[int] = frozenset()
    since: str = ""
    days: int = 0


@dataclass(frozen=True)
class InUse:
    """Of the tokens that stop working, those that the log says are used at all, and daily; how far it reaches back."""

    used: int
    daily: int
    since: str
    days: int


class Difference(StrEnum):
    """What an event owes to the decision: nothing, all, or that it does not come to be on its night."""

    ANYWAY = "anyway"
    CHANGE = "change"
    SPARED = "spared"


@dataclass(frozen=True)
class Count:
    """To how many tokens a rule does something in one night; `worked` is whether they work until then."""

    night: date
    rule: Rule
    difference: Difference
    worked: bool
    tokens: int

    @property
    def ends(self) -> bool:
        """Whether these tokens stop working, with the decision."""
        return self.worked and self.rule.effect in ENDS and self.difference is not Difference.SPARED


@dataclass(frozen=True)
class Notices:
    """The tokens about which GitLab sends mail in one night."""

    night: date
    rule: Rule
    tokens: int


@dataclass(frozen=True)
class EndingMemberships:
    """The memberships that end in one night: those of bots, which go with them, and those of others."""

    night: date
    of_bots: int
    of_others: int


@dataclass(frozen=True)
class TokenEvent:
    """What happens to one token in one night.

    `worked` is whether it works until then. `notices` are the nights before it in which GitLab mails `told`, each with
    the notice's name. `owner` is None for a bot that has lost its project or group. `calls_a_day` is None where no log
    has been read, or names no call.
    """

    night: date
    rule: Rule
    difference: Difference
    worked: bool
    id: int
    expires_at: ExpirationDate | None
    kind: Kind
    account: str | None
    owner: str | None
    name: str
    last_used_at: str | None
    state: str
    owner_state: str | None
    notices: tuple[tuple[date, str], ...]
    told: tuple[str, ...]
    calls_a_day: float | None = None


@dataclass(frozen=True)
class OwnerEvents:
    """What happens to the tokens of one owner: in one night, or in all of them (None).

    `anyway`, `change` and `spared` are tokens that work, by what their end owes to the decision; `deleted` are rows
    that GitLab deletes, of dead tokens, too.
    """

    owner: Owner
    night: date | None
    first: date
    anyway: int
    change: int
    spared: int
    deleted: int

    @property
    def dies(self) -> int:
        return self.anyway + self.change


@dataclass
class Simulation:
    """The nights from `first` to `last` (UTC), and what they do to tokens; open as long as its block.

    Attributes:
        scenario: what is decided on `today`.
        counts: events by night, rule and difference.
        notices, memberships: by night, with the decision.
        bots_without_tokens: how many of them the next clean-up deletes.
        notes: sentences about what is not known, and about the decision.
        in_use: what a log says of the tokens that stop working; None without one.
    """

    scenario: Scenario
    today: date
    last: date
    counts: tuple[Count, ...]
    notices: tuple[Notices, ...]
    memberships: tuple[EndingMemberships, ...]
    bots_without_tokens: int
    notes: tuple[str, ...]
    in_use: InUse | None
    _asked: "_Asked" = field(repr=False, compare=False)

    @property
    def first(self) -> date:
        return self.today + timedelta(1)

    def dies(self, difference: Difference | None = None) -> int:
        """How many tokens that work stop working, of all or of one difference."""
        if difference is Difference.SPARED:
            spared = (one for one in self.counts if one.worked and one.difference is difference)
            return sum(one.tokens for one in spared if one.rule.effect in ENDS)
        return sum(one.tokens for one in self.counts if one.ends and difference in (None, one.difference))

    def tokens(self, first: int | None) -> Iterator[TokenEvent]:
        """Every event or the first ones: of tokens that work until then, in the order of nights, then of dead ones."""
        return self._asked.tokens(first)

    def owners(self, first: int | None, *, by_night: bool = False) -> Iterator[OwnerEvents]:
        """What happens by owner, most tokens first; with `by_night` in the order of nights."""
        return self._asked.owners(first, by_night=by_night)


@contextmanager
def simulated(
    address: Address, selection: Selection, scenario: Scenario, *, release: str | None = None, uses: Uses | None = None
) -> Iterator[Simulation]:
    """What happens to the tokens of `selection`, in one snapshot that is open as long as the block; a standby will do.

    `release` is GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells, and where that is
    not enough the worse case counts. With `uses` the tokens that are used most come first.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name that does not exist, or a setting that this release does not have.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST)
        check_names(connection, schema, selection)
        estimate = read_release(connection, schema)
        policy = read_policy(connection, schema)
        rule = clean_up(release, estimate)
        resolved = resolve(connection, schema, scenario, policy, rule)
        asked = _Asked(connection, schema, selection, resolved, policy, rule, _at_least(release, estimate))
        asked = replace(asked, uses=uses or Uses(), bots={world: asked.free(world) for world in asked.worlds})
        counts = tuple(asked.counts())
        without = asked.bots_without_tokens()
        notes = (
            *resolved.notes,
            *asked.notes_on_replacing(),
            *_notes_on_release(rule, policy, scenario),
            *notes_on_ids(connection, schema, selection),
            *gaps(connection, schema, selection, nothing=not counts),
        )
        yield Simulation(
            scenario,
            day_of(policy.today),
            day_of(policy.today + scenario.nights),
            counts,
            tuple(asked.notices()),
            tuple(asked.memberships()),
            without,
            notes,
            None if uses is None else asked.in_use(uses),
            asked,
        )


def _at_least(exact: str | None, estimate: str | None) -> tuple[int, int] | None:
    """The major and the minor number of the release, or of the earlier one that an estimate may stand for."""
    found = _parts(exact)
    if found is not None or (found := _parts(estimate)) is None:
        return found
    major, minor = found
    return (major, minor - 1) if minor else (major - 1, LAST_MINOR)


def _parts(release: str | None) -> tuple[int, int] | None:
    """The major and the minor number of a release such as `17.11.1-ee`."""
    numbers = (release or "").strip().removeprefix("v").split(".")[:RELEASE_PARTS]
    return (
        (int(numbers[0]), int(numbers[1])) if len(numbers) == RELEASE_PARTS and all(map(str.isdigit, numbers)) else None
    )


def _notes_on_release(rule: CleanUp | None, policy: Policy, scenario: Scenario) -> Iterator[str]:
    if rule is not None and not rule.certain and (policy.inactive_days is not None or scenario.clean_up_days):
        worse = f" ({FAULTY} take tokens without a date for ended)" if rule.takes_undated else ""
        yield f"GitLab's exact release is not known here: of the clean-ups that it may have the worst counts{worse}."
    if rule is not None and rule.may_block:
        yield "Where a feature flag of this release is off, GitLab blocks inactive bots instead of deleting them."


@dataclass(frozen=True)
class _Asked:
    """Asks one snapshot."""

    connection: Connection
    schema: Schema
    selection: Selection
    resolved: Resolved
    policy: Policy
    clean_up: CleanUp | None
    release: tuple[int, int] | None
    bots: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    uses: Uses = Uses()

    @property
    def condition(self) -> Condition:
        return self.selection.condition(self.schema)

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

    def parameters(self, first: int | None = None) -> dict[str, object]:
        found: dict[str, object] = {
            **self.condition.parameters,
            **self.resolved.parameters,
            "simulated_today": self.policy.today.literal,
            "simulated_last": (self.policy.today + self.resolved.scenario.nights).literal,
            "simulated_first": first,
        }
        ids = list(self.uses.calls_a_day)
        found["simulated_used"] = array_literal(ids)
        found["simulated_calls"] = array_literal(self.uses.calls_a_day.values())
        found["simulated_daily"] = array_literal(one in self.uses.daily for one in ids)
        for world, (bots, nights) in self.bots.items():
            found |= {f"simulated_bots_{world}": bots, f"simulated_nights_{world}": nights}
        return found

    def with_(self, *parts: str, notices: bool = False) -> str:
        """The beginning of every statement: what happens to each token of the selection."""
        ctes = [*(cte for world in self.worlds for cte in (CLEANED.format(world=world), self._ended(world)))]
        return "WITH" + ",".join([*ctes, self._moments(notices=notices), *parts])

    def with_events(self, *more: str, notices: bool = False) -> str:
        return self.with_(LIVES, self._events(), *more, notices=notices)

    def in_use(self, uses: Uses) -> InUse:
        statement = self.with_events(USED) + DIE_IN_USE.format(ends=self._ends)
        row = self.connection.row(statement, **self._used(statement))
        return InUse(row.used, row.daily, uses.since, uses.days)

    @property
    def _ends(self) -> str:
        """The numbers of the rules after which a token does not work."""
        return ", ".join(str(number) for number, rule in BY_NUMBER.items() if rule.effect in ENDS)

    def counts(self) -> Iterator[Count]:
        statement = self.with_events() + COUNTS
        for row in self.connection.rows(statement, **self._used(statement)):
            yield Count(
                self._night(row.night),
                BY_NUMBER[row.rule],
                Difference(row.difference),
                row.worked,
                row.tokens,
            )

    def tokens(self, first: int | None) -> Iterator[TokenEvent]:
        told = TOLD_OF.format(
            told=TOLD.rstrip(),
            blocked=self.resolved.blocked_sql if self.resolved.blocked else "-1",
            is_removed=self.resolved.is_removed("looking_after.id"),
        )
        statement = self.with_events(USED, notices=True) + ROWS.format(
            kind=kind_expression(self.schema),
            owner=owner_shown(self.schema),
            told=told.strip(),
            place=PLACE.strip(),
            state=STATE_EXPRESSION.strip(),
        )
        for row in self.connection.stream(statement, AT_ONCE, **self._used(statement, first)):
            expires_at = None if row.expires_at is None else ExpirationDate.stored(row.expires_at)
            yield TokenEvent(
                self._night(row.night),
                BY_NUMBER[row.rule],
                Difference(row.difference),
                row.worked,
                row.id,
                expires_at,
                Kind(row.kind),
                row.account,
                row.owner,
                row.name,
                row.last_used_at,
                row.state,
                row.owner_state,
                tuple((self._night(at // RULES_A_DAY), BY_NUMBER[at % RULES_A_DAY].name) for at in row.notices),
                tuple(row.told),
                row.calls_a_day,
            )

    def owners(self, first: int | None, *, by_night: bool) -> Iterator[OwnerEvents]:
        deletions = [str(number) for number, rule in BY_NUMBER.items() if rule.effect is Effect.DELETED]
        statement = self.with_events() + BY_OWNER.format(
            night=f"at / {RULES_A_DAY}" if by_night else "CAST(NULL AS integer)",
            dies=f"worked AND mod(at, {RULES_A_DAY}) IN ({self._ends})",
            deletions=", ".join(deletions),
            owner=owner_shown(self.schema),
            place=PLACE.strip(),
            order="1, 2, 3" if by_night else "sum(anyway) + sum(change) DESC, min(first), 2, 3",
        )
        for row in self.connection.stream(statement, AT_ONCE, **self._used(statement, first)):
            yield OwnerEvents(
                Owner(OwnerType(row.owner_type), row.owner_id, row.owner),
                None if row.night is None else self._night(row.night),
                self._night(row.first),
                row.anyway,
                row.change,
                row.spared,
                row.deleted,
            )

    def notices(self) -> Iterator[Notices]:
        statement = self.with_(notices=True) + NOTICES
        for row in self.connection.rows(statement, **self._used(statement)):
            yield Notices(self._night(row.night), BY_NUMBER[row.rule], row.tokens)

    def memberships(self) -> Iterator[EndingMemberships]:
        is_all = self.selection == EVERYTHING
        statement = self.with_() + MEMBERSHIPS.format(
            cleaned="LEFT JOIN cleaned_changed cleaned ON cleaned.user_id = u.id",
            is_removed=self.resolved.is_removed("m.id"),
            today=TODAY,
            last=LAST,
            of_these="" if is_all else "AND u.id IN (SELECT user_id FROM moments)",
        )
        for row in self.connection.rows(statement, **self._used(statement)):
            yield EndingMemberships(self._night(row.night), row.of_bots, row.of_others)

    def bots_without_tokens(self) -> int:
        if self.selection != EVERYTHING or self.days("changed") is None:
            return 0
        return int(self.connection.row(WITHOUT_TOKENS).bots)

    def notes_on_replacing(self) -> Iterator[str]:
        day = self.resolved.scenario.granular_after
        if day is None:
            return
        statement = self.with_(LIVES) + IRREPLACEABLE.format(today=TODAY)
        values = {**self._used(statement), "simulated_granular_after": str(day)}
        number = self.connection.row(statement, **values).tokens
        people = counted(number, "of these tokens is a person's", "of these tokens are people's")
        yield f"{people}, and no other like it can be made when it stops working."

    def _used(self, statement: str, first: int | None = None) -> Mapping[str, object]:
        """The values that a statement asks for."""
        return {name: value for name, value in self.parameters(first).items() if f"%({name})s" in statement}

    def _night(self, number: int) -> date:
        return day_of(self.policy.today + int(number))

    def free(self, world: str) -> tuple[str, str]:
        """The bots that the clean-up takes and their nights, as literals of arrays."""
        days = self.days(world)
        if self.clean_up is None or days is None:
            return "{}", "{}"
        beyond = self.resolved.beyond_sql(TODAY) if world == "changed" else "false"
        revoked = "t.revoked" if beyond == "false" else f"(t.revoked OR (t.revoked IS FALSE AND {beyond}))"
        found = first_free_night(self.clean_up, revoked, DAYS, TODAY, LAST).strip()
        statement = FREE.format(free=found)
        row = self.connection.row(statement, **{**self._used(statement), "simulated_days": days})
        return row.bots, row.nights

    def _ended(self, world: str) -> str:
        is_removed = self.resolved.is_removed("m.id") if world == "changed" else "false"
        return ENDED.format(world=world, is_removed=is_removed, today=TODAY, last=LAST)

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
            sent = ", ".join(self._at("changed", (Effect.NOTICE,)))
            columns.append(f"CAST(ARRAY[{sent}] AS integer[]) AS notices")
        joins = [
            f"LEFT JOIN {name}_{world} ON {name}_{world}.user_id = t.user_id{of_bots}"
            for world in self.worlds
            for name, of_bots in (("cleaned", " AND u.user_type = 6"), ("ended", ""))
        ]
        return MOMENTS.format(
            works=WORKS.format(today=TODAY),
            columns=",\n        ".join(columns),
            joins="\n      ".join(joins),
            condition=self.condition.sql,
        )

    def _soonest(self, world: str, effects: Sequence[Effect]) -> str:
        found = self._at(world, effects)
        return f"LEAST({', '.join(found)})" if found else "CAST(NULL AS integer)"

    def _at(self, world: str, effects: Sequence[Effect]) -> list[str]:
        """When each of the rules with these effects applies."""
        terms = self._terms(world)
        return [
            AT.format(first=first_day(rule, terms, self.schema), number=number, today=TODAY, last=LAST)
            for number, rule in in_force(self.release)
            if rule.effect in effects
        ]

    def _terms(self, world: str) -> Terms:
        around = {
            "today": TODAY,
            "cleaned_up_on": f"cleaned_{world}.night",
            "membership_ends_on": f"ended_{world}.night",
        }
        if world == "plain":
            return Terms(**around)
        decided = self.resolved
        beyond = decided.beyond_sql(TODAY)
        blocked = "" if not decided.blocked else f" AND u.id NOT IN ({decided.blocked_sql})"
        return Terms(
            **around,
            disabled=str(decided.scenario.disable).lower(),
            blocked=decided.blocked_sql,
            removed=decided.removed_sql,
            beyond=beyond,
            mailed=MAILED.format(beyond=beyond, but_blocked=blocked, is_removed=decided.is_removed("m.id")),
        )

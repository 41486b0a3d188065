"""Reading what a page about an instance's tokens, or a team's, says; report_rows.py has what that is."""

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tokens import database
from tokens.address import Address
from tokens.database import Connection, array_literal
from tokens.gitlab import preflight
from tokens.gitlab.condition import Condition
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp, clean_up_day, is_active
from tokens.gitlab.kind import PROJECT_BOT, STATE_EXPRESSION, TODAY, WORKS, Kind, State, kind_expression
from tokens.gitlab.membership import BOT_GOES, ENDS_ON, MAY_END
from tokens.gitlab.needs import LIST, LIST_ACCOUNTS
from tokens.gitlab.ownership import PLACE, nobody_told, owner_shown
from tokens.gitlab.release import least_of, read_release
from tokens.gitlab.rules import LET_IN, OWNER_ACTIVE, without_notice
from tokens.gitlab.schema import Schema
from tokens.gitlab.succession import Succession, read_succession
from tokens.inventory import credentials
from tokens.inventory.breakdown import read_kinds, read_other_kinds
from tokens.inventory.credentials import MISSING
from tokens.inventory.forecast import read_forecast
from tokens.inventory.logged import IS_TRIED, IS_USED_DAILY, LOGGED
from tokens.inventory.logged import parameters as logged_parameters
from tokens.inventory.policy import read_demands
from tokens.inventory.report_rows import (
    BotRow,
    OtherKinds,
    OtherRow,
    OwnerRow,
    Report,
    Row,
    Soon,
    TokenRow,
    Top,
    TriedRow,
)
from tokens.inventory.tokens import COUNT
from tokens.selection import EVERY_STATE, EVERYTHING, DateRange, Selection
from tokens.selection.unmatched import check_names
from tokens.usage.reading import Usage

ROWS = 100  # of each table
MONTH, QUARTER = 30, 90  # days
MONTHS = 12  # that the calendar has, the one of tomorrow included
TEXT = 300  # characters of a name or path that are read
OTHER_COLUMNS = ("id", "expires_at", "kind", "owner", "name")

# Whom GitLab mails is the same for all tokens of an account but for these columns, and there are far fewer accounts
# than tokens to be looked up.
ACCOUNTS = f"""
    WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        t.impersonation,
        t.revoked,
        {{without_notice}} AS unannounced,
        count(*) FILTER (WHERE {ENDS_ON} <= {{today}} + 7) AS week,
        count(*) FILTER (WHERE {ENDS_ON} <= {{today}} + 30) AS month,
        count(*) AS quarter,
        count(*) FILTER (
          WHERE {ENDS_ON} <= {{today}} + 30 AND {{used}}
        ) AS used
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id{{logged}}
      {BOT_GOES}
      WHERE {{condition}}
        AND {{ending}}
      GROUP BY t.user_id, t.impersonation, t.revoked, unannounced
    ),
    unwarned AS MATERIALIZED (
      SELECT t.user_id, t.impersonation, t.revoked IS NULL AS unknown, t.unannounced, t.month, t.quarter
      FROM accounts t
      LEFT JOIN public.users u ON u.id = t.user_id
      {{place}}
      WHERE t.unannounced OR {{nobody_told}}
    )
"""  # noqa: S608 - constants

SOON = """
    SELECT
      CAST(COALESCE(sum(week), 0) AS bigint) AS week,
      CAST(COALESCE(sum(month), 0) AS bigint) AS month,
      CAST(COALESCE(sum(quarter), 0) AS bigint) AS quarter,
      CAST(COALESCE(sum(used), 0) AS bigint) AS used,
      CAST((SELECT COALESCE(sum(month), 0) FROM unwarned) AS bigint) AS unwarned_month,
      CAST((SELECT COALESCE(sum(quarter), 0) FROM unwarned) AS bigint) AS unwarned_quarter
    FROM accounts
"""
SOON_ENDING = (
    f"{LET_IN.format(today=TODAY)} AND {MAY_END.format(since=f'{TODAY} + 1', today=TODAY)} "
    f"AND {ENDS_ON} <= {TODAY} + {QUARTER}"
)
UNWARNED = """
    (t.user_id, t.impersonation, t.revoked IS NULL, {without_notice}) IN (
          SELECT user_id, impersonation, unknown, unannounced FROM unwarned
        )
"""

# The tokens that are shown are found first, so that nothing is looked up about those that are not.
FIRST_TOKENS = f"""
    {{with_accounts}} chosen AS MATERIALIZED (
      SELECT t.id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      {BOT_GOES}
      WHERE {{condition}}
        AND {{which}}
      ORDER BY {{order}}
      LIMIT {{rows}}
    )
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      CAST({ENDS_ON} AS text) AS ends_on,
      {{kind}} AS kind,
      left({{owner}}, {{text}}) AS owner,
      left(t.name, {{text}}) AS name,
      to_char(t.created_at, 'YYYY-MM-DD') AS created_at,
      to_char(t.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last_used_at,
      {{email}} AS email
    FROM chosen
    JOIN public.personal_access_tokens t ON t.id = chosen.id
    LEFT JOIN public.users u ON u.id = t.user_id
    {BOT_GOES}
    {{place}}
    ORDER BY {{order}}
"""  # noqa: S608 - constants

# By account first: of a million tokens far fewer accounts are left to be looked up.
OWNERS = f"""
    WITH accounts AS MATERIALIZED (
      SELECT
        t.user_id,
        count(*) FILTER (WHERE {ENDS_ON} > {{today}}) AS renew,
        count(*) FILTER (WHERE {ENDS_ON} <= {{today}}) AS ended,
        count(*) FILTER (WHERE t.last_used_at IS NULL) AS never_used,
        min({ENDS_ON}) AS first{{use_of_account}}
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id{{logged}}
      {BOT_GOES}
      WHERE {{condition}}
        AND t.revoked IS NOT TRUE
        AND {OWNER_ACTIVE}
        AND {MAY_END.format(since="{today} - 30", today="{today}")}
        AND {ENDS_ON} BETWEEN {{today}} - 30 AND {{today}} + 30
        {{not_renewed}}
      GROUP BY t.user_id
    ),
    whose AS (
      SELECT
        accounts.*,
        COALESCE(u.user_type = {{bot}}, false) AS of_bot,
        place.source_type,
        {{owner}} AS owner,
        {{email}} AS email
      FROM accounts
      LEFT JOIN public.users u ON u.id = accounts.user_id
      {{place}}
    ),
    -- A bot that has lost its membership belongs to the project or group that GitLab remembers, as the others there do.
    owners AS (
      SELECT
        CASE WHEN of_bot THEN min(source_type) ELSE 'User' END AS owner_type,
        owner,
        min(email) AS email,
        CAST(sum(renew) AS bigint) AS renew,
        CAST(sum(ended) AS bigint) AS ended,
        CAST(sum(never_used) AS bigint) AS never_used,
        min(first)::text AS first{{use_of_owner}},
        count(*) OVER () AS found
      FROM whose
      GROUP BY of_bot, CASE WHEN NOT of_bot THEN user_id END, owner
    )
    SELECT owner_type, left(owner, {{text}}) AS owner, email, renew, ended, never_used, first{{use}}, found
    FROM owners
    ORDER BY renew + ended DESC, first, owner
    LIMIT {{rows}}
"""  # noqa: S608 - constants

USED_LATELY = "t.last_used_at >= now() - interval '7 days'"

USE_OF_ACCOUNT = f""",
        count(*) FILTER (WHERE {IS_USED_DAILY}) AS daily,
        count(*) FILTER (WHERE {IS_TRIED}) AS tried"""

USE_OF_OWNER = """,
        CAST(sum(daily) AS bigint) AS daily,
        CAST(sum(tried) AS bigint) AS tried"""

# Whatever state the selection names: of those that are dead.
TRIED = """
    SELECT
      t.id,
      t.expires_at::text AS expires_at,
      {state} AS state,
      {kind} AS kind,
      left({owner}, {text}) AS owner,
      left(t.name, {text}) AS name,
      {email} AS email,
      count(*) OVER () AS found
    FROM public.personal_access_tokens t
    JOIN unnest(
      CAST(%(tried_ids)s AS bigint[]), CAST(%(tried_times)s AS bigint[])
    ) AS tried (id, times) ON tried.id = t.id
    LEFT JOIN public.users u ON u.id = t.user_id
    {place}
    WHERE {condition}
      AND NOT {works}
    ORDER BY tried.times DESC, t.id
    LIMIT {rows}
"""

# Whatever state the selection names: a bot goes when the last of all its tokens has been dead for long enough.
BOTS = """
    WITH accounts AS MATERIALIZED (
      SELECT DISTINCT t.user_id
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
        AND u.user_type = {bot}
    ),
    doomed AS MATERIALIZED (
      SELECT
        other.user_id,
        count(*) AS tokens,
        {day} AS day
      FROM public.personal_access_tokens other
      JOIN accounts ON accounts.user_id = other.user_id
      GROUP BY other.user_id
      HAVING NOT bool_or(COALESCE({is_active}, false))
    ),
    shown AS MATERIALIZED (
      SELECT *, count(*) OVER () AS found
      FROM doomed
      ORDER BY day, user_id
      LIMIT {rows}
    )
    SELECT u.username, left({owner}, {text}) AS owner, shown.tokens, shown.day::text AS day, shown.found
    FROM shown
    JOIN public.users u ON u.id = shown.user_id
    {place}
    ORDER BY shown.day, shown.user_id
"""


def report(
    address: Address,
    selection: Selection,
    *,
    release: str | None = None,
    ci: Address | None = None,
    emails: bool = False,
    only: bool = False,
    usage: Usage | None = None,
) -> Report:
    """What there is to say of the tokens of `selection`, in one snapshot; a standby will do.

    Credentials of other kinds have tables of their own. Those of a ci database are seen in a snapshot of its own.

    Args:
        address: GitLab's main database.
        selection: which tokens.
        release: GitLab's version, such as `17.11.1-ee`, where it is known; else the database tells.
        ci: GitLab's ci database, where it has one of its own.
        emails: whether to read the owners' addresses, too, which takes more privileges.
        only: whether nothing is counted beyond the selection.
        usage: what logs say.

    Raises:
        DatabaseError, Refused: see `tokens.errors`.
        UsageError: a name in the selection that does not exist.
    """
    with database.reading(address) as connection:
        schema = preflight.check(connection, LIST_ACCOUNTS if emails else LIST)
        check_names(connection, schema, selection)
        demands = read_demands(connection, schema, release)
        days, rule = demands.policy.inactive_days, demands.clean_up
        least = least_of(release, read_release(connection, schema))
        found = _Reader(connection, schema, selection, read_succession(connection, schema), emails, usage, least)
        is_all = replace(selection, states=EVERY_STATE) == EVERYTHING
        soon = found.soon()
        return Report(
            replace(demands, beyond_maximum=None) if only else demands,
            read_kinds(connection, schema, selection),
            read_forecast(connection, schema, selection, _days(demands.policy.today), ci=ci, memberships=False),
            soon,
            found.owners(),
            found.tokens(found.ending, f"{ENDS_ON}, t.id", soon.quarter),
            found.tokens(found.ending, f"{ENDS_ON}, t.id", soon.unwarned_quarter, unwarned=True),
            found.tokens(f"{WORKS} AND t.expires_at IS NULL AND t.last_used_at IS NULL", "t.created_at, t.id"),
            None if rule is None or days is None else found.bots(rule, days),
            None if only or is_all else connection.row(COUNT.format(condition=WORKS)).tokens,
            _read_others(connection, schema, ci, selection, demands.policy.today),
            None if usage is None else found.tried(usage),
            usage,
        )


def _read_others(
    connection: Connection, schema: Schema, ci: Address | None, selection: Selection, today: ExpirationDate
) -> OtherKinds:
    days = DateRange(today, today + QUARTER)  # a token has ended by 00:00 of its day, a key may end later on
    if not selection.others:
        return OtherKinds((), Top((), 0), (), credentials.coming(connection, schema, ci, selection, days))
    with credentials.named(connection, schema, ci, selection) as named:
        ending = named.narrowed(days)
        streams = ending.streams(OTHER_COLUMNS, "expires_at", False, ROWS)
        first = itertools.islice(heapq.merge(*streams, key=lambda keyed: keyed[0]), ROWS)
        rows = tuple(_other_row(*values) for _, values in first)
        return OtherKinds(read_other_kinds(named), Top(rows, ending.count()), named.notes, {})


def _other_row(id_: int, expires_at: str, kind: str, owner: Any, name: Any) -> OtherRow:
    def text(value: Any) -> str | None:
        return None if value is MISSING or value is None else str(value)[:TEXT]

    return OtherRow(id_, ExpirationDate.stored(expires_at), OtherKind(kind), text(owner), text(name))


@dataclass(frozen=True)
class _Reader:
    """Asks for one table after the other, about the same tokens."""

    connection: Connection
    schema: Schema
    selection: Selection
    succession: Succession | None
    emails: bool
    usage: Usage | None
    release: tuple[int, int] | None

    @property
    def condition(self) -> Condition:
        return self.selection.condition(self.schema)

    @property
    def not_renewed(self) -> str:
        return f"AND NOT {self.succession.has_live}" if self.succession else ""

    @property
    def without_notice(self) -> str:
        return without_notice(self.schema, self.release, "going.day")

    @property
    def words(self) -> Mapping[str, object]:
        """What several statements have in common."""
        return {
            "today": TODAY,
            "works": WORKS,
            "not_renewed": self.not_renewed,
            "place": PLACE.strip(),
            "kind": kind_expression(self.schema),
            "owner": owner_shown(self.schema),
            "email": f"CASE WHEN u.user_type = {PROJECT_BOT} THEN NULL ELSE u.email END"
            if self.emails
            else "CAST(NULL AS text)",
            "bot": PROJECT_BOT,
            "text": TEXT,
            "rows": ROWS,
            "nobody_told": nobody_told(self.release),
            "without_notice": self.without_notice,
            **self.of_logs,
        }

    @property
    def of_logs(self) -> Mapping[str, str]:
        """What they have of logs, where there are any."""
        if self.usage is None:
            return {"used": USED_LATELY, **dict.fromkeys(("logged", "use_of_account", "use_of_owner", "use"), "")}
        return {
            "used": IS_USED_DAILY,
            "logged": LOGGED.rstrip().replace("\n", "\n  "),
            "use_of_account": USE_OF_ACCOUNT,
            "use_of_owner": USE_OF_OWNER,
            "use": ", daily, tried",
        }

    @property
    def parameters(self) -> Mapping[str, object]:
        """The values of the selection's condition, and of what logs say."""
        of_logs = {} if self.usage is None else logged_parameters(self.usage)
        return {**self.condition.parameters, **of_logs}

    @property
    def ending(self) -> str:
        """SQL: whether a token works and ends within a quarter, without a successor."""
        return f"{SOON_ENDING} {self.not_renewed}"

    def accounts(self, ending: str) -> str:
        """SQL to begin with: the accounts of the tokens that are `ending`, and those that nobody is warned of."""
        return ACCOUNTS.format(condition=self.condition.sql, ending=ending, **self.words).strip()

    def soon(self) -> Soon:
        statement = f"{self.accounts(self.ending)}{SOON}"
        return Soon(**self.connection.row(statement, going_within=QUARTER, **self.parameters)._asdict())

    def tokens(self, which: str, order: str, total: int | None = None, *, unwarned: bool = False) -> Top[TokenRow]:
        """The first tokens of which `which` is true, and how many there are, which is counted unless it is known."""
        condition = self.condition
        statement = FIRST_TOKENS.format(
            # Successors are dear to look for, and those of the tokens that are chosen will do.
            with_accounts=f"{self.accounts(SOON_ENDING)}," if unwarned else "WITH",
            condition=condition.sql,
            which=f"{which} AND {UNWARNED.strip().format(without_notice=self.without_notice)}" if unwarned else which,
            order=order,
            **self.words,
        )
        parameters = self.parameters if unwarned else condition.parameters
        rows = self.connection.rows(statement, going_within=QUARTER, **parameters)
        if total is None:
            counting = COUNT.format(condition=f"{condition.sql}\n      AND {which}")
            total = int(self.connection.row(counting, **condition.parameters).tokens)
        found = (
            replace(
                TokenRow(**row._asdict()),
                expires_at=ExpirationDate.stored_or_none(row.expires_at),
                ends_on=ExpirationDate.stored_or_none(row.ends_on),
                kind=Kind(row.kind),
            )
            for row in rows
        )
        return Top(tuple(found), total)

    def owners(self) -> Top[OwnerRow]:
        statement = OWNERS.format(condition=self.condition.sql, **self.words)
        rows = self.connection.rows(statement, going_within=MONTH, **self.parameters)
        return _top(
            rows,
            lambda row: OwnerRow(
                row.owner_type,
                row.owner,
                row.email,
                row.renew,
                row.ended,
                row.never_used,
                ExpirationDate.stored(row.first),
                *((row.daily, row.tried) if self.usage else ()),
            ),
        )

    def tried(self, usage: Usage) -> Top[TriedRow]:
        condition = replace(self.selection, states=EVERY_STATE).condition(self.schema)
        statement = TRIED.format(condition=condition.sql, state=STATE_EXPRESSION, **self.words)
        refused = [use for use in usage.by_token.values() if use.refused]
        rows = self.connection.rows(
            statement,
            tried_ids=array_literal(use.id for use in refused),
            tried_times=array_literal(use.refused for use in refused),
            **condition.parameters,
        )

        def made(row: Any) -> TriedRow:
            use = usage.by_token[row.id]
            return TriedRow(
                row.id,
                ExpirationDate.stored_or_none(row.expires_at),
                State(row.state),
                Kind(row.kind),
                row.owner,
                row.name,
                row.email,
                use.refused,
                use.last_refused[:10] or None,
                sum(1 for count in use.addresses.values() if count.refused),
            )

        return _top(rows, made)

    def bots(self, rule: CleanUp, days: int) -> Top[BotRow]:
        condition = replace(self.selection, states=EVERY_STATE).condition(self.schema)
        active = is_active(rule, "other.expires_at", "other.revoked", TODAY)
        day = clean_up_day(rule)
        statement = BOTS.format(condition=condition.sql, is_active=active, day=day, **self.words)
        rows = self.connection.rows(statement, inactive_days=days, **condition.parameters)
        return _top(rows, lambda row: BotRow(row.username, row.owner, row.tokens, ExpirationDate.stored(row.day)))


def _top(rows: Iterable[Any], made: Callable[[Any], Row]) -> Top[Row]:
    found = list(rows)
    return Top(tuple(map(made, found)), found[0].found if found else 0)


def _days(today: ExpirationDate) -> int:
    """How many days there are from tomorrow to the end of the last month of the calendar."""
    tomorrow = date.fromordinal(int(today.ordinal) + 1)
    years, month = divmod(tomorrow.month - 1 + MONTHS, 12)
    return date(tomorrow.year + years, month + 1, 1).toordinal() - 1 - int(today.ordinal)

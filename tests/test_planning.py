"""What a plan finds by reading its tokens in large groups is what one finds token by token and owner by owner."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_project, make_token, make_tokens, make_user
from tests.testbed.marks import slow_ones
from tests.testbed.runs import query
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import CHUNK
from tokens.change.facts import BLOCKED, DUE, NOTIFIED, WILL_WORK, dated_by, read_facts, read_facts_and_counts
from tokens.change.kinds import read_counts
from tokens.change.plan import RunKind, make_plan
from tokens.gitlab import notices
from tokens.gitlab.background_migration import BackgroundMigration
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp, holds, is_active
from tokens.gitlab.kind import STATE_EXPRESSION, Kind, State, kind_expression
from tokens.gitlab.membership import ends_before
from tokens.gitlab.ownership import told
from tokens.gitlab.schema import read_schema
from tokens.gitlab.settings import read_policy
from tokens.selection import EVERY_KIND, EVERY_STATE, Selection

# Every fact by the shortest way to say it, however long it takes.
PLAIN = """
    WITH chosen AS (
      SELECT
        t.*,
        u.user_type AS type,
        u.state,
        {works} AND t.expires_at <= CAST(%(facts_today)s AS date) AS reviving,
        t.revoked IS NOT TRUE AND EXISTS (SELECT FROM public.members m WHERE {ends_before}) AS ending,
        {warned} AS warned,
        {due} AS due,
        {migrated} AS migrated,
        {will_hold} AS will_hold,
        {will_be_active} AS will_be_active
      FROM public.personal_access_tokens t
      LEFT JOIN public.users u ON u.id = t.user_id
      WHERE {condition}
    ), bots AS (
      SELECT
        t.user_id,
        bool_or({holds}) AS held,
        COALESCE(bool_or(CASE WHEN c.id IS NULL THEN {holds} ELSE c.will_hold END), false) AS will_be_held,
        COALESCE(bool_or(CASE WHEN c.id IS NULL THEN {is_active} ELSE c.will_be_active END), false) AS will_be_active
      FROM public.personal_access_tokens t
      LEFT JOIN chosen c ON c.id = t.id
      WHERE t.user_id IN (SELECT user_id FROM chosen WHERE type = 6)
      GROUP BY t.user_id
    )
    SELECT
      (SELECT count(*) FROM chosen WHERE reviving) AS reviving,
      (SELECT count(DISTINCT user_id) FROM chosen WHERE ending) AS bots_ending_before,
      (SELECT count(*) FROM chosen WHERE warned) AS warned,
      (SELECT count(DISTINCT user_id) FROM chosen WHERE warned) AS warned_owners,
      (
        SELECT count(*)
        FROM (SELECT DISTINCT user_id, type AS user_type, state FROM chosen WHERE warned AND due) o
        WHERE {notified}
      ) AS mailed_owners,
      (SELECT count(*) FROM bots WHERE held AND NOT will_be_held) AS doomed_bots,
      (
        SELECT count(*) FROM bots WHERE NOT (held AND NOT will_be_held) AND NOT (will_be_held AND will_be_active)
      ) AS doomed_anyway_bots,
      (SELECT count(*) FROM chosen o WHERE {blocked}) AS blocked,
      (SELECT count(DISTINCT user_id) FROM chosen o WHERE {blocked}) AS blocked_owners,
      (SELECT count(*) FROM chosen WHERE migrated) AS migrated,
      (SELECT count(*) FROM chosen WHERE type = 13) AS service_accounts
"""

COUNTED = """
    SELECT {kind} AS kind, {state} AS state, count(*) AS tokens
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
    GROUP BY 1, 2
"""

TODAY = datetime.now(UTC).date()
MIGRATION = BackgroundMigration(datetime(2023, 6, 15, 23, 30, tzinfo=UTC), datetime(2023, 6, 16, 1, 0, tzinfo=UTC))
TYPES = (0, 0, 0, 6, 6, 6, 6, 13, 4)
INFINITE = ("infinity", "-infinity")
CHANGES = (
    Change(),
    Change(by=30),
    Change(by=5, days=20),
    Change(to=ExpirationDate((TODAY - timedelta(2)).toordinal()), days=10),
    *(Change(to=ExpirationDate((TODAY + timedelta(days)).toordinal())) for days in (-3, 0, 1, 40, 400)),
)


def populate(address: Address, seed: int) -> None:
    """Owners of every type with memberships, and tokens of any date, state and history."""
    chosen = random.Random(seed)

    def near(days: int) -> date:
        return TODAY + timedelta(chosen.randint(-days, days))

    with make_engine(address).begin() as connection:
        project, group = make_project(connection), make_group(connection)
        for number in range(60):
            kind = chosen.choice(TYPES)
            name = f"{chosen.choice(('project', 'group', 'bot'))}_{number}_bot" if kind == 6 else f"somebody{number}"
            state = chosen.choice(("active", "active", "active", "blocked", "deactivated"))
            user = make_user(connection, username=name, user_type=kind, state=state)
            for place in chosen.sample(({"project_id": project}, {"group_id": group}), chosen.randint(0, 2)):
                end = chosen.choice((None, near(60)))
                asked = chosen.choice((None, None, "2024-01-01"))
                role = chosen.choice((30, 40, 50))
                make_membership(
                    connection, user_id=user, expires_at=end, requested_at=asked, access_level=role, **place
                )
            for _ in range(chosen.randint(0, 5)):
                infinite = INFINITE if number % 9 == 0 else ()
                day = chosen.choice((None, "2024-06-14", near(50), near(3), *infinite))
                make_token(connection, user_id=user, expires_at=day, **_any(chosen))


def _any(chosen: random.Random) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "revoked": chosen.choice((False, False, True, None)),
        "impersonation": chosen.random() < 0.1,
        "name": chosen.choice(("mine", "yours")),
        "created_at": chosen.choice(("2023-01-10", "2026-01-01")),
        "updated_at": str(TODAY - timedelta(chosen.randint(0, 60))),
    }
    if chosen.random() < 0.3:
        columns["seven_days_notification_sent_at"] = "2024-06-08 01:00:00Z"
    if chosen.random() < 0.2:
        columns["expire_notification_delivered"] = True
    return columns


@pytest.mark.parametrize("seed", [0, *slow_ones(1, 2)])
@pytest.mark.newest_server
def test_every_fact_and_count_is_the_same_as_token_by_token(gitlab_database: Address, seed: int) -> None:
    populate(gitlab_database, seed)
    selections = (
        Selection((), kinds=EVERY_KIND, states=EVERY_STATE),
        Selection(()),
        Selection((), kinds=frozenset({Kind.PROJECT, Kind.PERSONAL}), states=frozenset({State.ACTIVE, State.EXPIRED})),
        Selection((), name="mine", states=EVERY_STATE),
    )
    for selection in selections:
        for change in CHANGES:
            for clean_up in (CleanUp(), CleanUp(takes_undated=True)):
                found, expected = both(gitlab_database, selection, change, clean_up)
                assert found == expected, (selection, change, clean_up)
        counts, plainly = both_counts(gitlab_database, selection)
        assert counts == plainly


def both(
    address: Address, selection: Selection, change: Change, clean_up: CleanUp
) -> tuple[dict[str, int], dict[str, int]]:
    """The facts as a plan reads them, and token by token."""
    with database.reading(address) as connection:
        schema = read_schema(connection)
        policy = replace(read_policy(connection, schema), inactive_days=20)
        condition = selection.condition(schema)
        facts = read_facts(connection, schema, condition, change, policy, MIGRATION, clean_up)
        assert read_facts_and_counts(connection, schema, selection, (), change, policy, MIGRATION, clean_up) == (
            facts,
            read_counts(connection, schema, selection),
        )
        new, earliest, migrated = change.expression(), change.earliest(), dated_by(MIGRATION)
        today, days = "CAST(%(facts_today)s AS date)", "20"
        held = ("t.revoked", "t.updated_at", f"({today} + 1)", days)
        statement = PLAIN.format(
            works=WILL_WORK.format(new=new.sql),
            ends_before=ends_before(new.sql),
            warned=notices.any_set(schema),
            due=DUE.format(new=new.sql),
            migrated=migrated.sql,
            condition=condition.sql,
            notified=NOTIFIED.format(told=told(None)),
            blocked=BLOCKED,
            holds=f"COALESCE({holds(clean_up, 't.expires_at', *held)}, false)",
            will_hold=f"COALESCE({holds(clean_up, earliest.sql, *held)}, false)",
            is_active=f"COALESCE({is_active(clean_up, 't.expires_at', 't.revoked', today)}, false)",
            will_be_active=f"COALESCE({is_active(clean_up, earliest.sql, 't.revoked', today)}, false)",
        )
        row = connection.row(
            statement,
            facts_today=policy.today.literal,
            facts_first_warning=(policy.today + notices.first_warning(schema)).literal,
            **{**new.parameters, **earliest.parameters, **migrated.parameters, **condition.parameters},
        )
    return {name: getattr(facts, name) for name in row._fields}, row._asdict()


def both_counts(address: Address, selection: Selection) -> tuple[Counter[Any], Counter[Any]]:
    """By kind and state, as a plan counts tokens, and one by one."""
    with database.reading(address) as connection:
        schema = read_schema(connection)
        scope = selection.scope(schema)
        statement = COUNTED.format(kind=kind_expression(schema), state=STATE_EXPRESSION, condition=scope.sql)
        rows = connection.rows(statement, **scope.parameters)
        counts = read_counts(connection, schema, selection)
        return (
            Counter({(one.kind.value, one.state.value): one.tokens for one in counts}),
            Counter({(row.kind, row.state): row.tokens for row in rows}),
        )


@pytest.mark.newest_server
def test_tokens_that_are_not_chosen_may_have_dates_that_no_day_can_be_added_to(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        user = make_user(connection)
        make_token(connection, user_id=user, expires_at="2031-01-01")
        for day in ("5874897-12-31", "infinity", None):
            make_token(connection, user_id=user, expires_at=day, revoked=True)
    plan = make_plan(gitlab_database, RunKind.EXTEND, Selection(()), Change(by=30, days=5))
    assert [(one.state.value, one.tokens) for one in plan.counts] == [("active", 1), ("revoked", 3)]
    assert plan.tokens == 1


def test_the_chunks_of_a_plan_are_its_tokens_by_date_in_the_order_of_their_ids(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        user = make_user(connection)
        for day in ("2031-01-02", "infinity", None, "2031-01-01", "0044-03-15 BC"):
            make_token(connection, user_id=user, expires_at=day)
        make_tokens(connection, 4000, user_id=user, expires_at="2031-01-01")
        far_apart = """
            UPDATE public.personal_access_tokens t
            SET
              id = CASE WHEN n % 3 = 0 THEN 5000000000 + n * 900 ELSE 100000 + n * 41 END,
              expires_at = date '2031-01-01' + CAST(n % 2 AS integer)
            FROM (
              SELECT id, row_number() OVER (ORDER BY md5(CAST(id AS text))) AS n
              FROM public.personal_access_tokens
              WHERE expires_at = '2031-01-01'
            ) mixed
            WHERE mixed.id = t.id
        """
        connection.execute(sa.text(far_apart))
    selection = Selection((), kinds=EVERY_KIND, states=EVERY_STATE)
    plan = make_plan(gitlab_database, RunKind.REMOVE, selection, Change())
    rows = query(
        gitlab_database,
        "SELECT CAST(expires_at AS text) AS day, id FROM public.personal_access_tokens ORDER BY expires_at, id",
    )
    expected = [
        (day and ExpirationDate.stored(day), [row.id for row in same][start : start + CHUNK])
        for day, found in groupby(rows, key=lambda row: row.day)
        for same in [list(found)]
        for start in range(0, len(same), CHUNK)
    ]
    assert [(chunk.old, list(chunk.ids)) for chunk in plan.chunks] == expected
    positions = [0]
    for chunk in plan.chunks:
        positions.append(positions[-1] + len(chunk.ids))
    assert [chunk.position for chunk in plan.chunks] == positions[:-1]

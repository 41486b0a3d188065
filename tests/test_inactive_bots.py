"""The bots that GitLab's clean-up takes because of a change: counted beside the worker's own question, asked twice."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_settings, make_token, make_user
from tests.testbed.marks import slow_ones
from tests.testbed.runs import apply, begin_run, execute, install, undo, writing
from tokens import origin
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import Concern, guards
from tokens.change.plan import Plan, RunKind, make_plan
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import CleanUp, clean_up
from tokens.inventory.diagnosis import Verdict, diagnose
from tokens.inventory.token_columns import BY_NAME
from tokens.inventory.tokens import Layout, listed
from tokens.journal.installation import RunState
from tokens.journal.record import Recorder
from tokens.journal.storing import store
from tokens.run.batches import Finished, run
from tokens.run.stored_plans import plan_to_apply
from tokens.run.undo import plan_to_undo
from tokens.selection import EVERY_STATE, EVERYTHING, DateRange, Selection
from tokens.upgrade import Branch, upgrade

pytestmark = pytest.mark.newest_server  # test_facts.py counts such bots on every server

TODAY = datetime.now(UTC).date()
BOT, SERVICE_ACCOUNT, HUMAN = 6, 13, 0

FAULTY = CleanUp(takes_undated=True, may_block=True)
UNCERTAIN = CleanUp(takes_undated=True, may_block=True, certain=False)

# What the workers ask, with the cut-off of the next night: up to 17.9.0, and since.
UP_TO_17_9_0 = """
    SELECT array_agg(u.id)
    FROM public.users u
    WHERE u.user_type = 6
      AND NOT EXISTS (
        SELECT 1
        FROM public.personal_access_tokens p
        WHERE p.user_id = u.id
          AND NOT (p.expires_at < :cut_off OR (p.revoked = TRUE AND p.updated_at < :cut_off))
      )
"""
SINCE_17_9_1 = """
    SELECT array_agg(u.id)
    FROM public.users u
    WHERE u.user_type = 6
      AND NOT EXISTS (
        SELECT 1
        FROM public.personal_access_tokens p
        WHERE p.user_id = u.id
          AND (
            ((p.revoked = FALSE OR p.revoked IS NULL) AND (p.expires_at IS NULL OR p.expires_at > :night))
            OR (p.expires_at <= :night AND p.expires_at >= :cut_off)
            OR (p.revoked = TRUE AND p.updated_at >= :cut_off)
          )
      )
"""
WORKERS = {"17.8.5-ee": UP_TO_17_9_0, "17.9.0": UP_TO_17_9_0, "17.9.1-ee": SINCE_17_9_1, "19.2.1-ee": SINCE_17_9_1}
*OLDER, NEWEST = WORKERS


def day(days: int) -> ExpirationDate:
    """So many days after today in UTC."""
    return ExpirationDate((TODAY + timedelta(days)).toordinal())


SOON = Selection((DateRange(day(1), day(60)),))
AROUND = replace(SOON, expires=(DateRange(day(-60), day(60)),), states=EVERY_STATE)


def taken(address: Address, worker: str, night: int = 1) -> set[int]:
    """The bots that the worker takes at the next midnight, or a later one."""
    midnight = TODAY + timedelta(night)
    values = {"night": midnight, "cut_off": midnight - timedelta(30)}
    with make_engine(address).connect() as connection:
        found = connection.execute(sa.text(worker), values).scalar_one()
    return set(found or ())


def doomed(plan: Plan) -> int:
    """The number in the plan's guard."""
    return sum(note.tokens for note in plan.notes if note.concern is Concern.DOOMED)


def carry_out(address: Address, plan: Plan) -> None:
    *_, end = run(address, plan, Recorder())
    assert isinstance(end, Finished)
    assert end.changed == plan.tokens


def stored(address: Address, plan: Plan) -> int:
    """The number of the run that will carry it out."""
    with writing(address) as connection:
        return store(connection, plan, origin.here(), None)


def begun_and_stopped(address: Address, plan: Plan) -> int:
    """The number of a run that has ended before its first transaction."""
    record = begin_run(address, plan)
    with writing(address) as connection:
        record.finish(connection, RunState.STOPPED)
    return record.run


def populate(address: Address, seed: int) -> None:
    """Bots, people and service accounts with up to four tokens of every kind that matters to the clean-up."""
    dice = random.Random(seed)
    dates = [None, None, *(TODAY + timedelta(days) for days in (-400, -31, -30, -29, -1, 0, 1, 2, 31, 60, 300))]
    with make_engine(address).begin() as connection:
        for number in range(60):
            owner = make_user(connection, user_type=dice.choice([BOT, BOT, BOT, SERVICE_ACCOUNT, HUMAN]))
            for _ in range(dice.choice([0, 1, 1, 2, 2, 3, 4])):
                make_token(
                    connection,
                    user_id=owner,
                    expires_at=dice.choice([*dates, "infinity"] if number % 10 == 0 else dates),
                    revoked=dice.choice([False, False, False, None, True]),
                    updated_at=datetime(TODAY.year, TODAY.month, TODAY.day)
                    - timedelta(dice.choice([0, 1, 28, 29, 30, 31, 200])),
                )


CHANGES = {
    "remove": (SOON, Change()),
    "remove around today": (AROUND, Change()),
    "extend": (AROUND, Change(to=day(365))),
    "give a date": (Selection((None,)), Change(to=day(365))),
    "long past": (SOON, Change(to=day(-100))),
    "lately past": (SOON, Change(to=day(-28))),
    "some days more": (AROUND, Change(by=30)),
}


@pytest.mark.parametrize("release", [*slow_ones(*OLDER), NEWEST])
def test_the_guard_counts_exactly_the_bots_that_the_worker_takes_because_of_the_change(
    gitlab_database: Address, release: str
) -> None:
    worker = WORKERS[release]
    populate(gitlab_database, seed=len(release))
    before = taken(gitlab_database, worker)
    execute(gitlab_database, "CREATE TABLE saved AS SELECT id, expires_at FROM personal_access_tokens")
    losses = {}
    for name, (selection, change) in CHANGES.items():
        plan = make_plan(gitlab_database, RunKind.EDIT, selection, change, release=release)
        carry_out(gitlab_database, plan)
        lost = taken(gitlab_database, worker) - before
        assert doomed(plan) == len(lost), name
        assert ("doomed" in guards(plan.notes)) == bool(lost), name
        losses[name] = len(lost)
        execute(
            gitlab_database,
            "UPDATE personal_access_tokens t SET expires_at = s.expires_at FROM saved s WHERE s.id = t.id",
        )
    assert losses["long past"] > 0
    assert losses["extend"] == losses["give a date"] == 0
    assert (losses["remove"] > 0) == (worker is UP_TO_17_9_0)


@pytest.mark.parametrize("release", [*slow_ones(*OLDER), NEWEST])
def test_the_note_counts_the_other_bots_that_the_worker_takes_and_none_that_the_change_saves(
    gitlab_database: Address, release: str
) -> None:
    populate(gitlab_database, seed=len(release))
    with make_engine(gitlab_database).begin() as connection:
        saved = make_user(connection, user_type=BOT)
        make_token(connection, user_id=saved, expires_at=TODAY - timedelta(31))
    execute(gitlab_database, "CREATE TABLE saved AS SELECT id, expires_at FROM personal_access_tokens")
    before = taken(gitlab_database, WORKERS[release])
    plan = make_plan(gitlab_database, RunKind.EDIT, AROUND, Change(to=day(365)), release=release)
    anyway = sum(note.tokens for note in plan.notes if note.concern is Concern.DOOMED_ANYWAY)
    carry_out(gitlab_database, plan)
    with make_engine(gitlab_database).connect() as connection:
        owners = """
            SELECT t.user_id FROM personal_access_tokens t JOIN saved s USING (id)
            WHERE s.expires_at IS DISTINCT FROM t.expires_at
        """
        changed = set(connection.execute(sa.text(owners)).scalars())
    lost = {bot for night in range(1, 33) for bot in taken(gitlab_database, WORKERS[release], night=night)} & changed
    assert anyway == len(lost) > 0
    assert saved in before - lost


@pytest.mark.parametrize("release", [*slow_ones(*OLDER), NEWEST])
def test_a_list_names_the_first_night_on_which_the_worker_takes_a_bot(gitlab_database: Address, release: str) -> None:
    nights: dict[int, date] = {}
    for seed in range(3):
        populate(gitlab_database, seed)
    for night in range(1, 130):
        for bot in taken(gitlab_database, WORKERS[release], night):
            nights.setdefault(bot, TODAY + timedelta(night))
    with make_engine(gitlab_database).connect() as connection:
        owned = connection.execute(sa.text("SELECT id, user_id FROM personal_access_tokens")).all()
    owners = {row.id: row.user_id for row in owned}
    columns = tuple(BY_NAME[name] for name in ("id", "clean_up_at"))
    with listed(gitlab_database, EVERYTHING, Layout(columns), release=release) as found:
        told = {owners[id_]: date.fromisoformat(day) for id_, day in found.rows if day is not None}
    assert len(told) > 20
    with make_engine(gitlab_database).connect() as connection:
        active = "revoked IS NOT TRUE AND COALESCE(expires_at, 'infinity') > :today"
        if WORKERS[release] is UP_TO_17_9_0:
            active = "revoked IS FALSE AND expires_at > :today"
        bots_with = sa.text(f"SELECT DISTINCT user_id FROM personal_access_tokens WHERE {active}")
        works = set(connection.execute(bots_with, {"today": TODAY}).scalars())
    assert told == {bot: night for bot, night in nights.items() if bot in owners.values() and bot not in works}
    later = {(night - TODAY).days for night in told.values()}
    assert len(later) > 3


@pytest.fixture
def bots(gitlab_database_at: Callable[[str], Address]) -> Callable[[str], Address]:
    """A database of a release with three bots whose tokens expire soon; one of them has one without a date, too."""

    def make(release: str) -> Address:
        address = gitlab_database_at(release)
        with make_engine(address).begin() as connection:
            make_settings(connection)
            for others in ([], [], [None]):
                bot = make_user(connection, user_type=BOT)
                for expires_at in [TODAY + timedelta(5), *others]:
                    make_token(connection, user_id=bot, expires_at=expires_at)
        return address

    return make


@pytest.mark.parametrize(
    ("release", "expected"),
    [("17.6", 0), ("17.7", 3), ("17.8", 3), ("17.9", 3), ("17.10", 3), ("18.1", 0), ("head", 0)],
)
def test_where_only_the_database_tells_the_release_the_worse_case_counts(
    bots: Callable[[str], Address], release: str, expected: int
) -> None:
    assert doomed(make_plan(bots(release), RunKind.REMOVE, SOON, Change())) == expected


def test_the_exact_release_goes_before_what_the_database_tells(bots: Callable[[str], Address]) -> None:
    address = bots("17.10")
    found = [
        doomed(make_plan(address, RunKind.REMOVE, SOON, Change(), release=release))
        for release in ("17.9.0-ee", "17.9.1-ee", "17.10.0", "17.9", "nonsense")
    ]
    assert found == [3, 0, 0, 3, 3]


def test_an_instance_that_keeps_inactive_bots_for_ever_loses_none(bots: Callable[[str], Address]) -> None:
    address = bots("head")
    with make_engine(address).begin() as connection:
        make_settings(
            connection, resource_access_tokens_settings='{"inactive_resource_access_tokens_delete_after_days": null}'
        )
    assert doomed(make_plan(address, RunKind.REMOVE, SOON, Change(), release="17.9.0")) == 0


def test_a_stored_plan_and_an_undo_say_it_too(bots: Callable[[str], Address]) -> None:
    address = bots("17.8")
    install(address)
    number = stored(address, make_plan(address, RunKind.REMOVE, SOON, Change()))
    assert doomed(plan_to_apply(address, number).plan) == 3
    assert doomed(plan_to_apply(address, number, release="17.11.2").plan) == 0
    apply(address, number)
    assert doomed(plan_to_undo(address, number).plan) == 0

    dated = stored(address, make_plan(address, RunKind.EXTEND, Selection((None,)), Change(to=day(365))))
    apply(address, dated)
    back = plan_to_undo(address, dated).plan
    before = taken(address, UP_TO_17_9_0)
    assert doomed(back) == 3
    assert guards(back.notes) == ("doomed",)
    assert doomed(plan_to_undo(address, dated, release="19.1.0").plan) == 0
    undo(address, dated)
    assert len(taken(address, UP_TO_17_9_0) - before) == 3


@pytest.mark.parametrize("moves", [False, True])
def test_what_is_left_of_a_run_says_it_after_an_upgrade_of_gitlab(bots: Callable[[str], Address], moves: bool) -> None:
    address = bots("17.4")
    install(address)
    if moves:
        with make_engine(address).begin() as connection:
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=TODAY + timedelta(9))
            make_token(connection, user_id=bot, expires_at=TODAY + timedelta(5))
    number = begun_and_stopped(address, make_plan(address, RunKind.REMOVE, SOON, Change()))
    assert plan_to_apply(address, number).guards == ()
    upgrade(address, Branch.GITLAB, "17.8")
    assert plan_to_apply(address, number).guards == ("doomed",)
    upgrade(address, Branch.GITLAB, "18.1")
    assert plan_to_apply(address, number).guards == ()


def test_what_is_left_of_an_undo_says_it_after_an_upgrade_of_gitlab(bots: Callable[[str], Address]) -> None:
    address = bots("17.4")
    install(address)
    execute(address, "UPDATE personal_access_tokens SET expires_at = NULL")
    dated = stored(address, make_plan(address, RunKind.EXTEND, Selection((None,)), Change(to=day(365))))
    apply(address, dated)
    number = begun_and_stopped(address, plan_to_undo(address, dated).plan)
    assert plan_to_apply(address, number).guards == ()
    upgrade(address, Branch.GITLAB, "17.8")
    assert plan_to_apply(address, number).guards == ("doomed",)


@pytest.mark.parametrize(
    ("exact", "estimate", "expected"),
    [
        ("16.11.0-ee", None, None),
        ("17.6.9", "17.9", None),
        ("17.7.0-ee", None, CleanUp(takes_undated=True, may_block=True, by_flag=True)),
        ("17.8.7-ee\n", "18.9", FAULTY),
        ("v17.9.0", None, FAULTY),
        ("17.9", None, UNCERTAIN),
        ("17.9.1", None, CleanUp(may_block=True)),
        ("18.1.3", None, CleanUp(may_block=True)),
        ("18.2.0", None, CleanUp()),
        ("20.0.0-pre", None, CleanUp()),
        (None, "17.5", None),
        (None, "17.6", CleanUp(takes_undated=True, may_block=True, by_flag=True, certain=False)),
        (None, "17.8", UNCERTAIN),
        (None, "17.10", UNCERTAIN),
        (None, "17.11", CleanUp(may_block=True)),
        (None, "18.1", CleanUp(certain=False)),
        (None, "18.0", CleanUp(may_block=True)),
        (None, "18.3", CleanUp()),
        (None, None, CleanUp(takes_undated=True, certain=False)),
        ("master", None, CleanUp(takes_undated=True, certain=False)),
    ],
)
def test_of_several_releases_the_worst_clean_up_counts(
    exact: str | None, estimate: str | None, expected: CleanUp | None
) -> None:
    assert clean_up(exact, estimate) == expected


@pytest.mark.parametrize(
    ("database", "exact", "verdict", "said"),
    [
        ("17.6", None, Verdict.OK, "GitLab keeps them"),
        ("17.8", None, Verdict.WARN, "30 days after their last token's end"),
        (
            "17.8",
            None,
            Verdict.WARN,
            "GitLab 17.7 to 17.9.0, which this may be, takes tokens without an expiration date",
        ),
        ("17.8", "17.7.1-ee", Verdict.WARN, "where its feature flag enable_inactive_tokens_deletion_cron_worker is on"),
        ("17.8", "17.8.1-ee", Verdict.WARN, "this release takes tokens without an expiration date for ended"),
        ("17.10", "17.9.2-ee", Verdict.OK, "(or blocks them, where its feature flag delete_inactive_project_bot_users"),
        ("head", None, Verdict.OK, "GitLab deletes them with their tokens"),
    ],
)
def test_the_doctor_says_what_becomes_of_inactive_bots(
    gitlab_database_at: Callable[[str], Address], database: str, exact: str | None, verdict: Verdict, said: str
) -> None:
    (finding,) = (
        one for one in diagnose(gitlab_database_at(database), release=exact) if one.subject == "inactive bots"
    )
    assert finding.verdict is verdict
    assert said in finding.text

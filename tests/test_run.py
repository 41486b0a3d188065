"""Plans and runs on a real database, against everything that may happen around them."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_token,
    make_tokens,
    make_updates_slow,
    make_user,
)
from tests.testbed.marks import slow_ones
from tests.testbed.runs import apply, begin_run, everything, install, resume, undo
from tokens.address import Address
from tokens.change import plan as plans
from tokens.change.change import Change, Move
from tokens.change.chunks import CHUNK, Chunk, TokenIds
from tokens.change.notes import Concern
from tokens.change.plan import Options, Plan, RunKind, make_plan
from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab import notices
from tokens.gitlab.expiration import FURTHEST, ExpirationDate
from tokens.gitlab.kind import State
from tokens.gitlab.membership import MembershipRule
from tokens.journal.record import ChunkOutcome, Recorder
from tokens.run import worker as runs
from tokens.run.batches import (
    BatchCommitted,
    BatchStarting,
    Event,
    Finished,
    Recounted,
    RunFailed,
    Waiting,
    run,
)
from tokens.run.stored_plans import plan_to_apply
from tokens.run.worker import next_size
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection

OLD = ExpirationDate.typed("2024-06-15")
NEW = ExpirationDate.typed("2030-06-15")
BOT = 6
Rows = dict[int, str | None]


@pytest.fixture
def address(installed: Address) -> Address:
    return installed


@pytest.fixture
def bare(gitlab_database: Address) -> Address:
    """Without a journal."""
    return gitlab_database


def plan_of(
    address: Address,
    old: ExpirationDate = OLD,
    new: ExpirationDate | None = NEW,
    *,
    kind: RunKind = RunKind.EXTEND,
    options: Options | None = None,
    release: str | None = None,
) -> Plan:
    """What `edit` would plan: all tokens of one date get another one."""
    return make_plan(address, kind, Selection.every(old), Change(new), options=options or Options(), release=release)


def every(*expires: DateRange | None) -> Selection:
    """All tokens of some dates, in any state."""
    return Selection(expires, kinds=EVERY_KIND, states=EVERY_STATE)


def days(first: str, last: str | None = None) -> DateRange:
    return DateRange(ExpirationDate.stored(first), ExpirationDate.stored(last or first))


def rows(address: Address) -> Rows:
    statement = sa.text("SELECT id, CAST(expires_at AS text) FROM public.personal_access_tokens")
    with make_engine(address).connect() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


def ends(address: Address) -> Rows:
    statement = sa.text("SELECT id, CAST(expires_at AS text) FROM public.members")
    with make_engine(address).connect() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


def query(address: Address, statement: str, **parameters: object) -> list[Any]:
    with make_engine(address).connect() as connection:
        return list(connection.execute(sa.text(statement), parameters))


def execute(address: Address, statement: str, **parameters: object) -> None:
    with make_engine(address).begin() as connection:
        connection.execute(sa.text(statement), parameters)


def everything_but_the_date(address: Address) -> str:
    statement = sa.text("""
        SELECT md5(string_agg(CAST(to_jsonb(t) - 'expires_at' AS text), ',' ORDER BY id))
        FROM public.personal_access_tokens t
    """)
    with make_engine(address).connect() as connection:
        return str(connection.execute(statement).scalar_one())


def at_once(seconds: float) -> None:
    """A pause that takes no time."""


def carry_out(
    address: Address, plan: Plan, record: Recorder | None = None, **options: Callable[..., object]
) -> Finished:
    *_, end = run(address, plan, record or Recorder(), **{"pause": at_once, **options})  # type: ignore[arg-type]
    assert isinstance(end, Finished)
    return end


def consume(events: Iterator[Event], after_each_batch: Callable[[], None]) -> None:
    for event in events:
        if isinstance(event, BatchCommitted):
            after_each_batch()


@contextmanager
def somebody_else(address: Address, statement: str, **parameters: object) -> Iterator[None]:
    """Another session's open transaction."""
    with make_engine(address).connect() as connection:
        connection.execute(sa.text(statement), parameters)
        yield
        connection.rollback()


@pytest.mark.parametrize("new", [NEW, None, ExpirationDate.stored("infinity"), ExpirationDate.stored("0044-03-15 BC")])
def test_exactly_the_tokens_of_the_date_change_and_nothing_else_of_them(
    bare: Address, new: ExpirationDate | None
) -> None:
    with make_engine(bare).begin() as connection:
        chosen = [
            *make_tokens(connection, 1500, expires_at="2024-06-15"),
            make_token(connection, expires_at="2024-06-15", revoked=True),
            make_token(connection, expires_at="2024-06-15", revoked=None),
            make_token(connection, expires_at="2024-06-15", impersonation=True),
        ]
        make_tokens(connection, 10, expires_at="2024-06-16")
        make_tokens(connection, 10)
    before, rest = rows(bare), everything_but_the_date(bare)

    plan = plan_of(bare, OLD, new)
    assert plan.tokens == 1503
    assert carry_out(bare, plan) == Finished(changed=1503)

    expected = new.literal if new else None
    assert rows(bare) == before | dict.fromkeys(chosen, expected)
    assert everything_but_the_date(bare) == rest


@pytest.mark.parametrize("old", ["infinity", "-infinity", "0044-03-15 BC", "12345-01-02"])
def test_odd_dates_can_be_changed_and_put_back(address: Address, old: str) -> None:
    with make_engine(address).begin() as connection:
        token = make_token(connection, expires_at=old)
        make_token(connection, expires_at="2024-06-15")
    before = everything(address)
    plan = plan_of(address, ExpirationDate.stored(old), NEW)
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=1)
    assert rows(address)[token] == "2030-06-15"
    assert undo(address, record.run) == Finished(changed=1)
    assert everything(address) == before


@pytest.mark.newest_server
def test_batches_name_the_smallest_and_largest_id_they_change_and_come_before_their_update(
    bare: Address,
) -> None:
    with make_engine(bare).begin() as connection:
        make_tokens(connection, 50, expires_at="2017-12-31")
        ids = make_tokens(connection, 5000, expires_at="2024-06-15")
    events = run(bare, plan_of(bare), Recorder())
    first = next(events)
    assert first == BatchStarting(ids[0], ids[CHUNK - 1])
    assert set(rows(bare).values()) == {"2017-12-31", "2024-06-15"}
    rest = list(events)
    starting = [event for event in [first, *rest] if isinstance(event, BatchStarting)]
    assert [ids.index(event.first_id) for event in starting[1:]] == [
        ids.index(event.last_id) + 1 for event in starting[:-1]
    ]
    assert starting[-1].last_id == ids[-1]
    assert [event for event in rest if isinstance(event, BatchCommitted)][-1] == BatchCommitted(5000)


@pytest.mark.newest_server
def test_an_empty_plan_changes_nothing(bare: Address) -> None:
    plan = plan_of(bare)
    assert plan.tokens == 0
    assert carry_out(bare, plan) == Finished(changed=0)


@pytest.mark.newest_server
def test_tokens_that_gain_or_lose_the_date_after_the_count_are_left_alone(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 100, expires_at="2024-06-15")
    plan = plan_of(address)
    with make_engine(address).begin() as connection:
        late = make_token(connection, expires_at="2024-06-15")
    execute(address, "UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id", id=ids[3])
    execute(address, "DELETE FROM personal_access_tokens WHERE id = :id", id=ids[4])
    assert carry_out(address, plan, begin_run(address, plan)) == Finished(changed=98, changed_meanwhile=2)
    assert rows(address)[late] == "2024-06-15"
    assert rows(address)[ids[3]] is None
    assert query(address, "SELECT left_alone, locked FROM token_tasks.chunks") == [([ids[3], ids[4]], None)]
    assert query(address, "SELECT state, changed, changed_meanwhile, locked FROM token_tasks.runs") == [
        ("done", 98, 2, 0)
    ]


def test_rows_locked_by_another_session_are_left_alone_and_counted_and_changed_later(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 2 * CHUNK, expires_at="2024-06-15")
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    held = [ids[0], ids[CHUNK - 1], ids[-1]]
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = ANY(:ids) FOR UPDATE", ids=held):
        assert carry_out(address, plan, record) == Finished(changed=2 * CHUNK - 3, locked=3)
    assert [id_ for id_, expires_at in rows(address).items() if expires_at == "2024-06-15"] == held
    assert query(address, "SELECT locked FROM token_tasks.chunks ORDER BY position") == [(held[:2],), (held[2:],)]
    assert query(address, "SELECT state, changed, locked FROM token_tasks.runs") == [("partial", 2 * CHUNK - 3, 3)]

    assert apply(address, record.run) == Finished(changed=3)
    assert set(rows(address).values()) == {"2030-06-15"}
    assert query(address, "SELECT state, changed, locked FROM token_tasks.runs") == [("done", 2 * CHUNK, 0)]
    assert undo(address, record.run) == Finished(changed=2 * CHUNK)
    assert everything(address) == before


def test_rows_that_are_let_go_in_time_are_changed_after_all(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(bare)
    lock = somebody_else(bare, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5])
    lock.__enter__()
    assert carry_out(bare, plan, pause=lambda seconds: lock.__exit__(None, None, None)) == Finished(changed=10)


def test_locked_rows_are_not_mistaken_for_rows_set_to_the_date_that_they_had(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(bare, OLD, OLD)
    with somebody_else(bare, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5]):
        assert carry_out(bare, plan) == Finished(changed=9, locked=1)


def test_a_lock_on_the_whole_table_fails_after_a_few_tries_and_changes_nothing(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(bare)
    pauses: list[float] = []
    with (
        somebody_else(bare, "LOCK TABLE personal_access_tokens IN SHARE ROW EXCLUSIVE MODE"),
        pytest.raises(RunFailed, match="holds a lock") as failure,
    ):
        carry_out(bare, plan, pause=pauses.append)
    assert failure.value.changed == 0
    assert len(pauses) == len(runs.PAUSES)
    assert set(rows(bare).values()) == {"2024-06-15"}


def test_a_lock_on_the_whole_table_is_said_and_waited_for_with_signs_of_life(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    monkeypatch.setattr(runs, "HEARTBEAT", 0.0)
    execute(address, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'")
    alive = "SELECT now() - heartbeat_at < interval '1 minute' FROM token_tasks.runs"
    with make_engine(address).connect() as other:
        other.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                assert query(address, alive) == [(True,)]
                other.rollback()

        events = [event for event in run(address, plan, record, pause=pause) if not isinstance(event, BatchStarting)]
    waiting = Waiting("another session has locked a table")
    assert events == [waiting, waiting, waiting, BatchCommitted(10), Recounted(10), Finished(changed=10)]
    assert sum(runs.PAUSES) > 60


def test_the_recount_waits_for_a_locked_table_too(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    events = []
    with make_engine(address).connect() as other:
        for event in run(address, plan, begin_run(address, plan), pause=lambda seconds: other.rollback()):
            events.append(event)
            if isinstance(event, BatchCommitted):
                other.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
    assert events[2:] == [Waiting("another session has locked a table"), Recounted(10), Finished(changed=10)]


def test_a_request_to_stop_ends_the_wait_of_the_recount_and_who_goes_on_counts(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    with make_engine(address).connect() as other:
        events = []
        for event in run(address, plan, record, stop_requested=stop.is_set, pause=lambda seconds: stop.set()):
            events.append(event)
            if isinstance(event, BatchCommitted):
                other.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
    assert events[2:] == [Waiting("another session has locked a table"), Finished(changed=10)]
    assert query(address, "SELECT state, recounted FROM token_tasks.runs") == [("stopped", None)]
    assert query(address, "SELECT stopped_because FROM token_tasks.attempts") == [("asked to stop",)]
    assert apply(address, record.run) == Finished(changed=0)
    assert query(address, "SELECT state, recounted FROM token_tasks.runs") == [("done", 10)]


def test_a_lock_on_the_journal_is_waited_for_like_one_on_tokens(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    monkeypatch.setattr(runs, "HEARTBEAT", 0.0)
    with make_engine(address).connect() as other:

        def lock() -> None:
            other.execute(sa.text("LOCK TABLE token_tasks.runs IN ACCESS EXCLUSIVE MODE"))

        lock()
        events = []
        for event in run(address, plan, record, pause=lambda seconds: other.rollback()):
            events.append(event)
            if isinstance(event, (BatchCommitted, Recounted)):
                lock()
    waiting = Waiting("another session has locked a table")
    assert [one for one in events if not isinstance(one, BatchStarting)] == [
        waiting,
        BatchCommitted(10),
        Recounted(10),
        waiting,
        Finished(changed=10),
    ]
    assert query(address, "SELECT state FROM token_tasks.runs") == [("done",)]


def test_a_request_to_stop_ends_the_wait_for_a_locked_table(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    with somebody_else(address, "LOCK TABLE personal_access_tokens IN SHARE ROW EXCLUSIVE MODE"):
        end = carry_out(address, plan, record, pause=lambda seconds: stop.set(), stop_requested=stop.is_set)
    assert end == Finished(changed=0, locked=10)
    assert query(address, "SELECT state, finished_at FROM token_tasks.runs") == [("stopped", None)]
    assert apply(address, record.run) == Finished(changed=10)


@pytest.mark.newest_server
def test_a_request_to_stop_is_heeded_between_two_transactions(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 5000, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    events = []
    for event in run(address, plan, record, stop_requested=stop.is_set):
        if isinstance(event, BatchStarting):
            stop.set()
        events.append(event)
    assert events[-1] == Finished(changed=CHUNK, untouched=5000 - CHUNK)
    assert not any(isinstance(event, Recounted) for event in events)
    assert [id_ for id_, expires_at in rows(address).items() if expires_at == "2030-06-15"] == ids[:CHUNK]
    assert query(address, "SELECT stopped_because FROM token_tasks.attempts") == [("asked to stop",)]
    assert apply(address, record.run) == Finished(changed=5000 - CHUNK)


def test_a_request_to_stop_that_comes_in_the_last_transaction_leaves_the_run_complete_and_counted(
    address: Address,
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    stop = threading.Event()
    events = []
    for event in run(address, plan, begin_run(address, plan), stop_requested=stop.is_set):
        stop.set()
        events.append(event)
    assert events[-2:] == [Recounted(10), Finished(changed=10)]
    assert query(address, "SELECT state, recounted FROM token_tasks.runs") == [("done", 10)]


def test_a_request_to_stop_while_locked_rows_are_waited_for_leaves_them_locked(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5]):
        end = carry_out(address, plan, record, pause=lambda seconds: stop.set(), stop_requested=stop.is_set)
    assert end == Finished(changed=9, locked=1)
    assert query(address, "SELECT state, locked FROM token_tasks.runs") == [("stopped", 1)]
    assert apply(address, record.run) == Finished(changed=1)


def test_a_lost_connection_keeps_what_was_committed_and_says_how_much(
    address: Address, superuser: Callable[[Address], Address]
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 5000, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    kill = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND pid <> pg_backend_pid()
    """

    def kill_the_session() -> None:
        query(superuser(address), kill)

    with pytest.raises(RunFailed, match="was lost") as failure:
        consume(run(address, plan, record), after_each_batch=kill_the_session)
    assert (failure.value.changed, failure.value.reversible) == (CHUNK, True)
    assert list(rows(address).values()).count("2030-06-15") == CHUNK
    # The server is still there, so the reason is written down at once.
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("stopped", CHUNK)]
    assert "was lost" in query(address, "SELECT stopped_because FROM token_tasks.attempts")[0][0]
    assert apply(address, record.run) == Finished(changed=5000 - CHUNK)


@pytest.mark.newest_server
def test_a_privilege_that_is_lost_in_the_middle_hides_no_change(
    address: Address, superuser: Callable[[Address], Address]
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 5000, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)

    def take_away() -> None:
        execute(superuser(address), "ALTER TABLE personal_access_tokens OWNER TO postgres")

    with pytest.raises(RunFailed, match="permission denied") as failure:
        consume(run(address, plan, record), after_each_batch=take_away)
    assert (failure.value.changed, failure.value.reversible) == (CHUNK, True)
    execute(superuser(address), "ALTER TABLE personal_access_tokens OWNER TO gitlab")
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("stopped", CHUNK)]


@pytest.mark.parametrize("lost", ["never", "before the commit", "at the commit"])
def test_a_failure_before_anything_was_changed_leaves_nothing_to_undo_but_for_a_commit_without_an_answer(
    address: Address, superuser: Callable[[Address], Address], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    mark = record.mark

    def fail(connection: Connection, outcomes: Sequence[ChunkOutcome]) -> None:
        mark(connection, outcomes)
        if lost == "never":
            connection.execute("SELECT 1 / 0")
        pid = connection.row("SELECT pg_backend_pid() AS pid").pid
        query(superuser(address), f"SELECT pg_terminate_backend({pid}, 60000)")  # and waits until it has ended
        if lost == "before the commit":
            connection.execute("SELECT 1")

    monkeypatch.setattr(record, "mark", fail)
    with pytest.raises(RunFailed) as failure:
        list(run(address, plan, record))
    assert (failure.value.changed, failure.value.reversible) == (0, lost == "at the commit")
    assert "2030-06-15" not in rows(address).values()
    # Whoever goes on knows what earlier attempts have changed.
    monkeypatch.setattr(record, "changed_before", 1)
    assert record.has_changed(0)


@pytest.mark.slow
def test_a_chunk_that_takes_too_long_is_split_also_in_the_journal(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 700, expires_at="2024-06-15")
        make_updates_slow(connection, seconds=0.002)
    before = everything(address)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "1s")
    plan = plan_of(address)
    record = begin_run(address, plan)
    events = list(run(address, plan, record))
    assert events[-2:] == [Recounted(700), Finished(changed=700)]
    assert len([event for event in events if isinstance(event, BatchStarting)]) > 2
    chunks = query(
        address,
        "SELECT position, token_ids FROM token_tasks.chunks WHERE done_at IS NOT NULL ORDER BY position",
    )
    assert len(chunks) > 1
    assert [id_ for chunk in chunks for id_ in chunk.token_ids] == ids
    assert all(chunk.token_ids[0] == ids[chunk.position] for chunk in chunks)
    assert undo(address, record.run) == Finished(changed=700)
    assert everything(address) == before


@pytest.mark.newest_server
@pytest.mark.slow
def test_on_a_slow_server_chunks_are_cut_so_that_nobody_waits_long_for_their_rows(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 2 * CHUNK, expires_at="2024-06-15")
        make_updates_slow(connection, seconds=0.002)
    plan = plan_of(address)
    record = begin_run(address, plan)
    first, *others = (event for event in run(address, plan, record) if isinstance(event, BatchStarting))
    assert (first.first_id, first.last_id) == (ids[0], ids[CHUNK - 1])
    fit = runs.FEWEST * runs.LONGEST / runs.TARGET
    assert others
    assert all(ids.index(one.last_id) - ids.index(one.first_id) < fit for one in others)
    assert set(rows(address).values()) == {"2030-06-15"}
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("done", 2 * CHUNK)]


@pytest.mark.newest_server
def test_after_each_transaction_that_took_too_long_there_is_a_sign_of_life(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 250, expires_at="2024-06-15")
    monkeypatch.setattr(plans, "CHUNK", 5)
    monkeypatch.setattr(runs, "CHUNK", 5)
    monkeypatch.setattr(runs, "HEARTBEAT", 0.0)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "300ms")
    plan = plan_of(address)
    record = begin_run(address, plan)
    committed, begun, timed_out = 0, False, 0
    for event in run(address, plan, record):
        match event:
            case BatchStarting():
                timed_out += begun
                if begun:
                    assert query(
                        address, "SELECT now() - heartbeat_at < interval '1 minute' FROM token_tasks.runs"
                    ) == [(True,)]
                begun = True
                execute(address, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'")
            case BatchCommitted():
                begun = False
                committed += 1
                if committed == 3:
                    with make_engine(address).begin() as connection:
                        make_updates_slow(connection, seconds=0.005)
    assert timed_out
    assert event == Finished(changed=250)


@pytest.mark.slow
def test_locked_tokens_that_take_too_long_later_are_split_and_the_journal_keeps_all_of_the_chunk(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, CHUNK, expires_at="2024-06-15")
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    held = somebody_else(address, "SELECT FROM personal_access_tokens WHERE id > :id FOR UPDATE", id=ids[99])
    held.__enter__()

    pauses: list[float] = []

    def let_go_and_be_slow(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            held.__exit__(None, None, None)
            with make_engine(address).begin() as connection:
                make_updates_slow(connection, seconds=0.004)

    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "1s")
    assert carry_out(address, plan, record, pause=let_go_and_be_slow) == Finished(changed=CHUNK)
    assert query(address, "SELECT position, token_ids, left_alone, locked FROM token_tasks.chunks") == [
        (0, ids, None, None)
    ]
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("done", CHUNK)]
    execute(address, "DROP TRIGGER dawdle ON public.personal_access_tokens")
    assert undo(address, record.run) == Finished(changed=CHUNK)
    assert everything(address) == before


@pytest.mark.newest_server
@pytest.mark.slow
def test_an_undo_that_is_split_finds_the_notices_and_memberships_of_the_whole_chunk(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 300, expires_at="2024-06-15")
        make_tokens(connection, 150, expires_at="2024-06-15", expire_notification_delivered=True)
        bots = Bots(connection)
        bots.token(bots.member("2024-06-15", moved=True), after_expiry_notification_delivered=True)
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=451)
    with make_engine(address).begin() as connection:
        make_updates_slow(connection, seconds=0.003)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "1s")
    assert undo(address, record.run) == Finished(changed=451)
    assert query(address, "SELECT run_id, count(*) > 1 FROM token_tasks.chunks GROUP BY 1 ORDER BY 1") == [
        (record.run, False),
        (record.run + 1, True),
    ]
    assert everything(address) == before


def test_neither_date_style_nor_time_zone_of_the_role_matters(address: Address) -> None:
    with make_engine(address).begin() as connection:
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        for setting in ("DateStyle = 'SQL, DMY'", "TimeZone = 'Pacific/Kiritimati'"):
            connection.execute(sa.text(f"ALTER DATABASE {name} SET {setting}"))
    sent = "2024-03-04 23:30:00.123456+00"
    with make_engine(address).begin() as connection:
        bots = Bots(connection)
        bots.token(bots.member("2024-03-04", moved=True), seven_days_notification_sent_at=sent)
        held = bots.token(bots.member("0044-03-04 BC", moved=True))
    before = everything(address)
    plan = plan_of(address, release="17.0")
    record = begin_run(address, plan)
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=held):
        assert carry_out(address, plan, record) == Finished(changed=1, locked=1)
    assert apply(address, record.run) == Finished(changed=1)
    kept = (
        "SELECT old_expires_at[1] - date '2024-03-04', new_expires_at - date '2030-06-15' FROM token_tasks.memberships"
    )
    assert query(address, kept)[0] == (0, 0)
    assert query(address, "SELECT count(*) FROM members WHERE expires_at = date '2030-06-15'") == [(2,)]
    assert undo(address, record.run) == Finished(changed=2)
    assert everything(address) == before


def test_a_database_that_takes_null_in_an_array_for_a_word_keeps_no_date_apart_from_any(
    address: Address, superuser: Callable[[Address], Address]
) -> None:
    """`array_nulls`, which is off in some databases that were moved from an old server."""
    with make_engine(superuser(address)).begin() as connection:
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET array_nulls = off"))
    with make_engine(address).begin() as connection:
        make_tokens(connection, 3, expires_at="2024-06-15")
        make_tokens(connection, 2, expires_at=None)
    before = everything(address)
    for old, new in ((OLD, None), (None, NEW)):
        selection = every(None if old is None else DateRange(old, old))
        plan = make_plan(address, RunKind.EXTEND, selection, Change(to=new))
        record = begin_run(address, plan)
        assert carry_out(address, plan, record) == Finished(changed=plan.tokens)
        assert undo(address, record.run) == Finished(changed=plan.tokens)
        assert everything(address) == before


def test_a_database_that_turned_read_only_is_refused(bare: Address, superuser: Callable[[Address], Address]) -> None:
    with make_engine(bare).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = plan_of(bare)
    with make_engine(superuser(bare)).begin() as connection:
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    with pytest.raises(Refused, match="takes no changes"):
        carry_out(bare, plan)


@pytest.mark.newest_server
def test_a_plan_holds_the_notes_on_its_date(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        make_token(connection, expires_at="2024-06-15", revoked=True)
        make_settings(connection, max_personal_access_token_lifetime=10)
        make_settings(connection, max_personal_access_token_lifetime=90)
    plan = plan_of(bare, OLD, ExpirationDate.typed("9000-01-01"))
    assert [note.concern for note in plan.notes] == [Concern.BEYOND_MAXIMUM]
    assert plans.read_current_policy(bare).maximum_lifetime == 90
    removal = plan_of(bare, OLD, None)
    assert [note.concern for note in removal.notes] == [Concern.BEYOND_MAXIMUM, Concern.REQUIRES_EXPIRY]


@pytest.mark.each_release
def test_every_release_can_be_changed_with_its_notices_and_put_back(
    gitlab_database_at: Callable[[str], Address], revision: str
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    sent = "2024-06-01 01:00:00.123456+00"
    with make_engine(address).begin() as connection:
        known = {
            name
            for (name,) in connection.execute(
                sa.text("""
                    SELECT attname FROM pg_attribute
                    WHERE attrelid = CAST('public.personal_access_tokens' AS regclass) AND attnum > 0
                """)
            )
        }
        columns = [name for name in (*notices.FLAGS, *notices.TIMES) if name in known]
        make_tokens(connection, 3, expires_at="2024-06-15")
        noticed: list[dict[str, Any]] = [{name: True if name in notices.FLAGS else sent} for name in columns]
        warned = [make_token(connection, expires_at="2024-06-15", **notice) for notice in noticed]
    before = everything(address)
    plan = plan_of(address, options=Options(notices=False), kind=RunKind.EXTEND)
    assert not plan.notices
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=3 + len(warned))
    assert query(address, "SELECT count(*) FROM token_tasks.notices") == [(0,)]
    assert undo(address, record.run) == Finished(changed=3 + len(warned))
    assert everything(address) == before

    plan = plan_of(address, OLD, None, kind=RunKind.REMOVE)
    assert plan.notices
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=3 + len(warned))
    assert set(rows(address).values()) == {None}
    left = " OR ".join(f"{name}" if name in notices.FLAGS else f"{name} IS NOT NULL" for name in columns)
    assert query(address, f"SELECT count(*) FROM personal_access_tokens WHERE {left}") == [(0,)]
    assert query(address, "SELECT token_ids FROM token_tasks.notices") == [(warned,)]
    # A notice that has been sent since is no longer the run's, so it stays.
    execute(
        address, "UPDATE personal_access_tokens SET expire_notification_delivered = true WHERE id = :id", id=warned[1]
    )
    assert undo(address, record.run) == Finished(changed=3 + len(warned))
    flags = "expire_notification_delivered, after_expiry_notification_delivered"
    assert query(address, f"SELECT {flags} FROM personal_access_tokens WHERE id = :id", id=warned[1]) == [(True, False)]
    execute(address, f"UPDATE personal_access_tokens SET ({flags}) = (false, true) WHERE id = :id", id=warned[1])
    assert everything(address) == before


def test_several_dates_go_to_one_each_chunk_from_one_date_of_its_own(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = {
            day: make_tokens(connection, number, expires_at=day)
            for day, number in [("2024-06-17", 5), ("2024-06-15", CHUNK + 1), (None, 4), ("2024-06-18", 3)]
        }
    before = everything(address)
    plan = make_plan(address, RunKind.EXTEND, every(days("2024-06-15", "2024-06-17"), None), Change(NEW))
    assert [(str(chunk.old), chunk.position, len(chunk.ids)) for chunk in plan.chunks] == [
        ("2024-06-15", 0, CHUNK),
        ("2024-06-15", CHUNK, 1),
        ("2024-06-17", CHUNK + 1, 5),
        ("None", CHUNK + 6, 4),
    ]
    assert plan.moves == (
        Move(OLD, NEW, CHUNK + 1),
        Move(ExpirationDate.typed("2024-06-17"), NEW, 5),
        Move(None, NEW, 4),
    )
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=CHUNK + 10)
    assert {id_ for id_, day in rows(address).items() if day == "2024-06-18"} == set(ids["2024-06-18"])
    assert undo(address, record.run) == Finished(changed=CHUNK + 10)
    assert everything(address) == before


def test_by_counts_from_each_tokens_own_date_and_infinity_stays(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        tokens = {
            make_token(connection, expires_at=day): expected
            for day, expected in [
                ("2023-12-31", "2024-12-30"),
                ("2024-02-29", "2025-02-28"),
                ("0044-03-15 BC", "0043-03-15 BC"),
                ("infinity", "infinity"),
                ("-infinity", "-infinity"),
            ]
        }
    selection = every(days("-infinity", "infinity"))
    plan = make_plan(bare, RunKind.EXTEND, selection, Change(by=365))
    assert carry_out(bare, plan) == Finished(changed=5)
    assert rows(bare) == tokens

    with make_engine(bare).begin() as connection:
        make_token(connection, expires_at="5874897-12-31")
    with pytest.raises(UsageError, match="PostgreSQL cannot hold"):
        make_plan(bare, RunKind.EXTEND, selection, Change(by=1))
    with make_engine(bare).begin() as connection:
        make_token(connection)
    with pytest.raises(UsageError, match="no date to count days from"):
        make_plan(bare, RunKind.EXTEND, every(), Change(by=1))


@pytest.mark.newest_server
@pytest.mark.parametrize("change", [Change(by=1), Change(FURTHEST + -2, days=4), Change(by=-1, days=4)])
def test_a_number_of_days_leads_to_no_date_after_the_year_9999(bare: Address, change: Change) -> None:
    with make_engine(bare).begin() as connection:
        make_tokens(connection, 4, expires_at=str(FURTHEST))
    selection = every(DateRange(FURTHEST, FURTHEST))
    with pytest.raises(UsageError, match=r"is 10000-01-01, after the year 9999: choose fewer days\.$"):
        make_plan(bare, RunKind.EXTEND, selection, change)
    assert make_plan(bare, RunKind.EXTEND, selection, Change(FURTHEST)).tokens == 4


@pytest.mark.newest_server
def test_staggered_dates_go_evenly_over_the_days_in_the_plans_order(address: Address) -> None:
    with make_engine(address).begin() as connection:
        first = make_tokens(connection, 6, expires_at="2024-06-15")
        second = make_tokens(connection, 4, expires_at="2024-06-16")
    before = everything(address)
    plan = make_plan(address, RunKind.EXTEND, every(days("2024-06-15", "2024-06-16")), Change(NEW, days=5))
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=10)
    found = rows(address)
    assert [found[id_] for id_ in (*first, *second)] == [
        f"2030-06-{day}" for day in (15, 15, 16, 16, 17, 17, 18, 18, 19, 19)
    ]
    assert undo(address, record.run) == Finished(changed=10)
    assert everything(address) == before


@pytest.mark.newest_server
@pytest.mark.parametrize("warned", [*slow_ones(False), True], ids=["plain", "warned"])
def test_many_dates_are_stored_changed_and_counted_in_few_statements(
    address: Address, monkeypatch: pytest.MonkeyPatch, *, warned: bool
) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 300, expires_at="2024-06-15", expire_notification_delivered=warned)
        if warned:  # and a bot, with whose token a membership is moved
            bots = Bots(connection)
            bots.token(bots.member("2024-06-20", moved=True), "2024-06-15")
    before = everything(address)
    sent: list[str] = []
    execute_one, ask_one, ask_some = Connection.execute, Connection.row, Connection.rows

    def executed(self: Connection, statement: str, **parameters: object) -> int:
        sent.append(statement)
        return execute_one(self, statement, **parameters)

    def asked(self: Connection, statement: str, **parameters: object) -> Any:
        sent.append(statement)
        return ask_one(self, statement, **parameters)

    def asked_some(self: Connection, statement: str, **parameters: object) -> list[Any]:
        sent.append(statement)
        return ask_some(self, statement, **parameters)

    monkeypatch.setattr(Connection, "execute", executed)
    monkeypatch.setattr(Connection, "row", asked)
    monkeypatch.setattr(Connection, "rows", asked_some)
    tokens = 300 + warned
    plan = make_plan(address, RunKind.EXTEND, every(days("2024-06-15")), Change(NEW, days=tokens))
    assert (len(plan.chunks), plan.notices, plan.memberships is None) == (tokens, warned, not warned)
    sent.clear()
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=tokens)
    assert sum("token_ids" in statement or "personal_access_tokens" in statement for statement in sent) < 40
    assert [rows(address)[id_] for id_ in ids] == [str(NEW + day) for day in range(300)]
    sent.clear()
    assert undo(address, record.run) == Finished(changed=tokens)
    assert sum("token_ids" in statement or "personal_access_tokens" in statement for statement in sent) < 60
    assert everything(address) == before


def test_of_many_dates_those_are_put_aside_that_others_hold_or_have_changed(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 30, expires_at="2024-06-15", expire_notification_delivered=True)
    plan = make_plan(address, RunKind.EXTEND, every(days("2024-06-15")), Change(NEW, days=30))
    record = begin_run(address, plan)
    execute(address, f"UPDATE personal_access_tokens SET expires_at = NULL WHERE id = {ids[7]}")
    lock = f"SELECT FROM public.personal_access_tokens WHERE id IN ({ids[3]}, {ids[20]}) FOR UPDATE"
    with somebody_else(address, lock):
        assert carry_out(address, plan, record) == Finished(changed=27, changed_meanwhile=1, locked=2)
    left = {ids[3]: "2024-06-15", ids[7]: None, ids[20]: "2024-06-15"}
    assert rows(address) == {id_: str(NEW + day) for day, id_ in enumerate(ids)} | left
    assert query(address, "SELECT sum(cardinality(token_ids)) FROM token_tasks.notices") == [(27,)]
    assert query(address, "SELECT left_alone, locked FROM token_tasks.chunks WHERE position IN (3, 7) ORDER BY 1") == [
        ([ids[7]], None),
        (None, [ids[3]]),
    ]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 60),
)
def test_staggered_chunks_cover_the_plan_in_order_and_their_dates_are_even(sizes: list[int], spread: int) -> None:
    identifiers = iter(range(1, 10_000))
    found = [(OLD + number, TokenIds([next(identifiers) for _ in range(size)])) for number, size in enumerate(sizes)]
    change = Change(NEW, days=spread)
    chunks = list(plans._chunks(found, change))
    total = sum(sizes)
    assert [id_ for chunk in chunks for id_ in chunk.ids] == list(range(1, total + 1))
    assert [chunk.position for chunk in chunks] == [chunk.ids.first - 1 for chunk in chunks]
    assert [(chunk.old, id_) for chunk in chunks for id_ in chunk.ids] == [
        (old, id_) for old, ids in found for id_ in ids
    ]

    given_dates = [chunk.new for chunk in chunks for _ in chunk.ids]
    assert given_dates == [change.new_date(None, position, total) for position in range(total)]
    ordinals = [day.ordinal for day in given_dates if day is not None]
    assert ordinals == sorted(ordinals)
    assert ordinals[0] == NEW.ordinal
    assert ordinals[-1] <= NEW.ordinal + spread - 1
    if spread <= total:
        assert ordinals[-1] == NEW.ordinal + spread - 1
        counted = Counter(ordinals)
        assert len(counted) == spread
        assert max(counted.values()) - min(counted.values()) <= 1
    else:
        gaps = {after - before for before, after in pairwise(ordinals)}
        assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), min_size=1, max_size=6), st.integers(1, 40))
def test_what_by_gives_is_spread_for_each_date_by_itself(arrays: list[tuple[int, int]], spread: int) -> None:
    identifiers = iter(range(1, 10_000))
    found = [(OLD + day, TokenIds([next(identifiers) for _ in range(size)])) for day, size in sorted(arrays)]
    change = Change(by=100, days=spread)
    chunks = list(plans._chunks(found, change))
    assert [one for chunk in chunks for one in chunk.ids] == [one for _, ids in found for one in ids]
    assert [chunk.position for chunk in chunks] == [chunk.ids.first - 1 for chunk in chunks]
    for old in {old for old, _ in found}:
        given_dates = [chunk.new for chunk in chunks if chunk.old == old for _ in chunk.ids]
        total = sum(len(ids) for day, ids in found if day == old)
        alone = plans._chunks([(old, TokenIds(range(1, total + 1)))], Change(old + 100, days=spread))
        assert given_dates == [chunk.new for chunk in alone for _ in chunk.ids]


class Bots:
    """Bots of one project, people and their memberships, and what is expected of the ends of these."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.project = make_project(connection)
        self.moved: list[int] = []
        self.kept: list[int] = []

    def member(self, ends_at: str | None, *, moved: bool, user: int | None = None, **columns: Any) -> int:
        """A bot with a membership that ends then; its user id."""
        bot = user or make_user(self.connection, user_type=BOT)
        where = {} if "group_id" in columns else {"project_id": self.project}
        member = make_membership(self.connection, user_id=bot, expires_at=ends_at, **where, **columns)
        (self.moved if moved else self.kept).append(member)
        return bot

    def token(self, bot: int, expires_at: str = "2024-06-15", **columns: Any) -> int:
        return make_token(self.connection, user_id=bot, expires_at=expires_at, **columns)


@pytest.mark.parametrize(
    ("revision", "release", "rule"),
    [
        ("17.8", "17.8.2-ee", MembershipRule.UNTIL_TOKEN),
        ("17.9", "17.9.0", MembershipRule.FOREVER),
        ("18.9", None, MembershipRule.FOREVER),
    ],
)
def test_memberships_that_end_too_early_are_moved_as_the_release_does_it_and_no_others(
    gitlab_database_at: Callable[[str], Address], revision: str, release: str | None, rule: MembershipRule
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    with make_engine(address).begin() as connection:
        bots = Bots(connection)
        bots.token(bots.member("2024-06-15", moved=True))
        bots.token(bots.member("0044-03-15 BC", moved=True), revoked=None)
        several = bots.member("2024-07-01", moved=True)
        for _ in range(3):
            bots.token(several)
        bots.member("2030-06-14", moved=True, user=several, group_id=make_group(connection))
        bots.token(bots.member("2024-06-15", moved=False), revoked=True)
        bots.token(bots.member("2030-06-15", moved=False))
        bots.token(bots.member("infinity", moved=False))
        bots.token(bots.member(None, moved=False))
        bots.token(bots.member("2024-06-15", moved=False, requested_at="2024-01-01"))
        bots.token(bots.member("2024-06-15", moved=False), "2024-06-16")
        bots.token(bots.member("2024-06-15", moved=False, user=make_user(connection)))
        changed_meanwhile = bots.token(bots.member("2024-06-15", moved=False))
    before, ended = everything(address), ends(address)

    plan = plan_of(address, release=release)
    assert plan.memberships is rule
    execute(address, "UPDATE personal_access_tokens SET expires_at = '2024-08-01' WHERE id = :id", id=changed_meanwhile)
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=plan.tokens - 1, changed_meanwhile=1)
    end = "2030-06-15" if rule is MembershipRule.UNTIL_TOKEN else None
    assert ends(address) == ended | dict.fromkeys(bots.moved, end)
    assert query(address, "SELECT member_ids FROM token_tasks.memberships") == [(sorted(bots.moved),)]

    execute(address, "UPDATE personal_access_tokens SET expires_at = '2024-06-15' WHERE id = :id", id=changed_meanwhile)
    assert undo(address, record.run) == Finished(changed=plan.tokens - 1)
    assert everything(address) == before

    kept = plan_of(address, options=Options(memberships=False), release=release)
    assert kept.memberships is None
    carry_out(address, kept)
    assert ends(address) == ended

    removed = plan_of(address, NEW, None, release=release)
    carry_out(address, removed)
    last = max(bots.kept)  # of the token that has the plan's date by now, as all of them have
    ending_then = [member for member in bots.kept if ended[member] == "2030-06-15"]
    assert ends(address) == ended | dict.fromkeys([*bots.moved, *ending_then, last], None)


def test_without_a_journal_memberships_and_notices_are_treated_alike(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        bots = Bots(connection)
        token = bots.token(bots.member("2024-06-15", moved=True), expire_notification_delivered=True)
    plan = plan_of(bare)
    assert plan.memberships
    assert plan.notices
    assert carry_out(bare, plan) == Finished(changed=1)
    assert ends(bare) == {bots.moved[0]: None}
    assert query(bare, "SELECT id, expires_at, expire_notification_delivered FROM personal_access_tokens") == [
        (token, date(2030, 6, 15), False)
    ]


@pytest.mark.newest_server
def test_a_membership_that_is_moved_for_several_dates_ends_with_the_last_and_comes_back_to_the_first(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("17.8")
    install(address)
    with make_engine(address).begin() as connection:
        bots = Bots(connection)
        bot = bots.member("2024-06-10", moved=True)
        for day in ("2024-06-15", "2024-06-20", "2024-06-17"):
            bots.token(bot, day)
    before = everything(address)
    selection = every(days("2024-06-15", "2024-06-20"))
    plan = make_plan(address, RunKind.EXTEND, selection, Change(by=365), release="17.8")
    record = begin_run(address, plan)
    assert carry_out(address, plan, record) == Finished(changed=3)
    assert ends(address) == {bots.moved[0]: "2025-06-20"}
    assert query(address, "SELECT CAST(new_expires_at AS text) FROM token_tasks.memberships ORDER BY position") == [
        ("2025-06-15",),
        ("2025-06-17",),
        ("2025-06-20",),
    ]
    assert undo(address, record.run) == Finished(changed=3)
    assert everything(address) == before


def test_tokens_of_a_bot_whose_membership_is_held_wait_for_it_in_a_run_and_in_its_undo(address: Address) -> None:
    with make_engine(address).begin() as connection:
        bots = Bots(connection)
        held = bots.member("2024-06-15", moved=True)
        tokens = [bots.token(held), bots.token(held, expire_notification_delivered=True)]
        bots.token(bots.member("2024-06-15", moved=True))
        make_tokens(connection, 50, expires_at="2024-06-15")
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    lock = "SELECT FROM members WHERE id = :id FOR UPDATE"
    with somebody_else(address, lock, id=bots.moved[0]):
        assert carry_out(address, plan, record) == Finished(changed=51, locked=2)
        assert {id_ for id_, day in rows(address).items() if day == "2024-06-15"} == set(tokens)
        assert ends(address) == {bots.moved[0]: "2024-06-15", bots.moved[1]: None}
    assert apply(address, record.run) == Finished(changed=2)
    assert set(ends(address).values()) == {None}

    with somebody_else(address, lock, id=bots.moved[0]):
        assert undo(address, record.run) == Finished(changed=51, locked=2)
        assert {id_ for id_, day in rows(address).items() if day == "2030-06-15"} == set(tokens)
    assert apply(address, record.run + 1) == Finished(changed=2)
    assert everything(address) == before


@pytest.mark.newest_server
def test_an_undo_leaves_memberships_and_tokens_alone_that_were_changed_since(address: Address) -> None:
    with make_engine(address).begin() as connection:
        bots = Bots(connection)
        bots.token(bots.member("2024-06-15", moved=True))
        changed_since = bots.token(bots.member("2024-06-15", moved=True))
        bots.token(bots.member("2024-06-15", moved=True))
        deleted = make_token(connection, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    carry_out(address, plan, record)
    execute(address, "UPDATE members SET expires_at = '2031-01-01' WHERE id = :id", id=bots.moved[0])
    execute(address, "UPDATE personal_access_tokens SET expires_at = '2032-01-01' WHERE id = :id", id=changed_since)
    execute(address, "DELETE FROM personal_access_tokens WHERE id = :id", id=deleted)
    assert undo(address, record.run) == Finished(changed=2, changed_meanwhile=2)
    assert [ends(address)[member] for member in bots.moved] == ["2031-01-01", None, "2024-06-15"]
    assert rows(address)[changed_since] == "2032-01-01"
    assert query(address, "SELECT left_alone FROM token_tasks.chunks WHERE run_id = :run", run=record.run + 1) == [
        ([changed_since, deleted],)
    ]


@pytest.mark.newest_server
def test_the_recount_tells_what_the_table_has_in_the_end(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        ids = make_tokens(connection, 20, expires_at="2024-06-15")
        make_tokens(connection, 3, expires_at="2030-06-15")

    def change_one_back() -> None:
        execute(bare, "UPDATE personal_access_tokens SET expires_at = '2024-06-15' WHERE id = :id", id=ids[0])

    events: list[Event] = []

    def remembered() -> Iterator[Event]:
        for event in run(bare, plan_of(bare), Recorder()):
            events.append(event)
            yield event

    consume(remembered(), change_one_back)
    assert events[-2:] == [Recounted(19), Finished(changed=20)]


@pytest.mark.newest_server
def test_while_there_is_a_reason_to_wait_nothing_is_changed_and_the_run_gives_signs_of_life(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, CHUNK + 1, expires_at="2024-06-15")
    plan = plan_of(address)
    record = begin_run(address, plan)
    monkeypatch.setattr(runs, "HEARTBEAT", 0.0)
    silent = "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'"
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        execute(address, silent)

    def reason(connection: object) -> str | None:
        return "the standby sleeps" if len(waited) < 3 else None

    events: Sequence[Event] = list(run(address, plan, record, reason_to_wait=reason, pause=pause))
    assert events[:4] == [Waiting("the standby sleeps")] * 3 + [events[3]]
    assert isinstance(events[3], BatchStarting)
    assert waited == [runs.WAIT] * 3
    assert query(address, "SELECT now() - heartbeat_at < interval '1 minute' FROM token_tasks.runs") == [(True,)]

    execute(address, "UPDATE personal_access_tokens SET expires_at = '2024-06-15'")
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    for event in run(
        address, plan, record, reason_to_wait=lambda _: "for ever", stop_requested=stop.is_set, pause=at_once
    ):
        stop.set()
        end = event
    assert end == Finished(changed=0, untouched=CHUNK + 1)


@pytest.mark.newest_server
def test_a_run_that_somebody_else_goes_on_with_meanwhile_does_not_believe_its_old_plan(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 2 * CHUNK, expires_at="2024-06-15")
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    first = threading.Event()
    consume(run(address, plan, record, stop_requested=first.is_set), first.set)
    # Two people are asked whether to go on; one of them says yes first, and stops again.
    second = plan_to_apply(address, record.run).plan
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[-1]):
        assert apply(address, record.run) == Finished(changed=CHUNK - 1, locked=1)
    assert carry_out(address, second, resume(address, record.run)) == Finished(changed=1)
    assert query(address, "SELECT left_alone, locked FROM token_tasks.chunks") == [(None, None)] * 2
    assert undo(address, record.run) == Finished(changed=2 * CHUNK)
    assert everything(address) == before


@given(
    st.lists(st.integers(0, 2**63 - 1), unique=True, min_size=1, max_size=50),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_token_ids_are_kept_whatever_their_distances(ids: list[int], start: int, stop: int) -> None:
    kept = TokenIds(sorted(ids))
    assert list(kept) == sorted(ids)
    assert (len(kept), kept.first, kept.last) == (len(ids), min(ids), max(ids))
    assert kept.between(start, stop) == sorted(ids)[start:stop]


def test_the_halves_of_a_chunk_are_all_of_it() -> None:
    ids = sorted(random.Random(1).sample(range(10**12), CHUNK + 7))
    chunk = Chunk(10, OLD, NEW, TokenIds(ids))
    lower, upper = chunk.halves()
    assert [*lower.ids, *upper.ids] == ids
    assert (lower.position, upper.position) == (10, 10 + len(lower.ids))
    again = Chunk(10, OLD, NEW, TokenIds(ids[:3]), again=True).halves()
    assert [(half.position, list(half.ids), half.again) for half in again] == [
        (10, ids[:1], True),
        (10, ids[1:3], True),
    ]


@given(st.integers(1, runs.MOST), st.floats(0, 60))
def test_the_next_transaction_is_never_empty_nor_boundless_and_aims_at_less_than_a_tenth_of_a_second(
    tokens: int, seconds: float
) -> None:
    assert runs.TARGET < 0.1
    size = next_size(tokens, seconds)
    assert runs.FEWEST <= size <= max(runs.FEWEST, min(runs.MOST, 2 * tokens))
    if seconds > runs.TARGET:
        assert size <= max(runs.FEWEST, tokens * runs.TARGET / seconds)


@pytest.mark.newest_server
def test_what_is_left_out_is_counted_in_the_plan_but_not_for_edit(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        make_tokens(connection, 2, expires_at="2099-06-15")
        make_tokens(connection, 3, expires_at="2099-06-15", revoked=True)
    selection = Selection((days("2099-06-15"),))
    plan = make_plan(bare, RunKind.EXTEND, selection, Change(by=30))
    assert [(count.state, count.tokens, count.selected) for count in plan.counts] == [
        (State.ACTIVE, 2, True),
        (State.REVOKED, 3, False),
    ]
    assert plan.tokens == 2
    assert make_plan(bare, RunKind.EDIT, selection, Change(by=30)).counts == ()


def keep(connection: sa.Connection, *ids: int) -> None:
    """Let a trigger keep tokens from being changed."""
    kept = ", ".join(map(str, ids))
    statements = f"""
        CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF OLD.id IN ({kept}) THEN RETURN NULL; END IF; RETURN NEW; END';
        CREATE TRIGGER "Keep" BEFORE UPDATE ON public.personal_access_tokens
        FOR EACH ROW EXECUTE FUNCTION public.keep()
    """
    connection.execute(sa.text(statements))


@pytest.mark.parametrize("change", [Change(NEW), Change(revokes=True)])
def test_what_a_trigger_keeps_from_being_changed_is_not_said_to_be_held_by_a_session(
    address: Address, change: Change
) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 2 * CHUNK, expires_at="2024-06-15", seven_days_notification_sent_at="2024-06-08")
        keep(connection, ids[0], ids[1])
    kind = RunKind.REVOKE if change.revokes else RunKind.EXTEND
    plan = make_plan(address, kind, every(days("2024-06-15")), change)
    before = everything(address)
    record = begin_run(address, plan)
    with (
        somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[-1]),
        pytest.raises(RunFailed) as fault,
    ):
        carry_out(address, plan, record)
    assert str(fault.value) == (
        f"2 tokens stay as they were, though no other session holds them: {ids[0]}, {ids[1]}. Something in the "
        'database keeps them from being changed, such as trigger "Keep" on public.personal_access_tokens.'
    )
    assert fault.value.changed == 2 * CHUNK - 3
    # The journal has nothing of what did not happen.
    assert query(address, "SELECT cardinality(locked) FROM token_tasks.chunks ORDER BY position") == [(2,), (1,)]
    kept = "revocations" if change.revokes else "notices"
    assert query(address, f"SELECT sum(cardinality(token_ids)) FROM token_tasks.{kept}") == [(2 * CHUNK - 3,)]
    with pytest.raises(RunFailed, match="2 tokens stay as they were"):
        apply(address, record.run)
    with make_engine(address).begin() as connection:
        connection.execute(sa.text('DROP TRIGGER "Keep" ON personal_access_tokens'))
    assert apply(address, record.run) == Finished(changed=2)
    assert undo(address, record.run) == Finished(changed=2 * CHUNK)
    assert everything(address) == before


@pytest.mark.newest_server
def test_nothing_is_changed_where_a_trigger_keeps_all_of_it(bare: Address) -> None:
    with make_engine(bare).begin() as connection:
        keep(connection, *make_tokens(connection, 7, expires_at="2024-06-15"))
    with pytest.raises(RunFailed, match=r"^7 tokens stay as they were.*: \d+(, \d+){4} and 2 more\. ") as fault:
        carry_out(bare, plan_of(bare))
    assert (fault.value.changed, fault.value.reversible) == (0, False)


@pytest.mark.newest_server
def test_what_failed_before_anything_was_changed_is_not_said_to_be_taken_back(
    address: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    object_to_changes = """
        CREATE FUNCTION public.object() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
        CREATE TRIGGER object BEFORE UPDATE ON public.personal_access_tokens
        FOR EACH ROW EXECUTE FUNCTION public.object()
    """
    with make_engine(address).begin() as connection:
        make_token(connection, expires_at="2024-06-15")
        connection.execute(sa.text(object_to_changes))
    selected = ("--expires", "2024-06-15", "--state", "active,expired")
    assert typed("extend", "--target", url(address), *selected, "--to", "2030-06-15", "--yes") == 1
    said = capsys.readouterr().err
    assert said.endswith(" --run 1\n")
    assert "The token was not changed. → to go on: gitlab-tokens apply " in said
    assert " undo " not in said

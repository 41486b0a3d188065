"""The same promises through a real PgBouncer whose clients share one session, and beside a real standby."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.addresses import url
from tests.testbed.crashes import (
    EXTEND,
    REVOKE,
    TOKENS,
    Killer,
    Snapshot,
    check_agreement,
    check_crash,
    check_others,
    check_others_of_a_revocation,
    check_two_at_once,
    fill,
    program,
    wait_for,
)
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_tokens, make_updates_slow
from tests.testbed.program import GITLAB_TOKENS, call
from tests.testbed.replication import Pair, Replicated
from tests.testbed.runs import OLD, apply, begin_run, everything, execute, install, plan_of, query, undo
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import CHUNK
from tokens.change.plan import Plan, RunKind, make_plan
from tokens.database import connect
from tokens.errors import ExitStatus, Refused
from tokens.gitlab.kind import State
from tokens.journal import setup
from tokens.journal.record import Recorder
from tokens.run import worker as runs
from tokens.run.batches import BatchCommitted, Event, Finished, Recounted, Waiting, run
from tokens.run.standbys import watch
from tokens.selection import DateRange, Selection
from tokens.targets.demo.embedded import Server

KILLS = 6


def session(address: Address) -> dict[str, str]:
    """The settings of the session that a client gets, which must be those that every client expects."""
    names = ("statement_timeout", "lock_timeout", "DateStyle", "TimeZone", "cursor_tuple_fraction", "search_path")
    return {name: query(address, f"SHOW {name}")[0][0] for name in names}


def test_plan_run_and_undo_with_the_journal_leave_no_trace_in_the_session_that_is_shared(
    gitlab_database: Address, pooled: Address
) -> None:
    setup.install(pooled)
    with make_engine(gitlab_database).begin() as connection:
        ids = make_tokens(connection, 3 * CHUNK, expires_at="2024-06-15")
    before, clean = everything(gitlab_database), session(pooled)
    plan = plan_of(pooled)
    record = begin_run(pooled, plan)
    with make_engine(gitlab_database).connect() as other:
        other.execute(sa.text("SELECT FROM personal_access_tokens WHERE id = ANY(:ids) FOR UPDATE"), {"ids": ids[-5:]})
        events = []
        for event in run(pooled, plan, record, pause=lambda seconds: None):
            if isinstance(event, BatchCommitted):
                # Between two transactions somebody else has the session.
                assert session(pooled) == clean
            events.append(event)
        assert events[-2:] == [Recounted(3 * CHUNK - 5), Finished(changed=3 * CHUNK - 5, locked=5)]
        other.rollback()
    assert apply(pooled, record.run) == Finished(changed=5)
    assert session(pooled) == clean
    assert undo(pooled, record.run) == Finished(changed=3 * CHUNK)
    assert everything(gitlab_database) == before
    assert session(pooled) == clean


@pytest.mark.slow
def test_a_slow_chunk_is_split_through_the_pooler(
    gitlab_database: Address, pooled: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 600, expires_at="2024-06-15")
        make_updates_slow(connection, seconds=0.002)
    before = everything(gitlab_database)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "1s")
    plan = plan_of(pooled)
    record = begin_run(pooled, plan)
    *_, end = run(pooled, plan, record)
    assert end == Finished(changed=600)
    assert query(gitlab_database, "SELECT count(*) > 1, sum(cardinality(token_ids)) FROM token_tasks.chunks") == [
        (True, 600)
    ]
    execute(gitlab_database, "DROP TRIGGER dawdle ON public.personal_access_tokens")
    assert undo(pooled, record.run) == Finished(changed=600)
    assert everything(gitlab_database) == before


def test_several_workers_take_turns_in_the_one_session_that_a_pooler_has_for_them(
    gitlab_database: Address, pooled: Address
) -> None:
    setup.install(pooled)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 6 * CHUNK, expires_at="2024-06-15", expire_notification_delivered=True)
    before, clean = everything(gitlab_database), session(pooled)
    plan = plan_of(pooled)
    record = begin_run(pooled, plan)
    *_, end = run(pooled, plan, record, jobs=3, pause=lambda seconds: None)
    assert end == Finished(changed=plan.tokens)
    assert undo(pooled, record.run, 3) == Finished(changed=plan.tokens)
    assert everything(gitlab_database) == before
    assert session(pooled) == clean


@pytest.mark.slow
@pytest.mark.newest_server
def test_a_slow_chunk_of_a_revocation_is_split_and_so_is_that_of_its_undo_through_the_pooler(
    gitlab_database: Address, pooled: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 600, expires_at="2099-06-15")
        make_updates_slow(connection, seconds=0.002)
    before = everything(gitlab_database)
    plan = make_plan(pooled, RunKind.REVOKE, Selection((), never_used=True), Change(revokes=True))
    record = begin_run(pooled, plan)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "600ms")
    *_, end = run(pooled, plan, record)
    assert end == Finished(changed=600)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "300ms")
    assert undo(pooled, record.run) == Finished(changed=600)
    chunks = query(gitlab_database, "SELECT count(*) FROM token_tasks.chunks GROUP BY run_id ORDER BY run_id")
    assert len(plan.chunks) < chunks[0][0] < chunks[1][0]
    assert everything(gitlab_database) == before


@pytest.mark.slow
@pytest.mark.newest_server  # what a pooler does is the same before each
@pytest.mark.parametrize("change", [EXTEND, REVOKE], ids=lambda words: words[0])
def test_a_client_of_the_pooler_that_is_killed_at_any_moment_leaves_table_and_journal_in_agreement(
    gitlab_database: Address, pooled: Address, change: tuple[str, ...]
) -> None:
    fill(gitlab_database)
    Killer(gitlab_database, through=pooled, change=change).check(KILLS)


@pytest.mark.slow
@pytest.mark.newest_server
def test_of_two_runs_at_once_in_one_session_one_is_refused_or_they_come_one_after_the_other(
    gitlab_database: Address, pooled: Address
) -> None:
    check_two_at_once(gitlab_database, pooled)


def test_rows_that_others_change_lock_or_delete_in_the_middle_are_left_alone_through_the_pooler(
    gitlab_database: Address, pooled: Address
) -> None:
    check_others(gitlab_database, pooled)


@pytest.mark.slow
def test_of_a_revocation_and_its_undo_tokens_that_others_touch_are_left_alone_through_the_pooler(
    gitlab_database: Address, pooled: Address
) -> None:
    check_others_of_a_revocation(gitlab_database, pooled)


@pytest.mark.slow
@pytest.mark.newest_server
def test_a_server_that_crashes_behind_the_pooler_ends_the_run_with_one_line_and_the_run_can_go_on(
    gitlab_database: Address, pooled: Address, server: Server, superuser: Callable[[Address], Address]
) -> None:
    check_crash(gitlab_database, pooled, server, superuser)


@pytest.fixture
def pair(replicated: Replicated) -> Iterator[Pair]:
    with replicated.database() as pair:
        fill(pair.primary)
        with make_engine(pair.primary).begin() as connection:
            make_tokens(connection, 3 * CHUNK, expires_at="2024-06-15")
        replicated.catch_up()
        yield pair


@pytest.mark.slow
def test_on_a_standby_nothing_is_planned_nor_changed_but_analyzed(pair: Pair, tmp_path: Path) -> None:
    before = everything(pair.primary)
    refusal = rf"Database \"{conninfo_to_dict(pair.standby.conninfo)['dbname']}\" is a standby"
    with pytest.raises(Refused, match=refusal):
        plan_of(pair.standby)
    with pytest.raises(Refused, match="takes no changes"):
        begin_run(pair.standby, plan_of(pair.primary))
    with pytest.raises(Refused, match=refusal):
        list(run(pair.standby, plan_of(pair.primary), Recorder()))
    commands = (
        EXTEND,
        (*EXTEND[:-1], "--dry-run"),
        (*EXTEND, "--no-journal"),
        ("apply", "--run", "1", "--yes"),
        ("undo", "--run", "1", "--yes"),
    )
    for words in commands:
        done = call(GITLAB_TOKENS, words[0], "--target", url(pair.standby), *words[1:])
        assert done.returncode == ExitStatus.REFUSED, done.stdout + done.stderr
        assert done.stderr.count("\n") == 1
        assert (
            "is a standby (a replica or a Geo secondary) and takes no changes; run this on the primary" in done.stderr
        )
    assert everything(pair.primary) == before
    assert query(pair.primary, "SELECT count(*) FROM token_tasks.runs") == [(0,)]
    analyzed = call(GITLAB_TOKENS, "analyze", "--target", url(pair.standby))
    assert (analyzed.returncode, analyzed.stderr) == (0, "")
    assert f"| 2024-06-15      | {3 * CHUNK}" in analyzed.stdout


def revocation_of(address: Address) -> Plan:
    """The revocation of the tokens that `plan_of` extends."""
    chosen = Selection((DateRange(OLD, OLD),), states=frozenset({State.EXPIRED}))
    return make_plan(address, RunKind.REVOKE, chosen, Change(revokes=True))


@pytest.mark.slow
@pytest.mark.parametrize("planned", [plan_of, revocation_of])
def test_a_run_waits_for_a_standby_that_is_behind_and_goes_on_when_it_has_caught_up(
    replicated: Replicated, pair: Pair, planned: Callable[[Address], Plan]
) -> None:
    with make_engine(pair.primary).begin() as slowed:
        make_updates_slow(slowed, seconds=0.001)  # a standby's lag is asked for twice a second
    plan = planned(pair.primary)
    record = begin_run(pair.primary, plan)
    replicated.catch_up()
    waits: list[int] = []

    def pause(seconds: float) -> None:
        waits.append(query(pair.primary, "SELECT changed FROM token_tasks.runs")[0][0])
        if len(waits) == 3:
            replicated.resume_replay()
            replicated.catch_up()

    with connect(pair.primary) as connection, watch(connection, [pair.standby], max_lag=0) as standbys:

        def reason(connection: object) -> str | None:
            lag = standbys.lag(primary)
            return lag.reason if lag else None

        primary = connection
        assert standbys.lag(primary) is None
        replicated.pause_replay()
        events: list[Event] = []
        for event in run(pair.primary, plan, record, reason_to_wait=reason, pause=pause):
            events.append(event)
            if isinstance(event, BatchCommitted) and len(waits) >= 3:
                replicated.catch_up()
    reasons = [event.reason for event in events if isinstance(event, Waiting)]
    assert len(reasons) >= 3
    assert all(reason.startswith(f"{pair.standby.shown} is ") for reason in reasons)
    assert len(set(waits[:3])) == 1  # nothing is changed while it waits
    assert events[-2:] == [Recounted(3 * CHUNK), Finished(changed=3 * CHUNK)]
    replicated.catch_up()
    assert everything(pair.standby) == everything(pair.primary)


# Sessions that have done anything in the last second.
AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND pid <> pg_backend_pid()
      AND (state <> 'idle' OR state_change > clock_timestamp() - interval '1 second')
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "3"])
def test_the_program_says_why_it_waits_and_ends_when_the_standby_has_caught_up(
    replicated: Replicated, pair: Pair, jobs: str
) -> None:
    before = Snapshot.of(pair.primary)
    with make_engine(pair.primary).begin() as connection:
        make_updates_slow(connection, seconds=0.0005)
    replicated.catch_up()
    replicated.pause_replay()
    words = ("--standby", url(pair.standby), "--max-lag", "1s", "--jobs", jobs)
    with program(pair.primary, *EXTEND, *words) as child:
        assert child.stderr
        said = ""
        deadline = time.monotonic() + 60
        while " behind" not in said:
            said = child.stderr.readline()
            assert said, "it ended without waiting"
            assert time.monotonic() < deadline
        # The first worker asks from time to time; the others end what they had begun before it knew.
        wait_for(pair.primary, AT_WORK, lambda sessions: sessions <= 1)
        [(changed,)] = query(pair.primary, "SELECT changed FROM token_tasks.runs")
        assert changed < 5 * TOKENS // 6
        check_agreement(pair.primary, before)
        replicated.resume_replay()
        output, errors = child.communicate(timeout=60)
    assert child.returncode == ExitStatus.DONE, output + errors
    check_agreement(pair.primary, before)

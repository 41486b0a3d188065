"""Several workers that share one run: what one of them promises, all of them keep together."""

import random
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_token, make_tokens, make_updates_slow, make_user
from tests.testbed.instance import LATER, SOON, Instance
from tests.testbed.marks import slow_ones
from tests.testbed.processes import is_pending
from tests.testbed.runs import apply, begin_run, everything, execute, install, plan_of, query, resume, undo
from tokens import verbs
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import CHUNK
from tokens.change.plan import RunKind, make_plan
from tokens.commands import carry_out
from tokens.database import Connection
from tokens.errors import ConnectionLost, UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.journal.contents import status
from tokens.journal.record import ChunkOutcome, Recorder, TakenOver
from tokens.run import worker as workers
from tokens.run.batches import BatchCommitted, BatchStarting, Event, Finished, Recounted, RunFailed, Waiting, run
from tokens.run.undo import plan_to_undo
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection

pytestmark = pytest.mark.newest_server

JOBS = 3
OLD = ExpirationDate.typed("2024-06-15")
NEW = ExpirationDate.typed("2030-06-15")
BOT = 6


@pytest.fixture
def address(installed: Address) -> Address:
    return installed


def at_once(seconds: float) -> None:
    """A pause that takes no time."""


def ended(events: Iterator[Event]) -> Finished:
    *_, end = events
    assert isinstance(end, Finished)
    return end


def fill(address: Address, tokens: int = 10 * CHUNK) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, tokens, expires_at="2024-06-15")


def fill_with_what_hangs_on_tokens(address: Address) -> None:
    """Bots whose tokens lie in many chunks, each with a membership that ends too early, and notices."""
    with make_engine(address).begin() as connection:
        project = make_project(connection)
        for _ in range(CHUNK // 50):
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, project_id=project, expires_at="2024-06-10")
            make_tokens(connection, 10, expires_at="2024-06-15", user_id=bot)
        make_tokens(connection, 5 * CHUNK, expires_at="2024-06-15", expire_notification_delivered=True)
        # Ids of all owners alternate, so that every chunk has some of each bot's.
        connection.execute(sa.text("UPDATE public.personal_access_tokens SET id = id + 1000000"))
        connection.execute(
            sa.text("""
                UPDATE public.personal_access_tokens t SET id = mixed.id
                FROM (
                  SELECT id AS old, row_number() OVER (ORDER BY md5(CAST(id AS text))) AS id
                  FROM public.personal_access_tokens
                ) mixed
                WHERE t.id = mixed.old
            """)
        )


@contextmanager
def somebody_else(address: Address, statement: str) -> Iterator[None]:
    """Another session's open transaction."""
    with make_engine(address).connect() as connection:
        connection.execute(sa.text(statement))
        yield
        connection.rollback()


def dates(address: Address) -> dict[str | None, int]:
    found = query(address, "SELECT CAST(expires_at AS text), count(*) FROM personal_access_tokens GROUP BY 1")
    return {row[0]: row[1] for row in found}


@pytest.mark.parametrize("filled", [fill, fill_with_what_hangs_on_tokens])
def test_several_workers_change_each_token_once_in_one_run_with_one_attempt_and_an_undo_puts_all_back(
    address: Address, filled: Callable[[Address], None]
) -> None:
    filled(address)
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    events = list(run(address, plan, record, jobs=JOBS, pause=at_once))
    assert events[-2:] == [Recounted(plan.tokens), Finished(plan.tokens)]
    counts = [event.dealt_with for event in events if isinstance(event, BatchCommitted)]
    assert counts == sorted(counts)
    assert counts[-1] == plan.tokens
    assert dates(address) == {"2030-06-15": plan.tokens}
    assert query(address, "SELECT state, changed, changed_meanwhile, locked, attempt FROM token_tasks.runs") == [
        ("done", plan.tokens, 0, 0, 1)
    ]
    assert query(address, "SELECT count(*) FROM token_tasks.attempts") == [(1,)]
    assert query(address, "SELECT count(*) FROM token_tasks.chunks WHERE done_at IS NULL OR locked IS NOT NULL") == [
        (0,)
    ]
    assert undo(address, record.run, JOBS) == Finished(plan.tokens)
    assert everything(address) == before
    checked = status(address).chain
    assert checked is not None
    assert not checked.faults


def test_several_workers_revoke_each_token_once_and_an_undo_brings_all_back(address: Address) -> None:
    fill_with_what_hangs_on_tokens(address)
    before = everything(address)
    selection = Selection((DateRange(OLD, OLD),), kinds=EVERY_KIND, states=frozenset({State.EXPIRED}))
    plan = make_plan(address, RunKind.REVOKE, selection, Change(revokes=True))
    record = begin_run(address, plan)
    assert ended(run(address, plan, record, jobs=JOBS, pause=at_once)) == Finished(plan.tokens)
    assert query(address, "SELECT count(*) FROM personal_access_tokens WHERE revoked") == [(plan.tokens,)]
    assert undo(address, record.run, JOBS) == Finished(plan.tokens)
    assert everything(address) == before


def test_without_a_journal_several_workers_change_the_same(address: Address) -> None:
    fill_with_what_hangs_on_tokens(address)
    plan = plan_of(address)
    assert ended(run(address, plan, Recorder(), jobs=JOBS, pause=at_once)) == Finished(plan.tokens)
    assert dates(address) == {"2030-06-15": plan.tokens}
    assert query(address, "SELECT DISTINCT expires_at FROM members") == [(None,)]


@pytest.mark.parametrize("seed", [0, *slow_ones(1, 2, 3)])
def test_in_whatever_order_chunks_are_undone_a_membership_that_was_moved_twice_comes_back_to_its_first_end(
    gitlab_database_at: Callable[[str], Address], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    address = gitlab_database_at("17.8")
    install(address)
    monkeypatch.setattr(workers, "CHUNK", 1)  # a transaction of its own for each chunk at first
    monkeypatch.setattr(workers, "FEWEST", 1)
    monkeypatch.setattr(workers, "MOST", 3)
    chosen = random.Random(seed)
    with make_engine(address).begin() as connection:
        project = make_project(connection)
        for _ in range(12):
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, project_id=project, expires_at="2024-06-10")
            for day in chosen.sample(range(11, 30), 6):
                make_token(connection, user_id=bot, expires_at=f"2024-06-{day}", revoked=chosen.random() < 0.2)
    before = everything(address)
    first, last = ExpirationDate.typed("2024-06-11"), ExpirationDate.typed("2024-06-30")
    selection = Selection((DateRange(first, last),), kinds=EVERY_KIND, states=EVERY_STATE)
    plan = make_plan(address, RunKind.EXTEND, selection, Change(by=365), release="17.8")
    plan = replace(plan, chunks=tuple(chosen.sample(plan.chunks, len(plan.chunks))))
    record = begin_run(address, plan)
    assert ended(run(address, plan, record, jobs=JOBS, pause=at_once)) == Finished(plan.tokens)
    back = plan_to_undo(address, record.run).plan
    back = replace(back, chunks=tuple(chosen.sample(back.chunks, len(back.chunks))))
    assert ended(run(address, back, begin_run(address, back), jobs=JOBS, pause=at_once)) == Finished(plan.tokens)
    assert everything(address) == before


@pytest.mark.slow
def test_rows_that_others_hold_are_put_aside_and_tried_again_at_the_end(address: Address) -> None:
    fill(address)
    before = everything(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id % 700 = 0 FOR UPDATE"):
        held = query(address, "SELECT count(*) FROM personal_access_tokens WHERE id % 700 = 0")[0][0]
        end = ended(run(address, plan, record, jobs=JOBS, pause=at_once))
        assert end == Finished(plan.tokens - held, locked=held)
    assert query(address, "SELECT state, changed, locked FROM token_tasks.runs") == [("partial", end.changed, held)]
    assert apply(address, record.run, JOBS) == Finished(held)
    assert undo(address, record.run, JOBS) == Finished(plan.tokens)
    assert everything(address) == before


@pytest.mark.slow
def test_a_row_that_all_transactions_write_by_a_trigger_ends_no_run(address: Address) -> None:
    fill_with_what_hangs_on_tokens(address)
    execute(address, "CREATE TABLE public.tally (name text PRIMARY KEY, changes bigint)")
    execute(address, "INSERT INTO public.tally VALUES ('tokens', 0), ('members', 0)")
    execute(
        address,
        """
        CREATE FUNCTION public.count_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          UPDATE public.tally SET changes = changes + 1 WHERE name = TG_ARGV[0];
          RETURN NULL;
        END $$
        """,
    )
    for table, name in (("personal_access_tokens", "tokens"), ("members", "members")):
        execute(
            address,
            f"CREATE TRIGGER counts AFTER UPDATE ON public.{table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION public.count_change('{name}')",
        )
    plan = plan_of(address)
    record = begin_run(address, plan)
    assert ended(run(address, plan, record, jobs=JOBS)) == Finished(plan.tokens)
    assert undo(address, record.run, JOBS) == Finished(plan.tokens)


@pytest.mark.slow
def test_chunks_that_take_too_long_are_split_by_whoever_has_them(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address, 3 * CHUNK)
    with make_engine(address).begin() as connection:
        make_updates_slow(connection, seconds=0.002)
    before = everything(address)
    monkeypatch.setattr(workers, "STATEMENT_TIMEOUT", "400ms")
    plan = plan_of(address)
    record = begin_run(address, plan)
    assert ended(run(address, plan, record, jobs=JOBS, pause=at_once)) == Finished(plan.tokens)
    chunks = query(address, "SELECT position, token_ids FROM token_tasks.chunks ORDER BY position")
    assert len(chunks) > 3
    assert [id_ for chunk in chunks for id_ in chunk.token_ids] == [id_ for chunk in plan.chunks for id_ in chunk.ids]
    assert undo(address, record.run, JOBS) == Finished(plan.tokens)
    assert everything(address) == before


@pytest.mark.slow
def test_a_request_to_stop_ends_all_workers_at_the_end_of_their_transactions(address: Address) -> None:
    fill(address, 40 * CHUNK)
    plan = plan_of(address)
    record = begin_run(address, plan)
    stop = threading.Event()
    for event in run(address, plan, record, jobs=JOBS, stop_requested=stop.is_set, pause=at_once):
        if isinstance(event, BatchStarting):
            stop.set()
        assert not isinstance(event, Recounted)
    assert isinstance(event, Finished)
    assert 0 < event.changed < plan.tokens
    assert event.untouched == plan.tokens - event.changed
    assert dates(address)["2030-06-15"] == event.changed
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("stopped", event.changed)]
    assert apply(address, record.run, JOBS) == Finished(event.untouched)


@pytest.mark.slow
def test_a_caller_that_reads_no_further_ends_all_workers_before_the_end_is_written_down(address: Address) -> None:
    fill(address, 40 * CHUNK)
    plan = plan_of(address)
    record = begin_run(address, plan)
    events = run(address, plan, record, jobs=JOBS, pause=at_once)
    while not isinstance(next(events), BatchCommitted):
        pass
    events.close()
    assert not [one for one in threading.enumerate() if one is not threading.main_thread() and one.daemon]
    changed = dates(address)["2030-06-15"]
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("stopped", changed)]
    assert apply(address, record.run, JOBS) == Finished(plan.tokens - changed)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["in the middle", "at the commit"])
def test_the_first_error_of_a_worker_ends_the_others_and_is_reported_once_with_what_all_have_changed(
    address: Address, superuser: Callable[[Address], Address], monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    fill(address, 40 * CHUNK)
    plan = plan_of(address)
    record = begin_run(address, plan)
    mark, marked = record.mark, []

    def fail(connection: Connection, outcomes: Sequence[ChunkOutcome]) -> None:
        mark(connection, outcomes)
        marked.append(outcomes)
        if len(marked) == 3:
            pid = connection.row("SELECT pg_backend_pid() AS pid").pid
            query(superuser(address), f"SELECT pg_terminate_backend({pid}, 60000)")
            if lost == "in the middle":
                connection.execute("SELECT 1")

    monkeypatch.setattr(record, "mark", fail)
    with pytest.raises(RunFailed, match="was lost") as failure:
        list(run(address, plan, record, jobs=JOBS, pause=at_once))
    changed = dates(address)["2030-06-15"]
    assert (failure.value.changed, failure.value.reversible) == (changed, True)
    assert len(marked) <= 2 + JOBS
    assert query(address, "SELECT state, changed FROM token_tasks.runs") == [("stopped", changed)]
    assert "was lost" in query(address, "SELECT stopped_because FROM token_tasks.attempts")[0][0]
    monkeypatch.undo()
    assert apply(address, record.run, JOBS) == Finished(plan.tokens - changed)


def test_a_commit_of_any_worker_without_an_answer_may_have_been_made(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    mark, transaction, failing = record.mark, Connection.transaction, threading.Lock()

    @contextmanager
    def lose(self: Connection, **settings: str) -> Iterator[None]:
        with transaction(self, **settings):
            yield
            if getattr(self, "marked", False):
                raise ConnectionLost("the answer never came")

    def all_mark(connection: Connection, outcomes: Sequence[ChunkOutcome]) -> None:
        mark(connection, outcomes)
        connection.marked = failing.acquire(blocking=False)  # type: ignore[attr-defined]

    monkeypatch.setattr(record, "mark", all_mark)
    monkeypatch.setattr(Connection, "transaction", lose)
    with pytest.raises(RunFailed, match="never came") as failure:
        list(run(address, plan, record, jobs=JOBS, pause=at_once))
    assert failure.value.reversible
    monkeypatch.undo()
    assert failure.value.changed == dates(address).get("2030-06-15", 0)


@pytest.mark.slow
def test_a_run_that_another_process_has_taken_over_ends_with_all_its_workers(address: Address) -> None:
    fill(address, 40 * CHUNK)
    plan = plan_of(address)
    record = begin_run(address, plan)
    events = run(address, plan, record, jobs=JOBS, pause=at_once)
    while not isinstance(next(events), BatchCommitted):
        pass
    execute(address, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour', state = 'stopped'")
    other = resume(address, record.run)
    with pytest.raises(TakenOver):
        list(events)
    changed = dates(address)["2030-06-15"]
    assert query(address, "SELECT state, changed, attempt FROM token_tasks.runs") == [("running", changed, 2)]
    assert ended(run(address, plan, other, jobs=JOBS, pause=at_once)) == Finished(plan.tokens - changed)


def test_while_there_is_a_reason_to_wait_no_worker_begins_a_transaction(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address)
    plan = plan_of(address)
    record = begin_run(address, plan)
    monkeypatch.setattr(workers, "WAIT", 0.0)
    asking = threading.Lock()
    reasons = iter([*[None] * JOBS, *["the standby sleeps"] * 5])
    under_way = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND state <> 'idle'
          AND pid <> pg_backend_pid()
    """
    changed: list[int] = []

    def reason(connection: Connection) -> str | None:
        assert asking.acquire(blocking=False), "two workers ask at once"
        try:
            found = next(reasons, None)
            if found and changed:
                # The others come to their transactions' ends, and begin no other.
                while query(address, under_way) != [(0,)]:
                    pass
            changed.append(query(address, "SELECT changed FROM token_tasks.runs")[0][0])
            return found
        finally:
            asking.release()

    events = list(run(address, plan, record, jobs=JOBS, reason_to_wait=reason, pause=at_once))
    assert events.count(Waiting("the standby sleeps")) == 5
    assert events[-1] == Finished(plan.tokens)
    assert len(set(changed[JOBS : JOBS + 5])) == 1
    assert changed[JOBS] < plan.tokens


def test_the_configuration_says_how_many_workers_there_are_where_no_option_does(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[int] = []

    def watched(*about: Any, **more: Any) -> Generator[Event]:
        jobs.append(more["jobs"])
        yield from run(*about, **more)

    monkeypatch.setattr(carry_out, "run", watched)
    home = {"HOME": str(tmp_path)}
    extend = ("extend", "--expires", SOON, "--to", LATER, "--yes")
    undo_last = ("undo", "--run", "1", "--yes")
    (tmp_path / ".invoke.yaml").write_text("tokens: {jobs: 3}\n")
    assert instance.run(*extend, env=home).returncode == 0
    assert instance.run(*undo_last, "--jobs", "2", env=home).returncode == 0
    assert instance.run(*extend, env={**home, "INVOKE_TOKENS_JOBS": "4"}).returncode == 0
    (tmp_path / ".invoke.yaml").write_text("tokens: {jobs: many}\n")
    refused = instance.run(*extend, env=home)
    assert (refused.returncode, refused.stderr) == (
        2,
        '--jobs, or tokens.jobs in the configuration, takes a number of connections from 1 to 8, not "many".\n',
    )
    assert jobs == [3, 2, 4]


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [1, 3])
def test_a_second_interrupt_waits_for_no_statement_of_any_worker(instance: Instance, interrupts: int) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 4 * CHUNK, expires_at=SOON)
        make_updates_slow(connection, seconds=0.02)  # a statement of 10 seconds
    at_work = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'gitlab-tokens'
          AND query LIKE '%UPDATE%' AND state <> 'idle'
          AND pid <> pg_backend_pid()
    """
    words = ("extend", "--expires", SOON, "--to", LATER, "--yes", "--jobs", JOBS)
    with instance.terminal(*words, size=(50, 200)) as program:
        program.wait_for(lambda: instance.value(at_work) == JOBS)
        program.signal(signal.SIGHUP)  # two of the same kind that come at once are one
        program.wait_for(lambda: not is_pending(program.pid, signal.SIGHUP))  # else either may be handled first
        for _ in range(interrupts):
            program.signal(signal.SIGINT)
            program.wait_for(lambda: not is_pending(program.pid, signal.SIGINT))
        assert program.wait() == 130
        assert "Stopped in the middle of a transaction, after " in program.text
    assert instance.value("SELECT changed FROM token_tasks.runs WHERE state = 'stopped'") == instance.counts().get(
        str(LATER), 0
    )
    assert instance.value(at_work) == 0


@pytest.mark.slow
def test_from_python_it_is_an_argument_that_is_checked_before_anything_is_done(address: Address) -> None:
    fill(address)
    selection = Selection((DateRange(OLD, OLD),), kinds=EVERY_KIND, states=EVERY_STATE)
    plan = verbs.plan(address, selection, Change(to=NEW))
    for jobs in (0, 9):
        with pytest.raises(UsageError, match=f"from 1 to 8, not {jobs}"):
            verbs.apply(address, plan, jobs=jobs)
    assert query(address, "SELECT count(*) FROM token_tasks.runs") == [(0,)]
    threads = set()
    done = verbs.apply(address, plan, jobs=JOBS, on_event=lambda _: threads.add(threading.current_thread()))
    assert (done.changed, done.recounted) == (plan.tokens, plan.tokens)
    assert threads == {threading.current_thread()}
    assert verbs.undo(address, done.run or 0, jobs=JOBS).changed == plan.tokens

"""The journal as a run writes it: one run at a time, taken over when it is dead, and never written to by two."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_tokens
from tests.testbed.program import GITLAB_TOKENS, call
from tests.testbed.runs import (
    NEW,
    OLD,
    apply,
    begin_run,
    dates,
    execute,
    install,
    plan_of,
    query,
    resume,
    set_back,
    writing,
)
from tokens import database, origin
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import CHUNK
from tokens.change.plan import RunKind, make_plan
from tokens.errors import ExitStatus, Refused, UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.attempts import PATIENCE, begin, renew
from tokens.journal.record import Record, TakenOver
from tokens.journal.runs import read_attempts, read_run
from tokens.journal.storing import store
from tokens.origin import Origin
from tokens.run.batches import BatchCommitted, BatchStarting, Finished, Recounted, run
from tokens.run.stored_plans import plan_to_apply
from tokens.selection import Selection

ELSEWHERE = Origin("root", "ada", "db2", None, None, "elsewhere 1 1")


@pytest.fixture
def address(installed: Address) -> Address:
    """A database with a journal and three chunks of tokens of one date."""
    with make_engine(installed).begin() as connection:
        make_tokens(connection, 3 * CHUNK, expires_at="2024-06-15")
    return installed


CHILD = """
import sys
from tests.testbed.runs import begin_run, plan_of, resume
from tokens.address import Address
address = Address(sys.argv[1], "here")
record = resume(address, int(sys.argv[2])) if len(sys.argv) > 2 else begin_run(address, plan_of(address))
print(record.run, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(address: Address, *words: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that has begun a run, and its number; it lives until it is killed."""
    program = [sys.executable, "-c", CHILD, address.conninfo, *words]
    with subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        try:
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


def test_one_run_at_a_time_and_a_dead_one_of_this_machine_is_taken_over_at_once(address: Address) -> None:
    plan = plan_of(address)
    with another_process(address) as (child, number):
        # Its last sign of life does not matter as long as it is seen to live, but here it is fresh, too.
        with pytest.raises(Refused, match=rf"Run {number} \(extend\) is under way since .* wait until it has ended"):
            begin_run(address, plan)
        with pytest.raises(Refused, match=f"Run {number} "):
            resume(address, number)
        done = call(GITLAB_TOKENS, "apply", "--target", url(address), "--run", str(number), "--yes")
        assert done.returncode == ExitStatus.REFUSED
        assert done.stderr.count("\n") == 1
        assert f"Run {number} (extend) is under way" in done.stderr
        assert dates(address) == {"2024-06-15": 3 * CHUNK}

        child.send_signal(signal.SIGKILL)
        child.wait()
        record = resume(address, number)
    assert record.run == number
    with database.reading(address) as connection:
        first, second = read_attempts(connection, number)
        assert read_run(connection, number).attempt == 2
    assert first.stopped_because == "the process is dead"
    assert (second.stopped_because, second.ended_at) == (None, None)
    *_, recounted, end = run(address, plan_of(address), record)
    assert (recounted, end) == (Recounted(3 * CHUNK), Finished(changed=3 * CHUNK))


@pytest.mark.newest_server
def test_another_run_may_begin_where_the_one_under_way_is_dead_and_that_one_is_stopped_then(address: Address) -> None:
    with another_process(address) as (child, number):
        child.kill()
        child.wait()
    record = begin_run(address, plan_of(address))
    assert query(address, "SELECT id, state FROM token_tasks.runs ORDER BY id") == [
        (number, "stopped"),
        (record.run, "running"),
    ]
    with pytest.raises(Refused, match=f"Run {record.run} "):
        resume(address, number)


@pytest.mark.newest_server
def test_a_run_elsewhere_counts_as_dead_after_a_while_without_a_sign_of_life(address: Address) -> None:
    plan = plan_of(address)
    number = begin_run(address, plan, ELSEWHERE).run
    for seconds in (0, PATIENCE - 20):
        set_back(address, seconds)
        with pytest.raises(Refused, match=f"by ada .* counts as such {PATIENCE} seconds after"):
            resume(address, number)
    set_back(address, 1)
    with pytest.raises(Refused, match=r"last sign of life, 1 second ago\.$"):
        resume(address, number)
    execute(address, "UPDATE token_tasks.runs SET recounted = 7")
    set_back(address, PATIENCE + 1)
    resume(address, number)
    assert query(address, "SELECT recounted FROM token_tasks.runs") == [(None,)], "nothing counted what this one did"
    why = query(address, "SELECT stopped_because FROM token_tasks.attempts ORDER BY number")
    ended = "SELECT extract(epoch FROM now() - ended_at) FROM token_tasks.attempts WHERE number = 1"
    assert query(address, ended)[0][0] > PATIENCE, "with its last sign of life"
    assert [row[0] for row in why] == [f"no sign of life for {PATIENCE + 1} seconds", None]


@pytest.mark.newest_server
def test_a_process_of_this_machine_that_lives_is_respected_only_as_long_as_it_shows_it(address: Address) -> None:
    number = begin_run(address, plan_of(address)).run
    with pytest.raises(Refused):
        resume(address, number)
    set_back(address, PATIENCE + 1)
    resume(address, number)


@pytest.mark.parametrize("committed", [0, 1])
def test_an_attempt_that_was_taken_over_can_commit_nothing_more(address: Address, committed: int) -> None:
    plan = plan_of(address)
    late = begin_run(address, plan, ELSEWHERE)
    number = late.run
    events = run(address, plan, late)
    transactions = 0
    for event in events:
        if isinstance(event, BatchStarting) and transactions == committed:
            break
        transactions += isinstance(event, BatchCommitted)
    done = dates(address).get("2030-06-15", 0)
    set_back(address, PATIENCE + 1)
    record = resume(address, number, replace(ELSEWHERE, user="eve"))

    with pytest.raises(TakenOver, match=f"taken over run {number}"):
        list(events)
    assert dates(address).get("2030-06-15", 0) == done
    assert query(address, "SELECT state, attempt, changed FROM token_tasks.runs") == [("running", 2, done)]
    with pytest.raises(TakenOver), writing(address) as connection:
        late.beat(connection)
    with pytest.raises(TakenOver), writing(address) as connection:
        late.split(connection, plan.chunks[-1], *plan.chunks[-1].halves())
    assert query(address, "SELECT cardinality(token_ids) FROM token_tasks.chunks") == [(CHUNK,)] * 3

    # The new one goes by what is left, whatever plan it was given.
    *_, end = run(address, plan, record)
    assert end == Finished(changed=3 * CHUNK - done)
    assert dates(address) == {"2030-06-15": 3 * CHUNK}
    assert query(address, "SELECT state, changed, changed_meanwhile FROM token_tasks.runs") == [("done", 3 * CHUNK, 0)]
    recounted = query(address, "SELECT recounted FROM token_tasks.runs")
    assert recounted == [(3 * CHUNK,)], "the last attempt counts the whole run"
    with database.reading(address) as connection:
        first, second = read_attempts(connection, number)
    assert first.stopped_because == f"no sign of life for {PATIENCE + 1} seconds"
    assert (second.origin["user"], second.stopped_because) == ("eve", None)
    assert second.ended_at


def test_of_two_that_begin_at_the_same_moment_one_waits_for_the_other_and_is_refused(address: Address) -> None:
    plan = plan_of(address)
    with writing(address) as connection:
        first, second = (store(connection, plan, ELSEWHERE, None) for _ in range(2))
    outcome: list[object] = []

    def begin_second() -> None:
        try:
            outcome.append(resume(address, second))
        except Refused as refused:
            outcome.append(refused)

    thread = threading.Thread(target=begin_second)
    with writing(address) as connection:
        begin(connection, first, ELSEWHERE)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while query(address, waiting) == [(0,)] and thread.is_alive():
            pass
        assert not outcome
    thread.join()
    assert len(outcome) == 1
    assert isinstance(outcome[0], Refused)
    assert f"Run {first} " in str(outcome[0])


@pytest.mark.newest_server
def test_what_is_complete_cannot_begin_again(address: Address) -> None:
    plan = plan_of(address)
    record = begin_run(address, plan)
    assert list(run(address, plan, record))[-1] == Finished(changed=3 * CHUNK)
    with pytest.raises(UsageError, match="is complete"):
        resume(address, record.run)
    with pytest.raises(UsageError, match="is complete"):
        plan_to_apply(address, record.run)


@pytest.mark.newest_server
def test_a_run_that_is_cut_off_in_the_middle_says_so(address: Address) -> None:
    plan = plan_of(address)
    record = begin_run(address, plan)
    events = run(address, plan, record)
    while not isinstance(next(events), BatchCommitted):
        pass
    events.close()
    assert query(address, "SELECT state, changed, finished_at FROM token_tasks.runs") == [("stopped", CHUNK, None)]
    assert query(address, "SELECT stopped_because FROM token_tasks.attempts") == [
        ("interrupted in the middle of a transaction",)
    ]
    assert apply(address, record.run) == Finished(changed=2 * CHUNK)


def test_a_plan_comes_back_from_the_journal_as_it_was_stored(gitlab_database: Address) -> None:
    install(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        for day in ("infinity", "-infinity", "0044-03-15 BC", "12345-01-02", "2024-06-15", None):
            make_tokens(connection, 3, expires_at=day)
    for change in (Change(NEW, days=7), Change(), Change(ExpirationDate.stored("0044-03-15 BC"))):
        plan = make_plan(gitlab_database, RunKind.EXTEND, replace(Selection.every(OLD), expires=()), change)
        with writing(gitlab_database) as connection:
            number = store(connection, plan, ELSEWHERE, "because\nof 100 % 'reasons'")
        stored = plan_to_apply(gitlab_database, number)
        assert stored.plan.chunks == plan.chunks
        assert (stored.plan.change, stored.plan.selection) == (plan.change, plan.selection)
        assert (stored.stored.reason, stored.stored.tokens) == ("because\nof 100 % 'reasons'", 18)
        assert not stored.stored.lapsed


@pytest.mark.newest_server
def test_whoever_lost_touch_with_his_own_process_goes_on_without_it(gitlab_database: Address) -> None:
    install(gitlab_database)
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 1, expires_at="2024-06-15")
    plan = make_plan(gitlab_database, RunKind.EXTEND, Selection.every(OLD), Change(NEW))
    outside = replace(origin.here(), process="outside 1")
    lost = begin_run(gitlab_database, plan, outside)
    renewed = lost
    for wanted in (2, 3):  # the answer to the first was lost, too
        with writing(gitlab_database) as connection:
            renewed = renew(connection, lost.run, wanted, outside)
    with writing(gitlab_database) as connection:
        renewed.beat(connection)
    for stale in (lost, Record(lost.run, 2)):
        with pytest.raises(TakenOver), writing(gitlab_database) as connection:
            stale.beat(connection)
    for wanted, who in ((3, outside), (4, ELSEWHERE)):  # one that comes late, and somebody else
        with pytest.raises(TakenOver), writing(gitlab_database) as connection:
            renew(connection, lost.run, wanted, who)
    with database.reading(gitlab_database) as connection:
        ends = [one.stopped_because for one in read_attempts(connection, lost.run)]
    assert ends == ["the connection was lost", "the connection was lost", None]

"""What a run changes, and what it leaves alone."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import make_settings, make_token, make_tokens, make_updates_slow
from tokens import plan as plans
from tokens import run as runs
from tokens.address import Address
from tokens.engine import make_engine
from tokens.errors import Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.notes import Concern
from tokens.plan import CHUNK, Plan, TokenIds, make_plan
from tokens.run import BatchCommitted, BatchStarting, Event, Finished, RunFailed, next_batch, run
from tokens.selection import Selection
from tokens.upgrade import Branch, revisions

OLD = ExpirationDate.typed("2024-06-15")
NEW = ExpirationDate.typed("2030-06-15")
Rows = dict[int, str | None]


@pytest.fixture
def address(gitlab_database: Address) -> Address:
    return gitlab_database


def rows(address: Address) -> Rows:
    statement = sa.text("SELECT id, CAST(expires_at AS text) FROM public.personal_access_tokens")
    with make_engine(address).connect() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


def everything_but_the_date(address: Address) -> str:
    statement = sa.text("""
        SELECT md5(string_agg(CAST(to_jsonb(t) - 'expires_at' AS text), ',' ORDER BY id))
        FROM public.personal_access_tokens t
    """)
    with make_engine(address).connect() as connection:
        return str(connection.execute(statement).scalar_one())


def carry_out(address: Address, plan: Plan, **options: Callable[..., object]) -> Finished:
    *_, end = run(address, plan, **{"pause": lambda seconds: None, **options})  # type: ignore[arg-type]
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
    address: Address, new: ExpirationDate | None
) -> None:
    with make_engine(address).begin() as connection:
        chosen = [
            *make_tokens(connection, 1500, expires_at="2024-06-15"),
            make_token(connection, expires_at="2024-06-15", revoked=True),
            make_token(connection, expires_at="2024-06-15", revoked=None),
            make_token(connection, expires_at="2024-06-15", impersonation=True),
        ]
        make_tokens(connection, 10, expires_at="2024-06-16")
        make_tokens(connection, 10)
    before, rest = rows(address), everything_but_the_date(address)

    plan = make_plan(address, Selection(OLD), new)
    assert len(plan.tokens) == 1503
    assert carry_out(address, plan) == Finished(changed=1503)

    expected = new.literal if new else None
    assert rows(address) == before | dict.fromkeys(chosen, expected)
    assert everything_but_the_date(address) == rest


@pytest.mark.parametrize("old", ["infinity", "-infinity", "0044-03-15 BC", "12345-01-02"])
def test_odd_dates_can_be_changed(address: Address, old: str) -> None:
    with make_engine(address).begin() as connection:
        token = make_token(connection, expires_at=old)
        make_token(connection, expires_at="2024-06-15")
    assert carry_out(address, make_plan(address, Selection(ExpirationDate.stored(old)), NEW)) == Finished(changed=1)
    assert rows(address)[token] == "2030-06-15"


def test_batches_name_the_smallest_and_largest_id_they_change_and_come_before_their_update(
    address: Address,
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 50, expires_at="2017-12-31")
        ids = make_tokens(connection, 5000, expires_at="2024-06-15")
    events = run(address, make_plan(address, Selection(OLD), NEW))
    first = next(events)
    assert first == BatchStarting(ids[0], ids[runs.FIRST_BATCH - 1])
    assert set(rows(address).values()) == {"2017-12-31", "2024-06-15"}
    rest = list(events)
    starting = [event for event in [first, *rest] if isinstance(event, BatchStarting)]
    assert [ids.index(event.first_id) for event in starting[1:]] == [
        ids.index(event.last_id) + 1 for event in starting[:-1]
    ]
    assert starting[-1].last_id == ids[-1]
    assert [event for event in rest if isinstance(event, BatchCommitted)][-1] == BatchCommitted(5000)


def test_an_empty_plan_changes_nothing(address: Address) -> None:
    plan = make_plan(address, Selection(OLD), NEW)
    assert len(plan.tokens) == 0
    assert carry_out(address, plan) == Finished(changed=0)


def test_tokens_that_gain_or_lose_the_date_after_the_count_are_left_alone(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 100, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    with make_engine(address).begin() as connection:
        late = make_token(connection, expires_at="2024-06-15")
        connection.execute(
            sa.text("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id"), {"id": ids[3]}
        )
        connection.execute(sa.text("DELETE FROM personal_access_tokens WHERE id = :id"), {"id": ids[4]})
    assert carry_out(address, plan) == Finished(changed=98, changed_meanwhile=2)
    assert rows(address)[late] == "2024-06-15"
    assert rows(address)[ids[3]] is None


def test_rows_locked_by_another_session_are_left_alone_and_counted(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 3000, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    held = [ids[0], ids[1700], ids[-1]]
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = ANY(:ids) FOR UPDATE", ids=held):
        assert carry_out(address, plan) == Finished(changed=2997, locked=3)
    assert [id_ for id_, expires_at in rows(address).items() if expires_at == "2024-06-15"] == held


def test_rows_that_are_let_go_in_time_are_changed_after_all(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    lock = somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5])
    lock.__enter__()
    assert carry_out(address, plan, pause=lambda seconds: lock.__exit__(None, None, None)) == Finished(changed=10)


def test_locked_rows_are_not_mistaken_for_rows_set_to_the_date_that_they_had(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), OLD)
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5]):
        assert carry_out(address, plan) == Finished(changed=9, locked=1)


def test_a_lock_on_the_whole_table_fails_after_a_few_tries_and_changes_nothing(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    pauses: list[float] = []
    with (
        somebody_else(address, "LOCK TABLE personal_access_tokens IN SHARE ROW EXCLUSIVE MODE"),
        pytest.raises(RunFailed, match="holds a lock") as failure,
    ):
        carry_out(address, plan, pause=pauses.append)
    assert failure.value.changed == 0
    assert len(pauses) == len(runs.PAUSES)
    assert set(rows(address).values()) == {"2024-06-15"}


def test_a_request_to_stop_ends_the_wait_for_a_locked_table(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    stop = threading.Event()
    with somebody_else(address, "LOCK TABLE personal_access_tokens IN SHARE ROW EXCLUSIVE MODE"):
        end = carry_out(address, plan, pause=lambda seconds: stop.set(), stop_requested=stop.is_set)
    assert end == Finished(changed=0, locked=10)


def test_a_request_to_stop_is_heeded_between_two_transactions(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 5000, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    stop = threading.Event()
    end = None
    for event in run(address, plan, stop_requested=stop.is_set):
        if isinstance(event, BatchStarting):
            stop.set()
        end = event
    assert end == Finished(changed=runs.FIRST_BATCH, untouched=5000 - runs.FIRST_BATCH)
    assert [id_ for id_, expires_at in rows(address).items() if expires_at == "2030-06-15"] == ids[: runs.FIRST_BATCH]


def test_a_request_to_stop_while_locked_rows_are_waited_for_leaves_them_locked(address: Address) -> None:
    with make_engine(address).begin() as connection:
        ids = make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    stop = threading.Event()
    with somebody_else(address, "SELECT FROM personal_access_tokens WHERE id = :id FOR UPDATE", id=ids[5]):
        end = carry_out(address, plan, pause=lambda seconds: stop.set(), stop_requested=stop.is_set)
    assert end == Finished(changed=9, locked=1)


def test_a_lost_connection_keeps_what_was_committed_and_says_how_much(
    address: Address, superuser: Callable[[Address], Address]
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 5000, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    kill = sa.text("""
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND pid <> pg_backend_pid()
    """)

    def kill_the_session() -> None:
        with make_engine(superuser(address)).connect() as connection:
            connection.execute(kill)

    with pytest.raises(RunFailed, match="was lost") as failure:
        consume(run(address, plan), after_each_batch=kill_the_session)
    assert failure.value.changed == runs.FIRST_BATCH
    assert list(rows(address).values()).count("2030-06-15") == runs.FIRST_BATCH


def test_a_batch_that_takes_too_long_is_tried_in_smaller_ones(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 1000, expires_at="2024-06-15")
        make_updates_slow(connection, seconds=0.002)
    monkeypatch.setattr(runs, "STATEMENT_TIMEOUT", "1s")
    plan = make_plan(address, Selection(OLD), NEW)
    events = list(run(address, plan))
    assert events[-1] == Finished(changed=1000)
    assert len([event for event in events if isinstance(event, BatchStarting)]) > 2


def test_a_database_that_turned_read_only_is_refused(address: Address, superuser: Callable[[Address], Address]) -> None:
    with make_engine(address).begin() as connection:
        make_tokens(connection, 10, expires_at="2024-06-15")
    plan = make_plan(address, Selection(OLD), NEW)
    with make_engine(superuser(address)).begin() as connection:
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    with pytest.raises(Refused, match="takes no changes"):
        carry_out(address, plan)


def test_a_plan_holds_the_notes_on_its_date(address: Address) -> None:
    with make_engine(address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=10)
        make_settings(connection, max_personal_access_token_lifetime=90)
    plan = make_plan(address, Selection(OLD), ExpirationDate.typed("9000-01-01"))
    assert [note.concern for note in plan.notes] == [Concern.BEYOND_MAXIMUM]
    assert plans.read_current_policy(address).maximum_lifetime == 90
    assert make_plan(address, Selection(OLD), None).notes == ()


@pytest.mark.parametrize("revision", revisions(Branch.GITLAB))
def test_every_release_can_be_edited(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        make_tokens(connection, 3, expires_at="2024-06-15")
    assert carry_out(address, make_plan(address, Selection(OLD), NEW)) == Finished(changed=3)
    assert carry_out(address, make_plan(address, Selection(NEW), None)) == Finished(changed=3)
    assert set(rows(address).values()) == {None}


@given(
    st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=50),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_token_ids_are_kept_whatever_their_distances(ids: list[int], start: int, stop: int) -> None:
    kept = TokenIds([sorted(ids)] if ids else [])
    assert len(kept) == len(ids)
    assert kept.between(start, stop) == sorted(ids)[start:stop]


def test_a_slice_of_token_ids_crosses_chunks() -> None:
    ids = sorted(random.Random(1).sample(range(10**9), 3 * CHUNK + 7))
    kept = TokenIds(ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    for start, stop in [(0, len(ids)), (CHUNK - 1, CHUNK + 1), (7, 2 * CHUNK + 7), (3 * CHUNK, 4 * CHUNK)]:
        assert kept.between(start, stop) == ids[start:stop]


@given(st.integers(1, 50_000), st.floats(0, 60))
def test_the_next_batch_is_never_empty_nor_boundless_and_aims_at_half_a_second(tokens: int, seconds: float) -> None:
    size = next_batch(tokens, seconds)
    assert 1 <= size <= min(runs.LARGEST_BATCH, 2 * tokens)
    if seconds > runs.TARGET:
        assert size <= max(1, tokens * runs.TARGET / seconds)

"""How far standbys are behind, asked of a real one."""

import subprocess
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed import pgbouncer
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token
from tests.testbed.marks import slow_ones
from tests.testbed.replication import Pair, Replicated, restart
from tokens.address import Address
from tokens.database import Connection, connect
from tokens.errors import ConnectionLost, DatabaseError, Refused, UsageError
from tokens.run import standbys as standbys_module
from tokens.run.standbys import History, Position, Standbys, watch
from tokens.targets.demo.embedded import Server

NOWHERE = Address("host=/nowhere dbname=x user=x", "x@/nowhere/x", complete=True)


@pytest.fixture
def pair(replicated: Replicated) -> Iterator[Pair]:
    with replicated.database() as pair:
        yield pair


@pytest.fixture
def primary(pair: Pair) -> Iterator[Connection]:
    with connect(pair.primary) as connection:
        yield connection


def write(pair: Pair) -> None:
    with make_engine(pair.primary).begin() as connection:
        make_token(connection)


def seconds(standbys: Standbys, primary: Connection) -> float:
    """How far the worst standby is behind, where it is more than was allowed."""
    lag = standbys.lag(primary)
    assert lag is not None
    assert lag.seconds is not None
    return lag.seconds


def test_a_standby_that_has_applied_everything_holds_nobody_up(
    replicated: Replicated, pair: Pair, primary: Connection
) -> None:
    with watch(primary, [pair.standby], max_lag=0) as standbys:
        write(pair)
        replicated.catch_up()
        assert standbys.lag(primary) is None
        assert standbys.names == (pair.standby.shown,)
    with watch(primary, [], max_lag=0) as none:
        assert none.lag(primary) is None


def test_while_replay_is_paused_the_lag_grows_and_then_it_is_gone(
    replicated: Replicated, pair: Pair, primary: Connection
) -> None:
    with watch(primary, [pair.standby], max_lag=0) as standbys, watch(primary, [pair.standby], max_lag=60) as patient:
        assert standbys.lag(primary) is None
        with replicated.replay_paused():
            write(pair)
            first = seconds(standbys, primary)
            later = standbys.lag(primary)
            assert later is not None
            assert later.seconds is not None
            assert first < later.seconds < 60
            assert later.reason == f"{pair.standby.shown} is {later.seconds:.0f} s behind"
            assert patient.lag(primary) is None
        replicated.catch_up()
        assert standbys.lag(primary) is None


def test_after_an_idle_hour_a_standby_is_not_an_hour_behind() -> None:
    history = History()
    history.add(Position(100, 1000.0))
    history.add(Position(100, 4600.0))
    history.add(Position(200, 4600.5))
    assert history.age(99) is None
    assert history.age(150) == 0.5
    assert history.age(200) == 0.0


def test_a_history_does_not_grow_for_ever() -> None:
    history = History()
    for number in range(10_000):
        history.add(Position(number, float(number)))
    assert history.age(9_998) == 1.0
    assert history.age(10) is None


@pytest.mark.parametrize("url", [False, True])
def test_the_worst_of_several_counts_and_one_that_went_away_is_the_worst(
    replicated: Replicated, pair: Pair, primary: Connection, url: bool
) -> None:
    address = pair.standby
    if url:
        database = conninfo_to_dict(address.conninfo)["dbname"]
        sockets = str(replicated.standby.folder / "socket").replace("/", "%2F")
        address = Address(f"postgresql://gitlab@{sockets}/{database}?connect_timeout=30", pair.standby.shown)
    with watch(primary, [address, pair.standby], max_lag=10) as standbys:
        assert standbys.lag(primary) is None
        replicated.standby.stop()
        try:
            lag = standbys.lag(primary)
            assert lag is not None
            assert lag.seconds is None
            assert lag.reason.startswith(f"Cannot connect to {pair.standby.shown}: ")
            assert standbys.lag(primary) == lag
        finally:
            restart(replicated.standby)
        replicated.catch_up()
        assert standbys.lag(primary) is None


def test_a_connection_that_was_lost_is_made_again_without_a_word(
    replicated: Replicated, pair: Pair, primary: Connection
) -> None:
    with watch(primary, [pair.standby], max_lag=10) as standbys:
        with psycopg.connect(replicated.standby.address("postgres").conninfo, autocommit=True) as superuser:
            superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gitlab'")
        assert standbys.lag(primary) is None


def test_what_was_named_must_be_a_standby_of_this_database(
    replicated: Replicated, pair: Pair, primary: Connection, server: Server, gitlab_database: Address
) -> None:
    elsewhere = replicated.standby.address("postgres", "gitlab", shown="elsewhere")
    for address, said in ((pair.primary, "is no standby"), (elsewhere, 'leads to database "postgres"')):
        with pytest.raises(Refused, match=said), watch(primary, [address], max_lag=1):
            pass
    with (
        connect(gitlab_database) as stranger,
        pytest.raises(Refused, match="is a standby of another server"),
        watch(stranger, [pair.standby], max_lag=1),
    ):
        pass
    with pytest.raises(DatabaseError, match="Cannot connect to x@/nowhere/x"), watch(primary, [NOWHERE], max_lag=1):
        pass
    with pytest.raises(UsageError), watch(primary, [Address("postgresql://[", "[")], max_lag=1):
        pass


def test_what_the_configuration_lists_is_left_out_where_it_is_of_no_use(
    replicated: Replicated, pair: Pair, primary: Connection
) -> None:
    elsewhere = replicated.standby.address("postgres", "gitlab", shown="elsewhere")
    listed = [NOWHERE, pair.primary, elsewhere, pair.standby]
    with watch(primary, listed, max_lag=1, named=False) as standbys:
        assert standbys.names == (pair.standby.shown,)
        unreachable, other = standbys.notes
    assert unreachable.startswith("The run will not wait for a standby that database.yml lists. Cannot connect to x@")
    assert other == (
        'The run will not wait for elsewhere, which database.yml lists: it leads to database "postgres", which is not '
        "the one to be changed."
    )


def test_a_role_that_may_not_know_the_system_can_watch_all_the_same(
    replicated: Replicated, pair: Pair, primary: Connection
) -> None:
    database = make_conninfo(pair.primary.conninfo, user="postgres")
    with psycopg.connect(database, autocommit=True) as superuser:
        superuser.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
    replicated.catch_up()
    with watch(primary, [pair.standby], max_lag=0) as standbys:
        assert standbys.lag(primary) is None


def test_a_standby_behind_a_pooler_is_asked_through_it(replicated: Replicated, pair: Pair, primary: Connection) -> None:
    if reason := pgbouncer.missing():
        pytest.skip(reason)
    with (
        pgbouncer.pgbouncer(pair.standby, pool_size=1) as pooled,
        watch(primary, [pooled, pooled], max_lag=0) as standbys,
        psycopg.connect(pooled.conninfo, autocommit=True) as third,
    ):
        write(pair)
        replicated.catch_up()
        assert standbys.lag(primary) is None
        assert third.execute("SHOW statement_timeout").fetchone() == ("0",)
        with replicated.replay_paused():
            write(pair)
            assert seconds(standbys, primary) > 0


@pytest.mark.slow
def test_a_server_that_hangs_costs_a_few_seconds(replicated: Replicated, pair: Pair, primary: Connection) -> None:
    with watch(primary, [pair.standby], max_lag=10) as standbys:
        data = replicated.standby.folder / "data"
        postmaster = (data / "postmaster.pid").read_text().split("\n")[0]
        with psycopg.connect(replicated.standby.address("postgres").conninfo, autocommit=True) as superuser:
            superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gitlab'")
        subprocess.run(["kill", "-STOP", postmaster], check=True)
        try:
            lag = standbys.lag(primary)
        finally:
            subprocess.run(["kill", "-CONT", postmaster], check=True)
        assert lag is not None
        assert lag.seconds is None
        assert "timeout" in lag.reason


@pytest.mark.parametrize("frozen", ["backend", *slow_ones("server")])
def test_a_standby_that_freezes_in_the_middle_holds_the_question_up_for_seconds_only(
    replicated: Replicated, pair: Pair, primary: Connection, monkeypatch: pytest.MonkeyPatch, frozen: str
) -> None:
    monkeypatch.setattr(standbys_module, "ANSWER_TIMEOUT", 0.5)
    with watch(primary, [pair.standby], max_lag=10) as standbys:
        assert standbys.lag(primary) is None
        with psycopg.connect(replicated.standby.address("postgres").conninfo, autocommit=True) as superuser:
            found = superuser.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'gitlab'").fetchall()
        processes = [str(row[0]) for row in found]
        assert processes
        if frozen == "server":
            processes.append((replicated.standby.folder / "data/postmaster.pid").read_text().split("\n")[0])
        subprocess.run(["kill", "-STOP", *processes], check=True)
        # Should the question not end by itself, the standby goes on after a while, and answers as if it had been well.
        thaw = threading.Timer(20, lambda: subprocess.run(["kill", "-CONT", *processes], check=True))
        thaw.start()
        started = time.monotonic()
        try:
            lag = standbys.lag(primary)
            taken = time.monotonic() - started
        finally:
            thaw.cancel()
            subprocess.run(["kill", "-CONT", *processes], check=True)
        assert taken < 15
        if frozen == "backend":
            assert lag is None  # another login was answered
        else:
            assert lag is not None
            assert lag.seconds is None
            assert "timeout" in lag.reason
        assert standbys.lag(primary) is None


def test_a_standby_that_is_frozen_gives_no_answer_and_that_is_told(pair: Pair) -> None:
    with connect(pair.standby, read_only=True) as connection:
        process = str(connection.backend_pid)  # a connection that is cut does not know it any more
        subprocess.run(["kill", "-STOP", process], check=True)
        try:
            with (
                pytest.raises(ConnectionLost, match=r"gives no answer within 0\.3 seconds"),
                connection.answering_within(0.3),
                connection.transaction(),
            ):
                connection.row("SELECT 1 AS one")
        finally:
            subprocess.run(["kill", "-CONT", process], check=True)

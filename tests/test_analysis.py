"""What `analyze` finds and how it is shown."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_migration_row, make_token, make_tokens
from tokens.address import Address
from tokens.gitlab.expiration import ExpirationDate
from tokens.inventory.analysis import Analysis, DateCount, analyze
from tokens.targets.instance import Instance
from tokens.views.analysis import as_csv, as_json, screen

DOCUMENTED = """\
======= Personal/Project/Group Access Token Expiration Migration =======
Started at: 2023-06-15 10:20:35 +0000
Finished  : 2023-06-15 10:23:01 +0000
===== Top 10 Personal/Project/Group Access Token Expiration Dates =====
| Expiration Date | Count |
|-----------------|-------|
| 2024-06-15      | 3     |
| (none)          | 2     |
| 2017-12-31      | 1     |
========================================================================"""

EMPTY = """\
======= Personal/Project/Group Access Token Expiration Migration =======
Status: Not run
===== Top 10 Personal/Project/Group Access Token Expiration Dates =====
| Expiration Date | Count |
|-----------------|-------|
========================================================================"""


@pytest.mark.newest_server
def test_the_screen_is_the_documented_one(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection, finished_at="2023-06-15 10:23:01.987654+00")
        make_tokens(connection, 3, expires_at="2024-06-15")
        make_tokens(connection, 2)
        make_token(connection, expires_at="2017-12-31")
    assert screen(analyze(gitlab_database)) == DOCUMENTED


@pytest.mark.newest_server
def test_zero_tokens_leave_an_empty_table(gitlab_database: Address) -> None:
    assert screen(analyze(gitlab_database)) == EMPTY


@pytest.mark.newest_server
def test_an_unfinished_migration_keeps_its_line_and_the_space_at_its_end(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection, finished_at=None)
    assert "\nFinished  : \n" in screen(analyze(gitlab_database))


def test_a_time_that_never_was_is_not_shown(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection, started_at="infinity", finished_at="12345-01-01 00:00+00")
    assert "Started at: \nFinished  : \n" in screen(analyze(gitlab_database))


@pytest.mark.newest_server
def test_every_row_counts_whatever_its_state(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for columns in ({"revoked": True}, {"revoked": None}, {"impersonation": True}, {}):
            make_token(connection, expires_at="2017-12-31", **columns)
    assert analyze(gitlab_database).dates == (DateCount(ExpirationDate.typed("2017-12-31"), 4),)


def test_odd_dates_are_shown_and_sorted_as_the_original_does(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for expires_at in ("0044-03-15 BC", "12345-01-02", "infinity", "-infinity", None, "2024-02-29"):
            make_token(connection, expires_at=expires_at)
    shown = [line.split()[1] for line in screen(analyze(gitlab_database)).splitlines()[5:-1]]
    assert shown == ["(none)", "Infinity", "12345-01-02", "2024-02-29", "-0043-03-15", "-Infinity"]


def test_wide_counts_widen_their_row_and_nothing_is_cut() -> None:
    rows = (DateCount(ExpirationDate.typed("2024-06-15"), 1565353), DateCount(None, 7))
    lines = screen(Analysis(None, rows)).splitlines()
    assert lines[5:7] == ["| 2024-06-15      | 1565353 |", "| (none)          | 7     |"]


def test_the_times_are_utc_and_the_dates_iso_whatever_the_database_prefers(
    gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection)
        make_token(connection, expires_at="2024-06-15")
        name = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'"))
        connection.execute(sa.text(f"ALTER DATABASE {name} SET DateStyle = 'SQL, DMY'"))
        connection.execute(sa.text(f"ALTER DATABASE {name} SET statement_timeout = '5ms'"))
    text = screen(analyze(gitlab_database))
    assert "Started at: 2023-06-15 10:20:35 +0000" in text
    assert "| 2024-06-15      | 1     |" in text


@pytest.mark.newest_server
def test_top_takes_any_number_and_all(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        for day in range(12):
            make_token(connection, expires_at=date(2024, 1, 1) + timedelta(day))
    assert [len(analyze(gitlab_database, top).dates) for top in (3, 10, 100, None)] == [3, 10, 12, 12]


@pytest.mark.newest_server
def test_json_and_csv_say_the_same_to_programs(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection)
        make_tokens(connection, 2)
        make_token(connection, expires_at="2024-06-15")
    found = analyze(gitlab_database)
    document = json.loads(as_json(found, Instance(database="postgresql://git@db/gitlab")))
    assert list(document)[:3] == ["schema", "instance", "made_at"]
    assert document["instance"]["name"] == "database gitlab on db"
    assert {name: document[name] for name in ("migration", "dates")} == {
        "migration": {"started_at": "2023-06-15T10:20:35+00:00", "finished_at": "2023-06-15T10:23:01+00:00"},
        "dates": [{"expires_at": None, "tokens": 2}, {"expires_at": "2024-06-15", "tokens": 1}],
    }
    assert "\n".join([*as_csv(found), ""]) == "expires_at,tokens\n,2\n2024-06-15,1\n"
    document = json.loads(as_json(Analysis(None, ()), Instance()))
    assert (document["migration"], document["dates"]) == (None, [])


@given(st.lists(st.tuples(st.none() | st.integers(-(10**6), 10**7), st.integers(0, 2**63)), max_size=12))
def test_every_row_of_the_table_can_be_read_back(rows: list[tuple[int | None, int]]) -> None:
    counts = tuple(DateCount(None if day is None else ExpirationDate(day), tokens) for day, tokens in rows)
    lines = screen(Analysis(None, counts)).splitlines()[5:-1]
    assert len(lines) == len(rows)
    for line, count in zip(lines, counts, strict=True):
        date, tokens = (cell.strip() for cell in line.strip("|").split(" | "))
        assert date == ("(none)" if count.expires_at is None else str(count.expires_at))
        assert tokens == str(count.tokens)
        assert len(line) >= len("| 2024-06-15      | 15653 |")


@pytest.mark.each_release
def test_every_release_is_understood(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        make_migration_row(connection)
        make_token(connection, expires_at="2024-06-15")
    found = analyze(address)
    assert found.migration is not None
    assert found.dates == (DateCount(ExpirationDate.typed("2024-06-15"), 1),)


@settings(max_examples=20)
@given(expirations=st.lists(st.none() | st.dates(date(2024, 1, 1), date(2024, 1, 20)), max_size=60))
def test_agrees_with_counting_by_hand(gitlab_database: Address, expirations: list[date | None]) -> None:
    with make_engine(gitlab_database).begin() as connection:
        connection.execute(sa.text("TRUNCATE public.personal_access_tokens CASCADE"))
        for expires_at, count in Counter(expirations).items():
            make_tokens(connection, count, expires_at=expires_at)
    never_first = sorted(Counter(expirations).items(), key=lambda row: (row[1], row[0] or date.max), reverse=True)
    expected = [(None if day is None else day.isoformat(), count) for day, count in never_first]
    found = [
        (None if row.expires_at is None else str(row.expires_at), row.tokens) for row in analyze(gitlab_database).dates
    ]
    assert found == expected[:10]

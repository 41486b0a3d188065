"""The chain over the journal's rows: it holds whatever is done, and finds what was changed, removed or added."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from sqlalchemy.exc import ProgrammingError

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_tokens
from tests.testbed.journal import SOMEBODY, execute, make_old_run, make_plan, make_run, values, writing
from tests.testbed.program import GITLAB_TOKENS
from tokens import database
from tokens.address import Address
from tokens.change.chunks import Chunk
from tokens.change.plan import RunKind
from tokens.database import Connection
from tokens.errors import DatabaseError, ExitStatus
from tokens.journal import chain, check_chain, evidence, proof, trust
from tokens.journal.attempts import begin
from tokens.journal.installation import RunState
from tokens.journal.proof import Checked
from tokens.journal.record import ChunkOutcome
from tokens.journal.setup import install
from tokens.journal.storing import store, withdraw
from tokens.targets.instance import Instance
from tokens.upgrade import Branch, upgrade
from tokens.views.evidence import lines

COLUMNS = """
    SELECT c.relname AS table_name, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
    WHERE c.relnamespace = CAST('token_tasks' AS regnamespace) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

RUN = """
    INSERT INTO token_tasks.runs (kind, state, selection, change, notices, planned_by, tool_version, tokens, chain)
    VALUES ('extend', 'done', '{}', '{}', false, '{}', '1', 1, {chain})
"""

ADDED = (
    RUN.replace("{chain}", "NULL"),
    RUN.replace("{chain}", "'x'"),
    RUN.replace("{chain}", "NULL")
    .replace("(kind", "(id, kind")
    .replace("VALUES (", "OVERRIDING SYSTEM VALUE VALUES (-5, "),
    "INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version) "
    "VALUES (1, 2, '{}', '', '')",
    "INSERT INTO token_tasks.chunks (run_id, position, token_ids) VALUES (1, 3, '{5}')",
    "INSERT INTO token_tasks.notices (run_id, position, token_ids) VALUES (1, 3, '{5}')",
    "INSERT INTO token_tasks.memberships (run_id, position, member_ids, old_expires_at) VALUES (1, 3, '{5}', '{}')",
    "INSERT INTO token_tasks.revocations (run_id, position, token_ids, revoked, updated_at, revoked_at) "
    "VALUES (1, 3, '{5}', '{f}', '{}', now())",
    "INSERT INTO token_tasks.names VALUES (1, 3, '{}', '{}', '{}')",
    "INSERT INTO token_tasks.rotations (run_id, token_id) VALUES (1, 3)",
    "INSERT INTO token_tasks.settings (name, value, set_by) VALUES ('other', 'true', '{}')",
    "INSERT INTO token_tasks.entries (run_id, number, written, chain) SELECT run_id, 1000, written, chain "
    "FROM token_tasks.entries WHERE run_id = 1 AND number = 1",
    "INSERT INTO token_tasks.entries (run_id, number, written, chain) VALUES (99, 1, '', '')",
)


@dataclass(frozen=True)
class Cell:
    """One value of one row, which is found by its place on the disk."""

    table: str
    row: str
    column: str
    type: str
    text: str | None


def check(address: Address) -> Checked:
    with database.reading(address) as connection:
        return proof.check(connection)


def faults(address: Address) -> Sequence[str]:
    return [str(fault) for fault in check(address).faults]


def cells(connection: Connection) -> Iterator[Cell]:
    """Each value that the journal keeps, but for what the chain leaves out."""
    for column in connection.rows(COLUMNS):
        if column.table_name == "alembic_version" or column.name in chain.LEFT_OUT.get(column.table_name, ()):
            continue
        text = f"CAST(ctid AS text) AS row, CAST({column.name} AS text) AS text"
        rows = connection.rows(f"SELECT {text} FROM token_tasks.{column.table_name}")
        for row in rows:
            yield Cell(column.table_name, row.row, column.name, column.type, row.text)


OTHER = {"jsonb": '{"a": 1}', "text": "another", "boolean[]": "{t,t,t}", "text[]": "{x}"}


class Undone(Exception):
    pass


@contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """What the block does to the journal is rolled back at its end."""
    try:
        with connection.transaction():
            yield
            raise Undone
    except Undone:
        pass


def test_what_is_hashed_of_a_row_stays_the_same() -> None:
    """A journal would be reported as changed otherwise: another form takes another revision, or a part of its own."""
    forms = "\n".join(f"{name} {part.table} {part.key} {part.hash()}" for name, part in chain.PARTS.items())
    found = hashlib.sha256(forms.encode()).hexdigest()
    assert found == "e6aad818a53771fdb54b8ee14cc1f001cb1eae88a1fcf79761448fb749e24fed"


def test_the_chain_is_over_every_column_of_every_table(installed: Address) -> None:
    covered = {"alembic_version": {"version_num"}, "entries": {"run_id", "number", "written_at", "written", "chain"}}
    for part in chain.PARTS.values():
        of_table = covered.setdefault(part.table, {part.key, *chain.LEFT_OUT.get(part.table, ())})
        of_table.update(part.columns)
        if part.table not in ("runs", "settings"):
            of_table.add("run_id")
    with database.reading(installed) as connection:
        there: dict[str, set[str]] = {}
        for column in connection.rows(COLUMNS):
            there.setdefault(column.table_name, set()).add(column.name)
    assert covered == there
    assert set(covered) == set(trust.TABLES)


def test_the_chain_holds_for_runs_in_every_state(installed: Address) -> None:
    states = [RunState.PLANNED, RunState.STOPPED, RunState.PARTIAL, RunState.DONE, RunState.RUNNING]
    for state in states:
        make_run(installed, make_plan([1, 2], [3]), state)
    found = check(installed)
    assert found.faults == ()
    assert (found.runs, found.uncovered) == (len(states), 0)
    assert values(installed, "SELECT DISTINCT run_id FROM token_tasks.entries ORDER BY 1") == [0, 1, 2, 3, 4, 5]


def test_each_value_that_is_changed_is_found(everything: Address) -> None:
    with writing(everything) as connection:
        for cell in cells(connection):
            number = re.sub(r"\d", lambda found: "1" if found[0] == "2" else "2", cell.text or "", count=1)
            changed = {
                "boolean": "false" if cell.text == "true" else "true",
                "jsonb": '{"a": 1}',
                "text": f"{cell.text}x",
                "boolean[]": "{t,t,t}",
                "text[]": "{x}",
            }.get(cell.type, number if cell.text else None)
            with undone(connection):
                if not change(connection, cell, changed):
                    continue
                assert proof.check(connection).faults, cell


def change(connection: Connection, cell: Cell, text: str | None) -> bool:
    """Give a value another text; False where it cannot have that, or it is the same."""
    try:
        with connection.transaction():
            return bool(
                connection.execute(
                    f"""
                    UPDATE token_tasks.{cell.table}
                    SET {cell.column} = CAST(%(text)s AS {cell.type})
                    WHERE ctid = CAST(%(row)s AS tid)
                      AND {cell.column} IS DISTINCT FROM CAST(%(text)s AS {cell.type})
                    """,
                    text=text,
                    row=cell.row,
                )
            )
    except DatabaseError:
        return False


def test_each_row_that_is_missing_or_added_is_found(everything: Address) -> None:
    with writing(everything) as connection:
        rows = sorted({(cell.table, cell.row) for cell in cells(connection)})
        for table, row in rows:
            with undone(connection):
                connection.execute(f"DELETE FROM token_tasks.{table} WHERE ctid = CAST(%(row)s AS tid)", row=row)
                assert proof.check(connection).faults, (table, row)
        assert {table for table, _ in rows} == set(trust.TABLES) - {"alembic_version"}
        for statement in ADDED:
            with undone(connection):
                connection.execute(statement)
                assert proof.check(connection).faults, statement


@pytest.mark.newest_server
def test_the_program_that_an_auditor_reads_first_finds_each_row_that_is_changed_missing_or_added(
    everything: Address,
) -> None:
    with writing(everything) as connection:
        assert faults_of_file(connection) == []
        found = list(cells(connection))
        for table, row in sorted({(cell.table, cell.row) for cell in found}):
            with undone(connection):
                connection.execute(f"DELETE FROM token_tasks.{table} WHERE ctid = CAST(%(row)s AS tid)", row=row)
                assert faults_of_file(connection), (table, row)
        for statement in ADDED[:-1]:  # an entry of no run gets into no file
            with undone(connection):
                connection.execute(statement)
                assert faults_of_file(connection), statement
        for cell in {(cell.table, cell.column): cell for cell in found if cell.text}.values():
            number = re.sub(r"\d", lambda digit: "1" if digit[0] == "2" else "2", cell.text or "", count=1)
            with undone(connection):
                if change(connection, cell, OTHER.get(cell.type, number)):
                    assert faults_of_file(connection), cell


def faults_of_file(connection: Connection) -> Sequence[str]:
    """What the short program says of evidence that is written now."""
    return list(check_chain.check(*(f"{line}\n" for line in lines(Instance(), None, evidence.read(connection, None)))))


@pytest.mark.slow
@pytest.mark.newest_server  # the test of each value runs on all of them
def test_each_single_byte_that_is_changed_is_found(everything: Address) -> None:
    with writing(everything) as connection:
        found = [cell for cell in cells(connection) if cell.text]

        @settings(max_examples=300)
        @given(st.sampled_from(found), st.data(), st.integers(0, 127))
        def find(cell: Cell, data: st.DataObject, byte: int) -> None:
            assert cell.text is not None
            place = data.draw(st.integers(0, len(cell.text) - 1))
            text = f"{cell.text[:place]}{chr(byte)}{cell.text[place + 1 :]}"
            with undone(connection):
                assume(byte and change(connection, cell, text))
                assert proof.check(connection).faults

        find()


@pytest.mark.newest_server
def test_a_fault_names_the_run_and_its_first_row(everything: Address) -> None:
    execute(everything, "UPDATE token_tasks.chunks SET token_ids = '{1,3}' WHERE run_id = 1 AND position = 0")
    assert faults(everything) == ["Run 1: row 0 of token_tasks.chunks was changed"]
    execute(everything, "DELETE FROM token_tasks.chunks WHERE run_id = 1 AND position = 2")
    more = "Run 1: row 0 of token_tasks.chunks was changed, and 2 more rows of it are not as written"
    assert faults(everything) == [more]
    execute(everything, "DELETE FROM token_tasks.runs WHERE id = 3")
    assert faults(everything) == [more, "Run 3: it is missing"]
    execute(everything, "UPDATE token_tasks.entries SET written = 'x' WHERE run_id = 0 AND number = 2")
    assert faults(everything)[0] == "The journal: entry 2 was changed, or is missing"


@pytest.mark.newest_server
@pytest.mark.parametrize("ends", ["done", "stopped", "withdrawn", "lost", "in a race"])
def test_the_journals_own_chain_has_the_end_of_each_run_so_it_cannot_be_written_back(
    installed: Address, ends: str
) -> None:
    with writing(installed) as connection:
        run = store(connection, make_plan([1, 2]), SOMEBODY, None)
        later = store(connection, make_plan([3]), SOMEBODY, None)  # the end of the first is not in its entry
    kept = {
        table: values(installed, f"SELECT to_jsonb(r) FROM token_tasks.{table} r WHERE r.{key} = {run}")
        for table, key in (("runs", "id"), ("entries", "run_id"), ("chunks", "run_id"))
    }
    with writing(installed) as connection:
        if ends == "withdrawn":
            withdraw(connection, run, SOMEBODY, None)
        elif ends == "lost":
            begin(connection, run, SOMEBODY)
        elif ends == "in a race":
            record = begin(connection, run, SOMEBODY)
        else:
            begin(connection, run, SOMEBODY).finish(connection, RunState(ends))
    if ends == "lost":  # who goes on with another run finds its process dead
        execute(installed, "UPDATE token_tasks.runs SET heartbeat_at = heartbeat_at - interval '1 hour'")
        with writing(installed) as connection:
            begin(connection, later, SOMEBODY).finish(connection, RunState.DONE)
    elif ends == "in a race":  # somebody is storing another run just then
        with writing(installed) as ending, writing(installed) as storing:
            storing.execute(chain.SERIALIZE)
            record.finish(ending, RunState.DONE)
        with writing(installed) as connection:
            begin(connection, later, SOMEBODY).finish(connection, RunState.DONE)
            store(connection, make_plan([4]), SOMEBODY, None)
    assert faults(installed) == []
    for table, key in (("attempts", "run_id"), ("entries", "run_id"), ("chunks", "run_id"), ("runs", "id")):
        execute(installed, f"DELETE FROM token_tasks.{table} WHERE {key} = {run}")
    for table in ("runs", "chunks", "entries"):
        for row in kept[table]:
            written = json.dumps(row).replace("'", "''")
            into = f"SELECT * FROM jsonb_populate_record(CAST(NULL AS token_tasks.{table}), '{written}')"
            execute(installed, f"INSERT INTO token_tasks.{table} OVERRIDING SYSTEM VALUE {into}")
    (fault,) = faults(installed)
    assert fault == f"Run {run}: the journal does not know that it was stored, or with other entries"


# What a role that may write runs can add: an entry that is right by itself, about a row that says something else.
FORGED = {
    "who planned it": ("UPDATE token_tasks.runs SET planned_by = '{}' WHERE id = 1", {"runs": [1]}),
    "who carried it out": ("UPDATE token_tasks.attempts SET carried_out_by = '{}' WHERE run_id = 1", {"attempts": [1]}),
    "names": ("UPDATE token_tasks.names SET tokens = '{x}' WHERE run_id = 2", {"names": [0]}),
    "its state": ("UPDATE token_tasks.runs SET changed = 9 WHERE id = 1", {}),
    "its results": (
        "UPDATE token_tasks.chunks SET left_alone = '{2}' WHERE run_id = 1 AND position = 0",
        {"results": [0]},
    ),
    "another attempt at what is done": (
        "INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version) "
        "VALUES (1, 2, '{}', '', '')",
        {"attempts": [2]},
    ),
    "a plan that waits": ("UPDATE token_tasks.chunks SET token_ids = '{2}' WHERE run_id = 3", {"chunks": [0]}),
    "a rotation": ("UPDATE token_tasks.rotations SET state = 'done' WHERE run_id = 2", {"rotations": [9]}),
}


@pytest.mark.newest_server
@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("is_entered", [False, True])
def test_an_entry_that_is_added_to_a_run_does_not_make_another_run_of_it(
    everything: Address, tmp_path: Path, what: str, is_entered: bool
) -> None:
    statement, keys = FORGED[what]
    run = int(re.findall(r"(?:\bid|run_id) = (\d)|VALUES \((\d)", statement)[0][0] or 1)
    with writing(everything) as connection:
        connection.execute(statement.replace("%", "%%"))
        chain.enter(connection, run, **keys)
    if is_entered:  # what is stored next takes the chains of others into the journal's own
        make_run(everything, make_plan([8]), RunState.PLANNED)
    assert [fault.run for fault in check(everything).faults] == [run]
    file = tmp_path / "evidence.ndjson"
    words = ["evidence", "--file", str(file), "--target", url(everything)]
    assert call_here(GITLAB_TOKENS, *words).returncode == 0
    program = [sys.executable, "-I", "-S", f"{file}.check.py", str(file)]
    checked = subprocess.run(program, capture_output=True, text=True)
    assert (checked.returncode, f"Run {run}: " in checked.stdout, checked.stderr) == (1, True, "")


@pytest.mark.newest_server
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("revision", ["3", "99", None])
def test_a_journal_that_cannot_be_checked_is_not_taken_for_one_that_is_intact(
    gitlab_database: Address, revision: str | None, form: str
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    execute(gitlab_database, "DELETE FROM token_tasks.alembic_version")
    if revision:
        execute(gitlab_database, f"INSERT INTO token_tasks.alembic_version VALUES ('{revision}')")
    done = call_here(GITLAB_TOKENS, "journal.status", "--output", form, "--target", url(gitlab_database))
    assert done.returncode == 3
    assert (
        done.stderr == "Nothing was checked: the journal is not of the revision that this version of the tool needs.\n"
    )
    assert ("revision" in done.stdout, "holds" in done.stdout) == (True, False)


def add(connection: Connection, run: int, written: str) -> None:
    """An entry as whoever may write a run can make it: right by itself, whatever it says."""
    connection.execute(
        f"""
        WITH made AS (
          SELECT {run} AS run_id, COALESCE(max(e.number), 0) + 1 AS number, now() AS written_at,
            COALESCE((array_agg(e.chain ORDER BY e.number DESC))[1], '') AS before
          FROM token_tasks.entries e
          WHERE e.run_id = {run}
        ), entered AS (
          INSERT INTO token_tasks.entries (run_id, number, written_at, written, chain)
          SELECT run_id, number, written_at, %(written)s, sha256(before || convert_to(concat(run_id, ' ', number, ' ',
            to_char(written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), chr(10),
            CAST(%(written)s AS text)), 'UTF8'))
          FROM made
          RETURNING number, chain
        )
        UPDATE token_tasks.runs r SET entries = e.number, chain = e.chain FROM entered e WHERE r.id = {run}
        """,
        written=written,
    )


def state_of(connection: Connection, run: int) -> str:
    """The line of its state as it is now."""
    return str(
        connection.row(
            f"SELECT concat('state ', r.id, ' ', {chain.STATE.hash()}) AS line FROM token_tasks.runs r "
            f"WHERE r.id = {run}"
        ).line
    )


def hash_of(connection: Connection, part: str, key: int, run: int) -> str:
    about = chain.PARTS[part]
    condition = about.of_run(f"r.{about.key} = {key}").replace("%(run)s", str(run))
    statement = f"SELECT {about.hash()} AS hash FROM token_tasks.{about.table} r WHERE {condition}"
    return str(connection.row(statement).hash)


def rewrite(connection: Connection) -> None:
    connection.execute("UPDATE token_tasks.runs SET reason = 'another' WHERE id = 1")
    connection.execute("DELETE FROM token_tasks.entries WHERE run_id = 1")
    chain.seal(connection, 1)


def forget_and_store_again(connection: Connection) -> None:
    chain.forget(connection, {1: connection.row("SELECT chain FROM token_tasks.runs WHERE id = 1").chain})
    rewrite(connection)


def begin_by_an_attempt_that_is_gone(connection: Connection) -> None:
    connection.execute("UPDATE token_tasks.chunks SET token_ids = '{2}' WHERE run_id = 3")
    add(connection, 3, f"{state_of(connection, 3)}\nattempts 9 -\nchunks 0 {hash_of(connection, 'chunks', 0, 3)}")


def take_an_attempt_away(connection: Connection) -> None:
    connection.execute("DELETE FROM token_tasks.attempts WHERE run_id = 2")
    add(connection, 2, f"{state_of(connection, 2)}\nattempts 1 -\nends 1 -")


def take_a_setting_away(connection: Connection) -> None:
    connection.execute("DELETE FROM token_tasks.settings")
    add(connection, 0, "settings 1 -")


ANOTHER_ATTEMPT = """
    INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version)
    VALUES (2, 2, '{}', '', '')
"""


def attempt_what_is_done(connection: Connection) -> None:
    connection.execute(ANOTHER_ATTEMPT)
    connection.execute("UPDATE token_tasks.chunks SET left_alone = '{7}' WHERE run_id = 2 AND position = 3")
    chain.enter(connection, 2, attempts=[2], results=[3])


def attempt_with_other_tokens(connection: Connection) -> None:
    connection.execute(ANOTHER_ATTEMPT)
    connection.execute("UPDATE token_tasks.chunks SET token_ids = '{4,5,8}' WHERE run_id = 2 AND position = 0")
    chain.enter(connection, 2, attempts=[2], chunks=[0])


def say_that_it_runs(connection: Connection) -> None:
    add(connection, 0, f"run 1 {connection.row('SELECT chain FROM token_tasks.runs WHERE id = 1').chain.hex()} running")
    connection.execute("UPDATE token_tasks.runs SET changed = 9 WHERE id = 1")
    chain.enter(connection, 1)


def write_a_setting_with_two_keys(connection: Connection) -> None:
    connection.execute("UPDATE token_tasks.settings SET value = 'false'")
    add(connection, 0, f"settings 1,1 {hash_of(connection, 'settings', 1, 0)}")


def say_two_states(connection: Connection) -> None:
    before = state_of(connection, 1)
    connection.execute("UPDATE token_tasks.runs SET changed = 9 WHERE id = 1")
    add(connection, 1, f"{before}\n{state_of(connection, 1)}")


def say_that_a_plan_is_done(connection: Connection) -> None:
    connection.execute("UPDATE token_tasks.runs SET state = 'done', changed = 1, attempt = 1 WHERE id = 3")
    chain.enter(connection, 3)
    chain.close(connection, 3)


def repeat_an_attempt(connection: Connection) -> None:
    connection.execute("UPDATE token_tasks.chunks SET locked = NULL WHERE run_id = 2 AND position = 0")
    known, results = hash_of(connection, "attempts", 1, 2), hash_of(connection, "results", 0, 2)
    add(connection, 2, f"{state_of(connection, 2)}\nattempts 1 {known}\nresults 0 {results}")


def begin_a_plan_that_waits(connection: Connection) -> None:
    connection.execute(ANOTHER_ATTEMPT.replace("(2, 2,", "(3, 9,"))
    connection.execute("UPDATE token_tasks.chunks SET token_ids = '{2}' WHERE run_id = 3")
    chain.enter(connection, 3, attempts=[9], chunks=[0])


def forget_what_is_there(connection: Connection) -> None:
    chain.forget(connection, {1: connection.row("SELECT chain FROM token_tasks.runs WHERE id = 1").chain})


def forget_and_make_old(connection: Connection) -> None:
    forget_what_is_there(connection)
    connection.execute("DELETE FROM token_tasks.entries WHERE run_id = 1")
    connection.execute("UPDATE token_tasks.runs SET chain = NULL, entries = 0, reason = 'another' WHERE id = 1")


def make_room_for_old_runs(connection: Connection) -> None:
    add(connection, 0, "before 1000 -")
    connection.execute(RUN.replace("{chain}", "NULL"))


@pytest.mark.newest_server
@pytest.mark.parametrize("is_entered", [False, True])
@pytest.mark.parametrize(
    "attack",
    [
        rewrite,
        forget_and_store_again,
        begin_by_an_attempt_that_is_gone,
        take_an_attempt_away,
        take_a_setting_away,
        attempt_what_is_done,
        attempt_with_other_tokens,
        say_that_it_runs,
        write_a_setting_with_two_keys,
        say_two_states,
        say_that_a_plan_is_done,
        repeat_an_attempt,
        begin_a_plan_that_waits,
        forget_what_is_there,
        forget_and_make_old,
        make_room_for_old_runs,
    ],
)
def test_what_the_last_entry_covered_cannot_be_told_otherwise_by_entries(
    everything: Address, tmp_path: Path, attack: Callable[[Connection], None], is_entered: bool
) -> None:
    with writing(everything) as connection:
        attack(connection)
    if is_entered:
        make_run(everything, make_plan([8]), RunState.PLANNED)
    assert check(everything).faults
    file = tmp_path / "evidence.ndjson"
    words = ["evidence", "--file", str(file), "--target", url(everything)]
    assert call_here(GITLAB_TOKENS, *words).returncode == 0
    program = [sys.executable, "-I", "-S", f"{file}.check.py", str(file)]
    checked = subprocess.run(program, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "cannot be checked" not in checked.stdout


@pytest.mark.newest_server
@pytest.mark.parametrize("line", ["chunks 02 " + "0" * 64, "state 1 -", "state 1 " + "0" * 64 + " done", "junk"])
def test_a_line_that_is_never_written_is_a_fault_by_itself(everything: Address, line: str) -> None:
    with writing(everything) as connection:
        add(connection, 1, f"{state_of(connection, 1)}\n{line}")
    assert [fault.run for fault in check(everything).faults] == [1]


@pytest.mark.newest_server
def test_a_run_that_an_older_journal_had_is_none_of_before_again_once_it_is_in_the_chain(
    gitlab_database: Address, tmp_path: Path
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    run = make_old_run(gitlab_database, make_plan([1, 2]), RunState.STOPPED)
    install(gitlab_database)
    with writing(gitlab_database) as connection:
        begin(connection, run, SOMEBODY).finish(connection, RunState.DONE)
    assert faults(gitlab_database) == []
    execute(
        gitlab_database,
        f"DELETE FROM token_tasks.entries WHERE run_id = {run}",
        f"UPDATE token_tasks.runs SET chain = NULL, entries = 0, planned_by = '{{}}' WHERE id = {run}",
    )
    assert [fault.run for fault in check(gitlab_database).faults] == [run]
    file = tmp_path / "evidence.ndjson"
    words = ["evidence", "--file", str(file), "--target", url(gitlab_database)]
    assert call_here(GITLAB_TOKENS, *words).returncode == 0
    program = [sys.executable, "-I", "-S", f"{file}.check.py", str(file)]
    assert subprocess.run(program, capture_output=True).returncode == 1


@pytest.mark.newest_server
def test_what_was_tampered_with_is_not_to_be_entered(installed: Address) -> None:
    for _ in range(3):
        make_run(installed, make_plan([1]))
    execute(installed, "DELETE FROM token_tasks.entries WHERE run_id = 0 AND number = 3")
    found = check(installed)
    assert {1, 2, 3} <= {fault.run for fault in found.faults}
    assert found.not_entered == ()
    shown = call_here(GITLAB_TOKENS, "journal.status", "--target", url(installed)).stdout
    assert "does not hold" in shown
    assert "journal.install" not in shown, "it would enter nothing"


@pytest.mark.newest_server
def test_the_number_of_a_run_that_was_forgotten_is_not_given_out_again(installed: Address) -> None:
    make_run(installed, make_plan([1]), created_at="2025-01-01")
    words = ["journal.prune", "--before", "2025-06-01", "--yes", "--target", url(installed)]
    assert call_here(GITLAB_TOKENS, *words).returncode == 0
    execute(installed, "ALTER SEQUENCE token_tasks.runs_id_seq RESTART")  # as logical replication leaves it
    assert install(installed).caught_up
    assert make_run(installed, make_plan([1])) == 2
    assert faults(installed) == []


@pytest.mark.newest_server
def test_it_is_said_which_ends_the_last_entry_does_not_cover_yet(installed: Address) -> None:
    with writing(installed) as connection:
        run = store(connection, make_plan([1, 2]), SOMEBODY, None)
        record = begin(connection, run, SOMEBODY)
    with writing(installed) as ending, writing(installed) as storing:
        storing.execute(chain.SERIALIZE)  # somebody is storing another run just then
        record.finish(ending, RunState.DONE)
    shown = call_here(GITLAB_TOKENS, "journal.status", "--target", url(installed)).stdout
    assert f"\n            it does not cover run {run} as it is now → to enter that: " in shown
    for more in (" The chain covers 1 more run now.", ""):
        done = call_here(GITLAB_TOKENS, "journal.install", "--target", url(installed))
        assert (done.returncode, done.stdout) == (0, f"The journal was installed already, revision 4.{more}\n")
    assert check(installed).not_entered == ()
    assert "does not cover" not in call_here(GITLAB_TOKENS, "journal.status", "--target", url(installed)).stdout


@pytest.mark.newest_server
def test_an_undo_holds_when_the_old_run_that_it_undid_is_forgotten(gitlab_database: Address) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    old = make_old_run(gitlab_database, make_plan([1]))
    execute(gitlab_database, "UPDATE token_tasks.runs SET created_at = '2025-01-01'")
    install(gitlab_database)
    make_run(gitlab_database, make_plan([1], undoes=old))
    words = ["journal.prune", "--before", "2025-06-01", "--yes", "--target", url(gitlab_database)]
    assert call_here(GITLAB_TOKENS, *words).returncode == 0
    assert faults(gitlab_database) == []


@pytest.mark.newest_server
def test_no_setting_gets_another_value_by_an_entry(everything: Address) -> None:
    with writing(everything) as connection:
        connection.execute("UPDATE token_tasks.settings SET value = 'false'")
        chain.enter_journal(connection, settings=[1])
    fault = "row 1 of settings was written again, and is written once"
    assert faults(everything) == [f"The journal: {fault}"]


@pytest.mark.newest_server
def test_what_was_added_after_the_installation_does_not_pass_for_one_from_before_revision_4(
    gitlab_database: Address,
) -> None:
    install(gitlab_database)
    execute(gitlab_database, RUN.replace("{chain}", "NULL"))
    assert faults(gitlab_database) == ["Run 1: it has no entries, though it is not from before revision 4"]


@pytest.mark.newest_server
def test_an_undo_is_as_it_was_written_when_the_run_that_it_undid_is_forgotten(
    installed: Address, tmp_path: Path
) -> None:
    plan = make_plan([1])
    done = make_run(installed, plan, created_at="2025-01-01")
    undo = make_run(installed, make_plan([1], undoes=done))
    assert (
        call_here(
            GITLAB_TOKENS, "journal.prune", "--before", "2025-06-01", "--yes", "--target", url(installed)
        ).returncode
        == 0
    )
    assert faults(installed) == []
    assert check(installed).not_entered == (), "the last entry covers the undo as it is now"
    file = tmp_path / "evidence.ndjson"
    assert call_here(GITLAB_TOKENS, "evidence", "--file", str(file), "--target", url(installed)).returncode == 0
    program = [sys.executable, "-I", "-S", f"{file}.check.py", str(file)]
    assert subprocess.run(program, capture_output=True).returncode == 0
    with writing(installed) as connection:
        assert faults_of_file(connection) == []
        connection.execute("UPDATE token_tasks.runs SET reason = 'another' WHERE id = %(run)s", run=undo)
        chain.enter(connection, undo, runs=[undo])
    assert [fault.run for fault in check(installed).faults] == [undo]
    again = ["evidence", "--file", str(file), "--force", "--target", url(installed)]
    assert call_here(GITLAB_TOKENS, *again).returncode == 0
    assert subprocess.run(program, capture_output=True).returncode == 1


@pytest.mark.newest_server
def test_the_status_says_whether_the_chain_holds(everything: Address) -> None:
    shown = call_here(GITLAB_TOKENS, "journal.status", "--target", url(everything))
    assert (shown.returncode, shown.stderr) == (0, "")
    (entries,) = values(everything, "SELECT count(*) FROM token_tasks.entries")
    last = "SELECT encode(chain, 'hex') FROM token_tasks.entries WHERE run_id = 0 ORDER BY number DESC LIMIT 1"
    (head,) = values(everything, last)
    assert (
        f"\nChain       holds, {entries} entries of 3 runs\n            the journal's last entry is {head}\n"
        in shown.stdout
    )
    execute(everything, "UPDATE token_tasks.runs SET reason = 'another' WHERE id = 1")
    execute(everything, "UPDATE token_tasks.chunks SET token_ids = '{9}' WHERE run_id = 2 AND position = 3")
    shown = call_here(GITLAB_TOKENS, "journal.status", "--target", url(everything))
    assert shown.returncode == ExitStatus.FAILED
    assert shown.stderr.startswith("The journal's chain does not hold: 2 faults.")
    assert (
        "Chain       does not hold:\n"
        "            Run 1: row 1 of token_tasks.runs was changed\n"
        "            Run 2: row 3 of token_tasks.chunks was changed\n"
    ) in shown.stdout
    found = json.loads(call_here(GITLAB_TOKENS, "journal.status", "-o", "json", "--target", url(everything)).stdout)
    assert [fault["run"] for fault in found["chain"]["faults"]] == [1, 2]


@pytest.mark.slow
def test_a_journal_of_the_release_before_is_migrated_with_runs_in_every_state_read_and_continued(
    gitlab_database: Address,
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    with make_engine(gitlab_database).begin() as connection:
        tokens = list(make_tokens(connection, 6, expires_at="2024-06-15"))
    states = [RunState.DONE, RunState.PARTIAL, RunState.STOPPED, RunState.PLANNED, RunState.RUNNING]
    runs = {state: make_old_run(gitlab_database, make_plan(tokens[:3], tokens[3:]), state) for state in states}
    undo = make_old_run(gitlab_database, make_plan(tokens, undoes=runs[RunState.DONE]))
    rotate = make_old_run(gitlab_database, replace(make_plan(), kind=RunKind.ROTATE), RunState.STOPPED)
    execute(gitlab_database, f"INSERT INTO token_tasks.rotations (run_id, token_id) VALUES ({rotate}, {tokens[0]})")

    def task(*words: object, status: int = 0) -> str:
        done = call_here(GITLAB_TOKENS, *map(str, words), "--target", url(gitlab_database))
        assert done.returncode == status, done
        return done.stdout

    task("journal.install")
    assert (check(gitlab_database).faults, check(gitlab_database).uncovered) == ((), 7)
    assert "7 runs from before revision 4: nothing is proven" in task("journal.status")
    listed = json.loads(task("history", "--output", "json"))["runs"]
    assert [(run["run"], run["state"]) for run in listed] == [
        (rotate, "stopped"),
        (undo, "done"),
        *((run, state.value) for state, run in reversed(runs.items())),
    ]
    for run in (*runs.values(), undo, rotate):
        assert json.loads(task("history", "--run", run, "--output", "json"))["run"] == run

    # The process of the older version writes on, and nothing is wrong with that.
    execute(
        gitlab_database,
        f"UPDATE token_tasks.runs SET changed = 3, heartbeat_at = now() WHERE id = {runs[RunState.RUNNING]}",
        f"UPDATE token_tasks.chunks SET done_at = now() WHERE run_id = {runs[RunState.RUNNING]} AND position = 0",
    )
    assert check(gitlab_database).faults == ()
    task("apply", "--run", runs[RunState.PLANNED], "--yes", status=ExitStatus.REFUSED)
    execute(gitlab_database, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '1 hour'")
    # What is continued is sealed as it is found; what has only died stays as it is.
    for run in (runs[RunState.PLANNED], runs[RunState.STOPPED]):
        task("apply", "--run", run, "--yes", status=0 if run == runs[RunState.PLANNED] else ExitStatus.PARTIAL)
    found = check(gitlab_database)
    assert (found.faults, found.runs, found.uncovered) == ((), 2, 5)
    with database.reading(gitlab_database) as reading:
        assert faults_of_file(reading) == []
    execute(
        gitlab_database, f"UPDATE token_tasks.chunks SET token_ids = '{{1}}' WHERE run_id = {runs[RunState.PLANNED]}"
    )
    assert [fault.run for fault in check(gitlab_database).faults] == [runs[RunState.PLANNED]]


def test_those_who_share_a_run_wait_for_each_other_and_enter_one_after_the_other(installed: Address) -> None:
    plan = make_plan([1, 2], [3, 4])
    with writing(installed) as connection:
        record = begin(connection, store(connection, plan, SOMEBODY, None), SOMEBODY)

    def mark(chunk: Chunk) -> None:
        with writing(installed) as connection:
            record.mark(connection, [ChunkOutcome(chunk, len(chunk.ids))])

    with ThreadPoolExecutor() as pool:
        with writing(installed) as connection:
            record.mark(connection, [ChunkOutcome(plan.chunks[0], 1, [2])])
            other = pool.submit(mark, plan.chunks[1])
            while not values(installed, WAITING)[0]:
                pass
        other.result()
    assert faults(installed) == []
    assert values(installed, "SELECT changed FROM token_tasks.runs") == [3]


def test_two_people_and_an_auditor_with_nothing_but_the_printed_grants(
    gitlab_database: Address, superuser: Callable[[Address], Address], tmp_path: Path
) -> None:
    def task(*words: object, who: Address = gitlab_database, user: str = "ada") -> str:
        env = {"SUDO_USER": user, "INVOKE_TOKENS_TARGET": url(who)}
        done = call_here(GITLAB_TOKENS, *map(str, words), env=env)
        assert done.returncode == 0, done
        return done.stdout

    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 3, expires_at="2030-06-15")
    task("journal.install")
    task("extend", "--expires", "2030-06-15", "--to", "2030-12-15", "--plan", "--reason", "OPS-7")
    task("apply", "--run", 1, "--yes", user="grace")
    role = "auditor_of_evidence"
    execute(
        superuser(gitlab_database),
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    grants = json.loads(task("doctor", "--grants", role, "--output", "json"))["grants"]["history"]
    execute(gitlab_database, *grants)
    auditor = Address(make_conninfo(gitlab_database.conninfo, user=role), gitlab_database.shown)

    assert "Chain       holds, " in task("journal.status", who=auditor)
    file = tmp_path / "evidence.ndjson"
    task("evidence", "--file", file, who=auditor)
    (run,) = [json.loads(line)["run"] for line in file.read_text().splitlines() if line.startswith('{"run"')]
    assert run["planned_by"]["sudo_user"] == "ada"
    assert [one["by"]["sudo_user"] for one in run["carried_out_by"]] == ["grace"]
    assert (run["reason"], run["state"], run["changed"], run["recounted"]) == ("OPS-7", "done", 3, 3)
    with pytest.raises(ProgrammingError, match="permission denied"):
        execute(auditor, "UPDATE token_tasks.runs SET reason = 'OPS-8'")
    for name in ("chain", "check"):
        program = [sys.executable, "-I", "-S", f"{file}.{name}.py", str(file)]
        checked = subprocess.run(program, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")

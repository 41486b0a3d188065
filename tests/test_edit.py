"""`edit`, driven in a real terminal on a real database, screen by screen."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_migration_row,
    make_settings,
    make_token,
    make_tokens,
    make_updates_slow,
    make_user,
)
from tests.testbed.marks import slow_ones
from tests.testbed.screen import Program
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.upgrade import BASE, Branch, downgrade

INV = str(Path(sys.executable).with_name("inv"))
GITLAB_TOKENS = str(Path(sys.executable).with_name("gitlab-tokens"))

SOON = datetime.now(UTC).date() + timedelta(30)
EARLY = SOON - timedelta(5)
LATER = SOON + timedelta(365)

ANALYSIS = """\
======= Personal/Project/Group Access Token Expiration Migration =======
Started at: 2023-06-15 10:20:35 +0000
Finished  : 2023-06-15 10:23:01 +0000
===== Top 10 Personal/Project/Group Access Token Expiration Dates =====
| Expiration Date | Count |
|-----------------|-------|
{rows}
========================================================================
"""

MENU = """\

What do you want to do? (Press ↑/↓ arrow or 1-3 number to move and Enter to sele
ct)
‣ 1. Extend expiration date
  2. Remove expiration date
  3. Quit
"""


def analysis(*rows: tuple[object, int]) -> str:
    return ANALYSIS.format(rows="\n".join(f"| {day!s:<15} | {count:<5} |" for day, count in rows))


def said(program: Program) -> str:
    """The screen without any blanks, because a narrow terminal breaks lines in words and at blanks alike."""
    return re.sub(r"\s", "", program.text)


def counts(engine: sa.Engine) -> dict[str | None, int]:
    statement = sa.text("SELECT CAST(expires_at AS text), count(*) FROM personal_access_tokens GROUP BY 1")
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}


@pytest.fixture
def gitlab_database(alone: Alone) -> Iterator[Address]:
    """On the newest server alone, as the screens are the same on all of them; the journal is installed."""
    with alone.database(journal=True) as address:
        yield address


@pytest.fixture
def engine(gitlab_database: Address) -> sa.Engine:
    """Two dates: 60 tokens soon, 20 revoked ones on 2017-12-31, and 5 that never expire."""
    engine = make_engine(gitlab_database)
    with engine.begin() as connection:
        make_migration_row(connection)
        make_settings(connection, require_personal_access_token_expiry=False)
        make_tokens(connection, 60, expires_at=SOON)
        make_tokens(connection, 20, expires_at="2017-12-31", revoked=True)
        make_tokens(connection, 5)
    return engine


@pytest.fixture
def start(gitlab_database: Address, engine: sa.Engine) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(*words: str, size: tuple[int, int] = (50, 80), **env: str) -> Program:
        path = f"{Path(INV).parent}{os.pathsep}{os.environ['PATH']}"
        found = {"INVOKE_TOKENS_TARGET": url(gitlab_database), "PATH": path}
        programs.append(Program(list(words) or [INV, "tokens.edit"], size=size, env={**found, **env}))
        return programs[-1]

    yield start
    for program in programs:
        program.__exit__()


@pytest.fixture
def slow_updates(engine: sa.Engine) -> None:
    """1200 tokens whose update takes seconds, the first 500 of them one, so that there is time to interrupt it."""
    with engine.begin() as connection:
        make_tokens(connection, 1200, expires_at="2018-06-30")
        make_updates_slow(connection, seconds=0.002)


BEFORE = analysis((SOON, 60), ("2017-12-31", 20), ("(none)", 5))


def test_extending_looks_like_the_original_and_changes_the_date(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    with engine.connect() as connection:
        statement = sa.text("SELECT min(id), max(id) FROM personal_access_tokens WHERE expires_at = :day")
        first, last = connection.execute(statement, {"day": SOON}).one()

    program = start()
    program.wait_for_screen(BEFORE + MENU)
    program.press("enter")
    program.wait_for_screen(
        BEFORE
        + f"""
What do you want to do? Extend expiration date
Select an expiration date (Press ↑/↓ arrow to move and Enter to select)
‣ {SOON}
  2017-12-31
  --> Abort"""
    )
    program.press("enter")
    program.wait_for_screen(
        BEFORE
        + f"""
What do you want to do? Extend expiration date
Select an expiration date {SOON}
What would you like the new expiration date to be? ({LATER})"""
    )
    program.press("enter")
    asked = (
        BEFORE
        + f"""
What do you want to do? Extend expiration date
Select an expiration date {SOON}
What would you like the new expiration date to be? {LATER}

Old expiration date: {SOON}
New expiration date: {LATER}
WARNING: This will now update 60 token(s). Are you sure? """
    )
    program.wait_for_screen(asked + "(y/N)")
    program.press("y", "enter")
    after = analysis((LATER, 60), ("2017-12-31", 20), ("(none)", 5))
    program.wait_for_screen(
        asked
        + f"""yes
Updating tokens...
Updating personal access tokens from ID {first} to {last}...
Updated 60 tokens!
"""
        + after
        + MENU
    )
    program.press("3", "enter")
    assert program.wait() == 0
    assert program.lines[-1:] == [
        "→ to take it back: inv tokens.undo --run 1",
    ]
    assert program.lines[-3:-1] == ["What do you want to do? Quit", "Recorded as run 1."]
    assert counts(engine) == {str(LATER): 60, "2017-12-31": 20, None: 5}


def test_removing_looks_like_the_original_and_takes_the_date_away(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.wait_for("3. Quit")
    program.press("2", "enter", "down", "enter")
    program.wait_for(
        """Select an expiration date 2017-12-31

WARNING: This will remove the expiration for tokens that expire on 2017-12-31.
This will affect 20 tokens. Are you sure? (y/N)"""
    )
    program.press("YES", "enter")
    program.wait_for("Updated 20 tokens!")
    assert "Updating tokens..." not in program.text
    program.wait_for("| (none)          | 25    |")
    program.wait_for("3. Quit")
    program.press("3", "enter")
    assert program.wait() == 0
    assert counts(engine) == {str(SOON): 60, None: 25}


@pytest.mark.parametrize("answer", ["n", "", "  ", "NO"])
def test_any_answer_but_yes_changes_nothing_and_starts_over(
    start: Callable[..., Program], engine: sa.Engine, answer: str
) -> None:
    program = start()
    program.press("enter", "enter", "enter", answer, "enter")
    program.wait_for("Are you sure? No\nAborting!\n=====")
    assert counts(engine) == {str(SOON): 60, "2017-12-31": 20, None: 5}


def test_abort_goes_silently_back_to_the_analysis(start: Callable[..., Program]) -> None:
    program = start()
    program.press("enter", "down", "down", "enter")
    program.wait_for(f"Select an expiration date --> Abort\n{BEFORE}")


@pytest.mark.parametrize("typed", ["June", "2025-02-30", "365 days", "x" * 200, "infinity"])
def test_what_is_no_date_is_refused_and_starts_over(
    start: Callable[..., Program], engine: sa.Engine, typed: str
) -> None:
    program = start()
    program.press("enter", "enter", typed, "enter")
    program.wait_for(f"Invalid date, aborting...\n{BEFORE}")
    assert counts(engine)[str(SOON)] == 60


def test_ctrl_d_on_an_empty_line_goes_back_to_the_analysis(start: Callable[..., Program]) -> None:
    program = start()
    program.press("enter", "enter")
    program.wait_for("What would you like")
    program.press("ctrl-d")
    program.wait_for(lambda: program.text.count("Top 10") == 2 and "3. Quit" in program.lines[-1])


@pytest.mark.parametrize(
    ("moves", "typed", "count", "notes"),
    [
        ([], str(LATER), 0, []),
        (["down"], "2018-12-31", 1, ["NOTE: 2018-12-31 (Mon, ", "days ago) is not in the future in UTC"]),
        ([], str(SOON), 1, [f"NOTE: {SOON:%Y-%m-%d (%a}, in ", "days) is the date that these tokens have already."]),
        ([], "2020-01-01", 2, ["NOTE: 2020-01-01 (Wed, ", f"days ago) is before {SOON:%Y-%m-%d (%a}, in "]),
        ([], "9999-12-31", 1, ["is beyond the instance's maximum lifetime of 1000 days"]),
    ],
)
def test_a_doubtful_date_is_noted_before_the_question(
    start: Callable[..., Program], engine: sa.Engine, moves: list[str], typed: str, count: int, notes: list[str]
) -> None:
    with engine.begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=1000)
    program = start(size=(50, 160))
    program.press("enter", *moves, "enter")
    program.wait_for("What would you like")
    program.press(typed, "enter")
    program.wait_for("(y/N)")
    below = program.text.split("New expiration date: ")[1]
    assert below.count("NOTE: ") == count
    for note in notes:
        assert note in below
    assert below.index("WARNING") > below.rfind("NOTE")


def test_the_instances_maximum_lifetime_gives_the_default(start: Callable[..., Program], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=30)
    program = start()
    program.press("enter", "enter")
    program.wait_for(f"be? ({SOON + timedelta(30)})")


def test_rows_that_change_while_the_question_waits_are_left_alone_and_told(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.press("enter", "enter", "enter")
    program.wait_for("60 token(s). Are you sure? (y/N)")
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                UPDATE personal_access_tokens SET expires_at = NULL
                WHERE id = (SELECT min(id) FROM personal_access_tokens WHERE expires_at = :day)
            """),
            {"day": SOON},
        )
        make_tokens(connection, 7, expires_at=SOON)
    program.press("y", "enter")
    program.wait_for("Updated 59 tokens!")
    program.wait_for("NOTE: 1 of 60 tokens no longer had the expiration date")
    program.wait_for("3. Quit")
    assert counts(engine) == {str(LATER): 59, str(SOON): 7, "2017-12-31": 20, None: 6}
    program.press("down", "down", "enter")
    assert program.wait() == 4
    assert "NOTE: 1 of 60" in program.text


@pytest.mark.slow
def test_locked_rows_make_the_status_4_unless_their_date_is_chosen_again(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    programs = []
    with engine.connect() as other:
        other.execute(sa.text("SELECT FROM personal_access_tokens WHERE expires_at = '2017-12-31' LIMIT 1 FOR UPDATE"))
        for _ in range(2):
            programs.append(start(size=(50, 160)))
            programs[-1].press("enter", "down", "enter", "enter", "y", "enter")
            number = len(programs)
            programs[-1].wait_for(
                "NOTE: 1 of 20 tokens was locked by another session and left alone.\n"
                f"→ to go on: inv tokens.apply --run {number}\n"
            )
            programs[-1].wait_for("3. Quit")
            with engine.begin() as connection:
                connection.execute(
                    sa.text(
                        "UPDATE personal_access_tokens SET expires_at = '2017-12-31' WHERE expires_at = '2018-12-31'"
                    )
                )
        other.rollback()
    left, again = programs
    left.press("down", "down", "enter")
    assert left.wait() == 4
    again.press("enter", "down", "enter", "enter", "y", "enter")
    again.wait_for("Updated 20 tokens!")
    again.wait_for("3. Quit")
    again.press("down", "down", "enter")
    assert again.wait() == 0


def test_tokens_that_do_not_keep_their_new_date_are_named(start: Callable[..., Program], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        first = connection.execute(sa.text("SELECT min(id) FROM personal_access_tokens")).scalar_one()
        connection.execute(
            sa.text(
                "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN NEW.expires_at = '2031-01-01'; RETURN NEW; END $$"
            )
        )
        connection.execute(
            sa.text(
                "CREATE TRIGGER meddle BEFORE UPDATE ON personal_access_tokens FOR EACH ROW "
                f"WHEN (OLD.id = {first}) EXECUTE FUNCTION meddle()"
            )
        )
    program = start(size=(50, 160))
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for(f"NOTE: 1 token did not keep its new date, so something else changes it: {first}.\n")


def test_nothing_is_held_open_in_the_database_while_a_question_waits(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.press("enter", "enter", "enter")
    program.wait_for("(y/N)")
    statement = sa.text("""
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
    """)
    with engine.connect() as connection:
        assert connection.execute(statement).scalar_one() == 0


@pytest.mark.parametrize("keys", [[], ["enter"], ["enter", "enter"], ["enter", "enter", "enter"]])
def test_ctrl_c_at_any_question_leaves_with_130_and_changes_nothing(
    start: Callable[..., Program], engine: sa.Engine, keys: list[str]
) -> None:
    program = start()
    program.wait_for("3. Quit")
    program.press(*keys, "ctrl-c")
    assert program.wait() == 130
    assert "Interrupted" in program.lines[-1]
    assert "Traceback" not in program.text
    assert not program.cursor_hidden
    assert counts(engine) == {str(SOON): 60, "2017-12-31": 20, None: 5}


def test_sigterm_at_a_question_leaves_with_143_and_the_terminal_in_order(start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for("3. Quit")
    program.signal(signal.SIGTERM)
    assert program.wait() == 143
    assert "Terminated" in program.lines[-1]
    assert not program.cursor_hidden


@pytest.mark.usefixtures("slow_updates")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), *slow_ones((signal.SIGTERM, 143))])
def test_a_signal_in_the_middle_of_an_update_ends_it_after_the_batch(
    start: Callable[..., Program], engine: sa.Engine, number: signal.Signals, status: int
) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    if number == signal.SIGINT:
        program.press("ctrl-c")
    else:
        program.signal(number)
    assert program.wait() == status
    assert (
        "500 of 1,200 tokens were changed and stay so. → to go on: inv tokens.apply --run 1 → to take it back: "
        "inv tokens.undo --run 1"
    ).replace(" ", "") in said(program)
    assert said(program).count("undo--run1") == 1
    assert counts(engine)["2019-06-30"] == 500
    assert counts(engine)["2018-06-30"] == 700


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_last_batch_ends_the_program_after_it(
    start: Callable[..., Program], engine: sa.Engine, number: signal.Signals, status: int
) -> None:
    with engine.begin() as connection:
        make_tokens(connection, 500, expires_at="2018-06-30")
        make_updates_slow(connection, seconds=0.001)
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    program.signal(number)
    assert program.wait() == status
    recorded = "Recorded as run 1.\n→ to take it back: inv tokens.undo --run 1"
    assert f"Updated 500 tokens!\n{recorded}\nStopped. The update is complete." in program.text
    assert counts(engine)["2019-06-30"] == 500


@pytest.mark.slow
@pytest.mark.usefixtures("slow_updates")
def test_ctrl_z_in_an_update_does_not_suspend_it(start: Callable[..., Program]) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    program.press("ctrl-z")
    program.wait_for("Updated 1200 tokens!")


def test_whether_bots_are_to_go_is_asked_before_anything_else(start: Callable[..., Program], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for _ in range(2):
            make_token(connection, user_id=make_user(connection, user_type=6), expires_at=SOON)
        retired = make_token(connection, expires_at=SOON)
        make_token(connection, previous_personal_access_token_id=retired)
    program = start(size=(60, 200))
    question = "Continue, although GitLab deletes 2 bots for it?"
    program.press("enter", "enter")
    program.wait_for("What would you like")
    program.press("2020-01-01", "enter")
    program.wait_for(f"{question} (y/N)")
    assert "NOTE: 2 bots lose by this change what keeps them" in program.text
    assert "Are you sure?" not in program.text
    program.press("enter")
    program.wait_for(f"{question} No\nAborting!\n=====")
    assert counts(engine)[str(SOON)] == 63
    program.press("enter", "enter")
    program.wait_for(lambda: program.text.count("What would you like") == 2)
    program.press("2020-01-01", "enter", "y", "enter", "y", "enter")
    program.wait_for("Updated 63 tokens!")


def test_what_a_rotation_has_replaced_is_noted(start: Callable[..., Program], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        make_token(connection, previous_personal_access_token_id=make_token(connection, expires_at=SOON))
    program = start(size=(50, 160))
    program.press("down", "enter", "enter")
    program.wait_for("NOTE: 1 token was replaced by a rotation, and its successor is not revoked")
    program.press("n", "enter")


def test_a_date_beyond_the_last_of_postgresql_is_invalid(start: Callable[..., Program], engine: sa.Engine) -> None:
    with engine.begin() as connection:
        make_tokens(connection, 70, expires_at="5874897-12-31")
    program = start()
    program.press("enter", "enter", "enter")
    program.wait_for("be? 5874898-12-31\nInvalid date, aborting...")


def test_sigterm_while_the_tokens_are_counted_leaves_with_143(start: Callable[..., Program], engine: sa.Engine) -> None:
    program = start()
    program.wait_for("3. Quit")
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
        program.press("enter")
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with engine.connect() as observer:
            while not observer.execute(waiting).scalar_one():
                pass
        program.signal(signal.SIGTERM)
        assert program.wait() == 143
    assert program.lines[-1] == "Terminated by SIGTERM."
    assert "Traceback" not in program.text


@pytest.mark.slow
@pytest.mark.usefixtures("slow_updates")
def test_a_second_ctrl_c_tells_truly_how_many_tokens_were_changed(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    program.press("ctrl-c")
    program.press("ctrl-c")
    assert program.wait() == 130
    told = re.search(r"Stopped.*?(\d+)of1,200tokens", said(program))
    assert told
    assert counts(engine).get("2019-06-30", 0) == int(told[1])
    assert "Traceback" not in program.text


@pytest.mark.slow
@pytest.mark.usefixtures("slow_updates")
def test_keys_typed_while_the_update_runs_answer_nothing_and_show_nowhere(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    program.press("down", "down", "enter", "zzz")
    program.wait_for("Updated 1200 tokens!")
    program.wait_for("3. Quit")
    assert "zzz" not in program.text
    program.press("down")
    program.wait_for("‣ 2. Remove expiration date")


@pytest.mark.usefixtures("slow_updates")
def test_a_long_update_shows_its_progress_and_takes_it_away(start: Callable[..., Program]) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("500 of 1,200 tokens (41 %)")
    program.wait_for("Updated 1200 tokens!")
    program.wait_for("3. Quit")
    assert "of 1,200 tokens" not in program.text


@pytest.mark.slow
@pytest.mark.usefixtures("slow_updates")
def test_a_connection_lost_in_an_update_is_one_line_that_says_how_to_go_on(
    start: Callable[..., Program], gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    program = start(size=(50, 300))
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("500 of 1,200 tokens")
    kill = sa.text("""
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """)
    with make_engine(superuser(gitlab_database)).connect() as connection:
        connection.execute(kill)
    assert program.wait() == 4
    assert "Traceback" not in program.text
    assert "was lost" in program.text
    assert "500of1,200tokenswerechangedandstayso.→togoon:invtokens.apply--run1" in said(program)


def test_a_database_that_is_gone_after_the_answer_has_changed_nothing(
    start: Callable[..., Program], gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    program = start(size=(50, 300))
    program.press("enter", "enter", "enter")
    program.wait_for("60 token(s). Are you sure? (y/N)")
    beside = make_conninfo(superuser(gitlab_database).conninfo, dbname="postgres")
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    with psycopg.connect(beside, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        try:
            program.press("y", "enter")
            assert program.wait() == 1
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    *_, last = program.text.rpartition("Cannot connect to ")
    assert last.strip().endswith(". Nothing was changed.")


def test_a_closed_terminal_ends_the_program(start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for("3. Quit")
    program.hang_up()
    assert program.wait() == 143


@pytest.mark.slow
@pytest.mark.usefixtures("slow_updates")
def test_a_terminal_closed_in_an_update_ends_the_program_after_the_batch(
    start: Callable[..., Program], engine: sa.Engine
) -> None:
    program = start()
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updating personal access tokens from ID")
    program.hang_up()
    assert program.wait() == 143
    assert 500 <= counts(engine)["2019-06-30"] < 1200


@pytest.mark.parametrize("size", [(10, 40), (40, 120)])
def test_other_sizes_of_terminal_work(start: Callable[..., Program], engine: sa.Engine, size: tuple[int, int]) -> None:
    program = start(size=size)
    program.wait_for("3. Quit")
    program.press("2", "enter")
    program.wait_for("--> Abort")
    program.press("down", "enter", "y", "enter")
    program.wait_for("3. Quit")
    program.press("3", "enter")
    assert program.wait() == 0
    assert counts(engine) == {str(SOON): 60, None: 25}


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_only_where_it_is_wanted(start: Callable[..., Program], env: dict[str, str], coloured: bool) -> None:
    program = start(**env)
    program.wait_for("3. Quit")
    assert (b"\x1b[32m" in program.raw) == coloured
    assert (b"\x1b[90m" in program.raw) == coloured


def test_the_console_script_is_the_same(start: Callable[..., Program], gitlab_database: Address) -> None:
    program = start(GITLAB_TOKENS, "gitlab:tokens:edit", "--target", url(gitlab_database))
    program.wait_for_screen(BEFORE + MENU)
    program.press("3", "enter")
    assert program.wait() == 0


@pytest.mark.parametrize("program", [[INV, "tokens.edit"], [GITLAB_TOKENS, "edit"]])
def test_without_a_terminal_it_says_what_needs_none_before_it_connects(program: list[str]) -> None:
    done = subprocess.run(
        [*program, "--target", "postgresql://gitlab@127.0.0.1:1/nowhere"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "needs a terminal" in done.stderr
    assert "use extend or remove with --yes" in done.stderr


@pytest.fixture
def delicate(engine: sa.Engine) -> tuple[int, Sequence[int]]:
    """70 tokens of EARLY: 67 of a bot whose membership ends then, and three whose owner was warned."""
    with engine.begin() as connection:
        bot = make_user(connection, user_type=6)
        member = make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=EARLY)
        make_tokens(connection, 67, expires_at=EARLY, user_id=bot)
        warned = make_tokens(connection, 3, expires_at=EARLY, expire_notification_delivered=True)
    return member, warned


def hanging_on(engine: sa.Engine, delicate: tuple[int, Sequence[int]]) -> tuple[str | None, int]:
    """The end of the membership, and how many of the warned are still marked as such."""
    member, warned = delicate
    with engine.connect() as connection:
        end = sa.text("SELECT CAST(expires_at AS text) FROM members WHERE id = :id")
        marked = sa.text("SELECT count(*) FROM personal_access_tokens WHERE id = ANY(:ids) AND " + WARNED)
        return (
            connection.execute(end, {"id": member}).scalar_one(),
            connection.execute(marked, {"ids": list(warned)}).scalar_one(),
        )


WARNED = "expire_notification_delivered"
MOVE = "Move the memberships of 1 bot, too?"
REARM = "Re-arm the notices of 3 tokens, too?"


@pytest.mark.parametrize(
    ("keys", "said", "expected"),
    [
        (["enter", "enter"], (f"{MOVE} Yes", f"{REARM} Yes"), (None, 0)),
        (["n", "enter", "n", "enter"], (f"{MOVE} No", f"{REARM} No"), (str(EARLY), 3)),
        (["y", "enter", "ctrl-d"], (f"{MOVE} yes", f"{REARM} No"), (None, 3)),
    ],
)
def test_what_hangs_on_the_tokens_is_noted_and_asked_about(
    start: Callable[..., Program],
    engine: sa.Engine,
    delicate: tuple[int, Sequence[int]],
    keys: list[str],
    said: tuple[str, str],
    expected: tuple[str | None, int],
) -> None:
    program = start(size=(60, 200))
    program.press("enter", "enter", str(LATER), "enter")
    program.wait_for(f"{MOVE} (Y/n)")
    program.press(*keys)
    program.wait_for("(y/N)")
    shown = program.text.split("New expiration date: ")[1].splitlines()
    assert shown == [
        str(LATER),
        "NOTE: 1 bot has a membership that ends before the new date, and GitLab will delete bot and token at its "
        "end, unless the end is removed, too.",
        "NOTE: 1 owner has been warned about 3 tokens already, and GitLab may not warn again, unless the notices are "
        "re-armed.",
        *said,
        "WARNING: This will now update 70 token(s). Are you sure? (y/N)",
    ]
    assert hanging_on(engine, delicate) == (str(EARLY), 3)
    program.press("y", "enter")
    program.wait_for("Updated 70 tokens!")
    program.wait_for("3. Quit")
    assert hanging_on(engine, delicate) == expected


def test_removing_notes_and_asks_the_same_before_its_warning(
    start: Callable[..., Program], engine: sa.Engine, delicate: tuple[int, Sequence[int]]
) -> None:
    program = start(size=(60, 200))
    program.press("2", "enter", "enter")
    program.wait_for(f"{MOVE} (Y/n)")
    program.press("enter", "enter")
    program.wait_for(
        f"{MOVE} Yes\n{REARM} Yes\n"
        f"WARNING: This will remove the expiration for tokens that expire on {EARLY}.\n"
        "This will affect 70 tokens. Are you sure? (y/N)"
    )
    assert (
        "a membership that ends, and GitLab will delete bot and token at its end, unless the end is removed"
        in program.text
    )
    program.press("enter")
    program.wait_for("Are you sure? No\nAborting!")
    assert hanging_on(engine, delicate) == (str(EARLY), 3)


@pytest.mark.parametrize("keys", [[], ["enter"]])
def test_ctrl_c_at_an_extra_question_changes_nothing(
    start: Callable[..., Program], engine: sa.Engine, delicate: tuple[int, Sequence[int]], keys: list[str]
) -> None:
    program = start(size=(60, 200))
    program.press("enter", "enter", str(LATER), "enter")
    program.wait_for(f"{MOVE} (Y/n)")
    program.press(*keys, "ctrl-c")
    assert program.wait() == 130
    assert program.lines[-1] == "Interrupted."
    assert hanging_on(engine, delicate) == (str(EARLY), 3)
    assert counts(engine)[str(EARLY)] == 70


JOURNAL = "There is no journal here yet: install it (schema token_tasks), so that this can be undone?"
NO_WAY_BACK = "Without the journal there is no list of what was changed, no undo and no way to go on after a stop."


def test_the_journal_is_offered_once_and_every_recorded_run_is_named_at_the_end(
    start: Callable[..., Program], engine: sa.Engine, gitlab_database: Address
) -> None:
    downgrade(gitlab_database, Branch.JOURNAL, BASE)
    for first, recorded in (("n", []), ("y", [1, 2])):
        program = start(size=(100, 120))
        program.press("enter", "enter", "enter", "y", "enter", first, "enter")
        program.wait_for(lambda: program.text.count("What do you want to do?") == 2)  # noqa: B023
        program.press("enter", "enter", "enter", "y", "enter")
        # What is typed before the question is there is dropped, as it was meant for the change.
        program.wait_for(lambda: program.text.count("What do you want to do?") == 3)  # noqa: B023
        assert program.text.count("Updated 60 tokens!") == 2
        program.press("3", "enter")
        assert program.wait() == 0
        assert program.text.count(JOURNAL) == 1
        assert program.text.count(NO_WAY_BACK) == (0 if recorded else 1)
        lines = [
            line
            for number in recorded
            for line in (f"Recorded as run {number}.", f"→ to take it back: inv tokens.undo --run {number}")
        ]
        assert program.lines[-1 - len(lines) :] == ["What do you want to do? Quit", *lines]


@pytest.mark.slow
def test_without_the_journal_it_is_said_what_is_lost_and_how_to_go_on(
    start: Callable[..., Program], engine: sa.Engine, slow_updates: None, gitlab_database: Address
) -> None:
    program = start(GITLAB_TOKENS, "edit", "--no-journal", "--target", url(gitlab_database), size=(60, 200))
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Are you sure? yes\nUpdating tokens...")
    assert program.text.count(NO_WAY_BACK) == 1
    program.wait_for("from ID")
    program.signal(signal.SIGTERM)
    assert program.wait() == 143
    assert program.lines[-1] == (
        "Stopped. 500 of 1,200 tokens were changed and stay so. To go on, run edit again and choose 2018-06-30."
    )
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM token_tasks.runs")).scalar_one() == 0

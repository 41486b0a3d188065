"""What the journal tells of the runs and of their tokens."""

import csv
import io
import itertools
import json
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens, make_user
from tests.testbed.journal import NEW, OLD, SOMEBODY, execute, make_plan, make_run, values, writing
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.replication import Replicated
from tests.testbed.rotation import (
    GONE,
    IN_A_YEAR,
    LATER,
    SERVICE_ACCOUNT,
    SOON,
    TODAY,
    plan_of,
    project_bot,
    reached,
    rows,
    service_account,
)
from tests.testbed.runs import resume
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.chunks import Chunk, TokenIds
from tokens.change.plan import Plan, RunKind
from tokens.errors import ExitStatus, Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind
from tokens.gitlab.membership import MembershipRule
from tokens.journal import listing, setup
from tokens.journal.attempts import begin
from tokens.journal.installation import RunState
from tokens.journal.listing import PAGE, PAGE_OF_ROTATIONS, read_outcomes, read_rotations, read_tokens, read_touched
from tokens.journal.record import ChunkOutcome, Record
from tokens.journal.runs import StoredRun, list_runs, read_attempts, read_run
from tokens.journal.storing import store
from tokens.rotation import stage
from tokens.rotation.retirement import abandon, finish
from tokens.rotation.stage import Stage
from tokens.selection import DateRange, Selection
from tokens.selection import described as selection_in_words
from tokens.targets.instance import Instance
from tokens.views.history import all_tokens_csv, run_json, run_screen, runs_csv, runs_json, runs_screen, tokens_csv
from tokens.views.run_in_words import change_in_words, state_in_words

MALLORY = "mallory\x1b[2J"
HARMLESS_MALLORY = "mallory\ufffd[2J"
EVIL = 'evil\n"\x1b]0;title\x07", \u202egnp.exe'
HARMLESS = 'evil\ufffd"\ufffd]0;title\ufffd", \ufffdgnp.exe'


@pytest.fixture
def tokens(installed: Address) -> list[int]:
    """Five tokens of a person whose names do harm to a terminal."""
    with make_engine(installed).begin() as connection:
        mallory = make_user(connection, username=MALLORY)
        return list(make_tokens(connection, 5, expires_at="2024-06-15", user_id=mallory, name=EVIL))


@pytest.fixture
def partial(installed: Address, tokens: list[int]) -> int:
    """A run in two chunks: of the one a token changed, one was left alone and one locked; the other never had its turn.

    The last token is gone by now.
    """
    plan = Plan(
        RunKind.EXTEND,
        Selection((DateRange(OLD, OLD),), kinds=frozenset({Kind.PERSONAL})).as_dict(),
        Change(to=NEW),
        (Chunk(0, OLD, NEW, TokenIds(tokens[:3])), Chunk(3, None, NEW, TokenIds(tokens[3:]))),
        memberships=MembershipRule.FOREVER,
        notices=True,
    )
    with writing(installed) as connection:
        run = store(connection, plan, SOMEBODY, "audit \x1b[31m2026")
        record = begin(connection, run, SOMEBODY)
        record.keep_memberships(connection, plan.chunks[0], [7, 8], ["2024-06-15", "2024-06-16"], None)
        record.mark(connection, [ChunkOutcome(plan.chunks[0], 1, [tokens[1]], [tokens[2]])])
        record.finish(connection, RunState.STOPPED, "Ctrl-C")
        connection.execute(
            "INSERT INTO token_tasks.notices (run_id, position, token_ids) VALUES (%(run)s, 0, %(ids)s)",
            run=run,
            ids=[tokens[0]],
        )
    execute(
        installed,
        "UPDATE token_tasks.runs SET created_at = '2026-01-02 03:04:05+00'",
        "UPDATE token_tasks.attempts SET started_at = '2026-01-02 03:05+00', ended_at = '2026-01-02 03:06+00'",
        f"DELETE FROM public.personal_access_tokens WHERE id = {tokens[4]}",
    )
    return run


def stored(address: Address, run: int) -> StoredRun:
    with database.reading(address) as connection:
        return read_run(connection, run)


def all_runs(address: Address) -> tuple[StoredRun, ...]:
    with database.reading(address) as connection:
        return list_runs(connection)


def shown(address: Address, run: int, form: object) -> str:
    with database.reading(address) as connection:
        one, attempts, touched = (
            read_run(connection, run),
            read_attempts(connection, run),
            read_touched(connection, run),
        )
    assert form in (run_screen, run_json)
    listed = read_tokens(address, one)
    if form is run_json:
        return text(run_json(one, attempts, touched, listed, Instance()))
    return text(run_screen(one, attempts, touched, listed))


def table(shown: str) -> list[list[str]]:
    """The cells of a table without its heading."""
    return [
        [cell.strip() for cell in line.removeprefix("| ").removesuffix(" |").split(" | ")]
        for line in shown.splitlines()[2:]
    ]


def exported(address: Address, run: int) -> list[list[str]]:
    one = stored(address, run)
    return cells(tokens_csv(one, read_tokens(address, one), Instance(url="https://gitlab.example.com")))


def text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def cells(lines: Iterable[str]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text(lines), newline="")))


@pytest.mark.newest_server
def test_one_run_is_told_with_its_tokens_and_nothing_that_a_terminal_obeys(
    installed: Address, partial: int, tokens: list[int]
) -> None:
    facts, _, outcomes = shown(installed, partial, run_screen).partition("\n\n")
    assert facts.splitlines() == [
        f"Run         {partial}",
        "Kind        extend",
        "State       stopped",
        "Selection   expires 2024-06-15; kind personal; state active",
        "Change      to 2030-06-15",
        "Planned     2026-01-02 03:04:05 UTC, by ada (sudo, as root) on db1",
        "Reason      audit \ufffd[31m2026",
        "Attempt 1   2026-01-02 03:05:00 UTC to 2026-01-02 03:06:00 UTC, by ada (sudo, as root) on db1; "
        "stopped because: Ctrl-C",
        "Tokens      5: 1 changed, 1 left alone, 1 locked, 2 pending",
        "Memberships 2 moved",
        "Notices     those of 1 token re-armed",
    ]
    mallory = HARMLESS_MALLORY
    assert table(outcomes) == [
        [str(tokens[0]), mallory, HARMLESS, "2024-06-15", "2030-06-15", "changed"],
        [str(tokens[1]), mallory, HARMLESS, "2024-06-15", "2030-06-15", "left alone"],
        [str(tokens[2]), mallory, HARMLESS, "2024-06-15", "2030-06-15", "locked"],
        [str(tokens[3]), mallory, HARMLESS, "(none)", "2030-06-15", "pending"],
        [str(tokens[4]), mallory, f"{HARMLESS} (gone)", "(none)", "2030-06-15", "pending"],
    ]


def test_one_run_as_json_has_the_names_as_they_are_and_as_csv_nothing_that_is_obeyed(
    installed: Address, partial: int, tokens: list[int]
) -> None:
    document = json.loads(shown(installed, partial, run_json))
    assert (document["run"], document["state"], document["reason"]) == (partial, "stopped", "audit \x1b[31m2026")
    assert document["planned_by"] == {"user": "root", "sudo_user": "ada", "host": "db1"}
    assert document["planned_at"] == "2026-01-02T03:04:05+00:00"
    assert document["attempts"][0]["stopped_because"] == "Ctrl-C"
    assert (document["memberships_moved"], document["notices_rearmed"]) == (2, 1)
    first, *_, last = document["outcomes"]
    assert first == {
        "id": tokens[0],
        "account": MALLORY,
        "name": EVIL,
        "path": None,
        "account_now": MALLORY,
        "name_now": EVIL,
        "path_now": None,
        "old_expires_at": "2024-06-15",
        "new_expires_at": "2030-06-15",
        "outcome": "changed",
        "changed_at": first["changed_at"],
    }
    assert datetime.fromisoformat(first["changed_at"]) <= datetime.now(UTC)
    assert (last["account"], last["name"], last["old_expires_at"]) == (MALLORY, EVIL, None)
    assert (last["account_now"], last["name_now"], last["changed_at"]) == (None, None, None)
    heading, *lines = exported(installed, partial)
    of_run = dict(zip(heading[:11], lines[0][:11], strict=True))
    assert of_run == {
        "instance": "gitlab.example.com",
        "run": str(partial),
        "kind": "extend",
        "state": "stopped",
        "planned_at": "2026-01-02T03:04:05+00:00",
        "planned_by": "ada (sudo, as root) on db1",
        "begun_at": "2026-01-02T03:05:00+00:00",
        "carried_out_by": "ada (sudo, as root) on db1",
        "finished_at": "",
        "reason": "audit \ufffd[31m2026",
        "undoes": "",
    }
    then, now = [HARMLESS_MALLORY, HARMLESS, ""], ["", "", ""]
    assert heading[11:] == [
        *("id", "account", "name", "path", "account_now", "name_now", "path_now"),
        *("old_expires_at", "new_expires_at", "outcome", "changed_at"),
    ]
    dates = ["2024-06-15", "2030-06-15"]
    assert lines[0][11:] == [str(tokens[0]), *then, *then, *dates, "changed", first["changed_at"]]
    assert lines[4][11:] == [str(tokens[4]), *then, *now, "", "2030-06-15", "pending", ""]


def test_the_runs_are_a_line_each_the_latest_first(installed: Address, partial: int, tokens: list[int]) -> None:
    undo = make_run(installed, make_plan(tokens[:1], undoes=partial), created_at="2026-01-03 00:00+00", reason="back")
    lines = text(runs_screen(all_runs(installed)))
    who = "ada (sudo, as root) on db1"
    assert [cell.strip() for cell in lines.splitlines()[0].strip("| ").split(" | ")] == [
        *("Run", "Kind", "State", "Planned (UTC)", "Change", "Tokens", "Changed", "By", "Reason")
    ]
    assert table(lines) == [
        [str(undo), f"undo of {partial}", "done", "2026-01-03 00:00", "the old dates back", "1", "1", who, "back"],
        [
            str(partial),
            "extend",
            f"stopped, undone by {undo}",
            "2026-01-02 03:04",
            "to 2030-06-15",
            "5",
            "1",
            who,
            "audit \ufffd[31m2026",
        ],
    ]
    assert [run["run"] for run in json.loads(runs_json(all_runs(installed), Instance()))["runs"]] == [undo, partial]
    heading, _, line = cells(runs_csv(all_runs(installed), Instance()))
    assert dict(zip(heading, line, strict=True)) == {
        "run": str(partial),
        "kind": "extend",
        "state": "stopped",
        "planned_at": "2026-01-02T03:04:05+00:00",
        "planned_by": who,
        "selection": "expires 2024-06-15; kind personal; state active",
        "change": "to 2030-06-15",
        "tokens": "5",
        "changed": "1",
        "changed_meanwhile": "1",
        "locked": "1",
        "undoes": "",
        "undone_by": str(undo),
        "put_back": "1",
        "reason": "audit \ufffd[31m2026",
        "begun_at": "2026-01-02T03:05:00+00:00",
        "carried_out_by": who,
        "finished_at": "",
        "withdrawn_by": "",
        "withdrawn_at": "",
        "withdrawn_because": "",
        "instance": "",
    }


def test_an_undo_is_said_to_have_given_no_date_and_moved_nothing_as_the_journal_does_not_have_what_it_put_back(
    installed: Address, partial: int, tokens: list[int]
) -> None:
    undo = make_run(installed, make_plan(tokens[:1], undoes=partial))
    facts, _, _ = shown(installed, undo, run_screen).partition("\n\n")
    assert [line.split()[0] for line in facts.splitlines()][-2:] == ["Attempt", "Tokens"]
    document = json.loads(shown(installed, undo, run_json))
    assert (document["memberships_moved"], document["notices_rearmed"]) == (None, None)
    assert document["change"] == {"to": None, "by": None, "days": 1}


@pytest.mark.newest_server
def test_a_run_that_an_undo_has_put_back_in_part_is_not_shown_as_undone(installed: Address, tokens: list[int]) -> None:
    run = make_run(installed, make_plan(tokens[:2], tokens[2:4]))
    undo = make_plan(tokens[:2], tokens[2:4], undoes=run)
    with writing(installed) as connection:
        stopped = store(connection, undo, SOMEBODY, None)
        record = begin(connection, stopped, SOMEBODY)
        record.mark(connection, [ChunkOutcome(undo.chunks[0], 2)])
        record.finish(connection, RunState.STOPPED, "Ctrl-C")

    def said() -> tuple[str, str, int]:
        state = table(text(runs_screen(all_runs(installed))))[-1][2]
        (facts,) = [one for one in json.loads(runs_json(all_runs(installed), Instance()))["runs"] if one["run"] == run]
        (line,) = [line for line in shown(installed, run, run_screen).splitlines() if line.startswith("Undone by")]
        return state, line, facts["put_back"]

    assert said() == (
        f"done, undone in part by {stopped}",
        f"Undone by   run {stopped}, in part: 2 of 4 tokens",
        2,
    )
    rest = make_run(installed, make_plan(tokens[2:4], undoes=run))
    assert said() == (f"done, undone by {rest}", f"Undone by   run {rest}", 4)


@pytest.mark.newest_server
def test_a_run_of_rotations_tells_which_token_replaced_which_and_what_became_of_the_old_one(installed: Address) -> None:
    with rows(installed) as gitlab:
        mallory = make_user(gitlab, user_type=SERVICE_ACCOUNT, username=MALLORY)
        waiting = make_token(gitlab, user_id=mallory, name=EVIL)
    (bot,), _ = project_bot(installed, SOON)
    services = {name: service_account(installed, name=name) for name in ("made", "done", "changed", "gone", "dropped")}
    expired = service_account(installed, GONE, name="expired")
    order = [waiting, bot, *services.values(), expired]
    planned = plan_of(installed, *order, grace=7)
    with writing(installed) as connection:
        run = stage.store(connection, planned, SOMEBODY, "runbook")
    record = resume(installed, run, SOMEBODY)
    rotations = {one.candidate.id: one for one in planned.rotations}
    # The first successor of the bot's token is given up, and so is everything that is made of "dropped".
    first = reached(installed, record, rotations[bot], Stage.CREATED).id
    with database.connect(installed) as connection:
        abandon(connection, record, bot)
    dropped = [reached(installed, record, rotations[services["dropped"]], Stage.VERIFIED).id]
    with database.connect(installed) as connection:
        abandon(connection, record, services["dropped"])
    dropped.append(reached(installed, record, rotations[services["dropped"]], Stage.DELIVERED).id)
    made = {services["made"]: reached(installed, record, rotations[services["made"]], Stage.CREATED).id}
    for token in (bot, services["done"], services["changed"], services["gone"], expired):
        made[token] = reached(installed, record, rotations[token], Stage.DELIVERED).id
    execute(
        installed,
        f"UPDATE public.personal_access_tokens SET expires_at = '{LATER}' WHERE id = {services['changed']}",
        f"UPDATE public.personal_access_tokens SET revoked = true WHERE id = {services['done']}",
        f"DELETE FROM public.personal_access_tokens WHERE id = {services['gone']}",
    )
    with database.connect(installed) as connection:
        abandon(connection, record, services["dropped"])
        for token in (bot, services["done"], services["changed"], services["gone"]):
            finish(connection, record, rotations[token])
    with writing(installed) as connection:
        record.finish(connection, RunState.STOPPED, "SIGTERM")
    execute(
        installed,
        "UPDATE token_tasks.runs SET created_at = '2026-01-02 03:04:05+00'",
        "UPDATE token_tasks.attempts SET started_at = '2026-01-02 03:05+00', ended_at = '2026-01-02 03:06+00'",
        "UPDATE token_tasks.rotations SET changed_at = '2026-01-02 04:05:06+01'",
    )

    facts, _, lines = shown(installed, run, run_screen).partition("\n\n")
    account = {one.candidate.id: str(one.candidate.username) for one in planned.rotations}
    named = ", ".join([HARMLESS_MALLORY, *sorted(set(account.values()) - {MALLORY})[:2]])
    assert facts.splitlines() == [
        f"Run         {run}",
        "Kind        rotate",
        "State       stopped",
        f"Selection   8 tokens of {named} and 5 more accounts",
        f"Change      successors until {IN_A_YEAR}",
        "Planned     2026-01-02 03:04:05 UTC, by ada (sudo, as root) on db1",
        "Reason      runbook",
        "Attempt 1   2026-01-02 03:05:00 UTC to 2026-01-02 03:06:00 UTC, by ada (sudo, as root) on db1; "
        "stopped because: SIGTERM",
        "Tokens      8: 4 rotated, the old token of 3 retired or changed by somebody else, 4 not rotated",
        "Memberships 1 moved",
    ]
    bots = rotations[bot].candidate.name
    (place,) = values(installed, "SELECT path FROM public.routes WHERE source_type = 'Project'")
    at, soon, new, grace = "2026-01-02 03:05", str(SOON), str(IN_A_YEAR), str(TODAY + timedelta(days=7))

    def line(token: int, name: str, stage: Stage, now: str, *, before: date = SOON, given_up: str = "") -> list[str]:
        successor = str(made.get(token, ""))
        who = place if token == bot else account[token]
        return [str(token), who, name, str(before), stage, at, successor, new, now, grace, "", given_up]

    until = f"until {SOON}"
    assert table(lines) == [
        [str(waiting), HARMLESS_MALLORY, HARMLESS, "(none)", "planned", at, "", new, "never expires", grace, "", ""],
        line(bot, bots, Stage.DONE, until, given_up=str(first)),
        line(services["made"], "made", Stage.CREATED, until),
        line(services["done"], "done", Stage.DONE, "revoked"),
        line(services["changed"], "changed", Stage.DONE, f"until {LATER}"),
        line(services["gone"], "gone (gone)", Stage.DONE, "gone"),
        line(services["dropped"], "dropped", Stage.ABANDONED, until, given_up=" ".join(map(str, dropped))),
        line(expired, "expired", Stage.DELIVERED, "expired", before=GONE),
    ]

    document = json.loads(shown(installed, run, run_json))
    assert (document["kind"], document["change"]["to"], document["memberships_moved"]) == ("rotate", new, 1)
    assert "outcomes" not in document
    told = {one["id"]: one for one in document["rotations"]}
    assert list(told) == order
    assert told[bot] == {
        "id": bot,
        "account": account[bot],
        "name": bots,
        "path": place,
        "account_now": account[bot],
        "name_now": bots,
        "path_now": place,
        "old_expires_at": soon,
        "stage": "done",
        "reached_at": "2026-01-02T03:05:06+00:00",
        "successor_id": made[bot],
        "successor_name": bots,
        "delivered_to": None,
        "new_expires_at": new,
        "old_state_now": "active",
        "old_expires_at_now": soon,
        "grace_until": grace,
        "given_up": [first],
        "new_account": None,
    }
    assert [told[waiting][name] for name in ("account", "name", "old_expires_at", "successor_id", "given_up")] == [
        *(MALLORY, EVIL, None, None, [])
    ]
    gone = told[services["gone"]]
    assert [gone[name] for name in ("account", "name", "name_now", "old_state_now", "successor_id")] == [
        *(account[services["gone"]], "gone", None, None, made[services["gone"]])
    ]
    heading, *csv_lines = exported(installed, run)
    assert heading[11:] == list(told[bot])
    assert csv_lines[1][11:] == ["" if one is None else str(one) for one in [*list(told[bot].values())[:-2], first, ""]]
    assert csv_lines[6][-2] == " ".join(map(str, dropped))

    assert table(text(runs_screen(all_runs(installed)))) == [
        [
            *(str(run), "rotate", "stopped", "2026-01-02 03:04", f"successors until {new}", "8", "1"),
            *("ada (sudo, as root) on db1", "runbook"),
        ]
    ]
    heading, line_of_run = cells(runs_csv(all_runs(installed), Instance()))
    assert dict(zip(heading, line_of_run, strict=True))["change"] == f"successors until {new}"

    # Page by page, with nothing open in between; without a grace the old token goes at once.
    count = 2 * PAGE_OF_ROTATIONS + 1
    execute(
        installed,
        f"""
        INSERT INTO token_tasks.rotations (run_id, token_id)
        SELECT {run}, 1000 + number FROM generate_series(1, {count}) AS number
        """,
    )
    found = read_rotations(installed, run)
    first_ones = [next(found) for _ in range(len(order) + 1)]
    sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert values(installed, sessions) == []
    assert first_ones[-1].grace_until is None
    assert [one.id for one in itertools.chain(first_ones, found)] == [*order, *range(1001, 1001 + count)]


@pytest.mark.slow
@pytest.mark.newest_server
def test_an_export_of_all_runs_takes_the_same_memory_whatever_their_size(
    installed: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 4  # chunks that are read at once: to trace memory takes long
    monkeypatch.setattr(listing, "PAGE", pages)

    def exported_with(chunks: int) -> tuple[int, int]:
        make_run(installed, make_plan([1]))
        execute(
            installed,
            f"""
            INSERT INTO token_tasks.chunks (run_id, position, token_ids, done_at)
            SELECT max(r.id), 500 * n, ARRAY(SELECT CAST(500 * n + i AS bigint) FROM generate_series(1, 500) i), now()
            FROM token_tasks.runs r, generate_series(1, {chunks}) n
            GROUP BY n
            """,
        )
        tracemalloc.start()
        listed = ((run, read_tokens(installed, run)) for run in all_runs(installed))
        lines = sum(1 for _ in all_tokens_csv(listed, Instance()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return lines, peak

    few, at_first = exported_with(2 * pages)
    many, at_last = exported_with(20 * pages)
    assert many > 10 * few
    assert at_last < 1.2 * at_first


@pytest.mark.newest_server
def test_a_terminal_gets_fifty_runs_and_how_to_see_the_rest(installed: Address) -> None:
    run = stored(installed, make_run(installed, make_plan([1]), RunState.DONE))
    shown = list(runs_screen((run,) * 60, 80))
    assert len(shown) == 2 + 50 + 1
    assert shown[-1] == "... and 10 more → to see all: gitlab-tokens history --output csv"
    assert all(len(line) <= 80 for line in shown)
    assert len(list(runs_screen((run,) * 60))) == 2 + 60


@pytest.mark.newest_server
def test_a_narrow_terminal_has_room_for_kind_state_time_and_date(installed: Address) -> None:
    run = stored(installed, make_run(installed, make_plan([1]), RunState.DONE))
    now = datetime.now(UTC)
    moments = [now - timedelta(days) for days in (0, 3, 400)]
    runs = [replace(run, undone_by=12, put_back=run.changed, created_at=moment.isoformat()) for moment in moments]
    heading, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in runs_screen(runs, 80)]
    assert heading == ["Run", "Kind", "State", "When (UTC)", "Change", "Tokens"]
    brief = [f"today {now:%H:%M}", f"{moments[1]:%a %H:%M}", f"{moments[2]:%Y-%m-%d}"]
    run = replace(run, undone_by=None)
    assert f"| to {run.change.to} |" in list(runs_screen([run], 80))[-1]
    assert [line[1:5] for line in lines] == [
        ["extend", "done, undone by 12", time, f"to {run.change.to}"] for time in brief
    ]


@pytest.mark.newest_server
def test_an_empty_journal_says_so(installed: Address) -> None:
    assert text(runs_screen(all_runs(installed))) == "The journal has no runs.\n"
    assert json.loads(runs_json(all_runs(installed), Instance()))["runs"] == []
    assert len(cells(runs_csv(all_runs(installed), Instance()))) == 1


@pytest.mark.newest_server
def test_a_plan_lapses_after_a_day_and_a_run_falls_silent_after_a_minute(installed: Address) -> None:
    plan = make_run(installed, make_plan([1]), RunState.PLANNED)
    assert state_in_words(stored(installed, plan)) == "planned"
    execute(installed, "UPDATE token_tasks.runs SET created_at = now() - interval '24 hours 1 second'")
    assert state_in_words(stored(installed, plan)) == "planned (lapsed)"
    run = make_run(installed, make_plan([2]), RunState.RUNNING, created_at="2026-01-01")
    assert state_in_words(stored(installed, run)) == "running"
    execute(
        installed, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '300 seconds' WHERE kind = 'extend'"
    )
    assert state_in_words(stored(installed, run)) in ("running, silent for 300 s", "running, silent for 301 s")
    facts = json.loads(runs_json(all_runs(installed), Instance()))["runs"]
    assert [(one["state"], one["lapsed"], one["silent_for"]) for one in facts] in (
        [("running", False, 300), ("planned", True, None)],
        [("running", False, 301), ("planned", True, None)],
    )


@pytest.mark.newest_server
def test_a_run_without_a_sign_of_life_says_how_long_and_what_to_type(installed: Address) -> None:
    run = make_run(installed, make_plan([1]), RunState.RUNNING)
    words = (GITLAB_TOKENS, "history", "--target", url(installed))
    assert "→" not in call_here(*words).stdout
    assert "→" not in call_here(*words, "--run", str(run)).stdout
    execute(installed, "UPDATE token_tasks.runs SET heartbeat_at = now() - interval '3 hours 10 minutes'")
    typed = f" apply --target '{url(installed)}' --run {run}"
    *_, row, hint = call_here(*words).stdout.splitlines()
    assert "| running, silent for 3 hours |" in row
    assert hint.startswith(f"Run {run} may be dead: no sign of life. → to continue it: ")
    assert hint.endswith(typed)
    state = call_here(*words, "--run", str(run)).stdout.splitlines()[2]
    assert state.startswith("State       running, silent for 3 hours → to continue it: ")
    assert state.endswith(typed)
    assert f"Run {run} may be dead: no sign of life." in text(runs_screen(all_runs(installed), 100))
    execute(installed, "UPDATE token_tasks.runs SET kind = 'rotate'")
    *_, hint = call_here(*words).stdout.splitlines()
    assert "→ to continue it, with the same --deliver: " in hint
    assert hint.endswith(f" rotate --target '{url(installed)}' --resume {run}")


@pytest.mark.newest_server
def test_tokens_come_page_by_page_each_once_and_nothing_stays_open_meanwhile(installed: Address) -> None:
    chunks = 2 * PAGE + 3
    plan = make_plan(*([2 * number + 1, 2 * number + 2] for number in range(chunks)))
    run = make_run(installed, plan, RunState.PLANNED)
    with writing(installed) as connection:
        record = begin(connection, run, SOMEBODY)
    outcomes = read_outcomes(installed, run)
    first = [next(outcomes) for _ in range(3)]
    sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert values(installed, sessions) == []
    # Chunks are cut in two behind and before the page that has been read.
    for position in (PAGE - 1, PAGE):
        split(installed, record, plan.chunks[position])
    assert [one.id for one in itertools.chain(first, outcomes)] == list(range(1, 2 * chunks + 1))


def split(address: Address, record: Record, chunk: Chunk) -> None:
    with writing(address) as connection:
        record.split(connection, chunk, *chunk.halves())


def test_dates_beyond_pythons_are_shown_as_gitlab_shows_them(installed: Address) -> None:
    ages = [ExpirationDate.stored(day) for day in ("infinity", "0044-03-15 BC", "12345-06-07")]
    chunks = [Chunk(place, day, None, TokenIds([place + 1])) for place, day in enumerate(ages)]
    run = make_run(installed, Plan(RunKind.REMOVE, {}, Change(), tuple(chunks)))
    assert [(str(one.old), one.new) for one in read_outcomes(installed, run)] == [
        ("Infinity", None),
        ("-0043-03-15", None),
        ("12345-06-07", None),
    ]


def test_what_was_asked_for_is_told_in_words() -> None:
    every = Selection.every(OLD)
    assert selection_in_words(json.loads(json.dumps(every.as_dict(), sort_keys=True))) == str(every)
    some = Selection((None, DateRange(OLD, NEW)), users=("ada", "bob"), name="ci-*", ids=(1, 2, 3))
    assert selection_in_words(json.loads(json.dumps(some.as_dict(), sort_keys=True))) == str(some)
    assert change_in_words(RunKind.EXTEND, Change(to=NEW)) == "to 2030-06-15"
    assert (
        change_in_words(RunKind.EXTEND, Change(to=NEW, days=3))
        == "to 2030-06-15..2030-06-17, spread evenly over 3 days"
    )
    spread = "7..11 days later than each token's own date, spread evenly"
    assert change_in_words(RunKind.EXTEND, Change(by=7, days=5)) == spread
    assert change_in_words(RunKind.EXTEND, Change(by=-7)) == "7 days earlier than each token's own date"
    assert change_in_words(RunKind.REMOVE, Change()) == "remove the expiration date"
    assert change_in_words(RunKind.UNDO, Change(to=NEW)) == "the old dates back"


@pytest.mark.newest_server
def test_the_task_prints_what_was_asked_for_or_says_why_not(
    gitlab_database: Address, installed: Address, tokens: list[int]
) -> None:
    def history(*words: str, address: Address = installed) -> tuple[int, str, str]:
        done = call_here(GITLAB_TOKENS, "history", "--target", url(address), *words)
        return done.returncode, done.stdout, done.stderr

    status, out, error = history(address=gitlab_database)
    assert (status, out) == (ExitStatus.REFUSED, "")
    assert "The journal is not installed" in error
    run = make_run(installed, make_plan(tokens))
    assert len(json.loads(history("--output", "json", "--run", str(run))[1])["outcomes"]) == len(tokens)
    assert history("--output", "csv")[1].count("\n") == 2
    status, out, error = history("--run", "99")
    assert (status, out, "There is no run 99" in error) == (ExitStatus.USAGE, "", True)


def test_a_number_that_is_none_is_wrong_use() -> None:
    for words in (("--run", "last"), ("--run", "0"), ("--output", "yaml")):
        done = call_here(GITLAB_TOKENS, "history", "--target", "postgresql:///nowhere", *words)
        assert (done.returncode, done.stderr.count("\n")) == (ExitStatus.USAGE, 1)


def test_a_standby_tells_the_history_too(replicated: Replicated) -> None:
    with replicated.database() as pair:
        setup.install(pair.primary)
        run = make_run(pair.primary, make_plan([1, 2]))
        replicated.catch_up()
        assert [one.id for one in all_runs(pair.standby)] == [run]
        assert [one.id for one in read_outcomes(pair.standby, run)] == [1, 2]
        with pytest.raises(Refused), writing(pair.standby) as connection:
            store(connection, make_plan([1]), SOMEBODY, None)

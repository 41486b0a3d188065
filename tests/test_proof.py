"""A record that an auditor can read: names of the time, one token's runs, plans shown and withdrawn, two people."""

import csv
import io
import json
import threading

import pytest

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_token, make_user
from tests.testbed.instance import EXTEND, LATER, MALLORY, SOON, Instance, one_line
from tests.testbed.journal import SOMEBODY, make_old_run, make_plan, writing
from tokens import verbs
from tokens.change.change import Change
from tokens.errors import Refused, TokensError
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal import attempts, storing
from tokens.journal.runs import read_plan, read_run
from tokens.journal.settings import FourEyes, set_four_eyes
from tokens.origin import person
from tokens.selection import DateRange, Selection

ERIKA = {"SUDO_USER": "erika"}
MAX = {"SUDO_USER": "max"}
STORE = (*EXTEND, "--plan", "--reason", "OPS-7")


def exported(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def bot(instance: Instance) -> int:
    """A token of a group's bot that expires soon."""
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection, path="platform")
        user = make_user(connection, username="group_1_bot", user_type=6)
        make_membership(connection, user_id=user, group_id=group)
        return make_token(connection, user_id=user, name="deploy", expires_at=SOON)


# Names


def test_history_has_the_names_of_the_day_of_the_plan_and_todays_beside_them(instance: Instance, bot: int) -> None:
    instance.done(*EXTEND, "--yes")
    gone = instance.value("SELECT min(id) FROM personal_access_tokens")
    instance.execute(
        "UPDATE users SET username = 'renamed' WHERE username = :name",
        f"UPDATE personal_access_tokens SET name = 'release' WHERE id = {bot}",
        "UPDATE routes SET path = 'infrastructure' WHERE path = 'platform'",
        f"DELETE FROM personal_access_tokens WHERE id = {gone}",
        name=MALLORY,
    )
    shown = instance.done("history", "--run", 1)
    assert "| platform (now: infrastructure) | deploy (now: release) " in shown
    assert "(gone) " in shown
    assert "mal\ufffd[2Jlory (now: renamed)" in shown
    told = {one["id"]: one for one in instance.json("history", "--run", 1)["outcomes"]}
    assert [told[bot][name] for name in ("account", "name", "path", "account_now", "name_now", "path_now")] == [
        *("group_1_bot", "deploy", "platform", "group_1_bot", "release", "infrastructure")
    ]
    assert told[gone]["name_now"] is None
    assert told[gone]["name"]


def test_names_stay_at_their_tokens_when_a_chunk_is_cut_in_two_and_when_a_token_went_before_they_were_stored(
    instance: Instance,
) -> None:
    selection = Selection((DateRange(ExpirationDate.typed(str(SOON)), ExpirationDate.typed(str(SOON))),))
    plan = verbs.plan(instance.address, selection, Change(to=ExpirationDate.typed(str(LATER))))
    ids = list(plan.chunks[0].ids)
    instance.execute(f"DELETE FROM personal_access_tokens WHERE id = {ids[7]}")
    instance.execute("UPDATE personal_access_tokens SET name = 'n' || id")
    with writing(instance.address) as connection:
        run = storing.store(connection, plan, SOMEBODY, None)
        begun = attempts.begin(connection, run, SOMEBODY)
        (chunk,) = read_plan(connection, read_run(connection, run)).chunks
        begun.split(connection, chunk, *chunk.halves())
    told = instance.json("history", "--run", run)["outcomes"]
    assert [one["name"] for one in told] == [None if one == ids[7] else f"n{one}" for one in ids]
    assert len(ids) == 60


def test_without_names_and_before_there_were_any_history_says_so_and_shows_those_of_today(instance: Instance) -> None:
    old = make_old_run(instance.address, make_plan([1, 2]))
    instance.done(*EXTEND, "--yes", "--no-names")
    for run in (old, old + 1):
        shown = instance.done("history", "--run", run)
        assert "\nNames       those of today: the journal has none of this run\n" in shown
        document = instance.json("history", "--run", run)
        assert document["names_kept"] is False
        assert document["outcomes"][0]["account"] is None
        assert document["outcomes"][0]["account_now"] is not None
        assert document["outcomes"][0]["account_now"] in shown
    assert instance.value("SELECT count(*) FROM token_tasks.names") == 0


def test_names_take_at_most_thirty_bytes_a_token(instance: Instance) -> None:
    count = 20_000
    instance.execute(
        "INSERT INTO personal_access_tokens"
        " (user_id, name, expires_at, created_at, updated_at, organization_id, user_type, token_digest)"
        " SELECT user_id, 'deploy ' || n * 7919, expires_at, created_at, updated_at, organization_id, user_type, n"
        f" FROM (SELECT * FROM personal_access_tokens ORDER BY id LIMIT 1) t, generate_series(1, {count}) n",
    )
    before = instance.value("SELECT pg_total_relation_size('token_tasks.names')")
    instance.done(*EXTEND, "--plan")
    after = instance.value("SELECT pg_total_relation_size('token_tasks.names')")
    assert (after - before) / count < 30


# What history finds


def test_one_tokens_and_one_accounts_runs_are_found_over_all_runs(instance: Instance, bot: int) -> None:
    instance.done(*EXTEND, "--yes", "--reason", "first", env=ERIKA)
    instance.done("undo", "--run", 1, "--yes", env=MAX)
    instance.done("remove", "--expires", SOON, "--kind", "group", "--yes", "--reason", "Group bots", env=MAX)
    lines = exported(instance.done("history", "--token", bot, "--output", "csv"))
    assert [(one["run"], one["kind"], one["planned_by"].split()[0], one["reason"]) for one in lines] == [
        *(("3", "remove", "max", "Group bots"), ("2", "undo", "max", ""), ("1", "extend", "erika", "first"))
    ]
    assert {one["id"] for one in lines} == {str(bot)}
    assert {one["instance"] for one in lines} == {instance.named.removesuffix(" (GitLab 19.2)")}
    assert [one["carried_out_by"].split()[0] for one in lines] == ["max", "max", "erika"]
    assert all(one["changed_at"] >= one["begun_at"] >= one["planned_at"] for one in lines)

    instance.execute("UPDATE users SET username = 'renamed' WHERE username = :name", name=MALLORY)
    for name in (MALLORY, "Renamed"):
        found = json.loads(instance.done("history", "--user", name, "--output", "json"))["runs"]
        assert [(run["run"], len(run["outcomes"])) for run in found] == [(2, 20), (1, 20)]
    screen = instance.done("history", "--token", f"{bot},{bot + 1000}", "--since", "2025-01-01")
    assert [line.split("|")[1].strip() for line in screen.splitlines()[2:]] == ["3", "2", "1"]
    assert instance.done("history", "--token", bot + 1000) == "The journal has no such token.\n"
    by_url = instance.json("history", "--user", "https://gitlab.example.com/Renamed?tab=overview")["runs"]
    assert [run["run"] for run in by_url] == [2, 1]
    assert [run["run"] for run in instance.json("history", "--user", "@renamed")["runs"]] == [2, 1]
    missing = "The journal has no such token of maxx: is the username right?\n"
    assert instance.done("history", "--user", "maxx") == missing


def test_runs_are_found_by_their_reason_and_by_the_day_on_which_something_was_done(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan", "--reason", "OPS-7: Friday")
    instance.done(*EXTEND, "--plan", "--reason", "other")
    instance.execute("UPDATE token_tasks.runs SET created_at = '2026-01-01' WHERE id = 1")

    def found(*words: object) -> list[int]:
        return [run["run"] for run in instance.json("history", *words)["runs"]]

    assert found("--reason", "ops-7") == [1]
    assert found("--reason", "o") == [2, 1]
    assert found("--since", "2026-01-02") == [2]
    assert found("--since", "2026-01-01", "--reason", "friday") == [1]
    instance.done("withdraw", "--run", 1, "--yes")
    assert found("--since", "2026-01-02") == [2, 1]
    assert instance.done("history", "--reason", "nothing") == "The journal has no such run.\n"
    assert "--run names one run already" in instance.refusal("history", "--run", 1, "--reason", "x", status=2)
    assert '--token takes the id of a token, not "x".' in instance.refusal("history", "--token", "x", status=2)


def test_all_runs_are_exported_with_their_tokens(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    instance.done("undo", "--run", 1, "--yes")
    lines = exported(instance.done("history", "--tokens", "--output", "csv"))
    assert [one["run"] for one in lines] == ["2"] * 60 + ["1"] * 60
    assert {(one["run"], one["undoes"], one["new_expires_at"], one["stage"]) for one in lines} == {
        *{("2", "1", str(SOON), ""), ("1", "", str(LATER), "")}
    }
    found = json.loads(instance.done("history", "--tokens", "--output", "json"))
    assert [(run["run"], len(run["outcomes"])) for run in found["runs"]] == [(2, 60), (1, 60)]
    assert len(instance.done("history", "--tokens").splitlines()) == 2 + 120


# Plans


def test_a_stored_plan_is_shown_with_its_tokens_and_nothing_is_begun(instance: Instance) -> None:
    instance.done(*STORE, env=ERIKA)
    shown = instance.done("apply", "--run", 1, "--dry-run", env=MAX)
    assert "Reason: OPS-7\n" in shown
    assert shown.endswith(
        "... and 40 more → to see all: gitlab-tokens apply --run 1 --dry-run --output csv\nNothing was changed.\n"
    )
    document = instance.json("apply", "--run", 1, "--dry-run")
    assert (document["run"], document["state"], len(document["outcomes"])) == (1, "planned", 60)
    lines = exported(instance.done("apply", "--run", 1, "--dry-run", "--output", "csv"))
    assert [(one["run"], one["planned_by"].split()[0], one["outcome"]) for one in lines] == [
        ("1", "erika", "pending")
    ] * 60
    assert instance.json("history", "--run", 1)["state"] == "planned"
    assert instance.counts() == {str(SOON): 60}


def test_of_a_complete_run_a_program_gets_the_heading_alone(instance: Instance) -> None:
    instance.done(*STORE, env=ERIKA)
    words = ("apply", "--run", 1, "--dry-run", "--output", "csv")
    heading = instance.done(*words).splitlines()[0]
    instance.done("apply", "--run", 1, "--yes", env=MAX)
    left = instance.run(*words)
    assert (left.returncode, left.stdout) == (0, f"{heading}\n")
    assert left.stderr == "Run 1 is complete: there is nothing to do.\n"


def test_a_withdrawn_plan_is_refused_and_says_who_when_and_why(instance: Instance) -> None:
    instance.done(*STORE, env=ERIKA)
    out = instance.done("withdraw", "--run", 1, "--reason", "wrong group", "--yes", env=MAX)
    assert out == "Run 1 is withdrawn: nobody can apply it.\n"
    for words in (("apply", "--run", 1, "--yes"), ("apply", "--run", 1, "--dry-run")):
        line = instance.refusal(*words)
        assert line.startswith("Run 1 was withdrawn 20")
        assert " UTC by max (sudo, as " in line
        assert line.endswith(' ("wrong group"): there is nothing to apply.')
    line = instance.refusal("undo", "--run", 1, "--yes", status=2)
    assert line == "Run 1 has changed nothing (it is withdrawn), so there is nothing to undo."
    assert "was withdrawn before" in instance.refusal("withdraw", "--run", 1, "--yes")
    shown = instance.done("history", "--run", 1)
    assert "\nState       withdrawn\n" in shown
    assert "by max (sudo, as" in next(line for line in shown.splitlines() if line.startswith("Withdrawn   "))
    assert shown.count(": wrong group\n") == 1
    document = instance.json("history", "--run", 1)
    assert (document["withdrawn_by"]["sudo_user"], document["withdrawn_because"]) == ("max", "wrong group")
    instance.execute("UPDATE token_tasks.runs SET created_at = '2020-01-01'")
    assert "1 run is forgotten" in instance.done("journal.prune", "--before", "2021-01-01", "--yes")


def test_only_a_plan_that_nobody_has_begun_can_be_withdrawn(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    line = instance.refusal("withdraw", "--run", 1, "--yes")
    assert line == (
        "Run 1 is done, and only a plan that nobody has begun can be withdrawn: nothing was changed. "
        "→ to take it back: gitlab-tokens undo --run 1"
    )
    instance.done("undo", "--run", 1, "--yes")
    line = instance.refusal("withdraw", "--run", 1, "--yes")
    assert line.endswith("can be withdrawn: nothing was changed."), "it is undone already"
    line = instance.refusal("withdraw", "--run", 2, "--yes")
    assert line.endswith("can be withdrawn: nothing was changed."), "an undo is not undone"
    instance.done("revoke", "--expires", SOON, "--yes")
    line = instance.refusal("withdraw", "--run", 3, "--yes")
    assert line.endswith("→ to revive these tokens: gitlab-tokens undo --run 3 --allow reviving")
    instance.execute("UPDATE token_tasks.runs SET state = 'running' WHERE id = 3")
    assert "undo" not in instance.refusal("withdraw", "--run", 3, "--yes"), "it is refused while a run is under way"
    instance.execute("UPDATE token_tasks.runs SET state = 'done' WHERE id = 3")
    assert "There is no run 9" in instance.refusal("withdraw", "--run", 9, "--yes", status=2)
    instance.done("undo", "--run", 3, "--allow", "reviving", "--yes")
    instance.done("remove", "--expires", SOON, "--plan")
    assert "withdraw asks before it changes anything" in instance.refusal("withdraw", "--run", 5, status=2)


def test_an_undo_says_whose_run_it_takes_back_when_and_why_and_can_be_stored(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes", "--reason", "OPS-7", env=ERIKA)
    before = instance.counts()
    out = instance.done("undo", "--run", 1, "--plan", "--reason", "wrong", env=MAX)
    assert "\nRun 1, extend, was planned 20" in out
    assert "by erika (sudo, as" in out
    assert "\nReason: OPS-7\n" in out
    assert instance.counts() == before
    out = instance.done("apply", "--run", 2, "--yes", env=ERIKA)
    assert "\nRun 1, extend, was planned 20" in out
    assert instance.counts() == {str(SOON): 60}
    told = instance.json("undo", "--run", 1, "--dry-run")["undoes"]
    assert (told["run"], told["planned_by"]["sudo_user"], told["reason"]) == (1, "erika", "OPS-7")


# Two people


def test_who_planned_may_not_apply_where_the_journal_demands_four_eyes(instance: Instance) -> None:
    assert instance.done("journal.four-eyes").startswith("Four eyes   off")
    shown = instance.done("journal.four-eyes", "--on", "--reason", "audit", env=ERIKA)
    assert shown.startswith("Four eyes   on: who plans a change may not carry it out\n")
    assert ", turned on, by erika (sudo, as " in shown

    for words in (
        (*EXTEND, "--yes"),
        (*EXTEND, "--yes", "--no-journal"),
        ("remove", "--expires", SOON, "--yes"),
    ):
        assert instance.run(*words, env=ERIKA).stdout == ""  # before anything is planned
        assert instance.refusal(*words, env=ERIKA) == (
            "Two people are needed here, one to plan a change and one to carry it out: nothing was changed. "
            "Give the same command with --plan in place of --yes or --no-journal, then another person applies the plan."
        )
    assert instance.json("history")["runs"] == []

    stored = instance.done(*STORE, env=ERIKA)
    assert stored.endswith(" → for another person, to carry it out: gitlab-tokens apply --run 1\n")
    assert instance.refusal("apply", "--run", 1, "--yes", env=ERIKA) == (
        "Two people are needed here: erika planned run 1, so somebody else has to carry it out. "
        "→ for another person: gitlab-tokens apply --run 1"
    )
    assert instance.json("history", "--run", 1)["state"] == "planned"
    applied = instance.done("apply", "--run", 1, "--yes", env=MAX)
    assert applied.endswith("→ to take it back: gitlab-tokens undo --run 1 --plan\n"), "one that is not refused"
    assert instance.refusal("withdraw", "--run", 1, "--yes", env=MAX).endswith(" undo --run 1 --plan")
    assert instance.counts() == {str(LATER): 60}
    assert "Give the same command with --plan" in instance.refusal("undo", "--run", 1, "--yes", env=MAX)
    instance.done("undo", "--run", 1, "--plan", env=MAX)
    instance.done("apply", "--run", 2, "--yes", env=ERIKA)
    assert instance.counts() == {str(SOON): 60}
    assert "cannot be stored for somebody else" in instance.refusal(
        "rotate", "--within", "60d", "--kind", "personal", "--deliver", "file:/nowhere/{token_id}", "--yes"
    )


def test_what_another_person_is_to_type_has_the_guards_that_were_allowed(instance: Instance) -> None:
    instance.done("journal.four-eyes", "--on")
    instance.execute(
        "INSERT INTO application_settings (created_at, updated_at, maintenance_mode) VALUES (now(), now(), true)"
    )
    line = "gitlab-tokens apply --run 1 --allow maintenance"
    stored = instance.done(*STORE, "--allow", "maintenance", env=ERIKA)
    assert stored.endswith(f" → for another person, to carry it out: {line}\n")
    said = instance.refusal("apply", "--run", 1, "--allow", "maintenance", "--yes", env=ERIKA)
    assert said.endswith(f" → for another person: {line}")
    assert "Updated 60 of 60 tokens" in instance.done(*line.split()[1:], "--yes", env=MAX)


def test_edit_is_refused_before_it_asks_and_withdraw_asks(instance: Instance) -> None:
    instance.done("journal.four-eyes", "--on")
    with instance.terminal("edit") as program:
        assert program.wait() == 3
        assert " ".join(program.text.split()).endswith(
            "Use extend or remove with --plan, then another person applies the plan."
        )
    instance.done(*STORE)
    with instance.terminal("withdraw", "--run", 1) as program:
        program.wait_for("Run 1, extend of 60 tokens, can never be applied then. Are you sure?")
        program.press("n", "enter")
        assert program.wait() == 0
        assert program.lines[-1] == "Aborting!"
    assert instance.json("history", "--run", 1)["state"] == "planned"


def test_a_rotation_that_was_begun_before_is_for_somebody_else(instance: Instance) -> None:
    instance.execute(
        "INSERT INTO token_tasks.runs (kind, state, selection, change, notices, planned_by, tool_version, tokens)"
        """ VALUES ('rotate', 'stopped', '{"user": ["x"]}', '{"to": null, "by": null, "days": 1}', false,"""
        """ '{"sudo_user": "erika", "user": "root", "host": "db1"}', '0.1.0', 1)""",
        "INSERT INTO token_tasks.rotations (run_id, token_id) VALUES (1, 1)",
    )
    instance.done("journal.four-eyes", "--on")
    resume = ("rotate", "--resume", 1, "--deliver", "file:/nowhere/{token_id}", "--no-verify", "--yes")
    assert instance.refusal(*resume, env=ERIKA).endswith(
        "somebody else has to carry it out. → for another person: gitlab-tokens rotate --resume 1"
    )
    assert "Two people" not in instance.run(*resume, env=MAX).stderr


def test_python_is_held_to_it_too(instance: Instance) -> None:
    selection = Selection((DateRange(ExpirationDate.typed(str(SOON)), ExpirationDate.typed(str(SOON))),))
    plan = verbs.plan(instance.address, selection, Change(to=ExpirationDate.typed(str(LATER))))
    instance.done("journal.four-eyes", "--on")
    with pytest.raises(FourEyes):
        verbs.apply(instance.address, plan)
    run = verbs.store(instance.address, plan, reason="OPS-7")
    with pytest.raises(FourEyes):
        verbs.apply(instance.address, run)
    verbs.withdraw(instance.address, run, reason="wrong group")
    with pytest.raises(Refused, match=r"was withdrawn .* \(\"wrong group\"\): "):
        verbs.apply(instance.address, run)
    assert instance.counts() == {str(SOON): 60}


def test_turning_it_off_stays_on_record_and_the_configuration_cannot(instance: Instance) -> None:
    instance.done("journal.four-eyes", "--on", env=ERIKA)
    off = {"INVOKE_TOKENS_FOUR_EYES": "false"}
    assert "Two people are needed" in instance.refusal(*EXTEND, "--yes", env={**ERIKA, **off})
    instance.done("journal.four-eyes", "--off", "--reason", "alone tonight", env=MAX)
    instance.done(*EXTEND, "--yes", env=ERIKA)
    told = json.loads(instance.done("journal.four-eyes", "--output", "json"))
    assert told["four_eyes"] is False
    assert [(one["on"], one["by"]["sudo_user"], one["reason"]) for one in told["settings"]] == [
        *((False, "max", "alone tonight"), (True, "erika", None))
    ]
    assert "contradict each other" in instance.refusal("journal.four-eyes", "--on", "--off", status=2)


def test_the_configuration_demands_it_of_its_callers(instance: Instance) -> None:
    on = {"INVOKE_TOKENS_FOUR_EYES": "true"}
    assert "Two people are needed" in instance.refusal(*EXTEND, "--yes", env=on)
    nowhere = ("--no-journal", "--target", "postgresql://nobody@127.0.0.1:1/nowhere")  # no database is asked for that
    assert "Two people are needed" in instance.refusal(*EXTEND, "--yes", *nowhere, env=on)
    line = instance.refusal("rotate", "--within", "60d", "--yes", env=on)
    assert "Two people are needed" in line
    assert line.endswith(" for somebody else, and tokens.four_eyes in Invoke's configuration demands it.")
    assert "but not here: tokens.four_eyes" in instance.done("journal.four-eyes", env=on)
    assert "but not here" not in instance.done("journal.four-eyes")
    instance.done(*STORE, env={**on, **ERIKA})
    assert "erika planned run 1" in instance.refusal("apply", "--run", 1, "--yes", env={**on, **ERIKA})
    bad = instance.run(*EXTEND, "--yes", env={"INVOKE_TOKENS_FOUR_EYES": "perhaps"})
    assert one_line(bad) == "tokens.four_eyes in Invoke's configuration must be true or false."
    out = instance.done("apply", "--run", 1, "--yes", env={**on, **MAX})
    assert out.endswith("→ to take it back: gitlab-tokens undo --run 1 --plan\n")
    assert "Stored as run 2" in instance.done("undo", "--run", 1, "--plan", env={**on, **MAX})


def test_two_who_turn_it_on_and_begin_at_once_are_one_after_the_other(instance: Instance) -> None:
    instance.done(*STORE, env=ERIKA)
    caught: list[TokensError] = []
    started = threading.Event()

    def begin() -> None:
        with writing(instance.address) as connection:
            started.set()
            try:
                attempts.begin(connection, 1, SOMEBODY)
            except TokensError as error:
                caught.append(error)

    instance.execute("""UPDATE token_tasks.runs SET planned_by = '{"user": "ada", "host": "db2"}'""")
    with writing(instance.address) as connection:
        set_four_eyes(connection, on=True, origin=SOMEBODY, because=None)
        thread = threading.Thread(target=begin)
        thread.start()
        started.wait()
    thread.join()
    assert [type(error) for error in caught] == [FourEyes]


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ({"user": "root", "sudo_user": "ada", "host": "db1"}, "ada"),
        ({"user": "git", "container": "pod-1", "caller": "ada@laptop, by kubectl"}, "ada"),
        ({"user": "git", "container": "pod-1", "caller": "ada@laptop"}, "ada"),
        ({"user": "git", "container": "pod-1", "caller": "ada"}, "ada"),
        ({"user": "git", "container": "pod-1", "caller": "ada@corp.example.com@laptop"}, "ada@corp.example.com"),
        ({"user": "git", "container": "pod-1", "caller": "ada@laptop (context admin@prod)"}, "ada"),
        (
            {"user": "git", "container": "pod-1", "caller": "ada@corp.example.com@laptop (context admin@prod)"},
            "ada@corp.example.com",
        ),
        ({"user": "root", "sudo_user": "ada", "caller": "max@laptop"}, "ada"),
        ({"user": "root", "host": "db1"}, "root"),
    ],
)
def test_a_person_is_who_was_there_before_sudo_or_before_the_container(origin: dict[str, str], name: str) -> None:
    assert person(origin) == name

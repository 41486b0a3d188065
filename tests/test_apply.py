"""`apply` and `undo`: stored plans, runs that stopped, and the way back."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_token,
    make_tokens,
    make_updates_slow,
    make_user,
)
from tests.testbed.instance import EXTEND, LATER, NOWHERE, SOON, TODAY, Instance, complaints, one_line, planned
from tests.testbed.marks import slow_ones
from tests.testbed.program import GITLAB_TOKENS, call
from tests.testbed.replication import Replicated
from tests.testbed.runs import resume
from tokens import database
from tokens.address import Address
from tokens.commands import change, stored
from tokens.commands.options.handling import GUARDS
from tokens.counts import counted
from tokens.errors import ExitStatus
from tokens.journal.installation import REVISION
from tokens.run.batches import BatchCommitted, run
from tokens.run.stored_plans import plan_to_apply
from tokens.run.undo import STORED_CHANGED_TOKENS, STORED_REVOKED_TOKENS
from tokens.terminal.console import PATIENCE_VARIABLE
from tokens.upgrade import Branch, downgrade, upgrade

ERIKA = {"SUDO_USER": "erika", "GITLAB_TOKENS_CALLER": "erika@desk"}
MAX = {"SUDO_USER": "max", "GITLAB_TOKENS_CALLER": "max@desk"}


@pytest.fixture
def slow(instance: Instance) -> Instance:
    """5000 more tokens soon, whose update takes seconds, so that there is time to stop it."""
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 4940, expires_at=SOON)
        make_updates_slow(connection, seconds=0.001)
    return instance


def history(instance: Instance, run: int) -> Any:
    return instance.json("history", "--run", run)


def somebody_holds(instance: Instance, tokens: int) -> sa.Connection:
    """A session that holds the first `tokens` tokens that expire soon until it is closed."""
    connection = make_engine(instance.address).connect()
    statement = sa.text("""
        SELECT id FROM personal_access_tokens WHERE expires_at = :day ORDER BY id LIMIT :tokens FOR UPDATE
    """)
    assert len(connection.execute(statement, {"day": SOON, "tokens": tokens}).all()) == tokens
    return connection


def test_a_plan_is_stored_by_one_person_and_carried_out_by_another(instance: Instance) -> None:
    out = instance.done(*EXTEND, "--plan", "--reason", "rotation is late", env=ERIKA)
    assert out.endswith(
        "Stored as run 1; nothing was changed. It lapses after 24 hours. "
        "→ to carry it out: gitlab-tokens apply --run 1\n"
    )
    assert instance.counts() == {str(SOON): 60}
    assert history(instance, 1)["state"] == "planned"

    out = instance.done("apply", "--run", 1, "--yes", env=MAX)
    assert out.startswith(f"Run 1, to extend the expiration date of 60 tokens on {instance.named}\n")
    assert re.search(r"\nPlanned .* UTC by erika \(sudo, as \w+\) .*, called by erika@desk\n", out)
    assert "Reason: rotation is late\n" in out
    assert f"| {SOON}      | {LATER}      | 60       |" in out
    assert re.sub(r"in \d+ s", "in 0 s", out).endswith(
        "Updated 60 of 60 tokens in 0 s.\n"
        "Recounted: 60 of 60 tokens have their new date.\n"
        "Recorded as run 1. → to take it back: gitlab-tokens undo --run 1\n"
    )
    assert instance.counts() == {str(LATER): 60}
    run = history(instance, 1)
    assert (run["state"], run["planned_by"]["sudo_user"]) == ("done", "erika")
    assert [attempt["by"]["sudo_user"] for attempt in run["attempts"]] == ["max"]
    assert instance.done("apply", "--run", 1, "--yes") == "Run 1 is complete: there is nothing to do.\n"
    assert instance.facts("apply", "--run", 1, "--yes") == {"run": 1, "state": "done"}


def test_a_plan_says_which_waiting_ones_have_tokens_of_it_too(instance: Instance) -> None:
    first = instance.done(*EXTEND, "--plan")
    instance.done("revoke", "--within", "90d", "--plan")
    instance.done("withdraw", "--run", 2, "--yes")
    again = instance.done(*EXTEND, "--plan")
    assert "NOTE: Plans that nobody has applied" not in first
    assert "NOTE: Plans that nobody has applied yet have tokens of this one, too: run 1 has 60. The plan" in again
    assert instance.json(*EXTEND, "--plan")["overlaps"] == [{"run": 1, "tokens": 60}, {"run": 3, "tokens": 60}]
    instance.done("apply", "--run", 1, "--yes")
    of_others = instance.json("remove", "--expires", LATER, "--plan")["overlaps"]
    assert of_others == [{"run": 3, "tokens": 60}, {"run": 4, "tokens": 60}], "but not of one that was applied"


def test_the_tokens_of_a_stored_plan_are_changed_as_they_were_seen(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    first, second, *_ = sorted(instance.dates())
    with make_engine(instance.address).begin() as connection:
        late = make_token(connection, expires_at=SOON)
    instance.execute(
        "UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :first",
        first=first,
    )
    instance.execute("DELETE FROM personal_access_tokens WHERE id = :second", second=second)
    done = instance.run("apply", "--run", 1, "--yes")
    assert done.returncode == 4
    assert one_line(done) == (
        "2 tokens had another date by then, or were gone or another's, and were left alone. "
        "→ to see them: gitlab-tokens history --run 1"
    )
    assert re.search(r"Updated 58 of 60 tokens in \d+ s\.\nRecounted: 58 of 60", done.stdout)
    dates = instance.dates()
    assert (dates[first], dates[late]) == (None, str(SOON))
    left = [one["id"] for one in history(instance, 1)["outcomes"] if one["outcome"] == "left alone"]
    assert left == [first, second]


def test_tokens_changed_since_the_plan_are_named_before_it_is_applied(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    first, second, *_ = sorted(instance.dates())
    instance.execute("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id", id=first)
    instance.execute("DELETE FROM personal_access_tokens WHERE id = :id", id=second)
    text = f"2 tokens were changed since the plan, or are gone, and left alone: {first}, {second}."
    assert f"NOTE: {text}\n" in instance.done("apply", "--run", 1, "--dry-run")
    (note,) = instance.json("apply", "--run", 1, "--dry-run")["plan"]["notes"]
    assert (note["concern"], note["text"], note["ids"], note["guard"]) == ("changed-since", text, [first, second], None)
    done = instance.run("apply", "--run", 1, "--yes")
    assert (done.returncode, one_line(done).split(",")[0]) == (4, "2 tokens had another date by then")
    assert instance.json("history", "--run", 1)["changed"] == 58


@pytest.mark.parametrize(
    ("change", "deed"),
    [
        (EXTEND, "put back the expiration date of 58 tokens"),
        (("revoke", "--expires", SOON), "bring back 58 revoked tokens"),
    ],
    ids=["extend", "revoke"],
)
def test_a_stored_undo_says_when_it_is_applied_what_it_said_when_it_was_planned(
    instance: Instance, change: tuple[object, ...], deed: str
) -> None:
    instance.done(*change, "--yes")
    first, second, *rest = sorted(instance.dates())
    touched = "expires_at = NULL, updated_at = now() + interval '1 hour'"
    instance.execute(f"UPDATE personal_access_tokens SET {touched} WHERE id = :id", id=first)
    instance.execute("DELETE FROM personal_access_tokens WHERE id = :id", id=second)
    allow = ("--allow", "reviving") if change[0] == "revoke" else ()
    planned_undo = instance.json("undo", "--run", 1, "--plan", *allow)
    assert deed in instance.done("undo", "--run", 1, "--dry-run", *allow)
    shown = instance.json("apply", "--run", 2, "--dry-run", *allow)
    assert (shown["plan"]["tokens"], planned(shown)) == (58, planned(planned_undo))
    (note,) = [note for note in shown["plan"]["notes"] if note["concern"] == "changed-since"]
    assert note["ids"] == planned_undo["changed_since"] == [first, second]
    assert [one["id"] for one in shown["outcomes"]] == rest
    refused = instance.refusal("apply", "--run", 2, "--at-most", 57, "--yes", *allow)
    assert refused == "The plan has 58 tokens, more than --at-most 57: nothing was changed."
    instance.execute(f"UPDATE personal_access_tokens SET revoked = false, expires_at = '{SOON}' WHERE id = {rest[0]}")
    assert instance.json("apply", "--run", 2, "--dry-run", *allow)["plan"]["tokens"] == 57
    deed = deed.replace("58", "57")
    with instance.terminal("apply", "--run", 2, *allow) as program:
        program.wait_for(f"{deed[0].upper()}{deed[1:]} on {instance.named}? (y/N)")
        program.press("y", "enter")
        assert program.wait() == 4
    assert instance.json("history", "--run", 2)["changed"] == 57


def test_tokens_revoked_since_the_plan_are_named_before_they_were_to_be_revoked(instance: Instance) -> None:
    instance.done("revoke", "--within", "90d", "--plan")
    first = min(instance.dates())
    instance.execute("UPDATE personal_access_tokens SET revoked = true WHERE id = :id", id=first)
    text = f"1 token was changed since the plan, or is gone, and left alone: {first}."
    assert f"NOTE: {text}\n" in instance.run("apply", "--run", 1, "--dry-run").stdout


def given_out_again(instance: Instance, *ids: int) -> None:
    """After a restore of GitLab's tables alone somebody else's new tokens have got these ids."""
    instance.execute(
        "UPDATE personal_access_tokens SET created_at = now() AT TIME ZONE 'UTC' + interval '1 hour', name = 'theirs' "
        "WHERE id = ANY(:ids)",
        ids=list(ids),
    )


@pytest.mark.parametrize(
    "change",
    [EXTEND, ("extend", "--expires", SOON, "--by", "90d", "--stagger", "5d"), ("revoke", "--expires", SOON)],
    ids=["to a date", "by days", "revoke"],
)
def test_a_new_token_that_has_got_the_id_of_a_planned_one_is_left_alone(
    instance: Instance, change: tuple[object, ...]
) -> None:
    instance.done(*change, "--plan")
    first, second, *_ = ids = sorted(instance.dates())
    given_out_again(instance, first, second)
    before = instance.dates()
    text = f"2 tokens were changed since the plan, or are gone, and left alone: {first}, {second}."
    assert f"NOTE: {text}\n" in instance.done("apply", "--run", 1, "--dry-run")
    assert instance.run("apply", "--run", 1, "--yes").returncode == 4
    (run,) = instance.json("history")["runs"]
    assert (run["changed"], run["changed_meanwhile"], run["locked"]) == (58, 2, 0)
    assert {one: instance.dates()[one] for one in (first, second)} == {one: before[one] for one in (first, second)}
    assert instance.value("SELECT count(*) FROM personal_access_tokens WHERE revoked AND name = 'theirs'") == 0
    given_out_again(instance, ids[-1])
    instance.execute(f"UPDATE personal_access_tokens SET updated_at = now() + interval '1 hour' WHERE id = {ids[-1]}")
    row = f"SELECT CAST(t AS text) FROM personal_access_tokens t WHERE id = {ids[-1]}"
    kept = instance.value(row)
    undo = ("undo", "--run", 1, *(("--allow", "reviving") if change[0] == "revoke" else ()))
    assert instance.json(*undo, "--dry-run")["changed_since"] == [ids[-1]]
    assert instance.run(*undo, "--yes").returncode == 4
    assert instance.value(row) == kept
    assert instance.json("history")["runs"][0]["changed"] == 57


def test_a_clock_of_gitlabs_that_is_ahead_makes_no_token_another_one(instance: Instance) -> None:
    instance.execute("UPDATE personal_access_tokens SET created_at = now() AT TIME ZONE 'UTC' + interval '2 minutes'")
    instance.done(*EXTEND, "--plan")
    instance.done("apply", "--run", 1, "--yes")
    assert instance.counts() == {str(LATER): 60}
    # What is planned and carried out at once needs no clock at all.
    instance.execute("UPDATE personal_access_tokens SET created_at = now() AT TIME ZONE 'UTC' + interval '2 days'")
    instance.done("extend", "--expires", LATER, "--to", SOON, "--allow", "earlier", "--yes")
    assert instance.counts() == {str(SOON): 60}


def test_a_plan_that_waited_for_more_than_a_day_is_refused_until_it_is_allowed(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    instance.execute("UPDATE token_tasks.runs SET created_at = created_at - interval '24 hours 1 minute'")
    assert instance.refusal("apply", "--run", 1, "--yes") == (
        "Refused because of old-plan (see the notes above); to do it all the same use --allow old-plan"
    )
    (note,) = instance.json("apply", "--run", 1, "--yes", status=3)["plan"]["notes"]
    assert (note["concern"], note["guard"]) == ("old-plan", "old-plan")
    assert "planned (lapsed)" in instance.done("history")
    assert instance.refusal("apply", "--run", 1, "--yes", "--allow", "past") != ""
    instance.done("apply", "--run", 1, "--yes", "--allow", "old-plan")
    assert instance.counts() == {str(LATER): 60}


def test_the_guards_are_asked_again_when_a_plan_is_applied(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    assert instance.refusal("apply", "--run", 1, "--yes", "--at-most", 59).startswith("The plan has 60 tokens")
    instance.execute(
        "INSERT INTO application_settings (created_at, updated_at, maintenance_mode) VALUES (now(), now(), true)"
    )
    assert instance.refusal("apply", "--run", 1, "--yes").startswith("Refused because of maintenance")
    document = instance.json("apply", "--run", 1, "--yes", status=3)
    assert [note["concern"] for note in document["plan"]["notes"]] == ["maintenance"]


def test_apply_and_undo_ask_on_a_terminal_and_need_yes_elsewhere(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    said = instance.refusal("apply", "--run", 1, status=2)
    assert said.startswith("apply asks before it changes anything and needs a terminal")
    with instance.terminal("apply", "--run", 1) as program:
        program.wait_for(f"Extend the expiration date of 60 tokens on {instance.named}? (y/N)")
        program.press("enter")
        assert program.wait() == 0
        assert program.lines[-1] == "Nothing was changed."
    with instance.terminal("apply", "--run", 1) as program:
        program.press("y", "enter")
        assert program.wait() == 0
    assert instance.counts() == {str(LATER): 60}
    said = instance.refusal("undo", "--run", 1, status=2)
    assert said.startswith("undo asks before it changes anything and needs a terminal")
    with instance.terminal("undo", "--run", 1) as program:
        program.wait_for(f"Undo run 1: put back the expiration date of 60 tokens on {instance.named}? (y/N)")
        program.press("n", "enter")
        assert program.wait() == 0
        assert program.lines[-1] == "Nothing was changed."
    with instance.terminal("undo", "--run", 1) as program:
        program.press("y", "enter")
        assert program.wait() == 0
        assert program.lines[-1] == "Recorded as run 2."
    assert instance.counts() == {str(SOON): 60}


def test_locked_tokens_are_told_and_changed_by_apply(instance: Instance) -> None:
    with somebody_holds(instance, 3):
        done = instance.run(*EXTEND, "--yes")
    assert done.returncode == 4
    assert one_line(done) == (
        "3 tokens were held by another session to the end. → to see them: gitlab-tokens history --run 1 "
        "→ to go on: gitlab-tokens apply --run 1 → to take it back: gitlab-tokens undo --run 1"
    )
    assert done.stdout.endswith("Recorded as run 1.\n"), "how to take it back is said once"
    assert instance.counts() == {str(LATER): 57, str(SOON): 3}
    assert history(instance, 1)["state"] == "partial"
    out = instance.done("apply", "--run", 1, "--yes")
    assert out.startswith("Run 1, to extend the expiration date of 3 tokens (of 60) on ")
    assert instance.counts() == {str(LATER): 60}
    run = history(instance, 1)
    assert (run["state"], run["changed"], run["locked"], len(run["attempts"])) == ("done", 60, 0, 2)
    assert instance.value("SELECT recounted FROM token_tasks.runs") == 60, "the last attempt counts the whole run"


def test_what_has_changed_nothing_is_not_offered_to_be_taken_back_also_at_a_second_attempt(instance: Instance) -> None:
    with somebody_holds(instance, 60):
        for words in (EXTEND, ("apply", "--run", 1)):
            said = one_line(instance.run(*words, "--yes"))
            assert said.endswith(" → to go on: gitlab-tokens apply --run 1")


def test_the_last_attempt_also_counts_what_those_before_have_changed(instance: Instance) -> None:
    with somebody_holds(instance, 3):
        instance.run(*EXTEND, "--yes")
    one = instance.value(f"SELECT min(id) FROM personal_access_tokens WHERE expires_at = '{LATER}'")
    instance.execute(f"UPDATE personal_access_tokens SET expires_at = '{SOON}' WHERE id = {one}")
    out = instance.done("apply", "--run", 1, "--yes")
    assert "\nRecounted: 3 of 3 tokens have their new date.\n" in out
    assert "\nOf the attempts before: 56 of 57 tokens have their new date.\n" in out
    assert instance.value("SELECT recounted FROM token_tasks.runs") == 59


def test_a_run_that_died_with_its_last_token_is_counted_and_ended_by_apply(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    instance.execute("UPDATE token_tasks.runs SET state = 'stopped', finished_at = NULL, recounted = NULL")
    out = instance.done("apply", "--run", 1, "--yes")
    assert "\nNo token was left to change.\nOf the attempts before: 60 of 60 tokens have their new date.\n" in out
    assert instance.value("SELECT ARRAY[state, CAST(recounted AS text)] FROM token_tasks.runs") == ["done", "60"]


def test_going_on_repeats_the_standbys_jobs_and_lag_that_were_typed(replicated: Replicated) -> None:
    with replicated.database(journal=True) as pair:
        primary, standby = Instance(pair.primary), url(pair.standby)
        with make_engine(pair.primary).begin() as connection:
            make_tokens(connection, 3, expires_at=SOON)
        replicated.catch_up()
        careful = ("--jobs", 2, "--max-lag", "1h", "--standby", standby)
        with somebody_holds(primary, 1):
            said = one_line(primary.run(*EXTEND, "--yes", *careful))
            on = f"--standby '{standby}' --max-lag 1h --jobs 2"
            assert f" → to go on: gitlab-tokens apply --run 1 {on} → " in said
            with_password = standby.replace("@", ":s3cr3t@", 1)
            *_, said = complaints(primary.run("apply", "--run", 1, "--yes", "--standby", with_password))
            assert " → to go on, with the same --standby: gitlab-tokens apply --run 1 → " in said
            assert "s3cr3t" not in said
        assert "Updated 1 of 1 token " in primary.done("apply", "--run", 1, "--yes", *careful)


def test_going_on_does_not_repeat_what_the_configuration_says(instance: Instance) -> None:
    with somebody_holds(instance, 3):
        done = instance.run(*EXTEND, "--yes", env={"INVOKE_TOKENS_JOBS": "2"})
    assert " → to go on: gitlab-tokens apply --run 1 → " in one_line(done)


@pytest.mark.parametrize(
    ("number", "status", "jobs"),
    [(signal.SIGINT, 130, 1), *slow_ones((signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 3))],
)
def test_a_run_that_is_stopped_says_how_to_go_on_and_apply_finishes_it(
    slow: Instance, number: signal.Signals, status: int, jobs: int
) -> None:
    before = slow.checksum()
    typed = f" --jobs {jobs}" if jobs > 1 else ""
    with slow.terminal(*EXTEND, "--yes", *typed.split(), size=(50, 200)) as program:
        program.wait_for(lambda: bool(re.search(r"[1-9][0-9,]* of 5,000 tokens", program.text)))
        second = slow.run("remove", "--expires", LATER, "--yes") if number == signal.SIGTERM else None
        program.signal(number)
        assert program.wait() == status
        *_, stopped, on, back = program.lines
        assert on == f"→ to go on: gitlab-tokens apply --run 1{typed}"
        assert back == "→ to take it back: gitlab-tokens undo --run 1"
    changed = slow.counts()[str(LATER)]
    assert stopped.endswith(f"Stopped. {changed:,} of 5,000 tokens were changed and stay so.")
    if second:
        assert second.returncode == 3
        assert one_line(second).startswith("Run 1 (extend) is under way since ")
    out = slow.done("history", "--run", 1)
    assert f"5,000: {changed:,} changed, {5000 - changed:,} pending" in out
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    if number == signal.SIGINT:
        out = slow.done("apply", "--run", 1, "--yes")
        assert f"Recounted: {5000 - changed:,} of {5000 - changed:,} tokens have their new date." in out
        assert slow.counts() == {str(LATER): 5000}
    slow.done("undo", "--run", 1, "--yes")
    assert slow.checksum() == before


def test_a_run_that_failed_after_a_change_is_done_in_part_and_what_was_undone_since_stays_so(
    instance: Instance,
) -> None:
    object_to_some = """
        CREATE FUNCTION public.object() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF OLD.id > 600 THEN RAISE ''no''; END IF; RETURN NEW; END';
        CREATE TRIGGER object BEFORE UPDATE ON public.personal_access_tokens
        FOR EACH ROW EXECUTE FUNCTION public.object()
    """
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 1500, user_id=make_user(connection), expires_at=SOON)
        connection.execute(sa.text(object_to_some))
    done = instance.run(*EXTEND, "--yes")
    assert (done.returncode, "500 of 1,560 tokens were changed and stay so." in one_line(done)) == (4, True)
    with make_engine(instance.address).begin() as connection:
        connection.execute(sa.text("DROP TRIGGER object ON public.personal_access_tokens"))
    assert instance.run("undo", 1, "--yes").returncode == 0
    note = "NOTE: Run 2 has put back 500 of its tokens, and they stay so: this is about the others."
    assert note in instance.run("apply", 1, "--dry-run").stdout
    assert note in instance.run("apply", 1, "--yes").stdout
    assert instance.counts() == {str(LATER): 1060, str(SOON): 500}


@pytest.mark.slow
def test_a_run_without_a_record_is_gone_on_with_by_the_same_command(slow: Instance) -> None:
    with slow.terminal(*EXTEND, "--yes", "--no-journal", size=(50, 200)) as program:
        program.wait_for(lambda: bool(re.search(r"[1-9][0-9,]* of 5,000 tokens", program.text)))
        program.press("ctrl-c")
        assert program.wait() == 130
        assert program.lines[-1].endswith("and stay so. To go on, give the same command again.")
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    changed = slow.counts()[str(LATER)]
    assert f"Updated {5000 - changed:,} of {5000 - changed:,} tokens in" in slow.done(*EXTEND, "--yes")


def test_an_undo_that_is_stopped_is_finished_by_apply(slow: Instance) -> None:
    before = slow.checksum()
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    slow.done(*EXTEND, "--yes")
    slow.execute("ALTER TABLE personal_access_tokens ENABLE TRIGGER dawdle")
    with slow.terminal("undo", "--run", 1, "--yes", size=(50, 200)) as program:
        program.wait_for(lambda: bool(re.search(r"[1-9][0-9,]* of 5,000 tokens", program.text)))
        program.press("ctrl-c")
        assert program.wait() == 130
        assert program.lines[-1] == "→ to go on: gitlab-tokens apply --run 2"
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    out = slow.done("apply", "--run", 2, "--yes")
    assert re.match(r"Run 2, to put back the expiration date of [\d,]+ tokens \(of 5,000\) on ", out)
    assert slow.checksum() == before


@pytest.mark.slow
def test_an_undo_that_was_stopped_and_is_begun_anew_takes_up_what_is_left(slow: Instance) -> None:
    before = slow.checksum()
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    slow.done(*EXTEND, "--yes")
    slow.execute("ALTER TABLE personal_access_tokens ENABLE TRIGGER dawdle")
    with slow.terminal("undo", "--run", 1, "--yes", size=(50, 200)) as program:
        program.wait_for(lambda: bool(re.search(r"[1-9][0-9,]* of 5,000 tokens", program.text)))
        program.press("ctrl-c")
        assert program.wait() == 130
    slow.execute("ALTER TABLE personal_access_tokens DISABLE TRIGGER dawdle")
    back = slow.counts()[str(SOON)]
    assert 0 < back < 5000
    last = max(number for number, day in slow.dates().items() if day == str(LATER))
    slow.execute("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id", id=last)

    document = slow.json("undo", "--run", 1, "--dry-run")
    assert (document["put_back"], document["changed_since"]) == (back, [last])
    again = slow.run("undo", "--run", 1, "--yes")
    assert again.stdout.startswith(f"Plan to undo run 1: put back the expiration date of {4999 - back:,} tokens on ")
    had = counted(back, "token has its", "tokens have their")
    assert f"NOTE: {had} old date already, from an undo that was begun before.\n" in again.stdout
    assert f"Updated {4999 - back:,} of {5000 - back:,} tokens in" in again.stdout
    assert again.returncode == 4  # for the one that somebody else has changed
    slow.execute(f"UPDATE personal_access_tokens SET expires_at = '{SOON}' WHERE id = {last}")
    assert slow.checksum() == before


def test_what_is_undone_needs_no_second_undo_until_it_is_done_again(instance: Instance) -> None:
    before = instance.checksum()
    instance.done(*EXTEND, "--yes")
    instance.done("undo", "--run", 1, "--yes")
    assert instance.done("undo", "--run", 1, "--yes").endswith("Run 1 has been undone: there is nothing to do.\n")
    instance.done(*EXTEND, "--yes")
    assert "Updated 60 of 60 tokens in" in instance.done("undo", "--run", 1, "--yes")
    assert instance.checksum() == before


def test_a_token_that_was_put_back_twice_counts_once(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    with somebody_holds_late(instance, 10):
        instance.run("undo", "--run", 1, "--yes")
    (first, *_) = sorted(number for number, day in instance.dates().items() if day == str(SOON))
    instance.execute(f"UPDATE personal_access_tokens SET expires_at = '{LATER}' WHERE id = {first}")
    with somebody_holds_late(instance, 10):
        instance.run("undo", "--run", 1, "--yes")
    run = history(instance, 1)
    assert (run["put_back"], run["changed"], run["undone_by"]) == (50, 60, 3)
    assert "undone in part by 3" in instance.done("history")


@pytest.mark.slow
def test_what_another_process_has_done_since_the_plan_was_shown_is_not_counted(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 4940, expires_at=SOON)
    instance.done(*EXTEND, "--plan")

    def carry_out_one_batch() -> int:
        """As another process that is stopped then; how many tokens are left."""
        events = run(instance.address, plan_to_apply(instance.address, 1).plan, resume(instance.address, 1))
        while not isinstance(next(events), BatchCommitted):
            pass
        events.close()
        return instance.counts()[str(SOON)]

    shown = carry_out_one_batch()
    with instance.terminal("apply", "--run", 1, size=(50, 200)) as program:
        program.wait_for("(y/N)")
        left = carry_out_one_batch()
        assert 0 < left < shown < 5000
        program.press("y", "enter")
        assert program.wait() == 0
        said = "NOTE: Another process has gone on with this run since it was shown:"
        assert f"{said} {left:,} of {shown:,} tokens are left." in program.text
        assert f"Updated {left:,} of {left:,} tokens in" in program.text
        assert f"Recounted: {left:,} of {left:,} tokens have their new date." in program.text


@pytest.mark.slow
@pytest.mark.first_elsewhere("revision")
@pytest.mark.parametrize(("revision", "end"), [("17.8", str(LATER)), ("18.9", None)])
def test_undo_restores_every_column_of_every_row(
    gitlab_database_at: Callable[[str], Address], revision: str, end: str | None
) -> None:
    instance = Instance(gitlab_database_at(revision))
    upgrade(instance.address, Branch.JOURNAL)
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection)
        bots = [make_user(connection, user_type=6) for _ in range(3)]
        ends = [
            make_membership(connection, user_id=bots[0], group_id=group, expires_at=SOON),
            make_membership(connection, user_id=bots[1], group_id=group, expires_at=SOON + timedelta(9)),
        ]
        other = make_membership(connection, user_id=bots[2], group_id=group, expires_at=LATER + timedelta(99))
        make_tokens(connection, 2500, expires_at=SOON)
        for bot in bots:
            # The first bot has tokens in both chunks of its date, and of another date, which get another new one.
            make_tokens(connection, 3, expires_at=SOON, user_id=bot)
            make_token(connection, expires_at=SOON + timedelta(1), user_id=bot, seven_days_notification_sent_at=MOMENT)
        make_token(connection, expires_at=SOON, expire_notification_delivered=True)
        make_token(connection, expires_at=SOON, after_expiry_notification_delivered=True, user_id=bots[0])
        make_token(connection, expires_at=SOON, thirty_days_notification_sent_at=MOMENT)
        make_token(connection, expires_at=SOON, sixty_days_notification_sent_at=MOMENT, revoked=None)
        make_token(connection, expires_at=SOON, sixty_days_notification_sent_at=MOMENT, revoked=True)
    before = instance.checksum()
    statement = "SELECT array_agg(CAST(expires_at AS text) ORDER BY id) FROM members"
    out = instance.done("extend", "--expires", f"{SOON}..{SOON + timedelta(1)}", "--to", LATER, "--yes")
    assert "2 bots have a membership that ends before the new date" in out
    assert instance.value(statement) == [end, end, str(LATER + timedelta(99))]
    assert len(ends) == 2
    assert other
    assert instance.value(f"SELECT count(*) FROM personal_access_tokens WHERE {WARNED} AND revoked IS NOT TRUE") == 0
    run = history(instance, 1)
    assert (run["memberships_moved"], run["notices_rearmed"]) == (2, 7)

    shown = instance.done("undo", "--run", 1, "--dry-run")
    assert shown.startswith("Plan to undo run 1: put back the expiration date of 2,516 tokens on ")
    instance.done("undo", "--run", 1, "--yes", "--reason", "a mistake")
    assert instance.checksum() == before
    # A stagger gives the tokens of one bot several new dates, and moves its membership more than once.
    instance.done("extend", "--expires", f"{SOON}..{SOON + timedelta(1)}", "--to", LATER, "--stagger", "90d", "--yes")
    assert instance.checksum() != before
    instance.done("undo", "--run", 3, "--yes")
    assert instance.checksum() == before


MOMENT = "2026-01-02 03:04:05.678901+00"
WARNED = """(
    expire_notification_delivered OR after_expiry_notification_delivered
    OR num_nonnulls(
      seven_days_notification_sent_at, thirty_days_notification_sent_at, sixty_days_notification_sent_at
    ) > 0
)"""


@pytest.mark.parametrize("task", ["extend", "revoke"])
def test_a_stored_undo_is_read_without_going_through_all_tokens_for_each(instance: Instance, task: str) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 3000, expires_at=SOON)
    instance.done(*(EXTEND if task == "extend" else ("revoke", "--expires", SOON)), "--yes")
    instance.done("undo", "--run", 1, "--plan", *(() if task == "extend" else ("--allow", "reviving")))
    tokens = STORED_CHANGED_TOKENS if task == "extend" else STORED_REVOKED_TOKENS
    about = {"undone_run": 1, "planned": 1, "stored_run": 2}
    # The server has no statistics of the journal yet.
    with database.reading(instance.address) as reading:
        row = reading.row(f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM {tokens}", **about)

    def most(node: Any) -> int:
        read: int = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return max(read, *(most(one) for one in node.get("Plans", ())), 0)

    assert 3000 <= most(row[0][0]["Plan"]) < 5 * 3060


def test_tokens_changed_since_are_left_alone_and_listed(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    first, second, third, *_ = sorted(instance.dates())
    instance.execute("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id", id=second)
    instance.execute("DELETE FROM personal_access_tokens WHERE id = :id", id=third)
    note = f"NOTE: 2 tokens were changed since, or are gone, and left alone: {second}, {third}\n"
    dry = instance.run("undo", "--run", 1, "--dry-run")
    assert dry.stdout.startswith("Plan to undo run 1: put back the expiration date of 58 tokens on ")
    assert note in dry.stdout
    assert f"| {LATER}      | {SOON}      | 58       |" in dry.stdout
    refused = instance.refusal("undo", "--run", 1, "--at-most", 57, "--yes")
    assert refused == "The plan has 58 tokens, more than --at-most 57: nothing was changed."
    done = instance.run("undo", "--run", 1, "--at-most", 58, "--yes")
    assert done.returncode == 4
    assert note in done.stdout
    assert "Updated 58 of 60 tokens in" in done.stdout
    assert one_line(done).startswith("2 tokens had another date by then")
    assert instance.dates()[first] == str(SOON)
    assert instance.dates()[second] is None
    again = instance.run("undo", "--run", 1, "--yes")
    assert again.returncode == 4
    assert one_line(again) == "No token still has the date that run 1 gave it: nothing was changed."


def test_undo_is_refused_where_there_is_nothing_to_undo(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    nothing = "Run 1 has changed nothing (it is planned), so there is nothing to undo."
    withdraw = "→ to withdraw it: gitlab-tokens withdraw --run 1"
    assert instance.refusal("undo", "--run", 1, "--yes", status=2) == f"{nothing} {withdraw}"
    for task in ("undo", "apply"):
        unknown = "There is no run 7 in the journal. → to see the runs: gitlab-tokens history"
        assert instance.refusal(task, "--run", 7, "--yes", status=2) == unknown
    instance.done("apply", "--run", 1, "--yes")
    instance.done("undo", "--run", 1, "--yes")
    assert "undone by 2" in instance.done("history")
    assert instance.refusal("undo", "--run", 2, "--yes", status=2) == (
        "Run 2 is itself an undo, of run 1: to have its dates again, use extend or remove."
    )


def test_a_way_back_does_not_depend_on_the_day(instance: Instance) -> None:
    instance.execute(f"UPDATE personal_access_tokens SET expires_at = '{TODAY}'")
    instance.done("extend", "--expires", TODAY, "--state", "expired", "--to", LATER, "--yes")
    said = f"NOTE: {TODAY:%Y-%m-%d (%a}, today) is not in the future"
    assert said in instance.done("undo", "--run", 1, "--plan")
    assert said in instance.done("apply", "--run", 2, "--dry-run"), "who applies it sees what who planned it saw"
    assert said in instance.done("undo", "--run", 1, "--yes")
    assert instance.counts() == {str(TODAY): 60}
    instance.done("extend", "--expires", TODAY, "--state", "expired", "--to", LATER, "--yes")
    instance.done("apply", "--run", 2, "--yes")
    assert instance.counts() == {str(TODAY): 60}


def test_json_is_one_document_here_too(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    done = instance.json("apply", "--run", 1, "--yes")
    assert planned(done) == [(str(SOON), str(LATER), 60)]
    assert (done["run"], done["changed"], done["recounted"]) == (1, 60, 60)
    first = min(instance.dates())
    instance.execute("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = :id", id=first)
    assert instance.json("undo", "--run", 1, "--dry-run")["changed_since"] == [first]
    undone = instance.run("undo", "--run", 1, "--yes", "--output", "json")
    assert undone.returncode == 4
    document = json.loads(undone.stdout)
    assert (document["run"], document["changed"], document["changed_meanwhile"]) == (2, 59, 1)


def test_what_others_have_written_cannot_command_the_terminal(instance: Instance) -> None:
    caller = {"SUDO_USER": "mal\x1b[31mlory", "GITLAB_TOKENS_CALLER": "mal\u202elory@desk\x07"}
    instance.done(*EXTEND, "--plan", "--reason", "because\x1b[2J\nof that", env=caller)
    shown = [
        instance.run("apply", "--run", 1, "--yes", env=caller),
        instance.run("history"),
        instance.run("history", "--run", 1),
        instance.run("undo", "--run", 1, "--dry-run"),
    ]
    for done in shown:
        for line in (done.stdout + done.stderr).splitlines():
            assert line.isprintable(), line
    assert "Reason: because\ufffd[2J\ufffdof that\n" in shown[0].stdout
    assert "by mal\ufffd[31mlory (sudo, as " in shown[0].stdout


def test_what_cannot_be_read_is_one_line() -> None:
    nowhere = Instance(NOWHERE)
    for words, said in (
        (
            ["apply", "--yes"],
            "--run takes the number of a run, but was given nothing. → to see the runs: gitlab-tokens history",
        ),
        (["apply", "--yes", "--run", "\x1b[31m"], 'but was given "\ufffd[31m". '),
        (["undo", "--yes", "--run", "0"], 'but was given "0". '),
        (["undo", "--yes", "--run", "1", "--allow", "all"], "--allow takes"),
        (["apply", "--yes", "--run", "1", "--output", "csv"], "it goes with --dry-run alone"),
    ):
        done = nowhere.run(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert said in one_line(done)


def test_undo_leaves_alone_what_others_have_made_of_memberships_and_notices_since(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection)
        bots = [make_user(connection, user_type=6) for _ in range(2)]
        members = [make_membership(connection, user_id=bot, group_id=group, expires_at=TODAY) for bot in bots]
        for bot in bots:
            make_token(connection, expires_at=SOON, user_id=bot, expire_notification_delivered=True)
    instance.done(*EXTEND, "--yes")
    instance.execute("UPDATE members SET expires_at = '2040-01-01' WHERE id = :id", id=members[0])
    instance.execute(
        "UPDATE personal_access_tokens SET sixty_days_notification_sent_at = :now WHERE user_id = :id",
        now=MOMENT,
        id=bots[0],
    )
    instance.done("undo", "--run", 1, "--yes")
    assert instance.counts() == {str(SOON): 62}
    ends = "SELECT array_agg(CAST(expires_at AS text) ORDER BY id) FROM members"
    assert instance.value(ends) == ["2040-01-01", str(TODAY)]
    marked = "SELECT array_agg(user_id) FROM personal_access_tokens WHERE expire_notification_delivered"
    assert instance.value(marked) == [bots[1]]


@pytest.mark.slow
def test_a_reader_that_leaves_early_neither_stops_a_change_nor_hides_how_it_ended(instance: Instance) -> None:
    instance.done(*EXTEND, "--plan")
    instance.execute("DELETE FROM personal_access_tokens WHERE id = (SELECT min(id) FROM personal_access_tokens)")
    for command, options, counts in (("apply", (), {str(LATER): 59}), ("undo", ("--output", "json"), {str(SOON): 59})):
        reading, writing = os.pipe()
        os.close(reading)
        words = instance.command(command, "--run", 1, "--yes", *options)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(writing)
        assert instance.counts() == counts
        if command == "apply":
            assert done.returncode == 4
            assert "1 token had another date by then" in one_line(done)
        else:
            assert done.returncode == 4
            assert one_line(done) == (
                "The output has lost its reader. 59 of 59 tokens were changed and stay so. It is recorded as run 2."
            )


STAYS = "NOTE: 1 membership stays unchanged: the bot has tokens that live longer.\n"


def extended_bot(instance: Instance, *others: date) -> tuple[int, int, int]:
    """A bot whose membership was to end before its token's new date, and was moved by run 1: bot, token, member.

    `others` are the dates of tokens of the bot that are not in the run.
    """
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection)
        bot = make_user(connection, user_type=6, username=f"group_{group}_bot_1")
        member = make_membership(connection, user_id=bot, group_id=group, expires_at=SOON)
        token = make_token(connection, user_id=bot, expires_at=SOON)
        for day in others:
            make_token(connection, user_id=bot, expires_at=day)
    instance.done(*EXTEND, "--kind", "group", "--yes")
    assert membership_end(instance, member) is None
    return bot, token, member


def membership_end(instance: Instance, member: int) -> str | None:
    end: str | None = instance.value("SELECT CAST(expires_at AS text) FROM members WHERE id = :id", id=member)
    return end


@pytest.mark.parametrize("stored", [False, True])
def test_undo_puts_back_no_end_that_has_come_since_while_a_token_of_the_bot_works(
    instance: Instance, stored: bool
) -> None:
    _, token, member = extended_bot(instance)
    # As if the run was a while ago, and the membership's old end had come since; the token's old date is to come.
    instance.execute(
        "UPDATE token_tasks.runs SET created_at = now() - interval '9 days' WHERE id = 1",
        f"UPDATE token_tasks.memberships SET old_expires_at = ARRAY[DATE '{TODAY}']",
    )
    out = instance.done("undo", "--run", 1, "--plan" if stored else "--yes")
    if stored:
        out = instance.done("apply", "--run", 2, "--yes")
    assert STAYS in out
    assert instance.dates()[token] == str(SOON)
    assert membership_end(instance, member) is None


def test_undo_leaves_a_membership_that_another_token_of_the_bot_has_come_to_need(instance: Instance) -> None:
    bot, token, member = extended_bot(instance)
    with make_engine(instance.address).begin() as connection:
        make_token(connection, user_id=bot, expires_at=LATER, created_at=TODAY + timedelta(1))
    instance.done("undo", "--run", 1, "--plan")
    assert STAYS in instance.done("apply", "--run", 2, "--dry-run")
    assert instance.json("apply", "--run", 2, "--dry-run")["memberships_needed"] == 1
    out = instance.done("undo", "--run", 1, "--yes")
    assert STAYS in out
    assert instance.dates()[token] == str(SOON)
    assert membership_end(instance, member) is None


def test_undo_leaves_a_membership_that_a_later_run_relies_on(instance: Instance) -> None:
    bot, _, member = extended_bot(instance)
    with make_engine(instance.address).begin() as connection:
        other = make_token(connection, user_id=bot, expires_at=TODAY + timedelta(40), created_at="2020-01-01")
    instance.execute("UPDATE token_tasks.runs SET created_at = created_at - interval '1 day'")
    instance.done("extend", "--expires", TODAY + timedelta(40), "--to", LATER, "--yes")
    assert STAYS in instance.done("undo", "--run", 1, "--dry-run")
    instance.done("undo", "--run", 1, "--yes")
    assert instance.dates()[other] == str(LATER)
    assert membership_end(instance, member) is None


def test_a_later_run_that_is_undone_first_does_not_hold_a_membership(instance: Instance) -> None:
    bot, _, member = extended_bot(instance)
    with make_engine(instance.address).begin() as connection:
        make_token(connection, user_id=bot, expires_at=TODAY + timedelta(40), created_at="2020-01-01")
    instance.done("extend", "--expires", TODAY + timedelta(40), "--to", LATER, "--yes")
    instance.done("undo", "--run", 2, "--yes")
    assert "Along with the dates: 1 membership," in instance.done("undo", "--run", 1, "--dry-run")
    instance.done("undo", "--run", 1, "--yes")
    assert membership_end(instance, member) == str(SOON)


def test_tokens_that_the_undone_run_itself_has_changed_do_not_hold_a_membership(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection)
        bot = make_user(connection, user_type=6)
        member = make_membership(connection, user_id=bot, group_id=group, expires_at=SOON)
        tokens = [make_token(connection, user_id=bot, expires_at=SOON - timedelta(days)) for days in (0, 1, 2)]
    instance.done("extend", "--expires", f"{SOON - timedelta(2)}..{SOON}", "--to", LATER, "--kind", "group", "--yes")
    assert "Along with the dates: 1 membership," in instance.done("undo", "--run", 1, "--dry-run")
    instance.execute(
        "UPDATE personal_access_tokens SET expires_at = :since WHERE id = :id", since=LATER + timedelta(9), id=tokens[0]
    )
    assert STAYS in instance.done("undo", "--run", 1, "--dry-run")
    instance.run("undo", "--run", 1, "--yes")
    assert membership_end(instance, member) is None


@pytest.mark.parametrize(
    ("before", "since", "end"),
    [
        (TODAY + timedelta(10), LATER, None),
        # It would have died with the membership before the run, too.
        (LATER, LATER + timedelta(9), str(SOON)),
        (TODAY + timedelta(10), TODAY + timedelta(20), str(SOON)),
    ],
)
def test_undo_leaves_a_membership_that_a_token_needs_which_somebody_else_has_extended(
    instance: Instance, before: date, since: date, end: str | None
) -> None:
    bot, token, member = extended_bot(instance, before)
    instance.execute(
        "UPDATE personal_access_tokens SET expires_at = :since WHERE user_id = :bot AND id <> :token",
        since=since,
        bot=bot,
        token=token,
    )
    assert (STAYS in instance.done("undo", "--run", 1, "--dry-run")) is (end is None)
    instance.done("undo", "--run", 1, "--yes")
    assert membership_end(instance, member) == end


def test_undo_puts_a_membership_back_and_says_so_beforehand(instance: Instance) -> None:
    bot, _, member = extended_bot(instance)
    with make_engine(instance.address).begin() as connection:
        # It would have died with the membership before the run, too.
        make_token(connection, user_id=bot, expires_at=LATER, created_at="2020-01-01")
    out = instance.done("undo", "--run", 1, "--dry-run")
    along = "Along with the dates: 1 membership, and the notices of 0 tokens.\n"
    assert along in out
    instance.done("undo", "--run", 1, "--plan")
    shown = instance.json("apply", "--run", 2, "--dry-run")
    assert (shown["memberships"], shown["notices"], "memberships_needed" in shown) == (1, 0, False)
    assert along in instance.done("apply", "--run", 2, "--yes")
    assert membership_end(instance, member) == str(SOON)


def test_what_an_undo_still_needs_is_not_pruned_and_an_undo_without_it_refuses_to_go_on(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    with somebody_holds_late(instance):
        assert instance.run("undo", "--run", 1, "--yes").returncode == 4
    instance.execute("UPDATE token_tasks.runs SET created_at = created_at - interval '100 days' WHERE id = 1")
    instance.done("journal.prune", "--before", TODAY, "--yes")
    assert history(instance, 1)["run"] == 1
    instance.execute("UPDATE token_tasks.runs SET undoes = NULL WHERE id = 2")
    said = instance.refusal("apply", "--run", 2, "--yes")
    assert said == "Run 2 undoes a run that the journal has forgotten, so it cannot go on."


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_plan_meets_that_came_about_since_it_was_stored_is_treated_as_was_asked_for(
    instance: Instance, kept: bool
) -> None:
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection)
        bot = make_user(connection, user_type=6)
        member = make_membership(connection, user_id=bot, group_id=group, expires_at=LATER)
        token = make_token(connection, expires_at=SOON, user_id=bot)
    asked = ("--memberships", "keep", "--notices", "keep") if kept else ()
    instance.done(*EXTEND, *asked, "--plan")
    instance.execute(
        f"UPDATE members SET expires_at = '{SOON}' WHERE id = {member}",
        f"UPDATE personal_access_tokens SET seven_days_notification_sent_at = '2026-01-01' WHERE id = {token}",
    )
    before = instance.checksum()
    shown = instance.done("apply", "--run", 1, "--dry-run")
    assert ("will delete bot and token at its end" in shown, "may not warn again" in shown) == (kept, kept)
    instance.done("apply", "--run", 1, "--yes")
    sent = f"SELECT seven_days_notification_sent_at IS NOT NULL FROM personal_access_tokens WHERE id = {token}"
    assert membership_end(instance, member) == (str(SOON) if kept else None)
    assert instance.value(sent) == kept
    instance.done("undo", "--run", 1, "--yes")
    assert instance.checksum() == before


def test_an_undo_that_was_withdrawn_keeps_no_old_run(instance: Instance) -> None:
    instance.done(*EXTEND, "--yes")
    instance.done("undo", "--run", 1, "--plan")
    instance.done("withdraw", "--run", 2, "--yes")
    instance.execute("UPDATE token_tasks.runs SET created_at = created_at - interval '100 days' WHERE id = 1")
    instance.done("journal.prune", "--before", TODAY, "--yes")
    assert instance.value("SELECT array_agg(id) FROM token_tasks.runs") == [2]


def somebody_holds_late(instance: Instance, tokens: int | None = None) -> sa.Connection:
    """A session that holds the last `tokens` tokens that expire later, or all of them, until it is closed."""
    connection = make_engine(instance.address).connect()
    statement = sa.text("""
        SELECT FROM personal_access_tokens WHERE expires_at = :day ORDER BY id DESC LIMIT :tokens FOR UPDATE
    """)
    connection.execute(statement, {"day": LATER, "tokens": tokens})
    return connection


def test_a_run_that_goes_on_meets_the_guards_again(instance: Instance) -> None:
    with somebody_holds(instance, 60):
        assert instance.run(*EXTEND, "--yes").returncode == 4
    instance.execute("UPDATE application_settings SET max_personal_access_token_lifetime = 100")
    said = instance.refusal("apply", "--run", 1, "--yes")
    assert said.startswith("Refused because of beyond-maximum")
    instance.done("apply", "--run", 1, "--yes", "--allow", "beyond-maximum")
    assert instance.counts() == {str(LATER): 60}


def test_an_earlier_date_is_allowed_to_the_plan_and_again_to_who_carries_it_out_but_not_to_who_goes_on(
    instance: Instance,
) -> None:
    words = ("extend", "--expires", SOON, "--to", SOON - timedelta(1))
    instance.done(*words, "--plan", "--allow", "earlier")
    assert instance.refusal("apply", "--run", 1, "--yes").startswith("Refused because of earlier")
    with somebody_holds(instance, 60):
        assert instance.run("apply", "--run", 1, "--yes", "--allow", "earlier").returncode == 4
    instance.done("apply", "--run", 1, "--yes")
    assert instance.counts() == {str(SOON - timedelta(1)): 60}


def rotate(instance: Instance, old: int) -> int:
    """Give a token a successor, as GitLab does where the old one keeps a grace."""
    with make_engine(instance.address).begin() as connection:
        return make_token(connection, expires_at=LATER, previous_personal_access_token_id=old)


@pytest.mark.slow
def test_a_stored_plan_or_a_stopped_run_does_not_prolong_what_a_rotation_has_replaced_since(instance: Instance) -> None:
    how = (
        "Refused because of superseded (see the notes above); to leave out what a rotation has replaced plan it again "
        "with --leave-out superseded, to do it all the same use --allow superseded"
    )
    instance.done(*EXTEND, "--plan")
    with somebody_holds(instance, 59):
        assert instance.run(*EXTEND, "--yes").returncode == 4
    first = min(number for number, day in instance.dates().items() if day == str(SOON))
    rotate(instance, first)
    for number in (1, 2):
        assert instance.refusal("apply", "--run", number, "--yes") == how
    assert f"would live on beside it: {first}.\n" in instance.run("apply", "--run", 1, "--yes").stdout
    instance.done(*EXTEND, "--leave-out", "superseded", "--yes")
    assert instance.counts() == {str(SOON): 1, str(LATER): 60}


def test_an_undo_does_not_prolong_what_a_rotation_has_replaced_since(instance: Instance) -> None:
    earlier = SOON - timedelta(9)
    instance.done("extend", "--expires", SOON, "--to", earlier, "--allow", "earlier", "--yes")
    first, second, *_ = sorted(instance.dates())
    rotate(instance, first)
    undo = ("undo", "--run", 1, "--yes")
    assert instance.refusal(*undo).startswith(
        "Refused because of superseded (see the notes above); to leave out what a rotation has replaced use --leave-out"
    )
    assert f"would live on beside it (--leave-out superseded leaves it out): {first}.\n" in (instance.run(*undo).stdout)
    out = instance.done(*undo, "--leave-out", "superseded")
    assert out.startswith("Plan to undo run 1: put back the expiration date of 59 tokens on ")
    assert f"NOTE: 1 token that a rotation has replaced is left out: {first}.\n" in out
    assert (instance.dates()[first], instance.dates()[second]) == (str(earlier), str(SOON))
    assert instance.done(*undo, "--leave-out", "superseded").endswith(
        "No other token is left: there is nothing to do.\n"
    )
    instance.done(*undo, "--allow", "superseded")
    assert instance.counts() == {str(SOON): 60, str(LATER): 1}


def test_an_undo_that_costs_bots_is_refused_until_it_is_allowed(instance: Instance) -> None:
    long_dead = TODAY - timedelta(60)
    with make_engine(instance.address).begin() as connection:
        make_token(connection, user_id=make_user(connection, user_type=6), expires_at=long_dead)
    revived = instance.done("extend", "--expires", long_dead, "--state", "expired", "--to", LATER, "--yes")
    assert "NOTE: 1 bot" not in revived
    said = instance.refusal("undo", "--run", 1, "--yes")
    assert said == "Refused because of doomed (see the notes above); to do it all the same use --allow doomed"
    assert instance.done("undo", "--run", 1, "--yes", "--allow", "doomed").startswith("Plan to undo run 1: put back")


def test_an_undo_says_whose_run_it_is_when_it_was_planned_and_why(instance: Instance) -> None:
    instance.done(*EXTEND, "--reason", "OPS-7", "--yes")
    title, planned, reason, *_ = instance.done("undo", "--run", 1, "--dry-run").splitlines()
    assert title.startswith("Plan to undo run 1: put back the expiration date of 60 tokens on ")
    assert re.fullmatch(r"Run 1, extend, was planned [-\d]+ [:\d]+ UTC by .+", planned)
    assert reason == "Reason: OPS-7"
    weekday = f"{TODAY:%a}"
    with instance.terminal("undo", "--run", 1, "--dry-run") as program:
        program.wait_for(f"UTC ({weekday}, today) by ")
    with instance.terminal("history", "--run", 1, size=(100, 120)) as program:
        program.wait_for(f"Change      to {LATER} ({LATER:%a}, in {(LATER - TODAY).days} days)")
        program.wait_for(f"UTC ({weekday}, today)")


@pytest.mark.slow
def test_an_undo_says_only_what_it_puts_back(instance: Instance) -> None:
    bot, token, _ = extended_bot(instance)
    with make_engine(instance.address).begin() as connection:
        again = make_token(connection, user_id=bot, expires_at=SOON, expire_notification_delivered=True)
        make_token(connection, expires_at=SOON, expire_notification_delivered=True)
    instance.done(*EXTEND, "--yes")
    run = instance.value("SELECT max(id) FROM token_tasks.runs")
    along = "Along with the dates: 0 memberships, and the notices of {}.\n"
    assert along.format("2 tokens") in instance.done("undo", "--run", run, "--dry-run")
    # GitLab has warned about it since.
    instance.execute("UPDATE personal_access_tokens SET expire_notification_delivered = true WHERE id = :id", id=again)
    assert along.format("1 token") in instance.done("undo", "--run", run, "--yes")
    assert "Along" not in instance.done("undo", "--run", run, "--yes")
    assert instance.dates()[token] == str(LATER)
    instance.done("undo", "--run", 1, "--yes")
    *_, undone = instance.done("undo", "--run", 1, "--yes").splitlines()
    assert undone == "Run 1 has been undone: there is nothing to do."


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("revoke", "doomed, maintenance, publication"),
        ("undo", "reviving, superseded, doomed, maintenance"),
        ("apply", "past, earlier, beyond-maximum, reviving, superseded, doomed, maintenance, old-plan"),
        ("extend", "past, earlier, beyond-maximum, superseded, doomed, maintenance, publication"),
        ("remove", "beyond-maximum, superseded, doomed, maintenance, publication"),
    ],
)
def test_help_and_refusal_name_the_guards_of_the_task_and_it_takes_no_other(
    task: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = " ".join(call(GITLAB_TOKENS, "--help", task).stdout.split()).replace("beyond- maximum", "beyond-maximum")
    assert f"Continue in spite of a guard: {words}. Several" in shown
    every = {word for words in GUARDS.values() for word in words}
    for word in every - set(words.split(", ")):
        run = {"extend": ("--to", "2099-01-01"), "remove": (), "revoke": ()}.get(task, ("--run", "1"))
        assert typed(task, *run, "--yes", "--target", url(NOWHERE), "--allow", word) == ExitStatus.USAGE
        assert capsys.readouterr().err.startswith(f'--allow takes {words}, not "{word}".')


def test_a_second_change_is_refused_while_one_is_under_way_and_leaves_nothing_behind(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.done(*EXTEND, "--plan")
    instance.execute(
        "UPDATE token_tasks.runs SET state = 'running', attempt = 1, heartbeat_at = now()",
        "INSERT INTO token_tasks.attempts (run_id, number, carried_out_by, process, tool_version) "
        "VALUES (1, 1, '{}', 'elsewhere', '0')",
    )
    monkeypatch.setattr(change, "make_plan", pytest.fail)  # it may take long, and would be for nothing
    monkeypatch.setattr(stored, "plan_to_undo", pytest.fail)
    monkeypatch.setattr(stored, "plan_to_apply", pytest.fail)
    for words in (EXTEND, (*EXTEND, "--no-journal"), ("undo", "--run", 1), ("apply", "--run", 1)):
        done = instance.run(*words, "--yes")
        assert done.returncode == 3
        assert "Run 1 (extend) is under way" in done.stderr
    assert instance.value("SELECT count(*) FROM token_tasks.runs") == 1
    assert instance.counts() == {str(SOON): 60}


def test_nobody_listening_to_the_progress_does_not_end_a_run(instance: Instance) -> None:
    environment = {**os.environ, PATIENCE_VARIABLE: "0"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = instance.command(*EXTEND, "--yes")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=closed, check=False)
    assert done.returncode == 0
    assert instance.counts() == {str(LATER): 60}
    assert history(instance, 1)["state"] == "done"
    assert "60 of 60 tokens (100 %)" in instance.run("undo", "--run", 1, "--yes", env={PATIENCE_VARIABLE: "0"}).stderr


def test_a_trigger_that_alters_the_new_date_is_found_by_the_recount(instance: Instance) -> None:
    instance.execute(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.expires_at = '2031-01-01'; RETURN NEW; END $$",
        "CREATE TRIGGER meddle BEFORE UPDATE ON personal_access_tokens FOR EACH ROW EXECUTE FUNCTION meddle()",
    )
    done = instance.run(*EXTEND, "--yes")
    assert done.returncode == 4
    first = ", ".join(map(str, sorted(instance.dates())[:5]))
    assert one_line(done) == (
        f"60 tokens did not keep their new date, so something else changes them: {first} and 55 more."
    )
    instance.execute("DROP TRIGGER meddle ON personal_access_tokens")
    instance.execute("UPDATE personal_access_tokens SET expires_at = :day", day=LATER)
    instance.execute(
        "CREATE TRIGGER meddle BEFORE UPDATE ON personal_access_tokens FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    done = instance.run("undo", "--run", 1, "--yes")
    assert one_line(done).startswith("60 tokens did not keep their old date, so something else changes them")


def test_an_older_journal_is_migrated_by_the_first_change_with_a_word(instance: Instance) -> None:
    downgrade(instance.address, Branch.JOURNAL, "1")
    done = instance.run(*EXTEND, "--yes")
    assert done.returncode == 0
    assert one_line(done) == f"The journal is of revision 1, this version needs {REVISION}. It is migrated now."
    assert history(instance, 1)["state"] == "done"

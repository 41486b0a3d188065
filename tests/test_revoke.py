"""`revoke` as somebody types it: what it selects, shows, refuses and does, and its way back."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import logs
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_settings, make_token, make_tokens, make_user
from tests.testbed.instance import SOON, TODAY, Instance, complaints
from tests.testbed.runs import begin_run, install
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import refuse_guarded
from tokens.change.plan import RunKind, make_plan
from tokens.change.revocation import Ends, read_ends
from tokens.errors import ExitStatus, Refused
from tokens.gitlab.condition import Condition
from tokens.gitlab.inactive_bots import CleanUp
from tokens.gitlab.schema import read_schema
from tokens.gitlab.settings import read_policy
from tokens.run.batches import BatchCommitted, run
from tokens.selection import Selection

NOW = datetime.now(UTC)
A_YEAR_AGO = str(TODAY - timedelta(365))  # later than the last use of any token here
BOT, SERVICE_ACCOUNT = 6, 13
LONG_AGO = "2024-01-01 00:00:00.5"

ROWS = "SELECT id, revoked, CAST(updated_at AS text) AS updated_at FROM personal_access_tokens ORDER BY id"


@pytest.fixture
def people(alone: Alone) -> Iterator[Instance]:
    """With a journal: tokens 1 to 4 of a person, never used, of two dates and none; 5 of one who is blocked; 6 has
    expired, 7 is revoked already.
    """
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            erika = make_user(connection, username="erika")
            for expires_at, revoked in ((SOON, False), (SOON, None), (TODAY + timedelta(90), False), (None, False)):
                make_token(connection, user_id=erika, expires_at=expires_at, revoked=revoked, updated_at=LONG_AGO)
            gone = make_user(connection, username="gone", state="blocked")
            used = NOW - timedelta(400)
            make_token(connection, user_id=gone, expires_at=SOON, last_used_at=used, updated_at=LONG_AGO)
            make_token(connection, user_id=erika, expires_at="2024-06-15", last_used_at=used, updated_at=LONG_AGO)
            make_token(connection, user_id=erika, expires_at=SOON, revoked=True, updated_at=LONG_AGO)
        yield Instance(address)


def rows(instance: Instance) -> dict[int, tuple[bool | None, str]]:
    with make_engine(instance.address).connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.exec_driver_sql(ROWS)}


def revoked(instance: Instance) -> set[int]:
    return {one for one, (state, _) in rows(instance).items() if state}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--never-used"], {1, 2, 3, 4}),
        (["--last-used-before", A_YEAR_AGO], {1, 2, 3, 4, 5}),
        (["--owner-state", "blocked"], {5}),
        (["--beyond-maximum"], {3, 4}),
        (["--expires", "none"], {4}),
        (["--within", "60d"], {1, 2, 5}),
        (["--user", "erika", "--state", "active,expired"], {1, 2, 3, 4, 6}),
        (["--state", "expired"], {6}),
        (["--kind", "personal"], {1, 2, 3, 4, 5}),
        (["--ids", "-"], {1, 5}),
    ],
)
def test_the_options_that_it_is_for_choose_tokens_without_a_date(
    people: Instance, words: list[str], found: set[int]
) -> None:
    with make_engine(people.address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=60)
    people.done("revoke", *words, "--yes", stdin="1, 5, 7")
    assert revoked(people) == found | {7}


def test_what_is_written_is_what_gitlabs_own_revocation_writes_and_nothing_else(people: Instance) -> None:
    others = """
        SELECT md5(string_agg(CAST(to_jsonb(t) - 'revoked' - 'updated_at' AS text), ',' ORDER BY id))
        FROM personal_access_tokens t
    """
    utc = "SELECT CAST(now() AT TIME ZONE 'UTC' AS text)"
    before, began = people.value(others), people.value(utc)
    people.done("revoke", "--never-used", "--yes")
    assert people.value(others) == before
    now = rows(people)
    assert {now[one][0] for one in (1, 2, 3, 4)} == {True}
    (moment,) = {now[one][1] for one in (1, 2, 3, 4)}
    assert began < moment < people.value(utc)
    assert {now[one] for one in (5, 6)} == {(False, "2024-01-01 00:00:00.5")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Choose the tokens to revoke, by --ids, --user, --never-used or another option"),
        (["--state", "active"], "Choose the tokens to revoke, by --ids, --user, --never-used or another option"),
        (["--state", "revoked"], "--state takes active and expired here: a revoked token cannot be revoked again."),
        (["--ids", "none.txt"], '--ids cannot read "none.txt"'),
        (["--kind", "ssh-key"], "--kind ssh-key is for list, "),
        (["--never-used", "--memberships", "keep"], 'revoke has no option "--memberships"'),
    ],
)
def test_nobody_revokes_everything_or_what_cannot_be_revoked_by_typing_too_little(
    people: Instance, words: list[str], said: str
) -> None:
    assert people.refusal("revoke", *words, "--yes", status=ExitStatus.USAGE).startswith(said)


def test_a_plan_says_how_many_of_what_and_ends_a_dry_run(people: Instance) -> None:
    before = people.checksum()
    out = people.done("revoke", "--last-used-before", A_YEAR_AGO, "--dry-run")
    assert out.splitlines() == [
        f"Plan to revoke 5 tokens on {people.named}",
        "",
        "| Kind              | Tokens   |",
        "|-------------------|----------|",
        "| personal          | 5        |",
        "",
        "Left out: 1 expired personal (--state active,expired takes them in).",
        "",
        "| Expires         | Tokens   |",
        "|-----------------|----------|",
        f"| {SOON}      | 3        |",
        f"| {TODAY + timedelta(90)}      | 1        |",
        "| (none)          | 1        |",
        "",
        "NOTE: 1 token of 1 owner cannot be used now, because the owner is blocked, banned or deactivated; a "
        "revocation also holds when the owner is active again.",
        "Nothing was changed.",
    ]
    assert people.checksum() == before
    out = people.done("revoke", "--ids", "-", "--dry-run", stdin="1 7 99")
    assert "NOTE: 1 of 3 ids is of a token revoked already, or that the other options leave out: 7." in out
    assert "NOTE: 1 of 3 ids is no token's: 99." in out


def test_a_plan_of_one_person_is_carried_out_by_another_and_its_notes_are_those_of_that_day(people: Instance) -> None:
    assert "Stored as run 1; nothing was changed." in people.done(
        "revoke", "--never-used", "--plan", "--reason", "OPS-1"
    )
    people.execute(
        "UPDATE personal_access_tokens SET last_used_at = now() WHERE id = 1",
        "UPDATE personal_access_tokens SET expires_at = CURRENT_DATE + 400 WHERE id = 2",
        "UPDATE personal_access_tokens SET revoked = true WHERE id = 3",
    )
    done = people.run("apply", "--run", 1, "--yes")
    assert done.returncode == ExitStatus.PARTIAL
    assert done.stdout.startswith(f"Run 1, to revoke 4 tokens on {people.named}\n")
    assert (
        "NOTE: 1 token was used within the last 24 hours, of 1 owner: what uses them stops at once: 1." in done.stdout
    )
    assert complaints(done) == [
        "2 tokens were changed or revoked by then, or were gone or another's, and were left alone. "
        "→ to see them: gitlab-tokens history --run 1"
    ]
    assert "Revoked 2 of 4 tokens in " in done.stdout
    assert revoked(people) == {1, 3, 4, 7}


def test_at_most_and_no_journal_and_json_are_as_with_extend(people: Instance) -> None:
    assert people.refusal("revoke", "--never-used", "--at-most", 3, "--yes").startswith("The plan has 4 tokens, more")
    done = people.facts("revoke", "--never-used", "--no-journal", "--yes")
    assert (done["plan"]["kind"], done["changed"], done["recounted"], done["run"]) == ("revoke", 4, 4, None)
    assert revoked(people) == {1, 2, 3, 4, 7}


def test_an_undo_brings_back_only_what_nobody_has_touched_and_only_where_that_is_allowed(people: Instance) -> None:
    before = people.checksum()
    people.done("revoke", "--last-used-before", A_YEAR_AGO, "--yes")
    assert people.refusal("undo", "--run", 1, "--yes") == (
        "Refused because of reviving (see the notes above); to do it all the same use --allow reviving"
    )
    out = people.done("undo", "--run", 1, "--dry-run", "--allow", "reviving")
    assert out.startswith(f"Plan to undo run 1: bring back 5 revoked tokens on {people.named}\n")
    assert (
        "NOTE: An undo revives these 5 tokens, also for somebody who should not have them. "
        "4 of them would work again: 1, 2, 3, 4.\n"
    ) in out
    out = people.done("undo", "--run", 1, "--allow", "reviving", "--yes")
    assert "Brought back 5 of 5 tokens in " in out
    assert "Recounted: 5 of 5 tokens are not revoked any more." in out
    assert people.checksum() == before
    *_, last = people.done("undo", "--run", 1, "--allow", "reviving", "--yes").splitlines()
    assert last == "Run 1 has been undone: there is nothing to do."
    assert people.refusal("undo", "--run", 2, status=ExitStatus.USAGE) == (
        "Run 2 is itself an undo, of run 1: to revoke its tokens again, use revoke."
    )

    people.done("revoke", "--last-used-before", A_YEAR_AGO, "--yes")
    people.execute(
        "UPDATE personal_access_tokens SET updated_at = now() AT TIME ZONE 'UTC' WHERE id = 2",
        "DELETE FROM personal_access_tokens WHERE id = 3",
        "UPDATE personal_access_tokens SET expires_at = NULL WHERE id = 1",
    )
    done = people.run("undo", "--run", 3, "--allow", "reviving", "--yes")
    assert (done.returncode, revoked(people)) == (ExitStatus.PARTIAL, {2, 7})
    assert "2 tokens were changed since, or are gone, and left alone: 2, 3" in done.stdout
    assert "1 of them has another date than at the revocation.\n" in done.stdout
    assert rows(people)[1] == (False, "2024-01-01 00:00:00.5")
    again = people.run("undo", "--run", 3, "--allow", "reviving", "--yes")
    assert "NOTE: 3 tokens are as before that run already, from an undo that was begun before." in again.stdout
    last = people.refusal("undo", "--run", 3, "--allow", "reviving", "--yes", status=ExitStatus.PARTIAL)
    assert last == "No token is still as run 3 left it: nothing was changed."


def test_of_a_successor_that_works_or_none_and_of_what_an_undo_would_put_beside_it(people: Instance) -> None:
    with make_engine(people.address).begin() as connection:
        for of, state in ((1, False), (2, True)):
            make_token(connection, expires_at=SOON, revoked=state, previous_personal_access_token_id=of)
    out = people.done("revoke", "--user", "erika", "--yes")
    assert "NOTE: 1 token was replaced by a rotation, but no successor works: 2.\n" in out
    assert "NOTE: 1 token is in its grace: a rotation has replaced it, and the successor works: 1.\n" in out
    assert people.refusal("undo", "--run", 1, "--yes", "--allow", "reviving").startswith(
        "Refused because of superseded"
    )
    out = people.done("undo", "--run", 1, "--leave-out", "superseded", "--allow", "reviving", "--yes")
    assert "NOTE: 1 token that a rotation has replaced is left out: 1.\n" in out
    assert revoked(people) == {1, 7, 9}


def test_a_log_says_which_of_them_are_used(people: Instance, tmp_path: Path) -> None:
    use = logs.written([logs.Use(1, 5)], [TODAY - timedelta(1), TODAY])
    log = logs.plain(tmp_path / "api_json.log", use.lines)
    assert "NOTE: 1 of these 4 tokens is used daily" in people.done("revoke", "--never-used", "--log", log, "--dry-run")


def test_a_run_that_was_stopped_goes_on_and_history_has_what_it_did(people: Instance) -> None:
    with make_engine(people.address).begin() as connection:
        make_tokens(connection, 1_500, expires_at=SOON)
    before = people.checksum()
    plan = make_plan(people.address, RunKind.REVOKE, Selection((), never_used=True), Change(revokes=True))
    stop: list[object] = []
    record = begin_run(people.address, plan)
    for event in run(people.address, plan, record, stop_requested=lambda: bool(stop)):
        if isinstance(event, BatchCommitted):
            stop.append(event)
    left = plan.tokens - (len(revoked(people)) - 1)
    assert 0 < left < plan.tokens
    out = people.done("apply", "--run", 1, "--yes")
    assert out.startswith(f"Run 1, to revoke {left:,} tokens (of {plan.tokens:,}) on {people.named}\n")
    listed = people.json("history", "--run", 1)
    assert (listed["kind"], listed["state"], listed["changed"]) == ("revoke", "done", plan.tokens)
    assert {one["outcome"] for one in listed["outcomes"]} == {"changed"}
    assert "| revoke | done  | " in people.done("history")
    heading, _, first, *_ = people.done("history", "--run", 1).partition("\n\n")[2].splitlines()
    assert (heading.endswith("| Expires    | Outcome    |"), first.endswith("| revoked    |")) == (True, True)
    people.done("undo", "--run", 1, "--allow", "reviving", "--yes")
    assert people.checksum() == before
    assert "| the revoked tokens back | " in people.done("history")
    shown = people.done("history", "--run", 2)
    assert re.search(rf"^Tokens +{plan.tokens:,}: {plan.tokens:,} back$", shown, re.M)
    assert shown.splitlines()[-1].endswith(" | back       |")
    back, ended = people.done("history", "--token", 1).splitlines()[2:]
    assert ("| undo of 1 " in back, "| back       |" in back, "| revoked    |" in ended) == (True, True, True)


def test_of_a_single_token_the_recount_speaks_in_the_singular(people: Instance) -> None:
    assert "Recounted: 1 of 1 token is revoked." in people.done("revoke", "--owner-state", "blocked", "--yes")
    out = people.done("undo", "--run", 1, "--allow", "reviving", "--yes")
    assert "Recounted: 1 of 1 token is not revoked any more." in out


def test_what_a_guard_says_to_allow_is_enough_when_it_is_typed() -> None:
    with pytest.raises(Refused) as refused:
        refuse_guarded(("reviving", "doomed"), {"reviving"})
    assert str(refused.value) == (
        "Refused because of doomed (see the notes above); to do it all the same use --allow reviving,doomed"
    )


def ends(address: Address, clean_up: CleanUp | None, **settings: Any) -> Ends:
    with database.reading(address) as connection:
        schema = read_schema(connection)
        chosen = Condition("t.name = 'chosen' AND t.revoked IS NOT TRUE", {})
        return read_ends(connection, schema, chosen, read_policy(connection, schema), clean_up)


def test_what_is_lost_with_tokens_is_counted_once_an_owner(gitlab_database: Address) -> None:
    expected = Ends(used=3, used_owners=2, last_of_bots=2, blocked=2, blocked_owners=1)
    with make_engine(gitlab_database).begin() as connection:
        project = make_project(connection)

        def bot(*tokens: dict[str, Any]) -> None:
            user = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=user, project_id=project)
            for columns in tokens:
                make_token(connection, user_id=user, **{"name": "chosen", "expires_at": SOON, **columns})

        bot({}, {"expires_at": None})
        bot({}, {"name": "stays"})
        bot({}, {"name": "dead", "expires_at": TODAY}, {"name": "revoked", "revoked": True})
        bot({"expires_at": TODAY}, {"name": "dead", "revoked": True})
        lately, before = NOW - timedelta(hours=23), NOW - timedelta(hours=25)
        busy = make_user(connection, user_type=SERVICE_ACCOUNT)
        used = [make_token(connection, user_id=busy, name="chosen", last_used_at=lately) for _ in range(2)]
        make_token(connection, user_id=busy, name="chosen", last_used_at=before)
        make_token(connection, user_id=busy, name="chosen", expires_at=TODAY, last_used_at=lately)
        used.append(make_token(connection, name="chosen", last_used_at=NOW))
        left = make_user(connection, state="banned")
        make_tokens(connection, 2, user_id=left, name="chosen")
    found = ends(gitlab_database, CleanUp())
    assert set(found.used_ids) == set(used)
    assert found.used_ids[0] == used[-1]
    assert found == Ends(**{**vars(expected), "used_ids": found.used_ids})
    assert ends(gitlab_database, None).last_of_bots == 0


def test_a_clean_up_that_waits_for_nothing_takes_bots_the_next_night_and_a_guard_stands_before_that(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("19.2")
    install(address)
    with make_engine(address).begin() as connection:
        make_settings(
            connection, resource_access_tokens_settings='{"inactive_resource_access_tokens_delete_after_days": 0}'
        )
        user = make_user(connection, user_type=BOT)
        make_membership(connection, user_id=user, project_id=make_project(connection))
        make_token(connection, user_id=user, expires_at=SOON)
    there = Instance(address)
    assert there.refusal("revoke", "--kind", "project", "--yes").startswith("Refused because of doomed")
    people = there.done("revoke", "--kind", "project", "--yes", "--allow", "doomed")
    assert "NOTE: 1 bot loses by this change what keeps it: at 00:00 UTC GitLab deletes it with its tokens" in people


def test_who_applies_an_undo_that_another_person_has_planned_is_asked_again(people: Instance) -> None:
    people.done("revoke", "--never-used", "--yes")
    people.done("undo", "--run", 1, "--allow", "reviving", "--plan")
    people.execute("UPDATE personal_access_tokens SET updated_at = now() WHERE id = 1")
    note = "An undo revives these 3 tokens, also for somebody who should not have them. All would work again: 2, 3, 4."
    assert f"NOTE: {note}" in people.run("apply", "--run", 2, "--dry-run").stdout
    assert people.refusal("apply", "--run", 2, "--yes") == (
        "Refused because of reviving (see the notes above); to do it all the same use --allow reviving"
    )
    assert revoked(people) == {1, 2, 3, 4, 7}
    done = people.run("apply", "--run", 2, "--yes", "--allow", "reviving")
    assert done.returncode == ExitStatus.PARTIAL
    assert f"NOTE: {note}" in done.stdout
    assert revoked(people) == {1, 7}

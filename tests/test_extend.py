"""`extend` and `remove` as somebody types them: what they select, show, refuse, ask and change."""

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_project,
    make_settings,
    make_token,
    make_tokens,
    make_user,
)
from tests.testbed.instance import LATER, NOWHERE, SOON, TODAY, Instance, one_line, planned
from tests.testbed.replication import Replicated
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.program import main

NO_WAY_BACK = "Without the journal there is no list of what was changed, no undo and no way to go on after a stop."


Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The program in this very process, for many command lines: a process takes longer to start than most of them."""

    def run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", command)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status: object = 0
        try:
            main()
        except SystemExit as ending:
            status = ending.code
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(command, int(str(status)), shown.out, shown.err)

    return run


@pytest.fixture
def bare(alone: Alone) -> Iterator[Instance]:
    """Without a journal; on the newest server alone, as nothing here depends on its release."""
    with alone.database() as address:
        yield Instance(address)


@pytest.fixture
def instance(alone: Alone) -> Iterator[Instance]:
    """With a journal."""
    with alone.database(journal=True) as address:
        yield Instance(address)


@pytest.fixture
def some(instance: Instance) -> Instance:
    """60 tokens soon, 20 on 2017-12-31, 5 that never expire."""
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 60, expires_at=SOON)
        make_tokens(connection, 20, expires_at="2017-12-31")
        make_tokens(connection, 5)
    return instance


UNCHANGED = {str(SOON): 60, "2017-12-31": 20, None: 5}


def test_the_plan_is_shown_and_agreed_to_before_anything_changes(some: Instance) -> None:
    soon, later = f"{SOON} ({SOON:%a}, in 30 days)", f"{LATER} ({LATER:%a}, in 395 days)"
    plan = f"""\
Plan to extend the expiration date of 60 tokens on {some.named}

| Kind     | Tokens |
|----------|--------|
| personal |     60 |

| From                         | To                            | Tokens |
|------------------------------|-------------------------------|--------|
| {soon} | {later} |     60 |
Extend the expiration date of 60 tokens on {some.named}? """
    words = ("extend", "--expires", SOON, "--to", LATER)
    for answer, said in (("n", "No"), ("", "No"), ("ctrl-d", "No")):
        with some.terminal(*words) as program:
            program.wait_for_screen(plan + "(y/N)")
            program.press(answer, "enter")
            assert program.wait() == 0
            assert program.text == f"{plan}{said}\nNothing was changed."
    assert some.counts() == UNCHANGED
    with some.terminal(*words) as program:
        program.wait_for_screen(plan + "(y/N)")
        program.press("y", "enter")
        assert program.wait() == 0
        assert re.sub(r"in \d+ s", "in 0 s", program.text) == (
            f"{plan}yes\n"
            "Updated 60 of 60 tokens in 0 s.\n"
            "Recounted: 60 of 60 tokens have their new date.\n"
            "Recorded as run 1.\n"
            "→ to take it back: gitlab-tokens undo --run 1"
        )
    assert some.counts() == {str(LATER): 60, "2017-12-31": 20, None: 5}


def test_dates_ranges_and_none_may_be_given_several_times(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        days = [SOON + timedelta(number) for number in range(6)]
        ids = [make_token(connection, expires_at=day) for day in [*days, None]]
    before = instance.dates()
    out = instance.done(
        "extend", "--expires", f"{days[0]},none", "--expires", f"{days[2]}..{days[4]}", "--to", LATER, "--yes"
    )
    changed = [ids[0], *ids[2:5], ids[6]]
    assert instance.dates() == before | dict.fromkeys(changed, str(LATER))
    assert out.endswith("Recorded as run 1. → to take it back: gitlab-tokens undo --run 1\n")
    assert f"| (none)          | {LATER}      | 1        |" in out
    assert "NOTE: 1 token never expires now, but will with the new date." in out


def test_by_counts_from_each_tokens_own_date(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        first, second = make_token(connection, expires_at=SOON), make_token(connection, expires_at=LATER)
    instance.done("extend", "--expires", f"{SOON}..{LATER}", "--by", "10d", "--yes")
    assert instance.dates() == {first: str(SOON + timedelta(10)), second: str(LATER + timedelta(10))}


def test_stagger_spreads_the_dates_evenly_from_the_new_date_on(some: Instance) -> None:
    some.done("extend", "--expires", SOON, "--to", LATER, "--stagger", "30d", "--yes")
    counts = some.counts()
    assert {day: counts[str(day)] for day in (LATER + timedelta(number) for number in range(30))} == {
        LATER + timedelta(number): 2 for number in range(30)
    }
    with make_engine(some.address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=(LATER - TODAY).days + 10)
    words = ("extend", "--expires", f"{LATER}..9999-12-31", "--to", LATER, "--allow", "earlier", "--yes")
    said = some.refusal(*words, "--stagger", "12d")
    assert said.startswith("Refused because of beyond-maximum")
    assert "5 tokens will have a date beyond" in some.run(*words, "--stagger", "12d").stdout
    some.done(*words, "--stagger", "11")


def test_stagger_spreads_what_by_gives_to_the_tokens_of_each_date(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        first = make_tokens(connection, 6, expires_at=SOON)
        second = make_tokens(connection, 2, expires_at=LATER)
    instance.done("extend", "--expires", f"{SOON}..{LATER}", "--by", "100d", "--stagger", "3d", "--yes")
    dates = instance.dates()
    assert [dates[one] for one in first] == [str(SOON + timedelta(100 + day)) for day in (0, 0, 1, 1, 2, 2)]
    assert [dates[one] for one in second] == [str(LATER + timedelta(100 + day)) for day in (0, 1)]
    said = instance.run("history").stdout
    assert "100..102 days later than each token's own date, spread evenly" in said
    instance.done("undo", "--run", "1", "--yes")
    assert set(instance.dates().values()) == {str(SOON), str(LATER)}


def test_remove_takes_the_date_away(some: Instance) -> None:
    out = some.done("remove", "--expires", SOON, "--yes")
    assert f"| {SOON}      | (none)          | 60       |" in out
    assert "\nRecounted: 60 of 60 tokens have no expiration date now.\n" in out
    assert some.counts() == {"2017-12-31": 20, None: 65}


def test_only_active_tokens_are_changed_and_impersonation_only_when_named(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 2, expires_at=SOON)
        make_tokens(connection, 1, expires_at=SOON, revoked=None)
        make_tokens(connection, 3, expires_at=SOON, revoked=True)
        make_tokens(connection, 4, expires_at=SOON, impersonation=True)
        make_tokens(connection, 5, expires_at=TODAY)
        make_tokens(connection, 6, user_id=make_user(connection, user_type=13), expires_at=SOON)
        make_tokens(connection, 7, user_id=make_user(connection, user_type=4), expires_at=SOON)
    both = f"{TODAY}..{SOON}"
    out = instance.done("extend", "--expires", both, "--to", LATER, "--dry-run")
    assert (
        out
        == f"""\
Plan to extend the expiration date of 16 tokens on {instance.named}

| Kind              | Tokens   |
|-------------------|----------|
| other             | 7        |
| personal          | 3        |
| service-account   | 6        |

Left out: 4 active impersonation, 5 expired personal, 3 revoked personal \
(--kind personal,impersonation,service-account,other and --state active,expired,revoked take them in).

| From            | To              | Tokens   |
|-----------------|-----------------|----------|
| {SOON}      | {LATER}      | 16       |
Nothing was changed.
"""
    )
    out = instance.done("extend", "--expires", both, "--to", LATER, "--state", "expired", "--dry-run")
    assert "NOTE: 5 tokens have expired and would become valid again" in out


def test_nothing_selected_is_no_fault(some: Instance) -> None:
    out = some.done("extend", "--expires", "2001-01-01", "--to", LATER, "--yes")
    assert out == (
        f"Plan to extend the expiration date of 0 tokens on {some.named}\n\n"
        "NOTE: No token fulfils this, with any other options: expires 2001-01-01.\n"
        "No token is selected: there is nothing to do.\n"
    )
    out = some.done("remove", "--expires", "2017-12-31", "--yes")
    assert "Left out: 20 expired personal (--state active,expired takes them in)." in out
    assert "NOTE: All tokens that fulfil the other options are left out by their kind or state." in out
    assert some.json("remove", "--expires", "2001-01-01", "--yes")["plan"]["tokens"] == 0
    assert some.value("SELECT count(*) FROM token_tasks.runs") == 0


def test_why_nothing_is_selected_is_said(some: Instance, typed: Typed) -> None:
    with make_engine(some.address).begin() as connection:
        make_user(connection, username="erika")
        make_token(connection, expires_at=LATER, name="late", scopes="---\n- k8s_proxy\n- tomorrows_scope\n")
    words = ("extend", "--expires", SOON, "--to", LATER, "--dry-run")
    alone, together = "No token fulfils this, with any other options: ", "There are tokens for each of these"
    for options, reason in (
        (["--user", "erika"], f"{alone}user erika."),
        (["--name", "[!t]?z"], f'{alone}name "[!t]?z".'),
        # A scope that GitLab has is no mistake, although no token has it today; nor one that is new to us and in use.
        (["--scope", "sudo"], f"{alone}scope sudo."),
        (["--scope", "tomorrows_scope"], f"{together}, but none fulfils all of them: expires {SOON}; scope tomorrows"),
        (["--created-before", "2001-01-01"], f"{alone}created before 2001-01-01."),
        (["--created-after", "2100-01-01"], f"{alone}created after 2100-01-01."),
        (["--last-used-after", "2020-01-01"], f"{alone}last used after 2020-01-01."),
        (["--name", "late"], f'{together}, but none fulfils all of them: expires {SOON}; name "late".'),
        (["--name", "postgresql://u:s3cr3t@h/x"], f'{alone}name "postgresql://u:…@h/x".'),
        (["--kind", "group"], "All tokens that fulfil the other options are left out by their kind or state."),
    ):
        shown = typed(some.command(*words, *options))
        assert (shown.returncode, shown.stderr) == (0, ""), options
        assert f"NOTE: {reason}" in shown.stdout, options
        document = json.loads(typed(some.command(*words, *options, "--output", "json")).stdout)
        assert "s3cr3t" not in str(document)
        (note,) = document["plan"]["notes"]
        assert note["concern"] == "nothing-selected"


@pytest.mark.parametrize(
    ("scope", "hint"),
    [
        ("aip", "did you mean api?"),
        ("API", "did you mean api or "),
        ("zzz", "those in use are api, k8s_proxy, tomorrows_scope."),
        ("read_repo", "did you mean read_repository or "),
        ("tomorow_scope", "did you mean tomorrows_scope"),
    ],
)
def test_a_scope_that_exists_nowhere_is_wrong_use(instance: Instance, typed: Typed, scope: str, hint: str) -> None:
    with make_engine(instance.address).begin() as connection:
        make_token(connection, expires_at=SOON, scopes="---\n- :api\n- 'k8s_proxy'\n- tomorrows_scope\n")
    for output in ("text", "json"):
        words = ("remove", "--expires", SOON, "--scope", f"api,{scope}", "--yes", "--output", output)
        shown = typed(instance.command(*words))
        assert shown.returncode == 2
        refusal = one_line(shown)
        told = json.loads(shown.stdout) if output == "json" else {"error": refusal, "status": 2}
        assert (told["error"], told["status"]) == (refusal, 2)
        assert output == "json" or shown.stdout == ""
        assert refusal.startswith(f'No token has the scope "{scope}", and GitLab has none of that name; {hint}')
    assert typed(instance.command("remove", "--expires", SOON, "--scope", "tomorrows_scope", "--yes")).returncode == 0


def test_ids_that_come_to_nothing_are_counted_and_named(some: Instance, typed: Typed, tmp_path: Path) -> None:
    soon = sorted(id_ for id_, day in some.dates().items() if day == str(SOON))
    others = sorted(id_ for id_, day in some.dates().items() if day != str(SOON))
    words = ("extend", "--expires", SOON, "--to", LATER, "--ids", tmp_path / "ids", "--dry-run")

    def noted(ids: Sequence[int]) -> list[tuple[str, int, str, list[int] | None]]:
        (tmp_path / "ids").write_text("\n".join(map(str, ids)))
        notes = json.loads(typed(some.command(*words, "--output", "json")).stdout)["plan"]["notes"]
        return [(note["concern"], note["tokens"], note["text"], note.get("ids")) for note in notes]

    assert noted(soon) == []
    assert noted([*soon[:3], *others[:2]]) == [
        (
            "left-out-ids",
            2,
            f"2 of 5 ids are of tokens that the other options leave out: {others[0]}, {others[1]}.",
            others[:2],
        )
    ]
    unknown = list(range(900_001, 900_008))
    shown = "900001, 900002, 900003, 900004, 900005"
    expected = ("unknown-ids", 7, f"7 of 8 ids are no token's: {shown} and 2 more.", unknown)
    assert noted([soon[0], *unknown]) == [expected]
    assert f"NOTE: {expected[2]}" in typed(some.command(*words)).stdout
    assert [concern for concern, *_ in noted(unknown)] == ["unknown-ids", "nothing-selected"]


def test_every_option_of_the_selection_narrows_it(instance: Instance, typed: Typed, tmp_path: Path) -> None:
    with make_engine(instance.address).begin() as connection:
        group = make_group(connection, path="our-group")
        below = make_group(connection, path="below", parent_id=group)
        project = make_project(connection, path="our-project", namespace_id=below)
        erika = make_user(connection, username="erika")
        bots = [make_user(connection, user_type=6), make_user(connection, user_type=6)]
        make_membership(connection, user_id=bots[0], group_id=group)
        make_membership(connection, user_id=bots[1], project_id=project)
        chosen = {
            "plain": make_token(connection, expires_at=SOON),
            "impersonation": make_token(connection, expires_at=SOON, impersonation=True),
            "group": make_token(connection, expires_at=SOON, user_id=bots[0]),
            "project": make_token(connection, expires_at=SOON, user_id=bots[1]),
            "revoked": make_token(connection, expires_at=SOON, revoked=True),
            "erika": make_token(connection, expires_at=SOON, user_id=erika, name="erika's", scopes="---\n- sudo\n"),
            "used": make_token(connection, expires_at=SOON, last_used_at="2024-05-05 00:00+00"),
            "young": make_token(connection, expires_at=SOON, created_at="2025-05-05 00:00"),
        }
    (tmp_path / "ids").write_text(f"{chosen['plain']}, {chosen['used']} # both\n999999")
    usual = {"plain", "group", "project", "erika", "used", "young"}
    before = instance.checksum()
    for options, expected, stdin in (
        (["--kind", "personal,impersonation"], {"plain", "impersonation", "erika", "used", "young"}, None),
        (["--kind", "group", "--kind", "project"], {"group", "project"}, None),
        (["--state", "revoked"], {"revoked"}, None),
        (["--user", "ERIKA"], {"erika"}, None),
        (["--group", "our-group"], {"group", "project"}, None),
        (["--project", "/our-group/below/our-project"], {"project"}, None),
        (["--name", "erika*"], {"erika"}, None),
        (["--scope", "sudo"], {"erika"}, None),
        (["--last-used-before", "2024-05-05"], usual - {"used"}, None),
        (["--last-used-after", "2024-05-05"], {"used"}, None),
        (["--created-before", "2025-05-05"], usual - {"young"}, None),
        (["--created-after", "2025-05-05"], {"young"}, None),
        (["--ids", tmp_path / "ids"], {"plain", "used"}, None),
        (["--ids", "-"], {"young", "group"}, f"{chosen['young']}\n{chosen['group']}\n"),
    ):
        words = ("extend", "--expires", SOON, "--to", LATER, *options, "--dry-run", "--output", "json")
        done = typed(instance.command(*words), stdin or "")
        assert done.returncode == 0, done
        assert json.loads(done.stdout)["plan"]["tokens"] == len(expected), options
    assert instance.checksum() == before
    words = ("remove", "--expires", SOON, "--ids", "-", "--kind", "group,personal", "--yes")
    instance.done(*words, stdin="\n".join(map(str, chosen.values())))
    without = {name for name, token in chosen.items() if instance.dates()[token] is None}
    assert without == usual - {"project"}


def test_a_dry_run_shows_the_plan_and_leaves_nothing_behind(some: Instance) -> None:
    before = some.checksum()
    shown = some.done("extend", "--expires", SOON, "--to", LATER, "--dry-run")
    assert shown.startswith(f"Plan to extend the expiration date of 60 tokens on {some.named}\n")
    # Invoke's own option means the same, wherever it stands.
    assert some.done("--dry", "extend", "--expires", SOON, "--to", LATER, "--yes") == shown
    assert some.done("extend", "--expires", SOON, "--to", LATER, "--yes", "--dry") == shown
    assert some.checksum() == before
    assert some.value("SELECT count(*) FROM token_tasks.runs") == 0


def test_output_json_is_one_document_and_nothing_else(some: Instance) -> None:
    words = ("extend", "--expires", SOON, "--to", LATER)
    assert some.facts(*words, "--dry-run") == {
        "plan": {
            "kind": "extend",
            "selection": {
                "expires": [str(SOON)],
                "kind": ["personal", "project", "group", "service-account", "other"],
                "state": ["active"],
            },
            "tokens": 60,
            "kinds": [{"kind": "personal", "state": "active", "tokens": 60, "selected": True}],
            "moves": [{"old_expires_at": str(SOON), "new_expires_at": str(LATER), "tokens": 60}],
            "notes": [],
            "memberships": None,
            "notices": False,
        }
    }
    stored = some.json(*words, "--plan")
    assert (stored["run"], stored["state"]) == (1, "planned")
    refused = some.json("extend", "--expires", SOON, "--to", "2001-01-01", "--yes", status=3)
    assert refused["status"] == 3
    assert refused["error"].startswith("Refused because of past")
    assert [(note["concern"], note["guard"]) for note in refused["plan"]["notes"]] == [
        ("past", "past"),
        ("earlier", "earlier"),
    ]
    with make_engine(some.address).connect() as connection:
        first = "(SELECT min(id) FROM personal_access_tokens WHERE expires_at = :day)"
        connection.execute(sa.text(f"SELECT FROM personal_access_tokens WHERE id = {first} FOR UPDATE"), {"day": SOON})
        partial = some.facts(*words, "--yes", status=4)
    ended = {name: value for name, value in partial.items() if name != "plan"}
    assert ended == {
        "run": 2,
        "changed": 59,
        "changed_meanwhile": 0,
        "locked": 1,
        "untouched": 0,
        "recounted": 59,
        "error": "1 token was held by another session to the end. → to see them: gitlab-tokens history --run 2 "
        "→ to go on: gitlab-tokens apply --run 2 → to take it back: gitlab-tokens undo --run 2",
        "status": 4,
    }
    done = some.json("remove", "--expires", "2017-12-31", "--state", "expired", "--yes")
    assert planned(done) == [("2017-12-31", None, 20)]
    assert (done["run"], done["changed"], done["recounted"]) == (3, 20, 20)


def test_what_a_guard_refuses_is_changed_only_when_it_is_allowed(some: Instance) -> None:
    with make_engine(some.address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=100, maintenance_mode=True)
    words = ("extend", "--expires", SOON, "--yes")
    how = "(see the notes above); to do it all the same use --allow"
    assert some.refusal(*words, "--to", LATER) == (
        f"Refused because of maintenance and beyond-maximum {how} maintenance,beyond-maximum"
    )
    assert some.refusal(*words, "--to", LATER, "--allow", "past,maintenance") == (
        f"Refused because of beyond-maximum {how} maintenance,beyond-maximum"
    )
    assert some.refusal(*words, "--to", TODAY, "--allow", "maintenance") == (
        f"Refused because of past and earlier {how} maintenance,past,earlier"
    )
    assert some.refusal(*words, "--to", LATER, "--plan", "--allow", "maintenance").startswith("Refused because of beyo")
    refused = some.run(*words, "--to", LATER, "--allow", "maintenance")
    assert "NOTE: " in refused.stdout
    assert "(y/N)" not in refused.stdout
    assert some.counts() == UNCHANGED
    some.done(*words, "--to", TODAY, "--allow", "maintenance", "--allow", "past,earlier")
    assert some.counts()[str(TODAY)] == 60
    with some.terminal("extend", "--expires", TODAY, "--state", "expired", "--to", LATER) as program:
        assert program.wait() == 3
        assert "(y/N)" not in program.text


def test_a_date_earlier_than_their_own_is_refused_and_one_for_tokens_that_never_expire_is_noted(
    instance: Instance,
) -> None:
    with make_engine(instance.address).begin() as connection:
        make_tokens(connection, 8, expires_at=SOON)
        make_tokens(connection, 3, expires_at=SOON + timedelta(3))
        make_tokens(connection, 2)
    words = ("extend", "--expires", f"{SOON}..{SOON + timedelta(3)}", "--to", SOON, "--yes")
    assert instance.refusal(*words) == (
        "Refused because of earlier (see the notes above); to do it all the same use --allow earlier"
    )
    assert "NOTE: 3 tokens will expire earlier than now." in instance.run(*words).stdout
    assert instance.refusal(*words, "--plan").startswith("Refused because of earlier")
    instance.done(*words, "--allow", "earlier")
    # `--expires none` has named them, and a date is what an administrator wants of them.
    out = instance.done("extend", "--expires", "none", "--to", SOON, "--yes")
    assert (
        f"NOTE: These tokens never expire now: on {SOON:%Y-%m-%d (%a}, in {(SOON - TODAY).days} days) they will." in out
    )
    assert instance.counts() == {str(SOON): 13}
    instance.done("extend", "--expires", SOON, "--to", LATER, "--yes")
    # The way back is always open: it gives an earlier date, too.
    instance.done("undo", "--run", 3, "--yes")
    assert instance.counts() == {str(SOON): 13}


def test_to_have_no_date_is_beyond_every_maximum(some: Instance) -> None:
    with make_engine(some.address).begin() as connection:
        make_settings(connection, max_personal_access_token_lifetime=10_000, require_personal_access_token_expiry=False)
    words = ("remove", "--expires", SOON, "--yes")
    assert some.refusal(*words).startswith("Refused because of beyond-maximum")
    refused = some.json(*words, status=3)
    assert [(note["concern"], note["tokens"], note["guard"]) for note in refused["plan"]["notes"]] == [
        ("beyond-maximum", 60, "beyond-maximum")
    ]
    some.done(*words, "--allow", "beyond-maximum")
    assert some.counts() == {"2017-12-31": 20, None: 65}


def rotated(connection: sa.Connection, *, revoked: Sequence[bool], expires_at: date = SOON) -> list[int]:
    """A token and what rotations made of it, one of another; `revoked` says of each whether it is."""
    ids: list[int] = []
    owner = make_user(connection, user_type=13)
    for gone in revoked:
        before = {"previous_personal_access_token_id": ids[-1]} if ids else {}
        ids.append(make_token(connection, user_id=owner, expires_at=expires_at, revoked=gone, **before))
    return ids


def test_what_a_rotation_has_replaced_is_not_prolonged(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        in_grace = rotated(connection, revoked=[False, False])
        through = rotated(connection, revoked=[False, True, False])
        rotated(connection, revoked=[False, True])
        rotated(connection, revoked=[True, False])
        rotated(connection, revoked=[False])
        dead = rotated(connection, revoked=[False, False], expires_at=TODAY - timedelta(3))
    words = ("extend", "--expires", SOON, "--to", LATER, "--yes")
    how = (
        "(see the notes above); to leave out what a rotation has replaced use --leave-out superseded, to do it all the "
        "same use --allow superseded"
    )
    assert instance.refusal(*words) == f"Refused because of superseded {how}"
    assert (
        "NOTE: 2 tokens were replaced by a rotation, and their successors are not revoked: the old ones would live "
        f"on beside them (--leave-out superseded leaves them out): {in_grace[0]}, {through[0]}.\n"
    ) in instance.run(*words).stdout
    assert instance.refusal("remove", "--expires", SOON, "--yes") == f"Refused because of superseded {how}"
    revived = ("extend", "--expires", TODAY - timedelta(3), "--state", "expired", "--to", LATER, "--yes")
    assert instance.refusal(*revived) == f"Refused because of superseded {how}"
    # An earlier end is no longer life.
    instance.done("extend", "--expires", SOON, "--to", SOON - timedelta(1), "--allow", "earlier", "--yes")
    instance.execute(
        "UPDATE personal_access_tokens SET revoked = true WHERE id = ANY(:ids)", ids=[in_grace[0], through[0], dead[0]]
    )
    instance.done("extend", "--expires", SOON - timedelta(1), "--to", LATER, "--yes")
    instance.done("undo", "--run", 2, "--yes")


@pytest.mark.parametrize("change", [("extend", "--to", LATER), ("remove",)])
def test_what_a_rotation_has_replaced_is_left_out_on_request(instance: Instance, change: Sequence[object]) -> None:
    with make_engine(instance.address).begin() as connection:
        old, successor = rotated(connection, revoked=[False, False])
        alone = make_token(connection, expires_at=SOON)
        make_settings(connection, require_personal_access_token_expiry=False)
    words = (*change, "--expires", SOON, "--leave-out", "superseded")
    document = instance.json(*words, "--dry-run")
    note = document["plan"]["notes"][-1]
    assert (note["concern"], note["ids"], note["guard"]) == ("left-out-superseded", [old], None)
    assert document["plan"]["selection"]["leave_out"] == ["superseded"]
    assert sum(kind["tokens"] for kind in document["plan"]["kinds"] if kind["selected"]) == 2
    assert "NOTE: 1 token that a rotation has replaced is left out: " in instance.done(*words, "--plan")
    instance.done("apply", "--run", 1, "--yes")
    new = str(LATER) if change[0] == "extend" else None
    assert instance.dates() == {old: str(SOON), successor: new, alone: new}
    assert "; leave out superseded" in instance.done("history", "--run", 1)
    assert instance.done(*words, "--yes").endswith(
        f"is left out: {old}.\nNo token is selected: there is nothing to do.\n"
    )
    assert instance.refusal(*change, "--expires", SOON, "--leave-out", "past", "--yes", status=2) == (
        '--leave-out takes superseded, not "past".'
    )


def test_more_tokens_than_the_caller_expects_are_never_changed(some: Instance) -> None:
    words = ("extend", "--expires", SOON, "--to", LATER, "--yes")
    assert some.refusal(*words, "--at-most", 59, "--allow", "past,beyond-maximum,doomed,superseded") == (
        "The plan has 60 tokens, more than --at-most 59: nothing was changed."
    )
    assert some.refusal(*words, "--at-most", 0, "--plan").startswith("The plan has 60")
    some.done(*words, "--at-most", 60)


def test_without_a_terminal_only_yes_changes_anything(some: Instance) -> None:
    words = ("--expires", SOON, "--to", LATER)
    said = some.refusal("extend", *words, status=2)
    assert said.startswith("extend asks before it changes anything and needs a terminal")
    assert "--yes" in said
    assert some.refusal("remove", "--expires", SOON, status=2).startswith("remove asks before")


def test_a_missing_terminal_is_the_last_fault_that_is_named(some: Instance) -> None:
    assert "Connection refused" in one_line(Instance(NOWHERE).run("extend", "--expires", SOON, "--to", LATER))
    for words in (
        ("undo", "--run", 99),
        ("apply", "--run", 99),
        ("remove", "--expires", SOON, "--group", "nosuch"),
        ("rotate", "--service-account", "nosuch"),
        ("rotate", "--resume", 99),
    ):
        real = "no run 99" if 99 in words else '"nosuch"'
        said = some.refusal(*words, status=2)
        assert real in said
        assert "terminal" not in said
        assert real in json.loads(some.run(*words, "--output", "json").stdout)["error"]
    asked = json.loads(some.run("remove", "--expires", SOON, "--output", "json").stdout)
    assert asked["error"] == "--output json asks no question: use --yes with it. Nothing was changed."
    assert asked["plan"]["tokens"] == 60
    guarded = some.refusal("extend", "--expires", SOON, "--to", "2020-01-01")
    assert guarded.startswith("Refused because of past and earlier")
    assert some.done("journal.prune", "--before", "2020-01-01").startswith("The journal has no run")


def test_a_standby_is_always_refused(replicated: Replicated) -> None:
    with replicated.database(journal=True) as pair:
        with make_engine(pair.primary).begin() as connection:
            make_token(connection, expires_at=SOON)
        replicated.catch_up()
        for option in ("--yes", "--dry-run", "--plan"):
            said = Instance(pair.standby).refusal(
                "extend", "--expires", SOON, "--to", LATER, option, "--allow", "past,maintenance"
            )
            assert re.fullmatch(r'Database ".*" is a standby .* and takes no changes; run this on the primary\.', said)


def test_a_write_locked_table_is_always_refused(some: Instance) -> None:
    some.execute(
        """CREATE FUNCTION gitlab_schema_prevent_write() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'write protected' USING ERRCODE = 'modifying_sql_data_not_permitted'; END $$""",
        """CREATE TRIGGER gitlab_schema_write_trigger_for_personal_access_tokens
           BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON personal_access_tokens
           FOR EACH STATEMENT EXECUTE FUNCTION gitlab_schema_prevent_write()""",
    )
    said = some.refusal("remove", "--expires", SOON, "--yes", "--allow", "maintenance")
    assert said.startswith("GitLab has write-locked personal_access_tokens")


def test_without_a_journal_a_script_is_refused_and_told_how_to_go_on(bare: Instance) -> None:
    with make_engine(bare.address).begin() as connection:
        make_tokens(connection, 3, expires_at=SOON)
    words = ("extend", "--expires", SOON, "--to", LATER)
    hint = "→ to install it: gitlab-tokens journal.install"
    assert bare.refusal(*words, "--yes") == (
        f"The journal is not installed in this database; with --no-journal there is no record and no way back. {hint}"
    )
    for option in ((*words, "--plan"), ("journal.four-eyes", "--on")):
        assert bare.refusal(*option) == f"The journal is not installed in this database. {hint}"
    bare.done(*words, "--dry-run")
    done = bare.run(*words, "--yes", "--no-journal")
    assert (done.returncode, one_line(done)) == (0, NO_WAY_BACK)
    assert "Recorded" not in done.stdout
    assert bare.counts() == {str(LATER): 3}
    assert not bare.value("SELECT to_regnamespace('token_tasks') IS NOT NULL")
    bare.done("journal.install")
    bare.done("remove", "--expires", LATER, "--yes")
    assert bare.run("remove", "--expires", "none", "--yes", "--no-journal").returncode == 0
    assert bare.value("SELECT count(*) FROM token_tasks.runs") == 1


def test_on_a_terminal_the_journal_is_offered_once_the_change_is_agreed_to(bare: Instance) -> None:
    with make_engine(bare.address).begin() as connection:
        make_tokens(connection, 3, expires_at=SOON)
    question = "? yes\nThere is no journal here yet: install it (schema token_tasks), so that this can be undone? "
    words = ("extend", "--expires", SOON)
    with bare.terminal(*words, "--to", LATER) as program:
        program.press("y", "enter")
        program.wait_for(question + "(Y/n)")
        assert bare.counts() == {str(SOON): 3}
        program.press("n", "enter")
        assert program.wait() == 0
        assert f"{question}No\n{NO_WAY_BACK}\nUpdated 3 of 3 tokens in " in program.text
        assert program.lines[-1] == "Recounted: 3 of 3 tokens have their new date."
    assert not bare.value("SELECT to_regnamespace('token_tasks') IS NOT NULL")
    with bare.terminal("extend", "--expires", LATER, "--to", SOON, "--allow", "earlier") as program:
        program.press("y", "enter", "enter")
        assert program.wait() == 0
        assert f"{question}Yes\nUpdated 3 of 3" in program.text
        assert program.lines[-2:] == ["Recorded as run 1.", "→ to take it back: gitlab-tokens undo --run 1"]
    with bare.terminal(*words, "--to", LATER) as program:
        program.press("y", "enter")
        assert program.wait() == 0
        assert "no journal" not in program.text


def test_ctrl_c_at_a_question_changes_nothing(bare: Instance) -> None:
    with make_engine(bare.address).begin() as connection:
        make_tokens(connection, 3, expires_at=SOON)
    for keys in ([], ["y", "enter"]):
        with bare.terminal("remove", "--expires", SOON) as program:
            program.wait_for("(y/N)")
            program.press(*keys)
            program.wait_for("(Y/n)" if keys else "(y/N)")
            program.press("ctrl-c")
            assert program.wait() == 130
            assert program.lines[-1] == "Interrupted."
    assert bare.counts() == {str(SOON): 3}
    assert not bare.value("SELECT to_regnamespace('token_tasks') IS NOT NULL")


def test_a_role_that_may_not_install_the_journal_gets_the_grant_or_who_may(
    bare: Instance, superuser: Callable[[Address], Address]
) -> None:
    with make_engine(bare.address).begin() as connection:
        make_tokens(connection, 3, expires_at=SOON)
    name = conninfo_to_dict(bare.address.conninfo)["dbname"]
    role = "day-shift"
    Instance(superuser(bare.address)).execute(
        f'DO $$ BEGIN CREATE ROLE "{role}" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$',
        f'GRANT USAGE ON SCHEMA public TO "{role}"',
        f'GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO "{role}"',
    )
    guest = Instance(Address(make_conninfo(bare.address.conninfo, user=role), "there"))
    Instance(superuser(bare.address)).execute(f"ALTER DATABASE {name} OWNER TO postgres")
    for one, cure in ((bare, f"run: GRANT CREATE ON DATABASE {name} TO gitlab;"), (guest, "install it as gitlab.")):
        with one.terminal("remove", "--expires", SOON, size=(50, 400)) as program:
            program.press("y", "enter", "enter")
            assert program.wait() == 3
            assert program.lines[-1].endswith(cure)
            assert ("GRANT" in program.lines[-1]) is (one is bare)
        assert bare.counts() == {str(SOON): 3}
    assert guest.run("remove", "--expires", SOON, "--yes", "--no-journal").returncode == 0
    assert bare.counts() == {None: 3}


def test_what_hangs_on_the_tokens_is_noted_and_moved_or_kept(instance: Instance) -> None:
    with make_engine(instance.address).begin() as connection:
        bot = make_user(connection, user_type=6)
        member = make_membership(connection, user_id=bot, group_id=make_group(connection), expires_at=SOON)
        make_token(connection, user_id=bot, expires_at=SOON, seven_days_notification_sent_at="2024-01-01 00:00+00")
        make_tokens(connection, 2, expires_at=SOON, expire_notification_delivered=True)
    notices = "SELECT count(*) FROM personal_access_tokens WHERE {}".format(
        "expire_notification_delivered OR seven_days_notification_sent_at IS NOT NULL"
    )
    end = "SELECT CAST(expires_at AS text) FROM members WHERE id = :id"
    words = ("extend", "--expires", SOON, "--to", LATER, "--yes")
    keep = ("--memberships", "keep", "--notices", "keep")
    out = instance.done(*words, *keep)
    assert "1 bot has a membership that ends before the new date, and GitLab will delete bot and token" in out
    assert "2 owners have been warned about 3 tokens already, and GitLab may not warn again" in out
    assert (instance.value(notices), instance.value(end, id=member)) == (3, str(SOON))

    words = ("extend", "--expires", LATER, "--to", LATER + timedelta(1), "--yes")
    out = instance.done(*words)
    assert "the end is removed, too (--memberships keep leaves it)." in out
    assert "the notices are re-armed for the new date (--notices keep leaves them)" in out
    assert (instance.value(notices), instance.value(end, id=member)) == (0, None)


BAD: Sequence[tuple[Sequence[str], str]] = (
    (["extend"], "Give the new date: --to DATE, or --by 90d for 90 days after each token's own date."),
    (["extend", "--to", "2030-01-01", "--by", "1d"], "--to and --by both choose the new date: use one of them."),
    (["extend", "--to", "\x1b[31m"], '--to takes a day such as 2026-12-04, today or +14d, not "\ufffd[31m".'),
    (["extend", "--to", ""], "--to was given nothing"),
    (["extend", "--to", "infinity"], "--to takes a day"),
    (["extend", "--by", "0"], "--by takes a period such as 30d, 2w, 3m or 1y"),
    (["extend", "--by", "-1d"], "--by takes a period such as 30d, 2w, 3m or 1y"),
    (["extend", "--by", "9999999"], '--by takes a shorter period: "9999999" ends after the year 9999.'),
    (["extend", "--by", "1d", "--expires", "none"], "--by counts from a token's own date"),
    (["extend", "--by", "1d", "--expires", "2030-01-01,none"], "--by counts from a token's own date"),
    (["extend", "--to", "2030-01-01", "--stagger", "0d"], "--stagger takes a period such as 30d, 2w, 3m or 1y"),
    (["remove", "--expires", "\x1b[2J"], "\ufffd[2J"),
    (["remove", "--expires", "2030-01-02..2030-01-01"], "did you mean 2030-01-01..2030-01-02?"),
    (["remove", "--kind", "bot"], "--kind takes"),
    (["remove", "--state", "dead"], "--state takes"),
    (["remove", "--user", ""], "--user was given nothing"),
    (["remove", "--group", ","], "--group was given nothing"),
    (["remove", "--project", ""], "--project was given nothing"),
    (["remove", "--name", ""], "--name was given nothing"),
    (["remove", "--scope", ""], "--scope was given nothing"),
    (["remove", "--last-used-before", "x"], "--last-used-before takes a day"),
    (["remove", "--last-used-after", "x"], "--last-used-after takes a day"),
    (["remove", "--created-before", "x"], "--created-before takes a day"),
    (["remove", "--created-after", "x"], "--created-after takes a day"),
    (["remove", "--ids", "/no\nwhere"], "No such file"),
    (["remove", "--ids", "-"], "--ids found no token ids in standard input"),
    (["remove", "--memberships", "drop"], '--memberships takes move or keep, not "drop".'),
    (["remove", "--notices", "drop"], '--notices takes rearm or keep, not "drop".'),
    (
        ["remove", "--allow", "everything"],
        "--allow takes beyond-maximum, superseded, doomed, maintenance, publication, not",
    ),
    (["remove", "--allow", ""], "--allow was given nothing"),
    (["remove", "--standby", " "], "--standby was given nothing"),
    (["remove", "--reason", ""], "--reason was given nothing"),
    (["remove", "--user", "--at-most", "3"], "--user needs a username"),
    (["remove", "--kind", "--state", "active"], "--kind needs a kind of token"),
    (["remove", "--at-most", "many"], '--at-most takes a number of tokens, not "many".'),
    (["remove", "--standby", "demo"], "--standby takes postgresql://"),
    (["remove", "--max-lag", "soon"], "--max-lag takes seconds, minutes or hours"),
    (["remove", "--jobs", "0"], "takes a number of connections from 1 to 8, not "),
    (["remove", "--jobs", "9"], "takes a number of connections from 1 to 8, not "),
    (["remove", "--jobs", "two"], "--jobs, or tokens.jobs in the configuration, takes a number of connections from 1"),
    (["remove", "--output", "csv"], '--output takes text or json, not "csv".'),
    (["remove", "--dry-run", "--plan"], "choose one"),
    (["remove", "--no-journal", "--plan"], "--plan keeps the plan in the journal"),
    (["remove", "--reason", "\udcff"], "--reason takes text"),
    (["remove", "--nonsense"], "--nonsense"),
)


def test_what_cannot_be_read_is_one_line_before_the_database_is_asked(typed: Typed) -> None:
    nowhere = Instance(NOWHERE)
    assert one_line(nowhere.run("remove", "--yes")).startswith(
        "Use --within, --expired-within, --ids or --expires to choose tokens"
    )
    for words, said in BAD:
        usual = () if "--expires" in words else ("--expires", SOON)
        done = typed(nowhere.command(*words, *usual, "--yes"))
        assert (done.returncode, done.stdout) == (2, ""), (words, done)
        assert said in one_line(done), words


def test_names_that_are_not_there_are_named_and_nothing_changes(some: Instance) -> None:
    words = ("remove", "--expires", SOON, "--yes")
    how = "give usernames, and full paths such as group/subgroup/project."
    assert some.refusal(*words, "--user", "\x1b[31mmallory", status=2) == (
        f'This GitLab has no user "\ufffd[31mmallory"; {how}'
    )
    both = ("--group", "our\x07group", "--project", "nowhere/at/all")
    assert some.refusal(*words, *both, status=2) == (
        f'This GitLab has no group "our\ufffdgroup", no project "nowhere/at/all"; {how}'
    )

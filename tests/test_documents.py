"""Every task's JSON against tests/documents.schema.json: one vocabulary, and a head that says what it is about."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.testbed import commands, logs
from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_deploy_token, make_ssh_key, make_token, make_tokens, make_user
from tests.testbed.instance import LATER, NOWHERE, SOON, TODAY, Instance
from tests.testbed.logs import Use, plain, written
from tests.testbed.servers import Alone
from tokens.namespace import ns
from tokens.views import document as form

SCHEMA = json.loads(Path(__file__).with_name("documents.schema.json").read_text())

Document = Callable[..., dict[str, Any]]


@pytest.fixture
def database(alone: Alone) -> Iterator[Instance]:
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            make_tokens(connection, 5, expires_at=SOON)
            account = make_user(connection, username="inventory", user_type=13)
            make_token(connection, user_id=account, name="nightly", expires_at=SOON)
        yield Instance(address)


def make_keys(instance: Instance) -> None:
    """What is no access token, and has no notices."""
    with make_engine(instance.address).begin() as connection:
        make_ssh_key(connection, user_id=make_user(connection), expires_at=str(SOON))
        make_deploy_token(connection, expires_at=str(SOON))


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Document:
    """What a command prints with `--output json`, once it fits the schema of its kind."""
    for name in ("INVOKE_TOKENS_TARGET", "GITLAB_TOKENS_CALL"):
        monkeypatch.delenv(name, raising=False)

    def printed(kind: str, *words: object, target: str, status: int = 0) -> dict[str, Any]:
        ended = commands.typed(*map(str, words), "--target", target, "--output", "json")
        streams = capsys.readouterr()
        assert ended == status, streams.err
        found: dict[str, Any] = json.loads(streams.out)
        Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(found)
        assert list(found)[:3] == ["schema", "instance", "made_at"]
        return found

    return printed


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_task_that_prints_json_is_tried_here() -> None:
    changing = {"apply", "extend", "remove", "revoke", "rotate", "undo"}
    reading = {"analyze", "breakdown", "check", "doctor", "forecast", "history", "journal.four-eyes", "journal.status"}
    reading |= {"list", "simulate", "targets", "used"}
    assert {
        name for name in ns.task_names if any("json" in one.forms for one in ns[name].options)
    } == changing | reading | {"whose"}  # which has tests/test_whose.py


def test_what_is_only_read(database: Instance, document: Document, tmp_path: Path) -> None:
    there = url(database.address)
    found = document("analyze", "analyze", target=there)
    assert found["instance"] == {
        "name": database.named.removesuffix(" (GitLab 19.2)"),
        "url": None,
        "target": there,
        "release": "19.2",
    }
    history = document("history", "history", target=there)
    assert (history["runs"], history["instance"]) == ([], found["instance"])
    tokens = document("list", "list", "--wide", target=there)
    assert (tokens["tokens"][-1]["account"], tokens["instance"]["release"]) == ("inventory", "19.2")
    assert document("forecast", "forecast", target=there)["tokens"] == 6
    assert [one["active"] for one in document("breakdown", "breakdown", target=there)["kinds"]] == [5, 1]
    assert document("check", "check", "--warn", "90d", target=there, status=5)["expiring"] == 6
    simulated = document("simulate", "simulate", "--max-lifetime", "5d", "--nights", "90d", target=there)
    assert (simulated["dies"], simulated["because_of_the_change"], len(simulated["tokens"])) == (6, 6, 6)
    week = [TODAY - timedelta(back) for back in range(6, -1, -1)]  # one of the tokens is used on Mondays
    log = logs.plain(tmp_path / "api_json.log", logs.written(logs.population(range(1, 7)), week).lines)
    for by in ("token", "address", "route", "day"):
        used = document("used", "used", "--log", log, "--by", by, target=there)
        assert (used["selected"], used["used"]) == (6, 5)
    assert [one["id"] for one in document("used", "used", "--log", log, target=there)["tokens"]][:1] == [1]
    doctor = document("doctor", "doctor", target=there)
    assert (bool(doctor["findings"]), doctor["instance"]) == (True, found["instance"])
    make_keys(database)
    keys = document("list", "list", "--wide", "--kind", "deploy-token,ssh-key", target=there)
    assert [one["warned"] for one in keys["tokens"]] == [None, None]
    more = "id,expires,in,kind,account,owner,name,used,state,email,place_id,created_by,told"
    assert document("list", "list", "--columns", more, target=there)["tokens"][0]["place_id"] is None
    assert document("doctor", "doctor", "--grants", "auditor", target=there)["grants"]
    assert document("journal.status", "journal.status", target=there)["tokens"] == 0
    assert document("journal.four-eyes", "journal.four-eyes", "--on", target=there)["four_eyes"] is True


def test_a_change_its_way_back_and_their_history(database: Instance, document: Document, tmp_path: Path) -> None:
    there = url(database.address)
    ids = tmp_path / "ids"
    ids.write_text("1 2")
    words = ("--expires", SOON, "--to", LATER)
    dry = document("change", "extend", *words, "--dry-run", target=there)
    assert (dry["plan"]["tokens"], dry["instance"]["release"]) == (6, "19.2")
    assert document("change", "extend", *words, "--plan", target=there)["state"] == "planned"
    shown = document("change", "apply", "--run", 1, "--dry-run", target=there)
    assert (shown["state"], len(shown["outcomes"])) == ("planned", 6)
    assert document("change", "apply", "--run", 1, "--yes", target=there)["changed"] == 6
    assert document("change", "apply", "--run", 1, "--yes", target=there)["state"] == "done"
    shown = document("change", "apply", "--run", 1, "--dry-run", target=there)
    assert (shown["state"], shown["outcomes"]) == ("done", [])
    database.execute("UPDATE personal_access_tokens SET expires_at = NULL WHERE id = 1")
    undone = document("change", "undo", "--run", 1, "--yes", target=there, status=4)
    assert (undone["changed_since"], undone["status"]) == ([1], 4)
    assert (undone["undoes"]["run"], undone["undoes"]["kind"]) == (1, "extend")
    document("change", "remove", "--expires", SOON, "--yes", target=there)
    runs = document("history", "history", target=there)["runs"]
    assert [run["run"] for run in runs] == [3, 2, 1]
    assert [len(run["outcomes"]) for run in document("history", "history", "--token", 2, target=there)["runs"]] == [
        1
    ] * 3
    listed = document("history --run", "history", "--run", 1, target=there)
    assert listed["run"] == 1
    assert listed["outcomes"][1] == {
        "id": 2,
        "account": listed["outcomes"][1]["account"],
        "name": listed["outcomes"][1]["name"],
        "path": None,
        "account_now": listed["outcomes"][1]["account"],
        "name_now": listed["outcomes"][1]["name"],
        "path_now": None,
        "old_expires_at": str(SOON),
        "new_expires_at": str(LATER),
        "outcome": "changed",
        "changed_at": listed["outcomes"][1]["changed_at"],
    }
    revoked = document("change", "revoke", "--ids", ids, "--yes", target=there)
    assert (revoked["run"], revoked["changed"], revoked["plan"]["kind"]) == (4, 2, "revoke")
    assert document("history --run", "history", "--run", 4, target=there)["outcomes"][0]["outcome"] == "changed"
    back = document("change", "undo", "--run", 4, "--allow", "reviving", "--yes", target=there)
    assert [(note["guard"], note["ids"]) for note in back["plan"]["notes"]] == [("reviving", [1, 2])]
    refused = document("change", "extend", "--expires", LATER, "--to", "2001-01-01", "--yes", target=there)
    assert refused["plan"]["tokens"] == 0


def test_a_rotation_and_its_history(database: Instance, document: Document, tmp_path: Path) -> None:
    there = url(database.address)
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(f"production:\n  db_key_base: {'0badcafe' * 16}\n")
    to = ("--deliver", f"file:{tmp_path}/token", "--no-verify", "--secrets-file", secrets, "--yes")
    nothing = document("rotate", "rotate", "--within", "1d", "--dry-run", target=there)
    assert nothing["plan"]["rotations"] == []
    dry = document("rotate", "rotate", "--within", "60d", "--dry-run", target=there)
    assert [one["id"] for one in dry["plan"]["rotations"]] == [6]
    done = document("rotate", "rotate", "--within", "60d", "--grace", "7d", *to, target=there)
    (result,) = done["results"]
    assert (result["id"], result["account"], result["successor_id"]) == (6, "inventory", 7)
    (rotation,) = document("history --run", "history", "--run", done["run"], target=there)["rotations"]
    assert (rotation["id"], rotation["old_expires_at"]) == (6, str(SOON))
    assert rotation["grace_until"] == str(TODAY + timedelta(7))
    assert (rotation["name"], rotation["successor_name"]) == ("nightly", "nightly")
    assert rotation["delivered_to"] == f"file {tmp_path}/token"
    (run,) = document("history", "history", "--token", 7, target=there)["runs"]
    assert run["rotations"] == [rotation]


def test_what_a_log_adds(database: Instance, document: Document, tmp_path: Path) -> None:
    there = url(database.address)
    log = plain(tmp_path / "api_json.log", written([Use(6, 10)], [TODAY - timedelta(1), TODAY]).lines)
    empty = plain(tmp_path / "empty", [])
    plans: list[list[object]] = [
        ["extend", "--expires", SOON, "--to", LATER],
        ["remove", "--expires", SOON],
        ["revoke", "--expires", SOON],
        ["rotate", "--within", "60d"],
    ]
    for words in plans:
        kind = "rotate" if words[0] == "rotate" else "change"
        found = document(kind, *words, "--dry-run", "--log", log, target=there)
        assert found["use"]["used_daily"] == 1
        assert document(kind, *words, "--dry-run", "--log", empty, target=there)["use"]["since"] is None
    assert document("list", "list", "--log", log, "--sort=-calls", target=there)["tokens"][0]["calls_a_day"] == 10
    assert document("check", "check", "--log", log, "--warn", "1d", target=there)["expired_in_use"] == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["analyze", "--top", "none"], 2),
        (["analyze"], 1),
        (["extend", "--expires", "soon", "--to", "2027-01-01", "--yes"], 2),
        (["remove", "--expires", "2027-01-01", "--yes"], 1),
        (["revoke", "--yes"], 2),
        (["apply", "--run", "x", "--yes"], 2),
        (["undo", "--run", "1", "--yes"], 1),
        (["rotate", "--within", "1d", "--dry-run"], 1),
        (["history", "--run", "0"], 2),
        (["journal.status"], 1),
    ],
)
def test_a_refusal_is_in_the_document(document: Document, words: list[str], status: int) -> None:
    found = document("refusal", *words, target=url_of_nowhere(), status=status)
    assert (found["status"], found["instance"]["target"]) == (status, url_of_nowhere())


def url_of_nowhere() -> str:
    return str(NOWHERE.conninfo)


def test_a_password_in_a_target_is_in_no_document(document: Document) -> None:
    found = document("refusal", "analyze", target="postgresql://u:s3cr3t@127.0.0.1:1/x", status=1)
    assert found["instance"]["target"] is None
    assert "s3cr3t" not in json.dumps(found)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_list_that_comes_in_pieces_has_commas_between_its_rows_alone(number: int) -> None:
    rows = [{"id": one, "name": "a\nb"} for one in range(number)]
    objects = ([form.begun({"run": one}), *form.listed("tokens", map(json.dumps, rows)), "}"] for one in range(number))
    pieces = [
        form.begun({"schema": 1, "log": {"files": []}}),
        *form.listed("rows", map(json.dumps, rows), ","),
        *form.listed("runs", objects),
        "}",
    ]
    found = {"schema": 1, "log": {"files": []}, "rows": rows}
    assert json.loads("\n".join(pieces)) == {**found, "runs": [{"run": one, "tokens": rows} for one in range(number)]}


def test_a_list_that_comes_in_pieces_holds_back_one_row_at_most() -> None:
    rows = iter(["1", "2", "3"])
    pieces = form.listed("ids", rows)
    assert [next(pieces), next(pieces)] == ['  "ids": [', "    1,"]
    assert list(rows) == ["3"]

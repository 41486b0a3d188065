"""`whose`: which token a text is, and that the text is nowhere else."""

import csv
import io
import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.testbed.addresses import url
from tests.testbed.commands import call_here, typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_agent_token,
    make_deploy_token,
    make_group,
    make_membership,
    make_project,
    make_runner,
    make_settings,
    make_token,
    make_trigger,
    make_user,
)
from tests.testbed.marks import slow_ones
from tests.testbed.processes import process_list
from tests.testbed.program import GITLAB_TOKENS, INV
from tests.testbed.replication import Replicated
from tests.testbed.screen import Program
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.commands.scanning import Scanning
from tokens.gitlab.digest import Keys
from tokens.gitlab.plaintext import Payload, routable_token
from tokens.gitlab.schema import read_schema
from tokens.gitlab.sealed import sealed
from tokens.inventory import scan
from tokens.inventory import whose as inventory
from tokens.inventory.scan import Scan
from tokens.inventory.whose import _access_tokens
from tokens.secret import Secret

TODAY = datetime.now(UTC).date()
SOON = TODAY + timedelta(20)
NOBODY = 65534
KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])
SCHEMA = json.loads(Path(__file__).with_name("documents.schema.json").read_text())

OLD = "glpat-s3cr3tOLD_of-A-bot_1"
NEW = routable_token("glpat-", Payload(1, 1)).reveal()
BARE = "s3cr3tWithoutPrefix_"
DEPLOY = "gldt-s3cr3tOfADeploy-tok_"
RUNNER = "glrt-s3cr3tOfARunner-tok_"
AGENT = "glagent-" + "s3cr3tAgent" * 4 + "_-_-_-"
TRIGGER = "glptt-" + "5ec4e7ab" * 5
SECRETS = (OLD, NEW, BARE, DEPLOY, RUNNER, AGENT, TRIGGER)


@dataclass
class GitLab:
    """A GitLab with a token of each kind that can be looked up, and `whose` against it."""

    address: Address
    folder: Path

    @property
    def secrets(self) -> Path:
        path = self.folder / "secrets.yml"
        path.write_text(json.dumps({"production": {"db_key_base": [key.reveal() for key in KEYS.values]}}))
        return path

    def words(self, *words: object) -> list[str]:
        """What to type; an option that is among the words counts in the place of the usual one."""
        usual = {"--target": url(self.address), "--secrets-file": str(self.secrets)}
        options = [one for option in usual.items() if option[0] not in words for one in option]
        return [GITLAB_TOKENS, "whose", *options, *map(str, words)]

    def run(self, *words: object, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        done = call_here(*self.words(*words), stdin=stdin)
        assert done.returncode == status, done
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
        return done

    def rows(self, *words: object, stdin: str = "") -> list[dict[str, Any]]:
        document = json.loads(self.run(*words, "--output", "json", stdin=stdin).stdout)
        Draft202012Validator({"$ref": "#/$defs/whose", "$defs": SCHEMA["$defs"]}).validate(document)
        found: list[dict[str, Any]] = document["tokens"]
        return found


def fill(address: Address, *, has_line: bool = True) -> None:
    with make_engine(address).begin() as connection:
        make_settings(connection)
        bot, project = make_user(connection, username="project_7_bot_ab", user_type=6), make_project(connection)
        make_membership(connection, user_id=bot, project_id=project)
        digest = KEYS.digests(Secret(OLD))[1]  # by the key before
        old = make_token(connection, user_id=bot, name="deploy", revoked=True, expires_at=SOON, token_digest=digest)
        line = {"previous_personal_access_token_id": old} if has_line else {}
        new = KEYS.digest_with_current(Secret(NEW))
        make_token(connection, user_id=bot, name="deploy", expires_at=SOON, token_digest=new, **line)
        person = make_user(connection, username="alice", state="blocked")
        bare = KEYS.digest_with_current(Secret(BARE))
        make_token(connection, user_id=person, name="of old", token_digest=bare, last_used_at="2026-06-01 10:00:00+00")


@pytest.fixture
def gitlab(alone: Alone, tmp_path: Path) -> Iterator[GitLab]:
    with alone.database() as address:
        fill(address)
        yield GitLab(address, tmp_path)


def test_a_token_gets_one_line_with_all_that_is_known(gitlab: GitLab) -> None:
    done = gitlab.run(stdin=f"{OLD}\n\n  {NEW}\r\n{BARE}")
    lines = [re.sub(r"\(..., in [^)]*\)", "(…)", line) for line in done.stdout.splitlines()]
    created = "created 2023-01-10 08:30 UTC"
    place = lines[0].partition(" of ")[2].partition(" (")[0]
    assert lines == [
        f'1: project access token 1 "deploy" of {place} (bot project_7_bot_ab), revoked; scopes api; '
        f"expires {SOON} (…); {created}; never used; replaced by 2; flags successor-works",
        f'3: project access token 2 "deploy" of {place} (bot project_7_bot_ab), active; scopes api; '
        f"expires {SOON} (…); {created}; never used; flags nobody-warned",
        f'4: personal access token 3 "of old" of alice (blocked), active; scopes api; never expires; {created}; '
        "last used 2026-06-01 10:00 UTC; flags owner-inactive",
    ]
    assert done.stderr == ""


@pytest.mark.parametrize("line", ['GITLAB_TOKEN="{}"', "Authorization: Bearer {}", "'{}',", "The token is {}."])
def test_a_token_is_found_in_a_line_that_has_more_than_that(gitlab: GitLab, line: str) -> None:
    assert [one["id"] for one in gitlab.rows(stdin=line.format(NEW))] == [2]


def test_a_files_name_shows_no_token(gitlab: GitLab, tmp_path: Path) -> None:
    folder = tmp_path / f"copy of {NEW}"
    folder.mkdir()
    (folder / OLD).write_text(OLD)
    for output in ("text", "csv", "json"):
        done = gitlab.run("--scan", tmp_path, "--output", output)
        assert "glpat-…/glpat-…" in done.stdout.replace("\\u2026", "…")
        assert OLD not in done.stdout + done.stderr
        assert NEW not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("extend", "--expires", "2030-01-01", "--to", "2031-01-01", "--reason", f"{OLD} leaked", "--yes"),
        ("list", "--columns", OLD),
        ("list", "--sort", OLD),
    ],
)
def test_a_token_in_an_option_of_another_task_is_refused_and_not_repeated(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(*words, "--target", "postgresql://nobody@127.0.0.1:1/x") == 2
    assert OLD.removeprefix("glpat-").lower() not in "".join(capsys.readouterr()).lower()


@pytest.mark.each_release
def test_every_release_is_asked_by_the_digest_alone(
    gitlab_database_at: Callable[[str], Address], revision: str, tmp_path: Path
) -> None:
    address = gitlab_database_at(revision)
    has_line = revision not in ("16.0", "16.1")
    fill(address, has_line=has_line)
    rows = GitLab(address, tmp_path).rows(stdin=f"{OLD}\n{NEW}\n{BARE}\nglpat-{'x' * 20}")
    assert [one["id"] for one in rows] == [1, 2, 3, None]
    assert rows[0]["replaced_by"] == ([2] if has_line else [])
    assert [one["looks_like"] for one in rows] == ["access-token", "access-token", None, "access-token"]


def test_each_server_can_be_asked(gitlab_database: Address, tmp_path: Path) -> None:
    fill(gitlab_database)
    rows = GitLab(gitlab_database, tmp_path).rows(stdin=f"{OLD}\n{NEW}\n{BARE}\n{DEPLOY}\n")
    assert [one["id"] for one in rows] == [1, 2, 3, None]


def test_a_standby_will_do(replicated: Replicated, tmp_path: Path) -> None:
    with replicated.database() as pair:
        fill(pair.primary)
        replicated.catch_up()
        assert [one["id"] for one in GitLab(pair.standby, tmp_path).rows(stdin=f"{OLD}\n{DEPLOY}\n")] == [1, None]


def test_runners_are_looked_for_in_a_ci_database_of_its_own(gitlab: GitLab, alone: Alone) -> None:
    with alone.database() as ci:
        with make_engine(gitlab.address).begin() as connection:
            group = make_group(connection, path="fleet")
        with make_engine(ci).begin() as connection:
            make_runner(connection, group_id=group, name="builder", token_encrypted=sealed(Secret(RUNNER), KEYS)[0])
        texts = [Secret(RUNNER), Secret(NEW)]
        found = inventory.whose(gitlab.address, KEYS, texts, ci=ci)
        elsewhere = inventory.whose(gitlab.address, KEYS, texts)
    runner = found.answers[0].facts
    assert runner is not None
    assert (runner["kind"], runner["owner"]) == ("runner", "fleet")
    assert [one.facts is None for one in elsewhere.answers] == [True, False]


def test_it_is_found_by_the_index_on_the_digest(gitlab: GitLab) -> None:
    statements: list[str] = []
    with database.reading(gitlab.address) as connection:
        schema = read_schema(connection)
        connection.set_locally(enable_seqscan="off")
        original = connection.rows

        def rows(statement: str, **parameters: object) -> list[Any]:
            if "token_digest" in statement:
                statements.extend(row[0] for row in original(f"EXPLAIN {statement}", **parameters))
            return original(statement, **parameters)

        connection.rows = rows  # type: ignore[method-assign]
        found = list(_access_tokens(connection, schema, list(KEYS.digests(Secret(NEW))), None, None, None))
    assert [place for place, _ in found] == [0]
    plan = "\n".join(statements)
    assert "index_personal_access_tokens_on_token_digest" in plan
    assert "Index Cond: ((token_digest)::text = ANY" in plan


def test_what_is_not_known_says_why(gitlab: GitLab) -> None:
    wrong = NEW[:-1] + ("a" if NEW[-1] != "a" else "b")
    given = ["glpat-" + "x" * 20, wrong, "x" * 5000, "glft-" + "0" * 64 + "-4711", "glcbt-1_" + "x" * 20, "hello", "ä"]
    lines = gitlab.run(stdin="\n".join(given)).stdout.splitlines()
    assert [line.partition("not known: ")[2].partition(",")[0].partition(":")[0] for line in lines] == [
        "it has the form of an access token",
        "its checksum does not belong to it",
        "it is longer than any token of GitLab's",
        "GitLab keeps these in clear",
        "GitLab keeps these in a form of its own that is not known here",
        "this GitLab has no token like that",
        "this GitLab has no token like that",
    ]
    assert lines[3].endswith("; it names the user with id 4711")
    assert [line.partition(":")[0] for line in lines] == list("1234567")


def test_bytes_that_are_no_text_and_endless_lines_are_no_tokens_and_the_next_one_is_found(gitlab: GitLab) -> None:
    given = b"\xff\x80\xfe\n\x00\n" + b"y" * 3_000_000 + b"\n\xef\xbb\xbf" + OLD.encode() + b"\n" + b"z" * 799
    done = subprocess.run(gitlab.words(), input=given, capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert 'project access token 1 "deploy"' in lines[3]
    assert done.stderr == b""


def test_a_user_without_a_name_is_no_bot_without_membership(gitlab: GitLab) -> None:
    with make_engine(gitlab.address).begin() as connection:
        connection.execute(sa.text("UPDATE users SET username = NULL WHERE username = 'alice'"))
    assert gitlab.run(stdin=BARE).stdout.startswith('1: personal access token 3 "of old" of (no such user)')


@pytest.mark.parametrize("order", ["le", "be"])
def test_lines_of_windows_are_read_as_in_a_scan(gitlab: GitLab, order: str) -> None:
    given = f"\ufeff{OLD}\r\n\r\n{NEW}\r\n".encode(f"utf-16-{order}")
    done = subprocess.run(gitlab.words(), input=given, capture_output=True, check=True)
    assert [line.partition('"')[0] for line in done.stdout.decode().splitlines()] == [
        "1: project access token 1 ",
        "3: project access token 2 ",
    ]


@pytest.mark.slow
def test_the_same_token_twice_is_told_twice(gitlab: GitLab) -> None:
    assert [one["id"] for one in gitlab.rows(stdin=f"{OLD}\n{NEW}\n{OLD}\n" * 700)] == [1, 2, 1] * 700


def test_nothing_is_an_empty_list_and_no_fault(gitlab: GitLab) -> None:
    assert gitlab.rows() == []
    assert gitlab.run().stderr == "There is no token.\n"
    assert gitlab.run("--output", "csv").stdout.count("\n") == 1


def test_csv_has_a_row_a_token(gitlab: GitLab) -> None:
    (row,) = csv.DictReader(io.StringIO(gitlab.run("--output", "csv", stdin=OLD).stdout))
    assert (row["line"], row["id"], row["state"], row["replaced_by"], row["scopes"]) == (
        "1",
        "1",
        "revoked",
        "2",
        "api",
    )


def test_addresses_are_those_that_gitlab_has_seen(gitlab: GitLab) -> None:
    with make_engine(gitlab.address).begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO personal_access_token_last_used_ips "
            "(personal_access_token_id, organization_id, created_at, updated_at, ip_address) "
            "VALUES (3, 1, now(), now(), '192.0.2.7'), (3, 1, now(), now(), '2001:db8::1')"
        )
    (row,) = gitlab.rows(stdin=BARE)
    assert row["ips"] == ["192.0.2.7", "2001:db8::1"]
    assert "from 192.0.2.7, 2001:db8::1" in gitlab.run(stdin=BARE).stdout


def test_a_key_that_is_not_the_instances_finds_nothing(gitlab: GitLab) -> None:
    other = gitlab.folder / "other.yml"
    other.write_text(json.dumps({"production": {"db_key_base": "f" * 128}}))
    done = gitlab.run("--secrets-file", other, stdin=OLD)
    assert "not known: it has the form of an access token" in done.stdout


def test_a_bare_database_needs_the_secrets_and_says_so(gitlab: GitLab) -> None:
    done = call_here(GITLAB_TOKENS, "whose", "--target", url(gitlab.address), stdin=OLD)
    assert done.returncode == 2
    assert "use --secrets-file with a copy" in done.stderr
    assert OLD not in done.stderr


@pytest.mark.parametrize("number", [0, 1, 2, 3], ids=["current", "current, old nonce", "old", "old, old nonce"])
def test_what_gitlab_encrypts_is_found_under_each_key_and_with_both_nonces(gitlab: GitLab, number: int) -> None:
    def kept(token: str) -> dict[str, Any]:
        return {"token_encrypted": sealed(Secret(token), KEYS)[number]}

    with make_engine(gitlab.address).begin() as connection:
        group, project = make_group(connection, path="fleet"), make_project(connection)
        person = make_user(connection, username="bob")
        make_deploy_token(connection, group_id=group, name="pull", read_registry=True, **kept(DEPLOY))
        make_runner(connection, group_id=group, description="builder", **kept(RUNNER))
        make_agent_token(connection, project_id=project, name="cluster", status=1, **kept(AGENT))
        make_trigger(connection, project_id=project, owner_id=person, description="nightly", **kept(TRIGGER))
        make_deploy_token(connection, group_id=group, name="of old", **kept(DEPLOY[5:]))
    rows = gitlab.rows(stdin="\n".join([DEPLOY, RUNNER, AGENT, TRIGGER, DEPLOY[5:], "gldt-" + "x" * 20]))
    assert [(one["looks_like"], one["kind"], one["name"], one["state"]) for one in rows] == [
        ("deploy-token", "deploy-token", "pull", "active"),
        ("runner-token", "runner", "builder", "active"),
        ("agent-token", "agent", "cluster", "revoked"),
        ("trigger-token", "trigger", "nightly", "active"),
        (None, "deploy-token", "of old", "active"),
        ("deploy-token", None, None, None),
    ]
    assert (rows[0]["owner"], rows[0]["scopes"], rows[3]["account"]) == ("fleet", ["read_registry"], "bob")
    assert gitlab.run(stdin=DEPLOY).stdout.startswith(
        '1: deploy token 1 "pull" of fleet, active; scopes read_registry; '
    )


def test_a_role_needs_what_doctor_grants_and_no_more(gitlab: GitLab, alone: Alone) -> None:
    name = conninfo_to_dict(gitlab.address.conninfo)["dbname"]
    with psycopg.connect(alone.server.address(str(name)).conninfo, autocommit=True) as server:
        server.execute("CREATE ROLE looker LOGIN")
        try:
            printed = call_here(GITLAB_TOKENS, "doctor", "--grants", "looker", "--target", url(gitlab.address)).stdout
            parts = {part.partition("\n")[0]: part.partition("\n")[2] for part in printed.split("-- ")}
            looker = url(gitlab.address).replace("gitlab@", "looker@").replace("user=gitlab", "user=looker")
            words = [GITLAB_TOKENS, "whose", "--secrets-file", str(gitlab.secrets), "--target", looker]
            server.execute(parts["list"])
            done = call_here(*words, stdin=OLD)
            assert done.returncode == 3
            assert "GRANT SELECT (token_digest) ON public.personal_access_tokens TO looker" in done.stderr
            server.execute(parts["whose"])
            assert call_here(*words, stdin=OLD).stdout.startswith("1: project access token 1")
            done = call_here(*words, stdin=DEPLOY)
            assert "NOTE: Not read: deploy-token." in done.stderr
            server.execute(parts["others"])
            done = call_here(*words, stdin=DEPLOY)
            assert (done.returncode, done.stderr) == (0, "")
        finally:
            server.execute("DROP OWNED BY looker")
            server.execute("DROP ROLE looker")


@pytest.fixture
def leaks(folder: Path) -> Path:
    """Files of every sort, with tokens in some."""
    found = folder / "leaks"
    (found / "b" / "deep").mkdir(parents=True)
    (found / "a.sh").write_text(f"# push\ngit push https://x:{OLD}@gitlab.example.com/a.git\n\nTOKEN={NEW} run\n")
    (found / "b" / "deep" / "old.ini").write_text(f"[api]\r\ntoken = {BARE}\r\nother = AbCdEfGhIjKlMnOpQr12\r\n")
    (found / "b" / "binary").write_bytes(bytes(range(256)) * 10 + b"\n\0" + OLD.encode() + b"\0\xff")
    (found / "b" / "windows.txt").write_bytes(f"line\nglpat {NEW}\n".encode("utf-16"))
    (found / "empty").write_bytes(b"")
    (found / "link").symlink_to(found / "a.sh")
    (found / "b" / "up").symlink_to(found)
    os.mkfifo(found / "pipe")
    (found / "unknown").write_text("glpat-xxxxxxxxxxxxxxxxxxxx and " + NEW[:-1] + "_\n")
    return found


def test_files_are_searched_and_each_place_is_told(gitlab: GitLab, leaks: Path) -> None:
    rows = gitlab.rows("--scan", leaks)
    assert [(str(Path(one["file"]).relative_to(leaks)), one["line"], one["id"]) for one in rows] == [
        ("a.sh", 2, 1),
        ("a.sh", 4, 2),
        ("unknown", 1, None),
        ("b/binary", 12, 1),
        ("b/windows.txt", 2, 2),
        ("b/deep/old.ini", 2, 3),
    ]
    done = gitlab.run("--scan", leaks)
    assert done.stdout.splitlines()[0].startswith(f'{leaks}/a.sh:2: project access token 1 "deploy" of ')
    (one,) = gitlab.rows("--scan", leaks / "b" / "deep" / "old.ini")
    assert one["id"] == 3


def test_a_text_with_a_wrong_checksum_is_named_by_file_and_line_and_never_shown(gitlab: GitLab, folder: Path) -> None:
    wrong = NEW[:-1] + ("a" if NEW[-1] != "a" else "b")
    (folder / "a.sh").write_text(f"#\nTOKEN={NEW}\nTOKEN={wrong}\n")
    (folder / "b.sh").write_text(f"{wrong}\n" * 3)
    done = gitlab.run("--scan", folder)
    assert (
        "4 texts look like a token, but the checksum does not belong to it, so that GitLab would not take it: "
        f"{folder}/a.sh:3, {folder}/b.sh:1, {folder}/b.sh:2, and 1 more."
    ) in done.stderr
    assert wrong not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_what_cannot_be_read_is_told_and_the_rest_is_searched(leaks: Path) -> None:
    for number in range(5):
        (leaks / f"closed{number}").write_text(OLD)
        (leaks / f"closed{number}").chmod(0)
    (leaks / "shut").mkdir(mode=0)
    (closed, paths), more = in_a_child(lambda: looked_into(leaks))
    assert set(paths) == {str(leaks / name) for name in ("a.sh", "b/binary", "b/windows.txt", "unknown")}
    assert closed == {f"{leaks}/closed{number}": "Permission denied" for number in range(3)}
    assert more == 3


def looked_into(leaks: Path) -> Any:
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    scanned = Scan(str(leaks), ["glpat-"])
    paths = [one.path for one in scanned.occurrences() if one.sure]
    return (scanned.unread, paths), scanned.more_unread


def in_a_child(work: Callable[[], Any]) -> Any:
    """What it finds in a process of its own, which may become another account."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = json.loads(answer.read())
    os.waitpid(child, 0)
    return found


@pytest.mark.slow
def test_a_token_across_the_border_of_two_parts_is_found_once_and_in_its_line(
    gitlab: GitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (500, 512, 700, 1 << 20):
        monkeypatch.setattr(scan, "PART", part)
        lines = [f"{'-' * (number % 37)} {(OLD, NEW, BARE)[number % 3]} x" for number in range(300)]
        (tmp_path / "many").write_text("\n".join(lines))
        rows = gitlab.rows("--scan", tmp_path / "many")
        assert [(one["line"], one["id"]) for one in rows] == [(number + 1, number % 3 + 1) for number in range(300)]


def test_a_huge_file_is_searched_in_constant_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        for _ in range(40):
            file.write(b"nothing here\n" * 80_000)
        file.write(OLD.encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (one,) = [one for one in Scan(str(tmp_path), ["glpat-"]).occurrences() if one.sure]
    assert one.line == 40 * 80_000 + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kilobytes


def test_a_scan_ends_when_nobody_wants_to_know_any_more(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # which would take hours
    (tmp_path / "a").write_text(f"{OLD}\n")
    scanning = Scanning.started(str(tmp_path))
    found = scanning.occurrences(["glpat-"])
    scanning.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(scanning.process, os.WNOHANG)
    with pytest.raises(ValueError, match="closed file"):
        next(found)
    scanning = Scanning.started(str(tmp_path))
    assert scanning.questions
    scanning.questions.write("[]\n")
    scanning.questions.flush()
    scanning.close()


def test_an_instances_own_prefix_is_read_from_its_settings(gitlab: GitLab, tmp_path: Path) -> None:
    token = "pat.of:acme/s3cr3tWithCustom-pfx_"[:12] + BARE
    with make_engine(gitlab.address).begin() as connection:
        make_settings(connection, personal_access_token_prefix=token[:12])
        digest = KEYS.digest_with_current(Secret(token))
        make_token(connection, user_id=make_user(connection), token_digest=digest, name="custom")
    (tmp_path / "file").write_text(f"x\n{token}\n")
    (row,) = gitlab.rows("--scan", tmp_path / "file")  # and not the 20 characters behind it, which are BARE
    assert (row["line"], row["name"], row["looks_like"]) == (2, "custom", "access-token")


def test_a_word_that_may_be_an_old_token_is_looked_for_among_access_tokens_alone(
    gitlab: GitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are full of words with 20 characters, and to encrypt each of them takes a thousand times as long."""
    asked: list[str] = []

    def counted(token: Secret, keys: Keys) -> tuple[str, ...]:
        asked.append(token.reveal())
        return sealed(token, keys)

    monkeypatch.setattr(inventory, "sealed", counted)
    (tmp_path / "file").write_text(f"{BARE} AbCdEfGhIjKlMnOpQr12 {DEPLOY}\n")
    assert [one["id"] for one in gitlab.rows("--scan", tmp_path / "file")] == [3, None]
    assert asked == [DEPLOY]
    assert [one["id"] for one in gitlab.rows(stdin=f"?{BARE}\n?AbCdEfGhIjKlMnOpQr12\n")] == [3, None]
    assert asked == [DEPLOY]


def test_the_scan_takes_a_folder_or_a_file(gitlab: GitLab, tmp_path: Path) -> None:
    of_kernel = (Path("/proc"), "made up by the kernel: choose another folder.")
    for place, said in ((tmp_path / "none", "No such file"), (Path("/dev/null"), "neither"), of_kernel):
        done = gitlab.run("--scan", place, status=2)
        assert said in done.stderr


@pytest.mark.parametrize("words", [("help", "whose"), ("--help", "whose"), ("analyze", "tokens.whose")])
def test_a_token_after_the_tasks_name_is_refused_wherever_that_stands(words: tuple[str, ...]) -> None:
    done = call_here(GITLAB_TOKENS, *words, "glpat-al1ces0ldt0ken_al1ce5")
    assert (done.returncode, done.stdout, "al1ces0ld" in done.stderr) == (2, "", False)
    assert done.stderr.startswith("A token is never an argument, which everybody on this machine could read (ps): ")


@pytest.mark.parametrize("program", [GITLAB_TOKENS, *slow_ones(INV)])
@pytest.mark.parametrize("debug", [False, True])
def test_a_token_as_an_argument_is_refused_and_not_repeated(program: str, debug: bool) -> None:
    task = "whose" if program == GITLAB_TOKENS else "tokens.whose"
    for token in (OLD, NEW, "AbCd1fGhIjKlMnOpQrSt"):
        for words in ([token], ["--token", token], [f"--token={token}"], ["--scan", token], ["-o", "json", token]):
            done = call_here(program, *(["--debug"] if debug else []), task, *words, env={"HOME": "/nonexistent"})
            assert done.returncode == 2 or program == INV
            assert done.returncode != 0
            assert not done.stdout.strip() or debug or "json" in words
            if token in (OLD, NEW) or debug or "--scan" not in words:
                assert token not in done.stdout + done.stderr, (words, done)
    done = call_here(program, task, OLD)
    assert done.stderr.startswith("A token is never an argument, which everybody on this machine could read (ps): ")
    assert done.stderr.count("\n") == 1


def test_at_a_terminal_it_asks_and_shows_nothing_of_what_is_pasted(gitlab: GitLab) -> None:
    with Program(gitlab.words(), size=(20, 200)) as program:
        program.wait_for("Paste the token; it is not shown.")
        program.press(OLD, "enter")
        assert program.wait() == 0
        assert 'project access token 1 "deploy"' in program.text
        assert OLD.encode() not in program.raw
    with Program(["/bin/sh", "-c", '"$@"; cat', "sh", *gitlab.words()], size=(20, 200)) as program:
        program.wait_for("Paste the token; it is not shown.")
        program.send(f"\x1b[200~{OLD}\x1b[201~\n{NEW}\nrm -rf x\n")
        program.wait_for('project access token 1 "deploy"')
        program.press("ctrl-d")
        assert program.wait() == 0
        assert not any(word in program.raw for word in (OLD.encode(), NEW.encode(), b"rm -rf"))
    with Program(gitlab.words(), size=(20, 200)) as program:
        program.wait_for("Paste the token; it is not shown.")
        program.press("ctrl-c")
        assert program.wait() == 130


def log_line(token: int, at: str, **fields: object) -> str:
    usual = {
        "time": at,
        "severity": "INFO",
        "route": "/api/:version/projects/:id/repository/files/:file_path",
        "meta.caller_id": "GET /api/:version/projects/:id/repository/files/:file_path",
        "meta.project": "platform/tools",
        "meta.remote_ip": "192.0.2.9",
        "ua": "curl/8.5.0",
        "token_type": "PersonalAccessToken",
        "token_id": token,
        "status": 200,
    }
    return json.dumps({**usual, **fields}) + "\n"


def test_with_a_log_it_says_what_each_token_did(gitlab: GitLab) -> None:
    with make_engine(gitlab.address).begin() as connection:
        kept = sealed(Secret(DEPLOY), KEYS)[0]
        make_deploy_token(connection, group_id=make_group(connection), token_encrypted=kept)
    dead = {
        "status": 401,
        "token_type": None,
        "token_id": None,
        "meta.auth_fail_reason": "token_revoked",
        "meta.auth_fail_token_id": "PersonalAccessToken/1",
    }
    (gitlab.folder / "api_json.log").write_text(
        log_line(2, "2026-06-01T10:00:00.000Z") * 3
        + log_line(4, "2026-06-01T10:00:00.000Z")
        + log_line(0, "2026-06-02T11:30:00.000Z", **dead)
    )
    words = ("--log", gitlab.folder / "api_json.log")
    given = f"{NEW}\n{OLD}\n{DEPLOY}\nhello\n"
    new, old, deploy, unknown = gitlab.rows(*words, stdin=given)
    assert (new["use"]["calls"], new["use"]["refused"]) == (3, 0)
    assert new["use"]["projects"] == [{"project": "platform/tools", "calls": 3, "refused": 0}]
    assert (old["use"]["calls"], old["use"]["refused"], old["use"]["reasons"]) == (0, 1, {"token_revoked": 1})
    assert (deploy["id"], deploy["use"], unknown["use"]) == (1, None, None)  # it is another token 1
    done = gitlab.run(*words, stdin=given)
    first, second, *_ = done.stdout.splitlines()
    assert "; by the log 3 calls, last 2026-06-01 10:00 UTC; routes GET /api/:version/projects/" in first
    assert "; projects platform/tools (3); addresses 192.0.2.9 (3); agents curl/8.5.0 (3)" in first
    assert "; by the log 0 calls; 1 refused (token_revoked 1), last 2026-06-02 11:30 UTC" in second
    assert "NOTE: The log reaches from 2026-06-01 10:00 to 2026-06-02 11:30 UTC" in done.stderr
    (row,) = csv.DictReader(io.StringIO(gitlab.run(*words, "--output", "csv", stdin=NEW).stdout))
    assert (row["calls"], row["refused"]) == ("3", "0")


def test_a_log_and_tokens_cannot_both_come_on_standard_input(gitlab: GitLab, leaks: Path) -> None:
    assert "--log - reads standard input" in gitlab.run("--log", "-", stdin=OLD, status=2).stderr
    rows = gitlab.rows("--log", "-", "--scan", leaks / "a.sh", stdin=log_line(1, "2026-06-01T10:00:00.000Z"))
    assert [one["use"]["calls"] for one in rows] == [1, 0]


def everywhere(alone: Alone, gitlab: GitLab, *words: object, stdin: str) -> dict[str, str]:
    """All that a run leaves or shows, by where that is."""
    temporary = gitlab.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    logged = alone.server.folder / "server.log"
    before = logged.stat().st_size
    environment = {**os.environ, "INVOKE_DEBUG": "1", "PYTHONFAULTHANDLER": "1", "TMPDIR": str(temporary)}
    program, *rest = gitlab.words(*words)
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh", program, "--debug", *rest],
        cwd=temporary,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    first = ""
    if stdin:
        # More than are looked up at once, so that it has answered some, and waits for more with a token in its hands.
        process.stdin.write(f"{stdin}\n" * 1001)
        process.stdin.flush()
        first = process.stdout.readline()
    status = Path(f"/proc/{process.pid}")
    seen = {"ps": process_list(), "limits": (status / "limits").read_text() if stdin else ""}
    if stdin:
        owners = {name: (status / name).stat().st_uid for name in ("environ", "mem")}
        assert set(owners.values()) == {0}
        assert re.search(r"Max core file size +0 +0 ", seen["limits"])
        process.send_signal(signal.SIGABRT)
    out, err = process.communicate(timeout=60)
    seen |= {"out": first + out, "err": err}
    seen["files"] = "".join(path.read_text(errors="replace") for path in temporary.rglob("*") if path.is_file())
    seen["names"] = " ".join(map(str, temporary.rglob("*")))
    with logged.open("rb") as log:
        log.seek(before)
        seen["log"] = log.read().decode(errors="replace")
    return seen


@pytest.mark.slow
def test_no_stream_file_process_core_log_or_temporary_folder_ever_has_the_token(
    gitlab: GitLab, alone: Alone, leaks: Path
) -> None:
    name = conninfo_to_dict(gitlab.address.conninfo)["dbname"]
    with psycopg.connect(alone.server.address(str(name)).conninfo, autocommit=True) as server:
        server.execute(
            sql.SQL("ALTER ROLE gitlab IN DATABASE {} SET log_statement = 'all'").format(sql.Identifier(str(name)))
        )
    fault = gitlab.folder / "fault.yml"
    fault.write_text("production: {db_key_base: ''}")
    keys = [key.reveal() for key in KEYS.values]
    runs = {
        "standard input": everywhere(alone, gitlab, stdin=OLD),
        "a scan": everywhere(alone, gitlab, "--scan", leaks, stdin=""),
        "a fault": everywhere(alone, gitlab, "--secrets-file", fault, "--scan", leaks, stdin=""),
        "no database": everywhere(
            alone, gitlab, "--target", "postgresql://gitlab@127.0.0.1:1/x", "--scan", leaks, stdin=""
        ),
    }
    assert "token_digest" in runs["standard input"]["log"]
    assert "project access token 1" in runs["standard input"]["out"]
    assert "a.sh:2: project access token 1" in runs["a scan"]["out"]
    assert "Traceback" in runs["a fault"]["err"]
    assert "Traceback" in runs["no database"]["err"]
    places = [
        (run, place)
        for run, seen in runs.items()
        for place, text in seen.items()
        for hidden in (*SECRETS, *keys)
        if hidden in text or repr(hidden.encode())[2:-1] in text
    ]
    assert places == []


def test_ctrl_c_in_the_middle_shows_no_token_either(gitlab: GitLab) -> None:
    process = subprocess.Popen(
        [gitlab.words()[0], "--debug", *gitlab.words()[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{OLD}\n" * 1001)
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert OLD not in out + err

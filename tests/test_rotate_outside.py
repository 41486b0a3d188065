"""`rotate` and `whose` from outside of a container of a real Docker engine: the key stays inside, files are outside.

GitLab is the stand-in of testbed/gitlab_api.py: the container shares the network of the machine, and the database
inside is asked by psql.
"""

import json
import os
import pty
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.docker.engine import Engine
from tests.testbed.docker.image import GITLAB_IMAGE, Container, hosted_container
from tests.testbed.gitlab_api import LOOK_UP, GitLabApi, gitlab_api
from tests.testbed.processes import process_list
from tests.testbed.program import AS_TYPED, GITLAB_TOKENS
from tests.testbed.screen import Program
from tokens.address import Address
from tokens.call import ARROW
from tokens.gitlab.api import VerificationFailed, verify
from tokens.gitlab.digest import Keys
from tokens.gitlab.plaintext import legacy_token
from tokens.rotation import AGENT, wire
from tokens.secret import Secret

pytestmark = pytest.mark.slow

KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])
OLD = Secret("glpat-old0s3cr3t_old0s3cr3t")
NAME = "GitLab Security Service - Architecture - Inventory"
TOKEN = re.compile(r"glpat-[A-Za-z0-9_-]{27,}\.01\.[0-9a-z]{9}")
TODAY = datetime.now(UTC).date()
SOON = TODAY + timedelta(20)
RAILS = "/opt/gitlab/embedded/service/gitlab-rails"
SETTLED = """
    SELECT count(*) FROM personal_access_tokens
    WHERE previous_personal_access_token_id IS NOT NULL AND revoked IS NOT TRUE
"""


class ApiInside(GitLabApi):
    """The stand-in over a database that only psql inside reaches."""

    container: Container

    def look_up(self, digests: list[str]) -> dict[str, Any] | None:
        array = ", ".join(f"'{digest}'" for digest in digests)
        statement = LOOK_UP.replace("%(digests)s", f"ARRAY[{array}]")
        found = self.container.rows(f"SELECT to_json(f) FROM ({statement}) f")
        return dict(json.loads(found[0])) if found else None


class Outside:
    """Somebody on the Docker host, and the GitLab in the container."""

    def __init__(self, container: Container, api: GitLabApi, environment: Mapping[str, str], folder: Path) -> None:
        self.container = container
        self.api = api
        self.environment = environment
        self.folder = folder

    def command(self, *words: object) -> list[str]:
        given = list(map(str, words))
        proof = [] if "--no-verify" in given else ["--verify", self.api.url]
        return [GITLAB_TOKENS, "rotate", "--target", f"docker:{self.container.name}", *proof, *given]

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env={**self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def start(self, *words: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*words),
            env={**self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def accepts(self, token: str) -> int | None:
        try:
            return verify(self.api.url, Secret(token), attempts=1).id
        except VerificationFailed:
            return None

    def stages(self) -> list[str]:
        return self.container.rows("SELECT state FROM token_tasks.rotations ORDER BY run_id, token_id")


@pytest.fixture(scope="module")
def container(docker_engine: Engine, bundles: Path) -> Iterator[Container]:
    with hosted_container(docker_engine, "rotating", image=GITLAB_IMAGE) as started:
        secrets = json.dumps({"production": {"db_key_base": [key.reveal() for key in KEYS.values]}})
        write = f"printf %s '{secrets}' > {RAILS}/config/secrets.yml; chown git: {RAILS}/config/secrets.yml; chmod 600 "
        assert started.exec("sh", "-c", f"{write} {RAILS}/config/secrets.yml").returncode == 0
        yield started


@pytest.fixture
def outside(container: Container, docker_engine: Engine, bundles: Path, tmp_path: Path) -> Iterator[Outside]:
    """One service account with a token that expires soon, and a journal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INVOKE_", "DOCKER_"))}
    environment = inherited | docker_engine.environment() | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundles)}
    install = [GITLAB_TOKENS, "journal.install", "--target", f"docker:{container.name}"]
    subprocess.run(install, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    container.rows("DELETE FROM personal_access_tokens WHERE previous_personal_access_token_id IS NOT NULL")
    container.rows("TRUNCATE token_tasks.runs, token_tasks.entries CASCADE")
    container.rows(
        f"""
        WITH one AS (
          UPDATE personal_access_tokens
          SET name = '{NAME}', revoked = false, expires_at = '{SOON}',
            token_digest = '{KEYS.digest_with_current(OLD)}'
          WHERE id = 4
          RETURNING user_id
        )
        UPDATE users SET user_type = 13, username = 'inventory' WHERE id IN (SELECT user_id FROM one)
        """
    )
    with gitlab_api(Address("", ""), KEYS, kind=ApiInside) as api:
        assert isinstance(api, ApiInside)
        api.container = container
        yield Outside(container, api, environment, tmp_path)


def until(holds: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline


@contextmanager
def gate(folder: Path) -> Iterator[tuple[str, Callable[[], bool], Callable[[], object]]]:
    """What a command says and waits by: its words, whether it is there, and letting it go on."""
    there, go = folder / "there", folder / "go"
    os.mkfifo(go)
    opened = os.open(go, os.O_RDWR)  # which waits for no reader
    try:
        yield f"touch {there}; read x < {go}", there.exists, lambda: os.write(opened, b"\n")
    finally:
        os.close(opened)


def test_the_token_comes_out_over_the_pipe_and_into_a_file_here(outside: Outside) -> None:
    path = outside.folder / "token"
    program, *words = outside.command("--token", NAME, "--yes", "--deliver", f"file:{path}")
    done = subprocess.run(
        [program, "--debug", *words],
        env={**outside.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    token = path.read_text()
    assert TOKEN.fullmatch(token)
    new = outside.accepts(token)
    assert f"the new token has id {new} and expires" in done.stdout
    assert f"delivered to file {path}; the old one is revoked." in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert outside.accepts(OLD.reveal()) is None
    assert outside.stages() == ["done"]
    assert token not in done.stdout + done.stderr
    assert "invoke.executor" in done.stderr
    assert not any(key.reveal() in done.stdout + done.stderr for key in KEYS.values)
    # Nothing of it is left inside, and the journal knows who called.
    assert outside.container.exec("grep", "-rqF", token, "/var", "/tmp", "/etc", "/opt").returncode == 1
    (caller,) = outside.container.rows("SELECT carried_out_by ->> 'caller' FROM token_tasks.attempts")
    assert caller.endswith(f"@{os.uname().nodename}")


def test_a_persons_token_goes_to_a_service_account_in_there(outside: Outside) -> None:
    rows = outside.container.rows
    rows("UPDATE users SET user_type = 0, username = 'alice' WHERE username = 'inventory'")
    (deploy,) = rows("SELECT id FROM users WHERE username <> 'alice' AND user_type = 0 ORDER BY id LIMIT 1")
    (name,) = rows(f"SELECT username FROM users WHERE id = {deploy}")
    rows(f"UPDATE users SET user_type = 13, username = 'deploy' WHERE id = {deploy}")
    try:
        path = outside.folder / "token"
        words = ("--token", NAME, "--yes", "--deliver", f"file:{path}", "--allow", "no-membership", "--new-owner")
        refused = outside.run(*words, "deplyo")
        assert (refused.returncode, 'no service account "deplyo" (did you mean "deploy"?)' in refused.stderr) == (
            2,
            True,
        )
        done = outside.run(*words, "deploy")
        assert done.returncode == 0, done
        new = outside.accepts(path.read_text())
        assert f"the new token has id {new}, belongs to deploy and expires" in done.stdout
        assert rows(f"SELECT user_id FROM personal_access_tokens WHERE id = {new}") == [deploy]
        assert rows("SELECT new_owner_id FROM token_tasks.rotations") == [deploy]
        rows(f"DELETE FROM personal_access_tokens WHERE id = {new}")
    finally:
        rows(f"UPDATE users SET user_type = 0, username = '{name}' WHERE id = {deploy}")


def test_one_token_takes_six_execs_and_each_further_one_three(outside: Outside) -> None:
    log, client = outside.folder / "execs", outside.folder / "docker"
    client.write_text(f'#!/bin/sh\necho "$1" >> {log}\nexec docker "$@"\n')
    client.chmod(0o755)
    outside.environment = {**outside.environment, "INVOKE_TOKENS_DOCKER": str(client)}
    for tokens in (1, 3):
        outside.container.rows(
            f"""
            INSERT INTO personal_access_tokens
              (user_id, name, scopes, expires_at, token_digest, organization_id, created_at, updated_at)
            SELECT user_id, 'further', scopes, '{SOON}', 'digest' || n, organization_id, now(), now()
            FROM personal_access_tokens, generate_series(2, {tokens}) AS n
            WHERE id = 4
            """
        )
        log.write_text("")
        path = outside.folder / f"{{token_id}}-of-{tokens}"
        done = outside.run("--within", "30d", "--yes", "--deliver", f"file:{path}")
        assert done.returncode == 0, done.stderr
        assert outside.stages().count("done") == tokens
        assert log.read_text().split().count("exec") == 6 + 3 * (tokens - 1)
        outside.container.rows("DELETE FROM personal_access_tokens WHERE previous_personal_access_token_id IS NOT NULL")
        outside.container.rows("DELETE FROM personal_access_tokens WHERE name = 'further'")
        outside.container.rows("UPDATE personal_access_tokens SET revoked = false WHERE id = 4")
        outside.container.rows("TRUNCATE token_tasks.runs, token_tasks.entries CASCADE")


def test_a_dry_run_shows_the_same_plan_and_makes_nothing(outside: Outside) -> None:
    done = outside.run("--within", "30d", "--dry-run", "--deliver", "command:vault kv put x token=-", "--no-verify")
    assert done.returncode == 2
    assert '"vault", which is not on the PATH' in done.stderr
    done = outside.run("--within", "30d", "--dry-run", "--deliver", "command:cat", "--output", "json")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)["plan"]
    assert [one["id"] for one in plan["rotations"]] == [4]
    assert plan["verify"] == outside.api.url
    assert outside.container.rows("SELECT count(*) FROM token_tasks.runs") == ["0"]
    assert outside.accepts(OLD.reveal()) == 4


def test_what_selects_out_here_selects_in_there_and_so_do_the_guards(outside: Outside) -> None:
    listed = outside.folder / "ids"
    listed.write_text("4, 1 # of a person\n")
    of_people = ("--kind", "personal", "--state", "expired", "--name", "*", "--created-after", "2000-01-01")
    for words, expected in (
        (("--ids", listed), [(4, "named")]),
        (("--expires", f"{SOON}", "--user", "INVENTORY"), [(4, "expires in 20 days")]),
        (("--within", "30d", "--expired-within", "30d", "--scope", "api"), [(4, "expires in 20 days")]),
        (("--within", "19d"), []),
        ((*of_people, "--allow", "long-expired", "--at-most", "3"), [(1,), (2,), (3,)]),
    ):
        done = outside.run(*words, "--dry-run", "--output", "json")
        assert (done.returncode, done.stderr) == (0, ""), done
        found = json.loads(done.stdout)["plan"].get("rotations", [])
        names = ("id",) if "--at-most" in words else ("id", "why")
        assert [tuple(one[name] for name in names) for one in found] == expected
    for options, said in (
        (("--at-most", "2", "--allow", "long-expired"), "The plan has 3 tokens, more than --at-most 2"),
        ((), "Refused because of long-expired"),
    ):
        done = outside.run(*of_people, *options, "--yes", "--deliver", "command:cat", "--no-verify")
        assert (done.returncode, said in done.stderr) == (3, True), done
    assert outside.container.rows("SELECT count(*) FROM token_tasks.runs") == ["0"]


def test_what_is_refused_inside_is_refused_outside(outside: Outside) -> None:
    for words, status, said in (
        (("--token", "no such", "--yes", "--deliver", "stdout"), 2, "There is no token"),
        (("--token", "1", "--yes", "--deliver", "stdout"), 3, "is of kind personal: use --kind personal"),
        (("--resume", "99", "--yes", "--deliver", "stdout"), 2, "There is no run 99"),
        (("--token", NAME, "--yes"), 2, "Choose where the new token goes"),
    ):
        done = outside.run(*words)
        assert (done.returncode, said in done.stderr) == (status, True), done
        assert done.stderr.count("\n") == 1
    assert outside.container.rows("SELECT count(*) FROM token_tasks.runs") == ["0"]


def test_a_failed_delivery_is_abandoned_by_a_second_exec(outside: Outside) -> None:
    done = outside.run("--token", NAME, "--yes", "--deliver", "command:cat > /dev/null; exit 7")
    assert done.returncode == 1
    assert "failed with exit status 7" in done.stderr
    assert outside.stages() == ["abandoned"]
    assert outside.container.rows(SETTLED) == ["0"]
    assert outside.accepts(OLD.reveal()) == 4


def test_a_token_that_gitlab_does_not_confirm_never_leaves(outside: Outside) -> None:
    outside.api.fail(404)
    done = outside.run("--token", NAME, "--yes", "--deliver", f"file:{outside.folder}/token")
    assert done.returncode == 1
    assert "(404)" in done.stderr
    assert os.listdir(outside.folder) == []
    assert outside.container.rows(SETTLED) == ["0"]
    assert outside.accepts(outside.api.tokens[-1] or "") is None


def test_a_person_chooses_and_reads_it_out_here(outside: Outside) -> None:
    command = outside.command()
    with Program(command, env=outside.environment, size=(50, 160)) as program:
        program.wait_for("Select a token of inventory")
        program.press("enter")
        program.wait_for("? (y/N)")
        program.press("y", "enter")
        program.wait_for("Is it where it belongs")
        shown = TOKEN.search(program.text)
        assert shown
        program.press("y", "enter")
        assert program.wait() == 0
    assert outside.accepts(shown[0]) is not None
    assert outside.accepts(OLD.reveal()) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_the_delivery_under_way_end(outside: Outside, number: signal.Signals) -> None:
    with gate(outside.folder) as (wait, there, go):
        path = outside.folder / "token"
        process = outside.start("--token", NAME, "--yes", "--deliver", f"command:{wait}; cat > {path}")
        until(there, process)
        os.killpg(process.pid, number)
        go()
        _, errors = process.communicate(timeout=60)
    assert "The rotation is complete" in errors
    assert outside.accepts(path.read_text()) is not None
    assert outside.stages() == ["done"]


def test_whoever_is_killed_outside_is_resumed_from_outside(outside: Outside) -> None:
    with gate(outside.folder) as (wait, there, go):
        path = outside.folder / "token"
        process = outside.start("--token", NAME, "--yes", "--deliver", f"command:cat > {path}; {wait}")
        until(there, process)
        lost = path.read_text()
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()
        (run,) = outside.container.rows("SELECT id FROM token_tasks.runs")
        again = ("--resume", run, "--yes", "--deliver", f"command:cat > {path}")
        # What it would store now would be revoked.
        refused = outside.run(*again)
        assert refused.returncode == 3
        assert "is still running, as process" in refused.stderr
        go()
    # It has given no sign of life for a minute.
    outside.container.rows("UPDATE token_tasks.runs SET heartbeat_at = heartbeat_at - interval '2 minutes'")
    deadline = time.monotonic() + 60
    while (done := outside.run(*again)).returncode == 3:
        assert "is still running" in done.stderr, done.stderr
        assert time.monotonic() < deadline
    assert done.returncode == 0, done.stderr
    complete = outside.run(*again)
    assert (complete.returncode, complete.stdout) == (0, f"Run {run} is complete: there is nothing to do.\n")
    assert outside.accepts(lost) is None
    assert outside.accepts(path.read_text()) is not None
    assert outside.accepts(OLD.reveal()) is None


def test_a_session_that_is_cut_while_a_token_is_made_leaves_none_behind(outside: Outside) -> None:
    outside.api.hang(1)
    process = outside.start("--token", NAME, "--yes", "--deliver", f"file:{outside.folder}/token")
    until(lambda: outside.api.requests > 0, process)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(children), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    # The sentences first, then each command by itself, so that it can be copied.
    said, *steps = errors.splitlines()[-1].split(ARROW)
    assert "was lost" in said
    assert said.endswith("The token was not rotated.")
    (run,) = outside.container.rows("SELECT id FROM token_tasks.runs")
    assert [step.partition(f": {AS_TYPED} ")[2] for step in steps] == [
        f"history --target docker:rotating --run {run}",
        f"rotate --target docker:rotating --resume {run}",
    ]
    assert outside.container.rows(SETTLED) == ["0"]
    assert outside.stages() == ["abandoned"]
    # The process inside, which nobody hears any more, cannot go on with it.
    outside.api.stopped.set()
    while outside.container.exec("pgrep", "-f", AGENT).returncode == 0:
        pass
    assert outside.container.rows(SETTLED) == ["0"]
    assert outside.stages() == ["abandoned"]
    assert outside.accepts(OLD.reveal()) == 4


def test_a_container_that_is_gone_before_the_end_leaves_what_can_be_resumed(
    outside: Outside, docker_engine: Engine
) -> None:
    with gate(outside.folder) as (wait, there, go):
        path = outside.folder / "token"
        process = outside.start("--token", NAME, "--yes", "--deliver", f"command:cat > {path}; {wait}")
        until(there, process)
        docker_engine.docker("pause", outside.container.name)
        docker_engine.docker("unpause", outside.container.name)
        docker_engine.docker("restart", "--time=10", outside.container.name)
        go()
        _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert outside.accepts(path.read_text()) is not None
    assert outside.accepts(OLD.reveal()) is None


def test_the_step_inside_is_not_for_people(outside: Outside) -> None:
    inside = [GITLAB_TOKENS, AGENT]
    environment = {**outside.environment, "INVOKE_TOKENS_TARGET": "postgresql://nobody@localhost:1/none"}
    primary, secondary = pty.openpty()
    try:
        done = subprocess.run(inside, env=environment, stdin=secondary, capture_output=True, text=True, check=False)
    finally:
        os.close(primary)
        os.close(secondary)
    assert (done.returncode, "is what rotate runs in a container" in done.stderr) == (2, True)
    version = f'"version": "{wire.VERSION}"'
    for request in (
        *("", "[]", f'{{{version}, "step": "_run"}}'),
        f'{{{version}, "step": "make", "run": null, "arguments": {{"rotation": 1}}}}',
    ):
        done = subprocess.run(inside, env=environment, input=request, capture_output=True, text=True, check=False)
        assert json.loads(done.stdout)["fault"]["kinds"][0] == "UsageError", done
    listed = subprocess.run([GITLAB_TOKENS, "--list"], capture_output=True, text=True, check=True).stdout
    assert ("rotate" in listed, "inside" in listed, AGENT in listed) == (True, False, False)


def whose(outside: Outside, *words: object, stdin: str = "") -> tuple[int, str, str]:
    """How `whose` ends; the token is in no process's words or environment as long as it runs, inside or outside."""
    command = [GITLAB_TOKENS, "--debug", "whose", "--target", f"docker:{outside.container.name}", *map(str, words)]
    process = subprocess.Popen(
        command,
        env={**outside.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    while process.poll() is None:
        assert OLD.reveal() not in process_list()
    out, err = process.communicate()
    assert OLD.reveal() not in out + err
    assert not any(key.reveal() in out + err for key in KEYS.values)
    return process.returncode, out, err


def test_whose_goes_in_by_the_pipe_and_leaves_nothing_behind(outside: Outside) -> None:
    status, out, _ = whose(outside, stdin=f"glpat-{'x' * 20}\n\n{OLD.reveal()}\nä\n")
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 3)
    assert lines[0].startswith("1: not known: it has the form of an access token")
    assert lines[1].startswith(f'3: access token of a service account 4 "{NAME}" of inventory, active; scopes ')
    assert lines[2].startswith("4: not known")
    # Half of it: the whole token among the words of a program is what another test looks for.
    assert outside.container.exec("grep", "-rqF", OLD.reveal()[:16], "/var", "/tmp", "/etc", "/opt").returncode == 1
    status, out, _ = whose(outside, "--output", "json", stdin=OLD.reveal())
    document = json.loads(out)
    assert [one["id"] for one in document["tokens"]] == [4]
    assert document["instance"]["target"] == f"docker:{outside.container.name}"
    assert document["prefixes"] == ["glpat-"]


def test_whose_scans_files_out_here_and_asks_in_there(outside: Outside) -> None:
    leaked = legacy_token("glpat-")
    digest = KEYS.digest_with_current(leaked)
    outside.container.rows(f"UPDATE personal_access_tokens SET token_digest = '{digest}' WHERE id = 4")
    for number in range(3):
        (outside.folder / f"{number}.txt").write_text("\n" * number + f"a {leaked.reveal()} b\nAbCdEfGhIjKlMnOpQr12\n")
    status, out, err = whose(outside, "--scan", outside.folder)
    assert status == 0, err
    assert leaked.reveal() not in out + err
    assert [line.partition(": access token of a service account 4 ")[0] for line in out.splitlines()] == [
        f"{outside.folder}/{number}.txt:{number + 1}" for number in range(3)
    ]


def test_whose_says_what_was_refused_in_there(outside: Outside) -> None:
    status, _, err = whose(outside, "--secrets-file", "/etc/passwd", stdin=OLD.reveal())
    assert (status, "leave --secrets-file out" in err) == (2, True)
    secrets = f"{RAILS}/config/secrets.yml"
    assert outside.container.exec("mv", secrets, f"{secrets}.away").returncode == 0
    try:
        status, out, err = whose(outside, "--output", "json", stdin=OLD.reveal())
    finally:
        outside.container.exec("mv", f"{secrets}.away", secrets)
    assert (status, json.loads(out)["status"]) == (2, 2)
    assert "GitLab's db_key_base cannot be read" in err

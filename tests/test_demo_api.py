"""The demo's stand-in for GitLab's API: what it answers, and how it begins and ends."""

import http.client
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.testbed.commands import typed
from tests.testbed.folders import public_folder
from tests.testbed.processes import wait_until
from tokens.errors import ServerError
from tokens.targets import demo
from tokens.targets.demo import stand_in
from tokens.targets.demo.api import PATH, ROLE
from tokens.targets.demo.embedded import Server
from tokens.targets.demo.secrets import secrets_file
from tokens.views.demo import screen

pytestmark = pytest.mark.xdist_group("demo")

SMALL = 40
OWNED = "t.name = 'GitLab Security Service - Architecture - Inventory' AND NOT t.revoked"
BLOCKED = f"UPDATE users SET state = 'blocked' FROM personal_access_tokens t WHERE users.id = t.user_id AND {OWNED}"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with public_folder() as folder:
        demo.open(folder / "demo", tokens=SMALL)
        yield folder / "demo"
        demo.remove(folder / "demo")


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small demo that is the one of `--target demo`, without the stand-in; a test may stop and kill both."""
    monkeypatch.setenv("INVOKE_TOKENS_DEMO_DIRECTORY", str(home))
    demo.open(home)
    yield home
    stand_in.stop(home)


@pytest.fixture
def another(folder: Path) -> Iterator[Path]:
    """A demo that a test may fill again or delete."""
    demo.open(folder / "demo", tokens=SMALL)
    yield folder / "demo"
    demo.remove(folder / "demo")


def answer(url: str, token: str | None = None, path: str = PATH) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", path, headers={"PRIVATE-TOKEN": token} if token else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def listens(url: str) -> bool:
    try:
        answer(url)
    except (OSError, http.client.HTTPException):  # one that ends in the middle of an answer has ended
        return False
    return True


def change(home: Path, statement: str) -> None:
    with psycopg.connect(demo.status(home).address.conninfo) as connection:
        connection.execute(statement.encode())


def rotated(delivered: Path) -> str:
    """The token that a rotation of the demo's service account has delivered."""
    words = ("--service-account", "inventory", "--deliver", f"file:{delivered}", "--force", "--yes")
    assert typed("rotate", "--target", "demo", *words) == 0
    return delivered.read_text()


def kill(home: Path) -> None:
    """Kill the stand-in outright, so that its file stays as it is."""
    url = demo.status(home).api
    assert url is not None
    os.killpg(int((home / "api").read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: not listens(url))


# A rotation from the start to the end


def test_the_demos_token_is_created_verified_delivered_and_the_old_one_revoked(
    own: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = rotated(tmp_path / "token")
    said = capfd.readouterr().out
    url = demo.status(own).api
    assert url is not None
    assert f"Verify:  {url} has to accept the new token" in said
    status, document = answer(url, first)
    assert (status, document["scopes"], document["revoked"], document["active"]) == (200, ["api"], False, True)

    second = rotated(tmp_path / "token")
    assert answer(url, second)[0] == 200
    assert answer(url, first) == (
        401,
        {
            "error": "invalid_token",
            "error_description": "Token was revoked. You have to re-authorize from the user.",
        },
    )
    (run,) = re.findall(r"Recorded as run (\d+)\.", capfd.readouterr().out)
    assert typed("history", "--target", "demo", "--run", run, "--output", "json") == 0
    (rotation,) = json.loads(capfd.readouterr().out)["rotations"]
    assert rotation["stage"] == "done"


def test_a_token_that_gitlab_would_refuse_is_refused(own: Path, tmp_path: Path) -> None:
    token = rotated(tmp_path / "token")
    url = demo.start_api(own)
    change(own, BLOCKED)
    assert answer(url, token)[0] == 403
    change(own, BLOCKED.replace("blocked", "active"))
    change(own, f"UPDATE personal_access_tokens t SET expires_at = current_date WHERE {OWNED}")
    status, document = answer(url, token)
    assert (status, document["error_description"].split(".")[0]) == (401, "Token is expired")
    for unknown in ("glpat-unknown", None, "x' OR true --"):
        assert answer(url, unknown) == (401, {"message": "401 Unauthorized"})
    assert answer(url, token, "/api/v4/user")[0] == 404


@pytest.mark.slow
def test_a_demo_that_is_stopped_or_made_with_another_key_is_no_proof(own: Path, tmp_path: Path) -> None:
    token = rotated(tmp_path / "token")
    url = demo.start_api(own)
    Server(own).stop()
    assert answer(url, token)[0] == 503
    demo.open(own)
    assert answer(url, token)[0] == 200
    demo.stop(own)
    secrets_file(own).unlink()
    demo.open(own)
    assert answer(demo.start_api(own), token)[0] == 401


def test_it_reads_what_it_needs_and_writes_nothing(own: Path) -> None:
    demo.start_api(own)
    with psycopg.connect(Server(own).address(demo.DATABASE, ROLE).conninfo, autocommit=True) as connection:
        connection.execute("SELECT token_digest FROM public.personal_access_tokens")
        for statement in (
            "SELECT email FROM public.users",
            "UPDATE public.personal_access_tokens SET revoked = true",
            "SELECT * FROM token_tasks.runs",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement.encode())


# How it begins and ends


def test_who_only_asks_for_data_does_not_start_it(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("analyze", "--target", "demo") == 0
    assert demo.status(own).api is None
    capfd.readouterr()
    assert typed("demo.start") == 0
    said = capfd.readouterr().out
    assert f"GitLab's API  {demo.status(own).api}: a stand-in" in said


def test_it_listens_on_loopback_alone(own: Path) -> None:
    port = int(demo.start_api(own).rpartition(":")[2])
    found = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert found == [f"0100007F:{port:04X}"]


def test_its_secrets_are_its_own_and_closed_to_others(own: Path) -> None:
    path = secrets_file(own)
    made = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    demo.stop(own)
    demo.open(own)
    assert secrets_file(own).read_text() == made
    assert [one.name for one in own.glob("secrets.yml*")] == ["secrets.yml"]


def test_it_outlives_who_has_started_it_even_by_kill_9(own: Path) -> None:
    program = f"""
import os
from pathlib import Path
from tokens.targets import demo
demo.start_api(Path({str(own)!r}))
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    url = demo.status(own).api
    assert url is not None
    assert listens(url)
    assert demo.start_api(own) == url


def test_one_that_was_killed_is_noticed_and_started_again_on_its_port(own: Path) -> None:
    url = demo.start_api(own)
    kill(own)
    assert demo.status(own).api is None
    assert "GitLab's API  started by rotate: a stand-in" in screen(demo.status(own))
    assert demo.start_api(own) == url
    assert listens(url)


def test_another_process_on_its_port_is_not_taken_for_it(own: Path) -> None:
    url = demo.start_api(own)
    kill(own)
    HTTPServer.allow_reuse_port = False
    with HTTPServer(("127.0.0.1", int(url.rpartition(":")[2])), BaseHTTPRequestHandler):
        assert demo.status(own).api is None
        other = demo.start_api(own)
        assert other != url
        assert listens(other)
        demo.stop(own)
        assert not listens(other)


def test_five_callers_at_once_start_one(own: Path) -> None:
    with ThreadPoolExecutor(5) as pool:
        found = set(pool.map(lambda _: demo.start_api(own), range(5)))
    assert found == {demo.status(own).api}


@pytest.mark.slow
def test_of_two_demos_each_knows_its_own_tokens_and_stop_reset_and_remove_end_its_own(
    own: Path, another: Path, tmp_path: Path
) -> None:
    token = rotated(tmp_path / "token")
    first, second = demo.start_api(own), demo.start_api(another)
    assert first != second
    assert (answer(first, token)[0], answer(second, token)[0]) == (200, 401)

    demo.stop(another)
    assert not listens(second)
    demo.open(another)
    assert demo.start_api(another) == second
    demo.reset(another, tokens=SMALL)
    assert not listens(second)
    assert demo.start_api(another) == second
    demo.remove(another)
    assert not listens(second)
    assert not another.exists()
    assert answer(first, token)[0] == 200


@pytest.mark.slow
def test_one_whose_folder_somebody_deletes_ends_by_itself(another: Path) -> None:
    url = demo.start_api(another)
    Server(another).stop()
    shutil.rmtree(another)
    wait_until(lambda: not listens(url))


def test_one_that_cannot_start_says_why_in_one_line(own: Path) -> None:
    secrets_file(own).write_text("production: {}\n")
    with pytest.raises(
        ServerError, match=r"^The stand-in for GitLab's API in [^\n]* does not start: [^\n]*db_key_base"
    ):
        demo.start_api(own)
    secrets_file(own).unlink()
    Server(own).stop()
    with pytest.raises(ServerError, match=r"^The stand-in [^\n]*$"):
        demo.start_api(own)

"""Into a toolbox pod and back, with real kubectl programs over both of their transports.

The cluster is a stand-in; what runs in its pods is real, as an account without a name, as on OpenShift.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.testbed import accounts
from tests.testbed.accounts import DATABASE, EXTERNAL, GITLAB, PASSWORD, PeerServer
from tests.testbed.folders import public_folder
from tests.testbed.gitlab_api import gitlab_api
from tests.testbed.kubernetes.cluster import Client, Cluster, Pod, extreme_clients, plain_clients
from tests.testbed.pages import README
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.screen import Program
from tokens.address import Address
from tokens.gitlab.api import verify
from tokens.gitlab.digest import Keys
from tokens.gitlab.plaintext import legacy_token
from tokens.secret import Secret
from tokens.targets.there import bundle
from tokens.targets.there.bundle import Bundle
from tokens.terminal.console import PATIENCE_VARIABLE

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]

ACCOUNT = 10_000 + os.getpid() % 50_000  # of this run of the tests alone
CARRIED = Path(f"/tmp/gitlab-tokens-{ACCOUNT}")
DATES = "| 2024-06-15      | 3     |\n| (none)          | 2     |\n| 2024-12-31      | 1     |\n"
TARGET = "kubernetes:gitlab"
KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kubernetes,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="processes of another account need root"),
]
NO_CLIENT = pytest.param(None, marks=pytest.mark.skip(reason="kubectl is not installed"), id="no kubectl")
CLIENTS = [pytest.param(client, id=str(client)) for client in extreme_clients()] or [NO_CLIENT]
PLAIN = [pytest.param(client, id=str(client)) for client in plain_clients()] or [NO_CLIENT]
OLDEST_AND_NEWEST = pytest.mark.parametrize("client", PLAIN, indirect=True)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    assert isinstance(request.param, Client)
    return request.param


@pytest.fixture(scope="session")
def toolbox_root(peer: PeerServer) -> Iterator[Path]:
    """The files of a toolbox pod, below a folder."""
    shutil.rmtree(CARRIED, ignore_errors=True)  # of an earlier run, with another version of the tool
    with public_folder() as root:
        accounts.toolbox(root, host=str(peer.folder), port=peer.port, username=EXTERNAL, password=PASSWORD)
        yield root
    shutil.rmtree(CARRIED, ignore_errors=True)


def toolbox(root: Path, name: str = "gitlab-toolbox-1", **more: object) -> Pod:
    wrap = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups")
    return Pod(name, wrap=wrap, env={"INVOKE_TOKENS_ROOT": str(root)}, **more)  # type: ignore[arg-type]


@pytest.fixture
def cluster(client: Client, toolbox_root: Path) -> Iterator[Cluster]:
    with Cluster(version=client.version) as started:
        started.add(toolbox(toolbox_root))
        yield started


@pytest.fixture
def outside(cluster: Cluster, client: Client, bundles: Path) -> Mapping[str, str]:
    """The environment of somebody on a workstation."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")}
    return inherited | cluster.environment(client) | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundles)}


@pytest.fixture
def call(outside: Mapping[str, str]) -> Call:
    def call(*words: str, target: str = TARGET) -> Done:
        command = [GITLAB_TOKENS, *words, "--target", target]
        return subprocess.run(
            command, env=outside, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return call


@pytest.fixture
def carried(call: Call) -> None:
    """The tool is there already, from an earlier test as a rule."""
    if not list(CARRIED.glob("*/gitlab-tokens")):
        assert call("analyze").returncode == 0


@pytest.fixture
def built_bundle(bundles: Path) -> Bundle:
    found = bundle.available(bundles)
    assert found is not None
    return found


@pytest.fixture
def nothing_there() -> None:
    """Nobody has carried anything into the pod yet."""
    shutil.rmtree(CARRIED, ignore_errors=True)
    for record in records():
        record.unlink()


def records() -> list[Path]:
    """What recorded runs of this account have left behind."""
    return [path for path in Path("/tmp").glob(".gitlab-tokens-*") if path.stat().st_uid == ACCOUNT]


def one_line(done: Done) -> str:
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@OLDEST_AND_NEWEST
def test_the_tool_carries_itself_into_the_pod_once(nothing_there: None, call: Call, cluster: Cluster) -> None:
    first = call("analyze")
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith("Uploading the tool to pod gitlab/gitlab-toolbox-1 (")
    assert first.stderr.count("\n") == 1
    before = len(cluster.execs)
    again = call("analyze")
    assert (again.returncode, again.stderr, again.stdout) == (0, "", first.stdout)
    assert DATES in again.stdout
    assert [executed.container for executed in cluster.execs[before:]] == ["toolbox"]
    assert (CARRIED.stat().st_uid, CARRIED.stat().st_mode & 0o777) == (ACCOUNT, 0o700)
    assert not records()


@OLDEST_AND_NEWEST
def test_nothing_secret_is_among_the_words_that_the_cluster_logs(call: Call, cluster: Cluster) -> None:
    call("analyze")
    words = json.dumps([executed.command for executed in cluster.execs])
    assert PASSWORD not in words
    assert "INVOKE_TOKENS_TARGET" not in words
    assert f"GITLAB_TOKENS_CALLER=root@{os.uname().nodename} (context test)" in words


@OLDEST_AND_NEWEST
def test_it_can_be_taken_out_again(call: Call, carried: None) -> None:
    assert call("bundle.clean").stdout == f"Removed {CARRIED} in pod gitlab/gitlab-toolbox-1.\n"
    assert not CARRIED.exists()


@OLDEST_AND_NEWEST
def test_readmes_three_lines_are_enough_for_somebody_who_has_only_kubectl(
    outside: Mapping[str, str], built_bundle: Bundle, cluster: Cluster
) -> None:
    # A rollout: the pod before, which has no GitLab here, is on its way out, and one more cannot start yet.
    cluster.add(Pod("gitlab-toolbox-9", terminating=True, created="2025-01-01T00:00:00Z"))
    cluster.add(Pod("gitlab-toolbox-0", phase="Pending", ready=False, created="2026-02-01T00:00:00Z"))
    (lines,) = re.findall(r"^```sh\n(POD=.*?)^```$", README.read_text(), re.M | re.S)
    # In the stand-in's pods /tmp is this machine's own; and this conversation shows the analysis alone.
    there = f"/tmp/.gitlab-tokens-{ACCOUNT}-kubectl"
    script = lines.replace("/tmp/t", there).replace(" -it ", " -i ").replace("tokens edit", "tokens analyze")
    assert built_bundle.path.name.rpartition("-")[0] in script
    script = re.sub(r"gitlab-tokens-\S*\.tar\.gz", built_bundle.path.name, script)
    try:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=built_bundle.path.parent, env=outside, capture_output=True, text=True
        )
    finally:
        shutil.rmtree(there, ignore_errors=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout


def test_exit_statuses_and_streams_are_the_ones_inside(call: Call, carried: None) -> None:
    done = call("analyze", "--output", "csv", "--top", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "expires_at,tokens\n2024-06-15,3\n", "")
    done = call("analyze", "--top", "0")
    assert done.returncode == 2
    assert "--top takes" in one_line(done)


@OLDEST_AND_NEWEST
@pytest.mark.parametrize("client_words", ["oc", "k3s kubectl"])
def test_a_client_may_have_another_name(
    outside: Mapping[str, str], carried: None, tmp_path: Path, client_words: str
) -> None:
    kubectl = shutil.which("kubectl", path=outside["PATH"])
    stand_ins = {"oc": f'exec {kubectl} "$@"', "k3s": f'test "$1" = kubectl && shift && exec {kubectl} "$@"'}
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    env = {**outside, "PATH": str(tmp_path), "INVOKE_TOKENS_KUBECTL": client_words}
    command = [GITLAB_TOKENS, "analyze", "--target", TARGET]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert DATES in done.stdout


def test_a_conversation_from_outside(outside: Mapping[str, str], carried: None, cluster: Cluster) -> None:
    with Program([GITLAB_TOKENS, "edit", "--target", TARGET], env=outside) as program:
        program.wait_for("What do you want to do?")
        program.resize(25, 60)
        program.wait_for(lambda: _size_inside(cluster) == "25 60")
        program.press("enter")
        program.wait_for("Select an expiration date")
        program.press("down", "down", "enter")
        program.wait_for("3. Quit")
        program.press("3", "enter")
        assert program.wait() == 0
    assert cluster.execs[-2].tty
    with Program([GITLAB_TOKENS, "edit", "--target", TARGET], env=outside) as program:
        program.wait_for("What do you want to do?")
        program.press("ctrl-c")
        assert program.wait() == 130


def _size_inside(cluster: Cluster) -> str:
    """The size of the terminal that the newest process in a pod has."""
    terminal = Path("/proc", str(cluster.execs[-1].pid), "fd/0").resolve()
    with terminal.open() as stdin:
        return subprocess.run(["stty", "size"], stdin=stdin, capture_output=True, text=True, check=True).stdout.strip()


@OLDEST_AND_NEWEST
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_without_a_terminal_ends_the_process_inside_too(
    outside: Mapping[str, str], carried: None, cluster: Cluster, peer: PeerServer, number: signal.Signals, status: int
) -> None:
    before = len(cluster.execs)
    postgres = peer.address("postgres").conninfo
    with psycopg.connect(postgres) as lock, psycopg.connect(postgres, autocommit=True) as observer:
        lock.execute("LOCK public.personal_access_tokens")
        command = [GITLAB_TOKENS, "analyze", "--target", TARGET]
        with subprocess.Popen(
            command, env=outside, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as child:
            waiting = """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
            """
            while observer.execute(waiting).fetchone() == (0,):
                assert child.poll() is None
            child.send_signal(number)
            said = child.communicate(timeout=60)[1]
    assert child.returncode == status
    assert [line for line in said.splitlines() if line != "Counting the tokens..."] in (
        ["Interrupted."],
        ["Terminated by SIGTERM."],
    )
    assert cluster.execs[before].status is not None


def test_a_session_that_was_cut_is_never_taken_for_success(call: Call, carried: None, cluster: Cluster) -> None:
    cluster.cut_next(10)
    done = call("analyze")
    assert done.returncode == 1
    assert "The connection to pod gitlab/gitlab-toolbox-1 was lost" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith(f" analyze --target {TARGET}\n")


@OLDEST_AND_NEWEST
def test_a_change_that_was_cut_names_the_record_of_it(call: Call, carried: None, cluster: Cluster) -> None:
    for words, status, task in (
        (("extend", "--user", "*", "--to", "2027-01-01", "--dry-run"), 1, "analyze"),
        (("extend", "--user", "*", "--to", "2027-01-01", "--yes"), 4, "history"),
        (("extend", "--user", "*", "--to", "2027-01-01", "--yes", "--no-journal"), 4, "analyze"),
        (("undo", "--run", "12", "--yes"), 4, "history"),
        (("apply", "--run", "12", "--yes"), 4, "history --target kubernetes:gitlab --run 12"),
        (("journal.four-eyes",), 1, "journal.status"),
        (("journal.prune", "--before", "2020-01-01", "--yes"), 4, "journal.status"),
    ):
        cluster.cut_next(None)
        done = call(*words)
        assert done.returncode == status, done
        assert "was lost" in done.stderr
        command = done.stderr.rpartition(" → to see the state: ")[2]
        assert command.partition(" ")[2].removesuffix(f" --target {TARGET}\n").removesuffix("\n") == task


def test_a_cut_at_a_question_is_told(outside: Mapping[str, str], carried: None, cluster: Cluster) -> None:
    cluster.cut_next(600)
    with Program([GITLAB_TOKENS, "edit", "--target", TARGET], env=outside) as program:
        program.wait_for("was lost")
        assert program.wait() == 4
    said = b" ".join(program.raw.split())
    assert b"a process may still be running there." in said
    assert b"to see the state: " in said
    assert b"gitlab-tokens history --target" in said
    # What the process there would have done at its end: the cursor, pasting and colours are as they were.
    assert program.raw.rfind(b"\x1b[?25h") > program.raw.rfind(b"\x1b[?25l")
    assert program.raw.rfind(b"\x1b[?2004l") > program.raw.rfind(b"\x1b[?2004h")


@OLDEST_AND_NEWEST
def test_a_pod_that_is_gone_is_told(call: Call, cluster: Cluster) -> None:
    cluster.remove("gitlab-toolbox-1")
    assert "No toolbox pod is ready" in one_line(call("analyze"))


def test_what_did_not_arrive_whole_is_thrown_away(nothing_there: None, call: Call, cluster: Cluster) -> None:
    cluster.cut_next_upload(1_000_000)
    done = call("analyze")
    assert done.returncode == 1
    assert not list(CARRIED.glob("*/gitlab-tokens"))


@OLDEST_AND_NEWEST
def test_the_pod_that_is_meant_is_found(call: Call, cluster: Cluster, toolbox_root: Path, carried: None) -> None:
    labels = {"app": "toolbox", "release": "gitlab"}
    cluster.add(Pod("backup", labels={**labels, "job-name": "backup"}, created="2026-09-01T00:00:00Z"))
    cluster.add(Pod("old", labels=labels, created="2025-01-01T00:00:00Z"))
    cluster.add(Pod("going", labels=labels, terminating=True, created="2026-09-01T00:00:00Z"))
    cluster.add(toolbox(toolbox_root, "gitlab-toolbox-2", created="2026-02-01T00:00:00Z"))
    assert call("analyze", target="kubernetes:gitlab@test").returncode == 0
    assert {executed.pod for executed in cluster.execs[-1:]} == {"gitlab-toolbox-2"}
    cluster.add(toolbox(toolbox_root, "other-toolbox", labels={"app": "toolbox", "release": "other"}))
    assert "gitlab, other; choose one" in one_line(call("analyze"))
    assert call("analyze", target="kubernetes:gitlab/other").returncode == 0


@pytest.fixture
def rotating(peer: PeerServer, toolbox_root: Path, cluster: Cluster) -> Iterator[Address]:
    """A pod over a database of its own, with a service account whose token expires soon, and GitLab's key."""
    administrator = make_conninfo(peer.address("postgres").conninfo, dbname="postgres")
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE rotating TEMPLATE {DATABASE} OWNER {GITLAB}")
    address = Address(make_conninfo(administrator, dbname="rotating"), "rotating")
    try:
        with psycopg.connect(address.conninfo) as connection:
            connection.execute("UPDATE users SET user_type = 13, username = 'inventory'")
            connection.execute("UPDATE personal_access_tokens SET name = 'scanner' WHERE id = 4")
        with public_folder() as root:
            accounts.toolbox(
                root, host=str(peer.folder), port=peer.port, username=EXTERNAL, password=PASSWORD, database="rotating"
            )
            secrets = {"production": {"db_key_base": [key.reveal() for key in KEYS.values]}}
            (root / "srv/gitlab/config/secrets.yml").write_text(json.dumps(secrets))
            cluster.add(toolbox(root))
            yield address
    finally:
        with psycopg.connect(administrator, autocommit=True) as connection:
            connection.execute("DROP DATABASE rotating WITH (FORCE)")


@OLDEST_AND_NEWEST
def test_a_token_is_rotated_inside_and_delivered_outside(
    outside: Mapping[str, str], carried: None, cluster: Cluster, rotating: Address, tmp_path: Path
) -> None:
    def run(*words: str) -> Done:
        return subprocess.run(
            [GITLAB_TOKENS, *words, "--target", TARGET],
            env=outside,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("journal.install").returncode == 0
    before = len(cluster.execs)
    with gitlab_api(rotating, KEYS) as api:
        said = subprocess.run(
            [GITLAB_TOKENS, "rotate", "--token", "scanner", "--dry-run", "--allow", "long-expired", "--target", TARGET],
            env={**outside, PATIENCE_VARIABLE: "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        ).stderr
        assert said == "Looking for the tokens...\n"
        # Whatever the connection does, the token that is delivered is the one that lives on.
        api.answer(lambda request: cluster.cut_next(0), 1)
        path = tmp_path / "token"
        words = ["rotate", "--token", "scanner", "--yes", "--allow", "long-expired"]
        done = run(*words, "--deliver", f"file:{path}", "--verify", api.url)
        assert done.returncode == 0, done.stderr
        token = path.read_text()
        new = verify(api.url, Secret(token)).id
    with psycopg.connect(rotating.conninfo) as connection:
        live = "SELECT id FROM personal_access_tokens WHERE name = 'scanner' AND revoked IS NOT TRUE"
        assert connection.execute(live).fetchall() == [(new,)]
    sent = json.dumps([executed.command for executed in cluster.execs[before:]])
    assert token not in sent
    assert not any(key.reveal() in sent for key in KEYS.values)


@OLDEST_AND_NEWEST
def test_whose_asks_inside_for_a_token_that_is_outside(
    outside: Mapping[str, str], carried: None, cluster: Cluster, rotating: Address, tmp_path: Path
) -> None:
    token = legacy_token("glpat-")
    with psycopg.connect(rotating.conninfo) as connection:
        digest = KEYS.digests(token)[1]  # by a key that was replaced since
        connection.execute("UPDATE personal_access_tokens SET token_digest = %s WHERE id = 4", [digest])
    (tmp_path / "pipeline.yml").write_text(f"variables:\n  TOKEN: {token.reveal()}\n")
    before = len(cluster.execs)
    for words, place in (((), "1"), (("--scan", str(tmp_path)), f"{tmp_path}/pipeline.yml:2")):
        done = subprocess.run(
            [GITLAB_TOKENS, "whose", "--target", TARGET, *words],
            env=outside,
            input=f"{token.reveal()}\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f'{place}: access token of a service account 4 "scanner" of inventory, ')
        assert token.reveal() not in done.stdout
    sent = json.dumps([executed.command for executed in cluster.execs[before:]])
    assert token.reveal() not in sent
    assert not any(key.reveal() in sent for key in KEYS.values)


@pytest.mark.parametrize(
    ("forbidden", "said"),
    [(("list", "pods"), "does not let you list pods"), (("create", "pods/exec"), "it needs create on pods/exec")],
)
def test_what_is_forbidden_is_named(call: Call, cluster: Cluster, forbidden: tuple[str, str], said: str) -> None:
    cluster.forbid(*forbidden)
    done = call("analyze")
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("kubernetes:nowhere", "No toolbox pod is ready in namespace nowhere (context test)"),
        ("kubernetes:gitlab@nowhere", "kubectl cannot list the pods in namespace gitlab"),
    ],
)
def test_what_is_not_there_is_one_line(call: Call, target: str, said: str) -> None:
    done = call("analyze", target=target)
    assert done.returncode in (1, 2)
    assert said in one_line(done)

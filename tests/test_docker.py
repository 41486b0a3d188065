"""Into a container of a real Docker engine and back: the same screens, keys, streams and exit statuses."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.testbed import logs
from tests.testbed.docker.engine import Engine
from tests.testbed.docker.image import (
    GITLAB_IMAGE,
    Container,
    build,
    build_other,
    closed_container,
    container,
    other_container,
    stopped_container,
)
from tests.testbed.program import GITLAB_TOKENS, INV
from tests.testbed.screen import Program
from tokens.version import __version__

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]

PSQL = ["psql", "-XAtq", "-h", "/var/opt/gitlab/postgresql", "-U", "gitlab", "-d", "gitlabhq_production"]
DOCKERFILE = Path(__file__).parent.parent / "deploy/docker/Dockerfile"
TASKS = '''\
import invoke
import tokens
from tokens.cli.declaration import task
from tokens.cli.option import Option
from tokens.tasks.options import STANDBY
from tokens.tasks.options import TARGET, YES

@task("nowhere:here", TARGET, Option("ids", "A file.", is_file=True), STANDBY, YES, name="journal.probe")
def whatever():
    """Run elsewhere only."""

namespace = invoke.Collection(whatever)
namespace.configure(tokens.ns.configuration())
'''
DATES = "| 2024-06-15      | 3     |\n| (none)          | 2     |\n| 2024-12-31      | 1     |\n"


@pytest.fixture
def outside(docker_engine: Engine, bundles: Path) -> Mapping[str, str]:
    """The environment of somebody on the Docker host."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("INVOKE_", "DOCKER_"))}
    return inherited | docker_engine.environment() | {"INVOKE_TOKENS_BUNDLE_DIRECTORY": str(bundles)}


@pytest.fixture
def call(outside: Mapping[str, str]) -> Call:
    def call(*words: str, **options: object) -> Done:
        env = {**outside, **options.pop("env", {})}  # type: ignore[dict-item]
        return subprocess.run(
            [GITLAB_TOKENS, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return call


@pytest.fixture
def fresh(docker_engine: Engine) -> Iterator[Container]:
    """A GitLab container that nobody has changed."""
    with container(docker_engine, "fresh") as started:
        yield started


def one_line(done: Done) -> str:
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_the_tool_carries_itself_there_once_and_is_found_again(call: Call, fresh: Container) -> None:
    first = call("analyze", "--target", "docker:fresh")
    assert first.returncode == 0
    assert first.stderr.startswith("Uploading the tool to container fresh (")
    again = call("analyze", "--target", "docker:fresh")
    assert (again.returncode, again.stderr, again.stdout) == (0, "", first.stdout)
    assert DATES in again.stdout
    assert fresh.exec("sh", "-c", "stat -c '%U %a' /var/lib/gitlab-tokens-0/*").stdout == "root 755\n"


def test_it_can_be_taken_out_again(call: Call, fresh: Container) -> None:
    call("analyze", "--target", "docker:fresh")
    done = call("bundle.clean", "--target", "docker:fresh")
    assert (done.returncode, done.stdout) == (0, "Removed /var/lib/gitlab-tokens-0 in container fresh.\n")
    assert fresh.exec("ls", "/var/lib").stdout == ""
    assert call("bundle.clean", "--target", "docker:fresh").stdout == "There was nothing of ours in container fresh.\n"


def test_what_goes_to_standard_output_is_the_tools_alone(call: Call, gitlab_container: Container) -> None:
    done = call("analyze", "--target", "docker:gitlab", "--output", "csv", "--top", "1")
    assert (done.returncode, done.stdout) == (0, "expires_at,tokens\n2024-06-15,3\n")
    again = call("analyze", "--output", "csv", "--top", "1", env={"INVOKE_TOKENS_TARGET": "docker:"})
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_numbers_from_there_replace_a_file_right_here(call: Call, gitlab_container: Container, tmp_path: Path) -> None:
    file = tmp_path / "gitlab_tokens.prom"
    words = ("check", "--target", "docker:gitlab", "--output", "prometheus", "--file", str(file))
    done = call(*words)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (0, "", [file])
    before = file.read_bytes()
    assert before.splitlines()[-1].startswith(b"gitlab_tokens_last_success_timestamp_seconds ")
    assert call(*words, "--user", "nobody").returncode == 2
    assert one_line(call(*words[:-1], str(tmp_path))).endswith(
        f"is a folder: name a file in it, such as {tmp_path}/gitlab_tokens.prom.\n"
    )
    assert one_line(call(*words[:3], *words[5:])) == "--file is where --output prometheus is written: use both.\n"
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (before, [file])


def test_both_programs_and_both_orders_of_words_go_there(
    outside: Mapping[str, str], gitlab_container: Container
) -> None:
    command = [INV, "tokens.analyze", "--target=docker:gitlab", "--output=json"]
    done = subprocess.run(command, env=outside, capture_output=True, text=True, check=False)
    assert '"expires_at": "2024-06-15"' in done.stdout


@pytest.mark.parametrize(("words", "status"), [(("analyze", "--top", "0"), 2), (("analyze", "--nonsense"), 2)])
def test_the_exit_status_is_the_one_inside(
    call: Call, gitlab_container: Container, words: tuple[str, ...], status: int
) -> None:
    call("analyze", "--target", "docker:gitlab")  # carries the tool there
    done = call(*words, "--target", "docker:gitlab")
    assert done.returncode == status
    assert one_line(done)


def test_without_a_terminal_edit_is_refused_before_anything(call: Call, fresh: Container) -> None:
    done = call("edit", "--target", "docker:fresh")
    assert done.returncode == 2
    assert "needs a terminal" in one_line(done)
    assert fresh.exec("ls", "/var/lib").stdout == ""


def test_a_conversation_from_outside(outside: Mapping[str, str], fresh: Container) -> None:
    with Program([GITLAB_TOKENS, "edit", "--target", "docker:fresh"], env=outside) as program:
        program.wait_for("What do you want to do?")
        program.press("enter")
        program.wait_for("Select an expiration date")
        program.press("ctrl-p", "\x11", "enter")  # by default Docker takes Ctrl-P Ctrl-Q for a wish to leave
        program.wait_for("What would you like the new expiration date to be?")
        program.press(*["backspace"] * 10, "2030-01-01", "enter")
        program.wait_for("Are you sure?")
        program.press("y", "enter")
        program.wait_for("be undone? (Y/n)")
        program.press("enter")
        program.wait_for("Updated 3 tokens!")
        program.wait_for("3. Quit")
        program.press("3", "enter")
        assert program.wait() == 0
    assert fresh.rows("SELECT count(*) FROM personal_access_tokens WHERE expires_at = '2030-01-01'") == ["3"]


def test_a_resize_is_followed(outside: Mapping[str, str], fresh: Container) -> None:
    with Program([GITLAB_TOKENS, "edit", "--target", "docker:fresh"], env=outside, size=(30, 100)) as program:
        program.wait_for("What do you want to do?")
        program.resize(25, 60)
        program.wait_for(lambda: fresh.exec("sh", "-c", "stty size < /dev/pts/0").stdout == "25 60\n")
        program.press("ctrl-c")
        assert program.wait() == 130


def test_ctrl_c_ends_it_with_its_own_status(outside: Mapping[str, str], gitlab_container: Container) -> None:
    with Program([GITLAB_TOKENS, "edit", "--target", "docker:gitlab"], env=outside) as program:
        program.wait_for("What do you want to do?")
        program.press("ctrl-c")
        assert program.wait() == 130


def test_colours_go_along_or_stay_away(outside: Mapping[str, str], gitlab_container: Container) -> None:
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with Program([GITLAB_TOKENS, "edit", "--target", "docker:gitlab"], env={**outside, **variables}) as program:
            program.wait_for("What do you want to do?")
            assert (b"\x1b[32m" in program.raw) == coloured
            program.press("ctrl-c")
            program.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_without_a_terminal_ends_the_process_inside_too(
    call: Call, outside: Mapping[str, str], fresh: Container, number: signal.Signals, status: int
) -> None:
    call("analyze", "--target", "docker:fresh")
    lock = subprocess.Popen(
        ["docker", "exec", "-i", "-u", "git", "fresh", *PSQL],
        env=outside,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert lock.stdin is not None
    assert lock.stdout is not None
    with (
        lock,
        subprocess.Popen(
            [GITLAB_TOKENS, "analyze", "--target", "docker:fresh"],
            env=outside,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        lock.stdin.write("BEGIN;\nLOCK personal_access_tokens;\n\\echo locked\n")
        lock.stdin.flush()
        assert lock.stdout.readline() == "locked\n"
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while fresh.rows(waiting) == ["0"]:
            assert child.poll() is None
        child.send_signal(number)
        said = child.communicate(timeout=60)[1]
        assert child.returncode == status
        assert said.count("\n") == 1
        assert fresh.exec("pgrep", "-f", "tokens.program").stdout == ""
        lock.stdin.write("ROLLBACK;\n")


def test_what_is_installed_there_in_the_same_version_is_used_and_told_who_calls(call: Call, fresh: Container) -> None:
    stub = f"""mkdir /opt/gitlab-tokens && cd /opt/gitlab-tokens && echo {__version__} > VERSION &&
        printf '#!/bin/sh\\necho "$@"; env; exit 3\\n' > gitlab-tokens && chmod 755 gitlab-tokens"""
    assert fresh.exec("sh", "-c", stub).returncode == 0
    variables = {"SUDO_USER": "søren@corp", "NO_COLOR": "1", "INVOKE_TOKENS_TARGET": "docker:fresh"}
    done = call("analyze", "--top", "7", env=variables)
    assert (done.returncode, done.stderr) == (3, "")
    words, *found = done.stdout.splitlines()
    assert words == "analyze --top=7"
    assert f"GITLAB_TOKENS_CALLER=søren@corp@{os.uname().nodename}" in found
    assert {"NO_COLOR=1", "GITLAB_TOKENS_PATIENCE=600"} <= set(found)
    assert not [line for line in found if line.startswith("INVOKE_")]


def test_an_installed_tool_that_cannot_be_started_comes_with_what_removes_it(call: Call, fresh: Container) -> None:
    stub = f"""mkdir /opt/gitlab-tokens && cd /opt/gitlab-tokens && echo {__version__} > VERSION &&
        echo '#!/nowhere' > gitlab-tokens && chmod 755 gitlab-tokens"""
    assert fresh.exec("sh", "-c", stub).returncode == 0
    done = call("analyze", "--target", "docker:fresh")
    assert done.returncode == 1
    assert "Uploading" not in done.stderr
    said, line = done.stderr.splitlines()[-1].split("→ to remove what is installed there: ")
    assert "The tool that is installed in container fresh cannot be started" in said
    assert line == "docker exec fresh rm -r /opt/gitlab-tokens"
    assert fresh.exec(*line.split()[3:]).returncode == 0
    assert call("analyze", "--target", "docker:fresh").returncode == 0


def test_a_list_of_leaked_tokens_is_revoked_in_there_and_brought_back(
    call: Call, fresh: Container, tmp_path: Path
) -> None:
    there = ("--target", "docker:fresh")
    assert call("journal.install", *there).returncode == 0
    (tmp_path / "leaked").write_text("1 # in a public log\n2\n")
    words = ("revoke", *there, "--ids", str(tmp_path / "leaked"), "--state", "active,expired", "--yes")
    done = call(*words, "--reason", "OPS-9")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Recounted: 2 of 2 tokens are revoked." in done.stdout
    listed = ("list", *there, "--state", "revoked", "--output", "ids")
    assert sorted(call(*listed).stdout.split()) == ["1", "2"]
    done = call("undo", *there, "--run", "1", "--allow", "reviving", "--yes")
    assert (done.returncode, call(*listed).stdout) == (0, "")


def test_a_list_of_ids_goes_along_for_the_run_and_no_longer(
    outside: Mapping[str, str], fresh: Container, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    ids = "".join(f"{number}\n" for number in range(1_500_000))
    (tmp_path / "ids").write_text(ids)

    def call(*words: str, given: str = "") -> Done:
        command = [INV, "probe", "--target=docker:fresh", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=outside, input=given, capture_output=True, text=True, check=False
        )

    leftovers = ["sh", "-c", "ls -d /*/.gitlab-tokens-* /*/*/.gitlab-tokens-* /*/*/*/.gitlab-tokens-* 2>/dev/null"]
    missing = call("--ids=nowhere")
    assert (missing.returncode, one_line(missing)) == (2, "--ids nowhere cannot be read: No such file or directory.\n")
    assert fresh.exec("ls", "/var/lib").stdout == ""

    # The tool that is carried there has no such task: what came along for it goes all the same.
    done = call("--ids=ids")
    assert done.returncode == 2
    assert "Uploading the tool" in done.stderr
    assert 'There is no task "journal.probe"' in done.stderr
    assert fresh.exec(*leftovers).stdout == ""

    stub = f"""mkdir /opt/gitlab-tokens && cd /opt/gitlab-tokens && echo {__version__} > VERSION && {{
        echo '#!/bin/sh'
        echo 'for word; do echo "$word"; done'
        echo 'stat -c "%U %a" "${{word#--ids=}}"; sha256sum < "${{word#--ids=}}"'
        }} > gitlab-tokens && chmod 755 gitlab-tokens && touch -d '2 days ago' /tmp/.gitlab-tokens-old.ids"""
    assert fresh.exec("sh", "-c", stub).returncode == 0
    for words, given in ((("--ids=ids",), ""), (("--ids", "-"), ids)):
        done = call("--yes", "--standby", "a", "--standby", "b c", *words, given=given)
        assert (done.returncode, done.stderr) == (0, "")
        name, *options, file, mode, checksum = done.stdout.splitlines()
        assert name == "journal.probe"
        assert sorted(options) == ["--standby=a", "--standby=b c", "--yes"]
        assert re.fullmatch(r"--ids=/var/lib/\.gitlab-tokens-[0-9a-f]{32}\.ids", file)
        assert (mode, checksum.split()[0]) == ("root 600", hashlib.sha256(ids.encode()).hexdigest())
        assert fresh.exec(*leftovers).stdout == ""


def test_what_is_wrong_in_a_list_of_ids_is_said_of_what_was_typed(
    outside: Mapping[str, str], gitlab_container: Container, tmp_path: Path
) -> None:
    (tmp_path / "leaked").write_text("1\nx\n")
    (tmp_path / "empty").write_text("# none\n")
    for source, given, said in (
        ("leaked", "", '--ids takes ids of tokens, but line 2 of "leaked" has something else.'),
        ("-", "1\n2\nx\n", "--ids takes ids of tokens, but line 3 of standard input has something else."),
        ("empty", "", '--ids found no token ids in "empty".'),
    ):
        command = [GITLAB_TOKENS, "list", "--target", "docker:gitlab", "--ids", source]
        done = subprocess.run(
            command, cwd=tmp_path, env=outside, input=given, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.splitlines()[-1]) == (2, said)


def test_a_log_is_found_there_and_one_of_here_goes_along(
    call: Call, outside: Mapping[str, str], fresh: Container, tmp_path: Path
) -> None:
    log = logs.written([logs.Use(1, 20)], [date(2026, 2, 16)])
    words = ("used", "--target", "docker:fresh", "--output", "json")
    nothing = call(*words)
    assert nothing.returncode == 2
    assert "log/api_json.log is not there" in json.loads(nothing.stdout)["error"]

    out_here = call(*words, "--log", str(logs.gzipped(tmp_path / "api_json.log.1.gz", log.lines)))
    piped = subprocess.run(
        [GITLAB_TOKENS, *words, "--log", "-"], env=outside, input=b"".join(log.lines), capture_output=True, check=False
    )
    place = "/opt/gitlab/embedded/service/gitlab-rails/log"
    lines = b64encode(gzip.compress(b"".join(log.lines))).decode()
    fresh.exec("sh", "-c", f"mkdir {place} && cd {place} && echo {lines} | base64 -d > api_json.log && chown -R git .")
    in_there = call(*words)
    found = [json.loads(done.stdout) for done in (out_here, piped, in_there)]
    assert [[(one["id"], one["calls"]) for one in document["tokens"]] for document in found] == [[(1, 20)]] * 3
    assert [document["log"]["lines"] for document in found] == [len(log.lines)] * 3
    beside = call("check", *words[1:], "--log", str(tmp_path / "api_json.log.1.gz"))
    assert json.loads(beside.stdout)["expired_in_use"] == 0
    refused = call(*words, "--state-file", str(tmp_path / "state"))
    assert "is about this machine, and the target is elsewhere" in json.loads(refused.stdout)["error"]


@pytest.fixture(scope="module")
def with_the_tool(docker_engine: Engine, bundles: Path) -> str:
    """The image that deploy/docker/Dockerfile makes of GitLab's."""
    with TemporaryDirectory() as context:
        shutil.copy(DOCKERFILE, context)
        for bundle in bundles.glob("*.tar.gz"):
            shutil.copy(bundle, context)
        words = ["docker", "build", "-q", "--build-arg", f"GITLAB={GITLAB_IMAGE}", "-t", "with-the-tool", context]
        # The old builder, which every client has.
        env = os.environ | docker_engine.environment() | {"DOCKER_BUILDKIT": "0"}
        subprocess.run(words, env=env, capture_output=True, check=True)
    return "with-the-tool"


def test_from_inside_it_is_docker_exec(docker_engine: Engine, outside: Mapping[str, str], with_the_tool: str) -> None:
    with container(docker_engine, "inside", image=with_the_tool) as started:
        done = started.exec("inv", "tokens.analyze")
        assert (done.returncode, done.stderr) == (0, "")
        assert DATES in done.stdout
        assert started.exec("gitlab-tokens", "analyze", user="git").stdout == done.stdout
        with Program(["docker", "exec", "-it", "inside", "inv", "tokens.edit"], env=outside) as program:
            program.wait_for("What do you want to do?")
            program.press("2")
            program.press("enter")
            program.wait_for("Select an expiration date")
            program.press("enter")
            program.wait_for("Are you sure?")
            program.press("y", "enter")
            program.wait_for("be undone? (Y/n)")
            program.press("enter")
            program.wait_for("Updated 3 tokens!")
            program.wait_for("3. Quit")
            program.press("3", "enter")
            assert program.wait() == 0
        command = [GITLAB_TOKENS, "analyze", "--target", "docker:inside"]
        used = subprocess.run(command, env=outside, capture_output=True, text=True, check=False)
        assert (used.returncode, used.stderr) == (0, "")
        assert started.exec("ls", "/var/lib").stdout == ""


def test_a_container_that_dies_is_never_taken_for_success(outside: Mapping[str, str], docker_engine: Engine) -> None:
    edit = [GITLAB_TOKENS, "edit", "--target", "docker:mortal"]
    with container(docker_engine, "mortal"), Program(edit, env=outside) as program:
        program.wait_for("What do you want to do?")
        docker_engine.docker("kill", "mortal")
        program.wait_for("was lost")
        assert program.wait() == 4


OCI = "OCI runtime exec failed: exec failed: unable to start container process: "
DYING = [
    "cannot exec in a stopped state: unknown",
    f"{OCI}error executing setns process: exit status 1: unknown",
    f'{OCI}exec: "sh": executable file not found in $PATH: unknown',
]
POD = {
    "metadata": {"name": "toolbox", "labels": {"app": "toolbox", "release": "gitlab"}},
    "status": {"phase": "Running", "containerStatuses": [{"name": "toolbox", "ready": True}]},
}
STAND_IN = """#!/bin/sh
# A stand-in for docker and kubectl: the first exec has one end, each later one another.
case "$*" in
  *inspect*) echo '{{"Status": "running"}}'; exit 0 ;;
  *'get pods'*) echo '{pods}'; exit 0 ;;
  *current-context*) echo test; exit 0 ;;
esac
if mkdir {folder}/begun 2>/dev/null; then echo '{first[1]}' >&{first[2]}; exit {first[0]}; fi
echo '{later[1]}' >&{later[2]}
exit {later[0]}
"""
End = tuple[int, str, int]
"""A client's exit status, its words, and whether it says them on standard output or error."""


@pytest.fixture
def ended(tmp_path: Path) -> Callable[..., str]:
    """What is said at the end of a session of a stand-in client, with a terminal or without one."""

    def ended(program: str, first: End, later: End, *, terminal: bool) -> str:
        shutil.rmtree(tmp_path / "begun", ignore_errors=True)
        stand_in = tmp_path / program
        stand_in.write_text(
            STAND_IN.format(folder=tmp_path, first=first, later=later, pods=json.dumps({"items": [POD]}))
        )
        stand_in.chmod(0o755)
        target = {"docker": "docker:mortal", "kubectl": "kubernetes:gitlab"}[program]
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        if not terminal:
            command = [GITLAB_TOKENS, "analyze", "--target", target]
            done = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            assert done.returncode == 1
            return done.stderr
        with Program([GITLAB_TOKENS, "edit", "--target", target], env=env, size=(24, 400)) as screen:
            # Nobody knows how far edit has come, unless nothing had begun.
            assert screen.wait() == (1 if first[0] in (126, 127) else 4)
            return screen.text

    return ended


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("program", ["docker", "kubectl"])
@pytest.mark.parametrize("words", DYING)
def test_what_is_said_of_a_dying_container_is_never_taken_for_a_missing_shell(
    ended: Callable[..., str], program: str, words: str, terminal: bool
) -> None:
    """The client is a stand-in: no real engine can be made to say these words at the right moment."""
    for status, stream in ((126, 1), (127, 2)):
        said = ended(program, (137, "What do you want to do?", 1), (status, words, stream), terminal=terminal)
        assert "was lost" in said
        assert "no sh" not in said
        assert ("committed" in said) == terminal  # analyze changes nothing


def test_of_a_container_that_was_stopped_no_process_is_expected(ended: Callable[..., str]) -> None:
    """The client is a stand-in: for a moment a real engine says of a dying container that it cannot be entered."""
    gone = (1, "Error response from daemon: Container 0badcafe is not running", 2)
    said = " ".join(ended("docker", (137, "Select", 1), gone, terminal=True).split())
    assert "is not running); what had been committed stays. → to see the state" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_a_session_that_began_or_may_have_begun_is_not_forgotten_when_a_permission_goes(
    ended: Callable[..., str], terminal: bool
) -> None:
    """The client is a stand-in, as above."""
    cut = (1, "error: error reading from error stream: EOF", 1 if not terminal else 2)
    said = ended("kubectl", cut, (1, 'pods "toolbox" is forbidden: User "x" cannot create', 2), terminal=terminal)
    assert "what it committed stays" in said if terminal else "was lost" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_a_container_without_a_shell_is_told(outside: Mapping[str, str], docker_engine: Engine, terminal: bool) -> None:
    no_shell = "has no sh to run the tool with"
    target = ["--target", "docker:bare"]
    with other_container(docker_engine, "bare", f"--volume=/dev/null:{Path('/bin/sh').resolve()}:ro"):
        if terminal:
            with Program([GITLAB_TOKENS, "edit", *target], env=outside, size=(24, 400)) as program:
                assert program.wait() == 1
                assert no_shell in program.text
        else:
            command = [GITLAB_TOKENS, "analyze", *target]
            done = subprocess.run(command, env=outside, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert no_shell in done.stderr


def test_it_works_with_a_read_only_root_and_where_tmp_forbids_execution(call: Call, docker_engine: Engine) -> None:
    with closed_container(docker_engine, "closed"):
        done = call("analyze", "--target", "docker:closed")
        assert done.returncode == 0, done.stderr
        assert DATES in done.stdout


def test_records_of_lost_sessions_go_after_a_month(outside: Mapping[str, str], fresh: Container) -> None:
    records = "cd /var/lib && touch -d '40 days ago' .gitlab-tokens-old && touch -d '20 days ago' .gitlab-tokens-recent"
    assert fresh.exec("sh", "-c", records).returncode == 0
    with Program([GITLAB_TOKENS, "edit", "--target", "docker:fresh"], env=outside) as program:
        program.wait_for("3. Quit")
        program.press("3", "enter")
        assert program.wait() == 0
    left = fresh.exec("sh", "-c", "ls -A /var/lib | grep '^[.]gitlab-tokens-'").stdout
    assert left == ".gitlab-tokens-recent\n"


def test_under_a_read_only_root_an_installed_tool_needs_no_volume_for_its_lists_and_its_end(
    outside: Mapping[str, str], call: Call, docker_engine: Engine, bundles: Path, tmp_path: Path
) -> None:
    tool = tmp_path / "tool"
    tool.mkdir()
    with tarfile.open(next(bundles.glob("*.tar.gz"))) as packed:
        packed.extractall(tool, filter="tar")
    (tmp_path / "ids").write_text("1\n")
    mounts = ("--volume=/var/opt/gitlab/postgresql", f"--volume={tool}:/opt/gitlab-tokens:ro")
    with container(docker_engine, "readonly", "--read-only", *mounts) as started:
        done = call("list", "--target", "docker:readonly", "--state=active,expired", "--ids", str(tmp_path / "ids"))
        assert (done.returncode, done.stderr) == (0, "")
        with Program([GITLAB_TOKENS, "edit", "--target", "docker:readonly"], env=outside) as program:
            program.wait_for("3. Quit")
            program.press("3", "enter")
            assert program.wait() == 0, program.text
        assert started.exec("sh", "-c", "ls -A /dev/shm | grep gitlab-tokens").stdout == ""


def test_where_no_folder_may_hold_programs_it_says_what_to_mount(call: Call, docker_engine: Engine) -> None:
    options = ("--read-only", "--tmpfs=/tmp:noexec", "-e", "INVOKE_TOKENS_ROOT=/tmp")
    with other_container(docker_engine, "shut", *options) as shut:
        shut.exec("mkdir", "-p", "/tmp/srv/gitlab")
        done = call("analyze", "--target", "docker:shut")
    assert done.returncode == 1
    assert "mount a writable volume without noexec" in done.stderr.splitlines()[-1]


PLANTED = """#!/bin/sh
echo planted
"""


def test_what_was_carried_is_not_run_where_others_could_have_changed_it(
    call: Call, docker_engine: Engine, bundles: Path
) -> None:
    folder = "/var/lib/gitlab-tokens-0"
    with container(docker_engine, "open") as started:
        call("analyze", "--target", "docker:open")
        (tool,) = started.exec("sh", "-c", f"ls -d {folder}/*").stdout.splitlines()
        for modes in (f"g+w {tool}/lib", f"777 {folder}"):  # after that one it goes elsewhere
            plant = f"printf '%s' '{PLANTED}' > {tool}/gitlab-tokens"
            assert started.exec("sh", "-c", plant).returncode == 0
            assert call("analyze", "--target", "docker:open").stdout == "planted\n"
            assert started.exec("sh", "-c", f"chmod {modes}").returncode == 0
            done = call("analyze", "--target", "docker:open")
            assert done.returncode == 0, done.stderr
            assert DATES in done.stdout
            assert "Uploading the tool" in done.stderr
            assert call("analyze", "--target", "docker:open").stderr == ""
        removed = call("bundle.clean", "--target", "docker:open").stdout
        assert f"Removed {folder} in container open." in removed


def test_the_only_container_with_gitlab_in_it_is_found_whatever_its_image_is_called(
    outside: Mapping[str, str], call: Call
) -> None:
    with Engine() as engine:
        build(engine, image="registry.example.com/scm/forge:18", labels={})
        build_other(engine)
        elsewhere = dict(engine.environment())
        with (
            container(engine, "forge", image="registry.example.com/scm/forge:18"),
            other_container(engine, "other"),
        ):
            for target in ("docker:", "docker:forge"):
                done = call("analyze", "--target", target, env=elsewhere)
                assert done.returncode == 0, done.stderr
                assert DATES in done.stdout
            with container(engine, "second", image="registry.example.com/scm/forge:18"):
                done = call("analyze", "--target", "docker:", env=elsewhere)
                assert done.returncode == 2
                assert "Several containers run GitLab: second, forge; choose one" in one_line(done)
        with other_container(engine, "other"):
            done = call("analyze", "--target", "docker:", env=elsewhere)
            assert "No container runs GitLab; running here: other." in one_line(done)


def test_a_container_that_is_no_gitlab_is_given_nothing(call: Call, docker_engine: Engine) -> None:
    with other_container(docker_engine, "other") as other:
        done = call("analyze", "--target", "docker:other")
        assert other.exec("ls", "/var/lib").stdout == ""
    assert done.returncode == 2
    assert "There is no GitLab in container other" in one_line(done)


def test_a_tool_that_was_damaged_there_is_carried_anew(call: Call, fresh: Container) -> None:
    call("analyze", "--target", "docker:fresh")
    tool = "/var/lib/gitlab-tokens-0/*"
    for damage in (
        f"rm {tool}/gitlab-tokens",
        f"rm -r {tool}/lib/ld-linux*",
        f"rm -r {tool}/lib/python3*/site-packages/tokens/rotation",
        f"chmod a-x {tool}/gitlab-tokens",
    ):
        assert fresh.exec("sh", "-c", damage).returncode == 0
        done = call("analyze", "--target", "docker:fresh")
        assert done.returncode == 0, done.stderr
        assert "Uploading the tool" in done.stderr
        assert DATES in done.stdout


def test_a_reader_that_leaves_early_is_no_fault(outside: Mapping[str, str], gitlab_container: Container) -> None:
    command = f"set -o pipefail; {GITLAB_TOKENS} doctor --target docker:gitlab | head -1"
    subprocess.run(["bash", "-c", command], env=outside, capture_output=True, text=True, check=False)
    done = subprocess.run(["bash", "-c", command], env=outside, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_the_callers_input_is_left_alone(outside: Mapping[str, str], gitlab_container: Container) -> None:
    command = f"while read name; do {GITLAB_TOKENS} analyze --target docker:$name; done"
    names = "gitlab\ngitlab\n"
    done = subprocess.run(
        ["bash", "-c", command], env=outside, input=names, capture_output=True, text=True, check=False
    )
    assert done.stdout.count(DATES) == 2


def test_what_is_no_running_container_is_one_line(
    call: Call, docker_engine: Engine, gitlab_container: Container
) -> None:
    done = call("analyze", "--target", "docker:nope")
    assert done.returncode == 2
    assert "There is no container nope; running here: gitlab." in one_line(done)
    done = call("analyze", "--target", "docker:GITLAB")
    assert 'There is no container GITLAB (did you mean "gitlab"?); running here: gitlab.' in one_line(done)
    docker_engine.docker("pause", "gitlab")
    done = call("analyze", "--target", "docker:gitlab")
    docker_engine.docker("unpause", "gitlab")
    assert "is paused, not running: docker unpause gitlab" in one_line(done)
    with stopped_container(docker_engine, "stopped"):
        done = call("analyze", "--target", "docker:stopped")
    assert done.returncode == 1
    assert "Container stopped is exited, not running" in one_line(done)


def test_several_gitlab_containers_ask_for_one(call: Call, docker_engine: Engine, gitlab_container: Container) -> None:
    with container(docker_engine, "second"):
        done = call("analyze", "--target", "docker:")
    assert done.returncode == 2
    assert "Several containers run GitLab" in one_line(done)
    assert "gitlab" in done.stderr
    assert "second" in done.stderr


def test_before_the_image_had_a_label_its_name_told(call: Call, docker_engine: Engine) -> None:
    with Engine() as another:
        build(another, "gitlab/gitlab-ce:16.0.0-ce.0", {})
        build_other(another)
        with container(another, "old", image="gitlab/gitlab-ce:16.0.0-ce.0"), other_container(another, "other"):
            done = call("analyze", "--target", "docker:", env=another.environment())
    assert done.returncode == 0
    assert done.stderr.startswith("Uploading the tool to container old (")


def test_a_container_that_is_starting_is_noted(call: Call, docker_engine: Engine) -> None:
    options = ("--health-cmd=false", "--health-interval=1h", "--health-start-period=1h")
    with container(docker_engine, "starting", *options):
        done = call("analyze", "--target", "docker:starting")
    assert done.returncode == 0
    assert done.stderr.startswith("GitLab in container starting is still starting (docker logs -f starting)")


def test_an_engine_that_does_not_answer_is_one_line(call: Call, tmp_path: Path) -> None:
    done = call("analyze", "--target", "docker:x", env={"DOCKER_HOST": f"unix://{tmp_path}/none"})
    assert done.returncode == 1
    assert "Cannot talk to Docker" in one_line(done)
    done = call("analyze", "--target", "docker:x", env={"PATH": "/nowhere"})
    assert "docker is not installed on this machine" in one_line(done)


def test_nothing_outside_imports_a_database_library(outside: Mapping[str, str], gitlab_container: Container) -> None:
    words = ["x", "analyze", "--target", "docker:gitlab"]
    program = f"from tokens.program import main; import sys; sys.argv[:] = {words}; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program], env=outside, capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tokens.targets.there.remote" in imported
    assert not imported & {"psycopg", "sqlalchemy", "alembic", "prompt_toolkit", "tokens.targets.here.site"}

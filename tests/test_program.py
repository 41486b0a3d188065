"""The commands as somebody types them: help, options, streams, exit statuses, configuration."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import invoke
import pytest
import sqlalchemy as sa
from invoke.parser import Parser

import tokens
from tests.testbed.addresses import url
from tests.testbed.commands import call_here, typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_migration_row, make_tokens
from tests.testbed.program import CHECKOUT, GITLAB_TOKENS, INV, call
from tokens.address import Address
from tokens.cli import target as target_option
from tokens.cli.called import later_tasks
from tokens.cli.configuration import refuse_others
from tokens.errors import Refused, UsageError
from tokens.namespace import ns
from tokens.program import FILES, DataConfig, TokensProgram, _unless_closed, _unreadable_configuration
from tokens.terminal.debug_log import without_addresses

pytestmark = pytest.mark.newest_server  # what is typed and read is the same on every server


def scalar(address: Address, statement: sa.TextClause) -> object:
    with make_engine(address).connect() as connection:
        return connection.execute(statement).scalar_one()


@pytest.fixture
def target(gitlab_database: Address) -> str:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection)
        make_tokens(connection, 3, expires_at="2024-06-15")
        make_tokens(connection, 2)
    return url(gitlab_database)


def test_every_task_has_one_line_in_the_list() -> None:
    listed = call_here(INV, "--list", env={"COLUMNS": "80"}).stdout.splitlines()[2:]
    tasks = [line for line in listed if line.strip()]
    assert tasks
    assert all(line.startswith("  tokens.") for line in tasks)


def test_a_task_knows_which_tasks_follow_it_in_the_same_call_also_those_of_others() -> None:
    seen = {}

    @invoke.task
    def ours(context: invoke.Context, word: str = "") -> None:
        seen[f"ours {word}"] = later_tasks()

    @invoke.task(post=[invoke.call(ours, "at the end")])  # type: ignore[arg-type]
    def deploy(context: invoke.Context) -> None:
        seen["deploy"] = later_tasks()

    invoke.Executor(invoke.Collection(ours, deploy)).execute("ours", "deploy", ("ours", {"word": "again"}))
    assert seen == {
        "ours ": ["deploy", "ours", "ours"],
        "deploy": ["ours", "ours"],
        "ours at the end": ["ours"],
        "ours again": [],
    }
    assert later_tasks() == []


@pytest.mark.parametrize(
    "words",
    [
        ("analyze",),
        ("analyze", "--top", "3", "history", "--run", "16"),
        ("history", "--user", "analyze"),
        ("analyze", "--debug=history"),
        ("analyze", "--help=history"),
        ("journal.status", "--", "history"),
        ("--echo", "tokens.journal.status", "-t", "x=y"),
        ("gitlab:tokens:analyze", "-o", "json"),
        ("analyse",),
        ("analyze", "histroy"),
        ("extend", "--exprires", "2026-12-11"),
    ],
    ids=" ".join,
)
def test_words_mean_what_they_mean_to_invokes_own_parser(words: tuple[str, ...]) -> None:
    def parsed(parser: type[TokensProgram]) -> object:
        program = parser(name="gitlab-tokens", namespace=ns, config_class=DataConfig, binary="gitlab-tokens")
        program.create_config()
        try:
            program.parse_core(["gitlab-tokens", *words])
            program.parse_collection()
            program.parse_tasks()
        except invoke.Exit as end:
            return end.code, end.message
        return [(one.name, {name: one.args[name].value for name in one.args}) for one in program.tasks]

    class WithAllTasks(TokensProgram):
        def _make_parser(self) -> Parser:
            return invoke.Program._make_parser(self)

    assert parsed(TokensProgram) == parsed(WithAllTasks)


def test_every_option_is_explained_and_none_is_positional() -> None:
    # In a process of its own, because Invoke forgets a task's help once it has been asked for.
    program = (
        "from tokens.namespace import ns\n"
        "for name in ns.task_names:\n"
        "    for argument in ns[name].get_arguments():\n"
        "        assert argument.help, (name, argument.name)\n"
        "        assert not argument.positional, (name, argument.name)\n"
        "        print(name)\n"
    )
    done = call(sys.executable, "-c", program)
    assert done.stderr == ""
    assert {"analyze", "journal.install", "extend"} <= set(done.stdout.split())


def test_the_help_of_a_task_reads_well() -> None:
    assert "Extend or remove dates in a conversation" in call_here(INV, "--help", "tokens.edit").stdout


def test_somebody_elses_tasks_can_take_the_collection(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("from invoke import Collection\nimport tokens\nns = Collection(tokens)\n")
    assert "tokens.analyze" in call(INV, "--list", cwd=tmp_path).stdout


def test_target_and_configuration_are_read_once(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Counter[str]()

    def counted(name: str) -> None:
        original = getattr(target_option, name)

        def function(*words: Any) -> Any:
            read[name] += 1
            return original(*words)

        monkeypatch.setattr(target_option, name, function)

    counted("parse_target")
    counted("read_configuration")
    typed("extend", "--expires", "2024-06-15", "--to", "2035-01-01", "--dry-run", "--target", target)
    assert read == {"parse_target": 1, "read_configuration": 1}


def test_both_commands_print_the_same(target: str) -> None:
    done = call(INV, "tokens.analyze", "--target", target)
    assert done.stdout.count("\n") == 9
    assert "| 2024-06-15      | 3     |" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("analyze", "tokens.analyze", "gitlab:tokens:analyze"):
        assert call(GITLAB_TOKENS, name, "--target", target).stdout == done.stdout


def test_json_and_csv_are_all_that_is_printed(target: str) -> None:
    found = json.loads(call_here(INV, "tokens.analyze", "--target", target, "--output", "json").stdout)
    assert found["dates"][0] == {"expires_at": "2024-06-15", "tokens": 3}
    lines = call_here(INV, "tokens.analyze", "--target", target, "--output", "csv", "--top", "1").stdout.splitlines()
    assert lines == ["expires_at,tokens", "2024-06-15,3"]


def test_top_names_the_table(target: str) -> None:
    assert "= Top 1 Personal" in call_here(INV, "tokens.analyze", "--target", target, "--top", "1").stdout
    assert "= All Personal" in call_here(INV, "tokens.analyze", "--target", target, "--top", "all").stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["analyze"], 2, "No GitLab was found on this machine"),
        (["analyze", "--target", "demoo"], 2, 'did you mean "demo"?'),
        (["analyze", "--target", "docker"], 2, "is written docker:CONTAINER."),
        (["analyze", "--target", "source:/nowhere"], 2, "There is no GitLab in /nowhere"),
        (["analyze", "--target", "omnibus"], 2, "Linux package is not"),
        (["analyze", "--target", "demo", "--top", "0"], 2, "--top takes"),
        (["analyze", "--target", "demo", "--top", "-3"], 2, "--top takes"),
        (["analyze", "--target", "demo", "--top", "ten"], 2, "--top takes"),
        (["analyze", "--target", "demo", "--output", "xml"], 2, "--output takes"),
        (["--dry", "edit", "--target", "demo"], 2, "no dry run"),
        (["edit", "--dry"], 2, "no dry run"),
        (["analyze", "--target", "postgresql://u@127.0.0.1:1/x"], 1, "Connection refused"),
        (["analyze", "--target", "postgresql://u:s3cr3t@[/x"], 2, "a host or a port that cannot be one"),
        (["analyze", "--target", "host=db password=s3cr3t"], 2, "not repeated, since it may hold a password"),
        (["analyze", "--target", "postgresql://u@h/x?s3cr3t=1"], 2, "no parameters follow"),
        (["analyze", "--target", "postgresql://u@h/x?secret=1"], 2, "check its form and the names of its parameters"),
        (["analyze", "--target", ""], 2, "--target was given nothing"),
        (["analyze", "--target", " ", "--output", "text"], 2, "--target was given nothing"),
        (["doctor", "--grants", ""], 2, "--grants was given nothing"),
        (["history", "--run", ""], 2, "--run was given nothing"),
        (["rotate", "--deliver", ""], 2, "--deliver was given nothing"),
        (["bundle.build", "--directory", ""], 2, "--directory was given nothing"),
        (["demo.start", "--tokens", "many"], 2, "--tokens takes"),
    ],
)
@pytest.mark.parametrize("command", ["inv", "gitlab-tokens"])
def test_a_fault_is_one_line_on_standard_error_and_its_status(
    command: str, words: list[str], status: int, said: str
) -> None:
    # A process for each status, and where there may be a GitLab whose account it would become.
    run = call if status == 1 or words == ["analyze"] else call_here
    if command == "inv":
        task = next(index for index, word in enumerate(words) if not word.startswith("-"))
        done = run(INV, *words[:task], f"tokens.{words[task]}", *words[task + 1 :])
    else:
        done = run(GITLAB_TOKENS, *words)
    assert done.returncode == status
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cr3t" not in done.stderr


def test_every_option_that_takes_a_value_refuses_none(tmp_path: Path) -> None:
    # In a process of its own, because Invoke forgets a task's help once it has been asked for.
    program = (
        "import invoke\n"
        "from tokens.namespace import ns\n"
        "for name in ns.task_names:\n"
        "    task = ns[name]\n"
        "    for argument in task.get_arguments():\n"
        "        if argument.takes_value:\n"
        "            value = [''] if argument.kind is list else ''\n"
        "            try:\n"
        "                task(invoke.Context(), **{argument.attr_name or argument.name: value})\n"
        "            except invoke.Exit as refusal:\n"
        "                print(name, argument.name, refusal.code, refusal.message.partition(';')[0])\n"
    )
    done = call(sys.executable, "-c", program)
    assert done.stderr == ""
    refusals = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert len(refusals) > 80
    for task, argument, status, said in refusals:
        assert (status, said) == ("2", f"--{argument.replace('_', '-')} was given nothing"), task


@pytest.mark.parametrize(
    ("option", "after"),
    [
        *(("user", after) for after in (["--dry-run"], ["--name", "x"], [])),
        *((option, ["--dry-run"]) for option in ("expires", "allow", "at-most")),
    ],
)
def test_an_option_whose_value_is_missing_is_no_option_left_out(option: str, after: list[str]) -> None:
    usual = ["remove", "--target", "postgresql://u@127.0.0.1:1/x", "--yes"]
    usual += [] if option == "expires" else ["--expires", "2024-06-15"]
    done = call_here(GITLAB_TOKENS, *usual, f"--{option}", *after)
    assert (done.returncode, done.stderr.startswith(f"--{option} needs ")) == (2, True)
    refused = call_here(INV, f"tokens.{usual[0]}", *usual[1:], f"--{option}", *after)
    assert refused.returncode == 1  # Invoke's own refusal


def test_a_variable_that_is_set_to_nothing_does_not_mean_the_gitlab_right_here(tmp_path: Path) -> None:
    for command in ([INV, "tokens.analyze"], [GITLAB_TOKENS, "analyze"]):
        done = call_here(*command, env={"INVOKE_TOKENS_TARGET": ""})
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "INVOKE_TOKENS_TARGET is set, but to nothing" in done.stderr
        assert "No GitLab was found" in call(*command, env={"HOME": str(tmp_path)}).stderr


def test_a_refusal_is_in_the_json_too() -> None:
    for words, status in (
        (["analyze", "--target", ""], 2),
        (["doctor", "--target", "demo", "--grants", ""], 2),
        (["analyze", "--target", "demo", "--top", "0"], 2),
        (["analyze", "--target", "docker"], 2),
        (["analyze", "--target", "postgresql://u@127.0.0.1:1/x"], 1),
        (["history", "--target", "postgresql://u@127.0.0.1:1/x", "--run", "3"], 1),
        (["apply", "--target", "postgresql://u@127.0.0.1:1/x", "--run", "3", "--yes"], 1),
        (["rotate", "--target", "postgresql://u@127.0.0.1:1/x", "--within", "30d", "--yes"], 1),
        (["rotate", "--target", "postgresql://u@127.0.0.1:1/x", "--resume", "x", "--yes"], 2),
        (["remove", "--target", "postgresql://u@127.0.0.1:1/x", "--yes"], 2),
    ):
        done = call_here(GITLAB_TOKENS, *words, "--output", "json")
        assert done.returncode == status, words
        document = json.loads(done.stdout)
        assert (f"{document['error']}\n", document["status"]) == (done.stderr, status)


ADDRESSES = (
    "postgresql://u:s3cr3t@127.0.0.1:1/x",
    "postgresql://u@127.0.0.1:1/x?password=s3cr3t",
    "postgresql://u:s3cr3t%zz@h/x",
    "host=h password=s3cr3t",
    "postgresql:u:s3cr3t@h",
    'u:it\'s "s3cr3t"@h/x',
    "docker:u:s3cr3t@h",
    "u s3cr3t",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_invokes_own_log_shows_no_address(address: str) -> None:
    for logged in (
        f"Handling token: {address!r}",
        f"We're waiting for a flag value so {address!r} must be it?",
        f"Didn't see it, Set flag <Argument: target> to {address!r} and can't find {['--target=' + address]!r}",
        f"Environment variable config: { {'tokens': {'target': address, 'targets': {'prod': address}}}!r}",
        f"Received a possibly-skippable exception: {invoke.Exit(f'No idea what {address!r} is!')!r}",
    ):
        assert "s3cr3t" not in without_addresses(logged)
    kept = "Handling token: 'gitlab:tokens:analyze' (/etc/invoke.yaml): {'target': 'prod', 'prod': 'docker:gitlab'}"
    assert without_addresses(kept) == kept


def test_invokes_own_log_shows_no_password_of_a_configuration_whatever_it_belongs_to() -> None:
    for password in ("s3cr3t", "it's s3cr3t", 53137):
        config = {"sudo": {"password": password}, "tokens": {"targets": {"prod": {"password": password, "host": "h"}}}}
        logged = without_addresses(f"Runtime config file (/etc/invoke.yaml): {config!r}")
        assert not any(secret in logged for secret in ("s3cr3t", "53137"))
        assert "'host': 'h'" in logged


@pytest.mark.parametrize("address", [ADDRESSES[1], ADDRESSES[5]])
def test_no_output_shows_the_password_of_a_target_not_even_debug(address: str, tmp_path: Path) -> None:
    configured = f"tokens: {{target: prod, targets: {{prod: {json.dumps(address)}}}}}\n"
    (tmp_path / ".invoke.yaml").write_text(configured)
    home = {"HOME": str(tmp_path)}
    for command in (INV, GITLAB_TOKENS):
        analyze = "tokens.analyze" if command == INV else "analyze"
        runs = [
            call_here(command, "--debug", analyze, "--target", address),
            call_here(command, "--debug", analyze, f"--target={address}"),
            call_here(command, "--debug", analyze, env={"INVOKE_TOKENS_TARGET": address}),
            call_here(command, "--debug", analyze, env=home),
            call_here(command, "--debug", analyze, "--target", "pord", env=home),
        ]
        if command == GITLAB_TOKENS:  # `inv` itself repeats what it cannot parse
            runs += [call_here(command, analyze, address), call_here(command, "--debug", analyze, f"-{address}")]
            runs += [call(command, analyze, env={"INVOKE_DEBUG": "1", "INVOKE_TOKENS_TARGET": address})]
        for done in runs:
            assert done.returncode in (1, 2)
            assert "s3cr3t" not in done.stdout + done.stderr
        assert "invoke.config.merge" in runs[0].stderr  # the log is there


def test_an_address_that_was_given_to_another_option_comes_back_without_its_password(tmp_path: Path) -> None:
    address = "postgresql://u:s3cr3t@h/x"
    for words in (
        ["-f", address, "analyze"],
        ["analyze", "--output", address],
        ["analyze", "--top", address],
        ["extend", "--expires", address, "--to", "2027-01-01"],
        ["extend", "--expires", "2027-01-01", "--to", address],
        ["extend", "--expires", "2027-01-01", "--to", "2027-01-01", "--kind", address],
        ["extend", "--expires", "2027-01-01", "--to", "2027-01-01", "--ids", address],
        ["doctor", "--grants", address],
    ):
        done = call_here(GITLAB_TOKENS, *words, cwd=tmp_path)
        assert (done.returncode, "s3cr3t" in done.stdout + done.stderr) == (2, False), words


def test_a_file_of_the_current_folder_that_was_named_is_not_noted(target: str, tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_text(f"tokens:\n  target: {target}\n")
    done = call_here(GITLAB_TOKENS, "-f", "invoke.yaml", "analyze", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_password_on_the_command_line_is_noted() -> None:
    note = "NOTE: The address of --target holds a password, which everybody on this machine can read (ps)"
    for address in ("postgresql://u:s3cr3t@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?password=s3cr3t"):
        typed = call_here(GITLAB_TOKENS, "analyze", "--target", address)
        assert (typed.returncode, typed.stderr.startswith(note)) == (1, True)
        assert "NOTE" not in call_here(GITLAB_TOKENS, "analyze", env={"INVOKE_TOKENS_TARGET": address}).stderr
    assert "NOTE" not in call_here(GITLAB_TOKENS, "analyze", "--target", "postgresql://u@127.0.0.1:1/x").stderr


@pytest.mark.parametrize("words", [["analyze", "--nonsense"], ["nonsense"], ["-D", "x"], ["--help", "nonsense"]])
def test_what_invoke_cannot_parse_is_wrong_use_for_the_console_script(words: list[str]) -> None:
    done = call_here(GITLAB_TOKENS, *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback_of_a_fault() -> None:
    done = call(INV, "--debug", "tokens.analyze", "--target", "demoo")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_reader_that_leaves_early_is_no_fault(target: str) -> None:
    done = call("bash", "-o", "pipefail", "-c", f"{INV} tokens.analyze --target '{target}' | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    done = call("bash", "-c", f"{GITLAB_TOKENS} --list | true")
    assert done.stderr == ""


def test_a_closed_output_is_said_before_anything_is_done(target: str) -> None:
    for command in (f"{INV} tokens.analyze", f"{GITLAB_TOKENS} analyze"):
        done = call("bash", "-c", f"{command} --target '{target}' >&-")
        assert (done.returncode, done.stderr) == (1, "Standard output is closed: nothing was done.\n")


def test_whatever_goes_wrong_is_unknown_to_nagios(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("check", "--output", "nagios", "--target", target)
    (tmp_path / ".invoke.yaml").write_text("tokens:\n  target: {a\n")
    absent = str(tmp_path / "absent.yaml")
    for done, said in (
        (call_here(GITLAB_TOKENS, *words, env={"HOME": str(tmp_path)}), "Invoke's configuration cannot be used"),
        (call_here(GITLAB_TOKENS, "-f", absent, *words), f"There is no file {absent}"),
    ):
        assert (done.returncode, done.stdout.startswith(f"TOKENS UNKNOWN - {said}")) == (3, True), done
        assert done.stdout.count("\n") == 1
    full = call("bash", "-c", f"{GITLAB_TOKENS} check --output nagios --target '{target}' >/dev/full")
    assert full.returncode == 3

    def broken(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("tokens.commands.check.due", broken)
    done = call_here(GITLAB_TOKENS, *words)
    assert (done.returncode, done.stdout) == (3, "TOKENS UNKNOWN - ValueError: a bug\n")
    assert "Traceback" in done.stderr
    with pytest.raises(ValueError, match="a bug"):
        call_here(GITLAB_TOKENS, "check", "--target", target)


def test_a_target_that_is_set_to_nothing_is_refused_wherever_it_is_set(tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("tokens:\n  target: ''\n")
    for words in (["analyze"], ["targets"]):
        done = call_here(GITLAB_TOKENS, *words, env={"HOME": str(tmp_path)})
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
        assert done.stderr.startswith(f"tokens.target in {tmp_path}/.invoke.yaml is set to nothing: give it a target")


def test_a_date_of_another_type_is_one_line(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_tokens(connection, 2, expires_at="2030-06-15")
        connection.execute(sa.text("ALTER TABLE personal_access_tokens ALTER expires_at TYPE timestamptz"))
    for words in (["analyze"], ["list"]):
        done = call_here(GITLAB_TOKENS, *words, "--target", url(gitlab_database))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        assert "is not a date as PostgreSQL writes it: the column is not of GitLab's type." in done.stderr


def test_what_to_type_next_has_the_configuration_that_was_named(target: str, tmp_path: Path) -> None:
    named = tmp_path / "its own.yaml"
    named.write_text(json.dumps({"tokens": {"targets": {"it": target}}}))
    assert call_here(GITLAB_TOKENS, "journal.install", "--target", target).returncode == 0
    done = call_here(GITLAB_TOKENS, "-f", str(named), "history", "--target", "it", "--run", "9")
    assert "no run 9 in the journal" in done.stderr
    assert done.stderr.endswith(f" -f '{named}' history --target it\n")


def test_somebody_elses_process_stays_as_it_was(target: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "import gc, os\nfrom invoke import Collection, task\nimport tokens\n"
        "@task\ndef after(c):\n    print(os.environ['PGOPTIONS'], gc.get_threshold()[0])\n"
        "ns = Collection(after, tokens)\n"
    )
    env = {"PGOPTIONS": "-c work_mem=1GB"}
    done = call(INV, "tokens.analyze", "--target", target, "after", cwd=tmp_path, env=env)
    assert done.stdout.splitlines()[-1] == "-c work_mem=1GB 700"


def test_a_full_disk_is_one_line(target: str) -> None:
    listed = call("bash", "-c", f"{GITLAB_TOKENS} --list > /dev/full")
    assert (listed.returncode, listed.stderr) == (1, "The output cannot be written: No space left on device.\n")
    done = call("bash", "-c", f"{INV} tokens.analyze --target '{target}' > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "The output cannot be written: No space left on device.\n"


def test_the_target_may_come_from_the_environment_or_a_name_in_the_configuration(target: str, tmp_path: Path) -> None:
    assert call_here(INV, "tokens.analyze", env={"INVOKE_TOKENS_TARGET": target}).returncode == 0
    (tmp_path / ".invoke.yaml").write_text(f"tokens:\n  target: prod\n  targets:\n    prod: {target}\n")
    for command in ([INV, "tokens.analyze"], [GITLAB_TOKENS, "analyze"]):
        assert call_here(*command, env={"HOME": str(tmp_path)}).returncode == 0
    wins = call_here(GITLAB_TOKENS, "analyze", "--target", "nowhere", env={"HOME": str(tmp_path)})
    assert wins.returncode == 2


def test_an_unusable_configuration_is_one_line(tmp_path: Path) -> None:
    for text in (
        "tokens:\n  targets:\n    prod: {host: db}\n",
        "tokens:\n  targets: [a, b]\n",
        "tokens:\n  targets: {1: demo}\n",
        "tokens:\n  targets: ['postgresql://u:s3cr3t@h/db']\n",
        "[1, 2]\n",
        "tokens: null\n",
        "tokens: [\n",
        "tokens:\n  target: [x]\n",
    ):
        (tmp_path / ".invoke.yaml").write_text(text)
        done = call_here(GITLAB_TOKENS, "analyze", env={"HOME": str(tmp_path)})
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "s3cr3t" not in done.stderr
    for name in ("missing.yaml", "code.py"):
        assert call_here(GITLAB_TOKENS, "-f", str(tmp_path / name), "analyze").returncode == 2


@pytest.mark.parametrize("text", ["tokens: [\n", "[1, 2]\n"])
def test_help_and_the_version_are_told_with_a_configuration_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    (tmp_path / ".invoke.yaml").write_text(text)
    for words in (["--version"], ["--help"], ["help", "analyze"], ["--list"]):
        done = call_here(GITLAB_TOKENS, *words, env={"HOME": str(tmp_path)})
        assert (done.returncode, done.stdout, done.stderr) == (0, call_here(GITLAB_TOKENS, *words).stdout, "")
    done = call_here(GITLAB_TOKENS, "analyze", "--target", "demo", env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Invoke's configuration cannot be used: ")


@pytest.mark.parametrize("text", ["", "# target: docker:gitlab\n", "---\n...\n", "null\n"])
def test_a_file_in_which_all_is_commented_out_has_no_settings(target: str, tmp_path: Path, text: str) -> None:
    home, named = tmp_path / "home", tmp_path / "named.yaml"
    home.mkdir()
    named.write_text(text)
    (home / ".invoke.yaml").write_text(text)
    for option in ([], ["-f", str(named)]):
        done = call_here(GITLAB_TOKENS, *option, "analyze", "--target", target, env={"HOME": str(home)})
        assert (done.returncode, done.stderr) == (0, "")
        done = call_here(GITLAB_TOKENS, *option, "analyze", env={"HOME": str(home), "INVOKE_TOKENS_TARGET": target})
        assert (done.returncode, done.stderr) == (0, "")
        done = call_here(GITLAB_TOKENS, *option, "targets", env={"HOME": str(home)})
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "", "is not JSON in line 1."),
        ("b.json", "[1]", "is no map of keys."),
        (
            "c.yaml",
            "all of it text\n",
            "is no map of keys.",
        ),
    ],
)
def test_a_file_that_is_no_map_of_keys_is_one_line_without_pythons_words(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    done = call_here(GITLAB_TOKENS, "-f", str(tmp_path / name), "analyze", env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"Invoke's configuration cannot be used: one of {FILES} {said} ")


def test_two_configuration_files_that_disagree_are_one_line_that_says_so(tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("tokens:\n  targets: {prod: 'postgresql://u:s3cr3t@h/db'}\n")
    (tmp_path / "other.yaml").write_text("tokens:\n  targets: {prod: {host: h}}\n")
    done = call_here(GITLAB_TOKENS, "-f", str(tmp_path / "other.yaml"), "analyze", env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a key has a map in one of its files (/etc/invoke.yaml, ~/.invoke.yaml, -f FILE), and none in" in done.stderr
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokens: 5\n", "tokens in Invoke's configuration must be a map of keys, such as target and targets.\n"),
        ("tokens: {demo: x}\n", "tokens.demo in Invoke's configuration must be a map of names to values.\n"),
        ("tokens: {target: {a: b}}\n", "tokens.target in Invoke's configuration must be text.\n"),
    ],
)
def test_a_key_of_another_type_in_the_current_folder_is_one_line_under_inv_too(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "tasks.py").write_text("from tokens import ns\n")
    (tmp_path / "invoke.yaml").write_text(text)
    done = call(INV, "analyze", cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (2, said)


def test_a_tasks_py_may_set_one_key_and_the_others_have_their_defaults(target: str, tmp_path: Path) -> None:
    for configured, env, status in (
        ({"target": target}, {}, 0),
        ({"root": "/"}, {"INVOKE_TOKENS_TARGET": target}, 0),
        ({"bundle": {}}, {"INVOKE_TOKENS_TARGET": target}, 0),
        ({"targets": {"prod": target}, "target": "prod"}, {}, 0),
        ({"demo": None}, {}, 2),
        ([], {}, 2),
        ({"target": ["x"]}, {}, 2),
    ):
        (tmp_path / "tasks.py").write_text(
            "from invoke import Collection\nimport tokens\nns = Collection(tokens)\n"
            f"ns.configure({{'tokens': {configured!r}}})\n"
        )
        done = call_here(INV, "tokens.analyze", cwd=tmp_path, env={"HOME": str(tmp_path), **env})
        assert (done.returncode, done.stderr.count("\n")) == (status, 1 if status else 0), (configured, done)


def test_a_key_that_nobody_reads_is_named_with_the_one_that_was_meant(target: str, tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text(
        "tokens:\n  taget: demo\n  'postgresql://u:s3cr3t@h/x': 1\n  2wPb: 1\n  demo: {directry: /x}\n"
    )
    for command in ([INV, "tokens.analyze"], [GITLAB_TOKENS, "analyze"]):
        done = call_here(*command, "--target", target, env={"HOME": str(tmp_path)})
        assert done.returncode == 0
        first, second, bare, third = done.stderr.splitlines()
        assert first.startswith("NOTE: tokens.taget in Invoke's configuration is ignored")
        assert 'did you mean "target"?' in first
        assert "s3cr3t" not in second
        assert bare.startswith("NOTE: A key under tokens in Invoke's configuration is ignored")
        assert third.startswith("NOTE: tokens.demo.directry in Invoke's configuration is ignored")
        assert 'did you mean "directory"?' in third


def test_a_variable_that_nobody_reads_is_named_with_the_one_that_was_meant(target: str, tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("tokens: {targets: {prod: demo}}\n")
    read = {"INVOKE_TOKENS_TARGETS_PROD": target, "INVOKE_TOKENS_ROOT": "/", "INVOKE_TOKENS_BUNDLE_DIRECTORY": "/x"}
    for command in ([INV, "tokens.analyze"], [GITLAB_TOKENS, "analyze"]):
        env = {"HOME": str(tmp_path), "INVOKE_TOKENS_TARJET": "docker:x", **read}
        done = call_here(*command, "--target", target, env=env)
        assert done.stderr == (
            "NOTE: INVOKE_TOKENS_TARJET in the environment is ignored, since nothing reads it; did you mean "
            "INVOKE_TOKENS_TARGET?\n"
        )


def test_a_variable_goes_before_every_file_also_before_one_that_is_named(target: str, tmp_path: Path) -> None:
    named = tmp_path / "named.yaml"
    named.write_text("tokens: {target: 'docker:x'}\n")
    for command in ([INV, "-f", str(named), "tokens.analyze"], [GITLAB_TOKENS, "-f", str(named), "analyze"]):
        done = call_here(*command, env={"INVOKE_TOKENS_TARGET": target})
        assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_the_current_folder_is_not_read_but_noted(target: str, tmp_path: Path) -> None:
    for name, text, noted in (
        ("invoke.yaml", "tokens:\n  target: demoo\n", True),
        ("invoke.json", '{"tokens": {"target": "demoo"}}', True),
        ("invoke.yml", "run: {echo: true}\n", False),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text(text)
        done = call_here(GITLAB_TOKENS, "analyze", "--target", target, cwd=folder)
        assert (done.returncode, done.stderr.startswith(f"NOTE: ./{name} counts for `inv` only")) == (0, noted)


def test_the_console_script_runs_no_code_that_lies_about(target: str, tmp_path: Path) -> None:
    poison = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (tmp_path / "tasks.py").write_text(poison)
    (tmp_path / ".invoke.py").write_text(poison)
    (tmp_path / "invoke.py").write_text(poison)
    done = call(GITLAB_TOKENS, "analyze", "--target", target, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.returncode == 0
    assert list(tmp_path.glob("*.ran")) + list(tmp_path.glob(".*.ran")) == []


def test_analyze_imports_nothing_that_it_does_not_use(target: str) -> None:
    program = (
        "from tokens.program import main; import sys; sys.argv = ['x', 'analyze', '--target', sys.argv[1]]; main()"
    )
    done = call(sys.executable, "-X", "importtime", "-c", program, target)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tokens.inventory.analysis" in imported
    assert not imported & {
        "sqlalchemy",
        "alembic",
        "prompt_toolkit",
        "tokens.change.plan",
        "tokens.run.batches",
        "tokens.terminal.prompts",
    }


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_in_a_query_is_one_line_and_its_status(
    target: str, gitlab_database: Address, number: signal.Signals, status: int
) -> None:
    with make_engine(gitlab_database).begin() as connection:
        connection.execute(sa.text("LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE"))
        command = [INV, "tokens.analyze", "--target", target]
        # The program waits for the lock: the server knows when it has got there.
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
        ) as child:
            waiting = sa.text("""
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
            """)
            while not scalar(gitlab_database, waiting):
                assert child.poll() is None
            child.send_signal(number)
            out, err = child.communicate(timeout=60)
    assert child.returncode == status
    assert out == ""
    assert err.count("\n") == 1


def test_the_public_api_needs_no_invoke() -> None:
    rooms = "tokens.inventory.analysis, tokens.change.plan, tokens.run.batches"
    program = f"import sys, {rooms}; sys.exit('invoke' in sys.modules)"
    assert call(sys.executable, "-c", program).returncode == 0


def test_the_version_is_told() -> None:
    assert call(GITLAB_TOKENS, "--version").stdout == f"gitlab-tokens {tokens.__version__}\n"


OWN_TASKS = """
from invoke import Collection

import invoke_gitlab_tokens

ns = Collection(invoke_gitlab_tokens)
"""


def test_tasks_of_ones_own_import_the_name_of_the_distribution(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(OWN_TASKS)
    listed = call(INV, "--list", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "  tokens.analyze " in listed.stdout
    assert call(INV, "tokens.analyze", "--target", "postgresql://gitlab@127.0.0.1:1/x", cwd=tmp_path).returncode == 1


def test_the_name_of_the_distribution_has_the_same_verbs_and_no_more(tmp_path: Path) -> None:
    program = (
        "import sys, invoke_gitlab_tokens as ours\n"
        "assert not {'invoke', 'psycopg'} & set(sys.modules)\n"
        "import tokens\n"
        "assert all(getattr(ours, name) is getattr(tokens, name) for name in tokens.__all__)\n"
        "assert ours.__all__ == tokens.__all__\n"
        "ours.nonsense\n"
    )
    done = call(sys.executable, "-c", program, cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "AttributeError: module 'tokens' has no attribute 'nonsense'"


def test_a_tokens_py_beside_the_tasks_is_named_as_what_hides_us(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(OWN_TASKS)
    (tmp_path / "tokens.py").write_text("")
    done = call(INV, "--list", cwd=tmp_path)
    assert done.returncode == 1
    said = f"{tmp_path}/tokens.py hides the package tokens of invoke-gitlab-tokens: rename or move that file."
    assert done.stderr.splitlines()[-1] == f"ImportError: {said}"


@pytest.mark.slow  # pip builds a wheel and installs it; .ci/run looks into the packages, too
def test_a_wheel_alone_has_the_migrations_the_deploy_folder_and_the_name_to_import(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    built = call(*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(CHECKOUT))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    there = tmp_path / "there"
    assert call(*pip, "install", "--no-deps", "--target", str(there), str(wheel)).returncode == 0
    assert (there / "invoke_gitlab_tokens/py.typed").exists()
    program = (
        "import invoke_gitlab_tokens as ours\n"
        "from tokens.upgrade import *\n"
        "assert revisions(Branch.GITLAB)[-1] == '19.2'\n"
        "from tokens.namespace import *\n"
        "assert ours.ns is ns\n"
        "print(ours.__file__)\n"
    )
    done = call(sys.executable, "-c", program, cwd=tmp_path, env={"PYTHONPATH": str(there)})
    assert (done.stdout, done.stderr) == (f"{there}/invoke_gitlab_tokens/__init__.py\n", "")
    assert (there / "share/man/man1/gitlab-tokens.1").is_file()
    written = call(str(there / "bin/gitlab-tokens"), "bundle.deploy", cwd=tmp_path, env={"PYTHONPATH": str(there)})
    assert (written.returncode, written.stderr) == (0, "")
    assert files_in(tmp_path / "deploy") == files_in(CHECKOUT / "deploy")


def files_in(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """The content of each file, and whether it is a program."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_deploy_folder_is_written_where_none_is(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    done = call(GITLAB_TOKENS, "bundle.deploy", "--directory", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"Written to {folder}; begin with {folder}/README.md.\n")
    same = call(GITLAB_TOKENS, "bundle.deploy", "--directory", str(tmp_path))
    said = f"{folder} is there already, as this version has it; begin with {folder}/README.md.\n"
    assert (same.returncode, same.stdout) == (0, said)
    (folder / "README.md").write_text("mine")
    again = call(GITLAB_TOKENS, "bundle.deploy", "--directory", str(tmp_path))
    said = (
        f"{folder} is there already with other files, and nothing in it is overwritten: move it away, or name another "
        "--directory.\n"
    )
    assert (again.returncode, again.stderr) == (2, said)
    assert (folder / "README.md").read_text() == "mine"

    (tmp_path / "file").write_text("")
    refused = call(GITLAB_TOKENS, "bundle.deploy", "--directory", str(tmp_path / "file"))
    assert (refused.returncode, refused.stderr) == (1, f"{tmp_path}/file/deploy cannot be written: Not a directory.\n")


def test_the_namespace_is_an_invoke_collection() -> None:
    assert isinstance(tokens.ns, invoke.Collection)
    with pytest.raises(AttributeError):
        _ = tokens.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["x" * 70_000, 'a "b" ' * 10_000, "'" * 70_000])
@pytest.mark.parametrize("option", ["--target=", "--output=", "--top="])
def test_a_long_value_does_not_come_back_whole(option: str, value: str) -> None:
    done = call_here(GITLAB_TOKENS, "analyze", f"{option}{value}")
    assert done.returncode == 2
    assert len(done.stderr) < 4_000
    assert value[:50] not in done.stderr if option == "--target=" else value[:50] in done.stderr


@pytest.mark.timeout(30)  # seconds; where each start of a match looks through all that follows, it is longer
@pytest.mark.parametrize("value", ["x" * 70_000, 'a "b" ' * 10_000, "'" * 70_000])
def test_a_long_word_that_is_no_task_does_not_come_back_whole(value: str) -> None:
    done = call_here(GITLAB_TOKENS, "analyze", value)
    assert done.returncode == 2
    assert len(done.stderr) < 4_000


def test_whatever_a_task_says_of_a_long_value_is_short() -> None:
    ids = "i" * 70_000
    for words in (["--ids", ids], ["--expires", ids], ["--kind", ids], ["--name", "\udcff" + ids], ["--reason", ids]):
        done = call_here(GITLAB_TOKENS, "extend", "--target", "nowhere", "--yes", *words)
        assert done.returncode == 2
        assert len(done.stderr) < 4_000, words[0]
    for option in ("--name", "--user", "--scope", "--reason", "--service-account", "--token"):
        task = ["rotate"] if option in ("--service-account", "--token") else ["remove", "--expires", "2026-01-01"]
        done = call_here(GITLAB_TOKENS, *task, "--yes", "--target", "postgresql://gitlab@127.0.0.1:1/x", option, ids)
        said = f"{option} takes 1,000 characters at most, but was given 70,000.\n"
        assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is refused")
def test_root_takes_no_program_from_a_file_of_the_whole_system_that_others_may_write(tmp_path: Path) -> None:
    file = tmp_path / "invoke.yaml"
    file.write_text("tokens:\n  docker: podman\n")
    context = invoke.Context(DataConfig(system_prefix=f"{tmp_path}/", user_prefix=f"{tmp_path}/none/"))
    refuse_others(context, "docker")
    file.chmod(0o666)
    with pytest.raises(Refused, match=f"tokens.docker in {file} does not count for root"):
        refuse_others(context, "docker")


def test_only_a_file_of_somebody_else_that_may_not_be_read_counts_for_nothing() -> None:
    def closed(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    assert _unless_closed(closed, Path("/root/.invoke.yaml")) == {}
    said = r"^/etc/invoke\.yaml may not be read by this account, .*: sudo chmod a\+r /etc/invoke\.yaml$"
    with pytest.raises(UsageError, match=said), _unreadable_configuration():
        _unless_closed(closed, Path("/etc/invoke.yaml"))

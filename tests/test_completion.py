"""What Tab offers: the answer in this very process, and real shells that ask for it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_project, make_token, make_user
from tests.testbed.instance import LATER, SOON, Instance
from tests.testbed.marks import slow_ones
from tests.testbed.program import BINARIES
from tests.testbed.screen import Program

SWITCHED_ON = {
    "bash": 'eval "$(gitlab-tokens --print-completion-script bash)"',
    "zsh": 'autoload -Uz compinit && compinit -u; eval "$(gitlab-tokens --print-completion-script zsh)"',
    "fish": "gitlab-tokens --print-completion-script fish | source",
}
QUIET = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "--no-config"]}

CLEAR = "\x15"  # Ctrl-U: nothing is left of the line

# What is typed before Tab, and what the line is afterwards.
LINES = (
    ("anal", "analyze"),
    ("journal.pr", "journal.prune"),
    ("extend --kind pers", "extend --kind personal"),
    ("extend --kind=project,gro", "extend --kind=project,group"),
    ("extend --allow doo", "extend --allow doomed"),
    ("extend --dry", "extend --dry-run"),
    ("analyze -o js", "analyze -o json"),
    ("analyze --target kub", "analyze --target kubernetes:"),
    ("analyze --target stag", "analyze --target staging"),
    ("remove --ids list", "remove --ids list.txt"),
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with a configuration and a file, and nothing of GitLab on the machine."""
    (tmp_path / ".invoke.yaml").write_text("tokens: {targets: {staging: 'docker:gitlab'}}\n")
    (tmp_path / "list.txt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INVOKE_TOKENS_ROOT", str(tmp_path))
    monkeypatch.setenv("INVOKE_TOKENS_DEMO_DIRECTORY", str(tmp_path / "demo"))
    monkeypatch.delenv("INVOKE_TOKENS_TARGET", raising=False)
    return tmp_path


def offered(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    """What is offered in the place of the last word."""
    assert typed("--complete", "--", "gitlab-tokens", *words) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def test_tasks_groups_and_pages_are_offered_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"analyze", "journal.prune", "journal", "help", "version"} <= set(offered(capsys, ""))
    assert offered(capsys, "an") == ["analyze"]
    assert {"analyze", "journal", "options", "completion"} <= set(offered(capsys, "help", ""))
    assert "--debug" in offered(capsys, "-")


def test_options_are_offered_once_and_lists_again(capsys: pytest.CaptureFixture[str]) -> None:
    found = offered(capsys, "extend", "--to", "2027-01-01", "--kind", "project", "-n", "--")
    assert {"--kind", "--by", "--help"} <= set(found)
    assert {"--to", "--dry-run"} & set(found) == set()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["extend", "--kind", ""], ["personal", "impersonation", "project", "group", "service-account", "other"]),
        (["extend", "--kind", "project,personal,g"], ["project,personal,group"]),
        (["extend", "--kind=pe"], ["--kind=personal"]),
        (["list", "--kind", "project,de"], ["project,deploy-token", "project,deploy-key"]),
        (["extend", "--kind", "de"], []),
        (["remove", "--state", ""], ["active", "expired", "revoked"]),
        (["apply", "--allow", "old"], ["old-plan"]),
        (["rotate", "--allow", ""], ["long-expired", "administrator", "no-membership"]),
        (["rotate", "--deliver", ""], ["file:", "command:", "stdout"]),
        (["history", "-o", ""], ["text", "json", "csv"]),
        (["extend", "--memberships", ""], ["move", "keep"]),
        (["extend", "--to", ""], []),
        (["extend", "--reason", ""], []),
        (["list", "--columns", "id,na"], ["id,name"]),
        (["list", "--columns", "fl"], ["flags"]),
        (["list", "--sort", "last"], ["last_used_at"]),
        (["list", "--sort=-ca"], ["--sort=-calls_a_day"]),
        (["list", "--sort", "fl"], []),
        (["extend", "--scope", "api,read_u"], ["api,read_user"]),
    ],
)
def test_values_are_offered_where_they_are_known(
    capsys: pytest.CaptureFixture[str], words: list[str], values: list[str]
) -> None:
    assert offered(capsys, *words) == values


def test_where_a_file_is_meant_the_shell_is_asked_to_offer_files(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["extend", "--ids", ""], ["rotate", "--secrets-file", "x"], ["bundle.build", "--directory", ""]):
        assert offered(capsys, *words, status=1) == []


def test_targets_are_those_of_the_configuration_and_the_forms(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert offered(capsys, "analyze", "--target", "") == [
        *("staging", "demo", "docker:", "kubernetes:", "omnibus", "postgresql://", "source")
    ]
    assert "staging" in offered(capsys, "extend", "--standby", "")


def test_runs_are_those_of_the_target(
    capsys: pytest.CaptureFixture[str], instance: Instance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--target", url(instance.address))
    assert offered(capsys, "undo", *words, "--run", "") == []
    with make_engine(instance.address).begin() as connection:
        make_token(connection, expires_at=SOON)
    plan = ["extend", *words, "--expires", str(SOON), "--to", str(LATER), "--plan"]
    for _ in range(2):
        assert typed(*plan) == 0
    capsys.readouterr()
    runs = offered(capsys, "undo", *words, "--run", "")
    assert sorted(runs) == runs[::-1]
    assert offered(capsys, "undo", *words, "")[: len(runs)] == runs
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", url(instance.address))
    assert offered(capsys, "rotate", "--resume", "") == runs


@pytest.fixture
def named(instance: Instance) -> Instance:
    """A GitLab with some names."""
    with make_engine(instance.address).begin() as connection:
        for name, user_type in (("erika", 0), ("inventory", 13), ("invoices", 13), ("project_7_bot_1", 6)):
            make_user(connection, username=name, user_type=user_type)
        make_project(connection, path="deploy", namespace_id=make_group(connection, path="tools"))
    return instance


def test_names_are_those_of_the_target_that_begin_as_typed(
    capsys: pytest.CaptureFixture[str], named: Instance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", url(named.address))
    found = offered(capsys, "extend", "--user", "")
    assert {"erika", "inventory", "invoices"} <= set(found)
    assert not any("bot" in one or not one.isprintable() for one in found)
    assert offered(capsys, "extend", "--user", "erika,inv") == ["erika,inventory", "erika,invoices"]
    assert offered(capsys, "rotate", "--service-account", "") == ["inventory", "invoices"]
    assert offered(capsys, "rotate", "--new-owner", "") == ["inventory", "invoices"]
    assert offered(capsys, "list", "--group=too") == ["--group=tools"]
    assert offered(capsys, "remove", "--project", "tools/") == ["tools/deploy"]
    named.execute("DROP TABLE routes CASCADE")
    assert offered(capsys, "remove", "--project", "tools/") == []


def test_where_runs_and_names_cannot_be_had_nothing_is_offered(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    for target in ("docker:gitlab", "demo", "postgresql://u@127.0.0.1:1/x", "nonsense"):
        assert offered(capsys, "undo", "-t", target, "--run", "") == []
        assert offered(capsys, "list", "-t", target, "--user", "") == []
    assert offered(capsys, "undo", "--run", "") == []


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": f"{BINARIES}:{os.environ['PATH']}", "INVOKE_TOKENS_ROOT": str(home)}


@pytest.mark.parametrize("shell", ["bash", *slow_ones("zsh")])
def test_tab_completes_in_a_shell(shell: str, environment: dict[str, str], home: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    with Program(QUIET[shell], env={**environment, "PS1": "$ "}, size=(50, 100)) as program:
        program.send(f"cd {home}; {SWITCHED_ON[shell]}; echo rea''dy\r")
        # Before its prompt a shell throws away what was typed, as it takes the terminal over.
        program.wait_for(lambda: "\nready" in program.text and program.lines[-1] == "$")
        for before, after in LINES:
            program.send(f"gitlab-tokens {before}\t")
            program.wait_for(f"gitlab-tokens {after}")
            program.press(CLEAR)
            program.wait_for(lambda: program.lines[-1] == "$")


@pytest.mark.slow
def test_fish_offers_the_same(environment: dict[str, str], home: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    asked = "; ".join(f"complete -C 'gitlab-tokens {before}'" for before, _ in LINES)
    done = subprocess.run(
        [*QUIET["fish"], "-c", f"{SWITCHED_ON['fish']}; {asked}"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [last_word(after) for _, after in LINES]


@pytest.mark.parametrize("shell", ["bash", *slow_ones("zsh", "fish")])
def test_tab_completes_names_from_the_database_in_a_shell(
    shell: str, environment: dict[str, str], named: Instance, home: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    variables = {**environment, "INVOKE_TOKENS_TARGET": url(named.address), "PS1": "$ "}
    lines = (("extend --user eri", "erika"), ("list --group too", "tools"), ("remove --project tools/", "tools/deploy"))
    if shell == "fish":
        asked = "; ".join(f"complete -C 'gitlab-tokens {before}'" for before, _ in lines)
        words = [*QUIET[shell], "-c", f"{SWITCHED_ON[shell]}; {asked}"]
        done = subprocess.run(words, cwd=home, env=variables, capture_output=True, text=True, check=False)
        assert (done.stdout.splitlines(), done.stderr) == ([after for _, after in lines], "")
        return
    with Program(QUIET[shell], env=variables, size=(50, 100)) as program:
        program.send(f"cd {home}; {SWITCHED_ON[shell]}; echo rea''dy\r")
        program.wait_for(lambda: "\nready" in program.text and program.lines[-1] == "$")
        for before, after in lines:
            program.send(f"gitlab-tokens {before}\t")
            program.wait_for(f"gitlab-tokens {before.rpartition(' ')[0]} {after}")
            program.press(CLEAR)
            program.wait_for(lambda: program.lines[-1] == "$")


def last_word(line: str) -> str:
    return line.rpartition(" ")[2]


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--print-completion-script", "tcsh") == 2
    assert capsys.readouterr().err.startswith("--print-completion-script takes bash, zsh or fish")


def test_help_says_how_to_switch_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("help", "completion") == 0
    page = capsys.readouterr().out
    assert SWITCHED_ON["bash"] in page
    assert SWITCHED_ON["zsh"].partition("; ")[2] in page
    assert SWITCHED_ON["fish"] in page

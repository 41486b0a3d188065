"""What to type next: a command line that can be pasted, as the program was called."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.testbed.addresses import url
from tests.testbed.instance import EXTEND, Instance
from tests.testbed.program import BINARIES, CHECKOUT, GITLAB_TOKENS, INV
from tokens.call import ARROW, VARIABLE, Call, one_message, to_type, under_way


def said(*words: str, **variables: str) -> str:
    """What a call complains about."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")} | variables
    done = subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    return done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([GITLAB_TOKENS, "apply"], "gitlab-tokens history"),
        ([GITLAB_TOKENS, "tokens.apply"], "gitlab-tokens history"),
        ([INV, "tokens.apply"], "inv tokens.history"),
    ],
)
def test_the_program_is_named_as_it_was_called(words: list[str], line: str) -> None:
    assert said(*words, "--yes", PATH=f"{BINARIES}:/usr/bin:/bin").endswith(f"{ARROW}to see the runs: {line}\n")
    by_path = str(BINARIES / line)
    assert said(*words, "--yes", PATH="/usr/bin:/bin").endswith(f"{ARROW}to see the runs: {by_path}\n")


def test_a_target_that_was_given_is_repeated_and_one_with_a_password_never() -> None:
    words = (GITLAB_TOKENS, "apply", "--yes", "--target")
    assert said(*words, "docker:git lab").count("--target") == 0  # it is no target, and might hold a password
    assert said(*words, "source:/srv/git lab").endswith(" history --target 'source:/srv/git lab'\n")
    secret = said(*words, "postgresql://gitlab:s3cr3t@db/gitlab")
    assert "s3cr3t" not in secret
    assert "to see the runs, with the --target of before: " in secret
    assert secret.endswith("gitlab-tokens history\n")


def test_what_has_to_be_given_as_before_is_named_in_one_clause() -> None:
    with under_way(Call(withheld=True)):
        assert to_type("to go on, with the same --standby", "apply").startswith(
            f"{ARROW}to go on, with the same --standby and the --target of before: "
        )


@pytest.mark.slow
def test_what_is_printed_can_be_pasted_into_a_shell(instance: Instance) -> None:
    done = subprocess.run(instance.command(*EXTEND, "--yes"), cwd=CHECKOUT, capture_output=True, text=True, check=True)
    line = done.stdout.rpartition(": ")[2].strip()
    assert shlex.split(line)[1:] == ["undo", "--target", url(instance.address), "--run", "1"]
    before = instance.counts()
    subprocess.run(["bash", "-c", f"{line} --yes"], cwd=CHECKOUT, capture_output=True, check=True)
    assert instance.counts() != before


def test_in_a_container_it_is_the_call_outside_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = Call(
        "inv tokens.",
        "docker:gitlab",
        place="docker:gitlab",
        files={"ids": "leaked tokens"},
        repeated=("--jobs", "2"),
        unrepeated=("--standby",),
    )
    monkeypatch.setenv(VARIABLE, outside.as_text())
    assert Call.of_environment() == outside
    with under_way(outside):
        assert (
            to_type("to go on", "apply", "--run", 3) == " → to go on: inv tokens.apply --target docker:gitlab --run 3"
        )
    for nonsense in (
        "",
        "{}x",
        "[]",
        '{"program": 1}',
        '{"program": "x", "other": 1}',
        '{"files": []}',
        '{"files": {"ids": 1}}',
        '{"repeated": 1}',
        '{"unrepeated": [1]}',
    ):
        monkeypatch.setenv(VARIABLE, nonsense)
        assert Call.of_environment() is None


def test_a_path_with_blanks_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "my tools"
    folder.mkdir()
    (folder / "gitlab-tokens").symlink_to(GITLAB_TOKENS)
    done = said(str(folder / "gitlab-tokens"), "apply", "--yes", PATH="/usr/bin:/bin")
    assert done.endswith(f": {shlex.quote(str(folder / 'gitlab-tokens'))} history\n")


def test_what_to_type_stands_behind_all_sentences_once() -> None:
    see, go_on = to_type("to see it", "history"), to_type("to go on", "rotate", "--resume", 1)
    assert one_message(f"It failed.{see}", "", "One was done.", f"None is left.{see}{go_on}") == (
        "It failed. One was done. None is left."
        f"{ARROW}to see it: gitlab-tokens history{ARROW}to go on: gitlab-tokens rotate --resume 1"
    )

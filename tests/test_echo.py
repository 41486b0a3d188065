"""A token that somebody has typed into an option by mistake: whatever the task, it is not repeated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed.instance import LATER, SOON, Instance
from tokens.cli.declaration import Task
from tokens.namespace import ns

BODY = "al1ces0ldt0ken_al1ce5"
TYPED = f"glpat-{BODY}"
TASKS = {
    "analyze": (),
    "breakdown": (),
    "check": (),
    "evidence": (),
    "extend": ("--expires", str(SOON), "--to", str(LATER), "--dry-run"),
    "forecast": (),
    "history": (),
    "list": (),
    "remove": ("--expires", str(SOON), "--dry-run"),
    "revoke": ("--expires", str(SOON), "--dry-run"),
    "rotate": ("--within", "60d", "--kind", "personal", "--no-verify", "--dry-run"),
    "simulate": (),
    "used": (),
    "whose": (),
}


def calls() -> Iterator[tuple[str, ...]]:
    """Each task that reads or plans, with a token as the value of each of its options, as a path and in a command."""
    for name, words in TASKS.items():
        task = ns[name]
        assert isinstance(task, Task)
        for option in task.options:
            if option.value is not None:
                yield (name, *words, option.typed.partition("=")[0], TYPED)
    for value in (f"file:{TYPED}-{{token_id}}", f"command:cat # {TYPED}"):
        yield ("rotate", *TASKS["rotate"], "--deliver", value, "--after", f"echo {TYPED}")
    yield ("rotate", *TASKS["rotate"][:-2], "--verify", f"https://x:{TYPED}@localhost", "--dry-run")


def test_a_token_in_the_value_of_any_option_is_not_repeated(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / TYPED).write_text("")
    repeated = []
    for words in calls():
        for output in ("text", "json") if words[0] == "rotate" else ("json",):
            done = instance.run(*words, *(() if "--output" in words else ("--output", output)))
            if BODY in done.stdout + done.stderr:
                repeated.append((*words, output))
    assert repeated == []

"""README and the other pages: short, in plain sentences, and true."""

import ast
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import mean

import grimp
import pytest

from tests.testbed.pages import CHECKOUT, PAGES, README, Screen, cells, screens, sentences
from tests.testbed.program import GITLAB_TOKENS, call
from tokens.namespace import ns
from tokens.terminal.console import PATIENCE_VARIABLE

DAY_OF_README = date(2026, 11, 28)
"""The day on which README's screens of the demo were taken."""

LATER = datetime.now(UTC).date() - DAY_OF_README

names = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))


def test_readme_is_a_front_door() -> None:
    assert len(README.read_text().splitlines()) <= 170


@names
def test_sentences_are_short(page: Path) -> None:
    lengths = [len(sentence.split()) for sentence in sentences(page)]
    assert not [sentence for sentence in sentences(page) + cells(page) if len(sentence.split()) > 30]
    assert mean(lengths) <= 16


@names
def test_what_a_page_links_to_or_names_is_there(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for name in re.findall(r"`((?:tokens|tests|deploy|migrations|\.gitlab|\.ci)/[\w./-]*)`", text):
        assert (CHECKOUT / name).exists(), name


def test_readme_has_no_link_that_is_dead_where_the_package_is_shown() -> None:
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", README.read_text()))


def test_readmes_table_has_every_task() -> None:
    (table,) = re.findall(r"^\| task \| .*?\n\n", README.read_text(), re.M | re.S)
    listed = set()
    for row in table.splitlines()[2:]:
        group = ""
        for name in re.findall(r"`([\w.-]+)`", row.split(" | ")[0]):
            group = name.rpartition(".")[0] or group
            listed.add(name if "." in name or not group else f"{group}.{name}")
    assert listed == {name for name in ns.task_names if not name.startswith(("gitlab:", "rotate-inside"))}


def test_the_continuous_integration_finds_readmes_commands_by_their_headings() -> None:
    run = (CHECKOUT / ".ci/run").read_text()
    (function,) = re.findall(r"^readme\(\) \{\n.*?^\}\n", run, re.M | re.S)

    def block(heading: str) -> "subprocess.CompletedProcess[str]":
        return call("bash", "-c", f'{function}readme "$1"', "bash", heading)

    for heading in re.findall(r"\$\(readme \"(.*)\"\)", run):
        assert block(heading).returncode == 0, heading
    assert block("Try it").stdout.endswith("inv tokens.analyze --target demo\n")
    assert ".venv/bin/pytest -n 3 -m" in block("Run its tests").stdout
    assert block("No such heading").returncode != 0


@pytest.fixture
def demo(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which the demo is one of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")}
    environment |= {"INVOKE_TOKENS_DEMO_DIRECTORY": str(folder / "demo"), "COLUMNS": "80", PATIENCE_VARIABLE: "600"}
    environment["PATH"] = f"{Path(GITLAB_TOKENS).parent}{os.pathsep}{environment['PATH']}"  # hints are short then
    yield environment
    subprocess.run([GITLAB_TOKENS, "demo.stop"], env=environment, check=True, capture_output=True)


@pytest.mark.slow
def test_readmes_screens_are_what_the_demo_shows(demo: dict[str, str], tmp_path: Path) -> None:
    shown = [screen for screen in screens(README) if "--target demo" in screen.command]
    assert len(shown) >= 5
    subprocess.run([GITLAB_TOKENS, "demo.start"], env=demo, check=True, capture_output=True)
    for screen in shown:
        program, *words = shlex.split(moved(screen.command, LATER))
        assert program == "gitlab-tokens"
        done = subprocess.run([GITLAB_TOKENS, *words], env=demo, cwd=tmp_path, capture_output=True, text=True)
        found = re.sub(r"\d\d:\d\d \|", "08:53 |", moved(done.stdout, -LATER))
        assert done.returncode == 0, (screen.command, done.stderr)
        assert Screen(screen.command, screen.shown).matches(found), f"{screen.command}\n{found}"


def moved(text: str, by: timedelta) -> str:
    """With the days from 2026 on moved: what the demo has around today, and what is said of it."""
    return re.sub(r"\b20(2[6-9]|3\d)-\d\d-\d\d\b", lambda day: str(date.fromisoformat(day[0]) + by), text)


def test_the_tree_of_the_house_has_every_folder_and_every_file_and_none_that_is_gone() -> None:
    (tree,) = re.findall(r"^```\n(tasks\.py.*?)^```$", (CHECKOUT / "tokens/README.md").read_text(), re.M | re.S)
    package = CHECKOUT / "tokens"
    folders = {path.name for path in package.rglob("*") if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(re.findall(r"^\s*(\w+)/ ", tree, re.M))
    files = {path.name for path in package.rglob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\b\w+\.py\b", tree)) == {*files, "tasks.py"}


def test_no_modules_import_each_other_in_a_circle_not_even_when_a_function_is_called() -> None:
    house = grimp.build_graph("tokens", cache_dir=None)
    TopologicalSorter({room: house.find_modules_directly_imported_by(room) for room in house.modules}).prepare()


def test_hooks_are_commands_of_the_continuous_integration() -> None:
    run = [line.strip() for line in (CHECKOUT / ".ci/run").read_text().splitlines()]
    hooks = re.findall(r"^ +entry: (.*)$", (CHECKOUT / ".pre-commit-config.yaml").read_text(), re.M)
    assert len(hooks) == 4
    assert set(hooks) <= set(run)


FORBIDDEN = re.compile(
    r"\b(anew|meanwhile|so many|whoever|wholly|hangs? on|(?:is|are|be|been|was|were) told|say --\w|gives? up"
    r"|go(?:es)? on as|nobody's|carr(?:y|ies|ied) (?:along|in))\b|\w\(s\)",
    re.IGNORECASE,
)
"""Words of the list in .gitlab/CONTRIBUTING.md for which there is a plainer one, as far as a pattern can find them."""

OF_THE_ORIGINAL = "WARNING: This will now update 1 token(s). Are you sure?"


@names
def test_no_page_has_a_word_that_a_plainer_one_could_stand_for(page: Path) -> None:
    rows = re.compile(r"^\| [^|]+ \| [^|]+ \|$", re.M)  # the list itself
    text = rows.sub("", page.read_text()) if page.name == "CONTRIBUTING.md" else page.read_text()
    assert not FORBIDDEN.findall(text)


def test_no_message_and_no_docstring_has_such_a_word_either() -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}:{one.lineno}: {one.value}"
        for path in sorted((CHECKOUT / "tokens").rglob("*.py"))
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and " " in one.value
        if FORBIDDEN.search(one.value) and one.value not in OF_THE_ORIGINAL
    ]
    assert not found


@pytest.mark.parametrize("name", sorted(name for name in ns.task_names if not name.startswith("gitlab:")))
def test_no_manual_of_a_task_has_such_a_word(name: str) -> None:
    task = ns[name]
    assert not FORBIDDEN.findall(" ".join([task.__doc__ or "", *(option.text for option in task.options)]))

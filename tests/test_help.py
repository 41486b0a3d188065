"""What `gitlab-tokens` says about itself and of a command line that it does not understand, in this very process."""

import shlex
from collections.abc import Iterator

import pytest

from tests.testbed.commands import typed
from tokens.cli.declaration import Family, groups_in, tasks_in
from tokens.cli.option import ANYTHING
from tokens.help.catalogue import Catalogue
from tokens.help.page import blocks_of
from tokens.namespace import ns

CATALOGUE = Catalogue("gitlab-tokens", tasks_in(ns), groups_in(ns))
SHORT = {"target": "t", "yes": "y", "dry_run": "n", "output": "o"}


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def examples() -> Iterator[tuple[str, str]]:
    """Every command in a task's manual, with the task's name."""
    for name, task in CATALOGUE.tasks.items():
        *_, heading, commands = ["", *blocks_of(task)]
        if heading in ("Example:", "Examples:"):
            for command in commands.replace("\\\n", "").splitlines():
                yield name, command.strip()


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a call that must succeed prints."""
    status = typed(*words)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line in which a wrong call ends."""
    status = typed(*words)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    return err.rstrip("\n")


def test_the_front_page_has_every_task_in_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys)
    assert all(f"\n  {name} " in page for name in CATALOGUE.tasks)
    assert [line[:-1] for line in page.splitlines() if line[:-1] in [family.value for family in Family]] == [
        family.value for family in Family
    ]
    assert "gitlab-tokens help options" in page
    for words in (["help"], ["--help"], ["-h"]):
        assert printed(capsys, *words) == page


def test_a_group_lists_its_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "journal")
    assert "\n  journal.prune " in page
    assert "analyze" not in page
    for words in (["journal", "--help"], ["journal", "-h"], ["journal", "help"], ["help", "journal"]):
        assert printed(capsys, *words) == page
    assert printed(capsys, "help", "journal", "prune") == printed(capsys, "help", "journal.prune")


def test_a_task_is_explained_whichever_way_somebody_asks(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "help", "edit")
    for words in (["edit", "--help"], ["edit", "-h"], ["--help", "edit"], ["-h", "edit"], ["edit", "help"]):
        assert printed(capsys, *words) == page
    assert printed(capsys, "help", "gitlab:tokens:edit") == page
    assert printed(capsys, "help", "tokens.edit") == page
    assert "Ctrl-C stops after the transaction under way." in page  # the manual, whole
    headings = ("\nWhat happens:", "\nHow carefully:", "\nWhere:")
    assert [page.index(one) for one in headings[1:]] == sorted(page.index(one) for one in headings[1:])


def test_help_shows_a_value_after_every_option_that_takes_one(capsys: pytest.CaptureFixture[str]) -> None:
    for name, task in CATALOGUE.tasks.items():
        page = printed(capsys, "help", name)
        for option in task.options:
            assert f" {option.typed}" in page, (name, option)
            if option.takes_value:
                assert option.typed != option.flag
                assert option.needs is not ANYTHING, (name, option.name)
                assert option.needs.example in option.help, (name, option.name)


def test_help_fits_a_terminal_of_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["help", "options"], *(["help", name] for name in (*CATALOGUE.tasks, *CATALOGUE.groups))):
        assert [line for line in printed(capsys, *words).splitlines() if len(line) > 80] == [], words


def test_help_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    page = printed(capsys)
    assert max(map(len, page.partition("Examples:")[0].splitlines())) <= 60


def test_every_task_has_an_example_of_its_own_that_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, _ in examples()} == set(CATALOGUE.tasks)
    for name, command in examples():
        program, *words = shlex.split(command)
        assert program == "gitlab-tokens"
        assert words[0] == name
        # `--help` at its end: everything before it is parsed, and nothing is run.
        assert printed(capsys, *words, "--help").startswith(f"Usage: gitlab-tokens {name} ")


def test_short_options_are_these_four_in_every_task() -> None:
    for name in ns.task_names:
        task = ns[name]
        for argument in task.get_arguments(ignore_unknown_help=True):
            short = {SHORT[argument.name]} if argument.name in SHORT else set()
            assert {one for one in argument.names if len(one) == 1} == short, (name, argument.name)


def test_short_options_mean_what_the_long_ones_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'No target is called "nowhere"' in said(capsys, "extend", "-yn", "-t", "nowhere", "-otext")


def test_a_number_after_a_task_about_a_run_is_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["undo", "16"], ["apply", "16"], ["undo", "-t", "nowhere", "16"], ["undo", "--yes", "16"]):
        words += [] if "nowhere" in words else ["--target", "nowhere"]
        assert 'No target is called "nowhere"' in said(capsys, *words)
    for words in (["history", "16", "-o", "xml"], ["history", "-o", "xml", "16"]):
        assert said(capsys, *words).startswith("--output takes")
    assert said(capsys, "undo", "0", "--target", "demo").startswith("--run takes the number of a run")
    assert said(capsys, "analyze", "16") == (
        'analyze does not understand "16". Each value follows its option: gitlab-tokens help analyze lists the options.'
    )


def test_the_version_is_told_to_whoever_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("version", "-v", "-V", "--version"):
        assert printed(capsys, word) == "gitlab-tokens 0\n"

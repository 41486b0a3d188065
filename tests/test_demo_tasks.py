"""The demo as somebody uses it from the command line."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.testbed.commands import typed
from tests.testbed.screen import Program
from tokens.commands.options.days import coming_friday
from tokens.targets import demo
from tokens.tasks.demo import TOKENS_OF_DEMO

INV = str(Path(sys.executable).with_name("inv"))
GITLAB_TOKENS = str(Path(sys.executable).with_name("gitlab-tokens"))
CHECKOUT = Path(__file__).parent.parent

DOCUMENTED = """\
======= Personal/Project/Group Access Token Expiration Migration =======
Started at: 2023-06-15 10:20:35 +0000
Finished  : 2023-06-15 10:23:01 +0000
===== Top 10 Personal/Project/Group Access Token Expiration Dates =====
| Expiration Date | Count |
|-----------------|-------|
| 2024-06-15      | 15653 |
| 2017-12-31      | 2508  |
| 2018-01-01      | 1008  |
| 2016-12-31      | 833   |
| 2017-08-31      | 705   |
| 2017-06-30      | 596   |
| 2018-12-31      | 548   |
| 2017-05-31      | 523   |
| 2017-09-30      | 520   |
| 2017-07-31      | 494   |
========================================================================
"""


@pytest.fixture
def environment(folder: Path) -> Iterator[dict[str, str]]:
    environment = {**os.environ, "INVOKE_TOKENS_DEMO_DIRECTORY": str(folder / "demo")}
    yield environment
    subprocess.run([INV, "tokens.demo.stop"], env=environment, cwd=CHECKOUT, check=True, capture_output=True)


@pytest.mark.slow
def test_the_demo_from_nothing_to_the_documented_table_and_back(environment: dict[str, str]) -> None:
    def inv(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([INV, *words], env=environment, cwd=CHECKOUT, check=False, capture_output=True, text=True)

    assert "not installed" in inv("tokens.demo.status").stdout
    assert inv("tokens.demo.stop").stdout == "The demo was not running.\n"

    first = inv("tokens.analyze", "--target", "demo")
    assert (first.returncode, first.stdout) == (0, DOCUMENTED)
    assert "Installing PostgreSQL" in first.stderr
    assert "Adding" in first.stderr

    second = inv("tokens.analyze", "--target", "demo")
    assert (second.stdout, second.stderr) == (DOCUMENTED, "")
    assert "15,653 that expire on 2024-06-15" in inv("tokens.demo.status").stdout
    assert inv("tokens.demo.start").returncode == 0

    other = inv("tokens.demo.start", "--tokens", "20", "--expires", "friday")
    assert other.returncode == 2
    friday = coming_friday(datetime.now(UTC).date())
    assert "15,653 tokens that expire on 2024-06-15. → to make a new one: " in other.stderr
    assert other.stderr.endswith(f"inv tokens.demo.reset --tokens 20 --expires {friday}\n")

    assert inv("tokens.demo.reset", "--tokens", "2000").returncode == 0
    assert "| 2024-06-15      | 2000  |" in inv("tokens.analyze", "--target", "demo").stdout
    assert inv("tokens.demo.stop").stdout == "The demo is stopped.\n"
    assert "stopped" in inv("tokens.demo.status").stdout
    assert "| 2024-06-15      | 2000  |" in inv("tokens.analyze", "--target", "demo").stdout

    folder = environment["INVOKE_TOKENS_DEMO_DIRECTORY"]
    unanswered = inv("tokens.demo.remove")
    assert (unanswered.returncode, unanswered.stdout) == (2, "")
    assert "use --yes" in unanswered.stderr
    assert "running" in inv("tokens.demo.status").stdout
    removed = inv("tokens.demo.remove", "--yes")
    assert re.fullmatch(rf"The demo is removed with its folder {folder}, \d+ MB\.\n", removed.stdout)
    assert not os.path.exists(folder)
    assert inv("tokens.demo.remove", "--yes").stdout == f"There is no demo in {folder}.\n"


def test_the_demo_is_removed_when_somebody_agrees_and_what_is_not_its_own_stays(environment: dict[str, str]) -> None:
    folder = Path(environment["INVOKE_TOKENS_DEMO_DIRECTORY"])
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("18\n")
    (folder / "lock").touch()
    (folder / "note").write_text("mine")
    command = [GITLAB_TOKENS, "demo.remove"]
    with Program(command, size=(12, 200), env=environment) as program:
        program.wait_for(f"WARNING: The demo in {folder} will be deleted, and with it every change made in it.")
        program.press("enter")
        assert program.wait() == 0
        assert "Aborting!" in program.text
    assert (folder / "data").exists()
    with Program(command, size=(12, 200), env=environment) as program:
        program.wait_for("Are you sure? (y/N)")
        program.press("y", "enter")
        assert program.wait() == 0
        assert f"The demo is removed, 0 MB. {folder} stays, since it holds something else." in program.text
    assert [path.name for path in folder.iterdir()] == ["note"]


@pytest.mark.parametrize(("today", "days"), [(23, 4), (26, 1), (27, 7), (28, 6)])
def test_friday_is_the_coming_one(today: int, days: int) -> None:
    day = date(2026, 11, today)
    assert coming_friday(day) == day + timedelta(days)
    assert coming_friday(day).strftime("%a") == "Fri"


@pytest.mark.parametrize("given", ["2027-02-30", "soon", "2024-06-15", "0d"])
def test_a_date_that_is_none_or_not_to_come_is_refused(given: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert typed("demo.start", "--expires", given) == 2
    assert f'--expires takes friday, or a day within the coming year such as +14d, not "{given}".' in (
        capfd.readouterr().err
    )


def test_the_help_says_how_large_the_demo_is() -> None:
    assert f"Default: {demo.TOKENS}; as documented by GitLab: 1565353." in TOKENS_OF_DEMO.options[0].help

"""The man page is what the program says of itself, and every reader of man pages takes it."""

import shutil
import subprocess

import pytest

from tokens.help import reference
from tokens.help.manual import PLACE, manual
from tokens.namespace import ns
from tokens.tasks.configuration import DEFAULTS


def test_the_man_page_is_current() -> None:
    assert PLACE.read_text() == manual(), "write it anew: python -m tokens.help.manual"


def test_every_task_and_option_is_in_the_man_page() -> None:
    page = manual().replace("\\-", "-")
    for name in ns.task_names:
        assert f"\n.SS {name}\n" in page
        assert all(option.typed in page for option in ns[name].options)


def test_every_key_of_the_configuration_is_in_the_man_page() -> None:
    keys = {
        f"{name}.{key}" if key else name
        for name, default in DEFAULTS.items()
        for key in (default if isinstance(default, dict) and default else [""])
    }
    assert set(reference.KEYS) == keys


@pytest.mark.parametrize(
    "command", [["mandoc", "-Tlint", "-Wwarning"], ["groff", "-man", "-ww", "-Tutf8"]], ids=["mandoc", "groff"]
)
def test_the_man_page_has_no_fault(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run([*command, PLACE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert command[0] == "groff" or done.stdout == ""

"""The man page is what the program says of itself, and every reader of man pages takes it."""

import shutil
import subprocess
from dataclasses import fields

import pytest

from tokens.cli.configuration import KEYS, Configuration
from tokens.help.manual import PLACE, manual
from tokens.namespace import ns


def test_the_man_page_is_current() -> None:
    assert PLACE.read_text() == manual(), "write it anew: python -m tokens.help.manual"


def test_every_task_and_option_is_in_the_man_page() -> None:
    page = manual().replace("\\-", "-")
    for name in ns.task_names:
        assert f"\n.SS {name}\n" in page
        assert all(option.typed in page for option in ns[name].options)


def test_every_key_of_the_configuration_is_in_the_man_page() -> None:
    page = manual().replace("\\-", "-")
    assert {key.name.replace(".", "_") for key in KEYS} == {field.name for field in fields(Configuration)}
    assert all(f"\n.B tokens.{key.name}\n" in page for key in KEYS)


@pytest.mark.parametrize(
    "command", [["mandoc", "-Tlint", "-Wwarning"], ["groff", "-man", "-ww", "-Tutf8"]], ids=["mandoc", "groff"]
)
def test_the_man_page_has_no_fault(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run([*command, PLACE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert command[0] == "groff" or done.stdout == ""

"""Who carries a change out, and whether a process that once did is still there."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens import origin
from tokens.commands.travel import caller
from tokens.origin import CALLER_VARIABLE, LONGEST, Origin, described, is_dead, person

CHILD = "import sys; from tokens import origin; print(origin.here().process, flush=True); sys.stdin.read()"


@contextmanager
def child_here() -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process that waits to be ended, and how an origin names it."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        yield child, child.stdout.readline().strip()


def test_a_process_of_this_machine_is_known_to_live_and_once_it_is_killed_to_be_dead() -> None:
    with child_here() as (child, process):
        assert not is_dead(process)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(process)  # though its parent has not asked after it yet
        child.wait()
        assert is_dead(process)


def test_a_number_that_came_again_is_another_process() -> None:
    *kernel, number, beginning = origin.here().process.split()
    assert not is_dead(" ".join([*kernel, number, beginning]))
    assert is_dead(" ".join([*kernel, number, str(int(beginning) + 1)]))


def test_a_process_of_another_machine_or_container_or_of_none_cannot_be_told_to_be_dead() -> None:
    boot, namespace, number, beginning = origin.here().process.split()
    for process in (
        f"other-{boot} {namespace} {number} {beginning}1",
        f"{boot} {namespace}1 {number} {beginning}1",
        f"{boot} {namespace} {10**30} {beginning}",
        f"{boot} {namespace} x {beginning}",
        f"{boot} {namespace}",
        "",
    ):
        assert not is_dead(process)


def test_a_process_that_ends_while_it_is_looked_at_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    really = origin._beginning
    with child_here() as (child, process):

        def just_ended(number: int) -> str:
            child.kill()
            child.wait()
            return really(number)

        monkeypatch.setattr(origin, "_beginning", just_ended)
        assert is_dead(process)


def test_a_process_that_proc_hides_cannot_be_told_to_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    process = origin.here().process

    def hidden(number: int) -> str:  # as hidepid=2 has it, which takes a mount of its own
        raise FileNotFoundError(f"/proc/{number}/stat")

    monkeypatch.setattr(origin, "_beginning", hidden)
    assert not is_dead(process)


@given(st.text())
def test_no_text_in_the_journal_breaks_the_question_whether_a_process_is_dead(text: str) -> None:
    boot, namespace, *_ = origin.here().process.split()
    assert not is_dead(text)
    is_dead(f"{boot} {namespace} {text}")


def test_what_others_have_written_is_short_and_text_that_a_database_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    monkeypatch.setitem(os.environb, CALLER_VARIABLE.encode(), b"eve\xff" + b"x" * 1000)
    here = origin.here()
    assert here.sudo_user == "ada"
    assert here.caller == ("eve?" + "x" * 1000)[:LONGEST]
    monkeypatch.setenv("SUDO_USER", "")
    monkeypatch.delenv(CALLER_VARIABLE)
    here = origin.here()
    assert (here.sudo_user, here.caller) == (None, None)
    assert set(here.as_dict()) <= {"user", "host", "container"}


@pytest.mark.parametrize("account", ["ada", "ada@corp.example.com", "s\u00f8ren", "CORP\\\u7530\u4e2d", "caf\udce9"])
def test_one_account_is_one_person_there_and_from_outside(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    monkeypatch.setenv("SUDO_USER", account)
    there, outside = origin.here(), caller()
    assert there.sudo_user
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv(origin.CALLER_VARIABLE, f"{outside} (context admin@prod)")
    assert person(origin.here().as_dict()) == person(there.as_dict()) == there.sudo_user


def test_a_system_without_linuxs_proc_has_an_origin_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("/proc")

    monkeypatch.setattr(origin, "_kernel", none)
    assert origin.here().process == ""
    assert not is_dead("")


def test_an_origin_reads_as_one_line() -> None:
    assert str(Origin("root", "ada", "db1", None, "ada@desk", "x")).endswith(", called by ada@desk")
    assert described({}) == "somebody on None"

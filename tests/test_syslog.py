"""A line in syslog for each run, with who did it and how many tokens, and the chain that proves it."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from tests.testbed.instance import EXTEND, LATER, SOON, Instance
from tests.testbed.program import GITLAB_TOKENS
from tests.testbed.screen import Program
from tests.testbed.syslog import VARIABLE, Log
from tokens import origin
from tokens.errors import ExitStatus


def line_of(instance: Instance, run: int) -> str:
    return str(instance.value("SELECT encode(chain, 'hex') FROM token_tasks.runs WHERE id = :run", run=run))


def test_each_run_has_a_line_whatever_it_does(instance: Instance, syslog: Log) -> None:
    who = str(origin.here())
    assert instance.run(*EXTEND, "--yes", "--reason", "secret", env=syslog.env).returncode == 0
    assert syslog.line() == (
        f'<85>gitlab-tokens[{os.getpid()}]: run=1 kind=extend state=done planned_by="{who}" '
        f'carried_out_by="{who}" tokens=60 changed=60 changed_meanwhile=0 locked=0 chain={line_of(instance, 1)}'
    )
    assert instance.run("undo", "--run", 1, "--yes", env=syslog.env).returncode == 0
    assert "run=2 kind=undo undoes=1 state=done " in syslog.line()
    assert instance.run("remove", "--expires", SOON, "--plan", env=syslog.env).returncode == 0
    assert syslog.is_empty
    assert instance.run("apply", "--run", 3, "--yes", env=syslog.env).returncode == 0
    assert "run=3 kind=remove state=done " in syslog.line()
    assert instance.run("revoke", "--expires", "none", "--yes", env=syslog.env).returncode == 0
    assert "run=4 kind=revoke state=done " in syslog.line()


def test_a_run_that_ends_otherwise_has_one_too(instance: Instance, syslog: Log) -> None:
    instance.execute(f"ALTER TABLE public.personal_access_tokens ADD CONSTRAINT never CHECK (expires_at <> '{LATER}')")
    done = instance.run(*EXTEND, "--yes", env=syslog.env)
    assert done.returncode == ExitStatus.FAILED, done
    assert "run=1 kind=extend state=stopped " in syslog.line()


def test_a_plan_that_is_withdrawn_has_one_with_who_withdrew_it(instance: Instance, syslog: Log) -> None:
    instance.done(*EXTEND, "--plan")
    instance.done("withdraw", "--run", 1, "--yes", env={**syslog.env, "SUDO_USER": "max"})
    line = syslog.line()
    assert "run=1 kind=extend state=withdrawn planned_by=" in line
    assert ' withdrawn_by="max (sudo, as ' in line
    assert line.endswith(f" tokens=60 changed=0 changed_meanwhile=0 locked=0 chain={line_of(instance, 1)}")


def test_it_can_be_switched_off_and_no_run_fails_without_it(instance: Instance, syslog: Log, tmp_path: Path) -> None:
    assert instance.run(*EXTEND, "--yes", env={VARIABLE: "false"}).returncode == 0
    none = tmp_path / "none"
    done = instance.run("undo", "--run", 1, "--yes", env={VARIABLE: str(none)})
    said = f"NOTE: {none} (tokens.syslog) has no line about this: No such file or directory.\n"
    assert (done.returncode, done.stderr.count(said)) == (0, 1)
    assert syslog.is_empty
    syslog.close()
    done = instance.run(*EXTEND, "--yes", env=syslog.env)
    assert (done.returncode, done.stderr.count("(tokens.syslog) has no line about this: ")) == (0, 1)
    refused = instance.refusal(*EXTEND, "--yes", env={VARIABLE: "names"}, status=ExitStatus.USAGE)
    assert refused == "tokens.syslog in Invoke's configuration must be true, false or the path of a socket."


@pytest.mark.parametrize(("value", "named"), [("/dev/log", True), ("true", False), ("", False)])
def test_the_usual_socket_is_missed_where_somebody_has_named_it(instance: Instance, value: str, named: bool) -> None:
    done = instance.run(*EXTEND, "--yes", env={VARIABLE: value})
    missed = named and not Path("/dev/log").exists()
    said = "NOTE: /dev/log (tokens.syslog) has no line about this: No such file or directory.\n"
    assert (done.returncode, done.stderr.count(said)) == (0, missed)


def test_names_are_in_it_where_somebody_wants_them(instance: Instance, syslog: Log) -> None:
    hostile = 'a" chain=0\n\x1b[31mß'
    instance.execute("UPDATE personal_access_tokens SET name = :name WHERE id = 1", name=hostile)
    owner = instance.value(
        "SELECT username FROM users u JOIN personal_access_tokens t ON t.user_id = u.id WHERE t.id = 1"
    )
    wanted = {**syslog.env, "INVOKE_TOKENS_SYSLOG_NAMES": "true"}
    assert instance.run(*EXTEND, "--yes", env=wanted).returncode == 0
    text, _, names = syslog.line().partition(" names=")
    assert text.endswith(f"chain={line_of(instance, 1)}")
    first, *others = json.loads(names)
    assert (first, len(others)) == (f"{owner}: {hostile}", 2)
    assert instance.run("undo", "--run", 1, "--yes", env=wanted).returncode == 0
    assert " names=[" in syslog.line()
    assert instance.run(*EXTEND, "--yes", "--no-names", env=wanted).returncode == 0
    assert "names=" not in syslog.line()
    # Each date has a chunk of its own, and a long name takes no line from the log.
    wide = "\U0001f600"
    instance.execute(
        "UPDATE personal_access_tokens "
        f"SET name = repeat('{wide}', 100000), expires_at = date '{SOON}' + 20 + CAST(id AS integer) WHERE id <= 5"
    )
    dates = f"{SOON + timedelta(21)}..{SOON + timedelta(25)}"
    assert instance.run("extend", "--expires", dates, "--to", LATER, "--yes", env=wanted).returncode == 0
    text, _, names = syslog.line().partition(" names=")
    assert (" tokens=5 " in text, json.loads(names)) == (True, [f"{owner}: {wide * 60}..."] * 3)
    refused = instance.refusal(*EXTEND, env={"INVOKE_TOKENS_SYSLOG_NAMES": "3"}, status=ExitStatus.USAGE)
    assert refused == "tokens.syslog_names in Invoke's configuration must be true or false."


def test_a_change_that_is_not_recorded_has_none(instance: Instance, syslog: Log) -> None:
    assert instance.run(*EXTEND, "--yes", "--no-journal", env=syslog.env).returncode == 0
    assert syslog.is_empty


def test_edit_writes_it_when_an_update_has_ended(instance: Instance, syslog: Log) -> None:
    program = Program([GITLAB_TOKENS, "edit"], env={**instance.variables, **syslog.env}, size=(50, 120))
    program.press("enter", "enter", "enter", "y", "enter")
    program.wait_for("Updated 60 tokens!")
    assert "run=1 kind=edit state=done " in syslog.line()
    program.wait_for(lambda: program.text.count("What do you want to do?") == 2)
    program.press("3", "enter")
    assert program.wait() == 0


def test_what_is_done_to_the_journal_itself_has_a_line(instance: Instance, syslog: Log) -> None:
    by = f'by="{origin.here()}"'
    instance.done(*EXTEND, "--yes")
    for words, line in (
        (("journal.four-eyes", "--on"), f"journal=four-eyes state=on {by}"),
        (("journal.four-eyes", "--on"), None),
        (("journal.four-eyes", "--off"), f"journal=four-eyes state=off {by}"),
        (("journal.prune", "--before", "2020-01-01", "--yes"), None),
        (("journal.prune", "--before", str(LATER), "--yes"), f"journal=pruned before={LATER} runs=1 {by}"),
        (("journal.uninstall", "--yes"), f"journal=uninstalled runs=0 {by}"),
        (("journal.uninstall", "--yes"), None),
    ):
        assert instance.run(*words, env=syslog.env).returncode == 0, words
        assert syslog.is_empty if line is None else syslog.line().endswith(f"]: {line}"), words

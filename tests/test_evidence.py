"""Evidence: what an auditor gets, and what proves it without this tool."""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.journal import NEW, SOMEBODY, execute, make_old_run, make_plan, make_run, writing
from tests.testbed.program import GITLAB_TOKENS
from tokens.address import Address
from tokens.change.chunks import Chunk, TokenIds
from tokens.errors import ExitStatus
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.attempts import begin
from tokens.journal.installation import RunState
from tokens.upgrade import Branch, upgrade
from tokens.views.evidence import PROGRAMS

pytestmark = pytest.mark.newest_server


def write(address: Address, file: Path, *words: str, status: int = 0) -> str:
    done = call_here(GITLAB_TOKENS, "evidence", "--file", str(file), *words, "--target", url(address))
    assert done.returncode == status, done
    return done.stdout if status == 0 else done.stderr


def check(file: Path, name: str = "check") -> tuple[int, str]:
    """What a program says that the file brings along, run by a Python that has nothing else."""
    program = [sys.executable, "-I", "-S", f"{file}.{name}.py", str(file)]
    done = subprocess.run(program, capture_output=True, text=True, env={}, cwd="/")
    assert done.stderr == ""
    return done.returncode, done.stdout


def lines(file: Path, kind: str) -> list[Any]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [one[kind] for one in found if kind in one]


def test_it_has_the_runs_and_what_proves_each_row_without_this_tool(everything: Address, tmp_path: Path) -> None:
    file = tmp_path / "evidence.ndjson"
    said = write(everything, file)
    to_check = " && ".join(f"python3 {file}.{name}.py {file}" for name in PROGRAMS)
    assert said == f"Written to {file} → to check it: {to_check}\n"
    assert (file.stat().st_mode & 0o777, Path(f"{file}.check.py").stat().st_mode & 0o777) == (0o600, 0o600)
    rows = len(lines(file, "row"))
    covered = f"Each row that the chain covers is as it was written. Rows: {rows}. Not covered: 0 runs.\n"
    assert check(file, "chain") == (0, covered)
    status, checked = check(file)
    assert status == 0, checked
    assert checked.startswith("Runs that are as they were written: 3 (")
    first, second, _ = lines(file, "run")
    assert first["planned_by"] == {"user": "root", "sudo_user": "ada", "host": "db1"}
    assert [one["by"] for one in first["carried_out_by"]] == [first["planned_by"]]
    assert (first["reason"], first["policy"]["requires_expiry"]) == ("why", True)
    assert second["moves"] == [
        {
            "old_expires_at": "2024-06-15",
            "new_expires_at": "2030-06-15",
            "tokens": 4,
            "changed": 2,
            "left_alone": 1,
            "locked": 1,
        }
    ]
    for statement in (
        "UPDATE token_tasks.chunks SET token_ids = '{1,4}' WHERE run_id = 1 AND position = 0",
        "UPDATE token_tasks.attempts SET carried_out_by = '{}' WHERE run_id = 1",
        "UPDATE token_tasks.settings SET value = 'false'",
        "DELETE FROM token_tasks.entries WHERE run_id = 2 AND number = 3",
        "DELETE FROM token_tasks.runs WHERE id = 3",
    ):
        execute(everything, statement)
        write(everything, file, "--force")
        faults = check(file)
        assert faults[0] == check(file, "chain")[0] == 1
        assert len(faults[1].splitlines()) > len(checked.splitlines()) - 1
        checked = faults[1]
    assert "Run 3: it is missing" in checked


def test_each_line_is_of_a_form_that_stays(everything: Address, tmp_path: Path) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    schema = json.loads(Path(__file__).with_name("documents.schema.json").read_text())
    validator = Draft202012Validator({"$ref": "#/$defs/evidence", "$defs": schema["$defs"]})
    for line in file.read_text().splitlines():
        validator.validate(json.loads(line))


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_byte_of_the_file_that_is_changed_is_found(everything: Address, tmp_path: Path, name: str) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    content = file.read_bytes()
    for place in range(0, len(content), 997):
        changed = b"1" if content[place : place + 1] == b"0" else b"0"
        file.write_bytes(content[:place] + changed + content[place + 1 :])
        program = [sys.executable, "-I", "-S", f"{file}.{name}.py", str(file)]
        assert subprocess.run(program, capture_output=True).returncode == 1, place


def test_the_program_that_an_auditor_reads_first_is_short() -> None:
    source = PROGRAMS["chain"].read_text()
    body = source.partition("import sys\n")[2].partition("if __name__")[0]
    assert len([line for line in body.splitlines() if line]) <= 40


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("left", [0, 1])
def test_a_file_that_was_cut_off_is_not_as_it_was_made(
    everything: Address, tmp_path: Path, name: str, left: int
) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:left]))
    status, checked = check(file, name)
    assert (status, "the file is not as it was made" in checked or "cannot be checked" in checked) == (1, True)
    assert "argument" not in checked
    assert "index" not in checked


def test_a_row_of_a_run_that_is_gone_from_the_file_is_named_and_so_is_a_missing_argument(
    everything: Address, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    lines = file.read_text().splitlines(keepends=True)
    for part in ("runs", "state"):
        file.write_text("".join(line for line in lines if f'"part": "{part}", "key": "1"' not in line))
        status, checked = check(file)
        assert status == 1
        assert f"Run 1: row 1 of {part} was changed, removed or added\n" in checked
    short = subprocess.run([sys.executable, f"{file}.chain.py"], capture_output=True, text=True)
    assert (short.returncode, short.stderr) == (1, f"Usage: python3 {file}.chain.py EVIDENCE\n")
    alone = subprocess.run([sys.executable, f"{file}.check.py"], capture_output=True, text=True)
    assert alone.stdout == f"Usage: python3 {file}.check.py EVIDENCE\n"


ADDED = """
    INSERT INTO token_tasks.runs
      (id, kind, state, selection, change, memberships, notices, planned_by, tool_version, tokens)
    OVERRIDING SYSTEM VALUE
    SELECT {number}, kind, state, selection, change, memberships, notices, planned_by, tool_version, tokens
    FROM token_tasks.runs
    WHERE id = 1
"""


@pytest.mark.parametrize("number", [77, -5])
def test_a_run_that_was_added_does_not_pass_for_one_from_before_revision_4(
    everything: Address, tmp_path: Path, number: int
) -> None:
    execute(everything, ADDED.format(number=number))
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    status, checked = check(file)
    assert (
        status,
        f"Run {number}: the journal does not know that it was stored, or with other entries\n" in checked,
    ) == (1, True)
    assert f"Run {number}: the run or entries of it are missing, or were added\n" in check(file, "chain")[1]


def made_again(file: Path, content: str) -> None:
    """Write a file of evidence whose last line is right for what it says now."""
    lines = content.splitlines(keepends=True)[:-1]
    text = "".join(lines)
    end = {"lines": len(lines) + 1, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    file.write_text(f"{text}{json.dumps({'end': end})}\n")


def test_a_run_has_as_many_moves_as_its_tokens_have_dates(installed: Address, tmp_path: Path) -> None:
    old = [ExpirationDate.typed(day) for day in ("2024-01-01", "2024-05-01", "2024-03-01")]
    chunks = [Chunk(place, day, NEW, TokenIds([place + 1])) for place, day in enumerate([*old, None])]
    make_run(installed, replace(make_plan(), chunks=tuple(chunks)))
    file = tmp_path / "evidence.ndjson"
    write(installed, file)
    (run,) = lines(file, "run")
    assert [move["old_expires_at"] for move in run["moves"]] == ["2024-01-01", "2024-03-01", "2024-05-01", None]
    assert check(file)[0] == 0


EDITS = {
    "a time": (r'("planned_at": "2)\d', r"\g<1>1"),
    "another time": (r'("finished_at": "2)\d', r"\g<1>1"),
    "how many tokens had a date": (r'("moves": \[{.*?"tokens": )\d', r"\g<1>9"),
    "a date of theirs": (r'("new_expires_at": "203)0', r"\g<1>1"),
    "when it was carried out": (r'("started_at": "2)\d', r"\g<1>1"),
    "by which process": (r'("process": ")elsewhere', r"\g<1>here"),
    "its reason is left out": (r'"reason": "why", ', ""),
    "its state is left out": (r'"state": "\w+", ', ""),
    "its number of entries": (r'("entries": )\d+', r"\g<1>99"),
    "more is said": (r'(?m)^{"run": {', '{"run": {"approved_by": "eve", '),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_line_of_a_run_says_what_its_rows_say_and_nothing_else(
    everything: Address, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    edited, times = re.subn(*EDITS[what], file.read_text(), count=1)
    assert times == 1
    made_again(file, edited)
    assert check(file) == (1, "Run 1: its line says something else than its rows\n")


@pytest.mark.parametrize("kind", ["run", "row"])
def test_no_line_is_there_twice(everything: Address, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    content = file.read_text()
    line = next(line for line in content.splitlines(keepends=True) if line.startswith(f'{{"{kind}"'))
    made_again(file, content.replace(line, line.replace("why", "who") + line, 1))
    assert check(file) == (1, f"the file cannot be checked: it has a {kind} twice\n")
    if kind == "row":  # the line of a run is left to the other one
        assert check(file, "chain")[1].startswith("The journal: row 1 of settings is there twice\n")


def test_a_run_that_was_stored_before_and_has_ended_since_is_missed_in_the_file(
    installed: Address, tmp_path: Path
) -> None:
    run = make_run(installed, make_plan([1]), RunState.PLANNED)
    with writing(installed) as connection:
        begin(connection, run, SOMEBODY).finish(connection, RunState.DONE)
    file = tmp_path / "evidence.ndjson"
    write(installed, file)
    assert check(file)[0] == 0
    *_, last = [entry for entry in lines(file, "entry") if entry["run"] == 0]
    kept = [line for line in file.read_text().splitlines(keepends=True) if f'"run": {run},' not in line]
    made_again(file, "".join(kept).replace('"since": null', f'"since": "{last["written_at"]}"'))
    assert check(file) == (1, f"Run {run}: it is missing\n")
    assert check(file, "chain") == (1, f"Run {run}: the run or entries of it are missing, or were added\n")


def test_what_a_line_says_of_a_run_is_what_its_rows_say(everything: Address, tmp_path: Path) -> None:
    file = tmp_path / "evidence.ndjson"
    for old, new in (('"reason": "why"', '"reason": "who"'), ('"by": {"host"', '"by": {"hose"')):
        write(everything, file, "--force")
        head, *between, _ = file.read_text().splitlines(keepends=True)
        place = next(place for place, line in enumerate(between) if line.startswith('{"run"') and old in line)
        between[place] = between[place].replace(old, new)
        content = "".join([head, *between])
        end = {"lines": len(between) + 2, "sha256": hashlib.sha256(content.encode()).hexdigest()}
        file.write_text(content + json.dumps({"end": end}) + "\n")
        assert check(file) == (1, "Run 1: its line says something else than its rows\n")


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_no_evidence_is_said_in_a_line(everything: Address, tmp_path: Path, name: str) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    content = file.read_bytes()
    cut, latin = content[: len(content) // 2], content.replace(b"why", b"w\xfcy")
    file.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
    assert "the file is not as it was made\n" in check(file, name)[1]
    for damaged in (b"", cut, latin, content + b"\n", content + b"[]\n"):
        file.write_bytes(damaged)
        status, said = check(file, name)
        assert (status, said.count("\n")) == (1, 1)
        assert said.startswith("the file cannot be checked: " if name == "check" else "the file ")


def test_an_old_python_can_read_the_program_too() -> None:
    for program in PROGRAMS.values():
        ast.parse(program.read_text(), feature_version=(3, 6))  # that of RHEL 8


def test_it_says_how_many_runs_were_forgotten(everything: Address, tmp_path: Path) -> None:
    words = ["journal.prune", "--before", "2999-01-01", "--yes", "--target", url(everything)]
    assert "3 runs are forgotten" in call_here(GITLAB_TOKENS, *words).stdout
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    status, said = check(file)
    assert (status, said.endswith("; forgotten by journal.prune: 3.\n")) == (0, True)


def test_an_entry_that_is_no_entry_is_named(everything: Address, tmp_path: Path) -> None:
    execute(everything, "UPDATE token_tasks.entries SET written = 'junk' WHERE run_id = 1 AND number = 1")
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    status, said = check(file)
    assert (status, said.splitlines()[0]) == (1, "Run 1: entry 1 was changed, or is missing")


def test_it_has_what_was_written_since_a_day(everything: Address, tmp_path: Path) -> None:
    file = tmp_path / "evidence.ndjson"
    write(everything, file, "--since", "2020-01-01")
    assert len(lines(file, "run")) == 3
    write(everything, file, "--since", "2999-01-01", "--force")
    assert (lines(file, "run"), check(file)[0]) == ([], 0)
    for name in PROGRAMS:
        assert check(file, name)[1].endswith(" Runs of which nothing was written since 2999-01-01 are not in it.\n")
    assert lines(file, "entry")


def test_runs_from_before_revision_4_are_in_it_and_are_said_not_to_be_covered(
    gitlab_database: Address, tmp_path: Path
) -> None:
    upgrade(gitlab_database, Branch.JOURNAL, "3")
    make_old_run(gitlab_database, make_plan([1, 2], [3]), RunState.STOPPED)
    upgrade(gitlab_database, Branch.JOURNAL)
    make_run(gitlab_database, make_plan([4]))
    file = tmp_path / "evidence.ndjson"
    write(gitlab_database, file)
    assert [run["chain"] is None for run in lines(file, "run")] == [True, False]
    status, checked = check(file)
    assert (status, "; from before revision 4, not covered: 1; " in checked) == (0, True)


def test_it_is_signed_with_a_key_of_ssh(everything: Address, tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    key, file = tmp_path / "my key", tmp_path / "the evidence.ndjson"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(key)], check=True)
    said = write(everything, file, "--sign-key", str(key))
    signed, verify = said.splitlines()[1].split(" → to check that: ")
    assert signed == f"Signed in {file}.sig"

    def verified() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["/bin/sh", "-c", verify], capture_output=True, text=True)

    assert verified().returncode == 0
    assert "Good" in verified().stdout
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ada {key.with_suffix('.pub').read_text()}")
    words = ["-Y", "verify", "-n", "gitlab-tokens-evidence", "-I", "ada", "-f", str(allowed), "-s", f"{file}.sig"]
    done = subprocess.run(["ssh-keygen", *words], input=file.read_text(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(file.read_text().replace("why", "who"))
    assert verified().returncode != 0
    write(everything, file, "--force")
    assert not Path(f"{file}.sig").exists()


def test_what_cannot_be_signed_or_written_is_said(everything: Address, tmp_path: Path) -> None:
    file, key = tmp_path / "evidence.ndjson", tmp_path / "key"
    refused = write(everything, file, "--sign-key", str(key), status=ExitStatus.USAGE)
    assert refused == f'--sign-key "{key}" is no file.\n'
    if not shutil.which("ssh-keygen"):
        return
    key.write_text("no key")
    key.chmod(0o600)
    refused = write(everything, file, "--sign-key", str(key), status=ExitStatus.FAILED)
    assert refused.startswith(f"{file} is written, but not signed: ssh-keygen says: ")
    reason, _, again = refused.strip().partition(" → to sign it: ")
    assert reason.endswith(" (a key with a passphrase takes a terminal, or ssh-add before)")
    assert not Path(f"{file}.sig").exists()
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    subprocess.run(["/bin/sh", "-c", again], capture_output=True, check=True)
    assert Path(f"{file}.sig").exists()
    assert "cannot be written" in write(everything, tmp_path / "none" / "file", status=ExitStatus.FAILED)
    folder = f'--file "{tmp_path}" is a folder: name a file in it, such as {tmp_path}/evidence.ndjson.\n'
    assert write(everything, tmp_path, status=ExitStatus.FAILED) == folder


@pytest.mark.parametrize("left", ["", ".sig", ".check.py", ".chain.py"])
def test_an_earlier_file_is_not_replaced_without_force(everything: Address, tmp_path: Path, left: str) -> None:
    file = tmp_path / "evidence.ndjson"
    earlier = Path(f"{file}{left}")
    earlier.write_text("earlier")
    refused = write(everything, file, status=ExitStatus.REFUSED)
    assert refused == (
        f"{earlier} is there, and no earlier file of evidence is replaced: choose another name, or use --force.\n"
    )
    assert (list(tmp_path.iterdir()), earlier.read_text()) == ([earlier], "earlier")
    write(everything, file, "--force")
    assert check(file)[0] == 0
    assert not Path(f"{file}.sig").exists()


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("place", [".sig", ".check.py", ".chain.py"])
def test_a_folder_where_a_file_goes_is_refused_before_anything_is_read(
    everything: Address, tmp_path: Path, place: str, force: tuple[str, ...]
) -> None:
    file = tmp_path / "evidence.ndjson"
    folder = Path(f"{file}{place}")
    folder.mkdir()
    refused = write(everything, file, *force, status=ExitStatus.REFUSED)
    assert refused == f"{folder} is a folder, and a file goes there: choose another name.\n"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("folder", [".", "/"])
def test_a_folder_is_no_file(everything: Address, folder: str) -> None:
    assert f'--file "{folder}" is a folder' in write(everything, Path(folder), status=ExitStatus.FAILED)


def test_force_is_about_a_file(everything: Address) -> None:
    done = call_here(GITLAB_TOKENS, "evidence", "--force", "--target", url(everything))
    assert (done.returncode, done.stderr) == (2, "--force is about the file of --file: use both.\n")


def test_without_a_file_it_goes_to_standard_output_but_to_no_terminal(everything: Address, tmp_path: Path) -> None:
    done = call_here(GITLAB_TOKENS, "evidence", "--target", url(everything))
    assert done.returncode == 0
    file = tmp_path / "evidence.ndjson"
    write(everything, file)
    assert done.stdout.splitlines()[1:-1] == file.read_text().splitlines()[1:-1]

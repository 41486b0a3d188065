"""What a wrong command line is answered, word for word: the worst that new users have typed, in this very process.

A change of tests/golden/wrong-inputs.txt is meant to be seen in a review; `--update-golden` writes it anew.
"""

import shlex
from pathlib import Path

import pytest

from tests.testbed.commands import typed

GOLDEN = Path(__file__).parent / "golden/wrong-inputs.txt"
TYPED = """
analize
Analyze
extned --to 2027-01-01
help nonsense
extend --dryrun
extend --dry_run
extend --ouput json
rotate --service-acount x
extend --within 14d
extend --json
extend --csv
analyze --yaml
history --user-state active
check --state active
evidence --run 1
extend --active
doctor --fix
--bogus
analyze -y
extend --dry-run=true
extend -n=1
extend --to
extend --expires
extend --kind --yes
analyze --target
history --run
rotate --deliver
journal.prune --older-than
-f
-D x
analyze demo
analyze docker:gitlab
analyze Demo
analyze prod
analyze Staging
analyze host=db password=s3cr3t
--target demo analyze
-t demo analyze
--yes remove
analyze --target demo --target docker:x
extend --to 2027-01-01 --to 2028-01-01
analyze 16
undo 16,17
undo x16
history last
undo --run 16,17
edit hlep
journal instal
journal.instal
demo start
demo.strat
list
analyze extra words
analyze dry-run
extend dry-run
analyze --output table
extend --output JSON
extend --output csv
extend --memberships mvoe
analyze --target demoo
analyze --target k8s:gitlab
analyze --target docker
analyze --target ''
analyze --top 0
extend --expires 2026-12 --to 2027-12-31
extend --expires 2026-12-10..2026-12-01 --to 2027-12-31
extend --expires 2026-12-10 --to tomorrow
extend --expires 2026-12-10 --to 2027-12-31 --by 30d
extend --expires 2026-12-10 --by 1y
extend --by 30d --expires 2026-12-10 --kind bots
extend --by 30d --expires 2026-12-10 --state blocked
extend --by 30d --expires 2026-12-10 --ids badids.txt
extend --by 30d --expires 2026-12-10 --at-most many
extend --by 30d --expires 2026-12-10 --allow everything
extend --by 30d --expires 2026-12-10 --dry-run --plan
rotate --token 1 --deliver /tmp/x --yes
rotate --within 30 --dry-run --output csv
undo
edit --target nowhere
edit
bundle.build --directory
--list nonsense
--print-completion-script tcsh
"""


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home with a configured target and a file of wrong ids, and nothing of GitLab on the machine."""
    (tmp_path / ".invoke.yaml").write_text("tokens: {targets: {Staging: 'docker:gitlab'}}\n")
    (tmp_path / "badids.txt").write_text("abc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INVOKE_TOKENS_ROOT", str(tmp_path))
    monkeypatch.delenv("INVOKE_TOKENS_TARGET", raising=False)


def test_a_wrong_command_line_is_answered_in_one_plain_line(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    answers = []
    for line in TYPED.strip().splitlines():
        status = typed(*shlex.split(line))
        out, err = capsys.readouterr()
        assert (status, out, err.count("\n")) == (2, "", 1), line
        assert "!" not in err
        assert "s3cr3t" not in err
        answers.append(f"$ gitlab-tokens {line}\n{err}")
    assert len(answers) >= 60
    found = "\n".join(answers)
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_what_may_be_a_password_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["analyze", "postgresql://u:s3cr3t@h/x"],
        ["postgresql://u:s3cr3t@h/x"],
        ["analyze", "--pasword=s3cr3t,x y"],
        ["--target", "postgresql://u:s3cr3t@h/x", "analyze"],
        ["help", "s3cr3t s3cr3t"],
    ):
        assert typed(*words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "s3cr3t" not in err, words

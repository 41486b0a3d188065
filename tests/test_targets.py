"""`targets`: what can be typed after `--target`, in this very process."""

import json
from pathlib import Path

import pytest

from tests.testbed.commands import typed

CONFIGURED = """\
tokens:
  targets:
    prod: kubernetes:gitlab@production
    replica: postgresql://gitlab:s3cr3t@db2.example.com/gitlabhq_production
    other: postgresql://gitlab@h/x?password=s3cr3t
    broken: host=x password=s3cr3t
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of one's own, and nothing of GitLab on the machine."""
    (tmp_path / ".invoke.yaml").write_text(CONFIGURED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INVOKE_TOKENS_ROOT", str(tmp_path))
    monkeypatch.setenv("INVOKE_TOKENS_DEMO_DIRECTORY", str(tmp_path / "demo"))
    monkeypatch.delenv("INVOKE_TOKENS_TARGET", raising=False)
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    status = typed("targets", *words)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert "s3cr3t" not in out
    return out


def test_configured_targets_and_the_demo_are_listed_without_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == (
        "  prod     kubernetes:gitlab@production\n"
        "  replica  postgresql://gitlab@db2.example.com/gitlabhq_production\n"
        "  other    postgresql://gitlab@h/x\n"
        "  broken   cannot be used: The target is none that is known\n"
        "  demo     not installed\n"
        "\n"
        "There is no default, since no GitLab is installed right here. Use --target, INVOKE_TOKENS_TARGET, or "
        "tokens.target in ~/.invoke.yaml.\n"
    )


def test_the_default_is_marked_and_its_source_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (home / ".invoke.yaml").write_text(f"{CONFIGURED}  target: replica\n")
    page = listed(capsys)
    assert "\n* replica " in page
    assert page.endswith(f"The default (*) comes from: {home}/.invoke.yaml.\n")
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", "postgresql://u:s3cr3t@h/x")
    page = listed(capsys)
    assert page.startswith("* postgresql://u@h/x  not among the names\n")
    assert page.endswith("comes from: INVOKE_TOKENS_TARGET.\n")
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", "host=x password=s3cr3t")
    assert listed(capsys).startswith("* cannot be used: ")


def test_the_gitlab_right_here_is_listed_and_is_the_default(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    rails = home / "opt/gitlab/embedded/service/gitlab-rails"
    rails.mkdir(parents=True)
    (rails / "INSTALLATION_TYPE").write_text("omnibus-gitlab")
    (rails / "VERSION").write_text("19.2.1-ee")
    (home / "opt/gitlab/etc").mkdir()
    (home / "opt/gitlab/etc/gitlab-rails-rc").write_text("gitlab_user='git'\n")
    assert f"\n* omnibus  Linux package, GitLab 19.2.1-ee in {rails}\n" in listed(capsys)


def test_programs_are_told_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", "prod")
    document = json.loads(listed(capsys, "--output", "json"))
    assert (document["schema"], document["default"], document["source"]) == (1, "prod", "INVOKE_TOKENS_TARGET")
    assert document["targets"][0] == {"name": "prod", "target": "kubernetes:gitlab@production"}


def test_a_variable_that_is_set_to_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVOKE_TOKENS_TARGET", "")
    assert typed("targets") == 2
    assert "is set, but to nothing" in capsys.readouterr().err

"""Which GitLab is installed, told by its own files, each kind built below a folder."""

from pathlib import Path

import pytest

from tokens.targets.here.installation import Kind, NoInstallation, detect, omnibus, source

RAILS = "opt/gitlab/embedded/service/gitlab-rails"


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_omnibus(root: Path, kind: str = "omnibus-gitlab", rc: str = "gitlab_user='git'\n") -> None:
    write(root / RAILS / "INSTALLATION_TYPE", f"{kind}\n")
    write(root / RAILS / "VERSION", "19.2.1-ee\n")
    write(root / "opt/gitlab/etc/gitlab-rails-rc", rc)


def make_toolbox(root: Path) -> None:
    write(root / "srv/gitlab/INSTALLATION_TYPE", "gitlab-cloud-native-image")
    write(root / "srv/gitlab/config/database.yml")
    write(root / "srv/gitlab/VERSION", "19.2.1")


def make_source(rails: Path) -> None:
    write(rails / "config/database.yml")
    write(rails / "config/application.rb")


@pytest.mark.parametrize(("kind", "expected"), [("omnibus-gitlab", Kind.OMNIBUS), ("gitlab-docker", Kind.DOCKER)])
def test_the_linux_package_is_told_by_its_type_and_its_settings(tmp_path: Path, kind: str, expected: Kind) -> None:
    make_omnibus(tmp_path, kind)
    found = detect(tmp_path)
    assert (found.kind, found.user, found.version) == (expected, "git", "19.2.1-ee")
    assert found == omnibus(tmp_path)
    assert found.database_yml == tmp_path / RAILS / "config/database.yml"


@pytest.mark.parametrize(
    "line", ["gitlab_user='code'", 'gitlab_user="code"', "export gitlab_user=code", " gitlab_user=code"]
)
def test_the_gitlab_user_is_whom_the_settings_name(tmp_path: Path, line: str) -> None:
    make_omnibus(tmp_path, rc=f"# comment\n{line}\ngitlab_group='x'\n")
    assert detect(tmp_path).user == "code"


def test_a_toolbox_pod_runs_as_whoever_runs_us(tmp_path: Path) -> None:
    make_toolbox(tmp_path)
    found = detect(tmp_path)
    assert (found.kind, found.user, found.version) == (Kind.TOOLBOX, None, "19.2.1")


def test_a_source_install_is_told_by_its_files_and_runs_as_their_owner(tmp_path: Path) -> None:
    make_source(tmp_path / "home/git/gitlab")
    found = detect(tmp_path)
    assert found.kind is Kind.SOURCE
    assert found.user == (tmp_path / "home/git/gitlab/config/database.yml").owner()


@pytest.mark.parametrize("line", ['app_root="/data/gitlab"', "app_root=/data/gitlab # here"])
def test_a_source_install_may_lie_where_its_start_script_says(tmp_path: Path, line: str) -> None:
    make_source(tmp_path / "data/gitlab")
    write(tmp_path / "etc/default/gitlab", f"app_user='git'\n{line}\n")
    assert detect(tmp_path).rails == tmp_path / "data/gitlab"


def test_a_source_install_may_be_said(tmp_path: Path) -> None:
    make_source(tmp_path / "anywhere")
    assert source(tmp_path / "anywhere").rails == tmp_path / "anywhere"


def test_a_docker_hosts_volumes_are_no_toolbox_pod(tmp_path: Path) -> None:
    write(tmp_path / "srv/gitlab/config/gitlab.rb")
    with pytest.raises(NoInstallation, match="No GitLab was found"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"), [("omnibus-gitlab", "sudo gitlab-ctl reconfigure"), ("gitlab-docker", "until GitLab has started")]
)
def test_a_package_that_was_never_configured_is_told(tmp_path: Path, kind: str, said: str) -> None:
    write(tmp_path / RAILS / "INSTALLATION_TYPE", kind)
    with pytest.raises(NoInstallation, match=said):
        detect(tmp_path)


def test_what_was_said_but_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInstallation, match="Linux package is not"):
        omnibus(tmp_path)
    with pytest.raises(NoInstallation, match=r"config/application\.rb would prove it"):
        source(tmp_path)
    write(tmp_path / "srv/gitlab/INSTALLATION_TYPE", "gitlab-cloud-native-image")
    with pytest.raises(NoInstallation, match="toolbox pod"):
        detect(tmp_path)

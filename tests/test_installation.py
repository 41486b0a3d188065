"""Which GitLab is installed, told by its own files, each kind built below a folder."""

import os
from pathlib import Path

import pytest

from tokens.errors import Refused
from tokens.targets.here.installation import Method, NoInstallation, detect, omnibus, source

RAILS = "opt/gitlab/embedded/service/gitlab-rails"


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# GitLab's own, those of images that are made by others, an empty file, nonsense; None: no such file.
WORDS = (
    *("omnibus-gitlab", "gitlab-omnibus-package", "gitlab-aws-ami", "gitlab-aws-marketplace-ami", "gitlab-helm-chart"),
    *("gitlab-cloud-native-image", "source", "", "nonsense", None),
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of another account need root")


def say(folder: Path, word: str | None) -> None:
    if word is None:
        (folder / "INSTALLATION_TYPE").unlink(missing_ok=True)
    else:
        write(folder / "INSTALLATION_TYPE", f"{word}\n")


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


@pytest.mark.parametrize(("kind", "expected"), [("omnibus-gitlab", Method.OMNIBUS), ("gitlab-docker", Method.DOCKER)])
def test_the_linux_package_is_told_by_its_type_and_its_settings(tmp_path: Path, kind: str, expected: Method) -> None:
    make_omnibus(tmp_path, kind)
    found = detect(tmp_path)
    assert (found.method, found.user, found.version) == (expected, "git", "19.2.1-ee")
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
    assert (found.method, found.user, found.version) == (Method.TOOLBOX, None, "19.2.1")


def test_a_source_install_is_told_by_its_files_and_runs_as_their_owner(tmp_path: Path) -> None:
    make_source(tmp_path / "home/git/gitlab")
    found = detect(tmp_path)
    assert found.method is Method.SOURCE
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


@pytest.mark.parametrize("word", WORDS)
def test_the_linux_package_is_told_by_where_it_lies_whatever_its_type_says(tmp_path: Path, word: str | None) -> None:
    make_omnibus(tmp_path)
    say(tmp_path / RAILS, word)
    found = detect(tmp_path)
    assert (found.method, found.user, found.rails) == (Method.OMNIBUS, "git", tmp_path / RAILS)
    assert omnibus(tmp_path) == found


@pytest.mark.parametrize("word", ["gitlab-docker", "", "nonsense", None])
def test_the_docker_image_is_told_by_what_it_has_beside_the_package(tmp_path: Path, word: str | None) -> None:
    make_omnibus(tmp_path)
    say(tmp_path / RAILS, word)
    write(tmp_path / "RELEASE", "RELEASE_PACKAGE=gitlab-ee\n")
    assert detect(tmp_path).method is Method.DOCKER
    (tmp_path / "opt/gitlab/etc/gitlab-rails-rc").unlink()
    with pytest.raises(NoInstallation, match="until GitLab has started"):
        detect(tmp_path)


@pytest.mark.parametrize("word", [word for word in WORDS if word != "source"])
def test_a_toolbox_pod_is_told_by_its_files_whatever_its_type_says(tmp_path: Path, word: str | None) -> None:
    make_toolbox(tmp_path)
    say(tmp_path / "srv/gitlab", word)
    found = detect(tmp_path)
    assert (found.method, found.rails) == (Method.TOOLBOX, tmp_path / "srv/gitlab")
    (tmp_path / "srv/gitlab/config/database.yml").unlink()
    with pytest.raises(NoInstallation, match="run this in the toolbox pod"):
        detect(tmp_path)


@pytest.mark.parametrize("word", WORDS)
def test_a_source_install_is_told_by_its_files_whatever_its_type_says(tmp_path: Path, word: str | None) -> None:
    rails = tmp_path / "home/git/gitlab"
    make_source(rails)
    say(rails, word)
    assert detect(tmp_path).method is Method.SOURCE
    (rails / "config/database.yml").unlink()
    with pytest.raises(NoInstallation, match=r"config/database\.yml and config/application\.rb would prove it"):
        detect(tmp_path)


def test_a_source_install_may_lie_where_a_pod_has_its_application(tmp_path: Path) -> None:
    make_source(tmp_path / "srv/gitlab")
    say(tmp_path / "srv/gitlab", "source")
    assert detect(tmp_path).method is Method.SOURCE
    say(tmp_path / "srv/gitlab", None)
    assert detect(tmp_path).method is Method.TOOLBOX
    write(tmp_path / "etc/default/gitlab", "app_root=/srv/gitlab\n")
    assert detect(tmp_path).method is Method.SOURCE


@pytest.mark.parametrize("word", [word for word in WORDS if word != "source"])
def test_what_is_left_of_a_package_hides_no_installation(tmp_path: Path, word: str | None) -> None:
    make_omnibus(tmp_path)
    say(tmp_path / RAILS, word)
    (tmp_path / "opt/gitlab/etc/gitlab-rails-rc").unlink()
    with pytest.raises(NoInstallation, match="sudo gitlab-ctl reconfigure"):
        detect(tmp_path)
    make_source(tmp_path / "home/git/gitlab")
    assert detect(tmp_path).method is Method.SOURCE


def test_a_folder_without_the_application_is_no_package(tmp_path: Path) -> None:
    make_omnibus(tmp_path)
    for name in ("INSTALLATION_TYPE", "VERSION"):
        (tmp_path / RAILS / name).unlink()
    with pytest.raises(NoInstallation, match="No GitLab was found"):
        detect(tmp_path)


@pytest.mark.parametrize("place", ["usr/share/gitlab", "usr/share/webapps/gitlab"])
def test_a_distributions_package_is_found_where_it_puts_gitlab(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    with pytest.raises(NoInstallation, match="No GitLab was found"):
        detect(tmp_path)
    make_source(tmp_path / place)
    assert detect(tmp_path).rails == tmp_path / place


@as_root
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("etc/default/gitlab", "app_user=nobody"),
        ("etc/default/gitlab", 'export app_user="nobody" # who else'),
        ("etc/gitlab/gitlab-debian.conf", "gitlab_user=nobody"),
    ],
)
def test_where_the_files_are_roots_the_settings_say_as_whom_gitlab_runs(tmp_path: Path, path: str, line: str) -> None:
    make_source(tmp_path / "home/git/gitlab")
    assert detect(tmp_path).user == "root"  # which is refused
    write(tmp_path / path, f"# settings\n{line}\n")
    assert detect(tmp_path).user == "nobody"


@as_root
def test_where_nothing_says_it_the_files_group_tells_as_whom_gitlab_runs(tmp_path: Path) -> None:
    make_source(tmp_path / "home/git/gitlab")
    os.chown(tmp_path / "home/git/gitlab/config/database.yml", 0, 1)  # daemon, an account and its group everywhere
    assert detect(tmp_path).user == "daemon"


@as_root
def test_settings_that_others_may_write_are_not_believed_by_root(tmp_path: Path) -> None:
    make_source(tmp_path / "home/git/gitlab")
    settings = tmp_path / "etc/default/gitlab"
    write(settings, "app_user=nobody\n")
    for mode, owner in ((0o646, 0), (0o664, 0), (0o644, 1)):
        settings.chmod(mode)
        os.chown(settings, owner, 1)
        with pytest.raises(Refused, match=r"Others than root may write .*/etc/default/gitlab, so root does not trust"):
            detect(tmp_path)
    make_omnibus(tmp_path)
    (tmp_path / "opt/gitlab/etc/gitlab-rails-rc").chmod(0o666)
    with pytest.raises(Refused, match="gitlab-rails-rc, so root does not trust it"):
        detect(tmp_path)


@as_root
@pytest.mark.parametrize(("owner", "group", "mode"), [(0, 1, 0o646), (0, 2, 0o664), (1, 2, 0o664), (1, 1, 0o646)])
def test_a_file_that_others_may_write_makes_root_nobodys_account(
    tmp_path: Path, owner: int, group: int, mode: int
) -> None:
    database_yml = tmp_path / "home/git/gitlab/config/database.yml"
    make_source(database_yml.parents[1])
    write(tmp_path / "etc/default/gitlab", "app_user=daemon\n")
    os.chown(database_yml, owner, group)
    database_yml.chmod(mode)
    with pytest.raises(Refused, match="Others than GitLab's account daemon may write"):
        detect(tmp_path)
    os.chown(database_yml, owner, 1)
    database_yml.chmod(0o660)
    assert detect(tmp_path).user == "daemon"


@as_root
def test_root_in_a_pod_becomes_the_owner_of_its_files(tmp_path: Path) -> None:
    make_toolbox(tmp_path)
    assert detect(tmp_path).user is None
    os.chown(tmp_path / "srv/gitlab/config/database.yml", 1, 1)
    assert detect(tmp_path).user == "daemon"

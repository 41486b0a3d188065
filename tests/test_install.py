"""deploy/omnibus/install, below a folder: what it puts where, what it leaves alone, and that it takes it away again."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL = Path(__file__).parent.parent / "deploy/omnibus/install"
VERSION = "gitlab-tokens 1.2.3"

INV_OF_A_HOST = """
import sys
from invoke import Config, Program

class HostConfig(Config):
    def __init__(self, **options):
        super().__init__(**{**options, "system_prefix": sys.argv[1]})

Program(config_class=HostConfig).run(["inv", *sys.argv[2:]])
"""
"""Invoke's own `inv` where the folder in the first word is /etc."""

Install = Callable[..., subprocess.CompletedProcess[str]]


def make_bundle(folder: Path, program: str = f"echo {VERSION}") -> Path:
    """A bundle whose programs are shell scripts: the installation looks no further."""
    folder.mkdir()
    for name in ("gitlab-tokens", "inv"):
        (folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (folder / name).chmod(0o755)
    (folder / "VERSION").write_text("1.2.3\n")
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        for name in ("gitlab-tokens", "inv", "VERSION"):
            member = tar.gettarinfo(folder / name, f"./{name}")
            member.uid = member.gid = 12345
            with (folder / name).open("rb") as content:
                tar.addfile(member, content)
    return path


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The root folder of a host on which nothing is installed."""
    (tmp_path / "host/etc").mkdir(parents=True)
    return tmp_path / "host"


@pytest.fixture
def install(host: Path) -> Install:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {"DESTDIR": str(host), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            ["/bin/sh", INSTALL, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def everything(host: Path) -> set[str]:
    return {str(path.relative_to(host)) for path in host.rglob("*") if path.is_symlink() or path.is_file()}


def test_it_unpacks_the_bundle_for_everybody_and_links_both_programs(
    install: Install, host: Path, packed: Path
) -> None:
    previous = os.umask(0o077)
    try:
        done = install(packed)
    finally:
        os.umask(previous)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{VERSION} is installed in /opt/gitlab-tokens.\n"
    for name in ("gitlab-tokens", "inv"):
        assert os.readlink(host / "usr/local/bin" / name) == f"/opt/gitlab-tokens/{name}"
        found = (host / "opt/gitlab-tokens" / name).stat()
        assert (found.st_mode & 0o777, found.st_uid) == (0o755, os.geteuid())
    assert (host / "opt/gitlab-tokens").stat().st_mode & 0o777 == 0o755
    assert (host / "opt/gitlab-tokens/VERSION").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (host / "opt").iterdir()] == ["gitlab-tokens"]


def test_a_second_installation_takes_the_place_of_the_first(install: Install, host: Path, tmp_path: Path) -> None:
    install(make_bundle(tmp_path / "first"))
    (host / "opt/gitlab-tokens/left over").touch()
    done = install(make_bundle(tmp_path / "second", "echo gitlab-tokens 2"))
    assert done.stdout == "gitlab-tokens 2 is installed in /opt/gitlab-tokens.\n"
    assert not (host / "opt/gitlab-tokens/left over").exists()
    assert [path.name for path in (host / "opt").iterdir()] == ["gitlab-tokens"]


def test_a_bundle_that_does_not_run_here_changes_nothing(install: Install, host: Path, tmp_path: Path) -> None:
    install(make_bundle(tmp_path / "good"))
    (tmp_path / "damaged.tar.gz").write_bytes(b"nothing of the kind")
    for path, said in (
        (make_bundle(tmp_path / "foreign", "exit 126"), "does not run here"),
        (
            tmp_path / "damaged.tar.gz",
            "cannot be unpacked; nothing was changed. tar says: gzip: stdin: not in gzip format\n",
        ),
        (tmp_path / "missing.tar.gz", "There is no file"),
    ):
        before = everything(host)
        done = install(path)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert everything(host) == before
    assert VERSION.split()[1] == (host / "opt/gitlab-tokens/VERSION").read_text().strip()


@pytest.mark.parametrize("place", ["usr/local/bin", "usr/bin"])
def test_another_inv_stays(install: Install, host: Path, packed: Path, place: str) -> None:
    (host / place).mkdir(parents=True)
    (host / place / "inv").write_text("somebody else's")
    done = install(packed)
    assert "another inv" in done.stdout
    assert (host / place / "inv").read_text() == "somebody else's"
    assert not (host / "usr/local/bin/inv").is_symlink()
    assert (host / "usr/local/bin/gitlab-tokens").is_symlink()


def test_invokes_configuration_is_written_only_when_asked_and_never_over_another(
    install: Install, host: Path, packed: Path
) -> None:
    install(packed)
    assert not (host / "etc/invoke.yaml").exists()
    done = install(packed, "--invoke-yaml")
    assert "every user" in done.stdout
    assert "search_root: /opt/gitlab-tokens/share\n" in (host / "etc/invoke.yaml").read_text()
    assert install(packed, "--invoke-yaml").returncode == 0
    for name in ("invoke.yaml", "invoke.json"):
        (host / "etc/invoke.yaml").unlink()
        (host / "etc" / name).write_text("{}")
        refused = install(packed, "--invoke-yaml")
        assert refused.returncode == 1
        assert f"{name} is there and is not overwritten" in refused.stderr
        assert (host / "etc" / name).read_text() == "{}"
        (host / "etc/invoke.yaml").touch()


def test_an_inv_of_pips_finds_the_tasks_in_every_folder(
    install: Install, host: Path, packed: Path, tmp_path: Path
) -> None:
    install(packed, "--invoke-yaml")
    configuration = (host / "etc/invoke.yaml").read_text().replace(" /opt", f" {host}/opt")
    (host / "etc/invoke.yaml").write_text(configuration)
    done = subprocess.run(
        [sys.executable, "-B", "-c", INV_OF_A_HOST, f"{host}/etc/", "--list"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert "  tokens.analyze " in done.stdout


def test_uninstall_takes_everything_away_that_is_ours(install: Install, host: Path, packed: Path) -> None:
    (host / "usr/local/bin").mkdir(parents=True)
    (host / "usr/local/bin/other").touch()
    before = everything(host)
    install(packed, "--invoke-yaml")
    done = install("--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert everything(host) == before
    assert install("--uninstall").returncode == 0


def test_uninstall_leaves_alone_what_is_not_ours(install: Install, host: Path, packed: Path) -> None:
    install(packed, "--invoke-yaml")
    (host / "etc/invoke.yaml").write_text("tasks:\n  search_root: /opt/gitlab-tokens/share\nrun:\n  echo: true\n")
    (host / "usr/local/bin/inv").unlink()
    (host / "usr/local/bin/inv").write_text("somebody else's")
    done = install("--uninstall")
    assert "was changed since and stays" in done.stdout
    assert everything(host) == {"etc/invoke.yaml", "usr/local/bin/inv"}


def test_a_folder_that_is_no_bundle_is_neither_replaced_nor_removed(install: Install, host: Path, packed: Path) -> None:
    (host / "opt/gitlab-tokens").mkdir(parents=True)
    (host / "opt/gitlab-tokens/precious").touch()
    for words in ([packed], ["--uninstall"]):
        done = install(*words)
        assert done.returncode == 1
        assert "something else" in done.stderr
        assert (host / "opt/gitlab-tokens/precious").exists()


@pytest.mark.parametrize(
    "words",
    [[], ["--nonsense"], ["a.tar.gz", "b.tar.gz"], ["--uninstall", "a.tar.gz"], ["--uninstall", "--invoke-yaml"]],
)
def test_wrong_use_is_said_and_changes_nothing(install: Install, host: Path, words: list[str]) -> None:
    done = install(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert everything(host) == set()


def test_without_destdir_it_wants_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run programs as somebody else")
    done = subprocess.run(
        ["/bin/sh", "-s", "x.tar.gz"],
        input=INSTALL.read_text(),
        env={"PATH": "/usr/bin:/bin"},
        user=4242,
        group=4242,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "Run this as root (sudo).\n")


def test_an_exchange_that_fails_leaves_the_earlier_one_and_says_so(
    install: Install, host: Path, packed: Path, tmp_path: Path
) -> None:
    assert install(packed).returncode == 0
    before = everything(host)
    (tmp_path / "mv").write_text('#!/bin/sh\ncase $1 in *.new.*) exit 1 ;; esac\nexec /bin/mv "$@"\n')
    (tmp_path / "mv").chmod(0o755)
    env = {"DESTDIR": str(host), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", INSTALL, packed], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be replaced; the earlier one is still there." in done.stderr
    assert everything(host) == before


def test_what_killed_installations_have_left_is_removed(install: Install, host: Path, packed: Path) -> None:
    gone = subprocess.run(["/bin/sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    opt = host / "opt"
    kept = {f"gitlab-tokens.new.{os.getpid()}", "gitlab-tokens.old.1a", "gitlab-tokens.backup", "gitlab-tokens.new."}
    for words in ([packed], ["--uninstall"]):
        for name in (f"gitlab-tokens.new.{gone}", f"gitlab-tokens.old.{gone}", *kept):
            (opt / name).mkdir(parents=True, exist_ok=True)
            (opt / name / "file").touch()
        assert install(*words).returncode == 0
        assert {path.name for path in opt.iterdir()} - {"gitlab-tokens"} == kept


@pytest.mark.parametrize("target", ["/nowhere/gitlab-tokens", "nowhere"])
def test_a_link_that_leads_nowhere_is_no_other_program(install: Install, host: Path, packed: Path, target: str) -> None:
    (host / "usr/local/bin").mkdir(parents=True)
    (host / "usr/local/bin/gitlab-tokens").symlink_to(target)
    assert install(packed).stdout == f"{VERSION} is installed in /opt/gitlab-tokens.\n"
    assert os.readlink(host / "usr/local/bin/gitlab-tokens") == "/opt/gitlab-tokens/gitlab-tokens"


def test_a_link_into_the_folder_that_stands_for_the_host_is_another_program(
    install: Install, host: Path, packed: Path
) -> None:
    for name in ("opt/venv/inv", "usr/local/bin/inv"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
    (host / "opt/venv/inv").touch()
    (host / "usr/local/bin/inv").symlink_to("/opt/venv/inv")
    assert "another inv" in install(packed).stdout
    assert os.readlink(host / "usr/local/bin/inv") == "/opt/venv/inv"


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "noexec",
            "No program runs in {opt}, which may be mounted with noexec (findmnt -T {opt}); nothing was changed.",
        ),
        ("size=64k", "There is no space left in {opt} for {bundle}; nothing was changed."),
    ],
)
def test_what_is_wrong_with_the_disk_is_said_in_a_line(
    install: Install, host: Path, tmp_path: Path, options: str, said: str
) -> None:
    bundle = make_bundle(tmp_path / "large", f"echo {VERSION} # {'x' * 100_000}")
    with mounted(host / "opt", options):
        done = install(bundle)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == said.format(opt=host / "opt", bundle=bundle)
        assert len(done.stderr.splitlines()) <= 2
        assert list((host / "opt").iterdir()) == []

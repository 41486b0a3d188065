"""The bundle: it runs from any folder, for anybody, beside any variables, and where there is nothing but a shell."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.addresses import url
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_migration_row, make_tokens
from tests.testbed.folders import public_folder
from tests.testbed.program import GITLAB_TOKENS
from tokens.address import Address
from tokens.errors import UsageError
from tokens.targets import demo
from tokens.targets.there import bundle
from tokens.targets.there.bundle import Bundle
from tokens.upgrade import Branch, revisions
from tokens.version import __version__

VERSION = f"gitlab-tokens {__version__}\n"
STRANGER = 4242
"""A user id that no account has."""

NOBODY_LISTENS = "postgresql://gitlab@127.0.0.1:1/gitlabhq_production"

pytestmark = pytest.mark.xdist_group("bundle")  # it is unpacked once
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as somebody else")

PROBE = """
import json, os, subprocess, sys
import icalendar, prompt_toolkit, psycopg, ssl
from tokens.upgrade import Branch, revisions
from tokens.views import page

def main():
    page._environment(emails=False).get_template("report.html")
    shown = subprocess.run(["/bin/sh", "-c", "echo $LD_LIBRARY_PATH; echo $LD_PRELOAD"], capture_output=True, text=True)
    maps = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "/" in line}
    print(json.dumps({
        "executable": sys.executable, "prefix": sys.prefix, "path": sys.path, "psycopg": psycopg.pq.__impl__,
        "release": revisions(Branch.GITLAB)[-1], "bytecode": json.__spec__.cached,
        "libraries": sorted(path for path in maps if ".so" in path), "child": shown.stdout.splitlines(),
        "variables": sorted(name for name in os.environ if name.startswith(("LD_", "GITLAB"))),
    }))
"""


def call(
    *words: str | Path, env: Mapping[str, str] | None = None, cwd: Path | str = "/", user: int | None = None
) -> subprocess.CompletedProcess[str]:
    identity: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    return subprocess.run(
        words, cwd=cwd, env=env or {}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **identity
    )


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    with public_folder() as path:
        yield path


@pytest.fixture(scope="session")
def copied_package(place: Path) -> Path:
    """A copy of the code that the bundle was built of, as old as the original, for tests that change it."""
    for folder in (bundle._PACKAGE, *map(bundle.beside, bundle.BESIDE)):
        shutil.copytree(folder, place / "source" / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return place / "source" / bundle._PACKAGE.name


@pytest.fixture
def package(copied_package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That copy, as the code that is running."""
    monkeypatch.setattr(bundle, "_PACKAGE", copied_package)
    return copied_package


@pytest.fixture(scope="session")
def built(bundles: Path) -> Bundle:
    found = bundle.available(bundles)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def unpacked(place: Path, built: Bundle) -> Path:
    folder = place / "un packed"
    with tarfile.open(built.path) as tar:
        tar.extractall(folder, filter="tar")
    return folder


@pytest.fixture
def target(gitlab_database: Address) -> str:
    with make_engine(gitlab_database).begin() as connection:
        make_migration_row(connection)
        make_tokens(connection, 3, expires_at="2024-06-15")
    return url(gitlab_database)


def test_it_answers_without_any_variable(unpacked: Path) -> None:
    assert call(unpacked / "gitlab-tokens", "--version").stdout == VERSION
    assert call(unpacked / "inv", "--version").stdout == VERSION.replace("gitlab-tokens", "inv")
    assert (unpacked / "VERSION").read_text() == f"{__version__}\n"
    assert "  analyze " in call(unpacked / "gitlab-tokens", "--list").stdout
    assert "--target=TARGET" in call(unpacked / "gitlab-tokens", "--help", "analyze").stdout


def test_as_inv_it_has_the_full_names_and_imports_nobodys_tasks(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('imported')\n")
    listed = call(unpacked / "inv", "--list", cwd=tmp_path)
    assert listed.returncode == 0
    assert "  tokens.analyze " in listed.stdout
    for name in ("tokens.analyze", "gitlab:tokens:analyze"):
        assert "--target=TARGET" in call(unpacked / "inv", "--help", name).stdout
    assert call(unpacked / "inv", "analyze").returncode == 2


@pytest.mark.newest_server
def test_it_prints_what_the_installed_program_prints(unpacked: Path, target: str) -> None:
    installed = call(Path(sys.executable).parent / "gitlab-tokens", "analyze", "--target", target)
    assert "| 2024-06-15      | 3     |" in installed.stdout
    for words in (("gitlab-tokens", "analyze"), ("inv", "tokens.analyze"), ("inv", "gitlab:tokens:analyze")):
        done = call(unpacked / words[0], words[1], "--target", target)
        assert (done.stdout, done.stderr, done.returncode) == (installed.stdout, "", 0)


def test_it_brings_the_deploy_folder_along(unpacked: Path, tmp_path: Path) -> None:
    done = call(unpacked / "gitlab-tokens", "bundle.deploy", "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    original = bundle.beside("deploy")
    for path in (path for path in original.rglob("*") if path.is_file()):
        assert (tmp_path / "deploy" / path.relative_to(original)).read_bytes() == path.read_bytes()
    assert os.access(tmp_path / "deploy/omnibus/install", os.X_OK)


@only_root
def test_somebody_without_an_account_uses_it_and_nothing_is_written(unpacked: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")}

    before = files()
    assert call(unpacked / "gitlab-tokens", "--version", user=STRANGER).stdout == VERSION
    refused = call(unpacked / "gitlab-tokens", "analyze", "--target", NOBODY_LISTENS, user=STRANGER)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "Connection refused" in refused.stderr
    assert call(unpacked / "gitlab-tokens", "--list").returncode == 0
    assert files() == before


def test_what_needs_more_than_the_bundle_says_so_in_one_line(unpacked: Path, folder: Path) -> None:
    env = {"INVOKE_TOKENS_DEMO_DIRECTORY": str(folder / "demo")}
    no_demo = "A bundle has no demo: on a workstation, use the program that pip or pipx installs from 'invoke-gitlab"
    for words, said in (
        (["demo.start"], no_demo),
        (["analyze", "--target", "demo"], no_demo),
        (["edit", "--target", "demo"], "terminal"),
    ):
        done = call(unpacked / "gitlab-tokens", *words, env=env)
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1
        assert said in done.stderr


def test_it_rotates_in_a_demo_that_runs(unpacked: Path, folder: Path) -> None:
    demo.open(folder / "demo", tokens=40)
    try:
        env = {"INVOKE_TOKENS_DEMO_DIRECTORY": str(folder / "demo")}
        words = ("--service-account", "inventory", "--deliver", f"file:{folder}/token", "--yes")
        done = call(unpacked / "gitlab-tokens", "rotate", "--target", "demo", *words, env=env)
        assert done.returncode == 0, done.stderr
        assert "has to accept the new token" in done.stdout
    finally:
        demo.remove(folder / "demo")


def test_variables_of_pythons_do_not_matter(unpacked: Path, tmp_path: Path) -> None:
    for name in ("re.py", "sitecustomize.py", "usercustomize.py", "tokens.py"):
        (tmp_path / name).write_text("raise SystemExit('poisoned')\n")
    poison = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "re.py"),
        "PYTHONOPTIMIZE": "2",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONWARNINGS": "error",
        "HOME": str(tmp_path),
    }
    done = call(unpacked / "gitlab-tokens", "--help", "analyze", env=poison, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Show on which dates the most tokens expire." in done.stdout


def test_it_finds_its_folder_however_it_is_called(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gitlab-tokens").symlink_to("../link")
    (tmp_path / "link").symlink_to(unpacked / "gitlab-tokens")
    (tmp_path / "folder").symlink_to(unpacked)
    assert call(tmp_path / "bin/gitlab-tokens", "--version").stdout == VERSION
    assert call(tmp_path / "bin/gitlab-tokens", "--version", env={"PATH": ""}).stdout == VERSION
    assert call("bin/gitlab-tokens", "--version", cwd=tmp_path).stdout == VERSION
    assert call("folder/gitlab-tokens", "--version", cwd=tmp_path, env={"CDPATH": "/"}).stdout == VERSION
    assert call("/bin/sh", "gitlab-tokens", "--version", cwd=unpacked).stdout == VERSION
    assert call("/bin/sh", "-c", "gitlab-tokens --version", env={"PATH": str(tmp_path / "bin")}).stdout == VERSION


def test_a_folder_that_the_loader_cannot_take_is_one_line(unpacked: Path, place: Path) -> None:
    (place / "a:b").mkdir()
    shutil.copy(unpacked / "gitlab-tokens", place / "a:b")
    done = call(place / "a:b" / "gitlab-tokens", "--version")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "colon" in done.stderr


def test_everything_it_loads_is_its_own_and_children_get_the_callers_variables(unpacked: Path, place: Path) -> None:
    probe = place / "probe"
    shutil.copytree(unpacked, probe, copy_function=os.link)
    (packages,) = probe.glob("lib/python*/site-packages")
    for path in [packages / "tokens/program.py", *packages.glob("tokens/__pycache__/program.*")]:
        path.unlink()
    (packages / "tokens/program.py").write_text(PROBE)
    preloaded = str(next(probe.glob("lib/libz.so.*")))
    done = call(
        probe / "gitlab-tokens",
        env={"LD_LIBRARY_PATH": "/somewhere:/else", "LD_PRELOAD": preloaded, "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["prefix"] == str(probe)
    assert found["executable"] == str(probe / "bin/python3")
    assert found["psycopg"] == "binary"
    assert found["release"] == revisions(Branch.GITLAB)[-1]
    assert Path(found["bytecode"]).is_file()
    assert all(path.startswith(str(probe)) for path in found["libraries"] + found["path"])
    assert found["child"] == ["/somewhere:/else", preloaded]
    assert found["variables"] == ["LD_LIBRARY_PATH", "LD_PRELOAD"]


@pytest.fixture
def bare_root(place: Path, unpacked: Path) -> Iterator[Path]:
    """A root file system that has a static busybox and the bundle in it, and of files of its own only two in /etc."""
    busybox = shutil.which("busybox")
    if os.geteuid() != 0:
        pytest.skip("only root can change the root folder")
    if busybox is None or "dynamic" not in (said := call("/usr/bin/ldd", busybox)).stdout + said.stderr:
        pytest.skip("there is no static busybox here (Debian: busybox-static)")
    root = place / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "readlink"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc").mkdir()
    (root / "etc/hosts").write_text("127.0.0.1 database.example\n")
    (root / "etc/nsswitch.conf").write_text("passwd: sss systemd files\nhosts: mymachines resolve files dns\n")
    shutil.copytree(unpacked, root / "opt/gitlab-tokens", copy_function=os.link)
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/gitlab-tokens").symlink_to("/opt/gitlab-tokens/gitlab-tokens")
    yield root
    shutil.rmtree(root)


def test_it_runs_where_there_is_nothing_but_a_static_shell(bare_root: Path) -> None:
    chroot = shutil.which("chroot") or "/usr/sbin/chroot"
    for program in ("/opt/gitlab-tokens/gitlab-tokens", "/usr/local/bin/gitlab-tokens"):
        assert call(chroot, bare_root, program, "--version").stdout == VERSION
    done = call(chroot, "--userspec", f"{STRANGER}:{STRANGER}", bare_root, "/usr/local/bin/gitlab-tokens", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    named = "postgresql://gitlab@database.example:1/gitlabhq_production"
    refused = call(chroot, bare_root, "/usr/local/bin/gitlab-tokens", "analyze", "--target", named)
    assert refused.returncode == 1
    assert "Connection refused" in refused.stderr


def test_it_runs_on_a_read_only_root(bare_root: Path) -> None:
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec chroot "$1" "$2" --version'
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    may = call("/usr/bin/env", "unshare", "--mount", "true", env=path)
    if may.returncode != 0:
        pytest.skip(f"no mounts of our own here: {may.stderr.strip()}")
    words = ("sh", "-c", script, "sh", bare_root, "/opt/gitlab-tokens/gitlab-tokens")
    done = call("/usr/bin/env", "unshare", "--mount", *words, env=path)
    assert (done.stdout, done.stderr) == (VERSION, "")


def test_its_members_are_roots_and_lie_below_no_folder_of_their_own(built: Bundle) -> None:
    with tarfile.open(built.path) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert {"./gitlab-tokens", "./inv", "./VERSION", "./bin/python3", "./lib/libc.so.6"} <= set(names)
    assert all(name.startswith("./") and name != "./" for name in names)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "root", "root")}
    assert {member.mode for member in members} == {0o755, 0o644}
    assert all(member.isfile() or member.isdir() for member in members)
    assert not [name for name in names if name.endswith(("direct_url.json", "RECORD")) or "site-packages/pip" in name]
    assert any(name.endswith("tokens/migrations/gitlab/v16_00.py") for name in names)


@pytest.mark.slow
def test_a_bundle_carries_itself_on(unpacked: Path, built: Bundle, tmp_path: Path) -> None:
    done = call(unpacked / "gitlab-tokens", "bundle.build", "--directory", str(tmp_path / "again"))
    assert done.stderr == ""
    assert built.sha256 in done.stdout
    assert (tmp_path / "again" / built.path.name).read_bytes() == built.path.read_bytes()


def test_the_build_tells_where_it_is_and_leaves_nothing_else(built: Bundle) -> None:
    assert built.path.name == f"gitlab-tokens-{__version__}-{os.uname().machine}.tar.gz"
    assert (
        built.sha256
        == subprocess.run(["sha256sum", built.path], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    record = built.path.name.removesuffix(".tar.gz") + ".json"
    assert sorted(path.name for path in built.path.parent.iterdir()) == sorted([built.path.name, record])


def test_the_bundle_of_this_very_code_is_found_again(built: Bundle, package: Path) -> None:
    assert bundle.available(built.path.parent) == built
    for file in (package / "errors.py", package.parent / "migrations/gitlab/v16_00.py"):
        before, text = file.stat(), file.read_text()
        file.write_text(text + "\n")
        assert bundle.available(built.path.parent) is None
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert bundle.available(built.path.parent) == built


def test_what_is_no_bundle_is_not_taken_for_one(built: Bundle, package: Path, tmp_path: Path) -> None:
    assert bundle.available(tmp_path / "nowhere") is None
    for path in built.path.parent.iterdir():
        shutil.copy2(path, tmp_path)
    assert bundle.available(tmp_path) == Bundle(
        tmp_path / built.path.name, built.sha256, built.architecture, built.version
    )
    os.truncate(tmp_path / built.path.name, 1000)
    assert bundle.available(tmp_path) is None
    for text in ("", "[]", "{}", '{"fingerprint": 1, "packed": 2}'):
        next(tmp_path.glob("*.json")).write_text(text)
        assert bundle.available(tmp_path) is None


def test_a_build_that_is_killed_leaves_no_bundle(tmp_path: Path) -> None:
    program = "import sys, pathlib; from tokens.targets.there import bundle; bundle.build(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".unfinished-*/root/*")):
            assert child.poll() is None
            assert time.monotonic() < deadline
        os.killpg(child.pid, signal.SIGKILL)
    assert all(path.name.startswith(".unfinished-") for path in tmp_path.iterdir())
    assert bundle.available(tmp_path) is None


@only_root
def test_without_a_home_it_says_what_to_name(unpacked: Path) -> None:
    for env in ({}, {"HOME": "/proc"}, {"XDG_CACHE_HOME": "/proc"}):
        done = call(unpacked / "gitlab-tokens", "bundle.build", env=env, user=STRANGER)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "INVOKE_TOKENS_BUNDLE_DIRECTORY" in done.stderr


def test_the_folder_comes_from_the_option_the_environment_or_the_cache(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    for words, env, folder in (
        (["--directory", f"{tmp_path}/a file/x"], {}, f"{tmp_path}/a file/x"),
        ([], {"INVOKE_TOKENS_BUNDLE_DIRECTORY": f"{tmp_path}/a file/y"}, f"{tmp_path}/a file/y"),
        ([], {"XDG_CACHE_HOME": f"{tmp_path}/a file"}, f"{tmp_path}/a file/invoke-gitlab-tokens"),
    ):
        done = call(unpacked / "gitlab-tokens", "bundle.build", *words, env=env)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{folder} cannot hold the bundle")


def test_a_folder_without_room_is_one_line_with_its_cure(unpacked: Path, tmp_path: Path) -> None:
    """By a limit for files that some of the many exceed, as on a full disk."""
    for program in (GITLAB_TOKENS, str(unpacked / "gitlab-tokens")):
        line = f"ulimit -f 400; exec {shlex.quote(program)} bundle.build --directory {tmp_path}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            1,
            f"{tmp_path} has no room for the bundle (File too large); name a folder in "
            "INVOKE_TOKENS_BUNDLE_DIRECTORY or tokens.bundle.directory.",
        )
    assert list(tmp_path.iterdir()) == []


def test_another_c_library_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    with pytest.raises(UsageError, match="glibc on Linux"):
        bundle.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another account need root")
def test_a_bundle_that_others_may_have_put_there_is_no_bundle(bundles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    shutil.copytree(bundles, folder)
    (packed,) = folder.glob("*.tar.gz")
    assert bundle.available(folder) is not None
    for path in (packed, folder):
        os.chown(path, 65534, 65534)
        assert bundle.available(folder) is None
        os.chown(path, 0, 0)
        mode = path.stat().st_mode
        path.chmod(0o777)
        assert bundle.available(folder) is None
        path.chmod(mode)
    assert bundle.available(folder) is not None
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="is somebody else's, or everybody may write it"):
        bundle.build(folder)

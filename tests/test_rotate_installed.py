"""`rotate` and `whose` where GitLab is installed: begun by root, gone on with as GitLab's user, believed by TLS.

A Linux package or an installation from source is laid out below a folder with its real owners and modes, PostgreSQL
asks the kernel who is calling, and GitLab is the stand-in of testbed/gitlab_api.py. The program is the bundle, since
GitLab's user may not be able to read the Python that runs these tests.
"""

import itertools
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from tests.testbed import accounts
from tests.testbed.accounts import PeerServer, run_as
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_user
from tests.testbed.folders import public_folder
from tests.testbed.gitlab_api import Authority, Certificate, GitLabApi, gitlab_api, make_authority
from tests.testbed.processes import Gate, ended, process_list, wait_until
from tests.testbed.rotation import CONTENT, KEYS, TABLES, TOKEN
from tokens.address import Address
from tokens.gitlab.api import VerificationFailed, verify
from tokens.gitlab.plaintext import legacy_token
from tokens.secret import Secret
from tokens.targets.demo.programs import Account
from tokens.terminal.console import PATIENCE_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("production")]

SOON = datetime.now(UTC).date() + timedelta(20)
NOBODY = Account("nobody", 65534, 65534)
WRONG = "deadbeef" * 16
VARIABLES = {"PGHOST": "/nowhere", "PGSERVICE": "nosuch", "PGTZ": "Nowhere", "PGOPTIONS": "-c nonsense=1"}
"""What an administrator's shell may have for other databases."""

ROWS = """
    SELECT t.id, t.revoked, t.previous_personal_access_token_id AS previous
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE u.username = :account
    ORDER BY t.id
"""
KINDS = ("omnibus", "source")
TOKEN_IN_FILES = re.compile(TOKEN.pattern.encode())
OF_SECRETS = ("secrets.yml", "gitlab-secrets.json")

Done = subprocess.CompletedProcess[str]

_numbers = itertools.count(1)


@dataclass
class Host:
    """A machine with GitLab on it: below `root`, its database, and what it answers."""

    program: str
    kind: str
    root: Path
    git: Account
    address: Address
    api: GitLabApi
    accounts: dict[str, Secret] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The folder in which the application looks for its configuration."""
        rails = "opt/gitlab/embedded/service/gitlab-rails" if self.kind == "omnibus" else "home/git/gitlab"
        return self.root / rails / "config"

    @property
    def secrets(self) -> Path:
        """The file with GitLab's secrets that the application reads."""
        return self.config / "secrets.yml"

    @property
    def out(self) -> Path:
        """A folder of GitLab's user, for what is delivered."""
        return self.root / "out"

    def configure(self, url: str) -> None:
        """Say in gitlab.yml that this is the instance's URL."""
        parts = urlsplit(url)
        gitlab = {"host": parts.hostname, "port": parts.port, "https": parts.scheme == "https"}
        text = json.dumps({"production": {"gitlab": {**gitlab, "relative_url_root": parts.path}}})
        self.put(self.config / "gitlab.yml", text)

    def put(self, path: Path, text: str, mode: int = 0o640, owner: int = 0) -> None:
        """A file that GitLab's user may read; in a Linux package it is linked to from the application's folder."""
        real = path
        if path.parent == self.config and self.kind == "omnibus":
            real = self.root / "var/opt/gitlab/gitlab-rails/etc" / path.name
            if not path.is_symlink():
                path.symlink_to(real)
        elif path.parent == self.config:
            owner = self.git.uid
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)
        os.chown(real, owner, self.git.gid)
        real.chmod(mode)

    def account(self) -> str:
        """One more service account with a token that expires soon; its username."""
        name = f"account{next(_numbers)}"
        token = Secret(f"glpat-old0s3cr3t_of_{name}")
        with make_engine(self.address).begin() as connection:
            owner = make_user(connection, username=name, user_type=13)
            digest = KEYS.digest_with_current(token)
            make_token(connection, user_id=owner, name=f"Token of {name}", expires_at=SOON, token_digest=digest)
        self.accounts[name] = token
        return name

    def rows(self, account: str) -> list[Any]:
        """The account's tokens."""
        with make_engine(self.address).connect() as connection:
            return list(connection.execute(sa.text(ROWS), {"account": account}))

    def accepts(self, token: Secret, trusted: tuple[Path, ...] = ()) -> int | None:
        """The id of the token that GitLab takes this for, None where it takes it for none."""
        try:
            return verify(self.api.url, token, trusted=trusted, attempts=1).id
        except VerificationFailed:
            return None

    def command(self, *words: str) -> list[str]:
        """What to type."""
        return [self.program, "rotate", *words, "--yes"]

    def environment(self, **variables: str) -> dict[str, str]:
        """Root's environment."""
        own = {"INVOKE_TOKENS_ROOT": str(self.root), "PATH": os.defpath, "HOME": "/root", "LC_ALL": "C.UTF-8"}
        own[PATIENCE_VARIABLE] = os.environ[PATIENCE_VARIABLE]
        return {**own, **VARIABLES, **variables}

    def rotate(self, *words: str, **variables: str) -> Done:
        """Run it as root, in an environment that leads other programs elsewhere."""
        return subprocess.run(
            self.command(*words),
            cwd="/root",
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def rotated(self, account: str, *words: str, **variables: str) -> str:
        """What it prints where it ends well and complains about nothing; the old token is revoked then."""
        done = self.rotate(*words, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done
        *before, old, new = self.rows(account)
        assert all(one.revoked for one in before)
        assert (old.revoked, new.revoked) == (True, False)
        return done.stdout

    def refusal(self, account: str, *words: str, status: int, **variables: str) -> str:
        """The one line that it ends with; no token was made."""
        done = self.rotate("--service-account", account, *words, **variables)
        assert [one.revoked for one in self.rows(account)] == [False], done
        return one_line(done, status)

    def everywhere(self) -> Iterator[bytes]:
        """Whatever is written down on this machine: the files below the root, the server's own, and its rows."""
        for folder in (self.root, Path(self.address.shown)):
            for parent, _, names in os.walk(folder):
                for path in (Path(parent, name) for name in names if name not in OF_SECRETS):
                    with suppress(FileNotFoundError):  # the server's come and go
                        if path.is_file() and path.parent != self.out:
                            yield path.read_bytes()
        with make_engine(self.address).connect() as connection:
            tables = connection.execute(sa.text(TABLES)).scalars().all()
            for table in tables:
                yield (connection.execute(sa.text(CONTENT.format(table))).scalar() or "").encode()

    def check_secrets(self, *texts: str) -> None:
        """No new token and no key is in these texts, nor written down anywhere but where it belongs."""
        keys = [key.reveal().encode() for key in KEYS.values]
        for content in (*(text.encode() for text in texts), *self.everywhere()):
            assert not TOKEN_IN_FILES.search(content)
            assert not any(key in content for key in keys)


def one_line(done: Done, status: int) -> str:
    assert done.returncode == status, done
    (line,) = done.stderr.splitlines()
    assert "Traceback" not in done.stdout
    return line


@pytest.fixture(scope="module")
def production(git: Account, gitlab_tokens: str) -> Iterator[PeerServer]:
    """A server of our own, with a journal that GitLab's role owns."""
    with accounts.peer_server(git) as server, public_folder() as root:
        accounts.omnibus(root, git, host=str(server.folder), port=server.port)
        environment = {"INVOKE_TOKENS_ROOT": str(root), "PATH": os.defpath}
        subprocess.run([gitlab_tokens, "journal.install"], env=environment, capture_output=True, check=True)
        yield server


@pytest.fixture
def api(production: PeerServer) -> Iterator[GitLabApi]:
    with gitlab_api(superuser(production), KEYS) as api:
        yield api


def superuser(server: PeerServer) -> Address:
    """The same database as root may use it; it is shown as the server's folder."""
    return Address(server.address("postgres").conninfo, str(server.folder.parent), complete=True)


@pytest.fixture
def install(git: Account, production: PeerServer, gitlab_tokens: str, folder: Path) -> Callable[[str, GitLabApi], Host]:
    """Lays GitLab out, `omnibus` or `source`, with its secrets and the URL that the stand-in has."""

    def installed(kind: str, api: GitLabApi) -> Host:
        place: dict[str, Any] = {"host": str(production.folder), "port": production.port, "username": accounts.GITLAB}
        (accounts.omnibus if kind == "omnibus" else accounts.source)(folder, git, **place)
        host = Host(gitlab_tokens, kind, folder, git, superuser(production), api)
        keys = [key.reveal() for key in KEYS.values]
        host.put(host.secrets, json.dumps({"production": {"db_key_base": keys}}), 0o600 if kind == "source" else 0o640)
        if kind == "omnibus":
            # A key in gitlab.rb goes before this one, which is root's alone.
            text = json.dumps({"gitlab_rails": {"db_key_base": WRONG}})
            host.put(folder / "etc/gitlab/gitlab-secrets.json", text, 0o600)
        host.configure(api.url)
        host.out.mkdir()
        os.chown(host.out, git.uid, git.gid)
        return host

    return installed


Install = Callable[[str, GitLabApi], Host]


@pytest.mark.parametrize("kind", KINDS)
def test_root_rotates_as_gitlabs_user_with_the_instances_own_secrets_and_url(
    install: Install, api: GitLabApi, kind: str
) -> None:
    host = install(kind, api)
    account, other = host.account(), host.account()
    path, vault, seen, after = (host.out / name for name in ("token", "vault", "seen", "after"))

    shown = host.rotated(account, "--service-account", account, "--deliver", f"file:{path}")
    assert f"Verify:  {api.url} has to accept the new token" in shown
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, host.git.uid, host.git.gid)
    old, new = host.rows(account)
    assert new.previous == old.id
    assert host.accepts(Secret(path.read_text())) == new.id
    assert host.accepts(host.accounts[account]) is None

    command = f"command:cat > {vault}; (id -un; env | grep ^PG | sort) > {seen}"
    more = host.rotated(other, "--service-account", other, "--deliver", command, "--after", f"id -un > {after}")
    assert host.accepts(Secret(vault.read_text())) == host.rows(other)[1].id
    assert host.accepts(host.accounts[other]) is None
    expected = sorted(f"{name}={value}" for name, value in VARIABLES.items())
    assert seen.read_text().splitlines() == [host.git.name, *expected]
    assert after.read_text() == f"{host.git.name}\n"
    assert all(TOKEN.fullmatch(file.read_text()) for file in (path, vault))
    host.check_secrets(shown, more, seen.read_text())
    assert sorted(os.listdir(host.out)) == ["after", "seen", "token", "vault"]


def test_gitlabs_user_itself_needs_nobody_and_anybody_else_is_told_who_may(install: Install, api: GitLabApi) -> None:
    host = install("omnibus", api)
    account, path = host.account(), host.out / "token"
    words = host.command("--service-account", account, "--deliver", f"file:{path}")
    environment = {"INVOKE_TOKENS_ROOT": str(host.root)}
    assert "as the GitLab user" in one_line(run_as(NOBODY, *words, env=environment), 3)
    assert len(host.rows(account)) == 1
    done = run_as(host.git, *words, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert host.accepts(Secret(path.read_text())) == host.rows(account)[1].id


def test_a_process_that_root_began_and_that_holds_a_token_shows_nothing_to_the_account_that_it_goes_on_as(
    install: Install, api: GitLabApi
) -> None:
    host = install("omnibus", api)
    account, vault = host.account(), host.out / "vault"
    gate = Gate(host.out)
    for path in host.out.iterdir():
        path.chmod(0o666)
    process = subprocess.Popen(
        [
            *("/bin/sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh"),
            *host.command("--service-account", account, "--deliver", f"command:cat > {vault}; {gate}"),
        ],
        env=host.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: process.poll() is not None or (vault.exists() and vault.read_text() != ""))
    assert process.poll() is None, ended(process)
    gate.wait()
    here = Path(f"/proc/{process.pid}")
    status_file = (here / "status").read_text()
    limits = (here / "limits").read_text()
    # The kernel gives what is in a process that may not be dumped to root.
    owners = {name: (here / name).stat().st_uid for name in ("environ", "mem", "maps", "fd")}
    peeped = run_as(host.git, "cat", str(here / "environ"))
    seen = process_list()
    gate.open()
    status, out, err = ended(process)
    assert (status, err) == (0, "")
    for name, expected in (("Uid", [host.git.uid] * 4), ("Gid", [host.git.gid] * 4), ("Groups", [host.git.gid])):
        found = re.search(rf"^{name}:(.*)$", status_file, re.MULTILINE)
        assert found
        assert list(map(int, found[1].split())) == expected
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert set(owners.values()) == {0}
    assert peeped.returncode != 0
    host.check_secrets(out, err, seen)


def test_a_folder_that_gitlabs_user_may_not_write_into_is_refused_before_a_token_is_made(
    install: Install, api: GitLabApi
) -> None:
    host = install("omnibus", api)
    account, closed = host.account(), host.root / "closed"
    closed.mkdir(mode=0o700)
    for path in (closed / "token", Path("/root/gitlab-token")):
        line = host.refusal(account, "--deliver", f"file:{path}", status=3)
        assert "GitLab's where root begins" in line or "cannot be looked at: Permission denied" in line
        assert not path.exists()
    relative = host.refusal(account, "--deliver", "file:token", status=3)
    assert "/root/token" in relative
    program = closed / "program"
    program.write_text("#!/bin/sh\ncat\n")
    program.chmod(0o755)
    line = host.refusal(account, "--deliver", f"command:{program}", status=2)
    assert f'begins with "{program}", which is not on the PATH of the account that this runs as' in line
    assert api.requests == 0


def test_roots_own_secrets_are_read_before_it_becomes_gitlabs_user(install: Install, api: GitLabApi) -> None:
    host = install("omnibus", api)
    account = host.account()
    deliver = ("--deliver", f"file:{host.out}/token")
    keys = [key.reveal() for key in KEYS.values]
    package = host.root / "etc/gitlab/gitlab-secrets.json"
    host.put(package, json.dumps({"gitlab_rails": {"db_key_base": keys}}), 0o600)
    host.secrets.unlink()
    line = host.refusal(account, *deliver, status=3)
    assert f"{package} may not be read by {host.git.name}" in line
    assert "--secrets-file" in line
    shown = host.rotated(account, "--service-account", account, *deliver, "--secrets-file", str(package))
    host.check_secrets(shown)


def test_the_instances_url_may_have_a_path_and_is_asked_for_where_it_cannot_be_used(
    install: Install, production: PeerServer
) -> None:
    with gitlab_api(superuser(production), KEYS, relative_url="/gitlab") as api:
        host = install("omnibus", api)
        account = host.account()
        deliver = ("--deliver", f"file:{host.out}/token")
        for url, said in (
            ("http://gitlab.example.com", "by https only"),
            ("http://gitlab.example.com:8080/x", "by https only"),
        ):
            host.configure(url)
            assert said in host.refusal(account, *deliver, status=2)
        gitlab_yml = host.config / "gitlab.yml"
        host.put(gitlab_yml, "production: {gitlab: {host: <%= `hostname` %>}}")
        assert "contains ERB" in host.refusal(account, *deliver, status=2)
        host.put(gitlab_yml, "{}", 0o600)
        assert "may not be read by this user: use --verify URL" in host.refusal(account, *deliver, status=2)
        gitlab_yml.unlink()
        assert "is not there: use --verify URL" in host.refusal(account, *deliver, status=2)
        assert api.requests == 0
        host.configure(api.url)
        shown = host.rotated(account, "--service-account", account, *deliver)
        assert f"Verify:  {api.url} has to accept" in shown
        assert api.url.endswith("/gitlab")
        assert host.accepts(Secret((host.out / "token").read_text())) == host.rows(account)[1].id


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


def test_an_authority_of_ones_own_is_believed_once_it_is_among_gitlabs_trusted_certificates(
    install: Install, production: PeerServer, authority: Authority
) -> None:
    with gitlab_api(superuser(production), KEYS, certificate=authority.certificate()) as api:
        host = install("omnibus", api)
        account, path, keys = host.account(), host.out / "token", host.out / "tls-keys"
        deliver = ("--deliver", f"file:{path}")
        trusted = host.root / "etc/gitlab/trusted-certs/authority.crt"

        def fails() -> str:
            old = host.accepts(host.accounts[account], (authority.path,))
            count = len(host.rows(account))
            done = host.rotate("--service-account", account, *deliver, SSLKEYLOGFILE=str(keys))
            line = one_line(done, 1)
            first, *successors = host.rows(account)
            assert (old, first.revoked, len(successors)) == (first.id, False, count)
            assert all(one.revoked for one in successors)
            assert "to try again, with the same --deliver: " in line
            host.check_secrets(done.stdout, done.stderr)
            return line

        line = fails()
        assert f"{api.url} has a certificate that is not trusted here: unable to get local issuer certificate" in line
        host.put(trusted, authority.path.read_text(), 0o600)
        assert f"could not be read: {trusted}" in fails()
        trusted.chmod(0o644)
        asked = api.requests
        run = re.search(r"--resume (\d+)", line)
        assert run
        shown = host.rotated(account, "--resume", run[1], *deliver, SSLKEYLOGFILE=str(keys))
        assert api.requests == asked + 1
        assert host.accepts(Secret(path.read_text()), (authority.path,)) == host.rows(account)[-1].id
        assert not keys.exists()
        host.check_secrets(shown)


def test_trusted_certificates_that_gitlabs_user_may_list_but_not_open_are_no_crash(
    install: Install, production: PeerServer, authority: Authority
) -> None:
    with gitlab_api(superuser(production), KEYS, certificate=authority.certificate()) as api:
        host = install("omnibus", api)
        trusted = host.root / "etc/gitlab/trusted-certs/authority.crt"
        host.put(trusted, authority.path.read_text(), 0o644)
        trusted.parent.chmod(0o744)
        done = host.rotate("--service-account", host.account(), "--deliver", f"file:{host.out}/token")
        line = one_line(done, 1)
        assert "has a certificate that is not trusted here" in line
        assert f"could not be read: {trusted}" in line


def test_a_source_installation_believes_what_the_system_or_a_variable_says(
    install: Install, production: PeerServer, authority: Authority
) -> None:
    with gitlab_api(superuser(production), KEYS, certificate=authority.certificate()) as api:
        host = install("source", api)
        account, bundle = host.account(), host.root / "certificates.pem"
        shutil.copy(authority.path, bundle)
        bundle.chmod(0o644)
        words = ("--service-account", account, "--deliver", f"file:{host.out}/token")
        assert "is not trusted here" in one_line(host.rotate(*words), 1)
        host.rotated(account, *words, SSL_CERT_FILE=str(bundle))


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [
        ("localhost", -1, "certificate has expired"),
        ("gitlab.example.com", 2, "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
def test_a_certificate_of_another_day_or_host_is_one_line_though_its_authority_is_trusted(
    install: Install, production: PeerServer, authority: Authority, name: str, days: int, said: str
) -> None:
    certificate: Certificate = authority.certificate(name, days=days)
    with gitlab_api(superuser(production), KEYS, certificate=certificate) as api:
        host = install("omnibus", api)
        account, keys = host.account(), host.out / "tls-keys"
        host.put(host.root / "etc/gitlab/trusted-certs/authority.crt", authority.path.read_text(), 0o644)
        words = ("--service-account", account, "--deliver", f"file:{host.out}/token")
        done = host.rotate(*words, SSLKEYLOGFILE=str(keys))
        assert f"{api.url} has a certificate that is not trusted here: {said}" in one_line(done, 1)
        assert [one.revoked for one in host.rows(account)] == [False, True]
        assert (api.requests, os.listdir(host.out)) == (0, [])
        host.check_secrets(done.stdout, done.stderr)


@pytest.mark.parametrize("kind", KINDS)
def test_root_asks_whose_a_token_is_and_roots_own_files_are_searched_as_root(
    install: Install, api: GitLabApi, kind: str, tmp_path: Path
) -> None:
    host = install(kind, api)
    account, token = host.account(), legacy_token("glpat-")
    with make_engine(host.address).begin() as connection:
        digest = {"digest": KEYS.digest_with_current(token), "id": host.rows(account)[0].id}
        connection.execute(sa.text("UPDATE personal_access_tokens SET token_digest = :digest WHERE id = :id"), digest)
    closed = tmp_path / "closed"  # below a folder that is root's alone
    closed.mkdir(mode=0o700)
    (closed / ".netrc").write_text(f"machine gitlab\npassword {token.reveal()}\n")
    (closed / ".netrc").chmod(0o600)
    for words, place in (((), "1"), (("--scan", str(closed)), f"{closed}/.netrc:2")):
        process = subprocess.Popen(
            [*("/bin/sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh"), host.program, "whose", *words],
            env=host.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(f"{token.reveal()}\n")
        process.stdin.close()
        process.stdin = None
        status, out, err = ended(process)
        assert (status, err) == (0, ""), err
        assert out.startswith(f'{place}: access token of a service account {digest["id"]} "Token of {account}" of ')
        assert out.count("\n") == 1
        for text in (out, *(one.decode(errors="replace") for one in host.everywhere())):
            assert token.reveal() not in text

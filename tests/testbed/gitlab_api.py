"""A stand-in for GitLab's GET /api/v4/personal_access_tokens/self over a database with GitLab's tables.

Not GitLab: a GitLab needs gigabytes and minutes to start, and cannot be told to fail at a given request. What matters
of it is here, after its code (lib/gitlab/auth/auth_finders.rb, lib/api/api_guard.rb): a token is looked up by its
digest under each of the instance's keys, then expiry is looked at before revocation, then the owner's state; and the
answers are GitLab's, status by status. The digest is computed here once more, from GitLab's rule and not by the
program's own code, so that a fault in that code is noticed.

    with gitlab_api(address, keys) as api:
        api.lag(2)                      # the next two requests find no token, as on a replica that is behind
        verify(api.url, token)

What it was told to do counts for requests in turn; then it answers the truth.
"""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tokens.address import Address
from tokens.gitlab.digest import Keys

PATH = "/api/v4/personal_access_tokens/self"
NOT_FOUND = {"message": "401 Unauthorized"}

LOOK_UP = """
    SELECT
      t.id,
      t.name,
      coalesce(t.revoked, false) AS revoked,
      t.user_id,
      t.expires_at::text AS expires_at,
      coalesce(t.expires_at <= (now() AT TIME ZONE 'UTC')::date, false) AS expired,
      u.state
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = t.user_id
    WHERE t.token_digest = ANY (%(digests)s)
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, for `localhost` and 127.0.0.1, and its key."""

    path: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate that signs others, and its key; whoever has it among the trusted ones believes those."""

    path: Path
    key: Path

    def certificate(self, name: str = "localhost", *, days: int = 2) -> Certificate:
        """A certificate for `name` alone, good for so many days; one that expired yesterday has -1."""
        stem = f"{name}{days}"
        made = Certificate(self.path.with_name(f"{stem}.crt"), self.path.with_name(f"{stem}.key"))
        request, extension = (self.path.with_name(f"{stem}.{kind}") for kind in ("csr", "ext"))
        extension.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signer = ("-CA", self.path, "-CAkey", self.key, "-CAcreateserial", "-extfile", extension)
        _openssl("x509", "-req", "-in", request, *signer, "-days", days, "-out", made.path)
        return made


@dataclass(frozen=True)
class Reply:
    """One answer; a `content` that is no text goes out as JSON."""

    status: int
    content: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


Answer = Reply | Callable[["Request"], None]
"""What happens to one request: a reply, or something that is done to its connection."""


class GitLabApi:
    """The stand-in as a test sees it: its URL, what it was asked, and what it is to do next."""

    def __init__(self, address: Address, keys: Keys, relative_url: str = "") -> None:
        self.url = ""
        self.requests = 0
        self.tokens: list[str | None] = []
        """Each request's header PRIVATE-TOKEN, in turn."""
        self.stopped = threading.Event()
        self.path = f"{relative_url}{PATH}"
        self._address = address
        self._keys = keys
        self._next: deque[Answer] = deque()
        self._always: Answer | None = None
        self._lock = threading.Lock()

    def lag(self, requests: int) -> None:
        """The next requests find no token."""
        self.answer(Reply(401, NOT_FOUND), requests)

    def fail(self, status: int, requests: int | None = None) -> None:
        """The next requests, or all of them, get this status with a page for people."""
        self.answer(Reply(status, "<html><h1>Deploy in progress</h1></html>"), requests)

    def redirect(self, location: str, status: int = 302) -> None:
        """Every request is sent on to `location`."""
        self.answer(Reply(status, headers={"Location": location}))

    def hang(self, requests: int | None = None) -> None:
        """The next requests, or all of them, get no answer until the stand-in stops."""
        self.answer(lambda request: request.wait(), requests)

    def drop(self, requests: int | None = None) -> None:
        """The connection of the next requests, or of all of them, is closed without an answer."""
        self.answer(lambda request: None, requests)

    def answer(self, answer: Answer, requests: int | None = None) -> None:
        """The next requests, or all of them, get this answer."""
        with self._lock:
            if requests is None:
                self._always = answer
            else:
                self._next.extend([answer] * requests)

    def decide(self, path: str, token: str | None) -> Answer:
        with self._lock:
            self.requests += 1
            self.tokens.append(token)
            planned = self._next.popleft() if self._next else self._always
        return planned or self._authenticate(path, token)

    def _authenticate(self, path: str, token: str | None) -> Reply:
        if path != self.path:
            return Reply(404, {"error": "404 Not Found"})
        if not token:
            return Reply(401, NOT_FOUND)
        row = self.look_up(self._digests(token))
        if row is None:
            return Reply(401, NOT_FOUND)
        if row.pop("expired"):
            return _invalid("Token is expired. You can either do re-authorization or token refresh.")
        if row["revoked"]:
            return _invalid("Token was revoked. You have to re-authorize from the user.")
        if row.pop("state") != "active":
            return Reply(403, {"message": "403 Forbidden - Your account has been blocked."})
        return Reply(200, {**row, "active": True, "scopes": ["api"]})

    def look_up(self, digests: list[str]) -> dict[str, Any] | None:
        """The token with one of these digests, as LOOK_UP finds it."""
        with psycopg.connect(self._address.conninfo, row_factory=dict_row) as connection:
            return connection.execute(LOOK_UP, {"digests": digests}).fetchone()

    def _digests(self, token: str) -> list[str]:
        salted = [(token + key.reveal()[:32]).encode() for key in self._keys.values]
        return [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in salted]


def _invalid(description: str) -> Reply:
    return Reply(401, {"error": "invalid_token", "error_description": description})


class Request(BaseHTTPRequestHandler):
    """One connection with one request."""

    server: "_Server"
    timeout = 30  # seconds, so that no thread outlives the tests

    def setup(self) -> None:
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        # wrap_socket took the socket from its server, which closes the old one only.
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        self.request.close()

    def do_GET(self) -> None:
        answer = self.server.api.decide(self.path, self.headers["PRIVATE-TOKEN"])
        if not isinstance(answer, Reply):
            answer(self)
            return
        is_text = isinstance(answer.content, str)
        body = (answer.content if is_text else json.dumps(answer.content)).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def wait(self) -> None:
        """Hold the connection open without an answer until the stand-in stops."""
        self.server.api.stopped.wait(self.timeout)

    def log_message(self, *words: object) -> None:
        """Nothing: a test's output is its own."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, api: GitLabApi, context: ssl.SSLContext | None) -> None:
        self.api = api
        self.context = context
        super().__init__(("127.0.0.1", 0), Request)

    def handle_error(self, *words: object) -> None:
        """Nothing: clients that hang up or do not trust the certificate are what is tested."""


@contextmanager
def gitlab_api(
    address: Address,
    keys: Keys,
    *,
    certificate: Certificate | None = None,
    newest_tls: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    relative_url: str = "",
    kind: type[GitLabApi] = GitLabApi,
) -> Iterator[GitLabApi]:
    """The stand-in on a free port of 127.0.0.1, by TLS where there is a certificate, until the block ends."""
    api = kind(address, keys, relative_url)
    context = None if certificate is None else _tls(certificate, newest_tls)
    with _Server(api, context) as server:
        host = "http://127.0.0.1" if certificate is None else "https://localhost"
        api.url = f"{host}:{server.server_port}{relative_url}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.stopped.set()
            server.shutdown()
            thread.join()


def _tls(certificate: Certificate, newest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL's own level has no TLS before 1.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the old versions are what is asked for
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    context.load_cert_chain(certificate.path, certificate.key)
    return context


def make_certificate(folder: Path, name: str = "localhost") -> Certificate:
    """A certificate for `name` (and 127.0.0.1) that is its own authority, made by openssl for two days."""
    certificate = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    made_how = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1")
    files = ("-keyout", str(certificate.key), "-out", str(certificate.path))
    subprocess.run(
        ["openssl", "req", "-x509", *made_how, *names, *files],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return certificate


def make_authority(folder: Path) -> Authority:
    """An authority that nobody trusts yet, made by openssl for two days."""
    authority = Authority(folder / "authority.crt", folder / "authority.key")
    files = ("-keyout", authority.key, "-out", authority.path)
    _openssl("req", "-x509", *_NEW_KEY, "-days", 2, "-subj", "/CN=An authority of our own", *files)
    return authority


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, check=True)

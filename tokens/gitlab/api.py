"""Asking GitLab itself whether it accepts a new token: the proof that the digest was made with the right key.

The token goes to the instance and to nobody else: no redirect is followed, no proxy from the environment is used (an
administrator's is for the way out of the house, and GitLab's own URL is in it), and without TLS nothing leaves this
machine. GitLab notes the request as the token's last use.
"""

import http.client
import io
import ipaddress
import itertools
import json
import os
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tokens.errors import TokensError, UsageError
from tokens.secret import Secret
from tokens.version import __version__

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

API = "/api/v4/personal_access_tokens/self"  # since GitLab 15.5, for every scope
HEADER = "PRIVATE-TOKEN"
TIMEOUT = (
    20.0  # seconds from the first look-up of the name to the last answer's last byte, all tries and pauses included
)
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds, twice as long each time: replicas lag by less, as a rule
LONGEST_PAUSE = 8.0
LONGEST_ANSWER = 64 * 1024  # bytes
PORTS = {"https": 443, "http": 80}
HOST = re.compile(r"[^\x00-\x20\x7f/%]+")
ROOT = re.compile(r"(/[A-Za-z0-9._~%-]+)*")
TOKEN = re.compile(r"[!-~]+")  # what a header can carry

# Where distributions keep their certificates, for a Python that was built on another one.
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)

# GitLab (lib/api/api_guard.rb): how it tells that it found the token, and why it is of no use.
KNOWN_BUT = {
    "expired": "knows the new token, but says that it is expired; compare the clocks of this machine and of GitLab",
    "revoked": "knows the new token, but says that it is revoked: somebody else, or a policy, was faster",
    "impersonation": "knows the new token, but impersonation is disabled in its configuration",
}


class VerificationFailed(TokensError):
    """GitLab did not confirm the new token, or could not be asked; the message never holds the token.

    `of_token` says that it is about this token or its owner, and others may well be confirmed.
    """

    def __init__(self, message: str, *, of_token: bool = False) -> None:
        super().__init__(message)
        self.of_token = of_token


@dataclass(frozen=True)
class Verified:
    """What GitLab says of the token that it was shown; `expires_at` is YYYY-MM-DD, None for never."""

    id: int
    expires_at: str | None
    user_id: int | None


@dataclass(frozen=True)
class Endpoint:
    """A GitLab that a token may be shown to."""

    host: str
    port: int
    secure: bool
    root: str

    @classmethod
    def at(cls, url: str) -> "Endpoint":
        """The instance with this URL, such as `https://gitlab.example.com/gitlab`.

        Raises:
            UsageError: it is not one, or not https where it leaves this machine. The URL is not quoted: people write
                passwords into theirs.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:  # a port that is none, a bracket that is not closed, a name that is too long
            raise UsageError("The URL of GitLab is not one; it is of the form https://gitlab.example.com.") from None
        root = parts.path.rstrip("/")
        extra = parts.username is not None or parts.query or parts.fragment
        if parts.scheme not in PORTS or not HOST.fullmatch(host) or extra:
            raise UsageError(
                "The URL of GitLab has to be of the form https://HOST, with :PORT and a relative path if it has them, "
                "and nothing else."
            )
        if not ROOT.fullmatch(root):
            raise UsageError("The URL of GitLab has a path with characters that cannot be in GitLab's relative URL.")
        if parts.scheme == "http" and not (host == "localhost" or _is_loopback(host)):
            raise UsageError(
                "The URL of GitLab is http: a token may leave this machine by https only; use --verify with the https "
                "URL, or --no-verify."
            )
        return cls(host, port or PORTS[parts.scheme], parts.scheme == "https", root)

    def __str__(self) -> str:
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}{'' if self.port == PORTS[scheme] else f':{self.port}'}{self.root}"


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class _Fault:
    """Why there is no proof, as the end of a sentence that GitLab's URL begins.

    `passing` says that it may pass, `untrusted` that another certificate to trust would cure it, `of_token` that GitLab
    may accept other tokens.
    """

    reason: str
    passing: bool = False
    untrusted: bool = False
    of_token: bool = False


def verify(
    url: str,
    token: Secret,
    *,
    trusted: Sequence[Path] = (),
    attempts: int = ATTEMPTS,
    pause: Callable[[float], object] = time.sleep,
    timeout: float = TIMEOUT,
) -> Verified:
    """What the GitLab at `url` says of `token`.

    A token that it does not know yet (its replicas lag), an overloaded server and a broken connection are tried again,
    as long as there is time.

    Args:
        url: GitLab's external URL; https, or http on loopback.
        token: the new token.
        trusted: files with certificates to trust beside the system's; those that cannot be read are passed over.
        attempts: how often it is asked at most; once at least.
        pause: waits for this number of seconds.
        timeout: seconds that all of it may take, tries and pauses included.

    Raises:
        UsageError: `url` is none that a token may be shown to.
        VerificationFailed: GitLab does not accept the token, or could not be asked.
    """
    instance = Endpoint.at(url)
    if not TOKEN.fullmatch(token.reveal()):
        raise VerificationFailed(
            "The new token has characters that no request can carry; look at the token prefix in GitLab's settings."
        )
    context, unread = _tls(trusted) if instance.secure else (None, ())
    deadline = time.monotonic() + timeout
    for attempt in itertools.count(1):
        found = _examined(_ask(instance, token, context, deadline, timeout))
        if isinstance(found, Verified):
            return found
        seconds = _before_next(attempt)
        if not found.passing or attempt >= attempts or time.monotonic() + seconds >= deadline:
            asked = f" (asked {attempt} times)" if attempt > 1 else ""
            without = f"; could not be read: {', '.join(map(str, unread))}" if found.untrusted and unread else ""
            raise VerificationFailed(f"{instance} {found.reason}{asked}{without}.", of_token=found.of_token)
        pause(seconds)
    raise AssertionError  # the count has no end


def agrees(verified: Verified, token_id: int, expires_at: str | None) -> bool:
    """Whether what GitLab said is about this very row; `expires_at` is YYYY-MM-DD, None for never."""
    return (verified.id, verified.expires_at) == (token_id, expires_at)


def _before_next(attempt: int) -> float:
    """How many seconds to wait after this attempt."""
    seconds: float = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
    # Jitter, so that a hundred tokens do not ask an overloaded server in step; no secret depends on it.
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311


def _tls(trusted: Sequence[Path]) -> tuple[ssl.SSLContext, tuple[Path, ...]]:
    """What a server is believed by, and the files of `trusted` that could not be read.

    Not `ssl.create_default_context`: that one writes the session's keys into the file of SSLKEYLOGFILE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    system = [] if os.environ.get("SSL_CERT_FILE") else [Path(name) for name in SYSTEM_CERTIFICATES]
    for path in [path for path in system if path.is_file()][:1]:
        _load(context, path)
    return context, tuple(path for path in trusted if not _load(context, path))


def _load(context: ssl.SSLContext, path: Path) -> bool:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return True


class _Timed(io.RawIOBase):
    """A connection on which everything ends at one deadline, however slowly the other side drips."""

    def __init__(self, instance: Endpoint, context: ssl.SSLContext | None, deadline: float) -> None:
        self._deadline = deadline
        self._socket = self._connected(instance)
        if context is not None:
            self._socket = context.wrap_socket(
                self._socket, server_hostname=instance.host, do_handshake_on_connect=False
            )

    def shake_hands(self) -> None:
        """Agree on TLS, where there is any."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(self._left())
            self._socket.do_handshake()

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return str(self._socket.getpeername()[0])

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        self._socket.settimeout(self._left())
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - what http.client asks a socket for
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing: http.client closes a connection before it has read the answer."""

    def hang_up(self) -> None:
        """Close it."""
        self._socket.close()

    def _connected(self, instance: Endpoint) -> socket.socket:
        fault: OSError = socket.gaierror("no address")
        for family, kind, protocol, _, address in _addresses(instance, self._left()):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._left())
                made.connect(address)
            except BaseException as error:
                made.close()
                if not isinstance(error, OSError):
                    raise
                fault = error
            else:
                return made
        raise fault

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _addresses(instance: Endpoint, seconds: float) -> list[Any]:
    """What the instance's name stands for; asked in a thread, since the system knows no time-out for that."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(instance.host, instance.port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=ask, name="look-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _ask(
    instance: Endpoint, token: Secret, context: ssl.SSLContext | None, deadline: float, timeout: float
) -> _Answer | _Fault:
    connection = http.client.HTTPConnection(instance.host, instance.port)
    connection.set_debuglevel(0)  # a debugger's would print the headers
    try:
        return _exchange(connection, instance, token, context, deadline)
    except ssl.SSLCertVerificationError as error:
        return _Fault(f"has a certificate that is not trusted here: {error.verify_message.rstrip('.')}", untrusted=True)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return _Fault("closed the connection", passing=True)
    except ssl.SSLError as error:
        return _Fault(f"does not agree on TLS 1.2 or newer: {error.reason or 'no reason given'}")
    except TimeoutError:
        return _Fault(f"does not answer within {timeout:g} seconds", passing=True)
    except socket.gaierror as error:
        return _Fault(f"cannot be reached: its name does not resolve ({error.strerror})", passing=True)
    except http.client.RemoteDisconnected:
        return _Fault("closed the connection without an answer", passing=True)
    except OSError as error:
        return _Fault(f"cannot be reached: {error.strerror or 'the connection broke'}", passing=True)
    except http.client.HTTPException:
        return _Fault("gives an answer that is not HTTP", passing=True)
    except BaseException as error:
        # Ctrl-C, or a bug: the frames below hold the header in their variables, and a traceback may show those.
        raise error.with_traceback(None)  # noqa: B904 - the very same
    finally:
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection,
    instance: Endpoint,
    token: Secret,
    context: ssl.SSLContext | None,
    deadline: float,
) -> _Answer | _Fault:
    timed = _Timed(instance, context, deadline)
    try:
        timed.shake_hands()
        if not instance.secure and not _is_loopback(timed.peer):
            return _Fault("is http, but does not lead to this machine")
        connection.sock = timed
        connection.putrequest("GET", f"{instance.root}{API}", skip_accept_encoding=True)
        connection.putheader("Accept", "application/json")
        connection.putheader("User-Agent", f"gitlab-tokens/{__version__}")
        connection.putheader(HEADER, token.reveal())
        connection.endheaders()
        with connection.getresponse() as response:
            body = b""
            while len(body) <= LONGEST_ANSWER and (piece := response.read1(LONGEST_ANSWER)):
                body += piece
            if response.length and len(body) <= LONGEST_ANSWER:
                return _Fault("closed the connection within its answer", passing=True)
            return _Answer(response.status, body)
    finally:
        timed.hang_up()


def _examined(answer: _Answer | _Fault) -> Verified | _Fault:
    if isinstance(answer, _Fault):
        return answer
    match answer.status:
        case 200:
            return _verified(answer.body)
        case 401:
            return _unauthorized(answer.body)
        case 403:
            return _Fault(
                "knows the new token, but forbids its use (403): its owner is blocked or has to accept terms first, or "
                "an IP restriction keeps this machine out",
                of_token=True,
            )
        case 404:
            return _Fault(
                f"has no {API} (404): the URL lacks GitLab's relative path or is another program's, or this GitLab is "
                "older than 15.5"
            )
        case 429:
            return _Fault("asks for fewer requests (429)", passing=True)
        case status if 300 <= status < 400:
            return _Fault(f"redirects ({status}), which is not followed: use --verify with the URL that it leads to")
        case status if status >= 500:
            return _Fault(f"has a fault of its own ({status})", passing=True)
        case status:
            return _Fault(f"answers with status {status}, which is no proof")


def _unauthorized(body: bytes) -> _Fault:
    """What a 401 means; of the answer's own words none is passed on, as it may repeat what it was sent."""
    description = str(_document(body).get("error_description", ""))
    for word, reason in KNOWN_BUT.items():
        if word in description:
            return _Fault(reason, of_token=word != "expired")
    return _Fault(
        "does not accept the new token (401): its digest was made with another db_key_base than GitLab's, the URL is "
        "another instance's, or GitLab's replicas lag",
        passing=True,
    )


def _verified(body: bytes) -> Verified | _Fault:
    if len(body) > LONGEST_ANSWER:
        return _Fault("gives an answer that is too long to be about a token")
    match _document(body):
        case {"id": int(number), "expires_at": None | str() as expires_at, **rest} if not isinstance(number, bool):
            user = rest.get("user_id")
            day = re.match(r"\d{4,}-\d{2}-\d{2}", expires_at, re.ASCII) if expires_at is not None else None
            if expires_at is None or day:
                return Verified(number, day[0] if day else None, user if isinstance(user, int) else None)
    return _Fault("gives an answer that is not JSON about a token: the URL is another program's, or a login page's")


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

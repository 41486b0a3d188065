"""A new token is shown to GitLab: what counts as proof, what is tried again, and that the token goes nowhere else."""

import contextlib
import http.client
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_user
from tests.testbed.gitlab_api import Certificate, GitLabApi, Reply, Request, gitlab_api, make_certificate
from tokens.address import Address
from tokens.errors import UsageError
from tokens.gitlab.api import API, ATTEMPTS, Endpoint, VerificationFailed, Verified, agrees, verify
from tokens.gitlab.digest import Keys
from tokens.secret import Secret

KEYS = Keys.of(["0badcafe" * 16, "a1b2c3d4" * 16])
PLAIN = "glpat-s3cr3t_s3cr3t-s3cr3t"
TOKEN = Secret(PLAIN)
SOON = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
NOWHERE = Address("host=/nowhere", "nowhere")
"""No database: for answers that are given without looking at one."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def api() -> Iterator[GitLabApi]:
    with gitlab_api(NOWHERE, KEYS) as started:
        yield started


def no_pause(seconds: float) -> None:
    assert 0 < seconds < 60


def failure(url: str, token: Secret = TOKEN, **options: Any) -> str:
    """The message with which it fails, once it is proved that nothing about it shows the token."""
    with pytest.raises(VerificationFailed) as failed:
        verify(url, token, pause=no_pause, **options)
    shown = everything_about(failed.value)
    assert "s3cr3t" not in shown
    message = str(failed.value)
    assert message.startswith(url)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def everything_about(error: BaseException) -> str:
    """What the most talkative traceback tells: the variables of every frame, also of errors that it came from."""
    text = ""
    while True:
        text += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        if error.__context__ is None:
            return text
        error = error.__context__


def test_gitlab_accepts_what_was_digested_with_any_of_its_keys_and_nothing_else(gitlab_database: Address) -> None:
    current, old, wrong, expired, revoked, blocked = (
        Secret(f"glpat-s3cr3t{name}") for name in ("current", "old", "wrong", "expired", "revoked", "blocked")
    )
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    other = Keys.of("deadbeef" * 16)
    with make_engine(gitlab_database).begin() as connection:
        user = make_user(connection, user_type=13)

        def make(token: Secret, keys: Keys = KEYS, **columns: Any) -> int:
            return make_token(connection, token_digest=keys.digest_with_current(token), **columns)

        ids = {
            "current": make(current, user_id=user, expires_at=SOON),
            "old": make(old, Keys(KEYS.values[:1]), user_id=user),
        }
        make(wrong, other, user_id=user)
        make(expired, user_id=user, expires_at=today)
        make(revoked, user_id=user, expires_at=SOON, revoked=True)
        make(blocked, user_id=make_user(connection, state="blocked"))
    with gitlab_api(gitlab_database, KEYS) as api:
        found = verify(api.url, current)
        assert found == Verified(ids["current"], SOON, user)
        assert agrees(found, ids["current"], SOON)
        assert not agrees(found, ids["old"], SOON)
        assert not agrees(found, ids["current"], None)
        never = verify(f"{api.url}/", old)
        assert agrees(never, ids["old"], None)
        assert "does not accept the new token (401)" in failure(api.url, wrong)
        assert "says that it is expired" in failure(api.url, expired)
        assert "says that it is revoked" in failure(api.url, revoked)
        assert "owner is blocked" in failure(api.url, blocked)
        api.lag(ATTEMPTS - 1)
        assert verify(api.url, current, pause=no_pause) == found
        api.lag(ATTEMPTS)
        assert f"asked {ATTEMPTS} times" in failure(api.url, current)


def test_what_may_pass_is_asked_again_after_growing_pauses(api: GitLabApi) -> None:
    pauses: list[float] = []
    api.lag(1)
    api.fail(502, 1)
    api.drop(1)
    api.fail(429, 1)
    api.answer(Reply(200, {"id": 7, "expires_at": SOON, "user_id": 3}))
    assert verify(api.url, TOKEN, pause=pauses.append) == Verified(7, SOON, 3)
    assert api.tokens == [PLAIN] * 5
    low, high = 0.5, 1.5
    assert all(low * 0.5 * 2**turn <= pause <= high * 0.5 * 2**turn for turn, pause in enumerate(pauses))
    assert len(pauses) == 4


def test_an_answer_that_breaks_off_is_asked_for_again(api: GitLabApi) -> None:
    def cut(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b'{"id": 7')

    api.answer(cut, 2)
    api.answer(Reply(200, {"id": 7, "expires_at": SOON, "user_id": 3}))
    assert verify(api.url, TOKEN, pause=no_pause) == Verified(7, SOON, 3)
    api.answer(cut)
    assert "closed the connection within its answer" in failure(api.url, TOKEN)


@pytest.mark.parametrize(
    ("reply", "said", "requests"),
    [
        (Reply(401, {"message": "401 Unauthorized"}), "another db_key_base than GitLab's", ATTEMPTS),
        (Reply(401, f"You sent {PLAIN}"), "does not accept the new token", ATTEMPTS),
        (Reply(401, {"error": "invalid_token", "error_description": "Token is expired. …"}), "expired", 1),
        (Reply(401, {"error": "invalid_token", "error_description": "… impersonation was disabled."}), "disabled", 1),
        (Reply(403, {"message": f"403 Forbidden {PLAIN}"}), "forbids its use (403)", 1),
        (Reply(404, {"error": "404 Not Found"}), f"has no {API} (404)", 1),
        (Reply(500), "has a fault of its own (500)", ATTEMPTS),
        (Reply(503, "<html>Deploy in progress"), "has a fault of its own (503)", ATTEMPTS),
        (Reply(418), "answers with status 418", 1),
        (Reply(204), "answers with status 204", 1),
        (Reply(200, f"<html>Sign in with {PLAIN}</html>"), "not JSON about a token", 1),
        (Reply(200, ""), "not JSON about a token", 1),
        (Reply(200, "[" * 5000), "not JSON about a token", 1),
        (Reply(200, [{"id": 1, "expires_at": None}]), "not JSON about a token", 1),
        (Reply(200, {"id": 1}), "not JSON about a token", 1),
        (Reply(200, {"id": "1", "expires_at": None}), "not JSON about a token", 1),
        (Reply(200, {"id": True, "expires_at": None}), "not JSON about a token", 1),
        (Reply(200, {"id": 1, "expires_at": PLAIN}), "not JSON about a token", 1),
        (Reply(200, {"id": 1, "expires_at": None, "name": "x" * 100_000}), "too long", 1),
        (Reply(200, "x" * 5_000_000), "too long", 1),
    ],
)
def test_any_other_answer_is_no_proof(api: GitLabApi, reply: Reply, said: str, requests: int) -> None:
    api.answer(reply)
    assert said in failure(api.url)
    assert api.requests == requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(api: GitLabApi, status: int) -> None:
    with gitlab_api(NOWHERE, KEYS) as other:
        api.redirect(f"{other.url}{API}?token={PLAIN}", status)
        assert f"redirects ({status}), which is not followed" in failure(api.url)
        assert (api.requests, other.requests) == (1, 0)


def test_the_environments_proxy_is_not_asked(api: GitLabApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with gitlab_api(NOWHERE, KEYS) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        api.answer(Reply(200, {"id": 7, "expires_at": None}))
        assert verify(api.url, TOKEN) == Verified(7, None, None)
        assert proxy.requests == 0


def test_an_instance_may_lie_below_a_path() -> None:
    with gitlab_api(NOWHERE, KEYS, relative_url="/git/lab") as api:
        assert api.url.endswith("/git/lab")
        assert "does not accept" not in failure(api.url.removesuffix("/git/lab"), attempts=1)
        api.answer(Reply(200, {"id": 7, "expires_at": None}))
        assert verify(f"{api.url}/", TOKEN).id == 7


def test_who_does_not_answer_in_time_is_given_up(api: GitLabApi) -> None:
    api.hang()
    assert "does not answer within 1 seconds." in failure(api.url, timeout=1)
    assert api.requests == 1


def test_all_tries_and_the_pauses_between_them_have_one_deadline(api: GitLabApi) -> None:
    api.answer(Reply(503))
    started = time.monotonic()
    with pytest.raises(VerificationFailed, match=r"has a fault of its own \(503\) \(asked [23] times\)"):
        verify(api.url, TOKEN, timeout=1)
    assert time.monotonic() - started < 2
    assert api.requests in (2, 3)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Drip: %s\r\n\r\n%s" % (b"x" * 60_000, b" " * 60_000)
"""More than can be dripped in any time that a test takes."""


@contextmanager
def dripping(start: bytes, secure: bool = False) -> Iterator[str]:
    """A server that sends the answer from `start` on byte by byte, one each 20 ms, and what is before it at once."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                before, _, _ = ANSWER.partition(start)
                if before:
                    client.sendall(before)
                # A record of TLS that announces its longest handshake, for a client that expects one.
                rest = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(16_000) if secure else ANSWER[len(before) :]
                for byte in rest:
                    if ended.wait(0.02):
                        return
                    client.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("start", [b"HTTP", b"200", b"Content-Type", b"xxx", b"   "])
def test_who_answers_drop_by_drop_is_given_up_in_time_wherever_the_dripping_begins(start: bytes) -> None:
    with dripping(start) as url:
        given_up_after_half_a_second(url)


def test_who_agrees_on_tls_drop_by_drop_is_given_up_in_time() -> None:
    with dripping(b"HTTP", secure=True) as url:
        given_up_after_half_a_second(url)


def test_whose_name_is_looked_up_for_ever_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: answered.wait())
    given_up_after_half_a_second("https://gitlab.example.com")
    answered.set()


def test_who_takes_no_connection_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        # The kernel takes one more than it is told, and lets the next ones wait.
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                other = stack.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(address)
            given_up_after_half_a_second(f"http://127.0.0.1:{address[1]}")


def given_up_after_half_a_second(url: str) -> None:
    started = time.monotonic()
    assert "does not answer within 0.5 seconds." in failure(url, timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 1.5


def greet(request: Request) -> None:
    """As a mail server would."""
    request.wfile.write(f"+OK {PLAIN}\r\n".encode())


def test_who_speaks_no_http_or_nothing_at_all_is_told() -> None:
    with gitlab_api(NOWHERE, KEYS) as api:
        api.answer(greet)
        assert "an answer that is not HTTP" in failure(api.url)
        api.drop()
        assert "closed the connection without an answer" in failure(api.url)
        gone = api.url
    assert "cannot be reached: Connection refused" in failure(gone)
    assert "name does not resolve" in failure("https://gitlab.invalid")


def test_over_tls_only_a_trusted_certificate_of_that_name_is_shown_the_token(
    certificate: Certificate, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.crt"
    junk.write_text("junk")
    with gitlab_api(NOWHERE, KEYS, certificate=certificate) as api:
        api.answer(Reply(200, {"id": 7, "expires_at": None}))
        assert "not trusted here: self-signed certificate" in failure(api.url).replace("self signed", "self-signed")
        message = failure(api.url, trusted=[junk, tmp_path / "none.pem"])
        assert f"could not be read: {junk}, {tmp_path / 'none.pem'}." in message
        assert api.requests == 0
        assert verify(api.url, TOKEN, trusted=[junk, certificate.path]).id == 7
        assert api.requests == 1
    other = make_certificate(tmp_path, "other.example.com")
    with gitlab_api(NOWHERE, KEYS, certificate=other) as api:
        assert "not valid for 'localhost'" in failure(api.url, trusted=[other.path])
        assert api.requests == 0


def test_old_tls_and_no_tls_at_all_are_refused(certificate: Certificate, api: GitLabApi) -> None:
    assert "does not agree on TLS 1.2 or newer" in failure(api.url.replace("http:", "https:"))
    with gitlab_api(NOWHERE, KEYS, certificate=certificate, newest_tls=ssl.TLSVersion.TLSv1_1) as old:
        assert "does not agree on TLS 1.2 or newer" in failure(old.url, trusted=[certificate.path])
        assert old.requests == 0
    with gitlab_api(NOWHERE, KEYS, certificate=certificate, newest_tls=ssl.TLSVersion.TLSv1_2) as new:
        new.answer(Reply(200, {"id": 7, "expires_at": None}))
        assert verify(new.url, TOKEN, trusted=[certificate.path]).id == 7


def test_the_keys_of_the_session_are_written_nowhere(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    with gitlab_api(NOWHERE, KEYS, certificate=certificate) as api:
        api.answer(Reply(200, {"id": 7, "expires_at": None}))
        verify(api.url, TOKEN, trusted=[certificate.path])
    assert not (tmp_path / "keys.log").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://gitlab.example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0",
        "ftp://gitlab.example.com",
        "gitlab.example.com",
        "https://",
        "https:///x",
        "",
        "https://s3cr3t:s3cr3t@gitlab.example.com",
        "https://s3cr3t@gitlab.example.com",
        "https://gitlab.example.com?private_token=s3cr3t",
        "https://gitlab.example.com/#s3cr3t",
        "https://gitlab.example.com/a b",
        "https://gitlab.example.com/a\r\nX-Y: s3cr3t",
        "https://gitlab.example.com/a//b",
        "https://gitlab.example.com:s3cr3t",
        "https://gitlab.example.com:99999",
        "https://[s3cr3t",
        "https://a b",
        "https://a..b",
        f"https://{'x' * 64}.example.com",
    ],
)
def test_a_url_that_no_token_may_be_shown_to_is_wrong_use_and_not_quoted(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        verify(url, TOKEN)
    assert "s3cr3t" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://GitLab.example.com/", "https://gitlab.example.com"),
        ("https://gitlab.example.com:443/git", "https://gitlab.example.com/git"),
        ("https://gitlab.example.com:8443", "https://gitlab.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
        ("https://[2001:db8::1]/a/b", "https://[2001:db8::1]/a/b"),
        (" https://gitlab.example.com\n", "https://gitlab.example.com"),
    ],
)
def test_an_instance_is_https_or_on_this_machine(url: str, shown: str) -> None:
    assert str(Endpoint.at(url)) == shown


def test_a_token_that_no_header_can_carry_is_told_before_anything_is_sent(api: GitLabApi) -> None:
    for text in (f"{PLAIN}\r\nX: y", f"{PLAIN} ", f"ü{PLAIN}", ""):
        with pytest.raises(VerificationFailed, match="characters that no request can carry") as failed:
            verify(api.url, Secret(text))
        assert "s3cr3t" not in str(failed.value)
    assert api.requests == 0


def test_ctrl_c_while_the_token_is_on_its_way_shows_it_in_no_traceback(api: GitLabApi) -> None:
    shown = everything_about(interrupted(api.url))
    assert "KeyboardInterrupt" in shown
    assert "s3cr3t" not in shown
    assert api.requests == 0


def interrupted(url: str) -> KeyboardInterrupt:
    """Ctrl-C at the very call that has the request, token and all, in a variable."""

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is http.client.HTTPConnection.send.__code__:
            assert PLAIN.encode() in frame.f_locals["data"]
            raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        verify(url, TOKEN, pause=no_pause)
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.setprofile(None)
    raise AssertionError("nothing was sent")

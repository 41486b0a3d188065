"""What GitLab's API log says of tokens: single lines, files of all kinds, and what is counted."""

import gzip
import io
import json
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.testbed.marks import slow_ones
from tokens.errors import TokensError, UsageError
from tokens.usage import files, reading, tally
from tokens.usage import line as lines
from tokens.usage.files import logs, rotated
from tokens.usage.line import ApiCall, Damaged, call_in
from tokens.usage.reading import Usage, read_usage
from tokens.usage.tally import MOST_DIFFERENT, OTHERS, Burst, CallCount, Limit
from tokens.views.logged import use_of

AT = "2026-06-15T10:00:00.000Z"


def line(**fields: Any) -> bytes:
    """A line of a call with token 7; `meta_` begins what is `meta.` in GitLab's."""
    said = {"time": AT, "status": 200, "method": "GET", "path": "/api/v4/user", "token_type": "PersonalAccessToken"}
    said |= {"token_id": 7, "meta.caller_id": "GET /api/:version/user", "meta.remote_ip": "10.0.0.1", "ua": "curl"}
    said |= {name.replace("meta_", "meta."): value for name, value in fields.items()}
    return json.dumps({name: value for name, value in said.items() if value is not None}).encode()


def refused(token_id: int = 7, reason: str = "token_expired", status: int = 401, **fields: Any) -> bytes:
    """A line of a try with a token that GitLab did not let in."""
    return line(
        token_type=None,
        token_id=None,
        status=status,
        meta_auth_fail_reason=reason,
        meta_auth_fail_token_id=f"PersonalAccessToken/{token_id}",
        **fields,
    )


def read(*parts: bytes, **options: Any) -> Usage:
    """What these lines come to, on standard input."""
    return read_usage(logs(["-"], io.BytesIO(b"\n".join(parts) + b"\n")), **options)


def by_json(said: bytes) -> ApiCall | None:
    """The call of a line by Python's own json alone."""
    return call_of_slow(said)


@pytest.fixture(params=["with msgspec", "with json alone"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "with json alone":
        monkeypatch.setattr(lines, "fields_of", lines._slowly)


def call_of_slow(said: bytes) -> ApiCall | None:
    quick = lines.fields_of
    lines.fields_of = lines._slowly
    try:
        return call_in(said)
    finally:
        lines.fields_of = quick


@pytest.mark.usefixtures("reader")
class TestOneLine:
    def test_a_call_has_what_gitlab_wrote_of_it(self) -> None:
        assert call_in(line(meta_project="a/b")) == ApiCall(
            AT, 7, False, None, None, 200, "GET /api/:version/user", "a/b", "10.0.0.1", "curl"
        )

    def test_the_order_of_the_fields_is_of_no_account(self) -> None:
        said = json.loads(line())
        assert call_in(json.dumps(dict(reversed(said.items()))).encode()) == call_in(line())

    def test_a_refused_try_has_its_reason(self) -> None:
        found = call_in(refused(12))
        assert found is not None
        assert (found.token_id, found.refused, found.reason, found.scopes) == (12, True, "token_expired", None)

    def test_a_missing_scope_is_named(self) -> None:
        found = call_in(refused(12, "insufficient_scope", 403, meta_auth_fail_requested_scopes="api read_api"))
        assert found is not None
        assert found.scopes == "api read_api"

    def test_a_token_that_one_set_of_scopes_did_not_suffice_for_was_let_in_for_another(self) -> None:
        found = call_in(
            line(meta_auth_fail_reason="insufficient_scope", meta_auth_fail_token_id="PersonalAccessToken/7")
        )
        assert found is not None
        assert not found.refused

    def test_a_dead_token_on_a_public_page_was_refused_though_the_request_was_not(self) -> None:
        found = call_in(refused(12, "token_revoked", 200))
        assert found is not None
        assert found.refused

    @pytest.mark.parametrize(
        "fields",
        [
            {"token_type": "OauthAccessToken"},
            {"token_type": None},
            {"token_id": None},
            {"token_id": 0},
            {"token_id": 2**63},
            {"token_id": "7"},
            {"token_id": True},
        ],
    )
    def test_another_credential_is_no_access_token(self, fields: dict[str, Any]) -> None:
        assert call_in(line(**fields)) is None

    @pytest.mark.parametrize("which", ["DeployToken/7", "PersonalAccessToken/", "PersonalAccessToken/x", "7", ""])
    def test_a_refused_credential_of_another_kind_is_left_alone(self, which: str) -> None:
        assert call_in(refused().replace(b"PersonalAccessToken/7", which.encode())) is None

    def test_where_gitlab_names_no_route_the_ids_in_the_path_make_room_for_names(self) -> None:
        found = call_in(line(meta_caller_id=None, path="/api/v4/projects/a%2Fb/merge_requests/12/notes?x=1"))
        assert found is not None
        assert found.route == "GET /api/v4/projects/:id/merge_requests/:id/notes"

    def test_a_time_elsewhere_is_made_utc(self) -> None:
        found = call_in(line(time="2026-06-15T12:00:00+02:00"))
        assert found is not None
        assert found.time == AT

    def test_what_kubectl_writes_before_a_line_is_left_out(self) -> None:
        assert call_in(b"[pod/web/webservice] 2026-06-15T10:00:00Z " + line()) == call_in(line())

    def test_half_a_line_is_damaged(self) -> None:
        with pytest.raises(Damaged):
            call_in(line()[:-5])
        with pytest.raises(Damaged):
            call_in(line()[5:])

    def test_json_that_is_nested_too_deep_is_damaged(self) -> None:
        deep = line(params="x").replace(b'"x"', b"[" * 100_000 + b"]" * 100_000)
        with pytest.raises(Damaged):
            call_in(deep)
        assert lines.time_in(deep) == ""


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.lists(st.text(), max_size=2),
    st.dictionaries(st.text(), st.text(), max_size=2),
)
FIELDS = st.dictionaries(st.sampled_from([*lines.TEXTS.values(), *lines.NUMBERS.values(), "params"]), ODD)
USUAL = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from([AT, "2026-06-15 10:00:00", "2026-06-15T12:00:00.123456+02:00", "yesterday"]),
        "token_type": st.just("PersonalAccessToken"),
        "token_id": st.integers(1, 9),
        "status": st.sampled_from([200, 401, 403, 404]),
        "meta.auth_fail_reason": st.sampled_from(["token_expired", "insufficient_scope", "new"]),
        "meta.auth_fail_token_id": st.sampled_from(["PersonalAccessToken/3", "DeployToken/3"]),
        "meta.caller_id": st.text(),
        "path": st.text(),
        "ua": st.text(),
    },
)


class TestTheQuickReader:
    @given(USUAL, FIELDS, st.booleans(), st.integers(0, 12), st.integers(0, 255))
    @example({"token_type": "PersonalAccessToken", "token_id": 3}, {"ua": "\ud800"}, True, 0, 0)
    @example({"token_type": "PersonalAccessToken", "token_id": 3}, {"status": 200.0}, True, 0, 0)
    def test_says_of_every_line_what_json_says(
        self, usual: dict[str, Any], odd: dict[str, Any], is_ascii: bool, cut: int, byte: int
    ) -> None:
        said = json.dumps(usual | odd, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
        for one in (said, said[: len(said) - cut], said[cut:], said[:cut] + bytes([byte]) + said[cut:]):
            assert self.answer(call_in, one) == self.answer(by_json, one)

    def answer(self, ask: Callable[[bytes], ApiCall | None], said: bytes) -> ApiCall | type[Damaged] | None:
        try:
            return ask(said)
        except Damaged:
            return Damaged


@pytest.mark.usefixtures("reader")
class TestCounting:
    def test_calls_are_counted_by_token_day_route_project_address_and_agent(self) -> None:
        usage = read(
            line(meta_project="a/b"),
            line(time="2026-06-16T10:00:00.000Z", meta_remote_ip="10.0.0.2"),
            refused(time="2026-06-17T10:00:00.000Z"),
            line(token_id=8),
        )
        use = usage.by_token[7]
        assert (use.calls, use.refused) == (2, 1)
        assert (use.first, use.last) == (AT, "2026-06-17T10:00:00.000Z")
        assert (use.last_call, use.last_refused) == ("2026-06-16T10:00:00.000Z", "2026-06-17T10:00:00.000Z")
        assert use.days == {"2026-06-15": CallCount(1, 0), "2026-06-16": CallCount(1, 0), "2026-06-17": CallCount(0, 1)}
        assert use.routes == {"GET /api/:version/user": CallCount(2, 1)}
        assert use.projects == {"a/b": CallCount(1, 0)}
        assert use.addresses == {"10.0.0.1": CallCount(1, 1), "10.0.0.2": CallCount(1, 0)}
        assert use.agents == {"curl": CallCount(2, 1)}
        assert use.reasons == {"token_expired": 1}
        assert use.statuses == {200: 2, 401: 1}
        assert list(usage.by_token) == [7, 8]
        assert usage.days == 3

    def test_a_token_is_used_daily_on_five_of_seven_days(self) -> None:
        week = [line(time=f"2026-06-{day}T10:00:00.000Z") for day in range(15, 20)]
        until = line(token_id=8, time="2026-06-21T10:00:00.000Z", meta_remote_ip="10.0.0.2")
        usage = read(*week, until)
        use = use_of(usage, usage.by_token, 2)
        assert (use.used, use.daily, use.by_one_address) == (2, 1, 1)
        assert use_of(usage, [8], 1).daily == 0
        assert usage.by_token[7].calls_a_day(usage.days) == 5 / 7

    def test_only_the_tokens_that_are_asked_for_are_counted(self) -> None:
        assert list(read(line(), line(token_id=8), only={8}).by_token) == [8]

    def test_calls_before_a_day_are_left_out(self) -> None:
        usage = read(line(), line(time="2026-06-17T10:00:00.000Z"), since="2026-06-16")
        assert usage.by_token[7].calls == 1
        assert usage.since == "2026-06-16"

    def test_the_log_reaches_back_to_its_first_line_whatever_that_is_about(self) -> None:
        other = b'{"time":"2026-06-01T00:00:00.000Z","status":200}'
        usage = read(b"# Logfile created on 2026-06-01", other, line(), b'{"time":"2026-06-20T00:00:00.000Z"}')
        assert (usage.since, usage.until) == ("2026-06-01T00:00:00.000Z", "2026-06-20T00:00:00.000Z")
        assert (usage.lines, usage.damaged) == (4, 0)

    def test_damaged_and_half_lines_are_counted(self) -> None:
        usage = read(line(), b'{"time":"2026-06-', line()[:-9], b"==> api_json.log <==", b"", line())
        assert usage.damaged == 2
        assert usage.by_token[7].calls == 2

    def test_a_line_of_a_megabyte_is_a_line(self) -> None:
        usage = read(line(params="x" * 2**20), line(params="é" * 5 * 2**20), line())
        assert (usage.by_token[7].calls, usage.damaged) == (3, 0)

    def test_a_line_that_is_too_long_is_one_damaged_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "AT_ONCE", 1000)
        monkeypatch.setattr(reading, "LONGEST_LINE", 3000)
        long = line(params="x" * 20_000)
        for parts in ((line(), long, line()), (long, line(), line()), (line(), line(), long)):
            found = logs(["-"], io.BytesIO(b"\n".join(parts) + b"\n"))
            usage = read_usage(found, positions={})
            assert (usage.by_token[7].calls, usage.lines, usage.damaged) == (2, 3, 1)
            assert list(usage.positions.values()) == [len(b"\n".join(parts)) + 1]

    def test_one_token_with_very_many_addresses_keeps_the_first_thousand(self) -> None:
        usage = read(*(line(meta_remote_ip=f"10.0.{number // 256}.{number % 256}") for number in range(1100)))
        addresses = usage.by_token[7].addresses
        assert len(addresses) == MOST_DIFFERENT + 1
        assert addresses[OTHERS] == CallCount(100, 0)

    def test_a_token_takes_about_two_kilobytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tally, "MOST_ALIKE", 100)
        log = io.BytesIO(b"\n".join(line(token_id=number, meta_project="a/b") for number in range(1, 10_001)))
        read(line())
        tracemalloc.start()
        try:
            assert len(read_usage(logs(["-"], log)).by_token) == 10_000
            peak = tracemalloc.get_traced_memory()[1] - 3 * len(log.getvalue())  # the lines themselves
        finally:
            tracemalloc.stop()
        assert peak < 10_000 * 2300

    def test_the_most_tries_of_an_address_within_the_seconds_of_a_limit_are_found(self) -> None:
        tries = [refused(time=f"2026-06-15T10:{minute:02}:00.000Z") for minute in (0, 1, 2, 30, 31, 31, 31)]
        usage = read(*tries, line(), limits=(Limit(3, 60), Limit(3, 180)))
        assert usage.bursts["10.0.0.1"] == (
            Burst(3, "2026-06-15T10:31:00.000Z"),
            Burst(4, "2026-06-15T10:31:00.000Z"),
        )

    def test_addresses_that_are_idle_make_room_for_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tally, "MOST_ADDRESSES", 3)

        def tries(minute: int, address: str, number: int) -> list[bytes]:
            at = f"2026-06-15T10:{minute:02}:00.000Z"
            return [refused(time=at, meta_remote_ip=address)] * number

        busy = [*tries(0, "10.0.0.1", 4), *tries(1, "10.0.0.2", 1)]
        idle = [
            one for minute in range(2, 12) for one in (*tries(minute, f"10.0.1.{minute}", 1), *tries(12, "10.0.0.3", 1))
        ]
        usage = read(*busy, *idle, *tries(20, "10.0.0.1", 3), limits=(Limit(3, 60),))
        assert usage.bursts == {
            "10.0.0.1": (Burst(4, "2026-06-15T10:00:00.000Z"),),
            "10.0.0.3": (Burst(10, "2026-06-15T10:12:00.000Z"),),
        }


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, *parts: bytes, end: bytes = b"\n") -> Path:
        path = tmp_path / name
        data = b"\n".join(parts) + end
        if name.endswith(".gz"):
            data = gzip.compress(data)
        if name.endswith(".zst"):
            data = subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
        path.write_bytes(data)
        return path

    return write


@pytest.fixture(params=["zstandard", "zstd"])
def zstd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zstd":
        monkeypatch.setattr(files, "zstandard", None)


class TestFiles:
    @pytest.mark.parametrize("name", ["api_json.log", "api_json.log.1.gz", "api_json.log.1.zst"])
    @pytest.mark.usefixtures("zstd")
    def test_plain_gzip_and_zstd_are_read_alike(self, written: Callable[..., Path], name: str) -> None:
        path = written(name, line(), refused(), line(token_id=8))
        usage = read_usage(logs([str(path)], None))
        assert [(use.calls, use.refused) for use in usage.by_token.values()] == [(1, 1), (1, 0)]
        assert (usage.lines, usage.cut) == (3, ())

    def test_standard_input_may_be_compressed(self) -> None:
        usage = read_usage(logs(["-"], io.BytesIO(gzip.compress(line() + b"\n"))))
        assert usage.by_token[7].calls == 1

    def test_gzip_files_that_were_appended_to_each_other_are_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.gz").write_bytes(gzip.compress(line() + b"\n") * 3 + b"\0" * 512)
        usage = read_usage(logs([str(tmp_path / "a.gz")], None))
        assert (usage.by_token[7].calls, usage.cut) == (3, ())

    @pytest.mark.parametrize("suffix", [".gz", *slow_ones(".zst")])
    @pytest.mark.usefixtures("zstd")
    def test_what_is_left_of_a_truncated_file_is_read(self, written: Callable[..., Path], suffix: str) -> None:
        numbers = range(1, 20_000)
        path = written(
            f"a.log{suffix}", *(line(token_id=number, ua=str(zlib.crc32(b"%d" % number))) for number in numbers)
        )
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        usage = read_usage(logs([str(path)], None))
        assert usage.cut == (str(path),)
        assert 0 < len(usage.by_token) < len(numbers)

    def test_garbage_inside_a_gzip_file_ends_it(self, written: Callable[..., Path]) -> None:
        path = written("a.log.gz", *(line(token_id=number) for number in range(1, 20_000)))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 :] = b"x" * 50
        path.write_bytes(data)
        assert read_usage(logs([str(path)], None)).cut == (str(path),)

    def test_without_zstd_the_message_says_what_to_install(
        self, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = written("a.log.zst", line())
        monkeypatch.setattr(files, "zstandard", None)
        monkeypatch.setattr(shutil, "which", lambda _: None)
        with pytest.raises(TokensError, match="Install the package zstd"):
            read_usage(logs([str(path)], None))

    def test_rotated_files_come_in_the_order_in_which_they_were_written(self, written: Callable[..., Path]) -> None:
        names = ["api_json.log.10.gz", "api_json.log.2.gz", "api_json.log.1", "api_json.log"]
        paths = [written(name, line()) for name in reversed(names)]
        written("api_json.log.bak", line())
        assert [Path(log.name).name for log in rotated(paths[0])] == names
        assert [Path(log.name).name for log in logs([f"{paths[0]}*[0-9gz]", str(paths[0])], None)] == names

    def test_dates_order_them_too(self, written: Callable[..., Path]) -> None:
        names = ["api_json.log-20260613.gz", "api_json.log-20260614.gz", "api_json.log-20260615", "api_json.log"]
        paths = [written(name, line()) for name in reversed(names)]
        assert [Path(log.name).name for log in rotated(paths[0])] == names

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("missing", 'has no file "'),
            ("none*", "has no file that matches"),
            (".", r'is a folder; use ".*api_json\.log\*"'),
            ("", "takes a file, a pattern"),
        ],
    )
    def test_what_is_no_file_is_refused_in_a_line(self, tmp_path: Path, word: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            logs([str(tmp_path / word) if word else ""], None)

    def test_a_closed_standard_input_is_refused(self) -> None:
        with pytest.raises(UsageError, match="standard input, which is closed"):
            logs(["-"], None)


class TestReadingOn:
    def test_the_next_time_only_what_is_new_is_read(self, written: Callable[..., Path]) -> None:
        path = written("api_json.log", line(), line())
        first = read_usage(logs([str(path)], None), positions={})
        with path.open("ab") as log:
            log.write(line(token_id=8) + b"\n")
        second = read_usage(logs([str(path)], None), positions=first.positions)
        assert list(second.by_token) == [8]
        assert not read_usage(logs([str(path)], None), positions=second.positions).by_token

    def test_a_line_that_is_being_written_is_left_for_the_next_time(self, written: Callable[..., Path]) -> None:
        path = written("api_json.log", line(), line(token_id=8)[:50], end=b"")
        first = read_usage(logs([str(path)], None), positions={})
        assert (list(first.by_token), first.damaged) == ([7], 0)
        with path.open("ab") as log:
            log.write(line(token_id=8)[50:] + b"\n")
        second = read_usage(logs([str(path)], None), positions=first.positions)
        assert (list(second.by_token), second.damaged) == ([8], 0)

    def test_a_rotated_and_compressed_file_is_known_again(self, written: Callable[..., Path], tmp_path: Path) -> None:
        path = written("api_json.log", line(), line())
        first = read_usage(rotated(path), positions={})
        written("api_json.log.1.gz", line(), line(), line(token_id=8))
        written("api_json.log", line(token_id=9, time="2026-06-16T00:00:00.000Z"))
        second = read_usage(rotated(path), positions=first.positions)
        assert sorted(second.by_token) == [8, 9]
        assert len(second.positions) == 2

"""The log that tests read is like GitLab's: lines after its documentation, files as rotation leaves them."""

import gzip
import json
import subprocess
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import logs
from tests.testbed.logs import ACCEPTED, HEADER, REFUSED, RELEASES, Reason, Use, call, line, written

DAYS = [date(2026, 2, 17), date(2026, 2, 18), date(2026, 2, 19)]

AT = datetime.fromisoformat("2026-02-19T08:15:02.104Z")

EXPIRED = Use(
    12,
    route="/api/:version/user",
    path="/api/v4/user",
    category="user_profile",
    project=None,
    refused=Reason.EXPIRED,
)


@pytest.mark.parametrize("release", RELEASES)
def test_a_line_is_the_one_that_was_written_by_hand_after_the_documentation(release: str) -> None:
    for text, use in ((ACCEPTED, Use(12)), (REFUSED, EXPIRED)):
        documented = logs.by_hand(text, release)
        made = {**call(release, AT, use), "correlation_id": json.loads(documented)["correlation_id"]}
        assert line(made).decode() == f"{documented}\n"


def test_a_refused_call_names_its_token_since_17_2_and_its_user_since_18_9() -> None:
    named = [call(release, AT, EXPIRED) for release in RELEASES]
    assert [fields.get("meta.auth_fail_token_id") for fields in named] == [None, *["PersonalAccessToken/12"] * 3]
    assert [fields.get("meta.user") for fields in named] == [None, None, *["project_18_bot"] * 2]
    assert not [fields for fields in named if "token_id" in fields]


def test_a_log_holds_what_it_says_whatever_stands_between() -> None:
    uses = logs.population(range(100, 120), per_day=4)
    for release in RELEASES:
        log = written(uses, DAYS, release, between=1)
        assert all(lines[0] == HEADER for lines in log.days.values())
        assert found(b"".join(log.lines)) == (log.calls, log.refused)
        assert bool(log.refused) == (release != "16.0")
        printed = written(uses, DAYS, release, chart=True)
        assert found(b"".join(printed.lines)) == (log.calls, log.refused)


def test_a_strange_line_is_still_that_call() -> None:
    fields = call("19.2", AT, Use(12))
    calls = [
        logs.strange(fields),
        logs.reordered(fields),
        logs.without(fields, "ua", "meta.remote_ip"),
        logs.long(fields),
    ]
    lines = [line(each) for each in calls]
    assert found(b"".join(lines)) == ({12: 4}, {})
    assert len(lines[-1]) > 1_000_000


@pytest.mark.parametrize(
    ("dated", "packed", "names"),
    [
        (False, "gz", ["api_json.log.2.gz", "api_json.log.1.gz", "api_json.log"]),
        (True, "gz", ["api_json.log-2026-02-17.gz", "api_json.log-2026-02-18.gz", "api_json.log"]),
        (False, "zst", ["api_json.log.2.zst", "api_json.log.1.zst", "api_json.log"]),
        (False, "", ["api_json.log.2", "api_json.log.1", "api_json.log"]),
    ],
)
def test_rotated_files_hold_the_whole_log_and_half_a_line(
    dated: bool, packed: str, names: list[str], tmp_path: Path
) -> None:
    log = written([Use(12, 5), Use(13, refused=Reason.EXPIRED)], DAYS)
    files = logs.logrotate(tmp_path, log, dated=dated, packed=packed)
    assert [file.name for file in files] == names
    *whole, half = b"".join(map(content, files)).splitlines(keepends=True)
    assert (whole, log.lines[-1].startswith(half)) == (log.lines, True)


def test_svlogds_files_are_named_by_the_moment_at_which_each_was_full(tmp_path: Path) -> None:
    log = written([Use(12, 5)], DAYS)
    files = logs.svlogd(tmp_path, log)
    assert [file.name for file in files] == ["@400000006995010a00000007.s", "@400000006996528a00000007.s", "current"]
    assert [file.read_bytes() for file in files] == [b"".join(lines) for lines in log.days.values()]


def test_a_cut_file_ends_in_the_middle_of_its_compression(tmp_path: Path) -> None:
    file = logs.cut(logs.gzipped(tmp_path / "api_json.log.1.gz", written([Use(12, 500)], DAYS).lines))
    with pytest.raises(EOFError), gzip.open(file) as stream:
        stream.read()


def content(file: Path) -> bytes:
    """What it holds, as the programs that everybody has say it."""
    programs = {".gz": "zcat", ".zst": "zstdcat"}
    command = [programs.get(file.suffix, "cat"), str(file)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def found(text: bytes) -> tuple[Counter[int], Counter[int]]:
    """Accepted and refused calls by token, found the slow way."""
    calls: Counter[int] = Counter()
    refused: Counter[int] = Counter()
    for each in text.splitlines():
        if each.startswith(b"{"):
            fields: dict[str, Any] = json.loads(each)
            kind, _, number = fields.get("meta.auth_fail_token_id", "").partition("/")
            if kind == "PersonalAccessToken":
                refused[int(number)] += 1
            elif fields.get("token_type") == "PersonalAccessToken":
                calls[fields["token_id"]] += 1
    return calls, refused

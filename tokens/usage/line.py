"""One line of `api_json.log`: the call that it records of a personal access token, or nothing.

GitLab writes `token_type` and `token_id` where a token was let in (15.3: `Gitlab::GrapeLogging::Loggers::TokenLogger`).
Where it was not, it writes `meta.auth_fail_reason` and `meta.auth_fail_token_id` (17.2, `Gitlab::ApplicationContext`),
and with them the scopes that the request needed (17.7). Project, group, impersonation and service account tokens are
personal access tokens, too.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

MARK = b'token_id"'
"""What every line about a token has in it: both fields' names end so."""

KIND = "PersonalAccessToken"
FAILED = f"{KIND}/"
NOT_LET_IN = frozenset({401, 403})
DEAD = frozenset({"token_expired", "token_revoked", "impersonation_disabled"})
LARGEST_ID = 2**63 - 1

NUMBER = re.compile(r"(?<=/)\d+(?=/|$)")
ENCODED_PATH = re.compile(r"(?<=/)[^/]*%2[fF][^/]*")
HASH = re.compile(r"(?<=/)[0-9a-f]{32,64}(?=/|$)")


TEXTS = {
    "time": "time",
    "token_type": "token_type",
    "failed": "meta.auth_fail_token_id",
    "reason": "meta.auth_fail_reason",
    "scopes": "meta.auth_fail_requested_scopes",
    "caller": "meta.caller_id",
    "project": "meta.project",
    "address": "meta.remote_ip",
    "own_address": "remote_ip",
    "agent": "ua",
    "route": "route",
    "method": "method",
    "path": "path",
}
NUMBERS = {"token_id": "token_id", "status": "status"}


class ApiCall(NamedTuple):
    """A call of GitLab's API with a personal access token; None is what the line does not say.

    Attributes:
        time: in ISO 8601, UTC, such as `2026-11-27T10:11:12.345Z`; empty where the line has none that can be read.
        token_id: the token's id in the database.
        refused: whether GitLab did not let the token in.
        reason: why not, such as `token_expired`.
        scopes: what the request needed, with spaces between; only where the reason is a scope.
        status: GitLab's answer; 0 where the line has none.
        route: the method, and the path with names for the ids in it: `GET /api/:version/projects/:id`.
        project: the full path of the project that it is about.
        address: where the call came from.
        agent: what called, in its own words.
    """

    time: str
    token_id: int
    refused: bool
    reason: str | None
    scopes: str | None
    status: int
    route: str | None
    project: str | None
    address: str | None
    agent: str | None


class Damaged(ValueError):
    """A line that should be JSON and is none, such as half a line."""


class Fields:
    """What is read of a line. A text or number that is another kind of value counts as missing."""

    __slots__ = (*TEXTS, *NUMBERS)

    def __init__(self, found: dict[str, Any]) -> None:
        for name, key in TEXTS.items():
            value = found.get(key)
            setattr(self, name, value if type(value) is str else None)
        for name, key in NUMBERS.items():
            value = found.get(key)
            if type(value) is float and value.is_integer():
                value = int(value)
            setattr(self, name, value if type(value) is int else None)


def document(line: bytes) -> dict[str, Any]:
    """A line of JSON; what stands before it (`kubectl logs --prefix --timestamps`) is left out.

    Raises:
        Damaged: it is none.
    """
    start = line.find(b"{")
    if start < 0:
        raise Damaged
    try:
        found = json.loads(line[start:].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Damaged from None
    if type(found) is not dict:
        raise Damaged
    return found


def _slowly(line: bytes) -> Any:
    """The fields of a line, by Python's own json."""
    return Fields(document(line))


def _quick() -> Callable[[bytes], Any] | None:
    """What reads the fields quickly where a line is as GitLab writes it; None without the library."""
    try:
        import msgspec  # takes a tenth of the program's start, which only a log is worth
    except ImportError:
        return None
    fields = [
        *((name, str | None, msgspec.field(default=None, name=key)) for name, key in TEXTS.items()),
        *((name, int | None, msgspec.field(default=None, name=key)) for name, key in NUMBERS.items()),
    ]
    decode = msgspec.json.Decoder(msgspec.defstruct("QuickFields", fields, gc=False)).decode

    def quickly(line: bytes) -> Any:
        try:
            return decode(line)
        except (ValueError, RecursionError):
            return _slowly(line)

    return quickly


def _first(line: bytes) -> Any:
    """The fields of the first line that is read; from then on the quickest reader that is here reads."""
    global fields_of
    fields_of = _quick() or _slowly
    return fields_of(line)


fields_of: Callable[[bytes], Any] = _first


def call_in(line: bytes) -> ApiCall | None:
    """The call that `line` records, None where it is about no personal access token.

    Raises:
        Damaged: it speaks of a token and cannot be read.
    """
    if MARK not in line:
        return None
    fields = fields_of(line)
    token_id = fields.token_id if fields.token_type == KIND else None
    status = fields.status or 0
    reason = scopes = None
    refused = False
    # GitLab may try a token for one set of scopes, and let the request in for another or for no token at all.
    if fields.failed is not None and (status in NOT_LET_IN or fields.reason in DEAD):
        refused = True
        token_id = _id_in(fields.failed)
        reason = fields.reason
        if reason == "insufficient_scope":
            scopes = fields.scopes or None
    if token_id is None or not 0 < token_id <= LARGEST_ID:
        return None
    time = fields.time
    if time is None or len(time) != 24 or time[23] != "Z" or not _is_time(time):
        time = _in_utc(time)
    return ApiCall(
        time,
        token_id,
        refused,
        reason or None,
        scopes,
        status,
        fields.caller or _route(fields),
        fields.project or None,
        fields.address or fields.own_address or None,
        fields.agent or None,
    )


def is_of_api(line: bytes) -> bool:
    """Whether the API wrote `line`; only a call that it does not know has no route.

    Workhorse has routes, too, as patterns. auth_json.log has paths of the API without `ua`, and production_json.log has
    GraphQL's, which is `/api/graphql`.
    """
    try:
        fields = fields_of(line)
    except Damaged:
        return False
    if fields.token_type is not None and fields.token_id is not None:
        return True
    return (fields.route or "").startswith("/api/") or (fields.agent is not None and "/api/v" in (fields.path or ""))


def time_in(line: bytes) -> str:
    """When `line` was written, as in `ApiCall`; empty where it does not say."""
    try:
        return _in_utc(fields_of(line).time)
    except Damaged:
        return ""


def _id_in(failed: str) -> int | None:
    """The id in `PersonalAccessToken/12`."""
    digits = failed.removeprefix(FAILED)
    if digits == failed or not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    return int(digits)


def _is_time(time: str) -> bool:
    """Whether a clock can show it: none shows the 30th of February."""
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True


def _in_utc(time: str | None) -> str:
    try:
        read = datetime.fromisoformat(time or "")
        if read.tzinfo is not None:
            read = read.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{read.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _route(fields: Any) -> str | None:
    """The same from the log's own fields, where GitLab did not know yet what would answer."""
    route = fields.route
    if not route:
        if not fields.path:
            return None
        path = fields.path.partition("?")[0]
        route = NUMBER.sub(":id", HASH.sub(":sha", ENCODED_PATH.sub(":id", path)))
    return f"{fields.method} {route}" if fields.method else route

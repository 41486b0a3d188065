"""GitLab's `api_json.log` for tests: lines as each release writes them, damaged ones, and files as they are rotated.

A line is what Grape's request logger and GitLab's own loggers say, one after the other, as one JSON object. Sources:

logs     doc/administration/logs/_index.md, "api_json.log": where the file is, and its example
loggers  lib/api/api.rb: the list of loggers, and so the order of the fields
token    lib/gitlab/grape_logging/loggers/token_logger.rb: token_type, token_id; token_application_id, token_granularity
perf     lib/gitlab/grape_logging/loggers/perf_logger.rb: what the request took
context  lib/gitlab/application_context.rb, KNOWN_KEYS: all that begins with `meta.`
failure  doc/security/tokens/token_troubleshooting.md: meta.auth_fail_reason and meta.auth_fail_token_id since 17.2,
         meta.user of a refused call since 18.9; the other three of meta.auth_fail_* in its newest text
finders  lib/gitlab/auth/auth_finders.rb: a token is noted when it is accepted, and its scopes are looked at after that;
         a call that lacks a scope has token_id and meta.auth_fail_token_id, an expired or revoked one only the latter
chart    doc/administration/logs/_index.md: a webservice pod prints the line with component and subcomponent before it

Not documented, and so assumed: what token_granularity says, and since when the last two fields of a failure are there.
"""

import gzip
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

RELEASES = ("16.0", "17.2", "18.9", "19.2")

NEWEST = RELEASES[-1]

ACCEPTED = r"""
{"time":"2026-02-19T08:15:02.104Z","severity":"INFO",                               # logs
"duration_s":0.08213,"db_duration_s":0.00942,"view_duration_s":0.07271,             # logs
"status":200,"method":"GET","path":"/api/v4/projects/18/pipelines",                 # logs
"params":[{"key":"per_page","value":"20"}],"host":"gitlab.example.com",             # logs
"remote_ip":"192.0.2.7, 127.0.0.1","ua":"curl/7.88.1",                              # logs
"route":"/api/:version/projects/:id/pipelines",                                     # logs
"user_id":31,"username":"project_18_bot",                                           # logs
"token_type":"PersonalAccessToken","token_id":12,                                   # token
"token_granularity":"legacy",                                                       # token 19.2
"queue_duration_s":0.009121,"gitaly_calls":1,"gitaly_duration_s":0.004,             # logs
"redis_calls":4,"redis_duration_s":0.0012,                                          # logs
"db_count":14,"db_write_count":0,"db_cached_count":2,"cpu_s":0.0612,                # perf
"mem_objects":28114,"mem_bytes":1941008,"mem_mallocs":6020,"mem_total_bytes":3065568, # perf
"pid":1180,"worker_id":"puma_2","rate_limiting_gates":[],                           # logs, perf
"correlation_id":"01KHT5V0P8ZQ4M0R8T5V6X7Y8Z",                                      # loggers
"meta.caller_id":"GET /api/:version/projects/:id/pipelines",                        # context
"meta.remote_ip":"192.0.2.7","meta.feature_category":"continuous_integration",      # context
"meta.organization_id":1,                                                           # context 17.2
"meta.user":"project_18_bot","meta.user_id":31,                                     # context
"meta.project":"billing/api","meta.root_namespace":"billing",                       # context
"meta.client_id":"user/31","request_urgency":"low","target_duration_s":5}           # context, loggers
"""
"""A call of token 12 that GitLab accepts, by hand after the documentation; each row says its source and since when."""

REFUSED = r"""
{"time":"2026-02-19T08:15:02.104Z","severity":"INFO",                               # logs
"duration_s":0.01213,"db_duration_s":0.00242,"view_duration_s":0.00971,             # logs
"status":401,"method":"GET","path":"/api/v4/user","params":[],                      # logs
"host":"gitlab.example.com","remote_ip":"192.0.2.7, 127.0.0.1","ua":"curl/7.88.1",  # logs
"route":"/api/:version/user","queue_duration_s":0.009121,                           # logs
"redis_calls":4,"redis_duration_s":0.0012,                                          # logs
"db_count":14,"db_write_count":0,"db_cached_count":2,"cpu_s":0.0612,                # perf
"mem_objects":28114,"mem_bytes":1941008,"mem_mallocs":6020,"mem_total_bytes":3065568, # perf
"pid":1180,"worker_id":"puma_2","rate_limiting_gates":[],                           # logs, perf
"correlation_id":"01KHT5V0P8ZQ4M0R8T5V6X7Y8Z",                                      # loggers
"meta.caller_id":"GET /api/:version/user","meta.remote_ip":"192.0.2.7",             # context
"meta.feature_category":"user_profile",                                             # context
"meta.organization_id":1,                                                           # context 17.2
"meta.user":"project_18_bot",                                                       # failure 18.9
"meta.client_id":"ip/192.0.2.7",                                                    # context
"meta.auth_fail_reason":"token_expired",                                            # failure 17.2
"meta.auth_fail_token_id":"PersonalAccessToken/12",                                 # failure 17.2
"meta.auth_fail_requested_scopes":"api read_api",                                   # finders 17.2
"meta.auth_fail_token_type":"PersonalAccessToken",                                  # failure 19.2
"meta.auth_fail_auth_header_type":"private_token_header",                           # failure 19.2
"request_urgency":"low","target_duration_s":5}                                      # loggers
"""
"""A try of token 12, which has expired, in the same way: what 16.0 refuses has no token and no user."""

HEADER = b"# Logfile created on 2026-02-19 00:00:03 +0000 by logger.rb/v1.6.6\n"
"""What Ruby's Logger writes into a new file."""


def by_hand(text: str, release: str) -> str:
    """Of a line that was written by hand what this release writes."""
    rows = [row.rpartition("#") for row in text.strip().splitlines()]
    return "".join(fields.rstrip() for fields, _, source in rows if _since(source) <= RELEASES.index(release))


def _since(source: str) -> int:
    release = source.split()[-1]
    return RELEASES.index(release) if release in RELEASES else 0


class Reason(Enum):
    """Why GitLab refuses a token, in its own words, and with which status."""

    EXPIRED = "token_expired"
    REVOKED = "token_revoked"
    SCOPE = "insufficient_scope"
    IMPERSONATION = "impersonation_disabled"

    @property
    def status(self) -> int:
        return 403 if self is Reason.SCOPE else 401


@dataclass(frozen=True)
class Use:
    """One client that uses one token: `per_day` calls on each of `days`, from one address to one route.

    Attributes:
        refused: why all of them are refused; None where GitLab accepts them.
        days: without any, each day of the log.
        every: seconds between two calls of a day, or None: they are spread over the day.
    """

    token: int
    per_day: int = 1
    address: str = "192.0.2.7"
    agent: str = "curl/7.88.1"
    route: str = "/api/:version/projects/:id/pipelines"
    path: str = "/api/v4/projects/18/pipelines"
    method: str = "GET"
    project: str | None = "billing/api"
    user: str = "project_18_bot"
    user_id: int = 31
    refused: Reason | None = None
    scopes: str = "api read_api"
    category: str = "continuous_integration"
    days: Sequence[date] = ()
    every: float | None = None

    def moments(self, day: date) -> Iterator[datetime]:
        """When it calls on this day, in UTC."""
        if self.days and day not in self.days:
            return
        apart = (86_400 - 60) / self.per_day if self.every is None else self.every
        start = datetime.combine(day, time(0, 0, 30), UTC) + timedelta(seconds=self.token % 29)
        for number in range(self.per_day):
            yield start + timedelta(seconds=number * apart)


@dataclass(frozen=True)
class Written:
    """What a log holds: its lines by day, and what a reader has to find in them."""

    days: Mapping[date, list[bytes]]
    calls: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)

    @property
    def lines(self) -> list[bytes]:
        return list(chain.from_iterable(self.days.values()))


def call(release: str, at: datetime, use: Use) -> dict[str, Any]:
    """The fields of one call, in the order of this release."""
    number = RELEASES.index(release)
    refused = use.refused
    accepted = refused is None or (refused is Reason.SCOPE and number > 1)
    quick = 0.01213 if refused else 0.08213
    organization = {"meta.organization_id": 1} if number else {}
    fields: dict[str, Any] = {
        "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "severity": "INFO",
        "duration_s": quick,
        "db_duration_s": 0.00242 if refused else 0.00942,
        "view_duration_s": 0.00971 if refused else 0.07271,
        "status": refused.status if refused else 200,
        "method": use.method,
        "path": use.path,
        "params": [] if refused else [{"key": "per_page", "value": "20"}],
        "host": "gitlab.example.com",
        "remote_ip": f"{use.address}, 127.0.0.1",
        "ua": use.agent,
        "route": use.route,
    }
    if accepted:
        fields |= {"user_id": use.user_id, "username": use.user}
        fields |= {"token_type": "PersonalAccessToken", "token_id": use.token}
        fields |= {"token_granularity": "legacy"} if number > 2 else {}
    fields |= {"queue_duration_s": 0.009121}
    fields |= {} if refused else {"gitaly_calls": 1, "gitaly_duration_s": 0.004}
    fields |= {
        "redis_calls": 4,
        "redis_duration_s": 0.0012,
        "db_count": 14,
        "db_write_count": 0,
        "db_cached_count": 2,
        "cpu_s": 0.0612,
        "mem_objects": 28114,
        "mem_bytes": 1941008,
        "mem_mallocs": 6020,
        "mem_total_bytes": 3065568,
        "pid": 1180,
        "worker_id": "puma_2",
        "rate_limiting_gates": [],
        "correlation_id": f"01{int(at.timestamp() * 1000):011X}{use.token:013X}",
        "meta.caller_id": f"{use.method} {use.route}",
        "meta.remote_ip": use.address,
        "meta.feature_category": use.category,
        **organization,
    }
    if accepted:
        fields |= {"meta.user": use.user, "meta.user_id": use.user_id}
        if use.project and not refused:
            fields |= {"meta.project": use.project, "meta.root_namespace": use.project.split("/")[0]}
    elif number > 1:
        fields |= {"meta.user": use.user}
    fields |= {"meta.client_id": f"user/{use.user_id}" if accepted else f"ip/{use.address}"}
    if refused and number:
        fields |= {
            "meta.auth_fail_reason": refused.value,
            "meta.auth_fail_token_id": f"PersonalAccessToken/{use.token}",
            "meta.auth_fail_requested_scopes": use.scopes,
        }
        if number > 2:
            fields |= {
                "meta.auth_fail_token_type": "PersonalAccessToken",
                "meta.auth_fail_auth_header_type": "private_token_header",
            }
    return {**fields, "request_urgency": "low", "target_duration_s": 5}


def others(release: str, at: datetime, token: int) -> list[dict[str, Any]]:
    """Lines between that name no access token, though some have the same number, or words that look like it."""
    nobody = call(release, at, Use(token))
    for name in ("user_id", "username", "token_type", "token_id", "token_granularity", "meta.user", "meta.user_id"):
        nobody.pop(name, None)
    runner = {**nobody, "status": 204, "path": "/api/v4/jobs/request", "route": "/api/:version/jobs/request"}
    shell = {**nobody, "path": "/api/v4/internal/allowed", "route": "/api/:version/internal/allowed"}
    oauth = {**call(release, at, Use(token)), "token_type": "OauthAccessToken"}
    quoting = f'"token_type":"PersonalAccessToken","token_id":{token}'
    quoted = {**nobody, "params": [{"key": "search", "value": quoting}]}
    named = {**nobody, "params": [{"key": "token_id", "value": str(token)}], "ua": f"PersonalAccessToken/{token}"}
    unknown = {**nobody, "status": 401}
    if RELEASES.index(release) > 2:
        unknown |= {"meta.auth_fail_token_type": "unknown", "meta.auth_fail_auth_header_type": "other"}
    return [
        {**runner, "meta.client_id": "runner/7"},
        shell,
        oauth,
        quoted,
        named,
        unknown,
        {**nobody, "status": 404, "route": None, "path": "/api/v4/nowhere"},
    ]


def line(fields: Mapping[str, Any], *, chart: bool = False) -> bytes:
    """One line as Lograge writes it, or as a webservice pod prints it."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    if chart:
        text = '{"component": "gitlab","subcomponent":"api_json",' + text.removeprefix("{")
    return text.encode("utf-8", "surrogatepass") + b"\n"


def reordered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same call with its fields the other way round."""
    return dict(reversed(list(fields.items())))


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same call without these fields."""
    return {name: value for name, value in fields.items() if name not in names}


def long(fields: Mapping[str, Any], size: int = 1_000_000) -> dict[str, Any]:
    """The same call with as many bytes of parameters before the token is named."""
    return {**fields, "params": [{"key": "content", "value": 'ä"\\' * (size // 6)}]}


def strange(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same call with texts that are not plain: other scripts, escapes, controls, line separators, an emoji."""
    foreign = 'grün 東京 \u202e\x1b[31m " \\ \u2028 \x00 🦊'
    return {
        **fields,
        "ua": foreign,
        "params": [{"key": foreign, "value": foreign}],
        "meta.project": f"{foreign}/{foreign}",
    }


def written(
    uses: Iterable[Use], days: Iterable[date], release: str = NEWEST, *, between: int = 10, chart: bool = False
) -> Written:
    """A log of these days, each day's lines by time, with lines of no token after every `between` calls (0: none)."""
    wanted = list(uses)
    lines: dict[date, list[bytes]] = {}
    calls: Counter[int] = Counter()
    refused: Counter[int] = Counter()
    for day in days:
        tries = sorted(((at, use) for use in wanted for at in use.moments(day)), key=lambda found: found[0])
        lines[day] = [] if chart else [HEADER]
        for number, (at, use) in enumerate(tries):
            lines[day].append(line(call(release, at, use), chart=chart))
            if use.refused is None:
                calls[use.token] += 1
            elif RELEASES.index(release):
                refused[use.token] += 1
            if between and number % between == 0:
                lines[day] += [line(fields, chart=chart) for fields in others(release, at, use.token)]
    return Written(lines, calls, refused)


def population(tokens: Sequence[int], *, per_day: int = 24) -> list[Use]:
    """Who uses which of these tokens, and how often.

    Of each ten tokens the first is used from two addresses, the second and third by a build server that all tens share,
    the fourth on Mondays, the fifth is tried though it has expired, and the sixth lacks a scope once a day. Nobody uses
    the other four.
    """
    uses: list[Use] = []
    for number, token in enumerate(tokens):
        own = Use(token, per_day, address=f"198.51.100.{number % 250 + 1}", user=f"user{token}", user_id=token)
        match number % 10:
            case 0:
                uses += [own, replace(own, address="2001:db8::17", agent="python-gitlab/4.4.0", per_day=2)]
            case 1 | 2:
                uses.append(replace(own, address="203.0.113.9", agent="Jenkins/2.440"))
            case 3:
                uses.append(replace(own, days=[date(2024, 1, 1) + timedelta(7 * week) for week in range(400)]))
            case 4:
                uses.append(replace(own, refused=Reason.EXPIRED, every=3))
            case 5:
                uses += [own, replace(own, refused=Reason.SCOPE, per_day=1, scopes="api")]
    return uses


def plain(path: Path, lines: Iterable[bytes]) -> Path:
    """The file."""
    with path.open("wb") as file:
        file.writelines(lines)
    return path


def gzipped(path: Path, lines: Iterable[bytes]) -> Path:
    """The file as gzip compresses it, always to the same bytes."""
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0))
    return path


def zstd(path: Path, lines: Iterable[bytes]) -> Path:
    """The file as Debian's zstd compresses it."""
    packed = subprocess.run(["zstd", "-q", "-c"], input=b"".join(lines), stdout=subprocess.PIPE, check=True)
    path.write_bytes(packed.stdout)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """The file as it is when somebody has stopped copying it: only its first part."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def logrotate(folder: Path, log: Written, *, dated: bool = False, packed: str = "gz") -> list[Path]:
    """The files that logrotate leaves after these days, oldest first; today's is plain, with half a line at its end.

    Linux package: api_json.log.30.gz to api_json.log.1.gz, or with `logrotate_dateformat` api_json.log-2026-02-18.gz.

    Args:
        packed: `gz`, `zst` (logrotate's compresscmd) or nothing.
    """
    *old, today = log.days.items()
    pack = {"gz": gzipped, "zst": zstd, "": plain}[packed]
    files = []
    for age, (day, lines) in zip(range(len(old), 0, -1), old, strict=True):
        name = f"api_json.log-{day}" if dated else f"api_json.log.{age}"
        files.append(pack(folder / (f"{name}.{packed}" if packed else name), lines))
    half = today[1][-1][:200]
    return [*files, plain(folder / "api_json.log", [*today[1], half])]


def svlogd(folder: Path, log: Written) -> list[Path]:
    """The files that runit's svlogd leaves after these days, oldest first, named by the moment when each was full."""
    *old, today = log.days.items()
    files = []
    for day, lines in old:
        full = int(datetime.combine(day + timedelta(1), time(), UTC).timestamp())
        # TAI64N: 2^62 and the ten seconds by which it began, then nanoseconds.
        files.append(plain(folder / f"@{2**62 + 10 + full:016x}{7:08x}.s", lines))
    return [*files, plain(folder / "current", today[1])]

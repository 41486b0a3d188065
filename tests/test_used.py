"""What uses tokens: by GitLab's log and its database, in every form, from every place."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed import logs
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_settings, make_token, make_user
from tests.testbed.instance import Instance
from tests.testbed.logs import Reason, Use
from tests.testbed.marks import slow_ones
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.call import Call, under_way
from tokens.commands.used import limits_of
from tokens.errors import UsageError
from tokens.gitlab.rate_limits import RateLimit, ban_of
from tokens.inventory.used import known
from tokens.selection import EVERYTHING
from tokens.targets.here import log as here
from tokens.targets.here.installation import Installation, Method
from tokens.targets.here.log import NoLog, api_log
from tokens.targets.here.site import Site
from tokens.terminal.paragraphs import width as width_of
from tokens.usage.condensed import condensed
from tokens.usage.files import LogStream
from tokens.usage.files import logs as logs_of
from tokens.usage.reading import read_usage
from tokens.usage.tally import MOST_DIFFERENT, Limit
from tokens.views import used as view

TODAY = datetime.now(UTC).date()
DAYS = [date(2026, 2, 16) + timedelta(days) for days in range(4)]
LIVE, DEAD, IDLE, SUCCESSOR, GONE = 1, 2, 3, 4, 77
USES = (
    Use(LIVE, 20, address="10.0.0.1", agent="Jenkins/2.440"),
    Use(LIVE, 2, address="10.0.0.2", route="/api/:version/user", path="/api/v4/user", project=None),
    Use(LIVE, 1, address="10.0.0.1", refused=Reason.SCOPE, scopes="sudo"),
    Use(DEAD, 30, address="10.0.0.9", refused=Reason.EXPIRED, every=3),
    Use(GONE, 5, address="10.0.0.8", refused=Reason.REVOKED),
)

Write = Callable[..., str]


@pytest.fixture
def gitlab(alone: Alone) -> Iterator[Instance]:
    """A live token of a person, a dead one that was rotated and its successor, and one that nobody uses."""
    with alone.database() as address:
        with make_engine(address).begin() as connection:
            erika = make_user(connection, username="erika")
            bot = make_user(connection, username="renovate", user_type=13)
            make_token(connection, user_id=erika, name="deploy", expires_at=TODAY + timedelta(30))
            make_token(connection, user_id=bot, name="nightly", expires_at=date(2026, 2, 1), revoked=True)
            make_token(connection, user_id=erika, name="idle", expires_at=TODAY + timedelta(30))
            make_token(
                connection,
                user_id=bot,
                name="nightly",
                expires_at=TODAY + timedelta(30),
                previous_personal_access_token_id=DEAD,
            )
        yield Instance(address)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rotated logs of these uses, and says by which pattern they are found."""

    def written(*uses: Use, release: str = "19.2", **options: Any) -> str:
        found = logs.written(uses or USES, DAYS, release)
        logs.logrotate(tmp_path, found, **options)
        return str(tmp_path / "api_json.log*")

    return written


def documents(gitlab: Instance, *words: object) -> dict[str, Any]:
    done = gitlab.run("used", *words, "--output", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def execute(gitlab: Instance, *statements: str) -> None:
    with make_engine(gitlab.address).begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize("release", logs.RELEASES)
@pytest.mark.parametrize("packed", ["gz", *slow_ones("zst", "")])
def test_every_release_and_compression_comes_to_what_was_written(tmp_path: Path, release: str, packed: str) -> None:
    written = logs.written(logs.population(range(1, 101)), DAYS, release)
    logs.logrotate(tmp_path, written, packed=packed, dated=packed == "zst")
    usage = read_usage(logs_of([str(tmp_path / "api_json.log*")], None))
    assert {use.id: use.calls for use in usage.by_token.values() if use.calls} == written.calls
    assert {use.id: use.refused for use in usage.by_token.values() if use.refused} == written.refused
    assert (usage.damaged, usage.cut) == (1, ())
    assert usage.days == len(DAYS)


def test_a_webservice_pods_lines_come_to_the_same(tmp_path: Path) -> None:
    written = logs.written(USES, DAYS, chart=True)
    usage = read_usage(logs_of([str(logs.plain(tmp_path / "pod.log", written.lines))], None))
    assert {use.id: use.calls for use in usage.by_token.values() if use.calls} == written.calls


def test_lines_with_other_orders_and_strange_texts_are_read(tmp_path: Path) -> None:
    fields = logs.call("19.2", datetime(2026, 2, 16, tzinfo=UTC), USES[0])
    lines = [logs.line(form(fields)) for form in (logs.reordered, logs.long, logs.strange)]
    usage = read_usage(logs_of([str(logs.plain(tmp_path / "odd.log", lines))], None))
    assert (usage.by_token[LIVE].calls, usage.damaged) == (3, 0)


def test_each_token_has_its_calls_and_from_where_they_came(gitlab: Instance, write: Write) -> None:
    found = documents(gitlab, "--log", write())
    live = next(one for one in found["tokens"] if one["id"] == LIVE)
    assert (live["owner"], live["name"], live["state"]) == ("erika", "deploy", "active")
    assert (live["calls"], live["calls_a_day"], live["refused"]) == (88, 22.0, 4)
    assert [(one["address"], one["calls"]) for one in live["addresses"]] == [("10.0.0.1", 80), ("10.0.0.2", 8)]
    assert live["routes"][1] == {"route": "GET /api/:version/user", "calls": 8, "refused": 0}
    assert live["agents"][0] == {"agent": "Jenkins/2.440", "calls": 80, "refused": 0}
    assert live["projects"] == [{"project": "billing/api", "calls": 80, "refused": 0}]
    assert (live["reasons"], live["missing_scopes"]) == ({"insufficient_scope": 4}, {"sudo": 4})
    assert (found["selected"], found["used"], found["daily"], found["refused"]) == (4, 1, 1, 3)
    assert (found["log"]["since"][:10], found["log"]["days"], found["log"]["damaged"]) == ("2026-02-16", 4, 1)
    assert len(found["log"]["files"]) == 4


def test_a_token_that_is_gone_is_named_where_everything_is_shown(gitlab: Instance, write: Write) -> None:
    log = write()
    gone = [one for one in documents(gitlab, "--log", log)["tokens"] if one["id"] == GONE]
    assert [(one["state"], one["owner"], one["refused"]) for one in gone] == [("deleted", None, 20)]
    chosen = documents(gitlab, "--log", log, "--state", "active,expired,revoked", "--user", "erika")
    assert [one["id"] for one in chosen["tokens"]] == [LIVE]
    assert chosen["selected"] == 2


def test_a_token_that_is_gone_is_none_of_those_that_are_used(gitlab: Instance, write: Write) -> None:
    found = documents(gitlab, "--log", write(Use(LIVE, 4, address="10.0.0.1"), Use(GONE, 4, address="10.0.0.2")))
    assert (found["selected"], found["used"], len(found["tokens"])) == (4, 1, 2)


@pytest.mark.parametrize("time", ["2026-02-16T07:00:60.123Z", "2026-02-30T07:00:00.123Z", "2026-02-16T25:00:00.123Z"])
def test_a_refused_call_at_no_time_of_any_clock_is_a_refused_call(gitlab: Instance, tmp_path: Path, time: str) -> None:
    log = tmp_path / "api_json.log"
    refused = {
        "time": time,
        "status": 401,
        "path": "/api/v4/user",
        "ua": "curl/7.88.1",
        "meta.remote_ip": "10.0.0.1",
        "meta.auth_fail_reason": "token_expired",
        "meta.auth_fail_token_id": f"PersonalAccessToken/{LIVE}",
    }
    calls = ({**refused, "time": at} for at in ("2026-02-16T07:00:00.123Z", time))
    log.write_text("".join(json.dumps(call, separators=(",", ":")) + "\n" for call in calls))
    (found,) = documents(gitlab, "--log", log)["tokens"]
    assert (found["id"], found["calls"], found["refused"]) == (LIVE, 0, 2)


def test_dead_tokens_that_are_still_tried_come_with_owner_date_and_successor(gitlab: Instance, write: Write) -> None:
    found = documents(gitlab, "--log", write(), "--top-refused")
    assert [one["id"] for one in found["tokens"]] == [DEAD, GONE]
    dead = found["tokens"][0]
    assert (dead["owner"], dead["expires_at"], dead["replaced_by"]) == ("renovate", "2026-02-01", SUCCESSOR)
    text = gitlab.run("used", "--log", write(), "--top-refused").stdout
    assert "2 dead tokens are still being tried." in text
    assert "renovate" in text
    assert "2026-02-01" in text


def test_rows_can_be_addresses_routes_and_days(gitlab: Instance, write: Write) -> None:
    log = write()
    addresses = documents(gitlab, "--log", log, "--by", "address")["addresses"]
    assert [(one["address"], one["calls"], one["refused"], one["tokens"]) for one in addresses] == [
        ("10.0.0.9", 0, 120, 1),
        ("10.0.0.1", 80, 4, 1),
        ("10.0.0.8", 0, 20, 1),
        ("10.0.0.2", 8, 0, 1),
    ]
    days = documents(gitlab, "--log", log, "--by", "day")["days"]
    assert [one["day"] for one in days] == [str(day) for day in DAYS]
    assert days[0] == {"day": "2026-02-16", "calls": 22, "refused": 36, "tokens": 3}
    routes = documents(gitlab, "--log", log, "--by", "route", "--first", 1)["routes"]
    assert [one["tokens"] for one in routes] == [3]


@pytest.mark.parametrize("by", ["token", "address", "route", "day"])
def test_a_token_with_too_many_addresses_to_tell_apart_is_said_to_be_one(
    gitlab: Instance, tmp_path: Path, by: str
) -> None:
    at = datetime(2026, 2, 16, tzinfo=UTC)
    calls = (logs.call("19.2", at, Use(LIVE, address=f"10.0.{n // 256}.{n % 256}")) for n in range(MOST_DIFFERENT + 1))
    log = logs.plain(tmp_path / "api_json.log", map(logs.line, calls))
    said = "Of 1 token only the first 1,000 addresses are counted apart."
    expected = [said] if by in ("token", "address") else []
    assert documents(gitlab, "--log", log, "--by", by)["notes"] == expected
    assert (f"NOTE: {said}" in gitlab.run("used", "--log", log, "--by", by).stderr) == bool(expected)


def test_an_address_that_is_refused_too_often_is_named_with_the_limit(gitlab: Instance, write: Write) -> None:
    execute(
        gitlab,
        "ALTER TABLE application_settings ADD throttle_unauthenticated_api_enabled boolean DEFAULT true NOT NULL",
        "ALTER TABLE application_settings ADD throttle_unauthenticated_api_requests_per_period int DEFAULT 20 NOT NULL",
        "ALTER TABLE application_settings ADD throttle_unauthenticated_api_period_in_seconds int DEFAULT 60 NOT NULL",
    )
    with make_engine(gitlab.address).begin() as connection:
        make_settings(connection)
    log = write(Use(DEAD, 25, address="10.0.0.9", refused=Reason.EXPIRED, every=2))
    found = documents(gitlab, "--log", log, "--by", "address")
    assert [(one["name"], one["enabled"], one["tries"], one["seconds"]) for one in found["limits"]] == [
        ("unauthenticated_api", True, 20, 60),
        ("git_basic_auth", None, 10, 60),
    ]
    (address,) = found["addresses"]
    assert [(one["limit"], one["tries"]) for one in address["over"]] == [
        ("unauthenticated_api", 25),
        ("git_basic_auth", 25),
    ]
    said = gitlab.run("used", "--log", log).stderr
    assert "10.0.0.9 was refused 25 times within 60 seconds" in said
    assert "It will be turned away: GitLab answers more than 20 with status 429." in said
    assert "By Git it may be banned for that" in said


def test_gitlab_yml_says_how_many_failed_logins_ban_an_address() -> None:
    assert ban_of(None) == RateLimit("git_basic_auth", None, 10, 60, 3600)
    assert ban_of({}) == RateLimit("git_basic_auth", False, 10, 60, 3600)
    said = {"enabled": True, "maxretry": 30, "findtime": 180, "bantime": "x"}
    assert ban_of(said) == RateLimit("git_basic_auth", True, 30, 180, 3600)


@pytest.mark.parametrize(
    ("said", "enabled", "tries"),
    [
        # As the Linux package writes it: JSON, or nothing.
        ('rack_attack:\n    git_basic_auth: {"enabled":true,"ip_whitelist":["127.0.0.1"],"maxretry":30}', True, 30),
        ("rack_attack:\n    git_basic_auth: ", False, 10),
        ("gitlab:\n    host: a", False, 10),
        ("<%= 1 %>", None, 10),
    ],
)
def test_the_ban_is_that_of_the_installations_gitlab_yml(
    tmp_path: Path, said: str, enabled: bool | None, tries: int
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/gitlab.yml").write_text(f"production:\n  {said}\n")
    site = Site(Address("", "here"), Installation(Method.OMNIBUS, tmp_path, None))
    throttle = RateLimit("unauthenticated_api", True, 20, 60)
    assert limits_of(site, throttle) == (throttle, RateLimit("git_basic_auth", enabled, tries, 60, 3600))


def test_a_limit_that_is_off_turns_nobody_away(gitlab: Instance, write: Write) -> None:
    usage = read_usage(logs_of([write()], None), limits=[Limit(10, 60)])
    for enabled, said in ((False, 0), (True, 1), (None, 1)):
        found = view.Used(usage, {}, 4, (RateLimit("git_basic_auth", enabled, 10, 60, 3600),), ())
        assert sum("10.0.0.9 was refused" in line for line in view.remarks(found, None)) == said
        assert len(found.over("10.0.0.9")) == said


def test_a_tokens_text_in_a_log_goes_nowhere(gitlab: Instance, tmp_path: Path) -> None:
    text = "glpat-" + "s3cretS3cretS3cret00"
    fields = logs.call("19.2", datetime(2026, 2, 16, tzinfo=UTC), USES[0])
    fields |= {"params": [{"key": "private_token", "value": text}], "path": f"/api/v4/user?private_token={text}"}
    fields |= {"meta.caller_id": None, "route": None}
    path = logs.plain(tmp_path / "api_json.log", [logs.line(fields)])
    for words in ((), ("--output", "json"), ("--output", "csv"), ("--by", "route"), ("--debug",)):
        done = gitlab.run("used", "--log", path, "--state-file", tmp_path / str(len(words)), *words)
        assert done.returncode == 0
        assert text not in done.stdout + done.stderr
    assert text.encode() not in gzip.decompress(condensed(logs_of([str(path)], None)))
    assert [one.name for one in tmp_path.iterdir() if text in one.read_text()] == ["api_json.log"]


def test_what_the_log_cannot_know_is_said(gitlab: Instance, write: Write) -> None:
    said = gitlab.run("used", "--log", write(release="16.0")).stderr
    assert "No refused call is in it; GitLab names the token of one from 17.2 on." in said
    assert "The log has calls of the REST API alone" in said
    assert "1 line is damaged and not counted." in said


def test_everything_of_few_tokens_is_shown(gitlab: Instance, write: Write) -> None:
    text = gitlab.run("used", "--log", write(), "--user", "erika").stdout
    assert text.splitlines()[:2] == [
        "The log reaches from 2026-02-16 00:00 to 2026-02-19 22:47 UTC (4 days, 405 lines).",
        "1 of 2 tokens is used, 1 of these daily; 1 token was refused.",
    ]
    assert "  refused    4, last 2026-02-19 00:00: insufficient_scope 4\n  needed     sudo (4)\n" in text
    assert "  addresses  10.0.0.1 (84); 10.0.0.2 (8)\n" in text


def test_csv_has_a_row_a_token_and_ndjson_a_document(gitlab: Instance, write: Write) -> None:
    log = write()
    rows = list(csv.DictReader(io.StringIO(gitlab.run("used", "--log", log, "--output", "csv").stdout)))
    assert [(row["id"], row["calls"], row["addresses"]) for row in rows if row["state"] == "active"] == [
        ("1", "88", "2")
    ]
    lines = gitlab.run("used", "--log", log, "--output", "ndjson").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [int(row["id"]) for row in rows]


@pytest.mark.parametrize("words", [(), ("--top-refused",), ("--by", "day"), ("--by", "address")])
def test_an_empty_log_is_said_to_be_one_in_every_form(gitlab: Instance, tmp_path: Path, words: tuple[str, ...]) -> None:
    log = logs.plain(tmp_path / "api_json.log", [])
    assert gitlab.run("used", "--log", log, *words).stdout.startswith("The log is empty, or has nothing new.\n")
    assert len(gitlab.run("used", "--log", log, *words, "--output", "csv").stdout.splitlines()) == 1
    assert gitlab.run("used", "--log", log, *words, "--output", "ndjson").stdout == ""
    found = documents(gitlab, "--log", log, *words)
    assert (found["log"]["since"], found["log"]["days"], found["used"]) == (None, 0, 0)


def test_the_next_run_reads_on_where_this_one_ended(gitlab: Instance, tmp_path: Path) -> None:
    state, live = tmp_path / "state.json", tmp_path / "api_json.log"
    first = logs.written(USES[:1], DAYS[:1])
    logs.plain(live, first.lines)
    words = ("--log", f"{tmp_path}/api_json.log*", "--state-file", state)
    assert documents(gitlab, *words)["tokens"][0]["calls"] == 20
    assert documents(gitlab, *words)["tokens"] == []
    second = logs.written(USES[:1], DAYS[1:2])
    logs.gzipped(tmp_path / "api_json.log.1.gz", [*first.lines, *second.lines])
    logs.plain(live, logs.written(USES[1:2], DAYS[2:3]).lines)
    assert documents(gitlab, *words)["tokens"][0]["calls"] == 22
    assert oct(state.stat().st_mode)[-3:] == "600"


def test_a_log_and_its_packed_copy_are_counted_once_and_the_copy_is_named(gitlab: Instance, tmp_path: Path) -> None:
    first, second = (logs.written(USES[:1], DAYS[number : number + 1]) for number in (0, 1))
    logs.gzipped(tmp_path / "api_json.log.1.gz", first.lines)
    words = ("--log", f"{tmp_path}/api_json.log*")
    for name, lines in (("api_json.log.1", first.lines), ("api_json.log", [*first.lines, *second.lines])):
        # The same lines, and a copy that was made while the log still grew.
        logs.plain(tmp_path / name, lines)
        done = gitlab.run("used", *words, "--output", "json")
        document = json.loads(done.stdout)
        assert document["tokens"][0]["calls"] == 20 * len(lines) // len(first.lines)
        assert len(document["log"]["twice"]) == len(document["log"]["files"]) - 1
        later = document["log"]["twice"][-1]
        assert (
            f"{later} begins as another log does, such as a packed copy: what both have was counted once."
            in done.stderr
        )
    through = read_usage([LogStream(io.BytesIO(condensed(logs_of([words[1]], None))))])
    assert list(through.twice) == document["log"]["twice"]


class LineByLine(io.BytesIO):
    """What comes through a pipe as it is written."""

    def read(self, size: int | None = -1) -> bytes:
        return self.readline()


def test_a_copy_that_comes_in_pieces_behind_rubys_heading_is_counted_once_too() -> None:
    first, second = (logs.written(USES[:1], DAYS[number : number + 1]).lines for number in (0, 1))
    heading = b"# Logfile created on 2026-02-16 00:00:00 +0000 by logger.rb/v1.4.2\n"
    pieces = [b"".join([heading, *first]), b"".join([heading, *first, *second])]
    usage = read_usage([LogStream(LineByLine(one), str(number)) for number, one in enumerate(pieces)])
    assert (usage.by_token[LIVE].calls, usage.damaged, usage.twice) == (40, 0, ("1",))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "A database has no log of calls; use --log."),
        (("--log", "nowhere"), '--log has no file "nowhere".'),
        (("--log", "-", "--by", "day", "--top-refused"), "--top-refused shows tokens: leave --by out."),
        (("--log", "-", "--first", "few"), '--first takes a number of rows, or all, not "few".'),
        (("--log", "-", "--kind", "ssh-key"), "no access token"),
        (("--log", "-", "--since", "soon"), "--since"),
    ],
)
def test_wrong_use_is_one_line(gitlab: Instance, words: tuple[str, ...], said: str) -> None:
    done = gitlab.run("used", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_state_that_is_none_of_ours_is_refused(gitlab: Instance, write: Write, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("[]")
    done = gitlab.run("used", "--log", write(), "--state-file", tmp_path / "state")
    assert done.returncode == 2
    assert "is no file of this task" in done.stderr


def test_a_state_that_cannot_be_kept_is_refused_before_logs_are_read(
    gitlab: Instance, write: Write, tmp_path: Path
) -> None:
    for state in (tmp_path / "nowhere/state", tmp_path):
        done = gitlab.run("used", "--log", write(), "--state-file", state)
        assert (done.returncode, done.stdout) == (1 if state != tmp_path else 2, "")
        assert done.stderr.startswith("--state-file ")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


class TestRightHere:
    def installation(self, kind: Method, rails: Path) -> Installation:
        return Installation(kind, rails, None)

    def test_the_log_is_in_the_applications_folder_wherever_that_leads(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "rails").mkdir()
        (tmp_path / "rails/log").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/api_json.log").touch()
        for kind in (Method.OMNIBUS, Method.DOCKER, Method.SOURCE):
            found = api_log(self.installation(kind, tmp_path / "rails"))
            assert found.resolve() == tmp_path / "elsewhere/api_json.log"

    def test_a_node_without_one_says_where_it_is(self, tmp_path: Path) -> None:
        with pytest.raises(NoLog, match="GitLab writes it where its web server runs"):
            api_log(self.installation(Method.OMNIBUS, tmp_path))

    @pytest.mark.parametrize(
        ("place", "own", "kubectl"),
        [
            ("kubernetes:prod", "", "prod --selector app=webservice"),
            ("kubernetes:prod/rel@cluster", "", "prod --selector app=webservice,release=rel"),
            ("production", "prod\n", "prod --selector app=webservice"),
            ("production", "", "NAMESPACE --selector app=webservice"),
        ],
    )
    def test_a_pod_says_what_to_type_out_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, own: str, kubectl: str
    ) -> None:
        monkeypatch.setattr(here, "NAMESPACE", tmp_path / "namespace")
        if own:
            (tmp_path / "namespace").write_text(own)
        with under_way(Call("gitlab-tokens ", place, place=place)), pytest.raises(NoLog) as caught:
            api_log(self.installation(Method.TOOLBOX, tmp_path))
        context = " --context cluster" if "@" in place else ""
        assert str(caught.value).endswith(
            f"→ kubectl logs --namespace {kubectl} --container webservice --tail=-1{context} | "
            f"gitlab-tokens used --target {place} --log -"
        )


@pytest.mark.parametrize("text", ["id,name\n1,a\n2,b\n", "no log at all", '{"a": 1}\n{"b": 2}\n', "\x00\x01\n\x02\n"])
def test_a_file_that_is_no_log_says_nothing_of_any_token(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=r'tokens.csv" is no api_json.log of GitLab: no line'):
        read_usage(logs_of([str(path)], None))


OF_OTHERS = {
    "docker": b'{"log":"{\\"token_id\\":1}\\n","stream":"stdout","time":"2026-02-16T07:00:00.1Z"}',
    "auth_json.log": b'{"severity":"ERROR","time":"2026-02-16T07:00:00.123Z","message":"Rack_Attack","env":"throttle",'
    b'"remote_ip":"10.0.0.1","method":"GET","path":"/api/v4/user","matched":"throttle_unauthenticated_api","status":429}',
    "production_json.log": b'{"method":"POST","path":"/api/graphql","format":"json","controller":"GraphqlController",'
    b'"action":"execute","status":200,"time":"2026-02-16T07:00:00.123Z","ua":"curl/7.88.1","user_id":1}',
    "workhorse": b'{"method":"GET","route":"^/api/v4/projects/[^/]+/wikis","status":200,"time":"2026-02-16T07:00:00Z",'
    b'"uri":"/api/v4/projects/1/wikis","user_agent":"curl/7.88.1"}',
    "array": b'[{"time":"2026-02-16T07:00:00.123Z","route":"/api/:version/user","token_id":1}]',
    "pretty": b'{\n  "time": "2026-02-16T07:00:00.123Z",\n  "route": "/api/:version/user"\n}',
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("docker", 'Docker has wrapped its lines. → Give what "docker logs CONTAINER" prints.'),
        ("auth_json.log", "It has lines with severity, time, message, env. → Give GitLab's api_json.log."),
        ("production_json.log", "It has lines with method, path, format, controller. → Give"),
        ("workhorse", "It has lines with method, route, status, time. → Give"),
        ("array", "It has a line that is no JSON object. → Give GitLab's api_json.log, which has a call a line."),
        ("pretty", "It has a line that is no JSON object. → Give"),
    ],
)
def test_lines_of_another_log_are_no_ground_to_call_a_token_unused(name: str, said: str, tmp_path: Path) -> None:
    path = logs.plain(tmp_path / name, [OF_OTHERS[name] + b"\n"] * 3)
    with pytest.raises(UsageError) as caught:
        read_usage(logs_of([str(path)], None))
    assert f'{name}" is no api_json.log of GitLab: no line of it is a call of the API with a time. {said}' in str(
        caught.value
    )


def test_lines_of_other_logs_between_those_of_the_api_do_no_harm(tmp_path: Path) -> None:
    lines = [one + b"\n" for one in OF_OTHERS.values()]
    path = logs.plain(tmp_path / "pod.log", [*lines, *logs.written(USES, DAYS).lines, *lines])
    assert read_usage(logs_of([str(path)], None)).by_token[LIVE].calls == 88


@pytest.mark.parametrize("route", [None, "/api/:version/user"])
def test_calls_without_a_token_make_a_log_also_below_a_relative_url(route: str | None, tmp_path: Path) -> None:
    call = logs.others("19.2", datetime(2026, 2, 16, tzinfo=UTC), LIVE)[0]
    path = logs.plain(
        tmp_path / "api_json.log", [logs.line({**call, "path": "/gitlab/api/v4/nowhere", "route": route})]
    )
    assert read_usage(logs_of([str(path)], None)).lines == 1


def test_what_was_added_to_a_log_need_not_look_like_one(tmp_path: Path) -> None:
    path = logs.plain(tmp_path / "pod.log", logs.written(USES, DAYS).lines)
    first = read_usage(logs_of([str(path)], None), positions={})
    with path.open("ab") as log:
        log.write(OF_OTHERS["production_json.log"] + b"\n")
    assert read_usage(logs_of([str(path)], None), positions=first.positions).lines == 1


def test_a_log_that_ends_before_the_days_asked_for_says_nothing(instance: Instance, tmp_path: Path) -> None:
    day = datetime.now(UTC).date() - timedelta(3)
    log = logs.plain(tmp_path / "api_json.log", logs.written([Use(1, 5)], [day]).lines)
    said = instance.refusal("used", "--log", log, "--since", "2999-01-01", status=2)
    assert said == f"The log ends on {day}, before --since 2999-01-01."


@pytest.mark.parametrize("text", ["", "# Logfile created on 2026-11-28 by logger.rb/v1.5.3\n", "\n"])
def test_a_log_without_a_call_yet_is_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "api_json.log"
    path.write_text(text)
    assert read_usage(logs_of([str(path)], None)).by_token == {}


class TestCondensed:
    def test_it_comes_to_what_the_logs_come_to(self, tmp_path: Path, write: Write) -> None:
        found = logs_of([write()], None)
        limits = [Limit(5, 60), Limit(5, 3600)]
        little = condensed(found)
        again = logs_of(["-"], io.BytesIO(little))
        assert len(little) < sum(len(path.read_bytes()) for path in tmp_path.glob("api_json.log*"))
        assert read_usage(again, limits=limits) == read_usage(found, limits=limits)

    def test_days_and_tokens_can_be_chosen_of_it_too(self, write: Write) -> None:
        found = logs_of([write()], None)
        again = logs_of(["-"], io.BytesIO(condensed(found)))
        options: dict[str, Any] = {"only": {LIVE}, "since": "2026-02-18"}
        assert read_usage(again, **options).by_token == read_usage(found, **options).by_token

    def test_what_only_looks_like_it_is_a_damaged_line(self) -> None:
        lines = b'{"condensed:alike": [1]}\n{"condensed:what": 3}\n{"condensed:try": "x"}\n'
        usage = read_usage(logs_of(["-"], io.BytesIO(gzip.compress(lines))))
        assert (usage.damaged, usage.by_token) == (3, {})


def test_no_line_is_wider_than_the_terminal_and_no_text_of_a_log_reaches_it_raw(
    gitlab: Instance, tmp_path: Path
) -> None:
    fields = logs.call("19.2", datetime(2026, 2, 16, tzinfo=UTC), USES[0])
    other = {
        **logs.strange(fields),
        "meta.remote_ip": "10.0.0.1\x1b[2J",
        "meta.caller_id": "GET \x1b]0;t\x07" + "x" * 300,
    }
    logs.plain(tmp_path / "odd.log", [logs.line(logs.strange(fields)), logs.line(other)])
    words = ("used", "--log", tmp_path / "odd.log")
    text = gitlab.run(*words).stdout
    assert "Token 1" in text
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    usage = read_usage(logs_of([str(tmp_path / "odd.log")], None))
    found = view.Used(usage, known(gitlab.address, EVERYTHING, usage.by_token), 4, (), ("odd.log",))
    for width in (60, 80, 132):
        assert max(map(width_of, "\n".join(view.screen(found, None, width)).split("\n"))) <= width

"""What deploy/monitoring hands out works with the numbers that `check` writes, in a real Prometheus."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token
from tests.testbed.processes import wait_until
from tokens.address import Address
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.kind import Kind, State
from tokens.inventory.gauges import Gauges, KindGauge
from tokens.views.metrics import metrics

MONITORING = Path(__file__).parent.parent / "deploy" / "monitoring"
NEEDED = ("promtool", "prometheus", "prometheus-node-exporter")
METRIC = re.compile(r"gitlab_tokens\w*")
CHOICE = re.compile(r"\{\{ if match \"(.*?)\" \$labels\.kind -\}\}\s*(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}")


ABSENT = [name for name in NEEDED if shutil.which(name) is None]

pytestmark = [
    pytest.mark.newest_server,
    pytest.mark.skipif(bool(ABSENT), reason=f"Debian's packages prometheus and prometheus-node-exporter have {ABSENT}"),
]


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def written() -> set[str]:
    """The names of all metrics."""
    numbers = Gauges((KindGauge(Kind.GROUP, dict.fromkeys(State, 1), {7: 1}, 1, None, expired_in_use=1),))
    return set(re.findall(r"# TYPE (\w+)", metrics(numbers, 0.1)))


def test_the_rules_and_their_own_tests_are_accepted() -> None:
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done


def test_rules_and_dashboard_ask_for_numbers_that_are_written() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {name for expression in asked for name in METRIC.findall(expression)} <= written()


def test_the_dashboard_says_stop_working_where_a_membership_may_end_before_the_date() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert [title for title in titles if re.search("stops? working", title, re.IGNORECASE)]
    assert not [title for title in titles if re.search(r"\bexpires?\b", title, re.IGNORECASE)]


@pytest.mark.parametrize("kind", [*Kind, *OtherKind])
def test_every_alert_names_a_command_that_works_when_it_is_typed(
    gitlab_database: Address, kind: Kind | OtherKind
) -> None:
    for rule in rules():
        command = CHOICE.sub(
            lambda found: found[2] if re.search(found[1], kind) else found[3], rule["annotations"]["command"]
        )
        program, *words = shlex.split(command.replace("{{ $labels.kind }}", kind))
        if program == "gitlab-tokens" and (isinstance(kind, Kind) or "gitlab_tokens_next" in rule["expr"]):
            log = ["--log", os.devnull] if words[0] == "used" else []  # which is found where GitLab is
            assert typed(*words, *log, "--target", url(gitlab_database)) == 0, command


@pytest.mark.slow
def test_prometheus_reads_the_numbers_through_node_exporter(gitlab_database: Address, tmp_path: Path) -> None:
    soon = datetime.now(UTC).date() + timedelta(5)
    with make_engine(gitlab_database).begin() as connection:
        make_token(connection, expires_at=soon)
    numbers = tmp_path / "textfiles"
    numbers.mkdir()
    file = numbers / "gitlab_tokens.prom"
    words = ["check", "--target", url(gitlab_database), "--output", "prometheus", "--file", str(file)]
    assert typed(*words) == 0
    exporter, server = free_port(), free_port()
    configuration = tmp_path / "prometheus.yml"
    scrape = {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
    configuration.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(MONITORING / "alerts.yaml")],
                "scrape_configs": [scrape],
            }
        )
    )
    with (
        running(
            "prometheus-node-exporter",
            f"--web.listen-address=127.0.0.1:{exporter}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={numbers}",
        ),
        running(
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{server}",
        ),
    ):
        ask = f"http://127.0.0.1:{server}/api/v1"
        query = urllib.parse.urlencode({"query": 'gitlab_tokens_expiring{kind="personal",within="7d"}'})
        wait_until(lambda: bool(answered(f"{ask}/query?{query}")["data"]["result"]))
        [found] = answered(f"{ask}/query?{query}")["data"]["result"]
        assert found["value"][1] == "1"
        wait_until(lambda: "GitLabTokensExpireSoon" in [one["alertname"] for one in alerts_of(ask)])
        alerts = [one for one in alerts_of(ask) if one["alertname"] == "GitLabTokensExpireSoon"]
        assert alerts == [{"alertname": "GitLabTokensExpireSoon", "severity": "warning", **origin(exporter)}]


def alerts_of(ask: str) -> list[dict[str, str]]:
    """The labels of each alert, those that wait for their time too."""
    return [one["labels"] for one in answered(f"{ask}/alerts")["data"]["alerts"]]


def origin(exporter: int) -> dict[str, str]:
    return {"instance": f"127.0.0.1:{exporter}", "job": "node", "kind": "personal"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def running(program: str, *words: str) -> Iterator[None]:
    with subprocess.Popen([shutil.which(program) or program, *words], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def answered(address: str) -> Any:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return {"data": {"result": [], "alerts": []}}

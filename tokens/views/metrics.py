"""How tokens look to Prometheus: at most 60 series, and points in time, since days left would change by themselves."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.inventory.due import KindGauge

UNIX_EPOCH = ExpirationDate.typed("1970-01-01")
SECONDS_A_DAY = 86_400


def metrics(gauges: Sequence[KindGauge]) -> str:
    """Prometheus' text format, with a line's end last, as node_exporter's textfile collector wants it."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=registry)

    tokens = gauge("gitlab_tokens", "Tokens by kind and state.", "kind", "state")
    expiring = gauge("gitlab_tokens_expiring", "Active tokens that expire within a number of days.", "kind", "within")
    undated = gauge("gitlab_tokens_without_expiration", "Active tokens that never expire.", "kind")
    soonest = gauge(
        "gitlab_tokens_next_expiration_timestamp_seconds", "When the next active token stops working.", "kind"
    )
    for one in gauges:
        for state in State:
            tokens.labels(one.kind, state).set(one.by_state[state])
        for days, number in one.within.items():
            expiring.labels(one.kind, f"{days}d").set(number)
        undated.labels(one.kind).set(one.undated)
        if one.next is not None:
            soonest.labels(one.kind).set((one.next.ordinal - UNIX_EPOCH.ordinal) * SECONDS_A_DAY)
    gauge("gitlab_tokens_last_success_timestamp_seconds", "When these numbers were read.").set(int(time.time()))
    return generate_latest(registry).decode()

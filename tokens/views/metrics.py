"""How tokens look to Prometheus: at most 60 series, 65 with a log, unless each token is asked for; points in time.

Days left would change by themselves. There is no series for a failure: the file then stays as it was.
"""

import time

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from tokens.counts import duration
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.inventory.gauges import CLIFF_WITHIN, UNWARNED_WITHIN, Gauges
from tokens.inventory.replay import TOLERATED
from tokens.terminal.paragraphs import cut
from tokens.terminal.printable import printable
from tokens.version import __version__

UNIX_EPOCH = ExpirationDate.typed("1970-01-01")
SECONDS_A_DAY = 86_400
LONGEST_LABEL = 200  # columns


def metrics(found: Gauges, seconds: float) -> str:
    """Prometheus' text format, with a line's end last, as node_exporter's textfile collector wants it.

    `seconds` is how long it took to read the numbers.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=registry)

    tokens = gauge("gitlab_tokens", "Tokens by kind and state.", "kind", "state")
    expiring = gauge(
        "gitlab_tokens_expiring", "Active tokens that stop working within a number of days.", "kind", "within"
    )
    undated = gauge("gitlab_tokens_without_expiration", "Active tokens that never expire.", "kind")
    beyond = gauge("gitlab_tokens_beyond_maximum", "Active tokens beyond the instance's maximum lifetime.", "kind")
    unwarned = gauge(
        "gitlab_tokens_unwarned_expiring",
        f"Tokens that stop working within {UNWARNED_WITHIN} days, and GitLab warns nobody.",
        "kind",
    )
    soonest = gauge(
        "gitlab_tokens_next_expiration_timestamp_seconds", "When the next active token stops working.", "kind"
    )
    in_use = None
    if any(one.expired_in_use is not None for one in found.kinds):
        text = "Tokens that have expired, and of which the log has tries."
        in_use = gauge("gitlab_tokens_expired_in_use", text, "kind")
    for one in found.kinds:
        for state in State:
            tokens.labels(one.kind, state).set(one.by_state[state])
        for days, number in one.within.items():
            expiring.labels(one.kind, f"{days}d").set(number)
        undated.labels(one.kind).set(one.undated)
        beyond.labels(one.kind).set(one.beyond_maximum)
        unwarned.labels(one.kind).set(one.unwarned)
        if in_use is not None and one.expired_in_use is not None:
            in_use.labels(one.kind).set(one.expired_in_use)
        ends_at = one.next_at if one.next is None else _midnight(one.next)
        if ends_at is not None:
            soonest.labels(one.kind).set(ends_at)
    gauge(
        "gitlab_tokens_cliff_ratio",
        f"Share of the fullest day among the tokens that stop working within {CLIFF_WITHIN} days.",
    ).set(found.cliff_ratio)
    info = gauge("gitlab_tokens_info", "Always 1: this program's version and GitLab's release.", "version", "release")
    info.labels(__version__, found.release or "").set(1)
    gauge("gitlab_tokens_scrape_duration_seconds", "How long it took to read these numbers.").set(seconds)
    if found.each:
        single = gauge(
            "gitlab_token_expiration_timestamp_seconds", "When a token stops working.", "id", "kind", "owner", "name"
        )
        for token in found.each:
            owner, name = (cut(printable(text or ""), LONGEST_LABEL) for text in (token.owner, token.name))
            single.labels(token.id, token.kind, owner, name).set(_midnight(token.ends_on))
    gauge(
        "gitlab_tokens_last_success_timestamp_seconds",
        "When these numbers were read; on a standby that is behind by more than "
        f"{duration(TOLERATED)} when the last change was made that it has.",
    ).set(int(time.time() if found.last_change is None else found.last_change.timestamp()))
    return generate_latest(registry).decode()


def _midnight(day: ExpirationDate) -> float:
    """The moment at which a token of this date dies, as Unix counts."""
    return (day.ordinal - UNIX_EPOCH.ordinal) * SECONDS_A_DAY

"""A real standby: what only reads works on it, what changes something is refused."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.testbed.addresses import url
from tests.testbed.commands import typed
from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens
from tests.testbed.replication import Replicated
from tokens.address import Address
from tokens.database import connect, reading, writing
from tokens.errors import Refused
from tokens.gitlab import preflight
from tokens.gitlab.needs import ANALYZE, Needs
from tokens.gitlab.schema import TOKENS
from tokens.inventory import replay
from tokens.inventory.analysis import analyze
from tokens.inventory.gauges import gauges
from tokens.selection import EVERYTHING
from tokens.views.metrics import metrics

CHANGE = Needs(reads=ANALYZE.reads, writes={TOKENS: ("expires_at",)})


def test_analyze_works_on_a_standby(replicated: Replicated) -> None:
    with replicated.database() as pair:
        with make_engine(pair.primary).begin() as connection:
            make_tokens(connection, 3, expires_at="2024-06-15")
        replicated.catch_up()
        assert analyze(pair.standby).dates == analyze(pair.primary).dates
        assert analyze(pair.standby).dates[0].tokens == 3


def test_what_the_standby_has_not_applied_yet_is_not_seen_there(replicated: Replicated) -> None:
    with replicated.database() as pair, replicated.replay_paused():
        with make_engine(pair.primary).begin() as connection:
            make_token(connection, expires_at="2024-06-15")
        assert (len(analyze(pair.primary).dates), len(analyze(pair.standby).dates)) == (1, 0)
        replicated.resume_replay()
        replicated.catch_up()
        assert len(analyze(pair.standby).dates) == 1


def test_a_standby_that_applies_nothing_any_more_says_how_old_its_numbers_are(
    replicated: Replicated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(address: Address, *words: str) -> tuple[str, str]:
        assert typed(*words, "--target", url(address)) == 0
        return capsys.readouterr()

    old = "The last change that this standby has is of "
    with replicated.database() as pair:
        with make_engine(pair.primary).begin() as connection:
            make_token(connection, expires_at="2999-06-15")
        replicated.catch_up()
        with replicated.replay_paused():
            with reading(pair.standby) as reader:
                last = reader.row("SELECT extract(epoch FROM pg_last_xact_replay_timestamp())::float8 AS last").last
            assert gauges(pair.standby, EVERYTHING).last_change is None
            assert old not in str([said(pair.standby, task) for task in ("check", "doctor")])
            monkeypatch.setattr(replay, "TOLERATED", timedelta(0))
            numbers = gauges(pair.standby, EVERYTHING)
            assert numbers.last_change == datetime.fromtimestamp(last, UTC)
            long_ago = replace(numbers, last_change=datetime(2026, 1, 1, tzinfo=UTC))
            assert "\ngitlab_tokens_last_success_timestamp_seconds 1.7672256e+09\n" in metrics(long_ago, 0.1)
            for output, stream in (("text", 1), ("nagios", 0), ("prometheus", 1)):
                assert f"NOTE: {old}" in said(pair.standby, "check", "--output", output)[stream]
            assert json.loads(said(pair.standby, "check", "--output", "json")[0])["notes"][0].startswith(old)
            found = said(pair.standby, "doctor")[0]
            assert re.search(f"WARN standby +{old}", found)
            assert "a standby: every task that only reads works, for changes go to the primary\n" in found
            assert gauges(pair.primary, EVERYTHING).last_change is None
            assert old not in str([said(pair.primary, task) for task in ("check", "doctor")])


def test_a_change_is_refused_on_a_standby(replicated: Replicated) -> None:
    with replicated.database() as pair:
        with reading(pair.standby) as connection:
            preflight.check(connection, ANALYZE)
            with pytest.raises(Refused, match=r"a standby .* run this on the primary"):
                preflight.check(connection, CHANGE)
        with (
            connect(pair.standby) as connection,
            pytest.raises(Refused, match="takes no changes"),
            writing(connection, lock_timeout="1s", statement_timeout="1s"),
        ):
            connection.execute("UPDATE public.personal_access_tokens SET expires_at = NULL")

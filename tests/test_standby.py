"""A real standby: what only reads works on it, what changes something is refused."""

import pytest

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_tokens
from tests.testbed.replication import Replicated
from tokens.database import connect, reading, writing
from tokens.errors import Refused
from tokens.gitlab import preflight
from tokens.gitlab.needs import ANALYZE, Needs
from tokens.gitlab.schema import TOKENS
from tokens.inventory.analysis import analyze

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

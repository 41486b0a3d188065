"""What no version of this tool ever writes into the journal: a line that names the check, and no traceback."""

import itertools

import pytest

from tests.testbed.addresses import url
from tests.testbed.commands import call_here
from tests.testbed.journal import execute
from tests.testbed.program import GITLAB_TOKENS
from tokens.address import Address
from tokens.errors import ExitStatus

pytestmark = pytest.mark.newest_server

ORIGINS = ("'7'", "'[]'", "'\"root\"'", "'{\"user\": 7}'")
WRONG_CHANGES = (
    '\'{"to": "x", "by": null, "days": 1}\'',
    '\'{"to": null, "by": 7, "days": null}\'',
    '\'{"to": null, "by": "abc", "days": "x"}\'',
)
TIMES = ("'infinity'", "'20000-01-01'", "'0044-03-15 BC'")
BOTH = {"history", "undo"}
DAMAGES = (
    *itertools.product(["runs"], ["planned_by"], ORIGINS),
    *itertools.product(["runs"], ["created_at"], TIMES),
    *itertools.product(["runs"], ["selection"], ("'7'", "'\"x\"'", '\'{"expires": 7, "ids": "x"}\'')),
    *itertools.product(["runs"], ["change"], ("'7'", "'{}'", *WRONG_CHANGES)),
    *itertools.product(["attempts"], ["carried_out_by"], ORIGINS),
    *itertools.product(["attempts"], ["started_at"], TIMES),
    ("chunks", "token_ids", "'{NULL,1}'"),
)


@pytest.mark.parametrize(("table", "column", "value"), DAMAGES)
def test_a_damaged_row_is_a_line_that_names_the_check(everything: Address, table: str, column: str, value: str) -> None:
    execute(everything, f"UPDATE token_tasks.{table} SET {column} = {value}")
    refused = set()
    for words in (["history", "--run", "1"], ["undo", "--run", "1", "--dry-run"], ["history"], ["history", "--tokens"]):
        done = call_here(GITLAB_TOKENS, *words, "--target", url(everything))
        assert "Traceback" not in done.stderr, done
        assert done.returncode in (ExitStatus.DONE, ExitStatus.PARTIAL, ExitStatus.REFUSED), done
        if "is damaged" in done.stderr:
            assert (done.returncode, done.stderr.count("\n")) == (ExitStatus.REFUSED, 1)
            assert "journal.status --target" in done.stderr
            refused.add(words[0])
    if "BC" in value:  # a time of before Christ is one, and is shown without its sign
        assert refused == set()
    else:
        assert refused == (
            {"undo"} if table == "chunks" else {"history"} if (column, value) == ("started_at", "'infinity'") else BOTH
        )
    done = call_here(GITLAB_TOKENS, "journal.status", "--target", url(everything))
    assert done.returncode == ExitStatus.FAILED
    assert "was changed" in done.stdout


@pytest.mark.parametrize("value", ["'7'", "'{\"user\": []}'"])
def test_a_damaged_setting_stops_what_depends_on_it(everything: Address, value: str) -> None:
    target = ("--target", url(everything))
    assert call_here(GITLAB_TOKENS, "journal.four-eyes", "--on", *target).returncode == ExitStatus.DONE
    execute(everything, f"UPDATE token_tasks.settings SET set_by = {value}")
    for words in (["journal.four-eyes"], ["journal.four-eyes", "--off"]):
        done = call_here(GITLAB_TOKENS, *words, *target)
        assert done.returncode == ExitStatus.REFUSED, done
        assert done.stderr.startswith("The setting of four eyes is damaged in the journal: something else has changed")
    assert "settings" in call_here(GITLAB_TOKENS, "journal.status", *target).stdout

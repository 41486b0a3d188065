"""Killed clients, a crashing server and other people's changes: table and journal agree, and everything comes back."""

from collections.abc import Callable

import pytest

from tests.testbed.crashes import (
    EXTEND,
    FEW,
    REVOKE,
    Killer,
    check_crash,
    check_others,
    check_others_of_a_revocation,
    check_two_at_once,
    fill,
)
from tests.testbed.servers import is_newest
from tokens.address import Address
from tokens.targets.demo.embedded import Server

CHANGES = pytest.mark.parametrize("change", [EXTEND, REVOKE], ids=lambda words: words[0])


@pytest.mark.slow
@pytest.mark.first_elsewhere("jobs")
@pytest.mark.parametrize("jobs", [3, 1])
@CHANGES
def test_a_client_that_is_killed_at_any_moment_leaves_table_and_journal_in_agreement_and_everything_can_go_on(
    gitlab_database: Address, change: tuple[str, ...], jobs: int, pytestconfig: pytest.Config
) -> None:
    fill(gitlab_database)
    if not is_newest(gitlab_database):
        Killer(gitlab_database, change=change, jobs=jobs).check(FEW)
        return
    kills: int = pytestconfig.getoption("kills")
    # On a busy machine more of them come too early. A revocation is over soon.
    met = kills // 3 if change is EXTEND else 1
    Killer(gitlab_database, change=change, jobs=jobs).check(kills, met)


@pytest.mark.slow
@pytest.mark.first_elsewhere("jobs")
@pytest.mark.parametrize(("change", "jobs"), [(EXTEND, 3), (EXTEND, 1), (REVOKE, 1)], ids=["three", "extend", "revoke"])
def test_a_server_that_crashes_in_the_middle_ends_the_run_with_one_line_and_the_run_can_go_on(
    gitlab_database: Address,
    server: Server,
    superuser: Callable[[Address], Address],
    change: tuple[str, ...],
    jobs: int,
) -> None:
    check_crash(gitlab_database, gitlab_database, server, superuser, change, jobs)


def test_rows_that_others_change_lock_or_delete_in_the_middle_are_left_alone_and_reported(
    gitlab_database: Address,
) -> None:
    check_others(gitlab_database, gitlab_database)


def test_of_a_revocation_and_its_undo_tokens_that_others_touch_are_left_alone_and_reported(
    gitlab_database: Address,
) -> None:
    check_others_of_a_revocation(gitlab_database, gitlab_database)


@pytest.mark.slow
@pytest.mark.first_elsewhere("jobs", "change")
@pytest.mark.parametrize("jobs", [3, 1])
@CHANGES
def test_of_two_runs_at_once_one_is_refused_or_they_come_one_after_the_other(
    gitlab_database: Address, change: tuple[str, ...], jobs: int
) -> None:
    check_two_at_once(gitlab_database, gitlab_database, change, jobs)

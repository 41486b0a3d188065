"""Every task on the oldest release's tables, on each later one's, and with each optional column gone.

What a release does not have is absent from a statement, never an error; and what the doctor says of a database is true.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_migration_row,
    make_project,
    make_settings,
    make_token,
    make_user,
)
from tests.testbed.rotation import EVERY_KIND, KEYS, PROJECT_BOT, SERVICE_ACCOUNT, ended, reached
from tests.testbed.rotation import begun as begun_rotation
from tests.testbed.runs import apply, begin_run, execute, query, resume, set_back, undo, writing
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import RunKind, make_plan
from tokens.errors import Refused
from tokens.gitlab.credentials import CREDENTIALS
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.gitlab.needs import OPTIONAL
from tokens.gitlab.notices import FLAGS
from tokens.inventory.analysis import analyze
from tokens.inventory.diagnosis import TASKS, Verdict, diagnose, least_privileges
from tokens.journal import runs
from tokens.journal.installation import RunState
from tokens.journal.listing import read_rotations, read_tokens, read_touched
from tokens.rotation.candidate import Search, find
from tokens.rotation.plan import obstacles, plan
from tokens.rotation.resumption import Step, resumable
from tokens.rotation.retirement import Retirement, abandon, finish
from tokens.rotation.stage import Stage
from tokens.rotation.successor import create
from tokens.run.batches import Finished, run
from tokens.selection import DateRange, Selection
from tokens.upgrade import Branch, upgrade

TODAY = datetime.now(UTC).date()
SOON, LATER = TODAY + timedelta(5), TODAY + timedelta(200)
LIVING = frozenset({State.ACTIVE, State.EXPIRED})

TOKENS = "personal_access_tokens"
WHOLE = ("batched_background_migrations", "personal_access_token_granular_scopes", "schema_migrations")
"""The tables that are there or are not; of the others the columns."""

ABSENT: dict[str, list[str | None]] = {
    **{table: [None] for table in WHOLE},
    **{table: [one for one in columns if one != "id"] for table, columns in OPTIONAL.items() if table not in WHOLE},
}
ABSENT["batched_background_migrations"].append("finished_at")

# Two that one condition asks for must not be in one round, where each would hide the other. None are today.
ABSENT_TOGETHER = [
    *(
        [(table, columns[number]) for table, columns in ABSENT.items() if number < len(columns)]
        for number in range(max(map(len, ABSENT.values())))
    ),
    [("application_settings", None)],
]
"""Each of them once, of each table one at a time."""

# Without a column of others that one is NULL.
# What a release lacks of these is not read: tests/test_credentials.py and tests/test_whose.py.
CREDENTIAL_TABLES = {credential.table for credential in CREDENTIALS}
NEEDED = sorted(
    {
        (one.table, one.column)
        for task, needs in TASKS.items()
        for one in needs.privileges
        if one.column and task != "others" and one.table not in CREDENTIAL_TABLES
    }
)

COLUMNS = """
    SELECT c.relname, a.attname
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
    WHERE c.relnamespace = CAST('public' AS regnamespace) AND a.attnum > 0 AND NOT a.attisdropped
"""


def test_every_column_that_the_oldest_release_lacks_is_optional(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    oldest, newest = ({tuple(row) for row in query(gitlab_database_at(at), COLUMNS)} for at in ("16.0", "head"))
    assert set(NEEDED) <= newest
    lacking = {one for one in NEEDED if one not in oldest}
    assert lacking <= {(table, column) for table, columns in OPTIONAL.items() for column in columns}
    assert lacking


@pytest.mark.slow
@pytest.mark.each_release
def test_every_task_works_on_every_release(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    check_every_task(gitlab_database_at(revision))


@pytest.fixture
def newest(alone: Alone) -> Iterator[Address]:
    """The newest release on one server alone, with a journal: what is absent is the same on all."""
    with alone.database(journal=True) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("absent", ABSENT_TOGETHER, ids=range(1, len(ABSENT_TOGETHER) + 1))
def test_every_task_works_without_one_optional_column_of_each_table(
    newest: Address, absent: list[tuple[str, str | None]]
) -> None:
    for table, column in absent:
        what = f"TABLE public.{table}" if column is None else f"TABLE public.{table} DROP COLUMN {column}"
        execute(newest, f"{'DROP' if column is None else 'ALTER'} {what} CASCADE")
    check_every_task(newest)


def test_tables_that_no_known_release_has_are_refused_and_the_doctor_says_so(newest: Address) -> None:
    execute(newest, "ALTER TABLE users DROP COLUMN admin")
    execute(newest, "ALTER TABLE members RENAME COLUMN requested_at TO asked_at")
    told = {one.subject: (one.verdict, one.text) for one in diagnose(newest)}
    assert told["privileges for analyze"] == (Verdict.OK, "sufficient")
    for task, missing in (("changes", "members.requested_at"), ("rotate", "users.admin, members.requested_at")):
        verdict, text = told[f"privileges for {task}"]
        assert verdict is Verdict.WARN
        assert f"lacks {missing}, which every GitLab from 16.0 to 19.x has" in text
    every = Selection((), kinds=EVERY_KIND)
    for attempt in (lambda: find(newest, Search(every)), lambda: make_plan(newest, RunKind.REMOVE, every, Change())):
        with pytest.raises(Refused, match=r"lacks .*members\.requested_at"):
            attempt()


def check_every_task(address: Address) -> None:
    """Whether each task does on these tables what it is for."""
    made = fill(address)
    assert len(analyze(address).dates) == 2
    told = {one.subject: (one.verdict, one.text) for one in diagnose(address)}
    assert {verdict for verdict, _ in told.values()} <= {Verdict.OK, Verdict.WARN}
    for task in TASKS:
        assert told[f"privileges for {task}"] == (Verdict.OK, "sufficient")
        assert least_privileges(address, "somebody")[task]
    columns = {tuple(row) for row in query(address, COLUMNS)}
    assert ("record of rotations" in told) == ((TOKENS, "previous_personal_access_token_id") not in columns)
    check_changes(address, made)
    check_rotations(address, made)
    assert {one.verdict for one in diagnose(address)} <= {Verdict.OK, Verdict.WARN}


def fill(address: Address) -> dict[str, int]:
    """Tokens of every kind and state, with memberships and notices, and a journal."""
    if not query(address, "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'token_tasks'"):
        upgrade(address, Branch.JOURNAL)
    columns = {tuple(row) for row in query(address, COLUMNS)}
    with make_engine(address).begin() as connection:
        if ("application_settings", "max_personal_access_token_lifetime") in columns:
            make_settings(connection, max_personal_access_token_lifetime=300)
        elif ("application_settings", "id") in columns:
            make_settings(connection)
        if ("batched_background_migrations", "id") in columns:
            make_migration_row(connection)
        group = make_group(connection, path="tools")
        project = make_project(connection, path="scanner", namespace_id=group)
        accounts = {
            "person": make_user(connection, username="erika"),
            "bot": make_user(connection, user_type=PROJECT_BOT, username=f"project_{project}_bot_1"),
            "homeless": make_user(connection, user_type=PROJECT_BOT, username=f"group_{group}_bot_1"),
            "service": make_user(connection, user_type=SERVICE_ACCOUNT, provisioned_by_group_id=group),
        }
        make_membership(connection, user_id=accounts["bot"], project_id=project, expires_at=SOON)
        make_membership(connection, user_id=accounts["service"], group_id=group, expires_at=SOON)
        warned = {name: True for name in FLAGS if (TOKENS, name) in columns}
        made = {
            name: make_token(connection, user_id=user, expires_at=SOON, name=name, **warned)
            for name, user in accounts.items()
        }
        made["dead"] = make_token(connection, user_id=accounts["service"], expires_at=TODAY, name="dead")
    return made


def check_changes(address: Address, made: dict[str, int]) -> None:
    """Extended with everything that hangs on it, found by every option, removed, undone, applied, listed."""
    to = ExpirationDate.typed(str(LATER))
    days = DateRange(ExpirationDate.typed(str(TODAY)), ExpirationDate.typed(str(SOON)))
    every = Selection((days,), kinds=EVERY_KIND, states=LIVING)
    expected = sorted(made.values())
    planned = make_plan(address, RunKind.EXTEND, every, Change(to))
    assert (planned.tokens, planned.notices, planned.memberships is not None) == (5, True, True)
    assert {note.concern.name for note in planned.notes} >= {"MEMBERSHIPS", "NOTICES", "REVIVES"}
    named = replace(every, users=("ERIKA",), name="per*", scopes=("api",), last_used_before=TODAY)
    for selection, names in (
        (named, ["person"]),
        (replace(every, groups=("tools",)), ["bot", "dead", "homeless", "service"]),
        (replace(every, projects=("tools/scanner",)), ["bot"]),
        (replace(every, kinds=frozenset({Kind.GROUP})), ["homeless"]),
        (replace(every, created_before=TODAY, created_after=date(2020, 1, 1), ids=(made["dead"],)), ["dead"]),
    ):
        found = make_plan(address, RunKind.REMOVE, selection, Change())
        assert sorted(one for chunk in found.chunks for one in chunk.ids) == sorted(made[name] for name in names)
    record = begin_run(address, planned)
    *_, end = run(address, planned, record)
    assert isinstance(end, Finished)
    assert end.changed == 5
    with database.reading(address) as connection:
        stored = runs.read_run(connection, record.run)
        touched = read_touched(connection, record.run)
        assert (touched.memberships, touched.notices) == (1, 4)
        assert len(runs.list_runs(connection)) == 1
    assert sorted(one.id for one in read_tokens(address, stored)) == expected
    removed = make_plan(address, RunKind.REMOVE, replace(every, expires=(DateRange(to, to),)), Change())
    begun = begin_run(address, removed)
    *_, end = run(address, removed, begun)
    assert undo(address, begun.run).changed == undo(address, record.run).changed == 5
    assert dates(address) == {str(SOON): 4, str(TODAY): 1}
    stopped = begin_run(address, planned)
    with writing(address) as connection:
        stopped.finish(connection, RunState.STOPPED)
    assert apply(address, stopped.run).changed == 5
    assert undo(address, stopped.run).changed == 5


def dates(address: Address) -> dict[str, int]:
    found = query(address, f"SELECT CAST(expires_at AS text) AS day, count(*) FROM {TOKENS} GROUP BY 1")
    return {row[0]: row[1] for row in found}


def check_rotations(address: Address, made: dict[str, int]) -> None:
    """Found, planned, made, given up, made anew, retired in both ways, and never made twice."""
    chosen = find(address, Search(Selection((), kinds=EVERY_KIND, states=LIVING), within=10, expired_within=10))
    assert sorted(one.id for one in chosen) == sorted(made.values())
    assert obstacles(address, chosen, allow_personal=True) == {}
    planned = plan(address, chosen, expires_in=100, grace=None, release=None, allow_personal=True)
    told = " ".join(planned.notes)
    assert re.search(r"bots? without any membership", told)
    assert "1 membership of a service account ends before the new token" in told
    record = begun_rotation(address, planned)
    first, *others = planned.rotations
    given_up = reached(address, record, first, Stage.VERIFIED)
    set_back(address, 120)
    record = resume(address, record.run)
    assert {one.step for one in resumable(address, record.run)} == {Step.AGAIN, Step.CREATE}
    with database.connect(address) as connection:
        abandon(connection, record, first.candidate.id)
    for rotation in (first, *others):
        reached(address, record, rotation, Stage.DELIVERED)
        with database.connect(address) as connection:
            assert finish(connection, record, rotation) is Retirement.REVOKED
    ended(address, record)
    assert [len(one.given_up) for one in read_rotations(address, record.run)].count(1) == 1
    assert query(address, f"SELECT revoked FROM {TOKENS} WHERE id = :id", id=given_up.id) == [(True,)]

    successors = find(address, Search(Selection((), kinds=EVERY_KIND), within=100))
    planned = plan(address, successors[:1], expires_in=50, grace=3, release=None, allow_personal=True)
    record = begun_rotation(address, planned)
    with database.connect(address) as connection:
        create(connection, planned.rotations[0], KEYS, run=record)
    (again,) = obstacles(address, successors[:1], allow_personal=True).values()
    assert "has a successor of run" in again

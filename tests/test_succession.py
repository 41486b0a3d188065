"""What came of a token by rotations: what GitLab remembers, what the journal alone does, and if it cannot be asked."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.conninfo import make_conninfo

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_user
from tests.testbed.journal import NEW, WITH_JOURNAL, execute, make_plan, make_run
from tests.testbed.rotation import standing
from tests.testbed.servers import Alone
from tokens import database
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.notes import Concern
from tokens.change.plan import RunKind
from tokens.change.plan import make_plan as plan_change
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.schema import read_schema
from tokens.gitlab.succession import read_succession
from tokens.inventory.diagnosis import least_privileges
from tokens.inventory.due import due
from tokens.inventory.token_columns import BY_NAME
from tokens.inventory.tokens import Layout, listed
from tokens.journal.contents import count_prunable
from tokens.rotation.candidate import Search, find
from tokens.rotation.plan import plan as plan_rotation
from tokens.selection import EVERY_STATE, Selection
from tokens.upgrade import Branch, upgrade

SOON = datetime.now(UTC).date() + timedelta(7)

ROTATED = """
    INSERT INTO token_tasks.rotations (run_id, token_id, successor_id, state) VALUES ({run}, {old}, {new}, 'done')
"""


def service_tokens(address: Address, number: int) -> list[int]:
    with make_engine(address).begin() as connection:
        owner = make_user(connection, user_type=13)
        return [make_token(connection, user_id=owner, expires_at=SOON) for _ in range(number)]


def rotated(address: Address, *pairs: tuple[int, int]) -> None:
    """The journal remembers these rotations, and GitLab does not."""
    run = make_run(address, make_plan([1]), created_at="2026-01-01 00:00+00")
    execute(address, *(ROTATED.format(run=run, old=old, new=new) for old, new in pairs))


def noted(address: Address, concern: Concern) -> list[tuple[str, tuple[int, ...]]]:
    day = ExpirationDate(SOON.toordinal())
    plan = plan_change(address, RunKind.EXTEND, Selection.every(day), Change(to=NEW))
    return [(note.text, note.ids) for note in plan.notes if note.concern is concern]


def live_successors(address: Address, *tokens: int) -> dict[int, int | None]:
    return {token: standing(address, token).live_successor for token in tokens}


def test_after_an_update_to_16_3_what_the_journal_knows_of_rotations_before_still_counts(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("16.0")
    upgrade(address, Branch.JOURNAL)
    first, second, third, other, heir = service_tokens(address, 5)
    rotated(address, (first, second), (other, heir))
    upgrade(address, Branch.GITLAB, revision="16.3")
    # GitLab goes on with the line.
    execute(
        address,
        f"UPDATE personal_access_tokens SET previous_personal_access_token_id = {second} WHERE id = {third}",
        f"UPDATE personal_access_tokens SET revoked = true WHERE id IN ({second}, {heir})",
    )
    assert [ids for _, ids in noted(address, Concern.SUPERSEDED)] == [(first,)]
    expected = {first: third, second: third, third: None, other: None, heir: None}
    assert live_successors(address, *expected) == expected
    # A successor of ours that GitLab knows, too, is asked of GitLab alone.
    with database.reading(address) as connection:
        succession = read_succession(connection, read_schema(connection))
        assert succession is not None
        assert len(succession.direct) == 2
    execute(
        address,
        "UPDATE personal_access_tokens s SET previous_personal_access_token_id = r.token_id "
        "FROM token_tasks.rotations r WHERE r.successor_id = s.id",
    )
    with database.reading(address) as connection:
        succession = read_succession(connection, read_schema(connection))
        assert succession is not None
        assert len(succession.direct) == 1
    assert [ids for _, ids in noted(address, Concern.SUPERSEDED)] == [(first,)]


def test_a_rotation_that_gitlab_remembers_can_be_forgotten_and_one_that_it_does_not_cannot(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at("16.0")
    upgrade(address, Branch.JOURNAL)
    pairs = [(old, new) for old, new in zip(*[iter(service_tokens(address, 4))] * 2, strict=True)]
    for pair in pairs:
        rotated(address, pair)
    # A token that has expired can be made to work again.
    execute(address, "UPDATE personal_access_tokens SET expires_at = '2026-01-31'")
    before = datetime.now(UTC).date()
    assert count_prunable(address, before) == 0
    upgrade(address, Branch.GITLAB)
    assert count_prunable(address, before) == 0
    (old, new), _ = pairs
    execute(
        address,
        f"UPDATE personal_access_tokens SET previous_personal_access_token_id = {old} WHERE id = {new}",
    )
    assert count_prunable(address, before) == 1


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        ("REVOKE ALL ON SCHEMA token_tasks FROM night", 'GRANT USAGE ON SCHEMA token_tasks TO "Night Shift";'),
        (
            "ALTER TABLE token_tasks.rotations OWNER TO mallory",
            "somebody else has a hand in it. → to see more: gitlab-tokens doctor",
        ),
    ],
)
def test_where_nobody_else_knows_of_rotations_and_the_journal_cannot_be_asked_the_plan_says_so(
    gitlab_database_at: Callable[[str], Address], superuser: Callable[[Address], Address], trouble: str, cure: str
) -> None:
    address = gitlab_database_at("16.0")
    upgrade(address, Branch.JOURNAL)
    old, new = service_tokens(address, 2)
    rotated(address, (old, new))
    assert noted(address, Concern.UNKNOWN_SUPERSEDED) == []
    for role in ('"Night Shift"', "mallory"):
        execute(
            superuser(address),
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
    grants = least_privileges(address, "Night Shift")
    execute(superuser(address), *grants["changes"], *grants["rotate"], trouble.replace("night", '"Night Shift"'))
    shift = Address(make_conninfo(address.conninfo, user="Night Shift"), "there")
    ((text, _),) = noted(shift, Concern.UNKNOWN_SUPERSEDED)
    assert cure in text
    planned = plan_rotation(
        shift,
        [one for one in find(shift, Search(Selection(()))) if one.id == old],
        expires_in=30,
        grace=None,
        release=None,
        allow_personal=False,
    )
    assert text in planned.notes
    upgrade(address, Branch.GITLAB)
    assert noted(address, Concern.UNKNOWN_SUPERSEDED) == []


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE STATISTICS token_tasks.st ON (public.trap(1) AND token_id > 0), run_id FROM token_tasks.rotations",
        "CREATE INDEX i ON token_tasks.rotations (run_id) WHERE public.trap(1)",
        "CREATE INDEX i ON token_tasks.rotations (public.trap(token_id))",
        "ALTER TABLE token_tasks.rotations ADD CHECK (public.trap(token_id))",
    ],
)
def test_what_hangs_on_the_table_of_rotations_and_runs_at_planning_makes_it_untrusted(
    alone: Alone, planted: str
) -> None:
    with alone.database() as address:
        upgrade(address, Branch.JOURNAL)
        old, new = service_tokens(address, 2)
        rotated(address, (old, new))
        assert [ids for _, ids in noted(address, Concern.SUPERSEDED)] == [(old,)]
        execute(
            address,
            "CREATE FUNCTION public.trap(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true'",
            planted,
        )
        assert noted(address, Concern.SUPERSEDED) == []


UNDELIVERED = """
    INSERT INTO token_tasks.rotations (run_id, token_id, successor_id, state) VALUES ({run}, {old}, {new}, '{state}')
"""


def undelivered(address: Address, state: str = "created") -> tuple[int, int]:
    """A token and its successor, which GitLab knows, of a run that has stopped at this state."""
    old, new = service_tokens(address, 2)
    run = make_run(address, make_plan([1]), created_at="2026-01-01 00:00+00")
    execute(
        address,
        f"UPDATE personal_access_tokens SET previous_personal_access_token_id = {old} WHERE id = {new}",
        f"UPDATE personal_access_tokens SET expires_at = '{NEW}' WHERE id = {new}",
        UNDELIVERED.format(run=run, old=old, new=new, state=state),
    )
    return old, new


def seen_by(address: Address, old: int) -> dict[str, bool]:
    """Whether the token counts as replaced, for each of those that ask."""
    selected = Selection((), ids=(old,), states=EVERY_STATE)
    with listed(address, selected, Layout((BY_NAME["flags"],))) as listing:
        ((flags,),) = listing.rows
    revocation = plan_change(address, RunKind.REVOKE, selected, Change(revokes=True))
    return {
        "check": due(address, selected, 30, 7).warning == 0,
        "list": "in-its-grace" in flags,
        "extend": any(ids == (old,) for _, ids in noted(address, Concern.SUPERSEDED)),
        "revoke": any(note.concern is Concern.IN_GRACE for note in revocation.notes),
    }


@pytest.mark.parametrize("state", ["created", "verified", "delivering", "delivered", "done"])
def test_a_successor_that_nobody_has_replaces_nothing_whoever_asks(
    gitlab_database_at: Callable[[str], Address], state: str
) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, _ = undelivered(address, state)
    is_out = state in ("delivered", "done")
    assert seen_by(address, old) == dict.fromkeys(("check", "list", "extend", "revoke"), is_out)
    (one,) = find(address, Search(Selection((), ids=(old,), states=EVERY_STATE)))
    assert (one.unfinished_run is None) == (state == "done")


def test_a_successor_of_an_account_that_is_not_active_does_not_work_whoever_asks(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, new = undelivered(address, "done")
    with make_engine(address).begin() as connection:
        account = make_user(connection, user_type=13)
    execute(address, f"UPDATE personal_access_tokens SET user_id = {account} WHERE id = {new}")
    assert all(seen_by(address, old).values())
    assert live_successors(address, old) == {old: new}
    execute(address, f"UPDATE users SET state = 'blocked' WHERE id = {account}")
    # It would work again with its account, so to extend the old token deserves the note.
    assert seen_by(address, old) == {"check": False, "list": False, "extend": True, "revoke": False}
    # So the old one may be rotated again.
    assert live_successors(address, old) == {old: None}


@pytest.mark.parametrize("state", ["created", "verified", "delivering", "delivered", "done"])
def test_what_a_run_has_made_is_held_up_as_long_as_the_run_can_go_on_with_it(
    gitlab_database_at: Callable[[str], Address], state: str
) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, new = undelivered(address, state)
    made = Search(Selection((), ids=(new,), states=EVERY_STATE))
    run = None if state == "done" else 1

    def held_up() -> tuple[int | None, int | None]:
        (one,) = find(address, made)
        return one.unfinished_run, standing(address, new).made_by

    assert held_up() == (run, run)
    # It may be in use, and the run can no more than leave it as it is.
    execute(address, f"UPDATE personal_access_tokens SET revoked = true WHERE id = {old}")
    run = 1 if state in ("created", "verified") else None
    assert held_up() == (run, run)
    # After a restore of GitLab's tables alone another token has got its id.
    execute(address, "UPDATE personal_access_tokens SET revoked = false")
    execute(address, "UPDATE token_tasks.rotations SET changed_at = '2026-01-01 00:00+00'")
    execute(address, "UPDATE personal_access_tokens SET created_at = '2026-01-02'")
    assert held_up() == (None, None)


def test_a_successor_that_has_got_the_id_of_one_that_nobody_had_is_one(
    gitlab_database_at: Callable[[str], Address],
) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, _ = undelivered(address)
    assert not any(seen_by(address, old).values())
    # After a restore of GitLab's tables alone GitLab itself has rotated the token.
    execute(address, "UPDATE token_tasks.rotations SET changed_at = '2026-01-01 00:00+00'")
    execute(address, "UPDATE personal_access_tokens SET created_at = '2026-01-02'")
    assert all(seen_by(address, old).values())


def test_a_run_holds_nothing_up_whose_successor_does_not_work(gitlab_database_at: Callable[[str], Address]) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, new = undelivered(address)
    execute(address, f"UPDATE personal_access_tokens SET revoked = true WHERE id = {new}")
    (later,) = service_tokens(address, 1)
    execute(address, f"UPDATE personal_access_tokens SET previous_personal_access_token_id = {old} WHERE id = {later}")
    (one,) = find(address, Search(Selection((), ids=(old,), states=EVERY_STATE)))
    assert (one.unfinished_run, standing(address, old).live_successor) == (None, later)
    # GitLab's own rotation of what nobody has got: somebody has that one.
    execute(
        address,
        f"UPDATE personal_access_tokens SET previous_personal_access_token_id = {new} WHERE id = {later}",
    )
    (one,) = find(address, Search(Selection((), ids=(old,), states=EVERY_STATE)))
    assert (one.unfinished_run, standing(address, old).live_successor) == (None, later)


def test_monitoring_with_the_printed_grants_knows_it_and_without_them_says_so(
    gitlab_database_at: Callable[[str], Address], superuser: Callable[[Address], Address]
) -> None:
    address = gitlab_database_at(WITH_JOURNAL)
    old, _ = undelivered(address)
    execute(
        superuser(address),
        "DO $$ BEGIN CREATE ROLE watcher LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        *least_privileges(address, "watcher")["list"],
    )
    watcher = Address(make_conninfo(address.conninfo, user="watcher"), "as watcher")
    selected = Selection((), ids=(old,))
    found = due(watcher, selected, 30, 7)
    assert (found.warning, found.notes) == (1, ())
    execute(superuser(address), "REVOKE ALL ON SCHEMA token_tasks FROM watcher")
    found = due(watcher, selected, 30, 7)
    assert found.warning == 0
    assert "counts as a successor that works; role watcher may not read it: GRANT USAGE ON SCHEMA" in found.notes[0]

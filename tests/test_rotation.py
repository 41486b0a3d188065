"""A token gets a successor and goes: with real tables, in every release, broken off everywhere, and two at a time."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.testbed.engine import make_engine
from tests.testbed.factories import (
    make_group,
    make_membership,
    make_organization,
    make_project,
    make_settings,
    make_token,
    make_user,
    make_user_details,
)
from tests.testbed.gitlab_api import gitlab_api
from tests.testbed.rotation import (
    EVERY_KIND,
    GONE,
    IN_A_YEAR,
    KEYS,
    LATER,
    PROJECT_BOT,
    SERVICE_ACCOUNT,
    SOON,
    TODAY,
    begun,
    ended,
    named,
    plan_of,
    project_bot,
    reached,
    rows,
    service_account,
    standing,
)
from tests.testbed.routable_token import decode
from tests.testbed.runs import everything, execute, install, query, resume, set_back, writing
from tokens import database, origin
from tokens.address import Address
from tokens.errors import ConnectionLost, DatabaseError, Refused, RunComplete, UsageError
from tokens.gitlab import preflight
from tokens.gitlab.api import agrees, verify
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.gitlab.membership import MembershipRule
from tokens.gitlab.plaintext import Payload
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.succession import PREDECESSOR
from tokens.inventory.diagnosis import least_privileges
from tokens.journal import installation
from tokens.journal.installation import RunState
from tokens.journal.listing import NEEDS, read_rotations, read_touched
from tokens.journal.record import Record, TakenOver
from tokens.rotation.candidate import Search, find
from tokens.rotation.new_owner import NewOwner
from tokens.rotation.plan import Rotation, obstacles, plan
from tokens.rotation.resumption import Resumption, Step, resumable
from tokens.rotation.retirement import Retirement, abandon, finish
from tokens.rotation.stage import Stage, SuccessorGone, mark, store
from tokens.rotation.successor import Successor, create
from tokens.run.stored_plans import plan_to_apply
from tokens.run.undo import plan_to_undo
from tokens.secret import Secret
from tokens.selection import EVERY_STATE, Selection
from tokens.views import rotation as view

LIVING = frozenset({State.ACTIVE, State.EXPIRED})


# What GitLab's rotation copies, and what it gives anew.
COPIED = (
    "user_id",
    "name",
    "description",
    "scopes",
    "impersonation",
    "organization_id",
    "granular",
    "sudo",
)
OWN = {"id", "token_digest", "created_at", "updated_at"}

COLUMN_DEFAULTS = """
    SELECT a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS value
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = CAST('public.personal_access_tokens' AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
"""
LIVING_ROWS = """
    SELECT id
    FROM public.personal_access_tokens
    WHERE revoked IS NOT TRUE AND (expires_at IS NULL OR expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
"""
LIVE = """
    SELECT id, user_id, previous_personal_access_token_id AS previous, token_digest
    FROM public.personal_access_tokens
    WHERE revoked IS NOT TRUE AND (expires_at IS NULL OR expires_at > CAST(now() AT TIME ZONE 'UTC' AS date))
"""
BACKENDS_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'gitlab-tokens' AND wait_event_type = 'Lock'
"""


POINTS = 6
"""Where a rotation may break off: before its first step, and after each."""


class Crash(Exception):
    """Stands for a process that ends here."""


@dataclass
class Vault:
    """Where tokens are delivered to; the last one counts."""

    tokens: dict[int, Secret] = field(default_factory=dict)
    lost: list[Secret] = field(default_factory=list)


@pytest.fixture
def address(installed: Address) -> Address:
    return installed


def row_of(address: Address, token: int) -> dict[str, Any]:
    statement = "SELECT to_jsonb(t) FROM public.personal_access_tokens t WHERE id = :id"
    found = query(address, statement, id=token)
    return dict(found[0][0])


def end_of(address: Address, member: int) -> str | None:
    return query(address, "SELECT CAST(expires_at AS text) AS day FROM members WHERE id = :id", id=member)[0].day  # type: ignore[no-any-return]


def stages(address: Address, run: int) -> dict[int, str]:
    statement = "SELECT token_id, state FROM token_tasks.rotations WHERE run_id = :run"
    return {row.token_id: row.state for row in query(address, statement, run=run)}


def given_up(address: Address, run: int) -> dict[int, list[int]]:
    statement = "SELECT token_id, given_up FROM token_tasks.rotations WHERE run_id = :run"
    return {row.token_id: row.given_up for row in query(address, statement, run=run)}


def carry_out(
    address: Address, record: Record, todo: Sequence[tuple[Step, Rotation]], vault: Vault, point: Callable[[], None]
) -> None:
    """What the task does, as far as it is about rows; `point` is called wherever a process may end."""
    with database.connect(address) as connection:
        for step, rotation in todo:
            token = rotation.candidate.id
            point()
            if step is Step.AGAIN:
                abandon(connection, record, token)
                point()
            if step is not Step.FINISH:
                successor = create(connection, rotation, KEYS, run=record)
                vault.lost.append(successor.token)
                point()
                mark(connection, record, token, Stage.VERIFIED)
                point()
                vault.tokens[token] = successor.token
                point()
                mark(connection, record, token, Stage.DELIVERED)
                vault.lost.remove(successor.token)
                point()
            finish(connection, record, rotation)
            point()


def crashing_at(number: int) -> Callable[[], None]:
    left = iter(range(number))

    def point() -> None:
        if next(left, None) is None:
            raise Crash

    return point


def todo_of(found: Sequence[Resumption]) -> list[tuple[Step, Rotation]]:
    return [(one.step, one.rotation) for one in found if one.rotation is not None]


# The row


@pytest.mark.each_release
def test_a_successor_has_what_gitlabs_rotation_copies_and_defaults_otherwise_in_every_release(
    gitlab_database_at: Callable[[str], Address], revision: str
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    remarkable: dict[str, Any] = {
        "description": "from the runbook",
        "revoked": None,
        "last_used_at": "2026-01-02 03:04:05+00",
        "expire_notification_delivered": True,
        "after_expiry_notification_delivered": True,
        "seven_days_notification_sent_at": "2026-01-02 03:04:05+00",
        "thirty_days_notification_sent_at": "2026-01-02 03:04:05+00",
        "sixty_days_notification_sent_at": "2026-01-02 03:04:05+00",
        "granular": True,
        "sudo": True,
        "impersonation": True,
    }
    defaults = {row.name: row.value for row in query(address, COLUMN_DEFAULTS)}
    with rows(address) as connection:
        organization = make_organization(connection, id=1007)
        top = make_group(connection)
        user = make_user(
            connection,
            user_type=SERVICE_ACCOUNT,
            username="inventory",
            admin=True,
            provisioned_by_group_id=make_group(connection, parent_id=top),
        )
        columns = {name: value for name, value in remarkable.items() if name in defaults}
        if "organization_id" in defaults:
            columns["organization_id"] = organization
        old = make_token(
            connection,
            user_id=user,
            expires_at=SOON,
            name="GitLab Security Service - Architecture - Inventory",
            scopes="---\n- :api\n- read_user\n",
            **columns,
        )
        if "granular" in defaults:
            for permissions in ('["read_job"]', '["read_member"]'):
                connection.execute(
                    sa.text("""
                        WITH scope AS (
                          INSERT INTO granular_scopes (organization_id, created_at, updated_at, permissions)
                          VALUES (1007, now(), now(), CAST(:permissions AS jsonb)) RETURNING id
                        )
                        INSERT INTO personal_access_token_granular_scopes
                          (organization_id, personal_access_token_id, granular_scope_id)
                        SELECT 1007, :token, id FROM scope
                    """),
                    {"permissions": permissions, "token": old},
                )
    before = row_of(address, old)
    planned = plan_of(address, old)
    (rotation,) = planned.rotations
    candidate = rotation.candidate
    assert (candidate.scopes, candidate.impersonation) == (("api", "read_user"), True)
    assert (candidate.granular, candidate.granular_scopes) == ((True, 2) if "granular" in defaults else (False, 0))
    assert candidate.description == ("from the runbook" if "description" in defaults else None)
    assert candidate.organization_id == (organization if "organization_id" in defaults else None)
    record = begun(address, planned)
    successor = reached(address, record, rotation, Stage.DELIVERED)

    new = row_of(address, successor.id)
    assert successor.expires_at == ExpirationDate.typed(str(IN_A_YEAR))
    expected = {
        **{name: json.loads(value) if value in ("true", "false") else None for name, value in defaults.items()},
        **{name: before[name] for name in COPIED if name in defaults},
        **({"user_type": SERVICE_ACCOUNT, "group_id": top} if "user_type" in defaults else {}),
        "expires_at": str(IN_A_YEAR),
        **({PREDECESSOR: old} if PREDECESSOR in defaults else {}),
    }
    assert {name: value for name, value in new.items() if name not in OWN} == {
        name: value for name, value in expected.items() if name not in OWN
    }
    assert new["created_at"] == new["updated_at"]
    assert abs(datetime.fromisoformat(new["created_at"]) - datetime.now(UTC).replace(tzinfo=None)) < timedelta(hours=1)
    if "granular" in defaults:
        copied = query(
            address,
            """
            SELECT array_agg(granular_scope_id ORDER BY granular_scope_id) AS scopes
            FROM personal_access_token_granular_scopes GROUP BY personal_access_token_id
            """,
        )
        assert copied[0] == copied[1]
        assert len(copied[0].scopes) == 2
    payload = decode(successor.token.reveal())
    if "group_id" in defaults:
        assert payload == Payload(1007, user_id=user)
    else:
        assert (payload, len(successor.token.reveal())) == (None, len("glpat-") + 20)

    with gitlab_api(address, KEYS) as api:
        verified = verify(api.url, successor.token, attempts=1)
    assert agrees(verified, successor.id, str(IN_A_YEAR))
    assert row_of(address, old) == before

    with database.connect(address) as connection:
        assert finish(connection, record, rotation) is Retirement.REVOKED
    after = row_of(address, old)
    assert {name for name in after if after[name] != before[name]} == {"revoked", "updated_at"}
    assert after["revoked"] is True
    assert after["updated_at"] >= new["created_at"]
    ended(address, record)

    # The new one in its turn: broken off, given up, made anew, and retired by a grace.
    planned = plan_of(address, successor.id, grace=7)
    record = begun(address, planned)
    given_up = reached(address, record, planned.rotations[0], Stage.VERIFIED)
    set_back(address, 120)
    record = resume(address, record.run)
    [(step, rotation)] = todo_of(resumable(address, record.run))
    assert step is Step.AGAIN
    with database.connect(address) as connection:
        abandon(connection, record, successor.id)
    latest = reached(address, record, rotation, Stage.DELIVERED)
    with database.connect(address) as connection:
        assert finish(connection, record, rotation) is Retirement.GRACE
    assert row_of(address, given_up.id)["revoked"] is True
    assert row_of(address, successor.id)["expires_at"] == str(TODAY + timedelta(7))
    assert {row.id for row in query(address, LIVING_ROWS)} == {successor.id, latest.id}
    # Whether GitLab remembers it or the journal alone: nobody makes a second one.
    assert standing(address, old).live_successor == standing(address, successor.id).live_successor == latest.id
    told = "does not record which token replaced which" in " ".join(planned.notes)
    assert told == (PREDECESSOR not in defaults)


def test_nothing_of_a_token_or_its_digest_is_in_the_journal(address: Address) -> None:
    tokens = [service_account(address) for _ in range(3)]
    planned = plan_of(address, *tokens)
    record = begun(address, planned)
    secrets = []
    for rotation, stage in zip(planned.rotations, (Stage.CREATED, Stage.VERIFIED, Stage.DELIVERED), strict=True):
        successor = reached(address, record, rotation, stage)
        secrets += [successor.token.reveal(), *KEYS.digests(successor.token)]
        assert successor.token.reveal() not in repr(successor)
    with database.connect(address) as connection:
        abandon(connection, record, tokens[0])
        finish(connection, record, planned.rotations[2])
    ended(address, record)
    tables = [
        row.tablename for row in query(address, "SELECT tablename FROM pg_tables WHERE schemaname = 'token_tasks'")
    ]
    assert {"runs", "attempts", "rotations"}.issubset(tables)
    written = [row[0] for one in tables for row in query(address, f"SELECT CAST(x AS text) FROM token_tasks.{one} x")]
    assert len(written) > 5
    everything_written = "\n".join(written)
    for secret in secrets:
        assert secret not in everything_written
        assert secret[-20:] not in everything_written


def test_a_row_that_is_there_already_means_another_token_and_a_lagging_sequence_is_said(address: Address) -> None:
    for _ in range(5):
        service_account(address)
    first, second, third = (service_account(address) for _ in range(3))
    # One organization but three users: in the routable form equal random bytes would not make equal tokens.
    execute(address, "UPDATE personal_access_tokens SET user_id = (SELECT min(user_id) FROM personal_access_tokens)")
    planned = plan_of(address, first, second, third)
    record = begun(address, planned)
    drawn = iter([b"a", b"a", b"a", b"b"])

    def random(size: int) -> bytes:
        return next(drawn) * size

    with database.connect(address) as connection:
        made = [create(connection, one, KEYS, run=record, random=random) for one in planned.rotations[:2]]
        assert made[0].token != made[1].token
        assert next(drawn, None) is None
        before = everything(address)
        execute(address, "SELECT setval('personal_access_tokens_id_seq', 1, false)")
        with pytest.raises(DatabaseError, match=r"personal_access_tokens_id_seq .* set it to the largest id"):
            create(connection, planned.rotations[2], KEYS, run=record)
    assert everything(address) == before
    assert stages(address, record.run)[third] == "planned"


# Found


@pytest.mark.newest_server
def test_candidates_are_found_by_kind_date_owner_and_name_the_nearest_to_today_first(address: Address) -> None:
    with rows(address) as connection:
        account = make_user(connection, user_type=SERVICE_ACCOUNT, username="Inventory")
        expired = make_token(
            connection, user_id=account, expires_at=GONE, last_used_at="2026-01-02 03:04:05+02", description="d"
        )
        never = make_token(connection, user_id=account, scopes="--- []\n", name="ci")
        soon = make_token(connection, user_id=account, expires_at=SOON, name="ci")
        revoked = make_token(connection, user_id=account, expires_at=SOON, revoked=True, name="old")
        person = make_token(connection, expires_at=SOON)
        misnamed = make_token(connection, user_id=account, expires_at=LATER, name=str(soon))
        successor = make_token(connection, user_id=account, expires_at=LATER, previous_personal_access_token_id=expired)
        make_token(connection, user_id=account, revoked=True, previous_personal_access_token_id=soon)
    every = Selection((), kinds=frozenset({Kind.SERVICE_ACCOUNT}), states=LIVING)

    def ids(selection: Selection = every, **options: Any) -> list[int]:
        return [one.id for one in find(address, Search(selection, **options))]

    assert ids() == [soon, expired, misnamed, successor, never]
    assert ids(within=100) == [soon, misnamed, successor]
    assert ids(within=5) == [soon]
    assert ids(within=4) == []
    assert ids(expired_within=30) == ids(expired_within=3_660_000) == [expired]
    assert ids(expired_within=29) == []
    assert ids(within=5, expired_within=30) == [soon, expired]
    assert ids(replace(every, users=("inventory",)), expired_within=30) == [expired]
    assert ids(replace(every, kinds=frozenset({Kind.PERSONAL}))) == [person]
    assert ids(replace(every, name="c?", ids=(soon, never, person))) == [soon, never]
    assert ids(replace(every, expires=(None,))) == [never]
    named = replace(every, states=EVERY_STATE)
    assert ids(named, token="ci") == [soon, never]
    assert ids(named, token=str(soon)) == [soon]
    assert ids(named, token="old") == [revoked]
    assert ids(named, token=str(revoked)) == [revoked]
    assert ids(named, token=str(person)) == ids(named, token="9" * 5000) == []
    with pytest.raises(UsageError, match='no user "nobody"'):
        ids(replace(every, users=("nobody",)))
    found = {one.id: one for one in find(address, Search(every))}
    assert {one.named for one in found.values()} == {False}
    assert [one.named for one in find(address, Search(named, token="ci"))] == [True, True]
    assert [found[token].days for token in (expired, soon, never)] == [-30, 5, None]
    one = found[expired]
    assert (one.username, one.kind, one.state, one.user_type) == (
        "Inventory",
        Kind.SERVICE_ACCOUNT,
        State.EXPIRED,
        SERVICE_ACCOUNT,
    )
    assert (one.last_used_at, one.description, one.organization_id) == ("2026-01-02T01:04:05+00:00", "d", 1)
    assert (one.expires_at, standing(address, expired).live_successor) == (ExpirationDate.typed(str(GONE)), successor)
    assert (found[never].expires_at, found[never].scopes, found[never].last_used_at) == (None, ("api",), None)
    assert standing(address, soon).live_successor is None


@pytest.mark.parametrize(
    ("stored", "scopes"),
    [
        ("---\n- api\n- read_user\n", ("api", "read_user")),
        ("---\n- :api\n", ("api",)),
        ("---\n- :\"sudo\"\n- :'api'\n", ("sudo", "api")),
        ('--- [api, "sudo"]\n', ("api", "sudo")),
        ("---\n- !ruby/symbol read_api\n", ("read_api",)),
        ("--- []\n", ("api",)),
        ("", ("api",)),
        ("--- {a: b}\n", ("--- {a: b}",)),
        ("[api", ("[api",)),
    ],
)
def test_scopes_are_read_leniently(stored: str, scopes: tuple[str, ...]) -> None:
    assert scopes_of(stored) == scopes


# Planned


@pytest.mark.newest_server
def test_what_cannot_be_rotated_is_refused_with_its_reason(address: Address) -> None:
    def refusal(token: int, **options: Any) -> str:
        with pytest.raises(Refused) as caught:
            plan_of(address, token, **options)
        assert "\n" not in str(caught.value)
        (reason,) = obstacles(address, named(address, token), allow_personal=False).values()
        assert reason == str(caught.value)
        return reason

    with rows(address) as connection:
        make_settings(connection)
        person = make_token(connection, expires_at=SOON)
        blocked = [
            make_token(
                connection,
                user_id=make_user(connection, user_type=SERVICE_ACCOUNT, state=state),
                expires_at=SOON,
            )
            for state in ("blocked", "ldap_blocked", "deactivated", "banned", None)
        ]
    good = service_account(address)
    rotated = service_account(address)
    with rows(address) as connection:
        user = make_user(connection, user_type=SERVICE_ACCOUNT)
        make_token(connection, user_id=user, expires_at=LATER, previous_personal_access_token_id=rotated)
    assert "is revoked" in refusal(service_account(address, revoked=True))
    assert "use --kind personal" in refusal(person)
    assert plan_of(address, person, allow_personal=True).rotations
    for token in blocked:
        assert "the account is" in refusal(token)
    assert "was rotated already" in refusal(rotated)
    with pytest.raises(Refused, match=r"blocked: activate .* Reasons stand against 1 more of the tokens\."):
        plan_of(address, good, blocked[0], person)
    assert set(obstacles(address, named(address, good, blocked[0], person), allow_personal=False)) == {
        blocked[0],
        person,
    }
    gone = named(address, good)
    execute(address, "DELETE FROM personal_access_tokens WHERE id = :id", id=good)
    with pytest.raises(Refused, match="is gone"):
        plan(address, gone, expires_in=1, grace=None, release=None, allow_personal=False)

    fine_grained = service_account(address)
    enforced = {"enforce_granular_tokens": True, "granular_tokens_enforced_after": str(TODAY)}
    settings = "UPDATE application_settings SET personal_access_token_settings = CAST(:settings AS jsonb)"
    execute(address, settings, settings=json.dumps(enforced | {"granular_tokens_enforced_after": str(SOON)}))
    assert plan_of(address, person, allow_personal=True).rotations
    execute(address, settings, settings=json.dumps(enforced))
    with pytest.raises(Refused, match="is not fine-grained"):
        plan_of(address, person, allow_personal=True)
    assert plan_of(address, fine_grained).rotations
    execute(address, "UPDATE personal_access_tokens SET granular = true WHERE id = :id", id=person)
    assert plan_of(address, person, allow_personal=True).rotations

    execute(address, "UPDATE application_settings SET disable_personal_access_tokens = true")
    with pytest.raises(Refused, match="disabled on this instance"):
        plan_of(address, fine_grained)


@pytest.mark.newest_server
def test_a_token_with_sudo_gets_a_successor_for_an_administrator_alone_and_the_plan_says_so(address: Address) -> None:
    token = service_account(address, sudo=True)
    with pytest.raises(Refused, match=r"may use sudo, which GitLab allows administrators alone, and its owner is none"):
        plan_of(address, token)
    execute(address, "UPDATE users SET admin = true")
    planned = plan_of(address, token)
    left = [Resumption(token, Stage.PLANNED, Step.CREATE, None, planned.rotations[0])]
    shown = view.plan(left, proof="--no-verify", places=(), after=None, notes=())
    assert "Copied:  the sudo flag: the new token may act as any user, too" in shown
    document = view.plan_as_dict(left, proof="--no-verify", places=(), after=None, notes=())
    assert document["rotations"][0]["sudo"] is True
    record = begun(address, planned)
    # Whoever is no administrator any more when it is made gets none either.
    execute(address, "UPDATE users SET admin = false")
    with pytest.raises(Refused, match="may use sudo"):
        reached(address, record, planned.rotations[0], Stage.CREATED)
    execute(address, "UPDATE users SET admin = true")
    successor = reached(address, record, planned.rotations[0], Stage.CREATED)
    assert row_of(address, successor.id)["sudo"] is True


@pytest.mark.newest_server
@pytest.mark.slow
def test_a_successor_has_the_group_that_gitlab_gives_a_new_token_whatever_the_old_row_has(address: Address) -> None:
    with rows(address) as connection:
        top, wrong = make_group(connection), make_group(connection)
        below = make_group(connection, parent_id=make_group(connection, parent_id=top))
        project = make_project(connection, namespace_id=below)
        inner = "SELECT project_namespace_id FROM projects WHERE id = :id"
        namespace = connection.execute(sa.text(inner), {"id": project}).scalar_one()
        inside = "INSERT INTO namespaces (name, path, organization_id) VALUES ('erika', 'erika', 1) RETURNING id"
        personal = connection.execute(sa.text(inside)).scalar_one()
        connection.execute(sa.text("UPDATE namespaces SET traversal_ids = ARRAY[id] WHERE id = :id"), {"id": personal})
        bots = {top: namespace, None: personal}
        expected = {
            make_user(connection, user_type=PROJECT_BOT, bot_namespace_id=place): group for group, place in bots.items()
        }
        expected |= {
            make_user(connection, user_type=PROJECT_BOT, bot_namespace_id=below): top,
            make_user(connection, user_type=PROJECT_BOT): None,
            make_user(connection, user_type=SERVICE_ACCOUNT, provisioned_by_group_id=below): top,
            make_user(connection, user_type=SERVICE_ACCOUNT, provisioned_by_project_id=project): None,
            make_user(connection, user_type=SERVICE_ACCOUNT): None,
            make_user(connection): None,
        }
        employee = make_user(connection)
        make_user_details(connection, user_id=employee, enterprise_group_id=top)
        left = make_user(connection)
        make_user_details(connection, user_id=left, enterprise_group_id=4711)
        expected |= {employee: top, left: None}
        tokens = {
            make_token(connection, user_id=user, expires_at=SOON, **old): group
            for user, group in expected.items()
            for old in ({}, {"group_id": wrong, "user_type": 0})
        }
    planned = plan_of(address, *tokens, allow_personal=True)
    record = begun(address, planned)
    for rotation in planned.rotations:
        new = row_of(address, reached(address, record, rotation, Stage.CREATED).id)
        assert (new["group_id"], new["user_type"]) == (tokens[rotation.candidate.id], rotation.candidate.user_type)


@pytest.mark.newest_server
def test_what_a_new_token_will_not_reach_is_noted(address: Address) -> None:
    (at_home,), _ = project_bot(address, None)
    with rows(address) as connection:
        homeless = make_token(
            connection, user_id=make_user(connection, user_type=PROJECT_BOT, username="project_1_bot")
        )
        group = make_group(connection)
        asking = make_user(connection, user_type=PROJECT_BOT, username="group_1_bot")
        make_membership(connection, user_id=asking, group_id=group, requested_at="2026-01-01")
        request = make_token(connection, user_id=asking)
        owners = [make_user(connection, user_type=kind) for kind in (SERVICE_ACCOUNT, SERVICE_ACCOUNT, 0)]
        members = [
            make_membership(connection, user_id=owner, group_id=group, expires_at=end)
            for owner, end in zip(owners, (SOON, IN_A_YEAR, SOON), strict=True)
        ]
        ending, staying, person = [make_token(connection, user_id=owner, expires_at=SOON) for owner in owners]
    notes = plan_of(address, at_home, homeless, request).notes
    assert notes == (
        "2 tokens are of bots without any membership: GitLab will accept the new token, which reaches nothing "
        f"(id {homeless}, {request}).",
    )
    planned = plan_of(address, ending, staying, person, allow_personal=True)
    (note,) = planned.notes
    assert note.startswith("1 membership of a service account ends before the new token, and that is left as it is")
    assert plan_of(address, staying).notes == plan_of(address, person, allow_personal=True).notes == ()
    assert plan_of(address, staying, expires_in=366).notes[-1].startswith("1 membership of a service account")
    record = begun(address, planned)
    for rotation in planned.rotations:
        reached(address, record, rotation, Stage.CREATED)
    assert [end_of(address, member) for member in members] == [str(SOON), str(IN_A_YEAR), str(SOON)]


def test_a_column_that_nobody_knows_matters_only_where_it_says_something(address: Address) -> None:
    token = service_account(address)
    execute(address, """ALTER TABLE personal_access_tokens ADD COLUMN "Odd %" json DEFAULT '{"a": 1}'""")
    planned = plan_of(address, token)
    record = begun(address, planned)
    execute(address, """UPDATE personal_access_tokens SET "Odd %" = '{"a": 2}'""")
    with pytest.raises(Refused, match=r'a column "Odd %" that this version of the tool does not know'):
        plan_of(address, token)
    with pytest.raises(Refused, match="use a newer version"):
        reached(address, record, planned.rotations[0], Stage.CREATED)
    assert stages(address, record.run) == {token: "planned"}


@pytest.mark.newest_server
def test_the_instances_maximum_limits_the_date_and_a_note_says_so(address: Address) -> None:
    token, expired = service_account(address), service_account(address, GONE)
    year = ExpirationDate.typed(str(IN_A_YEAR))
    planned = plan_of(address, token, token)
    assert [(one.candidate.id, one.expires_at, one.grace_until) for one in planned.rotations] == [(token, year, None)]
    assert (planned.notes, planned.rule) == ((), None)
    (note,) = plan_of(address, token, expires_in=366).notes
    assert "365 days at most" in note
    with rows(address) as connection:
        make_settings(connection, max_personal_access_token_lifetime=90, maintenance_mode=True)
    planned = plan_of(address, token, expired, grace=7)
    limited = ExpirationDate.typed(str(TODAY + timedelta(days=90)))
    assert {one.expires_at for one in planned.rotations} == {limited}
    assert {one.grace_until for one in planned.rotations} == {ExpirationDate.typed(str(TODAY + timedelta(days=7)))}
    today = ExpirationDate.typed(str(TODAY))
    assert planned.notes[0] == (
        f"This instance allows 90 days at most: new tokens expire on {limited.beside(today)}, not {year}."
    )
    assert "maintenance mode" in planned.notes[1]
    gone = ExpirationDate.typed(str(GONE)).beside(today)
    assert planned.notes[2] == f"1 of the tokens has expired, the first on {gone}: their successors work again."
    assert planned.notes[3].startswith("1 of the old tokens has expired already")
    for options in ({"expires_in": 0}, {"grace": 0}, {"expires_in": 10**9}):
        with pytest.raises(UsageError):
            plan_of(address, token, **options)


@pytest.mark.newest_server
def test_a_plan_says_what_is_copied_beside_name_and_scopes(address: Address) -> None:
    def copied(left: Sequence[Resumption]) -> list[str]:
        shown = view.plan(left, proof="--no-verify", places=(), after=None, notes=())
        _, _, rest = shown.partition("\n\n")
        return rest.partition("Verify:")[0].splitlines()

    def facts(left: Sequence[Resumption]) -> list[dict[str, Any]]:
        document = view.plan_as_dict(left, proof="--no-verify", places=(), after=None, notes=())
        names = ("description", "granular", "granular_scopes", "impersonation", "sudo", "organization_id")
        return [{name: one[name] for name in names} for one in document["rotations"]]

    def left_of(*tokens: int, step: Step = Step.CREATE) -> list[Resumption]:
        rotations = plan_of(address, *tokens, allow_personal=True).rotations
        return [Resumption(one.candidate.id, Stage.PLANNED, step, None, one) for one in rotations]

    with rows(address) as connection:
        elsewhere = make_organization(connection, id=1007)
    plain, described = service_account(address), service_account(address, description="evil\n\x1b[2J")
    fine, empty = service_account(address, granular=True), service_account(address, granular=True, description="")
    scope = """
        INSERT INTO granular_scopes (organization_id, created_at, updated_at) VALUES (1007, now(), now());
        INSERT INTO personal_access_token_granular_scopes
          (organization_id, personal_access_token_id, granular_scope_id)
        SELECT 1007, :token, max(id) FROM granular_scopes
    """
    for statement in scope.split(";") * 3:
        execute(address, statement, **({"token": fine} if ":token" in statement else {}))
    rich = service_account(address, description="d", impersonation=True, organization_id=elsewhere)

    nothing = {
        "description": None,
        "granular": False,
        "granular_scopes": 0,
        "impersonation": False,
        "sudo": False,
        "organization_id": 1,
    }
    assert (copied(left_of(plain)), facts(left_of(plain))) == ([], [nothing])
    assert copied(left_of(described)) == ['Copied:  the description "evil\ufffd\ufffd[2J"']
    assert facts(left_of(described)) == [nothing | {"description": "evil\n\x1b[2J"}]
    assert copied(left_of(fine)) == ["Copied:  3 granular scopes: the token is fine-grained"]
    assert copied(left_of(empty)) == ["Copied:  0 granular scopes: the token is fine-grained"]
    assert facts(left_of(fine)) == [nothing | {"granular": True, "granular_scopes": 3}]
    assert copied(left_of(rich)) == [
        'Copied:  the description "d"',
        "         the impersonation flag",
        "         the organization, 1007",
    ]
    assert facts(left_of(rich)) == [nothing | {"description": "d", "impersonation": True, "organization_id": elsewhere}]

    every = left_of(plain, described, fine, empty, rich)
    assert copied(every) == [
        "Copied:  the description of 2 tokens, the granular scopes of 2 tokens, the impersonation flag of 1 token, "
        "the organization of 1 token"
    ]
    assert [one["granular_scopes"] for one in facts(every)] == [0, 0, 3, 0, 0]
    # A successor that is there already is not made again, and nothing is known of an old token that is gone.
    gone = Resumption(0, Stage.CREATED, Step.ABANDON, 1, None)
    assert copied([*left_of(rich, step=Step.FINISH), *left_of(described, step=Step.AGAIN), gone]) == [
        "Copied:  the description of 1 token"
    ]
    assert copied(left_of(rich, step=Step.FINISH)) == copied([gone]) == copied(left_of(plain, plain)) == []


# The old token's end


@pytest.mark.newest_server
def test_a_grace_shortens_the_old_tokens_life_and_never_lengthens_it(address: Address) -> None:
    ends: dict[date | None, date] = {
        LATER: TODAY + timedelta(days=7),
        SOON: SOON,
        None: TODAY + timedelta(days=7),
        GONE: GONE,
    }
    tokens = {service_account(address, end): expected for end, expected in ends.items()}
    planned = plan_of(address, *tokens, grace=7)
    record = begun(address, planned)
    for rotation in planned.rotations:
        before = row_of(address, rotation.candidate.id)
        reached(address, record, rotation, Stage.DELIVERED)
        with database.connect(address) as connection:
            assert finish(connection, record, rotation) is Retirement.GRACE
        expected = before | {"expires_at": str(tokens[rotation.candidate.id])}
        assert row_of(address, rotation.candidate.id) == expected
    assert query(address, "SELECT changed, changed_meanwhile, tokens FROM token_tasks.runs") == [(4, 0, 4)]


@pytest.mark.newest_server
def test_an_old_token_that_somebody_has_changed_since_is_left_to_them(address: Address) -> None:
    extended, revoked, gone = tokens = [service_account(address) for _ in range(3)]
    planned = plan_of(address, *tokens)
    record = begun(address, planned)
    for rotation in planned.rotations:
        reached(address, record, rotation, Stage.DELIVERED)
    execute(address, "UPDATE personal_access_tokens SET expires_at = :day WHERE id = :id", day=LATER, id=extended)
    execute(address, "UPDATE personal_access_tokens SET revoked = true WHERE id = :id", id=revoked)
    execute(address, "DELETE FROM personal_access_tokens WHERE id = :id", id=gone)
    before = [row_of(address, token) for token in (extended, revoked)]
    with database.connect(address) as connection:
        found = [finish(connection, record, rotation) for rotation in planned.rotations]
    assert found == [Retirement.LEFT_ALONE, Retirement.REVOKED, Retirement.GONE]
    assert [row_of(address, token) for token in (extended, revoked)] == before
    assert query(address, "SELECT changed, changed_meanwhile FROM token_tasks.runs") == [(0, 3)]
    assert set(stages(address, record.run).values()) == {"done"}


@pytest.mark.newest_server
def test_a_successor_whose_owner_is_not_active_is_no_obstacle_but_is_named(address: Address) -> None:
    old, other = service_account(address), service_account(address)
    execute(address, f"UPDATE personal_access_tokens SET {PREDECESSOR} = :old WHERE id = :other", old=old, other=other)
    execute(
        address,
        "UPDATE users SET state = 'blocked' WHERE id = (SELECT user_id FROM personal_access_tokens WHERE id = :other)",
        other=other,
    )
    (note,) = [one for one in plan_of(address, old).notes if "has a successor already" in one]
    assert f"token {other}, whose owner is not active: it works again once that owner is" in note
    execute(address, "UPDATE personal_access_tokens SET revoked = true WHERE id = :other", other=other)
    assert not any("has a successor" in one for one in plan_of(address, old).notes)


@pytest.mark.newest_server
@pytest.mark.parametrize(("state", "retirement"), [("active", Retirement.REPLACED), ("blocked", Retirement.REVOKED)])
def test_an_old_token_is_replaced_by_another_successor_if_its_owner_is_active(
    address: Address, state: str, retirement: Retirement
) -> None:
    old, other = service_account(address), service_account(address)
    planned = plan_of(address, old)
    record = begun(address, planned)
    reached(address, record, planned.rotations[0], Stage.DELIVERED)
    execute(
        address,
        f"UPDATE personal_access_tokens SET {PREDECESSOR} = :old WHERE id = :other",
        old=old,
        other=other,
    )
    execute(address, "UPDATE personal_access_tokens SET revoked = true WHERE id = :old", old=old)
    execute(
        address,
        "UPDATE users SET state = :state WHERE id = (SELECT user_id FROM personal_access_tokens WHERE id = :other)",
        state=state,
        other=other,
    )
    with database.connect(address) as connection:
        assert finish(connection, record, planned.rotations[0]) is retirement


@pytest.mark.newest_server
def test_an_old_token_stays_while_its_successor_does_not_work(address: Address) -> None:
    tokens = [service_account(address) for _ in range(2)]
    planned = plan_of(address, *tokens)
    record = begun(address, planned)
    made = [reached(address, record, rotation, Stage.DELIVERED) for rotation in planned.rotations]
    execute(address, "UPDATE personal_access_tokens SET revoked = true WHERE id = :id", id=made[0].id)
    execute(address, "UPDATE personal_access_tokens SET expires_at = :day WHERE id = :id", day=TODAY, id=made[1].id)
    with database.connect(address) as connection:
        for rotation in planned.rotations:
            with pytest.raises(Refused, match=r"was revoked or has expired, so the old token is left as it is"):
                finish(connection, record, rotation)
    assert {row.id for row in query(address, LIVE)} == set(tokens)
    set_back(address, 120)
    record = resume(address, record.run)
    found = resumable(address, record.run)
    assert [one.step for one in found] == [Step.AGAIN] * 2
    carry_out(address, record, todo_of(found), Vault(), lambda: None)
    assert [row.previous for row in query(address, LIVE + " ORDER BY previous")] == tokens


@pytest.mark.newest_server
@pytest.mark.parametrize("stage", [Stage.CREATED, Stage.DELIVERED])
def test_a_clock_that_was_put_back_makes_no_stranger_of_a_successor(address: Address, stage: Stage) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    successor = reached(address, record, planned.rotations[0], Stage.CREATED)
    # As if it was made an hour from now: another primary, or this one's clock, is behind the one that made it.
    later = "created_at = created_at + interval '1 hour'"
    execute(address, f"UPDATE personal_access_tokens SET {later} WHERE id = :id", id=successor.id)
    execute(address, "UPDATE token_tasks.rotations SET changed_at = changed_at + interval '1 hour'")
    with database.connect(address) as connection:
        mark(connection, record, token, Stage.VERIFIED)
        if stage is Stage.DELIVERED:
            mark(connection, record, token, Stage.DELIVERED)
            assert finish(connection, record, planned.rotations[0]) is Retirement.REVOKED
        else:
            abandon(connection, record, token)
    assert [row_of(address, one)["revoked"] for one in (token, successor.id)] == [
        stage is Stage.DELIVERED,
        stage is Stage.CREATED,
    ]


@pytest.mark.newest_server
def test_an_old_token_stays_while_the_new_owner_is_not_active(address: Address) -> None:
    with rows(address) as connection:
        account = make_user(connection, username="deploy", user_type=SERVICE_ACCOUNT)
        old = make_token(connection, user_id=make_user(connection), expires_at=SOON)
    planned = plan_of(address, old, new_owner="deploy")
    (rotation,) = planned.rotations
    record = begun(address, planned)
    successor = reached(address, record, rotation, Stage.DELIVERED)
    execute(address, "UPDATE users SET state = 'blocked' WHERE id = :id", id=account)
    said = rf"The successor {successor.id} of token {old} does not work, because its owner deploy is blocked"
    with database.connect(address) as connection, pytest.raises(Refused, match=said):
        finish(connection, record, rotation)
    assert not row_of(address, old)["revoked"]
    # It is delivered: once its owner works so does it.
    assert [one.step for one in resumable(address, record.run)] == [Step.FINISH]
    execute(address, "UPDATE users SET state = 'active' WHERE id = :id", id=account)
    with database.connect(address) as connection:
        assert finish(connection, record, rotation) is Retirement.REVOKED


def given_out_again(address: Address, token: int) -> None:
    """After a restore of GitLab's tables alone somebody else's new token has got this id."""
    statement = """
        UPDATE personal_access_tokens
        SET user_id = :stranger, name = 'theirs', created_at = now() AT TIME ZONE 'UTC' + interval '1 hour',
            previous_personal_access_token_id = NULL
        WHERE id = :id
    """
    with make_engine(address).begin() as connection:
        stranger = make_user(connection)
    execute(address, statement, stranger=stranger, id=token)


@pytest.mark.newest_server
@pytest.mark.parametrize("stage", [Stage.CREATED, Stage.DELIVERING, Stage.DELIVERED])
def test_a_new_token_that_has_got_a_successors_id_is_no_successor(address: Address, stage: Stage) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    theirs = reached(address, record, planned.rotations[0], stage).id
    given_out_again(address, theirs)
    before = row_of(address, theirs)
    if stage is Stage.DELIVERED:
        with (
            database.connect(address) as connection,
            pytest.raises(SuccessorGone, match=r"is gone, so the old token is left as it is"),
        ):
            finish(connection, record, planned.rotations[0])
    set_back(address, 120)
    record = resume(address, record.run)
    found = resumable(address, record.run)
    assert [one.step for one in found] == [Step.AGAIN]
    carry_out(address, record, todo_of(found), Vault(), lambda: None)
    assert row_of(address, theirs) == before
    (row,) = query(address, "SELECT successor_id, given_up FROM token_tasks.rotations")
    assert row.successor_id not in (None, theirs)
    assert theirs not in (row.given_up or [])
    assert [one.previous for one in query(address, LIVE) if one.id != theirs] == [token]


@pytest.mark.newest_server
def test_after_a_restore_a_rotation_that_was_done_counts_for_nothing(address: Address) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    theirs = reached(address, record, planned.rotations[0], Stage.DELIVERED).id
    with database.connect(address) as connection:
        finish(connection, record, planned.rotations[0])
    execute(address, "UPDATE personal_access_tokens SET revoked = false WHERE id = :id", id=token)
    given_out_again(address, theirs)
    assert plan_of(address, token).rotations


@pytest.mark.newest_server
def test_a_new_token_that_has_got_the_id_of_a_planned_one_is_not_rotated(address: Address) -> None:
    token = service_account(address)
    record = begun(address, plan_of(address, token))
    given_out_again(address, token)
    assert [(one.step, one.rotation) for one in resumable(address, record.run)] == [(Step.ABANDON, None)]


@pytest.mark.parametrize(
    ("revision", "rule", "moved"),
    [("17.8", MembershipRule.UNTIL_TOKEN, IN_A_YEAR), ("head", MembershipRule.FOREVER, None)],
)
def test_a_bots_membership_moves_as_in_gitlabs_rotation_and_comes_back_with_an_abandoned_one(
    gitlab_database_at: Callable[[str], Address], revision: str, rule: MembershipRule, moved: object
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    (token,), member = project_bot(address, SOON)
    (endless,), forever = project_bot(address, None)
    (patient,), distant = project_bot(address, "2999-01-01")
    planned = plan_of(address, token, endless, patient)
    assert planned.rule is rule
    assert " would end before the new token and " in planned.notes[-1]
    record = begun(address, planned)
    made = {one.candidate.id: reached(address, record, one, Stage.CREATED) for one in planned.rotations}
    assert end_of(address, member) == (moved and str(moved))
    assert end_of(address, forever) is None
    assert end_of(address, distant) == ("2999-01-01" if moved else None)
    with database.connect(address) as connection:
        for one in made:
            abandon(connection, record, one)
            abandon(connection, record, one)
    assert (end_of(address, member), end_of(address, forever), end_of(address, distant)) == (
        str(SOON),
        None,
        "2999-01-01",
    )
    for successor in made.values():
        row = row_of(address, successor.id)
        assert row["revoked"] is True
        assert row["updated_at"] >= row["created_at"]
    assert {row.id for row in query(address, LIVE)} == {token, endless, patient}

    # Once more, and this time to the end; with a membership that somebody moves in between.
    made[token] = reached(address, record, planned.rotations[0], Stage.DELIVERED)
    execute(address, "UPDATE members SET expires_at = :day WHERE id = :id", day=LATER, id=member)
    with database.connect(address) as connection:
        abandon(connection, record, token)
    assert end_of(address, member) == str(LATER)
    reached(address, record, planned.rotations[0], Stage.DELIVERED)
    with database.connect(address) as connection:
        finish(connection, record, planned.rotations[0])
        with pytest.raises(Refused, match="is done, so it cannot become abandoned"):
            abandon(connection, record, token)
    assert end_of(address, member) == (moved and str(moved))


@pytest.mark.newest_server
def test_a_membership_stays_while_another_successor_of_its_bot_counts_on_it(address: Address) -> None:
    for days, end in ((365, None), (3, str(SOON))):
        tokens, member = project_bot(address, SOON, tokens=2)
        planned = plan_of(address, tokens[0])
        stopped = begun(address, planned)
        reached(address, stopped, planned.rotations[0], Stage.CREATED)
        with writing(address) as connection:
            stopped.finish(connection, RunState.STOPPED)
        planned = plan_of(address, tokens[1], expires_in=days)
        record = begun(address, planned)
        reached(address, record, planned.rotations[0], Stage.DELIVERED)
        with database.connect(address) as connection:
            finish(connection, record, planned.rotations[0])
        ended(address, record)
        assert end_of(address, member) is None
        record = resume(address, stopped.run)
        with database.connect(address) as connection:
            abandon(connection, record, tokens[0])
        ended(address, record)
        assert end_of(address, member) == end


def stopped_with_a_successor(address: Address, token: int, expires_in: int = 365) -> Record:
    """A run that has stopped after it has made a successor of this token."""
    planned = plan_of(address, token, expires_in=expires_in)
    record = begun(address, planned)
    reached(address, record, planned.rotations[0], Stage.CREATED)
    with writing(address) as connection:
        record.finish(connection, RunState.STOPPED)
    return record


def abandoned(address: Address, run: int, token: int) -> None:
    """Go on with a run that has stopped, and abandon the rotation of this token."""
    record = resume(address, run)
    with database.connect(address) as connection:
        abandon(connection, record, token)
    ended(address, record)


@pytest.mark.newest_server
@pytest.mark.parametrize("revision", ["17.8", "head"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_membership_comes_back_once_all_who_have_moved_it_are_abandoned(
    gitlab_database_at: Callable[[str], Address], revision: str, order: tuple[int, int]
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    tokens, member = project_bot(address, SOON, tokens=2)
    runs = [stopped_with_a_successor(address, token, days).run for token, days in zip(tokens, (300, 360), strict=True)]
    abandoned(address, runs[order[0]], tokens[order[0]])
    assert end_of(address, member) != str(SOON)
    abandoned(address, runs[order[1]], tokens[order[1]])
    assert end_of(address, member) == str(SOON)


@pytest.mark.newest_server
@pytest.mark.parametrize("extended", [False, True])
def test_a_membership_stays_while_a_token_counts_on_it_that_others_have_made_or_extended(
    address: Address, extended: bool
) -> None:
    tokens, member = project_bot(address, SOON, tokens=2)
    run = stopped_with_a_successor(address, tokens[0]).run
    change = f"UPDATE personal_access_tokens SET expires_at = '{LATER}' WHERE id = {tokens[1]}"
    if not extended:  # GitLab's own rotation of the same token
        change = (
            "INSERT INTO personal_access_tokens (user_id, name, expires_at, created_at, updated_at, scopes, "
            f"organization_id) SELECT user_id, 'other', '{LATER}', now(), now(), scopes, organization_id "
            f"FROM personal_access_tokens WHERE id = {tokens[0]}"
        )
    execute(address, change)
    abandoned(address, run, tokens[0])
    assert end_of(address, member) is None


@pytest.mark.newest_server
def test_a_membership_that_has_got_the_id_of_a_bots_after_a_restore_is_left_alone(address: Address) -> None:
    (token,), member = project_bot(address, SOON)
    run = stopped_with_a_successor(address, token).run
    # Tables of a backup without the bot; a person's membership has got the next id since.
    execute(address, "DELETE FROM personal_access_tokens")
    execute(address, "DELETE FROM members")
    with rows(address) as connection:
        ada = make_user(connection)
        make_membership(connection, user_id=ada, project_id=make_project(connection), id=member)
        make_token(connection, user_id=ada, id=token, expires_at=SOON, created_at=IN_A_YEAR)
    abandoned(address, run, token)
    assert end_of(address, member) is None


@pytest.mark.newest_server
def test_a_membership_comes_back_where_the_successor_was_deleted(address: Address) -> None:
    (token,), member = project_bot(address, SOON)
    run = stopped_with_a_successor(address, token).run
    execute(address, f"DELETE FROM personal_access_tokens WHERE id <> {token}")
    abandoned(address, run, token)
    assert end_of(address, member) == str(SOON)


@pytest.mark.newest_server
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_end_set_by_somebody_between_two_rotations_comes_back(address: Address, order: tuple[int, int]) -> None:
    tokens, member = project_bot(address, SOON, tokens=2)
    first = stopped_with_a_successor(address, tokens[0]).run
    execute(address, f"UPDATE members SET expires_at = '{LATER}' WHERE id = {member}")
    runs = [first, stopped_with_a_successor(address, tokens[1]).run]
    for one in order:
        abandoned(address, runs[one], tokens[one])
    assert end_of(address, member) == str(LATER)


@pytest.mark.newest_server
@pytest.mark.parametrize("works", [False, True])
def test_an_end_that_has_come_by_now_does_not_come_back_over_an_old_token_that_works(
    address: Address, works: bool
) -> None:
    (token,), member = project_bot(address, SOON)
    execute(address, f"UPDATE personal_access_tokens SET expires_at = '{LATER}' WHERE id = {token}")
    run = stopped_with_a_successor(address, token).run
    # As if that end had come since.
    execute(address, "UPDATE token_tasks.runs SET created_at = now() - interval '9 days'")
    execute(address, f"UPDATE token_tasks.rotations SET old_member_expires_at = ARRAY[DATE '{TODAY}']")
    execute(address, f"UPDATE personal_access_tokens SET revoked = {not works} WHERE id = {token}")
    abandoned(address, run, token)
    assert end_of(address, member) == (None if works else str(TODAY))


@pytest.mark.newest_server
def test_a_trigger_that_keeps_a_membership_as_it_is_holds_up_no_rotation(address: Address) -> None:
    (token,), member = project_bot(address, SOON)
    run = stopped_with_a_successor(address, token).run
    for statement in (
        "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.expires_at := OLD.expires_at; RETURN NEW; END'",
        "CREATE TRIGGER keep BEFORE UPDATE ON public.members FOR EACH ROW EXECUTE FUNCTION public.keep()",
    ):
        execute(address, statement)
    abandoned(address, run, token)
    assert end_of(address, member) is None


# Two at once


def test_of_two_that_rotate_one_token_at_once_one_wins_and_the_other_says_so(address: Address) -> None:
    def both(attempts: Sequence[Callable[[], object]]) -> list[object]:
        results: list[object] = [None] * len(attempts)
        together = threading.Barrier(len(attempts))

        def attempt(number: int) -> None:
            together.wait(30)
            try:
                results[number] = attempts[number]()
            except Exception as error:
                results[number] = error

        threads = [threading.Thread(target=attempt, args=(number,)) for number in range(len(attempts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return results

    # As two people do it: the second may not even begin.
    token = service_account(address)
    planned = plan_of(address, token)

    def whole() -> Successor:
        return reached(address, begun(address, planned), planned.rotations[0], Stage.CREATED)

    results = both([whole, whole])
    (refusal,) = (one for one in results if isinstance(one, Refused))
    assert "is under way" in str(refusal)
    assert sum(isinstance(one, Successor) for one in results) == 1

    # Should both have begun all the same, the row decides.
    for _ in range(5):
        token = service_account(address)
        planned = plan_of(address, token)
        attempts = []
        for _ in range(2):
            with writing(address) as connection:
                record = Record(store(connection, planned, origin.here(), None), 0)
            attempts.append(partial(reached, address, record, planned.rotations[0], Stage.CREATED))
        execute(address, "UPDATE token_tasks.runs SET state = 'running' WHERE state = 'planned' AND attempt = 0")
        results = both(attempts)
        (refusal,) = (one for one in results if isinstance(one, Refused))
        assert "has a successor" in str(refusal)
        assert sum(isinstance(one, Successor) for one in results) == 1
        assert len([row for row in query(address, LIVE) if row.previous == token]) == 1


def test_a_rotation_waits_for_gitlabs_own_and_then_says_that_it_came_too_late(address: Address) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    caught: list[Exception] = []

    def ours() -> None:
        try:
            reached(address, record, planned.rotations[0], Stage.CREATED)
        except Refused as error:
            caught.append(error)

    thread = threading.Thread(target=ours)
    with make_engine(address).begin() as gitlab, make_engine(address).connect() as watcher:
        # Not revoked by it, so that only the successor can tell.
        gitlab.execute(sa.text("UPDATE personal_access_tokens SET name = name WHERE id = :id"), {"id": token})
        thread.start()
        while not watcher.execute(sa.text(BACKENDS_WAITING)).scalar():
            watcher.rollback()
        user = gitlab.execute(sa.text("SELECT user_id FROM personal_access_tokens")).scalar_one()
        make_token(gitlab, user_id=user, expires_at=LATER, previous_personal_access_token_id=token)
    thread.join(60)
    (refusal,) = caught
    assert f"was rotated already, and its successor {token + 1} works" in str(refusal)
    assert stages(address, record.run) == {token: "planned"}


@pytest.mark.newest_server
def test_whoever_was_taken_over_can_do_nothing_any_more(address: Address) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    reached(address, record, planned.rotations[0], Stage.DELIVERED)
    set_back(address, 120)
    resume(address, record.run)
    before = everything(address)
    with database.connect(address) as connection:
        for late in (
            lambda: create(connection, planned.rotations[0], KEYS, run=record),
            lambda: mark(connection, record, token, Stage.VERIFIED),
            lambda: finish(connection, record, planned.rotations[0]),
            lambda: abandon(connection, record, token),
        ):
            with pytest.raises(TakenOver):
                late()
    assert everything(address) == before


@pytest.mark.newest_server
def test_a_stage_is_reached_from_the_one_before_alone(address: Address) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    (rotation,) = planned.rotations
    record = begun(address, planned)
    with database.connect(address) as connection:
        for state in (Stage.VERIFIED, Stage.DELIVERED):
            with pytest.raises(Refused, match=f"is planned, so it cannot become {state}"):
                mark(connection, record, token, state)
        with pytest.raises(Refused, match="is planned, so it cannot become done"):
            finish(connection, record, rotation)
        create(connection, rotation, KEYS, run=record)
        with pytest.raises(Refused, match="is created, so it cannot become created"):
            create(connection, rotation, KEYS, run=record)
        mark(connection, record, token, Stage.DELIVERED)  # without verification
        finish(connection, record, rotation)
        with pytest.raises(Refused, match="does not rotate token 0"):
            mark(connection, record, 0, Stage.VERIFIED)
    assert row_of(address, token)["revoked"] is True


# Broken off


def check_invariants(address: Address, owners: dict[int, int]) -> None:
    """Of each token at most one live successor, and each account has a live token."""
    live = query(address, LIVE)
    successors = [row.previous for row in live if row.previous is not None]
    assert len(successors) == len(set(successors))
    assert set(owners.values()) <= {row.user_id for row in live}


@pytest.mark.slow
@pytest.mark.newest_server  # the tests of each step run on all of them
def test_a_run_that_ends_between_any_two_steps_is_brought_to_a_good_end(address: Address) -> None:
    for crash in range(40):
        service, (bots, member) = service_account(address), project_bot(address, SOON)
        tokens = [service, *bots]
        owners = {token: row_of(address, token)["user_id"] for token in tokens}
        planned = plan_of(address, *tokens)
        record = begun(address, planned)
        vault = Vault()
        todo = [(Step.CREATE, rotation) for rotation in planned.rotations]
        # It may break off again on the way.
        crashes = 0
        for at in (crash, crash * 5 % 9, crash * 3 % 4, None):
            try:
                carry_out(address, record, todo, vault, (lambda: None) if at is None else crashing_at(at))
                break
            except Crash:
                crashes += 1
                check_invariants(address, owners)
                set_back(address, 120)
                record = resume(address, record.run)
                todo = todo_of(resumable(address, record.run))
        check_invariants(address, owners)
        assert set(stages(address, record.run).values()) == {"done"}
        ended(address, record)
        live = {row.token_digest: row for row in query(address, LIVE) if row.user_id in owners.values()}
        assert {live[KEYS.digest_with_current(vault.tokens[token])].previous for token in tokens} == set(tokens)
        assert len(live) == len(tokens)
        assert not live.keys() & {KEYS.digest_with_current(token) for token in vault.lost}
        assert end_of(address, member) is None
        if not crashes:
            assert crash == 2 * POINTS
            return


def test_a_connection_that_is_lost_inside_a_step_leaves_all_of_it_undone(address: Address) -> None:
    (token,), member = project_bot(address, SOON)
    planned = plan_of(address, token)
    (rotation,) = planned.rotations
    record = begun(address, planned)
    execute(
        address,
        """
        CREATE FUNCTION token_tasks.die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$
        """,
    )
    steps: list[Callable[[database.Connection], object]] = [
        lambda connection: create(connection, rotation, KEYS, run=record),
        lambda connection: mark(connection, record, token, Stage.VERIFIED),
        lambda connection: abandon(connection, record, token),
        lambda connection: create(connection, rotation, KEYS, run=record),
        lambda connection: mark(connection, record, token, Stage.DELIVERED),
        lambda connection: finish(connection, record, rotation),
    ]
    for step in steps:
        before = everything(address), stages(address, record.run), given_up(address, record.run)
        execute(
            address,
            """
            CREATE CONSTRAINT TRIGGER die AFTER UPDATE OF state ON token_tasks.rotations DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION token_tasks.die()
            """,
        )
        with database.connect(address) as connection, pytest.raises(ConnectionLost):
            step(connection)
        execute(address, "DROP TRIGGER die ON token_tasks.rotations")
        assert (everything(address), stages(address, record.run), given_up(address, record.run)) == before
        with database.connect(address) as connection:
            step(connection)
        assert stages(address, record.run) != before[1]
    assert [row.previous for row in query(address, LIVE)] == [token]
    assert len(given_up(address, record.run)[token]) == 1
    assert end_of(address, member) is None


@pytest.mark.newest_server
def test_every_successor_that_was_given_up_is_remembered_in_its_order(address: Address) -> None:
    tokens = [service_account(address) for _ in range(2)]
    planned = plan_of(address, *tokens)
    record = begun(address, planned)
    made: dict[int, list[int]] = {token: [] for token in tokens}
    for stage in (Stage.CREATED, Stage.VERIFIED, Stage.DELIVERED, Stage.DELIVERED):
        for rotation in planned.rotations:
            token = rotation.candidate.id
            with database.connect(address) as connection:
                abandon(connection, record, token)
                abandon(connection, record, token)
            made[token].append(reached(address, record, rotation, stage).id)
            assert given_up(address, record.run)[token] == made[token][:-1]
    with database.connect(address) as connection:
        finish(connection, record, planned.rotations[0])
        abandon(connection, record, tokens[1])
    done, abandoned = read_rotations(address, record.run)
    assert (done.stage, done.successor_id, done.given_up) == (Stage.DONE, made[tokens[0]][-1], (*made[tokens[0]][:-1],))
    assert (abandoned.stage, abandoned.successor_id, abandoned.given_up) == (
        Stage.ABANDONED,
        None,
        (*made[tokens[1]],),
    )
    for one in (*done.given_up, *abandoned.given_up):
        assert row_of(address, one)["revoked"] is True


@pytest.mark.newest_server
def test_what_is_left_of_a_run_is_told_rotation_by_rotation(address: Address) -> None:
    tokens = [service_account(address) for _ in range(7)]
    planned = plan_of(address, *tokens, grace=3)
    made: dict[int, int] = {}
    record = begun(address, planned)
    wanted = (Stage.PLANNED, Stage.CREATED, Stage.VERIFIED, Stage.DELIVERED, Stage.ABANDONED, Stage.DONE, Stage.CREATED)
    for rotation, stage in zip(planned.rotations, wanted, strict=True):
        token = rotation.candidate.id
        if stage is Stage.PLANNED:
            continue
        reach = stage if stage in (Stage.CREATED, Stage.VERIFIED) else Stage.DELIVERED
        made[token] = reached(address, record, rotation, reach).id
        with database.connect(address) as connection:
            if stage is Stage.ABANDONED:
                abandon(connection, record, token)
            elif stage is Stage.DONE:
                finish(connection, record, rotation)
    execute(address, "DELETE FROM personal_access_tokens WHERE id = :id", id=tokens[6])
    found = {one.token_id: one for one in resumable(address, record.run)}
    assert [found[token].step if token in found else None for token in tokens] == [
        Step.CREATE,
        Step.AGAIN,
        Step.AGAIN,
        Step.FINISH,
        Step.CREATE,
        None,
        Step.ABANDON,
    ]
    assert {token: one.successor_id for token, one in found.items() if one.successor_id} == {
        token: id_ for token, id_ in made.items() if token != tokens[5]
    }
    one = found[tokens[0]].rotation
    assert one is not None
    assert (one.expires_at, one.grace_until) == (planned.rotations[0].expires_at, planned.rotations[0].grace_until)
    assert found[tokens[6]].rotation is None
    with database.connect(address) as connection:
        abandon(connection, record, tokens[6])
    assert row_of(address, made[tokens[6]])["revoked"] is True
    assert tokens[6] not in {one.token_id for one in resumable(address, record.run)}
    with pytest.raises(UsageError, match="no run 99"):
        resumable(address, 99)
    ended(address, record)
    with pytest.raises(RunComplete, match="is complete"):
        resumable(address, record.run)
    for state, offered in (("stopped", True), ("done", False), ("withdrawn", False)):
        execute(address, f"UPDATE token_tasks.runs SET kind = 'extend', state = '{state}'")
        with pytest.raises(UsageError, match="is no rotation but extend") as caught:
            resumable(address, record.run)
        assert ("→ to continue it" in str(caught.value)) == offered


@pytest.mark.parametrize("change", ["name = 'other'", "scopes = E'---\\n- sudo\\n'", "user_id = {other}"])
def test_what_was_planned_of_a_token_is_what_its_successor_gets(address: Address, change: str) -> None:
    token, another = service_account(address), service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    (other,) = (
        row.user_id for row in query(address, f"SELECT user_id FROM personal_access_tokens WHERE id = {another}")
    )
    execute(address, f"UPDATE personal_access_tokens SET {change.format(other=other)} WHERE id = {token}")
    with pytest.raises(Refused, match=r"has another owner, name or scopes than when this was planned"):
        reached(address, record, planned.rotations[0], Stage.CREATED)
    assert len(query(address, "SELECT id FROM personal_access_tokens")) == 2


def test_a_date_that_has_come_since_the_plan_gives_no_dead_token(address: Address) -> None:
    token = service_account(address)
    planned = plan_of(address, token)
    record = begun(address, planned)
    execute(address, "UPDATE token_tasks.rotations SET new_expires_at = :day", day=TODAY)
    with pytest.raises(Refused, match="which has come"):
        reached(address, record, planned.rotations[0], Stage.CREATED)


@pytest.mark.newest_server
def test_a_rotation_is_neither_undone_nor_applied(address: Address) -> None:
    planned = plan_of(address, service_account(address))
    record = begun(address, planned)
    reached(address, record, planned.rotations[0], Stage.DELIVERED)
    with pytest.raises(Refused, match="an undo would revive revoked secrets"):
        plan_to_undo(address, record.run)
    with pytest.raises(UsageError, match=f"gitlab-tokens rotate --resume {record.run}"):
        plan_to_apply(address, record.run)


# As others


def test_neither_a_pooler_nor_the_roles_own_settings_matter(
    pooled: Address, gitlab_database: Address, superuser: Callable[[Address], Address]
) -> None:
    install(gitlab_database)
    name = conninfo_to_dict(gitlab_database.conninfo)["dbname"]
    for setting in ("DateStyle = 'German, DMY'", "TimeZone = 'Pacific/Kiritimati'"):
        execute(superuser(gitlab_database), f"ALTER ROLE gitlab IN DATABASE {name} SET {setting}")
    # The pooler's session may be older than the settings.
    for address in (pooled, gitlab_database):
        (token,), member = project_bot(gitlab_database, SOON)
        planned = plan_of(address, token)
        record = begun(address, planned)
        with database.connect(address) as connection:
            create(connection, planned.rotations[0], KEYS, run=record)
            abandon(connection, record, token)
            assert end_of(superuser(gitlab_database), member) == str(SOON)
            successor = create(connection, planned.rotations[0], KEYS, run=record)
            mark(connection, record, token, Stage.DELIVERED)
            assert finish(connection, record, planned.rotations[0]) is Retirement.REVOKED
        assert resumable(address, record.run) == ()
        ended(address, record)
        assert successor.expires_at == ExpirationDate.typed(str(IN_A_YEAR))
        now = datetime.now(UTC).replace(tzinfo=None)
        for one in (token, successor.id):
            touched = datetime.fromisoformat(row_of(gitlab_database, one)["updated_at"])
            assert abs(touched - now) < timedelta(hours=1)


@pytest.mark.parametrize("revision", ["16.0", "head"])
def test_the_prescribed_grants_are_enough_and_let_nobody_read_digests(
    gitlab_database_at: Callable[[str], Address], superuser: Callable[[Address], Address], revision: str
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    role = '"Token Rotator"'
    execute(
        superuser(address),
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    (token,), _ = project_bot(address, SOON)
    rotator = Address(make_conninfo(address.conninfo, user="Token Rotator"), "there")
    execute(address, f"GRANT USAGE ON SCHEMA public TO {role}")
    with pytest.raises(Refused) as caught:
        find(rotator, Search(Selection((), kinds=EVERY_KIND)))
    assert f"GRANT USAGE ON SEQUENCE public.personal_access_tokens_id_seq TO {role}" in str(caught.value)
    grants = least_privileges(address, "Token Rotator")["rotate"]
    for grant in grants:
        execute(superuser(address), grant)
    with rows(address) as connection:
        make_user(connection, username="deploy", user_type=SERVICE_ACCOUNT)
        make_membership(connection, user_id=(alice := make_user(connection)), project_id=make_project(connection))
        of_alice = make_token(connection, user_id=alice, expires_at=SOON)
    handed_over = plan_of(rotator, of_alice, new_owner="deploy")
    record = begun(rotator, handed_over)
    reached(rotator, record, handed_over.rotations[0], Stage.DELIVERED)
    ended(rotator, record)
    planned = plan_of(rotator, token)
    record = begun(rotator, planned)
    reached(rotator, record, planned.rotations[0], Stage.CREATED)
    with database.connect(rotator) as connection:
        abandon(connection, record, token)
    reached(rotator, record, planned.rotations[0], Stage.DELIVERED)
    with database.connect(rotator) as connection:
        assert finish(connection, record, planned.rotations[0]) is Retirement.REVOKED
    with database.reading(rotator) as connection:
        preflight.check(connection, NEEDS)
        installation.check(connection, reading=True)
        assert read_touched(connection, record.run).memberships == 1
    (told,) = read_rotations(rotator, record.run)
    assert (told.stage, told.state_now, len(told.given_up)) == (Stage.DONE, State.REVOKED, 1)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        query(rotator, "SELECT token_digest FROM personal_access_tokens")


@pytest.mark.each_release
def test_a_service_accounts_successor_of_a_persons_token_is_its_own_in_every_release(
    gitlab_database_at: Callable[[str], Address], revision: str
) -> None:
    address = gitlab_database_at(revision)
    install(address)
    with rows(address) as connection:
        top = make_group(connection, path="platform")
        below = make_group(connection, path="tools", parent_id=top)
        account = make_user(connection, username="deploy", user_type=SERVICE_ACCOUNT, provisioned_by_group_id=below)
        alice = make_user(connection, username="alice", state="blocked")
        make_membership(connection, user_id=alice, group_id=below, access_level=30)
        make_membership(connection, user_id=account, group_id=top, access_level=40, expires_at=SOON)
        old = make_token(connection, user_id=alice, expires_at=LATER, scopes="---\n- read_api\n")
    planned = plan_of(address, old, new_owner="DEPLOY", grace=7)
    (rotation,) = planned.rotations
    assert (rotation.new_owner, rotation.account, planned.guards) == (NewOwner(account, "deploy"), "deploy", ())
    said = " ".join(planned.notes)
    assert "is no member" not in said
    assert "1 membership of a service account ends before the new token" in said
    record = begun(address, planned)
    given_up = reached(address, record, rotation, Stage.CREATED)
    set_back(address, 120)
    record = resume(address, record.run)
    [(step, again)] = todo_of(resumable(address, record.run))
    assert (step, again.new_owner, again.expires_at) == (Step.AGAIN, rotation.new_owner, rotation.expires_at)
    with database.connect(address) as connection:
        abandon(connection, record, old)
    successor = reached(address, record, again, Stage.DELIVERED)
    with database.connect(address) as connection:
        assert finish(connection, record, again) is Retirement.GRACE
    new, before = row_of(address, successor.id), row_of(address, old)
    assert (new["user_id"], new["scopes"], new["name"]) == (account, before["scopes"], before["name"])
    assert [new.get(name) for name in (PREDECESSOR, "user_type", "group_id")] == [
        *(None, SERVICE_ACCOUNT if "user_type" in new else None, top if "group_id" in new else None)
    ]
    payload = decode(successor.token.reveal())
    assert payload is None or payload.user_id == account
    assert row_of(address, given_up.id)["revoked"]
    # GitLab does not know it; whatever asks for successors here does.
    assert standing(address, old).live_successor == successor.id
    with gitlab_api(address, KEYS) as api:
        assert verify(api.url, successor.token, attempts=1).id == successor.id

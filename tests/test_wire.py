"""What a rotation sends to another process arrives as what it was, or is refused."""

import json
from datetime import date
from typing import Any

import pytest

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import Kind, State
from tokens.gitlab.membership import MembershipRule
from tokens.rotation import wire
from tokens.rotation.backend import Made
from tokens.rotation.candidate import Candidate, Search
from tokens.rotation.new_owner import NewOwner
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.resumption import Resumption, Step
from tokens.rotation.stage import Stage
from tokens.secret import Secret
from tokens.selection import DateRange, Selection

CANDIDATE = Candidate(
    id=2**63 - 1,
    name='a "quoted"\n\x1b[31mname\U0001f600',
    description=None,
    username="inventory",
    user_id=7,
    user_type=13,
    kind=Kind.SERVICE_ACCOUNT,
    state=State.EXPIRED,
    scopes=("api", "read_user"),
    expires_at=ExpirationDate.stored("infinity"),
    last_used_at="2026-06-01T10:00:00+00:00",
    organization_id=1,
    impersonation=False,
    granular=True,
    granular_scopes=3,
    sudo=True,
    days=-17,
    named=True,
)
SELECTION = Selection(
    expires=(None, DateRange(ExpirationDate.typed("2026-11-01"), ExpirationDate.stored("infinity"))),
    kinds=frozenset({Kind.GROUP, Kind.PROJECT}),
    states=frozenset(State),
    users=("erika",),
    groups=("group/sub",),
    projects=("group/project",),
    name="ci*",
    scopes=("api",),
    last_used_before=date(2026, 1, 2),
    last_used_after=date(2025, 1, 2),
    created_before=date(2024, 1, 2),
    created_after=date(2023, 1, 2),
    ids=(1, 2**63 - 1),
)
ROTATIONS = (
    Rotation(CANDIDATE, ExpirationDate.typed("2027-11-22"), None),
    Rotation(CANDIDATE, None, ExpirationDate.stored("0044-03-15 BC"), NewOwner(7, "deploy")),
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (tuple[Candidate, ...], (CANDIDATE,)),
        (Search, Search(SELECTION, "ci", within=30, expired_within=14)),
        (Search, Search(Selection(()))),
        (RotationPlan, RotationPlan(ROTATIONS, ("a note",), MembershipRule.FOREVER, ("long-expired",))),
        (RotationPlan, RotationPlan((), (), None)),
        (tuple[Resumption, ...], (Resumption(1, Stage.CREATED, Step.ABANDON, 2, None),)),
        (dict[int, str], {1: "blocked"}),
        (frozenset[Kind], frozenset(Kind)),
        (int | None, None),
        (None, None),
    ],
)
def test_what_arrives_is_what_was_sent(kind: Any, value: object) -> None:
    kind = type(None) if kind is None else kind
    assert wire.decode(kind, wire.read(json.dumps(wire.encode(value)))) == value


def test_a_secret_goes_over_and_is_one_again() -> None:
    made = wire.decode(Made, wire.read(json.dumps(wire.encode(Made(1, Secret("glpat-hidden"))))))
    assert made.token.reveal() == "glpat-hidden"
    assert "hidden" not in repr(made)


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (int, "1"),
        (int, True),
        (str, None),
        (tuple[int, ...], {}),
        (Kind, "robots"),
        (Rotation, {"candidate": None, "expires_at": None, "grace_until": None}),
        (Made, {"id": 1}),
        (Made, {"id": 1, "token": None, "objection": None, "of_token": False, "more": 1}),
        (ExpirationDate, "tomorrow"),
        (date, "tomorrow"),
        (Search, {"selection": {"expires": []}, "token": None, "within": None, "expired_within": None}),
    ],
)
def test_anything_else_is_refused(kind: Any, document: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode(kind, document)


def test_what_is_not_json_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="not JSON") as refused:
        wire.read('{"token": "glpat-hidden"')
    assert refused.value.__suppress_context__
    assert "hidden" not in str(refused.value)


def test_what_does_not_travel_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="does not travel"):
        wire.encode(object())

"""The scripts that GitLab documents for its Rails console, beside the calls that answer the same questions.

What a script would print is worked out in Python from the rows. GitLab's scripts tell people by the token's own copy of
`user_type`, and so pass over rows in which that is NULL; the calls must not, so here the owner's own type counts.
"""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_project, make_token, make_user
from tests.testbed.instance import Instance

MANUAL = Path(__file__).parent.parent / "deploy" / "manual.md"

TODAY = datetime.now(UTC).date()
DAY = TODAY + timedelta(20)
MONTH = TODAY + timedelta(30)

PERSON, BOT, SERVICE_ACCOUNT = 0, 6, 13
BLOCKED = ("blocked", "ldap_blocked", "banned")
PEOPLE = ("personal", "impersonation")
EVERY_STATE = ("--state", "active,expired,revoked")
OF_PEOPLE_AND_BOTS = ("--kind", "personal,impersonation,project,group")


@dataclass(frozen=True)
class Owner:
    """Whose a token is: `place` is what a bot is a member of."""

    user_type: int
    state: str = "active"
    place: str | None = None


@dataclass(frozen=True)
class Token:
    owner: Owner
    expires: date | None
    revoked: bool | None
    impersonation: bool
    created: date
    used: date | None
    copied: bool
    """Whether the token has a copy of its owner's type."""

    @property
    def of_person(self) -> bool:
        return self.owner.user_type == PERSON

    @property
    def of_member(self) -> bool:
        """A bot's that has a membership: the scripts print a line for each."""
        return self.owner.user_type == BOT and self.owner.place is not None

    @property
    def works(self) -> bool:
        return not self.revoked and (self.expires is None or self.expires > TODAY)


OWNERS = st.one_of(
    st.builds(Owner, st.just(PERSON), st.sampled_from(("active", "deactivated", *BLOCKED))),
    st.builds(Owner, st.just(BOT), st.sampled_from(("active", "blocked")), st.sampled_from(("project", "group", None))),
    st.builds(Owner, st.just(SERVICE_ACCOUNT)),
)
DAYS = st.sampled_from(
    [None, TODAY, TODAY + timedelta(1), DAY, MONTH, MONTH + timedelta(1), TODAY - timedelta(1), TODAY + timedelta(400)]
)
LONG_AGO, LATELY = TODAY - timedelta(500), TODAY - timedelta(10)
TOKENS = st.builds(
    lambda owner, impersonation, **rest: Token(
        owner, impersonation=impersonation and owner.user_type == PERSON, **rest
    ),
    OWNERS,
    st.booleans(),
    expires=DAYS,
    revoked=st.sampled_from([False, False, True, None]),
    created=st.sampled_from([LONG_AGO, LATELY]),
    used=st.sampled_from([None, LONG_AGO, LATELY]),
    copied=st.booleans(),
)


@pytest.mark.slow
@pytest.mark.newest_server
@settings(max_examples=8)
@given(tokens=st.lists(TOKENS, min_size=20, max_size=60))
def test_each_script_of_gitlabs_documentation_has_a_call_that_answers_it(
    instance: Instance, tokens: list[Token]
) -> None:
    rows = made(instance, tokens)

    def ours(*words: str, without_blocked_people: bool = False) -> set[int]:
        """The ids that `list` finds, of people and of bots that are members of something."""
        listed = instance.json("list", *words, "--columns", "id,kind,owner,owner_state,place_id")["tokens"]
        return {
            one["id"]
            for one in listed
            if (one["kind"] not in ("project", "group") or one["place_id"] is not None)
            and not (without_blocked_people and one["kind"] in PEOPLE and one["owner_state"] in BLOCKED)
        }

    def theirs(day: Any, *, without_blocked_people: bool = False) -> set[int]:
        """The ids in what the scripts print about tokens whose day fulfils a condition, whatever their state."""
        return {
            id_
            for id_, one in rows.items()
            if day(one.expires)
            and (one.of_person or one.of_member)
            and not (without_blocked_people and one.of_person and one.owner.state in BLOCKED)
        }

    every = (*OF_PEOPLE_AND_BOTS, *EVERY_STATE)
    # Which tokens expire on a day?
    assert ours("--expires", str(DAY), *every, without_blocked_people=True) == theirs(
        lambda day: day == DAY, without_blocked_people=True
    )
    # … within a month, beginning today?
    assert ours("--expires", f"{TODAY}..{MONTH}", *every) == theirs(lambda day: day and TODAY <= day <= MONTH)
    # Which have no date?
    assert ours("--expires", "none", *every) == theirs(lambda day: day is None)
    # Which tokens do projects and groups have, by membership?
    by_place = Counter(
        one["kind"]
        for one in instance.json("list", "--kind", "project,group", *EVERY_STATE, "--columns", "kind,place_id")[
            "tokens"
        ]
        if one["place_id"] is not None
    )
    assert by_place == Counter(str(one.owner.place) for one in rows.values() if one.of_member)
    # On which days to come do most tokens expire? That script counts all of them, revoked ones, too.
    coming = Counter(one.expires for one in rows.values() if one.expires and one.expires > TODAY)
    dates = instance.json("analyze", "--top", "all")["dates"]
    assert {one["expires_at"]: one["tokens"] for one in dates if (one["expires_at"] or "") > str(TODAY)} == {
        str(day): number for day, number in coming.items()
    }
    working = Counter(one.expires for one in rows.values() if one.works and one.expires)
    fullest = instance.json("forecast", "--sort", "tokens", "--until", "2y")["buckets"]
    assert {one["from"]: one["tokens"] for one in fullest} == {str(day): number for day, number in working.items()}
    # Which tokens would a longer life be given, and which would be revoked because nobody uses them?
    later = str(DAY + timedelta(100))
    planned = instance.json("extend", "--expires", str(DAY), "--state", "active,expired", "--to", later, "--dry-run")
    assert planned["plan"]["tokens"] == sum(
        one.expires == DAY and not one.revoked and not one.impersonation for one in rows.values()
    )
    year_ago = str(TODAY - timedelta(365))
    unused = ["--kind", "personal,impersonation", "--created-before", year_ago, "--last-used-before", year_ago]
    assert {one["id"] for one in instance.json("list", *unused)["tokens"]} == {
        id_
        for id_, one in rows.items()
        if one.of_person and one.works and one.created == LONG_AGO and one.used in (None, LONG_AGO)
    }


def made(instance: Instance, tokens: list[Token]) -> dict[int, Token]:
    """The tokens by their ids, in place of whatever was there."""
    found: dict[int, Token] = {}
    with make_engine(instance.address).begin() as connection:
        connection.exec_driver_sql("TRUNCATE public.personal_access_tokens CASCADE")
        group, project = make_group(connection), make_project(connection)
        for one in tokens:
            owner = make_user(connection, user_type=one.owner.user_type, state=one.owner.state)
            if one.owner.place is not None:
                place = {"project_id": project} if one.owner.place == "project" else {"group_id": group}
                make_membership(connection, user_id=owner, **place)
            id_ = make_token(
                connection,
                user_id=owner,
                expires_at=one.expires,
                revoked=one.revoked,
                impersonation=one.impersonation,
                created_at=one.created,
                last_used_at=one.used,
                user_type=one.owner.user_type if one.copied else None,
            )
            found[id_] = one
    return found


@pytest.mark.newest_server
def test_the_manual_has_calls_for_the_questions_of_the_scripts_that_work_when_they_are_typed(
    instance: Instance,
) -> None:
    section = MANUAL.read_text().split("### What GitLab's console scripts answer")[1].split("\n## ")[0]
    calls = re.findall(r"^\|.*\| `gitlab-tokens (.*)` \|$", section, re.MULTILINE)
    assert len(calls) == 8
    for call in calls:
        assert instance.run(*call.split()).returncode == 0, call

"""Which tokens a selection means: the database must see it as a plain reading of the same rows does."""

import fnmatch
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_group, make_membership, make_project, make_token, make_user
from tests.testbed.servers import is_newest
from tokens import database
from tokens.address import Address
from tokens.errors import UsageError
from tokens.gitlab.condition import pattern
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_EXPRESSION, Kind, State, kind_expression
from tokens.gitlab.schema import Schema, read_schema
from tokens.selection import EVERY_KIND, EVERY_STATE, DateRange, Selection
from tokens.selection.unmatched import check_names

TOKENS = 300
DAY = ExpirationDate.typed("2024-06-15")
NO_SCHEMA = Schema({})

FROM = "FROM public.personal_access_tokens t LEFT JOIN public.users u ON u.id = t.user_id"


def one_day(text: str) -> DateRange:
    return DateRange(ExpirationDate.typed(text), ExpirationDate.typed(text))


def selected(connection: database.Connection, schema: Schema, selection: Selection) -> list[int]:
    condition = selection.condition(schema)
    statement = f"SELECT t.id {FROM} WHERE {condition.sql} ORDER BY t.id"
    return [row.id for row in connection.rows(statement, **condition.parameters)]


# The same, read in Python


@dataclass(frozen=True)
class Owner:
    """A user, and the full paths of the groups and projects that it has to do with."""

    id: int
    username: str
    user_type: int | None
    kind: Kind
    belongs_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    id: int
    owner: Owner | None
    impersonation: bool
    expires: ExpirationDate | None
    revoked: bool | None
    name: str
    scopes: frozenset[str]
    created: datetime
    last_used: datetime | None

    @property
    def kind(self) -> Kind:
        if self.impersonation:
            return Kind.IMPERSONATION
        return self.owner.kind if self.owner else Kind.OTHER

    def state(self, today: ExpirationDate) -> State:
        if self.revoked:
            return State.REVOKED
        return State.EXPIRED if self.expires is not None and self.expires <= today else State.ACTIVE


def meant(selection: Selection, token: Token) -> bool:
    """Whether `selection` takes `token`, whatever its kind and state."""
    return all(
        (
            not selection.expires or any(on_day(expires, token.expires) for expires in selection.expires),
            not (selection.users or selection.groups or selection.projects) or owned(selection, token.owner),
            selection.name is None or is_like(token.name, selection.name),
            set(selection.scopes) <= token.scopes,
            selection.ids is None or token.id in selection.ids,
            selection.created_before is None or token.created < midnight(selection.created_before),
            selection.created_after is None or token.created >= midnight(selection.created_after),
            selection.last_used_before is None
            or token.last_used is None
            or token.last_used < midnight(selection.last_used_before),
            selection.last_used_after is None
            or (token.last_used is not None and token.last_used >= midnight(selection.last_used_after)),
        )
    )


def on_day(expires: DateRange | None, found: ExpirationDate | None) -> bool:
    if expires is None or found is None:
        return expires is None and found is None
    return expires.first <= found <= expires.last


def owned(selection: Selection, owner: Owner | None) -> bool:
    if owner is None:
        return False
    if owner.username.lower() in {username.lower() for username in selection.users}:
        return True
    # A person's own namespace is no group.
    groups = {path.lower() for path in selection.groups} - {"erika"}
    projects = {path.lower() for path in selection.projects}
    return any(
        (what == "project" and path in projects)
        or any(path == group or path.startswith(f"{group}/") for group in groups)
        for what, path in (place.split(":") for place in owner.belongs_to)
    )


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# The rows

# fmt: off
NAMES = (
    "ci", "CI", "ci-deploy", "ci deploy 2", "deploy 100%", "a_b", "axb", "a.b", "a-b", "a+b", "back\\slash", "\\",
    "new\nline", "\n", "", " ", "\ttab", "[x]", "]", "[", "*", "?", "!x", "^x$", "(x|y)", "x{2}", "***=x", "(?i)x",
    "#hash", "O'Brien", '"quoted"', "ünïcode", "部署", "🚀 deploy", "&&", "~", "%(name)s", "%s", "{}", "x" * 300,
)
SCOPES = {
    "---\n- api\n": {"api"},
    "---\n- read_api\n": {"read_api"},
    "---\n- api\n- read_user\n": {"api", "read_user"},
    "---\n- :api\n": {"api"},
    "---\n- :read_user\n- :read_api\n": {"read_user", "read_api"},
    "---\n- 'read_user'\n": {"read_user"},
    '---\n- "api"\n- "sudo"': {"api", "sudo"},
    '---\n- :"read_user"\r\n- sudo\r\n': {"read_user", "sudo"},
    "---\n  - k8s_proxy\n": {"k8s_proxy"},
    "---\n- read.api\n- api-like\n": {"read.api", "api-like"},
    "--- []\n": {"api"},
    "": {"api"},
    "--- [api, sudo]\n": {"api", "sudo"},
    "['read_api',:read_user]": {"read_api", "read_user"},
    "---\n- \"[api, sudo]\"\n": {"[api, sudo]"},
}
# fmt: on
EXPIRES = (
    *(None, "infinity", "-infinity", "0044-03-15 BC", "0001-01-01 BC", "12345-01-02"),
    *("2024-06-13", "2024-06-14", "2024-06-15", "2024-06-15", "2024-06-15", "2024-06-16", "2030-01-01"),
)
TIMES = ("2019-12-31 23:59:59.999999", "2020-01-01 00:00:00", "2020-01-01 13:00:00", "2023-07-03 08:00:00")
DAYS = (date(2019, 12, 31), date(2020, 1, 1), date(2020, 1, 2), date(1, 1, 1), date(9999, 12, 31))
GROUPS = ("Alpha", "alpha/beta", "alpha/beta/gamma", "alphabet", "delta", "delta/alpha", "empty")
PROJECTS = ("alpha/App", "alpha/beta/app", "alpha/beta/gamma/app", "alphabet/app", "delta/app", "erika/app")


class World:
    """Tokens of every sort, in the database and as `Token`s."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        # Rows from before the constraints: people without a type, tokens whose owner is gone.
        connection.execute(sa.text("ALTER TABLE public.users DROP CONSTRAINT check_0dd5948e38"))
        connection.execute(
            sa.text("ALTER TABLE public.personal_access_tokens DROP CONSTRAINT fk_personal_access_tokens_user_id")
        )
        self.groups: dict[str, int] = {"erika": make_group(connection, path="erika", type="User")}
        for path in GROUPS:
            parent, _, last = path.rpartition("/")
            parent_id = self.groups[parent.lower()] if parent else None
            self.groups[path.lower()] = make_group(connection, path=last, parent_id=parent_id)
        self.projects: dict[str, int] = {}
        self.namespaces: dict[str, int] = {}
        for path in PROJECTS:
            parent, _, last = path.rpartition("/")
            project = make_project(connection, path=last, namespace_id=self.groups[parent.lower()])
            self.projects[path.lower()] = project
            statement = sa.text("SELECT project_namespace_id FROM public.projects WHERE id = :id")
            self.namespaces[path.lower()] = connection.execute(statement, {"id": project}).scalar_one()
        self.owners = [*self.people(), *self.bots(), *self.service_accounts(), *self.others()]
        self.tokens = [self.token(number) for number in range(TOKENS)]

    def token(self, number: int) -> Token:
        chosen = random.Random(number)
        today = datetime.now(UTC).date()
        near = [str(today + timedelta(days)) for days in (-1, 0, 1, 2)]
        expires = chosen.choice([*EXPIRES, *near])
        scopes = chosen.choice(list(SCOPES))
        created = chosen.choice(TIMES)
        last_used = chosen.choice([None, *TIMES])
        owner = None if number == 0 else self.owners[number % len(self.owners)]
        columns: dict[str, Any] = {
            "name": NAMES[number % len(NAMES)],
            "revoked": chosen.choice([True, False, False, False, None]),
            "impersonation": owner is None or (owner.kind is Kind.PERSONAL and chosen.random() < 0.2),
        }
        if number == len(self.owners):
            owner, columns["impersonation"] = None, False
        id_ = make_token(
            self.connection,
            user_id=owner.id if owner else 10**9,
            expires_at=expires,
            scopes=scopes,
            created_at=created,
            last_used_at=last_used and f"{last_used}+00",
            # Not to be believed: rotation did not copy it, and old rows lack it.
            user_type=chosen.choice([None, 0, 6]),
            **columns,
        )
        return Token(
            id=id_,
            owner=owner,
            expires=ExpirationDate.stored(expires) if expires else None,
            scopes=frozenset(SCOPES[scopes]),
            created=datetime.fromisoformat(f"{created}+00:00"),
            last_used=datetime.fromisoformat(f"{last_used}+00:00") if last_used else None,
            **columns,
        )

    def user(self, kind: Kind, *belongs_to: str, **columns: Any) -> Owner:
        columns.setdefault("username", f"{kind}-{len(belongs_to)}-{random.Random(str(columns)).getrandbits(40)}")
        id_ = make_user(self.connection, **columns)
        return Owner(id_, columns["username"], columns.get("user_type", 0), kind, belongs_to)

    def people(self) -> Iterator[Owner]:
        yield self.user(Kind.PERSONAL, username="Erika")
        yield self.user(Kind.PERSONAL, username="erika2")
        yield self.user(Kind.PERSONAL, username="o_brien.x", user_type=None)
        member = self.user(Kind.PERSONAL, username="scim", provisioned_by_group_id=self.groups["alpha"])
        make_membership(self.connection, user_id=member.id, group_id=self.groups["alpha"])
        make_membership(self.connection, user_id=member.id, project_id=self.projects["alpha/app"])
        yield member
        yield self.user(Kind.PERSONAL, username=f"project_{self.projects['alpha/app']}_bot_of_mine")

    def bots(self) -> Iterator[Owner]:
        bot = partial(self.user, user_type=6)
        member = partial(make_membership, self.connection)
        for path, project in self.projects.items():
            owner = bot(Kind.PROJECT, f"project:{path}", username=f"project_{project}_bot_a")
            member(user_id=owner.id, project_id=project)
            yield owner
            # Names may lie, and GitLab's own record of the place comes after the membership.
            owner = bot(
                Kind.PROJECT,
                f"project:{path}",
                username=f"group_{project}_bot_b",
                bot_namespace_id=self.groups["empty"],
            )
            member(user_id=owner.id, project_id=project)
            yield owner
            yield bot(Kind.PROJECT, f"project:{path}", bot_namespace_id=self.namespaces[path])
            yield bot(Kind.PROJECT, f"project:{path}", username=f"project_{project}_bot")
            yield bot(Kind.PROJECT, f"project:{path}", username=f"project_{project}_bot2", bot_namespace_id=None)
        for path, group in self.groups.items():
            if path == "erika":
                continue
            owner = bot(Kind.GROUP, f"group:{path}", username=f"group_{group}_bot_a")
            member(user_id=owner.id, group_id=group)
            yield owner
            yield bot(Kind.GROUP, f"group:{path}", bot_namespace_id=group)
            yield bot(Kind.GROUP, f"group:{path}", username=f"group_{group}_bot_c")
        both = bot(Kind.PROJECT, "project:alpha/app", "group:delta", "project:delta/app")
        member(user_id=both.id, group_id=self.groups["delta"])
        member(user_id=both.id, project_id=self.projects["alpha/app"])
        member(user_id=both.id, project_id=self.projects["delta/app"])
        yield both
        asking = bot(Kind.GROUP, "group:delta", username=f"group_{self.groups['delta']}_bot_asking")
        member(user_id=asking.id, project_id=self.projects["alpha/app"], requested_at="2024-01-01 00:00:00")
        yield asking
        lost = bot(Kind.PROJECT, username=f"project_{self.projects['alpha/app']}_bot_lost")
        member(user_id=lost.id, project_id=10**6, member_namespace_id=self.groups["empty"])
        yield lost
        yield bot(Kind.PROJECT, username=f"project_{'9' * 40}_bot")
        yield bot(Kind.OTHER, username="robot")
        yield bot(Kind.OTHER, username=f"my_project_{self.projects['alpha/app']}_bot")

    def service_accounts(self) -> Iterator[Owner]:
        account = partial(self.user, Kind.SERVICE_ACCOUNT, user_type=13)
        yield account()
        yield account(bot_namespace_id=None)
        for path in ("alpha", "alpha/beta/gamma", "alphabet"):
            owner = self.user(
                Kind.SERVICE_ACCOUNT, f"group:{path}", user_type=13, provisioned_by_group_id=self.groups[path]
            )
            yield owner
        for path in ("alpha/beta/app", "delta/app"):
            owner = self.user(
                Kind.SERVICE_ACCOUNT, f"project:{path}", user_type=13, provisioned_by_project_id=self.projects[path]
            )
            yield owner
        member = account(username="member")
        make_membership(self.connection, user_id=member.id, group_id=self.groups["alpha"])
        yield member

    def others(self) -> Iterator[Owner]:
        for user_type in (1, 5, 17):
            yield self.user(Kind.OTHER, user_type=user_type)


# Selections


def seldom(values: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    """Most of a selection's parts are not named, or it would mean no token at all."""
    return st.one_of(*[st.just(otherwise)] * 3, values)


def several(values: Iterable[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=most, unique=True).map(tuple)


def mixed_case(values: Iterable[str]) -> list[str]:
    return [case(value) for value in values for case in (str, str.upper, str.lower, str.swapcase)]


def ranges(days: list[ExpirationDate]) -> st.SearchStrategy[DateRange]:
    return st.lists(st.sampled_from(days), min_size=2, max_size=2).map(sorted).map(lambda ends: DateRange(*ends))


PIECES = (*"*?[]-^\\ab_%.x\n$ (){}|+#&~!", "[a-z]", "部", "🚀")
globs = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@st.composite
def globs_for(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    """A glob that has something in common with one of the names."""
    name = draw(st.sampled_from(names))
    start = draw(st.integers(0, len(name)))
    end = draw(st.integers(start, len(name)))
    return name[:start] + draw(st.sampled_from(["*", "?", ""])) + name[end:]


def test_no_pattern_that_may_be_given_keeps_the_server_busy(empty_database: Address) -> None:
    pieces = ("*", "*a", "*?", "?", "a*?", "b*", "-")
    names = [piece * (1000 // len(piece)) for piece in pieces] + ["*a*b" * 60 + "c", "*a*b" * 60]
    with psycopg.connect(empty_database.conninfo) as connection:
        connection.execute("SET statement_timeout = '20s'")
        statement = "SELECT count(*) FROM unnest(%s::text[]) p(pattern) WHERE repeat('ab', 127) LIKE pattern"
        assert connection.execute(statement, [list(map(pattern, names))]).fetchone() == (2,)


def is_like(text: str, name: str) -> bool:
    """Whether `text` is `name`, in which `*` and `?` are what they are to Python, and a bracket is none."""
    return fnmatch.fnmatchcase(text, name.replace("[", "[[]"))


def selections(world: World) -> st.SearchStrategy[Selection]:
    days = sorted({token.expires for token in world.tokens if token.expires is not None})
    usernames = [owner.username for owner in world.owners] + ["nobody"]
    chosen_days = seldom(st.sampled_from(DAYS), None)
    return st.builds(
        Selection,
        expires=st.one_of(
            st.just(()), st.lists(st.one_of(st.none(), ranges(days), ranges(days)), max_size=3).map(tuple)
        ),
        kinds=st.one_of(st.none(), st.frozensets(st.sampled_from(Kind)), st.just(EVERY_KIND)),
        states=st.one_of(st.frozensets(st.sampled_from(State)), st.just(EVERY_STATE)),
        users=seldom(several(mixed_case(usernames), 20), ()),
        groups=seldom(several(mixed_case([*GROUPS, "erika", "nowhere", "app", "beta"])), ()),
        projects=seldom(several(mixed_case([*PROJECTS, "alpha", "nowhere/app"])), ()),
        name=seldom(st.one_of(globs, globs_for(NAMES), globs_for(NAMES)), None),
        scopes=seldom(several(["api", "read_api", "read_user", "sudo", "k8s_proxy", "read.api", "API", "ap"], 2), ()),
        last_used_before=chosen_days,
        last_used_after=chosen_days,
        created_before=chosen_days,
        created_after=chosen_days,
        ids=seldom(several([*(token.id for token in world.tokens), 2**63 - 1], 200), None),
    )


@contextmanager
def world_in(address: Address) -> Iterator[World]:
    with make_engine(address).begin() as connection:
        world = World(connection)
    with make_engine(address).connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))
    yield world


@pytest.mark.slow
def test_any_selection_means_the_tokens_that_a_plain_reading_of_the_rows_finds(gitlab_database: Address) -> None:
    with world_in(gitlab_database) as world, database.reading(gitlab_database) as connection:
        schema = read_schema(connection)
        # Of the transaction, in which every example is tried.
        today = ExpirationDate.stored(connection.row("SELECT CAST((now() AT TIME ZONE 'UTC')::date AS text)")[0])
        classes = {token.id: (token.kind, token.state(today)) for token in world.tokens}

        @settings(max_examples=500 if is_newest(gitlab_database) else 100)
        @given(selections(world))
        @example(Selection(()))
        @example(Selection((), kinds=EVERY_KIND, states=EVERY_STATE))
        @example(Selection((), EVERY_KIND, EVERY_STATE, groups=("alpha",)))
        @example(Selection((), EVERY_KIND, EVERY_STATE, projects=("alpha/app",)))
        def agree(selection: Selection) -> None:
            in_scope = {token.id for token in world.tokens if meant(selection, token)}
            scope = selection.scope(schema)
            found = {
                row.id: (Kind(row.kind), State(row.state))
                for row in connection.rows(
                    f"""
                    SELECT t.id, {kind_expression(schema)} AS kind, {STATE_EXPRESSION} AS state
                    {FROM}
                    WHERE {scope.sql}
                    """,
                    **scope.parameters,
                )
            }
            assert found == {id_: classes[id_] for id_ in in_scope}
            kinds = EVERY_KIND - {Kind.IMPERSONATION} if selection.kinds is None else selection.kinds
            expected = [id_ for id_, (kind, state) in found.items() if kind in kinds and state in selection.states]
            assert selected(connection, schema, selection) == sorted(expected)
            assert sorted(id_ for id_, class_ in found.items() if selection.selects(*class_)) == sorted(expected)

        agree()


def test_a_name_is_matched_as_python_matches_it(gitlab_database: Address) -> None:
    texts = st.text(st.sampled_from("ab]-[^\\_%.\n!{}$é部"), max_size=6)
    with database.reading(gitlab_database) as connection:

        @settings(max_examples=150)
        @given(st.lists(st.one_of(globs, texts), min_size=1, max_size=20), texts)
        def agree(patterns: list[str], text: str) -> None:
            rows = connection.rows(
                """
                SELECT CAST(%(text)s AS text) LIKE pattern AS matches
                FROM unnest(CAST(%(patterns)s AS text[])) WITH ORDINALITY AS p (pattern, position)
                ORDER BY position
                """,
                text=text,
                patterns=[pattern(one) for one in patterns],
            )
            assert [row.matches for row in rows] == [is_like(text, one) for one in patterns]

        agree()


@pytest.mark.each_release
def test_everything_can_be_named_on_every_release(gitlab_database_at: Callable[[str], Address], revision: str) -> None:
    address = gitlab_database_at(revision)
    with make_engine(address).begin() as connection:
        group = make_group(connection, path="group")
        below = make_group(connection, path="below", parent_id=group)
        project = make_project(connection, path="project", namespace_id=below)
        member, nameless = (make_user(connection, user_type=6) for _ in range(2))
        make_membership(connection, user_id=member, project_id=project)
        named = make_user(connection, user_type=6, username=f"project_{project}_bot_a")
        account = make_user(connection, user_type=13, provisioned_by_group_id=below)
        columns = {"expires_at": "2024-06-15", "name": "ci", "created_at": "2023-01-01 00:00:00"}
        tokens = [make_token(connection, user_id=user, **columns) for user in (member, named, account, nameless)]
        person = make_token(connection, user_id=make_user(connection, username="erika"), **columns)
    everything = Selection(
        (one_day("2024-06-15"), None),
        kinds=EVERY_KIND,
        states=frozenset({State.ACTIVE, State.EXPIRED}),
        users=("erika",),
        groups=("group",),
        projects=("group/below/project",),
        name="c?",
        scopes=("api",),
        last_used_before=date(2024, 1, 1),
        created_before=date(2024, 1, 1),
        created_after=date(2023, 1, 1),
        ids=(*tokens, person),
    )
    with database.reading(address) as connection:
        schema = read_schema(connection)
        check_names(connection, schema, everything)
        assert selected(connection, schema, everything) == [*tokens[:3], person]
        only = replace(everything, kinds=frozenset({Kind.PROJECT}), states=EVERY_STATE)
        assert selected(connection, schema, only) == tokens[:2]
        assert selected(connection, schema, replace(everything, last_used_after=date(2023, 1, 1))) == []


def test_who_and_what_is_not_there_is_named(gitlab_database: Address) -> None:
    with make_engine(gitlab_database).begin() as connection:
        make_user(connection, username="Erika")
        make_user(connection, username="twin")
        make_user(connection, username="TWIN")
        make_group(connection, path="erika", type="User")
        group = make_group(connection, path="Group")
        make_project(connection, path="project", namespace_id=group)
    fine = Selection((), users=("erika", "Erika"), groups=("group",), projects=("GROUP/project",))
    faulty = Selection(
        (),
        users=("erika", "nobody", "Twin"),
        groups=("erika", "group/project", "group"),
        projects=("group", "group/project"),
    )
    with database.reading(gitlab_database) as connection:
        schema = read_schema(connection)
        check_names(connection, schema, Selection(()))
        check_names(connection, schema, fine)
        with pytest.raises(UsageError) as raised:
            check_names(connection, schema, faulty)
        assert str(raised.value) == (
            'This GitLab has 2 users "Twin", no user "nobody", no group "erika", no group "group/project", '
            'no project "group" (did you mean "Group/project"?); '
            "give usernames, and full paths such as group/subgroup/project."
        )
        with pytest.raises(UsageError, match="leave --group and --project out"):
            check_names(connection, NO_SCHEMA, fine)


def test_every_token_of_a_date_is_meant_by_that_alone() -> None:
    condition = Selection.every(DAY).condition(NO_SCHEMA)
    assert condition.sql == "t.expires_at = CAST(%(selected_first_1)s AS date)"
    assert condition.parameters == {"selected_first_1": "2024-06-15"}
    assert Selection.every(DAY).scope(NO_SCHEMA) == condition
    assert all(Selection.every(DAY).selects(kind, state) for kind in Kind for state in State)


def test_without_a_kind_none_is_worked_out() -> None:
    selection = Selection((None,))
    assert "members" not in selection.condition(NO_SCHEMA).sql
    assert [kind for kind in Kind if not selection.selects(kind, State.ACTIVE)] == [Kind.IMPERSONATION]
    assert [state for state in State if selection.selects(Kind.OTHER, state)] == [State.ACTIVE]


def test_no_value_has_a_name_that_others_use() -> None:
    everything = Selection(
        (one_day("2024-06-15"), DateRange(DAY, DAY + 1)),
        users=("a",),
        groups=("a",),
        projects=("a",),
        name="a",
        scopes=("api", "b"),
        last_used_before=date.min,
        last_used_after=date.min,
        created_before=date.min,
        created_after=date.min,
        ids=(1,),
    )
    condition = everything.condition(NO_SCHEMA)
    assert all(name.startswith("selected_") for name in condition.parameters)
    assert set(re.findall(r"%\((\w+)\)s", condition.sql)) == condition.parameters.keys()
    assert "%" not in re.sub(r"%\(\w+\)s", "", condition.sql)


@pytest.mark.parametrize(
    ("selection", "shown", "recorded"),
    [
        (
            Selection((DateRange(DAY, DAY + 5), None), frozenset({Kind.GROUP, Kind.PROJECT})),
            "expires 2024-06-15..2024-06-20, none; kind project, group; state active",
            {"expires": ["2024-06-15..2024-06-20", "none"], "kind": ["project", "group"], "state": ["active"]},
        ),
        (
            Selection.every(ExpirationDate.stored("infinity")),
            "expires Infinity; kind any; state any",
            {
                "expires": ["Infinity"],
                "kind": ["personal", "impersonation", "project", "group", "service-account", "other"],
                "state": ["active", "expired", "revoked"],
            },
        ),
        (
            Selection(
                (one_day("2024-06-15"),),
                users=("erika",),
                name="ci *",
                last_used_before=date(2024, 1, 2),
                ids=(4, 5, 6),
            ),
            'expires 2024-06-15; state active; user erika; name "ci *"; last used before 2024-01-02; 3 ids',
            {
                "expires": ["2024-06-15"],
                "state": ["active"],
                "user": ["erika"],
                "name": "ci *",
                "last_used_before": "2024-01-02",
                "ids": 3,
            },
        ),
    ],
)
def test_a_selection_says_what_it_names(selection: Selection, shown: str, recorded: dict[str, object]) -> None:
    assert str(selection) == shown
    assert selection.as_dict() == recorded
    assert json.loads(json.dumps(selection.as_dict())) == recorded

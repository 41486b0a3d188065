"""Extensions, revocations and their undos over the same tokens in any order, against a model of a few lines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_membership, make_project, make_token, make_user
from tests.testbed.runs import begin_run, everything, execute, query
from tests.testbed.servers import Alone
from tokens.address import Address
from tokens.change.change import Change
from tokens.change.plan import Plan, RunKind, make_plan
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal.record import Recorder
from tokens.run.batches import Finished, run
from tokens.run.undo import plan_to_undo
from tokens.selection import EVERY_KIND, EVERY_STATE, Selection

# The orders that people think of are in test_apply.py and test_revoke.py.
pytestmark = pytest.mark.slow

BOT = 6
IDS = (1, 2, 3, 4)
DAYS = ("2099-06-15", "2099-06-16", "2099-06-17")


BEGINNING = (
    "TRUNCATE token_tasks.runs, token_tasks.entries RESTART IDENTITY CASCADE",
    """
    UPDATE public.personal_access_tokens t
    SET
      expires_at = b.expires_at,
      revoked = b.revoked,
      updated_at = '2024-01-01 00:00:00.000001',
      seven_days_notification_sent_at = '2099-06-08 01:00+00'
    FROM public.tokens_before b
    WHERE b.id = t.id
    """,
    "UPDATE public.members m SET expires_at = b.expires_at FROM public.members_before b WHERE b.id = m.id",
)


@dataclass(frozen=True)
class Token:
    """What a change may change."""

    day: str
    revoked: bool | None
    updated_at: str


@dataclass
class Run:
    """What a run has changed, by id: what was before and what it made of it; and what undos of it have put back."""

    changed: dict[int, tuple[Token, Token]]
    revokes: bool
    back: set[int] = field(default_factory=set)

    def is_put_back(self, one: int, now: Token) -> bool:
        """Whether nothing is left to undo of this token."""
        before = self.changed[one][0]
        return one in self.back and (now.revoked is not True if self.revokes else now.day == before.day)

    def stands(self, one: int, now: Token) -> bool:
        """Whether the token is as the run left it."""
        made = self.changed[one][1]
        if self.revokes:
            return now.revoked is True and now.updated_at == made.updated_at
        return now.day == made.day

    def undone(self, one: int, now: Token) -> Token:
        """The token as an undo makes it."""
        before = self.changed[one][0]
        if self.revokes:
            return replace(now, revoked=before.revoked, updated_at=before.updated_at)
        return replace(now, day=before.day)


@dataclass(frozen=True)
class Extend:
    ids: frozenset[int]
    day: str


@dataclass(frozen=True)
class Revoke:
    ids: frozenset[int]


@dataclass(frozen=True)
class Undo:
    """Of the run at this place, counted round."""

    place: int


@dataclass(frozen=True)
class Touch:
    """Something that somebody else does to a token, as SQL."""

    id: int
    what: str


Step = Extend | Revoke | Undo | Touch

some_ids = st.frozensets(st.sampled_from(IDS), min_size=1)
extensions = st.builds(Extend, some_ids, st.sampled_from(DAYS))
revocations = st.builds(Revoke, some_ids)
ours = st.one_of(extensions, revocations, st.builds(Undo, st.integers(0, 9)))
touches = st.builds(
    Touch,
    st.sampled_from(IDS),
    st.sampled_from(
        (
            "revoked = true, updated_at = '2026-01-01'",
            "revoked = false, updated_at = '2026-01-02'",
            "updated_at = '2026-01-03'",
            "expires_at = '2099-06-16'",
        )
    ),
)


@pytest.fixture(scope="module")
def address(alone: Alone) -> Iterator[Address]:
    """A journal, two tokens of a person and two of a bot whose membership ends before some of the dates."""
    with alone.database(journal=True) as address:
        with make_engine(address).begin() as connection:
            bot = make_user(connection, user_type=BOT)
            make_membership(connection, user_id=bot, project_id=make_project(connection), expires_at=DAYS[0])
            for owner in (make_user(connection), bot):
                for revoked in (False, None):
                    make_token(connection, expires_at=DAYS[0], user_id=owner, revoked=revoked)
        for table, of in (("tokens_before", "personal_access_tokens"), ("members_before", "members")):
            execute(address, f"CREATE TABLE public.{table} AS SELECT * FROM public.{of}")
        yield address


class World:
    """The model and the database, which must say the same after each step."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.runs: dict[int, Run] = {}
        for statement in BEGINNING:
            execute(address, statement)
        self.tokens = self.read()

    def read(self) -> dict[int, Token]:
        statement = """
            SELECT id, CAST(expires_at AS text), revoked, CAST(updated_at AS text)
            FROM public.personal_access_tokens ORDER BY id
        """
        return {row[0]: Token(*row[1:]) for row in query(self.address, statement)}

    def take(self, step: Step) -> None:
        match step:
            case Extend(ids, day):
                chosen = Selection((), EVERY_KIND, EVERY_STATE, ids=tuple(sorted(ids)))
                change = Change(ExpirationDate.typed(day))
                self.run(make_plan(self.address, RunKind.EXTEND, chosen, change))
            case Revoke(ids):
                chosen = Selection((), EVERY_KIND, ids=tuple(sorted(ids)))
                self.run(make_plan(self.address, RunKind.REVOKE, chosen, Change(revokes=True)))
            case Undo(place) if self.runs:
                self.undo(list(self.runs)[place % len(self.runs)])
            case Touch(one, what):
                execute(self.address, f"UPDATE public.personal_access_tokens SET {what} WHERE id = :id", id=one)
                self.tokens[one] = self.read()[one]
        assert self.read() == self.tokens

    def run(self, plan: Plan) -> None:
        revokes = plan.change.revokes
        chosen = {one for chunk in plan.chunks for one in chunk.ids}
        if revokes:
            assert all(self.tokens[one].revoked is not True for one in chosen)
        if not chosen:
            return
        record = begin_run(self.address, plan)
        assert self.carry_out(plan, record) == Finished(len(chosen))
        now = self.read()
        if revokes:
            (moment,) = {now[one].updated_at for one in chosen}
            assert moment > max(token.updated_at for token in self.tokens.values())
            made = {one: replace(self.tokens[one], revoked=True, updated_at=moment) for one in chosen}
        else:
            made = {one: replace(self.tokens[one], day=plan.change.to.literal) for one in chosen if plan.change.to}
        self.runs[record.run] = Run({one: (self.tokens[one], made[one]) for one in chosen}, revokes)
        self.tokens |= made

    def undo(self, number: int) -> int:
        """Undo a run as the task does; how many tokens came back."""
        one = self.runs[number]
        left = [id_ for id_ in sorted(one.changed) if not one.is_put_back(id_, self.tokens[id_])]
        standing = {id_ for id_ in left if one.stands(id_, self.tokens[id_])}
        found = plan_to_undo(self.address, number)
        assert found.changed_since == tuple(id_ for id_ in left if id_ not in standing)
        assert (found.tokens, found.put_back) == (len(standing), len(one.changed) - len(left))
        assert ("reviving" in found.guards) == (one.revokes and bool(standing))
        if standing:
            record = begin_run(self.address, found.plan)
            end = Finished(len(standing), changed_meanwhile=len(left) - len(standing))
            assert self.carry_out(found.plan, record) == end
            self.tokens |= {id_: one.undone(id_, self.tokens[id_]) for id_ in standing}
            one.back |= standing
        return len(standing)

    def carry_out(self, plan: Plan, record: Recorder) -> Finished:
        *_, end = run(self.address, plan, record, pause=lambda seconds: None)
        assert isinstance(end, Finished)
        return end


def test_after_each_step_the_table_is_as_the_model_says(address: Address) -> None:
    @settings(max_examples=25)
    @given(st.lists(st.one_of(ours, touches), min_size=2, max_size=9))
    def agree(steps: Sequence[Step]) -> None:
        world = World(address)
        for step in steps:
            world.take(step)

    agree()


def test_the_last_one_undone_first_gives_memberships_and_notices_back_too(address: Address) -> None:
    @settings(max_examples=8)
    @given(st.lists(st.one_of(extensions, revocations), min_size=2, max_size=5))
    def come_back(steps: Sequence[Step]) -> None:
        world = World(address)
        before = everything(address)
        for step in steps:
            world.take(step)
        for number in reversed(list(world.runs)):
            world.undo(number)
        assert everything(address) == before

    come_back()


def test_runs_that_nobody_disturbs_are_undone_in_any_order_to_the_checksum(address: Address) -> None:
    @settings(max_examples=12)
    @given(st.lists(ours, min_size=2, max_size=6), st.randoms(use_true_random=False))
    def come_back(steps: Sequence[Step], random: Random) -> None:
        world = World(address)
        before, _ = everything(address)
        for number, step in enumerate(steps, 1):
            # A date that was given twice would not tell by which run.
            world.take(replace(step, day=f"2100-01-{number:02}") if isinstance(step, Extend) else step)
        # One that another lies over comes back once that has.
        numbers = list(world.runs)
        random.shuffle(numbers)
        while sum(world.undo(number) for number in numbers):
            pass
        assert everything(address)[0] == before

    come_back()

"""GitLab's side of a rotation, called from Python: beside the database, and over the pipe; and a run of rotations."""

import inspect
import json
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from traceback import walk_tb
from typing import Any

import pytest
import sqlalchemy as sa

from tests.testbed.engine import make_engine
from tests.testbed.factories import make_token, make_user
from tokens import origin
from tokens.address import Address
from tokens.delivery.destination import Delivery, NewToken
from tokens.errors import ConnectionLost, Refused, TokensError, UsageError
from tokens.gitlab.digest import Keys
from tokens.gitlab.kind import SERVICE_ACCOUNT
from tokens.journal.ended import SyslogLine
from tokens.journal.installation import JournalMissing, RunState
from tokens.rotation import AGENT, agent, wire
from tokens.rotation.backend import Backend, Question, Retired, Survey
from tokens.rotation.candidate import Search
from tokens.rotation.local import LocalBackend
from tokens.rotation.remote import RemoteBackend
from tokens.rotation.retirement import Retirement
from tokens.rotation.rotator import End
from tokens.rotation.run import AfterFailed, Began, Ended, Rotated, run
from tokens.rotation.stage import Stage
from tokens.secret import Secret
from tokens.selection import EVERY_KIND, EVERY_STATE, Selection
from tokens.targets.here.site import Site
from tokens.targets.there import remote
from tokens.targets.there.client import ClientError, SecretAnswer, ask_secretly
from tokens.targets.there.docker import Container
from tokens.targets.there.remote import RemoteCommand, SessionLost

pytestmark = pytest.mark.newest_server  # test_rotation.py and test_releases.py have these statements on every server

KEYS = Keys.of(["0badcafe" * 16])
SOON = datetime.now(UTC).date() + timedelta(days=5)
EVERY = Selection((), kinds=EVERY_KIND, states=EVERY_STATE)
HIDDEN = "glpat-hidden-from-every-frame"


@pytest.fixture
def address(installed: Address) -> Address:
    return installed


def service_account(address: Address, name: str) -> int:
    """The token of a service account of its own."""
    with make_engine(address).begin() as connection:
        user = make_user(connection, username=name, user_type=SERVICE_ACCOUNT)
        return make_token(connection, user_id=user, name=f"of {name}", expires_at=SOON)


def value(address: Address, statement: str) -> Any:
    with make_engine(address).begin() as connection:
        return connection.execute(sa.text(statement)).scalar()


def local(address: Address) -> LocalBackend:
    return LocalBackend(Site(address), origin.here(), keys=KEYS)


def of_token(token: int, **asked: Any) -> Question:
    return Question(Search(EVERY, token=str(token)), 365, **{"of_all": False, "named": True} | asked)


class Kept(Delivery):
    """Keeps the tokens that it is given."""

    def __init__(self) -> None:
        self.tokens: list[Secret] = []

    def check(self, tokens: Sequence[NewToken]) -> None: ...

    def deliver(self, token: Secret, about: NewToken) -> None:
        self.tokens.append(token)

    def place(self, about: NewToken) -> str:
        return "here"


# The survey


def test_the_protocol_is_small() -> None:
    methods = [name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")]
    assert len(methods) <= 11


def test_one_survey_answers_all_that_is_asked_before_the_question(address: Address) -> None:
    token = service_account(address, "inventory")
    found = local(address).survey(of_token(token, asks_url=True, unattended=True))
    assert [one.id for one in found.found] == [token]
    assert found.plan is not None
    assert [one.rotation for one in found.remaining] == list(found.plan.rotations)
    assert (found.journal, found.keys, found.fault) == (None, None, None)
    assert isinstance(found.url_fault, UsageError)
    assert "GitLab's URL is not in its database" in str(found.url_fault)
    without = LocalBackend(Site(address), origin.here()).survey(of_token(token))
    assert isinstance(without.keys, UsageError)
    assert (without.url, without.url_fault) == (None, None)


def test_a_survey_plans_what_is_decided_and_leaves_a_choice_to_a_person(address: Address) -> None:
    tokens = [service_account(address, name) for name in ("one", "two")]
    question = Question(Search(EVERY), 365, selects=False, of_all=False)
    found = local(address).survey(question)
    assert [one.id for one in found.free] == tokens
    assert (found.plan, found.remaining, found.widened) == (None, (), False)
    chosen = local(address).survey(replace(question, chosen=found.found[1:]))
    assert chosen.plan is not None
    assert [one.candidate for one in chosen.plan.rotations] == list(found.found[1:])
    both = local(address).survey(replace(question, selects=True, of_all=True))
    assert both.plan is not None
    assert [one.candidate.id for one in both.plan.rotations] == tokens


def test_a_survey_says_what_keeps_a_plan_from_being_made(address: Address) -> None:
    token = service_account(address, "inventory")
    found = local(address).survey(replace(of_token(token), expires_in=10_000_000))
    assert (found.plan, found.remaining) == (None, ())
    assert "later than 9999-12-31" in str(found.fault)


def test_where_nobody_can_be_asked_there_has_to_be_a_journal(gitlab_database: Address) -> None:
    token = service_account(gitlab_database, "inventory")
    with pytest.raises(JournalMissing, match=r"journal\.install$"):
        local(gitlab_database).survey(of_token(token, unattended=True))
    assert isinstance(local(gitlab_database).survey(of_token(token)).journal, JournalMissing)
    dry = LocalBackend(Site(gitlab_database), origin.here()).survey(of_token(token, dry_run=True))
    assert (dry.journal, dry.keys) == (None, None)


# Each step, asked for again


def test_whoever_has_lost_an_answer_may_ask_again(address: Address) -> None:
    backend = local(address)
    tokens = [service_account(address, name) for name in ("one", "two", "three")]
    found = backend.survey(Question(Search(EVERY), 365))
    assert found.plan is not None
    backend.begin(found.plan, None)
    first, second, third = found.plan.rotations
    for rotation in (first, second):
        assert backend.make(rotation, None).token is not None
        for _ in range(2):
            backend.mark(rotation.candidate.id, Stage.DELIVERING)
    for _ in range(2):
        assert backend.finish(first, delivered=False) == Retired(Retirement.REVOKED)
    assert backend.finish(first, delivered=True) == Retired(Retirement.REVOKED)
    # The first of its two transactions had been committed.
    backend.mark(tokens[1], Stage.DELIVERED)
    assert backend.finish(second, delivered=False) == Retired(Retirement.REVOKED)
    backend.make(third, None)
    for _ in range(2):
        backend.abandon(tokens[2])
    with pytest.raises(Refused, match="is abandoned, so it cannot become delivered"):
        backend.finish(third, delivered=False)
    assert value(address, "SELECT changed FROM token_tasks.runs") == 2


@pytest.mark.parametrize("grace", [None, 7])
def test_whoever_has_lost_the_answer_of_the_last_step_is_told_what_it_came_to(
    address: Address, grace: int | None
) -> None:
    backend = local(address)
    retired, extended, gone, replaced = tokens = [
        service_account(address, name) for name in ("one", "two", "three", "four")
    ]
    found = backend.survey(Question(Search(EVERY), 365, grace))
    assert found.plan is not None
    backend.begin(found.plan, None)
    for rotation in found.plan.rotations:
        backend.make(rotation, None)
        backend.mark(rotation.candidate.id, Stage.DELIVERING)
    with make_engine(address).begin() as connection:
        for statement in (
            f"UPDATE personal_access_tokens SET expires_at = expires_at + 90 WHERE id = {extended}",
            f"DELETE FROM personal_access_tokens WHERE id = {gone}",
            f"UPDATE personal_access_tokens SET revoked = true WHERE id = {replaced}",
        ):
            connection.execute(sa.text(statement))
        make_token(connection, previous_personal_access_token_id=replaced)
    expected = {
        retired: Retirement.REVOKED if grace is None else Retirement.GRACE,
        extended: Retirement.LEFT_ALONE,
        gone: Retirement.GONE,
        replaced: Retirement.REPLACED,
    }
    for _ in range(2):
        for rotation in found.plan.rotations:
            token = rotation.candidate.id
            assert backend.finish(rotation, delivered=False) == Retired(expected[token]), tokens.index(token)


def test_an_old_token_that_cannot_be_retired_is_told_beside_the_delivery(address: Address) -> None:
    backend = local(address)
    token = service_account(address, "inventory")
    found = backend.survey(of_token(token))
    assert found.plan is not None
    backend.begin(found.plan, None)
    (rotation,) = found.plan.rotations
    made = backend.make(rotation, None)
    backend.mark(token, Stage.DELIVERING)
    with make_engine(address).begin() as connection:
        connection.execute(sa.text(f"UPDATE personal_access_tokens SET revoked = true WHERE id = {made.id}"))
    finished = backend.finish(rotation, delivered=False)
    assert finished.retirement is None
    assert isinstance(finished.fault, Refused)
    assert value(address, "SELECT state FROM token_tasks.rotations") == "delivered"


# A run


def test_a_run_is_called_from_python_and_says_what_happens(address: Address) -> None:
    tokens = [service_account(address, name) for name in ("one", "two")]
    backend, kept = local(address), Kept()
    found = backend.survey(Question(Search(EVERY), 365))

    def after(new: NewToken) -> str | None:
        return "failed with exit status 7" if new.account == "two" else None

    events = list(run(backend, found.remaining, planned=found.plan, delivery=kept, after=after, reason="because"))
    began, first, second, failed, ended = events
    assert isinstance(began, Began)
    for one, token in ((first, tokens[0]), (second, tokens[1])):
        assert isinstance(one, Rotated)
        assert (one.outcome.token_id, one.outcome.end) == (token, End.DONE)
    assert isinstance(failed, AfterFailed)
    assert (failed.new.old_id, failed.reason) == (tokens[1], "failed with exit status 7")
    assert ended == Ended(None)
    assert len(kept.tokens) == 2
    assert value(address, "SELECT state || ' ' || reason FROM token_tasks.runs") == "done because"
    assert value(address, f"SELECT count(*) FROM personal_access_tokens WHERE revoked AND id <= {tokens[1]}") == 2


def test_a_run_that_is_stopped_or_left_alone_has_an_end_in_the_journal(address: Address) -> None:
    for name in ("one", "two"):
        service_account(address, name)
    backend, kept = local(address), Kept()
    found = backend.survey(Question(Search(EVERY), 365))
    why = "SELECT stopped_because FROM token_tasks.attempts ORDER BY run_id DESC, number DESC LIMIT 1"

    def stopped() -> signal.Signals | None:
        return signal.SIGTERM if kept.tokens else None

    *_, ended = run(backend, found.remaining, planned=found.plan, delivery=kept, stop_requested=stopped)
    assert ended == Ended(signal.SIGTERM)
    assert len(kept.tokens) == 1
    assert value(address, why) == "stopped by SIGTERM"
    left = backend.survey(Question(Search(EVERY), 365, resume=1)).remaining
    with closing(run(backend, left, resume=1, delivery=kept)) as events:
        assert isinstance(next(events), Began)
    assert value(address, why) == "an unforeseen fault"
    assert value(address, "SELECT state FROM token_tasks.runs") == "stopped"
    *_, ended = run(backend, left, resume=1, delivery=kept)
    assert value(address, "SELECT state FROM token_tasks.runs") == "done"


class ForgetfulAtTheEnd(LocalBackend):
    """Loses the database at the very last step, so many times."""

    times = 1

    def end(self, state: RunState, why: str | None) -> SyslogLine | None:
        if self.times:
            self.times -= 1
            raise ConnectionLost("The connection to the database was lost.")
        return super().end(state, why)


def test_the_end_of_a_run_is_tried_again_and_its_loss_is_told(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokens.rotation.run.PAUSES", (0.01, 0.01))
    backend = ForgetfulAtTheEnd(Site(address), origin.here(), keys=KEYS)
    for name, times in (("one", 2), ("two", 3)):
        token = service_account(address, name)
        backend.times = times
        found = backend.survey(of_token(token))
        events = run(backend, found.remaining, planned=found.plan, delivery=Kept())
        assert isinstance([next(events), next(events)][1], Rotated)
        if times == 2:
            assert list(events) == [Ended(None)]
            continue
        with pytest.raises(ConnectionLost):
            list(events)
    assert value(address, "SELECT string_agg(state, ' ' ORDER BY id) FROM token_tasks.runs") == "done running"


# Over the pipe


@dataclass
class Tool:
    """The tool in a container, without a container: the agent in this process, or what it is said to answer."""

    site: Site
    says: SecretAnswer | None = None
    heard: list[dict[str, Any]] = field(default_factory=list)
    shown_by: list[tuple[object, ...]] = field(default_factory=list)
    shown = "container gitlab"
    removal = remote.removal(Container("gitlab"))

    def ask(self, words: Sequence[str], feed: bytes, patience: float, shown_by: tuple[object, ...]) -> SecretAnswer:
        assert tuple(words) == (AGENT,)
        self.heard.append(json.loads(feed))
        self.shown_by.append(shown_by)
        return self.says or SecretAnswer(0, "", Secret(agent.answer(feed.decode(), lambda: self.site)))

    def tell(self, answer: SecretAnswer) -> None: ...

    def forget(self) -> None: ...


class Cut(Tool):
    """The same, whose answers do not come back from this step on."""

    step = "begin"

    def ask(self, words: Sequence[str], feed: bytes, patience: float, shown_by: tuple[object, ...]) -> SecretAnswer:
        answer = super().ask(words, feed, patience, shown_by)
        if self.heard[-1]["step"] != self.step:
            return answer
        raise RemoteCommand(tuple(words), caller="", terminal=False, shown_by=shown_by).lost("It was lost.")


def through(tool: Tool) -> RemoteBackend:
    return RemoteBackend(tool)  # type: ignore[arg-type]


def test_a_survey_over_the_pipe_is_what_it_is_beside_the_database(address: Address) -> None:
    token = service_account(address, "inventory")
    tool = Tool(Site(address))
    question = of_token(token, asks_url=True)
    here, there = LocalBackend(tool.site, origin.here()).survey(question), through(tool).survey(question)
    assert [one["version"] for one in tool.heard] == [wire.VERSION]
    assert there.plan is not None
    for one in fields(Survey):
        first, second = getattr(here, one.name), getattr(there, one.name)
        if isinstance(first, TokensError):
            first, second = (type(first), str(first)), (type(second), str(second))
        assert first == second, one.name


def test_another_version_is_reported_and_not_guessed(address: Address) -> None:
    tool = Tool(Site(address))
    asked: dict[str, Any] = {"version": "0.0.1/1", "step": "beat", "caller": "", "run": None, "arguments": {}}
    answered = json.loads(agent.answer(json.dumps(asked), lambda: tool.site))
    assert answered["version"] == wire.VERSION
    assert answered["fault"]["kinds"] == ["OtherVersion", "TokensError"]
    for says, version in (
        (SecretAnswer(0, "", Secret('{"version": "9.0/9", "result": {"old": "meaning"}}')), "9.0/9"),
        (SecretAnswer(0, "", Secret('{"result": null}')), "None"),
        (SecretAnswer(2, f"No idea what '{AGENT}' is!", Secret("")), "(unknown)"),
    ):
        tool.says = says
        with pytest.raises(wire.OtherVersion) as met:
            through(tool).beat()
        assert str(met.value) == (
            f"The tool that is installed in container gitlab is of version {version}, and this one of {wire.VERSION}: "
            "remove it, or install this one there."
            " → to remove what is installed there: docker exec gitlab rm -r /opt/gitlab-tokens"
        )


def test_a_fault_over_the_pipe_is_what_it_was_or_the_nearest_that_is_known() -> None:
    fault = wire.decode(TokensError, json.loads(json.dumps(wire.encode(JournalMissing("There is none.")))))
    assert (type(fault), str(fault)) == (JournalMissing, "There is none.")
    nearest = wire.decode(TokensError, {"kinds": ["OfTomorrow", "Refused", "TokensError"], "message": "No."})
    assert (type(nearest), str(nearest)) == (Refused, "No.")


def test_a_run_whose_beginning_is_not_heard_of_may_be_stored_and_is_shown_by_history(address: Address) -> None:
    token = service_account(address, "inventory")
    tool = Cut(Site(address))
    backend = through(tool)
    survey = backend.survey(of_token(token))
    assert survey.plan is not None
    with pytest.raises(TokensError) as met:
        backend.begin(survey.plan, None)
    assert str(met.value) == (
        "It was lost. No token was changed, but a run may have been stored. → to see it: gitlab-tokens history"
    )
    assert value(address, "SELECT count(*) FROM token_tasks.runs") == 1


def test_a_run_from_outside_that_is_under_way_is_to_be_stopped_where_its_process_is(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = service_account(address, "inventory")
    backend = through(Tool(Site(address)))
    survey = backend.survey(of_token(token))
    assert survey.plan is not None
    monkeypatch.setenv(origin.CALLER_VARIABLE, "alice@example.com@laptop (context a@b)")
    backend.begin(survey.plan, None)
    with pytest.raises(Refused, match=r"wait until it has ended, or stop it on laptop\. Should it be dead, it counts"):
        backend.resume(1)
    # Within a container or pod the process is there, whoever has called it.
    caller, process = {"caller": "alice@laptop"}, origin.here().process
    assert origin.machine_outside(caller, process) is None
    assert origin.machine_outside({}, f"{origin.OUTSIDE}0123") is None


class Evicted(Tool):
    """The same, whose pod is not found when it is asked for this step, the first `times`; the next one is there."""

    step, times = "survey", 1

    def ask(self, words: Sequence[str], feed: bytes, patience: float, shown_by: tuple[object, ...]) -> SecretAnswer:
        if json.loads(feed)["step"] == self.step and self.times > 0:
            self.times -= 1
            raise UsageError("No toolbox pod is ready.")
        return super().ask(words, feed, patience, shown_by)


def test_a_pod_that_is_not_found_during_a_run_is_a_lost_connection(address: Address) -> None:
    token = service_account(address, "inventory")
    tool = Evicted(Site(address))
    backend = through(tool)
    with pytest.raises(UsageError, match="No toolbox pod is ready"):
        backend.survey(of_token(token))
    survey = backend.survey(of_token(token))
    assert survey.plan is not None
    backend.begin(survey.plan, None)
    tool.step, tool.times = "abandon", 1
    with pytest.raises(ConnectionLost, match="No toolbox pod is ready"):
        backend.abandon(token)
    # Which is what a step is tried again for, in another pod.
    backend.abandon(token)
    assert [one["step"] for one in tool.heard] == ["survey", "begin", "take_over", "abandon"]


def test_what_shows_the_state_after_a_step_that_is_not_heard_of(address: Address) -> None:
    token = service_account(address, "inventory")
    tool = Tool(Site(address))
    backend = through(tool)
    survey = backend.survey(of_token(token))
    assert survey.plan is not None
    backend.install_journal()
    run = backend.begin(survey.plan, None).run
    backend.beat()
    assert tool.shown_by == [("analyze",), ("journal.status",), ("history",), ("history", "--run", run)]


# The token in clear


def seen_of(error: BaseException | None) -> str:
    """What a traceback with local variables could show of an exception, and of those that it was raised from."""
    shown = ""
    while error is not None:
        shown += repr(error) + repr(vars(error)) + repr(error.args)
        frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_filename != __file__]
        values = [value for frame in frames for value in frame.f_locals.values()]
        shown += "".join(repr(value) + repr(getattr(value, "__dict__", "")) for value in values)
        error = error.__cause__ or error.__context__
    return shown


class Shell:
    """A container that is this machine."""

    shown = "container gitlab"
    via = ""

    def __init__(self, script: str) -> None:
        self._script = script

    def command(self, script: str, words: Sequence[str], **options: object) -> list[str]:
        return ["sh", "-c", self._script if words else script, "sh", *words]

    def line(self, *words: str) -> str:
        return " ".join(words)


def cut_off() -> None:
    command = RemoteCommand((AGENT,), caller="", terminal=False)
    remote.consult(Shell(f"printf {HIDDEN}"), command, b"", 60, None, pytest.fail, print)


def of_another_shape() -> None:
    made = {"id": "no number", "token": {"$secret": HIDDEN}, "objection": None, "of_token": False}
    said = json.dumps({"version": wire.VERSION, "result": made})
    through(Tool(Site(Address("", "")), SecretAnswer(0, "", Secret(said)))).make(None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("work", "fault"),
    [
        (lambda: ask_secretly(["sh", "-c", f"printf {HIDDEN}; sleep 60"], patience=0.5, feed=b""), ClientError),
        (
            lambda: ask_secretly(["sh", "-c", f"yes {HIDDEN} | head -n 20000; kill -INT $PPID"], patience=60, feed=b""),
            KeyboardInterrupt,
        ),
        (lambda: wire.read(Secret(f'{{"$secret": "{HIDDEN}"')), ValueError),
        (lambda: wire.read(Secret(f'{{"token": {{"$secret": "{HIDDEN}"}}, "more": {"[" * 100_000}')), ValueError),
        (cut_off, SessionLost),
        (of_another_shape, wire.OtherVersion),
    ],
)
def test_no_frame_out_here_ever_holds_a_token_in_clear(work: Callable[[], object], fault: type[BaseException]) -> None:
    with pytest.raises(fault) as met:
        work()
    assert HIDDEN not in seen_of(met.value).replace(f"printf {HIDDEN}", "").replace(f"yes {HIDDEN}", "")


def test_what_has_come_whole_is_a_secret_from_the_pipe_on() -> None:
    script = f"printf '%s%s 007' '{HIDDEN}' \"$3\""
    answer = remote.consult(
        Shell(script), RemoteCommand((AGENT,), caller="", terminal=False), b"", 60, None, pytest.fail, print
    )
    assert (answer.status, answer.out.reveal()) == (7, f"{HIDDEN}")
    assert HIDDEN not in repr(answer)

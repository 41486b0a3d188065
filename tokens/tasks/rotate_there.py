"""The bench in a container or pod: each step is a run of the tool there, asked and answered in JSON over the pipe.

No run lasts longer than its step, so no idle connection can be cut, and what was asked of one that was cut is asked of
the next. Keys and database are looked at there alone; a new token comes out once, in the answer that makes it.
"""

import json
import secrets
import sys
import threading
from collections.abc import Callable
from typing import Any, get_type_hints

import invoke

from tokens.errors import ConnectionLost, TokensError
from tokens.journal.installation import RunState
from tokens.rotation import wire
from tokens.rotation.candidate import Candidate, Search
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.resumption import Resumption
from tokens.rotation.retirement import Retirement
from tokens.rotation.stage import Stage
from tokens.targets.target import RemoteTarget
from tokens.targets.there.client import ClientError, Place
from tokens.targets.there.remote import SessionLost
from tokens.tasks.rotate_bench import CHECKING, FINDING, PLANNING, Begun, Bench, Made
from tokens.tasks.target_option import Guide
from tokens.terminal import console
from tokens.terminal.printable import printable
from tokens.terminal.steps import announced

TASK = "rotate-inside"
HEARTBEAT = 20.0  # seconds; each sign of life is a run there

# Seconds for an answer. A run counts as dead after a minute; plans of long tables and GitLab's replicas take longer.
USUAL_PATIENCE = 30.0
PATIENCE = {"find": 600.0, "obstacles": 600.0, "plan": 600.0, "install_journal": 600.0, "make": 180.0}


class BenchThere:
    """The bench beside the GitLab that `target` means."""

    def __init__(self, context: invoke.Context, target: RemoteTarget) -> None:
        self.heartbeat = HEARTBEAT
        self.hurried: Callable[[], bool] = lambda: False  # nothing there can be hurried
        self._guide = Guide(context)
        self._caller = secrets.token_hex(16)
        self._target = target
        self._place: Place | None = None
        self._begun: Begun | None = None
        self._lock = threading.RLock()
        self._is_cut = False
        self._attempts = 0  # to renew
        self._told: set[str] = set()

    def find(self, search: Search) -> tuple[Candidate, ...]:
        # The way there may have lines of its own, such as that the tool is carried.
        with announced(FINDING, sys.stderr, stays=True):
            found: tuple[Candidate, ...] = self._ask(Bench.find, search=search)
        return found

    def obstacles(self, candidates: tuple[Candidate, ...], allow_personal: bool) -> dict[int, str]:
        with announced(CHECKING, sys.stderr, stays=True):
            found: dict[int, str] = self._ask(Bench.obstacles, candidates=candidates, allow_personal=allow_personal)
        return found

    def plan(
        self,
        candidates: tuple[Candidate, ...],
        expires_in: int,
        grace: int | None,
        allow_personal: bool,
    ) -> RotationPlan:
        with announced(PLANNING, sys.stderr, stays=True):
            planned: RotationPlan = self._ask(
                Bench.plan, candidates=candidates, expires_in=expires_in, grace=grace, allow_personal=allow_personal
            )
        return planned

    def left(self, run: int) -> tuple[Resumption, ...]:
        left: tuple[Resumption, ...] = self._ask(Bench.left, run=run)
        return left

    def url(self) -> str:
        return str(self._ask(Bench.url))

    def check_keys(self) -> None:
        self._ask(Bench.check_keys)

    def check_journal(self) -> None:
        self._ask(Bench.check_journal)

    def install_journal(self) -> None:
        self._ask(Bench.install_journal)

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        return self._take_on(self._ask(Bench.begin, planned=planned, reason=reason))

    def resume(self, run: int) -> Begun:
        return self._take_on(self._ask(Bench.resume, run=run))

    def make(self, rotation: Rotation, url: str | None) -> Made:
        made: Made = self._ask(Bench.make, rotation=rotation, url=url)
        return made

    def mark(self, token_id: int, reached: Stage) -> None:
        self._ask(Bench.mark, token_id=token_id, reached=reached)

    def finish(self, rotation: Rotation) -> Retirement:
        retired: Retirement = self._ask(Bench.finish, rotation=rotation)
        return retired

    def abandon(self, token_id: int) -> None:
        self._ask(Bench.abandon, token_id=token_id)

    def stage(self, token_id: int) -> Stage | None:
        stage: Stage | None = self._ask(Bench.stage, token_id=token_id)
        return stage

    def beat(self) -> None:
        self._ask(Bench.beat)

    def renew(self, wanted: int) -> Begun:
        begun: Begun = self._ask(Bench.renew, wanted=wanted)
        return begun

    def end(self, state: RunState, why: str | None) -> None:
        self._ask(Bench.end, state=state, why=why)

    def _take_on(self, begun: Begun) -> Begun:
        self._begun, self._is_cut = begun, False
        return begun

    def _ask(self, step: Callable[..., Any], **arguments: object) -> Any:
        """What the bench there answers to one step; its faults are raised here as what they were there."""
        with self._lock:  # a sign of life may be under way
            if self._is_cut and self._begun is not None:
                # The process that did not answer may still be at it: from now on it can commit nothing any more.
                self._attempts += 1
                wanted = self._begun.attempt + self._attempts
                self._begun = self._exchange(Bench.renew, wanted=wanted)
                self._attempts = 0
                self._is_cut = False
            return self._exchange(step, **arguments)

    def _exchange(self, step: Callable[..., Any], **arguments: object) -> Any:
        request = {
            "step": step.__name__,
            "caller": self._caller,
            "run": self._begun and [self._begun.run, self._begun.attempt],
            "arguments": wire.encode(arguments),
        }
        try:
            document = self._consult(json.dumps(request), PATIENCE.get(step.__name__, USUAL_PATIENCE))
        except (ClientError, SessionLost) as fault:
            self._cut()
            raise ConnectionLost(str(fault)) from None
        except BaseException:
            self._cut()
            raise
        try:
            if "fault" in document:
                raise _fault(document["fault"])
            return wire.decode(get_type_hints(step)["return"], document["result"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokensError(
                "The tool there does not answer as this one understands: remove it with bundle.clean, and what is "
                "installed there, so that both are of one version."
            ) from None

    def _cut(self) -> None:
        self._place = None  # it may be another pod by now
        self._is_cut = True

    def _consult(self, request: str, patience: float) -> dict[str, Any]:
        if self._place is None:
            self._place = self._guide.find(self._target)
        answer = self._guide.consult(self._place, (TASK,), request.encode(), patience)
        try:
            document = wire.read(answer.out)
        except ValueError:
            raise SessionLost(f"The tool in {self._place.shown} did not do its work: {answer.reason}.") from None
        # What it tells people, once: each run there says it anew.
        for line in answer.err.splitlines():
            if line not in self._told:
                self._told.add(line)
                console.tell(printable(line))
        return document if isinstance(document, dict) else {}


def _fault(document: dict[str, Any]) -> TokensError:
    """The fault that was met there, as the class of the same name."""
    kinds = {kind.__name__: kind for kind in _subclasses(TokensError)}
    return kinds.get(str(document.get("kind")), TokensError)(str(document.get("message")))


def _subclasses(kind: type[TokensError]) -> list[type[TokensError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _subclasses(child))]

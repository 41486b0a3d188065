"""The side of GitLab in a container or pod: each step is a run of the tool there, asked and answered over the pipe.

No run lasts longer than its step, so no idle connection can be cut, and what was asked of one that was cut is asked of
the next. Keys and database are looked at there alone; a new token comes out once, in the answer that makes it, and is a
Secret from the pipe on.
"""

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, get_type_hints

from tokens.call import ARROW, to_type
from tokens.errors import ConnectionLost, ExitStatus, TokensError, UsageError
from tokens.journal.ended import SyslogLine
from tokens.journal.installation import RunState
from tokens.rotation import AGENT, wire
from tokens.rotation.backend import Backend, Begun, Made, Question, Retired, Survey
from tokens.rotation.local import FINDING, PLANNING, quietly
from tokens.rotation.plan import Rotation, RotationPlan
from tokens.rotation.stage import Stage
from tokens.targets.there.client import ClientError, NoAnswer
from tokens.targets.there.remote import SessionLost
from tokens.targets.there.tool import RemoteTool

INTERVAL = 20.0  # seconds between two heartbeats; each is a run there

# Seconds for an answer. A run counts as dead after a minute; plans of long tables and GitLab's replicas take longer.
USUAL_PATIENCE = 30.0
PATIENCE = {"survey": 1800.0, "install_journal": 600.0, "make": 180.0}

# What shows the state where the answer to a step is lost; else the runs do.
SHOWN_BY = {"survey": ("analyze",), "install_journal": ("journal.status",)}


class RemoteBackend:
    """The backend beside the GitLab that `tool` runs at.

    Args:
        tool: the one that is asked.
        announced: names what may take long while it lasts.
    """

    def __init__(
        self,
        tool: RemoteTool,
        announced: Callable[[str], AbstractContextManager[None]] = quietly,
    ) -> None:
        self.interval = INTERVAL
        self.stop_requested: Callable[[], bool] = lambda: False  # nothing there can be hurried
        self._tool = tool
        self._announced = announced
        self._caller = secrets.token_hex(16)
        self._begun: Begun | None = None
        self._lock = threading.RLock()
        self._is_cut = False
        self._attempts = 0  # to take over

    def survey(self, question: Question) -> Survey:
        with self._announced(PLANNING if question.chosen else FINDING):
            found: Survey = self._ask(Backend.survey, question=question)
        return found

    def install_journal(self) -> None:
        self._ask(Backend.install_journal)

    def begin(self, planned: RotationPlan, reason: str | None) -> Begun:
        return self._take_on(self._ask(Backend.begin, planned=planned, reason=reason))

    def resume(self, run: int) -> Begun:
        return self._take_on(self._ask(Backend.resume, run=run))

    def make(self, rotation: Rotation, url: str | None) -> Made:
        made: Made = self._ask(Backend.make, rotation=rotation, url=url)
        return made

    def mark(self, token_id: int, reached: Stage, destination: str | None = None) -> None:
        self._ask(Backend.mark, token_id=token_id, reached=reached, destination=destination)

    def finish(self, rotation: Rotation, delivered: bool) -> Retired:
        retired: Retired = self._ask(Backend.finish, rotation=rotation, delivered=delivered)
        return retired

    def abandon(self, token_id: int) -> None:
        self._ask(Backend.abandon, token_id=token_id)

    def beat(self) -> None:
        self._ask(Backend.beat)

    def take_over(self, attempt: int) -> Begun:
        return self._take_on(self._ask(Backend.take_over, attempt=attempt))

    def end(self, state: RunState, why: str | None) -> SyslogLine | None:
        ended: SyslogLine | None = self._ask(Backend.end, state=state, why=why)
        return ended

    def _take_on(self, begun: Begun) -> Begun:
        self._begun, self._is_cut = begun, False
        return begun

    def _ask(self, step: Callable[..., Any], **arguments: object) -> Any:
        """What the backend there answers to one step; its faults are raised here as what they were there."""
        with self._lock:  # a heartbeat may be under way
            if self._is_cut and self._begun is not None:
                # The process that did not answer may still be at it: from now on it can commit nothing any more.
                self._attempts += 1
                wanted = self._begun.attempt + self._attempts
                self._begun = self._exchange(Backend.take_over, attempt=wanted)
                self._attempts = 0
                self._is_cut = False
            return self._exchange(step, **arguments)

    def _exchange(self, step: Callable[..., Any], **arguments: object) -> Any:
        request = {
            "version": wire.VERSION,
            "step": step.__name__,
            "caller": self._caller,
            "run": self._begun and [self._begun.run, self._begun.attempt],
            "arguments": wire.encode(arguments),
        }
        try:
            document = self._consult(json.dumps(request), step.__name__)
        except (ClientError, SessionLost, UsageError) as fault:
            self._cut()
            if isinstance(fault, UsageError) and self._begun is None:
                raise  # the place was named wrongly; later it was there, and is replaced or not ready
            stored = step.__name__ == "begin" and isinstance(fault, SessionLost | NoAnswer)
            said = str(fault)
            if stored:
                said = f"{said.partition(ARROW)[0]} No token was changed, but a run may have been stored."
                said += to_type("to see it", "history")
            raise ConnectionLost(said) from None
        except BaseException:
            self._cut()
            raise
        try:
            if (version := document.get("version")) != wire.VERSION:
                raise self._other_version(str(version))
            if "fault" not in document:
                return wire.decode(get_type_hints(step)["return"], document["result"])
            met: TokensError = wire.decode(TokensError, document["fault"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise wire.OtherVersion(
                "The tool there does not answer as this one understands: remove it, also where it is installed there, "
                f"so that both are of one version.{to_type('to remove what was carried there', 'bundle.clean')}"
            ) from None
        raise met

    def _other_version(self, version: str) -> wire.OtherVersion:
        # What was carried is found by the checksum of this very version: another one was installed.
        return wire.OtherVersion(
            f"The tool that is installed in {self._tool.shown} is of version {version}, and this one of "
            f"{wire.VERSION}: remove it, or install this one there.{self._tool.removal}"
        )

    def _cut(self) -> None:
        self._tool.forget()
        self._is_cut = True

    def _consult(self, request: str, step: str) -> dict[str, Any]:
        shown_by: tuple[object, ...] = SHOWN_BY.get(step, ("history",))
        if self._begun is not None:
            shown_by = ("history", "--run", self._begun.run)
        said = self._tool.ask((AGENT,), request.encode(), PATIENCE.get(step, USUAL_PATIENCE), shown_by)
        try:
            document = wire.read(said.out)
        except ValueError:
            if said.status == ExitStatus.USAGE and AGENT in said.err:
                raise self._other_version("(unknown)") from None
            raise SessionLost(f"The tool in {self._tool.shown} did not do its work: {said.reason}.") from None
        self._tool.tell(said)
        return document if isinstance(document, dict) else {}

"""From an agreed plan to its end: the run with its progress, and what came of it."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from tokens.address import Address
from tokens.call import to_type
from tokens.change.plan import Plan, RunKind
from tokens.commands import next_steps
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.report import Report
from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import ExitStatus
from tokens.journal.record import Recorder
from tokens.run.batches import BatchCommitted, Event, Finished, Recounted, Reread, RunFailed, Waiting, run
from tokens.run.standbys import reasons_to_wait
from tokens.targets.here.site import Site
from tokens.terminal.interruption import stop_requests
from tokens.terminal.progress import ProgressBar, duration

MAX_LAG = 10.0  # seconds
DISCOVERED = (
    "Standbys that database.yml has GitLab find by DNS (load_balancing: discover) are not waited for: name them with "
    "--standby."
)


@dataclass
class _Course:
    """How far a run is: what there is to say of it, whenever it has to be said.

    `tokens` are those of the plan, or what is left of it where another process has gone on with the run; `end` is None
    until all of them have had their turn.
    """

    plan: Plan
    recorder: Recorder
    tokens: int
    began: float = field(default_factory=time.monotonic)
    dealt_with: int = 0
    recounted: int | None = None
    end: Finished | None = None

    def changed(self) -> str | None:
        """What has been changed and what to type next, None as long as nothing has."""
        if not self.dealt_with:
            return None
        run, kind = self.recorder.run, self.plan.kind
        if self.end is None:
            return f"{self.count(self.dealt_with)}{next_steps.to_go_on(run, kind)}"
        return f"{self.count(self.end.changed)}{next_steps.recorded(run, kind)}"

    def count(self, changed: int) -> str:
        """The sentence about what stays."""
        return f"{changed:,} of {counted(self.tokens, 'token')} were changed and stay so."


def carry_out(
    environment: Environment,
    site: Site,
    plan: Plan,
    begin: Callable[[], Recorder],
    handling: Handling,
    report: Report,
) -> Ending:
    """Run the plan, show how far it is, and say what came of it, also in what the Ending says.

    `begin` begins it in the journal, once all is ready for it.

    Raises:
        TokensError: nothing was changed.
    """
    with ExitStack() as stack:
        reason_to_wait = stack.enter_context(waiting_for(environment, site, handling.standbys, handling.max_lag))
        recorder = begin()
        course = _Course(plan, recorder, plan.tokens)
        report.changed = course.changed
        stack.enter_context(environment.muted_keyboard())
        stop = stack.enter_context(stop_requests())
        progress = environment.progress(plan.tokens, "tokens")
        stack.callback(progress.erase)
        events = run(site.address, plan, recorder, reason_to_wait=reason_to_wait, stop_requested=stop.made)
        try:
            _follow(events, course, environment, progress, report)
        except KeyboardInterrupt:
            return Ending(
                ExitStatus.INTERRUPTED,
                f"Stopped in the middle of a transaction, after {course.dealt_with:,} of "
                f"{counted(course.tokens, 'token')}.{next_steps.to_go_on(recorder.run, plan.kind)}",
            )
        except RunFailed as error:
            going_on = next_steps.to_go_on(recorder.run, plan.kind, reversible=error.reversible)
            return Ending(ExitStatus.FAILED, f"{error} {course.count(error.changed)}{going_on}", error)
    return _conclude(course, course.end or Finished(0), report, stop.by)


def waiting_for(
    environment: Environment,
    site: Site,
    standbys: tuple[Address, ...] | None = None,
    max_lag: float = MAX_LAG,
) -> AbstractContextManager[Callable[[Connection], str | None]]:
    """What tells a run whether to wait for a standby: those that were named, else those that the installation lists.

    `max_lag` is in seconds.
    """
    named = standbys is not None
    if not named and site.discovers_standbys:
        environment.tell(f"NOTE: {DISCOVERED}")
    return reasons_to_wait(
        site.address,
        site.standbys if standbys is None else standbys,
        max_lag=max_lag,
        named=named,
        note=lambda text: environment.tell(f"NOTE: {text}"),
    )


def _follow(
    events: Iterable[Event], course: _Course, environment: Environment, progress: ProgressBar, report: Report
) -> None:
    """Show what happens, and note it in `course`."""
    with ExitStack() as recounting:
        for event in events:
            recounting.close()
            match event:
                case Reread(tokens):
                    course.tokens = tokens
                    progress.expect(tokens)
                    report.add(left=tokens)
                    report.say(
                        "NOTE: Another process has gone on with this run since it was shown: "
                        f"{tokens:,} of {counted(course.plan.tokens, 'token')} are left."
                    )
                case BatchCommitted(dealt_with):
                    course.dealt_with = dealt_with
                    progress.update(dealt_with)
                    if dealt_with == course.tokens:
                        progress.erase()
                        recounting.enter_context(environment.announced("Counting the tokens again"))
                case Waiting(reason):
                    progress.waiting(reason)
                case Recounted(tokens):
                    course.recounted = tokens
                case Finished():
                    course.end = event


def _conclude(course: _Course, end: Finished, report: Report, stopped_by: signal.Signals | None) -> Ending:
    run, kind = course.recorder.run, course.plan.kind
    report.add(
        run=run,
        changed=end.changed,
        changed_meanwhile=end.changed_meanwhile,
        locked=end.locked,
        untouched=end.untouched,
        recounted=course.recounted,
    )
    reversible = course.recorder.has_changed(end.changed)
    going_on = next_steps.to_go_on(run, kind, reversible=reversible)
    if end.untouched or (stopped_by and end.locked):
        terminated = stopped_by in (signal.SIGTERM, signal.SIGHUP)
        return Ending(
            ExitStatus.TERMINATED if terminated else ExitStatus.INTERRUPTED,
            f"Stopped. {course.count(end.changed)}{going_on}",
        )
    tokens = counted(course.tokens, "token")
    report.say(f"Updated {end.changed:,} of {tokens} in {duration(time.monotonic() - course.began)}.")
    if course.recounted is not None:
        date = "their old date again" if kind is RunKind.UNDO else "their new date"
        report.say(f"Recounted: {course.recounted:,} of {tokens} have {date}.")
    if run is not None:
        report.say(f"Recorded as run {run}.{next_steps.to_take_back(run, kind, reversible=reversible)}")
    left = list(_left(end, course.recounted))
    if not left:
        return DONE
    listed = to_type("to see them", "history", "--run", run) if run is not None else ""
    return Ending(ExitStatus.PARTIAL, f"{'; '.join(left)}.{listed}{going_on if end.locked else ''}")


def _left(end: Finished, recounted: int | None) -> Iterator[str]:
    """What the run has not done, and why, as clauses."""
    if recounted is not None and recounted < end.changed:
        yield f"{counted(end.changed - recounted, 'token')} did not keep their new date, so something else changes them"
    if end.changed_meanwhile:
        yield f"{counted(end.changed_meanwhile, 'token')} had another date by then, or were gone, and were left alone"
    if end.locked:
        were = "was" if end.locked == 1 else "were"
        yield f"{counted(end.locked, 'token')} {were} held by another session to the end"

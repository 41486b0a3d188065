"""From an agreed plan to its end: the run with its progress, and what came of it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing

from tokens.address import Address
from tokens.call import to_type
from tokens.change.plan import Plan, RunKind
from tokens.commands import next_steps, syslog
from tokens.commands.course import Course
from tokens.commands.ending import DONE, Ending, so_far
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.run_report import RunReport
from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import ExitStatus
from tokens.journal.record import Recorder
from tokens.run.batches import Event, Finished, Reread, RunFailed, run
from tokens.run.standbys import reasons_to_wait
from tokens.targets.here.site import Site
from tokens.terminal.interruption import stop_requests
from tokens.terminal.progress import duration

MAX_LAG = 10.0  # seconds
DISCOVERED = (
    "Standbys that database.yml has GitLab find by DNS (load_balancing: discover) are not waited for: name them with "
    "--standby."
)


def carry_out(
    environment: Environment,
    site: Site,
    plan: Plan,
    begin: Callable[[], Recorder],
    handling: Handling,
    report: RunReport,
) -> Ending:
    """Run the plan, show how far it is, and say what came of it, also in what the Ending says.

    `begin` begins it in the journal, once all is ready for it.

    Raises:
        TokensError: nothing was changed.
    """
    with ExitStack() as stack:
        reason_to_wait = stack.enter_context(waiting_for(environment, site, handling.standbys, handling.max_lag))
        recorder = begin()
        stack.callback(syslog.write_run, environment, site.address, recorder.run)
        began = time.monotonic()
        course = Course(plan, recorder)
        report.changed = lambda: _changed(course)
        stack.enter_context(environment.muted_keyboard())
        stop = stack.enter_context(stop_requests())
        progress = environment.progress(plan.tokens, "tokens")
        stack.callback(progress.erase)
        events = stack.enter_context(
            closing(
                run(
                    site.address,
                    plan,
                    recorder,
                    jobs=handling.jobs,
                    reason_to_wait=reason_to_wait,
                    stop_requested=stop.made,
                )
            )
        )
        try:
            course.follow(events, environment, progress, lambda event: _tell(event, course, report))
        except KeyboardInterrupt:
            return course.interrupted()
        except RunFailed as error:
            return course.failed(error)
    return _conclude(site.address, course, course.end or Finished(0), report, stop.by, time.monotonic() - began)


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


def _changed(course: Course) -> str | None:
    """What has been changed and what to type next, None as long as nothing has."""
    if not course.dealt_with:
        return None
    if course.end is None:
        return course.so_far(course.dealt_with)
    recorded = next_steps.recorded(course.recorder, course.plan.kind)
    return f"{so_far(course.end.changed, course.tokens, 'changed')}{recorded}"


def _tell(event: Event, course: Course, report: RunReport) -> None:
    if isinstance(event, Reread):
        report.add(left=event.tokens)
        report.say(
            "NOTE: Another process has gone on with this run since it was shown: "
            f"{event.tokens:,} of {counted(course.plan.tokens, 'token')} are left."
        )


def _conclude(
    address: Address,
    course: Course,
    end: Finished,
    report: RunReport,
    stopped_by: signal.Signals | None,
    seconds: float,
) -> Ending:
    run, kind = course.recorder.run, course.plan.kind
    report.add(
        run=run,
        changed=end.changed,
        changed_meanwhile=end.changed_meanwhile,
        locked=end.locked,
        untouched=end.untouched,
        recounted=course.recounted and course.recounted.tokens,
    )
    reversible = course.recorder.has_changed(end.changed)
    if end.untouched or (stopped_by and (end.locked or course.recounted is None)):
        return course.stopped(end, stopped_by)
    tokens = counted(course.tokens, "token")
    done = "Updated"
    if course.plan.change.revokes:
        done = "Brought back" if kind is RunKind.UNDO else "Revoked"
    # An attempt before this one may have died just before it could write down its end.
    is_left = course.tokens > 0
    changed = f"{done} {end.changed:,} of {tokens} in {duration(seconds)}."
    report.say(changed if is_left else "No token was left to change.")
    if (recounted := course.recounted) is not None:
        if is_left:
            report.say(f"Recounted: {recounted.tokens:,} of {tokens} {_wanted(course.plan, course.tokens)}.")
        if of := recounted.of_before:
            before = f"{recounted.tokens_before:,} of {counted(of, 'token')} {_wanted(course.plan, of)}"
            report.say(f"Of the attempts before: {before}.")
    if run is not None:
        # Where tokens are left, the last line says it.
        take_back = next_steps.to_take_back(course.recorder, kind, reversible=reversible and not end.locked)
        report.say(f"Recorded as run {run}.{take_back}")
    lost, passed_over = course.lost(address), list(_passed_over(end, course.plan))
    if not lost and not passed_over:
        return DONE
    clauses = [lost, *passed_over] if lost else passed_over
    listed = to_type("to see them", "history", "--run", run) if passed_over and run is not None else ""
    to_go_on = course.to_go_on(reversible=reversible) if end.locked else ""
    return Ending(ExitStatus.PARTIAL, f"{'; '.join(clauses)}.{listed}{to_go_on}")


def _wanted(plan: Plan, tokens: int) -> str:
    """What is so of the tokens of a plan that has been carried out, this many, as the end of a sentence about them."""
    are, have, their = ("is", "has", "its") if tokens == 1 else ("are", "have", "their")
    if plan.change.revokes:
        return f"{are} not revoked any more" if plan.is_undo else f"{are} revoked"
    if plan.is_undo:
        return f"{have} {their} old date again"
    return f"{have} no expiration date now" if plan.change.removes else f"{have} {their} new date"


def _passed_over(end: Finished, plan: Plan) -> Iterator[str]:
    """What the run has not done of its plan, and why, as clauses."""
    if end.changed_meanwhile:
        were = "was" if end.changed_meanwhile == 1 else "were"
        tokens = counted(end.changed_meanwhile, "token")
        other = f"{were} changed or revoked by then" if plan.change.revokes else "had another date by then"
        # Of a plan from before, since which GitLab may have given ids out again.
        renumbered = "" if plan.planned_in is None else " or another's"
        yield f"{tokens} {other}, or {were} gone{renumbered}, and {were} left alone"
    if end.locked:
        were = "was" if end.locked == 1 else "were"
        yield f"{counted(end.locked, 'token')} {were} held by another session to the end"

"""From an agreed plan to its end: the run with its progress, and what came of it."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tokens import database
from tokens.address import Address
from tokens.change.plan import Plan, RunKind
from tokens.database import Connection
from tokens.errors import DatabaseError, DoneInPart, Interrupted, Terminated
from tokens.journal.record import Unrecorded
from tokens.run.batches import BatchCommitted, Event, Finished, Recounted, Reread, RunFailed, Waiting, run
from tokens.tasks.change_options import Manner
from tokens.tasks.report import Report
from tokens.terminal import console
from tokens.terminal.interruption import stop_requests
from tokens.terminal.progress import ProgressBar
from tokens.terminal.silence import muted_keyboard
from tokens.terminal.steps import announced

if TYPE_CHECKING:
    from tokens.targets.here.site import Site

MAX_LAG = 10.0  # seconds
DISCOVERED = (
    "Standbys that database.yml has GitLab find by DNS (load_balancing: discover) are not waited for: name them with "
    "--standby."
)


def carry_out(site: "Site", plan: Plan, begin: Callable[[], Unrecorded], manner: Manner, report: Report) -> None:
    """Run the plan, show how far it is, and say what came of it.

    `begin` begins it in the journal, once all is ready for it.

    Raises:
        DoneInPart: tokens were left alone or locked.
        Interrupted, Terminated: stopped; the message says how to go on.
        DatabaseError: likewise.
    """
    end, dealt_with = Finished(0), 0
    recounted: int | None = None
    tokens = plan.tokens
    written: Unrecorded | None = None
    finished = False

    def changed() -> str | None:
        if written is None or not dealt_with:
            return None
        count = end.changed if finished else dealt_with
        return f"{count} of {tokens} token(s) were changed and stay so; {_how_it_stands(plan, written, finished)}"

    report.changed = changed
    with ExitStack() as stack:
        reason_to_wait = stack.enter_context(waiting_for(site, manner.standbys, manner.max_lag))
        written = begin()
        if console.is_person_there():
            stack.enter_context(muted_keyboard(sys.stdin))
        stop = stack.enter_context(stop_requests())
        progress = ProgressBar(sys.stderr, plan.tokens, "tokens")
        stack.callback(progress.erase)
        recounting = stack.enter_context(ExitStack())
        try:
            events: Iterator[Event] = run(
                site.address, plan, written, reason_to_wait=reason_to_wait, stop_requested=stop.made
            )
            for event in events:
                recounting.close()
                match event:
                    case Reread(tokens):
                        progress.expect(tokens)
                        report.add(left=tokens)
                        report.say(
                            "NOTE: Another process has gone on with this run since it was shown: "
                            f"{tokens} of {plan.tokens} token(s) are left."
                        )
                    case BatchCommitted(dealt_with):
                        progress.update(dealt_with)
                        if dealt_with == tokens:
                            progress.erase()
                            recounting.enter_context(announced("Counting the tokens again", sys.stderr))
                    case Waiting(reason):
                        progress.waiting(reason)
                    case Recounted(recounted):
                        pass
                    case Finished():
                        end, finished = event, True
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped in the middle of a transaction, after {dealt_with} of {tokens} token(s); "
                f"{how_to_go_on(plan, written, reversible=True)}"
            ) from None
        except RunFailed as error:
            raise DatabaseError(
                f"{error} {error.changed} of {tokens} token(s) were changed and stay so; "
                f"{how_to_go_on(plan, written, reversible=error.reversible)}"
            ) from error
    _conclude(plan, tokens, written, end, recounted, report, stop.by)


def how_to_go_on(plan: Plan, written: Unrecorded, *, reversible: bool) -> str:
    """The clause that says what to type next; `reversible` is whether there may be anything to take back."""
    if written.run is None:
        return "to go on, give the same command again."
    if plan.kind is RunKind.UNDO or not reversible:
        return f"to go on: tokens.apply --run {written.run}."
    return f"to go on: tokens.apply --run {written.run}, to take it back: tokens.undo --run {written.run}."


def _how_it_stands(plan: Plan, written: Unrecorded, finished: bool) -> str:
    """The clause that says what to type next, of a run that may be complete."""
    if not finished:
        return how_to_go_on(plan, written, reversible=True)
    if written.run is None:
        return "there is no record of it."
    undo = "" if plan.kind is RunKind.UNDO else f", to take it back: tokens.undo --run {written.run}"
    return f"it is recorded as run {written.run}{undo}."


@contextmanager
def waiting_for(
    site: "Site", standbys: tuple[Address, ...] | None = None, max_lag: float = MAX_LAG
) -> Iterator[Callable[[Connection], str | None]]:
    """What tells a run whether to wait for a standby: those that were named, else those that the installation lists.

    `max_lag` is in seconds.
    """
    addresses = site.standbys if standbys is None else standbys
    if standbys is None and site.discovers_standbys:
        console.tell(f"NOTE: {DISCOVERED}")
    if not addresses:
        yield lambda _: None
        return
    from tokens.run.standbys import watch

    with ExitStack() as stack:
        with database.connect(site.address) as primary:
            named = standbys is not None
            watched = stack.enter_context(watch(primary, addresses, max_lag=max_lag, named=named))
        for note in watched.notes:
            console.tell(f"NOTE: {note}")

        def reason_to_wait(connection: Connection) -> str | None:
            lag = watched.lag(connection)
            return lag.reason if lag else None

        yield reason_to_wait


def _conclude(
    plan: Plan,
    tokens: int,
    written: Unrecorded,
    end: Finished,
    recounted: int | None,
    report: Report,
    stopped_by: signal.Signals | None,
) -> None:
    report.add(
        run=written.run,
        changed=end.changed,
        changed_meanwhile=end.changed_meanwhile,
        locked=end.locked,
        untouched=end.untouched,
        recounted=recounted,
    )
    reversible = written.has_changed(end.changed)
    going_on = how_to_go_on(plan, written, reversible=reversible)
    if end.untouched or (stopped_by and end.locked):
        message = f"Stopped. {end.changed} of {tokens} token(s) were changed and stay so; {going_on}"
        raise Terminated(message) if stopped_by in (signal.SIGTERM, signal.SIGHUP) else Interrupted(message)
    report.say(f"Updated {end.changed} of {tokens} token(s).")
    if recounted is not None:
        report.say(f"Recounted: {recounted} of {tokens} token(s) have their new date.")
    if written.run is not None:
        undo = f"; to take it back: tokens.undo --run {written.run}"
        if plan.kind is RunKind.UNDO or not reversible:
            undo = ""
        report.say(f"Recorded as run {written.run}{undo}")
    left = []
    if recounted is not None and recounted < end.changed:
        left.append(f"{end.changed - recounted} token(s) did not keep their new date, so something else changes them")
    if end.changed_meanwhile:
        left.append(f"{end.changed_meanwhile} token(s) had another date by then, or were gone, and were left alone")
    if end.locked:
        left.append(f"{end.locked} token(s) were held by another session to the end")
    if left:
        again = f": {going_on}" if end.locked else "."
        listed = f" (tokens.history --run {written.run} lists them)" if written.run is not None else ""
        raise DoneInPart(f"{'; '.join(left)}{listed}{again}")

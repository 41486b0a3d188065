"""The conversation of `edit`: what is asked and said, in the original's words."""

import dataclasses
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum
from typing import TYPE_CHECKING

from tokens import database
from tokens.change.change import Change
from tokens.change.notes import Concern
from tokens.change.plan import Plan, RunKind, make_plan, read_current_policy
from tokens.database import Connection
from tokens.errors import DatabaseError, DoneInPart, ExitStatus, Interrupted, Terminated
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.inventory import analysis
from tokens.journal.record import Unrecorded
from tokens.origin import Origin
from tokens.run.batches import BatchCommitted, BatchStarting, Finished, Recounted, RunFailed, Waiting, run
from tokens.selection import Selection
from tokens.tasks.carry_out import waiting_for
from tokens.tasks.recording import NO_WAY_BACK, begin, begin_unrecorded
from tokens.terminal import console
from tokens.terminal.interruption import stop_requests
from tokens.terminal.printable import printable
from tokens.terminal.progress import ProgressBar
from tokens.terminal.prompts import Prompts
from tokens.terminal.silence import muted_keyboard
from tokens.terminal.steps import announced
from tokens.views.analysis import screen

if TYPE_CHECKING:
    from tokens.targets.here.site import Site


class Action(IntEnum):
    """The menu's items, in its order."""

    EXTEND = 0
    REMOVE = 1
    QUIT = 2


MENU = ("Extend expiration date", "Remove expiration date", "Quit")
ABORT = "--> Abort"


class EditConversation:
    """One administrator at one terminal. Nothing is held open in the database while a question waits."""

    def __init__(self, site: "Site", who: Origin, reason: str | None, *, journal: bool) -> None:
        self._site = site
        self._address = site.address
        self._who = who
        self._reason = reason
        self._journal = journal
        self._recorded: dict[int, bool] = {}  # whether there may be anything to undo, by run
        self._in_part: set[ExpirationDate] = set()
        self._prompts = Prompts(colour=console.has_colour(sys.stdout))

    def hold(self) -> ExitStatus:
        """Show the analysis and ask what to do, until the answer is to quit.

        Returns PARTIAL where the last update of some date left tokens alone.
        """
        with database.reading(self._address) as connection:
            preflight.check(connection, preflight.CHANGE)
        if not self._journal:
            print(NO_WAY_BACK)
        try:
            while self._go_round():
                pass
        except OSError as error:
            if not self._recorded or console.is_gone(sys.stdout):
                raise
            raise DoneInPart(f"The output could not be written: {error.strerror}.") from error
        finally:
            for number, reversible in self._recorded.items():
                undo = f"; to take it back: tokens.undo --run {number}" if reversible else ""
                console.say(f"Recorded as run {number}{undo}")
        return ExitStatus.PARTIAL if self._in_part else ExitStatus.DONE

    def _go_round(self) -> bool:
        """Show the analysis, ask once and do it; False to quit."""
        with announced("Counting the tokens", sys.stderr):
            found = analysis.analyze(self._address)
        print(screen(found))
        print()
        match self._prompts.menu("What do you want to do?", MENU):
            case Action.EXTEND:
                self._extend()
            case Action.REMOVE:
                self._remove()
            case Action.QUIT:
                return False
        return True

    def _extend(self) -> None:
        old = self._choose_date()
        if old is None:
            return
        default = read_current_policy(self._address).extended(old)
        answer = self._prompts.line("What would you like the new expiration date to be?", str(default))
        if answer is None:
            return
        new = _date(answer, default)
        if new is None:
            print("Invalid date, aborting...")
            return
        planned = self._plan(old, Change(new))
        print()
        print(f"Old expiration date: {old}")
        print(f"New expiration date: {new}")
        plan = self._noted(planned)
        if plan is None:
            return
        if not self._prompts.confirm(f"WARNING: This will now update {plan.tokens} token(s). Are you sure?"):
            print("Aborting!")
            return
        self._carry_out(plan, old, "Updating tokens...\n")

    def _remove(self) -> None:
        old = self._choose_date()
        if old is None:
            return
        planned = self._plan(old, Change())
        print()
        plan = self._noted(planned)
        if plan is None:
            return
        print(f"WARNING: This will remove the expiration for tokens that expire on {old}.")
        if not self._prompts.confirm(f"This will affect {plan.tokens} tokens. Are you sure?"):
            print("Aborting!")
            return
        self._carry_out(plan, old)

    def _choose_date(self) -> ExpirationDate | None:
        """One of the commonest dates of this very moment, or None to abort."""
        with announced("Counting the tokens", sys.stderr):
            found = analysis.analyze(self._address)
        dates = [row.expires_at for row in found.dates if row.expires_at is not None]
        chosen = self._prompts.select("Select an expiration date", [*map(str, dates), ABORT])
        return dates[chosen] if chosen < len(dates) else None

    def _plan(self, old: ExpirationDate, change: Change) -> Plan:
        with announced("Making the plan", sys.stderr):
            return make_plan(self._address, RunKind.EDIT, Selection.every(old), change, release=self._site.release)

    def _noted(self, plan: Plan) -> Plan | None:
        """Show the notes; returns the plan without what the person does not want to be touched along with the dates.

        None where it would cost bots and the person wants to keep them.
        """
        for note in plan.notes:
            print(f"NOTE: {printable(note.text)}")
        counts = {note.concern: note.tokens for note in plan.notes}
        if Concern.DOOMED in counts and not self._prompts.confirm(
            f"Go on, although GitLab takes {counts[Concern.DOOMED]} bot(s) for it?"
        ):
            print("Aborting!")
            return None
        if plan.memberships and not self._prompts.confirm(
            f"Move the memberships of {counts[Concern.MEMBERSHIPS]} bot(s), too?", default=True
        ):
            plan = dataclasses.replace(plan, memberships=None)
        if plan.notices and not self._prompts.confirm(
            f"Re-arm the notices of {counts[Concern.NOTICES]} token(s), too?", default=True
        ):
            plan = dataclasses.replace(plan, notices=False)
        return plan

    def _begin(self, plan: Plan) -> Unrecorded:
        if not plan.tokens:
            return Unrecorded()
        if not self._journal:
            return begin_unrecorded(self._address)
        written = begin(self._address, plan, self._who, reason=self._reason, prompts=self._prompts)
        if written.run is None:
            self._journal = False  # asked once
        else:
            self._recorded[written.run] = True
        return written

    def _carry_out(self, plan: Plan, old: ExpirationDate, heading: str = "") -> None:
        with waiting_for(self._site) as reason_to_wait:
            written = self._begin(plan)
            print(heading, end="")
            self._run(plan, old, written, reason_to_wait)

    def _run(
        self,
        plan: Plan,
        old: ExpirationDate,
        written: Unrecorded,
        reason_to_wait: Callable[[Connection], str | None],
    ) -> None:
        progress = ProgressBar(sys.stdout, plan.tokens, "tokens")
        done = 0
        recounted: int | None = None
        with muted_keyboard(sys.stdin), stop_requests() as stop, ExitStack() as recounting:
            try:
                for event in run(self._address, plan, written, reason_to_wait=reason_to_wait, stop_requested=stop.made):
                    recounting.close()
                    match event:
                        case BatchStarting(first, last):
                            progress.print(f"Updating personal access tokens from ID {first} to {last}...")
                        case BatchCommitted(done):
                            progress.update(done)
                            if done == plan.tokens:
                                progress.erase()
                                recounting.enter_context(announced("Counting the tokens again", sys.stderr))
                        case Waiting(reason):
                            progress.waiting(reason)
                        case Recounted(recounted):
                            pass
                        case Finished():
                            progress.erase()
                            self._note(written, reversible=written.has_changed(event.changed))
                            if _is_whole(event, recounted):
                                self._in_part.discard(old)
                            else:
                                self._in_part.add(old)
                            _report(plan, old, written, event, recounted, stop.by)
            except KeyboardInterrupt:
                progress.erase()
                raise Interrupted(
                    f"Stopped in the middle of a batch, after {done} of {plan.tokens} token(s); "
                    f"{_how_to_go_on(old, written, reversible=True)}"
                ) from None
            except RunFailed as error:
                progress.erase()
                self._note(written, reversible=error.reversible)
                going_on = _how_to_go_on(old, written, reversible=error.reversible)
                raise DatabaseError(f"{error} {_so_far(plan, error.changed)} {going_on}") from error
        # What was typed meanwhile was not an answer to the next question.
        self._prompts.discard_typeahead()

    def _note(self, written: Unrecorded, *, reversible: bool) -> None:
        if written.run is not None:
            self._recorded[written.run] = reversible


def _date(answer: str, default: ExpirationDate) -> ExpirationDate | None:
    """The date that was answered, None for what is no date or none that PostgreSQL can hold."""
    try:
        date = default if answer == str(default) else ExpirationDate.typed(answer)
    except ValueError:
        return None
    return date if date.is_storable else None


def _is_whole(end: Finished, recounted: int | None) -> bool:
    """Whether every token of the plan has got its new date and kept it."""
    return not (end.changed_meanwhile or end.locked) and (recounted is None or recounted >= end.changed)


def _report(
    plan: Plan,
    old: ExpirationDate,
    written: Unrecorded,
    end: Finished,
    recounted: int | None,
    stopped_by: signal.Signals | None,
) -> None:
    if not (stopped_by and end.untouched):
        print(f"Updated {end.changed} tokens!")
    if recounted is not None and recounted < end.changed:
        print(f"NOTE: {end.changed - recounted} token(s) did not keep their new date, so something else changes them.")
    if end.changed_meanwhile:
        print(
            f"NOTE: {end.changed_meanwhile} of the {plan.tokens} token(s) no longer had the expiration date "
            f"{old} and were left alone."
        )
    if end.locked:
        print(
            f"NOTE: {end.locked} of the {plan.tokens} token(s) are locked by another session and were left alone; "
            f"choose {old} again to change them."
        )
    if stopped_by:
        left = end.untouched or end.locked
        how = _how_to_go_on(old, written, reversible=written.has_changed(end.changed))
        going_on = f"Stopped. {_so_far(plan, end.changed)} {how}"
        message = going_on if left else "Stopped; the update is complete."
        raise Interrupted(message) if stopped_by == signal.SIGINT else Terminated(message)


def _so_far(plan: Plan, changed: int) -> str:
    return f"{changed} of {plan.tokens} token(s) were updated and stay so;"


def _how_to_go_on(old: ExpirationDate, written: Unrecorded, *, reversible: bool) -> str:
    if written.run is None:
        return f"to go on, run edit again and choose {old}."
    if not reversible:
        return f"to go on: tokens.apply --run {written.run}."
    return f"to go on: tokens.apply --run {written.run}, to take it back: tokens.undo --run {written.run}."

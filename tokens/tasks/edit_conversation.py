"""The conversation of `edit`: what is asked and said, in the original's words."""

import signal
import sys
from enum import IntEnum

from tokens import analysis, database
from tokens.address import Address
from tokens.errors import DatabaseError, Interrupted, Terminated
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.plan import Plan, make_plan, read_current_policy
from tokens.run import BatchCommitted, BatchStarting, Finished, RunFailed, run
from tokens.selection import Selection
from tokens.tasks.analyze import screen
from tokens.terminal import console
from tokens.terminal.interruption import stop_requests
from tokens.terminal.keyboard import muted_keyboard
from tokens.terminal.progress import ProgressLine
from tokens.terminal.prompts import Prompts


class Action(IntEnum):
    """The menu's items, in its order."""

    EXTEND = 0
    REMOVE = 1
    QUIT = 2


MENU = ("Extend expiration date", "Remove expiration date", "Quit")
ABORT = "--> Abort"


class EditConversation:
    """One administrator at one terminal. Nothing is held open in the database while a question waits."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._prompts = Prompts(colour=console.has_colour(sys.stdout))

    def hold(self) -> None:
        """Show the analysis and ask what to do, until the answer is to quit."""
        with database.reading(self._address) as connection:
            preflight.check(connection, preflight.EDIT)
        while True:
            print(screen(analysis.analyze(self._address)))
            print()
            match self._prompts.menu("What do you want to do?", MENU):
                case Action.EXTEND:
                    self._extend()
                case Action.REMOVE:
                    self._remove()
                case Action.QUIT:
                    return

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
        plan = self._plan(old, new)
        print()
        print(f"Old expiration date: {old}")
        print(f"New expiration date: {new}")
        for note in plan.notes:
            print(f"NOTE: {note.text}")
        if not self._prompts.confirm(f"WARNING: This will now update {len(plan.tokens)} token(s). Are you sure?"):
            print("Aborting!")
            return
        print("Updating tokens...")
        self._run(plan)

    def _remove(self) -> None:
        old = self._choose_date()
        if old is None:
            return
        plan = self._plan(old, None)
        print()
        print(f"WARNING: This will remove the expiration for tokens that expire on {old}.")
        if not self._prompts.confirm(f"This will affect {len(plan.tokens)} tokens. Are you sure?"):
            print("Aborting!")
            return
        self._run(plan)

    def _choose_date(self) -> ExpirationDate | None:
        """One of the commonest dates of this very moment, or None to abort."""
        dates = [row.expires_at for row in analysis.analyze(self._address).dates if row.expires_at is not None]
        chosen = self._prompts.select("Select an expiration date", [*map(str, dates), ABORT])
        return dates[chosen] if chosen < len(dates) else None

    def _plan(self, old: ExpirationDate, new: ExpirationDate | None) -> Plan:
        return make_plan(self._address, Selection(old), new)

    def _run(self, plan: Plan) -> None:
        progress = ProgressLine(sys.stdout, len(plan.tokens), "tokens")
        done = 0
        with muted_keyboard(), stop_requests() as stop:
            try:
                for event in run(self._address, plan, stop_requested=stop.made):
                    match event:
                        case BatchStarting(first, last):
                            progress.print(f"Updating personal access tokens from ID {first} to {last}...")
                        case BatchCommitted(done):
                            progress.update(done)
                        case Finished():
                            progress.erase()
                            _report(plan, event, stop.by)
            except KeyboardInterrupt:
                progress.erase()
                how_to_go_on = f"to go on, run edit again and choose {plan.selection.expires_at}."
                raise Interrupted(
                    f"Stopped in the middle of a batch, after {done} of {len(plan.tokens)} token(s); {how_to_go_on}"
                ) from None
            except RunFailed as error:
                progress.erase()
                raise DatabaseError(f"{error} {_how_to_go_on(plan, error.changed)}") from error
        # What was typed meanwhile was not an answer to the next question.
        self._prompts.discard_typeahead()


def _date(answer: str, default: ExpirationDate) -> ExpirationDate | None:
    """The date that was answered, None for what is no date or none that PostgreSQL can hold."""
    try:
        date = default if answer == str(default) else ExpirationDate.typed(answer)
    except ValueError:
        return None
    return date if date.is_storable else None


def _report(plan: Plan, end: Finished, stopped_by: signal.Signals | None) -> None:
    if not (stopped_by and end.untouched):
        print(f"Updated {end.changed} tokens!")
    if end.changed_meanwhile:
        print(
            f"NOTE: {end.changed_meanwhile} of the {len(plan.tokens)} token(s) no longer had the expiration date "
            f"{plan.selection.expires_at} and were left alone."
        )
    if end.locked:
        print(
            f"NOTE: {end.locked} of the {len(plan.tokens)} token(s) are locked by another session and were left alone; "
            f"choose {plan.selection.expires_at} again to change them."
        )
    if stopped_by:
        left = end.untouched or end.locked
        message = f"Stopped. {_how_to_go_on(plan, end.changed)}" if left else "Stopped; the update is complete."
        raise Interrupted(message) if stopped_by == signal.SIGINT else Terminated(message)


def _how_to_go_on(plan: Plan, changed: int) -> str:
    return (
        f"{changed} of {len(plan.tokens)} token(s) were updated and stay so; "
        f"to go on, run edit again and choose {plan.selection.expires_at}."
    )

"""`edit`: the conversation in which an administrator extends or removes expiration dates."""

import signal
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import invoke

from tokens.errors import DatabaseError, Interrupted, Terminated
from tokens.tasks.analyze import screen
from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task
from tokens.terminal import console

if TYPE_CHECKING:
    import sqlalchemy as sa

    from tokens.gitlab.expiration import ExpirationDate
    from tokens.plan import Plan
    from tokens.run import Finished
    from tokens.terminal.prompts import Prompts


class Action(IntEnum):
    """The menu's items, in its order."""

    EXTEND = 0
    REMOVE = 1
    QUIT = 2


MENU = ("Extend expiration date", "Remove expiration date", "Quit")
ABORT = "--> Abort"


@task(help={"target": TARGET_HELP})
def edit(context: invoke.Context, target: str = "") -> None:
    """Extend or remove expiration dates, step by step on a terminal."""
    console.require_terminal("edit", "analyze")
    from tokens import database
    from tokens.terminal.prompts import Prompts

    engine = database.engine(locate(context, target))
    Conversation(engine, Prompts(colour=console.has_colour(sys.stdout))).hold()


@dataclass(frozen=True)
class Conversation:
    """What is asked and said, in the original's words; nothing is held open in the database while it waits."""

    engine: "sa.Engine"
    prompts: "Prompts"

    def hold(self) -> None:
        """Show the analysis and ask what to do, until the answer is to quit."""
        from tokens import analysis, database
        from tokens.gitlab import preflight

        with database.reading(self.engine) as connection:
            preflight.check(connection, preflight.EDIT)
        while True:
            print(screen(analysis.analyze(self.engine)))
            print()
            match self.prompts.menu("What do you want to do?", MENU):
                case Action.EXTEND:
                    self._extend()
                case Action.REMOVE:
                    self._remove()
                case Action.QUIT:
                    return

    def _extend(self) -> None:
        from tokens.gitlab.expiration import ExpirationDate
        from tokens.plan import read_current_policy

        old = self._choose_date()
        if old is None:
            return
        default = read_current_policy(self.engine).extended(old)
        answer = self.prompts.line("What would you like the new expiration date to be?", str(default))
        if answer is None:
            return
        try:
            new = default if answer == str(default) else ExpirationDate.typed(answer)
        except ValueError:
            print("Invalid date, aborting...")
            return
        plan = self._plan(old, new)
        print()
        print(f"Old expiration date: {old}")
        print(f"New expiration date: {new}")
        for note in plan.notes:
            print(f"NOTE: {note.text}")
        if not self.prompts.confirm(f"WARNING: This will now update {len(plan.tokens)} token(s). Are you sure?"):
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
        if not self.prompts.confirm(f"This will affect {len(plan.tokens)} tokens. Are you sure?"):
            print("Aborting!")
            return
        self._run(plan)

    def _choose_date(self) -> "ExpirationDate | None":
        """One of the commonest dates of this very moment, or None to abort."""
        from tokens import analysis

        dates = [row.expires_at for row in analysis.analyze(self.engine).dates if row.expires_at is not None]
        chosen = self.prompts.select("Select an expiration date", [*map(str, dates), ABORT])
        return dates[chosen] if chosen < len(dates) else None

    def _plan(self, old: "ExpirationDate", new: "ExpirationDate | None") -> "Plan":
        from tokens.plan import make_plan
        from tokens.selection import Selection

        return make_plan(self.engine, Selection(old), new)

    def _run(self, plan: "Plan") -> None:
        from tokens.run import BatchCommitted, BatchStarting, Finished, RunFailed, run
        from tokens.terminal.interruption import stop_requests
        from tokens.terminal.keyboard import muted_keyboard
        from tokens.terminal.progress import ProgressLine

        progress = ProgressLine(sys.stdout, len(plan.tokens), "tokens")
        with muted_keyboard(), stop_requests() as stop:
            try:
                for event in run(self.engine, plan, stop_requested=stop.made):
                    match event:
                        case BatchStarting(first, last):
                            progress.print(f"Updating personal access tokens from ID {first} to {last}...")
                        case BatchCommitted(tokens):
                            progress.update(tokens)
                        case Finished():
                            progress.erase()
                            _report(plan, event, stop.signal)
            except RunFailed as error:
                progress.erase()
                raise DatabaseError(f"{error} {_how_to_go_on(plan, error.changed)}") from error
        # What was typed meanwhile was not an answer to the next question.
        self.prompts.discard_typeahead()


def _report(plan: "Plan", end: "Finished", stopped_by: signal.Signals | None) -> None:
    if end.untouched:
        message = f"Stopped. {_how_to_go_on(plan, end.changed)}"
        raise Interrupted(message) if stopped_by == signal.SIGINT else Terminated(message)
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


def _how_to_go_on(plan: "Plan", changed: int) -> str:
    return (
        f"{changed} of {len(plan.tokens)} token(s) were updated and stay so; "
        f"to go on, run edit again and choose {plan.selection.expires_at}."
    )

"""`edit`: the conversation in which dates are extended or removed, in the original's words."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

from tokens import database, origin
from tokens.call import one_message
from tokens.change.change import Change
from tokens.change.notes import Concern
from tokens.change.plan import Plan, RunKind, make_plan, read_current_policy
from tokens.commands import recording, syslog
from tokens.commands.carry_out import waiting_for
from tokens.commands.course import Course
from tokens.commands.ending import Ending, stopped
from tokens.commands.environment import Environment
from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import ExitStatus, TokensError
from tokens.gitlab import preflight
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.needs import CHANGE
from tokens.inventory.analysis import Analysis, analyze
from tokens.journal import beginning
from tokens.journal.record import Recorder
from tokens.origin import Origin
from tokens.run.batches import BatchStarting, Event, Finished, RunFailed, run
from tokens.selection import Selection
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.terminal import console
from tokens.terminal.interruption import stop_requests
from tokens.terminal.printable import printable
from tokens.terminal.progress import ProgressBar
from tokens.terminal.questions import Questions
from tokens.views.analysis import screen


class Action(IntEnum):
    """The menu's items, in its order."""

    EXTEND = 0
    REMOVE = 1
    QUIT = 2


MENU = ("Extend expiration date", "Remove expiration date", "Quit")
ABORT = "--> Abort"


@dataclass
class _Conversation:
    """One administrator at one terminal, and what has come of it so far.

    `journal` is whether what is changed is recorded, and `four_eyes` whether the configuration demands two people;
    `recorded` says of each run that was whether there may be anything to undo; `in_part` are the dates whose last
    update has left tokens alone.
    """

    environment: Environment
    site: Site
    who: Origin
    reason: str | None
    journal: bool
    four_eyes: bool
    prompts: Questions
    recorded: dict[int, bool] = field(default_factory=dict)
    in_part: set[ExpirationDate] = field(default_factory=set)


def edit(
    environment: Environment, locate: Locate, reason: str | None, no_journal: bool, four_eyes: bool = False
) -> Ending:
    """Show the analysis and ask what to do, until the answer is to quit.

    Nothing is held open in the database while a question waits. The Ending is PARTIAL where the last update of some
    date has left tokens alone.

    Raises:
        TokensError: see `tokens.errors`.
    """
    who = origin.here()  # asked before this process may become the GitLab user
    site = locate()
    with database.reading(site.address) as connection:
        preflight.check(connection, CHANGE)
    beginning.check_alone(site.address, RunKind.EDIT, four_eyes=four_eyes)
    if no_journal:
        environment.print(recording.NO_WAY_BACK)
    talk = _Conversation(environment, site, who, reason, not no_journal, four_eyes, environment.prompts())
    try:
        while (ending := _go_round(talk)) is None:
            pass
    except TokensError as fault:
        if talk.recorded or not talk.journal:
            raise
        raise fault.saying(one_message(str(fault), "Nothing was changed.")) from fault
    except OSError as error:
        if console.is_gone(environment.stdout):  # to be asked before anything is said: what takes nothing is let go
            ending = Ending(ExitStatus.TERMINATED, "The terminal is gone.", error)
        elif not talk.recorded:
            raise
        else:
            ending = Ending(ExitStatus.PARTIAL, f"The output could not be written: {error.strerror}.", error)
    finally:
        for number, reversible in talk.recorded.items():
            undo = RunKind.EDIT.to_take_back(number) if reversible else ""
            environment.say(f"Recorded as run {number}.{undo}")
    return ending


def _go_round(talk: _Conversation) -> Ending | None:
    """Show the analysis, ask once and do it; None to go on."""
    talk.environment.print(screen(_counted(talk)))
    talk.environment.print("")
    match talk.prompts.menu("What do you want to do?", MENU):
        case Action.EXTEND:
            return _extend(talk)
        case Action.REMOVE:
            return _remove(talk)
    return Ending(ExitStatus.PARTIAL if talk.in_part else ExitStatus.DONE)


def _extend(talk: _Conversation) -> Ending | None:
    tell = talk.environment.print
    old = _choose_date(talk)
    if old is None:
        return None
    default = read_current_policy(talk.site.address).extended(old)
    answer = talk.prompts.line("What would you like the new expiration date to be?", str(default))
    if answer is None:
        return None
    new = _date(answer, default)
    if new is None:
        tell("Invalid date, aborting...")
        return None
    planned = _plan(talk, old, Change(new))
    tell("")
    tell(f"Old expiration date: {old}")
    tell(f"New expiration date: {new}")
    plan = _noted(talk, planned)
    if plan is None:
        return None
    if not talk.prompts.confirm(f"WARNING: This will now update {plan.tokens} token(s). Are you sure?"):
        tell("Aborting!")
        return None
    return _carry_out(talk, plan, old, "Updating tokens...\n")


def _remove(talk: _Conversation) -> Ending | None:
    tell = talk.environment.print
    old = _choose_date(talk)
    if old is None:
        return None
    planned = _plan(talk, old, Change())
    tell("")
    plan = _noted(talk, planned)
    if plan is None:
        return None
    tell(f"WARNING: This will remove the expiration for tokens that expire on {old}.")
    if not talk.prompts.confirm(f"This will affect {plan.tokens} tokens. Are you sure?"):
        tell("Aborting!")
        return None
    return _carry_out(talk, plan, old)


def _choose_date(talk: _Conversation) -> ExpirationDate | None:
    """One of the commonest dates of this very moment, or None to abort."""
    dates = [row.expires_at for row in _counted(talk).dates if row.expires_at is not None]
    chosen = talk.prompts.select("Select an expiration date", [*map(str, dates), ABORT])
    return dates[chosen] if chosen < len(dates) else None


def _counted(talk: _Conversation) -> Analysis:
    with talk.environment.announced("Counting the tokens"):
        return analyze(talk.site.address)


def _plan(talk: _Conversation, old: ExpirationDate, change: Change) -> Plan:
    with talk.environment.announced("Making the plan"):
        return make_plan(talk.site.address, RunKind.EDIT, Selection.every(old), change, release=talk.site.release)


def _noted(talk: _Conversation, plan: Plan) -> Plan | None:
    """Show the notes; returns the plan without what the person does not want to be touched along with the dates.

    None where it would cost bots and the person wants to keep them.
    """
    for note in plan.notes:
        talk.environment.print_prose(f"NOTE: {printable(note.text)}")
    counts = {note.concern: note.tokens for note in plan.notes}
    if Concern.DOOMED in counts and not talk.prompts.confirm(
        f"Continue, although GitLab deletes {counted(counts[Concern.DOOMED], 'bot')} for it?"
    ):
        talk.environment.print("Aborting!")
        return None
    if plan.memberships and not talk.prompts.confirm(
        f"Move the memberships of {counted(counts[Concern.MEMBERSHIPS], 'bot')}, too?", default=True
    ):
        plan = replace(plan, memberships=None)
    if plan.notices and not talk.prompts.confirm(
        f"Re-arm the notices of {counted(counts[Concern.NOTICES], 'token')}, too?", default=True
    ):
        plan = replace(plan, notices=False)
    return plan


def _begin(talk: _Conversation, plan: Plan) -> Recorder:
    if not plan.tokens:
        return Recorder()
    if not talk.journal:
        return beginning.begin_unrecorded(talk.site.address, plan.kind, four_eyes=talk.four_eyes)
    begun = recording.begin(
        talk.environment,
        talk.site.address,
        plan,
        talk.who,
        reason=talk.reason,
        prompts=talk.prompts,
        four_eyes=talk.four_eyes,
    )
    if begun.run is None:
        talk.journal = False  # asked once
    else:
        talk.recorded[begun.run] = True
    return begun


def _carry_out(talk: _Conversation, plan: Plan, old: ExpirationDate, heading: str = "") -> Ending | None:
    """Change the tokens and say what came of it; None to go on with the conversation."""
    with waiting_for(talk.environment, talk.site) as reason_to_wait:
        course = Course(plan, _begin(talk, plan), unrecorded=f"run edit again and choose {old}")
        talk.environment.print(heading, end="")
        try:
            ending = _run(talk, course, old, reason_to_wait)
        finally:
            syslog.write_run(talk.environment, talk.site.address, course.recorder.run)
        if ending is None:
            # What was typed meanwhile was not an answer to the next question.
            talk.prompts.discard_typeahead()
        return ending


def _run(
    talk: _Conversation, course: Course, old: ExpirationDate, reason_to_wait: Callable[[Connection], str | None]
) -> Ending | None:
    address, plan = talk.site.address, course.plan
    progress = ProgressBar(talk.environment.stdout, plan.tokens, "tokens")

    def tell(event: Event) -> None:
        if isinstance(event, BatchStarting):
            progress.print(f"Updating personal access tokens from ID {event.first_id} to {event.last_id}...")

    with talk.environment.muted_keyboard(), stop_requests() as stop:
        events = run(address, plan, course.recorder, reason_to_wait=reason_to_wait, stop_requested=stop.made)
        try:
            course.follow(events, talk.environment, progress, tell)
            return _conclude(talk, course, old, course.end or Finished(0), stop.by)
        except KeyboardInterrupt:
            progress.erase()
            return _told(talk, course, course.interrupted())
        except RunFailed as error:
            progress.erase()
            return _told(talk, course, course.failed(error))


def _conclude(
    talk: _Conversation, course: Course, old: ExpirationDate, end: Finished, stopped_by: signal.Signals | None
) -> Ending | None:
    """Say what came of an update; None to go on with the conversation."""
    _note(talk, course, reversible=course.recorder.has_changed(end.changed))
    lost = course.lost(talk.site.address)
    if lost or end.changed_meanwhile or end.locked:
        talk.in_part.add(old)
    else:
        talk.in_part.discard(old)
    for line in _result(course, old, end, lost, stopped=stopped_by is not None):
        talk.environment.print_prose(line)
    if stopped_by is None:
        return None
    if end.untouched or end.locked:
        return _told(talk, course, course.stopped(end, stopped_by))
    return stopped(stopped_by, "The update is complete.")


def _note(talk: _Conversation, course: Course, *, reversible: bool) -> None:
    if course.recorder.run is not None:
        talk.recorded[course.recorder.run] = reversible


def _told(talk: _Conversation, course: Course, ending: Ending) -> Ending:
    """How an update has ended before its end, which says itself under which number it is recorded."""
    if course.recorder.run is not None:
        del talk.recorded[course.recorder.run]
    return ending


def _result(course: Course, old: ExpirationDate, end: Finished, lost: str, *, stopped: bool) -> Iterator[str]:
    """What came of an update, line by line; `lost` is of `Course`."""
    tokens = counted(course.plan.tokens, "token")
    if not (stopped and end.untouched):
        yield f"Updated {end.changed} tokens!"
    if lost:
        yield f"NOTE: {lost}."
    if end.changed_meanwhile:
        yield (
            f"NOTE: {end.changed_meanwhile:,} of {tokens} no longer had the expiration date {old} and were left alone."
        )
    if end.locked:
        were = "was" if end.locked == 1 else "were"
        # The dates to choose from may not have theirs any more.
        again = f"; choose {old} again to change them."
        if course.recorder.run is not None:
            again = "." if stopped else f".{course.to_go_on(reversible=False)}"  # which is said at the end, if stopped
        yield f"NOTE: {end.locked:,} of {tokens} {were} locked by another session and left alone{again}"


def _date(answer: str, default: ExpirationDate) -> ExpirationDate | None:
    """The date that was answered, None for what is no date or none that PostgreSQL can hold."""
    try:
        date = default if answer == str(default) else ExpirationDate.typed(answer)
    except ValueError:
        return None
    return date if date.is_storable else None

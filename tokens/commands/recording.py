"""The journal as the commands that change tokens meet it: a plan is stored in it, or begun, with a question first."""

from collections.abc import Collection, Sequence
from functools import partial

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.change.notes import allowing
from tokens.change.plan import Plan
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.run_report import RunReport
from tokens.counts import first_few
from tokens.journal import beginning
from tokens.journal.opening import JournalDeclined, with_journal
from tokens.journal.record import Recorder
from tokens.journal.runs import PLAN_LIFETIME, read_overlaps
from tokens.origin import Origin
from tokens.terminal.questions import Questions

MOST_NAMED = 5
NO_WAY_BACK = "Without the journal there is no list of what was changed, no undo and no way to go on after a stop."
INSTALL = "There is no journal here yet: install it (schema token_tasks), so that this can be undone?"


def store(
    environment: Environment,
    address: Address,
    plan: Plan,
    guards: Sequence[str],
    who: Origin,
    handling: Handling,
    report: RunReport,
) -> None:
    """Keep the plan in the journal, for a second person; `guards` are the words that `apply` has to be given, too.

    Raises:
        TokensError: see `tokens.journal.opening` and `tokens.journal.beginning`.
    """
    with database.connect(address) as connection:

        def stored_now() -> int:
            with environment.announced("Storing the plan"):
                return beginning.store(
                    connection, plan, who, handling.reason, with_names=handling.names, allow=handling.allow
                )

        number = with_journal(address, stored_now, handling.allow, tell=environment.tell)
    purpose = "to carry it out"
    if beginning.takes_two(address, four_eyes=handling.four_eyes):
        purpose = "for another person, to carry it out"
    stored = f"Stored as run {number}; nothing was changed. It lapses after {PLAN_LIFETIME} hours." + to_type(
        purpose, "apply", "--run", number, *allowing(guards)
    )
    report.changed = lambda: stored
    report.add(run=number, state="planned")
    with database.reading(address) as connection:
        overlaps = read_overlaps(connection, number)
    if overlaps:
        report.add(overlaps=[{"run": run, "tokens": tokens} for run, tokens in overlaps.items()])
        listed = first_few([f"run {run} has {tokens:,}" for run, tokens in overlaps.items()], MOST_NAMED)
        report.say(
            f"NOTE: Plans that nobody has applied yet have tokens of this one, too: {listed}. The plan that is applied "
            "first changes them."
        )
    report.say(stored)


def begin(
    environment: Environment,
    address: Address,
    plan: Plan,
    who: Origin,
    *,
    reason: str | None,
    allow: Collection[str] = (),
    prompts: Questions | None,
    names: bool = True,
    four_eyes: bool = False,
) -> Recorder:
    """Store a plan that has just been agreed to and begin it.

    `prompts` ask whether to install the journal where there is none; without them its absence is an error. `names` says
    whether it keeps what the tokens are called; `four_eyes` whether the configuration demands two people.

    Raises:
        TokensError: nothing was changed; see `tokens.journal.opening` and `tokens.journal.beginning`.
    """
    ask = None if prompts is None else partial(prompts.confirm, INSTALL, default=True)
    with database.connect(address) as connection:

        def begun_now() -> Recorder:
            with environment.announced("Storing the plan"):
                return beginning.begin(
                    connection, plan, who, reason, with_names=names, four_eyes=four_eyes, allow=allow
                )

        try:
            return with_journal(address, begun_now, allow, ask=ask, tell=environment.tell)
        except JournalDeclined:
            environment.print(NO_WAY_BACK)
            return Recorder()

"""What must be so before a change begins: the plan is shown, no guard forbids it, and somebody has said yes."""

import sys
from collections.abc import Sequence

from tokens.change.notes import guards
from tokens.change.plan import Plan
from tokens.errors import Refused, TerminalRequired
from tokens.tasks import plan_screen
from tokens.tasks.change_options import Manner
from tokens.tasks.report import Report
from tokens.terminal import console


def require_person_or_yes(manner: Manner, task: str) -> None:
    """Refuse to ask where nobody can answer, before anything else is done.

    Raises:
        TerminalRequired: no terminal, and none of the options that make a question needless.
    """
    if manner.asks and not (manner.dry_run or manner.store) and not console.is_person_there():
        raise TerminalRequired(
            f"{task} asks before it changes anything and needs a terminal on standard input and output; without one "
            "say --yes."
        )


def propose(plan: Plan, report: Report, title: str) -> None:
    """Show the plan."""
    report.add(plan=plan_screen.as_dict(plan))
    report.say(f"{title}\n\n{plan_screen.screen(plan)}".rstrip())


def check_guards(
    plan: Plan,
    manner: Manner,
    *,
    also: Sequence[str] = (),
    never: Sequence[str] = (),
    leave_out: str = "say --leave-out superseded",
) -> None:
    """Refuse what a guard forbids and `--allow` does not name; `also` are guards' words from elsewhere.

    `never` are words that refuse nothing here; `leave_out` says how to go without what a rotation has replaced.

    Raises:
        Refused: nothing has been changed.
    """
    if manner.at_most is not None and plan.tokens > manner.at_most:
        raise Refused(
            f"The plan has {plan.tokens} token(s), more than --at-most {manner.at_most}: nothing was changed."
        )
    words = [word for word in (*guards(plan.notes), *also) if word not in never]
    forbidden = [word for word in words if word not in manner.allow]
    if forbidden:
        without = f"to leave out what a rotation has replaced {leave_out}, " if "superseded" in forbidden else ""
        raise Refused(
            f"Refused because of {' and '.join(forbidden)} (see the notes above); {without}to do it all the same say "
            f"--allow {','.join(forbidden)}."
        )


def agreed(manner: Manner, question: str) -> bool:
    """Whether the person at the terminal says yes; true where `--yes` has said it before."""
    if not manner.asks:
        return True
    from tokens.terminal.prompts import Prompts

    return Prompts(colour=console.has_colour(sys.stdout)).confirm(question)

"""What must be so before a change begins: the plan is shown, no guard forbids it, and somebody has said yes."""

from collections.abc import Collection, Sequence

from tokens.change.notes import guards
from tokens.change.plan import Plan
from tokens.commands.environment import Environment
from tokens.commands.handling import Handling
from tokens.commands.report import Report
from tokens.errors import Refused
from tokens.views import plan as view


def propose(plan: Plan, report: Report, title: str) -> None:
    """Show the plan."""
    report.add(plan=view.as_dict(plan))
    report.say(f"{title}\n\n{view.screen(plan)}".rstrip())


def check_guards(
    plan: Plan,
    handling: Handling,
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
    refuse_more(plan.tokens, handling.at_most)
    refuse_guarded([word for word in (*guards(plan.notes), *also) if word not in never], handling.allow, leave_out)


def refuse_more(tokens: int, at_most: int | None) -> None:
    """Refuse a plan with more tokens than `at_most`; None is any number.

    Raises:
        Refused: nothing has been changed.
    """
    if at_most is not None and tokens > at_most:
        raise Refused(f"The plan has {tokens} token(s), more than --at-most {at_most}: nothing was changed.")


def refuse_guarded(words: Sequence[str], allow: Collection[str], leave_out: str = "") -> None:
    """Refuse what guards forbid, by their words, and `allow` does not name.

    Raises:
        Refused: nothing has been changed.
    """
    forbidden = [word for word in words if word not in allow]
    if forbidden:
        without = f"to leave out what a rotation has replaced {leave_out}, " if "superseded" in forbidden else ""
        raise Refused(
            f"Refused because of {' and '.join(forbidden)} (see the notes above); {without}to do it all the same say "
            f"--allow {','.join(forbidden)}."
        )


def agreed(environment: Environment, handling: Handling, question: str) -> bool:
    """Whether the person at the terminal says yes; true where `--yes` has said it before.

    Raises:
        TerminalRequired: there is no terminal, which is said after every other fault.
    """
    if not handling.asks:
        return True
    environment.require_answer(handling.task)
    return environment.prompts().confirm(question)

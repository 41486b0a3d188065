"""What must be so before a change begins: the plan is shown, no guard forbids it, and somebody has said yes."""

from collections.abc import Sequence
from dataclasses import replace

from tokens.change.notes import refuse_guarded
from tokens.change.plan import Plan
from tokens.commands.agreement import confirmed
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.options.handling import Handling
from tokens.commands.run_report import RunReport
from tokens.counts import counted
from tokens.errors import Refused, shortened
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.terminal.questions import Questions
from tokens.views import plan as view

TYPED_FROM = 10_000
"""From this number of tokens on the number is typed: a key too many is no answer then."""


def known(instance: Instance, plan: Plan) -> Instance:
    """The instance, with the release that the plan has found in the database where nothing else tells it."""
    return instance if instance.release is not None else replace(instance, release=plan.release)


def propose(plan: Plan, report: RunReport, title: str) -> None:
    """Show the plan."""
    report.add(plan=view.as_dict(plan))
    report.say(f"{title}\n\n{view.screen(plan, report.columns)}".rstrip())


def end_dry_run(report: RunReport) -> Ending:
    """How what only shows a plan ends."""
    report.say("Nothing was changed.")
    return DONE


def check_guards(
    guards: Sequence[str], tokens: int, handling: Handling, *, leave_out: str = "use --leave-out superseded"
) -> None:
    """Refuse a plan of this many tokens for guards, by their words, that `--allow` does not name.

    `leave_out` says how to go without what a rotation has replaced.

    Raises:
        Refused: nothing has been changed.
    """
    refuse_more(tokens, handling.at_most)
    refuse_guarded(guards, handling.allow, leave_out)


def refuse_more(tokens: int, at_most: int | None) -> None:
    """Refuse a plan with more tokens than `at_most`; None is any number.

    Raises:
        Refused: nothing has been changed.
    """
    if at_most is not None and tokens > at_most:
        raise Refused(f"The plan has {counted(tokens, 'token')}, more than --at-most {at_most}: nothing was changed.")


def agreed(environment: Environment, handling: Handling, deed: str, tokens: int, instance: Instance) -> bool:
    """Whether the person at the terminal wants this deed; true where `--yes` has said so before.

    Raises:
        TerminalRequired: there is nobody to ask, which is said after every other fault.
    """
    if not handling.asks:
        return True
    environment.require_answer(handling.task, json=handling.json)
    return asked(environment, environment.prompts(), deed, tokens, instance)


def asked(environment: Environment, prompts: Questions, deed: str, tokens: int, instance: Instance) -> bool:
    """Whether the person at the terminal wants this deed, such as `rotate 7 tokens`, there.

    From TYPED_FROM `tokens` on the number has to be typed.
    """
    question = printable(f"{deed[0].upper()}{deed[1:]} on {instance}?")
    if tokens < TYPED_FROM:
        return confirmed(environment, prompts, question)
    environment.print_prose(question)
    answer = prompts.line(f"Type {tokens} to continue:", "")
    if answer is None:
        return False
    is_meant = answer.strip().replace(",", "") == str(tokens)
    if not is_meant:
        environment.tell(shortened(f'"{printable(answer)}" is not {tokens}.'))
    return is_meant

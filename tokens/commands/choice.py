"""Which tokens `rotate` is about: those that the options mean, or the one that a person chooses."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokens.call import to_type
from tokens.change.notes import notes_on_ids
from tokens.commands.options.rotating import RotateOptions
from tokens.commands.run_report import RunReport
from tokens.counts import counted, first_few
from tokens.errors import Refused, UsageError
from tokens.gitlab.kind import Kind, State
from tokens.rotation.backend import Survey
from tokens.rotation.candidate import Candidate
from tokens.rotation.local import SOON
from tokens.terminal.printable import printable
from tokens.terminal.questions import Questions
from tokens.views import rotation as view

MOST_NAMED = 5
ABORT = "--> Abort"


@dataclass(frozen=True)
class Chosen:
    """The tokens to be rotated, and in words what was left out of them.

    `deliberate` says that a person means this very token: it was named by its id, or taken from the list.
    """

    candidates: tuple[Candidate, ...] = ()
    passed_over: tuple[str, ...] = ()
    deliberate: bool = False


def choose_tokens(survey: Survey, options: RotateOptions, prompts: Questions | None, report: RunReport) -> Chosen:
    """The tokens that the options mean, or the one that a person chooses; none where there is nothing to do.

    Raises:
        Refused: one that is named cannot be rotated.
        UsageError: none is as it is named, or several are and nobody can be asked.
    """
    if survey.widened:
        report.say(
            f"No token of the kind expires within {SOON} days or has expired in the last {SOON}; these are all of them."
        )
    if survey.fault is not None:
        raise survey.fault
    if not survey.found:
        return Chosen(passed_over=_explain_nothing(survey, options, report))
    if survey.plan is not None and not options.of_all and len(survey.found) == 1:
        return Chosen(survey.found, deliberate=options.token == str(survey.found[0].id))
    # Of many, those that cannot be rotated are left out; of one that is named it is said why.
    passed_over = (*_without_effect(survey, options), *_left_out(survey))
    if survey.plan is not None:
        return Chosen(survey.free, passed_over)
    if not survey.free and options.of_all:
        for line in passed_over:
            report.say(line)
        report.say("No token is left: there is nothing to do.")
        return Chosen(passed_over=passed_over)
    if not survey.free:
        raise Refused(next(iter(survey.obstacles.values())))
    return _chosen_by_person(survey.free, passed_over, options, prompts, report)


def _chosen_by_person(
    free: Sequence[Candidate],
    passed_over: Sequence[str],
    options: RotateOptions,
    prompts: Questions | None,
    report: RunReport,
) -> Chosen:
    if prompts is None or not options.asks:
        raise UsageError(
            f"{len(free):,} tokens fit ({_named(free)}): use --token with an id, or --within 30d for "
            "all that expire soon."
        )
    for line in passed_over:
        report.say(line)
    chosen = _choose(prompts, free)
    if chosen is None:
        report.say("Nothing was changed.")
        return Chosen()
    return Chosen((chosen,), deliberate=True)


def _choose(prompts: Questions, candidates: Sequence[Candidate]) -> Candidate | None:
    """One of the tokens, the nearest to today first; None to abort. Where there is one account it is not asked for."""
    accounts: dict[str, list[Candidate]] = {}
    for one in candidates:
        accounts.setdefault(one.account, []).append(one)
    names = list(accounts)
    if len(names) > 1:
        chosen = prompts.select("Select an account", [*(view.account(name, accounts[name]) for name in names), ABORT])
        if chosen == len(names):
            return None
        names = [names[chosen]]
    tokens = accounts[names[0]]
    chosen = prompts.select(f"Select a token of {names[0]}", [*map(view.token, tokens), ABORT])
    return tokens[chosen] if chosen < len(tokens) else None


def _without_effect(survey: Survey, options: RotateOptions) -> Iterator[str]:
    """What of `--ids` is of no token, and what is of none that is meant."""
    named = options.search.selection.ids or ()
    left_out = sorted(set(named).difference(survey.unknown_ids, (one.id for one in survey.found)))
    yield from (note.text for note in notes_on_ids(len(named), survey.unknown_ids, left_out))


def _left_out(survey: Survey) -> Iterator[str]:
    """Why tokens are left out, each by itself; but many for one reason together.

    A name may have many that are revoked, one for each rotation.
    """
    reasons = dict(survey.obstacles)
    revoked = [one.id for one in survey.found if one.id in reasons and one.state is State.REVOKED]
    if len(revoked) > 1:
        for id_ in revoked:
            del reasons[id_]
        tokens, ids = counted(len(revoked), "token"), first_few(revoked, MOST_NAMED)
        yield f"Left out: {tokens} that are revoked, and so get no successor (id {ids})."
    alike: dict[str, list[Candidate]] = {}
    for one in survey.found:
        if one.id in reasons:
            alike.setdefault(_without_numbers(one, reasons[one.id]), []).append(one)
    for reason, several in alike.items():
        if len(several) > MOST_NAMED:
            yield f"Left out: {counted(len(several), 'token')} ({_named(several)}). Each {reason}"
        else:
            yield from (f"Left out: {reasons[one.id]}" for one in several)


def _without_numbers(candidate: Candidate, reason: str) -> str:
    """What an obstacle says of a token without what it says of this one alone."""
    said = reason.removeprefix(f"Token {candidate.id} ").removeprefix(f"of {candidate.account} ")
    return re.sub(r"\bits successor \d+", "its successor", said)


def _explain_nothing(survey: Survey, options: RotateOptions, report: RunReport) -> tuple[str, ...]:
    """Say why nothing was found, and return it: an error where a token or account was named."""
    why = (*_without_effect(survey, options), *([survey.why] if survey.why else []))
    for line in why:
        report.say(f"NOTE: {printable(line)}")
    if not options.names:
        report.say("No token is selected: there is nothing to do.")
        return why
    if survey.others:
        one = survey.others[0]
        if options.token is not None and one.state not in options.search.selection.states:
            its_state = f"Token {one.id} of {one.account} is {one.state}"
            raise Refused(f"{its_state}, which --state does not name: leave --state out.")
        advice = "leave it out" if one.kind is Kind.OTHER else f"use --kind {one.kind.value} to rotate it"
        raise Refused(f"Token {one.id} of {one.account} is of kind {one.kind.value}: {advice}.")
    if options.of_all:
        report.say("No token is selected: there is nothing to do.")
        return why
    what = f'token "{options.token}"' if options.token is not None else "live token"
    of = f" of {options.account}" if options.account is not None else ""
    meant = options.search.selection.kinds
    kinds = ",".join(kind for kind in Kind if kind is not Kind.OTHER and (meant is None or kind in meant))
    look = to_type("to look for it", "list", "--kind", kinds, "--state", "active,expired")
    raise UsageError(f"There is no {what}{of}.{look}")


def _named(candidates: Sequence[Candidate]) -> str:
    return first_few([f"{one.id} of {one.account}" for one in candidates], MOST_NAMED)

"""Which tokens `rotate` is about: those that the options mean, or the one that a person chooses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tokens.errors import Refused, UsageError
from tokens.gitlab.kind import Kind
from tokens.rotation.candidate import Candidate
from tokens.tasks.report import Report
from tokens.tasks.rotate_bench import Bench
from tokens.tasks.rotate_conversation import account_of, choose
from tokens.tasks.rotate_options import Wishes
from tokens.terminal.prompts import Prompts

SOON = 30  # days: what is listed where nobody has said which tokens
MOST_NAMED = 5


@dataclass(frozen=True)
class Chosen:
    """The tokens to be rotated, and in words what was left out of them.

    `deliberate` says that a person means this very token: it was named by its id, or taken from the list.
    """

    candidates: tuple[Candidate, ...] = ()
    passed_over: tuple[str, ...] = ()
    deliberate: bool = False


class Choice:
    """What there is to choose from, and how it is chosen; without `prompts` by the options alone."""

    def __init__(self, bench: Bench, wishes: Wishes, prompts: Prompts | None, report: Report) -> None:
        self._bench = bench
        self._wishes = wishes
        self._prompts = prompts
        self._report = report

    def made(self) -> Chosen:
        """The tokens that the options mean, or the one that a person chooses; none where there is nothing to do.

        Raises:
            Refused: one that is named cannot be rotated.
            UsageError: none is as it is named, or several are and nobody can be asked.
        """
        wishes, search = self._wishes, self._wishes.search
        found = self._bench.find(search if wishes.selects else replace(search, within=SOON, expired_within=SOON))
        if not found and not wishes.selects:
            self._report.say(
                f"No token of the kind expires within {SOON} days or has expired in the last {SOON}; these are all of "
                "them."
            )
            found = self._bench.find(search)
        if not found:
            self._explain_nothing()
            return Chosen()
        if not wishes.of_all and len(found) == 1 and wishes.selects:
            return Chosen(found, deliberate=search.token == str(found[0].id))
        # Of many, those that cannot be rotated are left out; of one that is named it is said why.
        against = self._bench.obstacles(found, allow_personal=wishes.allows_people)
        free = tuple(one for one in found if one.id not in against)
        passed_over = (*self._unknown_ids(found), *(f"Left out: {reason}" for reason in against.values()))
        if not free and wishes.of_all:
            for line in passed_over:
                self._report.say(line)
            self._report.say("No token is left: there is nothing to do.")
            return Chosen(passed_over=passed_over)
        if not free:
            raise Refused(next(iter(against.values())))
        if wishes.of_all or (wishes.selects and len(free) == 1):
            return Chosen(free, passed_over)
        if self._prompts is None or not wishes.asks:
            raise UsageError(
                f"{len(free)} tokens are meant by this ({_named(free)}): say --token with an id, or --within 30d for "
                "all that expire soon."
            )
        for line in passed_over:
            self._report.say(line)
        chosen = choose(self._prompts, free)
        if chosen is None:
            self._report.say("Nothing was changed.")
            return Chosen()
        return Chosen((chosen,), deliberate=True)

    def _unknown_ids(self, found: Sequence[Candidate]) -> Iterator[str]:
        """What of `--ids` is no token that is meant, in one line."""
        missing = sorted(set(self._wishes.search.selection.ids or ()) - {one.id for one in found})
        if missing:
            yield (
                f"Left out: {len(missing)} of the ids are no token of the kind and state that is meant "
                f"({_listed(list(map(str, missing)))})."
            )

    def _explain_nothing(self) -> None:
        """Say why nothing was found: an error where a token or account was named."""
        wishes, search = self._wishes, self._wishes.search
        for line in self._unknown_ids(()):
            self._report.say(line)
        if wishes.account is None and wishes.token is None:
            self._report.say("No token is selected: there is nothing to do.")
            return
        others = self._bench.find(replace(search, selection=replace(search.selection, kinds=frozenset(Kind))))
        if others:
            one = others[0]
            advice = "leave it out" if one.kind is Kind.OTHER else f"say --kind {one.kind.value} to rotate it"
            raise Refused(f"Token {one.id} of {account_of(one)} is of kind {one.kind.value}: {advice}.")
        if wishes.of_all:
            self._report.say("No token is selected: there is nothing to do.")
            return
        what = f'token "{wishes.token}"' if wishes.token is not None else "live token"
        of = f" of {wishes.account}" if wishes.account is not None else ""
        raise UsageError(f"There is no {what}{of}; look for it with tokens.rotate --within 365d --dry-run.")


def _named(candidates: Sequence[Candidate]) -> str:
    return _listed([f"{one.id} of {account_of(one)}" for one in candidates])


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more

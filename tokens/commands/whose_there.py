"""`whose` for a GitLab in a container or pod: the same task is asked there, over a pipe."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tokens.commands.environment import Environment
from tokens.commands.instance import unasked
from tokens.commands.travel import tool_at
from tokens.errors import ExitStatus, TokensError
from tokens.inventory.whose import GUESS, Answer, Identified
from tokens.secret import Secret
from tokens.targets.instance import Instance
from tokens.targets.there.remote import SessionLost
from tokens.targets.there.tool import Way
from tokens.views import whose as view

PATIENCE = 120.0  # seconds for an answer


class WhoseThere:
    """Asks the tool in the container or pod that `way` leads into."""

    def __init__(self, environment: Environment, way: Way) -> None:
        self._tool = tool_at(environment, way)
        self._instance = unasked()

    def instance(self) -> Instance:
        """What the instance is called, once it was asked."""
        return self._instance

    def ask(self, texts: Sequence[Secret], guesses: frozenset[int]) -> Identified:
        """What is known there of tokens with these texts; `guesses` are the places of those that may be any text.

        Raises:
            TokensError: what the task there has met, with its exit status.
            SessionLost, ClientError: see `tokens.targets.there.remote`.
        """
        feed = Secret("".join(f"{GUESS if n in guesses else ''}{_one_line(text)}\n" for n, text in enumerate(texts)))
        said = self._tool.ask(("whose", "--output=json"), feed, PATIENCE)
        try:
            document = json.loads(said.out.reveal())
        except ValueError:
            raise SessionLost(f"The tool in {self._tool.shown} did not do its work: {said.reason}.") from None
        if said.status != ExitStatus.DONE:
            raise _fault(document, said.status)
        self._tool.tell(said, known=document["notes"])
        facts = document["instance"]
        self._instance = replace(self._instance, url=facts["url"], release=facts["release"])
        return _known(document, len(texts))


def _one_line(text: Secret) -> str:
    """As it is sent: one that is nothing, or has anything in it that no token has, as a text that is none either."""
    return text.reveal() if text.reveal().isascii() and text.reveal().isprintable() else "!"


def _known(document: dict[str, Any], number: int) -> Identified:
    """What the task there has found."""
    answers = tuple(
        Answer(
            one["looks_like"],
            None if one["id"] is None else {name: one[name] for name in view.FACTS},
            one["why"] or "",
        )
        for one in document["tokens"]
    )
    if len(answers) != number:
        raise SessionLost(f"The tool there has answered {len(answers)} of {number} questions.")
    return Identified(answers, tuple(document["notes"]), tuple(document["prefixes"]))


def _fault(document: dict[str, Any], status: int) -> TokensError:
    """What the task there has met, with the exit status that it had."""
    fault = TokensError(document.get("error") or "The tool there did not do its work.")
    fault.status = ExitStatus(document.get("status") or status)
    return fault

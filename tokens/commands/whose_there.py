"""`whose` for a GitLab in a container or pod: the same task is asked there, over a pipe."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokens.call import current
from tokens.commands.environment import Environment
from tokens.commands.travel import caller
from tokens.commands.whose import GUESS
from tokens.errors import ExitStatus, TokensError
from tokens.inventory.whose import Answer, Known
from tokens.secret import Secret
from tokens.targets.instance import Instance
from tokens.targets.target import RemoteTarget
from tokens.targets.there.remote import SessionLost
from tokens.targets.there.tool import RemoteTool
from tokens.terminal.printable import printable
from tokens.views import whose as view

PATIENCE = 120.0  # seconds for an answer


class WhoseThere:
    """Asks the tool beside the GitLab that `target` means.

    Args:
        environment: the streams.
        target: a container or pod.
        client: the words of docker or kubectl.
        bundles: the folder with the tool's bundles, None for the usual one.
    """

    def __init__(
        self, environment: Environment, target: RemoteTarget, client: tuple[str, ...], bundles: Path | None
    ) -> None:
        steps = environment.steps()
        self._environment = environment
        self._tool = RemoteTool(target, client=client, bundles=bundles, caller=caller(), report=steps.show)
        self._instance = Instance(target=current().place, place="the GitLab there")
        self._told: set[str] = set()

    def instance(self) -> Instance:
        """What the instance is called, once it was asked."""
        return self._instance

    def ask(self, texts: Sequence[Secret], guesses: frozenset[int]) -> Known:
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
        # What it tells people, once: each run there says it again. Some of it is in the document, and comes from that.
        for line in said.err.splitlines():
            if line not in self._told and line.removeprefix("NOTE: ") not in document["notes"]:
                self._told.add(line)
                self._environment.tell(printable(line))
        facts = document["instance"]
        self._instance = replace(self._instance, url=facts["url"], release=facts["release"])
        return _known(document, len(texts))


def _one_line(text: Secret) -> str:
    """As it is sent: one that is nothing, or has anything in it that no token has, as a text that is none either."""
    return text.reveal() if text.reveal().isascii() and text.reveal().isprintable() else "!"


def _known(document: dict[str, Any], number: int) -> Known:
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
    return Known(answers, tuple(document["notes"]), tuple(document["prefixes"]))


def _fault(document: dict[str, Any], status: int) -> TokensError:
    """What the task there has met, with the exit status that it had."""
    fault = TokensError(document.get("error") or "The tool there did not do its work.")
    fault.status = ExitStatus(document.get("status") or status)
    return fault

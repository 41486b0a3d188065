"""How evidence looks: a JSON object a line, and the programs that check them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

from tokens.journal import check_chain, check_evidence
from tokens.journal.evidence import Entry, Row, RunFacts
from tokens.journal.installation import REVISION
from tokens.targets.instance import Instance
from tokens.version import __version__
from tokens.views import document

PROGRAMS = {"chain": Path(check_chain.__file__), "check": Path(check_evidence.__file__)}
"""What an auditor gets along with it: the chain alone, short enough to be read, and what entries may say, too."""


def lines(instance: Instance, since: date | None, found: Iterable[RunFacts | Entry | Row]) -> Iterator[str]:
    """A line for the head, one for each run, entry and row, and one with their number and SHA-256; all in ASCII."""
    whole = hashlib.sha256()
    number = 0
    for number, facts in enumerate(chain([_head(instance, since)], map(_facts, found)), 1):  # noqa: B007 - a count
        line = json.dumps(facts)
        whole.update(f"{line}\n".encode("ascii"))
        yield line
    yield json.dumps({"end": {"lines": number + 1, "sha256": whole.hexdigest()}})


def _head(instance: Instance, since: date | None) -> dict[str, Any]:
    more = {"version": __version__, "journal_revision": REVISION, "since": since and str(since)}
    return {**document.head(instance), **more}


def _facts(one: RunFacts | Entry | Row) -> dict[str, Any]:
    match one:
        case RunFacts(facts):
            return {"run": facts}
        case Entry():
            return {"entry": asdict(one)}
    return {"row": asdict(one)}

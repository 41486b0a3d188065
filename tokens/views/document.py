"""The head of every JSON document: which form it has, what it is about, and when it was made."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tokens.targets.instance import Instance

SCHEMA = 1
"""The form of the documents: a field that is there stays, and means the same, as long as this does."""


def head(instance: Instance) -> dict[str, Any]:
    """The fields with which a document begins; `made_at` is this moment in ISO 8601 (UTC)."""
    return {
        "schema": SCHEMA,
        "instance": {
            "name": instance.name,
            "url": instance.url,
            "target": instance.target,
            "release": instance.release,
        },
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def text(instance: Instance, facts: Mapping[str, Any], *, one_line: bool = False) -> str:
    """A whole document."""
    return json.dumps({**head(instance), **facts}, indent=None if one_line else 2)


def begun(facts: Mapping[str, Any]) -> str:
    """The beginning of an object that lists follow: all but the line with its closing brace."""
    return json.dumps(facts, indent=2).removesuffix("\n}") + ","


def listed(name: str, rows: Iterable[str | Iterable[str]], after: str = "") -> Iterator[str]:
    """A list of an object, in lines, as its rows come; a row is a line, or several.

    `after` is a comma where more follows in the object.
    """
    yield f'  "{name}": ['
    before = None
    for row in rows:
        if before is not None:
            yield f"{before},"
            before = None
        for line in (row,) if isinstance(row, str) else row:
            if before is not None:
                yield before
            before = "    " + line.replace("\n", "\n    ")
    if before is not None:
        yield before
    yield f"  ]{after}"

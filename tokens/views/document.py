"""The head of every JSON document: which form it has, what it is about, and when it was made."""

import json
from collections.abc import Mapping
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

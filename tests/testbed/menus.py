"""What the original's menus and lists show for the same keys, as recordings."""

import json
from pathlib import Path
from typing import Any

RECORDINGS: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("date-list.jsonl").read_text("utf-8").splitlines()
]


def names(count: int) -> list[str]:
    return [f"2024-01-{day:02}" for day in range(1, count)] + ["--> Abort"]

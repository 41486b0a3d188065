"""Debian's Ruby, which reads as GitLab's does: one process for as many texts as there are."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("read_yaml.rb")

# Texts, each with how it is read (`unsafe`, `safe`, `url`), to what was read.
Ruby = Callable[[Iterable[tuple[str, str]]], list[Any]]


def reader() -> Ruby | None:
    """What reads by Ruby; None where there is no Ruby."""
    program = shutil.which("ruby")
    if program is None:
        return None

    def read(texts: Iterable[tuple[str, str]]) -> list[Any]:
        asked = "".join(json.dumps({"text": text, "how": how}) + "\n" for text, how in texts)
        words: list[str | Path] = [program, "--encoding=UTF-8", SCRIPT]
        done = subprocess.run(words, input=asked.encode(), capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read

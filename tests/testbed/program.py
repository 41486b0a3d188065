"""What a person types at a shell, as processes of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

BINARIES = Path(sys.executable).parent

INV = str(BINARIES / "inv")

GITLAB_TOKENS = str(BINARIES / "gitlab-tokens")

FOUND = shutil.which("gitlab-tokens")

AS_TYPED = "gitlab-tokens" if FOUND and os.path.samefile(FOUND, GITLAB_TOKENS) else GITLAB_TOKENS
"""What a line to type begins with: the name alone is enough in a shell that finds it."""

ASK = str(Path(__file__).with_name("ask.py"))

CHECKOUT = Path(__file__).parents[2]


def call(
    *words: str, cwd: Path = CHECKOUT, env: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")} | (env or {})
    return subprocess.run(words, cwd=cwd, env=environment, stdin=stdin, capture_output=True, text=True, check=False)

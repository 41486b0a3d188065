"""`rotate`: a new token in place of an old one, in the right order, and the old one revoked."""

import sys
from typing import Any

import invoke

from tokens.tasks.rotate_options import ROTATE_HELP, ROTATE_LISTS, ROTATE_OPTIONS
from tokens.tasks.target_option import TARGET_HELP
from tokens.tasks.task import task


@task(help={"target": TARGET_HELP, **ROTATE_HELP}, options=ROTATE_OPTIONS, iterable=ROTATE_LISTS)
def rotate(context: invoke.Context, target: str = "", **options: Any) -> None:
    """Replace service accounts' tokens by new ones."""
    from tokens.tasks.rotate_options import read_options
    from tokens.tasks.rotate_tokens import rotate_tokens

    rotate_tokens(context, target, read_options(options, sys.stdin))

"""`rotate`: a new token in place of an old one, in the right order, and the old one revoked."""

from typing import Any

import invoke

from tokens.tasks.rotate_options import ROTATE_HELP, ROTATE_OPTIONS
from tokens.tasks.target_option import TARGET_HELP
from tokens.tasks.task import task


@task(help={"target": TARGET_HELP, **ROTATE_HELP}, options=ROTATE_OPTIONS, iterable=("kind",))
def rotate(context: invoke.Context, target: str = "", **options: Any) -> None:
    """Replace service accounts' tokens by new ones."""
    from tokens.errors import UsageError
    from tokens.tasks.rotate_options import wishes
    from tokens.tasks.rotate_tokens import RotateTokens
    from tokens.tasks.target_option import remote_target

    asked = wishes(options)
    if remote_target(context, target) is not None:
        raise UsageError(
            "rotate runs where GitLab is, since its secrets stay there: log in there and run it without a target, or "
            "name the database with --target postgresql://… and a copy of the secrets with --secrets-file."
        )
    RotateTokens(context, target, asked).run()

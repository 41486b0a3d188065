"""The option `--output`: in which form a task prints what it has found."""

from collections.abc import Sequence

from tokens.errors import UsageError


def require_output(output: str, outputs: Sequence[str]) -> None:
    """Refuse a form that a task does not have.

    Raises:
        UsageError: names those that it has.
    """
    if output not in outputs:
        *others, last = outputs
        raise UsageError(f'--output takes {", ".join(others)} or {last}, not "{output}".')

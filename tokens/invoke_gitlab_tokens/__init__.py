"""The package `tokens` under its distribution's name, which is the one to import.

A wheel has this package beside `tokens`. PyPI has a project called `tokens` that is not ours. A missing
`invoke_gitlab_tokens` leads to the distribution of that name, and not there.
"""

import tokens

TYPE_CHECKING = False  # as in `tokens`
if TYPE_CHECKING:
    from tokens import *  # noqa: F403

try:
    from tokens.version import __version__ as __version__
except ModuleNotFoundError:
    raise ImportError(
        f"{tokens.__file__} hides the package tokens of invoke-gitlab-tokens: rename or move that file."
    ) from None

__all__ = tokens.__all__


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Each only when asked for, as in `tokens`."""
        return getattr(tokens, name)


def __dir__() -> list[str]:
    return __all__
